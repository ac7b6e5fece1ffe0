package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
	"github.com/sandgate/sandgate/sandbox"
)

// ModelQuery is what an operator asks to be trained.
type ModelQuery struct {
	Licence, Purpose, Product string
	Signed                    []byte // DSSE envelope over the request
}

// training is a model on its way: everything of it that a worker needs.
type training struct {
	ask    state.ModelAsk
	signed *request.Signed // nil when it is gone on with
	job    engine.ModelJob
	ready  bool // job is filled in: the policy gives a design
	snap   string
	ticket *sandbox.Ticket
	lease  *engine.Lease
}

func (t *training) settle() {
	t.lease.Release()
	if t.ticket != nil {
		t.ticket.Close()
	}
}

// openModelRequest opens what an operator signed of a model. All of it is public, so
// it commits to no body.
func (d *Domain) openModelRequest(operator, requestID string, envelope []byte) (*request.Signed, error) {
	signed, err := request.Open(envelope)
	if err == nil && signed.Statement.Request != requestID {
		err = request.Mismatch("request_id")
	}
	if err != nil {
		return nil, policies.SignatureFault(err, operator)
	}
	var key []byte
	var origin string
	var at time.Time
	d.log.View(func() {
		key, _ = d.state.Book().PartyKey(operator)
		origin, at = d.state.Genesis().Origin, d.instant()
	})
	if x := policies.CheckSignedBy(signed, key, origin, operator, at); x != nil {
		return nil, x
	}
	return signed, nil
}

// TrainModel decides a model that its operator signed and, when it may be trained,
// charges its price and starts. A refusal is returned as *Refusal and ledgered. A
// model that was started goes on whatever becomes of ctx, and after a restart of the
// gateway too. Calling again with the same request id never decides or charges a
// second time. A final answer leaves on a tick counted from the call.
func (d *Domain) TrainModel(ctx context.Context, operator, requestID string, q ModelQuery) (id string, err error) {
	begin := time.Now()
	id, err = d.trainModel(ctx, operator, requestID, q)
	if err != nil || !d.isRunning(modelRun(id)) {
		pause(begin.Add(ticks(d.opt.Tick).after(time.Since(begin))), ctx, d.ctx)
	}
	return id, err
}

func (d *Domain) trainModel(ctx context.Context, operator, requestID string, q ModelQuery) (id string, err error) {
	if err := d.Authorize(operator, policies.ActTrainModel, policies.Resource{}); err != nil {
		return "", err
	}
	if d.log.Disputed() != nil {
		return "", disputed()
	}
	if !requestIDPattern.MatchString(requestID) {
		return "", invalid("REQUEST_ID", "request_id 必须是 UUID", "request_id must be a UUID")
	}
	signed, err := d.openModelRequest(operator, requestID, q.Signed)
	if err != nil {
		return "", err
	}
	id = state.ModelID(operator, requestID)
	for range 3 {
		var t *training
		if t, err = d.planModel(ctx, operator, requestID, q); err != nil {
			return "", err
		}
		t.signed = signed
		if x := state.SameModel(signed.Statement, operator, t.ask.Request); x != nil {
			return "", x
		}
		if err = d.letModelIn(ctx, id, t); !errors.Is(err, errPolicyMoved) {
			return id, err
		}
	}
	return "", refusal(policies.Reason{Code: "POLICY_CHANGED", Rule: "policy", ZH: "受理期间规则已变更，请重试", EN: "the rules changed meanwhile; try again"})
}

// planModel reads a request under the policy in force.
func (d *Domain) planModel(ctx context.Context, operator, requestID string, q ModelQuery) (*training, error) {
	t := &training{ask: state.ModelAsk{Operator: operator, Request: entry.ModelRequest{
		Model: state.ModelID(operator, requestID), Request: requestID, Licence: q.Licence, Purpose: q.Purpose, Product: q.Product,
	}}}
	var err error
	if serr := d.settled(ctx, func() { err = d.designInto(t) }); serr != nil {
		return nil, serr
	}
	return t, err
}

// designInto fills in what the policy in force makes of a request. Call it in the
// sequencer.
func (d *Domain) designInto(t *training) error {
	t.ask.At = d.instant()
	b := d.state.Book()
	p, ok := b.ModelProduct(t.ask.Request.Product)
	if !ok || p.Operator != t.ask.Operator {
		return nil // refused by the decision
	}
	t.ask.Request.Version = p.Digest()
	if known, ok := d.state.Model(t.ask.Request.Model); ok {
		t.ask.Request.Version = known.Request.Version
	}
	e, ok := b.Dataset(p.Model.Dataset)
	if snap, has := d.state.Snapshot(p.Model.Dataset); has {
		t.snap = snap.Snapshot
	}
	if !ok || e.Ready() != nil {
		return nil
	}
	return t.design(*p.Model, e)
}

// design makes a worker's job of a specification.
func (t *training) design(spec policies.ModelSpec, e policies.Entry) error {
	design, err := model.NewDesign(spec, e)
	if err != nil {
		return nil // refused by the decision, which names the reason
	}
	schema, err := e.Schema()
	if err != nil {
		return err
	}
	if schema.Consent {
		return refusal(policies.Reason{Code: "MODEL_CONSENT", Rule: "catalogue/" + spec.Dataset, SetBy: e.Department,
			ZH: "数据集“" + spec.Dataset + "”须逐人同意，其上不训练模型：同意撤回后，模型无法收回", EN: "data set \"" + spec.Dataset + "\" is used by each subject's consent, and no model is trained on it: one could not be taken back with a consent",
			HintZH: "改用查询作业", HintEN: "use queries instead"})
	}
	sql, types, err := engine.ModelStatement(schema, design.Columns, max(1, spec.RowsPerUnit))
	if err != nil {
		return err
	}
	t.job, t.ready = engine.ModelJob{SQL: sql, Types: types, Design: design}, true
	return nil
}

// letModelIn records the decision and starts what was let in. A request id that is
// known has its outcome, or is gone on with.
func (d *Domain) letModelIn(ctx context.Context, id string, t *training) error {
	defer func() { t.settle() }()
	known, err := d.knownModel(ctx, id, t)
	if err != nil || known {
		return err
	}
	owed, needs := false, false
	d.log.View(func() {
		_, owed = d.state.Model(id)
		needs = owed || d.state.DecideModel(t.ask).Reserved != nil
	})
	if needs {
		if err := d.holdModel(ctx, t); err != nil {
			return err
		}
	}
	if owed {
		d.startModel(id, t)
		return nil
	}
	var refused *Refusal
	_, err = d.append(ctx, func(e *entry.Entry) error {
		if _, ok := d.state.Model(id); ok {
			return errPolicyMoved // another call with this request id came first
		}
		t.ask.At = e.Time()
		x := d.state.DecideModel(t.ask)
		e.Actor, e.Signed = t.ask.Operator, t.signed
		if x.Refused != nil {
			e.Kind, e.ModelRefused, refused = entry.KindModelRefused, x.Refused, &Refusal{Reasons: x.Refused.Reasons}
			return nil
		}
		if !t.ready || t.lease == nil || x.Reserved.Snapshot != t.snap {
			return errPolicyMoved
		}
		if err := d.isLeaving(t.job.Design.Spec.Dataset); err != nil {
			return err
		}
		e.Kind, e.ModelReserved = entry.KindModelReserved, x.Reserved
		return nil
	})
	if err != nil {
		return err
	}
	if refused != nil {
		return refused
	}
	d.opt.Logger.Info("model let in", "model", id)
	d.startModel(id, t)
	return nil
}

// knownModel says whether a request id has its outcome or is under way, and refuses
// one that was used for something else.
func (d *Domain) knownModel(ctx context.Context, id string, t *training) (bool, error) {
	var was state.Model
	var ok bool
	if err := d.settled(ctx, func() { was, ok = d.state.Model(id) }); err != nil || !ok {
		return false, err
	}
	if t.ask.Request != was.Request {
		return true, invalid("REQUEST_ID_REUSED", "该 request_id 已用于另一请求", "the request_id was used for another request")
	}
	switch was.Phase {
	case state.PhaseRefused:
		return true, &Refusal{Reasons: was.Reasons}
	case state.PhaseReserved:
		if d.isRunning(modelRun(id)) {
			return true, nil
		}
		if !t.ready || was.Reserved.Snapshot != t.snap {
			return true, d.failModel(id, state.SnapshotGone)
		}
		return false, nil
	}
	return true, nil
}

// modelRun keeps the executions of models from those of jobs.
func modelRun(id string) string { return "models/" + id }

// holdModel takes a place in the queue and memory for the snapshot, before anything is
// charged.
func (d *Domain) holdModel(ctx context.Context, t *training) error {
	if t.snap == "" {
		return errPolicyMoved
	}
	if _, err := d.moduleOf(t); err != nil {
		return err // before anything is charged for it
	}
	var err error
	t.ticket, t.lease, err = d.holdWorker(ctx, t.ask.Operator, t.snap)
	return err
}

// startModel runs a reserved model in the background, once. It takes over what t
// holds.
func (d *Domain) startModel(id string, t *training) {
	own := *t
	begun := d.background(modelRun(id), id, t.ticket, func(r *run) {
		defer own.settle()
		if err := d.executeModel(id, &own, r); err != nil {
			d.opt.Logger.Warn("model gave no certificate", "model", id)
		}
	})
	if begun {
		t.ticket, t.lease = nil, nil
	}
	// Between reservation and here an order may have ended it.
	d.killModels([]string{id})
}

// resumeModels goes on with the models that a stop or a crash left open. What cannot
// be gone on with ends; its price stays charged.
func (d *Domain) resumeModels() {
	var open []state.Model
	d.log.View(func() {
		for _, id := range d.state.OpenModels() {
			m, _ := d.state.Model(id)
			open = append(open, m)
		}
	})
	for _, m := range open {
		t := &training{ask: state.ModelAsk{Operator: m.Operator, Request: m.Request}}
		id, err := m.Request.Model, error(nil)
		d.log.View(func() { err = d.designInto(t) })
		if err == nil && (!t.ready || t.snap != m.Reserved.Snapshot) {
			err = errPolicyMoved
		}
		if err == nil {
			err = d.holdModel(d.ctx, t)
		}
		if err != nil && d.ctx.Err() != nil {
			t.settle()
			return // the next start tries again
		}
		if err != nil {
			t.settle()
			if ferr := d.failModel(id, "EXECUTION_FAILED"); ferr != nil && d.ctx.Err() == nil {
				d.opt.Logger.Error("an open model could not be ended", "model", id)
			}
			continue
		}
		d.startModel(id, t)
	}
}

// failModel ends an open model without a certificate: with what stops it, or with a
// code.
func (d *Domain) failModel(id, code string) error {
	_, err := d.append(context.Background(), func(e *entry.Entry) error {
		if m, _ := d.state.Model(id); m.Phase != state.PhaseReserved {
			return errEnded
		}
		e.Kind, e.Actor = entry.KindModelFailed, "gateway"
		if e.ModelFailed = d.state.StoppedModel(d.state.Book(), id, e.Time()); e.ModelFailed == nil {
			e.ModelFailed = &entry.ModelFailed{Model: id, Code: code}
		}
		return nil
	})
	if errors.Is(err, errEnded) {
		return nil
	}
	return errors.Join(err, d.dropModel(id))
}

// killModels ends the executions of models that the ledger holds as failed.
func (d *Domain) killModels(ids []string) {
	for _, id := range ids {
		var m state.Model
		d.log.View(func() { m, _ = d.state.Model(id) })
		r := d.runOf(modelRun(id))
		if r == nil || m.Phase != state.PhaseFailed {
			continue
		}
		r.at.CompareAndSwap(0, time.Now().UnixNano())
		r.cancel()
		r.end()
		d.opt.Logger.Info("model stopped", "model", id, "code", m.Failed.Code, "rule", m.Failed.Rule)
	}
}

// CancelModel ends a model that waits or is trained, for its operator. The price stays
// charged; see Cancel.
func (d *Domain) CancelModel(ctx context.Context, party, id string) error {
	m, err := d.Model(party, id)
	if err != nil {
		return err
	}
	if err := d.Authorize(party, policies.ActCancelModel, policies.Resource{Operator: m.Operator}); err != nil {
		return err
	}
	if err := d.signedAct(ctx, party, state.ActCancelModel(id)); err != nil {
		return err
	}
	r := d.runOf(modelRun(id))
	if r != nil && m.Phase == state.PhaseReserved {
		r.at.CompareAndSwap(0, time.Now().UnixNano())
		r.cancel()
	}
	// A caller that goes away has still cancelled.
	_, err = d.append(context.Background(), func(e *entry.Entry) error {
		if m, _ := d.state.Model(id); m.Phase != state.PhaseReserved {
			return errEnded
		}
		e.Kind, e.Actor, e.Signed = entry.KindModelFailed, "gateway", signedOf(ctx)
		e.ModelFailed = &entry.ModelFailed{Model: id, Code: state.Cancelled, By: party}
		return nil
	})
	if errors.Is(err, errEnded) {
		if m, _ = d.Model(party, id); m.Failed != nil && m.Failed.Code == state.Cancelled {
			return nil
		}
		return invalid("NOT_CANCELLABLE", "模型已有结果，不能取消", "the model has its outcome already and cannot be cancelled")
	}
	if err != nil {
		return err
	}
	if r != nil {
		r.end()
		return nil // its execution removes what it kept
	}
	return d.dropModel(id)
}

// Model returns what the ledger says of one: to its operator, to the department whose
// data it reads and to the regulator.
func (d *Domain) Model(party, id string) (m state.Model, err error) {
	d.log.View(func() { m, err = d.modelFor(party, id) })
	return m, err
}

// modelFor is Model inside the sequencer.
func (d *Domain) modelFor(party, id string) (state.Model, error) {
	m, ok := d.state.Model(id)
	x := d.state.Book().Authorize(party, policies.ActReadModel, policies.Resource{Operator: m.Operator, Department: d.departmentOf(m)})
	// One that is not there and one that is somebody else's look the same.
	if x != nil || !ok {
		return state.Model{}, invalid("NOT_FOUND", "没有这个模型", "there is no such model")
	}
	return m, nil
}

// endModelsOn ends every open model on a data set, queued or running.
func (d *Domain) endModelsOn(ctx context.Context, dataset string) error {
	var open []string
	if err := d.settled(ctx, func() {
		for _, id := range d.state.OpenModels() {
			m, _ := d.state.Model(id)
			if p, _ := d.state.Book().ModelProduct(m.Request.Product); p.Model != nil && p.Model.Dataset == dataset {
				open = append(open, id)
			}
		}
	}); err != nil {
		return err
	}
	for _, id := range open {
		if err := d.failModel(id, "SNAPSHOT_DESTROYED"); err != nil {
			return err
		}
		d.killModels([]string{id})
	}
	return nil
}

// departmentOf is the department whose data a model reads. Call it in the sequencer.
func (d *Domain) departmentOf(m state.Model) string {
	b := d.state.Book()
	p, _ := b.ModelProduct(m.Request.Product)
	if p.Model == nil || p.Operator != m.Operator {
		return ""
	}
	e, _ := b.Dataset(p.Model.Dataset)
	return e.Department
}
