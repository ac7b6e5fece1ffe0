package sandbox

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// Limits of one job. Zero fields take the pool's defaults.
type Limits struct {
	Wall    time.Duration // wall clock from job sent to worker done
	CPU     time.Duration // processor time of the job; 0: the wall clock alone counts
	Memory  int64         // bytes of private memory beyond the worker's own 300 MiB
	Result  int64         // bytes in all frames together
	Threads int           // engine threads
}

// withDefaults fills zero fields from d.
func (l Limits) withDefaults(d Limits) Limits {
	if l.Wall <= 0 {
		l.Wall = d.Wall
	}
	if l.CPU <= 0 {
		l.CPU = d.CPU
	}
	if l.Memory <= 0 {
		l.Memory = d.Memory
	}
	if l.Result <= 0 {
		l.Result = d.Result
	}
	if l.Threads <= 0 {
		l.Threads = d.Threads
	}
	return l
}

// defaultLimits bound a job that names none.
var defaultLimits = Limits{Wall: 30 * time.Second, Memory: 1 << 30, Result: 64 << 20, Threads: 1}

// maxFiles is the most descriptors one job may carry (the kernel stops at 253).
const maxFiles = 32

// Job is one unit of work for a fresh worker.
type Job struct {
	Handler string
	Payload []byte // at most MaxFrame bytes
	// Files are duplicated into the worker as they are opened, read-only ones
	// staying read-only; the caller keeps and closes its own.
	Files []*os.File
	Limits
	// Owner is who the job counts for under Config.PerOwner; empty counts for
	// nobody.
	Owner string
	// Queued is told the job's place in the queue, 1 being next, when it has to
	// wait and whenever that changes. It is called from Run's own goroutine.
	Queued func(position int)
}

// Cause says why a worker did not finish its job. It is all a caller may learn.
type Cause string

// Causes of ErrKilled.
const (
	CauseTimeout   Cause = "TIMEOUT"    // processor time, or the wall clock of a job without such a limit
	CauseStarved   Cause = "STARVED"    // the wall clock, before the processor time the job was given
	CauseMemory    Cause = "MEMORY"     // memory limit
	CauseResultCap Cause = "RESULT_CAP" // more result bytes than allowed
	CauseCrashed   Cause = "CRASHED"    // the process died
	CauseProtocol  Cause = "PROTOCOL"   // the worker broke the frame protocol
	CauseFailed    Cause = "FAILED"     // the handler gave up on its own account
	CauseCancelled Cause = "CANCELLED"  // the caller's context ended
)

// ErrKilled is the one error of a job that did not finish. Its text is constant
// per cause.
type ErrKilled struct{ Cause Cause }

func (e *ErrKilled) Error() string { return "worker did not finish: " + string(e.Cause) }

// ErrLost is a worker that ended, or was ended by somebody, before it was ready: it
// was given nothing, so whatever needed it may be tried again.
var ErrLost = errors.New("it died before it was ready")

// ErrMemory, returned (or wrapped) by a handler, is reported as CauseMemory.
var ErrMemory = errors.New("handler ran out of memory")

// errResultCap is what emit returns once the result cap is reached.
var errResultCap = errors.New("result cap reached")

// LimitsFrom returns the limits of the job a handler is running.
func LimitsFrom(ctx context.Context) Limits {
	l, _ := ctx.Value(limitsKey{}).(Limits)
	return l.withDefaults(defaultLimits)
}

type limitsKey struct{}

// Handler does one job inside a worker. Its error's text never leaves the
// worker: the caller sees CauseFailed, or CauseMemory for ErrMemory. Facts a
// caller may see are emitted as frames. emit may not be called concurrently.
type Handler func(ctx context.Context, payload []byte, files []*os.File, emit func(frame []byte) error) error

// Registration is a handler with what its worker needs beside.
type Registration struct {
	Handler Handler
	// Warm runs before the seccomp filter closes and before any job is known,
	// so it may still use every system call the jail allows.
	Warm func() error
	// Early starts the worker while the program is still being initialised, as
	// soon as the handler is registered: what packages that come later prepare
	// costs it neither time nor memory. Only for a handler that needs nothing but
	// its own package and what that imports.
	Early bool
	// Writes lets the worker write to descriptors it was handed and lifts the
	// file size limit. It still cannot create or name a file.
	Writes bool
	// Code lets the worker turn memory it has written into code until the
	// handler calls SealCode, which it must do before it runs any of that code.
	// Every other worker never may.
	Code bool
}

var registry = struct {
	sync.Mutex
	m map[string]Registration
}{m: map[string]Registration{}}

// Register makes h available to workers of this executable under name. It is
// called from init; registering a name twice panics.
func Register(name string, h Handler) { RegisterWith(name, Registration{Handler: h}) }

// RegisterWith is Register with warm-up, write access or code making.
func RegisterWith(name string, r Registration) {
	register(name, r)
	if r.Early {
		startEarly(name)
	}
}

func register(name string, r Registration) {
	registry.Lock()
	defer registry.Unlock()
	if _, dup := registry.m[name]; dup || r.Handler == nil || name == "" {
		panic("sandbox: handler " + name + " is empty or registered twice")
	}
	registry.m[name] = r
}

func lookup(name string) (Registration, bool) {
	registry.Lock()
	defer registry.Unlock()
	r, ok := registry.m[name]
	return r, ok
}
