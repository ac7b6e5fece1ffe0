package node

import (
	"context"
	"errors"
	"slices"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/policies"
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

// come notes a party's connection.
func (h *Hub) come(party string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attending[party]++
}

// leave ends the rounds that a party whose last connection broke off cannot go on with:
// its keys went with it.
func (h *Hub) leave(party string) {
	h.mu.Lock()
	h.attending[party]--
	gone := h.attending[party] == 0
	if gone {
		delete(h.attending, party)
	}
	var all []*gathering
	for _, g := range h.rounds {
		all = append(all, g)
	}
	h.mu.Unlock()
	select {
	case <-h.closed:
		return
	default:
	}
	if !gone {
		return
	}
	for _, g := range all {
		g.mu.Lock()
		h.gone(g, party)
		g.mu.Unlock()
	}
	h.notify()
}

// gone ends a round if it needs what a party lost with its connection. One that has done
// its part of a query may go; of a pass, only when the round is done: it is made up for
// while all ledgers have it as failed. It says whether it ended the round. The caller holds g.mu.
func (h *Hub) gone(g *gathering, party string) bool {
	if g.ended || !g.needs(party) {
		return false
	}
	g.r.Fail(&federate.Fault{Party: party, Reason: &policies.Reason{Code: codeGone, Rule: "federation", SetBy: party,
		ZH: "“" + party + "”：轮次进行中断线，其密钥已失；须另起一轮", EN: party + ": it left while the round ran and its keys are gone; start another round"}})
	h.end(g)
	return true
}

// drop lets go of the megabytes of shares of the key and deals of a round that has ended:
// at once if it failed, else at its deadline, since a slow party may still be on its way to
// the result. Who is being told of them goes on with the slice of before. The caller holds
// g.mu.
func (g *gathering) drop() {
	events := make([]Event, len(g.events))
	for i, e := range g.events {
		if e.Message != nil {
			events[i] = e
		}
	}
	g.events = events
}

// codeGone is the fault of a party that left in mid-round.
const codeGone = "FEDERATION_GONE"

// needs says whether the round can no longer be done without what a party had in memory.
// The caller holds g.mu.
func (g *gathering) needs(party string) bool {
	p := g.r.Proposal()
	missing := slices.Contains(g.r.Missing(), party)
	// A node whose connection broke ends its round in its ledger, its part done or not, and
	// takes no later pass that builds on it.
	learns := g.pass && slices.Contains(p.Contributors, party)
	switch g.r.Phase() {
	case federate.Proposed:
		return slices.Contains(p.Parties(), party) && !missing // else it may come and answer yet
	case federate.Committing, federate.Revealing:
		return slices.Contains(p.Parties(), party)
	case federate.Collecting:
		return slices.Contains(p.Holders(), party) || missing || learns
	case federate.Opening:
		return learns || g.r.Decrypting(party) && (g.pass || !g.complete(Stream{g.r.Session(), party, true}))
	}
	return false
}

// Deliver implements Carrier.
func (l *local) Deliver(_ context.Context, session string, s federate.Signed) error {
	g, err := l.h.round(session, l.party)
	if err != nil {
		return err
	}
	defer l.h.notify()
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
		var f *federate.Fault
		if errors.As(err, &f) {
			g.r.Fail(f)
			l.h.end(g)
		}
		return err
	} else {
		g.release = digest
	}
	return nil
}
