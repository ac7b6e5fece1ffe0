#!/usr/bin/env bash
# Installs onnxruntime, with which tests score exported models, into a cache outside the repository (60 MB to fetch). Prints its python.
#   .ci/onnx.sh              install where it is missing
#   .ci/onnx.sh --offline    look only; exit 77 names what is missing
# Called by: make test, and by the tests of compute/model/onnx (--offline)
set -euo pipefail
PACKAGES=(onnxruntime==1.32.0 numpy==2.4.6)
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/sandgate/onnx
python=$cache/bin/python
has() { [ -x "$python" ] && [ "$(cat "$cache/installed" 2>/dev/null)" = "${PACKAGES[*]}" ]; }
if [ "${1:-}" != --offline ] && ! has; then
	mkdir -p "$cache"
	if ! python3 -c 'import ensurepip' 2>/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		{ apt-get update && apt-get install -y --no-install-recommends python3 python3-venv; } >"$cache/apt.log" 2>&1 || tail -n 5 "$cache/apt.log" >&2
	fi
	if { python3 -m venv "$cache" && "$cache/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "${PACKAGES[@]}"; } >"$cache/pip.log" 2>&1; then
		echo "${PACKAGES[*]}" >"$cache/installed"
	else
		tail -n 5 "$cache/pip.log" >&2
	fi
fi
if ! has; then
	echo "!! 缺少 onnxruntime · onnxruntime is missing: .ci/onnx.sh installs ${PACKAGES[*]} (python3 3.11 or newer with venv, PyPI)" >&2
	exit 77
fi
echo "$python"
