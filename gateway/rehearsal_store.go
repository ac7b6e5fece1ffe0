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

	"github.com/sandgate/sandgate/compute/disclosure"
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
	keptBooks      = 64      // of differencing, of all operators
	keptTwins      = 16      // parsed documents
	drawWall       = 10 * time.Minute
)

// rehearsals 演练 is everything that operators do on twins: synthetic snapshots in a store
// of their own, under a key that goes with the process, and the state of what was
// answered. Nothing of it comes near the ledger, the releases or the snapshots of the
// data.
type rehearsals struct {
	mu    sync.Mutex
	jobs  map[string]*rehearsal
	order []string // of jobs, oldest first
	books map[string]*book
	aged  []string              // of books, oldest first
	twins map[string]*twin.Twin // by the digest of the document

	drawing sync.Mutex // one draw at a time; guards the rest
	store   *engine.Store
	token   []byte
	drawn   map[string]*draw
	recent  []string // of draws, the last used last
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

// book holds one operator's rehearsed releases in exact mode from one snapshot against
// each other.
type book struct {
	mu    sync.Mutex
	store *disclosure.Store
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

func errTwinSize() error {
	return invalid("TWIN_SIZE", fmt.Sprintf("合成单元数须在 1 到 %d 之间，种子至多 64 字节", syntheticUnits), fmt.Sprintf("the number of synthetic units is 1 to %d and a seed has 64 bytes at most", syntheticUnits))
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
// under a key that is gone.
func (d *Domain) openRehearsals() error {
	r := &d.rehearsed
	if r.store != nil {
		return nil
	}
	dir := d.home.Rehearsals()
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("failed to clear synthetic snapshots: %w", err)
	}
	key, token := make([]byte, 32), make([]byte, 32)
	for _, b := range [][]byte{key, token} {
		if _, err := rand.Read(b); err != nil {
			return fmt.Errorf("failed to make the key of synthetic snapshots: %w", err)
		}
	}
	store, err := engine.OpenStore(dir, engine.StoreOptions{Key: key, Memory: max(d.opt.SnapshotMemory/4, 1<<20)})
	if err != nil {
		return err
	}
	r.store, r.token, r.drawn = store, token, map[string]*draw{}
	return nil
}

func (r *rehearsals) close() error {
	r.drawing.Lock()
	defer r.drawing.Unlock()
	if r.store == nil {
		return nil
	}
	err := r.store.Close()
	r.store = nil
	return err
}

// keys of synthetic units and pseudonyms: those of the data are never used on a twin.
func (d *Domain) rehearsalKeys(e policies.Entry) ingest.Keys {
	keys := ingestKeysFrom(e, d.rehearsed.token)
	mac := hmac.New(sha256.New, d.rehearsed.token)
	mac.Write([]byte("consent"))
	keys.Consent = mac.Sum(nil)
	return keys
}

// drawTwin returns a synthetic snapshot of a data set and a lease of it, from what is
// kept or drawn anew. It goes through an ingest worker like a department's file.
func (d *Domain) drawTwin(ctx context.Context, operator, dataset string, run TwinRun) (*draw, *engine.Lease, error) {
	t, digest, err := d.twins(ctx, operator, dataset)
	if err != nil {
		return nil, nil, err
	}
	var e policies.Entry
	d.log.View(func() { e, _ = d.state.Book().Dataset(dataset) })
	r := &d.rehearsed
	r.drawing.Lock()
	defer r.drawing.Unlock()
	if err := d.openRehearsals(); err != nil {
		return nil, nil, err
	}
	units := run.units(t)
	// The catalogue is part of the name: hidden columns come and go without the twin.
	name := fmt.Sprintf("%s %s %s %d %q", digest, e.SpecDigest(), e.VariantNames(), units, run.Seed)
	x := r.drawn[name]
	if x == nil {
		if x, err = d.synthesiseInto(ctx, e, t, digest, run.Seed, units); err != nil {
			return nil, nil, err
		}
		r.drawn[name] = x
	}
	r.recent = append(slices.DeleteFunc(r.recent, func(n string) bool { return n == name }), name)
	lease, err := r.store.Lease(ctx, []string{x.snapshot})
	if err != nil {
		return nil, nil, leaseRefused(err)
	}
	d.dropDraws()
	return x, lease, nil
}

func (d *Domain) synthesiseInto(ctx context.Context, e policies.Entry, t *twin.Twin, digest, seed string, units int64) (*draw, error) {
	s, err := synthesise(e, t)
	if err != nil {
		return nil, err
	}
	if err := d.pool.Restart(ctx); err != nil {
		return nil, workersDown()
	}
	keys := d.rehearsalKeys(e)
	pr, pw := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := s.write(pw, t, []byte(seed), units)
		_ = pw.CloseWithError(err)
		written <- err
	}()
	m, err := engine.IngestVia(ctx, d.pool, d.rehearsed.store, pr, engine.IngestOptions{
		Spec: s.spec, Format: ingest.CSV, Keys: keys, Created: d.opt.Now(), Limits: sandbox.Limits{Wall: drawWall, Memory: d.opt.Memory, Threads: 2},
	})
	_ = pr.CloseWithError(errors.New("the ingest has ended"))
	werr := <-written
	if err != nil {
		return nil, ingestRefused(err)
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

// dropDraws removes the synthetic snapshots that were not used for longest.
func (d *Domain) dropDraws() {
	r := &d.rehearsed
	for len(r.recent) > keptDraws {
		delete(r.drawn, r.recent[0])
		r.recent = r.recent[1:]
	}
	keep := map[string]bool{}
	for _, x := range r.drawn {
		keep[x.snapshot] = true
	}
	if _, err := r.store.Prune(keep); err != nil {
		d.opt.Logger.Warn("old synthetic snapshots could not be deleted")
	}
}

// bookOf is an operator's book of a snapshot, for thresholds up to k. One that is full
// age goes, and with it what it held: a rehearsal protects nobody.
func (r *rehearsals) bookOf(operator, snapshot string, k int) *book {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := operator + "\x00" + snapshot
	b := r.books[name]
	if b != nil && b.store.K() >= k {
		return b
	}
	if r.books == nil {
		r.books = map[string]*book{}
	}
	if b == nil {
		if r.aged = append(r.aged, name); len(r.aged) > keptBooks {
			delete(r.books, r.aged[0])
			r.aged = r.aged[1:]
		}
	}
	b = &book{store: disclosure.NewStore(k)}
	r.books[name] = b
	return b
}
