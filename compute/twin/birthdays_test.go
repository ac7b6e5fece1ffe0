package twin

import (
	"slices"
	"strconv"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/policies"
)

// bearer is a twin with a column of this name and kind, and made-up identity numbers.
func bearer(name string, kind algebra.Kind, lo, hi int64, nullable bool) *Twin {
	missing := int64(0)
	if nullable {
		missing = 1
	}
	return &Twin{Format: Format, SchemaDigest: digestOfText(name), Dataset: "people", Rho: "0.01", Units: 1000, Noise: []int64{1}, Rare: 4, Lengths: []int64{1, 1},
		Generated: []Generated{{Column: "citizen", Kind: policies.IdentCitizen}, {Column: "name", Kind: policies.IdentName}},
		Columns:   []Column{{Feature: model.Feature{Column: name, Kind: model.KindNumber, Type: kind, Bounds: [2]int64{lo, hi}, Edges: []int64{(lo + hi) / 2}, Nullable: nullable}}},
		Groups:    [][]int{{0, 1, 1}}, Cells: [][]int64{{3, 2, missing}}, Order: []Vertex{{Weights: [][]int64{{1, 1}}}}, Quality: Quality{Rows: 10}}
}

func digestOfText(s string) string {
	out := ""
	for len(out) < 64 {
		out += strconv.FormatInt(int64(len(s)%7+len(out)%9), 16)
	}
	return out[:64]
}

// The birthday in a made-up identity number is that of the column that tells it, and the
// number stays impossible, well formed and fixed by the seed.
func TestIdentityNumbersKnowTheBirthday(t *testing.T) {
	day := func(s string) int64 { d, _ := algebra.ParseDate(s); return d }
	for name, x := range map[string]struct {
		kind   algebra.Kind
		lo, hi int64
		tells  bool
	}{
		"birth_date": {algebra.Date, day("1931-02-03"), day("2019-12-31"), true},
		"出生日期":       {algebra.Date, day("1931-02-03"), day("2019-12-31"), true},
		"birth_year": {algebra.Int, 1930, 2019, true},
		"BORN":       {algebra.Int, 1930, 2019, true},
		"born":       {algebra.Int, 1, 90, false},      // an age
		"dob":        {algebra.Int, 2300, 2400, false}, // no number holds it
		"visit_date": {algebra.Date, day("1931-02-03"), day("2019-12-31"), false},
	} {
		rows := draw(t, bearer(name, x.kind, x.lo, x.hi, true), "s", 0, 2000)
		if again := draw(t, bearer(name, x.kind, x.lo, x.hi, true), "s", 0, 2000); !slices.Equal(again.Columns[1].Texts, rows.Columns[1].Texts) {
			t.Errorf("%s: drawn again, others", name)
		}
		fit, all := 0, 0
		last := ""
		for r, id := range rows.Columns[1].Texts {
			if masking.CitizenID(id) != masking.OK || !Impossible(id) {
				t.Fatalf("%s: %s", name, id)
			}
			if rows.Ranks[r] > 1 {
				if id != last {
					t.Fatalf("%s: a person has two numbers", name)
				}
				continue
			}
			last = id
			if rows.Columns[0].Null[r] {
				continue
			}
			all++
			v := rows.Columns[0].Ints[r]
			if x.kind == algebra.Date && algebra.FormatDate(v) == id[6:10]+"-"+id[10:12]+"-"+id[12:14] || x.kind == algebra.Int && strconv.FormatInt(v, 10) == id[6:10] {
				fit++
			}
		}
		if x.tells && fit != all || !x.tells && fit > all/20 {
			t.Errorf("%s: %d of %d have the birthday", name, fit, all)
		}
	}
}

// Where tables are tied, a person has one number in all of them, with the birthday that the
// table tells which knows it.
func TestTiedIdentityNumbersKnowTheBirthday(t *testing.T) {
	knows, other := bearer("birth_year", algebra.Int, 1930, 2019, false), bearer("fee", algebra.Int, 0, 100, false)
	other.Dataset = "visits"
	r := &Relations{Format: RelationsFormat, Rho: "0.01", Units: 1000, Noise: []int64{1, 1}, Ties: []Tie{
		{Table: 0, Parent: -1, Weights: [][]int64{{1, 3}}}, {Table: 1, Parent: 0, Weights: [][]int64{{0, 1, 0}, {1, 4, 1}, {1, 1, 4}}}}}
	r.Span.Rho = 10_000_000
	twins := []*Twin{other, knows}
	for _, x := range twins {
		digest, err := x.Digest()
		if err != nil {
			t.Fatal(err)
		}
		r.Span.Tables = append(r.Span.Tables, Spanned{Dataset: x.Dataset, SchemaDigest: x.SchemaDigest, Twin: digest, RowsPerUnit: 2, Cells: []int{3}, Links: []Link{{Few: []int{0, 1, 1}, Many: []int{0, 1, 1}}}})
	}
	l, err := NewLinked(r, twins, []byte("s"))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[uint64]string{}
	seen := func(rows LinkedRows) (both, all int) {
		for i, n := range rows.Numbers {
			id := rows.Columns[1].Texts[i]
			if was, ok := ids[n]; ok && was != id {
				t.Fatalf("unit %d has two numbers", n)
			} else if ok {
				both++
			}
			ids[n] = id
			all++
		}
		return both, all
	}
	told, err := l.Rows(1, 0, 1500)
	if err != nil {
		t.Fatal(err)
	}
	seen(told)
	for i, v := range told.Columns[0].Ints {
		if id := told.Columns[1].Texts[i]; told.Ranks[i] == 1 && id[6:10] != strconv.FormatInt(v, 10) {
			t.Fatalf("%s was born in %d", id, v)
		}
	}
	rest, err := l.Rows(0, 0, 1500)
	if err != nil {
		t.Fatal(err)
	}
	if both, all := seen(rest); both < all/2 {
		t.Errorf("%d of %d rows are of people in both tables", both, all)
	}
	if part, err := l.Rows(0, 700, 10); err != nil || part.Columns[1].Texts[0] != ids[part.Numbers[0]] {
		t.Errorf("a part drawn by itself has other numbers: %v", err)
	}
}
