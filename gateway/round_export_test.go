package gateway

import (
	"context"
	"encoding/json"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/query"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// PlanRound is the domain's own plan of a brief, and the round that it makes.
func (d *Domain) PlanRound(ctx context.Context, receiver string, b *federate.Brief) (*protect.Plan, *query.Query, error) {
	p, q, err := d.planRound(ctx, receiver, b)
	if err != nil {
		return nil, nil, err
	}
	return p.plan, q, nil
}

// PostOf is how a statement names, orders and cuts its columns, by the domain's analysis.
func (d *Domain) PostOf(ctx context.Context, receiver, sql, purpose string) ([]byte, error) {
	p := &prepared{}
	if _, err := d.analyse(ctx, receiver, p, Query{SQL: sql, Purpose: purpose}); err != nil {
		return nil, err
	}
	return json.Marshal(p.query.Post)
}

// Deciding is what a party's node answers a proposal.
func (d *Domain) Deciding(ctx context.Context, party string, p *federate.Proposal, signed federate.Signed, brief []byte) (string, []policies.Reason) {
	x := &partner{d: d, party: party, told: func(RoundEvent) {}, open: map[string]*partaking{}}
	return x.Decide(ctx, p, signed, brief)
}

// HubPhase is how far a round is at the hub.
func (d *Domain) HubPhase(session string) federate.Phase {
	st, err := d.aggregator.hub.State(session)
	if err != nil {
		return ""
	}
	return st.Phase
}

// Look runs f on the state.
func (d *Domain) Look(f func(*state.State)) { d.log.View(func() { f(d.state) }) }
