package state

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// consentCity is the city where the registered population is asked first.
func consentCity(t testing.TB) *world {
	t.Helper()
	w := city(t)
	text := load(t, "city/public_security.yaml")
	w.policy(strings.Replace(text, "    one_row_per_unit: true\n", "    one_row_per_unit: true\n    consent: required\n", 1), "public_security")
	w.must(w.snapshotOf("population"))
	return w
}

func subjectNumber(i int) policies.SubjectKey { return policies.SubjectKey{byte(i >> 8), byte(i), 7} }

func wholeSubject(i int) string {
	k := subjectNumber(i)
	return hex.EncodeToString(k[:]) + strings.Repeat("0", 32)
}

func (w *world) consent(id, until string, subjects ...int) {
	w.t.Helper()
	var keys []policies.SubjectKey
	for _, i := range subjects {
		keys = append(keys, subjectNumber(i))
	}
	w.policy(fmt.Sprintf("kind: Consent\nid: %s\ndepartment: public_security\nsubjects: %s\nlicence: alpha-2026\npurposes: [urban_planning]\ndatasets: [population]\nnot_before: 2026-01-01\nnot_after: %s\ndocument: 柜\n",
		id, policies.JoinSubjects(keys), until), "public_security")
}

func (w *world) subjects(job string) int {
	uses := w.s.Consents(job)
	if len(uses) != 1 || uses[0].Dataset != "population" {
		w.t.Fatalf("consents of %d data sets", len(uses))
	}
	return len(uses[0].Subjects())
}

// replayed applies all entries to an empty state, as an auditor does.
func (w *world) replayed() {
	w.t.Helper()
	s := New()
	for _, e := range w.entries {
		text, err := entry.Encode(e)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := s.Apply(e.Seq, text); err != nil {
			w.t.Fatal(err)
		}
	}
	if picture(w.t, s) != picture(w.t, w.s) {
		w.t.Error("a replay leads elsewhere")
	}
	for _, job := range w.s.Open() {
		if !reflect.DeepEqual(s.Consents(job), w.s.Consents(job)) {
			w.t.Error("a replay finds other consents for an open job")
		}
	}
}

// What the ledger says of a query, and what its operator is told, is the same to the
// last byte whether nobody, one or many consented; and no answer stands for another.
func TestR28_NothingTellsHowManyConsent(t *testing.T) {
	w := consentCity(t)
	said := func() string {
		a := w.ask("alpha", "q", counted("population"))
		a.Request.Job, a.Request.Request = "", ""
		text, err := json.Marshal(w.s.Decide(a))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	none := said()
	job := w.submit(w.ask("alpha", "q", counted("population")), entry.KindReserved)
	if n := w.subjects(job); n != 0 {
		t.Errorf("nobody consented and %d are read", n)
	}
	w.must(w.released(job))
	w.consent("c1", "2027-01-01", 1, 2, 3)
	if x := said(); x != none {
		t.Errorf("the decision depends on consents, or an answer is repeated:\n%s\n%s", none, x)
	}
	again := w.submit(w.ask("alpha", "q", counted("population")), entry.KindReserved)
	if n := w.subjects(again); n != 3 {
		t.Errorf("%d of 3 are read", n)
	}
	w.must(w.released(again))
	w.submit(w.ask("alpha", "q", counted("population")), entry.KindReserved)
	// The control: where no consent is needed, the second answer repeats the first.
	other := w.submit(w.ask("alpha", "p", counted("social_insurance")), entry.KindReserved)
	w.must(w.released(other))
	w.submit(w.ask("alpha", "p", counted("social_insurance")), entry.KindRepeated)
	w.replayed()
}

// A job whose consents do not all stand to its end is not released; the failure that
// says so is decided again, and consents that come do no harm.
func TestR28_WithdrawalStopsTheJob(t *testing.T) {
	for name, c := range map[string]struct {
		change func(w *world)
		stops  bool
	}{
		"another consent":      {func(w *world) { w.consent("c2", "2027-01-01", 3, 4) }, false},
		"another's withdrawal": {func(w *world) { w.withdraw("c9", "") }, false},
		"the list withdrawn":   {func(w *world) { w.withdraw("c1", "") }, true},
		"one of the list":      {func(w *world) { w.withdraw("c1", wholeSubject(2)) }, true},
		"one, wherever named":  {func(w *world) { w.withdraw("", wholeSubject(2)) }, true},
		"the end of its term":  {func(w *world) { w.now = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC) }, true},
	} {
		w := consentCity(t)
		w.consent("c1", "2026-06-01", 1, 2, 3)
		w.consent("c8", "2027-01-01", 1)
		w.policy(strings.Replace("kind: Consent\nid: c9\ndepartment: public_security\nsubject: S\noperator: beta\npurposes: [urban_planning]\ndatasets: [population]\nnot_before: 2026-01-01\nnot_after: 2027-01-01\ndocument: 柜\n", "S", wholeSubject(9), 1), "public_security")
		job := w.submit(w.ask("alpha", "q", counted("population")), entry.KindReserved)
		if n := w.subjects(job); n != 3 {
			t.Fatalf("%d subjects", n)
		}
		w.now = w.now.Add(time.Second)
		c.change(w)
		f := w.s.Stopped(w.s.Book(), job, w.now)
		if c.stops != (f != nil) {
			t.Errorf("%s: stopped %v", name, f)
			continue
		}
		if n := w.subjects(job); n != 3 {
			t.Errorf("%s: the job's consents changed under it: %d", name, n)
		}
		if !c.stops {
			w.must(w.released(job))
			w.replayed()
			continue
		}
		if *f != (entry.Failed{Job: job, Code: "CONSENT_ENDED", By: "public_security", Rule: "catalogue/population"}) {
			t.Errorf("%s: %+v", name, f)
		}
		if err := w.try(w.released(job)); err == nil {
			t.Errorf("%s: released all the same", name)
		}
		e := w.next(entry.KindFailed, "gateway")
		e.Failed = f
		w.must(e)
		next := w.submit(w.ask("alpha", "q", counted("population")), entry.KindReserved)
		if n := w.subjects(next); n >= 3 {
			t.Errorf("%s: the next execution still reads %d", name, n)
		}
		w.replayed()
	}
	// Nothing having ended, nobody can claim it.
	w := consentCity(t)
	w.consent("c1", "2027-01-01", 1)
	job := w.submit(w.ask("alpha", "q", counted("population")), entry.KindReserved)
	e := w.next(entry.KindFailed, "gateway")
	e.Failed = &entry.Failed{Job: job, Code: "CONSENT_ENDED", By: "public_security", Rule: "catalogue/population"}
	if err := w.try(e); err == nil {
		t.Error("a job failed for a consent that stands")
	}
}

func (w *world) withdraw(consent, subject string) {
	w.t.Helper()
	text := "kind: ConsentWithdrawal\ndepartment: public_security\n"
	if consent != "" {
		text += "consent: " + consent + "\n"
	}
	if subject != "" {
		text += "subject: " + subject + "\n"
	}
	w.policy(text, "public_security")
}

// A full list of random commitments, signed and compressed, fits one entry.
func TestR28_AFullListFitsAnEntry(t *testing.T) {
	w := consentCity(t)
	r := rand.New(rand.NewPCG(1, 28))
	keys := make([]policies.SubjectKey, policies.MaxSubjects)
	for i := range keys {
		for j := range keys[i] {
			keys[i][j] = byte(r.Uint32())
		}
	}
	purposes := "urban_planning, public_health"
	text := "kind: Consent\nid: " + strings.Repeat("c", 60) + "\ndepartment: public_security\nsubjects: " + policies.JoinSubjects(keys) + "\noperator: alpha\npurposes: [" + purposes + "]\ndatasets: [population]\nnot_before: 2026-01-01\nnot_after: 2027-01-01\ndocument: " + strings.Repeat("柜", 200) + "\n"
	e := w.next(entry.KindPolicy, "public_security")
	e.Policy = policyOf(t, text, "public_security")
	raw, err := entry.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > entry.MaxBytes*9/10 {
		t.Errorf("%d bytes leave too little room", len(raw))
	}
	w.must(e)
	job := w.submit(w.ask("alpha", "q", counted("population")), entry.KindReserved)
	if n := w.subjects(job); n != policies.MaxSubjects {
		t.Errorf("%d subjects", n)
	}
	t.Logf("%d subjects: %d bytes of %d", len(keys), len(raw), entry.MaxBytes)
}
