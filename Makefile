# Sandgate. Two commands do everything:
#   make run     build, and play the whole story on the demo city (ARGS=--once to exit after it)
#   make test    all tests
SHELL   := /bin/bash
GO      ?= go
TAGS    := netgo osusergo landlocktsync
LDFLAGS := -s -w -linkmode external -extldflags "-static"
BIN     := bin/sandgate
# Tests that start engine workers hold several hundred MB each: two at a time.
PKGS_AT_ONCE ?= 2

.PHONY: run build test lint bench attack escape fuzz proto vault check-tools clean

run: build
	./$(BIN) demo $(ARGS)

build: check-tools
	@mkdir -p bin
	@$(GO) build -trimpath -tags '$(TAGS)' -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/sandgate 2> >(grep -v -e 'warning: Using' -e 'in function' -e '^# github.com' >&2)

# A missing tool is named with the command that brings it.
check-tools:
	@command -v $(GO) >/dev/null || { echo "缺少 Go 1.26 或更新版本 · Go 1.26 or newer is missing: https://go.dev/dl" >&2; exit 1; }
	@command -v gcc >/dev/null && command -v g++ >/dev/null || { echo "缺少 C/C++ 工具链 · the C/C++ toolchain is missing: sudo apt-get install build-essential" >&2; exit 1; }

test: check-tools
	./.ci/test.sh

lint:
	./.ci/lint.sh

bench: build
	./.ci/bench.sh

# The attack suite at full strength; writes the leak score card.
attack: check-tools
	./.ci/attack.sh

# Every escape attack against every set of isolation layers.
escape: check-tools
	./.ci/escape.sh

# Every fuzz target for FUZZTIME each.
fuzz: check-tools
	./.ci/fuzz.sh

proto:
	./.ci/proto.sh

# The Vault server that tests of keys run against; about 14 minutes of CPU, once.
vault: check-tools
	./.ci/vault.sh

clean:
	rm -rf bin
