package duckdb

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/compute/render"
)

// oneRow is a table of n units, one row each, with a nullable measure.
func oneRow(t testing.TB, s *engine.Store, n int) engine.Manifest {
	t.Helper()
	var raw strings.Builder
	raw.WriteString("id,grp,x\n")
	for i := range n {
		x := fmt.Sprint(i - 5)
		if i%7 == 0 {
			x = ""
		}
		fmt.Fprintf(&raw, "u%d,%s,%s\n", i, []string{"a", "b"}[i%2], x)
	}
	m, err := take(t, s, ingest.Spec{Dataset: "one", UnitColumn: "id", UnitKind: "person", OneRow: true, Columns: []ingest.Column{
		{Name: "id", Type: engineText}, {Name: "grp", Type: engineText, Codes: []string{"a", "b"}},
		{Name: "x", Type: algebra.Type{Kind: algebra.Int}, Nullable: true, Bounds: &ingest.Range{Lo: -1000, Hi: 1 << 20}},
	}}, raw.String())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// exactPlan is SELECT grp, SUM(x) … GROUP BY grp in exact mode, with its schema.
func exactPlan(units int64) (*protect.Plan, []algebra.Schema) {
	grp, x := algebra.Col{Name: "grp", Type: engineText}, algebra.Col{Name: "x", Type: algebra.Type{Kind: algebra.Int}}
	schema := algebra.Schema{Dataset: "one", Unit: "id", Columns: []algebra.SchemaColumn{{Name: "grp", Type: engineText}, {Name: "x", Type: x.Type}}}
	return &protect.Plan{
		Core: algebra.Core{Tables: []algebra.Table{{Dataset: "one"}}, Keys: []algebra.Col{grp}, Aggs: []algebra.Agg{{Func: algebra.Sum, Arg: &x}}},
		Mode: protect.ModeExact, OneRow: true, MaxRows: 1, MaxCells: 2, Ranks: []int64{0},
		Keys:     []protect.Key{{Col: grp, Codes: []algebra.Value{{Type: engineText, S: "a"}, {Type: engineText, S: "b"}}}},
		Measures: []protect.Measure{{Kind: protect.MeasureSum, Col: &x}, {Kind: protect.MeasureRows}, {Kind: protect.MeasureNonNull, Col: &x}},
		Exact:    &protect.ExactRules{K: 10, Round: 5, SnapUnits: units, Lists: []protect.List{{}, {Col: &x}, {Col: &x, Top: true}}},
	}, []algebra.Schema{schema}
}

func TestR01_ListsOfUnitsAndLargestValues(t *testing.T) {
	s := store(t)
	const n = 100
	m := oneRow(t, s, n)
	plan, schemas := exactPlan(m.Units)
	sql, err := render.SQL(plan, schemas)
	if err != nil {
		t.Fatal(err)
	}
	run := func(p *protect.Plan) (protect.Partials, error) {
		return (&engine.Runner{Pool: pool(t)}).Execute(context.Background(), sql, p, []*os.File{snapshot(t, s, m.Snapshot)}, testLimits)
	}
	got, err := run(plan)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	for _, c := range got.Cells {
		rows, values := int(c.M[1].Int64()), int(c.M[2].Int64())
		if len(c.Lists[0]) != rows || len(c.Lists[1]) != values || rows != n/2 || values >= rows {
			t.Errorf("%s: %d units, %d with a value, measures %v", c.Keys[0].S, len(c.Lists[0]), len(c.Lists[1]), c.M)
		}
		want := []uint64{92, 94} // i = 97 and 99 of b
		if c.Keys[0].S == "a" {
			want = []uint64{89, 91}
		}
		if !slices.Equal(c.Lists[2], want) {
			t.Errorf("%s: largest %v, want %v", c.Keys[0].S, c.Lists[2], want)
		}
		for _, u := range c.Lists[0] {
			if seen[u] {
				t.Error("one unit in two cells")
			}
			seen[u] = true
		}
		for _, u := range c.Lists[1] {
			if !seen[u] {
				t.Error("a unit with a value is not in the cell")
			}
		}
	}
	if len(seen) != n || len(got.Total.Lists) != 3 || len(got.Total.Lists[0]) != 0 {
		t.Errorf("%d units in cells, total %v", len(seen), got.Total.Lists)
	}
	// A list longer than the snapshot has units is refused.
	plan.Exact.SnapUnits = n/2 - 1
	if _, err := run(plan); err == nil {
		t.Error("lists of more units than the snapshot has were read")
	}
}

// BenchmarkExactLists is one exact table of 200 000 units with its lists.
func BenchmarkExactLists(b *testing.B) {
	s := store(b)
	m := oneRow(b, s, 200_000)
	for _, with := range []bool{false, true} {
		plan, schemas := exactPlan(m.Units)
		if !with {
			plan.Exact.Lists = nil
		}
		sql, err := render.SQL(plan, schemas)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint("lists ", with), func(b *testing.B) {
			for b.Loop() {
				if _, err := (&engine.Runner{Pool: pool(b)}).Execute(context.Background(), sql, plan, []*os.File{snapshot(b, s, m.Snapshot)}, testLimits); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
