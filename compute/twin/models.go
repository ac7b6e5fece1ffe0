package twin

import (
	"cmp"
	"math"
	"slices"

	"github.com/sandgate/sandgate/compute/model"
)

// Trained says what a model learned on the twin is worth on the data. The model is
// linear in the groups of the columns that tell most; it predicts whether a category has
// its commonest code, or a number lies in its upper half. Least squares need the tables
// of two columns alone, so that the error on the data follows from the noised tables
// without another look. Figures are the share of the variance that is explained, in
// ten-thousandths; 0 is no better than a guess by the mean.
type Trained struct {
	Column int   `json:"column"` // that is predicted, as in Columns
	Cell   int   `json:"cell"`   // the commonest code, or the first cell of the upper half
	Twin   int64 `json:"twin"`   // on the twin's own rows
	Data   Range `json:"data"`   // the same model on the data
	// Lost is how much more a model of the same columns explains that was learned on the
	// data itself.
	Lost Range `json:"lost"`
}

const (
	predictors = 4
	ridge      = 1e-4 // of the mean diagonal, at least: columns follow from each other
	// blunt is the ridge of the curvature by which a loss is judged: directions in which
	// columns hardly differ would be noise alone, and no model gains much in them.
	blunt = 0.05
)

// moments are the tables of pairs and of single columns of some rows, as shares.
type moments struct {
	pair func(a, b int) table // the first by row
	one  func(c int) []float64
}

func momentsOf(one [][]float64, pairs []table, n float64) moments {
	return moments{
		pair: func(a, b int) table {
			t := pairs[pairIndex(a, b)]
			if a < b {
				t = t.turned()
			}
			out := newTable(t.rows, t.cols)
			for i, x := range t.v {
				out.v[i] = x / n
			}
			return out
		},
		one: func(c int) []float64 {
			out := slices.Clone(one[c])
			for i := range out {
				out[i] /= n
			}
			return out
		},
	}
}

// models learns and judges one model per column. cells and pairs are what the twin drew.
func (l *learner) models(cells [][]float64, pairs []table) []Trained {
	twin, real := l.moments(cells, pairs)
	var out []Trained
	for c := range l.schema.Columns {
		yes, cell := l.target(c, l.massOf(c))
		if variance(twin, c, yes) < 0.01 || variance(real, c, yes) < 0.01 {
			continue // nearly everybody is alike: there is nothing to predict
		}
		x := l.told(c, twin)
		w := x.solve(twin, yes)
		share := func(v float64) int64 { return tenThousandths(min(1, max(0, v))) }
		ranged := func(v, half float64) Range { return Range{share(v - half), share(v), share(v + half)} }
		v := variance(real, c, yes)
		lost, half := x.lost(l, twin, real, yes, w)
		out = append(out, Trained{c, cell, share(1 - x.loss(twin, yes, w)/variance(twin, c, yes)),
			ranged(1-x.loss(real, yes, w)/v, 2*x.deviation(l, yes, w)/v), ranged(lost/v, half/v)})
	}
	return out
}

// massOf are a column's coarse groups in units.
func (l *learner) massOf(c int) []float64 { return added(l.mass[c], l.join[c]) }

// moments of what the twin drew and of the noised tables.
func (l *learner) moments(cells [][]float64, pairs []table) (twin, real moments) {
	var drawn, mass [][]float64
	for c := range l.schema.Columns {
		drawn, mass = append(drawn, added(cells[c], l.coarse[c])), append(mass, l.massOf(c))
	}
	return momentsOf(drawn, pairs, judged), momentsOf(mass, l.wide, l.units)
}

// variance of what is predicted.
func variance(m moments, c int, yes []float64) float64 {
	p := 0.0
	for g, x := range m.one(c) {
		p += x * yes[g]
	}
	return p * (1 - p)
}

// target says which coarse groups of a column are to be predicted.
func (l *learner) target(c int, mass []float64) (yes []float64, cell int) {
	yes = make([]float64, len(mass))
	g := l.coarse[c]
	if l.schema.Columns[c].Kind != model.KindNumber {
		best := 0
		for k, x := range mass {
			if x > mass[best] {
				best = k
			}
		}
		yes[best] = 1
		for i, k := range g {
			if k == best && l.cells[c][i] > l.cells[c][cell] || g[cell] != best {
				cell = i
			}
		}
		return yes, cell
	}
	present := g[:len(g)-1]
	from, half, sum := slices.Max(present), total(mass)/2, 0.0
	for sum = mass[from]; from > 1 && math.Abs(sum+mass[from-1]-half) < math.Abs(sum-half); sum += mass[from] {
		from--
	}
	for k := from; k <= slices.Max(present); k++ {
		yes[k] = 1
	}
	return yes, slices.Index(g, from)
}

// design are the predictors of a column: the groups of each, but the first, by slot from 1.
type design struct {
	target  int
	columns []int
	first   []int // slot of a column's second group
	size    int
}

// told takes the columns that tell most of the target.
func (l *learner) told(target int, m moments) design {
	var all []int
	tells := make([]float64, len(l.schema.Columns))
	for c := range l.schema.Columns {
		if c != target {
			all = append(all, c)
			tells[c] = information(m.pair(target, c))
		}
	}
	slices.SortStableFunc(all, func(a, b int) int { return cmp.Compare(tells[b], tells[a]) })
	x := design{target: target, columns: all[:min(predictors, len(all))], size: 1}
	for _, c := range x.columns {
		x.first = append(x.first, x.size)
		x.size += slices.Max(l.coarse[c])
	}
	return x
}

// normal are the normal equations of the moments: the Gram matrix, and the products with
// the target.
func (x design) normal(m moments, yes []float64) (gram [][]float64, b []float64, c float64) {
	gram, b = make([][]float64, x.size), make([]float64, x.size)
	for i := range gram {
		gram[i] = make([]float64, x.size)
	}
	gram[0][0] = 1
	for g, p := range m.one(x.target) {
		b[0] += p * yes[g]
	}
	c = b[0]
	for k, a := range x.columns {
		for g, p := range m.one(a) {
			if g > 0 {
				i := x.first[k] + g - 1
				gram[i][i], gram[0][i], gram[i][0] = p, p, p
			}
		}
		t := m.pair(a, x.target)
		for g := 1; g < t.rows; g++ {
			for y := range t.cols {
				b[x.first[k]+g-1] += t.at(g, y) * yes[y]
			}
		}
		for o, other := range x.columns[:k] {
			t := m.pair(a, other)
			for g := 1; g < t.rows; g++ {
				for h := 1; h < t.cols; h++ {
					i, j := x.first[k]+g-1, x.first[o]+h-1
					gram[i][j], gram[j][i] = t.at(g, h), t.at(g, h)
				}
			}
		}
	}
	return gram, b, c
}

// solve gives the coefficients of least squares, with a little ridge.
func (x design) solve(m moments, yes []float64) []float64 {
	gram, b, _ := x.normal(m, yes)
	return solved(factored(gram, ridge), b)
}

// factored is the Cholesky factor of a Gram matrix with a ridge; a greater one where
// noise has made it impossible.
func factored(g [][]float64, least float64) [][]float64 {
	n, mean := len(g), 0.0
	for i := range g {
		mean += g[i][i] / float64(n)
	}
next:
	for r := least * max(mean, ridge); ; r *= 4 {
		low := make([][]float64, n)
		for i := range n {
			low[i] = make([]float64, i+1)
			for j := range i + 1 {
				s := g[i][j]
				if i == j && i > 0 {
					s += r
				}
				for k := range j {
					s -= low[i][k] * low[j][k]
				}
				if i != j {
					low[i][j] = s / low[j][j]
					continue
				}
				if !(s > r/2) && i > 0 || !(s > 0) {
					continue next
				}
				low[i][i] = math.Sqrt(s)
			}
		}
		return low
	}
}

// solved gives the solution for a right side.
func solved(low [][]float64, b []float64) []float64 {
	n, w := len(b), slices.Clone(b)
	for i := range n {
		for k := range i {
			w[i] -= low[i][k] * w[k]
		}
		w[i] /= low[i][i]
	}
	for i := n - 1; i >= 0; i-- {
		for k := i + 1; k < n; k++ {
			w[i] -= low[k][i] * w[k]
		}
		w[i] /= low[i][i]
	}
	return w
}

// loss is the mean squared error of a model.
func (x design) loss(m moments, yes, w []float64) float64 {
	gram, b, out := x.normal(m, yes)
	for i, u := range w {
		out -= 2 * u * b[i]
		for j, v := range w {
			out += u * v * gram[i][j]
		}
	}
	return out
}

// noises calls note with each independent noise of the tables that a model's loss is made
// of: the two slots it moves the gradient in, and by how much; the second may be −1.
// loss is what it moves the loss by. The sums of single columns are taken for as noisy
// as the first pass, which they are at most.
func (x design) noises(l *learner, yes, w []float64, note func(i, j int, byI, byJ, loss float64)) {
	one, two := l.sigma[0]/l.units, l.sigma[1]/l.units
	for k, c := range x.columns {
		cells := make([]float64, slices.Max(l.coarse[c])+1)
		for _, g := range l.coarse[c] {
			cells[g]++
		}
		for g := 1; g < len(cells); g++ {
			i := x.first[k] + g - 1
			u, s := w[i], one*math.Sqrt(cells[g])
			note(i, 0, 2*(u+w[0])*s, 2*u*s, (u*u+2*w[0]*u)*s)
			for y := range yes {
				note(i, -1, -2*yes[y]*two, 0, -2*u*yes[y]*two)
			}
			for o, other := range x.columns[:k] {
				for h := range slices.Max(l.coarse[other]) {
					j := x.first[o] + h
					note(i, j, 2*w[j]*two, 2*u*two, 2*u*w[j]*two)
				}
			}
		}
	}
}

// deviation is that of the loss by the noise of the tables.
func (x design) deviation(l *learner, yes, w []float64) float64 {
	variance := 0.0
	x.noises(l, yes, w, func(_, _ int, _, _, loss float64) { variance += loss * loss })
	return math.Sqrt(variance)
}

// lost estimates how far a model's loss on the data is above the least one, and twice the
// estimate's deviation: a step of Newton's method from the model, with the curvature of
// the twin. What the noise of the gradient adds in the mean is taken off.
func (x design) lost(l *learner, twin, real moments, yes, w []float64) (value, half float64) {
	curvature, _, _ := x.normal(twin, yes)
	low := factored(curvature, blunt)
	gram, b, _ := x.normal(real, yes)
	gradient := make([]float64, x.size)
	for i := range gradient {
		for j, u := range w {
			gradient[i] += 2 * gram[i][j] * u
		}
		gradient[i] -= 2 * b[i]
	}
	noise := make([][]float64, x.size) // covariance of the gradient
	for i := range noise {
		noise[i] = make([]float64, x.size)
	}
	x.noises(l, yes, w, func(i, j int, byI, byJ, _ float64) {
		noise[i][i] += byI * byI
		if j >= 0 {
			noise[j][j] += byJ * byJ
			noise[i][j] += byI * byJ
			noise[j][i] += byI * byJ
		}
	})
	step := solved(low, gradient)
	bias, square, along := 0.0, 0.0, 0.0
	for i := range noise {
		noise[i] = solved(low, noise[i]) // rows of (covariance × inverse curvature)
	}
	for i := range noise {
		bias += noise[i][i] / 4
		value += gradient[i] * step[i] / 4
		for j := range noise {
			square += noise[i][j] * noise[j][i] / 16
			along += step[i] * noise[i][j] * gradient[j] / 4
		}
	}
	value = max(0, value-bias)
	return value, 2 * math.Sqrt(max(0, 2*square+along))
}
