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
	"slices"
	"strconv"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// Columns that ingest adds to a table with a privacy unit.
const (
	unitColumn = "_unit" // token of the unit
	rankColumn = "_rn"   // secret keyed rank of the row inside its unit, from 1
	// consentColumn holds the commitment to the unit's data subject, in tables that
	// are read only of units with a consent in force.
	consentColumn = "_consent"
)

// SQL renders the statement of plan. schemas are those of plan.Core.Datasets(), in
// that order (algebra.Core.SchemasOf); data set i is the database d<i>'s main.t. Where
// plan.Consenting(i), the subjects with a consent in force are g<i>'s main.t, and
// every scan of the data set is a semi-join with them.
//
// The result has the columns k0…, one per key; in exact mode with keys, grp,
// which is 0 for a cell and not 0 for the one total row; and m0…, one integer
// per measure (HUGEINT for sums). Without keys there is exactly one row, in
// exact mode at once the cell and the total. With keys there are at most
// MaxCells+1 rows, and the total in exact mode: a result with more than
// MaxCells cells is cut and must be refused by the reader. Grouping sets do not
// reach the statement: margins are added up from its cells.
//
// No expression of the statement can fail on a row, whatever the row holds
// within its stored type: arithmetic is done in 128 bits and gives NULL where the
// result leaves 64, which compute/protect rules out for rows within the
// registered bounds.
func SQL(plan *protect.Plan, schemas []algebra.Schema) (string, error) {
	if err := ready(plan, schemas); err != nil {
		return "", fmt.Errorf("failed to render plan: %w", err)
	}
	w := &writer{plan: plan, schemas: schemas, datasets: plan.Core.Datasets()}
	w.outer = newScope(plan.Grids, plan.Core.Derived, func(table int) string { return "t" + strconv.Itoa(table) })
	for _, t := range plan.Core.Tables {
		w.outer.datasets = append(w.outer.datasets, slices.Index(w.datasets, t.Dataset))
	}
	out, err := w.statement()
	if err != nil {
		return "", fmt.Errorf("failed to render plan: %w", err)
	}
	return out, nil
}

type writer struct {
	plan     *protect.Plan
	schemas  []algebra.Schema
	datasets []string
	outer    *scope
}

func (w *writer) statement() (string, error) {
	plan := w.plan
	exact := plan.Mode == protect.ModeExact && len(plan.Keys) > 0
	var keys, selected []string
	for i, k := range plan.Keys {
		text, err := w.outer.column(k.Col)
		if err != nil {
			return "", err
		}
		keys = append(keys, text)
		selected = append(selected, text+" AS k"+strconv.Itoa(i))
	}
	if exact {
		selected = append(selected, "GROUPING("+strings.Join(keys, ", ")+") AS grp")
	}
	for i, m := range plan.Measures {
		text, err := w.measure(m)
		if err != nil {
			return "", fmt.Errorf("measure %d: %w", i, err)
		}
		selected = append(selected, text+" AS m"+strconv.Itoa(i))
	}
	for i, l := range lists(plan) {
		text, err := w.listSQL(l)
		if err != nil {
			return "", fmt.Errorf("failed to render list %d: %w", i, err)
		}
		selected = append(selected, text+" AS "+listName(i))
	}
	from, err := w.from()
	if err != nil {
		return "", err
	}
	where, err := w.where()
	if err != nil {
		return "", err
	}
	if plan.Weight != 0 {
		from += " INNER JOIN " + w.weights(from, where) + " AS w ON t0." + unitColumn + " = w." + unitColumn
	}

	codes, err := w.codes(keys, !exact)
	if err != nil {
		return "", err
	}
	if exact {
		// The total must count the rows of registered codes only.
		for _, c := range codes {
			where = append(where, "("+c+")")
		}
	}
	out := "SELECT " + strings.Join(selected, ", ") + " FROM " + from + conjunction(" WHERE ", where)
	switch group := strings.Join(keys, ", "); {
	case exact:
		out += " GROUP BY GROUPING SETS ((" + group + "), ())"
	case len(keys) > 0:
		out += " GROUP BY " + group
		for i := range codes {
			// A condition on a key alone is moved below the aggregate by the
			// engine and costs three times the whole aggregate there; beside a
			// count, which is never negative, it stays with the groups.
			codes[i] = "(COUNT(*) < 0 OR " + codes[i] + ")"
		}
		out += conjunction(" HAVING ", codes)
	}
	if len(keys) > 0 {
		out += " LIMIT " + strconv.Itoa(rowLimit(plan))
	}
	if len(out) > maxStatement {
		return "", errors.New("statement is too long")
	}
	return out, nil
}

// maxStatement is the longest statement the analyser takes, in bytes.
const maxStatement = 512 << 10

func rowLimit(plan *protect.Plan) int {
	if plan.Mode == protect.ModeExact {
		return plan.MaxCells + 2
	}
	return plan.MaxCells + 1
}

func conjunction(word string, parts []string) string {
	if len(parts) == 0 {
		return ""
	}
	return word + strings.Join(parts, " AND ")
}

// from renders the fact table and its joins.
func (w *writer) from() (string, error) {
	out, err := w.table(0)
	if err != nil {
		return "", err
	}
	for _, j := range w.plan.Core.Joins {
		kind := " INNER JOIN "
		if j.Outer {
			kind = " LEFT JOIN "
		}
		table, err := w.table(j.Table)
		if err != nil {
			return "", err
		}
		out += kind + table + " ON "
		name := "t" + strconv.Itoa(j.Table)
		if !j.Unit {
			left, err := w.outer.column(j.Left)
			if err != nil {
				return "", err
			}
			out += left + " = " + name + "." + quoteName(j.Right.Name)
			continue
		}
		out += "t0." + unitColumn + " = " + name + "." + unitColumn
		t := w.plan.Core.Tables[j.Table]
		if rank := w.plan.Ranks[w.dataset(t.Dataset)]; t.PerUnit == nil && rank > 0 {
			out += " AND " + name + "." + rankColumn + " <= " + strconv.FormatInt(rank, 10)
		}
	}
	return out, nil
}

func (w *writer) dataset(id string) int { return slices.Index(w.datasets, id) }

// table renders table i: a data set, its rows per unit, or its partitions.
func (w *writer) table(i int) (string, error) {
	t := w.plan.Core.Tables[i]
	name := " AS t" + strconv.Itoa(i)
	switch {
	case t.PerUnit != nil:
		text, err := w.perUnit(t)
		return text + name, err
	case len(t.Parts) > 0:
		return w.parts(t) + name, nil
	}
	return w.stored(t.Dataset, "t"+strconv.Itoa(i)), nil
}

// perUnit aggregates a data set to one row per unit. Its sums are brought back to
// 64 bits, so that every column of the statement has the type of the algebra.
func (w *writer) perUnit(t algebra.Table) (string, error) {
	u := t.PerUnit
	s := newScope(w.plan.Grids, u.Derived, func(int) string { return "p" })
	s.datasets = []int{w.dataset(t.Dataset)}
	selected := []string{"p." + unitColumn}
	for i, a := range u.Aggs {
		text := "COUNT(*)"
		if a.Arg != nil {
			arg, err := s.column(*a.Arg)
			if err != nil {
				return "", err
			}
			switch a.Func {
			case algebra.CountCol:
				text = "COUNT(" + arg + ")"
			case algebra.Sum:
				text = "TRY_CAST(SUM(" + arg + ") AS BIGINT)"
			case algebra.Min:
				text = "MIN(" + arg + ")"
			case algebra.Max:
				text = "MAX(" + arg + ")"
			default:
				return "", errors.New("unknown value per unit")
			}
		}
		selected = append(selected, text+" AS "+algebra.PerUnitName(i))
	}
	var where []string
	if rank := w.plan.Ranks[w.dataset(t.Dataset)]; rank > 0 {
		where = append(where, "p."+rankColumn+" <= "+strconv.FormatInt(rank, 10))
	}
	if u.Where != nil {
		text, err := s.predicate(*u.Where)
		if err != nil {
			return "", err
		}
		where = append(where, text)
	}
	return "(SELECT " + strings.Join(selected, ", ") + " FROM " + w.stored(t.Dataset, "p") +
		conjunction(" WHERE ", where) + " GROUP BY p." + unitColumn + ")", nil
}

// parts unites the partitions of the fact table, each within its own rank bound.
func (w *writer) parts(t algebra.Table) string {
	columns := "p." + unitColumn + ", p." + rankColumn
	for _, name := range usedColumns(w.plan, 0) {
		columns += ", p." + quoteName(name)
	}
	var out []string
	for _, id := range append([]string{t.Dataset}, t.Parts...) {
		text := "SELECT " + columns + " FROM " + w.stored(id, "p")
		if rank := w.plan.Ranks[w.dataset(id)]; rank > 0 {
			text += " WHERE p." + rankColumn + " <= " + strconv.FormatInt(rank, 10)
		}
		out = append(out, text)
	}
	return "(" + strings.Join(out, " UNION ALL ") + ")"
}

// where renders the fact table's rank bound and the core's condition.
func (w *writer) where() ([]string, error) {
	var out []string
	fact := w.plan.Core.Tables[0]
	if rank := w.plan.Ranks[0]; rank > 0 && fact.PerUnit == nil && len(fact.Parts) == 0 {
		out = append(out, "t0."+rankColumn+" <= "+strconv.FormatInt(rank, 10))
	}
	if w.plan.Core.Where != nil {
		text, err := w.outer.predicate(*w.plan.Core.Where)
		if err != nil {
			return nil, fmt.Errorf("condition: %w", err)
		}
		out = append(out, text)
	}
	return out, nil
}

// weights gives each unit the weight of its rows. A join needs no more memory
// than the units, where a window over the rows would hold all of them, and takes
// the same time.
func (w *writer) weights(from string, where []string) string {
	m := strconv.FormatInt(w.plan.MaxRows, 10)
	return "(SELECT t0." + unitColumn + ", (" + strconv.FormatInt(w.plan.Weight*w.plan.MaxRows, 10) +
		" // GREATEST(" + m + ", COUNT(*))) AS w FROM " + from + conjunction(" WHERE ", where) + " GROUP BY t0." + unitColumn + ")"
}

// codes keeps unregistered values out of the result: a key's registered codes,
// and NULL where the column has it. The conditions stand without brackets.
func (w *writer) codes(keys []string, ofGroups bool) ([]string, error) {
	var out []string
	for i, k := range w.plan.Keys {
		if k.Codes == nil {
			continue
		}
		run := len(k.Codes)
		if ofGroups && run <= maxCompared && len(keys[i]) <= maxRepeated {
			run = codeRun
		}
		var some []string
		for codes := range slices.Chunk(k.Codes, max(run, 1)) {
			list, err := literals(k.Col.Type, codes)
			if err != nil {
				return nil, fmt.Errorf("codes of key %d: %w", i, err)
			}
			some = append(some, keys[i]+" IN ("+list+")")
		}
		if k.Nullable {
			some = append(some, keys[i]+" IS NULL")
		}
		if len(some) == 0 {
			return nil, fmt.Errorf("codes of key %d: empty code list", i)
		}
		out = append(out, strings.Join(some, " OR "))
	}
	return out, nil
}

// A list of five values or more is a join to the engine, which costs most of a
// millisecond however few groups there are: a tenth of a job over half a million
// rows. Runs of four are comparisons, and cheaper up to some hundred codes. A key
// that is a long expression is not written out so often.
const (
	codeRun     = 4
	maxCompared = 64
	maxRepeated = 128
)

// usedColumns lists the columns of a table that the plan reads, sorted.
func usedColumns(plan *protect.Plan, table int) []string {
	var out []string
	visit := func(c algebra.Col) {
		if c.Table == table && !slices.Contains(out, c.Name) {
			out = append(out, c.Name)
		}
	}
	core := plan.Core
	for _, j := range core.Joins {
		if !j.Unit {
			visit(j.Left)
		}
	}
	for _, e := range core.Derived {
		e.Each(visit, visit)
	}
	if core.Where != nil {
		core.Where.Each(visit)
	}
	for _, k := range core.Keys {
		visit(k)
	}
	for _, m := range plan.Measures {
		for _, c := range []*algebra.Col{m.Col, m.Col2} {
			if c != nil {
				visit(*c)
			}
		}
		if m.Filter != nil {
			m.Filter.Each(visit)
		}
	}
	slices.Sort(out)
	return out
}
