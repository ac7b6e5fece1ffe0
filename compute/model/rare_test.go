package model

import (
	"fmt"
	"math"
	"testing"

	"github.com/sandgate/sandgate/policies"
)

// R02: what a model that is trained without noise says of a code that a handful of
// units have does not depend on what they are; of one that many have it does.
func TestR02RareCodesAreNotLearned(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	const units = 4_000
	for _, c := range []struct {
		family policies.ModelFamily
		label  string
	}{{policies.FamilyLinear, "cost"}, {policies.FamilyLogistic, "ill"}, {policies.FamilySoftmax, "kind"}, {policies.FamilyAdditive, "cost"}, {policies.FamilyAdditive, "ill"}} {
		for _, rare := range []string{"a", "c"} { // the first code, which has no column, and another
			moved := func(few int) float64 {
				var said []float64
				for _, high := range []bool{false, true} {
					columns := made(units, 6)
					for u := range units {
						columns["c0"].Texts[u] = []string{"b", map[string]string{"a": "c", "c": "a"}[rare]}[u%2]
						if u < few {
							columns["c0"].Texts[u] = rare
							columns["ill"].Ints[u], columns["cost"].Ints[u], columns["kind"].Texts[u] = 0, 0, "x"
							if high {
								columns["ill"].Ints[u], columns["cost"].Ints[u], columns["kind"].Texts[u] = 1, 100_000, "z"
							}
						}
					}
					s := spec(c.family, false)
					s.Features, s.Label = features(3, 1), policies.ModelLabel{Column: c.label}
					if c.label == "ill" {
						s.Label.Positive = []string{"true"}
					}
					p, _ := train(t, s, columns, 1)
					row := []Column{{Texts: []string{rare}}}
					var probe []Column
					for _, f := range p.Features {
						if f.Kind == KindCategory {
							probe = append(probe, row...)
						} else {
							probe = append(probe, Column{Ints: []int64{500}})
						}
					}
					d, err := EncodeRows(p.Features, probe)
					if err != nil {
						t.Fatal(err)
					}
					out := scoresOf(t, p, d)
					said = append(said, out[len(out)-1])
				}
				return math.Abs(said[1] - said[0])
			}
			name := fmt.Sprintf("%s of %s, code %s", c.family, c.label, rare)
			if got := moved(5); got > 0.02 {
				t.Errorf("%s: five units move what is said of them by %.3f", name, got)
			}
			if got := moved(400); got < 0.1 {
				t.Errorf("%s: four hundred units move it by %.3f only: nothing is shown", name, got)
			}
		}
	}
}
