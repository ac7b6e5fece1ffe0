package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/sandgate/sandgate/internal/leak"
	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/verify"
)

// changing is a tally whose entries that bear the mark put the next keys in force.
type changing struct {
	*tally
	from uint64 // smallest tree of the newest keys
	n    int    // how many changes
}

const mark = "other keys"

func (m *changing) Apply(seq uint64, entry []byte) error {
	if err := m.tally.Apply(seq, entry); err != nil {
		return err
	}
	if bytes.Contains(entry, []byte(mark)) {
		m.from, m.n = seq+1, m.n+1
	}
	return nil
}

// keyOfTerm are the keys of the n-th term: checkpoint seed 1, 11, 21 …, receipt seed 2, 12 ….
func keyOfTerm(t testing.TB, n int) (Keys, string) {
	t.Helper()
	seed := seedOf(byte(1 + 10*n))
	signer, _, err := NewSignerFromSeed(testOrigin, seed)
	if err != nil {
		t.Fatal(err)
	}
	key, err := VerifierKey(testOrigin, ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return Keys{Signer: signer, ReceiptKey: ed25519.NewKeyFromSeed(seedOf(byte(2 + 10*n)))}, key
}

// openChanging opens a log whose keys follow its entries, as a gateway's do.
func openChanging(t testing.TB, cfg Config) (*Log, *changing, error) {
	t.Helper()
	m := &changing{tally: newTally()}
	cfg.Keys = func() (Keys, error) {
		k, _ := keyOfTerm(t, m.n)
		k.SignsFrom = m.from
		return k, nil
	}
	l, err := Open(context.Background(), cfg, m)
	if err == nil {
		t.Cleanup(func() { l.Close() })
	}
	return l, m, err
}

func change(t testing.TB, l *Log, m *changing) ([]Receipt, error) {
	t.Helper()
	next, _ := keyOfTerm(t, m.n+1)
	return l.Rekey(context.Background(), next, m.step(99, mark))
}

// chainOf is what an auditor finds who replays the log.
func chainOf(t testing.TB, changes []uint64) (*evidence.Chain, []evidence.ReceiptTerm) {
	t.Helper()
	_, first := keyOfTerm(t, 0)
	chain, err := evidence.NewChain(first)
	if err != nil {
		t.Fatal(err)
	}
	terms := []evidence.ReceiptTerm{{Key: receiptPub(), Until: math.MaxUint64}}
	for i, seq := range changes {
		next, key := keyOfTerm(t, i+1)
		if err := chain.Follow(key, seq+1); err != nil {
			t.Fatal(err)
		}
		terms[i].Until = seq
		terms = append(terms, evidence.ReceiptTerm{Key: next.ReceiptKey.Public().(ed25519.PublicKey), Until: math.MaxUint64})
	}
	return chain, terms
}

// audited checks a log and receipts by the keys its own entries name.
func auditedChanging(t *testing.T, dir string, receipts []Receipt) (verify.Result, *evidence.Chain) {
	t.Helper()
	l := &changing{tally: newTally()}
	var changes []uint64
	f, err := os.Open(WriteAheadFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := ReadWriteAhead(f, func(seq uint64, entry []byte) error {
		if bytes.Contains(entry, []byte(mark)) {
			changes = append(changes, seq)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	chain, terms := chainOf(t, changes)
	res, err := verify.Dir(context.Background(), dir, chain, l.Apply, nil)
	if err != nil {
		t.Fatalf("verify.Dir: %v", err)
	}
	broken, err := verify.ReceiptsBy(context.Background(), dir, chain, terms, receipts)
	if err != nil || len(broken) > 0 {
		t.Fatalf("receipts: %v, %v", broken, err)
	}
	return res, chain
}

// R34: keys change while writers go on; what was signed before stays good, each tree is signed by the key that the
// entries in it put in force, and a copy of before fits the log as it is after.
func TestR34_KeysChangeUnderWriters(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	l, m, err := openChanging(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var receipts []Receipt
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				rs, err := l.Do(context.Background(), m.step(w+1, ""))
				if err != nil {
					t.Errorf("a writer: %v", err)
					return
				}
				mu.Lock()
				receipts = append(receipts, rs...)
				mu.Unlock()
			}
		})
	}
	var saved [][]byte
	for range 3 {
		rs, err := change(t, l, m)
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		receipts = append(receipts, rs...)
		mu.Unlock()
		cp, err := l.WaitPublished(context.Background(), rs[0].Seq)
		if err != nil {
			t.Fatal(err)
		}
		saved = append(saved, cp)
	}
	proof, err := l.Prove(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	close(stop)
	writers.Wait()
	mustClose(t, l)
	res, chain := auditedChanging(t, cfg.Dir, receipts)
	if len(chain.Terms()) != 4 || res.Unpublished != 0 {
		t.Errorf("%d keys, %+v", len(chain.Terms()), res)
	}
	for _, cp := range saved {
		if err := verify.Consistency(context.Background(), cfg.Dir, chain, cp, res.Checkpoint); err != nil {
			t.Errorf("a checkpoint saved before: %v", err)
		}
	}
	if err := proof.Verify(chain); err != nil {
		t.Errorf("a proof saved before: %v", err)
	}
	l, _, err = openChanging(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	again, err := l.Receipt(0)
	if err != nil || again.Verify(receiptPub()) == nil {
		t.Errorf("a receipt asked for again is signed by a key that is gone: %v", err)
	}
	auditedChanging(t, cfg.Dir, []Receipt{again})
}

// R34: the key change breaks off at every step of the disk. Whatever was acknowledged is in the log, which goes on,
// under the old keys or the new as its entries say.
func TestR34_FaultAtEveryStepOfAKeyChange(t *testing.T) {
	for _, step := range []string{"wal.write", "wal.sync", "integrate", "guard.write", "guard.rename", "guard.syncdir", "sign"} {
		for _, when := range []string{"before", "after"} {
			t.Run(step+"/"+when, func(t *testing.T) {
				t.Parallel()
				var armed, fired atomic.Bool
				cfg := testConfig(t, t.TempDir())
				cfg.Fault = func(point string) error {
					if point == step+"/"+when && armed.CompareAndSwap(true, false) {
						fired.Store(true)
						return errInjected
					}
					return nil
				}
				l, m, err := openChanging(t, cfg)
				if err != nil {
					t.Fatal(err)
				}
				receipts := mustAppend(t, l, m.tally, 0, 5, "")
				if _, err := l.WaitPublished(context.Background(), 4); err != nil {
					t.Fatal(err)
				}
				armed.Store(true)
				rs, err := change(t, l, m)
				receipts = append(receipts, rs...)
				if strings.HasPrefix(step, "wal") != (err != nil) {
					t.Errorf("Rekey: %v", err)
				}
				for begin := time.Now(); !fired.Load() && time.Since(begin) < 5*time.Second; {
					time.Sleep(time.Millisecond)
				}
				if !fired.Load() {
					t.Fatal("the fault point was never reached")
				}
				l.Close()
				if l, m, err = openChanging(t, cfg); err != nil {
					t.Fatal(err)
				}
				receipts = append(receipts, mustAppend(t, l, m.tally, 1, 3, "")...)
				if m.n == 0 {
					if rs, err = change(t, l, m); err != nil {
						t.Fatal(err)
					}
					receipts = append(receipts, rs...)
				}
				receipts = append(receipts, mustAppend(t, l, m.tally, 1, 3, "")...)
				mustClose(t, l)
				if res, chain := auditedChanging(t, cfg.Dir, receipts); res.Unpublished != 0 || len(chain.Terms()) != 2 {
					t.Errorf("%d keys, %+v", len(chain.Terms()), res)
				}
			})
		}
	}
}

// R34: a checkpoint of a retired key over more than its last tree, and one of a new key over less than its first,
// are refused; so is a log that the old key went on with. Without terms they pass.
func TestAttack14_RetiredKeySigns(t *testing.T) {
	base := t.TempDir()
	cfg := testConfig(t, base)
	l, m, err := openChanging(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, m.tally, 1, 5, "")
	if _, err := change(t, l, m); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, m.tally, 1, 5, "")
	mustClose(t, l)
	res, chain := auditedChanging(t, cfg.Dir, nil)
	text, _, _ := strings.Cut(string(res.Checkpoint), "\n\n")
	old, _ := keyOfTerm(t, 0)
	forged, err := note.Sign(&note.Note{Text: text + "\n"}, old.Signer)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cfg.Dir, "checkpoint"), forged, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = verify.Dir(context.Background(), cfg.Dir, chain, nil, nil)
	refused := errors.Is(err, evidence.ErrRetiredKey)
	if !refused {
		t.Errorf("a checkpoint of the retired key: %v", err)
	}
	_, first := testKeys(t)
	_, err = verify.Dir(context.Background(), cfg.Dir, first, nil, nil)
	if err != nil {
		t.Errorf("control: without terms: %v", err)
	}
	leak.Record(t, leak.Score{Attack: "14 a checkpoint by a retired key", Figure: "refused", Bound: "refused", Control: "taken by who knows no terms", Pass: refused, Trials: 1})
	// Whoever opens the log with the old key alone cannot sign on.
	cfg.Keys = func() (Keys, error) { return Keys{}, errors.New("the keyring is older than the log") }
	if _, err := Open(context.Background(), cfg, newTally()); err == nil {
		t.Error("opened with keys that are not in force")
	}
}

// The guard signs each size by the key of its term, and the hash it offers follows.
func TestGuardKeys(t *testing.T) {
	first, _ := keyOfTerm(t, 0)
	second, _ := keyOfTerm(t, 1)
	g := &guard{origin: testOrigin, terms: []term{{0, first.Signer}}, offered: first.Signer}
	g.follow(11, second.Signer)
	if g.KeyHash() != second.Signer.KeyHash() {
		t.Error("the new key is not offered")
	}
	for _, c := range []struct {
		size uint64
		want Keys
		ok   bool
	}{{10, first, false}, {10, first, true}, {11, second, false}, {11, second, true}, {12, second, true}, {10, first, false}, {9, first, false}, {0, second, true}} {
		s, err := g.signerOf(c.size)
		if (err == nil) != c.ok || c.ok && s.KeyHash() != c.want.Signer.KeyHash() {
			t.Errorf("%d entries: %v", c.size, err)
		}
	}
}
