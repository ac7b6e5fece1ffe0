package gateway_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/fit"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/model/gate"
	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/ledger/metering"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
	"github.com/sandgate/sandgate/policies/signature"
)

// hubTrainee is the domain behind a node of a training: made-up rows, and a made-up report
// of a gate that the model passed. What real domains decide, TestR39_CitiesTrainModels shows.
type hubTrainee struct {
	r     *hubSite
	party string
	data  model.Split

	mu    sync.Mutex
	steps map[string]*fit.Step
	of    map[string]*fit.Model
	sums  map[string][]int64
	asked map[string]string // request id of the receiver's
}

// training lets the site's cities train models.
func (r *hubSite) training() {
	r.t.Helper()
	x := people("joint", 0, "models: {families: [linear, logistic], rho: \"0.088\"}")
	for i := range x.Columns {
		x.Columns[i].Uses += ", train"
	}
	r.a.Must(r.t, x.Catalogue()+"---\n"+strings.ReplaceAll(x.Licences(), "security_terms:", "jobs: [query, model]\nsecurity_terms:"), attack.Department, attack.Regulator)
	r.a.Must(r.t, r.modelAgreement(""), attack.Department)
	for i, c := range append([]string{attack.Regulator}, hubCities...) {
		d := &hubTrainee{r: r, party: c, steps: map[string]*fit.Step{}, of: map[string]*fit.Model{}, sums: map[string][]int64{}, asked: map[string]string{}}
		if c != attack.Regulator {
			d.data = model.Split{Train: ages(700, uint64(i)), Held: ages(300, uint64(50+i))}
		}
		r.trainees[c] = d
	}
}

func (r *hubSite) modelAgreement(swap string) string {
	text := strings.NewReplacer("overlap: 2", "overlap: 1", `period: "0.05"}`, "period: \"2\"}\nmodels: {families: [linear], rho: \"0.2\"}").Replace(r.agreement("delta", ""))
	if from, to, ok := strings.Cut(swap, "=>"); ok {
		text = strings.Replace(text, from, to, 1)
	}
	return text
}

// ages have a fee near half of the age.
func ages(n int, seed uint64) *model.Data {
	r := rand.New(rand.NewPCG(seed, 9))
	d := &model.Data{Count: n, Bins: make([][]uint16, 1), Values: make([][]float32, 1)}
	for u := range n {
		x := float32(2*r.Float64() - 1)
		d.Units, d.Bins[0], d.Values[0] = append(d.Units, int32(u)), append(d.Bins[0], 0), append(d.Values[0], x)
		d.Label = append(d.Label, max(-1, min(1, x/2+float32(r.NormFloat64()/10))))
	}
	return d
}

func modelOf(brief []byte) (*fit.Model, fit.Brief, error) {
	b, f := federate.DecodeBrief(brief)
	if f != nil {
		return nil, fit.Brief{}, f
	}
	step, err := fit.DecodeBrief(b.Model.Step)
	if err != nil {
		return nil, step, err
	}
	m, err := fit.Of(step, b.Terms, step.Design)
	return m, step, err
}

func (d *hubTrainee) Decide(ctx context.Context, p *federate.Proposal, _ federate.Signed, brief []byte) (string, []policies.Reason) {
	d.r.mu.Lock()
	x, no := d.r.refuses[d.party]
	d.r.mu.Unlock()
	if no {
		return "", []policies.Reason{x}
	}
	m, b, err := modelOf(brief)
	if err != nil {
		return "", []policies.Reason{{Code: "BRIEF", ZH: "任务书", EN: err.Error()}}
	}
	whole, _ := federate.DecodeBrief(brief)
	asked, err := request.Open(whole.Asked.Request)
	if err != nil {
		return "", []policies.Reason{{Code: "ASKED", ZH: "签名", EN: err.Error()}}
	}
	next, _, err := m.Next(ctx, b.Answers)
	if err != nil || next == nil || !next.Fits(p) {
		return "", []policies.Reason{{Code: "NEXT", ZH: "下一遍", EN: "next"}}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.steps[p.Session()], d.of[p.Session()], d.asked[p.Session()] = next, m, asked.Statement.Request
	return next.Schema, nil
}

func (d *hubTrainee) Values(_ context.Context, p *federate.Proposal) (func([]int64) error, error) {
	if d.r.breaks(d.party) {
		return nil, errors.New("no")
	}
	d.mu.Lock()
	s, m := d.steps[p.Session()], d.of[p.Session()]
	d.mu.Unlock()
	data := d.data.Train
	if s.Pass.Kind == model.PassScores {
		data = d.data.Held
	}
	sums, err := model.Sums(data, m.Design(), s.Pass, nil)
	if err != nil {
		return nil, err
	}
	cells, err := s.Cells(sums)
	return func(out []int64) error { cells = cells[copy(out, cells):]; return nil }, err
}

func (d *hubTrainee) Answering(context.Context, string, *federate.Proposal, string) error { return nil }

func (d *hubTrainee) Released(_ context.Context, session string, _ *federate.Proposal, part []int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sums[session] = append(d.sums[session], part...)
	return nil
}

func (d *hubTrainee) Deliver(_ context.Context, session string, p *federate.Proposal, values string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	sums := d.sums[session]
	if d.r.mu.Lock(); d.r.says[d.party] == "short sums" {
		sums = sums[1:]
		values = federate.ValuesDigest(sums)
	}
	d.r.mu.Unlock()
	x := &federate.Delivery{V: federate.Version, Request: d.asked[session], Session: session, From: d.party, Receiver: p.Receiver, At: time.Now().Unix(), Brief: p.Brief, Values: values, Release: fit.EncodeValues(sums)}
	return x.Encode(), nil
}

func (d *hubTrainee) Ended(string, *federate.Proposal, *federate.Result, *federate.Fault) {}

// Judge implements node.Judge: a PASS, or what the test has the city say.
func (d *hubTrainee) Judge(ctx context.Context, t *federate.Trial, brief []byte) (*federate.Signed, []policies.Reason) {
	d.r.mu.Lock()
	says, short := d.r.says[d.party], d.r.says["city_b"] == "nothing"
	d.r.mu.Unlock()
	if left := time.Until(time.Unix(t.Deadline, 0)); !short && left < 30*time.Minute {
		d.r.t.Errorf("a gate has %v", left)
	}
	if trouble, ok := strings.CutPrefix(says, "once "); ok { // passing trouble
		d.r.mu.Lock()
		d.r.says[d.party] = ""
		d.r.mu.Unlock()
		return nil, []policies.Reason{{Code: trouble, ZH: "稍后", EN: "later"}}
	}
	if says == "nothing" {
		<-ctx.Done()
		return nil, nil
	}
	if says == "refused" {
		return nil, []policies.Reason{{Code: "FEDERATED_HISTORY", ZH: "不是我的", EN: "not mine"}}
	}
	m, b, err := modelOf(brief)
	if err == nil && says == "another run" {
		m, err = fit.Of(fit.Brief{Run: strings.Repeat("7", 32), Spec: b.Spec, Decryptors: b.Decryptors, Dishonest: b.Dishonest, Retries: b.Retries, Design: b.Design, Answers: b.Answers}, federate.Terms{MaxUnits: 1000, Overlap: 1, Period: "2026"}, b.Design)
	}
	var text []byte
	if err == nil {
		var out *fit.Outcome
		if _, out, err = m.Next(ctx, b.Answers); err == nil {
			text, err = m.Judge(out, d.party, t.Contributors, reportOf(out, says == "fail"), time.Now().Unix())
		}
	}
	if err != nil {
		return nil, []policies.Reason{{Code: "JUDGE", ZH: "检验", EN: err.Error()}}
	}
	key := d.r.key(d.party)
	if says == "false signature" {
		key = d.r.key(attack.Other)
	}
	sig, err := signature.Sign(key, fit.VerdictBytes(text))
	if err != nil {
		return nil, []policies.Reason{{Code: "SIGN", ZH: "签名", EN: err.Error()}}
	}
	return &federate.Signed{Text: text, Sig: sig}, nil
}

// reportOf is a report that fits an outcome; its figures are those of another model of the
// same price, which its marks go by.
func reportOf(out *fit.Outcome, fails bool) *gate.Report {
	name := "pass"
	if fails {
		name = "fail"
	}
	text, err := os.ReadFile("../ledger/state/testdata/" + name + "-report.json")
	if err != nil {
		panic(err)
	}
	r := &gate.Report{}
	if err := json.Unmarshal(text, r); err != nil {
		panic(err)
	}
	r.Family, r.Features, r.Parameters = out.Parameters.Family, len(out.Parameters.Features), out.Parameters.Count()
	return r
}

// breaks says whether a city is to fail in this round, and counts it.
func (r *hubSite) breaks(party string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails[party] == 0 {
		return false
	}
	r.fails[party]--
	return true
}

func trainingRequest(change func(*sandgatev1.ProposeTrainingRequest)) *sandgatev1.ProposeTrainingRequest {
	spec := policies.ModelSpec{Dataset: "joint", Family: policies.FamilyLinear, Label: policies.ModelLabel{Column: "fee"}, Features: []policies.ModelFeature{{Column: "age"}},
		Private: true, Rho: "0.075", RhoEvaluation: "0.013", Release: policies.ReleaseParameters}
	req := &sandgatev1.ProposeTrainingRequest{RequestId: uuid.NewString(), Region: "delta", Licence: attack.LicenceID(attack.Op(0), "joint"), Purpose: attack.Purpose, Period: "2026",
		Specification: []byte(spec.Text()), Scheme: "mask", Seconds: 60}
	if change != nil {
		change(req)
	}
	return req
}

// train proposes a training and waits for its end.
func (r *hubSite) train(change func(*sandgatev1.ProposeTrainingRequest)) *sandgatev1.Training {
	r.t.Helper()
	c := r.a.Client(attack.Op(0))
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Minute)
	defer cancel()
	got, err := c.Training.ProposeTraining(ctx, trainingRequest(change))
	if err != nil {
		r.t.Fatal(err)
	}
	if got, err = c.FollowTraining(ctx, got, nil); err != nil {
		r.t.Fatal(err)
	}
	return got
}

// certified fetches a model and checks it as a stranger does, with the agreement alone.
func (r *hubSite) certified(t *sandgatev1.Training) {
	r.t.Helper()
	if t.GetState() != sandgatev1.Training_STATE_CERTIFIED {
		r.t.Fatalf("not certified: %v", t)
	}
	got, err := r.a.Client(attack.Op(0)).Training.GetTrainedModel(r.t.Context(), &sandgatev1.GetTrainedModelRequest{Name: t.GetName()})
	if err != nil {
		r.t.Fatal(err)
	}
	docs, err := policies.ParseBundle([]byte(r.modelAgreement("")))
	if err != nil {
		r.t.Fatal(err)
	}
	f := docs[0].Body.(*policies.Federation)
	stranger := func(party string, text, sig []byte) error {
		if key, ok := f.KeyOf(party); !ok || !ed25519.Verify(key, fit.VerdictBytes(text), sig) {
			return errors.New("no")
		}
		return nil
	}
	cert, reports, err := fit.ReadCertificate(got.GetCertificate(), stranger)
	if err != nil || len(reports) != 3 || !slices.Equal(cert.Contributors, hubCities) {
		r.t.Fatalf("the certificate: %v", err)
	}
	p, err := model.Parse(got.GetFile())
	if err != nil {
		r.t.Fatal(err)
	}
	if digest, err := p.Digest(); err != nil || digest != cert.Model || digest != t.GetModel() {
		r.t.Errorf("the file is not the certificate's model: %v", err)
	}
	var e model.Evaluation // what rho_evaluation paid for
	if err := json.Unmarshal(got.GetEvaluation(), &e); err != nil || e.RMSE == nil || e.Units == nil || e.Units.Value < 300 || e.Units.Value > 1500 {
		r.t.Errorf("the evaluation: %s", got.GetEvaluation())
	}
	if c := p.Coefficients[0]; math.Abs(c[0]) > 0.2 || math.Abs(c[1]-0.5) > 0.25 {
		r.t.Errorf("fee = %v + %v·age, want about 0 + 0.5", c[0], c[1])
	}
	// Control: with one byte of a verdict changed it is nobody's certificate.
	cert.Verdicts[1].Text = []byte(strings.Replace(string(cert.Verdicts[1].Text), `"from":"city_b"`, `"from":"city_c"`, 1))
	if _, _, err := fit.ReadCertificate(cert.Encode(), stranger); err == nil {
		r.t.Error("a changed certificate is read")
	}
}

// R02, R39: a model is trained pass by pass over three cities through the gateway, a round
// that fails is made up for, and the certified model is fetched by its receiver and checked
// by a stranger. Who is in the way ends a training in its name: one that declines, one that
// fails too often, one whose verdict is missing, refused, forged, a FAIL or of another run.
func TestR39_HubTrainsModels(t *testing.T) {
	r := newHubSite(t)
	r.training()
	r.attend(append([]string{attack.Regulator}, hubCities...)...)
	set := func(f func()) { r.mu.Lock(); defer r.mu.Unlock(); f() }
	done := r.train(nil)
	r.certified(done)
	if done.GetPasses() != 2 || done.GetAnswered() != 2 || len(done.GetAttempts()) != 2 || len(done.GetJudged()) != 3 || done.GetRetries() != 1 {
		t.Errorf("%v", done)
	}
	for party, code := range map[string]codes.Code{attack.Op(1): codes.NotFound, attack.Department: codes.NotFound, "city_a": codes.PermissionDenied, attack.Regulator: codes.OK} {
		_, err := r.a.Client(party).Training.GetTrainedModel(t.Context(), &sandgatev1.GetTrainedModelRequest{Name: done.GetName()})
		if code == codes.OK {
			if err != nil {
				t.Error(err)
			}
		} else if got, _ := wellFormed(t, party, err); got != code {
			t.Errorf("%s: %v", party, err)
		}
	}

	// A round that fails is made up for; with none to spare it ends the training.
	set(func() { r.fails["city_b"] = 1 })
	again := r.train(nil)
	r.certified(again)
	if a := again.GetAttempts(); len(a) != 3 || len(a[0].GetReasons()) != 1 || a[0].GetReasons()[0].GetSetBy() != "city_b" {
		t.Errorf("the attempts: %v", again.GetAttempts())
	}
	failed := func(what, code, party, word string, change func(*sandgatev1.ProposeTrainingRequest)) {
		t.Helper()
		got := r.train(change)
		x := got.GetReasons()
		if got.GetState() != sandgatev1.Training_STATE_FAILED || len(x) != 1 || x[0].GetCode() != code || x[0].GetSetBy() != party || !strings.Contains(x[0].GetMessageEn()+x[0].GetHintEn(), word) {
			t.Errorf("%s: %v", what, got)
		}
		if _, err := r.a.Client(attack.Op(0)).Training.GetTrainedModel(t.Context(), &sandgatev1.GetTrainedModelRequest{Name: got.GetName()}); attack.Reason(err) != code {
			t.Errorf("%s: its model: %v", what, err)
		}
	}
	none := int32(0)
	set(func() { r.fails["city_b"] = 1 })
	failed("no retry", "FEDERATION_DECLINED", "city_b", "ends the round", func(q *sandgatev1.ProposeTrainingRequest) { q.Retries = &none })
	set(func() {
		r.refuses["city_c"] = policies.Reason{Code: "BUDGET_EXHAUSTED", ZH: "预算已尽", EN: "the budget is spent"}
	})
	failed("a policy", "FEDERATION_DECLINED", "city_c", "BUDGET_EXHAUSTED: the budget is spent", nil)
	set(func() { delete(r.refuses, "city_c") })

	for says, word := range map[string]string{"refused": "FEDERATED_HISTORY: not mine", "false signature": "not signed by it", "another run": "of another model", "fail": "did not pass its gate (FAIL)"} {
		set(func() { r.says["city_b"] = says })
		failed(says, fit.CodeVerdict, "city_b", word, nil)
	}
	set(func() { delete(r.says, "city_b"); r.says[attack.Regulator] = "short sums" })
	failed("sums of another width", "FEDERATION_SUMS", attack.Regulator, "not the sums of the pass", nil)
	set(func() { delete(r.says, attack.Regulator) })

	// Who is in passing trouble is asked again; how long a gate has is not the time of a pass.
	r.a.Domain.SetTrials(45*time.Minute, 10*time.Millisecond)
	for _, code := range []string{"BUSY", "KEYS_AWAY", "VOLUME_FULL"} {
		set(func() { r.says["city_b"] = "once " + code })
		r.certified(r.train(func(q *sandgatev1.ProposeTrainingRequest) { q.Seconds = 30 }))
	}
	r.a.Domain.SetTrials(5*time.Second, time.Second)
	set(func() { r.says["city_b"] = "nothing" })
	failed("no verdict", fit.CodeVerdict, "city_b", "has not tried", nil)
	set(func() { delete(r.says, "city_b") })

	list, err := r.a.Client("city_a").Training.ListTrainings(t.Context(), &sandgatev1.ListTrainingsRequest{})
	if err != nil || len(list.GetTrainings()) != 13 {
		t.Errorf("%d trainings, %v", len(list.GetTrainings()), err)
	}
	// R09: the hub's statement counts them, as it does rounds.
	r.a.Domain.Look(func(s *state.State) {
		st := metering.Of(s, metering.Period{From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)}, metering.Filter{})
		if len(st.Lines) != 1 || st.Lines[0].Operator != attack.Op(0) || st.Lines[0].Calls != 5 || st.Lines[0].Failed != 8 || int64(st.Lines[0].Rho) != 13*done.GetPriceNanoRho() || len(st.Contributions) != 1 || st.Contributions[0].Calls != 5 {
			t.Errorf("the trainings are metered as %+v", st)
		}
	})
}

// R39: what may not be trained is refused by name before anybody is asked; a training is
// cancelled by who may; and one that runs when the gateway stops goes on from its last
// answer after the next start.
func TestR39_HubResumesTrainings(t *testing.T) {
	r := newHubSite(t)
	r.training()
	before := len(r.a.Entries(t))
	type q = *sandgatev1.ProposeTrainingRequest
	refused := func(what, code string, change func(q)) {
		t.Helper()
		_, err := r.a.Client(attack.Op(0)).Training.ProposeTraining(t.Context(), trainingRequest(change))
		if _, reason := wellFormed(t, what, err); reason != code {
			t.Errorf("%s: %v, not %s", what, err, code)
		}
	}
	edit := func(from, to string) func(q) {
		return func(x q) { x.Specification = []byte(strings.Replace(string(x.Specification), from, to, 1)) }
	}
	nine := int32(9)
	refused("agreement", "FEDERATION_UNKNOWN", func(x q) { x.Region = "gamma" })
	refused("licence", "LICENCE_UNKNOWN", func(x q) { x.Licence = "none" })
	refused("family of the agreement", "FEDERATION_MODELS", func(x q) {
		x.Specification = []byte(strings.NewReplacer(`"linear"`, `"logistic"`, `"column":"fee"`, `"column":"flag","positive":["true"]`).Replace(string(x.Specification)))
	})
	refused("rho", "MODEL_INVALID", edit(`"rho":"0.075"`, `"rho":"0.5"`))
	refused("no parameters", "FEDERATED_PRIVATE", edit(`"release":"parameters"`, `"release":"scores"`))
	refused("layout", "MODEL_INVALID", edit(`{`, `{ `))
	refused("no specification", "MODEL_INVALID", func(x q) { x.Specification = nil })
	refused("retries", "TRAINING_RETRIES", func(x q) { x.Retries = &nine })
	if _, err := r.a.Client(attack.Op(1)).Training.ProposeTraining(t.Context(), trainingRequest(func(x q) { x.Licence = attack.LicenceID(attack.Op(1), "joint") })); attack.Reason(err) != "ROUND_RECEIVER" {
		t.Errorf("no receiver: %v", err)
	}
	if after := len(r.a.Entries(t)); after != before {
		t.Errorf("refusals left %d entries", after-before)
	}

	c := r.a.Client(attack.Op(0))
	r.attend(attack.Regulator, "city_a", "city_b")
	req := trainingRequest(nil)
	waits := func(req *sandgatev1.ProposeTrainingRequest) *sandgatev1.Training {
		t.Helper()
		got, err := c.Training.ProposeTraining(t.Context(), req)
		for err == nil && !slices.Equal(got.GetMissing(), []string{"city_c"}) {
			time.Sleep(10 * time.Millisecond)
			got, err = c.Training.GetTraining(t.Context(), &sandgatev1.GetTrainingRequest{Name: got.GetName()})
		}
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	cancelled := waits(trainingRequest(nil))
	if _, err := r.a.Client(attack.Op(1)).Training.CancelTraining(t.Context(), &sandgatev1.CancelTrainingRequest{Name: cancelled.GetName()}); attack.Reason(err) != "NOT_FOUND" {
		t.Errorf("cancelled by another: %v", err)
	}
	if got, err := c.Training.CancelTraining(t.Context(), &sandgatev1.CancelTrainingRequest{Name: cancelled.GetName()}); err != nil || got.GetReasons()[0].GetCode() != "CANCELLED" {
		t.Errorf("cancelled: %v %v", got, err)
	}
	if _, err := c.Training.CancelTraining(t.Context(), &sandgatev1.CancelTrainingRequest{Name: cancelled.GetName()}); attack.Reason(err) != "NOT_CANCELLABLE" {
		t.Errorf("cancelled again: %v", err)
	}

	// A pass whose end could not be entered is entered by who waits for it.
	none := int32(0)
	lost := waits(trainingRequest(func(x q) { x.Retries = &none }))
	r.a.Domain.LoseRounds()
	r.leave("city_b")
	if got, err := c.FollowTraining(t.Context(), lost, nil); err != nil || len(got.GetReasons()) != 1 || got.GetReasons()[0].GetCode() != "FEDERATION_GONE" || got.GetReasons()[0].GetSetBy() != "city_b" {
		t.Errorf("an end that was not entered: %v %v", got, err)
	}
	r.attend("city_b")

	open := waits(req)
	if err := r.a.Stop(); err != nil {
		t.Fatal(err)
	}
	for p := range r.stops {
		r.leave(p)
	}
	if err := r.a.Start(gateway.Options{}); err != nil {
		t.Fatal(err)
	}
	r.attend(append([]string{attack.Regulator}, hubCities...)...)
	c = r.a.Client(attack.Op(0))
	same, err := c.Training.ProposeTraining(t.Context(), req)
	if err != nil || same.GetName() != open.GetName() {
		t.Fatalf("asked again: %v %v", same, err)
	}
	got, err := c.FollowTraining(t.Context(), same, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.certified(got)
	if a := got.GetAttempts(); len(a) != 3 || a[0].GetReasons()[0].GetCode() != "HUB_RESTARTED" {
		t.Errorf("the attempts: %v", got.GetAttempts())
	}
	req.Specification = []byte(strings.Replace(string(req.GetSpecification()), `"0.075"`, `"0.074"`, 1))
	req.SignedRequest = nil
	if _, err := c.Training.ProposeTraining(t.Context(), req); attack.Reason(err) != "REQUEST_ID_REUSED" {
		t.Errorf("another model: %v", err)
	}
	// Another start replays all of it, and hands out the same model.
	if err := r.a.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := r.a.Start(gateway.Options{}); err != nil {
		t.Fatal(err)
	}
	r.certified(got)
}
