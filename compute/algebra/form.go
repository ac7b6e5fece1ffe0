package algebra

import (
	"slices"
	"strings"
)

// form is a negation-free predicate between formOf and emission.
type form struct {
	kind  formKind
	col   Col
	set   valueSet // formSet: col's value is in set
	op    PredOp   // formCols: col op other
	other Col
	args  []form // formAnd, formOr: at least two
}

type formKind int

const (
	formTrue formKind = iota
	formFalse
	formSet
	formCols
	formAnd
	formOr
)

var opposite = map[PredOp]PredOp{OpEq: OpNe, OpNe: OpEq, OpLt: OpGe, OpGe: OpLt, OpLe: OpGt, OpGt: OpLe}
var mirrored = map[PredOp]PredOp{OpEq: OpEq, OpNe: OpNe, OpLt: OpGt, OpGt: OpLt, OpLe: OpGe, OpGe: OpLe}

// formOf says when p (or, if not positive, NOT p) is TRUE.
func formOf(p Pred, positive bool, place func(Col) Col) form {
	switch p.Op {
	case OpAnd, OpOr:
		var args []form
		for _, a := range p.Args {
			args = append(args, formOf(a, positive, place))
		}
		if (p.Op == OpAnd) == positive {
			return combine(formAnd, args)
		}
		return combine(formOr, args)
	case OpNot:
		return formOf(p.Args[0], !positive, place)
	case OpConst:
		if !p.Values[0].Null && (p.Values[0].I == 1) == positive {
			return form{kind: formTrue}
		}
		return form{kind: formFalse}
	}
	col := place(*p.Col)
	if p.Other != nil {
		return columnsForm(p.Op, col, place(*p.Other), positive)
	}
	dom := domainOf(col.Type.Kind)
	var set valueSet
	switch p.Op {
	case OpIsNull:
		set = valueSet{null: true}
		if !positive {
			set = valueSet{spans: dom.all()}
		}
		return setForm(col, set, dom)
	case OpIn:
		var listed []span
		for _, v := range p.Values {
			listed = append(listed, dom.compare(OpEq, keyOf(v))...)
		}
		set.spans = unite(listed, nil)
	default:
		if p.Values[0].Null {
			return form{kind: formFalse}
		}
		set.spans = dom.compare(p.Op, keyOf(p.Values[0]))
	}
	if !positive {
		set.spans = dom.complement(set.spans)
	}
	return setForm(col, set, dom)
}

func columnsForm(op PredOp, a, b Col, positive bool) form {
	if !positive {
		op = opposite[op]
	}
	if d := compareCol(a, b); d > 0 {
		a, b, op = b, a, mirrored[op]
	} else if d == 0 {
		if op == OpEq || op == OpLe || op == OpGe {
			dom := domainOf(a.Type.Kind)
			return setForm(a, valueSet{spans: dom.all()}, dom)
		}
		return form{kind: formFalse}
	}
	return form{kind: formCols, op: op, col: a, other: b}
}

func setForm(col Col, set valueSet, dom domain) form {
	switch {
	case len(set.spans) == 0 && !set.null:
		return form{kind: formFalse}
	case set.null && dom.isAll(set.spans):
		return form{kind: formTrue}
	}
	return form{kind: formSet, col: col, set: set}
}

// combine builds an And or Or: nested ones flattened, sets on one column merged.
func combine(kind formKind, args []form) form {
	neutral, absorbing := formTrue, formFalse
	if kind == formOr {
		neutral, absorbing = formFalse, formTrue
	}
	var flat []form
	sets := map[Col]int{}
	seen := map[string]bool{}
	var add func(f form) bool
	add = func(f form) bool {
		switch f.kind {
		case neutral:
			return true
		case absorbing:
			return false
		case kind:
			for _, a := range f.args {
				if !add(a) {
					return false
				}
			}
			return true
		case formSet:
			i, merge := sets[f.col]
			if !merge {
				sets[f.col] = len(flat)
				break
			}
			dom := domainOf(f.col.Type.Kind)
			merged := valueSet{null: flat[i].set.null && f.set.null, spans: intersect(flat[i].set.spans, f.set.spans)}
			if kind == formOr {
				merged = valueSet{null: flat[i].set.null || f.set.null, spans: unite(flat[i].set.spans, f.set.spans)}
			}
			m := setForm(f.col, merged, dom)
			if m.kind == absorbing {
				return false
			}
			flat[i] = m
			return true
		default:
			// Doubles must go here and not when the predicate is written, so
			// that what is left alone is merged into the level above.
			id := string(mustMarshal(emitOr(f)))
			if seen[id] {
				return true
			}
			seen[id] = true
		}
		flat = append(flat, f)
		return true
	}
	for _, a := range args {
		if !add(a) {
			return form{kind: absorbing}
		}
	}
	switch len(flat) {
	case 0:
		return form{kind: neutral}
	case 1:
		return flat[0]
	}
	return form{kind: kind, args: flat}
}

// emitAnd and emitOr turn a form into a predicate of sorted operands.
func emitAnd(f form) Pred { return joinPreds(OpAnd, conjuncts(f)) }
func emitOr(f form) Pred  { return joinPreds(OpOr, disjuncts(f)) }

func joinPreds(op PredOp, preds []Pred) Pred {
	if len(preds) == 1 {
		return preds[0]
	}
	type keyed struct {
		key  string
		pred Pred
	}
	var sorted []keyed
	for _, p := range preds {
		sorted = append(sorted, keyed{string(mustMarshal(p)), p})
	}
	slices.SortFunc(sorted, func(a, b keyed) int { return strings.Compare(a.key, b.key) })
	out := Pred{Op: op}
	for _, k := range sorted {
		out.Args = append(out.Args, k.pred)
	}
	return out
}

func conjuncts(f form) []Pred {
	if f.kind == formAnd {
		var out []Pred
		for _, a := range f.args {
			out = append(out, conjuncts(a)...)
		}
		return out
	}
	p := emitOr(f)
	if p.Op == OpAnd { // a range: >= and <=
		return p.Args
	}
	return []Pred{p}
}

func disjuncts(f form) []Pred {
	switch f.kind {
	case formTrue, formFalse:
		v := Value{Type: Type{Kind: Bool}}
		if f.kind == formTrue {
			v.I = 1
		}
		return []Pred{{Op: OpConst, Values: []Value{v}}}
	case formCols:
		col, other := f.col, f.other
		return []Pred{{Op: f.op, Col: &col, Other: &other}}
	case formSet:
		return setPreds(f.col, f.set)
	case formAnd:
		return []Pred{emitAnd(f)}
	}
	var out []Pred
	for _, a := range f.args {
		out = append(out, disjuncts(a)...)
	}
	return out
}
