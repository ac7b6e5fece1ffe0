package gateway

import (
	"context"
	"time"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/sealed"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// HoldSeats takes every execution seat: jobs are accepted and charged, and none
// runs until the returned function is called.
func (d *Domain) HoldSeats() (free func()) {
	var held []*sandbox.Ticket
	for range d.opt.Jobs {
		t, err := d.pool.Admit(engine.ExecuteHandler, "")
		if err != nil {
			panic(err)
		}
		if err := t.Wait(context.Background(), nil); err != nil {
			panic(err)
		}
		held = append(held, t)
	}
	return func() {
		for _, t := range held {
			t.Close()
		}
	}
}

// RunOn gives executions to another pool's workers.
func (d *Domain) RunOn(p *sandbox.Pool) { d.runner = &engine.Runner{Pool: p} }

// ParseOn gives operators' texts to another pool's analysers.
func (d *Domain) ParseOn(ctx context.Context, p *sandbox.Pool) error {
	s, err := p.Sessions(ctx, engine.AnalyseHandler, parserSessions, sandbox.Limits{Wall: analyserWall, CPU: parseCPU, Memory: analyserMemory})
	if err != nil {
		return err
	}
	old := d.parsers
	d.parsers = s
	return old.Close()
}

// StatusOf is how an error is told to a caller.
func StatusOf(err error) error { return statusOf(err) }

// PublishedSize is the size of the last published checkpoint's tree.
func (d *Domain) PublishedSize() uint64 {
	_, size := d.log.Published()
	return size
}

// LogSize is the number of durable entries.
func (d *Domain) LogSize() uint64 { return d.log.Size() }

// Replay takes a query the whole way to its exact partials and no further: the
// plan, the engine's statement, and what the kernel would be given.
func (d *Domain) Replay(ctx context.Context, operator string, q Query) (*protect.Plan, string, protect.Partials, error) {
	p, err := d.prepare(ctx, operator, "replay", q)
	if err != nil {
		return nil, "", protect.Partials{}, err
	}
	if p.decision.Refused != nil {
		return nil, "", protect.Partials{}, &Refusal{Reasons: p.decision.Refused.Reasons}
	}
	lease, err := d.store.Lease(ctx, p.snaps)
	if err != nil {
		return nil, "", protect.Partials{}, err
	}
	defer lease.Release()
	files, _, err := lease.Open()
	if err != nil {
		return nil, "", protect.Partials{}, err
	}
	var subjects []engine.Subjects
	for i, id := range p.plan.Core.Datasets() {
		var list engine.Subjects
		if p.plan.Consenting(i) {
			d.log.View(func() { list = subjectsOf(d.state.Book().ConsentsFor(id, q.Licence, q.Purpose, d.instant())) })
		}
		subjects = append(subjects, list)
	}
	out, err := d.runner.ExecuteConsented(ctx, p.sql, p.plan, files, subjects, sandbox.Limits{Wall: d.opt.Wall, Memory: d.opt.Memory, Threads: 2})
	return p.plan, p.sql, out, err
}

// WithFault lets a destruction end half way, at the step for which f gives an
// error.
func WithFault(opt Options, f func(step string) error) Options {
	opt.fault = f
	return opt
}

// KeysAnswer says whether whoever holds the master key answers.
func (d *Domain) KeysAnswer() bool {
	_, err := d.wrapper().Wrap(context.Background(), "probe", make([]byte, sealed.KeySize))
	return err == nil
}

// ParseWithin gives operators' texts so long, until the returned function is called.
func (d *Domain) ParseWithin(ctx context.Context, wall time.Duration) (restore func(), err error) {
	s, err := d.pool.Sessions(ctx, engine.AnalyseHandler, parserSessions, sandbox.Limits{Wall: wall, Memory: analyserMemory})
	if err != nil {
		return nil, err
	}
	old := d.parsers
	d.parsers = s
	return func() { d.parsers = old; _ = s.Close() }, nil
}

// UseTwins has rehearsals find these twins, each under its digest.
func (d *Domain) UseTwins(find func(dataset string) (*twin.Twin, string, error)) {
	d.twins = func(_ context.Context, _, dataset string) (*twin.Twin, string, error) { return find(dataset) }
}

// EntryOf is a data set as the book has it.
func (d *Domain) EntryOf(dataset string) (e policies.Entry) {
	d.log.View(func() { e, _ = d.state.Book().Dataset(dataset) })
	return e
}

// HoldDraws draws several data sets and sets memory aside for all of them, in a store of
// synthetic snapshots that is a byte too small when short is true.
func (d *Domain) HoldDraws(ctx context.Context, operator string, short bool, datasets ...string) error {
	var draws []*draw
	for _, id := range datasets {
		x, err := d.drawTwin(ctx, operator, id, TwinRun{Seed: "held"}, nil)
		if err != nil {
			return err
		}
		defer d.rehearsed.letGo(x)
		draws = append(draws, x)
	}
	if short {
		if err := d.shrinkDraws(draws); err != nil {
			return err
		}
	}
	lease, err := d.leaseDraws(ctx, draws...)
	lease.Release()
	return err
}

func (d *Domain) shrinkDraws(draws []*draw) error {
	r := &d.rehearsed
	need := int64(-1)
	for _, x := range draws {
		m, err := r.store.Manifest(x.snapshot)
		if err != nil {
			return err
		}
		need += (m.Data + 4095) / 4096 * 4096
	}
	if err := r.store.Close(); err != nil {
		return err
	}
	var err error
	r.store, err = engine.OpenStore(d.home.Rehearsals(), engine.StoreOptions{Key: rehearsalKey(r.token, "store"), Memory: need})
	return err
}

// DrawsStand has a draw stand until the returned function is called.
func (d *Domain) DrawsStand() (end func()) {
	d.rehearsed.drawing <- struct{}{}
	return func() { <-d.rehearsed.drawing }
}

// ForgetRehearsals lets go of all that have ended, as later ones would.
func (d *Domain) ForgetRehearsals() {
	r := &d.rehearsed
	r.mu.Lock()
	defer r.mu.Unlock()
	r.jobs, r.order = nil, nil
}
