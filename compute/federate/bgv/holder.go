package bgv

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/tuneinsight/lattigo/v6/core/rlwe"
	"github.com/tuneinsight/lattigo/v6/multiparty"
	"github.com/tuneinsight/lattigo/v6/ring"
	"github.com/tuneinsight/lattigo/v6/ring/ringqp"
	"github.com/tuneinsight/lattigo/v6/utils/structs"
)

// holder is one holder's secret: a ternary polynomial, and of a department the sum of the
// shares that all departments dealt it of theirs.
type holder struct {
	p        *params
	proposal *federate.Proposal
	self     string
	secret   ring.Poly // NTT and Montgomery form
	public   []byte
	dealing  multiparty.ShamirPolynomial
	crs      [32]byte
	taken    map[string]bool
	waiting  map[string]ring.Poly // deals that are not checked yet
	share    multiparty.ShamirSecretShare
	opened   bool
}

// Holder implements federate.Scheme.
func (s *Scheme) Holder(c federate.Context, rnd io.Reader) (_ federate.Holder, err error) {
	defer caught(&err)
	p, err := s.params(c)
	if err != nil {
		return nil, err
	}
	a, err := p.reference(c.CRS)
	if err != nil {
		return nil, err
	}
	xs, err := ring.NewSampler(full{rnd}, p.ring, p.rlwe.Xs(), false)
	if err != nil {
		return nil, err
	}
	xe, err := ring.NewSampler(full{rnd}, p.ring, p.rlwe.Xe(), false)
	if err != nil {
		return nil, err
	}
	h := &holder{p: p, proposal: c.Proposal, self: c.Self, secret: xs.ReadNew(), crs: c.CRS, taken: map[string]bool{}, waiting: map[string]ring.Poly{}}
	p.ring.NTT(h.secret, h.secret)
	p.ring.MForm(h.secret, h.secret)
	b := xe.ReadNew()
	p.ring.NTT(b, b)
	p.ring.MulCoeffsMontgomeryThenSub(a, h.secret, b)
	h.public = put(make([]byte, 0, polyBytes), b)
	if c.Self == c.Proposal.Regulator {
		return h, nil
	}
	// The share polynomial of this department's secret: the secret, and uniform above.
	h.dealing.Value = make(structs.Vector[ringqp.Poly], c.Proposal.Threshold)
	h.dealing.Value[0] = ringqp.Poly{Q: h.secret}
	uniform := ring.NewUniformSampler(full{rnd}, p.ring)
	for i := 1; i < c.Proposal.Threshold; i++ {
		h.dealing.Value[i] = ringqp.Poly{Q: uniform.ReadNew()}
	}
	thr := multiparty.NewThresholdizer(p.rlwe)
	h.share = thr.AllocateThresholdSecretShare()
	own, err := h.deal(c.Self)
	if err != nil {
		return nil, err
	}
	h.take(c.Self, own)
	if proofBytes(c.Proposal) > 0 {
		return h, h.prove(c.CRS, a)
	}
	return h, nil
}

// KeyShare implements federate.Holder.
func (h *holder) KeyShare() []byte { return slices.Clone(h.public) }

// point is the place at which a department's shares are evaluated; never 0, where the
// secret is.
func (h *holder) point(department string) (multiparty.ShamirPublicPoint, error) {
	i, ok := slices.BinarySearch(h.proposal.Departments, department)
	if !ok {
		return 0, errors.New("only departments share their part of the key")
	}
	return multiparty.ShamirPublicPoint(i + 1), nil
}

func (h *holder) deal(to string) (ring.Poly, error) {
	at, err := h.point(to)
	if err != nil {
		return ring.Poly{}, err
	}
	if h.dealing.Value == nil {
		return ring.Poly{}, errors.New("nothing is left to be dealt")
	}
	thr := multiparty.NewThresholdizer(h.p.rlwe)
	out := thr.AllocateThresholdSecretShare()
	thr.GenShamirSecretShare(at, h.dealing, &out)
	return out.Q, nil
}

// Deal implements federate.Holder.
func (h *holder) Deal(to string) ([]byte, error) {
	if h.self == h.proposal.Regulator || to == h.proposal.Regulator || to == h.self {
		return nil, nil
	}
	out, err := h.deal(to)
	if err != nil {
		return nil, err
	}
	return put(make([]byte, 0, polyBytes), out), nil
}

// Take implements federate.Holder. A deal counts when it was checked.
func (h *holder) Take(from string, deal []byte) error {
	if _, err := h.point(from); err != nil {
		return err
	}
	if _, twice := h.waiting[from]; twice || h.taken[from] {
		return defect("重复的份额", "a share came twice")
	}
	poly := h.p.ring.NewPoly()
	if err := h.p.get(deal, poly); err != nil {
		return err
	}
	h.waiting[from] = poly
	return nil
}

func (h *holder) take(from string, deal ring.Poly) {
	h.taken[from] = true
	h.p.ring.Add(h.share.Q, deal, h.share.Q)
}

// Wipe implements federate.Holder.
func (h *holder) Wipe() {
	h.secret.Zero()
	for _, d := range h.dealing.Value {
		d.Q.Zero()
	}
	h.dealing.Value = nil
	for _, d := range h.waiting {
		d.Zero()
	}
	if h.share.Q.Coeffs != nil {
		h.share.Q.Zero()
	}
	h.opened = true
}

// Open implements federate.Holder. It succeeds once.
func (h *holder) Open(s federate.Sum, active []string, _ map[string][]byte, noise federate.Noise, rnd io.Reader) (_ federate.Opener, err error) {
	defer caught(&err)
	closed, ok := s.(*sum)
	if h.opened || !ok || closed.p != h.p {
		return nil, errors.New("this secret has made its share, or there is no sum to open")
	}
	h.opened = true
	secret := h.secret
	if h.self != h.proposal.Regulator {
		if secret, err = h.additive(active); err != nil {
			return nil, err
		}
	}
	xe, err := ring.NewSampler(full{rnd}, h.p.ring, h.p.rlwe.Xe(), false)
	if err != nil {
		return nil, err
	}
	o := &opener{p: h.p, sum: closed, secret: *secret.CopyNew(), xe: xe, rnd: full{rnd}, work: h.p.ring.NewPoly(), flood: make([]byte, 16*n), drawn: make([]int64, n), noise: noise}
	return o, nil
}

// additive is this department's summand of the departments' secret among the active ones.
func (h *holder) additive(active []string) (ring.Poly, error) {
	if len(h.taken) != len(h.proposal.Departments) {
		return ring.Poly{}, errors.New("a department's share is missing")
	}
	own, err := h.point(h.self)
	if err != nil {
		return ring.Poly{}, err
	}
	var points []multiparty.ShamirPublicPoint
	for _, one := range active {
		if one == h.proposal.Regulator {
			continue
		}
		at, err := h.point(one)
		if err != nil {
			return ring.Poly{}, err
		}
		points = append(points, at)
	}
	if len(points) != h.proposal.Threshold || !slices.Contains(points, own) {
		return ring.Poly{}, errors.New("the decryptors are not as many as the threshold, or this one is not among them")
	}
	sk := rlwe.NewSecretKey(h.p.rlwe)
	combiner := multiparty.NewCombiner(h.p.rlwe, own, points, h.proposal.Threshold)
	if err := combiner.GenAdditiveShare(points, own, h.share, sk); err != nil {
		return ring.Poly{}, err
	}
	return sk.Value.Q, nil
}

// opener makes the parts of one decryption share.
type opener struct {
	p      *params
	sum    *sum
	secret ring.Poly
	xe     ring.Sampler
	rnd    full
	noise  federate.Noise // nil without noise, which only tests of exactness ask for
	work   ring.Poly
	flood  []byte
	drawn  []int64
	next   int
}

// Share implements federate.Opener: c1·s + error + flood + T⁻¹·noise, as coefficients.
func (o *opener) Share(dst []byte, i int) (_ []byte, err error) {
	defer caught(&err)
	if i != o.next || i >= o.sum.chunks {
		return nil, errors.New("the parts of a share are made in order, each once")
	}
	o.next++
	r := o.p.ring
	c1 := o.sum.c1[i*limbs*n : (i+1)*limbs*n]
	for l, s := range r.SubRings {
		s.MulCoeffsMontgomery(c1[l*n:(l+1)*n], o.secret.Coeffs[l], o.work.Coeffs[l])
	}
	r.INTT(o.work, o.work)
	o.xe.ReadAndAdd(o.work)
	o.rnd.Read(o.flood)
	o.p.drown(o.work, o.flood)
	if o.noise != nil {
		cells := o.drawn[:min(n, o.sum.cells-i*n)]
		if err := o.noise.Fill(cells); err != nil {
			return nil, err
		}
		o.p.add(o.work, cells)
		clear(cells)
	}
	dst = put(slices.Grow(dst, polyBytes), o.work)
	o.work.Zero()
	return dst, nil
}

// drown adds to each coefficient an integer uniform in [−2^108, 2^108), taken from 16
// random bytes and reduced modulo every prime.
func (p *params) drown(poly ring.Poly, random []byte) {
	const topBits = floodBits + 1 - 64
	for i := range p.limb {
		l, c := &p.limb[i], poly.Coeffs[i]
		for j := range c {
			lo, hi := binary.LittleEndian.Uint64(random[16*j:]), binary.LittleEndian.Uint64(random[16*j+8:])&(1<<topBits-1)
			x := ring.CRed(ring.BRedAdd(lo, l.q, l.brc)+ring.MRed(hi, l.wordM, l.q, l.mrc), l.q)
			c[j] = ring.CRed(c[j]+sub(x, l.floodStart, l.q), l.q)
		}
	}
	clear(random)
}

// Wipe implements federate.Opener.
func (o *opener) Wipe() {
	o.secret.Zero()
	o.work.Zero()
	clear(o.flood)
	clear(o.drawn)
	if o.noise != nil {
		o.noise.Wipe()
	}
	o.next = o.sum.chunks
}
