package model

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/policies"
)

// judged makes labels and scores of known quality: binary, calibrated.
func judgedBinary(d Design, r *rand.Rand, units int) (*Data, []float64) {
	x := wild(r, d, units, false)
	scores := make([]float64, x.Rows())
	for i := range scores {
		z := 1.5 * r.NormFloat64()
		scores[i] = logistic(z)
		x.Label[i] = 0
		if r.Float64() < scores[i] {
			x.Label[i] = 1
		}
	}
	return x, scores
}

func oneRow(d *Data) *Data {
	d.Count = d.Rows()
	for i := range d.Units {
		d.Units[i] = int32(i)
	}
	return d
}

func noise(t testing.TB, sums []int64, p Pass, rnd stream) []int64 {
	t.Helper()
	out, err := release.Sums(sums, p.Norm, p.Rho, rnd)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func source(seed byte) stream { return stream{rand.NewChaCha8([32]byte{seed, 99})} }

// Accuracy, curve and rates of groups hold the true ones in their intervals about as
// often as they say.
func TestEvaluateBinaryCovers(t *testing.T) {
	s := spec(policies.FamilyLogistic, false)
	s.Features, s.Groups = features(2, 1), []string{"c0"}
	d := design(t, s)
	r, rnd := rand.New(rand.NewPCG(1, 1)), source(1)
	trueAUC := func() float64 { // of the scores' own distribution
		x, scores := judgedBinary(d, r, 60_000)
		return auc(scores, oneRow(x).Label)
	}()
	misses, groupMisses, widths := 0, 0, 0.0
	const runs = 60
	for range runs {
		x, scores := judgedBinary(d, r, 1500)
		oneRow(x)
		sums, err := ScoreSums(x, d, must(EvaluationPass(d)), scores, nil)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Evaluate(noise(t, sums, must(EvaluationPass(d)), rnd), d)
		if err != nil {
			t.Fatal(err)
		}
		if e.AUC == nil || e.Accuracy == nil || len(e.Groups) != 4 {
			t.Fatalf("figures are missing: %+v", e)
		}
		if trueAUC < e.AUC.Low || trueAUC > e.AUC.High {
			misses++
		}
		widths += e.AUC.High - e.AUC.Low
		hits, all := 0.0, 0.0
		for i, g := range x.Groups[0] {
			if g == 0 {
				all++
				if (scores[i] >= 0.5) == (x.Label[i] == 1) {
					hits++
				}
			}
		}
		if g := e.Groups[0]; g.Code != "a" || g.Withheld || math.Abs(g.Units-all) > 6*2*e.Sigma || hits/all < g.Accuracy.Low || hits/all > g.Accuracy.High {
			groupMisses++
		}
		if math.Abs(e.Units.Value-float64(x.Count)) > 6*e.Sigma*math.Sqrt(2*scoreBins) {
			t.Errorf("%v units of %d", e.Units.Value, x.Count)
		}
	}
	if misses > 10 || groupMisses > 10 || widths/runs > 0.12 {
		t.Errorf("of %d intervals %d miss the AUC and %d a group's accuracy; mean width %.3f", runs, misses, groupMisses, widths/runs)
	}
}

func must(p Pass, err error) Pass {
	if err != nil {
		panic(err)
	}
	return p
}

// A model that knows nothing gets an AUC around a half, an inverted one below.
func TestEvaluateBinaryIsHonest(t *testing.T) {
	s := spec(policies.FamilyLogistic, false)
	s.Features = features(2, 1)
	d := design(t, s)
	r, rnd := rand.New(rand.NewPCG(2, 1)), source(2)
	x, scores := judgedBinary(d, r, 3000)
	oneRow(x)
	p := must(EvaluationPass(d))
	figure := func(f func(i int) float64) float64 {
		other := make([]float64, len(scores))
		for i := range other {
			other[i] = f(i)
		}
		sums, err := ScoreSums(x, d, p, other, nil)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Evaluate(noise(t, sums, p, rnd), d)
		if err != nil {
			t.Fatal(err)
		}
		return e.AUC.Value
	}
	if a := figure(func(int) float64 { return r.Float64() }); math.Abs(a-0.5) > 0.06 {
		t.Errorf("random scores: AUC %.3f", a)
	}
	if a := figure(func(i int) float64 { return 1 - scores[i] }); a > 0.3 {
		t.Errorf("inverted scores: AUC %.3f", a)
	}
	if a := figure(func(int) float64 { return math.NaN() }); math.Abs(a-0.5) > 0.06 {
		t.Errorf("no scores: AUC %.3f", a)
	}
}

func TestEvaluateNumber(t *testing.T) {
	s := spec(policies.FamilyLinear, true)
	s.Features, s.Groups = features(2, 1), []string{"c0"}
	d := design(t, s)
	r := rand.New(rand.NewPCG(3, 1))
	x := oneRow(wild(r, d, 4000, false))
	scores := make([]float64, x.Rows())
	square, bias := 0.0, 0.0
	for i := range scores {
		scores[i] = within(float64(x.Label[i])+0.2*r.NormFloat64()+0.05, -1, 1)
		square += math.Pow(float64(x.Label[i])-scores[i], 2)
		bias += float64(x.Label[i]) - scores[i]
	}
	n := float64(len(scores))
	p := must(EvaluationPass(d))
	sums, err := ScoreSums(x, d, p, scores, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Evaluate(noise(t, sums, p, source(3)), d)
	if err != nil {
		t.Fatal(err)
	}
	// Labels run from 0 to 1000.00: half the range is 500.
	if want := 500 * math.Sqrt(square/n); want < e.RMSE.Low || want > e.RMSE.High || e.RMSE.High > 1.3*want {
		t.Errorf("RMSE %.1f, estimated %+v", want, e.RMSE)
	}
	if want := 500 * bias / n; want < e.Bias.Low || want > e.Bias.High {
		t.Errorf("bias %.1f, estimated %+v", want, e.Bias)
	}
	if want := r2(scores, x.Label); want < e.R2.Low || want > e.R2.High {
		t.Errorf("R² %.3f, estimated %+v", want, e.R2)
	}
	if g := e.Groups[0]; g.Withheld || g.RMSE == nil || e.Accuracy != nil || e.AUC != nil {
		t.Errorf("groups of a number: %+v", g)
	}
}

func TestEvaluateClassesAndClusters(t *testing.T) {
	s := spec(policies.FamilySoftmax, true)
	s.Features, s.Groups = features(2, 1), []string{"c0"}
	d := design(t, s)
	x := oneRow(wild(rand.New(rand.NewPCG(4, 1)), d, 4000, false))
	scores, hits := make([]float64, 2*x.Rows()), 0.0
	for i, y := range x.Label {
		guess := int(y)
		if i%4 == 0 {
			guess = (guess + 1) % 3
		} else {
			hits++
		}
		if guess > 0 {
			scores[2*i+guess-1] = 0.8
		}
	}
	p := must(EvaluationPass(d))
	sums, err := ScoreSums(x, d, p, scores, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Evaluate(noise(t, sums, p, source(4)), d)
	if want := hits / float64(x.Rows()); err != nil || want < e.Accuracy.Low || want > e.Accuracy.High || len(e.Confusion) != 3 {
		t.Errorf("accuracy %.3f, estimated %+v (%v)", want, e.Accuracy, err)
	}
	s = spec(policies.FamilyKMeans, true)
	s.Setting.Clusters = 3
	d = design(t, s)
	x = oneRow(wild(rand.New(rand.NewPCG(4, 1)), d, 4000, false))
	scores = make([]float64, x.Rows())
	for i := range scores {
		scores[i] = float64(i % 3)
	}
	p = must(EvaluationPass(d))
	sums, err = ScoreSums(x, d, p, scores, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err = Evaluate(noise(t, sums, p, source(5)), d)
	if err != nil || len(e.Clusters) != 3 || math.Abs(e.Clusters[0]-float64(x.Rows())/3) > 100 {
		t.Errorf("clusters %v (%v)", e.Clusters, err)
	}
}

// Few units, or few of a group, give no figure.
func TestEvaluateWithholds(t *testing.T) {
	s := spec(policies.FamilyLogistic, false)
	s.Features, s.Groups = features(2, 1), []string{"c0"}
	d := design(t, s)
	p := must(EvaluationPass(d))
	r := rand.New(rand.NewPCG(5, 1))
	x, scores := judgedBinary(d, r, 2000)
	oneRow(x)
	for i := range x.Groups[0] {
		x.Groups[0][i] = 0
		if i < 20 {
			x.Groups[0][i] = 1
		}
	}
	sums, err := ScoreSums(x, d, p, scores, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Evaluate(noise(t, sums, p, source(6)), d)
	if err != nil || e.Groups[0].Withheld || !e.Groups[1].Withheld || e.Groups[1].Accuracy != nil || e.Groups[1].Selected != nil {
		t.Errorf("groups of 1980 and 20 units: %+v (%v)", e.Groups, err)
	}
	x, scores = judgedBinary(d, r, 10)
	if sums, err = ScoreSums(oneRow(x), d, p, scores, nil); err != nil {
		t.Fatal(err)
	}
	var reason *policies.Reason
	if _, err := Evaluate(noise(t, sums, p, source(7)), d); !errors.As(err, &reason) || reason.Code != CodeTooFewUnits {
		t.Errorf("ten units: %v", err)
	}
	if _, err := Evaluate(sums[1:], d); err == nil {
		t.Error("sums of another width are accepted")
	}
	p.Norm *= 2
	if _, err := ScoreSums(x, d, p, scores, nil); err == nil {
		t.Error("a pass of another norm is answered")
	}
}

// The evaluation pass of a trained model goes the same way as every pass.
func TestEvaluateModel(t *testing.T) {
	s := spec(policies.FamilyTree, false)
	d := design(t, s)
	p, x := train(t, s, made(6_000, 3), 1)
	pass := must(EvaluationPass(d))
	pass.Model = p
	sums, err := Sums(x.Held, d, pass, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Evaluate(noise(t, sums, pass, source(8)), d)
	if err != nil {
		t.Fatal(err)
	}
	if want := auc(scoresOf(t, p, x.Held), x.Held.Label); want < e.AUC.Low-0.02 || want > e.AUC.High+0.02 {
		t.Errorf("AUC %.3f, estimated %+v", want, e.AUC)
	}
	pass.Model = nil
	if _, err := Sums(x.Held, d, pass, nil); err == nil {
		t.Error("an evaluation without a model is answered")
	}
	other := *models()[string(policies.FamilyLogistic)]
	pass.Model = &other
	if _, err := Sums(x.Held, d, pass, nil); err == nil {
		t.Error("a model of other features is evaluated")
	}
}

func FuzzEvaluate(f *testing.F) {
	s := spec(policies.FamilyLogistic, false)
	s.Features, s.Groups = features(1, 0), []string{"c0"}
	d := design(f, s)
	p := must(EvaluationPass(d))
	f.Add(int64(0), int64(0))
	f.Add(int64(math.MaxInt64), int64(math.MinInt64))
	f.Add(int64(1)<<40, int64(-3))
	f.Fuzz(func(t *testing.T, a, b int64) {
		sums := make([]int64, p.Width)
		for i := range sums {
			sums[i] = a
			if i%3 == 1 {
				sums[i] = b
			}
		}
		e, err := Evaluate(sums, d)
		if err != nil {
			return
		}
		for _, x := range []*Estimate{e.AUC, e.Accuracy, e.Units} {
			if x != nil && (math.IsNaN(x.Value) || math.IsNaN(x.Low) || math.IsNaN(x.High)) {
				t.Fatalf("%+v", x)
			}
		}
	})
}
