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

type scopeTable struct {
	alias  string
	schema algebra.Schema
	// using lists the columns joined by USING: written bare, they mean the
	// column of the earlier table.
	using []string
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

// from reads the FROM clause into the scope, the core's tables and its joins.
func (d *decoder) from(n object, schemas []algebra.Schema) *policies.Reason {
	return d.tableRef(d.obj(n, "from_table"), schemas)
}

func (d *decoder) tableRef(t object, schemas []algebra.Schema) *policies.Reason {
	kind := d.str(t, "type")
	if t["sample"] != nil {
		return d.refuse("SAMPLE", offset(t))
	}
	switch kind {
	case "BASE_TABLE":
		return d.baseTable(t, schemas)
	case "JOIN":
		return d.join(t, schemas)
	case "EMPTY":
		return reason("NO_TABLE")
	case "SHOW_REF":
		return d.refuse("SHOW", offset(t))
	case "PIVOT":
		return d.refuse("PIVOT", offset(t))
	case "SUBQUERY":
		return d.refuse("SUBQUERY", offset(t))
	case "TABLE_FUNCTION":
		return d.refuse("TABLE_FUNCTION", offset(t))
	case "EXPRESSION_LIST":
		return d.refuse("VALUES", offset(t))
	}
	return d.refuse("UNSUPPORTED", offset(t))
}

func (d *decoder) baseTable(t object, schemas []algebra.Schema) *policies.Reason {
	off := offset(t)
	switch {
	case d.str(t, "schema_name") != "" || d.str(t, "catalog_name") != "":
		return d.refuse("QUALIFIED_NAME", off)
	case t["at_clause"] != nil:
		return d.refuse("TIME_TRAVEL", off)
	case len(d.list(t, "column_name_alias")) > 0:
		return d.refuse("COLUMN_ALIAS", off)
	}
	if r := d.only(t, "sample", "schema_name", "table_name", "catalog_name"); r != nil {
		return r
	}
	name, alias := d.str(t, "table_name"), d.str(t, "alias")
	i := findSchema(schemas, name)
	if i < 0 {
		return d.refuse("UNKNOWN_TABLE", off, name)
	}
	schema := schemas[i]
	if alias == "" {
		alias = schema.Dataset
	}
	if slices.ContainsFunc(d.scope.tables, func(s scopeTable) bool { return sameName(s.alias, alias) }) {
		return d.refuse("DUPLICATE_NAME", off, alias)
	}
	switch first := len(d.scope.tables) == 0; {
	case first && schema.Public:
		return d.refuse("PUBLIC_FACT", off, schema.Dataset)
	case !first && !schema.Public:
		return d.refuse("JOIN_NOT_PUBLIC", off, schema.Dataset)
	}
	d.scope.tables = append(d.scope.tables, scopeTable{alias: alias, schema: schema})
	d.out.core.Tables = append(d.out.core.Tables, algebra.Table{Dataset: schema.Dataset})
	return nil
}

func findSchema(schemas []algebra.Schema, name string) int {
	if i := slices.IndexFunc(schemas, func(s algebra.Schema) bool { return s.Dataset == name }); i >= 0 {
		return i
	}
	return slices.IndexFunc(schemas, func(s algebra.Schema) bool { return sameName(s.Dataset, name) })
}

func (d *decoder) join(t object, schemas []algebra.Schema) *policies.Reason {
	off := offset(t)
	left, right := d.obj(t, "left"), d.obj(t, "right")
	if r := d.tableRef(left, schemas); r != nil {
		return r
	}
	outer := false
	switch d.str(t, "join_type") {
	case "INNER":
	case "LEFT":
		outer = true
	default:
		return d.refuse("JOIN_TYPE", off)
	}
	if d.str(t, "ref_type") != "REGULAR" {
		return d.refuse("JOIN_TYPE", off)
	}
	if right["type"] == "JOIN" {
		return d.refuse("JOIN_TYPE", offset(right))
	}
	if r := d.tableRef(right, schemas); r != nil {
		return r
	}
	if r := d.only(t, "left", "right", "condition", "join_type", "ref_type", "using_columns"); r != nil {
		return r
	}
	at := len(d.scope.tables) - 1
	a, b, r := d.joinColumns(t, at)
	if r != nil {
		return r
	}
	if a.Table == at {
		a, b = b, a
	}
	schema := d.scope.tables[at].schema
	switch {
	case a.Table == at || b.Table != at:
		return d.refuse("JOIN_CONDITION", offset(t["condition"]))
	case !slices.Contains(schema.Unique, b.Name):
		return d.refuse("JOIN_NOT_UNIQUE_KEY", off, schema.Dataset)
	case a.Type != b.Type:
		return d.refuse("JOIN_TYPES", off)
	}
	d.out.core.Joins = append(d.out.core.Joins, algebra.Join{Table: at, Outer: outer, Left: a, Right: b})
	return nil
}

// joinColumns reads ON a = b or USING (a).
func (d *decoder) joinColumns(t object, at int) (a, b algebra.Col, r *policies.Reason) {
	off := offset(t)
	if using := d.names(t, "using_columns"); len(using) > 0 {
		if len(using) > 1 || t["condition"] != nil {
			return a, b, d.refuse("JOIN_CONDITION", off)
		}
		if a, r = d.columnIn(using, off, 0, at); r != nil {
			return a, b, r
		}
		if b, r = d.columnIn(using, off, at, at+1); r != nil {
			return a, b, r
		}
		d.scope.tables[at].using = append(d.scope.tables[at].using, b.Name)
		return a, b, nil
	}
	if t["condition"] == nil {
		return a, b, d.refuse("JOIN_CONDITION", off)
	}
	on := d.obj(t, "condition")
	l, _ := on["left"].(object)
	m, _ := on["right"].(object)
	if on["class"] != "COMPARISON" || on["type"] != "COMPARE_EQUAL" || l["class"] != "COLUMN_REF" || m["class"] != "COLUMN_REF" {
		return a, b, d.refuse("JOIN_CONDITION", offset(on))
	}
	if r = d.only(on, "left", "right"); r != nil {
		return a, b, r
	}
	if a, r = d.column(l); r != nil {
		return a, b, r
	}
	b, r = d.column(m)
	return a, b, r
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
	col, r := d.lookup(names, off, from, to)
	if r == nil && d.isUnit(col) {
		return col, d.refuse("UNIT_COLUMN", off, col.Name)
	}
	return col, r
}

func (d *decoder) isUnit(col algebra.Col) bool {
	unit := d.scope.tables[col.Table].schema.Unit
	return unit != "" && sameName(unit, col.Name)
}

// lookup resolves names without forbidding the unit column.
func (d *decoder) lookup(names []string, off, from, to int) (algebra.Col, *policies.Reason) {
	name, alias := "", ""
	switch len(names) {
	case 1:
		name = names[0]
	case 2:
		alias, name = names[0], names[1]
	default:
		return algebra.Col{}, d.refuse("QUALIFIED_NAME", off)
	}
	var found []algebra.Col
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
			c.Table = i
			found = append(found, c)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return algebra.Col{}, d.refuse("AMBIGUOUS_COLUMN", off, found[0].Name)
	case alias == "" && slices.ContainsFunc(d.scope.tables, func(t scopeTable) bool { return sameName(t.alias, name) }):
		return algebra.Col{}, d.refuse("WHOLE_ROW", off, name)
	case !known:
		return algebra.Col{}, d.refuse("UNKNOWN_TABLE", off, alias)
	}
	return algebra.Col{}, d.refuse("UNKNOWN_COLUMN", off, name)
}

func (t scopeTable) column(name string) (algebra.Col, bool) {
	match := func(same func(a, b string) bool) (algebra.Col, bool) {
		for _, c := range t.schema.Columns {
			if same(c.Name, name) {
				return algebra.Col{Name: c.Name, Type: c.Type}, true
			}
		}
		// The unit column need not be stored under its name; only its token is.
		if u := t.schema.Unit; u != "" && same(u, name) {
			return algebra.Col{Name: u}, true
		}
		return algebra.Col{}, false
	}
	if c, ok := match(func(a, b string) bool { return a == b }); ok {
		return c, true
	}
	return match(sameName)
}

// alias reads the name an operator gives an output.
func (d *decoder) alias(e object) (string, *policies.Reason) {
	name := d.str(e, "alias")
	if utf8.RuneCountInString(name) > maxAlias {
		return "", d.refuse("NAME_TOO_LONG", offset(e))
	}
	return name, nil
}
