// Package mask adds up by additive shares modulo 2^64: a contributor adds one pseudorandom
// mask per holder to its values and tells each holder the seed of its mask alone. The
// masked values tell nothing without all the masks, and a holder gives away no mask but
// the sum of the contributors' masks, with its part of the release's noise, once per
// round. All holders are needed, the regulator's among them. It is the fast scheme; a
// contributor that does not keep to the protocol can falsify the sum and learn nothing.
package mask

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"slices"

	"github.com/sandgate/sandgate/compute/federate"
)

const (
	chunk     = 1 << 13 // cells of a part
	seedBytes = 32
)

// Scheme is the scheme of additive shares. Its zero value is ready.
type Scheme struct{}

// Name is federate.Mask.
func (Scheme) Name() string { return federate.Mask }

// Fit implements federate.Scheme.
func (Scheme) Fit(p *federate.Proposal) (federate.Shape, *federate.Fault) {
	if p.SumBound().BitLen() > 62 {
		return federate.Shape{}, federate.TooWide(p)
	}
	cells := p.Cells()
	chunks := (cells + chunk - 1) / chunk
	last := 8 * (cells - (chunks-1)*chunk)
	return federate.Shape{Parameters: "mask-64", ChunkCells: chunk, Chunks: chunks, PartBytes: 8 * chunk, LastPartBytes: last,
		ShareBytes: 8 * chunk, LastShareBytes: last, SecretBytes: seedBytes}, nil
}

func defect(zh, en string) error { return &federate.Defect{ZH: zh, EN: en} }

// CheckShare implements federate.Scheme: there is no public share.
func (Scheme) CheckShare(_ federate.Context, share []byte) error {
	if len(share) != 0 {
		return defect("长度有误", "the length is wrong")
	}
	return nil
}

// Holder implements federate.Scheme.
func (Scheme) Holder(c federate.Context, _ io.Reader) (federate.Holder, error) {
	return &holder{proposal: c.Proposal}, nil
}

// Key implements federate.Scheme. There is none but the parties' own seeds; its bytes
// stand for the round.
func (Scheme) Key(c federate.Context, shares [][]byte) (federate.Key, error) {
	if len(shares) != len(c.Proposal.Holders()) {
		return nil, errors.New("a holder is missing")
	}
	return key{c}, nil
}

type key struct{ c federate.Context }

// Bytes implements federate.Key.
func (k key) Bytes() []byte { return slices.Clone(k.c.CRS[:]) }

// stream is the mask of one seed for one part: AES-256 in counter mode, each part with
// counters of its own.
type stream struct {
	block cipher.Block
	buf   []byte
}

func newStream(seed []byte) (*stream, error) {
	b, err := aes.NewCipher(seed)
	if err != nil {
		return nil, err
	}
	return &stream{block: b, buf: make([]byte, 8*chunk)}, nil
}

// add adds the mask, or takes it away, to and from acc.
func (s *stream) add(acc []uint64, part int, away bool) {
	var iv [aes.BlockSize]byte
	binary.BigEndian.PutUint64(iv[:], uint64(part))
	b := s.buf[:8*len(acc)]
	clear(b)
	cipher.NewCTR(s.block, iv[:]).XORKeyStream(b, b)
	if away {
		for i := range acc {
			acc[i] -= binary.LittleEndian.Uint64(b[8*i:])
		}
		return
	}
	for i := range acc {
		acc[i] += binary.LittleEndian.Uint64(b[8*i:])
	}
}

func (s *stream) wipe() { clear(s.buf) }

// Writer implements federate.Key.
func (k key) Writer(rnd io.Reader) (federate.Writer, error) {
	w := &writer{seeds: map[string][]byte{}, acc: make([]uint64, chunk)}
	for _, h := range k.c.Proposal.Holders() {
		seed := make([]byte, seedBytes)
		if _, err := io.ReadFull(rnd, seed); err != nil {
			return nil, errors.New("failed to read randomness")
		}
		s, err := newStream(seed)
		if err != nil {
			return nil, err
		}
		w.seeds[h], w.streams = seed, append(w.streams, s)
	}
	return w, nil
}

type writer struct {
	seeds   map[string][]byte
	streams []*stream
	acc     []uint64
}

// Secret implements federate.Writer: the seed of the holder's mask.
func (w *writer) Secret(to string) []byte { return slices.Clone(w.seeds[to]) }

// Part implements federate.Writer.
func (w *writer) Part(dst []byte, i int, values []int64) ([]byte, error) {
	if len(values) > chunk {
		return nil, errors.New("a part holds too many cells")
	}
	acc := w.acc[:len(values)]
	for j, v := range values {
		acc[j] = uint64(v)
	}
	for _, s := range w.streams {
		s.add(acc, i, false)
	}
	dst = put(dst, acc)
	clear(acc)
	return dst, nil
}

func put(dst []byte, words []uint64) []byte {
	dst = slices.Grow(dst, 8*len(words))
	for _, x := range words {
		dst = binary.LittleEndian.AppendUint64(dst, x)
	}
	return dst
}

// Sum implements federate.Key.
func (k key) Sum(bool) federate.Sum {
	return &sum{acc: make([]uint64, k.c.Proposal.Cells()), bound: k.c.Proposal.SumBound().Int64()}
}

type sum struct {
	acc   []uint64
	bound int64
}

func (s *sum) part(i int) []uint64 {
	if i < 0 || i*chunk >= len(s.acc) {
		return nil
	}
	return s.acc[i*chunk : min(len(s.acc), (i+1)*chunk)]
}

// Add implements federate.Sum.
func (s *sum) Add(i int, part []byte) error {
	acc := s.part(i)
	if len(acc) == 0 || len(part) != 8*len(acc) {
		return defect("长度有误", "the length is wrong")
	}
	for j := range acc {
		acc[j] += binary.LittleEndian.Uint64(part[8*j:])
	}
	return nil
}

// Close implements federate.Sum.
func (s *sum) Close(i int, h hash.Hash) { h.Write(put(nil, s.part(i))) }

// AddShare implements federate.Sum.
func (s *sum) AddShare(i int, share []byte) error { return s.Add(i, share) }

// Values implements federate.Sum. A number beyond every bound says that a share is
// missing, of another sum or wrong.
func (s *sum) Values(dst []int64, i int) ([]int64, error) {
	for _, x := range s.part(i) {
		v := int64(x)
		if v > s.bound || v < -s.bound {
			return nil, defect("解密份额合不成结果", "the decryption shares do not open the sum")
		}
		dst = append(dst, v)
	}
	return dst, nil
}

type holder struct {
	proposal *federate.Proposal
	opened   bool
}

// KeyShare is empty.
func (*holder) KeyShare() []byte { return nil }

// Deal is nothing.
func (*holder) Deal(string) ([]byte, error) { return nil, nil }

// Take refuses: nothing is dealt.
func (*holder) Take(string, []byte) error {
	return defect("此方案没有此种份额", "this scheme deals nothing")
}

// Wipe implements federate.Holder.
func (h *holder) Wipe() { h.opened = true }

// Open implements federate.Holder. It succeeds once; the secrets are the contributors'
// seeds.
func (h *holder) Open(_ federate.Sum, active []string, secrets map[string][]byte, noise federate.Noise, _ io.Reader) (federate.Opener, error) {
	if h.opened {
		return nil, errors.New("this holder has given its share")
	}
	h.opened = true
	if len(active) != len(h.proposal.Holders()) || len(secrets) == 0 {
		return nil, errors.New("all holders are needed, and every contributor's seed")
	}
	o := &opener{cells: h.proposal.Cells(), acc: make([]uint64, chunk), drawn: make([]int64, chunk), noise: noise}
	for _, seed := range secrets {
		if len(seed) != seedBytes {
			return nil, defect("种子长度有误", "the length of a seed is wrong")
		}
		s, err := newStream(seed)
		if err != nil {
			return nil, err
		}
		o.streams = append(o.streams, s)
	}
	return o, nil
}

type opener struct {
	cells   int
	next    int
	streams []*stream
	acc     []uint64
	drawn   []int64
	noise   federate.Noise // nil without noise, which only tests of exactness ask for
}

// Share implements federate.Opener: the noise less the contributors' masks.
func (o *opener) Share(dst []byte, i int) ([]byte, error) {
	if i != o.next || i*chunk >= o.cells {
		return nil, errors.New("the parts of a share are made in order, each once")
	}
	o.next++
	acc := o.acc[:min(chunk, o.cells-i*chunk)]
	clear(acc)
	if o.noise != nil {
		drawn := o.drawn[:len(acc)]
		if err := o.noise.Fill(drawn); err != nil {
			return nil, err
		}
		for j, x := range drawn {
			acc[j] = uint64(x)
		}
		clear(drawn)
	}
	for _, s := range o.streams {
		s.add(acc, i, true)
	}
	return put(dst, acc), nil
}

// Wipe implements federate.Opener.
func (o *opener) Wipe() {
	for _, s := range o.streams {
		s.wipe()
	}
	clear(o.acc)
	clear(o.drawn)
	if o.noise != nil {
		o.noise.Wipe()
	}
	o.streams, o.next = nil, o.cells
}
