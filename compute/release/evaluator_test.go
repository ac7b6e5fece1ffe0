package release

import (
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/protect"
)

var (
	intType  = algebra.Type{Kind: algebra.Int}
	yuanType = algebra.Type{Kind: algebra.Decimal, Scale: 2}
	textType = algebra.Type{Kind: algebra.Text}
	boolType = algebra.Type{Kind: algebra.Bool}
)

func text(s string) algebra.Value { return algebra.Value{Type: textType, S: s} }
func num(i int64) algebra.Value   { return algebra.Value{Type: intType, I: i} }
func null(t algebra.Type) algebra.Value {
	return algebra.Value{Type: t, Null: true}
}

func codes(n int) []algebra.Value {
	var out []algebra.Value
	for i := range n {
		out = append(out, text(string(rune('a'+i))))
	}
	return out
}

// row is one fact row; rn is its rank inside its unit, from 1.
type row struct {
	unit int
	rn   int64
	vals map[string]algebra.Value
}

// evaluate is an engine small enough to be seen through: it computes the exact
// partials of a plan over rows. dims[t] are the rows of public table t.
func evaluate(p *protect.Plan, rows []row, dims map[int][]map[string]algebra.Value) protect.Partials {
	type acc struct {
		cell  protect.Cell
		units map[int]bool
	}
	newAcc := func(keys []algebra.Value) *acc {
		a := &acc{units: map[int]bool{}, cell: protect.Cell{Keys: keys}}
		for range p.Measures {
			a.cell.M = append(a.cell.M, new(big.Int))
		}
		return a
	}
	found, total := map[string]*acc{}, newAcc(nil)
	var order []string
	for _, r := range rows {
		if !p.OneRow && r.rn > p.MaxRows {
			continue
		}
		tables := make([]map[string]algebra.Value, len(p.Core.Tables))
		tables[0] = r.vals
		get := func(c algebra.Col) algebra.Value {
			if tables[c.Table] == nil {
				return null(c.Type)
			}
			return tables[c.Table][c.Name]
		}
		dropped := false
		for _, j := range p.Core.Joins {
			left := get(j.Left)
			for _, d := range dims[j.Table] {
				if v := d[j.Right.Name]; !left.Null && !v.Null && v == left {
					tables[j.Table] = d
				}
			}
			dropped = dropped || tables[j.Table] == nil && !j.Outer
		}
		if dropped || p.Core.Where != nil && where(*p.Core.Where, get) != yes {
			continue
		}
		keys := []algebra.Value{}
		for _, k := range p.Keys {
			keys = append(keys, get(k.Col))
		}
		id := identity(keys)
		if found[id] == nil {
			found[id] = newAcc(keys)
			order = append(order, id)
		}
		for _, a := range []*acc{found[id], total} {
			a.units[r.unit] = true
			for i, m := range p.Measures {
				x := a.cell.M[i]
				if m.Kind == protect.MeasureRows {
					x.Add(x, big.NewInt(1))
					continue
				}
				if m.Kind == protect.MeasureUnits || get(*m.Col).Null {
					continue
				}
				if m.Kind == protect.MeasureNonNull {
					x.Add(x, big.NewInt(1))
					continue
				}
				v := get(*m.Col).I
				if m.Clamp != nil {
					v = max(m.Clamp.Lo, min(m.Clamp.Hi, v))
				}
				x.Add(x, new(big.Int).Sub(big.NewInt(v), big.NewInt(m.Offset)))
			}
		}
	}
	finish := func(a *acc) protect.Cell {
		for i, m := range p.Measures {
			if m.Kind == protect.MeasureUnits {
				a.cell.M[i].SetInt64(int64(len(a.units)))
			}
		}
		return a.cell
	}
	out := protect.Partials{}
	for _, id := range order {
		out.Cells = append(out.Cells, finish(found[id]))
	}
	if p.Mode == protect.ModeExact {
		c := finish(total)
		out.Total = &c
	}
	return out
}

func where(p algebra.Pred, get func(algebra.Col) algebra.Value) ternary {
	switch p.Op {
	case algebra.OpAnd:
		return min(where(p.Args[0], get), where(p.Args[1], get))
	case algebra.OpOr:
		return max(where(p.Args[0], get), where(p.Args[1], get))
	case algebra.OpNot:
		return yes - where(p.Args[0], get)
	case algebra.OpIsNull:
		return ternary(truth(get(*p.Col).Null)) * yes
	}
	v := get(*p.Col)
	return relate(p.Op, keyValue(v), v.Type, keyValue(p.Values[0]), p.Values[0].Type)
}

// facts of a table "t" with codes g, nullable code h, private text w and measures
// pay (bounds 0…1000000), debt (nullable, stored wider than the policy's bounds).
func testFacts(m int64) protect.Facts {
	return protect.Facts{
		Dataset: "t", Department: "dept", Mode: protect.ModeDP, MaxRows: m, K: 10, Round: 5,
		QueryRho: budget.DefaultQuery, QueryMaxRho: 4_400_000,
		Columns: map[string]protect.ColumnFacts{
			"g":    {Type: textType, Codes: codes(4)},
			"h":    {Type: textType, Codes: codes(3), Nullable: true},
			"w":    {Type: textType, Private: true},
			"id":   {Type: intType, Nullable: true},
			"pay":  {Type: yuanType, Bounds: &protect.Range{Lo: 0, Hi: 1_000_000}, Stored: &protect.Range{Lo: 0, Hi: 1_000_000}},
			"debt": {Type: intType, Nullable: true, Bounds: &protect.Range{Lo: -500, Hi: 70}, Stored: &protect.Range{Lo: -9000, Hi: 9000}},
		},
	}
}

func col(f protect.Facts, name string) algebra.Col {
	return algebra.Col{Name: name, Type: f.Columns[name].Type}
}

func agg(f protect.Facts, fn algebra.Func, name string) algebra.Agg {
	if name == "" {
		return algebra.Agg{Func: fn}
	}
	c := col(f, name)
	return algebra.Agg{Func: fn, Arg: &c}
}

func core(f protect.Facts, keys []string, aggs ...algebra.Agg) algebra.Core {
	c := algebra.Core{Tables: []algebra.Table{{Dataset: f.Dataset}}, Aggs: aggs}
	for _, k := range keys {
		c.Keys = append(c.Keys, col(f, k))
	}
	return c
}

func build(t testing.TB, c algebra.Core, price budget.Nano, f ...protect.Facts) *protect.Plan {
	t.Helper()
	p, r := protect.Build(c, f, price)
	if r != nil {
		t.Fatalf("build refused: %v", r)
	}
	return p
}

// randomRows makes units with random, sometimes far too many, rows.
func randomRows(r *rand.Rand, f protect.Facts, units int) []row {
	var rows []row
	for u := range units {
		n := 1
		if !f.OneRow {
			n = 1 + r.IntN(8)
		}
		same := r.IntN(3) == 0 // all rows alike and extreme: the worst unit
		var vals map[string]algebra.Value
		for i := range n {
			if i == 0 || !same {
				vals = map[string]algebra.Value{
					"g":    text(string(rune('a' + r.IntN(5)))), // one code too many: unregistered
					"h":    text(string(rune('a' + r.IntN(3)))),
					"w":    text([]string{"x", "", "y'\"", "长"}[r.IntN(4)]),
					"id":   num(r.Int64N(6)),
					"pay":  {Type: yuanType, I: []int64{0, 1_000_000, r.Int64N(1_000_001)}[r.IntN(3)]},
					"debt": num([]int64{-9000, 9000, r.Int64N(18001) - 9000}[r.IntN(3)]),
				}
				if r.IntN(4) == 0 {
					vals["h"] = null(textType)
				}
				if r.IntN(4) == 0 {
					vals["debt"] = null(intType)
				}
				if r.IntN(5) == 0 {
					vals["id"] = null(intType)
				}
			}
			rows = append(rows, row{unit: u, rn: int64(i + 1), vals: vals})
		}
	}
	return rows
}

// R01 attack 10 in miniature: over random queries and data, removing all rows of
// one unit moves every measure's vector of cells by at most its declared √Sens2,
// and the declaration is met with equality somewhere. With the bound, the clamp or
// the unique join off, the same check fails.
func TestR01SensitivityHoldsOnRandomNeighbours(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	dim := protect.Facts{Dataset: "dim", Department: "dept", Public: true, Unique: []string{"id"}, Columns: map[string]protect.ColumnFacts{
		"id":    {Type: intType},
		"zone":  {Type: textType, Codes: codes(2)},
		"score": {Type: intType, Bounds: &protect.Range{Lo: -3, Hi: 12}},
	}}
	broken := map[string]int{}
	worst := map[protect.MeasureKind]float64{}
	for range trials(400, 5000) {
		f := testFacts(1 + r.Int64N(4))
		f.OneRow = r.IntN(5) == 0
		c := core(f, nil)
		for _, k := range []string{"g", "h"} {
			if r.IntN(2) == 0 {
				c.Keys = append(c.Keys, col(f, k))
			}
		}
		if r.IntN(4) == 0 {
			c.Keys = append(c.Keys, col(f, "w"))
		}
		all := []algebra.Agg{agg(f, algebra.CountRows, ""), agg(f, algebra.CountUnits, ""), agg(f, algebra.CountCol, "debt"),
			agg(f, algebra.Sum, "pay"), agg(f, algebra.Sum, "debt"), agg(f, algebra.Avg, "pay"), agg(f, algebra.Avg, "debt")}
		facts := []protect.Facts{f}
		dims := map[int][]map[string]algebra.Value{}
		if r.IntN(2) == 0 {
			facts = append(facts, dim)
			c.Tables = append(c.Tables, algebra.Table{Dataset: "dim"})
			c.Joins = []algebra.Join{{Table: 1, Outer: r.IntN(2) == 0, Left: col(f, "id"), Right: algebra.Col{Table: 1, Name: "id", Type: intType}}}
			c.Keys = append(c.Keys, algebra.Col{Table: 1, Name: "zone", Type: textType})
			score := algebra.Col{Table: 1, Name: "score", Type: intType}
			all = append(all, algebra.Agg{Func: algebra.Sum, Arg: &score})
			for i := range int64(4) {
				dims[1] = append(dims[1], map[string]algebra.Value{"id": num(i), "zone": text(string(rune('a' + i%2))), "score": num(r.Int64N(100) - 50)})
			}
		}
		for _, i := range r.Perm(len(all))[:1+r.IntN(len(all))] {
			c.Aggs = append(c.Aggs, all[i])
		}
		if r.IntN(2) == 0 {
			d := col(f, "debt")
			cmp := algebra.Pred{Op: algebra.OpGt, Col: &d, Values: []algebra.Value{num(r.Int64N(18000) - 9000)}}
			isnull := algebra.Pred{Op: algebra.OpIsNull, Col: &d}
			c.Where = &algebra.Pred{Op: algebra.OpOr, Args: []algebra.Pred{{Op: algebra.OpNot, Args: []algebra.Pred{cmp}}, isnull}}
		}
		plan := build(t, c, 4_000_000, facts...)
		rows := randomRows(r, f, 1+r.IntN(12))
		gone := rows[r.IntN(len(rows))].unit
		var less []row
		for _, x := range rows {
			if x.unit != gone {
				less = append(less, x)
			}
		}
		for kind, ratio := range distance(t, plan, rows, less, dims) {
			if ratio > 1 {
				t.Fatalf("measure %s moved %.3f times its squared sensitivity; plan %+v", kind, ratio, plan)
			}
			worst[kind] = max(worst[kind], ratio)
		}
		over := func(what string, p protect.Plan) {
			for _, ratio := range distance(t, &p, rows, less, dims) {
				if ratio > 1 {
					broken[what]++
				}
			}
		}
		if !plan.OneRow {
			loose := *plan
			loose.MaxRows = 1 << 40
			over("bound off", loose)
		}
		loose := *plan
		loose.Measures = append([]protect.Measure(nil), plan.Measures...)
		for i := range loose.Measures {
			loose.Measures[i].Clamp = nil
		}
		over("clamp off", loose)
	}
	for _, kind := range []protect.MeasureKind{protect.MeasureRows, protect.MeasureNonNull, protect.MeasureSum, protect.MeasureUnits} {
		if worst[kind] < 0.99 {
			t.Errorf("%s: the worst case reached only %.2f of the declared sensitivity: too loose or not exercised", kind, worst[kind])
		}
	}
	for _, what := range []string{"bound off", "clamp off"} {
		if broken[what] == 0 {
			t.Errorf("control %q was not caught", what)
		}
	}
}

// distance returns, per kind, the greatest ‖x−x′‖²/Sens2 over measures.
func distance(t *testing.T, p *protect.Plan, a, b []row, dims map[int][]map[string]algebra.Value) map[protect.MeasureKind]float64 {
	t.Helper()
	diff := map[string][]*big.Int{}
	for sign, rows := range map[int64][]row{1: a, -1: b} {
		groups, err := table(p, evaluate(p, rows, dims))
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range groups {
			if !g.shown {
				continue
			}
			id := identity(g.keys)
			for i, m := range g.m {
				if diff[id] == nil {
					diff[id] = make([]*big.Int, len(p.Measures))
				}
				if diff[id][i] == nil {
					diff[id][i] = new(big.Int)
				}
				diff[id][i].Add(diff[id][i], new(big.Int).Mul(m, big.NewInt(sign)))
			}
		}
	}
	out := map[protect.MeasureKind]float64{}
	for i, m := range p.Measures {
		sum := new(big.Int)
		for _, d := range diff {
			sum.Add(sum, new(big.Int).Mul(d[i], d[i]))
		}
		ratio, _ := new(big.Rat).SetFrac(sum, m.Sens2).Float64()
		if ratio > 1 && sum.Cmp(m.Sens2) <= 0 {
			ratio = 1
		}
		out[m.Kind] = max(out[m.Kind], ratio)
	}
	return out
}
