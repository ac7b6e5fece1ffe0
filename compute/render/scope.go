package render

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// scope renders columns, expressions and predicates of one SELECT: the statement
// itself or the inside of a pre-aggregation.
type scope struct {
	grids    []protect.Grid
	derived  []algebra.Expr
	alias    func(table int) string
	datasets []int // per table: its index in Core.Datasets()
	done     map[int]string
}

func newScope(grids []protect.Grid, derived []algebra.Expr, alias func(int) string) *scope {
	return &scope{grids: grids, derived: derived, alias: alias, done: map[int]string{}}
}

// column renders a column; a derived one is written out where it stands. All are
// closed: nothing beside them can take them apart.
func (s *scope) column(c algebra.Col) (string, error) {
	if c.Table != algebra.DerivedTable {
		return s.alias(c.Table) + "." + quoteName(c.Name), nil
	}
	i, ok := c.Derived()
	if !ok || i >= len(s.derived) {
		return "", errors.New("no such derived column")
	}
	if text, ok := s.done[i]; ok {
		return text, nil
	}
	text, err := s.expr(s.derived[i])
	if err == nil && len(text) > maxStatement {
		err = errors.New("statement is too long")
	}
	s.done[i] = text
	return text, err
}

func quoteName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// wide computes in 128 bits, where no operation on two 64-bit numbers overflows.
func wide(a, op, b string) string {
	return "TRY_CAST(CAST(" + a + " AS HUGEINT) " + op + " " + b + " AS BIGINT)"
}

const epoch = "DATE '1970-01-01'"

func (s *scope) expr(e algebra.Expr) (string, error) {
	switch e.Op {
	case algebra.ExprCol:
		return s.column(*e.Col)
	case algebra.ExprLit:
		return exprLiteral(*e.Value)
	case algebra.ExprCase:
		return s.cases(e)
	case algebra.ExprBin:
		return s.bin(e)
	}
	var args []string
	for _, a := range e.Args {
		text, err := s.expr(a)
		if err != nil {
			return "", err
		}
		args = append(args, text)
	}
	date := len(e.Args) > 0 && e.Args[0].Type.Kind == algebra.Date
	switch e.Op {
	case algebra.ExprAdd, algebra.ExprSub:
		op := map[algebra.ExprOp]string{algebra.ExprAdd: "+", algebra.ExprSub: "-"}[e.Op]
		switch {
		case date && e.Type.Kind == algebra.Date:
			// The engine's own addition fails beyond its calendar.
			return "make_date(TRY_CAST(CAST(date_diff('day', " + epoch + ", " + args[0] + ") AS HUGEINT) " + op + " " + args[1] + " AS INTEGER))", nil
		case date:
			return "date_diff('day', " + args[1] + ", " + args[0] + ")", nil
		}
		return wide(args[0], op, args[1]), nil
	case algebra.ExprMul:
		return wide(args[0], "*", args[1]), nil
	case algebra.ExprDiv, algebra.ExprMod:
		if d := e.Args[1].Value; d == nil || d.Null || d.I < 1 {
			return "", errors.New("a divisor is not a positive literal")
		}
		op := map[algebra.ExprOp]string{algebra.ExprDiv: " // ", algebra.ExprMod: " % "}[e.Op]
		return "(" + args[0] + op + args[1] + ")", nil
	case algebra.ExprScale:
		factor := "1"
		for range e.Type.Scale - e.Args[0].Type.Scale {
			factor += "0"
		}
		return wide(args[0], "*", factor), nil
	case algebra.ExprAbs:
		return "TRY_CAST(abs(CAST(" + args[0] + " AS HUGEINT)) AS BIGINT)", nil
	case algebra.ExprCoalesce:
		return "COALESCE(" + strings.Join(args, ", ") + ")", nil
	case algebra.ExprPart:
		if slices.Contains(algebra.DateParts, e.Part) {
			return e.Part + "(" + args[0] + ")", nil
		}
	}
	return "", errors.New("unknown expression")
}

func (s *scope) cases(e algebra.Expr) (string, error) {
	out := "CASE"
	for _, w := range e.Whens {
		condition, err := s.predicate(w.If)
		if err != nil {
			return "", err
		}
		then, err := s.expr(w.Then)
		if err != nil {
			return "", err
		}
		out += " WHEN " + condition + " THEN " + then
	}
	if e.Else != nil {
		other, err := s.expr(*e.Else)
		if err != nil {
			return "", err
		}
		out += " ELSE " + other
	}
	return out + " END", nil
}

// bin names the lower edge of a value's grid cell. What lies outside the grid
// counts in its first or last cell; NULL meets no branch.
func (s *scope) bin(e algebra.Expr) (string, error) {
	col := *e.Args[0].Col
	edges, err := s.grid(col)
	if err != nil {
		return "", err
	}
	x, err := s.column(col)
	if err != nil {
		return "", err
	}
	out := "CASE"
	for i := range len(edges) - 1 {
		op, at := " < ", i+1
		if i == len(edges)-2 {
			op, at = " >= ", i
		}
		bound, err := literal(col.Type, algebra.Value{Type: col.Type, I: edges[at]})
		if err != nil {
			return "", err
		}
		label, err := exprLiteral(algebra.Value{Type: col.Type, I: edges[i]})
		if err != nil {
			return "", err
		}
		if len(edges) == 2 {
			return "CASE WHEN " + x + " IS NOT NULL THEN " + label + " END", nil
		}
		out += " WHEN " + x + op + bound + " THEN " + label
	}
	return out + " END", nil
}

func (s *scope) grid(c algebra.Col) ([]int64, error) {
	if c.Table >= 0 && c.Table < len(s.datasets) {
		for _, g := range s.grids {
			if g.Dataset == s.datasets[c.Table] && g.Column == c.Name && len(g.Edges) >= 2 && ascending(g.Edges) {
				return g.Edges, nil
			}
		}
	}
	return nil, errors.New("a bin has no grid")
}

func ascending(edges []int64) bool {
	for i := range edges[1:] {
		if edges[i] >= edges[i+1] {
			return false
		}
	}
	return true
}

var operators = map[algebra.PredOp]string{
	algebra.OpEq: " = ", algebra.OpNe: " <> ", algebra.OpLt: " < ",
	algebra.OpLe: " <= ", algebra.OpGt: " > ", algebra.OpGe: " >= ",
}

func (s *scope) predicate(p algebra.Pred) (string, error) {
	switch p.Op {
	case algebra.OpAnd, algebra.OpOr:
		var parts []string
		for _, a := range p.Args {
			text, err := s.predicate(a)
			if err != nil {
				return "", err
			}
			parts = append(parts, text)
		}
		glue := " AND "
		if p.Op == algebra.OpOr {
			glue = " OR "
		}
		return "(" + strings.Join(parts, glue) + ")", nil
	case algebra.OpNot:
		text, err := s.predicate(p.Args[0])
		return "(NOT " + text + ")", err
	case algebra.OpConst:
		return literal(algebra.Type{Kind: algebra.Bool}, p.Values[0])
	}
	col, err := s.column(*p.Col)
	if err != nil {
		return "", err
	}
	switch p.Op {
	case algebra.OpIsNull:
		return "(" + col + " IS NULL)", nil
	case algebra.OpIn:
		list, err := literals(p.Col.Type, p.Values)
		return "(" + col + " IN (" + list + "))", err
	}
	op, ok := operators[p.Op]
	if !ok {
		return "", errors.New("unknown operator")
	}
	var right string
	if p.Other != nil {
		right, err = s.column(*p.Other)
	} else {
		right, err = literal(p.Col.Type, p.Values[0])
	}
	return "(" + col + op + right + ")", err
}

func literals(t algebra.Type, values []algebra.Value) (string, error) {
	var out []string
	for _, v := range values {
		text, err := literal(t, v)
		if err != nil {
			return "", err
		}
		out = append(out, text)
	}
	return strings.Join(out, ", "), nil
}

var storedAs = map[algebra.Kind]string{
	algebra.Bool: "BOOLEAN", algebra.Int: "BIGINT", algebra.Decimal: "BIGINT", algebra.Date: "DATE", algebra.Text: "VARCHAR",
}

// exprLiteral is a literal inside an expression. A number is given its stored
// type: the engine would compute with small literals in 32 bits.
func exprLiteral(v algebra.Value) (string, error) {
	kind, ok := storedAs[v.Type.Kind]
	if !ok {
		return "", errors.New("unknown type of literal")
	}
	if v.Null && v.I == 0 && v.S == "" && !v.Redacted {
		return "CAST(NULL AS " + kind + ")", nil
	}
	text, err := literal(v.Type, v)
	if kind == "BIGINT" {
		text = "CAST(" + text + " AS BIGINT)"
	}
	return text, err
}

func literal(t algebra.Type, v algebra.Value) (string, error) {
	if v.Type != t || v.Null || v.Redacted {
		return "", errors.New("literal is redacted, NULL or of another type")
	}
	switch t.Kind {
	case algebra.Bool:
		if v.I == 1 {
			return "TRUE", nil
		}
		return "FALSE", nil
	case algebra.Int, algebra.Decimal:
		return strconv.FormatInt(v.I, 10), nil
	case algebra.Date:
		if v.I < algebra.MinDate || v.I > algebra.MaxDate {
			return "", errors.New("date out of range")
		}
		return "DATE '" + time.Unix(v.I*86400, 0).UTC().Format("2006-01-02") + "'", nil
	case algebra.Text:
		if strings.ContainsRune(v.S, 0) || !utf8.ValidString(v.S) {
			return "", errors.New("text holds a NUL or is not UTF-8")
		}
		return "'" + strings.ReplaceAll(v.S, "'", "''") + "'", nil
	}
	return "", errors.New("unknown type of literal")
}
