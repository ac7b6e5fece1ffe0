package twin

import "testing"

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
}
