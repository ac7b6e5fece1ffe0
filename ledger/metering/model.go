package metering

import (
	"time"

	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// modelUse is a model job as a statement counts it: a call when the gate let the model
// out, failed when it did not, and the rows that were scored since.
func modelUse(s *state.State, m state.Model) use {
	u := use{operator: m.Operator, licence: m.Request.Licence, product: m.Request.Product, purpose: m.Request.Purpose, at: time.UnixMilli(m.At)}
	core, ok := s.Book().ModelCore(m.Request.Product)
	if !ok {
		// Filed by nobody, or no model product: refused, and nobody's data.
		u.count = func(l *Line) { l.Refused++ }
		return u
	}
	u.split = map[string]int64{}
	for _, c := range policies.Uses(core) {
		if e, ok := s.Book().Dataset(c.Dataset); ok {
			u.split[e.Department]++
		}
	}
	u.answered = m.Certified != nil && m.Certified.Certificate.Verdict == policies.VerdictPass
	u.count = func(l *Line) {
		switch {
		case m.Phase == state.PhaseRefused:
			l.Refused++
			return
		case u.answered:
			l.Calls++
			l.Rows += m.Scored
		case m.Phase != state.PhaseReserved:
			l.Failed++
		}
		if m.Reserved != nil {
			l.Rho += m.Reserved.Price
		}
		if m.FinishAt > m.At {
			l.Millis += m.FinishAt - m.At
		}
	}
	return u
}
