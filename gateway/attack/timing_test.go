package attack

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"

	"github.com/sandgate/sandgate/gateway"
)

// timed asks about the table "timing".
type timed struct {
	a     *Arena
	asked atomic.Int64
}

// attack asks 2n queries, half of them with many who meet the condition, and takes
// the time of each answer, sorted. lanes operators ask side by side, each once in a
// period and period/lanes after the one before, so that nobody's work falls into
// another's; without a period one query follows the other.
func (x *timed) attack(t *testing.T, n, lanes int, period time.Duration) (auc float64, with, without []time.Duration) {
	t.Helper()
	x.a.MustRun(t, Op(0), "timing", fmt.Sprintf("SELECT COUNT(*) AS n FROM timing WHERE fee <> %d", 1001+x.asked.Add(1)), 1000) // opens the snapshot
	var mu sync.Mutex
	var wg sync.WaitGroup
	begin := time.Now()
	for lane := range lanes {
		wg.Go(func() {
			for i := lane; i < 2*n; i += lanes {
				if period > 0 { // the lane's own next start
					at := begin.Add(period * time.Duration(lane) / time.Duration(lanes))
					time.Sleep(time.Until(at.Add((max(0, time.Since(at)) + period - 1).Truncate(period))))
				} else {
					time.Sleep(40 * time.Millisecond) // a warm worker stands ready again
				}
				// The order takes turns in every lane, too.
				seq, to, k := 777, &with, i/lanes
				if (k+k/2+lane)%2 == 1 {
					seq, to = 778, &without
				}
				took, err := x.ask(t, Op(lane), seq)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				*to = append(*to, took)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
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
	return wins / float64(len(with)*len(without)), with, without
}

// ask is one query, and the time from its acceptance to its answer: what comes
// before is decided without data and would only blur the clock.
func (x *timed) ask(t *testing.T, operator string, seq int) (time.Duration, error) {
	sql := fmt.Sprintf("SELECT COUNT(DISTINCT id) AS u, SUM(fee) AS s, AVG(fee) AS m FROM timing WHERE seq = %d AND fee <> %d", seq, 1100+x.asked.Add(1))
	c := x.a.Client(operator)
	op, err := c.Operator.SubmitJob(t.Context(), Request(operator, "timing", sql, 1000))
	start := time.Now()
	for err == nil && !op.GetDone() {
		op, err = c.Operations.WaitOperation(t.Context(), &longrunningpb.WaitOperationRequest{Name: op.GetName()})
	}
	took := time.Since(start)
	if err == nil && op.GetResponse() == nil {
		err = fmt.Errorf("the job ended as %v", op)
	}
	return took, err
}

// The time an answer takes does not tell whether anybody meets a condition, though
// the query is far heavier if many do. One person's rows, at most a thousand,
// weigh less still. Control: without ticks it tells.
func TestAttack09_Timing(t *testing.T) {
	const lanes = 4
	var csv strings.Builder
	csv.WriteString("id,seq,fee\n")
	for i := range 100_000 {
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
	x := &timed{a: a}
	control, slow, fast := x.attack(t, Trials(12, 60), 1, 0)
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	// A query whose work straddles a tick tells so, which is documented; ticks are for
	// the queries that fit one, also on a machine that is slow today.
	const grain = 50 * time.Millisecond
	tick := max(gateway.DefaultTick, (4*slow[len(slow)-1] + grain).Truncate(grain))
	if err := a.Start(gateway.Options{Tick: tick, Jobs: 2 * lanes}); err != nil {
		t.Fatal(err)
	}
	n := Trials(16, 200)
	// Room for what comes before a job's start, so that a lane keeps its period.
	auc, with, without := x.attack(t, n, lanes, tick+tick/4)
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
		Note: fmt.Sprintf("tick %v, medians %v and %v, %d and %d late; without ticks %v and %v", tick, med(with), med(without), ticked(with), ticked(without), med(slow), med(fast))})
}
