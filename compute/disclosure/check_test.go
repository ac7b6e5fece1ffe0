package disclosure

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// units spreads small numbers over the token space.
func units(members ...int) []uint64 {
	var out []uint64
	for _, m := range members {
		out = append(out, mix(uint64(m)+77))
	}
	return out
}

// brute is the definition: every ± combination of the new set with at most two
// stored ones, and with the whole, by counting units one by one.
func brute(n []bool, stored [][]bool, k int) bool {
	whole := make([]bool, len(n))
	for i := range whole {
		whole[i] = true
	}
	all := append([][]bool{whole}, stored...)
	left := func(f func(i int) int) bool {
		c := 0
		for i := range n {
			if f(i) != 0 {
				c++
			}
		}
		return c < k
	}
	b := func(v bool) int {
		if v {
			return 1
		}
		return 0
	}
	if left(func(i int) int { return b(n[i]) }) {
		return true
	}
	for x := range all {
		for _, sx := range []int{-1, 1} {
			if left(func(i int) int { return b(n[i]) + sx*b(all[x][i]) }) {
				return true
			}
			for y := range x {
				for _, sy := range []int{-1, 1} {
					if left(func(i int) int { return b(n[i]) + sx*b(all[x][i]) + sy*b(all[y][i]) }) {
						return true
					}
				}
			}
		}
	}
	return false
}

// Property: Try says what the definition says, on universes small enough to try
// every combination, with sets drawn so that near relations abound.
func TestR01_CheckAgainstBruteForce(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	yes, no := 0, 0
	for round := range 300 {
		n, k := 24+r.IntN(60), 2+r.IntN(5)
		s := NewStore(k)
		s.Add("dead", "s", []Set{{Region: Region{Base: "dead", Cells: []int{0}}, Units: units(1, 2, 3, 4, 5, 6, 7)}})
		s.Forget("dead")
		var stored [][]bool
		for step := range 40 {
			set := make([]bool, n)
			switch kind := r.IntN(4); {
			case kind == 0 || len(stored) < 2:
				p := r.Float64()
				for i := range set {
					set[i] = r.Float64() < p
				}
			default: // a sum, difference or complement of two earlier ones, spoilt a little
				a, b := stored[r.IntN(len(stored))], stored[r.IntN(len(stored))]
				for i := range set {
					set[i] = []bool{a[i] || b[i], a[i] && !b[i], !a[i]}[kind-1]
				}
				for range r.IntN(2 * k) {
					i := r.IntN(n)
					set[i] = !set[i]
				}
			}
			var members []int
			for i, in := range set {
				if in {
					members = append(members, i)
				}
			}
			// Every set has a base of its own: nothing is proven by public facts.
			c := s.Begin(fmt.Sprint(round, step), "s", n, k)
			hit := c.Try(Set{Region: Region{Base: fmt.Sprint(step), Cells: []int{0}}, Units: units(members...)})
			want := brute(set, stored, k)
			if (hit != nil) != want {
				t.Fatalf("round %d step %d n %d k %d: %v, want %v", round, step, n, k, hit, want)
			}
			if hit != nil {
				yes++
				c.Rollback()
				continue
			}
			no++
			// A rolled back set leaves nothing behind.
			if r.IntN(4) == 0 {
				c.Rollback()
				continue
			}
			c.Commit()
			stored = append(stored, set)
		}
	}
	if yes < 1000 || no < 1000 {
		t.Fatalf("one-sided draw: %d collisions, %d passes", yes, no)
	}
}

func ints(from, to int) []int {
	var out []int
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

func TestR01_RelationsThatPublicFactsProve(t *testing.T) {
	half, other := Key{"half", 2}, Key{"other", 3}
	region := func(base string, whole bool, keys []Key, cells ...int) Region {
		return Region{Base: base, Whole: whole, Keys: keys, Cells: cells}
	}
	a, b, all := units(ints(0, 50)...), units(ints(50, 120)...), units(ints(0, 120)...)
	for _, c := range []struct {
		name string
		sets []Set
		ok   []bool
	}{
		{"cells of a two-code key and their total", []Set{
			{Region: region("w", true, []Key{half}, 0), Units: a}, {Region: region("w", true, []Key{half}, 1), Units: b}, {Region: region("w", true, nil, 0), Units: all},
		}, []bool{true, true, true}},
		{"the same sets by conditions of their own", []Set{
			{Region: region("w", true, []Key{half}, 0), Units: a}, {Region: region("x", false, nil, 0), Units: b},
		}, []bool{true, false}},
		{"one set asked for in two ways", []Set{
			{Region: region("x", false, nil, 0), Units: a}, {Region: region("y", false, nil, 0), Units: a},
		}, []bool{true, false}},
		{"one set asked for in one way", []Set{
			{Region: region("x", false, nil, 0), Units: a}, {Region: region("x", false, nil, 0), Units: a},
		}, []bool{true, true}},
		{"a union by another key", []Set{
			{Region: region("x", false, []Key{half}, 0, 1), Units: a}, {Region: region("x", false, []Key{other}, 0, 1, 2), Units: a},
		}, []bool{true, true}},
		{"part of another key", []Set{
			{Region: region("x", false, []Key{half}, 0, 1), Units: a}, {Region: region("x", false, []Key{other}, 0, 1), Units: a},
		}, []bool{true, false}},
	} {
		ch := NewStore(10).Begin("j", "s", 120, 10)
		for i, set := range c.sets {
			if hit := ch.Try(set); (hit == nil) != c.ok[i] {
				t.Errorf("%s: set %d: %v", c.name, i, hit)
			}
		}
	}
}

func TestR01_CollisionNamesTheEarlierRelease(t *testing.T) {
	s := NewStore(10)
	first := s.Begin("first", "s1", 200, 10)
	if hit := first.Try(Set{Region: Region{Base: "a", Cells: []int{0}}, Units: units(ints(0, 60)...), Values: map[string]uint64{"sum/c": 100}}); hit != nil {
		t.Fatal(hit)
	}
	if s.Begin("meanwhile", "s1", 200, 10) != nil {
		t.Error("two checks are open at once")
	}
	first.Commit()
	try := func(snapshot string, set Set) *Collision {
		c := s.Begin("second", snapshot, 200, 10)
		defer c.Rollback()
		return c.Try(set)
	}
	one := units(ints(0, 61)...)
	for _, snapshot := range []string{"s1", "s2"} {
		if hit := try(snapshot, Set{Region: Region{Base: "b", Cells: []int{0}}, Units: one}); hit == nil || hit.Release != "first" {
			t.Errorf("%s: one unit more: %+v", snapshot, hit)
		}
	}
	// Families do not mix: nothing can be subtracted from a sum of another column.
	if hit := try("s1", Set{Family: "c", Region: Region{Base: "b", Cells: []int{0}}, Units: one}); hit != nil {
		t.Errorf("other family: %+v", hit)
	}
	// The same cell over a refreshed snapshot: unchanged values pass, one changed
	// value is a difference of unknown size.
	same := Set{Region: Region{Base: "a", Cells: []int{0}}, Units: units(ints(0, 60)...), Values: map[string]uint64{"sum/c": 100}}
	if hit := try("s2", same); hit != nil {
		t.Errorf("refreshed, unchanged: %+v", hit)
	}
	same.Values = map[string]uint64{"sum/c": 101}
	if hit := try("s2", same); hit == nil || hit.Release != "first" {
		t.Errorf("refreshed, changed: %+v", hit)
	}
	s.Forget("first")
	if hit := try("s1", Set{Region: Region{Base: "b", Cells: []int{0}}, Units: one}); hit != nil {
		t.Errorf("a release that was never given still collides: %+v", hit)
	}
}

// population draws cells of tables over n units: a grouping into groups, each
// under a random condition on two attributes.
func population(r *rand.Rand, n, groups int) []Set {
	set := make([][]uint64, groups)
	lo, span, other := r.IntN(n), n/4+r.IntN(n/2), r.IntN(8)
	for u := range n {
		at := int(mix(uint64(u)*3+1) % uint64(n))
		if (at-lo+n)%n < span || int(mix(uint64(u)*5+2)%8) == other {
			g := int(mix(uint64(u)*7+3) % uint64(groups))
			set[g] = append(set[g], mix(uint64(u)+77))
		}
	}
	var out []Set
	base := fmt.Sprint(r.Uint64())
	for g, members := range set {
		if len(members) >= 10 {
			out = append(out, Set{Region: Region{Base: base, Keys: []Key{{fmt.Sprint("g", groups), groups}}, Cells: []int{g}}, Units: members})
		}
	}
	return out
}

func processTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCheck is one decision against 100 000 earlier cells over 20 000 units:
// a table of the named number of cells. A cell that passes is searched to the end,
// one that is withheld (hits/cell) until its collision is found.
func BenchmarkCheck(b *testing.B) {
	const n = 20_000
	r := rand.New(rand.NewPCG(1, 1))
	s := NewStore(10)
	for i := 0; s.Len() < 100_000; i++ {
		s.Add(fmt.Sprint(i), "s", population(r, n, []int{1, 9, 21, 21, 60, 189}[r.IntN(6)]))
	}
	for _, groups := range []int{1, 9, 21, 60, 189} {
		b.Run(fmt.Sprint(groups, " cells"), func(b *testing.B) {
			tried, hit, cpu, ops := 0, 0, time.Duration(0), 0
			for b.Loop() {
				b.StopTimer()
				sets := population(r, n, groups)
				b.StartTimer()
				begin := processTime(b)
				c := s.Begin("new", "s", n, 10)
				for _, set := range sets {
					tried++
					if c.Try(set) != nil {
						hit++
					}
				}
				c.Rollback()
				cpu, ops = cpu+processTime(b)-begin, ops+1
			}
			b.ReportMetric(float64(cpu.Microseconds())/1000/float64(ops), "cpu-ms/op") // a busy machine stretches the wall time
			b.ReportMetric(float64(hit)/float64(tried), "hits/cell")
		})
	}
}
