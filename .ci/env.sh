# Shared by the scripts of this folder: versions of the tools and the build tags.
export TAGS='netgo osusergo landlocktsync'
export LDFLAGS='-s -w -linkmode external -extldflags "-static"'
BUF=github.com/bufbuild/buf/cmd/buf@v1.57.2
STATICCHECK=honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK=golang.org/x/vuln/cmd/govulncheck@v1.8.0
PROTOC_GEN_GO=google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.11
PROTOC_GEN_GO_GRPC=google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.0
LOGS=${LOGS:-$(mktemp -d)}

# part NAME COMMAND…: runs a part, keeps its output, and shows the last lines of one that fails.
FAILED=0
part() {
	local name=$1 start=$SECONDS
	shift
	if "$@" >"$LOGS/$name.log" 2>&1; then
		echo "ok   $name ($((SECONDS - start)) s)"
	else
		echo "FAIL $name ($((SECONDS - start)) s); last lines:"
		tail -n 60 "$LOGS/$name.log"
		FAILED=1
	fi
}
