package release

import (
	"math/big"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/internal/reference"
	"github.com/sandgate/sandgate/compute/protect"
)

var dateType = algebra.Type{Kind: algebra.Date}

// worldFacts: "t" has several rows per unit, "t2" is a second partition of it, "p" has
// one row per unit and the same columns, "dim" is public.
func worldFacts(r *rand.Rand) map[string]protect.Facts {
	out := map[string]protect.Facts{}
	for _, id := range []string{"t", "t2", "p"} {
		f := testFacts(1 + r.Int64N(4))
		f.Dataset, f.OneRow = id, id == "p"
		pay := f.Columns["pay"]
		pay.Grid = []int64{0, 250_000, 500_000, 1_000_000}
		f.Columns["pay"] = pay
		f.Columns["day"] = protect.ColumnFacts{Type: dateType, Nullable: true, Bounds: &protect.Range{Lo: 19_000, Hi: 20_000},
			Stored: &protect.Range{Lo: 19_000, Hi: 20_000}, Grid: []int64{19_000, 19_300, 19_700, 20_000}}
		f.Columns["net"] = protect.ColumnFacts{Type: intType, Nullable: true, Bounds: &protect.Range{Lo: -7, Hi: 12}, Stored: &protect.Range{Lo: -7, Hi: 12}}
		out[id] = f
	}
	out["dim"] = protect.Facts{Dataset: "dim", Department: "dept", Public: true, Unique: []string{"id"}, Columns: map[string]protect.ColumnFacts{
		"id":    {Type: intType},
		"zone":  {Type: textType, Codes: codes(2)},
		"score": {Type: intType, Bounds: &protect.Range{Lo: -3, Hi: 12}},
	}}
	return out
}

// worldRows fills the world with units of random, sometimes far too many, rows:
// extremes, NULLs, equal rows, unregistered codes, sometimes nothing at all.
func worldRows(r *rand.Rand, units int) reference.Data {
	d := reference.Data{}
	or := func(v algebra.Value, k int) algebra.Value {
		if r.IntN(k) == 0 {
			return null(v.Type)
		}
		return v
	}
	for i := range int64(4) {
		d["dim"] = append(d["dim"], reference.Row{Values: map[string]algebra.Value{"id": num(i), "zone": text(string(rune('a' + i%2))), "score": num(r.Int64N(100) - 50)}})
	}
	for _, id := range []string{"t", "t2", "p"} {
		if r.IntN(12) == 0 {
			continue
		}
		for u := range units {
			n := r.IntN(8)
			if id == "p" {
				n = min(n, 1)
			}
			same := r.IntN(3) == 0 // all rows alike: the worst unit
			var vals map[string]algebra.Value
			for i := range n {
				if i == 0 || !same {
					vals = map[string]algebra.Value{
						"g":    text(string(rune('a' + r.IntN(5)))), // one code too many: unregistered
						"h":    or(text(string(rune('a'+r.IntN(3)))), 4),
						"w":    text([]string{"x", "", "y'\"", "长"}[r.IntN(4)]),
						"id":   or(num(r.Int64N(6)), 5),
						"pay":  {Type: yuanType, I: []int64{0, 1_000_000, r.Int64N(1_000_001)}[r.IntN(3)]},
						"debt": or(num([]int64{-9000, 9000, r.Int64N(18001) - 9000}[r.IntN(3)]), 4),
						"day":  or(algebra.Value{Type: dateType, I: []int64{19_000, 20_000, 19_000 + r.Int64N(1001)}[r.IntN(3)]}, 5),
						"net":  or(num([]int64{-7, 12, r.Int64N(20) - 7}[r.IntN(3)]), 6),
					}
				}
				d[id] = append(d[id], reference.Row{Unit: strconv.Itoa(u), Rank: int64(i + 1), Values: vals})
			}
		}
	}
	return d
}

// without is d less all rows of one unit, everywhere.
func without(d reference.Data, unit string) reference.Data {
	out := reference.Data{}
	for id, rows := range d {
		for _, x := range rows {
			if x.Unit != unit || x.Unit == "" {
				out[id] = append(out[id], x)
			}
		}
	}
	return out
}

// asker writes random cores over the world.
type asker struct {
	r     *rand.Rand
	world map[string]protect.Facts
}

func at(table int, name string, t algebra.Type) algebra.Col {
	return algebra.Col{Table: table, Name: name, Type: t}
}

func exprOf(c algebra.Col) algebra.Expr {
	return algebra.Expr{Op: algebra.ExprCol, Type: c.Type, Col: &c}
}

func lit(v algebra.Value) algebra.Expr {
	return algebra.Expr{Op: algebra.ExprLit, Type: v.Type, Value: &v}
}

// pred is a random condition on columns of table t.
func (a *asker) pred(t int) *algebra.Pred {
	r := a.r
	g, h, debt, day := at(t, "g", textType), at(t, "h", textType), at(t, "debt", intType), at(t, "day", dateType)
	one := func(op algebra.PredOp, c algebra.Col, v ...algebra.Value) algebra.Pred {
		return algebra.Pred{Op: op, Col: &c, Values: v}
	}
	leaves := []algebra.Pred{
		one(algebra.OpEq, g, text("a")), one(algebra.OpIn, h, text("a"), text("b")), one(algebra.OpIsNull, h),
		{Op: algebra.OpNot, Args: []algebra.Pred{one(algebra.OpGt, debt, num(r.Int64N(18000)-9000))}},
		one(algebra.OpGe, day, algebra.Value{Type: dateType, I: 19_400}),
		{Op: algebra.OpAnd, Args: []algebra.Pred{one(algebra.OpEq, g, text("b")), one(algebra.OpEq, h, text("b"))}}, // selective
	}
	p := leaves[r.IntN(len(leaves))]
	if r.IntN(3) == 0 {
		p = algebra.Pred{Op: algebra.OpOr, Args: []algebra.Pred{p, leaves[r.IntN(len(leaves))]}}
	}
	return &p
}

// derive adds expressions over columns of table t and returns their columns: keys
// first, then numbers.
func (a *asker) derive(list *[]algebra.Expr, t int) (keys, numbers []algebra.Col) {
	pay, debt, day, net := exprOf(at(t, "pay", yuanType)), exprOf(at(t, "debt", intType)), exprOf(at(t, "day", dateType)), exprOf(at(t, "net", intType))
	add := func(e algebra.Expr) algebra.Col {
		*list = append(*list, e)
		return algebra.DerivedCol(len(*list)-1, e.Type)
	}
	other := lit(text("none"))
	keys = append(keys,
		add(algebra.Expr{Op: algebra.ExprCase, Type: textType, Whens: []algebra.When{{If: *a.pred(t), Then: lit(text("yes"))}}, Else: &other}),
		add(algebra.Expr{Op: algebra.ExprCoalesce, Type: textType, Args: []algebra.Expr{exprOf(at(t, "h", textType)), lit(text("none"))}}),
		add(algebra.Expr{Op: algebra.ExprPart, Type: intType, Part: []string{"year", "quarter", "month", "isodow"}[a.r.IntN(4)], Args: []algebra.Expr{day}}),
		add(algebra.Expr{Op: algebra.ExprBin, Type: yuanType, Args: []algebra.Expr{pay}}))
	numbers = append(numbers,
		add(algebra.Expr{Op: algebra.ExprSub, Type: intType, Args: []algebra.Expr{{Op: algebra.ExprMul, Type: intType, Args: []algebra.Expr{net, net}}, lit(num(40))}}),
		add(algebra.Expr{Op: algebra.ExprAbs, Type: intType, Args: []algebra.Expr{net}}),
		add(algebra.Expr{Op: algebra.ExprAdd, Type: intType, Args: []algebra.Expr{debtless(debt), net}}),
		add(algebra.Expr{Op: algebra.ExprCase, Type: yuanType, Whens: []algebra.When{{If: *a.pred(t), Then: pay}}}))
	return keys, numbers
}

// debtless is |x| mod 7 of a column stored wider than its bounds.
func debtless(x algebra.Expr) algebra.Expr {
	abs := algebra.Expr{Op: algebra.ExprAbs, Type: intType, Args: []algebra.Expr{x}}
	return algebra.Expr{Op: algebra.ExprMod, Type: intType, Args: []algebra.Expr{abs, lit(num(7))}}
}

// perUnit is a random pre-aggregation of table t or t2, and its columns as table i.
func (a *asker) perUnit(i int) (*algebra.PerUnit, []algebra.Col) {
	u := &algebra.PerUnit{}
	_, numbers := a.derive(&u.Derived, 0)
	pay, net, first := at(0, "pay", yuanType), at(0, "net", intType), numbers[a.r.IntN(2)]
	u.Aggs = []algebra.Agg{{Func: algebra.CountRows}, {Func: algebra.Sum, Arg: &pay}, {Func: algebra.Max, Arg: &net}, {Func: algebra.Sum, Arg: &first},
		{Func: algebra.CountCol, Arg: &net}}
	if a.r.IntN(2) == 0 {
		u.Where = a.pred(0)
	}
	return u, []algebra.Col{at(i, "a0", intType), at(i, "a1", yuanType), at(i, "a2", intType), at(i, "a3", intType), at(i, "a4", intType)}
}

// ask writes one core and the facts of its data sets.
func (a *asker) ask() (algebra.Core, []protect.Facts) {
	r := a.r
	c := algebra.Core{Tables: []algebra.Table{{Dataset: []string{"t", "t", "p"}[r.IntN(3)]}}}
	var keys, numbers, grids []algebra.Col
	plain := func(t int) {
		keys = append(keys, at(t, "g", textType), at(t, "h", textType))
		numbers = append(numbers, at(t, "pay", yuanType), at(t, "debt", intType), at(t, "net", intType))
		grids = append(grids, at(t, "pay", yuanType), at(t, "day", dateType))
	}
	units := func(i int, t *algebra.Table) {
		u, cols := a.perUnit(i)
		t.PerUnit = u
		keys = append(keys, cols[0], cols[4])
		numbers = append(numbers, cols...)
		grids = append(grids, cols[0])
	}
	stored := r.IntN(4) > 0
	if stored {
		plain(0)
		if c.Tables[0].Dataset == "t" && r.IntN(4) == 0 {
			c.Tables[0].Parts = []string{"t2"}
		}
		k, n := a.derive(&c.Derived, 0)
		keys, numbers = append(keys, k...), append(numbers, n...)
		if r.IntN(2) == 0 {
			c.Where = a.pred(0)
		}
	} else {
		units(0, &c.Tables[0])
	}
	if stored && r.IntN(3) == 0 {
		c.Tables = append(c.Tables, algebra.Table{Dataset: "dim"})
		c.Joins = append(c.Joins, algebra.Join{Table: 1, Outer: r.IntN(2) == 0, Left: at(0, "id", intType), Right: at(1, "id", intType)})
		keys, numbers = append(keys, at(1, "zone", textType)), append(numbers, at(1, "score", intType))
	}
	for r.IntN(3) == 0 {
		i := len(c.Tables)
		t := algebra.Table{Dataset: []string{"p", "t", "t2"}[r.IntN(3)]}
		if t.Dataset != "p" {
			units(i, &t)
		} else {
			plain(i)
		}
		c.Tables = append(c.Tables, t)
		c.Joins = append(c.Joins, algebra.Join{Table: i, Outer: r.IntN(2) == 0, Unit: true})
	}
	for _, i := range r.Perm(len(keys))[:r.IntN(3)] {
		c.Keys = append(c.Keys, keys[i])
	}
	if stored && c.Tables[0].Parts == nil && r.IntN(6) == 0 {
		c.Keys = append(c.Keys, at(0, "w", textType))
	}
	number := func() *algebra.Col { x := numbers[r.IntN(len(numbers))]; return &x }
	one := []algebra.Func{algebra.CountCol, algebra.Sum, algebra.Avg, algebra.VarSamp, algebra.StddevPop}
	two := []algebra.Func{algebra.CovarPop, algebra.Corr, algebra.RegrSlope, algebra.RegrIntercept, algebra.RegrR2, algebra.RegrCount}
	for range 1 + r.IntN(4) {
		var g algebra.Agg
		switch r.IntN(5) {
		case 0:
			g = algebra.Agg{Func: []algebra.Func{algebra.CountRows, algebra.CountUnits}[r.IntN(2)]}
		case 1, 2:
			g = algebra.Agg{Func: one[r.IntN(len(one))], Arg: number()}
		case 3:
			g = algebra.Agg{Func: two[r.IntN(len(two))], Arg: number(), Arg2: number()}
		default:
			x := grids[r.IntN(len(grids))]
			g = algebra.Agg{Func: []algebra.Func{algebra.Quantile, algebra.Min, algebra.Max}[r.IntN(3)], Arg: &x}
			if g.Func == algebra.Quantile {
				g.Q = r.Int64N(1_000_001)
			}
		}
		if stored && r.IntN(4) == 0 {
			g.Filter = a.pred(0)
		}
		c.Aggs = append(c.Aggs, g)
	}
	var facts []protect.Facts
	for _, id := range c.Datasets() {
		facts = append(facts, a.world[id])
	}
	return c, facts
}

// R01 attack 10: over random schemas, queries of the whole language and data,
// removing all rows of one unit moves every measure's vector of cells by at most its
// declared √Sens2; the declaration is met with equality somewhere for every kind; and
// with a bound, clamp, weight or centre off, the same check fails.
func TestR01Attack10FrozenMechanismReplay(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	broken, features := map[string]int{}, map[string]int{}
	worst := map[protect.MeasureKind]float64{}
	for i := range trials(1000*slowdown, 20_000) {
		a := asker{r: r, world: worldFacts(r)}
		c, facts := a.ask()
		plan, reason := protect.Build(c, facts, 4_000_000)
		if reason != nil {
			if reason.Code == "CORE_INVALID" && c.Keys == nil || reason.Code != "CORE_INVALID" && reason.Code != "MEASURE_TYPE" && reason.Code != "TOO_MANY_CELLS" {
				t.Fatalf("core %d refused: %v\n%s", i, reason, c.Bytes())
			}
			features[reason.Code]++
			continue
		}
		if err := c.Validate(worldSchemas()); err != nil {
			t.Fatalf("core %d: %v\n%s", i, err, c.Bytes())
		}
		data := worldRows(r, 1+r.IntN(8))
		less := without(data, strconv.Itoa(r.IntN(8)))
		for kind, ratio := range distance(t, plan, data, less) {
			if ratio > 1 {
				t.Fatalf("measure %s moved %.3f times its squared sensitivity\n%s", kind, ratio, c.Bytes())
			}
			worst[kind] = max(worst[kind], ratio)
		}
		note(features, plan)
		over := func(what string, change func(*protect.Plan)) {
			p := *plan
			p.Measures, p.Ranks = append([]protect.Measure(nil), plan.Measures...), append([]int64(nil), plan.Ranks...)
			change(&p)
			for _, ratio := range distance(t, &p, data, less) {
				if ratio > 1 {
					broken[what]++
				}
			}
		}
		if plan.Weight == 0 {
			over("bound off", func(p *protect.Plan) { clear(p.Ranks) })
		} else {
			over("rows instead of weights", func(p *protect.Plan) { p.MaxRows = 1 << 40 })
		}
		over("clamp off", func(p *protect.Plan) {
			for i := range p.Measures {
				p.Measures[i].Clamp, p.Measures[i].Clamp2 = nil, nil
			}
		})
		over("centre off", func(p *protect.Plan) {
			for i := range p.Measures {
				p.Measures[i].Centre = nil
			}
		})
		for _, kind := range kinds {
			over("half of "+string(kind), func(p *protect.Plan) {
				for i, m := range p.Measures {
					if m.Kind == kind {
						p.Measures[i].Sens2 = new(big.Int).Add(new(big.Int).Rsh(m.Sens2, 2), big.NewInt(0))
						if p.Measures[i].Sens2.Sign() == 0 {
							p.Measures[i].Sens2 = big.NewInt(1)
						}
					}
				}
			})
		}
	}
	for _, kind := range kinds {
		if worst[kind] < 0.99 {
			t.Errorf("%s: the worst case reached only %.2f of the declared sensitivity: too loose or not exercised", kind, worst[kind])
		}
		if kind != protect.MeasureFirst && broken["half of "+string(kind)] == 0 {
			t.Errorf("control: half the sensitivity of %s was not caught", kind)
		}
	}
	for _, what := range []string{"bound off", "clamp off", "centre off", "rows instead of weights"} {
		if broken[what] == 0 {
			t.Errorf("control %q was not caught", what)
		}
	}
	for _, what := range []string{"weight", "parts", "per unit", "unit join", "filter", "both", "vector", "private", "derived key"} {
		if features[what] < 10 {
			t.Errorf("feature %q was exercised %d times only", what, features[what])
		}
	}
	t.Logf("%v", features)
}

var kinds = []protect.MeasureKind{protect.MeasureRows, protect.MeasureNonNull, protect.MeasureSum, protect.MeasureUnits,
	protect.MeasureFirst, protect.MeasureProduct, protect.MeasureBin}

func note(features map[string]int, p *protect.Plan) {
	seen := map[string]bool{"weight": p.Weight > 0, "parts": p.Core.Tables[0].Parts != nil, "private": p.Selection != nil}
	for _, t := range p.Core.Tables {
		seen["per unit"] = seen["per unit"] || t.PerUnit != nil
	}
	for _, j := range p.Core.Joins {
		seen["unit join"] = seen["unit join"] || j.Unit
	}
	for _, k := range p.Keys {
		seen["derived key"] = seen["derived key"] || k.Col.Table == algebra.DerivedTable
	}
	for _, m := range p.Measures {
		seen["filter"] = seen["filter"] || m.Filter != nil
		seen["both"] = seen["both"] || m.Both
		seen["vector"] = seen["vector"] || m.Vector > 0
	}
	for what, yes := range seen {
		if yes {
			features[what]++
		}
	}
}

func worldSchemas() []algebra.Schema {
	var out []algebra.Schema
	for id, f := range worldFacts(rand.New(rand.NewPCG(1, 1))) {
		s := algebra.Schema{Dataset: id, Public: f.Public, Unique: f.Unique}
		if !f.Public {
			s.Unit = "unit"
		}
		for name, c := range f.Columns {
			s.Columns = append(s.Columns, algebra.SchemaColumn{Name: name, Type: c.Type})
		}
		out = append(out, s)
	}
	return out
}

// distance returns, per kind, the greatest ‖x−x′‖²/Sens2 over measures, the
// measures of one vector taken together.
func distance(t *testing.T, p *protect.Plan, a, b reference.Data) map[protect.MeasureKind]float64 {
	t.Helper()
	diff := map[string][]*big.Int{}
	for sign, data := range map[int64]reference.Data{1: a, -1: b} {
		groups, err := table(p, reference.Partials(p, data))
		if err != nil {
			t.Fatalf("%v\n%s", err, p.Core.Bytes())
		}
		for _, g := range groups {
			if !g.shown {
				t.Fatal("the reference kept an unregistered code")
			}
			id := identity(g.keys)
			if diff[id] == nil {
				diff[id] = make([]*big.Int, len(p.Measures))
				for i := range p.Measures {
					diff[id][i] = new(big.Int)
				}
			}
			for i, m := range centred(p, g.m) {
				diff[id][i].Add(diff[id][i], new(big.Int).Mul(m, big.NewInt(sign)))
			}
		}
	}
	out, vectors := map[protect.MeasureKind]float64{}, map[int]*big.Int{}
	for i, m := range p.Measures {
		sum := new(big.Int)
		if m.Vector > 0 && vectors[m.Vector] != nil {
			sum = vectors[m.Vector]
		}
		for _, d := range diff {
			sum.Add(sum, new(big.Int).Mul(d[i], d[i]))
		}
		vectors[m.Vector] = sum
		ratio, _ := new(big.Rat).SetFrac(sum, m.Sens2).Float64()
		if ratio > 1 && sum.Cmp(m.Sens2) <= 0 {
			ratio = 1
		}
		out[m.Kind] = max(out[m.Kind], ratio)
	}
	return out
}
