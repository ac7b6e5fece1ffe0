package algebra

import (
	"bytes"
	"cmp"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// Canonical returns the canonical form of c: two spellings of one question give
// one value, so that the answer to the first is the answer to all (averaging
// over spellings is dead) and is paid for once. A core that is not well formed,
// or whose literals are redacted, is returned as it is.
//
// WHERE keeps a row only when its predicate is TRUE. Negations are therefore
// pushed to the leaves by the rules of three-valued logic; what is left is
// monotone in its leaves, so FALSE and NULL may be treated alike there, and the
// leaves on one column against literals become one set of values. A set is written
// as = or IN where its values stand alone or in pairs, as >= and <= where three
// or more follow each other (x IN (1,2,3) is x >= 1 AND x <= 3), and as <> or NOT
// IN where only single values or pairs are missing.
func (c Core) Canonical() Core {
	out, _ := c.canonical()
	return out
}

// Canonicalise is Canonical for a whole query: references in Post are moved to
// the places their keys and aggregates have in the canonical core.
func Canonicalise(q Query) Query {
	core, refs := q.Core.canonical()
	move := func(ref int) int {
		if ref < 0 || ref >= len(refs) {
			return ref
		}
		return refs[ref]
	}
	out := Query{Core: core, Post: Post{Offset: q.Post.Offset}}
	for _, o := range q.Post.Outputs {
		moved := Output{Ref: move(o.Ref), Name: o.Name}
		for _, k := range o.Grouping {
			moved.Grouping = append(moved.Grouping, move(k))
		}
		if o.Grouping != nil {
			moved.Ref = len(core.Keys) + len(core.Aggs)
		}
		out.Post.Outputs = append(out.Post.Outputs, moved)
	}
	for _, o := range q.Post.Order {
		out.Post.Order = append(out.Post.Order, Order{Ref: move(o.Ref), Desc: o.Desc, NullsFirst: o.NullsFirst})
	}
	if q.Post.Limit != nil {
		limit := *q.Post.Limit
		out.Post.Limit = &limit
	}
	if q.Post.Having != nil {
		having := q.Post.Having.moved(move)
		out.Post.Having = &having
	}
	return out
}

func (p PostPred) moved(move func(int) int) PostPred {
	out := PostPred{Op: p.Op, Values: slices.Clone(p.Values)}
	switch p.Op {
	case OpAnd, OpOr, OpNot, OpConst:
		out.Ref = p.Ref
	default:
		out.Ref = move(p.Ref)
	}
	if p.Other != nil {
		other := move(*p.Other)
		out.Other = &other
	}
	for _, a := range p.Args {
		out.Args = append(out.Args, a.moved(move))
	}
	return out
}

// canonical returns the canonical core and, for each old output (keys then
// aggregates), its new place.
func (c Core) canonical() (Core, []int) {
	if c.structure() != nil || c.redacted() {
		identity := make([]int, len(c.Keys)+len(c.Aggs))
		for i := range identity {
			identity[i] = i
		}
		return c, identity
	}
	tables, joins, index := c.canonicalTables()
	place := func(col Col) Col { return place(col, index) }

	out := Core{Tables: tables, Joins: joins}
	for _, e := range c.Derived {
		out.Derived = append(out.Derived, e.placed(place))
	}
	var keys []Col
	for _, k := range c.Keys {
		keys = append(keys, place(k))
	}
	out.Keys = slices.Clone(keys)
	slices.SortFunc(out.Keys, compareCol)
	out.Keys = slices.Compact(out.Keys)

	var aggs []Agg
	for _, a := range c.Aggs {
		aggs = append(aggs, a.placed(place))
	}
	out.Aggs = slices.Clone(aggs)
	slices.SortFunc(out.Aggs, compareAgg)
	out.Aggs = slices.CompactFunc(out.Aggs, func(a, b Agg) bool { return compareAgg(a, b) == 0 })

	var refs []int
	for _, k := range keys {
		i, _ := slices.BinarySearchFunc(out.Keys, k, compareCol)
		refs = append(refs, i)
	}
	for _, a := range aggs {
		i, _ := slices.BinarySearchFunc(out.Aggs, a, compareAgg)
		refs = append(refs, len(out.Keys)+i)
	}

	out.Where = wherePred(c.Where, place)
	out.Sets = placeSets(c.Sets, refs, len(out.Keys))
	return out, refs
}

// wherePred is the canonical form of a condition of which only TRUE counts; nil
// when it always is.
func wherePred(p *Pred, place func(Col) Col) *Pred {
	if p == nil {
		return nil
	}
	f := formOf(*p, true, place)
	if f.kind == formTrue {
		return nil
	}
	out := emitAnd(f)
	return &out
}

func (a Agg) placed(place func(Col) Col) Agg {
	if a.Arg != nil {
		arg := place(*a.Arg)
		a.Arg = &arg
	}
	if a.Arg2 != nil {
		arg := place(*a.Arg2)
		a.Arg2 = &arg
	}
	a.Filter = wherePred(a.Filter, place)
	return a
}

// placed moves the columns of e and makes its conditions canonical.
func (e Expr) placed(place func(Col) Col) Expr {
	if e.Col != nil {
		col := place(*e.Col)
		e.Col = &col
	}
	args := e.Args
	e.Args = nil
	for _, a := range args {
		e.Args = append(e.Args, a.placed(place))
	}
	whens := e.Whens
	e.Whens = nil
	for _, w := range whens {
		e.Whens = append(e.Whens, When{If: emitAnd(formOf(w.If, true, place)), Then: w.Then.placed(place)})
	}
	if e.Else != nil {
		other := e.Else.placed(place)
		e.Else = &other
	}
	return e
}

// placeSets moves grouping sets to the canonical keys and orders them; the one set
// of all keys is no set.
func placeSets(sets [][]int, refs []int, keys int) [][]int {
	var out [][]int
	for _, set := range sets {
		moved := []int{}
		for _, k := range set {
			moved = append(moved, refs[k])
		}
		slices.Sort(moved)
		out = append(out, slices.Compact(moved))
	}
	slices.SortFunc(out, func(a, b []int) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return slices.Compare(a, b)
	})
	out = slices.CompactFunc(out, slices.Equal)
	if len(out) == 1 && len(out[0]) == keys {
		return nil
	}
	return out
}

// canonicalTables orders the joins. A public table joined on its unique key
// adds at most one match to a row, so independent joins commute and a repeated
// join adds nothing; a join stays behind the table its left column comes from.
func (c Core) canonicalTables() ([]Table, []Join, []int) {
	tables := []Table{c.Tables[0]}
	var joins []Join
	index := make([]int, len(c.Tables))
	placed := make([]bool, len(c.Tables))
	placed[0] = true
	compare := func(a, b Join) int {
		if d := compareBool(a.Unit, b.Unit); d != 0 {
			return d
		}
		if a.Unit {
			return bytes.Compare(mustMarshal([]any{c.Tables[a.Table], a.Outer}), mustMarshal([]any{c.Tables[b.Table], b.Outer}))
		}
		if d := compareCol(place(a.Left, index), place(b.Left, index)); d != 0 {
			return d
		}
		if d := strings.Compare(c.Tables[a.Table].Dataset, c.Tables[b.Table].Dataset); d != 0 {
			return d
		}
		if d := strings.Compare(a.Right.Name, b.Right.Name); d != 0 {
			return d
		}
		return compareBool(a.Outer, b.Outer)
	}
	rest := slices.Clone(c.Joins)
	for len(rest) > 0 {
		best := -1
		for i, j := range rest {
			if (j.Unit || placed[j.Left.Table]) && (best < 0 || compare(j, rest[best]) < 0) {
				best = i
			}
		}
		j := rest[best]
		rest = slices.Delete(rest, best, best+1)
		placed[j.Table] = true
		if !j.Unit {
			j.Left = place(j.Left, index)
		}
		same := slices.IndexFunc(joins, func(k Join) bool {
			return k.Unit == j.Unit && k.Left == j.Left && k.Right.Name == j.Right.Name &&
				reflect.DeepEqual(tables[k.Table], c.Tables[j.Table])
		})
		if same >= 0 {
			index[j.Table] = joins[same].Table
			joins[same].Outer = joins[same].Outer && j.Outer
			continue
		}
		index[j.Table] = len(tables)
		tables = append(tables, c.Tables[j.Table])
		j.Table = index[j.Table]
		if !j.Unit {
			j.Right.Table = j.Table
		}
		joins = append(joins, j)
	}
	return tables, joins, index
}

func place(col Col, index []int) Col {
	if col.Table >= 0 {
		col.Table = index[col.Table]
	}
	return col
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func compareCol(a, b Col) int {
	if a.Table != b.Table {
		return a.Table - b.Table
	}
	return strings.Compare(a.Name, b.Name)
}

func compareAgg(a, b Agg) int {
	if d := strings.Compare(string(a.Func), string(b.Func)); d != 0 {
		return d
	}
	if d := compareArg(a.Arg, b.Arg); d != 0 {
		return d
	}
	if d := compareArg(a.Arg2, b.Arg2); d != 0 {
		return d
	}
	if d := cmp.Compare(a.Q, b.Q); d != 0 {
		return d
	}
	return bytes.Compare(mustMarshal(a.Filter), mustMarshal(b.Filter))
}

func compareArg(a, b *Col) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return compareCol(*a, *b)
}

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

// mustMarshal encodes values of this package, none of which can fail to encode.
func mustMarshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("algebra: value cannot be encoded: " + err.Error())
	}
	return b
}
