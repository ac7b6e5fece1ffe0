package gate

import (
	"context"
	"math"
	"slices"

	"github.com/sandgate/sandgate/compute/model"
)

// shadow is a model trained as the target was, and what it says of the attacked units.
type shadow struct {
	model model.Scorer
	in    []bool    // attacked unit → in its training set
	phi   []float32 // row of the attacked units → signal
}

// lineup are the attacked units and the shadows. Every shadow trains on as many units
// as the target; each attacked unit is in the training set of exactly half of them.
type lineup struct {
	units   []int32
	member  []bool // of the target
	data    *model.Data
	rows    []int // unit → first row of data; one more for the end
	shadows []shadow
	size    int // units that a shadow was trained on
}

// lineUp draws the attacked units, half members, and trains the shadows in pairs: what
// one of a pair trains on of the attacked units the other does not.
func (b *bench) lineUp(ctx context.Context) (*lineup, error) {
	a := min(b.opt.Attacked/2, len(b.in), len(b.out))
	s := b.rnd.fork("lineup", 0)
	l := &lineup{units: append(sample(s, b.in, a), sample(s, b.out, a)...)}
	slices.Sort(l.units)
	attacked := make([]bool, b.Data.Count)
	for _, u := range l.units {
		attacked[u] = true
		l.member = append(l.member, b.Members[u])
	}
	var rest []int32
	for u := range int32(b.Data.Count) {
		if !attacked[u] {
			rest = append(rest, u)
		}
	}
	l.data = b.pick(l.units)
	l.rows = firstRows(l.data)
	l.size = len(b.in)
	if b.opt.ShadowUnits > 0 {
		l.size = min(l.size, max(a, b.opt.ShadowUnits))
	}
	l.shadows = make([]shadow, b.opt.Shadows)
	err := b.each(ctx, "membership", len(l.shadows), func(k int) error {
		pair := b.rnd.fork("pair", k/2)
		half := make([]bool, 2*a)
		for i := range a {
			half[i] = true
		}
		shuffle(pair, half)
		if k%2 == 1 {
			for i := range half {
				half[i] = !half[i]
			}
		}
		own := b.rnd.fork("shadow", k)
		members := make([]bool, b.Data.Count)
		for i, in := range half {
			members[l.units[i]] = in
		}
		for _, u := range sample(own, rest, l.size-a) {
			members[u] = true
		}
		m, err := b.train(ctx, members, b.Data, own.fork("noise", 0))
		if err != nil {
			return err
		}
		phi, err := b.signal(m, l.data)
		if err != nil {
			return err
		}
		l.shadows[k] = shadow{m, half, narrow(phi)}
		return nil
	})
	return l, err
}

func narrow(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(v)
	}
	return out
}

func firstRows(d *model.Data) []int {
	first := make([]int, d.Count+1)
	for _, u := range d.Units {
		first[u+1]++
	}
	for u := range d.Count {
		first[u+1] += first[u]
	}
	return first
}

// moments of the signal of one row over shadows.
type moments struct{ n, s, s2 float64 }

func (m *moments) add(x, weight float64) {
	m.n, m.s, m.s2 = m.n+weight, m.s+weight*x, m.s2+weight*x*x
}

func (m moments) mean() float64   { return m.s / m.n }
func (m moments) spread() float64 { return max(0, m.s2-m.s*m.s/m.n) } // sum of squared deviations

// likelihood tries one model against the shadows: per attacked unit the log-likelihood
// ratio of membership (LiRA, Carlini et al. 2022), and the same held to each record's
// own distribution among models that it is not in, so that one threshold means one
// false positive rate for every record. A model that is a shadow itself is left out
// together with the other of its pair, which keeps both sides equally large: leaving
// out one alone would bias the attack towards failure.
func (l *lineup) likelihood(phi []float32, skip int) (ratio, calibrated []float64) {
	rows := l.data.Rows()
	in, out := make([]moments, rows), make([]moments, rows)
	total := 0.0
	for k, s := range l.shadows {
		if k == skip || k == skip^1 {
			continue
		}
		for u := range l.units {
			for r := l.rows[u]; r < l.rows[u+1]; r++ {
				if s.in[u] {
					in[r].add(float64(s.phi[r]), 1)
				} else {
					out[r].add(float64(s.phi[r]), 1)
				}
			}
		}
	}
	for r := range in {
		total += (in[r].spread() + out[r].spread()) / (in[r].n + out[r].n - 2)
	}
	// Signals that never move would divide by zero.
	least := 1e-12 + 1e-6*total/float64(rows)
	ratio, calibrated = make([]float64, len(l.units)), make([]float64, len(l.units))
	for u := range l.units {
		for r := l.rows[u]; r < l.rows[u+1]; r++ {
			// A variance of thirty values is rough: each side leans on both together.
			const lean = 16
			both := (in[r].spread() + out[r].spread()) / (in[r].n + out[r].n - 2)
			vin := max(least, (in[r].spread()+lean*both)/(in[r].n-1+lean))
			vout := max(least, (out[r].spread()+lean*both)/(out[r].n-1+lean))
			x, mi, mo := float64(phi[r]), in[r].mean(), out[r].mean()
			ratio[u] += (x-mo)*(x-mo)/(2*vout) - (x-mi)*(x-mi)/(2*vin) + math.Log(vout/vin)/2
			if mi != mo {
				calibrated[u] += math.Copysign((x-mo)/math.Sqrt(vout), (x-mo)*(mi-mo))
			}
		}
	}
	return ratio, calibrated
}

// split parts values of units by membership.
func split(x []float64, member []bool) (in, out []float64) {
	for i, v := range x {
		if member[i] {
			in = append(in, v)
		} else {
			out = append(out, v)
		}
	}
	return in, out
}

// membership attacks the target, and every shadow with the help of the others, which
// measures the way of training far more closely than one model can.
func (b *bench) membership(ctx context.Context, l *lineup) ([]Figure, []float64, error) {
	phi, err := b.signal(b.Target, l.data)
	if err != nil {
		return nil, nil, err
	}
	ratio, _ := l.likelihood(narrow(phi), -2)
	in, out := split(ratio, l.member)
	own := aucInterval(in, out)

	k := len(l.shadows)
	rin, rout, cin, cout := make([][]float64, k), make([][]float64, k), make([][]float64, k), make([][]float64, k)
	aucs, per := make([]float64, k), make([]float64, k)
	if err := b.each(ctx, "membership of shadows", k, func(i int) error {
		r, c := l.likelihood(l.shadows[i].phi, i)
		rin[i], rout[i] = split(r, l.shadows[i].in)
		cin[i], cout[i] = split(c, l.shadows[i].in)
		aucs[i], _ = auc(rin[i], rout[i])
		per[i], _ = auc(cin[i], cout[i])
		return nil
	}); err != nil {
		return nil, nil, err
	}
	whole := meanInterval(pairs(aucs), 0.05)
	surely := meanInterval(pairs(aucs), 0.002)
	// Both orders are tried at low rates: the likelihood ratio finds the exposed records
	// first, the calibrated score gives every record the same false positive rate.
	one, tenth := worse(pooled(rin, rout, 0.01), pooled(cin, cout, 0.01)), worse(pooled(rin, rout, 0.001), pooled(cin, cout, 0.001))
	figures := []Figure{figure("auc", OfTraining, whole), figure("auc", OfModel, own), figure("auc_per_record", OfTraining, meanInterval(pairs(per), 0.05)),
		figure("tpr_1", OfTraining, one), figure("tpr_1", OfModel, catchRate(in, out, 0.01)),
		figure("tpr_01", OfTraining, tenth), figure("tpr_01", OfModel, catchRate(in, out, 0.001))}
	if b.bounds {
		figures = append(figures, figure("auc_bound", OfTraining, surely), figure("tpr_1_bound", OfTraining, one))
	}
	curve := make([]float64, len(rates))
	for i, f := range rates {
		curve[i] = pooled(rin, rout, f).value
	}
	return figures, curve, nil
}

// rates at which the ROC curve is drawn.
var rates = []float64{0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5}

// pairs averages the two shadows of a pair, whose training sets depend on each other.
func pairs(x []float64) []float64 {
	out := make([]float64, len(x)/2)
	for i := range out {
		out[i] = (x[2*i] + x[2*i+1]) / 2
	}
	return out
}

// pooled is the rate at which members are caught by one threshold for all shadows. What
// one shadow has of noise moves its members and its others alike, so the interval is of
// what it catches of its members beyond its others; or the exact binomial one, if wider.
func pooled(in, out [][]float64, fpr float64) interval {
	n, threshold := caught(slices.Concat(in...), slices.Concat(out...), fpr)
	each, total := make([]float64, len(in)), 0
	for i := range in {
		each[i] = above(in[i], threshold) - above(out[i], threshold)
		total += len(in[i])
	}
	v, w := clopperPearson(n, total), meanInterval(pairs(each), 0.05)
	return interval{v.value, max(0, min(v.lo, v.value-(w.value-w.lo))), min(1, max(v.hi, v.value+(w.hi-w.value)))}
}

// above is the share of x over a threshold; of no values it is 0.
func above(x []float64, threshold float64) float64 {
	n := 0
	for _, v := range x {
		if v > threshold {
			n++
		}
	}
	return float64(n) / float64(max(1, len(x)))
}

func worse(a, b interval) interval {
	if b.value > a.value {
		return b
	}
	return a
}
