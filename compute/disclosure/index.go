package disclosure

import (
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

	// Open addressing: block and sum → sets with that sum in that block.
	slots []posting
	used  int
	// Bits for every key of slots, and stale ones: most looks end here.
	filter []uint64

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
const minSlots = 1 << 10

func newIndex(s *Store, blocks int) *index {
	return &index{store: s, blocks: blocks, sized: map[int32]uint32{}, target: make([]uint32, blocks),
		slots: make([]posting, minSlots), filter: make([]uint64, minSlots/8)}
}

// sketch is that of a stored set.
func (x *index) sketch(id int) []uint32 { return x.sums[id*x.blocks : (id+1)*x.blocks] }

// spread hashes a sum of a block; the upper bits are the good ones.
func spread(block int, sum uint32) uint64 {
	h := (uint64(block)<<32 | uint64(sum)) * 0x9e3779b97f4a7c15
	return (h ^ h>>29) * 0xbf58476d1ce4e5b9
}

// may is false when no stored set has the sum that was spread: two bits of one
// word tell, in a table that stays in the processor's cache.
func (x *index) may(h uint64) bool {
	bits := uint64(1)<<(h>>8&63) | uint64(1)<<(h>>14&63)
	return x.filter[h>>32&uint64(len(x.filter)-1)]&bits == bits
}

// slot is where the chain of a sum is, or an empty slot where it would be.
func (x *index) slot(block int, sum uint32, h uint64) int {
	mask := len(x.slots) - 1
	at := int(h>>20) & mask
	for ; x.slots[at].place != 0; at = (at + 1) & mask {
		if p := int(x.slots[at].place) - 1; x.sums[p] == sum && p%x.blocks == block {
			break
		}
	}
	return at
}

// chain finds the sets with this sum in this block.
func (x *index) chain(block int, sum uint32) posting {
	h := spread(block, sum)
	if !x.may(h) {
		return posting{}
	}
	return x.slots[x.slot(block, sum, h)]
}

// enter puts a set, the last one, in front of a chain.
func (x *index) enter(id, block int, sum uint32) {
	h := spread(block, sum)
	s := &x.slots[x.slot(block, sum, h)]
	place := id*x.blocks + block
	x.next[place] = 0
	if s.n > 0 {
		x.next[place] = (s.place-1)/uint32(x.blocks) + 1
	} else {
		x.used++
		x.filter[h>>32&uint64(len(x.filter)-1)] |= 1<<(h>>8&63) | 1<<(h>>14&63)
	}
	*s = posting{uint32(place) + 1, s.n + 1}
}

// leave takes a set, the last one, from the front of a chain again.
func (x *index) leave(id, block int, sum uint32) {
	at := x.slot(block, sum, spread(block, sum))
	if before := x.next[id*x.blocks+block]; before != 0 {
		x.slots[at] = posting{(before-1)*uint32(x.blocks) + uint32(block) + 1, x.slots[at].n - 1}
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
		p := int(s.place) - 1
		home := int(spread(p%x.blocks, x.sums[p])>>20) & mask
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
	x.slots, x.filter = make([]posting, 2*len(old)), make([]uint64, 2*len(x.filter))
	for _, s := range old {
		if s.place == 0 {
			continue
		}
		p := int(s.place) - 1
		h := spread(p%x.blocks, x.sums[p])
		x.slots[x.slot(p%x.blocks, x.sums[p], h)] = s
		x.filter[h>>32&uint64(len(x.filter)-1)] |= 1<<(h>>8&63) | 1<<(h>>14&63)
	}
}

// equal returns the stored set with exactly these members, or −1.
func (x *index) equal(p *probe) int {
	// The shortest chain decides quickest.
	var best posting
	block := -1
	for b, sum := range p.sk {
		h := x.chain(b, sum)
		if h.n == 0 {
			return -1
		}
		if block < 0 || h.n < best.n {
			best, block = h, b
		}
	}
	for id := (best.place-1)/uint32(x.blocks) + 1; id != 0; id = x.next[int(id-1)*x.blocks+block] {
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
	for b, sum := range p.sk {
		x.enter(id, b, sum)
	}
	card := int32(p.card)
	x.cards = append(x.cards, card)
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
	for b, sum := range x.sketch(id) {
		x.leave(id, b, sum)
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
