package state

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

const cityObjection = `kind: Objection
id: obj-1
by: public_security
official: ps-desk
dataset: visits
receipt: r-2026-0017
ground: {zh: 当事人认为其信息被不当使用}
`

func ruling(outcome string) string {
	return "kind: Ruling\nobjection: obj-1\nby: health\nofficials: [h-one, h-two]\noutcome: " + outcome + "\nreason: {zh: 核实}\nbasis: {zh: 依据}\nanswer: {zh: 已答复}\n"
}

func (w *world) profile() { w.policy(load(w.t, "profiles/chifeng.yaml"), "data_bureau") }

func (w *world) noted(duty, owes string, phase policies.DutyPhase) *entry.Entry {
	e := w.next(entry.KindDutyNoted, "gateway")
	e.DutyNoted = &entry.DutyNoted{Duty: duty, Phase: phase, Owes: owes}
	return e
}

func visits() *algebra.Core {
	diagnosis := algebra.Col{Name: "diagnosis", Type: algebra.Type{Kind: algebra.Text}}
	return &algebra.Core{Tables: []algebra.Table{{Dataset: "visits"}}, Keys: []algebra.Col{diagnosis}, Aggs: []algebra.Agg{{Func: algebra.CountRows}}}
}

// A job on the data set is refused from the entry of the objection on, and
// decided as before after the ruling.
func TestR25_ObjectionStopsJobsOfTheDataset(t *testing.T) {
	w := city(t)
	w.profile()
	ask := func(text string) Ask {
		a := w.ask("alpha", text, visits())
		a.Request.Purpose = "public_health"
		return a
	}
	w.submit(ask("q1"), entry.KindReserved)
	w.policy(cityObjection, "public_security")
	if got := w.codes(ask("q2")); !slices.Contains(got, "DATASET_SUSPENDED") {
		t.Errorf("refused for %q", got)
	}
	w.submit(ask("q2"), entry.KindRefused)
	// Process and resume: only after the department ingested anew.
	e := w.next(entry.KindPolicy, "health")
	e.Policy = policyOf(t, ruling("process"), "health")
	if err := w.try(e); err == nil || !strings.Contains(err.Error(), "process it first") {
		t.Fatalf("ruled without new data: %v", err)
	}
	w.now = w.now.Add(time.Hour)
	w.must(w.snapshotOf("visits"))
	w.policy(ruling("process"), "health")
	w.submit(ask("q3"), entry.KindReserved)
}

func TestR24_DutiesAreNotedOnceAndOnlyWhenTrue(t *testing.T) {
	w := city(t)
	w.now = time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC) // Monday
	w.profile()
	w.policy(cityObjection, "public_security") // rule: 5 working days, until the end of Monday the ninth
	duty := "rule/obj-1/health"
	if _, err := w.s.NextNote(w.now); !errors.Is(err, ErrNothingDue) {
		t.Fatalf("something is to be noted at once: %v", err)
	}
	refuse := func(why string, e *entry.Entry) {
		t.Helper()
		before := picture(t, w.s)
		if err := w.try(e); err == nil {
			t.Errorf("%s: accepted", why)
		}
		if picture(t, w.s) != before {
			t.Errorf("%s: the state changed", why)
		}
	}
	refuse("a reminder too early", w.noted(duty, "health", policies.PhaseRemind))
	refuse("an open duty", w.noted(duty, "health", policies.PhaseOpen))
	for _, x := range []struct {
		days  int
		phase policies.DutyPhase
	}{{7, policies.PhaseRemind}, {8, policies.PhaseOverdue}, {9, policies.PhaseEscalated}} {
		w.now = time.Date(2026, 3, 2+x.days, 1, 0, 0, 0, time.UTC)
		n, err := w.s.NextNote(w.now)
		if err != nil || n != (entry.DutyNoted{Duty: duty, Phase: x.phase, Owes: "health"}) {
			t.Fatalf("day %d: %v %v", x.days, n, err)
		}
		refuse("another phase", w.noted(duty, "health", map[policies.DutyPhase]policies.DutyPhase{policies.PhaseRemind: policies.PhaseOverdue, policies.PhaseOverdue: policies.PhaseEscalated, policies.PhaseEscalated: policies.PhaseRemind}[x.phase]))
		refuse("another party", w.noted(duty, "hrss", x.phase))
		refuse("another duty", w.noted("rule/obj-9/health", "health", x.phase))
		by := w.noted(duty, "health", x.phase)
		by.Actor = "health"
		refuse("not by the gateway", by)
		w.must(w.noted(duty, "health", x.phase))
		refuse("twice", w.noted(duty, "health", x.phase))
		if _, err := w.s.NextNote(w.now); !errors.Is(err, ErrNothingDue) {
			t.Errorf("day %d: more is to be noted: %v", x.days, err)
		}
	}
	w.policy(ruling("resume"), "health")
	if d := w.s.Duties(w.now); len(d) > 0 {
		t.Errorf("%v", d)
	}
	if n := w.s.Noted(); len(n) != 3 || n[2].Phase != policies.PhaseEscalated {
		t.Errorf("%v", n)
	}
}

func kinds(duties []policies.Duty, kind policies.DutyKind) (out []string) {
	for _, d := range duties {
		if d.Kind == kind {
			out = append(out, d.ID)
		}
	}
	return out
}

func TestR27_UnusedGrantsAreShown(t *testing.T) {
	w := city(t) // licences take effect at the first of March, noon in China
	if len(w.s.Unused(w.now.AddDate(1, 0, 0))) > 0 {
		t.Error("shown without a profile")
	}
	w.profile()
	limit := time.Date(2026, 6, 1, 4, 0, 0, 0, time.UTC)
	if got := kinds(w.s.Duties(limit.Add(-time.Millisecond)), policies.DutyUnused); len(got) > 0 {
		t.Errorf("shown too early: %q", got)
	}
	// alpha-2024 has expired: it is no grant.
	if got := kinds(w.s.Duties(limit), policies.DutyUnused); !slices.Equal(got, []string{"unused/alpha-2026/2026-03-01", "unused/beta-2026/2026-03-01"}) {
		t.Errorf("shown %q", got)
	}
	w.now = time.Date(2026, 5, 30, 0, 0, 0, 0, time.UTC)
	w.submit(w.ask("alpha", "q", counted("population")), entry.KindReserved)
	wrong := w.ask("beta", "q", counted("population"))
	w.submit(wrong, entry.KindRefused) // a refusal is no use
	if got := kinds(w.s.Duties(limit), policies.DutyUnused); !slices.Equal(got, []string{"unused/beta-2026/2026-03-01"}) {
		t.Errorf("shown %q", got)
	}
	again := limit.AddDate(0, 3, 0)
	if got := kinds(w.s.Duties(again), policies.DutyUnused); len(got) != 2 || got[0] != "unused/alpha-2026/2026-05-30" && got[1] != "unused/alpha-2026/2026-05-30" {
		t.Errorf("shown %q", got)
	}
}

func TestR27_BurstsOutsideALicenceAreShown(t *testing.T) {
	w := city(t)
	w.profile() // five within 24 hours
	stray := func() {
		w.submit(w.ask("beta", "q", counted("population")), entry.KindRefused) // a data set that beta has no licence for
	}
	for range 4 {
		stray()
	}
	foreign := w.ask("beta", "q", counted("population"))
	foreign.Request.Licence = "alpha-2026"
	for range 6 {
		foreign.Request.Request = "foreign-" + time.Duration(w.s.Size()).String()
		foreign.Request.Job = JobID("beta", foreign.Request.Request)
		w.submit(foreign, entry.KindRefused)
	}
	if b := w.s.Bursts(w.now); len(b) > 0 {
		t.Fatalf("shown after four, or for somebody else's licence: %v", b)
	}
	w.now = w.now.Add(24*time.Hour + time.Millisecond)
	stray()
	if b := w.s.Bursts(w.now); len(b) > 0 {
		t.Errorf("five attempts in more than the hours given: %v", b)
	}
	for range 4 {
		stray()
	}
	if got := kinds(w.s.Duties(w.now), policies.DutyBurst); !slices.Equal(got, []string{"burst/beta-2026/2026-03-02"}) {
		t.Errorf("shown %q", got)
	}
	for _, d := range w.s.Duties(w.now) {
		if d.Kind == policies.DutyBurst && (d.Owes != "data_bureau" || d.Phase != policies.PhaseEscalated) {
			t.Errorf("%+v", d)
		}
	}
	if b := w.s.Bursts(w.now.Add(shown)); len(b) > 0 {
		t.Errorf("shown for ever: %v", b)
	}
	// Many more are remembered only so far.
	for range 120 {
		stray()
	}
	if n := len(w.s.desk.stray["beta-2026"]); n != mostStrays {
		t.Errorf("%d attempts are kept", n)
	}
}
