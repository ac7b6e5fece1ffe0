package gateway

import (
	"context"
	"errors"
	"reflect"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// likening is a synthetic twin 合成孪生 on its way: everything of it that a worker needs.
type likening struct {
	ask    state.TwinAsk
	job    engine.ModelJob
	snap   string
	ticket *sandbox.Ticket
	lease  *engine.Lease
}

func (t *likening) settle() {
	t.lease.Release()
	if t.ticket != nil {
		t.ticket.Close()
	}
}

// TwinPlan is what a twin would be learned of, and cost.
type TwinPlan struct {
	Schema  twin.Schema
	Reasons []policies.Reason
}

// ExplainTwin says what publishing a twin would read and cost now, and why it may not
// be; nothing is charged or recorded.
func (d *Domain) ExplainTwin(department string, spec twin.Spec) (*TwinPlan, error) {
	if err := d.mayPublish(department, spec.Dataset); err != nil {
		return nil, err
	}
	p := &TwinPlan{}
	d.log.View(func() {
		a := state.TwinAsk{Department: department, Request: entry.TwinRequest{Spec: spec}, At: d.instant()}
		if p.Schema, p.Reasons = d.state.TwinSchema(a); len(p.Reasons) == 0 {
			_, p.Reasons = d.state.DecideTwin(a)
		}
	})
	return p, nil
}

// mayPublish is the door. Whose a data set is that is not there, nobody can say: who
// may publish of its own is told so behind it.
func (d *Domain) mayPublish(department, dataset string) error {
	owner := department
	d.log.View(func() {
		if e, ok := d.state.Book().Dataset(dataset); ok {
			owner = e.Department
		}
	})
	return d.Authorize(department, policies.ActPublishTwin, policies.Resource{Department: owner})
}

// PublishTwin decides a twin that a department signed in the call's metadata and, when
// it may be learned, charges its price to the department's account and starts. What was
// started goes on whatever becomes of ctx, and after a restart of the gateway too.
// Calling again with the same request id never decides or charges a second time.
func (d *Domain) PublishTwin(ctx context.Context, department, requestID string, spec twin.Spec) (id string, err error) {
	if err := d.mayPublish(department, spec.Dataset); err != nil {
		return "", err
	}
	if d.log.Disputed() != nil {
		return "", disputed()
	}
	if !requestIDPattern.MatchString(requestID) {
		return "", invalid("REQUEST_ID", "request_id 必须是 UUID", "request_id must be a UUID")
	}
	id = state.TwinID(department, requestID)
	t := &likening{ask: state.TwinAsk{Department: department, Request: entry.TwinRequest{Twin: id, Request: requestID, Spec: spec}}}
	defer func() { t.settle() }()
	if known, err := d.knownTwin(ctx, id, t.ask.Request); known || err != nil {
		return id, err
	}
	if err := d.signedAct(ctx, department, state.ActTwin(spec)); err != nil {
		return "", err
	}
	if signedOf(ctx).Statement.Request != requestID {
		return "", invalid("SIGNED_REQUEST_MISMATCH", "所签的 request_id 与请求不同", "the request_id that was signed is another one")
	}
	// Refused before anything is held for it.
	p, err := d.ExplainTwin(department, spec)
	if err != nil {
		return "", err
	}
	if len(p.Reasons) > 0 {
		return "", &Refusal{Reasons: p.Reasons}
	}
	if err := d.likenInto(t); err != nil {
		return "", err
	}
	if t.ticket, t.lease, err = d.holdWorker(ctx, department, t.snap); err != nil {
		return "", err
	}
	_, err = d.append(ctx, func(e *entry.Entry) error {
		t.ask.At = e.Time()
		r, reasons := d.state.DecideTwin(t.ask)
		if len(reasons) > 0 {
			return &Refusal{Reasons: reasons}
		}
		if r.Snapshot != t.snap || r.Schema != t.job.Twin.Digest() {
			return refusal(policies.Reason{Code: "POLICY_CHANGED", Rule: "policy", ZH: "受理期间规则或数据已变更，请重试", EN: "the rules or the data changed meanwhile; try again"})
		}
		if err := d.isLeaving(spec.Dataset); err != nil {
			return err
		}
		e.Kind, e.Actor, e.Signed, e.TwinReserved = entry.KindTwinReserved, department, signedOf(ctx), r
		return nil
	})
	if err != nil {
		return "", err
	}
	d.opt.Logger.Info("twin let in", "twin", id)
	d.startTwin(id, t)
	return id, nil
}

// knownTwin says whether a request id was used, and refuses one that was used for
// something else. One that a restart left open is gone on with by then.
func (d *Domain) knownTwin(ctx context.Context, id string, r entry.TwinRequest) (known bool, err error) {
	var was state.Twin
	if err := d.settled(ctx, func() { was, known = d.state.Twin(id) }); err != nil || !known {
		return false, err
	}
	if !reflect.DeepEqual(state.ActTwin(r.Spec), state.ActTwin(was.Request.Spec)) {
		return true, invalid("REQUEST_ID_REUSED", "该 request_id 已用于另一请求", "the request_id was used for another request")
	}
	return true, nil
}

// likenInto makes a worker's job of a specification, under the policy in force.
func (d *Domain) likenInto(t *likening) error {
	var err error
	d.log.View(func() {
		t.ask.At = d.instant()
		schema, reasons := d.state.TwinSchema(t.ask)
		if len(reasons) > 0 {
			err = &Refusal{Reasons: reasons}
			return
		}
		spec := t.ask.Request.Spec
		if snap, ok := d.state.Snapshot(spec.Dataset); ok {
			t.snap = snap.Snapshot
		}
		e, _ := d.state.Book().Dataset(spec.Dataset)
		stored, serr := e.Schema()
		if serr != nil {
			err = serr
			return
		}
		t.job.Twin = &schema
		t.job.SQL, t.job.Types, err = engine.ModelStatement(stored, schema.Reads(), schema.RowsPerUnit)
	})
	return err
}

// twinRun keeps the executions of twins from those of jobs and models.
func twinRun(id string) string { return "twins/" + id }

// startTwin learns a reserved twin in the background, once. It takes over what t holds.
func (d *Domain) startTwin(id string, t *likening) {
	own := *t
	begun := d.background(twinRun(id), id, t.ticket, func(r *run) {
		defer own.settle()
		var refused *engine.ModelRefused
		switch err := d.executeTwin(id, &own, r); {
		case errors.As(err, &refused): // too few units: nothing is amiss here, and the department is told
			d.opt.Logger.Info("twin was not published", "twin", id)
		case err != nil:
			d.opt.Logger.Warn("twin was not published", "twin", id)
		}
	})
	if begun {
		t.ticket, t.lease = nil, nil
	}
	// Between reservation and here an order may have ended it.
	d.killTwins([]string{id})
}

// resumeTwins goes on with the twins that a stop or a crash left open. What cannot be
// gone on with ends; its price stays charged.
func (d *Domain) resumeTwins() {
	var open []state.Twin
	d.log.View(func() {
		for _, id := range d.state.OpenTwins() {
			t, _ := d.state.Twin(id)
			open = append(open, t)
		}
	})
	for _, was := range open {
		id := was.Request.Twin
		t := &likening{ask: state.TwinAsk{Department: was.Department, Request: was.Request}}
		err := d.likenInto(t)
		if err == nil && (t.snap != was.Reserved.Snapshot || t.job.Twin.Digest() != was.Reserved.Schema) {
			err = errPolicyMoved
		}
		if err == nil {
			t.ticket, t.lease, err = d.holdWorker(d.ctx, was.Department, t.snap)
		}
		if err == nil {
			d.startTwin(id, t)
		}
		t.settle()
		if err == nil {
			continue
		}
		if d.ctx.Err() != nil {
			return // the next start tries again
		}
		if ferr := d.failTwin(id, "EXECUTION_FAILED"); ferr != nil && d.ctx.Err() == nil {
			d.opt.Logger.Error("an open twin could not be ended", "twin", id)
		}
	}
}

// failTwin ends an open twin: with what stops it, or with a code.
func (d *Domain) failTwin(id, code string) error {
	_, err := d.append(context.Background(), func(e *entry.Entry) error {
		if t, _ := d.state.Twin(id); t.Phase != state.PhaseReserved {
			return errEnded
		}
		e.Kind, e.Actor = entry.KindTwinFailed, "gateway"
		if e.TwinFailed = d.state.StoppedTwin(d.state.Book(), id, e.Time()); e.TwinFailed == nil {
			e.TwinFailed = &entry.TwinFailed{Twin: id, Code: code}
		}
		return nil
	})
	if errors.Is(err, errEnded) {
		return nil
	}
	return errors.Join(err, d.dropModel(id))
}

// killTwins ends the executions of twins that the ledger holds as failed.
func (d *Domain) killTwins(ids []string) {
	for _, id := range ids {
		var t state.Twin
		d.log.View(func() { t, _ = d.state.Twin(id) })
		r := d.runOf(twinRun(id))
		if r == nil || t.Phase != state.PhaseFailed {
			continue
		}
		r.cancel()
		r.end()
		d.opt.Logger.Info("twin stopped", "twin", id, "code", t.Failed.Code, "rule", t.Failed.Rule)
	}
}

// endTwinsOn ends every open twin on a data set, queued or running.
func (d *Domain) endTwinsOn(ctx context.Context, dataset string) error {
	var open []string
	if err := d.settled(ctx, func() { open = d.state.OpenTwinsOn(dataset) }); err != nil {
		return err
	}
	for _, id := range open {
		if err := d.failTwin(id, "SNAPSHOT_DESTROYED"); err != nil {
			return err
		}
		d.killTwins([]string{id})
	}
	return nil
}

// publishedTwin is the twin of a data set that was published last, as a party may have
// it: held against the ledger's digest, and not before the ledger is as far as the data's
// level asks. One that is stale is refused: what is tried on it would not run on the
// data. It takes the sequencer itself.
func (d *Domain) publishedTwin(ctx context.Context, party, dataset string) (*twin.Twin, string, error) {
	t, err := d.settledTwin(ctx, party, "datasets/"+dataset)
	if err != nil {
		return nil, "", err
	}
	var stale *policies.Reason
	d.log.View(func() { stale = d.state.StaleTwin(t.Request.Twin) })
	if stale != nil {
		return nil, "", refusal(*stale)
	}
	parsed, err := d.parsedTwin(t)
	if err != nil {
		return nil, "", err
	}
	return parsed, t.Published.Certificate.Document, nil
}

// parsedTwin is the document of a published twin, read once.
func (d *Domain) parsedTwin(t state.Twin) (*twin.Twin, error) {
	digest := t.Published.Certificate.Document
	if known := d.rehearsed.parsed(digest); known != nil {
		return known, nil
	}
	text, err := d.twinDocument(t)
	if err != nil {
		return nil, err
	}
	parsed, err := twin.Parse(text)
	if err != nil {
		return nil, refusal(damagedTwin)
	}
	d.rehearsed.keepParsed(digest, parsed)
	return parsed, nil
}

func noTwin(dataset string) policies.Reason {
	return policies.Reason{Code: "TWIN_NONE", Rule: "twin/" + dataset, SetBy: "sandgate", ZH: "该数据集没有已发布的孪生", EN: "no twin of the data set is published",
		HintZH: "请数源部门执行 sandgate twin publish", HintEN: "ask the department to run sandgate twin publish"}
}

// damagedTwin is a document that is missing, or not the one that the ledger names.
var damagedTwin = policies.Reason{Code: "TWIN_DAMAGED", Rule: "twin", SetBy: "sandgate", ZH: "孪生文件缺失或已损坏", EN: "the twin's document is missing or damaged",
	HintZH: "请网关管理员从备份恢复 models 目录，或由部门重新发布", HintEN: "the gateway's administrator restores the directory models from backup, or the department publishes it again"}

// twinDocument reads the document of a published twin and holds it against the ledger.
func (d *Domain) twinDocument(t state.Twin) ([]byte, error) {
	kept, err := d.openModel(t.Request.Twin, false)
	if err == nil {
		defer kept.close()
		var text []byte
		if text, err = kept.load(partDocument); err == nil && digestOf(text) == t.Published.Certificate.Document {
			return text, nil
		}
	}
	d.opt.Logger.Error("the document of a twin is missing or damaged: restore the directory models of the home from backup", "twin", t.Request.Twin)
	return nil, refusal(damagedTwin)
}
