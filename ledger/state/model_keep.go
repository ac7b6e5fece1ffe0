package state

import "time"

// ModelsEnding lists the models that end with a destruction: those trained on the
// snapshot before it, but private ones and modules, of which released values alone are kept. A
// model whose product was changed since counts as not private.
func (s *State) ModelsEnding(d Destruction) []string {
	var out []string
	for _, id := range s.models.order {
		m := s.models.all[id]
		p, ok := s.book.ModelProduct(m.Request.Product)
		private := ok && p.Digest() == m.Request.Version && !p.Model.Inside()
		if m.Reserved != nil && m.Reserved.Snapshot == d.Snapshot && m.Seq < d.Seq && !private {
			out = append(out, id)
		}
	}
	return out
}

// ScoresLeft is how many rows a model may still score in the month of an instant; 0
// when none may be scored.
func (s *State) ScoresLeft(id string, at time.Time) int64 {
	m, ok := s.models.all[id]
	if !ok {
		return 0
	}
	e, _ := s.book.Dataset(s.datasetOf(m))
	_, _, most, ok := e.Models()
	if !ok {
		return 0
	}
	return max(0, most-s.models.at(at).rows[keyed(m.Operator, s.datasetOf(m))])
}
