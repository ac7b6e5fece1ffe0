package second_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/second"
)

const origin = "sandgate.example/city"

type anything struct{}

func (anything) Apply(uint64, []byte) error { return nil }

// write makes a log of some sizes, and returns a checkpoint of each.
func write(t *testing.T, story string, sizes ...int) (dir, vkey string, checkpoints [][]byte) {
	t.Helper()
	base := t.TempDir()
	seed := bytes.Repeat([]byte{1}, 32)
	signer, _, err := ledger.NewSignerFromSeed(origin, seed)
	if err != nil {
		t.Fatal(err)
	}
	if vkey, err = ledger.VerifierKey(origin, ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(base, "log")
	l, err := ledger.Open(t.Context(), ledger.Config{Dir: dir, GuardDir: filepath.Join(base, "guard"), Origin: origin, Signer: signer,
		ReceiptKey: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))}, anything{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, size := range sizes {
		_, err := l.Do(t.Context(), func() ([][]byte, error) {
			var out [][]byte
			for ; n < size; n++ {
				out = append(out, fmt.Appendf(nil, "%s entry %d", story, n))
			}
			return out, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		cp, err := l.WaitPublished(t.Context(), uint64(size-1))
		if err != nil {
			t.Fatal(err)
		}
		checkpoints = append(checkpoints, cp)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, vkey, checkpoints
}

func TestR30_SecondReader(t *testing.T) {
	dir, vkey, cps := write(t, "first", 5, 256, 300)
	other, _, theirs := write(t, "second", 5, 256, 300)
	for i, cp := range cps {
		tree, err := second.Check(t.Context(), os.DirFS(dir), []string{vkey}, cp)
		if err != nil || tree.Size != []int64{5, 256, 300}[i] || tree.Origin != origin || !strings.Contains(string(cp), tree.Root) {
			t.Errorf("checkpoint %d: %+v %v", i, tree, err)
		}
		if _, err := second.Check(t.Context(), os.DirFS(other), []string{vkey}, cp); err == nil {
			t.Errorf("checkpoint %d fits another log", i)
		}
		for j := range cps {
			if err := second.Consistent(t.Context(), os.DirFS(dir), []string{vkey}, cp, cps[j]); err != nil {
				t.Errorf("checkpoints %d and %d: %v", i, j, err)
			}
			if err := second.Consistent(t.Context(), os.DirFS(dir), []string{vkey}, cp, theirs[j]); err == nil {
				t.Errorf("checkpoint %d and %d of another history are consistent", i, j)
			}
		}
	}
	_, stranger, err := func() (any, string, error) {
		k, err := ledger.VerifierKey(origin, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, 32)).Public().(ed25519.PublicKey))
		return nil, k, err
	}()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Check(t.Context(), os.DirFS(dir), []string{stranger}, cps[2]); err == nil {
		t.Error("another key's checkpoint passes")
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := second.Check(done, os.DirFS(dir), []string{vkey}, cps[2]); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, path := range []string{"tile/entries/000", "tile/entries/001.p/44", "tile/0/000", "tile/0/001.p/44"} {
		name := filepath.Join(dir, path)
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(whole)
		bad[len(bad)/2] ^= 1
		if err := os.WriteFile(name, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := second.Check(t.Context(), os.DirFS(dir), []string{vkey}, cps[2]); err == nil {
			t.Errorf("%s: a flipped bit passes", path)
		}
		if err := os.WriteFile(name, whole, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
