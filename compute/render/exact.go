package render

import (
	"errors"
	"math/big"
	"strconv"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// lists are the list columns of an exact plan, which follow the measures as s0, …
func lists(plan *protect.Plan) []protect.List {
	if plan.Exact == nil {
		return nil
	}
	return plan.Exact.Lists
}

// absolute is the absolute value of a column as an expression of the algebra, which
// is rendered so that no row can make it fail.
func absolute(c algebra.Col) algebra.Expr {
	return algebra.Expr{Op: algebra.ExprAbs, Type: c.Type, Args: []algebra.Expr{{Op: algebra.ExprCol, Type: c.Type, Col: &c}}}
}

// listSQL renders who is in a cell, or its two largest absolute values.
func (w *writer) listSQL(l protect.List) (string, error) {
	if l.Col == nil {
		if l.Top {
			return "", errors.New("a list of values takes a column")
		}
		return "LIST(t0." + unitColumn + ")", nil
	}
	if l.Top {
		text, err := w.outer.expr(absolute(*l.Col))
		return "MAX(" + text + ", 2)", err
	}
	col, err := w.outer.column(*l.Col)
	return "LIST(t0." + unitColumn + ") FILTER (WHERE " + col + " IS NOT NULL)", err
}

func listName(i int) string { return "s" + strconv.Itoa(i) }

// isList reads what listSQL writes.
func (r *reader) isList(v any, l protect.List) error {
	if l.Top {
		return r.isTop(v, l)
	}
	a, err := readAggregate(v, "list", 1, false)
	if err != nil {
		return err
	}
	if !r.outer.isHidden(a.args[0], 0, unitColumn) {
		return errors.New("not the unit column")
	}
	if l.Col == nil {
		if len(a.conditions) != 0 {
			return errShape
		}
		return nil
	}
	if len(a.conditions) != 1 || !r.present(*l.Col)(a.conditions[0]) {
		return errShape
	}
	return nil
}

func (r *reader) isTop(v any, l protect.List) error {
	a, err := readAggregate(v, "max", 2, false)
	if err != nil {
		return err
	}
	if two, ok := constant(a.args[1]); !ok || two.Cmp(big.NewInt(2)) != 0 || len(a.conditions) != 0 || l.Col == nil {
		return errShape
	}
	return r.outer.isExpr(a.args[0], absolute(*l.Col))
}
