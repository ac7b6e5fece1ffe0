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

// Rotated says that data keys are wrapped by another master key from here on.
type Rotated struct {
	Key  string `json:"key"`  // which: storage
	From string `json:"from"` // name of the old key; it tells nothing of it
	To   string `json:"to"`
	// Moved is how many data keys were wrapped anew, Left how many files of before
	// have none and still need the old key.
	Moved int `json:"moved"`
	Left  int `json:"left"`
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

func (r *Rotated) check() error {
	if r.Key != "storage" || r.From == "" || r.To == "" || r.Moved < 0 || r.Left < 0 {
		return errors.New("rotation does not name its keys")
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
	}
	return nil
}

func isHash(s string) bool {
	h, err := hex.DecodeString(s)
	return err == nil && len(h) == sha256.Size && s == hex.EncodeToString(h)
}
