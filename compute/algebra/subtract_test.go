package algebra

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// TestSetsBySearch: subtract and insert are complement-and-intersect and unite.
func TestSetsBySearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) []span {
			var list []span
			for range rapid.IntRange(0, 6).Draw(t, label) {
				lo := rapid.Int64Range(-20, 20).Draw(t, "lo")
				s := span{lo: key{i: lo}, open: rapid.IntRange(0, 9).Draw(t, "open") == 0}
				if !s.open {
					s.hi = key{i: lo + rapid.Int64Range(1, 9).Draw(t, "length")}
				}
				list = append(list, s)
			}
			return unite(list, nil)
		}
		a, b := draw("a"), draw("b")
		dom := domainOf(Int)
		if got, want := subtract(a, b), intersect(a, dom.complement(b)); !equal(got, want) {
			t.Fatalf("%v - %v = %v, want %v", a, b, got, want)
		}
		want := unite(a, b)
		for i := range want {
			if want[i].open {
				want[i].hi = key{}
			}
		}
		got := insert(append([]span(nil), a...), b)
		for i := range got {
			if got[i].open {
				got[i].hi = key{}
			}
		}
		if !equal(got, want) {
			t.Fatalf("%v + %v = %v, want %v", a, b, got, want)
		}
	})
}

func equal(a, b []span) bool { return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b) }
