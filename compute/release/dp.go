package release

import (
	"io"
	"math/big"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// avgDigits is how many decimal digits an average carries beyond its argument.
const avgDigits = 2

// An average is withheld unless its noisy count exceeds clearSigmas standard
// deviations of its noise: below that the ratio's interval is meaningless. A moment
// is withheld unless its denominators exceed momentSigmas of theirs.
const (
	clearSigmas  = 3
	momentSigmas = 5
)

// DP adds noise to the exact partials p of a dp plan, from rnd (NewSource in
// production), and returns the release. It checks before the first draw that every
// σ² really pays for its sensitivity at the price the plan states, so a faulty
// plan cannot release under-noised values. Every error is ErrKernel.
//
// Public keys: every combination is answered, empty ones too. Private keys: those
// past the pre-threshold and τ. Grouping sets: every margin is the sum of the noisy
// cells below it, so tables of one release agree. Counts are shown as at least zero;
// their intervals come from the unclamped draw.
func DP(plan *protect.Plan, p protect.Partials, rnd io.Reader) (*Release, error) {
	return guard(func() (*Release, error) {
		if rnd == nil || !pays(plan) {
			return nil, errShape
		}
		groups, err := table(plan, p)
		if err != nil {
			return nil, err
		}
		draw := newRandom(rnd)
		defer draw.wipe()
		var cells []noisyCell
		for _, g := range groups {
			if !g.shown || !selected(plan.Selection, g, draw) {
				continue
			}
			exact := centred(plan, g.m)
			c := noisyCell{keys: g.keys, x: make([]*big.Int, len(plan.Measures)), cells: 1}
			for i, m := range plan.Measures {
				if m.Sigma2.Sign() > 0 {
					x := draw.gaussian(m.Sigma2)
					c.x[i] = x.Add(x, exact[i])
				}
			}
			cells = append(cells, c)
		}
		return tables(plan, cells), nil
	})
}

// tables makes the release of noisy cells, with every grouping set's table.
func tables(plan *protect.Plan, cells []noisyCell) *Release {
	r := &Release{mode: protect.ModeDP, rho: plan.Rho, cols: header(plan)}
	k := kernel{plan: plan, halves: map[[2]int64]*big.Int{}}
	if plan.Core.Sets == nil {
		for _, c := range cells {
			r.rows = append(r.rows, k.row(c))
		}
		return r
	}
	for _, set := range plan.Core.Sets {
		mask := groupingMask(len(plan.Keys), set)
		for _, c := range margin(cells, set) {
			r.rows = append(r.rows, append(k.row(c), value{num: big.NewInt(mask)}))
		}
	}
	return r
}

// centred gives the exact partials as their sensitivities are declared: sums of
// squares less their centre per row.
func centred(plan *protect.Plan, exact []*big.Int) []*big.Int {
	out := exact
	for i, m := range plan.Measures {
		if m.Centre == nil {
			continue
		}
		if &out[0] == &exact[0] {
			out = slices.Clone(exact)
		}
		x := new(big.Int).Mul(m.Centre, exact[m.CentreBy])
		out[i] = x.Sub(exact[i], x)
	}
	return out
}

// noisyCell is a cell of noisy measures, added up from cells of all keys; nil where
// a measure has no noise. A dropped key of a margin is NULL.
type noisyCell struct {
	keys  []algebra.Value
	x     []*big.Int
	cells int64
}

// margin adds up the noisy cells over the keys that are not in set, keeping order.
func margin(cells []noisyCell, set []int) []noisyCell {
	var out []noisyCell
	index := map[string]int{}
	for _, c := range cells {
		keys := slices.Clone(c.keys)
		var kept []algebra.Value
		for i := range keys {
			if slices.Contains(set, i) {
				kept = append(kept, keys[i])
			} else {
				keys[i] = algebra.Value{Type: keys[i].Type, Null: true}
			}
		}
		id := identity(kept)
		at, have := index[id]
		if !have {
			at = len(out)
			index[id] = at
			sums := make([]*big.Int, len(c.x))
			for i, x := range c.x {
				if x != nil {
					sums[i] = new(big.Int)
				}
			}
			out = append(out, noisyCell{keys: keys, x: sums})
		}
		out[at].cells += c.cells
		for i, x := range c.x {
			if x != nil {
				out[at].x[i].Add(out[at].x[i], x)
			}
		}
	}
	return out
}

// groupingMask is SQL's GROUPING of all keys: a bit for every key that set drops,
// the first key's the highest.
func groupingMask(keys int, set []int) int64 {
	mask := int64(0)
	for i := range keys {
		mask <<= 1
		if !slices.Contains(set, i) {
			mask |= 1
		}
	}
	return mask
}

// kernel turns noisy cells into released values. Everything in it is
// post-processing: it sees no exact value.
type kernel struct {
	plan   *protect.Plan
	halves map[[2]int64]*big.Int // half-widths by measure and number of cells
}

// row is one released row.
func (k *kernel) row(c noisyCell) []value {
	row := make([]value, 0, len(c.keys)+len(k.plan.Outputs)+1)
	for _, v := range c.keys {
		row = append(row, keyValue(v))
	}
	for _, o := range k.plan.Outputs {
		row = append(row, k.output(o, c))
	}
	return row
}

func (k *kernel) output(o protect.Output, c noisyCell) value {
	switch {
	case o.Grid != nil:
		return k.order(o, c)
	case o.In != nil:
		return k.moment(o, c)
	case o.Func == algebra.Avg:
		return ratio(o, c.x[o.A], c.x[o.B], k.variance(o.A, c), k.variance(o.B, c))
	case o.Func == algebra.Sum && o.Offset != 0:
		off := big.NewInt(o.Offset)
		x := new(big.Int).Mul(off, c.x[o.B])
		v := new(big.Int).Mul(off, off)
		v.Mul(v, k.variance(o.B, c)).Add(v, k.variance(o.A, c))
		return k.estimate(o.Func, x.Add(x, c.x[o.A]), protect.HalfWidth95(v))
	}
	return k.estimate(o.Func, c.x[o.A], k.half(o.A, c))
}

// variance is that of the noise in a cell's measure.
func (k *kernel) variance(measure int, c noisyCell) *big.Int {
	return new(big.Int).Mul(k.plan.Measures[measure].Sigma2, big.NewInt(c.cells))
}

func (k *kernel) half(measure int, c noisyCell) *big.Int {
	id := [2]int64{int64(measure), c.cells}
	if k.halves[id] == nil {
		k.halves[id] = protect.HalfWidth95(k.variance(measure, c))
	}
	return k.halves[id]
}

// estimate is a noisy count or sum with its 95 % interval noisy ± h, off the
// lattice of weights: rounded to the nearest, the interval outwards.
func (k *kernel) estimate(f algebra.Func, noisy, h *big.Int) value {
	v := estimate(f, noisy, h)
	if w := big.NewInt(k.plan.Weight); w.Sign() > 0 {
		v.num.Lsh(v.num, 1)
		v.num = floorDiv(v.num.Add(v.num, w), new(big.Int).Lsh(w, 1))
		v.lo = floorDiv(v.lo, w)
		v.hi = ceilDiv(v.hi, w)
	}
	return v
}

// ceilDiv returns ⌈a/b⌉ for b > 0.
func ceilDiv(a, b *big.Int) *big.Int {
	q := floorDiv(new(big.Int).Neg(a), b)
	return q.Neg(q)
}

// selected decides whether a private key is shown: at least K units, and a noisy
// surplus over K−1 of at least τ. Keys below K get no draw, so that a key no
// release may ever show cannot be shown by any noise.
func selected(s *protect.Selection, g group, draw *random) bool {
	if s == nil {
		return true
	}
	surplus := new(big.Int).Sub(g.m[s.Measure], big.NewInt(s.K-1))
	if surplus.Sign() < 1 {
		return false
	}
	return surplus.Add(surplus, draw.gaussian(s.Sigma2)).Cmp(big.NewInt(s.Tau)) >= 0
}

// estimate is one noisy count or sum with its 95 % interval noisy ± h.
func estimate(f algebra.Func, noisy, h *big.Int) value {
	v := value{num: new(big.Int).Set(noisy), lo: new(big.Int).Sub(noisy, h), hi: new(big.Int).Add(noisy, h)}
	if f != algebra.Sum {
		v.within(new(big.Int), nil)
	}
	return v
}

// within moves an estimate that noise carried out of the possible range back to
// its edge, with its interval, and cuts the interval at the edges. The interval
// then covers whatever it covered before; cutting alone would shrink it to a
// point at the edge and claim certainty exactly where noise prevails. most may be
// nil for no upper edge.
func (v *value) within(least, most *big.Int) {
	shift := new(big.Int)
	if v.num.Cmp(least) < 0 {
		shift.Sub(least, v.num)
	} else if most != nil && v.num.Cmp(most) > 0 {
		shift.Sub(most, v.num)
	}
	for _, x := range []*big.Int{v.num, v.lo, v.hi} {
		x.Add(x, shift)
	}
	if v.lo.Cmp(least) < 0 {
		v.lo.Set(least)
	}
	if most != nil && v.hi.Cmp(most) > 0 {
		v.hi.Set(most)
	}
}

// Fieller's theorem in integers: z² = fiellerZ2·1e-12.
var (
	fiellerZ2   = big.NewInt(1_959_964 * 1_959_964)
	fiellerUnit = big.NewInt(1_000_000_000_000)
)

// ratio is an average: offset + C/N with Fieller's interval, the θ for which
// (C−θN)² ≤ z²(σ_C²+θ²σ_N²) (Fieller 1954), within the registered bounds. It is
// in units of 10^−(scale+avgDigits), rounded outwards.
func ratio(o protect.Output, c, n, sc2, sn2 *big.Int) value {
	n2 := new(big.Int).Mul(n, n)
	if n.Sign() < 1 || n2.Cmp(new(big.Int).Mul(sn2, big.NewInt(clearSigmas*clearSigmas))) <= 0 {
		return value{withheld: TooNoisy}
	}
	// aθ² − 2bθ + d ≤ 0; a > 0 because N exceeds 3σ_N.
	a := new(big.Int).Mul(n2, fiellerUnit)
	a.Sub(a, new(big.Int).Mul(fiellerZ2, sn2))
	b := new(big.Int).Mul(new(big.Int).Mul(c, n), fiellerUnit)
	d := new(big.Int).Mul(new(big.Int).Mul(c, c), fiellerUnit)
	d.Sub(d, new(big.Int).Mul(fiellerZ2, sc2))
	const fine = 100 // 10^avgDigits
	root := new(big.Int).Mul(b, b)
	root.Sub(root, d.Mul(d, a))
	root.Mul(root, big.NewInt(fine*fine))
	root.Sqrt(root).Add(root, big.NewInt(1))
	b.Mul(b, big.NewInt(fine))
	lo := floorDiv(new(big.Int).Sub(b, root), a)
	hi := floorDiv(new(big.Int).Add(b, root), a)
	hi.Add(hi, big.NewInt(1))
	// Round half up: ⌊(2·100·C + N)/2N⌋.
	v := new(big.Int).Mul(c, big.NewInt(2*fine))
	v = floorDiv(v.Add(v, n), new(big.Int).Lsh(n, 1))

	shift := new(big.Int).Mul(big.NewInt(o.Offset), big.NewInt(fine))
	least := new(big.Int).Mul(big.NewInt(o.Range.Lo), big.NewInt(fine))
	most := new(big.Int).Mul(big.NewInt(o.Range.Hi), big.NewInt(fine))
	for _, x := range []*big.Int{lo, v, hi} {
		x.Add(x, shift)
	}
	mean := value{num: v, lo: lo, hi: hi}
	mean.within(least, most)
	return mean
}

// floorDiv returns ⌊a/b⌋ for b > 0.
func floorDiv(a, b *big.Int) *big.Int {
	q, r := new(big.Int).QuoRem(a, b, new(big.Int))
	if r.Sign() < 0 {
		q.Sub(q, big.NewInt(1))
	}
	return q
}
