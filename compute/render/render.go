// Package render writes the one SQL statement an engine runs for a protected
// plan, and checks it again with other eyes. The statement comes from the plan
// alone; no text of an operator is in reach here. Both functions are pure and
// safe for concurrent use.
//
// Snapshots store columns of kind decimal as BIGINT minimal units (10^-Scale
// each), so every number in the statement is an integer.
package render

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// Columns that ingest adds to a table with a privacy unit.
const (
	unitColumn = "_unit" // token of the unit
	rankColumn = "_rn"   // secret keyed rank of the row inside its unit, from 1
)

// SQL renders the statement of plan. schemas are those of plan.Core.Tables, in
// that order (algebra.Core.SchemasOf); table i is the database d<i>'s main.t.
//
// The result has the columns k0…, one per key; in exact mode with keys, grp,
// which is 0 for a cell and not 0 for the one total row; and m0…, one integer
// per measure (HUGEINT for sums). Without keys there is exactly one row, in
// exact mode at once the cell and the total. With keys there are at most
// MaxCells+1 rows, and the total in exact mode: a result with more than
// MaxCells cells is cut and must be refused by the reader.
func SQL(plan *protect.Plan, schemas []algebra.Schema) (string, error) {
	if err := ready(plan, schemas); err != nil {
		return "", fmt.Errorf("failed to render plan: %w", err)
	}
	exact := plan.Mode == protect.ModeExact && len(plan.Keys) > 0

	var keys, selected []string
	for i, k := range plan.Keys {
		keys = append(keys, columnSQL(k.Col))
		selected = append(selected, keys[i]+" AS k"+strconv.Itoa(i))
	}
	if exact {
		selected = append(selected, "GROUPING("+strings.Join(keys, ", ")+") AS grp")
	}
	for i, m := range plan.Measures {
		text, err := measureSQL(m)
		if err != nil {
			return "", fmt.Errorf("failed to render measure %d: %w", i, err)
		}
		selected = append(selected, text+" AS m"+strconv.Itoa(i))
	}

	for i, l := range lists(plan) {
		text, err := listSQL(l)
		if err != nil {
			return "", fmt.Errorf("failed to render list %d: %w", i, err)
		}
		selected = append(selected, text+" AS "+listName(i))
	}

	from := "d0.main.t AS t0"
	for _, j := range plan.Core.Joins {
		kind, n := " INNER JOIN d", strconv.Itoa(j.Table)
		if j.Outer {
			kind = " LEFT JOIN d"
		}
		from += kind + n + ".main.t AS t" + n + " ON " + columnSQL(j.Left) + " = " + columnSQL(j.Right)
	}

	var where []string
	if !plan.OneRow {
		where = append(where, "t0."+rankColumn+" <= "+strconv.FormatInt(plan.MaxRows, 10))
	}
	if plan.Core.Where != nil {
		text, err := predicateSQL(*plan.Core.Where)
		if err != nil {
			return "", fmt.Errorf("failed to render condition: %w", err)
		}
		where = append(where, text)
	}
	for i, k := range plan.Keys {
		if k.Codes == nil {
			continue
		}
		text, err := codesSQL(k)
		if err != nil {
			return "", fmt.Errorf("failed to render codes of key %d: %w", i, err)
		}
		where = append(where, text)
	}

	out := "SELECT " + strings.Join(selected, ", ") + " FROM " + from
	if len(where) > 0 {
		out += " WHERE " + strings.Join(where, " AND ")
	}
	switch group := strings.Join(keys, ", "); {
	case exact:
		out += " GROUP BY GROUPING SETS ((" + group + "), ())"
	case len(keys) > 0:
		out += " GROUP BY " + group
	}
	if len(keys) > 0 {
		out += " LIMIT " + strconv.Itoa(rowLimit(plan))
	}
	return out, nil
}

// rowLimit leaves room to see that there are too many cells.
func rowLimit(plan *protect.Plan) int {
	if plan.Mode == protect.ModeExact {
		return plan.MaxCells + 2
	}
	return plan.MaxCells + 1
}

// ready checks what both directions rely on.
func ready(plan *protect.Plan, schemas []algebra.Schema) error {
	if plan == nil {
		return errors.New("no plan")
	}
	if err := plan.Core.Validate(schemas); err != nil {
		return err
	}
	if len(schemas) != len(plan.Core.Tables) {
		return errors.New("schemas do not match tables")
	}
	for i, s := range schemas {
		if s.Dataset != plan.Core.Tables[i].Dataset {
			return fmt.Errorf("schema %d is of another table", i)
		}
		for _, c := range s.Columns {
			if name := strings.ToLower(c.Name); name == unitColumn || name == rankColumn {
				return fmt.Errorf("schema %d has a column with a reserved name", i)
			}
		}
	}
	if plan.Mode != protect.ModeDP && plan.Mode != protect.ModeExact {
		return errors.New("unknown release mode")
	}
	if !plan.OneRow && (plan.MaxRows < 1 || plan.MaxRows > math.MaxInt32) {
		return errors.New("rows per unit are not bounded")
	}
	if len(plan.Keys) != len(plan.Core.Keys) || len(plan.Measures) == 0 {
		return errors.New("keys or measures are missing")
	}
	if len(plan.Keys) > 0 && plan.MaxCells < 1 {
		return errors.New("cells are not bounded")
	}
	for i, k := range plan.Keys {
		if k.Col != plan.Core.Keys[i] {
			return fmt.Errorf("key %d is not the core's", i)
		}
	}
	// A measure's column need not be the argument of one of the core's
	// aggregates, but it must be a number of one of its tables.
	var read []*algebra.Col
	for _, m := range plan.Measures {
		read = append(read, m.Col)
	}
	for _, l := range lists(plan) {
		read = append(read, l.Col)
	}
	for i, col := range read {
		if col == nil {
			continue
		}
		probe := algebra.Core{Tables: plan.Core.Tables, Joins: plan.Core.Joins,
			Aggs: []algebra.Agg{{Func: algebra.CountCol, Arg: col}}}
		if err := probe.Validate(schemas); err != nil {
			return fmt.Errorf("measure %d: %w", i, err)
		}
	}
	return nil
}

func columnSQL(c algebra.Col) string {
	return "t" + strconv.Itoa(c.Table) + "." + quoteName(c.Name)
}

func quoteName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// measure renders the exact partial of one measure. The clamp needs the FILTER:
// the engine's GREATEST and LEAST skip NULLs, so an absent value would else be
// summed as the lower bound. The offset is widened to 128 bits, because a
// product that overflows would be an error that depends on data.
func measureSQL(m protect.Measure) (string, error) {
	switch m.Kind {
	case protect.MeasureRows, protect.MeasureUnits:
		if m.Col != nil || m.Clamp != nil || m.Offset != 0 {
			return "", errors.New("a count takes no column")
		}
		if m.Kind == protect.MeasureUnits {
			return "COUNT(DISTINCT t0." + unitColumn + ")", nil
		}
		return "COUNT(*)", nil
	case protect.MeasureNonNull:
		if m.Col == nil || m.Clamp != nil || m.Offset != 0 {
			return "", errors.New("a non-null count takes a column only")
		}
		return "COUNT(" + columnSQL(*m.Col) + ")", nil
	case protect.MeasureSum:
		if m.Col == nil || m.Col.Type.Kind != algebra.Int && m.Col.Type.Kind != algebra.Decimal {
			return "", errors.New("a sum takes a number column")
		}
		col := columnSQL(*m.Col)
		sum := "SUM(" + col + ")"
		if m.Clamp != nil {
			if m.Clamp.Lo > m.Clamp.Hi {
				return "", errors.New("empty clamp")
			}
			sum = fmt.Sprintf("SUM(LEAST(GREATEST(%s, %d), %d)) FILTER (WHERE %s IS NOT NULL)", col, m.Clamp.Lo, m.Clamp.Hi, col)
		}
		sum = "COALESCE(" + sum + ", 0)"
		if m.Offset != 0 {
			sum += fmt.Sprintf(" - CAST(%d AS HUGEINT) * COUNT(%s)", m.Offset, col)
		}
		return sum, nil
	}
	return "", errors.New("unknown kind of measure")
}

// codes keeps unregistered values out of the result: a key's registered codes,
// and NULL where the column has it.
func codesSQL(k protect.Key) (string, error) {
	col := columnSQL(k.Col)
	var out string
	if len(k.Codes) > 0 {
		list, err := literalsSQL(k.Col.Type, k.Codes)
		if err != nil {
			return "", err
		}
		out = col + " IN (" + list + ")"
	}
	switch {
	case out == "" && k.Nullable:
		return col + " IS NULL", nil
	case out == "":
		return "", errors.New("empty code list")
	case k.Nullable:
		return "(" + out + " OR " + col + " IS NULL)", nil
	}
	return out, nil
}

var operators = map[algebra.PredOp]string{
	algebra.OpEq: " = ", algebra.OpNe: " <> ", algebra.OpLt: " < ",
	algebra.OpLe: " <= ", algebra.OpGt: " > ", algebra.OpGe: " >= ",
}

func predicateSQL(p algebra.Pred) (string, error) {
	switch p.Op {
	case algebra.OpAnd, algebra.OpOr:
		var parts []string
		for _, a := range p.Args {
			text, err := predicateSQL(a)
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
		text, err := predicateSQL(p.Args[0])
		return "(NOT " + text + ")", err
	case algebra.OpConst:
		return literalSQL(algebra.Type{Kind: algebra.Bool}, p.Values[0])
	case algebra.OpIsNull:
		return "(" + columnSQL(*p.Col) + " IS NULL)", nil
	case algebra.OpIn:
		list, err := literalsSQL(p.Col.Type, p.Values)
		return "(" + columnSQL(*p.Col) + " IN (" + list + "))", err
	}
	op, ok := operators[p.Op]
	if !ok {
		return "", errors.New("unknown operator")
	}
	if p.Other != nil {
		return "(" + columnSQL(*p.Col) + op + columnSQL(*p.Other) + ")", nil
	}
	text, err := literalSQL(p.Col.Type, p.Values[0])
	return "(" + columnSQL(*p.Col) + op + text + ")", err
}

func literalsSQL(t algebra.Type, values []algebra.Value) (string, error) {
	var out []string
	for _, v := range values {
		text, err := literalSQL(t, v)
		if err != nil {
			return "", err
		}
		out = append(out, text)
	}
	return strings.Join(out, ", "), nil
}

func literalSQL(t algebra.Type, v algebra.Value) (string, error) {
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
