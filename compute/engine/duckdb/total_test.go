package duckdb

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/compute/render"
)

// TestR01_NoStatementFailsOnARow puts the extremes of every stored type under every
// expression and measure: each statement answers, whatever a row holds, so no error
// can tell about one. The control runs the engine's own arithmetic, which fails.
func TestR01_NoStatementFailsOnARow(t *testing.T) {
	b := newBench(t)
	schema := algebra.Schema{Dataset: "x", Unit: "id", Columns: []algebra.SchemaColumn{
		{Name: "a", Type: typeInt}, {Name: "b", Type: typeInt}, {Name: "d", Type: typeDate}, {Name: "s", Type: typeText}, {Name: "c", Type: typeDec}}}
	a, other := algebra.Col{Name: "a", Type: typeInt}, algebra.Col{Name: "b", Type: typeInt}
	day, money := algebra.Col{Name: "d", Type: typeDate}, algebra.Col{Name: "c", Type: typeDec}
	of := func(c algebra.Col) algebra.Expr { return algebra.Expr{Op: algebra.ExprCol, Type: c.Type, Col: &c} }
	do := func(op algebra.ExprOp, t algebra.Type, args ...algebra.Expr) algebra.Expr {
		return algebra.Expr{Op: op, Type: t, Args: args}
	}
	num := func(n int64) algebra.Expr { return lit(algebra.Value{Type: typeInt, I: n}) }
	part := func(name string, e algebra.Expr) algebra.Expr {
		return algebra.Expr{Op: algebra.ExprPart, Type: typeInt, Args: []algebra.Expr{e}, Part: name}
	}
	moved := do(algebra.ExprAdd, typeDate, of(day), of(a))
	product := do(algebra.ExprMul, typeInt, of(a), of(other))
	numbers := []algebra.Expr{
		do(algebra.ExprAdd, typeInt, of(a), of(other)), do(algebra.ExprSub, typeInt, of(a), of(other)), product,
		do(algebra.ExprMul, typeInt, product, product), do(algebra.ExprAbs, typeInt, of(a)), do(algebra.ExprAbs, typeInt, product),
		do(algebra.ExprDiv, typeInt, of(a), num(1)), do(algebra.ExprMod, typeInt, of(a), num(7)), do(algebra.ExprBin, typeInt, of(a)),
		do(algebra.ExprSub, typeInt, of(day), of(day)), do(algebra.ExprSub, typeInt, moved, of(day)),
		part("year", of(day)), part("quarter", moved), part("month", moved), part("day", moved), part("isodow", moved),
		do(algebra.ExprCoalesce, typeInt, of(a), num(3)),
		do(algebra.ExprCoalesce, typeInt, do(algebra.ExprAdd, typeInt, of(a), num(1)), num(0)),
	}
	scaled := do(algebra.ExprScale, typeDec, of(a))
	if err := b.s.exec("CREATE TABLE d0.main.t (a BIGINT, b BIGINT, d DATE, s VARCHAR, c BIGINT, _unit UBIGINT, _rn INTEGER)"); err != nil {
		t.Fatal(err)
	}
	extremes := []string{"NULL", "9223372036854775807", "-9223372036854775808", "-1", "0", "2147483648"}
	days := []string{"NULL", "DATE 'infinity'", "DATE '-infinity'", "make_date(2147483646)", "make_date(-2147483646)", "DATE '2024-02-29'"}
	for i, x := range extremes {
		for j, y := range extremes {
			for _, d := range days {
				if err := b.s.exec(fmt.Sprintf("INSERT INTO d0.main.t VALUES (%s, %s, %s, 'x', %s, %d, 1)", x, y, d, x, i*10+j)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	run := func(p *protect.Plan) {
		t.Helper()
		p.Mode, p.MaxCells, p.Core.Tables = protect.ModeDP, 10_000, []algebra.Table{{Dataset: "x"}}
		p.MaxRows, p.Ranks = 3, []int64{3}
		if p.Weight != 0 {
			p.Ranks[0] = 0
		}
		p.Core.Aggs, p.Grids = []algebra.Agg{{Func: algebra.CountRows}}, []protect.Grid{{Column: "a", Edges: []int64{math.MinInt64, 0, math.MaxInt64}}}
		text, err := render.SQL(p, []algebra.Schema{schema})
		if err != nil {
			t.Fatal(err)
		}
		if ran, err := b.gate(p, []algebra.Schema{schema}, text); !ran || err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if _, err := b.run(p, text); err != nil {
			t.Errorf("fails on a row: %s", text)
		}
	}
	for _, e := range append(numbers, scaled, moved) {
		col := algebra.DerivedCol(0, e.Type)
		core := algebra.Core{Derived: []algebra.Expr{e}}
		keyed := core
		keyed.Keys = []algebra.Col{col}
		run(&protect.Plan{Core: keyed, Keys: []protect.Key{{Col: col}}, Measures: []protect.Measure{{Kind: protect.MeasureRows}}})
		if e.Type == typeDate {
			continue
		}
		for _, weight := range []int64{0, math.MaxInt32} {
			run(&protect.Plan{Core: core, Weight: weight, Measures: []protect.Measure{
				{Kind: protect.MeasureSum, Col: &col, Offset: math.MinInt64}, {Kind: protect.MeasureSum, Col: &col, Clamp: &protect.Range{Lo: math.MinInt64, Hi: math.MaxInt64}},
				{Kind: protect.MeasureSum, Col: &a, Offset: math.MaxInt64, Clamp: &protect.Range{Lo: math.MinInt64, Hi: 5}},
				{Kind: protect.MeasureProduct, Col: &col, Col2: &money, Clamp: &protect.Range{Lo: -1 << 31, Hi: 1 << 30}, Clamp2: &protect.Range{Lo: 0, Hi: 1 << 30}},
				{Kind: protect.MeasureProduct, Col: &a, Col2: &a, Clamp: &protect.Range{Lo: -1 << 30, Hi: 1 << 30}, Clamp2: &protect.Range{Lo: -1 << 30, Hi: 1 << 30}, Offset: 1 << 30, Offset2: -1 << 30},
			}})
		}
	}
	// Wider products are not rendered at all.
	wide := &protect.Range{Lo: math.MinInt64, Hi: math.MaxInt64}
	for _, m := range []protect.Measure{{Kind: protect.MeasureProduct, Col: &a, Col2: &a, Clamp: wide, Clamp2: wide}, {Kind: protect.MeasureProduct, Col: &a, Col2: &a, Sens2: big.NewInt(4)}} {
		p := &protect.Plan{Core: algebra.Core{Tables: []algebra.Table{{Dataset: "x"}}, Aggs: []algebra.Agg{{Func: algebra.CountRows}}}, Mode: protect.ModeDP, MaxRows: 3, Ranks: []int64{3}, Measures: []protect.Measure{m}}
		if text, err := render.SQL(p, []algebra.Schema{schema}); err == nil {
			t.Errorf("rendered %s", text)
		}
	}
	for _, text := range []string{"SUM(a + b)", "SUM(a * b)", "SUM(abs(a))", "SUM(a - b)", "MAX(year(d + a::INTEGER))", "SUM((a - 1) * (b - 1))", "MAX(a::INTEGER)"} {
		if _, err := b.run(plan(1), "SELECT "+text+" AS m0 FROM d0.main.t"); err == nil {
			t.Errorf("control: %s does not fail: this test tests nothing", text)
		}
	}
}

// TestIntegerDivision pins what the engine's // and % do: quotients toward zero, a
// remainder with the dividend's sign, NULL for a divisor of zero.
func TestIntegerDivision(t *testing.T) {
	b := newBench(t)
	for _, n := range []int64{17, 15, 4, 0, -4, -17, math.MaxInt64, math.MinInt64} {
		for _, d := range []int64{1, 2, 5, 999_999_999} {
			got, err := b.run(plan(2), fmt.Sprintf("SELECT (x // CAST(%d AS BIGINT)) AS m0, (x %% CAST(%d AS BIGINT)) AS m1 FROM (SELECT CAST('%d' AS BIGINT) AS x)", d, d, n))
			if err != nil || got.Cells[0].M[0].Int64() != n/d || got.Cells[0].M[1].Int64() != n%d {
				t.Errorf("%d by %d: %v, %v", n, d, got.Cells, err)
			}
		}
	}
	got, err := b.run(plan(1), "SELECT COUNT(5 // 0) AS m0")
	if err != nil || got.Cells[0].M[0].Sign() != 0 {
		t.Errorf("division by zero: %v, %v", got.Cells, err)
	}
}

// TestR01_HostilePlansAreNotRendered: plans that would let a unit through with more
// rows than bounded, or text through as something else, give no statement.
func TestR01_HostilePlansAreNotRendered(t *testing.T) {
	code := algebra.Col{Name: "code", Type: typeText}
	base := func() *protect.Plan {
		return &protect.Plan{Mode: protect.ModeDP, MaxRows: 3, MaxCells: 10, Ranks: []int64{3}, Measures: []protect.Measure{{Kind: protect.MeasureRows}},
			Core: algebra.Core{Tables: []algebra.Table{{Dataset: "visits"}}, Aggs: []algebra.Agg{{Func: algebra.CountRows}}}}
	}
	schemas := []algebra.Schema{{Dataset: "visits", Unit: "id", Columns: visitColumns}, {Dataset: "visits2", Unit: "id", Columns: visitColumns},
		{Dataset: "area", Public: true, Unique: []string{"code"}, Columns: []algebra.SchemaColumn{{Name: "code", Type: typeText}}}}
	perUnit := func(id string) algebra.Table {
		return algebra.Table{Dataset: id, PerUnit: &algebra.PerUnit{Aggs: []algebra.Agg{{Func: algebra.CountRows}}}}
	}
	n := algebra.Col{Name: "n", Type: typeInt}
	for name, spoil := range map[string]func(p *protect.Plan){
		"several rows of a joined unit": func(p *protect.Plan) {
			p.Core.Tables = append(p.Core.Tables, algebra.Table{Dataset: "visits2"})
			p.Core.Joins, p.Ranks = []algebra.Join{{Table: 1, Unit: true}}, []int64{3, 2}
		},
		"weights beside the same data set per unit": func(p *protect.Plan) {
			p.Core.Tables = append(p.Core.Tables, perUnit("visits"))
			p.Core.Joins, p.Ranks, p.Weight = []algebra.Join{{Table: 1, Unit: true}}, []int64{0}, 8
		},
		"weights of units":   func(p *protect.Plan) { p.Core.Tables[0], p.Weight = perUnit("visits"), 8 },
		"weights of one row": func(p *protect.Plan) { p.OneRow, p.Weight = true, 8 },
		"first rows of partitions": func(p *protect.Plan) {
			p.Core.Tables[0].Parts, p.Ranks = []string{"visits2"}, []int64{3, 3}
			p.Measures[0].Kind = protect.MeasureFirst
		},
		"rank of a public table": func(p *protect.Plan) {
			p.Core.Tables = append(p.Core.Tables, algebra.Table{Dataset: "area"})
			at := code
			at.Table = 1
			p.Core.Joins, p.Ranks = []algebra.Join{{Table: 1, Left: code, Right: at}}, []int64{3, 1}
		},
		"exact units": func(p *protect.Plan) {
			p.Core.Tables[0], p.Mode, p.Ranks = perUnit("visits"), protect.ModeExact, []int64{0}
		},
		"constant key": func(p *protect.Plan) {
			p.Core.Derived = []algebra.Expr{lit(algebra.Value{Type: typeInt, I: 1})}
			p.Core.Keys = []algebra.Col{algebra.DerivedCol(0, typeInt)}
			p.Keys = []protect.Key{{Col: p.Core.Keys[0]}}
		},
		"bin without grid": func(p *protect.Plan) {
			p.Core.Derived = []algebra.Expr{{Op: algebra.ExprBin, Type: typeInt, Args: []algebra.Expr{{Op: algebra.ExprCol, Type: typeInt, Col: &n}}}}
			c := algebra.DerivedCol(0, typeInt)
			p.Measures[0] = protect.Measure{Kind: protect.MeasureSum, Col: &c}
		},
		"division by zero": func(p *protect.Plan) {
			p.Core.Derived = []algebra.Expr{{Op: algebra.ExprDiv, Type: typeInt, Args: []algebra.Expr{{Op: algebra.ExprCol, Type: typeInt, Col: &n}, lit(algebra.Value{Type: typeInt})}}}
			c := algebra.DerivedCol(0, typeInt)
			p.Measures[0] = protect.Measure{Kind: protect.MeasureSum, Col: &c}
		},
		"unknown part": func(p *protect.Plan) {
			day := algebra.Col{Name: "day", Type: typeDate}
			p.Core.Derived = []algebra.Expr{{Op: algebra.ExprPart, Type: typeInt, Args: []algebra.Expr{{Op: algebra.ExprCol, Type: typeDate, Col: &day}}, Part: "epoch"}}
			c := algebra.DerivedCol(0, typeInt)
			p.Measures[0] = protect.Measure{Kind: protect.MeasureSum, Col: &c}
		},
		"redacted label": func(p *protect.Plan) {
			p.Core.Derived = []algebra.Expr{{Op: algebra.ExprCoalesce, Type: typeText, Args: []algebra.Expr{{Op: algebra.ExprCol, Type: typeText, Col: &code}, lit(algebra.Value{Type: typeText, Redacted: true, I: 1})}}}
			c := algebra.DerivedCol(0, typeText)
			p.Measures[0] = protect.Measure{Kind: protect.MeasureNonNull, Col: &c}
		},
		"derived from what is not there": func(p *protect.Plan) {
			c := algebra.DerivedCol(3, typeInt)
			p.Measures[0] = protect.Measure{Kind: protect.MeasureSum, Col: &c}
		},
		"unknown operator": func(p *protect.Plan) {
			p.Core.Derived = []algebra.Expr{{Op: "error", Type: typeInt}}
		},
		"sum of the unit": func(p *protect.Plan) {
			p.Measures[0] = protect.Measure{Kind: protect.MeasureSum, Col: &algebra.Col{Name: "_unit", Type: typeInt}}
		},
	} {
		p := base()
		spoil(p)
		mine, err := p.Core.SchemasOf(schemas)
		if err != nil {
			t.Fatal(name, err)
		}
		if text, err := render.SQL(p, mine); err == nil {
			t.Errorf("%s: rendered %s", name, text)
		}
	}
	// A text literal stays a literal.
	p := base()
	label := `'); DROP TABLE d0.main.t; --`
	p.Core.Derived = []algebra.Expr{{Op: algebra.ExprCoalesce, Type: typeText, Args: []algebra.Expr{{Op: algebra.ExprCol, Type: typeText, Col: &code}, lit(algebra.Value{Type: typeText, S: label})}}}
	p.Core.Keys = []algebra.Col{algebra.DerivedCol(0, typeText)}
	p.Keys = []protect.Key{{Col: p.Core.Keys[0]}}
	text, err := render.SQL(p, schemas[:1])
	if err != nil || !strings.Contains(text, "'''); DROP TABLE") {
		t.Fatalf("%v: %s", err, text)
	}
	if ran, err := newBench(t).gate(p, schemas[:1], text); !ran || err != nil {
		t.Error(err)
	}
}
