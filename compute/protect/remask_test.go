package protect

import (
	"maps"
	"reflect"
	"testing"

	"github.com/sandgate/sandgate/policies"
)

// TestR20_FactsOfAHiddenColumnAreThoseOfItsMask: whatever a plan may rest on of a column
// under a mask that only some see is what it might rest on were the mask everybody's.
func TestR20_FactsOfAHiddenColumnAreThoseOfItsMask(t *testing.T) {
	e := entryUnder(t, `      - {name: area, title: {zh: 区}, type: text, nullable: true, codes: [{value: "239902"}, {value: "239903"}, {value: "230101"}]}
      - {name: born, title: {zh: 生}, type: date, bounds: {lo: "2020-05-06", hi: "2023-01-01"}, grid: {from: "2020-05-01", to: "2023-02-01", step: "1 month"}}
      - {name: fee, title: {zh: 费}, type: decimal, scale: 2, bounds: {lo: "-1.00", hi: "5.00"}, grid: {from: "-1.00", to: "5.00", step: "0.50"}}
      - {name: free, title: {zh: 文}, type: text}
`, ``, "    mode: dp\n    max_rows: 3\n    uses: {free: [key], fee: [measure]}\n    private_keys: [free]\n    budget: {query: \"0.001\", query_max: \"0.002\"}\n")
	for column, masks := range map[string][]policies.Mask{
		"area": {{Op: "area", Digits: 4}, {Op: "null"}, {Op: "pseudonym"}},
		"born": {{Op: "year"}, {Op: "quarter"}, {Op: "age_band", At: "2026-01-01", Width: "2"}},
		"fee":  {{Op: "band", Width: "2.00"}, {Op: "round", Width: "1.00"}, {Op: "clip", Lo: "0.00", Hi: "4.00"}},
		"free": {{Op: "pseudonym"}, {Op: "constant", Value: "x"}},
	} {
		for _, m := range masks {
			everybody, some := e, e
			everybody.Masks = maps.Clone(e.Masks)
			if everybody.Masks == nil {
				everybody.Masks = map[string]policies.Mask{}
			}
			everybody.Masks[column] = m
			some.MaskRules = []policies.MaskRule{{ID: "r", Dataset: "d", Columns: []string{column}, Purposes: []string{"plan"}, Mask: m}}
			names := some.VariantNames()
			if len(names) != 1 {
				t.Fatalf("%s under %s: hidden columns %v", column, m.Op, names)
			}
			want, err := FactsOf(everybody)
			if err != nil {
				t.Fatal(err)
			}
			got, err := FactsOf(some)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Columns[names[0]], want.Columns[column]) {
				t.Errorf("%s under %s: %+v, want %+v", column, m.Op, got.Columns[names[0]], want.Columns[column])
			}
			bare, _ := FactsOf(e)
			if !reflect.DeepEqual(got.Columns[column], bare.Columns[column]) || len(got.Columns) != len(bare.Columns)+1 {
				t.Errorf("%s under %s: the rule changed what others see", column, m.Op)
			}
			if reflect.DeepEqual(got.Columns[names[0]], bare.Columns[column]) && m.Op != "constant" && m.Op != "pseudonym" {
				t.Errorf("control: %s under %s has the facts of the bare column", column, m.Op)
			}
		}
	}
}
