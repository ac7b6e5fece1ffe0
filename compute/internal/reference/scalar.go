package reference

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
)

// ternary is SQL's truth value; the order makes AND the least and OR the greatest.
type ternary int

const (
	no ternary = iota
	unknown
	yes
)

func known(b bool) ternary {
	if b {
		return yes
	}
	return no
}

// scope is what an expression or a predicate sees of one row.
type scope struct {
	derived []algebra.Expr
	column  func(algebra.Col) algebra.Value
	grid    func(algebra.Col) []int64
}

// value reads a stored or derived column.
func (s scope) value(c algebra.Col) algebra.Value {
	if c.Table != algebra.DerivedTable {
		return s.column(c)
	}
	i, err := strconv.Atoi(strings.TrimPrefix(c.Name, "e"))
	if err != nil {
		panic("reference: a derived column has a wrong name")
	}
	return s.eval(s.derived[i])
}

// truth evaluates a predicate by SQL's three-valued logic.
func (s scope) truth(p algebra.Pred) ternary {
	switch p.Op {
	case algebra.OpAnd:
		t := yes
		for _, a := range p.Args {
			t = min(t, s.truth(a))
		}
		return t
	case algebra.OpOr:
		t := no
		for _, a := range p.Args {
			t = max(t, s.truth(a))
		}
		return t
	case algebra.OpNot:
		return yes - s.truth(p.Args[0])
	case algebra.OpConst:
		return known(p.Values[0].I == 1)
	case algebra.OpIsNull:
		return known(s.value(*p.Col).Null)
	}
	v := s.value(*p.Col)
	others := p.Values
	if p.Other != nil {
		others = []algebra.Value{s.value(*p.Other)}
	}
	t := no
	for _, o := range others {
		t = max(t, relate(p.Op, v, o))
	}
	return t
}

func relate(op algebra.PredOp, a, b algebra.Value) ternary {
	if a.Null || b.Null {
		return unknown
	}
	d := compare(a, b)
	switch op {
	case algebra.OpEq, algebra.OpIn:
		return known(d == 0)
	case algebra.OpNe:
		return known(d != 0)
	case algebra.OpLt:
		return known(d < 0)
	case algebra.OpLe:
		return known(d <= 0)
	case algebra.OpGt:
		return known(d > 0)
	case algebra.OpGe:
		return known(d >= 0)
	}
	panic("reference: unknown predicate")
}

// eval evaluates a scalar expression: NULL in, NULL out, but for case and coalesce.
func (s scope) eval(x algebra.Expr) algebra.Value {
	null := algebra.Value{Type: x.Type, Null: true}
	switch x.Op {
	case algebra.ExprCol:
		return s.value(*x.Col)
	case algebra.ExprLit:
		return *x.Value
	case algebra.ExprCase:
		for _, w := range x.Whens {
			if s.truth(w.If) == yes {
				return s.eval(w.Then)
			}
		}
		if x.Else == nil {
			return null
		}
		return s.eval(*x.Else)
	case algebra.ExprCoalesce:
		for _, a := range x.Args {
			if v := s.eval(a); !v.Null {
				return v
			}
		}
		return null
	}
	var args []int64
	for _, a := range x.Args {
		v := s.eval(a)
		if v.Null {
			return null
		}
		args = append(args, v.I)
	}
	out := algebra.Value{Type: x.Type}
	switch x.Op {
	case algebra.ExprAdd:
		out.I = args[0] + args[1]
	case algebra.ExprSub:
		out.I = args[0] - args[1]
	case algebra.ExprMul:
		out.I = args[0] * args[1]
	case algebra.ExprDiv:
		out.I = args[0] / args[1]
	case algebra.ExprMod:
		out.I = args[0] % args[1]
	case algebra.ExprScale:
		out.I = args[0]
		for range x.Type.Scale - x.Args[0].Type.Scale {
			out.I *= 10
		}
	case algebra.ExprAbs:
		out.I = max(args[0], -args[0])
	case algebra.ExprPart:
		out.I = part(x.Part, args[0])
	case algebra.ExprBin:
		out.I = bin(s.grid(*x.Args[0].Col), args[0])
	default:
		panic("reference: unknown expression")
	}
	return out
}

func part(name string, days int64) int64 {
	t := time.Unix(days*86400, 0).UTC()
	switch name {
	case "year":
		return int64(t.Year())
	case "quarter":
		return int64(t.Month()-1)/3 + 1
	case "month":
		return int64(t.Month())
	case "day":
		return int64(t.Day())
	case "isodow":
		return int64(t.Weekday()+6)%7 + 1
	}
	panic("reference: unknown part of a date")
}

// bin is the greatest edge but the last that is at most v, and the first edge
// below it.
func bin(edges []int64, v int64) int64 {
	at, found := slices.BinarySearch(edges, v)
	if !found {
		at--
	}
	return edges[max(0, min(at, len(edges)-2))]
}
