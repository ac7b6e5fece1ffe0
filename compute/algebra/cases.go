package algebra

import (
	"slices"
	"strings"
)

// branch is one WHEN of a CASE: the first whose condition is TRUE gives then.
type branch struct {
	when form
	then Expr
}

// caseOf is the normal form of a CASE with normal branches: no branch that cannot
// be reached or changes nothing, a CASE in ELSE joined to its parent, neighbours of
// one result made one. When every condition is about one column, the branches become
// disjoint sets of its values, in order, and ELSE is what NULL gives.
func caseOf(t Type, list []branch, other Expr) Expr {
	out := list
	for {
		out, other = reachable(out, other)
		if other.Op == ExprCase {
			for _, w := range other.Whens {
				out = append(out, branch{formOf(w.If, true, sameCol), w.Then})
			}
			next := nullOf(t)
			if other.Else != nil {
				next = *other.Else
			}
			other = next
			continue
		}
		for len(out) > 0 && compareExpr(out[len(out)-1].then, other) == 0 {
			out = out[:len(out)-1]
		}
		n := len(out) - 1
		if n < 1 || !other.isNull() || out[n].when.kind != formSet {
			break
		}
		// WHEN s THEN x and nothing else: the other way round, so that what gives
		// NULL stands together.
		w := out[n].when
		dom := domainOf(w.col.Type.Kind)
		other = out[n].then
		out[n] = branch{setForm(w.col, valueSet{null: !w.set.null, spans: dom.complement(w.set.spans)}, dom), nullOf(t)}
	}
	if len(out) == 0 {
		return other
	}
	if col, ok := oneColumn(out); ok {
		return partition(t, col, out, other)
	}
	e := Expr{Op: ExprCase, Type: t}
	for _, b := range out {
		e.Whens = append(e.Whens, When{If: emitAnd(b.when), Then: b.then})
	}
	return e.orElse(other)
}

// reachable drops branches that are never taken and joins neighbours of one result.
func reachable(list []branch, other Expr) ([]branch, Expr) {
	var out []branch
	var taken []form // per column, the values of branches before
	for _, b := range list {
		for _, f := range taken {
			b.when = without(b.when, f)
		}
		if b.when.kind == formFalse {
			continue
		}
		if b.when.kind == formSet {
			i := slices.IndexFunc(taken, func(f form) bool { return f.col == b.when.col })
			if i < 0 {
				mine := b.when
				mine.set.spans = slices.Clone(mine.set.spans)
				taken = append(taken, mine)
			} else {
				taken[i].set = valueSet{null: taken[i].set.null || b.when.set.null, spans: insert(taken[i].set.spans, b.when.set.spans)}
			}
		}
		if last := len(out) - 1; last >= 0 && compareExpr(out[last].then, b.then) == 0 {
			b.when = combine(formOr, []form{out[last].when, b.when})
			out = out[:last]
		}
		if b.when.kind == formTrue {
			return out, b.then
		}
		out = append(out, b)
	}
	return out, other
}

// without is f where the set taken, of another form, does not hold.
func without(f, taken form) form {
	switch f.kind {
	case formSet:
		if f.col != taken.col {
			return f
		}
		dom := domainOf(f.col.Type.Kind)
		return setForm(f.col, valueSet{
			null:  f.set.null && !taken.set.null,
			spans: subtract(f.set.spans, taken.set.spans),
		}, dom)
	case formAnd, formOr:
		args := slices.Clone(f.args)
		for i, a := range args {
			if f.kind == formOr || a.kind == formSet {
				args[i] = without(a, taken)
			}
		}
		return combine(f.kind, args)
	}
	return f
}

// orElse sets ELSE, which is absent when it is NULL.
func (e Expr) orElse(other Expr) Expr {
	if !other.isNull() {
		e.Else = &other
	}
	return e
}

func oneColumn(list []branch) (Col, bool) {
	col := list[0].when.col
	return col, !slices.ContainsFunc(list, func(b branch) bool { return b.when.kind != formSet || b.when.col != col })
}

// partition is a CASE whose conditions are all about col.
func partition(t Type, col Col, list []branch, other Expr) Expr {
	dom := domainOf(col.Type.Kind)
	// The branches are disjoint already: reachable saw to it.
	var covered []span
	nullThen := other
	var spans [][]span
	var thens []Expr
	at := map[string]int{}
	give := func(set []span, then Expr) {
		if len(set) == 0 {
			return
		}
		key := string(mustMarshal(then))
		i, there := at[key]
		if !there {
			i = len(thens)
			at[key] = i
			spans, thens = append(spans, nil), append(thens, then)
		}
		spans[i] = append(spans[i], set...)
	}
	for _, b := range list {
		give(b.when.set.spans, b.then)
		covered = append(covered, b.when.set.spans...)
		if b.when.set.null {
			nullThen = b.then
		}
	}
	give(dom.complement(unite(covered, nil)), other)
	for i := range spans {
		spans[i] = unite(spans[i], nil)
	}
	e := Expr{Op: ExprCase, Type: t}
	type keyed struct {
		key string
		w   When
	}
	var whens []keyed
	var rest []span // what NULL's result is given to besides NULL
	for i, then := range thens {
		if compareExpr(then, nullThen) == 0 {
			rest = spans[i]
			continue
		}
		w := When{If: emitAnd(setForm(col, valueSet{spans: spans[i]}, dom)), Then: then}
		whens = append(whens, keyed{string(mustMarshal(w.If)), w})
	}
	slices.SortFunc(whens, func(a, b keyed) int { return strings.Compare(a.key, b.key) })
	for _, w := range whens {
		e.Whens = append(e.Whens, w.w)
	}
	if len(e.Whens) == 0 {
		return nullThen
	}
	if len(e.Whens) == 1 {
		only := e.Whens[0].Then
		switch {
		case only.isNull(): // WHEN … THEN NULL ELSE x: the other way round
			e.Whens[0] = When{If: emitAnd(setForm(col, valueSet{spans: rest, null: true}, dom)), Then: nullThen}
			return e
		case only.Op == ExprCol && *only.Col == col && len(rest) == 0: // WHEN x IS NOT NULL THEN x
			return coalesceOf(Expr{Op: ExprCoalesce, Type: t, Args: []Expr{only, nullThen}})
		}
	}
	if nullThen.Op == ExprCase { // another branch became ELSE
		list = nil
		for _, w := range e.Whens {
			list = append(list, branch{formOf(w.If, true, sameCol), w.Then})
		}
		return caseOf(t, list, nullThen)
	}
	return e.orElse(nullThen)
}
