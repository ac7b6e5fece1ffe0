package gateway

import (
	"context"
	"errors"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// executeTwin learns a reserved twin; see learn.
func (d *Domain) executeTwin(id string, t *likening, r *run) error {
	var document []byte
	var certificate entry.TwinCertificate
	return d.learn(r, learning{
		open: func() bool {
			was, _ := d.state.Twin(id)
			return was.Phase == state.PhaseReserved
		},
		compute: func(ctx context.Context) (err error) {
			if document, err = d.attemptTwin(ctx, id, t); err == nil {
				certificate, err = certifyTwin(document)
			}
			return err
		},
		tick:   ticks(d.opt.Tick).quarter,
		drop:   func() error { return d.dropModel(id) },
		fail:   func(code string) error { return d.failTwin(id, code) },
		commit: func() error { return d.commitTwin(id, certificate) },
	})
}

// attemptTwin learns, over what is kept.
func (d *Domain) attemptTwin(ctx context.Context, id string, t *likening) (document []byte, err error) {
	kept, err := d.openModel(id, true)
	if err != nil {
		return nil, err
	}
	defer kept.close()
	job := t.job
	job.Seed = kept.seed()
	var widths []int
	for _, p := range job.Twin.Plan().Passes {
		widths = append(widths, p.Width)
	}
	limits := sandbox.Limits{Wall: modelWall, Memory: d.opt.Memory, Threads: modelThreads, Result: engine.ModelAllowance(widths, false)}
	tell := d.teller(id)
	err = d.onWorker(ctx, t.lease, job, limits, tell, func(ctx context.Context, run *engine.ModelRun) (uerr error) {
		document, uerr = learnTwin(ctx, run.TwinSums, kept, *job.Twin, tell)
		return uerr
	})
	return document, err
}

// learnTwin takes whoever has the exact sums, a worker, through the passes of a schema,
// over what is kept.
func learnTwin(ctx context.Context, exact func(twin.Pass) ([]int64, error), kept *modelFiles, schema twin.Schema, tell func(engine.ModelProgress)) ([]byte, error) {
	if document, err := kept.load(partDocument); document != nil || err != nil {
		return document, err
	}
	journal, err := kept.answers()
	if err != nil {
		return nil, err
	}
	defer func() { _ = journal.close() }()
	learned, err := twin.Learn(ctx, schema, &twinOracle{exact: exact, schema: schema, kept: journal}, func(done, total int) {
		tell(engine.ModelProgress{Stage: engine.StageTrain, Done: uint16(done), Total: uint16(total)})
	})
	var reason *policies.Reason
	if errors.As(err, &reason) && reason.Code == twin.CodeTooFewUnits {
		return nil, &engine.ModelRefused{Code: twin.CodeTooFewUnits} // drawn from noised sums
	}
	if err != nil {
		return nil, err
	}
	document, err := learned.Encode()
	if err != nil {
		return nil, err
	}
	return document, kept.save(partDocument, document)
}

// twinOracle answers the passes of a schema's plan with noised sums, each drawn once:
// an answer that is kept is given again.
type twinOracle struct {
	exact  func(twin.Pass) ([]int64, error)
	schema twin.Schema
	kept   *answers
	next   int
}

// Sums implements twin.Oracle. A pass that is not the next of the plan, at its price,
// is refused before any row is summed.
func (o *twinOracle) Sums(_ context.Context, p twin.Pass) ([]int64, error) {
	if err := o.schema.Admit(o.next, p); err != nil {
		return nil, err
	}
	if p.Rho <= 0 {
		return nil, errors.New("failed to answer a pass: exact sums leave no worker")
	}
	at := o.next
	o.next++
	return o.kept.answer(at, p, p.Norm, p.Rho, func() ([]int64, error) { return o.exact(p) })
}

// certifyTwin is what the ledger keeps of a document.
func certifyTwin(document []byte) (entry.TwinCertificate, error) {
	t, err := twin.Parse(document)
	if err != nil {
		return entry.TwinCertificate{}, err
	}
	rho, err := budget.ParsePrice(t.Rho)
	if err != nil {
		return entry.TwinCertificate{}, err
	}
	return entry.TwinCertificate{Document: digestOf(document), Schema: t.SchemaDigest, Rho: rho, Units: t.Units, MarginalsOnly: t.MarginalsOnly, Quality: entry.FiguresOf(t.Quality), Code: Version()}, nil
}

// commitTwin publishes a learned twin, or ends it when it may no longer be.
func (d *Domain) commitTwin(id string, c entry.TwinCertificate) error {
	stopped := false
	_, err := d.append(context.Background(), func(e *entry.Entry) error {
		if t, _ := d.state.Twin(id); t.Phase != state.PhaseReserved {
			return errEnded
		}
		e.Actor = "gateway"
		if f := d.state.StoppedTwin(d.state.Book(), id, e.Time()); f != nil {
			stopped, e.Kind, e.TwinFailed = true, entry.KindTwinFailed, f
			return nil
		}
		e.Kind, e.TwinPublished = entry.KindTwinPublished, &entry.TwinPublished{Twin: id, Certificate: c}
		return nil
	})
	if stopped || errors.Is(err, errEnded) {
		return errors.Join(errors.New("stopped"), err, d.dropModel(id))
	}
	return err
}
