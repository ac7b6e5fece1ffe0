package release

import (
	"fmt"
	"io"
	"math"
	"math/big"
	"math/rand/v2"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/google/differential-privacy/go/v3/noise"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/internal/leak"
)

// full reports whether the heavy trial counts were asked for.
func full() bool { return leak.Full() }

func trials(quick, heavy int) int {
	if full() {
		return heavy
	}
	return quick / slowdown
}

// seeded is a reproducible reader; it exists in tests only.
func seeded(n uint64) io.Reader {
	var seed [32]byte
	for i := range 8 {
		seed[i] = byte(n >> (8 * i))
	}
	return rand.NewChaCha8(seed)
}

// R01 attack 12: both paths draw the exact distribution.
func TestAttack12_SamplerChiSquare(t *testing.T) {
	n := trials(100_000*slowdown, 3_000_000) // the control needs them all
	worst, caught := 1.0, 0.0
	for _, c := range []struct {
		name   string
		sigma2 int64
		big    bool
	}{
		{"many 1", 1, false}, {"many 3", 3, false}, {"many 569", 569, false},
		{"table 1", 1, false}, {"table 3", 3, false}, {"table 569", 569, false}, {"table 1000", 1000, false},
		{"1", 1, false}, {"2", 2, false}, {"3", 3, false}, {"100", 100, false}, {"569", 569, false},
		{"big 1", 1, true}, {"big 3", 3, true}, {"big 569", 569, true},
	} {
		r := newRandom(seeded(uint64(c.sigma2)))
		w := int(12*math.Sqrt(float64(c.sigma2))) + 2
		counts := make([]int, 2*w+1)
		m := n
		if c.big {
			m /= 3
		}
		var sum, sq float64
		var many []int64
		for range m {
			var x int64
			switch {
			case strings.HasPrefix(c.name, "many"):
				if len(many) == 0 {
					many = make([]int64, min(1021, m))
					r.drawMany(r.tableOf(uint64(c.sigma2)), many)
				}
				x, many = many[0], many[1:]
			case c.big:
				x = r.bigGaussian(big.NewInt(c.sigma2)).Int64()
			case strings.HasPrefix(c.name, "table"):
				x = r.gaussian(big.NewInt(c.sigma2)).Int64()
			default:
				x = r.smallGaussian(uint64(c.sigma2))
			}
			counts[int(x)+w]++
			sum += float64(x)
			sq += float64(x) * float64(x)
		}
		worst = min(worst, leak.ChiSquare(counts, leak.GaussianPMF(float64(c.sigma2), w)))
		if z := sum / math.Sqrt(float64(m)*float64(c.sigma2)); math.Abs(z) > 5 {
			t.Errorf("sigma2 %s: mean is %.1f sd off", c.name, z)
		}
		// The discrete variance is at most σ² and within 1e-6 of it from σ²=3 on.
		if v := sq / float64(m) / float64(c.sigma2); c.sigma2 >= 3 && math.Abs(v-1) > 5*math.Sqrt(2/float64(m)) {
			t.Errorf("sigma2 %s: variance ratio %.4f", c.name, v)
		}
		// Control: the same test catches a variance that is 8 % off.
		if !c.big {
			caught = max(caught, leak.ChiSquare(counts, leak.GaussianPMF(float64(c.sigma2)*1.08, w)))
		}
	}
	leak.Record(t, leak.Score{Attack: "12 sampler against the discrete Gaussian", Figure: fmt.Sprintf("least p = %.2g", worst), Bound: "p > 1e-6", Control: fmt.Sprintf("variance 8 %% off: p ≤ %.1g", caught), Pass: worst > 1e-6 && caught < 1e-6, Trials: 11 * n})
}

// Large scales: quantile bins of the normal, and every residue equally often (a
// lattice coarser than 1 would show).
func TestSamplerLargeScales(t *testing.T) {
	n := trials(30_000, 500_000)
	for _, s := range []string{"1000000", "268435455", "268435456", "10000000000000000000", "1329227995784915872903807060280344577"} {
		sigma2, _ := new(big.Int).SetString(s, 10)
		f, _ := new(big.Float).SetInt(sigma2).Float64()
		sd := math.Sqrt(f)
		r := newRandom(seeded(7))
		const bins = 64
		counts, probs := make([]int, bins), make([]float64, bins)
		residue, even := make([]int, 16), make([]float64, 16)
		for i := range probs {
			probs[i] = 1.0 / bins
		}
		for i := range even {
			even[i] = 1.0 / 16
		}
		for range n {
			x := r.gaussian(sigma2)
			y, _ := new(big.Float).SetInt(x).Float64()
			counts[min(bins-1, int(bins*distuv.UnitNormal.CDF(y/sd)))]++
			residue[new(big.Int).And(x, big.NewInt(15)).Int64()]++
		}
		if p := leak.ChiSquare(counts, probs); p < 1e-6 {
			t.Errorf("sigma2 %s: quantile bins p = %g", s, p)
		}
		if p := leak.ChiSquare(residue, even); p < 1e-6 {
			t.Errorf("sigma2 %s: residues mod 16 p = %g", s, p)
		}
	}
}

// The oracle is Google's integer Gaussian, another construction altogether
// (binomial), calibrated by another route. Two-sample Kolmogorov–Smirnov.
func TestSamplerAgainstGoogle(t *testing.T) {
	n := trials(20_000, 200_000)
	const eps, delta = 0.5, 1e-6
	sigma := noise.SigmaForGaussian(1, 1, eps, delta)
	sigma2 := uint64(math.Round(sigma * sigma))
	r := newRandom(seeded(11))
	ours, theirs := make([]float64, n), make([]float64, n)
	g := noise.Gaussian()
	for i := range n {
		ours[i] = float64(r.smallGaussian(sigma2))
		x, err := g.AddNoiseInt64(0, 1, 1, eps, delta)
		if err != nil {
			t.Fatal(err)
		}
		theirs[i] = float64(x)
	}
	limit := 2.6 * math.Sqrt(2/float64(n)) // p ≈ 3e-6
	if d := ks(ours, theirs); d > limit {
		t.Errorf("KS distance %.4f exceeds %.4f at sigma %.2f", d, limit, sigma)
	}
	for i := range ours {
		ours[i] = float64(r.smallGaussian(sigma2 * 3 / 2))
	}
	if d := ks(ours, theirs); d <= limit {
		t.Errorf("control: a variance 50 %% off is not seen (%.4f)", d)
	}
}

func ks(a, b []float64) float64 {
	sort.Float64s(a)
	sort.Float64s(b)
	i, j, d := 0, 0, 0.0
	for i < len(a) && j < len(b) {
		x := min(a[i], b[j])
		for i < len(a) && a[i] == x {
			i++
		}
		for j < len(b) && b[j] == x {
			j++
		}
		d = max(d, math.Abs(float64(i)/float64(len(a))-float64(j)/float64(len(b))))
	}
	return d
}

func TestUniformBelow(t *testing.T) {
	r := newRandom(seeded(3))
	for _, n := range []uint64{1, 2, 3, 7, 10, 100} {
		counts, probs := make([]int, n+1), make([]float64, n+1)
		for i := range n {
			probs[i] = 1 / float64(n)
		}
		z := new(big.Int)
		for range 60_000 {
			counts[r.below(n)]++
			counts[r.bigBelow(z, new(big.Int).SetUint64(n)).Uint64()]++
		}
		if n > 1 {
			if p := leak.ChiSquare(counts[:n], probs[:n]); p < 1e-6 {
				t.Errorf("below(%d): p = %g", n, p)
			}
		}
		if counts[n] != 0 {
			t.Errorf("below(%d) gave %d", n, n)
		}
	}
	// Above 2^63 a biased reduction doubles some values: the lower third must get a third.
	n := uint64(3) << 62
	low := 0
	for range 30_000 {
		if r.below(n) < 1<<62 {
			low++
		}
	}
	if math.Abs(float64(low)-10_000) > 5*math.Sqrt(30_000*2/9.0) {
		t.Errorf("below(3·2^62): %d of 30000 in the lower third", low)
	}
}

func TestIsqrt(t *testing.T) {
	for n := range uint64(70_000) {
		s := isqrt(n)
		if s*s > n || (s+1)*(s+1) <= n {
			t.Fatalf("isqrt(%d) = %d", n, s)
		}
	}
}

// A source's streams differ, look uniform and survive the change of key.
func TestNewSource(t *testing.T) {
	a, b := make([]byte, 3*rekeyAfter+17), make([]byte, 64)
	if n, err := io.ReadFull(NewSource(), a); n != len(a) || err != nil {
		t.Fatal(n, err)
	}
	_, _ = io.ReadFull(NewSource(), b)
	if string(a[:64]) == string(b) || string(a[:64]) == string(a[rekeyAfter:rekeyAfter+64]) {
		t.Fatal("two keys gave one stream")
	}
	counts, probs := make([]int, 256), make([]float64, 256)
	for i := range probs {
		probs[i] = 1.0 / 256
	}
	for _, x := range a {
		counts[x]++
	}
	if p := leak.ChiSquare(counts, probs); p < 1e-9 {
		t.Errorf("bytes are not uniform, p = %g", p)
	}
	d := &drbg{}
	first, rest := make([]byte, rekeyAfter-8), make([]byte, 16)
	_, _ = d.Read(first)
	before := d.stream
	_, _ = d.Read(rest)
	if d.stream == before {
		t.Error("the key was not changed after its quota")
	}
}

func BenchmarkGaussian(b *testing.B) {
	for _, s := range []string{"569", "1000000", "10000000000000000000", "1329227995784915872903807060280344576"} {
		b.Run(s, func(b *testing.B) {
			sigma2, _ := new(big.Int).SetString(s, 10)
			r := newRandom(NewSource())
			b.ReportAllocs()
			for b.Loop() {
				r.gaussian(sigma2)
			}
		})
	}
}

// BenchmarkDP is the whole kernel on the largest public table: 10 000 cells with a
// count and an average each.
func BenchmarkDP(b *testing.B) {
	f := testFacts(1)
	var many []algebra.Value
	for i := range 10_000 {
		many = append(many, text(strconv.Itoa(10_000+i)))
	}
	f.Columns["g"] = protect.ColumnFacts{Type: textType, Codes: many}
	p := build(b, core(f, []string{"g"}, agg(f, algebra.CountRows, ""), agg(f, algebra.Avg, "pay")), 4_000_000, f)
	x := protect.Partials{}
	for _, k := range many {
		x.Cells = append(x.Cells, cellOf(p, []algebra.Value{k}, map[protect.MeasureKind]int64{protect.MeasureRows: 500}))
	}
	for b.Loop() {
		release(b, p, x, NewSource()).Encode()
	}
}
