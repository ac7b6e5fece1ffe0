package city

import (
	"math/bits"
	"math/rand/v2"
	"sort"
)

// draws is a deterministic stream of random values. It reduces a PCG stream with
// integer arithmetic only, so that a seed gives the same city on every processor:
// floating-point exp and log differ in the last bit between architectures.
type draws struct{ src *rand.PCG }

func newDraws(seed, stream uint64) *draws {
	return &draws{src: rand.NewPCG(seed, stream)}
}

// below returns a value in 0…n-1, n > 0. The bias is under n/2^64.
func (d *draws) below(n int) int {
	hi, _ := bits.Mul64(d.src.Uint64(), uint64(n))
	return int(hi)
}

// chance reports true with probability p/10000.
func (d *draws) chance(p int) bool { return d.below(10000) < p }

// normal returns a draw from about N(0,1) in units of 2^-16: twelve uniforms
// added up, which ends at ±6.
func (d *draws) normal() int64 {
	var sum int64
	for range 3 {
		v := d.src.Uint64()
		sum += int64(v&0xffff) + int64(v>>16&0xffff) + int64(v>>32&0xffff) + int64(v>>48)
	}
	return sum - 6<<16
}

// logNormal returns median·2^(spread·N(0,1)); spread is in units of 2^-16 and
// counts doublings: 65536 means that two thirds lie between half and double.
func (d *draws) logNormal(median, spread int64) int64 {
	return scale2(median, d.normal()*spread>>16)
}

// roots are 2^(1/2), 2^(1/4) … 2^(1/65536) in units of 2^-30.
var roots = [16]uint64{
	1518500250, 1276901417, 1170923762, 1121280436, 1097253708, 1085434106, 1079572136, 1076653033, 1075196443, 1074468888, 1074105294, 1073923544, 1073832680, 1073787251, 1073764537, 1073753181,
}

// scale2 returns v·2^e for v ≥ 0 and e in units of 2^-16, |e| cut at 20.
func scale2(v, e int64) int64 {
	e = min(max(e, -20<<16), 20<<16)
	m := uint64(1 << 30)
	for i, r := range roots {
		if e&(1<<(15-i)) != 0 {
			m = m * r >> 30
		}
	}
	hi, lo := bits.Mul64(uint64(v), m)
	f := int64(hi<<34 | lo>>30)
	if k := e >> 16; k < 0 {
		return f >> -k
	}
	return f << (e >> 16)
}

// weighted picks an index with probability proportional to its weight.
type weighted struct{ cum []int }

func newWeighted(weights ...int) weighted {
	w := weighted{cum: make([]int, len(weights))}
	sum := 0
	for i, v := range weights {
		sum += v
		w.cum[i] = sum
	}
	return w
}

// newZipf gives rank k the weight 1/(k+offset): few head ranks, a long tail.
func newZipf(n, offset int) weighted {
	weights := make([]int, n)
	for i := range weights {
		weights[i] = 1_000_000 / (i + offset)
	}
	return newWeighted(weights...)
}

func (w weighted) pick(d *draws) int {
	x := d.below(w.cum[len(w.cum)-1])
	return sort.SearchInts(w.cum, x+1)
}
