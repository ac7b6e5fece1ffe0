#!/usr/bin/env bash
# Sandgate, OpenDP and SmartNoise on the same queries over the same real file at the same rho; needs python3 with venv,
# PyPI, and bin/sandgate (make build).   bench/peers/run.sh diabetes-encounters.csv.gz [RUNS]
set -euo pipefail
data=${1:?the diabetes file, .csv.gz} runs=${2:-10}
cd "$(dirname "$0")"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sandgate/peers
mkdir -p "$cache"
venv() { # name, packages: the two cannot share one environment
  [ -x "$cache/$1/bin/python" ] || python3 -m venv "$cache/$1"
  "$cache/$1/bin/pip" -q install "${@:2}"
}
venv opendp 'opendp[polars]==0.14.1' polars==1.32.0
venv smartnoise smartnoise-sql==1.0.10 pandas==2.3.3
out=$(mktemp -d); trap 'rm -rf "$out"' EXIT
./sandgate_run.sh queries.json "$data" "$runs" > "$out/sandgate.json"
"$cache/opendp/bin/python" opendp_run.py queries.json "$data" "$runs" > "$out/opendp.json"
"$cache/smartnoise/bin/python" smartnoise_run.py queries.json "$data" "$runs" > "$out/smartnoise.json"
python3 compare.py queries.json "$data" Sandgate="$out/sandgate.json" OpenDP="$out/opendp.json" SmartNoise="$out/smartnoise.json"
