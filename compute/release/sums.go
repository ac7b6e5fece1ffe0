package release

import (
	"io"
	"math/big"

	"github.com/sandgate/sandgate/compute/budget"
)

// Sums adds noise to the exact sums of one pass of a training (compute/model) whose L2
// sensitivity, adding or removing a unit, is at most norm, and charges rho for all of
// them: each gets a discrete Gaussian of the integer variance ⌈norm²/2ρ⌉, so the pass
// is ρ-zCDP (Canonne, Kamath, Steinke 2020, Theorem 14 with the composition over
// coordinates of Corollary 16). Every error is ErrKernel.
func Sums(exact []int64, norm int64, rho budget.Nano, rnd io.Reader) (out []int64, err error) {
	defer func() {
		if recover() != nil {
			out, err = nil, ErrKernel
		}
	}()
	if norm < 1 || norm > maxNorm || rho < 1 || rnd == nil {
		return nil, ErrKernel
	}
	sigma2 := sumsVariance(norm, rho)
	draw := newRandom(rnd)
	defer draw.wipe()
	noisy := make([]int64, len(exact))
	for i, x := range exact {
		n := draw.gaussian(sigma2)
		n.Add(n, big.NewInt(x))
		if !n.IsInt64() {
			return nil, ErrKernel
		}
		noisy[i] = n.Int64()
	}
	return noisy, nil
}

// maxNorm is the greatest sensitivity, in lattice steps.
const maxNorm = 1 << 31

// sumsVariance is ⌈norm²/2ρ⌉, ρ in nano.
func sumsVariance(norm int64, rho budget.Nano) *big.Int {
	v := new(big.Int).Mul(big.NewInt(norm), big.NewInt(norm))
	v.Mul(v, big.NewInt(1_000_000_000))
	den := new(big.Int).Lsh(big.NewInt(int64(rho)), 1)
	v, rest := v.QuoRem(v, den, new(big.Int))
	if rest.Sign() > 0 {
		v.Add(v, big.NewInt(1))
	}
	return v
}
