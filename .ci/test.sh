#!/usr/bin/env bash
# All tests, in random order, with the race detector (packages of arithmetic see below). Called by: make test
set -uo pipefail
cd "$(dirname "$0")/.."
. .ci/env.sh
real=${SANDGATE_REAL_DATA:-../shared/data}
if [ -e "$real/diabetes-encounters.csv.gz" ]; then
	SANDGATE_REAL_DATA=$(cd "$real" && pwd)
	export SANDGATE_REAL_DATA
else
	echo "!! 真实数据文件不在，跳过真实数据测试 · REAL DATA NOT FOUND: the story on real data is SKIPPED (set SANDGATE_REAL_DATA to the folder of diabetes-encounters.csv.gz)"
fi
SANDGATE_BIN=$(mktemp -d)/sandgate
export SANDGATE_BIN
trap 'rm -rf "$(dirname "$SANDGATE_BIN")"' EXIT
# Brings the WebAssembly compilers, without which the tests of guests built from source are skipped (and fail with CI=true).
./.ci/wasm.sh >/dev/null || echo "!! 没有 WebAssembly 编译器，从源码构建的测试将跳过 · NO WEBASSEMBLY COMPILERS: tests of guests built from source are SKIPPED"
# Brings onnxruntime, without which exported models are not scored by it (and the test fails with CI=true).
./.ci/onnx.sh >/dev/null || echo "!! 没有 onnxruntime，导出模型的对照测试将跳过 · NO ONNXRUNTIME: the test that scores exported models with it is SKIPPED"
./.ci/strace.sh >/dev/null || echo "!! 没有 strace，系统调用故障注入将跳过；安装: sudo apt-get install strace · NO STRACE: the test that lets system calls fail is SKIPPED"
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ||
	echo "!! 没有浏览器，孪生网页不在浏览器中检查；安装: sudo apt-get install chromium fonts-noto-cjk · NO BROWSER: the test that lays the page of a twin out in one is SKIPPED"
cached=${XDG_CACHE_HOME:-$HOME/.cache}/sandgate/vault/vault-v1.21.2
if [ -z "${VAULT_BIN:-}" ] && [ ! -x "$cached" ] && ! command -v vault >/dev/null; then
	echo "!! 没有 Vault 服务器，相关测试将跳过；构建: make vault · NO VAULT SERVER: the tests of keys in Vault are SKIPPED (build one with: make vault)"
fi
echo "building the binary that the stories run"
if ! go build -trimpath -tags "$TAGS" -ldflags "$LDFLAGS" -o "$SANDGATE_BIN" ./cmd/sandgate >"$LOGS/build.log" 2>&1; then
	tail -n 40 "$LOGS/build.log"
	exit 1
fi
# Engine workers hold several hundred MB each: two packages at a time.
status=0
tests() {
	# The log's library writes two lines for each new ledger, which would hide a failure.
	go test -tags "$TAGS" -shuffle=on -count=1 -p "${PKGS_AT_ONCE:-2}" -timeout 30m "$@" 2>&1 | grep --line-buffered -v -e '^[IW][0-9]\{4\} .*\(files\|append_lifecycle\)\.go:' | tee -a "$LOGS/test.log" | grep -v -e 'no test files' -e 'warning: Using' -e 'in function `'
	[ "${PIPESTATUS[0]}" -eq 0 ] || status=1
}
# Packages of arithmetic take ten times as long under the race detector: there they run
# short, which keeps what has goroutines, and whole without it.
arithmetic='/compute/(release|model|model/gate|twin|federate)$'
mapfile -t whole < <(go list -tags "$TAGS" ./... | grep -vE "$arithmetic")
mapfile -t sums < <(go list -tags "$TAGS" ./... | grep -E "$arithmetic")
if [ "${#whole[@]}" -eq 0 ] || [ "${#sums[@]}" -ne 5 ]; then
	echo "the packages could not be listed"
	exit 1
fi
tests -race "${whole[@]}"
tests "${sums[@]}"
tests -race -short $(printf '%s\n' "${sums[@]}" | grep -e /model -e /twin)
if [ "$status" -ne 0 ]; then
	echo "== failures, last lines =="
	# A story tells where it stopped at its end, any other test after its name.
	{
		grep -B 12 -e 'FAIL: .*txtar:' "$LOGS/test.log"
		grep -A 12 -e '--- FAIL' -e '^panic:' -e 'DATA RACE' "$LOGS/test.log" | grep -v txtar
	} | cut -c 1-300 | tail -n 150
	echo "== what failed =="
	grep -n -e '--- FAIL' -e '^FAIL' -e 'panic:' -e 'DATA RACE' "$LOGS/test.log" | tail -n 40
fi
exit "$status"
