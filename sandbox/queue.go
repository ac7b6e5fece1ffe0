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
	jobs, perOwner, room int

	mu      sync.Mutex
	running int
	owners  map[string]int
	waiting []*waiter
	closed  chan struct{}
}

type waiter struct {
	owner string
	turn  chan struct{} // closed when the job may run
	moved chan struct{} // holds a token when the queue has changed
}

func newQueue(cfg Config) *queue {
	q := &queue{jobs: cfg.Jobs, perOwner: cfg.PerOwner, room: cfg.Queue, owners: map[string]int{}, closed: make(chan struct{})}
	if q.jobs <= 0 {
		q.jobs = defaultJobs
	}
	if q.perOwner <= 0 {
		q.perOwner = q.jobs
	}
	if q.room <= 0 {
		q.room = defaultQueue
	}
	return q
}

// enter returns when the job may run; leave must follow. Its error is ErrBusy,
// errPoolClosed, or *ErrKilled when ctx ended first.
func (q *queue) enter(ctx context.Context, owner string, report func(int)) error {
	w := &waiter{owner: owner, turn: make(chan struct{}), moved: make(chan struct{}, 1)}
	q.mu.Lock()
	select {
	case <-q.closed:
		q.mu.Unlock()
		return errPoolClosed
	default:
	}
	q.waiting = append(q.waiting, w)
	q.admit()
	waiting := slices.Contains(q.waiting, w)
	if waiting && len(q.waiting) > q.room {
		q.remove(w)
		q.mu.Unlock()
		return ErrBusy
	}
	q.mu.Unlock()
	last := 0
	for {
		select {
		case <-w.turn:
			return nil
		default:
		}
		if at := q.position(w); report != nil && at > 0 && at != last {
			last = at
			report(at)
		}
		select {
		case <-w.turn:
			return nil
		case <-w.moved:
		case <-ctx.Done():
			return q.abandon(w, &ErrKilled{CauseCancelled})
		case <-q.closed:
			return q.abandon(w, errPoolClosed)
		}
	}
}

// abandon gives up a place in the queue, or the seat that came at that moment.
func (q *queue) abandon(w *waiter, err error) error {
	q.mu.Lock()
	waiting := q.remove(w)
	q.mu.Unlock()
	if !waiting {
		q.leave(w.owner)
	}
	return err
}

func (q *queue) leave(owner string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running--
	if owner != "" {
		if q.owners[owner]--; q.owners[owner] == 0 {
			delete(q.owners, owner)
		}
	}
	q.admit()
}

func (q *queue) position(w *waiter) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Index(q.waiting, w) + 1
}

// remove takes w out of the queue and says whether it was there. q.mu is held.
func (q *queue) remove(w *waiter) bool {
	i := slices.Index(q.waiting, w)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	q.tell()
	return true
}

// admit gives free seats to the first who may take them. q.mu is held.
func (q *queue) admit() {
	admitted := false
	for i := 0; i < len(q.waiting) && q.running < q.jobs; {
		w := q.waiting[i]
		if w.owner != "" && q.owners[w.owner] >= q.perOwner {
			i++
			continue
		}
		q.waiting = slices.Delete(q.waiting, i, i+1)
		q.running++
		if w.owner != "" {
			q.owners[w.owner]++
		}
		close(w.turn)
		admitted = true
	}
	if admitted {
		q.tell()
	}
}

func (q *queue) tell() {
	for _, w := range q.waiting {
		select {
		case w.moved <- struct{}{}:
		default:
		}
	}
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.closed)
}
