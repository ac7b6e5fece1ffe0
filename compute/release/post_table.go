package release

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// Table is released values as a relation for an operator's own SQL. Only this
// package makes one, and only from a Release: whatever takes Tables and nothing
// else works on released values. Beside each estimate stand its bounds, <name>_lo
// and <name>_hi, unless another column has that name; a withheld estimate and its
// bounds are NULL. A Table is immutable.
type Table struct {
	schema, name string
	columns      []TableColumn
	rows         [][]*string
}

// TableColumn is a column of a Table. SQL is its type in the engine's spelling.
type TableColumn struct {
	Name string
	SQL  string
}

// Schema returns the schema the table stands in.
func (t *Table) Schema() string { return t.schema }

// Name returns the table's name in its schema.
func (t *Table) Name() string { return t.name }

// Columns returns a copy of the columns.
func (t *Table) Columns() []TableColumn { return append([]TableColumn(nil), t.columns...) }

// Len returns the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// Row returns the values of one row as text, nil for NULL. The slice is the
// table's own and must not be changed.
func (t *Table) Row(i int) []*string { return t.rows[i] }

// Empty returns the table without its rows: all that binding a statement needs.
func (t *Table) Empty() *Table { return &Table{schema: t.schema, name: t.name, columns: t.columns} }

// Shape describes the columns that a release of plan has after Apply with post,
// before it is made.
func Shape(plan *protect.Plan, post algebra.Post) ([]Column, error) {
	all := header(plan)
	var out []Column
	for _, o := range post.Outputs {
		if o.Ref < 0 || o.Ref >= len(all) {
			return nil, fmt.Errorf("failed to describe release: %w", errReference)
		}
		c := all[o.Ref]
		c.Name = o.Name
		out = append(out, c)
	}
	return out, nil
}

// EmptyTable is a Table of such columns and no rows.
func EmptyTable(schema, name string, columns []Column) (*Table, error) {
	return (&Release{derived: true, cols: columns}).Table(schema, name)
}

// Table returns the released values of a release that Apply made as a relation.
func (r *Release) Table(schema, name string) (*Table, error) {
	if !r.derived {
		return nil, errors.New("failed to make table: the release's columns have no names")
	}
	taken := map[string]bool{}
	for _, c := range r.cols {
		folded := strings.ToLower(c.Name)
		if taken[folded] || c.Name == "" {
			return nil, errors.New("failed to make table: a column name is empty or used twice")
		}
		taken[folded] = true
	}
	t := &Table{schema: schema, name: name}
	var pick []func([]value) *string
	for i, c := range r.cols {
		typ := c.Type
		t.columns = append(t.columns, TableColumn{c.Name, sqlType(c)})
		pick = append(pick, func(row []value) *string {
			if row[i].null() {
				return nil
			}
			s := format(row[i], typ)
			return &s
		})
		if c.Kind != KindEstimate {
			continue
		}
		for _, bound := range []struct {
			suffix string
			of     func(value) value
		}{
			{"_lo", func(v value) value { return value{num: v.lo} }},
			{"_hi", func(v value) value { return value{num: v.hi} }},
		} {
			if taken[strings.ToLower(c.Name+bound.suffix)] {
				continue
			}
			taken[strings.ToLower(c.Name+bound.suffix)] = true
			t.columns = append(t.columns, TableColumn{c.Name + bound.suffix, sqlType(c)})
			pick = append(pick, func(row []value) *string {
				v := bound.of(row[i])
				if v.null() {
					return nil
				}
				s := format(v, typ)
				return &s
			})
		}
	}
	for _, row := range r.rows {
		out := make([]*string, len(pick))
		for i, p := range pick {
			out[i] = p(row)
		}
		t.rows = append(t.rows, out)
	}
	return t, nil
}

// sqlType spells a column's type. Noise may carry a sum past 64 bits, so sums of
// integers are HUGEINT, as they are in SQL itself.
func sqlType(c Column) string {
	switch c.Type.Kind {
	case algebra.Bool:
		return "BOOLEAN"
	case algebra.Date:
		return "DATE"
	case algebra.Text:
		return "VARCHAR"
	case algebra.Decimal:
		width := 38
		if c.Kind == KindKey {
			width = 19
		}
		return fmt.Sprintf("DECIMAL(%d,%d)", width, c.Type.Scale)
	}
	if c.Func == algebra.Sum {
		return "HUGEINT"
	}
	return "BIGINT"
}
