package sandbox

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// ErrBusy says that as many jobs wait as may. Nothing was started.
var ErrBusy = errors.New("too many jobs are waiting; try again later · 排队作业已满，请稍后再试")

// Defaults of Config, generous: they bound what a flood of jobs costs, not what a
// gateway may do.
const (
	defaultJobs  = 64
	defaultQueue = 1024
)

// queue lets a bounded number of jobs run, first come, first served. A job whose
// owner is at its limit is passed over until one of that owner's ends.
type queue struct {
	jobs, perOwner, room, roomPerOwner int

	mu       sync.Mutex
	running  int
	owners   map[string]int // running, by owner
	pending  int            // admitted and not running
	pendings map[string]int // the same, by owner
	waiting  []*Ticket      // those of the pending that ask for a seat
	closed   chan struct{}
}

// Ticket is admission to a pool: room that is set aside for one job before
// anything is paid for it. A ticket's holder waits for a seat as long as there
// are others, and is never told ErrBusy. Close must follow.
type Ticket struct {
	q     *queue
	owner string
	turn  chan struct{} // closed when the job may run
	moved chan struct{} // holds a token when the queue has changed

	// Guarded by q.mu.
	state ticketState
}

type ticketState int

const (
	admitted ticketState = iota
	seated
	closed
)

func newQueue(cfg Config) *queue {
	q := &queue{
		jobs: cfg.Jobs, perOwner: cfg.PerOwner, room: cfg.Queue, roomPerOwner: cfg.QueuePerOwner,
		owners: map[string]int{}, pendings: map[string]int{}, closed: make(chan struct{}),
	}
	if q.jobs <= 0 {
		q.jobs = defaultJobs
	}
	if q.perOwner <= 0 {
		q.perOwner = q.jobs
	}
	if q.room <= 0 {
		q.room = defaultQueue
	}
	if q.roomPerOwner <= 0 {
		q.roomPerOwner = q.room
	}
	return q
}

// admit sets room aside, or answers ErrBusy or errPoolClosed.
func (q *queue) admit(owner string) (*Ticket, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-q.closed:
		return nil, errPoolClosed
	default:
	}
	full := q.pending >= q.room+max(0, q.jobs-q.running)
	if owner != "" {
		full = full || q.pendings[owner] >= q.roomPerOwner+max(0, q.perOwner-q.owners[owner])
	}
	if full {
		return nil, ErrBusy
	}
	q.pending++
	if owner != "" {
		q.pendings[owner]++
	}
	return &Ticket{q: q, owner: owner, turn: make(chan struct{}), moved: make(chan struct{}, 1)}, nil
}

// Wait returns when the job may run; it is then counted as running until Close.
// queued, which may be nil, is told the place in the queue, 1 being next, when
// there is a wait and whenever it changes. The error is *ErrKilled when ctx
// ended first, or that the pool is closed; the ticket is closed then. Only one
// goroutine may wait; once seated it returns at once.
func (t *Ticket) Wait(ctx context.Context, queued func(position int)) error {
	t.q.line(t)
	last := 0
	for {
		select {
		case <-t.turn:
			return nil
		default:
		}
		at := t.Position()
		if queued != nil && at > 0 && at != last {
			last = at
			queued(at)
		}
		if at == 0 && t.ended() {
			return &ErrKilled{CauseCancelled}
		}
		select {
		case <-t.turn:
			return nil
		case <-t.moved:
		case <-ctx.Done():
			t.Close()
			return &ErrKilled{CauseCancelled}
		case <-t.q.closed:
			t.Close()
			return errPoolClosed
		}
	}
}

// Position is the place in the queue, 1 being next; 0 for a ticket that does not
// wait. It tells how many jobs are before, and nothing of them.
func (t *Ticket) Position() int {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	return slices.Index(t.q.waiting, t) + 1
}

func (t *Ticket) ended() bool {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	return t.state == closed
}

// Close gives up the seat, the place in the queue or the room, whichever is held.
// It may be called again.
func (t *Ticket) Close() {
	q := t.q
	q.mu.Lock()
	defer q.mu.Unlock()
	switch t.state {
	case admitted:
		q.unpend(t)
		if i := slices.Index(q.waiting, t); i >= 0 {
			q.waiting = slices.Delete(q.waiting, i, i+1)
			q.tell()
		}
	case seated:
		q.free(t.owner)
	case closed:
	}
	t.state = closed
	select { // whoever still waits with it
	case t.moved <- struct{}{}:
	default:
	}
}

// line puts a ticket at the end of the queue, once.
func (q *queue) line(t *Ticket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.state == admitted && !slices.Contains(q.waiting, t) {
		q.waiting = append(q.waiting, t)
		q.seat()
	}
}

func (q *queue) unpend(t *Ticket) {
	q.pending--
	if t.owner != "" {
		if q.pendings[t.owner]--; q.pendings[t.owner] == 0 {
			delete(q.pendings, t.owner)
		}
	}
}

// free takes a seat back. q.mu is held.
func (q *queue) free(owner string) {
	q.running--
	if owner != "" {
		if q.owners[owner]--; q.owners[owner] == 0 {
			delete(q.owners, owner)
		}
	}
	q.seat()
}

// seat gives free seats to the first who may take them. q.mu is held.
func (q *queue) seat() {
	moved := false
	for i := 0; i < len(q.waiting) && q.running < q.jobs; {
		t := q.waiting[i]
		if t.owner != "" && q.owners[t.owner] >= q.perOwner {
			i++
			continue
		}
		q.waiting = slices.Delete(q.waiting, i, i+1)
		q.unpend(t)
		q.running++
		if t.owner != "" {
			q.owners[t.owner]++
		}
		t.state = seated
		close(t.turn)
		moved = true
	}
	if moved {
		q.tell()
	}
}

func (q *queue) tell() {
	for _, t := range q.waiting {
		select {
		case t.moved <- struct{}{}:
		default:
		}
	}
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.closed)
}

type ticketKey struct{}

// WithTicket makes Run take t for the job it is given with that context, instead
// of asking for a place of its own. The ticket stays its holder's to close: a
// seat can so be held longer than its job runs.
func WithTicket(ctx context.Context, t *Ticket) context.Context {
	return context.WithValue(ctx, ticketKey{}, t)
}
