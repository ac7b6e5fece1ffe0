package gateway_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/bgv"
	"github.com/sandgate/sandgate/compute/federate/mask"
	"github.com/sandgate/sandgate/compute/federate/query"
	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/gateway/node"
	"github.com/sandgate/sandgate/ledger/metering"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
	"github.com/sandgate/sandgate/policies/signature"
)

// hubSite is a gateway that aggregates, three cities and a regulator, each with a node of
// its own that has made-up cells.
type hubSite struct {
	t     *testing.T
	a     *attack.Arena
	keys  map[string]crypto.Signer
	stops map[string]func()
	// refuses makes a city decline; schema gives it another schema.
	mu      sync.Mutex
	refuses map[string]policies.Reason
	schema  map[string]string
	deliver func(*federate.Delivery) // changes a delivery before it is signed
	// trainees stand in the place of the parties' domains in trainings; fails is in how many
	// rounds a city breaks off, says what it answers to a trial.
	trainees map[string]*hubTrainee
	fails    map[string]int
	says     map[string]string
}

// domain is what is behind the node of a party.
func (r *hubSite) domain(party string) node.Domain {
	if d, ok := r.trainees[party]; ok {
		return d
	}
	return &hubMember{r: r, party: party, brief: map[string]*federate.Brief{}}
}

var hubCities = []string{"city_a", "city_b", "city_c"}

func newHubSite(t *testing.T) *hubSite { return newHubSiteWith(t, gateway.Options{}) }

func newHubSiteWith(t *testing.T, opt gateway.Options) *hubSite {
	t.Helper()
	a, err := attack.NewInside(t.TempDir(), opt)
	if err != nil {
		t.Fatal(err)
	}
	r := &hubSite{t: t, a: a, keys: map[string]crypto.Signer{}, stops: map[string]func(){}, refuses: map[string]policies.Reason{}, schema: map[string]string{},
		trainees: map[string]*hubTrainee{}, fails: map[string]int{}, says: map[string]string{}}
	t.Cleanup(func() {
		for _, stop := range r.stops {
			stop()
		}
		if err := a.Stop(); err != nil {
			t.Error(err)
		}
	})
	for _, c := range hubCities {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Home.NewKitWithKey(a.Keys, a.KitDir(c), c, a.Addr, key, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	a.Must(t, r.registry(""), attack.Regulator)
	x := people("joint", 0, "")
	a.Must(t, x.Catalogue()+"---\n"+x.Licences(), attack.Department, attack.Regulator)
	a.Must(t, r.agreement("delta", ""), attack.Department)
	return r
}

func (r *hubSite) key(party string) crypto.Signer {
	r.t.Helper()
	if k, ok := r.keys[party]; ok {
		return k
	}
	kit, err := home.OpenKit(r.a.KitDir(party))
	if err != nil {
		r.t.Fatal(err)
	}
	k, err := kit.SigningKey()
	if err != nil {
		r.t.Fatal(err)
	}
	r.keys[party] = k
	return k
}

func (r *hubSite) public(party string) string {
	text, err := home.PublicOf(r.key(party))
	if err != nil {
		r.t.Fatal(err)
	}
	return text
}

// registry names everybody; without withdraws a party.
func (r *hubSite) registry(without string) string {
	out := "kind: Registry\nparties:\n"
	roles := map[string]string{attack.Regulator: "regulator", attack.Department: "department", attack.Other: "department", "city_a": "department", "city_b": "department", "city_c": "department"}
	for i := range attack.Operators {
		roles[attack.Op(i)] = "operator"
	}
	for p, role := range roles {
		out += fmt.Sprintf("  - {id: %s, role: %s, title: {zh: %s}, key: %q, withdrawn: %v}\n", p, role, p, r.public(p), p == without)
	}
	return out + fmt.Sprintf("purposes:\n  - {id: %s, title: {zh: 规划}, fee: governance}\n  - {id: other, title: {zh: 其他}, fee: industry}\n", attack.Purpose)
}

// agreement is a Federation; swap replaces one text of it by another.
func (r *hubSite) agreement(name, swap string) string {
	hub, err := r.a.Client(attack.Regulator).Round.GetHub(r.t.Context(), &sandgatev1.GetHubRequest{})
	if err != nil {
		r.t.Fatal(err)
	}
	out := fmt.Sprintf("kind: Federation\nregion: %s\nhub: {party: hub, key: %q}\nparties:\n", name, hub.GetKey())
	for _, c := range hubCities {
		roles := "contributor, key"
		if c == "city_c" {
			roles = "contributor"
		}
		out += fmt.Sprintf("  - {party: %s, key: %q, roles: [%s]}\n", c, r.public(c), roles)
	}
	out += fmt.Sprintf("  - {party: %s, key: %q, roles: [regulator]}\n  - {party: %s, key: %q, roles: [receiver]}\n", attack.Regulator, r.public(attack.Regulator), attack.Op(0), r.public(attack.Op(0)))
	out += "threshold: 1\nschemes: [bgv, mask]\nk: 3\ndishonest: 0\ndataset: joint\ncolumns: [age, district, fee, flag]\n" +
		fmt.Sprintf("purposes: [%s]\nmax_units: 1000\noverlap: 2\nrho: {round: \"0.002\", period: \"0.05\"}\nnot_before: 2025-01-01T00:00:00Z\nnot_after: 2029-01-01T00:00:00Z\n", attack.Purpose)
	if from, to, ok := strings.Cut(swap, "=>"); ok {
		if !strings.Contains(out, from) {
			r.t.Fatalf("no %q in the agreement", from)
		}
		out = strings.Replace(out, from, to, 1)
	}
	return out
}

// hubMember is the domain behind a node: every cell of a city is 100.
type hubMember struct {
	r     *hubSite
	party string
	mu    sync.Mutex
	brief map[string]*federate.Brief
	sums  []int64
}

func (m *hubMember) Decide(_ context.Context, p *federate.Proposal, _ federate.Signed, brief []byte) (string, []policies.Reason) {
	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	b, f := federate.DecodeBrief(brief)
	if f != nil || p.Brief != federate.BriefDigest(brief) {
		return "", []policies.Reason{{Code: "BRIEF", ZH: "任务书", EN: "brief"}}
	}
	if x, ok := m.r.refuses[m.party]; ok {
		return "", []policies.Reason{x}
	}
	if s := m.r.schema[m.party]; s != "" {
		return s, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.brief[p.Session()], m.sums = b, nil
	return p.Schema, nil
}

func (m *hubMember) Values(context.Context, *federate.Proposal) (func([]int64) error, error) {
	return func(out []int64) error {
		for i := range out {
			out[i] = 100
		}
		return nil
	}, nil
}

func (m *hubMember) Answering(context.Context, string, *federate.Proposal, string) error { return nil }

func (m *hubMember) Released(_ context.Context, _ string, _ *federate.Proposal, part []int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sums = append(m.sums, part...)
	return nil
}

func (m *hubMember) Deliver(_ context.Context, session string, p *federate.Proposal, values string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.brief[session]
	plan, err := query.Decode(b.Query.Plan)
	if err != nil {
		return nil, err
	}
	q, err := query.New(plan, b.Terms, b.Salt)
	if err != nil {
		return nil, err
	}
	rel, err := q.Release(p, m.sums)
	if err != nil {
		return nil, err
	}
	asked, err := request.Open(b.Asked.Request)
	if err != nil {
		return nil, err
	}
	d := &federate.Delivery{V: federate.Version, Request: asked.Statement.Request, Post: b.Query.Post, Session: session, From: m.party, Receiver: p.Receiver, At: time.Now().Unix(), Brief: p.Brief, Values: values, Release: rel.Encode()}
	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	if m.r.deliver != nil {
		m.r.deliver(d)
	}
	return d.Encode(), nil
}

func (m *hubMember) Ended(string, *federate.Proposal, *federate.Result, *federate.Fault) {}

// attend starts the nodes of parties, each over a connection with its own certificate.
func (r *hubSite) attend(parties ...string) {
	r.t.Helper()
	scheme, err := bgv.New()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range parties {
		kit, err := home.OpenKit(r.a.KitDir(p))
		if err != nil {
			r.t.Fatal(err)
		}
		conf, err := kit.TLS()
		if err != nil {
			r.t.Fatal(err)
		}
		conn, err := grpc.NewClient(r.a.Addr, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
		if err != nil {
			r.t.Fatal(err)
		}
		j, err := node.OpenJournal(filepath.Join(r.t.TempDir(), p))
		if err != nil {
			r.t.Fatal(err)
		}
		key := r.key(p)
		n := node.New(node.Config{Party: p, MinContributors: 3, Schemes: []federate.Scheme{scheme, mask.Scheme{}}, Journal: j, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
			Sign:   func(text []byte) ([]byte, error) { return signature.Sign(key, text) },
			Verify: r.verify, Domain: r.domain(p)}, node.Remote(conn))
		ctx, cancel := context.WithCancel(r.t.Context())
		over := make(chan struct{})
		go func() {
			defer close(over)
			n.Run(ctx)
			j.Close()
			conn.Close()
		}()
		r.stops[p] = func() { cancel(); <-over }
	}
}

func (r *hubSite) leave(party string) {
	r.stops[party]()
	delete(r.stops, party)
}

// verify is by the keys that the cities were given of each other and of the hub.
func (r *hubSite) verify(party string, text, sig []byte) error {
	var key []byte
	if party == "hub" {
		hub, err := r.a.Client(attack.Regulator).Round.GetHub(context.Background(), &sandgatev1.GetHubRequest{})
		if err != nil {
			return err
		}
		if key, err = policies.ParsePartyKey(hub.GetKey()); err != nil {
			return err
		}
	} else {
		var err error
		if key, err = signature.Public(r.keys[party]); err != nil {
			return err
		}
	}
	if !signature.Verify(key, federate.SigningBytes(text), sig) {
		return errors.New("no")
	}
	return nil
}

func jointRequest(change func(*sandgatev1.ProposeRoundRequest)) *sandgatev1.ProposeRoundRequest {
	req := &sandgatev1.ProposeRoundRequest{RequestId: uuid.NewString(), Region: "delta", Licence: attack.LicenceID(attack.Op(0), "joint"), Purpose: attack.Purpose, Period: "2026",
		Sql: "SELECT district, COUNT(*) AS n FROM joint GROUP BY district", Seconds: 60}
	if change != nil {
		change(req)
	}
	return req
}

// run proposes a round and waits for its end.
func (r *hubSite) run(change func(*sandgatev1.ProposeRoundRequest)) *sandgatev1.Round {
	r.t.Helper()
	c := r.a.Client(attack.Op(0))
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	got, err := c.Round.ProposeRound(ctx, jointRequest(change))
	if err != nil {
		r.t.Fatal(err)
	}
	if got, err = c.FollowRound(ctx, got, nil); err != nil {
		r.t.Fatal(err)
	}
	return got
}

func (r *hubSite) refused(what, code, word string, change func(*sandgatev1.ProposeRoundRequest)) {
	r.t.Helper()
	_, err := r.a.Client(attack.Op(0)).Round.ProposeRound(r.t.Context(), jointRequest(change))
	if _, reason := wellFormed(r.t, what, err); reason != code || !strings.Contains(err.Error(), word) {
		r.t.Errorf("%s: %v, not %s with %q", what, err, code, word)
	}
}

// R39: an operator's query is added up over three cities by the gateway, which holds no
// rows; ledger, list and answer say the same, and the next start replays it.
func TestR39_HubRunsRounds(t *testing.T) {
	r := newHubSite(t)
	r.attend(append([]string{attack.Regulator}, hubCities...)...)
	for _, scheme := range []string{"bgv", "mask"} {
		got := r.run(func(q *sandgatev1.ProposeRoundRequest) { q.Scheme = scheme })
		if got.GetState() != sandgatev1.Round_STATE_RELEASED || got.GetScheme() != scheme || got.GetOverlap() != 2 || got.GetPriceNanoRho() <= 0 {
			t.Fatal(got)
		}
		answer, err := r.a.Client(attack.Op(0)).Round.GetRoundRelease(t.Context(), &sandgatev1.GetRoundReleaseRequest{Name: got.GetName()})
		if err != nil {
			t.Fatal(err)
		}
		rel := answer.GetRelease()
		if rel.GetName() != got.GetName()+"/release" || len(rel.GetRows()) != 3 || rel.GetColumns()[1].GetName() != "n" || rel.GetReceipt().GetSeq() == 0 {
			t.Fatal(rel)
		}
		for _, row := range rel.GetRows() {
			c := row.GetCells()[1]
			var n, lo, hi int
			if _, err := fmt.Sscan(c.GetValue()+" "+c.GetLower()+" "+c.GetUpper(), &n, &lo, &hi); err != nil || n < 0 || n > 600 || hi-lo < 10 {
				t.Errorf("300 people in three cities are %v", c)
			}
		}
		if d, err := federate.DecodeDelivery(answer.GetDelivery().GetText()); err != nil || r.verify(attack.Regulator, answer.GetDelivery().GetText(), answer.GetDelivery().GetSig()) != nil || d.Receiver != attack.Op(0) {
			t.Errorf("the delivery: %v", err)
		}
		r.lies(got, answer)
	}
	// The domains that have part and the regulator see it; the regulator may fetch it.
	for party, want := range map[string]int{attack.Op(0): 2, attack.Op(1): 0, "city_a": 2, attack.Department: 0, attack.Regulator: 2} {
		list, err := r.a.Client(party).Round.ListRounds(t.Context(), &sandgatev1.ListRoundsRequest{})
		if err != nil || len(list.GetRounds()) != want {
			t.Errorf("%s sees %d rounds, %v", party, len(list.GetRounds()), err)
		}
	}
	list, err := r.a.Client(attack.Regulator).Round.ListRounds(t.Context(), &sandgatev1.ListRoundsRequest{PageSize: 1})
	if err != nil || len(list.GetRounds()) != 1 || list.GetNextPageToken() == "" || list.GetRounds()[0].GetScheme() != "mask" {
		t.Fatal(list, err)
	}
	name := list.GetRounds()[0].GetName()
	for party, code := range map[string]codes.Code{attack.Op(1): codes.NotFound, attack.Department: codes.NotFound, "city_a": codes.PermissionDenied, attack.Regulator: codes.OK} {
		_, err := r.a.Client(party).Round.GetRoundRelease(t.Context(), &sandgatev1.GetRoundReleaseRequest{Name: name})
		if code == codes.OK {
			if err != nil {
				t.Error(err)
			}
		} else if got, _ := wellFormed(t, party, err); got != code {
			t.Errorf("%s: %v", party, err)
		}
	}
	for _, e := range r.a.Entries(t) {
		if strings.Contains(string(e.GetJson()), "hub_proposed") && strings.Contains(string(e.GetJson()), "nonce") {
			t.Error("the ledger holds the proposal's nonce")
		}
	}
	r.a.Domain.Look(func(s *state.State) {
		st := metering.Of(s, metering.Period{From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)}, metering.Filter{})
		if len(st.Lines) != 1 || st.Lines[0].Operator != attack.Op(0) || st.Lines[0].Calls != 2 || st.Lines[0].Rows != 6 || int64(st.Lines[0].Rho) != 2*list.GetRounds()[0].GetPriceNanoRho() ||
			len(st.Contributions) != 1 || st.Contributions[0].Calls != 2 {
			t.Errorf("two rounds are metered as %+v", st)
		}
	})
	for p := range r.stops {
		r.leave(p)
	}
	if err := r.a.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := r.a.Start(gateway.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.a.Client(attack.Op(0)).Round.GetRoundRelease(t.Context(), &sandgatev1.GetRoundReleaseRequest{Name: name}); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

// R39: what does not fit is refused by name before anything goes out, and nothing of it
// stands in the ledger.
func TestR39_HubRefusesByName(t *testing.T) {
	r := newHubSite(t)
	before := len(r.a.Entries(t))
	type q = *sandgatev1.ProposeRoundRequest
	r.refused("agreement", "FEDERATION_UNKNOWN", "gamma", func(x q) { x.Region = "gamma" })
	r.refused("licence", "LICENCE_UNKNOWN", "none", func(x q) { x.Licence = "none" })
	r.refused("purpose", "PURPOSE_NOT_LICENSED", "other", func(x q) { x.Purpose = "other" })
	r.refused("scheme", "FEDERATION_OUTSIDE", "scheme", func(x q) { x.Scheme = "ckks" })
	r.refused("period", "ROUND_PERIOD", "period", func(x q) { x.Period = "spring" })
	r.refused("seconds", "ROUND_SECONDS", "3600", func(x q) { x.Seconds = 5 })
	r.refused("stranger", "ROUND_PARTY", "domain 2", func(x q) { x.Contributors = []string{"city_a", "mars", "venus"} })
	r.refused("few", "FEDERATION_OUTSIDE", "k", func(x q) { x.Contributors = []string{"city_a", "city_b"} })
	r.refused("price", "FEDERATION_PRICE", "0.002", func(x q) { x.PriceNanoRho = 4_000_000 })
	r.refused("star", "STAR", "", func(x q) { x.Sql = "SELECT * FROM joint" })
	r.refused("post", "ROUND_POST", "post-processing", func(x q) {
		x.Sql = "SELECT n FROM (SELECT district, COUNT(*) AS n FROM joint GROUP BY district) x ORDER BY n DESC"
	})
	if _, err := r.a.Client(attack.Op(1)).Round.ProposeRound(t.Context(), jointRequest(func(x q) { x.Licence = attack.LicenceID(attack.Op(1), "joint") })); attack.Reason(err) != "ROUND_RECEIVER" {
		t.Errorf("no receiver: %v", err)
	}
	if _, err := r.a.Client("city_a").Round.ProposeRound(t.Context(), jointRequest(nil)); attack.Reason(err) != "PERMISSION_DENIED" {
		t.Errorf("a department proposes: %v", err)
	}
	hub := strings.Split(strings.Split(r.agreement("delta", ""), "hub, key: \"")[1], "\"")[0]
	for _, c := range []struct{ swap, code, word string }{
		{r.public("city_a") + "=>" + r.public(attack.Other), "ROUND_PARTY", "city_a"},
		{"party: city_b=>party: city_x", "ROUND_PARTY", "city_x"},
		{hub + "=>" + r.public(attack.Op(1)), "ROUND_HUB_KEY", ""},
	} {
		r.a.Must(t, r.agreement("delta", c.swap), attack.Department)
		r.refused(c.swap, c.code, c.word, nil)
	}
	r.a.Must(t, r.agreement("delta", "k: 3=>k:  3"), attack.Department)
	r.a.Must(t, r.registry("city_c"), attack.Regulator)
	r.refused("a party that left", "ROUND_PARTY", "city_c", nil)
	if after := len(r.a.Entries(t)); after != before+5 {
		t.Errorf("refusals left %d entries", after-before-5)
	}
}

// R39: a round fails with the name of who ended it: a domain whose policy or schema is
// another, one that left, a false delivery; it is cancelled; and another round succeeds.
func TestR39_HubNamesWhoEndedARound(t *testing.T) {
	r := newHubSite(t)
	r.attend(append([]string{attack.Regulator}, hubCities...)...)
	set := func(f func()) { r.mu.Lock(); defer r.mu.Unlock(); f() }
	failed := func(what, code, party, word string, change func(*sandgatev1.ProposeRoundRequest)) {
		t.Helper()
		got := r.run(change)
		x := got.GetReasons()
		if got.GetState() != sandgatev1.Round_STATE_FAILED || len(x) != 1 || x[0].GetCode() != code || x[0].GetSetBy() != party || !strings.Contains(x[0].GetMessageEn()+x[0].GetHintEn(), word) {
			t.Errorf("%s: %v", what, got)
		}
		if _, err := r.a.Client(attack.Op(0)).Round.GetRoundRelease(t.Context(), &sandgatev1.GetRoundReleaseRequest{Name: got.GetName()}); attack.Reason(err) != code {
			t.Errorf("%s: its answer: %v", what, err)
		}
	}
	set(func() {
		r.refuses["city_b"] = policies.Reason{Code: "BUDGET_EXHAUSTED", ZH: "预算已尽", EN: "the budget is spent"}
	})
	failed("a policy", "FEDERATION_DECLINED", "city_b", "BUDGET_EXHAUSTED: the budget is spent", nil)
	set(func() { delete(r.refuses, "city_b"); r.schema["city_c"] = strings.Repeat("ab", 32) })
	failed("a schema", "FEDERATION_DECLINED", "city_c", "FEDERATION_SCHEMA: city_c: its columns, code lists or clamps differ", nil)
	set(func() {
		delete(r.schema, "city_c")
		r.deliver = func(d *federate.Delivery) { d.Release = []byte("{}") }
	})
	failed("a false delivery", "FEDERATION_DECLINED", attack.Regulator, "", nil)
	set(func() { r.deliver = func(d *federate.Delivery) { d.Values = strings.Repeat("ab", 32) } })
	failed("other values", "ROUND_UNDELIVERED", attack.Regulator, "answer", nil)
	set(func() { r.deliver = nil })
	if got := r.run(nil); got.GetState() != sandgatev1.Round_STATE_RELEASED {
		t.Fatal(got)
	}

	// One leaves in mid-round: the round cannot go on without city_c, which never came.
	r.leave("city_c")
	c := r.a.Client(attack.Op(0))
	waits := func() *sandgatev1.Round {
		t.Helper()
		got, err := c.Round.ProposeRound(t.Context(), jointRequest(nil))
		for err == nil && !slices.Equal(got.GetMissing(), []string{"city_c"}) {
			time.Sleep(10 * time.Millisecond)
			got, err = c.Round.GetRound(t.Context(), &sandgatev1.GetRoundRequest{Name: got.GetName()})
		}
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	gone := waits()
	r.leave("city_a")
	if gone, err := c.FollowRound(t.Context(), gone, nil); err != nil || gone.GetReasons()[0].GetCode() != "FEDERATION_GONE" || gone.GetReasons()[0].GetSetBy() != "city_a" {
		t.Errorf("one that left: %v %v", gone, err)
	}
	r.attend("city_a")
	cancelled := waits()
	if _, err := r.a.Client(attack.Op(1)).Round.CancelRound(t.Context(), &sandgatev1.CancelRoundRequest{Name: cancelled.GetName()}); attack.Reason(err) != "NOT_FOUND" {
		t.Errorf("cancelled by another: %v", err)
	}
	if got, err := c.Round.CancelRound(t.Context(), &sandgatev1.CancelRoundRequest{Name: cancelled.GetName()}); err != nil || got.GetReasons()[0].GetCode() != "CANCELLED" {
		t.Errorf("cancelled: %v %v", got, err)
	}
	if _, err := c.Round.CancelRound(t.Context(), &sandgatev1.CancelRoundRequest{Name: cancelled.GetName()}); attack.Reason(err) != "NOT_CANCELLABLE" {
		t.Errorf("cancelled again: %v", err)
	}
	open := waits()
	// A licence that ends in mid-round ends it before anything is released.
	r.a.Must(t, fmt.Sprintf("kind: Revocation\nlicence: %s\nby: %s\nreason: {zh: 撤销}\n", attack.LicenceID(attack.Op(0), "joint"), attack.Regulator), attack.Regulator)
	r.attend("city_c")
	if got, err := c.FollowRound(t.Context(), open, nil); err != nil || got.GetState() != sandgatev1.Round_STATE_FAILED || got.GetReasons()[0].GetCode() != "LICENCE_ENDED" {
		t.Errorf("a licence that ended: %v %v", got, err)
	}
}

// R39: a gateway that stops in mid-round says so at its next start, and a request id that
// is known starts nothing again.
func TestR39_HubRestarts(t *testing.T) {
	r := newHubSite(t)
	c := r.a.Client(attack.Op(0))
	req := jointRequest(nil)
	got, err := c.Round.ProposeRound(t.Context(), req)
	if err != nil || got.GetState() != sandgatev1.Round_STATE_RUNNING || len(got.GetMissing()) != 4 {
		t.Fatal(got, err)
	}
	again, err := c.Round.ProposeRound(t.Context(), req)
	if err != nil || again.GetSession() != got.GetSession() {
		t.Errorf("asked again: %v %v", again, err)
	}
	req.Sql = "SELECT COUNT(*) AS n FROM joint"
	if _, err := c.Round.ProposeRound(t.Context(), req); attack.Reason(err) != "REQUEST_ID_REUSED" {
		t.Errorf("another text: %v", err)
	}
	r.refusedBusy()
	if err := r.a.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := r.a.Start(gateway.Options{}); err != nil {
		t.Fatal(err)
	}
	if got, err = r.a.Client(attack.Op(0)).Round.GetRound(t.Context(), &sandgatev1.GetRoundRequest{Name: got.GetName()}); err != nil || got.GetReasons()[0].GetCode() != "HUB_RESTARTED" {
		t.Errorf("after a restart: %v %v", got, err)
	}
}

// refusedBusy holds an operator to so many rounds at a time.
func (r *hubSite) refusedBusy() {
	r.t.Helper()
	for range 3 {
		if _, err := r.a.Client(attack.Op(0)).Round.ProposeRound(r.t.Context(), jointRequest(nil)); err != nil {
			r.t.Fatal(err)
		}
	}
	r.refused("a fifth", "ROUNDS_BUSY", "4", nil)
}
