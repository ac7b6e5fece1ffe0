package gate

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/sandgate/sandgate/compute/model"
)

// canaries trains once with planted outliers, each in training by a coin of its own,
// and guesses the coins from the model's scores: one training bounds ε from below
// (Steinke, Nasr, Jagielski 2023). What the shadows, none of which saw a canary, say of
// each is its baseline. A bound above the mark counts only when a second training with
// new canaries confirms it: one in twenty exceeds it by chance.
func (b *bench) canaries(ctx context.Context, l *lineup, most float64) ([]Figure, int, error) {
	// Enough that a model which gives every canary away is caught at this mark.
	enough := int(math.Ceil(math.Log(0.05/3)/-math.Log1p(math.Exp(-most-0.3)))) + 1
	m := max(enough, min(b.opt.Canaries, max(20, len(b.in)/20)))
	best, guessed := math.Inf(1), interval{}
	for try := range 2 {
		if b.report != nil {
			b.report(b.name+"canaries", try, 2)
		}
		e, g, err := b.plant(ctx, l, m, b.rnd.fork("canaries", try))
		if err != nil {
			return nil, 0, err
		}
		if e < best {
			best, guessed = e, g
		}
		if best <= most {
			break
		}
	}
	return []Figure{{Name: "epsilon_proved", Of: OfTraining, Value: places3(best)}, figure("guessed", OfTraining, guessed)}, m, nil
}

// plant returns the ε that one training proves, and the rate of right guesses.
func (b *bench) plant(ctx context.Context, l *lineup, m int, s *stream) (float64, interval, error) {
	birds, err := b.outliers(m, s)
	if err != nil {
		return 0, interval{}, err
	}
	data, members := joined(b.Data, birds), slices.Clone(b.Members)
	in := make([]bool, m)
	for i := range in {
		in[i] = s.coin()
	}
	members = append(members, in...)
	audited, err := b.train(ctx, members, data, s.fork("noise", 0))
	if err != nil {
		return 0, interval{}, err
	}
	phi, err := b.fit(audited, birds)
	if err != nil {
		return 0, interval{}, err
	}
	base := make([]moments, m)
	for _, k := range l.shadows {
		x, err := b.fit(k.model, birds)
		if err != nil {
			return 0, interval{}, err
		}
		for i, v := range x {
			base[i].add(v, 1)
		}
	}
	order := make([]int, m)
	for i := range order {
		order[i] = i
		phi[i] = (phi[i] - base[i].mean()) / math.Sqrt(1e-12+base[i].spread()/(base[i].n-1))
	}
	slices.SortFunc(order, func(x, y int) int { return cmp.Compare(phi[x], phi[y]) })
	mean := 0.0
	for _, v := range phi {
		mean += v / float64(m)
	}
	best, guessed := -1.0, interval{}
	// The surest fifth and half, from both ends; then every canary by the mean.
	for _, r := range []int{m / 5 / 2 * 2, m / 2 / 2 * 2, m} {
		right := 0
		for n, i := range order {
			guess := phi[i] > mean
			if r < m {
				if n >= r/2 && n < m-r/2 {
					continue
				}
				guess = n >= r/2
			}
			if guess == in[i] {
				right++
			}
		}
		if e := epsilonProved(m, r, right, 0.05/3); e > best {
			best, guessed = e, clopperPearson(right, r)
		}
	}
	return best, guessed, nil
}

// epsilonProved is the largest ε refuted at level alpha by v right guesses of r about m
// canaries (theorem 5.2 of the paper, at the gate's δ).
func epsilonProved(m, r, v int, alpha float64) float64 {
	refuted := func(eps float64) bool {
		tail, pmf := binomialTail(r, v, 1/(1+math.Exp(-eps)))
		most, sum := 0.0, 0.0
		for i := 1; i <= v; i++ {
			sum += pmf[v-i]
			most = max(most, sum/float64(i))
		}
		return tail+2*float64(m)*delta*most <= alpha
	}
	lo, hi := 0.0, 20.0
	if !refuted(lo) {
		return 0
	}
	for range 50 {
		if mid := (lo + hi) / 2; refuted(mid) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// outliers are m units of one row each, at the corners of what the design admits, with
// the label that the target finds least likely.
func (b *bench) outliers(m int, s *stream) (*model.Data, error) {
	d := &model.Data{Count: m, Units: make([]int32, m)}
	rows := make([]int, m)
	for i := range rows {
		d.Units[i] = int32(i)
	}
	if b.Data.Rows() > 0 {
		take(d, b.Data, rows) // groups, and the shape; every feature and label is replaced
	}
	for f, x := range b.Design.Features {
		for i := range m {
			if x.Kind == model.KindCategory {
				d.Bins[f][i] = uint16(s.below(max(1, len(x.Codes))))
				continue
			}
			v := 1 - s.float()/10
			d.Bins[f][i] = uint16(len(x.Edges))
			if s.coin() {
				v, d.Bins[f][i] = -v, 0
			}
			d.Values[f][i] = float32(v)
		}
	}
	if !b.labelled() {
		return d, nil
	}
	p, err := scores(b.Target, d)
	if err != nil {
		return nil, err
	}
	w, classes := b.Target.Width(), b.Design.Target.Classes
	for i := range m {
		if classes == 0 {
			d.Label[i] = float32(-math.Copysign(1, p[i*w]))
			continue
		}
		least := 0
		for c := range classes {
			if ofClass(p[i*w:(i+1)*w], c) < ofClass(p[i*w:(i+1)*w], least) {
				least = c
			}
		}
		d.Label[i] = float32(least)
	}
	return d, nil
}

// joined is data with the units of more after its own.
func joined(d, more *model.Data) *model.Data {
	c := clone(d)
	c.Count += more.Count
	c.Units = slices.Clone(d.Units)
	for _, u := range more.Units {
		c.Units = append(c.Units, int32(d.Count)+u)
	}
	for f := range c.Bins {
		c.Bins[f] = append(c.Bins[f], more.Bins[f]...)
		if c.Values[f] != nil {
			c.Values[f] = append(c.Values[f], more.Values[f]...)
		}
	}
	c.Label = append(c.Label, more.Label...)
	c.Groups = slices.Clone(d.Groups)
	for g := range c.Groups {
		c.Groups[g] = append(slices.Clone(d.Groups[g]), more.Groups[g]...)
	}
	return c
}
