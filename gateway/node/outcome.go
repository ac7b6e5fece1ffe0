package node

import (
	"context"
	"errors"

	"github.com/sandgate/sandgate/compute/federate"
)

// Close ends every Attend with ErrClosed: a server that is being stopped does not wait for
// its nodes. Rounds that run are not ended by it.
func (h *Hub) Close() { h.closing.Do(func() { close(h.closed) }) }

// Cancel ends a round that runs, for a reason; ErrRound if none of this session does.
func (h *Hub) Cancel(session string, f *federate.Fault) error {
	g, err := h.round(session, "")
	if err != nil {
		return err
	}
	defer h.notify()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return ErrRound
	}
	g.r.Fail(f)
	h.end(g)
	return nil
}

// Deliver implements Carrier.
func (l *local) Deliver(_ context.Context, session string, s federate.Signed) error {
	g, err := l.h.round(session, l.party)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.r.Proposal()
	d, err := federate.DecodeDelivery(s.Text)
	if err != nil || d.From != l.party || d.Session != session || d.Receiver != p.Receiver || d.Brief != p.Brief || l.h.c.Verify(l.party, s.Text, s.Sig) != nil {
		return errors.New("the delivery is not the caller's, not of this round, or not in canonical form")
	}
	if g.ended || l.party != p.Regulator || g.r.Phase() != federate.Opening || l.h.c.Deliver == nil {
		return ErrRound
	}
	if digest := federate.DeliveryDigest(s.Text); g.release == digest {
		return nil
	} else if g.release != "" {
		return errors.New("the answer was delivered before, and is another")
	} else if err := l.h.c.Deliver(session, p, d, s); err != nil {
		return err
	} else {
		g.release = digest
	}
	return nil
}
