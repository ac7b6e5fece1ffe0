package sandbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// cancelSpan is how fast a cancelled job's Run returns. The race detector and a
// loaded machine get some room; the promise is 100 ms.
func cancelSpan() time.Duration {
	if raceEnabled {
		return 400 * time.Millisecond
	}
	return 100 * time.Millisecond
}

// TestQueueOrder: first come, first served; an owner at its limit is passed over
// without losing its place; positions count down.
func TestQueueOrder(t *testing.T) {
	q := newQueue(Config{Jobs: 2, PerOwner: 1, Queue: 4})
	ctx := context.Background()
	for _, owner := range []string{"a", "b"} {
		if err := q.enter(ctx, owner, nil); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	var order []string
	positions := map[string][]int{}
	var wg sync.WaitGroup
	wait := func(name, owner string) {
		before := waitingIn(q)
		wg.Go(func() {
			err := q.enter(ctx, owner, func(at int) {
				mu.Lock()
				defer mu.Unlock()
				positions[name] = append(positions[name], at)
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				order = append(order, err.Error())
				return
			}
			order = append(order, name)
		})
		within(t, time.Second, name, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return waitingIn(q) == before+1 && len(positions[name]) > 0
		})
	}
	wait("a2", "a")
	wait("b2", "b")
	wait("c1", "c")
	wait("c2", "c")
	if err := q.enter(ctx, "d", nil); !errors.Is(err, ErrBusy) {
		t.Fatalf("a full queue: got %v", err)
	}
	expect := func(want ...string) {
		t.Helper()
		within(t, time.Second, fmt.Sprint(want), func() bool {
			mu.Lock()
			defer mu.Unlock()
			return slices.Equal(order, want)
		})
	}
	q.leave("b") // a2 is first but a still runs
	expect("b2")
	q.leave("a")
	expect("b2", "a2")
	q.leave("b")
	expect("b2", "a2", "c1")
	q.leave("a")
	time.Sleep(10 * time.Millisecond)
	expect("b2", "a2", "c1") // c is at its limit
	q.leave("c")
	expect("b2", "a2", "c1", "c2")
	wg.Wait()
	q.leave("c")
	mu.Lock()
	defer mu.Unlock()
	if got := positions["c2"]; got[0] != 4 || got[len(got)-1] != 1 || !slices.IsSortedFunc(got, func(a, b int) int { return b - a }) {
		t.Fatalf("positions of the last: %v", got)
	}
	if q.running != 0 || len(q.owners) != 0 || len(q.waiting) != 0 || q.pending != 0 || len(q.pendings) != 0 {
		t.Fatalf("not empty: %d running, %v, %d waiting", q.running, q.owners, len(q.waiting))
	}
}

// enter is admission and wait in one.
func (q *queue) enter(ctx context.Context, owner string, report func(int)) error {
	t, err := q.admit(owner)
	if err != nil {
		return err
	}
	return t.Wait(ctx, report)
}

func (q *queue) leave(owner string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.free(owner)
}

func waitingIn(q *queue) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// TestTickets: room is set aside before the wait, for an owner and for all; a
// holder is never refused, and what is given up serves the next.
func TestTickets(t *testing.T) {
	q := newQueue(Config{Jobs: 1, Queue: 2, QueuePerOwner: 1})
	ctx := context.Background()
	admit := func(owner string, want error) *Ticket {
		t.Helper()
		x, err := q.admit(owner)
		if !errors.Is(err, want) {
			t.Fatalf("%s: got %v, want %v", owner, err, want)
		}
		return x
	}
	a1, a2 := admit("a", nil), admit("a", nil) // one may run, one may wait
	admit("a", ErrBusy)                        // the owner's room is taken
	b := admit("b", nil)
	admit("c", ErrBusy) // everybody's room is taken
	if err := b.Wait(ctx, nil); err != nil || b.Position() != 0 {
		t.Fatalf("a free seat waited for those who do not ask for it: %v", err)
	}
	done := make(chan error, 2)
	for _, x := range []*Ticket{a1, a2} {
		go func() { done <- x.Wait(ctx, nil) }()
	}
	within(t, time.Second, "both wait", func() bool { return waitingIn(q) == 2 })
	if a1.Position()+a2.Position() != 3 {
		t.Errorf("positions %d and %d", a1.Position(), a2.Position())
	}
	b.Close()
	b.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	a1.Close()
	a2.Close()
	if q.running < 0 || q.running > 1 {
		t.Fatalf("%d running", q.running)
	}
	within(t, time.Second, "all gone", func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.running == 0 && q.pending == 0 && len(q.pendings) == 0
	})
}

// TestSessionsAreShared: an owner's slow calls leave a session to the others, a
// call past its wall clock ends and its session serves again.
func TestSessionsAreShared(t *testing.T) {
	p, err := newPool(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s, err := p.Sessions(context.Background(), "hostile", 2, Limits{Wall: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Call(context.Background(), "warm", []byte("x")); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			var killed *ErrKilled
			if _, err := s.Call(context.Background(), "slow", []byte("spin")); !errors.As(err, &killed) || killed.Cause != CauseTimeout {
				t.Errorf("a spinning call ended as %v", err)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	begin := time.Now()
	for range 20 {
		if got, err := s.Call(context.Background(), "quick", []byte("hello")); err != nil || string(got) != "hello" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	if took := time.Since(begin); took > 900*time.Millisecond && !raceEnabled {
		t.Errorf("another owner's calls waited %v for the slow one's", took)
	}
	wg.Wait()
	if got, err := s.Call(context.Background(), "slow", []byte("hello")); err != nil || string(got) != "hello" {
		t.Errorf("after the slow calls: got %q, %v", got, err)
	}
}

// TestCancelWithin100ms: queued, starting or running, a cancelled job ends soon
// and frees its place.
func TestCancelWithin100ms(t *testing.T) {
	p, err := NewPool(context.Background(), Config{Jobs: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var killed *ErrKilled
	start := func(ctx context.Context) chan error {
		end := make(chan error, 1)
		go func() { end <- p.Run(ctx, Job{Handler: "hostile", Payload: []byte("spin"), Owner: "x"}, nil) }()
		return end
	}
	runningCtx, cancelRunning := context.WithCancel(context.Background())
	running := start(runningCtx)
	within(t, 5*time.Second, "job starts", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.live) == 1
	})
	time.Sleep(50 * time.Millisecond)
	queuedCtx, cancelQueued := context.WithCancel(context.Background())
	queued := start(queuedCtx)
	within(t, time.Second, "job queues", func() bool { return waitingIn(p.queue) == 1 })
	for _, c := range []struct {
		what   string
		cancel func()
		end    chan error
	}{{"queued", cancelQueued, queued}, {"running", cancelRunning, running}} {
		begin := time.Now()
		c.cancel()
		err := <-c.end
		took := time.Since(begin)
		if !errors.As(err, &killed) || killed.Cause != CauseCancelled || took > cancelSpan() {
			t.Errorf("%s: %v after %v", c.what, err, took)
		}
		t.Logf("%s: cancelled after %v", c.what, took)
	}
	startingCtx, cancelStarting := context.WithTimeout(context.Background(), 4*time.Millisecond)
	defer cancelStarting()
	begin := time.Now()
	if err := <-start(startingCtx); !errors.As(err, &killed) || killed.Cause != CauseCancelled || time.Since(begin) > 2*cancelSpan() {
		t.Errorf("starting: %v after %v", err, time.Since(begin))
	}
	if err := p.Run(context.Background(), Job{Handler: "echo"}, func([]byte) error { return nil }); err != nil {
		t.Fatal(err)
	}
}

// TestNextJobIsUnharmed: after a job of every bad sort the next one, in the only
// seat there is, gets its right answer.
func TestNextJobIsUnharmed(t *testing.T) {
	for _, tier := range Tiers() {
		p, err := NewPool(context.Background(), Config{Tier: tier, Jobs: 1, Warm: map[string]int{"echo": 1}})
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"spin", "memory", "fork", "threads", "stderr", "flood", "rawflood", "bigframe", "sleep", "panic-elsewhere"} {
			if bad == "memory" && raceEnabled {
				continue
			}
			limits := Limits{Wall: 300 * time.Millisecond, Memory: 64 << 20, Result: 1 << 20}
			_ = p.Run(context.Background(), Job{Handler: "hostile", Payload: []byte(bad), Limits: limits}, func([]byte) error { return nil })
			var got []byte
			if err := p.Run(context.Background(), Job{Handler: "echo", Payload: []byte(bad)}, readAll(&got)); err != nil || string(got) != bad {
				t.Errorf("tier %s, after %s: got %q, %v", tier, bad, got, err)
			}
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHundredJobsAtOnce: all finish, never more at once than allowed.
func TestHundredJobsAtOnce(t *testing.T) {
	p, err := NewPool(context.Background(), Config{Jobs: 3, PerOwner: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var most, failed atomic.Int64
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			var got []byte
			err := p.Run(context.Background(), Job{Handler: "echo", Payload: []byte{byte(i)}, Owner: fmt.Sprint(i % 4)}, readAll(&got))
			if err != nil || len(got) != 1 || got[0] != byte(i) {
				failed.Add(1)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			most.Store(max(most.Load(), int64(len(p.live))))
		})
	}
	wg.Wait()
	if failed.Load() != 0 || most.Load() > 3 {
		t.Fatalf("%d failed, %d at once", failed.Load(), most.Load())
	}
}

// TestCloseEndsTheQueue: jobs that wait when the pool closes are refused.
func TestCloseEndsTheQueue(t *testing.T) {
	p, err := newPool(Config{Jobs: 1})
	if err != nil {
		t.Fatal(err)
	}
	ends := make(chan error, 2)
	for range 2 {
		go func() { ends <- p.Run(context.Background(), Job{Handler: "hostile", Payload: []byte("spin")}, nil) }()
	}
	within(t, 5*time.Second, "one waits", func() bool { return waitingIn(p.queue) == 1 })
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		select {
		case err := <-ends:
			if err == nil {
				t.Error("a job finished in a closed pool")
			}
		case <-time.After(2 * time.Second):
			t.Fatal("a job outlived its pool")
		}
	}
}
