package state

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

func keyOf(party string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(party))
	return ed25519.NewKeyFromSeed(seed[:])
}

func publicText(party string) string {
	return base64.StdEncoding.EncodeToString(keyOf(party).Public().(ed25519.PublicKey))
}

var keyMark = regexp.MustCompile(`@KEY:([a-z_]+)`)

func load(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "testdata", path))
	if err != nil {
		t.Fatal(err)
	}
	return keyMark.ReplaceAllStringFunc(string(text), func(m string) string { return publicText(keyMark.FindStringSubmatch(m)[1]) })
}

// world is a ledger in memory: the entries and the state they lead to.
type world struct {
	t       testing.TB
	s       *State
	entries []*entry.Entry
	now     time.Time
	acts    int // signed so far
}

var start = time.Date(2026, 3, 1, 4, 0, 0, 0, time.UTC)

// next is an entry that would follow, without a body.
func (w *world) next(kind entry.Kind, actor string) *entry.Entry {
	return &entry.Entry{V: entry.Version, Seq: w.s.Size(), At: w.now.UnixMilli(), Kind: kind, Actor: actor}
}

// try encodes and applies an entry, as the ledger does.
func (w *world) try(e *entry.Entry) error {
	w.t.Helper()
	text, err := entry.Encode(e)
	if err != nil {
		return err
	}
	apply := func() error { return w.s.Apply(e.Seq, text) }
	if twin := w.twin(e.Kind); twin != nil {
		apply = func() error { return both(w.t, w.s, twin, e.Seq, text) }
	}
	if err := apply(); err != nil {
		return err
	}
	w.entries = append(w.entries, e)
	return nil
}

func (w *world) must(e *entry.Entry) {
	w.t.Helper()
	if err := w.try(e); err != nil {
		w.t.Fatal(err)
	}
}

func policyOf(t testing.TB, text string, signers ...string) *entry.Policy {
	t.Helper()
	var env *dsse.Envelope
	for _, p := range signers {
		var err error
		if env, err = policies.Sign(env, []byte(text), p, keyOf(p)); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := json.Marshal(env)
	if err != nil {
		t.Fatal(err)
	}
	deflated, err := Deflate(raw)
	if err != nil {
		t.Fatal(err)
	}
	docs, err := policies.ParseBundle([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p := &entry.Policy{Envelope: deflated}
	for _, d := range docs {
		p.Kinds = append(p.Kinds, d.Kind)
	}
	return p
}

func (w *world) policy(text string, signers ...string) {
	w.t.Helper()
	e := w.next(entry.KindPolicy, signers[0])
	e.Policy = policyOf(w.t, text, signers...)
	w.must(e)
}

func (w *world) snapshotOf(dataset string) *entry.Entry {
	d, _ := w.s.Book().Dataset(dataset)
	id := sha256.Sum256([]byte(fmt.Sprint(dataset, w.s.Size())))
	e := w.next(entry.KindSnapshot, d.Department)
	e.Snapshot = &entry.Snapshot{Dataset: dataset, Snapshot: hex.EncodeToString(id[:]), Manifest: hex.EncodeToString(id[:]), Spec: d.SpecDigest(), Variants: d.VariantNames()}
	if w.s.Exact(dataset) {
		e.Snapshot.Units = 8200
	}
	e.Signed = w.act(d.Department, ActIngest(dataset))
	return e
}

// act is what a party signs of an act that is no job.
func (w *world) act(party string, a Act) *request.Signed {
	w.t.Helper()
	w.acts++
	st := request.Statement{V: request.Version, Origin: w.s.Genesis().Origin, Party: party, Method: a.Method, Request: fmt.Sprint("act-", w.acts), Terms: a.Terms,
		IssuedAt: w.now.UnixMilli(), NotAfter: w.now.Add(request.Validity).UnixMilli()}
	switch {
	case a.Public != nil:
		st.Body = request.Commit(nil, a.Public)
	case a.Secret:
		st.Body = request.Commit([]byte("salt"), nil)
	}
	out, err := request.Sign(st, keyOf(party))
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

var departments = []string{"civil_affairs", "health", "housing_fund_centre", "hrss", "market_regulation", "natural_resources", "public_security"}

// forked is a world of its own that begins where w stands. A book never changes
// and is shared.
func (w *world) forked(t testing.TB) *world {
	s := *w.s
	s.snapshots, s.answers, s.requests = maps.Clone(s.snapshots), maps.Clone(s.answers), maps.Clone(s.requests)
	s.exact, s.acts = maps.Clone(s.exact), maps.Clone(s.acts)
	s.open, s.used = maps.Clone(s.open), maps.Clone(s.used)
	s.desk = desk{used: maps.Clone(s.desk.used), stray: maps.Clone(s.desk.stray), noted: maps.Clone(s.desk.noted), order: slices.Clone(s.desk.order)}
	s.destroyed, s.unknown, s.restorations = maps.Clone(s.destroyed), maps.Clone(s.unknown), maps.Clone(s.restorations)
	s.conduct, s.starts = s.conduct.clone(), slices.Clone(s.starts)
	s.verifications = s.verifications.clone()
	s.models = s.models.clone()
	s.synthetics = s.synthetics.clone()
	s.hub = s.hub.clone()
	s.rounds = rounds{map[string]*Round{}, slices.Clone(s.rounds.order), maps.Clone(s.rounds.spent), map[string]*TrainingRun{}}
	for run, r := range w.s.rounds.runs {
		own := *r
		own.Sessions = slices.Clone(r.Sessions)
		s.rounds.runs[run] = &own
	}
	for id, r := range w.s.rounds.all {
		own := *r
		s.rounds.all[id] = &own
	}
	s.keys.chain, s.keys.receipts, s.keys.handed = s.keys.chain.Clone(), slices.Clone(s.keys.receipts), slices.Clone(s.keys.handed)
	s.keys.steps = slices.Clone(s.keys.steps)
	s.keys.inForce, s.keys.epochs, s.keys.oldest, s.keys.exact = maps.Clone(s.keys.inForce), maps.Clone(s.keys.epochs), maps.Clone(s.keys.oldest), maps.Clone(s.keys.exact)
	s.keys.consents = slices.Clone(s.keys.consents)
	s.filter, s.order, s.jobs = s.filter.Clone(), slices.Clone(s.order), map[string]*Job{}
	for id, j := range w.s.jobs {
		own := *j
		s.jobs[id] = &own
	}
	return &world{t: t, s: &s, now: w.now, entries: slices.Clone(w.entries), acts: w.acts}
}

var cityOnce *world

// city is the fictional city as built gives it, built once.
func city(t testing.TB) *world {
	t.Helper()
	if cityOnce == nil {
		cityOnce = built(t)
	}
	return cityOnce.forked(t)
}

// built writes genesis, registry, every department's bundle, licences and
// snapshots.
func built(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, s: New(), now: start}
	e := w.next(entry.KindGenesis, "gateway")
	e.Genesis = &entry.Genesis{Origin: "sandgate.test/city", Regulator: "data_bureau", RegulatorKey: publicText("data_bureau"), LogKey: logKeyOf("log"), ReceiptKey: publicText("gateway")}
	w.must(e)
	e = w.next(entry.KindStarted, "gateway")
	e.Started = &entry.Started{Version: "test", Tier: "full", Layers: []string{"seccomp"}, Storage: "plain"}
	w.must(e)
	w.policy(load(t, "city/registry.yaml"), "data_bureau")
	for _, d := range departments {
		w.policy(load(t, "city/"+d+".yaml"), d)
	}
	everybody := append([]string{"data_bureau"}, departments...)
	for _, l := range []string{"alpha-2024", "alpha-2026", "beta-2026"} {
		w.policy(load(t, "city/licences/"+l+".yaml"), everybody...)
	}
	for _, id := range w.s.Book().Datasets() {
		w.must(w.snapshotOf(id))
	}
	return w
}

// limits puts a department's disclosure in force again with other budgets for
// one data set.
func (w *world) limits(department, dataset, rule string) {
	w.t.Helper()
	text := load(w.t, "city/"+department+".yaml")
	text = text[strings.LastIndex(text, "kind: Disclosure"):]
	at := strings.Index(text, "  "+dataset+":\n") + len("  "+dataset+":\n")
	if i := strings.Index(text[at:], "    budget:"); i >= 0 {
		end := at + i + strings.Index(text[at+i:], "\n") + 1
		text = text[:at+i] + text[end:]
	}
	w.policy(text[:at]+"    budget: {"+rule+"}\n"+text[at:]+fmt.Sprintf("# %d\n", w.s.Size()), department)
}

// counted is the core SELECT district, count(*) … GROUP BY district.
func counted(dataset string) *algebra.Core {
	district := algebra.Col{Name: "district", Type: algebra.Type{Kind: algebra.Text}}
	return &algebra.Core{Tables: []algebra.Table{{Dataset: dataset}}, Keys: []algebra.Col{district}, Aggs: []algebra.Agg{{Func: algebra.CountRows}}}
}

// grant is what the operators of the city ask under.
var grant = map[string][2]string{"alpha": {"alpha-2026", "urban_planning"}, "beta": {"beta-2026", "inclusive_finance"}}

// ask is a question of an operator; text stands for the canonical query.
func (w *world) ask(operator, text string, core *algebra.Core) Ask {
	id := fmt.Sprintf("%s-%d", operator, w.s.Size())
	q, _ := entry.Commit([]byte("secret"), []byte(text))
	return Ask{Operator: operator, At: w.now, Request: entry.Request{
		Job: JobID(operator, id), Request: id, Licence: grant[operator][0], Purpose: grant[operator][1], Core: core, Query: q,
	}}
}

// entryOf is the entry that records what is decided on an ask.
func (w *world) entryOf(a Ask) *entry.Entry {
	d := w.s.Decide(a)
	e := w.next(d.Kind(), a.Operator)
	e.Refused, e.Repeated, e.Reserved = d.Refused, d.Repeated, d.Reserved
	e.Signed = w.signed(a, nil)
	return e
}

// signed is what an ask's operator signs for it; change alters it before he does.
func (w *world) signed(a Ask, change func(*request.Statement)) *request.Signed {
	w.t.Helper()
	r := a.Request
	st := request.Statement{V: request.Version, Origin: w.s.Genesis().Origin, Party: a.Operator, Method: request.MethodQuery, Request: r.Request, Licence: r.Licence, Purpose: r.Purpose,
		Terms: map[string]string{}, IssuedAt: w.now.UnixMilli(), NotAfter: w.now.Add(request.Validity).UnixMilli(), Body: r.Query}
	if r.Price != 0 {
		st.Terms[request.TermPrice] = strconv.FormatInt(int64(r.Price), 10)
	}
	if r.Product != "" {
		st.Method, st.Terms[request.TermProduct] = request.MethodProduct, r.Product
		if r.Version != "" {
			st.Terms[request.TermDigest] = r.Version
		}
	}
	if change != nil {
		change(&st)
	}
	out, err := request.Sign(st, keyOf(a.Operator))
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// submit decides and records; it returns the job.
func (w *world) submit(a Ask, want entry.Kind) string {
	w.t.Helper()
	e := w.entryOf(a)
	if e.Kind != want {
		var why any
		if e.Refused != nil {
			why = e.Refused.Reasons
		}
		w.t.Fatalf("decided %s, want %s: %v", e.Kind, want, why)
	}
	w.must(e)
	return a.Request.Job
}

func (w *world) released(job string) *entry.Entry {
	e := w.next(entry.KindReleased, "gateway")
	sum := sha256.Sum256([]byte(job))
	e.Released = &entry.Released{Job: job, Digest: hex.EncodeToString(sum[:])}
	if j, _ := w.s.Job(job); j.Reserved != nil && j.Reserved.Mode == "exact" {
		e.Released.Cells = e.Released.Digest
	}
	return e
}

func (w *world) failed(job string) *entry.Entry {
	e := w.next(entry.KindFailed, "gateway")
	e.Failed = &entry.Failed{Job: job, Code: "EXECUTION_FAILED"}
	return e
}

func (w *world) codes(a Ask) []string {
	var out []string
	if d := w.s.Decide(a); d.Refused != nil {
		for _, r := range d.Refused.Reasons {
			out = append(out, r.Code)
		}
	}
	return out
}

// picture is everything observable of a state.
func picture(t testing.TB, s *State) string {
	t.Helper()
	var jobs []any
	for _, id := range s.Jobs() {
		j, _ := s.Job(id)
		owner, _ := s.JobOf(j.Operator, j.Request.Request)
		jobs = append(jobs, id, j, owner)
	}
	var book []any
	if b := s.Book(); b != nil {
		for _, id := range b.Parties() {
			p, _ := b.Party(id)
			book = append(book, p)
		}
		book = append(book, b.Orders(), b.StandingOrders())
		for _, id := range b.Licences() {
			l, _ := b.Licence(id)
			book = append(book, l, b.InForce(id, start))
		}
		for _, id := range b.Datasets() {
			d, _ := b.Dataset(id)
			snap, ok := s.Snapshot(id)
			book = append(book, d, d.SpecDigest(), snap, ok)
		}
	}
	raw, err := json.Marshal([]any{s.Size(), s.At(), s.Genesis(), book, jobs, s.Released(), s.filter, s.answers, s.requests, s.Open(), fmt.Sprint(s.used), s.desk.used, s.desk.stray, s.desk.noted, s.Noted(),
		s.conduct.refused, fmt.Sprint(s.conduct.asked), fmt.Sprint(s.starts, s.tier), s.acts, s.models.all, s.models.order, s.models.rows, s.models.calls, s.models.modules, s.models.month, s.rounds.all, s.rounds.order, s.rounds.spent, s.rounds.runs})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// copied is an entry that shares nothing with e.
func copied(t testing.TB, e *entry.Entry) *entry.Entry {
	t.Helper()
	text, err := entry.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	out, err := entry.Decode(bytes.Clone(text))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func rho(n budget.Nano) string { return `"` + n.String() + `"` }
