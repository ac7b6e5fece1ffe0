package gateway_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/bgv"
	"github.com/sandgate/sandgate/compute/federate/mask"
	"github.com/sandgate/sandgate/compute/federate/query"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/gateway"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/gateway/node"
	"github.com/sandgate/sandgate/ledger/metering"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

var roundCities = []string{"city_a", "city_b", "city_c"}

// region is three domains with data, a regulator's node without, and a hub that carries
// their rounds in this process.
type region struct {
	t      *testing.T
	arenas map[string]*attack.Arena
	keys   map[string]ed25519.PrivateKey
	hub    *node.Hub
	stops  map[string]func() error
	carry  func(party string) node.Carrier // nil: the hub itself
	table  func(party string) attack.Table
	agreed func(text string) string // what becomes of the agreement

	mu        sync.Mutex
	events    map[string][]gateway.RoundEvent
	delivered map[string]*federate.Delivery
	texts     map[string][]byte
	judged    map[string]map[string]node.Judgement // by trial and party
}

const units = 300 // of each city

func newRegion(t *testing.T) *region {
	return newRegionOf(t, func(string) attack.Table { return people("visits", units, "") }, func(text string) string { return text })
}

func newRegionOf(t *testing.T, table func(party string) attack.Table, agreed func(text string) string) *region {
	r := &region{t: t, table: table, agreed: agreed, judged: map[string]map[string]node.Judgement{}, arenas: map[string]*attack.Arena{}, keys: map[string]ed25519.PrivateKey{}, stops: map[string]func() error{}, events: map[string][]gateway.RoundEvent{}, delivered: map[string]*federate.Delivery{}, texts: map[string][]byte{}}
	for _, p := range append([]string{"hub", "overseer", "institute"}, roundCities...) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		r.keys[p] = key
	}
	for _, p := range append([]string{"overseer"}, roundCities...) {
		a, err := attack.NewInside(t.TempDir(), gateway.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r.arenas[p] = a
		t.Cleanup(func() {
			if err := a.Stop(); err != nil {
				t.Error(err)
			}
		})
		if p == "overseer" {
			a.Must(t, r.federation("", ""), attack.Regulator)
			continue
		}
		a.Add(t, r.table(p))
		a.Must(t, r.federation("", ""), attack.Department)
	}
	large, err := bgv.New()
	if err != nil {
		t.Fatal(err)
	}
	r.hub = node.NewHub(node.HubConfig{Schemes: []federate.Scheme{large, mask.Scheme{}}, Dir: t.TempDir(), Now: time.Now,
		Sign: func(text []byte) ([]byte, error) { return ed25519.Sign(r.keys["hub"], text), nil },
		Verify: func(party string, text, sig []byte) error {
			if !ed25519.Verify(r.keys[party].Public().(ed25519.PublicKey), federate.SigningBytes(text), sig) {
				return errors.New("no")
			}
			return nil
		},
		Deliver: func(session string, p *federate.Proposal, d *federate.Delivery, s federate.Signed) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.delivered[session], r.texts[session] = d, s.Text
			return nil
		},
		Judged: func(trial, party string, j node.Judgement) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.judged[trial] == nil {
				r.judged[trial] = map[string]node.Judgement{}
			}
			r.judged[trial][party] = j
			return nil
		}})
	t.Cleanup(r.stop) // before the arenas are
	return r
}

func (r *region) federation(from, to string) string {
	key := func(p string) string { return home.PublicKey(r.keys[p].Public().(ed25519.PublicKey)) }
	text := fmt.Sprintf(`kind: Federation
region: delta
hub: {party: hub, key: %q}
parties:
  - {party: city_a, key: %q, roles: [contributor, key]}
  - {party: city_b, key: %q, roles: [contributor, key]}
  - {party: city_c, key: %q, roles: [contributor]}
  - {party: overseer, key: %q, roles: [regulator]}
  - {party: institute, key: %q, roles: [receiver]}
threshold: 2
schemes: [bgv, mask]
k: 3
dishonest: 1
dataset: visits
columns: [district, fee]
purposes: [%s]
max_units: 4096
overlap: 1
rho: {round: "0.001", period: "0.003"}
not_before: %s
not_after: %s
`, key("hub"), key("city_a"), key("city_b"), key("city_c"), key("overseer"), key("institute"), attack.Purpose, time.Now().AddDate(-1, 0, 0).UTC().Format(time.RFC3339), time.Now().AddDate(1, 0, 0).UTC().Format(time.RFC3339))
	return r.agreed(strings.Replace(text, from, to, 1))
}

// run starts a node.
func (r *region) run(party string) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	carrier := r.hub.As(party)
	if r.carry != nil {
		carrier = r.carry(party)
	}
	d := r.arenas[party].Domain
	go func() {
		done <- d.RunNode(ctx, gateway.NodeOptions{Party: party, Key: r.keys[party], Carrier: carrier,
			Ready: func([]string) {}, Away: func(error, time.Duration) {},
			Told: func(e gateway.RoundEvent) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.events[party] = append(r.events[party], e)
			}})
	}()
	r.stops[party] = func() error { cancel(); return <-done }
}

func (r *region) all() []string { return append([]string{"overseer"}, roundCities...) }

func (r *region) start() {
	for _, p := range r.all() {
		r.run(p)
	}
}

func (r *region) halt(party string) {
	r.t.Helper()
	if stop := r.stops[party]; stop != nil {
		delete(r.stops, party)
		if err := stop(); err != nil {
			r.t.Errorf("%s: %v", party, err)
		}
	}
}

func (r *region) stop() {
	for _, p := range r.all() {
		r.halt(p)
	}
}

const roundSQL = "SELECT district, COUNT(*) AS n, SUM(fee) AS total FROM visits GROUP BY district"

// propose makes a proposal as an honest hub does; change alters it.
func (r *region) propose(scheme, sql string, change func(p *federate.Proposal, b *federate.Brief)) (*federate.Proposal, []byte) {
	r.t.Helper()
	random := make([]byte, 64)
	rand.Read(random)
	b := &federate.Brief{V: federate.Version, Kind: federate.BriefQuery, Salt: hex.EncodeToString(random[:32]), Region: "delta", Dataset: "visits", Purpose: attack.Purpose, Terms: federate.Terms{MaxUnits: 4096, Overlap: 1, Period: "2026-10"},
		Query: &federate.QueryBrief{SQL: sql, Price: int64(budget.DefaultQuery)}}
	var err error
	if b.Query.Post, err = r.arenas["city_a"].Domain.PostOf(r.t.Context(), "institute", sql, attack.Purpose); err != nil {
		r.t.Fatal(err)
	}
	plan, q, err := r.arenas["city_a"].Domain.PlanRound(r.t.Context(), "institute", b)
	if err != nil {
		r.t.Fatal(err)
	}
	if b.Query.Plan, err = query.Encode(plan); err != nil {
		r.t.Fatal(err)
	}
	p := &federate.Proposal{V: federate.Version, Nonce: hex.EncodeToString(random[32:]), Scheme: scheme, Query: q.Query(), Schema: q.Schema(), Columns: q.Columns(), Contributors: roundCities,
		Regulator: "overseer", Departments: roundCities[:2], Threshold: 2, Aggregator: "hub", Receiver: "institute", MinContributors: 3, Dishonest: 1, Deadline: time.Now().Add(3 * time.Minute).Unix()}
	if change != nil {
		change(p, b)
	}
	if b.Asked.Request == nil {
		r.sign("institute", p, b)
	}
	text := b.Encode()
	p.Brief = federate.BriefDigest(text)
	return p, text
}

// sign has a party sign what proposal and brief say, as the receiver.
func (r *region) sign(party string, p *federate.Proposal, b *federate.Brief) {
	r.t.Helper()
	b.Asked.Salt = make([]byte, request.SaltBytes)
	rand.Read(b.Asked.Salt)
	st := request.Statement{V: request.Version, Origin: "hub.example/log", Party: p.Receiver, Method: request.MethodRound, Request: uuid.NewString(), Purpose: b.Purpose,
		Terms: map[string]string{request.TermRegion: b.Region, request.TermPeriod: b.Terms.Period, request.TermScheme: p.Scheme,
			request.TermDomains: state.DomainsDigest(p.Contributors), request.TermPrice: strconv.FormatInt(b.Query.Price, 10), request.TermSeconds: "180"},
		IssuedAt: time.Now().UnixMilli(), NotAfter: time.Now().Add(request.Validity).UnixMilli(), Body: request.Commit(b.Asked.Salt, request.Query{SQL: b.Query.SQL}.Fields())}
	signed, err := request.Sign(st, r.keys[party])
	if err != nil {
		r.t.Fatal(err)
	}
	if b.Asked.Request, err = signed.Envelope(); err != nil {
		r.t.Fatal(err)
	}
}

// settled proposes and waits for the end.
func (r *region) settled(p *federate.Proposal, brief []byte) (string, node.State) {
	r.t.Helper()
	session, err := r.hub.Propose(p, brief)
	if err != nil {
		r.t.Fatal(err)
	}
	return session, r.wait(session)
}

func (r *region) wait(session string) node.State {
	r.t.Helper()
	for range 20_000 {
		st, err := r.hub.State(session)
		if err != nil {
			r.t.Fatal(err)
		}
		if st.Phase == federate.Done || st.Phase == federate.Failed {
			return st
		}
		time.Sleep(10 * time.Millisecond)
	}
	st, _ := r.hub.State(session)
	r.t.Fatalf("the round stays %s, without %v", st.Phase, st.Missing)
	return node.State{}
}

// round is what a party's ledger says of a session, once it has ended there; zero if it
// says nothing.
func (r *region) round(party, session string) (out state.Round) {
	for range 300 {
		r.arenas[party].Domain.Look(func(s *state.State) { out, _ = s.Round(session) })
		if out.Joined == nil || out.Ended != nil {
			return out
		}
		time.Sleep(10 * time.Millisecond)
	}
	return out
}

func (r *region) spent(party string) (n budget.Nano) {
	r.arenas[party].Domain.Look(func(s *state.State) { n = s.Spent(budget.Scope{Kind: budget.ScopeLifetime, Dataset: "visits"}) })
	return n
}

func (r *region) told(party, session, what string) (out []policies.Reason, ok bool) {
	for range 300 {
		r.mu.Lock()
		for _, e := range r.events[party] {
			if e.Session == session && e.What == what {
				out, ok = e.Reasons, true
			}
		}
		r.mu.Unlock()
		if ok {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return out, ok
}

// R04, R39: domains with rows, rules and ledgers of their own answer a query together;
// each pays before it reads, every ledger says the same end, and the regulator's node,
// which has no row, releases sums with everybody's noise.
func TestR39_DomainsAnswerTogether(t *testing.T) {
	r := newRegion(t)
	r.start()
	for i, scheme := range []string{federate.Mask, federate.BGV} {
		p, brief := r.propose(scheme, roundSQL, nil)
		session, st := r.settled(p, brief)
		if st.Phase != federate.Done {
			t.Fatal(st.Fault)
		}
		d := r.delivered[session]
		if d == nil || d.From != "overseer" || d.Receiver != "institute" {
			t.Fatalf("delivered %+v", d)
		}
		rel, err := release.Load(d.Release, sha256.Sum256(d.Release))
		if err != nil {
			t.Fatal(err)
		}
		rows := rel.Rows()
		if len(rows) != 3 {
			t.Fatalf("%d rows", len(rows))
		}
		for _, row := range rows {
			var n float64
			if _, err := fmt.Sscan(row[1].Value, &n); err != nil || n < units-200 || n > units+200 {
				t.Errorf("%v: %v", row, err)
			}
		}
		for _, party := range r.all() {
			x := r.round(party, session)
			if x.Phase != state.PhaseReleased || x.Ended.Release != federate.DeliveryDigest(r.texts[session]) {
				t.Errorf("%s: %+v", party, x.Ended)
			}
			if holds := party != "city_c"; (x.Answered != nil) != holds {
				t.Errorf("%s answered: %v", party, x.Answered)
			}
			if data := party != "overseer"; (x.Joined.Data != nil) != data || data && r.spent(party) != budget.Nano(i+1)*p.Price() || !data && r.spent(party) != 0 {
				t.Errorf("%s paid %d", party, r.spent(party))
			}
			r.metered(party, int64(i+1), p.Price())
		}
	}
}

// metered holds a domain's own statement to the rounds in which its data were read.
func (r *region) metered(party string, rounds int64, price budget.Nano) {
	r.t.Helper()
	r.arenas[party].Domain.Look(func(s *state.State) {
		st := metering.Of(s, metering.Period{From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)}, metering.Filter{Operator: "institute"})
		if party == "overseer" {
			if len(st.Lines) != 0 {
				r.t.Errorf("who has no data meters %+v", st.Lines)
			}
		} else if len(st.Lines) != 1 || st.Lines[0].Calls != rounds || st.Lines[0].Rho != budget.Nano(rounds)*price || st.Lines[0].Purpose != attack.Purpose ||
			len(st.Contributions) != 1 || st.Contributions[0].Department != attack.Department || st.Contributions[0].Calls != rounds {
			r.t.Errorf("%s meters %+v", party, st)
		}
	})
}

// R39: what the agreement, the catalogue or the budget of one domain does not allow ends
// the round before anything is encrypted; its name is known, its rows were not read, and
// nothing was charged.
func TestR39_DomainsRefuse(t *testing.T) {
	r := newRegion(t)
	t.Run("agreements", r.agreements)
	b := r.arenas["city_b"] // clamps otherwise than the others
	narrow := people("visits", units, "")
	narrow.Columns[2].YAML = strings.Replace(narrow.Columns[2].YAML, "1000.00", "1001.00", 1)
	for what, c := range map[string]struct {
		code   string
		sql    string
		change func(p *federate.Proposal, b *federate.Brief)
	}{
		"another region":    {"FEDERATION_UNKNOWN", roundSQL, func(_ *federate.Proposal, b *federate.Brief) { b.Region = "gamma" }},
		"another purpose":   {"FEDERATION_OUTSIDE", roundSQL, func(_ *federate.Proposal, b *federate.Brief) { b.Purpose = "other" }},
		"another receiver":  {"FEDERATION_OUTSIDE", roundSQL, func(p *federate.Proposal, _ *federate.Brief) { p.Receiver = "city_c" }},
		"a lower threshold": {"FEDERATION_OUTSIDE", roundSQL, func(p *federate.Proposal, _ *federate.Brief) { p.Departments, p.Threshold = roundCities[:1], 1 }},
		"no dishonest":      {"FEDERATION_OUTSIDE", roundSQL, func(p *federate.Proposal, _ *federate.Brief) { p.Dishonest = 0 }},
		"a column":          {"FEDERATION_OUTSIDE", "SELECT district, COUNT(*) AS n FROM visits WHERE age > 3 GROUP BY district", nil},
		"another text": {"FEDERATION_POST", roundSQL, func(_ *federate.Proposal, b *federate.Brief) {
			b.Query.SQL = strings.Replace(roundSQL, "SUM(fee)", "AVG(fee)", 1)
		}},
		"other names": {"FEDERATION_POST", roundSQL, func(_ *federate.Proposal, b *federate.Brief) {
			b.Query.SQL = strings.Replace(roundSQL, "AS total", "AS n2", 1)
		}},
		"less noise":   {"FEDERATION_SCHEMA", roundSQL, func(p *federate.Proposal, _ *federate.Brief) { p.Columns[0].Sigma2.Rsh(p.Columns[0].Sigma2, 1) }},
		"a model":      {"FEDERATION_BRIEF", roundSQL, func(_ *federate.Proposal, b *federate.Brief) { b.Kind = "poem" }},
		"no statement": {"", roundSQL, func(_ *federate.Proposal, b *federate.Brief) { b.Query.SQL = "DROP TABLE visits" }},
	} {
		p, brief := r.propose(federate.Mask, c.sql, c.change)
		r.run("city_a")
		session, st := r.settled(p, brief)
		if st.Phase != federate.Failed || st.Fault.Party == "" {
			t.Errorf("%s: %+v", what, st)
		}
		if reasons, ok := r.told("city_a", session, "refused"); !ok || c.code != "" && !slices.ContainsFunc(reasons, func(x policies.Reason) bool { return x.Code == c.code }) {
			t.Errorf("%s: told %v", what, reasons)
		}
		r.halt("city_a")
		if x := r.round("city_a", session); x.Joined != nil {
			t.Errorf("%s: it stands in the ledger", what)
		}
	}
	if r.spent("city_a") != 0 {
		t.Error("refusals were charged")
	}
	b.Must(t, narrow.Catalogue()+"# 2\n", attack.Department)
	b.Ingest(t, "visits", narrow.CSV)
	r.start()
	p, brief := r.propose(federate.Mask, roundSQL, nil)
	session, st := r.settled(p, brief)
	if st.Phase != federate.Failed || st.Fault.Party != "city_b" || st.Fault.Reason.Code != "FEDERATION_SCHEMA" && st.Fault.Reason.Code != "FEDERATION_DECLINED" {
		t.Errorf("%+v %v", st, st.Fault)
	}
	for _, party := range r.all() {
		if x := r.round(party, session); x.Joined != nil {
			t.Errorf("%s joined a round that a domain could not", party)
		}
	}
}

// stalled is a carrier over which no part leaves.
type stalled struct{ node.Carrier }

func (s stalled) SendParts(ctx context.Context, _ node.Stream, _ func() ([]byte, error)) error {
	<-ctx.Done()
	return ctx.Err()
}

// R39: a node that dies in a round ends it in its name: it does not contribute again, its
// price is spent, and another round starts. One that lost its journal has it back from
// its ledger.
func TestR39_NodeDiesAndJournalIsLost(t *testing.T) {
	r := newRegion(t)
	r.carry = func(party string) node.Carrier { return stalled{r.hub.As(party)} }
	r.run("city_c")
	r.carry = nil
	for _, p := range []string{"overseer", "city_a", "city_b"} {
		r.run(p)
	}
	p, brief := r.propose(federate.Mask, roundSQL, nil)
	session, err := r.hub.Propose(p, brief)
	if err != nil {
		t.Fatal(err)
	}
	for { // city_a has handed its data in
		st, err := r.hub.State(session)
		if err != nil || st.Fault != nil {
			t.Fatal(err, st.Fault)
		}
		if st.Phase == federate.Collecting && slices.Equal(st.Missing, []string{"city_c"}) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	dead := r.arenas["city_a"].Crash(t, gateway.Options{})
	old := r.stops["city_a"]
	r.arenas["city_a"] = dead
	dead.Domain.Look(func(s *state.State) {
		if len(s.OpenRounds()) != 1 {
			t.Errorf("%d rounds are open", len(s.OpenRounds()))
		}
	})
	r.run("city_a")
	if st := r.wait(session); st.Phase != federate.Failed || st.Fault.Party != "city_a" {
		t.Errorf("%+v", st)
	}
	if err := old(); err != nil {
		t.Error(err)
	}
	if x := r.round("city_a", session); x.Phase != state.PhaseFailed || x.Ended.Code != "NODE_RESTARTED" || r.spent("city_a") != p.Price() {
		t.Errorf("%+v, spent %d", x.Ended, r.spent("city_a"))
	}
	r.halt("city_c")
	r.run("city_c")
	again, brief := r.propose(federate.Mask, roundSQL, nil)
	first, st := r.settled(again, brief)
	if st.Phase != federate.Done {
		t.Fatal(st.Fault)
	}
	r.halt("city_a")
	journal := filepath.Join(dead.Home.Dir, "rounds", "rounds.jsonl")
	if err := os.Remove(journal); err != nil {
		t.Fatal(err)
	}
	r.run("city_a")
	third, brief := r.propose(federate.Mask, roundSQL, nil)
	last, st := r.settled(third, brief)
	if st.Phase != federate.Done {
		t.Fatal(st.Fault)
	}
	r.stop()
	text, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{first, last} {
		if !strings.Contains(string(text), `"deed":"answered","session":"`+s) {
			t.Errorf("the journal does not hold %s", s)
		}
	}
}

// R39: a home without an agreement, a party that none names and a key that is another's
// are refused by name before the hub is dialled.
func (r *region) agreements(t *testing.T) {
	try := func(domain, party, key string) string {
		err := r.arenas[domain].Domain.RunNode(t.Context(), gateway.NodeOptions{Party: party, Key: r.keys[key]})
		var refused *gateway.Refusal
		if !errors.As(err, &refused) {
			t.Fatalf("%v", err)
		}
		return refused.Reasons[0].Code
	}
	if got := try("city_a", "city_d", "city_a"); got != "FEDERATION_PARTY" {
		t.Error(got)
	}
	if got := try("city_a", "city_a", "city_b"); got != "FEDERATION_KEY" {
		t.Error(got)
	}
	bare, err := attack.NewInside(t.TempDir(), gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r.arenas["bare"] = bare
	if got := try("bare", "city_a", "city_a"); got != "FEDERATION_UNKNOWN" {
		t.Error(got)
	}
	if err := bare.Stop(); err != nil {
		t.Error(err)
	}
}
