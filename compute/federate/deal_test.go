package federate_test

import (
	"io"
	"testing"

	"github.com/sandgate/sandgate/compute/federate"
)

// bending is a scheme whose holders deal one department something else.
type bending struct {
	federate.Scheme
	victim string
}

func (s bending) Holder(c federate.Context, rnd io.Reader) (federate.Holder, error) {
	h, err := s.Scheme.Holder(c, rnd)
	return bent{h, s.victim}, err
}

type bent struct {
	federate.Holder
	victim string
}

func (h bent) Deal(to string) ([]byte, error) {
	deal, err := h.Holder.Deal(to)
	if err == nil && to == h.victim {
		deal[0] ^= 1
	}
	return deal, err
}

// R39 attack: a department deals another one what is no share of its secret. That one names
// it, before anything is encrypted, and all others hear the name.
func TestR39_AttackFalseDealIsNamed(t *testing.T) {
	w := newWorld(t, federate.BGV, 30)
	if f := w.open(); f != nil {
		t.Fatal(f)
	}
	setup := w.setup("city_b")
	setup.Schemes = []federate.Scheme{bending{lattice, "city_d"}}
	r, f := federate.Open(setup, sign(w.p.Aggregator, w.p.Encode()), w.now)
	if f != nil {
		t.Fatal(f)
	}
	w.rounds["city_b"] = r
	if f := w.all(w.p.Parties(), func(_ string, r *federate.Round) ([]byte, *federate.Fault) { return r.Accept(w.p.Schema, w.now) }); f != nil {
		t.Fatal(f)
	}
	if f := w.all(w.p.Holders(), func(_ string, r *federate.Round) ([]byte, *federate.Fault) { return r.Commit(w.now) }); f != nil {
		t.Fatal(f)
	}
	blamed(t, w.reveal(), "FEDERATION_KEY", "city_b")
	victim := w.rounds["city_d"]
	if victim.Phase() != federate.Failed {
		t.Fatal("the round goes on")
	}
	f = w.rounds["gateway"].Receive(sign("city_d", victim.Abort(w.now)), w.now)
	blamed(t, f, "FEDERATION_DECLINED", "city_d")
	if m, err := federate.DecodeMessage(victim.Abort(w.now)); err != nil || m.Abort.Party != "city_b" || m.Abort.Code != "FEDERATION_KEY" {
		t.Error("the others do not hear who it was")
	}
	// Control: the same round with honest deals comes to its key, and its sums open.
	w = newWorld(t, federate.BGV, 30)
	got, f := w.run()
	if f != nil {
		t.Fatal(f)
	}
	w.near(got)
}
