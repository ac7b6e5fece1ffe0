package duckdb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/sandbox"
)

// probeHandler is a worker that was taken over: it may write, and tries to.
const probeHandler = "probe-snapshot"

func init() {
	sandbox.RegisterWith(probeHandler, sandbox.Registration{Writes: true, Handler: probeSnapshot})
}

// probed is what probeSnapshot could do to the descriptor it was handed.
type probed struct {
	Read            int
	Write, Truncate bool
	Map             bool
}

func probeSnapshot(_ context.Context, _ []byte, files []*os.File, emit func([]byte) error) error {
	var out probed
	fd := int(files[0].Fd())
	out.Read, _ = unix.Pread(fd, make([]byte, 100), 4)
	n, err := unix.Pwrite(fd, []byte("x"), 0)
	out.Write = n > 0 || err == nil
	out.Truncate = unix.Ftruncate(fd, 0) == nil || unix.Ftruncate(fd, 1<<30) == nil
	_, err = unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	out.Map = err == nil
	raw, err := json.Marshal(out)
	if err != nil {
		return err
	}
	return emit(raw)
}

// TestR01_WorkerCannotChangeASnapshot: a worker that writes to what it was handed
// is refused, by the descriptor and by the seals of the file behind it.
func TestR01_WorkerCannotChangeASnapshot(t *testing.T) {
	s := store(t)
	m, err := take(t, s, healthSpec(), healthCSV)
	if err != nil {
		t.Fatal(err)
	}
	f := snapshot(t, s, m.Snapshot)
	before, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	writable, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writable.Close()
	loose, err := os.OpenFile(filepath.Join(t.TempDir(), "loose"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer loose.Close()
	if _, err := loose.Write(before); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		f    *os.File
		want probed
	}{
		{"as jobs get it", f, probed{Read: 100}},
		{"handed over writable by mistake", writable, probed{Read: 100}},
		// Mapping it is refused by the jail even so.
		{"control: a file that may be written", loose, probed{Read: 100, Write: true, Truncate: true}},
	} {
		var got probed
		err := pool(t).Run(context.Background(), sandbox.Job{Handler: probeHandler, Files: []*os.File{c.f}, Limits: testLimits},
			func(frame []byte) error { return json.Unmarshal(frame, &got) })
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
	after, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil || !bytes.Equal(before, after) {
		t.Fatal("the snapshot changed")
	}
}

// TestIngestMemoryLimit: an ingest that does not fit ends with a clear error that
// names sizes only, and gives its memory back.
func TestIngestMemoryLimit(t *testing.T) {
	t.Parallel()
	opt := storeOptions
	opt.Memory = 66 << 20
	s, err := engine.OpenStore(t.TempDir(), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	spec := healthSpec()
	spec.Columns[6] = ingest.Column{Name: "phone", Type: engineText}
	_, err = engine.IngestVia(context.Background(), pool(t), s, &noise{}, engine.IngestOptions{
		Format: ingest.CSV, Spec: spec, Keys: testKeys, Limits: testLimits,
	})
	var short *engine.TooLarge
	if !errors.As(err, &short) || short.Limit != opt.Memory || short.Need <= short.Limit || !strings.Contains(err.Error(), "MiB") {
		t.Fatalf("got %v", err)
	}
	if _, err := s.Current("health.visits"); !errors.Is(err, engine.ErrNoSnapshot) {
		t.Fatal(err)
	}
	if _, err := take(t, s, healthSpec(), healthCSV); err != nil {
		t.Fatalf("the memory was not given back: %v", err)
	}
	// A Parquet file is spooled: its size counts before a worker is started.
	_, err = engine.IngestVia(context.Background(), pool(t), s, &noise{}, engine.IngestOptions{
		Format: ingest.Parquet, Spec: spec, Keys: testKeys, Limits: testLimits,
	})
	if !errors.As(err, &short) {
		t.Fatalf("got %v", err)
	}
}

// noise is an endless file that does not compress.
type noise struct {
	n    uint64
	rest []byte
}

func (e *noise) Read(p []byte) (int, error) {
	if len(e.rest) == 0 {
		if e.n == 0 {
			e.rest = []byte("id,district,fee,day,insured,born,phone\n")
		}
		for range 1000 {
			e.rest = strconv.AppendUint(append(e.rest, 'U'), e.n, 10)
			e.rest = append(e.rest, ",东,1,2024-02-29,true,1980-01-01,"...)
			for range 2 {
				e.n = e.n*6364136223846793005 + 1442695040888963407
				e.rest = strconv.AppendUint(e.rest, e.n, 36)
			}
			e.rest = append(e.rest, '\n')
		}
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// TestEvictionUnderJobs: concurrent jobs over more snapshots than memory holds
// each get their own answer.
func TestEvictionUnderJobs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := engine.OpenStore(dir, storeOptions)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	var most int64
	for i := range 4 {
		spec := healthSpec()
		spec.Dataset = fmt.Sprintf("set%d", i)
		m, err := take(t, s, spec, healthCSV+strings.Repeat("Z9,东,1,2024-01-01,1,2000-01-01,1\n", i))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, m.Snapshot)
		most = max(most, m.Data)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	opt := storeOptions
	opt.Memory = 2*most + 8192 // two of four
	if s, err = engine.OpenStore(dir, opt); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var wg sync.WaitGroup
	for j := range 4 {
		wg.Go(func() {
			for r := range 3 {
				x, y := (j+r)%4, (j+r+1)%4
				lease, err := s.Lease(context.Background(), []string{ids[x], ids[y]})
				if err != nil {
					t.Error(err)
					return
				}
				files, manifests, err := lease.Open()
				if err != nil {
					t.Error(err)
					lease.Release()
					return
				}
				got, err := (&engine.Runner{Pool: pool(t)}).Execute(context.Background(),
					`SELECT (SELECT count(*) FROM d0.main.t) AS m0, (SELECT count(*) FROM d1.main.t) AS m1`, plan(2), files, testLimits)
				if err != nil || got.Cells[0].M[0].Int64() != int64(4+x) || got.Cells[0].M[1].Int64() != int64(4+y) || manifests[1].Rows != int64(4+y) {
					t.Errorf("%+v, %v", got, err)
				}
				lease.Release()
			}
		})
	}
	wg.Wait()
}

// TestR01_KilledIngestWorkerLeavesNothing: SIGKILL of the worker in the middle of
// an ingest leaves no byte of the file anywhere below the store or the temporary
// directory, while (the control) the worker's memory files did hold it.
func TestR01_KilledIngestWorkerLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	temp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(temp, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", temp)
	s, err := engine.OpenStore(filepath.Join(dir, "store"), storeOptions)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	spec := healthSpec()
	spec.Columns[6] = ingest.Column{Name: "phone", Type: algebra.Type{Kind: algebra.Text}}
	const canary = "CANARY-7731-PHONE"
	seen, killed := false, false
	_, err = engine.IngestVia(context.Background(), pool(t), s, &endless{
		head: "id,district,fee,day,insured,born,phone\n", row: "A1,东,12.345,2024-02-29,true,1980-01-01," + canary + "\n",
	}, engine.IngestOptions{
		Format: ingest.CSV, Spec: spec, Keys: testKeys, Limits: testLimits,
		Progress: func(int64) {
			if seen = seen || memoryHolds(canary); seen && !killed {
				killed = killWorker(engine.IngestHandler)
			}
		},
	})
	var died *sandbox.ErrKilled
	if !errors.As(err, &died) || died.Cause != sandbox.CauseCrashed || !killed {
		t.Fatalf("killed %v, got %v", killed, err)
	}
	if err := filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		if bytes.Contains(text, []byte("CANARY")) || strings.Contains(name, "staging") {
			t.Errorf("left behind: %s", name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if memoryHolds(canary) {
		t.Error("a memory file outlived the ingest")
	}
}

// memoryHolds says whether a memory file of this process holds a text.
func memoryHolds(text string) bool {
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, l := range links {
		if target, err := os.Readlink(l); err != nil || !strings.HasPrefix(target, "/memfd:") {
			continue
		}
		if raw, err := os.ReadFile(l); err == nil && bytes.Contains(raw, []byte(text)) {
			return true
		}
	}
	return false
}

// killWorker kills the worker below this process that serves a handler.
func killWorker(handler string) bool {
	return killBelow(os.Getpid(), []byte(`"handler":"`+handler+`"`))
}

func killBelow(pid int, mark []byte) bool {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		pids, _ := os.ReadFile(task)
		for _, field := range strings.Fields(string(pids)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				continue
			}
			if line, err := os.ReadFile("/proc/" + field + "/cmdline"); err == nil && bytes.Contains(line, mark) {
				return syscall.Kill(child, syscall.SIGKILL) == nil
			}
			if killBelow(child, mark) {
				return true
			}
		}
	}
	return false
}

// BenchmarkFirstUse is the first job on a snapshot that is on disk only, beside
// BenchmarkExecuteWarm.
func BenchmarkFirstUse(b *testing.B) {
	dir := b.TempDir()
	s, err := engine.OpenStore(dir, storeOptions)
	if err != nil {
		b.Fatal(err)
	}
	m, err := take(b, s, healthSpec(), healthCSV)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		if s, err = engine.OpenStore(dir, storeOptions); err != nil {
			b.Fatal(err)
		}
		time.Sleep(150 * time.Millisecond) // until the worker taken last is replaced
		b.StartTimer()
		if _, err := run(b, s, m.Snapshot, `SELECT count(*) AS m0 FROM d0.main.t`, 1); err != nil {
			b.Fatal(err)
		}
	}
	_ = s.Close()
}
