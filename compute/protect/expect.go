package protect

import (
	"math/big"
	"sort"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

// OutputError is the error of one output, known before the run. Amounts are in
// minimal units of Scale decimal digits (counts: ones), in a cell of all keys.
type OutputError struct {
	Func  algebra.Func `json:"func"`
	Scale uint8        `json:"scale,omitempty"`
	// SD is the standard deviation and Half the half-width of the 95 % interval
	// in every cell, both rounded up. For AVG, variances, covariances and regressions
	// they are those of a numerator at the worst values the bounds allow: divide by
	// the cell's number of values.
	SD   *big.Int `json:"sd"`
	Half *big.Int `json:"half"`
	// PerValue is true for AVG, moments and regressions.
	PerValue bool `json:"per_value,omitempty"`
	// Root is true for standard deviations: the error is at most the root of that of
	// the variance, which SD and Half are (at twice Scale).
	Root bool `json:"root,omitempty"`
	// Typical is true where the error depends on how far the data spread, which is
	// not known: it is given for a spread of half the registered range.
	Typical bool `json:"typical,omitempty"`
	// Rows is true for quantiles, minimum and maximum: the error is a number of rows
	// by which the rank may be off, not a distance.
	Rows bool `json:"rows,omitempty"`
}

// At returns the half-width in a cell of n values (n ≥ 1), rounded up.
func (e OutputError) At(n int64) *big.Int {
	half := new(big.Int).Set(e.Half)
	if e.PerValue {
		half = ceilDiv(half, big.NewInt(n))
	}
	if e.Root {
		half = ceilSqrt(half)
	}
	return half
}

// Units reads an error in the output's own unit ("12.5") as minimal units of
// e.Scale, rounded down, so that a target is never taken for a looser one. It errs
// on anything but a non-negative decimal.
func (e OutputError) Units(text string) (*big.Int, error) {
	whole, frac, dot := strings.Cut(text, ".")
	if dot && frac == "" {
		return nil, algebra.ErrDecimal
	}
	if len(frac) > int(e.Scale) {
		if strings.Trim(frac, "0123456789") != "" {
			return nil, algebra.ErrDecimal
		}
		frac = frac[:e.Scale]
	}
	if frac != "" {
		whole += "." + frac
	}
	v, err := algebra.ParseDecimal(whole, e.Scale)
	if err != nil || v < 0 || strings.HasPrefix(text, "-") {
		return nil, algebra.ErrDecimal
	}
	return big.NewInt(v), nil
}

// ExpectedError gives, parallel to Outputs, the noise each output will carry. In
// exact mode it is the rounding: half the base of counts, sums and averages.
func (p *Plan) ExpectedError() []OutputError {
	errs := make([]OutputError, len(p.Outputs))
	for i, o := range p.Outputs {
		if p.Mode == ModeExact {
			errs[i] = p.rounding(i)
			continue
		}
		e := OutputError{Func: o.Func, Scale: o.Scale}
		v := p.variance(o, &e)
		if w := p.Weight; w != 0 {
			v = ceilDiv(v, big.NewInt(w*w))
		}
		e.SD, e.Half = ceilSqrt(v), HalfWidth95(v)
		errs[i] = e
	}
	return errs
}

func (p *Plan) rounding(i int) OutputError {
	o := p.Outputs[i]
	e := OutputError{Func: o.Func, Scale: o.Scale, Half: new(big.Int).Rsh(p.RoundBase(i), 1)}
	if o.Func == algebra.Avg {
		// A rounded sum over a rounded count, each off by half its base.
		e.PerValue = true
		e.Half.Add(e.Half, new(big.Int).Rsh(new(big.Int).Mul(largest(o.Range), big.NewInt(p.Exact.Round)), 1))
	}
	e.SD = new(big.Int).Set(e.Half)
	return e
}

// variance is that of the noise of an output (of its numerator, where PerValue), at
// the worst values the bounds allow.
func (p *Plan) variance(o Output, e *OutputError) *big.Int {
	total := new(big.Int)
	// add adds (factor·σ)² of a measure.
	add := func(measure int, factor *big.Int) {
		x := new(big.Int).Mul(factor, factor)
		total.Add(total, x.Mul(x, p.Measures[measure].Sigma2))
	}
	one := big.NewInt(1)
	times := func(k int64, x ...*big.Int) *big.Int {
		y := big.NewInt(k)
		for _, f := range x {
			y.Mul(y, f)
		}
		return y
	}
	ry, rx := reach(o.Range, o.Offset), reach(o.Range2, o.Offset2)
	switch o.Func {
	case algebra.Avg:
		// Var(C−θN) = σ_C² + θ²σ_N² with |θ| ≤ max|bound−offset|.
		e.PerValue = true
		add(o.A, one)
		add(o.B, ry)
	case algebra.Sum:
		add(o.A, one)
		if o.Offset != 0 {
			add(o.B, new(big.Int).Abs(big.NewInt(o.Offset)))
		}
	case algebra.VarPop, algebra.VarSamp, algebra.StddevPop, algebra.StddevSamp:
		// n·d(Var) = dΣx² − 2μ·dΣx + (μ²−Var)·dn, and Σx² is centred by R²/2 per row.
		e.PerValue, e.Root, e.Scale = true, o.Func == algebra.StddevPop || o.Func == algebra.StddevSamp, 2*o.Scale
		if e.Root {
			e.Scale = o.Scale
		}
		add(o.In[2], one)
		add(o.In[1], times(2, ry))
		add(o.In[0], times(2, ry, ry))
	case algebra.CovarPop, algebra.CovarSamp:
		e.PerValue, e.Scale = true, o.Scale+o.Scale2
		add(o.In[5], one)
		add(o.In[1], rx)
		add(o.In[2], ry)
		add(o.In[0], times(2, rx, ry))
	case algebra.Corr, algebra.RegrR2, algebra.RegrSlope, algebra.RegrIntercept:
		p.regression(o, e, add, times)
		return p.scaled(o, total)
	case algebra.Quantile:
		// The worst rank: all cells below it weigh 1−q, all above q.
		e.Rows, e.Scale = true, 0
		for range o.In {
			add(o.In[0], one)
		}
	case algebra.Min, algebra.Max:
		e.Rows, e.Scale = true, 0
		add(o.In[0], big.NewInt(3)) // a cell shows once it stands three deviations out
	default:
		e.Scale = 0
		add(o.A, one)
	}
	return total
}

// regression: the numerators of slope and correlation at a spread of half the range,
// Sxx = n·Rx²/4. n·dβ = (dSxy − β·dSxx)·4/Rx² with |β| ≤ Ry/Rx, and n·dr is n·dβ·Rx/Ry.
func (p *Plan) regression(o Output, e *OutputError, add func(int, *big.Int), times func(int64, ...*big.Int) *big.Int) {
	e.PerValue, e.Typical, e.Scale = true, true, MomentDigits
	ry, rx := reach(o.Range, o.Offset), reach(o.Range2, o.Offset2)
	// In units of Sxy; scaled divides by what turns it into the output.
	add(o.In[5], big.NewInt(1))
	add(o.In[1], rx)
	add(o.In[2], times(3, ry))
	add(o.In[0], times(3, rx, ry))
	if i := o.In[4]; i >= 0 {
		q := new(big.Int).Quo(ry, rx)
		add(i, q.Add(q, big.NewInt(1)))
	}
}

// MomentDigits is how many decimal digits CORR and REGR results carry.
const MomentDigits = 6

// scaled turns a variance in units of Sxy into one of the output's 10^-6.
func (p *Plan) scaled(o Output, v *big.Int) *big.Int {
	ry, rx := reach(o.Range, o.Offset), reach(o.Range2, o.Offset2)
	ten := func(k uint8) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(k)), nil) }
	num, den := new(big.Int).Mul(big.NewInt(4), ten(MomentDigits)), new(big.Int)
	switch o.Func {
	case algebra.Corr, algebra.RegrR2:
		den.Mul(rx, ry)
		if o.Func == algebra.RegrR2 {
			num.Lsh(num, 1)
		}
	case algebra.RegrSlope:
		num.Mul(num, ten(o.Scale2))
		den.Mul(rx, rx).Mul(den, ten(o.Scale))
	default: // the intercept moves with the slope by up to the largest x
		num.Mul(num, new(big.Int).Add(largest(o.Range2), rx))
		den.Mul(rx, rx).Mul(den, ten(o.Scale))
	}
	v = new(big.Int).Mul(v, num.Mul(num, num))
	return ceilDiv(v, den.Mul(den, den))
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

// Target is a 95 % half-width that an operator asks of one output, in minimal units
// of its ExpectedError's Scale, in a cell of Values values (which matters where the
// error is PerValue).
type Target struct {
	Output int
	Half   *big.Int
	Values int64
}

// PriceFor returns the least price at which the 95 % half-width of output i is
// at most target minimal units in a cell of n values. See PriceForAll.
func PriceFor(core algebra.Core, facts []Facts, i int, target *big.Int, n int64) (budget.Nano, *policies.Reason) {
	return PriceForAll(core, facts, []Target{{i, target, n}})
}

// PriceForAll returns the least price at which every target is met, so that an
// operator asks for errors and never sets ε. It refuses targets that no price within
// the departments' maximum reaches, naming the first such.
func PriceForAll(core algebra.Core, facts []Facts, targets []Target) (budget.Nano, *policies.Reason) {
	bad := len(facts) == 0 || len(targets) == 0
	for _, t := range targets {
		bad = bad || t.Output < 0 || t.Output >= len(core.Aggs) || t.Values < 1 || t.Half == nil || t.Half.Sign() < 0
	}
	if bad {
		return 0, invalidCore("目标误差不对应任何聚合", "the target error belongs to no aggregate")
	}
	strict := facts[0]
	for _, f := range facts {
		if !f.Public && f.QueryMaxRho < strict.QueryMaxRho {
			strict = f
		}
	}
	limit := strict.QueryMaxRho
	if limit < 1 {
		return 0, incomplete(strict, "query_max")
	}
	best, r := Build(core, facts, limit)
	if r != nil {
		return 0, r
	}
	if best.Mode == ModeExact {
		return 0, nil
	}
	errs := best.ExpectedError()
	for _, t := range targets {
		if half := errs[t.Output].At(t.Values); half.Cmp(t.Half) > 0 {
			best := "±" + algebra.FormatDecimal(half, errs[t.Output].Scale)
			return 0, by(strict, "TARGET_TOO_FINE",
				"在部门 "+strict.Department+" 设定的单次上限 ρ "+limit.String()+" 内达不到该误差；可达到的 95 % 误差为 "+best,
				"the target error cannot be reached within rho "+limit.String()+", the most department "+strict.Department+" allows; the best 95 % error is "+best,
				"请放宽目标误差，或减少聚合与分组", "accept a larger error, or ask for fewer aggregates and keys")
		}
	}
	// Shares grow with the price and σ² falls as they do, so the errors are monotone.
	p := sort.Search(int(limit), func(x int) bool {
		plan, r := Build(core, facts, budget.Nano(x+1))
		if r != nil {
			return false
		}
		errs := plan.ExpectedError()
		for _, t := range targets {
			if errs[t.Output].At(t.Values).Cmp(t.Half) > 0 {
				return false
			}
		}
		return true
	})
	return budget.Nano(p + 1), nil
}
