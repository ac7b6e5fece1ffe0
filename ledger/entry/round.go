package entry

import (
	"errors"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies/request"
)

// Kinds of aggregation rounds 聚合轮次 in which the domain takes part.
const (
	KindRoundJoined   Kind = "round.joined"
	KindRoundAnswered Kind = "round.answered"
	KindRoundEnded    Kind = "round.ended"
)

// MaxRoundProposal bounds a proposal in bytes, so that its entry is one.
const MaxRoundProposal = 32 << 10

// RoundJoined says that the domain does its part of a round: before a row is read, or, of
// who has no data in it, before its share of the decryption is made.
type RoundJoined struct {
	Session string `json:"session"`
	Party   string `json:"party"` // the domain's name in the round
	// Proposal is what the hub signed, federate.Proposal in canonical form.
	Proposal []byte `json:"proposal"`
	Sig      []byte `json:"sig"`
	// What follows is of the brief that the proposal holds the digest of.
	Region   string `json:"region"`
	Dataset  string `json:"dataset"`
	Purpose  string `json:"purpose"`
	Period   string `json:"period"`
	MaxUnits int64  `json:"max_units"`
	Overlap  int    `json:"overlap"`
	// Request is what the receiver signed. What it commits to of the body is in no domain's
	// ledger.
	Request *request.Signed `json:"request"`

	Data  *RoundData  `json:"data,omitempty"`  // of a contributor
	Model *RoundModel `json:"model,omitempty"` // of a pass of a training; nil of a query
}

// RoundData is what a contributor reads, and what that costs: the price is debited here
// and never given back, whatever becomes of the round.
type RoundData struct {
	// Of a query alone: the redacted core, Commit of the canonical query, and the price that
	// the brief names, which fixes the noise.
	Core      *algebra.Core `json:"core,omitempty"`
	Query     string        `json:"query,omitempty"`
	PlanPrice budget.Nano   `json:"plan_price,omitempty"`
	// Epoch is that of the key that the salt of Query was derived by; of a pass of a training,
	// that of the key that its split was.
	Epoch    int             `json:"commit_epoch,omitempty"`
	Snapshot string          `json:"snapshot"`
	Price    budget.Nano     `json:"price"` // of the round
	Charges  []budget.Charge `json:"charges"`
}

// RoundAnswered says that a decryption share is about to be made.
type RoundAnswered struct {
	Session  string `json:"session"`
	Manifest string `json:"manifest"` // digest of what it opens
}

// RoundEnded is the outcome: Release, Values and Manifest of a result, or Code and Party of
// a failure.
type RoundEnded struct {
	Session  string `json:"session"`
	Release  string `json:"release,omitempty"`  // SHA-256 of the delivery to the receiver
	Values   string `json:"values,omitempty"`   // SHA-256 of the noisy sums
	Manifest string `json:"manifest,omitempty"` // digest
	Code     string `json:"code,omitempty"`
	Party    string `json:"party,omitempty"` // to blame, if it is known
}

func (e *Entry) checkRound() error {
	switch {
	case e.RoundJoined != nil:
		r := e.RoundJoined
		if !isHash(r.Session) || len(r.Proposal) == 0 || len(r.Proposal) > MaxRoundProposal || len(r.Sig) == 0 {
			return errors.New("a round without session or proposal")
		}
		if r.Request == nil || len(r.Request.Sig) == 0 || r.Request.Statement.Check() != nil {
			return errors.New("a round without the request that its receiver signed")
		}
		if r.Model != nil {
			if err := r.Model.check(); err != nil {
				return err
			}
		}
		if d := r.Data; d != nil {
			of := d.Core != nil && isHash(d.Query) && d.PlanPrice > 0
			if r.Model != nil {
				of = d.Core == nil && d.Query == "" && d.PlanPrice == 0
			}
			if !of || !isHash(d.Snapshot) || d.Price <= 0 {
				return errors.New("the data of a round lack core, snapshot or price, or have what is not theirs")
			}
			if d.Core != nil {
				return checkCore(d.Core)
			}
		}
	case e.RoundVerdict != nil:
		return e.RoundVerdict.check()
	case e.RoundAnswered != nil && (!isHash(e.RoundAnswered.Session) || !isHash(e.RoundAnswered.Manifest)):
		return errors.New("an answered round without session or manifest")
	case e.RoundEnded != nil:
		r := e.RoundEnded
		released := isHash(r.Release) && isHash(r.Values) && isHash(r.Manifest) && r.Code == "" && r.Party == ""
		failed := modelCode.MatchString(r.Code) && r.Release == "" && r.Values == "" && r.Manifest == ""
		if !isHash(r.Session) || released == failed {
			return errors.New("a round ends either with the digests of its result or with a code")
		}
	}
	return nil
}
