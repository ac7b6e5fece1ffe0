#!/usr/bin/env bash
# Benchmarks; output can be given to benchstat. Ratios are taken in one run, protected against raw. Called by: make bench
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/env.sh
export SANDGATE_BIN=$PWD/bin/sandgate
run() { go test -tags "$TAGS" -run '^$' -bench "$2" -count "${COUNT:-1}" -benchtime "${BENCHTIME:-1s}" "$1" 2> >(grep -v -e 'warning: Using' -e 'in function' >&2); }
echo "== protected ÷ raw DuckDB, CPU, 6 M rows; warm execution; ingest =="
run ./compute/engine/duckdb .
echo "== submit → released answer, whole process =="
run ./cmd/sandgate BenchmarkSubmit
echo "== ledger appends =="
run ./ledger .
echo "== start: from a state snapshot and by full replay, what writing one takes; ENTRIES=1000000 for a million =="
BENCHTIME=${STARTS:-3x} run ./ledger/statefile Start
echo "== release kernel =="
run ./compute/release .
echo "== WebAssembly scoring against native Go =="
run ./compute/wasm .
echo "== workers: spawn → READY, job → first byte, idle memory, cost of the filter; jail on and off, same binary =="
go test -run '^$' -bench 'Cold|FirstByte|SeccompScan' -count "${COUNT:-1}" -benchtime "${WORKERS:-20}x" ./sandbox
