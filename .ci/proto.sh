#!/usr/bin/env bash
# Generates the Go code of the protos, in place or below $OUT. Called by: make proto
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env.sh"
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
GOBIN=$bin go install "$PROTOC_GEN_GO"
GOBIN=$bin go install "$PROTOC_GEN_GO_GRPC"
cd "${OUT:-$here/../gateway/api}"
PATH=$bin:$PATH go run "$BUF" generate
