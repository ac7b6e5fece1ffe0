package gateway

import (
	"context"
	"fmt"
	"time"

	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// watchInterval is how often open jobs are held against the clock: a licence that
// runs out stops them so much later at most, and the time to kill a worker.
const watchInterval = 200 * time.Millisecond

// enforce puts a bundle in force and ends, in the same append, every open job that
// it no longer lets run. Bundle and failures are in the ledger next to each other
// or not at all, so there is no instant at which such a job could be released, and
// none at which a resumption could come in between. Their workers are killed next.
// A job whose release stands before the bundle keeps it.
func (d *Domain) enforce(ctx context.Context, actor string, p *entry.Policy) (ledger.Receipt, error) {
	receipts, err := d.endJobs(ctx, func(e *entry.Entry) (*policies.Book, error) {
		next, err := d.state.CheckPolicy(p, actor, e.Time())
		if err != nil {
			return nil, policyRefused(err)
		}
		e.Kind, e.Actor, e.Policy = entry.KindPolicy, actor, p
		return next, nil
	})
	if err != nil {
		return ledger.Receipt{}, err
	}
	return receipts[0], nil
}

// endJobs appends the entry that first fills in, unless it leaves it without a
// kind, and a failure for every open job that the book it returns stops. first runs
// in the sequencer.
func (d *Domain) endJobs(ctx context.Context, first func(*entry.Entry) (*policies.Book, error)) ([]ledger.Receipt, error) {
	var ended, models, twins, related []string
	receipts, err := d.log.Do(ctx, func() ([][]byte, error) {
		head := entry.Entry{V: entry.Version, Seq: d.state.Size(), At: d.instant().UnixMilli()}
		book, err := first(&head)
		if err != nil {
			return nil, err
		}
		var list []*entry.Entry
		if head.Kind != "" {
			list = append(list, &head)
		}
		ended, models, twins, related = nil, nil, nil, nil
		for _, job := range d.state.Open() {
			// What does not fit is ended by the watch, and released by nobody.
			if f := d.state.Stopped(book, job, head.Time()); f != nil && len(list) < ledger.MaxEntriesPerCommand {
				list = append(list, &entry.Entry{V: entry.Version, Seq: head.Seq + uint64(len(list)), At: head.At, Kind: entry.KindFailed, Actor: "gateway", Failed: f})
				ended = append(ended, job)
			}
		}
		for _, id := range d.state.OpenModels() {
			if f := d.state.StoppedModel(book, id, head.Time()); f != nil && len(list) < ledger.MaxEntriesPerCommand {
				list = append(list, &entry.Entry{V: entry.Version, Seq: head.Seq + uint64(len(list)), At: head.At, Kind: entry.KindModelFailed, Actor: "gateway", ModelFailed: f})
				models = append(models, id)
			}
		}
		for _, id := range d.state.OpenTwins() {
			if f := d.state.StoppedTwin(book, id, head.Time()); f != nil && len(list) < ledger.MaxEntriesPerCommand {
				list = append(list, &entry.Entry{V: entry.Version, Seq: head.Seq + uint64(len(list)), At: head.At, Kind: entry.KindTwinFailed, Actor: "gateway", TwinFailed: f})
				twins = append(twins, id)
			}
		}
		more, ids := d.stoppedRelations(book, &head)
		for i := range min(len(more), ledger.MaxEntriesPerCommand-len(list)) {
			more[i].Seq = head.Seq + uint64(len(list))
			list, related = append(list, more[i]), append(related, ids[i])
		}
		out := make([][]byte, len(list))
		for i, e := range list {
			if out[i], err = entry.Encode(e); err != nil {
				return nil, err
			}
		}
		return out, nil
	})
	// A caller that went away may have put the bundle in force all the same.
	d.kill(ended)
	d.killModels(models)
	d.killTwins(twins)
	d.killRelations(related)
	return receipts, err
}

// kill ends the executions, waiting or running, of jobs that the ledger holds as
// failed.
func (d *Domain) kill(jobs []string) {
	for _, job := range jobs {
		var j state.Job
		d.log.View(func() { j, _ = d.state.Job(job) })
		r := d.runOf(job)
		if r == nil || j.Phase != state.PhaseFailed {
			continue
		}
		r.at.CompareAndSwap(0, time.Now().UnixNano())
		r.cancel()
		r.end()
		d.opt.Logger.Info("job stopped", "job", job, "code", j.FailCode, "rule", j.FailRule)
	}
}

// watch ends the jobs of licences that run out while they run or wait, and at the
// start those that a crash orphaned and that may run no longer.
func (d *Domain) watch() {
	t := time.NewTicker(watchInterval)
	defer t.Stop()
	var standing rounds
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-t.C:
			if standing.due(d.log.Size(), d.opt.Now(), d.opt.Heartbeat) {
				if err := d.carryOut(d.ctx); err != nil && d.ctx.Err() == nil {
					d.opt.Logger.Error("a standing order could not be carried out")
				}
			}
			if err := d.expire(d.ctx); err != nil && d.ctx.Err() == nil {
				d.opt.Logger.Error("jobs that may run no longer could not be ended")
			}
		}
	}
}

func (d *Domain) expire(ctx context.Context) error {
	due := false
	d.log.View(func() {
		at := d.instant()
		for _, job := range d.state.Open() {
			due = due || d.state.Stopped(d.state.Book(), job, at) != nil
		}
		for _, id := range d.state.OpenModels() {
			due = due || d.state.StoppedModel(d.state.Book(), id, at) != nil
		}
		for _, id := range d.state.OpenTwins() {
			due = due || d.state.StoppedTwin(d.state.Book(), id, at) != nil
		}
		for _, id := range d.state.OpenRelations() {
			due = due || d.state.StoppedRelations(d.state.Book(), id, at) != nil
		}
	})
	if !due {
		return nil
	}
	_, err := d.endJobs(ctx, func(*entry.Entry) (*policies.Book, error) { return d.state.Book(), nil })
	return err
}

// stopped is what a job that a rule in force stopped is told: which rule, and who
// can change it.
func stopped(j state.Job) policies.Reason {
	zh, en := "作业", "the job"
	if j.FailCode == state.LicenceEnded {
		zh, en = "授权在作业运行期间终止，作业", "the licence ended while the job ran; it"
	}
	if j.FailCode == "CONSENT_ENDED" {
		return policies.Reason{Code: j.FailCode, Rule: j.FailRule, SetBy: j.FailBy,
			ZH: "作业运行期间有数据主体的同意终止，结果未发布，预算不退还", EN: "while the job ran, a data subject's consent ended; nothing was released and its price stays debited",
			HintZH: "请用新的 request_id 重新提交，将按其时有效的同意执行", HintEN: "submit the job anew under another request_id; it runs over the consents then in force"}
	}
	return policies.Reason{Code: j.FailCode, Rule: j.FailRule, SetBy: j.FailBy,
		ZH: fmt.Sprintf("%s已依 %s 停止，结果未发布，预算不退还", zh, j.FailRule), EN: fmt.Sprintf("%s was stopped by %s; nothing was released and its price stays debited", en, j.FailRule),
		HintZH: "恢复后请用新的 request_id 重新提交", HintEN: "once it is lifted, submit the job anew under another request_id"}
}
