package gate

import (
	"context"
	"errors"
	"math"
	"slices"

	"gonum.org/v1/gonum/mathext"

	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

// sensitive are the columns whose values are guessed: those named, or all that have at
// least two values to choose from.
func (b *bench) sensitive() (out []column) {
	for _, c := range b.cols {
		if len(c.likely) > 1 && (len(b.opt.Sensitive) == 0 || slices.Contains(b.opt.Sensitive, b.Design.Features[c.feature].Column)) {
			out = append(out, c)
		}
	}
	return out
}

// nameable errs when a column that is to be guessed is no feature, or when none has two
// values to choose from.
func (b *bench) nameable() error {
	for _, name := range b.opt.Sensitive {
		if !slices.ContainsFunc(b.Design.Features, func(f model.Feature) bool { return f.Column == name }) {
			return errors.New("failed to read gate options: a sensitive column is no feature of the model")
		}
	}
	if len(b.sensitive()) == 0 {
		return &policies.Reason{Code: CodeSample, Rule: rule, SetBy: "sandgate",
			ZH: "无法检验：被攻击的特征列都只有一个取值", EN: "the model cannot be judged: no feature under attack has two different values",
			HintZH: "选用有不同取值的特征列", HintEN: "use features that differ between units"}
	}
	return nil
}

// attributes guesses each column of members and of others from all else of the row,
// the label included: the value under which the model finds the label most likely,
// weighted by how frequent the value is. What a model knows of everyone it also knows
// of those held out; the surplus on members is what it leaks.
func (b *bench) attributes(ctx context.Context, l *lineup) ([]Figure, error) {
	cols := b.sensitive()
	pairsTried := 4
	if len(l.units) < 1000 {
		pairsTried = 8
	}
	// Model 0 is the target.
	type result struct{ surplus, se []float64 }
	results := make([]result, 1+2*pairsTried)
	if err := b.each(ctx, "attributes", len(results), func(i int) error {
		m, in := b.Target, l.member
		if i > 0 {
			m, in = l.shadows[i-1].model, l.shadows[i-1].in
		}
		for _, c := range cols {
			if err := ctx.Err(); err != nil {
				return err
			}
			hits, err := b.guess(m, l, c)
			if err != nil {
				return err
			}
			d, se := difference(hits, in)
			results[i].surplus, results[i].se = append(results[i].surplus, d), append(results[i].se, se)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	// One interval per column is asked to hold zero or less: all of them do at once in 1999
	// of 2000 harmless models. A refused model has paid for its training.
	wide := mathext.NormalQuantile(1 - 0.0005/float64(max(1, len(cols))))
	var single, training []Figure
	for j, c := range cols {
		name := b.Design.Features[c.feature].Column
		d, se := results[0].surplus[j], results[0].se[j]
		f := figure("surplus", OfModel, interval{d, d - wide*se, d + wide*se})
		f.Column = name
		single = append(single, f)
		x := make([]float64, 2*pairsTried)
		for i := range x {
			x[i] = results[1+i].surplus[j]
		}
		f = figure("surplus", OfTraining, meanInterval(pairs(x), 0.05))
		f.Column = name
		training = append(training, f)
	}
	return append(single, training...), nil
}

// difference of the mean of shares of members and of others, and its standard error;
// units without a value (NaN) do not count. The error is that of both sides with one hit
// and one miss more (Agresti and Caffo 2000): where hardly a guess is right or wrong, a
// few units on one side would otherwise be far more than chance.
func difference(x []float64, in []bool) (d, se float64) {
	var m [2]moments
	for i, v := range x {
		if math.IsNaN(v) {
			continue
		}
		side := 0
		if in[i] {
			side = 1
		}
		m[side].add(v, 1)
	}
	if m[0].n < 2 || m[1].n < 2 {
		return 0, 0
	}
	d = m[1].mean() - m[0].mean()
	variance := 0.0
	for side := range m {
		m[side].add(0, 1)
		m[side].add(1, 1)
		variance += m[side].spread() / (m[side].n - 1) / m[side].n
	}
	return d, math.Sqrt(variance)
}

// guess returns per attacked unit the share of its rows whose cell of c is guessed.
func (b *bench) guess(m model.Scorer, l *lineup, c column) ([]float64, error) {
	rows, classes, w := l.data.Rows(), b.Design.Target.Classes, m.Width()
	narrowest := 0.0
	if classes == 0 {
		p, err := scores(m, l.data)
		if err != nil {
			return nil, err
		}
		for r := range rows {
			e := p[r*w] - float64(l.data.Label[r])
			narrowest += e * e / float64(rows)
		}
		narrowest += 1e-9
	}
	best, pick := make([]float64, rows), make([]int, rows)
	for r := range best {
		best[r] = math.Inf(-1)
	}
	d := *l.data
	d.Bins, d.Values = slices.Clone(d.Bins), slices.Clone(d.Values)
	d.Bins[c.feature] = make([]uint16, rows)
	if c.values != nil {
		d.Values[c.feature] = make([]float32, rows)
	}
	for _, cell := range c.likely {
		for r := range rows {
			c.set(&d, r, cell)
		}
		p, err := scores(m, &d)
		if err != nil {
			return nil, err
		}
		prior := math.Log(c.share[cell])
		for r := range rows {
			v := prior
			if classes > 0 {
				v += math.Log(max(1e-9, ofClass(p[r*w:(r+1)*w], int(l.data.Label[r]))))
			} else {
				e := p[r*w] - float64(l.data.Label[r])
				v -= e * e / (2 * narrowest)
			}
			if v > best[r] {
				best[r], pick[r] = v, cell
			}
		}
	}
	hits := make([]float64, len(l.units))
	for u := range hits {
		n, right := 0, 0
		for r := l.rows[u]; r < l.rows[u+1]; r++ {
			cell := c.cell(l.data, r)
			if cell == len(c.bins) {
				continue // missing: there is nothing to guess
			}
			n++
			if cell == pick[r] {
				right++
			}
		}
		hits[u] = math.NaN()
		if n > 0 {
			hits[u] = float64(right) / float64(n)
		}
	}
	return hits, nil
}
