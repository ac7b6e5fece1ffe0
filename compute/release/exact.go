package release

import (
	"math/big"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// Exact applies the thresholds and rounding of an exact plan. plan.Exact.SnapUnits
// must hold the snapshot's number of units and p.Total the cell of all rows that
// WHERE selected. Every error is ErrKernel.
//
// A value is released only when at least k units contribute to it (units that
// have a value, for a column with NULLs), at least k selected units stay outside
// its cell, and at least k units of the snapshot do. Empty cells are withheld like
// small ones. The withheld cells of a column together must hold at least k units
// in at least two cells; else the smallest released cells join them. Counts, sums
// and averages are rounded to Plan.RoundBase. No totals are given.
//
// Limits: the complementary rule protects one table's grand total, not the margins
// of a table with several keys, and knows no earlier release. Differencing control
// over stored cells and the interval audit are further stages.
func Exact(plan *protect.Plan, p protect.Partials) (*Release, error) {
	return guard(func() (*Release, error) {
		if plan == nil || plan.Mode != protect.ModeExact || plan.Exact == nil || plan.Exact.K < 2 ||
			plan.Exact.Round < 2 || plan.Exact.SnapUnits < 1 || len(plan.Outputs) != len(plan.Core.Aggs) || p.Total == nil {
			return nil, errShape
		}
		e := exact{plan: plan, units: find(plan, protect.MeasureUnits, nil), rows: find(plan, protect.MeasureRows, nil)}
		total := protect.Cell{Keys: make([]algebra.Value, len(plan.Keys)), M: p.Total.M}
		for i := range total.Keys {
			total.Keys[i] = algebra.Value{Type: plan.Keys[i].Col.Type, Null: true}
		}
		if e.units < 0 || !fits(plan, total) {
			return nil, errShape
		}
		e.total, e.snap = total.M[e.units], big.NewInt(plan.Exact.SnapUnits)
		if e.total.Cmp(e.snap) > 0 {
			return nil, errShape
		}
		groups, err := table(plan, p)
		if err != nil {
			return nil, err
		}
		r := &Release{mode: protect.ModeExact, cols: header(plan)}
		columns := make([][]value, len(plan.Outputs))
		for i := range plan.Outputs {
			if columns[i], err = e.column(i, groups); err != nil {
				return nil, err
			}
		}
		for j, g := range groups {
			if !e.listed(g) {
				continue
			}
			row := make([]value, 0, len(r.cols))
			for _, k := range g.keys {
				row = append(row, keyValue(k))
			}
			for i := range columns {
				row = append(row, columns[i][j])
			}
			r.rows = append(r.rows, row)
		}
		return r, nil
	})
}

type exact struct {
	plan        *protect.Plan
	units, rows int // measure indices; rows is −1 when absent
	total, snap *big.Int
}

// find returns the index of the measure of this kind and column, or −1.
func find(plan *protect.Plan, kind protect.MeasureKind, col *algebra.Col) int {
	for i, m := range plan.Measures {
		if m.Kind == kind && (m.Col == nil) == (col == nil) && (col == nil || *m.Col == *col) {
			return i
		}
	}
	return -1
}

// listed reports whether a group's key may be seen: a registered key, and for
// private keys at least k units.
func (e *exact) listed(g group) bool {
	for _, k := range e.plan.Keys {
		if k.Codes == nil && g.m[e.units].Cmp(big.NewInt(e.plan.Exact.K)) < 0 {
			return false
		}
	}
	return g.shown
}

// column releases or withholds output i in every group.
func (e *exact) column(i int, groups []group) ([]value, error) {
	vals := make([]value, len(groups))
	held := make([]*big.Int, len(groups))
	for j, g := range groups {
		var err error
		if held[j], err = e.contributors(i, g); err != nil {
			return nil, err
		}
		vals[j].withheld = e.verdict(g, held[j])
		if !g.shown {
			vals[j].withheld = BelowK
		}
	}
	e.complement(vals, held)
	for j, g := range groups {
		if vals[j].withheld == "" {
			v, err := e.rounded(i, g)
			if err != nil {
				return nil, err
			}
			vals[j] = v
		}
	}
	return vals, nil
}

// contributors is a lower bound of the units that have a value for output i: the
// units of the cell less one for every row without a value.
func (e *exact) contributors(i int, g group) (*big.Int, error) {
	n := new(big.Int).Set(g.m[e.units])
	if n.Cmp(e.total) > 0 || e.rows >= 0 && n.Cmp(g.m[e.rows]) > 0 {
		return nil, errShape
	}
	arg := e.plan.Core.Aggs[i].Arg
	if arg == nil {
		return n, nil
	}
	values := find(e.plan, protect.MeasureNonNull, arg)
	if values < 0 {
		return n, nil // the column has no NULLs
	}
	if e.rows < 0 || g.m[values].Cmp(g.m[e.rows]) > 0 {
		return nil, errShape
	}
	return n.Add(n.Sub(n, g.m[e.rows]), g.m[values]), nil
}

// verdict applies k to a cell and to its complements. The complement within the
// selected rows is bounded from below by the units that are in no row of the cell.
func (e *exact) verdict(g group, held *big.Int) string {
	k := big.NewInt(e.plan.Exact.K)
	below := func(x *big.Int) bool { return x.Cmp(k) < 0 }
	units := g.m[e.units]
	if below(held) {
		return BelowK
	}
	// What WHERE left out can be had by subtraction from an unfiltered query;
	// nothing left out is a finding too, unless there was no filter.
	filtered := e.plan.Core.Where != nil
	for _, j := range e.plan.Core.Joins {
		filtered = filtered || !j.Outer
	}
	outside := new(big.Int).Sub(e.snap, e.total)
	if below(outside) && (filtered || outside.Sign() > 0) {
		return Complement
	}
	if len(e.plan.Keys) > 0 && below(new(big.Int).Sub(e.total, units)) {
		return Complement
	}
	return ""
}

// complement withholds further cells, smallest first, until the withheld ones
// cannot be told apart by subtraction from the table's total.
func (e *exact) complement(vals []value, held []*big.Int) {
	k := big.NewInt(e.plan.Exact.K)
	for {
		hidden, sum, least := 0, new(big.Int), -1
		for j := range vals {
			if vals[j].withheld != "" {
				hidden++
				if held[j].Sign() > 0 {
					sum.Add(sum, held[j])
				}
			} else if least < 0 || held[j].Cmp(held[least]) < 0 {
				least = j
			}
		}
		if hidden == 0 || least < 0 || hidden > 1 && sum.Cmp(k) >= 0 {
			return
		}
		vals[least].withheld = Complement
	}
}

// rounded is output i of a group that passed, with its rounding interval.
func (e *exact) rounded(i int, g group) (value, error) {
	o, base := e.plan.Outputs[i], e.plan.RoundBase(i)
	if o.Func == algebra.Avg {
		return e.mean(o, base, g)
	}
	v, half := nearest(g.m[o.A], base), halfUp(base)
	lo, hi := new(big.Int).Sub(v, half), new(big.Int).Add(v, half)
	if o.Func != algebra.Sum && lo.Sign() < 0 {
		lo.SetInt64(0)
	}
	return value{num: v, lo: lo, hi: hi}, nil
}

// mean is the rounded sum over the rounded count: what SUM and COUNT would say,
// and nothing more. Its interval holds every quotient of a sum and a count that
// round so.
func (e *exact) mean(o protect.Output, base *big.Int, g group) (value, error) {
	n := g.m[o.B]
	if n.Sign() < 1 {
		return value{}, errShape
	}
	round := big.NewInt(e.plan.Exact.Round)
	sum := nearest(new(big.Int).Add(g.m[o.A], new(big.Int).Mul(big.NewInt(o.Offset), n)), base)
	count := nearest(n, round)
	least := new(big.Int).Sub(count, halfUp(round))
	if least.Sign() < 1 {
		return value{withheld: BelowK}, nil
	}
	fine := big.NewInt(100) // 10^avgDigits, to keep one scale in both modes
	v := nearest(new(big.Int).Mul(sum, fine), count)
	v.Quo(v, count)
	lo, hi := new(big.Int).Set(v), new(big.Int).Set(v)
	for _, s := range []*big.Int{new(big.Int).Sub(sum, halfUp(base)), new(big.Int).Add(sum, halfUp(base))} {
		s.Mul(s, fine)
		for _, c := range []*big.Int{least, new(big.Int).Add(count, halfUp(round))} {
			q := floorDiv(s, c)
			if q.Cmp(lo) < 0 {
				lo.Set(q)
			}
			if q.Add(q, big.NewInt(1)).Cmp(hi) > 0 {
				hi.Set(q)
			}
		}
	}
	return value{num: v, lo: lo, hi: hi}, nil
}

// nearest is the multiple of base nearest to x, half up:
// base·⌊(2x + base) / 2base⌋.
func nearest(x, base *big.Int) *big.Int {
	v := floorDiv(new(big.Int).Add(new(big.Int).Lsh(x, 1), base), new(big.Int).Lsh(base, 1))
	return v.Mul(v, base)
}

// halfUp is half of base, rounded up.
func halfUp(base *big.Int) *big.Int {
	h := new(big.Int).Add(base, big.NewInt(1))
	return h.Rsh(h, 1)
}
