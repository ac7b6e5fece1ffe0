package algebra

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// First and last day a date literal or value may name: 0001-01-01 and
// 9999-12-31, days since 1970-01-01. Ingest accepts no others.
const (
	MinDate int64 = -719162
	MaxDate int64 = 2932896
)

// key is a value as a point of its column's order; one field is used per kind.
type key struct {
	i int64
	s string
}

func keyOf(v Value) key { return key{i: v.I, s: v.S} }

func compareKey(a, b key) int {
	if d := cmp.Compare(a.i, b.i); d != 0 {
		return d
	}
	return strings.Compare(a.s, b.s)
}

// span is the half-open interval [lo,hi), or [lo,∞) when open is set.
type span struct {
	lo, hi key
	open   bool
}

// valueSet is a set of column values: sorted, disjoint, non-adjacent spans, and
// perhaps NULL.
type valueSet struct {
	spans []span
	null  bool
}

// domain is the ordered set of the non-NULL values of a kind. Text is ordered
// by bytes, as the engine's binary collation does; the successor of s is s+NUL,
// which no literal can name, so a closed bound becomes an open one exactly.
type domain struct {
	kind     Kind
	min, max key // max: unused for Text
}

func domainOf(k Kind) domain {
	d := domain{kind: k, min: key{i: math.MinInt64}, max: key{i: math.MaxInt64}}
	switch k {
	case Text:
		d.min = key{}
	case Bool:
		d.min, d.max = key{i: 0}, key{i: 1}
	case Date:
		d.min, d.max = key{i: MinDate}, key{i: MaxDate}
	}
	return d
}

// next is the successor of p; open is true when there is none.
func (d domain) next(p key) (after key, open bool) {
	if d.kind == Text {
		return key{s: p.s + "\x00"}, false
	}
	if p.i >= d.max.i {
		return key{}, true
	}
	return key{i: p.i + 1}, false
}

func (d domain) all() []span { return []span{{lo: d.min, open: true}} }

func (d domain) isAll(s []span) bool {
	return len(s) == 1 && s[0].open && compareKey(s[0].lo, d.min) <= 0
}

// compare is the set of values x with x op p.
func (d domain) compare(op PredOp, p key) []span {
	below := func(hi key) []span { // [min,hi)
		if compareKey(hi, d.min) <= 0 {
			return nil
		}
		return []span{{lo: d.min, hi: hi}}
	}
	after, last := d.next(p)
	switch op {
	case OpLt:
		return below(p)
	case OpLe:
		if last {
			return d.all()
		}
		return below(after)
	case OpGe:
		return []span{{lo: p, open: true}}
	case OpGt:
		if last {
			return nil
		}
		return []span{{lo: after, open: true}}
	case OpEq:
		return []span{{lo: p, hi: after, open: last}}
	}
	return d.complement(d.compare(OpEq, p))
}

func (d domain) complement(s []span) []span {
	var out []span
	from := d.min
	for _, x := range s {
		if compareKey(from, x.lo) < 0 {
			out = append(out, span{lo: from, hi: x.lo})
		}
		if x.open {
			return out
		}
		from = x.hi
	}
	return append(out, span{lo: from, open: true})
}

func unite(a, b []span) []span {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y span) int { return compareKey(x.lo, y.lo) })
	var out []span
	for _, x := range all {
		if n := len(out); n > 0 && (out[n-1].open || compareKey(x.lo, out[n-1].hi) <= 0) {
			if x.open || !out[n-1].open && compareKey(x.hi, out[n-1].hi) > 0 {
				out[n-1].hi, out[n-1].open = x.hi, x.open
			}
			continue
		}
		out = append(out, x)
	}
	return out
}

func intersect(a, b []span) []span {
	var out []span
	for i, j := 0, 0; i < len(a) && j < len(b); {
		x, y := a[i], b[j]
		lo := x.lo
		if compareKey(y.lo, lo) > 0 {
			lo = y.lo
		}
		aEndsFirst := !x.open && (y.open || compareKey(x.hi, y.hi) <= 0)
		end := y
		if aEndsFirst {
			end = x
		}
		if end.open || compareKey(lo, end.hi) < 0 {
			out = append(out, span{lo: lo, hi: end.hi, open: end.open})
		}
		if aEndsFirst {
			i++
		} else {
			j++
		}
	}
	return out
}

// points lists the values of a span when there are one or two, so that short IN
// lists stay IN lists; wider spans are written as ranges.
func (d domain) points(s span) ([]key, bool) {
	out := []key{s.lo}
	for len(out) <= 2 {
		after, last := d.next(out[len(out)-1])
		if last == s.open && (last || compareKey(after, s.hi) == 0) {
			return out, true
		}
		if last || d.kind == Text {
			return nil, false
		}
		out = append(out, after)
	}
	return nil, false
}

// setPreds writes a set, neither empty nor everything, as disjuncts.
func setPreds(col Col, set valueSet) []Pred {
	d := domainOf(col.Type.Kind)
	var out []Pred
	if set.null {
		out = append(out, Pred{Op: OpIsNull, Col: &col})
	}
	switch {
	case len(set.spans) == 0:
		return out
	case d.isAll(set.spans):
		return append(out, Pred{Op: OpNot, Args: []Pred{{Op: OpIsNull, Col: &col}}})
	}
	first, last := set.spans[0], set.spans[len(set.spans)-1]
	if first.lo == d.min && last.open && d.kind != Bool {
		var holes []key
		narrow := true
		for _, hole := range d.complement(set.spans) {
			p, ok := d.points(hole)
			narrow = narrow && ok
			holes = append(holes, p...)
		}
		if narrow {
			if len(holes) == 1 {
				return append(out, Pred{Op: OpNe, Col: &col, Values: values(col, holes)})
			}
			return append(out, Pred{Op: OpNot, Args: []Pred{{Op: OpIn, Col: &col, Values: values(col, holes)}}})
		}
	}
	var single []key
	for _, s := range set.spans {
		if p, ok := d.points(s); ok {
			single = append(single, p...)
			continue
		}
		out = append(out, rangePred(col, d, s))
	}
	if len(single) == 1 {
		out = append(out, Pred{Op: OpEq, Col: &col, Values: values(col, single)})
	} else if len(single) > 1 {
		out = append(out, Pred{Op: OpIn, Col: &col, Values: values(col, single)})
	}
	return out
}

func values(col Col, keys []key) []Value {
	var out []Value
	for _, k := range keys {
		out = append(out, Value{Type: col.Type, I: k.i, S: k.s})
	}
	return out
}

// rangePred writes a span with at least one end inside the domain.
func rangePred(col Col, d domain, s span) Pred {
	var parts []Pred
	bound := func(op PredOp, k key) {
		parts = append(parts, Pred{Op: op, Col: &col, Values: values(col, []key{k})})
	}
	if compareKey(s.lo, d.min) > 0 {
		if cut, strict := strings.CutSuffix(s.lo.s, "\x00"); strict {
			bound(OpGt, key{s: cut})
		} else {
			bound(OpGe, s.lo)
		}
	}
	if !s.open {
		if d.kind != Text {
			bound(OpLe, key{i: s.hi.i - 1})
		} else if cut, closed := strings.CutSuffix(s.hi.s, "\x00"); closed {
			bound(OpLe, key{s: cut})
		} else {
			bound(OpLt, s.hi)
		}
	}
	return joinPreds(OpAnd, parts)
}

// subtract is a without b, in time that hardly grows with b.
func subtract(a, b []span) []span {
	var out []span
	for _, x := range a {
		i, _ := slices.BinarySearchFunc(b, x.lo, func(s span, lo key) int {
			if s.open || compareKey(s.hi, lo) > 0 {
				return 1
			}
			return -1
		})
		left := true
		for ; i < len(b) && (x.open || compareKey(b[i].lo, x.hi) < 0); i++ {
			if compareKey(x.lo, b[i].lo) < 0 {
				out = append(out, span{lo: x.lo, hi: b[i].lo})
			}
			if b[i].open || !x.open && compareKey(b[i].hi, x.hi) >= 0 {
				left = false
				break
			}
			x.lo = b[i].hi
		}
		if left {
			out = append(out, x)
		}
	}
	return out
}

// insert adds spans to a set, in time that hardly grows with the set. It may change
// the array behind set.
func insert(set, more []span) []span {
	for _, x := range more {
		i, _ := slices.BinarySearchFunc(set, x.lo, func(s span, lo key) int {
			if s.open || compareKey(s.hi, lo) >= 0 {
				return 1
			}
			return -1
		})
		j := i
		for ; j < len(set) && (x.open || compareKey(set[j].lo, x.hi) <= 0); j++ {
			if compareKey(set[j].lo, x.lo) < 0 {
				x.lo = set[j].lo
			}
			if !x.open && (set[j].open || compareKey(set[j].hi, x.hi) > 0) {
				x.hi, x.open = set[j].hi, set[j].open
			}
		}
		set = slices.Replace(set, i, j, x)
	}
	return set
}
