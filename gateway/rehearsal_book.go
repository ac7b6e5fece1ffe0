package gateway

import (
	"slices"
	"sync"

	"github.com/sandgate/sandgate/compute/disclosure"
)

// Bounds of the books of exact mode. A book holds every unit of every cell in memory.
const (
	keptBooks     = 64        // of all operators
	keptOwnBooks  = 4         // of one
	bookReleases  = 64        // of one book, before it starts anew
	exactUnits    = 2_000_000 // of the snapshots of an operator's books, and of a draw
	allExactUnits = 4 * exactUnits
)

// book holds one operator's rehearsed releases in exact mode from one snapshot against
// each other.
type book struct {
	operator, snapshot string
	units, uses        int

	mu    sync.Mutex
	store *disclosure.Store
}

// bookOf is an operator's book of a snapshot of so many units, for thresholds up to k.
// One that is full starts anew and one that is old goes, and with it what it held: a
// rehearsal protects nobody.
func (r *rehearsals) bookOf(operator, snapshot string, k, units int) *book {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.books, func(b *book) bool { return b.operator == operator && b.snapshot == snapshot })
	if i >= 0 && r.books[i].store.K() >= k && r.books[i].uses < bookReleases {
		r.books[i].uses++
		return r.books[i]
	}
	if i >= 0 {
		r.books = slices.Delete(r.books, i, i+1)
	}
	b := &book{operator: operator, snapshot: snapshot, units: units, uses: 1, store: disclosure.NewStore(k)}
	r.books = append(r.books, b)
	own, ownUnits, allUnits := 0, 0, 0
	for i, x := range slices.Backward(slices.Clone(r.books)) {
		allUnits += x.units
		if x.operator == operator {
			own++
			ownUnits += x.units
		}
		full := x.operator == operator && (own > keptOwnBooks || ownUnits > exactUnits)
		if x != b && (full || allUnits > allExactUnits || len(r.books) > keptBooks && i == 0) {
			r.books = slices.DeleteFunc(r.books, func(y *book) bool { return y == x })
		}
	}
	return b
}

// dropBooks lets go of the books of snapshots that are gone. Call it locked.
func (r *rehearsals) dropBooks(keep map[string]bool) {
	r.books = slices.DeleteFunc(r.books, func(b *book) bool { return !keep[b.snapshot] })
}
