package analyse

import (
	"slices"
	"unicode/utf8"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// scope is what names may mean: the tables of FROM in order.
type scope struct {
	tables []scopeTable
}

// scopeTable is one table of FROM: a data set, or the columns that a sub-query or
// WITH makes of one.
type scopeTable struct {
	alias   string
	dataset string
	public  bool
	unique  []string
	columns []scopeColumn
	table   algebra.Table
	// where is the condition of an inlined sub-query.
	where *algebra.Pred
	// using lists the columns joined by USING: written bare, they mean the
	// column of the earlier table.
	using []string
	// firm says that every row has this table's unit: the fact table, and those
	// joined to it by the unit and INNER.
	firm bool
}

// scopeColumn is a name and what it means. The unit has no other meaning than to be
// counted, joined on and grouped by to one row per unit.
type scopeColumn struct {
	name string
	col  algebra.Col
	unit bool
	off  int // of the name in a join condition
}

// sameName compares names as the parser's engine does: ASCII letters without case.
func sameName(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	lower := func(c byte) byte {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		return c
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// column resolves a COLUMN_REF anywhere but in COUNT(DISTINCT …).
func (d *decoder) column(e object) (algebra.Col, *policies.Reason) {
	if r := d.only(e, "column_names"); r != nil {
		return algebra.Col{}, r
	}
	return d.columnIn(d.names(e, "column_names"), offset(e), 0, len(d.scope.tables))
}

// columnIn resolves names among the tables from…to-1.
func (d *decoder) columnIn(names []string, off, from, to int) (algebra.Col, *policies.Reason) {
	c, _, r := d.lookup(names, off, from, to)
	if r == nil && c.unit {
		return c.col, d.refuse("UNIT_COLUMN", off, c.name)
	}
	return c.col, r
}

// lookup resolves names without forbidding the unit column, and says in which table
// of the scope.
func (d *decoder) lookup(names []string, off, from, to int) (scopeColumn, int, *policies.Reason) {
	nothing := scopeColumn{}
	name, alias := "", ""
	switch len(names) {
	case 1:
		name = names[0]
	case 2:
		alias, name = names[0], names[1]
	default:
		return nothing, none, d.refuse("QUALIFIED_NAME", off)
	}
	var found []scopeColumn
	at := none
	known := false
	for i := from; i < to; i++ {
		t := d.scope.tables[i]
		if alias != "" && !sameName(alias, t.alias) {
			continue
		}
		known = true
		if alias == "" && len(found) > 0 && slices.ContainsFunc(t.using, func(u string) bool { return sameName(u, name) }) {
			continue
		}
		if c, ok := t.column(name); ok {
			found, at = append(found, c), i
		}
	}
	switch {
	case len(found) == 1:
		return found[0], at, nil
	case len(found) > 1:
		return nothing, none, d.refuse("AMBIGUOUS_COLUMN", off, found[0].name)
	case alias == "" && slices.ContainsFunc(d.scope.tables, func(t scopeTable) bool { return sameName(t.alias, name) }):
		return nothing, none, d.refuse("WHOLE_ROW", off, name)
	case !known:
		return nothing, none, d.refuse("UNKNOWN_TABLE", off, alias)
	}
	return nothing, none, d.refuse("UNKNOWN_COLUMN", off, name)
}

// column finds a name: as it is written, or else but for the case of its letters.
func (t scopeTable) column(name string) (scopeColumn, bool) {
	i := slices.IndexFunc(t.columns, func(c scopeColumn) bool { return c.name == name })
	if i < 0 {
		i = slices.IndexFunc(t.columns, func(c scopeColumn) bool { return sameName(c.name, name) })
	}
	if i < 0 {
		return scopeColumn{}, false
	}
	return t.columns[i], true
}

// alias reads the name an operator gives an output.
func (d *decoder) alias(e object) (string, *policies.Reason) {
	name := d.str(e, "alias")
	if utf8.RuneCountInString(name) > maxAlias {
		return "", d.refuse("NAME_TOO_LONG", offset(e))
	}
	return name, nil
}
