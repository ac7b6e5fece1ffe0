package render

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// What a bound plan may consist of. The plan is a second opinion on the text:
// views, macros and replacement scans are expanded in it, so a name that hides
// something else shows here and nowhere before.
var (
	planOperators = map[string]bool{
		"LOGICAL_LIMIT": true, "LOGICAL_PROJECTION": true, "LOGICAL_AGGREGATE_AND_GROUP_BY": true,
		"LOGICAL_FILTER": true, "LOGICAL_COMPARISON_JOIN": true, "LOGICAL_GET": true, "LOGICAL_UNION": true,
	}
	planExpressions = map[string]bool{
		"BOUND_REF": true, "BOUND_CONSTANT": true, "BOUND_COMPARISON": true, "BOUND_CONJUNCTION": true,
		"BOUND_OPERATOR": true, "BOUND_CAST": true, "BOUND_CASE": true, "BOUND_FUNCTION": true, "BOUND_AGGREGATE": true,
	}
	planBoundOperators = map[string]bool{
		"OPERATOR_COALESCE": true, "OPERATOR_IS_NULL": true, "OPERATOR_IS_NOT_NULL": true,
		"OPERATOR_NOT": true, "COMPARE_IN": true, "COMPARE_NOT_IN": true,
	}
	planFunctions = map[string]bool{
		"count_star": true, "count": true, "sum": true, "least": true, "greatest": true,
		"+": true, "-": true, "*": true, "//": true, "%": true, "abs": true,
		"year": true, "quarter": true, "month": true, "day": true, "isodow": true, "date_diff": true, "make_date": true,
	}
	storedTypes = map[algebra.Kind]string{
		algebra.Bool: "BOOLEAN", algebra.Int: "BIGINT", algebra.Decimal: "BIGINT",
		algebra.Date: "DATE", algebra.Text: "VARCHAR",
	}
)

// checkBound walks the bound plan and fails on anything not listed above.
func checkBound(plan *protect.Plan, schemas []algebra.Schema, bound []byte) error {
	root, err := parse(bound)
	if err != nil {
		return err
	}
	if root["error"] != false || len(items(root["plans"])) != 1 || len(root) != 2 {
		return errors.New("the planner refused the statement, or planned several")
	}
	w := walker{schemas: schemas, scans: make([]int, len(schemas)), consents: make([]int, len(schemas)), lists: len(lists(plan))}
	if err := w.operator(items(root["plans"])[0]); err != nil {
		return err
	}
	want, extremes := make([]int, len(schemas)), 0
	for _, t := range plan.Core.Tables {
		if t.PerUnit != nil {
			for _, a := range t.PerUnit.Aggs {
				if a.Func == algebra.Min || a.Func == algebra.Max {
					extremes++
				}
			}
		}
		for _, id := range append([]string{t.Dataset}, t.Parts...) {
			want[slices.IndexFunc(schemas, func(s algebra.Schema) bool { return s.Dataset == id })]++
		}
	}
	times := 1
	if plan.Weight != 0 {
		times = 2 // once for the rows, once for their weights
	}
	// A minimum is somebody's value: only those of one unit each are counted in. The
	// planner makes one of two that are alike.
	if w.extremes > times*extremes {
		return errors.New("unexpected minimum or maximum")
	}
	for i, n := range w.scans {
		if n != times*want[i] {
			return fmt.Errorf("data set %d is scanned %d times", i, n)
		}
	}
	return w.allConsent()
}

type walker struct {
	schemas  []algebra.Schema
	scans    []int
	consents []int // scans that are semi-joined with the subjects who consent
	extremes int   // MIN and MAX seen
	lists    int   // list columns not yet seen
}

func (w *walker) operator(v any) error {
	t, _ := v.(tree)
	kind, _ := t["type"].(string)
	if !planOperators[kind] {
		return errors.New("unexpected operator")
	}
	children, ok := t["children"].([]any)
	if !ok {
		return errShape
	}
	switch kind {
	case "LOGICAL_GET":
		if len(children) > 0 {
			return errShape
		}
		return w.scan(t)
	case "LOGICAL_COMPARISON_JOIN":
		if t["join_type"] == "SEMI" {
			if err := w.semiJoin(t, children); err != nil {
				return err
			}
			break
		}
		if t["join_type"] != "INNER" && t["join_type"] != "LEFT" || t["predicate"] != nil {
			return errors.New("unexpected kind of join")
		}
	case "LOGICAL_UNION":
		if t["setop_all"] != true || len(children) != 2 {
			return errors.New("unexpected union")
		}
	}
	if t["join_type"] == "SEMI" {
		children = children[:1] // the other was seen whole
	}
	for _, c := range children {
		if err := w.operator(c); err != nil {
			return err
		}
	}
	for field, value := range t {
		if field != "children" {
			if err := w.expressions(value); err != nil {
				return err
			}
		}
	}
	return nil
}

// expressions visits everything below an operator's own fields.
func (w *walker) expressions(v any) error {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			if err := w.expressions(x); err != nil {
				return err
			}
		}
	case tree:
		if kind, _ := v["type"].(string); len(kind) > 8 && kind[:8] == "LOGICAL_" {
			return errors.New("an operator where an expression belongs")
		}
		if _, isExpression := v["expression_class"]; isExpression {
			listed, err := w.list(v)
			if err != nil {
				return err
			}
			if !listed {
				if err := expression(v); err != nil {
					return err
				}
				if v["name"] == "min" || v["name"] == "max" {
					w.extremes++
				}
			}
		}
		for _, x := range v {
			if err := w.expressions(x); err != nil {
				return err
			}
		}
	}
	return nil
}

// list says whether an expression is one of the list columns of an exact plan: the
// units of a cell, or the two largest values of a number column.
func (w *walker) list(t tree) (bool, error) {
	if t["expression_class"] != "BOUND_AGGREGATE" || typeOf(t) != "LIST" {
		return false, nil
	}
	n, name := len(items(t["children"])), t["name"]
	if t["catalog_name"] != "system" || t["schema_name"] != "main" || (name != "list" || n != 1) && (name != "max" || n != 2) {
		return false, errors.New("unexpected function")
	}
	if w.lists--; w.lists < 0 {
		return false, errors.New("unexpected list of values")
	}
	return true, nil
}

func expression(t tree) error {
	class, _ := t["expression_class"].(string)
	if !planExpressions[class] {
		return errors.New("unexpected expression")
	}
	switch class {
	case "BOUND_FUNCTION", "BOUND_AGGREGATE":
		name, _ := t["name"].(string)
		// The planner swaps MIN and MAX for a variant by type, which has no home. Units
		// and ranks have other types.
		known := planFunctions[name] && t["catalog_name"] == "system" && t["schema_name"] == "main"
		if name == "min" || name == "max" {
			known = class == "BOUND_AGGREGATE" && (typeOf(t) == "BIGINT" || typeOf(t) == "DATE") && t["catalog_name"] == "" && t["schema_name"] == ""
		}
		if !known {
			return errors.New("unexpected function")
		}
		if class == "BOUND_FUNCTION" && !total(name, t) {
			return errors.New("arithmetic that can fail on a row")
		}
	case "BOUND_OPERATOR":
		if kind, _ := t["type"].(string); !planBoundOperators[kind] {
			return errors.New("unexpected operator expression")
		}
	case "BOUND_CAST":
		// A cast of a column can fail on a row and tell about it. Those of a
		// constant cannot, nor can widening to 128 bits, nor one that gives NULL.
		child, _ := t["child"].(tree)
		from, to := typeOf(child), typeOf(t)
		wide := to == "HUGEINT" && (from == "BIGINT" || from == "INTEGER") && t["try_cast"] == false
		back := (to == "BIGINT" || to == "INTEGER") && from == "HUGEINT" && t["try_cast"] == true
		if child["expression_class"] != "BOUND_CONSTANT" && !wide && !back && !constantCast(child) {
			return errors.New("unexpected cast")
		}
	}
	return nil
}

func typeOf(t tree) any {
	typ, _ := t["return_type"].(tree)
	return typ["id"]
}

func constantCast(t tree) bool {
	child, _ := t["child"].(tree)
	return t["expression_class"] == "BOUND_CAST" && child["expression_class"] == "BOUND_CONSTANT"
}

// total says whether an arithmetic function can meet no operands it fails on:
// those of 64 bits in 128, or clamped ones, of which the syntax tree was proven to
// be narrow enough, and quotients by a constant or by a count held from below.
func total(name string, t tree) bool {
	args := items(t["children"])
	all := func(ok func(tree) bool) bool {
		return !slices.ContainsFunc(args, func(v any) bool { a, _ := v.(tree); return !ok(a) })
	}
	function := func(a tree, names ...string) bool {
		is, _ := a["name"].(string)
		return a["expression_class"] == "BOUND_FUNCTION" && slices.Contains(names, is)
	}
	isConstant := func(a tree) bool { return a["expression_class"] == "BOUND_CONSTANT" || constantCast(a) }
	switch name {
	case "+", "abs":
		return typeOf(t) == "HUGEINT"
	case "-", "*":
		return typeOf(t) == "HUGEINT" || typeOf(t) == "BIGINT" && all(func(a tree) bool { return isConstant(a) || function(a, "least", "-") })
	case "//", "%":
		if len(args) != 2 {
			return false
		}
		by, _ := args[1].(tree)
		return typeOf(t) == "BIGINT" && (isConstant(by) || function(by, "greatest"))
	}
	return true
}

// wholeTable checks that a leaf reads all of some main.t and returns where it lies.
func wholeTable(t tree) (tree, error) {
	data, _ := t["function_data"].(tree)
	if t["name"] != "seq_scan" || data["schema"] != "main" || data["table"] != "t" {
		return nil, errors.New("unexpected scan")
	}
	filters, _ := t["table_filters"].(tree)
	extra, _ := t["extra_info"].(tree)
	if len(items(filters["filters"])) != 0 || extra["sample_options"] != nil {
		return nil, errors.New("a scan that filters or samples by itself")
	}
	return data, nil
}

// scan checks that a leaf reads d<i>.main.t with the columns of schema i.
func (w *walker) scan(t tree) error {
	data, err := wholeTable(t)
	if err != nil {
		return err
	}
	for i, s := range w.schemas {
		if data["catalog"] != "d"+strconv.Itoa(i) {
			continue
		}
		var names, types []string
		for _, c := range s.Columns {
			names, types = append(names, c.Name), append(types, storedTypes[c.Type.Kind])
		}
		if !s.Public {
			names, types = append(names, unitColumn, rankColumn), append(types, "UBIGINT", "INTEGER")
		}
		if s.Consent {
			names, types = append(names, consentColumn), append(types, "UUID")
		}
		if !hasColumns(t, names, types) {
			return fmt.Errorf("table %d has other columns than its schema", i)
		}
		w.scans[i]++
		return nil
	}
	return errors.New("scan of a table that is not approved")
}

func hasColumns(scan tree, names, types []string) bool {
	var got []string
	for _, v := range items(scan["returned_types"]) {
		typ, _ := v.(tree)
		id, _ := typ["id"].(string)
		got = append(got, id)
	}
	return equalJSON(scan["names"], names) && equalJSON(got, types)
}
