package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/fit"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// passing is the pass of a training that a round answers, at this domain.
type passing struct {
	of   *fit.Model
	step *fit.Step
	job  *engine.ModelJob // of a contributor, without its seed
	snap string           // that it reads
}

// Limits of what a release of a pass is in JSON: each of its sums.
const maxSumText = 21

// briefed reads the training of a brief.
func briefed(b *federate.Brief) (fit.Brief, error) {
	step, err := fit.DecodeBrief(b.Model.Step)
	if err != nil || step.Spec.Dataset != b.Dataset || step.Design.Spec.Dataset != b.Dataset || step.Design.Spec.Family != step.Spec.Family {
		return fit.Brief{}, invalid("FEDERATION_BRIEF", "任务书的训练有误，或属于另一数据集", "the training of the brief is malformed, or of another data set")
	}
	return step, nil
}

// decidePass fills in what a round of a model is about, by what this domain finds out by
// itself: its own design, its own records of the rounds before, and where they lead. It
// returns the schema of the domain's own pass.
func (x *partner) decidePass(ctx context.Context, p *federate.Proposal, t *partaking) (string, error) {
	step, err := briefed(t.brief)
	if err != nil {
		return "", err
	}
	j := &t.joined
	j.Model = &entry.RoundModel{Run: step.Run, Spec: step.Spec, Decryptors: step.Decryptors, Dishonest: step.Dishonest, Retries: step.Retries, Pass: len(step.Answers)}
	t.run = step.Run
	contributes := slices.Contains(p.Contributors, x.party)
	if contributes {
		j.Data = &entry.RoundData{}
	}
	if err := x.settled(ctx, step.Run); err != nil {
		return "", err
	}
	// Agreement, rule, budget and the order of passes come before anything is computed from
	// what the hub wrote.
	found, history, reasons := x.record(*j)
	if len(reasons) > 0 {
		return "", &Refusal{Reasons: reasons}
	}
	t.pass = &passing{}
	design := step.Design
	if contributes {
		t.pass.snap = found.Data.Snapshot
		if t.pass.job, design, err = x.d.passJob(step.Spec); err != nil {
			return "", err
		}
	}
	m, err := fit.Of(step, t.brief.Terms, design)
	if err != nil {
		return "", err
	}
	if state.Remembers(p, x.party) {
		if r := m.Admit(history, step.Answers); r != nil {
			return "", r
		}
	}
	next, _, err := m.Next(ctx, step.Answers)
	switch {
	case err != nil:
		return "", err
	case next == nil:
		return "", invalid("FEDERATION_BRIEF", "任务书没有下一轮", "the brief leads to no round")
	case next.Schema == p.Schema && !next.Fits(p):
		return "", invalid("FEDERATION_SCHEMA", "提案的列或噪声与任务书不符", "columns or noise of the proposal are not those of its brief")
	case p.Cells() > federate.MaxRelease/maxSumText:
		return "", invalid("FEDERATION_TOO_LARGE", "各和过多，一次交付放不下；请减少特征", "there are too many sums for one delivery; use fewer features")
	}
	t.pass.of, t.pass.step = m, next
	if contributes {
		t.pass.job.Design = m.Design()
	}
	return next.Schema, nil
}

// record decides a round by the ledger, and gives the rounds of its training before.
func (x *partner) record(j entry.RoundJoined) (found *entry.RoundJoined, history []fit.Round, reasons []policies.Reason) {
	x.d.log.View(func() {
		found, reasons = x.d.state.DecideRound(j, x.d.instant())
		history, _ = x.d.state.TrainingRounds(j.Model.Run)
	})
	return found, history, reasons
}

// settled waits for the end of the rounds of a training that run here: a hub that had a
// result proposes the next pass before this domain has entered it.
func (x *partner) settled(ctx context.Context, run string) error {
	for {
		var over chan struct{}
		x.mu.Lock()
		for _, t := range x.open {
			if t.run == run {
				over = t.over
			}
		}
		x.mu.Unlock()
		if over == nil {
			return nil
		}
		select {
		case <-over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// passJob is what a worker needs to answer passes of a specification, and the design of the
// domain's own catalogue; the price is that of the whole.
func (d *Domain) passJob(spec policies.ModelSpec) (*engine.ModelJob, model.Design, error) {
	var e policies.Entry
	ok := false
	d.log.View(func() { e, ok = d.state.Book().Dataset(spec.Dataset) })
	if !ok {
		return nil, model.Design{}, invalid("DATASET_UNKNOWN", "目录中没有此数据集", "the data set is not in the catalogue")
	}
	design, err := model.NewDesign(spec, e)
	if err != nil {
		return nil, model.Design{}, err
	}
	own := training{}
	if err := own.design(spec, e); err != nil {
		return nil, model.Design{}, err
	}
	return &own.job, design, nil
}

// samePass says whether a round of a model still reads what was decided: the snapshot and
// the design of the catalogue in force. Call it in the sequencer.
func (x *partner) samePass(t *partaking, j *entry.RoundJoined) bool {
	if j.Data == nil {
		return true
	}
	e, ok := x.d.state.Book().Dataset(j.Dataset)
	if !ok || j.Data.Snapshot != t.pass.snap {
		return false
	}
	design, err := model.NewDesign(j.Model.Spec, e)
	return err == nil && design.Digest() == t.pass.of.Asked().Digest()
}

// splitSeed says which units a training holds out, the same in all its passes and at its
// gate: it follows from a key of this domain and from the run, and leaves it never.
func (d *Domain) splitSeed(epoch int, run string) ([]byte, error) {
	keys := d.commitKeys()
	i := slices.IndexFunc(keys, func(k home.Held) bool { return k.Epoch == epoch })
	if i < 0 {
		return nil, home.ErrKeyringOlder
	}
	mac := hmac.New(sha256.New, keys[i].Key)
	mac.Write([]byte("sandgate/round-split/v1\n" + run))
	return mac.Sum(nil), nil
}

// passCells joins a pass of a training and has a worker sum it. A seat and memory are held
// before the price is charged, and the price is charged before a row is read.
func (x *partner) passCells(ctx context.Context, p *federate.Proposal, t *partaking) ([]int64, error) {
	if err := x.d.isLeaving(t.brief.Dataset); err != nil {
		return nil, refusedAs(err)
	}
	ticket, lease, err := x.d.holdWorker(ctx, p.Receiver, t.pass.snap)
	if err != nil {
		return nil, refusedAs(err)
	}
	defer ticket.Close()
	defer lease.Release()
	// Seats are few and may be held for half an hour: a pass that has none at its deadline has
	// cost nothing.
	if err := ticket.Wait(ctx, nil); err != nil {
		return nil, err
	}
	if err := x.join(ctx, t); err != nil {
		return nil, err
	}
	job := *t.pass.job
	if job.Seed, err = x.d.splitSeed(t.joined.Data.Epoch, t.joined.Model.Run); err != nil {
		return nil, err
	}
	step := t.pass.step
	return x.d.onGrid(ctx, ticket, func(ctx context.Context) (cells []int64, err error) {
		limits := sandbox.Limits{Wall: x.d.opt.Wall, Memory: x.d.opt.Memory, Threads: modelThreads, Result: engine.ModelAllowance([]int{step.Pass.Width}, false)}
		err = x.d.onWorker(ctx, lease, job, limits, nil, func(_ context.Context, run *engine.ModelRun) error {
			sums, err := run.Sums(step.Pass)
			if err == nil {
				cells, err = step.Cells(sums)
			}
			return err
		})
		return cells, err
	})
}

// onGrid computes exact cells on a ticket whose price is charged. They are in this process's
// memory and leave it under encryption alone. When the contribution begins tells the tick
// and no more.
func (d *Domain) onGrid(ctx context.Context, ticket *sandbox.Ticket, compute func(context.Context) ([]int64, error)) ([]int64, error) {
	if err := ticket.Wait(ctx, nil); err != nil {
		return nil, err
	}
	start := time.Now()
	run, cancel := context.WithTimeout(sandbox.WithTicket(ctx, ticket), d.opt.Wall)
	defer cancel()
	cells, err := compute(run)
	grid := ticks(d.opt.Tick)
	until := grid.after(time.Since(start))
	if err != nil {
		until = grid.failure(time.Since(start), d.opt.Wall)
	}
	pause(start.Add(until), ctx, d.ctx)
	if err != nil {
		// One constant code, as of jobs: what went wrong may depend on a person.
		return nil, noResult()
	}
	return cells, nil
}

func noResult() *policies.Reason {
	return &policies.Reason{Code: "EXECUTION_FAILED", Rule: "sandbox", SetBy: "sandgate", ZH: "执行未得出结果", EN: "the execution gave no result"}
}
