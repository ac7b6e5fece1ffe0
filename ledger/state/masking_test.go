package state

import (
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/ledger/entry"
)

func (w *world) assessed(change func(*entry.Risk)) *entry.Entry {
	snap, _ := w.s.Snapshot("visits")
	e := w.next(entry.KindRisk, "health")
	e.Risk = &entry.Risk{Dataset: "visits", Snapshot: snap.Snapshot, Spec: snap.Spec, Quasi: []string{"hospital", "visit_date"}, Sensitive: []string{"diagnosis"},
		Model: "controlled", Context: "0.1", Least: 5, Overall: "0.05", Level: "L3", Within: true, Figures: strings.Repeat("ab", 32)}
	if change != nil {
		change(e.Risk)
	}
	e.Signed = w.act("health", ActRisk(e.Risk))
	return e
}

const conversion = `kind: Conversion
dataset: visits
from: enclave
to: controlled
assessment: @
basis: {zh: 依据}
`

// TestR20_ConversionRestsOnTheLatestAssessment: the ledger takes an assessment only
// of the snapshot in force by its department, and a conversion only on the latest
// one, within the thresholds of the wider model.
func TestR20_ConversionRestsOnTheLatestAssessment(t *testing.T) {
	w := city(t)
	for name, change := range map[string]func(*entry.Risk){
		"another snapshot":    func(r *entry.Risk) { r.Snapshot = strings.Repeat("0", 64) },
		"another spec":        func(r *entry.Risk) { r.Spec = strings.Repeat("0", 64) },
		"no such data set":    func(r *entry.Risk) { r.Dataset = "ghosts" },
		"another's":           func(r *entry.Risk) { r.Dataset = "population" },
		"unknown column":      func(r *entry.Risk) { r.Quasi = []string{"ghost"} },
		"the unit":            func(r *entry.Risk) { r.Quasi = []string{"id_number"} },
		"column twice":        func(r *entry.Risk) { r.Sensitive = r.Quasi },
		"unknown model":       func(r *entry.Risk) { r.Model = "friends" },
		"context":             func(r *entry.Risk) { r.Context = "1.1" },
		"context in words":    func(r *entry.Risk) { r.Context = "low" },
		"milder threshold":    func(r *entry.Risk) { r.Least = 3 },
		"milder overall":      func(r *entry.Risk) { r.Overall = "0.5" },
		"L2 and within":       func(r *entry.Risk) { r.Level = "L2" },
		"L3 and not within":   func(r *entry.Risk) { r.Within = false },
		"L4 with identifiers": func(r *entry.Risk) { r.Level = "L4" },
		"no commitment":       func(r *entry.Risk) { r.Figures = "" },
	} {
		if err := w.try(w.assessed(change)); err == nil {
			t.Errorf("%s is recorded", name)
		}
	}
	for _, actor := range []string{"alpha", "data_bureau", "hrss", "gateway"} {
		e := w.assessed(nil)
		e.Actor = actor
		if err := w.try(e); err == nil {
			t.Errorf("%s records an assessment", actor)
		}
	}
	both := []string{"health", "data_bureau"}
	try := func(id string, change func(string) string, signers ...string) error {
		text := strings.Replace(conversion, "@", id, 1)
		if change != nil {
			text = change(text)
		}
		e := w.next(entry.KindPolicy, signers[0])
		e.Policy = policyOf(t, text+"# "+id+strings.Join(signers, " ")+"\n", signers...)
		return w.try(e)
	}
	refused := func(what string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	refused("nothing assessed", try("risk-1", nil, both...), "no risk assessment")
	first := w.assessed(func(r *entry.Risk) { r.Level, r.Within = "L2", false })
	w.must(first)
	refused("above the threshold", try(RiskID(first.Seq), nil, both...), "above the thresholds")
	second := w.assessed(nil)
	w.must(second)
	id := RiskID(second.Seq)
	refused("not the latest", try(RiskID(first.Seq), nil, both...), "not the latest")
	refused("department alone", try(id, nil, "health"), "signatures")
	refused("regulator alone", try(id, nil, "data_bureau"), "signatures")
	refused("another department", try(id, nil, "hrss", "data_bureau"), "signatures")
	swap := func(from, to string) func(string) string {
		return func(s string) string { return strings.Replace(s, from, to, 1) }
	}
	refused("assessed for less", try(id, swap("to: controlled", "to: public"), both...), "assess for that")
	refused("narrower", try(id, swap("from: enclave", "from: public"), both...), "wider one")
	refused("unknown model", try(id, swap("to: controlled", "to: friends"), both...), "wider one")
	refused("no basis", try(id, swap("zh: 依据", "en: because"), both...), "basis.zh")
	refused("no data set", try(id, swap("dataset: visits", "dataset: ghosts"), both...), `"ghosts"`)
	stale := w.forked(t)
	stale.must(stale.snapshotOf("visits"))
	if _, ok := stale.s.Book().Assessed("visits"); ok {
		t.Error("a new snapshot keeps the assessment of the old one")
	}
	e := stale.next(entry.KindPolicy, "health")
	e.Policy = policyOf(t, strings.Replace(conversion, "@", id, 1), both...)
	refused("a new snapshot", stale.try(e), "no risk assessment")
	if err := try(id, nil, both...); err != nil {
		t.Fatal(err)
	}
	if done := w.s.Book().Conversions("visits"); len(done) != 1 || done[0].To != "controlled" || done[0].Assessment != id {
		t.Errorf("%+v", done)
	}
	refused("from where it no longer is", try(id, swap("basis", "# again\nbasis"), both...), "was converted to controlled last")
	// A replay of the same entries decides the same.
	again := New()
	for _, e := range w.entries {
		text, err := entry.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Apply(e.Seq, text); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(again.Book().Conversions("visits"), w.s.Book().Conversions("visits")) {
		t.Error("a replay converts otherwise")
	}
	if a, ok := again.Book().Assessed("visits"); !ok || a.ID != id || a.Model != "controlled" || a.Spec != second.Risk.Spec {
		t.Errorf("%+v", a)
	}
	if _, ok := again.Book().Assessed("population"); ok {
		t.Error("what was not assessed is")
	}
}
