package release

import (
	"io"
	"math/big"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/protect"
)

// avgDigits is how many decimal digits an average carries beyond its argument.
const avgDigits = 2

// An average is withheld unless its noisy count exceeds clearSigmas standard
// deviations of its noise: below that the ratio's interval is meaningless.
const clearSigmas = 3

// DP adds noise to the exact partials p of a dp plan, from rnd (NewSource in
// production), and returns the release. It checks before the first draw that every
// σ² really pays for its sensitivity at the price the plan states, so a faulty
// plan cannot release under-noised values. Every error is ErrKernel.
//
// Public keys: every combination is answered, empty ones too. Private keys: those
// past the pre-threshold and τ. Counts are shown as at least zero; their intervals
// come from the unclamped draw.
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
		half := make([]*big.Int, len(plan.Measures))
		for i, m := range plan.Measures {
			half[i] = protect.HalfWidth95(m.Sigma2)
		}
		r := &Release{mode: protect.ModeDP, rho: plan.Rho, cols: header(plan)}
		for _, g := range groups {
			if !g.shown || !selected(plan.Selection, g, draw) {
				continue
			}
			row := make([]value, 0, len(r.cols))
			for _, k := range g.keys {
				row = append(row, keyValue(k))
			}
			noisy := make([]*big.Int, len(plan.Measures))
			for i, m := range plan.Measures {
				if m.Sigma2.Sign() > 0 {
					x := draw.gaussian(m.Sigma2)
					noisy[i] = x.Add(x, g.m[i])
				}
			}
			for _, o := range plan.Outputs {
				if o.Func == algebra.Avg {
					row = append(row, ratio(o, noisy[o.A], noisy[o.B], plan.Measures[o.A].Sigma2, plan.Measures[o.B].Sigma2))
				} else {
					row = append(row, estimate(o.Func, noisy[o.A], half[o.A]))
				}
			}
			r.rows = append(r.rows, row)
		}
		return r, nil
	})
}

// pays reports whether plan is a dp plan all of whose released measures carry the
// noise their price needs: Δ₂² ≤ 2ρσ².
func pays(plan *protect.Plan) bool {
	if plan == nil || plan.Mode != protect.ModeDP || plan.Rho < 1 || len(plan.Outputs) == 0 || len(plan.Outputs) != len(plan.Core.Aggs) {
		return false
	}
	total := new(big.Int)
	covers := func(sens2, sigma2 *big.Int, rho budget.Nano) bool {
		if sens2 == nil || sigma2 == nil || sens2.Sign() < 1 || sigma2.Sign() < 1 || rho < 1 {
			return false
		}
		total.Add(total, big.NewInt(int64(rho)))
		have := new(big.Int).Mul(sigma2, big.NewInt(2*int64(rho)))
		return have.Cmp(new(big.Int).Mul(sens2, big.NewInt(1_000_000_000))) >= 0
	}
	private := false
	for _, k := range plan.Keys {
		private = private || k.Codes == nil
	}
	if s := plan.Selection; private != (s != nil) {
		return false
	} else if s != nil {
		if s.K < 1 || s.Tau < 2 || s.Measure < 0 || s.Measure >= len(plan.Measures) ||
			plan.Measures[s.Measure].Kind != protect.MeasureUnits || !covers(s.Sens2, s.Sigma2, s.Rho) {
			return false
		}
	}
	for _, m := range plan.Measures {
		if m.Sigma2 == nil || m.Sigma2.Sign() != 0 && !covers(m.Sens2, m.Sigma2, m.Rho) {
			return false
		}
	}
	noised := func(i int) bool { return i >= 0 && i < len(plan.Measures) && plan.Measures[i].Sigma2.Sign() > 0 }
	for _, o := range plan.Outputs {
		if !noised(o.A) || o.Func == algebra.Avg && !noised(o.B) {
			return false
		}
	}
	return total.Cmp(big.NewInt(int64(plan.Rho))) <= 0
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
