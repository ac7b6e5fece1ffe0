#!/usr/bin/env bash
# Builds the Vault server that the tests of gateway/home/vault run, once, into a cache. Prints its path.
# Vault's server is a test tool (BUSL 1.1): it is neither shipped nor part of the product's module graph, whose
# client (MPL 2.0) is another module. Called by: make vault
set -euo pipefail
version=v1.21.2
sdk=v0.20.0
api=v1.22.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sandgate/vault
bin=$cache/vault-$version
if [ -x "$bin" ]; then
	echo "$bin"
	exit 0
fi
mkdir -p "$cache"
work=$(mktemp -d "$cache/build-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
# Hashes of the checksum database, repeated here so that the build does not depend on its setting.
cat >pin.sum <<SUM
github.com/hashicorp/vault v1.21.2 h1:t6/vAAhgGvKukkIAQBUPenvfLiJ5oUm8CmOMa6tgUYQ=
github.com/hashicorp/vault/api v1.22.0 h1:+HYFquE35/B74fHoIeXlZIP2YADVboaPjaSicHEZiH0=
github.com/hashicorp/vault/sdk v0.20.0 h1:a4ulj2gICzw/qH0A4+6o36qAHxkUdcmgpMaSSjqE3dc=
SUM
printf 'module sandgate.invalid/vault\n\ngo 1.26\n' >go.mod
source=$(go mod download -json "github.com/hashicorp/vault@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
[ -f "$source/go.mod" ] || { echo "取不到 Vault 模块 · the module github.com/hashicorp/vault@$version cannot be downloaded" >&2; exit 1; }
# The module's own requirements and replacements, but for those that point into its repository.
sed -e 's|^module .*|module sandgate.invalid/vault|' -e '/^replace github.com\/hashicorp\/vault\//d' "$source/go.mod" >go.mod
cat "$source/go.sum" pin.sum >go.sum
chmod u+w go.mod go.sum
go mod edit -require="github.com/hashicorp/vault@$version" -require="github.com/hashicorp/vault/sdk@$sdk" -require="github.com/hashicorp/vault/api@$api"
echo "正在构建 Vault $version，约需 14 分钟 CPU 时间 · building Vault $version: about 14 minutes of CPU, once" >&2
CGO_ENABLED=0 GOFLAGS= go build -mod=mod -trimpath -tags minimal -ldflags '-s -w' -o vault github.com/hashicorp/vault >&2
./vault version >&2
mv vault "$bin"
echo "$bin"
