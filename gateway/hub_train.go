package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/fit"
	"github.com/sandgate/sandgate/gateway/node"
	"github.com/sandgate/sandgate/internal/durable"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// conducted is a training that runs: it goes by the ledger alone from one pass to the
// next, so that it may begin anywhere.
type conducted struct {
	a     *aggregator
	run   string
	woken chan struct{} // something happened that it waits for

	// What follows is under a.mu.
	trial string // that runs
	said  []saidOfModel
	// trouble is the last passing trouble of each contributor that has no verdict.
	trouble map[string]node.Judgement
}

// saidOfModel is one contributor's answer to the trial.
type saidOfModel struct {
	party string
	j     node.Judgement
}

// retryPause is between a pass that failed and the next attempt.
const retryPause = time.Second

func (c *conducted) wake() {
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

// await is until something happens, an instant, or the end of ctx.
func (c *conducted) await(ctx context.Context, until time.Time) {
	var over <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		over = t.C
	}
	select {
	case <-ctx.Done():
	case <-c.woken:
	case <-over:
	}
}

// conduct runs a training until it has its outcome, or the gateway stops.
func (c *conducted) conduct(ctx context.Context) {
	d := c.a.d
	for ctx.Err() == nil {
		var t state.HubTraining
		var m *fit.Model
		var stopped *entry.HubModelEnded
		d.log.View(func() {
			t, _ = d.state.HubTraining(c.run)
			if stopped = d.state.StoppedHubTraining(d.state.Book(), c.run, d.instant()); stopped == nil {
				m = d.state.HubModel(c.run)
			}
		})
		if t.Phase != state.PhaseReserved {
			return
		}
		if p, open := t.Open(); open {
			if stopped != nil {
				c.a.cancelPass(p.Session, &federate.Fault{Reason: &policies.Reason{Code: stopped.Code, Rule: stopped.Rule, SetBy: stopped.By, ZH: "训练已依规则停止", EN: "the training was stopped by a rule"}})
			}
			c.a.lostPass(c, p.Session)
			c.await(ctx, time.Now().Add(time.Second))
			continue
		}
		err := c.next(ctx, t, m, stopped)
		if err == nil || ctx.Err() != nil {
			continue
		}
		end, over := endOf(c.run, err)
		if !over {
			d.opt.Logger.Error("a training could not go on yet", "training", c.run, "err", err)
			c.await(ctx, time.Now().Add(retryPause))
			continue
		}
		if err := d.endTraining(context.Background(), end, nil); err != nil && !errors.Is(err, errEnded) {
			d.opt.Logger.Error("the end of a training could not be entered", "training", c.run)
			c.await(ctx, time.Now().Add(retryPause))
			continue
		}
		d.opt.Logger.Info("training ended", "training", c.run, "code", end.Code)
		d.dropPasses(t)
		return
	}
}

// stop is an end of a training that is no party's verdict.
type stop struct{ end entry.HubModelEnded }

func (s *stop) Error() string { return s.end.Code }

// endOf is the end that an error makes; false if it is the gateway's own trouble, which
// may pass.
func endOf(run string, err error) (entry.HubModelEnded, bool) {
	var s *stop
	var why *policies.Reason
	switch {
	case errors.As(err, &s):
		s.end.Run = run
		return s.end, true
	case errors.As(err, &why):
		party := why.SetBy
		if party == "sandgate" {
			party = ""
		}
		return entry.HubModelEnded{Run: run, Code: why.Code, Party: party, Reason: bounded(*why)}, true
	}
	return entry.HubModelEnded{}, false
}

// next does what comes next of a training of which no pass runs.
func (c *conducted) next(ctx context.Context, t state.HubTraining, m *fit.Model, stopped *entry.HubModelEnded) error {
	d := c.a.d
	if stopped != nil {
		return &stop{*stopped}
	}
	if n := len(t.Passes); n > 0 && t.Passes[n-1].Missed != nil {
		miss := t.Passes[n-1].Missed
		if final(miss) || t.Misses() > t.Asked.Retries {
			return &stop{entry.HubModelEnded{Code: miss.Code, Party: miss.Party, Reason: miss.Reason}}
		}
		pause(time.Now().Add(retryPause), ctx, ctx)
	}
	if m == nil {
		return errors.New("the training is no longer the one that was asked for") // and stopped says so next time
	}
	answers, err := d.answersOf(t)
	if err != nil {
		d.opt.Logger.Error("the stored sums of a training are missing or damaged", "training", c.run)
		return &stop{entry.HubModelEnded{Code: damaged.Code, Reason: &damaged}}
	}
	step, out, err := m.Next(ctx, answers)
	var why *policies.Reason
	switch {
	case errors.As(err, &why):
		return why // drawn from noisy sums
	case err != nil && ctx.Err() == nil:
		return &stop{entry.HubModelEnded{Code: "TRAINING_FAILED"}}
	case err != nil:
		return err
	case step != nil:
		return c.propose(ctx, t, m, step, answers)
	}
	return c.try(ctx, t, m, out, answers)
}

// retryless are ends of a pass that another attempt does not mend.
var retryless = []string{"FEDERATION_SCHEMA", "FEDERATION_DIFFERENCE", "FEDERATION_FEW", "FEDERATION_BRIEF", "FEDERATION_BOUNDS", "FEDERATION_KEY", "FEDERATION_EQUIVOCATION", "FEDERATION_SUMS"}

// final says whether a failed pass ends its training: a domain that does not take part
// gave its reason, which asking again does not change.
func final(m *entry.HubModelMissed) bool {
	declined := m.Code == "FEDERATION_DECLINED" && m.Reason != nil && m.Reason.HintEN != ""
	return declined || slices.Contains(retryless, m.Code)
}

// answersOf reads the sums of the passes that were answered, each held against what the
// regulator signed of it.
func (d *Domain) answersOf(t state.HubTraining) (out []fit.Answer, err error) {
	for _, p := range t.Passes {
		if p.Release == "" {
			continue
		}
		file, err := os.ReadFile(d.releasePath(p.Release))
		if err != nil {
			return nil, fmt.Errorf("failed to read the sums of a pass: %w", err)
		}
		var text delivered
		if err := json.Unmarshal(file, &text); err != nil {
			return nil, fmt.Errorf("failed to read the sums of a pass: %w", err)
		}
		dl, err := federate.DecodeDelivery(text.Text)
		if err != nil || federate.DeliveryDigest(text.Text) != p.Release {
			return nil, errors.New("the sums are not those that the ledger commits to")
		}
		values, err := fit.DecodeValues(dl.Release)
		if err != nil || federate.ValuesDigest(values) != p.Values {
			return nil, errors.New("the sums are not those that the ledger commits to")
		}
		out = append(out, fit.Answer{Session: p.Session, Values: values})
	}
	return out, nil
}

// dropPasses removes the stored sums of a training that is over.
func (d *Domain) dropPasses(t state.HubTraining) {
	for _, p := range t.Passes {
		if p.Release == "" {
			continue
		}
		if err := d.dropDelivery(p.Release); err != nil {
			d.opt.Logger.Error("the sums of a training could not be removed", "training", t.Asked.Request.Run)
		}
	}
}

// briefOf is the brief of a pass, or of the trial after the last.
func (c *conducted) briefOf(t state.HubTraining, m *fit.Model, answers []fit.Answer, terms federate.Terms, salt string) ([]byte, error) {
	b := m.Brief(answers)
	b.Spec = t.Asked.Request.Spec
	step, err := b.Encode()
	if err != nil {
		return nil, err
	}
	asked, err := t.Request.Envelope()
	if err != nil {
		return nil, err
	}
	r := t.Asked.Request
	text := (&federate.Brief{V: federate.Version, Kind: federate.BriefModel, Region: r.Region, Dataset: r.Spec.Dataset, Purpose: r.Purpose, Terms: terms, Salt: salt, Asked: federate.Asked{Request: asked}, Model: &federate.ModelBrief{Step: step}}).Encode()
	if _, f := federate.DecodeBrief(text); f != nil {
		return nil, f.Reason
	}
	return text, nil
}

// agreed is the agreement of a training and the terms that its rounds have of it.
func (d *Domain) agreed(t state.HubTraining) (f policies.Federation, terms federate.Terms) {
	r := t.Asked.Request
	d.log.View(func() { f, _ = d.state.Book().Federation(r.Region) })
	return f, federate.Terms{MaxUnits: f.MaxUnits, Overlap: f.Overlap, Period: r.Period}
}

// hexOf32 is 32 random bytes.
func hexOf32() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// propose puts a pass to the domains: it stands in the ledger before they are asked.
func (c *conducted) propose(ctx context.Context, t state.HubTraining, m *fit.Model, step *fit.Step, answers []fit.Answer) error {
	d := c.a.d
	f, terms := d.agreed(t)
	brief, err := c.briefOf(t, m, answers, terms, hexOf32())
	if err != nil {
		return err
	}
	p := &federate.Proposal{V: federate.Version, Nonce: hexOf32(), Scheme: t.Asked.Scheme, Query: step.Query, Schema: step.Schema, Columns: step.Columns,
		Contributors: t.Asked.Contributors, Regulator: t.Regulator, Departments: f.With(policies.FederationKey), Threshold: t.Asked.Decryptors - 1,
		Aggregator: f.Hub.Party, Receiver: t.Operator, MinContributors: f.K, Dishonest: f.Dishonest, Brief: federate.BriefDigest(brief)}
	if !step.Fits(p) {
		return &stop{entry.HubModelEnded{Code: "TRAINING_FAILED"}}
	}
	_, err = d.append(ctx, func(e *entry.Entry) error {
		if now, ok := d.state.HubTraining(c.run); !ok || now.Phase != state.PhaseReserved {
			return errEnded
		}
		p.Deadline = e.Time().Unix() + int64(t.Asked.Seconds)
		e.Kind, e.Actor = entry.KindHubModelPass, "gateway"
		e.HubModelPass = &entry.HubModelPass{Run: c.run, Pass: step.Index, Session: p.Session(), Deadline: p.Deadline}
		return nil
	})
	if errors.Is(err, errEnded) {
		return nil
	}
	if err != nil {
		return err
	}
	session := p.Session()
	c.a.mu.Lock()
	c.a.rounds[session] = &gathered{round: c.run, training: c}
	c.a.mu.Unlock()
	d.opt.Logger.Info("pass proposed", "training", c.run, "pass", step.Index+1, "of", step.Of)
	if _, err := c.a.hub.Propose(p, brief); err != nil {
		var f *federate.Fault
		if !errors.As(err, &f) {
			f = &federate.Fault{Reason: &policies.Reason{Code: "ROUND_NOT_BEGUN", Rule: "federation", SetBy: "sandgate", ZH: "轮次未能开始", EN: "the round could not begin"}}
		}
		c.a.failed(session, f)
		return nil
	}
	// One that was cancelled between ledger and hub must not run on there.
	d.log.View(func() { t, _ = d.state.HubTraining(c.run) })
	if t.Phase != state.PhaseReserved {
		c.a.cancelPass(session, cancelledTraining("sandgate"))
	}
	return nil
}

func cancelledTraining(by string) *federate.Fault {
	return &federate.Fault{Reason: &policies.Reason{Code: "FEDERATION_CANCELLED", Rule: "federation", SetBy: by, ZH: "训练已取消", EN: "the training was cancelled"}}
}

// cancelPass ends the round of a pass at the hub.
func (a *aggregator) cancelPass(session string, why *federate.Fault) {
	if err := a.hub.Cancel(session, why); err != nil {
		a.d.opt.Logger.Info("the round of a training had ended at the hub", "session", session)
	}
}

// stopTraining lets go of what runs of a training that the ledger holds as over.
func (a *aggregator) stopTraining(run, by string) {
	var t state.HubTraining
	a.d.log.View(func() { t, _ = a.d.state.HubTraining(run) })
	if p, open := t.Open(); open {
		a.cancelPass(p.Session, cancelledTraining(by))
	}
	a.mu.Lock()
	c := a.trainings[run]
	a.mu.Unlock()
	if c != nil {
		c.wake()
	}
	a.d.dropPasses(t)
}

// passDone enters the answer of a pass; the caller has held it against the delivery.
func (a *aggregator) passDone(session string, g *gathered, m *federate.Message, s federate.Signed) error {
	d := a.d
	var stopped *entry.HubModelEnded
	_, err := d.append(context.Background(), func(e *entry.Entry) error {
		if stopped = d.state.StoppedHubTraining(d.state.Book(), g.round, e.Time()); stopped != nil {
			return errEnded
		}
		t, _ := d.state.HubTraining(g.round)
		p, open := t.Open()
		if !open || t.Phase != state.PhaseReserved || p.Session != session {
			return errEnded
		}
		if e.At >= p.Deadline*1000 {
			return lateResult(m.From)
		}
		e.Kind, e.Actor, e.HubModelAnswered = entry.KindHubModelAnswered, "gateway", &entry.HubModelAnswered{Run: g.round, Session: session, Result: s.Text, Sig: s.Sig}
		return nil
	})
	if stopped != nil {
		return &federate.Fault{Reason: &policies.Reason{Code: stopped.Code, Rule: stopped.Rule, SetBy: stopped.By,
			ZH: "训练已依 " + stopped.Rule + " 停止", EN: "the training was stopped by " + stopped.Rule}}
	}
	if err == nil {
		a.forget(session)
		g.training.wake()
	}
	return err
}

// passFailed enters a pass that gave no answer. The training goes on, or ends, by what its
// conductor finds in the ledger.
func (a *aggregator) passFailed(session string, g *gathered, f *federate.Fault) {
	d := a.d
	x := entry.HubModelMissed{Run: g.round, Session: session, Code: f.Reason.Code, Party: f.Party, Reason: bounded(*f.Reason)}
	if err := d.missPass(context.Background(), x); err != nil && !errors.Is(err, errEnded) {
		d.opt.Logger.Error("the end of a round could not be entered", "round", g.round)
	}
	if g.digest != "" {
		if err := d.dropDelivery(g.digest); err != nil {
			d.opt.Logger.Error("the answer of a round that failed could not be removed", "round", g.round)
		}
	}
	g.training.wake()
}

// lostPass enters the end of a pass that the ledger has as open and the hub no more: the
// entry of it failed when the round did.
func (a *aggregator) lostPass(c *conducted, session string) {
	if _, err := a.of(session); err == nil {
		return // it runs
	}
	x := entry.HubModelMissed{Run: c.run, Session: session, Code: hubLost.Code, Reason: &hubLost}
	if st, err := a.hub.State(session); err == nil && st.Fault != nil {
		x.Code, x.Party, x.Reason = st.Fault.Reason.Code, st.Fault.Party, bounded(*st.Fault.Reason)
	} else if err == nil && st.Phase != federate.Done {
		return // it runs
	}
	if err := a.d.missPass(context.Background(), x); err != nil && !errors.Is(err, errEnded) {
		a.d.opt.Logger.Error("the end of a round could not be entered", "round", c.run)
	}
}

// hubLost is the end of a pass of which the hub knows no more.
var hubLost = policies.Reason{Code: "HUB_LOST", Rule: "federation", SetBy: "sandgate", ZH: "汇聚方已无这一轮的记录，本轮作废", EN: "the hub has lost the round; it is over"}

// missPass ends the attempt that runs; errEnded if it has its outcome.
func (d *Domain) missPass(ctx context.Context, x entry.HubModelMissed) error {
	_, err := d.append(ctx, func(e *entry.Entry) error {
		t, ok := d.state.HubTraining(x.Run)
		p, open := t.Open()
		if !ok || t.Phase != state.PhaseReserved || !open || p.Session != x.Session {
			return errEnded
		}
		if !slices.Contains(t.Parties, x.Party) {
			x.Party = "" // ourselves, or nobody that is known
		}
		e.Kind, e.Actor, e.HubModelMissed = entry.KindHubModelMissed, "gateway", &x
		return nil
	})
	return err
}

// missPasses ends the rounds of trainings that a gateway does not live to see the end of.
// The trainings go on at its next start, from their last answer.
func (d *Domain) missPasses(ctx context.Context) error {
	var open []entry.HubModelMissed
	d.log.View(func() {
		for _, run := range d.state.OpenHubTrainings() {
			t, _ := d.state.HubTraining(run)
			if p, ok := t.Open(); ok {
				r := hubRestarted
				r.HintZH, r.HintEN = "", ""
				open = append(open, entry.HubModelMissed{Run: run, Session: p.Session, Code: r.Code, Reason: &r})
			}
		}
	})
	for _, x := range open {
		if err := d.missPass(ctx, x); err != nil && !errors.Is(err, errEnded) {
			return err
		}
	}
	return nil
}

// resumeTrainings goes on with what an earlier run left open.
func (d *Domain) resumeTrainings(ctx context.Context) error {
	if err := d.missPasses(ctx); err != nil {
		return err
	}
	var open []string
	d.log.View(func() { open = d.state.OpenHubTrainings() })
	for _, run := range open {
		d.startTraining(run)
	}
	return nil
}

// trainingFiles are the names of the stored sums and models that the ledger commits to.
func (d *Domain) trainingFiles() (out []string) {
	d.log.View(func() {
		for _, run := range d.state.HubTrainings() {
			t, _ := d.state.HubTraining(run)
			if t.Certified != nil {
				out = append(out, t.Certified.Stored)
			}
			for _, p := range t.Passes {
				if p.Release != "" && t.Phase == state.PhaseReserved {
					out = append(out, p.Release)
				}
			}
		}
	})
	return out
}

// certified is a model over domains as it is stored.
type certified struct {
	File        []byte `json:"file"`
	Certificate []byte `json:"certificate"`
	// Evaluation is what rho_evaluation paid for; it is gone with the sums of the passes if it
	// is not kept here. The ledger commits to it with the rest (HubModelCertified.Stored).
	Evaluation json.RawMessage `json:"evaluation,omitempty"`
}

// storeTrained keeps a model before the ledger commits to it.
func (d *Domain) storeTrained(x certified) (name string, err error) {
	text, err := json.Marshal(x)
	if err != nil {
		return "", err
	}
	name = hashText(text)
	d.mu.Lock()
	d.kept[name]++
	d.mu.Unlock()
	if err := durable.Write(d.releasePath(name), text, "release"); err != nil {
		return "", errors.Join(fmt.Errorf("failed to keep a trained model: %w", err), d.dropDelivery(name))
	}
	return name, nil
}

func hashText(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
