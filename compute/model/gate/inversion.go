package gate

import (
	"context"
	"math"

	"github.com/sandgate/sandgate/compute/model"
)

// unknown is one value that the informed adversary lacks: the label, or one feature, of
// one row. Two values are possible; in world 0 it is the true one.
type unknown struct {
	row   int
	unit  int32
	label bool
	col   column
	other float32 // label in world 1
	cell  int     // feature in world 1
}

// inversion is the informed adversary (Balle, Cherubin, Hayes 2022): it knows every row
// but for one value of one row, and the training program, and decides between two values
// by the models that it trains with either. The value of every target is decided by a
// coin per shadow, so that each shadow serves all targets, and is attacked with the help
// of the others.
//
// Against a private model the adversary also knows which units are in training; only
// the noise is unknown to it. Of a model that is not private it does not know the split,
// which is drawn inside the domain: given the split, a deterministic training hides
// nothing from somebody who knows all else, which is why such a model never leaves.
func (b *bench) inversion(ctx context.Context) ([]Figure, int, error) {
	s := b.rnd.fork("unknown", 0)
	targets, n := b.unknowns(s)
	chosen := make([]bool, b.Data.Count)
	size := 0
	for _, t := range targets {
		chosen[t.unit] = true
	}
	var rest []int32
	for u := range int32(b.Data.Count) {
		if chosen[u] {
			size++
		} else {
			rest = append(rest, u)
		}
	}
	k := b.opt.Shadows
	world, phi := make([][]bool, k), make([][][2]float64, k)
	probes := b.probes(targets)
	err := b.each(ctx, "inversion", k, func(i int) error {
		coins := b.rnd.fork("worlds", i/2)
		world[i] = make([]bool, len(targets))
		data := clone(b.Data)
		for j, t := range targets {
			world[i][j] = coins.coin() != (i%2 == 1)
			if world[i][j] {
				t.write(data, t.row)
			}
		}
		own := b.rnd.fork("inverted", i)
		members := b.Members
		if !b.Design.Spec.Private {
			members = make([]bool, b.Data.Count)
			for _, t := range targets {
				members[t.unit] = true
			}
			for _, u := range sample(own, rest, len(b.in)-size) {
				members[u] = true
			}
		}
		m, err := b.train(ctx, members, data, own.fork("noise", 0))
		if err != nil {
			return err
		}
		phi[i], err = b.observe(m, targets, probes)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	hits := func(label bool) interval {
		var own []int
		for j, t := range targets {
			if t.label == label {
				own = append(own, j)
			}
		}
		x := make([]float64, k)
		for i := range x {
			x[i] = b.surplus(targets, own, world, phi, i)
		}
		return meanInterval(pairs(x), 0.05)
	}
	figures := []Figure{figure("surplus_feature", OfTraining, hits(false))}
	if b.labelled() {
		figures = append(figures, figure("surplus_label", OfTraining, hits(true)))
	}
	return figures, n, nil
}

// unknowns draws up to 400 labels and as many features of different units in training,
// but no more than a twentieth of the training each.
func (b *bench) unknowns(s *stream) ([]unknown, int) {
	var units []int32
	for _, u := range sample(s, b.in, len(b.in)) {
		if b.starts[u+1] > b.starts[u] {
			units = append(units, u)
		}
	}
	shuffle(s, units)
	n := min(max(40, len(b.in)/20), 400, len(units)/2)
	cols := b.sensitive()
	var out []unknown
	for i, u := range units[:2*n] {
		t := unknown{unit: u, row: b.starts[u], label: i < n}
		if !t.label {
			if len(cols) == 0 {
				continue
			}
			t.col = cols[i%len(cols)]
			t.cell = t.col.draw(s, t.col.cell(b.Data, t.row))
		} else if !b.labelled() {
			continue
		} else if c := b.Design.Target.Classes; c > 0 {
			t.other = float32((int(b.Data.Label[t.row]) + 1 + s.below(c-1)) % c)
		} else {
			for range 20 { // a value that occurs, and differs where any does
				t.other = b.Data.Label[s.below(b.Data.Rows())]
				if t.other != b.Data.Label[t.row] {
					break
				}
			}
		}
		out = append(out, t)
	}
	return out, n
}

// draw a frequent cell other than not, by its share.
func (c column) draw(s *stream, not int) int {
	total := 0.0
	for _, i := range c.likely {
		if i != not {
			total += c.share[i]
		}
	}
	x, last := s.float()*total, 0
	for _, i := range c.likely {
		if i == not {
			continue
		}
		last = i
		if x -= c.share[i]; x < 0 {
			break
		}
	}
	return last
}

// write puts a row of d into world 1.
func (t unknown) write(d *model.Data, row int) {
	if t.label {
		d.Label[row] = t.other
	} else {
		t.col.set(d, row, t.cell)
	}
}

// probes are the targets' rows as they are in world 0 and in world 1, one unit each.
func (b *bench) probes(targets []unknown) [2]*model.Data {
	var out [2]*model.Data
	for w := range out {
		d, rows := &model.Data{Count: len(targets)}, make([]int, len(targets))
		for j, t := range targets {
			rows[j] = t.row
			d.Units = append(d.Units, int32(j))
		}
		take(d, b.Data, rows)
		if w == 1 {
			for j, t := range targets {
				t.write(d, j)
			}
		}
		out[w] = d
	}
	return out
}

// observe is what a model says of each target in either world.
func (b *bench) observe(m model.Scorer, targets []unknown, probes [2]*model.Data) ([][2]float64, error) {
	out := make([][2]float64, len(targets))
	for w, d := range probes {
		x, err := b.signal(m, d)
		if err != nil {
			return nil, err
		}
		for j := range out {
			out[j][w] = x[j]
		}
	}
	return out, nil
}

// evidence of world 1 over world 0 of target j: what the adversary believes without a
// model that saw the row, up to a scale, and the log-likelihood ratio that shadow i adds,
// both from the shadows outside the pair of i.
func (b *bench) evidence(t unknown, world [][]bool, phi [][][2]float64, i, j int) (prior, ratio float64) {
	var side [2][2]moments
	for k := range world {
		if k/2 != i/2 {
			w := 0
			if world[k][j] {
				w = 1
			}
			side[w][0].add(phi[k][j][0], 1)
			side[w][1].add(phi[k][j][1], 1)
		}
	}
	var d, mid [2]float64
	for c := range 2 {
		d[c] = side[1][c].mean() - side[0][c].mean()
		mid[c] = (side[1][c].mean() + side[0][c].mean()) / 2
	}
	xy := 0.0
	for k := range world {
		if k/2 != i/2 {
			w := 0
			if world[k][j] {
				w = 1
			}
			xy += (phi[k][j][0] - side[w][0].mean()) * (phi[k][j][1] - side[w][1].mean())
		}
	}
	n := side[0][0].n + side[1][0].n - 2
	xx, yy := (side[0][0].spread()+side[1][0].spread())/n, (side[0][1].spread()+side[1][1].spread())/n
	xy /= n
	// The two signals are often one (of a binary label they mirror each other).
	ridge := 1e-12 + 1e-2*(xx+yy)/2
	xx, yy = xx+ridge, yy+ridge
	det := xx*yy - xy*xy
	wa, wb := (yy*d[0]-xy*d[1])/det, (xx*d[1]-xy*d[0])/det
	ratio = wa*(phi[i][j][0]-mid[0]) + wb*(phi[i][j][1]-mid[1])
	// Means of thirty values differ by chance: that much of the distance is not believed.
	if far := wa*d[0] + wb*d[1]; far > 0 {
		ratio *= max(0, 1-2*(1/side[0][0].n+1/side[1][0].n)/far)
	}
	switch classes := b.Design.Target.Classes; {
	case !b.labelled():
	case classes > 1:
		prior = softplus(-mid[0]) - softplus(-mid[1])
	default:
		y0 := float64(b.Data.Label[t.row])
		y1 := y0
		if t.label {
			y1 = float64(t.other)
		}
		prior = (mid[0]-y0)*(mid[0]-y0) - (mid[1]-y1)*(mid[1]-y1)
	}
	return prior, ratio
}

// softplus is ln(1+e^x), which is −ln of the probability whose logit is −x.
func softplus(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

// surplus is how much more often the value of the targets in own is guessed with shadow i
// than without it, when both worlds are as likely as the adversary believes beforehand.
func (b *bench) surplus(targets []unknown, own []int, world [][]bool, phi [][][2]float64, i int) float64 {
	prior, ratio := make([]float64, len(own)), make([]float64, len(own))
	for n, j := range own {
		prior[n], ratio[n] = b.evidence(targets[j], world, phi, i, j)
	}
	// What models say of a row is often too sure, an overfitted model's above all: the
	// belief is scaled to what the true values (world 0) bear out.
	scale := believable(prior)
	gain, weight := 0.0, 0.0
	for n, j := range own {
		odds := scale * prior[n]
		w := 1 / (1 + math.Exp(odds)) // of world 0
		if world[i][j] {
			w = 1 - w
		}
		gain += w * (right(odds+ratio[n], world[i][j]) - right(odds, world[i][j]))
		weight += w
	}
	return gain / max(1e-9, weight)
}

// right is 1 when log-odds of world 1 point to the world that is, one half when they
// point nowhere.
func right(odds float64, world bool) float64 {
	switch {
	case odds == 0 || math.IsNaN(odds):
		return 0.5
	case (odds > 0) == world:
		return 1
	}
	return 0
}

// believable is the factor, 0 or more, by which log-odds of world 1 explain best that
// world 0 is the true one.
func believable(odds []float64) float64 {
	size := 0.0
	for _, o := range odds {
		size += o * o / float64(len(odds))
	}
	if size == 0 {
		return 0
	}
	best, at := math.Inf(1), 0.0
	for step := range 200 {
		f, loss := 8*float64(step)/200/math.Sqrt(size), 0.0
		for _, o := range odds {
			loss += softplus(f * o)
		}
		if loss < best {
			best, at = loss, f
		}
	}
	return at
}
