package release

import (
	"math/big"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// joinable says whether several domains can add a plan's cells up: a dp plan that pays,
// whose keys all have public code lists, so that every domain has the same cells.
func joinable(plan *protect.Plan) bool {
	return pays(plan) && plan.Selection == nil && !slices.ContainsFunc(plan.Keys, func(k protect.Key) bool { return k.Codes == nil })
}

// JointCells lays the exact partials of one domain out for a sum over several domains
// (compute/federate): measure by measure, of those with noise, every combination of the
// keys in order. They leave for nowhere but an encryption. Every error is ErrKernel.
func JointCells(plan *protect.Plan, p protect.Partials) (out []int64, err error) {
	_, err = guard(func() (*Release, error) {
		if !joinable(plan) {
			return nil, errShape
		}
		groups, err := table(plan, p)
		if err != nil {
			return nil, err
		}
		var cells [][]*big.Int
		for _, g := range groups {
			if g.shown {
				cells = append(cells, centred(plan, g.m))
			}
		}
		for i, m := range plan.Measures {
			if m.Sigma2.Sign() == 0 {
				continue
			}
			for _, c := range cells {
				if !c[i].IsInt64() {
					return nil, errShape
				}
				out = append(out, c[i].Int64())
			}
		}
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Joint is the release of sums over several domains, laid out as JointCells does, which
// carry noise already: of each measure's Sigma2, drawn by the decryptors (NoiseShare), so
// that no value without noise ever came here. It draws nothing and is post-processing; the
// plan must be that of the joint sums, whose Sens2 holds for all domains together. overlap
// is the number of domains that one unit may stand in: the intervals of counts of distinct
// units reach down to that part of the count (Release.Overlap). Every error is ErrKernel.
func Joint(plan *protect.Plan, noisy []int64, overlap int) (*Release, error) {
	return guard(func() (*Release, error) {
		if !joinable(plan) || overlap < 1 || overlap > maxOverlap {
			return nil, errShape
		}
		groups, err := table(plan, protect.Partials{})
		if err != nil {
			return nil, err
		}
		cells := make([]noisyCell, len(groups))
		for i, g := range groups {
			cells[i] = noisyCell{keys: g.keys, x: make([]*big.Int, len(plan.Measures)), cells: 1}
		}
		for i, m := range plan.Measures {
			if m.Sigma2.Sign() == 0 {
				continue
			}
			if len(noisy) < len(cells) {
				return nil, errShape
			}
			for j := range cells {
				cells[j].x[i] = big.NewInt(noisy[j])
			}
			noisy = noisy[len(cells):]
		}
		if len(noisy) > 0 {
			return nil, errShape
		}
		r := tables(plan, cells)
		if overlap > 1 {
			r.overlap = overlap
			r.divide()
		}
		return r, nil
	})
}

// maxOverlap is the greatest number of domains of a release.
const maxOverlap = 64

// divide lets the intervals of counts of distinct units reach down to what the count is if
// every unit stands in as many domains as it may.
func (r *Release) divide() {
	for i, c := range r.cols {
		if c.Func != algebra.CountUnits {
			continue
		}
		for _, row := range r.rows {
			if lo := row[i].lo; lo != nil && lo.Sign() > 0 {
				lo.Quo(lo, big.NewInt(int64(r.overlap)))
			}
		}
	}
}
