package state

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies/request"
)

// likened is the city with social insurance open to twins.
func likened(t testing.TB, rule string) *world {
	t.Helper()
	w := city(t)
	text := load(t, "city/hrss.yaml")
	w.policy(text[strings.LastIndex(text, "kind: Disclosure"):]+"    twin: "+rule+"\n", "hrss")
	return w
}

func (w *world) twinAsk(req string, change func(*twin.Spec)) TwinAsk {
	spec := twin.Spec{Dataset: "social_insurance", RowsPerUnit: 3, Rho: "0.02"}
	if change != nil {
		change(&spec)
	}
	return TwinAsk{Department: "hrss", At: w.now, Request: entry.TwinRequest{Twin: TwinID("hrss", req), Request: req, Spec: spec}}
}

// twinEntry is the reservation that an ask gives, signed by the department.
func (w *world) twinEntry(a TwinAsk, change func(*request.Statement)) *entry.Entry {
	w.t.Helper()
	r, reasons := w.s.DecideTwin(a)
	if len(reasons) > 0 {
		w.t.Fatalf("%+v", reasons)
	}
	act := ActTwin(a.Request.Spec)
	st := request.Statement{V: request.Version, Origin: w.s.Genesis().Origin, Party: a.Department, Method: act.Method, Request: a.Request.Request, Terms: act.Terms,
		IssuedAt: w.now.UnixMilli(), NotAfter: w.now.Add(request.Validity).UnixMilli(), Body: request.Commit(nil, act.Public)}
	if change != nil {
		change(&st)
	}
	signed, err := request.Sign(st, keyOf(st.Party))
	if err != nil {
		w.t.Fatal(err)
	}
	e := w.next(entry.KindTwinReserved, a.Department)
	e.TwinReserved, e.Signed = r, signed
	return e
}

func (w *world) publishedTwin(a TwinAsk, change func(*entry.TwinCertificate)) *entry.Entry {
	schema, _ := w.s.TwinSchema(a)
	whole := twin.Range{Low: 10, About: 20, High: 30}
	figure := twin.Figure{Mean: whole, Worst: whole}
	c := entry.TwinCertificate{Document: commitment("document"), Schema: schema.Digest(), Rho: schema.Rho, Units: 12_000, Quality: entry.TwinFigures{Rows: 1000, OneWay: figure, TwoWay: figure}, Code: "test"}
	if change != nil {
		change(&c)
	}
	e := w.next(entry.KindTwinPublished, "gateway")
	e.TwinPublished = &entry.TwinPublished{Twin: a.Request.Twin, Certificate: c}
	return e
}

// TestR33_TwinsAreChargedOnceAndJudgedAtReplay: a twin's price is debited from the
// department's own account and from the data set's, and what was decided otherwise is
// refused at replay.
func TestR33_TwinsAreChargedOnceAndJudgedAtReplay(t *testing.T) {
	w := likened(t, "{}")
	a := w.twinAsk("r1", nil)
	for what, change := range map[string]func(*request.Statement){
		"another data set": func(s *request.Statement) { s.Terms = map[string]string{request.TermDataset: "population"} },
		"a risk":           func(s *request.Statement) { s.Method = request.MethodRisk },
		"another price":    func(s *request.Statement) { s.Body = request.Commit(nil, request.TwinFields(nil, nil, 3, "0.01")) },
		"another request":  func(s *request.Statement) { s.Request = "r0" },
		"another party":    func(s *request.Statement) { s.Party = "health" },
	} {
		if w.try(w.twinEntry(a, change)) == nil {
			t.Errorf("%s was signed, and taken", what)
		}
	}
	for what, change := range map[string]func(*entry.TwinReserved){
		"a lower price":       func(r *entry.TwinReserved) { r.Price-- },
		"an operator's scope": func(r *entry.TwinReserved) { r.Charges[1].Scope.Operator = "alpha" },
		"another schema":      func(r *entry.TwinReserved) { r.Schema = commitment("schema") },
		"another snapshot":    func(r *entry.TwinReserved) { r.Snapshot = commitment("snapshot") },
	} {
		e := w.twinEntry(a, nil)
		change(e.TwinReserved)
		if w.try(e) == nil {
			t.Errorf("%s was taken", what)
		}
	}
	e := w.twinEntry(a, nil)
	e.Actor = "civil_affairs"
	if w.try(e) == nil {
		t.Error("another department publishes")
	}
	year := budget.Scope{Kind: budget.ScopeDatasetYear, Dataset: "social_insurance", Year: 2026}
	own := budget.Scope{Kind: budget.ScopeOperatorYear, Dataset: "social_insurance", Operator: "hrss", Year: 2026}
	before := w.s.Spent(year)
	w.must(w.twinEntry(a, nil))
	if w.s.Spent(year)-before != 20_000_000 || w.s.Spent(own) != 20_000_000 {
		t.Errorf("%s and %s were charged", w.s.Spent(year)-before, w.s.Spent(own))
	}
	if _, reasons := w.s.DecideTwin(w.twinAsk("r2", nil)); len(reasons) == 0 || reasons[0].Code != "TWIN_UNDER_WAY" {
		t.Errorf("%+v", reasons)
	}
	schema, _ := w.s.TwinSchema(a)
	marginalsRho := schema.Plan().Passes[0].Rho
	for what, change := range map[string]func(*entry.TwinCertificate){
		"another schema":       func(c *entry.TwinCertificate) { c.Schema = commitment("schema") },
		"a lower cost":         func(c *entry.TwinCertificate) { c.Rho-- },
		"pairs at no cost":     func(c *entry.TwinCertificate) { c.MarginalsOnly = true },
		"figures of no pairs":  func(c *entry.TwinCertificate) { c.MarginalsOnly, c.Rho = true, marginalsRho },
		"a figure upside down": func(c *entry.TwinCertificate) { c.Quality.OneWay.Mean.Low = 40 },
		"a figure above one":   func(c *entry.TwinCertificate) { c.Quality.TwoWay.Worst.High = 10_001 },
		"nobody":               func(c *entry.TwinCertificate) { c.Units = 0 },
		"figures of nothing":   func(c *entry.TwinCertificate) { c.Quality.Rows = 0 },
	} {
		if w.try(w.publishedTwin(a, change)) == nil {
			t.Errorf("%s: published", what)
		}
	}
	if _, ok := w.s.PublishedTwin("social_insurance"); ok {
		t.Error("published before it is")
	}
	w.must(w.publishedTwin(a, func(c *entry.TwinCertificate) {
		c.MarginalsOnly, c.Rho, c.Quality.TwoWay = true, marginalsRho, twin.Figure{}
	}))
	if w.try(w.publishedTwin(a, nil)) == nil {
		t.Error("published twice")
	}
	if w.s.StaleTwin(a.Request.Twin) != nil {
		t.Error("stale at once")
	}
	b := w.twinAsk("r3", nil)
	w.must(w.twinEntry(b, nil))
	w.must(w.publishedTwin(b, nil))
	if now, _ := w.s.PublishedTwin("social_insurance"); now.Request.Twin != b.Request.Twin {
		t.Error("the older one is in force")
	}
	// The department's own year has an end, which says whose it is.
	for i := range 5 {
		c := w.twinAsk(fmt.Sprint("more", i), nil)
		if _, reasons := w.s.DecideTwin(c); len(reasons) > 0 {
			if i < 2 || reasons[0].Code != "BUDGET_EXHAUSTED" || !strings.Contains(reasons[0].EN, "department and year") {
				t.Errorf("%d: %+v", i, reasons[0])
			}
			break
		} else if i == 4 {
			t.Error("it never ends")
		}
		w.must(w.twinEntry(c, nil))
		w.must(w.publishedTwin(c, nil))
	}
	w.replayed()
}

// TestR27_NoTwinAfterAnOrder: an order, a stricter rule or another catalogue ends a twin
// that is being learned, and a changed catalogue makes a published one stale.
func TestR27_NoTwinAfterAnOrder(t *testing.T) {
	rule := load(t, "city/hrss.yaml")
	closed := rule[strings.LastIndex(rule, "kind: Disclosure"):]
	for code, stop := range map[string]func(*world){
		"DATASET_SUSPENDED": func(w *world) {
			w.policy("kind: Order\nid: o1\nby: data_bureau\ntarget: {kind: dataset, id: social_insurance}\nstage: suspend\nreason: {zh: 检查}\nbasis: {zh: 第九条}\n", "data_bureau")
		},
		"TWIN_NOT_ALLOWED": func(w *world) { w.policy(closed, "hrss") },
		"TWIN_RHO":         func(w *world) { w.policy(closed+"    twin: {rho: \"0.01\"}\n", "hrss") },
		"TWIN_LEVEL":       func(w *world) { w.policy(closed+"    twin: {level: 2}\n", "hrss") },
		twin.CodeStale: func(w *world) {
			w.policy(strings.Replace(rule, `{from: "0", to: "40000", step: "500"}`, `{from: "0", to: "40000", step: "1000"}`, 1)+"    twin: {}\n", "hrss")
		},
	} {
		t.Run(code, func(t *testing.T) {
			w := likened(t, "{}")
			done, open := w.twinAsk("r1", nil), w.twinAsk("r2", nil)
			w.must(w.twinEntry(done, nil))
			w.must(w.publishedTwin(done, nil))
			w.must(w.twinEntry(open, nil))
			if w.s.StoppedTwin(w.s.Book(), open.Request.Twin, w.now) != nil {
				t.Fatal("stopped at once")
			}
			late := w.publishedTwin(open, nil)
			stop(w)
			late.Seq, late.At = w.s.Size(), w.now.UnixMilli()
			if w.try(late) == nil {
				t.Error("published after it was stopped")
			}
			f := w.s.StoppedTwin(w.s.Book(), open.Request.Twin, w.now)
			if f == nil || f.Code != code {
				t.Fatalf("%+v", f)
			}
			if stale := w.s.StaleTwin(done.Request.Twin); (stale != nil) != (code == twin.CodeStale) {
				t.Errorf("%+v", stale)
			}
			lie := *f
			lie.Rule = "order/o2"
			e := w.next(entry.KindTwinFailed, "gateway")
			if e.TwinFailed = &lie; w.try(e) == nil {
				t.Error("another rule is said to have stopped it")
			}
			e = w.next(entry.KindTwinFailed, "gateway")
			e.TwinFailed = f
			w.must(e)
			w.replayed()
		})
	}
}

// What policy lets nobody publish is refused by name, before any data is read.
func TestTwinsThatAreRefused(t *testing.T) {
	w := likened(t, "{rho: \"0.02\"}")
	for code, a := range map[string]TwinAsk{
		"TWIN_RHO":        w.twinAsk("r", func(s *twin.Spec) { s.Rho = "0.021" }),
		"TWIN_PRICE":      w.twinAsk("r", func(s *twin.Spec) { s.Rho = "much" }),
		"TWIN_COLUMN":     w.twinAsk("r", func(s *twin.Spec) { s.Columns = []string{"none"} }),
		"TWIN_SPEC":       w.twinAsk("r", func(s *twin.Spec) { s.RowsPerUnit = 13 }),
		"DATASET_UNKNOWN": w.twinAsk("r", func(s *twin.Spec) { s.Dataset = "population" }),
	} {
		if r, reasons := w.s.DecideTwin(a); r != nil || len(reasons) == 0 || reasons[0].Code != code {
			t.Errorf("%s: %+v", code, reasons)
		}
	}
	w = likened(t, "{level: 2}")
	if _, reasons := w.s.DecideTwin(w.twinAsk("r", nil)); len(reasons) != 2 || reasons[0].Code != "TWIN_LEVEL" || !strings.Contains(reasons[0].EN, "base_yuan") {
		t.Errorf("%+v", reasons)
	}
	if _, reasons := w.s.DecideTwin(w.twinAsk("r", func(s *twin.Spec) { s.Columns = []string{"scheme", "district", "employer_code"} })); len(reasons) != 0 {
		t.Errorf("columns of level 2: %+v", reasons)
	}
	if x := w.s.Book().MayReadTwin("alpha", "social_insurance", w.now); x != nil {
		t.Errorf("a licensed operator: %+v", x)
	}
	for _, party := range []string{"hrss", "data_bureau"} {
		if x := w.s.Book().MayReadTwin(party, "social_insurance", w.now); x != nil {
			t.Errorf("%s: %+v", party, x)
		}
	}
	for party, dataset := range map[string]string{"alpha": "enterprises", "civil_affairs": "social_insurance", "nobody": "social_insurance"} {
		if w.s.Book().MayReadTwin(party, dataset, w.now) == nil {
			t.Errorf("%s reads %s", party, dataset)
		}
	}
	w.policy("kind: Order\nid: o1\nby: data_bureau\ntarget: {kind: licence, id: alpha-2026}\nstage: suspend\nreason: {zh: 检查}\nbasis: {zh: 第九条}\n", "data_bureau")
	if w.s.Book().MayReadTwin("alpha", "social_insurance", w.now) == nil {
		t.Error("under a suspended licence")
	}
}
