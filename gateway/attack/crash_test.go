package attack

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger/entry"
)

// traffic is operators that submit all the time, and come back with the same
// request ids to whatever the gateway owes them.
type traffic struct {
	a     *Arena
	price int64
	mu    sync.Mutex
	tries []*try
}

// ask submits once and keeps what it was told; false: the gateway is gone.
func (w *traffic) ask(ctx context.Context, x *try) bool {
	r, err := w.a.Client(x.operator).Run(ctx, x.req)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch why := Reason(err); why {
	case "":
		if x.rel = r; err != nil {
			x.cut++
			return false
		}
	case "BUSY", "WORKERS_DOWN", "OUTCOME_UNKNOWN", "INTERNAL", "LEDGER_STOPPED", "RELEASE_DAMAGED", "SNAPSHOT_DAMAGED": // the last two when a file cannot be opened for now
		// Nothing is decided, or the outcome is still to come: the same request again.
	default:
		x.final = why
	}
	return true
}

// open are the tries of an operator that are not settled.
func (w *traffic) open(operator string) (out []*try) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.tries {
		if x.operator == operator && !x.settled() {
			out = append(out, x)
		}
	}
	return out
}

// fresh is a question that nobody has asked.
func (w *traffic) fresh(operator, dataset string) *try {
	w.mu.Lock()
	defer w.mu.Unlock()
	q := Query(operator, dataset, fmt.Sprintf("SELECT COUNT(*) AS n FROM %s WHERE age <> %d", dataset, 1000+len(w.tries)), w.price)
	x := &try{operator: operator, dataset: dataset, req: &sandgatev1.SubmitJobRequest{RequestId: uuid.NewString(), Query: q}}
	w.tries = append(w.tries, x)
	return x
}

// run lets operators submit, two at a time each, until ctx ends or the gateway is
// gone: first what they are owed, then what is new.
func (w *traffic) run(ctx context.Context, operators int, datasets ...string) *sync.WaitGroup {
	var wg sync.WaitGroup
	for i := range operators {
		owed := w.open(Op(i))
		for lane := range 2 {
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					var x *try
					if at := 2*n + lane; at < len(owed) {
						x = owed[at]
					} else {
						x = w.fresh(Op(i), datasets[(n+lane+i)%len(datasets)])
					}
					if !w.ask(ctx, x) {
						return
					}
				}
			})
		}
	}
	return &wg
}

// settle comes back to everything that is owed, one after the other.
func (w *traffic) settle(t testing.TB, operators int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for i := range operators {
		for _, x := range w.open(Op(i)) {
			for !x.settled() {
				if !w.ask(ctx, x) {
					t.Fatalf("%s is owed an answer and gets none", x.operator)
				}
			}
		}
	}
}

// stillborn starts the real program on the home and kills it at some moment of
// its start.
func (a *Arena) stillborn(t testing.TB, after time.Duration) {
	t.Helper()
	cmd := exec.Command(Binary(), serveArgs(a.Home.Dir, gateway.Options{})...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	below, err := Below(cmd.Process.Pid)
	if err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed, or had ended before
	if err := gone(below, 10*time.Second); err != nil {
		t.Error(err)
	}
}

// The real program dies by SIGKILL at random moments while operators submit, and
// while it starts again; its workers and their spawner die before it now and then.
// On the same home no budget is freed or overspent, no release that an operator
// holds is lost, none is there without its entries, and the regulator's audit
// passes. Control: the same books and the same audit on ledgers in which one
// entry is missing.
func TestAttack14_KilledGateway(t *testing.T) {
	NeedBinary(t)
	const operators, price = 4, 1000
	kills := Trials(8, 40)
	rng := rand.New(rand.NewPCG(14, uint64(time.Now().UnixNano())))
	// A failure is told 1.28 s after its job's start.
	opt := gateway.Options{Wall: time.Second}
	a, err := New(t.TempDir(), opt)
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
	// Of one data set there is enough, the other's budget ends in the middle.
	scarce := int64(3*kills*price + price - 1)
	rule := fmt.Sprintf(`budget: {query: "0.000001", operator_year: "%[1]s", dataset_year: "%[1]s", lifetime: "%[1]s"}`, fmt.Sprintf("0.%09d", scarce))
	for id, rule := range map[string]string{"plenty": "", "scarce": rule} {
		x := noted(id, 400, "n")
		x.Rule, x.Columns[0] = rule, column("age", 0, 1_000_000, "key, filter, measure")
		a.Add(t, x)
	}
	in := newInspector(t, a)
	w := &traffic{a: a, price: price}
	_, plenty := a.Spent(t, Op(0), "plenty", "lifetime")
	accounts := func() books {
		return books{tries: w.tries, price: price, limits: map[string]int64{"plenty": plenty, "scarce": scarce}}
	}
	var before []*sandgatev1.LedgerEntry
	var entries []*entry.Entry
	wrong := map[string]int{}
	note := func(list []string) {
		for _, s := range list {
			wrong[s]++
			t.Error(s)
		}
	}
	receipts := map[string]bool{}
	// inspect looks at a gateway that has come up again.
	inspect := func() map[string]int64 {
		t.Helper()
		now := a.Entries(t)
		for i, e := range before {
			if i >= len(now) || !bytes.Equal(now[i].GetJson(), e.GetJson()) {
				note([]string{"an entry that was seen is gone or another"})
				break
			}
		}
		before, entries = now, decoded(t, now)
		spent, bad := accounts().account(entries)
		note(bad)
		note(strays(t, a, entries))
		for _, dataset := range []string{"plenty", "scarce"} {
			if said, _ := a.Spent(t, Op(0), dataset, "lifetime"); said != spent[dataset] {
				note([]string{"the gateway's budget is not the sum of its reservations"})
			}
		}
		for _, x := range w.tries {
			if x.rel != nil && !receipts[x.job()] {
				receipts[x.job()] = true
				in.keep(t, x.rel)
			}
		}
		dir := in.copied(t)
		note(in.audited(t, dir))
		in.last = dir + "/checkpoint"
		return spent
	}
	workers, spawners, births, orphans := 0, 0, 0, 0
	for kill := range kills {
		ctx, cancel := context.WithCancel(t.Context())
		wg := w.run(ctx, operators, "plenty", "scarce")
		time.Sleep(time.Duration(50+rng.IntN(600)) * time.Millisecond)
		switch kill % 4 {
		case 1: // some of the workers, whatever they are there for
			workers += len(a.Signal(t, syscall.SIGKILL, func(o Outside) bool { return o.Name == "sandgate-worker" && rng.IntN(2) == 0 }))
		case 2: // every engine worker, and time for some failures to be told
			workers += len(a.Signal(t, syscall.SIGKILL, Outside.Executes))
			time.Sleep(1400 * time.Millisecond)
		case 3:
			spawners += len(a.Signal(t, syscall.SIGKILL, func(o Outside) bool { return o.Name == "sandgate-spawner" }))
		}
		if kill%4 > 0 {
			time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
		}
		err := a.Kill()
		cancel()
		wg.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if kill%2 == 1 {
			births++
			a.stillborn(t, time.Duration(rng.IntN(600))*time.Millisecond)
		}
		if err := a.Start(opt); err != nil {
			t.Fatalf("after kill %d: %v", kill+1, err)
		}
		inspect()
		state := map[string]bool{}
		for _, e := range entries {
			switch {
			case e.Reserved != nil:
				state[e.Reserved.Request.Job] = true
			case e.Released != nil:
				delete(state, e.Released.Job)
			case e.Failed != nil:
				delete(state, e.Failed.Job)
			}
		}
		orphans += len(state)
	}
	// Whatever a crash left open is owed still, and paid for once.
	w.settle(t, operators)
	for x := w.fresh(Op(0), "scarce"); x.final == ""; { // what is left of the budget, to its end
		if x.rel != nil {
			x = w.fresh(Op(0), "scarce")
		}
		if !w.ask(t.Context(), x) {
			t.Fatal("the gateway does not answer")
		}
	}
	spent := inspect()
	told, outcome := map[string]int64{}, map[string]int{}
	for _, x := range w.tries {
		switch {
		case x.rel != nil:
			outcome["released"]++
			told[x.dataset] += x.rel.GetPriceNanoRho()
			again, err := a.Client(x.operator).Operator.GetRelease(t.Context(), &sandgatev1.GetReleaseRequest{Name: "jobs/" + x.job()})
			if err != nil || again.GetDigest() != x.rel.GetDigest() {
				note([]string{"an acknowledged release is not answered again"})
			}
		default:
			outcome[x.final]++
			if x.final == "EXECUTION_FAILED" {
				told[x.dataset] += price
			}
		}
	}
	if !maps.Equal(told, spent) {
		note([]string{fmt.Sprintf("operators were told of %v nano-ρ, the ledger holds %v", told, spent)})
	}
	for why := range outcome {
		if !slices.Contains([]string{"released", "EXECUTION_FAILED", "BUDGET_EXHAUSTED"}, why) {
			t.Errorf("%d submissions ended as %s", outcome[why], why)
		}
	}
	if orphans == 0 || outcome["released"] < kills || spent["scarce"] <= scarce-price || outcome["BUDGET_EXHAUSTED"] == 0 {
		t.Errorf("the attack proves little: %d reservations were cut off, %v", orphans, outcome)
	}
	caught, doctored := control(t, in, accounts(), entries)
	Record(t, Score{Attack: "14 gateway killed while operators submit", Figure: fmt.Sprintf("%d kinds of damage; %d nano-ρ told, %d spent", len(wrong), told["plenty"]+told["scarce"], spent["plenty"]+spent["scarce"]),
		Bound: "0; equal", Control: fmt.Sprintf("%d of %d doctored ledgers are found out", caught, doctored), Pass: len(wrong) == 0 && caught == doctored && !t.Failed(), Trials: kills,
		Note: fmt.Sprintf("SIGKILL to %d gateways, %d of them while they started, %d workers and %d spawners; %d reservations cut off; %v of %d submissions", kills+births, births, workers, spawners, orphans, outcome, len(w.tries))})
}

// control doctors the ledger as one who wants budget back would, and has books
// and audit look at it. What the gateway's own keys signed counts as found out
// only if both object; what was merely cut on disk, if the audit does.
func control(t testing.TB, in *inspector, b books, entries []*entry.Entry) (caught, doctored int) {
	t.Helper()
	last := -1
	for i, e := range entries {
		if e.Released != nil {
			last = i
		}
	}
	if last < 0 {
		t.Fatal("control: nothing was released")
	}
	job := entries[last].Released.Job
	without := func(drop func(i int, e *entry.Entry) bool) (out []*entry.Entry) {
		for i, e := range entries {
			if !drop(i, e) {
				again := *e
				again.Seq = uint64(len(out))
				out = append(out, &again)
			}
		}
		return out
	}
	reservation := func(e *entry.Entry) bool { return e.Reserved != nil && e.Reserved.Request.Job == job }
	for what, list := range map[string][]*entry.Entry{
		"a reservation is missing":               without(func(_ int, e *entry.Entry) bool { return reservation(e) }),
		"a job is missing":                       without(func(i int, e *entry.Entry) bool { return i == last || reservation(e) }),
		"the end is missing, from a release on":  without(func(i int, _ *entry.Entry) bool { return i >= last }),
		"a release is missing, its price stands": without(func(i int, _ *entry.Entry) bool { return i == last }),
	} {
		doctored++
		_, wrong := b.account(list)
		found := in.audited(t, in.forged(t, list))
		if len(wrong) == 0 || len(found) == 0 {
			t.Errorf("control: %s: the books say %v, the audit %v", what, wrong, found)
			continue
		}
		caught++
	}
	// The forger's tools themselves are not what gives him away.
	if found := in.audited(t, in.forged(t, entries)); len(found) > 0 {
		t.Errorf("control: an honest ledger written with the forger's tools: %v", found)
	}
	doctored++
	dir := in.copied(t)
	text, err := entry.Encode(entries[slices.IndexFunc(entries, reservation)])
	if err != nil {
		t.Fatal(err)
	}
	if cut(t, dir, string(text)) == 0 {
		t.Fatal("control: no file holds the reservation")
	}
	if found := in.audited(t, dir); len(found) > 0 {
		caught++
	} else {
		t.Error("control: a reservation was cut out of the files and the audit passes")
	}
	return caught, doctored
}
