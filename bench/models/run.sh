#!/usr/bin/env bash
# Our models beside scikit-learn's and InterpretML's DP-EBM on the real file, and SACRO-ML's attacks on the six models of the release gate.
# Needs Go, python3 with venv and PyPI (SACRO-ML brings torch: 6 GB).   bench/models/run.sh diabetes-encounters.csv.gz
set -euo pipefail
data=$(realpath "${1:?the diabetes file, .csv.gz}")
cd "$(dirname "$0")/../.."
. .ci/env.sh
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sandgate/models
mkdir -p "$cache"
venv() { # name, packages
	[ -x "$cache/$1/bin/python" ] || python3 -m venv "$cache/$1"
	"$cache/$1/bin/pip" -q install "${@:2}"
}
venv peers scikit-learn==1.9.1 interpret-core==0.7.8 numpy==2.4.6
venv sacro sacroml==2.0.1 scikit-learn==1.9.1
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
go build -o "$out/models" ./bench/models
SANDGATE_PEERS=$out go test -tags "$TAGS" -count=1 -run TestPeers_SixModelsAreWritten ./gateway/attack >"$out/test.log" 2>&1 || { tail -n 20 "$out/test.log"; exit 1; }
ulimit -v 16000000
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
nice "$out/models" real "$data" "$out"
nice "$cache/peers/bin/python" bench/models/peers.py "$out"
(cd "$out" && nice "$cache/sacro/bin/python" "$OLDPWD/bench/models/sacro.py" "$out" "$out/models")
