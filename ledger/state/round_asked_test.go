package state

import (
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies/request"
)

// R04, R39: a hub asks nothing in a receiver's name that the receiver did not sign, nothing
// twice, and nothing later; every domain finds it out by its own ledger, when it decides
// and when the ledger is replayed. The control is the same round with the receiver's
// signature under it.
func TestR39_ReceiversAskThemselves(t *testing.T) {
	w := city(t)
	w.policy(federation("institute"), "housing_fund_centre")
	type st = *request.Statement
	refused := func(j *entry.RoundJoined) string {
		if _, reasons := w.s.DecideRound(*j, w.now); len(reasons) > 0 {
			return reasons[0].Code + " " + reasons[0].EN[strings.LastIndex(reasons[0].EN, ": ")+1:]
		}
		return ""
	}
	for _, party := range []string{"city_a", "city_c", "overseer"} {
		for what, c := range map[string]struct {
			by, want string
			change   func(st)
		}{
			"what was signed": {"institute", "", func(st) {}},
			"the defaults":    {"institute", "", func(s st) { delete(s.Terms, request.TermScheme) }},
			"all domains": {"institute", "", func(s st) {
				s.Terms[request.TermDomains] = DomainsDigest([]string{"city_a", "city_b", "city_c"})
			}},
			"signed by the hub":   {"hub", "FEDERATION_UNASKED SIGNATURE_INVALID", func(st) {}},
			"of another operator": {"hub", "FEDERATION_UNASKED SIGNED_REQUEST_MISMATCH", func(s st) { s.Party = "alpha" }},
			"another purpose":     {"institute", "FEDERATION_UNASKED purpose", func(s st) { s.Purpose = "inclusive_finance" }},
			"another period":      {"institute", "FEDERATION_UNASKED period", func(s st) { s.Terms[request.TermPeriod] = "2026-03" }},
			"another agreement":   {"institute", "FEDERATION_UNASKED region", func(s st) { s.Terms[request.TermRegion] = "coast" }},
			"another scheme":      {"institute", "FEDERATION_UNASKED scheme", func(s st) { s.Terms[request.TermScheme] = federate.BGV }},
			"fewer domains":       {"institute", "FEDERATION_UNASKED domains", func(s st) { s.Terms[request.TermDomains] = DomainsDigest([]string{"city_a", "city_b"}) }},
			"an unknown term":     {"institute", "FEDERATION_UNASKED rows", func(s st) { s.Terms[request.TermRows] = "3" }},
			"another act":         {"institute", "FEDERATION_UNASKED method", func(s st) { s.Method = request.MethodQuery }},
			"no text":             {"institute", "FEDERATION_UNASKED body", func(s st) { s.Body = "" }},
			"a shorter round": {"institute", "FEDERATION_UNASKED deadline", func(s st) {
				s.NotAfter = s.IssuedAt
				s.Terms[request.TermSeconds] = "10"
				s.IssuedAt -= 300_000
				s.NotAfter -= 300_000
			}},
			"a request of old":     {"institute", "FEDERATION_UNASKED deadline", func(s st) { s.IssuedAt -= 3_600_000; s.NotAfter -= 3_600_000 }},
			"a signature of later": {"institute", "FEDERATION_UNASKED SIGNATURE_INVALID", nil},
		} {
			j := w.joining("asked", party, nil)
			change := c.change
			if change == nil {
				change = func(st) {}
			}
			if w.signFor(j, c.by, change); c.change == nil {
				j.Request.Statement.Licence = "later"
			}
			if got := strings.Replace(refused(j), "  ", " ", 1); got != c.want {
				t.Errorf("%s: %s: %q, want %q", party, what, got, c.want)
			}
			if j.Data != nil && c.want != "" {
				// The control: nothing but this check stands in the way.
				p, _ := federate.DecodeProposal(j.Proposal)
				_, reason := w.s.roundData(p, *j, w.now)
				if reasons := w.s.book.DecideRound(w.s.roundOf(p, j, 0, w.now)); len(reasons) > 0 || reason != nil {
					t.Errorf("%s: %s: refused for another reason: %v %v", party, what, reasons, reason)
				}
				// Replay is the same function.
				forged := w.agreed(w.joining("asked", party, nil))
				forged.Request = j.Request
				if err := w.try(w.joined(forged)); err == nil {
					t.Errorf("%s: %s: entered", party, what)
				}
			}
		}
	}
}

// R39: one signature asks once, of whomever it asks, and the price is the one that was
// signed or, left open, the domain's own default.
func TestR39_ARequestIsUsedOnce(t *testing.T) {
	w := city(t)
	w.policy(federation("institute"), "housing_fund_centre")
	w.must(w.joined(w.agreed(w.joining("one", "city_a", nil))))
	again := w.joining("two", "city_a", nil)
	w.signFor(again, "institute", func(s *request.Statement) { s.Request = "one" })
	if _, reasons := w.s.DecideRound(*again, w.now); len(reasons) != 1 || reasons[0].Code != "FEDERATION_REPLAYED" {
		t.Errorf("a request was used twice: %v", reasons)
	}
	w.agreed(w.joining("two", "city_a", nil))
	for name, c := range map[string]func(*request.Statement){
		"another price": func(s *request.Statement) { s.Terms[request.TermPrice] = "879999" },
		"no number":     func(s *request.Statement) { s.Terms[request.TermPrice] = "much" },
		"the default":   func(s *request.Statement) { delete(s.Terms, request.TermPrice) },
	} {
		j := w.joining("two", "city_a", nil)
		if w.signFor(j, "institute", c); name == "the default" {
			w.agreed(j) // the price is the department's own
			j.Data.PlanPrice--
		}
		if _, reasons := w.s.DecideRound(*j, w.now); len(reasons) != 1 || reasons[0].Code != "FEDERATION_UNASKED" || !strings.HasSuffix(reasons[0].EN, request.TermPrice) {
			t.Errorf("%s: %v", name, reasons)
		}
	}
	// An agreement that names the hub's ledger takes requests for no other.
	for origin, ok := range map[string]bool{"hub.example/log": true, "other.example/log": false} {
		o := city(t)
		o.policy(strings.Replace(federation("institute"), "hub: {party: hub,", "hub: {party: hub, origin: "+origin+",", 1), "housing_fund_centre")
		if _, reasons := o.s.DecideRound(*o.joining("one", "city_a", nil), o.now); (len(reasons) == 0) != ok {
			t.Errorf("%s: %v", origin, reasons)
		}
	}
}
