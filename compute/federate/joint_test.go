package federate_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/query"
	"github.com/sandgate/sandgate/compute/internal/reference"
	"github.com/sandgate/sandgate/compute/protect"
)

// R39: from a protected query and every domain's own rows to the release that leaves: four
// domains plan by themselves, add up what nobody opens, and the kernel makes of the noisy
// sums a release whose intervals hold the truth.
func TestR39_FromQueryToRelease(t *testing.T) {
	text := algebra.Type{Kind: algebra.Text}
	code := func(s string) algebra.Value { return algebra.Value{Type: text, S: s} }
	pay := algebra.Col{Name: "pay", Type: algebra.Type{Kind: algebra.Int}}
	facts := protect.Facts{Dataset: "t", Department: "dept", Mode: protect.ModeDP, MaxRows: 1, OneRow: true, K: 10, Round: 5, QueryRho: budget.DefaultQuery, QueryMaxRho: 100_000_000,
		Columns: map[string]protect.ColumnFacts{"g": {Type: text, Codes: []algebra.Value{code("a"), code("b")}},
			"pay": {Type: pay.Type, Bounds: &protect.Range{Lo: 0, Hi: 1000}, Stored: &protect.Range{Lo: 0, Hi: 1000}}}}
	core := algebra.Core{Tables: []algebra.Table{{Dataset: "t"}}, Keys: []algebra.Col{{Name: "g", Type: text}},
		Aggs: []algebra.Agg{{Func: algebra.CountRows}, {Func: algebra.Sum, Arg: &pay}}}
	terms := query.Terms{MaxUnits: 1 << 20, Overlap: 1, Period: "2026-10"}
	made := func() (*protect.Plan, *query.Query) { // by each domain for itself
		p, refused := protect.Build(core, []protect.Facts{facts}, 10_000_000)
		if refused != nil {
			t.Fatal(refused)
		}
		q, err := query.New(p, terms, hash("salt"))
		if err != nil {
			t.Fatal(err)
		}
		return p, q
	}
	each(t, func(t *testing.T, scheme string) {
		_, mine := made()
		p := proposal(scheme, fourCities, fourCities[:2], 2, 3)
		p.Columns, p.Query, p.Schema = mine.Columns(), mine.Query(), mine.Schema()
		w := worldOf(t, p)
		rows, sum := map[string]int{}, map[string]int64{}
		for i, city := range fourCities {
			d := reference.Data{}
			for u := range 500 + 100*i {
				g, x := string("ab"[u%2]), int64((u*7919+i)%1001)
				d["t"] = append(d["t"], reference.Row{Unit: fmt.Sprintf("%s/%d", city, u), Rank: 1,
					Values: map[string]algebra.Value{"g": code(g), "pay": {Type: pay.Type, I: x}}})
				rows[g]++
				sum[g] += x
			}
			plan, q := made()
			if !q.Fits(p) {
				t.Fatal("a domain's own query is not the proposal's")
			}
			cells, err := q.Cells(reference.Partials(plan, d))
			if err != nil {
				t.Fatal(err)
			}
			w.values[city] = cells
		}
		sums, f := w.run()
		if f != nil {
			t.Fatal(f)
		}
		r, err := mine.Release(p, sums)
		if err != nil {
			t.Fatal(err)
		}
		if r.Len() != 2 || r.Rho() > 10_000_000 {
			t.Fatalf("%d rows at %d", r.Len(), r.Rho())
		}
		number := func(s string) int64 {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		for _, row := range r.Rows() {
			for i, want := range []int64{int64(rows[row[0].Value]), sum[row[0].Value]} {
				c := row[1+i]
				half := number(c.Hi) - number(c.Value)
				if d := number(c.Value) - want; d > 4*half || d < -4*half || half == 0 { // eight standard deviations
					t.Errorf("key %s, value %d is far from the truth", row[0].Value, i)
				}
			}
		}
		// A domain with another clamp is told apart before anything is made.
		facts.Columns["pay"] = protect.ColumnFacts{Type: pay.Type, Bounds: &protect.Range{Lo: 0, Hi: 900}, Stored: &protect.Range{Lo: 0, Hi: 1000}}
		defer func() {
			facts.Columns["pay"] = protect.ColumnFacts{Type: pay.Type, Bounds: &protect.Range{Lo: 0, Hi: 1000}, Stored: &protect.Range{Lo: 0, Hi: 1000}}
		}()
		_, other := made()
		w.p.Nonce = hash("other clamp")
		if f := w.open(); f != nil {
			t.Fatal(f)
		}
		_, f = w.rounds["city_b"].Accept(other.Schema(), w.now)
		blamed(t, f, "FEDERATION_SCHEMA", "city_b")
		if w.rounds["city_b"].Phase() != federate.Failed {
			t.Error("the round goes on")
		}
	})
}
