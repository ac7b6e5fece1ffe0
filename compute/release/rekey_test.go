package release

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
)

// TestR20_RekeyedReleasesAreInTheirOwnOrder: values are mapped, rows stand in the order
// of the new values with NULL behind them, and nothing of the release given changes.
func TestR20_RekeyedReleasesAreInTheirOwnOrder(t *testing.T) {
	r := fixed([3]any{"a", 30, 300}, [3]any{"b", 10, nil}, [3]any{"c", 20, 100}, [3]any{nil, 5, 100})
	before := string(r.Encode())
	digest := r.Digest()
	turned := map[string]string{"a": "z", "b": "m", "c": "k"}
	x, err := r.Rekeyed([]int{0}, func(k int, v string) string {
		if k != 0 {
			t.Errorf("key %d", k)
		}
		return turned[v]
	})
	if err != nil {
		t.Fatal(err)
	}
	keys := func(r *Release) (out []string) {
		for _, row := range r.Rows() {
			out = append(out, row[0].Value+"="+row[1].Value)
		}
		return out
	}
	if got := keys(x); !slices.Equal(got, []string{"k=20", "m=10", "z=30", "=5"}) {
		t.Errorf("%v", got)
	}
	if string(r.Encode()) != before || r.Digest() != digest {
		t.Error("the release that was given changed")
	}
	// Post-processing sees the new values, and names the release that is committed to.
	y, err := x.Apply(algebra.Post{Outputs: outputs(0, 1), Order: []algebra.Order{{Ref: 0, Desc: true}},
		Having: &algebra.PostPred{Op: algebra.OpIn, Ref: 0, Values: []algebra.Value{{Type: textType, S: "z"}, {Type: textType, S: "m"}, {Type: textType, S: "a"}}}})
	if err != nil || !slices.Equal(keys(y), []string{"z=30", "m=10"}) {
		t.Errorf("%v, %v", keys(y), err)
	}
	if !strings.Contains(string(y.Encode()), `"source":"`+hex.EncodeToString(digest[:])+`"`) {
		t.Error("the source of what was derived is not the stored release")
	}
	for name, keys := range map[string][]int{"no key": {1}, "none such": {7}, "negative": {-1}} {
		if _, err := r.Rekeyed(keys, func(_ int, v string) string { return v }); err == nil {
			t.Errorf("%s: re-keyed", name)
		}
	}
	if _, err := y.Rekeyed([]int{0}, func(_ int, v string) string { return v }); err == nil {
		t.Error("a derived release is re-keyed")
	}
}

// TestAttack_R20_HiddenColumnsAreOneFamily: who has a value in a column and in what
// stands for it under a mask can be subtracted from each other, so they are searched
// together; their sums are different quantities.
func TestAttack_R20_HiddenColumnsAreOneFamily(t *testing.T) {
	fee := algebra.Col{Name: "fee", Type: yuanType}
	hidden := algebra.Col{Name: "_m_fee_0123456789ab", Type: yuanType}
	other := algebra.Col{Name: "fees", Type: yuanType}
	if familyOf(&fee) != familyOf(&hidden) {
		t.Error("a column and its hidden form are not held against each other")
	}
	if familyOf(&fee) == familyOf(&other) {
		t.Error("control: two columns are one family")
	}
	if sumOf(&fee) == sumOf(&hidden) {
		t.Error("sums under two masks are one quantity")
	}
}
