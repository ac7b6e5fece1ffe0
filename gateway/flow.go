package gateway

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
	"github.com/sandgate/sandgate/sandbox"
)

// run is a reserved job on its way through the queue and a worker.
type run struct {
	ticket *sandbox.Ticket
	ctx    context.Context // ends when the job is cancelled
	cancel context.CancelFunc
	seated atomic.Bool
	ended  chan struct{} // closed when the ledger holds the outcome, or none is to come
	once   sync.Once
	at     atomic.Int64 // Unix nanoseconds of the cancellation
}

func (r *run) end() { r.once.Do(func() { close(r.ended) }) }

// workersDown is a gateway whose workers cannot be started.
func workersDown() error {
	return refusal(policies.Reason{Code: "WORKERS_DOWN", Rule: "sandbox", SetBy: "sandgate",
		ZH: "作业进程暂时无法启动；本次不扣减预算", EN: "workers cannot be started at the moment; nothing is charged for this",
		HintZH: "请用同一 request_id 重试；若仍失败请联系网关管理员", HintEN: "retry with the same request_id; if it fails again, tell the gateway's administrator"})
}

func queueFull() error {
	return refusal(policies.Reason{Code: "BUSY", Rule: "queue", SetBy: "sandgate",
		ZH: "排队作业已满；本次不扣减预算", EN: "as many jobs wait as may; nothing is charged for this",
		HintZH: "待您或他人的作业结束后，用同一 request_id 重试", HintEN: "retry with the same request_id when jobs of yours or of others have ended"})
}

// admit sets room in the queue aside before a job is charged, so that no job is
// paid for and then turned away.
func (d *Domain) admit(ctx context.Context, operator string, p *prepared) error {
	if p.ticket != nil {
		return nil
	}
	if err := d.pool.Restart(ctx); err != nil {
		d.opt.Logger.Error("workers cannot be started")
		return workersDown()
	}
	var err error
	p.ticket, err = d.pool.Admit(engine.ExecuteHandler, operator)
	switch {
	case errors.Is(err, sandbox.ErrBusy):
		return queueFull()
	case errors.Is(err, sandbox.ErrSpawner):
		return workersDown()
	}
	return err
}

// settle gives back what a job that is not started holds.
func (p *prepared) settle() {
	if p.started {
		return
	}
	p.lease.Release()
	if p.ticket != nil {
		p.ticket.Close()
	}
}

func (d *Domain) runOf(job string) *run {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.running[job]
}

func (d *Domain) isRunning(job string) bool { return d.runOf(job) != nil }

// queued says whether a job waits for a worker, and at which place.
func (d *Domain) queued(job string) (place int, ok bool) {
	r := d.runOf(job)
	if r == nil || r.seated.Load() {
		return 0, false
	}
	return r.ticket.Position(), true
}

// start runs a reserved job in the background, once.
func (d *Domain) start(job string, p *prepared) {
	d.mu.Lock()
	if _, ok := d.running[job]; ok {
		d.mu.Unlock()
		return
	}
	r := &run{ticket: p.ticket, ended: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	d.running[job] = r
	p.started = true
	d.mu.Unlock()
	// Between reservation and here an order may have ended the job.
	d.kill([]string{job})
	d.jobs.Go(func() {
		defer func() {
			d.mu.Lock()
			delete(d.running, job)
			d.mu.Unlock()
			r.end()
			r.cancel()
			r.ticket.Close()
			p.lease.Release()
		}()
		if err := d.execute(job, p, r); err != nil {
			d.opt.Logger.Warn("execution gave no release", "job", job)
		}
	})
}

// execute is the one way from data to a release. A crash at any line leaves the
// reservation debited and no release; the operator's retry comes back here. The
// outcome is committed, and the seat given up, on a tick counted from the start;
// a gateway that is being stopped commits at once what is ready.
func (d *Domain) execute(job string, p *prepared, r *run) error {
	// A stop does not wait for queued jobs: they keep their reservation, and a
	// retry of the request runs them.
	waiting, stop := context.WithCancel(r.ctx)
	defer stop()
	defer context.AfterFunc(d.ctx, stop)()
	if err := r.ticket.Wait(waiting, nil); err != nil {
		return err
	}
	r.seated.Store(true)
	start := time.Now()
	// A retry may have come back here first and finished the job.
	var j state.Job
	d.log.View(func() { j, _ = d.state.Job(job) })
	if j.Phase != state.PhaseReserved {
		return nil
	}
	// Not d.ctx: a stop waits for running jobs, so that their price is not lost.
	ctx, cancel := context.WithTimeout(sandbox.WithTicket(r.ctx, r.ticket), d.opt.Wall)
	defer cancel()
	rel, err := d.attempt(ctx, p)
	name := ""
	if err == nil {
		name, err = d.keep(job, p, rel)
	}
	grid := ticks(d.opt.Tick)
	until := grid.after(time.Since(start))
	if err != nil {
		until = grid.failure(time.Since(start), d.opt.Wall)
	}
	pause(start.Add(until), r.ctx, d.ctx)
	switch {
	case r.ctx.Err() != nil:
		// Cancel has the word: the outcome is dropped, known or not.
		until = max(grid.cancelled(time.Unix(0, r.at.Load()).Sub(start)), grid.after(time.Since(start)))
		pause(start.Add(until), d.ctx, d.ctx)
		return errors.Join(errors.New("cancelled"), d.discard(job, name))
	case err != nil:
		// Whatever went wrong after data was read is one constant code: the
		// difference between a time-out and a crash may depend on a person.
		return errors.Join(err, d.discard(job, name), d.fail(job, "EXECUTION_FAILED", ""))
	}
	return d.commit(job, name, rel)
}

// attempt computes; a spawner that died before it started a worker read nothing,
// so the job may try again.
func (d *Domain) attempt(ctx context.Context, p *prepared) (rel *release.Release, err error) {
	for range 3 {
		if rel, err = d.compute(ctx, p); !errors.Is(err, sandbox.ErrSpawner) {
			break
		}
	}
	if err == nil {
		err = ctx.Err()
	}
	return rel, err
}

// commit makes a stored release the job's outcome, or ends the job without one.
func (d *Domain) commit(job, name string, rel *release.Release) error {
	var lapsed, gone bool
	cells := d.keptCells(job)
	// The job ends in the ledger one way or the other: no deadline here.
	_, err := d.append(context.Background(), func(e *entry.Entry) error {
		j, _ := d.state.Job(job)
		gone = j.Phase != state.PhaseReserved
		if gone {
			return errEnded
		}
		if e.Failed = d.state.Stopped(d.state.Book(), job, e.Time()); e.Failed != nil {
			lapsed, e.Kind, e.Actor = true, entry.KindFailed, "gateway"
			return nil
		}
		e.Kind, e.Actor = entry.KindReleased, "gateway"
		e.Released = &entry.Released{Job: job, Digest: name, Cells: cells, Rows: int64(rel.Len()), Bytes: int64(len(rel.Encode()))}
		return nil
	})
	switch {
	case lapsed:
		return errors.Join(errors.New("stopped"), err, d.discard(job, name))
	case gone:
		return errors.Join(err, d.discard(job, name))
	}
	return err
}

// errEnded says that a job has its outcome already.
var errEnded = errors.New("the job has ended")

// fail ends a reserved job without a release.
func (d *Domain) fail(job, code, by string) error { return d.failSigned(job, code, by, nil) }

// failSigned is fail under the signature of whoever ended the job.
func (d *Domain) failSigned(job, code, by string, signed *request.Signed) error {
	_, err := d.append(context.Background(), func(e *entry.Entry) error {
		if j, _ := d.state.Job(job); j.Phase != state.PhaseReserved {
			return errEnded
		}
		e.Kind, e.Actor, e.Failed, e.Signed = entry.KindFailed, "gateway", &entry.Failed{Job: job, Code: code, By: by}, signed
		return nil
	})
	return err
}

// Cancel ends a reserved job, queued or running, for its operator or the
// regulator: its worker is gone within 100 ms. The price stays debited, for a job
// that only waited too: whether data was read is not for anybody to find out.
//
// What comes of it depends on the caller's act and on the tick alone. Until the
// tick at which the outcome would be seen, a cancelled job is cancelled, whether
// its execution had succeeded, failed or was under way; the answer does not wait
// for the worker, and the seat is free on the same tick either way. So there is
// no instant at which a cancellation finds out whether an execution has ended.
// Cancelling again changes nothing; a job with another outcome is NOT_CANCELLABLE.
func (d *Domain) Cancel(ctx context.Context, party, job string) error {
	var j state.Job
	var err error
	d.log.View(func() { j, err = d.job(party, job) })
	if err != nil {
		return err
	}
	if err := d.Authorize(party, policies.ActCancelJob, policies.Resource{Operator: j.Operator}); err != nil {
		return err
	}
	if err := d.signedAct(ctx, party, state.ActCancel(job)); err != nil {
		return err
	}
	r := d.runOf(job)
	if r != nil && j.Phase == state.PhaseReserved {
		r.at.CompareAndSwap(0, time.Now().UnixNano())
		r.cancel()
	}
	// A caller that goes away has still cancelled.
	err = d.failSigned(job, state.Cancelled, party, signedOf(ctx))
	if errors.Is(err, errEnded) {
		d.log.View(func() { j, _ = d.state.Job(job) })
		if j.FailCode == "CANCELLED" {
			return nil
		}
		return invalid("NOT_CANCELLABLE", "作业已有结果，不能取消", "the job has its outcome already and cannot be cancelled")
	}
	if err == nil && r != nil {
		r.end()
	}
	return err
}

// Wait returns when a job's outcome is in the ledger, or with ctx.
func (d *Domain) Wait(ctx context.Context, job string) error {
	r := d.runOf(job)
	if r == nil {
		return nil
	}
	select {
	case <-r.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
