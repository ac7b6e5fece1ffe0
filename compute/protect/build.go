package protect

import (
	"cmp"
	"math"
	"math/big"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

// Caps on what one query may group by and how far one unit may reach.
const (
	// MaxPublicCells caps the product of the code lists of a query's keys.
	MaxPublicCells = 10_000
	// MaxPrivateCells caps the keys past the pre-threshold that a worker may
	// return. It is a memory limit far above real tables: passing it is a
	// failure after data was read, so it costs the whole price.
	MaxPrivateCells = 1 << 20
	// maxDraws caps public cells times measures, the draws of noise of one release.
	maxDraws = 1 << 20
)

// Build turns core into a protected plan, or says why it may not run. facts is
// parallel to core.Datasets(); price is the ρ to spend, which exact mode ignores
// because it charges no ρ. Build is pure and reads no data, and nothing in the plan
// but literals depends on a literal that the ledger redacts, so an auditor gets the
// same prices and scales from the same entry.
//
// In dp mode the plan satisfies Σ Rho ≤ price, and δ = 1/InverseDelta when it has
// private keys, for adding or removing all rows of one privacy unit in all data
// sets.
func Build(core algebra.Core, facts []Facts, price budget.Nano) (*Plan, *policies.Reason) {
	b := &builder{core: core, facts: facts}
	b.scope = &scope{derived: core.Derived, stored: b.stored, grid: b.gridOf}
	for _, step := range []func() *policies.Reason{b.tables, b.exactOnly, b.columns, b.keys, b.sets, b.weight, b.outputs} {
		if r := step(); r != nil {
			return nil, r
		}
	}
	if b.plan.Mode == ModeExact {
		b.addUnits(filter{})
		b.lists()
		for i := range b.plan.Measures {
			b.plan.Measures[i].Sens2, b.plan.Measures[i].Sigma2 = new(big.Int), new(big.Int)
		}
		return &b.plan, nil
	}
	if r := b.prices(price); r != nil {
		return nil, r
	}
	return &b.plan, nil
}

type builder struct {
	core     algebra.Core
	facts    []Facts // of core.Datasets()
	at       []int   // per table: its place in facts
	nullable []bool  // per table: an outer join may leave its columns NULL
	units    []*scope
	scope    *scope // of the core
	private  bool   // at least one private key
	plan     Plan
	ids      map[string]int // measures by identity
	vectors  int            // vectors handed out
}

// rowsOf is the most rows a unit has in a data set within its rank bound.
func rowsOf(f Facts) int64 {
	if f.OneRow {
		return 1
	}
	return f.MaxRows
}

// tables checks the join graph. One private fact table, or partitions of one; every
// other table either public and met on a column of which each value stands in one
// row only, or private, of one row per unit and met on the unit: so a unit
// contributes as many rows after the joins as before, and reaches no other unit's.
func (b *builder) tables() *policies.Reason {
	ids := b.core.Datasets()
	mismatch := invalidCore("表与规则不对应", "tables and facts do not correspond")
	if len(ids) == 0 || len(ids) != len(b.facts) {
		return mismatch
	}
	index := map[string]int{}
	for i, id := range ids {
		if id != b.facts[i].Dataset {
			return mismatch
		}
		index[id] = i
	}
	for _, t := range b.core.Tables {
		b.at = append(b.at, index[t.Dataset])
	}
	fact := b.facts[0]
	if fact.Public {
		return factPublic(fact)
	}
	b.plan = Plan{Core: b.core, Mode: fact.Mode, MaxRows: rowsOf(fact), OneRow: fact.OneRow, Ranks: make([]int64, len(b.facts))}
	for i, f := range b.facts {
		if f.Public {
			continue
		}
		if r := b.rule(f); r != nil {
			return r
		}
		if f.Consent {
			b.plan.consenting(i, len(b.facts))
		}
		if f.Mode == ModeDP && !f.OneRow {
			b.plan.Ranks[i] = f.MaxRows
		}
	}
	if fact.Mode == ModeExact {
		// No contribution bound: exact answers are protected by thresholds, and
		// dropping rows would only make them wrong.
		b.plan.MaxRows = math.MaxInt64
		rules := fact.Exact
		rules.K, rules.Round, rules.Lists = fact.K, fact.Round, nil
		b.plan.Exact = &rules
	}
	b.nullable = make([]bool, len(b.core.Tables))
	b.units = make([]*scope, len(b.core.Tables))
	for i := range b.core.Tables {
		if r := b.table(i); r != nil {
			return r
		}
	}
	return b.joins()
}

// rule checks a private data set's own rule and that it fits the fact table's.
func (b *builder) rule(f Facts) *policies.Reason {
	switch fact := b.facts[0]; {
	case f.Mode != ModeDP && f.Mode != ModeExact:
		return incomplete(f, "mode")
	case f.Mode != fact.Mode:
		return modeMixed(fact, f)
	case f.Mode == ModeExact && f.Consent:
		return exactConsent(f)
	case f.Mode == ModeExact && f.K < 2:
		return incomplete(f, "k")
	case f.Mode == ModeExact && f.Round < 2:
		return incomplete(f, "round")
	case f.Mode == ModeExact:
		return nil
	case rowsOf(f) < 1:
		return incomplete(f, "max_rows")
	case f.QueryMaxRho < 1:
		return incomplete(f, "query_max")
	case f.Unit != fact.Unit:
		return unitMixed(fact, f)
	}
	return nil
}

// table checks partitions and pre-aggregation of one table.
func (b *builder) table(i int) *policies.Reason {
	t, f := b.core.Tables[i], b.facts[b.at[i]]
	if len(t.Parts) > 0 {
		if i > 0 {
			return invalidCore("只有主表可以由多个分区合并", "only the fact table may be united from partitions")
		}
		seen := map[string]bool{t.Dataset: true}
		for _, id := range t.Parts {
			if seen[id] {
				return invalidCore("同一分区出现两次", "a partition stands twice")
			}
			seen[id] = true
			for _, f := range b.facts {
				if f.Dataset != id {
					continue
				}
				if f.Public {
					return factPublic(f)
				}
				if b.plan.Mode == ModeExact {
					continue // refused as a whole below
				}
				if b.plan.MaxRows > math.MaxInt32 || f.MaxRows > math.MaxInt32 {
					return incomplete(f, "max_rows")
				}
				b.plan.MaxRows += rowsOf(f)
			}
		}
		b.plan.OneRow = false
	}
	if t.PerUnit == nil {
		return nil
	}
	if f.Public || len(t.Parts) > 0 {
		return invalidCore("按单元汇总的必须是单个含隐私单元的数据集", "only one private data set can be pre-aggregated per unit")
	}
	b.units[i] = &scope{derived: t.PerUnit.Derived, stored: func(c algebra.Col) (scalar, *policies.Reason) {
		if c.Table != 0 {
			return scalar{}, invalidCore("列所在的表不存在", "a column names a table that is not there")
		}
		return b.storedIn(f, c)
	}, grid: func(c algebra.Col) []int64 { return b.useGrid(b.at[i], c.Name) }}
	if i == 0 && b.plan.Mode == ModeDP {
		b.plan.MaxRows, b.plan.OneRow = 1, true
	}
	return nil
}

func (b *builder) joins() *policies.Reason {
	once := invalidCore("每张维表恰好连接一次", "every dimension table must be joined exactly once")
	if len(b.core.Joins) != len(b.core.Tables)-1 {
		return once
	}
	for i, j := range b.core.Joins {
		t := i + 1
		if j.Table != t {
			return once
		}
		f := b.facts[b.at[t]]
		b.nullable[t] = j.Outer
		if j.Unit {
			if f.Public || !f.OneRow && b.core.Tables[t].PerUnit == nil {
				return privateJoin(f)
			}
			continue
		}
		switch {
		case j.Right.Table != t || j.Left.Table < 0 || j.Left.Table >= t:
			return once
		case !f.Public:
			return privateJoin(f)
		case !contains(f.Unique, j.Right.Name):
			return joinNotUnique(f, policies.BaseColumn(j.Right.Name))
		case j.Left.Type != j.Right.Type:
			return invalidCore("连接两侧类型不同", "the two sides of a join differ in type")
		}
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// exactOnly refuses what exact mode has no thresholds for.
func (b *builder) exactOnly() *policies.Reason {
	if b.plan.Mode != ModeExact {
		return nil
	}
	if r := exactSupported(b.core, b.facts[0]); r != nil || b.facts[0].OneRow {
		return r
	}
	// A unit with several rows can be in two cells with different ones: sets of
	// units would not tell their difference.
	return incomplete(b.facts[0], "one_row_per_unit")
}

// columns refuses any column the facts do not know, wherever it stands, and any
// expression that could leave its type's range.
func (b *builder) columns() *policies.Reason {
	if r := b.scope.check(nil, b.core.Where, b.core.Keys, b.core.Aggs); r != nil {
		return r
	}
	for i := range b.core.Derived {
		if _, r := b.scope.column(algebra.DerivedCol(i, b.core.Derived[i].Type)); r != nil {
			return r
		}
	}
	for _, j := range b.core.Joins {
		if !j.Unit {
			if r := b.scope.check([]algebra.Col{j.Left, j.Right}, nil, nil, nil); r != nil {
				return r
			}
		}
	}
	for i, t := range b.core.Tables {
		if t.PerUnit == nil {
			continue
		}
		if r := b.units[i].check(nil, t.PerUnit.Where, nil, t.PerUnit.Aggs); r != nil {
			return r
		}
		if len(t.PerUnit.Aggs) == 0 {
			return invalidCore("按单元汇总没有聚合", "a pre-aggregation per unit has no aggregate")
		}
		for k := range t.PerUnit.Aggs {
			if _, r := b.perUnit(i, k); r != nil {
				return r
			}
		}
	}
	return nil
}

// CompareValues is the canonical order of key values of one type: by number or
// by bytes, NULL last. It returns −1, 0 or 1.
func CompareValues(a, b algebra.Value) int {
	switch {
	case a.Null || b.Null:
		return boolInt(a.Null) - boolInt(b.Null)
	case a.Type.Kind == algebra.Text:
		// I tells redacted labels apart; it is 0 in every other text.
		return cmp.Or(cmp.Compare(a.S, b.S), cmp.Compare(a.I, b.I))
	}
	return cmp.Compare(a.I, b.I)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
