package release

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"io"
	"math/big"
	"math/bits"
)

// rekeyAfter is how many bytes one AES key yields. A new key destroys the old
// one, so that whoever reads the memory later cannot recompute noise already used.
const rekeyAfter = 1 << 20

// NewSource returns a cryptographic random source: AES-256 in counter mode, keyed
// by the operating system and rekeyed every MiB. It takes no seed, in any build.
// One goroutine may use it at a time; sources are cheap, make one per release.
func NewSource() io.Reader { return &drbg{} }

type drbg struct {
	stream cipher.Stream
	left   int
}

// Read fills p and never fails: crypto/rand ends the process when the system has
// no randomness to give.
func (d *drbg) Read(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if d.left == 0 {
			d.rekey()
		}
		k := min(len(p), d.left)
		clear(p[:k])
		d.stream.XORKeyStream(p[:k], p[:k])
		p, d.left = p[k:], d.left-k
	}
	return n, nil
}

func (d *drbg) rekey() {
	var seed [48]byte
	rand.Read(seed[:])
	block, err := aes.NewCipher(seed[:32])
	if err != nil {
		panic("release: AES-256 refused a 32-byte key")
	}
	d.stream, d.left = cipher.NewCTR(block, seed[32:]), rekeyAfter
	clear(seed[:])
}

// random hands out uniform integers from a buffered reader. A read error panics
// with readFailure: the samplers' loops have no sensible value to go on with, and
// the door (guard) turns it into ErrKernel.
type random struct {
	r    io.Reader
	buf  [2048]byte
	pos  int
	wide []byte // scratch of bigBelow
	coin uint64 // bits of bit not used yet, under a leading one

	lookups []*lookup
}

type readFailure struct{}

func newRandom(r io.Reader) *random {
	s := &random{r: r}
	s.pos = len(s.buf)
	return s
}

// wipe forgets the randomness that drew the noise.
func (s *random) wipe() {
	clear(s.buf[:])
	clear(s.wide[:cap(s.wide)])
	s.pos, s.coin = len(s.buf), 0
}

// bit is a fair coin, 63 of them from one word.
func (s *random) bit() bool {
	if s.coin <= 1 {
		s.coin = s.u64() | 1<<63
	}
	b := s.coin&1 == 1
	s.coin >>= 1
	return b
}

func (s *random) u64() uint64 {
	if s.pos+8 > len(s.buf) {
		s.refill()
	}
	v := binary.LittleEndian.Uint64(s.buf[s.pos:])
	s.pos += 8
	return v
}

// refill stands apart so that u64 is small enough to be inlined.
func (s *random) refill() {
	if _, err := io.ReadFull(s.r, s.buf[:]); err != nil {
		panic(readFailure{})
	}
	s.pos = 0
}

// below returns a uniform integer in [0,n), n > 0, by Lemire's multiplication with
// rejection: exact for every n.
func (s *random) below(n uint64) uint64 {
	hi, lo := bits.Mul64(s.u64(), n)
	if lo < n {
		for reject := -n % n; lo < reject; {
			hi, lo = bits.Mul64(s.u64(), n)
		}
	}
	return hi
}

// bigBelow sets z to a uniform integer in [0,n), n > 0, by rejection.
func (s *random) bigBelow(z, n *big.Int) *big.Int {
	width := n.BitLen()
	if need := (width + 63) / 64 * 8; cap(s.wide) < need {
		s.wide = make([]byte, need)
	}
	words := s.wide[:(width+63)/64*8]
	for {
		for i := 0; i < len(words); i += 8 {
			binary.BigEndian.PutUint64(words[i:], s.u64())
		}
		z.SetBytes(words)
		z.Rsh(z, uint(len(words)*8-width))
		if z.Cmp(n) < 0 {
			return z
		}
	}
}
