package masking

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// stream is bits that a key and some parts determine: HMAC-SHA-256 in counter mode,
// each part with its length in front. Whoever lacks the key cannot tell it from
// chance.
type stream struct {
	mac   hash.Hash
	parts []byte
	block [sha256.Size]byte
	next  uint64
	left  int // words of block not yet drawn
}

func keyed(key []byte) *stream { return &stream{mac: hmac.New(sha256.New, key)} }

// start begins the stream of parts anew.
func (s *stream) start(parts ...[]byte) *stream {
	s.parts, s.next, s.left = s.parts[:0], 0, 0
	for _, p := range parts {
		s.parts = append(binary.BigEndian.AppendUint32(s.parts, uint32(len(p))), p...)
	}
	return s
}

func (s *stream) word() uint64 {
	if s.left == 0 {
		s.mac.Reset()
		_, _ = s.mac.Write(s.parts)
		_, _ = s.mac.Write(binary.BigEndian.AppendUint64(nil, s.next))
		s.mac.Sum(s.block[:0])
		s.next++
		s.left = len(s.block) / 8
	}
	s.left--
	return binary.BigEndian.Uint64(s.block[8*s.left:])
}

// below draws evenly from 0…n−1, n > 0, by rejection.
func (s *stream) below(n uint64) uint64 {
	most := -n % n // 2^64 mod n
	for {
		if w := s.word(); w >= most {
			return w % n
		}
	}
}

// expBelow is true with probability exp(−num/den), num ≤ den: Algorithm 1 of Canonne,
// Kamath and Steinke, "The Discrete Gaussian for Differential Privacy" (2020), in
// integers alone.
func (s *stream) expBelow(num, den uint64) bool {
	k := uint64(1)
	for s.below(den*k) < num {
		k++
	}
	return k%2 == 1
}

// laplace draws x with probability in proportion to exp(−|x|/scale), scale > 0:
// Algorithm 2 of the same paper.
func (s *stream) laplace(scale uint64) int64 {
	for {
		u := s.below(scale)
		if !s.expBelow(u, scale) {
			continue
		}
		v := uint64(0)
		for v < 1<<12 && s.expBelow(1, 1) {
			v++
		}
		x := int64(u + scale*v)
		if s.below(2) == 0 {
			return x
		}
		if x != 0 { // −0 is 0, which counts once
			return -x
		}
	}
}

// Permutation returns an order of 0…n−1 that key, column and group determine:
// the shuffle of Fisher and Yates with keyed, unbiased draws. Every order is equally
// likely to whoever lacks the key.
func Permutation(key []byte, column string, group []byte, n int) []int {
	s := keyed(key).start([]byte("sandgate/masking/shuffle/v1"), []byte(column), group)
	out := make([]int, n)
	for i := range out {
		j := int(s.below(uint64(i + 1)))
		out[i] = out[j]
		out[j] = i
	}
	return out
}
