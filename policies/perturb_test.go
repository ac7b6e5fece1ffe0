package policies

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
)

const kBorn = `born: {op: k_anonymous, k: 5, suppress: 5, ladder: [month, year, "null"]}`

// previewOf puts masks of people and rules together; firms and people have one row a
// unit when one is set.
func previewOf(t testing.TB, masks, rules string, one bool) (Entry, error) {
	t.Helper()
	catalogue := townCatalogue
	if one {
		catalogue = strings.Replace(catalogue, "bad_rows: {max_percent: 0.5}", "one_row_per_unit: true", 1)
	}
	docs, err := ParseBundle([]byte(catalogue + "---\n" + townGrading + "---\n" + maskingText(masks, rules)))
	if err != nil {
		return Entry{}, err
	}
	return PreviewEntry(docs, "people")
}

func TestR20R23_PerturbingMasksAreCheckedByName(t *testing.T) {
	for name, c := range map[string]struct {
		masks, rules string
		one          bool
		want         string // empty: taken
	}{
		"all of them": {", " + kBorn + `, fee: {op: shuffle, by: [diagnosis_name], least: 3}, visits: {op: noise, width: "1", scale: 2}, diagnosis_name: {op: keep}`, "", true, ""},
		"response":    {`, diagnosis_name: {op: response, retain: "0.8"}`, "", false, ""},
		"by a rule":   {"", "  - {dataset: people, columns: [fee], mask: {op: noise, width: \"1.00\", scale: 2}}", false, ""},

		"many rows a unit":         {", fee: {op: shuffle, by: [diagnosis_name]}", "", false, `column "fee": mask "shuffle": only for a data set with one row per unit`},
		"group of nothing":         {", fee: {op: shuffle}", "", true, `column "fee": mask "shuffle": name 1 to 8 columns`},
		"group of itself":          {", fee: {op: shuffle, by: [fee]}", "", true, `column "fee" stands twice`},
		"group of a ghost":         {", fee: {op: shuffle, by: [ghost]}", "", true, `unknown column "ghost"`},
		"group of a dropped one":   {", fee: {op: shuffle, by: [phone]}", "", true, `column "phone" under by is not stored`},
		"group of the unit":        {", fee: {op: shuffle, by: [id_number]}", "", true, `column "id_number" under by is not stored`},
		"group of a noisy one":     {`, visits: {op: noise, width: "1", scale: 2}, fee: {op: shuffle, by: [visits]}`, "", true, `column "visits" under by is itself masked by "noise"`},
		"two values of k":          {", " + kBorn + `, fee: {op: k_anonymous, k: 6, suppress: 5, ladder: ["null"]}`, "", false, `columns "born" and "fee": k and suppress are one`},
		"own bounds of noise":      {`, fee: {op: noise, width: "1.00", scale: 2, lo: "0", hi: "10.00"}`, "", false, `column "fee": mask "noise" stays inside the registered bounds`},
		"noise on text":            {`, diagnosis_name: {op: noise, width: "1", scale: 2}`, "", false, `column "diagnosis_name": mask "noise" needs an int, decimal or date column`},
		"response without codes":   {`, fee: {op: response, retain: "0.8"}`, "", false, `column "fee": mask "response" needs a text or int column`},
		"a ladder that is not one": {`, fee: {op: k_anonymous, k: 5, suppress: 5, ladder: [month]}`, "", false, `column "fee": mask "k_anonymous": rungs of a number`},
		"for one recipient":        {"", "  - {dataset: people, columns: [fee], recipients: [op], mask: {op: noise, width: \"1.00\", scale: 2}}", false, `column "fee": mask "noise" is applied to the table at ingest, for everybody`},
		"against another mask":     {", born: {op: year}", "  - {dataset: people, columns: [born], mask: {op: noise, width: \"1\", scale: 2}}", false, `column "born"`},
		"unknown field":            {", fee: {op: noise, width: \"1.00\", scale: 2, seed: 5}", "", false, "seed"},
		"a missing column":         {", ghost: {op: noise, width: \"1.00\", scale: 2}", "", false, `unknown column "ghost"`},
	} {
		_, err := previewOf(t, c.masks, c.rules, c.one)
		if got := fmt.Sprint(err); err != nil && c.want == "" || err == nil && c.want != "" || !strings.Contains(got, c.want) && c.want != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	e, err := previewOf(t, "", "", true)
	if err != nil {
		t.Fatal(err)
	}
	e.Masks["phone"] = Mask{Op: masking.OpKAnonymous, K: 5, Ladder: []string{"null"}}
	if err := checkPerturbing(e); err == nil || !strings.Contains(err.Error(), `column "phone"`) {
		t.Errorf("an identifier was taken for a quasi-identifier: %v", err)
	}
	e.Dataset.Unit = nil
	if err := checkPerturbing(e); err == nil {
		t.Error("a public table was generalised")
	}
}

// TestPerturbedColumnsKeepTheirForm: what policy says of a column holds for every value
// that any draw or any level can store.
func TestPerturbedColumnsKeepTheirForm(t *testing.T) {
	e, err := previewOf(t, ", "+kBorn+`, fee: {op: noise, width: "1.00", scale: 2}, visits: {op: shuffle, by: [diagnosis_name]}`, "", true)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := e.Stored()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range stored {
		switch c.Column.Name {
		case "born":
			l, _ := masking.NewLadder(MaskParams(c.Column, c.Mask, nil))
			if c.Type.Kind != algebra.Date || c.Bounds == nil {
				t.Fatalf("born is %+v", c)
			}
			for _, v := range []int64{c.Bounds[0], -25567, 0, 20453} {
				for level := range l.Height() {
					if g, null := l.Int(level, v); !null && (g < c.Bounds[0] || g > c.Bounds[1]) {
						t.Errorf("level %d of %d is outside the bounds", level, v)
					}
				}
			}
		case "fee", "visits":
			raw, _ := ParseBounds(c.Column)
			if c.Bounds == nil || *c.Bounds != raw || c.Type.Kind != c.Column.Type {
				t.Errorf("%s: %+v", c.Column.Name, c.Bounds)
			}
		}
	}
	edges, err := perturbedGrid(e.Dataset.Columns[3], e.Masks["born"], []int64{-25567, -25400, -25000, 20454})
	if err != nil || !slices.Equal(edges, []int64{-25567, -25202, 20454}) && len(edges) < 3 {
		t.Errorf("grid %v, %v", edges, err)
	}
	l, _ := masking.NewLadder(MaskParams(e.Dataset.Columns[3], e.Masks["born"], nil))
	for v := int64(-25567); v < 20454; v += 11 {
		for level := range 3 { // exact, month, year
			g, _ := l.Int(level, v)
			for _, edge := range edges[1 : len(edges)-1] {
				if (g >= edge) != (l.Coarsest(v) >= edge) {
					t.Fatalf("level %d of %d falls on another side of %d", level, v, edge)
				}
			}
		}
	}
}

func TestR20_PreviewOfPerturbingMasks(t *testing.T) {
	e, err := previewOf(t, ", "+kBorn+`, fee: {op: noise, width: "1.00", scale: 2}, visits: {op: shuffle, by: [diagnosis_name]}, diagnosis_name: {op: keep}`, "", true)
	if err != nil {
		t.Fatal(err)
	}
	columns, err := e.Preview("", "", 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range columns {
		switch c.Column {
		case "born":
			if x := c.Effects; !strings.HasSuffix(x[0].After, "-01") || !strings.HasSuffix(x[1].After, "-01-01") || !x[2].Null {
				t.Errorf("born: %+v", x)
			}
		case "visits":
			var before, after []string
			for _, x := range c.Effects {
				before, after = append(before, x.Before), append(after, x.After)
			}
			slices.Sort(before)
			slices.Sort(after)
			if !slices.Equal(before, after) {
				t.Errorf("visits: %+v", c.Effects)
			}
		case "fee":
			for _, x := range c.Effects {
				if !strings.HasSuffix(x.After, ".00") {
					t.Errorf("fee: %+v", x)
				}
			}
		}
	}
}

func TestCheckGeneralised(t *testing.T) {
	e, err := previewOf(t, ", "+kBorn, "", false)
	if err != nil {
		t.Fatal(err)
	}
	plain, _ := previewOf(t, "", "", false)
	for name, c := range map[string]struct {
		e  Entry
		g  *Generalised
		ok bool
	}{
		"as registered":      {e, &Generalised{map[string]string{"born": "year"}, 5}, true},
		"not generalised":    {e, &Generalised{map[string]string{"born": RungExact}, 0}, true},
		"nothing to say":     {plain, nil, true},
		"missing":            {e, nil, false},
		"no such rung":       {e, &Generalised{map[string]string{"born": "decade"}, 0}, false},
		"too much":           {e, &Generalised{map[string]string{"born": "year"}, 6}, false},
		"another column":     {e, &Generalised{map[string]string{"born": "year", "fee": "year"}, 0}, false},
		"nothing registered": {plain, &Generalised{map[string]string{}, 0}, false},
	} {
		if err := c.e.CheckGeneralised(c.g); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestR01_TableMasksAreNotForPrivateStatistics: a query of a dp data set that looks at
// a column whose values depend on others is refused, in whatever form; with the check
// off (an exact data set) it is not.
func TestR01_TableMasksAreNotForPrivateStatistics(t *testing.T) {
	b := ruled(t, ", "+kBorn, "")
	codes := func(all []Reason) (out []string) {
		for _, r := range all {
			out = append(out, r.Code)
		}
		return out
	}
	for name, core := range map[string]algebra.Core{"key": overBorn(nil), "year": overBorn(partOf("year"))} {
		if got := codes(decided(b, "plan", "op", core)); !slices.Contains(got, "TABLE_MASK") {
			t.Errorf("%s: %v", name, got)
		}
	}
	e := b.datasets["people"]
	rule := *e.Rule
	rule.Mode = "exact"
	e.Rule = &rule
	b.datasets["people"] = e
	if got := codes(decided(b, "plan", "op", overBorn(nil))); slices.Contains(got, "TABLE_MASK") {
		t.Errorf("an exact data set: %v", got)
	}
}
