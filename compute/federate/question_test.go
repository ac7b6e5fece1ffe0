package federate_test

import (
	"slices"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/query"
	"github.com/sandgate/sandgate/compute/protect"
)

// asked is the round of COUNT(*) over one key, or with more of COUNT(*), SUM(pay).
func asked(t *testing.T, more bool) *query.Query {
	t.Helper()
	text := algebra.Type{Kind: algebra.Text}
	code := func(s string) algebra.Value { return algebra.Value{Type: text, S: s} }
	pay := algebra.Col{Name: "pay", Type: algebra.Type{Kind: algebra.Int}}
	facts := protect.Facts{Dataset: "t", Department: "dept", Mode: protect.ModeDP, MaxRows: 1, OneRow: true, K: 10, Round: 5, QueryRho: budget.DefaultQuery, QueryMaxRho: 100_000_000,
		Columns: map[string]protect.ColumnFacts{"g": {Type: text, Codes: []algebra.Value{code("a"), code("b")}},
			"pay": {Type: pay.Type, Bounds: &protect.Range{Lo: 0, Hi: 1000}, Stored: &protect.Range{Lo: 0, Hi: 1000}}}}
	core := algebra.Core{Tables: []algebra.Table{{Dataset: "t"}}, Keys: []algebra.Col{{Name: "g", Type: text}}, Aggs: []algebra.Agg{{Func: algebra.CountRows}}}
	if more {
		core.Aggs = append(core.Aggs, algebra.Agg{Func: algebra.Sum, Arg: &pay})
	}
	p, refused := protect.Build(core, []protect.Facts{facts}, 10_000_000)
	if refused != nil {
		t.Fatal(refused)
	}
	q, err := query.New(p, query.Terms{MaxUnits: 1 << 20, Overlap: 1, Period: "2026-10"}, hash("salt"))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// R39 attack: the two sums over nearly the same contributors are asked for in different
// words: COUNT(*) of four, then COUNT(*), SUM(pay) of three. The difference of the counts is
// the fourth's own. Both are about the same data, so the journals refuse the second.
// Control: under a digest of each question's own, the fourth's count comes out.
func TestR39_AttackNearIdenticalSetsByAnotherQuestion(t *testing.T) {
	each(t, func(t *testing.T, scheme string) {
		round := func(nonce string, q *query.Query, contributors []string) *world {
			p := proposal(scheme, contributors, fourCities[:2], 2, 3)
			p.Nonce, p.Columns, p.Query, p.Schema = hash(nonce), q.Columns(), q.Query(), q.Schema()
			w := worldOf(t, p)
			for i, c := range contributors {
				for j := range w.values[c] { // counts of the two keys, then their sums
					w.values[c][j] = int64(1000*(i+1) + 100*(j%2))
				}
			}
			return w
		}
		first, second := round("first", asked(t, false), fourCities), round("second", asked(t, true), fourCities[:3])
		if first.p.Schema == second.p.Schema {
			t.Fatal("the two questions are one")
		}
		all, f := first.run()
		if f != nil {
			t.Fatal(f)
		}
		second.journals = first.journals
		_, f = second.run()
		blamed(t, f, "FEDERATION_DIFFERENCE", "")

		control := round("third", asked(t, true), fourCities[:3])
		control.p.Query = hash("a digest of the question")
		control.journals = map[string]*federate.Journal{}
		for party, j := range first.journals {
			control.journals[party] = j
		}
		three, f := control.run()
		if f != nil {
			t.Fatalf("control: %v", f)
		}
		own := slices.Clone(first.values["city_d"])
		for key := range 2 {
			if d := all[key] - three[key] - own[key]; d > first.p.NoiseBound(0)+control.p.NoiseBound(0) || -d > first.p.NoiseBound(0)+control.p.NoiseBound(0) {
				t.Errorf("control: the count of key %d of the missing party does not come out", key)
			}
		}
	})
}
