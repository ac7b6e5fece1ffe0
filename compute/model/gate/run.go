package gate

import (
	"context"
	"fmt"
	"io"
)

// Run tries a model and its control, and reports the verdict. It errs when the trial
// or an option is malformed, training fails or the context ends, and with a
// *policies.Reason (GATE_SAMPLE) when the data is too small to judge; a model that does
// not withstand the attacks is no error but a FAIL.
//
// Progress may be nil; it is called from several goroutines, one at a time, with the
// name of a stage and how much of it is done.
func Run(ctx context.Context, t Trial, opt Options, rnd io.Reader, progress func(stage string, done, total int)) (*Report, error) {
	opt, err := opt.completed()
	if err != nil {
		return nil, err
	}
	s, err := seeded(rnd)
	if err != nil {
		return nil, err
	}
	b, err := newBench(t, opt, s.fork("model", 0), "", progress)
	if err != nil {
		return nil, err
	}
	own := opt
	own.Sensitive = nil
	if err := b.nameable(); err != nil {
		return nil, err
	}
	for _, c := range b.sensitive() {
		own.Sensitive = append(own.Sensitive, t.Design.Features[c.feature].Column)
	}
	c, err := newBench(control(t), own, s.fork("control", 0), "control: ", progress)
	if err != nil {
		return nil, err
	}
	b.bounds, c.bounds = t.Design.Spec.Private, t.Design.Spec.Private

	r := &Report{Version: 2, Family: t.Structure.Family, Release: t.Design.Spec.Release, Private: t.Design.Spec.Private, Rho: t.Rho, Epsilon: epsilonText(t.Rho),
		Features: len(t.Design.Features), Parameters: t.Structure.Parameters, Units: about(len(b.in)), HeldOut: about(len(b.out)), Shadows: opt.Shadows}
	if !b.labelled() {
		r.Skipped = []string{CodeAttribute}
	}
	mine, curve, err := b.attack(ctx, r, charged(t.Rho))
	if err != nil {
		return nil, err
	}
	theirs, caught, err := c.attack(ctx, r, charged(t.Rho))
	if err != nil {
		return nil, fmt.Errorf("failed to try the control: %w", err)
	}
	for _, code := range Codes {
		if figures, tried := mine[code]; tried {
			r.Attacks = append(r.Attacks, Finding{Code: code, Figures: r.held(code, figures), Control: r.held(code, theirs[code])})
		}
	}
	for i, f := range rates {
		r.ROC = append(r.ROC, Point{FPR: places3(f), TPR: places3(curve[i]), Control: places3(caught[i])})
	}
	r.decide()
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("failed to conclude the gate: %w", err)
	}
	return r, nil
}

// attack makes every attack; figures have no marks yet. The sizes of the attacks are
// written into r, equal for the model and its control.
func (b *bench) attack(ctx context.Context, r *Report, most float64) (map[string][]Figure, []float64, error) {
	l, err := b.lineUp(ctx)
	if err != nil {
		return nil, nil, err
	}
	out := map[string][]Figure{CodeFamily: b.family()}
	r.Attacked, r.ShadowUnits = about(len(l.units)), about(l.size)
	if out[CodeStructure], err = b.scan(l); err != nil {
		return nil, nil, err
	}
	var curve []float64
	if out[CodeMembership], curve, err = b.membership(ctx, l); err != nil {
		return nil, nil, err
	}
	if out[CodeWorstCase], err = b.worstCase(ctx, l); err != nil {
		return nil, nil, err
	}
	if out[CodeCanary], r.Canaries, err = b.canaries(ctx, l, most); err != nil {
		return nil, nil, err
	}
	if b.labelled() {
		if out[CodeAttribute], err = b.attributes(ctx, l); err != nil {
			return nil, nil, err
		}
	}
	if out[CodeInversion], r.Targets, err = b.inversion(ctx); err != nil {
		return nil, nil, err
	}
	out[CodeInstance] = b.instances(b.rnd.fork("instances", 0))
	return out, curve, nil
}
