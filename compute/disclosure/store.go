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
	s.settle()
}

func (s *Store) begin(id string) int {
	s.releases = append(s.releases, release{id: id})
	return len(s.releases) - 1
}

func (s *Store) family(name string) *index {
	x, ok := s.families[name]
	if !ok {
		x = newIndex(s, s.k+8)
		s.families[name] = x
	}
	return x
}

// settle files the members of all sets for good.
func (s *Store) settle() {
	for _, x := range s.families {
		x.settle()
	}
}

// ordinal numbers a unit.
func (s *Store) ordinal(token uint64) uint32 {
	o, ok := s.ordinals[token]
	if !ok {
		o = uint32(len(s.ordinals))
		s.ordinals[token] = o
	}
	return o
}

// probe is a set made ready for searching: its bitmap and its sketch, the sum of
// its members' random values modulo 2^32 in each of the blocks that members are
// scattered over. A combination of sets that leaves fewer than k units leaves all
// but k−1 blocks of the combined sketches zero. Sums that agree by chance cost a
// look at the bitmaps, which decide, and nothing else.
type probe struct {
	bits *roaring.Bitmap
	card int
	sk   []uint32
	ords []uint32
}

func (s *Store) probe(set *Set) *probe {
	p := &probe{sk: make([]uint32, s.k+8), ords: make([]uint32, 0, len(set.Units))}
	for _, t := range set.Units {
		p.ords = append(p.ords, s.ordinal(t))
		// Tokens are keyed hashes that nobody outside knows, so nobody can build
		// sets whose sketches cancel.
		h := mix(t + 0x9e3779b97f4a7c15)
		p.sk[h%uint64(len(p.sk))] += uint32(mix(h))
	}
	slices.Sort(p.ords)
	if p.ords = slices.Compact(p.ords); len(p.ords) < len(set.Units) {
		// A unit named twice would be twice in the sketch and hide what it is near.
		once := slices.Clone(set.Units)
		slices.Sort(once)
		return s.probe(&Set{Units: slices.Compact(once)})
	}
	p.bits = roaring.BitmapOf(p.ords...)
	p.bits.RunOptimize()
	p.card = len(p.ords)
	return p
}
