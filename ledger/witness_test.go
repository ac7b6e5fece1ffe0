package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/torchwood"

	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/witness"
	"github.com/sandgate/sandgate/ledger/witness/witnessd"
)

// watcher is a real witness that can be taken down.
type watcher struct {
	dir    string
	home   *witnessd.Home
	url    string
	down   atomic.Bool
	hang   atomic.Bool
	asked  atomic.Int64
	serves atomic.Pointer[http.Handler]
}

func startWatcher(t testing.TB, name string) *watcher {
	t.Helper()
	w := &watcher{dir: filepath.Join(t.TempDir(), "witness")}
	if err := witnessd.Create(w.dir, name); err != nil {
		t.Fatal(err)
	}
	w.open(t)
	key, err := VerifierKey(testOrigin, ed25519.NewKeyFromSeed(seedOf(1)).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.home.Add(testOrigin, key); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.asked.Add(1)
		if w.hang.Load() {
			select {
			case <-r.Context().Done():
			case <-stop:
			}
			return
		}
		if w.down.Load() {
			http.Error(rw, "out of order", http.StatusServiceUnavailable)
			return
		}
		(*w.serves.Load()).ServeHTTP(rw, r)
	}))
	t.Cleanup(func() { close(stop); s.CloseClientConnections(); s.Close(); w.home.Close() })
	w.url = s.URL
	return w
}

func (w *watcher) open(t testing.TB) {
	t.Helper()
	var err error
	if w.home, err = witnessd.Open(w.dir); err != nil {
		t.Fatal(err)
	}
	h := w.home.Handler(slog.New(slog.DiscardHandler))
	w.serves.Store(&h)
}

func (w *watcher) party(t testing.TB) witness.Party {
	t.Helper()
	key, err := torchwood.NewCosignatureVerifier(w.home.Key())
	if err != nil {
		t.Fatal(err)
	}
	return witness.Party{Key: key, URL: w.url}
}

func (w *watcher) size() int64 { return w.home.Logs()[0].Size }

func policyOf(t testing.TB, quorum int, watchers ...*watcher) witness.Policy {
	t.Helper()
	p := witness.Policy{Quorum: quorum}
	for _, w := range watchers {
		p.Parties = append(p.Parties, w.party(t))
	}
	return p
}

func always(p witness.Policy) func(uint64) witness.Policy {
	return func(uint64) witness.Policy { return p }
}

// soon waits for what must come to be.
func soon(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("never came to be: %s", what)
		}
	}
}

func brief(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 400*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// With 2 of 3: one may be away or hang; with two away appending and publishing go on
// and witnessing stands still, until it makes up for it by itself.
func TestWitnessedWithTwoOfThree(t *testing.T) {
	a, b, c := startWatcher(t, "a.example"), startWatcher(t, "b.example"), startWatcher(t, "c.example")
	cfg := testConfig(t, t.TempDir())
	policy := policyOf(t, 2, a, b, c)
	cfg.Witnesses = always(policy)
	l, m := mustOpen(t, cfg)
	ctx := context.Background()
	mustAppend(t, l, m, 1, 5, "")
	cp, err := l.WaitWitnessed(ctx, 4)
	if err != nil || !policy.Satisfied(cp) {
		t.Fatalf("not witnessed: %v\n%s", err, cp)
	}
	c.hang.Store(true)
	mustAppend(t, l, m, 1, 5, "")
	if cp, err := l.WaitWitnessed(ctx, 9); err != nil || !policy.Satisfied(cp) {
		t.Fatalf("one hangs: %v", err)
	}
	b.down.Store(true)
	receipts := mustAppend(t, l, m, 1, 5, "")
	if _, err := l.WaitPublished(ctx, 14); err != nil {
		t.Errorf("publishing stops with the witnesses: %v", err)
	}
	if _, err := l.WaitWitnessed(brief(t), 14); !errors.Is(err, ErrNotPublished) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("witnessed by one of two: %v", err)
	}
	state := l.Witnessing()
	if state.Quorum != 2 || state.Witnessed != 10 || state.Published != 15 || state.Unmet.IsZero() || state.Disputed != "" || state.Parties[1].Problem == "" || state.Parties[0].Problem != "" {
		t.Errorf("%+v", state)
	}
	b.down.Store(false)
	if _, err := l.WaitWitnessed(ctx, 14); err != nil {
		t.Error(err)
	}
	soon(t, "the log's view of it", func() bool { s := l.Witnessing(); return s.Unmet.IsZero() && s.Witnessed == 15 })
	proof, err := l.Prove(ctx, 14)
	if _, verifier := testKeys(t); err != nil || proof.Verify(verifier) != nil || !policy.Satisfied([]byte(proof.Checkpoint)) {
		t.Errorf("the proof is not under a witnessed checkpoint: %v", err)
	}
	mustClose(t, l)
	mustVerify(t, cfg.Dir, receipts)
	file, err := os.ReadFile(filepath.Join(cfg.Dir, evidence.WitnessedFile))
	if err != nil || !policy.Satisfied(file) {
		t.Errorf("the file is not witnessed: %v", err)
	}
}

// A witness that joins late, or was away for long, is caught up from any size, after
// a restart too.
func TestWitnessIsCaughtUpFromAnySize(t *testing.T) {
	a, late := startWatcher(t, "a.example"), startWatcher(t, "late.example")
	cfg := testConfig(t, t.TempDir())
	one, both := policyOf(t, 1, a), policyOf(t, 2, a, late)
	cfg.Witnesses = func(size uint64) witness.Policy {
		if size <= 7 {
			return one
		}
		return both
	}
	for stand := range 4 {
		l, m := mustOpen(t, cfg)
		mustAppend(t, l, m, stand, 7, "")
		size := uint64(7 * (stand + 1))
		if _, err := l.WaitWitnessed(context.Background(), size-1); err != nil {
			t.Fatal(err)
		}
		if raw, n := l.Witnessed(); n != size || !cfg.Witnesses(size).Satisfied(raw) {
			t.Errorf("stand %d: %d witnessed", stand, n)
		}
		mustClose(t, l)
	}
	if late.size() != 28 {
		t.Errorf("the late witness stands at %d", late.size())
	}
	// Reopened without anything new, the log knows what was witnessed, witnesses or not.
	a.down.Store(true)
	late.down.Store(true)
	l, _ := mustOpen(t, cfg)
	if raw, n := l.Witnessed(); n != 28 || !both.Satisfied(raw) {
		t.Errorf("%d witnessed after reopening", n)
	}
	mustClose(t, l)
}

// restoredWithGuard makes a log of 25 entries that was witnessed, restores its directory and
// its guard to 20, and lets it grow to 27 on another story.
func restoredWithGuard(t *testing.T, w *watcher, watched bool) (l *Log, m *tally) {
	t.Helper()
	base := t.TempDir()
	cfg := testConfig(t, base)
	if watched {
		cfg.Witnesses = always(policyOf(t, 1, w))
	}
	l, m = mustOpen(t, cfg)
	mustAppend(t, l, m, 1, 20, "")
	mustClose(t, l)
	for _, dir := range []string{"log", "guard"} {
		copyDir(t, filepath.Join(base, dir), filepath.Join(base, "old", dir))
	}
	l, m = mustOpen(t, cfg)
	mustAppend(t, l, m, 1, 5, "first history")
	mustClose(t, l)
	for _, dir := range []string{"log", "guard"} {
		if err := os.RemoveAll(filepath.Join(base, dir)); err != nil {
			t.Fatal(err)
		}
		copyDir(t, filepath.Join(base, "old", dir), filepath.Join(base, dir))
	}
	l, m = mustOpen(t, cfg)
	mustAppend(t, l, m, 2, 7, "second history")
	return l, m
}

// Restored with its guard, a log without witnesses publishes a second history; with
// one, it signs none of it, and says why.
func TestWitnessStopsWhatTheGuardCannotSee(t *testing.T) {
	l, _ := restoredWithGuard(t, nil, false)
	if _, err := l.WaitPublished(context.Background(), 26); err != nil {
		t.Fatalf("the control does not show the attack: %v", err)
	}
	w := startWatcher(t, "regulator.example")
	l, m := restoredWithGuard(t, w, true)
	for _, wait := range []func(context.Context, uint64) ([]byte, error){l.WaitPublished, l.WaitWitnessed} {
		if _, err := wait(context.Background(), 5); !errors.Is(err, ErrDisputed) {
			t.Errorf("a disputed log answers: %v", err)
		}
	}
	time.Sleep(300 * time.Millisecond)
	if _, size := l.Published(); size > 20 {
		t.Errorf("a second history was published, %d entries", size)
	}
	if err := l.Disputed(); !errors.Is(err, ErrDisputed) || w.size() != 25 {
		t.Errorf("%v; the witness stands at %d", err, w.size())
	}
	// Appending goes on: a new policy can be ledgered, and ends the dispute.
	mustAppend(t, l, m, 2, 1, "")
	if err := l.Close(); !errors.Is(err, ErrDisputed) {
		t.Errorf("Close: %v", err)
	}
}

// A log that was restored while its witness was silent is stopped when the witness is
// back, and the witness keeps the proof.
func TestSecondHistoryBehindASilentWitness(t *testing.T) {
	w := startWatcher(t, "regulator.example")
	base := t.TempDir()
	cfg := testConfig(t, base)
	cfg.unguarded = true
	policy := policyOf(t, 1, w)
	named := atomic.Bool{}
	named.Store(true)
	cfg.Witnesses = func(uint64) witness.Policy {
		if named.Load() {
			return policy
		}
		return witness.Policy{}
	}
	l, m := mustOpen(t, cfg)
	mustAppend(t, l, m, 1, 20, "")
	mustClose(t, l)
	old := filepath.Join(base, "old")
	copyDir(t, cfg.Dir, old)
	l, m = mustOpen(t, cfg)
	mustAppend(t, l, m, 1, 5, "first history")
	mustClose(t, l)
	if err := os.RemoveAll(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	copyDir(t, old, cfg.Dir)
	w.down.Store(true)
	l, m = mustOpen(t, cfg)
	mustAppend(t, l, m, 2, 7, "second history")
	if _, err := l.WaitPublished(context.Background(), 26); err != nil {
		t.Fatalf("silence stops publishing: %v", err)
	}
	w.down.Store(false)
	soon(t, "the dispute", func() bool { return l.Disputed() != nil })
	if s := l.Witnessing(); s.Disputed == "" || !s.Parties[0].Refuses {
		t.Errorf("%+v", s)
	}
	shown, err := witnessd.Show(w.dir, 10)
	if err != nil || len(shown.Alarms) == 0 {
		t.Errorf("the witness kept no evidence: %+v %v", shown, err)
	}
	mustAppend(t, l, m, 2, 1, "")
	if _, err := l.WaitPublished(brief(t), 27); !errors.Is(err, ErrDisputed) {
		t.Errorf("published in dispute: %v", err)
	}
	named.Store(false)
	if _, err := func() ([]byte, error) {
		soon(t, "the end of the dispute", func() bool { return l.Disputed() == nil })
		return l.WaitPublished(context.Background(), 27)
	}(); err != nil {
		t.Errorf("a witness that is named no longer holds the log up: %v", err)
	}
	mustClose(t, l)
}

// What a witness answers is believed only as far as its key goes.
func TestWitnessThatLies(t *testing.T) {
	w, other := startWatcher(t, "w.example"), startWatcher(t, "other.example")
	cfg := testConfig(t, t.TempDir())
	party := w.party(t)
	party.URL = other.url // another's service under this name
	cfg.Witnesses = always(witness.Policy{Quorum: 1, Parties: []witness.Party{party}})
	l, m := mustOpen(t, cfg)
	mustAppend(t, l, m, 1, 3, "")
	if _, err := l.WaitWitnessed(brief(t), 2); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("another's cosignature counts: %v", err)
	}
	if s := l.Witnessing(); s.Parties[0].Problem == "" || s.Disputed != "" {
		t.Errorf("%+v", s)
	}
	redirected := httptest.NewServer(http.RedirectHandler(other.url+"/add-checkpoint", http.StatusTemporaryRedirect))
	defer redirected.Close()
	out := newAsker(cfg.Dir).ask(context.Background(), func() published { p, _ := l.snapshot(); return p }(), 0, witness.Party{Key: other.party(t).Key, URL: redirected.URL}, 3)
	if out.answer != nil {
		t.Error("a redirect is followed")
	}
	mustClose(t, l)
}

// A witnessed checkpoint that was tampered with on the disk is not taken up.
func TestForgedWitnessedFileIsNotTakenUp(t *testing.T) {
	w := startWatcher(t, "w.example")
	cfg := testConfig(t, t.TempDir())
	cfg.Witnesses = always(policyOf(t, 1, w))
	l, m := mustOpen(t, cfg)
	mustAppend(t, l, m, 1, 3, "")
	mustClose(t, l)
	path := filepath.Join(cfg.Dir, evidence.WitnessedFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	w.down.Store(true)
	for name, text := range map[string][]byte{
		"no cosignature": bytes.Join(lines[:len(lines)-2], nil),
		"other size":     bytes.Replace(whole, []byte("\n3\n"), []byte("\n9\n"), 1),
		"garbage":        []byte("x"),
	} {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		l, _ := mustOpen(t, cfg)
		if raw, n := l.Witnessed(); raw != nil {
			t.Errorf("%s: %d taken for witnessed", name, n)
		}
		mustClose(t, l)
	}
}

// What witnesses cost: the time from an append to its covering checkpoint, published
// without witnesses and witnessed by 2 of 3, side by side.
func BenchmarkPublish(b *testing.B) {
	a, c, d := startWatcher(b, "a.example"), startWatcher(b, "c.example"), startWatcher(b, "d.example")
	plain, watched := testConfig(b, b.TempDir()), testConfig(b, b.TempDir())
	watched.Witnesses = always(policyOf(b, 2, a, c, d))
	var logs []*Log
	var machines []*tally
	for _, cfg := range []Config{plain, watched} {
		l, m := mustOpen(b, cfg)
		logs, machines = append(logs, l), append(machines, m)
	}
	// Both run at once, so that they bear the same load.
	took := make([][]time.Duration, 3)
	var wg sync.WaitGroup
	b.ResetTimer()
	for i, l := range logs {
		wg.Go(func() {
			for range b.N {
				begin := time.Now()
				rs, err := l.Do(context.Background(), machines[i].step(1, ""))
				if err == nil {
					_, err = l.WaitPublished(context.Background(), rs[0].Seq)
				}
				took[i] = append(took[i], time.Since(begin))
				if err == nil && i == 1 {
					_, err = l.WaitWitnessed(context.Background(), rs[0].Seq)
					took[2] = append(took[2], time.Since(begin))
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	for i, name := range []string{"plain-published-ms", "watched-published-ms", "2of3-witnessed-ms"} {
		b.ReportMetric(quantile(took[i], 0.5), name)
	}
	b.ReportMetric(quantile(took[2], 0.5)/quantile(took[0], 0.5), "witnessed÷plain")
}
