package algebra_test

import (
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
)

// extended uses everything a core has: derived columns, parts, values per unit, a
// join on the unit, grouping sets, a filter, a quantile and a regression.
func extended() (algebra.Core, []algebra.Schema) {
	n, a, s := col(0, "n", algebra.Int), col(0, "a", algebra.Int), col(0, "s", algebra.Text)
	inner := algebra.DerivedCol(0, intType)
	last := algebra.Col{Table: 1, Name: "a0", Type: intType}
	band := algebra.DerivedCol(0, textType)
	when := number(algebra.OpGt, a, 424242)
	old := textExpr("a label")
	filter := number(algebra.OpLt, last, 31337)
	c := algebra.Core{
		Tables: []algebra.Table{
			{Dataset: "f", Parts: []string{"g"}},
			{Dataset: "v", PerUnit: &algebra.PerUnit{
				Derived: []algebra.Expr{opExpr(algebra.ExprAdd, intType, colExpr(n), intExpr(5))},
				Aggs:    []algebra.Agg{{Func: algebra.Sum, Arg: &inner}},
			}},
		},
		Joins:   []algebra.Join{{Table: 1, Unit: true, Outer: true}},
		Derived: []algebra.Expr{{Op: algebra.ExprCase, Type: textType, Whens: []algebra.When{{If: when, Then: old}}, Else: &algebra.Expr{Op: algebra.ExprCol, Type: textType, Col: &s}}},
		Keys:    []algebra.Col{band, s},
		Sets:    [][]int{{0, 1}, {0}, {}},
		Aggs: []algebra.Agg{{Func: algebra.CountRows, Filter: &filter}, {Func: algebra.Quantile, Arg: &n, Q: 900_000},
			{Func: algebra.RegrSlope, Arg: &n, Arg2: &a}, {Func: algebra.CountUnits}},
	}
	list := schemas()
	for _, id := range []string{"g", "v"} {
		copied := list[0]
		copied.Dataset = id
		list = append(list, copied)
	}
	return c, list
}

func TestR01_ExtendedCoreIsValidated(t *testing.T) {
	good, list := extended()
	canonical := good.Canonical()
	if err := good.Validate(list); err != nil {
		t.Fatal(err)
	}
	if err := canonical.Validate(list); err != nil {
		t.Fatal(err)
	}
	view, err := good.View(1, list)
	if err != nil || view.Unit != "id" || len(view.Columns) != 1 || view.Columns[0] != (algebra.SchemaColumn{Name: "a0", Type: intType}) {
		t.Errorf("view of values per unit: %+v %v", view, err)
	}
	if got := strings.Join(good.Datasets(), " "); got != "f g v" {
		t.Errorf("data sets %s", got)
	}
	red := string(canonical.Redacted().Bytes())
	for _, secret := range []string{"424242", "424243", "31337", "31336", "a label"} {
		if strings.Contains(red, secret) {
			t.Errorf("%s survives: %s", secret, red)
		}
	}
	if !strings.Contains(red, `"i":1,"redacted":true`) || !strings.Contains(red, `"i":5`) {
		t.Errorf("labels become ordinals and numbers of expressions stay: %s", red)
	}
	n, s, day := col(0, "n", algebra.Int), col(0, "s", algebra.Text), col(0, "day", algebra.Date)
	for name, spoil := range map[string]func(c *algebra.Core, list []algebra.Schema){
		"part without column":    func(_ *algebra.Core, l []algebra.Schema) { l[4].Columns = l[4].Columns[:3] },
		"part is public":         func(_ *algebra.Core, l []algebra.Schema) { l[4].Public = true },
		"part is missing":        func(c *algebra.Core, _ []algebra.Schema) { c.Tables[0].Parts = []string{"nope"} },
		"part twice":             func(c *algebra.Core, _ []algebra.Schema) { c.Tables[0].Parts = []string{"g", "g"} },
		"parts of a joined":      func(c *algebra.Core, _ []algebra.Schema) { c.Tables[1].Parts = []string{"g"} },
		"parts per unit":         func(c *algebra.Core, _ []algebra.Schema) { c.Tables[0].PerUnit = c.Tables[1].PerUnit },
		"unit join names column": func(c *algebra.Core, _ []algebra.Schema) { c.Joins[0].Left = n },
		"unit join of public":    func(_ *algebra.Core, l []algebra.Schema) { l[5].Public = true },
		"unit join without unit": func(_ *algebra.Core, l []algebra.Schema) { l[0].Unit = "" },
		"value per unit beyond":  func(c *algebra.Core, _ []algebra.Schema) { c.Aggs[0].Filter.Col.Name = "a1" },
		"value per unit 00":      func(c *algebra.Core, _ []algebra.Schema) { c.Aggs[0].Filter.Col.Name = "a00" },
		"column behind per unit": func(c *algebra.Core, _ []algebra.Schema) { c.Aggs[0].Filter.Col.Name = "n" },
		"per unit average":       func(c *algebra.Core, _ []algebra.Schema) { c.Tables[1].PerUnit.Aggs[0].Func = algebra.Avg },
		"per unit filter":        func(c *algebra.Core, _ []algebra.Schema) { c.Tables[1].PerUnit.Aggs[0].Filter = c.Aggs[0].Filter },
		"per unit of nothing":    func(c *algebra.Core, _ []algebra.Schema) { c.Tables[1].PerUnit.Aggs = nil },
		"set out of range":       func(c *algebra.Core, _ []algebra.Schema) { c.Sets[1] = []int{2} },
		"set out of order":       func(c *algebra.Core, _ []algebra.Schema) { c.Sets[0] = []int{1, 0} },
		"key in no set":          func(c *algebra.Core, _ []algebra.Schema) { c.Sets = [][]int{{0}} },
		"empty sets":             func(c *algebra.Core, _ []algebra.Schema) { c.Sets = [][]int{} },
		"quantile above one":     func(c *algebra.Core, _ []algebra.Schema) { c.Aggs[1].Q = 1_000_001 },
		"quantile of text":       func(c *algebra.Core, _ []algebra.Schema) { c.Aggs[1].Arg = &s },
		"q of another":           func(c *algebra.Core, _ []algebra.Schema) { c.Aggs[2].Q = 1 },
		"regression of one":      func(c *algebra.Core, _ []algebra.Schema) { c.Aggs[2].Arg2 = nil },
		"derived beyond":         func(c *algebra.Core, _ []algebra.Schema) { c.Keys[0].Name = "e1" },
		"derived of other type":  func(c *algebra.Core, _ []algebra.Schema) { c.Keys[0].Type = intType },
		"derived names itself":   func(c *algebra.Core, _ []algebra.Schema) { c.Derived[0].Whens[0].If.Col = &c.Keys[0] },
		"derived as a value": func(c *algebra.Core, _ []algebra.Schema) {
			c.Derived = append(c.Derived, colExpr(algebra.DerivedCol(0, textType)))
		},
		"unit in an expression": func(c *algebra.Core, _ []algebra.Schema) { c.Derived[0].Else.Col.Name = "id" },
		"unit per unit":         func(c *algebra.Core, _ []algebra.Schema) { c.Tables[1].PerUnit.Derived[0].Args[0].Col.Name = "id" },
		"large literal": func(c *algebra.Core, _ []algebra.Schema) {
			c.Derived = append(c.Derived, intExpr(algebra.MaxExprLiteral+1))
		},
		"division by zero": func(c *algebra.Core, _ []algebra.Schema) {
			c.Derived = append(c.Derived, opExpr(algebra.ExprDiv, intType, colExpr(n), intExpr(0)))
		},
		"division by a column": func(c *algebra.Core, _ []algebra.Schema) {
			c.Derived = append(c.Derived, opExpr(algebra.ExprMod, intType, colExpr(n), colExpr(n)))
		},
		"sum of types": func(c *algebra.Core, _ []algebra.Schema) {
			c.Derived = append(c.Derived, opExpr(algebra.ExprAdd, intType, colExpr(n), colExpr(s)))
		},
		"unknown part": func(c *algebra.Core, _ []algebra.Schema) {
			c.Derived = append(c.Derived, algebra.Expr{Op: algebra.ExprPart, Type: intType, Part: "epoch", Args: []algebra.Expr{colExpr(day)}})
		},
		"bin of a sum": func(c *algebra.Core, _ []algebra.Schema) {
			c.Derived = append(c.Derived, opExpr(algebra.ExprBin, intType, opExpr(algebra.ExprAdd, intType, colExpr(n), intExpr(1))))
		},
		"unused field":        func(c *algebra.Core, _ []algebra.Schema) { c.Derived[0].Part = "year" },
		"unknown operator":    func(c *algebra.Core, _ []algebra.Schema) { c.Derived[0].Op = "pow" },
		"case without branch": func(c *algebra.Core, _ []algebra.Schema) { c.Derived[0].Whens = nil },
	} {
		c, l := extended()
		spoil(&c, l)
		if err := c.Validate(l); err == nil {
			t.Errorf("%s: accepted", name)
		}
		c.Canonical() // must not panic whatever it is given
		c.Redacted()
	}
}

// TestR01_SmallCoreCannotExpand: each of sixty derived columns names the one before
// it twice; written out the last would have 2^60 nodes.
func TestR01_SmallCoreCannotExpand(t *testing.T) {
	c, list := extended()
	c.Keys, c.Sets, c.Derived = nil, nil, []algebra.Expr{intExpr(1)}
	for i := range 60 {
		before := number(algebra.OpGt, algebra.DerivedCol(i, intType), 1)
		c.Derived = append(c.Derived, algebra.Expr{Op: algebra.ExprCase, Type: intType,
			Whens: []algebra.When{{If: before, Then: intExpr(1)}, {If: before, Then: intExpr(2)}}})
		want := i < 6
		if err := c.Validate(list); (err == nil) != want && (i < 6 || i > 14) {
			t.Fatalf("%d levels: %v", i, err)
		}
	}
}
