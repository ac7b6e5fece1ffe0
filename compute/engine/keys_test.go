package engine

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/engine/sealed"
)

// putOld stores content as this program did before snapshots had keys of their own.
func putOld(t testing.TB, s *Store, dataset string, content []byte) Manifest {
	t.Helper()
	m := put(t, s, dataset, content)
	dir := s.path("snapshots", m.Snapshot)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	sum, err := sealFile(filepath.Join(dir, dataFile), testOptions.Key, DataContext(m.Snapshot), bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	m.File = hex.EncodeToString(sum)
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sealFile(filepath.Join(dir, manifestFile), testOptions.Key, manifestContext(m.Snapshot), bytes.NewReader(raw), int64(len(raw))); err != nil {
		t.Fatal(err)
	}
	return m
}

// openWith is what an attacker does who holds a data file and all keys that a
// store's directory and its options have.
func openWith(saved []byte, dir, id string) error {
	candidates := [][]byte{testOptions.Key}
	local, err := sealed.NewLocal(testOptions.Key)
	if err != nil {
		return err
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		var r keyRecord
		if json.Unmarshal(text, &r) == nil {
			if key, err := local.Unwrap(context.Background(), keyPlace(id), r.Wrapped); err == nil {
				candidates = append(candidates, key)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, key := range candidates {
		r, openErr := sealed.NewReader(bytes.NewReader(saved), key, DataContext(id))
		if openErr == nil {
			_, openErr = io.Copy(io.Discard, r)
		}
		if err = openErr; err == nil {
			return nil
		}
	}
	return err
}

// R36: a file that was saved before its snapshot was destroyed does not open with
// anything that is left, and did before.
func TestR36_DestroyedSnapshotNeverOpens(t *testing.T) {
	dir := t.TempDir()
	s := openTestStore(t, dir, testOptions)
	m, other := put(t, s, "a", []byte("of one")), put(t, s, "b", []byte("of another"))
	at := s.path("snapshots", m.Snapshot)
	saved, err := os.ReadFile(filepath.Join(at, dataFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := opens(s, m.Snapshot); err != nil {
		t.Fatal(err)
	}
	if err := openWith(saved, dir, m.Snapshot); err != nil {
		t.Fatalf("control: the saved file does not open before either: %v", err)
	}
	if got := s.Method(m.Snapshot); got != MethodErase {
		t.Errorf("method %s", got)
	}
	if err := s.Destroy(t.Context(), "a", m.Snapshot); err != nil {
		t.Fatal(err)
	}
	if err := openWith(saved, dir, m.Snapshot); !errors.Is(err, sealed.ErrDamaged) {
		t.Errorf("the saved file after destruction: %v", err)
	}
	if _, err := s.Current("a"); !errors.Is(err, ErrNoSnapshot) {
		t.Errorf("current: %v", err)
	}
	if err := opens(s, m.Snapshot); err == nil {
		t.Error("it is leased after destruction")
	}
	if r := s.memory.held[m.Snapshot]; r != nil {
		t.Error("an opened copy is in memory")
	}
	// Put back where it lay, it does not open either.
	if err := os.MkdirAll(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(filepath.Join(at, dataFile), saved); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := opens(s, m.Snapshot); err == nil {
		t.Error("the file put back opens")
	}
	if err := opens(s, other.Snapshot); err != nil {
		t.Errorf("the other one: %v", err)
	}
	for range 2 { // again is no error
		if err := s.Destroy(t.Context(), "a", m.Snapshot); err != nil {
			t.Error(err)
		}
	}
	if got := s.Method(m.Snapshot); got != MethodAbsent {
		t.Errorf("method %s", got)
	}
	if err := s.Destroy(t.Context(), "a", "../b"); err == nil {
		t.Error("a path was taken for an id")
	}
}

// R36: a snapshot is destroyed only when no lease holds it, and none begins on it
// afterwards.
func TestR36_DestroyWaitsForLeases(t *testing.T) {
	s := openTestStore(t, t.TempDir(), testOptions)
	m := put(t, s, "a", []byte("content"))
	l := lease(t, s, m.Snapshot)
	if _, err := contents(l); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := s.Destroy(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("destroyed under a lease: %v", err)
	}
	if s.Method(m.Snapshot) != MethodErase {
		t.Fatal("the key is gone under a lease")
	}
	done := make(chan error, 1)
	go func() { done <- s.Destroy(t.Context(), "a") }()
	time.Sleep(10 * time.Millisecond)
	l.Release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s.Method(m.Snapshot) != MethodAbsent {
		t.Error("it is still there")
	}
}

// R36: wherever a destruction ends half way, opening the store and destroying
// again leaves nothing that opens the file.
func TestR36_DestructionEndsAtAnyStep(t *testing.T) {
	steps := 0
	count := func(string) error { steps++; return nil }
	s := openTestStore(t, t.TempDir(), testOptions)
	m := put(t, s, "a", []byte("content"))
	s.fault = count
	if err := s.Destroy(t.Context(), "a", m.Snapshot); err != nil || steps < 6 {
		t.Fatalf("%d steps, %v", steps, err)
	}
	crash := errors.New("crash")
	for n := range steps {
		dir := t.TempDir()
		s := openTestStore(t, dir, testOptions)
		m := put(t, s, "a", []byte("content"))
		saved, err := os.ReadFile(s.path("snapshots", m.Snapshot, dataFile))
		if err != nil {
			t.Fatal(err)
		}
		at := ""
		s.fault = func(name string) error {
			if n--; n < 0 {
				at = name
				return crash
			}
			return nil
		}
		if err := s.Destroy(t.Context(), "a", m.Snapshot); !errors.Is(err, crash) {
			t.Fatalf("%s: %v", at, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		again := openTestStore(t, dir, testOptions)
		if err := again.Destroy(t.Context(), "a", m.Snapshot); err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		if err := openWith(saved, dir, m.Snapshot); err == nil {
			t.Errorf("%s: the saved file opens", at)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(left) > 0 {
			t.Errorf("%s: left %v", at, left)
		}
	}
}

// R36: a snapshot of before has no key of its own; it opens, and is overwritten.
func TestR36_SnapshotOfBefore(t *testing.T) {
	dir := t.TempDir()
	s := openTestStore(t, dir, testOptions)
	m := putOld(t, s, "a", []byte("content"))
	if got, err := contents(lease(t, s, m.Snapshot)); err != nil || string(got[0]) != "content" {
		t.Fatalf("%q, %v", got, err)
	}
	if got := s.Method(m.Snapshot); got != MethodOverwrite {
		t.Errorf("method %s", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	local, err := sealed.NewLocal(testOptions.Key)
	if err != nil {
		t.Fatal(err)
	}
	none := openTestStore(t, dir, StoreOptions{Keys: local, Memory: testMemory})
	if err := opens(none, m.Snapshot); !errors.Is(err, sealed.ErrKeyLost) {
		t.Errorf("without the storage key: %v", err)
	}
	_ = none.Close()
	s = openTestStore(t, dir, testOptions)
	// The second name shows what is in the blocks of the first.
	twin := filepath.Join(t.TempDir(), "twin")
	if err := os.Link(s.path("snapshots", m.Snapshot, dataFile), twin); err != nil {
		t.Skipf("no links here: %v", err)
	}
	if err := s.Destroy(t.Context(), "a", m.Snapshot); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(twin); err != nil || strings.Trim(string(text), "\x00") != "" {
		t.Errorf("the file was not overwritten: %v", err)
	}
}

// R36: what is pruned has lost its key too.
func TestR36_PruneErasesKeys(t *testing.T) {
	dir := t.TempDir()
	s := openTestStore(t, dir, testOptions)
	m := put(t, s, "a", []byte("old"))
	saved, err := os.ReadFile(s.path("snapshots", m.Snapshot, dataFile))
	if err != nil {
		t.Fatal(err)
	}
	twin := filepath.Join(t.TempDir(), "twin")
	if err := os.Link(s.path("snapshots", m.Snapshot, keyFile), twin); err != nil {
		t.Skipf("no links here: %v", err)
	}
	if err := os.Remove(s.pointer("a")); err != nil {
		t.Fatal(err)
	}
	if gone, err := s.Prune(nil); err != nil || len(gone) != 1 {
		t.Fatalf("%v, %v", gone, err)
	}
	if text, err := os.ReadFile(twin); err != nil || strings.Trim(string(text), "\x00") != "" {
		t.Errorf("the key was not overwritten: %q, %v", text, err)
	}
	if err := openWith(saved, dir, m.Snapshot); err == nil {
		t.Error("the saved file opens")
	}
}

// R34: the storage key changes without a file being written anew or a lease
// noticing; the old key then opens nothing.
func TestR34_Rewrap(t *testing.T) {
	dir := t.TempDir()
	s := openTestStore(t, dir, testOptions)
	a, old := put(t, s, "a", []byte("content")), putOld(t, s, "o", []byte("of before"))
	held := lease(t, s, a.Snapshot)
	before, err := os.Stat(s.path("snapshots", a.Snapshot, dataFile))
	if err != nil {
		t.Fatal(err)
	}
	next := bytes.Repeat([]byte{5}, sealed.KeySize)
	to, err := sealed.NewLocal(next)
	if err != nil {
		t.Fatal(err)
	}
	moved, left, err := s.Rewrap(t.Context(), to)
	if err != nil || moved != 1 || left != 1 {
		t.Fatalf("moved %d, of before %d, %v", moved, left, err)
	}
	if _, err := contents(held); err != nil {
		t.Errorf("a lease of before: %v", err)
	}
	c := put(t, s, "c", []byte("later"))
	for _, id := range []string{a.Snapshot, c.Snapshot, old.Snapshot} {
		if err := opens(s, id); err != nil {
			t.Error(err)
		}
	}
	if after, err := os.Stat(s.path("snapshots", a.Snapshot, dataFile)); err != nil || !os.SameFile(before, after) || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the data file was written anew: %v", err)
	}
	if strays, _ := filepath.Glob(s.path("snapshots", "*", keyFile+".*")); len(strays) > 0 {
		t.Errorf("strays %v", strays)
	}
	held.Release()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, opens1 := range map[string]struct {
		key     []byte
		a, c, o bool
	}{"new": {next, true, true, false}, "old": {testOptions.Key, false, false, true}} {
		s := openTestStore(t, dir, StoreOptions{Key: opens1.key, Memory: testMemory})
		for id, want := range map[string]bool{a.Snapshot: opens1.a, c.Snapshot: opens1.c, old.Snapshot: opens1.o} {
			if err := opens(s, id); (err == nil) != want {
				t.Errorf("%s key: %v", name, err)
			}
		}
		_ = s.Close()
	}
}

// away is a key service that can be unplugged.
type away struct {
	sealed.Wrapper
	gone  bool
	calls int
}

func (a *away) Unwrap(ctx context.Context, place, wrapped string) ([]byte, error) {
	if a.calls++; a.gone {
		return nil, sealed.ErrKeysAway
	}
	return a.Wrapper.Unwrap(ctx, place, wrapped)
}

func (a *away) Wrap(ctx context.Context, place string, key []byte) (string, error) {
	if a.gone {
		return "", sealed.ErrKeysAway
	}
	return a.Wrapper.Wrap(ctx, place, key)
}

// R34: while the key service is away what is open answers, nothing else opens, and
// nothing is stored; when it is back all goes on.
func TestR34_KeyServiceAway(t *testing.T) {
	local, err := sealed.NewLocal(testOptions.Key)
	if err != nil {
		t.Fatal(err)
	}
	service := &away{Wrapper: local}
	s := openTestStore(t, t.TempDir(), StoreOptions{Keys: service, Memory: testMemory})
	open, shut := put(t, s, "a", []byte("open")), put(t, s, "b", []byte("shut"))
	if err := opens(s, open.Snapshot); err != nil {
		t.Fatal(err)
	}
	calls := service.calls
	if err := opens(s, open.Snapshot); err != nil || service.calls != calls {
		t.Errorf("an open snapshot asks the key service %d times: %v", service.calls-calls, err)
	}
	service.gone = true
	if err := opens(s, open.Snapshot); err != nil {
		t.Errorf("what is open: %v", err)
	}
	if _, err := s.Lease(t.Context(), []string{open.Snapshot, shut.Snapshot}); !errors.Is(err, sealed.ErrKeysAway) {
		t.Errorf("what is not open: %v", err)
	}
	f, err := newMemoryFile()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, _, err := s.commit(Manifest{Dataset: "c", Snapshot: strings.Repeat("0c", 32)}, f); !errors.Is(err, sealed.ErrKeysAway) {
		t.Errorf("an ingest: %v", err)
	}
	if got := s.memory.used; got > pages(open.Data) {
		t.Errorf("%d bytes of memory are held for what did not open", got)
	}
	service.gone = false
	if err := opens(s, shut.Snapshot); err != nil {
		t.Errorf("after its return: %v", err)
	}
}
