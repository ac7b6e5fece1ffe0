package render

import (
	"encoding/json"
	"math/big"

	"github.com/sandgate/sandgate/compute/algebra"
)

// constant reads an integer literal.
func constant(v any) (*big.Int, bool) {
	value, kind, ok := constantValue(v)
	if !ok {
		return nil, false
	}
	number, ok := value.(json.Number)
	if !ok {
		return nil, false
	}
	n, ok := new(big.Int).SetString(number.String(), 10)
	if !ok {
		return nil, false
	}
	// The engine would cut a number too wide for its type; the parser writes those of
	// 128 bits as two halves.
	switch kind {
	case "INTEGER":
		return n, n.IsInt64() && n.Int64() == int64(int32(n.Int64()))
	case "BIGINT":
		return n, n.IsInt64()
	}
	return nil, false
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

// cast reads CAST(child AS kind), which is also how TRUE and DATE are parsed.
func cast(v any, kind string) (any, bool) {
	f, err := node(v, "CAST", "OPERATOR_CAST", "child", "cast_type")
	if err != nil {
		return nil, false
	}
	typ, err := pick(f[1], "id")
	return f[0], err == nil && typ[0] == kind
}

// tryCast reads TRY_CAST(child AS kind).
func tryCast(v any, kind string) (any, bool) {
	f, err := node(v, "CAST", "OPERATOR_CAST", "child", "cast_type", "try_cast")
	if err != nil || f[2] != true {
		return nil, false
	}
	typ, err := pick(f[1], "id")
	return f[0], err == nil && typ[0] == kind
}

// isNull reads NULL.
func isNull(v any) bool {
	f, err := node(v, "CONSTANT", "VALUE_CONSTANT", "value")
	if err != nil {
		return false
	}
	if f, err = pick(f[0], "type", "is_null"); err != nil || f[1] != true {
		return false
	}
	typ, err := pick(f[0], "id")
	return err == nil && typ[0] == "NULL"
}

// call reads a plain call of n arguments, written as an operator or a function.
func call(v any, name string, operator bool, n int) ([]any, error) {
	f, err := node(v, "FUNCTION", "FUNCTION", "function_name", "children", "is_operator")
	if err != nil {
		return nil, err
	}
	if f[0] != name || f[2] != operator || len(items(f[1])) != n {
		return nil, errShape
	}
	return items(f[1]), nil
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
