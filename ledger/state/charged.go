package state

import "github.com/sandgate/sandgate/compute/budget"

// ChargedBeside visits what was charged for everything but jobs, with the instant of the
// first entry (Unix milliseconds): models, passes of rounds, twins, and relations, whose
// charges are of several data sets, whoever asked for them.
func (s *State) ChargedBeside(visit func(at int64, charges []budget.Charge)) {
	for _, id := range s.models.order {
		if m := s.models.all[id]; m.Reserved != nil {
			visit(m.At, m.Reserved.Charges)
		}
	}
	for _, id := range s.rounds.order {
		if r := s.rounds.all[id]; r.Joined.Data != nil {
			visit(r.At, r.Joined.Data.Charges)
		}
	}
	for _, id := range s.synthetics.order {
		if t := s.synthetics.all[id]; t.Reserved != nil {
			visit(t.At, t.Reserved.Charges)
		}
	}
	for _, id := range s.synthetics.relations.order {
		if r := s.synthetics.relations.all[id]; r.Reserved != nil {
			visit(r.At, r.Reserved.Charges)
		}
	}
}
