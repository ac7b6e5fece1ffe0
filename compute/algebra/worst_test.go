package algebra_test

import (
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
)

// TestR01_WorstCoresAreCheap: no core within the limits takes long to make canonical.
func TestR01_WorstCoresAreCheap(t *testing.T) {
	a, b := columns[0], columns[1]
	whens := func(n int, when func(i int) algebra.Pred, then func(i int) algebra.Expr) algebra.Expr {
		e := algebra.Expr{Op: algebra.ExprCase, Type: intType}
		for i := range n {
			e.Whens = append(e.Whens, algebra.When{If: when(i), Then: then(i)})
		}
		return e
	}
	nested := func(n int, when func(i int) algebra.Pred, inElse bool) algebra.Expr {
		e := intExpr(0)
		for i := range n {
			w := algebra.When{If: when(i), Then: intExpr(int64(i))}
			outer := algebra.Expr{Op: algebra.ExprCase, Type: intType, Whens: []algebra.When{w}}
			if inElse {
				inner := e
				outer.Else = &inner
			} else {
				outer.Whens[0].Then = e
			}
			e = outer
		}
		return e
	}
	count := func(i int) algebra.Expr { return intExpr(int64(i)) }
	same := func(i int) algebra.Pred { return number(algebra.OpEq, a, int64(3*i)) }
	mixed := func(i int) algebra.Pred { return number(algebra.OpNe, []algebra.Col{a, b}[i%2], int64(3*i)) }
	either := func(i int) algebra.Pred {
		return algebra.Pred{Op: algebra.OpOr, Args: []algebra.Pred{number(algebra.OpEq, a, int64(3*i)), number(algebra.OpEq, b, int64(5*i))}}
	}
	for name, e := range map[string]algebra.Expr{
		"one column":     whens(1300, same, count),
		"one result":     whens(1300, same, func(i int) algebra.Expr { return intExpr(int64(i % 2)) }),
		"mixed columns":  whens(1300, mixed, count),
		"either column":  whens(500, either, count),
		"nested in else": nested(120, either, true),
		"nested in then": nested(120, either, false),
		"alternating":    whens(500, either, func(i int) algebra.Expr { return intExpr(int64(i % 2)) }),
	} {
		c := algebra.Core{Tables: []algebra.Table{{Dataset: "f"}}, Derived: []algebra.Expr{e},
			Keys: []algebra.Col{algebra.DerivedCol(0, intType)}, Aggs: []algebra.Agg{{Func: algebra.CountRows}}}
		if _, err := algebra.ParseCore(c.Bytes()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		took := time.Hour
		for range 3 { // a busy machine may take the time of one
			start := time.Now()
			c.Canonical()
			took = min(took, time.Since(start))
			if took < time.Second/2 {
				break
			}
		}
		if took > slower*time.Second {
			t.Errorf("%s: %v", name, took)
		}
	}
}
