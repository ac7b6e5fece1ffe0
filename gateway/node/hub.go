package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/release"
)

// HubConfig is what the aggregator brings. Its party name is each proposal's Aggregator.
type HubConfig struct {
	Schemes []federate.Scheme
	Sign    func(text []byte) ([]byte, error)
	Verify  func(party string, text, sig []byte) error
	// Dir is where parts are kept while a round runs: 48 bytes a cell and contributor.
	Dir string
	Now func() time.Time
	// Deliver keeps the answer of a round for its receiver, before its result is taken; nil
	// refuses all, and a *federate.Fault ends the round.
	Deliver func(session string, p *federate.Proposal, d *federate.Delivery, s federate.Signed) error
	// Done is asked when the regulator's result is in, with what it signed; an error, best a
	// *federate.Fault, ends the round without one. Failed is told of a round that ended otherwise. Both may be nil, and
	// must not call the hub.
	Done   func(session string, m *federate.Message, s federate.Signed) error
	Failed func(session string, f *federate.Fault)
	// Judged keeps what a contributor says of a model, once for each trial and party; nil
	// refuses all, and ErrNotYet leaves the party to be asked again (AskAgain). It must not
	// call the hub. The answer is the party's own, by its connection;
	// whether a verdict is, by its signature, and what it is of, is for who certifies: so that
	// a false one ends the training in its name.
	Judged func(trial, party string, j Judgement) error
}

// MaxRounds is how many rounds run at a time.
const MaxRounds = 8

// ErrRound is of a round that does not run, or that the caller has no part in: which of
// the two is not told.
var ErrRound = errors.New("no such round")

// ErrClosed is of a hub that lets go of its parties.
var ErrClosed = errors.New("the hub is closing")

// Hub is the aggregator of rounds. It is safe for concurrent use. Nothing of a round
// outlives it.
type Hub struct {
	c HubConfig

	mu      sync.Mutex
	rounds  map[string]*gathering
	order   []string
	trials  map[string]*trial // by id
	changed chan struct{}     // closed when something happened

	attending map[string]int // connections of each party
	closing   sync.Once
	closed    chan struct{}
}

// gathering is one round at the hub.
type gathering struct {
	mu       sync.Mutex
	r        *federate.Round
	proposal federate.Signed
	events   []Event
	spools   map[Stream]*spool
	release  string          // digest of the delivery; empty until it came
	spoke    map[string]bool // parties that said something
	pass     bool            // of a training, by its brief
	ended    bool
}

// NewHub returns a hub without rounds.
func NewHub(c HubConfig) *Hub {
	return &Hub{c: c, rounds: map[string]*gathering{}, trials: map[string]*trial{}, changed: make(chan struct{}), closed: make(chan struct{}), attending: map[string]int{}}
}

// Propose signs a proposal and begins its round. brief is what it holds the digest of, nil
// if of none. The error is a *federate.Fault if it cannot.
func (h *Hub) Propose(p *federate.Proposal, brief []byte) (session string, err error) {
	if (p.Brief != "") != (brief != nil) || brief != nil && p.Brief != federate.BriefDigest(brief) {
		return "", errors.New("the brief is not the one that the proposal holds the digest of")
	}
	text := p.Encode()
	sig, err := h.c.Sign(federate.SigningBytes(text))
	if err != nil {
		return "", fmt.Errorf("failed to sign the proposal: %w", err)
	}
	journal, err := federate.LoadJournal(nil) // the hub does nothing that is done once
	if err != nil {
		return "", err
	}
	s := federate.Signed{Text: text, Sig: sig}
	r, f := federate.Open(federate.Setup{Self: p.Aggregator, Schemes: h.c.Schemes, Verify: h.c.Verify, Random: release.NewSource(), Journal: journal}, s, h.at())
	if f != nil {
		return "", f
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	running := 0
	for _, g := range h.rounds {
		if !g.over() {
			running++
		}
	}
	if running >= MaxRounds || h.rounds[r.Session()] != nil {
		return "", errors.New("too many rounds run, or this one ran before: wait, or take another nonce")
	}
	h.forget()
	g := &gathering{r: r, proposal: s, spools: map[Stream]*spool{}, spoke: map[string]bool{}}
	if b, f := federate.DecodeBrief(brief); f == nil {
		g.pass = b.Kind == federate.BriefModel
	}
	g.events = []Event{{Session: r.Session(), Proposal: &s, Brief: brief}}
	h.rounds[r.Session()], h.order = g, append(h.order, r.Session())
	h.wake()
	return r.Session(), nil
}

func (h *Hub) at() int64 { return h.c.Now().Unix() }

// forget drops the oldest rounds that are over, of more than a few. The caller holds mu.
func (h *Hub) forget() {
	for i := 0; len(h.order) > 4*MaxRounds && i < len(h.order); {
		if s := h.order[i]; h.rounds[s].over() {
			delete(h.rounds, s)
			h.order = slices.Delete(h.order, i, i+1)
			continue
		}
		i++
	}
}

// wake tells everybody that something happened. The caller holds mu.
func (h *Hub) wake() {
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *Hub) notify() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wake()
}

// State is where a round is: its phase, whom it waits for, and what ended it.
type State struct {
	Phase   federate.Phase
	Missing []string
	Fault   *federate.Fault
}

// State looks a round up.
func (h *Hub) State(session string) (State, error) {
	g, err := h.round(session, "")
	if err != nil {
		return State{}, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return State{g.r.Phase(), g.r.Missing(), g.r.Fault()}, nil
}

// Run ends rounds whose deadline is over, until ctx ends.
func (h *Hub) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.tick()
		}
	}
}

func (h *Hub) tick() {
	h.mu.Lock()
	all := make([]*gathering, 0, len(h.rounds))
	for _, g := range h.rounds {
		all = append(all, g)
	}
	h.mu.Unlock()
	for _, g := range all {
		g.mu.Lock()
		if f := g.r.Tick(h.at()); f != nil && !g.ended {
			h.end(g)
		} else if f == nil && g.ended && h.at() >= g.r.Proposal().Deadline {
			g.drop()
		}
		g.mu.Unlock()
	}
	h.notify()
}

// round is the round of a session, for a party of it; of any party if none is given.
func (h *Hub) round(session, party string) (*gathering, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.rounds[session]
	if g == nil || party != "" && !slices.Contains(g.r.Proposal().Parties(), party) {
		return nil, ErrRound
	}
	return g, nil
}

func (g *gathering) over() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ended
}

// end closes a round, and tells its parties if it failed. The caller holds g.mu.
func (h *Hub) end(g *gathering) {
	g.ended = true
	for _, s := range g.spools {
		s.close()
	}
	g.spools = nil
	f := g.r.Fault()
	if f == nil {
		return
	}
	g.drop()
	if h.c.Failed != nil {
		h.c.Failed(g.r.Session(), f)
	}
	text := g.r.Abort(h.at())
	if sig, err := h.c.Sign(federate.SigningBytes(text)); err == nil {
		g.events = append(g.events, Event{Session: g.r.Session(), Message: &federate.Signed{Text: text, Sig: sig}})
	}
}

// As is the hub as one party sees it, whose identity the caller has established.
func (h *Hub) As(party string) Carrier { return &local{h, party} }

type local struct {
	h     *Hub
	party string
}

// Attend implements Carrier.
func (l *local) Attend(ctx context.Context, take func(Event) error) error {
	seen, asked := map[string]int{}, map[string]int{}
	l.h.come(l.party)
	defer l.h.leave(l.party)
	for {
		l.h.mu.Lock()
		changed := l.h.changed
		order := slices.Clone(l.h.order)
		l.h.mu.Unlock()
		for _, session := range order {
			g, err := l.h.round(session, l.party)
			if err != nil {
				continue
			}
			over := false
			g.mu.Lock()
			if seen[session] == 0 && g.ended {
				seen[session] = len(g.events) // it was over before
			}
			if seen[session] == 0 && g.spoke[l.party] { // it dialled again: see leave
				over = l.h.gone(g, l.party)
				seen[session] = len(g.events)
			}
			events := g.events[seen[session]:]
			seen[session] = len(g.events)
			g.mu.Unlock()
			if over {
				l.h.notify()
			}
			for _, e := range events {
				if e.Proposal == nil && e.Message == nil && e.Attachment == nil {
					continue // of a round that has ended
				}
				if a := e.Attachment; a != nil && a.To != "" && a.To != l.party {
					continue
				}
				if err := take(e); err != nil {
					return err
				}
			}
		}
		for _, e := range l.h.asked(l.party, asked) {
			if err := take(e); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.h.closed:
			return ErrClosed
		case <-changed:
		}
	}
}

// Say implements Carrier.
func (l *local) Say(_ context.Context, session string, s federate.Signed) error {
	g, err := l.h.round(session, l.party)
	if err != nil {
		return err
	}
	defer l.h.notify()
	g.mu.Lock()
	defer g.mu.Unlock()
	m, err := federate.DecodeMessage(s.Text)
	if err != nil || m.From != l.party {
		return errors.New("the message is not the caller's, or not in canonical form")
	}
	if g.ended {
		return ErrRound
	}
	if m.Kind == federate.KindShare && !g.complete(Stream{session, l.party, true}) || m.Kind == federate.KindContribution && !g.complete(Stream{session, l.party, false}) {
		return errors.New("the parts that go with the message have not come")
	}
	if m.Kind == federate.KindResult && m.Result.Release != g.release {
		return errors.New("the result is of another delivery than the one handed in")
	}
	before := len(g.events)
	if f := g.r.Receive(s, l.h.at()); f != nil {
		if !f.Dropped() {
			l.h.end(g)
		}
		return f
	}
	g.spoke[l.party] = true
	if g.r.Phase() == federate.Done && l.h.c.Done != nil {
		if err := l.h.c.Done(session, m, s); err != nil {
			f := federate.Stopped(g.r.Proposal().Aggregator)
			errors.As(err, &f)
			g.r.Fail(f)
			l.h.end(g)
			return f
		}
	}
	if m.Kind != federate.KindContribution { // those go out in the manifest
		g.events = append(g.events, Event{Session: session, Message: &s})
	}
	switch {
	case g.r.Phase() == federate.Done:
		l.h.end(g)
	case g.r.Phase() == federate.Collecting && len(g.r.Missing()) == 0:
		err = l.h.manifest(g)
	}
	if err != nil {
		g.events = g.events[:before]
	}
	return err
}

// manifest says what is to be opened, and by whom: the regulator and the first departments
// in order. The caller holds g.mu.
func (h *Hub) manifest(g *gathering) error {
	p := g.r.Proposal()
	text, f := g.r.Manifest(append([]string{p.Regulator}, p.Departments[:p.Threshold]...), h.at())
	if f != nil {
		h.end(g)
		return f
	}
	sig, err := h.c.Sign(federate.SigningBytes(text))
	if err != nil {
		g.r.Fail(federate.Stopped(p.Aggregator))
		h.end(g)
		return err
	}
	g.events = append(g.events, Event{Session: g.r.Session(), Message: &federate.Signed{Text: text, Sig: sig}})
	return nil
}

func (g *gathering) complete(s Stream) bool {
	sp := g.spools[s]
	return sp != nil && sp.whole
}

// Attach implements Carrier.
func (l *local) Attach(_ context.Context, session string, a federate.Attachment) error {
	g, err := l.h.round(session, l.party)
	if err != nil {
		return err
	}
	defer l.h.notify()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return ErrRound
	}
	shape := g.r.Shape()
	if a.From != l.party || len(a.Bytes) > max(shape.KeyShareBytes, shape.DealBytes)+federate.SealOverhead ||
		a.To != "" && !slices.Contains(g.r.Proposal().Departments, a.To) {
		return errors.New("the attachment is not the caller's, to nobody, or too long")
	}
	for _, e := range g.events {
		if e.Attachment != nil && e.Attachment.From == a.From && e.Attachment.To == a.To {
			return errors.New("the attachment came twice")
		}
	}
	if a.To == "" {
		if f := g.r.Attach(a, l.h.at()); f != nil {
			if !f.Dropped() {
				l.h.end(g)
			}
			return f
		}
	}
	g.events = append(g.events, Event{Session: session, Attachment: &a})
	return nil
}

// SendParts implements Carrier.
func (l *local) SendParts(ctx context.Context, s Stream, next func() ([]byte, error)) error {
	g, err := l.h.round(s.Session, l.party)
	if err != nil {
		return err
	}
	sp, err := l.begin(g, s)
	if err != nil {
		return err
	}
	shape := g.r.Shape()
	for i := 0; ; i++ {
		part, err := next()
		if errors.Is(err, io.EOF) && i == shape.Chunks {
			break
		}
		if err != nil {
			return err
		}
		size := -1
		if i < shape.Chunks && s.Share {
			size = shape.SealedShare(i)
		} else if i < shape.Chunks {
			size = shape.Part(i)
		}
		if len(part) != size {
			return errors.New("a part too many, or of a wrong length")
		}
		if err := sp.put(part); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	sp.whole = true
	return nil
}

// begin makes room for a stream, once.
func (l *local) begin(g *gathering, s Stream) (*spool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p, phase := g.r.Proposal(), g.r.Phase()
	contribution := !s.Share && phase == federate.Collecting && slices.Contains(p.Contributors, l.party)
	share := s.Share && phase == federate.Opening && g.r.Decrypting(l.party) && l.party != p.Regulator
	if g.ended || s.From != l.party || !contribution && !share || g.spools[s] != nil {
		return nil, errors.New("no parts are awaited of the caller now")
	}
	sp, err := newSpool(l.h.c.Dir)
	if err != nil {
		return nil, err
	}
	g.spools[s] = sp
	return sp, nil
}

// FetchParts implements Carrier: contributions are for those who decrypt, decryption
// shares for the regulator.
func (l *local) FetchParts(_ context.Context, s Stream) (Parts, error) {
	g, err := l.h.round(s.Session, l.party)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	may := g.r.Decrypting(l.party)
	if s.Share {
		may = l.party == g.r.Proposal().Regulator
	}
	if !may || !g.complete(s) {
		return nil, ErrRound
	}
	return &fetch{s: g.spools[s]}, nil
}

type fetch struct {
	s *spool
	i int
}

// Next implements Parts.
func (f *fetch) Next() ([]byte, error) {
	part, err := f.s.get(f.i)
	f.i++
	return part, err
}

// Close implements Parts.
func (f *fetch) Close() {}
