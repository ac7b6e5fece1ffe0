package state

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/fit"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/signature"
)

// applyHubModel decides again what the hub entered of a training.
func (s *State) applyHubModel(e *entry.Entry) error {
	if e.Kind == entry.KindHubModelAsked {
		return s.applyHubModelAsked(e)
	}
	if e.Kind == entry.KindHubModelEnded {
		return s.applyHubModelEnded(e)
	}
	if err := s.gateway(e); err != nil {
		return err
	}
	run := ""
	switch e.Kind {
	case entry.KindHubModelPass:
		run = e.HubModelPass.Run
	case entry.KindHubModelAnswered:
		run = e.HubModelAnswered.Run
	case entry.KindHubModelMissed:
		run = e.HubModelMissed.Run
	case entry.KindHubModelJudged:
		run = e.HubModelJudged.Run
	case entry.KindHubModelCertified:
		run = e.HubModelCertified.Run
	}
	t, ok := s.hub.trainings[run]
	if !ok || t.Phase != PhaseReserved {
		return errors.New("training is not under way")
	}
	if e.Kind != entry.KindHubModelMissed {
		if x := s.StoppedHubTraining(s.book, run, e.Time()); x != nil {
			return fmt.Errorf("the training may no longer go on (%s)", x.Code)
		}
	}
	switch e.Kind {
	case entry.KindHubModelPass:
		return s.applyHubModelPass(t, e)
	case entry.KindHubModelAnswered:
		return s.applyHubModelAnswered(t, e)
	case entry.KindHubModelMissed:
		return s.applyHubModelMissed(t, e)
	case entry.KindHubModelJudged:
		return s.applyHubModelJudged(t, e)
	}
	return s.applyHubModelCertified(t, e)
}

func (s *State) applyHubModelAsked(e *entry.Entry) error {
	p := e.HubModelAsked
	r := p.Request
	if r.Run != HubTrainingID(e.Actor, r.Request) {
		return errors.New("id is not derived from operator and request id")
	}
	if _, used := s.hub.trainings[r.Run]; used {
		return errors.New("request id was used before")
	}
	if x := s.CheckSigned(e.Signed, e.Actor, e.Time()); x != nil {
		return x
	}
	if x := SameHubTraining(e.Signed.Statement, e.Actor, r); x != nil {
		return x
	}
	if x := s.book.Authorize(e.Actor, policies.ActProposeRound, policies.Resource{}); x != nil {
		return x
	}
	d := s.DecideHubTraining(HubTrainingAsk{Operator: e.Actor, Request: r, At: e.Time()})
	if d.Asked == nil {
		return fmt.Errorf("the rules in force refuse the training (%s)", d.Reasons[0].Code)
	}
	if err := same("training", p, d.Asked); err != nil {
		return err
	}
	regulator := d.Agreement.With(policies.FederationRegulator)[0]
	parties := append(append([]string{regulator}, d.Agreement.With(policies.FederationKey)...), p.Contributors...)
	slices.Sort(parties)
	s.hub.trainings[r.Run] = &HubTraining{Operator: e.Actor, Phase: PhaseReserved, At: e.At, Seq: e.Seq, Request: e.Signed, Asked: p,
		Regulator: regulator, Parties: slices.Compact(parties), Overlap: d.Agreement.Overlap}
	s.hub.trainingOrder = append(s.hub.trainingOrder, r.Run)
	s.seen(e, entry.Request{Licence: r.Licence}, nil)
	return nil
}

func (s *State) applyHubModelPass(t *HubTraining, e *entry.Entry) error {
	p := e.HubModelPass
	if _, open := t.Open(); open {
		return errors.New("a pass of the training runs")
	}
	if p.Pass != t.Answered() || p.Pass >= t.Asked.Passes {
		return errors.New("it is another pass's turn")
	}
	if t.Misses() > t.Asked.Retries {
		return errors.New("no retry is left")
	}
	if s.hub.sessions[p.Session] {
		return errors.New("session was used before")
	}
	if p.Deadline != e.Time().Unix()+int64(t.Asked.Seconds) {
		return errors.New("the deadline is not the one that was asked for")
	}
	t.Passes = append(t.Passes, HubPass{Pass: p.Pass, Session: p.Session, Deadline: p.Deadline, Seq: e.Seq})
	s.hub.sessions[p.Session] = true
	return nil
}

// openPass is the pass of a session that runs, to be changed.
func (t *HubTraining) openPass(session string) *HubPass {
	if p, open := t.Open(); !open || p.Session != session {
		return nil
	}
	return &t.Passes[len(t.Passes)-1]
}

func (s *State) applyHubModelAnswered(t *HubTraining, e *entry.Entry) error {
	p := e.HubModelAnswered
	pass := t.openPass(p.Session)
	if pass == nil {
		return errors.New("no such pass runs")
	}
	if e.At >= pass.Deadline*1000 {
		return errors.New("the deadline of the pass is over")
	}
	m, err := federate.DecodeMessage(p.Result)
	if err != nil || m.Kind != federate.KindResult || m.Session != p.Session || m.From != t.Regulator || m.Result.Release == "" {
		return errors.New("the result is not that of the pass")
	}
	key, ok := s.book.PartyKey(t.Regulator)
	if !ok || !signature.Verify(key, federate.SigningBytes(p.Result), p.Sig) {
		return errors.New("the result is not signed by the regulator's key in force")
	}
	pass.Release, pass.Values = m.Result.Release, m.Result.Values
	return nil
}

func (s *State) applyHubModelMissed(t *HubTraining, e *entry.Entry) error {
	p := e.HubModelMissed
	pass := t.openPass(p.Session)
	if pass == nil {
		return errors.New("no such pass runs")
	}
	if p.Party != "" && !slices.Contains(t.Parties, p.Party) {
		return errors.New("the party to blame has no part in the training")
	}
	pass.Missed = p
	return nil
}

func (s *State) applyHubModelJudged(t *HubTraining, e *entry.Entry) error {
	p := e.HubModelJudged
	if t.Answered() != t.Asked.Passes {
		return errors.New("the training has no outcome to be judged")
	}
	v := federate.Signed{Text: p.Verdict, Sig: p.Sig}
	if err := s.CheckHubVerdict(t, p.Party, v); err != nil {
		return err
	}
	t.Verdicts = append(t.Verdicts, HubVerdict{p.Party, v})
	t.Judged = append(slices.Clone(t.Judged), p.Party)
	return nil
}

// HubCertificate is the certificate of the verdicts that the ledger holds, each checked
// again; the reason names who is in the way.
func (s *State) HubCertificate(t *HubTraining, parameters string) (*fit.Certificate, error) {
	m := s.hubModel(s.book, t)
	if m == nil {
		return nil, errors.New("the training is no longer the one that was asked for")
	}
	var verdicts []federate.Signed
	for _, c := range t.Asked.Contributors {
		i := slices.IndexFunc(t.Verdicts, func(v HubVerdict) bool { return v.Party == c })
		if i < 0 {
			return nil, fit.Missing(c)
		}
		verdicts = append(verdicts, t.Verdicts[i].Signed)
	}
	c, err := m.Certificate(parameters, t.Asked.Contributors, verdicts)
	if err != nil {
		return nil, err
	}
	c, _, err = fit.ReadCertificate(c.Encode(), s.verdictsOf(t))
	return c, err
}

func (s *State) applyHubModelCertified(t *HubTraining, e *entry.Entry) error {
	p := e.HubModelCertified
	c, err := s.HubCertificate(t, p.Model)
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(c.Encode()); hex.EncodeToString(sum[:]) != p.Certificate {
		return errors.New("the certificate is not that of the verdicts")
	}
	t.Phase, t.Certified, t.Verdicts, t.FinishSeq, t.FinishAt = PhaseReleased, p, nil, e.Seq, e.At
	s.released++
	return nil
}

func (s *State) applyHubModelEnded(e *entry.Entry) error {
	f := e.HubModelEnded
	t, ok := s.hub.trainings[f.Run]
	if !ok || t.Phase != PhaseReserved {
		return errors.New("training is not under way")
	}
	if f.Code == Cancelled {
		if err := s.signedAct(e, f.By, ActCancelHubTraining(f.Run)); err != nil {
			return err
		}
		if x := s.book.Authorize(f.By, policies.ActCancelRound, policies.Resource{Operator: t.Operator}); x != nil {
			return x
		}
		s.acted(e, f.By)
	} else {
		if err := s.gateway(e); err != nil {
			return err
		}
		if e.Signed != nil {
			return errors.New("the entry holds a signed request, which its kind does not take")
		}
		// An end that names what stopped it is decided again.
		if want := s.StoppedHubTraining(s.book, f.Run, e.Time()); f.Rule != "" && (want == nil || want.Code != f.Code || want.By != f.By || want.Rule != f.Rule) {
			return errors.New("nothing in force stops the training as the entry says")
		}
		if _, open := t.Open(); open {
			return errors.New("a pass of the training runs")
		}
	}
	if f.Party != "" && !slices.Contains(t.Parties, f.Party) {
		return errors.New("the party to blame has no part in the training")
	}
	t.Phase, t.Ended, t.Verdicts, t.FinishSeq, t.FinishAt = PhaseFailed, f, nil, e.Seq, e.At
	return nil
}
