package attack

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sandgate/sandgate/gateway"
)

// 64 different queries of four operators at once, when seven can still be paid and
// an eighth lacks one nano-ρ.
func TestAttack14_RaceForTheLastNano(t *testing.T) {
	a := Shared(t)
	const n, fit, asked = 64, 7, 880_000
	a.Add(t, noted("onenano", 50, "n"))
	price := a.MustRun(t, Op(0), "onenano", fmt.Sprintf(countNoted, "onenano"), asked).GetPriceNanoRho() // a little less
	limit := fit*price + price - 1
	x := noted("lastnano", 1000, "n")
	x.Rule = fmt.Sprintf(`budget: {operator_year: "0.%09[1]d", dataset_year: "0.%09[1]d"}`, limit)
	a.Add(t, x)
	entries := len(a.Entries(t))
	outcome, paid := map[string]int{}, int64(0)
	var mu sync.Mutex
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-begin
			r, err := a.Run(Op(i%4), x.ID, fmt.Sprintf("SELECT COUNT(*) AS n FROM %s WHERE age <> %d", x.ID, 1000+i), asked)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				outcome[Reason(err)]++
				return
			}
			outcome["released"]++
			paid += r.GetPriceNanoRho()
		})
	}
	close(begin)
	wg.Wait()
	year, _ := a.Spent(t, Op(0), x.ID, "dataset_year")
	life, _ := a.Spent(t, Op(0), x.ID, "lifetime")
	reserved := 0
	for _, e := range decoded(t, a.Entries(t))[entries:] {
		if e.Reserved != nil {
			reserved++
		}
	}
	where := "inside the test"
	if a.Domain == nil {
		where = "real program"
	}
	Record(t, Score{Attack: "14 race for the last nano-ρ, 64 of four operators at once", Figure: fmt.Sprintf("%d released, %d of %d nano-ρ", outcome["released"], year, limit), Bound: fmt.Sprintf("%d released, ≤ %d", fit, limit),
		Control: fmt.Sprintf("%d asked for, an eighth for one nano-ρ too much", n*price), Trials: n, Note: where,
		Pass: outcome["released"] == fit && outcome["BUDGET_EXHAUSTED"] == n-fit && reserved == fit && paid == year && life == year && year <= limit})
}

// A gateway whose clock stands far behind its own ledger revives no licence and no
// year's budget. The ledger was written by the same code with its clock a year
// ahead, inside this process; the real program then opens it with the machine's
// clock, as after that was set back. Control: the same program on the same home
// before.
func TestAttack14_ClockSetBack(t *testing.T) {
	NeedBinary(t)
	a, err := New(t.TempDir(), gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if a.Running() {
			if err := a.Stop(); err != nil {
				t.Error(err)
			}
		}
	}()
	brief, yearly := noted("brief", 200, "n"), noted("yearly", 200, "n")
	brief.NotAfter = time.Now().Add(24 * time.Hour)
	yearly.Rule = `budget: {query: "0.00088", operator_year: "0.00088"}`
	a.Add(t, brief)
	a.Add(t, yearly)
	asked, through := 0, 0
	step := func(dataset, want string) {
		t.Helper()
		asked++
		_, err := a.Run(Op(0), dataset, fmt.Sprintf("SELECT COUNT(*) AS n FROM %s WHERE age <> %d", dataset, 1000+asked), 0)
		got := Reason(err)
		if err == nil {
			got = "released"
		}
		if got != want {
			through++
			t.Errorf("%s, step %d: %s, want %s", dataset, asked, got, want)
		}
	}
	again := func(inside bool, ahead time.Duration) {
		t.Helper()
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
		a.inside = inside
		a.Wind(ahead)
		if err := a.Start(gateway.Options{}); err != nil {
			t.Fatalf("with a clock %v ahead: %v", ahead, err)
		}
	}
	step("brief", "released") // the control, of the real program
	step("yearly", "released")
	step("yearly", "BUDGET_EXHAUSTED")
	again(true, 48*time.Hour)
	step("brief", "LICENCE_EXPIRED")
	a.Wind(366 * 24 * time.Hour)
	step("yearly", "released") // a year later, honestly reached
	step("yearly", "BUDGET_EXHAUSTED")
	again(false, 0)
	if a.Domain != nil {
		t.Fatal("the real program does not serve")
	}
	step("brief", "LICENCE_EXPIRED")
	step("yearly", "BUDGET_EXHAUSTED")
	if err := a.Kill(); err != nil { // a crash does not help either
		t.Fatal(err)
	}
	if err := a.Start(gateway.Options{}); err != nil {
		t.Fatal(err)
	}
	step("brief", "LICENCE_EXPIRED")
	step("yearly", "BUDGET_EXHAUSTED")
	last, ahead := int64(0), time.Duration(0)
	for _, e := range decoded(t, a.Entries(t)) {
		if e.At < last {
			t.Errorf("entry %d is dated before the one it follows", e.Seq)
		}
		last = e.At
		ahead = time.Until(e.Time())
	}
	if ahead < 300*24*time.Hour {
		t.Errorf("the ledger is only %v ahead of the clock", ahead)
	}
	in := newInspector(t, a)
	if wrong := in.audited(t, in.copied(t)); len(wrong) > 0 {
		t.Errorf("the audit finds %v", wrong)
	}
	Record(t, Score{Attack: "14 clock a year behind the ledger", Figure: through, Bound: 0, Control: "released before, and in the later year", Pass: through == 0 && !t.Failed(), Trials: asked})
}
