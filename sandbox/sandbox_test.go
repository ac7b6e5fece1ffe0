package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	Register("echo", func(_ context.Context, p []byte, files []*os.File, emit func([]byte) error) error {
		for _, f := range files {
			b, err := io.ReadAll(f)
			if err != nil {
				return err
			}
			p = append(p, b...)
		}
		return emit(p)
	})
	Register("hostile", hostile)
	RegisterWith("stillborn", Registration{
		Handler: func(context.Context, []byte, []*os.File, func([]byte) error) error { return nil },
		Warm:    func() error { os.Exit(3); return nil },
	})
	Register("pids", func(_ context.Context, _ []byte, _ []*os.File, emit func([]byte) error) error {
		return emit([]byte(strconv.Itoa(os.Getpid())))
	})
	RegisterWith("writer", Registration{Writes: true, Handler: func(_ context.Context, p []byte, files []*os.File, _ func([]byte) error) error {
		_, err := files[0].WriteAt(p, 0)
		return err
	}})
	RegisterWith("coldfeet", Registration{
		Warm:    func() error { return errors.New("canary-text-7731") },
		Handler: func(context.Context, []byte, []*os.File, func([]byte) error) error { return nil },
	})
}

var (
	sink  [][]byte
	spins uint
)

// hang never returns. An empty select would not do: the runtime ends a program
// whose goroutines all wait for nothing, and the job would count as crashed.
func hang() {
	for {
		time.Sleep(time.Hour)
	}
}

func hostile(_ context.Context, p []byte, _ []*os.File, emit func([]byte) error) error {
	switch string(p) {
	case "spin":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		for n := uint(0); ; n++ {
			spins = n
		}
	case "sleep":
		hang()
	case "memory":
		for {
			b := make([]byte, 16<<20)
			for i := range b {
				b[i] = byte(i)
			}
			sink = append(sink, b)
		}
	case "flood":
		for {
			if err := emit(make([]byte, 1<<16)); err != nil {
				return err
			}
		}
	case "rawflood":
		for {
			_ = WriteFrame(fdWriter(resultFD), append([]byte{kindData}, make([]byte, 1<<16)...))
		}
	case "bigframe":
		_, _ = fdWriter(resultFD).Write([]byte{0xff, 0xff, 0xff, 0xff})
		hang()
	case "badkind":
		_ = WriteFrame(fdWriter(resultFD), []byte("?"))
		hang()
	case "empty":
		_ = WriteFrame(fdWriter(resultFD), nil)
		hang()
	case "exit":
		os.Exit(0)
	case "panic":
		panic("canary-text-7731")
	case "panic-elsewhere":
		go func() { panic("canary-text-7731") }()
		hang()
	case "stderr":
		for range 1000 {
			fmt.Fprintln(os.Stderr, strings.Repeat("canary-text-7731", 100))
		}
		return nil
	case "error":
		return errors.New("canary-text-7731")
	case "oom":
		return fmt.Errorf("canary-text-7731: %w", ErrMemory)
	case "forbidden":
		_, _ = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		return nil
	case "fork":
		_, _, _ = unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		return nil
	case "threads":
		for range 400 {
			go func() { _ = unix.Nanosleep(&unix.Timespec{Sec: 30}, nil) }()
		}
		hang()
	}
	return emit(p)
}

var (
	sharedPool  *Pool
	sharedError error
	sharedOnce  sync.Once
)

func TestMain(m *testing.M) {
	arenaMain()
	Main()
	if len(os.Args) > 1 {
		actor(os.Args[1])
	}
	if os.Getenv("SANDGATE_TEST_UNDUMPABLE") != "" {
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
			os.Exit(9)
		}
	}
	code := m.Run()
	if sharedPool != nil {
		_ = sharedPool.Close()
	}
	os.Exit(code)
}

func pool(t testing.TB) *Pool {
	t.Helper()
	sharedOnce.Do(func() {
		sharedPool, sharedError = NewPool(context.Background(), Config{Warm: map[string]int{"echo": 1}})
	})
	if sharedError != nil {
		t.Fatal(sharedError)
	}
	return sharedPool
}

func TestEcho(t *testing.T) {
	p := pool(t)
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(" file"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := f.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		ro, err := os.Open(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		err = p.Run(context.Background(), Job{Handler: "echo", Payload: []byte("payload"), Files: []*os.File{ro}}, readAll(&got))
		_ = ro.Close()
		if err != nil || string(got) != "payload file" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	if layers := p.Layers(); !slices.Contains(layers, "seccomp allow-list") || !slices.Contains(layers, "empty read-only root") {
		t.Fatalf("layers: %v", layers)
	}
}

// TestR01_DeathIsOneConstant: whatever a worker does, its caller learns a code.
func TestR01_DeathIsOneConstant(t *testing.T) {
	p := pool(t)
	limits := Limits{Wall: 10 * time.Second, Memory: 64 << 20, Result: 1 << 20, Threads: 1}
	short := limits
	short.Wall = 400 * time.Millisecond
	busy, waiting := limits, short
	busy.CPU, waiting.CPU = 200*time.Millisecond, 5*time.Second
	for _, c := range []struct {
		what   string
		limits Limits
		want   Cause
	}{
		{"spin", short, CauseTimeout},
		{"sleep", short, CauseTimeout},
		{"spin", busy, CauseTimeout},
		{"sleep", waiting, CauseStarved},
		{"memory", limits, CauseMemory},
		{"flood", limits, CauseResultCap},
		{"rawflood", limits, CauseResultCap},
		{"bigframe", limits, CauseResultCap},
		{"badkind", limits, CauseProtocol},
		{"empty", limits, CauseProtocol},
		{"exit", limits, CauseCrashed},
		{"panic", limits, CauseFailed},
		{"panic-elsewhere", limits, CauseCrashed},
		{"error", limits, CauseFailed},
		{"oom", limits, CauseMemory},
		{"forbidden", limits, CauseCrashed},
	} {
		t.Run(c.what, func(t *testing.T) {
			if c.what == "memory" && raceEnabled {
				t.Skip("no RLIMIT_DATA under the race detector")
			}
			begin := time.Now()
			err := p.Run(context.Background(), Job{Handler: "hostile", Payload: []byte(c.what), Limits: c.limits}, func([]byte) error { return nil })
			var killed *ErrKilled
			if !errors.As(err, &killed) || killed.Cause != c.want {
				t.Fatalf("got %v, want %s", err, c.want)
			}
			if err.Error() != "worker did not finish: "+string(c.want) {
				t.Fatalf("text is not constant: %q", err)
			}
			if took := time.Since(begin); took > 8*time.Second {
				t.Fatalf("took %v", took)
			}
		})
	}
	if err := p.Run(context.Background(), Job{Handler: "hostile", Payload: []byte("stderr"), Limits: limits}, nil); err != nil {
		t.Fatalf("a flooded stderr must not stop a job: %v", err)
	}
}

func TestThreadBomb(t *testing.T) {
	p := pool(t)
	err := p.Run(context.Background(), Job{Handler: "hostile", Payload: []byte("threads"), Limits: Limits{Wall: 4 * time.Second}}, nil)
	var killed *ErrKilled
	if !errors.As(err, &killed) || killed.Cause != CauseCrashed {
		t.Fatalf("a worker over its thread limit must die, got %v", err)
	}
}

// TestWatchdog: it ends a worker by threads or memory where no resource limit does.
func TestWatchdog(t *testing.T) {
	p, err := newPool(Config{Tier: tierNone})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for what, want := range map[string]Cause{"threads": CauseCrashed, "memory": CauseMemory} {
		proc, err := p.launch(context.Background(), "hostile", 64<<20, false, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := proc.send([]byte(what), nil, defaultLimits); err != nil {
			t.Fatal(err)
		}
		stopped := make(chan Cause, 1)
		done := make(chan struct{})
		go watch(proc.pid, 64<<20, done, func(c Cause) { stopped <- c })
		select {
		case got := <-stopped:
			if got != want {
				t.Errorf("%s: got %s", what, got)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: not stopped", what)
		}
		close(done)
		p.retire(proc)
	}
}

func TestCancel(t *testing.T) {
	p := pool(t)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	err := p.Run(ctx, Job{Handler: "hostile", Payload: []byte("spin")}, nil)
	var killed *ErrKilled
	if !errors.As(err, &killed) || killed.Cause != CauseCancelled {
		t.Fatalf("got %v", err)
	}
}

func TestWarmUpFailureIsNamedNotQuoted(t *testing.T) {
	err := pool(t).Run(context.Background(), Job{Handler: "coldfeet"}, nil)
	if err == nil || !strings.Contains(err.Error(), "warm-up") || strings.Contains(err.Error(), "canary") {
		t.Fatalf("got %v", err)
	}
	if err := pool(t).Run(context.Background(), Job{Handler: "nobody"}, nil); err == nil || errors.Is(err, ErrLost) {
		t.Fatalf("an unknown handler: %v", err)
	}
	// One that dies is told from one that refuses: it may be tried again.
	if errors.Is(err, ErrLost) {
		t.Errorf("a failed warm-up passes for a lost worker: %v", err)
	}
	if err := pool(t).Run(context.Background(), Job{Handler: "stillborn"}, nil); !errors.Is(err, ErrLost) {
		t.Errorf("a worker that died at its start: %v", err)
	}
}

func TestWriterFillsItsDescriptorOnly(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := pool(t).Run(context.Background(), Job{Handler: "writer", Payload: []byte("ok"), Files: []*os.File{f}}, nil); err != nil {
		t.Fatal(err)
	}
	ro, err := os.Open(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	if b, _ := io.ReadAll(ro); string(b) != "ok" {
		t.Fatalf("got %q", b)
	}
	if err := pool(t).Run(context.Background(), Job{Handler: "writer", Payload: []byte("no"), Files: []*os.File{ro}}, nil); err == nil {
		t.Fatal("a read-only descriptor was written")
	}
}

func TestSession(t *testing.T) {
	p := pool(t)
	s, err := p.Session(context.Background(), "hostile", Limits{Wall: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	first := s.proc
	for i := range 20 {
		want := fmt.Sprint("call", i)
		got, err := s.Call(context.Background(), []byte(want))
		if err != nil || string(got) != want {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	if s.proc != first {
		t.Fatal("a healthy session was replaced")
	}
	if _, err := s.Call(context.Background(), []byte("error")); err == nil {
		t.Fatal("handler error vanished")
	}
	_, err = s.Call(context.Background(), []byte("spin"))
	var killed *ErrKilled
	if !errors.As(err, &killed) || killed.Cause != CauseTimeout {
		t.Fatalf("got %v", err)
	}
	if got, err := s.Call(context.Background(), []byte("again")); err != nil || string(got) != "again" {
		t.Fatalf("got %q, %v", got, err)
	}
	s.calls = sessionCalls
	before := s.proc
	if _, err := s.Call(context.Background(), []byte("fresh")); err != nil || s.proc == before {
		t.Fatalf("a session over its call limit was kept: %v", err)
	}
}

// TestNoDescriptorLeaks: jobs of every fate leave the parent's table as it was.
func TestNoDescriptorLeaks(t *testing.T) {
	p := pool(t)
	run := func() {
		for _, what := range []string{"x", "exit", "panic", "badkind"} {
			_ = p.Run(context.Background(), Job{Handler: "hostile", Payload: []byte(what)}, func([]byte) error { return nil })
		}
		_ = p.Run(context.Background(), Job{Handler: "hostile", Payload: []byte("x")}, func([]byte) error { return errors.New("no") })
	}
	run()
	before := countFDs(t)
	run()
	run()
	if after := countFDs(t); after > before {
		t.Fatalf("descriptors: %d before, %d after", before, after)
	}
}

func countFDs(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func BenchmarkJobWarm(b *testing.B) {
	p := pool(b)
	for b.Loop() {
		if err := p.Run(context.Background(), Job{Handler: "echo", Payload: []byte("x")}, func([]byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
