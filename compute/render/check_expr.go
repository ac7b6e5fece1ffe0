package render

import (
	"encoding/json"
	"errors"
	"math/big"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// constant reads an integer literal.
func constant(v any) (*big.Int, bool) {
	value, kind, ok := constantValue(v)
	if !ok {
		return nil, false
	}
	switch kind {
	case "INTEGER", "BIGINT", "HUGEINT":
	default:
		return nil, false
	}
	n, ok := value.(json.Number)
	if !ok {
		return nil, false
	}
	return new(big.Int).SetString(n.String(), 10)
}

func constantValue(v any) (value any, kind string, ok bool) {
	f, err := node(v, "CONSTANT", "VALUE_CONSTANT", "value")
	if err != nil {
		return nil, "", false
	}
	if f, err = pick(f[0], "type", "value"); err != nil {
		return nil, "", false
	}
	typ, err := pick(f[0], "id")
	if err != nil {
		return nil, "", false
	}
	kind, ok = typ[0].(string)
	return f[1], kind, ok && f[1] != nil
}

// cast reads CAST(constant AS kind), which is also how TRUE and DATE are parsed.
func cast(v any, kind string) (any, bool) {
	f, err := node(v, "CAST", "OPERATOR_CAST", "child", "cast_type")
	if err != nil {
		return nil, false
	}
	typ, err := pick(f[1], "id")
	return f[0], err == nil && typ[0] == kind
}

// function reads a plain call and returns its arguments.
func function(v any, name string, operator bool) ([]any, error) {
	f, err := node(v, "FUNCTION", "FUNCTION", "alias", "function_name", "children", "is_operator")
	if err != nil {
		return nil, err
	}
	if f[1] != name || f[3] != operator {
		return nil, errShape
	}
	return items(f[2]), nil
}

func (r reader) isMeasure(v any, m protect.Measure) error {
	switch m.Kind {
	case protect.MeasureRows:
		args, err := function(v, "count_star", false)
		if err == nil && len(args) != 0 {
			err = errShape
		}
		return err
	case protect.MeasureUnits:
		f, err := node(v, "FUNCTION", "FUNCTION", "alias", "function_name", "children", "distinct")
		if err != nil {
			return err
		}
		args := items(f[2])
		if f[1] != "count" || f[3] != true || len(args) != 1 {
			return errShape
		}
		i, name, err := r.names(args[0])
		if err == nil && (i != 0 || name != unitColumn) {
			err = errors.New("not the unit column")
		}
		return err
	case protect.MeasureNonNull:
		return r.isCount(v, *m.Col)
	case protect.MeasureSum:
		return r.isSum(v, m)
	}
	return errors.New("unknown measure")
}

func (r reader) isCount(v any, col algebra.Col) error {
	args, err := function(v, "count", false)
	if err != nil || len(args) != 1 {
		return errShape
	}
	return r.isColumn(args[0], col)
}

// isSum reads COALESCE(SUM(…), 0) [- CAST(offset AS HUGEINT) * COUNT(col)].
func (r reader) isSum(v any, m protect.Measure) error {
	total := v
	if m.Offset != 0 {
		minus, err := function(v, "-", true)
		if err != nil || len(minus) != 2 {
			return errShape
		}
		times, err := function(minus[1], "*", true)
		if err != nil || len(times) != 2 {
			return errShape
		}
		wide, ok := cast(times[0], "HUGEINT")
		n, isInt := constant(wide)
		if !ok || !isInt || n.Cmp(big.NewInt(m.Offset)) != 0 {
			return errors.New("offset is not the plan's")
		}
		if err := r.isCount(times[1], *m.Col); err != nil {
			return err
		}
		total = minus[0]
	}
	f, err := node(total, "OPERATOR", "OPERATOR_COALESCE", "alias", "children")
	if err != nil || len(items(f[1])) != 2 {
		return errShape
	}
	if zero, ok := constant(items(f[1])[1]); !ok || zero.Sign() != 0 {
		return errShape
	}
	return r.isClampedSum(items(f[1])[0], m)
}

func (r reader) isClampedSum(v any, m protect.Measure) error {
	f, err := node(v, "FUNCTION", "FUNCTION", "function_name", "children", "filter")
	if err != nil || f[0] != "sum" || len(items(f[1])) != 1 {
		return errShape
	}
	arg := items(f[1])[0]
	if m.Clamp == nil {
		if f[2] != nil {
			return errShape
		}
		return r.isColumn(arg, *m.Col)
	}
	notNull, err := node(f[2], "OPERATOR", "OPERATOR_IS_NOT_NULL", "children")
	if err != nil || len(items(notNull[0])) != 1 {
		return errShape
	}
	if err := r.isColumn(items(notNull[0])[0], *m.Col); err != nil {
		return err
	}
	least, err := function(arg, "least", false)
	if err != nil || len(least) != 2 {
		return errShape
	}
	greatest, err := function(least[0], "greatest", false)
	if err != nil || len(greatest) != 2 {
		return errShape
	}
	hi, okHi := constant(least[1])
	lo, okLo := constant(greatest[1])
	if !okHi || !okLo || hi.Cmp(big.NewInt(m.Clamp.Hi)) != 0 || lo.Cmp(big.NewInt(m.Clamp.Lo)) != 0 {
		return errors.New("clamp is not the plan's")
	}
	return r.isColumn(greatest[0], *m.Col)
}

var comparisonOf = map[any]algebra.PredOp{
	"COMPARE_EQUAL": algebra.OpEq, "COMPARE_NOTEQUAL": algebra.OpNe,
	"COMPARE_LESSTHAN": algebra.OpLt, "COMPARE_LESSTHANOREQUALTO": algebra.OpLe,
	"COMPARE_GREATERTHAN": algebra.OpGt, "COMPARE_GREATERTHANOREQUALTO": algebra.OpGe,
}

// predicate reads a condition of a rendered statement: columns stand left.
func (r reader) predicate(v any) (algebra.Pred, error) {
	t, _ := v.(tree)
	kind, _ := t["type"].(string)
	switch t["class"] {
	case "CONJUNCTION":
		op, ok := map[string]algebra.PredOp{"CONJUNCTION_AND": algebra.OpAnd, "CONJUNCTION_OR": algebra.OpOr}[kind]
		f, err := node(v, "CONJUNCTION", kind, "children")
		if err != nil || !ok {
			return algebra.Pred{}, errShape
		}
		return r.predicates(op, items(f[0]))
	case "COMPARISON":
		f, err := node(v, "COMPARISON", kind, "left", "right")
		if err != nil {
			return algebra.Pred{}, err
		}
		col, err := r.column(f[0])
		op, ok := comparisonOf[kind]
		if err != nil || !ok {
			return algebra.Pred{}, errShape
		}
		if right, _ := f[1].(tree); right["class"] == "COLUMN_REF" {
			other, err := r.column(f[1])
			return algebra.Pred{Op: op, Col: &col, Other: &other}, err
		}
		value, err := value(f[1], col.Type)
		return algebra.Pred{Op: op, Col: &col, Values: []algebra.Value{value}}, err
	case "OPERATOR":
		return r.operator(v, kind)
	case "CAST":
		v, err := value(v, algebra.Type{Kind: algebra.Bool})
		return algebra.Pred{Op: algebra.OpConst, Values: []algebra.Value{v}}, err
	}
	return algebra.Pred{}, errShape
}

func (r reader) predicates(op algebra.PredOp, list []any) (algebra.Pred, error) {
	out := algebra.Pred{Op: op}
	for _, v := range list {
		p, err := r.predicate(v)
		if err != nil {
			return out, err
		}
		out.Args = append(out.Args, p)
	}
	return out, nil
}

func (r reader) operator(v any, kind string) (algebra.Pred, error) {
	f, err := node(v, "OPERATOR", kind, "children")
	list := items(f2(f))
	if err != nil || len(list) == 0 {
		return algebra.Pred{}, errShape
	}
	negated := func(p algebra.Pred) algebra.Pred { return algebra.Pred{Op: algebra.OpNot, Args: []algebra.Pred{p}} }
	switch kind {
	case "OPERATOR_NOT":
		return r.predicates(algebra.OpNot, list)
	case "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL", "COMPARE_IN", "COMPARE_NOT_IN":
	default:
		return algebra.Pred{}, errShape
	}
	col, err := r.column(list[0])
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

// f2 is the only field asked for, or nil after an error.
func f2(fields []any) any {
	if len(fields) != 1 {
		return nil
	}
	return fields[0]
}

// value reads a literal of exactly the wanted type.
func value(v any, t algebra.Type) (algebra.Value, error) {
	out := algebra.Value{Type: t}
	switch t.Kind {
	case algebra.Int, algebra.Decimal:
		n, ok := constant(v)
		if !ok || !n.IsInt64() {
			return out, errShape
		}
		out.I = n.Int64()
		return out, nil
	case algebra.Text:
		s, ok := text(v)
		if !ok {
			return out, errShape
		}
		out.S = s
		return out, nil
	case algebra.Bool:
		inner, ok := cast(v, "BOOLEAN")
		s, isText := text(inner)
		if !ok || !isText || s != "t" && s != "f" {
			return out, errShape
		}
		if s == "t" {
			out.I = 1
		}
		return out, nil
	case algebra.Date:
		inner, ok := cast(v, "DATE")
		s, isText := text(inner)
		n, valid := day(s)
		if !ok || !isText || !valid {
			return out, errShape
		}
		out.I = n
		return out, nil
	}
	return out, errShape
}

func text(v any) (string, bool) {
	s, kind, ok := constantValue(v)
	out, isText := s.(string)
	return out, ok && isText && kind == "VARCHAR"
}
