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
	"github.com/sandgate/sandgate/compute/internal/jsontree"
	"github.com/sandgate/sandgate/compute/protect"
)

// Check is the gate between a rendered statement and an engine. It shares no
// code with SQL: the statement's syntax tree must read back as the plan's own
// tables, joins, bounds, conditions, keys and measures, and the bound plan must
// scan the approved tables only, with functions of a short list. Whatever it
// does not know is an error; a caller must not run the statement then.
func Check(plan *protect.Plan, schemas []algebra.Schema, ast, boundPlan []byte) error {
	if err := ready(plan, schemas); err != nil {
		return fmt.Errorf("failed to check statement: %w", err)
	}
	r, err := newReader(plan, schemas)
	if err != nil {
		return fmt.Errorf("failed to check statement: %w", err)
	}
	if err := r.statement(ast); err != nil {
		return fmt.Errorf("failed to check statement: syntax tree: %w", err)
	}
	if err := checkBound(plan, schemas, boundPlan); err != nil {
		return fmt.Errorf("failed to check statement: bound plan: %w", err)
	}
	return nil
}

type tree = map[string]any

var errShape = errors.New("not the shape of a rendered statement")

// parse reads one JSON object with numbers as written.
func parse(b []byte) (tree, error) {
	t, ok := jsontree.Parse(b)
	if !ok {
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

// items lists an array's elements. What is no array becomes one unreadable element,
// so that no reader takes it for an empty one.
func items(v any) []any {
	l, ok := v.([]any)
	if !ok && v != nil {
		return []any{nil}
	}
	return l
}

// reader compares the tree of a statement with a plan.
type reader struct {
	plan     *protect.Plan
	schemas  []algebra.Schema // parallel to datasets
	datasets []string
	outer    *view
}

func newReader(plan *protect.Plan, schemas []algebra.Schema) (*reader, error) {
	r := &reader{plan: plan, schemas: schemas, datasets: plan.Core.Datasets()}
	core := plan.Core
	r.outer = &view{grids: plan.Grids, tables: core.Tables, joins: core.Joins, derived: core.Derived, schemas: schemas}
	for i, t := range core.Tables {
		s, err := core.View(i, schemas)
		if err != nil {
			return nil, err
		}
		r.outer.columns = append(r.outer.columns, s.Columns)
		r.outer.names = append(r.outer.names, "t"+strconv.Itoa(i))
		r.outer.datasets = append(r.outer.datasets, slices.Index(r.datasets, t.Dataset))
	}
	return r, nil
}

// query is the parts of one SELECT; no other clause may be there.
type query struct {
	selected, groups, sets, modifiers []any
	from, where, having               any
}

func readQuery(v any) (query, error) {
	f, err := pick(v, "type", "select_list", "from_table", "where_clause", "group_expressions", "group_sets", "aggregate_handling", "modifiers", "having")
	if err != nil {
		return query{}, err
	}
	if f[0] != "SELECT_NODE" || f[6] != "STANDARD_HANDLING" {
		return query{}, errShape
	}
	return query{selected: items(f[1]), from: f[2], where: f[3], groups: items(f[4]), sets: items(f[5]), modifiers: items(f[7]), having: f[8]}, nil
}

func (r *reader) statement(ast []byte) error {
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
	q, err := readQuery(f[0])
	if err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		err  error
	}{
		{"FROM", r.from(q.from)},
		{"WHERE", r.where(q.where, r.plan.Mode == protect.ModeExact)},
		{"SELECT", r.selected(q.selected)},
		{"GROUP BY", r.groups(q.groups, q.sets)},
		{"HAVING", r.having(q.having)},
		{"LIMIT", r.limit(q.modifiers)},
	} {
		if step.err != nil {
			return fmt.Errorf("%s: %w", step.what, step.err)
		}
	}
	return nil
}

// conjuncts lists the parts of a condition, which may be absent.
func conjuncts(v any) ([]any, error) {
	if t, _ := v.(tree); t["type"] == "CONJUNCTION_AND" {
		f, err := node(v, "CONJUNCTION", "CONJUNCTION_AND", "children")
		return items(f2(f)), err
	}
	if v == nil {
		return nil, nil
	}
	return []any{v}, nil
}

// where takes the rank bound and, in exact mode with keys, the code lists out of
// the condition; the rest must mean what the plan's condition means.
func (r *reader) where(v any, coded bool) error {
	parts, err := conjuncts(v)
	if err != nil {
		return err
	}
	fact := r.plan.Core.Tables[0]
	rank := int64(0)
	if fact.PerUnit == nil && len(fact.Parts) == 0 {
		rank = r.rank(fact.Dataset)
	}
	rest, err := r.outer.withoutRank(parts, 0, rank)
	if err != nil {
		return err
	}
	if coded {
		if rest, err = r.withoutCodes(rest); err != nil {
			return err
		}
	}
	return r.outer.sameCondition(rest, r.plan.Core.Where)
}

func (r *reader) rank(id string) int64 { return r.plan.Ranks[slices.Index(r.datasets, id)] }

// withoutCodes wants the restriction of every public key once among parts.
func (r *reader) withoutCodes(parts []any) ([]any, error) {
	rest := slices.Clone(parts)
	for i, k := range r.plan.Keys {
		if k.Codes == nil {
			continue
		}
		at := slices.IndexFunc(rest, func(v any) bool { return r.restricts(v, k) })
		if at < 0 {
			return nil, fmt.Errorf("key %d is not restricted to its codes", i)
		}
		rest = slices.Delete(rest, at, at+1)
	}
	return rest, nil
}

// restricts reads key IN (codes), key IS NULL, or both joined by OR; the codes may
// be spread over several lists, which together name each of them once, in order.
func (r *reader) restricts(v any, k protect.Key) bool {
	parts := []any{v}
	if t, _ := v.(tree); t["type"] == "CONJUNCTION_OR" {
		f, err := node(v, "CONJUNCTION", "CONJUNCTION_OR", "children")
		if err != nil {
			return false
		}
		parts = items(f[0])
	}
	return r.restriction(parts, k)
}

func (r *reader) restriction(parts []any, k protect.Key) bool {
	if len(k.Codes) == 0 && !k.Nullable {
		return false
	}
	for missing := k.Codes; len(missing) > 0; parts = parts[1:] {
		if len(parts) == 0 {
			return false
		}
		f, err := node(parts[0], "OPERATOR", "COMPARE_IN", "children")
		list := items(f2(f))
		if err != nil || len(list) < 2 || len(list) > len(missing)+1 || r.outer.isColumn(list[0], k.Col) != nil {
			return false
		}
		for i, v := range list[1:] {
			if got, err := value(v, k.Col.Type); err != nil || got != missing[i] {
				return false
			}
		}
		missing = missing[len(list)-1:]
	}
	if k.Nullable {
		if len(parts) == 0 {
			return false
		}
		f, err := node(parts[0], "OPERATOR", "OPERATOR_IS_NULL", "children")
		if list := items(f2(f)); err != nil || len(list) != 1 || r.outer.isColumn(list[0], k.Col) != nil {
			return false
		}
		parts = parts[1:]
	}
	return len(parts) == 0
}

// having reads, in dp mode, (COUNT(*) < 0 OR restriction) for each public key.
func (r *reader) having(v any) error {
	parts, err := conjuncts(v)
	if err != nil {
		return err
	}
	if r.plan.Mode == protect.ModeExact {
		if len(parts) != 0 {
			return errShape
		}
		return nil
	}
	for i, k := range r.plan.Keys {
		if k.Codes == nil {
			continue
		}
		if len(parts) == 0 {
			return fmt.Errorf("key %d is not restricted to its codes", i)
		}
		f, err := node(parts[0], "CONJUNCTION", "CONJUNCTION_OR", "children")
		list := items(f2(f))
		if err != nil || len(list) < 2 || !neverTrue(list[0]) || !r.restriction(list[1:], k) {
			return fmt.Errorf("key %d is not restricted to its codes", i)
		}
		parts = parts[1:]
	}
	if len(parts) != 0 {
		return errShape
	}
	return nil
}

// neverTrue reads COUNT(*) < 0.
func neverTrue(v any) bool {
	f, err := node(v, "COMPARISON", "COMPARE_LESSTHAN", "left", "right")
	if err != nil {
		return false
	}
	zero, ok := constant(f[1])
	return ok && zero.Sign() == 0 && isCountStar(f[0], nil) == nil
}

func (r *reader) selected(list []any) error {
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
		t, ok := item.(tree)
		if !ok || t["alias"] != want[i] {
			return fmt.Errorf("column %d is misnamed", i)
		}
		// The name is checked; inside, no expression has one.
		bare := tree{}
		for field, value := range t {
			bare[field] = value
		}
		bare["alias"] = ""
		k, m := i, i-len(r.plan.Keys)
		if exact {
			m--
		}
		var err error
		switch {
		case k < len(r.plan.Keys):
			err = r.outer.isColumn(bare, r.plan.Keys[k].Col)
		case m < 0:
			err = r.isGrouping(bare)
		case m < len(r.plan.Measures):
			err = r.isMeasure(bare, r.plan.Measures[m])
		default:
			err = r.isList(bare, lists(r.plan)[m-len(r.plan.Measures)])
		}
		if err != nil {
			return fmt.Errorf("column %d: %w", i, err)
		}
	}
	return nil
}

func (r *reader) isGrouping(v any) error {
	f, err := node(v, "OPERATOR", "GROUPING_FUNCTION", "children")
	if err != nil {
		return err
	}
	return r.areKeys(items(f[0]))
}

func (r *reader) areKeys(list []any) error {
	if len(list) != len(r.plan.Keys) {
		return errors.New("keys are not the plan's")
	}
	for i, v := range list {
		if err := r.outer.isColumn(v, r.plan.Keys[i].Col); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) groups(list, sets []any) error {
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

func equalJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func (r *reader) limit(modifiers []any) error {
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
