package algebra

import (
	"bytes"
	"cmp"
	"encoding/json"
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
//
// Derived columns are the same when their expressions are, after arithmetic is
// ordered and folded and CASE is reduced; columns of values per unit, when their
// aggregates are. Both are told apart by their content, never by their number.
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
	t := c.canonicalTables()
	n := newNamer(t.place)
	n.define(c.Derived)

	out := Core{Tables: t.tables, Joins: t.joins}
	var keys []Col
	for _, k := range c.Keys {
		keys = append(keys, n.place(k))
	}
	out.Keys = slices.Clone(keys)
	slices.SortFunc(out.Keys, compareCol)
	out.Keys = slices.Compact(out.Keys)

	var aggs []Agg
	for _, a := range c.Aggs {
		aggs = append(aggs, n.agg(a))
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
	out.Where = n.where(c.Where)
	out.Sets = placeSets(c.Sets, refs, len(out.Keys))
	return t.finish(n.number(out)), refs
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

// mustMarshal encodes values of this package, none of which can fail to encode.
func mustMarshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("algebra: value cannot be encoded: " + err.Error())
	}
	return b
}
