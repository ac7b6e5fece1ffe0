package entry

import (
	"encoding/hex"
	"errors"
)

// Kinds of entry about snapshots of the state 状态快照: what a gateway starts from
// without a replay of everything.
const (
	// KindMarked says that the state before this very entry is being written down.
	KindMarked Kind = "state.marked"
	// KindRecorded gives its hash.
	KindRecorded Kind = "state.recorded"
)

// Marked stands where the state was taken, so that whoever replays knows of which
// state to compute the hash before he is told one.
type Marked struct {
	// Layout names the fields of the state in the program that took it, 16 hexadecimal
	// digits; a program of another layout cannot compute this hash.
	Layout string `json:"layout"`
}

// Recorded is the hash of the state at the last KindMarked.
type Recorded struct {
	Size    uint64 `json:"size"` // entries applied: the sequence number of the mark
	Layout  string `json:"layout"`
	Hash    string `json:"hash"`    // SHA-256, hexadecimal
	Bytes   int64  `json:"bytes"`   // that the state takes when written down
	Program string `json:"program"` // that wrote it; no other starts from it
}

// Start says how a gateway came by its state.
type Start struct {
	// State is the size of the state snapshot that it started from; 0 if it replayed
	// every entry.
	State uint64 `json:"state"`
	// Refused is why the newest state snapshot was not taken, a code; empty if it was,
	// or if there was none.
	Refused string `json:"refused,omitempty"`
}

func (m *Marked) check() error {
	if !isLayout(m.Layout) {
		return errors.New("mark does not name the layout of the state")
	}
	return nil
}

func (r *Recorded) check() error {
	if !isLayout(r.Layout) || !isHash(r.Hash) || r.Size == 0 || r.Bytes <= 0 || r.Program == "" || len(r.Program) > 256 {
		return errors.New("record of the state does not name size, layout, hash and program")
	}
	return nil
}

func isLayout(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 8 && s == hex.EncodeToString(b)
}

func (s *Start) check() error {
	if len(s.Refused) > 64 {
		return errors.New("start gives no code for what it refused")
	}
	return nil
}
