#!/usr/bin/env bash
# Installs strace, by which tests let system calls of the gateway fail: by apt-get, as root. Prints its path.
# Called by: make test
set -euo pipefail
if ! command -v strace >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	log=$(mktemp)
	{ apt-get update && apt-get install -y --no-install-recommends strace; } >"$log" 2>&1 || tail -n 5 "$log" >&2
	rm -f "$log"
fi
command -v strace
