package analyse

import (
	"slices"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// cond is a condition tree, of WHERE or of HAVING.
type cond struct {
	op     algebra.PredOp
	args   []cond
	a, b   *term
	values []algebra.Value
}

// resolver says what a column or function means in a clause.
type resolver func(e object) (term, *policies.Reason)

var comparisons = map[string]algebra.PredOp{
	"COMPARE_EQUAL": algebra.OpEq, "COMPARE_NOTEQUAL": algebra.OpNe,
	"COMPARE_LESSTHAN": algebra.OpLt, "COMPARE_LESSTHANOREQUALTO": algebra.OpLe,
	"COMPARE_GREATERTHAN": algebra.OpGt, "COMPARE_GREATERTHANOREQUALTO": algebra.OpGe,
}

var mirrored = map[algebra.PredOp]algebra.PredOp{
	algebra.OpEq: algebra.OpEq, algebra.OpNe: algebra.OpNe, algebra.OpLt: algebra.OpGt,
	algebra.OpGt: algebra.OpLt, algebra.OpLe: algebra.OpGe, algebra.OpGe: algebra.OpLe,
}

// whereTerm resolves an operand of WHERE, FILTER and CASE: an expression over the
// columns of the tables.
func (d *decoder) whereTerm(e object) (term, *policies.Reason) {
	switch e["class"] {
	case "COLUMN_REF", "CASE":
		return d.scalar(e)
	case "FUNCTION":
		if name, _ := e["function_name"].(string); isAggregate(lowered(name)) {
			return term{}, d.refuse("AGGREGATE_IN_WHERE", offset(e))
		}
		return d.scalar(e)
	case "OPERATOR":
		if e["type"] == "OPERATOR_COALESCE" {
			return d.scalar(e)
		}
	}
	return term{}, d.refuseExpression(e, "EXPRESSION")
}

// condition reads a boolean expression.
func (d *decoder) condition(e object, resolve resolver) (cond, *policies.Reason) {
	class, kind := d.str(e, "class"), d.str(e, "type")
	switch class {
	case "CONJUNCTION":
		if r := d.only(e, "children"); r != nil {
			return cond{}, r
		}
		out := cond{op: algebra.OpAnd}
		if kind == "CONJUNCTION_OR" {
			out.op = algebra.OpOr
		} else if kind != "CONJUNCTION_AND" {
			return cond{}, d.refuse("UNSUPPORTED", offset(e))
		}
		return d.conditions(out, d.list(e, "children"), resolve)
	case "OPERATOR":
		if kind == "OPERATOR_COALESCE" {
			break
		}
		return d.operator(e, kind, resolve)
	case "BETWEEN":
		if r := d.only(e, "input", "lower", "upper"); r != nil {
			return cond{}, r
		}
		if kind != "COMPARE_BETWEEN" {
			return cond{}, d.refuse("UNSUPPORTED", offset(e))
		}
		lo, r := d.compare(algebra.OpGe, d.obj(e, "input"), d.obj(e, "lower"), offset(e), resolve)
		if r != nil {
			return cond{}, r
		}
		hi, r := d.compare(algebra.OpLe, d.obj(e, "input"), d.obj(e, "upper"), offset(e), resolve)
		return cond{op: algebra.OpAnd, args: []cond{lo, hi}}, r
	case "COMPARISON":
		if r := d.only(e, "left", "right"); r != nil {
			return cond{}, r
		}
		op, ok := comparisons[kind]
		if !ok {
			return cond{}, d.refuse("DISTINCT_FROM", offset(e))
		}
		return d.compare(op, d.obj(e, "left"), d.obj(e, "right"), offset(e), resolve)
	}
	if isLiteral(e) {
		lit, r := d.literal(e)
		if r != nil {
			return cond{}, r
		}
		if lit.kind == litParameter {
			if fit, ok := lit.fit(algebra.Type{Kind: algebra.Bool}); ok {
				lit = fit
			}
		}
		if lit.kind != litBool {
			return cond{}, d.refuse("NOT_BOOLEAN", offset(e))
		}
		return cond{op: algebra.OpConst, values: []algebra.Value{lit.value(algebra.Type{Kind: algebra.Bool})}}, nil
	}
	// A boolean column standing as a condition.
	t, r := resolve(e)
	if r != nil {
		return cond{}, r
	}
	if t.typ.Kind != algebra.Bool {
		return cond{}, d.refuse("NOT_BOOLEAN", offset(e), t.name)
	}
	return cond{op: algebra.OpEq, a: &t, values: []algebra.Value{{Type: t.typ, I: 1}}}, nil
}

func (d *decoder) conditions(out cond, children []any, resolve resolver) (cond, *policies.Reason) {
	for _, child := range children {
		c, r := d.condition(d.asObject(child), resolve)
		if r != nil {
			return cond{}, r
		}
		out.args = append(out.args, c)
	}
	if len(out.args) == 0 {
		return cond{}, reason("ANALYSER")
	}
	return out, nil
}

func (d *decoder) operator(e object, kind string, resolve resolver) (cond, *policies.Reason) {
	not := func(c cond, r *policies.Reason) (cond, *policies.Reason) {
		return cond{op: algebra.OpNot, args: []cond{c}}, r
	}
	switch kind {
	case "OPERATOR_NOT", "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL", "COMPARE_IN", "COMPARE_NOT_IN":
	default:
		return cond{}, d.refuseExpression(e, "EXPRESSION")
	}
	if r := d.only(e, "children"); r != nil {
		return cond{}, r
	}
	children := d.list(e, "children")
	if len(children) == 0 {
		return cond{}, reason("ANALYSER")
	}
	first := d.asObject(children[0])
	if kind != "COMPARE_IN" && kind != "COMPARE_NOT_IN" && len(children) != 1 {
		return cond{}, reason("ANALYSER")
	}
	switch kind {
	case "OPERATOR_NOT":
		return not(d.condition(first, resolve))
	case "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL":
		if isLiteral(first) {
			return cond{}, d.refuse("CONSTANT_COMPARISON", offset(first))
		}
		t, r := resolve(first)
		if r != nil {
			return cond{}, r
		}
		out := cond{op: algebra.OpIsNull, a: &t}
		if kind == "OPERATOR_IS_NOT_NULL" {
			return not(out, nil)
		}
		return out, nil
	}
	in, r := d.in(first, children[1:], resolve)
	if r == nil && kind == "COMPARE_NOT_IN" {
		return not(in, nil)
	}
	return in, r
}

// in reads column IN (literals). A literal that no value of the column's type
// can equal adds nothing and is left out.
func (d *decoder) in(left object, list []any, resolve resolver) (cond, *policies.Reason) {
	if isLiteral(left) {
		return cond{}, d.refuse("CONSTANT_COMPARISON", offset(left))
	}
	t, r := resolve(left)
	if r != nil {
		return cond{}, r
	}
	out := cond{op: algebra.OpIn, a: &t}
	for _, item := range list {
		e := d.asObject(item)
		if !isLiteral(e) {
			return cond{}, d.refuseExpression(e, "EXPRESSION")
		}
		c, r := d.literalComparison(algebra.OpEq, t, e)
		if r != nil {
			return cond{}, r
		}
		out.values = append(out.values, c.values...)
	}
	if len(out.values) == 0 {
		return never(t), nil
	}
	return out, nil
}

// never and always compare a term with itself: FALSE and TRUE, or NULL where
// the term is NULL, which NOT around them must still see.
func never(t term) cond  { return cond{op: algebra.OpNe, a: &t, b: &t} }
func always(t term) cond { return cond{op: algebra.OpEq, a: &t, b: &t} }

func (d *decoder) compare(op algebra.PredOp, left, right object, off int, resolve resolver) (cond, *policies.Reason) {
	if isLiteral(left) {
		if isLiteral(right) {
			return cond{}, d.refuse("CONSTANT_COMPARISON", off)
		}
		left, right, op = right, left, mirrored[op]
	}
	a, r := resolve(left)
	if r != nil {
		return cond{}, r
	}
	if isLiteral(right) {
		return d.literalComparison(op, a, right)
	}
	b, r := resolve(right)
	if r != nil {
		return cond{}, r
	}
	if a.typ != b.typ && !((a.mean || b.mean) && isNumber(a.typ) && isNumber(b.typ)) {
		return cond{}, d.refuse("COMPARE_TYPES", off)
	}
	return cond{op: op, a: &a, b: &b}, nil
}

func isNumber(t algebra.Type) bool { return t.Kind == algebra.Int || t.Kind == algebra.Decimal }

// pred and post give the tree its place in the algebra.
func (c cond) pred() algebra.Pred {
	out := algebra.Pred{Op: c.op, Values: c.values}
	for _, a := range c.args {
		out.Args = append(out.Args, a.pred())
	}
	if c.a != nil {
		col := c.a.col
		out.Col = &col
	}
	if c.b != nil {
		col := c.b.col
		out.Other = &col
	}
	return out
}

func (c cond) post() algebra.PostPred {
	out := algebra.PostPred{Op: c.op, Values: c.values}
	for _, a := range c.args {
		out.Args = append(out.Args, a.post())
	}
	if c.a != nil {
		out.Ref = c.a.ref
	}
	if c.b != nil {
		ref := c.b.ref
		out.Other = &ref
	}
	return out
}

// refuseExpression names an expression that cannot stand where it does.
func (d *decoder) refuseExpression(e object, otherwise string) *policies.Reason {
	off := offset(e)
	kind, _ := e["type"].(string)
	switch class, _ := e["class"].(string); class {
	case "STAR":
		return d.refuse("STAR", off)
	case "WINDOW":
		return d.refuse("WINDOW_IN_CORE", off)
	case "SUBQUERY":
		return d.refuse("SUBQUERY", off)
	case "CAST":
		return d.refuse("CAST", off)
	case "COLLATE":
		return d.refuse("COLLATE", off)
	case "PARAMETER":
		return d.refuse(otherwise, off)
	case "LAMBDA":
		return d.refuse("LAMBDA", off)
	case "POSITIONAL_REFERENCE":
		return d.refuse("POSITIONAL", off)
	case "FUNCTION":
		if name, _ := e["function_name"].(string); isAggregate(lowered(name)) || isScalar(lowered(name)) {
			return d.refuse(otherwise, off)
		}
		return d.refuseFunction(e)
	case "OPERATOR":
		switch kind {
		case "GROUPING_FUNCTION":
			return d.refuse("GROUPING_PLACE", off)
		case "OPERATOR_TRY":
			return d.refuse("UNKNOWN_FUNCTION", off, "try")
		case "ARRAY_EXTRACT", "ARRAY_SLICE", "STRUCT_EXTRACT":
			return d.refuse("QUALIFIED_NAME", off)
		}
	}
	return d.refuse(otherwise, off)
}

var rawValueFunctions = []string{
	"first", "last", "any_value", "arbitrary", "arg_max", "arg_min", "max_by", "min_by",
	"argmax", "argmin", "arg_max_null", "arg_min_null", "mode", "mad", "list", "array_agg",
	"string_agg", "group_concat", "listagg", "histogram_exact", "approx_top_k",
	"json_group_array", "json_group_object", "json_group_structure", "reservoir_quantile",
	"map_from_entries", "unnest",
}

func (d *decoder) refuseFunction(e object) *policies.Reason {
	off := offset(e)
	name, _ := e["function_name"].(string)
	name = lowered(name)
	operator, _ := e["is_operator"].(bool)
	switch {
	case slices.Contains(rawValueFunctions, name):
		return d.refuse("RAW_VALUE", off, name)
	case strings.HasPrefix(name, "regexp_") || name == "similar_to_escape" || name == "not_similar_to_escape":
		return d.refuse("REGEX", off)
	case strings.Contains(name, "~~") || name == "^@" || strings.HasSuffix(name, "like_escape"):
		return d.refuse("LIKE", off)
	case strings.HasPrefix(name, "to_") && (strings.HasSuffix(name, "s") || name == "to_century" || name == "to_millennium"):
		return d.refuse("INTERVAL", off) // what the parser makes of INTERVAL 3 DAY
	case operator:
		return d.refuse("ARITHMETIC", off)
	}
	return d.refuse("UNKNOWN_FUNCTION", off, name)
}
