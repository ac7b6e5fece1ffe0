package disclosure

import (
	"math/bits"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
)

// index is one family's sets: distinct, with who disclosed them. What a search
// reads of every candidate lies in flat slices, a set after the other, and what
// it reads of few behind pointers.
type index struct {
	store  *Store
	blocks int
	sets   []entry
	sums   []uint32 // sketches: set·blocks + block
	next   []uint32 // chains of equal sums, same places: next set + 1
	cards  []int32  // of sets
	sized  map[int32]uint32
	alike  []uint32 // chains of sized: next set of this cardinality + 1

	// Open addressing: block and sum → sets with that sum in that block. Sets that
	// have nobody in a block abound where sets are small; they are told apart by
	// cardinality, in steps of step.
	slots []posting
	used  int
	step  int
	// Bits for every key of slots but the empty blocks', and stale ones, by block:
	// most looks end here.
	filter []uint64
	words  int

	// Who holds a unit: sets below settled in rows, by ordinal, the later ones,
	// which may have to leave again, in chains of links.
	rows    []*roaring.Bitmap
	held    []uint32 // ordinal → number of sets in rows
	settled int
	last    []uint32 // ordinal → last link + 1
	links   []link

	counts     []uint8 // scratch of candidates, zero between searches
	candidates []candidate
	target     []uint32
}

type entry struct {
	bits *roaring.Bitmap
	refs []ref
}

type ref struct {
	release  int
	snapshot string
	region   Region
	values   map[string]uint64
}

// posting heads a chain of n sets: place is that of the last one in sums, plus 1.
type posting struct{ place, n uint32 }

// link says that a set holds a unit; before is the unit's link before it, plus 1.
type link struct{ set, before uint32 }

// minSlots is the size of an empty table of chains, a power of two.
const minSlots = 1 << 6

func newIndex(s *Store, blocks int) *index {
	x := &index{store: s, blocks: blocks, step: s.k, sized: map[int32]uint32{}, target: make([]uint32, blocks), slots: make([]posting, minSlots)}
	x.blank()
	return x
}

// blank makes an empty filter of about eight bits per key of a full table.
func (x *index) blank() {
	x.words = 1 << bits.Len(uint(len(x.slots)/16/x.blocks))
	x.filter = make([]uint64, x.blocks*x.words)
}

// sketch is that of a stored set.
func (x *index) sketch(id int) []uint32 { return x.sums[id*x.blocks : (id+1)*x.blocks] }

// key is what sets of a chain share: the sum of a block, or that the block is
// empty and about how many units there are elsewhere.
type key struct {
	block int
	sum   uint32
	size  int
}

func (x *index) key(block int, sum uint32, card int) key {
	if sum != 0 {
		return key{block, sum, 0}
	}
	return key{block, 0, card / x.step}
}

// at is the key of a place in sums.
func (x *index) at(place int) key {
	return x.key(place%x.blocks, x.sums[place], int(x.cards[place/x.blocks]))
}

// sizes are the steps of cardinality that the chains of a sum are told apart by.
func (x *index) sizes(sum uint32, least, most int) (first, last int) {
	if sum != 0 {
		return 0, 0
	}
	return least / x.step, most / x.step
}

// spread hashes a sum.
func spread(sum uint32) uint64 {
	h := uint64(sum) * 0x9e3779b97f4a7c15
	return h ^ h>>32
}

func (k key) hash() uint64 {
	return mix(uint64(k.block)<<32 ^ uint64(k.size)<<40 ^ uint64(k.sum))
}

// flags are the place and the two bits of a sum in the filter.
func (x *index) flags(block int, sum uint32) (word int, two uint64) {
	h := spread(sum)
	return block*x.words + int(h>>12)&(x.words-1), uint64(1)<<(h&63) | uint64(1)<<(h>>6&63)
}

// may is false when no stored set has the sum in that block.
func (x *index) may(block int, sum uint32) bool {
	word, two := x.flags(block, sum)
	return x.filter[word]&two == two || sum == 0
}

func (x *index) mark(k key) {
	word, two := x.flags(k.block, k.sum)
	x.filter[word] |= two
}

// slot is where the chain of a key is, or an empty slot where it would be.
func (x *index) slot(k key) int {
	mask := len(x.slots) - 1
	at := int(k.hash()) & mask
	for x.slots[at].place != 0 && x.at(int(x.slots[at].place)-1) != k {
		at = (at + 1) & mask
	}
	return at
}

// chain finds the sets with this key.
func (x *index) chain(k key) posting {
	if !x.may(k.block, k.sum) {
		return posting{}
	}
	return x.slots[x.slot(k)]
}

// head is the first set of a chain, plus 1; 0 of an empty one.
func (x *index) head(p posting) uint32 {
	if p.n == 0 {
		return 0
	}
	return (p.place-1)/uint32(x.blocks) + 1
}

// enter puts a set, the last one, in front of a chain.
func (x *index) enter(place int) {
	k := x.at(place)
	s := &x.slots[x.slot(k)]
	if x.next[place] = x.head(*s); s.n == 0 {
		x.used++
		x.mark(k)
	}
	*s = posting{uint32(place) + 1, s.n + 1}
}

// leave takes a set, the last one, from the front of a chain again.
func (x *index) leave(place int) {
	at := x.slot(x.at(place))
	if before := x.next[place]; before != 0 {
		x.slots[at] = posting{(before-1)*uint32(x.blocks) + uint32(place%x.blocks) + 1, x.slots[at].n - 1}
		return
	}
	// What lies behind an empty slot is not found: move it up.
	x.used--
	mask := len(x.slots) - 1
	for gap, i := at, (at+1)&mask; ; i = (i + 1) & mask {
		s := x.slots[i]
		if s.place == 0 {
			x.slots[gap] = posting{}
			return
		}
		home := int(x.at(int(s.place)-1).hash()) & mask
		if (i-home)&mask >= (i-gap)&mask {
			x.slots[gap], gap = s, i
		}
	}
}

// grow makes room for the chains of one more set, at most three quarters full.
func (x *index) grow() {
	if 4*(x.used+x.blocks) <= 3*len(x.slots) {
		return
	}
	old := x.slots
	x.slots = make([]posting, 2*len(old))
	x.blank()
	for _, s := range old {
		if s.place != 0 {
			k := x.at(int(s.place) - 1)
			x.slots[x.slot(k)] = s
			x.mark(k)
		}
	}
}

// equal returns the stored set with exactly these members, or −1.
func (x *index) equal(p *probe) int {
	// The shortest chain decides quickest.
	var best posting
	block := -1
	for b, sum := range p.sk {
		h := x.chain(x.key(b, sum, p.card))
		if h.n == 0 {
			return -1
		}
		if block < 0 || h.n < best.n {
			best, block = h, b
		}
	}
	for id := x.head(best); id != 0; id = x.next[int(id-1)*x.blocks+block] {
		if at := int(id - 1); int(x.cards[at]) == p.card && slices.Equal(x.sketch(at), p.sk) && x.sets[at].bits.Equals(p.bits) {
			return at
		}
	}
	return -1
}

// add files a set and returns its id and whether it is new. Until settle it can
// be taken out again.
func (x *index) add(p *probe, r ref) (int, bool) {
	if id := x.equal(p); id >= 0 {
		x.sets[id].refs = append(x.sets[id].refs, r)
		return id, false
	}
	x.grow()
	id := len(x.sets)
	x.sets = append(x.sets, entry{bits: p.bits, refs: []ref{r}})
	x.sums = append(x.sums, p.sk...)
	x.next = append(x.next, p.sk...) // room; enter writes them
	card := int32(p.card)
	x.cards = append(x.cards, card)
	for b := range p.sk {
		x.enter(id*x.blocks + b)
	}
	x.alike = append(x.alike, x.sized[card])
	x.sized[card] = uint32(id) + 1
	if n := len(p.ords); n > 0 && int(p.ords[n-1]) >= len(x.last) {
		more := int(p.ords[n-1]) + 1 - len(x.last)
		x.last, x.held = append(x.last, make([]uint32, more)...), append(x.held, make([]uint32, more)...)
		x.rows = append(x.rows, make([]*roaring.Bitmap, more)...)
	}
	for _, o := range p.ords {
		x.links = append(x.links, link{uint32(id), x.last[o]})
		x.last[o] = uint32(len(x.links))
	}
	return id, true
}

// pop takes the last set, which is not settled, out again.
func (x *index) pop() {
	id := len(x.sets) - 1
	for b := range x.blocks {
		x.leave(id*x.blocks + b)
	}
	for it := x.sets[id].bits.Iterator(); it.HasNext(); {
		o := it.Next()
		x.last[o] = x.links[x.last[o]-1].before
	}
	x.links = x.links[:len(x.links)-int(x.cards[id])]
	if x.alike[id] == 0 {
		delete(x.sized, x.cards[id])
	} else {
		x.sized[x.cards[id]] = x.alike[id]
	}
	x.sets[id] = entry{}
	x.sums, x.next, x.cards, x.alike, x.sets = x.sums[:id*x.blocks], x.next[:id*x.blocks], x.cards[:id], x.alike[:id], x.sets[:id]
}

// settle files the members of the sets that stay by unit.
func (x *index) settle() {
	for ; x.settled < len(x.sets); x.settled++ {
		var it roaring.IntIterator
		for it.Initialize(x.sets[x.settled].bits); it.HasNext(); {
			o := it.Next()
			if x.rows[o] == nil {
				x.rows[o] = roaring.New()
			}
			x.rows[o].Add(uint32(x.settled))
			x.held[o]++
			x.last[o] = 0
		}
	}
	x.links = x.links[:0]
}

func (x *index) live(id int) bool {
	return slices.ContainsFunc(x.sets[id].refs, func(r ref) bool { return !x.store.releases[r.release].dead })
}
