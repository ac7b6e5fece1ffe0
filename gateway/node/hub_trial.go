package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sandgate/sandgate/compute/federate"
)

// MaxTrials is how many trials run at a time.
const MaxTrials = 8

// MaxVerdict bounds the text of a verdict, in bytes: it stands in an entry of its domain's
// ledger.
const MaxVerdict = 44 << 10

// ErrNotYet is of an answer to a trial that is none: its party is asked again.
var ErrNotYet = errors.New("the trial is not answered yet")

// trial is what the contributors of a training are asked about its model.
type trial struct {
	t     *federate.Trial
	event Event
	said  map[string]Judgement
	times int // it was asked again
}

// TrialState is where a trial is: whom it waits for, and whether nobody can answer it any
// more.
type TrialState struct {
	Missing []string
	Over    bool
}

// Try signs a trial and asks its contributors for their verdicts, until all have answered
// or its deadline is over. brief is what the trial holds the digest of.
func (h *Hub) Try(t *federate.Trial, brief []byte) (id string, err error) {
	text := t.Encode()
	if _, f := federate.DecodeTrial(text); f != nil {
		return "", f
	}
	if t.Brief != federate.BriefDigest(brief) {
		return "", errors.New("the brief is not the one that the trial holds the digest of")
	}
	sig, err := h.c.Sign(federate.SigningBytes(text))
	if err != nil {
		return "", fmt.Errorf("failed to sign the trial: %w", err)
	}
	id = t.ID()
	h.mu.Lock()
	defer h.mu.Unlock()
	running := 0
	for i, x := range h.trials {
		if !h.over(x) {
			running++
		} else if len(h.trials) > 2*MaxTrials {
			delete(h.trials, i)
		}
	}
	if running >= MaxTrials || h.trials[id] != nil {
		return "", errors.New("too many trials run, or this one ran before: wait, or take another nonce")
	}
	h.trials[id] = &trial{t: t, said: map[string]Judgement{}, event: Event{Session: id, Trial: &federate.Signed{Text: text, Sig: sig}, Brief: brief}}
	h.wake()
	return id, nil
}

// over says whether a trial takes no more answers. The caller holds mu.
func (h *Hub) over(x *trial) bool {
	return h.at() >= x.t.Deadline || len(x.said) == len(x.t.Contributors)
}

// Trial looks a trial up.
func (h *Hub) Trial(id string) (TrialState, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.trials[id]
	if x == nil {
		return TrialState{}, ErrRound
	}
	s := TrialState{Over: h.over(x)}
	for _, c := range x.t.Contributors {
		if _, ok := x.said[c]; !ok {
			s.Missing = append(s.Missing, c)
		}
	}
	return s, nil
}

// EndTrial ends a trial before its deadline: who has not answered need not.
func (h *Hub) EndTrial(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.trials, id)
	h.wake()
}

// AskAgain puts a trial once more to every contributor that has not answered it: a node that
// is at it goes on, one that had no room for it, or was in passing trouble, has another try.
func (h *Hub) AskAgain(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x := h.trials[id]; x != nil && !h.over(x) {
		x.times++
		h.wake()
	}
}

// asked lists what a party is to be told of trials, once per connection and AskAgain; seen is
// how often it was told.
func (h *Hub) asked(party string, seen map[string]int) (out []Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, x := range h.trials {
		_, said := x.said[party]
		if seen[id] <= x.times && !said && !h.over(x) && slices.Contains(x.t.Contributors, party) {
			seen[id] = x.times + 1
			out = append(out, x.event)
		}
	}
	return out
}

// Judge implements Carrier.
func (l *local) Judge(_ context.Context, id string, j Judgement) error {
	if err := l.checkJudgement(id, j); err != nil {
		return err
	}
	h := l.h
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.trials[id]
	if x == nil || !slices.Contains(x.t.Contributors, l.party) || h.over(x) || h.c.Judged == nil {
		return ErrRound
	}
	if _, again := x.said[l.party]; again {
		return errors.New("the caller has answered the trial")
	}
	if err := h.c.Judged(id, l.party, j); errors.Is(err, ErrNotYet) {
		return nil
	} else if err != nil {
		return err
	}
	x.said[l.party] = j
	h.wake()
	return nil
}

// checkJudgement holds an answer to its form and size, and a refusal to its party, trial and
// signature.
func (l *local) checkJudgement(id string, j Judgement) error {
	bad := errors.New("the answer is not the caller's, not of this trial, or not in canonical form")
	if (j.Verdict != nil) == (j.Refusal != nil) {
		return bad
	}
	if r := j.Refusal; r != nil {
		t, err := federate.DecodeTrialRefusal(r.Text)
		if err != nil || t.From != l.party || t.Trial != id || l.h.c.Verify(l.party, r.Text, r.Sig) != nil {
			return bad
		}
		return nil
	}
	if len(j.Verdict.Text) > MaxVerdict {
		return bad
	}
	return nil
}
