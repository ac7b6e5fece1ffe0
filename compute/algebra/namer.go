package algebra

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

// namer brings the derived columns of one scope into canonical form. While it
// works, a derived column goes by a digest of its expression, so that order and
// equality depend on what it says and not on the number an operator's text gave it.
type namer struct {
	table   func(Col) Col // places the columns of tables
	derived []Col         // old number → column
	exprs   map[string]Expr
}

func newNamer(table func(Col) Col) *namer { return &namer{table: table, exprs: map[string]Expr{}} }

// contentName is a name that two values share when they say the same.
func contentName(v any) string {
	sum := sha256.Sum256(mustMarshal(v))
	return hex.EncodeToString(sum[:16])
}

func (n *namer) define(list []Expr) {
	for _, e := range list {
		n.derived = append(n.derived, n.column(n.normal(e)))
	}
}

func (n *namer) place(col Col) Col {
	if i, ok := col.Derived(); ok {
		return n.derived[i]
	}
	return n.table(col)
}

// column is the column of a normal expression: itself, when it is one.
func (n *namer) column(e Expr) Col {
	if e.Op == ExprCol {
		return *e.Col
	}
	name := contentName(e)
	n.exprs[name] = e
	return Col{Table: DerivedTable, Name: name, Type: e.Type}
}

// where is the canonical form of a condition of which only TRUE counts; nil when
// it always is.
func (n *namer) where(p *Pred) *Pred {
	if p == nil {
		return nil
	}
	return predOf(formOf(*p, true, n.place))
}

func predOf(f form) *Pred {
	if f.kind == formTrue {
		return nil
	}
	out := emitAnd(f)
	return &out
}

// agg places an aggregate. All of them pass over NULL, so the condition of a CASE
// without ELSE is a filter; and of some it does not matter which column is which.
func (n *namer) agg(a Agg) Agg {
	filters := []form{{kind: formTrue}}
	if a.Filter != nil {
		filters = append(filters, formOf(*a.Filter, true, n.place))
	}
	if a.Arg != nil {
		arg := n.place(*a.Arg)
		for a.Arg2 == nil && arg.Table == DerivedTable {
			e := n.exprs[arg.Name]
			if e.Op != ExprCase || len(e.Whens) != 1 || e.Else != nil {
				break
			}
			filters = append(filters, formOf(e.Whens[0].If, true, sameCol))
			arg = n.column(e.Whens[0].Then)
		}
		a.Arg = &arg
		if e := n.exprs[arg.Name]; a.Func == CountCol && arg.Table == DerivedTable && e.Op == ExprLit && !e.Value.Null {
			a = Agg{Func: CountRows}
		}
	}
	if a.Arg2 != nil {
		arg := n.place(*a.Arg2)
		a.Arg2 = &arg
		switch a.Func {
		case CovarSamp, CovarPop, Corr, RegrCount:
			if compareCol(*a.Arg, *a.Arg2) > 0 {
				a.Arg, a.Arg2 = a.Arg2, a.Arg
			}
		}
	}
	a.Filter = predOf(combine(formAnd, filters))
	return a
}

// unfiltered writes a filter as CASE, for values per unit, which have none.
func (n *namer) unfiltered(a Agg) Agg {
	if a.Filter == nil {
		return a
	}
	one := Value{Type: Type{Kind: Int}, I: 1}
	then := Expr{Op: ExprLit, Type: one.Type, Value: &one}
	if a.Arg != nil {
		then = n.expr(*a.Arg)
	}
	arg := n.column(caseOf(then.Type, []branch{{formOf(*a.Filter, true, sameCol), then}}, nullOf(then.Type)))
	if a.Func == CountRows {
		a.Func = CountCol
	}
	a.Arg, a.Filter = &arg, nil
	return a
}

// expr is the inverse of column.
func (n *namer) expr(col Col) Expr {
	if col.Table == DerivedTable {
		return n.exprs[col.Name]
	}
	return Expr{Op: ExprCol, Type: col.Type, Col: &col}
}

func sameCol(col Col) Col { return col }

// number gives the derived columns that c uses their final numbers, those first
// that others look at.
func (n *namer) number(c Core) Core {
	level := map[string]int{}
	var visit func(col Col) int
	visit = func(col Col) int {
		if col.Table != DerivedTable {
			return 0
		}
		if l, done := level[col.Name]; done {
			return l
		}
		l := 1
		look := func(inner Col) { l = max(l, 1+visit(inner)) }
		n.exprs[col.Name].Each(look, look)
		level[col.Name] = l
		return l
	}
	c.each(func(col Col) { visit(col) })
	var names []string
	for name := range level {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if level[a] != level[b] {
			return level[a] - level[b]
		}
		return strings.Compare(a, b)
	})
	final := map[string]int{}
	for i, name := range names {
		final[name] = i
		c.Derived = append(c.Derived, n.exprs[name])
	}
	return c.renamed(func(col Col) Col {
		if col.Table == DerivedTable {
			return DerivedCol(final[col.Name], col.Type)
		}
		return col
	})
}

// renamed returns a copy of c with every column outside PerUnit mapped.
func (c Core) renamed(to func(Col) Col) Core {
	c.Joins = slices.Clone(c.Joins)
	for i, j := range c.Joins {
		if !j.Unit {
			c.Joins[i].Left, c.Joins[i].Right = to(j.Left), to(j.Right)
		}
	}
	c.Derived = slices.Clone(c.Derived)
	for i, e := range c.Derived {
		c.Derived[i] = e.renamed(to)
	}
	if c.Where != nil {
		where := c.Where.renamed(to)
		c.Where = &where
	}
	c.Keys = slices.Clone(c.Keys)
	for i, k := range c.Keys {
		c.Keys[i] = to(k)
	}
	c.Aggs = slices.Clone(c.Aggs)
	for i, a := range c.Aggs {
		c.Aggs[i].Arg, c.Aggs[i].Arg2 = renamedCol(a.Arg, to), renamedCol(a.Arg2, to)
		if a.Filter != nil {
			filter := a.Filter.renamed(to)
			c.Aggs[i].Filter = &filter
		}
	}
	return c
}

func renamedCol(col *Col, to func(Col) Col) *Col {
	if col == nil {
		return nil
	}
	out := to(*col)
	return &out
}

func (p Pred) renamed(to func(Col) Col) Pred {
	p.Col, p.Other = renamedCol(p.Col, to), renamedCol(p.Other, to)
	args := p.Args
	p.Args = nil
	for _, a := range args {
		p.Args = append(p.Args, a.renamed(to))
	}
	return p
}

func (e Expr) renamed(to func(Col) Col) Expr {
	e.Col = renamedCol(e.Col, to)
	args, whens := e.Args, e.Whens
	e.Args, e.Whens = nil, nil
	for _, a := range args {
		e.Args = append(e.Args, a.renamed(to))
	}
	for _, w := range whens {
		e.Whens = append(e.Whens, When{If: w.If.renamed(to), Then: w.Then.renamed(to)})
	}
	if e.Else != nil {
		other := e.Else.renamed(to)
		e.Else = &other
	}
	return e
}
