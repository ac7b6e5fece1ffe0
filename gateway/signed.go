package gateway

import (
	"crypto/ed25519"
	"time"

	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// asked opens what an operator signed for a job and checks it against the text,
// parameters and target errors that came with it. It is checked before anything
// is analysed: nobody else's text costs the operator's place in a queue. The
// ledger's own check, under the key in force at the entry, comes on top.
func (d *Domain) asked(operator, requestID string, q Query) (*request.Signed, error) {
	signed, err := request.Open(q.Signed)
	if err == nil && signed.Statement.Request != requestID {
		err = request.Mismatch("request_id")
	}
	if err == nil {
		body := request.Query{SQL: q.SQL, Parameters: q.Parameters}
		for _, t := range q.Targets {
			body.Targets = append(body.Targets, request.Target(t))
		}
		err = signed.Statement.CheckBody(q.Salt, body.Fields())
	}
	if err != nil {
		return nil, policies.SignatureFault(err, operator)
	}
	// Only the key is taken in the sequencer; verifying takes longer than deciding.
	var key ed25519.PublicKey
	var origin string
	var at time.Time
	d.log.View(func() {
		key, _ = d.state.Book().PartyKey(operator)
		origin, at = d.state.Genesis().Origin, d.instant()
	})
	if x := policies.CheckSignedBy(signed, key, origin, operator, at); x != nil {
		return nil, x
	}
	return signed, nil
}

// sameRequest compares what will be recorded with what was signed.
func sameRequest(operator string, p *prepared) error {
	if x := state.SameRequest(p.signed.Statement, operator, p.request); x != nil {
		return x
	}
	return nil
}
