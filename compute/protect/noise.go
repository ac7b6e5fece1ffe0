package protect

import (
	"math/big"

	"github.com/sandgate/sandgate/compute/budget"
)

// nanoPerRho is how many Nano make one ρ.
const nanoPerRho = 1_000_000_000

// InverseDelta is 1/δ_τ: a release over private keys shows a key that one unit alone
// accounts for with probability at most 1e-9.
// It is the δ of such a release beside its ρ.
const InverseDelta = 1_000_000_000

// z95 is the 97.5 % quantile of the standard normal, rounded up, in 1e-6.
const z95 = 1_959_964

// zTau is z with Q(z) ≤ 1e-9 for the upper tail Q of the standard normal, rounded up,
// in 1e-6. An integer, because floating point that differs in the last bit between
// machines would make two auditors disagree about τ.
const zTau = 5_997_809

// sigma2For returns ⌈Δ₂²/(2ρ)⌉ for ρ = share·1e-9: the least integer variance
// whose discrete Gaussian costs at most share (Canonne, Kamath, Steinke 2020,
// Theorem 4). sens2 and share must be positive.
func sigma2For(sens2 *big.Int, share budget.Nano) *big.Int {
	num := new(big.Int).Mul(sens2, big.NewInt(nanoPerRho))
	return ceilDiv(num, new(big.Int).Lsh(big.NewInt(int64(share)), 1))
}

// rhoFor returns the price of variance sigma2 at sensitivity sens2, rounded up.
func rhoFor(sens2, sigma2 *big.Int) budget.Nano {
	num := new(big.Int).Mul(sens2, big.NewInt(nanoPerRho))
	return budget.Nano(ceilDiv(num, new(big.Int).Lsh(sigma2, 1)).Int64())
}

// tau is the least threshold this rule allows on noisy(units−(K−1)): a key held
// by exactly K units of which one leaves has the value 1 here and is absent
// there, so it must pass with probability at most δ_τ:
//
//	Pr[1+X ≥ τ] = Pr[X ≥ τ−1] ≤ Pr[N(0,σ²) ≥ τ−2] ≤ δ_τ
//
// (the discrete tail against the continuous one: Canonne, Kamath, Steinke 2020,
// Proposition 25). A unit counts in one key only, that of its row of rank 1, so it
// can bring about one such key and no more.
func tau(sigma2 *big.Int) int64 {
	z := big.NewInt(zTau)
	z.Mul(z, z).Mul(z, sigma2)
	x := ceilSqrt(ceilDiv(z, big.NewInt(1_000_000_000_000)))
	return x.Int64() + 2
}

// HalfWidth95 returns the least integer h such that a discrete Gaussian of
// variance sigma2 lies in [−h, h] with probability at least 95 %. The sum over
// 2h+1 lattice points is at least the normal integral over ±(h+½).
func HalfWidth95(sigma2 *big.Int) *big.Int {
	x := big.NewInt(4 * z95 * z95)
	x.Mul(x, sigma2)
	x = ceilSqrt(ceilDiv(x, big.NewInt(1_000_000_000_000)))
	return x.Rsh(x, 1) // ⌈(x−1)/2⌉
}

// ceilDiv returns ⌈a/b⌉ for a ≥ 0, b > 0.
func ceilDiv(a, b *big.Int) *big.Int {
	q, r := new(big.Int).QuoRem(a, b, new(big.Int))
	if r.Sign() > 0 {
		q.Add(q, big.NewInt(1))
	}
	return q
}

// ceilSqrt returns ⌈√a⌉ for a ≥ 0.
func ceilSqrt(a *big.Int) *big.Int {
	s := new(big.Int).Sqrt(a)
	if new(big.Int).Mul(s, s).Cmp(a) < 0 {
		s.Add(s, big.NewInt(1))
	}
	return s
}
