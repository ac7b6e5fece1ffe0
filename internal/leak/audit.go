package leak

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// EpsilonLowerBound is the greatest ε that two samples of outputs, of neighbouring
// inputs, refute at this δ with confidence 1−1e-5 per threshold event:
// Clopper–Pearson on both error rates, both directions. Neither sample may be
// empty; both must have the same length.
func EpsilonLowerBound(a, b []float64, delta float64) float64 {
	lo := func(k, n int) float64 {
		if k == 0 {
			return 0
		}
		return distuv.Beta{Alpha: float64(k), Beta: float64(n - k + 1)}.Quantile(1e-5)
	}
	hi := func(k, n int) float64 {
		if k == n {
			return 1
		}
		return distuv.Beta{Alpha: float64(k + 1), Beta: float64(n - k)}.Quantile(1 - 1e-5)
	}
	first, last := a[0], a[0]
	for _, s := range [][]float64{a, b} {
		for _, x := range s {
			first, last = min(first, x), max(last, x)
		}
	}
	best := 0.0
	for i := range 64 {
		cut := first + (last-first)*float64(i)/64
		ka, kb := 0, 0
		for j := range a {
			if a[j] >= cut {
				ka++
			}
			if b[j] >= cut {
				kb++
			}
		}
		n := len(a)
		for _, p := range [][2]float64{{lo(ka, n), hi(kb, n)}, {lo(n-kb, n), hi(n-ka, n)},
			{lo(kb, n), hi(ka, n)}, {lo(n-ka, n), hi(n-kb, n)}} {
			if p[0] > delta {
				best = max(best, math.Log((p[0]-delta)/p[1]))
			}
		}
	}
	return best
}

// GaussianPMF is the discrete Gaussian of variance sigma2 on [-w,w].
func GaussianPMF(sigma2 float64, w int) []float64 {
	p, sum := make([]float64, 2*w+1), 0.0
	for i := range p {
		x := float64(i - w)
		p[i] = math.Exp(-x * x / (2 * sigma2))
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// ChiSquare is the p-value of counts against probabilities; neighbouring bins are
// pooled until 10 are expected.
func ChiSquare(counts []int, probs []float64) float64 {
	n := 0
	for _, c := range counts {
		n += c
	}
	var stat, pc, pp float64
	df := -1
	for i := range counts {
		pc += float64(counts[i])
		pp += probs[i] * float64(n)
		if pp >= 10 {
			stat += (pc - pp) * (pc - pp) / pp
			pc, pp = 0, 0
			df++
		}
	}
	return distuv.ChiSquared{K: float64(df)}.Survival(stat)
}
