package fit

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/mask"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/policies"
)

const now = int64(1_900_000_000)

func keyOf(party string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(party))
	return ed25519.NewKeyFromSeed(seed[:])
}

func verify(bytes func([]byte) []byte) func(party string, text, sig []byte) error {
	return func(party string, text, sig []byte) error {
		if !ed25519.Verify(keyOf(party).Public().(ed25519.PublicKey), bytes(text), sig) {
			return errors.New("no")
		}
		return nil
	}
}

func sign(party string, text []byte) federate.Signed {
	return federate.Signed{Text: text, Sig: ed25519.Sign(keyOf(party), federate.SigningBytes(text))}
}

// aggregate is a whole round among parties in one process.
type aggregate struct {
	t      testing.TB
	p      *federate.Proposal
	rounds map[string]*federate.Round
	// journals outlive a round where they are set; refused is then what a holder's said.
	journals map[string]*federate.Journal
	refused  *federate.Fault
}

func (w *aggregate) must(f *federate.Fault) {
	w.t.Helper()
	if f != nil {
		w.t.Fatal(f)
	}
}

// tell brings what a party says to some others.
func (w *aggregate) tell(from string, text []byte, f *federate.Fault, to []string) {
	w.t.Helper()
	w.must(f)
	for _, party := range to {
		if party != from {
			w.must(w.rounds[party].Receive(sign(from, text), now))
		}
	}
}

// sums adds the contributors' cells up under masks, with the decryptors' noise.
func (w *aggregate) sums(cells map[string][]int64) []int64 {
	w.t.Helper()
	w.rounds = map[string]*federate.Round{}
	all := append(w.p.Parties(), w.p.Aggregator)
	for _, party := range all {
		journal, err := federate.LoadJournal(nil)
		if err != nil {
			w.t.Fatal(err)
		}
		if before := w.journals[party]; before != nil {
			journal = before
		} else if w.journals != nil {
			w.journals[party] = journal
		}
		r, f := federate.Open(federate.Setup{Self: party, Schemes: []federate.Scheme{mask.Scheme{}}, Verify: verify(federate.SigningBytes), Random: release.NewSource(), MinContributors: 3, Journal: journal}, sign(w.p.Aggregator, w.p.Encode()), now)
		if w.journals != nil && f != nil {
			w.refused = f
			return nil
		}
		w.must(f)
		w.rounds[party] = r
	}
	for _, party := range w.p.Parties() {
		text, f := w.rounds[party].Accept(w.p.Schema, now)
		w.tell(party, text, f, all)
	}
	for _, party := range w.p.Holders() {
		text, f := w.rounds[party].Commit(now)
		w.tell(party, text, f, all)
	}
	for _, party := range w.p.Holders() {
		text, _, f := w.rounds[party].Reveal(now)
		w.tell(party, text, f, all)
	}
	write := func([]byte) error { return nil }
	parts := map[string][][]byte{}
	for _, party := range w.p.Contributors {
		r := w.rounds[party]
		c, f := r.Contribute(write, now)
		w.must(f)
		for v := range slices.Chunk(cells[party], r.Shape().ChunkCells) {
			part, f := c.Part(nil, v)
			w.must(f)
			parts[party] = append(parts[party], part)
		}
		text, f := c.Finish(now)
		w.tell(party, text, f, []string{w.p.Aggregator})
	}
	text, f := w.rounds[w.p.Aggregator].Manifest(w.p.Holders(), now)
	w.tell(w.p.Aggregator, text, f, all)
	regulator := w.rounds[w.p.Regulator]
	for i := range regulator.Shape().Chunks {
		for _, from := range w.p.Contributors {
			w.must(regulator.AddPart(from, i, parts[from][i], now))
		}
	}
	for _, party := range w.p.Holders() {
		s, f := w.rounds[party].Answer(write, now)
		if w.journals != nil && f != nil {
			w.refused = f
			return nil
		}
		w.must(f)
		for range regulator.Shape().Chunks {
			part, f := s.Part(nil, now)
			w.must(f)
			if party != w.p.Regulator {
				w.must(regulator.AddShare(party, part, now))
			}
		}
		if party != w.p.Regulator {
			text, f := s.Finish(now)
			w.tell(party, text, f, all)
		}
	}
	var out []int64
	for range regulator.Shape().Chunks {
		var f *federate.Fault
		out, f = regulator.Values(out, now)
		w.must(f)
	}
	text, f = regulator.Result(now)
	w.tell(w.p.Regulator, text, f, all)
	m, err := federate.DecodeMessage(text)
	if err != nil || m.Result.Values != federate.ValuesDigest(out) {
		w.t.Fatal("ValuesDigest is not the result's")
	}
	return out
}

// of is the proposal of a step.
func (w *aggregate) of(m *Model, s *Step) {
	p := proposalOf(m, s.Index)
	p.Query, p.Schema, p.Columns, p.Deadline = s.Query, s.Schema, s.Columns, now+3600
	if !s.Fits(p) {
		w.t.Fatal("a step's own proposal does not fit")
	}
	w.p = p
}

// R39: a logistic model of three domains through real rounds: masks, noise in the shares of
// four decryptors, the result's digest. What comes out classifies as the model of all rows
// does, and its figures say so.
func TestR39_LogisticModelThroughRounds(t *testing.T) {
	m := training(t, policies.FamilyLogistic, terms)
	splits := map[string]model.Split{"city_00": domain(m, 1500, 1), "city_01": domain(m, 2000, 2), "city_02": domain(m, 2500, 3)}
	w := &aggregate{t: t}
	_, out := play(t, m, func(s *Step) []int64 {
		w.of(m, s)
		cells, exact := map[string][]int64{}, make([]int64, s.Pass.Width)
		for party, split := range splits {
			var err error
			if cells[party], err = s.Cells(sumsOf(t, m, split, s.Pass)); err != nil {
				t.Fatal(err)
			}
			for i, x := range cells[party] {
				exact[i] += x
			}
		}
		sums := w.sums(cells)
		square, off := 0.0, 0
		for i := range sums {
			d := float64(sums[i] - exact[i])
			square += d * d
			if d != 0 {
				off++
			}
		}
		sigma := s.Pass.Sigma() / s.Pass.Step
		if n := float64(len(sums)); off < len(sums)*3/4 || math.Abs(square/n/(sigma*sigma)-1) > 6*math.Sqrt(2/n) {
			t.Errorf("pass %d: the noise has variance %g, counted on %g", s.Index+1, square/n, sigma*sigma)
		}
		return sums
	})
	if out.Evaluation.Accuracy == nil || out.Evaluation.Accuracy.Value < 0.7 {
		t.Errorf("accuracy %+v", out.Evaluation.Accuracy)
	}
}

// A linear model takes one round and one of figures.
func TestR39_LinearModelThroughRounds(t *testing.T) {
	m := training(t, policies.FamilyLinear, terms)
	if m.Rounds() != 2 {
		t.Fatalf("%d rounds", m.Rounds())
	}
	splits := map[string]model.Split{"city_00": domain(m, 1500, 1), "city_01": domain(m, 2000, 2), "city_02": domain(m, 2500, 3)}
	w := &aggregate{t: t}
	_, out := play(t, m, func(s *Step) []int64 {
		w.of(m, s)
		cells := map[string][]int64{}
		for party, split := range splits {
			cells[party] = sumsOf(t, m, split, s.Pass)
		}
		return w.sums(cells)
	})
	// The label is (normal + 2Σx)/8, cut to ±1: a number's slope is 2/8 at most.
	if c := out.Parameters.Coefficients[0]; math.Abs(c[1]-0.25) > 0.08 || math.Abs(c[2]-0.25) > 0.08 {
		t.Errorf("coefficients %v", c)
	}
}

// A hub that changes an answer, brings one of a round that did not end so, asks a released
// pass again or goes on after the last retry is refused by every node's own records, and
// its step is another one than the others'. Control: without the node's records the changed
// answers would be trained on.
func TestR39_ForgedHistoryIsRefused(t *testing.T) {
	m := training(t, policies.FamilyLogistic, terms)
	s := domain(m, 1500, 1)
	answers, _ := play(t, m, func(step *Step) []int64 { return sumsOf(t, m, s, step.Pass) })
	var history []Round
	for i, a := range answers[:3] {
		history = append(history, Round{Session: a.Session, Pass: i, Values: federate.ValuesDigest(a.Values)})
	}
	if r := m.Admit(history, answers[:3]); r != nil {
		t.Fatal(r)
	}
	forged := slices.Clone(answers[:3])
	forged[2].Values = slices.Clone(forged[2].Values)
	forged[2].Values[1] += 1 << 14
	moved := slices.Clone(answers[:3])
	moved[2].Session = session(40)
	failed := func(n int) []Round {
		out := slices.Clone(history)
		for i := range n {
			out = append(out, Round{Session: session(50 + i), Pass: 3})
		}
		return out
	}
	for name, c := range map[string]struct {
		history []Round
		answers []Answer
		want    string
	}{
		"changed":       {history, forged, CodeHistory},
		"other session": {history, moved, CodeHistory},
		"asked again":   {history, answers[:2], CodeHistory},
		"from nowhere":  {history[:2], answers[:3], CodeHistory},
		"first again":   {history, nil, CodeHistory},
		"after the end": {append(slices.Clone(history), Round{Session: answers[3].Session, Pass: 3, Values: federate.ValuesDigest(answers[3].Values)}, Round{Session: answers[4].Session, Pass: 4, Values: federate.ValuesDigest(answers[4].Values)}, Round{Session: answers[5].Session, Pass: 5, Values: federate.ValuesDigest(answers[5].Values)}), answers, CodeHistory},
		"retried":       {failed(terms.Retries), answers[:3], ""},
		"too often":     {failed(terms.Retries + 1), answers[:3], CodeRetries},
	} {
		got := ""
		if r := m.Admit(c.history, c.answers); r != nil {
			got = r.Code
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	honest, _, err := m.Next(context.Background(), answers[:3])
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := m.Next(context.Background(), forged)
	if err != nil {
		t.Fatalf("control: %v", err)
	}
	if slices.Equal(other.Pass.Theta, honest.Pass.Theta) {
		t.Error("control: the changed answer moves nothing")
	}
	if other.Schema == honest.Schema {
		t.Error("two nodes with different answers take each other's round for theirs")
	}
	p := proposalOf(m, 3)
	p.Query, p.Schema, p.Columns = other.Query, other.Schema, other.Columns
	if honest.Fits(p) {
		t.Error("a node contributes to a gradient at parameters that it did not compute")
	}
	p.Schema = honest.Schema
	if !honest.Fits(p) {
		t.Fatal("control: the honest round does not fit")
	}
	p.Dishonest++
	if honest.Fits(p) {
		t.Error("a round with other noise fits")
	}
}

// R39: the journal holds the sets of contributors of all passes of a period against each
// other: a second pass without one of the domains would tell that one's part of nearly the
// same sums. Control: were the passes rounds about different data, it would be opened.
func TestR39_LaterPassDoesNotIsolateADomain(t *testing.T) {
	m := training(t, policies.FamilyLogistic, terms)
	s := domain(m, 1500, 1)
	_, _ = play(t, m, func(step *Step) []int64 { return sumsOf(t, m, s, step.Pass) })
	five := []string{"city_00", "city_01", "city_02", "city_03", "city_04"}
	for _, apart := range []bool{false, true} {
		w := &aggregate{t: t, journals: map[string]*federate.Journal{}}
		var answers []Answer
		for i, contributors := range [][]string{five, five, five[:4]} {
			step, _, err := m.Next(context.Background(), answers)
			if err != nil {
				t.Fatal(err)
			}
			w.of(m, step)
			w.p.Contributors = contributors
			if apart {
				w.p.Query = session(90 + i)
			}
			cells, exact := map[string][]int64{}, sumsOf(t, m, s, step.Pass)
			for _, party := range contributors {
				cells[party] = exact
			}
			sums := w.sums(cells)
			if i < 2 {
				if sums == nil {
					t.Fatal(w.refused)
				}
				answers = append(answers, Answer{Session: w.p.Session(), Values: sums})
				continue
			}
			if apart != (sums != nil) {
				t.Errorf("passes apart %v: the subset is opened: %v", apart, sums != nil)
			}
			if !apart && w.refused.Reason.Code != "FEDERATION_DIFFERENCE" {
				t.Error(w.refused)
			}
		}
	}
}

func TestBriefOfATraining(t *testing.T) {
	m := training(t, policies.FamilyLinear, terms)
	s := domain(m, 800, 1)
	step, _, err := m.Next(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	answers := []Answer{{Session: session(0), Values: sumsOf(t, m, s, step.Pass)}}
	text, err := m.Brief(answers).Encode()
	if err != nil {
		t.Fatal(err)
	}
	b, err := DecodeBrief(text)
	if err != nil {
		t.Fatal(err)
	}
	// Inside a federate.Brief it keeps its bytes, and whoever has no catalogue comes to the
	// same round as who has.
	whole := &federate.Brief{V: federate.Version, Kind: federate.BriefModel, Salt: strings.Repeat("0", 64), Region: "region", Dataset: "clinic", Purpose: "care", Asked: federate.Asked{Request: []byte("signed")}, Terms: terms.Terms, Model: &federate.ModelBrief{Step: text}}
	read, f := federate.DecodeBrief(whole.Encode())
	if f != nil || string(read.Model.Step) != string(text) {
		t.Fatalf("the step does not survive its brief: %v", f)
	}
	want, _, err := m.Next(context.Background(), answers)
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]model.Design{"own": design(t, b.Design.Spec, clinic()), "the brief's": b.Design} {
		again, err := Of(b, read.Terms, d)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := again.Next(context.Background(), b.Answers)
		if err != nil || got.Schema != want.Schema {
			t.Errorf("%s design: another round (%v)", name, err)
		}
	}
	for i := range text {
		bad := slices.Clone([]byte(text))
		bad[i] ^= 1
		if b, err := DecodeBrief(bad); err == nil {
			if m, err := Of(b, terms.Terms, b.Design); err == nil {
				if got, _, err := m.Next(context.Background(), b.Answers); err == nil && got != nil && got.Schema == want.Schema {
					t.Fatalf("byte %d of the brief means nothing", i)
				}
			}
		}
	}
}

func FuzzDecodeBrief(f *testing.F) {
	m := training(f, policies.FamilyLogistic, terms)
	text, _ := m.Brief(nil).Encode()
	f.Add([]byte(text))
	f.Add([]byte(`{"run":"","answers":[]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := DecodeBrief(text)
		if err != nil {
			return
		}
		if m, err := Of(b, terms.Terms, b.Design); err == nil {
			_, _, _ = m.Next(context.Background(), b.Answers)
		}
	})
}

func TestValuesAreReadStrictly(t *testing.T) {
	v := []int64{-1, 0, math.MaxInt64, math.MinInt64}
	got, err := DecodeValues(EncodeValues(v))
	if err != nil || !slices.Equal(got, v) {
		t.Fatal(got, err)
	}
	for _, bad := range []string{"", "[]", "null", "[1, 2]", "[1]x", "[1.0]", "[9223372036854775808]", "{}"} {
		if _, err := DecodeValues([]byte(bad)); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}
