#!/usr/bin/env bash
# Runs every fuzz target of the repository for FUZZTIME (default 20s). Called by: make fuzz
set -uo pipefail
cd "$(dirname "$0")/.."
. .ci/env.sh
while IFS=: read -r file name; do
	part "$name" go test -tags "$TAGS" -run '^$' -fuzz "^$name\$" -fuzztime "${FUZZTIME:-20s}" "./$(dirname "$file")"
done < <(grep -rhoE --include='*_test.go' -H '^func Fuzz[A-Za-z0-9_]+' . | sed -e 's/^\.\///' -e 's/func //')
exit "$FAILED"
