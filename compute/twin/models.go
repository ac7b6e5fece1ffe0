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
	Own    Range `json:"own"`    // a model learned on the data's noised tables, on the data
}

const (
	predictors = 8
	ridge      = 1e-4 // of the mean diagonal, at least: columns follow from each other
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
	d := len(l.schema.Columns)
	drawn, mass := make([][]float64, d), make([][]float64, d)
	for c := range d {
		drawn[c], mass[c] = added(cells[c], l.coarse[c]), added(l.mass[c], l.join[c])
	}
	twin := momentsOf(drawn, pairs, judged)
	real, smooth := momentsOf(mass, l.wide, l.units), momentsOf(mass, l.shaped, l.units)
	var out []Trained
	for c := range d {
		yes, cell := l.target(c, mass[c])
		variance := func(m moments) float64 {
			p := 0.0
			for g, x := range m.one(c) {
				p += x * yes[g]
			}
			return p * (1 - p)
		}
		if variance(twin) < 0.01 || variance(real) < 0.01 {
			continue // nearly everybody is alike: there is nothing to predict
		}
		x := l.told(c, twin)
		own := func(w []float64, m moments) float64 { return 1 - x.loss(m, yes, w)/variance(m) }
		onData := func(w []float64) Range {
			r, half := own(w, real), 2*x.deviation(l, yes, w)/variance(real)
			share := func(v float64) int64 { return tenThousandths(min(1, max(0, v))) }
			return Range{share(r - half), share(r), share(r + half)}
		}
		w := x.solve(twin, yes, 0)
		out = append(out, Trained{c, cell, tenThousandths(min(1, max(0, own(w, twin)))), onData(w), onData(x.solve(smooth, yes, l.sigma[1]/l.units*math.Sqrt(float64(x.size))/2))})
	}
	return out
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

// solve gives the coefficients of least squares, with a ridge that is as large as the
// noise; more where noised tables contradict each other.
func (x design) solve(m moments, yes []float64, noise float64) []float64 {
	gram, b, _ := x.normal(m, yes)
	mean := 0.0
	for i := range gram {
		mean += gram[i][i] / float64(x.size)
	}
	for r := max(noise, ridge*mean); r < 10; r *= 4 {
		if w, ok := cholesky(gram, b, r); ok {
			return w
		}
	}
	return append([]float64{b[0]}, make([]float64, x.size-1)...)
}

// cholesky solves (g + r·1)w = b, unless the matrix is not positive.
func cholesky(g [][]float64, b []float64, r float64) ([]float64, bool) {
	n := len(b)
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
			if s <= r/2 {
				return nil, false
			}
			low[i][i] = math.Sqrt(s)
		}
	}
	w := slices.Clone(b)
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
	return w, true
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

// deviation is that of the loss by the noise of the tables. The sums of single columns
// are taken for as noisy as the first pass, which they are at most.
func (x design) deviation(l *learner, yes, w []float64) float64 {
	variance := 0.0
	coefficient := func(k, g int) float64 {
		if g == 0 {
			return 0
		}
		return w[x.first[k]+g-1]
	}
	for k, c := range x.columns {
		cells := make([]float64, slices.Max(l.coarse[c])+1)
		for _, g := range l.coarse[c] {
			cells[g]++
		}
		for g := range cells {
			u := coefficient(k, g)
			one := (u*u + 2*w[0]*u) * l.sigma[0]
			variance += one * one * cells[g]
			for y := range yes {
				v := 2 * u * yes[y] * l.sigma[1]
				variance += v * v
			}
			for o, other := range x.columns[:k] {
				for h := range slices.Max(l.coarse[other]) + 1 {
					v := 2 * u * coefficient(o, h) * l.sigma[1]
					variance += v * v
				}
			}
		}
	}
	return math.Sqrt(variance) / l.units
}
