package policies

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func modelRuleText(t testing.TB, models string) string {
	t.Helper()
	text := load(t, "city/hrss.yaml")
	text = text[strings.LastIndex(text, "kind: Disclosure"):]
	for _, c := range []string{"month: [key, filter", "scheme: [key, filter", "base_yuan: [filter, measure", "contribution_yuan: [filter, measure", "industry: [key, filter"} {
		text = edited(t, text, c, c+", train")
	}
	return text + models
}

const usualModels = "    models: {families: [linear, logistic, softmax, additive, tree, forest, kmeans], rows_per_month: 50}\n"

// modelling is the city with social insurance open to models.
func modelling(t testing.TB) *Book {
	t.Helper()
	b := apply(t, city(t), modelRuleText(t, usualModels), "hrss")
	return apply(t, b, load(t, "city/licences/alpha-2026.yaml")+"jobs: [query, model]\n", "data_bureau", "public_security", "hrss", "housing_fund_centre", "health", "civil_affairs")
}

const usualModel = `dataset: social_insurance, family: logistic, private: true, rho: "0.02", rho_evaluation: "0.002", release: parameters, rows_per_unit: 2,
  label: {column: base_yuan, threshold: "8000"}, features: [{column: scheme}, {column: industry}, {column: contribution_yuan}], groups: [scheme]`

func modelText(id, model string) string {
	return fmt.Sprintf("kind: Product\nid: %s\noperator: alpha\nlicence: alpha-2026\ntitle: {zh: 模型}\npurposes: [urban_planning]\njob: model\nmodel: {%s}\n", id, model)
}

// TestR02_ModelsAreDeclaredFromTheCatalogue: what can be filed, and why the rest cannot.
func TestR02_ModelsAreDeclaredFromTheCatalogue(t *testing.T) {
	b := modelling(t)
	apply(t, b, modelText("m", usualModel), "alpha")
	apply(t, b, modelText("m", strings.NewReplacer(`family: logistic`, `family: kmeans`, `label: {column: base_yuan, threshold: "8000"}, `, "").Replace(usualModel)), "alpha")
	apply(t, b, modelText("m", strings.NewReplacer(`private: true, rho: "0.02", `, "", "parameters", "scores", "logistic", "tree").Replace(usualModel)), "alpha")
	for _, c := range []struct{ from, to, want string }{
		{"logistic", "knn", "is refused: a nearest-neighbour model is the training records"},
		{"logistic", "svm", "support vectors"},
		{"logistic", "generative", "repeats training records"},
		{"logistic", "transformer", "unknown family"},
		{"logistic", "module", `does not allow family "module"`},
		{"dataset: social_insurance", "dataset: enterprises", "does not grant data set"},
		{"{column: scheme}, ", "{column: id_number}, ", "identifies a unit"},
		{"{column: scheme}, ", "{column: employer_code}, ", "identifies a unit"},
		{"{column: scheme}, ", "{column: wage}, ", "unknown column"},
		{"{column: scheme}, ", "{column: district}, ", "as a train"},
		{"{column: scheme}, ", "{column: base_yuan}, ", "is the label and cannot be a feature"},
		{"{column: scheme}, ", "{column: industry}, ", "stands twice"},
		{"{column: scheme}, ", "{column: scheme, bins: 8}, ", "without a registered grid"},
		{"column: base_yuan, threshold", "column: id_number, threshold", "identifies a unit"},
		{`threshold: "8000"`, `threshold: "8100"`, "no edge of the registered grid"},
		{`threshold: "8000"`, `positive: ["1"]`, "not in the code list"},
		{`, threshold: "8000"`, ``, "says which rows are class 1"},
		{`column: base_yuan, threshold: "8000"`, `column: month, positive: ["1999-01-01"]`, "not in the code list"},
		{`column: base_yuan, threshold: "8000"`, ``, "label.column is missing"},
		{`rho: "0.02"`, `rho: "0.03"`, "allows 0.02435597"},
		{`rho: "0.02"`, `rho: "-1"`, "rho must be a ρ above 0"},
		{`rho: "0.02", `, ``, "rho must be a ρ above 0"},
		{`rho_evaluation: "0.002"`, `rho_evaluation: ""`, "rho_evaluation must be"},
		{"private: true, ", "", "leave it out, or set private: true"},
		{`private: true, rho: "0.02", `, "", "release: parameters needs private: true"},
		{"release: parameters", "release: pickle", "unknown release"},
		{"release: parameters", "encrypted_scores: true, release: parameters", "encrypted_scores is for release: scores"},
		{`private: true, rho: "0.02", rho_evaluation: "0.002", release: parameters`, `rho_evaluation: "0.002", release: scores, encrypted_scores: true`, "encrypted_scores is for release: scores"},
		{"rows_per_unit: 2", "rows_per_unit: 13", "contribution bound"},
		{"rows_per_unit: 2", "hold_out: 90", "10…50 percent"},
		{"rows_per_unit: 2", "settings: {clip: .nan}", "clip must lie"},
		{"rows_per_unit: 2", "settings: {steps: 100000}", "steps must lie"},
		{"rows_per_unit: 2", "pairs: [[scheme, industry]]", "family additive"},
		{"groups: [scheme]", "groups: [contribution_yuan]", "needs a public code list"},
	} {
		if got := refused(t, b, modelText("m", edited(t, usualModel, c.from, c.to)), "alpha"); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", c.to, got)
		}
	}
	for text, want := range map[string]string{
		edited(t, modelText("m", usualModel), "job: model", "job: query"):                                    "go together",
		edited(t, modelText("m", usualModel), "job: model\n", "job: model\nsql: S\n"):                        "in the place of sql",
		edited(t, modelText("m", usualModel), "job: model\n", "job: verification\n"):                         "go together",
		edited(t, modelText("m", usualModel), "purposes: [urban_planning]", "purposes: [inclusive_finance]"): "does not grant purpose",
	} {
		if got := refused(t, b, text, "alpha"); !strings.Contains(got, want) {
			t.Errorf("%s", got)
		}
	}
	if got := refused(t, city(t), modelText("m", usualModel), "alpha"); !strings.Contains(got, "does not grant jobs of kind model") {
		t.Error(got)
	}
	for models, want := range map[string]string{
		"": "models is missing", "    models: {families: []}\n": "families is missing", "    models: {families: [knn]}\n": "is refused",
		"    models: {families: [tree, tree]}\n": "twice", "    models: {families: [tree], rho: \"0.1\"}\n": "at most 0.088",
		"    models: {families: [tree], rows_per_month: -1}\n": "rows_per_month must lie",
	} {
		if got := refused(t, city(t), modelRuleText(t, models), "hrss"); !strings.Contains(got, want) {
			t.Errorf("%q: %s", models, got)
		}
	}
}

func modelReview(t testing.TB, b *Book, id, by, officials string) string {
	p, ok := b.Product(id)
	if !ok {
		t.Fatal("not filed")
	}
	return fmt.Sprintf("kind: ProductReview\nproduct: %s\ndigest: %s\nby: %s\napprove: true\nofficials: [%s]\nreason: {zh: 合规}\n", id, p.Digest(), by, officials)
}

// TestR08_ModelsRunUnderReviewAlone: each thing that holds a model back, by its code.
func TestR08_ModelsRunUnderReviewAlone(t *testing.T) {
	b := apply(t, modelling(t), modelText("m", usualModel), "alpha")
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	p, _ := b.Product("m")
	r := Request{Operator: "alpha", Licence: "alpha-2026", Purpose: "urban_planning", At: at, Product: "m", Version: p.Digest()}
	codes := func(b *Book, r Request) string {
		var out []string
		for _, x := range b.DecideModel(r) {
			out = append(out, x.Code)
		}
		return strings.Join(out, " ")
	}
	if got := codes(b, r); got != "PRODUCT_NOT_APPROVED PRODUCT_NOT_APPROVED" {
		t.Error(got)
	}
	// No rule in advance covers a model.
	ruled, _, err := b.Apply(signed(t, "kind: ReviewRule\nid: r1\nby: hrss\noperator: alpha\npurposes: [urban_planning]\ncolumns: {social_insurance: [scheme, industry, contribution_yuan, base_yuan]}\nnot_after: 2026-12-01T00:00:00Z\n", "hrss"), at)
	if err != nil {
		t.Fatal(err)
	}
	if got := codes(ruled, r); got != "PRODUCT_NOT_APPROVED PRODUCT_NOT_APPROVED" {
		t.Error(got)
	}
	b = apply(t, b, modelReview(t, b, "m", "hrss", "zhang"), "hrss")
	b = apply(t, b, modelReview(t, b, "m", "data_bureau", "zhang"), "data_bureau")
	if got := codes(b, r); got != "" {
		t.Error(got)
	}
	// The same columns as a query, under the same product.
	q := r
	q.Core = b.modelCore(*p.Model)
	if x := b.decideProduct(q, b.licences["alpha-2026"]); len(x) != 1 || x[0].Code != "PRODUCT_UNKNOWN" {
		t.Errorf("%+v", x)
	}
	for _, c := range []struct {
		change func(r *Request)
		want   string
	}{
		{func(r *Request) { r.Operator = "beta" }, "LICENCE_UNKNOWN"},
		{func(r *Request) { r.Purpose = "public_health" }, "PRODUCT_SCOPE"},
		{func(r *Request) { r.Version = "00" }, "PRODUCT_CHANGED"},
		{func(r *Request) { r.Product = "n" }, "PRODUCT_UNKNOWN"},
		{func(r *Request) { r.At = time.Date(2032, 1, 1, 0, 0, 0, 0, time.UTC) }, "LICENCE_EXPIRED"},
	} {
		own := r
		c.change(&own)
		if got := codes(b, own); !strings.Contains(got, c.want) {
			t.Errorf("want %s, got %s", c.want, got)
		}
	}
	// A rule that no longer allows the family, or a mask that takes a column's bounds.
	if got := codes(apply(t, b, modelRuleText(t, "    models: {families: [tree]}\n"), "hrss"), r); got != "MODEL_INVALID" {
		t.Error(got)
	}
	held, _, err := b.Apply(signed(t, "kind: Order\nid: o1\nby: hrss\ntarget: {kind: dataset, id: social_insurance}\nstage: suspend\nreason: {zh: 理由}\nbasis: {zh: 第九条}\n", "hrss"), at)
	if err != nil {
		t.Fatal(err)
	}
	if got := codes(held, r); got != "DATASET_SUSPENDED" {
		t.Error(got)
	}
}

// A model beyond ε 1 is approved by two officials of each reviewer.
func TestR02_CostlyModelsNeedTwoOfficials(t *testing.T) {
	b := apply(t, modelling(t), modelRuleText(t, "    models: {families: [logistic], rho: \"0.08\"}\n"), "hrss")
	b = apply(t, b, modelText("m", edited(t, usualModel, `rho: "0.02"`, `rho: "0.07"`)), "alpha")
	if got := refused(t, b, modelReview(t, b, "m", "hrss", "zhang"), "hrss"); !strings.Contains(got, "by two officials") {
		t.Error(got)
	}
	apply(t, b, modelReview(t, b, "m", "hrss", "zhang, li"), "hrss")
}

// Every figure must be there, keep its own bound, and give the verdict.
func TestR02_CertificatesAreJudgedByTheirFigures(t *testing.T) {
	figures := func() []ModelFigure {
		var out []ModelFigure
		for _, a := range ModelAttacks {
			f := ModelFigure{Attack: a, Held: HeldValue, Bound: most[a]}
			if a == AttackControl {
				f.Value, f.High, f.Bound = 3, 3, 1
			}
			out = append(out, f)
		}
		return out
	}
	if v, err := Judge(figures()); v != VerdictPass || err != nil {
		t.Fatal(v, err)
	}
	for i, a := range ModelAttacks {
		left := slices.Delete(figures(), i, i+1)
		if _, err := Judge(left); err == nil || !strings.Contains(err.Error(), string(a)) {
			t.Errorf("without %s: %v", a, err)
		}
		bad, want := figures(), VerdictFail
		if bad[i].Value, bad[i].High = bad[i].Bound+1, bad[i].Bound+1; a == AttackControl {
			bad[i].Value, bad[i].Low, want = 0, 0, VerdictVoid
		}
		if v, err := Judge(bad); v != want || err != nil {
			t.Errorf("%s: %s %v", a, v, err)
		}
		loose := figures()
		if loose[i].Bound++; a == AttackControl {
			loose[i].Bound = 0
		}
		if _, err := Judge(loose); err == nil {
			t.Errorf("%s: a looser bound was taken", a)
		}
		if c := (ModelCertificate{Verdict: VerdictPass, Figures: bad}); c.Check() == nil {
			t.Errorf("%s: passed against its figures", a)
		}
	}
}
