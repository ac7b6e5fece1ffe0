package policies

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func twinRule(t testing.TB, rule string) string {
	t.Helper()
	text := load(t, "city/hrss.yaml")
	return text[strings.LastIndex(text, "kind: Disclosure"):] + "    twin: " + rule + "\n"
}

// A department's twin rule is held to the limits of the product, by name.
func TestR01_TwinRulesAreLimited(t *testing.T) {
	b := city(t)
	for _, rule := range []string{"{}", `{rho: "0.02"}`, `{rho: "0.088", level: 4}`, "{level: 1}"} {
		apply(t, b, twinRule(t, rule), "hrss")
	}
	for rule, want := range map[string]string{
		`{rho: "0.1"}`: "twin.rho", `{rho: "0"}`: "twin.rho", `{rho: much}`: "twin.rho", "{level: 5}": "twin.level", "{level: -1}": "twin.level", "{epsilon: 1}": "epsilon",
	} {
		if got := refused(t, b, twinRule(t, rule), "hrss"); !strings.Contains(got, want) {
			t.Errorf("%s: %s", rule, got)
		}
	}
	town := town(t, "")
	apply(t, town, edited(t, townDisclosure, "mode: dp\n", "mode: dp\n    twin: {}\n"), "dept")
	e, _ := town.Dataset("people")
	e.Dataset.Consent = ConsentRequired
	if err := e.checkTwinRule(DisclosureRule{Mode: "dp", Twin: &TwinRule{}}); err == nil || !strings.Contains(err.Error(), "consent") {
		t.Error(err)
	}
	e.Dataset.Consent = ""
	if err := e.checkTwinRule(DisclosureRule{Mode: "exact", Twin: &TwinRule{}}); err != nil {
		t.Error(err) // a twin is differentially private whatever the answers are
	}
	e.Dataset.Public = true
	if err := e.checkTwinRule(DisclosureRule{Twin: &TwinRule{}}); err == nil || !strings.Contains(err.Error(), "public") {
		t.Error(err)
	}
}

// What a rule of masks, the negative list or a mask of tables keeps from one recipient, a
// twin keeps from all.
func TestR19_TwinsKeepTheStrictestRule(t *testing.T) {
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	columns := []string{"scheme", "base_yuan"}
	codes := func(b *Book) string {
		var out []string
		for _, x := range b.DecideTwin("social_insurance", columns, 1_000_000, at) {
			if x.ZH == "" || x.EN == "" {
				t.Errorf("%s says nothing in one language", x.Code)
			}
			out = append(out, x.Code)
		}
		return strings.Join(out, " ")
	}
	b := apply(t, city(t), twinRule(t, "{}"), "hrss")
	if x := b.OpenToTwins("hrss", "social_insurance"); x != nil || codes(b) != "" {
		t.Fatalf("%+v, %s", x, codes(b))
	}
	for code, x := range map[string]*Reason{
		"TWIN_NOT_ALLOWED":  city(t).OpenToTwins("hrss", "social_insurance"),
		"DATASET_UNKNOWN":   b.OpenToTwins("civil_affairs", "social_insurance"),
		"DATASET_SUSPENDED": apply(t, b, "kind: Order\nid: o1\nby: data_bureau\ntarget: {kind: dataset, id: social_insurance}\nstage: suspend\nreason: {zh: 检查}\nbasis: {zh: 第九条}\n", "data_bureau").OpenToTwins("hrss", "social_insurance"),
	} {
		if x == nil || x.Code != code {
			t.Errorf("%s: %+v", code, x)
		}
	}
	masks := load(t, "city/hrss.yaml")
	masks = masks[strings.Index(masks, "kind: Masking"):strings.LastIndex(masks, "---")]
	// Some purposes see bands: where they are stored as they are, no twin shows more.
	ruled := apply(t, b, masks+"rules:\n  - {id: banded, dataset: social_insurance, columns: [base_yuan], purposes: [urban_planning], mask: {op: band, width: \"1000\"}}\n", "hrss")
	if got := codes(ruled); got != "MASK_RULE" {
		t.Errorf("a rule for one purpose: %q", got)
	}
	listed := apply(t, b, "kind: NegativeList\nby: hrss\nentries:\n  - {id: n1, provider: hrss, dataset: social_insurance, columns: [base_yuan], basis: {zh: 某法第五条, en: article 5}}\n", "hrss")
	if got := codes(listed); !strings.Contains(got, "NEGATIVE_LIST") {
		t.Errorf("the negative list: %q", got)
	}
	for what, x := range map[string]*Reason{"": b.TwinWithheld("social_insurance", columns, at), "NEGATIVE_LIST": listed.TwinWithheld("social_insurance", columns, at),
		"TWIN_LEVEL":       apply(t, b, twinRule(t, `{level: 2}`), "hrss").TwinWithheld("social_insurance", columns, at),
		"TWIN_NOT_ALLOWED": apply(t, b, strings.Replace(twinRule(t, `{}`), "    twin: {}\n", "", 1), "hrss").TwinWithheld("social_insurance", columns, at)} {
		if got := twinCode(x); got != what {
			t.Errorf("handed out, %q: %+v", what, x)
		}
	}
	// What is listed is in the twin, though the data set may store it no more.
	dropped := apply(t, b, "kind: NegativeList\nby: hrss\nentries:\n  - {id: n2, provider: hrss, dataset: social_insurance, columns: [id_number], basis: {zh: 某法第五条, en: article 5}}\n", "hrss")
	if x := dropped.TwinWithheld("social_insurance", []string{"scheme", "id_number"}, at); twinCode(x) != "NEGATIVE_LIST" {
		t.Errorf("a listed column that is not stored: %+v", x)
	}
	if x := b.TwinWithheld("social_insurance", []string{"scheme", "employer_name"}, at); twinCode(x) != "TWIN_LEVEL" {
		t.Errorf("a column that is not in the catalogue any more: %+v", x)
	}
	if x := listed.TwinWithheld("social_insurance", []string{"scheme"}, at); x != nil {
		t.Errorf("a twin without the listed column: %+v", x)
	}
	e := b.datasets["social_insurance"]
	for _, mode := range []string{"dp", "exact"} {
		shuffled := e
		rule := *e.Rule
		rule.Mode = mode
		shuffled.Rule, shuffled.Masks = &rule, map[string]Mask{"base_yuan": {Op: "shuffle", By: []string{"district"}}}
		if x := shuffled.twinMask("base_yuan"); x == nil || x.Code != "TABLE_MASK" {
			t.Errorf("a shuffled column in mode %s: %+v", mode, x)
		}
	}
	strict := apply(t, b, twinRule(t, `{rho: "0.0001", level: 2}`), "hrss")
	if got := codes(strict); got != "TWIN_RHO TWIN_LEVEL" {
		t.Errorf("%q", got)
	}
	if got := strict.DecideTwin("social_insurance", []string{"scheme"}, 100_000, at); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	for party, want := range map[string]string{"hrss": "", "data_bureau": "", "alpha": "", "civil_affairs": "PERMISSION_DENIED", "nobody": "PARTY_UNKNOWN"} {
		got := ""
		if x := b.MayReadTwin(party, "social_insurance", at); x != nil {
			got = x.Code
		}
		if got != want {
			t.Errorf("%s reads: %q", party, got)
		}
	}
	if x := b.MayReadTwin("alpha", "social_insurance", at.AddDate(50, 0, 0)); x == nil || x.Code != "DATASET_NOT_LICENSED" {
		t.Errorf("after its licences: %+v", x)
	}
	if !slices.Contains([]string{WaitPublished, WaitWitnessed}, b.WaitOfTwin("social_insurance", columns)) {
		t.Error("a twin of level 3 waits for nothing")
	}
}

func twinCode(x *Reason) string {
	if x == nil {
		return ""
	}
	return x.Code
}
