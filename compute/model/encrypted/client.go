package encrypted

import (
	"errors"
	"io"
	"math"
	"math/big"
	"slices"

	"github.com/tuneinsight/lattigo/v6/ring"
)

// valueBits is how finely a value is taken: float32 has 24 bits, so that only values
// below 2^-36 lose some.
const valueBits = 60

// Client is the side of whoever brings rows, for one call: its key is used once and
// forgotten. What it opens must not be told to the evaluator any finer than rounded,
// since the last digits of an approximate decryption tell of the key (Li and Micciancio
// 2021). It is for one goroutine.
type Client struct {
	s      *Scheme
	seed   []byte
	secret ring.Poly // NTT and Montgomery form
	errs   ring.Sampler
	key    []byte
	next   int
	a, c   ring.Poly
}

// Client draws a key and a seed.
func (s *Scheme) Client(rnd io.Reader) (*Client, error) {
	from, err := secretStream(rnd)
	if err != nil {
		return nil, err
	}
	c := &Client{s: s, seed: make([]byte, SeedBytes), next: 1, a: s.ring.NewPoly(), c: s.ring.NewPoly()}
	_, _ = from.Read(c.seed)
	secrets, errs, err := s.samplers(from)
	if err != nil {
		return nil, err
	}
	c.errs, c.secret = errs, secrets.ReadNew()
	s.ring.NTT(c.secret, c.secret)
	s.ring.MForm(c.secret, c.secret)
	// The public key: −a·s + e, in NTT form.
	s.uniform(publicStream(c.seed, 0), c.a)
	errs.Read(c.c)
	s.ring.NTT(c.c, c.c)
	s.ring.MulCoeffsMontgomeryThenSub(c.a, c.secret, c.c)
	c.key = put(make([]byte, 0, KeyBytes), c.c)
	return c, nil
}

// Seed is what the public polynomials follow from, and Key the public key.
func (c *Client) Seed() []byte { return slices.Clone(c.seed) }

// Key is the public key, KeyBytes long.
func (c *Client) Key() []byte { return slices.Clone(c.key) }

// Encrypt makes the ciphertext of the next input: its values of at most BlockRows rows,
// each within [−1, 1]. Inputs come in the model's order, each once: two messages under
// one public polynomial would tell their difference.
func (c *Client) Encrypt(values []float32) ([]byte, error) {
	if len(values) == 0 || len(values) > BlockRows || c.next > MaxInputs {
		return nil, errors.New("failed to encrypt: too many rows or inputs, or none")
	}
	if slices.ContainsFunc(values, func(v float32) bool { return !(v >= -1 && v <= 1) }) {
		return nil, errors.New("failed to encrypt: an input lies outside [-1, 1]")
	}
	s := c.s
	s.uniform(publicStream(c.seed, c.next), c.a)
	c.next++
	s.ring.MulCoeffsMontgomery(c.a, c.secret, c.c)
	s.ring.Neg(c.c, c.c)
	s.ring.INTT(c.c, c.c)
	c.errs.ReadAndAdd(c.c)
	for i := range s.limb {
		l, to := &s.limb[i], c.c.Coeffs[i]
		for j, v := range values {
			to[j] = ring.CRed(to[j]+ring.MRed(l.of(int64(math.Ldexp(float64(v), valueBits))), l.unitM, l.q, l.mrc), l.q)
		}
	}
	return put(make([]byte, 0, PartBytes), c.c), nil
}

// of is a signed number modulo the prime.
func (l *limb) of(x int64) uint64 {
	if x >= 0 {
		return ring.BRedAdd(uint64(x), l.q, l.brc)
	}
	if r := ring.BRedAdd(uint64(-x), l.q, l.brc); r != 0 {
		return l.q - r
	}
	return 0
}

// Open decrypts a reply: the first so many rows of one output.
func (c *Client) Open(reply []byte, rows int) ([]float64, error) {
	if rows < 1 || rows > BlockRows {
		return nil, errRows
	}
	if len(reply) != ReplyBytes {
		return nil, errLength
	}
	if err := c.s.get(reply[:PolyBytes], c.c); err != nil {
		return nil, err
	}
	if err := c.s.get(reply[PolyBytes:], c.a); err != nil {
		return nil, err
	}
	r := c.s.ring
	r.MulCoeffsMontgomery(c.a, c.secret, c.a)
	r.INTT(c.a, c.a)
	r.Add(c.c, c.a, c.c)
	whole := make([]*big.Int, BlockRows)
	for i := range whole {
		whole[i] = new(big.Int)
	}
	r.PolyToBigintCentered(c.c, 1, whole)
	out := make([]float64, rows)
	for i := range out {
		f, _ := new(big.Float).SetInt(whole[i]).Float64()
		if out[i] = math.Ldexp(f, -scaleBits); !(math.Abs(out[i]) <= widest+1) {
			return nil, errOpen
		}
	}
	return out, nil
}

// Wipe forgets the key.
func (c *Client) Wipe() {
	c.secret.Zero()
	c.a.Zero()
	c.c.Zero()
	c.next = MaxInputs + 1
}
