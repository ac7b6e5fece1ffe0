package bgv

import (
	"math/big"
	"math/bits"

	"github.com/tuneinsight/lattigo/v6/ring"
)

// wide is an integer of 192 bits, least word first.
type wide [3]uint64

func wideOf(x *big.Int) (w wide) {
	mask := new(big.Int).SetUint64(^uint64(0))
	x = new(big.Int).Set(x)
	for i := range w {
		w[i] = new(big.Int).And(x, mask).Uint64()
		x.Rsh(x, 64)
	}
	return w
}

func (a wide) less(b wide) bool {
	_, borrow := bits.Sub64(a[0], b[0], 0)
	_, borrow = bits.Sub64(a[1], b[1], borrow)
	_, borrow = bits.Sub64(a[2], b[2], borrow)
	return borrow == 1
}

func (a wide) minus(b wide) (c wide) {
	var borrow uint64
	c[0], borrow = bits.Sub64(a[0], b[0], 0)
	c[1], borrow = bits.Sub64(a[1], b[1], borrow)
	c[2], _ = bits.Sub64(a[2], b[2], borrow)
	return c
}

// mod is a modulo t.
func (a wide) mod(t uint64) uint64 {
	r := a[2] % t
	r = bits.Rem64(r, a[1], t)
	return bits.Rem64(r, a[0], t)
}

// garner puts the three residues of an integer together, exactly: the mixed-radix digits
// by Garner's algorithm (Knuth, TAOCP 2, 4.3.2).
type garner struct {
	q, half     wide
	q01         [2]uint64
	inv01       uint64 // q₀⁻¹ mod q₁, Montgomery form; the next two are mod q₂
	inv02       uint64
	inv12       uint64
	q0, q1, q2  uint64
	mrc1, mrc2  uint64
	brc1, brc2  [2]uint64
	plaintextT  uint64
	plaintextHT uint64
}

func newGarner(p *params) garner {
	inv := func(a, b int) uint64 {
		qb := new(big.Int).SetUint64(p.limb[b].q)
		x := new(big.Int).ModInverse(new(big.Int).SetUint64(p.limb[a].q), qb)
		return ring.MForm(x.Uint64(), p.limb[b].q, p.limb[b].brc)
	}
	g := garner{q: wideOf(p.rlwe.QBigInt()), half: wideOf(p.half), inv01: inv(0, 1), inv02: inv(0, 2), inv12: inv(1, 2),
		q0: p.limb[0].q, q1: p.limb[1].q, q2: p.limb[2].q, mrc1: p.limb[1].mrc, mrc2: p.limb[2].mrc, brc1: p.limb[1].brc, brc2: p.limb[2].brc,
		plaintextT: p.t, plaintextHT: p.t / 2}
	g.q01[1], g.q01[0] = bits.Mul64(g.q0, g.q1)
	return g
}

// open returns the centred residue modulo the plaintext modulus of the integer in
// (−Q/2, Q/2) with these residues, and whether its magnitude is at most limit.
func (g *garner) open(y0, y1, y2 uint64, limit wide) (int64, bool) {
	d0 := y0
	d1 := ring.MRed(sub(y1, ring.BRedAdd(d0, g.q1, g.brc1), g.q1), g.inv01, g.q1, g.mrc1)
	d2 := ring.MRed(sub(y2, ring.BRedAdd(d0, g.q2, g.brc2), g.q2), g.inv02, g.q2, g.mrc2)
	d2 = ring.MRed(sub(d2, ring.BRedAdd(d1, g.q2, g.brc2), g.q2), g.inv12, g.q2, g.mrc2)
	// d0 + d1·q0 + d2·q0·q1
	var w wide
	var carry uint64
	hi, lo := bits.Mul64(d1, g.q0)
	w[0], carry = bits.Add64(d0, lo, 0)
	w[1], _ = bits.Add64(hi, 0, carry)
	hi, lo = bits.Mul64(d2, g.q01[0])
	w[0], carry = bits.Add64(w[0], lo, 0)
	w[1], carry = bits.Add64(w[1], hi, carry)
	w[2] = carry
	hi, lo = bits.Mul64(d2, g.q01[1])
	w[1], carry = bits.Add64(w[1], lo, 0)
	w[2] += hi + carry
	negative := g.half.less(w)
	if negative {
		w = g.q.minus(w)
	}
	if limit.less(w) {
		return 0, false
	}
	m := int64(w.mod(g.plaintextT))
	if negative {
		m = -m
	}
	switch h := int64(g.plaintextHT); {
	case m > h:
		m -= int64(g.plaintextT)
	case m < -h:
		m += int64(g.plaintextT)
	}
	return m, true
}

func sub(a, b, q uint64) uint64 {
	if a < b {
		a += q
	}
	return a - b
}
