package gateway

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// rehearsalPrefix starts the ids of rehearsals. No job of the ledger has such an id.
const rehearsalPrefix = "twin-"

func isRehearsal(job string) bool { return strings.HasPrefix(job, rehearsalPrefix) }

// rehearsal is a query on synthetic rows: no entry of the ledger, no reservation, no
// stored release. It is kept in memory for its operator.
type rehearsal struct {
	id, operator string
	p            *prepared
	parameters   []string
	run          TwinRun
	at           time.Time
	price        budget.Nano
	ownRepeat    bool // on the real data the operator was given the answer before

	ticket atomic.Pointer[sandbox.Ticket] // nil while its rows are drawn
	cancel context.CancelFunc
	done   chan struct{}

	// What follows is set before done is closed.
	rel       *release.Release // before the text's post-processing
	snapshots []string
	repeatOf  string
	mark      *Mark
	failed    *policies.Reason

	// Set before it starts: the relations its tables are drawn by, or why by none.
	tied   *tied
	untied *policies.Reason
}

// Mark says of an answer that it comes from synthetic rows.
type Mark struct {
	Sources      []MarkSource
	Seed         string
	Price        budget.Nano // on the real data, now
	RepeatOnReal bool
	Relations    string           // digest of the document that ties the tables; empty: drawn apart
	Untied       *policies.Reason // why published relations were not used
}

// MarkSource is a twin that was drawn from.
type MarkSource struct {
	Dataset, Twin string
	Units, Rows   int64
	MadeUp        []string // columns used of which the twin learned nothing
}

// same says whether two rehearsals under one request id ask for the same: the core, and
// what is made of it, on what ground.
func (r *rehearsal) same(as *rehearsal) bool {
	a, b := r.p.request, as.p.request
	return a.Query == b.Query && a.Price == b.Price && a.Licence == b.Licence && a.Purpose == b.Purpose && a.Product == b.Product &&
		r.p.text == as.p.text && slices.Equal(r.parameters, as.parameters) && r.run == as.run
}

func (r *rehearsal) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// Rehearse takes a query the way that Submit does, on the twins of its data sets: the
// same analysis, decision and refusals, plan, worker, kernel and price. It records
// nothing in the ledger, charges nothing and holds the answer against the operator's own
// rehearsals alone. Calling again with the same request id and query returns the same.
//
// It decides on the budgets as they are: what would be refused for want of budget on
// the real data is refused here too. That another operator was answered the same is
// nothing to find out here, so a repeat of his release is decided as a new query. Of
// exact mode the real record is asked for, which waits while a real answer is held
// against it: the call then ends on a tick, so that it cannot time that.
func (d *Domain) Rehearse(ctx context.Context, operator, requestID string, q Query, run TwinRun) (job string, err error) {
	begin := time.Now()
	if err := d.Authorize(operator, policies.ActSubmitJob, policies.Resource{}); err != nil {
		return "", err
	}
	if d.log.Disputed() != nil {
		return "", disputed()
	}
	if err := run.checked(requestID); err != nil {
		return "", err
	}
	p, err := d.prepare(ctx, operator, rehearsalPrefix+requestID, q)
	if err != nil {
		return "", err
	}
	defer p.settle()
	if p.plan != nil && p.plan.Mode == protect.ModeExact {
		defer func() { pause(begin.Add(ticks(d.opt.Tick).after(time.Since(begin))), ctx, d.ctx) }()
	}
	r := &rehearsal{id: rehearsalPrefix + p.request.Job, operator: operator, p: p, parameters: q.Parameters, run: run, done: make(chan struct{})}
	if known := d.rehearsalOf(operator, r.id); known != nil {
		if !known.same(r) {
			return "", invalid("REQUEST_ID_REUSED", "该 request_id 已用于另一请求", "the request_id was used for another request")
		}
		return r.id, nil
	}
	r.ownRepeat = d.ownRepeat(operator, p)
	d.hideRepeat(p, r.ownRepeat)
	if p.decision.Refused != nil {
		return "", &Refusal{Reasons: p.decision.Refused.Reasons}
	}
	if r.price = p.plan.Rho; r.ownRepeat {
		r.price = 0
	}
	if err := d.rehearsable(ctx, r); err != nil {
		return "", err
	}
	if _, err := d.bindPost(ctx, operator, p); err != nil {
		return "", err
	}
	return r.id, d.startRehearsal(r)
}

// rehearsable refuses what Submit would refuse before it charges, and what has no twin
// that the operator may have, its entry being published and witnessed as the data asks.
func (d *Domain) rehearsable(ctx context.Context, r *rehearsal) error {
	p := r.p
	if err := d.store.Fits(p.snaps); err != nil {
		return leaseRefused(err)
	}
	if err := d.isLeaving(p.query.Core.Datasets()...); err != nil {
		return err
	}
	if err := d.exactReady(p); err != nil {
		return err
	}
	var private []string
	for i, id := range p.query.Core.Datasets() {
		if !p.schemas[i].Public {
			private = append(private, id)
		}
	}
	var err error
	if r.tied, r.untied, err = d.tie(ctx, r.operator, private); err != nil {
		return err
	}
	for _, id := range private {
		t, _, err := d.twins(ctx, r.operator, id)
		if err != nil {
			return err
		}
		if p.plan.Mode == protect.ModeExact && r.tied.units(r.run, id, t) > exactUnits {
			return errExactSize()
		}
	}
	return nil
}

// rehearsalOf is one of a party's own; nil for any other.
func (d *Domain) rehearsalOf(party, id string) *rehearsal {
	d.rehearsed.mu.Lock()
	defer d.rehearsed.mu.Unlock()
	if r := d.rehearsed.jobs[id]; r != nil && r.operator == party {
		return r
	}
	return nil
}

func errNoRehearsal() error {
	return refusal(policies.Reason{Code: "NOT_FOUND", Rule: "request", SetBy: "sandgate", ZH: "没有这次演练", EN: "there is no such rehearsal",
		HintZH: "演练只保留最近的几次，网关重启后不再保留；请重新提交", HintEN: "the last ones only are kept, and none over a restart; submit it again"})
}

// startRehearsal runs one in the background. It takes a place in the queue of jobs once
// its rows are drawn.
func (d *Domain) startRehearsal(r *rehearsal) error {
	all := &d.rehearsed
	r.at = r.p.at
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(d.ctx)
	all.mu.Lock()
	if all.jobs == nil {
		all.jobs = map[string]*rehearsal{}
	}
	if all.jobs[r.id] != nil { // another call with this request id came first
		all.mu.Unlock()
		r.cancel()
		return nil
	}
	if all.pending(r.operator) >= pendingRehearsals {
		all.mu.Unlock()
		r.cancel()
		return drawsBusy()
	}
	all.jobs[r.id] = r
	all.order = append(all.order, r.id)
	all.forget(r.operator)
	all.mu.Unlock()
	r.p.started = true
	d.jobs.Go(func() {
		defer r.cancel()
		defer close(r.done)
		defer func() {
			if t := r.ticket.Load(); t != nil {
				t.Close()
			}
		}()
		if err := d.play(ctx, r); err != nil {
			r.failed = rehearsalFailure(ctx, err)
			d.opt.Logger.Warn("rehearsal gave no answer", "rehearsal", r.id)
		}
	})
	return nil
}

// pending counts an operator's rehearsals that have not ended. Call it locked.
func (r *rehearsals) pending(operator string) (n int) {
	for _, x := range r.jobs {
		if x.operator == operator && !x.ended() {
			n++
		}
	}
	return n
}

// forget lets go of an operator's oldest ended rehearsals.
func (r *rehearsals) forget(operator string) {
	held, rows := 0, 0
	for _, id := range slices.Backward(r.order) {
		x := r.jobs[id]
		if x.operator != operator {
			continue
		}
		if held++; !x.ended() {
			continue
		}
		if x.rel != nil {
			rows += x.rel.Len()
		}
		if held > keptRehearsals || rows > keptRows && held > 2 {
			delete(r.jobs, id)
		}
	}
	r.order = slices.DeleteFunc(r.order, func(id string) bool { return r.jobs[id] == nil })
}

// rehearsalFailure says why there is no answer. Synthetic rows hold no secret, but the
// words are those of the real path as far as they go.
func rehearsalFailure(ctx context.Context, err error) *policies.Reason {
	var refused *Refusal
	var reason *policies.Reason
	switch {
	case ctx.Err() != nil:
		return &policies.Reason{Code: "CANCELLED", Rule: "request", SetBy: "sandgate", ZH: "演练已取消；没有扣减", EN: "the rehearsal was cancelled; nothing was charged"}
	case errors.As(err, &refused) && len(refused.Reasons) > 0:
		return &refused.Reasons[0]
	case errors.As(err, &reason):
		return reason
	}
	return &policies.Reason{Code: "EXECUTION_FAILED", Rule: "execution", SetBy: "sandgate", ZH: "演练未能完成；没有扣减", EN: "the rehearsal could not be completed; nothing was charged"}
}

// staged is what a rehearsal computes on.
type staged struct {
	draws             []*draw // nil where the data set is public
	synthetic, public *engine.Lease
}

func (s *staged) release() {
	s.synthetic.Release()
	s.public.Release()
}

// stage draws the rows of every data set and then sets memory aside for all of them.
func (d *Domain) stage(ctx context.Context, r *rehearsal) (s *staged, err error) {
	ctx, cancel := context.WithTimeout(ctx, drawWall)
	defer cancel()
	p := r.p
	s = &staged{}
	var public []string
	defer func() {
		for _, x := range s.draws {
			d.rehearsed.letGo(x)
		}
	}()
	for i, id := range p.query.Core.Datasets() {
		var x *draw
		snapshot := p.snaps[i]
		if p.schemas[i].Public {
			public = append(public, snapshot)
		} else if x, err = d.drawTwin(ctx, r.operator, id, r.run, r.tied); err != nil {
			return s, err
		} else {
			snapshot = x.snapshot
		}
		s.draws, r.snapshots = append(s.draws, x), append(r.snapshots, snapshot)
	}
	if s.synthetic, err = d.leaseDraws(ctx, s.draws...); err != nil {
		return s, err
	}
	if s.public, err = d.store.Lease(ctx, public); err != nil {
		return s, leaseRefused(err)
	}
	return s, nil
}

// open returns the files in the order of the query's data sets, and of the first how
// many units it has.
func (s *staged) open() (files []*os.File, units int64, err error) {
	var made []*os.File
	var of []engine.Manifest
	if s.synthetic != nil {
		if made, of, err = s.synthetic.Open(); err != nil {
			return nil, 0, err
		}
	}
	real, realOf, err := s.public.Open()
	if err != nil {
		return nil, 0, err
	}
	for i, x := range s.draws {
		from, manifests := &made, &of
		if x == nil {
			from, manifests = &real, &realOf
		}
		if i == 0 {
			units = (*manifests)[0].Units
		}
		files, *from, *manifests = append(files, (*from)[0]), (*from)[1:], (*manifests)[1:]
	}
	return files, units, nil
}

// play draws the rows and computes.
func (d *Domain) play(ctx context.Context, r *rehearsal) error {
	p := r.p
	on, err := d.stage(ctx, r)
	defer on.release()
	if err != nil {
		return err
	}
	r.mark = r.markOf(on.draws)
	if of := d.rehearsedBefore(r); of != nil {
		r.rel, r.repeatOf = of.rel, of.id
		return nil
	}
	if err := d.admit(ctx, r.operator, p); err != nil {
		return err
	}
	r.ticket.Store(p.ticket)
	if err := p.ticket.Wait(ctx, nil); err != nil {
		return err
	}
	running, stop := context.WithTimeout(sandbox.WithTicket(ctx, p.ticket), d.opt.Wall)
	defer stop()
	rel, err := d.computeRehearsal(running, r, on)
	if err != nil {
		return err
	}
	// Pseudonyms are given under the agreement, as in an answer.
	var pseudonyms []int
	d.log.View(func() { pseudonyms = d.state.Book().PseudonymKeys(*p.request.Core) })
	j := state.Job{Request: p.request, Reserved: &entry.Reserved{Request: p.request, Pseudonyms: pseudonyms}}
	r.rel, err = d.rekeyed(rel, j, j)
	return err
}

func (d *Domain) computeRehearsal(ctx context.Context, r *rehearsal, on *staged) (*release.Release, error) {
	p := r.p
	files, units, err := on.open()
	if err != nil {
		return nil, err
	}
	var subjects []engine.Subjects
	if p.plan.Consents != nil {
		subjects = make([]engine.Subjects, len(on.draws))
		for i, x := range on.draws {
			if p.plan.Consenting(i) {
				subjects[i] = x.subjects
			}
		}
	}
	if p.plan.Exact != nil {
		p.plan.Exact.SnapUnits = units
	}
	return d.kernel(ctx, p, files, subjects, func(k exactKernel) (*release.Release, error) {
		b := d.rehearsed.bookOf(r.operator, r.snapshots[0], int(p.plan.Exact.K), int(units))
		b.mu.Lock()
		defer b.mu.Unlock()
		check := b.store.Begin(r.id, r.snapshots[0], int(p.plan.Exact.SnapUnits), int(p.plan.Exact.K))
		if check == nil {
			return nil, errors.New("failed to open the check of earlier rehearsals")
		}
		defer check.Rollback()
		rel, err := k(check)
		if err == nil {
			check.Commit()
		}
		return rel, err
	})
}

// markOf names the twins, and of what was made up the columns that the query uses.
func (r *rehearsal) markOf(draws []*draw) *Mark {
	m := &Mark{Seed: r.run.Seed, Price: r.price, RepeatOnReal: r.ownRepeat, Relations: r.tied.digest(), Untied: r.untied}
	used := map[string]bool{}
	r.p.query.Core.Named(func(t algebra.Table, column string) string {
		for _, id := range append([]string{t.Dataset}, t.Parts...) {
			used[id+"."+policies.BaseColumn(column)] = true
		}
		return column
	})
	for _, x := range draws {
		if x == nil || slices.ContainsFunc(m.Sources, func(s MarkSource) bool { return s.Dataset == x.dataset }) {
			continue
		}
		s := MarkSource{Dataset: x.dataset, Twin: x.twin, Units: x.units, Rows: x.rows}
		for _, c := range x.madeUp {
			if used[x.dataset+"."+c] && !slices.Contains(s.MadeUp, c) {
				s.MadeUp = append(s.MadeUp, c)
			}
		}
		m.Sources = append(m.Sources, s)
	}
	return m
}

// rehearsedBefore is an earlier rehearsal whose answer stands for this one's, as a
// release does for its repeat.
func (d *Domain) rehearsedBefore(r *rehearsal) *rehearsal {
	d.rehearsed.mu.Lock()
	defer d.rehearsed.mu.Unlock()
	for _, id := range d.rehearsed.order {
		x := d.rehearsed.jobs[id]
		if x != r && x.operator == r.operator && x.ended() && x.rel != nil && x.repeatOf == "" && r.p.plan.Consents == nil &&
			x.p.request.Query == r.p.request.Query && x.p.request.Licence == r.p.request.Licence && x.p.request.Purpose == r.p.request.Purpose && slices.Equal(x.snapshots, r.snapshots) && x.p.plan.Mode == r.p.plan.Mode && x.p.plan.Rho >= r.p.plan.Rho {
			return x
		}
	}
	return nil
}

// RehearsalAnswer returns what came of a rehearsal, to who asked it: marked, without a
// digest or receipt. released leaves out the text's own post-processing.
func (d *Domain) RehearsalAnswer(ctx context.Context, party, id string, released bool) (*Answer, error) {
	r := d.rehearsalOf(party, id)
	if r == nil {
		return nil, errNoRehearsal()
	}
	if !r.ended() {
		return nil, refusal(policies.Reason{Code: "OUTCOME_UNKNOWN", Rule: "request", SetBy: "sandgate", ZH: "演练未完成", EN: "the rehearsal has not finished",
			HintZH: "稍后再取", HintEN: "ask again later"})
	}
	if r.failed != nil {
		return nil, refusal(*r.failed)
	}
	rel, err := r.rel.Apply(r.p.query.Post)
	if err != nil {
		return nil, err
	}
	a := &Answer{Job: id, Release: rel, RepeatOf: r.repeatOf, owner: r.operator, query: r.p.query.Post.Query, Mark: r.mark, Collides: rel.Collides()}
	if released || a.query == nil {
		return a, nil
	}
	return a, d.derive(ctx, party, r.operator, a, a.query)
}

// CancelRehearsal ends one; it costs nothing either way.
func (d *Domain) CancelRehearsal(party, id string) error {
	r := d.rehearsalOf(party, id)
	if r == nil {
		return errNoRehearsal()
	}
	if r.ended() {
		return invalid("NOT_CANCELLABLE", "演练已有结果，不能取消", "the rehearsal has its outcome already and cannot be cancelled")
	}
	r.cancel()
	return nil
}

// noRelease refuses by name what is for releases alone: a rehearsal never passes for one.
func noRelease(job string) error {
	if !isRehearsal(job) {
		return nil
	}
	return refusal(policies.Reason{Code: "REHEARSAL_NO_RELEASE", Rule: "twin", SetBy: "sandgate",
		ZH: "这是合成孪生上的演练，不是发布结果：账本中没有它，不出具证据", EN: "this is a rehearsal on a synthetic twin and no release: the ledger does not know it, there is no evidence of it",
		HintZH: "去掉 --on twin 在真实数据上提交同一语句", HintEN: "submit the same text on the real data, without --on twin"})
}
