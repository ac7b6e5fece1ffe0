package model

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"

	"github.com/sandgate/sandgate/policies"
)

// second are the moments of a design matrix, per unit of weight.
type second struct {
	units float64 // how many units, not cut
	n     float64 // their weight after the cut
	sigma float64 // noise of a sum
	xx    *mat.SymDense
	xy    [][]float64 // per output
	rare  []bool      // slots that are not learned; see rareSlots
}

// fewestOfCell is the least number of units that a coefficient or a cell is learned
// from where no noise hides them: of fewer it would be what they are.
const fewestOfCell = 10

// rareSlots says which columns are not learned by a training without noise: those of
// codes that fewer than fewestOfCell units have, which count as the first code then,
// and of a first code that is rare itself as many others as make up the number. units
// are the columns' counts, the intercept's first.
func rareSlots(features []Feature, units []float64) []bool {
	slots := slotsOf(features)
	out := make([]bool, len(slots))
	for i := range features {
		var own []int
		base := units[0]
		for j, x := range slots {
			if x.feature == i && x.what != slotValue {
				own = append(own, j)
				base -= units[j]
			}
		}
		slices.SortFunc(own, func(a, b int) int { return cmp.Compare(units[a], units[b]) })
		for _, j := range own {
			if units[j] < fewestOfCell || base < fewestOfCell {
				out[j], base = true, base+units[j]
			}
		}
		for j, x := range slots { // of a number that is missing all but everywhere
			if x.feature == i && x.what == slotValue && len(own) > 0 {
				out[j] = out[own[0]] && units[own[0]] >= fewestOfCell
			}
		}
	}
	return out
}

// forget takes the columns that are not learned out of the moments.
func (m *second) forget() {
	for i, rare := range m.rare {
		if !rare {
			continue
		}
		for j := range m.rare {
			m.xx.SetSym(i, j, 0)
		}
		m.xx.SetSym(i, i, 1)
		for _, row := range m.xy {
			row[i] = 0
		}
	}
}

// moments reads a moments pass; rare are the columns that one before it left out.
func (s *session) moments(theta []float64, rare []bool) (second, error) {
	a, err := s.ask(PassMoments, theta, nil)
	if err != nil {
		return second{}, err
	}
	inputs, outputs := len(slotsOf(s.design.Features)), s.design.outputs()
	m := second{units: a.v[0], n: a.v[1], sigma: a.sigma, xx: mat.NewSymDense(inputs, nil)}
	if err := s.supported(m.units, a.sigma); err != nil {
		return m, err
	}
	if len(theta) > 0 {
		m.n = m.units // curvatures stay sums over the units
	} else if !(m.n > 4*a.sigma && m.n > 0.01*m.units) {
		return m, degenerate()
	}
	at := 1
	for i := range inputs {
		for j := i; j < inputs; j++ {
			m.xx.SetSym(i, j, a.v[at]/m.n)
			at++
		}
	}
	for range outputs {
		row := make([]float64, inputs)
		for j := range row {
			row[j] = a.v[at] / m.n
			at++
		}
		m.xy = append(m.xy, row)
	}
	if m.rare = rare; !s.design.Spec.Private {
		if m.rare == nil {
			units := make([]float64, inputs)
			for i := range units {
				units[i] = m.xx.At(i, i) * m.n
			}
			m.rare = rareSlots(s.design.Features, units)
		}
		m.forget()
	}
	return m, nil
}

// floor is a ridge that keeps directions in which noise rules from being trusted: a
// third of the largest eigenvalue that noise alone makes, about 2σ√d.
func (m second) floor() float64 {
	return 2.0 / 6 * m.sigma * math.Sqrt(float64(m.xx.SymmetricDim())) / m.n
}

// inverse applies (scale·M + ridge)⁻¹, where M is repaired: noise makes eigenvalues
// negative that cannot be.
type inverse struct {
	values []float64
	q      mat.Dense
}

func (m second) inverse(scale, ridge float64) (*inverse, bool) {
	var e mat.EigenSym
	if !e.Factorize(m.xx, true) {
		return nil, false
	}
	out := &inverse{values: e.Values(nil)}
	e.VectorsTo(&out.q)
	for i, v := range out.values {
		x := scale*max(v, 0) + ridge
		if !(x > 1e-12) {
			x = 1e-12
		}
		out.values[i] = 1 / x
	}
	return out, true
}

func (v *inverse) apply(b []float64) []float64 {
	n := len(b)
	var c, out mat.VecDense
	c.MulVec(v.q.T(), mat.NewVecDense(n, append([]float64(nil), b...)))
	for i := range n {
		c.SetVec(i, c.AtVec(i)*v.values[i])
	}
	out.MulVec(&v.q, &c)
	return out.RawVector().Data
}

// linear solves ridge regression on noisy moments.
func (s *session) linear() (*Parameters, error) {
	m, err := s.moments(nil, nil)
	if err != nil {
		return nil, err
	}
	inv, ok := m.inverse(1, s.design.Spec.Setting.L2+m.floor())
	if !ok {
		return nil, degenerate()
	}
	return &Parameters{Coefficients: [][]float64{inv.apply(m.xy[0])}}, nil
}

// classes trains logistic and softmax models: a start from least squares on the
// moments, then gradients preconditioned with the moments as curvature, which needs
// far fewer passes than plain descent. Iterates of the second half are averaged.
func (s *session) classes() (*Parameters, error) {
	m, err := s.moments(nil, nil)
	if err != nil {
		return nil, err
	}
	set, outputs, inputs := s.design.Spec.Setting, s.design.outputs(), m.xx.SymmetricDim()
	shares, err := s.shares(m)
	if err != nil {
		return nil, err
	}
	theta, ok := s.start(m, shares)
	if !ok {
		return nil, degenerate()
	}
	curves := make([]*inverse, outputs)
	for k := range curves {
		curve := shares[k+1] * (1 - shares[k+1])
		if curves[k], ok = m.inverse(curve, set.L2+curve*m.floor()); !ok {
			return nil, degenerate()
		}
	}
	newton := !s.design.Spec.Private && s.design.Spec.Family == policies.FamilyLogistic
	rate, sum, kept := set.Rate, make([]float64, len(theta)), 0.0
	var before []float64
	for i := range set.Steps {
		if i > 0 && newton {
			h, err := s.moments(theta, m.rare)
			if err != nil {
				return nil, err
			}
			if curves[0], ok = h.inverse(1, set.L2); !ok {
				return nil, degenerate()
			}
		}
		a, err := s.ask(PassGradient, theta, nil)
		if err != nil {
			return nil, err
		}
		step := make([]float64, 0, len(theta))
		g := make([]float64, len(theta))
		for k := range outputs {
			part := g[k*inputs : (k+1)*inputs]
			for j := range part {
				if part[j] = a.v[k*inputs+j]/m.units + set.L2*theta[k*inputs+j]; m.rare != nil && m.rare[j] {
					part[j] = 0
				}
			}
			step = append(step, curves[k].apply(part)...)
		}
		if before != nil && dot(g, before) < 0 {
			rate = max(rate/2, set.Rate/16) // the last step went too far, or noise rules
		}
		before = step
		shrink := min(1, maxStep/math.Sqrt(dot(step, step)))
		for j := range theta {
			theta[j] = min(max(theta[j]-rate*shrink*step[j], -maxCoefficient), maxCoefficient)
		}
		if 2*(i+1) > set.Steps {
			kept++
			for j := range sum {
				sum[j] += theta[j]
			}
		}
		if !s.design.Spec.Private && rate*shrink*math.Sqrt(dot(step, step)) < 1e-7 {
			kept, sum = 1, theta
			break
		}
	}
	if s.design.Spec.Private {
		for j := range theta {
			theta[j] = sum[j] / kept
		}
	}
	out := &Parameters{}
	for k := range outputs {
		out.Coefficients = append(out.Coefficients, theta[k*inputs:(k+1)*inputs])
	}
	return out, nil
}

// maxStep is the longest step of a training, maxCoefficient the largest coefficient of
// inputs scaled to [-1, 1].
const (
	maxStep        = 10
	maxCoefficient = 1000
)

// shares of the classes, by the moments.
func (s *session) shares(m second) ([]float64, error) {
	out, sigma := make([]float64, s.design.outputs()+1), m.sigma/m.n
	out[0] = 1
	for k := range m.xy {
		v := m.xy[k][0]
		if s.design.Target.Classes == 2 {
			v += 0.5
		}
		out[k+1] = v
		out[0] -= v
	}
	if s.design.Target.Classes == 2 {
		if err := s.bothClasses(out[0]*m.units, out[1]*m.units, 2*sigma*m.units); err != nil {
			return nil, err
		}
	}
	total := 0.0
	for k := range out {
		out[k] = min(max(out[k], 0.01), 0.99) // a rare class of softmax keeps a curvature
		total += out[k]
	}
	for k := range out {
		out[k] /= total
	}
	return out, nil
}

// start linearises the classes' probabilities around their shares, where least squares
// gives the slopes.
func (s *session) start(m second, shares []float64) ([]float64, bool) {
	inv, ok := m.inverse(1, s.design.Spec.Setting.L2+m.floor())
	if !ok {
		return nil, false
	}
	inputs := m.xx.SymmetricDim()
	var fits [][]float64
	zero := make([]float64, inputs) // of the first class, 1 less all others
	zero[0] = 1
	for k := range m.xy {
		f := inv.apply(m.xy[k])
		if s.design.Target.Classes == 2 {
			f[0] += 0.5
		}
		for j := range zero {
			zero[j] -= f[j]
		}
		fits = append(fits, f)
	}
	theta := make([]float64, 0, inputs*len(fits))
	for k, f := range fits {
		row := make([]float64, inputs)
		for j := range row {
			row[j] = f[j]/shares[k+1] - zero[j]/shares[0]
		}
		row[0] += math.Log(shares[k+1] / shares[0])
		theta = append(theta, row...)
	}
	return theta, true
}
