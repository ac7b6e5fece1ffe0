package ledger

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/internal/leak"
	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/internal/frontier"
	"github.com/sandgate/sandgate/ledger/verify"
	"github.com/sandgate/sandgate/ledger/wal"
)

// rolledBack makes a log of 20 entries, keeps a copy, adds five more that are published, and puts the old copy back.
func rolledBack(t *testing.T) (cfg Config, published []byte, receipts []Receipt) {
	t.Helper()
	base := t.TempDir()
	cfg = testConfig(t, base)
	l, m := mustOpen(t, cfg)
	mustAppend(t, l, m, 1, 20, "")
	mustClose(t, l)
	old := filepath.Join(base, "old")
	copyDir(t, cfg.Dir, old)
	l, m = mustOpen(t, cfg)
	receipts = mustAppend(t, l, m, 1, 5, "first history")
	mustClose(t, l)
	published, _ = l.Published()
	if err := os.RemoveAll(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	copyDir(t, old, cfg.Dir)
	return cfg, published, receipts
}

func TestAttack14_RollbackIsRefused(t *testing.T) {
	cfg, _, _ := rolledBack(t)
	_, err := Open(context.Background(), cfg, newTally())
	if !errors.Is(err, ErrRollback) {
		t.Fatalf("an old copy was accepted: %v", err)
	}
	if !strings.Contains(err.Error(), "25") {
		t.Errorf("the refusal does not say what was signed: %v", err)
	}
	open, _, _ := rolledBack(t)
	open.unguarded = true
	l, _ := mustOpen(t, open)
	mustClose(t, l)
	leak.Record(t, leak.Score{Attack: "14 an old copy of the ledger put back", Figure: "refused", Bound: "refused", Control: "opened without the guard", Pass: true, Trials: 1})
}

// Positive control: without the guard the same restore ends in two signed histories, which an auditor can show
// with two checkpoints or with one receipt.
func TestRollbackSucceedsWithoutGuard(t *testing.T) {
	cfg, first, receipts := rolledBack(t)
	cfg.unguarded = true
	_, verifier := testKeys(t)
	l, m := mustOpen(t, cfg)
	mustAppend(t, l, m, 2, 5, "second history")
	mustClose(t, l)
	second, _ := l.Published()
	a, errA := evidence.OpenCheckpoint(first, verifier)
	b, errB := evidence.OpenCheckpoint(second, verifier)
	if errA != nil || errB != nil || a.N != 25 || b.N != 25 || a.Hash == b.Hash {
		t.Fatalf("the attack did not succeed: %v %v %d %d", errA, errB, a.N, b.N)
	}
	if err := verify.Consistency(context.Background(), cfg.Dir, verifier, first, second); err == nil {
		t.Error("two histories of 25 entries pass as consistent")
	}
	l, m = mustOpen(t, cfg)
	mustAppend(t, l, m, 2, 5, "")
	mustClose(t, l)
	second, _ = l.Published()
	if err := verify.Consistency(context.Background(), cfg.Dir, verifier, first, second); err == nil {
		t.Error("a history of 30 entries passes as an extension of another of 25")
	}
	broken, err := verify.Receipts(context.Background(), cfg.Dir, verifier, receiptPub(), receipts)
	if err != nil || len(broken) != 5 || !broken[0].Signed {
		t.Errorf("receipts of the first history: %d broken, want 5; %v", len(broken), err)
	}
	// The guard, switched on again, knows the first history: being longer does not help the second.
	cfg.unguarded = false
	if _, err := Open(context.Background(), cfg, newTally()); !errors.Is(err, ErrRollback) {
		t.Errorf("a longer second history was accepted: %v", err)
	}
}

// An entry that reaches the tiles past the sequencer shifts every later one: the log stops at the first.
func TestIndexMustBeSequenceNumber(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	cfg.CheckpointInterval = time.Hour // so that the guard is not asked first
	l, m := mustOpen(t, cfg)
	mustAppend(t, l, m, 1, 3, "")
	for { // the stray must come when the three are in
		if n, err := l.tiles.size(context.Background()); err != nil || n == 3 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := l.tiles.add.Add(context.Background(), tessera.NewEntry([]byte("stray")))(); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, m, 1, 1, "")
	awaitStop(t, l)
	if err := l.Err(); err == nil || !strings.Contains(err.Error(), "the tiles numbered it 4") {
		t.Errorf("Err: %v", err)
	}
	if err := l.Close(); !errors.Is(err, ErrStopped) {
		t.Errorf("Close: %v", err)
	}
	if _, err := Open(context.Background(), cfg, newTally()); !errors.Is(err, ErrRollback) {
		t.Errorf("opened again: %v", err)
	}
}

// The newest copy of a closed log is a backup: put back, it goes on where it was.
func TestR35NewestCopyGoesOn(t *testing.T) {
	base := t.TempDir()
	cfg := testConfig(t, base)
	l, m := mustOpen(t, cfg)
	receipts := mustAppend(t, l, m, 1, 20, "")
	mustClose(t, l)
	backup := filepath.Join(base, "backup")
	copyDir(t, cfg.Dir, backup)
	if err := os.RemoveAll(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	copyDir(t, backup, cfg.Dir)
	l, m = mustOpen(t, cfg)
	receipts = append(receipts, mustAppend(t, l, m, 1, 5, "")...)
	mustClose(t, l)
	if res, audited := mustVerify(t, cfg.Dir, receipts); res.Size != 25 || audited.digest != m.digest {
		t.Errorf("audit: %+v", res)
	}
}

func TestPartialRollbackIsRefused(t *testing.T) {
	for name, restore := range map[string]func(t *testing.T, dir, old string){
		"tree state only": func(t *testing.T, dir, old string) { replace(t, dir, old, treeStateFile) },
		"write-ahead only": func(t *testing.T, dir, old string) {
			replace(t, dir, old, wal.FileName)
		},
		"tiles only": func(t *testing.T, dir, old string) {
			kept, err := os.ReadFile(filepath.Join(dir, wal.FileName))
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(old)),
				os.WriteFile(filepath.Join(dir, wal.FileName), kept, 0o644)); err != nil {
				t.Fatal(err)
			}
		},
		"everything gone": func(t *testing.T, dir, _ string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		},
		"write-ahead gone": func(t *testing.T, dir, _ string) {
			if err := os.Remove(filepath.Join(dir, wal.FileName)); err != nil {
				t.Fatal(err)
			}
		},
		"tiles gone": func(t *testing.T, dir, _ string) {
			if err := os.RemoveAll(filepath.Join(dir, ".state")); err != nil {
				t.Fatal(err)
			}
		},
		"right edge of the tiles": func(t *testing.T, dir, _ string) {
			flip(t, filepath.Join(dir, "tile/0/000.p/25"), 3)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := t.TempDir()
			cfg := testConfig(t, base)
			l, m := mustOpen(t, cfg)
			mustAppend(t, l, m, 1, 20, "")
			mustClose(t, l)
			old := filepath.Join(base, "old")
			copyDir(t, cfg.Dir, old)
			l, m = mustOpen(t, cfg)
			mustAppend(t, l, m, 1, 4, "")
			if _, err := l.Do(context.Background(), m.step(1, "")); err != nil {
				t.Fatal(err)
			}
			mustClose(t, l)
			restore(t, cfg.Dir, old)
			if _, err := Open(context.Background(), cfg, newTally()); err == nil {
				t.Error("opened")
			}
		})
	}
}

func TestLostGuardMustBeAdopted(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	l, m := mustOpen(t, cfg)
	receipts := mustAppend(t, l, m, 1, 20, "")
	mustClose(t, l)
	guardPath := filepath.Join(cfg.GuardDir, guardFile)
	sound, err := os.ReadFile(guardPath)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"damaged": sound[:len(sound)-3], "other log": append([]byte("x"), sound...), "empty": nil,
	} {
		if err := os.WriteFile(guardPath, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(context.Background(), cfg, newTally()); err == nil {
			t.Errorf("%s guard file: opened", name)
		}
	}
	if err := os.Remove(guardPath); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), cfg, newTally()); !errors.Is(err, ErrRollback) {
		t.Errorf("lost guard file: %v", err)
	}
	cfg.AdoptLog = true
	l, m = mustOpen(t, cfg)
	receipts = append(receipts, mustAppend(t, l, m, 1, 5, "")...)
	mustClose(t, l)
	mustVerify(t, cfg.Dir, receipts)
	cfg.AdoptLog = false
	l, _ = mustOpen(t, cfg)
	mustClose(t, l)
}

// The guard also stops a history that is rewritten behind the back of a running log.
func TestGuardStopsForgedTreeState(t *testing.T) {
	base := t.TempDir()
	cfg := testConfig(t, base)
	l, m := mustOpen(t, cfg)
	mustAppend(t, l, m, 1, 20, "")
	if _, err := l.WaitPublished(context.Background(), 19); err != nil {
		t.Fatal(err)
	}
	forged := `{"size":30,"root":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`
	if err := os.WriteFile(filepath.Join(cfg.Dir, treeStateFile), []byte(forged), 0o644); err != nil {
		t.Fatal(err)
	}
	awaitStop(t, l)
	if err := l.Err(); !errors.Is(err, ErrRollback) || !errors.Is(err, ErrStopped) {
		t.Errorf("Err: %v", err)
	}
	if _, size := l.Published(); size != 20 {
		t.Errorf("published %d entries, want 20", size)
	}
	if _, err := l.Do(context.Background(), m.step(1, "")); !errors.Is(err, ErrStopped) {
		t.Errorf("Do: %v", err)
	}
}

func awaitStop(t *testing.T, l *Log) {
	t.Helper()
	select {
	case <-l.stopped:
	case <-time.After(10 * time.Second):
		t.Fatal("the log did not stop")
	}
}

// What the guard signs, one request after the other, on a log of ten leaves.
func TestGuardDecisions(t *testing.T) {
	signer, _ := testKeys(t)
	dir := t.TempDir()
	var refused error
	open := func() *guard {
		g, err := openGuard(dir, nil, false, signer)
		if err != nil {
			t.Fatal(err)
		}
		g.refuse = func(err error) { refused = err }
		g.signedSize = func(uint64) {}
		return g
	}
	g := open()
	if err := g.begin(); err != nil {
		t.Fatal(err)
	}
	var tree frontier.Tree
	roots := []tlog.Hash{tree.Root()}
	for i := range 10 {
		leaf := tlog.RecordHash([]byte{byte(i)})
		tree.Append(leaf)
		roots = append(roots, tree.Root())
		g.extend(leaf)
	}
	for _, step := range []struct {
		size, rootOf int
		ok           bool
	}{
		{0, 0, true}, {0, 1, false}, {4, 4, true}, {4, 4, true}, {4, 5, false}, {3, 3, false}, {0, 0, false},
		{7, 6, false}, {7, 8, false}, {7, 7, true}, {4, 4, false}, {11, 10, false}, {10, 9, false}, {10, 10, true}, {7, 7, false},
	} {
		refused = nil
		text := torchwood.Checkpoint{Origin: testOrigin, Tree: tlog.Tree{N: int64(step.size), Hash: roots[step.rootOf]}}.String()
		_, err := g.Sign([]byte(text))
		if (err == nil) != step.ok || (refused == nil) != step.ok || !step.ok && !errors.Is(err, ErrRollback) {
			t.Errorf("size %d with the root of %d: %v, reported %v", step.size, step.rootOf, err, refused)
		}
	}
	g.close()
	if err := g.lock.Close(); err != nil {
		t.Fatal(err)
	}
	again := open()
	defer again.lock.Close()
	if again.last != (tlog.Tree{N: 10, Hash: roots[10]}) {
		t.Errorf("after a restart the guard remembers %d entries, want 10", again.last.N)
	}
}

func TestGuardSignsNothingElse(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	l, _ := mustOpen(t, cfg)
	for _, text := range []string{"", "hello\n", "sandgate.example/other\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
		testOrigin + "\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nextension\n"} {
		if _, err := l.guard.Sign([]byte(text)); err == nil {
			t.Errorf("signed %q", text)
		}
	}
	if l.Err() != nil {
		t.Errorf("a refused text stopped the log: %v", l.Err())
	}
}

func replace(t *testing.T, dir, old, name string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(old, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 1
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
