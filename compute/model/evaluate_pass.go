package model

import (
	"math"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

// scoreBins is into how many parts scores are cut for the curve and the calibration of
// a model; an even number, so that 0.5 is an edge. Parts of probabilities are scoreSpan
// of log odds wide, which serves rare classes as well as even ones.
const (
	scoreBins = 24
	scoreSpan = 1.0 / 3
)

// oddsPart is the part of a probability, partEdge the lower edge of a part.
func oddsPart(p float64) int {
	z := math.Log(p/(1-p)) / scoreSpan
	return int(min(max(math.Floor(z)+scoreBins/2, 0), scoreBins-1))
}

func partEdge(i int) float64 {
	switch i {
	case 0:
		return 0
	case scoreBins:
		return 1
	}
	return logistic(float64(i-scoreBins/2) * scoreSpan)
}

// EvaluationPass is the pass over the held-out units: with Model set to what is judged
// (or, of a module, with its scores through ScoreSums) its noisy sums are what Evaluate
// reads. It is charged rho_evaluation, of private models and others.
func EvaluationPass(d Design) (Pass, error) {
	_, rho, r := prices(d.Spec)
	if r != nil {
		return Pass{}, r
	}
	return d.evaluation(rho), nil
}

// judging is what the scores of a design are held against.
type judging int

const (
	judgeBinary  judging = iota // by label and score bin; by group, code, label and prediction
	judgeNumber                 // moments of label and residual; by score bin; by group and code
	judgeClasses                // the confusion of classes; by top score; by group and code
	judgeClusters
	judgeScores // a module's: by label and part of the declared bounds, or no score; by group and code the same
)

func (d Design) judging() judging {
	switch {
	case ofModule(d):
		return judgeScores
	case d.Spec.Family == policies.FamilyKMeans:
		return judgeClusters
	case d.Target.Classes == 0:
		return judgeNumber
	case len(d.Target.Positive) > 0 || d.Target.Threshold != nil:
		return judgeBinary
	}
	return judgeClasses
}

// perCode is how many cells a group's code has, by how a design is judged.
func (d Design) perCode() int {
	switch d.judging() {
	case judgeScores:
		return d.scoreCells()
	case judgeBinary:
		return 4 // label × prediction at 0.5
	case judgeNumber:
		return 3 // weight, residual, its square
	case judgeClasses:
		return 2 // wrong, right
	}
	return 1
}

func (d Design) judged() (head int, bound float64) {
	k := d.Target.Classes
	switch d.judging() {
	case judgeScores:
		return d.scoreCells(), 1
	case judgeBinary:
		return 2 * scoreBins, 1
	case judgeNumber:
		// weight, y, y², residual/2, its square/4; by score bin weight and y
		return 5 + 2*scoreBins, math.Sqrt(5 + 2)
	case judgeClasses:
		return k*k + 2*scoreBins, math.Sqrt(2)
	}
	return d.Spec.Setting.Clusters, 1
}

func (d Design) evaluation(rho budget.Nano) Pass {
	head, bound := d.judged()
	per := d.perCode()
	p := Pass{Kind: PassScores, Rho: rho, Width: head}
	square := bound * bound
	for _, g := range d.Groups {
		p.Width += per * g.Bins()
		if d.judging() == judgeNumber {
			square += 3
		} else {
			square++
		}
	}
	return p.lattice(math.Sqrt(square))
}

// modelScores evaluates the model of a pass.
func modelScores(d *Data, design Design, p Pass, members []bool) ([]int64, error) {
	if p.Model == nil {
		return nil, errPass
	}
	s, err := p.Model.Scorer()
	if err != nil {
		return nil, err
	}
	if !sameFeatures(p.Model.Features, design.Features) || p.Model.Target.Classes != design.Target.Classes {
		return nil, errPass
	}
	scores := make([]float64, d.Rows()*s.Width())
	s.Score(d, scores)
	return ScoreSums(d, design, p, scores, members)
}

func sameFeatures(a, b []Feature) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Column != b[i].Column || a[i].Kind != b[i].Kind || a[i].Bins() != b[i].Bins() || a[i].Bounds != b[i].Bounds {
			return false
		}
	}
	return true
}

// ScoreSums are the exact sums of an evaluation pass, of scores as a Scorer writes them
// (a module's: one number per row). A score that is no number, or out of range, is
// brought into it: the sums stay within the pass's norm whatever the scores are.
func ScoreSums(d *Data, design Design, p Pass, scores []float64, members []bool) ([]int64, error) {
	want := design.evaluation(p.Rho)
	width := design.scoreWidth()
	if !want.fits(p) || p.Kind != PassScores || len(scores) != d.Rows()*width || members != nil && len(members) != d.Count || !wellFormed(d, design) {
		return nil, errPass
	}
	head, _ := design.judged()
	return overUnits(d, p, members, func() contributor {
		return &judge{d: d, design: design, scores: scores, width: width, how: design.judging(), head: head}
	}), nil
}

func (d Design) scoreWidth() int {
	if d.judging() == judgeClasses {
		return d.Target.Classes - 1
	}
	return 1
}

// judge adds what a row contributes to an evaluation.
type judge struct {
	d      *Data
	design Design
	scores []float64
	width  int
	how    judging
	head   int
}

// within brings a score into [lo, hi]; what is no number to its middle.
func within(x, lo, hi float64) float64 {
	if math.IsNaN(x) {
		return (lo + hi) / 2
	}
	return min(max(x, lo), hi)
}

// part is which of n equal parts of [0, 1] x lies in.
func part(x float64, n int) int { return min(int(x*float64(n)), n-1) }

func (j *judge) row(a *unitSum, r int, w float64) {
	y := float64(j.d.Label[r])
	switch j.how {
	case judgeScores:
		label := 0
		if j.design.scoreLabels() == 2 {
			label = int(y)
		}
		cell := j.design.scoreCell(j.scores[r], label)
		a.add(cell, w)
		j.groups(r, func(at int) { a.add(at+cell, w) })
	case judgeBinary:
		s := within(j.scores[r], 0, 1)
		bin, label, predicted := oddsPart(s), int(y), 0
		if bin >= scoreBins/2 {
			predicted = 1
		}
		a.add(2*bin+label, w)
		j.groups(r, func(at int) { a.add(at+2*label+predicted, w) })
	case judgeNumber:
		s := within(j.scores[r], -1, 1)
		residual := (y - s) / 2
		for i, x := range []float64{1, y, y * y, residual, residual * residual} {
			a.add(i, w*x)
		}
		at := 5 + 2*part((s+1)/2, scoreBins)
		a.add(at, w)
		a.add(at+1, w*y)
		j.groups(r, func(at int) {
			a.add(at, w)
			a.add(at+1, w*residual)
			a.add(at+2, w*residual*residual)
		})
	case judgeClasses:
		best, top, rest := 0, 0.0, 1.0
		for k, s := range j.scores[r*j.width : (r+1)*j.width] {
			s = within(s, 0, 1)
			rest -= s
			if s > top {
				best, top = k+1, s
			}
		}
		if rest >= top {
			best, top = 0, within(rest, 0, 1)
		}
		right := 0
		if best == int(y) {
			right = 1
		}
		k := j.design.Target.Classes
		a.add(int(y)*k+best, w)
		a.add(k*k+2*part(top, scoreBins)+right, w)
		j.groups(r, func(at int) { a.add(at+right, w) })
	default:
		k := int(within(j.scores[r], 0, float64(j.head-1)))
		a.add(k, w)
		j.groups(r, func(at int) { a.add(at, w) })
	}
}

// groups finds where each group's code of a row has its cells.
func (j *judge) groups(r int, do func(at int)) {
	at, per := j.head, j.design.perCode()
	for g, f := range j.design.Groups {
		do(at + per*int(j.d.Groups[g][r]))
		at += per * f.Bins()
	}
}
