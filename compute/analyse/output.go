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
	for i, o := range q.post.Outputs {
		q.post.Outputs[i].Ref = move(o.Ref)
		if o.Grouping != nil {
			q.post.Outputs[i].Ref = keys + len(q.core.Aggs)
		}
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
	mean bool         // AVG and moments: any decimal literal compares
	name string       // for messages
	// grouping are the keys of GROUPING(…), whose value no core output has.
	grouping []int
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
		e := d.asObject(item)
		switch e["class"] {
		case "COLUMN_REF", "CASE":
		case "FUNCTION":
			d.out.aggregated = d.out.aggregated || d.isAggregateCall(e)
		case "OPERATOR":
			d.out.aggregated = d.out.aggregated || e["type"] == "GROUPING_FUNCTION"
		default: // before a forgotten GROUP BY is complained of
			return d.refuseExpression(e, "EXPRESSION")
		}
	}
	all := false
	switch d.str(n, "aggregate_handling") {
	case "STANDARD_HANDLING":
	case "FORCE_AGGREGATES": // GROUP BY ALL: every item without aggregate is a key
		all = true
	default:
		return d.refuse("UNSUPPORTED", offset(n))
	}
	if r := d.groupBy(n, list); r != nil {
		return r
	}
	for _, item := range list {
		e := d.asObject(item)
		alias, r := d.alias(e)
		if r != nil {
			return r
		}
		if d.isAggregateCall(e) && sameName(d.str(e, "function_name"), "histogram") {
			if r := d.histogram(e, alias, len(list)); r != nil {
				return r
			}
			continue
		}
		t, r := d.item(e, all)
		if r != nil {
			return r
		}
		if alias != "" {
			d.out.aliases[lowered(alias)] = t
			t.name = alias
		}
		if r := d.show(t, offset(e)); r != nil {
			return r
		}
	}
	return nil
}

// show adds an output column.
func (d *decoder) show(t term, off int) *policies.Reason {
	same := func(o algebra.Output) bool { return sameName(o.Name, t.name) }
	if slices.ContainsFunc(d.out.post.Outputs, same) {
		return d.refuse("DUPLICATE_NAME", off, t.name)
	}
	d.out.post.Outputs = append(d.out.post.Outputs, algebra.Output{Ref: t.ref, Name: t.name, Grouping: t.grouping})
	return nil
}

func (d *decoder) isAggregateCall(e object) bool {
	name, _ := e["function_name"].(string)
	return e["class"] == "FUNCTION" && isAggregate(lowered(name))
}

// histogram reads SELECT keys, histogram(x): the count of each bin of x, as rows.
func (d *decoder) histogram(e object, alias string, items int) *policies.Reason {
	off := offset(e)
	arguments := d.list(e, "children")
	switch {
	case len(arguments) != 1 || len(d.out.core.Aggs) > 0 || d.out.core.Sets != nil || len(d.out.core.Keys) != items-1 ||
		d.flag(e, "distinct") || d.flag(e, "is_operator") || len(d.list(d.inner(e, "order_bys", "orders"), "orders")) > 0:
		return d.refuse("HISTOGRAM", off)
	case d.str(e, "schema") != "" || d.str(e, "catalog") != "":
		return d.refuse("QUALIFIED_NAME", off)
	}
	if r := d.only(e, "function_name", "children", "distinct", "order_bys", "filter"); r != nil {
		return r
	}
	argument := d.asObject(arguments[0])
	if argument["class"] != "COLUMN_REF" || e["filter"] != nil {
		return d.refuse("HISTOGRAM", off)
	}
	col, r := d.column(argument)
	if r != nil {
		return r
	}
	if !isNumber(col.Type) && col.Type.Kind != algebra.Date {
		return d.refuse("BIN", offset(argument))
	}
	x := algebra.Expr{Op: algebra.ExprCol, Type: col.Type, Col: &col}
	bin := d.columnOf(algebra.Expr{Op: algebra.ExprBin, Type: col.Type, Args: []algebra.Expr{x}})
	i := slices.Index(d.out.core.Keys, bin)
	if i < 0 {
		i = len(d.out.core.Keys)
		d.out.core.Keys = append(d.out.core.Keys, bin)
	}
	name := alias
	if name == "" {
		name = d.exprName(col)
	}
	key := term{ref: i, typ: col.Type, name: name}
	count := d.output(algebra.Agg{Func: algebra.CountRows})
	count.name = "count"
	d.out.aliases[lowered(name)], d.out.aliases["count"] = key, count
	if r := d.show(key, off); r != nil {
		return r
	}
	return d.show(count, off)
}

// item resolves a column, an expression or an aggregate of the SELECT list, HAVING
// or ORDER BY. With all, what is no key yet becomes one.
func (d *decoder) item(e object, all bool) (term, *policies.Reason) {
	switch e["class"] {
	case "FUNCTION":
		if d.isAggregateCall(e) {
			return d.aggregate(e)
		}
	case "COLUMN_REF", "CASE":
	case "OPERATOR":
		if e["type"] == "GROUPING_FUNCTION" {
			return d.grouping(e)
		}
		if e["type"] != "OPERATOR_COALESCE" {
			return term{}, d.refuseExpression(e, "EXPRESSION")
		}
	default:
		return term{}, d.refuseExpression(e, "EXPRESSION")
	}
	derived := len(d.out.core.Derived)
	t, r := d.scalar(e)
	if r != nil {
		return term{}, r
	}
	i := slices.Index(d.out.core.Keys, t.col)
	if i < 0 && all {
		i = len(d.out.core.Keys)
		d.out.core.Keys = append(d.out.core.Keys, t.col)
	}
	if i < 0 {
		d.out.core.Derived = d.out.core.Derived[:derived]
		if len(d.out.core.Keys) == 0 && !d.out.aggregated {
			return term{}, d.refuse("RAW_ROWS", offset(e))
		}
		return term{}, d.refuse("NOT_A_KEY", offset(e), t.name)
	}
	return term{ref: i, typ: t.typ, name: t.name}, nil
}

// grouping reads GROUPING(keys…), which only the SELECT list can show.
func (d *decoder) grouping(e object) (term, *policies.Reason) {
	if r := d.only(e, "children"); r != nil {
		return term{}, r
	}
	t := term{typ: intType, name: "grouping", grouping: []int{}}
	for _, item := range d.list(e, "children") {
		k, r := d.item(d.asObject(item), false)
		if r != nil {
			return term{}, r
		}
		if k.ref < 0 || k.grouping != nil {
			return term{}, d.refuse("GROUPING_PLACE", offset(e))
		}
		t.grouping = append(t.grouping, k.ref)
	}
	if len(t.grouping) == 0 || len(t.grouping) > 31 {
		return term{}, d.refuse("GROUPING_PLACE", offset(e))
	}
	return t, nil
}

// notGrouping refuses GROUPING where a value is compared or sorted by.
func (d *decoder) notGrouping(t term, off int) (term, *policies.Reason) {
	if t.grouping != nil {
		return term{}, d.refuse("GROUPING_PLACE", off)
	}
	return t, nil
}

// groupItem follows GROUP BY position and GROUP BY alias to the SELECT list.
func (d *decoder) groupItem(e object, list []any) (object, *policies.Reason) {
	off := offset(e)
	if e["class"] == "CONSTANT" {
		n, ok := d.count(e)
		if !ok || n < 1 || n > int64(len(list)) {
			return nil, d.refuse("POSITIONAL", off)
		}
		return d.notAggregate(d.asObject(list[n-1]), off)
	}
	if e["class"] != "COLUMN_REF" {
		return e, nil
	}
	if r := d.only(e, "column_names"); r != nil {
		return nil, r
	}
	names := d.names(e, "column_names")
	_, _, r := d.lookup(names, off, 0, len(d.scope.tables))
	if r == nil || r.Code != "UNKNOWN_COLUMN" || len(names) != 1 {
		return e, nil
	}
	for _, item := range list {
		s := d.asObject(item)
		if alias, _ := s["alias"].(string); sameName(alias, names[0]) {
			return d.notAggregate(s, off)
		}
	}
	return e, nil
}

func (d *decoder) notAggregate(e object, off int) (object, *policies.Reason) {
	if d.isAggregateCall(e) || e["type"] == "GROUPING_FUNCTION" {
		return nil, d.refuse("GROUP_EXPRESSION", off)
	}
	return e, nil
}

// groupBy reads the keys and the grouping sets.
func (d *decoder) groupBy(n object, list []any) *policies.Reason {
	groups, sets := d.list(n, "group_expressions"), d.list(n, "group_sets")
	var at []int // the key of each expression
	for _, g := range groups {
		e, r := d.groupItem(d.asObject(g), list)
		if r != nil {
			return r
		}
		t, r := d.keyTerm(e, offset(g))
		if r != nil {
			return r
		}
		i := slices.Index(d.out.core.Keys, t.col)
		if i < 0 {
			i = len(d.out.core.Keys)
			d.out.core.Keys = append(d.out.core.Keys, t.col)
		}
		at = append(at, i)
	}
	if len(sets) > algebra.MaxSets {
		return d.refuse("GROUPING_SETS", offset(groups))
	}
	var all [][]int
	for _, s := range sets {
		set := []int{}
		l, ok := s.([]any)
		d.malformed = d.malformed || !ok
		for _, v := range l {
			i, bad := jsonInt(v)
			if bad || i >= int64(len(at)) {
				return reason("ANALYSER")
			}
			set = append(set, at[i])
		}
		slices.Sort(set)
		all = append(all, slices.Compact(set))
	}
	if len(all) == 0 || len(all) == 1 && len(all[0]) == len(d.out.core.Keys) {
		return nil
	}
	d.out.core.Sets = all
	return nil
}

func (d *decoder) keyTerm(e object, off int) (term, *policies.Reason) {
	switch {
	case e["class"] == "COLUMN_REF", e["class"] == "CASE", e["class"] == "FUNCTION" && !d.isAggregateCall(e), e["type"] == "OPERATOR_COALESCE":
		return d.scalar(e)
	case e["class"] == "FUNCTION":
		return term{}, d.refuse("GROUP_EXPRESSION", off)
	}
	return term{}, d.refuseExpression(e, "GROUP_EXPRESSION")
}

// postTerm resolves an operand of HAVING: key, aggregate, or alias of one.
func (d *decoder) postTerm(e object) (term, *policies.Reason) { return d.outputTerm(e, false) }

// orderTerm is postTerm with aliases first, as SQL wants it in ORDER BY.
func (d *decoder) orderTerm(e object) (term, *policies.Reason) { return d.outputTerm(e, true) }

func (d *decoder) outputTerm(e object, aliasFirst bool) (term, *policies.Reason) {
	if e["class"] != "COLUMN_REF" {
		t, r := d.item(e, false)
		if r != nil {
			return t, r
		}
		return d.notGrouping(t, offset(e))
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
		return d.notGrouping(byAlias, offset(e))
	}
	t, r := d.item(e, false)
	if r != nil && isAlias && r.Code != "AMBIGUOUS_COLUMN" {
		return d.notGrouping(byAlias, offset(e))
	}
	return t, r
}
