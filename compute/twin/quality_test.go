package twin

import (
	"slices"
	"testing"

	"github.com/sandgate/sandgate/compute/model"
)

// exactly is a learner whose tables have no noise: what the report's figures are about.
func (l *learner) exactly(t testing.TB, d *model.Data) *learner {
	t.Helper()
	x := *l
	x.sigma = [3]float64{}
	x.units, x.raw, x.wide, x.mass = float64(d.Count), nil, nil, nil
	w := rowWeights(d)
	for c, column := range l.schema.Columns {
		cells := make([]float64, column.Bins())
		for r, b := range d.Bins[c] {
			cells[b] += w[r] * x.units
		}
		mass := make([]float64, slices.Max(l.fine[c])+1)
		for cell, v := range cells {
			mass[l.fine[c][cell]] += v
		}
		x.raw, x.mass = append(x.raw, cells), append(x.mass, mass)
		for o := range c {
			table := newTable(slices.Max(l.coarse[c])+1, slices.Max(l.coarse[o])+1)
			for r, b := range d.Bins[c] {
				table.v[l.coarse[c][b]*table.cols+l.coarse[o][d.Bins[o][r]]] += w[r] * x.units
			}
			x.wide = append(x.wide, table)
		}
	}
	return &x
}

// Errors of questions and of models, reported from noised tables alone, hold the exact
// ones in their ranges; a model learned on columns that were drawn apart is seen to be
// worth nothing.
func TestReportedErrorsHold(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	s := schemaOf(t, Spec{Columns: learned}, registry())
	d := encoded(t, s, residents(40_000, 1, 3))
	held, lost, models := 0, 0, 0
	for seed := range uint64(3) {
		l := &learner{ctx: t.Context(), schema: s, plan: s.Plan(), oracle: noisy(d, s, seed)}
		if err := l.measureCells(); err != nil {
			t.Fatal(err)
		}
		l.group(true)
		if err := l.measurePairs(); err != nil {
			t.Fatal(err)
		}
		x, err := l.twin(false)
		if err != nil {
			t.Fatal(err)
		}
		cells, pairs, err := l.drawn(x)
		if err != nil {
			t.Fatal(err)
		}
		exact := l.exactly(t, d)
		real := exact.queries(cells, pairs)
		for i, q := range x.Quality.Queries {
			// More means by group are known without noise; the others are the same.
			if q.Kind != QueryMeanBy && q.Asked != real[i].Asked {
				t.Errorf("%s: %d asked, %d without noise", q.Kind, q.Asked, real[i].Asked)
			}
			if got := real[i].Error.Mean.About; got < q.Error.Mean.Low-5 || got > q.Error.Mean.High+5 {
				t.Errorf("seed %d: %s: mean error %d, reported %+v", seed, q.Kind, got, q.Error.Mean)
			}
		}
		without := exact.models(cells, pairs)
		if len(x.Quality.Models) < 9 || len(without) != len(x.Quality.Models) {
			t.Fatalf("%d models, %d without noise", len(x.Quality.Models), len(without))
		}
		for i, m := range x.Quality.Models {
			models++
			if got := without[i].Data.About; got >= m.Data.Low-10 && got <= m.Data.High+10 {
				held++
			}
			// Exactly lost: against least squares on the data themselves.
			twin, real := exact.moments(cells, pairs)
			yes, _ := exact.target(m.Column, exact.massOf(m.Column))
			x := exact.told(m.Column, twin)
			got := tenThousandths((x.loss(real, yes, x.solve(twin, yes)) - x.loss(real, yes, x.solve(real, yes))) / variance(real, m.Column, yes))
			if got >= m.Lost.Low-10 && got <= m.Lost.High+10 {
				lost++
			}
			t.Logf("seed %d: %s: twin %d, data %+v (exactly %d), lost %+v (exactly %d)", seed, s.Columns[m.Column].Column, m.Twin, m.Data, without[i].Data.About, m.Lost, got)
		}
		for i := range pairs {
			a, b := added(cells[l.pairColumns(i)[0]], l.coarse[l.pairColumns(i)[0]]), added(cells[l.pairColumns(i)[1]], l.coarse[l.pairColumns(i)[1]])
			pairs[i] = product(a, b)
		}
		worse := 0
		for _, m := range l.models(cells, pairs) {
			if m.Data.Low > 100 {
				t.Errorf("seed %d: a model of columns drawn apart explains %+v of %s", seed, m.Data, s.Columns[m.Column].Column)
			}
			if m.Lost.Low > 500 {
				worse++
			}
		}
		if worse == 0 {
			t.Errorf("seed %d: of no model of columns drawn apart it is said that another explains more", seed)
		}
	}
	if 10*held < 9*models || 10*lost < 9*models {
		t.Errorf("%d and %d of %d models are worth on the data what is reported", held, lost, models)
	}
	t.Logf("%d and %d of %d", held, lost, models)
}

// pairColumns are the columns of the i-th coarse table.
func (l *learner) pairColumns(i int) [2]int {
	for a := range l.schema.Columns {
		if i < a {
			return [2]int{a, i}
		}
		i -= a
	}
	return [2]int{}
}
