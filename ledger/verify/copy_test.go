package verify_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/verify"
)

func TestConsistency(t *testing.T) {
	m := theMaster(t)
	ctx := context.Background()
	for i, older := range m.checkpoints {
		for j, newer := range m.checkpoints {
			err := verify.Consistency(ctx, m.dir, m.verifier, older, newer)
			if (err == nil) != (i <= j) {
				t.Errorf("checkpoints %d and %d: %v", i, j, err)
			}
		}
	}
	forger, _, err := ledger.NewSignerFromSeed(origin, bytes.Repeat([]byte{9}, 32))
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(m.checkpoints[0]), "\n\n")
	forged, err := note.Sign(&note.Note{Text: text + "\n"}, forger)
	if err != nil {
		t.Fatal(err)
	}
	if verify.Consistency(ctx, m.dir, m.verifier, forged, m.checkpoints[2]) == nil || verify.Consistency(ctx, m.dir, m.verifier, m.checkpoints[0], forged) == nil {
		t.Error("a checkpoint of another key passes")
	}
	real, _, err := ledger.NewSignerFromSeed(origin, bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	empty := func(hash string) []byte {
		cp, err := note.Sign(&note.Note{Text: origin + "\n0\n" + hash + "\n"}, real)
		if err != nil {
			t.Fatal(err)
		}
		return cp
	}
	if err := verify.Consistency(ctx, m.dir, m.verifier, empty("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="), m.checkpoints[0]); err != nil {
		t.Errorf("from the empty log: %v", err)
	}
	if verify.Consistency(ctx, m.dir, m.verifier, empty("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), m.checkpoints[0]) == nil {
		t.Error("an empty log with a wrong root passes")
	}
}

// Once a tile is full its partial versions are cleaned up; an older checkpoint must still verify.
func TestOlderCheckpointAfterCleanUp(t *testing.T) {
	m := theMaster(t)
	dir := copyOf(t, m)
	ctx := context.Background()
	for _, path := range []string{"tile/entries/000.p", "tile/entries/001.p", "tile/0/000.p", "tile/0/001.p", "tile/1/000.p/1"} {
		if err := os.RemoveAll(filepath.Join(dir, path)); err != nil {
			t.Fatal(err)
		}
	}
	if err := verify.Consistency(ctx, dir, m.verifier, m.checkpoints[0], m.checkpoints[1]); err != nil {
		t.Errorf("Consistency: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "checkpoint"), m.checkpoints[1], 0o644); err != nil {
		t.Fatal(err)
	}
	if res, err := verify.Dir(ctx, dir, m.verifier, func(uint64, []byte) error { return nil }, nil); err != nil || res.Size != 300 || res.Unpublished != logSize-300 {
		t.Errorf("Dir: %+v %v", res, err)
	}
	to := filepath.Join(t.TempDir(), "again")
	if n, err := verify.Copy(ctx, dir, to, m.verifier); err != nil || n != 300 {
		t.Errorf("Copy: %d %v", n, err)
	}
	if res, err := verify.Dir(ctx, to, m.verifier, nil, nil); err != nil || res.Size != 300 {
		t.Errorf("Dir of the copy: %+v %v", res, err)
	}
}

// Copies taken while writers append are whole.
func TestR30CopyOfLogInUse(t *testing.T) {
	base := t.TempDir()
	signer, verifier, err := ledger.NewSignerFromSeed(origin, bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, "log")
	ctx, cancel := context.WithCancel(context.Background())
	l, err := ledger.Open(ctx, ledger.Config{Dir: dir, GuardDir: filepath.Join(base, "guard"), Origin: origin, Signer: signer,
		ReceiptKey: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))}, anything{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				if _, err := l.Do(ctx, func() ([][]byte, error) { return [][]byte{entryOf(1), entryOf(2)}, nil }); err != nil {
					return
				}
			}
		})
	}
	last := uint64(0)
	for i := range 6 {
		if _, err := l.WaitPublished(ctx, 0); err != nil && !errors.Is(err, ledger.ErrNotInLog) {
			t.Fatal(err)
		}
		to := filepath.Join(base, fmt.Sprint("copy", i))
		n, err := verify.Copy(ctx, dir, to, verifier)
		if err != nil {
			t.Fatal(err)
		}
		res, err := verify.Dir(ctx, to, verifier, func(uint64, []byte) error { return nil }, nil)
		if err != nil || res.Size != n || n < last {
			t.Fatalf("copy %d: %+v of %d, before %d: %v", i, res, n, last, err)
		}
		last = n
	}
	cancel()
	wg.Wait()
	if err := l.Close(); err != nil || last == 0 {
		t.Errorf("last copy covers %d entries, Close: %v", last, err)
	}
}
