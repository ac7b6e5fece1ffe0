package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// mostOrders of one round: a clock that jumps must not fill the ledger at once. The
// next round gives the rest.
const mostOrders = 100

// rounds says when standing orders are held against the ledger again: when it grew,
// and at the heartbeat's pace, since time alone meets some conditions.
type rounds struct {
	size uint64
	at   time.Time
}

func (r *rounds) due(size uint64, at time.Time, pace time.Duration) bool {
	if size == r.size && at.Sub(r.at) < pace && !at.Before(r.at) {
		return false
	}
	r.size, r.at = size, at
	return true
}

// carryOut gives every order that a signed standing order calls for. An order and the
// failures of the jobs that it stops are one append, as with an order that a party
// signs itself: see enforce.
func (d *Domain) carryOut(ctx context.Context) error {
	for range mostOrders {
		found := false
		d.log.View(func() { found = len(d.state.Due(d.instant())) > 0 })
		if !found {
			return nil
		}
		_, err := d.endJobs(ctx, func(e *entry.Entry) (*policies.Book, error) {
			v, next, err := d.state.NextOrdered(e.Time())
			if err != nil {
				return nil, err
			}
			e.Kind, e.Actor, e.Ordered = entry.KindOrdered, "gateway", &v
			return next, nil
		})
		if errors.Is(err, state.ErrNotCalledFor) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
