package disclosure

import (
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
)

// Check is the examination of one new release against a store. Sets that pass
// join it at once, so that cells of one table are held against each other; they
// leave with Rollback and stay with Commit.
type Check struct {
	store    *Store
	id       int
	snapshot string
	whole    int
	k        int
	undo     []func()
	sets     []Set
	done     bool
}

// Begin opens the check of a release over a snapshot of whole units with
// threshold k, at most the store's. One check may be open at a time.
func (s *Store) Begin(release, snapshot string, whole, k int) *Check {
	if s.open != nil || k > s.k || k < 2 || whole < 0 {
		return nil
	}
	c := &Check{store: s, id: s.begin(release), snapshot: snapshot, whole: whole, k: k}
	s.open = c
	return c
}

// Sets are those that passed.
func (c *Check) Sets() []Set { return slices.Clone(c.sets) }

// Reset takes out the sets that passed, to try others.
func (c *Check) Reset() {
	for i := len(c.undo) - 1; i >= 0; i-- {
		c.undo[i]()
	}
	c.undo, c.sets = nil, nil
}

// Rollback ends the check without a trace.
func (c *Check) Rollback() {
	if c.done {
		return
	}
	c.Reset()
	c.store.releases[c.id].dead = true
	c.end()
}

// Commit ends the check; its sets stay.
func (c *Check) Commit() {
	if !c.done {
		c.end()
	}
}

func (c *Check) end() { c.done, c.store.open = true, nil }

// Try takes a set in when no combination of it with at most two sets that were
// disclosed before, or of the same table, or with the whole data set, leaves
// fewer than k units. A combination that leaves none is refused too, unless
// public facts alone prove it: that two conditions select the same units is an
// answer about the units in which they could differ.
//
// Over two snapshots a set written alike may hold the same units with other
// values: then someone in it changed, and nobody knows how many.
func (c *Check) Try(set Set) *Collision {
	if c.done {
		return &Collision{}
	}
	p := c.store.probe(&set)
	x := c.store.family(set.Family)
	r := ref{release: c.id, snapshot: c.snapshot, region: set.Region, values: set.Values}
	known := x.equal(p)
	if known < 0 || !slices.ContainsFunc(x.sets[known].refs, func(o ref) bool {
		return !c.store.releases[o.release].dead && o.snapshot == c.snapshot && o.region.same(&r.region)
	}) {
		if hit := c.collides(set.Family, x, p, &r); hit != nil {
			return hit
		}
	}
	id, fresh := x.add(p, r)
	c.undo = append(c.undo, func() {
		if fresh {
			x.pop()
			return
		}
		refs := x.sets[id].refs
		x.sets[id].refs = refs[:len(refs)-1]
	})
	c.sets = append(c.sets, set)
	return nil
}

func (c *Check) collides(family string, x *index, p *probe, r *ref) *Collision {
	if p.card < c.k {
		return &Collision{}
	}
	// Of other families nobody knows the whole.
	if left := c.whole - p.card; family == "" && left < c.k && !(left == 0 && r.region.Whole && vanishes([]int{1, -1}, []*Region{r.region.whole(), &r.region})) {
		return &Collision{}
	}
	if family == "" {
		if hit := c.withWhole(x, p, r); hit != nil {
			return hit
		}
	}
	var hit *Collision
	x.search(p, c.k, func(kind combination, a, b, left int) bool {
		hit = c.judge(x, r, kind, a, b, left)
		return hit != nil
	})
	return hit
}

// withWhole looks for a stored set that with the new one makes up nearly the
// whole snapshot: N + S − U.
func (c *Check) withWhole(x *index, p *probe, r *ref) *Collision {
	for id, card := range x.cards {
		if d := c.whole - p.card - int(card); d >= c.k || d <= -c.k {
			continue
		}
		e := &x.sets[id]
		left := c.whole - p.card - e.card + 2*int(e.bits.AndCardinality(p.bits))
		if left >= c.k {
			continue
		}
		for i := range e.refs {
			o := &e.refs[i]
			if c.store.releases[o.release].dead || o.snapshot != c.snapshot {
				continue
			}
			if left == 0 && r.region.Whole && o.region.Whole && vanishes([]int{1, 1, -1}, []*Region{&r.region, &o.region, r.region.whole()}) {
				continue
			}
			return c.with(o)
		}
	}
	return nil
}

// with names the release of a stored set.
func (c *Check) with(o *ref) *Collision {
	if o.release == c.id {
		return &Collision{}
	}
	return &Collision{Release: c.store.releases[o.release].id}
}

// judge decides on a combination that leaves fewer than k units. Sets live only
// through their references; b is −1 for a pair.
func (c *Check) judge(x *index, r *ref, kind combination, a, b, left int) *Collision {
	if !x.live(a) || b >= 0 && !x.live(b) {
		return nil
	}
	signs := kind.signs()
	others := []ref{{}}
	if b >= 0 {
		others = x.sets[b].refs
	}
	proven := false
	var worst *Collision
	for i := range x.sets[a].refs {
		ra := &x.sets[a].refs[i]
		if c.store.releases[ra.release].dead {
			continue
		}
		for j := range others {
			refs, regions := []*ref{r, ra}, []*Region{&r.region, &ra.region}
			if b >= 0 {
				if c.store.releases[others[j].release].dead {
					continue
				}
				refs, regions = append(refs, &others[j]), append(regions, &others[j].region)
			}
			hit := c.with(ra)
			if hit.Release == "" && b >= 0 {
				hit = c.with(&others[j])
			}
			if left > 0 {
				return hit
			}
			if changed(signs, refs) {
				return hit
			}
			if !proven && vanishes(signs, regions) {
				proven = true
			}
			if worst == nil {
				worst = hit
			}
		}
	}
	if proven {
		return nil
	}
	return worst
}

// changed says that references over several snapshots whose units cancel do not
// cancel in a quantity that all of them tell.
func changed(signs []int, refs []*ref) bool {
	if !slices.ContainsFunc(refs, func(r *ref) bool { return r.snapshot != refs[0].snapshot }) {
		return false
	}
	for name := range refs[0].values {
		sum, all := uint64(0), true
		for i, r := range refs {
			v, ok := r.values[name]
			all = all && ok
			sum += uint64(int64(signs[i])) * v
		}
		if all && sum != 0 {
			return true
		}
	}
	return false
}

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

// search visits every combination of p with one or two stored sets that leaves
// fewer than k units, until visit returns true. N + A and N + A + B leave at
// least N's own and need no search.
func (x *index) search(p *probe, k int, visit func(kind combination, a, b, left int) bool) {
	if x.near(p.sk, p.card, k, func(id int) bool {
		e := &x.sets[id]
		left := p.card + e.card - 2*int(p.bits.AndCardinality(e.bits))
		return left < k && visit(minusA, id, -1, left)
	}) {
		return
	}
	probes := x.probes(p, 3*k)
	x.count(probes)
	// B nearly holds N: it holds all but k−1 of any units of N. Of A and B that
	// nearly make up N, one holds half of them.
	most, half := max(len(probes)-k+1, 1), max((len(probes)-k+2)/2, 1)
	target := make([]uint64, x.blocks)
	for _, id := range x.found {
		e := &x.sets[id]
		if int(x.counts[id]) >= most && e.card > p.card-k {
			for b := range target {
				target[b] = e.sk[b] - p.sk[b]
			}
			if x.near(target, e.card-p.card, k, func(a int) bool {
				if a == int(id) {
					return false
				}
				left := leaves(p.bits, x.sets[a].bits, e.bits, p.card, x.sets[a].card, e.card)
				return left < k && visit(plusAminusB, a, int(id), left)
			}) {
				break
			}
		}
		if int(x.counts[id]) >= half && e.card < p.card+k {
			for b := range target {
				target[b] = p.sk[b] - e.sk[b]
			}
			if x.near(target, p.card-e.card, k, func(a int) bool {
				if a == int(id) {
					return false
				}
				left := leaves(x.sets[a].bits, e.bits, p.bits, x.sets[a].card, e.card, p.card)
				return left < k && visit(minusBoth, int(id), a, left)
			}) {
				break
			}
		}
	}
	for _, id := range x.found {
		x.counts[id] = 0
	}
	x.found = x.found[:0]
}

// leaves is the number of units where a + b − c is not zero.
func leaves(a, b, c *roaring.Bitmap, na, nb, nc int) int {
	ac := roaring.And(a, c)
	abc := int(ac.AndCardinality(b))
	return na + nb + nc - int(a.AndCardinality(b)) - 2*int(ac.GetCardinality()) - 2*int(b.AndCardinality(c)) + 3*abc
}

// probes picks up to n units of the set that stand in few stored sets.
func (x *index) probes(p *probe, n int) []uint32 {
	step := max(len(p.ords)/(4*n), 1)
	type rare struct {
		ord uint32
		n   int
	}
	var some []rare
	for i := 0; i < len(p.ords); i += step {
		o := p.ords[i]
		r := rare{ord: o}
		if int(o) < len(x.rows) && x.rows[o] != nil {
			r.n = int(x.rows[o].GetCardinality())
		}
		some = append(some, r)
	}
	slices.SortFunc(some, func(a, b rare) int { return a.n - b.n })
	var out []uint32
	for _, r := range some[:min(n, len(some))] {
		out = append(out, r.ord)
	}
	return out
}

// count tallies how many of the units each stored set holds.
func (x *index) count(units []uint32) {
	var buf [256]uint32
	for _, o := range units {
		if int(o) >= len(x.rows) || x.rows[o] == nil {
			continue
		}
		it := x.rows[o].ManyIterator()
		for n := it.NextMany(buf[:]); n > 0; n = it.NextMany(buf[:]) {
			for _, id := range buf[:n] {
				if x.counts[id]++; x.counts[id] == 1 {
					x.found = append(x.found, id)
				}
			}
		}
	}
}

// near visits stored sets whose sketch differs from target in fewer than k
// blocks. Of any k blocks one agrees, so the chains of k blocks hold them all; a
// block without a chain costs nothing. card is the number of units the sets must
// have, give or take: each unit that is left counts at most twice.
func (x *index) near(target []uint64, card, k int, visit func(id int) bool) bool {
	var chains [MaxK + 8]struct {
		posting
		block int
	}
	n, none := 0, 0
	for b, sum := range target {
		h, ok := x.chain(b, sum)
		if !ok {
			if none++; none >= k {
				return false
			}
			continue
		}
		chains[n].posting, chains[n].block = h, b
		n++
	}
	list := chains[:n]
	if n > 1 {
		slices.SortFunc(list, func(a, b struct {
			posting
			block int
		}) int {
			return int(a.n) - int(b.n)
		})
	}
	for i := 0; i < n && i+none < k; i++ {
		for id := list[i].head; id != 0; id = x.next[int(id-1)*x.blocks+list[i].block] {
			if d := int(x.cards[id-1]) - card; d > 2*(k-1) || d < -2*(k-1) {
				continue
			}
			differ, first := 0, true
			e := &x.sets[id-1]
			for b, sum := range target {
				if e.sk[b] != sum {
					if differ++; differ >= k {
						break
					}
				}
			}
			for _, earlier := range list[:i] {
				first = first && e.sk[earlier.block] != target[earlier.block]
			}
			if differ < k && first && visit(int(id-1)) {
				return true
			}
		}
	}
	return false
}
