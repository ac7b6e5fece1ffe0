// Package analyse turns the syntax tree of an operator's SQL into the closed
// algebra. It is the only reader of operator text: a node, field or value with
// no counterpart in the algebra is refused with its name and place, so nothing
// the operator wrote can reach an engine except as a typed value.
//
// The tree is the JSON of DuckDB's json_serialize_sql; reading it needs no
// engine. Decode is pure and safe for concurrent use.
package analyse

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/internal/jsontree"
	"github.com/sandgate/sandgate/policies"
)

// Decode reads the syntax tree of text. schemas are the data sets the operator
// may name, params the values of $1, $2, … or ? in their order: each takes the type
// of what it is compared with, and counts as the literal it stands for. The query is returned as it was written: pass it through
// algebra.Canonicalise before it is compared, priced or stored.
func Decode(ast []byte, text string, schemas []algebra.Schema, params []string) (algebra.Query, *policies.Reason) {
	if r := CheckText(text); r != nil {
		return algebra.Query{}, r
	}
	if len(ast) > maxTree {
		return algebra.Query{}, reason("TOO_LARGE")
	}
	d := &decoder{text: text, params: params}
	root, ok := jsontree.Parse(ast)
	if !ok {
		return algebra.Query{}, reason("ANALYSER")
	}
	if r := d.parseError(root); r != nil {
		return algebra.Query{}, r
	}
	if nodes, joins, depth := measure(root, 0); nodes > MaxNodes || joins > MaxJoins || depth > MaxDepth {
		return algebra.Query{}, reason("TOO_LARGE")
	}
	q, r := d.statement(root, schemas)
	if r != nil {
		return algebra.Query{}, r
	}
	if d.malformed {
		return algebra.Query{}, reason("ANALYSER")
	}
	// The canonical form may say more than the text did.
	for _, c := range []algebra.Core{q.Core, q.Core.Canonical()} {
		if err := c.Validate(schemas); errors.Is(err, algebra.ErrLarge) {
			return algebra.Query{}, reason("TOO_LARGE")
		} else if err != nil {
			return algebra.Query{}, reason("ANALYSER")
		}
	}
	return q, nil
}

// parseError maps the parser's own refusal. Its text is not passed on: it
// quotes the operator's words.
func (d *decoder) parseError(root object) *policies.Reason {
	if !d.flag(root, "error") {
		return nil
	}
	if kind, _ := root["error_type"].(string); kind == "not implemented" {
		switch firstWord(d.text) {
		case "PIVOT", "UNPIVOT":
			return reason("PIVOT")
		case "EXPLAIN":
			return reason("EXPLAIN")
		case "SHOW", "DESCRIBE", "SUMMARIZE":
			return reason("SHOW")
		case "SELECT", "FROM":
			return reason("UNSUPPORTED")
		}
		return reason("NOT_SELECT")
	}
	off := none
	if s, ok := root["position"].(string); ok {
		if i, err := strconv.ParseUint(s, 10, 31); err == nil {
			off = byteOffset(d.text, int(i))
		}
	}
	return d.refuse("SYNTAX", off)
}

func (d *decoder) statement(root object, schemas []algebra.Schema) (algebra.Query, *policies.Reason) {
	nothing := algebra.Query{}
	statements := d.list(root, "statements")
	if len(statements) > 1 {
		return nothing, d.refuse("MULTIPLE_STATEMENTS", offset(statements[1]))
	}
	if len(statements) == 0 {
		return nothing, reason("EMPTY")
	}
	if r := d.only(root, "error", "statements"); r != nil {
		return nothing, r
	}
	statement := d.asObject(statements[0])
	if r := d.parameters(d.list(statement, "named_param_map")); r != nil {
		return nothing, r
	}
	if r := d.only(statement, "node", "named_param_map"); r != nil {
		return nothing, r
	}
	n := d.obj(statement, "node")
	switch d.str(n, "type") {
	case "SELECT_NODE":
	case "SET_OPERATION_NODE":
		right, _ := n["right"].(object)
		return nothing, d.refuse("SET_OPERATION", offset(right))
	case "RECURSIVE_CTE_NODE":
		return nothing, d.refuse("CTE_RECURSIVE", offset(n))
	default:
		return nothing, d.refuse("UNSUPPORTED", offset(n))
	}
	env, r := d.with(n, sources{schemas: schemas})
	if r != nil {
		return nothing, r
	}
	if r := d.tableRef(d.obj(n, "from_table"), env); r != nil {
		return nothing, r
	}
	if r := d.allUsed(env, 0); r != nil {
		return nothing, r
	}
	return d.selectNode(n)
}

// parameters checks that the placeholders are $1 … $n, one for each value given.
func (d *decoder) parameters(list []any) *policies.Reason {
	for _, item := range list {
		entry := d.asObject(item)
		if r := d.only(entry, "key", "value"); r != nil {
			return r
		}
		if n, err := strconv.Atoi(d.str(entry, "key")); err != nil || n < 1 {
			return d.refuse("PARAMETER", d.placeholder())
		} else if n > len(list) {
			return d.refuse("PARAMETER_COUNT", d.placeholder())
		}
	}
	if len(list) != len(d.params) {
		return d.refuse("PARAMETER_COUNT", d.placeholder())
	}
	for _, p := range d.params {
		if len(p) > MaxText || !utf8.ValidString(p) {
			return d.refuse("PARAMETER", d.placeholder())
		}
	}
	return nil
}

// placeholder finds the first ? or $ of the text; the tree does not tell.
func (d *decoder) placeholder() int {
	found := none
	lex(d.text, func(off int, r rune, in region) bool {
		if in == inCode && (r == '?' || r == '$') {
			found = off
		}
		return found < 0
	})
	return found
}

// selectNode reads everything but FROM.
func (d *decoder) selectNode(n object) (algebra.Query, *policies.Reason) {
	nothing := algebra.Query{}
	if r := d.only(n, "from_table", "cte_map", "modifiers", "select_list", "where_clause",
		"group_expressions", "group_sets", "aggregate_handling", "having", "sample", "qualify"); r != nil {
		return nothing, r
	}
	switch {
	case n["sample"] != nil:
		return nothing, d.refuse("SAMPLE", d.keyword("SAMPLE"))
	case n["qualify"] != nil:
		return nothing, d.refuse("WINDOW_IN_CORE", offset(n["qualify"]))
	}
	for _, m := range d.list(n, "modifiers") {
		if m := d.asObject(m); m["type"] == "DISTINCT_MODIFIER" {
			return nothing, d.refuse("DISTINCT", d.keyword("DISTINCT"))
		}
	}
	if n["where_clause"] != nil {
		c, r := d.condition(d.obj(n, "where_clause"), d.whereTerm)
		if r != nil {
			return nothing, r
		}
		where := c.pred()
		d.out.core.Where = both(d.out.core.Where, &where)
	}
	if r := d.selectList(n); r != nil {
		return nothing, r
	}
	if n["having"] != nil {
		c, r := d.condition(d.obj(n, "having"), d.postTerm)
		if r != nil {
			return nothing, r
		}
		having := c.post()
		d.out.post.Having = &having
	}
	for _, m := range d.list(n, "modifiers") {
		if r := d.modifier(d.asObject(m)); r != nil {
			return nothing, r
		}
	}
	if len(d.out.core.Aggs) == 0 {
		return nothing, d.refuse("RAW_ROWS", offset(n["select_list"]))
	}
	return d.out.finish(), nil
}

// keyword is the place of the first such word outside literals and names.
func (d *decoder) keyword(word string) int {
	found, start := none, none
	var b strings.Builder
	check := func() {
		if found < 0 && strings.EqualFold(b.String(), word) {
			found = start
		}
		b.Reset()
	}
	lex(d.text, func(off int, r rune, in region) bool {
		if in != inCode || r < 0x80 && !wordByte(byte(r)) {
			check()
			return found < 0
		}
		if b.Len() == 0 {
			start = off
		}
		b.WriteRune(r)
		return true
	})
	check()
	return found
}

// modifier reads ORDER BY, LIMIT and OFFSET.
func (d *decoder) modifier(m object) *policies.Reason {
	switch d.str(m, "type") {
	case "ORDER_MODIFIER":
		if r := d.only(m, "orders"); r != nil {
			return r
		}
		for _, o := range d.list(m, "orders") {
			if r := d.order(d.asObject(o)); r != nil {
				return r
			}
		}
		return nil
	case "LIMIT_MODIFIER":
		if r := d.only(m, "limit", "offset"); r != nil {
			return r
		}
		if m["limit"] != nil {
			limit, ok := d.count(d.obj(m, "limit"))
			if !ok {
				return d.refuse("LIMIT", offset(m["limit"]))
			}
			d.out.post.Limit = &limit
		}
		if m["offset"] != nil {
			skip, ok := d.count(d.obj(m, "offset"))
			if !ok {
				return d.refuse("LIMIT", offset(m["offset"]))
			}
			d.out.post.Offset = skip
		}
		return nil
	case "LIMIT_PERCENT_MODIFIER":
		return d.refuse("LIMIT", offset(m["limit"]))
	}
	return d.refuse("UNSUPPORTED", offset(m))
}

func (d *decoder) count(e object) (int64, bool) {
	if e["class"] != "CONSTANT" && e["class"] != "PARAMETER" {
		return 0, false
	}
	lit, r := d.literal(e)
	if r == nil {
		lit, _ = lit.fit(intType)
	}
	if r != nil || lit.kind != litNumber || !lit.number.IsInt() || !lit.number.Num().IsInt64() {
		return 0, false
	}
	n := lit.number.Num().Int64()
	return n, n >= 0
}

func (d *decoder) order(o object) *policies.Reason {
	if r := d.only(o, "null_order", "expression"); r != nil {
		return r
	}
	e := d.obj(o, "expression")
	out := algebra.Order{}
	switch d.str(o, "type") {
	case "ORDER_DEFAULT", "ASCENDING":
	case "DESCENDING":
		out.Desc = true
	default:
		return d.refuse("UNSUPPORTED", offset(e))
	}
	switch d.str(o, "null_order") {
	case "ORDER_DEFAULT", "NULLS LAST":
	case "NULLS FIRST":
		out.NullsFirst = true
	default:
		return d.refuse("UNSUPPORTED", offset(e))
	}
	if e["class"] == "CONSTANT" {
		n, ok := d.count(e)
		if !ok || n < 1 || n > int64(len(d.out.post.Outputs)) {
			return d.refuse("POSITIONAL", offset(e))
		}
		shown := d.out.post.Outputs[n-1]
		if shown.Grouping != nil {
			return d.refuse("GROUPING_PLACE", offset(e))
		}
		out.Ref = shown.Ref
		d.out.post.Order = append(d.out.post.Order, out)
		return nil
	}
	switch e["class"] {
	case "COLUMN_REF", "FUNCTION", "CASE", "OPERATOR":
	default:
		return d.refuseExpression(e, "ORDER_EXPRESSION")
	}
	if e["class"] == "OPERATOR" && e["type"] != "OPERATOR_COALESCE" {
		return d.refuseExpression(e, "ORDER_EXPRESSION")
	}
	t, r := d.orderTerm(e)
	if r != nil {
		return r
	}
	out.Ref = t.ref
	d.out.post.Order = append(d.out.post.Order, out)
	return nil
}
