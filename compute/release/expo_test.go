package release

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/sandgate/sandgate/internal/leak"
)

// expExact is ⌊2^width·exp(−x/2^64)⌋ by another series: 1/exp(x), in 512-bit floats.
func expExact(x uint64, width int) *big.Int {
	f := func(n int64) *big.Float { return new(big.Float).SetPrec(512).SetInt64(n) }
	g := new(big.Float).SetPrec(512).SetInt(new(big.Int).SetUint64(x))
	g.SetMantExp(g, -64)
	sum, term := f(1), f(1)
	for k := int64(1); k < 80; k++ {
		term.Mul(term, g).Quo(term, f(k))
		sum.Add(sum, term)
	}
	sum.Quo(f(1), sum)
	sum.SetMantExp(sum, width)
	out, _ := sum.Int(nil)
	return out
}

// The 64-bit approximation stays far inside the band in which bits are added, so no
// coin is ever decided wrongly by it.
func TestR01ExpApproximation(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	xs := []uint64{0, 1, 2, 1<<58 - 1, 1 << 58, 1<<58 + 1, 1<<63 - 1, 1 << 63, math.MaxUint64 - 1, math.MaxUint64}
	for i := range uint64(64) {
		xs = append(xs, i<<58, i<<58-1, i<<58|(1<<58-1))
	}
	for range trials(3_000, 500_000) {
		xs = append(xs, r.Uint64(), r.Uint64()>>r.UintN(64))
	}
	worst := int64(0)
	for _, x := range xs {
		exact := expExact(x, 64)
		d := new(big.Int).Sub(new(big.Int).SetUint64(expFixed(x)), exact)
		worst = max(worst, new(big.Int).Abs(d).Int64())
	}
	// One more for x itself being rounded.
	if worst > 16 {
		t.Errorf("the approximation is off by %d of 2^64, %d is the band", worst, expBand)
	}
	t.Logf("off by at most %d", worst)
}

func TestR01ExpBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	for range 600 {
		x := r.Uint64() >> r.UintN(64)
		for _, width := range []uint{64, 128, 256} {
			lo, hi := expBounds(new(big.Int).SetUint64(x), new(big.Int).Lsh(big.NewInt(1), 64), width)
			exact := expExact(x, int(width))
			if lo.Cmp(exact) > 0 || hi.Cmp(exact) <= 0 {
				t.Fatalf("x %d width %d: %s is not in [%s, %s)", x, width, exact, lo, hi)
			}
			if hi.Sub(hi, lo).Cmp(big.NewInt(3)) > 0 {
				t.Fatalf("x %d width %d: bounds are %s apart", x, width, hi)
			}
		}
	}
}

// What lies too close to tell is decided by further bits, rightly.
func TestR01ExpResolve(t *testing.T) {
	s := newRandom(seeded(21))
	den := new(big.Int).Lsh(big.NewInt(1), 64)
	for _, x := range []uint64{1, 12345, 1 << 40, 1 << 62, math.MaxUint64} {
		p := expExact(x, 64).Uint64()
		for d := uint64(1); d < 100; d++ {
			if !s.resolveExp(p-d, new(big.Int).SetUint64(x), den) || p < math.MaxUint64-d && s.resolveExp(p+d, new(big.Int).SetUint64(x), den) {
				t.Fatalf("x %d: wrong at distance %d", x, d)
			}
		}
		// On p itself it is a coin of the bits that follow.
		heads, n := 0, 2000
		for range n {
			if s.resolveExp(p, new(big.Int).SetUint64(x), den) {
				heads++
			}
		}
		next, _ := new(big.Float).SetInt(new(big.Int).And(expExact(x, 128), new(big.Int).SetUint64(math.MaxUint64))).Float64()
		want := next / math.Exp2(64)
		if got := float64(heads) / float64(n); math.Abs(got-want) > 5*math.Sqrt(0.25/float64(n)) {
			t.Errorf("x %d: %.3f heads, want %.3f", x, got, want)
		}
	}
	for k, p := range expTail[:40] {
		if s.resolveTail(p+2) != uint64(k) || p > 2 && s.resolveTail(p-2) != uint64(k+1) {
			t.Errorf("geometric: wrong around entry %d", k)
		}
		if v := s.resolveTail(p); v != uint64(k) && v != uint64(k+1) {
			t.Errorf("geometric: entry %d gives %d", k, v)
		}
	}
	if v := s.resolveTail(0); v < 44 {
		t.Errorf("geometric: zero gives %d", v)
	}
}

// Coins and geometric draws have their exact distribution, with or without the table.
func TestR01ExpCoins(t *testing.T) {
	s := newRandom(seeded(22))
	n := trials(40_000, 1_000_000)
	for _, c := range [][2]uint64{{0, 5}, {1, 5}, {3, 4}, {1, 1}, {999, 1000}, {1 << 60, 1<<60 + 1}} {
		heads, exact := 0, 0
		for range n {
			if s.expFraction(c[0], c[1]) {
				heads++
			}
		}
		for range n / 10 {
			if s.resolveExp(s.u64(), new(big.Int).SetUint64(c[0]), new(big.Int).SetUint64(c[1])) {
				exact++
			}
		}
		p := math.Exp(-float64(c[0]) / float64(c[1]))
		if math.Abs(float64(heads)-p*float64(n)) > 5*math.Sqrt(p*(1-p)*float64(n))+0.5 || math.Abs(float64(exact)-p*float64(n/10)) > 5*math.Sqrt(p*(1-p)*float64(n/10))+0.5 {
			t.Errorf("%v: %d and %d heads, want %.0f", c, heads, exact, p*float64(n))
		}
	}
	for name, draw := range map[string]func() uint64{"table": s.geometric, "exact": func() uint64 { return s.resolveTail(s.u64()) }} {
		counts, probs := make([]int, 30), make([]float64, 30)
		for k := range probs {
			probs[k] = math.Exp(-float64(k)) * (1 - math.Exp(-1))
		}
		for range n / 4 {
			counts[min(draw(), 29)]++
		}
		if p := leak.ChiSquare(counts, probs); p < 1e-6 {
			t.Errorf("geometric by %s: chi-square p = %g", name, p)
		}
	}
	ones := 0
	for range n {
		if s.bit() {
			ones++
		}
	}
	if math.Abs(float64(ones)-float64(n)/2) > 2.5*math.Sqrt(float64(n)) {
		t.Errorf("%d of %d coins", ones, n)
	}
}

// TestR01CoinIsDecidedOnlyWhenSure: near the probability, and near the entries of the
// table on either side of it, what compareExp calls sure is so.
func TestR01CoinIsDecidedOnlyWhenSure(t *testing.T) {
	r := rand.New(rand.NewPCG(10, 10))
	xs := []uint64{0, 1, 1<<58 - 1, 1 << 58, math.MaxUint64 - 1, math.MaxUint64}
	for i := range uint64(64) {
		xs = append(xs, i<<58, i<<58|(1<<58-1), i<<58|r.Uint64()>>6)
	}
	decided, tried := 0, 0
	for _, x := range xs {
		exact := expExact(x, 64)
		if !exact.IsUint64() {
			exact.SetUint64(math.MaxUint64)
		}
		p := exact.Uint64()
		for _, base := range []uint64{p, expTable[x>>58], expTable[x>>58+1], r.Uint64(), 0, math.MaxUint64} {
			for _, off := range []int64{-1 << 20, -200, -66, -65, -64, -63, -2, -1, 0, 1, 2, 63, 64, 65, 66, 200, 1 << 20} {
				u := base + uint64(off)
				heads, sure := compareExp(u, x)
				tried++
				if !sure {
					continue
				}
				decided++
				// γ is between x and x+1, so exp(−γ) is less than one below p, or up to one above.
				if heads && u > p-2 || !heads && u <= p {
					t.Fatalf("x %d: u is %d from the probability and heads is sure to be %v", x, int64(u-p), heads)
				}
			}
		}
	}
	if decided < tried/2 {
		t.Errorf("%d of %d decided", decided, tried)
	}
}
