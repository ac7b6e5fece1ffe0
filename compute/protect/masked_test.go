package protect

import (
	"slices"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// What a monotone mask leaves of bounded numbers and dates is a public code list,
// and the bounds go along.
func TestR20_GeneralisedColumnsAreEnumerable(t *testing.T) {
	date := policies.Column{Name: "d", Type: algebra.Date, Bounds: &policies.Bounds{Lo: "1940-03-05", Hi: "2025-12-31"}}
	yuan := policies.Column{Name: "y", Type: algebra.Decimal, Scale: 2, Bounds: &policies.Bounds{Lo: "0.00", Hi: "25.00"}}
	count := policies.Column{Name: "n", Type: algebra.Int, Bounds: &policies.Bounds{Lo: "-7", Hi: "12"}, Codes: []policies.Code{{Value: "-7"}, {Value: "+05"}, {Value: "12"}}}
	text := policies.Column{Name: "t", Type: algebra.Text, Codes: []policies.Code{{Value: "a@x.cn"}, {Value: "b@X.cn"}, {Value: "none"}}}
	quarter := func(s string) int64 { v, _ := algebra.ParseDate(s); return v }
	for _, c := range []struct {
		name     string
		column   policies.Column
		mask     policies.Mask
		codes    []int64
		bounds   *Range
		nullable bool
	}{
		{"age band", date, policies.Mask{Op: "age_band", At: "2026-01-01", Edges: []string{"0", "18", "60"}}, []int64{0, 18, 60}, &Range{0, 60}, false},
		{"bands beyond the bounds", date, policies.Mask{Op: "age_band", At: "2026-01-01", Edges: []string{"0", "18", "60", "100"}}, []int64{0, 18, 60}, &Range{0, 60}, false},
		{"band", yuan, policies.Mask{Op: "band", Width: "10.00"}, []int64{0, 1000, 2000}, &Range{0, 2000}, false},
		{"round", yuan, policies.Mask{Op: "round", Width: "10.00"}, []int64{0, 1000, 2000, 3000}, &Range{0, 3000}, false},
		{"quarter", policies.Column{Name: "d", Type: algebra.Date, Bounds: &policies.Bounds{Lo: "2025-02-01", Hi: "2025-08-01"}}, policies.Mask{Op: "quarter"},
			[]int64{quarter("2025-01-01"), quarter("2025-04-01"), quarter("2025-07-01")}, &Range{quarter("2025-01-01"), quarter("2025-07-01")}, false},
		{"codes in bands", count, policies.Mask{Op: "band", Width: "10"}, []int64{-10, 0, 10}, &Range{-10, 10}, false},
		{"clipped days are no list", date, policies.Mask{Op: "clip", Lo: "1950-01-01"}, nil, &Range{quarter("1950-01-01"), quarter("2025-12-31")}, false},
		{"domains", text, policies.Mask{Op: "email_domain"}, []int64{0}, nil, true},
	} {
		e := policies.Entry{Dataset: policies.Dataset{Columns: []policies.Column{c.column}}, Masks: map[string]policies.Mask{c.column.Name: c.mask}}
		stored, err := e.Stored()
		if err != nil {
			t.Fatal(err)
		}
		f, err := columnFacts(stored[0])
		if err != nil {
			t.Fatal(err)
		}
		var codes []int64
		for _, v := range f.Codes {
			codes = append(codes, v.I)
		}
		if !slices.Equal(codes, c.codes) || f.Nullable != c.nullable {
			t.Errorf("%s: codes %v, nullable %v", c.name, codes, f.Nullable)
		}
		if (f.Bounds == nil) != (c.bounds == nil) || f.Bounds != nil && *f.Bounds != *c.bounds {
			t.Errorf("%s: bounds %v", c.name, f.Bounds)
		}
	}
}
