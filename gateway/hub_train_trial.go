package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/fit"
	"github.com/sandgate/sandgate/gateway/node"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/signature"
)

// trialTime is how long domains may take over a model: as long as a gate may run
// (modelWall), and slack for its place in the queue and for snapshots that are in use.
// It is not the time of a pass, which reads the rows once.
const trialTime = modelWall + 15*time.Minute

// trialPause is between asking who has not answered, and asking again.
const trialPause = 20 * time.Second

// passingTrouble are refusals of a trial that tell of the domain's machine at that moment:
// it is asked again. All others are by rule, and end the training.
var passingTrouble = []string{"BUSY", "KEYS_AWAY", "VOLUME_FULL", "WORKERS_DOWN", "WORKER_LOST", "LEDGER_STOPPED", "OUTCOME_UNKNOWN", "EXECUTION_FAILED", "FEDERATION_INTERNAL"}

func inTrouble(j node.Judgement) bool {
	if j.Refusal == nil {
		return false
	}
	r, err := federate.DecodeTrialRefusal(j.Refusal.Text)
	return err == nil && !slices.ContainsFunc(r.Reasons, func(x policies.Reason) bool { return !slices.Contains(passingTrouble, x.Code) })
}

// judged takes what a contributor says of a model. It is called by the hub, which it must
// not call.
func (a *aggregator) judged(trial, party string, j node.Judgement) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.trainings {
		if c.trial == trial {
			if inTrouble(j) {
				c.trouble[party] = j
				return node.ErrNotYet
			}
			c.said = append(c.said, saidOfModel{party, j})
			c.wake()
			return nil
		}
	}
	return node.ErrRound
}

// heard takes what came since it was asked last.
func (c *conducted) heard() []saidOfModel {
	c.a.mu.Lock()
	defer c.a.mu.Unlock()
	out := c.said
	c.said = nil
	return out
}

// verifyVerdict is by the keys of the agreement, which whoever reads the certificate has.
func verifyVerdict(f policies.Federation) func(party string, text, sig []byte) error {
	return func(party string, text, sig []byte) error {
		key, ok := f.KeyOf(party)
		if !ok || !signature.Verify(key, fit.VerdictBytes(text), sig) {
			return errors.New("the signature does not verify")
		}
		return nil
	}
}

// try asks every contributor whether the model passes its gate. One that does not, says no
// or does not say anything ends the training in its name; a PASS of all makes the
// certificate.
func (c *conducted) try(ctx context.Context, t state.HubTraining, m *fit.Model, out *fit.Outcome, answers []fit.Answer) error {
	f, terms := c.a.d.agreed(t)
	verify := verifyVerdict(f)
	for _, v := range t.Verdicts { // of before the gateway stopped
		if err := m.Accept(out, v.Party, v.Signed, verify); err != nil {
			return err
		}
	}
	if len(t.Judged) == len(t.Asked.Contributors) {
		return c.certify(ctx, t, m, out, verify)
	}
	brief, err := c.briefOf(t, m, answers, terms, hexOf32())
	if err != nil {
		return err
	}
	c.a.mu.Lock()
	deadline := c.a.d.opt.Now().Add(c.a.trialTime).Unix()
	c.a.mu.Unlock()
	trial := &federate.Trial{V: federate.Version, Nonce: hexOf32(), Run: c.run, Aggregator: f.Hub.Party, Receiver: t.Operator, Contributors: t.Asked.Contributors, Deadline: deadline, Brief: federate.BriefDigest(brief)}
	id := trial.ID()
	c.a.mu.Lock()
	c.trial, c.said, c.trouble = id, nil, map[string]node.Judgement{}
	c.a.mu.Unlock()
	defer func() {
		c.a.hub.EndTrial(id)
		c.a.mu.Lock()
		c.trial = ""
		c.a.mu.Unlock()
	}()
	if _, err := c.a.hub.Try(trial, brief); err != nil {
		return fmt.Errorf("failed to ask for verdicts: %w", err)
	}
	c.a.d.opt.Logger.Info("model tried by its domains", "training", c.run)
	return c.collect(ctx, id, m, out, verify, deadline)
}

// collect takes verdicts until all are in, one is in the way, or the deadline is over.
func (c *conducted) collect(ctx context.Context, trial string, m *fit.Model, out *fit.Outcome, verify func(string, []byte, []byte) error, deadline int64) error {
	d := c.a.d
	asked := time.Now()
	for {
		c.a.mu.Lock()
		again := asked.Add(c.a.trialPause)
		c.a.mu.Unlock()
		if time.Now().After(again) {
			c.a.hub.AskAgain(trial)
			asked = time.Now()
		}
		for _, s := range c.heard() {
			if err := c.take(ctx, m, out, s, verify); err != nil {
				return err
			}
		}
		var t state.HubTraining
		var stopped *entry.HubModelEnded
		d.log.View(func() {
			t, _ = d.state.HubTraining(c.run)
			stopped = d.state.StoppedHubTraining(d.state.Book(), c.run, d.instant())
		})
		switch {
		case t.Phase != state.PhaseReserved:
			return nil
		case stopped != nil:
			return &stop{*stopped}
		case len(t.Judged) == len(t.Asked.Contributors):
			return c.certify(ctx, t, m, out, verify)
		case d.opt.Now().Unix() >= deadline:
			for _, p := range t.Asked.Contributors {
				if !slices.Contains(t.Judged, p) {
					return c.unanswered(p)
				}
			}
		}
		c.await(ctx, time.Now().Add(time.Second))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// unanswered is the end that a contributor makes which has no verdict by the deadline: for
// what it said last, if anything.
func (c *conducted) unanswered(party string) error {
	c.a.mu.Lock()
	j, ok := c.trouble[party]
	c.a.mu.Unlock()
	if ok {
		return refusedTrial(saidOfModel{party, j})
	}
	return fit.Missing(party)
}

// take enters one contributor's verdict, if it is one: a FAIL too, with its report.
func (c *conducted) take(ctx context.Context, m *fit.Model, out *fit.Outcome, s saidOfModel, verify func(string, []byte, []byte) error) error {
	d := c.a.d
	if s.j.Verdict == nil {
		return refusedTrial(s)
	}
	v := *s.j.Verdict
	inTheWay := m.Accept(out, s.party, v, verify)
	_, err := d.append(ctx, func(e *entry.Entry) error {
		t, ok := d.state.HubTraining(c.run)
		if !ok || t.Phase != state.PhaseReserved || d.state.CheckHubVerdict(&t, s.party, v) != nil {
			return errEnded
		}
		if x := d.state.StoppedHubTraining(d.state.Book(), c.run, e.Time()); x != nil {
			return &stop{*x}
		}
		e.Kind, e.Actor, e.HubModelJudged = entry.KindHubModelJudged, "gateway", &entry.HubModelJudged{Run: c.run, Party: s.party, Verdict: v.Text, Sig: v.Sig}
		return nil
	})
	if inTheWay != nil {
		return inTheWay
	}
	if errors.Is(err, errEnded) { // said before, or over
		return nil
	}
	return err
}

// refusedTrial is the end that a contributor makes which does not try the model.
func refusedTrial(s saidOfModel) error {
	x := policies.Reason{Code: fit.CodeVerdict, Rule: "federation", SetBy: s.party, ZH: "“" + s.party + "”：不检验模型", EN: s.party + ": it does not try the model"}
	if r, err := federate.DecodeTrialRefusal(s.j.Refusal.Text); err == nil {
		x.HintZH, x.HintEN = r.Reasons[0].Code+"："+r.Reasons[0].ZH, r.Reasons[0].Code+": "+r.Reasons[0].EN
	}
	return bounded(x)
}

// certify makes the certificate of the verdicts in the ledger, keeps it with the model,
// and enters both before anybody can fetch them.
func (c *conducted) certify(ctx context.Context, t state.HubTraining, m *fit.Model, out *fit.Outcome, verify func(string, []byte, []byte) error) error {
	d := c.a.d
	var verdicts []federate.Signed
	for _, p := range t.Asked.Contributors {
		i := slices.IndexFunc(t.Verdicts, func(v state.HubVerdict) bool { return v.Party == p })
		if i < 0 {
			return fit.Missing(p)
		}
		verdicts = append(verdicts, t.Verdicts[i].Signed)
	}
	cert, err := m.Certify(out, t.Asked.Contributors, verdicts, verify)
	if err != nil {
		return err
	}
	text := cert.Encode()
	figures, err := json.Marshal(out.Evaluation)
	if err != nil {
		return fmt.Errorf("failed to encode an evaluation: %w", err)
	}
	name, err := d.storeTrained(certified{File: out.File, Certificate: text, Evaluation: figures})
	if err != nil {
		return err
	}
	_, err = d.append(ctx, func(e *entry.Entry) error {
		now, ok := d.state.HubTraining(c.run)
		if !ok || now.Phase != state.PhaseReserved {
			return errEnded
		}
		if x := d.state.StoppedHubTraining(d.state.Book(), c.run, e.Time()); x != nil {
			return &stop{*x}
		}
		e.Kind, e.Actor = entry.KindHubModelCertified, "gateway"
		e.HubModelCertified = &entry.HubModelCertified{Run: c.run, Model: out.Digest, Certificate: hashText(text), File: hashText(out.File), Stored: name, Bytes: int64(len(out.File))}
		return nil
	})
	if err != nil {
		if derr := d.dropDelivery(name); derr != nil {
			d.opt.Logger.Error("a model that was not certified could not be removed", "training", c.run)
		}
		if errors.Is(err, errEnded) {
			return nil
		}
		return err
	}
	d.opt.Logger.Info("model certified", "training", c.run)
	d.dropPasses(t)
	return nil
}
