package state

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

func commitment(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// verifying is the city with two columns open to verification, and products on them.
func verifying(t testing.TB, limits string) *world {
	t.Helper()
	w := city(t)
	rule := load(t, "city/public_security.yaml")
	rule = rule[strings.LastIndex(rule, "kind: Disclosure"):]
	rule = strings.Replace(rule, "birth_date: [filter, measure]", "birth_date: [filter, measure, verify]", 1)
	rule = strings.Replace(rule, "district: [key, filter, join]", "district: [key, filter, join, verify]", 1)
	w.policy(rule+"    verification: "+limits+"\n", "public_security")
	everybody := append([]string{"data_bureau"}, departments...)
	for _, l := range []string{"alpha-2026", "beta-2026"} {
		text := load(t, "city/licences/"+l+".yaml") + "jobs: [query, verification]\n"
		if l == "beta-2026" {
			text = strings.Replace(text, "resources:\n", "resources:\n  - dataset: population\n    columns: [birth_date, district]\n", 1)
			text = strings.Replace(text, "purposes: [", "purposes: [urban_planning, ", 1)
		}
		w.policy(text, everybody...)
	}
	for _, op := range []string{"alpha", "beta"} {
		for name, q := range map[string]string{"old": "columns: [birth_date], op: less_than, threshold: \"1960\"", "adult": "columns: [birth_date], op: less_than, threshold: \"2005\"", "where": "columns: [district], op: equals"} {
			id := op + "-" + name
			w.policy(fmt.Sprintf("kind: Product\nid: %s\noperator: %s\nlicence: %s-2026\ntitle: {zh: 核验}\npurposes: [urban_planning]\njob: verification\npredicate: {dataset: population, %s}\n", id, op, op, q), op)
			p, _ := w.s.Book().Product(id)
			review := ""
			for _, by := range []string{"public_security", "data_bureau"} {
				review += fmt.Sprintf("kind: ProductReview\nproduct: %s\ndigest: %s\nby: %s\napprove: true\nofficials: [zhang]\nreason: {zh: 合规}\n---\n", id, p.Digest(), by)
			}
			w.policy(strings.TrimSuffix(review, "---\n"), "data_bureau", "public_security")
		}
	}
	return w
}

func (w *world) consentOf(id, subject, operator string) {
	w.t.Helper()
	w.policy(fmt.Sprintf("kind: Consent\nid: %s\ndepartment: public_security\nsubject: %s\noperator: %s\npurposes: [urban_planning]\ndatasets: [population]\nnot_before: 2026-01-01T00:00:00Z\nnot_after: 2030-01-01T00:00:00Z\ndocument: 档案\n", id, commitment(subject), operator), "public_security")
}

// question is a request; what equals is claimed, the question's text says.
func (w *world) question(op, name, subject, claim, request string) VerificationAsk {
	p, _ := w.s.Book().Product(op + "-" + name)
	return VerificationAsk{Operator: op, At: w.now, Request: entry.VerificationRequest{Verification: VerificationID(op, request), Request: request, Licence: op + "-2026",
		Purpose: "urban_planning", Product: op + "-" + name, Version: p.Digest(), Subject: commitment(subject), Question: commitment(subject + name + claim)}}
}

func (w *world) signedVerification(a VerificationAsk) *request.Signed {
	w.t.Helper()
	r := a.Request
	st := request.Statement{V: request.Version, Origin: w.s.Genesis().Origin, Party: a.Operator, Method: request.MethodVerify, Request: r.Request, Licence: r.Licence, Purpose: r.Purpose,
		Terms: map[string]string{}, IssuedAt: w.now.UnixMilli(), NotAfter: w.now.Add(request.Validity).UnixMilli(), Body: r.Question}
	if st.Terms[request.TermProduct] = r.Product; r.Version != "" {
		st.Terms[request.TermDigest] = r.Version
	}
	out, err := request.Sign(st, keyOf(a.Operator))
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// decided is the entry that a question leads to.
func (w *world) decided(a VerificationAsk) *entry.Entry {
	d := w.s.DecideVerification(a)
	e := w.next(entry.KindVerificationRefused, a.Operator)
	e.Signed = w.signedVerification(a)
	if e.VerificationRefused = d.Refused; d.Reserved != nil {
		e.Kind, e.VerificationReserved = entry.KindVerificationReserved, d.Reserved
	}
	return e
}

func (w *world) answered(id string, ground entry.Ground) *entry.Entry {
	e := w.next(entry.KindVerificationAnswered, "gateway")
	e.VerificationAnswered = &entry.VerificationAnswered{Verification: id, Ground: ground, Answer: commitment("answer" + id)}
	return e
}

// asked decides, and answers what was let in; it returns the ground, or the code of
// the refusal.
func (w *world) asked(a VerificationAsk) string {
	w.t.Helper()
	e := w.decided(a)
	w.must(e)
	if e.VerificationRefused != nil {
		return e.VerificationRefused.Reasons[0].Code
	}
	w.must(w.answered(a.Request.Verification, e.VerificationReserved.Ground))
	return string(e.VerificationReserved.Ground)
}

// TestR28_VerificationGrounds: consents, repeats, an operator's questions and the
// bits of all operators, over a year's end.
func TestR28_VerificationGrounds(t *testing.T) {
	w := verifying(t, "{subjects_per_month: 3}")
	w.consentOf("c1", "li", "alpha")
	w.consentOf("c2", "li", "beta")
	n := 0
	for _, c := range []struct{ op, name, subject, claim, want string }{
		{"alpha", "adult", "li", "", "data"},
		{"alpha", "adult", "li", "", "stored"},
		{"beta", "adult", "li", "", "stored"}, // another's answer, on the same bit
		{"alpha", "old", "li", "", "data"},
		{"alpha", "where", "li", "1", "data"},
		{"alpha", "where", "li", "2", "data"},
		{"alpha", "where", "li", "3", "QUESTIONS_EXHAUSTED"},
		{"beta", "where", "li", "4", "exhausted"}, // two bits were told to alpha
		{"beta", "where", "li", "4", "exhausted"},
		{"beta", "where", "li", "1", "stored"},
		{"beta", "where", "li", "5", "QUESTIONS_EXHAUSTED"},
		{"alpha", "adult", "wang", "", "no_consent"},
		{"alpha", "adult", "zhao", "", "no_consent"},
		{"alpha", "adult", "qian", "", "SUBJECTS_EXHAUSTED"},
		{"alpha", "old", "wang", "", "no_consent"},
	} {
		n++
		if got := w.asked(w.question(c.op, c.name, c.subject, c.claim, fmt.Sprint(n))); got != c.want {
			t.Errorf("%d %s %s %s: %s, want %s", n, c.op, c.name, c.subject, got, c.want)
		}
	}
	// A consent that comes later gives data; one taken back takes it away.
	w.consentOf("c3", "wang", "alpha")
	if got := w.asked(w.question("alpha", "adult", "wang", "", "later")); got != "data" {
		t.Errorf("after the consent: %s", got)
	}
	w.policy("kind: ConsentWithdrawal\nconsent: c1\ndepartment: public_security\n", "public_security")
	if got := w.asked(w.question("alpha", "adult", "li", "", "gone")); got != "no_consent" {
		t.Errorf("after the withdrawal: %s", got)
	}
	w.now = time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC)
	for name, want := range map[string]string{"5": "data", "6": "data"} {
		if got := w.asked(w.question("beta", "where", "li", name, "year"+name)); got != want {
			t.Errorf("next year: %s", got)
		}
	}
	probes := ""
	for _, p := range w.s.Probes(start.Add(time.Hour)) {
		probes += fmt.Sprint(p.Licence, " ", p.Pattern, ";")
	}
	if probes != "alpha-2026 subjects;beta-2026 pool;" {
		t.Errorf("probes %s", probes)
	}
}

// TestR28_RefusalsDoNotKnowConsents: in two ledgers that differ in consents alone,
// random questions are refused alike, repeat alike and use quotas up alike.
func TestR28_RefusalsDoNotKnowConsents(t *testing.T) {
	with, without := verifying(t, "{subjects_per_month: 4}"), verifying(t, "{subjects_per_month: 4}")
	subjects := []string{"a", "b", "c", "d", "e", "f"}
	for i, s := range subjects[:4] {
		with.consentOf(fmt.Sprintf("a%d", i), s, "alpha")
		with.consentOf(fmt.Sprintf("b%d", i), s, "beta")
	}
	r := rand.New(rand.NewPCG(3, 5))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	refused, grounds := 0, map[string]bool{}
	for i := range 150 {
		op, name, s, claim, id := pick("alpha", "beta"), pick("old", "adult", "where"), pick(subjects...), "", fmt.Sprint("r", i)
		if name == "where" {
			claim = pick("1", "2", "3")
		}
		x, y := with.decided(with.question(op, name, s, claim, id)), without.decided(without.question(op, name, s, claim, id))
		if x.Kind != y.Kind {
			t.Fatalf("%d: %s and %s", i, x.Kind, y.Kind)
		}
		with.must(x)
		without.must(y)
		if x.VerificationRefused != nil {
			refused++
			if err := same("refusal", x.VerificationRefused, y.VerificationRefused); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if x.VerificationReserved.Repeat != y.VerificationReserved.Repeat {
			t.Fatalf("%d: repeats differ", i)
		}
		grounds[string(x.VerificationReserved.Ground)] = true
		with.must(with.answered(x.VerificationReserved.Request.Verification, x.VerificationReserved.Ground))
		without.must(without.answered(y.VerificationReserved.Request.Verification, y.VerificationReserved.Ground))
	}
	if with.s.used["alpha-2026"] != without.s.used["alpha-2026"] || refused == 0 || len(grounds) != 4 {
		t.Errorf("quotas %v %v, %d refused, grounds %v", with.s.used["alpha-2026"], without.s.used["alpha-2026"], refused, grounds)
	}
}

// TestR28_VerificationTampered: whoever changes an entry, or writes one that does not
// follow, is found out by the replay, and leaves the state as it was.
func TestR28_VerificationTampered(t *testing.T) {
	w := verifying(t, "{}")
	w.consentOf("c1", "li", "alpha")
	ask := w.question("alpha", "adult", "li", "", "1")
	for what, change := range map[string]func(e *entry.Entry){
		"another ground":    func(e *entry.Entry) { e.VerificationReserved.Ground = entry.GroundStored },
		"a repeat":          func(e *entry.Entry) { e.VerificationReserved.Repeat = true },
		"another snapshot":  func(e *entry.Entry) { e.VerificationReserved.Snapshot = commitment("x") },
		"another operator":  func(e *entry.Entry) { e.Actor = "beta" },
		"another licence":   func(e *entry.Entry) { e.VerificationReserved.Request.Licence = "beta-2026" },
		"a stranger's data": func(e *entry.Entry) { e.VerificationReserved.Request.Subject = commitment("wang") },
		"a number":          func(e *entry.Entry) { e.VerificationReserved.Request.Subject = "11010119900101001X" },
		"a claim":           func(e *entry.Entry) { e.VerificationReserved.Request.Question = "239902" },
		"no subject":        func(e *entry.Entry) { e.VerificationReserved.Request.Subject = "" },
		"a refusal": func(e *entry.Entry) {
			e.Kind, e.VerificationRefused = entry.KindVerificationRefused, &entry.VerificationRefused{Request: ask.Request, Reasons: []policies.Reason{{Code: "X"}}}
			e.VerificationReserved = nil
		},
	} {
		e := w.decided(ask)
		if change(e); w.try(e) == nil {
			t.Errorf("%s is believed", what)
		}
	}
	if w.try(w.answered(ask.Request.Verification, entry.GroundData)) == nil {
		t.Error("an answer without a reservation is believed")
	}
	w.must(w.decided(ask))
	if w.try(w.decided(ask)) == nil {
		t.Error("a request id counts twice")
	}
	for _, g := range []entry.Ground{entry.GroundStored, entry.GroundConsent, entry.GroundExhausted, "", "guess"} {
		if w.try(w.answered(ask.Request.Verification, g)) == nil {
			t.Errorf("ground %q is believed", g)
		}
	}
	failed := func(rule, code string) *entry.Entry {
		e := w.next(entry.KindVerificationFailed, "gateway")
		e.VerificationFailed = &entry.VerificationFailed{Verification: ask.Request.Verification, Code: code, Rule: rule}
		return e
	}
	if w.try(failed("order/none", "PRODUCT_SUSPENDED")) == nil {
		t.Error("an order that nobody gave is believed")
	}
	// While it runs the consent is taken back: data may no longer be the ground.
	own := w.forked(t)
	own.policy("kind: ConsentWithdrawal\nconsent: c1\ndepartment: public_security\n", "public_security")
	if own.try(own.answered(ask.Request.Verification, entry.GroundData)) == nil {
		t.Error("an answer from data after the withdrawal is believed")
	}
	own.must(own.answered(ask.Request.Verification, entry.GroundConsent))
	// Or the product is suspended: no answer at all, and a failure that says why.
	held := w.forked(t)
	held.policy("kind: Order\nid: o1\nby: data_bureau\ntarget: {kind: product, id: alpha-adult}\nstage: suspend\nreason: {zh: 试探}\nbasis: {zh: 协议}\n", "data_bureau")
	if held.try(held.answered(ask.Request.Verification, entry.GroundData)) == nil {
		t.Error("an answer under an order is believed")
	}
	_, f, err := held.s.GroundNow(ask.Request.Verification, held.now)
	if err != nil || f == nil || f.Code != "PRODUCT_SUSPENDED" || f.Rule != "order/o1" {
		t.Fatal(f, err)
	}
	e := held.next(entry.KindVerificationFailed, "gateway")
	e.VerificationFailed = f
	held.must(e)
	// Or the file is ingested again.
	gone := w.forked(t)
	gone.must(gone.snapshotOf("population"))
	if gone.try(gone.answered(ask.Request.Verification, entry.GroundData)) == nil {
		t.Error("an answer from a snapshot that was replaced is believed")
	}
	w.must(w.answered(ask.Request.Verification, entry.GroundData))
	if w.try(w.answered(ask.Request.Verification, entry.GroundData)) == nil {
		t.Error("two answers to one question are believed")
	}
	if got := w.asked(w.question("alpha", "adult", "li", "", "2")); got != "stored" {
		t.Errorf("asked again: %s", got)
	}
}

// TestR35_VerificationAfterALossyRestoration: where nobody knows what was asked, nothing
// new is answered; what the ledger still holds is told again.
func TestR35_VerificationAfterALossyRestoration(t *testing.T) {
	w := verifying(t, "{subjects_per_month: 4}")
	w.consentOf("c1", "li", "alpha")
	if got := w.asked(w.question("alpha", "old", "li", "", "q1")); got != "data" {
		t.Fatalf("before: %s", got)
	}
	w.s.unknown["population"] = true
	if d := w.s.DecideVerification(w.question("alpha", "adult", "li", "", "q2")); d.Refused == nil || d.Refused.Reasons[0].Code != "BUDGET_UNKNOWN" {
		t.Errorf("a new question: %+v", d)
	}
	if d := w.s.DecideVerification(w.question("alpha", "old", "li", "", "q3")); d.Reserved == nil || !d.Reserved.Repeat {
		t.Errorf("the same question: %+v", d)
	}
}
