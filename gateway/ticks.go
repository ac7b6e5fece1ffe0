package gateway

import (
	"context"
	"time"
)

// DefaultTick is the first tick of a gateway whose options name none.
const DefaultTick = 250 * time.Millisecond

// ticks is the grid of instants at which an execution's outcome can be seen: one
// first tick after its start, then at twice that, four times, and so on. How long
// an execution takes may depend on a single person's rows; between two ticks
// nobody can tell, and within a wall clock of w there are only log2(w/first)+1 of
// them. Entries of the ledger, operations, the place in the queue and the memory
// of snapshots all follow the grid. 0 turns it off.
type ticks time.Duration

// after is the first tick not before elapsed.
func (t ticks) after(elapsed time.Duration) time.Duration {
	if t <= 0 {
		return elapsed
	}
	at := time.Duration(t)
	for at < elapsed {
		at *= 2
	}
	return at
}

// quarter is after with three more instants between any two ticks, for what takes
// minutes and mostly follows a public schedule: it waits a quarter longer at most, where
// after may wait as long again.
func (t ticks) quarter(elapsed time.Duration) time.Duration {
	at := t.after(elapsed)
	if t <= 0 || at <= time.Duration(t) {
		return at
	}
	for i := range time.Duration(4) {
		if early := at/2 + (i+1)*at/8; early >= elapsed {
			return early
		}
	}
	return at
}

// failure is the tick at which an execution that failed after elapsed is seen to
// have failed: the one of a time-out, whatever happened and whenever, so that a
// failure's instant says nothing at all. The sixteenth is what a worker's end
// may take.
func (t ticks) failure(elapsed, wall time.Duration) time.Duration {
	if t <= 0 {
		return elapsed
	}
	return t.after(max(elapsed, wall+wall/16))
}

// killSpan is within what a cancelled execution's worker is gone.
const killSpan = 100 * time.Millisecond

// cancelled is the tick at which the seat of an execution that was cancelled at
// elapsed is free again: the same whether its worker had to be killed or had
// ended before.
func (t ticks) cancelled(elapsed time.Duration) time.Duration {
	if t <= 0 {
		return elapsed
	}
	return t.after(elapsed + killSpan)
}

func (t ticks) String() string {
	if t <= 0 {
		return "off"
	}
	return time.Duration(t).String()
}

// pause returns at an instant, or with one of the contexts.
func pause(until time.Time, a, b context.Context) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.Done():
	case <-b.Done():
	}
}
