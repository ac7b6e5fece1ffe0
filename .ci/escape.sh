#!/usr/bin/env bash
# The escape suite in full: every attack in every set of layers, as an ordinary
# user and as root of the arena; prints both tables. Called by: make escape
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/env.sh
SANDGATE_ESCAPE=full go test -tags "$TAGS" -count=1 -timeout 15m -v -run 'EscapeSuite' ./sandbox/
