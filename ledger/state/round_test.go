package state

import (
	"crypto/ed25519"
	"strconv"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/query"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies/request"
)

// federation is an agreement of three cities about the city's housing fund.
func federation(receiver string) string {
	text := `kind: Federation
region: delta
hub: {party: hub, key: "@KEY:hub"}
parties:
  - {party: city_a, key: "@KEY:city_a", roles: [contributor, key]}
  - {party: city_b, key: "@KEY:city_b", roles: [contributor, key]}
  - {party: city_c, key: "@KEY:city_c", roles: [contributor]}
  - {party: overseer, key: "@KEY:overseer", roles: [regulator]}
  - {party: ` + receiver + `, key: "@KEY:institute", roles: [receiver]}
threshold: 2
schemes: [mask]
k: 3
dishonest: 1
dataset: housing_fund
columns: [district]
purposes: [urban_planning]
max_units: 4096
overlap: 2
rho: {round: "0.001", period: "0.002"}
not_before: 2026-01-01T00:00:00+08:00
not_after: 2027-01-01T00:00:00+08:00
`
	return keyMark.ReplaceAllStringFunc(text, func(m string) string { return publicText(keyMark.FindStringSubmatch(m)[1]) })
}

const roundPrice = 880_000

// joining is the entry by which a party of a round joins; change alters the proposal
// before the hub signs it.
func (w *world) joining(nonce, party string, change func(*federate.Proposal)) *entry.RoundJoined {
	w.t.Helper()
	return w.joiningIn("2026-02", nonce, party, change)
}

func (w *world) joiningIn(period, nonce, party string, change func(*federate.Proposal)) *entry.RoundJoined {
	w.t.Helper()
	core := counted("housing_fund")
	facts, _, reason := w.s.Facts(*core)
	if reason != nil {
		w.t.Fatal(reason)
	}
	plan, reason := protect.Build(*core, facts, roundPrice)
	if reason != nil {
		w.t.Fatal(reason)
	}
	q, err := query.New(plan, federate.Terms{MaxUnits: 4096, Overlap: 2, Period: period}, commitment("salt"))
	if err != nil {
		w.t.Fatal(err)
	}
	p := &federate.Proposal{V: federate.Version, Nonce: commitment(nonce), Scheme: federate.Mask, Query: q.Query(), Schema: q.Schema(), Columns: q.Columns(),
		Contributors: []string{"city_a", "city_b", "city_c"}, Regulator: "overseer", Departments: []string{"city_a", "city_b"}, Threshold: 2, Aggregator: "hub", Receiver: "institute",
		MinContributors: 3, Dishonest: 1, Deadline: w.now.Unix() + 60, Brief: commitment("brief")}
	if change != nil {
		change(p)
	}
	text := p.Encode()
	j := &entry.RoundJoined{Session: p.Session(), Party: party, Proposal: text, Sig: ed25519.Sign(keyOf("hub"), federate.SigningBytes(text)), Region: "delta", Dataset: "housing_fund",
		Purpose: "urban_planning", Period: period, MaxUnits: 4096, Overlap: 2}
	if strings.HasPrefix(party, "city") {
		j.Data = &entry.RoundData{Core: core, Query: commitment("query"), PlanPrice: roundPrice}
	}
	w.signFor(j, "institute", func(st *request.Statement) { st.Request = nonce })
	return j
}

// signFor has a round's request signed by a party; change alters what it says.
func (w *world) signFor(j *entry.RoundJoined, party string, change func(*request.Statement)) {
	w.t.Helper()
	st := request.Statement{V: request.Version, Origin: "hub.example/log", Party: "institute", Method: request.MethodRound, Request: j.Session, Purpose: j.Purpose,
		Terms:    map[string]string{request.TermRegion: j.Region, request.TermPeriod: j.Period, request.TermScheme: federate.Mask, request.TermPrice: strconv.Itoa(roundPrice)},
		IssuedAt: w.now.UnixMilli(), NotAfter: w.now.Add(request.Validity).UnixMilli(), Body: request.Commit(nil, nil)}
	change(&st)
	asked, err := request.Sign(st, keyOf(party))
	if err != nil {
		w.t.Fatal(err)
	}
	j.Request = asked
}

func (w *world) joined(j *entry.RoundJoined) *entry.Entry {
	e := w.next(entry.KindRoundJoined, "gateway")
	e.RoundJoined = j
	return e
}

func (w *world) agreed(j *entry.RoundJoined) *entry.RoundJoined {
	w.t.Helper()
	out, reasons := w.s.DecideRound(*j, w.now)
	if len(reasons) > 0 {
		w.t.Fatal(reasons[0].EN)
	}
	return out
}

func (w *world) answeredRound(session string) *entry.Entry {
	e := w.next(entry.KindRoundAnswered, "gateway")
	e.RoundAnswered = &entry.RoundAnswered{Session: session, Manifest: commitment("manifest")}
	return e
}

func (w *world) endedRound(x entry.RoundEnded) *entry.Entry {
	e := w.next(entry.KindRoundEnded, "gateway")
	e.RoundEnded = &x
	return e
}

func resultOf(session string) entry.RoundEnded {
	return entry.RoundEnded{Session: session, Release: commitment("release"), Values: commitment("values"), Manifest: commitment("manifest")}
}

// R39: a domain's part in a round is decided again at replay: its price is charged in the
// data set's budget before rows are read, once per session, and never given back; a share
// is answered once.
func TestR39_RoundsAreDecidedAgain(t *testing.T) {
	w := city(t)
	w.policy(federation("institute"), "housing_fund_centre")
	lifetime := budget.Scope{Kind: budget.ScopeLifetime, Dataset: "housing_fund"}
	before := w.s.Spent(lifetime)
	j := w.agreed(w.joining("one", "city_a", nil))
	for what, change := range map[string]func(*entry.RoundJoined){
		"a lower price":       func(j *entry.RoundJoined) { j.Data.Price-- },
		"no charge":           func(j *entry.RoundJoined) { j.Data.Charges = nil },
		"another snapshot":    func(j *entry.RoundJoined) { j.Data.Snapshot = commitment("x") },
		"another plan's rho":  func(j *entry.RoundJoined) { j.Data.PlanPrice /= 2 },
		"no data":             func(j *entry.RoundJoined) { j.Data = nil },
		"other terms":         func(j *entry.RoundJoined) { j.MaxUnits++ },
		"another period":      func(j *entry.RoundJoined) { j.Period = "2026-03" },
		"an unnamed purpose":  func(j *entry.RoundJoined) { j.Purpose = "inclusive_finance" },
		"another's signature": func(j *entry.RoundJoined) { j.Sig = ed25519.Sign(keyOf("city_b"), federate.SigningBytes(j.Proposal)) },
		"another session":     func(j *entry.RoundJoined) { j.Session = commitment("x") },
		"a stranger":          func(j *entry.RoundJoined) { j.Party = "city_d" },
		"an unknown region":   func(j *entry.RoundJoined) { j.Region = "gamma" },
		"a future key":        func(j *entry.RoundJoined) { j.Data.Epoch = 1 },
		"a literal":           func(j *entry.RoundJoined) { j.Data.Core.Tables[0].Dataset = "hrss" },
	} {
		bad := copied(t, w.joined(j))
		change(bad.RoundJoined)
		if err := w.try(bad); err == nil {
			t.Errorf("%s: entered", what)
		}
	}
	if err := w.try(w.answeredRound(j.Session)); err == nil {
		t.Error("a round was answered before it was joined")
	}
	w.must(w.joined(j))
	paid := w.s.Spent(lifetime) - before
	if p, _ := federate.DecodeProposal(j.Proposal); paid != p.Price() || paid <= 0 || paid > roundPrice {
		t.Errorf("charged %d", paid)
	}
	if err := w.try(w.joined(j)); err == nil {
		t.Error("a round was joined twice")
	}
	w.must(w.answeredRound(j.Session))
	if err := w.try(w.answeredRound(j.Session)); err == nil {
		t.Error("a round was answered twice")
	}
	other := resultOf(j.Session)
	other.Manifest = commitment("other")
	if err := w.try(w.endedRound(other)); err == nil {
		t.Error("a round ended with what was not answered")
	}
	w.must(w.endedRound(resultOf(j.Session)))
	if err := w.try(w.endedRound(entry.RoundEnded{Session: j.Session, Code: "FEDERATION_LATE"})); err == nil {
		t.Error("a round ended twice")
	}
	if r, ok := w.s.Round(j.Session); !ok || r.Phase != PhaseReleased || len(w.s.OpenRounds()) != 0 {
		t.Errorf("%+v", r)
	}

	// A round that failed keeps its price, and the period's total ends the next but one.
	second := w.agreed(w.joining("two", "city_a", nil))
	w.must(w.joined(second))
	w.must(w.endedRound(entry.RoundEnded{Session: second.Session, Code: "FEDERATION_LATE", Party: "city_b"}))
	if got := w.s.Spent(lifetime) - before; got != 2*paid {
		t.Errorf("two rounds cost %d, one %d", got, paid)
	}
	if _, reasons := w.s.DecideRound(*w.joining("three", "city_a", nil), w.now); len(reasons) != 1 || reasons[0].Code != "FEDERATION_PRICE" {
		t.Errorf("the period's budget: %v", reasons)
	}
	next := w.joiningIn("2026-03", "four", "city_a", nil)
	if _, reasons := w.s.DecideRound(*next, w.now); len(reasons) != 1 || reasons[0].Code != "FEDERATION_PERIOD" {
		t.Errorf("one snapshot under two periods: %v", reasons)
	}
	// Nor in another region, whose agreement is about the same data set.
	elsewhere := w.forked(t)
	elsewhere.policy(strings.Replace(federation("institute"), "region: delta", "region: coast", 1), "housing_fund_centre")
	coast := *next
	coast.Region = "coast"
	elsewhere.signFor(&coast, "institute", func(*request.Statement) {})
	if _, reasons := elsewhere.s.DecideRound(coast, elsewhere.now); len(reasons) != 1 || reasons[0].Code != "FEDERATION_PERIOD" {
		t.Errorf("one snapshot under two periods in two regions: %v", reasons)
	}
	w.must(w.snapshotOf("housing_fund"))
	w.must(w.joined(w.agreed(next)))
	// What stops a round before its share is made, stops the share.
	held := w.forked(t)
	held.policy(`{kind: Order, id: stop, by: housing_fund_centre, target: {kind: dataset, id: housing_fund}, stage: suspend, reason: {zh: 停}, basis: {zh: 法}}`+"\n", "housing_fund_centre")
	if err := held.try(held.answeredRound(next.Session)); err == nil || !strings.Contains(err.Error(), "suspended") {
		t.Errorf("a suspended data set was answered for: %v", err)
	}
	w.must(w.answeredRound(next.Session))
	if open := w.s.OpenRounds(); len(open) != 1 || open[0] != next.Session || len(w.s.Rounds()) != 3 {
		t.Errorf("%v", open)
	}
}

// R39: what the proposal's noise says is held against the domain's own plan; who has no
// data is charged nothing.
func TestR39_RoundsOfWrongProposals(t *testing.T) {
	w := city(t)
	w.policy(federation("institute"), "housing_fund_centre")
	for what, c := range map[string]struct {
		code   string
		change func(*federate.Proposal)
	}{
		"less noise":       {"FEDERATION_PRICE", func(p *federate.Proposal) { p.Columns[0].Sigma2.Rsh(p.Columns[0].Sigma2, 2) }},
		"more noise":       {"FEDERATION_SCHEMA", func(p *federate.Proposal) { p.Columns[0].Sigma2.Lsh(p.Columns[0].Sigma2, 1) }},
		"wider bounds":     {"FEDERATION_SCHEMA", func(p *federate.Proposal) { p.Columns[0].High++ }},
		"other data":       {"FEDERATION_DATA", func(p *federate.Proposal) { p.Query = commitment("query") }},
		"too late":         {"FEDERATION_LATE", func(p *federate.Proposal) { p.Deadline = w.now.Unix() }},
		"no brief":         {"FEDERATION_PROPOSAL", func(p *federate.Proposal) { p.Brief = "" }},
		"another receiver": {"FEDERATION_OUTSIDE", func(p *federate.Proposal) { p.Receiver = "city_c" }},
		"another hub":      {"FEDERATION_SIGNATURE", func(p *federate.Proposal) { p.Aggregator = "relay" }},
		"no contributor":   {"FEDERATION_PARTY", func(p *federate.Proposal) { p.Contributors = []string{"city_b", "city_c", "city_d"} }},
	} {
		if _, reasons := w.s.DecideRound(*w.joining("bad", "city_a", c.change), w.now); len(reasons) == 0 || reasons[0].Code != c.code {
			t.Errorf("%s: %v", what, reasons)
		}
	}
	lifetime := budget.Scope{Kind: budget.ScopeLifetime, Dataset: "housing_fund"}
	before := w.s.Spent(lifetime)
	j := w.agreed(w.joining("overseen", "overseer", nil))
	w.must(w.joined(j))
	if err := w.try(w.endedRound(resultOf(j.Session))); err == nil {
		t.Error("the regulator released what it did not answer")
	}
	late := w.answeredRound(j.Session)
	late.At += 60_000
	if err := w.try(late); err == nil {
		t.Error("answered after the deadline")
	}
	w.must(w.answeredRound(j.Session))
	w.must(w.endedRound(resultOf(j.Session)))
	if w.s.Spent(lifetime) != before {
		t.Error("who has no data was charged")
	}
	c := w.agreed(w.joining("contributing", "city_c", nil))
	w.must(w.joined(c))
	if err := w.try(w.answeredRound(c.Session)); err == nil {
		t.Error("who holds no share answered")
	}
}
