package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/policies"
)

// Domain is what is behind a node: its own decisions, data and budget. Its methods are
// called by one goroutine per round.
type Domain interface {
	// Decide says whether the domain takes part, as its own policy has it; and what the
	// digest of its own columns, code lists and clamps is.
	// signed is the proposal as the hub signed it; the brief is the one that it holds the
	// digest of, nil if of none.
	Decide(ctx context.Context, p *federate.Proposal, signed federate.Signed, brief []byte) (schema string, refused []policies.Reason)
	// Values reads the domain's partials, cell by cell in the order of the proposal, into out
	// until all are read. The round's price is charged to the domain's budget before a row is
	// read, and never given back.
	Values(ctx context.Context, p *federate.Proposal) (read func(out []int64) error, err error)
	// Answering records that a decryption share of what the manifest lists is about to be
	// made.
	Answering(ctx context.Context, session string, p *federate.Proposal, manifest string) error
	// Released takes the sums, with everybody's noise, at the regulator, part by part. An error
	// keeps the result from being announced.
	Released(ctx context.Context, session string, p *federate.Proposal, part []int64) error
	// Deliver is called after the last part, with the digest of all: it gives the text of the
	// delivery, or nil if there is none to make.
	Deliver(ctx context.Context, session string, p *federate.Proposal, values string) (text []byte, err error)
	// Ended says how a round ended in which the domain took part: with a result, or for a
	// fault. It is not told of what a process did not live to see.
	Ended(session string, p *federate.Proposal, result *federate.Result, fault *federate.Fault)
}

// Config of a node.
type Config struct {
	Party           string
	MinContributors int
	Schemes         []federate.Scheme
	// Sign signs federate.SigningBytes of a text with the party's key; Verify is its other end.
	Sign    func(text []byte) ([]byte, error)
	Verify  func(party string, text, sig []byte) error
	Journal *Journal
	Domain  Domain
	Now     func() time.Time
	Logger  *slog.Logger
}

// Node takes part in the rounds of one party.
type Node struct {
	c       Config
	carrier Carrier

	mu     sync.Mutex
	lanes  map[string]chan Event
	trials map[string]bool // that are being answered, or wait
	seats  chan struct{}   // holds one for each that is being answered
	all    sync.WaitGroup
}

// New returns a node that speaks over a carrier.
func New(c Config, carrier Carrier) *Node {
	return &Node{c: c, carrier: carrier, lanes: map[string]chan Event{}, trials: map[string]bool{}, seats: make(chan struct{}, maxTrials)}
}

// laneEvents bounds what waits in a round: more than all messages and attachments to one
// party of the largest.
const laneEvents = 1024

// laneRounds bounds the rounds of a node: those that a hub runs at a time, and as many that
// it has ended and this node has not yet.
const laneRounds = 2 * MaxRounds

// lateSlack is how long after its deadline a round's step may take, for what the hub says
// at the deadline.
var lateSlack = 5 * time.Second

// Run takes part in rounds until ctx ends or the connection fails. Rounds that run then
// are over for this node: a later Run begins with those proposed anew.
func (n *Node) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer n.all.Wait()
	defer stop()
	return n.carrier.Attend(ctx, func(e Event) error {
		if e.Trial != nil {
			n.begin(ctx, e)
			return nil
		}
		n.mu.Lock()
		lane := n.lanes[e.Session]
		if lane == nil && e.Proposal != nil {
			if len(n.lanes) >= laneRounds {
				n.mu.Unlock()
				n.c.Logger.Warn("a proposal was dropped: too many rounds run", "session", e.Session)
				return nil
			}
			lane = make(chan Event, laneEvents)
			n.lanes[e.Session] = lane
			n.all.Go(func() {
				n.round(ctx, e.Session, lane)
				n.mu.Lock()
				defer n.mu.Unlock()
				delete(n.lanes, e.Session)
			})
		}
		n.mu.Unlock()
		if lane == nil {
			return nil // of a round that is over here
		}
		select {
		case lane <- e:
		default:
			n.c.Logger.Warn("an event of a round was dropped", "session", e.Session)
		}
		return nil
	})
}

// run is one round at this node.
type run struct {
	n       *Node
	r       *federate.Round
	session string
	spoken  map[federate.Phase]bool
	joined  bool // this party said that it takes part
}

func (n *Node) at() int64 { return n.c.Now().Unix() }

// ended tells the domain.
func (x *run) ended() {
	if x.joined {
		x.n.c.Domain.Ended(x.session, x.r.Proposal(), x.r.Outcome(), x.r.Fault())
	}
}

// round goes through one round, from its proposal to its end.
func (n *Node) round(ctx context.Context, session string, lane <-chan Event) {
	x := &run{n: n, session: session, spoken: map[federate.Phase]bool{}}
	log := n.c.Logger.With("session", session)
	defer x.ended()
	var deadline <-chan time.Time
	for {
		var err error
		select {
		case <-ctx.Done():
			if x.r != nil {
				x.r.Fail(federate.Stopped(n.c.Party))
			}
			return
		case <-deadline:
			if f := x.r.Tick(n.at()); f != nil {
				err = f
			} else { // our clock and the timer's differ
				deadline = time.After(time.Second)
			}
		case e := <-lane:
			first := x.r == nil
			if err = x.take(ctx, e); err == nil && first {
				deadline = time.After(time.Unix(x.r.Proposal().Deadline, 0).Sub(n.c.Now()))
			}
		}
		var f *federate.Fault
		var reason *policies.Reason
		if err != nil && x.r != nil && !errors.As(err, &f) && !errors.As(err, &reason) {
			if late := x.r.Tick(n.at()); late != nil { // the step was broken off, see until
				err = late
			}
		}
		switch {
		case errors.As(err, &f) && f.Dropped():
			log.Warn("a message was dropped", "code", f.Reason.Code, "party", f.Party)
		case errors.As(err, &f):
			log.Warn("the round failed", "code", f.Reason.Code, "party", f.Party, "reason", f.Reason.EN)
			if x.r != nil {
				x.r.Fail(f) // what the hub refused may not have failed here yet
				x.tell(ctx, x.r.Abort(n.at()))
			}
			return
		case err != nil:
			f = federate.Stopped(n.c.Party)
			if errors.As(err, &reason) {
				f = federate.Unable(n.c.Party, reason)
			}
			log.Warn("the round failed", "err", err)
			if x.r != nil {
				x.r.Fail(f)
				x.tell(ctx, x.r.Abort(n.at()))
			}
			return
		case x.r.Phase() == federate.Done:
			log.Info("the round is done")
			return
		}
	}
}

// tell signs a text and hands it in.
func (x *run) tell(ctx context.Context, text []byte) error {
	sig, err := x.n.c.Sign(federate.SigningBytes(text))
	if err != nil {
		return err
	}
	return x.n.carrier.Say(ctx, x.session, federate.Signed{Text: text, Sig: sig})
}

// said is tell for a step of the round.
func (x *run) said(ctx context.Context, text []byte, f *federate.Fault) error {
	if text != nil {
		if err := x.tell(ctx, text); err != nil && f == nil {
			return err
		}
	}
	if f != nil {
		return f
	}
	return nil
}

// until is the context of a step, which ends soon after the round does: a hub that holds a
// stream up, or a worker that does not return, holds no round's keys and rows for longer.
func (x *run) until(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, time.Unix(x.r.Proposal().Deadline, 0).Sub(x.n.c.Now())+lateSlack)
}

// take hands an event to the round, and then does what is this party's to do.
func (x *run) take(ctx context.Context, e Event) error {
	if x.r != nil {
		step, done := x.until(ctx)
		defer done()
		ctx = step
	}
	switch {
	case e.Proposal != nil && x.r == nil:
		if err := x.open(ctx, *e.Proposal, e.Brief); err != nil {
			return err
		}
	case x.r == nil:
		return errors.New("the round has no proposal")
	case e.Message != nil:
		if err := x.shares(ctx, *e.Message); err != nil {
			return err
		}
		if f := x.r.Receive(*e.Message, x.n.at()); f != nil {
			return f
		}
	case e.Attachment != nil:
		if e.Attachment.From == x.n.c.Party {
			return nil
		}
		if f := x.r.Attach(*e.Attachment, x.n.at()); f != nil {
			return f
		}
	}
	return x.act(ctx)
}

func (x *run) open(ctx context.Context, proposal federate.Signed, brief []byte) error {
	c := x.n.c
	r, f := federate.Open(federate.Setup{Self: c.Party, Schemes: c.Schemes, Verify: c.Verify, Random: release.NewSource(),
		MinContributors: c.MinContributors, Journal: c.Journal.book}, proposal, x.n.at())
	if f != nil {
		if p, broken := federate.DecodeProposal(proposal.Text); broken == nil && p.Session() == x.session {
			x.tell(ctx, federate.DeclineUnopened(p, c.Party, f, x.n.at()))
		}
		return f
	}
	if r.Session() != x.session {
		return errors.New("the hub calls the round by another name")
	}
	x.r = r
	ctx, done := x.until(ctx)
	defer done()
	if p := r.Proposal(); p.Brief != "" && p.Brief != federate.BriefDigest(brief) || p.Brief == "" && brief != nil {
		return errors.New("the brief is not the one that the proposal holds the digest of")
	}
	schema, refused := c.Domain.Decide(ctx, r.Proposal(), proposal, brief)
	if len(refused) > 0 {
		text, _ := r.Decline(refused, x.n.at())
		return x.said(ctx, text, r.Fault())
	}
	x.joined = true
	text, f := r.Accept(schema, x.n.at())
	return x.said(ctx, text, f)
}

// shares brings the parts of a department's decryption share to the regulator's round
// before the message that goes with them.
func (x *run) shares(ctx context.Context, s federate.Signed) error {
	m, err := federate.DecodeMessage(s.Text)
	if err != nil || m.Kind != federate.KindShare || x.n.c.Party != x.r.Proposal().Regulator {
		return nil // Receive says what is wrong
	}
	parts, err := x.n.carrier.FetchParts(ctx, Stream{Session: x.session, From: m.From, Share: true})
	if err != nil {
		return err
	}
	defer parts.Close()
	for range x.r.Shape().Chunks {
		part, err := parts.Next()
		if err != nil {
			return err
		}
		if f := x.r.AddShare(m.From, part, x.n.at()); f != nil {
			return f
		}
	}
	return nil
}

// act does what the phase asks of this party, once per phase.
func (x *run) act(ctx context.Context) error {
	for phase := x.r.Phase(); !x.spoken[phase]; phase = x.r.Phase() {
		x.spoken[phase] = true
		if err := x.step(ctx, phase); err != nil {
			return err
		}
	}
	return nil
}

func (x *run) step(ctx context.Context, phase federate.Phase) error {
	r, at := x.r, x.n.at()
	switch {
	case phase == federate.Committing && r.Holds():
		text, f := r.Commit(at)
		return x.said(ctx, text, f)
	case phase == federate.Revealing && r.Holds():
		text, with, f := r.Reveal(at)
		if err := x.said(ctx, text, f); err != nil {
			return err
		}
		for _, a := range with {
			if err := x.n.carrier.Attach(ctx, x.session, a); err != nil {
				return err
			}
		}
	case phase == federate.Collecting && r.Contributes():
		return x.contribute(ctx)
	case phase == federate.Summing:
		return x.sum(ctx)
	case phase == federate.Opening && r.Decrypts():
		return x.answer(ctx)
	case phase == federate.Opened:
		return x.release(ctx)
	}
	return nil
}

func (x *run) contribute(ctx context.Context) error {
	r, p := x.r, x.r.Proposal()
	read, err := x.n.c.Domain.Values(ctx, p)
	if err != nil {
		return err
	}
	w, f := r.Contribute(x.n.c.Journal.write, x.n.at())
	if f != nil {
		return f
	}
	left, buf := p.Cells(), make([]int64, r.Shape().ChunkCells)
	defer clear(buf)
	err = x.n.carrier.SendParts(ctx, Stream{Session: x.session, From: x.n.c.Party}, func() ([]byte, error) {
		if left == 0 {
			return nil, io.EOF
		}
		values := buf[:min(left, len(buf))]
		left -= len(values)
		if err := read(values); err != nil {
			return nil, err
		}
		part, f := w.Part(nil, values)
		if f != nil {
			return nil, f
		}
		return part, nil
	})
	if err != nil {
		return err
	}
	text, f := w.Finish(x.n.at())
	return x.said(ctx, text, f)
}

func (x *run) sum(ctx context.Context) error {
	var all []Parts
	defer func() {
		for _, p := range all {
			p.Close()
		}
	}()
	for _, from := range x.r.Proposal().Contributors {
		p, err := x.n.carrier.FetchParts(ctx, Stream{Session: x.session, From: from})
		if err != nil {
			return err
		}
		all = append(all, p)
	}
	for i := range x.r.Shape().Chunks {
		for j, from := range x.r.Proposal().Contributors {
			part, err := all[j].Next()
			if err != nil {
				return err
			}
			if f := x.r.AddPart(from, i, part, x.n.at()); f != nil {
				return f
			}
		}
	}
	return nil
}

func (x *run) answer(ctx context.Context) error {
	r := x.r
	if err := x.n.c.Domain.Answering(ctx, x.session, r.Proposal(), r.ManifestDigest()); err != nil {
		return err
	}
	s, f := r.Answer(x.n.c.Journal.write, x.n.at())
	if f != nil {
		return f
	}
	left := r.Shape().Chunks
	next := func() ([]byte, error) {
		if left == 0 {
			return nil, io.EOF
		}
		left--
		part, f := s.Part(nil, x.n.at())
		if f != nil {
			return nil, f
		}
		return part, nil
	}
	if x.n.c.Party == r.Proposal().Regulator { // its own share stays where it is
		for left > 0 {
			if _, err := next(); err != nil {
				return err
			}
		}
		return nil
	}
	if err := x.n.carrier.SendParts(ctx, Stream{Session: x.session, From: x.n.c.Party, Share: true}, next); err != nil {
		return err
	}
	text, f := s.Finish(x.n.at())
	return x.said(ctx, text, f)
}

func (x *run) release(ctx context.Context) error {
	var values []int64
	defer func() { clear(values) }()
	for range x.r.Shape().Chunks {
		var f *federate.Fault
		if values, f = x.r.Values(values[:0], x.n.at()); f != nil {
			return f
		}
		if err := x.n.c.Domain.Released(ctx, x.session, x.r.Proposal(), values); err != nil {
			return err
		}
	}
	delivery, err := x.n.c.Domain.Deliver(ctx, x.session, x.r.Proposal(), x.r.ValuesDigest())
	if err != nil {
		return err
	}
	if delivery != nil {
		d, err := federate.DecodeDelivery(delivery)
		if err != nil {
			return err
		}
		sig, err := x.n.c.Sign(federate.SigningBytes(delivery))
		if err != nil {
			return err
		}
		if err := x.n.carrier.Deliver(ctx, x.session, federate.Signed{Text: delivery, Sig: sig}); err != nil {
			return err
		}
		x.r.Delivered(d)
	}
	text, f := x.r.Result(x.n.at())
	return x.said(ctx, text, f)
}
