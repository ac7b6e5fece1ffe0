package disclosure

import (
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
)

// Store holds what earlier releases of one data set disclosed. Units are dense
// ordinals that stay the same over snapshots. It is not safe for concurrent use.
type Store struct {
	k        int
	ordinals map[uint64]uint32
	tokens   []uint64
	families map[string]*index
	releases []release
	open     *Check
}

type release struct {
	id   string
	dead bool
}

// NewStore returns an empty store for checks with thresholds up to k ≤ MaxK.
func NewStore(k int) *Store {
	return &Store{k: min(max(k, 2), MaxK), ordinals: map[uint64]uint32{}, families: map[string]*index{}}
}

// K is the largest threshold the store can check.
func (s *Store) K() int { return s.k }

// Len is the number of distinct sets held.
func (s *Store) Len() int {
	n := 0
	for _, x := range s.families {
		n += len(x.sets)
	}
	return n
}

// Releases is the number of releases whose sets are held.
func (s *Store) Releases() int {
	n := 0
	for _, r := range s.releases {
		if !r.dead {
			n++
		}
	}
	return n
}

// Forget takes a release out that was prepared and never given.
func (s *Store) Forget(id string) {
	for i := range s.releases {
		s.releases[i].dead = s.releases[i].dead || s.releases[i].id == id
	}
}

// Add files sets of a committed release without checking them, as at start.
func (s *Store) Add(id, snapshot string, sets []Set) {
	at := s.begin(id)
	for i := range sets {
		p := s.probe(&sets[i])
		s.family(sets[i].Family).add(p, ref{release: at, snapshot: snapshot, region: sets[i].Region, values: sets[i].Values})
	}
}

func (s *Store) begin(id string) int {
	s.releases = append(s.releases, release{id: id})
	return len(s.releases) - 1
}

func (s *Store) family(name string) *index {
	x, ok := s.families[name]
	if !ok {
		x = &index{store: s, blocks: s.k + 8, heads: map[uint64]posting{}, filter: make([]uint64, 1024)}
		s.families[name] = x
	}
	return x
}

// ordinal numbers a unit.
func (s *Store) ordinal(token uint64) uint32 {
	o, ok := s.ordinals[token]
	if !ok {
		o = uint32(len(s.tokens))
		s.ordinals[token] = o
		s.tokens = append(s.tokens, token)
	}
	return o
}

// probe is a set made ready for searching: its bitmap and its sketch, the sum of
// its members' random values modulo 2^64 in each of the blocks that members are
// scattered over. A combination of sets that leaves fewer than k units leaves all
// but k−1 blocks of the combined sketches zero.
type probe struct {
	bits *roaring.Bitmap
	card int
	sk   []uint64
	ords []uint32
}

func (s *Store) probe(set *Set) *probe {
	p := &probe{sk: make([]uint64, s.k+8), ords: make([]uint32, 0, len(set.Units))}
	for _, t := range set.Units {
		p.ords = append(p.ords, s.ordinal(t))
		// Tokens are keyed hashes that nobody outside knows, so nobody can build
		// sets whose sketches cancel.
		h := mix(t + 0x9e3779b97f4a7c15)
		p.sk[h%uint64(len(p.sk))] += mix(h)
	}
	slices.Sort(p.ords)
	p.ords = slices.Compact(p.ords)
	p.bits = roaring.BitmapOf(p.ords...)
	p.bits.RunOptimize()
	p.card = len(p.ords)
	return p
}

// index is one family's sets: distinct, with who disclosed them.
type index struct {
	store  *Store
	blocks int
	sets   []entry
	rows   []*roaring.Bitmap  // ordinal → sets that hold the unit
	heads  map[uint64]posting // block and sum → sets with that sum in that block
	next   []uint32           // chains of heads: set·blocks + block → next set + 1
	cards  []int32            // of sets, close together for scanning
	filter []uint64           // one bit for every key of heads, and stale ones: most looks end here
	counts []uint16           // scratch of candidates
	found  []uint32
}

type posting struct{ head, n uint32 }

type entry struct {
	bits *roaring.Bitmap
	card int
	sk   []uint64
	refs []ref
}

type ref struct {
	release  int
	snapshot string
	region   Region
	values   map[string]uint64
}

func (x *index) key(block int, sum uint64) uint64 {
	return mix(sum ^ uint64(block+1)*0x9e3779b97f4a7c15)
}

// chain finds the sets with this sum in this block.
func (x *index) chain(block int, sum uint64) (posting, bool) {
	key := x.key(block, sum)
	if at := key % uint64(64*len(x.filter)); x.filter[at/64]&(1<<(at%64)) == 0 {
		return posting{}, false
	}
	h, ok := x.heads[key]
	return h, ok
}

// mark enters a key of heads into the filter, which keeps sixteen bits per key.
func (x *index) mark(key uint64) {
	if 4*len(x.filter) < len(x.heads) {
		x.filter = make([]uint64, 2*len(x.filter))
		for k := range x.heads {
			x.mark(k)
		}
	}
	at := key % uint64(64*len(x.filter))
	x.filter[at/64] |= 1 << (at % 64)
}

// equal returns the stored set with exactly these members, or −1.
func (x *index) equal(p *probe) int {
	// The shortest chain decides quickest.
	var best posting
	block := -1
	for b, sum := range p.sk {
		h, ok := x.chain(b, sum)
		if !ok {
			return -1
		}
		if block < 0 || h.n < best.n {
			best, block = h, b
		}
	}
	for id := best.head; id != 0; id = x.next[int(id-1)*x.blocks+block] {
		e := &x.sets[id-1]
		if e.card == p.card && slices.Equal(e.sk, p.sk) && e.bits.Equals(p.bits) {
			return int(id - 1)
		}
	}
	return -1
}

// add files a set and returns its id and whether it is new.
func (x *index) add(p *probe, r ref) (int, bool) {
	if id := x.equal(p); id >= 0 {
		x.sets[id].refs = append(x.sets[id].refs, r)
		return id, false
	}
	id := len(x.sets)
	x.sets = append(x.sets, entry{bits: p.bits, card: p.card, sk: p.sk, refs: []ref{r}})
	for _, o := range p.ords {
		for len(x.rows) <= int(o) {
			x.rows = append(x.rows, nil)
		}
		if x.rows[o] == nil {
			x.rows[o] = roaring.New()
		}
		x.rows[o].Add(uint32(id))
	}
	for b, sum := range p.sk {
		key := x.key(b, sum)
		h := x.heads[key]
		x.next = append(x.next, h.head)
		x.heads[key] = posting{uint32(id) + 1, h.n + 1}
		x.mark(key)
	}
	x.counts, x.cards = append(x.counts, 0), append(x.cards, int32(p.card))
	return id, true
}

// pop takes the last set out again.
func (x *index) pop() {
	id := len(x.sets) - 1
	e := x.sets[id]
	for it := e.bits.Iterator(); it.HasNext(); {
		x.rows[it.Next()].Remove(uint32(id))
	}
	for b, sum := range e.sk {
		key := x.key(b, sum)
		h := posting{x.next[id*x.blocks+b], x.heads[key].n - 1}
		if h.head == 0 {
			delete(x.heads, key)
		} else {
			x.heads[key] = h
		}
	}
	x.next, x.counts, x.cards, x.sets = x.next[:id*x.blocks], x.counts[:id], x.cards[:id], x.sets[:id]
}

func (x *index) live(id int) bool {
	return slices.ContainsFunc(x.sets[id].refs, func(r ref) bool { return !x.store.releases[r.release].dead })
}
