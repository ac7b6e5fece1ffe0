package node

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/federate"
)

// R39: the brief comes with the proposal that holds its digest, and with no other; the
// answer reaches the hub before the result, and every domain learns its digest.
func TestR39_BriefAndDelivery(t *testing.T) {
	s := newSite(t)
	var mu sync.Mutex
	kept := map[string]string{}
	s.hub.c.Deliver = func(session string, p *federate.Proposal, d *federate.Delivery, x federate.Signed) error {
		mu.Lock()
		defer mu.Unlock()
		kept[session] = federate.DeliveryDigest(x.Text)
		return nil
	}
	s.domains["regulator"].text = func(session string, p *federate.Proposal, values string) []byte {
		return (&federate.Delivery{V: federate.Version, Session: session, From: "regulator", Receiver: p.Receiver, Request: "request", At: time.Now().Unix(), Brief: p.Brief, Values: values, Release: []byte("{}")}).Encode()
	}
	s.start()
	brief := []byte(`{"v":1}`)
	p := proposal(federate.Mask, "brief")
	if _, err := s.hub.Propose(p, brief); err == nil {
		t.Fatal("a brief that the proposal does not hold was taken")
	}
	p.Brief = federate.BriefDigest(brief)
	if _, err := s.hub.Propose(p, nil); err == nil {
		t.Fatal("a proposal went out without its brief")
	}
	session, err := s.hub.Propose(p, brief)
	if err != nil {
		t.Fatal(err)
	}
	if st := s.settled(session); st.Phase != federate.Done {
		t.Fatal(st.Fault)
	}
	for party, d := range s.domains { // the result is on its way to them
		for over := false; !over; time.Sleep(time.Millisecond) {
			d.mu.Lock()
			over = len(d.ends) > 0
			d.mu.Unlock()
			if t.Context().Err() != nil {
				t.Fatal(party)
			}
		}
	}
	s.stop()
	if kept[session] == "" {
		t.Fatal("nothing was delivered")
	}
	for party, d := range s.domains {
		d.mu.Lock()
		if string(d.brief) != string(brief) {
			t.Errorf("%s did not get the brief", party)
		}
		if len(d.ends) != 1 || d.ends[0] != "released "+kept[session] {
			t.Errorf("%s learned %v", party, d.ends)
		}
		d.mu.Unlock()
	}
}

// R39: what the regulator did not deliver does not end a round, and nobody else delivers.
func TestR39_OnlyTheRegulatorDelivers(t *testing.T) {
	s := newSite(t)
	s.hub.c.Deliver = func(string, *federate.Proposal, *federate.Delivery, federate.Signed) error {
		t.Error("an answer of nobody was kept")
		return nil
	}
	p := proposal(federate.Mask, "deliver")
	session, err := s.hub.Propose(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"city_a", "regulator"} { // the regulator before its turn
		text := (&federate.Delivery{V: federate.Version, Session: session, From: from, Receiver: p.Receiver, Request: "request", At: 1, Brief: hash("b"), Values: hash("v"), Release: []byte("{}")}).Encode()
		sig, err := signer(from)(federate.SigningBytes(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.hub.As(from).Deliver(context.Background(), session, federate.Signed{Text: text, Sig: sig}); err == nil {
			t.Errorf("the hub took a delivery of %s", from)
		}
	}
}

func FuzzDecodeBrief(f *testing.F) {
	good := &federate.Brief{V: 1, Kind: federate.BriefQuery, Salt: hash("salt"), Region: "delta", Dataset: "funds", Purpose: "statistics", Asked: federate.Asked{Request: []byte("signed"), Salt: []byte("salt")}, Terms: federate.Terms{MaxUnits: 9, Overlap: 1, Period: "2026-10"},
		Query: &federate.QueryBrief{SQL: "SELECT 1", Price: 1, Plan: []byte(`{"a":1}`), Post: []byte(`{}`)}}
	text := string(good.Encode())
	f.Add(text)
	for _, change := range []string{`"kind":"query"=>"kind":"poem"`, `"2026-10"=>"soon"`, `"max_units":9=>"max_units":0`, `"price":1=>"price":0`, `"v":1=>"v":2`, `"salt":"=>"salt":"0`, `"region":"delta"=>"region":"Δ"`, `{"v"=>{ "v"`, `"query":{=>"model":{`, `"request":"c2lnbmVk"=>"request":""`} {
		from, to, _ := strings.Cut(change, "=>")
		bad := strings.Replace(text, from, to, 1)
		if _, fault := federate.DecodeBrief([]byte(bad)); bad == text || fault == nil {
			f.Errorf("taken: %s", bad)
		}
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, fault := federate.DecodeBrief([]byte(text))
		if fault == nil && string(b.Encode()) != text {
			t.Error("two texts are one brief")
		}
	})
}
