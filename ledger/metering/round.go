package metering

import (
	"time"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/ledger/state"
)

// hubRoundUse is a round across domains as the statement of its aggregator counts it: a
// call when its answer was released. Its ρ is what every domain of it charges; nothing is
// debited here.
func hubRoundUse(s *state.State, r state.HubRound) use {
	q := r.Proposed.Request
	return use{
		operator: r.Operator, licence: q.Licence, purpose: q.Purpose, at: time.UnixMilli(r.At), split: columnsOf(s, q.Core), answered: r.Phase == state.PhaseReleased,
		count: func(l *Line) {
			switch {
			case r.Released != nil:
				l.Calls++
				l.Rows, l.Bytes = l.Rows+r.Released.Rows, l.Bytes+r.Released.Bytes
			case r.Phase == state.PhaseFailed:
				l.Failed++
			}
			l.Rho += r.Proposed.Price
			if r.FinishAt > r.At {
				l.Millis += r.FinishAt - r.At
			}
		},
	}
}

// hubTrainingUse is a training over domains as the statement of its aggregator counts it: a
// call when its model was certified. Its ρ is what its passes cost each domain if none fails;
// nothing is debited here.
func hubTrainingUse(s *state.State, t state.HubTraining) use {
	q := t.Asked.Request
	core := s.Book().TrainingCore(q.Spec)
	return use{
		operator: t.Operator, licence: q.Licence, purpose: q.Purpose, at: time.UnixMilli(t.At), split: columnsOf(s, &core), answered: t.Phase == state.PhaseReleased,
		count: func(l *Line) {
			switch {
			case t.Certified != nil:
				l.Calls++
				l.Bytes += t.Certified.Bytes
			case t.Phase == state.PhaseFailed:
				l.Failed++
			}
			l.Rho += t.Asked.Price
			if t.FinishAt > t.At {
				l.Millis += t.FinishAt - t.At
			}
		},
	}
}

// roundUse is a round in which this domain's data were read, as its own statement counts
// it: what it cost here, and whose data contributed. The amount due for it stands in the
// aggregator's statement. A pass of a training is a round. ok is false of who had no data.
func roundUse(s *state.State, r state.Round) (u use, ok bool) {
	j := r.Joined
	p, f := federate.DecodeProposal(j.Proposal)
	if j.Data == nil || f != nil {
		return u, false
	}
	core := j.Data.Core
	if core == nil && j.Model != nil {
		c := s.Book().TrainingCore(j.Model.Spec)
		core = &c
	}
	return use{
		operator: p.Receiver, purpose: j.Purpose, at: time.UnixMilli(r.At), split: columnsOf(s, core), answered: r.Phase == state.PhaseReleased, free: true,
		count: func(l *Line) {
			switch r.Phase {
			case state.PhaseReleased:
				l.Calls++
			case state.PhaseFailed:
				l.Failed++
			}
			l.Rho += j.Data.Price
			if r.FinishAt > r.At {
				l.Millis += r.FinishAt - r.At
			}
		},
	}, true
}
