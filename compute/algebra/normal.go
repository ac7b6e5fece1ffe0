package algebra

import (
	"bytes"
	"math"
	"slices"
	"strings"
)

// normal is the normal form of an expression: sums and products flattened, ordered
// and folded, NULL carried outwards, CASE reduced (caseOf). It means the same in
// every row, NULLs included; that no intermediate value leaves 64 bits is for
// compute/protect to prove, of the normal form.
func (n *namer) normal(e Expr) Expr {
	switch e.Op {
	case ExprCol:
		col := n.place(*e.Col)
		e.Col = &col
		return e
	case ExprLit:
		return e
	case ExprCase:
		var list []branch
		for _, w := range e.Whens {
			list = append(list, branch{formOf(w.If, true, n.place), n.normal(w.Then)})
		}
		other := nullOf(e.Type)
		if e.Else != nil {
			other = n.normal(*e.Else)
		}
		return caseOf(e.Type, list, other)
	}
	args := make([]Expr, len(e.Args))
	for i, a := range e.Args {
		args[i] = n.normal(a)
	}
	e.Args = args
	if e.Op == ExprCoalesce {
		return coalesceOf(e)
	}
	if slices.ContainsFunc(args, Expr.isNull) {
		return nullOf(e.Type)
	}
	switch e.Op {
	case ExprAdd, ExprSub:
		return sumOf(e)
	case ExprMul:
		return productOf(e)
	case ExprScale:
		return sumOf(e)
	case ExprDiv, ExprMod:
		return quotientOf(e)
	case ExprAbs:
		a := args[0]
		if a.Op == ExprAbs {
			return a
		}
		if a.Op == ExprLit {
			return literalOf(a.Type, max(a.Value.I, -a.Value.I))
		}
	case ExprPart:
		if a := args[0]; a.Op == ExprLit {
			return literalOf(e.Type, DatePart(e.Part, a.Value.I))
		}
	}
	return e
}

// DatePart is a part of a day, by the names of DateParts.
func DatePart(part string, days int64) int64 {
	t := day(days)
	switch part {
	case "year":
		return int64(t.Year())
	case "quarter":
		return int64(t.Month()-1)/3 + 1
	case "month":
		return int64(t.Month())
	case "day":
		return int64(t.Day())
	}
	return int64(t.Weekday()+6)%7 + 1 // isodow: Monday is 1
}

func nullOf(t Type) Expr { return Expr{Op: ExprLit, Type: t, Value: &Value{Type: t, Null: true}} }

func literalOf(t Type, i int64) Expr {
	return Expr{Op: ExprLit, Type: t, Value: &Value{Type: t, I: i}}
}

func (e Expr) isNull() bool { return e.Op == ExprLit && e.Value.Null }

// count is the value of a literal of type Int.
func (e Expr) count() (int64, bool) {
	if e.Op != ExprLit || e.Type.Kind != Int || e.Value.Null {
		return 0, false
	}
	return e.Value.I, true
}

func compareExpr(a, b Expr) int { return bytes.Compare(mustMarshal(a), mustMarshal(b)) }

func two(op ExprOp, t Type, a, b Expr) Expr { return Expr{Op: op, Type: t, Args: []Expr{a, b}} }

// sum is Σ factor·atom + constant, all of one type. ok is false once a factor or
// the constant is more than a literal may be.
type sum struct {
	typ      Type
	atoms    []Expr
	keys     []string // of atoms, encoded
	at       map[string]int
	factors  []int64
	constant int64
	bad      bool
}

func times(a, b int64) (int64, bool) {
	if a == 0 || b == 0 {
		return 0, true
	}
	p := a * b
	return p, p/b == a && a != math.MinInt64 && b != math.MinInt64
}

// small multiplies what must stay a literal.
func small(a, b int64) (int64, bool) {
	p, ok := times(a, b)
	return p, ok && p >= -MaxExprLiteral && p <= MaxExprLiteral
}

func (s *sum) add(atom Expr, factor int64) {
	key := string(mustMarshal(atom))
	if i, there := s.at[key]; there {
		s.factors[i] += factor
		s.bad = s.bad || s.factors[i] > MaxExprLiteral || s.factors[i] < -MaxExprLiteral
		return
	}
	if s.at == nil {
		s.at = map[string]int{}
	}
	s.at[key] = len(s.atoms)
	s.atoms, s.keys, s.factors = append(s.atoms, atom), append(s.keys, key), append(s.factors, factor)
}

// flatten adds k·e, of a smaller or the same scale, to the sum.
func (s *sum) flatten(e Expr, k int64) {
	if s.bad {
		return
	}
	switch e.Op {
	case ExprAdd, ExprSub:
		if e.Args[0].Type.number() {
			s.flatten(e.Args[0], k)
			if e.Op == ExprSub {
				k = -k
			}
			s.flatten(e.Args[1], k)
			return
		}
	case ExprMul:
		if f, ok := e.Args[0].count(); ok {
			if k, ok = small(k, f); !ok {
				s.bad = true
				return
			}
			s.flatten(e.Args[1], k)
			return
		}
	case ExprScale:
		s.flatten(e.Args[0], k)
		return
	case ExprLit:
		unit := int64(1)
		for range s.typ.Scale - e.Type.Scale {
			unit *= 10
		}
		if c, ok := small(e.Value.I, unit); ok {
			if c, ok = small(c, k); ok {
				s.constant += c
				s.bad = s.constant > MaxExprLiteral || s.constant < -MaxExprLiteral
				return
			}
			s.bad = true
			return
		}
	}
	if e.Type != s.typ {
		e = Expr{Op: ExprScale, Type: s.typ, Args: []Expr{e}}
	}
	s.add(e, k)
}

// build writes the sum: positive terms, the constant, negative terms.
func (s *sum) build() Expr {
	order := make([]int, len(s.atoms))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(s.keys[a], s.keys[b]) })
	term := func(i int, k int64) Expr {
		if k == 1 {
			return s.atoms[i]
		}
		return two(ExprMul, s.typ, literalOf(Type{Kind: Int}, k), s.atoms[i])
	}
	var out Expr
	have := false
	join := func(op ExprOp, t Expr) {
		if have {
			t = two(op, s.typ, out, t)
		}
		out, have = t, true
	}
	for _, i := range order {
		if s.factors[i] >= 0 {
			join(ExprAdd, term(i, s.factors[i]))
		}
	}
	switch {
	case s.constant > 0 || !have && (s.constant < 0 || len(order) == 0):
		join(ExprAdd, literalOf(s.typ, s.constant))
	case s.constant < 0:
		join(ExprSub, literalOf(s.typ, -s.constant))
	}
	for _, i := range order {
		switch k := s.factors[i]; {
		case k >= 0:
		case have:
			join(ExprSub, term(i, -k))
		default:
			join(ExprSub, term(i, k))
		}
	}
	return out
}

// sumOf is the normal form of a sum, a difference or a scaling of normal operands.
func sumOf(e Expr) Expr {
	if !e.Args[0].Type.number() {
		return daysOf(e)
	}
	s := sum{typ: e.Type}
	s.flatten(e, 1)
	if !s.bad {
		return s.build()
	}
	// A folded literal would be too large to stand in the ledger.
	if e.Op == ExprAdd && compareExpr(e.Args[0], e.Args[1]) > 0 {
		e.Args = []Expr{e.Args[1], e.Args[0]}
	}
	return e
}

// splitDay writes a date as a day without an addition, and what is added.
func splitDay(e Expr, s *sum) Expr {
	if e.Op == ExprAdd || e.Op == ExprSub {
		k := int64(1)
		if e.Op == ExprSub {
			k = -1
		}
		s.flatten(e.Args[1], k)
		return splitDay(e.Args[0], s)
	}
	return e
}

// daysOf is sumOf for dates.
func daysOf(e Expr) Expr {
	s := sum{typ: Type{Kind: Int}}
	if e.Type.Kind == Date {
		base := splitDay(e, &s)
		if s.bad {
			return e
		}
		rest := s.build()
		k, constant := rest.count()
		if constant && base.Op == ExprLit {
			if sum := base.Value.I + k; sum >= MinDate && sum <= MaxDate {
				return literalOf(e.Type, sum)
			}
		}
		if constant && k == 0 {
			return base
		}
		return two(ExprAdd, e.Type, base, rest)
	}
	a := splitDay(e.Args[0], &s)
	before := sum{typ: s.typ}
	b := splitDay(e.Args[1], &before)
	if before.bad {
		return e
	}
	s.flatten(before.build(), -1)
	switch d := compareExpr(a, b); {
	case a.Op == ExprLit && b.Op == ExprLit:
		s.flatten(literalOf(s.typ, a.Value.I-b.Value.I), 1)
	case d > 0:
		s.add(two(ExprSub, s.typ, b, a), -1)
	default:
		s.add(two(ExprSub, s.typ, a, b), 1)
	}
	if s.bad {
		return e
	}
	return s.build()
}

// productOf is the normal form of a product of normal operands: whole-number
// literals in front, then 10^-scale for a decimal one, then the rest in order.
func productOf(e Expr) Expr {
	k, ok := int64(1), true
	scale, hasScale := uint8(0), false
	var factors []Expr
	var flatten func(x Expr)
	flatten = func(x Expr) {
		switch {
		case x.Op == ExprMul:
			flatten(x.Args[0])
			flatten(x.Args[1])
		case x.Op == ExprLit && ok:
			k, ok = small(k, x.Value.I)
			if x.Type.Kind == Decimal {
				scale, hasScale = scale+x.Type.Scale, true
			}
		default:
			factors = append(factors, x)
		}
	}
	flatten(e)
	if !ok {
		if compareExpr(e.Args[0], e.Args[1]) > 0 {
			e.Args = []Expr{e.Args[1], e.Args[0]}
		}
		return e
	}
	slices.SortFunc(factors, compareExpr)
	if len(factors) == 0 {
		return literalOf(e.Type, k)
	}
	if hasScale {
		factors = append([]Expr{literalOf(Type{Kind: Decimal, Scale: scale}, 1)}, factors...)
	}
	out := factors[0]
	for _, f := range factors[1:] {
		out = two(ExprMul, product(out.Type, f.Type), out, f)
	}
	s := sum{typ: e.Type}
	s.flatten(out, k)
	if s.bad {
		return two(ExprMul, e.Type, literalOf(Type{Kind: Int}, k), out)
	}
	return s.build()
}

// quotientOf folds division and remainder; neither dividend is ever negative.
func quotientOf(e Expr) Expr {
	by := e.Args[1].Value.I
	a := e.Args[0]
	if k, ok := a.count(); ok && k >= 0 {
		if e.Op == ExprMod {
			return literalOf(e.Type, k%by)
		}
		return literalOf(e.Type, k/by)
	}
	if e.Op == ExprDiv && by == 1 {
		return a
	}
	if e.Op == ExprDiv && a.Op == ExprDiv {
		if by, ok := small(by, a.Args[1].Value.I); ok {
			return two(ExprDiv, e.Type, a.Args[0], literalOf(e.Type, by))
		}
	}
	return e
}

// coalesceOf keeps the arguments that can matter: the first of equal ones, no NULL,
// nothing behind a literal.
func coalesceOf(e Expr) Expr {
	var out []Expr
	var flatten func(list []Expr) bool
	flatten = func(list []Expr) bool {
		for _, a := range list {
			switch {
			case a.isNull() || slices.ContainsFunc(out, func(b Expr) bool { return compareExpr(a, b) == 0 }):
			case a.Op == ExprCoalesce:
				if !flatten(a.Args) {
					return false
				}
			default:
				out = append(out, a)
				if a.Op == ExprLit {
					return false
				}
			}
		}
		return true
	}
	flatten(e.Args)
	switch len(out) {
	case 0:
		return nullOf(e.Type)
	case 1:
		return out[0]
	}
	e.Args = out
	return e
}
