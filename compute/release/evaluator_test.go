package release

import (
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
