package release

import (
	"math/big"
	"math/bits"
)

// The samplers follow Canonne, Kamath, Steinke, "The Discrete Gaussian for
// Differential Privacy" (2020), Algorithms 2 and 3. All arithmetic is on integers
// and every coin has its exact probability (see expFraction), so the output
// distribution is the discrete Gaussian itself and not an approximation of it.

// smallVariance bounds the fast path: with σ² < 2^28 the scale t is at most 2^14
// and 2σ²t² below 2^58, which a word holds.
const smallVariance = 1 << 28

// gaussian draws from the discrete Gaussian N_Z(0, sigma2), sigma2 > 0.
func (s *random) gaussian(sigma2 *big.Int) *big.Int {
	if sigma2.IsUint64() && sigma2.Uint64() < smallVariance {
		if v := sigma2.Uint64(); v <= lookupMax {
			return big.NewInt(s.draw(s.tableOf(v)))
		}
		return big.NewInt(s.smallGaussian(sigma2.Uint64()))
	}
	return s.bigGaussian(sigma2)
}

func (s *random) smallGaussian(sigma2 uint64) int64 {
	t := isqrt(sigma2) + 1
	den := 2 * sigma2 * t * t
	for {
		y, negative := s.smallLaplace(t)
		// Accept with probability exp(−(|y|−σ²/t)²/2σ²) = exp(−(|y|t−σ²)²/den).
		hi, d := bits.Mul64(y, t)
		if hi != 0 {
			continue // below: probability under e^−2^40, and acceptance is nil
		}
		if d < sigma2 {
			d = sigma2 - d
		} else {
			d -= sigma2
		}
		hi, num := bits.Mul64(d, d)
		if hi >= den {
			continue
		}
		whole, rest := bits.Div64(hi, num, den)
		if s.expMinus(whole, rest, den) {
			if negative {
				return -int64(y)
			}
			return int64(y)
		}
	}
}

// smallLaplace draws magnitude and sign of the discrete Laplace of scale t.
func (s *random) smallLaplace(t uint64) (uint64, bool) {
	for {
		u := s.below(t)
		if !s.expFraction(u, t) {
			continue
		}
		y, negative := u+t*s.geometric(), s.bit()
		if negative && y == 0 {
			continue // zero must not count twice
		}
		return y, negative
	}
}

// expMinus is true with probability exp(−(whole + rest/den)), rest < den.
func (s *random) expMinus(whole, rest, den uint64) bool {
	return (whole == 0 || s.geometric() >= whole) && s.expFraction(rest, den)
}

// isqrt returns ⌊√n⌋ for n < 2^62.
func isqrt(n uint64) uint64 {
	if n < 2 {
		return n
	}
	x := uint64(1) << ((bits.Len64(n) + 1) / 2)
	for {
		y := (x + n/x) / 2
		if y >= x {
			return x
		}
		x = y
	}
}

// bigGaussian is smallGaussian for any variance.
func (s *random) bigGaussian(sigma2 *big.Int) *big.Int {
	t := new(big.Int).Sqrt(sigma2)
	t.Add(t, big.NewInt(1))
	den := new(big.Int).Mul(t, t)
	den.Mul(den, sigma2).Lsh(den, 1)
	num, whole, rest, draw := new(big.Int), new(big.Int), new(big.Int), new(big.Int)
	for {
		y, negative := s.bigLaplace(t, draw)
		num.Mul(y, t).Sub(num, sigma2)
		num.Mul(num, num)
		whole.QuoRem(num, den, rest)
		if !whole.IsUint64() {
			continue // acceptance is below e^−2^64; the fast path refuses likewise
		}
		if s.bigExpMinus(whole.Uint64(), rest, den, draw) {
			if negative {
				y.Neg(y)
			}
			return y
		}
	}
}

func (s *random) bigLaplace(t, draw *big.Int) (*big.Int, bool) {
	u, y := new(big.Int), new(big.Int)
	for {
		s.bigBelow(u, t)
		if !s.bigExpFraction(u, t, draw) {
			continue
		}
		y.Mul(t, y.SetUint64(s.geometric())).Add(y, u)
		negative := s.bit()
		if negative && y.Sign() == 0 {
			continue
		}
		return y, negative
	}
}

func (s *random) bigExpMinus(whole uint64, rest, den, draw *big.Int) bool {
	return (whole == 0 || s.geometric() >= whole) && s.bigExpFraction(rest, den, draw)
}

// bigExpFraction is expFraction for any num ≤ den.
func (s *random) bigExpFraction(num, den, draw *big.Int) bool {
	x := ^uint64(0)
	if draw.Lsh(num, 64).Quo(draw, den).IsUint64() {
		x = draw.Uint64()
	}
	u := s.u64()
	heads, sure := compareExp(u, x)
	if sure {
		return heads
	}
	return s.resolveExp(u, num, den)
}
