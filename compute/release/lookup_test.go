package release

import (
	"math"
	"math/big"
	"testing"
)

// The table's entries are the exact cumulative probabilities to within its band, by
// another computation in 256-bit floats; what it leaves out is resolved rightly.
func TestR01LookupAgainstSeries(t *testing.T) {
	for _, sigma2 := range []uint64{1, 2, 7, 569, 10_000, lookupMax} {
		f := func(n int64) *big.Float { return new(big.Float).SetPrec(256).SetInt64(n) }
		w := int64(14*math.Sqrt(float64(sigma2))) + 14
		weights, total := make([]*big.Float, w), f(0)
		for k := range w {
			// exp(−k²/2σ²) = exp(−whole)·exp(−rest), the rest by the bounds.
			whole, rest := uint64(k*k)/(2*sigma2), uint64(k*k)%(2*sigma2)
			lo, _ := expBounds(new(big.Int).SetUint64(rest), new(big.Int).SetUint64(2*sigma2), 224)
			x := new(big.Float).SetPrec(256).SetInt(lo)
			e, _ := expBounds(big.NewInt(1), big.NewInt(1), 224)
			for range whole {
				x.Mul(x, new(big.Float).SetPrec(256).SetInt(e))
				x.SetMantExp(x, -224)
			}
			if k > 0 {
				x.Mul(x, f(2))
			}
			weights[k] = x
			total.Add(total, x)
		}
		l := &lookup{sigma2: sigma2}
		l.fill()
		if n := len(l.upto); float64(n) < 8*math.Sqrt(float64(sigma2)) {
			t.Fatalf("σ² %d: only %d entries", sigma2, n)
		}
		sum := f(0)
		for k, have := range l.upto {
			sum.Add(sum, weights[k])
			c := new(big.Float).SetPrec(256).Quo(sum, total)
			c.SetMantExp(c, 64)
			want, _ := c.Int(nil)
			d := want.Sub(want, new(big.Int).SetUint64(have))
			if d.Sign() < 0 || d.Cmp(big.NewInt(lookupBand)) >= 0 {
				t.Fatalf("σ² %d entry %d is off by %s", sigma2, k, d)
			}
		}
		s := newRandom(seeded(sigma2))
		for k, have := range l.upto {
			if k%7 > 0 || have < 100 || have > math.MaxUint64-100 || k+1 == len(l.upto) || l.upto[k+1]-have < 200 || k > 0 && have-l.upto[k-1] < 200 {
				continue
			}
			if s.resolveLookup(have-50, sigma2) != k || s.resolveLookup(have+50, sigma2) != k+1 {
				t.Fatalf("σ² %d: resolved wrongly around entry %d", sigma2, k)
			}
			if x := s.resolveLookup(have, sigma2); x != k && x != k+1 {
				t.Fatalf("σ² %d: entry %d resolved to %d", sigma2, k, x)
			}
		}
		if x := s.resolveLookup(math.MaxUint64, sigma2); float64(x) < 8*math.Sqrt(float64(sigma2)) {
			t.Errorf("σ² %d: the end of the table resolved to %d", sigma2, x)
		}
		for i, k := range l.begin {
			if first := uint64(i) << (64 - lookupBits); k > 0 && l.upto[k-1]+lookupBand > first {
				t.Fatalf("σ² %d: bucket %d begins too late", sigma2, i)
			}
		}
	}
}

// Where the first bits of U are said to decide, they do, at both ends and between; nearly
// all of them do; and what is drawn from one word is not correlated.
func TestR01FirstBitsOfADrawDecide(t *testing.T) {
	for _, sigma2 := range []uint64{1, 16, 569, 10_000, lookupMax} {
		s := newRandom(seeded(sigma2))
		l := s.tableOf(sigma2)
		l.fill()
		whole := 0
		for i, k := range l.whole {
			if k == 0 {
				continue
			}
			whole++
			first := uint64(i) << (64 - wholeBits)
			for _, u := range []uint64{first, first + 1, first + s.u64()>>wholeBits, first | (1<<(64-wholeBits) - 1)} {
				if got := s.find(l, u); got != int(k)-1 {
					t.Fatalf("σ² %d: the first bits %d say %d, U says %d", sigma2, i, k-1, got)
				}
			}
		}
		if whole < len(l.whole)*9/10 {
			t.Errorf("σ² %d: %d of %d decide", sigma2, whole, len(l.whole))
		}
		out := make([]int64, 200_000)
		s.drawMany(l, out)
		for lag := 1; lag <= 4; lag++ {
			sum := 0.0
			for i := lag; i < len(out); i++ {
				sum += float64(out[i] * out[i-lag])
			}
			if z := sum / float64(sigma2) / math.Sqrt(float64(len(out)-lag)); math.Abs(z) > 5 {
				t.Errorf("σ² %d: draws %d apart are correlated: %.1f standard deviations", sigma2, lag, z)
			}
		}
	}
}

func BenchmarkNoiseShare(b *testing.B) {
	n, err := NewNoiseShare(big.NewInt(5000), NewSource())
	if err != nil {
		b.Fatal(err)
	}
	out := make([]int64, 8192)
	for b.Loop() {
		if err := n.Fill(out); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(out)), "ns/draw")
}
