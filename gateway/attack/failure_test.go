package attack

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"golang.org/x/sys/unix"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
)

// death is one way for a running job's worker to end.
type death struct {
	name string
	// strike is called when the job has been submitted, with a look at who works on
	// it, and says which processes it struck.
	strike func(busy func() []Outside) []Outside
}

// sight is all that anybody but root sees of how a job ended.
type sight struct {
	words string // status, details, the job's and the release's state, ledger, log
	took  time.Duration
	paid  int64
}

var (
	jobName  = regexp.MustCompile(`\b[0-9a-f]{20}\b`)
	passing  = regexp.MustCompile(`(?m)^time=\S+ |seq=\d+`)
	blankRun = regexp.MustCompile(`\s+`)
)

// idle lists the engine workers that stand ready, once none is starting any more;
// there is none when the spawner has died.
func (a *Arena) idle(t testing.TB) (ready []Outside) {
	t.Helper()
	before := []Outside{{}}
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(40 * time.Millisecond) {
		ready = slices.DeleteFunc(a.Processes(t), func(o Outside) bool { return !o.Executes() })
		if slices.Equal(ready, before) {
			return ready
		}
		before = ready
	}
	t.Error("engine workers are starting all the time")
	return ready
}

// busy is which of those that stood ready are working now.
func (a *Arena) busy(t testing.TB, idle []Outside) (out []Outside) {
	t.Helper()
	for until := time.Now().Add(700 * time.Millisecond); len(out) == 0 && time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		for _, o := range a.Processes(t) {
			if slices.ContainsFunc(idle, func(was Outside) bool { return was.PID == o.PID && was.Born == o.Born && o.Clock >= was.Clock+3 }) {
				out = append(out, o)
			}
		}
	}
	if len(out) == 0 {
		t.Error("nobody is seen to work on the job")
	}
	return out
}

// witness submits a job, has it struck, and writes down what is to be seen.
func (a *Arena) witness(t testing.TB, dataset, sql string, strike func(func() []Outside) []Outside) sight {
	t.Helper()
	op := a.Client(Op(0))
	idle := a.idle(t)
	before, _ := a.Spent(t, Op(0), dataset, "lifetime")
	from := len(a.Logs.String())
	running, err := op.Operator.SubmitJob(t.Context(), Request(Op(0), dataset, sql, 1000))
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	struck := make(chan []Outside, 1)
	go func() { struck <- strike(func() []Outside { return a.busy(t, idle) }) }()
	end := running
	for err == nil && !end.GetDone() {
		end, err = op.Operations.WaitOperation(t.Context(), &longrunningpb.WaitOperationRequest{Name: running.GetName()})
	}
	took := time.Since(begin)
	if err != nil {
		t.Fatal(err)
	}
	if err := gone(<-struck, 5*time.Second); err != nil {
		t.Error(err)
	}
	name := "jobs/" + strings.TrimPrefix(running.GetName(), "operations/")
	job, err := op.Operator.GetJob(t.Context(), &sandgatev1.GetJobRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	_, none := op.Operator.GetRelease(t.Context(), &sandgatev1.GetReleaseRequest{Name: name})
	var ledgered []string
	for _, e := range decoded(t, a.Entries(t)) {
		if e.Failed != nil && e.Failed.Job == strings.TrimPrefix(name, "jobs/") {
			ledgered = append(ledgered, fmt.Sprint(e.Actor, *e.Failed))
		}
	}
	after, _ := a.Spent(t, Op(0), dataset, "lifetime")
	words := fmt.Sprintf("%v\n%s %s\n%s\n%v\n%s", status.ErrorProto(end.GetError()), job.GetState(), job.GetErrorCode(), status.Convert(none).Proto(), ledgered, a.Logs.String()[from:])
	words = passing.ReplaceAllString(jobName.ReplaceAllString(words, "JOB"), "")
	if end.GetError() == nil {
		words = "released"
	} else if code := grpccodes.Code(end.GetError().GetCode()); code != grpccodes.Internal || len(ledgered) != 1 {
		t.Errorf("the job ended as %v, in the ledger as %v", code, ledgered)
	}
	return sight{blankRun.ReplaceAllString(words, " "), took, after - before}
}

// A worker that takes too long over what stands in the data, and one that dies of
// memory, look to the operator like one that somebody outside has killed or
// frozen, and like one whose spawner died: the same words, the same tick, the same
// price. So a failure that was provoked speaks of nobody's rows. Control: without
// ticks the time tells them apart.
func TestAttack08_DeathsLookAlike(t *testing.T) {
	NeedBinary(t)
	const tick, wall = 100 * time.Millisecond, time.Second
	const timeOut = 16 * tick // the first tick after a time-out
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
	// Every row a key of its own: as many groups as rows meet the condition.
	var csv strings.Builder
	csv.WriteString("id,note,fee,age\n")
	for i := range 60_000 {
		fmt.Fprintf(&csv, "u%d,%064d,%d,%d\n", i, i, 11+i%900, i%90)
	}
	a.Add(t, Table{ID: "deaths", CSV: csv.String(), Columns: []Column{{Name: "note", YAML: "type: text", Uses: "private key, filter"}, column("fee", 0, 1000, "measure, filter"), column("age", 0, 100_000, "filter")}})
	restart := func(opt gateway.Options) {
		t.Helper()
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := a.Start(opt); err != nil {
			t.Fatal(err)
		}
	}
	restart(gateway.Options{Tick: -1, Wall: wall})
	asked, sums := 0, 8
	sql := func(where string) string {
		asked++
		text := "SELECT note, COUNT(DISTINCT id) AS n"
		for i := range sums {
			text += fmt.Sprintf(", SUM(fee) FILTER (WHERE age <> %d) AS s%d", 1000+i, i)
		}
		return text + fmt.Sprintf(" FROM deaths WHERE %s AND age <> %d GROUP BY note", where, 2000+asked)
	}
	const everybody, nobody = "fee > 10", "fee > 950"
	nothing := func(func() []Outside) []Outside { return nil }
	// sent strikes whoever works on the job after a while.
	sent := func(after time.Duration, strike func(pid int) error) func(func() []Outside) []Outside {
		return func(busy func() []Outside) []Outside {
			time.Sleep(after)
			hit := busy()
			for _, o := range hit {
				if err := strike(o.PID); err != nil {
					t.Errorf("failed to strike a worker: %v", err)
				}
			}
			return hit
		}
	}
	killed := func(after time.Duration) func(func() []Outside) []Outside {
		return sent(after, func(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) })
	}
	memory := sent(150*time.Millisecond, func(pid int) error {
		return unix.Prlimit(pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}, nil)
	})
	// As much work as takes too long where everybody meets the condition.
	var slow sight
	for ; ; sums *= 2 {
		slow = a.witness(t, "deaths", sql(everybody), nothing)
		if slow.words != "released" {
			break
		}
		if sums == 32 {
			t.Fatalf("the heaviest query is answered in %v", slow.took)
		}
	}
	// Twice that, so that it takes too long in a quick moment, too; and what it costs then.
	sums *= 2
	slow = a.witness(t, "deaths", sql(everybody), nothing)
	full := slow.paid
	if full < 900 || full > 1000 {
		t.Fatalf("the query costs %d of the 1000 offered", full)
	}
	early := a.witness(t, "deaths", sql(everybody), killed(150*time.Millisecond))
	told := slow.took - early.took
	light := a.witness(t, "deaths", sql(nobody), nothing)
	if light.words != "released" || light.took > wall {
		t.Errorf("control: nobody meets the condition, and the job was %.100s after %v", light.words, light.took)
	}
	restart(gateway.Options{Tick: tick, Wall: wall})
	deaths := []death{
		{"time", nothing},
		{"killed", killed(80 * time.Millisecond)},
		{"memory", memory},
		{"killed", killed(500 * time.Millisecond)},
		{"frozen", sent(100*time.Millisecond, func(pid int) error { return syscall.Kill(pid, syscall.SIGSTOP) })},
		{"spawner", func(func() []Outside) []Outside {
			time.Sleep(300 * time.Millisecond)
			return a.Signal(t, syscall.SIGKILL, func(o Outside) bool { return o.Name == "sandgate-spawner" })
		}},
	}
	rng := rand.New(rand.NewPCG(8, 8))
	for range Trials(0, 10) {
		deaths = append(deaths, death{"time", nothing}, death{"killed", killed(time.Duration(rng.IntN(900)) * time.Millisecond)}, death{"memory", memory})
	}
	words, took, seen := map[string][]string{}, map[string][]time.Duration{}, []time.Duration{}
	for _, d := range deaths {
		s := a.witness(t, "deaths", sql(everybody), d.strike)
		words[s.words] = append(words[s.words], d.name)
		took[d.name] = append(took[d.name], s.took)
		seen = append(seen, s.took)
		if s.paid != full {
			t.Errorf("%s: paid %d of %d", d.name, s.paid, full)
		}
	}
	for w, names := range words {
		if len(words) > 1 {
			t.Errorf("%v: %s", names, w)
		}
	}
	// The other ticks are half a time-out's and twice that. What is measured begins when
	// the submission has come back, on a busy machine some way into the job.
	lo, hi := slices.Min(seen), slices.Max(seen)
	onTick := lo >= timeOut*3/4 && hi < timeOut*3/2
	last := a.witness(t, "deaths", sql(nobody), nothing)
	if last.words != "released" || last.took > timeOut/2+tick {
		t.Errorf("after all this a light job is %.100s after %v", last.words, last.took)
	}
	Record(t, Score{Attack: "08 worker dead of time or memory, or killed, frozen, orphaned from outside", Figure: fmt.Sprintf("%d answer(s), seen after %v to %v", len(words), lo.Round(time.Millisecond), hi.Round(time.Millisecond)),
		Bound: fmt.Sprintf("1 answer, on the tick of %v, at full price", timeOut), Control: fmt.Sprintf("without ticks killed and timed out are %v apart; where nobody meets the condition it is answered", told.Round(10*time.Millisecond)),
		Pass: len(words) == 1 && onTick && told > wall/2 && !t.Failed(), Trials: len(deaths), Note: fmt.Sprintf("%d sums; %v", sums, took)})
}
