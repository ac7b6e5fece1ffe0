package bgv

import (
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"slices"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/tuneinsight/lattigo/v6/ring"
	"github.com/tuneinsight/lattigo/v6/utils/sampling"
)

// reference is the public polynomial a of the round, in NTT form.
func (p *params) reference(crs [32]byte) (ring.Poly, error) {
	prng, err := sampling.NewKeyedPRNG(crs[:])
	if err != nil {
		return ring.Poly{}, err
	}
	return ring.NewUniformSampler(prng, p.ring).ReadNew(), nil
}

// put appends a polynomial, residue by residue, as 64-bit little-endian numbers.
func put(dst []byte, poly ring.Poly) []byte {
	for _, c := range poly.Coeffs {
		for _, x := range c {
			dst = binary.LittleEndian.AppendUint64(dst, x)
		}
	}
	return dst
}

var (
	errLength  = defect("长度有误", "the length is wrong")
	errResidue = defect("含有不小于模数的余数", "a residue is not below its modulus")
)

// get reads a polynomial of exactly this length whose residues are canonical.
func (p *params) get(b []byte, poly ring.Poly) error {
	if len(b) != polyBytes {
		return errLength
	}
	for i := range p.limb {
		q, c := p.limb[i].q, poly.Coeffs[i]
		for j := range c {
			if c[j] = binary.LittleEndian.Uint64(b[8*j:]); c[j] >= q {
				return errResidue
			}
		}
		b = b[8*n:]
	}
	return nil
}

// CheckShare implements federate.Scheme.
func (s *Scheme) CheckShare(c federate.Context, from string, share []byte) error {
	p, err := s.params(c)
	if err != nil {
		return err
	}
	if len(share) != shareBytes(c.Proposal, from) {
		return errLength
	}
	b := p.ring.NewPoly()
	if err := p.get(share[:polyBytes], b); err != nil || len(share) == polyBytes {
		return err
	}
	x, err := p.readProof(c, from, share)
	if err != nil {
		return err
	}
	if !p.sound(x, b) {
		return errProof
	}
	return nil
}

// Key implements federate.Scheme: the sum of the shares is the key.
func (s *Scheme) Key(c federate.Context, shares [][]byte) (federate.Key, error) {
	p, err := s.params(c)
	if err != nil {
		return nil, err
	}
	if len(shares) != len(c.Proposal.Holders()) {
		return nil, errors.New("a share of the key is missing")
	}
	k := &key{p: p, proposal: c.Proposal, b: p.ring.NewPoly()}
	if k.a, err = p.reference(c.CRS); err != nil {
		return nil, err
	}
	one := p.ring.NewPoly()
	for i, share := range shares {
		if len(share) != shareBytes(c.Proposal, c.Proposal.Holders()[i]) {
			return nil, errLength
		}
		if err := p.get(share[:polyBytes], one); err != nil {
			return nil, err
		}
		p.ring.Add(k.b, one, k.b)
	}
	k.bytes = put(put(make([]byte, 0, partBytes), k.b), k.a)
	p.ring.MForm(k.a, k.a)
	p.ring.MForm(k.b, k.b)
	return k, nil
}

// key is (b, a) with b = −a·s + e, in NTT and Montgomery form.
type key struct {
	p        *params
	proposal *federate.Proposal
	a, b     ring.Poly
	bytes    []byte
}

// Bytes implements federate.Key.
func (k *key) Bytes() []byte { return slices.Clone(k.bytes) }

// Writer implements federate.Key.
func (k *key) Writer(rnd io.Reader) (federate.Writer, error) {
	xs, err := ring.NewSampler(full{rnd}, k.p.ring, k.p.rlwe.Xs(), false)
	if err != nil {
		return nil, err
	}
	xe, err := ring.NewSampler(full{rnd}, k.p.ring, k.p.rlwe.Xe(), false)
	if err != nil {
		return nil, err
	}
	return &writer{k: k, xs: xs, xe: xe, u: k.p.ring.NewPoly(), c0: k.p.ring.NewPoly(), c1: k.p.ring.NewPoly()}, nil
}

// writer encrypts under the key. c0 leaves as coefficients and c1 in NTT form, which is
// what adding, opening and decoding need them in.
type writer struct {
	k         *key
	xs, xe    ring.Sampler
	u, c0, c1 ring.Poly
}

// Secret is nil: only the key's holders are needed.
func (*writer) Secret(string) []byte { return nil }

// Part implements federate.Writer.
func (w *writer) Part(dst []byte, _ int, values []int64) (out []byte, err error) {
	defer caught(&err)
	r := w.k.p.ring
	if len(values) > n {
		return nil, errors.New("a part holds too many cells")
	}
	w.xs.Read(w.u)
	r.NTT(w.u, w.u)
	r.MulCoeffsMontgomery(w.u, w.k.b, w.c0)
	r.MulCoeffsMontgomery(w.u, w.k.a, w.c1)
	r.INTT(w.c0, w.c0)
	w.xe.ReadAndAdd(w.c0)
	w.k.p.add(w.c0, values)
	w.xe.Read(w.u)
	r.NTT(w.u, w.u)
	r.Add(w.c1, w.u, w.c1)
	return put(put(slices.Grow(dst, partBytes), w.c0), w.c1), nil
}

// add adds the encoding of values, value·T⁻¹ in each coefficient, to a polynomial of
// coefficients. Values are smaller in magnitude than every prime.
func (p *params) add(poly ring.Poly, values []int64) {
	for i := range p.limb {
		l, c := &p.limb[i], poly.Coeffs[i]
		for j, v := range values {
			x := uint64(v)
			if v < 0 {
				x += l.q
			}
			c[j] = ring.CRed(c[j]+ring.MRed(x, l.tInvM, l.q, l.mrc), l.q)
		}
	}
}

// Sum implements federate.Key.
func (k *key) Sum(open bool) federate.Sum {
	chunks := (k.proposal.Cells() + n - 1) / n
	s := &sum{p: k.p, limit: wideOf(k.p.limit(k.proposal)), cells: k.proposal.Cells(), chunks: chunks, c1: make([]uint64, chunks*limbs*n)}
	if open {
		s.c0 = make([]uint64, chunks*limbs*n)
	} else {
		s.c0 = make([]uint64, limbs*n)
	}
	return s
}

// sum holds c1 of every part, and c0 of every part or, if it is not to be opened here, of
// the one at hand.
type sum struct {
	p             *params
	limit         wide
	cells, chunks int
	c0, c1        []uint64
}

// of is the place of part i in a run of polynomials.
func of(c []uint64, i int) []uint64 {
	if len(c) == limbs*n {
		return c
	}
	return c[i*limbs*n : (i+1)*limbs*n]
}

// Add implements federate.Sum.
func (s *sum) Add(i int, part []byte) error {
	if i < 0 || i >= s.chunks {
		return defect("部分的序号有误", "there is no such part")
	}
	if len(part) != partBytes {
		return errLength
	}
	if err := s.p.accumulate(of(s.c0, i), part[:polyBytes]); err != nil {
		return err
	}
	return s.p.accumulate(s.c1[i*limbs*n:(i+1)*limbs*n], part[polyBytes:])
}

// accumulate adds the residues of b to acc and refuses what is not canonical.
func (p *params) accumulate(acc []uint64, b []byte) error {
	for i := range p.limb {
		q := p.limb[i].q
		for j := range n {
			x := binary.LittleEndian.Uint64(b[8*j:])
			if x >= q {
				return errResidue
			}
			acc[j] = ring.CRed(acc[j]+x, q)
		}
		acc, b = acc[n:], b[8*n:]
	}
	return nil
}

// Close implements federate.Sum.
func (s *sum) Close(i int, h hash.Hash) {
	var buf [4096]byte
	for _, c := range [][]uint64{of(s.c0, i), s.c1[i*limbs*n : (i+1)*limbs*n]} {
		for len(c) > 0 {
			b := buf[:0]
			for _, x := range c[:512] {
				b = binary.LittleEndian.AppendUint64(b, x)
			}
			h.Write(b)
			c = c[512:]
		}
	}
	if len(s.c0) == limbs*n && s.chunks > 1 {
		clear(s.c0)
	}
}

// AddShare implements federate.Sum.
func (s *sum) AddShare(i int, share []byte) error {
	if i < 0 || i >= s.chunks || len(s.c0) != s.chunks*limbs*n {
		return defect("部分的序号有误", "there is no such part")
	}
	if len(share) != polyBytes {
		return errLength
	}
	return s.p.accumulate(of(s.c0, i), share)
}

// Values implements federate.Sum. A coefficient beyond the bound that everybody's noise
// keeps to says that a share is missing, of another sum or wrong.
func (s *sum) Values(dst []int64, i int) ([]int64, error) {
	c := of(s.c0, i)
	for j := range min(n, s.cells-i*n) {
		l := &s.p.limb
		v, ok := s.p.garn.open(ring.MRed(c[j], l[0].tM, l[0].q, l[0].mrc), ring.MRed(c[n+j], l[1].tM, l[1].q, l[1].mrc),
			ring.MRed(c[2*n+j], l[2].tM, l[2].q, l[2].mrc), s.limit)
		if !ok {
			return nil, defect("解密份额合不成结果", "the decryption shares do not open the sum")
		}
		dst = append(dst, v)
	}
	return dst, nil
}
