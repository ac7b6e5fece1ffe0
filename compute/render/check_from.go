package render

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"

	"github.com/sandgate/sandgate/compute/algebra"
)

// join is one JOIN of the tree.
type join struct {
	left, right, on any
	outer           bool
}

func readJoin(v any) (join, error) {
	f, err := pick(v, "type", "left", "right", "condition", "join_type", "ref_type")
	if err != nil {
		return join{}, err
	}
	if f[0] != "JOIN" || f[5] != "REGULAR" || f[4] != "INNER" && f[4] != "LEFT" {
		return join{}, errShape
	}
	return join{left: f[1], right: f[2], on: f[3], outer: f[4] == "LEFT"}, nil
}

// from reads the weights, if any, and then the plan's tables.
func (r *reader) from(v any) error {
	if r.plan.Weight == 0 {
		return r.tables(v)
	}
	j, err := readJoin(v)
	if err != nil {
		return err
	}
	if j.outer || r.sameUnit(j.on, "w") != nil {
		return errors.New("weights are joined otherwise")
	}
	if err := r.weights(j.right); err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	return r.tables(j.left)
}

// sameUnit reads t0._unit = name._unit.
func (r *reader) sameUnit(v any, name string) error {
	f, err := node(v, "COMPARISON", "COMPARE_EQUAL", "left", "right")
	if err != nil {
		return err
	}
	both := view{names: []string{"t0", name}}
	if !both.isHidden(f[0], 0, unitColumn) || !both.isHidden(f[1], 1, unitColumn) {
		return errors.New("not a join on the unit")
	}
	return nil
}

// subquery reads (SELECT …) AS name.
func subquery(v any, name string) (any, error) {
	f, err := pick(v, "type", "alias", "subquery")
	if err != nil {
		return nil, err
	}
	if f[0] != "SUBQUERY" || f[1] != name {
		return nil, errShape
	}
	f, err = pick(f[2], "node")
	return f2(f), err
}

// weights reads SELECT t0._unit, (Weight·m // GREATEST(m, COUNT(*))) AS w over the
// statement's own tables and condition.
func (r *reader) weights(v any) error {
	inner, err := subquery(v, "w")
	if err != nil {
		return err
	}
	q, err := readQuery(inner)
	if err != nil {
		return err
	}
	if len(q.selected) != 2 || len(q.groups) != 1 || !equalJSON(q.sets, [][]int{{0}}) || len(q.modifiers) != 0 || q.having != nil ||
		!r.outer.isHidden(q.selected[0], 0, unitColumn) || !r.outer.isHidden(q.groups[0], 0, unitColumn) {
		return errShape
	}
	weight, ok := named(q.selected[1], "w")
	if !ok {
		return errShape
	}
	divided, err := call(weight, "//", true, 2)
	if err != nil {
		return err
	}
	greatest, err := call(divided[1], "greatest", false, 2)
	if err != nil {
		return err
	}
	want := new(big.Int).Mul(big.NewInt(r.plan.Weight), big.NewInt(r.plan.MaxRows))
	total, okTotal := constant(divided[0])
	m, okM := constant(greatest[0])
	if !okTotal || !okM || !want.IsInt64() || total.Cmp(want) != 0 || m.Cmp(big.NewInt(r.plan.MaxRows)) != 0 {
		return errors.New("weight is not the plan's")
	}
	if err := isCountStar(greatest[1], nil); err != nil {
		return err
	}
	if err := r.tables(q.from); err != nil {
		return err
	}
	return r.where(q.where, false)
}

// named takes the alias off an expression; it fails for another alias.
func named(v any, alias string) (any, bool) {
	t, ok := v.(tree)
	if !ok || t["alias"] != alias {
		return nil, false
	}
	bare := tree{}
	for field, value := range t {
		bare[field] = value
	}
	bare["alias"] = ""
	return bare, true
}

// tables reads the left-deep joins from the last to the fact table.
func (r *reader) tables(v any) error {
	core := r.plan.Core
	for i := len(core.Joins) - 1; i >= 0; i-- {
		want := core.Joins[i]
		j, err := readJoin(v)
		if err != nil {
			return err
		}
		if j.outer != want.Outer {
			return fmt.Errorf("join %d is of another kind", i)
		}
		if err := r.table(j.right, want.Table); err != nil {
			return err
		}
		if err := r.on(j.on, want); err != nil {
			return fmt.Errorf("join %d: %w", i, err)
		}
		v = j.left
	}
	return r.table(v, 0)
}

func (r *reader) on(v any, want algebra.Join) error {
	if !want.Unit {
		f, err := node(v, "COMPARISON", "COMPARE_EQUAL", "left", "right")
		if err != nil {
			return err
		}
		if err := r.outer.isColumn(f[0], want.Left); err != nil {
			return err
		}
		return r.outer.isColumn(f[1], want.Right)
	}
	parts, err := conjuncts(v)
	if err != nil {
		return err
	}
	rank := int64(0)
	if t := r.plan.Core.Tables[want.Table]; t.PerUnit == nil {
		rank = r.rank(t.Dataset)
	}
	rest, err := r.outer.withoutRank(parts, want.Table, rank)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return errShape
	}
	return r.sameUnit(rest[0], r.outer.names[want.Table])
}

func (r *reader) table(v any, i int) error {
	t, name := r.plan.Core.Tables[i], r.outer.names[i]
	var err error
	switch {
	case t.PerUnit != nil:
		err = r.perUnit(v, t, name)
	case len(t.Parts) > 0:
		err = r.parts(v, t, name)
	default:
		err = r.stored(v, t.Dataset, name)
	}
	if err != nil {
		return fmt.Errorf("table %d: %w", i, err)
	}
	return nil
}

// stored reads a data set AS name: its table, or that of its consenting units.
func (r *reader) stored(v any, dataset, name string) error {
	at := slices.Index(r.datasets, dataset)
	if at < 0 {
		return errors.New("not the plan's table")
	}
	if r.schemas[at].Consent {
		return r.consenting(v, at, name)
	}
	return baseTable(v, "d"+strconv.Itoa(at), name)
}

// baseTable reads <catalog>.main.t AS name.
func baseTable(v any, catalog, name string) error {
	f, err := pick(v, "type", "alias", "catalog_name", "schema_name", "table_name")
	if err != nil {
		return err
	}
	if f[0] != "BASE_TABLE" || f[1] != name || f[2] != catalog || f[3] != "main" || f[4] != "t" {
		return errors.New("not the plan's table")
	}
	return nil
}

// perUnit reads a pre-aggregation: its own bound, condition, group and values.
func (r *reader) perUnit(v any, t algebra.Table, name string) error {
	inner, err := subquery(v, name)
	if err != nil {
		return err
	}
	q, err := readQuery(inner)
	if err != nil {
		return err
	}
	u, at := t.PerUnit, slices.Index(r.datasets, t.Dataset)
	in := &view{names: []string{"p"}, columns: [][]algebra.SchemaColumn{r.schemas[at].Columns}, datasets: []int{at}, grids: r.plan.Grids,
		tables: []algebra.Table{{Dataset: t.Dataset}}, derived: u.Derived, schemas: r.schemas}
	if err := r.stored(q.from, t.Dataset, "p"); err != nil {
		return err
	}
	parts, err := conjuncts(q.where)
	if err != nil {
		return err
	}
	if parts, err = in.withoutRank(parts, 0, r.plan.Ranks[at]); err != nil {
		return err
	}
	if err := in.sameCondition(parts, u.Where); err != nil {
		return err
	}
	if len(q.groups) != 1 || !equalJSON(q.sets, [][]int{{0}}) || !in.isHidden(q.groups[0], 0, unitColumn) || len(q.modifiers) != 0 || q.having != nil {
		return errors.New("not grouped by the unit")
	}
	if len(q.selected) != len(u.Aggs)+1 || !in.isHidden(q.selected[0], 0, unitColumn) {
		return errors.New("number of columns is not the plan's")
	}
	for i, a := range u.Aggs {
		bare, ok := named(q.selected[i+1], "a"+strconv.Itoa(i))
		if !ok {
			return fmt.Errorf("column %d is misnamed", i)
		}
		if err := in.isUnitValue(bare, a); err != nil {
			return fmt.Errorf("column %d: %w", i, err)
		}
	}
	return nil
}

func (w *view) isUnitValue(v any, a algebra.Agg) error {
	function := map[algebra.Func]string{algebra.CountCol: "count", algebra.Sum: "sum", algebra.Min: "min", algebra.Max: "max"}[a.Func]
	switch {
	case a.Func == algebra.CountRows && a.Filter == nil:
		return isCountStar(v, nil)
	case function == "" || a.Arg == nil || a.Filter != nil:
		return errors.New("unknown value per unit")
	case a.Func == algebra.Sum:
		inner, ok := tryCast(v, "BIGINT")
		if !ok {
			return errShape
		}
		v = inner
	}
	args, err := call(v, function, false, 1)
	if err != nil {
		return err
	}
	return w.isColumn(args[0], *a.Arg)
}

// parts reads the partitions from the last to the first.
func (r *reader) parts(v any, t algebra.Table, name string) error {
	v, err := subquery(v, name)
	if err != nil {
		return err
	}
	for i := len(t.Parts) - 1; i >= 0; i-- {
		f, err := pick(v, "type", "setop_type", "setop_all", "left", "right")
		if err != nil {
			return err
		}
		if f[0] != "SET_OPERATION_NODE" || f[1] != "UNION" || f[2] != true {
			return errShape
		}
		if err := r.part(f[4], t.Parts[i]); err != nil {
			return fmt.Errorf("part %d: %w", i+1, err)
		}
		v = f[3]
	}
	return r.part(v, t.Dataset)
}

// part reads SELECT p._unit, p._rn, … FROM … AS p with the part's own bound. Which
// columns it hands on is of no account as long as each keeps its name: those the
// statement lacks it cannot read.
func (r *reader) part(v any, dataset string) error {
	q, err := readQuery(v)
	if err != nil {
		return err
	}
	in := &view{names: []string{"p"}, columns: [][]algebra.SchemaColumn{r.schemas[slices.Index(r.datasets, dataset)].Columns}}
	if err := r.stored(q.from, dataset, "p"); err != nil {
		return err
	}
	parts, err := conjuncts(q.where)
	if err != nil {
		return err
	}
	if parts, err = in.withoutRank(parts, 0, r.rank(dataset)); err != nil {
		return err
	}
	want := r.columnsOfFact()
	if len(parts) != 0 || len(q.groups) != 0 || len(q.sets) != 0 || len(q.modifiers) != 0 || q.having != nil || len(q.selected) != len(want) {
		return errShape
	}
	// UNION ALL matches columns by place.
	for i, s := range q.selected {
		if !in.isHidden(s, 0, want[i]) {
			return errColumn
		}
	}
	return nil
}

// columnsOfFact lists what partitions hand on: unit, rank and, sorted, every column
// of the fact table that anything in the plan reads.
func (r *reader) columnsOfFact() []string {
	used := map[string]bool{}
	note := func(c algebra.Col) {
		if c.Table == 0 {
			used[c.Name] = true
		}
	}
	core := r.plan.Core
	for _, j := range core.Joins {
		if !j.Unit {
			note(j.Left)
		}
	}
	for _, e := range core.Derived {
		e.Each(note, note)
	}
	for _, k := range r.plan.Keys {
		note(k.Col)
	}
	conditions := []*algebra.Pred{core.Where}
	for _, m := range r.plan.Measures {
		conditions = append(conditions, m.Filter)
		for _, c := range []*algebra.Col{m.Col, m.Col2} {
			if c != nil {
				note(*c)
			}
		}
	}
	for _, p := range conditions {
		if p != nil {
			p.Each(note)
		}
	}
	var names []string
	for name := range used {
		names = append(names, name)
	}
	slices.Sort(names)
	return append([]string{unitColumn, rankColumn}, names...)
}
