#!/usr/bin/env bash
# Formatting, vet, static analysis, known vulnerabilities, protos. Called by: make lint
set -uo pipefail
cd "$(dirname "$0")/.."
. .ci/env.sh

formatted() {
	local bad
	bad=$(git ls-files '*.go' | xargs gofmt -l)
	[ -z "$bad" ] || { echo "not gofmt-clean:"; echo "$bad"; return 1; }
}
protos() { (cd gateway/api && go run "$BUF" lint); }
generated() {
	local tmp
	tmp=$(mktemp -d)
	cp -r gateway/api "$tmp/api"
	cp -r compute/model/onnx/onnxpb "$tmp/onnxpb"
	OUT="$tmp/api" OUT_ONNX="$tmp/onnxpb" ./.ci/proto.sh || return 1
	diff -r gateway/api/sandgate "$tmp/api/sandgate" && diff -r compute/model/onnx/onnxpb "$tmp/onnxpb" || { echo "generated code is stale; run: make proto"; return 1; }
}
# The vulnerability database may be out of reach; that is said, not failed.
vulnerabilities() {
	local out
	out=$(go run "$GOVULNCHECK" -tags "${TAGS// /,}" ./... 2>&1) && { echo "$out"; return 0; }
	if grep -q -e 'vuln.go.dev' -e 'dial tcp' -e 'no such host' -e 'Forbidden' <<<"$out"; then
		echo "SKIPPED: the vulnerability database cannot be reached from here"
		return 0
	fi
	echo "$out"
	return 1
}

part gofmt formatted
part vet go vet -tags "$TAGS" ./...
part staticcheck go run "$STATICCHECK" -tags "$TAGS" ./...
part buf-lint protos
part proto-fresh generated
part govulncheck vulnerabilities
grep -h SKIPPED "$LOGS/govulncheck.log" 2>/dev/null
exit "$FAILED"
