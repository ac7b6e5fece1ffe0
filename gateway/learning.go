package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/sandbox"
)

// What models and synthetic twins have in common: a worker that holds the rows and
// answers passes, noise drawn here, and an execution that a restart goes on with.

// holdWorker takes a place in the queue and memory for the snapshots.
func (d *Domain) holdWorker(ctx context.Context, owner string, snapshots ...string) (*sandbox.Ticket, *engine.Lease, error) {
	if err := d.pool.Restart(ctx); err != nil {
		d.opt.Logger.Error("workers cannot be started")
		return nil, nil, workersDown()
	}
	ticket, err := d.pool.Admit(engine.ModelHandler, owner)
	switch {
	case errors.Is(err, sandbox.ErrBusy):
		return nil, nil, queueFull()
	case errors.Is(err, sandbox.ErrSpawner):
		return nil, nil, workersDown()
	case err != nil:
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, d.opt.Wall)
	defer cancel()
	lease, err := d.store.Lease(ctx, snapshots)
	if err != nil {
		ticket.Close() // its place in the queue would be held until a restart
		return nil, nil, leaseRefused(err)
	}
	return ticket, lease, nil
}

// background runs what was reserved, once: false when it runs already. id is what its
// progress stands under.
func (d *Domain) background(key, id string, ticket *sandbox.Ticket, work func(*run)) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.running[key]; ok {
		return false
	}
	r := &run{ticket: ticket, ended: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	d.running[key] = r
	d.jobs.Go(func() {
		defer func() {
			d.mu.Lock()
			delete(d.running, key)
			delete(d.progress, id)
			d.mu.Unlock()
			r.cancel()
			r.end()
		}()
		work(r)
	})
	return true
}

// learning is one execution: what to compute, and how the ledger is told.
type learning struct {
	open    func() bool                       // its reservation
	compute func(context.Context) error       // keeps what it paid for as it comes
	tick    func(time.Duration) time.Duration // when its outcome may be seen
	drop    func() error                      // what is kept of it
	fail    func(code string) error
	commit  func() error
}

// learn is the one way from rows to what is learned of them. What it has paid for
// once is kept encrypted as it comes: a crash at any line leaves the reservation
// charged, nothing released, and the next start goes on from what is kept. The outcome
// is committed on a tick counted from the start.
func (d *Domain) learn(r *run, l learning) error {
	waiting, stop := context.WithCancel(r.ctx)
	defer stop()
	defer context.AfterFunc(d.ctx, stop)()
	if err := r.ticket.Wait(waiting, nil); err != nil {
		return err
	}
	r.seated.Store(true)
	start := time.Now()
	open := false
	d.log.View(func() { open = l.open() })
	if !open {
		return nil
	}
	// A stop of the gateway ends a training at once: it is gone on with at the next
	// start, and nothing it paid for is lost.
	ctx, cancel := context.WithTimeout(sandbox.WithTicket(waiting, r.ticket), modelWall)
	defer cancel()
	err := l.compute(ctx)
	if d.ctx.Err() != nil && r.ctx.Err() == nil {
		return errors.Join(errors.New("the gateway stops"), err)
	}
	pause(start.Add(l.tick(time.Since(start))), r.ctx, d.ctx)
	if r.ctx.Err() != nil {
		// An order or who asked has ended it; what is kept of it goes too.
		return errors.Join(errors.New("ended"), l.drop())
	}
	if err != nil {
		code := "EXECUTION_FAILED"
		var refused *engine.ModelRefused
		if errors.As(err, &refused) {
			code = string(refused.Code)
		}
		return errors.Join(err, l.fail(code))
	}
	return l.commit()
}

// onWorker has a worker read its rows and be asked about them. A spawner that died is
// replaced, and what was kept is not computed again.
func (d *Domain) onWorker(ctx context.Context, lease *engine.Lease, job engine.ModelJob, limits sandbox.Limits, tell func(engine.ModelProgress), use func(context.Context, *engine.ModelRun) error) error {
	files, _, err := lease.Open()
	if err != nil {
		return err
	}
	for range 3 {
		if err = d.pool.Restart(ctx); err != nil {
			return fmt.Errorf("failed to replace the worker spawner: %w", err)
		}
		if err = d.runner.ModelOver(ctx, job, files, limits, tell, use); !errors.Is(err, sandbox.ErrSpawner) {
			break
		}
	}
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// teller keeps what is told of the progress of an execution.
func (d *Domain) teller(id string) func(engine.ModelProgress) {
	return func(p engine.ModelProgress) {
		d.mu.Lock()
		d.progress[id] = p
		d.mu.Unlock()
	}
}

// answer gives a pass its noise, durably before anybody sees it; one that is kept is
// given again.
func (a *answers) answer(at int, pass any, norm int64, rho budget.Nano, exact func() ([]int64, error)) ([]int64, error) {
	text, err := json.Marshal(pass)
	if err != nil {
		return nil, fmt.Errorf("failed to encode pass: %w", err)
	}
	digest := sha256.Sum256(text)
	if sums, ok, err := a.at(at, digest); ok || err != nil {
		return sums, err
	}
	if at != len(a.all) {
		return nil, errors.New("failed to answer a pass: those before it are not all answered")
	}
	sums, err := exact()
	if err != nil {
		return nil, err
	}
	noised, err := release.Sums(sums, norm, rho, release.NewSource())
	if err != nil {
		return nil, err
	}
	return noised, a.add(digest, noised)
}
