package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// modelling is the city with social insurance open to models, and two reviewed model
// products of alpha: one private, one that stays inside.
func modelling(t testing.TB) *world {
	t.Helper()
	w := city(t)
	rule := load(t, "city/hrss.yaml")
	rule = rule[strings.LastIndex(rule, "kind: Disclosure"):]
	for _, c := range []string{"scheme: [key, filter", "base_yuan: [filter, measure", "industry: [key, filter"} {
		rule = strings.Replace(rule, c, c+", train", 1)
	}
	w.policy(rule+"    models: {families: [logistic, tree], rows_per_month: 50}\n", "hrss")
	w.policy(load(t, "city/licences/alpha-2026.yaml")+"jobs: [query, model]\n", append([]string{"data_bureau"}, departments...)...)
	for id, m := range map[string]string{"private": `family: logistic, private: true, rho: "0.02", release: parameters`, "inside": "family: tree, release: scores"} {
		w.policy(fmt.Sprintf(`{kind: Product, id: %s, operator: alpha, licence: alpha-2026, title: {zh: 模型}, purposes: [urban_planning], job: model,
  model: {dataset: social_insurance, %s, rho_evaluation: "0.002", label: {column: base_yuan, threshold: "8000"}, features: [{column: scheme}, {column: industry}]}}`+"\n", id, m), "alpha")
		p, _ := w.s.Book().Product(id)
		for _, by := range []string{"hrss", "data_bureau"} {
			w.policy(fmt.Sprintf("kind: ProductReview\nproduct: %s\ndigest: %s\nby: %s\napprove: true\nofficials: [zhang]\nreason: {zh: 合规}\n", id, p.Digest(), by), by)
		}
	}
	return w
}

func (w *world) model(product, req string) ModelAsk {
	p, _ := w.s.Book().Product(product)
	return ModelAsk{Operator: "alpha", At: w.now, Request: entry.ModelRequest{Model: ModelID("alpha", req), Request: req, Licence: "alpha-2026", Purpose: "urban_planning", Product: product, Version: p.Digest()}}
}

func (w *world) modelEntry(a ModelAsk, change func(*request.Statement)) *entry.Entry {
	w.t.Helper()
	r := a.Request
	st := request.Statement{V: request.Version, Origin: w.s.Genesis().Origin, Party: a.Operator, Method: request.MethodModel, Request: r.Request, Licence: r.Licence, Purpose: r.Purpose,
		Terms: map[string]string{request.TermProduct: r.Product, request.TermDigest: r.Version}, IssuedAt: w.now.UnixMilli(), NotAfter: w.now.Add(request.Validity).UnixMilli()}
	if change != nil {
		change(&st)
	}
	signed, err := request.Sign(st, keyOf(st.Party))
	if err != nil {
		w.t.Fatal(err)
	}
	d := w.s.DecideModel(a)
	e := w.next(entry.KindModelRefused, a.Operator)
	if e.ModelRefused, e.Signed = d.Refused, signed; d.Reserved != nil {
		e.Kind, e.ModelReserved = entry.KindModelReserved, d.Reserved
	}
	return e
}

func (w *world) certified(id string, change func(*policies.ModelCertificate)) *entry.Entry {
	var figures []policies.ModelFigure
	for _, a := range policies.ModelAttacks {
		f := policies.ModelFigure{Attack: a, Held: policies.HeldValue}
		if a == policies.AttackControl {
			f.Value, f.High, f.Bound = 3, 3, 1
		}
		figures = append(figures, f)
	}
	c := policies.ModelCertificate{Verdict: policies.VerdictPass, Figures: figures, Units: 12_000, Code: "test", Report: commitment("report")}
	if change != nil {
		change(&c)
	}
	e := w.next(entry.KindModelCertified, "gateway")
	e.ModelCertified = &entry.ModelCertified{Model: id, Certificate: c, Parameters: commitment("parameters")}
	return e
}

func (w *world) scored(id, req string, rows int64) *entry.Entry {
	e := w.next(entry.KindModelScored, "alpha")
	e.ModelScored = &entry.ModelScored{Model: id, Request: req, Rows: rows}
	st := request.Statement{V: request.Version, Origin: w.s.Genesis().Origin, Party: "alpha", Method: request.MethodScore, Request: req, Terms: map[string]string{request.TermModel: id},
		IssuedAt: w.now.UnixMilli(), NotAfter: w.now.Add(request.Validity).UnixMilli(), Body: request.Commit([]byte("salt"), nil)}
	signed, err := request.Sign(st, keyOf("alpha"))
	if err != nil {
		w.t.Fatal(err)
	}
	e.Signed = signed
	return e
}

// TestR02_ModelsAreChargedOnceAndJudgedAtReplay: a model's price is debited with its
// reservation, its verdict follows from its figures, and what was decided otherwise is
// refused at replay.
func TestR02_ModelsAreChargedOnceAndJudgedAtReplay(t *testing.T) {
	w := modelling(t)
	a := w.model("private", "r1")
	scope := budget.Scope{Kind: budget.ScopeDatasetYear, Dataset: "social_insurance", Year: 2026}
	before := w.s.Spent(scope)
	for what, change := range map[string]func(*request.Statement){
		"another product": func(s *request.Statement) { s.Terms[request.TermProduct] = "inside" },
		"a query":         func(s *request.Statement) { s.Method = request.MethodProduct },
		"another licence": func(s *request.Statement) { s.Licence = "beta-2026" },
		"another party":   func(s *request.Statement) { s.Party = "beta" },
	} {
		if w.try(w.modelEntry(a, change)) == nil {
			t.Errorf("%s was signed, and taken", what)
		}
	}
	e := w.modelEntry(a, nil)
	cheap := *e.ModelReserved
	cheap.Price--
	e.ModelReserved = &cheap
	if w.try(e) == nil {
		t.Error("a lower price was taken")
	}
	w.must(w.modelEntry(a, nil))
	if got := w.s.Spent(scope) - before; got != 22_000_000 {
		t.Errorf("%s was charged", got)
	}
	if w.try(w.modelEntry(a, nil)) == nil {
		t.Error("one request id was charged twice")
	}
	for what, change := range map[string]func(*policies.ModelCertificate){
		"an attack left out":  func(c *policies.ModelCertificate) { c.Figures = slices.Delete(c.Figures, 1, 2) },
		"a figure beyond its": func(c *policies.ModelCertificate) { c.Figures[0].Value, c.Figures[0].High = 1, 1 },
		"a looser bound":      func(c *policies.ModelCertificate) { c.Figures[1].Bound = 900_000 },
		"a kinder verdict":    func(c *policies.ModelCertificate) { c.Verdict = policies.VerdictFail },
	} {
		if w.try(w.certified(a.Request.Model, change)) == nil {
			t.Errorf("%s: certified", what)
		}
	}
	if x := w.s.UseModel("alpha", a.Request.Model, w.now); x == nil || x.Code != "MODEL_NOT_READY" {
		t.Errorf("%+v", x)
	}
	w.must(w.certified(a.Request.Model, nil))
	if w.try(w.certified(a.Request.Model, nil)) == nil {
		t.Error("certified twice")
	}
	if x := w.s.UseModel("alpha", a.Request.Model, w.now); x != nil {
		t.Error(x)
	}
	if x := w.s.UseModel("beta", a.Request.Model, w.now); x == nil || x.Code != "MODEL_UNKNOWN" {
		t.Errorf("%+v", x)
	}
	b := w.model("inside", "r2")
	w.must(w.modelEntry(b, nil))
	w.must(w.certified(b.Request.Model, func(c *policies.ModelCertificate) {
		c.Verdict, c.Reasons = policies.VerdictFail, []string{"GATE_MEMBERSHIP"}
		c.Figures[1].Value, c.Figures[1].High = 400_000, 400_000
	}))
	if x := w.s.UseModel("alpha", b.Request.Model, w.now); x == nil || x.Code != "MODEL_NOT_RELEASED" || !strings.Contains(x.EN, "GATE_MEMBERSHIP") {
		t.Errorf("%+v", x)
	}
	w.replayed()
}

// TestR27_NoModelAfterAnOrder: an order ends a model under way, and holds back the
// scores of one that is certified; data that is destroyed takes the models with it that
// were not trained privately.
func TestR27_NoModelAfterAnOrder(t *testing.T) {
	for _, target := range []string{"{kind: gateway}", "{kind: operator, id: alpha}", "{kind: licence, id: alpha-2026}", "{kind: dataset, id: social_insurance}", "{kind: product, id: inside}"} {
		w := modelling(t)
		done, open := w.model("inside", "r1"), w.model("inside", "r2")
		w.must(w.modelEntry(done, nil))
		w.must(w.certified(done.Request.Model, nil))
		w.must(w.modelEntry(open, nil))
		w.policy("kind: Order\nid: o1\nby: data_bureau\ntarget: "+target+"\nstage: suspend\nreason: {zh: 检查}\nbasis: {zh: 第九条}\n", "data_bureau")
		if w.try(w.certified(open.Request.Model, nil)) == nil {
			t.Errorf("%s: certified after the order", target)
		}
		if w.try(w.scored(done.Request.Model, "s1", 1)) == nil || w.s.UseModel("alpha", done.Request.Model, w.now) == nil {
			t.Errorf("%s: used after the order", target)
		}
		f := w.s.StoppedModel(w.s.Book(), open.Request.Model, w.now)
		if f == nil || f.Rule != "order/o1" {
			t.Fatalf("%s: %+v", target, f)
		}
		e := w.next(entry.KindModelFailed, "gateway")
		lie := *f
		lie.Rule = "order/o2"
		if e.ModelFailed = &lie; w.try(e) == nil {
			t.Errorf("%s: another order is said to have stopped it", target)
		}
		e = w.next(entry.KindModelFailed, "gateway")
		e.ModelFailed = f
		w.must(e)
		w.replayed()
	}
}

func TestR36_ModelsEndWithTheirData(t *testing.T) {
	w := modelling(t)
	a, b := w.model("private", "r1"), w.model("inside", "r2")
	for _, x := range []ModelAsk{a, b} {
		w.must(w.modelEntry(x, nil))
		w.must(w.certified(x.Request.Model, nil))
	}
	for i, c := range []struct {
		rows int64
		want string
	}{{0, "SCORES_EXHAUSTED"}, {51, "SCORES_EXHAUSTED"}, {30, ""}, {21, "SCORES_EXHAUSTED"}, {20, ""}, {1, "SCORES_EXHAUSTED"}} {
		x := w.s.DecideScores("alpha", b.Request.Model, c.rows, w.now)
		if got := ""; x != nil {
			if got = x.Code; got != c.want {
				t.Errorf("%d: %s", i, got)
			}
			continue
		}
		e := w.scored(b.Request.Model, fmt.Sprint("s", i), c.rows)
		if w.must(e); c.want != "" {
			t.Errorf("%d: scored", i)
		}
		again := w.scored(b.Request.Model, fmt.Sprint("s", i), 1)
		if w.try(again) == nil {
			t.Error("one request was answered twice")
		}
	}
	w.now = w.now.Add(40 * 24 * time.Hour)
	w.must(w.scored(b.Request.Model, "s-next", 50))
	open := w.model("private", "r3")
	w.must(w.modelEntry(open, nil))
	if err := w.try(w.destroyed("hrss", "social_insurance")); err == nil || !strings.Contains(err.Error(), "open reservation") {
		t.Errorf("destroyed under a model in training: %v", err)
	}
	e := w.next(entry.KindModelFailed, "gateway")
	e.ModelFailed = &entry.ModelFailed{Model: open.Request.Model, Code: "EXECUTION_FAILED"}
	w.must(e)
	w.must(w.destroyed("hrss", "social_insurance"))
	if x := w.s.UseModel("alpha", b.Request.Model, w.now); x == nil || x.Code != "MODEL_DATA_DESTROYED" {
		t.Errorf("%+v", x)
	}
	if x := w.s.UseModel("alpha", a.Request.Model, w.now); x != nil {
		t.Errorf("%+v", x)
	}
	w.replayed()
}
