package model

import (
	"errors"
	"math"
)

// Estimate is a figure with an interval that holds the true one in 95 of 100 cases: of
// the noise, and, where it says so, of the choice of the held-out units.
type Estimate struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

func estimate(v, sd, lo, hi float64) *Estimate {
	if math.IsNaN(v) || math.IsNaN(sd) || math.IsInf(sd, 0) || math.IsInf(v, 0) {
		return nil
	}
	const z = 1.959964
	return &Estimate{Value: min(max(v, lo), hi), Low: min(max(v-z*sd, lo), hi), High: min(max(v+z*sd, lo), hi)}
}

// Evaluation is how a model does on held-out units, drawn from noisy sums alone: it may
// leave the domain with them. A figure that too few units stand behind is absent.
type Evaluation struct {
	Units *Estimate `json:"units"` // held out
	Sigma float64   `json:"sigma"` // standard deviation of the noise of a count
	// Of a class model.
	Accuracy *Estimate `json:"accuracy,omitempty"`
	// AUC of a binary model; its interval covers noise and sampling.
	AUC *Estimate `json:"auc,omitempty"`
	// Confusion has a row per class, a column per prediction (binary: at 0.5), in units.
	Confusion   [][]float64       `json:"confusion,omitempty"`
	Calibration []CalibrationPart `json:"calibration,omitempty"`
	// Of a number: RMSE and Bias in the label's own units.
	R2   *Estimate `json:"r2,omitempty"`
	RMSE *Estimate `json:"rmse,omitempty"`
	Bias *Estimate `json:"bias,omitempty"` // mean of label less prediction
	// Of a module's scores: their mean, and how many units have none.
	Mean     *Estimate `json:"mean,omitempty"`
	Unscored *Estimate `json:"unscored,omitempty"`
	// Clusters are the units nearest to each centre.
	Clusters []float64    `json:"clusters,omitempty"`
	Groups   []GroupPart  `json:"groups,omitempty"`
	Gaps     []GroupsGaps `json:"gaps,omitempty"`
}

// CalibrationPart is the units whose score lies in [From, To): how many they are, and
// their mean label (of classes: how many were right). Numbers are in the label's units.
type CalibrationPart struct {
	From     float64   `json:"from"`
	To       float64   `json:"to"`
	Units    float64   `json:"units"`
	Observed *Estimate `json:"observed,omitempty"`
}

// GroupPart is one code of a group; figures are absent when Withheld: too few units.
type GroupPart struct {
	Column   string  `json:"column"`
	Code     string  `json:"code"` // empty: missing
	Units    float64 `json:"units"`
	Withheld bool    `json:"withheld,omitempty"`
	// Binary: rates of predicted positives, of all and of each label.
	Accuracy      *Estimate `json:"accuracy,omitempty"`
	Selected      *Estimate `json:"selected,omitempty"`
	TruePositive  *Estimate `json:"true_positive,omitempty"`
	FalsePositive *Estimate `json:"false_positive,omitempty"`
	RMSE          *Estimate `json:"rmse,omitempty"`
	Bias          *Estimate `json:"bias,omitempty"`
	// Of a module's scores: their mean, and the share of class 1 among the units.
	Mean     *Estimate `json:"mean,omitempty"`
	Observed *Estimate `json:"observed,omitempty"`
}

// GroupsGaps is the largest difference between codes of a group that are not withheld.
type GroupsGaps struct {
	Column       string  `json:"column"`
	Accuracy     float64 `json:"accuracy,omitempty"`
	Selected     float64 `json:"selected,omitempty"`      // demographic parity
	TruePositive float64 `json:"true_positive,omitempty"` // equal opportunity
	RMSE         float64 `json:"rmse,omitempty"`
}

// minSupport is the fewest units behind a figure of a group; noise may ask for more.
const minSupport = 50

var errEvaluation = errors.New("failed to evaluate: the sums are not those of the design's evaluation pass")

// Evaluate reads the noisy sums of EvaluationPass(d). It refuses, with CodeTooFewUnits,
// when noise hides the held-out units.
func Evaluate(noisy []int64, d Design) (Evaluation, error) {
	p, err := EvaluationPass(d)
	if err != nil {
		return Evaluation{}, err
	}
	if len(noisy) != p.Width {
		return Evaluation{}, errEvaluation
	}
	v := make([]float64, len(noisy))
	for i, x := range noisy {
		v[i] = float64(x) * p.Step
	}
	e := reader{d: d, v: v, sigma: p.Sigma(), out: Evaluation{Sigma: p.Sigma()}}
	switch d.judging() {
	case judgeScores:
		err = e.scores()
	case judgeBinary:
		err = e.binary()
	case judgeNumber:
		err = e.number()
	case judgeClasses:
		err = e.classes()
	default:
		err = e.clusters()
	}
	if err != nil {
		return Evaluation{}, err
	}
	e.groups()
	return e.out, nil
}

type reader struct {
	d     Design
	v     []float64
	sigma float64
	out   Evaluation
}

// units reports how many there are, from cells that hold each once.
func (e *reader) units(n float64, cells int) error {
	sd := e.sigma * math.Sqrt(float64(cells))
	if !(n > 4*sd && n >= minSupport) {
		return tooFewUnits(int(math.Ceil(max(4*sd, minSupport))))
	}
	e.out.Units = estimate(n, sd, 0, math.Inf(1))
	return nil
}

// ratio is a/b where a is part of b, both noisy sums of cells (na of b's nb); nil when
// too few units are behind it.
func (e *reader) ratio(a, b float64, na, nb int) *Estimate {
	if !(b >= minSupport && b > 4*e.sigma*math.Sqrt(float64(nb))) {
		return nil
	}
	q := a / b
	variance := e.sigma * e.sigma * (float64(na)*(1-q)*(1-q) + float64(nb-na)*q*q) / (b * b)
	q = min(max(q, 0), 1)
	return estimate(a/b, math.Sqrt(variance+q*(1-q)/b), 0, 1)
}

func (e *reader) binary() error {
	var neg, pos [scoreBins]float64
	var n, p float64
	for i := range scoreBins {
		neg[i], pos[i] = e.v[2*i], e.v[2*i+1]
		n, p = n+neg[i], p+pos[i]
	}
	if err := e.units(n+p, 2*scoreBins); err != nil {
		return err
	}
	half := scoreBins / 2
	sum := func(x []float64) (s float64) {
		for _, y := range x {
			s += y
		}
		return s
	}
	e.out.Confusion = [][]float64{{sum(neg[:half]), sum(neg[half:])}, {sum(pos[:half]), sum(pos[half:])}}
	e.out.Accuracy = e.ratio(e.out.Confusion[0][0]+e.out.Confusion[1][1], n+p, scoreBins, 2*scoreBins)
	e.nonnegative()
	for i := 0; i < scoreBins; i += 2 {
		a, b := pos[i]+pos[i+1], pos[i]+pos[i+1]+neg[i]+neg[i+1]
		e.out.Calibration = append(e.out.Calibration, CalibrationPart{From: partEdge(i), To: partEdge(i + 2), Units: max(0, b), Observed: e.ratio(a, b, 2, 4)})
	}
	clear := 4 * e.sigma * math.Sqrt(scoreBins)
	if !(min(n, p) > clear && min(n, p) >= 10) {
		return nil // a curve needs both classes
	}
	e.out.AUC = areaUnder(neg[:], pos[:], n, p, e.sigma)
	return nil
}

// areaUnder the ROC curve of noisy histograms, ties halved. Its variance is that of the
// noise (first order) and of sampling (Hanley and McNeil 1982).
func areaUnder(neg, pos []float64, n, p, sigma float64) *Estimate {
	area, below := 0.0, 0.0
	for i := range pos {
		area += pos[i] * (below + neg[i]/2)
		below += neg[i]
	}
	area /= n * p
	noise, under, above := 0.0, 0.0, p
	for i := range pos {
		above -= pos[i]
		dp := (under+neg[i]/2)/(n*p) - area/p
		dn := (above+pos[i]/2)/(n*p) - area/n
		noise += dp*dp + dn*dn
		under += neg[i]
	}
	a := min(max(area, 0), 1)
	q1, q2 := a/(2-a), 2*a*a/(1+a)
	sampling := (a*(1-a) + (p-1)*(q1-a*a) + (n-1)*(q2-a*a)) / (n * p)
	return estimate(area, math.Sqrt(sigma*sigma*noise+max(0, sampling)), 0, 1)
}

func (e *reader) nonnegative() {
	for _, row := range e.out.Confusion {
		for i := range row {
			row[i] = max(0, row[i])
		}
	}
}

// half is the label's units per unit of the scale [-1, 1].
func (e *reader) half() float64 {
	b := e.d.Target.Bounds
	return float64(b[1]-b[0]) / 2 / math.Pow10(e.d.Target.Scale)
}

func (e *reader) number() error {
	n, y, yy, r, rr := e.v[0], e.v[1], e.v[2], e.v[3], e.v[4]
	if err := e.units(n, 1); err != nil {
		return err
	}
	h := e.half()
	mean, total, square := y/n, yy/n-y/n*y/n, 4*rr/n
	s := e.sigma / n
	if total > 4*s {
		q := square / total
		e.out.R2 = estimate(1-q, math.Sqrt(16*s*s+q*q*s*s*(1+4*mean*mean))/total+2*math.Sqrt(1/n)*q, math.Inf(-1), 1)
	}
	e.out.RMSE, e.out.Bias = rmse(n, r, rr, e.sigma, h)
	low := float64(e.d.Target.Bounds[0]) / math.Pow10(e.d.Target.Scale)
	for i := range scoreBins {
		at := 5 + 2*i
		c := CalibrationPart{From: low + 2*h*float64(i)/scoreBins, To: low + 2*h*float64(i+1)/scoreBins, Units: max(0, e.v[at])}
		if w := e.v[at]; w >= minSupport && w > 4*e.sigma {
			q := e.v[at+1] / w
			c.Observed = estimate(low+h*(1+q), h*math.Sqrt((1+q*q)*e.sigma*e.sigma/(w*w)+max(0, total)/w), low, low+2*h)
		}
		e.out.Calibration = append(e.out.Calibration, c)
	}
	return nil
}

// rmse and bias from sums of halved residuals.
func rmse(n, r, rr, sigma, half float64) (*Estimate, *Estimate) {
	s := sigma / n
	square := max(0, 4*rr/n)
	root := math.Sqrt(square)
	spread := math.Sqrt(16*s*s + square*s*s + 2*square*square/n)
	out := &Estimate{Value: half * root, Low: half * math.Sqrt(max(0, square-1.96*spread)), High: half * math.Sqrt(square+1.96*spread)}
	return out, estimate(2*half*r/n, half*math.Sqrt(4*s*s+square/n), -2*half, 2*half)
}

func (e *reader) classes() error {
	k := e.d.Target.Classes
	total, right := 0.0, 0.0
	for i := range k {
		row := e.v[i*k : (i+1)*k]
		e.out.Confusion = append(e.out.Confusion, append([]float64(nil), row...))
		right += row[i]
		for _, x := range row {
			total += x
		}
	}
	if err := e.units(total, k*k); err != nil {
		return err
	}
	e.nonnegative()
	e.out.Accuracy = e.ratio(right, total, k, k*k)
	for i := range scoreBins {
		at := k*k + 2*i
		all := e.v[at] + e.v[at+1]
		e.out.Calibration = append(e.out.Calibration, CalibrationPart{From: float64(i) / scoreBins, To: float64(i+1) / scoreBins, Units: max(0, all), Observed: e.ratio(e.v[at+1], all, 1, 2)})
	}
	return nil
}

func (e *reader) clusters() error {
	head, _ := e.d.judged()
	total := 0.0
	for _, x := range e.v[:head] {
		total += x
		e.out.Clusters = append(e.out.Clusters, max(0, x))
	}
	return e.units(total, head)
}

// groups reads the figures of every code that has the support.
func (e *reader) groups() {
	how := e.d.judging()
	at, _ := e.d.judged()
	per := e.d.perCode()
	for _, f := range e.d.Groups {
		gap := gaps{}
		for code := range f.Bins() {
			g := GroupPart{Column: f.Column}
			if code < len(f.Codes) {
				g.Code = f.Codes[code]
			}
			e.group(&g, how, e.v[at:at+per])
			if !g.Withheld {
				gap.see(g)
			}
			e.out.Groups = append(e.out.Groups, g)
			at += per
		}
		e.out.Gaps = append(e.out.Gaps, gap.of(f.Column))
	}
}

func (e *reader) group(g *GroupPart, how judging, v []float64) {
	n := v[0]
	if how == judgeBinary || how == judgeClasses || how == judgeScores {
		for _, x := range v[1:] {
			n += x
		}
	}
	g.Units = max(0, n)
	if !(n >= minSupport && n > 4*e.sigma*math.Sqrt(float64(len(v)))) {
		g.Withheld = true
		return
	}
	switch how {
	case judgeScores:
		e.scoredGroup(g, v)
	case judgeBinary: // label × prediction
		g.Accuracy = e.ratio(v[0]+v[3], n, 2, 4)
		g.Selected = e.ratio(v[1]+v[3], n, 2, 4)
		g.TruePositive = e.ratio(v[3], v[2]+v[3], 1, 2)
		g.FalsePositive = e.ratio(v[1], v[0]+v[1], 1, 2)
	case judgeNumber:
		g.RMSE, g.Bias = rmse(n, v[1], v[2], e.sigma, e.half())
	case judgeClasses:
		g.Accuracy = e.ratio(v[1], n, 1, 2)
	}
}

// gaps keeps the least and the greatest of each figure.
type gaps [4]struct {
	lo, hi float64
	seen   bool
}

func (g *gaps) see(p GroupPart) {
	for i, x := range []*Estimate{p.Accuracy, p.Selected, p.TruePositive, p.RMSE} {
		if x == nil {
			continue
		}
		if s := &g[i]; !s.seen {
			s.lo, s.hi, s.seen = x.Value, x.Value, true
		} else {
			s.lo, s.hi = min(s.lo, x.Value), max(s.hi, x.Value)
		}
	}
}

func (g *gaps) of(column string) GroupsGaps {
	return GroupsGaps{Column: column, Accuracy: g[0].hi - g[0].lo, Selected: g[1].hi - g[1].lo, TruePositive: g[2].hi - g[2].lo, RMSE: g[3].hi - g[3].lo}
}
