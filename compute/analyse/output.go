package analyse

import (
	"slices"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// query is the query under construction. While it grows, references to
// aggregates are negative (^index): the number of keys in front of them is
// known only at the end.
type query struct {
	core    algebra.Core
	post    algebra.Post
	aliases map[string]term // aliases of the SELECT list, in lower case
	// aggregated says that the SELECT list has a function: a bare column beside
	// it was forgotten in GROUP BY, while one alone asks for raw rows.
	aggregated bool
}

// finish puts the references to aggregates behind the keys.
func (q *query) finish() algebra.Query {
	keys := len(q.core.Keys)
	move := func(ref int) int {
		if ref < 0 {
			return keys + ^ref
		}
		return ref
	}
	for i := range q.post.Outputs {
		q.post.Outputs[i].Ref = move(q.post.Outputs[i].Ref)
	}
	for i := range q.post.Order {
		q.post.Order[i].Ref = move(q.post.Order[i].Ref)
	}
	if q.post.Having != nil {
		moveHaving(q.post.Having, move)
	}
	return algebra.Query{Core: q.core, Post: q.post}
}

func moveHaving(p *algebra.PostPred, move func(int) int) {
	p.Ref = move(p.Ref)
	if p.Other != nil {
		other := move(*p.Other)
		p.Other = &other
	}
	for i := range p.Args {
		moveHaving(&p.Args[i], move)
	}
}

// term is one side of a comparison: a column in WHERE, a core output elsewhere.
type term struct {
	col  algebra.Col  // WHERE
	ref  int          // HAVING, ORDER BY: key index, or ^index of an aggregate
	typ  algebra.Type // of the compared values
	mean bool         // AVG: any decimal literal compares
	name string       // for messages
}

func lowered(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r | 0x20
		}
		return r
	}, name)
}

// selectList reads GROUP BY and the SELECT list.
func (d *decoder) selectList(n object) *policies.Reason {
	list := d.list(n, "select_list")
	d.out.aliases = map[string]term{}
	for _, item := range list {
		if e := d.asObject(item); e["class"] != "COLUMN_REF" && e["class"] != "FUNCTION" {
			return d.refuseExpression(e, "EXPRESSION")
		} else if e["class"] == "FUNCTION" {
			d.out.aggregated = true
		}
	}
	all := false
	switch d.str(n, "aggregate_handling") {
	case "STANDARD_HANDLING":
	case "FORCE_AGGREGATES": // GROUP BY ALL: every bare column is a key
		all = true
	default:
		return d.refuse("UNSUPPORTED", offset(n))
	}
	if r := d.groupBy(n, list); r != nil {
		return r
	}
	names := map[string]bool{}
	for _, item := range list {
		e := d.asObject(item)
		alias, r := d.alias(e)
		if r != nil {
			return r
		}
		var t term
		if e["class"] == "COLUMN_REF" {
			t, r = d.key(e, all)
		} else {
			t, r = d.aggregate(e)
		}
		if r != nil {
			return r
		}
		name := alias
		if alias != "" {
			d.out.aliases[lowered(alias)] = t
		} else {
			name = t.name
		}
		if names[lowered(name)] {
			return d.refuse("DUPLICATE_NAME", offset(e), name)
		}
		names[lowered(name)] = true
		d.out.post.Outputs = append(d.out.post.Outputs, algebra.Output{Ref: t.ref, Name: name})
	}
	return nil
}

// key resolves a bare column of the SELECT list.
func (d *decoder) key(e object, all bool) (term, *policies.Reason) {
	col, r := d.column(e)
	if r != nil {
		return term{}, r
	}
	i := slices.Index(d.out.core.Keys, col)
	if i < 0 && all {
		i = len(d.out.core.Keys)
		d.out.core.Keys = append(d.out.core.Keys, col)
	}
	if i < 0 {
		if len(d.out.core.Keys) == 0 && !d.out.aggregated {
			return term{}, d.refuse("RAW_ROWS", offset(e))
		}
		return term{}, d.refuse("NOT_A_KEY", offset(e), col.Name)
	}
	return term{ref: i, typ: col.Type, name: col.Name}, nil
}

// groupBy reads the keys: column names, or aliases of bare columns.
func (d *decoder) groupBy(n object, list []any) *policies.Reason {
	groups, sets := d.list(n, "group_expressions"), d.list(n, "group_sets")
	if len(groups) == 0 && len(sets) == 0 {
		return nil
	}
	if len(sets) != 1 {
		return d.refuse("GROUPING_SETS", offset(groups))
	}
	if set, ok := sets[0].([]any); !ok || len(set) != len(groups) {
		return d.refuse("GROUPING_SETS", offset(groups))
	}
	for _, g := range groups {
		e := d.asObject(g)
		switch e["class"] {
		case "COLUMN_REF":
		case "CONSTANT":
			return d.refuse("POSITIONAL", offset(e))
		default:
			return d.refuseExpression(e, "GROUP_EXPRESSION")
		}
		col, r := d.column(e)
		if r != nil && r.Code == "UNKNOWN_COLUMN" {
			col, r = d.aliasedKey(e, list, r)
		}
		if r != nil {
			return r
		}
		if !slices.Contains(d.out.core.Keys, col) {
			d.out.core.Keys = append(d.out.core.Keys, col)
		}
	}
	return nil
}

// aliasedKey resolves GROUP BY alias where the alias names a bare column.
func (d *decoder) aliasedKey(e object, list []any, unknown *policies.Reason) (algebra.Col, *policies.Reason) {
	names := d.names(e, "column_names")
	for _, item := range list {
		s := d.asObject(item)
		if alias, _ := s["alias"].(string); len(names) != 1 || !sameName(alias, names[0]) {
			continue
		}
		if s["class"] != "COLUMN_REF" {
			return algebra.Col{}, d.refuse("GROUP_EXPRESSION", offset(e))
		}
		return d.column(s)
	}
	return algebra.Col{}, unknown
}

// postTerm resolves an operand of HAVING: key, aggregate, or alias of one.
func (d *decoder) postTerm(e object) (term, *policies.Reason) { return d.outputTerm(e, false) }

// orderTerm is postTerm with aliases first, as SQL wants it in ORDER BY.
func (d *decoder) orderTerm(e object) (term, *policies.Reason) { return d.outputTerm(e, true) }

func (d *decoder) outputTerm(e object, aliasFirst bool) (term, *policies.Reason) {
	if e["class"] == "FUNCTION" {
		return d.aggregate(e)
	}
	if e["class"] != "COLUMN_REF" {
		return term{}, d.refuseExpression(e, "EXPRESSION")
	}
	if r := d.only(e, "column_names"); r != nil {
		return term{}, r
	}
	names := d.names(e, "column_names")
	byAlias, isAlias := term{}, false
	if len(names) == 1 {
		byAlias, isAlias = d.out.aliases[lowered(names[0])]
	}
	if isAlias && aliasFirst {
		return byAlias, nil
	}
	t, r := d.key(e, false)
	if r != nil && isAlias && r.Code != "AMBIGUOUS_COLUMN" {
		return byAlias, nil
	}
	return t, r
}

// aggregate reads an aggregate call and registers it once.
func (d *decoder) aggregate(e object) (term, *policies.Reason) {
	off := offset(e)
	name := lowered(d.str(e, "function_name"))
	arguments := d.list(e, "children")
	distinct := d.flag(e, "distinct")
	switch name {
	case "count_star", "count", "sum", "avg":
	default:
		return term{}, d.refuseFunction(e)
	}
	switch {
	case d.str(e, "schema") != "" || d.str(e, "catalog") != "":
		return term{}, d.refuse("QUALIFIED_NAME", off)
	case e["filter"] != nil || len(d.list(d.inner(e, "order_bys", "orders"), "orders")) > 0:
		return term{}, d.refuse("FILTER_CLAUSE", off)
	case d.flag(e, "is_operator") || d.flag(e, "export_state"):
		return term{}, d.refuse("UNSUPPORTED", off)
	}
	if r := d.only(e, "function_name", "children", "distinct", "filter", "order_bys"); r != nil {
		return term{}, r
	}
	if name == "count_star" {
		if len(arguments) > 0 || distinct {
			return term{}, d.refuse("AGGREGATE_ARGUMENT", off)
		}
		return d.output(algebra.Agg{Func: algebra.CountRows}), nil
	}
	if len(arguments) != 1 {
		return term{}, d.refuse("AGGREGATE_ARGUMENT", off)
	}
	argument := d.asObject(arguments[0])
	switch argument["class"] {
	case "COLUMN_REF":
	case "CONSTANT":
		lit, r := d.literal(argument)
		if r == nil && name == "count" && !distinct && lit.kind == litNumber { // COUNT(1)
			return d.output(algebra.Agg{Func: algebra.CountRows}), nil
		}
		return term{}, d.refuse("AGGREGATE_ARGUMENT", offset(argument))
	default:
		return term{}, d.refuseExpression(argument, "AGGREGATE_ARGUMENT")
	}
	if distinct {
		return d.countUnits(name, argument)
	}
	col, r := d.column(argument)
	if r != nil {
		return term{}, r
	}
	agg := algebra.Agg{Func: algebra.CountCol, Arg: &col}
	if name != "count" {
		if !isNumber(col.Type) {
			return term{}, d.refuse("AGGREGATE_ARGUMENT", offset(argument))
		}
		agg.Func = algebra.Func(name) // "sum" and "avg" are the algebra's names too
	}
	return d.output(agg), nil
}

// countUnits reads COUNT(DISTINCT unit).
func (d *decoder) countUnits(function string, argument object) (term, *policies.Reason) {
	off := offset(argument)
	if r := d.only(argument, "column_names"); r != nil {
		return term{}, r
	}
	col, r := d.lookup(d.names(argument, "column_names"), off, 0, len(d.scope.tables))
	if r != nil {
		return term{}, r
	}
	if function != "count" || col.Table != 0 || !d.isUnit(col) {
		return term{}, d.refuse("DISTINCT", off)
	}
	return d.output(algebra.Agg{Func: algebra.CountUnits}), nil
}

// output registers an aggregate once and names it as a reader would write it.
func (d *decoder) output(a algebra.Agg) term {
	i := slices.IndexFunc(d.out.core.Aggs, func(b algebra.Agg) bool {
		return a.Func == b.Func && (a.Arg == nil || *a.Arg == *b.Arg)
	})
	if i < 0 {
		i = len(d.out.core.Aggs)
		d.out.core.Aggs = append(d.out.core.Aggs, a)
	}
	t := term{ref: ^i, typ: algebra.Type{Kind: algebra.Int}}
	switch a.Func {
	case algebra.CountRows:
		t.name = "count(*)"
	case algebra.CountUnits:
		t.name = "count(distinct " + d.scope.tables[0].schema.Unit + ")"
	case algebra.CountCol:
		t.name = "count(" + a.Arg.Name + ")"
	default:
		t.name, t.typ, t.mean = string(a.Func)+"("+a.Arg.Name+")", a.Arg.Type, a.Func == algebra.Avg
	}
	return t
}
