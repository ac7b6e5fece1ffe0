package protect

import (
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
)

var dateType = algebra.Type{Kind: algebra.Date}

// rich is facts with grids and dates.
func rich(id string, m int64) Facts {
	f := facts(m)
	f.Dataset = id
	f.Unit = "person"
	pay := f.Columns["pay"]
	pay.Grid = []int64{0, 1_000_000, 2_000_000, 4_000_000}
	f.Columns["pay"] = pay
	f.Columns["day"] = ColumnFacts{Type: dateType, Nullable: true, Bounds: &Range{19_000, 20_000}, Stored: &Range{19_000, 20_000}, Grid: []int64{19_000, 19_500, 20_000}}
	f.Columns["net"] = ColumnFacts{Type: intType, Bounds: &Range{-7, 12}, Stored: &Range{-7, 12}}
	return f
}

func x(f Facts, name string) algebra.Expr {
	c := col(f, 0, name)
	return algebra.Expr{Op: algebra.ExprCol, Type: c.Type, Col: &c}
}

func lit(v int64, t algebra.Type) algebra.Expr {
	return algebra.Expr{Op: algebra.ExprLit, Type: t, Value: &algebra.Value{Type: t, I: v}}
}

func label(s string) algebra.Expr {
	return algebra.Expr{Op: algebra.ExprLit, Type: textType, Value: &algebra.Value{Type: textType, S: s}}
}

func op(o algebra.ExprOp, t algebra.Type, args ...algebra.Expr) algebra.Expr {
	return algebra.Expr{Op: o, Type: t, Args: args}
}

func eq(f Facts, name, value string) algebra.Pred {
	c := col(f, 0, name)
	return algebra.Pred{Op: algebra.OpEq, Col: &c, Values: []algebra.Value{{Type: c.Type, S: value}}}
}

func choose(then algebra.Expr, other *algebra.Expr, when algebra.Pred) algebra.Expr {
	return algebra.Expr{Op: algebra.ExprCase, Type: then.Type, Whens: []algebra.When{{If: when, Then: then}}, Else: other}
}

// The bounds, codes and NULLs of expressions follow from those of columns alone.
func TestDerivedColumns(t *testing.T) {
	f := rich("t", 2)
	none, zero := label("none"), lit(0, intType)
	part := func(p string) algebra.Expr {
		return algebra.Expr{Op: algebra.ExprPart, Type: intType, Part: p, Args: []algebra.Expr{x(f, "day")}}
	}
	for _, c := range []struct {
		name     string
		e        algebra.Expr
		bounds   *Range // as a measure
		codes    int    // as a key; −1: refused
		nullable bool
		code     string
	}{
		{"sum", op(algebra.ExprAdd, intType, x(f, "net"), x(f, "debt")), &Range{-507, 82}, -1, true, ""},
		{"difference", op(algebra.ExprSub, intType, x(f, "net"), x(f, "net")), &Range{-19, 19}, 39, false, ""},
		{"square", op(algebra.ExprMul, intType, x(f, "net"), x(f, "net")), &Range{-84, 144}, 229, false, ""},
		{"absolute", op(algebra.ExprAbs, intType, x(f, "net")), &Range{0, 12}, 13, false, ""},
		{"quotient", op(algebra.ExprDiv, intType, op(algebra.ExprAbs, intType, x(f, "net")), lit(5, intType)), &Range{0, 2}, 3, false, ""},
		{"remainder", op(algebra.ExprMod, intType, op(algebra.ExprAbs, intType, x(f, "net")), lit(5, intType)), &Range{0, 4}, 5, false, ""},
		{"negative dividend", op(algebra.ExprMod, intType, x(f, "net"), lit(5, intType)), nil, -1, false, "DIVIDEND_NEGATIVE"},
		{"scale", op(algebra.ExprScale, yuanType, x(f, "net")), &Range{-700, 1200}, -1, false, ""},
		{"wide", op(algebra.ExprAdd, intType, x(f, "wide"), zero), nil, -1, false, "EXPRESSION_OVERFLOW"},
		{"no bounds", op(algebra.ExprAdd, intType, x(f, "free"), zero), nil, -1, false, "MEASURE_NO_BOUNDS"},
		{"case of numbers", choose(x(f, "net"), &zero, eq(f, "area", "0001")), &Range{-7, 12}, 20, false, ""},
		{"case of literals", choose(lit(1, intType), &zero, eq(f, "area", "0001")), &Range{0, 1}, 2, false, ""},
		{"case without else", choose(label("yes"), nil, eq(f, "area", "0001")), nil, 1, true, ""},
		{"case of labels", choose(label("yes"), &none, eq(f, "area", "0001")), nil, 2, false, ""},
		{"case of codes", choose(x(f, "area"), &none, eq(f, "area", "0001")), nil, 5, false, ""},
		{"case of private", choose(x(f, "firm"), &none, eq(f, "area", "0001")), nil, -1, false, ""},
		{"coalesce", op(algebra.ExprCoalesce, textType, x(f, "sector"), label("none")), nil, 101, false, ""},
		{"coalesce of nullables", op(algebra.ExprCoalesce, intType, x(f, "debt"), x(f, "debt")), &Range{-500, 70}, -1, true, ""},
		{"month", part("month"), &Range{1, 12}, 12, true, ""},
		{"quarter", part("quarter"), &Range{1, 4}, 4, true, ""},
		{"weekday", part("isodow"), &Range{1, 7}, 7, true, ""},
		{"year", part("year"), &Range{2022, 2024}, 3, true, ""},
		{"bin", op(algebra.ExprBin, yuanType, x(f, "pay")), &Range{0, 2_000_000}, 3, false, ""},
		{"bin of dates", op(algebra.ExprBin, dateType, x(f, "day")), nil, 2, true, ""},
		{"bin without grid", op(algebra.ExprBin, intType, x(f, "net")), nil, -1, false, "GRID_MISSING"},
		{"days between", op(algebra.ExprSub, intType, x(f, "day"), x(f, "day")), &Range{-1000, 1000}, -1, true, ""},
		{"date past the calendar", op(algebra.ExprAdd, dateType, x(f, "day"), lit(4_000_000, intType)), nil, -1, false, "EXPRESSION_OVERFLOW"},
		{"always NULL", algebra.Expr{Op: algebra.ExprLit, Type: intType, Value: &algebra.Value{Type: intType, Null: true}}, nil, -1, true, ""},
		{"no operand", op(algebra.ExprAdd, intType, x(f, "net")), nil, -1, false, "CORE_INVALID"},
		{"unknown", op("exp", intType, x(f, "net"), zero), nil, -1, false, "CORE_INVALID"},
	} {
		core := query(f, "", "count")
		core.Derived = []algebra.Expr{c.e}
		d := algebra.DerivedCol(0, c.e.Type)
		core.Keys = []algebra.Col{d}
		p, r := Build(core, []Facts{f}, 4_000_000)
		switch {
		case c.codes < 0:
			if r == nil || c.code != "" && r.Code != c.code || c.code == "" && r.Code != "KEY_NOT_PUBLIC" {
				t.Errorf("%s as key: %v", c.name, r)
			}
		case r != nil || len(p.Keys[0].Codes) != c.codes || p.Keys[0].Nullable != c.nullable || !slices.IsSortedFunc(p.Keys[0].Codes, CompareValues):
			t.Errorf("%s as key: %v %+v", c.name, r, p)
		}
		core.Keys = nil
		core.Aggs = []algebra.Agg{{Func: algebra.Avg, Arg: &d}}
		p, r = Build(core, []Facts{f}, 4_000_000)
		if c.bounds == nil {
			if r == nil {
				t.Errorf("%s as measure: accepted with %+v", c.name, p.Outputs[0].Range)
			}
			continue
		}
		if r != nil || p.Outputs[0].Range != *c.bounds {
			t.Errorf("%s as measure: %v, want %v", c.name, r, *c.bounds)
			continue
		}
		if nullable := p.Measures[p.Outputs[0].B].Kind == MeasureNonNull; nullable != c.nullable {
			t.Errorf("%s as measure: nullable %v", c.name, nullable)
		}
	}
	// Literals and NULL alone make no key, and an expression may name those before it only.
	core := query(f, "", "count")
	self := algebra.DerivedCol(0, intType)
	core.Derived = []algebra.Expr{choose(lit(1, intType), nil, algebra.Pred{Op: algebra.OpIsNull, Col: &self})}
	if _, r := Build(core, []Facts{f}, 4_000_000); r == nil || r.Code != "CORE_INVALID" {
		t.Errorf("an expression that names itself: %v", r)
	}
}

// complex asks for most of the language at once.
func complexCore(f, one Facts) algebra.Core {
	c := query(f, "area", "sum pay", "avg pay", "var_samp net", "count")
	c.Tables = append(c.Tables, algebra.Table{Dataset: one.Dataset}, algebra.Table{Dataset: f.Dataset, PerUnit: &algebra.PerUnit{
		Where: &algebra.Pred{Op: algebra.OpNot, Args: []algebra.Pred{eq(f, "area", "0002")}}, Aggs: []algebra.Agg{{Func: algebra.CountRows}, {Func: algebra.Sum, Arg: query(f, "", "sum net").Aggs[0].Arg}}}})
	c.Joins = []algebra.Join{{Table: 1, Unit: true}, {Table: 2, Unit: true, Outer: true}}
	none := label("none")
	c.Derived = []algebra.Expr{choose(label("0001"), &none, eq(f, "area", "0003")), op(algebra.ExprCoalesce, textType, x(f, "sector"), label("0007"), label("none")),
		choose(x(f, "net"), nil, eq(f, "sector", "0001"))}
	c.Keys = append(c.Keys, algebra.DerivedCol(0, textType), algebra.DerivedCol(1, textType))
	e2, a1 := algebra.DerivedCol(2, intType), algebra.Col{Table: 2, Name: "a1", Type: intType}
	one1, two2 := eq(f, "area", "0001"), eq(f, "area", "0002")
	c.Aggs = append(c.Aggs, algebra.Agg{Func: algebra.Corr, Arg: &e2, Arg2: &a1}, algebra.Agg{Func: algebra.CountRows, Filter: &one1},
		algebra.Agg{Func: algebra.CountRows, Filter: &two2}, algebra.Agg{Func: algebra.Avg, Arg: &a1, Filter: &one1}, algebra.Agg{Func: algebra.Sum, Arg: &a1, Filter: &two2})
	return c
}

// The auditor sees a redacted core and must find the same price and the same noise.
func TestR14_PriceOnARedactedCore(t *testing.T) {
	f, one := rich("t", 3), rich("p", 9)
	one.OneRow = true
	fs := []Facts{f, one}
	c := complexCore(f, one)
	where := algebra.Pred{Op: algebra.OpAnd, Args: []algebra.Pred{eq(f, "area", "0001"), eq(f, "sector", "0055")}}
	selective := query(f, "area", "sum pay", "count")
	selective.Where = &where
	for _, c := range []algebra.Core{c, selective} {
		full, r1 := Build(c, fs[:len(c.Datasets())], 3_000_000)
		hidden, r2 := Build(c.Redacted(), fs[:len(c.Datasets())], 3_000_000)
		if r1 != nil || r2 != nil {
			t.Fatal(r1, r2)
		}
		if full.Rho != hidden.Rho || full.MaxCells != hidden.MaxCells || full.Weight != hidden.Weight || len(full.Measures) != len(hidden.Measures) {
			t.Fatalf("price %s and %s, cells %d and %d, measures %d and %d", full.Rho, hidden.Rho, full.MaxCells, hidden.MaxCells, len(full.Measures), len(hidden.Measures))
		}
		for i, m := range full.Measures {
			h := hidden.Measures[i]
			if m.Kind != h.Kind || m.Sens2.Cmp(h.Sens2) != 0 || m.Sigma2.Cmp(h.Sigma2) != 0 || m.Rho != h.Rho {
				t.Errorf("measure %d: %+v and %+v", i, m, h)
			}
		}
	}
	// Filters of different literals must not become one measure where they look alike.
	p, _ := Build(c, fs, 3_000_000)
	if p.Outputs[5].A == p.Outputs[6].A {
		t.Error("two filters share one count")
	}
}

func TestPerUnitUnionsAndUnitJoins(t *testing.T) {
	f, g, one := rich("t", 3), rich("t2", 4), rich("p", 9)
	one.OneRow = true
	p, r := Build(complexCore(f, one), []Facts{f, one}, 4_000_000)
	if r != nil || p.MaxRows != 3 || p.OneRow || !slices.Equal(p.Ranks, []int64{3, 0}) {
		t.Fatalf("%v %+v", r, p)
	}
	if o := p.Outputs[4]; o.Range != (Range{-7, 12}) || o.Range2 != (Range{-21, 36}) {
		t.Errorf("a sum of at most three of −7…12 lies in −21…36: %+v", o)
	}
	both := 0
	for _, m := range p.Measures {
		if m.Both {
			both++
		}
	}
	if both != 3 || len(p.Outputs[4].In) != 6 {
		t.Errorf("n, Σy and Σx count rows where neither is NULL: %d of three, %+v", both, p.Outputs[4])
	}
	// A table of one row per unit as fact: sensitivity one, its data set still bounded.
	c := algebra.Core{Tables: []algebra.Table{{Dataset: "t", PerUnit: &algebra.PerUnit{Aggs: []algebra.Agg{{Func: algebra.CountRows}}}}},
		Keys: []algebra.Col{{Name: "a0", Type: intType}}, Aggs: []algebra.Agg{{Func: algebra.CountRows}, {Func: algebra.CountUnits}}}
	p, r = Build(c, []Facts{f}, 4_000_000)
	if r != nil || !p.OneRow || p.MaxRows != 1 || p.Ranks[0] != 3 || len(p.Keys[0].Codes) != 3 || len(p.Measures) != 1 || p.Measures[0].Sens2.Int64() != 1 {
		t.Errorf("%v %+v", r, p)
	}
	// A union: the bounds of its parts add up.
	c = query(f, "area", "sum debt", "count_units")
	c.Tables[0].Parts = []string{"t2"}
	p, r = Build(c, []Facts{f, g}, 4_000_000)
	if r != nil || p.MaxRows != 7 || p.OneRow || !slices.Equal(p.Ranks, []int64{3, 4}) || p.Measures[0].Sens2.Int64() != 3500*3500 || p.Measures[1].Sens2.Int64() != 4 {
		t.Errorf("%v %+v", r, p)
	}
	cheap := g
	cheap.QueryMaxRho = 1_000_000
	if _, r = Build(c, []Facts{f, cheap}, 4_000_000); r == nil || r.Code != "PRICE_TOO_HIGH" || !strings.Contains(r.EN, "t2") {
		t.Errorf("the strictest data set decides what a query may cost: %v", r)
	}
}

func TestR01LanguageRefusals(t *testing.T) {
	f, g, one := rich("t", 3), rich("t2", 4), rich("p", 9)
	one.OneRow = true
	org := one
	org.Unit = "organisation"
	exact := f
	exact.Mode = ModeExact
	count := []algebra.Agg{{Func: algebra.CountRows}}
	union := func(keys string) algebra.Core {
		c := query(f, keys, "count")
		c.Tables[0].Parts = []string{"t2"}
		return c
	}
	unit := func(t algebra.Table) algebra.Core {
		c := query(f, "", "count")
		c.Tables = append(c.Tables, t)
		c.Joins = []algebra.Join{{Table: 1, Unit: true}}
		return c
	}
	sets := func(keys string, aggs ...string) algebra.Core {
		c := query(f, keys, aggs...)
		c.Sets = [][]int{{0}, {}}
		return c
	}
	filtered := query(f, "", "count")
	where := eq(f, "area", "0001")
	filtered.Aggs[0].Filter = &where
	twice := union("")
	twice.Tables[0].Parts = []string{"t2", "t2"}
	area, pay := col(f, 0, "area"), col(f, 0, "pay")
	pair := query(f, "", "corr pay")
	wide := query(f, "", "var_pop wide")
	for _, c := range []struct {
		name  string
		core  algebra.Core
		facts []Facts
		code  string
	}{
		{"private join of several rows", unit(algebra.Table{Dataset: "t2"}), []Facts{f, g}, "PRIVATE_JOIN"},
		{"units of two kinds", unit(algebra.Table{Dataset: "p"}), []Facts{f, org}, "UNIT_MIXED"},
		{"per unit of nothing", unit(algebra.Table{Dataset: "t2", PerUnit: &algebra.PerUnit{}}), []Facts{f, g}, "CORE_INVALID"},
		{"average per unit", unit(algebra.Table{Dataset: "t2", PerUnit: &algebra.PerUnit{Aggs: []algebra.Agg{{Func: algebra.Avg, Arg: &pay}}}}), []Facts{f, g}, "CORE_INVALID"},
		{"sum of text per unit", unit(algebra.Table{Dataset: "t2", PerUnit: &algebra.PerUnit{Aggs: []algebra.Agg{{Func: algebra.Sum, Arg: &area}}}}), []Facts{f, g}, "MEASURE_TYPE"},
		{"a partition twice", twice, []Facts{f, g}, "CORE_INVALID"},
		{"private keys of a union", union("firm"), []Facts{f, g}, "PRIVATE_KEYS_UNSUPPORTED"},
		{"margins of private keys", sets("firm", "count"), []Facts{f}, "PRIVATE_KEYS_UNSUPPORTED"},
		{"margins of units", sets("area", "count_units"), []Facts{f}, "UNITS_NOT_ADDITIVE"},
		{"sets out of range", algebra.Core{Tables: query(f, "").Tables, Aggs: count, Sets: [][]int{{0}}}, []Facts{f}, "CORE_INVALID"},
		{"corr of one column", pair, []Facts{f}, "CORE_INVALID"},
		{"variance too wide", wide, []Facts{f}, "MEASURE_TOO_WIDE"},
		{"quantile without grid", query(f, "", "quantile net"), []Facts{f}, "GRID_MISSING"},
		{"quantile of text", query(f, "", "quantile area"), []Facts{f}, "MEASURE_TYPE"},
		{"exact filter", filtered, []Facts{exact}, "EXACT_UNSUPPORTED"},
		{"exact variance", query(f, "", "var_pop net"), []Facts{exact}, "EXACT_UNSUPPORTED"},
		{"exact sets", sets("area", "count"), []Facts{exact}, "EXACT_UNSUPPORTED"},
		{"exact union", union(""), []Facts{exact, func() Facts { x := g; x.Mode = ModeExact; return x }()}, "EXACT_UNSUPPORTED"},
		{"exact per unit", algebra.Core{Tables: []algebra.Table{{Dataset: "t", PerUnit: &algebra.PerUnit{Aggs: count}}}, Aggs: count}, []Facts{exact}, "EXACT_UNSUPPORTED"},
		{"exact unit join", unit(algebra.Table{Dataset: "p"}), []Facts{exact, func() Facts { x := one; x.Mode = ModeExact; return x }()}, "EXACT_UNSUPPORTED"},
	} {
		price := budget.Nano(4_000_000)
		p, r := Build(c.core, c.facts, price)
		if p != nil || r == nil || r.Code != c.code || r.ZH == "" || r.EN == "" || r.ZH == r.EN {
			t.Errorf("%s: %v", c.name, r)
		}
	}
}

func TestPriceForAll(t *testing.T) {
	f := rich("t", 1)
	c := query(f, "", "count", "avg pay", "var_pop net", "stddev_pop net", "quantile pay", "min pay", "regr_count net")
	pay := col(f, 0, "pay")
	for _, fn := range []algebra.Func{algebra.CovarPop, algebra.Corr, algebra.RegrSlope, algebra.RegrIntercept, algebra.RegrR2} {
		c.Aggs = append(c.Aggs, algebra.Agg{Func: fn, Arg: c.Aggs[2].Arg, Arg2: &pay})
	}
	c.Aggs[6].Arg2 = &pay
	p, r := Build(c, []Facts{f}, 4_000_000)
	if r != nil {
		t.Fatal(r)
	}
	var targets []Target
	for i, e := range p.ExpectedError() {
		if e.Half.Sign() < 1 || e.SD.Sign() < 1 {
			t.Errorf("output %d: %+v", i, e)
		}
		targets = append(targets, Target{i, e.At(500), 500})
	}
	price, r := PriceForAll(c, []Facts{f}, targets)
	if r != nil || price > 4_000_000 {
		t.Fatal(price, r)
	}
	q, _ := Build(c, []Facts{f}, price)
	less, _ := Build(c, []Facts{f}, price-1)
	met := func(p *Plan) bool {
		for _, x := range targets {
			if p.ExpectedError()[x.Output].At(x.Values).Cmp(x.Half) > 0 {
				return false
			}
		}
		return true
	}
	if !met(q) || met(less) {
		t.Errorf("%s is not the least price: %v at it, %v below", price, met(q), met(less))
	}
	if _, r := PriceForAll(c, []Facts{f}, append(targets, Target{0, big.NewInt(1), 1})); r == nil || r.Code != "TARGET_TOO_FINE" {
		t.Errorf("%v", r)
	}
	if _, r := PriceForAll(c, []Facts{f}, nil); r == nil {
		t.Error("no target is accepted")
	}
	for text, want := range map[string]int64{"12": 1200, "0.5": 50, "0.059": 5, "3.": -1, "-1": -1, "1.2x": -1, "": -1, "1.23x": -1} {
		got, err := (OutputError{Scale: 2}).Units(text)
		if (err != nil) != (want < 0) || err == nil && got.Int64() != want {
			t.Errorf("Units(%q) = %v, %v", text, got, err)
		}
	}
}

// A plan of the whole language survives JSON and shares nothing with its inputs.
func TestLanguagePlanIsPure(t *testing.T) {
	f, one := rich("t", 3), rich("p", 9)
	one.OneRow = true
	c := complexCore(f, one)
	before := string(c.Bytes())
	p1, r := Build(c, []Facts{f, one}, 1_000_003)
	if r != nil {
		t.Fatal(r)
	}
	j1, _ := json.Marshal(p1)
	for _, m := range p1.Measures {
		m.Sens2.SetInt64(1)
		if m.Col != nil {
			m.Col.Name = "other"
		}
		if m.Col2 != nil {
			m.Col2.Name = "other"
		}
	}
	p2, _ := Build(c, []Facts{f, one}, 1_000_003)
	if j2, _ := json.Marshal(p2); string(j1) != string(j2) || string(c.Bytes()) != before {
		t.Error("a plan shares memory with its inputs")
	}
}
