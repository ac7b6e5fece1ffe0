package federate_test

import (
	"bytes"
	"errors"
	"math/big"
	"slices"
	"testing"

	"github.com/sandgate/sandgate/compute/federate"
)

// each runs a test under both schemes; with the race detector, under masks alone.
func each(t *testing.T, run func(t *testing.T, scheme string)) {
	for _, s := range schemes {
		if raced && s.Name() == federate.BGV {
			continue
		}
		t.Run(s.Name(), func(t *testing.T) { run(t, s.Name()) })
	}
}

// R39: separate parties that exchange bytes get the sums, with everybody's noise, and all
// are done; nobody but the regulator has values.
func TestR39_RoundGivesNoisySums(t *testing.T) {
	for _, s := range schemes {
		w := newWorld(t, s.Name(), 9000)
		got, f := w.run()
		if f != nil {
			t.Fatal(f)
		}
		w.near(got)
		for party, r := range w.rounds {
			if r.Phase() != federate.Done || r.Fault() != nil {
				t.Errorf("%s is %s", party, r.Phase())
			}
			if _, f := r.Values(nil, w.now); f == nil {
				t.Errorf("%s gives values after the end", party)
			}
		}
		for _, party := range w.decryptors {
			if !w.journals[party].Has(federate.Answered, w.p.Session()) {
				t.Errorf("%s has no record", party)
			}
		}
		// A new round of the same data and parties may start.
		w.p.Nonce = hash("another")
		if got, f = w.run(); f != nil {
			t.Fatal(f)
		}
		w.near(got)
	}
}

// R39: what c dishonest decryptors take out of the noise leaves the declared variance, and
// the columns' prices add up.
func TestR39_VarianceIsShared(t *testing.T) {
	p := proposal(federate.BGV, fourCities, fourCities, 3, 30)
	p.Dishonest = 2
	honest := int64(p.Decryptors() - p.Dishonest)
	for i, c := range p.Columns {
		left := new(big.Int).Mul(p.ShareVariance(i), big.NewInt(honest))
		if over := left.Sub(left, c.Sigma2); over.Sign() < 0 || over.Int64() > honest {
			t.Errorf("column %s: σ² and %v is left", c.Name, over)
		}
	}
	// ρ = Δ²/2σ²: 25/20000, and 2^80/2^91.
	if p.Price() != 1_250_000+488_282 {
		t.Errorf("price %d", p.Price())
	}
	p.Columns[0].Sigma2 = big.NewInt(9_999)
	if p.Price() != 1_250_126+488_282 {
		t.Errorf("price %d is not rounded up", p.Price())
	}
}

// Whatever a proposal contradicts itself in is refused before anything is made.
func TestR39_ProposalsThatMakeNoSense(t *testing.T) {
	for name, spoil := range map[string]func(p *federate.Proposal){
		"version":            func(p *federate.Proposal) { p.V = 2 },
		"nonce":              func(p *federate.Proposal) { p.Nonce = "ab" },
		"scheme":             func(p *federate.Proposal) { p.Scheme = "clear" },
		"two contributors":   func(p *federate.Proposal) { p.Contributors = p.Contributors[:2] },
		"k of two":           func(p *federate.Proposal) { p.MinContributors = 2 },
		"one twice":          func(p *federate.Proposal) { p.Contributors = []string{"city_a", "city_a", "city_b"} },
		"out of order":       func(p *federate.Proposal) { p.Contributors = []string{"city_b", "city_a", "city_c"} },
		"aggregator holds":   func(p *federate.Proposal) { p.Aggregator = "city_a" },
		"regulator is one":   func(p *federate.Proposal) { p.Regulator = "city_a" },
		"no department":      func(p *federate.Proposal) { p.Departments, p.Threshold = nil, 0 },
		"threshold 0":        func(p *federate.Proposal) { p.Threshold = 0 },
		"threshold beyond":   func(p *federate.Proposal) { p.Threshold = 5 },
		"no columns":         func(p *federate.Proposal) { p.Columns = nil },
		"too many cells":     func(p *federate.Proposal) { p.Columns[0].Cells = federate.MaxCells },
		"no cells":           func(p *federate.Proposal) { p.Columns[0].Cells = 0 },
		"empty range":        func(p *federate.Proposal) { p.Columns[0].Low = p.Columns[0].High + 1 },
		"range of everybody": func(p *federate.Proposal) { p.Columns[0].High = federate.MaxBound + 1 },
		"column twice":       func(p *federate.Proposal) { p.Columns[1].Name = p.Columns[0].Name },
		"no noise":           func(p *federate.Proposal) { p.Columns[1].Sigma2 = new(big.Int) },
		"no variance":        func(p *federate.Proposal) { p.Columns[1].Sigma2 = nil },
		"little noise":       func(p *federate.Proposal) { p.Columns[1].Sigma2 = big.NewInt(20) },
		"noise out of range": func(p *federate.Proposal) { p.Columns[1].Sigma2 = new(big.Int).Lsh(big.NewInt(1), 101) },
		"no sensitivity":     func(p *federate.Proposal) { p.Columns[0].Sensitivity2 = new(big.Int) },
		"endless price": func(p *federate.Proposal) {
			p.Columns[0].Sigma2, p.Columns[0].Sensitivity2 = big.NewInt(100), new(big.Int).Lsh(big.NewInt(1), 60)
		},
		"all dishonest": func(p *federate.Proposal) { p.Dishonest = 3 },
		"no deadline":   func(p *federate.Proposal) { p.Deadline = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			p := proposal(federate.BGV, fourCities, fourCities, 2, 30)
			spoil(p)
			w := &world{t: t, p: p, journals: map[string]*federate.Journal{}}
			_, f := federate.Open(w.setup("city_a"), sign(p.Aggregator, p.Encode()), start)
			blame := p.Aggregator
			if p.V == 2 || f != nil && f.Party != blame {
				blame = f.Party
			}
			blamed(t, f, "FEDERATION_PROPOSAL", blame)
		})
	}
	p := proposal(federate.Mask, fourCities, fourCities, 3, 30)
	if f := p.Check(); f == nil {
		t.Error("masks without all holders")
	}
}

// Sums too wide for every parameter, a deadline that is over, a forged signature, too few
// for this node and an unknown scheme are refused at the door.
func TestR39_RefusedAtTheDoor(t *testing.T) {
	open := func(spoil func(w *world, s *federate.Setup, signed *federate.Signed) int64) *federate.Fault {
		w := newWorld(t, federate.BGV, 30)
		s := w.setup("city_a")
		var signed federate.Signed
		at := spoil(w, &s, &signed)
		if signed.Text == nil {
			signed = sign("gateway", w.p.Encode())
		}
		_, f := federate.Open(s, signed, at)
		return f
	}
	blamed(t, open(func(w *world, _ *federate.Setup, _ *federate.Signed) int64 {
		w.p.Columns[0].High = federate.MaxBound
		return start
	}), "FEDERATION_BOUNDS", "gateway")
	blamed(t, open(func(w *world, _ *federate.Setup, _ *federate.Signed) int64 { return w.p.Deadline }), "FEDERATION_LATE", "gateway")
	blamed(t, open(func(w *world, _ *federate.Setup, s *federate.Signed) int64 {
		*s = sign("city_b", w.p.Encode())
		return start
	}), "FEDERATION_SIGNATURE", "gateway")
	blamed(t, open(func(_ *world, s *federate.Setup, _ *federate.Signed) int64 { s.MinContributors = 5; return start }), "FEDERATION_FEW", "gateway")
	blamed(t, open(func(_ *world, s *federate.Setup, _ *federate.Signed) int64 { s.Schemes = nil; return start }), "FEDERATION_PROPOSAL", "")
	if f := open(func(*world, *federate.Setup, *federate.Signed) int64 { return start }); f != nil {
		t.Error(f)
	}
}

// spoiled runs a round in which one message is not what its sender would say.
func spoiled(t *testing.T, scheme string, kind federate.Kind, from string, change func(m *federate.Message)) *federate.Fault {
	t.Helper()
	w := newWorld(t, scheme, 30)
	w.spoil = func(m *federate.Message) *federate.Message {
		if m.Kind == kind && m.From == from {
			change(m)
			if kind == federate.KindContribution {
				w.deaf = from
			}
		}
		return m
	}
	_, f := w.run()
	if f == nil {
		t.Fatal("the round went on")
	}
	return f
}

// R39 bad input: each ends the round with the name of whose fault it is, before a
// ciphertext is made where that can be.
func TestR39_EveryFaultNamesItsParty(t *testing.T) {
	for _, x := range []struct {
		name, code string
		kind       federate.Kind
		from       string
		change     func(m *federate.Message)
	}{
		{"other code lists", "FEDERATION_SCHEMA", federate.KindAnswer, "city_b", func(m *federate.Message) { m.Answer.Schema = hash("other") }},
		{"clock ahead", "FEDERATION_CLOCK", federate.KindAnswer, "city_c", func(m *federate.Message) { m.At += federate.MaxSkew + 1 }},
		{"clock behind", "FEDERATION_CLOCK", federate.KindAnswer, "city_c", func(m *federate.Message) { m.At -= federate.MaxSkew + 1 }},
		{"split view of answers", "FEDERATION_EQUIVOCATION", federate.KindCommitment, "city_a", func(m *federate.Message) { m.Commitment.Answers = hash("x") }},
		{"sealing key", "FEDERATION_KEY", federate.KindCommitment, "city_a", func(m *federate.Message) { m.Commitment.Seal = []byte{1} }},
		{"rogue key: salt chosen last", "FEDERATION_EQUIVOCATION", federate.KindReveal, "city_d", func(m *federate.Message) { m.Reveal.Salt[0] ^= 1 }},
		{"split view of commitments", "FEDERATION_EQUIVOCATION", federate.KindReveal, "city_a", func(m *federate.Message) { m.Reveal.Commitments = hash("x") }},
		{"a deal is missing", "FEDERATION_KEY", federate.KindReveal, "city_a", func(m *federate.Message) { m.Reveal.Deals = m.Reveal.Deals[1:] }},
		{"deals swapped", "FEDERATION_KEY", federate.KindReveal, "city_a", func(m *federate.Message) {
			d := m.Reveal.Deals
			d[0].Sealed, d[1].Sealed = d[1].Sealed, d[0].Sealed
		}},
		{"another key", "FEDERATION_EQUIVOCATION", federate.KindContribution, "city_d", func(m *federate.Message) { m.Contribution.Key = hash("x") }},
		{"too few parts", "FEDERATION_CHUNK", federate.KindContribution, "city_d", func(m *federate.Message) { m.Contribution.Parts = nil }},
		{"part not as signed", "FEDERATION_CHUNK", federate.KindContribution, "city_d", func(m *federate.Message) { m.Contribution.Parts[0] = hash("x") }},
		{"manifest of another key", "FEDERATION_EQUIVOCATION", federate.KindManifest, "gateway", func(m *federate.Message) { m.Manifest.Key = hash("x") }},
		{"subset replay: one left out", "FEDERATION_FEW", federate.KindManifest, "gateway", func(m *federate.Message) { m.Manifest.Contributions = m.Manifest.Contributions[1:] }},
		{"subset replay: one alone", "FEDERATION_FEW", federate.KindManifest, "gateway", func(m *federate.Message) { m.Manifest.Contributions = m.Manifest.Contributions[:1] }},
		{"one counted twice", "FEDERATION_FEW", federate.KindManifest, "gateway", func(m *federate.Message) { m.Manifest.Contributions[1] = m.Manifest.Contributions[0] }},
		{"forged contribution", "FEDERATION_SIGNATURE", federate.KindManifest, "gateway", func(m *federate.Message) { m.Manifest.Contributions[3].Sig[0] ^= 1 }},
		{"no regulator", "FEDERATION_FEW", federate.KindManifest, "gateway", func(m *federate.Message) { m.Manifest.Decryptors[0] = "city_d" }},
		{"regulator alone", "FEDERATION_FEW", federate.KindManifest, "gateway", func(m *federate.Message) { m.Manifest.Decryptors = m.Manifest.Decryptors[:1] }},
		{"more than needed", "FEDERATION_FEW", federate.KindManifest, "gateway", func(m *federate.Message) { m.Manifest.Decryptors = append(m.Manifest.Decryptors, "city_d") }},
		{"share of another manifest", "FEDERATION_EQUIVOCATION", federate.KindShare, "city_b", func(m *federate.Message) { m.Share.Manifest = hash("x") }},
		{"share of another sum", "FEDERATION_EQUIVOCATION", federate.KindShare, "city_b", func(m *federate.Message) { m.Share.Sum = hash("x") }},
		{"share not as signed", "FEDERATION_CHUNK", federate.KindShare, "city_b", func(m *federate.Message) { m.Share.Parts[0] = hash("x") }},
		{"result of another sum", "FEDERATION_EQUIVOCATION", federate.KindResult, "regulator", func(m *federate.Message) { m.Result.Sum = hash("x") }},
	} {
		scheme := federate.Mask // which is quicker
		if raced && x.kind == federate.KindShare {
			continue
		}
		if x.kind == federate.KindReveal || x.kind == federate.KindShare || x.kind == federate.KindResult {
			scheme = federate.BGV
		}
		t.Run(x.name, func(t *testing.T) { blamed(t, spoiled(t, scheme, x.kind, x.from, x.change), x.code, x.from) })
	}
	t.Run("seed for another", func(t *testing.T) {
		f := spoiled(t, federate.Mask, federate.KindContribution, "city_b", func(m *federate.Message) {
			s := m.Contribution.Secrets
			s[0].Text, s[1].Text = s[1].Text, s[0].Text
		})
		blamed(t, f, "FEDERATION_KEY", "city_b")
	})
	t.Run("same nonce", func(t *testing.T) {
		var first string
		w := newWorld(t, federate.BGV, 30)
		w.spoil = func(m *federate.Message) *federate.Message {
			if m.Kind == federate.KindAnswer {
				if first == "" {
					first = m.Answer.Nonce
				}
				m.Answer.Nonce = first
			}
			return m
		}
		_, f := w.run()
		blamed(t, f, "FEDERATION_MESSAGE", "city_b")
	})
}

// A party that says two things is found out; what was said before may be said again.
func TestR39_EquivocationAndRepetition(t *testing.T) {
	w := newWorld(t, federate.BGV, 30)
	if f := w.keys(); f != nil {
		t.Fatal(f)
	}
	for _, kind := range []federate.Kind{federate.KindAnswer, federate.KindCommitment, federate.KindReveal} {
		if f := w.rounds["regulator"].Receive(w.texts[kind]["city_a"], w.now); f != nil {
			t.Errorf("%s again: %v", kind, f)
		}
	}
	m, err := federate.DecodeMessage(w.texts[federate.KindCommitment]["city_a"].Text)
	if err != nil {
		t.Fatal(err)
	}
	m.Commitment.Share = hash("another")
	blamed(t, w.rounds["regulator"].Receive(sign("city_a", m.Encode()), w.now), "FEDERATION_EQUIVOCATION", "city_a")
	if w.rounds["regulator"].Phase() != federate.Failed {
		t.Error("the round goes on")
	}
}

// Nobody outside the round, and nobody without a signature, can end it or take part.
func TestR39_StrangersAreNotHeard(t *testing.T) {
	w := newWorld(t, federate.BGV, 30)
	if f := w.keys(); f != nil {
		t.Fatal(f)
	}
	r := w.rounds["regulator"]
	abort := &federate.Message{V: 1, Session: w.p.Session(), Kind: federate.KindAbort, From: "city_a", At: w.now, Abort: &federate.Abort{Code: "X"}}
	for name, s := range map[string]federate.Signed{
		"forged":         sign("stranger", abort.Encode()),
		"not canonical":  sign("city_a", append(abort.Encode(), ' ')),
		"unknown field":  sign("city_a", bytes.Replace(abort.Encode(), []byte(`"v":1`), []byte(`"v":1,"w":1`), 1)),
		"unknown kind":   sign("city_a", bytes.Replace(abort.Encode(), []byte(`"kind":"abort"`), []byte(`"kind":"shout"`), 1)),
		"two bodies":     sign("city_a", bytes.Replace(abort.Encode(), []byte(`"abort":{`), []byte(`"answer":{"accept":true,"schema":"","nonce":""},"abort":{`), 1)),
		"nothing at all": {},
	} {
		if f := r.Receive(s, w.now); f == nil {
			t.Errorf("%s is heard", name)
		}
	}
	abort.From = "stranger"
	if f := r.Receive(sign("stranger", abort.Encode()), w.now); f == nil {
		t.Error("a stranger is heard")
	}
	abort.From, abort.Session = "city_a", hash("older round")
	if f := r.Receive(sign("city_a", abort.Encode()), w.now); f == nil {
		t.Error("an older round is heard")
	}
	if r.Phase() != federate.Collecting {
		t.Fatalf("a stranger ended the round: %v", r.Fault())
	}
	abort.Session = w.p.Session()
	blamed(t, r.Receive(sign("city_a", abort.Encode()), w.now), "FEDERATION_DECLINED", "city_a")
}

// R39 faults: a party that is late or dead ends the round by the deadline, by name; its
// keys are gone, and a new round can start.
func TestR39_DroppedPartyFailsTheRound(t *testing.T) {
	each(t, func(t *testing.T, scheme string) {
		for _, x := range []struct {
			kind    federate.Kind
			dropped string
			seenBy  string
		}{
			{federate.KindAnswer, "city_c", "regulator"},
			{federate.KindCommitment, "city_c", "regulator"},
			{federate.KindReveal, "city_c", "regulator"},
			{federate.KindContribution, "city_c", "gateway"},
			{federate.KindShare, "city_b", "regulator"},
		} {
			w := newWorld(t, scheme, 30)
			w.spoil = func(m *federate.Message) *federate.Message {
				if m.Kind == x.kind && m.From == x.dropped {
					return nil
				}
				return m
			}
			if got, f := w.run(); f == nil {
				t.Fatalf("%s: the round gives %d values", x.kind, len(got))
			}
			r := w.rounds[x.seenBy]
			if r.Phase() == federate.Failed {
				if x.kind != federate.KindContribution { // there, the aggregator's manifest is refused
					t.Fatalf("%s: %v", x.kind, r.Fault())
				}
				continue
			}
			f := r.Tick(w.p.Deadline)
			blamed(t, f, "FEDERATION_LATE", x.dropped)
			if _, again := r.Accept(w.p.Schema, start); again != f {
				t.Error("a failed round speaks")
			}
			w.spoil, w.p.Nonce = nil, hash("next")
			if _, f := w.run(); f != nil {
				t.Fatalf("%s: the next round: %v", x.kind, f)
			}
		}
	})
}

// R39: values outside the declared range are refused before a ciphertext is made, by
// column and without the value.
func TestR39_ValuesOutsideTheRangeAreNotSent(t *testing.T) {
	each(t, func(t *testing.T, scheme string) {
		for column, x := range map[string]struct {
			at int
			v  int64
		}{"count": {3, -1}, "pay.sum": {25, 1<<40 + 1}} {
			w := newWorld(t, scheme, 30)
			w.values["city_c"][x.at] = x.v
			_, f := w.run()
			blamed(t, f, "FEDERATION_RANGE", "city_c")
			if !bytes.Contains([]byte(f.Reason.EN), []byte(column)) {
				t.Error(f)
			}
			// Rows were read by now: the others are told no more than of any other failure.
			blamed(t, w.rounds["city_c"].Fault(), "EXECUTION_FAILED", "city_c")
			if told := w.rounds["city_c"].Abort(w.now); bytes.Contains(told, []byte("RANGE")) || bytes.Contains(told, []byte(column)) || !bytes.Contains(told, []byte("EXECUTION_FAILED")) {
				t.Errorf("the others are told %s", told)
			}
		}
		w := newWorld(t, scheme, 30)
		w.values["city_c"] = w.values["city_c"][:29]
		_, f := w.run()
		blamed(t, f, "FEDERATION_RANGE", "city_c")
	})
}

// R39: malformed or exchanged parts are refused by the name of the party they are said to
// come from; a contributor that signs a malformed one is named too.
func TestR39_PartsAreCheckedStrictly(t *testing.T) {
	each(t, func(t *testing.T, scheme string) {
		for name, spoil := range map[string]func(b []byte) []byte{
			"one bit":   func(b []byte) []byte { b[5] ^= 1; return b },
			"cut":       func(b []byte) []byte { return b[:len(b)-8] },
			"longer":    func(b []byte) []byte { return append(b, make([]byte, 8)...) },
			"not there": func([]byte) []byte { return nil },
		} {
			for _, kind := range []string{"data", "share"} {
				w := newWorld(t, scheme, 30)
				w.spoilPart = func(k, from string, _ int, b []byte) []byte {
					if k == kind && from == "city_b" {
						return spoil(b)
					}
					return b
				}
				if _, f := w.run(); f == nil || f.Reason.Code != "FEDERATION_CHUNK" || f.Party != "city_b" {
					t.Errorf("%s, %s: %v", kind, name, f)
				}
			}
		}
	})
	t.Run("residue beyond its prime, signed", func(t *testing.T) {
		w := newWorld(t, federate.BGV, 30)
		malformed := func(part []byte) []byte {
			part = slices.Clone(part)
			for i := range 8 {
				part[i] = 0xff
			}
			return part
		}
		w.spoil = func(m *federate.Message) *federate.Message {
			if m.Kind == federate.KindContribution && m.From == "city_c" {
				w.deaf = m.From
				w.parts["city_c"][0] = malformed(w.parts["city_c"][0])
				m.Contribution.Parts[0] = hash(string(w.parts["city_c"][0]))
			}
			return m
		}
		_, f := w.run()
		blamed(t, f, "FEDERATION_CHUNK", "city_c")
	})
	t.Run("another's data copied", func(t *testing.T) {
		w := newWorld(t, federate.BGV, 30)
		var copied []string
		w.spoil = func(m *federate.Message) *federate.Message {
			if m.Kind == federate.KindContribution && m.From == "city_a" {
				copied = m.Contribution.Parts
			}
			if m.Kind == federate.KindContribution && m.From == "city_c" {
				m.Contribution.Parts = copied
			}
			return m
		}
		_, f := w.run()
		blamed(t, f, "FEDERATION_CHUNK", "city_c")
	})
}

// A journal that cannot be written stops the share, and the session for good.
func TestR39_NoShareWithoutItsRecord(t *testing.T) {
	each(t, func(t *testing.T, scheme string) {
		w := newWorld(t, scheme, 30)
		if f := w.sealed(); f != nil {
			t.Fatal(f)
		}
		if f := w.sum("regulator"); f != nil {
			t.Fatal(f)
		}
		r := w.rounds["regulator"]
		_, f := r.Answer(func([]byte) error { return errors.New("disk full") }, w.now)
		blamed(t, f, "FEDERATION_INTERNAL", "")
		if _, f := r.Answer(w.write("regulator"), w.now); f == nil {
			t.Error("the share is made after all")
		}
		if !w.journals["regulator"].Has(federate.Answered, w.p.Session()) {
			t.Error("the session is not over")
		}
	})
}
