package node

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/policies"
)

// slow is a carrier that takes no part before its gate opens.
type slow struct {
	Carrier
	gate, came chan struct{}
}

func (s *slow) SendParts(ctx context.Context, to Stream, next func() ([]byte, error)) error {
	select {
	case s.came <- struct{}{}:
	default:
	}
	select {
	case <-s.gate:
		return s.Carrier.SendParts(ctx, to, next)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// held is a site whose city_d contributes when the gate opens.
func held(t *testing.T) (*site, *slow) {
	s := newSite(t)
	d := &slow{Carrier: s.hub.As("city_d"), gate: make(chan struct{}), came: make(chan struct{}, 1)}
	s.carry = func(party string) Carrier {
		if party == "city_d" {
			return d
		}
		return s.hub.As(party)
	}
	return s, d
}

// collecting waits until the round misses nothing but what city_d contributes.
func (s *site) collecting(session string) {
	s.t.Helper()
	for range 2000 {
		st, err := s.hub.State(session)
		if err != nil || st.Phase == federate.Failed {
			s.t.Fatal(err, st.Fault)
		}
		if st.Phase == federate.Collecting && slices.Equal(st.Missing, []string{"city_d"}) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.t.Fatal("the round does not come to its contributions")
}

// R39: a party that has done its part may lose its connection and dial again: it is told
// nothing of the round anew, and the round goes on. A party whose share of the key is still
// needed ends it by dialling again, and the hub keeps nothing of what was attached.
func TestR39_FinishedPartyDialsAgain(t *testing.T) {
	s, d := held(t)
	s.start()
	session, err := s.hub.Propose(proposal(federate.BGV, "blips"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.collecting(session)
	s.stops["city_c"]()
	delete(s.stops, "city_c")
	s.start("regulator", "city_a", "city_b", "city_d")
	time.Sleep(200 * time.Millisecond) // for what a node says that is told the proposal again
	close(d.gate)
	if st := s.settled(session); st.Phase != federate.Done {
		t.Fatal(st.Fault)
	}
	d.gate = make(chan struct{})
	again, err := s.hub.Propose(proposal(federate.BGV, "blips again"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.collecting(again)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go s.hub.As("city_a").Attend(ctx, func(Event) error { return nil })
	if st := s.settled(again); st.Fault == nil || st.Fault.Reason.Code != codeGone || st.Fault.Party != "city_a" {
		t.Errorf("%+v", st)
	}
	close(d.gate)
	s.stop()
	s.hub.c.Now = func() time.Time { return time.Now().Add(time.Hour) }
	s.hub.tick()
	for id, g := range s.hub.rounds {
		told := false
		for _, e := range g.events {
			told = told || e.Message != nil
			if e.Attachment != nil || e.Proposal != nil || e.Brief != nil {
				t.Errorf("round %s: more than messages is kept", id)
			}
		}
		if !told {
			t.Errorf("round %s: how it went is not kept", id)
		}
	}
}

// R39: a step that does not come to an end is broken off when the round is over.
func TestR39_StepEndsWithItsRound(t *testing.T) {
	defer func(d time.Duration) { lateSlack = d }(lateSlack)
	lateSlack = 200 * time.Millisecond
	s, d := held(t)
	p := proposal(federate.Mask, "hangs")
	p.Deadline = time.Now().Add(4 * time.Second).Unix()
	s.start()
	defer s.stop() // before the slack is set back
	if _, err := s.hub.Propose(p, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.came:
	case <-time.After(4 * time.Second):
		t.Fatal("the round does not come to its contributions")
	}
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		x := s.domains["city_d"]
		x.mu.Lock()
		ends := slices.Clone(x.ends)
		x.mu.Unlock()
		if len(ends) > 0 {
			if ends[0] != "FEDERATION_LATE" {
				t.Error(ends)
			}
			return
		}
	}
	t.Error("the step goes on after its round")
}

// crowd proposes many rounds at once.
type crowd struct {
	Carrier
	rounds int
}

func (c crowd) Attend(ctx context.Context, take func(Event) error) error {
	for i := range c.rounds {
		p := proposal(federate.Mask, fmt.Sprint("crowd", i))
		text := p.Encode()
		e := Event{Session: p.Session(), Proposal: &federate.Signed{Text: text, Sig: ed25519.Sign(keyOf("gateway"), federate.SigningBytes(text))}}
		if err := take(e); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// undecided is a domain that thinks for long.
type undecided struct {
	*domain
	asked *atomic.Int64
}

func (u undecided) Decide(ctx context.Context, _ *federate.Proposal, _ federate.Signed, _ []byte) (string, []policies.Reason) {
	u.asked.Add(1)
	<-ctx.Done()
	return "", []policies.Reason{{Code: "LATE", ZH: "迟", EN: "late"}}
}

// R39: a hub cannot have a node work on more rounds than run at a time.
func TestR39_RoundsOfANodeAreBounded(t *testing.T) {
	j, err := OpenJournal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	asked := &atomic.Int64{}
	hub := NewHub(HubConfig{Schemes: schemes, Sign: signer("gateway"), Verify: verify, Dir: t.TempDir(), Now: time.Now})
	n := New(Config{Party: "city_a", MinContributors: 3, Schemes: schemes, Sign: signer("city_a"), Verify: verify, Journal: j, Domain: undecided{&domain{}, asked}, Now: time.Now,
		Logger: slog.New(slog.DiscardHandler)}, crowd{hub.As("city_a"), 3 * laneRounds})
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	n.Run(ctx)
	if got := asked.Load(); got != laneRounds {
		t.Errorf("%d rounds at a time, not %d", got, laneRounds)
	}
}
