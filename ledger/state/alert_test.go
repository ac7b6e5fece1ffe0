package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/ledger/entry"
)

func (w *world) alerts(kind AlertKind, o Observed) (out []string) {
	for _, a := range w.s.Alerts(DefaultAlertRules, o, w.now) {
		if a.Kind == kind {
			out = append(out, a.ID)
		}
		if a.ZH == "" || a.EN == "" || a.About == "" || a.At.IsZero() {
			w.t.Errorf("%+v", a)
		}
	}
	return out
}

func (w *world) expect(kind AlertKind, o Observed, want ...string) {
	w.t.Helper()
	if got := w.alerts(kind, o); !slices.Equal(got, want) {
		w.t.Errorf("alerts of %s: %q, want %q", kind, got, want)
	}
}

// Each kind arises by its cause and by nothing less, under an id that stays.
func TestR33_AlertsAreDerived(t *testing.T) {
	w := city(t)
	w.now = time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)
	w.profile()
	if got := w.s.Alerts(DefaultAlertRules, Observed{}, w.now); len(got) > 0 {
		t.Fatalf("a quiet ledger: %+v", got)
	}
	for n := range 20 {
		w.expect(AlertRefusals, Observed{})
		if n < 5 {
			w.expect(AlertOutOfScope, Observed{})
		}
		w.now = w.now.Add(time.Second)
		w.stray()
	}
	w.expect(AlertOutOfScope, Observed{}, "out_of_scope/beta-2026/2026-03-02")
	w.expect(AlertRefusals, Observed{}, "refusals/beta-2026/2026-03-02")
	// Asking goes on: the same event; on another day it is another.
	w.stray()
	w.expect(AlertRefusals, Observed{}, "refusals/beta-2026/2026-03-02")

	for n := range 30 {
		w.expect(AlertEnumeration, Observed{})
		a := w.ask("alpha", fmt.Sprint("near", n), counted("population"))
		w.submit(a, w.entryOf(a).Kind)
	}
	w.expect(AlertEnumeration, Observed{}, "enumeration/alpha-2026/2026-03-02")

	w.policy(cityObjection, "public_security")
	w.expect(AlertDeadline, Observed{})
	w.now = time.Date(2026, 3, 10, 1, 0, 0, 0, time.UTC)
	w.must(w.noted("rule/obj-1/health", "health", "overdue"))
	w.expect(AlertDeadline, Observed{}, "deadline/overdue/rule/obj-1/health")

	w.expect(AlertOrder, Observed{})
	w.policy("kind: Order\nid: o-1\nby: data_bureau\ntarget: {kind: gateway}\nstage: suspend\nreason: {zh: 检查}\nbasis: {zh: 第九条}\n", "data_bureau")
	w.expect(AlertOrder, Observed{}, "order/o-1")

	for _, tier := range []string{"full", "container", "container", "full"} {
		e := w.next(entry.KindStarted, "gateway")
		e.Started = &entry.Started{Tier: tier}
		w.must(e)
	}
	if got := w.alerts(AlertRestart, Observed{}); len(got) != 1 {
		t.Errorf("one start of four was weaker than the one before: %q", got)
	}

	lag := Observed{Published: 7, Since: w.now.Add(-DefaultAlertRules.Lag + time.Millisecond)}
	w.expect(AlertLag, lag)
	lag.Since = lag.Since.Add(-time.Millisecond)
	w.expect(AlertLag, lag, "lag/7")
	w.expect(AlertWitness, Observed{Silent: map[string]time.Time{"archive": w.now.Add(-time.Hour)}}, "witness/archive/2026-03-10")

	w.now = w.now.Add(shown)
	for _, kind := range []AlertKind{AlertRefusals, AlertEnumeration, AlertDeadline, AlertOrder, AlertRestart} {
		w.expect(kind, Observed{})
	}
	w.now = time.Date(2026, 6, 1, 4, 0, 0, 0, time.UTC)
	w.expect(AlertUnused, Observed{}, "unused/beta-2026/2026-03-01")
}

func TestR33_NearlySpentBudgetsAreAlerted(t *testing.T) {
	w := city(t)
	w.limits("public_security", "population", "query: "+rho(1_000_000)+", operator_year: "+rho(1_200_000)+", dataset_year: "+rho(20_000_000)+", lifetime: "+rho(40_000_000))
	w.must(w.snapshotOf("population"))
	w.expect(AlertBudget, Observed{})
	a := w.ask("alpha", "dear", counted("population"))
	a.Request.Price = 1_000_000
	w.submit(a, entry.KindReserved)
	w.expect(AlertBudget, Observed{}, "budget/operator_year/population/alpha/2026/80")
	// The alert is of the entry that spent it, however late it is looked at and whatever
	// is spent after it.
	spent := w.now
	for range 2 {
		for _, x := range w.s.Alerts(DefaultAlertRules, Observed{}, w.now) {
			if x.Kind == AlertBudget && (!strings.Contains(x.EN, "8") || !x.At.Equal(time.UnixMilli(w.s.jobs[w.s.order[0]].At))) {
				t.Errorf("%+v, spent at %v", x, spent)
			}
		}
		w.now = w.now.Add(time.Hour)
		again := w.ask("alpha", "later", counted("population"))
		again.Request.Price = 10_000
		w.submit(again, entry.KindReserved)
	}
	for _, u := range []struct {
		u    BudgetUse
		want int
	}{{BudgetUse{Spent: 1 << 61, Limit: 1 << 62}, 50}, {BudgetUse{Spent: 9, Limit: 10}, 90}, {BudgetUse{}, 100}, {BudgetUse{Spent: 3, Limit: 2}, 100}} {
		if got := u.u.Percent(); got != u.want {
			t.Errorf("%+v: %d%%, want %d%%", u.u, got, u.want)
		}
	}
}
