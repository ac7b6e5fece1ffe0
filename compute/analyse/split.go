package analyse

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/internal/jsontree"
	"github.com/sandgate/sandgate/policies"
)

// Parts is a text cut in two: the protected core, and the operator's own SQL
// around it that runs on released values.
type Parts struct {
	// Core is a syntax tree like the parser's, of the core alone: the keys and the
	// aggregates that the text uses, each with an alias. Nil when the text reads
	// earlier releases only and costs nothing.
	Core []byte
	// Parameters are the values of the core's own placeholders.
	Parameters []string
	// Post reads the core's result as main.released.
	Post *algebra.PostQuery
	// From and To are the byte range of the text that the core was found in.
	From, To int
}

// Read decodes a whole operator text. A text that Decode takes as it stands has
// no Parts.Post; any other is cut by Split and its core decoded. The query is
// zero when the text has no core. params are the values of $1, $2, ….
func Read(ast []byte, text string, schemas []algebra.Schema, params []string) (algebra.Query, Parts, *policies.Reason) {
	q, whole := Decode(ast, text, schemas, params)
	if whole == nil {
		return q, Parts{Core: ast, To: len(text)}, nil
	}
	parts, r := Split(ast, text, schemas, params)
	switch {
	case r != nil:
		return algebra.Query{}, Parts{}, r
	case parts == nil:
		return algebra.Query{}, Parts{}, whole
	case parts.Core == nil:
		return algebra.Query{}, *parts, nil
	}
	if q, r = Decode(parts.Core, text, schemas, parts.Parameters); r != nil {
		return algebra.Query{}, Parts{}, r
	}
	if len(q.Post.Outputs) != len(parts.Post.Columns) {
		return algebra.Query{}, Parts{}, at(reason("POST_HISTOGRAM"), text, parts.From)
	}
	return q, *parts, nil
}

// Split finds the protected core of a text and rewrites the rest to read its
// released result. It returns nil, nil when there is nothing to cut: then the text
// as a whole is for Decode to take or refuse. The core is the one outermost SELECT
// with aggregates over data sets; SELECTs below it that only rename, filter, unite
// or aggregate to one row per privacy unit belong to it.
func Split(ast []byte, text string, schemas []algebra.Schema, params []string) (*Parts, *policies.Reason) {
	d := &decoder{text: text}
	if CheckText(text) != nil {
		return nil, nil
	}
	root, ok := jsontree.Parse(ast)
	if !ok || d.flag(root, "error") {
		return nil, nil
	}
	if nodes, joins, depth := measure(root, 0); nodes > MaxNodes || joins > MaxJoins || depth > MaxDepth {
		return nil, nil
	}
	statements := d.list(root, "statements")
	if d.malformed || len(statements) != 1 {
		return nil, nil
	}
	statement := d.asObject(statements[0])
	top := d.obj(statement, "node")
	s := &splitter{d: d, schemas: schemas, params: params, top: top}
	_, r := s.query(top, nil)
	if d.malformed {
		return nil, reason("ANALYSER")
	}
	if s.core == nil && len(s.releases) == 0 {
		return nil, s.only(r)
	}
	if r != nil {
		return nil, r
	}
	placeholders := s.d.list(statement, "named_param_map")
	if len(placeholders) != len(params) {
		return nil, s.d.refuse("POST_PARAMETER", s.d.placeholder())
	}
	parts := &Parts{Post: &algebra.PostQuery{Releases: s.releases}, To: len(text)}
	if s.core != nil {
		parts.From, parts.To = span(text, s.core, sameNode(s.core, top))
		core, r := s.rewrite()
		if r != nil {
			return nil, r
		}
		// The core shares nodes with the rest until it is copied: renumber the copy.
		own, _ := jsontree.Parse(encode(core, []any{}))
		node := own["statements"].([]any)[0].(object)["node"].(object)
		var list []any
		list, parts.Parameters = coreParameters(placeholders, node, params)
		parts.Core, parts.Post.Columns = encode(node, list), s.columns
	}
	for _, item := range s.rawItems {
		item.holder["map"] = slices.DeleteFunc(s.d.list(item.holder, "map"), func(v any) bool { return s.d.asObject(v)["key"] == item.entry["key"] })
	}
	if _, r := s.settle(top, withNames(top, nil)); r != nil {
		return nil, r
	}
	if d.malformed {
		return nil, reason("ANALYSER")
	}
	parts.Post.Tree = encode(top, []any{})
	return parts, nil
}

// coreParameters renumbers the placeholders of the core from 1, in the order of the
// text's, and returns their values with the list the parser would give.
func coreParameters(all []any, core object, params []string) (list []any, values []string) {
	list = []any{}
	for _, p := range all {
		o, _ := p.(object)
		key, _ := o["key"].(string)
		old, err := strconv.Atoi(key)
		if err != nil || old < 1 || old > len(params) || !holds(core, func(e object) bool { return e["class"] == "PARAMETER" && e["identifier"] == key }) {
			continue
		}
		values = append(values, params[old-1])
		now := strconv.Itoa(len(values))
		list = append(list, object{"key": now, "value": json.Number(now)})
		// Marked until all are renamed: $2 that became 1 must not be renamed again.
		rename(core, key, "core "+now)
	}
	for i := range values {
		rename(core, "core "+strconv.Itoa(i+1), strconv.Itoa(i+1))
	}
	return list, values
}

func rename(v any, from, to string) {
	switch v := v.(type) {
	case []any:
		for _, child := range v {
			rename(child, from, to)
		}
	case object:
		if v["class"] == "PARAMETER" && v["identifier"] == from {
			v["identifier"] = to
		}
		for _, child := range v {
			rename(child, from, to)
		}
	}
}

// only keeps refusals about the cut itself: without core and release, Decode's
// own refusal says better what is wrong.
func (s *splitter) only(r *policies.Reason) *policies.Reason {
	if r != nil && strings.HasPrefix(r.Code, "POST_") && r.Code != "POST_TABLE" {
		return r
	}
	return nil
}

func encode(node object, params any) []byte {
	b, err := json.Marshal(object{"error": false, "statements": []any{object{"node": node, "named_param_map": params}}})
	if err != nil {
		panic("analyse: a tree of JSON values did not marshal")
	}
	return b
}

// Place gives r the line and column of a byte of text; an offset outside it gives
// none.
func Place(r *policies.Reason, text string, off int) { at(r, text, off) }

// kind is what a relation holds.
type kind int

const (
	clean kind = iota // released values and constants
	raw               // rows of data sets, or one row per privacy unit
)

// relation is what a name of FROM stands for.
type relation struct {
	kind  kind
	entry object   // the WITH item; nil for a data set
	scope *names   // where the item's own names are looked up
	units []string // names of the privacy unit in it
	cols  []string // its columns, as far as they are known
}

// names is a chain of WITH items, the innermost first.
type names struct {
	name  string
	rel   relation
	outer *names
}

func (n *names) find(name string) (relation, bool) {
	for ; n != nil; n = n.outer {
		if sameName(n.name, name) {
			return n.rel, true
		}
	}
	return relation{}, false
}

type splitter struct {
	d        *decoder
	schemas  []algebra.Schema
	params   []string
	top      object
	core     object // the SELECT node of the core
	scope    *names // its names
	inside   relation
	rawItems []rawItem
	releases []string
	columns  []string // of main.released
}

// rawItem is a WITH item of raw data, which the post-processing must not keep.
type rawItem struct{ holder, entry object }

// query classifies a query node and remembers the core.
func (s *splitter) query(n object, scope *names) (relation, *policies.Reason) {
	scope, r := s.with(n, scope)
	if r != nil {
		return relation{}, r
	}
	switch n["type"] {
	case "SELECT_NODE":
		return s.selectNode(n, scope)
	case "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE":
		if n["type"] == "RECURSIVE_CTE_NODE" {
			name, _ := n["cte_name"].(string)
			scope = &names{name: name, outer: scope}
		}
		left, r := s.query(s.d.obj(n, "left"), scope)
		if r != nil {
			return left, r
		}
		right, r := s.query(s.d.obj(n, "right"), scope)
		if r == nil && left.kind == raw && n["type"] == "RECURSIVE_CTE_NODE" {
			r = s.d.refuse("POST_RECURSIVE_RAW", offset(n))
		}
		if r == nil && left.kind != right.kind {
			r = s.d.refuse("POST_MIXED", offset(n["right"]))
		}
		if r == nil {
			r = s.subqueries(n["modifiers"], scope)
		}
		left.units = append(slices.Clone(left.units), right.units...)
		return left, r
	}
	return relation{}, s.d.refuse("UNSUPPORTED", offset(n))
}

// with reads the WITH items of a node.
func (s *splitter) with(n object, scope *names) (*names, *policies.Reason) {
	holder := s.d.obj(n, "cte_map")
	for _, item := range s.d.list(holder, "map") {
		entry := s.d.asObject(item)
		value := s.d.obj(entry, "value")
		rel, r := s.query(s.d.obj(s.d.obj(value, "query"), "node"), scope)
		if r != nil {
			return nil, r
		}
		rel.entry, rel.scope = entry, scope
		if names := s.d.names(value, "aliases"); len(names) > 0 {
			rel.cols = names
		}
		if rel.kind == raw {
			s.rawItems = append(s.rawItems, rawItem{holder, entry})
		}
		scope = &names{name: s.d.str(entry, "key"), rel: rel, outer: scope}
	}
	return scope, nil
}

func (s *splitter) selectNode(n object, scope *names) (relation, *policies.Reason) {
	from, r := s.table(s.d.obj(n, "from_table"), scope)
	if r != nil {
		return from, r
	}
	out := relation{kind: from.kind, units: from.units}
	for _, item := range s.d.list(n, "select_list") {
		out.cols = append(out.cols, itemName(s.d.asObject(item)))
	}
	if from.kind == clean {
		for _, field := range slices.Sorted(maps.Keys(n)) {
			if field == "from_table" || field == "cte_map" {
				continue
			}
			if r := s.subqueries(n[field], scope); r != nil {
				return out, r
			}
		}
		return out, nil
	}
	if !aggregated(n) || s.perUnit(n, from) {
		return out, nil
	}
	if s.core != nil {
		return out, s.d.refuse("POST_TWO_CORES", offset(n))
	}
	s.core, s.scope, s.inside = n, scope, from
	// WHERE, FROM and what is inside an aggregate are the core's, and Decode's to
	// judge; a sub-query anywhere else is post-processing.
	for _, field := range []string{"select_list", "having", "qualify", "modifiers"} {
		if r := s.subqueries(n[field], scope); r != nil {
			return out, r
		}
	}
	return relation{kind: clean, cols: out.cols}, nil
}

// subqueries classifies the queries inside expressions, which must be clean.
func (s *splitter) subqueries(v any, scope *names) *policies.Reason {
	switch v := v.(type) {
	case []any:
		for _, child := range v {
			if r := s.subqueries(child, scope); r != nil {
				return r
			}
		}
	case object:
		for _, field := range slices.Sorted(maps.Keys(v)) {
			child := v[field]
			if v["class"] == "SUBQUERY" && field == "subquery" {
				rel, r := s.query(s.d.obj(s.d.asObject(child), "node"), scope)
				if r == nil && rel.kind == raw {
					r = s.d.refuse("POST_RAW", offset(v))
				}
				if r != nil {
					return r
				}
				continue
			}
			if r := s.subqueries(child, scope); r != nil {
				return r
			}
		}
	}
	return nil
}

// table classifies a FROM item.
func (s *splitter) table(t object, scope *names) (relation, *policies.Reason) {
	off := offset(t)
	switch t["type"] {
	case "EMPTY":
		return relation{}, nil
	case "EXPRESSION_LIST":
		return relation{}, s.subqueries(t["values"], scope)
	case "SUBQUERY":
		rel, r := s.query(s.d.obj(s.d.obj(t, "subquery"), "node"), scope)
		if names := s.d.names(t, "column_name_alias"); len(names) > 0 {
			rel.cols = names
		}
		rel.entry = nil
		return rel, r
	case "TABLE_FUNCTION":
		f := s.d.obj(t, "function")
		if !slices.Contains(tableFunctions, lowered(s.d.str(f, "function_name"))) {
			return relation{}, s.d.refuse("POST_TABLE", off)
		}
		return relation{}, s.subqueries(f["children"], scope)
	case "JOIN":
		left, r := s.table(s.d.obj(t, "left"), scope)
		if r != nil {
			return left, r
		}
		right, r := s.table(s.d.obj(t, "right"), scope)
		if r != nil {
			return right, r
		}
		if left.kind != right.kind {
			return left, s.d.refuse("POST_MIXED", offset(t["right"]))
		}
		if left.kind == clean {
			r = s.subqueries(t["condition"], scope)
		}
		return relation{kind: left.kind, units: append(slices.Clone(left.units), right.units...),
			cols: append(slices.Clone(left.cols), right.cols...)}, r
	case "BASE_TABLE":
		return s.baseTable(t, scope)
	}
	return relation{}, s.d.refuse("POST_TABLE", off)
}

// tableFunctions are what FROM may call beside released values.
var tableFunctions = []string{"range", "generate_series", "unnest"}

// releasesSchema is where an operator finds his own earlier releases.
const releasesSchema = "releases"

func (s *splitter) baseTable(t object, scope *names) (relation, *policies.Reason) {
	off, name := offset(t), s.d.str(t, "table_name")
	if t["at_clause"] != nil {
		return relation{}, s.d.refuse("TIME_TRAVEL", off)
	}
	if s.d.str(t, "catalog_name") != "" {
		return relation{}, s.d.refuse("POST_TABLE", off)
	}
	switch schema := s.d.str(t, "schema_name"); {
	case sameName(schema, releasesSchema):
		job := strings.TrimSuffix(strings.TrimPrefix(name, "jobs/"), "/releases/1")
		if !jobName(job) {
			return relation{}, s.d.refuse("POST_RELEASE", off)
		}
		t["table_name"] = job
		if !slices.Contains(s.releases, job) {
			s.releases = append(s.releases, job)
		}
		return relation{}, nil
	case schema != "":
		return relation{}, s.d.refuse("POST_TABLE", off)
	}
	if rel, ok := scope.find(name); ok {
		return rel, nil
	}
	i := findSchema(s.schemas, name)
	if i < 0 {
		return relation{}, s.d.refuse("UNKNOWN_TABLE", off, name)
	}
	rel := relation{kind: raw}
	for _, c := range s.schemas[i].Columns {
		rel.cols = append(rel.cols, c.Name)
	}
	if u := s.schemas[i].Unit; u != "" {
		rel.units, rel.cols = []string{u}, append(rel.cols, u)
	}
	return rel, nil
}

// jobName says whether a name can be a job's: lower-case letters and digits.
func jobName(name string) bool {
	for i := range len(name) {
		if c := name[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9') {
			return false
		}
	}
	return name != "" && len(name) <= 64
}

// span is where the core stands in the text: its brackets, or all of it.
func span(text string, core object, whole bool) (from, to int) {
	inner := offset(core)
	if whole || inner < 0 {
		return 0, len(text)
	}
	var open []int
	from, to = 0, len(text)
	lex(text, func(off int, r rune, in region) bool {
		switch {
		case in != inCode:
		case r == '(':
			open = append(open, off)
		case r == ')' && len(open) > 0:
			last := open[len(open)-1]
			open = open[:len(open)-1]
			// The innermost brackets around the core's first place that close behind
			// it and begin with SELECT, WITH or FROM.
			if last < inner && off > inner && opensQuery(text[last+1:]) {
				from, to = last+1, off
				return false
			}
		}
		return true
	})
	return from, to
}

func opensQuery(text string) bool {
	switch firstWord(text) {
	case "SELECT", "WITH", "FROM":
		return true
	}
	return false
}
