package render

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/sandgate/sandgate/compute/algebra"
)

// What a bound plan may consist of. The plan is a second opinion on the text:
// views, macros and replacement scans are expanded in it, so a name that hides
// something else shows here and nowhere before.
var (
	planOperators = map[string]bool{
		"LOGICAL_LIMIT": true, "LOGICAL_PROJECTION": true, "LOGICAL_AGGREGATE_AND_GROUP_BY": true,
		"LOGICAL_FILTER": true, "LOGICAL_COMPARISON_JOIN": true, "LOGICAL_GET": true,
	}
	planExpressions = map[string]bool{
		"BOUND_REF": true, "BOUND_CONSTANT": true, "BOUND_COMPARISON": true, "BOUND_CONJUNCTION": true,
		"BOUND_OPERATOR": true, "BOUND_CAST": true, "BOUND_FUNCTION": true, "BOUND_AGGREGATE": true,
	}
	planBoundOperators = map[string]bool{
		"OPERATOR_COALESCE": true, "OPERATOR_IS_NULL": true, "OPERATOR_IS_NOT_NULL": true,
		"OPERATOR_NOT": true, "COMPARE_IN": true, "COMPARE_NOT_IN": true,
	}
	planFunctions = map[string]bool{
		"count_star": true, "count": true, "sum": true, "least": true, "greatest": true, "-": true, "*": true,
		"list": true, "max": true,
	}
	storedTypes = map[algebra.Kind]string{
		algebra.Bool: "BOOLEAN", algebra.Int: "BIGINT", algebra.Decimal: "BIGINT",
		algebra.Date: "DATE", algebra.Text: "VARCHAR",
	}
)

// checkBound walks the bound plan and fails on anything not listed above.
func checkBound(schemas []algebra.Schema, bound []byte) error {
	root, err := parse(bound)
	if err != nil {
		return err
	}
	if root["error"] != false || len(items(root["plans"])) != 1 || len(root) != 2 {
		return errors.New("the planner refused the statement, or planned several")
	}
	w := walker{schemas: schemas, scans: make([]int, len(schemas))}
	if err := w.operator(items(root["plans"])[0]); err != nil {
		return err
	}
	for i, n := range w.scans {
		if n != 1 {
			return fmt.Errorf("table %d is scanned %d times", i, n)
		}
	}
	return nil
}

type walker struct {
	schemas []algebra.Schema
	scans   []int
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
		if t["join_type"] != "INNER" && t["join_type"] != "LEFT" || t["predicate"] != nil {
			return errors.New("unexpected kind of join")
		}
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
			if err := expression(v); err != nil {
				return err
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

func expression(t tree) error {
	class, _ := t["expression_class"].(string)
	if !planExpressions[class] {
		return errors.New("unexpected expression")
	}
	switch class {
	case "BOUND_FUNCTION", "BOUND_AGGREGATE":
		name, _ := t["name"].(string)
		if !planFunctions[name] || t["catalog_name"] != "system" || t["schema_name"] != "main" {
			return errors.New("unexpected function")
		}
	case "BOUND_OPERATOR":
		if kind, _ := t["type"].(string); !planBoundOperators[kind] {
			return errors.New("unexpected operator expression")
		}
	case "BOUND_CAST":
		// A cast of a column can fail on a row and tell about it. Those of a
		// constant cannot, nor can widening to 128 bits.
		child, _ := t["child"].(tree)
		to, _ := t["return_type"].(tree)
		from, _ := child["return_type"].(tree)
		wide := to["id"] == "HUGEINT" && (from["id"] == "BIGINT" || from["id"] == "INTEGER")
		if child["expression_class"] != "BOUND_CONSTANT" && !wide && !constantCast(child) {
			return errors.New("unexpected cast")
		}
	}
	return nil
}

func constantCast(t tree) bool {
	child, _ := t["child"].(tree)
	return t["expression_class"] == "BOUND_CAST" && child["expression_class"] == "BOUND_CONSTANT"
}

// scan checks that a leaf reads d<i>.main.t with the columns of schema i.
func (w *walker) scan(t tree) error {
	data, _ := t["function_data"].(tree)
	if t["name"] != "seq_scan" || data["schema"] != "main" || data["table"] != "t" {
		return errors.New("unexpected scan")
	}
	filters, _ := t["table_filters"].(tree)
	extra, _ := t["extra_info"].(tree)
	if len(items(filters["filters"])) != 0 || extra["sample_options"] != nil {
		return errors.New("a scan that filters or samples by itself")
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
		var got []string
		for _, v := range items(t["returned_types"]) {
			typ, _ := v.(tree)
			id, _ := typ["id"].(string)
			got = append(got, id)
		}
		if !equalJSON(t["names"], names) || !equalJSON(got, types) {
			return fmt.Errorf("table %d has other columns than its schema", i)
		}
		w.scans[i]++
		return nil
	}
	return errors.New("scan of a table that is not approved")
}
