package state

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// named is a question under the keys of an epoch: who is asked about is committed to
// by the key in force and, where that is another, the one of the year's beginning.
func (w *world) named(op, name, subject, claim, request string, epoch, first int) VerificationAsk {
	a := w.question(op, name, subject, claim, request)
	by := func(n int) string {
		if n == 0 {
			return commitment(subject)
		}
		return commitment(fmt.Sprint(subject, " by key ", n))
	}
	if a.Request.Subject = by(epoch); first < epoch {
		a.Request.Former = by(first)
	}
	return a
}

// R34 R28: a data set that needs consents answers nothing between the rotation of
// their key and its next ingest, others do, and no snapshot of another key is taken.
func TestR34_ConsentEpochs(t *testing.T) {
	w := consentCity(t)
	w.consent("c", "2030-01-01", 1, 2, 3)
	core := algebra.Core{Tables: []algebra.Table{{Dataset: "population"}}}
	facts := func(dataset string) string {
		core.Tables[0].Dataset = dataset
		if _, _, x := w.s.Facts(core); x != nil {
			return x.Code
		}
		return ""
	}
	if x := facts("population"); x != "" {
		t.Fatalf("before: %s", x)
	}
	for what, e := range map[string]*entry.Entry{
		"a rotation by a department":  w.counted("health", entry.KeyConsent, "a", "b", 1),
		"a rotation by an operator":   w.counted("alpha", entry.KeyConsent, "a", "b", 1),
		"a rotation by the gateway":   w.counted("gateway", entry.KeyConsent, "a", "b", 1),
		"a rotation past an epoch":    w.counted("data_bureau", entry.KeyConsent, "a", "b", 2),
		"a rotation without an epoch": w.counted("data_bureau", entry.KeyConsent, "a", "b", 0),
		"a rotation to itself":        w.counted("data_bureau", entry.KeyConsent, "a", "a", 1),
		"the key of consents erased":  {},
	} {
		if what == "the key of consents erased" {
			e = w.next(entry.KindErased, "gateway")
			e.Erased = &entry.Erased{Key: entry.KeyConsent}
		}
		w.refused(what, e, func(*entry.Entry) {})
	}
	w.must(w.counted("data_bureau", entry.KeyConsent, "a", "b", 1))
	w.refused("a second one that does not follow", w.counted("data_bureau", entry.KeyConsent, "a", "c", 2), func(*entry.Entry) {})
	if x := facts("population"); x != "CONSENT_EPOCH" {
		t.Errorf("after: %q", x)
	}
	if x := facts("social_insurance"); x != "" {
		t.Errorf("a data set without consents: %q", x)
	}
	datasets, departments := w.s.ConsentsBefore()
	if !slices.Equal(datasets, []string{"population"}) || !slices.Equal(departments, []string{"public_security"}) {
		t.Errorf("to be made anew: %v by %v", datasets, departments)
	}
	for _, epoch := range []int{0, 2, -1} {
		w.refused(fmt.Sprint("a snapshot of epoch ", epoch), w.snapshotOf("population"), func(e *entry.Entry) { e.Snapshot.ConsentEpoch = epoch })
	}
	w.refused("an epoch where no consents are needed", w.snapshotOf("social_insurance"), func(e *entry.Entry) { e.Snapshot.ConsentEpoch = 1 })
	e := w.snapshotOf("population")
	e.Snapshot.ConsentEpoch = 1
	w.must(e)
	if x := facts("population"); x != "" {
		t.Errorf("ingested again: %q", x)
	}
	if datasets, _ := w.s.ConsentsBefore(); len(datasets) != 0 {
		t.Errorf("left %v", datasets)
	}
	w.replayed()
}

// R34 R28: a rotation gives nobody new questions, bits or subjects. The control is a
// subject who is named anew, with what was counted left behind: the same questions are
// then answered again.
func TestAttack28_CountersOutliveConsentKeys(t *testing.T) {
	w := verifying(t, "{subjects_per_month: 2}")
	w.consentOf("c1", "li", "alpha")
	w.consentOf("c2", "li", "beta")
	ask := func(op, claim string, epoch, first int) string {
		return w.asked(w.named(op, "where", "li", claim, fmt.Sprint(w.s.Size()), epoch, first))
	}
	for _, claim := range []string{"1", "2"} {
		if got := ask("alpha", claim, 0, 0); got != "data" {
			t.Fatalf("%s: %s", claim, got)
		}
	}
	if got := ask("alpha", "3", 0, 0); got != "QUESTIONS_EXHAUSTED" {
		t.Fatalf("a third question: %s", got)
	}
	if got := w.asked(w.named("alpha", "where", "wang", "1", "w", 0, 0)); got != "no_consent" {
		t.Fatalf("wang: %s", got)
	}
	w.must(w.counted("data_bureau", entry.KeyConsent, "a", "b", 1))

	// Nobody is named without the commitment that counts.
	for what, a := range map[string]VerificationAsk{
		"the new key alone": w.named("alpha", "where", "li", "3", "new", 1, 1),
		"the old key alone": w.named("alpha", "where", "li", "3", "old", 0, 0),
	} {
		if w.try(w.decided(a)) == nil {
			t.Errorf("%s is taken", what)
		}
	}
	w.policy("kind: Consent\nid: again\ndepartment: public_security\nsubject: "+w.named("alpha", "where", "li", "", "", 1, 0).Request.Subject+
		"\noperator: beta\npurposes: [urban_planning]\ndatasets: [population]\nnot_before: 2026-01-01\nnot_after: 2030-01-01\ndocument: 柜\n", "public_security")
	for _, c := range []struct{ op, claim, want string }{
		{"alpha", "3", "QUESTIONS_EXHAUSTED"}, {"alpha", "1", "no_consent"}, // his consent to alpha was under the old key
		{"beta", "1", "stored"}, {"beta", "4", "exhausted"},
	} {
		if got := ask(c.op, c.claim, 1, 0); got != c.want {
			t.Errorf("%s asks %s after the rotation: %s, want %s", c.op, c.claim, got, c.want)
		}
	}
	if got := w.asked(w.named("alpha", "where", "zhao", "1", "z", 1, 0)); got != "SUBJECTS_EXHAUSTED" {
		t.Errorf("a third subject of the month: %s", got)
	}
	if got := w.asked(w.named("alpha", "where", "wang", "1", "w2", 1, 0)); got != "no_consent" {
		t.Errorf("a subject who was counted: %s", got)
	}
	// Control: named by another commitment, he has questions left.
	forgotten := w.named("alpha", "where", "li", "3", "forgotten", 1, 0)
	forgotten.Request.Former = commitment("li, counted as somebody else")
	if w.s.verifications.at(w.now).exhausted(forgotten, mustProduct(w, "alpha-where"), "s", "d", policies.VerificationRule{QuestionsPerYear: 2, SubjectsPerMonth: 9}) != nil {
		t.Error("control: the questions are counted by something else")
	}
	// A second rotation in the year counts on by the key of its beginning.
	w.must(w.counted("data_bureau", entry.KeyConsent, "b", "c", 2))
	if got := ask("alpha", "3", 2, 0); got != "QUESTIONS_EXHAUSTED" {
		t.Errorf("after two rotations: %s", got)
	}
	w.replayed()
	// In the next year nothing is left to count by, and old keys name nobody.
	w.now = time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC)
	if w.s.ConsentEpochOf(w.now) != 2 {
		t.Errorf("the year began with epoch %d", w.s.ConsentEpochOf(w.now))
	}
	if w.try(w.decided(w.named("alpha", "where", "li", "3", "late", 2, 0))) == nil {
		t.Error("a commitment under an old key stands in an entry of the next year")
	}
	if got := ask("alpha", "3", 2, 2); got != "no_consent" {
		t.Errorf("next year: %s", got)
	}
}

func mustProduct(w *world, id string) policies.VerificationPredicate {
	p, ok := w.s.Book().Product(id)
	if !ok {
		w.t.Fatalf("no product %s", id)
	}
	return *p.Predicate
}

// R34: an authority is put beside one other at most, and retired by the regulator
// alone, once.
func TestR34_AuthorityEpochs(t *testing.T) {
	w := city(t)
	retired := func(actor string, epoch int) *entry.Entry {
		e := w.next(entry.KindErased, actor)
		e.Erased = &entry.Erased{Key: entry.KeyCA, Epoch: epoch}
		return e
	}
	keep := func(*entry.Entry) {}
	w.refused("a retirement before a rotation", retired("data_bureau", 0), keep)
	for _, actor := range []string{"alpha", "health", "gateway"} {
		w.refused("a rotation by "+actor, w.counted(actor, entry.KeyCA, "a", "b", 1), keep)
	}
	w.must(w.counted("data_bureau", entry.KeyCA, "a", "b", 1))
	w.refused("a third authority", w.counted("data_bureau", entry.KeyCA, "b", "c", 2), keep)
	for _, actor := range []string{"alpha", "health", "gateway"} {
		w.refused("a retirement by "+actor, retired(actor, 0), keep)
	}
	w.refused("a retirement of the one in force", retired("data_bureau", 1), keep)
	w.must(retired("data_bureau", 0))
	w.refused("a second retirement", retired("data_bureau", 0), keep)
	if w.s.OldestAuthority() != 1 || w.s.OldestToken() != 0 {
		t.Errorf("oldest: authority %d, token %d", w.s.OldestAuthority(), w.s.OldestToken())
	}
	w.must(w.counted("data_bureau", entry.KeyCA, "b", "c", 2))
	w.replayed()
}
