#!/usr/bin/env bash
# Benchmarks, each part with a limit of time, about 15 minutes in all. Called by: make bench
#   PARTS='ledger audit'          only these parts
#   COUNT=6 BENCHTIME=2s          more and longer runs, for benchstat
#   OUT=before.txt                where the raw lines go, for benchstat
#   SANDGATE_BENCH_ENTRIES=1000000  length of the ledger that is audited (made once, in minutes)
# Ratios are taken in one run: appends against a plain fsynced hash-chained file, protected queries against raw ones.
set -uo pipefail
cd "$(dirname "$0")/.."
. .ci/env.sh
export SANDGATE_BIN=$PWD/bin/sandgate
OUT=${OUT:-bin/bench.txt}
mkdir -p "$(dirname "$OUT")"
: >"$OUT"
FAILED=0

# run PART SECONDS BENCHTIME PACKAGE PATTERN TITLE
run() {
	local part=$1 limit=$2 time=$3 package=$4 pattern=$5 title=$6 start=$SECONDS
	[[ -z ${PARTS:-} || " $PARTS " == *" $part "* ]] || return 0
	echo
	echo "== $title"
	local raw
	raw=$(mktemp)
	# The limit is for measuring; building comes before it.
	if ! go test -c -tags "$TAGS" -o "$raw.test" "$package" 2>"$raw"; then
		cat "$raw"
		FAILED=1
		return
	fi
	(cd "$package" && timeout --signal=INT --kill-after=20 "$limit" "$raw.test" -test.run '^$' -test.bench "$pattern" -test.count "${COUNT:-1}" -test.benchtime "${BENCHTIME:-$time}" -test.timeout 0) >"$raw" 2>"$raw.err"
	local code=$?
	grep -E '^(goos|goarch|pkg|cpu|Benchmark.*ns/op)' "$raw" >>"$OUT"
	grep -E '^Benchmark.*ns/op' "$raw" | sed -E 's/^Benchmark//; s/[[:space:]]+/ /g' | awk '{
		printf "%-34s", $1
		for (i = 3; i < NF; i += 2) if ($(i+1) != "B/op" && $(i+1) != "allocs/op") printf "  %s %s", $i, $(i+1)
		print ""
	}'
	if [[ $code == 124 || $code == 137 ]]; then
		echo "cut off after $limit s; give it more with BENCHTIME, or run: go test -tags '$TAGS' -run '^\$' -bench '$pattern' $package"
	elif [[ $code != 0 ]]; then
		grep -v -E '^(goos|goarch|pkg|cpu|Benchmark.*ns/op)' "$raw" | tail -n 20
		tail -n 20 "$raw.err"
		FAILED=1
	fi
	rm -f "$raw" "$raw.test" "$raw.err"
	echo "   ($((SECONDS - start)) s)"
}

# target BENCHMARK METRIC le|ge LIMIT: the median of the run against what is aimed at.
target() {
	local got
	got=$(awk -v name="Benchmark$1" -v unit="$2" 'index($1, name) == 1 { for (i = 3; i < NF; i += 2) if ($(i+1) == unit) print $i }' "$OUT" | sort -g | awk '{ v[NR] = $1 } END { if (NR) print v[int((NR + 1) / 2)] }')
	[[ -n $got ]] || return 0
	if awk -v a="$got" -v b="$4" -v how="$3" 'BEGIN { exit !(how == "le" ? a <= b : a >= b) }'; then local verdict=ok; else local verdict=MISSED; fi
	printf '%-7s %-20s %14s %-18s (%s %s)\n' "$verdict" "$1" "$got" "$2" "$([[ $3 == le ]] && echo '<=' || echo '>=')" "$4"
}

uptime
run ledger 90 1500x ./ledger 'Append1$' 'acknowledged appends, one writer; the plain file turn by turn'
run ledger 90 40000x ./ledger 'Append64$' 'acknowledged appends, 64 writers'
run ledger 60 100x ./ledger 'Publish$' 'append → published checkpoint; with 2 of 3 witnesses over loopback'
run ledger 60 3x ./ledger 'Reopen10k$' 'opening a log of 10,000 entries'
run audit 420 300x ./ledger 'InclusionProof$' 'inclusion proof (the first time, the ledger is made before)'
run audit 90 3x ./ledger/verify 'HashCheck$' 'hash check of every leaf, tile and link'
run audit 120 2x ./ledger/audit 'Replay$' 'replay of every decision'
run audit 240 1x ./ledger/audit 'Audit$' 'the whole audit'
run start 300 3x ./ledger/statefile 'Start' 'start from a state snapshot and by full replay; ENTRIES=1000000 for a million'
run query 120 1x ./compute/engine/duckdb 'ExecuteWarm|Protected|Decision' 'protected ÷ raw DuckDB, CPU; warm execution; decision'
run query 120 1x ./compute/engine/duckdb 'Ingest$' 'ingest of a file'
run query 150 1x ./compute/engine/duckdb 'IngestTable' 'ingest, by table'
run submit 120 30x ./cmd/sandgate 'Submit' 'submit → released answer, whole process'
run kernel 60 200ms ./compute/release . 'release kernel'
run wasm 60 200ms ./compute/wasm . 'WebAssembly scoring against native Go'
run models 120 1x ./compute/model 'Utility' 'AUC that privacy at ε = 1 costs, 20,000 units'
run models 60 200ms ./compute/model 'Score' 'scoring, one core, by family'
run models 60 20x ./compute/model/encrypted 'Encrypted$' 'encrypted scoring, 32 inputs, one core, processor time; ratio to the clear sum'
run models 240 1x ./compute/model/gate 'Run$' 'the release gate, 20,000 units and 20 features'
run federate 300 1x ./compute/federate 'Encrypt|Share|Round' 'rounds across domains: 1,000,000 cells, bgv and mask; ratio to the clear sum'
run twin 120 1x ./compute/twin 'Learn|Sample' 'synthetic twin: learn and sample 200,000 × 12; three tables tied by the unit'
run workers 90 "${WORKERS:-20}x" ./sandbox 'Cold|FirstByte|SeccompScan' 'workers: spawn → READY, job → first byte, cost of the filter; jail on and off'

echo
echo "== targets"
target Append1 p50÷file le 1.5
target Append64 rate÷file ge 0.5
target Publish plain-published-ms le 200
target Publish witnessed÷plain le 1.05
target HashCheck entries/s ge 250000
target Replay entries/s ge 50000
target Audit entries/s ge 50000
target InclusionProof make-p50-ms le 1
target Utility/logistic AUC-lost le 0.01
target Utility/additive AUC-lost le 0.03
for f in linear logistic softmax additive tree forest kmeans; do target "Score/$f" Mrows/s ge 1; done
target Encrypted gateway-µs/row le 1.5
target Run s/op le 120
target Learn- ns/op le 60000000000
target Sample- rows/s ge 500000
echo
uptime
echo "raw lines: $OUT; ${SECONDS} s in all"
exit $FAILED
