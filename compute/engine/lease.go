package engine

import (
	"bytes"
	"cmp"
	"context"
	"os"
	"slices"
	"sync"
)

// Lease is a set of snapshots that memory, or room on the volume for large ones,
// is set aside for. While it lasts none of them is evicted or pruned.
type Lease struct {
	store     *Store
	ids       []string
	manifests []Manifest
	held      []place  // one for each manifest
	keys      [][]byte // one for each manifest; nil where it was open before
	once      sync.Once
}

// place is where one snapshot of a lease is opened.
type place struct {
	*resident
	shelf *memory
}

// Lease sets memory aside for snapshots, in the order given, without reading
// their data. It waits for other leases to end until ctx ends. Of snapshots that
// do not fit into memory together the largest go to the store's volume, if it has
// one, but for confined ones. The error is *TooLarge when they can never be held
// together, or when the volume is full now, and *Confined when they could be held on
// the volume only and may not. Release must be called.
func (s *Store) Lease(ctx context.Context, ids []string) (*Lease, error) {
	s.refer(ids, 1)
	l := &Lease{store: s, ids: slices.Clone(ids)}
	if err := l.hold(ctx); err != nil {
		l.Release()
		return nil, err
	}
	return l, nil
}

func (l *Lease) hold(ctx context.Context) (err error) {
	s := l.store
	var wants []demand
	if l.manifests, wants, err = s.demands(l.ids); err != nil {
		return err
	}
	large := s.large(wants)
	s.evacuate(l.manifests)
	if err := s.fits(wants, large); err != nil {
		return err
	}
	var small, big []demand
	for _, w := range wants {
		if large[w.id] {
			big = append(big, w)
		} else {
			small = append(small, w)
		}
	}
	inMemory, err := s.memory.pin(ctx, small)
	if err != nil {
		return err
	}
	var onVolume []*resident
	if len(big) > 0 {
		if onVolume, err = s.volume.shelf.pin(ctx, big); err != nil {
			s.memory.unpin(inMemory)
			return err
		}
	}
	for _, w := range wants {
		if large[w.id] {
			l.held = append(l.held, place{onVolume[0], s.volume.shelf})
			onVolume = onVolume[1:]
		} else {
			l.held = append(l.held, place{inMemory[0], s.memory})
			inMemory = inMemory[1:]
		}
	}
	for _, p := range l.held {
		if p.shelf != s.memory {
			if err := s.volume.reserve(p.resident); err != nil {
				return err
			}
		}
	}
	// Keys are had before anything is charged: when their holder is away, what is
	// open can be used and nothing else.
	l.keys = make([][]byte, len(l.held))
	for i, p := range l.held {
		if p.open.Load() {
			continue
		}
		id := l.manifests[i].Snapshot
		key, err := s.dataKey(ctx, id, s.path("snapshots", id))
		if err != nil {
			return err
		}
		l.keys[i] = bytes.Clone(key)
	}
	return nil
}

// Fits returns *TooLarge or *Confined when snapshots can never be held together.
func (s *Store) Fits(ids []string) error {
	_, wants, err := s.demands(ids)
	if err != nil {
		return err
	}
	return s.fits(wants, s.large(wants))
}

// large says which of wants are to be opened on the volume: none while they fit
// into memory together, then the largest first of those that may leave it.
func (s *Store) large(wants []demand) map[string]bool {
	if s.volume == nil {
		return nil
	}
	sorted := slices.Clone(wants)
	slices.SortFunc(sorted, func(a, b demand) int { return cmp.Or(cmp.Compare(b.size, a.size), cmp.Compare(a.id, b.id)) })
	sorted = slices.CompactFunc(sorted, func(a, b demand) bool { return a.id == b.id })
	total := int64(0)
	for _, w := range sorted {
		total += w.size
	}
	out := map[string]bool{}
	for _, w := range sorted {
		if total <= s.memory.limit {
			break
		}
		if w.kept != "" {
			continue
		}
		out[w.id] = true
		total -= w.size
	}
	return out
}

func (s *Store) demands(ids []string) ([]Manifest, []demand, error) {
	var manifests []Manifest
	var wants []demand
	for _, id := range ids {
		m, err := s.Manifest(id)
		if err != nil {
			return nil, nil, err
		}
		manifests = append(manifests, m)
		w := demand{id: id, size: pages(m.Data)}
		if s.kept(m.Dataset) {
			w.kept = m.Dataset
		}
		wants = append(wants, w)
	}
	return manifests, wants, nil
}

// Open returns the snapshots as read-only files without a name and their
// manifests, decrypting what is not open yet. The files are shared and belong to
// the lease: reopen them, do not close them.
func (l *Lease) Open() ([]*os.File, []Manifest, error) {
	files := make([]*os.File, len(l.held))
	for i, p := range l.held {
		f, err := p.shelf.load(p.resident, func() (*os.File, error) { return l.store.decrypt(l.manifests[i], l.keys[i], p.draft) })
		if err != nil {
			return nil, nil, err
		}
		files[i] = f
	}
	return files, l.manifests, nil
}

// Release lets the snapshots go. It may be called more than once, and on nil.
func (l *Lease) Release() {
	if l == nil {
		return
	}
	l.once.Do(func() {
		for _, key := range l.keys {
			clear(key)
		}
		for _, p := range l.held {
			p.shelf.unpin([]*resident{p.resident})
		}
		l.store.evacuate(l.manifests)
		l.store.refer(l.ids, -1)
	})
}

// refer counts the leases that name a snapshot, from before they read its
// manifest: what is counted is not pruned.
func (s *Store) refer(ids []string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if s.leased[id] += n; s.leased[id] == 0 {
			delete(s.leased, id)
			close(s.freed)
			s.freed = make(chan struct{})
		}
	}
}
