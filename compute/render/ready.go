package render

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// ready checks what both directions rely on.
func ready(plan *protect.Plan, schemas []algebra.Schema) error {
	if plan == nil {
		return errors.New("no plan")
	}
	if err := plan.Core.Validate(schemas); err != nil {
		return err
	}
	datasets := plan.Core.Datasets()
	if len(schemas) != len(datasets) {
		return errors.New("schemas do not match data sets")
	}
	for i, s := range schemas {
		if s.Dataset != datasets[i] {
			return fmt.Errorf("schema %d is of another data set", i)
		}
		for _, c := range s.Columns {
			if name := strings.ToLower(c.Name); name == unitColumn || name == rankColumn || name == consentColumn {
				return fmt.Errorf("schema %d has a column with a reserved name", i)
			}
		}
	}
	if plan.Mode != protect.ModeDP && plan.Mode != protect.ModeExact {
		return errors.New("unknown release mode")
	}
	if err := bounded(plan, schemas); err != nil {
		return err
	}
	if err := consented(plan, schemas); err != nil {
		return err
	}
	if len(plan.Keys) != len(plan.Core.Keys) || len(plan.Measures) == 0 {
		return errors.New("keys or measures are missing")
	}
	if len(plan.Keys) > 0 && (plan.MaxCells < 1 || plan.MaxCells > math.MaxInt32) {
		return errors.New("cells are not bounded")
	}
	for i, k := range plan.Keys {
		if k.Col != plan.Core.Keys[i] {
			return fmt.Errorf("key %d is not the core's", i)
		}
		// A bare number in GROUP BY would be read as a place in the list.
		if at, ok := k.Col.Derived(); ok && plan.Core.Derived[at].Op == algebra.ExprLit {
			return fmt.Errorf("key %d is a constant", i)
		}
	}
	for i, l := range lists(plan) {
		if l.Col == nil {
			continue
		}
		if err := measurable(plan, protect.Measure{Kind: protect.MeasureNonNull, Col: l.Col}, schemas); err != nil {
			return fmt.Errorf("list %d: %w", i, err)
		}
	}
	for i, m := range plan.Measures {
		if err := measurable(plan, m, schemas); err != nil {
			return fmt.Errorf("measure %d: %w", i, err)
		}
	}
	return nil
}

// bounded checks that no unit reaches the result with more rows than the plan says,
// as far as the plan itself can tell.
func bounded(plan *protect.Plan, schemas []algebra.Schema) error {
	core, datasets := plan.Core, plan.Core.Datasets()
	if len(plan.Ranks) != len(datasets) {
		return errors.New("rank bounds do not match data sets")
	}
	for i, r := range plan.Ranks {
		if r < 0 || r > math.MaxInt32 || r > 0 && schemas[i].Public {
			return fmt.Errorf("rank bound %d is out of range", i)
		}
	}
	rank := func(id string) int64 { return plan.Ranks[slices.Index(datasets, id)] }
	fact := core.Tables[0]
	unitTables := fact.PerUnit != nil
	for _, j := range core.Joins {
		unitTables = unitTables || j.Unit
		if t := core.Tables[j.Table]; j.Unit && t.PerUnit == nil && rank(t.Dataset) > 1 {
			return fmt.Errorf("table %d is joined on the unit with several rows of each", j.Table)
		}
	}
	if plan.Mode == protect.ModeExact && (unitTables || len(fact.Parts) > 0 || plan.Weight != 0) {
		return errors.New("exact mode takes stored rows only")
	}
	if plan.Weight != 0 {
		again := slices.ContainsFunc(core.Tables[1:], func(t algebra.Table) bool {
			return t.Dataset == fact.Dataset || slices.Contains(fact.Parts, t.Dataset)
		})
		switch {
		case plan.Weight < 1 || plan.Weight > math.MaxInt32 || plan.MaxRows < 1 || plan.MaxRows > math.MaxInt32:
			return errors.New("weights are out of range")
		case fact.PerUnit != nil || plan.OneRow || again:
			// A rank bound of zero would let the other table through unbounded.
			return errors.New("weights need stored rows of several a unit, read once")
		}
		return nil
	}
	if plan.Mode == protect.ModeDP && !plan.OneRow && fact.PerUnit == nil && len(fact.Parts) == 0 && rank(fact.Dataset) < 1 {
		return errors.New("rows per unit are not bounded")
	}
	return nil
}

// measurable checks one measure. Its columns need not be arguments of one of the
// core's aggregates, but the core must be able to read them.
func measurable(plan *protect.Plan, m protect.Measure, schemas []algebra.Schema) error {
	core := plan.Core
	probe := algebra.Core{Tables: core.Tables, Joins: core.Joins, Derived: core.Derived,
		Aggs: []algebra.Agg{{Func: algebra.CountRows, Filter: m.Filter}}}
	for _, c := range []*algebra.Col{m.Col, m.Col2} {
		if c != nil {
			probe.Aggs = append(probe.Aggs, algebra.Agg{Func: algebra.CountCol, Arg: c})
		}
	}
	if err := probe.Validate(schemas); err != nil {
		return err
	}
	number := func(c *algebra.Col) bool {
		return c != nil && (c.Type.Kind == algebra.Int || c.Type.Kind == algebra.Decimal)
	}
	for _, r := range []*protect.Range{m.Clamp, m.Clamp2} {
		if r != nil && r.Lo > r.Hi {
			return errors.New("empty clamp")
		}
	}
	plain := m.Clamp == nil && m.Clamp2 == nil && m.Offset == 0 && m.Offset2 == 0
	second := m.Clamp2 != nil || m.Offset2 != 0 || m.Both != (m.Col2 != nil)
	binned := m.Bin != nil || m.LastBin
	ok := false
	switch m.Kind {
	case protect.MeasureRows, protect.MeasureUnits, protect.MeasureFirst:
		ok = m.Col == nil && m.Col2 == nil && plain && !m.Both && !binned
		if fact := core.Tables[0]; m.Kind == protect.MeasureFirst && (fact.PerUnit != nil || len(fact.Parts) > 0) {
			return errors.New("first rows are those of one stored table")
		}
	case protect.MeasureNonNull:
		ok = m.Col != nil && plain && !second && !binned
	case protect.MeasureSum:
		ok = number(m.Col) && !second && !binned
	case protect.MeasureProduct:
		ok = number(m.Col) && number(m.Col2) && !binned
	case protect.MeasureBin:
		ok = (number(m.Col) || m.Col != nil && m.Col.Type.Kind == algebra.Date) && m.Col2 == nil && plain && !m.Both &&
			m.Bin != nil && m.Bin.Lo <= m.Bin.Hi
	default:
		return errors.New("unknown kind")
	}
	if !ok {
		return errors.New("malformed")
	}
	return nil
}
