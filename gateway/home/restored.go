package home

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sandgate/sandgate/internal/durable"
)

// Names of a home's files, for what copies them.
const (
	KeyringFile  = keyringFile
	UnlockFile   = unlockFile
	restoredFile = "restored.json"
)

// Files are the files of a home beside its directories.
var Files = []string{configFile, keyringFile, unlockFile, caFile, serverFile}

// Restored marks a home that was brought back from a backup and may not serve yet.
type Restored struct {
	Home   string `json:"home"` // random number of this restoration, hex
	Backup string `json:"backup"`
	Origin string `json:"origin"`
	Size   uint64 `json:"size"` // entries of the ledger
	Root   string `json:"root"` // of its tree, hex
}

// Write puts the mark into a home, durably.
func (r *Restored) Write(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return texts.Errorf("failed to encode the mark of a restoration: %w", err)
	}
	return writeFile(dir, restoredFile, append(text, '\n'))
}

// Restored returns the mark, nil when the home was not restored or its restoration
// was confirmed.
func (h *Home) Restored() (*Restored, error) {
	text, err := os.ReadFile(filepath.Join(h.Dir, restoredFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, texts.Errorf("failed to read the mark of a restoration: %w", err)
	}
	var r Restored
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, texts.Errorf("the mark of a restoration is damaged: restore the home again")
	}
	return &r, nil
}

// Confirmed takes the mark away, durably.
func (h *Home) Confirmed() error {
	if err := durable.Remove(filepath.Join(h.Dir, restoredFile), "restored.remove"); err != nil {
		return texts.Errorf("failed to remove the mark of a restoration: %w", err)
	}
	return durable.SyncDir(h.Dir, "restored")
}

// writeFile writes a file of a home so that it is there after a power failure.
func writeFile(dir, name string, text []byte) error {
	return durable.Write(filepath.Join(dir, name), text, "home")
}
