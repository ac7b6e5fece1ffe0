package state

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// withModule is the city with a reviewed module product of alpha.
func withModule(t testing.TB) *world {
	t.Helper()
	w := modelling(t)
	rule := load(t, "city/hrss.yaml")
	rule = rule[strings.LastIndex(rule, "kind: Disclosure"):]
	for _, c := range []string{"scheme: [key, filter", "base_yuan: [filter, measure", "industry: [key, filter"} {
		rule = strings.Replace(rule, c, c+", train", 1)
	}
	w.policy(rule+"    models: {families: [logistic, tree, module], rows_per_month: 50}\n", "hrss")
	w.policy(fmt.Sprintf(`{kind: Product, id: own, operator: alpha, licence: alpha-2026, title: {zh: 模块}, purposes: [urban_planning], job: model,
  model: {dataset: social_insurance, family: module, release: aggregates, rho_evaluation: "0.004", features: [{column: scheme}], bounds: {low: 0, high: 1, bins: 10}, module: {sha256: %s, size: 510}}}`+"\n", commitment("module")), "alpha")
	p, _ := w.s.Book().Product("own")
	for _, by := range []string{"hrss", "data_bureau"} {
		w.policy(fmt.Sprintf("kind: ProductReview\nproduct: own\ndigest: %s\nby: %s\napprove: true\nofficials: [zhang]\nreason: {zh: 合规}\n", p.Digest(), by), by)
	}
	return w
}

func (w *world) moduleEntry(change func(*entry.ModelModule)) *entry.Entry {
	w.t.Helper()
	m, x := w.s.DecideModule("alpha", "own")
	if x != nil {
		w.t.Fatal(x)
	}
	if change != nil {
		change(&m)
	}
	e := w.next(entry.KindModelModule, "gateway")
	e.ModelModule = &m
	return e
}

func (w *world) ownCertified(id string, change func(*entry.ModelCertified)) *entry.Entry {
	e := w.next(entry.KindModelCertified, "gateway")
	e.ModelCertified = &entry.ModelCertified{Model: id, Certificate: policies.ModuleCertificate(commitment("figures"), "test"), Parameters: commitment("module")}
	if change != nil {
		change(e.ModelCertified)
	}
	return e
}

// TestR02_ModulesAreJudgedAtReplay: a module runs when the gateway holds the very file
// that was reviewed, its price is debited once, and its certificate is of that file.
func TestR02_ModulesAreJudgedAtReplay(t *testing.T) {
	w := withModule(t)
	a := w.model("own", "r1")
	missing := w.modelEntry(a, nil)
	if missing.ModelRefused == nil || missing.ModelRefused.Reasons[0].Code != "MODULE_MISSING" {
		t.Fatalf("%+v", missing.ModelRefused)
	}
	w.must(missing)
	for what, change := range map[string]func(*entry.ModelModule){
		"another digest":  func(m *entry.ModelModule) { m.SHA256 = commitment("other") },
		"another size":    func(m *entry.ModelModule) { m.Size++ },
		"another version": func(m *entry.ModelModule) { m.Version = commitment("other") },
		"another product": func(m *entry.ModelModule) { m.Product = "private" },
		"no product":      func(m *entry.ModelModule) { m.Product = "none" },
	} {
		if w.try(w.moduleEntry(change)) == nil {
			t.Errorf("%s: held", what)
		}
	}
	e := w.moduleEntry(nil)
	e.Actor = "alpha"
	if w.try(e) == nil {
		t.Error("an operator says itself that its module is held")
	}
	w.must(w.moduleEntry(nil))
	if w.try(w.moduleEntry(nil)) == nil {
		t.Error("held twice")
	}
	if w.s.HoldsModule("beta", commitment("module")) || len(w.s.ModuleFiles()) != 1 || ModuleFile("beta", commitment("module")) == w.s.ModuleFiles()[0] {
		t.Error("another operator's module")
	}
	b := w.model("own", "r2")
	scope := budget.Scope{Kind: budget.ScopeDatasetYear, Dataset: "social_insurance", Year: 2026}
	before := w.s.Spent(scope)
	w.must(w.modelEntry(b, nil))
	if got := w.s.Spent(scope) - before; got != 4_000_000 {
		t.Errorf("%s was charged", got)
	}
	id := b.Request.Model
	if w.try(w.certified(id, nil)) == nil {
		t.Error("a module has a certificate of the gate")
	}
	for what, change := range map[string]func(*entry.ModelCertified){
		"another module": func(c *entry.ModelCertified) { c.Parameters = commitment("other") },
		"no figures":     func(c *entry.ModelCertified) { c.Certificate.Evaluation = "" },
		"a kinder verdict": func(c *entry.ModelCertified) {
			c.Certificate = policies.ModuleCertificate("", "test")
			c.Certificate.Verdict = policies.VerdictPass
		},
		"another's verdict": func(c *entry.ModelCertified) { c.Certificate.Verdict = policies.VerdictFail },
	} {
		if w.try(w.ownCertified(id, change)) == nil {
			t.Errorf("%s: certified", what)
		}
	}
	w.must(w.ownCertified(id, nil))
	if x := w.s.UseModel("alpha", id, w.now); x == nil || x.Code != "MODEL_AGGREGATES_ONLY" {
		t.Errorf("%+v", x)
	}
	if x := w.s.DecideScores("alpha", id, 1, w.now); x == nil {
		t.Error("a module gives scores")
	}
	trained := w.model("private", "r3")
	w.must(w.modelEntry(trained, nil))
	if w.try(w.ownCertified(trained.Request.Model, nil)) == nil {
		t.Error("a trained model is certified without the gate")
	}
	w.must(w.certified(trained.Request.Model, nil))
	w.must(w.destroyed("hrss", "social_insurance"))
	for _, id := range w.s.ModelsEnding(w.s.Destructions("social_insurance")[0]) {
		if id == b.Request.Model {
			t.Error("a module ends with data that it never held")
		}
	}
	w.replayed()
}
