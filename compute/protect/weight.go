package protect

import (
	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// Lattice is the Weight of a plan with weights: a unit's whole weight is m·Lattice,
// so rounding a row's weight down loses less than n/(m·1024) of it.
const Lattice = 1024

const (
	// Selectivities are in parts per billion.
	whole = 1_000_000_000
	// selective is the share of rows, one eighth, up to which weights are used.
	selective = whole / 8
)

// weight replaces the rank bound of the fact table by weights where WHERE is
// expected to keep few rows: with a bound at ingest most of the m rows that a unit
// is allowed would be spent on rows that WHERE drops. The rule rests on public facts
// alone and not on literals. It applies in dp mode to a stored fact table of several
// rows per unit that is no union and stands nowhere else in the query; not to
// COUNT(DISTINCT unit) under keys, whose sensitivity the bound on rows limits.
func (b *builder) weight() *policies.Reason {
	t := b.core.Tables[0]
	if b.plan.Mode != ModeDP || b.plan.OneRow || t.PerUnit != nil || len(t.Parts) > 0 || b.core.Where == nil {
		return nil
	}
	for _, other := range b.core.Tables[1:] {
		if other.Dataset == t.Dataset {
			return nil
		}
	}
	for _, a := range b.core.Aggs {
		if a.Func == algebra.CountUnits && len(b.core.Keys) > 0 {
			return nil
		}
	}
	if b.plan.MaxRows > 1<<20 || b.selectivity(*b.core.Where) > selective {
		return nil
	}
	b.plan.Weight, b.plan.Ranks[0] = Lattice, 0
	return nil
}

// selectivity estimates the share of rows a predicate keeps, as query planners have
// since System R: equality 1/|codes| of a column with a code list, IN n/|codes|, a
// range 1/3, two ranges on one column under one AND 1/4, anything else 1/10; AND
// multiplies, OR adds up to one, NOT is the complement.
func (b *builder) selectivity(p algebra.Pred) int64 {
	switch p.Op {
	case algebra.OpAnd:
		share, ranged := int64(whole), map[algebra.Col]int{}
		for _, a := range p.Args {
			if isRange(a.Op) && a.Col != nil && a.Other == nil {
				ranged[*a.Col]++
				continue
			}
			share = share * b.selectivity(a) / whole
		}
		for _, n := range ranged { // a product of constants: the order does not matter
			if n > 1 {
				share /= 4
			} else {
				share /= 3
			}
		}
		return share
	case algebra.OpOr:
		share := int64(0)
		for _, a := range p.Args {
			share = min(whole, share+b.selectivity(a))
		}
		return share
	case algebra.OpNot:
		return whole - b.selectivity(p.Args[0])
	case algebra.OpConst:
		return p.Values[0].I * whole
	case algebra.OpEq:
		return b.listed(p, 1)
	case algebra.OpIn:
		return b.listed(p, int64(len(p.Values)))
	case algebra.OpNe:
		return whole - b.listed(p, 1)
	}
	if isRange(p.Op) {
		return whole / 3
	}
	return whole / 10
}

func isRange(op algebra.PredOp) bool {
	return op == algebra.OpLt || op == algebra.OpLe || op == algebra.OpGt || op == algebra.OpGe
}

func (b *builder) listed(p algebra.Pred, n int64) int64 {
	share := int64(whole / 10)
	if p.Col != nil && p.Other == nil {
		if x, r := b.scope.column(*p.Col); r == nil {
			x = x.enumerated()
			if values := int64(len(x.codes) + len(x.labels)); x.listed && values > 0 {
				share = whole / values
			}
		}
	}
	return min(whole, n*share)
}
