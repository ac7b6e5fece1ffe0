package policies

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"

	"github.com/sandgate/sandgate/compute/algebra"
)

// witnessKey is the vkey of a witness, drawn from one byte.
func witnessKey(t testing.TB, name string, seed byte) string {
	t.Helper()
	s, err := torchwood.NewCosignatureSigner(name, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return s.Verifier().String()
}

func witnessPolicy(t testing.TB, more string, quorum int, seeds ...byte) string {
	t.Helper()
	out := fmt.Sprintf("kind: WitnessPolicy\nquorum: %d\n%s", quorum, more)
	for i, s := range seeds {
		if i == 0 {
			out += "witnesses:\n"
		}
		out += fmt.Sprintf("  - {by: dept, key: %q, url: \"http://127.0.0.1:%d\"}\n", witnessKey(t, fmt.Sprintf("w%d.example", i), s), 7000+i)
	}
	return out
}

func TestR30_WitnessPolicyIsTheRegulators(t *testing.T) {
	b := town(t, "")
	good := witnessPolicy(t, "from_level: 4\n", 2, 1, 2, 3)
	for name, c := range map[string]struct {
		text    string
		signers []string
		want    string
	}{
		"a department's":      {good, []string{"dept"}, "signature of the regulator"},
		"an operator's":       {good, []string{"op"}, "signature of the regulator"},
		"too many asked for":  {witnessPolicy(t, "", 4, 1, 2, 3), []string{"bureau"}, "quorum"},
		"negative":            {witnessPolicy(t, "", -1, 1), []string{"bureau"}, "quorum"},
		"nobody asked":        {witnessPolicy(t, "", 0, 1), []string{"bureau"}, "quorum 0"},
		"nobody, with level":  {"kind: WitnessPolicy\nquorum: 0\nfrom_level: 3\n", []string{"bureau"}, "quorum 0"},
		"level 7":             {witnessPolicy(t, "from_level: 7\n", 1, 1), []string{"bureau"}, "from_level"},
		"endless patience":    {witnessPolicy(t, "patience_minutes: 99999\n", 1, 1), []string{"bureau"}, "patience"},
		"one key twice":       {witnessPolicy(t, "", 2, 1, 1), []string{"bureau"}, "key of another"},
		"one name twice":      {strings.Replace(witnessPolicy(t, "", 2, 1, 2), witnessKey(t, "w1.example", 2), witnessKey(t, "w0.example", 2), 1), []string{"bureau"}, "name of another"},
		"one place twice":     {strings.Replace(good, ":7001", ":7000", 1), []string{"bureau"}, "url of another"},
		"run by an operator":  {strings.Replace(good, "by: dept", "by: op", 1), []string{"bureau"}, "whoever is watched"},
		"run by nobody":       {strings.Replace(good, "by: dept", "by: ghost", 1), []string{"bureau"}, "whoever is watched"},
		"a log's key":         {strings.Replace(good, witnessKey(t, "w0.example", 1), "w0.example+00000000+AAAA", 1), []string{"bureau"}, "cosignature key"},
		"a file":              {strings.Replace(good, "http://127.0.0.1:7000", "file:///etc/passwd", 1), []string{"bureau"}, "url"},
		"a password":          {strings.Replace(good, "http://127.0.0.1:7000", "http://u:p@h", 1), []string{"bureau"}, "url"},
		"an unknown field":    {good + "extra: 1\n", []string{"bureau"}, "extra"},
		"seventeen witnesses": {witnessPolicy(t, "", 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17), []string{"bureau"}, "allowed are 16"},
	} {
		if _, _, err := b.Apply(signed(t, c.text, c.signers...), time.Unix(0, 0)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	next := apply(t, b, good, "bureau")
	if p := next.Witnesses(); p == nil || p.Quorum != 2 || p.Patience() != 10*time.Minute || p.Witnesses[2].Name() != "w2.example" || b.Witnesses() != nil {
		t.Errorf("%+v", p)
	}
	if over := apply(t, next, "kind: WitnessPolicy\nquorum: 0\n", "bureau"); over.Witnesses() != nil {
		t.Error("quorum 0 does not end it")
	}
}

// What an answer waits for: the strictest of level, departments and witness policy.
// Where it is witnessed and nobody witnesses, nothing is started.
func TestR30_WaitWitnessed(t *testing.T) {
	b := town(t, "")
	core := algebra.Core{Tables: []algebra.Table{{Dataset: "people"}}, Aggs: []algebra.Agg{{Func: algebra.CountRows}}}
	level := b.LevelOf(core).Level
	if got := b.WaitOf(core); got == WaitWitnessed {
		t.Fatalf("wait %s without anybody asking", got)
	}
	for _, c := range []struct {
		from int
		want bool
	}{{0, false}, {level, true}, {level + 1, false}, {1, true}} {
		if c.from > highestLevel {
			continue
		}
		more := ""
		if c.from > 0 {
			more = fmt.Sprintf("from_level: %d\n", c.from)
		}
		next := apply(t, b, witnessPolicy(t, more, 1, 1), "bureau")
		if got := next.WaitOf(core); (got == WaitWitnessed) != c.want {
			t.Errorf("from level %d, data of level %d: wait %s", c.from, level, got)
		}
	}
	if x := b.decideWitnesses(WaitWitnessed); x == nil || x.Code != "NO_WITNESSES" {
		t.Errorf("%v", x)
	}
	if x := b.decideWitnesses(WaitPublished); x != nil {
		t.Errorf("%v", x)
	}
	for _, c := range []struct {
		waits []string
		want  string
	}{
		{nil, WaitDurable}, {[]string{""}, WaitDurable}, {[]string{WaitWitnessed, WaitPublished}, WaitWitnessed}, {[]string{WaitPublished, WaitWitnessed}, WaitWitnessed},
		{[]string{WaitPublished, WaitDurable}, WaitPublished},
	} {
		if got := longestWait(c.waits); got != c.want {
			t.Errorf("%v: %s", c.waits, got)
		}
	}
}
