package duckdb_test

import (
	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// extendedPlans are plans by name, written out, that together hold every construct
// beyond stored columns and plain aggregates.
func extendedPlans() map[string]*protect.Plan {
	number, money, date := algebra.Type{Kind: algebra.Int}, algebra.Type{Kind: algebra.Decimal, Scale: 2}, algebra.Type{Kind: algebra.Date}
	text, yes := algebra.Type{Kind: algebra.Text}, algebra.Type{Kind: algebra.Bool}
	col := func(table int, name string, t algebra.Type) *algebra.Col {
		return &algebra.Col{Table: table, Name: name, Type: t}
	}
	e := func(i int, t algebra.Type) *algebra.Col { c := algebra.DerivedCol(i, t); return &c }
	of := func(c *algebra.Col) algebra.Expr { return algebra.Expr{Op: algebra.ExprCol, Type: c.Type, Col: c} }
	num := func(n int64) algebra.Expr {
		return algebra.Expr{Op: algebra.ExprLit, Type: number, Value: &algebra.Value{Type: number, I: n}}
	}
	word := func(s string) algebra.Expr {
		return algebra.Expr{Op: algebra.ExprLit, Type: text, Value: &algebra.Value{Type: text, S: s}}
	}
	do := func(op algebra.ExprOp, t algebra.Type, args ...algebra.Expr) algebra.Expr {
		return algebra.Expr{Op: op, Type: t, Args: args}
	}
	is := func(op algebra.PredOp, c *algebra.Col, n int64) algebra.Pred {
		return algebra.Pred{Op: op, Col: c, Values: []algebra.Value{{Type: c.Type, I: n}}}
	}
	rows := []algebra.Agg{{Func: algebra.CountRows}}
	age, wage, bonus, day := col(0, "age", number), col(0, "wage", money), col(0, "bonus", money), col(0, "insured_on", date)
	when := func(p algebra.Pred, then algebra.Expr) algebra.When { return algebra.When{If: p, Then: then} }
	adult, year := word("成年"), do(algebra.ExprPart, number, of(day))
	year.Part = "year"
	adultIf := is(algebra.OpGe, age, 18)
	paid := is(algebra.OpEq, col(0, "paid", yes), 1)
	social := []algebra.Table{{Dataset: "social"}}
	codes := func(t algebra.Type, values ...algebra.Value) []algebra.Value {
		for i := range values {
			values[i].Type = t
		}
		return values
	}
	dp := func(p protect.Plan) *protect.Plan {
		p.Mode, p.MaxCells = protect.ModeDP, 100
		if p.MaxRows == 0 {
			p.MaxRows = 3
		}
		if p.Core.Aggs == nil {
			p.Core.Aggs = rows
		}
		for _, k := range p.Keys {
			p.Core.Keys = append(p.Core.Keys, k.Col)
		}
		if p.Measures == nil {
			p.Measures = []protect.Measure{{Kind: protect.MeasureRows}}
		}
		return &p
	}
	perUnit := &algebra.PerUnit{
		Where: &algebra.Pred{Op: algebra.OpGt, Col: col(0, "年龄", number), Values: []algebra.Value{{Type: number, I: 16}}},
		Aggs: []algebra.Agg{{Func: algebra.CountRows}, {Func: algebra.Sum, Arg: col(0, "缴费额", money)}, {Func: algebra.Min, Arg: col(0, "缴费日期", date)},
			{Func: algebra.Max, Arg: col(0, "缴费日期", date)}, {Func: algebra.CountCol, Arg: col(0, "区县", text)}}}

	return map[string]*protect.Plan{
		"derived keys": dp(protect.Plan{
			Core: algebra.Core{Tables: social, Derived: []algebra.Expr{
				{Op: algebra.ExprCase, Type: text, Whens: []algebra.When{when(adultIf, adult)}, Else: ptr(word("未成年"))},
				year,
				do(algebra.ExprBin, number, of(age)),
				{Op: algebra.ExprCase, Type: text, Whens: []algebra.When{when(is(algebra.OpLt, e(1, number), 2020), word("x'y"))}},
			}},
			Ranks: []int64{3}, Grids: []protect.Grid{{Column: "age", Edges: []int64{0, 18, 60, 120}}},
			Keys: []protect.Key{{Col: *e(0, text), Codes: codes(text, algebra.Value{S: "成年"}, algebra.Value{S: "未成年"})}, {Col: *e(1, number)},
				{Col: *e(2, number), Codes: codes(number, algebra.Value{}, algebra.Value{I: 18}, algebra.Value{I: 60}), Nullable: true}, {Col: *e(3, text)}},
		}),
		"arithmetic": dp(protect.Plan{
			Core: algebra.Core{Tables: social, Derived: []algebra.Expr{
				do(algebra.ExprSub, money, of(wage), of(bonus)),
				do(algebra.ExprMul, money, of(wage), num(12)),
				do(algebra.ExprMod, number, do(algebra.ExprDiv, number, of(age), num(5)), num(4)),
				do(algebra.ExprScale, money, do(algebra.ExprAbs, number, do(algebra.ExprSub, number, of(age), num(40)))),
				do(algebra.ExprCoalesce, money, of(bonus), of(wage)),
				do(algebra.ExprAdd, date, of(day), num(30)),
				do(algebra.ExprSub, number, of(day), of(day)),
			}, Where: &algebra.Pred{Op: algebra.OpLt, Col: e(5, date), Values: []algebra.Value{{Type: date, I: 19000}}}},
			Ranks: []int64{3}, Keys: []protect.Key{{Col: *e(2, number)}},
			Measures: []protect.Measure{
				{Kind: protect.MeasureSum, Col: e(0, money), Clamp: &protect.Range{Lo: -5, Hi: 700}, Offset: 50},
				{Kind: protect.MeasureSum, Col: e(1, money)}, {Kind: protect.MeasureSum, Col: e(3, money)},
				{Kind: protect.MeasureSum, Col: e(4, money)}, {Kind: protect.MeasureSum, Col: e(6, number)},
			},
		}),
		"moments and bins": dp(protect.Plan{
			Core: algebra.Core{Tables: social, Aggs: []algebra.Agg{{Func: algebra.RegrR2, Arg: wage, Arg2: age}}}, Ranks: []int64{3},
			Outputs: []protect.Output{{Func: algebra.RegrR2, Range: protect.Range{Lo: 0, Hi: 1 << 36}, Range2: protect.Range{Lo: 0, Hi: 120}}},
			Measures: []protect.Measure{
				{Kind: protect.MeasureRows, Filter: &paid},
				{Kind: protect.MeasureNonNull, Col: wage, Col2: age, Both: true, Filter: &paid},
				{Kind: protect.MeasureSum, Col: wage, Col2: age, Both: true, Offset: 9, Filter: &paid},
				{Kind: protect.MeasureProduct, Col: age, Col2: age, Offset: 60, Offset2: 60},
				{Kind: protect.MeasureProduct, Col: wage, Col2: wage, Clamp: &protect.Range{Lo: 0, Hi: 1 << 36}, Clamp2: &protect.Range{Lo: 0, Hi: 1 << 36}},
				{Kind: protect.MeasureProduct, Col: wage, Col2: age, Offset: 100, Offset2: 60, Filter: &paid},
				{Kind: protect.MeasureBin, Col: age, Bin: &protect.Range{Lo: 0, Hi: 18}},
				{Kind: protect.MeasureBin, Col: day, Bin: &protect.Range{Lo: 18262, Hi: 18628}, LastBin: true, Filter: &paid},
			},
		}),
		"private keys": dp(protect.Plan{
			Core: algebra.Core{Tables: social}, Ranks: []int64{3}, Keys: []protect.Key{{Col: *col(0, "industry", text)}},
			Measures: []protect.Measure{{Kind: protect.MeasureFirst}, {Kind: protect.MeasureFirst, Filter: &paid}, {Kind: protect.MeasureUnits, Filter: &paid}},
		}),
		"private join": dp(protect.Plan{
			Core: algebra.Core{Tables: []algebra.Table{{Dataset: "social"}, {Dataset: "company"}, {Dataset: "社保缴费", PerUnit: perUnit}},
				Joins:   []algebra.Join{{Table: 1, Unit: true, Outer: true}, {Table: 2, Unit: true}},
				Derived: []algebra.Expr{{Op: algebra.ExprCase, Type: text, Whens: []algebra.When{when(is(algebra.OpGe, col(2, "a0", number), 3), word("3+"))}, Else: ptr(word("<3"))}}},
			Ranks: []int64{3, 1, 5}, Keys: []protect.Key{{Col: *col(1, "district", text)}, {Col: *e(0, text)}},
			Measures: []protect.Measure{{Kind: protect.MeasureRows}, {Kind: protect.MeasureSum, Col: col(2, "a1", money)}},
		}),
		"one row per unit": dp(protect.Plan{
			Core: algebra.Core{Tables: []algebra.Table{{Dataset: "社保缴费", PerUnit: perUnit}}}, OneRow: true, MaxRows: 1, Ranks: []int64{5},
			Keys:     []protect.Key{{Col: *col(0, "a0", number), Codes: codes(number, algebra.Value{I: 1}, algebra.Value{I: 2})}},
			Measures: []protect.Measure{{Kind: protect.MeasureRows}, {Kind: protect.MeasureUnits}, {Kind: protect.MeasureSum, Col: col(0, "a1", money), Clamp: &protect.Range{Lo: 0, Hi: 90}}},
		}),
		"partitions": dp(protect.Plan{
			Core:  algebra.Core{Tables: []algebra.Table{{Dataset: "social", Parts: []string{"company"}}}},
			Ranks: []int64{2, 1}, Keys: []protect.Key{{Col: *col(0, "district", text)}},
		}),
		"weights": dp(protect.Plan{
			Core: algebra.Core{Tables: []algebra.Table{{Dataset: "social"}, {Dataset: "area"}},
				Joins: []algebra.Join{{Table: 1, Left: *col(0, "district", text), Right: *col(1, "code", text)}}, Where: &paid},
			Ranks: []int64{0, 0}, Weight: 1024, Keys: []protect.Key{{Col: *col(1, "city", text)}},
			Measures: []protect.Measure{
				{Kind: protect.MeasureRows}, {Kind: protect.MeasureNonNull, Col: wage, Filter: &adultIf}, {Kind: protect.MeasureSum, Col: wage, Offset: 7},
				{Kind: protect.MeasureSum, Col: age, Clamp: &protect.Range{Lo: 0, Hi: 99}}, {Kind: protect.MeasureFirst},
				{Kind: protect.MeasureProduct, Col: age, Col2: age, Clamp: &protect.Range{Lo: 0, Hi: 99}, Clamp2: &protect.Range{Lo: 0, Hi: 99}},
				{Kind: protect.MeasureBin, Col: age, Bin: &protect.Range{Lo: 0, Hi: 18}},
			},
		}),
	}
}

func ptr[T any](v T) *T { return &v }
