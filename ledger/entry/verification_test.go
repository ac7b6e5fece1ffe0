package entry

import (
	"strings"
	"testing"
)

// TestR28_AnswersAreCommitted: an answer's commitment opens to that answer of that
// verification under that key, and looks like nothing else.
func TestR28_AnswersAreCommitted(t *testing.T) {
	key, other := []byte(strings.Repeat("a", 32)), []byte(strings.Repeat("b", 32))
	for _, want := range []bool{true, false} {
		c, salt := Commit(key, AnswerText("v1", want))
		if got, ok := AnswerOf(key, "v1", c); !ok || got != want {
			t.Errorf("%v: %v %v", want, got, ok)
		}
		if OpenCommit(salt, AnswerText("v1", want)) != c || OpenCommit(salt, AnswerText("v1", !want)) == c {
			t.Error("the salt opens another answer")
		}
		for _, x := range []struct {
			key []byte
			id  string
			c   string
		}{{other, "v1", c}, {key, "v2", c}, {key, "v1", ""}} {
			if _, ok := AnswerOf(x.key, x.id, x.c); ok {
				t.Error("it opens under another key, or for another verification")
			}
		}
	}
	yes, _ := Commit(key, AnswerText("v1", true))
	again, _ := Commit(key, AnswerText("v2", true))
	if yes == again {
		t.Error("equal answers commit equally: whoever reads the ledger would learn them")
	}
}
