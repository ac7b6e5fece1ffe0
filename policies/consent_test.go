package policies

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const subject1 = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

func consentDoc(id, more string) string {
	return "kind: Consent\nid: " + id + "\ndepartment: dept\nsubject: " + subject1 + "\nlicence: l1\npurposes: [plan]\ndatasets: [people]\nnot_before: 2026-06-01T00:00:00Z\nnot_after: 2027-06-01T00:00:00Z\ndocument: 档案十七\n" + more
}

func TestR28_ConsentCoversWhatItNames(t *testing.T) {
	b := apply(t, town(t, ""), consentDoc("c1", ""), "dept")
	at := time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		subject, dataset, licence, purpose string
		at                                 time.Time
		want                               bool
	}{
		"in force":        {subject1, "people", "l1", "plan", at, true},
		"another subject": {strings.Repeat("0", 64), "people", "l1", "plan", at, false},
		"another set":     {subject1, "firms", "l1", "plan", at, false},
		"another licence": {subject1, "people", "l2", "plan", at, false},
		"another purpose": {subject1, "people", "l1", "trade", at, false},
		"before":          {subject1, "people", "l1", "plan", time.Date(2026, 5, 31, 23, 59, 59, 0, time.UTC), false},
		"at its begin":    {subject1, "people", "l1", "plan", time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), true},
		"at its end":      {subject1, "people", "l1", "plan", time.Date(2027, 6, 1, 0, 0, 0, 0, time.UTC), false},
	} {
		if got := b.Consented(c.subject, c.dataset, c.licence, c.purpose, c.at); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	held := apply(t, b, order("s1", "dept", "licence/l1", "suspend", ""), "dept")
	if held.Consented(subject1, "people", "l1", "plan", at) {
		t.Error("a held licence is covered")
	}
	// Withdrawn, it covers nothing from that instant on, and is not withdrawn twice.
	gone := apply(t, b, "kind: ConsentWithdrawal\nconsent: c1\ndepartment: dept\n", "dept")
	if gone.Consented(subject1, "people", "l1", "plan", at) || !b.Consented(subject1, "people", "l1", "plan", at) {
		t.Error("a withdrawn consent covers the use, or a book changed")
	}
	if got := refused(t, gone, "kind: ConsentWithdrawal\nconsent: c1\ndepartment: dept\n# again\n", "dept"); !strings.Contains(got, "withdrawn already") {
		t.Error(got)
	}
	if got := refused(t, b, "kind: ConsentWithdrawal\nconsent: c1\ndepartment: other\n", "other"); !strings.Contains(got, `recorded by "dept"`) {
		t.Error(got)
	}
	// For an operator, whatever his licence.
	all := apply(t, town(t, ""), strings.Replace(consentDoc("c2", ""), "licence: l1", "operator: op", 1), "dept")
	if !all.Consented(subject1, "people", "l1", "plan", at) {
		t.Error("a consent for the operator does not cover his licence")
	}
}

func TestR28_BadConsentsAreRefusedWithoutTheNumber(t *testing.T) {
	b := apply(t, town(t, ""), consentDoc("c1", ""), "dept")
	for name, c := range map[string]struct{ from, to, want string }{
		"the number itself": {subject1, `"110101199003078515"`, "subject is not a commitment"},
		"upper case":        {subject1, strings.ToUpper(subject1), "subject is not a commitment"},
		"id used":           {"id: c2", "id: c1", "recorded before"},
		"another's data":    {"department: dept", "department: other", `belongs to department "dept"`},
		"no person":         {"datasets: [people]", "datasets: [firms]", "no data subjects"},
		"public":            {"datasets: [people]", "datasets: [areas]", "no data subjects"},
		"unknown set":       {"datasets: [people]", "datasets: [nothing]", "not in the catalogue"},
		"unknown purpose":   {"purposes: [plan]", "purposes: [fun]", `purpose "fun"`},
		"not granted":       {"purposes: [plan]", "purposes: [trade]", `purpose "trade"`},
		"unknown licence":   {"licence: l1", "licence: l9", `licence "l9" is not granted`},
		"unknown operator":  {"licence: l1", "operator: dept", `operator "dept"`},
		"for nobody":        {"licence: l1\n", "", "exactly one"},
		"for both":          {"licence: l1", "licence: l1\noperator: op", "exactly one"},
		"no purpose":        {"purposes: [plan]", "purposes: []", "must not be empty"},
		"for ever":          {"not_after: 2027", "not_after: 2037", "at most 5 years"},
		"backwards":         {"not_after: 2027", "not_after: 2025", "at most 5 years"},
		"no document":       {"document: 档案十七\n", "", "document is missing"},
	} {
		got := refused(t, b, edited(t, consentDoc("c2", "# once more\n"), c.from, c.to), "dept", "other")
		if !strings.Contains(got, c.want) || strings.Contains(got, "110101199003078515") {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := refused(t, b, consentDoc("c2", ""), "other"); !strings.Contains(got, `signature of department "dept"`) {
		t.Error(got)
	}
}

// consentTown is the town whose people must agree to the use of their data.
func consentTown(t *testing.T) *Book {
	b := town(t, "catalogue")
	b = apply(t, b, edited(t, townCatalogue, "    bad_rows:", "    consent: required\n    bad_rows:"), "dept")
	for _, s := range townSteps[2:] {
		b = apply(t, b, withKeys(s.text), s.signers...)
	}
	return b
}

// A query is let in whoever consented, or nobody: what it reads is restricted. A
// verification is decided on its subject, and jobs of other kinds fail closed.
func TestR28_WhoMayAskWhereConsentIsNeeded(t *testing.T) {
	b := consentTown(t)
	if got := codesOf(b.Decide(townRequest())); len(got) != 0 {
		t.Errorf("a query, nobody consenting: %v", got)
	}
	b = apply(t, b, consentDoc("c1", ""), "dept")
	if got := codesOf(b.Decide(townRequest())); len(got) != 0 {
		t.Errorf("a query: %v", got)
	}
	model := townRequest()
	model.Kind = JobModel
	if got := codesOf(b.Decide(model)); !slices.Contains(got, "CONSENT_REQUIRED") {
		t.Errorf("a model: %v", got)
	}
	// The need of consents is part of what a snapshot is taken under.
	with, _ := b.Dataset("people")
	without := with
	without.Dataset.Consent = ""
	if s, err := with.Schema(); err != nil || !s.Consent || with.SpecDigest() == without.SpecDigest() {
		t.Errorf("a snapshot taken without commitments passes for one with them (%v)", err)
	}
	// A verification is decided on its subject's consent, and on nobody else's.
	b = apply(t, b, agreement("jobs: [query, verification]\n"), "bureau", "dept")
	ask := townRequest()
	ask.Kind = JobVerification
	for subject, want := range map[string][]string{subject1: nil, "": {"CONSENT_MISSING"}, strings.Repeat("0", 64): {"CONSENT_MISSING"}} {
		if ask.Subject = subject; !slices.Equal(codesOf(b.Decide(ask)), want) {
			t.Errorf("subject %.4s: %v", subject, b.Decide(ask))
		}
	}
	ask.Subject, ask.At = subject1, applied
	if gone := apply(t, b, "kind: ConsentWithdrawal\nconsent: c1\ndepartment: dept\n", "dept"); !slices.Equal(codesOf(gone.Decide(ask)), []string{"CONSENT_MISSING"}) {
		t.Error("a verification is let in after the withdrawal")
	}
	for _, bad := range []struct{ from, to, want string }{
		{"    bad_rows:", "    consent: maybe\n    bad_rows:", `consent "maybe"`},
		{"    one_row_per_unit: true\n", "    one_row_per_unit: true\n    consent: required\n", "unit is a person"},
		{"    public: true\n", "    public: true\n    consent: required\n", "unit is a person"},
		{"    bad_rows:", "    shared_from: A B\n    bad_rows:", "shared_from"},
	} {
		if got := refused(t, town(t, "catalogue"), edited(t, townCatalogue, bad.from, bad.to), "dept"); !strings.Contains(got, bad.want) {
			t.Error(got)
		}
	}
}
