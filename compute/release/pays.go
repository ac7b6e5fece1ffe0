package release

import (
	"math/big"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/protect"
)

// pays reports whether plan is a dp plan all of whose released measures carry the
// noise their price needs: Δ₂² ≤ 2ρσ², with one price for a vector of measures.
func pays(plan *protect.Plan) bool {
	if plan == nil || plan.Mode != protect.ModeDP || plan.Rho < 1 || plan.Weight < 0 ||
		len(plan.Outputs) == 0 || len(plan.Outputs) != len(plan.Core.Aggs) || len(plan.Keys) != len(plan.Core.Keys) {
		return false
	}
	total := new(big.Int)
	covers := func(sens2, sigma2 *big.Int, rho budget.Nano) bool {
		if sens2 == nil || sigma2 == nil || sens2.Sign() < 1 || sigma2.Sign() < 1 || rho < 1 {
			return false
		}
		total.Add(total, big.NewInt(int64(rho)))
		have := new(big.Int).Mul(sigma2, big.NewInt(2))
		have.Mul(have, big.NewInt(int64(rho)))
		return have.Cmp(new(big.Int).Mul(sens2, big.NewInt(1_000_000_000))) >= 0
	}
	first := map[int]protect.Measure{}
	for _, m := range plan.Measures {
		lead, follows := first[m.Vector]
		switch {
		case m.Sigma2 == nil, m.Centre != nil && (m.CentreBy < 0 || m.CentreBy >= len(plan.Measures)):
			return false
		case m.Vector != 0 && follows:
			// Every measure of a vector has the noise of the first.
			if m.Rho != 0 || m.Sens2 == nil || m.Sens2.Cmp(lead.Sens2) != 0 || m.Sigma2.Cmp(lead.Sigma2) != 0 || m.Kind != protect.MeasureBin {
				return false
			}
		case m.Sigma2.Sign() != 0 && !covers(m.Sens2, m.Sigma2, m.Rho), m.Vector != 0 && m.Sigma2.Sign() == 0:
			return false
		}
		if m.Vector != 0 && !follows {
			first[m.Vector] = m
		}
	}
	return paysSelection(plan, covers) && noised(plan) && total.Cmp(big.NewInt(int64(plan.Rho))) <= 0
}

func paysSelection(plan *protect.Plan, covers func(sens2, sigma2 *big.Int, rho budget.Nano) bool) bool {
	private := false
	for _, k := range plan.Keys {
		private = private || k.Codes == nil
	}
	s := plan.Selection
	if !private || s == nil {
		return !private && s == nil
	}
	if plan.Core.Sets != nil || s.K < 1 || s.Tau < 2 || s.Measure < 0 || s.Measure >= len(plan.Measures) {
		return false
	}
	m := plan.Measures[s.Measure]
	one := m.Kind == protect.MeasureFirst || m.Kind == protect.MeasureRows && plan.OneRow
	return one && m.Filter == nil && covers(s.Sens2, s.Sigma2, s.Rho)
}

// noised reports whether every measure that an output reads has noise.
func noised(plan *protect.Plan) bool {
	ok := func(i int) bool { return i >= 0 && i < len(plan.Measures) && plan.Measures[i].Sigma2.Sign() > 0 }
	for _, o := range plan.Outputs {
		if !ok(o.A) || twoParts(o) && !ok(o.B) {
			return false
		}
		for _, i := range o.In {
			if i != -1 && !ok(i) {
				return false
			}
		}
		if o.Grid != nil && (len(o.In) < 1 || len(o.Grid) != len(o.In)+1) || o.Grid == nil && o.In != nil && !momentShape(o) {
			return false
		}
	}
	return true
}
