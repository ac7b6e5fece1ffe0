package gate

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

func seed(n uint64) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}) }

// trial of a logistic model on an invented city.
func trial(t testing.TB, units, features int, rho budget.Nano, n uint64) Trial {
	t.Helper()
	design, data := city(units, features, n)
	x := Trial{Design: design, Data: data, Members: apart(units, 20, n), Rho: rho}
	x.Train = trainLogistic(design, 30, 4, 1e-3, 1, rho)
	if rho > 0 {
		x.Design.Spec.Private, x.Design.Spec.Release = true, policies.ReleaseParameters
	}
	m, err := x.Train(context.Background(), x.Members, data, seed(n))
	if err != nil {
		t.Fatal(err)
	}
	x.Target = m
	x.Structure = Structure{Family: policies.FamilyLogistic, Parameters: width(design)}
	return x
}

func show(t testing.TB, r *Report) {
	t.Helper()
	t.Logf("%s units %d/%d attacked %d shadows %d×%d canaries %d targets %d", r.Verdict, r.Units, r.HeldOut, r.Attacked, r.Shadows, r.ShadowUnits, r.Canaries, r.Targets)
	for _, f := range r.Attacks {
		for i, x := range f.Figures {
			c := f.Control[min(i, len(f.Control)-1)]
			t.Logf("%v %-16s %-20s %-8s %-3s %8s [%s, %s] marks %q %q %q; control %s [%s, %s]", x.Passes(), f.Code, x.Name, x.Of, x.Column, x.Value, x.Lo, x.Hi, x.Most, x.MostLo, x.MostHi, c.Value, c.Lo, c.Hi)
		}
	}
	for _, x := range r.Reasons {
		t.Log(x.Text("zh"))
		t.Log(x.Text("en"))
	}
}

func TestR02_TwentyThousandUnits(t *testing.T) {
	x := trial(t, 20_000, 20, 0, 3)
	began := time.Now()
	stages := map[string]time.Duration{}
	at := began
	r, err := Run(context.Background(), x, Options{}, seed(1), func(s string, done, total int) {
		stages[s] += time.Since(at)
		at = time.Now()
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(time.Since(began), stages)
	show(t, r)
}

func TestSweep(t *testing.T) {
	for _, c := range []struct {
		units, features int
		rho             budget.Nano
	}{{3000, 6, 24_400_000}, {3000, 6, 0}, {1500, 3, 24_400_000}} {
		for n := range uint64(6) {
			x := trial(t, c.units, c.features, c.rho, 100+n)
			began := time.Now()
			r, err := Run(context.Background(), x, Options{}, seed(n), nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Log(c, n, r.Verdict, time.Since(began))
			for _, f := range r.Attacks {
				for _, y := range f.Figures {
					if !y.Passes() || f.Code == CodeInversion || y.Name == "auc" && y.Of == OfTraining {
						t.Log("   ", y.Passes(), f.Code, y)
					}
				}
				if !f.Caught() {
					t.Log("   NOT CAUGHT", f.Code, f.Control)
				}
			}
		}
	}
}
