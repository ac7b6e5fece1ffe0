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
		x := make([]float64, k)
		for i := range x {
			total := 0.0
			for j, t := range targets {
				if t.label == label {
					x[i] += discriminate(world, phi, i, j)
					total++
				}
			}
			x[i] = x[i]/max(1, total) - 0.5
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

// discriminate says which world shadow i is in, of target j, by the linear discriminant of
// the shadows outside its pair: 1 when that is right, one half when it cannot tell.
func discriminate(world [][]bool, phi [][][2]float64, i, j int) float64 {
	var n [2]float64
	var mean [2][2]float64
	for k := range world {
		if k/2 == i/2 {
			continue
		}
		w := 0
		if world[k][j] {
			w = 1
		}
		n[w]++
		for c := range 2 {
			mean[w][c] += phi[k][j][c]
		}
	}
	var xx, xy, yy float64
	for w := range 2 {
		for c := range 2 {
			mean[w][c] /= n[w]
		}
	}
	for k := range world {
		if k/2 == i/2 {
			continue
		}
		w := 0
		if world[k][j] {
			w = 1
		}
		a, b := phi[k][j][0]-mean[w][0], phi[k][j][1]-mean[w][1]
		xx, xy, yy = xx+a*a, xy+a*b, yy+b*b
	}
	ridge := 1e-12 + 1e-2*(xx+yy)/2
	xx, yy = xx+ridge, yy+ridge
	da, db := mean[1][0]-mean[0][0], mean[1][1]-mean[0][1]
	det := xx*yy - xy*xy
	wa, wb := (yy*da-xy*db)/det, (xx*db-xy*da)/det
	score := wa*(phi[i][j][0]-(mean[0][0]+mean[1][0])/2) + wb*(phi[i][j][1]-(mean[0][1]+mean[1][1])/2)
	switch {
	case score == 0 || math.IsNaN(score):
		return 0.5
	case (score > 0) == world[i][j]:
		return 1
	}
	return 0
}
