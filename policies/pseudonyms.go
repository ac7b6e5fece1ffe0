package policies

import (
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
)

// pseudonymous says whether a stored column of a data set holds pseudonyms.
func (e Entry) pseudonymous(stored string) bool {
	all, err := e.AllStored()
	if err != nil {
		return false // its facts do not read either: no plan is built
	}
	i := slices.IndexFunc(all, func(s StoredColumn) bool { return s.Name == stored })
	return i >= 0 && all[i].Mask.Op == masking.OpPseudonym
}

// pseudonymous says which data set's pseudonyms a column of the tables holds, "" for
// none.
func (b *Book) pseudonymous(tables []algebra.Table, c algebra.Col) string {
	if c.Table < 0 || c.Table >= len(tables) || tables[c.Table].PerUnit != nil {
		return ""
	}
	t := tables[c.Table]
	for _, id := range append([]string{t.Dataset}, t.Parts...) {
		if b.datasets[id].pseudonymous(c.Name) {
			return t.Dataset
		}
	}
	return ""
}

// PseudonymKeys are the indices of a core's keys whose released values are pseudonyms,
// ascending, nil for none. Each agreement is given its own in their place.
func (b *Book) PseudonymKeys(core algebra.Core) []int {
	var out []int
	for i, k := range core.Keys {
		if b.pseudonymous(core.Tables, k) != "" {
			out = append(out, i)
		}
	}
	return out
}

// decidePseudonyms refuses what a pseudonym cannot be used for. What an agreement is
// given is a one-way function of what is stored, so nothing it can write down equals a
// stored one; order and parts of a stored one mean nothing and would be the same for
// everybody. Left are: as a key, counted, tested for NULL, joined on, and compared
// with another pseudonym of its data set.
func (b *Book) decidePseudonyms(core algebra.Core) []*Reason {
	w := &pseudonymWalk{book: b, tables: core.Tables}
	w.exprs(core.Derived)
	w.pred(core.Where)
	w.aggs(core.Aggs)
	for _, t := range core.Tables {
		if u := t.PerUnit; u != nil {
			w.tables = []algebra.Table{{Dataset: t.Dataset}}
			w.exprs(u.Derived)
			w.pred(u.Where)
			w.aggs(u.Aggs)
		}
	}
	return w.out
}

type pseudonymWalk struct {
	book   *Book
	tables []algebra.Table
	out    []*Reason
}

func (w *pseudonymWalk) refuse(c algebra.Col, code, zh, en string, hint ...string) {
	name := BaseColumn(c.Name)
	t := w.tables[c.Table].Dataset
	x := reasonf(code, "masking/"+t, w.book.datasets[t].Department, zh, en, t, name).hint(hint[0], hint[1])
	if !slices.ContainsFunc(w.out, func(o *Reason) bool { return *o == *x }) {
		w.out = append(w.out, x)
	}
}

func (w *pseudonymWalk) use(c *algebra.Col) {
	if c != nil && w.book.pseudonymous(w.tables, *c) != "" {
		w.refuse(*c, "PSEUDONYM_USE", "列“%s.%s”是假名，不能参与运算、比较先后或与其他列比较", "column %q.%q holds pseudonyms, which cannot be computed with, put in order or compared with other columns",
			"假名可作分组键、计数、判断是否为空，或与同一数据集的假名比较是否相等", "a pseudonym can be a key, counted, tested for NULL, or compared for equality with another of its data set")
	}
}

func (w *pseudonymWalk) exprs(list []algebra.Expr) {
	for _, e := range list {
		w.use(e.Col)
		w.exprs(e.Args)
		for _, x := range e.Whens {
			w.pred(&x.If)
			w.exprs([]algebra.Expr{x.Then})
		}
		if e.Else != nil {
			w.exprs([]algebra.Expr{*e.Else})
		}
	}
}

func (w *pseudonymWalk) aggs(list []algebra.Agg) {
	for _, a := range list {
		if a.Func != algebra.CountCol {
			w.use(a.Arg)
			w.use(a.Arg2)
		}
		w.pred(a.Filter)
	}
}

func (w *pseudonymWalk) pred(p *algebra.Pred) {
	if p == nil {
		return
	}
	for i := range p.Args {
		w.pred(&p.Args[i])
	}
	if p.Col == nil {
		return
	}
	of := w.book.pseudonymous(w.tables, *p.Col)
	switch {
	case len(p.Values) > 0 && of != "":
		w.refuse(*p.Col, "PSEUDONYM_LITERAL", "列“%s.%s”是假名，不能与文本或参数比较：各授权所得的假名不同，且不能还原为库中的假名", "column %q.%q holds pseudonyms and cannot be compared with a text or a parameter: every agreement is given its own, which do not lead back to the stored ones",
			"请按该列分组，再用 HAVING 或后处理在结果中选取", "group by the column and choose from the result by HAVING or post-processing")
	case p.Other != nil:
		other := w.book.pseudonymous(w.tables, *p.Other)
		if of == other && (p.Op == algebra.OpEq || p.Op == algebra.OpNe) {
			return
		}
		w.use(p.Col)
		w.use(p.Other)
	}
}
