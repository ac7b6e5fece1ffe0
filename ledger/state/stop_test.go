package state

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

func order(id, by, target, stage string) string {
	t, err := policies.ParseTarget(target)
	if err != nil {
		panic(err)
	}
	name := ""
	if t.ID != "" {
		name = ", id: " + t.ID
	}
	return fmt.Sprintf("kind: Order\nid: %s\nby: %s\ntarget: {kind: %s%s}\nstage: %s\nreason: {zh: 由}\nbasis: {zh: 据}\n", id, by, t.Kind, name, stage)
}

func TestR27_NothingIsReleasedUnderAHold(t *testing.T) {
	for target, code := range map[string]string{"gateway": "GATEWAY_SUSPENDED", "operator/alpha": "OPERATOR_SUSPENDED", "licence/alpha-2026": "LICENCE_SUSPENDED", "dataset/population": "DATASET_SUSPENDED"} {
		w := ready(t)
		job := jobOf(w, "q1b")
		if w.s.Stopped(w.s.Book(), job, w.now) != nil || !slices.Contains(w.s.Open(), job) {
			t.Fatal("the open job is stopped before any order")
		}
		w.policy(order("s1", "data_bureau", target, "suspend"), "data_bureau")
		before := picture(t, w.s)
		if err := w.try(w.released(job)); err == nil || !strings.Contains(err.Error(), code) || picture(t, w.s) != before {
			t.Errorf("%s: released under a hold: %v", target, err)
		}
		f := w.s.Stopped(w.s.Book(), job, w.now)
		if f == nil || *f != (entry.Failed{Job: job, Code: code, By: "data_bureau", Rule: "order/s1"}) {
			t.Fatalf("%s: %+v", target, f)
		}
		// The failure that names the order is decided again.
		for name, change := range map[string]func(*entry.Failed){
			"another order": func(f *entry.Failed) { f.Rule = "order/s2" },
			"another code":  func(f *entry.Failed) { f.Code = "EXECUTION_FAILED" },
			"another party": func(f *entry.Failed) { f.By = "health" },
		} {
			e := w.next(entry.KindFailed, "gateway")
			bad := *f
			change(&bad)
			e.Failed = &bad
			if err := w.try(e); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
		w.policy(order("r1", "data_bureau", target, "resume"), "data_bureau")
		e := w.next(entry.KindFailed, "gateway")
		e.Failed = f
		if err := w.try(e); err == nil {
			t.Errorf("%s: a job is stopped by an order that was lifted", target)
		}
		// Lifted while the reservation stands, the job may be released after all.
		w.must(w.released(job))
		if len(w.s.Open()) != 0 {
			t.Errorf("open: %v", w.s.Open())
		}
	}
}

func TestR06_ExpiryStopsWithTheLicence(t *testing.T) {
	w := ready(t)
	job := jobOf(w, "q1b")
	l, _ := w.s.Book().Licence("alpha-2026")
	if w.s.Stopped(w.s.Book(), job, l.NotAfter.Add(-time.Millisecond)) != nil {
		t.Error("stopped before its end")
	}
	f := w.s.Stopped(w.s.Book(), job, l.NotAfter)
	if f == nil || f.Code != LicenceEnded || f.Rule != "licence/alpha-2026" {
		t.Fatalf("%+v", f)
	}
	w.now = l.NotAfter
	if err := w.try(w.released(job)); err == nil {
		t.Error("released at the licence's end")
	}
	e := w.next(entry.KindFailed, "gateway")
	e.Failed = f
	w.must(e)
	if j, _ := w.s.Job(job); j.FailRule != f.Rule || j.FailCode != LicenceEnded {
		t.Errorf("%+v", j)
	}
}

// Whatever the order of events, the ledger holds no release of a job whose target
// an order held at that instant; a reference that knows nothing of the book but the
// orders says which.
func TestR27_RandomOrdersAgainstAReference(t *testing.T) {
	released, refused := 0, 0
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := city(t)
		held := map[string]bool{}
		targets := map[string][]string{
			"alpha": {"gateway", "operator/alpha", "licence/alpha-2026", "dataset/social_insurance"},
			"beta":  {"gateway", "operator/beta", "licence/beta-2026", "dataset/social_insurance"},
		}
		all := []string{"gateway", "operator/alpha", "operator/beta", "licence/alpha-2026", "licence/beta-2026", "dataset/social_insurance", "dataset/population"}
		stopped := func(op string) bool {
			return slices.ContainsFunc(targets[op], func(x string) bool { return held[x] })
		}
		var open []string
		owner := map[string]string{}
		for i := range 120 {
			w.now = w.now.Add(time.Second)
			switch rng.IntN(4) {
			case 0:
				x := all[rng.IntN(len(all))]
				if !held[x] && rng.IntN(3) > 0 {
					continue
				}
				stage := map[bool]string{true: "resume", false: "suspend"}[held[x]]
				w.policy(order(fmt.Sprintf("x%d", i), "data_bureau", x, stage), "data_bureau")
				held[x] = !held[x]
			case 1:
				op := []string{"alpha", "beta"}[rng.IntN(2)]
				e := w.entryOf(w.ask(op, fmt.Sprint(seed, i), counted("social_insurance")))
				if (e.Kind == entry.KindRefused) != stopped(op) {
					t.Fatalf("seed %d: %s decided while stopped is %v: %+v", seed, e.Kind, stopped(op), e.Refused)
				}
				w.must(e)
				if e.Reserved != nil {
					open, owner[e.Reserved.Request.Job] = append(open, e.Reserved.Request.Job), op
				}
			default:
				if len(open) == 0 {
					continue
				}
				k := rng.IntN(len(open))
				job := open[k]
				err := w.try(w.released(job))
				if (err != nil) != stopped(owner[job]) {
					t.Fatalf("seed %d: release while stopped is %v: %v", seed, stopped(owner[job]), err)
				}
				if f := w.s.Stopped(w.s.Book(), job, w.now); (f != nil) != (err != nil) {
					t.Fatalf("seed %d: Stopped says %v, the release %v", seed, f, err)
				}
				if err != nil {
					refused++
				} else {
					released++
					open = slices.Delete(open, k, k+1)
				}
			}
		}
	}
	if released < 20 || refused < 20 {
		t.Errorf("the orders try nothing: %d released, %d refused", released, refused)
	}
}
