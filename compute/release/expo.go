package release

import (
	"math/big"
	"math/bits"
)

// A coin with Pr[heads] = exp(−γ), γ = num/den ≤ 1, is drawn by comparing a uniform
// real U in [0,1) with exp(−γ). The first 64 bits of U decide it against a 64-bit
// approximation whose error is at most expBand units of 2^-64, unless U comes that
// close to it, once in 2^57 draws: then exp(−γ) and U are drawn out to as many more
// bits as it takes. So the coin is exact and the approximation shows nowhere.
const expBand = 64

// expTable[i] is 2^64·exp(−i/64), rounded down and below 2^64.
var expTable = func() (t [65]uint64) {
	for i := range t {
		lo, _ := expBounds(big.NewInt(int64(i)), big.NewInt(64), 128)
		if lo.Rsh(lo, 64); !lo.IsUint64() {
			lo.Sub(lo, big.NewInt(1))
		}
		t[i] = lo.Uint64()
	}
	t[0] = ^uint64(0)
	return t
}()

// expFixed is 2^64·exp(−x/2^64) to within 16: exp of the top six bits from the table
// times eight terms of the series for the rest, r < 2^-6 (r^9/9! < 2^-72).
func expFixed(x uint64) uint64 {
	const one = ^uint64(0)
	r := x & (1<<58 - 1)
	h, _ := bits.Mul64(r, one-r/8)
	h, _ = bits.Mul64(r, one-h/7)
	h, _ = bits.Mul64(r, one-h/6)
	h, _ = bits.Mul64(r, one-h/5)
	h, _ = bits.Mul64(r, one-h/4)
	h, _ = bits.Mul64(r, one-h/3)
	h, _ = bits.Mul64(r, one-h/2)
	h, _ = bits.Mul64(expTable[x>>58], one-h)
	return h
}

// expFraction is true with probability exp(−num/den), num ≤ den, den > 0.
func (s *random) expFraction(num, den uint64) bool {
	x := ^uint64(0)
	if num < den {
		x, _ = bits.Div64(num, 0, den)
	}
	u := s.u64()
	heads, sure := compareExp(u, x)
	if sure {
		return heads
	}
	return s.resolveExp(u, new(big.Int).SetUint64(num), new(big.Int).SetUint64(den))
}

// compareExp compares U, of first bits u, with exp(−γ), where γ·2^64 is at least x and
// at most x+1. exp(−γ) lies between two neighbours of the table, and U mostly does not:
// then those decide. The rest take the series.
func compareExp(u, x uint64) (heads, sure bool) {
	i := x >> 58
	if u < expTable[i+1]-expBand {
		return true, true
	}
	if above := expTable[i]; u > above && u-above > expBand {
		return false, true
	}
	p := expFixed(x)
	if u < p-expBand { // p is at least 2^64/e − 16
		return true, true
	}
	top, over := bits.Add64(p, expBand, 0)
	return false, over == 0 && u > top
}

// resolveExp decides U < exp(−num/den) for a U whose first 64 bits are u, drawing
// further bits until the two differ.
func (s *random) resolveExp(u uint64, num, den *big.Int) bool {
	uniform := new(big.Int).SetUint64(u)
	for width := uint(64); ; width += 64 {
		lo, hi := expBounds(num, den, width)
		if uniform.Cmp(lo) < 0 {
			return true // U < (uniform+1)/2^width ≤ lo
		}
		if uniform.Cmp(hi) >= 0 {
			return false
		}
		uniform.Lsh(uniform, 64).Or(uniform, new(big.Int).SetUint64(s.u64()))
	}
}

// expBounds returns integers lo ≤ 2^width·exp(−num/den) ≤ hi, num ≤ den, by the
// alternating series with each term rounded down; lo and hi differ by little.
func expBounds(num, den *big.Int, width uint) (lo, hi *big.Int) {
	const guard = 32
	sum, term := new(big.Int), new(big.Int).Lsh(big.NewInt(1), width+guard)
	k := int64(0)
	for ; term.Sign() > 0; k++ {
		if k&1 == 0 {
			sum.Add(sum, term)
		} else {
			sum.Sub(sum, term)
		}
		// Rounding puts every term off by less than two, the rest of the series included.
		term.Mul(term, num).Quo(term, new(big.Int).Mul(den, big.NewInt(k+1)))
	}
	off := big.NewInt(2*k + 2)
	lo = new(big.Int).Sub(sum, off)
	hi = sum.Add(sum, off)
	lo.Rsh(lo, guard)
	hi.Rsh(hi, guard).Add(hi, big.NewInt(1))
	return lo, hi
}

// expTail[k] is 2^64·exp(−(k+1)), rounded down.
var expTail = func() (t [44]uint64) {
	lo, _ := expBounds(big.NewInt(1), big.NewInt(1), 512)
	p := new(big.Int).Set(lo)
	for i := range t {
		t[i] = new(big.Int).Rsh(p, 512-64).Uint64()
		p.Mul(p, lo).Rsh(p, 512)
	}
	return t
}()

// geometric draws v with Pr[v ≥ k] = exp(−k): one uniform against the table, coin by
// coin where it comes close to an entry or passes the last.
func (s *random) geometric() uint64 {
	u := s.u64()
	for k, p := range expTail {
		if u > p+1 {
			return uint64(k)
		}
		if u >= p-1 {
			break
		}
	}
	// Rare, and not to be decided by u again: given that U lies here, the exact draw
	// goes on with the bits that follow.
	return s.resolveTail(u)
}

// resolveTail finds v = ⌊−ln U⌋ for a U whose first bits are u.
func (s *random) resolveTail(u uint64) uint64 {
	uniform := new(big.Int).SetUint64(u)
	for width := uint(64); ; width += 64 {
		// exp(−k) = exp(−1)^k, bounded by powers of the bounds.
		lo1, hi1 := expBounds(big.NewInt(1), big.NewInt(1), width+64)
		lo, hi := new(big.Int).Set(lo1), new(big.Int).Set(hi1)
		for k := uint64(0); ; k++ {
			below := new(big.Int).Rsh(lo, 64)
			above := new(big.Int).Rsh(hi, 64)
			above.Add(above, big.NewInt(1))
			if uniform.Cmp(above) >= 0 {
				return k // exp(−(k+1)) ≤ U < exp(−k)
			}
			if uniform.Cmp(below) >= 0 || below.Sign() == 0 {
				break // too close to tell, or beyond this many bits
			}
			lo.Mul(lo, lo1).Rsh(lo, width+64)
			hi.Mul(hi, hi1).Rsh(hi, width+64).Add(hi, big.NewInt(1))
		}
		uniform.Lsh(uniform, 64).Or(uniform, new(big.Int).SetUint64(s.u64()))
	}
}
