package engine

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandgate/sandgate/compute/engine/sealed"
)

const testMemory = 1 << 20

var testOptions = StoreOptions{Key: bytes.Repeat([]byte{3}, 32), Memory: testMemory}

func openTestStore(t testing.TB, dir string, opt StoreOptions) *Store {
	t.Helper()
	s, err := OpenStore(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// put stores content as the snapshot of a data set.
func put(t testing.TB, s *Store, dataset string, content []byte) Manifest {
	t.Helper()
	f, err := newMemoryFile()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if f, err = sealMemoryFile(f); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	id := fmt.Sprintf("%064x", dataset)
	m, fresh, err := s.commit(Manifest{Dataset: dataset, Snapshot: id[len(id)-64:], Rows: 7731}, f)
	if err != nil || !fresh {
		t.Fatalf("fresh %v, %v", fresh, err)
	}
	return m
}

func lease(t testing.TB, s *Store, ids ...string) *Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	l, err := s.Lease(ctx, ids)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Release)
	return l
}

// contents reads what a lease opens.
func contents(l *Lease) ([][]byte, error) {
	files, _, err := l.Open()
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, f := range files {
		text, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
		if err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, nil
}

// TestR34_StoredFilesAreEncrypted: neither content nor counts stand in any file,
// and the memory file (the control) holds them.
func TestR34_StoredFilesAreEncrypted(t *testing.T) {
	dir := t.TempDir()
	s := openTestStore(t, dir, testOptions)
	content := bytes.Repeat([]byte("canary-7731 "), 5000)
	m := put(t, s, "a", content)
	files := 0
	err := filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		files++
		text, err := os.ReadFile(name)
		if bytes.Contains(text, []byte("7731")) || bytes.Contains(text, []byte("rows")) {
			t.Errorf("%s holds plain text", name)
		}
		return err
	})
	if err != nil || files < 4 {
		t.Fatalf("%d files, %v", files, err)
	}
	got, err := contents(lease(t, s, m.Snapshot))
	if err != nil || !bytes.Equal(got[0], content) {
		t.Fatalf("the memory file holds something else: %v", err)
	}
	if now, err := s.Current("a"); err != nil || now.Rows != 7731 || now.File != m.File {
		t.Fatalf("%+v, %v", now, err)
	}
}

// TestMemoryFileIsFrozen: nobody, not even its owner, changes an opened snapshot.
func TestMemoryFileIsFrozen(t *testing.T) {
	s := openTestStore(t, t.TempDir(), testOptions)
	m := put(t, s, "a", []byte("content"))
	files, _, err := lease(t, s, m.Snapshot).Open()
	if err != nil {
		t.Fatal(err)
	}
	handed, err := reopen(files)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(handed)
	path := fmt.Sprintf("/proc/self/fd/%d", handed[0].Fd())
	writable, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err) // the owner may open it for writing: the seals have to hold
	}
	defer writable.Close()
	for name, f := range map[string]*os.File{"as handed over": handed[0], "opened for writing": writable} {
		if _, err := f.WriteAt([]byte("x"), 0); err == nil {
			t.Errorf("%s: written", name)
		}
		if err := f.Truncate(0); err == nil {
			t.Errorf("%s: cut", name)
		}
		if err := f.Truncate(1 << 20); err == nil {
			t.Errorf("%s: extended", name)
		}
		if p, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
			_ = unix.Munmap(p)
			t.Errorf("%s: mapped for writing", name)
		}
	}
	if got, err := io.ReadAll(handed[0]); err != nil || string(got) != "content" {
		t.Fatalf("%q, %v", got, err)
	}
	// The control: before it is sealed a memory file can be changed.
	loose, err := newMemoryFile()
	if err != nil {
		t.Fatal(err)
	}
	defer loose.Close()
	if _, err := loose.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
}

// TestR34_ExchangedFiles: every file put in the place of another is refused, and
// the store goes on serving what is whole.
func TestR34_ExchangedFiles(t *testing.T) {
	content := make([]byte, 200_000)
	_, _ = rand.Read(content)
	for _, c := range []struct {
		name   string
		change func(a, b string) error // directories of two snapshots
		want   error
	}{
		{"control", func(a, b string) error { return nil }, nil},
		{"data of another snapshot", func(a, b string) error { return copyFile(b, a, dataFile) }, sealed.ErrDamaged},
		{"manifest of another snapshot", func(a, b string) error { return copyFile(b, a, manifestFile) }, sealed.ErrDamaged},
		{"both of another snapshot", func(a, b string) error {
			return errors.Join(copyFile(b, a, manifestFile), copyFile(b, a, dataFile))
		}, sealed.ErrDamaged},
		{"manifest as data", func(a, b string) error {
			return os.Rename(filepath.Join(a, manifestFile), filepath.Join(a, dataFile))
		}, os.ErrNotExist},
		{"cut", func(a, b string) error { return os.Truncate(filepath.Join(a, dataFile), 150_000) }, sealed.ErrDamaged},
		{"extended", func(a, b string) error { return os.Truncate(filepath.Join(a, dataFile), 300_000) }, sealed.ErrDamaged},
		{"emptied", func(a, b string) error { return os.Truncate(filepath.Join(a, dataFile), 0) }, sealed.ErrNotSealed},
		{"gone", func(a, b string) error { return os.Remove(filepath.Join(a, dataFile)) }, os.ErrNotExist},
		{"manifest cut", func(a, b string) error { return os.Truncate(filepath.Join(a, manifestFile), 70) }, sealed.ErrDamaged},
		{"plain data", func(a, b string) error { return rewrite(filepath.Join(a, dataFile), content) }, sealed.ErrNotSealed},
		{"plain manifest", func(a, b string) error {
			return rewrite(filepath.Join(a, manifestFile), []byte(`{"snapshot":"`+filepath.Base(a)+`","format":1,"file_bytes":80}`))
		}, sealed.ErrNotSealed},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := openTestStore(t, dir, testOptions)
			m, other := put(t, s, "a", content), put(t, s, "b", content)
			at := func(id string) string { return filepath.Join(dir, "snapshots", id) }
			if err := c.change(at(m.Snapshot), at(other.Snapshot)); err != nil {
				t.Fatal(err)
			}
			// Memory is given back each time, or the last leases would not fit.
			for range 8 {
				if err := opens(s, m.Snapshot); !errors.Is(err, c.want) {
					t.Fatalf("got %v, want %v", err, c.want)
				}
			}
			if err := opens(s, other.Snapshot); err != nil {
				t.Errorf("the whole one does not open: %v", err)
			}
		})
	}
}

func opens(s *Store, id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	l, err := s.Lease(ctx, []string{id})
	if err != nil {
		return err
	}
	defer l.Release()
	_, _, err = l.Open()
	return err
}

func copyFile(from, to, name string) error {
	text, err := os.ReadFile(filepath.Join(from, name))
	if err != nil {
		return err
	}
	return rewrite(filepath.Join(to, name), text)
}

func rewrite(name string, text []byte) error {
	return errors.Join(os.Chmod(name, 0o600), os.WriteFile(name, text, 0o600))
}

func TestR34_WrongStorageKey(t *testing.T) {
	dir := t.TempDir()
	s := openTestStore(t, dir, testOptions)
	m := put(t, s, "a", []byte("content"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	other := openTestStore(t, dir, StoreOptions{Key: bytes.Repeat([]byte{4}, 32), Memory: testMemory})
	if err := opens(other, m.Snapshot); !errors.Is(err, sealed.ErrKeyLost) {
		t.Fatalf("got %v", err)
	}
	for _, opt := range []StoreOptions{{Memory: 1}, {Key: make([]byte, 16), Memory: 1}, {Key: make([]byte, 32)}, {Key: make([]byte, 32), Memory: -1}} {
		if s, err := OpenStore(t.TempDir(), opt); err == nil {
			_ = s.Close()
			t.Errorf("a store opened with %d key bytes and memory %d", len(opt.Key), opt.Memory)
		}
	}
}

func TestLeaseLimit(t *testing.T) {
	s := openTestStore(t, t.TempDir(), testOptions)
	half := make([]byte, testMemory/2)
	a, b, c := put(t, s, "a", half), put(t, s, "b", half), put(t, s, "c", half[:4096])
	var short *TooLarge
	ids := []string{a.Snapshot, b.Snapshot, c.Snapshot}
	if err := s.Fits(ids); !errors.As(err, &short) || short.Need != testMemory+4096 || short.Limit != testMemory {
		t.Fatalf("got %v", err)
	}
	if _, err := s.Lease(context.Background(), ids); !errors.As(err, &short) ||
		err.Error() != "snapshot memory is too small: 2 MiB needed, 1 MiB allowed, 0 MiB in use" {
		t.Fatalf("got %v", err)
	}
	// The same one twice needs its memory once.
	twice := lease(t, s, a.Snapshot, b.Snapshot, a.Snapshot)
	if got, err := contents(twice); err != nil || len(got) != 3 {
		t.Fatal(err)
	}
	// There is no room while they are leased, and no lease is evicted for it.
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Lease(ctx, []string{c.Snapshot}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if err := s.memory.claim(1); !errors.As(err, &short) || short.InUse != testMemory {
		t.Fatalf("got %v", err)
	}
	// A lease that waits goes on when another ends.
	waiting := make(chan error, 1)
	go func() { waiting <- opens(s, c.Snapshot) }()
	time.Sleep(20 * time.Millisecond)
	twice.Release()
	twice.Release()
	if err := <-waiting; err != nil {
		t.Fatal(err)
	}
	// Idle ones make room for an ingest.
	if err := s.memory.claim(testMemory); err != nil {
		t.Fatal(err)
	}
	s.memory.giveBack(testMemory)
	if s.memory.used != 0 || len(s.memory.held) != 0 || s.memory.idle.Len() != 0 {
		t.Fatalf("%d bytes in use, %d held", s.memory.used, len(s.memory.held))
	}
}

// TestEvictionUnderLoad: more snapshots than fit, more jobs than snapshots. Every
// job reads its own content, and the limit is never exceeded.
func TestEvictionUnderLoad(t *testing.T) {
	s := openTestStore(t, t.TempDir(), testOptions)
	const sets, jobs, rounds = 8, 8, 20
	ids, want := make([]string, sets), make([][]byte, sets)
	for i := range sets {
		want[i] = bytes.Repeat([]byte{byte(i + 1)}, testMemory/3-i*5000)
		ids[i] = put(t, s, fmt.Sprintf("s%d", i), want[i]).Snapshot
	}
	var wg sync.WaitGroup
	for j := range jobs {
		wg.Go(func() {
			for r := range rounds {
				x, y := (j+r)%sets, (j*5+r*3)%sets
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				l, err := s.Lease(ctx, []string{ids[x], ids[y]})
				cancel()
				if err != nil {
					t.Error(err)
					return
				}
				s.memory.mu.Lock()
				if s.memory.used > testMemory {
					t.Errorf("%d bytes in use", s.memory.used)
				}
				s.memory.mu.Unlock()
				if r%7 != 6 { // some end without opening anything
					got, err := contents(l)
					if err != nil || !bytes.Equal(got[0], want[x]) || !bytes.Equal(got[1], want[y]) {
						t.Errorf("job %d round %d read something else, %v", j, r, err)
					}
				}
				l.Release()
			}
		})
	}
	wg.Wait()
	if err := s.memory.claim(testMemory); err != nil {
		t.Fatalf("a lease kept its memory: %v", err)
	}
}

// TestLargeLeaseIsNotStarved: a stream of small leases does not keep a large one
// waiting for ever.
func TestLargeLeaseIsNotStarved(t *testing.T) {
	s := openTestStore(t, t.TempDir(), testOptions)
	large := put(t, s, "large", make([]byte, testMemory))
	var small []string
	for i := range 4 {
		small = append(small, put(t, s, fmt.Sprintf("s%d", i), make([]byte, testMemory/4)).Snapshot)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				l, err := s.Lease(ctx, small[i%4:i%4+1])
				if err != nil {
					return
				}
				time.Sleep(time.Millisecond)
				l.Release()
			}
		})
	}
	time.Sleep(10 * time.Millisecond)
	err := opens(s, large.Snapshot)
	stop()
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
}

func TestClosedStore(t *testing.T) {
	s := openTestStore(t, t.TempDir(), testOptions)
	m, n := put(t, s, "a", make([]byte, testMemory)), put(t, s, "b", make([]byte, testMemory))
	l := lease(t, s, m.Snapshot)
	if _, err := contents(l); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() { waiting <- opens(s, n.Snapshot) }()
	time.Sleep(20 * time.Millisecond)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; !errors.Is(err, errClosedStore) {
		t.Fatalf("got %v", err)
	}
	if _, err := contents(l); err != nil {
		t.Fatalf("closing the store took a snapshot from a job: %v", err)
	}
	l.Release()
	if s.memory.used != 0 {
		t.Fatalf("%d bytes in use", s.memory.used)
	}
}

func TestSpool(t *testing.T) {
	m := newMemory(testMemory)
	a := &account{memory: m}
	raw := strings.Repeat("raw rows ", 10_000)
	f, err := a.spool(iotest.OneByteReader(strings.NewReader(raw[:5000])))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(f); err != nil || string(got) != raw[:5000] {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	_ = f.Close()
	if _, err := a.spool(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(raw)))); err == nil {
		t.Error("a broken reader passed for a short file")
	}
	if _, err := a.spool(io.MultiReader(strings.NewReader(raw), iotest.ErrReader(io.ErrUnexpectedEOF))); err == nil {
		t.Error("half a file passed for a whole one")
	}
	var short *TooLarge
	if _, err := a.spool(io.LimitReader(endlessZeros{}, 100<<20)); !errors.As(err, &short) {
		t.Errorf("got %v", err)
	}
	a.end()
	if m.used != 0 {
		t.Errorf("%d bytes in use", m.used)
	}
}

type endlessZeros struct{}

func (endlessZeros) Read(p []byte) (int, error) { return len(p), nil }

// BenchmarkFirstUse is what the first job on a 100 MB snapshot pays.
func BenchmarkFirstUse(b *testing.B) {
	const size = 100_000_000
	content := make([]byte, size)
	_, _ = rand.Read(content)
	s := openTestStore(b, b.TempDir(), StoreOptions{Key: testOptions.Key, Memory: 1 << 30})
	m := put(b, s, "a", content)
	b.SetBytes(size)
	for b.Loop() {
		key, err := s.dataKey(context.Background(), m.Snapshot, s.path("snapshots", m.Snapshot))
		if err != nil {
			b.Fatal(err)
		}
		f, err := s.decrypt(m, key, nil)
		if err != nil {
			b.Fatal(err)
		}
		_ = f.Close()
	}
}

// BenchmarkCommit is what encrypting a 100 MB snapshot adds to an ingest.
func BenchmarkCommit(b *testing.B) {
	const size = 100_000_000
	s := openTestStore(b, b.TempDir(), StoreOptions{Key: testOptions.Key, Memory: 1 << 30})
	content, i := make([]byte, size), 0
	b.SetBytes(size)
	for b.Loop() {
		i++
		put(b, s, fmt.Sprintf("a%d", i), content)
	}
}

// BenchmarkWarmLease is what a job pays for a snapshot that is in memory.
func BenchmarkWarmLease(b *testing.B) {
	s := openTestStore(b, b.TempDir(), testOptions)
	m := put(b, s, "a", make([]byte, 1000))
	for b.Loop() {
		if err := opens(s, m.Snapshot); err != nil {
			b.Fatal(err)
		}
	}
}

func TestNames(t *testing.T) {
	id := strings.Repeat("0a", 32)
	for s, want := range map[string][2]bool{
		"": {}, "a": {true}, "_a.b-c9": {true}, ".a": {}, "-a": {}, "a/b": {}, "a b": {}, "数": {}, "a\n": {}, "~a": {},
		strings.Repeat("a", 128): {true}, strings.Repeat("a", 129): {}, id: {true, true}, id[1:]: {true}, id + "0": {true},
		strings.Repeat("0A", 32): {true}, id[:62] + "..": {true}, id[:63] + "g": {true},
	} {
		if plainName(s) != want[0] || isID(s) != want[1] {
			t.Errorf("%q: plain %v, id %v", s, plainName(s), isID(s))
		}
	}
}
