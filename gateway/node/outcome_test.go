package node

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/policies"
)

// outcomes makes a site whose hub tells how rounds end.
func outcomes(t *testing.T, done func() error) (s *site, ends chan string) {
	s = newSite(t)
	ends = make(chan string, 8)
	c := s.hub.c
	c.Deliver = func(string, *federate.Proposal, *federate.Delivery, federate.Signed) error { return nil }
	c.Done = func(_ string, m *federate.Message, signed federate.Signed) error {
		if verify(m.From, signed.Text, signed.Sig) != nil || m.Result == nil {
			t.Error("the result is not what the regulator signed")
		}
		err := done()
		if err == nil {
			ends <- "done"
		}
		return err
	}
	c.Failed = func(_ string, f *federate.Fault) { ends <- f.Reason.Code + " " + f.Party }
	s.hub = NewHub(c)
	return s, ends
}

func awaited(t *testing.T, ends chan string, want string) {
	t.Helper()
	select {
	case got := <-ends:
		if got != want {
			t.Fatalf("the round ends as %q, not as %q", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("the round does not end as %q", want)
	}
	select {
	case more := <-ends:
		t.Fatalf("the round ends again, as %q", more)
	case <-time.After(50 * time.Millisecond):
	}
}

// R39: whoever keeps the ledger of the aggregator is told each end once, and a result that
// it cannot enter is given to nobody.
func TestR39_HubTellsHowRoundsEnd(t *testing.T) {
	var refuse error
	s, ends := outcomes(t, func() error { return refuse })
	s.start()
	if st := s.round(proposal(federate.Mask, "fine")); st.Phase != federate.Done {
		t.Fatal(st.Fault)
	}
	awaited(t, ends, "done")
	for err, want := range map[error]string{
		errors.New("the disk is full"):                                   "FEDERATION_INTERNAL gateway",
		&federate.Fault{Reason: &policies.Reason{Code: "LICENCE_ENDED"}}: "LICENCE_ENDED ",
	} {
		refuse = err
		if st := s.round(proposal(federate.Mask, want)); st.Phase != federate.Failed {
			t.Fatal(st.Phase)
		}
		awaited(t, ends, want)
	}
}

// R39: a round is cancelled while it runs, and no more when it is over.
func TestR39_RoundIsCancelled(t *testing.T) {
	s, ends := outcomes(t, func() error { return nil })
	s.start("city_c")
	session, err := s.hub.Propose(proposal(federate.Mask, "cancelled"), nil)
	if err != nil {
		t.Fatal(err)
	}
	why := &federate.Fault{Reason: &policies.Reason{Code: "FEDERATION_CANCELLED"}}
	if err := s.hub.Cancel(session, why); err != nil {
		t.Fatal(err)
	}
	awaited(t, ends, "FEDERATION_CANCELLED ")
	if st := s.settled(session); st.Fault.Reason.Code != "FEDERATION_CANCELLED" {
		t.Error(st.Fault)
	}
	if err := s.hub.Cancel(session, why); !errors.Is(err, ErrRound) {
		t.Errorf("cancelled again: %v", err)
	}
	if err := s.hub.Cancel(hash("none"), why); !errors.Is(err, ErrRound) {
		t.Errorf("a round that is not there: %v", err)
	}
}

// R39: a party that leaves in mid-round ends the round at once, by name; one that did not
// answer yet may still come.
func TestR39_PartyThatLeavesIsNamed(t *testing.T) {
	s, ends := outcomes(t, func() error { return nil })
	s.start("city_d")
	session, err := s.hub.Propose(proposal(federate.BGV, "left"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for st, _ := s.hub.State(session); strings.Join(st.Missing, " ") != "city_d"; st, _ = s.hub.State(session) {
		time.Sleep(5 * time.Millisecond)
	}
	s.start("regulator", "city_a", "city_b", "city_c") // city_d comes late
	if st := s.settled(session); st.Phase != federate.Done {
		t.Fatal(st.Fault)
	}
	awaited(t, ends, "done")
	s.stops["city_d"]()
	delete(s.stops, "city_d")
	if session, err = s.hub.Propose(proposal(federate.BGV, "left again"), nil); err != nil {
		t.Fatal(err)
	}
	for st, _ := s.hub.State(session); strings.Join(st.Missing, " ") != "city_d"; st, _ = s.hub.State(session) {
		time.Sleep(5 * time.Millisecond)
	}
	s.stops["city_b"]()
	delete(s.stops, "city_b")
	awaited(t, ends, "FEDERATION_GONE city_b")
	if st := s.settled(session); st.Fault.Party != "city_b" {
		t.Error(st.Fault)
	}
}

// A hub that closes lets its parties go, and blames nobody.
func TestHubThatClosesBlamesNobody(t *testing.T) {
	s, ends := outcomes(t, func() error { return nil })
	s.start("city_d")
	if _, err := s.hub.Propose(proposal(federate.Mask, "closing"), nil); err != nil {
		t.Fatal(err)
	}
	s.hub.Close()
	s.hub.Close()
	if err := s.hub.As("city_d").Attend(t.Context(), func(Event) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	s.stop()
	select {
	case end := <-ends:
		t.Errorf("the round ends as %q", end)
	default:
	}
}
