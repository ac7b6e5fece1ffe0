package gate

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if !(math.Abs(got-want) <= within) {
		t.Errorf("%s = %.6f, want %.6f", what, got, want)
	}
}

// Against the definition: all pairs, ties halved; and DeLong's error against many draws.
func TestAUC(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var all []float64
	mean := 0.0
	for run := range 300 {
		pos, neg := make([]float64, 60), make([]float64, 80)
		for i := range pos {
			pos[i] = math.Round(4*(r.NormFloat64()+0.5)) / 4
		}
		for i := range neg {
			neg[i] = math.Round(4*r.NormFloat64()) / 4
		}
		a, se := auc(pos, neg)
		if run < 20 {
			want := 0.0
			for _, x := range pos {
				for _, y := range neg {
					switch {
					case x > y:
						want++
					case x == y:
						want += 0.5
					}
				}
			}
			near(t, "auc", a, want/4800, 1e-12)
		}
		all, mean = append(all, a), mean+se/300
	}
	v := meanInterval(all, 0.05)
	sd := 0.0
	for _, a := range all {
		sd += (a - v.value) * (a - v.value) / 299
	}
	near(t, "standard error", mean, math.Sqrt(sd), 0.005)
}

func TestIntervals(t *testing.T) {
	for _, c := range [][2]int{{0, 20}, {3, 20}, {20, 20}, {27, 2000}} {
		v := clopperPearson(c[0], c[1])
		if c[0] > 0 {
			near(t, "lower", v.lo, distuv.Beta{Alpha: float64(c[0]), Beta: float64(c[1] - c[0] + 1)}.Quantile(0.025), 1e-6)
		} else if v.lo != 0 {
			t.Error("lower end of nothing")
		}
		if c[0] < c[1] {
			near(t, "upper", v.hi, distuv.Beta{Alpha: float64(c[0] + 1), Beta: float64(c[1] - c[0])}.Quantile(0.975), 1e-6)
		} else if v.hi != 1 {
			t.Error("upper end of everything")
		}
	}
	for _, nu := range []int{2, 3, 31} {
		near(t, "t quantile", studentQuantile(0.975, nu), distuv.StudentsT{Sigma: 1, Nu: float64(nu)}.Quantile(0.975), 1e-6)
	}
	tail, pmf := binomialTail(20, 15, 0.5)
	near(t, "tail", tail, 0.020694733, 1e-8)
	near(t, "pmf", pmf[10], 0.17619705, 1e-7)
}

// The anchors of the price: ρ = 0.0244, which is ε = 1 at δ = 10⁻⁶.
func TestBounds(t *testing.T) {
	near(t, "auc bound", membershipBound(0.0244), 0.562, 0.0005)
	near(t, "tpr bound", catchBound(0.0244, 0.01), 0.018, 0.0005)
	near(t, "auc bound", membershipBound(0.3111), 0.711, 0.0008)
	if got := epsilonText(24_400_000); got != "1.001" {
		t.Errorf("ε %s", got)
	}
}

func TestCatchRate(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	draw := func(n int, shift float64) []float64 {
		x := make([]float64, n)
		for i := range x {
			x[i] = r.NormFloat64() + shift
		}
		return x
	}
	bad := 0
	for range 200 {
		if catchRate(draw(600, 0), draw(600, 0), 0.001).lo > 0.001 || catchRate(draw(2000, 0), draw(2000, 0), 0.01).lo > 0.01 {
			bad++
		}
	}
	if bad > 10 {
		t.Errorf("of 200 harmless models %d are said to be caught", bad)
	}
	if v := catchRate(draw(2000, 2), draw(2000, 0), 0.01); v.lo < 0.2 || v.value < 0.3 || v.hi < v.value {
		t.Errorf("a shift of two is caught at %+v", v)
	}
	// Ties with the threshold are not caught: a constant model catches nobody.
	if v := catchRate(make([]float64, 500), make([]float64, 500), 0.01); v.value != 0 {
		t.Errorf("a constant model catches %+v", v)
	}
}

func TestEpsilonProved(t *testing.T) {
	if e := epsilonProved(100, 100, 50, 0.05); e != 0 {
		t.Errorf("half right proves %f", e)
	}
	// All of 100 right: (e^ε/(1+e^ε))^100 = 0.05, less what δ takes.
	near(t, "all right", epsilonProved(100, 100, 100, 0.05), math.Log(0.97049/(1-0.97049)), 0.02)
	if a, b := epsilonProved(100, 50, 45, 0.05), epsilonProved(100, 50, 40, 0.05); a <= b || b <= 0 {
		t.Errorf("45 of 50 prove %f, 40 prove %f", a, b)
	}
	// Randomised response at ε = 1 is refuted above 1 in at most one run of twenty.
	r, over := rand.New(rand.NewPCG(3, 3)), 0
	for range 400 {
		right := 0
		for range 100 {
			if r.Float64() < math.E/(1+math.E) {
				right++
			}
		}
		if epsilonProved(100, 100, right, 0.05) > 1 {
			over++
		}
	}
	if over > 34 {
		t.Errorf("ε = 1 is refuted in %d of 400 runs", over)
	}
}

func TestStreamForks(t *testing.T) {
	a, b := newStream([32]byte{1}), newStream([32]byte{1})
	a.u64() // what was drawn before must not move a fork
	if a.fork("x", 3).u64() != b.fork("x", 3).u64() || b.fork("x", 3).u64() == b.fork("x", 4).u64() || b.fork("x", 3).u64() == b.fork("y", 3).u64() {
		t.Error("forks do not depend on seed and label alone")
	}
	counts := make([]int, 7)
	for range 70_000 {
		counts[a.below(7)]++
	}
	for _, n := range counts {
		if n < 9_600 || n > 10_400 {
			t.Errorf("draws below 7: %v", counts)
			break
		}
	}
}

// Forty-two units of which one row in twelve is guessed, where of the others none is, are chance;
// a surplus of seven points is not.
func TestDifferenceOfRareHits(t *testing.T) {
	const side = 700
	x, in := make([]float64, 2*side), make([]bool, 2*side)
	for i := range side {
		in[i] = true
		if i < 42 {
			x[i] = 1.0 / 12
		}
	}
	if d, se := difference(x, in); d < 0.0049 || d > 0.0051 || d-3.3*se > 0 {
		t.Errorf("rare hits: %.4f ± %.4f", d, se)
	}
	for i := range x {
		x[i] = 0
		if i%2 == 0 || in[i] && i < 100 {
			x[i] = 1
		}
	}
	if d, se := difference(x, in); d < 0.07 || d-2.5*se < 0 {
		t.Errorf("a surplus: %.4f ± %.4f", d, se)
	}
}
