package node

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/bgv"
	"github.com/sandgate/sandgate/compute/federate/mask"
	"github.com/sandgate/sandgate/policies"
)

var schemes = func() []federate.Scheme {
	s, err := bgv.New()
	if err != nil {
		panic(err)
	}
	return []federate.Scheme{s, mask.Scheme{}}
}()

func hash(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

func keyOf(party string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(party))
	return ed25519.NewKeyFromSeed(seed[:])
}

func signer(party string) func([]byte) ([]byte, error) {
	return func(b []byte) ([]byte, error) { return ed25519.Sign(keyOf(party), b), nil }
}

func verify(party string, text, sig []byte) error {
	if !ed25519.Verify(keyOf(party).Public().(ed25519.PublicKey), federate.SigningBytes(text), sig) {
		return errors.New("no")
	}
	return nil
}

// domain is a domain whose cells hold i times its number.
type domain struct {
	number  int64
	schema  string
	refuse  []policies.Reason
	failing error // of Values

	mu       sync.Mutex
	debits   int
	released []int64
	done     int
	brief    []byte // that came with the last proposal
	ends     []string
	text     func(session string, p *federate.Proposal, values string) []byte // of a delivery
}

func (d *domain) Decide(_ context.Context, _ *federate.Proposal, _ federate.Signed, brief []byte) (string, []policies.Reason) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.brief = brief
	return d.schema, d.refuse
}

func (d *domain) Values(context.Context, *federate.Proposal) (func([]int64) error, error) {
	i := int64(0)
	return func(out []int64) error {
		for j := range out {
			out[j] = d.number * i
			i++
		}
		return nil
	}, d.failing
}

func (d *domain) Answering(context.Context, string, *federate.Proposal, string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.debits++
	return nil
}

func (d *domain) Released(_ context.Context, _ string, _ *federate.Proposal, part []int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.released = append(d.released, part...)
	return nil
}

func (d *domain) Deliver(_ context.Context, session string, p *federate.Proposal, values string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done++
	if d.text == nil {
		return nil, nil
	}
	return d.text(session, p, values), nil
}

func (d *domain) Ended(_ string, _ *federate.Proposal, r *federate.Result, f *federate.Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r != nil {
		d.ends = append(d.ends, "released "+r.Release)
	} else {
		d.ends = append(d.ends, f.Reason.Code)
	}
}

const cells = 9000

var cities = []string{"city_a", "city_b", "city_c", "city_d"}

func proposal(scheme, nonce string) *federate.Proposal {
	return &federate.Proposal{V: federate.Version, Nonce: hash(nonce), Scheme: scheme, Query: hash("query"), Schema: hash("schema"),
		Columns: []federate.Column{{Name: "a", Cells: cells, Low: 0, High: 1 << 20, Sigma2: big.NewInt(1000), Sensitivity2: big.NewInt(1)}}, Contributors: cities, Regulator: "regulator", Departments: cities[:2], Threshold: 2,
		Aggregator: "gateway", Receiver: "operator", MinContributors: 3,
		Deadline: time.Now().Add(time.Minute).Unix()}
}

// site is a hub and its nodes, each with its own directory.
type site struct {
	t       *testing.T
	hub     *Hub
	dirs    map[string]string
	domains map[string]*domain
	stops   map[string]func()
	now     func() time.Time
	carry   func(party string) Carrier // how a party reaches the hub
	ahead   map[string]time.Duration   // by how much a party's clock is fast
}

func newSite(t *testing.T) *site {
	s := &site{t: t, dirs: map[string]string{}, domains: map[string]*domain{}, stops: map[string]func(){}, now: time.Now}
	s.newHub()
	s.carry = func(party string) Carrier { return s.hub.As(party) }
	for i, party := range append([]string{"regulator"}, cities...) {
		s.dirs[party] = t.TempDir()
		s.domains[party] = &domain{number: int64(i), schema: hash("schema")}
	}
	return s
}

func (s *site) newHub() {
	s.hub = NewHub(HubConfig{Schemes: schemes, Sign: signer("gateway"), Verify: verify, Dir: s.t.TempDir(), Now: s.now})
}

// start runs the nodes of all parties but some.
func (s *site) start(but ...string) {
	for party, dir := range s.dirs {
		if slices.Contains(but, party) {
			continue
		}
		j, err := OpenJournal(dir)
		if err != nil {
			s.t.Fatal(err)
		}
		n := New(Config{Party: party, MinContributors: 3, Schemes: schemes, Sign: signer(party), Verify: verify, Journal: j, Domain: s.domains[party], Now: func() time.Time { return s.now().Add(s.ahead[party]) },
			Logger: slog.New(slog.DiscardHandler)}, s.carry(party))
		ctx, cancel := context.WithCancel(s.t.Context())
		over := make(chan struct{})
		go func() {
			defer close(over)
			n.Run(ctx)
			j.Close()
		}()
		s.stops[party] = func() { cancel(); <-over }
	}
	s.t.Cleanup(s.stop)
}

func (s *site) stop() {
	for party, stop := range s.stops {
		stop()
		delete(s.stops, party)
	}
}

// settled waits until a round is over, or gives up.
func (s *site) settled(session string) State {
	s.t.Helper()
	for range 3000 {
		st, err := s.hub.State(session)
		if err != nil {
			s.t.Fatal(err)
		}
		if st.Phase == federate.Done || st.Phase == federate.Failed {
			return st
		}
		time.Sleep(10 * time.Millisecond)
	}
	st, _ := s.hub.State(session)
	s.t.Fatalf("the round stays %s, without %v", st.Phase, st.Missing)
	return State{}
}

func (s *site) round(p *federate.Proposal) State {
	s.t.Helper()
	session, err := s.hub.Propose(p, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.settled(session)
}

// near holds what the regulator got against the sums, and forgets it.
func (s *site) near(p *federate.Proposal) {
	s.t.Helper()
	d := s.domains["regulator"]
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.released) != cells || d.done != 1 {
		s.t.Fatalf("%d values were released, %d times", len(d.released), d.done)
	}
	exact := 0
	for i, v := range d.released {
		e := v - 10*int64(i) // 1+2+3+4
		if e == 0 {
			exact++
		}
		if e > p.NoiseBound(0) || e < -p.NoiseBound(0) {
			s.t.Fatalf("cell %d is wrong", i)
		}
	}
	if exact > cells/10 {
		s.t.Errorf("%d sums are exact", exact)
	}
	d.released, d.done = nil, 0
}

// R39: nodes with homes of their own go through rounds by themselves.
func TestR39_NodesRunRounds(t *testing.T) {
	for _, scheme := range schemes {
		t.Run(scheme.Name(), func(t *testing.T) {
			s := newSite(t)
			s.start()
			for i := range 2 {
				p := proposal(scheme.Name(), fmt.Sprint(i))
				if st := s.round(p); st.Phase != federate.Done {
					t.Fatal(st.Fault)
				}
				s.near(p)
			}
			for party, d := range s.domains {
				want := 0
				if party == "regulator" || slices.Contains(cities[:2], party) {
					want = 2
				}
				if d.mu.Lock(); d.debits != want {
					t.Errorf("%s was debited %d times", party, d.debits)
				}
				d.mu.Unlock()
			}
		})
	}
}

// R39: rounds run side by side, and one that fails takes no other with it.
func TestR39_RoundsSideBySide(t *testing.T) {
	s := newSite(t)
	s.start()
	var sessions []string
	for i := range 4 {
		p := proposal(schemes[i%2].Name(), fmt.Sprint("beside", i))
		p.Query = hash(p.Nonce)
		if i == 1 {
			p.Schema = hash("another schema")
		}
		session, err := s.hub.Propose(p, nil)
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, session)
	}
	for i, session := range sessions {
		if st := s.settled(session); (st.Phase == federate.Done) != (i != 1) {
			t.Errorf("round %d: %s, %v", i, st.Phase, st.Fault)
		}
	}
	if d := s.domains["regulator"]; d.done != 3 || len(d.released) != 3*cells {
		t.Errorf("%d results", d.done)
	}
	if _, err := s.hub.State(hash("none")); !errors.Is(err, ErrRound) {
		t.Error(err)
	}
}

// R39: a node that loses its connection in the middle of a round cannot go on with it, and
// says so by what it says next: the round ends at once.
func TestR39_ReconnectedNodeEndsTheRound(t *testing.T) {
	s := newSite(t)
	s.start("city_c")
	p := proposal(federate.Mask, "reconnected")
	session, err := s.hub.Propose(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	for {
		if st, _ := s.hub.State(session); slices.Equal(st.Missing, []string{"city_c"}) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.stops["city_d"]()
	delete(s.stops, "city_d")
	s.start("regulator", "city_a", "city_b", "city_c")
	if st := s.settled(session); st.Phase != federate.Failed || st.Fault.Party != "city_d" {
		t.Errorf("%+v", st)
	}
}

// R39: a node whose data, code lists or policy do not fit ends the round by name, and the
// next one runs.
func TestR39_NodesEndRoundsByName(t *testing.T) {
	s := newSite(t)
	c := s.domains["city_c"]
	s.start()
	for i, x := range []struct {
		spoil, heal func()
		code        string
	}{
		{func() { c.schema = hash("other") }, func() { c.schema = hash("schema") }, "FEDERATION_DECLINED"},
		{func() { c.refuse = []policies.Reason{{Code: "X", ZH: "不", EN: "no"}} }, func() { c.refuse = nil }, "FEDERATION_DECLINED"},
		{func() { c.failing = errors.New("no data") }, func() { c.failing = nil }, "FEDERATION_DECLINED"}, // by an abort
		{func() { c.number = -1 }, func() { c.number = 3 }, "FEDERATION_DECLINED"},
	} {
		x.spoil()
		st := s.round(proposal(federate.Mask, fmt.Sprint("spoiled", i)))
		if st.Phase != federate.Failed || st.Fault.Party != "city_c" || st.Fault.Reason.Code != x.code {
			t.Errorf("%d: %v", i, st.Fault)
		}
		x.heal()
	}
	p := proposal(federate.Mask, "healed")
	if st := s.round(p); st.Phase != federate.Done {
		t.Fatal(st.Fault)
	}
	s.near(p)
}

// R39: a dead node ends the round at its deadline, by name; restarted, it takes part in
// the next.
func TestR39_DeadNodeEndsTheRound(t *testing.T) {
	s := newSite(t)
	s.start("city_d")
	session, err := s.hub.Propose(proposal(federate.Mask, "without"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for {
		if st, err := s.hub.State(session); err != nil {
			t.Fatal(err)
		} else if slices.Equal(st.Missing, []string{"city_d"}) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	late := time.Now().Add(2 * time.Minute)
	s.hub.c.Now = func() time.Time { return late }
	s.hub.tick()
	if st := s.settled(session); st.Phase != federate.Failed || st.Fault.Party != "city_d" || st.Fault.Reason.Code != "FEDERATION_LATE" {
		t.Errorf("%+v", st.Fault)
	}
	s.hub.c.Now = time.Now
	s.start("regulator", "city_a", "city_b", "city_c")
	p := proposal(federate.Mask, "with")
	if st := s.round(p); st.Phase != federate.Done {
		t.Fatal(st.Fault)
	}
	s.near(p)
}

// R39: restarted nodes and a hub that plays an old round again: nobody contributes or
// answers twice. Control: with their journals gone, they do.
func TestR39_OldRoundIsNotPlayedAgain(t *testing.T) {
	s := newSite(t)
	s.start()
	p := proposal(federate.BGV, "once")
	if st := s.round(p); st.Phase != federate.Done {
		t.Fatal(st.Fault)
	}
	s.near(p)
	s.stop()
	s.newHub() // remembers nothing
	s.start()
	st := s.round(p)
	if st.Phase != federate.Failed || st.Fault.Reason.Code != "FEDERATION_DECLINED" || !strings.Contains(st.Fault.Reason.HintEN, "taken part in this round") {
		t.Errorf("%+v", st.Fault)
	}
	s.stop()
	s.newHub()
	for party := range s.dirs {
		s.dirs[party] = t.TempDir()
	}
	s.start()
	if st := s.round(p); st.Phase != federate.Done {
		t.Errorf("control: %v", st.Fault)
	}
}

// R39: the hub gives each party what is its to see, and takes what is its to say.
func TestR39_HubKeepsPartiesApart(t *testing.T) {
	s := newSite(t)
	s.start()
	p := proposal(federate.BGV, "apart")
	session, err := s.hub.Propose(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.hub.Propose(p, nil); err == nil {
		t.Error("a session begins twice")
	}
	for _, party := range []string{"operator", "stranger"} {
		c := s.hub.As(party)
		if err := c.Say(t.Context(), session, federate.Signed{}); !errors.Is(err, ErrRound) {
			t.Error(err)
		}
		if _, err := c.FetchParts(t.Context(), Stream{Session: session, From: "city_a"}); !errors.Is(err, ErrRound) {
			t.Error(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
		c.Attend(ctx, func(Event) error { t.Errorf("%s is told of the round", party); return nil })
		stop()
	}
	a := s.hub.As("city_d")
	for _, err := range []error{
		a.Say(t.Context(), session, federate.Signed{Text: []byte("{}")}),
		a.Attach(t.Context(), session, federate.Attachment{From: "city_a"}),
		a.Attach(t.Context(), session, federate.Attachment{From: "city_d", Bytes: make([]byte, 1<<20)}),
		a.SendParts(t.Context(), Stream{Session: session, From: "city_a"}, nil),
		a.SendParts(t.Context(), Stream{Session: session, From: "city_d", Share: true}, nil),
	} {
		if err == nil {
			t.Error("the hub takes it")
		}
	}
	// Another's data are for those who decrypt.
	for range 2000 {
		if st, err := s.hub.State(session); err != nil || st.Phase == federate.Opening || st.Phase == federate.Done {
			break
		}
		if _, err := a.FetchParts(t.Context(), Stream{Session: session, From: "city_a"}); err == nil {
			t.Fatal("a contributor reads another's ciphertext")
		}
		time.Sleep(time.Millisecond)
	}
	if st := s.settled(session); st.Phase != federate.Done {
		t.Fatal(st.Fault)
	}
}
