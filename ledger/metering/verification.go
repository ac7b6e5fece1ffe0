package metering

import (
	"time"

	"github.com/sandgate/sandgate/ledger/state"
)

// verificationUse is a verification as a statement counts it. What tells a repeat
// from another call is what the operator asked himself: neither a consent nor
// another operator's question shows in anybody's bill.
func verificationUse(s *state.State, v state.Verification) use {
	p, ok := s.Book().Product(v.Request.Product)
	if !ok || p.Predicate == nil {
		// Filed by nobody, or no verification product: refused, and nobody's data.
		return use{operator: v.Operator, licence: v.Request.Licence, product: v.Request.Product, purpose: v.Request.Purpose, at: time.UnixMilli(v.At), count: func(l *Line) { l.Refused++ }}
	}
	split := map[string]int64{}
	for range p.Predicate.Columns {
		if e, ok := s.Book().Dataset(p.Predicate.Dataset); ok {
			split[e.Department]++
		}
	}
	return use{
		operator: v.Operator, licence: v.Request.Licence, product: v.Request.Product, purpose: v.Request.Purpose, at: time.UnixMilli(v.At), split: split,
		answered: v.Phase == state.PhaseReleased,
		count: func(l *Line) {
			switch v.Phase {
			case state.PhaseRefused:
				l.Refused++
				return
			case state.PhaseFailed:
				l.Failed++
			case state.PhaseReleased:
				l.Calls++
				l.Rows++ // one answer, confirmed or not
				if v.Reserved.Repeat {
					l.Repeats++
				}
			}
			if v.FinishAt > v.At {
				l.Millis += v.FinishAt - v.At
			}
		},
	}
}

// use is one job of any kind, as a statement counts it.
type use struct {
	operator, licence, product, purpose string
	at                                  time.Time
	split                               map[string]int64 // columns used of each department's data
	answered                            bool
	free                                bool // charged for elsewhere
	count                               func(*Line)
}

// uses lists the jobs of all kinds, queries first.
func uses(s *state.State) []use {
	var out []use
	for _, id := range s.Jobs() {
		j, _ := s.Job(id)
		out = append(out, use{
			operator: j.Operator, licence: j.Request.Licence, product: j.Request.Product, purpose: j.Request.Purpose, at: time.UnixMilli(j.At), split: columnsOf(s, j.Request.Core),
			answered: j.Phase == state.PhaseReleased || j.Phase == state.PhaseRepeated, count: func(l *Line) { l.add(s, j) },
		})
	}
	for _, id := range s.Verifications() {
		v, _ := s.Verification(id)
		out = append(out, verificationUse(s, v))
	}
	for _, id := range s.Models() {
		m, _ := s.Model(id)
		out = append(out, modelUse(s, m))
	}
	for _, id := range s.HubRounds() {
		r, _ := s.HubRound(id)
		out = append(out, hubRoundUse(s, r))
	}
	for _, id := range s.HubTrainings() {
		t, _ := s.HubTraining(id)
		out = append(out, hubTrainingUse(s, t))
	}
	for _, id := range s.Rounds() {
		r, _ := s.Round(id)
		if u, ok := roundUse(s, r); ok {
			out = append(out, u)
		}
	}
	return out
}
