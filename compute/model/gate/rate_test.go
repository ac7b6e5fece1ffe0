package gate

import (
	"context"
	"testing"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/internal/leak"
)

// Harmless models pass: of many data sets and seeds, private or with many units per
// parameter, hardly one may be refused, and no run may be void.
func TestR02_HarmlessModelsPass(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	refused, runs := 0, 0
	for n := range uint64(leak.Trials(1, 60)) {
		for _, c := range []struct {
			units, features int
			rho             budget.Nano
		}{{700, 2, 24_400_000}, {1500, 2, 0}} {
			r := run(t, trial(t, c.units, c.features, c.rho, 100+n), Options{}, n)
			runs++
			if r.Verdict != Pass {
				refused++
				t.Logf("units %d, ρ %s, seed %d: %s", c.units, c.rho, n, r.Verdict)
				for _, x := range r.Reasons {
					t.Log(x.Text("en"))
				}
			}
			if r.Verdict == Void {
				t.Errorf("seed %d: void", n)
			}
		}
	}
	t.Logf("%d of %d refused", refused, runs)
	if refused > runs/40 {
		t.Errorf("%d of %d harmless models are refused", refused, runs)
	}
}

// The whole gate on 20 000 units and 20 features; to be read with the machine's load.
func BenchmarkRun(b *testing.B) {
	x := trial(b, 20_000, 20, 24_400_000, 3)
	for b.Loop() {
		r, err := Run(context.Background(), x, Options{}, seed(1), nil)
		if err != nil {
			b.Fatal(err)
		}
		if r.Verdict != Pass {
			show(b, r)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/op")
}
