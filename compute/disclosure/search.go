package disclosure

import (
	"encoding/binary"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
)

// combination is how a new set N is taken together with stored A and B.
type combination int

const (
	minusA      combination = iota // N − A
	minusBoth                      // N − A − B
	plusAminusB                    // N + A − B
)

func (c combination) signs() []int {
	switch c {
	case minusBoth:
		return []int{1, -1, -1}
	case plusAminusB:
		return []int{1, 1, -1}
	}
	return []int{1, -1}
}

// candidate is a stored set and how many of the units that were counted it holds.
type candidate struct {
	id    uint32
	count int
}

// search visits every combination of p with one or two stored sets that leaves
// fewer than k units, until visit returns true. N + A and N + A + B leave at
// least N's own and need no search.
func (x *index) search(p *probe, k int, visit func(kind combination, a, b, left int) bool) {
	if x.near(p.sk, p.card-(k-1), p.card+k-1, k, func(id int) bool {
		left := p.card + int(x.cards[id]) - 2*int(p.bits.AndCardinality(x.sets[id].bits))
		return left < k && visit(minusA, id, -1, left)
	}) {
		return
	}
	probes := x.probes(p, min(3*k, maxProbes))
	// B nearly holds N: it holds all but k−1 of any units of N. Of A and B that
	// nearly make up N, one holds half of them.
	most, half := max(len(probes)-k+1, 1), max((len(probes)-k+2)/2, 1)
	for _, c := range x.count(probes, half) {
		id := int(c.id)
		card := int(x.cards[id])
		if c.count >= most && card > p.card-k && x.within(x.sketch(id), p.sk, k) {
			least, most, ok := rest(p.card, card, x.common(p, id), k)
			if ok && x.near(x.target, least, most, k, func(a int) bool {
				if a == id {
					return false
				}
				left := leaves(p.bits, x.sets[a].bits, x.sets[id].bits, p.card, int(x.cards[a]), card)
				return left < k && visit(plusAminusB, a, id, left)
			}) {
				return
			}
		}
		if card < p.card+k && x.within(p.sk, x.sketch(id), k) {
			least, most, ok := rest(card, p.card, x.common(p, id), k)
			if ok && x.near(x.target, least, most, k, func(a int) bool {
				if a == id {
					return false
				}
				left := leaves(x.sets[a].bits, x.sets[id].bits, p.bits, int(x.cards[a]), card, p.card)
				return left < k && visit(minusBoth, id, a, left)
			}) {
				return
			}
		}
	}
}

// common is the number of units that a stored set shares with p.
func (x *index) common(p *probe, id int) int { return int(p.bits.AndCardinality(x.sets[id].bits)) }

// rest is how many units a set must have that leaves fewer than k of what a large
// set holds beyond a small one. Units of the small set that the large one lacks
// are left whatever the third set holds; it may hold them besides.
func rest(small, large, common, k int) (least, most int, ok bool) {
	lacks := small - common
	return large - common - (k - 1 - lacks), large - common + k - 1, lacks < k
}

// leaves is the number of units where a + b − c is not zero.
func leaves(a, b, c *roaring.Bitmap, na, nb, nc int) int {
	ac := roaring.And(a, c)
	abc := int(ac.AndCardinality(b))
	return na + nb + nc - int(a.AndCardinality(b)) - 2*int(ac.GetCardinality()) - 2*int(b.AndCardinality(c)) + 3*abc
}

// maxProbes is the most units a byte can count.
const maxProbes = 255

// probes picks up to n units of the set that stand in few stored sets.
func (x *index) probes(p *probe, n int) []uint32 {
	step := max(len(p.ords)/(4*n), 1)
	some := make([]uint64, 0, len(p.ords)/step+1)
	for i := 0; i < len(p.ords); i += step {
		r := uint64(p.ords[i])
		if int(r) < len(x.held) {
			r |= uint64(x.held[r]) << 32
		}
		some = append(some, r)
	}
	slices.Sort(some)
	out := make([]uint32, min(n, len(some)))
	for i := range out {
		out[i] = uint32(some[i])
	}
	return out
}

// count tallies how many of the units each stored set holds and returns those
// that hold at least half of them, which is at most 128, in the order of their
// ids. There is no branch per member of a row, and none per set.
func (x *index) count(units []uint32, half int) []candidate {
	for len(x.counts) < len(x.sets)+8 {
		x.counts = append(x.counts, 0)
	}
	counts := x.counts[:(len(x.sets)+7)&^7]
	clear(counts)
	var buf [512]uint32
	var it roaring.ManyIntIterator
	for _, o := range units {
		if int(o) >= len(x.rows) {
			continue
		}
		if x.rows[o] != nil {
			it.Initialize(x.rows[o])
			for n := it.NextMany(buf[:]); n > 0; n = it.NextMany(buf[:]) {
				for _, id := range buf[:n] {
					counts[id]++
				}
			}
		}
		for l := x.last[o]; l != 0; l = x.links[l-1].before {
			counts[x.links[l-1].set]++
		}
	}
	// Eight counts at a time: adding 128 − half to the lower seven bits of a count
	// carries into its eighth when it has half or more.
	const every, top = 0x0101010101010101, 0x8080808080808080
	add := uint64(128-half) * every
	found := x.candidates[:0]
	for i := 0; i < len(counts); i += 8 {
		w := binary.LittleEndian.Uint64(counts[i:])
		if ((w&^top+add)|w)&top == 0 {
			continue
		}
		for j, n := range counts[i : i+8] {
			if int(n) >= half {
				found = append(found, candidate{uint32(i + j), int(n)})
			}
		}
	}
	x.candidates = found
	return found
}

// within writes the difference of two sketches to x.target and says whether a
// stored set can be near it: false as soon as k of its sums are no set's.
func (x *index) within(a, b []uint32, k int) bool {
	target, none := x.target, 0
	a, b = a[:len(target)], b[:len(target)]
	for i := range target {
		sum := a[i] - b[i]
		target[i] = sum
		if !x.may(i, sum) {
			if none++; none >= k {
				return false
			}
		}
	}
	return true
}

// chain is a block of a target and the number of sets that agree with it there.
type chain struct{ block, n int }

// near visits stored sets whose sketch differs from target in fewer than k
// blocks. Of any k blocks one agrees, so the chains of k blocks hold them all; a
// block without a chain costs nothing. The sets have from least to most units.
func (x *index) near(target []uint32, least, most, k int, visit func(id int) bool) bool {
	if least = max(least, 0); most < least {
		return false
	}
	var chains [MaxK + 8]chain
	n, none := 0, 0
	for b, sum := range target {
		c := chain{block: b}
		for size, last := x.sizes(sum, least, most); size <= last; size++ {
			c.n += int(x.chain(key{b, sum, size}).n)
		}
		if c.n == 0 {
			if none++; none >= k {
				return false
			}
			continue
		}
		chains[n] = c
		n++
	}
	list := chains[:n]
	slices.SortFunc(list, func(a, b chain) int { return a.n - b.n })
	for i := 0; i < n && i+none < k; i++ {
		b, sum := list[i].block, target[list[i].block]
		for size, last := x.sizes(sum, least, most); size <= last; size++ {
			for id := x.head(x.chain(key{b, sum, size})); id != 0; id = x.next[int(id-1)*x.blocks+b] {
				at := int(id - 1)
				if n := int(x.cards[at]); n >= least && n <= most && x.agrees(at, target, list[:i], k) && visit(at) {
					return true
				}
			}
		}
	}
	return false
}

// agrees says that a set's sketch differs from target in fewer than k blocks, and
// in all those whose chains were walked before: each set is visited once.
func (x *index) agrees(id int, target []uint32, before []chain, k int) bool {
	sketch, differ := x.sketch(id)[:len(target)], 0
	for b, sum := range target {
		if sketch[b] != sum {
			differ++ // no way out here: where sets are small it would be guessed wrong
		}
	}
	if differ >= k {
		return false
	}
	for _, c := range before {
		if sketch[c.block] == target[c.block] {
			return false
		}
	}
	return true
}
