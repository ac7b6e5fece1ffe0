package attack

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sandgate/sandgate/gateway"
)

// auc is the chance that a draw of p is greater than one of q.
func auc(p, q []time.Duration) float64 {
	wins := 0.0
	for _, x := range p {
		for _, y := range q {
			switch {
			case x > y:
				wins++
			case x == y:
				wins += 0.5
			}
		}
	}
	return wins / float64(len(p)*len(q))
}

// The time to an answer does not tell true, false, not found and without consent
// apart, asked again and again for nothing. Control: a refusal, which leaves no
// later than it is decided when ticks are off, is told from an answer at a glance.
func TestAttack15_VerificationTiming(t *testing.T) {
	a, err := New(t.TempDir(), gateway.Options{Tick: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Stop() }()
	x := newRegister(t, a, "timing", 3, "{subjects_per_month: 1000}")
	x.consent(t, 0, 1)
	wrong := codeList[(slices.Index(codeList, codeOf(1))+1)%8]
	cases := []struct{ name, id, claim string }{{"true", citizen(0), codeOf(0)}, {"false", citizen(1), wrong}, {"no consent", citizen(2), codeOf(2)}, {"not found", citizen(900), wrong}}
	// measure asks each case n times, in turns, by operators side by side.
	measure := func(n, lanes int) map[string][]time.Duration {
		out := map[string][]time.Duration{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for lane := range lanes {
			wg.Go(func() {
				for i := lane; i < n; i += lanes {
					for k := range cases {
						c := cases[(k+i)%len(cases)]
						start := time.Now()
						yes, refused := x.ask(t.Context(), lane, "code", c.id, c.claim)
						took := time.Since(start)
						if refused != "" || yes != (c.name == "true") {
							t.Errorf("%s: %v %s", c.name, yes, refused)
							return
						}
						mu.Lock()
						out[c.name] = append(out[c.name], took)
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			t.FailNow()
		}
		return out
	}
	bare := measure(Trials(6, 24), 1)
	var refusals []time.Duration
	for range Trials(6, 24) {
		start := time.Now()
		if _, refused := x.ask(t.Context(), 0, "none", citizen(0), ""); refused != "PRODUCT_UNKNOWN" {
			t.Fatal(refused)
		}
		refusals = append(refusals, time.Since(start))
	}
	control := auc(bare["no consent"], refusals)
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	slow := slices.Max(append(slices.Clone(bare["true"]), bare["no consent"]...))
	const grain = 50 * time.Millisecond
	tick := max(2*grain, (3*slow + grain).Truncate(grain))
	if err := a.Start(gateway.Options{Tick: tick, Jobs: 2 * verifyOperators}); err != nil {
		t.Fatal(err)
	}
	measure(verifyOperators, verifyOperators) // opens the snapshot
	n := Trials(12, 120)
	got := measure(n, verifyOperators)
	chance := 3 * math.Sqrt(float64(2*n+1)/float64(12*n*n))
	worst, pair := 0.0, ""
	for i, c := range cases {
		for _, o := range cases[:i] {
			if v := math.Abs(auc(got[c.name], got[o.name]) - 0.5); v >= worst {
				worst, pair = v, c.name+" / "+o.name
			}
		}
	}
	Record(t, Score{Attack: "15 verification: timing of true, false, not found and without consent", Figure: fmt.Sprintf("AUC %.2f (%s)", 0.5+worst, pair), Bound: fmt.Sprintf("0.55 ± %.2f by chance", chance),
		Control: fmt.Sprintf("AUC %.2f of a refusal against an answer without ticks", control), Pass: worst <= 0.05+chance && control >= 0.95, Trials: len(cases) * n, Note: fmt.Sprintf("tick %v", tick)})
}
