package model

import (
	"math"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

// Plan is every pass that a training may ask for, in order, before any data is read:
// kind, norm, step, width and price. Theta, Trees and Model are the trainer's own.
type Plan struct {
	Passes []Pass `json:"passes"`
	// Evaluation is the pass over the held-out units, charged apart.
	Evaluation Pass `json:"evaluation"`
}

// Price is what the training passes cost together: never more than the rho of the
// specification.
func (p Plan) Price() budget.Nano {
	var sum budget.Nano
	for _, x := range p.Passes {
		sum += x.Rho
	}
	return sum
}

// Admit refuses, as CodePass, a pass that is not the i-th of the plan. The release
// kernel's side calls it before it answers, so that a trainer cannot buy precision
// that was not planned. A training without noise may end before the plan does.
func (p Plan) Admit(i int, x Pass) error {
	if i < 0 || i >= len(p.Passes) || !p.Passes[i].fits(x) {
		return reason(CodePass, "第 %d 遍不在计划之内", "pass %d is not in the plan", "重新训练", "train again", i+1)
	}
	return nil
}

func (p Pass) fits(x Pass) bool {
	return p.Kind == x.Kind && p.Rho == x.Rho && p.Norm == x.Norm && p.Step == x.Step && p.Width == x.Width
}

// The lattice: how many steps the largest contribution has. Noise hides the rounding
// of a private one; an exact one is rounded to nine digits.
const (
	privateLattice = 1 << 12
	exactLattice   = 1 << 30
)

// lattice gives norm and step of contributions with an L2 norm of at most bound. The
// step is one over an integer, so that a count is exact.
func (p Pass) lattice(bound float64) Pass {
	size := float64(exactLattice)
	if p.Rho > 0 {
		size = privateLattice
	}
	k := max(1, math.Floor(size/bound))
	p.Step, p.Norm = 1/k, int64(math.Ceil(bound*k))
	return p
}

// Shares of ρ: the moments of a logistic model, the counts of an additive one and the
// levels of a tree.
const (
	shareMoments = 0.25
	shareCounts  = 0.15
	shareLevels  = 0.6
)

// Plan lists the passes of the design.
func (d Design) Plan() (Plan, error) {
	training, evaluation, r := prices(d.Spec)
	if r != nil {
		return Plan{}, r
	}
	out := Plan{Evaluation: d.evaluation(evaluation)}
	s := d.Spec.Setting
	bins, outputs := width(d.terms(), d.Features), d.outputs()
	inputs := len(slotsOf(d.Features))
	var first, rest []Pass
	share := 1.0
	repeat := func(n int, p Pass) {
		for range n {
			rest = append(rest, p)
		}
	}
	switch d.Spec.Family {
	case policies.FamilyLinear:
		repeat(1, Pass{Kind: PassMoments, Width: momentsWidth(inputs, outputs)})
	case policies.FamilyLogistic, policies.FamilySoftmax:
		moments, gradient := Pass{Kind: PassMoments, Width: momentsWidth(inputs, outputs)}, Pass{Kind: PassGradient, Width: inputs * outputs}
		first, share = []Pass{moments}, shareMoments
		newton := !d.Spec.Private && d.Spec.Family == policies.FamilyLogistic
		for i := range s.Steps {
			if i > 0 && newton {
				rest = append(rest, moments)
			}
			rest = append(rest, gradient)
		}
	case policies.FamilyAdditive:
		first, share = []Pass{{Kind: PassBins, Width: 2 * bins}}, shareCounts
		repeat(s.Rounds, Pass{Kind: PassResiduals, Width: bins})
	case policies.FamilyTree:
		first, share = d.levels(bins), shareLevels
		repeat(1, Pass{Kind: PassLeaves, Width: 2 << s.Depth})
	case policies.FamilyForest:
		if !d.Spec.Private {
			for range s.Trees {
				first = append(first, d.levels(bins)...)
			}
		}
		share = 0
		repeat(1, Pass{Kind: PassLeaves, Width: (2 * s.Trees) << s.Depth})
	case policies.FamilyKMeans:
		repeat(s.Steps, Pass{Kind: PassClusters, Width: s.Clusters * inputs})
	}
	if d.Spec.Private && training < budget.Nano(len(first)+len(rest)) {
		return Plan{}, reason(CodePrice, "rho 太小：%d 遍中每一遍至少需要 0.000000001", "rho is too small: each of %d passes needs 0.000000001 at least", "提高 rho，或减少 steps、rounds、depth", "raise rho, or lower steps, rounds or depth", len(first)+len(rest))
	}
	early := budget.Nano(0)
	if len(first) > 0 {
		early = max(budget.Nano(len(first)), budget.Nano(math.Floor(share*float64(training))))
		early = min(early, training-budget.Nano(len(rest)))
	}
	if !d.Spec.Private {
		early = 0
	}
	divide(first, early)
	divide(rest, training-early)
	for _, p := range append(first, rest...) {
		out.Passes = append(out.Passes, p.lattice(d.bound(p)))
	}
	return out, nil
}

// levels are the passes that grow a tree: the histograms of all nodes of a level.
func (d Design) levels(bins int) []Pass {
	var out []Pass
	for l := range d.Spec.Setting.Depth {
		out = append(out, Pass{Kind: PassBins, Width: (2 * bins) << l})
	}
	return out
}

// divide splits rho evenly, to the last nano.
func divide(passes []Pass, rho budget.Nano) {
	for i := range passes {
		n := budget.Nano(len(passes) - i)
		passes[i].Rho = rho / n
		rho -= passes[i].Rho
	}
}

// outputs is how many linear forms a model of the design has.
func (d Design) outputs() int { return max(1, d.Target.Classes-1) }

func momentsWidth(inputs, outputs int) int { return 1 + inputs*(inputs+1)/2 + inputs*outputs + 1 }

// bound is the largest L2 norm of one unit's contribution to a pass, before it is cut.
// Private moments and gradients are cut below what is possible: the few units that
// reach it are not worth the noise that all would pay for.
func (d Design) bound(p Pass) float64 {
	private, rows := p.Rho > 0, rowBound(d.Features)
	switch p.Kind {
	case PassMoments:
		b := d.momentsBound(private)
		return math.Sqrt(1 + b*b)
	case PassGradient:
		if private {
			return d.Spec.Setting.Clip
		}
		return math.Sqrt(2 * rows)
	case PassBins:
		return math.Sqrt(float64(len(d.terms())))
	case PassResiduals:
		return residualCap(p) * math.Sqrt(float64(len(d.terms())))
	case PassLeaves:
		return math.Sqrt(float64(max(1, d.Spec.Setting.Trees)))
	}
	return math.Sqrt(rows) // PassClusters: weight and coordinates
}

// momentsBound is the norm to which the moments of a unit but their count are cut.
func (d Design) momentsBound(private bool) float64 {
	rows := rowBound(d.Features)
	full := math.Sqrt((rows*rows+rows)/2 + rows + 1)
	if private {
		return full / 2
	}
	return full
}

// residualCap is the largest residual of a pass; labels lie in [0, 1] or [-1, 1].
func residualCap(p Pass) float64 {
	if p.Rho > 0 {
		return 1
	}
	return 2
}
