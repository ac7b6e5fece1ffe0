package analyse

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/sandgate/sandgate/policies"
)

// aggregateNames are functions that make one value of many rows. Those that the
// core has no counterpart for are here too, so that Decode refuses them by name.
var aggregateNames = append([]string{
	"count", "count_star", "sum", "avg", "mean", "variance", "var_samp", "var_pop", "stddev", "stddev_samp", "stddev_pop",
	"corr", "covar_samp", "covar_pop", "regr_slope", "regr_intercept", "regr_r2", "regr_count", "regr_avgx", "regr_avgy",
	"regr_sxx", "regr_sxy", "regr_syy", "approx_count_distinct", "bool_and", "bool_or", "bit_and", "bit_or", "bit_xor",
	"min", "max", "median", "quantile", "quantile_cont", "quantile_disc", "approx_quantile", "percentile_cont", "percentile_disc",
	"histogram", "any_value", "first", "last", "mode", "list", "array_agg", "string_agg", "arg_min", "arg_max",
	"product", "fsum", "kahan_sum", "sumkahan", "favg", "entropy", "kurtosis", "kurtosis_pop", "skewness", "sem", "count_if", "countif",
}, slices.DeleteFunc(slices.Clone(rawValueFunctions), func(name string) bool { return name == "unnest" || name == "map_from_entries" })...)

func callsAggregate(e object) bool {
	name, _ := e["function_name"].(string)
	return e["class"] == "FUNCTION" && slices.Contains(aggregateNames, lowered(name))
}

// aggregated says whether a SELECT groups or aggregates.
func aggregated(n object) bool {
	groups, _ := n["group_expressions"].([]any)
	sets, _ := n["group_sets"].([]any)
	return len(groups) > 0 || len(sets) > 0 || n["aggregate_handling"] == "FORCE_AGGREGATES" ||
		holds(n["select_list"], callsAggregate) || holds(n["having"], callsAggregate) || holds(n["modifiers"], callsAggregate) || holds(n["qualify"], callsAggregate)
}

// holds looks for an expression outside sub-queries.
func holds(v any, is func(object) bool) bool {
	switch v := v.(type) {
	case []any:
		return slices.ContainsFunc(v, func(child any) bool { return holds(child, is) })
	case object:
		if is(v) {
			return true
		}
		for field, child := range v {
			if !(v["class"] == "SUBQUERY" && field == "subquery") && holds(child, is) {
				return true
			}
		}
	}
	return false
}

// perUnit says whether a SELECT groups by the privacy unit: one row per unit is
// still raw data.
func (s *splitter) perUnit(n object, from relation) bool {
	keys, _ := s.keys(n, from)
	return slices.ContainsFunc(keys, func(k object) bool {
		name := columnName(k)
		return name != "" && slices.ContainsFunc(from.units, func(u string) bool { return sameName(u, name) })
	})
}

// columnName is the last part of a column's name, or empty.
func columnName(e object) string {
	names, _ := e["column_names"].([]any)
	if e["class"] != "COLUMN_REF" || len(names) == 0 {
		return ""
	}
	name, _ := names[len(names)-1].(string)
	return name
}

func itemName(e object) string {
	if alias, _ := e["alias"].(string); alias != "" {
		return alias
	}
	return columnName(e)
}

// keys resolves GROUP BY: positions, aliases and ALL become the expressions that
// they stand for.
func (s *splitter) keys(n object, from relation) ([]object, *policies.Reason) {
	list := s.d.list(n, "select_list")
	var out []object
	if n["aggregate_handling"] == "FORCE_AGGREGATES" {
		for _, item := range list {
			e := s.d.asObject(item)
			plain := func(e object) bool { return callsAggregate(e) || e["class"] == "WINDOW" || e["class"] == "SUBQUERY" }
			if holds(e, func(e object) bool { return e["class"] == "COLUMN_REF" }) && !holds(e, plain) {
				out = append(out, e)
			}
		}
		return out, nil
	}
	for _, g := range s.d.list(n, "group_expressions") {
		e := s.d.asObject(g)
		name := columnName(e)
		parts, _ := e["column_names"].([]any)
		switch {
		case e["class"] == "CONSTANT":
			i, bad := jsonInt(s.d.obj(e, "value")["value"])
			if bad || i < 1 || i > int64(len(list)) {
				return nil, s.d.refuse("POSITIONAL", offset(e))
			}
			e = s.d.asObject(list[i-1])
		case len(parts) == 1 && !slices.ContainsFunc(from.cols, func(c string) bool { return sameName(c, name) }):
			for _, item := range list {
				if o := s.d.asObject(item); sameName(itemName(o), name) {
					e = o
					break
				}
			}
		}
		out = append(out, e)
	}
	return out, nil
}

// lifted is one column of main.released with the expression it stands for.
type lifted struct {
	name     string
	expr     object
	estimate bool
}

// rewriter cuts one SELECT.
type rewriter struct {
	*splitter
	columns []lifted
	aliases []string
	keys    int
}

// rewrite turns the core's SELECT into one that reads main.released and returns
// the core's own tree.
func (s *splitter) rewrite() (object, *policies.Reason) {
	n := s.core
	w := &rewriter{splitter: s}
	keys, r := s.keys(n, s.inside)
	if r != nil {
		return nil, r
	}
	list := s.d.list(n, "select_list")
	for _, item := range list {
		if alias, _ := s.d.asObject(item)["alias"].(string); alias != "" {
			w.aliases = append(w.aliases, alias)
		}
	}
	for _, k := range keys {
		w.add(k, list, false)
	}
	w.keys = len(keys)
	for _, field := range []string{"select_list", "having", "qualify", "modifiers"} {
		w.collect(n[field], list)
	}
	core, r := w.coreTree(n, keys)
	if r != nil {
		return nil, r
	}
	return core, w.released(n)
}

// add gives an expression a column of main.released: the alias the operator gave
// it, its column's name, or a description.
func (w *rewriter) add(e object, list []any, estimate bool) {
	name := ""
	for _, item := range list {
		if o := w.d.asObject(item); sameExpression(o, e, true) {
			if name, _ = o["alias"].(string); name != "" {
				break
			}
		}
	}
	if name == "" {
		name = describe(e)
	}
	taken := func(name string) bool {
		return slices.ContainsFunc(w.columns, func(c lifted) bool { return sameName(c.name, name) })
	}
	unique := name
	for i := 2; taken(unique); i++ {
		unique = name + "_" + strconv.Itoa(i)
	}
	w.columns = append(w.columns, lifted{unique, e, estimate})
}

func describe(e object) string {
	if name := columnName(e); name != "" {
		return name
	}
	function, _ := e["function_name"].(string)
	function = lowered(function)
	arguments, _ := e["children"].([]any)
	switch {
	case function == "count_star":
		return "count(*)"
	case e["type"] == "GROUPING_FUNCTION":
		return "grouping"
	case function == "" || e["is_operator"] == true:
		return "key"
	case len(arguments) > 0:
		first, _ := arguments[0].(object)
		if arg := columnName(first); arg != "" {
			return function + "(" + arg + ")"
		}
	}
	return function
}

// collect finds the aggregates outside sub-queries, in the order of the text.
func (w *rewriter) collect(v any, list []any) {
	switch v := v.(type) {
	case []any:
		for _, child := range v {
			w.collect(child, list)
		}
	case object:
		if w.find(v) >= 0 {
			return
		}
		if callsAggregate(v) || v["type"] == "GROUPING_FUNCTION" {
			w.add(v, list, callsAggregate(v))
			return
		}
		for _, field := range slices.Sorted(maps.Keys(v)) {
			if !(v["class"] == "SUBQUERY" && field == "subquery") {
				w.collect(v[field], list)
			}
		}
	}
}

func (w *rewriter) find(e object) int {
	if e["class"] == nil {
		return -1
	}
	return slices.IndexFunc(w.columns, func(c lifted) bool { return sameExpression(c.expr, e, true) })
}

// sameExpression compares two expressions without their places and, at the root,
// their aliases. A column is the same with and without the name of its table.
func sameExpression(a, b any, root bool) bool {
	switch a := a.(type) {
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, func(x, y any) bool { return sameExpression(x, y, false) })
	case object:
		b, ok := b.(object)
		if !ok || len(a) != len(b) || a["class"] != b["class"] {
			return false
		}
		if a["class"] == "COLUMN_REF" {
			return sameColumn(a, b)
		}
		for field, x := range a {
			if field == "query_location" || root && field == "alias" {
				continue
			}
			if y, ok := b[field]; !ok || !sameExpression(x, y, false) {
				return false
			}
		}
		return true
	}
	return a == b
}

func sameColumn(a, b object) bool {
	x, _ := a["column_names"].([]any)
	y, _ := b["column_names"].([]any)
	for i := 1; i <= min(len(x), len(y)); i++ {
		p, _ := x[len(x)-i].(string)
		q, _ := y[len(y)-i].(string)
		if !sameName(p, q) {
			return false
		}
	}
	return len(x) > 0 && len(y) > 0
}

// coreTree is the core as a statement of its own.
func (w *rewriter) coreTree(n object, keys []object) (object, *policies.Reason) {
	var list, groups []any
	for i, c := range w.columns {
		item := maps.Clone(c.expr)
		item["alias"] = c.name
		list = append(list, item)
		if i < w.keys {
			group := maps.Clone(c.expr)
			group["alias"] = ""
			groups = append(groups, group)
		}
	}
	out := maps.Clone(n)
	out["select_list"], out["group_expressions"] = list, groups
	if groups == nil {
		out["group_expressions"] = []any{}
	}
	if n["aggregate_handling"] == "FORCE_AGGREGATES" {
		set := []any{}
		for i := range keys {
			set = append(set, json.Number(strconv.Itoa(i)))
		}
		out["group_sets"], out["aggregate_handling"] = []any{set}, "STANDARD_HANDLING"
		if len(set) == 0 {
			out["group_sets"] = []any{}
		}
	}
	out["modifiers"], out["having"], out["qualify"] = []any{}, nil, nil
	var items []any
	if r := w.needs(n["from_table"], w.scope, &items); r != nil {
		return nil, r
	}
	if items == nil {
		items = []any{}
	}
	out["cte_map"] = object{"map": items}
	return out, nil
}

// needs collects the WITH items that a FROM reads, each behind those it reads.
func (w *rewriter) needs(v any, scope *names, items *[]any) *policies.Reason {
	switch v := v.(type) {
	case []any:
		for _, child := range v {
			if r := w.needs(child, scope, items); r != nil {
				return r
			}
		}
	case object:
		if name, ok := v["table_name"].(string); ok && v["schema_name"] == "" {
			rel, found := scope.find(name)
			if !found || rel.entry == nil {
				return nil
			}
			if r := w.needs(rel.entry["value"], rel.scope, items); r != nil {
				return r
			}
			for _, other := range *items {
				o := w.d.asObject(other)
				if sameName(w.d.str(o, "key"), w.d.str(rel.entry, "key")) {
					if o["value"] != nil && offset(o) == offset(rel.entry) {
						return nil
					}
					return w.d.refuse("DUPLICATE_NAME", offset(rel.entry), name)
				}
			}
			*items = append(*items, rel.entry)
			return nil
		}
		for _, field := range slices.Sorted(maps.Keys(v)) {
			if r := w.needs(v[field], scope, items); r != nil {
				return r
			}
		}
	}
	return nil
}

// released rewrites the SELECT in place.
func (w *rewriter) released(n object) *policies.Reason {
	from := offset(n["from_table"])
	var list []any
	for _, item := range w.d.list(n, "select_list") {
		e, r := w.lift(item, false, nil)
		if r != nil {
			return r
		}
		list = append(list, e)
	}
	for field, to := range map[string]string{"having": "where_clause", "qualify": "qualify", "modifiers": "modifiers"} {
		e, r := w.lift(n[field], true, nil)
		if r != nil {
			return r
		}
		n[to] = e
	}
	nested := map[string]bool{}
	if !sameNode(n, w.top) {
		mentioned(w.top, n, nested)
	}
	for _, c := range w.columns {
		w.splitter.columns = append(w.splitter.columns, c.name)
		// A companion is handed outwards when the text asks for it by name, so that
		// * and the positions of UNION mean what the operator wrote.
		for _, suffix := range []string{"_lo", "_hi"} {
			if name := c.name + suffix; c.estimate && nested[lowered(name)] && !slices.ContainsFunc(w.aliases, func(a string) bool { return sameName(a, name) }) {
				list = append(list, reference(none, name))
			}
		}
	}
	n["select_list"], n["having"] = list, nil
	n["from_table"] = object{"type": "BASE_TABLE", "alias": "", "sample": nil, "query_location": location(from), "schema_name": "main",
		"table_name": "released", "column_name_alias": []any{}, "catalog_name": "", "at_clause": nil}
	n["group_expressions"], n["group_sets"], n["aggregate_handling"], n["sample"] = []any{}, []any{}, "STANDARD_HANDLING", nil
	return nil
}

// mentioned collects the column names of the text outside one node.
func mentioned(v any, without object, into map[string]bool) {
	switch v := v.(type) {
	case []any:
		for _, child := range v {
			mentioned(child, without, into)
		}
	case object:
		if v["type"] == "SELECT_NODE" && sameNode(v, without) {
			return
		}
		if name := columnName(v); name != "" {
			into[lowered(name)] = true
		}
		for _, child := range v {
			mentioned(child, without, into)
		}
	}
}

// sameNode compares maps by identity: both hold the mark or none does.
func sameNode(a, b object) bool {
	const mark = "same node"
	b[mark] = true
	_, same := a[mark]
	delete(b, mark)
	return same
}

func location(off int) json.Number {
	if off < 0 {
		return "18446744073709551615" // the parser's own mark for no place
	}
	return json.Number(strconv.Itoa(off))
}

func reference(off int, names ...string) object {
	parts := make([]any, len(names))
	for i, n := range names {
		parts[i] = n
	}
	return object{"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "query_location": location(off), "column_names": parts}
}
