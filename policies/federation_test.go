package policies

import (
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
)

const federationText = `kind: Federation
region: delta
hub: {party: hub, key: "@KEY:hub"}
parties:
  - {party: city_a, key: "@KEY:city_a", roles: [contributor, key]}
  - {party: city_b, key: "@KEY:city_b", roles: [contributor, key]}
  - {party: city_c, key: "@KEY:city_c", roles: [contributor]}
  - {party: overseer, key: "@KEY:overseer", roles: [regulator]}
  - {party: institute, key: "@KEY:institute", roles: [receiver]}
threshold: 2
schemes: [mask]
k: 3
dishonest: 1
dataset: housing_fund
columns: [district, month, deposit_yuan]
purposes: [urban_planning]
max_units: 4096
overlap: 2
rho: {round: "0.001", period: "0.002"}
not_before: 2026-01-01T00:00:00+08:00
not_after: 2027-01-01T00:00:00+08:00
`

// R39: a Federation is signed by whose data it opens, reads strictly and contradicts
// nothing.
func TestR39_FederationDocument(t *testing.T) {
	b := city(t)
	text := withKeys(federationText)
	if got := refused(t, b, text, "health"); !strings.Contains(got, "housing_fund_centre") {
		t.Error(got)
	}
	if got := refused(t, b, text, "data_bureau"); !strings.Contains(got, "housing_fund_centre") {
		t.Error(got)
	}
	in := apply(t, b, text, "housing_fund_centre")
	if f, ok := in.Federation("delta"); !ok || strings.Join(f.With(FederationKey), " ") != "city_a city_b" || len(in.Federations()) != 1 {
		t.Errorf("%+v %v", f, ok)
	}
	if _, ok := b.Federation("delta"); ok {
		t.Error("the book before has it too")
	}
	// Another department of the domain does not end it: not alone, and not for its own data.
	grab := strings.NewReplacer("dataset: housing_fund", "dataset: grabbed", "[district, month, deposit_yuan]", "[age]").Replace(text)
	if got := refused(t, in, grab, "data_bureau"); !strings.Contains(got, "housing_fund_centre") {
		t.Error(got)
	}
	apply(t, in, grab, "data_bureau", "housing_fund_centre")
	apply(t, in, strings.Replace(grab, "region: delta", "region: coast", 1), "data_bureau")
	// A receiver is the operator of that name, whom orders stop.
	named := strings.Replace(text, "party: institute", "party: alpha", 1)
	if got := refused(t, b, named, "housing_fund_centre"); !strings.Contains(got, "another key in the registry") {
		t.Error(got)
	}
	apply(t, b, strings.Replace(named, publicText("institute"), publicText("alpha"), 1), "housing_fund_centre")
	elsewhere := strings.Replace(text, "dataset: housing_fund", "dataset: elsewhere", 1)
	if got := refused(t, b, elsewhere, "health"); !strings.Contains(got, "data_bureau") {
		t.Error(got)
	}
	apply(t, b, elsewhere, "data_bureau")
	for _, c := range []struct{ from, to, says string }{
		{"k: 3", "k: 2", "k is at least 3"}, {"k: 3", "k: 4", "k is at least 3"}, {"threshold: 2", "threshold: 3", "threshold"}, {"k: 3", "periods: [\"2026-13\"]\nk: 3", "2026-13"}, {"dishonest: 1", "dishonest: 3", "dishonest"},
		{"[mask]", "[paillier]", "paillier"}, {"[mask]", "[]", "must not be empty"}, {"[urban_planning]", "[weather]", "weather"}, {"deposit_yuan]", "colour]", "colour"},
		{"max_units: 4096", "max_units: 0", "max_units"}, {"overlap: 2", "overlap: 65", "overlap"}, {`period: "0.002"`, `period: "0.0001"`, "rho"}, {`round: "0.001"`, `round: "-1"`, "rho"},
		{"roles: [regulator]", "roles: [regulator, key]", "overseer"}, {"roles: [regulator]", "roles: [key]", "exactly one"}, {"roles: [receiver]", "roles: [reader]", "reader"},
		{"party: city_c", "party: city_a", "city_a"}, {"party: city_c", "party: hub", "hub"}, {"not_after: 2027", "not_after: 2025", "term"}, {"overlap: 2", "overlap: 2\ncolour: red", "colour"},
		{publicText("city_c"), publicText("city_b"), "same key"}, {publicText("city_c"), "AAAA", "key"},
	} {
		if got := refused(t, b, strings.Replace(text, c.from, c.to, 1), "housing_fund_centre"); !strings.Contains(got, c.says) {
			t.Errorf("%s: %s", c.to, got)
		}
	}
	other := strings.NewReplacer("region: delta", "region: coast", publicText("city_b"), publicText("someone")).Replace(text)
	if got := refused(t, in, other, "housing_fund_centre"); !strings.Contains(got, "another key") {
		t.Error(got)
	}
}

func publicText(party string) string { return withKeys("@KEY:" + party) }

// R39: what an agreement does not name is refused, and so is what the domain's own rules
// refuse an operator.
func TestR39_DecideRound(t *testing.T) {
	b := apply(t, city(t), withKeys(federationText), "housing_fund_centre")
	text := algebra.Type{Kind: algebra.Text}
	yuan := algebra.Type{Kind: algebra.Decimal, Scale: 2}
	deposit, balance := algebra.Col{Name: "deposit_yuan", Type: yuan}, algebra.Col{Name: "balance_yuan", Type: yuan}
	core := func(arg algebra.Col) *algebra.Core {
		return &algebra.Core{Tables: []algebra.Table{{Dataset: "housing_fund"}}, Keys: []algebra.Col{{Name: "district", Type: text}}, Aggs: []algebra.Agg{{Func: algebra.CountRows}, {Func: algebra.Sum, Arg: &arg}}}
	}
	good := func() Round {
		return Round{Region: "delta", Self: "city_a", Hub: "hub", Regulator: "overseer", Receiver: "institute", Contributors: []string{"city_a", "city_b", "city_c"}, Departments: []string{"city_a", "city_b"},
			Threshold: 2, K: 3, Dishonest: 1, Scheme: "mask", Dataset: "housing_fund", Purpose: "urban_planning", MaxUnits: 4096, Overlap: 2, Price: 900_000, At: applied, Core: core(deposit)}
	}
	if x := b.DecideRound(good()); len(x) > 0 {
		t.Fatal(x[0].EN)
	}
	for name, c := range map[string]struct {
		code, says string
		change     func(r *Round)
	}{
		"region":      {"FEDERATION_UNKNOWN", "gamma", func(r *Round) { r.Region = "gamma" }},
		"hub":         {"FEDERATION_OUTSIDE", "hub relay", func(r *Round) { r.Hub = "relay" }},
		"regulator":   {"FEDERATION_OUTSIDE", "regulator city_c", func(r *Round) { r.Regulator = "city_c" }},
		"receiver":    {"FEDERATION_OUTSIDE", "receiver city_c", func(r *Round) { r.Receiver = "city_c" }},
		"contributor": {"FEDERATION_OUTSIDE", "contributor city_d", func(r *Round) { r.Contributors = append(r.Contributors, "city_d") }},
		"key":         {"FEDERATION_OUTSIDE", "key city_c", func(r *Round) { r.Departments = []string{"city_a", "city_c"} }},
		"self":        {"FEDERATION_OUTSIDE", "party city_d", func(r *Round) { r.Self = "city_d" }},
		"threshold":   {"FEDERATION_OUTSIDE", "threshold", func(r *Round) { r.Threshold = 1 }},
		"k":           {"FEDERATION_OUTSIDE", ": k", func(r *Round) { r.K = 2 }},
		"few":         {"FEDERATION_OUTSIDE", ": k", func(r *Round) { r.Contributors = r.Contributors[:2] }},
		"dishonest":   {"FEDERATION_OUTSIDE", "dishonest", func(r *Round) { r.Dishonest = 0 }},
		"scheme":      {"FEDERATION_OUTSIDE", "scheme bgv", func(r *Round) { r.Scheme = "bgv" }},
		"purpose":     {"FEDERATION_OUTSIDE", "purpose inclusive_finance", func(r *Round) { r.Purpose = "inclusive_finance" }},
		"dataset":     {"FEDERATION_OUTSIDE", "dataset health", func(r *Round) { r.Dataset = "health" }},
		"units":       {"FEDERATION_OUTSIDE", "max_units", func(r *Round) { r.MaxUnits = 1 }},
		"overlap":     {"FEDERATION_OUTSIDE", "overlap", func(r *Round) { r.Overlap = 1 }},
		"price":       {"FEDERATION_PRICE", "0.001", func(r *Round) { r.Price = 1_000_001 }},
		"free":        {"FEDERATION_PRICE", "", func(r *Round) { r.Price = 0 }},
		"period":      {"FEDERATION_PRICE", "0.002", func(r *Round) { r.Spent = 1_100_001 }},
		"early":       {"FEDERATION_NOT_IN_FORCE", "", func(r *Round) { r.At = time.Date(2025, 12, 1, 0, 0, 0, 0, time.UTC) }},
		"late":        {"FEDERATION_NOT_IN_FORCE", "", func(r *Round) { r.At = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC) }},
		"column":      {"FEDERATION_OUTSIDE", "balance_yuan", func(r *Round) { r.Core = core(balance) }},
		"use":         {"USE_NOT_ALLOWED", "deposit_yuan", func(r *Round) { r.Core.Keys = append(r.Core.Keys, deposit) }},
		"join":        {"FEDERATION_OUTSIDE", "delta", func(r *Round) { r.Core.Tables = append(r.Core.Tables, algebra.Table{Dataset: "district"}) }},
	} {
		r := good()
		c.change(&r)
		reasons := b.DecideRound(r)
		found := false
		for _, x := range reasons {
			found = found || x.Code == c.code && strings.Contains(x.EN, c.says)
			if x.ZH == "" {
				t.Errorf("%s: no Chinese", name)
			}
		}
		if !found {
			t.Errorf("%s: %+v", name, reasons)
		}
	}
	named := apply(t, city(t), withKeys(federationText)+"periods: [\"2026-01\", \"2026-02\"]\n", "housing_fund_centre")
	for period, ok := range map[string]bool{"2026-02": true, "2026-20": false, "2025": false} {
		r := good()
		r.Period = period
		if x := named.DecideRound(r); (len(x) == 0) != ok || !ok && (x[0].Code != "FEDERATION_OUTSIDE" || !strings.Contains(x[0].EN, "period "+period)) {
			t.Errorf("period %s: %+v", period, x)
		}
	}
	key := good() // who holds a key and no data
	key.Self, key.Core, key.Dataset = "overseer", nil, "housing_fund"
	if x := b.DecideRound(key); len(x) > 0 {
		t.Error(x[0].EN)
	}
	held := b.clone()
	held.suspend(Target{TargetDataset, "housing_fund"}, Hold{By: "housing_fund_centre", Cause: "stop"})
	if x := held.DecideRound(good()); len(x) != 1 || x[0].Code != "DATASET_SUSPENDED" {
		t.Errorf("%+v", x)
	}
	// The domain's own orders on the receiver, and its own registry, hold in rounds too; of who
	// has no data as well.
	alpha := apply(t, city(t), strings.NewReplacer("party: institute", "party: alpha", publicText("institute"), publicText("alpha")).Replace(withKeys(federationText)), "housing_fund_centre")
	to := func() Round { r := good(); r.Receiver = "alpha"; return r }
	if x := alpha.DecideRound(to()); len(x) > 0 {
		t.Fatal(x[0].EN)
	}
	for code, change := range map[string]func(b *Book){
		"OPERATOR_SUSPENDED": func(b *Book) { b.suspend(Target{TargetOperator, "alpha"}, Hold{By: "data_bureau", Cause: "stop"}) },
		"PARTY_WITHDRAWN":    func(b *Book) { p := b.parties["alpha"]; p.Withdrawn = true; b.parties["alpha"] = p },
		"RECIPIENT_ABROAD":   func(b *Book) { p := b.parties["alpha"]; p.Abroad = true; b.parties["alpha"] = p },
	} {
		stopped := alpha.clone()
		change(stopped)
		bare := to()
		bare.Core = nil
		for _, r := range []Round{to(), bare} {
			if x := stopped.DecideRound(r); len(x) != 1 || x[0].Code != code {
				t.Errorf("%s: %+v", code, x)
			}
		}
	}
	// Signed where there was no such data set, it opens none that comes later.
	late := apply(t, b, withKeys(federationText)+"# again\n", "housing_fund_centre")
	rec := late.federations["delta"]
	rec.By = "data_bureau"
	late.federations["delta"] = rec
	if x := late.DecideRound(good()); len(x) != 1 || x[0].Code != "FEDERATION_UNSIGNED" {
		t.Errorf("%+v", x)
	}
}
