package render

import (
	"errors"
	"math/big"
	"reflect"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// view is what one SELECT of a statement may name: its tables by alias with their
// columns, and the derived columns that stand written out in it.
type view struct {
	names    []string // aliases of the tables
	columns  [][]algebra.SchemaColumn
	datasets []int // per table: its index in Core.Datasets()
	grids    []protect.Grid

	// These make a core of a condition, to compare canonical forms.
	tables  []algebra.Table
	joins   []algebra.Join
	derived []algebra.Expr
	schemas []algebra.Schema

	// tried remembers which tree was compared with which derived column: a
	// condition names its columns by what they are, so each may be tried often.
	tried map[attempt]bool
}

type attempt struct {
	tree    uintptr
	derived int
}

// reference reads alias.name.
func (w *view) reference(v any) (int, string, error) {
	f, err := node(v, "COLUMN_REF", "COLUMN_REF", "column_names")
	if err != nil {
		return 0, "", err
	}
	parts := items(f[0])
	if len(parts) != 2 {
		return 0, "", errShape
	}
	name, _ := parts[1].(string)
	alias, _ := parts[0].(string)
	at := slices.Index(w.names, alias)
	if at < 0 || name == "" {
		return 0, "", errors.New("column of an unknown table")
	}
	return at, name, nil
}

// isHidden says whether v is a column that ingest added to a table.
func (w *view) isHidden(v any, table int, name string) bool {
	i, got, err := w.reference(v)
	return err == nil && i == table && got == name
}

func (w *view) stored(v any) (algebra.Col, error) {
	i, name, err := w.reference(v)
	if err != nil {
		return algebra.Col{}, err
	}
	for _, c := range w.columns[i] {
		if c.Name == name {
			return algebra.Col{Table: i, Name: name, Type: c.Type}, nil
		}
	}
	return algebra.Col{}, errors.New("unknown column")
}

var errColumn = errors.New("column is not the plan's")

// isColumn wants the column, written out when it is derived.
func (w *view) isColumn(v any, want algebra.Col) error {
	if i, ok := want.Derived(); ok {
		if i >= len(w.derived) || !w.isDerived(v, i) {
			return errColumn
		}
		return nil
	}
	got, err := w.stored(v)
	if err == nil && got != want {
		err = errColumn
	}
	return err
}

func (w *view) isDerived(v any, i int) bool {
	t, ok := v.(tree)
	if !ok {
		return false
	}
	key := attempt{reflect.ValueOf(t).Pointer(), i}
	if known, ok := w.tried[key]; ok {
		return known
	}
	if w.tried == nil {
		w.tried = map[attempt]bool{}
	}
	is := w.isExpr(v, w.derived[i]) == nil
	w.tried[key] = is
	return is
}

// column reads any column a condition can compare.
func (w *view) column(v any) (algebra.Col, error) {
	if t, _ := v.(tree); t["class"] == "COLUMN_REF" {
		return w.stored(v)
	}
	for i, e := range w.derived {
		if w.isDerived(v, i) {
			return algebra.Col{Table: algebra.DerivedTable, Name: "e" + big.NewInt(int64(i)).String(), Type: e.Type}, nil
		}
	}
	return algebra.Col{}, errors.New("not a column of the plan")
}

var errExpr = errors.New("expression is not the plan's")

// isExpr wants v to compute e.
func (w *view) isExpr(v any, e algebra.Expr) error {
	switch e.Op {
	case algebra.ExprCol:
		return w.isColumn(v, *e.Col)
	case algebra.ExprLit:
		return isLiteral(v, *e.Value)
	case algebra.ExprCase:
		return w.isCase(v, e)
	case algebra.ExprBin:
		return w.isBin(v, *e.Args[0].Col)
	case algebra.ExprCoalesce:
		f, err := node(v, "OPERATOR", "OPERATOR_COALESCE", "children")
		return w.areExprs(items(f2(f)), err, e.Args)
	case algebra.ExprPart:
		if !slices.Contains([]string{"year", "quarter", "month", "day", "isodow"}, e.Part) {
			return errExpr
		}
		args, err := call(v, e.Part, false, 1)
		return w.areExprs(args, err, e.Args)
	case algebra.ExprDiv, algebra.ExprMod:
		// A positive literal: nothing divides by zero, and −2⁶³ by −1 cannot be.
		if len(e.Args) != 2 || e.Args[1].Op != algebra.ExprLit || e.Args[1].Value.Null || e.Args[1].Value.I < 1 {
			return errExpr
		}
		args, err := call(v, map[algebra.ExprOp]string{algebra.ExprDiv: "//", algebra.ExprMod: "%"}[e.Op], true, 2)
		return w.areExprs(args, err, e.Args)
	}
	return w.isArithmetic(v, e)
}

func (w *view) areExprs(list []any, err error, want []algebra.Expr) error {
	if err != nil {
		return err
	}
	if len(list) != len(want) {
		return errExpr
	}
	for i, v := range list {
		if err := w.isExpr(v, want[i]); err != nil {
			return err
		}
	}
	return nil
}

// isArithmetic reads what is computed in 128 bits and brought back to 64.
func (w *view) isArithmetic(v any, e algebra.Expr) error {
	isDate := func(i int) bool { return e.Args[i].Type.Kind == algebra.Date }
	op := map[algebra.ExprOp]string{algebra.ExprAdd: "+", algebra.ExprSub: "-", algebra.ExprMul: "*", algebra.ExprScale: "*"}[e.Op]
	switch {
	case e.Op == algebra.ExprAbs:
		inner, ok := tryCast(v, "BIGINT")
		args, err := call(inner, "abs", false, 1)
		if !ok || err != nil {
			return errExpr
		}
		wide, ok := cast(args[0], "HUGEINT")
		if !ok {
			return errExpr
		}
		return w.isExpr(wide, e.Args[0])
	case op == "":
		return errExpr
	case e.Op == algebra.ExprSub && isDate(0) && isDate(1):
		return w.isDays(v, func(from any) error { return w.isExpr(from, e.Args[1]) }, e.Args[0])
	case e.Op != algebra.ExprScale && isDate(0):
		args, err := call(v, "make_date", false, 1)
		if err != nil {
			return err
		}
		inner, ok := tryCast(args[0], "INTEGER")
		first, second, err := wideCall(inner, op)
		if !ok || err != nil {
			return errExpr
		}
		epoch := func(v any) error {
			return isLiteral(v, algebra.Value{Type: algebra.Type{Kind: algebra.Date}})
		}
		if err := w.isDays(first, epoch, e.Args[0]); err != nil {
			return err
		}
		return w.isExpr(second, e.Args[1])
	}
	inner, ok := tryCast(v, "BIGINT")
	first, second, err := wideCall(inner, op)
	if !ok || err != nil {
		return errExpr
	}
	if err := w.isExpr(first, e.Args[0]); err != nil {
		return err
	}
	if e.Op == algebra.ExprScale {
		want := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(e.Type.Scale)-int64(e.Args[0].Type.Scale)), nil)
		if n, ok := constant(second); !ok || n.Cmp(want) != 0 {
			return errExpr
		}
		return nil
	}
	return w.isExpr(second, e.Args[1])
}

// wideCall reads CAST(first AS HUGEINT) op second.
func wideCall(v any, op string) (first, second any, err error) {
	args, err := call(v, op, true, 2)
	if err != nil {
		return nil, nil, err
	}
	first, ok := cast(args[0], "HUGEINT")
	if !ok {
		return nil, nil, errExpr
	}
	return first, args[1], nil
}

// isDays reads date_diff('day', from, to).
func (w *view) isDays(v any, from func(any) error, to algebra.Expr) error {
	args, err := call(v, "date_diff", false, 3)
	if err != nil {
		return err
	}
	if unit, ok := text(args[0]); !ok || unit != "day" {
		return errExpr
	}
	if err := from(args[1]); err != nil {
		return err
	}
	return w.isExpr(args[2], to)
}

// branches reads CASE: pairs of condition and result, and ELSE.
func branches(v any) ([][2]any, any, error) {
	f, err := node(v, "CASE", "CASE_EXPR", "case_checks", "else_expr")
	if err != nil {
		return nil, nil, err
	}
	var out [][2]any
	for _, c := range items(f[0]) {
		b, err := pick(c, "when_expr", "then_expr")
		if err != nil {
			return nil, nil, err
		}
		out = append(out, [2]any{b[0], b[1]})
	}
	return out, f[1], nil
}

func (w *view) isCase(v any, e algebra.Expr) error {
	list, other, err := branches(v)
	if err != nil {
		return err
	}
	if len(list) != len(e.Whens) {
		return errExpr
	}
	for i, when := range e.Whens {
		if err := w.isExpr(list[i][1], when.Then); err != nil {
			return err
		}
		if err := w.sameCondition([]any{list[i][0]}, &when.If); err != nil {
			return err
		}
	}
	if e.Else != nil {
		return w.isExpr(other, *e.Else)
	}
	if !isNull(other) {
		return errExpr
	}
	return nil
}

// isBin replays the branches over the grid: each must give the lower edge of the
// cells it is the first to catch.
func (w *view) isBin(v any, col algebra.Col) error {
	var edges []int64
	for _, g := range w.grids {
		if col.Table >= 0 && g.Dataset == w.datasets[col.Table] && g.Column == col.Name {
			edges = g.Edges
		}
	}
	list, other, err := branches(v)
	if err != nil || len(edges) < 2 || len(list) != len(edges)-1 || !isNull(other) {
		return errExpr
	}
	for i, b := range list {
		if i > 0 && edges[i] <= edges[i-1] {
			return errExpr
		}
		if err := isLiteral(b[1], algebra.Value{Type: col.Type, I: edges[i]}); err != nil {
			return err
		}
		if len(list) == 1 {
			f, err := node(b[0], "OPERATOR", "OPERATOR_IS_NOT_NULL", "children")
			if arg := items(f2(f)); err != nil || len(arg) != 1 || w.isColumn(arg[0], col) != nil {
				return errExpr
			}
			return nil
		}
		kind, bound := "COMPARE_LESSTHAN", edges[i+1]
		if i == len(list)-1 {
			kind, bound = "COMPARE_GREATERTHANOREQUALTO", edges[i]
		}
		if err := w.isComparison(b[0], kind, col, bound); err != nil {
			return err
		}
	}
	return nil
}

// isComparison reads col kind bound.
func (w *view) isComparison(v any, kind string, col algebra.Col, bound int64) error {
	f, err := node(v, "COMPARISON", kind, "left", "right")
	if err != nil {
		return err
	}
	if got, err := value(f[1], col.Type); err != nil || got.I != bound {
		return errExpr
	}
	return w.isColumn(f[0], col)
}

// isLiteral reads a literal inside an expression.
func isLiteral(v any, want algebra.Value) error {
	kind := map[algebra.Kind]string{algebra.Bool: "BOOLEAN", algebra.Int: "BIGINT", algebra.Decimal: "BIGINT", algebra.Date: "DATE", algebra.Text: "VARCHAR"}[want.Type.Kind]
	if want.Null {
		if inner, ok := cast(v, kind); !ok || !isNull(inner) {
			return errExpr
		}
		return nil
	}
	if kind == "BIGINT" {
		inner, ok := cast(v, kind)
		if !ok {
			return errExpr
		}
		v = inner
	}
	if got, err := value(v, want.Type); err != nil || got != want {
		return errExpr
	}
	return nil
}
