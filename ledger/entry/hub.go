package entry

import (
	"errors"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

// Kinds of the rounds 聚合轮次 that this gateway is the aggregator of.
const (
	KindHubProposed Kind = "hub.proposed"
	KindHubReleased Kind = "hub.released"
	KindHubFailed   Kind = "hub.failed"
)

// HubRequest is what an operator asks of several domains together, without its literals.
// What it left to the agreement is empty.
type HubRequest struct {
	Round   string        `json:"round"` // id, derived from operator and request id
	Request string        `json:"request_id"`
	Licence string        `json:"licence"`
	Purpose string        `json:"purpose"`
	Region  string        `json:"region"` // name of the agreement 跨域协议
	Period  string        `json:"period"`
	Core    *algebra.Core `json:"core"`  // redacted
	Query   string        `json:"query"` // Commit of the canonical query
	// Epoch is that of the key that the salt of Query was derived by.
	Epoch        int         `json:"commit_epoch,omitempty"`
	Price        budget.Nano `json:"price,omitempty"`        // asked price, 0 for the default
	Scheme       string      `json:"scheme,omitempty"`       // asked for
	Contributors []string    `json:"contributors,omitempty"` // asked for
	Seconds      int         `json:"seconds,omitempty"`      // asked for, until the deadline
}

// HubProposed puts a round to the domains. The hub has no rows and charges nothing; each
// domain decides and charges in a ledger of its own, which names the round by Session.
type HubProposed struct {
	Request      HubRequest  `json:"request"`
	Agreement    string      `json:"agreement"` // SHA-256 of the agreement in force
	Scheme       string      `json:"scheme"`
	Contributors []string    `json:"contributors"`
	Price        budget.Nano `json:"price"`    // of the plan
	Deadline     int64       `json:"deadline"` // Unix seconds
	// Session is the digest of the proposal, which holds a nonce: nobody can test a guess
	// at the query by it.
	Session string `json:"session"`
}

// HubReleased commits to the answer of a round before its receiver is given it. Result is
// what the regulator's node said, signed by it: manifest, sums and answer by digest.
type HubReleased struct {
	Round  string `json:"round"`
	Result []byte `json:"result"` // canonical JSON (docs/federation.md)
	Sig    []byte `json:"sig"`    // of the regulator, over the DSSE pre-authentication encoding
	Digest string `json:"digest"` // SHA-256 of the encoded release
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
}

// HubFailed ends a round without an answer.
type HubFailed struct {
	Round string `json:"round"`
	Code  string `json:"code"`
	Party string `json:"party,omitempty"` // to blame
	By    string `json:"by,omitempty"`    // who cancelled it, or whose rule stopped it
	Rule  string `json:"rule,omitempty"`  // that stopped it
	// Reason is what the party to blame, or the hub, said. It holds no value of anyone.
	Reason *policies.Reason `json:"reason,omitempty"`
}

// maxResult bounds the text of a result, in bytes.
const maxResult = 4096

func (e *Entry) checkHub() error {
	switch {
	case e.HubProposed != nil:
		p := e.HubProposed
		if p.Request.Core == nil || !isHash(p.Request.Query) || !isHash(p.Agreement) || !isHash(p.Session) {
			return errors.New("a round lacks its core or a SHA-256 hash")
		}
		return checkCore(p.Request.Core)
	case e.HubReleased != nil:
		if r := e.HubReleased; !isHash(r.Digest) || len(r.Result) == 0 || len(r.Result) > maxResult || len(r.Sig) == 0 || r.Rows < 0 || r.Bytes <= 0 {
			return errors.New("the answer of a round lacks its result, signature or digest")
		}
	case e.HubFailed != nil && !modelCode.MatchString(e.HubFailed.Code):
		return errors.New("the failure of a round is no code")
	}
	return nil
}
