package disclosure

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// told is one set that a release disclosed, as the reference keeps it: members as
// a truth value per unit, nothing prepared, nothing searched for.
type told struct {
	release string
	set     Set
	ref     ref
	in      []bool
	name    string // the members' numbers, written out
}

// history is the reference: the definition of Try spelt out over all sets, all
// pairs of sets and all signs, unit by unit.
type history struct {
	told []told
	dead map[string]bool
}

// remains counts the units where Σ signs·sets is not zero, up to k.
func remains(k int, signs []int, sets [][]bool) int {
	n := 0
	for u := range sets[0] {
		sum := 0
		for i, s := range sets {
			if s[u] {
				sum += signs[i]
			}
		}
		if sum != 0 {
			if n++; n == k {
				break
			}
		}
	}
	return n
}

// refuses is the verdict on one more set over a snapshot with these units.
func (h *history) refuses(t *told, whole []bool, k int) bool {
	type distinct struct {
		in   []bool
		refs []*told
	}
	var sets []distinct
	known := map[string]int{}
	for i := range h.told {
		o := &h.told[i]
		if h.dead[o.release] || o.set.Family != t.set.Family {
			continue
		}
		if o.ref.snapshot == t.ref.snapshot && o.ref.region.same(&t.ref.region) && o.name == t.name {
			return false // asked and answered
		}
		at, ok := known[o.name]
		if !ok {
			at, sets = len(sets), append(sets, distinct{in: o.in})
			known[o.name] = at
		}
		sets[at].refs = append(sets[at].refs, o)
	}
	if remains(k, []int{1}, [][]bool{t.in}) < k {
		return true
	}
	all := t.ref.region.whole()
	if t.set.Family == "" {
		if n := remains(k, []int{1, -1}, [][]bool{t.in, whole}); n < k && !(n == 0 && t.set.Region.Whole && vanishes([]int{1, -1}, []*Region{all, &t.set.Region})) {
			return true
		}
		for i := range h.told {
			o := &h.told[i]
			if h.dead[o.release] || o.set.Family != "" || o.ref.snapshot != t.ref.snapshot {
				continue
			}
			for _, sign := range []int{1, -1} {
				if n := remains(k, []int{1, sign, -1}, [][]bool{t.in, o.in, whole}); n < k && !(sign == 1 && n == 0 && t.set.Region.Whole && o.set.Region.Whole &&
					vanishes([]int{1, 1, -1}, []*Region{&t.set.Region, &o.set.Region, all})) {
					return true
				}
			}
		}
	}
	ways, nobody := [][]int{{1, -1, -1}, {1, 1, -1}, {1, 1, 1}}, []*told{nil}
	for i, a := range sets {
		for j := -1; j < len(sets); j++ {
			if j == i {
				continue
			}
			b := distinct{refs: nobody}
			lists := [][]bool{t.in, a.in}
			if j >= 0 {
				b = sets[j]
				lists = [][]bool{t.in, a.in, b.in}
			}
			for _, signs := range ways {
				n := remains(k, signs, lists)
				if n >= k {
					continue
				}
				proven := false
				for _, ra := range a.refs {
					for _, rb := range b.refs {
						refs, regions := []*ref{&t.ref, &ra.ref}, []*Region{&t.set.Region, &ra.set.Region}
						if rb != nil {
							refs, regions = append(refs, &rb.ref), append(regions, &rb.set.Region)
						}
						if n > 0 || changed(signs[:len(refs)], refs) {
							return true
						}
						proven = proven || vanishes(signs[:len(refs)], regions)
					}
				}
				if !proven {
					return true
				}
			}
		}
	}
	return false
}

// world draws releases as tables have them: units with two keys, conditions that
// are near to earlier ones, cells and margins, two families, two snapshots.
type world struct {
	r      *rand.Rand
	n, k   int
	snaps  [][]bool
	values [][]uint64 // by snapshot
	bases  []base
	keys   []Key
	of     [][]int // code of each key by unit
	past   [][]bool
}

type base struct {
	name  string
	in    []bool
	whole bool
}

func newWorld(r *rand.Rand) *world {
	w := &world{r: r, n: 24 + r.IntN(100), k: 2 + r.IntN(5)}
	if r.IntN(24) == 0 {
		w.n = 500 + r.IntN(1500) // sets of which the probes are a small part
	}
	all := make([]bool, w.n)
	for u := range all {
		all[u] = true
	}
	first := make([]uint64, w.n)
	for u := range first {
		first[u] = r.Uint64N(1000)
	}
	w.snaps, w.values = [][]bool{all}, [][]uint64{first}
	if r.IntN(2) == 0 {
		second, changed := slices.Clone(all), slices.Clone(first)
		for range r.IntN(2 * w.k) {
			w.snaps[0][r.IntN(w.n)] = false
			second[r.IntN(w.n)] = false
		}
		for range r.IntN(3) {
			changed[r.IntN(w.n)]++
		}
		w.snaps, w.values = append(w.snaps, second), append(w.values, changed)
	}
	for i, size := range []int{2 + r.IntN(2), 2 + r.IntN(3)} {
		w.keys = append(w.keys, Key{fmt.Sprint("key", i), size})
		code := make([]int, w.n)
		for u := range code {
			code[u] = r.IntN(size)
		}
		w.of = append(w.of, code)
	}
	w.bases = []base{{name: "whole", in: all, whole: true}}
	return w
}

// condition is a new one, or one made from sets that were disclosed and spoilt.
func (w *world) condition() base {
	if w.r.IntN(3) == 0 {
		return w.bases[w.r.IntN(len(w.bases))]
	}
	in := make([]bool, w.n)
	p := w.r.Float64()
	var a, b []bool
	if len(w.past) > 1 {
		a, b = w.past[w.r.IntN(len(w.past))], w.past[w.r.IntN(len(w.past))]
	}
	kind := w.r.IntN(5)
	for u := range in {
		switch {
		case a == nil || kind == 0:
			in[u] = w.r.Float64() < p
		case kind == 1:
			in[u] = !a[u]
		case kind == 2:
			in[u] = a[u] || b[u]
		case kind == 3:
			in[u] = a[u] && !b[u]
		default:
			in[u] = a[u]
		}
	}
	for range w.r.IntN(2 * w.k) {
		u := w.r.IntN(w.n)
		in[u] = !in[u]
	}
	made := base{name: fmt.Sprint("b", len(w.bases)), in: in}
	w.bases = append(w.bases, made)
	return made
}

// table draws the sets of one release over snapshot s.
func (w *world) table(release string, s int) (out []*told) {
	b := w.condition()
	family := []string{"", "", "", "column"}[w.r.IntN(4)]
	use := w.r.IntN(4) // which keys
	var keys []Key
	size := 1
	for i, k := range w.keys {
		if use>>i&1 == 1 {
			keys, size = append(keys, k), size*k.Size
		}
	}
	var cells [][]int
	for c := range size {
		cells = append(cells, []int{c})
	}
	for range w.r.IntN(3) { // margins
		var some []int
		for c := range size {
			if w.r.IntN(2) == 0 {
				some = append(some, c)
			}
		}
		if len(some) > 1 {
			cells = append(cells, some)
		}
	}
	for _, list := range cells {
		t := &told{release: release, in: make([]bool, w.n)}
		sum := uint64(0)
		var members []int
		for u := range w.n {
			cell := 0
			for i, k := range w.keys {
				if use>>i&1 == 1 {
					cell = cell*k.Size + w.of[i][u]
				}
			}
			if b.in[u] && w.snaps[s][u] && slices.Contains(list, cell) && (family == "" || u%11 != 0) {
				t.in[u] = true
				sum += w.values[s][u]
				members = append(members, u)
			}
		}
		t.name = fmt.Sprint(members)
		if len(members) > 0 && w.r.IntN(4) == 0 {
			members = append(members, members[0]) // a unit that is named twice
		}
		w.r.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		t.set = Set{Family: family, Region: Region{Base: b.name + family, Whole: b.whole && family == "", Keys: keys, Cells: list}, Units: units(members...)}
		if w.r.IntN(2) == 0 {
			t.set.Values = map[string]uint64{"sum": sum}
		}
		t.ref = ref{snapshot: fmt.Sprint("s", s), region: t.set.Region, values: t.set.Values}
		out = append(out, t)
	}
	return out
}

// Property: whatever the history of releases, given, rolled back, reset, forgotten
// and read in again by a store of another size, Try says what the reference says.
func TestR01_HistoriesAgainstReference(t *testing.T) {
	yes, no, restarts, largest := 0, 0, 0, 0
	for round := range 2000 {
		w := newWorld(rand.New(rand.NewPCG(uint64(round), 9)))
		r, h, store := w.r, &history{dead: map[string]bool{}}, NewStore(w.k)
		steps := 3 + r.IntN(6)
		if round%100 == 0 {
			steps = 40
		}
		for step := range steps {
			release := fmt.Sprint("r", step)
			s := r.IntN(len(w.snaps))
			whole := 0
			for _, in := range w.snaps[s] {
				if in {
					whole++
				}
			}
			k := w.k - r.IntN(w.k-1)
			c := store.Begin(release, fmt.Sprint("s", s), whole, k)
			before := len(h.told)
			for _, next := range w.table(release, s) {
				want := h.refuses(next, w.snaps[s], k)
				if hit := c.Try(next.set); (hit != nil) != want {
					t.Fatalf("round %d step %d, %d units, k %d of %d, %d sets before: %v, want refused %v", round, step, w.n, k, w.k, len(h.told), hit, want)
				}
				if want {
					yes++
				} else {
					no++
					h.told = append(h.told, *next)
				}
				if r.IntN(30) == 0 {
					c.Reset()
					h.told = h.told[:before]
				}
			}
			if r.IntN(4) == 0 {
				c.Rollback()
				h.told = h.told[:before]
			} else {
				c.Commit()
			}
			for _, o := range h.told[before:] {
				w.past = append(w.past, o.in)
			}
			if r.IntN(12) == 0 {
				lost := fmt.Sprint("r", r.IntN(step+1))
				store.Forget(lost)
				h.dead[lost] = true
			}
			if r.IntN(12) == 0 { // a restart, with another k
				restarts++
				store = NewStore(w.k + r.IntN(4))
				for i := range h.told {
					if o := &h.told[i]; !h.dead[o.release] {
						store.Add(o.release, o.ref.snapshot, []Set{o.set})
					}
				}
			}
		}
		largest = max(largest, store.Len())
	}
	t.Log(yes, "refused,", no, "passed,", restarts, "restarts, at most", largest, "sets")
	if yes < 10_000 || no < 10_000 || restarts < 200 || largest < 80 {
		t.Errorf("one-sided draw: %d refused, %d passed, %d restarts, at most %d sets", yes, no, restarts, largest)
	}
}
