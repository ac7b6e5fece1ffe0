package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

var errPoolClosed = errors.New("sandbox pool is closed")

// Config of a pool.
type Config struct {
	// Executable is the worker binary; empty means this very program. Its main
	// (or TestMain) must call Main first.
	Executable string
	// Warm is how many ready workers to keep per handler.
	Warm map[string]int
	// Tier is TierFull when empty.
	Tier Tier
	// Limits are the defaults of jobs; its Memory is also the ceiling that
	// warm workers are started with. A job that asks for more starts cold.
	Limits Limits
	// Jobs is how many jobs run at once; 0 means 64.
	Jobs int
	// PerOwner is how many of them may be one owner's; 0 means all.
	PerOwner int
	// Queue is how many more may wait, first come, first served; 0 means 1024.
	Queue int
	// QueuePerOwner is how many of the waiting may be one owner's; 0 means all.
	QueuePerOwner int
	// Beside names handlers that have seats of their own, and how many: they
	// neither take from Jobs nor wait for them.
	Beside map[string]int
}

// Pool starts, verifies, feeds and ends workers. It is safe for concurrent use
// and bounds how many jobs run at once.
type Pool struct {
	executable string
	tier       Tier
	set        layer
	libs       []string
	limits     Limits
	groups     *groups // nil: no control groups
	spawner    *spawner
	warm       map[string]chan *process
	layers     []string
	queue      *queue
	beside     map[string]*queue

	mu     sync.Mutex
	closed bool
	live   map[*process]struct{}
	wg     sync.WaitGroup
}

// NewPool starts a pool and proves its configuration: a canary worker started
// exactly like every later one tries to break out, and anything that gets
// through is a refusal naming the probe and the layer. Call it before any key is
// read: it starts the spawner, and then closes this process to tracing and core
// dumps for good.
func NewPool(ctx context.Context, cfg Config) (*Pool, error) {
	own, noGroups := enteredGroups() // before the spawner, which comes along
	p, err := newPool(cfg)
	if err != nil {
		return nil, err
	}
	p.groups = own
	if cfg.Tier == tierNone {
		_ = p.Close()
		return nil, errors.New("failed to start sandbox: tier none does not exist")
	}
	if err := p.selfTest(ctx); err != nil {
		_ = p.Close()
		return nil, err
	}
	p.describe(noGroups)
	for handler, n := range cfg.Warm {
		if _, ok := lookup(handler); !ok {
			_ = p.Close()
			return nil, fmt.Errorf("failed to start sandbox: no handler %q is registered", handler)
		}
		p.warm[handler] = make(chan *process, n)
		for range n {
			proc, err := p.launch(ctx, handler, p.limits.Memory, false, false)
			if err != nil {
				_ = p.Close()
				return nil, err
			}
			p.warm[handler] <- proc
		}
	}
	if err := harden(); err != nil {
		_ = p.Close()
		return nil, fmt.Errorf("failed to close this process to tracing: %w", err)
	}
	return p, nil
}

func newPool(cfg Config) (*Pool, error) {
	tier := cfg.Tier
	if tier == "" {
		tier = TierFull
	}
	set, ok := tier.layers()
	if !ok {
		return nil, fmt.Errorf("failed to start sandbox: unknown tier %q; use full or container · 未知隔离等级 %q，可用 full 或 container", tier, tier)
	}
	if !seccompSupported && tier != tierNone {
		return nil, errors.New("failed to start sandbox: seccomp has a reviewed system call table on amd64 only")
	}
	exe := cfg.Executable
	if exe == "" {
		exe = "/proc/self/exe"
	}
	libs, err := sharedLibraries(exe)
	if err != nil {
		return nil, fmt.Errorf("failed to read worker executable: %w", err)
	}
	spawner, err := newSpawner(exe)
	if err != nil {
		return nil, err
	}
	beside := map[string]*queue{}
	for handler, n := range cfg.Beside {
		beside[handler] = newQueue(Config{Jobs: n})
	}
	return &Pool{
		executable: exe, tier: tier, set: set, libs: libs, limits: cfg.Limits.withDefaults(defaultLimits),
		spawner: spawner, queue: newQueue(cfg), beside: beside, warm: map[string]chan *process{}, live: map[*process]struct{}{},
	}, nil
}

// Layers names what isolates this pool's workers, proved at start.
func (p *Pool) Layers() []string { return append([]string(nil), p.layers...) }

// Tier returns the tier the pool runs in.
func (p *Pool) Tier() Tier { return p.tier }

// launch starts a worker and keeps it on the list that Close ends.
func (p *Pool) launch(ctx context.Context, handler string, memory int64, session, errno bool) (*process, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errPoolClosed
	}
	p.wg.Add(1)
	p.mu.Unlock()
	defer p.wg.Done()
	proc, err := p.start(ctx, handler, memory, session, errno)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		go proc.kill()
		return nil, errPoolClosed
	}
	p.live[proc] = struct{}{}
	return proc, nil
}

func (p *Pool) retire(proc *process) {
	proc.kill()
	p.mu.Lock()
	delete(p.live, proc)
	p.mu.Unlock()
}

// spawned returns the spawner in use.
func (p *Pool) spawned() *spawner {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spawner
}

// Restart replaces a spawner that is gone and repeats the self-test before any
// job runs. It does nothing while the spawner lives.
func (p *Pool) Restart(ctx context.Context) error {
	if p.spawned().alive() {
		return nil
	}
	canary, err := newPool(Config{Executable: p.executable, Tier: p.tier, Limits: p.limits})
	if err != nil {
		return err
	}
	canary.set, canary.groups = p.set, p.groups
	if err := canary.selfTest(ctx); err != nil {
		_ = canary.Close()
		return err
	}
	p.mu.Lock()
	if p.closed || p.spawner.alive() {
		p.mu.Unlock()
		return canary.Close()
	}
	old := p.spawner
	p.spawner = canary.spawner
	p.mu.Unlock()
	old.stop()
	return nil
}

// take returns a warm worker when one fits, else a fresh one.
func (p *Pool) take(ctx context.Context, handler string, memory int64) (*process, error) {
	// Workers that have outlived their spawner are about to die.
	if !p.spawned().alive() {
		return nil, ErrSpawner
	}
	ready, ok := p.warm[handler]
	if ok && memory <= p.limits.Memory {
		for {
			select {
			case proc := <-ready:
				p.refill(handler, ready)
				if proc.alive() {
					return proc, nil
				}
				p.retire(proc)
				continue
			default:
			}
			break
		}
	}
	return p.launch(ctx, handler, max(memory, p.limits.Memory), false, false)
}

// refill replaces a warm worker in the background.
func (p *Pool) refill(handler string, ready chan *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.wg.Go(func() {
		proc, err := p.launch(context.Background(), handler, p.limits.Memory, false, false)
		if err != nil {
			return // the next Run starts its own and reports the reason
		}
		select {
		case ready <- proc:
		default:
			p.retire(proc)
		}
	})
}

// Admit sets room aside for one job of an owner before anything is paid for it.
// The error is ErrBusy, ErrSpawner, or that the pool is closed.
func (p *Pool) Admit(handler, owner string) (*Ticket, error) {
	if !p.spawned().alive() {
		return nil, ErrSpawner
	}
	return p.queueOf(handler).admit(owner)
}

func (p *Pool) queueOf(handler string) *queue {
	if q, ok := p.beside[handler]; ok {
		return q
	}
	return p.queue
}

// Run waits for a place, its own or that of WithTicket, then gives job to a fresh
// worker and calls recv for each frame it emits. The error is *ErrKilled when the
// worker did not finish, recv's own error when recv refused a frame, ErrBusy,
// ErrSpawner, or a start-up error. The worker is gone when Run returns.
func (p *Pool) Run(ctx context.Context, job Job, recv func(frame []byte) error) error {
	limits := job.Limits.withDefaults(p.limits)
	if err := ctx.Err(); err != nil {
		return &ErrKilled{CauseCancelled}
	}
	ticket, held := ctx.Value(ticketKey{}).(*Ticket)
	if !held {
		var err error
		if ticket, err = p.queueOf(job.Handler).admit(job.Owner); err != nil {
			return err
		}
		defer ticket.Close()
	}
	if err := ticket.Wait(ctx, job.Queued); err != nil {
		return err
	}
	proc, err := p.take(ctx, job.Handler, limits.Memory)
	if err != nil {
		return err
	}
	defer p.retire(proc)
	return p.converse(ctx, proc, job.Payload, job.Files, limits, recv)
}

// converse sends one job and reads its frames under the wall clock and the limit of
// processor time.
func (p *Pool) converse(ctx context.Context, proc *process, payload []byte, files []*os.File, limits Limits, recv func([]byte) error) error {
	var cause Cause
	var once sync.Once
	stop := func(c Cause) {
		once.Do(func() { cause = c; proc.signal() })
	}
	late, wall := CauseTimeout, limits.Wall
	if limits.CPU > 0 {
		if before, ok := processorTime(proc.pid); ok {
			late = CauseStarved
			spent := make(chan struct{})
			defer close(spent)
			go spend(proc.pid, before+limits.CPU, spent, stop)
		} else {
			wall = min(wall, limits.CPU)
		}
	}
	timer := time.AfterFunc(wall, func() { stop(late) })
	defer timer.Stop()
	unwatch := context.AfterFunc(ctx, func() { stop(CauseCancelled) })
	defer unwatch()
	if p.set.has(layerLimits) {
		watched := make(chan struct{})
		defer close(watched)
		go watch(proc.pid, limits.Memory, watched, stop)
	}
	// settle fixes the cause; whoever came first names it.
	settle := func(c Cause) error {
		once.Do(func() { cause = c })
		return &ErrKilled{cause}
	}
	if err := proc.send(payload, files, limits); err != nil {
		if proc.alive() {
			return err
		}
		return settle(p.deathCause(proc))
	}
	var total int64
	for {
		frame, err := ReadFrame(proc.result, int(min(limits.Result+2, MaxFrame)))
		switch {
		case errors.Is(err, ErrFrame):
			stop(CauseResultCap)
			return settle(CauseResultCap)
		case err != nil:
			return settle(p.deathCause(proc))
		case len(frame) == 0:
			stop(CauseProtocol)
			return settle(CauseProtocol)
		}
		switch frame[0] {
		case kindData:
			total += int64(len(frame) - 1)
			if total > limits.Result {
				stop(CauseResultCap)
				return settle(CauseResultCap)
			}
			if err := recv(frame[1:]); err != nil {
				return err
			}
		case kindEnd:
			if len(frame) != 1 {
				return settle(CauseProtocol)
			}
			return nil
		case kindFailed:
			return settle(CauseFailed)
		case kindMemory:
			return settle(CauseMemory)
		default:
			stop(CauseProtocol)
			return settle(CauseProtocol)
		}
	}
}

// deathCause tells a memory death from any other by the fixed words with which
// the Go and C++ runtimes announce it.
func (p *Pool) deathCause(proc *process) Cause {
	select {
	case <-proc.exited:
	case <-time.After(2 * time.Second):
		return CauseCrashed
	}
	if memoryKilled(proc.group) {
		return CauseMemory
	}
	text := proc.errText.String()
	for _, mark := range []string{"out of memory", "cannot allocate memory", "std::bad_alloc", "errno=12"} {
		if strings.Contains(text, mark) {
			return CauseMemory
		}
	}
	return CauseCrashed
}

// Close ends every worker and waits for them.
func (p *Pool) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	live := make([]*process, 0, len(p.live))
	for proc := range p.live {
		live = append(live, proc)
	}
	p.mu.Unlock()
	p.queue.close()
	for _, q := range p.beside {
		q.close()
	}
	for _, proc := range live {
		proc.kill()
	}
	p.wg.Wait()
	p.spawned().stop()
	return nil
}

// readAll gathers a session's frames.
func readAll(dst *[]byte) func([]byte) error {
	return func(frame []byte) error {
		*dst = append(*dst, frame...)
		return nil
	}
}
