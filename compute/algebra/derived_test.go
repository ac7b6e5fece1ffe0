package algebra_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"pgregory.net/rapid"
)

var (
	intType  = algebra.Type{Kind: algebra.Int}
	textType = algebra.Type{Kind: algebra.Text}
	dateType = algebra.Type{Kind: algebra.Date}
	money    = algebra.Type{Kind: algebra.Decimal, Scale: 2}
)

func colExpr(c algebra.Col) algebra.Expr {
	return algebra.Expr{Op: algebra.ExprCol, Type: c.Type, Col: &c}
}

func litExpr(v algebra.Value) algebra.Expr {
	return algebra.Expr{Op: algebra.ExprLit, Type: v.Type, Value: &v}
}

func intExpr(i int64) algebra.Expr { return litExpr(algebra.Value{Type: intType, I: i}) }
func textExpr(s string) algebra.Expr {
	return litExpr(algebra.Value{Type: textType, S: s})
}

func opExpr(op algebra.ExprOp, t algebra.Type, args ...algebra.Expr) algebra.Expr {
	return algebra.Expr{Op: op, Type: t, Args: args}
}

// drawExpr draws an expression of a type over the columns of the test table.
func drawExpr(t *rapid.T, typ algebra.Type, depth int) algebra.Expr {
	if depth == 0 || rapid.IntRange(0, 4).Draw(t, "leaf") == 0 {
		var same []algebra.Col
		for _, c := range columns {
			if c.Type == typ {
				same = append(same, c)
			}
		}
		if len(same) > 0 && rapid.IntRange(0, 2).Draw(t, "col") > 0 {
			return colExpr(rapid.SampledFrom(same).Draw(t, "which"))
		}
		v := algebra.Value{Type: typ}
		switch {
		case rapid.IntRange(0, 7).Draw(t, "null") == 0:
			v.Null = true
		case typ == textType:
			v.S = rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "s")
		case typ.Kind == algebra.Bool:
			v.I = rapid.Int64Range(0, 1).Draw(t, "b")
		default:
			v.I = rapid.Int64Range(-2, 3).Draw(t, "i")
		}
		return litExpr(v)
	}
	sub := func(typ algebra.Type) algebra.Expr { return drawExpr(t, typ, depth-1) }
	choice := rapid.IntRange(0, 9).Draw(t, "op")
	switch {
	case choice < 2:
		e := algebra.Expr{Op: algebra.ExprCase, Type: typ}
		for range rapid.IntRange(1, 3).Draw(t, "whens") {
			e.Whens = append(e.Whens, algebra.When{If: drawPred(t, 1), Then: sub(typ)})
		}
		if rapid.Bool().Draw(t, "else") {
			other := sub(typ)
			e.Else = &other
		}
		return e
	case choice == 2:
		return opExpr(algebra.ExprCoalesce, typ, sub(typ), sub(typ), sub(typ))
	case typ == dateType:
		return opExpr(rapid.SampledFrom([]algebra.ExprOp{algebra.ExprAdd, algebra.ExprSub}).Draw(t, "sign"), typ, sub(dateType), sub(intType))
	case typ == money && choice < 5:
		return opExpr(algebra.ExprMul, typ, sub(intType), sub(money))
	case typ == money && choice == 5:
		return opExpr(algebra.ExprScale, typ, sub(intType))
	case typ == money && choice == 6:
		tenth := algebra.Type{Kind: algebra.Decimal, Scale: 1}
		return opExpr(algebra.ExprMul, typ, opExpr(algebra.ExprScale, tenth, sub(intType)), litExpr(algebra.Value{Type: tenth, I: rapid.Int64Range(-2, 5).Draw(t, "tenths")}))
	case typ == intType && choice == 3:
		return opExpr(algebra.ExprPart, typ, sub(dateType))
	case typ == intType && choice == 4:
		return opExpr(algebra.ExprSub, typ, sub(dateType), sub(dateType))
	case typ == intType && choice == 5:
		return opExpr(rapid.SampledFrom([]algebra.ExprOp{algebra.ExprDiv, algebra.ExprMod}).Draw(t, "quotient"), typ, opExpr(algebra.ExprAbs, typ, sub(intType)), intExpr(rapid.Int64Range(1, 4).Draw(t, "by")))
	case typ == intType && choice == 6:
		return opExpr(algebra.ExprMul, typ, sub(intType), sub(intType))
	case typ == intType || typ == money:
		return opExpr(rapid.SampledFrom([]algebra.ExprOp{algebra.ExprAdd, algebra.ExprSub}).Draw(t, "sign"), typ, sub(typ), sub(typ))
	}
	return drawExpr(t, typ, 0)
}

// fixParts gives date parts their name, which drawExpr leaves out.
func fixParts(e algebra.Expr) algebra.Expr {
	if e.Op == algebra.ExprPart {
		e.Part = "month"
	}
	for i := range e.Args {
		e.Args[i] = fixParts(e.Args[i])
	}
	for i := range e.Whens {
		e.Whens[i].Then = fixParts(e.Whens[i].Then)
	}
	if e.Else != nil {
		other := fixParts(*e.Else)
		e.Else = &other
	}
	return e
}

func drawRows(t *rapid.T) []tableRow {
	var rows []tableRow
	for range 30 {
		r := tableRow{"unit": {Type: textType, S: rapid.SampledFrom([]string{"u1", "u2", "u3", "u4"}).Draw(t, "unit")}}
		for _, c := range columns {
			v := algebra.Value{Type: c.Type}
			switch {
			case rapid.IntRange(0, 4).Draw(t, "null") == 0:
				v.Null = true
			case c.Type == textType:
				v.S = rapid.SampledFrom(smallText).Draw(t, "s")
			case c.Type.Kind == algebra.Bool:
				v.I = rapid.Int64Range(0, 1).Draw(t, "b")
			default:
				v.I = rapid.Int64Range(-2, 8).Draw(t, "i")
			}
			r[c.Name] = v
		}
		rows = append(rows, r)
	}
	return rows
}

var exprTypes = []algebra.Type{intType, money, textType, dateType, {Kind: algebra.Bool}}

// drawCore draws a core with derived columns, filters and values per unit.
func drawCore(t *rapid.T) algebra.Core {
	c := algebra.Core{Tables: []algebra.Table{{Dataset: "f"}}}
	if rapid.Bool().Draw(t, "joined") {
		for i := range rapid.IntRange(1, 2).Draw(t, "joins") {
			c.Tables = append(c.Tables, algebra.Table{Dataset: "f", PerUnit: drawPerUnit(t)})
			c.Joins = append(c.Joins, algebra.Join{Table: i + 1, Unit: true, Outer: rapid.Bool().Draw(t, "outer")})
		}
	}
	for range rapid.IntRange(1, 3).Draw(t, "derived") {
		c.Derived = append(c.Derived, fixParts(drawExpr(t, rapid.SampledFrom(exprTypes).Draw(t, "type"), 2)))
	}
	cols := slices.Clone(columns)
	for i, e := range c.Derived {
		cols = append(cols, algebra.DerivedCol(i, e.Type))
	}
	for i := range c.Joins {
		for k, a := range c.Tables[i+1].PerUnit.Aggs {
			typ := intType
			if a.Arg != nil && a.Func != algebra.CountCol {
				typ = a.Arg.Type
			}
			cols = append(cols, algebra.Col{Table: i + 1, Name: algebra.PerUnitName(k), Type: typ})
		}
	}
	for range rapid.IntRange(0, 2).Draw(t, "keys") {
		c.Keys = append(c.Keys, rapid.SampledFrom(cols).Draw(t, "key"))
	}
	for range rapid.IntRange(1, 4).Draw(t, "aggs") {
		a := algebra.Agg{Func: rapid.SampledFrom([]algebra.Func{algebra.CountRows, algebra.CountCol, algebra.Sum, algebra.Quantile, algebra.Corr, algebra.RegrSlope}).Draw(t, "func")}
		arg := rapid.SampledFrom(cols).Draw(t, "arg")
		number := arg.Type == intType || arg.Type == money
		switch {
		case a.Func == algebra.CountRows:
		case a.Func == algebra.CountCol || !number:
			a.Func, a.Arg = algebra.CountCol, &arg
		case a.Func == algebra.Quantile:
			a.Q, a.Arg = 500_000, &arg
		case a.Func == algebra.Sum:
			a.Arg = &arg
		default:
			x := columns[1]
			a.Arg, a.Arg2 = &arg, &x
		}
		if rapid.IntRange(0, 2).Draw(t, "filtered") == 0 {
			p := drawPred(t, 2)
			a.Filter = &p
		}
		c.Aggs = append(c.Aggs, a)
	}
	if rapid.Bool().Draw(t, "where") {
		p := drawPred(t, 2)
		if i := rapid.IntRange(0, len(c.Derived)-1).Draw(t, "on"); rapid.Bool().Draw(t, "derived") {
			d := algebra.DerivedCol(i, c.Derived[i].Type)
			p = algebra.Pred{Op: algebra.OpOr, Args: []algebra.Pred{p, {Op: algebra.OpIsNull, Col: &d}}}
		}
		c.Where = &p
	}
	return c
}

func drawPerUnit(t *rapid.T) *algebra.PerUnit {
	u := &algebra.PerUnit{Derived: []algebra.Expr{fixParts(drawExpr(t, intType, 2))}}
	if rapid.Bool().Draw(t, "inner where") {
		p := number(algebra.OpGt, columns[0], 2)
		u.Where = &p
	}
	for range rapid.IntRange(1, 3).Draw(t, "values") {
		arg := rapid.SampledFrom([]algebra.Col{columns[0], columns[2], algebra.DerivedCol(0, intType)}).Draw(t, "of")
		a := algebra.Agg{Func: rapid.SampledFrom([]algebra.Func{algebra.CountRows, algebra.CountCol, algebra.Sum, algebra.Min, algebra.Max}).Draw(t, "value")}
		if a.Func != algebra.CountRows {
			a.Arg = &arg
		}
		u.Aggs = append(u.Aggs, a)
	}
	return u
}

func identity(c algebra.Core) []int {
	refs := make([]int, len(c.Keys)+len(c.Aggs))
	for i := range refs {
		refs[i] = i
	}
	return refs
}

// canonical returns the canonical core and where its outputs went.
func canonical(c algebra.Core) (algebra.Core, []int) {
	q := algebra.Query{Core: c}
	for _, i := range identity(c) {
		q.Post.Outputs = append(q.Post.Outputs, algebra.Output{Ref: i})
	}
	q = algebra.Canonicalise(q)
	var refs []int
	for _, o := range q.Post.Outputs {
		refs = append(refs, o.Ref)
	}
	return q.Core, refs
}

// TestR01_CanonicalKeepsTheAnswer: the canonical core gives the answer of the
// core, is well formed, and is its own canonical form.
func TestR01_CanonicalKeepsTheAnswer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCore(t)
		if _, err := algebra.ParseCore(c.Bytes()); err != nil {
			t.Fatalf("drawn core is malformed: %v\n%s", err, c.Bytes())
		}
		got, refs := canonical(c)
		if _, err := algebra.ParseCore(got.Bytes()); err != nil {
			t.Fatalf("canonical core is malformed: %v\n%s\n%s", err, c.Bytes(), got.Bytes())
		}
		if again := got.Canonical(); !bytes.Equal(again.Bytes(), got.Bytes()) {
			t.Fatalf("not idempotent:\n%s\n%s\n%s", c.Bytes(), got.Bytes(), again.Bytes())
		}
		red := got.Redacted()
		if _, err := algebra.ParseCore(red.Bytes()); err != nil || !bytes.Equal(red.Canonical().Bytes(), red.Bytes()) {
			t.Fatalf("a redacted core must stay as it is: %v\n%s", err, red.Bytes())
		}
		rows := drawRows(t)
		if a, b := answer(c, rows, identity(c)), answer(got, rows, refs); a != b {
			t.Fatalf("answers differ:\n%s\n%s\n%s\n--\n%s", c.Bytes(), got.Bytes(), a, b)
		}
	})
}

// respellExpr writes the same expression differently.
func respellExpr(t *rapid.T, e algebra.Expr) algebra.Expr {
	args := e.Args
	e.Args = nil
	for i, a := range args {
		if i == 1 && (e.Op == algebra.ExprDiv || e.Op == algebra.ExprMod) {
			e.Args = append(e.Args, a) // must stay a literal
			continue
		}
		e.Args = append(e.Args, respellExpr(t, a))
	}
	whens := e.Whens
	e.Whens = nil
	for _, w := range whens {
		e.Whens = append(e.Whens, algebra.When{If: respell(t, w.If), Then: respellExpr(t, w.Then)})
	}
	if e.Else != nil {
		other := respellExpr(t, *e.Else)
		e.Else = &other
	}
	numeric := e.Type == intType || e.Type == money
	zero := litExpr(algebra.Value{Type: e.Type})
	switch rapid.IntRange(0, 7).Draw(t, "respell expression") {
	case 0: // commute
		if (e.Op == algebra.ExprAdd || e.Op == algebra.ExprMul) && numeric {
			e.Args = []algebra.Expr{e.Args[1], e.Args[0]}
		}
	case 1: // re-associate
		if e.Op == algebra.ExprAdd && numeric && e.Args[0].Op == algebra.ExprAdd {
			a, b, c := e.Args[0].Args[0], e.Args[0].Args[1], e.Args[1]
			return opExpr(algebra.ExprAdd, e.Type, a, opExpr(algebra.ExprAdd, e.Type, b, c))
		}
	case 2: // add nothing
		if numeric {
			return opExpr(algebra.ExprAdd, e.Type, e, zero)
		}
		if e.Type == dateType {
			return opExpr(algebra.ExprAdd, e.Type, e, intExpr(0))
		}
	case 3: // subtract a negative
		if e.Op == algebra.ExprAdd && numeric {
			return opExpr(algebra.ExprSub, e.Type, e.Args[0], opExpr(algebra.ExprMul, e.Type, intExpr(-1), e.Args[1]))
		}
	case 4: // an explicit ELSE NULL, or a branch that is never taken
		if e.Op == algebra.ExprCase && e.Else == nil {
			null := litExpr(algebra.Value{Type: e.Type, Null: true})
			e.Else = &null
		} else if e.Op == algebra.ExprCase {
			never := algebra.Pred{Op: algebra.OpConst, Values: []algebra.Value{{Type: algebra.Type{Kind: algebra.Bool}}}}
			e.Whens = append([]algebra.When{{If: never, Then: zeroOf(e.Type)}}, e.Whens...)
		}
	case 5: // the rest of a CASE nested in ELSE
		if e.Op == algebra.ExprCase && len(e.Whens) > 1 {
			rest := algebra.Expr{Op: algebra.ExprCase, Type: e.Type, Whens: e.Whens[1:], Else: e.Else}
			return algebra.Expr{Op: algebra.ExprCase, Type: e.Type, Whens: e.Whens[:1], Else: &rest}
		}
	case 6:
		return opExpr(algebra.ExprCoalesce, e.Type, e, e)
	case 7:
		always := algebra.Pred{Op: algebra.OpConst, Values: []algebra.Value{{Type: algebra.Type{Kind: algebra.Bool}, I: 1}}}
		return algebra.Expr{Op: algebra.ExprCase, Type: e.Type, Whens: []algebra.When{{If: always, Then: e}}}
	}
	return e
}

func zeroOf(t algebra.Type) algebra.Expr { return litExpr(algebra.Value{Type: t}) }

// plain makes a CASE whose conditions are about several columns one WHEN of
// operands that are no CASE: of longer ones only some respellings are recognised
// (the rest are asked, and paid, anew).
func plain(e algebra.Expr, inCase bool) algebra.Expr {
	var several bool
	if e.Op == algebra.ExprCase {
		var first *algebra.Col
		for _, w := range e.Whens {
			w.If.Each(func(c algebra.Col) {
				several = several || first != nil && *first != c
				first = &c
			})
		}
		if inCase {
			return zeroOf(e.Type)
		}
	}
	if several {
		e.Whens = e.Whens[:1]
	}
	inCase = inCase || several
	e.Args, e.Whens = slices.Clone(e.Args), slices.Clone(e.Whens)
	for i, a := range e.Args {
		e.Args[i] = plain(a, inCase)
	}
	for i, w := range e.Whens {
		e.Whens[i].Then = plain(w.Then, inCase)
	}
	if e.Else != nil {
		other := plain(*e.Else, inCase)
		e.Else = &other
	}
	return e
}

// TestR01_ExpressionsHaveOneForm: spellings of one expression, unused derived
// columns, doubles and another order of everything give the same bytes.
func TestR01_ExpressionsHaveOneForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCore(t)
		for i, e := range c.Derived {
			c.Derived[i] = plain(e, false)
		}
		for _, table := range c.Tables {
			if u := table.PerUnit; u != nil {
				u.Derived[0] = plain(u.Derived[0], false)
			}
		}
		want := c.Canonical().Bytes()
		for range 3 {
			other := shuffled(t, c)
			if _, err := algebra.ParseCore(other.Bytes()); err != nil {
				t.Skip("a spelling that is too large") // doubles count twice
			}
			if got := other.Canonical().Bytes(); !bytes.Equal(got, want) {
				t.Fatalf("two forms of one core:\n%s\n%s\n%s\n%s", c.Bytes(), other.Bytes(), want, got)
			}
		}
	})
}

// shuffled writes c with respelled, unused and doubled derived columns.
func shuffled(t *rapid.T, c algebra.Core) algebra.Core {
	n := len(c.Derived)
	unused := fixParts(drawExpr(t, intType, 1))
	out := c
	out.Derived = []algebra.Expr{unused}
	for _, e := range slices.Backward(c.Derived) {
		out.Derived = append(out.Derived, respellExpr(t, e))
	}
	for _, e := range c.Derived {
		out.Derived = append(out.Derived, respellExpr(t, e))
	}
	move := func(col algebra.Col) algebra.Col {
		if i, ok := col.Derived(); ok {
			if rapid.Bool().Draw(t, "double") {
				return algebra.DerivedCol(1+n+i, col.Type)
			}
			return algebra.DerivedCol(n-i, col.Type)
		}
		return col
	}
	var pred func(p algebra.Pred) algebra.Pred
	pred = func(p algebra.Pred) algebra.Pred {
		if p.Col != nil {
			c := move(*p.Col)
			p.Col = &c
		}
		args := p.Args
		p.Args = nil
		for _, a := range args {
			p.Args = append(p.Args, pred(a))
		}
		return p
	}
	out.Keys = nil
	for _, k := range slices.Backward(c.Keys) {
		out.Keys = append(out.Keys, move(k))
	}
	if c.Where != nil {
		p := respell(t, pred(*c.Where))
		out.Where = &p
	}
	out.Aggs = nil
	for _, a := range append(slices.Clone(c.Aggs), c.Aggs[0]) {
		if a.Arg != nil {
			arg := move(*a.Arg)
			a.Arg = &arg
		}
		if a.Filter != nil {
			p := respell(t, *a.Filter)
			a.Filter = &p
		}
		out.Aggs = append([]algebra.Agg{a}, out.Aggs...)
	}
	out.Tables = slices.Clone(c.Tables)
	for i, tab := range out.Tables {
		if tab.PerUnit != nil {
			u := *tab.PerUnit
			u.Derived = []algebra.Expr{respellExpr(t, u.Derived[0])}
			if u.Where != nil {
				p := respell(t, *u.Where)
				u.Where = &p
			}
			out.Tables[i].PerUnit = &u
		}
	}
	return out
}
