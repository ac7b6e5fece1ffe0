package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// Model workers and scorers have seats of their own: a training that takes minutes
// holds up no query.
const (
	modelSeats = 2
	scoreSeats = 4
)

// modelWall bounds one model from its first row to its report. A gateway that is
// restarted begins it anew.
const modelWall = 30 * time.Minute

// modelThreads is how many threads a model worker computes on.
const modelThreads = 2

// stageEvaluate follows the stages that a worker tells of.
const stageEvaluate engine.ModelStage = 255

// trained is what becomes of a model, before the ledger says so.
type trained struct {
	parameters  []byte // the file
	report      []byte // what the gate found, in full
	figures     []byte // noised; nil unless it passed
	certificate policies.ModelCertificate
}

// executeModel trains a reserved model; see learn.
func (d *Domain) executeModel(id string, t *training, r *run) error {
	var out *trained
	tick := ticks(d.opt.Tick).quarter
	if t.job.Design.Spec.Family == policies.FamilyModule {
		tick = ticks(d.opt.Tick).after // how long it takes is up to its operator
	}
	return d.learn(r, learning{
		open: func() bool {
			was, _ := d.state.Model(id)
			return was.Phase == state.PhaseReserved
		},
		compute: func(ctx context.Context) (err error) {
			out, err = d.attemptModel(ctx, id, t)
			return err
		},
		tick:   tick,
		drop:   func() error { return d.dropModel(id) },
		fail:   func(code string) error { return d.failModel(id, code) },
		commit: func() error { return d.certifyModel(id, out) },
	})
}

// attemptModel computes.
func (d *Domain) attemptModel(ctx context.Context, id string, t *training) (out *trained, err error) {
	kept, err := d.openModel(id, true)
	if err != nil {
		return nil, err
	}
	defer kept.close()
	plan, err := t.job.Design.Plan()
	if err != nil {
		return nil, err
	}
	job := t.job
	job.Seed = kept.seed()
	if job.Module, err = d.moduleOf(t); err != nil {
		return nil, err
	}
	limits := sandbox.Limits{Wall: modelWall, Memory: d.opt.Memory, Threads: modelThreads, Result: engine.ModelAllowance(widths(plan, job.Design.Spec.Private), job.Design.Spec.Inside())}
	tell := d.teller(id)
	err = d.onWorker(ctx, t.lease, job, limits, tell, func(ctx context.Context, run *engine.ModelRun) (uerr error) {
		out, uerr = trainOn(ctx, run, kept, job, plan, tell)
		return uerr
	})
	return out, err
}

// widths are those of the passes whose exact sums may leave the worker.
func widths(p model.Plan, private bool) []int {
	out := []int{p.Evaluation.Width}
	if private {
		for _, x := range p.Passes {
			out = append(out, x.Width)
		}
	}
	return out
}

// passesOf lists the passes whose sums leave the worker, for who asks beforehand.
func passesOf(design *model.Design) ([]model.Pass, error) {
	plan, err := design.Plan()
	if err != nil {
		return nil, err
	}
	var out []model.Pass
	if design.Spec.Private {
		out = plan.Passes
	}
	return append(out, plan.Evaluation), nil
}

// trainOn takes a worker through training, gate and evaluation, over what is kept.
func trainOn(ctx context.Context, run *engine.ModelRun, kept *modelFiles, job engine.ModelJob, plan model.Plan, tell func(engine.ModelProgress)) (*trained, error) {
	design := job.Design
	o, err := newOracle(run, kept, plan, tell)
	if err != nil {
		return nil, err
	}
	defer o.close()
	if design.Spec.Family == policies.FamilyModule {
		return countModule(run, kept, job, o)
	}
	out := &trained{}
	if out.parameters, err = kept.load(partParameters); err != nil {
		return nil, err
	}
	if out.parameters == nil {
		if design.Spec.Private {
			out.parameters, err = trainPrivately(ctx, design, o)
		} else {
			out.parameters, err = run.Fit()
		}
		if err != nil {
			return nil, err
		}
		if err := kept.save(partParameters, out.parameters); err != nil {
			return nil, err
		}
	}
	if out.report, err = kept.load(partReport); err != nil {
		return nil, err
	}
	if out.report == nil {
		if out.report, err = run.Gate(out.parameters); err != nil {
			return nil, err
		}
		if err := kept.save(partReport, out.report); err != nil {
			return nil, err
		}
	}
	if out.certificate, err = certificateOf(out.report); err != nil {
		return nil, err
	}
	if out.certificate.Verdict != policies.VerdictPass {
		return out, nil // nothing leaves but the verdict and its reasons
	}
	if out.figures, err = o.evaluate(design, out.parameters); err != nil {
		return nil, err
	}
	if out.figures == nil {
		return out, nil
	}
	out.certificate.Evaluation = digestOf(out.figures)
	return out, kept.save(partFigures, out.figures)
}

// trainPrivately computes parameters from noised sums alone.
func trainPrivately(ctx context.Context, design model.Design, o *oracle) ([]byte, error) {
	p, err := model.Train(ctx, design, o, nil)
	if err != nil {
		var reason *policies.Reason
		if errors.As(err, &reason) {
			return nil, &engine.ModelRefused{Code: engine.ModelUnfit}
		}
		return nil, err
	}
	return p.Encode()
}

// oracle answers the passes of a plan with noised sums, each drawn once: an answer
// that is kept is given again.
type oracle struct {
	run  *engine.ModelRun
	plan model.Plan
	kept *answers
	next int
	tell func(engine.ModelProgress)
}

func newOracle(run *engine.ModelRun, files *modelFiles, plan model.Plan, tell func(engine.ModelProgress)) (*oracle, error) {
	kept, err := files.answers()
	if err != nil {
		return nil, err
	}
	return &oracle{run: run, plan: plan, kept: kept, tell: tell}, nil
}

func (o *oracle) close() { _ = o.kept.close() }

// Sums implements model.Oracle. A pass that is not the next of the plan, at its price,
// is refused before any row is summed.
func (o *oracle) Sums(_ context.Context, p model.Pass) ([]int64, error) {
	if err := o.plan.Admit(o.next, p); err != nil {
		return nil, err
	}
	if p.Rho <= 0 {
		return nil, errors.New("failed to answer a pass: exact sums leave no worker")
	}
	at := o.next
	o.next++
	if total := len(o.plan.Passes); total > 0 && total < 1<<16 {
		o.tell(engine.ModelProgress{Stage: engine.StageTrain, Done: uint16(o.next), Total: uint16(total)})
	}
	return o.answer(at, p)
}

// answer noises what the worker sums, durably before anybody sees it.
func (o *oracle) answer(at int, p model.Pass) ([]int64, error) {
	return o.kept.answer(at, p, p.Norm, p.Rho, func() ([]int64, error) { return o.run.Sums(p) })
}

// evaluate releases the figures on the held-out units.
func (o *oracle) evaluate(design model.Design, file []byte) ([]byte, error) {
	parameters, err := model.Parse(file)
	if err != nil {
		return nil, err
	}
	p := o.plan.Evaluation
	p.Model = parameters
	at := 0 // of the journal: a training without noise asks for no sums
	if design.Spec.Private {
		at = len(o.plan.Passes)
	}
	return o.figures(design, p, at)
}

// figures answers the pass of the evaluation and reads it; nil when noise hides the
// units.
func (o *oracle) figures(design model.Design, p model.Pass, at int) ([]byte, error) {
	o.tell(engine.ModelProgress{Stage: stageEvaluate, Done: 0, Total: 1})
	sums, err := o.answer(at, p)
	if err != nil {
		return nil, err
	}
	figures, err := model.Evaluate(sums, design)
	var reason *policies.Reason
	if errors.As(err, &reason) {
		return nil, nil // noise hides the held-out units: a certificate without figures
	}
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(figures)
	if err != nil {
		return nil, fmt.Errorf("failed to encode figures: %w", err)
	}
	return text, nil
}

// certifyModel commits to a trained model, or ends it without a certificate when it may
// no longer go on.
func (d *Domain) certifyModel(id string, out *trained) error {
	if err := out.certificate.Check(); err != nil {
		// A report that contradicts itself certifies nothing.
		return errors.Join(err, d.failModel(id, "EXECUTION_FAILED"))
	}
	stopped := false
	_, err := d.append(context.Background(), func(e *entry.Entry) error {
		m, _ := d.state.Model(id)
		if m.Phase != state.PhaseReserved {
			return errEnded
		}
		e.Actor = "gateway"
		if f := d.state.StoppedModel(d.state.Book(), id, e.Time()); f != nil {
			stopped, e.Kind, e.ModelFailed = true, entry.KindModelFailed, f
			return nil
		}
		e.Kind = entry.KindModelCertified
		e.ModelCertified = &entry.ModelCertified{Model: id, Certificate: out.certificate, Parameters: digestOf(out.parameters)}
		return nil
	})
	if stopped || errors.Is(err, errEnded) {
		return errors.Join(errors.New("stopped"), err, d.dropModel(id))
	}
	if err == nil && out.certificate.Verdict != policies.VerdictPass {
		// Nobody will ask for its parameters again, nor for the sums they are made of.
		for _, part := range []string{partParameters, partAnswers} {
			if rerr := os.Remove(d.modelPath(id, part)); !errors.Is(rerr, fs.ErrNotExist) { // a module keeps no parameters
				err = errors.Join(err, rerr)
			}
		}
	}
	return err
}
