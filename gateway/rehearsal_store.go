package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// Bounds of what is kept of rehearsals. None of it outlives the gateway.
const (
	keptDraws      = 16      // synthetic snapshots
	keptRehearsals = 32      // of one operator, the last ones
	keptRows       = 200_000 // of an operator's answers, in all
	keptTwins      = 16      // parsed documents
	drawWall       = 10 * time.Minute
	// pendingRehearsals is how many of an operator's draw, wait or run at once.
	pendingRehearsals = 8
	// leastDrawMemory is the least that synthetic snapshots share: an ingest claims
	// 64 MiB beyond what it writes.
	leastDrawMemory = 256 << 20
)

// rehearsals 演练 is everything that operators do on twins: synthetic snapshots in a store
// of their own, under a key that goes with the process, and the state of what was
// answered. Nothing of it comes near the ledger, the releases or the snapshots of the
// data.
type rehearsals struct {
	mu    sync.Mutex
	jobs  map[string]*rehearsal
	order []string              // of jobs, oldest first
	books []*book               // oldest first
	twins map[string]*twin.Twin // by the digest of the document

	store  *engine.Store
	token  []byte // all keys of synthetic rows are derived of it
	drawn  map[string]*draw
	recent []string                 // of draws, the last used last
	making map[string]chan struct{} // draws under way, closed when they end
	held   map[string]int           // snapshots that are looked up and not leased yet
	waits  map[string]bool          // operators that wait for their turn to draw

	drawing chan struct{} // holds the one draw that is under way
}

// TwinRun asks for synthetic rows: so many units, or as many as the twin counts.
type TwinRun struct {
	Units int64
	Seed  string
}

// draw is one data set's synthetic snapshot.
type draw struct {
	dataset, twin string
	snapshot      string
	units, rows   int64
	madeUp        []string
	subjects      engine.Subjects // all of its units, where the data set needs consents
}

// parsed is a twin whose document was read before; nil for any other.
func (r *rehearsals) parsed(digest string) *twin.Twin {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.twins[digest]
}

func (r *rehearsals) keepParsed(digest string, t *twin.Twin) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.twins == nil || len(r.twins) >= keptTwins {
		r.twins = map[string]*twin.Twin{}
	}
	r.twins[digest] = t
}

// checked refuses a request id that is none, and a size or seed that no draw has.
func (r TwinRun) checked(requestID string) error {
	if !requestIDPattern.MatchString(requestID) {
		return invalid("REQUEST_ID", "request_id 必须是 UUID", "request_id must be a UUID")
	}
	if r.Units < 0 || r.Units > syntheticUnits || len(r.Seed) > 64 {
		return errTwinSize()
	}
	return nil
}

// units of a draw from a twin.
func (r TwinRun) units(t *twin.Twin) int64 {
	if r.Units > 0 {
		return r.Units
	}
	return min(max(t.Units, 1), syntheticUnits)
}

// open makes the store at the first use. What an earlier run left there is ciphertext
// under a key that is gone. Call it in the turn to draw.
func (d *Domain) openRehearsals() error {
	r := &d.rehearsed
	if r.opened() != nil {
		return nil
	}
	dir := d.home.Rehearsals()
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("failed to clear synthetic snapshots: %w", err)
	}
	token := make([]byte, 32)
	if _, err := rand.Read(token); err != nil {
		return fmt.Errorf("failed to make the key of synthetic snapshots: %w", err)
	}
	store, err := engine.OpenStore(dir, engine.StoreOptions{Key: rehearsalKey(token, "store"), Memory: max(d.opt.SnapshotMemory/4, leastDrawMemory)})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.store, r.token = store, token
	return nil
}

// opened is the store of synthetic snapshots, nil before the first and after the end.
func (r *rehearsals) opened() *engine.Store {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.store
}

func (r *rehearsals) close() error {
	r.drawing <- struct{}{}
	defer func() { <-r.drawing }()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.store == nil {
		return nil
	}
	err := r.store.Close()
	r.store = nil
	return err
}

func rehearsalKey(token []byte, of string) []byte {
	mac := hmac.New(sha256.New, token)
	mac.Write([]byte(of))
	return mac.Sum(nil)
}

// rehearsalKeys are those of synthetic units and pseudonyms: those of the data are never
// used on a twin. Call it once the store is open.
func (d *Domain) rehearsalKeys(e policies.Entry) ingest.Keys {
	d.rehearsed.mu.Lock()
	token := d.rehearsed.token
	d.rehearsed.mu.Unlock()
	keys := ingestKeysFrom(e, token)
	keys.Consent = rehearsalKey(token, "consent")
	return keys
}

// turn waits for the one turn to draw, until ctx ends. An operator waits once at a time,
// so that nobody's draws are all that others wait for.
func (r *rehearsals) turn(ctx context.Context, operator string) (leave func(), err error) {
	r.mu.Lock()
	if r.waits[operator] {
		r.mu.Unlock()
		return nil, drawsBusy()
	}
	if r.waits == nil {
		r.waits = map[string]bool{}
	}
	r.waits[operator] = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.waits, operator)
		r.mu.Unlock()
	}()
	select {
	case r.drawing <- struct{}{}:
		return func() { <-r.drawing }, nil
	case <-ctx.Done():
		return nil, drawWaited(ctx)
	}
}

// lookUp returns a draw that is kept, held until letGo. Otherwise making is the draw of
// that name under way, to wait for, or nil: then the caller is to make it and to call
// made.
func (r *rehearsals) lookUp(name string) (x *draw, making chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if x = r.drawn[name]; x != nil {
		r.recent = append(slices.DeleteFunc(r.recent, func(n string) bool { return n == name }), name)
		r.hold(x)
		return x, nil
	}
	if making = r.making[name]; making != nil {
		return nil, making
	}
	if r.making == nil {
		r.making = map[string]chan struct{}{}
	}
	r.making[name] = make(chan struct{})
	return nil, nil
}

// made ends the making of a draw and holds it; x is nil when there is none.
func (r *rehearsals) made(name string, x *draw) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.making[name])
	delete(r.making, name)
	if x == nil {
		return
	}
	if r.drawn == nil {
		r.drawn = map[string]*draw{}
	}
	r.drawn[name], r.recent = x, append(r.recent, name)
	r.hold(x)
}

// hold keeps a snapshot from being dropped before it is leased. Call it locked.
func (r *rehearsals) hold(x *draw) {
	if r.held == nil {
		r.held = map[string]int{}
	}
	r.held[x.snapshot]++
}

// letGo ends the hold of a draw, or of nil.
func (r *rehearsals) letGo(x *draw) {
	if x == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held[x.snapshot]--; r.held[x.snapshot] == 0 {
		delete(r.held, x.snapshot)
	}
}

// drawTwin returns a synthetic snapshot of a data set, drawn by itself or as relations tie
// it, from what is kept or drawn anew, held until letGo. It goes through an ingest worker like a department's file. No memory
// is set aside yet: that is for all snapshots of a query at once, see leaseDraws.
func (d *Domain) drawTwin(ctx context.Context, operator, dataset string, run TwinRun, by *tied) (*draw, error) {
	t, digest, err := d.twins(ctx, operator, dataset)
	if err != nil {
		return nil, err
	}
	var e policies.Entry
	d.log.View(func() { e, _ = d.state.Book().Dataset(dataset) })
	r := &d.rehearsed
	units := by.units(run, dataset, t)
	if _, ok := by.table(dataset); !ok {
		by = nil
	}
	// The catalogue is part of the name: hidden columns come and go without the twin.
	name := fmt.Sprintf("%s %s %s %s %d %q", digest, by.digest(), e.SpecDigest(), e.VariantNames(), units, run.Seed)
	for {
		x, making := r.lookUp(name)
		if x != nil {
			return x, nil
		}
		if making == nil {
			break
		}
		select {
		case <-making:
		case <-ctx.Done():
			return nil, drawWaited(ctx)
		}
	}
	leave, err := r.turn(ctx, operator)
	if err != nil {
		r.made(name, nil)
		return nil, err
	}
	defer leave()
	if err = d.openRehearsals(); err != nil {
		r.made(name, nil)
		return nil, err
	}
	d.dropDraws()
	x, err := d.synthesiseInto(ctx, e, t, digest, run.Seed, units, by)
	r.made(name, x)
	return x, err
}

// leaseDraws sets memory aside for all synthetic snapshots of a query at once: taken one
// by one, two queries would hold half of what they need and wait for each other, and
// what can never be held together would wait for itself.
func (d *Domain) leaseDraws(ctx context.Context, draws ...*draw) (*engine.Lease, error) {
	var ids []string
	for _, x := range draws {
		if x != nil {
			ids = append(ids, x.snapshot)
		}
	}
	store := d.rehearsed.opened()
	switch {
	case len(ids) == 0:
		return nil, nil
	case store == nil:
		return nil, errors.New("failed to lease synthetic snapshots: the store is closed")
	}
	lease, err := store.Lease(ctx, ids)
	if err != nil {
		return nil, drawRefused(err)
	}
	return lease, nil
}

// drawOne is drawTwin and leaseDraws of a single data set.
func (d *Domain) drawOne(ctx context.Context, operator, dataset string, run TwinRun) (*draw, *engine.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, drawWall)
	defer cancel()
	x, err := d.drawTwin(ctx, operator, dataset, run, nil)
	if err != nil {
		return nil, nil, err
	}
	defer d.rehearsed.letGo(x)
	lease, err := d.leaseDraws(ctx, x)
	return x, lease, err
}

func (d *Domain) synthesiseInto(ctx context.Context, e policies.Entry, t *twin.Twin, digest, seed string, units int64, by *tied) (*draw, error) {
	s, err := synthesise(e, t)
	if err != nil {
		return nil, err
	}
	var rows rowsOf
	if table, ok := by.table(e.Dataset.ID); ok {
		rows, err = d.tiedRows(ctx, by, table, []byte(seed))
	} else {
		rows, err = alone(t, []byte(seed))
	}
	if err != nil {
		return nil, err
	}
	if err := d.pool.Restart(ctx); err != nil {
		return nil, workersDown()
	}
	keys := d.rehearsalKeys(e)
	pr, pw := io.Pipe()
	written := make(chan error, 1)
	lines := int64(0) // set before written
	go func() {
		var err error
		lines, err = s.write(pw, t, rows, units)
		_ = pw.CloseWithError(err)
		written <- err
	}()
	m, err := engine.IngestVia(ctx, d.pool, d.rehearsed.store, pr, engine.IngestOptions{
		Spec: s.spec, Format: ingest.CSV, Keys: keys, Created: d.opt.Now(), Limits: sandbox.Limits{Wall: drawWall, Memory: d.opt.Memory, Threads: 2},
	})
	_ = pr.CloseWithError(errors.New("the ingest has ended"))
	werr := <-written
	if werr == nil && lines == 0 {
		return nil, errNoRows()
	}
	if err != nil {
		return nil, drawRefused(err)
	}
	if werr != nil {
		return nil, werr
	}
	out := &draw{dataset: e.Dataset.ID, twin: digest, snapshot: m.Snapshot, units: m.Units, rows: m.Rows, madeUp: s.madeUp}
	if s.spec.Consent {
		out.subjects = make(engine.Subjects, 0, units)
		for n := range uint64(units) {
			id, _ := canonicalUnit(string(s.kind), syntheticID(s.kind, n))
			sum := ingest.CommitSubject(keys.Consent, string(s.kind), id)
			out.subjects = append(out.subjects, [engine.SubjectBytes]byte(sum[:engine.SubjectBytes]))
		}
	}
	return out, nil
}

// dropDraws makes room for one more: it removes the synthetic snapshots that were not
// used for longest, and the books of what is gone. Call it in the turn to draw.
func (d *Domain) dropDraws() {
	r := &d.rehearsed
	r.mu.Lock()
	for len(r.recent) >= keptDraws {
		delete(r.drawn, r.recent[0])
		r.recent = r.recent[1:]
	}
	keep := map[string]bool{}
	for _, x := range r.drawn {
		keep[x.snapshot] = true
	}
	for snapshot := range r.held {
		keep[snapshot] = true
	}
	r.dropBooks(keep)
	r.mu.Unlock()
	if _, err := r.store.Prune(keep); err != nil {
		d.opt.Logger.Warn("old synthetic snapshots could not be deleted")
	}
}
