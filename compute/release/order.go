package release

import (
	"math/big"
	"math/bits"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// zFamily[j] is z with Q(z) ≤ 0.025/2^j for the upper tail Q of the standard normal,
// rounded up, in 1e-6: what one of up to 2^j empty grid cells passes by noise alone.
var zFamily = [...]int64{1959964, 2241403, 2497706, 2734369, 2955168, 3162735, 3359174, 3546159, 3725046}

// order is a quantile, minimum or maximum from the noisy counts of a grid's cells.
func (k *kernel) order(o protect.Output, c noisyCell) value {
	if o.Func == algebra.Quantile {
		return k.quantile(o, c)
	}
	return k.extreme(o, c)
}

// quantile finds the grid cell in which the q-quantile lies. With C_j the noisy
// number of values in cells 0…j and N that in all, T_j = C_j − qN is at least zero
// from that cell on and negative before, up to noise of variance
// ((1−q)²(j+1) + q²(B−j−1))σ². The estimate is the lower edge of the first cell with
// T_j ≥ 0. The interval runs from the first cell with T_j ≥ −z·sd_j to the cell after
// the last with T_j < z·sd_j: each end fails for the true cell alone, with
// probability 2.5 %, however many cells there are.
func (k *kernel) quantile(o protect.Output, c noisyCell) value {
	const million = 1_000_000
	b, sigma2 := len(o.In), k.variance(o.In[0], c)
	n := new(big.Int)
	for _, i := range o.In {
		n.Add(n, c.x[i])
	}
	// N against three deviations of its own noise.
	if n.Sign() < 1 || new(big.Int).Mul(n, n).Cmp(new(big.Int).Mul(sigma2, big.NewInt(int64(b*clearSigmas*clearSigmas)))) <= 0 {
		return value{withheld: TooNoisy}
	}
	at, lo, hi := -1, -1, 0
	t, sum := new(big.Int), new(big.Int)
	qn := new(big.Int).Mul(big.NewInt(o.Q), n)
	for j, i := range o.In {
		sum.Add(sum, c.x[i])
		t.Mul(sum, big.NewInt(million)).Sub(t, qn)
		p, q := big.NewInt(million-o.Q), big.NewInt(o.Q)
		p.Mul(p, p).Mul(p, big.NewInt(int64(j+1)))
		q.Mul(q, q).Mul(q, big.NewInt(int64(b-j-1)))
		// (T/z)² against the variance, both times 10^12.
		noise := p.Add(p, q).Mul(p, sigma2)
		noise.Mul(noise, fiellerZ2)
		far := new(big.Int).Mul(t, t)
		outside := far.Mul(far, fiellerUnit).Cmp(noise) > 0
		if at < 0 && t.Sign() >= 0 {
			at = j
		}
		if lo < 0 && (t.Sign() >= 0 || !outside) {
			lo = j
		}
		if (t.Sign() < 0 || !outside) && j+1 < b {
			hi = j + 1
		}
	}
	if at < 0 { // q = 1 and rounding: all values lie below
		at = b - 1
	}
	if lo < 0 {
		lo = at
	}
	hi = max(hi, at)
	return edges(o, at, min(lo, at), hi+1)
}

// extreme finds the outermost grid cell whose count noise alone does not explain,
// over all cells together with probability 97.5 %. What lies further out is not
// known: few values there would show as nothing, so the interval reaches to the end
// of the grid.
func (k *kernel) extreme(o protect.Output, c noisyCell) value {
	b := len(o.In)
	z := big.NewInt(zFamily[min(len(zFamily)-1, bits.Len(uint(b-1)))])
	least := z.Mul(z, z)
	least.Mul(least, k.variance(o.In[0], c))
	for j := range b {
		at := j
		if o.Func == algebra.Max {
			at = b - 1 - j
		}
		x := c.x[o.In[at]]
		far := new(big.Int).Mul(x, x)
		if x.Sign() < 1 || far.Mul(far, fiellerUnit).Cmp(least) < 0 {
			continue
		}
		if o.Func == algebra.Max && at+1 < b && o.Grid[at+1]-o.Grid[at] == 1 {
			return edges(o, at, at, b) // a cell of one value
		}
		if o.Func == algebra.Max {
			return edges(o, at+1, at, b)
		}
		return edges(o, at, 0, at+1)
	}
	return value{withheld: TooNoisy}
}

func edges(o protect.Output, at, lo, hi int) value {
	return value{num: big.NewInt(o.Grid[at]), lo: big.NewInt(o.Grid[lo]), hi: big.NewInt(o.Grid[hi])}
}
