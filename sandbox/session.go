package sandbox

import (
	"context"
	"errors"
	"sync"
)

// sessionCalls is how many requests one session worker answers before it is
// replaced, so that nothing an attacker plants in it lives long.
const sessionCalls = 1000

// Session is a long-lived worker for requests that carry no data. Calls are
// served one after the other; it is safe for concurrent use.
type Session struct {
	pool    *Pool
	handler string
	limits  Limits

	mu     sync.Mutex
	proc   *process
	calls  int
	closed bool
}

// Session starts a worker that answers many calls of one handler. limits apply
// to each call.
func (p *Pool) Session(ctx context.Context, handler string, limits Limits) (*Session, error) {
	s := &Session{pool: p, handler: handler, limits: limits.withDefaults(p.limits)}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s, s.renew(ctx)
}

func (s *Session) renew(ctx context.Context) error {
	proc, err := s.pool.launch(ctx, s.handler, s.limits.Memory, true, false)
	if err != nil {
		return err
	}
	s.proc, s.calls = proc, 0
	return nil
}

// Call sends one request and returns all its frames joined. A worker that dies,
// breaks the protocol or outlives its wall clock is replaced for the next call.
func (s *Session) Call(ctx context.Context, payload []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("sandbox session is closed")
	}
	if err := ctx.Err(); err != nil {
		return nil, &ErrKilled{CauseCancelled}
	}
	if s.proc == nil || !s.proc.alive() || s.calls >= sessionCalls {
		s.drop()
		if err := s.renew(ctx); err != nil {
			return nil, err
		}
	}
	s.calls++
	var reply []byte
	err := s.pool.converse(ctx, s.proc, payload, nil, s.limits, readAll(&reply))
	if err != nil {
		var killed *ErrKilled
		// A handler that merely gave up left a healthy worker behind.
		if !errors.As(err, &killed) || killed.Cause != CauseFailed {
			s.drop()
		}
		return nil, err
	}
	return reply, nil
}

func (s *Session) drop() {
	if s.proc != nil {
		s.pool.retire(s.proc)
		s.proc = nil
	}
}

// Close ends the session's worker.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.drop()
	return nil
}
