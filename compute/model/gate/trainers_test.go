package gate

import (
	"context"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

// city invents units of one row: numbers without edges, numbers with edges and
// categories in turn, and a label that follows from some of them.
func city(units, features int, seed uint64) (model.Design, *model.Data) {
	r := rand.New(rand.NewPCG(seed, 17))
	d := &model.Data{Count: units}
	var design model.Design
	for u := range units {
		d.Units = append(d.Units, int32(u))
	}
	logit := make([]float64, units)
	for f := range features {
		x := model.Feature{Column: "c" + string(rune('a'+f%26)) + string(rune('a'+f/26)), Kind: model.KindNumber, Bounds: [2]int64{0, 1000}}
		bins, values := make([]uint16, units), make([]float32, units)
		switch f % 3 {
		case 1:
			x.Edges = []int64{200, 400, 600, 800}
		case 2:
			x = model.Feature{Column: x.Column, Kind: model.KindCategory, Codes: []string{"甲", "乙", "丙"}}
			values = nil
		}
		weight := r.NormFloat64() * 2 / math.Sqrt(float64(features))
		for u := range units {
			v := min(1, max(-1, r.NormFloat64()*0.4))
			if x.Kind == model.KindCategory {
				bins[u] = uint16(r.IntN(3))
				v = float64(bins[u]) - 1
			} else {
				values[u] = float32(v)
				for _, e := range x.Edges {
					if (v+1)*500 >= float64(e) {
						bins[u]++
					}
				}
			}
			logit[u] += 2 * weight * v
		}
		design.Features = append(design.Features, x)
		d.Bins, d.Values = append(d.Bins, bins), append(d.Values, values)
	}
	for u := range units {
		y := float32(0)
		if r.Float64() < 1/(1+math.Exp(-logit[u])) {
			y = 1
		}
		d.Label = append(d.Label, y)
	}
	design.Target = model.Target{Column: "label", Classes: 2, Positive: []string{"是"}, Codes: []string{"否", "是"}}
	design.Spec = policies.ModelSpec{Dataset: "city", Family: policies.FamilyLogistic, Release: policies.ReleaseScores, HoldOut: 20}
	return design, d
}

// apart draws who is trained on.
func apart(units, percent int, seed uint64) []bool {
	r := rand.New(rand.NewPCG(seed, 23))
	in := make([]bool, units)
	for i, u := range r.Perm(units) {
		in[u] = i < units*(100-percent)/100
	}
	return in
}

// logistic is a full-batch gradient model over numbers and one-hot categories.
type logistic struct {
	design model.Design
	theta  []float64
	id     bool // one more input per unit number of the training data
}

func (m *logistic) Width() int { return 1 }

// inputs calls use with every input of a row that is not zero.
func inputs(design model.Design, d *model.Data, row int, use func(i int, v float64)) {
	use(0, 1)
	i := 1
	for f, x := range design.Features {
		if x.Kind == model.KindNumber {
			use(i, float64(d.Values[f][row]))
			i++
			continue
		}
		use(i+int(d.Bins[f][row]), 1)
		i += len(x.Codes) + 1
	}
}

func width(design model.Design) int {
	n := 1
	for _, x := range design.Features {
		if n++; x.Kind == model.KindCategory {
			n += len(x.Codes)
		}
	}
	return n
}

func (m *logistic) Score(d *model.Data, out []float64) {
	for r := range d.Rows() {
		z := 0.0
		inputs(m.design, d, r, func(i int, v float64) { z += m.theta[i] * v })
		out[r] = 1 / (1 + math.Exp(-z))
	}
}

// trainLogistic takes steps of the clipped mean gradient; with rho, each step is noised.
func trainLogistic(design model.Design, steps int, rate, l2, clip float64, rho budget.Nano) Trainer {
	return func(ctx context.Context, members []bool, d *model.Data, rnd io.Reader) (model.Scorer, error) {
		var seed [16]byte
		if _, err := io.ReadFull(rnd, seed[:]); err != nil {
			return nil, err
		}
		r := rand.New(rand.NewPCG(binary.LittleEndian.Uint64(seed[:]), binary.LittleEndian.Uint64(seed[8:])))
		w := width(design)
		m := &logistic{design: design, theta: make([]float64, w)}
		sigma := 0.0
		if rho > 0 {
			sigma = clip * math.Sqrt(float64(steps)/(2*rho.Rho()))
		}
		n := 0.0
		for _, in := range members {
			if in {
				n++
			}
		}
		g := make([]float64, w)
		for range steps {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			clear(g)
			for row, u := range d.Units {
				if !members[u] {
					continue
				}
				z, norm := 0.0, 0.0
				inputs(design, d, row, func(i int, v float64) { z, norm = z+m.theta[i]*v, norm+v*v })
				e := 1/(1+math.Exp(-z)) - float64(d.Label[row])
				if s := math.Abs(e) * math.Sqrt(norm); s > clip {
					e *= clip / s
				}
				inputs(design, d, row, func(i int, v float64) { g[i] += e * v })
			}
			for i := range g {
				m.theta[i] -= rate * ((g[i]+sigma*r.NormFloat64())/n + l2*m.theta[i])
			}
		}
		return m, nil
	}
}
