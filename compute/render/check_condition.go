package render

import (
	"bytes"
	"errors"
	"math/big"
	"reflect"

	"github.com/sandgate/sandgate/compute/algebra"
)

var comparisonOf = map[any]algebra.PredOp{
	"COMPARE_EQUAL": algebra.OpEq, "COMPARE_NOTEQUAL": algebra.OpNe,
	"COMPARE_LESSTHAN": algebra.OpLt, "COMPARE_LESSTHANOREQUALTO": algebra.OpLe,
	"COMPARE_GREATERTHAN": algebra.OpGt, "COMPARE_GREATERTHANOREQUALTO": algebra.OpGe,
}

// predicate reads a condition of a rendered statement: columns stand left.
func (w *view) predicate(v any) (algebra.Pred, error) {
	t, _ := v.(tree)
	kind, _ := t["type"].(string)
	switch t["class"] {
	case "CONJUNCTION":
		op, ok := map[string]algebra.PredOp{"CONJUNCTION_AND": algebra.OpAnd, "CONJUNCTION_OR": algebra.OpOr}[kind]
		f, err := node(v, "CONJUNCTION", kind, "children")
		if err != nil || !ok {
			return algebra.Pred{}, errShape
		}
		return w.predicates(op, items(f[0]))
	case "COMPARISON":
		f, err := node(v, "COMPARISON", kind, "left", "right")
		if err != nil {
			return algebra.Pred{}, err
		}
		col, err := w.column(f[0])
		op, ok := comparisonOf[kind]
		if err != nil || !ok {
			return algebra.Pred{}, errShape
		}
		if value, err := value(f[1], col.Type); err == nil {
			return algebra.Pred{Op: op, Col: &col, Values: []algebra.Value{value}}, nil
		}
		other, err := w.column(f[1])
		return algebra.Pred{Op: op, Col: &col, Other: &other}, err
	case "OPERATOR":
		return w.operator(v, kind)
	case "CAST":
		v, err := value(v, algebra.Type{Kind: algebra.Bool})
		return algebra.Pred{Op: algebra.OpConst, Values: []algebra.Value{v}}, err
	}
	return algebra.Pred{}, errShape
}

func (w *view) predicates(op algebra.PredOp, list []any) (algebra.Pred, error) {
	out := algebra.Pred{Op: op}
	for _, v := range list {
		p, err := w.predicate(v)
		if err != nil {
			return out, err
		}
		out.Args = append(out.Args, p)
	}
	return out, nil
}

func (w *view) operator(v any, kind string) (algebra.Pred, error) {
	f, err := node(v, "OPERATOR", kind, "children")
	list := items(f2(f))
	if err != nil || len(list) == 0 {
		return algebra.Pred{}, errShape
	}
	negated := func(p algebra.Pred) algebra.Pred { return algebra.Pred{Op: algebra.OpNot, Args: []algebra.Pred{p}} }
	switch kind {
	case "OPERATOR_NOT":
		return w.predicates(algebra.OpNot, list)
	case "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL", "COMPARE_IN", "COMPARE_NOT_IN":
	default:
		return algebra.Pred{}, errShape
	}
	col, err := w.column(list[0])
	if err != nil {
		return algebra.Pred{}, err
	}
	out := algebra.Pred{Op: algebra.OpIsNull, Col: &col}
	if kind == "COMPARE_IN" || kind == "COMPARE_NOT_IN" {
		out.Op = algebra.OpIn
		for _, item := range list[1:] {
			v, err := value(item, col.Type)
			if err != nil {
				return algebra.Pred{}, err
			}
			out.Values = append(out.Values, v)
		}
	} else if len(list) != 1 {
		return algebra.Pred{}, errShape
	}
	if kind == "OPERATOR_IS_NOT_NULL" || kind == "COMPARE_NOT_IN" {
		return negated(out), nil
	}
	return out, nil
}

// sameCondition compares canonical forms: the parser moves negations and
// flattens conjunctions, so the trees themselves differ.
func (w *view) sameCondition(parts []any, want *algebra.Pred) error {
	got, err := w.predicates(algebra.OpAnd, parts)
	if err != nil {
		return err
	}
	if len(got.Args) == 1 && want != nil && reflect.DeepEqual(got.Args[0], *want) {
		return nil
	}
	core := algebra.Core{Tables: w.tables, Joins: w.joins, Derived: w.derived, Aggs: []algebra.Agg{{Func: algebra.CountRows}}}
	core.Where = want
	wanted := core.Canonical().Bytes()
	core.Where = nil
	if len(parts) > 0 {
		core.Where = &got
	}
	if err := core.Validate(w.schemas); err != nil {
		return err
	}
	if !bytes.Equal(core.Canonical().Bytes(), wanted) {
		return errors.New("condition is not the plan's")
	}
	return nil
}

// withoutRank takes _rn <= rank out of the parts: exactly once, or never for 0.
func (w *view) withoutRank(parts []any, table int, rank int64) ([]any, error) {
	var rest []any
	bounds := 0
	for _, v := range parts {
		f, err := node(v, "COMPARISON", "COMPARE_LESSTHANOREQUALTO", "left", "right")
		if err == nil && w.isHidden(f[0], table, rankColumn) {
			n, ok := constant(f[1])
			if !ok || n.Cmp(big.NewInt(rank)) != 0 || rank == 0 {
				return nil, errors.New("rows per unit are not bounded as planned")
			}
			bounds++
			continue
		}
		rest = append(rest, v)
	}
	if rank > 0 && bounds != 1 || rank == 0 && bounds != 0 {
		return nil, errors.New("rows per unit are not bounded as planned")
	}
	return rest, nil
}
