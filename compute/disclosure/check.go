package disclosure

import "slices"

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

func (c *Check) end() {
	c.done, c.store.open = true, nil
	c.store.settle()
}

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
// whole snapshot: N + S − U. Its cardinality is what is missing, give or take.
func (c *Check) withWhole(x *index, p *probe, r *ref) *Collision {
	var some []int
	for card := c.whole - p.card - c.k + 1; card < c.whole-p.card+c.k; card++ {
		for id := x.sized[int32(card)]; id != 0; id = x.alike[id-1] {
			some = append(some, int(id-1))
		}
	}
	slices.Sort(some)
	for _, id := range some {
		e := &x.sets[id]
		left := c.whole - p.card - int(x.cards[id]) + 2*int(e.bits.AndCardinality(p.bits))
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
