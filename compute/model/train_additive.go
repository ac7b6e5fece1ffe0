package model

import (
	"math"

	"gonum.org/v1/gonum/mat"
)

// additive trains tables over bins: a pass of counts and label sums, which fixes the
// curvature of every cell and gives the first step for nothing, then rounds of residual
// sums over all terms at once. A round moves each table towards the mean of its
// posterior: cells that noise or few units leave unsure are drawn to nothing, those of
// ordered bins to their neighbours.
func (s *session) additive() (*Parameters, error) {
	d := s.design
	terms := d.terms()
	first, err := s.ask(PassBins, nil, nil)
	if err != nil {
		return nil, err
	}
	t := newTables(d, first)
	if err := s.supported(t.n, t.sigma); err != nil {
		return nil, err
	}
	if d.Target.Classes == 2 {
		if err := s.bothClasses(t.n*(1-t.share), t.n*t.share, t.sigma); err != nil {
			return nil, err
		}
	}
	t.start()
	rounds := d.Spec.Setting.Rounds
	rate := d.Spec.Setting.Rate
	// The counts' residuals at the constant model are the first answer.
	sums, sigma := t.residuals, first.sigma
	mean, kept := make([]float64, len(t.theta)), 0.0
	var before []float64
	for round := 0; ; round++ {
		eff := sigma
		if round > 0 {
			eff /= math.Sqrt(max(1, float64(rounds)/2)) // what all rounds know together
		}
		step := t.step(sums, eff)
		if before != nil && dot(sums, before) < 0 {
			rate = max(rate/2, d.Spec.Setting.Rate/16)
		}
		before = step
		largest := 0.0
		for i, x := range step {
			t.theta[1+i] += rate * x
			largest = max(largest, math.Abs(rate*x))
		}
		t.centre()
		if 2*round >= rounds {
			kept++
			for i, x := range t.theta {
				mean[i] += x
			}
		}
		if round == rounds || sigma == 0 && largest < 1e-5 {
			break
		}
		a, err := s.ask(PassResiduals, t.theta, nil)
		if err != nil {
			return nil, err
		}
		sums, sigma = a.v, a.sigma
	}
	if d.Spec.Private {
		for i := range mean {
			t.theta[i] = mean[i] / kept
		}
	}
	out := &Parameters{Intercept: t.theta[0]}
	at := 1
	for _, x := range terms {
		n := x.size(d.Features)
		out.Tables = append(out.Tables, t.theta[at:at+n])
		at += n
	}
	return out, nil
}

// tables are the state of an additive training.
type tables struct {
	d         Design
	terms     []term
	n, share  float64 // units, and share of class 1 (or mean label brought to [0, 1])
	sigma     float64 // noise of n
	count     []float64
	curve     []float64 // curvature of a cell
	residuals []float64 // at the constant model
	theta     []float64 // intercept, then all cells
}

func newTables(d Design, a answer) *tables {
	t := &tables{d: d, terms: d.terms()}
	cells := len(a.v) / 2
	one := 0.0
	for i := range cells {
		t.count = append(t.count, max(0, a.v[2*i]+a.v[2*i+1]))
		t.n += a.v[2*i] + a.v[2*i+1]
		one += a.v[2*i+1]
	}
	// Every term counts every unit once.
	k := float64(len(t.terms))
	t.n, one = t.n/k, one/k
	t.sigma = a.sigma * math.Sqrt(2*float64(cells)) / k
	t.share = min(max(one/t.n, 0.001), 0.999)
	weight := 1.0
	if d.Target.Classes == 2 {
		weight = t.share * (1 - t.share)
	}
	for i := range cells {
		zero, one := a.v[2*i], a.v[2*i+1]
		r := one*(1-t.share) - zero*t.share
		if d.Target.Classes == 0 {
			r *= 2 // labels lie in [-1, 1]
		}
		t.residuals = append(t.residuals, r)
		curve := weight * t.count[i]
		if !d.Spec.Private && t.count[i] < fewestOfCell {
			curve = 0 // not learned: see fewestOfCell
		}
		t.curve = append(t.curve, curve)
	}
	t.theta = make([]float64, 1+cells)
	return t
}

func (t *tables) start() {
	if t.d.Target.Classes == 2 {
		t.theta[0] = math.Log(t.share / (1 - t.share))
	} else {
		t.theta[0] = 2*t.share - 1
	}
}

// What is expected of a table before data are seen, on the scale of log odds: the
// standard deviation of a cell, and of a jump between neighbours of 16 bins.
const (
	priorCell = 1.0
	priorJump = 0.15
	// numberScale brings both to labels in [-1, 1].
	numberScale = 0.3
)

// step is how far each cell lies from the mean of its posterior.
func (t *tables) step(sums []float64, sigma float64) []float64 {
	out := make([]float64, len(sums))
	at := 0
	for _, x := range t.terms {
		n := x.size(t.d.Features)
		t.posterior(x, sums[at:at+n], t.curve[at:at+n], t.theta[1+at:1+at+n], sigma, out[at:at+n])
		at += n
	}
	return out
}

func (t *tables) posterior(x term, sums, curve, theta []float64, sigma float64, out []float64) {
	scale := 1.0
	if t.d.Target.Classes == 0 {
		scale = numberScale
	}
	cell, jump := priorCell*scale, 0.0
	f := t.d.Features[x.a]
	ordered := x.b < 0 && f.Kind == KindNumber && len(theta) > 2
	if x.b >= 0 {
		cell /= 2
	}
	if ordered {
		jump = priorJump * scale * math.Sqrt(16/float64(len(theta)))
	}
	// Precision of what a cell's sums say of it, and of the prior.
	know := make([]float64, len(theta))
	for i, h := range curve {
		if floor := 0.5 * sigma; h > max(1e-9, floor*0.1) {
			spread := 1/h + sigma*sigma/(h*h)
			if t.d.Target.Classes == 0 {
				spread = 0.1/h + sigma*sigma/(h*h) // residuals are that small a share of the range
			}
			know[i] = 1 / spread
		}
	}
	want := make([]float64, len(theta))
	for i := range want {
		if know[i] > 0 {
			want[i] = know[i] * (theta[i] + sums[i]/curve[i])
		}
	}
	if !ordered {
		for i := range out {
			out[i] = want[i]/(know[i]+1/(cell*cell)) - theta[i]
		}
		return
	}
	n := len(theta)
	tri := mat.NewTridiag(n, nil, nil, nil)
	link := 1 / (jump * jump)
	for i := range n {
		diagonal := know[i] + 1/(cell*cell)
		if i+1 < n-1 { // the last bin is missing values, no neighbour of any
			diagonal += link
			tri.SetBand(i, i+1, -link)
			tri.SetBand(i+1, i, -link)
		}
		if i > 0 && i < n-1 {
			diagonal += link
		}
		tri.SetBand(i, i, diagonal)
	}
	var solved mat.VecDense
	if err := tri.SolveVecTo(&solved, false, mat.NewVecDense(n, want)); err != nil {
		clear(out)
		return
	}
	for i := range out {
		out[i] = solved.AtVec(i) - theta[i]
	}
}

// centre moves each table's mean into the intercept, so that a table has one form.
func (t *tables) centre() {
	at := 1
	for _, x := range t.terms {
		n := x.size(t.d.Features)
		sum, weight := 0.0, 0.0
		for i, v := range t.theta[at : at+n] {
			sum += v * t.count[at-1+i]
			weight += t.count[at-1+i]
		}
		if weight > 0 {
			for i := range t.theta[at : at+n] {
				t.theta[at+i] -= sum / weight
			}
			t.theta[0] += sum / weight
		}
		at += n
	}
	limit := 30.0
	for i, v := range t.theta {
		t.theta[i] = min(max(v, -limit), limit)
	}
}
