package model

import (
	"math"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// Scores of an operator's module are counted: a row falls into one of the declared
// bounds' equal parts, or into the last cell when it has no score. With a label the
// cells of class 0 come first, then those of class 1; the groups' codes each have the
// same cells. So a unit adds 1 in all to each histogram, whatever the module does.

// scoreCells is how many cells one histogram of a module's scores has.
func (d Design) scoreCells() int { return d.scoreLabels() * (d.Spec.Bounds.Bins + 1) }

func (d Design) scoreLabels() int { return max(1, d.Target.Classes) }

// scoreCell is the cell of one row. What is no number is no score.
func (d Design) scoreCell(score float64, label int) int {
	b := d.Spec.Bounds
	bin := b.Bins
	if !math.IsNaN(score) {
		bin = part((within(score, b.Low, b.High)-b.Low)/(b.High-b.Low), b.Bins)
	}
	return label*(b.Bins+1) + bin
}

// ModuleColumns are the types by which a module reads the features of a design: a number
// with decimal places is a float, a code its text, everything else an integer (a date
// the days since 1970-01-01, a truth value 0 or 1).
func (d Design) ModuleColumns() []ModuleType {
	out := make([]ModuleType, len(d.Features))
	for i, f := range d.Features {
		out[i] = f.moduleType()
	}
	return out
}

// ModuleType is how a module reads a feature.
type ModuleType int

// Types of a module's inputs.
const (
	ModuleInt ModuleType = iota
	ModuleFloat
	ModuleText
)

func (f Feature) moduleType() ModuleType {
	switch {
	case f.Kind == KindCategory && f.Type != algebra.Bool:
		return ModuleText
	case f.Kind == KindNumber && f.Scale > 0:
		return ModuleFloat
	}
	return ModuleInt
}

// ModuleValue is one value of a row as a module reads it.
type ModuleValue struct {
	Missing bool
	Int     int64
	Float   float64
	Text    string
}

// ModuleValue reads a feature of a row of a module's design: a number within its
// registered bounds, a code as the catalogue spells it.
func (d *Data) ModuleValue(f Feature, feature, row int) (v ModuleValue) {
	bin := int(d.Bins[feature][row])
	if bin == f.Bins()-1 {
		return ModuleValue{Missing: true}
	}
	switch f.moduleType() {
	case ModuleText:
		v.Text = f.Codes[bin]
	case ModuleFloat:
		v.Float = float64(d.Exact[feature][row]) / math.Pow10(f.Scale)
	default:
		if f.Kind == KindCategory {
			v.Int = boolCode(f.Codes[bin])
		} else {
			v.Int = d.Exact[feature][row]
		}
	}
	return v
}

// histogramOf reads one histogram: by bin the units of class 0 and 1 (without a label
// all are of class 0), and how many have no score.
func (d Design) histogramOf(v []float64) (neg, pos []float64, unscored float64) {
	bins := d.Spec.Bounds.Bins
	neg, unscored = v[:bins], v[bins]
	if d.scoreLabels() == 2 {
		return neg, v[bins+1 : 2*bins+1], unscored + v[2*bins+1]
	}
	return neg, make([]float64, bins), unscored
}

func (d Design) scoreEdge(i int) float64 {
	b := d.Spec.Bounds
	if i == b.Bins {
		return b.High
	}
	return b.Low + (b.High-b.Low)*float64(i)/float64(b.Bins)
}

// scores reads the figures of a module.
func (e *reader) scores() error {
	cells := e.d.scoreCells()
	v := e.v[:cells]
	total := 0.0
	for _, x := range v {
		total += x
	}
	if err := e.units(total, cells); err != nil {
		return err
	}
	neg, pos, unscored := e.d.histogramOf(v)
	labels, labelled := e.d.scoreLabels(), e.d.scoreLabels() == 2
	e.out.Unscored = estimate(unscored, e.sigma*math.Sqrt(float64(labels)), 0, math.Inf(1))
	e.out.Mean = e.meanScore(neg, pos)
	n, p := 0.0, 0.0
	for i := range neg {
		n, p = n+neg[i], p+pos[i]
		all := neg[i] + pos[i]
		c := CalibrationPart{From: e.d.scoreEdge(i), To: e.d.scoreEdge(i + 1), Units: max(0, all)}
		if labelled {
			c.Observed = e.ratio(pos[i], all, 1, 2)
		}
		e.out.Calibration = append(e.out.Calibration, c)
	}
	clear := 4 * e.sigma * math.Sqrt(float64(len(neg)))
	if labelled && min(n, p) > clear && min(n, p) >= 10 { // a curve needs both classes
		e.out.AUC = areaUnder(neg, pos, n, p, e.sigma)
	}
	return nil
}

// meanScore is the mean of the scores there are, each at the middle of its part; nil
// when too few units have one.
func (e *reader) meanScore(neg, pos []float64) *Estimate {
	labels := float64(e.d.scoreLabels())
	n, sum, square := 0.0, 0.0, 0.0
	for i := range neg {
		at, w := (e.d.scoreEdge(i)+e.d.scoreEdge(i+1))/2, neg[i]+pos[i]
		n, sum, square = n+w, sum+w*at, square+w*at*at
	}
	if !(n >= minSupport && n > 4*e.sigma*math.Sqrt(labels*float64(len(neg)))) {
		return nil
	}
	mean, noise := sum/n, 0.0
	for i := range neg {
		far := (e.d.scoreEdge(i)+e.d.scoreEdge(i+1))/2 - mean
		noise += labels * e.sigma * e.sigma * far * far
	}
	spread := max(0, square/n-mean*mean)
	return estimate(mean, math.Sqrt(noise/(n*n)+spread/n), e.d.Spec.Bounds.Low, e.d.Spec.Bounds.High)
}

// scoredGroup reads the figures of one code.
func (e *reader) scoredGroup(g *GroupPart, v []float64) {
	neg, pos, _ := e.d.histogramOf(v)
	g.Mean = e.meanScore(neg, pos)
	if e.d.scoreLabels() == 2 {
		n, p := 0.0, 0.0
		for i := range neg {
			n, p = n+neg[i], p+pos[i]
		}
		g.Observed = e.ratio(p, n+p, len(pos), 2*len(pos))
	}
}

func ofModule(d Design) bool { return d.Spec.Family == policies.FamilyModule }
