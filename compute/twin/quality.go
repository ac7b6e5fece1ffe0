package twin

import (
	"math"
	"slices"
)

// judged is how many rows are drawn to judge a twin.
const judged = 1 << 17

// Quality compares what the twin draws with what was measured, noise and all, so that
// it costs nothing. Distances are total variation distances in ten-thousandths.
type Quality struct {
	Rows   int    `json:"rows"` // how many were drawn
	OneWay Figure `json:"one_way"`
	// TwoWay is over all pairs of columns on their coarse groups; absent of a twin
	// that holds marginals only.
	TwoWay Figure `json:"two_way,omitzero"`
	// Columns are the distances by column, Pairs those of column a with each b < a.
	Columns []Range   `json:"columns,omitempty"`
	Pairs   []Range   `json:"pairs,omitempty"`
	Queries []Asked   `json:"queries,omitempty"`
	Models  []Trained `json:"models,omitempty"`
}

// Figure is a distance to the data, which nobody may know exactly: it lies between Low
// and High but for one table in forty (the noise's own length is known, and the
// triangle inequality does the rest). About takes the noise for orthogonal to the error.
type Figure struct {
	Mean  Range `json:"mean"`
	Worst Range `json:"worst"`
}

// Range of a distance, in ten-thousandths.
type Range struct {
	Low   int64 `json:"low"`
	About int64 `json:"about"`
	High  int64 `json:"high"`
}

func (r Range) holds() bool {
	return r.Low >= 0 && r.Low <= r.About && r.About <= r.High && r.High <= 10_000
}

func (f Figure) holds() bool { return f.Mean.holds() && f.Worst.holds() }

func (q Quality) holds(columns []Column) bool {
	d := len(columns)
	if !q.OneWay.holds() || !q.TwoWay.holds() || q.Rows < 0 || q.Rows > 1<<30 || len(q.Columns) > d || len(q.Pairs) > d*(d-1)/2 || len(q.Queries) > len(queryKinds) || len(q.Models) > d {
		return false
	}
	for _, r := range slices.Concat(q.Columns, q.Pairs) {
		if !r.holds() {
			return false
		}
	}
	for _, a := range q.Queries {
		if !slices.Contains(queryKinds, a.Kind) || a.Asked < 1 || !a.Error.holds() {
			return false
		}
	}
	for _, m := range q.Models {
		if m.Column < 0 || m.Column >= d || m.Cell < 0 || m.Cell >= columns[m.Column].Bins() || m.Twin < 0 || m.Twin > 10_000 || !m.Data.holds() || !m.Lost.holds() {
			return false
		}
	}
	return true
}

// drawn are the tables of the rows that judge a twin: columns in full resolution, and
// pairs on the coarse groups.
func (l *learner) drawn(t *Twin) (cells [][]float64, pairs []table, err error) {
	s, err := t.Sampler([]byte("sandgate/twin-quality/v1"))
	if err != nil {
		return nil, nil, err
	}
	d := len(t.Columns)
	cells, pairs = make([][]float64, d), make([]table, len(l.wide))
	for c, column := range t.Columns {
		cells[c] = make([]float64, column.Bins())
	}
	for i, w := range l.wide {
		pairs[i] = newTable(w.rows, w.cols)
	}
	group, coarse := make([]int, d), make([]int, d)
	for row := range judged {
		rnd := s.unit(uint64(row))
		s.groups(&rnd, group, true)
		s.groups(&rnd, group, false)
		for c, g := range group {
			cells[c][s.cell(&rnd, c, g)]++
			coarse[c] = l.join[c][g]
		}
		for a, i := 0, 0; len(pairs) > 0 && a < d; a++ {
			for b := range a {
				pairs[i].v[coarse[a]*pairs[i].cols+coarse[b]]++
				i++
			}
		}
	}
	return cells, pairs, nil
}

// judge fills in the quality.
func (l *learner) judge(t *Twin) error {
	cells, pairs, err := l.drawn(t)
	if err != nil {
		return err
	}
	var one, two []Range
	for c := range cells {
		one = append(one, l.distance(cells[c], l.raw[c], l.sigma[0]))
	}
	for i := range pairs {
		two = append(two, l.distance(pairs[i].v, l.wide[i].v, l.sigma[1]))
	}
	t.Quality = Quality{Rows: judged, OneWay: figure(one), TwoWay: figure(two), Columns: one, Pairs: two, Queries: l.queries(cells, pairs)}
	if len(pairs) > 0 {
		t.Quality.Models = l.models(cells, pairs)
	}
	return nil
}

func (l *learner) distance(drawn, noisy []float64, sigma float64) Range {
	return ranged(drawn, noisy, sigma, l.units)
}

// ranged is the distance of what was drawn to what a noisy table of so many units is of.
func ranged(drawn, noisy []float64, sigma, units float64) Range {
	n := total(drawn)
	t := 0.0
	for i, x := range drawn {
		t += math.Abs(x/n-noisy[i]/units) / 2
	}
	expected := noiseDistance(len(drawn), sigma, units)
	spread := math.Sqrt(float64(len(drawn))*(1-2/math.Pi)) / 2 * sigma / units
	low, high := min(1, max(0, t-expected-2*spread)), min(1, t+expected+2*spread)
	about := min(high, max(low, math.Sqrt(max(0, t*t-expected*expected))))
	return Range{tenThousandths(low), tenThousandths(about), tenThousandths(high)}
}

func tenThousandths(x float64) int64 { return int64(math.Round(x * 10_000)) }

func figure(all []Range) Figure {
	if len(all) == 0 {
		return Figure{}
	}
	var f Figure
	for _, r := range all {
		f.Mean.Low += r.Low
		f.Mean.About += r.About
		f.Mean.High += r.High
	}
	n := int64(len(all))
	f.Mean = Range{f.Mean.Low / n, f.Mean.About / n, f.Mean.High / n}
	f.Worst = slices.MaxFunc(all, func(a, b Range) int { return int(a.High - b.High) })
	return f
}
