package wasm

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// Limits of one run. Zero fields take the defaults.
type Limits struct {
	Module  int           // bytes of a module; default 8 MiB, at most 15 MiB
	Memory  int64         // bytes of linear memory a module may declare; default 256 MiB, at most 4 GiB − 64 KiB
	Compile time.Duration // from start to signature; default 10 s
	Batch   time.Duration // one batch, both runs; default 10 s
	Wall    time.Duration // all of it; default 10 min
	Output  int64         // bytes of scores; default 1 GiB
}

const (
	mostMemory = 65535 * PageBytes
	// compileMemory is what a worker may use beside the module's memory: the
	// compiler, its code, two outputs.
	compileMemory = 256 << 20
)

func (l Limits) withDefaults() Limits {
	if l.Module <= 0 {
		l.Module = 8 << 20
	}
	if l.Memory <= 0 {
		l.Memory = 256 << 20
	}
	l.Memory = min(l.Memory, mostMemory)
	if l.Compile <= 0 {
		l.Compile = 10 * time.Second
	}
	if l.Batch <= 0 {
		l.Batch = 10 * time.Second
	}
	if l.Wall <= 0 {
		l.Wall = 10 * time.Minute
	}
	if l.Output <= 0 {
		l.Output = 1 << 30
	}
	return l
}

// Host runs modules in workers of a pool. It is safe for concurrent use.
type Host struct {
	Pool   *sandbox.Pool
	Limits Limits
	// Interpret uses an interpreter, tens of times slower, in workers that can
	// never make code: for machines where making code is forbidden.
	Interpret bool
	// Owner is who the jobs count for in the pool; empty counts for nobody.
	Owner string

	handler string // of a test's worker, instead of the real ones
}

// Source gives the next batch; io.EOF after the last. A batch should have at
// most Signature.BatchRows rows and BatchText bytes of text.
type Source func() (Batch, error)

// Stats of a run.
type Stats struct {
	Rows    int64
	Batches int64
	NaN     int64 // scores that are NaN, all in the canonical form
	Compile time.Duration
}

// Check is Check with the host's limits.
func (h *Host) Check(module []byte) (*Report, *policies.Reason) {
	l := h.Limits.withDefaults()
	return Check(module, l.Module, l.Memory)
}

// Describe checks a module, compiles it in a worker and asks it for its columns.
// The error is a *policies.Reason when the module is to blame.
func (h *Host) Describe(ctx context.Context, module []byte) (*Report, Signature, Stats, error) {
	report, refused := h.Check(module)
	if refused != nil {
		return nil, Signature{}, Stats{}, refused
	}
	r := run{host: h, limits: h.Limits.withDefaults(), describe: true}
	err := r.do(ctx, module)
	return report, r.sig, r.stats, err
}

// Score checks and compiles a module, calls open with its signature, scores the
// batches of the source that open returns and hands the scores to take in the
// batches' order. open, the source and take are called one at a time each, the
// source on a goroutine of its own; an error of theirs ends the run and is
// returned. The error is a *policies.Reason when the module is to blame; scores
// taken before an error must then be thrown away. The worker is gone when Score
// returns.
func (h *Host) Score(ctx context.Context, module []byte, open func(Signature) (Source, error), take func(Batch, []Column) error) (Stats, error) {
	if _, refused := h.Check(module); refused != nil {
		return Stats{}, refused
	}
	r := run{host: h, limits: h.Limits.withDefaults(), open: open, take: take}
	err := r.do(ctx, module)
	return r.stats, err
}

// run is one job as its host sees it.
type run struct {
	host     *Host
	limits   Limits
	describe bool
	open     func(Signature) (Source, error)
	take     func(Batch, []Column) error

	sig      Signature
	compiled bool
	begun    time.Time
	stats    Stats
	cancel   context.CancelCauseFunc
	feed     *os.File // where batches go in
	far      *os.File // the worker's end, as long as this process has it
	feeding  sync.WaitGroup

	mu      sync.Mutex
	pending []Batch // sent, not answered
	ended   bool    // the end mark was sent
	clock   *time.Timer
}

// errWorker says that a worker broke the protocol between host and worker.
var errWorker = errors.New("worker broke the protocol")

func (r *run) do(ctx context.Context, module []byte) error {
	ctx, r.cancel = context.WithCancelCause(ctx)
	defer r.cancel(nil)
	payload, err := encodePayload(jobHead{Memory: r.limits.Memory, Describe: r.describe}, module)
	if err != nil {
		return fmt.Errorf("failed to encode job: %w", err)
	}
	job := sandbox.Job{
		Handler: compileHandler, Payload: payload, Owner: r.host.Owner,
		Limits: sandbox.Limits{Wall: r.limits.Wall, Memory: r.limits.Memory + compileMemory, Result: r.limits.Output, Threads: 1},
	}
	if r.host.Interpret {
		job.Handler = interpretHandler
	}
	if r.host.handler != "" {
		job.Handler = r.host.handler
	}
	if !r.describe {
		if r.far, r.feed, err = os.Pipe(); err != nil {
			return fmt.Errorf("failed to open pipe: %w", err)
		}
		// A wider pipe lets the next batch arrive while one is scored; it is
		// only wished for.
		if conn, err := r.feed.SyscallConn(); err == nil {
			_ = conn.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 1<<20) })
		}
		job.Files = []*os.File{r.far}
	}
	err = r.host.Pool.Run(ctx, job, r.receive)
	r.disarm()
	if err == nil && !r.describe {
		r.mu.Lock()
		if len(r.pending) > 0 || !r.ended {
			err = errWorker
		}
		r.mu.Unlock()
	}
	if err == nil && !r.compiled {
		err = errWorker
	}
	err = r.explain(ctx, err)
	if r.feed != nil {
		r.cancel(err)
		_ = r.far.Close()
		_ = r.feed.Close()
		r.feeding.Wait()
	}
	return err
}

// explain turns the end of a worker into a reason.
func (r *run) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var killed *sandbox.ErrKilled
	switch {
	case errors.Is(err, errWorker):
		return refuse(CodeCrashed)
	case !errors.As(err, &killed):
		return err
	}
	switch killed.Cause {
	case sandbox.CauseTimeout:
		return refuse(CodeWall, r.limits.Wall)
	case sandbox.CauseMemory:
		return refuse(CodeOutOfMemory)
	case sandbox.CauseResultCap:
		return refuse(CodeOutput, r.limits.Output)
	}
	// The clock, the source and the caller end a run through its context; a
	// worker that dies of it must not be taken for the cause.
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return refuse(CodeCrashed)
}

// receive takes one frame of the worker. It trusts none.
func (r *run) receive(frame []byte) error {
	if len(frame) == 0 {
		return errWorker
	}
	body := frame[1:]
	switch {
	case frame[0] == tagBegun && r.begun.IsZero() && len(body) == 0:
		r.begun = time.Now()
		r.arm(r.limits.Compile, CodeCompileTime)
		return nil
	case frame[0] == tagCompiled && !r.compiled && !r.begun.IsZero():
		return r.start(body)
	case frame[0] == tagScores && r.compiled && !r.describe:
		return r.scores(body)
	case frame[0] == tagRefused:
		return refusalOf(body)
	}
	return errWorker
}

// start reads the signature and begins to feed batches.
func (r *run) start(body []byte) error {
	r.disarm()
	r.compiled = true
	r.stats.Compile = time.Since(r.begun)
	if err := json.Unmarshal(body, &r.sig); err != nil || !r.sig.check() {
		return errWorker
	}
	if r.describe {
		return nil
	}
	// With the worker's end closed here, its death ends a blocked write.
	_ = r.far.Close()
	source, err := r.open(r.sig)
	if err != nil {
		return err
	}
	r.feeding.Go(func() {
		if err := r.send(source); err != nil {
			r.cancel(err)
		}
	})
	return nil
}

// send feeds the batches of a source until its end.
func (r *run) send(source Source) error {
	for {
		batch, err := source()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		block, err := EncodeBlock(batch, r.sig)
		if errors.Is(err, errBatchSize) {
			return refuse(CodeBatch)
		}
		if err != nil {
			return err
		}
		r.mu.Lock()
		r.pending = append(r.pending, batch)
		if len(r.pending) == 1 {
			r.armLocked(r.limits.Batch, CodeBatchTime)
		}
		r.mu.Unlock()
		if err := sandbox.WriteFrame(r.feed, block); err != nil {
			return nil // the worker is gone, and Run says why
		}
	}
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	_ = sandbox.WriteFrame(r.feed, nil) // as above
	return nil
}

// scores takes the scores of the oldest batch that has none.
func (r *run) scores(body []byte) error {
	r.mu.Lock()
	if len(r.pending) == 0 || len(body) < 4 {
		r.mu.Unlock()
		return errWorker
	}
	batch := r.pending[0]
	r.pending = slices.Delete(r.pending, 0, 1)
	if r.clock != nil {
		r.clock.Stop()
	}
	r.mu.Unlock()
	nans := int64(binary.LittleEndian.Uint32(body))
	columns, err := DecodeScores(body[4:], batch.Rows, r.sig.Outputs)
	if err != nil || nans > int64(batch.Rows)*int64(len(r.sig.Outputs)) {
		return errWorker
	}
	r.stats.Rows += int64(batch.Rows)
	r.stats.Batches++
	r.stats.NaN += nans
	if err := r.take(batch, columns); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pending) > 0 {
		r.armLocked(r.limits.Batch, CodeBatchTime)
	}
	return nil
}

// arm starts the clock whose end kills the worker.
func (r *run) arm(d time.Duration, code string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.armLocked(d, code)
}

func (r *run) armLocked(d time.Duration, code string) {
	if r.clock != nil {
		r.clock.Stop()
	}
	r.clock = time.AfterFunc(d, func() { r.cancel(refuse(code, d)) })
}

func (r *run) disarm() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.clock != nil {
		r.clock.Stop()
	}
}

// refusalOf reads a worker's refusal: a code a worker may give, and numbers.
func refusalOf(body []byte) error {
	var f refusalFrame
	if err := json.Unmarshal(body, &f); err != nil {
		return errWorker
	}
	switch f.Code {
	case CodeTrap:
		if f.Trap < 0 || f.Trap >= len(trapNames) {
			return errWorker
		}
		return refuse(CodeTrap, trapNames[f.Trap])
	case CodeGuest:
		return refuse(CodeGuest, f.Guest)
	case CodeInvalid, CodeABI, CodeAlloc, CodeLength, CodeUnstable, CodeOutOfMemory:
		return refuse(f.Code)
	}
	return errWorker
}
