package request

import (
	"sync"

	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
)

// affine is a point with Z = 1 in the form that an addition reads: y+x, y−x, 2dxy.
type affine struct{ plus, minus, xy2d field.Element }

// multiples of a point: at [i][j] stands (j+1)·2^(window·i) times it.
type multiples [windows][]affine

var baseMultiples = sync.OnceValue(func() *multiples { return multiplesOf(edwards25519.NewGeneratorPoint()) })

// multiplesOf leaves the group law to the library, and only writes its results in the
// form that sum.add reads.
func multiplesOf(p *edwards25519.Point) *multiples {
	points := make([]edwards25519.Point, windows*digits)
	unit := edwards25519.NewIdentityPoint().Set(p)
	for i := range windows {
		row := points[i*digits : (i+1)*digits]
		row[0].Set(unit)
		for j := 1; j < digits; j++ {
			row[j].Add(&row[j-1], unit)
		}
		unit = edwards25519.NewIdentityPoint().Add(&row[digits-1], &row[digits-1])
	}
	zs := make([]field.Element, len(points))
	for i := range points {
		_, _, z, _ := points[i].ExtendedCoordinates()
		zs[i].Set(z)
	}
	invertAll(zs)
	d2 := twoD()
	made := make([]affine, len(points))
	var x, y field.Element
	for i := range points {
		px, py, _, _ := points[i].ExtendedCoordinates()
		x.Multiply(px, &zs[i])
		y.Multiply(py, &zs[i])
		made[i].plus.Add(&y, &x)
		made[i].minus.Subtract(&y, &x)
		made[i].xy2d.Multiply(&x, &y)
		made[i].xy2d.Multiply(&made[i].xy2d, d2)
	}
	out := &multiples{}
	for i := range out {
		out[i] = made[i*digits : (i+1)*digits]
	}
	return out
}

// twoD is 2d of the curve −x² + y² = 1 + dx²y², d = −121665/121666 (RFC 8032, 5.1).
func twoD() *field.Element {
	var one, n field.Element
	one.One()
	n.Mult32(&one, 121666)
	n.Invert(&n)
	n.Mult32(&n, 2*121665)
	return new(field.Element).Negate(&n)
}

// sum is a point in extended coordinates, x = X/Z, y = Y/Z, xy = T/Z.
type sum struct{ x, y, z, t field.Element }

func newSum() *sum {
	r := &sum{}
	r.y.One()
	r.z.One()
	return r
}

// add adds the d-th multiple of a row, of either sign. The formulas are
// madd-2008-hwcd-3 (Hisil, Wong, Carter, Dawson, "Twisted Edwards Curves Revisited",
// ASIACRYPT 2008), complete on this curve: there is no case apart. The library's own
// addition of two points of any form costs nearly twice the multiplications.
func (r *sum) add(row []affine, d int32) {
	if d == 0 {
		return
	}
	var a, b, c, e, f, g, h field.Element
	a.Subtract(&r.y, &r.x)
	b.Add(&r.y, &r.x)
	if d > 0 {
		p := &row[d-1]
		a.Multiply(&a, &p.minus)
		b.Multiply(&b, &p.plus)
		c.Multiply(&r.t, &p.xy2d)
		g.Add(&r.z, &r.z)
		f.Subtract(&g, &c)
		g.Add(&g, &c)
	} else { // −(x, y) = (−x, y): sum and difference change places, 2dxy its sign
		p := &row[-d-1]
		a.Multiply(&a, &p.plus)
		b.Multiply(&b, &p.minus)
		c.Multiply(&r.t, &p.xy2d)
		g.Add(&r.z, &r.z)
		f.Add(&g, &c)
		g.Subtract(&g, &c)
	}
	e.Subtract(&b, &a)
	h.Add(&b, &a)
	r.x.Multiply(&e, &f)
	r.y.Multiply(&g, &h)
	r.z.Multiply(&f, &g)
	r.t.Multiply(&e, &h)
}

// encode writes many points as RFC 8032 does, with one inversion.
func encode(points []*sum) [][32]byte {
	out := make([][32]byte, len(points))
	zs := make([]field.Element, len(points))
	for i, p := range points {
		zs[i].Set(&p.z)
	}
	invertAll(zs)
	var x, y field.Element
	for i, p := range points {
		x.Multiply(&p.x, &zs[i])
		y.Multiply(&p.y, &zs[i])
		copy(out[i][:], y.Bytes())
		out[i][31] |= byte(x.IsNegative() << 7)
	}
	return out
}

// invertAll inverts elements that are not zero, in place, with one inversion
// (Montgomery's trick). No Z of a point is zero.
func invertAll(es []field.Element) {
	if len(es) == 0 {
		return
	}
	before := make([]field.Element, len(es)) // product of those before each
	product := new(field.Element).One()
	for i := range es {
		before[i].Set(product)
		product.Multiply(product, &es[i])
	}
	inverse := new(field.Element).Invert(product)
	var own field.Element
	for i := len(es) - 1; i >= 0; i-- {
		own.Multiply(inverse, &before[i])
		inverse.Multiply(inverse, &es[i])
		es[i].Set(&own)
	}
}
