package ledger

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The log library panics when it cannot open its lock: a start says why instead.
func TestR29_LockThatCannotBeOpened(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	if err := os.MkdirAll(filepath.Join(cfg.Dir, ".state", "treeState.lock"), 0o700); err != nil { // a directory is no lock
		t.Fatal(err)
	}
	l, err := Open(context.Background(), cfg, &countOnly{})
	if err == nil {
		l.Close()
		t.Fatal("a log without its lock is opened")
	}
	if !strings.Contains(err.Error(), "failed to open tiles") || !strings.Contains(err.Error(), "treeState.lock") {
		t.Errorf("%v: does not say what is wrong", err)
	}
}
