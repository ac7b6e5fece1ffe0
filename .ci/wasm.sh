#!/usr/bin/env bash
# Builds the WebAssembly guests of testdata/wasm from source into DIR.
# Installs what is missing first: clang and lld by apt-get (as root), AssemblyScript by npm into a cache outside the repository.
#   .ci/wasm.sh [DIR]              install and build; DIR defaults to the cache
#   .ci/wasm.sh --offline [DIR]    build only; exit 77 names what is missing
# Called by: make test, and by the tests of compute/wasm (--offline)
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
src=$here/testdata/wasm
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/sandgate/wasm
ASSEMBLYSCRIPT=0.28.20
offline=
if [ "${1:-}" = --offline ]; then
	offline=1
	shift
fi
out=${1:-$cache/guests}
asc=$cache/node_modules/.bin/asc

has_clang() { command -v clang >/dev/null && command -v wasm-ld >/dev/null; }
# The version is read from the package: starting the compiler takes seconds.
has_asc() { [ -x "$asc" ] && command -v node >/dev/null && grep -q "\"version\": \"$ASSEMBLYSCRIPT\"" "$cache/node_modules/assemblyscript/package.json"; }
if [ -z "$offline" ]; then
	mkdir -p "$cache"
	if ! has_clang && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		{ apt-get update && apt-get install -y --no-install-recommends clang lld; } >"$cache/apt.log" 2>&1 || tail -n 5 "$cache/apt.log" >&2
	fi
	if ! has_asc && command -v npm >/dev/null; then
		npm install --no-fund --no-audit --silent --prefix "$cache" "assemblyscript@$ASSEMBLYSCRIPT" >"$cache/npm.log" 2>&1 || tail -n 5 "$cache/npm.log" >&2
	fi
fi
missing=()
has_clang || missing+=("clang 与 wasm-ld · clang and wasm-ld: sudo apt-get install clang lld")
has_asc || missing+=("AssemblyScript $ASSEMBLYSCRIPT: npm install --prefix $cache assemblyscript@$ASSEMBLYSCRIPT")
if [ ${#missing[@]} -gt 0 ]; then
	printf '!! 缺少 WebAssembly 编译器 · a WebAssembly compiler is missing: %s\n' "${missing[@]}" >&2
	exit 77
fi
mkdir -p "$out"
for guest in logistic words income spy; do
	clang --target=wasm32 -O2 -std=c11 -Wall -Wno-int-to-pointer-cast -nostdlib -ffreestanding -I "$src" "$src/$guest.c" -o "$out/$guest-c.wasm" \
		-Wl,--no-entry -Wl,--strip-all -Wl,--max-memory=67108864 -Wl,-z,stack-size=16384
done
# In its own folder: the compiler names sources by their path.
(cd "$src" && "$asc" logistic.ts -O3 --runtime stub --use abort= --exportStart _initialize --maximumMemory 1024 --outFile "$out/logistic-as.wasm")
