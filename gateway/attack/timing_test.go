package attack

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"

	"github.com/sandgate/sandgate/gateway"
)

// The time an answer takes does not tell whether anybody meets a condition, though
// the query is far heavier if many do. One person's rows, at most a thousand,
// weigh less still. Control: without ticks it tells.
func TestAttack09_Timing(t *testing.T) {
	var csv strings.Builder
	csv.WriteString("id,seq,fee\n")
	rows := Trials(200_000, 400_000)
	for i := range rows {
		who := i % 100
		if i%2 == 0 {
			who = 777 // half of the table
		}
		fmt.Fprintf(&csv, "u%d,%d,%d\n", i/4, who, i%1000)
	}
	a, err := New(t.TempDir(), gateway.Options{Tick: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Stop() }()
	a.Add(t, Table{ID: "timing", Many: 8, Columns: []Column{column("seq", 0, 900, "filter"), column("fee", 0, 2000, "measure, filter")}, CSV: csv.String()})
	asked := 0
	attack := func(n int) (auc float64, with, without []time.Duration) {
		t.Helper()
		a.MustRun(t, Op(0), "timing", fmt.Sprintf("SELECT COUNT(*) AS n FROM timing WHERE fee <> %d", 1001+asked), 1000) // opens the snapshot
		for i := range 2 * n {
			asked++
			seq, to := 777, &with
			if (i+i/2)%2 == 1 { // the order takes turns, too
				seq, to = 778, &without
			}
			time.Sleep(40 * time.Millisecond) // a warm worker stands ready again
			sql := fmt.Sprintf("SELECT COUNT(DISTINCT id) AS u, SUM(fee) AS s, AVG(fee) AS m FROM timing WHERE seq = %d AND fee <> %d", seq, 1100+asked)
			op, err := a.Client(Op(0)).Operator.SubmitJob(t.Context(), Request(Op(0), "timing", sql, 1000))
			// What comes before is decided without data and would only blur the clock.
			start := time.Now()
			for err == nil && !op.GetDone() {
				op, err = a.Client(Op(0)).Operations.WaitOperation(t.Context(), &longrunningpb.WaitOperationRequest{Name: op.GetName()})
			}
			if err != nil || op.GetResponse() == nil {
				t.Fatalf("%v, %v", op, err)
			}
			*to = append(*to, time.Since(start))
		}
		wins := 0.0
		for _, p := range with {
			for _, q := range without {
				switch {
				case p > q:
					wins++
				case p == q:
					wins += 0.5
				}
			}
		}
		slices.Sort(with)
		slices.Sort(without)
		return wins / float64(n*n), with, without
	}
	control, slow, fast := attack(Trials(12, 60))
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	// A query whose work straddles a tick tells so, which is documented; ticks are for
	// the queries that fit one, also on a machine that is slow today.
	tick := gateway.DefaultTick
	for tick < 4*slow[len(slow)-1] {
		tick *= 2
	}
	if err := a.Start(gateway.Options{Tick: tick}); err != nil {
		t.Fatal(err)
	}
	n := Trials(16, 200)
	auc, with, without := attack(n)
	// A guess may be right by chance: three standard deviations of the AUC of n
	// against n draws from one distribution.
	chance := 3 * math.Sqrt(float64(2*n+1)/float64(12*n*n))
	ticked := func(list []time.Duration) (late int) {
		for _, d := range list {
			if d > tick*3/2 {
				late++
			}
		}
		return late
	}
	med := func(list []time.Duration) time.Duration { return list[len(list)/2].Round(100 * time.Microsecond) }
	// Sameness of the tick is what is promised; the rest is the machine's noise.
	least, most := float64(Trials(60, 80))/100, float64(Trials(30, 10))/100
	same := float64(ticked(with)-ticked(without)) / float64(n)
	Record(t, Score{Attack: "09 timing, none against many who meet a condition", Figure: fmt.Sprintf("AUC %.2f", auc), Bound: fmt.Sprintf("0.55 ± %.2f by chance", chance), Control: fmt.Sprintf("AUC %.2f without ticks", control),
		Pass: math.Abs(auc-0.5) <= 0.05+chance && math.Abs(same) <= most && control >= least, Trials: 2 * n,
		Note: fmt.Sprintf("tick %v, medians %v and %v; without ticks %v and %v", tick, med(with), med(without), med(slow), med(fast))})
}
