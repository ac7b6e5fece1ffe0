package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// Check is the gate between a rendered statement and an engine. It shares no
// code with SQL: the statement's syntax tree must read back as the plan's own
// tables, joins, bound, condition, keys and measures, and the bound plan must
// scan the approved tables only, with functions of a short list. Whatever it
// does not know is an error; a caller must not run the statement then.
func Check(plan *protect.Plan, schemas []algebra.Schema, ast, boundPlan []byte) error {
	if err := ready(plan, schemas); err != nil {
		return fmt.Errorf("failed to check statement: %w", err)
	}
	r := reader{plan: plan, schemas: schemas}
	if err := r.statement(ast); err != nil {
		return fmt.Errorf("failed to check statement: syntax tree: %w", err)
	}
	if err := checkBound(schemas, boundPlan); err != nil {
		return fmt.Errorf("failed to check statement: bound plan: %w", err)
	}
	return nil
}

type tree = map[string]any

type reader struct {
	plan    *protect.Plan
	schemas []algebra.Schema
}

var errShape = errors.New("not the shape of a rendered statement")

// parse reads one JSON object with numbers as written.
func parse(b []byte) (tree, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var t tree
	if err := d.Decode(&t); err != nil || t == nil || d.More() {
		return nil, errShape
	}
	return t, nil
}

// pick returns t's fields by name and fails on any other field that is not null,
// false, "" or empty. The parser's place and its type texts are let through.
func pick(v any, names ...string) ([]any, error) {
	t, ok := v.(tree)
	if !ok {
		return nil, errShape
	}
	out := make([]any, len(names))
	for field, value := range t {
		if i := slices.Index(names, field); i >= 0 {
			out[i] = value
		} else if field != "query_location" && !empty(value) {
			return nil, fmt.Errorf("%w: unexpected field", errShape)
		}
	}
	return out, nil
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case tree:
		// An ORDER BY without terms and a map without entries are empty too.
		for field, value := range v {
			if !empty(value) && !(field == "type" && value == "ORDER_MODIFIER") {
				return false
			}
		}
		return true
	}
	return false
}

// node is pick for an expression of a known class and type.
func node(v any, class, kind string, names ...string) ([]any, error) {
	t, _ := v.(tree)
	if t["class"] != class || t["type"] != kind {
		return nil, errShape
	}
	f, err := pick(v, append([]string{"class", "type"}, names...)...)
	if err != nil {
		return nil, err
	}
	return f[2:], nil
}

func items(v any) []any { l, _ := v.([]any); return l }

func (r reader) statement(ast []byte) error {
	root, err := parse(ast)
	if err != nil {
		return err
	}
	f, err := pick(root, "statements")
	if err != nil || len(items(f[0])) != 1 {
		return errShape
	}
	if f, err = pick(items(f[0])[0], "node"); err != nil {
		return err
	}
	f, err = pick(f[0], "type", "select_list", "from_table", "where_clause", "group_expressions", "group_sets", "aggregate_handling", "modifiers")
	if err != nil {
		return err
	}
	if f[0] != "SELECT_NODE" || f[6] != "STANDARD_HANDLING" {
		return errShape
	}
	for _, step := range []struct {
		what string
		err  error
	}{
		{"FROM", r.tables(f[2])},
		{"WHERE", r.where(f[3])},
		{"SELECT", r.selected(items(f[1]))},
		{"GROUP BY", r.groups(items(f[4]), items(f[5]))},
		{"LIMIT", r.limit(items(f[7]))},
	} {
		if step.err != nil {
			return fmt.Errorf("%s: %w", step.what, step.err)
		}
	}
	return nil
}

// tables reads the left-deep joins from the last to the fact table.
func (r reader) tables(v any) error {
	core := r.plan.Core
	for i := len(core.Joins) - 1; i >= 0; i-- {
		j := core.Joins[i]
		f, err := pick(v, "type", "left", "right", "condition", "join_type", "ref_type")
		if err != nil {
			return err
		}
		kind := "INNER"
		if j.Outer {
			kind = "LEFT"
		}
		if f[0] != "JOIN" || f[4] != kind || f[5] != "REGULAR" {
			return errShape
		}
		if err := r.table(f[2], j.Table); err != nil {
			return err
		}
		on, err := node(f[3], "COMPARISON", "COMPARE_EQUAL", "left", "right")
		if err != nil {
			return err
		}
		a, errA := r.column(on[0])
		b, errB := r.column(on[1])
		if errA != nil || errB != nil || a != j.Left || b != j.Right {
			return fmt.Errorf("join %d is not the plan's", i)
		}
		v = f[1]
	}
	return r.table(v, 0)
}

func (r reader) table(v any, i int) error {
	f, err := pick(v, "type", "alias", "catalog_name", "schema_name", "table_name")
	if err != nil {
		return err
	}
	n := strconv.Itoa(i)
	if f[0] != "BASE_TABLE" || f[1] != "t"+n || f[2] != "d"+n || f[3] != "main" || f[4] != "t" {
		return fmt.Errorf("table %d is not the plan's", i)
	}
	return nil
}

// names reads a column reference t<i>.<name>.
func (r reader) names(v any) (int, string, error) {
	f, err := node(v, "COLUMN_REF", "COLUMN_REF", "alias", "column_names")
	if err != nil {
		return 0, "", err
	}
	parts := items(f[1])
	if len(parts) != 2 {
		return 0, "", errShape
	}
	name, _ := parts[1].(string)
	for i := range r.schemas {
		if parts[0] == "t"+strconv.Itoa(i) {
			return i, name, nil
		}
	}
	return 0, "", errors.New("column of an unknown table")
}

func (r reader) column(v any) (algebra.Col, error) {
	i, name, err := r.names(v)
	if err != nil {
		return algebra.Col{}, err
	}
	for _, c := range r.schemas[i].Columns {
		if c.Name == name {
			return algebra.Col{Table: i, Name: name, Type: c.Type}, nil
		}
	}
	return algebra.Col{}, errors.New("unknown column")
}

// where takes the rank bound and the code lists out of the condition; the rest
// must mean what the plan's condition means.
func (r reader) where(v any) error {
	var parts []any
	if t, _ := v.(tree); t["type"] == "CONJUNCTION_AND" {
		f, err := node(v, "CONJUNCTION", "CONJUNCTION_AND", "children")
		if err != nil {
			return err
		}
		parts = items(f[0])
	} else if v != nil {
		parts = []any{v}
	}
	bounds := 0
	var rest []algebra.Pred
	for _, part := range parts {
		if r.isRankBound(part) {
			bounds++
			continue
		}
		p, err := r.predicate(part)
		if err != nil {
			return err
		}
		rest = append(rest, p)
	}
	if want := 1; r.plan.OneRow && bounds != 0 || !r.plan.OneRow && bounds != want {
		return errors.New("rows per unit are not bounded as planned")
	}
	for i, k := range r.plan.Keys {
		if k.Codes == nil {
			continue
		}
		want := restriction(k)
		at := slices.IndexFunc(rest, func(p algebra.Pred) bool { return equalJSON(p, want) })
		if at < 0 {
			return fmt.Errorf("key %d is not restricted to its codes", i)
		}
		rest = slices.Delete(rest, at, at+1)
	}
	return r.sameCondition(rest)
}

func equalJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func restriction(k protect.Key) algebra.Pred {
	col := k.Col
	in := algebra.Pred{Op: algebra.OpIn, Col: &col, Values: k.Codes}
	null := algebra.Pred{Op: algebra.OpIsNull, Col: &col}
	switch {
	case len(k.Codes) == 0:
		return null
	case k.Nullable:
		return algebra.Pred{Op: algebra.OpOr, Args: []algebra.Pred{in, null}}
	}
	return in
}

// sameCondition compares canonical forms: the parser moves negations and
// flattens conjunctions, so the trees themselves differ.
func (r reader) sameCondition(rest []algebra.Pred) error {
	got := r.plan.Core
	got.Where = nil
	if len(rest) > 0 {
		got.Where = &algebra.Pred{Op: algebra.OpAnd, Args: rest}
	}
	if err := got.Validate(r.schemas); err != nil {
		return err
	}
	if !bytes.Equal(got.Canonical().Bytes(), r.plan.Core.Canonical().Bytes()) {
		return errors.New("condition is not the plan's")
	}
	return nil
}

func (r reader) isRankBound(v any) bool {
	f, err := node(v, "COMPARISON", "COMPARE_LESSTHANOREQUALTO", "left", "right")
	if err != nil {
		return false
	}
	i, name, err := r.names(f[0])
	n, ok := constant(f[1])
	return err == nil && i == 0 && name == rankColumn && ok && n.IsInt64() && n.Int64() == r.plan.MaxRows
}

func (r reader) selected(list []any) error {
	want := []string{}
	for i := range r.plan.Keys {
		want = append(want, "k"+strconv.Itoa(i))
	}
	exact := r.plan.Mode == protect.ModeExact && len(r.plan.Keys) > 0
	if exact {
		want = append(want, "grp")
	}
	for i := range r.plan.Measures {
		want = append(want, "m"+strconv.Itoa(i))
	}
	for i := range lists(r.plan) {
		want = append(want, listName(i))
	}
	if len(list) != len(want) {
		return errors.New("number of columns is not the plan's")
	}
	for i, item := range list {
		t, _ := item.(tree)
		if t["alias"] != want[i] {
			return fmt.Errorf("column %d is misnamed", i)
		}
		k, m := i, i-len(r.plan.Keys)
		if exact {
			m--
		}
		var err error
		switch {
		case k < len(r.plan.Keys):
			err = r.isColumn(item, r.plan.Keys[k].Col)
		case m < 0:
			err = r.isGrouping(item)
		case m < len(r.plan.Measures):
			err = r.isMeasure(item, r.plan.Measures[m])
		default:
			err = r.isList(item, lists(r.plan)[m-len(r.plan.Measures)])
		}
		if err != nil {
			return fmt.Errorf("column %d: %w", i, err)
		}
	}
	return nil
}

func (r reader) isColumn(v any, want algebra.Col) error {
	got, err := r.column(v)
	if err == nil && got != want {
		err = errors.New("column is not the plan's")
	}
	return err
}

func (r reader) isGrouping(v any) error {
	f, err := node(v, "OPERATOR", "GROUPING_FUNCTION", "alias", "children")
	if err != nil {
		return err
	}
	return r.areKeys(items(f[1]))
}

func (r reader) areKeys(list []any) error {
	if len(list) != len(r.plan.Keys) {
		return errors.New("keys are not the plan's")
	}
	for i, v := range list {
		if err := r.isColumn(v, r.plan.Keys[i].Col); err != nil {
			return err
		}
	}
	return nil
}

func (r reader) groups(list, sets []any) error {
	if err := r.areKeys(list); err != nil {
		return err
	}
	all := []int{}
	for i := range r.plan.Keys {
		all = append(all, i)
	}
	want := [][]int{all}
	switch {
	case len(all) == 0:
		want = [][]int{}
	case r.plan.Mode == protect.ModeExact:
		want = append(want, []int{})
	}
	if !equalJSON(sets, want) {
		return errors.New("grouping sets are not the plan's")
	}
	return nil
}

func (r reader) limit(modifiers []any) error {
	if len(r.plan.Keys) == 0 {
		if len(modifiers) != 0 {
			return errShape
		}
		return nil
	}
	if len(modifiers) != 1 {
		return errShape
	}
	f, err := pick(modifiers[0], "type", "limit")
	if err != nil {
		return err
	}
	want := int64(r.plan.MaxCells) + 1
	if r.plan.Mode == protect.ModeExact {
		want++
	}
	n, ok := constant(f[1])
	if f[0] != "LIMIT_MODIFIER" || !ok || n.Cmp(big.NewInt(want)) != 0 {
		return errors.New("limit is not the plan's")
	}
	return nil
}

// day is the inverse of the date literals of a statement.
func day(s string) (int64, bool) {
	t, err := time.Parse(time.DateOnly, s)
	return t.Unix() / 86400, err == nil
}
