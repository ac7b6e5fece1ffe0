package encrypted

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/tuneinsight/lattigo/v6/ring"
)

// stream is AES-256 in counter mode: of a public seed it makes the public polynomials (as
// FrodoKEM does), of a secret one everything that is drawn.
type stream struct{ ctr cipher.Stream }

func newStream(key []byte) *stream {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("encrypted: AES-256 refused a 32-byte key")
	}
	return &stream{cipher.NewCTR(block, make([]byte, aes.BlockSize))}
}

// secretStream is keyed by 32 bytes of the caller's randomness.
func secretStream(rnd io.Reader) (*stream, error) {
	key := make([]byte, 32)
	if _, err := io.ReadFull(rnd, key); err != nil {
		return nil, errors.New("failed to read randomness")
	}
	defer clear(key)
	return newStream(key), nil
}

// publicStream is the one of input i of a seed; that of the key is input 0.
func publicStream(seed []byte, i int) *stream {
	key := sha256.Sum256(fmt.Appendf(nil, "sandgate/encrypted/v1\n%d\n%x", i, seed))
	return newStream(key[:])
}

// Read fills p and never fails.
func (s *stream) Read(p []byte) (int, error) {
	clear(p)
	s.ctr.XORKeyStream(p, p)
	return len(p), nil
}

// chunk is how many residues are worked on at a time, so that they stay in the cache.
const chunk = 1024

// residueBits: every residue is below 2^residueBits.
const residueBits = 60

// residues fills dst, of at most chunk elements, with numbers uniform below q.
func (s *stream) residues(dst []uint64, q uint64, buf *[8 * chunk]byte) {
	const mask = 1<<residueBits - 1
	b := buf[:8*len(dst)]
	_, _ = s.Read(b)
	for i := range dst {
		x := binary.LittleEndian.Uint64(b[8*i:]) & mask
		for x >= q {
			var again [8]byte
			_, _ = s.Read(again[:])
			x = binary.LittleEndian.Uint64(again[:]) & mask
		}
		dst[i] = x
	}
}

// uniform fills a polynomial.
func (s *Scheme) uniform(from *stream, poly ring.Poly) {
	var buf [8 * chunk]byte
	for i, c := range poly.Coeffs {
		for ; len(c) > 0; c = c[chunk:] {
			from.residues(c[:chunk], s.limb[i].q, &buf)
		}
	}
}

// Defect is what is wrong with a message. It repeats nothing of it.
type Defect struct{ ZH, EN string }

// Error implements error.
func (d *Defect) Error() string { return d.EN }

var (
	errLength  = &Defect{"密文的长度有误", "a ciphertext has another length"}
	errResidue = &Defect{"密文含有不小于模数的余数", "a ciphertext holds a residue that is not below its modulus"}
	errMore    = &Defect{"密文多于模型的输入", "there are more ciphertexts than the model has inputs"}
	errFewer   = &Defect{"密文少于模型的输入", "there are fewer ciphertexts than the model has inputs"}
	errRows    = &Defect{"行数超出一次调用的范围", "the number of rows is not one that a call has"}
	errOpen    = &Defect{"答复无法解密", "the reply does not decrypt"}
)

// put appends a polynomial, residue by residue, as 64-bit little-endian numbers.
func put(dst []byte, poly ring.Poly) []byte {
	for _, c := range poly.Coeffs {
		for _, x := range c {
			dst = binary.LittleEndian.AppendUint64(dst, x)
		}
	}
	return dst
}

// get reads a polynomial of exactly this length whose residues are canonical.
func (s *Scheme) get(b []byte, poly ring.Poly) error {
	if len(b) != PolyBytes {
		return errLength
	}
	for i, c := range poly.Coeffs {
		q := s.limb[i].q
		for j := range c {
			if c[j] = binary.LittleEndian.Uint64(b[8*j:]); c[j] >= q {
				return errResidue
			}
		}
		b = b[8*len(c):]
	}
	return nil
}
