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

// relating is a publication of relations across tables 跨表关系 on its way: everything of
// it that a worker needs.
type relating struct {
	ask    state.RelationsAsk
	twins  []*twin.Twin
	tables []entry.RelatedTwin
	job    engine.ModelJob
	ticket *sandbox.Ticket
	lease  *engine.Lease
}

func (r *relating) settle() {
	r.lease.Release()
	if r.ticket != nil {
		r.ticket.Close()
	}
}

func (r *relating) snapshots() []string {
	var out []string
	for _, t := range r.tables {
		out = append(out, t.Snapshot)
	}
	return out
}

// RelationsPlan is what relations would be learned of, and cost.
type RelationsPlan struct {
	Reserved *entry.RelationsReserved // nil where Reasons says why not
	Passes   int
	Reasons  []policies.Reason
}

// mayRelate is the door: a department asks of its own data sets and of others that let
// it. That one of them is its own is for the rules behind it to say.
func (d *Domain) mayRelate(department string) error {
	return d.Authorize(department, policies.ActPublishTwin, policies.Resource{Department: department})
}

// ExplainRelations says what tying the twins would cost now, and why it may not be;
// nothing is charged or recorded.
func (d *Domain) ExplainRelations(department string, spec twin.RelationsSpec) (*RelationsPlan, error) {
	if err := d.mayRelate(department); err != nil {
		return nil, err
	}
	r := &relating{ask: state.RelationsAsk{Department: department, Request: entry.RelationsRequest{Spec: spec}}}
	err := d.relateInto(r)
	var refused *Refusal
	if errors.As(err, &refused) {
		return &RelationsPlan{Reasons: refused.Reasons}, nil
	}
	if err != nil {
		return nil, err
	}
	p := &RelationsPlan{Passes: len(r.job.Span.Plan().Passes)}
	d.log.View(func() { p.Reserved, p.Reasons = d.state.DecideRelations(r.ask) })
	return p, nil
}

// RelateTwins decides relations that a department signed in the call's metadata and, when
// they may be learned, charges the price to the twin account of every data set and starts.
// What was started goes on whatever becomes of ctx, and after a restart of the gateway too.
// Calling again with the same request id never decides or charges a second time.
func (d *Domain) RelateTwins(ctx context.Context, department, requestID string, spec twin.RelationsSpec) (id string, err error) {
	if err := d.mayRelate(department); err != nil {
		return "", err
	}
	if d.log.Disputed() != nil {
		return "", disputed()
	}
	if !requestIDPattern.MatchString(requestID) {
		return "", invalid("REQUEST_ID", "request_id 必须是 UUID", "request_id must be a UUID")
	}
	id = state.RelationsID(department, requestID)
	r := &relating{ask: state.RelationsAsk{Department: department, Request: entry.RelationsRequest{Relations: id, Request: requestID, Spec: spec}}}
	defer func() { r.settle() }()
	if known, err := d.knownRelations(ctx, id, spec); known || err != nil {
		return id, err
	}
	if err := d.signedAct(ctx, department, state.ActRelations(spec)); err != nil {
		return "", err
	}
	if signedOf(ctx).Statement.Request != requestID {
		return "", invalid("SIGNED_REQUEST_MISMATCH", "所签的 request_id 与请求不同", "the request_id that was signed is another one")
	}
	// Refused before anything is held for it.
	p, err := d.ExplainRelations(department, spec)
	if err != nil {
		return "", err
	}
	if len(p.Reasons) > 0 {
		return "", &Refusal{Reasons: p.Reasons}
	}
	if err := d.relateInto(r); err != nil {
		return "", err
	}
	if r.ticket, r.lease, err = d.holdWorker(ctx, department, r.snapshots()...); err != nil {
		return "", err
	}
	_, err = d.append(ctx, func(e *entry.Entry) error {
		r.ask.At = e.Time()
		reserved, reasons := d.state.DecideRelations(r.ask)
		if len(reasons) > 0 {
			return &Refusal{Reasons: reasons}
		}
		if !reflect.DeepEqual(reserved.Tables, r.tables) {
			return refusal(policies.Reason{Code: "POLICY_CHANGED", Rule: "policy", ZH: "受理期间规则或数据已变更，请重试", EN: "the rules or the data changed meanwhile; try again"})
		}
		if err := d.isLeaving(spec.Datasets()...); err != nil {
			return err
		}
		e.Kind, e.Actor, e.Signed, e.RelationsReserved = entry.KindRelationsReserved, department, signedOf(ctx), reserved
		return nil
	})
	if err != nil {
		return "", err
	}
	d.opt.Logger.Info("relations let in", "relations", id)
	d.startRelations(id, r)
	return id, nil
}

// knownRelations says whether a request id was used, and refuses one that was used for
// something else.
func (d *Domain) knownRelations(ctx context.Context, id string, spec twin.RelationsSpec) (known bool, err error) {
	var was state.Relations
	if err := d.settled(ctx, func() { was, known = d.state.Relations(id) }); err != nil || !known {
		return false, err
	}
	if !reflect.DeepEqual(state.ActRelations(spec), state.ActRelations(was.Request.Spec)) {
		return true, invalid("REQUEST_ID_REUSED", "该 request_id 已用于另一请求", "the request_id was used for another request")
	}
	return true, nil
}

// relateInto makes a worker's job of a specification, under the policy in force and of the
// twins in force.
func (d *Domain) relateInto(r *relating) error {
	var g state.RelationsGround
	var err error
	spec := r.ask.Request.Spec
	r.tables, r.twins, r.job.Tables = nil, nil, nil
	d.log.View(func() {
		r.ask.At = d.instant()
		var reasons []policies.Reason
		if g, reasons = d.state.RelationsGround(r.ask); len(reasons) > 0 {
			err = &Refusal{Reasons: reasons}
			return
		}
		for i, id := range spec.Datasets() {
			c := g.Twins[i].Published.Certificate
			t := entry.RelatedTwin{Twin: g.Twins[i].Request.Twin, Document: c.Document, Schema: c.Schema}
			if snap, ok := d.state.Snapshot(id); ok {
				t.Snapshot = snap.Snapshot
			}
			r.tables = append(r.tables, t)
		}
	})
	if err != nil {
		return err
	}
	var members []twin.Member
	for i, e := range g.Entries {
		x, err := d.parsedTwin(g.Twins[i])
		if err != nil {
			return err
		}
		stored, err := e.Schema()
		if err != nil {
			return err
		}
		t := engine.ModelTable{Schema: g.Schemas[i]}
		if t.SQL, t.Types, err = engine.TableStatement(i, stored, t.Schema.Reads(), t.Schema.RowsPerUnit); err != nil {
			return err
		}
		r.job.Tables, r.twins = append(r.job.Tables, t), append(r.twins, x)
		members = append(members, twin.Member{Entry: e, Schema: g.Schemas[i], Twin: x, Link: spec.Tables[i].Link})
	}
	span, err := twin.NewSpan(members, spec.Rho)
	var x *policies.Reason
	if errors.As(err, &x) {
		return refusal(*x) // by constants of the catalogue and of released twins
	}
	r.job.Span = &span
	return err
}

// relationsRun keeps the executions of relations from those of jobs, models and twins.
func relationsRun(id string) string { return "relations/" + id }

// startRelations learns reserved relations in the background, once. It takes over what r
// holds.
func (d *Domain) startRelations(id string, r *relating) {
	own := *r
	begun := d.background(relationsRun(id), id, r.ticket, func(x *run) {
		defer own.settle()
		var refused *engine.ModelRefused
		switch err := d.executeRelations(id, &own, x); {
		case errors.As(err, &refused): // too few units: nothing is amiss here, and the department is told
			d.opt.Logger.Info("relations were not published", "relations", id)
		case err != nil:
			d.opt.Logger.Warn("relations were not published", "relations", id)
		}
	})
	if begun {
		r.ticket, r.lease = nil, nil
	}
	// Between reservation and here an order may have ended them.
	d.killRelations([]string{id})
}

// resumeRelations goes on with the relations that a stop or a crash left open. What cannot
// be gone on with ends; its price stays charged.
func (d *Domain) resumeRelations() {
	var open []state.Relations
	d.log.View(func() {
		for _, id := range d.state.OpenRelations() {
			r, _ := d.state.Relations(id)
			open = append(open, r)
		}
	})
	for _, was := range open {
		id := was.Request.Relations
		r := &relating{ask: state.RelationsAsk{Department: was.Department, Request: was.Request}}
		err := d.relateInto(r)
		if err == nil && !reflect.DeepEqual(r.tables, was.Reserved.Tables) {
			err = errPolicyMoved
		}
		if err == nil {
			r.ticket, r.lease, err = d.holdWorker(d.ctx, was.Department, r.snapshots()...)
		}
		if err == nil {
			d.startRelations(id, r)
		}
		r.settle()
		if err == nil {
			continue
		}
		if d.ctx.Err() != nil {
			return // the next start tries again
		}
		if ferr := d.failRelations(id, "EXECUTION_FAILED"); ferr != nil && d.ctx.Err() == nil {
			d.opt.Logger.Error("open relations could not be ended", "relations", id)
		}
	}
}

// failRelations ends open relations: with what stops them, or with a code.
func (d *Domain) failRelations(id, code string) error {
	_, err := d.append(context.Background(), func(e *entry.Entry) error {
		if r, _ := d.state.Relations(id); r.Phase != state.PhaseReserved {
			return errEnded
		}
		e.Kind, e.Actor = entry.KindRelationsFailed, "gateway"
		if e.RelationsFailed = d.state.StoppedRelations(d.state.Book(), id, e.Time()); e.RelationsFailed == nil {
			e.RelationsFailed = &entry.RelationsFailed{Relations: id, Code: code}
		}
		return nil
	})
	if errors.Is(err, errEnded) {
		return nil
	}
	return errors.Join(err, d.dropModel(id))
}

// killRelations ends the executions of relations that the ledger holds as failed.
func (d *Domain) killRelations(ids []string) {
	for _, id := range ids {
		var r state.Relations
		d.log.View(func() { r, _ = d.state.Relations(id) })
		x := d.runOf(relationsRun(id))
		if x == nil || r.Phase != state.PhaseFailed {
			continue
		}
		x.cancel()
		x.end()
		d.opt.Logger.Info("relations stopped", "relations", id, "code", r.Failed.Code, "rule", r.Failed.Rule)
	}
}

// endRelationsOn ends all open relations that read a data set, queued or running.
func (d *Domain) endRelationsOn(ctx context.Context, dataset string) error {
	var open []string
	if err := d.settled(ctx, func() { open = d.state.OpenRelationsOn(dataset) }); err != nil {
		return err
	}
	for _, id := range open {
		if err := d.failRelations(id, "SNAPSHOT_DESTROYED"); err != nil {
			return err
		}
		d.killRelations([]string{id})
	}
	return nil
}

// stoppedRelations are the entries that end the open relations which a book no longer lets
// be learned.
func (d *Domain) stoppedRelations(book *policies.Book, head *entry.Entry) (out []*entry.Entry, ids []string) {
	for _, id := range d.state.OpenRelations() {
		if f := d.state.StoppedRelations(book, id, head.Time()); f != nil {
			out = append(out, &entry.Entry{V: entry.Version, At: head.At, Kind: entry.KindRelationsFailed, Actor: "gateway", RelationsFailed: f})
			ids = append(ids, id)
		}
	}
	return out, ids
}
