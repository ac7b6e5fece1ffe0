package bgv

import (
	"errors"
	"fmt"
	"math/big"

	"github.com/tuneinsight/lattigo/v6/core/rlwe"
	"github.com/tuneinsight/lattigo/v6/ring"
)

// standard is the greatest bit length of the modulus at which ternary secrets and errors
// of σ ≈ 3.2 give 128 bits of security: Albrecht et al., "Homomorphic Encryption
// Security Standard", HomomorphicEncryption.org, November 2018, tables 1 (classical) and
// 2 (quantum), rows λ = 128 of the distribution (−1,1).
var standard = []struct{ logN, classical, quantum int }{
	{10, 27, 25}, {11, 54, 51}, {12, 109, 101}, {13, 218, 202}, {14, 438, 411}, {15, 881, 827},
}

const (
	limbs = 3
	logN  = 13
	n     = 1 << logN
	// errorBound is the greatest coefficient of an error polynomial: 6·3.2, rounded.
	errorBound = 20
	// floodBits: a decryptor adds noise uniform in ±2^floodBits to each coefficient.
	floodBits = 108
	// hidden is how many bits the flood of a whole release must be wider than what it hides:
	// the statistical distance to noise that is independent of the key is below 2^-hidden.
	hidden = 56
)

// set is one choice of parameters. The plaintext modulus t is a prime; no evaluation
// keys are needed and so no special primes.
type set struct {
	name string
	q    [limbs]uint64
	t    uint64
}

// sets in the order in which they are tried: sums below 2^45, below 2^57.
var sets = []set{
	{"bgv-a", [limbs]uint64{36028797018652673, 36028797019389953, 36028797019488257}, 70368743669761},
	{"bgv-w", [limbs]uint64{1152921504606830593, 1152921504606748673, 1152921504606994433}, 288230376150876161},
}

// params is a set with its constants.
type params struct {
	set
	rlwe rlwe.Parameters
	ring *ring.Ring
	limb [limbs]limb
	garn garner
	half *big.Int // Q/2
}

// limb holds the constants of one prime; those with M are in Montgomery form.
type limb struct {
	q, mrc     uint64
	brc        [2]uint64
	tM, tInvM  uint64 // plaintext modulus and its inverse
	wordM      uint64 // 2^64
	floodStart uint64 // 2^floodBits mod q
}

// newParams checks a set and computes its constants.
func newParams(s set) (*params, error) {
	r, err := rlwe.NewParametersFromLiteral(rlwe.ParametersLiteral{LogN: logN, Q: s.q[:], NTTFlag: true})
	if err != nil {
		return nil, fmt.Errorf("failed to make parameters %s: %w", s.name, err)
	}
	// In the table's proportion, for the dimensions that the equations of a deal leave.
	if err := secure(logN, (r.QBigInt().BitLen()*n+n-2*rows-1)/(n-2*rows)); err != nil {
		return nil, fmt.Errorf("failed to make parameters %s: %w", s.name, err)
	}
	xs, ternary := r.Xs().(ring.Ternary)
	xe, gaussian := r.Xe().(ring.DiscreteGaussian)
	if !ternary || xs.H != 0 || xs.P != 2.0/3 || !gaussian || xe.Sigma < 3.19 || xe.Bound > errorBound {
		return nil, fmt.Errorf("failed to make parameters %s: the distributions are not those of the security table", s.name)
	}
	p := &params{set: s, rlwe: r, ring: r.RingQ(), half: new(big.Int).Rsh(r.QBigInt(), 1)}
	if !new(big.Int).SetUint64(s.t).ProbablyPrime(32) {
		return nil, fmt.Errorf("failed to make parameters %s: the plaintext modulus is not a prime", s.name)
	}
	for i, sub := range p.ring.SubRings {
		q := sub.Modulus
		m := func(x *big.Int) uint64 {
			return ring.MForm(new(big.Int).Mod(x, new(big.Int).SetUint64(q)).Uint64(), q, sub.BRedConstant)
		}
		t := new(big.Int).SetUint64(s.t)
		p.limb[i] = limb{q: q, mrc: sub.MRedConstant, brc: sub.BRedConstant, tM: m(t), tInvM: m(new(big.Int).ModInverse(t, new(big.Int).SetUint64(q))),
			wordM: m(new(big.Int).Lsh(big.NewInt(1), 64))}
		p.limb[i].floodStart = new(big.Int).Mod(new(big.Int).Lsh(big.NewInt(1), floodBits), new(big.Int).SetUint64(q)).Uint64()
	}
	p.garn = newGarner(p)
	return p, nil
}

// secure holds the modulus against both columns of the table.
func secure(logN, bits int) error {
	for _, row := range standard {
		if row.logN == logN {
			if bits > min(row.classical, row.quantum) {
				return fmt.Errorf("a modulus of %d bits at N=2^%d has less than 128 bits of security; the most is %d", bits, logN, min(row.classical, row.quantum))
			}
			return nil
		}
	}
	return errors.New("the security table has no such ring degree")
}

// noise bounds the error of a sum before and after the decryptors' floods, in the worst
// case: u·e over the key's errors, e₁·s over the secrets, and e₀, of every contribution;
// then a flood and an error of every decryptor.
func noise(contributors, holders, decryptors int) (before, after *big.Int) {
	one := int64(2*n*holders*errorBound + errorBound)
	before = big.NewInt(one * int64(contributors))
	flood := new(big.Int).Lsh(big.NewInt(1), floodBits)
	flood.Add(flood, big.NewInt(errorBound)).Mul(flood, big.NewInt(int64(decryptors)))
	return before, flood.Add(flood, before)
}

// budget is the greatest magnitude of T times a decrypted coefficient, if everybody kept
// to the protocol: |Σ m + T·error|.
func (p *params) budget(sum *big.Int, contributors, holders, decryptors int) *big.Int {
	_, after := noise(contributors, holders, decryptors)
	after.Mul(after, new(big.Int).SetUint64(p.t))
	return after.Add(after, sum)
}

// fits says whether no sum of that magnitude overflows: neither the plaintext modulus nor,
// with all noise, the ciphertext's.
func (p *params) fits(sum *big.Int, contributors, holders, decryptors int) bool {
	double := new(big.Int).Lsh(sum, 1)
	return double.Cmp(new(big.Int).SetUint64(p.t)) < 0 && p.budget(sum, contributors, holders, decryptors).Cmp(p.half) < 0
}

// drowned says whether the floods hide the error of all cells.
func drowned(contributors, holders, cells int) bool {
	before, _ := noise(contributors, holders, 1)
	before.Mul(before, big.NewInt(int64(cells)))
	return before.BitLen() <= floodBits+1-hidden
}
