package analyse

import (
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// cte is one table of a WITH clause.
type cte struct {
	name string
	node object
	off  int
	used *bool
}

// sources is what a FROM may name: the data sets, and tables of WITH in front of them.
type sources struct {
	schemas []algebra.Schema
	ctes    []cte
}

// with adds the tables of a node's WITH clause; each sees those before it.
func (d *decoder) with(n object, env sources) (sources, *policies.Reason) {
	env.ctes = slices.Clone(env.ctes)
	for _, item := range d.list(d.inner(n, "cte_map", "map"), "map") {
		entry := d.asObject(item)
		value := d.inner(entry, "value", "aliases", "query", "materialized", "key_targets")
		node := d.obj(d.inner(value, "query", "node"), "node")
		name, off := d.str(entry, "key"), offset(node)
		if r := d.only(entry, "key", "value"); r != nil {
			return env, r
		}
		if aliases := value["aliases"]; !isDefault(aliases) {
			return env, d.refuse("COLUMN_ALIAS", off)
		}
		if !isDefault(value["key_targets"]) {
			return env, d.refuse("CTE", off, name)
		}
		d.str(value, "materialized") // a hint to the engine, which never sees it
		env.ctes = append(env.ctes, cte{name: name, node: node, off: off, used: new(bool)})
	}
	return env, nil
}

// allUsed refuses a table of WITH that nothing names: it was not read.
func (d *decoder) allUsed(env sources, from int) *policies.Reason {
	for _, c := range env.ctes[from:] {
		if c.node["type"] == "RECURSIVE_CTE_NODE" {
			return d.refuse("CTE_RECURSIVE", c.off)
		}
		if !*c.used {
			return d.refuse("CTE_UNUSED", c.off, c.name)
		}
	}
	return nil
}

// source reads one table of FROM, with columns of table at of the core.
func (d *decoder) source(t object, at int, env sources) (scopeTable, *policies.Reason) {
	kind := d.str(t, "type")
	nothing := scopeTable{}
	if t["sample"] != nil {
		return nothing, d.refuse("SAMPLE", offset(t))
	}
	code := "UNSUPPORTED"
	switch kind {
	case "BASE_TABLE":
		return d.baseTable(t, at, env)
	case "SUBQUERY":
		if r := d.only(t, "sample", "subquery", "column_name_alias"); r != nil {
			return nothing, r
		}
		if len(d.list(t, "column_name_alias")) > 0 {
			return nothing, d.refuse("COLUMN_ALIAS", offset(t))
		}
		out, r := d.subselect(d.obj(d.inner(t, "subquery", "node"), "node"), at, env)
		out.alias = d.str(t, "alias")
		return out, r
	case "EMPTY":
		return nothing, reason("NO_TABLE")
	case "JOIN":
		code = "JOIN_TYPE"
	case "SHOW_REF":
		code = "SHOW"
	case "PIVOT":
		code = "PIVOT"
	case "TABLE_FUNCTION":
		code = "TABLE_FUNCTION"
	case "EXPRESSION_LIST":
		code = "VALUES"
	}
	return nothing, d.refuse(code, offset(t))
}

func (d *decoder) baseTable(t object, at int, env sources) (scopeTable, *policies.Reason) {
	nothing := scopeTable{}
	off := offset(t)
	switch {
	case d.str(t, "schema_name") != "" || d.str(t, "catalog_name") != "":
		return nothing, d.refuse("QUALIFIED_NAME", off)
	case t["at_clause"] != nil:
		return nothing, d.refuse("TIME_TRAVEL", off)
	case len(d.list(t, "column_name_alias")) > 0:
		return nothing, d.refuse("COLUMN_ALIAS", off)
	}
	if r := d.only(t, "sample", "schema_name", "table_name", "catalog_name"); r != nil {
		return nothing, r
	}
	name, alias := d.str(t, "table_name"), d.str(t, "alias")
	for i, c := range slices.Backward(env.ctes) {
		if !sameName(c.name, name) {
			continue
		}
		*c.used = true
		env.ctes = env.ctes[:i]
		out, r := d.subselect(c.node, at, env)
		out.alias = alias
		if alias == "" {
			out.alias = c.name
		}
		return out, r
	}
	i := findSchema(env.schemas, name)
	if i < 0 {
		return nothing, d.refuse("UNKNOWN_TABLE", off, name)
	}
	s := env.schemas[i]
	if alias == "" {
		alias = s.Dataset
	}
	out := scopeTable{alias: alias, dataset: s.Dataset, public: s.Public, unique: s.Unique, table: algebra.Table{Dataset: s.Dataset}}
	for _, c := range s.Columns {
		out.columns = append(out.columns, scopeColumn{name: c.Name, col: algebra.Col{Table: at, Name: c.Name, Type: c.Type}, unit: s.Unit != "" && sameName(s.Unit, c.Name)})
	}
	// The unit column need not be stored under its name; only its token is.
	if _, listed := out.column(s.Unit); s.Unit != "" && !listed {
		out.columns = append(out.columns, scopeColumn{name: s.Unit, unit: true})
	}
	return out, nil
}

func findSchema(schemas []algebra.Schema, name string) int {
	if i := slices.IndexFunc(schemas, func(s algebra.Schema) bool { return s.Dataset == name }); i >= 0 {
		return i
	}
	return slices.IndexFunc(schemas, func(s algebra.Schema) bool { return sameName(s.Dataset, name) })
}

// frame is the state of one SELECT.
type frame struct {
	scope scope
	out   query
}

// enter starts a SELECT over one table and returns what leave restores.
func (d *decoder) enter(t scopeTable) frame {
	old := frame{d.scope, d.out}
	d.scope, d.out = scope{tables: []scopeTable{t}}, query{}
	return old
}

func (d *decoder) leave(old frame) { d.scope, d.out = old.scope, old.out }

// subselect reads a sub-query of FROM or a table of WITH: columns and a condition
// of one table, one row per unit of one, or partitions one after another.
func (d *decoder) subselect(n object, at int, env sources) (scopeTable, *policies.Reason) {
	nothing := scopeTable{}
	switch d.str(n, "type") {
	case "SELECT_NODE":
	case "SET_OPERATION_NODE":
		return d.union(n, at, env)
	case "RECURSIVE_CTE_NODE":
		return nothing, d.refuse("CTE_RECURSIVE", offset(n))
	default:
		return nothing, d.refuse("SUBQUERY_SHAPE", offset(n))
	}
	if r := d.only(n, "from_table", "cte_map", "modifiers", "select_list", "where_clause", "group_expressions",
		"group_sets", "aggregate_handling", "having", "sample", "qualify"); r != nil {
		return nothing, r
	}
	switch {
	case n["sample"] != nil:
		return nothing, d.refuse("SAMPLE", offset(n["sample"]))
	case n["qualify"] != nil:
		return nothing, d.refuse("WINDOW_IN_CORE", offset(n["qualify"]))
	case n["having"] != nil:
		return nothing, d.refuse("SUBQUERY_HAVING", offset(n["having"]))
	case len(d.list(n, "modifiers")) > 0 || d.str(n, "aggregate_handling") != "STANDARD_HANDLING":
		return nothing, d.refuse("SUBQUERY_SHAPE", offset(n["select_list"]))
	}
	before := len(env.ctes)
	env, r := d.with(n, env)
	if r != nil {
		return nothing, r
	}
	groups := d.list(n, "group_expressions")
	sets := d.list(n, "group_sets")
	if len(groups) > 0 {
		at = 0 // inside, the data set stands alone
	}
	from, r := d.source(d.obj(n, "from_table"), at, env)
	if r != nil {
		return nothing, r
	}
	if r := d.allUsed(env, before); r != nil {
		return nothing, r
	}
	old := d.enter(from)
	defer d.leave(old)
	if n["where_clause"] != nil {
		c, r := d.condition(d.obj(n, "where_clause"), d.whereTerm)
		if r != nil {
			return nothing, r
		}
		where := c.pred()
		from.where = both(from.where, &where)
	}
	if len(groups) > 0 || len(sets) > 0 {
		return d.perUnit(n, from, groups, sets)
	}
	if len(d.out.core.Derived) > 0 {
		return nothing, d.refuse("SUBQUERY_EXPRESSION", offset(n["where_clause"]))
	}
	columns, r := d.renamed(n)
	from.columns = columns
	return from, r
}

func both(a, b *algebra.Pred) *algebra.Pred {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	return &algebra.Pred{Op: algebra.OpAnd, Args: []algebra.Pred{*a, *b}}
}

// renamed reads a SELECT list of bare columns.
func (d *decoder) renamed(n object) ([]scopeColumn, *policies.Reason) {
	var out []scopeColumn
	for _, item := range d.list(n, "select_list") {
		e := d.asObject(item)
		if e["class"] != "COLUMN_REF" {
			return nil, d.refuseItem(e, "SUBQUERY_EXPRESSION")
		}
		if r := d.only(e, "column_names"); r != nil {
			return nil, r
		}
		c, _, r := d.lookup(d.names(e, "column_names"), offset(e), 0, 1)
		if r != nil {
			return nil, r
		}
		if out, r = d.expose(out, c, e); r != nil {
			return nil, r
		}
	}
	return out, nil
}

// refuseItem names an item that a sub-query's SELECT list cannot have.
func (d *decoder) refuseItem(e object, otherwise string) *policies.Reason {
	if class := e["class"]; class == "STAR" || class == "WINDOW" || class == "SUBQUERY" || class == "CAST" {
		return d.refuseExpression(e, otherwise)
	}
	if name, _ := e["function_name"].(string); e["class"] == "FUNCTION" && !isAggregate(lowered(name)) && !isScalar(lowered(name)) {
		return d.refuseFunction(e)
	}
	return d.refuse(otherwise, offset(e))
}

// expose adds a column under the alias of e, or under its own name.
func (d *decoder) expose(out []scopeColumn, c scopeColumn, e object) ([]scopeColumn, *policies.Reason) {
	alias, r := d.alias(e)
	if r != nil {
		return nil, r
	}
	if alias != "" {
		c.name = alias
	}
	if slices.ContainsFunc(out, func(o scopeColumn) bool { return sameName(o.name, c.name) }) {
		return nil, d.refuse("DUPLICATE_NAME", offset(e), c.name)
	}
	return append(out, c), nil
}

// perUnit reads SELECT unit, values FROM one data set … GROUP BY unit, inside the
// frame of that data set. Columns are those of table 0; join and from move them.
func (d *decoder) perUnit(n object, from scopeTable, groups, sets []any) (scopeTable, *policies.Reason) {
	nothing := scopeTable{}
	off := offset(n["group_expressions"])
	if from.public || from.table.PerUnit != nil || len(from.table.Parts) > 0 {
		return nothing, d.refuse("PER_UNIT", off)
	}
	if len(groups) != 1 || len(sets) != 1 {
		return nothing, d.refuse("PER_UNIT", off)
	}
	if set, ok := sets[0].([]any); !ok || len(set) != 1 {
		return nothing, d.refuse("PER_UNIT", off)
	}
	list := d.list(n, "select_list")
	group, r := d.groupItem(d.asObject(groups[0]), list)
	if r != nil {
		return nothing, r
	}
	isUnit := func(e object) bool {
		if e["class"] != "COLUMN_REF" {
			return false
		}
		c, _, r := d.lookup(d.names(e, "column_names"), offset(e), 0, 1)
		return r == nil && c.unit
	}
	if !isUnit(group) {
		return nothing, d.refuse("PER_UNIT", off)
	}
	unit := &algebra.PerUnit{Where: from.where}
	from.where = nil
	var columns []scopeColumn
	for _, item := range list {
		e := d.asObject(item)
		var c scopeColumn
		if isUnit(e) {
			if r := d.only(e, "column_names"); r != nil {
				return nothing, r
			}
			c, _, r = d.lookup(d.names(e, "column_names"), offset(e), 0, 1)
		} else {
			c, r = d.unitValue(e, unit)
		}
		if r != nil {
			return nothing, r
		}
		if columns, r = d.expose(columns, c, e); r != nil {
			return nothing, r
		}
	}
	if len(unit.Aggs) == 0 {
		unit.Aggs = []algebra.Agg{{Func: algebra.CountRows}}
	}
	unit.Derived = d.out.core.Derived
	from.columns, from.table.PerUnit, from.unique = columns, unit, nil
	return from, nil
}

// unitValue reads one aggregate of a PerUnit.
func (d *decoder) unitValue(e object, unit *algebra.PerUnit) (scopeColumn, *policies.Reason) {
	nothing := scopeColumn{}
	name, _ := e["function_name"].(string)
	if e["class"] != "FUNCTION" || !isAggregate(lowered(name)) {
		return nothing, d.refuseItem(e, "PER_UNIT_LIST")
	}
	a, r := d.aggregateCall(e)
	if r != nil {
		return nothing, r
	}
	switch a.Func {
	case algebra.CountRows, algebra.CountCol, algebra.Sum, algebra.Min, algebra.Max:
	default:
		return nothing, d.refuse("PER_UNIT_AGGREGATE", offset(e), lowered(name))
	}
	if a.Filter != nil {
		a = d.caseOfFilter(a)
	}
	typ := algebra.Type{Kind: algebra.Int}
	if a.Func != algebra.CountRows && a.Func != algebra.CountCol {
		typ = a.Arg.Type
	}
	unit.Aggs = append(unit.Aggs, a)
	if len(unit.Aggs) > algebra.MaxPerUnit {
		return nothing, d.refuse("TOO_LARGE", offset(e))
	}
	i := len(unit.Aggs) - 1
	return scopeColumn{name: d.aggregateName(a), col: algebra.Col{Name: algebra.PerUnitName(i), Type: typ}}, nil
}

// caseOfFilter writes FILTER as CASE: a value per unit has no filter.
func (d *decoder) caseOfFilter(a algebra.Agg) algebra.Agg {
	one := algebra.Value{Type: algebra.Type{Kind: algebra.Int}, I: 1}
	then := algebra.Expr{Op: algebra.ExprLit, Type: one.Type, Value: &one}
	if a.Arg != nil {
		then = d.exprOf(*a.Arg)
	}
	arg := d.columnOf(algebra.Expr{Op: algebra.ExprCase, Type: then.Type, Whens: []algebra.When{{If: *a.Filter, Then: then}}})
	if a.Func == algebra.CountRows {
		a.Func = algebra.CountCol
	}
	a.Arg, a.Filter = &arg, nil
	return a
}

// union reads partitions of one table, SELECT columns FROM a UNION ALL SELECT the
// same columns FROM b: they are read as one table.
func (d *decoder) union(n object, at int, env sources) (scopeTable, *policies.Reason) {
	nothing := scopeTable{}
	var parts []scopeTable
	var read func(n object) *policies.Reason
	read = func(n object) *policies.Reason {
		off := offset(n)
		switch d.str(n, "type") {
		case "SET_OPERATION_NODE":
			if r := d.only(n, "modifiers", "cte_map", "setop_type", "left", "right", "setop_all", "children"); r != nil {
				return r
			}
			if d.str(n, "setop_type") != "UNION" || !d.flag(n, "setop_all") || len(d.list(n, "modifiers")) > 0 ||
				len(d.list(d.inner(n, "cte_map", "map"), "map")) > 0 {
				return d.refuse("SET_OPERATION", off)
			}
			if n["children"] != nil {
				for _, c := range d.list(n, "children") {
					if r := read(d.asObject(c)); r != nil {
						return r
					}
				}
				return nil
			}
			if r := read(d.obj(n, "left")); r != nil {
				return r
			}
			return read(d.obj(n, "right"))
		case "SELECT_NODE":
		default:
			return d.refuse("SET_OPERATION", off)
		}
		// A part is a data set itself: WITH inside or around it would let a short
		// text name very many.
		part, r := d.subselect(n, at, sources{schemas: env.schemas})
		if r != nil {
			return r
		}
		switch {
		case part.public || part.table.PerUnit != nil || len(part.table.Parts) > 0 || part.where != nil:
			return d.refuse("UNION_PART", off)
		case slices.ContainsFunc(parts, func(p scopeTable) bool { return p.dataset == part.dataset }):
			return d.refuse("DUPLICATE_NAME", off, part.dataset)
		case len(parts) > algebra.MaxParts:
			return d.refuse("TOO_LARGE", off)
		}
		if len(parts) > 0 {
			same := slices.EqualFunc(parts[0].columns, part.columns, func(a, b scopeColumn) bool {
				return a.unit == b.unit && (a.unit || a.col == b.col)
			})
			if !same {
				return d.refuse("UNION_COLUMNS", off, part.dataset)
			}
		}
		parts = append(parts, part)
		return nil
	}
	if r := read(n); r != nil {
		return nothing, r
	}
	out := parts[0]
	for _, p := range parts[1:] {
		out.table.Parts = append(out.table.Parts, p.dataset)
	}
	return out, nil
}
