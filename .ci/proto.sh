#!/usr/bin/env bash
# Generates the Go code of the protos, in place or in copies at $OUT and $OUT_ONNX. Called by: make proto
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env.sh"
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
GOBIN=$bin go install "$PROTOC_GEN_GO"
GOBIN=$bin go install "$PROTOC_GEN_GO_GRPC"
for dir in "${OUT:-$here/../gateway/api}" "${OUT_ONNX:-$here/../compute/model/onnx/onnxpb}"; do
	(cd "$dir" && PATH=$bin:$PATH go run "$BUF" generate)
done
