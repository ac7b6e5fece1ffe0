package gateway_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/federate"
)

// R04, R39, an attack: a hub alone, with its key and with whatever requests it was sent,
// asks nothing in an operator's name that the operator did not sign. Every domain refuses
// by name, before anything is read or charged. The control is the same round under the
// operator's own signature.
func TestR39_AHubAsksNothingOfItsOwn(t *testing.T) {
	r := newRegion(t)
	r.start()
	const other = "SELECT district, COUNT(*) AS n FROM visits GROUP BY district"
	// kept is a request that the hub was sent, and still has.
	var kept federate.Asked
	try := func(sql string, change func(p *federate.Proposal, b *federate.Brief)) (string, []string) {
		t.Helper()
		p, brief := r.propose(federate.Mask, sql, change)
		session, st := r.settled(p, brief)
		if st.Phase == federate.Done {
			return session, nil
		}
		var codes []string
		for _, party := range r.all() {
			reasons, ok := r.told(party, session, "refused")
			if !ok || len(reasons) == 0 || reasons[0].SetBy != "hub" || !strings.Contains(reasons[0].EN+reasons[0].ZH, "institute") {
				t.Errorf("%s refused %v", party, reasons)
				continue
			}
			codes = append(codes, reasons[0].Code)
			if x := r.round(party, session); x.Joined != nil {
				t.Errorf("%s joined", party)
			}
		}
		return session, slices.Compact(codes)
	}
	invented := func(p *federate.Proposal, b *federate.Brief) { r.sign("hub", p, b) }
	altered := func(change func(p *federate.Proposal, b *federate.Brief)) func(p *federate.Proposal, b *federate.Brief) {
		return func(p *federate.Proposal, b *federate.Brief) { r.sign("institute", p, b); change(p, b) }
	}
	for what, c := range map[string]struct {
		sql    string
		change func(p *federate.Proposal, b *federate.Brief)
	}{
		"an invented question": {roundSQL, invented},
		"no signature at all":  {roundSQL, func(_ *federate.Proposal, b *federate.Brief) { b.Asked.Request = []byte("{}") }},
		"another text":         {other, altered(func(_ *federate.Proposal, b *federate.Brief) { b.Query.SQL += " " })},
		"another purpose": {roundSQL, func(p *federate.Proposal, b *federate.Brief) {
			was := b.Purpose
			b.Purpose = "other"
			r.sign("institute", p, b)
			b.Purpose = was
		}},
		"another period": {roundSQL, func(p *federate.Proposal, b *federate.Brief) {
			b.Terms.Period = "2026-09"
			r.sign("institute", p, b)
			b.Terms.Period = "2026-10"
		}},
		"other contributors": {roundSQL, func(p *federate.Proposal, b *federate.Brief) {
			p.Contributors = roundCities[:2]
			r.sign("institute", p, b)
			p.Contributors = roundCities
		}},
		"another price": {roundSQL, func(p *federate.Proposal, b *federate.Brief) {
			b.Query.Price--
			r.sign("institute", p, b)
			b.Query.Price++
		}},
	} {
		if _, got := try(c.sql, c.change); !slices.Equal(got, []string{"FEDERATION_UNASKED"}) {
			t.Errorf("%s: %v", what, got)
		}
	}
	session, got := try(roundSQL, func(p *federate.Proposal, b *federate.Brief) { r.sign("institute", p, b); kept = b.Asked })
	if got != nil {
		t.Fatalf("what the operator signed was refused: %v", got)
	}
	spent := r.spent("city_a")
	for _, party := range r.all() {
		if x := r.round(party, session); x.Joined == nil || x.Joined.Request == nil || x.Joined.Request.Statement.Party != "institute" {
			t.Errorf("%s: its ledger does not hold the request", party)
		}
	}
	if _, got := try(roundSQL, func(_ *federate.Proposal, b *federate.Brief) { b.Asked = kept }); !slices.Equal(got, []string{"FEDERATION_REPLAYED"}) {
		t.Errorf("the same signature again: %v", got)
	}
	if r.spent("city_a") != spent {
		t.Error("a refusal was charged")
	}
}
