package attack

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sandgate/sandgate/gateway"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// orderIn is the target and the stage of each order of an entry.
func orderIn(t testing.TB, e *entry.Entry) map[string]policies.Order {
	t.Helper()
	out := map[string]policies.Order{}
	if e.Policy == nil {
		return out
	}
	raw, err := state.Inflate(e.Policy.Envelope)
	if err != nil {
		t.Fatal(err)
	}
	_, payload, err := policies.ParseEnvelope(raw)
	if err != nil {
		t.Fatal(err)
	}
	docs, err := policies.ParseBundle(payload)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		if o, ok := d.Body.(*policies.Order); ok {
			out[o.Target.String()] = *o
		}
	}
	return out
}

// promptly is how soon what an order ends has to be over: a second, and on a machine
// that runs other tests beside this one, before anybody would call it forgotten.
var promptly = func() time.Duration {
	if Full() {
		return time.Second
	}
	return 10 * time.Second
}()

// underOrders reads a ledger as somebody who knows of orders, jobs and verifications
// alone: how many outcomes were released and how many stopped, and what is wrong.
func underOrders(t testing.TB, ledger []*entry.Entry, datasets map[string]string) (released, stopped int, wrong []string) {
	t.Helper()
	held := map[string]int64{} // target → since when, Unix ms
	open := map[string][]string{}
	stops := func(targets []string) (since int64, ok bool) {
		for _, x := range append([]string{"gateway"}, targets...) {
			if at, is := held[x]; is && (!ok || at < since) {
				since, ok = at, true
			}
		}
		return since, ok
	}
	note := func(e *entry.Entry, format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("entry %d: ", e.Seq)+fmt.Sprintf(format, args...))
	}
	begin := func(e *entry.Entry, id, licence, product string) {
		targets := []string{"operator/" + e.Actor, "licence/" + licence, "dataset/" + datasets[licence]}
		if product != "" {
			targets = append(targets, "product/"+product)
		}
		if _, ok := stops(targets); ok {
			note(e, "let in under an order")
		}
		open[id] = targets
	}
	end := func(e *entry.Entry, id string, given bool, rule string) {
		since, ok := stops(open[id])
		switch {
		case open[id] == nil:
			note(e, "the outcome of nothing that is open")
		case given && ok:
			note(e, "released under an order")
		case !given && ok != (rule != ""):
			note(e, "failed under %q, orders in force: %v", rule, ok)
		case ok && e.At > since+promptly.Milliseconds():
			note(e, "ended %d ms after the order", e.At-since)
		}
		if delete(open, id); given {
			released++
		} else if rule != "" {
			stopped++
		}
	}
	for _, e := range ledger {
		for target, o := range orderIn(t, e) {
			if o.Stage == "suspend" {
				held[target] = e.At
			} else {
				delete(held, target)
			}
		}
		switch {
		case e.Reserved != nil:
			begin(e, e.Reserved.Request.Job, e.Reserved.Request.Licence, "")
		case e.VerificationReserved != nil:
			r := e.VerificationReserved.Request
			begin(e, r.Verification, r.Licence, r.Product)
		case e.Released != nil:
			end(e, e.Released.Job, true, "")
		case e.VerificationAnswered != nil:
			end(e, e.VerificationAnswered.Verification, true, "")
		case e.Failed != nil:
			end(e, e.Failed.Job, false, e.Failed.Rule)
		case e.VerificationFailed != nil:
			end(e, e.VerificationFailed.Verification, false, e.VerificationFailed.Rule)
		}
		for id, targets := range open {
			if since, ok := stops(targets); ok && e.At > since+time.Second.Milliseconds() {
				note(e, "%s outlives an order by a second", id)
				delete(open, id)
			}
		}
	}
	if len(open) > 0 {
		wrong = append(wrong, fmt.Sprintf("%d are open at the end", len(open)))
	}
	return released, stopped, wrong
}

// R27: operators submit jobs and ask about persons while orders on every kind of
// target fall and are lifted at random. By the ledger nothing is let in, released or
// answered between an order and its resumption, and what an order met ended within a
// second. Controls: an answer and a release that come one order later are found.
func TestR27_OrdersOnEveryTarget(t *testing.T) {
	a, err := New(t.TempDir(), gateway.Options{Jobs: 4, Wall: 10 * time.Second, Tick: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Stop(); err != nil {
			t.Error(err)
		}
	}()
	a.Add(t, noted("storm", 300, "n"))
	x := newRegister(t, a, "persons", 40, "{subjects_per_month: 1000}")
	x.consent(t, persons(0, 40)...)
	datasets := map[string]string{}
	targets := []string{"gateway", "dataset/storm", "dataset/persons"}
	for i := range verifyOperators {
		targets = append(targets, "operator/"+Op(i), "product/"+x.productID(i, "code"), "product/"+x.productID(i, "below5"))
		for _, id := range []string{"storm", "persons"} {
			targets = append(targets, "licence/"+LicenceID(Op(i), id))
			datasets[LicenceID(Op(i), id)] = id
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	// On a busy machine it takes longer until enough has happened.
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	var outcomes atomic.Int64
	enough := int64(Trials(30, 1000))
	var wg sync.WaitGroup
	odd := func(reason string, err error) bool {
		return !strings.HasSuffix(reason, "_SUSPENDED") && !slices.Contains([]string{"BUSY", "POLICY_CHANGED", "QUESTIONS_EXHAUSTED", "OUTCOME_UNKNOWN"}, reason) &&
			ctx.Err() == nil && status.Code(err) != grpccodes.DeadlineExceeded && status.Code(err) != grpccodes.Canceled
	}
	for i := range verifyOperators {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				_, err := a.Client(Op(i)).Run(ctx, Request(Op(i), "storm", fmt.Sprintf("SELECT COUNT(*) AS n FROM storm WHERE age <> %d", 100+i*1000+n), 1000))
				if err == nil {
					outcomes.Add(1)
				} else if odd(Reason(err), err) {
					t.Errorf("job of %s: %v", Op(i), err)
				}
			}
		})
		for k := range 2 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(seed, uint64(2*i+k)))
				for ctx.Err() == nil {
					product, claim := "code", codeList[rng.IntN(8)]
					if rng.IntN(2) == 0 {
						product, claim = "below5", ""
					}
					if _, reason := x.ask(ctx, i, product, citizen(rng.IntN(40)), claim); reason == "" {
						outcomes.Add(1)
					} else if odd(reason, nil) {
						t.Errorf("verification of %s: %s", Op(i), reason)
					}
				}
			})
		}
	}
	rng := rand.New(rand.NewPCG(seed, 99))
	order := func(n int, by, target, stage string) {
		kind, name, ok := strings.Cut(target, "/")
		if ok {
			name = ", id: " + name
		}
		a.Must(t, fmt.Sprintf("kind: Order\nid: o%d-%s\nby: %s\ntarget: {kind: %s%s}\nstage: %s\nreason: {zh: 测试}\nbasis: {zh: 第九条}\n", n, stage, by, kind, name, stage), by)
	}
	given, fallen := 0, map[string]int{}
	for ctx.Err() == nil {
		target, by := targets[rng.IntN(len(targets))], Regulator
		kind, _, _ := strings.Cut(target, "/")
		if fallen[kind]++; (kind == "dataset" || kind == "licence") && rng.IntN(2) == 0 {
			by = Department // its own data
		}
		given++
		order(given, by, target, "suspend")
		time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
		order(given, by, target, "resume")
		time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
		if outcomes.Load() >= enough && given >= 15 {
			cancel()
		}
	}
	wg.Wait()
	order(given+1, Regulator, "gateway", "suspend") // ends what is open
	var ledger []*entry.Entry
	var released, stopped int
	var wrong []string
	// A verification that the last order met says so itself, a moment later.
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		ledger = decoded(t, a.Entries(t))
		if released, stopped, wrong = underOrders(t, ledger, datasets); len(wrong) == 0 || time.Since(begin) > 20*time.Second {
			break
		}
	}
	for _, w := range wrong {
		t.Error(w)
	}
	last := len(ledger) - 1
	for last > 0 && len(orderIn(t, ledger[last])) == 0 {
		last--
	}
	found := 0
	for _, is := range []func(*entry.Entry) bool{func(e *entry.Entry) bool { return e.Released != nil }, func(e *entry.Entry) bool { return e.VerificationAnswered != nil }} {
		from := slices.IndexFunc(ledger, is)
		if from < 0 {
			t.Fatal("nothing was released or answered")
		}
		late := slices.Insert(slices.Delete(slices.Clone(ledger), from, from+1), last, ledger[from])
		if _, _, wrong := underOrders(t, late, datasets); len(wrong) > 0 {
			found++
		}
	}
	if found != 2 {
		t.Errorf("control: %d of 2 outcomes behind an order are found", found)
	}
	if released < 5 || given < 5 {
		t.Errorf("nothing was tried: %d released, %d stopped by %d orders", released, stopped, given)
	}
	Record(t, Score{Attack: "R27 orders on every target while jobs and verifications run", Figure: len(wrong), Bound: 0, Control: fmt.Sprintf("%d of 2 outcomes moved behind an order are found", found), Pass: !t.Failed(), Trials: released + stopped,
		Note: fmt.Sprintf("%d orders %v, %d outcomes, %d stopped", given, fallen, released, stopped)})
	t.Logf("%d orders %v, %d outcomes, %d stopped by an order", given, fallen, released, stopped)
}
