package policies

import (
	"strings"
	"testing"
)

const aModule = `dataset: social_insurance, family: module, rho_evaluation: "0.004", release: aggregates, rows_per_unit: 2,
  label: {column: base_yuan, threshold: "8000"}, features: [{column: scheme}, {column: contribution_yuan}], groups: [scheme], bounds: {low: 0, high: 1, bins: 20},
  module: {sha256: 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff, size: 512}`

// TestR02_ModulesArePinned: a module is filed with its digest, its size and where its
// scores lie, and with nothing that means a training.
func TestR02_ModulesArePinned(t *testing.T) {
	b := apply(t, modelling(t), modelRuleText(t, "    models: {families: [module, logistic]}\n"), "hrss")
	filed := apply(t, b, modelText("m", aModule), "alpha")
	p, _ := filed.ModelProduct("m")
	training, evaluation, err := p.Model.Price()
	if training != 0 || evaluation != 4_000_000 || err != nil || p.Model.Inside() {
		t.Errorf("%s %s %v", training, evaluation, err)
	}
	apply(t, b, modelText("m", edited(t, aModule, `label: {column: base_yuan, threshold: "8000"}, `, "")), "alpha")
	other, _ := apply(t, b, modelText("m", edited(t, aModule, "0011", "0012")), "alpha").ModelProduct("m")
	if other.Digest() == p.Digest() {
		t.Error("another module is the same product")
	}
	for _, c := range []struct{ from, to, want string }{
		{"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", "abc", "must be the SHA-256"},
		{"sha256: 00112233445566778899aabbccddeeff", "sha256: 00112233445566778899AABBccddeeff", "must be the SHA-256"},
		{"size: 512", "size: 0", "module.size must lie"},
		{"size: 512", "size: 90000000", "module.size must lie"},
		{"low: 0", "low: 1", "low below high"},
		{"low: 0", "low: .nan", "low below high"},
		{"high: 1", "high: .inf", "low below high"},
		{"bins: 20", "bins: 1", "low below high"},
		{"bins: 20", "bins: 65", "low below high"},
		{"bounds: {low: 0, high: 1, bins: 20},", "", "bounds (low, high, bins) are missing"},
		{"release: aggregates", "release: scores", "sandgate wasm run"},
		{"release: aggregates", "release: parameters", "not handed out"},
		{"rows_per_unit: 2", "rows_per_unit: 2, hold_out: 20", "leave hold_out and settings out"},
		{"rows_per_unit: 2", "settings: {depth: 3}", "leave hold_out and settings out"},
		{"rows_per_unit: 2", "private: true, rho: \"0.01\"", "leave private and rho out"},
		{"rows_per_unit: 2", "rho: \"0.01\"", "rho is the price of a private model"},
		{"rows_per_unit: 2", "pairs: [[scheme, contribution_yuan]]", "family additive"},
		{`, threshold: "8000"`, "", "says which rows are class 1"},
		{"{column: contribution_yuan}", "{column: contribution_yuan, bins: 8}", "bins"},
		{"{column: contribution_yuan}", "{column: id_number}", "identifies a unit"},
		{"family: module", "family: logistic", "are for family module"},
		{`rho_evaluation: "0.004"`, `rho_evaluation: "0.0001"`, "rho_evaluation must be"},
	} {
		if got := refused(t, b, modelText("m", edited(t, aModule, c.from, c.to)), "alpha"); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", c.to, got)
		}
	}
	if got := refused(t, modelling(t), modelText("m", aModule), "alpha"); !strings.Contains(got, `does not allow family "module"`) {
		t.Error(got)
	}
}

// A module's certificate says what it is, and nothing that a gate would.
func TestModuleCertificates(t *testing.T) {
	good := ModuleCertificate("digest", "v1")
	if err := good.Check(); err != nil || good.Verdict != VerdictPass {
		t.Error(err)
	}
	if none := ModuleCertificate("", "v1"); none.Check() != nil || none.Verdict != VerdictVoid {
		t.Errorf("%+v", none)
	}
	for what, change := range map[string]func(*ModelCertificate){
		"a pass without figures": func(c *ModelCertificate) { c.Evaluation = "" },
		"an attack":              func(c *ModelCertificate) { c.Figures = []ModelFigure{{Attack: AttackStructure, Held: HeldValue}} },
		"training units":         func(c *ModelCertificate) { c.Units = 10 },
		"a report":               func(c *ModelCertificate) { c.Report = "r" },
		"no version":             func(c *ModelCertificate) { c.Code = "" },
		"an unknown basis":       func(c *ModelCertificate) { c.Basis = "trust" },
		"the gate's basis":       func(c *ModelCertificate) { c.Basis = BasisGate },
	} {
		c := ModuleCertificate("digest", "v1")
		if change(&c); c.Check() == nil {
			t.Errorf("%s: taken", what)
		}
	}
}
