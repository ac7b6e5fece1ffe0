package release

import (
	"math/big"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// What follows is post-processing of noisy integers and may round: it computes in
// binary floats of 256 bits, software arithmetic that is the same on every machine.
// The noise itself is drawn in integers only.
const precision = 256

type real = *big.Float

func fromInt(x *big.Int) real { return new(big.Float).SetPrec(precision).SetInt(x) }
func small(x int64) real      { return fromInt(big.NewInt(x)) }
func add(a, b real) real      { return new(big.Float).SetPrec(precision).Add(a, b) }
func sub(a, b real) real      { return new(big.Float).SetPrec(precision).Sub(a, b) }
func mul(a, b real) real      { return new(big.Float).SetPrec(precision).Mul(a, b) }
func quo(a, b real) real      { return new(big.Float).SetPrec(precision).Quo(a, b) }
func neg(a real) real         { return new(big.Float).SetPrec(precision).Neg(a) }

// root is √a, and 0 for what rounding made negative.
func root(a real) real {
	if a.Sign() <= 0 {
		return small(0)
	}
	return new(big.Float).SetPrec(precision).Sqrt(a)
}

func largest(a, b real) real {
	if a.Cmp(b) < 0 {
		return b
	}
	return a
}

// z95 is the 97.5 % quantile of the standard normal.
var z95 = quo(small(1_959_964), small(1_000_000))

// Places in moments.in.
const (
	inN = iota
	inY
	inX
	inYY
	inXX
	inXY
)

// moments are the noisy sums behind one output: n, Σy, Σx, Σy², Σx² and Σxy of
// centred values, and the measures they come from (−1: none). For one column y is x.
type moments struct {
	k    *kernel
	cell noisyCell
	in   [6]int
	at   [6]real
	unit real // Weight, or one
}

// gradient is a linear form in the six sums; nil is zero.
type gradient [6]real

func momentShape(o protect.Output) bool {
	_, ok := places(o)
	return ok
}

// places maps Output.In to the six sums.
func places(o protect.Output) ([6]int, bool) {
	var in [6]int
	needs := []int{inN, inY, inX, inXY}
	switch o.Func {
	case algebra.VarPop, algebra.VarSamp, algebra.StddevPop, algebra.StddevSamp:
		if len(o.In) != 3 {
			return in, false
		}
		in = [6]int{o.In[0], o.In[1], o.In[1], o.In[2], o.In[2], o.In[2]}
	case algebra.CovarPop, algebra.CovarSamp, algebra.Corr, algebra.RegrR2, algebra.RegrSlope, algebra.RegrIntercept:
		if len(o.In) != 6 {
			return in, false
		}
		in = [6]int(o.In)
		if o.Func != algebra.CovarPop && o.Func != algebra.CovarSamp {
			needs = append(needs, inXX)
		}
		if o.Func == algebra.Corr || o.Func == algebra.RegrR2 {
			needs = append(needs, inYY)
		}
	default:
		return in, false
	}
	for _, i := range needs {
		if in[i] < 0 {
			return in, false
		}
	}
	return in, true
}

func (k *kernel) newMoments(o protect.Output, c noisyCell) moments {
	m := moments{k: k, cell: c, unit: small(max(1, k.plan.Weight))}
	m.in, _ = places(o)
	for i, measure := range m.in {
		if measure < 0 {
			continue
		}
		x := fromInt(c.x[measure])
		if centre := k.plan.Measures[measure].Centre; centre != nil {
			by := fromInt(c.x[k.plan.Measures[measure].CentreBy])
			x = add(x, mul(fromInt(centre), by))
		}
		m.at[i] = quo(x, m.unit)
	}
	return m
}

// covariance of two linear forms in the sums, under the noise of the measures.
func (m moments) covariance(f, g gradient) real {
	type pair struct{ f, g real }
	by := map[int]pair{}
	var order []int
	put := func(measure int, f, g real) {
		p, have := by[measure]
		if !have {
			p = pair{small(0), small(0)}
			order = append(order, measure)
		}
		by[measure] = pair{add(p.f, f), add(p.g, g)}
	}
	for i, measure := range m.in {
		if measure < 0 || f[i] == nil && g[i] == nil {
			continue
		}
		x, y := f[i], g[i]
		if x == nil {
			x = small(0)
		}
		if y == nil {
			y = small(0)
		}
		put(measure, x, y)
		if p := m.k.plan.Measures[measure]; p.Centre != nil {
			centre := fromInt(p.Centre)
			put(p.CentreBy, mul(x, centre), mul(y, centre))
		}
	}
	total := small(0)
	for _, measure := range order {
		p := by[measure]
		total = add(total, mul(mul(p.f, p.g), fromInt(m.k.variance(measure, m.cell))))
	}
	return quo(total, mul(m.unit, m.unit))
}

func (m moments) deviation(f gradient) real { return root(m.covariance(f, f)) }

// scatter is S = Σab − Σa·Σb/n with its gradient, for sums a, b and their products.
func (m moments) scatter(a, b, ab int) (real, gradient) {
	n := m.at[inN]
	ma, mb := quo(m.at[a], n), quo(m.at[b], n)
	var g gradient
	g[inN] = mul(ma, mb)
	if a == b {
		g[a] = mul(small(-2), ma)
	} else {
		g[a], g[b] = neg(mb), neg(ma)
	}
	g[ab] = small(1)
	return sub(m.at[ab], mul(m.at[a], mb)), g
}

// slack bounds the part of S's error that is not linear in the noise, Σa and Σb
// both being off by two deviations.
func (m moments) slack(a, b int) real {
	var f, g gradient
	f[a], g[b] = small(1), small(1)
	return quo(mul(small(4), mul(m.deviation(f), m.deviation(g))), m.at[inN])
}

// span is an estimate with its interval.
type span struct{ at, lo, hi real }

func (s span) times(f real) span { return span{mul(s.at, f), mul(s.lo, f), mul(s.hi, f)} }

// fieller is the interval of the quotient a/b of two noisy forms with gradients ga
// and gb: the θ with (a−θb)² ≤ z²·Var(a−θb), widened by slack in a. b must be clear.
func (m moments) fieller(a real, ga gradient, b real, gb gradient, slack real) span {
	z2 := mul(z95, z95)
	va, vb, cab := m.covariance(ga, ga), m.covariance(gb, gb), m.covariance(ga, gb)
	p := sub(mul(b, b), mul(z2, vb))
	q := sub(mul(a, b), mul(z2, cab))
	d := sub(mul(a, a), mul(z2, va))
	r := root(sub(mul(q, q), mul(p, d)))
	s := quo(slack, b)
	return span{quo(a, b), sub(quo(sub(q, r), p), s), add(quo(add(q, r), p), s)}
}

// clear reports whether a denominator exceeds momentSigmas deviations of its noise.
func (m moments) clear(x real, g gradient) bool {
	return x.Sign() > 0 && x.Cmp(mul(small(momentSigmas), m.deviation(g))) > 0
}

// moment is a variance, standard deviation, covariance, correlation or regression.
func (k *kernel) moment(o protect.Output, c noisyCell) value {
	m := k.newMoments(o, c)
	gn := gradient{inN: small(1)}
	if !m.clear(m.at[inN], gn) || m.at[inN].Cmp(small(2)) < 0 {
		return value{withheld: TooNoisy}
	}
	switch o.Func {
	case algebra.VarPop, algebra.VarSamp, algebra.StddevPop, algebra.StddevSamp:
		s := m.second(o, gn)
		// The variance of values in [L,U] is at most a quarter of (U−L)², and of a sample
		// of n no more than n/(n−1) times that.
		width := sub(small(o.Range.Hi), small(o.Range.Lo))
		most := quo(mul(width, width), small(2))
		s.within(small(0), most)
		if o.Func == algebra.StddevPop || o.Func == algebra.StddevSamp {
			s = span{root(s.at), root(s.lo), root(s.hi)}
		}
		return s.times(small(100)).value()
	case algebra.CovarPop, algebra.CovarSamp:
		return m.second(o, gn).times(small(100)).value()
	}
	return k.regression(o, m)
}

// second is Sxy over n, or over n−1 for a sample.
func (m moments) second(o protect.Output, gn gradient) span {
	a, b := inY, inX
	if m.in[inY] == m.in[inX] {
		a = inX
	}
	s, g := m.scatter(a, b, inXY)
	n := m.at[inN]
	switch o.Func {
	case algebra.VarSamp, algebra.StddevSamp, algebra.CovarSamp:
		n = sub(n, small(1))
	}
	return m.fieller(s, g, n, gn, m.slack(a, b))
}

// regression: the slope by Fieller's interval; correlation and intercept by their
// first-order noise, widened by how much smaller their denominators may really be.
func (k *kernel) regression(o protect.Output, m moments) value {
	sxx, gxx := m.scatter(inX, inX, inXX)
	if !m.clear(sxx, gxx) {
		return value{withheld: TooNoisy}
	}
	a := inY
	if m.in[inY] == m.in[inX] {
		a = inX
	}
	sxy, gxy := m.scatter(a, inX, inXY)
	million := small(1_000_000)
	widen := func(s real, g gradient) real { // 1/(1 − z·sd/S)
		return quo(s, sub(s, mul(z95, m.deviation(g))))
	}
	switch o.Func {
	case algebra.RegrSlope:
		slack := mul(small(2), largest(m.slack(a, inX), m.slack(inX, inX)))
		return m.fieller(sxy, gxy, sxx, gxx, slack).times(quo(mul(million, tens(o.Scale2)), tens(o.Scale))).value()
	case algebra.RegrIntercept:
		beta, n := quo(sxy, sxx), m.at[inN]
		centre := add(quo(m.at[inX], n), small(o.Offset2)) // the mean of x
		rest := quo(sub(m.at[inY], mul(beta, m.at[inX])), n)
		var g gradient
		for i := range g {
			if gxy[i] != nil || gxx[i] != nil {
				x, y := gxy[i], gxx[i]
				if x == nil {
					x = small(0)
				}
				if y == nil {
					y = small(0)
				}
				g[i] = neg(quo(mul(centre, sub(x, mul(beta, y))), sxx))
			}
		}
		plus := func(i int, x real) {
			if g[i] != nil {
				x = add(g[i], x)
			}
			g[i] = x
		}
		plus(inY, quo(small(1), n))
		plus(inX, neg(quo(beta, n)))
		plus(inN, neg(quo(rest, n)))
		at := sub(add(rest, small(o.Offset)), mul(beta, small(o.Offset2)))
		half := mul(mul(z95, m.deviation(g)), widen(sxx, gxx))
		return span{at, sub(at, half), add(at, half)}.times(quo(million, tens(o.Scale))).value()
	}
	syy, gyy := m.scatter(a, a, inYY)
	if !m.clear(syy, gyy) {
		return value{withheld: TooNoisy}
	}
	d := root(mul(sxx, syy))
	r := quo(sxy, d)
	var g gradient
	for i := range g {
		x := small(0)
		for _, part := range []struct{ g, by real }{{gxy[i], quo(small(1), d)}, {gxx[i], neg(quo(r, mul(small(2), sxx)))}, {gyy[i], neg(quo(r, mul(small(2), syy)))}} {
			if part.g != nil {
				x = add(x, mul(part.g, part.by))
			}
		}
		g[i] = x
	}
	half := mul(mul(mul(z95, m.deviation(g)), widen(sxx, gxx)), widen(syy, gyy))
	half = add(half, quo(m.slack(a, inX), d))
	s := span{r, sub(r, half), add(r, half)}
	s.within(small(-1), small(1))
	if o.Func == algebra.RegrR2 {
		s = s.squared()
	}
	return s.times(million).value()
}

func tens(k uint8) real {
	return fromInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(k)), nil))
}

// within moves an estimate that noise carried out of the possible range back to its
// edge, with its interval, as value.within does.
func (s *span) within(least, most real) {
	shift := small(0)
	if s.at.Cmp(least) < 0 {
		shift = sub(least, s.at)
	} else if s.at.Cmp(most) > 0 {
		shift = sub(most, s.at)
	}
	s.at, s.lo, s.hi = add(s.at, shift), largest(add(s.lo, shift), least), add(s.hi, shift)
	if s.hi.Cmp(most) > 0 {
		s.hi = most
	}
}

// squared is the interval of a square.
func (s span) squared() span {
	lo, hi := mul(s.lo, s.lo), mul(s.hi, s.hi)
	if lo.Cmp(hi) > 0 {
		lo, hi = hi, lo
	}
	if s.lo.Sign() <= 0 && s.hi.Sign() >= 0 {
		lo = small(0)
	}
	return span{mul(s.at, s.at), lo, hi}
}

// value rounds the estimate to the nearest integer and its interval outwards.
func (s span) value() value {
	floor := func(x real) *big.Int {
		i, exact := x.Int(nil)
		if exact != big.Exact && x.Sign() < 0 {
			i.Sub(i, big.NewInt(1))
		}
		return i
	}
	half := quo(small(1), small(2))
	lo, at := floor(s.lo), floor(add(s.at, half))
	hi := floor(neg(s.hi))
	return value{num: at, lo: lo, hi: hi.Neg(hi)}
}
