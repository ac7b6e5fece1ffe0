package gate

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
)

// stream is AES-256 in counter mode. Forks depend on the seed and a label alone, so
// that attacks which run in parallel draw the same whatever their order. One goroutine
// may use a stream at a time.
type stream struct {
	seed [32]byte
	ctr  cipher.Stream
	buf  [512]byte
	pos  int
}

func newStream(seed [32]byte) *stream {
	block, err := aes.NewCipher(seed[:])
	if err != nil {
		panic("gate: AES-256 refused a 32-byte key")
	}
	s := &stream{seed: seed, ctr: cipher.NewCTR(block, make([]byte, aes.BlockSize))}
	s.pos = len(s.buf)
	return s
}

// seeded reads the one seed of a run.
func seeded(rnd io.Reader) (*stream, error) {
	var seed [32]byte
	if _, err := io.ReadFull(rnd, seed[:]); err != nil {
		return nil, fmt.Errorf("failed to read the seed of the gate: %w", err)
	}
	return newStream(seed), nil
}

func (s *stream) fork(label string, i int) *stream {
	h := sha256.New()
	h.Write(s.seed[:])
	h.Write([]byte(label))
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(i)))
	return newStream([32]byte(h.Sum(nil)))
}

// Read never fails: the key stream of 2^68 bytes does not end.
func (s *stream) Read(p []byte) (int, error) {
	clear(p)
	s.ctr.XORKeyStream(p, p)
	return len(p), nil
}

func (s *stream) u64() uint64 {
	if s.pos == len(s.buf) {
		_, _ = s.Read(s.buf[:])
		s.pos = 0
	}
	v := binary.LittleEndian.Uint64(s.buf[s.pos:])
	s.pos += 8
	return v
}

// below is uniform in [0,n), n > 0 (Lemire's multiplication with rejection).
func (s *stream) below(n int) int {
	hi, lo := bits.Mul64(s.u64(), uint64(n))
	for reject := -uint64(n) % uint64(n); lo < reject; {
		hi, lo = bits.Mul64(s.u64(), uint64(n))
	}
	return int(hi)
}

func (s *stream) coin() bool { return s.u64()>>63 == 1 }

// float is uniform in [0,1).
func (s *stream) float() float64 { return float64(s.u64()>>11) / (1 << 53) }

// shuffle puts x into random order, in place.
func shuffle[T any](s *stream, x []T) {
	for i := len(x) - 1; i > 0; i-- {
		j := s.below(i + 1)
		x[i], x[j] = x[j], x[i]
	}
}
