package gateway_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/home"
)

// R04, R39, an attack: a hub alone, with its key and with whatever requests it was sent,
// asks nothing in an operator's name that the operator did not sign. Every domain refuses
// by name, before anything is read or charged. The control is the same round under the
// operator's own signature.
func TestR39_AHubAsksNothingOfItsOwn(t *testing.T) {
	r := newRegion(t)
	const other = "SELECT district, COUNT(*) AS n FROM visits GROUP BY district"
	// kept is a request that the hub was sent, and still has.
	var kept federate.Asked
	// try has every party decide a round that the hub signed, as its node does.
	try := func(sql string, change func(p *federate.Proposal, b *federate.Brief)) (codes []string) {
		t.Helper()
		p, brief := r.propose(federate.Mask, sql, change)
		text := p.Encode()
		signed := federate.Signed{Text: text, Sig: ed25519.Sign(r.keys["hub"], federate.SigningBytes(text))}
		for _, party := range r.all() {
			_, reasons := r.arenas[party].Domain.Deciding(t.Context(), party, p, signed, brief)
			if len(reasons) == 0 {
				codes = append(codes, "")
				continue
			}
			if x := reasons[0]; x.SetBy != "hub" || !strings.Contains(x.EN, "institute") || !strings.Contains(x.ZH, "institute") {
				t.Errorf("%s refused %v", party, reasons)
			}
			codes = append(codes, reasons[0].Code)
		}
		return slices.Compact(codes)
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
		if got := try(c.sql, c.change); !slices.Equal(got, []string{"FEDERATION_UNASKED"}) {
			t.Errorf("%s: %v", what, got)
		}
	}
	if got := try(roundSQL, nil); !slices.Equal(got, []string{""}) {
		t.Fatalf("what the operator signed was refused: %v", got)
	}
	r.start()
	p, brief := r.propose(federate.Mask, roundSQL, func(p *federate.Proposal, b *federate.Brief) { r.sign("institute", p, b); kept = b.Asked })
	session, st := r.settled(p, brief)
	if st.Phase != federate.Done {
		t.Fatal(st.Fault)
	}
	for _, party := range r.all() {
		if x := r.round(party, session); x.Joined == nil || x.Joined.Request == nil || x.Joined.Request.Statement.Party != "institute" {
			t.Errorf("%s: its ledger does not hold the request", party)
		}
	}
	if got := try(roundSQL, func(_ *federate.Proposal, b *federate.Brief) { b.Asked = kept }); !slices.Equal(got, []string{"FEDERATION_REPLAYED"}) {
		t.Errorf("the same signature again: %v", got)
	}
	if r.spent("city_a") != p.Price() {
		t.Error("a refusal was charged")
	}
}

// R04, R39, an attack: hub and operator together, with both their keys, want the data of
// one domain. They ask it to add up with parties that they play themselves, or with too few,
// or for less noise, or to be opened by themselves. The domain's own agreement refuses all.
// The control is a domain that signed an agreement with those very parties: it would add up
// with them, and the two others' zeros would leave its own sums, but for the noise.
func TestR39_HubAndOperatorAgainstOneDomain(t *testing.T) {
	r := newRegion(t)
	city := r.arenas["city_a"]
	try := func(change func(p *federate.Proposal, b *federate.Brief)) string {
		t.Helper()
		p, brief := r.propose(federate.Mask, roundSQL, change) // the operator signs whatever it is
		text := p.Encode()
		_, reasons := city.Domain.Deciding(t.Context(), "city_a", p, federate.Signed{Text: text, Sig: ed25519.Sign(r.keys["hub"], federate.SigningBytes(text))}, brief)
		if len(reasons) == 0 {
			return ""
		}
		return reasons[0].Code
	}
	played := []string{"city_a", "played_b", "played_c"}
	sybils := func(p *federate.Proposal, _ *federate.Brief) { p.Contributors = played }
	for what, change := range map[string]func(p *federate.Proposal, b *federate.Brief){
		"parties of their own": sybils,
		"too few":              func(p *federate.Proposal, _ *federate.Brief) { p.Contributors, p.MinContributors = roundCities[:2], 2 },
		"a regulator of their own": func(p *federate.Proposal, _ *federate.Brief) {
			p.Regulator = "played_d"
		},
		"departments of their own": func(p *federate.Proposal, _ *federate.Brief) { p.Departments = []string{"played_b", "played_c"} },
		"another receiver":         func(p *federate.Proposal, _ *federate.Brief) { p.Receiver = "hub" },
		"less noise":               func(p *federate.Proposal, _ *federate.Brief) { p.Columns[0].Sigma2.Rsh(p.Columns[0].Sigma2, 8) },
		"noise that is taken out":  func(p *federate.Proposal, _ *federate.Brief) { p.Dishonest = 0 },
	} {
		if got := try(change); got == "" {
			t.Errorf("%s: the domain takes part", what)
		}
	}
	if got := try(nil); got != "" {
		t.Errorf("what the agreement has is refused: %s", got)
	}
	gullible := strings.NewReplacer("region: delta", "region: coast", "party: city_b", "party: played_b", "party: city_c", "party: played_c",
		home.PublicKey(r.keys["city_b"].Public().(ed25519.PublicKey)), home.PublicKey(attackerKey(t)), home.PublicKey(r.keys["city_c"].Public().(ed25519.PublicKey)), home.PublicKey(attackerKey(t))).Replace(r.federation("", ""))
	city.Must(t, gullible, attack.Department)
	if got := try(func(p *federate.Proposal, b *federate.Brief) {
		b.Region = "coast"
		p.Contributors, p.Departments = played, played[:2]
	}); got != "" {
		t.Errorf("control: %s", got)
	}
}

func attackerKey(t *testing.T) ed25519.PublicKey {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return public
}
