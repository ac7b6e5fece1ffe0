package policies

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// agreement is the town's licence with further lines.
func agreement(more string) string { return withKeys(townLicence + more) }

var fullAgreement = agreement(`version: 2
mode: field
field: {zh: 卫生健康}
jobs: [query, verification]
quota: {jobs_per_day: 2, jobs_per_month: 10, jobs_per_term: 100, rho_per_term: "0.5"}
fees: {plan: governance}
implementing_body: other
entrusted:
  - {id: cloud, title: {zh: 云公司}, task: {zh: 运维}, reviewed_by: dept, reviewed: 2026-01-02, from: 2026-02-01, until: 2026-08-01}
  - {id: cloud, title: {zh: 云公司}, task: {zh: 运维}, reviewed_by: bureau, reviewed: 2026-01-02, from: 2026-08-01, until: 2027-08-01}
recipients: [{id: plant, title: {zh: 厂}, location: CN}]
exit_days: 30
renewal_terms: {zh: 期满前六十日申请}
`)

func TestR06_AgreementNeedsBothSides(t *testing.T) {
	b := town(t, "licence")
	if got := refused(t, b, fullAgreement, "bureau", "dept", "other"); !strings.Contains(got, `signature of operator "op"`) {
		t.Error(got)
	}
	if got := refused(t, b, fullAgreement, "bureau", "dept", "op"); !strings.Contains(got, `implementing body "other"`) {
		t.Error(got)
	}
	next := apply(t, b, fullAgreement, "bureau", "dept", "other", "op")
	if l, ok := next.Licence("l1"); !ok || l.Quota == nil || *l.Quota.JobsPerDay != 2 || l.Quota.RhoLimit() != 500_000_000 {
		t.Errorf("%+v", l)
	}
	// An agreement is not replaced by a grant that the operator did not sign.
	if got := refused(t, next, withKeys(townLicence), "bureau", "dept"); !strings.Contains(got, `signature of operator "op"`) {
		t.Error(got)
	}
	// The registry can ask for it of every licence.
	strict := apply(t, b, withKeys(townRegistry+"operator_signs: true\n"), "bureau")
	if got := refused(t, strict, withKeys(townLicence), "bureau", "dept"); !strings.Contains(got, `signature of operator "op"`) {
		t.Error(got)
	}
	apply(t, strict, withKeys(townLicence), "bureau", "dept", "op")
}

func TestR06_R37_R38_BadAgreementsAreRefusedByName(t *testing.T) {
	b := town(t, "licence")
	row := func(id, by, reviewed, from, until string) string {
		return "  - {id: " + id + ", title: {zh: 云}, task: {zh: 运维}, reviewed_by: " + by + ", reviewed: " + reviewed + ", from: " + from + ", until: " + until + "}\n"
	}
	for more, want := range map[string]string{
		"version: 3\n":                    "version 3",
		"mode: all\n":                     `unknown mode "all"`,
		"mode: field\n":                   "which field",
		"mode: whole\nfield: {zh: 卫生}\n":  "mode field alone",
		"jobs: [export]\n":                `kind of job "export"`,
		"jobs: [query, query]\n":          "stands twice",
		"quota: {}\n":                     "names no limit",
		"quota: {jobs_per_day: 0}\n":      "quota.jobs_per_day is 0",
		"quota: {jobs_per_month: -1}\n":   "quota.jobs_per_month is -1",
		"quota: {jobs_per_term: 0}\n":     "quota.jobs_per_term is 0",
		"quota: {rho_per_term: \"0\"}\n":  "quota.rho_per_term",
		"quota: {rho_per_term: \"-1\"}\n": "quota.rho_per_term",
		"quota: {jobs_per_day: 1.5}\n":    "whole number",
		"fees: {trade: industry}\n":       `purpose "trade" is not granted`,
		"fees: {plan: industry}\n":        `fee class "governance" in the registry`,
		"implementing_body: op\n":         `implementing_body "op"`,
		"exit_days: -1\n":                 "exit_days",
		"renews: l0\n":                    `licence "l0" is not granted`,
		"recipients: [{id: acme, title: {zh: 甲}, location: US}]\n":                        `recipient "acme" is outside the border`,
		"recipients: [{id: acme, title: {zh: 甲}, location: HK}]\n":                        `recipient "acme" is outside the border`,
		"recipients: [{id: foreign, title: {zh: 甲}, location: CN}]\n":                     `recipient "foreign" is outside the border`,
		"recipients: [{id: acme, title: {zh: 甲}}]\n":                                      "location is missing",
		"entrusted:\n" + row("cloud", "op", "2026-01-01", "2026-02-01", "2026-03-01"):     "reviewed_by",
		"entrusted:\n" + row("cloud", "dept", "2026-07-01", "2026-02-01", "2026-03-01"):   "no date of a review",
		"entrusted:\n" + row("cloud", "dept", "2026-01-01", "2026-02-01", "2032-03-01"):   "licence's term",
		"entrusted:\n" + row("foreign", "dept", "2026-01-01", "2026-02-01", "2026-03-01"): "abroad",
		"entrusted:\n" + row("cloud", "dept", "2026-01-01", "2026-02-01", "2026-04-01") +
			row("cloud", "dept", "2026-01-01", "2026-03-31", "2026-05-01"): `entrusted party "cloud": its terms overlap`,
		"provider_consents: [{dataset: firms, provider: other, document: x, signed: 2026-01-01}]\n":  `"firms" is not granted`,
		"provider_consents: [{dataset: people, provider: other, document: x, signed: 2026-01-01}]\n": `was not shared from "other"`,
	} {
		if got := refused(t, b, agreement(more), "bureau", "dept", "op", "other"); !strings.Contains(got, want) {
			t.Errorf("%q: %s", more, got)
		}
	}
	for from, want := range map[string]string{
		"not_after: 2031-01-01": "at most 5 years", "purposes: [plan]": `purpose "fun" is not in the registry`,
	} {
		to := map[string]string{"not_after: 2031-01-01": "not_after: 2031-01-02", "purposes: [plan]": "purposes: [fun]"}[from]
		if got := refused(t, b, edited(t, townLicence, from, to), "bureau", "dept"); !strings.Contains(got, want) {
			t.Errorf("%s: %s", to, got)
		}
	}
}

func TestR06_Renewal(t *testing.T) {
	b := town(t, "")
	next := strings.NewReplacer("id: l1", "id: l2", "not_before: 2026-01-01", "not_before: 2029-01-01", "not_after: 2031-01-01", "not_after: 2032-01-01").Replace(townLicence) + "renews: l1\n"
	apply(t, b, withKeys(next), "bureau", "dept")
	if got := refused(t, b, withKeys(strings.Replace(next, "operator: op", "operator: rival", 1)), "bureau", "dept"); !strings.Contains(got, "another operator's") {
		t.Error(got)
	}
	revoked := apply(t, b, withKeys("kind: Revocation\nlicence: l1\nby: dept\nreason: {zh: 由}\n"), "dept")
	if got := refused(t, revoked, withKeys(next), "bureau", "dept"); !strings.Contains(got, "was revoked") {
		t.Error(got)
	}
}

// shared is the town with people shared in from another party.
func sharedIn(t *testing.T, from string) *Book {
	b := town(t, "catalogue")
	b = apply(t, b, edited(t, townCatalogue, "    bad_rows:", "    shared_from: "+from+"\n    bad_rows:"), "dept")
	for _, s := range townSteps[2:5] {
		b = apply(t, b, withKeys(s.text), s.signers...)
	}
	return b
}

func TestR13_SharedDataNeedsItsProvidersConsent(t *testing.T) {
	consent := func(provider, more string) string {
		return agreement("provider_consents: [{dataset: people, provider: " + provider + ", document: 函-17, signed: 2026-01-05" + more + "}]\n")
	}
	b := sharedIn(t, "other")
	if got := refused(t, b, withKeys(townLicence), "bureau", "dept"); !strings.Contains(got, `shared from "other", whose consent is missing`) {
		t.Error(got)
	}
	if got := refused(t, b, consent("other", ""), "bureau", "dept"); !strings.Contains(got, `signature of department "other"`) {
		t.Error(got)
	}
	if got := refused(t, b, consent("other", ", until: 2030-01-01"), "bureau", "dept", "other"); !strings.Contains(got, "ends before the licence") {
		t.Error(got)
	}
	if got := refused(t, b, strings.Replace(consent("other", ""), "2026-01-05", "2027-01-05", 1), "bureau", "dept", "other"); !strings.Contains(got, "no date of a signature") {
		t.Error(got)
	}
	ok := apply(t, b, consent("other", ""), "bureau", "dept", "other")
	if got := codesOf(ok.Decide(townRequest())); slices.Contains(got, "PROVIDER_CONSENT_MISSING") {
		t.Errorf("%v", got)
	}
	// A provider that is not registered is on paper alone.
	apply(t, sharedIn(t, "next_city"), consent("next_city", ""), "bureau", "dept")
	// What the catalogue says later counts at once for licences granted before.
	late := town(t, "")
	late = apply(t, late, edited(t, townCatalogue, "    bad_rows:", "    shared_from: next_city\n    bad_rows:"), "dept")
	if got := codesOf(late.Decide(townRequest())); !slices.Contains(got, "PROVIDER_CONSENT_MISSING") {
		t.Errorf("%v", got)
	}
}

func townRequest() Request {
	return Request{Operator: "op", Licence: "l1", Purpose: "plan", At: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), Core: townCore()}
}

func TestR03_JobKindsAreGrantedByName(t *testing.T) {
	b := apply(t, town(t, "licence"), agreement("jobs: [verification]\n"), "bureau", "dept")
	ask := townRequest()
	if got := codesOf(b.Decide(ask)); !slices.Equal(got, []string{"JOB_KIND_NOT_LICENSED"}) {
		t.Errorf("%v", got)
	}
	ask.Kind = JobVerification
	if got := codesOf(b.Decide(ask)); len(got) != 0 {
		t.Errorf("%v", got)
	}
	plain := town(t, "")
	if got := codesOf(plain.Decide(ask)); !slices.Equal(got, []string{"JOB_KIND_NOT_LICENSED"}) {
		t.Errorf("a licence that names no kinds grants %v", got)
	}
}
