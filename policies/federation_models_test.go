package policies

import (
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/budget"
)

// trainingText lets the city train on the data set of its model rule.
var trainingText = strings.NewReplacer("dataset: housing_fund", "dataset: social_insurance", "[district, month, deposit_yuan]", "[scheme, industry, base_yuan]",
	`rho: {round: "0.001", period: "0.002"}`, `rho: {round: "0.001", period: "0.04"}`, "overlap: 2\n", "overlap: 2\nmodels: {families: [linear], rho: \"0.03\"}\n").Replace(federationText)

// R39: an agreement says which families are trained over its rounds and what one training
// may cost; without it, and beyond it, rounds of models are refused by name, and the
// domain's own model rule holds besides.
func TestR39_FederationOfModels(t *testing.T) {
	b := modelling(t)
	e, _ := b.Dataset("social_insurance")
	text := withKeys(trainingText)
	for _, c := range []struct{ from, to, says string }{
		{"[linear]", "[]", "models.families is missing"}, {"[linear]", "[forest]", "forest"}, {"[linear]", "[linear, linear]", "stands twice"},
		{`rho: "0.03"`, `rho: "0.05"`, "models.rho"}, {`rho: "0.03"`, `rho: "0"`, "models.rho"}, {`rho: "0.03"`, `rho: "0.03", steps: 3`, "steps"},
	} {
		if got := refused(t, b, strings.Replace(text, c.from, c.to, 1), e.Department); !strings.Contains(got, c.says) {
			t.Errorf("%s: %s", c.to, got)
		}
	}
	in := apply(t, b, text, e.Department)
	bare := apply(t, b, strings.Replace(text, "models: {families: [linear], rho: \"0.03\"}\n", "", 1), e.Department)
	good := func() Round {
		return Round{Region: "delta", Self: "city_a", Hub: "hub", Regulator: "overseer", Receiver: "institute", Contributors: []string{"city_a", "city_b", "city_c"}, Departments: []string{"city_a", "city_b"},
			Threshold: 2, K: 3, Dishonest: 1, Scheme: "mask", Dataset: "social_insurance", Purpose: "urban_planning", MaxUnits: 4096, Overlap: 2, Price: 20_000_000, At: applied,
			Model: &RoundModel{Data: true, Reserve: 22_000_000, Spec: ModelSpec{Dataset: "social_insurance", Family: FamilyLinear, Label: ModelLabel{Column: "base_yuan"}, Features: []ModelFeature{{Column: "scheme"}},
				Private: true, Rho: "0.02", RhoEvaluation: "0.002", Release: ReleaseParameters}}}
	}
	if x := in.DecideRound(good()); len(x) > 0 {
		t.Fatal(x[0].EN)
	}
	for name, c := range map[string]struct {
		b      *Book
		code   string
		change func(r *Round)
	}{
		"no models":         {bare, "FEDERATION_MODELS", func(*Round) {}},
		"family":            {in, "FEDERATION_MODELS", func(r *Round) { r.Model.Spec.Family = FamilyLogistic }},
		"reserve":           {in, "FEDERATION_MODELS", func(r *Round) { r.Model.Reserve = 30_000_001 }},
		"no reserve":        {in, "FEDERATION_MODELS", func(r *Round) { r.Model.Reserve = 0 }},
		"price":             {in, "FEDERATION_PRICE", func(r *Round) { r.Price = 30_000_001 }},
		"period":            {in, "FEDERATION_PRICE", func(r *Round) { r.Spent = budget.Nano(20_000_001) }},
		"query's price":     {in, "FEDERATION_PRICE", func(r *Round) { r.Model, r.Core = nil, nil }},
		"column":            {in, "FEDERATION_OUTSIDE", func(r *Round) { r.Model.Spec.Features = append(r.Model.Spec.Features, ModelFeature{Column: "person"}) }},
		"own rule's price":  {in, "MODEL_INVALID", func(r *Round) { r.Model.Spec.Rho = "0.029" }},
		"another data set":  {in, "FEDERATION_OUTSIDE", func(r *Round) { r.Model.Spec.Dataset = "housing_fund" }},
		"purpose":           {in, "FEDERATION_OUTSIDE", func(r *Round) { r.Purpose = "inclusive_finance" }},
		"without data too":  {bare, "FEDERATION_MODELS", func(r *Round) { r.Model.Data = false }},
		"family, no data":   {in, "FEDERATION_MODELS", func(r *Round) { r.Model.Data, r.Model.Spec.Family = false, FamilyForest }},
		"regulator's price": {in, "FEDERATION_PRICE", func(r *Round) { r.Model.Data, r.Price = false, 30_000_001 }},
	} {
		r := good()
		c.change(&r)
		found := false
		for _, x := range c.b.DecideRound(r) {
			found = found || x.Code == c.code && x.ZH != ""
		}
		if !found {
			t.Errorf("%s: %+v", name, c.b.DecideRound(r))
		}
	}
}
