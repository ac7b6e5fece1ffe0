package release

import (
	"io"
	"math/big"
)

// NoiseShare draws one decryptor's part of a release whose noise several parties add,
// each without knowing the others' parts: the exact sum then exists nowhere
// (compute/federate). The draws are the kernel's own, exact ones. It is not safe for
// concurrent use.
type NoiseShare struct {
	draw   *random
	sigma2 *big.Int
	limit  int64
}

// TailSigmas is the number of standard deviations beyond which a NoiseShare refuses to
// go on, so that sums of shares have a bound: a draw lies there with a probability
// below 2^-183, which is less than that of a broken key.
const TailSigmas = 16

// maxShareVariance keeps TailBound, and a sum of many shares, within an int64.
var maxShareVariance = new(big.Int).Lsh(big.NewInt(1), 100)

// TailBound is the greatest magnitude of a draw of the variance, 1 ≤ sigma2 ≤ 2^100; 0
// for a variance outside.
func TailBound(sigma2 *big.Int) int64 {
	if sigma2.Sign() < 1 || sigma2.Cmp(maxShareVariance) > 0 {
		return 0
	}
	sigma := new(big.Int).Sqrt(sigma2)
	return TailSigmas * (sigma.Int64() + 1)
}

// NewNoiseShare returns a source of discrete Gaussian draws of the variance, 1 ≤
// sigma2 ≤ 2^100. The error is ErrKernel.
func NewNoiseShare(sigma2 *big.Int, rnd io.Reader) (*NoiseShare, error) {
	if sigma2 == nil || rnd == nil || TailBound(sigma2) == 0 {
		return nil, ErrKernel
	}
	return &NoiseShare{draw: newRandom(rnd), sigma2: new(big.Int).Set(sigma2), limit: TailBound(sigma2)}, nil
}

// Fill sets out to independent draws. The error is ErrKernel, and out is then empty of
// noise: nothing that was to hide behind it may leave.
func (n *NoiseShare) Fill(out []int64) (err error) {
	defer func() {
		if recover() != nil {
			clear(out)
			err = ErrKernel
		}
	}()
	if n.sigma2.IsUint64() && n.sigma2.Uint64() <= lookupMax {
		table := n.draw.tableOf(n.sigma2.Uint64())
		n.draw.drawMany(table, out)
	} else {
		for i := range out {
			x := n.draw.gaussian(n.sigma2)
			if !x.IsInt64() {
				panic(readFailure{})
			}
			out[i] = x.Int64()
		}
	}
	bits := int64(0)
	for _, x := range out {
		bits |= x ^ x>>63
	}
	if bits < n.limit {
		return nil // as no magnitude has a bit that is not in bits, and −x takes one more at most
	}
	for _, x := range out {
		if x > n.limit || x < -n.limit {
			panic(readFailure{})
		}
	}
	return nil
}

// Wipe forgets the randomness that drew the noise.
func (n *NoiseShare) Wipe() { n.draw.wipe() }
