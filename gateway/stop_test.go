package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/ledger/entry"
)

// stopSpan is within what a job ends that may run no longer.
const stopSpan = time.Second

func orderText(id, by, target, stage string) string {
	kind, name, ok := strings.Cut(target, "/")
	if ok {
		name = ", id: " + name
	}
	return fmt.Sprintf("kind: Order\nid: %s\nby: %s\ntarget: {kind: %s%s}\nstage: %s\nreason: {zh: 测试}\nbasis: {zh: 第九条}\n", id, by, kind, name, stage)
}

// decoded is the ledger.
func decoded(t testing.TB, a *attack.Arena) (out []*entry.Entry) {
	t.Helper()
	for _, e := range a.Entries(t) {
		var x entry.Entry
		if err := json.Unmarshal(e.GetJson(), &x); err != nil {
			t.Fatal(err)
		}
		out = append(out, &x)
	}
	return out
}

// An order ends every running and waiting job of its target in the very append that
// puts it in force, kills the workers, and frees nothing but new jobs when it is
// lifted.
func TestR27_OrderStopsRunningAndWaitingJobs(t *testing.T) {
	const dataset = "halted"
	a := arena(t, dataset, gateway.Options{Tick: 50 * time.Millisecond, Wall: 30 * time.Second, Jobs: 2, JobsPerOperator: 1})
	a.Domain.RunOn(hostilePool(t))
	submit := func(op, what string) string {
		t.Helper()
		r, err := a.Client(op).Operator.SubmitJob(t.Context(), attack.Request(op, dataset, misdeed(dataset, what), 0))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(r.GetName(), "operations/")
	}
	worst := time.Duration(0)
	for round, c := range []struct{ by, target, code string }{
		{attack.Regulator, "operator/" + attack.Op(0), "OPERATOR_SUSPENDED"},
		{attack.Department, "licence/" + attack.LicenceID(attack.Op(0), dataset), "LICENCE_SUSPENDED"},
		{attack.Department, "dataset/" + dataset, "DATASET_SUSPENDED"},
		{attack.Regulator, "gateway", "GATEWAY_SUSPENDED"},
	} {
		idle := workers(t)
		running := submit(attack.Op(0), fmt.Sprintf("spin' OR diagnosis_detail = 'r%d", round))
		waiting := submit(attack.Op(0), fmt.Sprintf("wait%d", round))
		var worker []int
		for deadline := time.Now().Add(10 * time.Second); len(worker) == 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			worker = slices.DeleteFunc(workers(t), func(pid int) bool { return slices.Contains(idle, pid) })
		}
		// Its worker is none of those that the order is to end.
		other := submit(attack.Op(1), fmt.Sprintf("spin' OR diagnosis_detail = 'other%d", round))
		waited := make(chan *longrunningpb.Operation, 2)
		for _, job := range []string{running, waiting} {
			go func() {
				end, _ := a.Client(attack.Op(0)).Operations.WaitOperation(context.Background(), &longrunningpb.WaitOperationRequest{Name: "operations/" + job})
				waited <- end
			}()
		}
		spent, _ := a.Spent(t, attack.Op(0), dataset, "operator_year")
		begin := time.Now()
		a.Must(t, orderText(fmt.Sprintf("s%d", round), c.by, c.target, "suspend"), c.by)
		for range 2 {
			end := <-waited
			if text := end.GetError().GetMessage(); codes.Code(end.GetError().GetCode()) != codes.PermissionDenied || !strings.Contains(text, fmt.Sprintf("order/s%d", round)) {
				t.Errorf("%s: whoever waited was told %v", c.target, end)
			}
		}
		for slices.ContainsFunc(workers(t), func(pid int) bool { return slices.Contains(worker, pid) }) && time.Since(begin) < 10*time.Second {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(begin); took > stopSpan*slack || len(worker) == 0 {
			t.Errorf("%s: workers %v were gone after %v", c.target, worker, took)
		} else {
			worst = max(worst, took)
			t.Logf("%s: told, and worker gone, %v after the order was sent", c.target, took)
		}
		for _, job := range []string{running, waiting} {
			if got := failures(t, a, job); !slices.Equal(got, []string{c.code}) {
				t.Errorf("%s: ledgered as %v", c.target, got)
			}
		}
		if after, _ := a.Spent(t, attack.Op(0), dataset, "operator_year"); after != spent {
			t.Errorf("%s: an order changed what is spent from %d to %d", c.target, spent, after)
		}
		if _, err := a.Run(attack.Op(0), dataset, misdeed(dataset, fmt.Sprintf("new%d", round)), 0); attack.Reason(err) != c.code {
			t.Errorf("%s: a new job: %v", c.target, err)
		}
		hits := strings.HasPrefix(c.target, "dataset/") || c.target == "gateway"
		if got := failures(t, a, other); hits != slices.Equal(got, []string{c.code}) || !hits && len(got) > 0 {
			t.Errorf("%s: the other operator's job is ledgered as %v", c.target, got)
		}
		if !hits {
			if err := a.Client(attack.Op(1)).Cancel(t.Context(), other); err != nil {
				t.Errorf("%s: the other operator's job has ended: %v", c.target, err)
			}
		}
		a.Must(t, orderText(fmt.Sprintf("r%d", round), c.by, c.target, "resume"), c.by)
		if _, err := a.Run(attack.Op(0), dataset, misdeed(dataset, fmt.Sprintf("after%d", round)), 0); err != nil {
			t.Errorf("%s: after the resumption: %v", c.target, err)
		}
	}
	attack.Record(t, attack.Score{Attack: "R27 order while jobs run", Figure: worst.Round(time.Millisecond).String(), Bound: stopSpan.String(), Control: "the same jobs run after the resumption", Pass: !t.Failed(), Trials: 8})
}

// The clock alone stops the jobs of a licence that runs out.
func TestR06_ExpiryStopsRunningJobs(t *testing.T) {
	const dataset = "expiring"
	a, err := attack.NewInside(t.TempDir(), gateway.Options{Tick: 50 * time.Millisecond, Wall: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(); err != nil {
			t.Error(err)
		}
	})
	x := visits(dataset, "")
	x.NotAfter = time.Now().Add(time.Hour)
	a.Add(t, x)
	a.Domain.RunOn(hostilePool(t))
	op := a.Client(attack.Op(0))
	r, err := op.Operator.SubmitJob(t.Context(), attack.Request(attack.Op(0), dataset, misdeed(dataset, "spin"), 0))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * 200 * time.Millisecond)
	if got := failures(t, a, strings.TrimPrefix(r.GetName(), "operations/")); len(got) > 0 {
		t.Fatalf("ended before the licence: %v", got)
	}
	begin := time.Now()
	a.Wind(2 * time.Hour)
	end, err := op.Operations.WaitOperation(t.Context(), &longrunningpb.WaitOperationRequest{Name: r.GetName()})
	took := time.Since(begin)
	if err != nil || !strings.Contains(end.GetError().GetMessage(), "licence/"+attack.LicenceID(attack.Op(0), dataset)) {
		t.Errorf("told %v, %v", end, err)
	}
	if took > stopSpan*slack {
		t.Errorf("ended %v after the licence", took)
	}
	t.Logf("ended %v after the clock passed the licence's end", took)
	if got := failures(t, a, strings.TrimPrefix(r.GetName(), "operations/")); !slices.Equal(got, []string{"LICENCE_ENDED"}) {
		t.Errorf("ledgered as %v", got)
	}
}

// Operators submit while orders fall at random. Whoever reads the ledger afterwards
// finds no release between an order and its resumption, and every job that an order
// met ended within a second of it.
func TestR27_RandomOrdersUnderConcurrency(t *testing.T) {
	const dataset, operators = "storm", 3
	a := arena(t, dataset, gateway.Options{Tick: 20 * time.Millisecond, Wall: 10 * time.Second, Jobs: 4})
	a.Domain.RunOn(hostilePool(t))
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for i := range operators {
		op := attack.Op(i)
		c := a.Client(op)
		for k := range 2 {
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					what := fmt.Sprintf("good%d-%d-%d", i, k, n)
					if n%4 == 3 {
						what = fmt.Sprintf("spin' OR diagnosis_detail = '%s", what)
					}
					_, err := c.Run(ctx, attack.Request(op, dataset, misdeed(dataset, what), 1000))
					if code := status.Code(err); err != nil && ctx.Err() == nil && code != codes.DeadlineExceeded && code != codes.Canceled {
						switch reason := attack.Reason(err); reason {
						case "OPERATOR_SUSPENDED", "LICENCE_SUSPENDED", "DATASET_SUSPENDED", "GATEWAY_SUSPENDED", "BUSY", "POLICY_CHANGED":
						default:
							t.Errorf("%s: %s %v", op, reason, err)
						}
						time.Sleep(10 * time.Millisecond)
					}
				}
			})
		}
	}
	rng := rand.New(rand.NewPCG(7, 7))
	targets := []string{"gateway", "dataset/" + dataset}
	for i := range operators {
		targets = append(targets, "operator/"+attack.Op(i), "licence/"+attack.LicenceID(attack.Op(i), dataset))
	}
	given := 0
	for ctx.Err() == nil {
		target := targets[rng.IntN(len(targets))]
		given++
		a.Must(t, orderText(fmt.Sprintf("s%d", given), attack.Regulator, target, "suspend"), attack.Regulator)
		time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
		a.Must(t, orderText(fmt.Sprintf("r%d", given), attack.Regulator, target, "resume"), attack.Regulator)
		time.Sleep(time.Duration(50+rng.IntN(150)) * time.Millisecond)
	}
	wg.Wait()
	// Spinning jobs that no order met go on: the last order meets them.
	a.Must(t, orderText("last", attack.Regulator, "gateway", "suspend"), attack.Regulator)
	ledger := decoded(t, a)
	released, met, wrong := auditOrders(t, ledger, dataset)
	for _, w := range wrong {
		t.Error(w)
	}
	// Control: the same reader finds a release that came one order later.
	from := slices.IndexFunc(ledger, func(e *entry.Entry) bool { return e.Kind == entry.KindReleased })
	to := len(ledger) - 1
	for to > 0 && len(ledger) > 0 && (ledger[to].Policy == nil || len(ordersOf(t, ledger[to])) == 0) {
		to--
	}
	if _, _, late := auditOrders(t, moved(ledger, from, to), dataset); from >= 0 && len(late) == 0 {
		t.Error("control: a release behind the last order is not noticed")
	}
	attack.Record(t, attack.Score{Attack: "R27 orders at random while operators submit", Figure: len(wrong), Bound: 0, Control: "a release moved behind an order is noticed", Pass: !t.Failed(), Trials: released + met})
	if released < 3 || met < 3 {
		t.Errorf("nothing was tried: %d released, %d met by %d orders", released, met, given)
	}
	t.Logf("%d orders, %d released, %d jobs met by an order", given, released, met)
}

// auditOrders reads the ledger as somebody who knows of orders and jobs alone: what
// was released, what orders stopped, and what is wrong with it.
func auditOrders(t *testing.T, ledger []*entry.Entry, dataset string) (released, met int, wrong []string) {
	t.Helper()
	held := map[string]int64{} // target → since when, Unix ms
	type openJob struct{ operator, licence string }
	open := map[string]openJob{}
	stops := func(j openJob) (since int64, ok bool) {
		for _, x := range []string{"gateway", "dataset/" + dataset, "operator/" + j.operator, "licence/" + j.licence} {
			if at, is := held[x]; is && (!ok || at < since) {
				since, ok = at, true
			}
		}
		return since, ok
	}
	note := func(e *entry.Entry, what string) { wrong = append(wrong, fmt.Sprintf("entry %d: %s", e.Seq, what)) }
	for _, e := range ledger {
		for job, j := range open {
			if since, ok := stops(j); ok && e.At > since+stopSpan.Milliseconds() {
				note(e, "job "+job+" outlives an order by a second")
			}
		}
		switch e.Kind {
		case entry.KindPolicy:
			for target, stage := range ordersOf(t, e) {
				if stage == "suspend" {
					held[target] = e.At
				} else {
					delete(held, target)
				}
			}
		case entry.KindReserved:
			r := e.Reserved.Request
			open[r.Job] = openJob{e.Actor, r.Licence}
			if _, ok := stops(open[r.Job]); ok {
				note(e, "reserved under an order")
			}
		case entry.KindReleased:
			if _, ok := stops(open[e.Released.Job]); ok {
				note(e, "released under an order")
			}
			delete(open, e.Released.Job)
			released++
		case entry.KindFailed:
			if _, ok := stops(open[e.Failed.Job]); ok != (e.Failed.Rule != "") {
				note(e, "failed under "+e.Failed.Rule+", which is no order in force, or without naming the one that is")
			}
			if e.Failed.Rule != "" {
				met++
			}
			delete(open, e.Failed.Job)
		}
	}
	if len(open) > 0 {
		wrong = append(wrong, fmt.Sprintf("%d jobs are open at the end", len(open)))
	}
	return released, met, wrong
}

// moved is a ledger with one entry put before another, as a gateway without the
// sequencer's order could have written it.
func moved(ledger []*entry.Entry, from, to int) []*entry.Entry {
	out := slices.Delete(slices.Clone(ledger), from, from+1)
	return slices.Insert(out, to, ledger[from])
}

// An order between reservation and commit finds a release that is computed and
// waits for its tick: it is not committed, and its file goes.
func TestR27_OrderBetweenReservationAndCommit(t *testing.T) {
	const tick = 2 * time.Second
	a := arena(t, "between", gateway.Options{Tick: tick, Wall: 10 * time.Second})
	a.Domain.RunOn(hostilePool(t))
	op := a.Client(attack.Op(0))
	r, err := op.Operator.SubmitJob(t.Context(), attack.Request(attack.Op(0), "between", misdeed("between", "good"), 0))
	if err != nil {
		t.Fatal(err)
	}
	files := func() int {
		left, err := filepath.Glob(filepath.Join(a.Home.Releases(), "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(left)
	}
	for deadline := time.Now().Add(tick / 2); files() == 0 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
	}
	if files() == 0 {
		t.Skip("the machine is too slow for the release to be computed before its tick")
	}
	a.Must(t, orderText("s1", attack.Department, "dataset/between", "suspend"), attack.Department)
	a.Must(t, orderText("r1", attack.Department, "dataset/between", "resume"), attack.Department)
	job := strings.TrimPrefix(r.GetName(), "operations/")
	if _, err := op.Operator.GetRelease(t.Context(), &sandgatev1.GetReleaseRequest{Name: "jobs/" + job}); attack.Reason(err) != "DATASET_SUSPENDED" {
		t.Errorf("an order that was lifted at once: %v", err)
	}
	for deadline := time.Now().Add(2 * tick); files() > 0 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
	}
	if n := files(); n > 0 || !slices.Equal(failures(t, a, job), []string{"DATASET_SUSPENDED"}) {
		t.Errorf("%d files are left, ledgered as %v", n, failures(t, a, job))
	}
}

// A bundle that a crash left between the order and the killing of the workers, and a
// reservation that no run owns, end the same way: the order's append ends them, and
// a job that is retried under the order is told so.
func TestR27_OrphansAreStoppedToo(t *testing.T) {
	const dataset = "orphan"
	a := arena(t, dataset, gateway.Options{Wall: 30 * time.Second, Jobs: 1})
	free := a.Domain.HoldSeats()
	defer func() { free() }()
	req := attack.Request(attack.Op(0), dataset, misdeed(dataset, "a"), 0)
	if _, err := a.Client(attack.Op(0)).Operator.SubmitJob(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	quiet(t, a)
	b := a.Crash(t, gateway.Options{})
	b.Must(t, orderText("s1", attack.Department, "dataset/"+dataset, "suspend"), attack.Department)
	var ended []string
	for _, e := range decoded(t, b) {
		if e.Failed != nil {
			ended = append(ended, e.Failed.Code+" "+e.Failed.Rule)
		}
	}
	if !slices.Equal(ended, []string{"DATASET_SUSPENDED order/s1"}) {
		t.Errorf("the orphan ended as %v", ended)
	}
	_, err := b.Client(attack.Op(0)).Run(t.Context(), req)
	if attack.Reason(err) != "DATASET_SUSPENDED" {
		t.Errorf("its retry: %v", err)
	}
}

// What was committed before the order stays the operator's to read; asking again,
// even for the same answer, is refused.
func TestR27_CommittedAnswersStay(t *testing.T) {
	const dataset = "kept"
	a := shared(t)
	a.Add(t, people(dataset, 300, ""))
	rel := a.MustRun(t, attack.Op(0), dataset, "SELECT COUNT(*) AS n FROM kept", 0)
	a.Must(t, orderText("kept-s", attack.Department, "dataset/"+dataset, "suspend"), attack.Department)
	if _, err := a.Client(attack.Op(0)).Operator.GetRelease(t.Context(), &sandgatev1.GetReleaseRequest{Name: rel.GetName()}); err != nil {
		t.Errorf("an answer committed before the order: %v", err)
	}
	if _, err := a.Run(attack.Op(0), dataset, "SELECT COUNT(*) AS n FROM kept", 0); attack.Reason(err) != "DATASET_SUSPENDED" {
		t.Errorf("a repeat under the order: %v", err)
	}
	a.Must(t, orderText("kept-r", attack.Department, "dataset/"+dataset, "resume"), attack.Department)
	again, err := a.Run(attack.Op(0), dataset, "SELECT COUNT(*) AS n FROM kept", 0)
	if err != nil || again.GetDigest() != rel.GetDigest() {
		t.Errorf("after the resumption: %v", errors.Join(err, fmt.Errorf("digest %s, want %s", again.GetDigest(), rel.GetDigest())))
	}
}
