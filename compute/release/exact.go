package release

import (
	"math/big"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/disclosure"
	"github.com/sandgate/sandgate/compute/protect"
)

// Exact applies the thresholds, differencing control and rounding of an exact
// plan. plan.Exact.SnapUnits must hold the snapshot's number of units, p.Total the
// cell of all rows that WHERE selected, and check an open check of the data set's
// store for this release; what is released is in it after, for the caller to
// commit or roll back. Every error is ErrKernel.
//
// A value is released only when
//   - at least k units contribute to it, at least k selected units stay outside its
//     cell, and at least k units of the snapshot do; an empty cell only when the
//     department declared it empty by nature;
//   - no one or two units dominate its sum, its mean has enough degrees of freedom,
//     and not every unit stands at the same end of the registered range;
//   - the withheld cells of its column cannot be narrowed to fewer than k units by
//     whoever knows every margin (disclosure.Table.Audit), nor is their sum
//     dominated; else the smallest released cells join them;
//   - no combination with two sets disclosed earlier, in this table or by any
//     release, isolates fewer than k units: neither its own set nor that of a
//     margin that released cells add up to.
//
// Counts, sums and averages are rounded to Plan.RoundBase. No totals are given but,
// where the rule says so, the sum of the withheld cells as one further row.
func Exact(plan *protect.Plan, p protect.Partials, check *disclosure.Check) (*Release, error) {
	return guard(func() (*Release, error) {
		if plan == nil || plan.Mode != protect.ModeExact || plan.Exact == nil || plan.Exact.K < 2 || !plan.OneRow || check == nil ||
			plan.Exact.Round < 2 || plan.Exact.SnapUnits < 1 || len(plan.Outputs) != len(plan.Core.Aggs) || p.Total == nil {
			return nil, errShape
		}
		e := exact{plan: plan, check: check, units: find(plan, protect.MeasureUnits, nil), rows: find(plan, protect.MeasureRows, nil)}
		total := protect.Cell{Keys: make([]algebra.Value, len(plan.Keys)), M: p.Total.M}
		for i := range total.Keys {
			total.Keys[i] = algebra.Value{Type: plan.Keys[i].Col.Type, Null: true}
		}
		if e.units < 0 || !fits(plan, total) {
			return nil, errShape
		}
		for _, a := range plan.Core.Aggs {
			if a.Filter != nil || a.Arg != nil && a.Arg.Table < 0 {
				return nil, errShape // protect refuses it; see exactSupported
			}
		}
		e.total, e.snap = total.M[e.units], big.NewInt(plan.Exact.SnapUnits)
		if e.total.Cmp(e.snap) > 0 {
			return nil, errShape
		}
		if err := e.read(p); err != nil {
			return nil, err
		}
		if err := e.withhold(); err != nil {
			return nil, err
		}
		return e.release()
	})
}

type exact struct {
	plan        *protect.Plan
	check       *disclosure.Check
	units, rows int // measure indices; rows is −1 when absent
	total, snap *big.Int
	cells       []exactCell
	held        [][]string // by output and cell: the code of a withheld value
	collides    string     // an earlier release that a value collided with
}

// exactCell is one registered key combination.
type exactCell struct {
	group
	lists [][]uint64
	zero  bool // empty, and declared so by nature
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

// read lays the cells out, the last key fastest, and checks that their lists are
// those of their measures.
func (e *exact) read(p protect.Partials) error {
	for _, k := range e.plan.Keys {
		if k.Codes == nil {
			return errShape // exact mode has no private keys
		}
	}
	groups, err := table(e.plan, p)
	if err != nil {
		return err
	}
	lists := map[string][][]uint64{}
	for _, c := range p.Cells {
		lists[identity(c.Keys)] = c.Lists
	}
	empty := make([][]uint64, len(e.plan.Exact.Lists))
	for _, g := range groups {
		if !g.shown {
			continue // an unregistered code, which the statement leaves out
		}
		c := exactCell{group: g, lists: lists[identity(g.keys)]}
		if c.lists == nil {
			c.lists = empty
		}
		if len(c.lists) != len(empty) {
			return errShape
		}
		units := g.m[e.units]
		if units.Cmp(e.total) > 0 || e.rows >= 0 && units.Cmp(g.m[e.rows]) != 0 {
			return errShape
		}
		for i, l := range e.plan.Exact.Lists {
			want := units
			if l.Col != nil {
				if at := e.plan.NonNull(l.Col); at >= 0 {
					want = g.m[at]
				}
			}
			if n := big.NewInt(int64(len(c.lists[i]))); !l.Top && n.Cmp(want) != 0 || l.Top && want.Cmp(big.NewInt(2)) >= 0 && n.Cmp(big.NewInt(2)) != 0 {
				return errShape
			}
		}
		c.zero = units.Sign() == 0 && e.structural(g.keys)
		e.cells = append(e.cells, c)
	}
	return nil
}

// structural says whether the department declared the combination empty by nature.
func (e *exact) structural(keys []algebra.Value) bool {
	for _, z := range e.plan.Exact.Zeros {
		match := 0
		for i, k := range e.plan.Keys {
			if code, ok := z[k.Col.Name]; ok && !keys[i].Null && format(keyValue(keys[i]), k.Col.Type) == code {
				match++
			}
		}
		if match == len(z) && match > 0 {
			return true
		}
	}
	return false
}

// withhold fills held. Each round either withholds something more or is the last.
func (e *exact) withhold() error {
	e.held = make([][]string, len(e.plan.Outputs))
	for i := range e.held {
		e.held[i] = make([]string, len(e.cells))
		for j := range e.cells {
			code, err := e.verdict(i, j)
			if err != nil {
				return err
			}
			e.held[i][j] = code
		}
	}
	for {
		for i := range e.plan.Outputs {
			e.complement(i)
		}
		e.check.Reset()
		if !e.difference() {
			return nil
		}
	}
}

// contributors are the units that have a value for output i in cell j.
func (e *exact) contributors(i, j int) []uint64 {
	arg := e.plan.Core.Aggs[i].Arg
	if arg != nil {
		if at := e.plan.Exact.List(protect.List{Col: arg}); at >= 0 {
			return e.cells[j].lists[at]
		}
	}
	return e.cells[j].lists[0]
}

// sum is the exact sum behind output i in cell j, and the number of its values.
func (e *exact) sum(i, j int) (sum, n *big.Int) {
	o, m := e.plan.Outputs[i], e.cells[j].m
	n = big.NewInt(int64(len(e.contributors(i, j))))
	return new(big.Int).Add(m[o.A], new(big.Int).Mul(big.NewInt(o.Offset), n)), n
}

// verdict applies the rules that look at one cell alone.
func (e *exact) verdict(i, j int) (string, error) {
	k := big.NewInt(e.plan.Exact.K)
	below := func(x *big.Int) bool { return x.Cmp(k) < 0 }
	c, o := e.cells[j], e.plan.Outputs[i]
	units := c.m[e.units]
	n := big.NewInt(int64(len(e.contributors(i, j))))
	// What WHERE left out can be had by subtraction from an unfiltered query;
	// nothing left out is a finding too, unless there was no filter.
	outside := new(big.Int).Sub(e.snap, e.total)
	if below(outside) && (!e.whole() || outside.Sign() > 0) {
		return Complement, nil
	}
	if c.zero && o.Func != algebra.Avg {
		return "", nil
	}
	if below(n) {
		return BelowK, nil
	}
	if rest := new(big.Int).Sub(e.total, units); len(e.plan.Keys) > 0 && below(rest) && !(rest.Sign() == 0 && e.othersStructural(j)) {
		return Complement, nil
	}
	if o.Func != algebra.Sum && o.Func != algebra.Avg {
		return "", nil
	}
	if o.Func == algebra.Avg && n.Cmp(big.NewInt(e.plan.Exact.Dof+1)) < 0 {
		return BelowK, nil
	}
	sum, _ := e.sum(i, j)
	for _, end := range []int64{o.Range.Lo, o.Range.Hi} {
		if new(big.Int).Mul(big.NewInt(end), n).Cmp(sum) == 0 {
			return BelowK, nil // every unit stands at this end
		}
	}
	largest, second, err := e.top(i, j)
	if err != nil {
		return "", err
	}
	// Where values differ in sign the sum is less than that of absolute values,
	// which only makes the rule stricter.
	if e.plan.Exact.Dominated(largest, second, sum.Abs(sum)) {
		return BelowK, nil
	}
	return "", nil
}

// whole says that the query leaves no row of the data set out.
func (e *exact) whole() bool {
	for _, j := range e.plan.Core.Joins {
		if !j.Outer {
			return false
		}
	}
	return e.plan.Core.Where == nil
}

// othersStructural says that all cells but j are empty by nature.
func (e *exact) othersStructural(j int) bool {
	for i, c := range e.cells {
		if i != j && !c.zero {
			return false
		}
	}
	return true
}

// top returns the two largest absolute values behind output i in cell j.
func (e *exact) top(i, j int) (largest, second *big.Int, err error) {
	at := e.plan.Exact.List(protect.List{Col: e.plan.Core.Aggs[i].Arg, Top: true})
	if at < 0 {
		return nil, nil, errShape
	}
	largest, second = new(big.Int), new(big.Int)
	if l := e.cells[j].lists[at]; len(l) == 2 {
		largest.SetUint64(l[1])
		second.SetUint64(l[0])
	} else if len(l) == 1 {
		largest.SetUint64(l[0])
	}
	return largest, second, nil
}

// rounded is output i of a group that passed, with its rounding interval.
func (e *exact) rounded(i int, m []*big.Int) (value, error) {
	o, base := e.plan.Outputs[i], e.plan.RoundBase(i)
	if o.Func == algebra.Avg {
		return e.mean(o, base, m)
	}
	v, half := nearest(m[o.A], base), halfUp(base)
	lo, hi := new(big.Int).Sub(v, half), new(big.Int).Add(v, half)
	if o.Func != algebra.Sum && lo.Sign() < 0 {
		lo.SetInt64(0)
	}
	return value{num: v, lo: lo, hi: hi}, nil
}

// mean is the rounded sum over the rounded count: what SUM and COUNT would say,
// and nothing more. Its interval holds every quotient of a sum and a count that
// round so.
func (e *exact) mean(o protect.Output, base *big.Int, m []*big.Int) (value, error) {
	n := m[o.B]
	if n.Sign() < 1 {
		return value{}, errShape
	}
	round := big.NewInt(e.plan.Exact.Round)
	sum := nearest(new(big.Int).Add(m[o.A], new(big.Int).Mul(big.NewInt(o.Offset), n)), base)
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
