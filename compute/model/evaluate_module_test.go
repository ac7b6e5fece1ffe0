package model

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sandgate/sandgate/policies"
)

func moduleSpec() policies.ModelSpec {
	s := spec(policies.FamilyModule, false)
	s.Features, s.Groups, s.Release = features(2, 1), []string{"c0"}, policies.ReleaseAggregates
	s.Module = &policies.ModelModule{SHA256: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", Size: 1}
	s.Bounds = &policies.ScoreBounds{Low: -2, High: 2, Bins: 16}
	return s
}

// A module's design has one pass, over all units; a specification that means a training,
// or leaves out where scores lie, makes none.
func TestModuleDesign(t *testing.T) {
	d := design(t, moduleSpec())
	if p, err := d.Plan(); err != nil || len(p.Passes) != 0 || p.Evaluation.Width != 2*17*(1+len(d.Groups[0].Codes)+1) {
		t.Errorf("%+v %v", p, err)
	}
	for what, change := range map[string]func(*policies.ModelSpec){
		"no module":   func(s *policies.ModelSpec) { s.Module = nil },
		"no bounds":   func(s *policies.ModelSpec) { s.Bounds = nil },
		"no width":    func(s *policies.ModelSpec) { s.Bounds.High = s.Bounds.Low },
		"no number":   func(s *policies.ModelSpec) { s.Bounds.Low = math.NaN() },
		"one bin":     func(s *policies.ModelSpec) { s.Bounds.Bins = 1 },
		"held out":    func(s *policies.ModelSpec) { s.HoldOut = 20 },
		"scores":      func(s *policies.ModelSpec) { s.Release = policies.ReleaseScores },
		"a setting":   func(s *policies.ModelSpec) { s.Setting.Depth = 3 },
		"private":     func(s *policies.ModelSpec) { s.Private, s.Rho = true, "0.01" },
		"a number":    func(s *policies.ModelSpec) { s.Label = policies.ModelLabel{Column: "cost"} },
		"not trained": func(s *policies.ModelSpec) { s.Family = policies.FamilyLogistic },
	} {
		s := moduleSpec()
		change(&s)
		if _, err := NewDesign(s, clinic()); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
	s := moduleSpec()
	s.Label = policies.ModelLabel{}
	if d := design(t, s); d.scoreLabels() != 1 || must(EvaluationPass(d)).Width != 17*(2+len(d.Groups[0].Codes)) {
		t.Error("a design without a label counts by label")
	}
}

// TestR02_ModuleCountsMoveByOneUnit: whatever its scores are, numbers or not, a unit's
// presence moves the counts by no more than the pass's norm.
func TestR02_ModuleCountsMoveByOneUnit(t *testing.T) {
	d := design(t, moduleSpec())
	p := must(EvaluationPass(d))
	r := rand.New(rand.NewPCG(8, 1))
	odd := []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e300, -1e300, 2, -2, 0}
	for range 200 {
		x := wild(r, d, 30, true)
		scores := make([]float64, x.Rows())
		for i := range scores {
			x.Label[i] = float32(r.IntN(2))
			if scores[i] = 8*r.Float64() - 4; r.IntN(3) == 0 {
				scores[i] = odd[r.IntN(len(odd))]
			}
		}
		all, err := ScoreSums(x, d, p, scores, nil)
		if err != nil {
			t.Fatal(err)
		}
		members := slices.Repeat([]bool{true}, x.Count)
		members[r.IntN(x.Count)] = false
		less, err := ScoreSums(x, d, p, scores, members)
		if err != nil {
			t.Fatal(err)
		}
		square := int64(0)
		for i := range all {
			square += (all[i] - less[i]) * (all[i] - less[i])
		}
		if square == 0 || square > p.Norm*p.Norm {
			t.Fatalf("one unit moves the counts by a square of %d; the norm's is %d", square, p.Norm*p.Norm)
		}
	}
}

// The figures hold the true ones in their intervals about as often as they say.
func TestModuleFiguresCover(t *testing.T) {
	d := design(t, moduleSpec())
	p := must(EvaluationPass(d))
	r, rnd := rand.New(rand.NewPCG(9, 1)), source(9)
	draw := func(units int) (*Data, []float64) {
		x, scores := judgedBinary(d, r, units)
		oneRow(x)
		for i := range scores {
			scores[i] = min(max(math.Log(scores[i]/(1-scores[i]))/2, -2), 2)
		}
		return x, scores
	}
	mean := func(scores []float64) float64 {
		s := 0.0
		for _, v := range scores {
			s += v
		}
		return s / float64(len(scores))
	}
	x, scores := draw(60_000)
	trueAUC, trueMean := auc(scores, x.Label), mean(scores)
	misses, meanMisses := 0, 0
	const runs = 40
	for range runs {
		x, scores := draw(2000)
		unscored := 0
		for i := range scores {
			if i%20 == 0 {
				scores[i] = math.NaN()
				unscored++
			}
		}
		sums, err := ScoreSums(x, d, p, scores, nil)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Evaluate(noise(t, sums, p, rnd), d)
		if err != nil || e.AUC == nil || e.Mean == nil || e.Unscored == nil || len(e.Calibration) != 16 || e.Accuracy != nil {
			t.Fatalf("%+v %v", e, err)
		}
		if trueAUC < e.AUC.Low || trueAUC > e.AUC.High {
			misses++
		}
		if trueMean < e.Mean.Low || trueMean > e.Mean.High {
			meanMisses++
		}
		if math.Abs(e.Unscored.Value-float64(unscored)) > 6*e.Sigma*math.Sqrt2 || e.AUC.High-e.AUC.Low > 0.2 {
			t.Errorf("%v unscored of %d, AUC %+v", e.Unscored, unscored, e.AUC)
		}
	}
	if misses > 8 || meanMisses > 8 {
		t.Errorf("of %d intervals %d miss the AUC and %d the mean", runs, misses, meanMisses)
	}
}
