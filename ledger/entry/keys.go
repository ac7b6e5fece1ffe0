package entry

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// Kinds of entry about keys, destruction and recovery.
const (
	KindDestroyed Kind = "snapshot.destroyed"
	KindRotated   Kind = "key.rotated"
	KindRestored  Kind = "home.restored"
)

// Destroyed is the certificate of destruction 销毁证明 of a data set's snapshot: its
// key is erased, and no job is open on it. The data set has no snapshot from here
// on. The answer to a request waits for the erasure; after a crash between the two
// the gateway finishes it before it serves.
type Destroyed struct {
	Dataset  string `json:"dataset"`
	Snapshot string `json:"snapshot"`
	Manifest string `json:"manifest"` // as in the snapshot's own entry
	// Method is crypto-erase; overwrite for a snapshot of before that had no key of
	// its own; absent when the gateway held no file.
	Method string `json:"method"`
}

// Rotated says that another key is in force from here on.
type Rotated struct {
	Key  string `json:"key"`  // KeyStorage, …
	From string `json:"from"` // name of the old key; it tells nothing of it
	To   string `json:"to"`
	// Moved is how many data keys were wrapped anew, Left how many files of before
	// have none and still need the old key.
	Moved int `json:"moved"`
	Left  int `json:"left"`
	// Epoch is the number of the new token, commit, consent or ca key; the first there was is 0.
	Epoch int `json:"epoch,omitempty"`
	// Old and New are the signatures of both receipt keys over evidence.RotationText.
	Old []byte `json:"old,omitempty"`
	New []byte `json:"new,omitempty"`
	// Checkpoint is one of the old log key over the announcement of the new.
	Checkpoint string `json:"checkpoint,omitempty"`
}

// Restored says that the gateway was brought back from a backup, and under which
// confirmation it serves.
type Restored struct {
	Home string `json:"home"` // random number of the restoration, hex
	// Size and Root are the tree before this entry.
	Size uint64 `json:"size"`
	Root string `json:"root"` // hex
	// Confirmation is the DEFLATE of what the regulator signed (policies.Recovery).
	Confirmation []byte `json:"confirmation"`
}

func (d *Destroyed) check() error {
	if !isHash(d.Snapshot) || !isHash(d.Manifest) || d.Dataset == "" {
		return errors.New("certificate of destruction does not name its snapshot")
	}
	if !slices.Contains([]string{"crypto-erase", "overwrite", "absent"}, d.Method) {
		return fmt.Errorf("method of destruction is unknown")
	}
	return nil
}

func (r *Restored) check() error {
	if !isHash(r.Root) || !isHash(r.Home) {
		return errors.New("restoration does not name itself and its tree")
	}
	return nil
}

func (e *Entry) checkKeys() error {
	switch {
	case e.Destroyed != nil:
		return e.Destroyed.check()
	case e.Rotated != nil:
		return e.Rotated.check()
	case e.Restored != nil:
		return e.Restored.check()
	case e.Announced != nil:
		return e.Announced.check()
	case e.Erased != nil:
		return e.Erased.check()
	// carried:
	case e.Marked != nil:
		return e.Marked.check()
	case e.Recorded != nil:
		return e.Recorded.check()
	case e.Started != nil && e.Started.Start != nil:
		return e.Started.Start.check()
	}
	return nil
}

func isHash(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == hex.EncodedLen(sha256.Size)
}
