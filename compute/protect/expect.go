package protect

import (
	"math/big"
	"sort"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

// OutputError is the error of one output, known before the run. Amounts are in
// minimal units of the output's Scale (counts: ones).
type OutputError struct {
	Func  algebra.Func `json:"func"`
	Scale uint8        `json:"scale,omitempty"`
	// SD is the standard deviation and Half the half-width of the 95 % interval
	// in every cell, both rounded up. For AVG they are those of the numerator at
	// the worst mean the bounds allow: divide by the cell's number of values.
	SD   *big.Int `json:"sd"`
	Half *big.Int `json:"half"`
	// PerValue is true for AVG.
	PerValue bool `json:"per_value,omitempty"`
}

// At returns the half-width in a cell of n values (n ≥ 1), rounded up.
func (e OutputError) At(n int64) *big.Int {
	if !e.PerValue {
		return new(big.Int).Set(e.Half)
	}
	return ceilDiv(e.Half, big.NewInt(n))
}

// ExpectedError gives, parallel to Outputs, the noise each output will carry. In
// exact mode it is the rounding: half the base of counts, sums and averages.
func (p *Plan) ExpectedError() []OutputError {
	errs := make([]OutputError, len(p.Outputs))
	for i, o := range p.Outputs {
		e := OutputError{Func: o.Func, Scale: o.Scale, PerValue: o.Func == algebra.Avg && p.Mode == ModeDP}
		if p.Mode == ModeExact {
			e.Half = new(big.Int).Rsh(p.RoundBase(i), 1)
			if o.Func == algebra.Avg {
				// A rounded sum over a rounded count, each off by half its base.
				e.PerValue = true
				e.Half.Add(e.Half, new(big.Int).Rsh(new(big.Int).Mul(largest(o.Range), big.NewInt(p.Exact.Round)), 1))
			}
			e.SD = new(big.Int).Set(e.Half)
			errs[i] = e
			continue
		}
		v := new(big.Int).Set(p.Measures[o.A].Sigma2)
		if e.PerValue {
			// Var(C−θN) = σ_C² + θ²σ_N² with |θ| ≤ max|bound−offset|.
			theta := new(big.Int).Sub(big.NewInt(o.Range.Hi), big.NewInt(o.Offset))
			theta.Mul(theta, theta).Mul(theta, p.Measures[o.B].Sigma2)
			v.Add(v, theta)
		}
		e.SD, e.Half = ceilSqrt(v), HalfWidth95(v)
		errs[i] = e
	}
	return errs
}

// RoundBase is the base that exact mode rounds output i to. Counts: the
// department's base r. Sums: r·10^(d−3) minimal units and at least r, where d is
// the number of digits of the largest registered magnitude, so that a cell's sum
// is known to no better than r/2 thousandths of what one unit may contribute.
// Averages have no base of their own: they are a rounded sum, to this base, over
// a count rounded to r. Rounding an average by itself would, beside the sum, give
// the exact count away.
func (p *Plan) RoundBase(i int) *big.Int {
	o, base := p.Outputs[i], big.NewInt(p.Exact.Round)
	if o.Func != algebra.Sum && o.Func != algebra.Avg {
		return base
	}
	for d := len(largest(o.Range).String()); d > 3; d-- {
		base.Mul(base, big.NewInt(10))
	}
	return base
}

// largest is the largest magnitude in a range.
func largest(r Range) *big.Int {
	top := new(big.Int).Abs(big.NewInt(r.Lo))
	if hi := new(big.Int).Abs(big.NewInt(r.Hi)); hi.Cmp(top) > 0 {
		top = hi
	}
	return top
}

// PriceFor returns the least price at which the 95 % half-width of output i is
// at most target minimal units in a cell of n values (n matters for AVG only),
// so that an operator asks for an error and never sets ε. It refuses a target
// that no price within the department's maximum reaches.
func PriceFor(core algebra.Core, facts []Facts, i int, target *big.Int, n int64) (budget.Nano, *policies.Reason) {
	if i < 0 || i >= len(core.Aggs) || n < 1 || len(facts) == 0 || target.Sign() < 0 {
		return 0, invalidCore("目标误差不对应任何聚合", "the target error belongs to no aggregate")
	}
	limit := facts[0].QueryMaxRho
	if limit < 1 {
		return 0, incomplete(facts[0], "query_max")
	}
	best, r := Build(core, facts, limit)
	if r != nil {
		return 0, r
	}
	if best.Mode == ModeExact {
		return 0, nil
	}
	if half := best.ExpectedError()[i].At(n); half.Cmp(target) > 0 {
		return 0, by(facts[0], "TARGET_TOO_FINE",
			"在部门 "+facts[0].Department+" 设定的单次上限 ρ "+limit.String()+" 内达不到该误差；可达到的 95 % 误差为 ±"+half.String()+" 个最小单位",
			"the target error cannot be reached within rho "+limit.String()+", the most department "+facts[0].Department+" allows; the best 95 % error is ±"+half.String()+" minimal units",
			"请放宽目标误差，或减少聚合与分组", "accept a larger error, or ask for fewer aggregates and keys")
	}
	// σ² falls as the price rises, so the error is monotone up to the integer
	// rounding of σ², which is monotone too.
	p := sort.Search(int(limit), func(x int) bool {
		plan, r := Build(core, facts, budget.Nano(x+1))
		return r == nil && plan.ExpectedError()[i].At(n).Cmp(target) <= 0
	})
	return budget.Nano(p + 1), nil
}
