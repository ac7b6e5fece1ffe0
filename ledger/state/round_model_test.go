package state

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/fit"
	"github.com/sandgate/sandgate/compute/model/gate"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// trainable is a city whose agreement lets linear models be trained on social insurance.
func trainable(t testing.TB) *world {
	t.Helper()
	w := city(t)
	rule := load(t, "city/hrss.yaml")
	rule = rule[strings.LastIndex(rule, "kind: Disclosure"):]
	for _, c := range []string{"scheme: [key, filter", "base_yuan: [filter, measure", "contribution_yuan: [filter, measure"} {
		rule = strings.Replace(rule, c, c+", train", 1)
	}
	w.policy(rule+"    models: {families: [linear, logistic], rows_per_month: 50}\n", "hrss")
	w.policy(strings.NewReplacer("dataset: housing_fund", "dataset: social_insurance", "columns: [district]", "columns: [contribution_yuan, base_yuan]",
		`rho: {round: "0.001", period: "0.002"}`, "rho: {round: \"0.001\", period: \"0.045\"}\nmodels: {families: [linear], rho: \"0.04\"}").Replace(federation("institute")), "hrss")
	return w
}

var trainedSpec = policies.ModelSpec{Dataset: "social_insurance", Family: policies.FamilyLinear, Label: policies.ModelLabel{Column: "base_yuan"}, Features: []policies.ModelFeature{{Column: "contribution_yuan"}},
	Private: true, Rho: "0.015", RhoEvaluation: "0.002", Release: policies.ReleaseParameters}

// passOf is the entry by which a party joins a pass of a training; change alters what
// stands in it, and alter the proposal, before hub and receiver sign.
func (w *world) passOf(id, party string, pass int, alter func(*federate.Proposal), change func(*entry.RoundJoined)) *entry.RoundJoined {
	w.t.Helper()
	j := &entry.RoundJoined{Party: party, Region: "delta", Dataset: "social_insurance", Purpose: "urban_planning", Period: "2026-02", MaxUnits: 4096, Overlap: 2,
		Model: &entry.RoundModel{Run: HubTrainingID("institute", id), Spec: trainedSpec, Decryptors: 3, Dishonest: 1, Retries: 1, Pass: pass}}
	if strings.HasPrefix(party, "city") {
		j.Data = &entry.RoundData{}
	}
	m, reason := w.s.ownTraining(j)
	if reason != nil {
		w.t.Fatal(reason)
	}
	p := &federate.Proposal{V: federate.Version, Nonce: commitment(id + party + string(rune('a'+len(w.s.rounds.order)))), Scheme: federate.Mask, Query: m.Query(), Schema: commitment("schema"),
		Contributors: []string{"city_a", "city_b", "city_c"}, Regulator: "overseer", Departments: []string{"city_a", "city_b"}, Threshold: 2, Aggregator: "hub", Receiver: "institute",
		MinContributors: 3, Dishonest: 1, Deadline: w.now.Unix() + 60, Brief: commitment("brief")}
	p.Columns = passColumns(w.t, m, pass)
	if alter != nil {
		alter(p)
	}
	if change != nil {
		change(j)
	}
	text := p.Encode()
	j.Session, j.Proposal, j.Sig = p.Session(), text, ed25519.Sign(keyOf("hub"), federate.SigningBytes(text))
	w.signFor(j, "institute", func(st *request.Statement) {
		st.Method, st.Request, st.Body = request.MethodTrain, id, request.Commit(nil, request.TrainFields(trainedSpec.Text()))
		st.Terms = map[string]string{request.TermRegion: "delta", request.TermPeriod: "2026-02", request.TermScheme: federate.Mask}
	})
	return j
}

// passColumns are those of a pass: the noise of a round is that of its plan.
func passColumns(t testing.TB, m *fit.Model, pass int) []federate.Column {
	t.Helper()
	plan, err := m.Design().Plan()
	if err != nil {
		t.Fatal(err)
	}
	p := plan.Evaluation
	if pass < len(plan.Passes) {
		p = plan.Passes[pass]
	}
	norm := new(big.Int).SetInt64(p.Norm)
	square := new(big.Int).Mul(norm, norm)
	up := func(a, b *big.Int) *big.Int {
		q, r := new(big.Int).QuoRem(a, b, new(big.Int))
		return q.Add(q, big.NewInt(int64(r.Sign())))
	}
	all := up(new(big.Int).Mul(square, big.NewInt(1_000_000_000)), big.NewInt(2*int64(p.Rho)))
	c := federate.Column{Name: "pass." + string(p.Kind), Cells: p.Width, Low: -4096 * p.Norm, High: 4096 * p.Norm, Sigma2: up(new(big.Int).Mul(all, big.NewInt(2)), big.NewInt(3)), Sensitivity2: new(big.Int).Mul(square, big.NewInt(4))}
	return []federate.Column{c}
}

func (w *world) verdictOf(run string, change func(*fit.Verdict)) *entry.Entry {
	w.t.Helper()
	text, err := os.ReadFile("testdata/gate-report.json") // of a linear model of one feature at this price
	if err != nil {
		w.t.Fatal(err)
	}
	if r, err := gate.Load(text); err != nil || r.Verdict != gate.Pass {
		w.t.Fatal(err)
	}
	r := w.s.rounds.runs[run]
	m, reason := w.s.ownTraining(w.s.rounds.all[r.Sessions[0]].Joined)
	if reason != nil {
		w.t.Fatal(reason)
	}
	c, err := m.Certificate(commitment("model"), nil, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	p, f := federate.DecodeProposal(w.s.rounds.all[r.Sessions[0]].Joined.Proposal)
	if f != nil {
		w.t.Fatal(f)
	}
	v := &fit.Verdict{V: federate.Version, Base: c.Base, Run: c.Run, Contributors: p.Contributors, Rho: c.Rho, RhoEvaluation: c.RhoEvaluation, Overlap: c.Overlap, Model: commitment("model"), From: "city_a", At: w.now.Unix(), Report: text}
	if change != nil {
		change(v)
	}
	signed, err := json.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	e := w.next(entry.KindRoundVerdict, "gateway")
	e.RoundVerdict = &entry.RoundVerdict{Run: run, Verdict: signed, Sig: ed25519.Sign(keyOf("city_a"), fit.VerdictBytes(signed))}
	return e
}

// R39: a pass of a training is decided again at replay: its noise, its place among the
// rounds of its run, one snapshot, what it costs. Its verdict stands once, after all passes,
// and follows from its own figures.
func TestR39_TrainingsAreDecidedAgain(t *testing.T) {
	w := trainable(t)
	lifetime := budget.Scope{Kind: budget.ScopeLifetime, Dataset: "social_insurance"}
	before := w.s.Spent(lifetime)
	j := w.agreed(w.passOf("one", "city_a", 0, nil, nil))
	run := j.Model.Run
	for what, change := range map[string]func(*entry.RoundJoined){
		"a lower price":       func(j *entry.RoundJoined) { j.Data.Price-- },
		"no charge":           func(j *entry.RoundJoined) { j.Data.Charges = nil },
		"another snapshot":    func(j *entry.RoundJoined) { j.Data.Snapshot = commitment("x") },
		"a future key":        func(j *entry.RoundJoined) { j.Data.Epoch = 1 },
		"a core":              func(j *entry.RoundJoined) { j.Data.Core = counted("social_insurance") },
		"a later pass":        func(j *entry.RoundJoined) { j.Model.Pass = 1 },
		"a pass of none":      func(j *entry.RoundJoined) { j.Model.Pass = 9 },
		"other decryptors":    func(j *entry.RoundJoined) { j.Model.Decryptors = 4 },
		"another run":         func(j *entry.RoundJoined) { j.Model.Run = strings.Repeat("7", 32) },
		"another family":      func(j *entry.RoundJoined) { j.Model.Spec.Family = policies.FamilyLogistic },
		"another column":      func(j *entry.RoundJoined) { j.Model.Spec.Features[0].Column = "scheme" },
		"more retries":        func(j *entry.RoundJoined) { j.Model.Retries = 2 },
		"other terms":         func(j *entry.RoundJoined) { j.Overlap = 1 },
		"no training":         func(j *entry.RoundJoined) { j.Model = nil },
		"another's signature": func(j *entry.RoundJoined) { j.Sig = ed25519.Sign(keyOf("city_b"), federate.SigningBytes(j.Proposal)) },
	} {
		bad := copied(t, w.joined(j))
		change(bad.RoundJoined)
		if err := w.try(bad); err == nil {
			t.Errorf("%s: entered", what)
		}
	}
	for what, alter := range map[string]func(*federate.Proposal){
		"less noise":   func(p *federate.Proposal) { p.Columns[0].Sigma2.Rsh(p.Columns[0].Sigma2, 1) },
		"wider bounds": func(p *federate.Proposal) { p.Columns[0].High++ },
		"other data":   func(p *federate.Proposal) { p.Query = commitment("query") },
	} {
		if _, reasons := w.s.DecideRound(*w.passOf("one", "city_a", 0, alter, nil), w.now); len(reasons) == 0 {
			t.Errorf("%s: joined", what)
		}
	}
	w.must(w.joined(j))
	p, _ := federate.DecodeProposal(j.Proposal)
	if got := w.s.Spent(lifetime) - before; got != p.Price() || got <= 0 || got > 15_000_000 {
		t.Errorf("the pass was charged %s", got)
	}
	code := func(id string, pass int) string {
		t.Helper()
		_, reasons := w.s.DecideRound(*w.passOf(id, "city_a", pass, nil, nil), w.now)
		if len(reasons) == 0 {
			return ""
		}
		return reasons[0].Code
	}
	// One round of a run at a time; what failed is asked again, as often as was agreed.
	if got := code("one", 0); got != "FEDERATION_RUN" {
		t.Errorf("a second round beside the first: %q", got)
	}
	if err := w.try(w.verdictOf(run, nil)); err == nil {
		t.Error("a verdict before the passes")
	}
	w.must(w.endedRound(entry.RoundEnded{Session: j.Session, Code: "FEDERATION_LATE"}))
	failed := w.forked(t)
	second := failed.agreed(failed.passOf("one", "city_a", 0, nil, nil))
	failed.must(failed.joined(second))
	failed.must(failed.endedRound(entry.RoundEnded{Session: second.Session, Code: "FEDERATION_LATE"}))
	if _, reasons := failed.s.DecideRound(*failed.passOf("one", "city_a", 0, nil, nil), failed.now); len(reasons) == 0 || reasons[0].Code != fit.CodeRetries {
		t.Errorf("after the last retry: %v", reasons)
	}
	again := w.agreed(w.passOf("one", "city_a", 0, nil, nil))
	w.must(w.joined(again))
	w.must(w.answeredRound(again.Session))
	w.must(w.endedRound(resultOf(again.Session)))
	if got := code("one", 0); got != fit.CodeHistory {
		t.Errorf("a released pass again: %q", got)
	}
	other := w.forked(t)
	other.must(other.snapshotOf("social_insurance"))
	if _, reasons := other.s.DecideRound(*other.passOf("one", "city_a", 1, nil, nil), other.now); len(reasons) == 0 || reasons[0].Code != "FEDERATION_RUN" {
		t.Errorf("the next pass about other rows: %v", reasons)
	}
	last := w.agreed(w.passOf("one", "city_a", 1, nil, nil))
	w.must(w.joined(last))
	w.must(w.endedRound(resultOf(last.Session)))
	if got := code("one", 2); got == "" {
		t.Error("a pass after the last")
	}
	// Another run of the same model pays the same again, up to the agreement's bound.
	if got := code("two", 0); got != "FEDERATION_PRICE" {
		t.Errorf("beyond the period: %q", got)
	}
	for what, change := range map[string]func(*fit.Verdict){
		"another training": func(v *fit.Verdict) { v.Base = commitment("x") },
		"another party":    func(v *fit.Verdict) { v.From = "city_b" },
		"another run":      func(v *fit.Verdict) { v.Run = strings.Repeat("7", 32) },
		"other domains":    func(v *fit.Verdict) { v.Contributors[2] = "city_x" },
		"a lower price":    func(v *fit.Verdict) { v.Rho = "0.001" },
		"too early":        func(v *fit.Verdict) { v.At -= 3600 },
		"too late":         func(v *fit.Verdict) { v.At += 3600 },
		"its figures":      func(v *fit.Verdict) { v.Report = []byte(strings.Replace(string(v.Report), `"PASS"`, `"FAIL"`, 1)) },
		"another price":    func(v *fit.Verdict) { v.Report = []byte(strings.Replace(string(v.Report), `2499999`, `2499998`, 1)) },
	} {
		if err := w.try(w.verdictOf(run, change)); err == nil {
			t.Errorf("a verdict of %s was entered", what)
		}
	}
	forged := w.verdictOf(run, nil)
	forged.RoundVerdict.Sig = ed25519.Sign(keyOf("city_b"), fit.VerdictBytes(forged.RoundVerdict.Verdict))
	if err := w.try(forged); err == nil {
		t.Error("a verdict that another signed was entered")
	}
	held := w.forked(t)
	held.policy(`{kind: Order, id: stop, by: hrss, target: {kind: dataset, id: social_insurance}, stage: suspend, reason: {zh: 停}, basis: {zh: 法}}`+"\n", "hrss")
	var reason *policies.Reason
	if err := held.try(held.verdictOf(run, nil)); !errors.As(err, &reason) || reason.Code != "DATASET_SUSPENDED" {
		t.Errorf("a verdict on suspended data: %v", err)
	}
	w.must(w.verdictOf(run, nil))
	if err := w.try(w.verdictOf(run, nil)); err == nil {
		t.Error("a second verdict was entered")
	}
	if r, ok := w.s.TrainingRun(run); !ok || r.Verdict == nil || len(r.Sessions) != 3 {
		t.Errorf("%+v", r)
	}
}

// R39: who has no data takes part in passes without being charged, and gives no verdict.
func TestR39_TrainingsWithoutData(t *testing.T) {
	w := trainable(t)
	lifetime := budget.Scope{Kind: budget.ScopeLifetime, Dataset: "social_insurance"}
	before := w.s.Spent(lifetime)
	for pass := range 2 {
		j := w.agreed(w.passOf("one", "overseer", pass, nil, nil))
		w.must(w.joined(j))
		w.must(w.answeredRound(j.Session))
		w.must(w.endedRound(resultOf(j.Session)))
	}
	if w.s.Spent(lifetime) != before {
		t.Error("the regulator was charged")
	}
	if x := w.s.VerdictDue(HubTrainingID("institute", "one"), w.now); x == nil || x.Code != "FEDERATION_RUN" {
		t.Errorf("%v", x)
	}
	if x := w.s.VerdictDue(strings.Repeat("7", 32), w.now); x == nil || x.Code != "FEDERATION_RUN" {
		t.Errorf("%v", x)
	}
}

// R39: who only holds a share of the key joins no pass, and is not held to a history that it
// cannot have; who decrypts or has data is.
func TestR39_KeyHoldersHaveNoHistory(t *testing.T) {
	w := trainable(t)
	j := w.passOf("one", "overseer", 1, nil, nil)
	p, f := federate.DecodeProposal(j.Proposal)
	if f != nil {
		t.Fatal(f)
	}
	p.Departments = []string{"city_a", "city_b", "bureau"}
	for party, history := range map[string]bool{"bureau": false, "overseer": true, "city_a": true, "city_c": true} {
		j.Party = party
		if x := w.s.nextPass(p, j); (x != nil) != history || x != nil && x.Code != fit.CodeHistory {
			t.Errorf("%s, a later pass: %+v", party, x)
		}
	}
}
