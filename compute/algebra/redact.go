package algebra

import "slices"

// Redacted returns c with every literal of a condition replaced by its type alone,
// as the ledger stores it: an operand may be somebody's identity number. IN lists
// keep their length. TRUE and FALSE as whole conditions stay: they name nobody.
// Text literals of expressions become their ordinal in c, from 1, equal texts
// alike; their other literals stay, because bounds and prices follow from them.
func (c Core) Redacted() Core {
	r := redactor{}
	c.Tables = slices.Clone(c.Tables)
	for i, t := range c.Tables {
		if t.PerUnit == nil {
			continue
		}
		u := *t.PerUnit
		u.Derived = r.exprs(u.Derived)
		u.Where = r.where(u.Where)
		u.Aggs = r.aggs(u.Aggs)
		c.Tables[i].PerUnit = &u
	}
	c.Derived = r.exprs(c.Derived)
	c.Where = r.where(c.Where)
	c.Aggs = r.aggs(c.Aggs)
	return c
}

// redactor maps the text literals of expressions to their ordinals.
type redactor map[string]int64

func (r redactor) where(p *Pred) *Pred {
	if p == nil {
		return nil
	}
	out := p.redact()
	return &out
}

func (r redactor) aggs(list []Agg) []Agg {
	out := slices.Clone(list)
	for i := range out {
		out[i].Filter = r.where(out[i].Filter)
	}
	return out
}

func (r redactor) exprs(list []Expr) []Expr {
	var out []Expr
	for _, e := range list {
		out = append(out, r.expr(e))
	}
	return out
}

func (r redactor) expr(e Expr) Expr {
	if v := e.Value; v != nil && v.Type.Kind == Text && !v.Null && !v.Redacted {
		n, seen := r[v.S]
		if !seen {
			n = int64(len(r)) + 1
			r[v.S] = n
		}
		e.Value = &Value{Type: v.Type, I: n, Redacted: true}
	}
	e.Args = r.exprs(e.Args)
	whens := e.Whens
	e.Whens = nil
	for _, w := range whens {
		e.Whens = append(e.Whens, When{If: w.If.redact(), Then: r.expr(w.Then)})
	}
	if e.Else != nil {
		other := r.expr(*e.Else)
		e.Else = &other
	}
	return e
}

func (p Pred) redact() Pred {
	if p.Op == OpConst {
		return p
	}
	args := p.Args
	p.Args = nil
	for _, a := range args {
		p.Args = append(p.Args, a.redact())
	}
	p.Values = slices.Clone(p.Values)
	for i, v := range p.Values {
		p.Values[i] = Value{Type: v.Type, Redacted: true}
	}
	return p
}

// redacted reports whether any literal of c is.
func (c Core) redacted() bool {
	where := func(p *Pred) bool { return p != nil && p.redacted() }
	filter := func(a Agg) bool { return where(a.Filter) }
	for _, t := range c.Tables {
		if u := t.PerUnit; u != nil && (where(u.Where) || slices.ContainsFunc(u.Derived, Expr.redacted) || slices.ContainsFunc(u.Aggs, filter)) {
			return true
		}
	}
	return where(c.Where) || slices.ContainsFunc(c.Derived, Expr.redacted) || slices.ContainsFunc(c.Aggs, filter)
}

func (p Pred) redacted() bool {
	return slices.ContainsFunc(p.Values, func(v Value) bool { return v.Redacted }) ||
		slices.ContainsFunc(p.Args, Pred.redacted)
}

func (e Expr) redacted() bool {
	return e.Value != nil && e.Value.Redacted || slices.ContainsFunc(e.Args, Expr.redacted) ||
		slices.ContainsFunc(e.Whens, func(w When) bool { return w.If.redacted() || w.Then.redacted() }) ||
		e.Else != nil && e.Else.redacted()
}
