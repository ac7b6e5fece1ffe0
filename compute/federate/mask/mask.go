// Package mask adds up by additive shares modulo 2^64, two cells in a word where the sums
// are narrow enough: a contributor adds one pseudorandom mask per holder to its values and
// tells each holder the seed of its mask alone. The masked values tell nothing without all the masks, and a holder gives away no mask but
// the sum of the contributors' masks, with its part of the release's noise, once per
// round. All holders are needed, the regulator's among them. It is the fast scheme; a
// contributor that does not keep to the protocol can falsify the sum and learn nothing.
package mask

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"github.com/sandgate/sandgate/compute/federate"
)

const (
	chunk     = 1 << 16 // cells of a part
	seedBytes = 32
)

// Scheme is the scheme of additive shares. Its zero value is ready.
type Scheme struct{}

// Name is federate.Mask.
func (Scheme) Name() string { return federate.Mask }

// narrowBits is the greatest length of sums that words of 32 bits hold: with bits to spare,
// so that most cells of what is no sum lie beyond every bound.
const narrowBits = 26

// wordBytes is the length of a word: 4 or 8.
func wordBytes(p *federate.Proposal) int {
	if p.SumBound().BitLen() <= narrowBits {
		return 4
	}
	return 8
}

// Fit implements federate.Scheme.
func (Scheme) Fit(p *federate.Proposal) (federate.Shape, *federate.Fault) {
	if p.SumBound().BitLen() > 62 {
		return federate.Shape{}, federate.TooWide(p)
	}
	cells, word := p.Cells(), wordBytes(p)
	chunks := (cells + chunk - 1) / chunk
	last := word * (cells - (chunks-1)*chunk)
	return federate.Shape{Parameters: fmt.Sprintf("mask-%d", 8*word), ChunkCells: chunk, Chunks: chunks, PartBytes: word * chunk, LastPartBytes: last,
		ShareBytes: word * chunk, LastShareBytes: last, SecretBytes: seedBytes}, nil
}

func defect(zh, en string) error { return &federate.Defect{ZH: zh, EN: en} }

// CheckShare implements federate.Scheme: there is no public share.
func (Scheme) CheckShare(_ federate.Context, _ string, share []byte) error {
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

// words are cells as the bytes that travel, little-endian: one of 64 bits each, or two of 32
// bits in one of 64, x + 2^32·y modulo 2^64. Sums are so narrow that both can be read off
// again, so that all adding is of 64 bits. The last of an odd number is alone, modulo 2^32.
type words struct {
	size int // bytes of a cell
	b    []byte
}

func newWords(size, n int) words { return words{size, make([]byte, size*n)} }

// first are the first n cells.
func (w words) first(n int) words { return words{w.size, w.b[:w.size*n]} }

// set writes v, as many as there are cells; with turn = −1, the complements.
func (w words) set(v []int64, turn int64) {
	b := w.b
	if w.size == 8 {
		for _, x := range v {
			binary.LittleEndian.PutUint64(b[:8], uint64(x^turn))
			b = b[8:]
		}
		return
	}
	for ; len(v) >= 2 && len(b) >= 8; v, b = v[2:], b[8:] {
		binary.LittleEndian.PutUint64(b[:8], uint64((v[0]+v[1]<<32)^turn))
	}
	if len(v) > 0 {
		binary.LittleEndian.PutUint32(b[:4], uint32(v[0]^turn))
	}
}

// get is the i-th cell.
func (w words) get(i int) int64 {
	if w.size == 8 {
		return int64(binary.LittleEndian.Uint64(w.b[8*i:]))
	}
	x := int64(int32(binary.LittleEndian.Uint32(w.b[4*(i&^1):])))
	if i&1 == 0 {
		return x
	}
	return (int64(binary.LittleEndian.Uint64(w.b[4*(i-1):])) - x) >> 32
}

// add adds x, as long as acc.
func add(acc, x []byte) {
	i, x := 0, x[:len(acc)]
	for ; i <= len(acc)-8; i += 8 {
		binary.LittleEndian.PutUint64(acc[i:i+8], binary.LittleEndian.Uint64(acc[i:i+8])+binary.LittleEndian.Uint64(x[i:i+8]))
	}
	if i < len(acc) {
		binary.LittleEndian.PutUint32(acc[i:], binary.LittleEndian.Uint32(acc[i:])+binary.LittleEndian.Uint32(x[i:]))
	}
}

// add4 adds four of them, which takes half the time.
func add4(acc []byte, x *[4][block]byte) {
	n := min(len(acc), block)
	acc, i := acc[:n], 0
	x0, x1, x2, x3 := x[0][:n], x[1][:n], x[2][:n], x[3][:n]
	for ; i <= n-8; i += 8 {
		sum := binary.LittleEndian.Uint64(x0[i:i+8]) + binary.LittleEndian.Uint64(x1[i:i+8]) + binary.LittleEndian.Uint64(x2[i:i+8]) + binary.LittleEndian.Uint64(x3[i:i+8])
		binary.LittleEndian.PutUint64(acc[i:i+8], binary.LittleEndian.Uint64(acc[i:i+8])+sum)
	}
	for k := 0; i < n && k < 4; k++ {
		add(acc[i:], x[k][i:n])
	}
}

// complement turns every bit.
func complement(b []byte) {
	i := 0
	for ; i <= len(b)-8; i += 8 {
		binary.LittleEndian.PutUint64(b[i:i+8], ^binary.LittleEndian.Uint64(b[i:i+8]))
	}
	for ; i < len(b); i++ {
		b[i] = ^b[i]
	}
}

// block is how many bytes of masks are made at a time: they stay in the fastest cache.
const block = 1 << 11

var blank [block]byte

// streams are the masks of some seeds: AES-256 in counter mode, each part with counters of
// its own.
type streams struct {
	blocks []cipher.Block
	buf    [4][block]byte
}

func (s *streams) append(seed []byte) error {
	b, err := aes.NewCipher(seed)
	if err != nil {
		return err
	}
	s.blocks = append(s.blocks, b)
	return nil
}

// add adds the masks of a part to acc.
func (s *streams) add(acc words, part int) {
	var iv [aes.BlockSize]byte
	binary.BigEndian.PutUint64(iv[:], uint64(part))
	var ctr [4]cipher.Stream
	for four := range slices.Chunk(s.blocks, len(ctr)) {
		for k, one := range four {
			ctr[k] = cipher.NewCTR(one, iv[:])
		}
		for at := 0; at < len(acc.b); at += block {
			here := acc.b[at:min(at+block, len(acc.b))]
			for k := range four {
				ctr[k].XORKeyStream(s.buf[k][:len(here)], blank[:len(here)])
			}
			if len(four) == len(ctr) {
				add4(here, &s.buf)
				continue
			}
			for k := range four {
				add(here, s.buf[k][:len(here)])
			}
		}
	}
}

func (s *streams) wipe() { clear(s.buf[:]); s.blocks = nil }

// Writer implements federate.Key.
func (k key) Writer(rnd io.Reader) (federate.Writer, error) {
	w := &writer{seeds: map[string][]byte{}, acc: newWords(wordBytes(k.c.Proposal), chunk)}
	for _, h := range k.c.Proposal.Holders() {
		seed := make([]byte, seedBytes)
		if _, err := io.ReadFull(rnd, seed); err != nil {
			return nil, errors.New("failed to read randomness")
		}
		if err := w.masks.append(seed); err != nil {
			return nil, err
		}
		w.seeds[h] = seed
	}
	return w, nil
}

type writer struct {
	seeds map[string][]byte
	masks streams
	acc   words
}

// Secret implements federate.Writer: the seed of the holder's mask.
func (w *writer) Secret(to string) []byte { return slices.Clone(w.seeds[to]) }

// Part implements federate.Writer.
func (w *writer) Part(dst []byte, i int, values []int64) ([]byte, error) {
	if len(values) > chunk {
		return nil, errors.New("a part holds too many cells")
	}
	acc := w.acc.first(len(values))
	acc.set(values, 0)
	w.masks.add(acc, i)
	dst = append(dst, acc.b...)
	clear(acc.b)
	return dst, nil
}

// Sum implements federate.Key.
func (k key) Sum(bool) federate.Sum {
	p := k.c.Proposal
	return &sum{acc: newWords(wordBytes(p), p.Cells()), bound: p.SumBound().Int64()}
}

type sum struct {
	acc   words
	bound int64
}

func (s *sum) part(i int) words {
	size := s.acc.size
	if i < 0 || i*chunk*size >= len(s.acc.b) {
		return words{size: size}
	}
	return words{size, s.acc.b[i*chunk*size : min(len(s.acc.b), (i+1)*chunk*size)]}
}

// Add implements federate.Sum.
func (s *sum) Add(i int, part []byte) error {
	acc := s.part(i)
	if len(acc.b) == 0 || len(part) != len(acc.b) {
		return defect("长度有误", "the length is wrong")
	}
	add(acc.b, part)
	return nil
}

// Close implements federate.Sum.
func (s *sum) Close(i int, h hash.Hash) { h.Write(s.part(i).b) }

// AddShare implements federate.Sum.
func (s *sum) AddShare(i int, share []byte) error { return s.Add(i, share) }

// Values implements federate.Sum. A number beyond every bound says that a share is
// missing, of another sum or wrong.
func (s *sum) Values(dst []int64, i int) ([]int64, error) {
	acc := s.part(i)
	for j := range len(acc.b) / acc.size {
		v := acc.get(j)
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

// Check refuses likewise.
func (h *holder) Check(from string, _ []byte) error { return h.Take(from, nil) }

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
	o := &opener{cells: h.proposal.Cells(), acc: newWords(wordBytes(h.proposal), chunk), drawn: make([]int64, drawnAtOnce), noise: noise}
	for _, seed := range secrets {
		if len(seed) != seedBytes {
			return nil, defect("种子长度有误", "the length of a seed is wrong")
		}
		if err := o.masks.append(seed); err != nil {
			return nil, err
		}
	}
	return o, nil
}

type opener struct {
	cells int
	next  int
	masks streams
	acc   words
	drawn []int64
	noise federate.Noise // nil without noise, which only tests of exactness ask for
}

// drawnAtOnce is how many draws of noise are made at a time: they stay in a fast cache, and
// are as many as are drawn by table at once.
const drawnAtOnce = 1 << 12

// Share implements federate.Opener: the noise less the contributors' masks. −x is the
// complement of x − 1, so the masks are added to the complement of the noise and the whole
// is complemented once: n − m = ¬(¬n + m).
func (o *opener) Share(dst []byte, i int) ([]byte, error) {
	if i != o.next || i*chunk >= o.cells {
		return nil, errors.New("the parts of a share are made in order, each once")
	}
	o.next++
	cells := min(chunk, o.cells-i*chunk)
	acc := o.acc.first(cells)
	for at := 0; at < cells; at += drawnAtOnce {
		drawn := o.drawn[:min(drawnAtOnce, cells-at)]
		if o.noise != nil {
			if err := o.noise.Fill(drawn); err != nil {
				return nil, err
			}
		}
		words{acc.size, acc.b[acc.size*at : acc.size*(at+len(drawn))]}.set(drawn, -1)
	}
	clear(o.drawn)
	o.masks.add(acc, i)
	from := len(dst)
	dst = append(dst, acc.b...)
	complement(dst[from:])
	return dst, nil
}

// Wipe implements federate.Opener.
func (o *opener) Wipe() {
	o.masks.wipe()
	clear(o.acc.b)
	clear(o.drawn)
	if o.noise != nil {
		o.noise.Wipe()
	}
	o.next = o.cells
}
