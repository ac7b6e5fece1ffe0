package release

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"unicode/utf8"

	"github.com/sandgate/sandgate/compute/algebra"
)

// Apply runs post-processing on released values: HAVING, ORDER BY, OFFSET, LIMIT
// and the choice and naming of columns. It costs no budget, because it reads
// nothing but r. A withheld value compares as NULL, and SQL's three-valued logic
// holds. References index r's columns, keys first. The result is marked derived
// and cannot be processed again; it names r's digest as its source. Apply errs on
// references, operators and literals that do not fit r's columns.
func (r *Release) Apply(post algebra.Post) (*Release, error) {
	fail := func(err error) (*Release, error) {
		return nil, fmt.Errorf("failed to post-process release: %w", err)
	}
	if r.derived {
		return fail(errors.New("it is derived already"))
	}
	if len(post.Outputs) == 0 {
		return fail(errors.New("no output column is chosen"))
	}
	if post.Offset < 0 || post.Limit != nil && *post.Limit < 0 {
		return fail(errors.New("LIMIT and OFFSET must not be negative"))
	}
	if post.Having != nil {
		if err := r.check(*post.Having, 0); err != nil {
			return fail(err)
		}
	}
	for _, o := range post.Order {
		if !r.has(o.Ref) {
			return fail(errReference)
		}
	}
	source := r.origin
	if source == "" {
		digest := r.Digest()
		source = hex.EncodeToString(digest[:])
	}
	out := &Release{mode: r.mode, rho: r.rho, derived: true, collides: r.collides, overlap: r.overlap, source: source}
	for _, o := range post.Outputs {
		if !utf8.ValidString(o.Name) {
			return fail(errors.New("an output name is not valid UTF-8"))
		}
		if o.Grouping != nil {
			if !r.grouped(o) {
				return fail(errReference)
			}
			out.cols = append(out.cols, Column{Name: o.Name, Kind: KindKey, Type: algebra.Type{Kind: algebra.Int}})
			continue
		}
		if !r.has(o.Ref) {
			return fail(errReference)
		}
		c := r.cols[o.Ref]
		c.Name = o.Name
		out.cols = append(out.cols, c)
	}

	var rows [][]value
	for _, row := range r.rows {
		if post.Having == nil || r.eval(*post.Having, row) == yes {
			rows = append(rows, row)
		}
	}
	slices.SortStableFunc(rows, func(a, b []value) int {
		for _, o := range post.Order {
			x, y := a[o.Ref], b[o.Ref]
			var d int
			switch {
			case x.null() || y.null():
				d = truth(x.null()) - truth(y.null())
				if o.NullsFirst {
					d = -d
				}
			case o.Desc:
				d = compare(y, x)
			default:
				d = compare(x, y)
			}
			if d != 0 {
				return d
			}
		}
		return 0
	})
	rows = rows[min(post.Offset, int64(len(rows))):]
	if post.Limit != nil {
		rows = rows[:min(*post.Limit, int64(len(rows)))]
	}
	for _, row := range rows {
		chosen := make([]value, len(post.Outputs))
		for i, o := range post.Outputs {
			if o.Grouping != nil {
				chosen[i] = r.grouping(o, row)
				continue
			}
			chosen[i] = row[o.Ref] // values are never changed once made
		}
		out.rows = append(out.rows, chosen)
	}
	return out, nil
}

// keys is the number of grouping keys: key columns before the first estimate.
func (r *Release) keys() int {
	n := 0
	for n < len(r.cols) && r.cols[n].Kind == KindKey {
		n++
	}
	return n
}

// grouped checks a GROUPING(…): it names keys, and the bit mask or, where the
// release has no grouping sets, the column after the last.
func (r *Release) grouped(o algebra.Output) bool {
	last := len(r.cols) - 1
	masked := r.cols[last].Kind == KindKey && last >= r.keys()
	if len(o.Grouping) == 0 || len(o.Grouping) > 62 || masked && o.Ref != last || !masked && o.Ref != last+1 {
		return false
	}
	for _, k := range o.Grouping {
		if k < 0 || k >= r.keys() {
			return false
		}
	}
	return true
}

// grouping is GROUPING(keys…) of a row: a bit for each key that the row's grouping
// set drops, the first the highest.
func (r *Release) grouping(o algebra.Output, row []value) value {
	out := new(big.Int)
	for _, k := range o.Grouping {
		out.Lsh(out, 1)
		if o.Ref < len(row) {
			out.SetBit(out, 0, row[o.Ref].num.Bit(r.keys()-1-k))
		}
	}
	return value{num: out}
}

var (
	errReference = errors.New("a reference names no column of the release")
	errHaving    = errors.New("a HAVING condition is malformed")
	errTypes     = errors.New("a HAVING condition compares different types")
	errDeep      = errors.New("a HAVING condition is nested too deeply")
)

const maxDepth = 200

func (r *Release) has(ref int) bool { return ref >= 0 && ref < len(r.cols) }

// check makes eval total: it accepts only trees eval has a meaning for.
func (r *Release) check(p algebra.PostPred, depth int) error {
	if depth > maxDepth {
		return errDeep
	}
	switch p.Op {
	case algebra.OpAnd, algebra.OpOr, algebra.OpNot:
		if len(p.Args) == 0 || p.Op == algebra.OpNot && len(p.Args) != 1 {
			return errHaving
		}
		for _, a := range p.Args {
			if err := r.check(a, depth+1); err != nil {
				return err
			}
		}
		return nil
	case algebra.OpConst:
		if len(p.Values) != 1 || p.Values[0].Type.Kind != algebra.Bool {
			return errHaving
		}
		return nil
	case algebra.OpIsNull:
		if !r.has(p.Ref) {
			return errReference
		}
		return nil
	case algebra.OpEq, algebra.OpNe, algebra.OpLt, algebra.OpLe, algebra.OpGt, algebra.OpGe, algebra.OpIn:
	default:
		return errHaving
	}
	if !r.has(p.Ref) {
		return errReference
	}
	left := r.cols[p.Ref].Type
	if p.Other != nil {
		if p.Op == algebra.OpIn || len(p.Values) != 0 {
			return errHaving
		}
		if !r.has(*p.Other) {
			return errReference
		}
		if !sameKind(left, r.cols[*p.Other].Type) {
			return errTypes
		}
		return nil
	}
	if len(p.Values) == 0 || p.Op != algebra.OpIn && len(p.Values) != 1 {
		return errHaving
	}
	for _, v := range p.Values {
		if v.Redacted || v.Type.Scale > maxScale {
			return errHaving
		}
		if !v.Null && !sameKind(left, v.Type) {
			return errTypes
		}
	}
	return nil
}

func numeric(t algebra.Type) bool { return t.Kind == algebra.Int || t.Kind == algebra.Decimal }

func sameKind(a, b algebra.Type) bool {
	return a.Kind == b.Kind || numeric(a) && numeric(b)
}

// ternary is SQL's truth value; the order makes AND the least and OR the greatest.
type ternary int

const (
	no ternary = iota
	unknown
	yes
)

func (r *Release) eval(p algebra.PostPred, row []value) ternary {
	switch p.Op {
	case algebra.OpAnd:
		t := yes
		for _, a := range p.Args {
			t = min(t, r.eval(a, row))
		}
		return t
	case algebra.OpOr:
		t := no
		for _, a := range p.Args {
			t = max(t, r.eval(a, row))
		}
		return t
	case algebra.OpNot:
		return yes - r.eval(p.Args[0], row)
	case algebra.OpConst:
		if p.Values[0].Null {
			return unknown
		}
		return ternary(truth(p.Values[0].I != 0)) * yes
	case algebra.OpIsNull:
		return ternary(truth(row[p.Ref].null())) * yes
	}
	left, lt := row[p.Ref], r.cols[p.Ref].Type
	if p.Other != nil {
		return relate(p.Op, left, lt, row[*p.Other], r.cols[*p.Other].Type)
	}
	if p.Op != algebra.OpIn {
		return relate(p.Op, left, lt, keyValue(p.Values[0]), p.Values[0].Type)
	}
	t := no
	for _, v := range p.Values {
		t = max(t, relate(algebra.OpEq, left, lt, keyValue(v), v.Type))
	}
	return t
}

func relate(op algebra.PredOp, a value, at algebra.Type, b value, bt algebra.Type) ternary {
	if a.null() || b.null() {
		return unknown
	}
	if numeric(at) && at.Scale != bt.Scale { // to one scale, exactly
		s := max(at.Scale, bt.Scale)
		a, b = rescale(a, s-at.Scale), rescale(b, s-bt.Scale)
	}
	d := compare(a, b)
	var ok bool
	switch op {
	case algebra.OpEq:
		ok = d == 0
	case algebra.OpNe:
		ok = d != 0
	case algebra.OpLt:
		ok = d < 0
	case algebra.OpLe:
		ok = d <= 0
	case algebra.OpGt:
		ok = d > 0
	case algebra.OpGe:
		ok = d >= 0
	}
	return ternary(truth(ok)) * yes
}

func rescale(v value, by uint8) value {
	p := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(by)), nil)
	return value{num: p.Mul(p, v.num)}
}

// compare orders two non-null values of one type and scale; text by its bytes.
func compare(a, b value) int {
	if a.text != nil {
		return cmp.Compare(*a.text, *b.text)
	}
	return a.num.Cmp(b.num)
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}
