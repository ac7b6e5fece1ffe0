// Package encrypted scores rows that stay encrypted under a key of whoever brings them:
// the lattice encryption CKKS (Cheon, Kim, Kim, Song 2017) with the rings and samplers of
// lattigo v6.2.0. One ciphertext holds one input of up to BlockRows rows, a row to a
// coefficient; a linear model is then a sum of ciphertexts times integers, without
// rotations, relinearisation or any key for evaluation.
//
// What it hides: the rows, from whoever evaluates. What it does not hide: the model from
// whoever asks. The numbers that come back are exact, and one more of them than a model
// has inputs is a system of equations in its parameters; whoever departs from the
// protocol needs fewer. It is for models whose parameters may leave, and for no other:
// docs/decisions/048-encrypted-scoring.md has the reasons and attack_test.go the attacks.
//
// The package is pure: all randomness comes from the caller's io.Reader.
package encrypted

import (
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/tuneinsight/lattigo/v6/ring"
	"github.com/tuneinsight/lattigo/v6/schemes/ckks"
)

const (
	logN  = 13
	limbs = 3
	// inputBits and weightBits are the scales of inputs and weights: a logit z comes back as
	// z·2^scaleBits in a coefficient.
	inputBits  = 126
	weightBits = 40
	scaleBits  = inputBits + weightBits
	// errorBound is the greatest coefficient of an error polynomial: 6·3.2, rounded.
	errorBound = 20
	// floodBits: the evaluator adds noise uniform in ±2^floodBits to each row's coefficient.
	// Relative to the scale it is 2^-39, which is how exact a logit is.
	floodBits = 127
	// hidden: the noise that depends on the weights, in all coefficients of a reply, is
	// within a statistical distance of 2^-hidden of noise that does not.
	hidden = 56
	// widest is the greatest Σ|w| of one output, its intercept included.
	widest = 1024
)

// Sizes of messages and of models.
const (
	BlockRows  = 1 << logN // most rows of a call
	MaxInputs  = 256       // most inputs of a model, the intercept not counted
	MaxOutputs = 16        // most outputs: classes but the first
	SeedBytes  = 32        // the public polynomials follow from a seed
	PolyBytes  = limbs * BlockRows * 8
	KeyBytes   = PolyBytes     // a public key, without the part that follows from the seed
	PartBytes  = PolyBytes     // one input of all rows, likewise
	ReplyBytes = 2 * PolyBytes // one output of all rows
)

// primes of the modulus, the three greatest below 2^60 that suit the ring: 180 bits.
var primes = []uint64{1152921504606830593, 1152921504606748673, 1152921504606683137}

// The greatest bit lengths of the modulus at N = 2^13 for 128 bits of security with
// ternary secrets and errors of σ ≈ 3.2: Albrecht et al., "Homomorphic Encryption Security
// Standard", HomomorphicEncryption.org, November 2018, tables 1 (classical) and 2 (quantum).
const standardClassical, standardQuantum = 218, 202

// Scheme holds the checked parameters. It is safe for concurrent use.
type Scheme struct {
	params ckks.Parameters
	ring   *ring.Ring
	limb   [limbs]limb
}

// limb holds the constants of one prime.
type limb struct {
	q, mrc     uint64
	brc        [2]uint64
	unitM      uint64 // 2^(inputBits−valueBits), Montgomery form: what one step of a value is worth
	oneM       uint64 // 2^inputBits, Montgomery form: what one step of an intercept is worth
	wordM      uint64 // 2^64, Montgomery form
	floodStart uint64 // 2^floodBits mod q
}

// New checks the parameters against the security table and the bounds of the noise.
func New() (*Scheme, error) { return newScheme(primes) }

func newScheme(primes []uint64) (*Scheme, error) {
	if len(primes) != limbs || slices.Max(primes) >= 1<<residueBits {
		return nil, errors.New("failed to make CKKS parameters: the modulus has another number of primes, or one of them is too large")
	}
	p, err := ckks.NewParametersFromLiteral(ckks.ParametersLiteral{LogN: logN, Q: primes, LogDefaultScale: inputBits, RingType: ring.Standard})
	if err != nil {
		return nil, fmt.Errorf("failed to make CKKS parameters: %w", err)
	}
	if bits := p.QBigInt().BitLen(); bits > min(standardClassical, standardQuantum) || p.PCount() != 0 {
		return nil, fmt.Errorf("failed to make CKKS parameters: a modulus of %d bits at N=2^%d has less than 128 bits of security; the most is %d", bits, logN, min(standardClassical, standardQuantum))
	}
	xs, ternary := p.Xs().(ring.Ternary)
	xe, gaussian := p.Xe().(ring.DiscreteGaussian)
	if !ternary || xs.H != 0 || xs.P != 2.0/3 || !gaussian || xe.Sigma < 3.19 || xe.Bound > errorBound {
		return nil, errors.New("failed to make CKKS parameters: the distributions are not those of the security table")
	}
	s := &Scheme{params: p, ring: p.RingQ()}
	if err := s.bounds(); err != nil {
		return nil, err
	}
	for i, sub := range s.ring.SubRings {
		q := sub.Modulus
		power := func(n uint) uint64 {
			return new(big.Int).Mod(new(big.Int).Lsh(big.NewInt(1), n), new(big.Int).SetUint64(q)).Uint64()
		}
		s.limb[i] = limb{q: q, mrc: sub.MRedConstant, brc: sub.BRedConstant, floodStart: power(floodBits), oneM: ring.MForm(power(inputBits), q, sub.BRedConstant),
			unitM: ring.MForm(power(inputBits-valueBits), q, sub.BRedConstant), wordM: ring.MForm(power(64), q, sub.BRedConstant)}
	}
	return s, nil
}

// bounds holds the greatest that can come about, in the worst case, against the modulus
// and against the flood.
func (s *Scheme) bounds() error {
	shift := func(x int64, n uint) *big.Int { return new(big.Int).Lsh(big.NewInt(x), n) }
	// What depends on the weights: Σ w·e of a row, of every row of every output.
	secret := shift(errorBound*widest, weightBits)
	if all := new(big.Int).Mul(secret, big.NewInt(BlockRows*MaxOutputs)); all.BitLen() > floodBits+1-hidden {
		return errors.New("failed to make CKKS parameters: the flood does not hide the noise of the weights")
	}
	// Logit, flood, that noise, and u·e + e₁·s + e₀ of the encryption of zero.
	all := shift(widest, scaleBits)
	all.Add(all, shift(1, floodBits)).Add(all, secret).Add(all, big.NewInt(2*BlockRows*errorBound+errorBound))
	if all.Lsh(all, 1).Cmp(s.params.QBigInt()) >= 0 {
		return errors.New("failed to make CKKS parameters: the modulus does not hold the results")
	}
	return nil
}

// samplers of secrets and of errors, from one stream.
func (s *Scheme) samplers(from *stream) (secrets, errs ring.Sampler, err error) {
	if secrets, err = ring.NewSampler(from, s.ring, s.params.Xs(), false); err != nil {
		return nil, nil, fmt.Errorf("failed to make sampler: %w", err)
	}
	if errs, err = ring.NewSampler(from, s.ring, s.params.Xe(), false); err != nil {
		return nil, nil, fmt.Errorf("failed to make sampler: %w", err)
	}
	return secrets, errs, nil
}
