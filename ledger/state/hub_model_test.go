package state

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/fit"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// trainingCity is the city as the aggregator of trainings by three others.
func trainingCity(t *testing.T) *world {
	t.Helper()
	w := modelling(t)
	var more strings.Builder
	for _, c := range []string{"city_a", "city_b", "city_c"} {
		fmt.Fprintf(&more, "  - {id: %s, role: department, title: {zh: %s}, key: %q}\n", c, c, publicText(c))
	}
	w.policy(strings.Replace(load(t, "city/registry.yaml"), "purposes:\n", more.String()+"purposes:\n", 1), "data_bureau")
	w.policy(trainingAgreement(""), "hrss")
	return w
}

func trainingAgreement(swap string) string {
	text := strings.NewReplacer("dataset: housing_fund", "dataset: social_insurance", "columns: [district]", "columns: [scheme, industry, base_yuan]",
		`rho: {round: "0.001", period: "0.002"}`, "rho: {round: \"0.001\", period: \"0.1\"}\nmodels: {families: [logistic], rho: \"0.04\"}").Replace(hubAgreement(""))
	if from, to, ok := strings.Cut(swap, "=>"); ok {
		text = strings.Replace(text, from, to, 1)
	}
	return text
}

func trainingRequest(id string) entry.HubModelRequest {
	return entry.HubModelRequest{Run: HubTrainingID("alpha", id), Request: id, Licence: "alpha-2026", Purpose: "urban_planning", Region: "delta", Period: "2026-02",
		Spec: policies.ModelSpec{Dataset: "social_insurance", Family: policies.FamilyLogistic, Label: policies.ModelLabel{Column: "base_yuan", Threshold: "8000"}, Features: []policies.ModelFeature{{Column: "scheme"}},
			Private: true, Rho: "0.015", RhoEvaluation: "0.002", Release: policies.ReleaseParameters, Setting: policies.ModelSettings{Steps: 1}}}
}

func (w *world) asksTraining(party string, r entry.HubModelRequest, change func(*request.Statement)) *request.Signed {
	w.t.Helper()
	st := request.Statement{V: request.Version, Origin: w.s.Genesis().Origin, Party: party, Method: request.MethodTrain, Request: r.Request, Licence: r.Licence, Purpose: r.Purpose,
		Terms: HubTrainingTerms(r), IssuedAt: w.now.UnixMilli(), NotAfter: w.now.Add(request.Validity).UnixMilli(), Body: request.Commit(nil, request.TrainFields(r.Spec.Text()))}
	if change != nil {
		change(&st)
	}
	out, err := request.Sign(st, keyOf(party))
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// trainingAsked is the entry by which a training begins, as the gateway makes it.
func (w *world) trainingAsked(r entry.HubModelRequest) *entry.Entry {
	w.t.Helper()
	d := w.s.DecideHubTraining(HubTrainingAsk{Operator: "alpha", Request: r, At: w.now})
	if d.Asked == nil {
		w.t.Fatal(d.Reasons)
	}
	e := w.next(entry.KindHubModelAsked, "alpha")
	e.HubModelAsked, e.Signed = d.Asked, w.asksTraining("alpha", r, nil)
	return e
}

func (w *world) hubPass(run string, pass int, session string) *entry.Entry {
	t, _ := w.s.HubTraining(run)
	e := w.next(entry.KindHubModelPass, "gateway")
	e.HubModelPass = &entry.HubModelPass{Run: run, Pass: pass, Session: commitment(session), Deadline: e.Time().Unix() + int64(t.Asked.Seconds)}
	return e
}

func (w *world) hubAnswered(run, session, from string) *entry.Entry {
	m := &federate.Message{V: federate.Version, Session: commitment(session), Kind: federate.KindResult, From: "data_bureau", At: w.now.Unix(),
		Result: &federate.Result{Manifest: commitment("manifest"), Sum: commitment("sum"), Values: commitment("values"), Release: commitment("release " + session), Content: commitment("encoded")}}
	text := m.Encode()
	e := w.next(entry.KindHubModelAnswered, "gateway")
	e.HubModelAnswered = &entry.HubModelAnswered{Run: run, Session: commitment(session), Result: text, Sig: ed25519.Sign(keyOf(from), federate.SigningBytes(text))}
	return e
}

func (w *world) hubMissed(run, session, party string) *entry.Entry {
	e := w.next(entry.KindHubModelMissed, "gateway")
	e.HubModelMissed = &entry.HubModelMissed{Run: run, Session: commitment(session), Code: "FEDERATION_GONE", Party: party}
	return e
}

func (w *world) hubEnded(f entry.HubModelEnded) *entry.Entry {
	e := w.next(entry.KindHubModelEnded, "gateway")
	e.HubModelEnded = &f
	return e
}

// passReport is a PASS of a model at another price.
func passReport(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/pass-report.json")
	if err != nil {
		t.Fatal(err)
	}
	return []byte(strings.NewReplacer(`"family":"linear"`, `"family":"logistic"`, `"features":4`, `"features":1`).Replace(string(text)))
}

// hubJudged is a city's verdict with a report of a gate that a model passed; change alters
// it before it is signed by a party.
func (w *world) hubJudged(run, city, by string, change func(*fit.Verdict)) *entry.Entry {
	w.t.Helper()
	report, err := os.ReadFile("testdata/gate-report.json")
	if err != nil {
		w.t.Fatal(err)
	}
	report = []byte(strings.Replace(string(report), `"family":"linear"`, `"family":"logistic"`, 1)) // the same marks
	t, _ := w.s.HubTraining(run)
	c, err := w.s.HubModel(run).Certificate(commitment("model"), nil, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	v := &fit.Verdict{V: federate.Version, Base: c.Base, Run: c.Run, Contributors: t.Asked.Contributors, Rho: c.Rho, RhoEvaluation: c.RhoEvaluation, Overlap: c.Overlap,
		Model: commitment("model"), From: city, At: w.now.Unix(), Report: report}
	if change != nil {
		change(v)
	}
	text, err := json.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	e := w.next(entry.KindHubModelJudged, "gateway")
	e.HubModelJudged = &entry.HubModelJudged{Run: run, Party: city, Verdict: text, Sig: ed25519.Sign(keyOf(by), fit.VerdictBytes(text))}
	return e
}

// hubCertified is the end of a training by the verdicts in the ledger.
func (w *world) hubCertified(run, parameters string) *entry.Entry {
	e := w.next(entry.KindHubModelCertified, "gateway")
	e.HubModelCertified = &entry.HubModelCertified{Run: run, Model: parameters, Certificate: commitment("none"), File: commitment("file"), Stored: commitment("stored"), Bytes: 100}
	t, _ := w.s.HubTraining(run)
	if c, err := w.s.HubCertificate(&t, parameters); err == nil {
		sum := sha256.Sum256(c.Encode())
		e.HubModelCertified.Certificate = hex.EncodeToString(sum[:])
	}
	return e
}

// R39: a training over domains is decided again at replay: who asked for what, whose turn
// a pass was, who signed its sums, how often it may be tried, and that every domain's signed
// verdict is a PASS of this very model.
func TestR39_HubTrainingsAreDecidedAgain(t *testing.T) {
	w := trainingCity(t)
	refused := func(what string, e *entry.Entry) {
		t.Helper()
		if err := w.try(e); err == nil {
			t.Errorf("%s: entered", what)
		}
	}
	good := w.trainingAsked(trainingRequest("one"))
	for what, change := range map[string]func(*entry.HubModelAsked){
		"a lower price":         func(p *entry.HubModelAsked) { p.Price-- },
		"a lower reserve":       func(p *entry.HubModelAsked) { p.Reserve-- },
		"another agreement":     func(p *entry.HubModelAsked) { p.Agreement = commitment("x") },
		"another base":          func(p *entry.HubModelAsked) { p.Base = commitment("x") },
		"fewer domains":         func(p *entry.HubModelAsked) { p.Contributors = p.Contributors[:2] },
		"fewer decryptors":      func(p *entry.HubModelAsked) { p.Decryptors-- },
		"more retries":          func(p *entry.HubModelAsked) { p.Retries++ },
		"more passes":           func(p *entry.HubModelAsked) { p.Passes++ },
		"another specification": func(p *entry.HubModelAsked) { p.Request.Spec.Rho = "0.01" },
		"another purpose":       func(p *entry.HubModelAsked) { p.Request.Purpose = "public_health" },
		"another id":            func(p *entry.HubModelAsked) { p.Request.Run = HubTrainingID("beta", "one") },
	} {
		bad := copied(t, good)
		change(bad.HubModelAsked)
		refused(what, bad)
	}
	unsigned := copied(t, good)
	unsigned.Signed = nil
	refused("nobody's", unsigned)
	for what, change := range map[string]func(*request.Statement){
		"signed for a query":         func(s *request.Statement) { s.Method = request.MethodRound },
		"signed for another model":   func(s *request.Statement) { s.Body = request.Commit(nil, request.TrainFields("{}")) },
		"signed for more retries":    func(s *request.Statement) { s.Terms[request.TermRetries] = "8" },
		"signed for another licence": func(s *request.Statement) { s.Licence = "alpha-2025" },
	} {
		bad := copied(t, good)
		bad.Signed = w.asksTraining("alpha", good.HubModelAsked.Request, change)
		refused(what, bad)
	}
	w.must(good)
	run := good.HubModelAsked.Request.Run
	if good.HubModelAsked.Passes != 3 || good.HubModelAsked.Retries != 1 {
		t.Fatalf("%+v", good.HubModelAsked)
	}
	refused("a request id twice", copied(t, good))

	refused("a pass out of turn", w.hubPass(run, 1, "s0"))
	late := w.hubPass(run, 0, "s0")
	late.HubModelPass.Deadline++
	refused("a later deadline", late)
	w.must(w.hubPass(run, 0, "s0"))
	refused("two passes at a time", w.hubPass(run, 0, "s1"))
	refused("an end while a pass runs", w.hubEnded(entry.HubModelEnded{Run: run, Code: "TRAINING_FAILED"}))
	refused("a stranger to blame", w.hubMissed(run, "s0", "city_d"))
	w.must(w.hubMissed(run, "s0", "city_b"))
	refused("an answer of a missed pass", w.hubAnswered(run, "s0", "data_bureau"))
	refused("a session twice", w.hubPass(run, 0, "s0"))
	w.must(w.hubPass(run, 0, "s1"))
	refused("sums that the regulator did not sign", w.hubAnswered(run, "s1", "city_a"))
	refused("sums of another session", w.hubAnswered(run, "s2", "data_bureau"))
	w.must(w.hubAnswered(run, "s1", "data_bureau"))
	refused("an answered pass again", w.hubPass(run, 0, "s2"))
	refused("a verdict before the last pass", w.hubJudged(run, "city_a", "city_a", nil))
	for i, s := range []string{"s2", "s3"} {
		w.must(w.hubPass(run, i+1, s))
		w.must(w.hubAnswered(run, s, "data_bureau"))
	}
	refused("a pass too many", w.hubPass(run, 3, "s4"))
	refused("a certificate without verdicts", w.hubCertified(run, commitment("model")))
	refused("a verdict of another's key", w.hubJudged(run, "city_a", "city_b", nil))
	refused("a verdict in another's name", w.hubJudged(run, "city_a", "city_a", func(v *fit.Verdict) { v.From = "city_b" }))
	refused("a verdict on another training", w.hubJudged(run, "city_a", "city_a", func(v *fit.Verdict) { v.Base = commitment("x") }))
	refused("a verdict against its figures", w.hubJudged(run, "city_a", "city_a", func(v *fit.Verdict) {
		v.Report = []byte(strings.Replace(string(v.Report), `"verdict":"PASS"`, `"verdict":"FAIL"`, 1))
	}))
	for what, change := range map[string]func(*fit.Verdict){
		"without a contributor": func(v *fit.Verdict) { v.Contributors = []string{"city_a", "city_b", "city_d"} },
		"on another run":        func(v *fit.Verdict) { v.Run = strings.Repeat("7", 32) },
		"at a lower price":      func(v *fit.Verdict) { v.Rho = "0.001" },
		"with cheaper figures":  func(v *fit.Verdict) { v.RhoEvaluation = "0.001" },
		"with another overlap":  func(v *fit.Verdict) { v.Overlap++ },
		"on a report of a family": func(v *fit.Verdict) {
			v.Report = []byte(strings.Replace(string(v.Report), `"family":"logistic"`, `"family":"linear"`, 1))
		},
		"on a report of more input": func(v *fit.Verdict) {
			v.Report = []byte(strings.Replace(string(v.Report), `"features":1`, `"features":2`, 1))
		},
		"on a report at a price": func(v *fit.Verdict) { v.Report = passReport(t) },
	} {
		refused("a verdict "+what, w.hubJudged(run, "city_a", "city_a", change))
	}
	refused("a stranger's verdict", w.hubJudged(run, "hrss", "hrss", nil))
	w.must(w.hubJudged(run, "city_a", "city_a", nil))
	refused("a verdict twice", w.hubJudged(run, "city_a", "city_a", nil))
	w.must(w.hubJudged(run, "city_b", "city_b", nil))
	refused("a certificate with one verdict missing", w.hubCertified(run, commitment("model")))
	w.must(w.hubJudged(run, "city_c", "city_c", nil))
	refused("a certificate of another model", w.hubCertified(run, commitment("another")))
	forged := w.hubCertified(run, commitment("model"))
	forged.HubModelCertified.Certificate = commitment("another")
	refused("another certificate", forged)
	w.must(w.hubCertified(run, commitment("model")))
	if x, ok := w.s.HubTraining(run); !ok || x.Phase != PhaseReleased || len(x.Judged) != 3 || x.Verdicts != nil || x.Misses() != 1 || x.Answered() != 3 || len(w.s.OpenHubTrainings()) != 0 {
		t.Errorf("%+v", x)
	}
	refused("a training that ended twice", w.hubEnded(entry.HubModelEnded{Run: run, Code: "TRAINING_FAILED"}))
}

// R39: a training ends with a party's name when no retry is left, is cancelled by who may,
// and stops when what let it be asked ends.
func TestR39_HubTrainingsEnd(t *testing.T) {
	w := trainingCity(t)
	begin := func(id string) string {
		t.Helper()
		e := w.trainingAsked(trainingRequest(id))
		w.must(e)
		return e.HubModelAsked.Request.Run
	}
	failed := begin("failed")
	for _, s := range []string{"f0", "f1"} {
		w.must(w.hubPass(failed, 0, s))
		w.must(w.hubMissed(failed, s, "city_b"))
	}
	if err := w.try(w.hubPass(failed, 0, "f2")); err == nil {
		t.Error("a third attempt with one retry")
	}
	w.must(w.hubEnded(entry.HubModelEnded{Run: failed, Code: "FEDERATION_GONE", Party: "city_b"}))
	cancelled := begin("cancelled")
	w.must(w.hubPass(cancelled, 0, "c0"))
	for _, party := range []string{"beta", "hrss"} {
		e := w.hubEnded(entry.HubModelEnded{Run: cancelled, Code: Cancelled, By: party})
		e.Signed = w.act(party, ActCancelHubTraining(cancelled))
		if err := w.try(e); err == nil {
			t.Errorf("cancelled by %s", party)
		}
	}
	e := w.hubEnded(entry.HubModelEnded{Run: cancelled, Code: Cancelled, By: "data_bureau"})
	e.Signed = w.act("data_bureau", ActCancelHubTraining(cancelled))
	w.must(e)
	stopped := begin("stopped")
	if x := w.s.StoppedHubTraining(w.s.Book(), stopped, w.now); x != nil {
		t.Fatalf("stopped by %v", x)
	}
	if err := w.try(w.hubEnded(entry.HubModelEnded{Run: stopped, Code: "LICENCE_ENDED", Rule: "licence/alpha-2026", By: "data_bureau"})); err == nil {
		t.Error("ended by a rule that holds nothing against it")
	}
	w.policy(trainingAgreement("overlap: 2=>overlap: 3"), "hrss")
	x := w.s.StoppedHubTraining(w.s.Book(), stopped, w.now)
	if x == nil || x.Code != "FEDERATION_CHANGED" {
		t.Fatalf("not stopped by another agreement: %v", x)
	}
	if err := w.try(w.hubPass(stopped, 0, "x0")); err == nil {
		t.Error("a pass under an agreement that was changed")
	}
	w.must(w.hubEnded(*x))
}

// R39: the aggregator refuses a training by name before any domain is asked.
func TestR39_HubRefusesTrainings(t *testing.T) {
	w := trainingCity(t)
	ask := func(operator string, change func(*entry.HubModelRequest)) string {
		r := trainingRequest("asked")
		change(&r)
		if d := w.s.DecideHubTraining(HubTrainingAsk{Operator: operator, Request: r, At: w.now}); d.Asked == nil {
			return d.Reasons[0].Code
		}
		return ""
	}
	nine, eight := 9, 8
	for want, change := range map[string]func(*entry.HubModelRequest){
		"":                   func(*entry.HubModelRequest) {},
		"FEDERATION_UNKNOWN": func(r *entry.HubModelRequest) { r.Region = "gamma" },
		"ROUND_PERIOD":       func(r *entry.HubModelRequest) { r.Period = "2026-13" },
		"ROUND_DATASET":      func(r *entry.HubModelRequest) { r.Spec.Dataset = "housing_fund" },
		"TRAINING_RETRIES":   func(r *entry.HubModelRequest) { r.Retries = &nine },
		"LICENCE_UNKNOWN":    func(r *entry.HubModelRequest) { r.Licence = "beta-2026" },
		"ROUND_PARTY":        func(r *entry.HubModelRequest) { r.Contributors = []string{"city_b", "city_a", "city_c"} },
		"FEDERATION_OUTSIDE": func(r *entry.HubModelRequest) { r.Scheme = "bgv" },
		"MODEL_INVALID":      func(r *entry.HubModelRequest) { r.Spec.Features = []policies.ModelFeature{{Column: "base_yuan"}} },
		fit.CodeFamily: func(r *entry.HubModelRequest) {
			r.Spec.Family, r.Spec.Setting = policies.FamilyTree, policies.ModelSettings{}
		},
		fit.CodePrivate:     func(r *entry.HubModelRequest) { r.Spec.Release = policies.ReleaseScores },
		"FEDERATION_MODELS": func(r *entry.HubModelRequest) { r.Retries = &eight },
	} {
		if got := ask("alpha", change); got != want {
			t.Errorf("refused as %q, not as %q", got, want)
		}
	}
	if got := ask("beta", func(*entry.HubModelRequest) {}); got != "ROUND_RECEIVER" {
		t.Errorf("not a receiver: %q", got)
	}
	w.policy(trainingAgreement("models: {families: [logistic], rho: \"0.04\"}=>#"), "hrss")
	if got := ask("alpha", func(*entry.HubModelRequest) {}); got != "FEDERATION_MODELS" {
		t.Errorf("an agreement without models: %q", got)
	}
	w.policy(trainingAgreement("k: 3=>k:  3"), "hrss")
	w.now = time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC)
	if got := ask("alpha", func(*entry.HubModelRequest) {}); got == "" {
		t.Error("asked for when agreement and licence are over")
	}
	w.now = start.Add(time.Hour)
	for i := range hubRoundsOfOne {
		w.must(w.trainingAsked(trainingRequest(fmt.Sprint("r", i))))
	}
	if got := ask("alpha", func(*entry.HubModelRequest) {}); got != "ROUNDS_BUSY" {
		t.Errorf("a fifth training: %q", got)
	}
}
