package node

import (
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/federate"
)

// R39: a contributor that has done its part and lost its connection ends a pass of a
// training, which its own ledger has as failed and which is then made up for; a query, on
// which no later round builds, goes on without it.
func TestR39_PassesNeedTheirPartiesToTheEnd(t *testing.T) {
	brief := func(kind federate.BriefKind) []byte {
		b := &federate.Brief{V: federate.Version, Kind: kind, Salt: hash("salt"), Region: "region", Dataset: "shop", Purpose: "trade", Asked: federate.Asked{Request: []byte("signed")},
			Terms: federate.Terms{MaxUnits: 1000, Overlap: 1, Period: "2026"}}
		if kind == federate.BriefModel {
			b.Model = &federate.ModelBrief{Step: []byte(`{}`)}
			if _, f := federate.DecodeBrief(b.Encode()); f != nil {
				t.Fatal(f)
			}
			return b.Encode()
		}
		return []byte(`{"v":1}`)
	}
	for kind, want := range map[federate.BriefKind]string{federate.BriefModel: "FEDERATION_GONE city_d", federate.BriefQuery: "done"} {
		s, ends := outcomes(t, func() error { return nil })
		left := make(chan struct{})
		s.domains["regulator"].text = func(session string, p *federate.Proposal, values string) []byte {
			// All decryption shares are in; the result is not.
			s.stops["city_d"]()
			close(left)
			return (&federate.Delivery{V: federate.Version, Session: session, From: "regulator", Receiver: p.Receiver, Request: "request", At: time.Now().Unix(), Brief: p.Brief, Values: values, Release: []byte("{}")}).Encode()
		}
		s.start()
		p, text := proposal(federate.Mask, string(kind)), brief(kind)
		p.Brief = federate.BriefDigest(text)
		if _, err := s.hub.Propose(p, text); err != nil {
			t.Fatal(err)
		}
		<-left
		awaited(t, ends, want)
		s.stop()
	}
}
