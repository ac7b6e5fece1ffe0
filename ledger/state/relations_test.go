package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies/request"
)

// openTo is a department's Disclosure of the city with a twin rule.
func openTo(t testing.TB, department, rule string) string {
	t.Helper()
	text := load(t, "city/"+department+".yaml")
	return text[strings.LastIndex(text, "kind: Disclosure"):] + "    twin: " + rule + "\n"
}

// paired is the city with published twins of population and social insurance, whose
// departments let them be tied.
func paired(t testing.TB) *world {
	t.Helper()
	w := city(t)
	w.policy(openTo(t, "hrss", "{relate: [population]}"), "hrss")
	w.policy(openTo(t, "public_security", "{relate: [social_insurance]}"), "public_security")
	w.likenessOf("social_insurance", "hrss", "t1")
	w.likenessOf("population", "public_security", "t2")
	return w
}

// likenessOf has a twin published.
func (w *world) likenessOf(dataset, department, req string) {
	w.t.Helper()
	a := w.twinAsk(req, func(s *twin.Spec) {
		s.Dataset = dataset
		if s.RowsPerUnit = 1; dataset == "population" {
			s.Columns = []string{"gender", "birth_date", "district", "household_type"}
		}
	})
	a.Department, a.Request.Twin = department, TwinID(department, req)
	w.must(w.twinEntry(a, nil))
	w.must(w.publishedTwin(a, nil))
}

func (w *world) relationsAsk(req string, change func(*twin.RelationsSpec)) RelationsAsk {
	spec := twin.RelationsSpec{Rho: "0.01", Tables: []twin.RelatedTable{{Dataset: "population", Link: []string{"birth_date", "district"}}, {Dataset: "social_insurance"}}}
	if change != nil {
		change(&spec)
	}
	return RelationsAsk{Department: "hrss", At: w.now, Request: entry.RelationsRequest{Relations: RelationsID("hrss", req), Request: req, Spec: spec}}
}

// relationsEntry is the reservation that an ask gives, signed by the department.
func (w *world) relationsEntry(a RelationsAsk, change func(*request.Statement)) *entry.Entry {
	w.t.Helper()
	r, reasons := w.s.DecideRelations(a)
	if len(reasons) > 0 {
		w.t.Fatalf("%+v", reasons)
	}
	act := ActRelations(a.Request.Spec)
	st := request.Statement{V: request.Version, Origin: w.s.Genesis().Origin, Party: a.Department, Method: act.Method, Request: a.Request.Request, Terms: act.Terms,
		IssuedAt: w.now.UnixMilli(), NotAfter: w.now.Add(request.Validity).UnixMilli(), Body: request.Commit(nil, act.Public)}
	if change != nil {
		change(&st)
	}
	signed, err := request.Sign(st, keyOf(st.Party))
	if err != nil {
		w.t.Fatal(err)
	}
	e := w.next(entry.KindRelationsReserved, a.Department)
	e.RelationsReserved, e.Signed = r, signed
	return e
}

func (w *world) publishedRelations(a RelationsAsk, change func(*entry.RelationsCertificate)) *entry.Entry {
	whole := twin.Range{Low: 10, About: 20, High: 30}
	c := entry.RelationsCertificate{Document: commitment("relations"), Rho: 10_000_000, Units: 12_500, Quality: twin.Figure{Mean: whole, Worst: whole}, Code: "test"}
	if change != nil {
		change(&c)
	}
	e := w.next(entry.KindRelationsPublished, "gateway")
	e.RelationsPublished = &entry.RelationsPublished{Relations: a.Request.Relations, Certificate: c}
	return e
}

// TestR33_RelationsAreChargedToAllAndJudgedAtReplay: the price is debited from the accounts
// of every data set's own department, whoever of them asks, and what was decided otherwise
// is refused at replay.
func TestR33_RelationsAreChargedToAllAndJudgedAtReplay(t *testing.T) {
	w := paired(t)
	a := w.relationsAsk("r1", nil)
	for what, change := range map[string]func(*request.Statement){
		"other data sets": func(s *request.Statement) {
			s.Terms = request.RelationsTerms([]request.RelatedTable{{Dataset: "population"}, {Dataset: "visits"}})
		},
		"a twin":          func(s *request.Statement) { s.Method = request.MethodTwin },
		"another price":   func(s *request.Statement) { s.Body = request.Commit(nil, request.RelationsFields(nil, "0.02")) },
		"another request": func(s *request.Statement) { s.Request = "r0" },
		"another party":   func(s *request.Statement) { s.Party = "public_security" },
	} {
		if w.try(w.relationsEntry(a, change)) == nil {
			t.Errorf("%s was signed, and taken", what)
		}
	}
	for what, change := range map[string]func(*entry.RelationsReserved){
		"a lower price":         func(r *entry.RelationsReserved) { r.Price-- },
		"one data set's charge": func(r *entry.RelationsReserved) { r.Charges = r.Charges[4:] },
		"one scope less":        func(r *entry.RelationsReserved) { r.Charges = r.Charges[:len(r.Charges)-1] },
		"the asker's account":   func(r *entry.RelationsReserved) { r.Charges[1].Scope.Operator = "hrss" },
		"another twin":          func(r *entry.RelationsReserved) { r.Tables[0].Twin = r.Tables[1].Twin },
		"another document":      func(r *entry.RelationsReserved) { r.Tables[0].Document = commitment("twin") },
		"another schema":        func(r *entry.RelationsReserved) { r.Tables[1].Schema = commitment("schema") },
		"another snapshot":      func(r *entry.RelationsReserved) { r.Tables[1].Snapshot = commitment("snapshot") },
		"fewer columns": func(r *entry.RelationsReserved) {
			r.Request.Spec.Tables = slices.Clone(r.Request.Spec.Tables)
			r.Request.Spec.Tables[0].Link = nil
		},
	} {
		e := w.relationsEntry(a, nil)
		change(e.RelationsReserved)
		if w.try(e) == nil {
			t.Errorf("%s was taken", what)
		}
	}
	for _, actor := range []string{"health", "alpha", "data_bureau"} {
		e := w.relationsEntry(a, nil)
		e.Actor = actor
		if w.try(e) == nil {
			t.Errorf("%s asks", actor)
		}
	}
	var scopes []budget.Scope
	for _, x := range [][2]string{{"population", "public_security"}, {"social_insurance", "hrss"}} {
		scopes = append(scopes, budget.Scope{Kind: budget.ScopeDatasetYear, Dataset: x[0], Year: 2026}, budget.Scope{Kind: budget.ScopeLifetime, Dataset: x[0]},
			budget.Scope{Kind: budget.ScopeOperatorYear, Dataset: x[0], Operator: x[1], Year: 2026})
	}
	var before []budget.Nano
	for _, x := range scopes {
		before = append(before, w.s.Spent(x))
	}
	w.must(w.relationsEntry(a, nil))
	for i, x := range scopes {
		if got := w.s.Spent(x) - before[i]; got != 10_000_000 {
			t.Errorf("%s was charged %s", x.Key(), got)
		}
	}
	charged := budget.Nano(0)
	w.s.ChargedBeside(func(_ int64, charges []budget.Charge) {
		for _, c := range charges {
			if c.Scope == scopes[3] {
				charged += c.Amount
			}
		}
	})
	if charged != w.s.Spent(scopes[3]) || charged < 10_000_000 {
		t.Errorf("%s stands in the charges of all, %s was spent", charged, w.s.Spent(scopes[3]))
	}
	// While they are learned, neither their twins nor relations over them come or go.
	for what, reasons := range map[string]func() bool{
		"other relations": func() bool {
			_, x := w.s.DecideRelations(w.relationsAsk("r2", nil))
			return len(x) == 1 && x[0].Code == "TWIN_UNDER_WAY"
		},
		"a twin": func() bool {
			_, x := w.s.DecideTwin(w.twinAsk("t3", nil))
			return len(x) == 1 && x[0].Code == "TWIN_UNDER_WAY"
		},
	} {
		if !reasons() {
			t.Errorf("%s meanwhile", what)
		}
	}
	for what, change := range map[string]func(*entry.RelationsCertificate){
		"a lower cost":            func(c *entry.RelationsCertificate) { c.Rho-- },
		"fewer units than a twin": func(c *entry.RelationsCertificate) { c.Units = 11_999 },
		"a figure upside down":    func(c *entry.RelationsCertificate) { c.Quality.Mean.Low = 40 },
		"a figure above one":      func(c *entry.RelationsCertificate) { c.Quality.Worst.High = 10_001 },
	} {
		if w.try(w.publishedRelations(a, change)) == nil {
			t.Errorf("%s: published", what)
		}
	}
	w.must(w.publishedRelations(a, nil))
	if w.try(w.publishedRelations(a, nil)) == nil {
		t.Error("published twice")
	}
	if r, ok := w.s.Relations(a.Request.Relations); !ok || r.Phase != PhaseReleased || w.s.StaleRelations(a.Request.Relations) != nil {
		t.Errorf("%+v", r)
	}
	// Learned once, the same twins are not tied again at others' cost; other columns are.
	if _, x := w.s.DecideRelations(w.relationsAsk("r3", nil)); len(x) != 1 || x[0].Code != "TWIN_RELATED" {
		t.Errorf("%+v", x)
	}
	si, _ := w.s.PublishedTwin("social_insurance")
	for what, x := range map[string]struct {
		code   string
		change func(*twin.RelationsSpec)
	}{
		"in another order":    {"TWIN_RELATED", func(s *twin.RelationsSpec) { s.Tables[0].Link = []string{"district", "birth_date"} }},
		"some of the columns": {"TWIN_RELATED", func(s *twin.RelationsSpec) { s.Tables[0].Link = []string{"district"} }},
		"all, written out":    {"TWIN_RELATED", func(s *twin.RelationsSpec) { s.Tables[1].Link = slices.Clone(si.Columns) }},
		"another column":      {"", func(s *twin.RelationsSpec) { s.Tables[0].Link = []string{"gender"} }},
		"all columns":         {"", func(s *twin.RelationsSpec) { s.Tables[0].Link = nil }},
	} {
		got := ""
		if _, reasons := w.s.DecideRelations(w.relationsAsk("r3", x.change)); len(reasons) > 0 {
			got = reasons[0].Code
		}
		if got != x.code {
			t.Errorf("%s: %q", what, got)
		}
	}
	w.likenessOf("population", "public_security", "t4")
	if x := w.s.StaleRelations(a.Request.Relations); x == nil || x.Code != "RELATIONS_STALE" {
		t.Errorf("%+v", x)
	}
	if _, x := w.s.DecideRelations(w.relationsAsk("r3", nil)); len(x) != 0 {
		t.Errorf("of the new twin: %+v", x)
	}
	w.replayed()
}

// What stops relations while they are learned ends them, by name, and nothing is published
// after it.
func TestRelationsThatAreStopped(t *testing.T) {
	for code, stop := range map[string]func(w *world){
		SnapshotGone: func(w *world) { w.must(w.snapshotOf("population")) },
		"DATASET_SUSPENDED": func(w *world) {
			w.policy("kind: Order\nid: o2\nby: data_bureau\ntarget: {kind: dataset, id: population}\nstage: suspend\nreason: {zh: 检查}\nbasis: {zh: 第九条}\n", "data_bureau")
		},
		"TWIN_RELATE": func(w *world) { w.policy(openTo(t, "public_security", "{}"), "public_security") },
		"TWIN_NOT_ALLOWED": func(w *world) {
			w.policy(strings.TrimSuffix(openTo(t, "public_security", "{}"), "    twin: {}\n"), "public_security")
		},
		"TWIN_RHO": func(w *world) {
			w.policy(openTo(t, "public_security", `{rho: "0.001", relate: [social_insurance]}`), "public_security")
		},
		"NEGATIVE_LIST": func(w *world) {
			w.policy("kind: NegativeList\nby: public_security\nentries:\n  - {id: n1, provider: public_security, dataset: population, columns: [gender], basis: {zh: 某法第五条, en: article 5}}\n", "public_security")
		},
		twin.CodeStale: func(w *world) {
			w.policy(strings.Replace(load(t, "city/public_security.yaml"), `step: "60 months"`, `step: "120 months"`, 1)+"    twin: {relate: [social_insurance]}\n", "public_security")
		},
	} {
		t.Run(code, func(t *testing.T) {
			w := paired(t)
			a := w.relationsAsk("r1", nil)
			w.must(w.relationsEntry(a, nil))
			id := a.Request.Relations
			if w.s.StoppedRelations(w.s.Book(), id, w.now) != nil {
				t.Fatal("stopped at once")
			}
			late := w.publishedRelations(a, nil)
			stop(w)
			late.Seq, late.At = w.s.Size(), w.now.UnixMilli()
			if w.try(late) == nil {
				t.Error("published after it was stopped")
			}
			f := w.s.StoppedRelations(w.s.Book(), id, w.now)
			if f == nil || f.Code != code {
				t.Fatalf("%+v", f)
			}
			lie := *f
			lie.Rule = "order/o9"
			e := w.next(entry.KindRelationsFailed, "gateway")
			if e.RelationsFailed = &lie; w.try(e) == nil {
				t.Error("another rule is said to have stopped it")
			}
			e = w.next(entry.KindRelationsFailed, "gateway")
			e.RelationsFailed = f
			w.must(e)
			if r, _ := w.s.Relations(id); r.Phase != PhaseFailed || len(w.s.OpenRelationsOn("population")) != 0 {
				t.Errorf("%+v", r)
			}
			w.replayed()
		})
	}
}

// R02: who is named in another's rule cannot spend that one's year by asking again, for
// other columns or after failures: twice for one published twin. The owner may go on.
func TestR02_NobodySpendsAnothersYear(t *testing.T) {
	w := paired(t)
	asked := 0
	ask := func(department string) (RelationsAsk, string) {
		asked++
		a := w.relationsAsk(fmt.Sprint("q", asked), func(s *twin.RelationsSpec) { s.Tables[0].Link = []string{"district"} })
		a.Department, a.Request.Relations = department, RelationsID(department, a.Request.Request)
		if _, x := w.s.DecideRelations(a); len(x) > 0 {
			return a, x[0].Code + " " + x[0].SetBy
		}
		return a, ""
	}
	fail := func(a RelationsAsk) {
		w.must(w.relationsEntry(a, nil))
		w.must(w.snapshotOf("social_insurance")) // the asker's own
		e := w.next(entry.KindRelationsFailed, "gateway")
		e.RelationsFailed = w.s.StoppedRelations(w.s.Book(), a.Request.Relations, w.now)
		w.must(e)
	}
	for range 2 {
		a, why := ask("hrss")
		if why != "" {
			t.Fatal(why)
		}
		fail(a)
	}
	if _, why := ask("hrss"); why != "TWIN_RELATED public_security" {
		t.Errorf("a third time: %q", why)
	}
	if _, why := ask("public_security"); why != "" {
		t.Errorf("the owner: %q", why)
	}
	w.likenessOf("population", "public_security", "t9")
	if _, why := ask("hrss"); why != "" {
		t.Errorf("of a new twin: %q", why)
	}
	w.replayed()
}

// What nobody may have tied is refused by name, before any data is read; an account that
// cannot pay refuses for all, and none is charged.
func TestRelationsThatAreRefused(t *testing.T) {
	w := paired(t)
	tables := func(ids ...string) func(*twin.RelationsSpec) {
		return func(s *twin.RelationsSpec) {
			s.Tables = nil
			for _, id := range ids {
				s.Tables = append(s.Tables, twin.RelatedTable{Dataset: id})
			}
		}
	}
	for what, x := range map[string]struct {
		code   string
		change func(*twin.RelationsSpec)
	}{
		"no price":         {"TWIN_PRICE", func(s *twin.RelationsSpec) { s.Rho = "much" }},
		"one table":        {"TWIN_SPEC", tables("social_insurance")},
		"twice the same":   {"TWIN_SPEC", tables("social_insurance", "social_insurance")},
		"in another order": {"TWIN_SPEC", tables("social_insurance", "population")},
		"none":             {"TWIN_SPEC", tables("", "population")},
		"an unknown link":  {"TWIN_SPEC", func(s *twin.RelationsSpec) { s.Tables[0].Link = []string{"phone"} }},
		"a link twice":     {"TWIN_SPEC", func(s *twin.RelationsSpec) { s.Tables[0].Link = []string{"gender", "gender"} }},
		"not its own":      {"DATASET_UNKNOWN", tables("housing_fund", "population")},
		"not named":        {"TWIN_RELATE", tables("social_insurance", "visits")},
		"above the rule":   {"TWIN_RHO", func(s *twin.RelationsSpec) { s.Rho = "0.09" }},
	} {
		if r, reasons := w.s.DecideRelations(w.relationsAsk("r", x.change)); r != nil || len(reasons) == 0 || reasons[0].Code != x.code {
			t.Errorf("%s: %+v", what, reasons)
		}
	}
	if _, reasons := city(t).s.DecideRelations(w.relationsAsk("r", nil)); reasons[0].Code != "TWIN_NOT_ALLOWED" {
		t.Errorf("without any rule: %+v", reasons)
	}
	w.policy(openTo(t, "market_regulation", "{relate: [social_insurance]}"), "market_regulation")
	w.policy(openTo(t, "hrss", "{relate: [population, enterprises]}"), "hrss")
	if _, reasons := w.s.DecideRelations(w.relationsAsk("r", tables("enterprises", "social_insurance"))); len(reasons) == 0 || reasons[0].Code != "TWIN_NONE" {
		t.Errorf("without a twin: %+v", reasons)
	}
	// Population's department has spent its year; the asker has not.
	poor := openTo(t, "public_security", "{relate: [social_insurance]}")
	w.policy(strings.Replace(poor, "    wait: durable\n", "    wait: durable\n    budget: {operator_year: \"0.025\"}\n", 1), "public_security")
	year := budget.Scope{Kind: budget.ScopeDatasetYear, Dataset: "social_insurance", Year: 2026}
	before := w.s.Spent(year)
	_, reasons := w.s.DecideRelations(w.relationsAsk("r", nil))
	if len(reasons) != 1 || reasons[0].Code != "BUDGET_EXHAUSTED" || reasons[0].SetBy != "public_security" || !strings.Contains(reasons[0].EN, "population") || w.s.Spent(year) != before {
		t.Errorf("%+v", reasons)
	}
}
