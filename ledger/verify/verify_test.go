package verify_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"go/build"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/verify"
	"github.com/sandgate/sandgate/ledger/wal"
)

const origin = "sandgate.example/city"

type anything struct{}

func (anything) Apply(uint64, []byte) error { return nil }

// logSize makes two full entry bundles and a partial third, so that every kind of tile exists on levels 0 and 1.
const logSize = 600

func entryOf(seq uint64) []byte { return fmt.Appendf(nil, "this is entry number %d", seq) }

// master is a published log that the tests copy before they tamper with it.
type master struct {
	dir         string
	verifier    note.Verifier
	key         ed25519.PublicKey
	receipts    []evidence.Receipt
	checkpoints [][]byte // at 256, 300 and logSize entries
}

var makeMaster = sync.OnceValues(func() (*master, error) {
	base, err := os.MkdirTemp("", "sandgate-verify-*")
	if err != nil {
		return nil, err
	}
	signer, verifier, err := ledger.NewSignerFromSeed(origin, bytes.Repeat([]byte{1}, 32))
	if err != nil {
		return nil, err
	}
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))
	m := &master{dir: filepath.Join(base, "log"), verifier: verifier, key: key.Public().(ed25519.PublicKey)}
	ctx := context.Background()
	l, err := ledger.Open(ctx, ledger.Config{Dir: m.dir, GuardDir: filepath.Join(base, "guard"), Origin: origin, Signer: signer, ReceiptKey: key}, anything{})
	if err != nil {
		return nil, err
	}
	for seq := uint64(0); seq < logSize; {
		n := uint64(20)
		if seq == 240 {
			n = 16
		}
		if seq == 256 {
			n = 4
		}
		rs, err := l.Do(ctx, func() ([][]byte, error) {
			var out [][]byte
			for i := range n {
				out = append(out, entryOf(seq+i))
			}
			return out, nil
		})
		if err != nil {
			return nil, err
		}
		m.receipts = append(m.receipts, rs...)
		if seq += n; seq == 256 || seq == 300 || seq == logSize {
			cp, err := l.WaitPublished(ctx, seq-1)
			if err != nil {
				return nil, err
			}
			m.checkpoints = append(m.checkpoints, cp)
		}
	}
	return m, l.Close()
})

func TestMain(m *testing.M) {
	code := m.Run()
	if made, err := makeMaster(); err == nil {
		os.RemoveAll(filepath.Dir(made.dir))
	}
	os.Exit(code)
}

func theMaster(t *testing.T) *master {
	t.Helper()
	m, err := makeMaster()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// copyOf gives the test its own copy of the log, as an auditor gets it.
func copyOf(t *testing.T, m *master) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(m.dir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestR30WholeLog(t *testing.T) {
	m := theMaster(t)
	next := uint64(0)
	visit := func(seq uint64, entry []byte) error {
		if seq != next || !bytes.Equal(entry, entryOf(seq)) {
			return fmt.Errorf("visit of %d after %d", seq, next)
		}
		next++
		return nil
	}
	var done, total uint64
	progress := func(d, n uint64) {
		if d <= done || d > n {
			t.Errorf("progress went from %d to %d of %d", done, d, n)
		}
		done, total = d, n
	}
	res, err := verify.Dir(context.Background(), m.dir, m.verifier, visit, progress)
	if err != nil {
		t.Fatal(err)
	}
	if res.Size != logSize || next != logSize || !res.HasWAL || res.Unpublished != 0 || res.TornBytes != 0 || res.Origin != origin {
		t.Errorf("%+v after %d visits", res, next)
	}
	if done != total || total != 2*logSize {
		t.Errorf("progress ended at %d of %d", done, total)
	}
	broken, err := verify.Receipts(context.Background(), m.dir, m.verifier, m.key, m.receipts)
	if err != nil || len(broken) != 0 {
		t.Errorf("receipts: %v %v", broken, err)
	}
}

// One flipped byte in any file that the checkpoint leads to, entry bundle, tile, checkpoint or write-ahead file, at
// its beginning, middle and end, is found, and the file is named (for an entry also its number).
func TestFlippedByteIsNamed(t *testing.T) {
	m := theMaster(t)
	dir := copyOf(t, m)
	checked := 0
	err := fs.WalkDir(os.DirFS(m.dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if strings.HasPrefix(path, ".state") {
			return nil // working state of the writer, no part of the log
		}
		whole, err := os.ReadFile(filepath.Join(m.dir, path))
		if err != nil {
			return err
		}
		places := []int{0, 2, len(whole) / 2, len(whole) - 1}
		if strings.Contains(path, ".p/") {
			places = places[2:] // there are dozens of partial tiles
		}
		for _, at := range places {
			damaged := bytes.Clone(whole)
			damaged[at] ^= 0x40
			if err := os.WriteFile(filepath.Join(dir, path), damaged, 0o644); err != nil {
				return err
			}
			checked++
			_, err := verify.Dir(context.Background(), dir, m.verifier, nil, nil)
			var damage *verify.Damage
			var corrupt *wal.CorruptError
			switch {
			case err == nil:
				t.Errorf("%s, byte %d: not found", path, at)
			case errors.As(err, &damage) && damage.Path == path:
			case errors.As(err, &corrupt) && path == wal.FileName:
			default:
				t.Errorf("%s, byte %d: blamed %v", path, at, err)
			}
		}
		return os.WriteFile(filepath.Join(dir, path), whole, 0o644)
	})
	if err != nil || checked < 40 {
		t.Errorf("%d flips tried, %v", checked, err)
	}
	if _, err := verify.Dir(context.Background(), dir, m.verifier, nil, nil); err != nil {
		t.Errorf("the restored copy: %v", err)
	}
}

func TestFlippedEntryIsNumbered(t *testing.T) {
	m := theMaster(t)
	dir := copyOf(t, m)
	for path, first := range map[string]uint64{"tile/entries/000": 0, "tile/entries/001": 256, "tile/entries/002.p/88": 512} {
		data, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		seq := first + 77
		at := bytes.Index(data, entryOf(seq))
		data[at+3] ^= 1
		if err := os.WriteFile(filepath.Join(dir, path), data, 0o644); err != nil {
			t.Fatal(err)
		}
		visited := uint64(0)
		_, err = verify.Dir(context.Background(), dir, m.verifier, func(uint64, []byte) error { visited++; return nil }, nil)
		var damage *verify.Damage
		if !errors.As(err, &damage) || damage.Path != path || damage.Seq != seq || visited != 0 {
			t.Errorf("entry %d: %v after %d visits", seq, err, visited)
		}
		if err != nil && strings.Contains(err.Error(), "entry number") {
			t.Errorf("the error shows the entry: %v", err)
		}
		data[at+3] ^= 1
		if err := os.WriteFile(filepath.Join(dir, path), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A forger who changes an entry and everything above it consistently, write-ahead file included, still cannot make
// the signed root fit.
func TestConsistentForgeryIsRefused(t *testing.T) {
	m := theMaster(t)
	base := t.TempDir()
	signer, _, err := ledger.NewSignerFromSeed(origin, bytes.Repeat([]byte{9}, 32))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, "log")
	ctx := context.Background()
	l, err := ledger.Open(ctx, ledger.Config{Dir: dir, GuardDir: filepath.Join(base, "guard"), Origin: origin, Signer: signer,
		ReceiptKey: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, 32))}, anything{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.Do(ctx, func() ([][]byte, error) {
		var out [][]byte
		for seq := range uint64(logSize) {
			out = append(out, entryOf(seq%599))
		}
		return out, nil
	})
	if err = errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := verify.Dir(ctx, dir, m.verifier, nil, nil); err == nil {
		t.Error("a log signed by another key passes")
	}
	if err := os.WriteFile(filepath.Join(dir, "checkpoint"), m.checkpoints[2], 0o644); err != nil {
		t.Fatal(err)
	}
	var damage *verify.Damage
	if _, err := verify.Dir(ctx, dir, m.verifier, nil, nil); !errors.As(err, &damage) || damage.Path != "checkpoint" {
		t.Errorf("forged log under a real checkpoint: %v", err)
	}
	if err := verify.Consistency(ctx, dir, m.verifier, m.checkpoints[0], m.checkpoints[2]); err == nil {
		t.Error("forged tiles prove consistency")
	}
}

func TestMissingFileIsNamed(t *testing.T) {
	m := theMaster(t)
	for _, path := range []string{"checkpoint", "tile/entries/001", "tile/0/001", "tile/entries/002.p/88", "tile/0/002.p/88", "tile/1/000.p/2"} {
		dir := copyOf(t, m)
		if err := os.Remove(filepath.Join(dir, path)); err != nil {
			t.Fatal(err)
		}
		if _, err := verify.Dir(context.Background(), dir, m.verifier, nil, nil); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s removed: %v", path, err)
		}
	}
}

// An older checkpoint over a directory that has grown: what is beyond it is the unpublished tail; a torn record at
// its end was never acknowledged and is no fault.
func TestUnpublishedTail(t *testing.T) {
	m := theMaster(t)
	dir := copyOf(t, m)
	ctx := context.Background()
	if err := os.WriteFile(filepath.Join(dir, "checkpoint"), m.checkpoints[1], 0o644); err != nil {
		t.Fatal(err)
	}
	walPath := filepath.Join(dir, wal.FileName)
	whole, err := os.ReadFile(walPath)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(walPath, whole[:len(whole)-5], 0o644); err != nil {
		t.Fatal(err)
	}
	visits := uint64(0)
	visit := func(seq uint64, entry []byte) error {
		if seq != visits || !bytes.Equal(entry, entryOf(seq)) {
			return fmt.Errorf("visit of %d after %d", seq, visits)
		}
		visits++
		return nil
	}
	res, err := verify.Dir(ctx, dir, m.verifier, visit, nil)
	// The last command had 20 entries and lost the end of its last record, so none of them counts.
	if err != nil || res.Size != 300 || res.Unpublished != logSize-300-20 || visits != logSize-20 || res.TornBytes == 0 {
		t.Errorf("%+v after %d visits: %v", res, visits, err)
	}
	broken, err := verify.Receipts(ctx, dir, m.verifier, m.key, m.receipts)
	if err != nil || len(broken) != 20 || !broken[0].Signed {
		t.Errorf("%d receipts broken, want the 20 that were cut off: %v", len(broken), err)
	}

	flipped := bytes.Clone(whole)
	flipped[len(whole)-60] ^= 1
	if err := os.WriteFile(walPath, flipped, 0o644); err != nil {
		t.Fatal(err)
	}
	var corrupt *wal.CorruptError
	if _, err := verify.Dir(ctx, dir, m.verifier, nil, nil); !errors.As(err, &corrupt) || corrupt.Seq != logSize-1 {
		t.Errorf("flipped byte in the tail: %v", err)
	}
	if err := os.WriteFile(walPath, whole[:len(whole)/3], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := verify.Dir(ctx, dir, m.verifier, nil, nil); err == nil {
		t.Error("a write-ahead file shorter than the checkpoint passes")
	}
	if err := os.Remove(walPath); err != nil {
		t.Fatal(err)
	}
	if res, err := verify.Dir(ctx, dir, m.verifier, nil, nil); err != nil || res.HasWAL || res.Unpublished != 0 {
		t.Errorf("tiles alone: %+v %v", res, err)
	}
}

// A write-ahead file that is sound in itself but tells another story than the tiles.
func TestForgedWriteAheadFile(t *testing.T) {
	m := theMaster(t)
	dir := copyOf(t, m)
	forged, err := wal.Header(origin)
	if err != nil {
		t.Fatal(err)
	}
	chain := wal.Seed(forged)
	for seq := range uint64(logSize) {
		entry := entryOf(seq)
		if seq == 333 {
			entry = []byte("never happened")
		}
		forged, chain = wal.AppendRecord(forged, chain, seq, false, entry)
	}
	if err := os.WriteFile(filepath.Join(dir, wal.FileName), forged, 0o644); err != nil {
		t.Fatal(err)
	}
	var damage *verify.Damage
	if _, err := verify.Dir(context.Background(), dir, m.verifier, nil, nil); !errors.As(err, &damage) || damage.Path != wal.FileName || damage.Seq != 333 {
		t.Errorf("forged entry: %v", err)
	}
}

func TestBrokenReceipts(t *testing.T) {
	m := theMaster(t)
	good := m.receipts[:3:3]
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))
	leaf := m.receipts[5].LeafHash
	for name, c := range map[string]struct {
		receipt evidence.Receipt
		signed  bool
	}{
		"other leaf":       {evidence.SignReceipt(key, origin, 6, leaf), true},
		"other position":   {evidence.SignReceipt(key, origin, 599, leaf), true},
		"beyond the log":   {evidence.SignReceipt(key, origin, logSize, leaf), true},
		"other log":        {evidence.SignReceipt(key, "sandgate.example/other", 5, leaf), true},
		"other key":        {evidence.SignReceipt(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, 32)), origin, 5, leaf), false},
		"signature halved": {evidence.Receipt{Origin: origin, Seq: 5, LeafHash: leaf, Signature: m.receipts[5].Signature[:32]}, false},
	} {
		broken, err := verify.Receipts(context.Background(), m.dir, m.verifier, m.key, append(good, c.receipt))
		if err != nil || len(broken) != 1 || broken[0].Signed != c.signed || broken[0].Receipt.Seq != c.receipt.Seq {
			t.Errorf("%s: %v %v", name, broken, err)
		}
	}
}

func TestVisitErrorAndCancelEndTheWalk(t *testing.T) {
	m := theMaster(t)
	stop := errors.New("semantics")
	_, err := verify.Dir(context.Background(), m.dir, m.verifier, func(seq uint64, _ []byte) error {
		if seq == 10 {
			return stop
		}
		return nil
	}, nil)
	if !errors.Is(err, stop) {
		t.Errorf("visit error: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := verify.Dir(ctx, m.dir, m.verifier, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// The auditor must not share code with the writer of tiles: a bug in it would hide itself.
func TestAuditorSharesNoAppenderCode(t *testing.T) {
	seen := map[string]bool{}
	var walk func(path string)
	walk = func(path string) {
		if seen[path] {
			return
		}
		seen[path] = true
		if strings.Contains(path, "transparency-dev") || path == "github.com/sandgate/sandgate/ledger" {
			t.Errorf("verify depends on %s", path)
		}
		rel, ours := strings.CutPrefix(path, "github.com/sandgate/sandgate/ledger/")
		if !ours {
			return
		}
		pkg, err := build.ImportDir(filepath.Join("..", rel), 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range pkg.Imports {
			walk(imp)
		}
	}
	walk("github.com/sandgate/sandgate/ledger/verify")
	if len(seen) < 10 {
		t.Errorf("only %d packages looked at", len(seen))
	}
}
