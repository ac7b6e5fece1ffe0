package policies

import (
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
)

// ColumnForm is a form in which a core looks at a column: the column itself, or
// one of the few expressions that tell less than it. At most one of Part, Bin and
// Quotient is set; none means the value itself, NULL tests and counts included.
type ColumnForm struct {
	Dataset, Column string
	Part            string // part of a date
	Bin             bool   // lower edge of its registered grid's cell
	Quotient        int64  // integer quotient by this literal
}

// Forms lists the forms in which a core uses columns, each once. An expression
// over a form tells nothing more than the form; a column that is seen both ways
// stands there in both.
func Forms(core algebra.Core) []ColumnForm {
	w := &formWalk{}
	outer := formScope{derived: core.Derived, add: func(c algebra.Col, f ColumnForm) {
		if c.Table < 0 || c.Table >= len(core.Tables) || core.Tables[c.Table].PerUnit != nil {
			return // a value per unit: its own expressions are looked at below
		}
		t := core.Tables[c.Table]
		for _, id := range append([]string{t.Dataset}, t.Parts...) {
			w.put(id, c.Name, f)
		}
	}}
	for _, k := range core.Keys {
		outer.col(k)
	}
	outer.pred(core.Where)
	for _, j := range core.Joins {
		if !j.Unit {
			outer.col(j.Left)
			outer.col(j.Right)
		}
	}
	outer.aggs(core.Aggs)
	for _, t := range core.Tables {
		if t.PerUnit == nil {
			continue
		}
		inner := formScope{derived: t.PerUnit.Derived, add: func(c algebra.Col, f ColumnForm) {
			for _, id := range append([]string{t.Dataset}, t.Parts...) {
				w.put(id, c.Name, f)
			}
		}}
		inner.pred(t.PerUnit.Where)
		inner.aggs(t.PerUnit.Aggs)
	}
	return w.out
}

type formWalk struct{ out []ColumnForm }

func (w *formWalk) put(dataset, column string, f ColumnForm) {
	f.Dataset, f.Column = dataset, column
	if !slices.Contains(w.out, f) {
		w.out = append(w.out, f)
	}
}

// formScope resolves derived columns, each once: a second look finds the same.
type formScope struct {
	derived []algebra.Expr
	seen    map[int]bool
	add     func(algebra.Col, ColumnForm)
}

func (s *formScope) col(c algebra.Col) {
	if c.Table != algebra.DerivedTable {
		s.add(c, ColumnForm{})
		return
	}
	i, ok := c.Derived()
	if !ok || i >= len(s.derived) || s.seen[i] {
		return // malformed: no plan is built from such a core
	}
	if s.seen == nil {
		s.seen = map[int]bool{}
	}
	s.seen[i] = true
	s.expr(s.derived[i])
}

func (s *formScope) expr(e algebra.Expr) {
	if f, ok := formOf(e); ok {
		s.add(*e.Args[0].Col, f)
		return
	}
	if e.Col != nil {
		s.col(*e.Col)
	}
	for _, a := range e.Args {
		s.expr(a)
	}
	for _, w := range e.Whens {
		s.pred(&w.If)
		s.expr(w.Then)
	}
	if e.Else != nil {
		s.expr(*e.Else)
	}
}

// formOf recognises a form directly over a table's column.
func formOf(e algebra.Expr) (ColumnForm, bool) {
	if len(e.Args) == 0 || e.Args[0].Op != algebra.ExprCol || e.Args[0].Col == nil || e.Args[0].Col.Table == algebra.DerivedTable {
		return ColumnForm{}, false
	}
	switch {
	case e.Op == algebra.ExprPart && e.Part != "":
		return ColumnForm{Part: e.Part}, true
	case e.Op == algebra.ExprBin:
		return ColumnForm{Bin: true}, true
	case e.Op == algebra.ExprDiv && len(e.Args) == 2 && e.Args[1].Op == algebra.ExprLit && e.Args[1].Value != nil && e.Args[1].Value.I > 0:
		return ColumnForm{Quotient: e.Args[1].Value.I}, true
	}
	return ColumnForm{}, false
}

func (s *formScope) pred(p *algebra.Pred) {
	if p != nil {
		p.Each(s.col)
	}
}

func (s *formScope) aggs(list []algebra.Agg) {
	for _, a := range list {
		for _, c := range []*algebra.Col{a.Arg, a.Arg2} {
			if c != nil {
				s.col(*c)
			}
		}
		s.pred(a.Filter)
	}
}
