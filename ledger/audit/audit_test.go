package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/internal/leak"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

const origin = "sandgate.test/city"

func seedOf(name string) []byte {
	sum := sha256.Sum256([]byte(name))
	return sum[:]
}

func keyOf(name string) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(seedOf(name)) }

func publicText(name string) string {
	return base64.StdEncoding.EncodeToString(keyOf(name).Public().(ed25519.PublicKey))
}

// trust is what the auditor pinned.
func trust(t testing.TB) *Trust {
	t.Helper()
	key, err := ledger.VerifierKey(origin, keyOf("log").Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return &Trust{Origin: origin, Regulator: "data_bureau", RegulatorKey: publicText("data_bureau"), LogKey: key, ReceiptKey: publicText("receipts")}
}

// book writes entries that follow from the rules, and on demand ones that do not.
type book struct {
	t       testing.TB
	s       *state.State
	entries [][]byte
	now     time.Time
}

// add fills an entry that follows. forged ones are not shown to the state.
func (b *book) add(forged bool, kind entry.Kind, actor string, fill func(*entry.Entry)) {
	b.t.Helper()
	e := &entry.Entry{V: entry.Version, Seq: uint64(len(b.entries)), At: b.now.UnixMilli(), Kind: kind, Actor: actor}
	if fill != nil {
		fill(e)
	}
	text, err := entry.Encode(e)
	if err != nil {
		b.t.Fatal(err)
	}
	if !forged {
		if err := b.s.Apply(e.Seq, text); err != nil {
			b.t.Fatal(err)
		}
	}
	b.entries = append(b.entries, text)
}

var keyMark = regexp.MustCompile(`@KEY:([a-z_]+)`)

func (b *book) policy(forged bool, text string, signers ...string) {
	b.t.Helper()
	text = keyMark.ReplaceAllStringFunc(text, func(m string) string { return publicText(keyMark.FindStringSubmatch(m)[1]) })
	var env *dsse.Envelope
	var err error
	for _, p := range signers {
		if env, err = policies.Sign(env, []byte(text), p, keyOf(p)); err != nil {
			b.t.Fatal(err)
		}
	}
	raw, err := json.Marshal(env)
	if err != nil {
		b.t.Fatal(err)
	}
	docs, err := policies.ParseBundle([]byte(text))
	if err != nil {
		b.t.Fatal(err)
	}
	p := &entry.Policy{}
	if p.Envelope, err = state.Deflate(raw); err != nil {
		b.t.Fatal(err)
	}
	for _, d := range docs {
		p.Kinds = append(p.Kinds, d.Kind)
	}
	b.add(forged, entry.KindPolicy, signers[0], func(e *entry.Entry) { e.Policy = p })
}

func load(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "testdata", "city", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var owners = []string{"public_security", "civil_affairs", "hrss", "housing_fund_centre", "health"}

// begun is a city up to its first snapshots.
func begun(t testing.TB) *book {
	t.Helper()
	b := &book{t: t, s: state.New(), now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}
	b.add(false, entry.KindGenesis, "gateway", func(e *entry.Entry) { e.Genesis = trust(t) })
	b.policy(false, load(t, "registry.yaml"), "data_bureau")
	for _, d := range owners {
		b.policy(false, load(t, d+".yaml"), d)
	}
	b.policy(false, load(t, "licences/alpha-2026.yaml"), append([]string{"data_bureau"}, owners...)...)
	for _, id := range b.s.Book().Datasets() {
		d, _ := b.s.Book().Dataset(id)
		b.add(false, entry.KindSnapshot, d.Department, func(e *entry.Entry) {
			e.Snapshot = &entry.Snapshot{Dataset: id, Snapshot: id + "-1", Manifest: "m", Spec: d.SpecDigest()}
			e.Signed = signedFile(t, id, d.Department, b.now)
		})
	}
	return b
}

func (b *book) ask(text string) state.Ask {
	id := fmt.Sprint("request-", len(b.entries))
	q, _ := entry.Commit([]byte("secret"), []byte(text))
	district := algebra.Col{Name: "district", Type: algebra.Type{Kind: algebra.Text}}
	core := &algebra.Core{Tables: []algebra.Table{{Dataset: "population"}}, Keys: []algebra.Col{district}, Aggs: []algebra.Agg{{Func: algebra.CountRows}}}
	return state.Ask{Operator: "alpha", At: b.now, Request: entry.Request{Job: state.JobID("alpha", id), Request: id, Licence: "alpha-2026", Purpose: "urban_planning", Core: core, Query: q}}
}

// signedFile is what a department signs of a file.
func signedFile(t testing.TB, dataset, department string, at time.Time) *request.Signed {
	t.Helper()
	act := state.ActIngest(dataset)
	out, err := request.Sign(request.Statement{V: request.Version, Origin: origin, Party: department, Method: act.Method, Request: "file-" + dataset, Terms: act.Terms,
		IssuedAt: at.UnixMilli(), NotAfter: at.Add(request.Validity).UnixMilli(), Body: request.Commit(seedOf("salt"), nil)}, keyOf(department))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// signed is what an operator signs for an ask, by somebody's key.
func (b *book) signed(a state.Ask, by string) *request.Signed {
	b.t.Helper()
	out, err := request.Sign(request.Statement{V: request.Version, Origin: origin, Party: a.Operator, Method: request.MethodQuery, Request: a.Request.Request, Licence: a.Request.Licence,
		Purpose: a.Request.Purpose, IssuedAt: b.now.UnixMilli(), NotAfter: b.now.Add(request.Validity).UnixMilli(), Body: a.Request.Query}, keyOf(by))
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// decide records what the rules decide; change may forge it.
func (b *book) decide(a state.Ask, change func(*entry.Entry)) string {
	b.t.Helper()
	d := b.s.Decide(a)
	b.add(change != nil, d.Kind(), a.Operator, func(e *entry.Entry) {
		e.Refused, e.Repeated, e.Reserved = d.Refused, d.Repeated, d.Reserved
		e.Signed = b.signed(a, "alpha")
		if change != nil {
			change(e)
		}
	})
	return a.Request.Job
}

func (b *book) release(forged bool, job string) {
	b.t.Helper()
	b.add(forged, entry.KindReleased, "gateway", func(e *entry.Entry) {
		e.Released = &entry.Released{Job: job, Digest: hex.EncodeToString(seedOf(job))}
	})
}

// whole is an honest ledger with a bit of everything.
func whole(t testing.TB) *book {
	b := begun(t)
	job := b.decide(b.ask("q1"), nil)
	b.release(false, job)
	b.decide(b.ask("q1"), nil)
	wrong := b.ask("q2")
	wrong.Request.Purpose = "industry_research"
	b.decide(wrong, nil)
	b.add(false, entry.KindFailed, "gateway", func() func(*entry.Entry) {
		id := b.decide(b.ask("q3"), nil)
		return func(e *entry.Entry) {
			e.Seq, e.Failed = uint64(len(b.entries)), &entry.Failed{Job: id, Code: "EXECUTION_FAILED"}
		}
	}())
	b.add(false, entry.KindHeartbeat, "gateway", func(e *entry.Entry) { e.Heartbeat = &entry.Beat{Released: 1} })
	return b
}

// anything is a gateway that checks nothing.
type anything struct{}

func (anything) Apply(uint64, []byte) error { return nil }

// written is a log on disk.
type written struct {
	dir      string
	receipts []evidence.Receipt
	middle   []byte // a checkpoint over a part
	middleAt uint64
	last     []byte
}

// write puts entries into a real log under the key of the named signer.
func write(t testing.TB, entries [][]byte, signer string, machine ledger.Machine) *written {
	t.Helper()
	base := t.TempDir()
	s, _, err := ledger.NewSignerFromSeed(origin, seedOf(signer))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	w := &written{dir: filepath.Join(base, "log"), middleAt: uint64(len(entries)) - 2}
	l, err := ledger.Open(ctx, ledger.Config{Dir: w.dir, GuardDir: filepath.Join(base, "guard"), Origin: origin, Signer: s, ReceiptKey: keyOf("receipts")}, machine)
	if err != nil {
		t.Fatal(err)
	}
	put := func(from, to uint64) []byte {
		rs, err := l.Do(ctx, func() ([][]byte, error) { return entries[from:to], nil })
		if err != nil {
			t.Fatal(err)
		}
		w.receipts = append(w.receipts, rs...)
		cp, err := l.WaitPublished(ctx, to-1)
		if err != nil {
			t.Fatal(err)
		}
		return cp
	}
	w.middle = put(0, w.middleAt)
	w.last = put(w.middleAt, uint64(len(entries)))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return w
}

func audit(t testing.TB, dir string, opt Options) *Report {
	t.Helper()
	r, err := Run(context.Background(), dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	if r.OK == slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Fatal }) {
		t.Errorf("verdict %v with %+v", r.OK, r.Findings)
	}
	for _, f := range r.Findings {
		if f.ZH == "" || f.EN == "" || f.Code == "" {
			t.Errorf("finding without a text: %+v", f)
		}
	}
	return r
}

func found(r *Report, code string) string {
	for _, f := range r.Findings {
		if f.Code == code {
			return f.EN
		}
	}
	return ""
}

func replaceFile(t testing.TB, path string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestR30_TheHonestLedgerPasses(t *testing.T) {
	b := whole(t)
	w := write(t, b.entries, "log", state.New())
	steps := 0
	r := audit(t, w.dir, Options{Trust: trust(t), Receipts: w.receipts, Earlier: [][]byte{w.middle, w.last}, Progress: func(uint64, uint64) { steps++ }})
	if !r.OK || len(r.Findings) != 0 || r.Entries != uint64(len(b.entries)) || r.Origin != origin || !r.Pinned || r.Checkpoints != 2 || r.Receipts != len(b.entries) || steps == 0 {
		t.Errorf("%+v", r)
	}
	if r.Jobs["RELEASED"] != 1 || r.Jobs["REPEATED"] != 1 || r.Jobs["REFUSED"] != 1 || r.Jobs["FAILED"] != 1 || r.Refusals["PURPOSE_NOT_LICENSED"] != 1 || r.Kinds[entry.KindPolicy] != 7 {
		t.Errorf("%+v", r)
	}
	if len(r.Spending) != 3 || r.Spending[0].Spent <= 0 || r.Spending[0].Spent > r.Spending[0].Limit || !r.First.Equal(b.now) || !r.Last.Equal(b.now) {
		t.Errorf("%+v", r.Spending)
	}
	// Without a trust file the audit says whose word it took.
	if r := audit(t, w.dir, Options{}); !r.OK || found(r, "KEYS_FROM_LOG") == "" || r.Pinned {
		t.Errorf("%+v", r)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, w.dir, Options{Trust: trust(t)}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestAttack14_R05AFlippedByteFails(t *testing.T) {
	b := whole(t)
	w := write(t, b.entries, "log", state.New())
	last := uint64(len(b.entries))
	passed, tried := 0, 0
	for path, want := range map[string]string{
		fmt.Sprintf("tile/entries/000.p/%d", last): "entry 3", fmt.Sprintf("tile/0/000.p/%d", last): "tile/0/000.p", "checkpoint": "checkpoint", "journal": "",
	} {
		if path == "journal" {
			names, err := filepath.Glob(filepath.Join(w.dir, "*wal*"))
			if err != nil || len(names) != 1 {
				t.Fatalf("%v %v", names, err)
			}
			path, want = filepath.Base(names[0]), "sequence"
		}
		dir := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(dir, os.DirFS(w.dir)); err != nil {
			t.Fatal(err)
		}
		replaceFile(t, filepath.Join(dir, path), func(data []byte) []byte {
			at := len(data) / 2
			if i := bytes.Index(data, b.entries[3]); i >= 0 {
				at = i + len(b.entries[3])/2
			}
			data[at] ^= 4
			return data
		})
		r := audit(t, dir, Options{Trust: trust(t)})
		tried++
		if r.OK {
			passed++
		}
		if got := found(r, "LOG_DAMAGED"); r.OK || !strings.Contains(got, want) {
			t.Errorf("%s: %+v", path, r.Findings)
		}
	}
	untouched := audit(t, w.dir, Options{Trust: trust(t)})
	leak.Record(t, leak.Score{Attack: "14 one flipped bit of the ledger, offline audit", Figure: fmt.Sprintf("%d passed", passed), Bound: 0, Control: fmt.Sprintf("the untouched ledger passes: %v", untouched.OK), Pass: passed == 0 && untouched.OK, Trials: tried})
}

// Whoever rewrites an entry and all hashes above it lacks the log's key.
func TestR05_ARewrittenEntryIsNotSigned(t *testing.T) {
	b := whole(t)
	honest := write(t, b.entries, "log", state.New())
	forged := slices.Clone(b.entries)
	n := len(forged) - 1
	forged[n] = bytes.Replace(forged[n], []byte(`"released":1`), []byte(`"released":0`), 1)
	w := write(t, forged, "forger", anything{})
	if r := audit(t, w.dir, Options{Trust: trust(t)}); r.OK || !strings.Contains(found(r, "LOG_DAMAGED"), "checkpoint") {
		t.Errorf("signed by another key: %+v", r.Findings)
	}
	replaceFile(t, filepath.Join(w.dir, "checkpoint"), func([]byte) []byte { return honest.last })
	if r := audit(t, w.dir, Options{Trust: trust(t)}); r.OK || found(r, "LOG_DAMAGED") == "" {
		t.Errorf("under the honest checkpoint: %+v", r.Findings)
	}
}

// The holder of the log's own key can sign any history. Replay tells which entry
// does not follow from the rules.
func TestR05_ASignedForgeryFailsReplay(t *testing.T) {
	for name, forge := range map[string]func(b *book){
		"release without a reservation": func(b *book) { b.release(true, "0123456789abcdef0123") },
		"second release":                func(b *book) { j := b.decide(b.ask("q"), nil); b.release(false, j); b.release(true, j) },
		"reservation for nothing": func(b *book) {
			b.decide(b.ask("q"), func(e *entry.Entry) { e.Reserved.Price = 0 })
		},
		"over the budget": func(b *book) {
			a := b.ask("first")
			plan := b.s.Decide(a).Plan
			text := load(b.t, "public_security.yaml")
			text = text[strings.LastIndex(text, "kind: Disclosure"):]
			b.policy(false, strings.Replace(text, "    mode: dp\n", "    mode: dp\n    budget: {operator_year: \""+plan.Rho.String()+"\"}\n", 1), "public_security")
			b.release(false, b.decide(b.ask("first"), nil))
			over := b.ask("second")
			d, _ := b.s.Book().Dataset("population")
			_, limits, err := d.Limits()
			if err != nil {
				b.t.Fatal(err)
			}
			b.decide(over, func(e *entry.Entry) {
				e.Kind, e.Refused = entry.KindReserved, nil
				e.Reserved = &entry.Reserved{Request: over.Request, Mode: "dp", Snapshots: []string{"population-1"}, Price: plan.Rho, Charges: budget.Charges("population", "alpha", 2026, plan.Rho, limits)}
			})
		},
		"a reason left out": func(b *book) {
			a := b.ask("q")
			a.Request.Purpose = "industry_research"
			b.decide(a, func(e *entry.Entry) { e.Refused.Reasons = e.Refused.Reasons[1:] })
		},
		"policy nobody signed": func(b *book) {
			b.policy(true, strings.Replace(load(b.t, "public_security.yaml"), "max_rows: 1", "max_rows: 1 # so", 1), "data_bureau")
		},
		"an old bundle again": func(b *book) { b.policy(true, load(b.t, "hrss.yaml"), "hrss") },
		"clock set back": func(b *book) {
			b.add(true, entry.KindHeartbeat, "gateway", func(e *entry.Entry) { e.At, e.Heartbeat = e.At-1, &entry.Beat{} })
		},
		"not an entry": func(b *book) { b.entries = append(b.entries, []byte(`{"v":1}`)) },
		"core out of bounds": func(b *book) {
			b.decide(b.ask("q"), func(*entry.Entry) {})
			n := len(b.entries) - 1
			b.entries[n] = bytes.Replace(b.entries[n], []byte(`"keys":[{"table":0`), []byte(`"keys":[{"table":9`), 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := begun(t)
			forge(b)
			bad := len(b.entries) - 1
			// What follows would be fine by itself; it cannot be judged any more.
			b.add(true, entry.KindStopped, "gateway", nil)
			w := write(t, b.entries, "log", anything{})
			r := audit(t, w.dir, Options{Trust: trust(t), Receipts: w.receipts})
			if got := found(r, "REPLAY"); r.OK || !strings.Contains(got, fmt.Sprintf("entry %d ", bad)) {
				t.Errorf("%+v", r.Findings)
			}
			if r.Kinds[entry.KindStopped] != 0 {
				t.Error("the replay went on behind the forged entry")
			}
		})
	}
}

func TestR05_TruncationAndOtherReceiptsFail(t *testing.T) {
	b := whole(t)
	honest := write(t, b.entries, "log", state.New())
	short := write(t, b.entries[:len(b.entries)-3], "log", state.New())
	if r := audit(t, short.dir, Options{Trust: trust(t)}); !r.OK {
		t.Errorf("by itself the shortened log is whole: %+v", r.Findings)
	}
	r := audit(t, short.dir, Options{Trust: trust(t), Earlier: [][]byte{honest.last}, Receipts: honest.receipts})
	if r.OK || found(r, "INCONSISTENT") == "" || r.Checkpoints != 0 {
		t.Errorf("%+v", r.Findings)
	}
	if got := found(r, "RECEIPT_BROKEN"); got == "" || r.Receipts != len(b.entries)-3 {
		t.Errorf("%d receipts hold: %+v", r.Receipts, r.Findings)
	}
	// Another history of the same length.
	other := slices.Clone(b.entries)
	other[len(other)-1] = bytes.Replace(other[len(other)-1], []byte(`gateway.heartbeat`), []byte(`gateway.stopped`), 1)
	other[len(other)-1] = bytes.Replace(other[len(other)-1], []byte(`,"heartbeat":{"released":1}`), nil, 1)
	second := write(t, other, "log", state.New())
	r = audit(t, second.dir, Options{Trust: trust(t), Earlier: [][]byte{honest.last}, Receipts: honest.receipts})
	if r.OK || found(r, "INCONSISTENT") == "" || !strings.Contains(found(r, "RECEIPT_BROKEN"), fmt.Sprint(len(other)-1)) {
		t.Errorf("%+v", r.Findings)
	}
	if r := audit(t, second.dir, Options{Trust: trust(t), Earlier: [][]byte{[]byte("not a note")}}); r.OK {
		t.Error("a checkpoint that is none is taken for one")
	}
	forged := honest.receipts[2]
	forged.Signature = bytes.Clone(forged.Signature)
	forged.Signature[0] ^= 1
	if r := audit(t, honest.dir, Options{Trust: trust(t), Receipts: []evidence.Receipt{forged}}); r.OK || found(r, "RECEIPT_BROKEN") == "" {
		t.Errorf("%+v", r.Findings)
	}
}

func TestR30_OtherKeysThanPinnedFail(t *testing.T) {
	w := write(t, whole(t).entries, "log", state.New())
	for name, change := range map[string]func(*Trust){
		"regulator's key": func(x *Trust) { x.RegulatorKey = publicText("health") },
		"regulator":       func(x *Trust) { x.Regulator = "health" },
		"receipt key":     func(x *Trust) { x.ReceiptKey = publicText("health") },
		"origin":          func(x *Trust) { x.Origin = "elsewhere" },
	} {
		pinned := trust(t)
		change(pinned)
		if r := audit(t, w.dir, Options{Trust: pinned}); r.OK || !strings.Contains(found(r, "REPLAY"), "entry 0 ") {
			t.Errorf("%s: %+v", name, r.Findings)
		}
	}
	pinned := trust(t)
	key, err := ledger.VerifierKey(origin, keyOf("forger").Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	pinned.LogKey = key
	if r := audit(t, w.dir, Options{Trust: pinned}); r.OK || found(r, "LOG_DAMAGED") == "" {
		t.Errorf("log key: %+v", r.Findings)
	}
	pinned.LogKey = "no key"
	if _, err := Run(context.Background(), w.dir, Options{Trust: pinned}); err == nil {
		t.Error("a verifier key that is none")
	}
}

func TestNotices(t *testing.T) {
	b := whole(t)
	b.decide(b.ask("open"), nil)
	b.now = b.now.Add(time.Hour)
	text := load(t, "public_security.yaml")
	text = text[strings.LastIndex(text, "kind: Disclosure"):]
	b.policy(false, strings.Replace(text, "    mode: dp\n", "    mode: dp\n    budget: {lifetime: \"0.000001\", query: \"0.0000001\"}\n", 1), "public_security")
	b.add(false, entry.KindStopped, "gateway", nil)
	w := write(t, b.entries, "log", state.New())
	r := audit(t, w.dir, Options{Trust: trust(t)})
	if !r.OK || !strings.Contains(found(r, "OPEN_RESERVATIONS"), "1 jobs") || found(r, "UNPUBLISHED") != "" {
		t.Errorf("%+v", r.Findings)
	}
	if !strings.Contains(found(r, "ABOVE_LIMIT"), "lifetime/population") {
		t.Errorf("a limit lowered below what was spent is not told: %+v", r.Findings)
	}
	replaceFile(t, filepath.Join(w.dir, "checkpoint"), func([]byte) []byte { return w.middle })
	r = audit(t, w.dir, Options{Trust: trust(t)})
	if !r.OK || r.Unpublished != 2 || !strings.Contains(found(r, "UNPUBLISHED"), "2 entries") || r.Entries != w.middleAt {
		t.Errorf("%+v", r)
	}
}

func TestNoLedgerIsSaidClearly(t *testing.T) {
	empty := t.TempDir()
	garbage := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(garbage, "tile", "entries", "000.p"), 0o755),
		os.WriteFile(filepath.Join(garbage, "tile", "entries", "000.p", "1"), []byte{0, 2, '{', '}'}, 0o644)); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		filepath.Join(empty, "absent"): "failed to open log directory",
		empty:                          "holds no ledger",
		garbage:                        "not a genesis entry",
	} {
		if r, err := Run(context.Background(), dir, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v %v", want, r, err)
		}
	}
	for _, dir := range []string{filepath.Join(empty, "absent"), empty, garbage} {
		if r := audit(t, dir, Options{Trust: trust(t)}); r.OK {
			t.Errorf("%s passes", dir)
		}
	}
}

func TestParseTrust(t *testing.T) {
	text, err := json.Marshal(trust(t))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseTrust(text); err != nil || *got != *trust(t) {
		t.Errorf("%+v %v", got, err)
	}
	for _, bad := range []string{"", "null", "{}", "[]", `{"log_key":"a","receipt_key":"b"}`} {
		if got, err := ParseTrust([]byte(bad)); err == nil {
			t.Errorf("%q is read as %+v", bad, got)
		}
	}
}
