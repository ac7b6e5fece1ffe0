package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// codeReport is what a worker found it could do.
type codeReport struct {
	Before, After struct{ Exec, Both, Map string } // errno names, empty for success
	Listener      string
	Answer        int // of code made before the seal and run after it
	Threads       []string
	Seal, Again   string
}

func try(err error) string {
	var e unix.Errno
	if errors.As(err, &e) {
		return unix.ErrnoName(e)
	}
	return ""
}

func page() []byte {
	b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		panic(err)
	}
	return b
}

// listener tries to add a filter that would hand system calls to another process.
func listener() string {
	var p program
	p.stmt(ret, allow)
	prog := unix.SockFprog{Len: 1, Filter: &p[0]}
	_, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(p)
	return try(e)
}

// makeCode tries every way to executable memory before and after the seal.
func makeCode(_ context.Context, _ []byte, _ []*os.File, emit func([]byte) error) error {
	var r codeReport
	attempt := func() (exec, both, mapped string) {
		exec = try(unix.Mprotect(page(), unix.PROT_READ|unix.PROT_EXEC))
		both = try(unix.Mprotect(page(), unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC))
		_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
		return exec, both, try(err)
	}
	code := page()
	copy(code, []byte{0xb8, 42, 0, 0, 0, 0xc3}) // mov eax, 42; ret
	r.Before.Exec, r.Before.Both, r.Before.Map = attempt()
	made := unix.Mprotect(code, unix.PROT_READ|unix.PROT_EXEC) == nil
	if err := SealCode(); err != nil {
		r.Seal = err.Error()
	}
	r.After.Exec, r.After.Both, r.After.Map = attempt()
	if made {
		entry := uintptr(unsafe.Pointer(&code[0]))
		closure := unsafe.Pointer(&entry)
		run := *(*func() int)(unsafe.Pointer(&closure))
		r.Answer = run()
		r.Listener = listener()
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			runtime.LockOSThread()
			e := try(unix.Mprotect(page(), unix.PROT_READ|unix.PROT_EXEC))
			mu.Lock()
			defer mu.Unlock()
			r.Threads = append(r.Threads, e)
		})
	}
	wg.Wait()
	if err := SealCode(); err != nil {
		r.Again = err.Error()
	}
	out, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return emit(out)
}

func init() {
	RegisterWith("codemaker", Registration{Code: true, Handler: makeCode})
	Register("no-codemaker", makeCode)
	RegisterWith("listener", Registration{Code: true, Handler: func(_ context.Context, _ []byte, _ []*os.File, emit func([]byte) error) error {
		return emit([]byte(listener()))
	}})
}

func codeReportOf(t *testing.T, p *Pool, handler string) codeReport {
	t.Helper()
	var raw []byte
	if err := p.Run(t.Context(), Job{Handler: handler}, readAll(&raw)); err != nil {
		t.Fatal(err)
	}
	var r codeReport
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestR04_NoCodeAfterTheSeal: a worker that may make code can do so until it is
// sealed, never in memory that is writable at the same time; then nothing
// becomes executable on any thread, and what was made still runs.
func TestR04_NoCodeAfterTheSeal(t *testing.T) {
	for _, tier := range Tiers() {
		p, err := NewPool(t.Context(), Config{Tier: tier})
		if err != nil {
			t.Fatal(err)
		}
		r := codeReportOf(t, p, "codemaker")
		if r.Before.Exec != "" {
			t.Errorf("%s: a code worker cannot make code: %s", tier, r.Before.Exec)
		}
		if r.Before.Both != "EACCES" || r.Before.Map != "EACCES" {
			t.Errorf("%s: before the seal write+execute answers %q, mapping executable %q", tier, r.Before.Both, r.Before.Map)
		}
		if r.Seal != "" {
			t.Errorf("%s: %s", tier, r.Seal)
		}
		if r.After.Exec != "EACCES" || r.After.Both != "EACCES" || r.After.Map != "EACCES" || r.Listener != "EPERM" {
			t.Errorf("%s: after the seal %+v, a listener %q", tier, r.After, r.Listener)
		}
		if r.Answer != 42 {
			t.Errorf("%s: code made before the seal answers %d", tier, r.Answer)
		}
		for _, e := range r.Threads {
			if e != "EACCES" {
				t.Errorf("%s: a thread can still make code: %q", tier, e)
			}
		}
		if r.Again == "" {
			t.Errorf("%s: a second seal was accepted", tier)
		}
		var got []byte
		if err := p.Run(t.Context(), Job{Handler: "listener"}, readAll(&got)); err != nil || string(got) != "EPERM" {
			t.Errorf("%s: a filter with a listener answers %q, %v", tier, got, err)
		}
		// Every other worker never can, and cannot ask for the seal either.
		r = codeReportOf(t, p, "no-codemaker")
		if r.Before.Exec != "EACCES" || r.Before.Both != "EACCES" || r.Before.Map != "EACCES" || r.Seal == "" {
			t.Errorf("%s: an ordinary worker: %+v, seal %q", tier, r.Before, r.Seal)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
