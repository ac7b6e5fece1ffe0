package release

import (
	"math/big"
	"slices"
	"sync"
)

// Many draws of one small variance are read off a table of the cumulative
// probabilities of |X|: one uniform real U against c_k = Pr[|X| ≤ k]. As with coins,
// the first 64 bits of U decide unless U comes within lookupBand of an entry; then
// both are drawn out to more bits. The draw is exact either way.

const (
	lookupBand = 8
	// lookupMax bounds the variances that have tables, and so their length.
	lookupMax = 1 << 14
	// lookupBits of U choose where to begin in a table.
	lookupBits = 10
)

// lookup is the table of one variance.
type lookup struct {
	sigma2 uint64
	draws  uint64   // so far; the table is made once it pays
	upto   []uint64 // 2^64·c_k, at most lookupBand below and never above it
	begin  []uint16
	// whole[i] is 1+k where every U whose first wholeBits are i gives k, and 0 elsewhere.
	whole *[1 << wholeBits]uint16
}

// wholeBits of U decide most draws of drawMany.
const wholeBits = 14

// manyDraws at once are worth a table at once.
const manyDraws = 4096

// drawMany fills out with draws of l's variance. Most are decided by the first wholeBits of
// U, and a bit beside them is the sign, so that a word serves four of them; where they do
// not decide, the rest of U comes from a word of its own. The distribution is draw's.
func (s *random) drawMany(l *lookup, out []int64) {
	if l.upto == nil && len(out) >= manyDraws {
		l.fill()
	}
	for len(out) > 0 && l.upto == nil {
		out[0] = s.draw(l)
		out = out[1:]
	}
	for len(out) > 0 {
		word := s.u64()
		if len(out) >= 4 {
			a, b, c, d := l.whole[word%(1<<wholeBits)], l.whole[word>>16%(1<<wholeBits)], l.whole[word>>32%(1<<wholeBits)], l.whole[word>>48%(1<<wholeBits)]
			if a != 0 && b != 0 && c != 0 && d != 0 {
				out[0], out[1], out[2], out[3] = signed(a, word>>15), signed(b, word>>31), signed(c, word>>47), signed(d, word>>63)
				out = out[4:]
				continue
			}
		}
		for i := range min(4, len(out)) {
			at := word % (1 << wholeBits)
			k := l.whole[at]
			if k == 0 {
				k = uint16(1 + s.find(l, at<<(64-wholeBits)|s.u64()>>wholeBits))
			}
			out[i] = signed(k, word>>15)
			word >>= 16
		}
		out = out[min(4, len(out)):]
	}
}

// signed is the magnitude k−1 with the lowest bit of word as its sign.
func signed(k uint16, word uint64) int64 {
	sign := int64(word & 1)
	return (int64(k) - 1) ^ -sign + sign
}

// mark finds out where the first bits of U decide.
func (l *lookup) mark() {
	l.whole = new([1 << wholeBits]uint16)
	k := 0
	for i := range l.whole {
		first := uint64(i) << (64 - wholeBits)
		last := first | (1<<(64-wholeBits) - 1)
		for k < len(l.upto) && l.upto[k] < first {
			k++
		}
		// Not within the band of an entry, from below or above, nor beyond the last.
		if k < len(l.upto) && last < l.upto[k] && (k == 0 || first-l.upto[k-1] >= lookupBand) {
			l.whole[i] = uint16(k + 1)
		}
	}
}

// tableOf returns the state of a variance, for up to eight at a time: a release
// draws for its few measures in turn.
func (s *random) tableOf(sigma2 uint64) *lookup {
	for _, l := range s.lookups {
		if l.sigma2 == sigma2 {
			return l
		}
	}
	l := &lookup{sigma2: sigma2}
	if len(s.lookups) == 8 {
		s.lookups = s.lookups[:0]
	}
	s.lookups = append(s.lookups, l)
	return l
}

// draw is a discrete Gaussian of l's variance.
func (s *random) draw(l *lookup) int64 {
	if l.upto == nil {
		// A table costs as much as some thirty draws per unit of σ.
		if l.draws++; l.draws < 32*(isqrt(l.sigma2)+8) {
			return s.smallGaussian(l.sigma2)
		}
		l.fill()
	}
	k := s.find(l, s.u64())
	if k > 0 && s.bit() {
		return -int64(k)
	}
	return int64(k)
}

// find is |X| for a U whose first 64 bits are u.
func (s *random) find(l *lookup, u uint64) int {
	k := int(l.begin[u>>(64-lookupBits)])
	for k < len(l.upto) && u >= l.upto[k] {
		if u-l.upto[k] < lookupBand {
			k = len(l.upto)
			break
		}
		k++
	}
	if k == len(l.upto) {
		k = s.resolveLookup(u, l.sigma2)
	}
	return k
}

// drawTables are those that were made, by variance. A variance is public and a table follows
// from it alone, so that all draws of a process share them: one takes as long to make as
// some hundred thousand draws.
var drawTables struct {
	sync.Mutex
	made map[uint64]lookup
}

// maxDrawTables bounds them: 40 kB each.
const maxDrawTables = 32

// fill takes the table of l's variance, or makes it.
func (l *lookup) fill() {
	drawTables.Lock()
	t, ok := drawTables.made[l.sigma2]
	drawTables.Unlock()
	if !ok {
		t = lookup{sigma2: l.sigma2}
		t.make()
		t.mark()
		drawTables.Lock()
		if len(drawTables.made) >= maxDrawTables || drawTables.made == nil {
			drawTables.made = map[uint64]lookup{}
		}
		drawTables.made[l.sigma2] = t
		drawTables.Unlock()
	}
	l.upto, l.begin, l.whole = t.upto, t.begin, t.whole
}

func (l *lookup) make() {
	lo, hi := cumulative(l.sigma2, 64)
	for k := range lo {
		if !lo[k].IsUint64() || new(big.Int).Sub(hi[k], lo[k]).Cmp(big.NewInt(lookupBand)) > 0 {
			break // what the table does not hold is resolved
		}
		l.upto = append(l.upto, lo[k].Uint64())
	}
	l.begin = make([]uint16, 1<<lookupBits)
	for i := range l.begin {
		first := uint64(i) << (64 - lookupBits)
		k, _ := slices.BinarySearch(l.upto, first)
		// The entry before may lie within the band of first.
		l.begin[i] = uint16(max(0, k-1))
	}
}

// resolveLookup finds |X| for a U whose first 64 bits are u.
func (s *random) resolveLookup(u, sigma2 uint64) int {
	uniform := new(big.Int).SetUint64(u)
	for width := uint(64); ; width += 64 {
		lo, hi := cumulative(sigma2, width)
		for k := range lo {
			if uniform.Cmp(lo[k]) < 0 {
				return k // c_{k−1} ≤ U, or the loop had ended there
			}
			if uniform.Cmp(hi[k]) < 0 {
				break // too close to tell
			}
		}
		uniform.Lsh(uniform, 64).Or(uniform, new(big.Int).SetUint64(s.u64()))
	}
}

// cumulative returns lo_k ≤ 2^width·c_k ≤ hi_k for k from 0 until 1−c_k is below
// 2^-width. With q = exp(−1/2σ²), Pr[|X|=k] is proportional to q^(k²), twice that from
// k = 1 on; powers are bounded from both sides, and the rest of the series after k by
// 2q^(k²)·(1+σ²).
func cumulative(sigma2 uint64, width uint) (lo, hi []*big.Int) {
	p := width + 64
	one := big.NewInt(1)
	qLo, qHi := expBounds(one, new(big.Int).SetUint64(2*sigma2), p)
	down := func(x, y *big.Int) *big.Int { z := new(big.Int).Mul(x, y); return z.Rsh(z, p) }
	up := func(x, y *big.Int) *big.Int { z := down(x, y); return z.Add(z, one) }
	sqLo, sqHi := down(qLo, qLo), up(qHi, qHi)
	rLo, rHi := qLo, qHi // q^(2k−1)
	wLo, wHi := new(big.Int).Lsh(one, p), new(big.Int).Lsh(one, p)
	sumLo, sumHi := new(big.Int).Set(wLo), new(big.Int).Set(wHi)
	lo, hi = append(lo, new(big.Int).Set(sumLo)), append(hi, new(big.Int).Set(sumHi))
	rest := new(big.Int)
	spread := new(big.Int).SetUint64(2 * (sigma2 + 1))
	for enough := new(big.Int).Lsh(one, p-width-8); ; {
		wLo, wHi = down(wLo, rLo), up(wHi, rHi)
		rLo, rHi = down(rLo, sqLo), up(rHi, sqHi)
		sumLo.Add(sumLo, wLo).Add(sumLo, wLo)
		sumHi.Add(sumHi, wHi).Add(sumHi, wHi)
		lo, hi = append(lo, new(big.Int).Set(sumLo)), append(hi, new(big.Int).Set(sumHi))
		if rest.Mul(wHi, spread).Cmp(enough) < 0 {
			break
		}
	}
	total := new(big.Int).Add(sumHi, rest)
	for k := range lo {
		lo[k].Lsh(lo[k], width).Quo(lo[k], total)
		hi[k].Lsh(hi[k], width).Quo(hi[k], sumLo)
		hi[k].Add(hi[k], one)
	}
	return lo, hi
}
