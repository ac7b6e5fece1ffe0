package model

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

// Train walks through the passes of the design's plan and returns the parameters. It
// looks at nothing but the oracle's answers, and asks the same when it is answered the
// same: a training that broke off goes on with Replay. progress, which may be nil, is
// told how many passes are done, of how many at most.
//
// A refusal that the answers give rise to is a *policies.Reason (CodeOneClass,
// CodeTooFewUnits, CodeDegenerate). Of a private model it is drawn from noisy sums and
// may be told; of another it comes from exact ones, and telling it tells a fact about
// the rows.
func Train(ctx context.Context, design Design, oracle Oracle, progress func(done, total int)) (*Parameters, error) {
	plan, err := design.Plan()
	if err != nil {
		return nil, err
	}
	s := &session{ctx: ctx, design: design, plan: plan, oracle: oracle, progress: progress}
	var out *Parameters
	switch design.Spec.Family {
	case policies.FamilyLinear:
		out, err = s.linear()
	case policies.FamilyLogistic, policies.FamilySoftmax:
		out, err = s.classes()
	case policies.FamilyAdditive:
		out, err = s.additive()
	case policies.FamilyTree:
		out, err = s.tree()
	case policies.FamilyForest:
		out, err = s.forest()
	case policies.FamilyKMeans:
		out, err = s.kmeans()
	default:
		return nil, reason(CodeFamily, "模型族 %s 不在此训练", "family %s is not trained here", "只评估", "it is only evaluated", string(design.Spec.Family))
	}
	if err != nil {
		return nil, err
	}
	out.complete(design, plan.Price())
	if err := out.check(); err != nil {
		return nil, degenerate()
	}
	return out, nil
}

// session is one training.
type session struct {
	ctx      context.Context
	design   Design
	plan     Plan
	oracle   Oracle
	progress func(done, total int)
	next     int
}

// answer is the sums of a pass as values, and the standard deviation of their noise.
type answer struct {
	v     []float64
	sigma float64
}

// more says whether the plan holds a further pass of a kind.
func (s *session) more(kind PassKind) bool {
	return s.next < len(s.plan.Passes) && s.plan.Passes[s.next].Kind == kind
}

// ask answers the next pass of the plan, which is of the kind.
func (s *session) ask(kind PassKind, theta []float64, trees []Tree) (answer, error) {
	if !s.more(kind) {
		return answer{}, reason(CodePass, "计划中没有下一遍", "the plan holds no such next pass", "重新训练", "train again")
	}
	p := s.plan.Passes[s.next]
	p.Theta, p.Trees = theta, trees
	sums, err := s.oracle.Sums(s.ctx, p)
	if err != nil {
		return answer{}, fmt.Errorf("failed to answer pass %d: %w", s.next+1, err)
	}
	if len(sums) != p.Width {
		return answer{}, errors.New("failed to train: an answer does not have the width of its pass")
	}
	s.next++
	if s.progress != nil {
		s.progress(s.next, len(s.plan.Passes))
	}
	a := answer{v: make([]float64, len(sums)), sigma: p.Sigma()}
	for i, x := range sums {
		a.v[i] = float64(x) * p.Step
	}
	return a, nil
}

// Sigma is the standard deviation of the noise that a pass's price adds to each sum, in
// units of value; 0 of an exact pass.
func (p Pass) Sigma() float64 {
	if p.Rho <= 0 {
		return 0
	}
	return float64(p.Norm) * p.Step / math.Sqrt(2*p.Rho.Rho())
}

// Replay answers the first passes from a log of answers and asks next for the others.
func Replay(answers [][]int64, next Oracle) Oracle { return &replay{answers: answers, next: next} }

type replay struct {
	answers [][]int64
	next    Oracle
}

func (r *replay) Sums(ctx context.Context, p Pass) ([]int64, error) {
	if len(r.answers) == 0 {
		return r.next.Sums(ctx, p)
	}
	a := r.answers[0]
	if len(a) != p.Width {
		return nil, errors.New("failed to replay a training: a logged answer belongs to another pass")
	}
	r.answers = r.answers[1:]
	return a, nil
}

// Local answers passes over data at hand with their exact sums, over the members alone
// unless members is nil. It is for where the rows are; see Noised.
func Local(d *Data, design Design, members []bool) Oracle {
	return local{d, design, members}
}

type local struct {
	d       *Data
	design  Design
	members []bool
}

func (l local) Sums(ctx context.Context, p Pass) ([]int64, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return Sums(l.d, l.design, p, l.members)
}

// Noised adds noise (release.Sums) to an oracle's answers to passes that have a price.
func Noised(exact Oracle, add func(sums []int64, norm int64, rho budget.Nano) ([]int64, error)) Oracle {
	return noised{exact, add}
}

type noised struct {
	exact Oracle
	add   func(sums []int64, norm int64, rho budget.Nano) ([]int64, error)
}

func (n noised) Sums(ctx context.Context, p Pass) ([]int64, error) {
	sums, err := n.exact.Sums(ctx, p)
	if err != nil || p.Rho == 0 {
		return sums, err
	}
	return n.add(sums, p.Norm, p.Rho)
}

// supported refuses too few units: noise of sigma is allowed for.
func (s *session) supported(n, sigma float64) error {
	least := 2 * s.design.Spec.Setting.Leaf
	if !(n-2*sigma >= float64(least)) {
		return tooFewUnits(least)
	}
	return nil
}

// bothClasses refuses a binary label of which one class is too small.
func (s *session) bothClasses(zero, one, sigma float64) error {
	least := s.design.Spec.Setting.Leaf
	if !(min(zero, one)-2*sigma >= float64(least)) {
		return oneClass(least)
	}
	return nil
}
