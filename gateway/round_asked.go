package gateway

import (
	"strconv"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies/request"
)

// askedIn opens what the receiver signed of a round, and holds the statement of the brief
// against what it commits to: nothing is analysed that the receiver did not write. Who
// signed, and the rest of it, the ledger's rules decide (state.DecideRound).
func askedIn(p *federate.Proposal, b *federate.Brief) (*request.Signed, error) {
	signed, err := request.Open(b.Asked.Request)
	if err != nil {
		return nil, state.Unasked(p, b.Region, "signature")
	}
	if b.Query == nil { // a model's specification stands in the ledger, whose rules check it
		return signed, nil
	}
	if err := signed.Statement.CheckBody(b.Asked.Salt, request.Query{SQL: b.Query.SQL}.Fields()); err != nil {
		return nil, state.Unasked(p, b.Region, "sql")
	}
	if price, ok := signed.Statement.Terms[request.TermPrice]; ok && price != strconv.FormatInt(b.Query.Price, 10) {
		return nil, state.Unasked(p, b.Region, request.TermPrice)
	}
	return signed, nil
}
