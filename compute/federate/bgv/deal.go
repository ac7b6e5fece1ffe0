package bgv

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/tuneinsight/lattigo/v6/ring"
)

// A department's public share says what it deals, so that a department that deals what is
// no sharing of the secret in its share of the key is found, and named, by whom it dealt
// it to, before anything is encrypted.
//
// The dealer fixes its deals f(1)…f(d) by their digests. A hash of digests and public
// share b gives rows u of random bits, one bit per coefficient, which nobody could foresee.
// The dealer publishes ⟨u, r⟩ and ⟨u, a·r⟩ for every coefficient r of its share polynomial,
// of which the constant one is the secret s.
//
//   - Everybody checks that ⟨u, s⟩ and ⟨u, b⟩ + ⟨u, a·s⟩ = ⟨u, e⟩ are small: then, but with
//     probability 2^-rows per coefficient, s and the error of b are (if a coefficient is
//     large, flipping its bit changes the value by more than the bound allows twice).
//   - Who was dealt f(x) checks that it is the one of the digest, and that ⟨u, f(x)⟩ and
//     ⟨u, a·f(x)⟩ are the published polynomials at x.
//
// So the deals of any t departments that found nothing interpolate to a small secret that
// fits b. What is published are 2·rows linear equations on (s, e) of 2·8192 unknowns, and
// on r as many, which tell nothing else: it is the problem of N − 2·rows dimensions that
// is left (Dachman-Soled, Ducas, Gong, Rossi, "LWE with Side Information", 2020: a perfect
// hint takes one dimension), and secure holds the modulus against the table for that.

// rows of random bits: a false deal passes with a probability of 2^-rows per try, and a
// try costs the dealer a new set of deals.
const rows = 128

const rowBytes = n / 8

// equations of one polynomial: rows, by limb.
type equations [limbs][rows]uint64

const equationBytes = limbs * rows * 8

// proofBytes is how much longer the public share of a department is than the regulator's.
func proofBytes(p *federate.Proposal) int {
	if len(p.Departments) < 2 {
		return 0
	}
	return len(p.Departments)*sha256.Size + 2*p.Threshold*equationBytes
}

// shareBytes is the length of a holder's public share.
func shareBytes(p *federate.Proposal, holder string) int {
	if holder == p.Regulator {
		return polyBytes
	}
	return polyBytes + proofBytes(p)
}

// challenge expands the rows of a public share, of which head is all but the equations.
func challenge(crs [32]byte, from string, head []byte) []byte {
	h := sha256.New()
	h.Write([]byte("sandgate/federation/v1/bgv deal\n"))
	h.Write(crs[:])
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], uint64(len(from)))
	h.Write(size[:])
	h.Write([]byte(from))
	h.Write(head)
	block, err := aes.NewCipher(h.Sum(nil))
	if err != nil {
		panic("bgv: AES-256 refused a 32-byte key")
	}
	out := make([]byte, rows*rowBytes)
	cipher.NewCTR(block, make([]byte, aes.BlockSize)).XORKeyStream(out, out)
	return out
}

// project is ⟨u, poly⟩ for every row u; poly holds coefficients. Eight of them at a time
// make a table of their subsets' sums.
func (p *params) project(bits []byte, poly ring.Poly) (out equations) {
	var table [256]uint64
	for l := range p.limb {
		q, c := p.limb[l].q, poly.Coeffs[l]
		for g := range rowBytes {
			for i, x := range c[8*g : 8*g+8] {
				for k := range 1 << i {
					table[1<<i|k] = ring.CRed(table[k]+x, q)
				}
			}
			for r := range rows {
				out[l][r] = ring.CRed(out[l][r]+table[bits[r*rowBytes+g]], q)
			}
		}
	}
	clear(table[:])
	return out
}

// both are the equations of a polynomial in NTT and Montgomery form, and of its product
// with a.
func (p *params) both(bits []byte, a, poly ring.Poly) (own, product equations) {
	work := p.ring.NewPoly()
	defer work.Zero()
	p.ring.IMForm(poly, work)
	p.ring.INTT(work, work)
	own = p.project(bits, work)
	p.ring.MulCoeffsMontgomery(a, poly, work)
	p.ring.INTT(work, work)
	return own, p.project(bits, work)
}

// prove appends digests and equations to a public share.
func (h *holder) prove(crs [32]byte, a ring.Poly) error {
	for _, to := range h.proposal.Departments {
		f, err := h.deal(to)
		if err != nil {
			return err
		}
		text := put(make([]byte, 0, polyBytes), f)
		sum := sha256.Sum256(text)
		clear(text)
		h.public = append(h.public, sum[:]...)
	}
	bits := challenge(crs, h.self, h.public)
	for _, r := range h.dealing.Value {
		own, product := h.p.both(bits, a, r.Q)
		h.public = appendEquations(appendEquations(h.public, own), product)
	}
	return nil
}

func appendEquations(dst []byte, e equations) []byte {
	for _, l := range e {
		for _, x := range l {
			dst = binary.LittleEndian.AppendUint64(dst, x)
		}
	}
	return dst
}

// proof is what a department's public share says of its deals.
type proof struct {
	digests []byte
	bits    []byte
	terms   [][2]equations // by coefficient: of it, and of its product with a
}

var errProof = defect("其份额与公开的密钥份额不符：它分发的不是同一个秘密", "what it deals is not a sharing of the secret in its share of the key")

// readProof reads the proof of a public share of the right length.
func (p *params) readProof(c federate.Context, from string, share []byte) (*proof, error) {
	head := polyBytes + len(c.Proposal.Departments)*sha256.Size
	out := &proof{digests: share[polyBytes:head], bits: challenge(c.CRS, from, share[:head])}
	rest := share[head:]
	for range c.Proposal.Threshold {
		var two [2]equations
		for k := range two {
			for l := range p.limb {
				for r := range rows {
					if two[k][l][r] = binary.LittleEndian.Uint64(rest); two[k][l][r] >= p.limb[l].q {
						return nil, errResidue
					}
					rest = rest[8:]
				}
			}
		}
		out.terms = append(out.terms, two)
	}
	return out, nil
}

// sound checks what everybody can: secret and error of the share b are small.
func (p *params) sound(x *proof, b ring.Poly) bool {
	work := p.ring.NewPoly()
	p.ring.INTT(b, work)
	errs := p.project(x.bits, work)
	for l := range p.limb {
		for r := range rows {
			errs[l][r] = ring.CRed(errs[l][r]+x.terms[0][1][l][r], p.limb[l].q)
		}
	}
	return p.small(x.terms[0][0], n) && p.small(errs, n*errorBound)
}

// small says whether every row is one integer of at most that magnitude, modulo all primes.
func (p *params) small(e equations, most uint64) bool {
	for r := range rows {
		size, negative := e[0][r], false
		if q := p.limb[0].q; size > q/2 {
			size, negative = q-size, true
		}
		if size > most {
			return false
		}
		for l := range p.limb {
			want := size
			if negative && size > 0 {
				want = p.limb[l].q - size
			}
			if e[l][r] != want {
				return false
			}
		}
	}
	return true
}

// at is the published polynomials at a point.
func (p *params) at(x *proof, point uint64) (out [2]equations) {
	for k := range out {
		for l := range p.limb {
			q, brc := p.limb[l].q, p.limb[l].brc
			for r := range rows {
				v := uint64(0)
				for j := len(x.terms) - 1; j >= 0; j-- {
					v = ring.CRed(ring.BRed(v, point, q, brc)+x.terms[j][k][l][r], q)
				}
				out[k][l][r] = v
			}
		}
	}
	return out
}

// Check implements federate.Holder: the deal is the one that the public share speaks of.
func (h *holder) Check(from string, share []byte) error {
	deal, ok := h.waiting[from]
	if !ok || len(share) != shareBytes(h.proposal, from) {
		return defect("没有待核对的份额", "there is no deal to be checked")
	}
	own, err := h.point(h.self)
	if err != nil {
		return err
	}
	x, err := h.p.readProof(federate.Context{Proposal: h.proposal, CRS: h.crs}, from, share)
	if err != nil {
		return err
	}
	i := int(own-1) * sha256.Size
	if digest := sha256.Sum256(put(make([]byte, 0, polyBytes), deal)); !slices.Equal(digest[:], x.digests[i:i+sha256.Size]) {
		return errProof
	}
	a, err := h.p.reference(h.crs)
	if err != nil {
		return err
	}
	mine, product := h.p.both(x.bits, a, deal)
	if want := h.p.at(x, uint64(own)); mine != want[0] || product != want[1] {
		return errProof
	}
	delete(h.waiting, from)
	h.take(from, deal)
	return nil
}
