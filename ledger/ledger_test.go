package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/sandgate/sandgate/ledger/verify"
)

const testOrigin = "sandgate.example/city"

// tally is the machine of the tests: every writer counts, and a step that is lost, repeated or out of order is
// refused. Its digest is over everything it was told.
type tally struct {
	last   map[int]int
	n      uint64
	digest [32]byte
}

func newTally() *tally { return &tally{last: make(map[int]int)} }

func (m *tally) Apply(seq uint64, entry []byte) error {
	var writer, count int
	if _, err := fmt.Sscanf(string(entry), "%d:%d:", &writer, &count); err != nil {
		return errors.New("entry is not writer:count:")
	}
	if seq != m.n {
		return fmt.Errorf("entry %d is numbered %d", m.n, seq)
	}
	if count != m.last[writer]+1 {
		return fmt.Errorf("writer %d counts %d after %d", writer, count, m.last[writer])
	}
	m.last[writer], m.n = count, m.n+1
	m.digest = sha256.Sum256(append(m.digest[:], entry...))
	return nil
}

// step is the decision of a writer: its next count, from the state.
func (m *tally) step(writer int, pad string) func() ([][]byte, error) {
	return func() ([][]byte, error) {
		return [][]byte{fmt.Appendf(nil, "%d:%d:%s", writer, m.last[writer]+1, pad)}, nil
	}
}

func seedOf(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func receiptKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(seedOf(2)) }

func receiptPub() ed25519.PublicKey { return receiptKey().Public().(ed25519.PublicKey) }

func testKeys(t testing.TB) (note.Signer, note.Verifier) {
	t.Helper()
	signer, verifier, err := NewSignerFromSeed(testOrigin, seedOf(1))
	if err != nil {
		t.Fatal(err)
	}
	return signer, verifier
}

func configOf(base string, signer note.Signer) Config {
	return Config{
		Dir: filepath.Join(base, "log"), GuardDir: filepath.Join(base, "guard"),
		Origin: testOrigin, Signer: signer, ReceiptKey: receiptKey(),
	}
}

func testConfig(t testing.TB, base string) Config {
	t.Helper()
	signer, _ := testKeys(t)
	return configOf(base, signer)
}

func mustOpen(t testing.TB, cfg Config) (*Log, *tally) {
	t.Helper()
	m := newTally()
	l, err := Open(context.Background(), cfg, m)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	return l, m
}

func mustAppend(t testing.TB, l *Log, m *tally, writer, n int, pad string) []Receipt {
	t.Helper()
	var out []Receipt
	for range n {
		rs, err := l.Do(context.Background(), m.step(writer, pad))
		if err != nil {
			t.Fatalf("Do: %v", err)
		}
		out = append(out, rs...)
	}
	return out
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// mustVerify checks a log as an auditor would and returns the replayed machine.
func mustVerify(t testing.TB, dir string, receipts []Receipt) (verify.Result, *tally) {
	t.Helper()
	_, verifier := testKeys(t)
	m := newTally()
	res, err := verify.Dir(context.Background(), dir, verifier, m.Apply, nil)
	if err != nil {
		t.Fatalf("verify.Dir: %v", err)
	}
	broken, err := verify.Receipts(context.Background(), dir, verifier, receiptPub(), receipts)
	if err != nil {
		t.Fatalf("verify.Receipts: %v", err)
	}
	for _, b := range broken {
		t.Errorf("verify.Receipts: %v", b)
	}
	return res, m
}

func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func TestAppendReadProveReopen(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	_, verifier := testKeys(t)
	ctx := context.Background()
	l, m := mustOpen(t, cfg)

	receipts := mustAppend(t, l, m, 1, 300, "x")
	for i, r := range receipts {
		if r.Seq != uint64(i) || r.Verify(receiptPub()) != nil {
			t.Fatalf("receipt %d is for %d or not signed", i, r.Seq)
		}
	}
	cp, err := l.WaitPublished(ctx, 299)
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range []uint64{0, 1, 255, 256, 299} {
		p, err := l.Prove(ctx, seq)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Verify(verifier); err != nil {
			t.Errorf("proof of %d: %v", seq, err)
		}
		want := fmt.Sprintf("1:%d:x", seq+1)
		if entry, err := l.Entry(seq); err != nil || string(entry) != want || string(p.Entry) != want {
			t.Errorf("entry %d: %q %q %v", seq, entry, p.Entry, err)
		}
		if again, err := l.Receipt(seq); err != nil || !bytes.Equal(again.Signature, receipts[seq].Signature) {
			t.Errorf("receipt %d made again differs: %v", seq, err)
		}
	}
	if _, err := l.Entry(300); !errors.Is(err, ErrNotInLog) {
		t.Errorf("Entry beyond the end: %v", err)
	}
	if _, err := l.WaitPublished(ctx, 300); !errors.Is(err, ErrNotInLog) {
		t.Errorf("WaitPublished beyond the end: %v", err)
	}
	if _, err := l.Prove(ctx, 300); !errors.Is(err, ErrNotPublished) {
		t.Errorf("Prove beyond the end: %v", err)
	}
	mustClose(t, l)
	if _, err := l.Do(ctx, m.step(1, "")); !errors.Is(err, ErrClosed) {
		t.Errorf("Do after Close: %v", err)
	}

	l2, m2 := mustOpen(t, cfg)
	if m2.digest != m.digest || l2.Size() != 300 {
		t.Fatal("replay gave another state")
	}
	receipts = append(receipts, mustAppend(t, l2, m2, 2, 300, "y")...)
	mustClose(t, l2)
	res, audited := mustVerify(t, cfg.Dir, receipts)
	if res.Size != 600 || res.Unpublished != 0 || !res.HasWAL || audited.digest != m2.digest {
		t.Errorf("audit: %+v", res)
	}
	newer, _ := l2.Published()
	if err := verify.Consistency(ctx, cfg.Dir, verifier, cp, newer); err != nil {
		t.Errorf("Consistency: %v", err)
	}
}

func TestConcurrentCommandsKeepOrder(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	l, m := mustOpen(t, cfg)
	const writers, each = 32, 20
	var wg sync.WaitGroup
	receipts := make([][]Receipt, writers)
	for w := range writers {
		wg.Go(func() {
			for range each {
				rs, err := l.Do(context.Background(), func() ([][]byte, error) {
					n := m.last[w]
					return [][]byte{fmt.Appendf(nil, "%d:%d:a", w, n+1), fmt.Appendf(nil, "%d:%d:b", w, n+2)}, nil
				})
				if err != nil || len(rs) != 2 || rs[1].Seq != rs[0].Seq+1 {
					t.Errorf("Do: %v %v", rs, err)
					return
				}
				receipts[w] = append(receipts[w], rs...)
				l.View(func() {
					if m.last[w] < len(receipts[w]) {
						t.Errorf("View does not see what was acknowledged")
					}
				})
			}
		})
	}
	wg.Wait()
	seen := make(map[uint64]bool)
	var all []Receipt
	for _, rs := range receipts {
		for i, r := range rs {
			if seen[r.Seq] || i > 0 && r.Seq <= rs[i-1].Seq {
				t.Fatalf("sequence number %d given twice or out of order", r.Seq)
			}
			seen[r.Seq] = true
		}
		all = append(all, rs...)
	}
	if !slices.ContainsFunc(all, func(r Receipt) bool { return r.Batch != nil && r.Batch.Size > 2 }) {
		t.Error("no two commands share a signature")
	}
	mustClose(t, l)
	if res, audited := mustVerify(t, cfg.Dir, all); res.Size != 2*writers*each || audited.digest != m.digest {
		t.Errorf("audit: %+v", res)
	}
}

func TestRefusedCommandsLeaveNothing(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	l, m := mustOpen(t, cfg)
	mustAppend(t, l, m, 1, 3, "")
	ctx := context.Background()
	no := errors.New("no")
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	for name, c := range map[string]struct {
		ctx    context.Context
		decide func() ([][]byte, error)
		want   error
	}{
		"decide refuses":  {ctx, func() ([][]byte, error) { return nil, no }, no},
		"entry too large": {ctx, func() ([][]byte, error) { return [][]byte{make([]byte, MaxEntrySize+1)}, nil }, ErrEntryTooLarge},
		"second too large": {ctx, func() ([][]byte, error) {
			return [][]byte{[]byte("1:4:"), make([]byte, MaxEntrySize+1)}, nil
		}, ErrEntryTooLarge},
		"apply refuses":   {ctx, func() ([][]byte, error) { return [][]byte{[]byte("1:9:")}, nil }, nil},
		"too many":        {ctx, func() ([][]byte, error) { return make([][]byte, MaxEntriesPerCommand+1), nil }, nil},
		"context is over": {cancelled, m.step(1, ""), context.Canceled},
	} {
		_, err := l.Do(c.ctx, c.decide)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || errors.Is(err, ErrOutcomeUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	func() {
		defer func() { recover() }()
		l.Do(ctx, func() ([][]byte, error) { panic("decide breaks off before anything is applied") })
	}()
	if l.Size() != 3 || m.n != 3 || l.Err() != nil {
		t.Fatalf("size %d, state %d, %v", l.Size(), m.n, l.Err())
	}
	largest := strings.Repeat("z", MaxEntrySize-len("1:4:"))
	mustAppend(t, l, m, 1, 1, largest)
	mustClose(t, l)
	if _, audited := mustVerify(t, cfg.Dir, nil); audited.n != 4 {
		t.Errorf("audit has %d entries", audited.n)
	}
}

func TestStateAheadOfLogStops(t *testing.T) {
	for name, entries := range map[string][][]byte{
		"second entry is refused": {[]byte("1:3:"), []byte("1:9:")},
		"machine panics":          nil,
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t, t.TempDir())
			m := newTally()
			bomb := &fused{tally: m}
			l, err := Open(context.Background(), cfg, bomb)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			mustAppend(t, l, m, 1, 2, "")
			if entries == nil {
				bomb.lit = true
				entries = [][]byte{[]byte("1:3:")}
			}
			func() {
				defer func() { recover() }()
				if _, err := l.Do(context.Background(), func() ([][]byte, error) { return entries, nil }); !errors.Is(err, ErrStopped) {
					t.Errorf("Do: %v", err)
				}
			}()
			bomb.lit = false
			if _, err := l.Do(context.Background(), m.step(1, "")); !errors.Is(err, ErrStopped) {
				t.Errorf("later Do: %v", err)
			}
			if err := l.Close(); !errors.Is(err, ErrStopped) {
				t.Errorf("Close: %v", err)
			}
			if _, m := mustOpen(t, cfg); m.n != 2 {
				t.Errorf("log holds %d entries, want 2", m.n)
			}
		})
	}
}

type fused struct {
	*tally
	lit bool
}

func (f *fused) Apply(seq uint64, entry []byte) error {
	if f.lit {
		panic("boom")
	}
	return f.tally.Apply(seq, entry)
}

// A command that finds itself carried out already must not be answered before the first one is durable.
func TestAnswersRestOnDurableStateOnly(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	hold, reached := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var armed bool
	cfg.Fault = func(point string) error {
		if point == "wal.sync/before" && armed {
			once.Do(func() { close(reached); <-hold })
		}
		return nil
	}
	l, m := mustOpen(t, cfg)
	armed = true
	first := make(chan error, 1)
	go func() {
		_, err := l.Do(context.Background(), m.step(1, ""))
		first <- err
	}()
	<-reached
	for name, answer := range map[string]error{"nothing to append": nil, "refusal": errors.New("budget is spent")} {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		_, err := l.Do(ctx, func() ([][]byte, error) { return nil, answer })
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrOutcomeUnknown) {
			t.Errorf("%s: answered before the state is durable: %v", name, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := l.Do(ctx, m.step(1, "")); !errors.Is(err, ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("caller that gave up: %v", err)
	}
	close(hold)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if _, err := l.Do(context.Background(), func() ([][]byte, error) { return nil, nil }); err != nil {
		t.Errorf("barrier: %v", err)
	}
	if l.Size() != 2 {
		t.Errorf("size %d, want 2", l.Size())
	}
}

func TestConfigIsRefused(t *testing.T) {
	base := t.TempDir()
	for name, spoil := range map[string]func(*Config){
		"no directory":          func(c *Config) { c.Dir = "" },
		"no guard directory":    func(c *Config) { c.GuardDir = "" },
		"guard inside":          func(c *Config) { c.GuardDir = filepath.Join(c.Dir, "guard") },
		"guard is the log":      func(c *Config) { c.GuardDir = c.Dir + "/." },
		"no signer":             func(c *Config) { c.Signer = nil },
		"signer of another log": func(c *Config) { c.Origin = "sandgate.example/other" },
		"no receipt key":        func(c *Config) { c.ReceiptKey = nil },
		"interval too short":    func(c *Config) { c.CheckpointInterval = time.Millisecond },
	} {
		cfg := testConfig(t, base)
		spoil(&cfg)
		if _, err := Open(context.Background(), cfg, newTally()); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	for name, origin := range map[string]string{"empty": "", "blank": "a b", "plus": "a+b"} {
		if _, _, err := NewSignerFromSeed(origin, make([]byte, 32)); err == nil {
			t.Errorf("%s origin: key made", name)
		}
	}
	if _, _, err := NewSignerFromSeed(testOrigin, make([]byte, 31)); err == nil {
		t.Error("short seed: key made")
	}
}

func TestOneProcessAtATime(t *testing.T) {
	base := t.TempDir()
	cfg := testConfig(t, base)
	l, m := mustOpen(t, cfg)
	mustAppend(t, l, m, 1, 2, "")
	if _, err := Open(context.Background(), cfg, newTally()); err == nil {
		t.Error("the same log opened twice")
	}
	sameDir := cfg
	sameDir.GuardDir = filepath.Join(base, "guard2")
	sameDir.AdoptLog = true
	if _, err := Open(context.Background(), sameDir, newTally()); err == nil {
		t.Error("the same log opened twice with another guard")
	}
	mustAppend(t, l, m, 1, 2, "")
	mustClose(t, l)
	mustVerify(t, cfg.Dir, nil)
}

// The key format is pinned by the library's own generator of the text form.
func TestSignerFromSeedIsC2SP(t *testing.T) {
	signer, verifier := testKeys(t)
	pub := ed25519.NewKeyFromSeed(seedOf(1)).Public().(ed25519.PublicKey)
	vkey, err := VerifierKey(testOrigin, pub)
	if err != nil {
		t.Fatal(err)
	}
	again, err := note.NewVerifier(vkey)
	if err != nil || again.KeyHash() != verifier.KeyHash() || signer.KeyHash() != verifier.KeyHash() {
		t.Fatalf("key hashes differ: %v", err)
	}
	signed, err := note.Sign(&note.Note{Text: "text\n"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open(signed, note.VerifierList(again)); err != nil {
		t.Error(err)
	}
}
