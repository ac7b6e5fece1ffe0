package gateway_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/big"
	mrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/fit"
	"github.com/sandgate/sandgate/compute/model/gate"
	"github.com/sandgate/sandgate/gateway"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/node"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// patients of a city: the fee is near 200 + 6·age, and who is flagged is old.
func patients(n int, seed uint64) attack.Table {
	r := mrand.New(mrand.NewPCG(seed, 7))
	x := people("visits", 1, "models: {families: [linear, logistic, forest]}")
	var csv strings.Builder
	csv.WriteString("id,age,district,fee,flag\n")
	for i := range n {
		age := r.IntN(100)
		fee := min(1000, max(0, 200+6*float64(age)+40*r.NormFloat64()))
		fmt.Fprintf(&csv, "p%d_%d,%d,%s,%.2f,%v\n", seed, i, age, string("abc"[r.IntN(3)]), fee, float64(age)+15*r.NormFloat64() > 50)
	}
	x.CSV = csv.String()
	for i := range x.Columns {
		x.Columns[i].Uses += ", train"
	}
	return x
}

// models is an agreement under which models may be trained.
func models(text string) string {
	return strings.NewReplacer("columns: [district, fee]", "columns: [district, fee, age, flag]", `rho: {round: "0.001", period: "0.003"}`, "rho: {round: \"0.001\", period: \"0.06\"}\nmodels: {families: [linear, logistic], rho: \"0.04\"}").Replace(text)
}

var (
	linearSpec = policies.ModelSpec{Dataset: "visits", Family: policies.FamilyLinear, Label: policies.ModelLabel{Column: "fee"}, Features: []policies.ModelFeature{{Column: "age"}},
		Private: true, Rho: "0.015", RhoEvaluation: "0.002", Release: policies.ReleaseParameters}
	logisticSpec = policies.ModelSpec{Dataset: "visits", Family: policies.FamilyLogistic, Label: policies.ModelLabel{Column: "flag", Positive: []string{"true"}}, Features: []policies.ModelFeature{{Column: "age"}},
		Private: true, Rho: "0.015", RhoEvaluation: "0.002", Release: policies.ReleaseParameters, Setting: policies.ModelSettings{Steps: 1}}
)

// course is a training as an honest hub leads it.
type course struct {
	r       *region
	m       *fit.Model
	spec    policies.ModelSpec
	run     string
	asked   []byte // what the receiver signed
	answers []fit.Answer
}

func (r *region) course(spec policies.ModelSpec) *course {
	r.t.Helper()
	id := uuid.NewString()
	var e policies.Entry
	r.arenas["city_a"].Domain.Look(func(s *state.State) { e, _ = s.Book().Dataset("visits") })
	c := &course{r: r, spec: spec, run: state.HubTrainingID("institute", id)}
	st := request.Statement{V: request.Version, Origin: "hub.example/log", Party: "institute", Method: request.MethodTrain, Request: id, Purpose: attack.Purpose,
		Terms: map[string]string{request.TermRegion: "delta", request.TermPeriod: "2026-10", request.TermScheme: federate.Mask,
			request.TermDomains: state.DomainsDigest(roundCities), request.TermSeconds: "180", request.TermRetries: "1"},
		IssuedAt: time.Now().UnixMilli(), NotAfter: time.Now().Add(request.Validity).UnixMilli(), Body: request.Commit(nil, request.TrainFields(spec.Text()))}
	signed, err := request.Sign(st, r.keys["institute"])
	if err != nil {
		r.t.Fatal(err)
	}
	if c.asked, err = signed.Envelope(); err != nil {
		r.t.Fatal(err)
	}
	c.m, err = fit.Own(spec, e, fit.Terms{Terms: federate.Terms{MaxUnits: 4096, Overlap: 1, Period: "2026-10"}, Decryptors: 3, Dishonest: 1, Retries: 1}, c.run)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// brief is that of the pass after answers; change alters it.
func (c *course) brief(answers []fit.Answer, change func(*fit.Brief)) *federate.Brief {
	c.r.t.Helper()
	step := c.m.Brief(answers)
	step.Spec = c.spec
	if change != nil {
		change(&step)
	}
	text, err := step.Encode()
	if err != nil {
		c.r.t.Fatal(err)
	}
	salt := make([]byte, 32)
	rand.Read(salt)
	return &federate.Brief{V: federate.Version, Kind: federate.BriefModel, Salt: hex.EncodeToString(salt), Region: "delta", Dataset: "visits", Purpose: attack.Purpose,
		Terms: federate.Terms{MaxUnits: 4096, Overlap: 1, Period: "2026-10"}, Asked: federate.Asked{Request: c.asked}, Model: &federate.ModelBrief{Step: text}}
}

// ask proposes the pass after answers, and waits for its end.
func (c *course) ask(answers []fit.Answer, change func(*fit.Brief), alter func(*federate.Proposal)) (string, node.State) {
	c.r.t.Helper()
	step, _, err := c.m.Next(context.Background(), answers)
	if err != nil {
		c.r.t.Fatal(err)
	}
	nonce := make([]byte, 32)
	rand.Read(nonce)
	p := &federate.Proposal{V: federate.Version, Nonce: hex.EncodeToString(nonce), Scheme: federate.Mask, Query: step.Query, Schema: step.Schema, Columns: []federate.Column{step.Columns[0]}, Contributors: roundCities,
		Regulator: "overseer", Departments: roundCities[:2], Threshold: 2, Aggregator: "hub", Receiver: "institute", MinContributors: 3, Dishonest: 1, Deadline: time.Now().Add(3 * time.Minute).Unix()}
	if alter != nil {
		alter(p)
	}
	text := c.brief(answers, change).Encode()
	p.Brief = federate.BriefDigest(text)
	return c.r.settled(p, text)
}

// pass makes the next pass.
func (c *course) pass() {
	c.r.t.Helper()
	session, st := c.ask(c.answers, nil, nil)
	if st.Phase != federate.Done {
		for _, party := range c.r.all() {
			if reasons, _ := c.r.toldNow(party, session, "refused"); len(reasons) > 0 {
				c.r.t.Errorf("%s: %+v", party, reasons)
			}
		}
		c.r.t.Fatalf("pass %d: %v", len(c.answers), st.Fault)
	}
	c.r.mu.Lock()
	d := c.r.delivered[session]
	c.r.mu.Unlock()
	values, err := fit.DecodeValues(d.Release)
	if err != nil || d.Values != federate.ValuesDigest(values) || d.From != "overseer" {
		c.r.t.Fatalf("the delivery of pass %d: %v", len(c.answers), err)
	}
	c.answers = append(c.answers, fit.Answer{Session: session, Values: values})
	for _, party := range c.r.all() { // who stops before it has heard of the end has a failed round
		for i := 0; i < 20 && c.r.round(party, session).Ended == nil; i++ {
		}
	}
}

// refused asks for a pass that a city must decline for a reason.
func (c *course) refused(what, code string, answers []fit.Answer, change func(*fit.Brief), alter func(*federate.Proposal)) {
	c.r.t.Helper()
	before := c.r.spent("city_a")
	session, st := c.ask(answers, change, alter)
	if st.Phase != federate.Failed {
		c.r.t.Errorf("%s: %s", what, st.Phase)
		return
	}
	found := false
	for i := 0; i < 3000 && !found; i++ { // a node tells of it after the hub was told
		for _, party := range c.r.all() {
			reasons, _ := c.r.toldNow(party, session, "refused")
			found = found || slices.ContainsFunc(reasons, func(x policies.Reason) bool { return x.Code == code && x.ZH != "" })
		}
		if !found {
			time.Sleep(10 * time.Millisecond)
		}
	}
	if !found {
		c.r.t.Errorf("%s: nobody refused as %s: %v %v", what, code, st.Fault, st.Fault.Reason.HintEN)
	}
	if got := c.r.spent("city_a"); got != before {
		c.r.t.Errorf("%s: charged %s", what, got-before)
	}
}

// toldNow is told without waiting.
func (r *region) toldNow(party, session, what string) (out []policies.Reason, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events[party] {
		if e.Session == session && e.What == what {
			out, ok = e.Reasons, true
		}
	}
	return out, ok
}

// try asks the cities for their verdicts; change alters the trial.
func (c *course) try(answers []fit.Answer, change func(*federate.Trial)) map[string]node.Judgement {
	c.r.t.Helper()
	nonce := make([]byte, 32)
	rand.Read(nonce)
	text := c.brief(answers, nil).Encode()
	trial := &federate.Trial{V: federate.Version, Nonce: hex.EncodeToString(nonce), Run: c.run, Aggregator: "hub", Receiver: "institute", Contributors: roundCities, Deadline: time.Now().Add(10 * time.Minute).Unix(), Brief: federate.BriefDigest(text)}
	if change != nil {
		change(trial)
	}
	id, err := c.r.hub.Try(trial, text)
	if err != nil {
		c.r.t.Fatal(err)
	}
	for range 60_000 {
		st, err := c.r.hub.Trial(id)
		if err != nil {
			c.r.t.Fatal(err)
		}
		if st.Over {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	return c.r.judged[id]
}

func (r *region) verifyVerdict(party string, text, sig []byte) error {
	if !ed25519.Verify(r.keys[party].Public().(ed25519.PublicKey), fit.VerdictBytes(text), sig) {
		return errors.New("no")
	}
	return nil
}

// certify joins verdicts.
func (c *course) certify(out *fit.Outcome, all map[string]node.Judgement) (*fit.Certificate, error) {
	var verdicts []federate.Signed
	for _, city := range roundCities {
		if v := all[city].Verdict; v != nil {
			verdicts = append(verdicts, *v)
		} else {
			verdicts = append(verdicts, federate.Signed{})
		}
	}
	return c.m.Certify(out, roundCities, verdicts, c.r.verifyVerdict)
}

// R02, R04, R39: three cities with rows, rules and ledgers of their own and a regulator
// without any train models pass by pass; each finds out by itself what a pass is about, pays
// before it reads, and tries the model with its own held-out rows.
func TestR39_CitiesTrainModels(t *testing.T) {
	r := newRegionOf(t, func(party string) attack.Table { return patients(1500, uint64(party[len(party)-1])) }, models)
	r.start()
	linear := r.course(linearSpec)
	linear.pass()
	first := slices.Clone(linear.answers)
	paid := r.spent("city_a")
	if paid != linear.m.Training() {
		t.Errorf("the pass was charged %s, its price is %s", paid, linear.m.Training())
	}
	// A node that stops between passes goes on where its ledger is, and pays nothing twice.
	r.halt("city_a")
	r.arenas["city_a"] = r.arenas["city_a"].Crash(t, gateway.Options{})
	r.run("city_a")
	if got := r.spent("city_a"); got != paid {
		t.Errorf("after a restart %s is charged, before %s", got, paid)
	}
	mustRotate(t, r.arenas["city_c"], "commit") // the split follows the key that the run began under
	linear.lies(first)
	if all := linear.try(first, nil); len(all) != 3 || all["city_b"].Refusal == nil {
		t.Errorf("a training that is not complete was tried: %v", all)
	}
	linear.pass()
	_, out, err := linear.m.Next(t.Context(), linear.answers)
	if err != nil {
		t.Fatal(err)
	}
	// In lattice units: age over [0, 120] and fee over [0, 1000] are both scaled to [-1, 1].
	if c := out.Parameters.Coefficients[0]; math.Abs(c[0]-0.12) > 0.1 || math.Abs(c[1]-0.72) > 0.2 {
		t.Errorf("fee = %v + %v·age, want about 0.12 + 0.72", c[0], c[1])
	}
	linear.judged(out)

	logistic := r.course(logisticSpec)
	for range logistic.m.Rounds() {
		logistic.pass()
	}
	if _, out, err = logistic.m.Next(t.Context(), logistic.answers); err != nil {
		t.Fatal(err)
	}
	if c := out.Parameters.Coefficients[0]; c[len(c)-1] <= 0 {
		t.Errorf("who is older is less often flagged: %v", c)
	}
	for _, city := range roundCities {
		if got := r.spent(city); got != linear.m.Price()+logistic.m.Price() {
			t.Errorf("%s paid %s, the passes cost %s", city, got, linear.m.Price()+logistic.m.Price())
		}
	}
	if got := r.spent("overseer"); got != 0 {
		t.Errorf("the regulator paid %s", got)
	}

	for c, epoch := range map[*course]int{linear: 0, logistic: 1} {
		for _, a := range c.answers {
			if x := r.round("city_c", a.Session); x.Joined.Data.Epoch != epoch {
				t.Errorf("a pass of a run that began under key %d is split by %d", epoch, x.Joined.Data.Epoch)
			}
		}
	}

	// The same passes under another run are other rounds, with other noise: they cost again, and
	// the period's bound holds.
	again := r.course(linearSpec)
	again.pass()
	if got := r.spent("city_b"); got != linear.m.Price()+logistic.m.Price()+again.m.Training() {
		t.Errorf("a fresh run was charged %s in all", got)
	}
	r.course(linearSpec).refused("beyond the period", "FEDERATION_PRICE", nil, nil, nil)
	r.narrowed()
	r.stop()
	for _, party := range r.all() {
		r.arenas[party].Domain.Look(func(s *state.State) {
			if open := s.OpenRounds(); len(open) > 0 {
				t.Errorf("%s: %d rounds are open", party, len(open))
			}
		})
		// Everything is decided again from the first entry on.
		r.arenas[party] = r.arenas[party].Crash(t, gateway.Options{})
	}
	for _, city := range roundCities {
		if got := r.spent(city); got != linear.m.Price()+logistic.m.Price()+again.m.Training() {
			t.Errorf("%s: %s after a replay", city, got)
		}
		audited(t, r.arenas[city])
	}
}

// lies are passes that a hub proposes otherwise than the answers lead to.
func (c *course) lies(first []fit.Answer) {
	forged := []fit.Answer{{Session: first[0].Session, Values: slices.Clone(first[0].Values)}}
	forged[0].Values[1] += 1 << 12
	c.refused("a changed answer", fit.CodeHistory, forged, nil, nil)
	c.refused("a released pass again", fit.CodeHistory, nil, nil, nil)
	c.refused("a false theta", "FEDERATION_SCHEMA", first, nil, func(p *federate.Proposal) { p.Schema = strings.Repeat("ab", 32) })
	c.refused("less noise", "FEDERATION_SCHEMA", first, nil, func(p *federate.Proposal) { p.Columns[0].Sigma2 = new(big.Int).Rsh(p.Columns[0].Sigma2, 1) })
	c.refused("a family beyond the agreement", "FEDERATION_MODELS", first, func(b *fit.Brief) { b.Spec.Family, b.Design.Spec.Family = policies.FamilyForest, policies.FamilyForest }, nil)
	c.refused("other retries", "FEDERATION_UNASKED", first, func(b *fit.Brief) { b.Retries = 0 }, nil)
	c.refused("another specification", "FEDERATION_UNASKED", first, func(b *fit.Brief) { b.Spec.HoldOut = 30 }, nil)
	c.refused("too dear", "FEDERATION_MODELS", nil, func(b *fit.Brief) { b.Run, b.Spec.Rho = strings.Repeat("9", 32), "0.039" }, nil)
}

// judged has the cities try a model that is complete: each verdict is signed, stands in its
// city's ledger once, and is the same when it is asked for again.
func (c *course) judged(out *fit.Outcome) {
	r, t := c.r, c.r.t
	t.Helper()
	other := []fit.Answer{c.answers[0], {Session: c.answers[1].Session, Values: slices.Clone(c.answers[1].Values)}}
	other[1].Values[0]++
	for what, all := range map[string]map[string]node.Judgement{
		"other answers": c.try(other, nil), "another receiver": c.try(c.answers, func(x *federate.Trial) { x.Receiver = "city_a" }), "another run": c.try(c.answers, func(x *federate.Trial) { x.Run = strings.Repeat("7", 32) }),
	} {
		for _, city := range roundCities {
			if all[city].Refusal == nil {
				t.Errorf("%s: %s gave a verdict", what, city)
			}
		}
	}
	c.unpassed(out)
	all := c.try(c.answers, nil)
	if _, err := c.certify(out, all); err != nil {
		t.Error(err)
	}
	asked := c.try(c.answers, nil)
	for _, city := range roundCities {
		v := all[city].Verdict
		if v == nil {
			t.Fatalf("%s refused: %s", city, all[city].Refusal.Text)
		}
		_, report, err := fit.DecodeVerdict(v.Text)
		if err != nil || report.Verdict != gate.Pass || len(v.Text) > 40<<10 {
			t.Errorf("%s: %v %+v, %d bytes", city, err, report.Reasons, len(v.Text))
		}
		if again := asked[city].Verdict; again == nil || !bytes.Equal(again.Text, v.Text) || !bytes.Equal(again.Sig, v.Sig) {
			t.Errorf("%s said something else when it was asked again", city)
		}
		r.arenas[city].Domain.Look(func(s *state.State) {
			if run, ok := s.TrainingRun(c.run); !ok || run.Verdict == nil || !bytes.Equal(run.Verdict.Verdict, v.Text) {
				t.Errorf("%s: its ledger has no verdict", city)
			}
		})
	}
	c.refused("after the verdict", "FEDERATION_RUN", c.answers[:1], nil, nil)
}

// narrowed changes the catalogue of one city, and the rows of another: the first is of
// another design, and the second has too few to try a model on.
func (r *region) narrowed() {
	t := r.t
	t.Helper()
	other := patients(1500, 'b')
	other.Columns[2].YAML = strings.Replace(other.Columns[2].YAML, "1000.00", "1001.00", 1)
	r.arenas["city_b"].Must(t, other.Catalogue()+"# 2\n", attack.Department)
	r.arenas["city_b"].Ingest(t, "visits", other.CSV)
	small := linearSpec
	small.Rho, small.RhoEvaluation = "0.0005", "0.0005"
	r.course(small).refused("another design", "FEDERATION_SCHEMA", nil, nil, nil)
}

// unpassed has a city that stops its data after the last pass: it says no by name, and
// nobody certifies the model.
func (c *course) unpassed(out *fit.Outcome) {
	r, t := c.r, c.r.t
	t.Helper()
	r.arenas["city_c"].Must(t, orderText("halt", attack.Department, "dataset/visits", "suspend"), attack.Department)
	all := c.try(c.answers, nil)
	if all["city_c"].Refusal == nil || !strings.Contains(string(all["city_c"].Refusal.Text), "DATASET_SUSPENDED") {
		t.Errorf("city_c: %+v", all["city_c"])
	}
	var reason *policies.Reason
	if _, err := c.certify(out, all); !errors.As(err, &reason) || reason.Code != fit.CodeVerdict || !strings.Contains(reason.EN, "city_c") {
		t.Errorf("%v", err)
	}
	r.arenas["city_c"].Must(t, orderText("resume", attack.Department, "dataset/visits", "resume"), attack.Department)
}
