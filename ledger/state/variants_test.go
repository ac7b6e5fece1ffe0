package state

import (
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// districts puts rules about population.district in force.
func (w *world) districts(rules string) {
	w.t.Helper()
	text := load(w.t, "city/public_security.yaml")
	at := strings.Index(text, "kind: Masking")
	end := at + strings.Index(text[at:], "---")
	w.policy(text[at:end]+"rules:\n"+rules, "public_security")
}

// seenBy is the count by district as alpha asks it under a purpose.
func (w *world) seenBy(purpose, text string) Ask {
	w.t.Helper()
	e, _ := w.s.Book().Dataset("population")
	v, err := e.View(purpose, "alpha")
	if err != nil {
		w.t.Fatal(err)
	}
	core, refused := policies.Remask(*counted("population"), []policies.View{v})
	if refused != nil {
		w.t.Fatal(refused)
	}
	a := w.ask("alpha", text, &core)
	a.Request.Purpose = purpose
	return a
}

const cityAreas = "  - {id: areas, dataset: population, columns: [district], purposes: [public_health], mask: {op: area, digits: 4}}\n"

// TestR20R30_HiddenColumnsAreDecidedAgain: the ledger takes a snapshot with exactly the
// hidden columns that the rules demand, decides by it what a purpose sees, and a
// replay comes to the same.
func TestR20R30_HiddenColumnsAreDecidedAgain(t *testing.T) {
	w := city(t)
	w.districts(cityAreas)
	if got := w.codes(w.seenBy("public_health", "q")); !slices.Equal(got, []string{"MASK_RULE"}) {
		t.Fatalf("a rule newer than the snapshot: %v", got)
	}
	w.submit(w.seenBy("urban_planning", "q"), entry.KindReserved) // the others go on
	for name, variants := range map[string][]string{"none": nil, "another": {"_m_district_000000000000"}, "one more": append(mustEntry(w, "population").VariantNames(), "_m_x_000000000000")} {
		e := w.snapshotOf("population")
		e.Snapshot.Variants = variants
		if err := w.try(e); err == nil || !strings.Contains(err.Error(), "POLICY_CHANGED") {
			t.Errorf("a snapshot with %s of the hidden columns: %v", name, err)
		}
	}
	w.must(w.snapshotOf("population"))
	finer, coarser := w.seenBy("urban_planning", "fine"), w.seenBy("public_health", "coarse")
	if string(finer.Request.Core.Bytes()) == string(coarser.Request.Core.Bytes()) {
		t.Fatal("two granularities, one form")
	}
	// What was decided for the one purpose cannot be recorded for the other.
	forged := w.entryOf(finer)
	forged.Reserved.Request.Purpose = "public_health"
	if err := w.try(forged); err == nil {
		t.Error("the stored column is reserved under the stricter purpose")
	}
	w.must(w.released(w.submit(finer, entry.KindReserved)))
	w.must(w.released(w.submit(w.seenBy("public_health", "coarse"), entry.KindReserved)))

	// Equal masks are one question, whatever the purpose.
	w.districts(cityAreas + "  - {id: plans, dataset: population, columns: [district], purposes: [urban_planning], mask: {op: area, digits: 4}}\n")
	w.submit(w.seenBy("urban_planning", "coarse"), entry.KindRepeated)
	if got := w.codes(w.askPlain("urban_planning")); !slices.Equal(got, []string{"MASK_RULE"}) {
		t.Errorf("the stored column after the rule: %v", got)
	}

	again := New()
	for i, e := range w.entries {
		if err := again.ApplyEntry(uint64(i), copied(t, e)); err != nil {
			t.Fatalf("replay: %v", err)
		}
	}
	if picture(t, again) != picture(t, w.s) {
		t.Error("a replay comes to another state")
	}
	e, _ := again.Book().Dataset("population")
	if len(e.Held) != 1 {
		t.Errorf("hidden columns after the replay: %v", e.Held)
	}
}

func (w *world) askPlain(purpose string) Ask {
	a := w.ask("alpha", "plain", counted("population"))
	a.Request.Purpose = purpose
	return a
}

// TestR20_PseudonymKeysAreRecorded: which keys are re-keyed for an agreement stands in
// the reservation and is decided again.
func TestR20_PseudonymKeysAreRecorded(t *testing.T) {
	w := city(t)
	w.policy(strings.Replace(load(t, "city/health.yaml"), "visit_date: {op: month}", "visit_date: {op: month}\n    diagnosis_detail: {op: pseudonym}", 1), "health")
	w.must(w.snapshotOf("visits"))
	core := visits()
	text := algebra.Type{Kind: algebra.Text}
	core.Keys = []algebra.Col{{Name: "diagnosis", Type: text}, {Name: "diagnosis_detail", Type: text}}
	a := w.ask("alpha", "details", core)
	a.Request.Purpose = "public_health"
	e := w.entryOf(a)
	if e.Reserved == nil || !slices.Equal(e.Reserved.Pseudonyms, []int{1}) {
		t.Fatalf("%+v %+v", e.Reserved, e.Refused)
	}
	for name, keys := range map[string][]int{"none": nil, "another": {0}, "both": {0, 1}} {
		bad := copied(t, e)
		bad.Reserved.Pseudonyms = keys
		if err := w.try(bad); err == nil {
			t.Errorf("a reservation that re-keys %s of the keys is taken", name)
		}
	}
	w.must(e)
	core.Where = &algebra.Pred{Op: algebra.OpEq, Col: &core.Keys[1], Values: []algebra.Value{{Type: text, Redacted: true}}}
	b := w.ask("alpha", "one", core)
	b.Request.Purpose = "public_health"
	if got := w.codes(b); !slices.Equal(got, []string{"PSEUDONYM_LITERAL"}) {
		t.Errorf("a literal beside a pseudonym: %v", got)
	}
}
