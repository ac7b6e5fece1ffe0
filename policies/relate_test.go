package policies

import (
	"strings"
	"testing"
	"time"
)

// openTwin is a department's Disclosure of the city with a twin rule.
func openTwin(t testing.TB, department, rule string) string {
	t.Helper()
	text := load(t, "city/"+department+".yaml")
	return text[strings.LastIndex(text, "kind: Disclosure"):] + "    twin: " + rule + "\n"
}

// R01: the partners of a twin rule are ids of other data sets, once each.
func TestR01_PartnersOfTwinsAreNamed(t *testing.T) {
	b := city(t)
	for _, rule := range []string{"{relate: []}", "{relate: [population]}", `{rho: "0.01", relate: [population, not-there-yet]}`} {
		apply(t, b, twinRule(t, rule), "hrss")
	}
	for rule, want := range map[string]string{
		"{relate: [social_insurance]}":                   "twin.relate",
		"{relate: [population, population]}":             "twin.relate",
		"{relate: [Population]}":                         "data set",
		"{relate: population}":                           "expected here: a list",
		"{relate: [" + strings.Repeat("x, ", 33) + "x]}": "twin.relate",
	} {
		if got := refused(t, b, twinRule(t, rule), "hrss"); !strings.Contains(got, want) {
			t.Errorf("%s: %s", rule, got)
		}
	}
}

// R01 R19: relations need the rule of every data set to name every other one; whoever asks
// owns one of them; what closes a data set to twins closes it to relations.
func TestR19_RelationsNeedEveryRule(t *testing.T) {
	three := []string{"housing_fund", "population", "social_insurance"}
	b := city(t)
	code := func(department string, datasets ...string) string {
		return twinCode(b.OpenToRelations(department, datasets))
	}
	if got := code("hrss", three...); got != "TWIN_NOT_ALLOWED" {
		t.Error(got)
	}
	b = apply(t, b, openTwin(t, "hrss", "{relate: [population, housing_fund]}"), "hrss")
	b = apply(t, b, openTwin(t, "public_security", "{relate: [social_insurance, housing_fund]}"), "public_security")
	if got := code("hrss", three...); got != "TWIN_NOT_ALLOWED" {
		t.Error("without the third:", got)
	}
	one := apply(t, b, openTwin(t, "housing_fund_centre", "{relate: [population]}"), "housing_fund_centre")
	x := one.OpenToRelations("hrss", three)
	if twinCode(x) != "TWIN_RELATE" || x.SetBy != "housing_fund_centre" || !strings.Contains(x.EN, "social_insurance") || !strings.Contains(x.ZH, "social_insurance") {
		t.Errorf("one that names another alone: %+v", x)
	}
	if x := one.OpenToRelations("housing_fund_centre", three); twinCode(x) != "TWIN_RELATE" || x.SetBy != "housing_fund_centre" {
		t.Errorf("its own rule comes first: %+v", x)
	}
	b = apply(t, one, openTwin(t, "housing_fund_centre", "{relate: [population, social_insurance]}"), "housing_fund_centre")
	for _, department := range []string{"hrss", "public_security", "housing_fund_centre"} {
		if got := code(department, three...); got != "" {
			t.Errorf("%s: %s", department, got)
		}
	}
	if got := code("health", three...) + code("alpha", three...) + code("hrss", "housing_fund", "population"); got != strings.Repeat("DATASET_UNKNOWN", 3) {
		t.Error("who owns none of them:", got)
	}
	if got := code("hrss", "nowhere", "social_insurance"); got != "TWIN_RELATE" {
		t.Error(got) // the own rule does not name it: whether it is there is not told
	}
	named := apply(t, b, openTwin(t, "hrss", "{relate: [population, housing_fund, nowhere]}"), "hrss")
	if x := named.OpenToRelations("hrss", []string{"nowhere", "social_insurance"}); twinCode(x) != "DATASET_UNKNOWN" {
		t.Errorf("%+v", x)
	}
	gone := city(t)
	for department, rule := range map[string]string{"hrss": "{relate: [population, housing_fund]}", "public_security": "{relate: [social_insurance, housing_fund]}", "housing_fund_centre": "{relate: [population, social_insurance]}"} {
		gone = apply(t, gone, openTwin(t, department, rule), department)
	}
	owner := gone.parties["public_security"]
	owner.Withdrawn = true
	gone.parties["public_security"] = owner
	if x := gone.OpenToRelations("hrss", three); twinCode(x) != "PARTY_WITHDRAWN" || !strings.Contains(x.EN, "population") {
		t.Errorf("of a department that left: %+v", x)
	}
	if x := b.Unrelated(three); x != nil {
		t.Errorf("%+v", x)
	}
	if x := one.Unrelated(three); twinCode(x) != "TWIN_RELATE" {
		t.Errorf("taken back: %+v", x)
	}
	order := "kind: Order\nid: o1\nby: data_bureau\ntarget: {kind: dataset, id: population}\nstage: suspend\nreason: {zh: 检查}\nbasis: {zh: 第九条}\n"
	if x := apply(t, b, order, "data_bureau").OpenToRelations("hrss", three); twinCode(x) != "DATASET_SUSPENDED" {
		t.Errorf("%+v", x)
	}
	// The price of relations is held to the twin rule of each.
	cheap := apply(t, b, openTwin(t, "public_security", `{rho: "0.001", relate: [social_insurance, housing_fund]}`), "public_security")
	if x := cheap.DecideTwin("population", []string{"gender"}, 2_000_000, time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)); len(x) != 1 || x[0].Code != "TWIN_RHO" {
		t.Errorf("%+v", x)
	}
}
