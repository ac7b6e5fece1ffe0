package ledger

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/sandgate/sandgate/ledger/wal"
)

// counted is a machine that stands at a size already.
type counted struct{ n uint64 }

func (s *counted) Apply(seq uint64, _ []byte) error {
	if seq != s.n {
		return errors.New("told of another entry than the next")
	}
	s.n++
	return nil
}

func say(t *testing.T, l *Log, entries ...string) {
	t.Helper()
	var texts [][]byte
	for _, e := range entries {
		texts = append(texts, []byte(e))
	}
	receipts, err := l.Do(context.Background(), func() ([][]byte, error) { return texts, nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.WaitPublished(context.Background(), receipts[len(receipts)-1].Seq); err != nil {
		t.Fatal(err)
	}
}

// R33: a log opens from a point of its own, replays what follows, and goes on; the point
// is vouched for by an entry under a signed checkpoint and by nothing else.
func TestR33_OpenFromPoint(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	l, err := Open(t.Context(), cfg, &counted{})
	if err != nil {
		t.Fatal(err)
	}
	say(t, l, "a", "b", "c")
	say(t, l, "d")
	p, err := l.PointAt(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	say(t, l, "names 3", "e")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, v := testKeys(t)
	keys := note.VerifierList(v)
	names := func(_ uint64, text []byte) bool { return bytes.Equal(text, []byte("names 3")) }
	if err := Vouch(cfg, keys, p, names); err != nil {
		t.Fatalf("its own point: %v", err)
	}
	if err := Vouch(cfg, keys, p, func(uint64, []byte) bool { return false }); !errors.Is(err, ErrNotNamed) {
		t.Errorf("a point that nothing names: %v", err)
	}
	if err := Vouch(cfg, note.VerifierList(), p, names); !errors.Is(err, ErrUnsigned) {
		t.Errorf("a checkpoint under no key of the log: %v", err)
	}
	for what, change := range map[string]func(*Point){
		"edges": func(p *Point) { p.Edges[0][0] ^= 1 }, "too few edges": func(p *Point) { p.Edges = p.Edges[:1] }, "chain": func(p *Point) { p.Chain[0] ^= 1 },
		"offset": func(p *Point) { p.Ends[2]++ }, "size": func(p *Point) { p.Ends = p.Ends[:2]; p.Edges = p.Edges[:1] }, "beyond": func(p *Point) { p.Ends[2] += 1 << 20 },
	} {
		bad := &Point{Place: wal.Place{Ends: append([]int64(nil), p.Ends...), Chain: p.Chain}, Edges: append(p.Edges[:0:0], p.Edges...)}
		change(bad)
		if err := Vouch(cfg, keys, bad, names); !errors.Is(err, ErrOtherLog) {
			t.Errorf("%s: %v", what, err)
		}
		cfg := cfg
		cfg.Resume = bad
		if l, err := Open(t.Context(), cfg, &counted{uint64(len(bad.Ends))}); err == nil {
			t.Errorf("%s: the log opens", what)
			_ = l.Close()
		}
	}

	cfg.Resume = p
	m := &counted{3}
	l, err = Open(t.Context(), cfg, m)
	if err != nil {
		t.Fatal(err)
	}
	if m.n != 6 || l.Size() != 6 {
		t.Fatalf("after the replay the machine stands at %d, the log at %d", m.n, l.Size())
	}
	select {
	case <-l.behind:
	case <-time.After(10 * time.Second):
		t.Fatal("what lies before the point is not read")
	}
	if err := l.Err(); err != nil {
		t.Fatal(err)
	}
	say(t, l, "f")
	for seq, want := range []string{"a", "b", "c", "d", "names 3", "e", "f"} {
		if got, err := l.Entry(uint64(seq)); err != nil || string(got) != want {
			t.Errorf("entry %d is %q, %v", seq, got, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// And all of it is one log.
	cfg.Resume = nil
	l, err = Open(t.Context(), cfg, &counted{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	// A guard that was rolled back vouches for nothing.
	guard := filepath.Join(cfg.GuardDir, guardFile)
	text, err := os.ReadFile(guard)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(guard); err != nil {
		t.Fatal(err)
	}
	if err := Vouch(cfg, keys, p, names); !errors.Is(err, ErrUnsigned) {
		t.Errorf("without a guard: %v", err)
	}
	if err := os.WriteFile(guard, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
