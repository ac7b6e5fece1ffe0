package query

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/protect"
)

// R39: the plan that travels in a brief makes the very round that it was made of, ranks or
// not: a party without the data set releases by it what the contributors agreed to.
func TestR39_PlanOfABrief(t *testing.T) {
	for _, keys := range []string{"g", "gh"} {
		p := plan(t, facts(), keys)
		mine, err := New(p, terms, "salt")
		if err != nil {
			t.Fatal(err)
		}
		text, err := Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), `"ranks":[`) {
			t.Error("ranks left the domain")
		}
		back, err := Decode(text)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := New(back, terms, "salt")
		if err != nil {
			t.Fatal(err)
		}
		if mine.Schema() != theirs.Schema() || mine.Query() != theirs.Query() || !theirs.Fits(proposalOf(mine)) {
			t.Errorf("keys %q: the plan of the brief makes another round", keys)
		}
		// What the hub changes in it, the proposal's digest shows.
		for _, change := range [][2]string{{`"rho":`, `"rho":1`}, {`"max_rows":2`, `"max_rows":3`}, {`"sigma2":`, `"sigma2":1`}, {`"s":"a"`, `"s":"A"`}} {
			other := strings.Replace(string(text), change[0], change[1], 1)
			if other == string(text) {
				t.Fatalf("the plan has no %s", change[0])
			}
			if changed, err := Decode([]byte(other)); err == nil {
				if q, err := New(changed, terms, "salt"); err == nil && q.Fits(proposalOf(mine)) {
					t.Errorf("%s went unseen", change[1])
				}
			}
		}
	}
}

// huge is a plan of n keys with m codes each.
func huge(n, m int) string {
	codes := strings.TrimSuffix(strings.Repeat(`{"type":{"kind":"text"},"s":"a"},`, m), ",")
	key := fmt.Sprintf(`{"col":{"name":"g","type":{"kind":"text"}},"codes":[%s]}`, codes)
	return fmt.Sprintf(`{"core":{"tables":[{"dataset":"t"}]},"mode":"dp","max_rows":1,"one_row":true,"ranks":null,"keys":[%s],"measures":[{"kind":"rows","sens2":1,"sigma2":100}],"outputs":[],"max_cells":1,"rho":1}`,
		strings.TrimSuffix(strings.Repeat(key+",", n), ","))
}

// FuzzDecode: a hostile plan is refused before anything is laid out by it.
func FuzzDecode(f *testing.F) {
	p, r := protect.Build(plan(f, facts(), "g").Core, []protect.Facts{facts()}, 100_000_000)
	if r != nil {
		f.Fatal(r)
	}
	text, err := Encode(p)
	if err != nil {
		f.Fatal(err)
	}
	good := string(text)
	for _, bad := range []string{"", "{}", "null", good + " {}", strings.Replace(good, `"mode"`, `"mood"`, 1), strings.Replace(good, `"sigma2":`, `"sigma2":-`, 1), huge(8, 100), huge(1, 0), strings.Replace(huge(1, 1), `"sigma2":100`, `"sigma2":0`, 1)} {
		if _, err := Decode([]byte(bad)); err == nil {
			f.Errorf("taken: %.80s", bad)
		}
		f.Add(bad)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Decode([]byte(text))
		if err != nil {
			return
		}
		if q, err := New(p, terms, "salt"); err == nil && len(q.Columns()) == 0 {
			t.Error("a round without columns")
		}
	})
}
