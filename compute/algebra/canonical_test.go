package algebra_test

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"pgregory.net/rapid"
)

// columns of the test table; two of each kind that has an order worth testing.
var columns = []algebra.Col{
	{Name: "a", Type: algebra.Type{Kind: algebra.Int}},
	{Name: "b", Type: algebra.Type{Kind: algebra.Int}},
	{Name: "amount", Type: algebra.Type{Kind: algebra.Decimal, Scale: 2}},
	{Name: "day", Type: algebra.Type{Kind: algebra.Date}},
	{Name: "s", Type: algebra.Type{Kind: algebra.Text}},
	{Name: "t", Type: algebra.Type{Kind: algebra.Text}},
	{Name: "p", Type: algebra.Type{Kind: algebra.Bool}},
	{Name: "q", Type: algebra.Type{Kind: algebra.Bool}},
}

var (
	smallInts = []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, 2, 3, 4, 5, 7, math.MaxInt64 - 1, math.MaxInt64}
	smallDays = []int64{algebra.MinDate, algebra.MinDate + 1, 0, 1, 2, 3, algebra.MaxDate - 1, algebra.MaxDate}
	smallText = []string{"", "a", "aa", "b", "\x01", "区", "区\U0010ffff"}
)

func drawValue(t *rapid.T, typ algebra.Type) algebra.Value {
	v := algebra.Value{Type: typ}
	switch typ.Kind {
	case algebra.Text:
		v.S = rapid.SampledFrom(smallText).Draw(t, "s")
	case algebra.Bool:
		v.I = rapid.Int64Range(0, 1).Draw(t, "bool")
	case algebra.Date:
		v.I = rapid.SampledFrom(smallDays).Draw(t, "day")
	default:
		v.I = rapid.SampledFrom(smallInts).Draw(t, "int")
	}
	return v
}

var comparisons = []algebra.PredOp{algebra.OpEq, algebra.OpNe, algebra.OpLt, algebra.OpLe, algebra.OpGt, algebra.OpGe}

func drawPred(t *rapid.T, depth int) algebra.Pred {
	if depth > 0 {
		switch rapid.IntRange(0, 3).Draw(t, "shape") {
		case 0, 1:
			p := algebra.Pred{Op: rapid.SampledFrom([]algebra.PredOp{algebra.OpAnd, algebra.OpOr}).Draw(t, "op")}
			for range rapid.IntRange(1, 4).Draw(t, "n") {
				p.Args = append(p.Args, drawPred(t, depth-1))
			}
			return p
		case 2:
			return algebra.Pred{Op: algebra.OpNot, Args: []algebra.Pred{drawPred(t, depth-1)}}
		}
	}
	col := rapid.SampledFrom(columns).Draw(t, "col")
	switch rapid.IntRange(0, 7).Draw(t, "leaf") {
	case 0:
		return algebra.Pred{Op: algebra.OpIsNull, Col: &col}
	case 1:
		p := algebra.Pred{Op: algebra.OpIn, Col: &col}
		for range rapid.IntRange(1, 4).Draw(t, "n") {
			p.Values = append(p.Values, drawValue(t, col.Type))
		}
		return p
	case 2:
		v := algebra.Value{Type: algebra.Type{Kind: algebra.Bool}, I: rapid.Int64Range(0, 1).Draw(t, "const")}
		return algebra.Pred{Op: algebra.OpConst, Values: []algebra.Value{v}}
	case 3:
		var same []algebra.Col
		for _, c := range columns {
			if c.Type == col.Type {
				same = append(same, c)
			}
		}
		other := rapid.SampledFrom(same).Draw(t, "other")
		return algebra.Pred{Op: rapid.SampledFrom(comparisons).Draw(t, "cmp"), Col: &col, Other: &other}
	case 4:
		null := algebra.Value{Type: col.Type, Null: true}
		return algebra.Pred{Op: rapid.SampledFrom(comparisons).Draw(t, "cmp"), Col: &col, Values: []algebra.Value{null}}
	}
	return algebra.Pred{Op: rapid.SampledFrom(comparisons).Draw(t, "cmp"), Col: &col, Values: []algebra.Value{drawValue(t, col.Type)}}
}

// truth is a value of three-valued logic.
type truth int

const (
	isFalse truth = iota
	isUnknown
	isTrue
)

func truthOf(b bool) truth {
	if b {
		return isTrue
	}
	return isFalse
}

// place is where a row keeps a column.
func place(c algebra.Col) string {
	if c.Table > 0 {
		return fmt.Sprint(c.Table, ".", c.Name)
	}
	return c.Name
}

// eval is the reference interpreter: SQL's three-valued logic by the book.
func eval(p algebra.Pred, row map[string]algebra.Value) truth {
	switch p.Op {
	case algebra.OpAnd:
		out := isTrue
		for _, a := range p.Args {
			out = min(out, eval(a, row))
		}
		return out
	case algebra.OpOr:
		out := isFalse
		for _, a := range p.Args {
			out = max(out, eval(a, row))
		}
		return out
	case algebra.OpNot:
		return isTrue - eval(p.Args[0], row)
	case algebra.OpConst:
		return truthOf(p.Values[0].I == 1)
	case algebra.OpIsNull:
		return truthOf(row[place(*p.Col)].Null)
	case algebra.OpIn:
		out := isFalse
		for _, v := range p.Values {
			out = max(out, compareValues(algebra.OpEq, row[place(*p.Col)], v))
		}
		return out
	}
	if p.Other != nil {
		return compareValues(p.Op, row[place(*p.Col)], row[place(*p.Other)])
	}
	return compareValues(p.Op, row[place(*p.Col)], p.Values[0])
}

func compareValues(op algebra.PredOp, a, b algebra.Value) truth {
	if a.Null || b.Null {
		return isUnknown
	}
	d := cmp.Or(cmp.Compare(a.I, b.I), strings.Compare(a.S, b.S))
	return truthOf(map[algebra.PredOp]bool{
		algebra.OpEq: d == 0, algebra.OpNe: d != 0, algebra.OpLt: d < 0,
		algebra.OpLe: d <= 0, algebra.OpGt: d > 0, algebra.OpGe: d >= 0,
	}[op])
}

func drawRow(t *rapid.T) map[string]algebra.Value {
	row := map[string]algebra.Value{}
	for _, c := range columns {
		if rapid.IntRange(0, 3).Draw(t, "null") == 0 {
			row[c.Name] = algebra.Value{Type: c.Type, Null: true}
		} else {
			row[c.Name] = drawValue(t, c.Type)
		}
	}
	return row
}

func coreOf(p algebra.Pred) algebra.Core {
	return algebra.Core{
		Tables: []algebra.Table{{Dataset: "f"}}, Where: &p,
		Aggs: []algebra.Agg{{Func: algebra.CountRows}},
	}
}

func keeps(where *algebra.Pred, row map[string]algebra.Value) bool {
	return where == nil || eval(*where, row) == isTrue
}

// TestR01_CanonicalKeepsTheSameRows: canonicalisation never changes which rows
// WHERE keeps, is idempotent, and gives a core that is still well formed.
func TestR01_CanonicalKeepsTheSameRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		core := coreOf(drawPred(t, 4))
		canonical := core.Canonical()
		if again := canonical.Canonical(); !bytes.Equal(again.Bytes(), canonical.Bytes()) {
			t.Fatalf("not idempotent:\n%s\n%s", canonical.Bytes(), again.Bytes())
		}
		if _, err := algebra.ParseCore(canonical.Bytes()); err != nil {
			t.Fatalf("canonical core is malformed: %v\n%s", err, canonical.Bytes())
		}
		for range 40 {
			row := drawRow(t)
			if keeps(core.Where, row) != keeps(canonical.Where, row) {
				t.Fatalf("row kept by one only: %v\n%s\n%s", row, core.Bytes(), canonical.Bytes())
			}
		}
	})
}

// respell rewrites p into another spelling with the same meaning.
func respell(t *rapid.T, p algebra.Pred) algebra.Pred {
	args := slices.Clone(p.Args)
	p.Args = nil
	for _, a := range args {
		p.Args = append(p.Args, respell(t, a))
	}
	p.Values = slices.Clone(p.Values)
	not := func(p algebra.Pred) algebra.Pred { return algebra.Pred{Op: algebra.OpNot, Args: []algebra.Pred{p}} }
	switch rapid.IntRange(0, 6).Draw(t, "respell") {
	case 0:
		return not(not(p))
	case 1: // De Morgan
		other := map[algebra.PredOp]algebra.PredOp{algebra.OpAnd: algebra.OpOr, algebra.OpOr: algebra.OpAnd}[p.Op]
		if other != "" {
			for i, a := range p.Args {
				p.Args[i] = not(a)
			}
			p.Op = other
			return not(p)
		}
	case 2: // commute and repeat
		if len(p.Args) > 0 && p.Op != algebra.OpNot {
			slices.Reverse(p.Args)
			p.Args = append(p.Args, p.Args[0])
		}
	case 3: // nest
		return algebra.Pred{Op: algebra.OpAnd, Args: []algebra.Pred{p}}
	case 4:
		return algebra.Pred{Op: algebra.OpOr, Args: []algebra.Pred{p, p}}
	case 5: // IN as a chain of =, or commuted
		if p.Op == algebra.OpIn {
			or := algebra.Pred{Op: algebra.OpOr}
			for _, v := range p.Values {
				or.Args = append(or.Args, algebra.Pred{Op: algebra.OpEq, Col: p.Col, Values: []algebra.Value{v}})
			}
			return or
		}
		flip := map[algebra.PredOp]algebra.PredOp{algebra.OpLt: algebra.OpGt, algebra.OpGt: algebra.OpLt, algebra.OpLe: algebra.OpGe,
			algebra.OpGe: algebra.OpLe, algebra.OpEq: algebra.OpEq, algebra.OpNe: algebra.OpNe}[p.Op]
		if p.Other != nil {
			p.Col, p.Other, p.Op = p.Other, p.Col, flip
		}
	case 6: // x > 4 is x >= 5
		step := map[algebra.PredOp]int64{algebra.OpGt: 1, algebra.OpLt: -1}[p.Op]
		if step != 0 && p.Other == nil && !p.Values[0].Null && (p.Col.Type.Kind == algebra.Int || p.Col.Type.Kind == algebra.Decimal) {
			if v := p.Values[0].I; v > math.MinInt64 && v < math.MaxInt64 {
				p.Values[0].I = v + step
				p.Op = map[algebra.PredOp]algebra.PredOp{algebra.OpGt: algebra.OpGe, algebra.OpLt: algebra.OpLe}[p.Op]
			}
		}
	}
	return p
}

func TestR01_SpellingsHaveOneCanonicalForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPred(t, 3)
		want := coreOf(p).Canonical().Bytes()
		for range 5 {
			other := respell(t, p)
			if got := coreOf(other).Canonical().Bytes(); !bytes.Equal(got, want) {
				t.Fatalf("two forms of one predicate:\n%s\n%s\n%s\n%s", coreOf(p).Bytes(), coreOf(other).Bytes(), want, got)
			}
		}
	})
}

func col(table int, name string, kind algebra.Kind) algebra.Col {
	return algebra.Col{Table: table, Name: name, Type: algebra.Type{Kind: kind}}
}

func number(op algebra.PredOp, c algebra.Col, n ...int64) algebra.Pred {
	p := algebra.Pred{Op: op, Col: &c}
	for _, i := range n {
		p.Values = append(p.Values, algebra.Value{Type: c.Type, I: i})
	}
	return p
}

func TestR01_CanonicalForms(t *testing.T) {
	a, b := col(0, "a", algebra.Int), col(0, "b", algebra.Int)
	and := func(p ...algebra.Pred) algebra.Pred { return algebra.Pred{Op: algebra.OpAnd, Args: p} }
	or := func(p ...algebra.Pred) algebra.Pred { return algebra.Pred{Op: algebra.OpOr, Args: p} }
	not := func(p algebra.Pred) algebra.Pred { return algebra.Pred{Op: algebra.OpNot, Args: []algebra.Pred{p}} }
	isNull := algebra.Pred{Op: algebra.OpIsNull, Col: &a}
	never := algebra.Pred{Op: algebra.OpConst, Values: []algebra.Value{{Type: algebra.Type{Kind: algebra.Bool}}}}
	for name, c := range map[string]struct{ in, want algebra.Pred }{
		"greater":             {number("gt", a, 4), number("ge", a, 5)},
		"less":                {number("lt", a, 4), number("le", a, 3)},
		"or of equals":        {or(number("eq", a, 9), number("eq", a, 2)), number("in", a, 2, 9)},
		"one element":         {number("in", a, 7, 7), number("eq", a, 7)},
		"not in":              {not(number("in", a, 9, 2, 9)), not(number("in", a, 2, 9))},
		"two unequals":        {and(number("ne", a, 9), number("ne", a, 2)), not(number("in", a, 2, 9))},
		"contradiction":       {and(number("gt", a, 4), number("lt", a, 5)), never},
		"tautology needs row": {or(number("gt", a, 4), number("le", a, 4)), not(isNull)},
		"self comparison":     {algebra.Pred{Op: "eq", Col: &a, Other: &a}, not(isNull)},
		"range":               {and(number("ge", a, 1), number("le", a, 9)), and(number("ge", a, 1), number("le", a, 9))},
		"orientation":         {algebra.Pred{Op: "gt", Col: &b, Other: &a}, algebra.Pred{Op: "lt", Col: &a, Other: &b}},
		"or null":             {or(number("ne", a, 3), isNull), or(isNull, number("ne", a, 3))},
	} {
		got, want := coreOf(c.in).Canonical().Bytes(), coreOf(c.want).Bytes()
		if name == "or null" || name == "range" {
			want = coreOf(c.want).Canonical().Bytes()
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
	if always := coreOf(or(isNull, not(isNull))).Canonical(); always.Where != nil {
		t.Errorf("TRUE keeps every row, so WHERE should be gone: %s", always.Bytes())
	}
}
