#!/usr/bin/env bash
# The queries of queries.json through the real binary: a gateway in a temporary home, one snapshot of the diabetes
# file, RUNS executions of each query. A filter that is always true tells the runs apart; the same question asked
# twice would be one answer.  sandgate_run.sh SPEC DATA RUNS > answers.json
set -euo pipefail
spec=$(realpath "$1") data=$(realpath "$2") runs=$3
root=$(cd "$(dirname "$0")/../.." && pwd)
S=$root/bin/sandgate
work=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])')
$S init --home home --server 127.0.0.1:$port --regulator data_bureau --kit-out kits/data_bureau -o json > data_bureau.json
for p in hospital_group alpha; do $S party create --home home --gateway 127.0.0.1:$port --id $p --out kits/$p -o json > $p.json; done
python3 - "$root" <<'P'
import json, sys
text = open(sys.argv[1] + "/testdata/diabetes/registry.yaml").read()
for p in ("data_bureau", "hospital_group", "alpha"):
    d = json.load(open(p + ".json"))
    text = text.replace("@KEY:" + p, d.get("public_key") or d.get("key") or d.get("regulator_key"))
open("registry.yaml", "w").write(text)
P
cp "$root/testdata/diabetes/bundle.yaml" "$root/testdata/diabetes/licence.yaml" .
$S serve --home home --listen 127.0.0.1:$port > serve.log 2>&1 & server=$!
for _ in $(seq 150); do (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null && break; kill -0 $server; sleep 0.2; done
sign() { for k in "${@:2}"; do $S policy sign "$1" --kit kits/$k > /dev/null; done; $S policy apply "$1.dsse" --kit kits/$2 > /dev/null; }
sign registry.yaml data_bureau
sign bundle.yaml hospital_group
$S ingest "$data" --dataset diabetes_encounters --kit kits/hospital_group > /dev/null
sign licence.yaml data_bureau hospital_group
python3 - "$spec" "$runs" "$S" <<'P'
import json, os, subprocess, sys, time
spec, runs, S = json.load(open(sys.argv[1])), int(sys.argv[2]), sys.argv[3]
out = []
for q in spec["queries"]:
    agg = {"count": "COUNT(*)", "sum": "SUM({0})", "avg": "AVG({0})"}[q["agg"]].format(q.get("measure"))
    for r in range(runs):
        sql = f"SELECT {q['key']}, {agg} AS v FROM diabetes_encounters WHERE num_lab_procedures <= {1000 + r} GROUP BY {q['key']}"
        t = time.perf_counter()
        p = subprocess.run([S, "job", "submit", sql, "--kit", "kits/alpha", "--licence", "alpha-diabetes-2026",
                            "--purpose", "public_health", "--price", str(q["rho"]), "-o", "json"], capture_output=True, text=True)
        wall = time.perf_counter() - t
        if p.returncode != 0:
            sys.exit("job failed: " + p.stderr)
        out.append({"id": q["id"], "raw": json.loads(p.stdout), "wall": wall})
json.dump(out, sys.stdout)
P
