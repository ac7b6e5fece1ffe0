package federate_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/bgv"
	"github.com/sandgate/sandgate/compute/federate/mask"
)

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func seeded(seed string) io.Reader {
	key := sha256.Sum256([]byte(seed))
	b, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err)
	}
	return &cipher.StreamReader{S: cipher.NewCTR(b, make([]byte, 16)), R: zeros{}}
}

var lattice = func() federate.Scheme {
	s, err := bgv.New()
	if err != nil {
		panic(err)
	}
	return s
}()

var schemes = []federate.Scheme{lattice, mask.Scheme{}}

const start = int64(1_900_000_000)

func hash(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

// world is a round among parties that share nothing but bytes.
type world struct {
	t        testing.TB
	p        *federate.Proposal
	now      int64
	rounds   map[string]*federate.Round
	journals map[string]*federate.Journal
	written  map[string][][]byte
	values   map[string][]int64 // of every contributor
	parts    map[string][][]byte
	texts    map[federate.Kind]map[string]federate.Signed
	// spoil changes what a party says, before it is signed; nil drops it.
	spoil func(m *federate.Message) *federate.Message
	// spoilPart changes a part of a contribution or of a decryption share on its way.
	spoilPart  func(kind, from string, i int, part []byte) []byte
	decryptors []string
	deaf       string // a party that does not keep to the protocol, and hears nothing after it spoke
}

func keyOf(party string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(party))
	return ed25519.NewKeyFromSeed(seed[:])
}

func sign(party string, text []byte) federate.Signed {
	return federate.Signed{Text: text, Sig: ed25519.Sign(keyOf(party), federate.SigningBytes(text))}
}

func verify(party string, text, sig []byte) error {
	if !ed25519.Verify(keyOf(party).Public().(ed25519.PublicKey), federate.SigningBytes(text), sig) {
		return errors.New("no")
	}
	return nil
}

func proposal(scheme string, contributors, departments []string, threshold, cells int) *federate.Proposal {
	return &federate.Proposal{V: federate.Version, Nonce: hash("nonce"), Scheme: scheme, Query: hash("query"), Schema: hash("schema"),
		Columns: []federate.Column{{Name: "count", Cells: cells - cells/3, Low: 0, High: 1 << 20, Sigma2: big.NewInt(10_000), Sensitivity2: big.NewInt(25)}, {Name: "pay.sum", Cells: cells / 3, Low: -1 << 40, High: 1 << 40,
			Sigma2: new(big.Int).Lsh(big.NewInt(1), 60), Sensitivity2: new(big.Int).Lsh(big.NewInt(1), 50)}},
		Contributors: contributors, Regulator: "regulator", Departments: departments, Threshold: threshold, Aggregator: "gateway", Receiver: "operator",
		MinContributors: 3, Dishonest: 1, Deadline: start + 3600}
}

var fourCities = []string{"city_a", "city_b", "city_c", "city_d"}

// newWorld has every contributor hold a share of the key, and t of them open.
func newWorld(t testing.TB, scheme string, cells int) *world {
	threshold := 2
	if scheme == federate.Mask {
		threshold = 4
	}
	return worldOf(t, proposal(scheme, fourCities, fourCities, threshold, cells))
}

func worldOf(t testing.TB, p *federate.Proposal) *world {
	w := &world{t: t, p: p, now: start, journals: map[string]*federate.Journal{}, written: map[string][][]byte{}, values: map[string][]int64{}}
	for i, c := range p.Contributors {
		v := make([]int64, p.Cells())
		for j := range v {
			v[j] = int64(i*1000+j) % (1 << 20)
			if j >= p.Columns[0].Cells && j%2 == 0 && p.Columns[1].Low < 0 {
				v[j] = -v[j] << 20
			}
		}
		w.values[c] = v
	}
	w.decryptors = append([]string{p.Regulator}, p.Departments[:p.Threshold]...)
	return w
}

func (w *world) setup(party string) federate.Setup {
	if w.journals[party] == nil {
		j, err := federate.LoadJournal(w.written[party])
		if err != nil {
			w.t.Fatal(err)
		}
		w.journals[party] = j
	}
	return federate.Setup{Self: party, Schemes: schemes, Verify: verify, Random: seeded(party + w.p.Session()), MinContributors: 3, Journal: w.journals[party]}
}

// open begins the round at every party. The nodes' memory is empty, their journals stay.
func (w *world) open() *federate.Fault {
	w.rounds, w.parts = map[string]*federate.Round{}, map[string][][]byte{}
	w.texts = map[federate.Kind]map[string]federate.Signed{}
	for _, party := range append(w.p.Parties(), w.p.Aggregator) {
		r, f := federate.Open(w.setup(party), sign(w.p.Aggregator, w.p.Encode()), w.now)
		if f != nil {
			return f
		}
		w.rounds[party] = r
	}
	return nil
}

// tell signs what a party says and brings it to all others.
func (w *world) tell(from string, text []byte) *federate.Fault {
	m, err := federate.DecodeMessage(text)
	if err != nil {
		w.t.Fatalf("%s says what cannot be read: %s", from, text)
	}
	if w.spoil != nil {
		if m = w.spoil(m); m == nil {
			return nil
		}
		text = m.Encode()
	}
	s := sign(from, text)
	if w.texts[m.Kind] == nil {
		w.texts[m.Kind] = map[string]federate.Signed{}
	}
	w.texts[m.Kind][from] = s
	for _, party := range w.parties() {
		if party != from && party != w.deaf {
			if f := w.rounds[party].Receive(s, w.now); f != nil {
				return f
			}
		}
	}
	return nil
}

func (w *world) parties() []string { return append(w.p.Parties(), w.p.Aggregator) }

func (w *world) write(party string) func([]byte) error {
	return func(b []byte) error {
		w.written[party] = append(w.written[party], slices.Clone(b))
		return nil
	}
}

type saying func(party string, r *federate.Round) ([]byte, *federate.Fault)

func (w *world) all(parties []string, say saying) *federate.Fault {
	for _, party := range parties {
		text, f := say(party, w.rounds[party])
		if f != nil {
			return f
		}
		if f := w.tell(party, text); f != nil {
			return f
		}
	}
	return nil
}

// keys goes as far as the round's key.
func (w *world) keys() *federate.Fault {
	if f := w.open(); f != nil {
		return f
	}
	if f := w.all(w.p.Parties(), func(_ string, r *federate.Round) ([]byte, *federate.Fault) { return r.Accept(w.p.Schema, w.now) }); f != nil {
		return f
	}
	if f := w.all(w.p.Holders(), func(_ string, r *federate.Round) ([]byte, *federate.Fault) { return r.Commit(w.now) }); f != nil {
		return f
	}
	return w.reveal()
}

func (w *world) reveal() *federate.Fault {
	for _, holder := range w.p.Holders() {
		text, with, f := w.rounds[holder].Reveal(w.now)
		if f != nil {
			return f
		}
		if f := w.tell(holder, text); f != nil {
			return f
		}
		for i, a := range with {
			a.Bytes = w.part("key", holder, i, a.Bytes)
			for _, party := range w.parties() {
				if party == holder || a.To != "" && a.To != party || w.rounds[party].Phase() != federate.Revealing {
					continue
				}
				if f := w.rounds[party].Attach(a, w.now); f != nil && f.Reason.Code != "FEDERATION_ORDER" {
					return f
				}
			}
		}
	}
	return nil
}

func (w *world) contribute(party string, r *federate.Round) ([]byte, *federate.Fault) {
	c, f := r.Contribute(w.write(party), w.now)
	if f != nil {
		return nil, f
	}
	for v := range slices.Chunk(w.values[party], r.Shape().ChunkCells) {
		part, f := c.Part(nil, v)
		if f != nil {
			return nil, f
		}
		w.parts[party] = append(w.parts[party], part)
	}
	return c.Finish(w.now)
}

// sealed goes as far as the manifest.
func (w *world) sealed() *federate.Fault {
	if f := w.keys(); f != nil {
		return f
	}
	for _, party := range w.p.Contributors { // to the aggregator alone
		text, f := w.contribute(party, w.rounds[party])
		if f != nil {
			return f
		}
		s := sign(party, text)
		if w.spoil != nil {
			m, _ := federate.DecodeMessage(text)
			if m = w.spoil(m); m == nil {
				continue
			}
			s = sign(party, m.Encode())
		}
		if f := w.rounds[w.p.Aggregator].Receive(s, w.now); f != nil {
			return f
		}
	}
	return w.all([]string{w.p.Aggregator}, func(_ string, r *federate.Round) ([]byte, *federate.Fault) { return r.Manifest(w.decryptors, w.now) })
}

func (w *world) part(kind, from string, i int, part []byte) []byte {
	if w.spoilPart == nil {
		return part
	}
	return w.spoilPart(kind, from, i, slices.Clone(part))
}

// sum lets a holder add the parts up.
func (w *world) sum(party string) *federate.Fault {
	r := w.rounds[party]
	for i := 0; r.Phase() == federate.Summing; i++ {
		for _, from := range w.p.Contributors {
			if f := r.AddPart(from, i, w.part("data", from, i, w.parts[from][i]), w.now); f != nil {
				return f
			}
		}
	}
	return nil
}

// answer lets a holder make its share and the regulator take it.
func (w *world) answer(party string) *federate.Fault {
	r := w.rounds[party]
	s, f := r.Answer(w.write(party), w.now)
	if f != nil {
		return f
	}
	for i := range r.Shape().Chunks {
		part, f := s.Part(nil, w.now)
		if f != nil {
			return f
		}
		if party != w.p.Regulator {
			if f := w.rounds[w.p.Regulator].AddShare(party, w.part("share", party, i, part), w.now); f != nil {
				return f
			}
		}
	}
	if party == w.p.Regulator {
		return nil
	}
	text, f := s.Finish(w.now)
	if f != nil {
		return f
	}
	return w.tell(party, text)
}

// run is a whole round.
func (w *world) run() ([]int64, *federate.Fault) {
	if f := w.sealed(); f != nil {
		return nil, f
	}
	for _, party := range w.decryptors {
		if f := w.sum(party); f != nil {
			return nil, f
		}
	}
	for _, party := range w.decryptors {
		if f := w.answer(party); f != nil {
			return nil, f
		}
	}
	return w.finish()
}

func (w *world) finish() ([]int64, *federate.Fault) {
	r := w.rounds[w.p.Regulator]
	var out []int64
	for range r.Shape().Chunks {
		var f *federate.Fault
		if out, f = r.Values(out, w.now); f != nil {
			return nil, f
		}
	}
	text, f := r.Result(w.now)
	if f != nil {
		return nil, f
	}
	return out, w.tell(w.p.Regulator, text)
}

// exact is what the sums would be without noise.
func (w *world) exact() []int64 {
	out := make([]int64, w.p.Cells())
	for _, v := range w.values {
		for i, x := range v {
			out[i] += x
		}
	}
	return out
}

// bound is the noise bound of a cell.
func (w *world) bound(cell int) int64 {
	if cell < w.p.Columns[0].Cells {
		return w.p.NoiseBound(0)
	}
	return w.p.NoiseBound(1)
}

// near says whether sums are off by no more than the noise bound, and not exact.
func (w *world) near(got []int64) {
	w.t.Helper()
	off := 0
	for i, want := range w.exact() {
		bound := w.bound(i)
		d := got[i] - want
		if d > bound || d < -bound {
			w.t.Fatalf("cell %d is off by more than the noise", i)
		}
		if d != 0 {
			off++
		}
	}
	if off < len(got)*3/4 {
		w.t.Errorf("%d of %d sums are exact", len(got)-off, len(got))
	}
}

// blamed holds a fault against who and what it should name.
func blamed(t testing.TB, f *federate.Fault, code, party string) {
	t.Helper()
	if f == nil {
		t.Fatalf("no fault, want %s of %q", code, party)
	}
	if f.Reason.Code != code || f.Party != party {
		t.Fatalf("%s of %q (%s), want %s of %q", f.Reason.Code, f.Party, f.Reason.EN, code, party)
	}
	if party != "" && (!strings.Contains(f.Reason.EN, party) || !strings.Contains(f.Reason.ZH, party)) {
		t.Errorf("the fault does not name %s: %s / %s", party, f.Reason.ZH, f.Reason.EN)
	}
}
