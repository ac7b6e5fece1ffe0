package twin

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/sandgate/sandgate/compute/budget"
)

// Bounds that a learner keeps to.
const (
	leastUnits = 100 // below, by the noisy count, nothing is learned
	// rareSigmas: a cell is drawn only when its noisy count is this many standard
	// deviations above nothing, so that a value nobody has comes up once in thirty
	// thousand cells, and one that a single unit has hardly more often.
	rareSigmas = 4.0
	// hopeless is the expected total variation distance, by noise alone, of a table of
	// two by two, above which pairs cannot be learned.
	hopeless = 0.1
	// The same of the tables that are asked for: groups become fewer until it holds.
	coarseNoise = 0.05
	fineNoise   = 0.08
)

// meanAbsolute is the mean of |x| of a standard Gaussian.
var meanAbsolute = math.Sqrt(2 / math.Pi)

// noiseDistance is the total variation distance that noise alone is expected to make.
func noiseDistance(cells int, sigma, units float64) float64 {
	return meanAbsolute / 2 * float64(cells) * sigma / units
}

// learner is one learning.
type learner struct {
	ctx      context.Context
	schema   Schema
	plan     Plan
	oracle   Oracle
	progress func(done, total int)
	next     int
	spent    budget.Nano

	units   float64     // noisy
	raw     [][]float64 // noisy counts of all cells
	cells   [][]float64 // of what is drawn, sum to units
	lengths []float64   // units by number of rows
	sigma   [3]float64

	fine, coarse [][]int // cell → group, nested
	join         [][]int // fine group → coarse group
	wide         []table // coarse, measured, by pairIndex
	shaped       []table // the same, settled
	order        []vertex
	pairs        map[[2]int]table // fine, settled, of the tree's edges
	mass         [][]float64      // fine group → units
}

// Learn walks through the passes of the schema's plan and returns the twin. It looks at
// nothing but the oracle's answers, and asks the same when it is answered the same: a
// learning that broke off goes on with Replay. When the noisy count says that pairs
// would be noise, it stops after the first pass and the twin holds marginals only.
// progress may be nil.
//
// A refusal (CodeTooFewUnits) is drawn from noisy sums and may be told.
func Learn(ctx context.Context, s Schema, oracle Oracle, progress func(done, total int)) (*Twin, error) {
	l := &learner{ctx: ctx, schema: s, plan: s.Plan(), oracle: oracle, progress: progress}
	if err := l.measureCells(); err != nil {
		return nil, err
	}
	pairs := false
	if len(s.Columns) > 1 {
		sigma := l.plan.Passes[1].Sigma()
		pairs = noiseDistance(4, sigma, l.units) <= hopeless
	}
	l.group(pairs)
	if pairs {
		if err := l.measurePairs(); err != nil {
			return nil, err
		}
	}
	return l.twin(!pairs && len(s.Columns) > 1)
}

// ask answers the next pass, as counts.
func (l *learner) ask(groups [][]int, pairs [][2]int) ([]float64, float64, error) {
	p := l.plan.Passes[l.next]
	if pairs != nil {
		p.Groups, p.Pairs = groups, pairs
		p.Width = pairsWidth(l.schema.Columns, groups, pairs, maxFine)
	}
	if err := l.schema.Admit(l.next, p); err != nil {
		return nil, 0, err
	}
	sums, err := l.oracle.Sums(l.ctx, p)
	if err != nil {
		return nil, 0, fmt.Errorf("failed to answer pass %d: %w", l.next+1, err)
	}
	if len(sums) != p.Width {
		return nil, 0, errors.New("failed to learn a twin: an answer does not have the width of its pass")
	}
	sigma := p.Sigma()
	l.sigma[l.next] = sigma
	l.spent += p.Rho
	l.next++
	if l.progress != nil {
		l.progress(l.next, len(l.plan.Passes))
	}
	out := make([]float64, len(sums))
	for i, x := range sums {
		out[i] = float64(x) * p.Step
	}
	return out, sigma, nil
}

// measureCells is the first pass: columns in full resolution.
func (l *learner) measureCells() error {
	v, sigma, err := l.ask(nil, nil)
	if err != nil {
		return err
	}
	// Every table counts all units; the fewer its cells, the less noise its sum has.
	sum, weight, at := 0.0, 0.0, 0
	for _, c := range l.schema.Columns {
		t := v[at : at+c.Bins()]
		at += len(t)
		for i, ok := range c.drawable() {
			if !ok {
				t[i] = 0
			}
		}
		l.raw = append(l.raw, t)
		sum, weight = sum+total(t)/float64(len(t)), weight+1/float64(len(t))
	}
	lengths := v[at:]
	if len(lengths) > 0 {
		sum, weight = sum+total(lengths)/float64(len(lengths)), weight+1/float64(len(lengths))
	}
	l.units = sum / weight
	if !(l.units-rareSigmas*sigma/math.Sqrt(weight) >= leastUnits) {
		return reason(CodeTooFewUnits, "按加噪的计数，单元少于 %d 个：学不到任何东西", "by the noisy count there are fewer than %d units: nothing can be learned",
			"扩大数据范围，或提高 rho", "use a larger data set, or raise rho", leastUnits)
	}
	for i, c := range l.schema.Columns {
		l.cells = append(l.cells, drawn(l.raw[i], c.drawable(), rareSigmas*sigma, l.units))
	}
	if l.lengths = []float64{l.units}; len(lengths) > 0 {
		l.lengths = drawn(lengths, nil, rareSigmas*sigma, l.units)
	}
	return nil
}

// drawn are the counts of the cells that are drawn, which sum to n. A column all of
// whose cells are rare is drawn evenly from the catalogue's list.
func drawn(noisy []float64, possible []bool, least, n float64) []float64 {
	out := make([]float64, len(noisy))
	var keep []int
	for i, x := range noisy {
		if (possible == nil || possible[i]) && x >= least {
			keep = append(keep, i)
		}
	}
	values := make([]float64, len(keep))
	for k, i := range keep {
		values[k] = noisy[i]
	}
	if len(keep) == 0 {
		for i := range noisy {
			if possible == nil || possible[i] {
				keep, values = append(keep, i), append(values, n)
			}
		}
	}
	// What the rare cells had goes to the others in proportion; noise below zero
	// cannot be, because of the threshold.
	f := n / total(values)
	for k, i := range keep {
		out[i] = values[k] * f
	}
	return out
}

// group makes the groups of both grids from the noisy cells.
func (l *learner) group(pairs bool) {
	fine, coarse := maxFine, maxCoarse
	if pairs {
		coarse = sized(coarseNoise, l.plan.Passes[1].Sigma(), l.units, maxCoarse)
		fine = max(coarse, sized(fineNoise, l.plan.Passes[2].Sigma(), l.units, maxFine))
	}
	for i, c := range l.schema.Columns {
		g := grouped(c, l.cells[i], fine)
		j := merged(c, g, l.cells[i], coarse)
		l.fine, l.join, l.coarse = append(l.fine, g), append(l.join, j), append(l.coarse, composed(g, j))
		m := make([]float64, slices.Max(g)+1)
		for cell, x := range l.cells[i] {
			m[g[cell]] += x
		}
		l.mass = append(l.mass, m)
	}
}

// sized is how many groups a column may have so that the noise of a pair's table stays
// within the bound.
func sized(bound, sigma, units float64, most int) int {
	cells := bound * units / (meanAbsolute / 2 * sigma)
	return max(2, min(most, int(math.Sqrt(cells))))
}

func pairIndex(a, b int) int { return max(a, b)*(max(a, b)-1)/2 + min(a, b) }

// measurePairs is the second and third pass.
func (l *learner) measurePairs() error {
	d := len(l.schema.Columns)
	var all [][2]int
	for a := range d {
		for b := range a {
			all = append(all, [2]int{a, b}) // at pairIndex(a, b)
		}
	}
	v, sigma, err := l.ask(l.coarse, all)
	if err != nil {
		return err
	}
	l.wide = cutUp(v, l.coarse, all)
	coarse := make([][]float64, d)
	for c := range d {
		coarse[c] = added(l.mass[c], l.join[c])
	}
	for i, p := range all {
		l.shaped = append(l.shaped, settled(l.wide[i], product(coarse[p[0]], coarse[p[1]]), sigma*sigma))
	}
	l.order = tree(l.schema.Columns, l.shapedPair)
	edges := pairsOf(l.order)
	if v, sigma, err = l.ask(l.fine, edges); err != nil {
		return err
	}
	l.reconcile(cutUp(v, l.fine, edges), edges, sigma)
	return nil
}

// shapedPair is the settled coarse table of two columns, the first by row.
func (l *learner) shapedPair(a, b int) table {
	t := l.shaped[pairIndex(a, b)]
	if a < b {
		return t.turned()
	}
	return t
}

// cutUp makes tables of an answer.
func cutUp(v []float64, groups [][]int, pairs [][2]int) []table {
	var out []table
	for _, p := range pairs {
		t := table{rows: slices.Max(groups[p[0]]) + 1, cols: slices.Max(groups[p[1]]) + 1}
		t.v, v = v[:t.rows*t.cols], v[t.rows*t.cols:]
		out = append(out, t)
	}
	return out
}

// added sums groups into coarser ones.
func added(mass []float64, join []int) []float64 {
	out := make([]float64, slices.Max(join)+1)
	for g, x := range mass {
		out[join[g]] += x
	}
	return out
}
