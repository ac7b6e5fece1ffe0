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

// executeRelations learns reserved relations; see learn.
func (d *Domain) executeRelations(id string, r *relating, x *run) error {
	var document []byte
	var certificate entry.RelationsCertificate
	return d.learn(x, learning{
		open: func() bool {
			was, _ := d.state.Relations(id)
			return was.Phase == state.PhaseReserved
		},
		compute: func(ctx context.Context) (err error) {
			if document, err = d.attemptRelations(ctx, id, r); err == nil {
				certificate, err = certifyRelations(document)
			}
			return err
		},
		tick: ticks(d.opt.Tick).quarter,
		drop: func() error { return d.dropModel(id) },
		fail: func(code string) error { return d.failRelations(id, code) },
		commit: func() error {
			err := d.commitRelations(id, certificate)
			if err == nil || d.log.Err() != nil || d.ctx.Err() != nil {
				return err // a ledger that stopped takes it up when it is opened again
			}
			// What the ledger refuses now it refuses at the next start too: left open, it
			// would keep all its data sets' twins from being published.
			return errors.Join(err, d.failRelations(id, "EXECUTION_FAILED"))
		},
	})
}

// attemptRelations learns, over what is kept.
func (d *Domain) attemptRelations(ctx context.Context, id string, r *relating) (document []byte, err error) {
	kept, err := d.openModel(id, true)
	if err != nil {
		return nil, err
	}
	defer kept.close()
	job := r.job
	job.Seed = kept.seed()
	var widths []int
	for _, p := range job.Span.Plan().Passes {
		widths = append(widths, p.Width)
	}
	limits := sandbox.Limits{Wall: modelWall, Memory: d.opt.Memory, Threads: modelThreads, Result: engine.ModelAllowance(widths, false)}
	tell := d.teller(id)
	err = d.onWorker(ctx, r.lease, job, limits, tell, func(ctx context.Context, run *engine.ModelRun) (uerr error) {
		document, uerr = learnRelations(ctx, run.TwinSums, kept, *job.Span, r.twins, tell)
		return uerr
	})
	return document, err
}

// learnRelations takes whoever has the exact sums, a worker, through the passes of a span,
// over what is kept.
func learnRelations(ctx context.Context, exact func(twin.Pass) ([]int64, error), kept *modelFiles, span twin.Span, twins []*twin.Twin, tell func(engine.ModelProgress)) ([]byte, error) {
	if document, err := kept.load(partDocument); document != nil || err != nil {
		return document, err
	}
	journal, err := kept.answers()
	if err != nil {
		return nil, err
	}
	defer func() { _ = journal.close() }()
	learned, err := twin.LearnRelations(ctx, span, twins, &spanOracle{exact: exact, span: span, digest: span.Digest(), kept: journal}, func(done, total int) {
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

// spanOracle answers the passes of a span's plan with noised sums, each drawn once: an
// answer that is kept is given again, to a pass of the same span alone.
type spanOracle struct {
	exact  func(twin.Pass) ([]int64, error)
	span   twin.Span
	digest string
	kept   *answers
	next   int
}

// Sums implements twin.Oracle. A pass that is not the next of the plan, at its price, is
// refused before any row is summed.
func (o *spanOracle) Sums(_ context.Context, p twin.Pass) ([]int64, error) {
	if err := o.span.Admit(o.next, p); err != nil {
		return nil, err
	}
	if p.Rho <= 0 {
		return nil, errors.New("failed to answer a pass: exact sums leave no worker")
	}
	at := o.next
	o.next++
	return o.kept.answer(at, struct {
		Span string    `json:"span"`
		Pass twin.Pass `json:"pass"`
	}{o.digest, p}, p.Norm, p.Rho, func() ([]int64, error) { return o.exact(p) })
}

// certifyRelations is what the ledger keeps of a document.
func certifyRelations(document []byte) (entry.RelationsCertificate, error) {
	r, err := twin.ParseRelations(document)
	if err != nil {
		return entry.RelationsCertificate{}, err
	}
	rho, err := budget.ParsePrice(r.Rho)
	if err != nil {
		return entry.RelationsCertificate{}, err
	}
	return entry.RelationsCertificate{Document: digestOf(document), Rho: rho, Units: r.Units, Quality: r.Quality, Code: Version()}, nil
}

// commitRelations publishes learned relations, or ends them when they may no longer be.
func (d *Domain) commitRelations(id string, c entry.RelationsCertificate) error {
	stopped := false
	_, err := d.append(context.Background(), func(e *entry.Entry) error {
		if r, _ := d.state.Relations(id); r.Phase != state.PhaseReserved {
			return errEnded
		}
		e.Actor = "gateway"
		if f := d.state.StoppedRelations(d.state.Book(), id, e.Time()); f != nil {
			stopped, e.Kind, e.RelationsFailed = true, entry.KindRelationsFailed, f
			return nil
		}
		e.Kind, e.RelationsPublished = entry.KindRelationsPublished, &entry.RelationsPublished{Relations: id, Certificate: c}
		return nil
	})
	if stopped || errors.Is(err, errEnded) {
		return errors.Join(errors.New("stopped"), err, d.dropModel(id))
	}
	return err
}

// damagedRelations is a document that is missing, or not the one that the ledger names.
var damagedRelations = policies.Reason{Code: "RELATIONS_DAMAGED", Rule: "twin", SetBy: "sandgate", ZH: "跨表关系的文件缺失或已损坏", EN: "the document of the relations is missing or damaged",
	HintZH: "请网关管理员从备份恢复 models 目录，或由部门重新发布", HintEN: "the gateway's administrator restores the directory models from backup, or a department publishes them again"}

// relationsDocument reads the document of published relations and holds it against the
// ledger.
func (d *Domain) relationsDocument(r state.Relations) ([]byte, error) {
	kept, err := d.openModel(r.Request.Relations, false)
	if err == nil {
		defer kept.close()
		var text []byte
		if text, err = kept.load(partDocument); err == nil && digestOf(text) == r.Published.Certificate.Document {
			return text, nil
		}
	}
	d.opt.Logger.Error("the document of relations is missing or damaged: restore the directory models of the home from backup", "relations", r.Request.Relations)
	return nil, refusal(damagedRelations)
}
