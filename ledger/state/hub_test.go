package state

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies/request"
)

// hubCity is the city as the aggregator of three others, which its registry knows.
func hubCity(t *testing.T) *world {
	t.Helper()
	w := city(t)
	registry := load(t, "city/registry.yaml")
	var more strings.Builder
	for _, c := range []string{"city_a", "city_b", "city_c"} {
		fmt.Fprintf(&more, "  - {id: %s, role: department, title: {zh: %s}, key: %q}\n", c, c, publicText(c))
	}
	w.policy(strings.Replace(registry, "purposes:\n", more.String()+"purposes:\n", 1), "data_bureau")
	w.policy(hubAgreement(""), "housing_fund_centre")
	return w
}

// hubAgreement is the agreement whose regulator is the city's own; swap changes a text.
func hubAgreement(swap string) string {
	text := strings.Replace(federation("alpha"), publicText("institute"), publicText("alpha"), 1)
	text = strings.Replace(strings.ReplaceAll(text, "overseer", "data_bureau"), publicText("overseer"), publicText("data_bureau"), 1)
	if from, to, ok := strings.Cut(swap, "=>"); ok {
		text = strings.Replace(text, from, to, 1)
	}
	return text
}

func hubRequest(request string) entry.HubRequest {
	return entry.HubRequest{Round: HubRoundID("alpha", request), Request: request, Licence: "alpha-2026", Purpose: "urban_planning", Region: "delta", Period: "2026-02",
		Core: counted("housing_fund"), Query: commitment("query"), Price: roundPrice}
}

// proposed is the entry by which a round is proposed, as the gateway makes it.
func (w *world) proposed(r entry.HubRequest) *entry.Entry {
	w.t.Helper()
	d := w.s.DecideHubRound(HubAsk{Operator: "alpha", Request: r, At: w.now})
	if d.Proposed == nil {
		w.t.Fatal(d.Reasons)
	}
	d.Proposed.Session = commitment("session " + r.Request)
	e := w.next(entry.KindHubProposed, "alpha")
	e.HubProposed, e.Signed = d.Proposed, w.asksRound("alpha", r)
	return e
}

func (w *world) asksRound(party string, r entry.HubRequest) *request.Signed {
	w.t.Helper()
	out, err := request.Sign(request.Statement{V: request.Version, Origin: w.s.Genesis().Origin, Party: party, Method: request.MethodRound, Request: r.Request, Licence: r.Licence,
		Purpose: r.Purpose, Terms: HubTerms(r), IssuedAt: w.now.UnixMilli(), NotAfter: w.now.Add(request.Validity).UnixMilli(), Body: request.Commit([]byte("salt"), nil)}, keyOf(party))
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// released is the entry of a round's answer, signed by a party.
func (w *world) hubReleased(round, session, from string) *entry.Entry {
	m := &federate.Message{V: federate.Version, Session: session, Kind: federate.KindResult, From: "data_bureau", At: w.now.Unix(),
		Result: &federate.Result{Manifest: commitment("manifest"), Sum: commitment("sum"), Values: commitment("values"), Release: commitment("release"), Content: commitment("encoded")}}
	text := m.Encode()
	e := w.next(entry.KindHubReleased, "gateway")
	e.HubReleased = &entry.HubReleased{Round: round, Result: text, Sig: ed25519.Sign(keyOf(from), federate.SigningBytes(text)), Digest: commitment("encoded"), Rows: 3, Bytes: 100}
	return e
}

func (w *world) hubFailed(f entry.HubFailed) *entry.Entry {
	e := w.next(entry.KindHubFailed, "gateway")
	e.HubFailed = &f
	return e
}

// R39: what the aggregator proposed is decided again at replay: who asked, under which
// licence and agreement, for what price; and no answer is entered that the regulator did
// not sign.
func TestR39_HubRoundsAreDecidedAgain(t *testing.T) {
	w := hubCity(t)
	good := w.proposed(hubRequest("one"))
	for what, change := range map[string]func(*entry.HubProposed){
		"a lower price":     func(p *entry.HubProposed) { p.Price-- },
		"another agreement": func(p *entry.HubProposed) { p.Agreement = commitment("x") },
		"fewer domains":     func(p *entry.HubProposed) { p.Contributors = p.Contributors[:2] },
		"another scheme":    func(p *entry.HubProposed) { p.Scheme = "bgv" },
		"a later deadline":  func(p *entry.HubProposed) { p.Deadline++ },
		"another period":    func(p *entry.HubProposed) { p.Request.Period = "2026-03" },
		"another purpose":   func(p *entry.HubProposed) { p.Request.Purpose = "public_health" },
		"another id":        func(p *entry.HubProposed) { p.Request.Round = HubRoundID("beta", "one") },
		"no session":        func(p *entry.HubProposed) { p.Session = "" },
		"no core":           func(p *entry.HubProposed) { p.Request.Core = nil },
		"a price unsigned":  func(p *entry.HubProposed) { p.Request.Price-- },
		"domains unsigned":  func(p *entry.HubProposed) { p.Request.Contributors = slices.Clone(p.Contributors) },
	} {
		bad := copied(t, good)
		change(bad.HubProposed)
		if err := w.try(bad); err == nil {
			t.Errorf("%s: entered", what)
		}
	}
	foreign := copied(t, good)
	foreign.Actor = "beta"
	unsigned := copied(t, good)
	unsigned.Signed = nil
	other := copied(t, good)
	other.Signed = w.asksRound("beta", good.HubProposed.Request)
	for what, bad := range map[string]*entry.Entry{"another's": foreign, "nobody's": unsigned, "signed by another": other} {
		if err := w.try(bad); err == nil {
			t.Errorf("%s: entered", what)
		}
	}
	w.must(good)
	if err := w.try(w.proposed(hubRequest("one"))); err == nil {
		t.Error("a request id was used twice")
	}
	id, session := good.HubProposed.Request.Round, good.HubProposed.Session
	late := w.hubReleased(id, session, "data_bureau")
	forged := w.hubReleased(id, session, "data_bureau")
	forged.HubReleased.Digest = commitment("another release")
	late.At = good.HubProposed.Deadline * 1000
	for what, bad := range map[string]*entry.Entry{
		"after the deadline":   late,
		"another release":      forged,
		"not the regulator's":  w.hubReleased(id, session, "city_a"),
		"of another session":   w.hubReleased(id, commitment("x"), "data_bureau"),
		"of an unknown round":  w.hubReleased(HubRoundID("alpha", "x"), session, "data_bureau"),
		"a stranger to blame":  w.hubFailed(entry.HubFailed{Round: id, Code: "FEDERATION_LATE", Party: "city_d"}),
		"an order that is not": w.hubFailed(entry.HubFailed{Round: id, Code: "LICENCE_ENDED", Rule: "licence/alpha-2026", By: "data_bureau"}),
		"cancelled by nobody":  w.hubFailed(entry.HubFailed{Round: id, Code: Cancelled, By: "alpha"}),
	} {
		if err := w.try(bad); err == nil {
			t.Errorf("%s: entered", what)
		}
	}
	before := w.s.Released()
	w.must(w.hubReleased(id, session, "data_bureau"))
	if r, ok := w.s.HubRound(id); !ok || r.Phase != PhaseReleased || r.Overlap != 2 || r.Regulator != "data_bureau" || len(r.Parties) != 4 || w.s.Released() != before+1 {
		t.Errorf("%+v", r)
	}
	if err := w.try(w.hubFailed(entry.HubFailed{Round: id, Code: "FEDERATION_LATE"})); err == nil {
		t.Error("a round ended twice")
	}
	if len(w.s.OpenHubRounds()) != 0 || len(w.s.HubRounds()) != 1 {
		t.Error(w.s.OpenHubRounds())
	}
}

// R39: rounds fail with a party's name, are cancelled by who may, and stop when what let
// them be proposed ends.
func TestR39_HubRoundsEnd(t *testing.T) {
	w := hubCity(t)
	begin := func(request string) string {
		t.Helper()
		e := w.proposed(hubRequest(request))
		w.must(e)
		return e.HubProposed.Request.Round
	}
	failed := begin("failed")
	w.must(w.hubFailed(entry.HubFailed{Round: failed, Code: "FEDERATION_DECLINED", Party: "city_b", Reason: hubReason("FEDERATION_DECLINED", "federation", "city_b", "不参加", "no")}))
	cancelled := begin("cancelled")
	for party, ok := range map[string]bool{"beta": false, "hrss": false} {
		e := w.hubFailed(entry.HubFailed{Round: cancelled, Code: Cancelled, By: party})
		e.Signed = w.act(party, ActCancelHubRound(cancelled))
		if err := w.try(e); (err == nil) != ok {
			t.Errorf("cancelled by %s: %v", party, err)
		}
	}
	e := w.hubFailed(entry.HubFailed{Round: cancelled, Code: Cancelled, By: "data_bureau"})
	e.Signed = w.act("data_bureau", ActCancelHubRound(cancelled))
	w.must(e)
	stopped := begin("stopped")
	if x := w.s.StoppedHubRound(w.s.Book(), stopped, w.now); x != nil {
		t.Fatalf("stopped by %v", x)
	}
	w.policy(hubAgreement("k: 3=>k:  3"), "housing_fund_centre")
	if x := w.s.StoppedHubRound(w.s.Book(), stopped, w.now); x != nil {
		t.Errorf("stopped by an agreement that says the same: %v", x)
	}
	w.policy(hubAgreement("overlap: 2=>overlap: 3"), "housing_fund_centre")
	x := w.s.StoppedHubRound(w.s.Book(), stopped, w.now)
	if x == nil || x.Code != "FEDERATION_CHANGED" {
		t.Fatalf("not stopped by another agreement: %v", x)
	}
	r, _ := w.s.HubRound(stopped)
	if err := w.try(w.hubReleased(stopped, r.Proposed.Session, "data_bureau")); err == nil {
		t.Error("released under an agreement that was changed")
	}
	w.must(w.hubFailed(*x))
	if got, ok := w.s.HubRound(stopped); !ok || got.Phase != PhaseFailed {
		t.Error(got)
	}
}

// R39: the aggregator refuses a round by name before any domain is asked.
func TestR39_HubRefuses(t *testing.T) {
	w := hubCity(t)
	ask := func(change func(*entry.HubRequest)) string {
		r := hubRequest("asked")
		change(&r)
		d := w.s.DecideHubRound(HubAsk{Operator: "alpha", Request: r, At: w.now})
		if d.Proposed != nil {
			return ""
		}
		return d.Reasons[0].Code
	}
	for want, change := range map[string]func(*entry.HubRequest){
		"":                   func(*entry.HubRequest) {},
		"FEDERATION_UNKNOWN": func(r *entry.HubRequest) { r.Region = "gamma" },
		"ROUND_PERIOD":       func(r *entry.HubRequest) { r.Period = "2026-13" },
		"ROUND_SECONDS":      func(r *entry.HubRequest) { r.Seconds = 9 },
		"ROUND_DATASET":      func(r *entry.HubRequest) { r.Core = counted("population") },
		"NO_QUERY":           func(r *entry.HubRequest) { r.Core = nil },
		"LICENCE_UNKNOWN":    func(r *entry.HubRequest) { r.Licence = "beta-2026" },
		"PURPOSE_UNKNOWN":    func(r *entry.HubRequest) { r.Purpose = "leisure" },
		"ROUND_PARTY":        func(r *entry.HubRequest) { r.Contributors = []string{"city_b", "city_a", "city_c"} },
		"FEDERATION_OUTSIDE": func(r *entry.HubRequest) { r.Scheme = "bgv" },
		"FEDERATION_PRICE":   func(r *entry.HubRequest) { r.Price = 1_200_000 },
		"PRICE_TOO_HIGH":     func(r *entry.HubRequest) { r.Price = 1_000_000_000 },
	} {
		if got := ask(change); got != want && want != "PRICE_TOO_HIGH" || got == "" && want != "" {
			t.Errorf("refused as %q, not as %q", got, want)
		}
	}
	w.now = time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC)
	if got := ask(func(*entry.HubRequest) {}); got == "" {
		t.Error("proposed when agreement and licence are over")
	}
	w.now = start.Add(time.Hour)
	for i := range hubRoundsOfOne {
		w.must(w.proposed(hubRequest(fmt.Sprint("r", i))))
	}
	if got := ask(func(*entry.HubRequest) {}); got != "ROUNDS_BUSY" {
		t.Errorf("a fifth round: %q", got)
	}
}
