package release

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/internal/leak"
)

// R01: what a pass is charged pays for its noise, to the last nano: norm²/2σ² ≤ ρ, and
// one less of σ² would not.
func TestR01SumsPrice(t *testing.T) {
	for _, norm := range []int64{1, 2, 3, 57, 4096, 1 << 20, maxNorm} {
		for _, rho := range []budget.Nano{1, 3, 7, 880_000, 18_500_000, 1_000_000_000, 999_999_999_999} {
			s := sumsVariance(norm, rho)
			cost := func(s *big.Int) *big.Rat {
				r := new(big.Rat).SetFrac(new(big.Int).Mul(big.NewInt(norm), big.NewInt(norm)), new(big.Int).Lsh(s, 1))
				return r.Mul(r, new(big.Rat).SetInt64(1_000_000_000))
			}
			limit := new(big.Rat).SetInt64(int64(rho))
			if cost(s).Cmp(limit) > 0 {
				t.Errorf("norm %d, rho %d: σ² %v costs more than is charged", norm, rho, s)
			}
			if less := new(big.Int).Sub(s, big.NewInt(1)); less.Sign() > 0 && cost(less).Cmp(limit) <= 0 {
				t.Errorf("norm %d, rho %d: σ² %v is more than needed", norm, rho, s)
			}
		}
	}
}

// The noise is the discrete Gaussian of that variance: χ² over cells of equal
// probability, and the variance itself; on the small and on the large path.
func TestR01SumsNoise(t *testing.T) {
	const n = 40_000
	exact := make([]int64, n)
	for i := range exact {
		exact[i] = int64(i) - 7
	}
	for _, c := range []struct {
		norm int64
		rho  budget.Nano
	}{{5, 500_000_000}, {4096, 5_000_000}} {
		out, err := Sums(exact, c.norm, c.rho, seeded(7))
		if err != nil {
			t.Fatal(err)
		}
		variance, _ := new(big.Float).SetInt(sumsVariance(c.norm, c.rho)).Float64()
		sigma := math.Sqrt(variance)
		sum, square := 0.0, 0.0
		var cells [8]float64
		for i, x := range out {
			z := float64(x - exact[i])
			sum, square = sum+z, square+z*z
			u := 0.5 * math.Erfc(-(z+0.5-1)/sigma/math.Sqrt2)
			v := 0.5 * math.Erfc(-(z+0.5)/sigma/math.Sqrt2)
			// A lattice point's mass is shared out among the cells that it spans.
			for k := range cells {
				lo, hi := float64(k)/8, float64(k+1)/8
				if part := min(v, hi) - max(u, lo); part > 0 {
					cells[k] += part / (v - u)
				}
			}
		}
		if math.Abs(sum/n) > 5*sigma/math.Sqrt(n) || math.Abs(square/n/variance-1) > 5*math.Sqrt(2.0/n) {
			t.Errorf("norm %d: mean %.2f, variance %.1f of %.1f", c.norm, sum/n, square/n, variance)
		}
		chi := 0.0
		for _, x := range cells {
			chi += (x - n/8.0) * (x - n/8.0) / (n / 8.0)
		}
		if chi > 40 { // 7 degrees of freedom: p < 1e-6
			t.Errorf("norm %d: χ² %.1f, cells %v", c.norm, chi, cells)
		}
	}
}

// R01 attack 11 for passes of a training: a unit's contribution, as large as it may be
// and spread over many coordinates, is told apart no better than the price claims; with
// half the σ it is.
func TestR01Attack11Sums(t *testing.T) {
	const delta, width = 0.01, 4
	const norm, rho = 40, budget.Nano(500_000_000)
	n := trials(20_000*slowdown, 400_000)
	claimed, err := budget.Epsilon(rho, delta)
	if err != nil {
		t.Fatal(err)
	}
	audit := func(rho budget.Nano, seed uint64) float64 {
		rnd := seeded(seed)
		a, b := make([]float64, n), make([]float64, n)
		with := []int64{20, -20, 20, -20} // L2 norm 40
		total := func(exact []int64) float64 {
			out, err := Sums(exact, norm, rho, rnd)
			if err != nil {
				t.Fatal(err)
			}
			s := 0.0
			for i, x := range out {
				s += float64(x * with[i]) // the best statistic against this unit
			}
			return s
		}
		for i := range n {
			a[i], b[i] = total(with), total(make([]int64, width))
		}
		return leak.EpsilonLowerBound(a, b, delta)
	}
	honest, wrong := audit(rho, 1), audit(4*rho, 2)
	if honest > claimed || honest < claimed/5 {
		t.Errorf("ε %.3f proved, %.3f claimed", honest, claimed)
	}
	if wrong <= claimed {
		t.Errorf("control with half the σ not caught: %.3f against %.3f", wrong, claimed)
	}
	leak.Record(t, leak.Score{Attack: "11 distinguishing audit of a training pass", Figure: honest, Bound: claimed, Control: wrong, Pass: honest <= claimed && wrong > claimed, Trials: 2 * n})
}

func TestSumsRefusals(t *testing.T) {
	for name, f := range map[string]func() ([]int64, error){
		"no norm":       func() ([]int64, error) { return Sums([]int64{1}, 0, 1, seeded(1)) },
		"negative norm": func() ([]int64, error) { return Sums([]int64{1}, -1, 1, seeded(1)) },
		"large norm":    func() ([]int64, error) { return Sums([]int64{1}, maxNorm+1, 1, seeded(1)) },
		"no price":      func() ([]int64, error) { return Sums([]int64{1}, 1, 0, seeded(1)) },
		"negative":      func() ([]int64, error) { return Sums([]int64{1}, 1, -5, seeded(1)) },
		"no source":     func() ([]int64, error) { return Sums([]int64{1}, 1, 1, nil) },
		"dry source":    func() ([]int64, error) { return Sums([]int64{1}, 1, 1, dry{}) },
		"overflow":      func() ([]int64, error) { return Sums(brim(200), maxNorm, 1, seeded(1)) },
	} {
		if out, err := f(); out != nil || err != ErrKernel {
			t.Errorf("%s: %v, %v", name, out, err)
		}
	}
	if out, err := Sums(nil, 1, 1, seeded(1)); err != nil || len(out) != 0 {
		t.Errorf("an empty pass: %v %v", out, err)
	}
}

func brim(n int) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = math.MaxInt64
	}
	return out
}

type dry struct{}

func (dry) Read([]byte) (int, error) { return 0, errors.New("dry") }
