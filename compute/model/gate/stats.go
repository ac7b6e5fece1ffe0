package gate

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

// interval is an estimate with its two-sided 95 % confidence interval.
type interval struct{ value, lo, hi float64 }

// normal95 is the 97.5th percentile of the normal distribution.
const normal95 = 1.959964

// midranks of x, counted from 1; equal values share the mean of their ranks.
func midranks(x []float64) []float64 {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(x[a], x[b]) })
	out := make([]float64, len(x))
	for i := 0; i < len(order); {
		j := i
		for j < len(order) && x[order[j]] == x[order[i]] {
			j++
		}
		for k := i; k < j; k++ {
			out[order[k]] = float64(i+j+1) / 2
		}
		i = j
	}
	return out
}

// auc is the probability that a value of pos is above one of neg, and its standard
// error (DeLong, DeLong, Clarke-Pearson 1988). Neither may be empty.
func auc(pos, neg []float64) (a, se float64) {
	m, n := len(pos), len(neg)
	all := midranks(append(slices.Clone(pos), neg...))
	rp, rn := midranks(pos), midranks(neg)
	var sp, sp2, sn, sn2 float64
	for i := range pos {
		v := (all[i] - rp[i]) / float64(n)
		sp, sp2 = sp+v, sp2+v*v
	}
	for j := range neg {
		v := 1 - (all[m+j]-rn[j])/float64(m)
		sn, sn2 = sn+v, sn2+v*v
	}
	a = sp / float64(m)
	return a, math.Sqrt(variance(sp, sp2, m)/float64(m) + variance(sn, sn2, n)/float64(n))
}

// variance from a sum and a sum of squares of n values; 0 of fewer than two.
func variance(s, s2 float64, n int) float64 {
	if n < 2 {
		return 0
	}
	return max(0, (s2-s*s/float64(n))/float64(n-1))
}

// aucInterval is auc with its interval, held to [0,1].
func aucInterval(pos, neg []float64) interval {
	a, se := auc(pos, neg)
	return interval{a, max(0, a-normal95*se), min(1, a+normal95*se)}
}

// caught is how many of pos lie above the threshold that lets at most the share fpr of
// neg pass, and that threshold. It is strict: a tie with the threshold is not caught.
func caught(pos, neg []float64, fpr float64) (n int, threshold float64) {
	sorted := slices.Sorted(slices.Values(neg))
	allowed := min(int(fpr*float64(len(neg))), len(neg)-1)
	threshold = sorted[len(sorted)-1-allowed]
	for _, x := range pos {
		if x > threshold {
			n++
		}
	}
	return n, threshold
}

// catchRate is the share of pos caught at a false positive rate of fpr. Its upper end is
// the exact binomial one. Its lower end is that at the strictest threshold whose own
// false positive rate is at most fpr with the same confidence: the threshold is estimated
// too, and of a few hundred values nothing is known about one in a thousand.
func catchRate(pos, neg []float64, fpr float64) interval {
	n, _ := caught(pos, neg, fpr)
	v := clopperPearson(n, len(pos))
	v.lo = 0
	for allowed := int(fpr * float64(len(neg))); allowed >= 0; allowed-- {
		if clopperPearson(allowed, len(neg)).hi <= fpr {
			n, _ = caught(pos, neg, (float64(allowed)+0.5)/float64(len(neg)))
			v.lo = min(v.value, clopperPearson(n, len(pos)).lo)
			break
		}
	}
	return v
}

// clopperPearson is the exact 95 % interval of k successes in n trials, n > 0.
func clopperPearson(k, n int) interval {
	v := interval{float64(k) / float64(n), 0, 1}
	if k > 0 {
		v.lo = mathext.InvRegIncBeta(float64(k), float64(n-k+1), 0.025)
	}
	if k < n {
		v.hi = mathext.InvRegIncBeta(float64(k+1), float64(n-k), 0.975)
	}
	return v
}

// studentQuantile of Student's t with nu degrees of freedom, 0.5 < p < 1.
func studentQuantile(p float64, nu int) float64 {
	x := mathext.InvRegIncBeta(float64(nu)/2, 0.5, 2*(1-p))
	return math.Sqrt(float64(nu) * (1/x - 1))
}

// meanInterval is the mean of independent values and its interval with the two-sided
// confidence 1−alpha; of fewer than three values the interval says nothing.
func meanInterval(x []float64, alpha float64) interval {
	var s, s2 float64
	for _, v := range x {
		s, s2 = s+v, s2+v*v
	}
	n := len(x)
	m := s / float64(n)
	if n < 3 {
		return interval{m, math.Inf(-1), math.Inf(1)}
	}
	h := studentQuantile(1-alpha/2, n-1) * math.Sqrt(variance(s, s2, n)/float64(n))
	return interval{m, m - h, m + h}
}

// normalCDF is Φ.
func normalCDF(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }

// membershipBound is the largest AUC of any membership attack on one unit under ρ-zCDP
// by Gaussian noise: Φ(√ρ), as between N(0,1) and N(√(2ρ),1).
func membershipBound(rho float64) float64 { return normalCDF(math.Sqrt(rho)) }

// catchBound is the largest rate at which such an attack catches members at a false
// positive rate of fpr.
func catchBound(rho, fpr float64) float64 {
	return normalCDF(math.Sqrt(2*rho) + mathext.NormalQuantile(fpr))
}

// binomialTail is P[X ≥ v] and the probabilities P[X = i] of a binomial of r trials.
func binomialTail(r, v int, p float64) (tail float64, pmf []float64) {
	pmf = make([]float64, r+1)
	lr, _ := math.Lgamma(float64(r + 1))
	for i := range pmf {
		a, _ := math.Lgamma(float64(i + 1))
		b, _ := math.Lgamma(float64(r - i + 1))
		pmf[i] = math.Exp(lr - a - b + float64(i)*math.Log(p) + float64(r-i)*math.Log1p(-p))
		if i >= v {
			tail += pmf[i]
		}
	}
	return min(1, tail), pmf
}

// kolmogorov is the two-sample statistic of Kolmogorov and Smirnov.
func kolmogorov(a, b []float64) (d float64) {
	x, y := slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	for i, j := 0, 0; i < len(x) && j < len(y); {
		v := min(x[i], y[j])
		for i < len(x) && x[i] == v {
			i++
		}
		for j < len(y) && y[j] == v {
			j++
		}
		d = max(d, math.Abs(float64(i)/float64(len(x))-float64(j)/float64(len(y))))
	}
	return d
}

// logit of a probability held to [1e-6, 1−1e-6].
func logit(p float64) float64 {
	p = min(max(p, 1e-6), 1-1e-6)
	return math.Log(p / (1 - p))
}
