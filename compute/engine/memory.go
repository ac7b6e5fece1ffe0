package engine

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
)

// TooLarge says that the memory for opened snapshots, or the volume for large
// ones, cannot hold something. Its numbers are sizes of files.
type TooLarge struct {
	Need   int64 // bytes
	Limit  int64 // bytes allowed in all; of a volume: bytes free
	InUse  int64 // bytes of Limit that running work holds
	Volume bool  // the volume is full, not memory
}

func (e *TooLarge) Error() string {
	if e.Volume {
		return fmt.Sprintf("the volume for large snapshots is full: %d MiB needed, %d MiB free", mebibytes(e.Need), mebibytes(e.Limit))
	}
	return fmt.Sprintf("snapshot memory is too small: %d MiB needed, %d MiB allowed, %d MiB in use", mebibytes(e.Need), mebibytes(e.Limit), mebibytes(e.InUse))
}

// mebibytes rounds up.
func mebibytes(n int64) int64 { return (n + 1<<20 - 1) >> 20 }

// errClosedStore is the error of work that was waiting when the store closed.
var errClosedStore = errors.New("snapshot store is closed")

// memory keeps opened snapshots in memory files within a limit of bytes. A
// snapshot that a lease pins stays; of the others the one used longest ago goes
// first. It is safe for concurrent use.
type memory struct {
	limit int64

	// turn admits one lease at a time to waiting for room, in the order they
	// came: a small one must not overtake a large one for ever.
	turn chan struct{}

	mu      sync.Mutex
	used    int64
	held    map[string]*resident
	idle    list.List     // of *resident, used longest ago first
	waiting int           // leases that wait for room or for the turn
	room    chan struct{} // closed and replaced when room may have appeared
	closed  bool
}

// resident is a snapshot that memory is set aside for.
type resident struct {
	id   string
	size int64
	pins int
	spot *list.Element // in idle; nil when pinned

	once sync.Once
	file *os.File // nil until loaded
	err  error
	open atomic.Bool // file is there

	// On a volume only: the empty file with its room on the disk.
	reserved sync.Once
	draft    *os.File
	draftErr error
}

func newMemory(limit int64) *memory {
	return &memory{limit: limit, turn: make(chan struct{}, 1), held: map[string]*resident{}, room: make(chan struct{})}
}

// demand is a snapshot that a lease asks for.
type demand struct {
	id   string
	size int64
	kept string // the data set, where it must not leave memory
}

// pin sets memory aside for all of wants at once, so that two leases never hold
// half of what they need and wait for each other. It waits for room until ctx
// ends.
func (m *memory) pin(ctx context.Context, wants []demand) ([]*resident, error) {
	if err := m.fits(wants); err != nil {
		return nil, err
	}
	m.mu.Lock()
	if m.waiting == 0 || m.resident(wants) {
		if got, ok := m.tryPin(wants); ok || m.closed {
			defer m.mu.Unlock()
			return got, m.openError()
		}
	}
	m.waiting++
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.waiting--
		m.mu.Unlock()
	}()
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for {
		m.mu.Lock()
		got, ok := m.tryPin(wants)
		err, room := m.openError(), m.room
		m.mu.Unlock()
		if ok || err != nil {
			return got, err
		}
		select {
		case <-room:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (m *memory) openError() error {
	if m.closed {
		return errClosedStore
	}
	return nil
}

// fits refuses what could never be held, even alone.
func (m *memory) fits(wants []demand) error {
	total, seen := int64(0), map[string]bool{}
	for _, w := range wants {
		if !seen[w.id] {
			seen[w.id] = true
			total += w.size
		}
	}
	if total > m.limit {
		return &TooLarge{Need: total, Limit: m.limit}
	}
	return nil
}

// resident says whether all of wants are pinned by others already: one more pin
// then keeps no memory from who waits. Callers hold the lock.
func (m *memory) resident(wants []demand) bool {
	for _, w := range wants {
		if r, ok := m.held[w.id]; !ok || r.pins == 0 {
			return false
		}
	}
	return true
}

// tryPin pins all of wants or none. Callers hold the lock.
func (m *memory) tryPin(wants []demand) ([]*resident, bool) {
	if m.closed {
		return nil, false
	}
	need, wanted := int64(0), map[string]bool{}
	for _, w := range wants {
		if _, ok := m.held[w.id]; !ok && !wanted[w.id] {
			need += w.size
		}
		wanted[w.id] = true
	}
	spare := m.limit - m.used
	for e := m.idle.Front(); e != nil; e = e.Next() {
		if r := e.Value.(*resident); !wanted[r.id] {
			spare += r.size
		}
	}
	if need > spare {
		return nil, false
	}
	got := make([]*resident, len(wants))
	for i, w := range wants {
		r, ok := m.held[w.id]
		if ok {
			m.take(r)
			got[i] = r
		}
	}
	m.evict(need)
	for i, w := range wants {
		if got[i] != nil {
			continue
		}
		r, ok := m.held[w.id] // named twice
		if !ok {
			r = &resident{id: w.id, size: w.size}
			m.held[w.id] = r
			m.used += w.size
		}
		m.take(r)
		got[i] = r
	}
	return got, true
}

func (m *memory) take(r *resident) {
	r.pins++
	if r.spot != nil {
		m.idle.Remove(r.spot)
		r.spot = nil
	}
}

// evict closes idle snapshots until need bytes are free or none is left. Callers
// hold the lock.
func (m *memory) evict(need int64) {
	for m.limit-m.used < need && m.idle.Len() > 0 {
		r := m.idle.Remove(m.idle.Front()).(*resident)
		delete(m.held, r.id)
		m.used -= r.size
		_ = r.file.Close()
	}
}

// load returns the file of a pinned snapshot; the first caller makes it. A
// snapshot that does not load is forgotten, so that a later lease tries again.
func (m *memory) load(r *resident, open func() (*os.File, error)) (*os.File, error) {
	r.once.Do(func() {
		r.file, r.err = open()
		if r.err != nil {
			m.forget(r)
		}
		r.open.Store(r.err == nil)
	})
	return r.file, r.err
}

// forget lets a later lease make the snapshot anew; who pins r keeps it.
func (m *memory) forget(r *resident) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held[r.id] == r {
		delete(m.held, r.id)
	}
}

// clear drops every snapshot that nobody pins and says whether there was one.
func (m *memory) clear() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	idle := m.idle.Len() > 0
	m.evict(math.MaxInt64)
	m.signal()
	return idle
}

// drop lets go of one snapshot unless it is pinned.
func (m *memory) drop(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.held[id]
	if !ok || r.spot == nil {
		return
	}
	m.idle.Remove(r.spot)
	delete(m.held, id)
	m.used -= r.size
	_ = r.file.Close()
	m.signal()
}

// unpin gives pins back. A snapshot without pins stays while there is room.
func (m *memory) unpin(rs []*resident) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range rs {
		if r.pins--; r.pins > 0 {
			continue
		}
		if r.file != nil && !m.closed {
			r.spot = m.idle.PushBack(r)
			continue
		}
		if m.held[r.id] == r {
			delete(m.held, r.id)
		}
		m.used -= r.size
		switch {
		case r.file != nil:
			_ = r.file.Close()
		case r.draft != nil:
			_ = r.draft.Close()
		}
	}
	m.signal()
}

// signal wakes who waits for room. Callers hold the lock.
func (m *memory) signal() {
	close(m.room)
	m.room = make(chan struct{})
}

// claim sets bytes aside for running work, evicting idle snapshots. It does not
// wait: an ingest cannot be made to pause.
func (m *memory) claim(n int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.evict(n)
	if free := m.limit - m.used; n > free {
		return &TooLarge{Need: n, Limit: m.limit, InUse: m.used}
	}
	m.used += n
	return nil
}

// giveBack ends a claim of n bytes.
func (m *memory) giveBack(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used -= n
	m.signal()
}

// adopt makes an idle snapshot of a memory file whose claim of size bytes the
// caller gives up. It closes the file when the snapshot is there already.
func (m *memory) adopt(id string, file *os.File, size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.held[id]; ok || m.closed {
		m.used -= size
		_ = file.Close()
	} else {
		r := &resident{id: id, size: size, file: file}
		r.once.Do(func() {})
		r.open.Store(true)
		m.held[id] = r
		r.spot = m.idle.PushBack(r)
	}
	m.signal()
}

// close closes every idle snapshot; pinned ones follow with their leases.
func (m *memory) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.evict(math.MaxInt64)
	m.signal()
}
