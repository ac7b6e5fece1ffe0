package protect

import (
	"math/big"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// scalar is what is publicly known of a column or an expression.
type scalar struct {
	owner    Facts  // whose rules a refusal names
	name     string // column, or the expression's place
	typ      algebra.Type
	nullable bool
	void     bool // always NULL
	// bounds and stored are the ranges under the policy's bounds and under those
	// enforced at ingest; nil: none.
	bounds, stored *Range
	codes          []algebra.Value // values of registered code lists and fixed domains
	labels         []algebra.Value // text literals, apart because the ledger redacts them
	listed         bool            // codes and labels are all values it can take
	private        bool
	grid           []int64
	computed       bool // an expression or a value per unit, not a stored column
}

// limit bounds every intermediate value of an expression: ±2^62.
var limit = new(big.Int).Lsh(big.NewInt(1), 62)

// scope resolves the columns of one level: the core, or a pre-aggregation.
type scope struct {
	derived []algebra.Expr
	stored  func(algebra.Col) (scalar, *policies.Reason)
	grid    func(algebra.Col) []int64
	memo    []*scalar
	busy    int // expressions below this index may be named; 0 at the outside: all
}

// check resolves every column that stands somewhere.
func (s *scope) check(cols []algebra.Col, where *algebra.Pred, keys []algebra.Col, aggs []algebra.Agg) *policies.Reason {
	var reason *policies.Reason
	visit := func(c algebra.Col) {
		if reason == nil {
			_, reason = s.column(c)
		}
	}
	for _, list := range [][]algebra.Col{cols, keys} {
		for _, c := range list {
			visit(c)
		}
	}
	if where != nil {
		if !sound(*where) {
			return badPred
		}
		where.Each(visit)
	}
	for _, a := range aggs {
		for _, c := range []*algebra.Col{a.Arg, a.Arg2} {
			if c != nil {
				visit(*c)
			}
		}
		if a.Filter != nil {
			if !sound(*a.Filter) {
				return badPred
			}
			a.Filter.Each(visit)
		}
	}
	return reason
}

var badPred = invalidCore("条件不完整", "a condition is malformed")

// sound reports whether a predicate has the operands its operator needs.
func sound(p algebra.Pred) bool {
	switch p.Op {
	case algebra.OpAnd, algebra.OpOr:
		return len(p.Args) > 0 && !slices.ContainsFunc(p.Args, func(a algebra.Pred) bool { return !sound(a) })
	case algebra.OpNot:
		return len(p.Args) == 1 && sound(p.Args[0])
	case algebra.OpConst:
		return len(p.Values) == 1 && (p.Values[0].I == 0 || p.Values[0].I == 1)
	case algebra.OpIsNull:
		return p.Col != nil
	case algebra.OpIn:
		return p.Col != nil && len(p.Values) > 0
	case algebra.OpEq, algebra.OpNe, algebra.OpLt, algebra.OpLe, algebra.OpGt, algebra.OpGe:
		return p.Col != nil && (p.Other != nil || len(p.Values) == 1)
	}
	return false
}

func (s *scope) column(c algebra.Col) (scalar, *policies.Reason) {
	if c.Table != algebra.DerivedTable {
		return s.stored(c)
	}
	i, ok := c.Derived()
	if !ok || i >= len(s.derived) || s.derived[i].Type != c.Type || s.busy > 0 && i >= s.busy-1 {
		return scalar{}, invalidCore("派生列不存在", "a derived column is not there")
	}
	if s.memo == nil {
		s.memo = make([]*scalar, len(s.derived))
	}
	if s.memo[i] == nil {
		inner := *s
		inner.busy = i + 1
		x, r := inner.expr(s.derived[i])
		if r != nil {
			return scalar{}, r
		}
		x.name, x.computed, x.private = c.Name, true, false
		s.memo[i] = &x
	}
	return *s.memo[i], nil
}

var badExpr = invalidCore("表达式不完整", "an expression is malformed")

// expr derives what is publicly known of an expression by interval arithmetic.
func (s *scope) expr(e algebra.Expr) (scalar, *policies.Reason) {
	var args []scalar
	for _, a := range e.Args {
		x, r := s.expr(a)
		if r != nil {
			return scalar{}, r
		}
		args = append(args, x)
	}
	switch e.Op {
	case algebra.ExprCol:
		if e.Col == nil || e.Col.Type != e.Type || len(args) != 0 {
			return scalar{}, badExpr
		}
		x, r := s.column(*e.Col)
		if r == nil && x.private {
			x.listed, x.codes = false, nil
		}
		return x, r
	case algebra.ExprLit:
		return literal(e)
	case algebra.ExprCase:
		if len(e.Whens) == 0 || len(args) != 0 {
			return scalar{}, badExpr
		}
		for _, w := range e.Whens {
			if r := s.check(nil, &w.If, nil, nil); r != nil {
				return scalar{}, r
			}
			x, r := s.expr(w.Then)
			if r != nil {
				return scalar{}, r
			}
			args = append(args, x)
		}
		last := scalar{typ: e.Type, nullable: true, void: true, listed: true}
		if e.Else != nil {
			var r *policies.Reason
			if last, r = s.expr(*e.Else); r != nil {
				return scalar{}, r
			}
		}
		return union(e.Type, append(args, last), slices.ContainsFunc(append(args, last), func(x scalar) bool { return x.nullable }))
	case algebra.ExprCoalesce:
		if len(args) < 2 {
			return scalar{}, badExpr
		}
		return union(e.Type, args, !slices.ContainsFunc(args, func(x scalar) bool { return !x.nullable }))
	case algebra.ExprPart:
		return datePart(e, args)
	case algebra.ExprBin:
		return s.bin(e, args)
	}
	return arithmetic(e, args)
}

func literal(e algebra.Expr) (scalar, *policies.Reason) {
	v := e.Value
	if v == nil || v.Type != e.Type || len(e.Args) != 0 {
		return scalar{}, badExpr
	}
	x := scalar{typ: e.Type, listed: true, computed: true}
	switch {
	case v.Null:
		x.nullable, x.void = true, true
	case v.Type.Kind == algebra.Text:
		x.labels = []algebra.Value{*v}
	default:
		x.codes = []algebra.Value{*v}
		x.bounds = &Range{v.I, v.I}
		x.stored = x.bounds
	}
	return x, nil
}

// union is what CASE and COALESCE may yield.
func union(t algebra.Type, parts []scalar, nullable bool) (scalar, *policies.Reason) {
	out := scalar{typ: t, nullable: nullable, void: true, listed: true, computed: true}
	open := false
	for _, p := range parts {
		if p.typ != t {
			return scalar{}, badExpr
		}
		if out.owner.Dataset == "" {
			out.owner = p.owner
		}
		if p.void {
			continue
		}
		p = p.enumerated()
		out.listed = out.listed && p.listed
		out.codes, out.labels = append(out.codes, p.codes...), append(out.labels, p.labels...)
		open = open || p.bounds == nil || p.stored == nil
		if !open {
			if out.void {
				out.bounds, out.stored = &Range{p.bounds.Lo, p.bounds.Hi}, &Range{p.stored.Lo, p.stored.Hi}
			} else {
				out.bounds, out.stored = hull(*out.bounds, *p.bounds), hull(*out.stored, *p.stored)
			}
		}
		out.void = false
	}
	if open {
		out.bounds, out.stored = nil, nil
	}
	out.codes = distinct(out.codes)
	// Redacted labels differ by their ordinal, open ones by their text; the number
	// of distinct ones is the same.
	slices.SortFunc(out.labels, compareLabels)
	out.labels = slices.CompactFunc(out.labels, func(a, b algebra.Value) bool { return compareLabels(a, b) == 0 })
	if !out.listed {
		out.codes, out.labels = nil, nil
	}
	return out, nil
}

func compareLabels(a, b algebra.Value) int {
	if a.Redacted || b.Redacted {
		return int(a.I - b.I)
	}
	return CompareValues(a, b)
}

func distinct(codes []algebra.Value) []algebra.Value {
	codes = slices.Clone(codes)
	slices.SortFunc(codes, CompareValues)
	return slices.CompactFunc(codes, func(a, b algebra.Value) bool { return CompareValues(a, b) == 0 })
}

func hull(a, b Range) *Range { return &Range{min(a.Lo, b.Lo), max(a.Hi, b.Hi)} }

// enumerated lists the values of a computed number whose bounds are narrow.
func (x scalar) enumerated() scalar {
	if x.listed || x.stored == nil || !x.computed || x.typ.Kind != algebra.Int && x.typ.Kind != algebra.Decimal ||
		x.stored.Hi < x.stored.Lo || uint64(x.stored.Hi)-uint64(x.stored.Lo) >= maxEnumerated {
		return x
	}
	x.codes, x.listed = spread(x.typ, *x.stored), true
	return x
}

func spread(t algebra.Type, r Range) []algebra.Value {
	var out []algebra.Value
	for i := r.Lo; i <= r.Hi; i++ {
		out = append(out, algebra.Value{Type: t, I: i})
	}
	return out
}

var partRanges = map[string]Range{"quarter": {1, 4}, "month": {1, 12}, "day": {1, 31}, "isodow": {1, 7}}

func datePart(e algebra.Expr, args []scalar) (scalar, *policies.Reason) {
	if len(args) != 1 || args[0].typ.Kind != algebra.Date || e.Type.Kind != algebra.Int {
		return scalar{}, badExpr
	}
	x := scalar{owner: args[0].owner, name: args[0].name, typ: e.Type, nullable: args[0].nullable, void: args[0].void, computed: true}
	r, fixed := partRanges[e.Part]
	switch {
	case fixed:
		x.bounds, x.stored = &r, &r
	case e.Part == "year" && args[0].stored != nil && args[0].bounds != nil:
		x.bounds = &Range{algebra.YearOf(args[0].bounds.Lo), algebra.YearOf(args[0].bounds.Hi)}
		x.stored = &Range{algebra.YearOf(args[0].stored.Lo), algebra.YearOf(args[0].stored.Hi)}
	case e.Part != "year":
		return scalar{}, badExpr
	}
	return x, nil
}

func (s *scope) bin(e algebra.Expr, args []scalar) (scalar, *policies.Reason) {
	if len(args) != 1 || e.Args[0].Op != algebra.ExprCol || e.Args[0].Col == nil || args[0].typ != e.Type {
		return scalar{}, badExpr
	}
	x := args[0]
	c := *e.Args[0].Col
	if x.grid == nil || x.computed || s.grid(c) == nil {
		return scalar{}, noGrid(x.owner, x.name)
	}
	out := scalar{owner: x.owner, name: x.name, typ: e.Type, nullable: x.nullable, listed: true, computed: true}
	for _, edge := range x.grid[:len(x.grid)-1] {
		out.codes = append(out.codes, algebra.Value{Type: e.Type, I: edge})
	}
	out.bounds = &Range{x.grid[0], x.grid[len(x.grid)-2]}
	out.stored = out.bounds
	return out, nil
}

// arithmetic bounds the result by the bounds of the operands; every operand must
// have some, and no value may pass ±2^62.
func arithmetic(e algebra.Expr, args []scalar) (scalar, *policies.Reason) {
	arity := 2
	if e.Op == algebra.ExprAbs || e.Op == algebra.ExprScale {
		arity = 1
	}
	if len(args) != arity {
		return scalar{}, badExpr
	}
	out := scalar{owner: args[0].owner, name: args[0].name, typ: e.Type, computed: true}
	for _, a := range args {
		if out.owner.Dataset == "" {
			out.owner, out.name = a.owner, a.name
		}
		if a.typ.Kind == algebra.Text || a.typ.Kind == algebra.Bool {
			return scalar{}, badExpr
		}
		out.nullable = out.nullable || a.nullable
		out.void = out.void || a.void
	}
	if out.void {
		return out, nil
	}
	for _, a := range args {
		if a.bounds == nil || a.stored == nil {
			return scalar{}, noBounds(a.owner, a.name)
		}
	}
	for _, side := range []struct {
		of func(scalar) Range
		to **Range
	}{{func(x scalar) Range { return *x.bounds }, &out.bounds}, {func(x scalar) Range { return *x.stored }, &out.stored}} {
		a := side.of(args[0])
		b := a
		if arity == 2 {
			b = side.of(args[1])
		}
		r, reason := interval(e, out, a, b)
		if reason != nil {
			return scalar{}, reason
		}
		*side.to = r
	}
	return out, nil
}

func interval(e algebra.Expr, x scalar, a, b Range) (*Range, *policies.Reason) {
	big2 := func(f func(z, x, y *big.Int) *big.Int, pairs ...[2]int64) []*big.Int {
		var out []*big.Int
		for _, p := range pairs {
			out = append(out, f(new(big.Int), big.NewInt(p[0]), big.NewInt(p[1])))
		}
		return out
	}
	var ends []*big.Int
	switch e.Op {
	case algebra.ExprAdd:
		ends = big2((*big.Int).Add, [2]int64{a.Lo, b.Lo}, [2]int64{a.Hi, b.Hi})
	case algebra.ExprSub:
		ends = big2((*big.Int).Sub, [2]int64{a.Lo, b.Hi}, [2]int64{a.Hi, b.Lo})
	case algebra.ExprMul:
		ends = big2((*big.Int).Mul, [2]int64{a.Lo, b.Lo}, [2]int64{a.Lo, b.Hi}, [2]int64{a.Hi, b.Lo}, [2]int64{a.Hi, b.Hi})
	case algebra.ExprDiv, algebra.ExprMod:
		if b.Lo != b.Hi || b.Lo < 1 {
			return nil, badExpr
		}
		if a.Lo < 0 {
			return nil, negativeDividend(x.owner, x.name)
		}
		if e.Op == algebra.ExprDiv {
			ends = big2((*big.Int).Quo, [2]int64{a.Lo, b.Lo}, [2]int64{a.Hi, b.Lo})
		} else {
			ends = []*big.Int{new(big.Int), big.NewInt(min(b.Lo-1, a.Hi))}
		}
	case algebra.ExprScale:
		from := e.Args[0].Type.Scale
		if e.Type.Scale < from {
			return nil, badExpr
		}
		p := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(e.Type.Scale-from)), nil)
		ends = []*big.Int{new(big.Int).Mul(big.NewInt(a.Lo), p), new(big.Int).Mul(big.NewInt(a.Hi), p)}
	case algebra.ExprAbs:
		lo, hi := new(big.Int).Abs(big.NewInt(a.Lo)), new(big.Int).Abs(big.NewInt(a.Hi))
		ends = []*big.Int{lo, hi}
		if a.Lo <= 0 && a.Hi >= 0 {
			ends = append(ends, new(big.Int))
		}
	default:
		return nil, badExpr
	}
	lo, hi := ends[0], ends[0]
	for _, v := range ends[1:] {
		if v.Cmp(lo) < 0 {
			lo = v
		}
		if v.Cmp(hi) > 0 {
			hi = v
		}
	}
	if lo.CmpAbs(limit) > 0 || hi.CmpAbs(limit) > 0 {
		return nil, overflow(x.owner, x.name)
	}
	r := &Range{lo.Int64(), hi.Int64()}
	if e.Type.Kind == algebra.Date && (r.Lo < algebra.MinDate || r.Hi > algebra.MaxDate) {
		return nil, overflow(x.owner, x.name)
	}
	return r, nil
}
