// Package node runs aggregation rounds (compute/federate): a Node is a domain's side of
// them, with its policy, its data and a journal on disk; a Hub is the aggregator's, which
// carries what they say and holds no share of any key. They meet over a Carrier: the
// hub itself in one process, or NodeService over gRPC, which a node dials, so that a
// domain opens no port. The package knows no ledger and no engine; the edge brings both.
package node

import (
	"context"

	"github.com/sandgate/sandgate/compute/federate"
)

// Event is something of a round that a party is told, in the order in which the hub took
// it. Exactly one of the pointers is set.
type Event struct {
	Session    string // or id of a trial
	Proposal   *federate.Signed
	Brief      []byte // beside a proposal that has one, and a trial
	Message    *federate.Signed
	Attachment *federate.Attachment
	Trial      *federate.Signed // of a contributor
}

// Judgement is what a domain says of a model that it was asked to try: a verdict, signed
// over fit.VerdictBytes, or a federate.TrialRefusal, signed over federate.SigningBytes.
type Judgement struct {
	Verdict *federate.Signed
	Refusal *federate.Signed
}

// Stream names the parts that a party sends in a round.
type Stream struct {
	Session string
	From    string
	// Share says that they are of its decryption share, and not of its contribution.
	Share bool
}

// Parts gives parts in their order; io.EOF after the last. Close may come early.
type Parts interface {
	Next() ([]byte, error)
	Close()
}

// Carrier is a party's connection to the hub. It is safe for concurrent use.
type Carrier interface {
	// Attend calls take for every event of the rounds that the party has part in, those that
	// happened already first, until ctx ends or take or the connection fails.
	Attend(ctx context.Context, take func(Event) error) error
	Say(ctx context.Context, session string, s federate.Signed) error
	Attach(ctx context.Context, session string, a federate.Attachment) error
	// SendParts sends what next gives until io.EOF.
	SendParts(ctx context.Context, s Stream, next func() ([]byte, error)) error
	FetchParts(ctx context.Context, s Stream) (Parts, error)
	// Deliver hands in the answer for the receiver (federate.Delivery), at the regulator and
	// before its result: the hub has kept it when it returns.
	Deliver(ctx context.Context, session string, s federate.Signed) error
	// Judge answers a trial, once.
	Judge(ctx context.Context, trial string, j Judgement) error
}
