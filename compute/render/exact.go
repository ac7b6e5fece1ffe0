package render

import (
	"errors"
	"math/big"
	"strconv"

	"github.com/sandgate/sandgate/compute/protect"
)

// lists are the list columns of an exact plan, which follow the measures as s0, …
func lists(plan *protect.Plan) []protect.List {
	if plan.Exact == nil {
		return nil
	}
	return plan.Exact.Lists
}

// listSQL renders who is in a cell, or its two largest absolute values. The
// registered bounds of a column are far inside 64 bits, so the subtraction cannot
// overflow.
func listSQL(l protect.List) (string, error) {
	switch {
	case l.Top && l.Col == nil:
		return "", errors.New("a list of values takes a column")
	case l.Top:
		col := columnSQL(*l.Col)
		return "MAX(GREATEST(" + col + ", 0 - " + col + "), 2)", nil
	case l.Col != nil:
		return "LIST(t0." + unitColumn + ") FILTER (WHERE " + columnSQL(*l.Col) + " IS NOT NULL)", nil
	}
	return "LIST(t0." + unitColumn + ")", nil
}

func listName(i int) string { return "s" + strconv.Itoa(i) }

// isList reads what listSQL writes.
func (r reader) isList(v any, l protect.List) error {
	if l.Top {
		args, err := function(v, "max", false)
		if err != nil || len(args) != 2 {
			return errShape
		}
		if two, ok := constant(args[1]); !ok || two.Cmp(big.NewInt(2)) != 0 {
			return errShape
		}
		both, err := function(args[0], "greatest", false)
		if err != nil || len(both) != 2 || l.Col == nil {
			return errShape
		}
		minus, err := function(both[1], "-", true)
		if err != nil || len(minus) != 2 {
			return errShape
		}
		if zero, ok := constant(minus[0]); !ok || zero.Sign() != 0 {
			return errShape
		}
		if err := r.isColumn(both[0], *l.Col); err != nil {
			return err
		}
		return r.isColumn(minus[1], *l.Col)
	}
	f, err := node(v, "FUNCTION", "FUNCTION", "alias", "function_name", "children", "filter")
	if err != nil || f[1] != "list" || len(items(f[2])) != 1 {
		return errShape
	}
	if i, name, err := r.names(items(f[2])[0]); err != nil || i != 0 || name != unitColumn {
		return errors.New("not the unit column")
	}
	if l.Col == nil {
		if f[3] != nil {
			return errShape
		}
		return nil
	}
	notNull, err := node(f[3], "OPERATOR", "OPERATOR_IS_NOT_NULL", "children")
	if err != nil || len(items(notNull[0])) != 1 {
		return errShape
	}
	return r.isColumn(items(notNull[0])[0], *l.Col)
}
