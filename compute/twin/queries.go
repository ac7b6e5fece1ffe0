package twin

import (
	"math"

	"github.com/sandgate/sandgate/compute/model"
)

// QueryKind is a kind of question that a report asks the twin and the noised tables.
type QueryKind string

// Kinds of questions. Errors of counts are shares of all units; those of means, of the
// width of the column's bounds.
const (
	QueryCount  QueryKind = "count"   // units in a cell of a column
	QueryUpTo   QueryKind = "up_to"   // units up to an edge of a number's grid
	QueryBoth   QueryKind = "both"    // units in a group of one column and one of another
	QueryMean   QueryKind = "mean"    // mean of a number
	QueryMeanBy QueryKind = "mean_by" // mean of a number, by groups of another column
)

var queryKinds = []QueryKind{QueryCount, QueryUpTo, QueryBoth, QueryMean, QueryMeanBy}

// Asked are all questions of a kind: how far the twin's answers are from the data's. The
// data's answer is known with noise only, so that each error is a range; it lies in it
// but for one question in twenty.
type Asked struct {
	Kind  QueryKind `json:"kind"`
	Asked int       `json:"asked"`
	Error Figure    `json:"error"`
}

// asker gathers the errors of questions by kind.
type asker map[QueryKind][]Range

// note keeps a question: the twin's answer, the noised one, and its deviation.
func (a asker) note(kind QueryKind, twin, noisy, sigma float64) {
	e := math.Abs(twin - noisy)
	low, high := min(1, max(0, e-2*sigma)), min(1, e+2*sigma)
	about := min(high, max(low, math.Sqrt(max(0, e*e-sigma*sigma))))
	a[kind] = append(a[kind], Range{tenThousandths(low), tenThousandths(about), tenThousandths(high)})
}

// queries asks every question that the noised tables can answer. cells and pairs are
// what the twin drew.
func (l *learner) queries(cells [][]float64, pairs []table) []Asked {
	a := asker{}
	sigma := l.sigma[0] / l.units
	for c, column := range l.schema.Columns {
		n, sum, noisy := total(cells[c]), 0.0, 0.0
		for i, x := range cells[c] {
			a.note(QueryCount, x/n, l.raw[c][i]/l.units, sigma)
			sum, noisy = sum+x/n, noisy+l.raw[c][i]/l.units
			if column.Kind == model.KindNumber && i < len(column.Edges) {
				a.note(QueryUpTo, sum, noisy, sigma*math.Sqrt(float64(i+1)))
			}
		}
		if column.Kind == model.KindNumber {
			last := len(cells[c]) - 1
			if twin, ok := meanOf(column.middles(), cells[c][:last], 0); ok {
				if noisy, ok := meanOf(column.middles(), l.raw[c][:last], rareSigmas*l.sigma[0]*math.Sqrt(float64(last))); ok {
					a.note(QueryMean, twin, noisy, l.sigma[0]*spreadOf(column.middles(), noisy)/total(l.raw[c][:last]))
				}
			}
		}
	}
	for x, i := 0, 0; len(pairs) > 0 && x < len(cells); x++ {
		for y := range x {
			l.pairQueries(a, x, y, pairs[i], l.wide[i], cells)
			i++
		}
	}
	var out []Asked
	for _, kind := range queryKinds {
		if len(a[kind]) > 0 {
			out = append(out, Asked{kind, len(a[kind]), figure(a[kind])})
		}
	}
	return out
}

func (l *learner) pairQueries(a asker, x, y int, drawn, noisy table, cells [][]float64) {
	n := total(drawn.v)
	for i, v := range drawn.v {
		a.note(QueryBoth, v/n, noisy.v[i]/l.units, l.sigma[1]/l.units)
	}
	for range 2 {
		if l.schema.Columns[y].Kind == model.KindNumber {
			middles := l.groupMiddles(y, cells[y])
			for i := range drawn.rows {
				row := noisy.v[i*noisy.cols : i*noisy.cols+len(middles)]
				twin, ok := meanOf(middles, drawn.v[i*drawn.cols:i*drawn.cols+len(middles)], 0)
				real, known := meanOf(middles, row, 2*rareSigmas*l.sigma[1]*math.Sqrt(float64(len(row))))
				if ok && known {
					a.note(QueryMeanBy, twin, real, l.sigma[1]*spreadOf(middles, real)/total(row))
				}
			}
		}
		x, y, drawn, noisy = y, x, drawn.turned(), noisy.turned()
	}
}

// middles of a number's cells, as shares of its bounds.
func (c Column) middles() []float64 {
	out := make([]float64, len(c.Edges)+1)
	width := max(1, float64(c.Bounds[1]-c.Bounds[0]))
	for i := range out {
		lo, hi := c.span(i)
		out[i] = (float64(lo+hi)/2 - float64(c.Bounds[0])) / width
	}
	return out
}

// groupMiddles of a number's coarse groups, but for that of what is missing alone.
func (l *learner) groupMiddles(c int, drawn []float64) []float64 {
	g := l.coarse[c]
	last := len(g) - 1
	n := 0
	for _, k := range g[:last] {
		n = max(n, k+1)
	}
	sum, weight := make([]float64, n), make([]float64, n)
	for i, m := range l.schema.Columns[c].middles() {
		w := drawn[i] + 1e-3
		sum[g[i]] += w * m
		weight[g[i]] += w
	}
	for k := range sum {
		sum[k] /= weight[k]
	}
	return sum
}

// meanOf is the mean of values by their counts, when there are more than so many.
func meanOf(values, counts []float64, least float64) (float64, bool) {
	n, sum := total(counts), 0.0
	for i, x := range counts {
		sum += x * values[i]
	}
	if n <= least {
		return 0, false
	}
	return sum / n, true
}

// spreadOf is the length of the values' deviations: what noise of one in each count does
// to the sum of deviations.
func spreadOf(values []float64, mean float64) float64 {
	s := 0.0
	for _, v := range values {
		s += (v - mean) * (v - mean)
	}
	return math.Sqrt(s)
}
