package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// TrainingQuery is a model that an operator asks of several domains together.
type TrainingQuery struct {
	Region, Licence, Purpose, Period string
	Spec                             policies.ModelSpec
	Scheme                           string   // empty takes the agreement's first
	Contributors                     []string // empty asks all
	Seconds                          int      // of each pass; 0 takes the default
	Retries                          *int     // nil takes the default
	Signed                           []byte   // DSSE envelope
}

// ProposeTraining holds a model over domains that its operator signed against licence,
// catalogue and agreement, enters it and begins its passes. A refusal is a *Refusal and
// leaves no trace: nothing was read, charged or told to anybody. Calling again with the same
// request id returns the same training.
func (d *Domain) ProposeTraining(ctx context.Context, operator, requestID string, q TrainingQuery) (run string, err error) {
	if err := d.Authorize(operator, policies.ActProposeRound, policies.Resource{}); err != nil {
		return "", err
	}
	if d.log.Disputed() != nil {
		return "", disputed()
	}
	if !requestIDPattern.MatchString(requestID) {
		return "", invalid("REQUEST_ID", "request_id 必须是 UUID", "request_id must be a UUID")
	}
	signed, err := d.openModelRequest(operator, requestID, q.Signed)
	if err != nil {
		return "", err
	}
	ask := state.HubTrainingAsk{Operator: operator, Request: entry.HubModelRequest{Run: state.HubTrainingID(operator, requestID), Request: requestID, Licence: q.Licence, Purpose: q.Purpose,
		Region: q.Region, Period: q.Period, Spec: q.Spec, Scheme: q.Scheme, Contributors: q.Contributors, Seconds: q.Seconds, Retries: q.Retries}}
	if x := state.SameHubTraining(signed.Statement, operator, ask.Request); x != nil {
		return "", x
	}
	run = ask.Request.Run
	if known, err := d.knownTraining(ctx, ask); known || err != nil {
		return run, err
	}
	if x := d.otherHubKey(q.Region); x != nil {
		return "", x
	}
	if err = d.beginTraining(ctx, ask, signed); errors.Is(err, errPolicyMoved) {
		_, err = d.knownTraining(ctx, ask)
	}
	return run, err
}

// otherHubKey refuses an agreement that names this gateway by another key than it has.
func (d *Domain) otherHubKey(region string) error {
	var f policies.Federation
	ok := false
	d.log.View(func() { f, ok = d.state.Book().Federation(region) })
	if !ok || f.Hub.Key == d.hubPublicKey() {
		return nil
	}
	return refusal(hubKeyChanged(f))
}

// knownTraining says whether the request id was seen before, for the same request.
func (d *Domain) knownTraining(ctx context.Context, ask state.HubTrainingAsk) (bool, error) {
	var t state.HubTraining
	var ok bool
	if err := d.settled(ctx, func() { t, ok = d.state.HubTraining(ask.Request.Run) }); err != nil || !ok {
		return false, err
	}
	was, err := json.Marshal(t.Asked.Request)
	if err != nil {
		return true, err
	}
	is, err := json.Marshal(ask.Request)
	if err != nil {
		return true, err
	}
	if !bytes.Equal(was, is) {
		return true, invalid("REQUEST_ID_REUSED", "该 request_id 已用于另一请求", "the request_id was used for another request")
	}
	return true, nil
}

// beginTraining enters a training and then starts on its passes.
func (d *Domain) beginTraining(ctx context.Context, ask state.HubTrainingAsk, signed *request.Signed) error {
	run := ask.Request.Run
	_, err := d.append(ctx, func(e *entry.Entry) error {
		if _, ok := d.state.HubTraining(run); ok {
			return errPolicyMoved // another call with this request id came first
		}
		ask.At = e.Time()
		decided := d.state.DecideHubTraining(ask)
		if decided.Asked == nil {
			return &Refusal{Reasons: decided.Reasons}
		}
		e.Kind, e.Actor, e.Signed, e.HubModelAsked = entry.KindHubModelAsked, ask.Operator, signed, decided.Asked
		return nil
	})
	if err != nil {
		return err
	}
	d.opt.Logger.Info("training begun", "training", run)
	d.startTraining(run)
	return nil
}

// startTraining lets the passes of a training run beside everything else.
func (d *Domain) startTraining(run string) {
	t := &conducted{a: d.aggregator, run: run, woken: make(chan struct{}, 1)}
	d.aggregator.mu.Lock()
	d.aggregator.trainings[run] = t
	d.aggregator.mu.Unlock()
	d.jobs.Go(func() {
		t.conduct(d.ctx)
		d.aggregator.mu.Lock()
		defer d.aggregator.mu.Unlock()
		delete(d.aggregator.trainings, run)
	})
}

// cancelTraining ends a training for its operator or the regulator.
func (d *Domain) cancelTraining(ctx context.Context, party, run string) error {
	t, err := d.trainingFor(party, run)
	if err != nil {
		return err
	}
	if err := d.Authorize(party, policies.ActCancelRound, policies.Resource{Operator: t.Operator}); err != nil {
		return err
	}
	if err := d.signedAct(ctx, party, state.ActCancelHubTraining(run)); err != nil {
		return err
	}
	err = d.endTraining(ctx, entry.HubModelEnded{Run: run, Code: state.Cancelled, By: party}, signedOf(ctx))
	if errors.Is(err, errEnded) {
		return invalid("NOT_CANCELLABLE", "训练已结束，不能取消", "the training has ended and cannot be cancelled")
	}
	if err != nil {
		return err
	}
	d.aggregator.stopTraining(run, party)
	return nil
}

// endTraining ends a training in the ledger; errEnded if it has its outcome.
func (d *Domain) endTraining(ctx context.Context, f entry.HubModelEnded, signed *request.Signed) error {
	_, err := d.append(ctx, func(e *entry.Entry) error {
		t, ok := d.state.HubTraining(f.Run)
		if !ok || t.Phase != state.PhaseReserved {
			return errEnded
		}
		if f.Party != "" && !slices.Contains(t.Parties, f.Party) {
			f.Party = ""
		}
		e.Kind, e.Actor, e.HubModelEnded, e.Signed = entry.KindHubModelEnded, "gateway", &f, signed
		return nil
	})
	return err
}

// trainingFor is a training that a party may see. One that is not there and one that is
// somebody else's look the same.
func (d *Domain) trainingFor(party, run string) (t state.HubTraining, err error) {
	d.log.View(func() { t, err = d.trainingInView(party, run) })
	return t, err
}

// trainingInView is trainingFor for a caller in View.
func (d *Domain) trainingInView(party, run string) (state.HubTraining, error) {
	t, ok := d.state.HubTraining(run)
	b := d.state.Book()
	x := b.Authorize(party, policies.ActReadRound, policies.Resource{Operator: t.Operator})
	p, _ := b.Party(party)
	if x != nil || !ok || p.Role == policies.RoleDepartment && !slices.Contains(t.Parties, party) {
		return state.HubTraining{}, invalid("NOT_FOUND", "没有这个训练", "there is no such training")
	}
	return t, nil
}
