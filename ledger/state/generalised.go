package state

import "github.com/sandgate/sandgate/ledger/entry"

// checkGeneralised holds what an ingest says of its k-anonymous columns to the ladders
// and to the suppressed share that the department registered.
func (s *State) checkGeneralised(x *entry.Snapshot) error {
	e, _ := s.book.Dataset(x.Dataset)
	return e.CheckGeneralised(x.Generalised)
}
