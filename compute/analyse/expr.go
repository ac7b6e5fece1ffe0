package analyse

import (
	"math/big"
	"reflect"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// scalars are the functions of expressions, with their number of arguments.
var scalars = map[string]int{
	"date_part": 2, "datepart": 2, "year": 1, "quarter": 1, "month": 1, "day": 1, "dayofmonth": 1, "isodow": 1,
	"bin": 1, "abs": 1, "@": 1, "mod": 2, "%": 2, "//": 2, "+": 2, "-": 2, "*": 2,
}

func isScalar(name string) bool { return scalars[name] > 0 }

// operand is an expression, or a literal that takes its type from what it meets.
type operand struct {
	expr algebra.Expr
	lit  *literal
	off  int
}

var (
	intType  = algebra.Type{Kind: algebra.Int}
	dateType = algebra.Type{Kind: algebra.Date}
)

// typ is the type of o by itself; false for NULL and parameters, which have none.
func (o operand) typ() (algebra.Type, bool) {
	if o.lit == nil {
		return o.expr.Type, true
	}
	switch o.lit.kind {
	case litBool:
		return algebra.Type{Kind: algebra.Bool}, true
	case litNumber:
		v, ok := o.lit.decimal()
		return v.Type, ok
	case litText:
		return algebra.Type{Kind: algebra.Text}, true
	case litDate:
		return dateType, true
	}
	return algebra.Type{}, false
}

// as gives o the type t: a literal exactly, a number by adding decimal places.
func (d *decoder) as(o operand, t algebra.Type) (algebra.Expr, *policies.Reason) {
	if o.lit == nil {
		if o.expr.Type == t {
			return o.expr, nil
		}
		if isNumber(o.expr.Type) && t.Kind == algebra.Decimal && o.expr.Type.Scale < t.Scale {
			return algebra.Expr{Op: algebra.ExprScale, Type: t, Args: []algebra.Expr{o.expr}}, nil
		}
		return algebra.Expr{}, d.refuse("EXPRESSION_TYPES", o.off)
	}
	v := algebra.Value{Type: t}
	if o.lit.kind == litNull {
		v.Null = true
		return literalExpr(v), nil
	}
	lit, ok := o.lit.fit(t)
	if !ok {
		return algebra.Expr{}, d.refuse("EXPRESSION_TYPES", o.off)
	}
	v.I, v.S = lit.i, lit.s
	if isNumber(t) {
		n := scaled(lit.number, t.Scale)
		if !n.IsInt() {
			return algebra.Expr{}, d.refuse("EXPRESSION_TYPES", o.off)
		}
		if n.Num().CmpAbs(big.NewInt(algebra.MaxExprLiteral)) > 0 {
			return algebra.Expr{}, d.refuse("LITERAL_RANGE", o.off)
		}
		v.I = n.Num().Int64()
	}
	return literalExpr(v), nil
}

func literalExpr(v algebra.Value) algebra.Expr {
	return algebra.Expr{Op: algebra.ExprLit, Type: v.Type, Value: &v}
}

// common gives every operand the one type that holds them all.
func (d *decoder) common(list []operand) (algebra.Type, []algebra.Expr, *policies.Reason) {
	var t algebra.Type
	// Columns say the type; only without one do literals: '2024-01-01' beside a date
	// is a date.
	for _, literals := range []bool{false, true} {
		if t.Kind != "" && !isNumber(t) {
			break
		}
		for _, o := range list {
			u, ok := o.typ()
			switch {
			case !ok || (o.lit != nil) != literals:
			case t.Kind == "":
				t = u
			case isNumber(t) && isNumber(u):
				if u.Kind == algebra.Decimal {
					t.Kind = algebra.Decimal
				}
				t.Scale = max(t.Scale, u.Scale)
			case t != u:
				return t, nil, d.refuse("EXPRESSION_TYPES", o.off)
			}
		}
	}
	if t.Kind == "" {
		return t, nil, d.refuse("EXPRESSION_UNTYPED", list[0].off)
	}
	var out []algebra.Expr
	for _, o := range list {
		e, r := d.as(o, t)
		if r != nil {
			return t, nil, r
		}
		out = append(out, e)
	}
	return t, out, nil
}

// operandOf reads an expression or a literal.
func (d *decoder) operandOf(e object) (operand, *policies.Reason) {
	off := offset(e)
	if isLiteral(e) {
		lit, r := d.literal(e)
		return operand{lit: &lit, off: off}, r
	}
	x, r := d.expr(e)
	return operand{expr: x, off: off}, r
}

func (d *decoder) operands(list []any) ([]operand, *policies.Reason) {
	var out []operand
	for _, item := range list {
		o, r := d.operandOf(d.asObject(item))
		if r != nil {
			return nil, r
		}
		out = append(out, o)
	}
	return out, nil
}

// expr reads a scalar expression over columns.
func (d *decoder) expr(e object) (algebra.Expr, *policies.Reason) {
	nothing := algebra.Expr{}
	off := offset(e)
	switch d.str(e, "class") {
	case "COLUMN_REF":
		col, r := d.column(e)
		return d.exprOf(col), r
	case "CASE":
		return d.caseExpr(e)
	case "OPERATOR":
		if e["type"] != "OPERATOR_COALESCE" {
			return nothing, d.refuseExpression(e, "EXPRESSION")
		}
		if r := d.only(e, "children"); r != nil {
			return nothing, r
		}
		list, r := d.operands(d.list(e, "children"))
		if r != nil {
			return nothing, r
		}
		if len(list) < 2 {
			return nothing, d.refuse("EXPRESSION", off)
		}
		t, args, r := d.common(list)
		return algebra.Expr{Op: algebra.ExprCoalesce, Type: t, Args: args}, r
	case "FUNCTION":
		return d.call(e)
	}
	if isLiteral(e) {
		lit, r := d.literal(e)
		if r != nil {
			return nothing, r
		}
		o := operand{lit: &lit, off: off}
		t, ok := o.typ()
		if !ok {
			return nothing, d.refuse("EXPRESSION_UNTYPED", off)
		}
		return d.as(o, t)
	}
	return nothing, d.refuseExpression(e, "EXPRESSION")
}

func (d *decoder) caseExpr(e object) (algebra.Expr, *policies.Reason) {
	nothing := algebra.Expr{}
	if r := d.only(e, "case_checks", "else_expr"); r != nil {
		return nothing, r
	}
	var conditions []algebra.Pred
	var values []operand
	for _, item := range d.list(e, "case_checks") {
		check := d.asObject(item)
		if r := d.only(check, "when_expr", "then_expr"); r != nil {
			return nothing, r
		}
		c, r := d.condition(d.obj(check, "when_expr"), d.whereTerm)
		if r != nil {
			return nothing, r
		}
		then, r := d.operandOf(d.obj(check, "then_expr"))
		if r != nil {
			return nothing, r
		}
		conditions, values = append(conditions, c.pred()), append(values, then)
	}
	if len(values) == 0 {
		return nothing, reason("ANALYSER")
	}
	if e["else_expr"] != nil {
		other, r := d.operandOf(d.obj(e, "else_expr"))
		if r != nil {
			return nothing, r
		}
		values = append(values, other)
	}
	t, exprs, r := d.common(values)
	if r != nil {
		return nothing, r
	}
	out := algebra.Expr{Op: algebra.ExprCase, Type: t}
	for i, c := range conditions {
		out.Whens = append(out.Whens, algebra.When{If: c, Then: exprs[i]})
	}
	if len(exprs) > len(conditions) {
		other := exprs[len(conditions)]
		out.Else = &other
	}
	return out, nil
}

// call reads a scalar function or an operator.
func (d *decoder) call(e object) (algebra.Expr, *policies.Reason) {
	nothing := algebra.Expr{}
	off := offset(e)
	name := lowered(d.str(e, "function_name"))
	list := d.list(e, "children")
	want := scalars[name]
	switch {
	case isAggregate(name):
		return nothing, d.refuse("AGGREGATE_NESTED", off, name)
	case want == 0:
		return nothing, d.refuseFunction(e)
	case d.str(e, "schema") != "" && !(name == "date_part" && e["schema"] == "main") || d.str(e, "catalog") != "":
		return nothing, d.refuse("QUALIFIED_NAME", off)
	case e["filter"] != nil || d.flag(e, "distinct") || d.flag(e, "export_state") || len(d.list(d.inner(e, "order_bys", "orders"), "orders")) > 0:
		return nothing, d.refuse("FILTER_CLAUSE", off)
	}
	if r := d.only(e, "function_name", "schema", "children", "distinct", "filter", "order_bys", "is_operator"); r != nil {
		return nothing, r
	}
	sign := len(list) == 1 && (name == "-" || name == "+")
	if len(list) != want && !sign {
		return nothing, d.refuse("ARGUMENTS", off, name)
	}
	if name == "date_part" || name == "datepart" {
		return d.namedPart(list)
	}
	args, r := d.operands(list)
	if r != nil {
		return nothing, r
	}
	switch name {
	case "year", "quarter", "month", "day", "dayofmonth", "isodow":
		return d.part(name, args[0])
	case "bin":
		x := args[0].expr
		if x.Op != algebra.ExprCol || x.Type.Kind == algebra.Text || x.Type.Kind == algebra.Bool {
			return nothing, d.refuse("BIN", args[0].off)
		}
		return algebra.Expr{Op: algebra.ExprBin, Type: x.Type, Args: []algebra.Expr{x}}, nil
	case "//", "%", "mod":
		return d.quotient(name, args)
	case "*":
		return d.product(args)
	}
	if name == "+" || name == "-" {
		if !sign {
			return d.sum(name, args)
		}
		if name == "-" {
			return d.product([]operand{{lit: &literal{kind: litNumber, number: big.NewRat(-1, 1)}, off: off}, args[0]})
		}
	}
	t, exprs, r := d.common(args) // + x, abs x
	if r != nil {
		return nothing, r
	}
	if !isNumber(t) {
		return nothing, d.refuse("EXPRESSION_TYPES", args[0].off)
	}
	if name == "+" {
		return exprs[0], nil
	}
	return algebra.Expr{Op: algebra.ExprAbs, Type: t, Args: exprs}, nil
}

// namedPart reads date_part('month', d) and EXTRACT(month FROM d).
func (d *decoder) namedPart(list []any) (algebra.Expr, *policies.Reason) {
	first := d.asObject(list[0])
	lit, r := literal{}, (*policies.Reason)(nil)
	if first["class"] != "CONSTANT" {
		return algebra.Expr{}, d.refuse("DATE_PART", offset(first))
	}
	if lit, r = d.literal(first); r != nil {
		return algebra.Expr{}, r
	}
	arg, r := d.operandOf(d.asObject(list[1]))
	if r != nil {
		return algebra.Expr{}, r
	}
	return d.part(lowered(lit.s), arg)
}

func (d *decoder) part(name string, arg operand) (algebra.Expr, *policies.Reason) {
	if name == "dayofmonth" {
		name = "day"
	}
	if !slices.Contains(algebra.DateParts, name) {
		return algebra.Expr{}, d.refuse("DATE_PART", arg.off)
	}
	x, r := d.as(arg, dateType)
	if r != nil {
		return algebra.Expr{}, d.refuse("DATE_PART", arg.off)
	}
	return algebra.Expr{Op: algebra.ExprPart, Type: intType, Args: []algebra.Expr{x}, Part: name}, nil
}

func (d *decoder) quotient(name string, args []operand) (algebra.Expr, *policies.Reason) {
	op := algebra.ExprMod
	if name == "//" {
		op = algebra.ExprDiv
	}
	x, r := d.as(args[0], intType)
	if r != nil {
		return algebra.Expr{}, d.refuse("DIVISION", args[0].off)
	}
	by, r := d.as(args[1], intType)
	if r != nil || by.Op != algebra.ExprLit || by.Value.Null || by.Value.I < 1 {
		return algebra.Expr{}, d.refuse("DIVISION", args[1].off)
	}
	return algebra.Expr{Op: op, Type: intType, Args: []algebra.Expr{x, by}}, nil
}

func (d *decoder) product(args []operand) (algebra.Expr, *policies.Reason) {
	var exprs []algebra.Expr
	t := intType
	for _, a := range args {
		u, ok := a.typ()
		if !ok {
			u = intType // NULL, or a parameter: a whole number
		}
		if !isNumber(u) {
			return algebra.Expr{}, d.refuse("EXPRESSION_TYPES", a.off)
		}
		x, r := d.as(a, u)
		if r != nil {
			return algebra.Expr{}, r
		}
		if u.Kind == algebra.Decimal {
			t.Kind = algebra.Decimal
		}
		t.Scale += u.Scale
		exprs = append(exprs, x)
	}
	if t.Scale > 9 {
		return algebra.Expr{}, d.refuse("EXPRESSION_SCALE", args[0].off)
	}
	return algebra.Expr{Op: algebra.ExprMul, Type: t, Args: exprs}, nil
}

// sum reads a + b and a − b of numbers, and of dates and days.
func (d *decoder) sum(name string, args []operand) (algebra.Expr, *policies.Reason) {
	op := algebra.ExprAdd
	if name == "-" {
		op = algebra.ExprSub
	}
	isDate := func(o operand) bool {
		t, ok := o.typ()
		return ok && t.Kind == algebra.Date
	}
	a, b := args[0], args[1]
	if op == algebra.ExprAdd && isDate(b) && !isDate(a) {
		a, b = b, a
	}
	if isDate(a) || isDate(b) {
		right, out := intType, dateType
		if op == algebra.ExprSub && (isDate(b) || b.lit != nil && b.lit.kind == litText) {
			right, out = dateType, intType
		}
		x, r := d.as(a, dateType)
		if r != nil {
			return algebra.Expr{}, r
		}
		y, r := d.as(b, right)
		return algebra.Expr{Op: op, Type: out, Args: []algebra.Expr{x, y}}, r
	}
	t, exprs, r := d.common(args)
	if r == nil && !isNumber(t) {
		r = d.refuse("EXPRESSION_TYPES", a.off)
	}
	return algebra.Expr{Op: op, Type: t, Args: exprs}, r
}

// exprOf is the expression of a column: what defines it, when it is derived.
func (d *decoder) exprOf(col algebra.Col) algebra.Expr {
	if i, ok := col.Derived(); ok && i < len(d.out.core.Derived) {
		return d.out.core.Derived[i]
	}
	return algebra.Expr{Op: algebra.ExprCol, Type: col.Type, Col: &col}
}

// columnOf is the column of an expression, which becomes a derived one once.
func (d *decoder) columnOf(e algebra.Expr) algebra.Col {
	if e.Op == algebra.ExprCol {
		return *e.Col
	}
	list := &d.out.core.Derived
	i := slices.IndexFunc(*list, func(o algebra.Expr) bool { return reflect.DeepEqual(o, e) })
	if i < 0 {
		i = len(*list)
		if i > algebra.MaxDerived {
			i-- // refused as too large at the end: no need to compare any more
		} else {
			*list = append(*list, e)
		}
	}
	return algebra.DerivedCol(i, e.Type)
}

// scalar reads an expression as a column, with the name a reader knows it by.
func (d *decoder) scalar(e object) (term, *policies.Reason) {
	x, r := d.expr(e)
	if r != nil {
		return term{}, r
	}
	col := d.columnOf(x)
	return term{col: col, typ: col.Type, name: d.exprName(col)}, nil
}

// exprName is what an expression without alias is called.
func (d *decoder) exprName(col algebra.Col) string {
	i, ok := col.Derived()
	if !ok {
		if j, per := algebra.PerUnitIndex(col.Name); per && col.Table < len(d.scope.tables) && d.scope.tables[col.Table].table.PerUnit != nil {
			for _, c := range d.scope.tables[col.Table].columns {
				if k, _ := algebra.PerUnitIndex(c.col.Name); !c.unit && k == j {
					return c.name
				}
			}
		}
		return col.Name
	}
	e := d.out.core.Derived[i]
	inner := "…"
	if len(e.Args) == 1 && e.Args[0].Op == algebra.ExprCol {
		inner = e.Args[0].Col.Name
	}
	switch e.Op {
	case algebra.ExprPart:
		return e.Part + "(" + inner + ")"
	case algebra.ExprBin, algebra.ExprAbs:
		return string(e.Op) + "(" + inner + ")"
	case algebra.ExprCase, algebra.ExprCoalesce:
		return string(e.Op)
	}
	return "expression"
}
