package sandbox

import (
	"context"
	"errors"
)

// Sessions is a few long-lived workers that several owners share, for requests
// that carry no data. An owner is served by one at a time, so that nobody's slow
// requests take them all. It is safe for concurrent use.
type Sessions struct {
	pool  *Pool
	queue *queue
	idle  chan *Session
	all   []*Session
}

// sessionRoom is how many calls of one owner may wait.
const sessionRoom = 64

// Sessions starts n session workers of one handler: the first at once, to prove
// that it starts, the others when they are needed. limits apply to each call.
func (p *Pool) Sessions(ctx context.Context, handler string, n int, limits Limits) (*Sessions, error) {
	first, err := p.Session(ctx, handler, limits)
	if err != nil {
		return nil, err
	}
	s := &Sessions{pool: p, queue: newQueue(Config{Jobs: n, PerOwner: 1, QueuePerOwner: sessionRoom}), idle: make(chan *Session, n), all: []*Session{first}}
	for len(s.all) < n {
		s.all = append(s.all, &Session{pool: p, handler: handler, limits: first.limits})
	}
	for _, one := range s.all {
		s.idle <- one
	}
	return s, nil
}

// Call waits for the owner's turn, sends one request and returns all its frames
// joined. The error is Session.Call's, ErrBusy, or ErrSpawner when the worker died
// with its spawner rather than of the request. A worker that dies, breaks the
// protocol or outlives its wall clock is replaced.
func (s *Sessions) Call(ctx context.Context, owner string, payload []byte) ([]byte, error) {
	ticket, err := s.queue.admit(owner)
	if err != nil {
		return nil, err
	}
	defer ticket.Close()
	if err := ticket.Wait(ctx, nil); err != nil {
		return nil, err
	}
	one := <-s.idle // as many as there are seats
	defer func() { s.idle <- one }()
	reply, err := one.Call(ctx, payload)
	var killed *ErrKilled
	if errors.As(err, &killed) && killed.Cause != CauseCancelled && !s.pool.spawned().alive() {
		return nil, ErrSpawner
	}
	return reply, err
}

// Close ends the workers.
func (s *Sessions) Close() error {
	s.queue.close()
	var errs []error
	for _, one := range s.all {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}
