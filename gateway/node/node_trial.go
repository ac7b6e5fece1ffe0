package node

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/policies"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Judge is a Domain that tries models of its trainings. The verdict is signed by its party
// (fit.VerdictBytes); without one there are reasons. It is called again for a trial that is
// asked again, and for another of the same training, and then says the same.
type Judge interface {
	Judge(ctx context.Context, t *federate.Trial, brief []byte) (verdict *federate.Signed, refused []policies.Reason)
}

// maxTrials bounds the trials that a node answers at a time.
const maxTrials = 4

// waitingTrials bounds those that wait for one of them to end: more than a hub runs at a
// time, and as many that it has ended meanwhile.
const waitingTrials = 2 * MaxTrials

// begin answers a trial beside the rounds, unless it is being answered already.
func (n *Node) begin(ctx context.Context, e Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.trials[e.Session] {
		return
	}
	if len(n.trials) >= maxTrials+waitingTrials {
		n.c.Logger.Warn("a trial was dropped: too many run", "trial", e.Session)
		return
	}
	n.trials[e.Session] = true
	n.all.Go(func() {
		select { // the hub tells of a trial once a connection: one that came too early waits
		case n.seats <- struct{}{}:
			defer func() { <-n.seats }()
		case <-ctx.Done():
		}
		// A hub that has its answer, or ended the training, does not wait for this one.
		if err := n.judge(ctx, e); err != nil && !errors.Is(err, ErrRound) && status.Code(err) != codes.NotFound {
			n.c.Logger.Warn("a trial was not answered", "trial", e.Session, "err", err)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.trials, e.Session)
	})
}

// judge answers one trial. What the hub did not sign, or is not for this party, is answered
// to nobody.
func (n *Node) judge(ctx context.Context, e Event) error {
	t, f := federate.DecodeTrial(e.Trial.Text)
	if f != nil {
		return f
	}
	left := time.Unix(t.Deadline, 0).Sub(n.c.Now())
	switch {
	case t.ID() != e.Session:
		return errors.New("the hub calls the trial by another name")
	case n.c.Verify(t.Aggregator, e.Trial.Text, e.Trial.Sig) != nil:
		return errors.New("the trial is not signed by its aggregator")
	case !slices.Contains(t.Contributors, n.c.Party):
		return errors.New("the trial is not for this party")
	case federate.BriefDigest(e.Brief) != t.Brief:
		return errors.New("the brief is not the one that the trial holds the digest of")
	case left <= 0:
		return errors.New("the deadline of the trial is over")
	}
	ctx, done := context.WithTimeout(ctx, left)
	defer done()
	var j Judgement
	refused := []policies.Reason{{Code: "FEDERATION_KIND", Rule: "federation", SetBy: n.c.Party, ZH: "本节点不检验模型", EN: "this node tries no models"}}
	if by, ok := n.c.Domain.(Judge); ok {
		j.Verdict, refused = by.Judge(ctx, t, e.Brief)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if j.Verdict == nil {
		text := (&federate.TrialRefusal{V: federate.Version, Trial: e.Session, From: n.c.Party, At: n.at(), Reasons: refused}).Encode()
		sig, err := n.c.Sign(federate.SigningBytes(text))
		if err != nil {
			return err
		}
		j.Refusal = &federate.Signed{Text: text, Sig: sig}
	}
	return n.carrier.Judge(ctx, e.Session, j)
}
