package state

import (
	"errors"

	"github.com/sandgate/sandgate/ledger/entry"
)

// mark is a state that is being written down.
type mark struct {
	size   uint64
	layout string
}

// Recorded is the newest state whose hash the ledger gives.
type Recorded struct {
	entry.Recorded
	Seq uint64
}

// Recorded returns the newest record of a state, nil when there is none.
func (s *State) Recorded() *Recorded { return s.recorded }

func (s *State) applyMarked(e *entry.Entry) error {
	if err := s.gateway(e); err != nil {
		return err
	}
	s.marked = &mark{e.Seq, e.Marked.Layout}
	return nil
}

// applyRecorded takes a record for what it claims. Whether the hash is right shows who
// replays everything and computes it (Recorder): the audit does.
func (s *State) applyRecorded(e *entry.Entry) error {
	if err := s.gateway(e); err != nil {
		return err
	}
	if m := s.marked; m == nil || m.size != e.Recorded.Size || m.layout != e.Recorded.Layout {
		return errors.New("the record is of no state that was marked")
	}
	s.marked, s.recorded = nil, &Recorded{*e.Recorded, e.Seq}
	return nil
}
