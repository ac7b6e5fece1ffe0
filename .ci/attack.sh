#!/usr/bin/env bash
# The attack suite at full strength against the real program, and the leak score card. Called by: make attack
# SANDGATE_ATTACK=quick runs it at the strength of make test; SANDGATE_ATTACK_RUN=REGEXP only some of it.
# docs/leakage-scorecard.md and .json are written by a run of everything at full strength.
# SANDGATE_ATTACK_ROWS='18' measures rows by themselves, and writes them on the card that is there; the others stay.
set -uo pipefail
cd "$(dirname "$0")/.."
. .ci/env.sh
export SANDGATE_ATTACK=${SANDGATE_ATTACK:-full}
read -ra rows <<<"${SANDGATE_ATTACK_ROWS:-}"
some=${SANDGATE_ATTACK_RUN:-Attack}
[ "${#rows[@]}" = 0 ] || some="Attack($(IFS='|' && echo "${rows[*]}"))"
SANDGATE_SCORECARD=${SANDGATE_SCORECARD:-$PWD/bin/scorecard.jsonl}
mkdir -p "$(dirname "$SANDGATE_SCORECARD")"
SANDGATE_SCORECARD=$(cd "$(dirname "$SANDGATE_SCORECARD")" && pwd)/$(basename "$SANDGATE_SCORECARD")
export SANDGATE_SCORECARD
: >"$SANDGATE_SCORECARD"
document=()
[ "$SANDGATE_ATTACK" = full ] && { [ "$some" = Attack ] || [ "${#rows[@]}" -gt 0 ]; } && document=(docs/leakage-scorecard "${rows[@]}")
if [ -z "${SANDGATE_BIN:-}" ]; then
	SANDGATE_BIN=$LOGS/sandgate
	echo "构建被攻击的程序 · building the program that is attacked"
	if ! go build -trimpath -tags "$TAGS" -ldflags "$LDFLAGS" -o "$SANDGATE_BIN" ./cmd/sandgate >"$LOGS/build.log" 2>&1; then
		tail -n 40 "$LOGS/build.log"
		exit 1
	fi
fi
case $SANDGATE_BIN in /*) ;; *) SANDGATE_BIN=$PWD/$SANDGATE_BIN ;; esac
export SANDGATE_BIN
# Only packages that have an attack test: the others would be linked for nothing.
mapfile -t packages < <(grep -rl --include='*_test.go' -E '^func Test[A-Za-z0-9_]*Attack' . | xargs -n1 dirname | sort -u)
[ "${#packages[@]}" -gt 0 ] || { echo "没有攻击测试 · no attack test was found" >&2; exit 1; }
# One package at a time: the timings of two would disturb each other.
go test -tags "$TAGS" -count=1 -p 1 -timeout 90m -json -run "$some" "${packages[@]}" >"$LOGS/attack.json" 2>"$LOGS/attack.err"
tests=$?
go run ./cmd/sandgate/internal/scorecard "$SANDGATE_SCORECARD" "${document[@]}" <"$LOGS/attack.json"
card=$?
if [ "$tests" -ne 0 ] || [ "$card" -ne 0 ]; then
	echo "== 失败的最后几行 · last lines of what failed =="
	grep -v -e 'warning: Using' -e 'in function' "$LOGS/attack.err" | tail -n 20
	grep -e '"Action":"output"' "$LOGS/attack.json" | grep -e '_test.go' -e 'leak.go' -e 'panic' -e 'FAIL' | sed 's/.*"Output":"\(.*\)"}/\1/' | tail -n 40
	exit 1
fi
echo "评分卡 score card: $SANDGATE_SCORECARD ${document[*]}"
