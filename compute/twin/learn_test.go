package twin

import (
	"slices"
	"testing"
)

// On a table whose columns depend on each other a twin at ε = 1 keeps all marginals.
func TestTwinKeepsMarginals(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	s := schemaOf(t, Spec{Columns: learned, PerUnit: []string{"sex", "born", "district"}, RowsPerUnit: 3}, registry())
	d := encoded(t, s, residents(60_000, 3, 1))
	x := learnt(t, s, d, 1)
	_, drawn := drawnFrom(t, s, x, d.Count)
	one, two := distances(s, d, drawn)
	t.Logf("ε = 1: mean distance of 1-way marginals %.4f, of 2-way ones %.4f; reported %+v", one, two, x.Quality)
	if one > 0.02 || two > 0.06 {
		t.Errorf("mean distance of 1-way marginals %.4f (at most 0.02), of 2-way ones %.4f (at most 0.06)", one, two)
	}
	apart := slices.Clone(x.Order)
	for i, v := range apart {
		apart[i] = Vertex{Column: v.Column, Weights: [][]int64{x.massOf(v.Column)}}
	}
	x.Order = apart
	_, drawn = drawnFrom(t, s, x, d.Count)
	if _, loose := distances(s, d, drawn); loose < 3*two {
		t.Errorf("2-way distance %.4f, and %.4f when columns are drawn apart: the test shows little", two, loose)
	}
}

// massOf are the weights of a column's groups as they are drawn.
func (t *Twin) massOf(c int) []int64 {
	s, err := t.Sampler(nil)
	if err != nil {
		return nil
	}
	out := make([]int64, slices.Max(t.Groups[c])+1)
	group := make([]int, len(t.Columns))
	for u := range uint64(50_000) {
		rnd := s.unit(u)
		s.groups(&rnd, group, true)
		s.groups(&rnd, group, false)
		out[group[c]]++
	}
	return out
}

// Too little budget for pairs: the twin says so and holds marginals alone; for even
// them, it is refused.
func TestSmallBudgets(t *testing.T) {
	columns := []string{"sex", "visits", "chapter", "scheme"}
	for _, c := range []struct {
		units  int
		rho    string
		passes int
		code   string
	}{{3000, "0.05", 3, ""}, {3000, "0.0001", 1, ""}, {3000, "0.000003", 1, CodeTooFewUnits}, {40, "0.05", 1, CodeTooFewUnits}} {
		s := schemaOf(t, Spec{Columns: columns, Rho: c.rho}, registry())
		d := encoded(t, s, pick(residents(c.units, 1, 1), columns...))
		rec := &recorder{Oracle: noisy(d, s, 1)}
		x, err := Learn(t.Context(), s, rec, nil)
		if code(err) != c.code || len(rec.passes) != c.passes {
			t.Errorf("%d units at %s: %v after %d passes, want %q after %d", c.units, c.rho, err, len(rec.passes), c.code, c.passes)
		}
		if err != nil {
			continue
		}
		if x.MarginalsOnly != (c.passes == 1) || len(x.Noise) != c.passes || (x.Quality.TwoWay == Figure{}) != x.MarginalsOnly {
			t.Errorf("%d units at %s: marginals only is %v, noise %v", c.units, c.rho, x.MarginalsOnly, x.Noise)
		}
		for i, v := range x.Order {
			if want := min(i, 2); x.MarginalsOnly && len(v.Parents) > 0 || !x.MarginalsOnly && len(v.Parents) != want {
				t.Errorf("%d units at %s: column %d has parents %v", c.units, c.rho, v.Column, v.Parents)
			}
		}
		draw(t, x, "s", 0, 100)
	}
}

// One, two or three columns make a twin too.
func TestFewColumns(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	for d := 1; d <= 3; d++ {
		columns := []string{"scheme", "district", "visits"}[:d]
		s := schemaOf(t, Spec{Columns: columns, Rho: "0.1"}, registry())
		data := encoded(t, s, pick(residents(5000, 1, 1), columns...))
		_, drawn := drawnFrom(t, s, learnt(t, s, data, 1), data.Count)
		if one, two := distances(s, data, drawn); one > 0.03 || two > 0.06 {
			t.Errorf("%d columns: distances %.4f, %.4f", d, one, two)
		}
	}
}

// Two parents at a time: a column that only the two of them together determine is kept
// with both, and columns that are constant in a unit are drawn first.
func TestTreeKeepsWhatBelongsTogether(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	columns := []string{"scheme", "district", "job", "visits", "sex"}
	s := schemaOf(t, Spec{Columns: columns, Rho: "1", PerUnit: []string{"sex", "visits"}}, registry())
	x := learnt(t, s, encoded(t, s, pick(residents(20_000, 1, 1), columns...)), 1)
	first := map[string]bool{columns[x.Order[0].Column]: true, columns[x.Order[1].Column]: true}
	if !first["sex"] || !first["visits"] {
		t.Errorf("the constant columns are not first: %v", first)
	}
	d := encoded(t, s, pick(residents(20_000, 1, 2), columns...))
	_, drawn := drawnFrom(t, s, x, d.Count)
	// scheme follows from work (job is missing or not) and district.
	wrong := 0
	for r := range drawn.Rows() {
		idle := int(drawn.Bins[2][r]) == s.Columns[2].Bins()-1
		if idle != (drawn.Bins[0][r] == 0) || !idle && int(drawn.Bins[0][r]) != 1+min(2, int(drawn.Bins[1][r])/4) {
			wrong++
		}
	}
	if share := float64(wrong) / float64(drawn.Rows()); share > 0.03 {
		t.Errorf("%.3f of the rows contradict what holds in all of the data", share)
	}
}

// The quality that a twin reports, from noisy tables alone, holds the distance to the
// data in its range.
func TestReportedQualityHolds(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	columns := []string{"sex", "district", "job", "visits", "chapter", "scheme"}
	s := schemaOf(t, Spec{Columns: columns}, registry())
	d := encoded(t, s, pick(residents(20_000, 1, 1), columns...))
	for seed := range uint64(3) {
		x := learnt(t, s, d, seed)
		_, drawn := drawnFrom(t, s, x, 100_000)
		one, two := distances(s, d, drawn)
		q := x.Quality.OneWay.Mean
		if got := one * 10_000; got < float64(q.Low)-10 || got > float64(q.High)+10 {
			t.Errorf("seed %d: 1-way distance %.4f, reported %+v", seed, one, q)
		}
		// On the coarse groups the distance is below that in full resolution.
		if q := x.Quality.TwoWay.Mean; float64(q.Low) > two*10_000+20 {
			t.Errorf("seed %d: 2-way distance %.4f, reported %+v", seed, two, q)
		}
		t.Logf("1-way %.4f, 2-way %.4f, reported %+v", one, two, x.Quality)
	}
}
