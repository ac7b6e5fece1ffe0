package gateway_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/sandbox"
)

// hostilePool holds workers of the hostile program, jailed as any other.
func hostilePool(t *testing.T) *sandbox.Pool {
	t.Helper()
	program := filepath.Join(t.TempDir(), "hostile")
	build := exec.Command("go", "build", "-tags", "netgo osusergo landlocktsync", "-o", program, "./attack/hostile")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("failed to build the hostile worker: %v\n%s", err, text)
	}
	p, err := sandbox.NewPool(t.Context(), sandbox.Config{Executable: program, Limits: sandbox.Limits{Memory: 64 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// arena is a gateway of a test's own, with one table.
func arena(t *testing.T, dataset string, opt gateway.Options) *attack.Arena {
	t.Helper()
	a, err := attack.NewInside(t.TempDir(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if a.Domain != nil {
			if err := a.Stop(); err != nil {
				t.Error(err)
			}
		}
	})
	a.Add(t, visits(dataset, ""))
	return a
}

// misdeed is a query for which the hostile worker does something.
func misdeed(dataset, what string) string {
	return fmt.Sprintf("SELECT COUNT(*) AS n FROM %s WHERE diagnosis_detail = '%s'", dataset, what)
}

// failures counts a job's failure entries by code, from the ledger.
func failures(t *testing.T, a *attack.Arena, job string) (codes []string) {
	t.Helper()
	for _, e := range a.Entries(t) {
		if text := string(e.GetJson()); strings.Contains(text, `"kind":"job.failed"`) && strings.Contains(text, `"job":"`+job+`"`) {
			_, rest, _ := strings.Cut(text, `"code":"`)
			code, _, _ := strings.Cut(rest, `"`)
			codes = append(codes, code)
		}
	}
	return codes
}

// workers are the engine workers below this process.
func workers(t *testing.T) (pids []int) {
	t.Helper()
	list, err := attack.Below(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list {
		if o.Executes() {
			pids = append(pids, o.PID)
		}
	}
	return pids
}

// A job that spins, allocates, forks, floods, crashes or ignores signals ends as
// one constant failure on one tick, is ledgered and paid for; the next job, in the
// only seat there is, is unharmed.
func TestAttack08_HostileWorkers(t *testing.T) {
	const tick, wall = 100 * time.Millisecond, 1100 * time.Millisecond
	a := arena(t, "hostile", gateway.Options{Tick: tick, Wall: wall, Jobs: 1})
	a.Domain.RunOn(hostilePool(t))
	op := a.Client(attack.Op(0))
	var took []time.Duration
	deeds := []string{"spin", "allocate", "fork", "stdout", "result", "pipe", "signals", "crash", "give up"}
	answers := map[string]bool{}
	for i, deed := range deeds {
		before, _ := a.Spent(t, attack.Op(0), "hostile", "operator_year")
		running, err := op.Operator.SubmitJob(t.Context(), attack.Request(attack.Op(0), "hostile", misdeed("hostile", deed), 0))
		if err != nil {
			t.Fatalf("%s: %v", deed, err)
		}
		begin := time.Now()
		end, err := op.Operations.WaitOperation(t.Context(), &longrunningpb.WaitOperationRequest{Name: running.GetName(), Timeout: durationpb.New(20 * time.Second)})
		took = append(took, time.Since(begin))
		job := strings.TrimPrefix(running.GetName(), "operations/")
		if err != nil || end.GetError() == nil || codes.Code(end.GetError().GetCode()) != codes.Internal {
			t.Errorf("%s: %v, %v", deed, end, err)
		}
		answers[end.GetError().GetMessage()] = true
		if got := failures(t, a, job); !slices.Equal(got, []string{"EXECUTION_FAILED"}) {
			t.Errorf("%s is ledgered as %v", deed, got)
		}
		if after, _ := a.Spent(t, attack.Op(0), "hostile", "operator_year"); after <= before {
			t.Errorf("%s is not charged", deed)
		}
		if _, err := a.Run(attack.Op(1), "hostile", misdeed("hostile", "good"+fmt.Sprint(i)), 0); err != nil {
			t.Errorf("the job after %s: %v", deed, err)
		}
	}
	// The tick of a time-out is 1.6 s after the start for all of them.
	lo, hi := slices.Min(took), slices.Max(took)
	if lo < 1500*time.Millisecond || hi > 2400*time.Millisecond {
		t.Errorf("failures are seen after %v", took)
	}
	attack.Record(t, attack.Score{Attack: "08 hostile workers", Figure: fmt.Sprintf("%d answer(s), seen after %v to %v", len(answers), lo.Round(time.Millisecond), hi.Round(time.Millisecond)), Bound: "1 answer, on the tick of a time-out",
		Control: "good jobs in between are answered", Pass: len(answers) == 1 && !t.Failed(), Trials: len(deeds)})
}

// Cancelling ends a queued job at once and a running one's worker within 100 ms;
// it is ledgered as cancelled, stays paid for, and the next job is unharmed.
func TestCancel(t *testing.T) {
	const dataset = "cancel"
	a := arena(t, dataset, gateway.Options{Tick: 50 * time.Millisecond, Wall: 20 * time.Second, Jobs: 1})
	a.Domain.RunOn(hostilePool(t))
	op := a.Client(attack.Op(0))
	submit := func(what string) string {
		t.Helper()
		r, err := op.Operator.SubmitJob(t.Context(), attack.Request(attack.Op(0), dataset, misdeed(dataset, what), 0))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(r.GetName(), "operations/")
	}
	job := func(id string) *sandgatev1.Job {
		t.Helper()
		j, err := op.Operator.GetJob(t.Context(), &sandgatev1.GetJobRequest{Name: "jobs/" + id})
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	eventually := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("waited in vain: %s", what)
			}
		}
	}
	for round, by := range []string{attack.Op(0), attack.Regulator} {
		idle := workers(t)
		spinning := submit("spin" + "' OR diagnosis_detail = 'r" + fmt.Sprint(round)) // not a repeat
		eventually("the job runs", func() bool { return job(spinning).GetState() == sandgatev1.Job_STATE_RUNNING })
		var worker []int
		eventually("its worker is seen", func() bool {
			worker = slices.DeleteFunc(workers(t), func(pid int) bool { return slices.Contains(idle, pid) })
			return len(worker) > 0
		})
		first, second := submit("good"+fmt.Sprint(round)), submit("other"+fmt.Sprint(round))
		eventually("the others queue", func() bool { return job(second).GetQueuePosition() == 2 })
		if j := job(first); j.GetState() != sandgatev1.Job_STATE_QUEUED || j.GetQueuePosition() != 1 {
			t.Errorf("the first in the queue is %v at %d", j.GetState(), j.GetQueuePosition())
		}
		spent, _ := a.Spent(t, attack.Op(0), dataset, "operator_year")

		// Nobody else may, and whoever tries learns nothing.
		for _, other := range []string{attack.Op(1), attack.Department} {
			if err := a.Client(other).Cancel(t.Context(), spinning); attack.Reason(err) != "NOT_FOUND" {
				t.Errorf("%s cancels another's job: %v", other, err)
			}
		}
		begin := time.Now()
		if err := a.Client(by).Cancel(t.Context(), second); err != nil {
			t.Fatal(err)
		}
		if j := job(second); j.GetState() != sandgatev1.Job_STATE_FAILED || j.GetErrorCode() != "CANCELLED" || time.Since(begin) > 500*time.Millisecond {
			t.Errorf("the cancelled queued job is %v after %v", j, time.Since(begin))
		}
		waited := make(chan *longrunningpb.Operation, 1)
		go func() {
			end, _ := op.Operations.WaitOperation(t.Context(), &longrunningpb.WaitOperationRequest{Name: "operations/" + spinning})
			waited <- end
		}()
		begin = time.Now()
		if err := a.Client(by).Cancel(t.Context(), "jobs/"+spinning); err != nil {
			t.Fatal(err)
		}
		gone := func() bool {
			return !slices.ContainsFunc(workers(t), func(pid int) bool { return slices.Contains(worker, pid) })
		}
		eventually("the worker is gone", gone)
		if took := time.Since(begin); took > 100*time.Millisecond*slack {
			t.Errorf("the worker was gone after %v", took)
		} else {
			t.Logf("cancelled by %s: worker gone after %v", by, took)
		}
		end := <-waited
		if codes.Code(end.GetError().GetCode()) != codes.Canceled || !strings.Contains(end.GetError().GetMessage(), "stays debited") {
			t.Errorf("whoever waited was told %v", end)
		}
		for _, id := range []string{spinning, second} {
			if got := failures(t, a, id); !slices.Equal(got, []string{"CANCELLED"}) {
				t.Errorf("ledgered as %v", got)
			}
			if err := a.Client(by).Cancel(t.Context(), id); err != nil {
				t.Errorf("cancelling again: %v", err)
			}
		}
		if after, _ := a.Spent(t, attack.Op(0), dataset, "operator_year"); after != spent {
			t.Errorf("cancelling changed what is spent from %d to %d", spent, after)
		}
		// The next job in the seat is unharmed.
		eventually("the next job ends", func() bool { return job(first).GetState() == sandgatev1.Job_STATE_SUCCEEDED })
		if err := op.Cancel(t.Context(), first); attack.Reason(err) != "NOT_CANCELLABLE" {
			t.Errorf("cancelling what has ended: %v", err)
		}
	}
}

// Until its tick a job that has been computed is cancelled like one that has not:
// there is no instant at which cancelling finds out.
func TestCancelDoesNotTellWhatHasEnded(t *testing.T) {
	const tick = 6 * time.Second
	a := arena(t, "quiet", gateway.Options{Tick: tick, Wall: 20 * time.Second, Jobs: 2, JobsPerOperator: 2})
	a.Domain.RunOn(hostilePool(t))
	op := a.Client(attack.Op(0))
	jobs := map[string]string{}
	for _, what := range []string{"good", "spin"} {
		r, err := op.Operator.SubmitJob(t.Context(), attack.Request(attack.Op(0), "quiet", misdeed("quiet", what), 0))
		if err != nil {
			t.Fatal(err)
		}
		jobs[what] = strings.TrimPrefix(r.GetName(), "operations/")
	}
	time.Sleep(tick / 3) // the good one has long been computed
	told := map[string]bool{}
	for _, id := range jobs {
		j, err := op.Operator.GetJob(t.Context(), &sandgatev1.GetJobRequest{Name: "jobs/" + id})
		if err != nil || j.GetState() != sandgatev1.Job_STATE_RUNNING {
			t.Errorf("before its tick: %v, %v", j, err)
		}
		if err := op.Cancel(t.Context(), id); err != nil {
			t.Errorf("before its tick: %v", err)
		}
		_, err = op.Operator.GetRelease(t.Context(), &sandgatev1.GetReleaseRequest{Name: "jobs/" + id})
		told[fmt.Sprintf("%s %v", attack.Reason(err), failures(t, a, id))] = true
	}
	if len(told) != 1 || !told["CANCELLED [CANCELLED]"] {
		t.Errorf("told %v", told)
	}
	left, err := filepath.Glob(filepath.Join(a.Home.Releases(), "*"))
	for deadline := time.Now().Add(2 * tick); len(left) > 0 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		left, err = filepath.Glob(filepath.Join(a.Home.Releases(), "*"))
	}
	if err != nil || len(left) > 0 {
		t.Errorf("a cancelled release is left on disk: %v, %v", left, err)
	}
}

// A hundred jobs at once are answered or refused in words; what is refused is not
// charged, what is charged is answered, and a flood leaves room for others.
func TestHundredJobsAtOnce(t *testing.T) {
	const n, dataset = 100, "flood"
	a := arena(t, dataset, gateway.Options{Jobs: 2, JobsPerOperator: 1, Queue: 40})
	free := a.Domain.HoldSeats()
	op := a.Client(attack.Op(0))
	var mu sync.Mutex
	var wg sync.WaitGroup
	accepted, busy := []string{}, 0
	places := map[int32]bool{}
	for i := range n {
		wg.Go(func() {
			r, err := op.Operator.SubmitJob(t.Context(), attack.Request(attack.Op(0), dataset, fmt.Sprintf("SELECT COUNT(*) AS n FROM %s WHERE fee_yuan > %d", dataset, i), 1000))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				accepted = append(accepted, r.GetName())
				return
			}
			if code, reason := wellFormed(t, "flood", err); code != codes.ResourceExhausted || reason != "BUSY" {
				t.Errorf("job %d: %v", i, err)
			}
			busy++
		})
	}
	wg.Wait()
	// A quarter of the queue and one seat are one operator's.
	if len(accepted)+busy != n || len(accepted) < 10 || len(accepted) > 11 {
		t.Errorf("%d accepted, %d refused", len(accepted), busy)
	}
	spent, _ := a.Spent(t, attack.Op(0), dataset, "operator_year")
	if spent != int64(1000*len(accepted)) {
		t.Errorf("%d jobs were accepted and %d nano-ρ charged", len(accepted), spent)
	}
	other, err := a.Client(attack.Op(1)).Operator.SubmitJob(t.Context(), attack.Request(attack.Op(1), dataset, "SELECT COUNT(*) AS n FROM "+dataset, 1000))
	if err != nil {
		t.Fatalf("a flood of one operator keeps another out: %v", err)
	}
	list, err := op.Operator.ListJobs(t.Context(), &sandgatev1.ListJobsRequest{PageSize: 200})
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range list.GetJobs() {
		if j.GetState() == sandgatev1.Job_STATE_QUEUED && j.GetQueuePosition() > 0 {
			places[j.GetQueuePosition()] = true
		}
	}
	if len(list.GetJobs()) != len(accepted) || len(places) != len(accepted) {
		t.Errorf("%d jobs, %d places in the queue; %d were accepted", len(list.GetJobs()), len(places), len(accepted))
	}
	free()
	wait := func(c *client.Client, name string) {
		end, err := c.Operations.WaitOperation(t.Context(), &longrunningpb.WaitOperationRequest{Name: name})
		if err != nil || end.GetResponse() == nil {
			t.Errorf("an accepted job ended as %v, %v", end, err)
		}
	}
	for _, name := range accepted {
		wait(op, name)
	}
	wait(a.Client(attack.Op(1)), other.GetName())
}

// A gateway that stops leaves queued jobs reserved; their retry runs them, free.
func TestQueuedJobsSurviveAStop(t *testing.T) {
	a := arena(t, "stopped", gateway.Options{Jobs: 1})
	free := a.Domain.HoldSeats()
	req := attack.Request(attack.Op(0), "stopped", "SELECT COUNT(*) AS n FROM stopped", 0)
	if _, err := a.Client(attack.Op(0)).Operator.SubmitJob(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	spent, _ := a.Spent(t, attack.Op(0), "stopped", "operator_year")
	begin := time.Now()
	err := a.Stop()
	free()
	if took := time.Since(begin); err != nil || took > 20*time.Second {
		t.Fatalf("stopped with %v after %v", err, took)
	}
	if err := a.Start(gateway.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Client(attack.Op(0)).Run(t.Context(), req); err != nil {
		t.Error(err)
	}
	if after, _ := a.Spent(t, attack.Op(0), "stopped", "operator_year"); after != spent || spent == 0 {
		t.Errorf("charged %d, then %d", spent, after)
	}
}

// An operator's slow texts end after a second as too complex, and leave the
// analyser to the others meanwhile.
func TestAnalyserIsShared(t *testing.T) {
	a := arena(t, "texts", gateway.Options{})
	if err := a.Domain.ParseOn(t.Context(), hostilePool(t)); err != nil {
		t.Fatal(err)
	}
	ask := func(i int, sql string) (string, time.Duration) {
		begin := time.Now()
		x, err := a.Client(attack.Op(i)).Operator.ExplainJob(t.Context(), explain(attack.Op(i), "texts", sql))
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			return "", 0
		}
		return x.GetReasons()[0].GetCode(), time.Since(begin)
	}
	if code, _ := ask(1, "SELECT quick"); code == "TOO_COMPLEX" {
		t.Fatal("the quick text is too complex")
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if code, _ := ask(0, "SELECT spin"); code != "TOO_COMPLEX" {
				t.Errorf("a slow text is %s", code)
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	for range 5 {
		if code, took := ask(1, "SELECT quick"); code == "TOO_COMPLEX" || took > 600*time.Millisecond*slack {
			t.Errorf("a quick text was answered %s after %v", code, took)
		}
	}
	wg.Wait()
	if code, _ := ask(0, "SELECT quick"); code == "TOO_COMPLEX" {
		t.Error("the session did not come back")
	}
}

// A file without rows does not replace a good snapshot by accident.
func TestEmptyFile(t *testing.T) {
	a := attack.SharedInside(t)
	x := people("hollow", 300, "")
	a.Add(t, x)
	header, _, _ := strings.Cut(x.CSV, "\n")
	dept := a.Client(attack.Department)
	_, err := dept.Ingest(t.Context(), "hollow", "csv", strings.NewReader(header+"\n"), nil)
	if code, reason := wellFormed(t, "empty", err); reason != "EMPTY_FILE" || code != codes.InvalidArgument {
		t.Errorf("an empty file: %v", err)
	}
	r := a.MustRun(t, attack.Op(0), "hollow", "SELECT COUNT(*) AS n FROM hollow", 4_000_000)
	if n, err := strconv.ParseFloat(r.GetRows()[0].GetCells()[0].GetValue(), 64); err != nil || n < 150 {
		t.Errorf("the old snapshot does not answer: %v, %v", n, err)
	}
	if _, err := dept.Ingest(t.Context(), "hollow", "csv", strings.NewReader(header+"\n"), nil, client.AllowEmpty); err != nil {
		t.Errorf("an empty file that is meant: %v", err)
	}
}

// endless is a file whose one field never ends.
type endless struct{ left int }

func (e *endless) Read(p []byte) (int, error) {
	n := min(len(p), e.left)
	if e.left -= n; n == 0 {
		return 0, io.EOF
	}
	for i := range p[:n] {
		p[i] = 'x'
	}
	return n, nil
}

// A field that no worker can hold is refused by its row, in words.
func TestHugeField(t *testing.T) {
	a := arena(t, "wide", gateway.Options{Memory: 1 << 20})
	header, _, _ := strings.Cut(visits("wide", "").CSV, "\n")
	file := io.MultiReader(strings.NewReader(header+"\nu1,"), &endless{1 << 30})
	_, err := a.Client(attack.Department).Ingest(t.Context(), "wide", "csv", file, nil)
	code, reason := wellFormed(t, "huge field", err)
	// Under the race detector a worker has less room and may be stopped before it says so.
	byRow := reason == "INGEST_REFUSED" && code == codes.InvalidArgument && strings.Contains(err.Error(), "TOO_LONG, row 1")
	if !byRow && (reason != "INGEST_MEMORY" || code != codes.ResourceExhausted) {
		t.Errorf("a huge field: %v", err)
	}
}

// What is refused before anything runs leaves no sooner than the first tick.
func TestRefusalsLeaveOnTheFirstTick(t *testing.T) {
	const tick = 300 * time.Millisecond
	a := arena(t, "held", gateway.Options{Tick: tick})
	for _, sql := range []string{"SELECT * FROM held", "SELECT COUNT(*) AS n FROM nowhere", "no query"} {
		begin := time.Now()
		_, err := a.Run(attack.Op(0), "held", sql, 0)
		if took := time.Since(begin); err == nil || took < tick {
			t.Errorf("%q: %v after %v", sql, err, took)
		}
	}
	if _, err := a.Run(attack.Op(0), "held", "SELECT COUNT(*) AS n FROM held", 0); err != nil {
		t.Error(err)
	}
	for _, e := range a.Entries(t) {
		if strings.Contains(string(e.GetJson()), `"kind":"gateway.started"`) && !strings.Contains(string(e.GetJson()), `"tick":"300ms"`) {
			t.Errorf("the ledger does not name the tick: %s", e.GetJson())
		}
	}
}
