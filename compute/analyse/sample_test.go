package analyse

import (
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
)

// TestSamplesFitEveryType: a sample is a valid literal of every type, two samples are
// two values, and no other parameter is taken for one.
func TestSamplesFitEveryType(t *testing.T) {
	types := []algebra.Type{{Kind: algebra.Text}, {Kind: algebra.Date}, {Kind: algebra.Bool}, {Kind: algebra.Int}, {Kind: algebra.Decimal, Scale: 2}}
	for _, typ := range types {
		for _, half := range []bool{false, true} {
			a, okA := literal{kind: litParameter, s: Sample(0, half)}.fit(typ)
			b, okB := literal{kind: litParameter, s: Sample(1, half)}.fit(typ)
			if !okA || !okB {
				t.Errorf("%s: a sample does not fit", typ.Kind)
			}
			if isNumber(typ) {
				if a.number.Cmp(b.number) == 0 || a.number.IsInt() == half {
					t.Errorf("%s: %s and %s", typ.Kind, a.number, b.number)
				}
			} else if typ.Kind != algebra.Bool && a.i == b.i && a.s == b.s {
				t.Errorf("%s: two samples are one value", typ.Kind)
			}
		}
	}
	for _, s := range []string{"sample/1", "\x00sample/", "\x00sample/0", "\x00sample/x", "\x00"} {
		if v, ok := (literal{kind: litParameter, s: s}).sampled(types[3]); ok {
			t.Errorf("%q is taken for a sample: %+v", s, v)
		}
	}
	if _, ok := (literal{kind: litText, s: Sample(0, false)}).sampled(types[0]); ok {
		t.Error("a literal of the text is taken for a sample")
	}
}
