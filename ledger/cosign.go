package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/wal"
	"github.com/sandgate/sandgate/ledger/witness"
)

// ErrDisputed is returned while a witness holds a history that this log does not
// extend: nothing is signed and nobody is told that anything was published. It ends
// when the witness accepts the log or the machine no longer names it.
var ErrDisputed = errors.New("a witness holds another history of this log")

const (
	// askTimeout bounds one witness's answer, and startAsk all of them before the
	// first signature.
	askTimeout = 5 * time.Second
	startAsk   = 3 * time.Second
	// minPause and maxPause lie between two rounds that found too few cosignatures.
	minPause = 100 * time.Millisecond
	maxPause = 2 * time.Second
	// closeWitnessed is how long Close waits for witnesses that answered so far.
	closeWitnessed = 2 * time.Second
)

// cosigner gathers cosignatures on published checkpoints. Each round is about the
// newest one. It is done when enough witnesses answered; the answers of slower ones
// are added when they come, and nobody waits for one that hangs.
type cosigner struct {
	policy func(size uint64) witness.Policy
	dir    string // of the log
	client asker
	fault  wal.Fault
	limit  func() int64  // the most entries that may ever have been signed
	wakeup func()        // tells waiters to look again
	wake   chan struct{} // something was published
	quit   chan struct{}
	done   chan struct{}
	asks   sync.WaitGroup

	mu        sync.Mutex // guards the following
	witnessed published
	base      []byte // what witnessed grew from
	gathering published
	parties   map[string]*standing // by key
	disputes  map[string]error     // by key
	unmet     time.Time            // since when the newest checkpoint lacks cosignatures; zero if it has them
}

// standing is what is known of one witness.
type standing struct {
	name    string
	url     string
	size    int64     // it cosigned last, as far as is known
	at      time.Time // of its last cosignature
	problem string    // why the last request gave none; empty if it did
	since   time.Time // of the first of the problems in a row
	busy    bool
}

// WitnessStanding is what a log knows of one witness.
type WitnessStanding struct {
	Name    string    `json:"name"`
	URL     string    `json:"url"`
	Size    uint64    `json:"size"`           // entries it cosigned last
	At      time.Time `json:"at,omitzero"`    // when
	Problem string    `json:"problem"`        // why it did not cosign when asked last
	Since   time.Time `json:"since,omitzero"` // when that began
	Refuses bool      `json:"refuses"`        // it holds another history
}

// Witnessing is how far witnesses have cosigned a log.
type Witnessing struct {
	Quorum    int               `json:"quorum"` // 0: nobody witnesses
	Published uint64            `json:"published"`
	Witnessed uint64            `json:"witnessed"`
	Unmet     time.Time         `json:"unmet,omitzero"` // since when the newest checkpoint lacks cosignatures
	Disputed  string            `json:"disputed,omitempty"`
	Parties   []WitnessStanding `json:"parties,omitempty"`
}

// witnessesAt asks the machine who must cosign a checkpoint over size entries.
func (l *Log) witnessesAt(size uint64) (p witness.Policy) {
	l.View(func() { p = l.cfg.Witnesses(size) })
	return p
}

func (l *Log) newCosigner() *cosigner {
	return &cosigner{
		policy: l.witnessesAt, dir: l.cfg.Dir, client: newAsker(l.cfg.Dir), fault: l.cfg.Fault, limit: l.guard.most, wakeup: l.announce,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
		parties: map[string]*standing{}, disputes: map[string]error{},
	}
}

// resumeWitnessed takes up the newest witnessed checkpoint of an earlier run, and
// asks the witnesses whether what was published last is what they know: before the
// first signature, so that an old copy of the log signs nothing while a witness can be
// reached. Silence is no objection.
func (l *Log) resumeWitnessed(ctx context.Context) {
	c := l.cosigner
	if c == nil {
		return
	}
	if raw, err := os.ReadFile(filepath.Join(c.dir, evidence.WitnessedFile)); err == nil {
		tree, err := checkpointTree(raw)
		if p := l.cfg.Witnesses(uint64(tree.N)); err == nil && p.Quorum > 0 && p.Satisfied(raw) {
			c.witnessed, c.base = published{uint64(tree.N), raw}, raw
		}
	}
	raw, err := l.tiles.reader.ReadCheckpoint(ctx)
	if err != nil {
		return // nothing was published yet
	}
	tree, err := checkpointTree(raw)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, startAsk)
	defer cancel()
	size := uint64(tree.N)
	c.round(ctx, published{size, raw}, l.cfg.Witnesses(size), true)
}

// run goes round for every newer checkpoint until quit.
func (c *cosigner) run(newest func() published) {
	defer close(c.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer c.asks.Wait()
	defer cancel()
	// A dispute of the start is looked at again without a new checkpoint, of which
	// there is none.
	wake(c.wake)
	pause := time.Duration(0)
	for {
		var again <-chan time.Time
		if pause > 0 {
			again = time.After(pause)
		}
		// While witnesses are silent, a new checkpoint does not make them answer.
		woken := c.wake
		if pause > minPause {
			woken = nil
		}
		select {
		case <-woken:
		case <-again:
		case <-c.quit:
			return
		}
		p := newest()
		if p.raw == nil {
			continue
		}
		if c.settled(ctx, p) {
			pause = 0
			continue
		}
		pause = min(max(2*pause, minPause), maxPause)
	}
}

// settled goes one round and reports whether there is nothing left to ask for.
func (c *cosigner) settled(ctx context.Context, p published) bool {
	policy := c.policy(p.size)
	if c.Disputed() != nil {
		// A checkpoint that covers a new policy cannot be signed before the dispute
		// ends, so the newest entries tell who is named.
		c.reconsider(c.policy(^uint64(0)))
		policy = c.policy(^uint64(0))
	}
	if policy.Quorum == 0 {
		c.mu.Lock()
		c.unmet = time.Time{}
		c.mu.Unlock()
		return true
	}
	return c.round(ctx, p, policy, false) && c.Disputed() == nil
}

// reconsider drops the disputes of witnesses that are named no longer.
func (c *cosigner) reconsider(policy witness.Policy) {
	c.mu.Lock()
	for key := range c.disputes {
		if !slices.ContainsFunc(policy.Parties, func(w witness.Party) bool { return w.Key.String() == key }) {
			delete(c.disputes, key)
		}
	}
	c.mu.Unlock()
	c.wakeup()
}

// round asks every witness that has not cosigned p and is not being asked already.
// It returns when enough did, and whether so, or when nobody is left to wait for.
// With everybody it asks those that have cosigned p too, and waits for all.
func (c *cosigner) round(ctx context.Context, p published, policy witness.Policy, everybody bool) bool {
	answers := make(chan bool, len(policy.Parties)) // whether enough have cosigned
	c.mu.Lock()
	if c.gathering.size != p.size || c.gathering.raw == nil {
		c.gathering = p
		if c.base != nil && c.witnessed.size == p.size {
			c.gathering = c.witnessed
		}
	}
	enough := policy.Quorum > 0 && policy.Satisfied(c.gathering.raw)
	if !enough && c.unmet.IsZero() {
		c.unmet = time.Now()
	}
	have := policy.Cosigned(c.gathering.raw)
	waiting := 0
	for _, w := range policy.Parties {
		key := w.Key.String()
		s := c.parties[key]
		if s == nil {
			s = &standing{}
			c.parties[key] = s
		}
		s.name, s.url = w.Key.Name(), w.URL
		_, disputed := c.disputes[key]
		if s.busy || !disputed && !everybody && cosigned(have, s.name) {
			continue
		}
		s.busy = true
		waiting++
		c.asks.Go(func() {
			actx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			answers <- c.ask(actx, p, policy, w)
		})
	}
	c.mu.Unlock()
	for ; waiting > 0 && (everybody || !enough); waiting-- {
		select {
		case now := <-answers:
			enough = enough || now
		case <-c.quit:
			return true
		case <-ctx.Done():
			return enough
		}
	}
	return enough
}

func cosigned(have []witness.Cosignature, name string) bool {
	return slices.ContainsFunc(have, func(x witness.Cosignature) bool { return x.Name == name })
}

// ask asks one witness and reports whether enough have cosigned p now.
func (c *cosigner) ask(ctx context.Context, p published, policy witness.Policy, w witness.Party) bool {
	key := w.Key.String()
	c.mu.Lock()
	old := c.parties[key].size
	c.mu.Unlock()
	out := c.client.ask(ctx, p, old, w, c.limit())
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.parties[key]
	s.busy, s.size = false, out.size
	_, was := c.disputes[key]
	switch {
	case out.refused != nil:
		c.disputes[key] = fmt.Errorf("%w: witness %s: %w", ErrDisputed, s.name, out.refused)
	case out.answer != nil || out.ahead:
		delete(c.disputes, key)
	}
	if _, is := c.disputes[key]; is != was {
		defer c.wakeup()
	}
	if out.answer == nil {
		if s.problem == "" && !out.ahead {
			s.since = time.Now()
		}
		if !out.ahead {
			s.problem = out.problem
		}
		return false
	}
	s.at, s.problem, s.since = time.Now(), "", time.Time{}
	return c.take(p, policy, w, out.answer)
}

// take adds a cosignature to what it is about, if that still counts. The caller holds
// mu.
func (c *cosigner) take(p published, policy witness.Policy, w witness.Party, line []byte) bool {
	if c.witnessed.size > p.size || c.gathering.size != p.size {
		return false
	}
	if cosigned(policy.Cosigned(c.gathering.raw), w.Key.Name()) {
		return policy.Satisfied(c.gathering.raw)
	}
	signed, ok := witness.Add(c.gathering.raw, line, w.Key)
	if !ok {
		return false
	}
	c.gathering.raw = signed
	if !policy.Satisfied(signed) {
		return false
	}
	// Readers take the file for what the witnesses said, so it is there first.
	if err := wal.WriteDurable(filepath.Join(c.dir, evidence.WitnessedFile), signed, "witnessed", c.fault); err != nil {
		c.parties[w.Key.String()].problem = "its cosignature could not be written"
		return false
	}
	c.witnessed, c.base, c.unmet = published{p.size, signed}, p.raw, time.Time{}
	defer c.wakeup()
	return true
}

// Disputed is nil unless a witness holds another history.
func (c *cosigner) Disputed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, err := range c.disputes {
		return err
	}
	return nil
}

// Disputed is nil unless a witness holds another history; see ErrDisputed.
func (l *Log) Disputed() error {
	if l.cosigner == nil {
		return nil
	}
	return l.cosigner.Disputed()
}

// Witnessed returns the newest checkpoint that enough witnesses cosigned, a signed
// note, and the number of entries it covers; nil before there is one.
func (l *Log) Witnessed() (checkpoint []byte, size uint64) {
	if l.cosigner == nil {
		return nil, 0
	}
	l.cosigner.mu.Lock()
	defer l.cosigner.mu.Unlock()
	return slices.Clone(l.cosigner.witnessed.raw), l.cosigner.witnessed.size
}

// WaitWitnessed waits until a witnessed checkpoint covers the durable entry seq and
// returns that checkpoint. Without a policy it waits for ever.
func (l *Log) WaitWitnessed(ctx context.Context, seq uint64) ([]byte, error) {
	return l.awaitCover(ctx, seq, func() published {
		raw, size := l.Witnessed()
		return published{size, raw}
	})
}

// Witnessing tells how far the witnesses have come.
func (l *Log) Witnessing() Witnessing {
	p, _ := l.snapshot()
	out := Witnessing{Published: p.size}
	if l.cosigner == nil {
		return out
	}
	policy := l.witnessesAt(^uint64(0))
	out.Quorum = policy.Quorum
	c := l.cosigner
	c.mu.Lock()
	defer c.mu.Unlock()
	out.Witnessed, out.Unmet = c.witnessed.size, c.unmet
	for _, err := range c.disputes {
		out.Disputed = err.Error()
	}
	for _, w := range policy.Parties {
		key := w.Key.String()
		s := WitnessStanding{Name: w.Key.Name(), URL: w.URL}
		if k := c.parties[key]; k != nil {
			s.Size, s.At, s.Problem, s.Since = uint64(k.size), k.at, k.problem, k.since
		}
		_, s.Refuses = c.disputes[key]
		out.Parties = append(out.Parties, s)
	}
	return out
}

// finishWitnessed ends the rounds; of witnesses that answered so far it waits for the last
// checkpoint.
func (l *Log) finishWitnessed(size uint64) {
	c := l.cosigner
	if c == nil {
		return
	}
	c.mu.Lock()
	answering := c.unmet.IsZero() || time.Since(c.unmet) < closeWitnessed
	c.mu.Unlock()
	if answering && size > 0 && l.Err() == nil && l.witnessesAt(size).Quorum > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), closeWitnessed)
		defer cancel()
		l.WaitWitnessed(ctx, size-1) // what is not witnessed now is when the log is opened again
	}
	close(c.quit)
	<-c.done
}
