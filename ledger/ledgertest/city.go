package ledgertest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

const regulator = "data_bureau"

var departments = []string{"civil_affairs", "health", "housing_fund_centre", "hrss", "market_regulation", "natural_resources", "public_security"}

// MinEntries hold the documents and snapshots that everything else rests on.
const MinEntries = 100

// step is the time from one entry to the next: a year has a million of them.
const step = 31 * time.Second

// city writes entries and knows the state that they lead to.
type city struct {
	opt     Options
	emit    func([]byte) error
	s       *state.State
	r       *rand.Rand
	now     time.Time
	acts    int
	asked   []question // that may be asked again
	open    []finish
	beats   time.Time
	refresh int // snapshots taken
}

// finish ends what was reserved.
type finish func() error

// Generate hands the entries to emit in order; each text is emit's to keep. The same
// options give the same entries.
func Generate(opt Options, emit func(text []byte) error) error {
	if opt.Entries < MinEntries {
		return fmt.Errorf("a ledger of %d entries was asked for; the least is %d", opt.Entries, MinEntries)
	}
	var err error
	if opt.Genesis == nil {
		if opt.Genesis, err = Trust(); err != nil {
			return err
		}
	}
	if opt.Key == nil {
		opt.Key = Key
	}
	if opt.Assets == "" {
		if opt.Assets, err = assets(); err != nil {
			return err
		}
	}
	c := &city{opt: opt, emit: emit, s: state.New(), r: rand.New(rand.NewPCG(20260301, 1)), now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}
	if err := c.found(); err != nil {
		return err
	}
	for c.s.Size() < uint64(opt.Entries) {
		if err := c.live(); err != nil {
			return err
		}
	}
	return nil
}

func assets() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("failed to find the city's documents: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "testdata", "city"), nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("failed to find the city's documents: the working directory is in no module")
		}
		dir = filepath.Dir(dir)
	}
}

// add fills an entry, applies it and hands it on.
func (c *city) add(kind entry.Kind, actor string, fill func(*entry.Entry)) error {
	e := &entry.Entry{V: entry.Version, Seq: c.s.Size(), At: c.now.UnixMilli(), Kind: kind, Actor: actor}
	if fill != nil {
		fill(e)
	}
	text, err := entry.Encode(e)
	if err != nil {
		return err
	}
	if err := c.s.ApplyEntry(e.Seq, e); err != nil {
		return err
	}
	c.now = c.now.Add(step)
	return c.emit(text)
}

var keyMark = regexp.MustCompile(`@KEY:([a-z_]+)`)

func (c *city) load(path string) (string, error) {
	text, err := os.ReadFile(filepath.Join(c.opt.Assets, path))
	if err != nil {
		return "", fmt.Errorf("failed to read document: %w", err)
	}
	return keyMark.ReplaceAllStringFunc(string(text), func(m string) string { return publicText(c.opt.Key(keyMark.FindStringSubmatch(m)[1])) }), nil
}

func (c *city) policy(text string, signers ...string) error {
	var env *dsse.Envelope
	var err error
	for _, p := range signers {
		if env, err = policies.Sign(env, []byte(text), p, c.opt.Key(p)); err != nil {
			return err
		}
	}
	raw, err := json.Marshal(env)
	if err != nil {
		return err
	}
	p := &entry.Policy{}
	if p.Envelope, err = state.Deflate(raw); err != nil {
		return err
	}
	docs, err := policies.ParseBundle([]byte(text))
	if err != nil {
		return err
	}
	for _, d := range docs {
		p.Kinds = append(p.Kinds, d.Kind)
	}
	return c.add(entry.KindPolicy, signers[0], func(e *entry.Entry) { e.Policy = p })
}

// found writes what everything rests on: keys, registry, rules, licences, product,
// consents and snapshots.
func (c *city) found() error {
	if err := c.add(entry.KindGenesis, "gateway", func(e *entry.Entry) { e.Genesis = c.opt.Genesis }); err != nil {
		return err
	}
	if err := c.start(); err != nil {
		return err
	}
	registry, err := c.load("registry.yaml")
	if err != nil {
		return err
	}
	if err := c.policy(registry, regulator); err != nil {
		return err
	}
	for _, d := range departments {
		text, err := c.load(d + ".yaml")
		if err != nil {
			return err
		}
		if d == "public_security" {
			text = strings.Replace(text, "birth_date: [filter, measure]", "birth_date: [filter, measure, verify]", 1) + "    verification: {subjects_per_month: 500000}\n"
		}
		if err := c.policy(text, d); err != nil {
			return err
		}
	}
	everybody := append([]string{regulator}, departments...)
	for _, l := range []string{"alpha-2026", "beta-2026"} {
		text, err := c.load("licences/" + l + ".yaml")
		if err != nil {
			return err
		}
		if err := c.policy(text+"jobs: [query, verification]\n", everybody...); err != nil {
			return err
		}
	}
	if err := c.product(); err != nil {
		return err
	}
	for i := range 4 {
		if err := c.consents(i); err != nil {
			return err
		}
	}
	return c.snapshots()
}

func (c *city) product() error {
	err := c.policy("kind: Product\nid: "+adult+"\noperator: alpha\nlicence: alpha-2026\ntitle: {zh: 核验}\npurposes: [urban_planning]\njob: verification\n"+
		"predicate: {dataset: population, columns: [birth_date], op: less_than, threshold: \"2005\"}\n", "alpha")
	if err != nil {
		return err
	}
	p, _ := c.s.Book().Product(adult)
	var reviews []string
	for _, by := range []string{"public_security", regulator} {
		reviews = append(reviews, fmt.Sprintf("kind: ProductReview\nproduct: %s\ndigest: %s\nby: %s\napprove: true\nofficials: [zhang]\nreason: {zh: 合规}\n", adult, p.Digest(), by))
	}
	return c.policy(strings.Join(reviews, "---\n"), regulator, "public_security")
}

// consents records one more document of subjects.
func (c *city) consents(n int) error {
	keys := make([]policies.SubjectKey, policies.MaxSubjects)
	for i := range keys {
		keys[i], _ = policies.ParseSubject(subject(n*len(keys) + i))
	}
	return c.policy(fmt.Sprintf("kind: Consent\nid: consent-%d\ndepartment: public_security\nsubjects: %s\noperator: alpha\npurposes: [urban_planning]\ndatasets: [population]\n"+
		"not_before: 2026-01-01T00:00:00Z\nnot_after: 2030-01-01T00:00:00Z\ndocument: 档案\n", n, policies.JoinSubjects(keys)), "public_security")
}

// snapshots puts a new snapshot of every data set into service.
func (c *city) snapshots() error {
	c.refresh++
	for _, id := range c.s.Book().Datasets() {
		d, _ := c.s.Book().Dataset(id)
		if d.Ready() != nil {
			continue
		}
		hash := commitment(fmt.Sprint("snapshot", id, c.refresh))
		signed, err := c.act(d.Department, state.ActIngest(id))
		if err != nil {
			return err
		}
		err = c.add(entry.KindSnapshot, d.Department, func(e *entry.Entry) {
			e.Snapshot = &entry.Snapshot{Dataset: id, Snapshot: hash, Manifest: commitment("manifest" + hash), Spec: d.SpecDigest(), Variants: d.VariantNames()}
			if c.s.Exact(id) {
				e.Snapshot.Units = 8200
			}
			e.Signed = signed
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *city) start() error {
	return c.add(entry.KindStarted, "gateway", func(e *entry.Entry) {
		e.Started = &entry.Started{Version: "test", Tier: "full", Layers: []string{"namespaces", "seccomp", "landlock"}, Storage: "encrypted", Tick: "100ms", Heartbeat: "10m0s"}
	})
}

// act is what a department signs of an act that is no job.
func (c *city) act(party string, a state.Act) (*request.Signed, error) {
	c.acts++
	st := request.Statement{Party: party, Method: a.Method, Request: requestID("act", c.acts), Terms: a.Terms}
	if a.Secret {
		st.Body = commitment("file" + strconv.Itoa(c.acts))
	}
	return c.sign(st)
}

// sign is request.Sign without the verification behind it, which the replay does.
func (c *city) sign(st request.Statement) (*request.Signed, error) {
	st.V, st.Origin = request.Version, c.opt.Genesis.Origin
	st.IssuedAt, st.NotAfter = c.now.UnixMilli(), c.now.Add(request.Validity).UnixMilli()
	text, err := st.Bytes()
	if err != nil {
		return nil, err
	}
	return &request.Signed{Statement: st, Sig: ed25519.Sign(c.opt.Key(st.Party), dsse.PAE(request.PayloadType, text))}, nil
}

func commitment(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func subject(n int) string { return commitment("subject" + strconv.Itoa(n)) }

// requestID has the form of a UUID.
func requestID(of string, n int) string {
	h := commitment(of + strconv.Itoa(n))
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-8" + h[17:20] + "-" + h[20:32]
}
