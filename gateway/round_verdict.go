package gateway

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/fit"
	"github.com/sandgate/sandgate/compute/model/gate"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// Judge implements node.Judge: the domain goes by the answers that its own ledger knows to
// the parameters, attacks them in a worker with its own rows and held-out units, and signs
// what the gate found. A training is judged once; asked again it says the same.
func (x *partner) Judge(ctx context.Context, t *federate.Trial, brief []byte) (*federate.Signed, []policies.Reason) {
	select {
	case x.gates <- struct{}{}: // one gate at a time
		defer func() { <-x.gates }()
	case <-ctx.Done():
		return nil, refusedFor(ctx.Err())
	}
	v, verdict, err := x.judge(ctx, t, brief)
	if err != nil {
		reasons := refusedFor(err)
		x.tell("refused", t.ID(), nil, func(e *RoundEvent) { e.Run, e.Reasons = t.Run, reasons })
		return nil, reasons
	}
	x.tell("judged", t.ID(), nil, func(e *RoundEvent) { e.Run, e.Verdict = t.Run, string(verdict) })
	return v, nil
}

func (x *partner) judge(ctx context.Context, t *federate.Trial, text []byte) (*federate.Signed, gate.Verdict, error) {
	if federate.BriefDigest(text) != t.Brief {
		return nil, "", invalid("FEDERATION_BRIEF", "受检请求与任务书不符", "the brief is not that of the trial")
	}
	b, f := federate.DecodeBrief(text)
	if f != nil {
		return nil, "", f.Reason
	}
	if b.Kind != federate.BriefModel {
		return nil, "", invalid("FEDERATION_KIND", "只有模型受检", "only models are tried")
	}
	step, err := briefed(b)
	if err != nil {
		return nil, "", err
	}
	if err := x.settled(ctx, step.Run); err != nil {
		return nil, "", err
	}
	first, run, err := x.tried(t, b, step)
	if err != nil {
		return nil, "", err
	}
	if run.Verdict == nil {
		run.Verdict, err = x.attack(ctx, t, b, step, first)
	}
	if err != nil {
		return nil, "", err
	}
	_, report, err := fit.DecodeVerdict(run.Verdict.Verdict)
	if err != nil {
		return nil, "", err
	}
	return &federate.Signed{Text: run.Verdict.Verdict, Sig: run.Verdict.Sig}, report.Verdict, nil
}

// tried finds the training of a trial in the ledger: the trial and its brief must be about
// the rounds that this domain took part in, with the same parties.
func (x *partner) tried(t *federate.Trial, b *federate.Brief, step fit.Brief) (first state.Round, run state.TrainingRun, err error) {
	known, hub := false, ""
	x.d.log.View(func() {
		if run, known = x.d.state.TrainingRun(step.Run); known {
			first, _ = x.d.state.Round(run.Sessions[0])
		}
		fed, _ := x.d.state.Book().Federation(b.Region)
		hub = fed.Hub.Party
	})
	if !known || step.Run != t.Run {
		return first, run, invalid("FEDERATION_RUN", "本域没有参加受检模型的训练", "this domain took no part in the training of this model")
	}
	p, f := federate.DecodeProposal(first.Joined.Proposal)
	if f != nil {
		return first, run, f.Reason
	}
	j := first.Joined
	same := t.Aggregator == hub && p.Aggregator == hub && p.Receiver == t.Receiver && slices.Equal(p.Contributors, t.Contributors) &&
		j.Region == b.Region && j.Dataset == b.Dataset && j.Purpose == b.Purpose && b.Terms == (federate.Terms{MaxUnits: j.MaxUnits, Overlap: j.Overlap, Period: j.Period}) &&
		step.Spec.Text() == j.Model.Spec.Text() && step.Decryptors == j.Model.Decryptors && step.Dishonest == j.Model.Dishonest && step.Retries == j.Model.Retries
	if !same {
		return first, run, invalid("FEDERATION_RUN", "受检请求的汇聚方、各方、约定或规格与训练的不同", "hub, parties, terms or specification of the trial are not those of the training")
	}
	return first, run, nil
}

// attack runs the gate and enters its verdict.
func (x *partner) attack(ctx context.Context, t *federate.Trial, b *federate.Brief, step fit.Brief, first state.Round) (*entry.RoundVerdict, error) {
	var due *policies.Reason
	var history []fit.Round
	x.d.log.View(func() {
		due = x.d.state.VerdictDue(step.Run, x.d.instant())
		history, _ = x.d.state.TrainingRounds(step.Run)
	})
	if due != nil {
		return nil, due
	}
	if err := x.d.isLeaving(b.Dataset); err != nil {
		return nil, err
	}
	job, design, err := x.d.passJob(step.Spec)
	if err != nil {
		return nil, err
	}
	m, err := fit.Of(step, b.Terms, design)
	if err != nil {
		return nil, err
	}
	if r := m.Complete(history, step.Answers); r != nil {
		return nil, r
	}
	_, out, err := m.Next(ctx, step.Answers)
	if err != nil {
		return nil, err
	}
	job.Design = m.Design()
	if job.Seed, err = x.d.splitSeed(first.Joined.Data.Epoch, step.Run); err != nil {
		return nil, err
	}
	report, err := x.d.gateOn(ctx, t.Receiver, first.Joined.Data.Snapshot, *job, out.File)
	if err != nil {
		return nil, err
	}
	return x.enterVerdict(ctx, m, out, report, step.Run, t.Contributors)
}

// gateOn has a worker attack a model. Its outcome is seen on a tick counted from its start.
func (d *Domain) gateOn(ctx context.Context, owner, snapshot string, job engine.ModelJob, file []byte) (*gate.Report, error) {
	ticket, lease, err := d.holdWorker(ctx, owner, snapshot)
	if err != nil {
		return nil, err
	}
	defer ticket.Close()
	defer lease.Release()
	if err := ticket.Wait(ctx, nil); err != nil {
		return nil, err
	}
	start := time.Now()
	run, cancel := context.WithTimeout(sandbox.WithTicket(ctx, ticket), modelWall)
	defer cancel()
	var text []byte
	limits := sandbox.Limits{Wall: modelWall, Memory: d.opt.Memory, Threads: modelThreads, Result: engine.ModelAllowance(nil, false)}
	err = d.onWorker(run, lease, job, limits, nil, func(_ context.Context, w *engine.ModelRun) (gerr error) {
		text, gerr = w.Gate(file)
		return gerr
	})
	pause(start.Add(ticks(d.opt.Tick).quarter(time.Since(start))), ctx, d.ctx)
	var refused *engine.ModelRefused
	switch {
	case errors.As(err, &refused):
		x := noResult()
		x.Code = string(refused.Code) // of a closed list, about the whole table
		return nil, x
	case err != nil:
		return nil, noResult()
	}
	return gate.Load(text)
}

// enterVerdict signs what the gate found and enters it, before it is told.
func (x *partner) enterVerdict(ctx context.Context, m *fit.Model, out *fit.Outcome, report *gate.Report, run string, contributors []string) (*entry.RoundVerdict, error) {
	var at int64
	x.d.log.View(func() { at = x.d.instant().Unix() })
	text, err := m.Judge(out, x.party, contributors, report, at)
	if err != nil {
		return nil, err
	}
	if len(text) > entry.MaxRoundVerdict {
		return nil, invalid("FEDERATION_TOO_LARGE", "检验报告过长，账本一条记录放不下；请减少特征", "the report of the gate is too long for one ledger entry; use fewer features")
	}
	v := &entry.RoundVerdict{Run: run, Verdict: text}
	if v.Sig, err = x.sign(fit.VerdictBytes(text)); err != nil {
		return nil, err
	}
	_, err = x.d.append(ctx, func(e *entry.Entry) error {
		if r := x.d.state.VerdictDue(run, e.Time()); r != nil {
			return r
		}
		e.Kind, e.Actor, e.RoundVerdict = entry.KindRoundVerdict, "gateway", v
		return nil
	})
	return v, err
}
