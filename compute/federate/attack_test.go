package federate_test

import (
	"crypto/sha256"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sandgate/sandgate/compute/federate"
)

// R39 attack: near-identical sets of contributors. The difference of two results is the
// data of the one who is missing, but for noise; the holders' journals refuse the second.
// Control: with journals that remember nothing, the difference comes out.
func TestR39_AttackNearIdenticalSets(t *testing.T) {
	each(t, func(t *testing.T, scheme string) {
		five := append(slices.Clone(fourCities), "city_e")
		holders := fourCities[:2]
		first := worldOf(t, proposal(scheme, five, holders, 2, 30))
		second := worldOf(t, proposal(scheme, five[1:], holders, 2, 30))
		second.p.Nonce = hash("second")
		for _, c := range second.p.Contributors {
			second.values[c] = first.values[c]
		}
		a, f := first.run()
		if f != nil {
			t.Fatal(f)
		}
		second.journals = first.journals
		_, f = second.run()
		blamed(t, f, "FEDERATION_DIFFERENCE", "")
		for party, texts := range second.written {
			t.Errorf("%s did something that is done once, %d times", party, len(texts))
		}
		// Other data may be added up by other parties.
		second.p.Query, second.p.Nonce = hash("another query"), hash("third")
		if _, f = second.run(); f != nil {
			t.Errorf("another query: %v", f)
		}
		// Control.
		second.p.Query, second.p.Nonce, second.journals = first.p.Query, hash("fourth"), map[string]*federate.Journal{}
		second.written = map[string][][]byte{}
		b, f := second.run()
		if f != nil {
			t.Fatal(f)
		}
		for i, want := range first.values["city_a"] {
			if d := a[i] - b[i] - want; d > 2*first.bound(i) || d < -2*first.bound(i) {
				t.Errorf("control: cell %d of the missing party does not come out", i)
			}
		}
	})
}

// R39 attack: both rounds are begun before either is opened, so that no journal knows of
// the other at the start. The second share is refused all the same.
func TestR39_AttackNearIdenticalSetsAtATime(t *testing.T) {
	five := append(slices.Clone(fourCities), "city_e")
	first := worldOf(t, proposal(federate.Mask, five, fourCities[:2], 2, 30))
	second := worldOf(t, proposal(federate.Mask, five[1:], fourCities[:2], 2, 30))
	second.p.Nonce, second.journals = hash("second"), first.journals
	if f := second.sealed(); f != nil {
		t.Fatal(f)
	}
	if f := second.sum("regulator"); f != nil {
		t.Fatal(f)
	}
	if _, f := first.run(); f != nil {
		t.Fatal(f)
	}
	blamed(t, second.answer("regulator"), "FEDERATION_DIFFERENCE", "")
	if second.rounds["regulator"].Phase() != federate.Failed {
		t.Error("the regulator's round goes on")
	}
}

// R39 attack: a node that is restarted, or whose aggregator plays an old round again, makes
// no second share and no second contribution. The memory is gone; the journal is loaded.
func TestR39_RestartedNodeNeverAnswersAgain(t *testing.T) {
	each(t, func(t *testing.T, scheme string) {
		w := newWorld(t, scheme, 30)
		if _, f := w.run(); f != nil {
			t.Fatal(f)
		}
		w.journals = map[string]*federate.Journal{} // loaded again from what was written
		for _, party := range append([]string{"regulator"}, fourCities...) {
			_, f := federate.Open(w.setup(party), sign(w.p.Aggregator, w.p.Encode()), w.now)
			blamed(t, f, "FEDERATION_AGAIN", "gateway")
		}
		// Control: without the journal the old round begins again.
		w.written, w.journals = map[string][][]byte{}, map[string]*federate.Journal{}
		if _, f := w.run(); f != nil {
			t.Errorf("control: %v", f)
		}
	})
}

// R39 attack: within a round, nothing is opened twice: not the same sum, and not after the
// journal of another process of the same node has a record.
func TestR39_SecondDecryptionIsRefused(t *testing.T) {
	each(t, func(t *testing.T, scheme string) {
		w := newWorld(t, scheme, 30)
		if f := w.sealed(); f != nil {
			t.Fatal(f)
		}
		for _, party := range w.decryptors {
			if f := w.sum(party); f != nil {
				t.Fatal(f)
			}
		}
		for _, party := range w.decryptors {
			if f := w.answer(party); f != nil {
				t.Fatal(f)
			}
			r := w.rounds[party]
			if _, f := r.Answer(w.write(party), w.now); f == nil {
				t.Errorf("%s answers twice", party)
			}
		}
		// A twin of the node, with the same journal and keys of its own.
		if len(w.written["regulator"]) != 1 {
			t.Fatalf("%d records", len(w.written["regulator"]))
		}
		if _, err := federate.LoadJournal(append(w.written["regulator"], w.written["regulator"][0])); err == nil {
			t.Error("a journal with one deed twice is taken")
		}
	})
}

// R39 attack: who reveals last chooses its share of the key by the others'. The round
// holds it to its commitment. (Control: TestR39_ControlRogueKeyWithoutCommitments.)
func TestR39_AttackRogueKey(t *testing.T) {
	w := newWorld(t, federate.BGV, 30)
	shares := map[string][]byte{}
	w.spoilPart = func(kind, from string, i int, b []byte) []byte {
		if kind != "key" || i > 0 {
			return b
		}
		shares[from] = b
		if from == "city_d" { // anything that depends on the others' shares
			b = slices.Clone(shares["regulator"])
		}
		return b
	}
	_, f := w.run()
	blamed(t, f, "FEDERATION_EQUIVOCATION", "city_d")
	for party, r := range w.rounds {
		if r.Phase() == federate.Collecting && party != "city_d" {
			t.Errorf("%s has a key", party)
		}
	}
}

// R39 attack: the aggregator holds all parts and all messages, and so does the operator it
// shares them with. It is in no phase in which a round opens anything.
func TestR39_AttackAggregatorAlone(t *testing.T) {
	each(t, func(t *testing.T, scheme string) {
		w := newWorld(t, scheme, 30)
		if f := w.sealed(); f != nil {
			t.Fatal(f)
		}
		r := w.rounds["gateway"]
		if _, f := r.Answer(w.write("gateway"), w.now); f == nil {
			t.Error("the aggregator makes a decryption share")
		}
		if f := r.AddShare("city_a", nil, w.now); f == nil {
			t.Error("the aggregator takes decryption shares")
		}
		if _, f := r.Values(nil, w.now); f == nil {
			t.Error("the aggregator reads values")
		}
		// What it holds: every part. Their sum opens to nothing near.
		ctx := federate.Context{Proposal: w.p, CRS: sha256.Sum256(nil)}
		var s federate.Scheme = lattice
		empty := make([][]byte, len(w.p.Holders()))
		if scheme == federate.Mask {
			s = schemes[1]
		} else {
			for i := range empty {
				empty[i] = make([]byte, r.Shape().KeyShareBytes)
			}
			empty[0] = make([]byte, r.Shape().ShareBytes) // the regulator's, which deals nothing
		}
		k, err := s.Key(ctx, empty)
		if err != nil {
			t.Fatal(err)
		}
		sum := k.Sum(true)
		for _, c := range w.p.Contributors {
			if err := sum.Add(0, w.parts[c][0]); err != nil {
				t.Fatal(err)
			}
		}
		sum.Close(0, sha256.New())
		if got, err := sum.Values(nil, 0); err == nil {
			for i, want := range w.exact() {
				if d := got[i] - want; d < 1<<30 && d > -1<<30 {
					t.Errorf("cell %d is near", i)
				}
			}
		}
	})
}

// R39 attack, masks: all holders but one with their seeds, and all parts. The result is
// uniform; with the last seed it is the sum.
func TestR39_AttackAllSeedsButOne(t *testing.T) {
	p := proposal(federate.Mask, fourCities, fourCities[:3], 3, 64)
	ctx := federate.Context{Proposal: p}
	k, err := schemes[1].Key(ctx, make([][]byte, 4))
	if err != nil {
		t.Fatal(err)
	}
	for _, missing := range []string{"regulator", "city_b", ""} {
		sum := k.Sum(true)
		seeds := map[string]map[string][]byte{}
		for i, c := range p.Contributors {
			wr, err := k.Writer(seeded(c))
			if err != nil {
				t.Fatal(err)
			}
			values := make([]int64, 64)
			for j := range values {
				values[j] = int64(i + j)
			}
			part, err := wr.Part(nil, 0, values)
			if err != nil {
				t.Fatal(err)
			}
			if err := sum.Add(0, part); err != nil {
				t.Fatal(err)
			}
			for _, h := range p.Holders() {
				if seeds[h] == nil {
					seeds[h] = map[string][]byte{}
				}
				seeds[h][c] = wr.Secret(h)
			}
		}
		for _, h := range p.Holders() {
			if h == missing {
				continue
			}
			one, err := schemes[1].Holder(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			o, err := one.Open(nil, p.Holders(), seeds[h], nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := one.Open(nil, p.Holders(), seeds[h], nil, nil); err == nil {
				t.Error("a holder opens twice")
			}
			share, err := o.Share(nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := sum.AddShare(0, share); err != nil {
				t.Fatal(err)
			}
		}
		got, err := sum.Values(nil, 0)
		if missing != "" {
			if err == nil {
				t.Errorf("without %s the sum opens: %v", missing, got[:4])
			}
			continue
		}
		if err != nil || got[0] != 6 || got[63] != 6+4*63 {
			t.Errorf("control: %v %v", got, err)
		}
	}
}

// TellsApart against a search over all small combinations' supports, in rationals.
func TestR39_DifferencesAgainstReference(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	apart := 0
	for range 400 {
		n, k := 4+rnd.IntN(4), 2+rnd.IntN(3)
		var sets [][]string
		for range 1 + rnd.IntN(4) {
			var s []string
			for i := range n {
				if rnd.IntN(4) > 0 {
					s = append(s, fmt.Sprintf("c%d", i))
				}
			}
			sets = append(sets, s)
		}
		want := byRationals(sets, n, k)
		if got := federate.TellsApart(sets, k); got != want {
			t.Fatalf("%v with k=%d: %v, want %v", sets, k, got, want)
		}
		if want {
			apart++
		}
	}
	if apart < 50 || apart > 370 {
		t.Errorf("%d of 400 cases tell some apart: the test says little", apart)
	}
	for _, x := range []struct {
		sets [][]string
		k    int
		want bool
	}{
		{[][]string{{"a", "b", "c"}}, 3, false},
		{[][]string{{"a", "b"}}, 3, true},
		{[][]string{{"a", "b", "c"}, {"a", "b", "d"}}, 3, true},                            // differ by two
		{[][]string{{"a", "b", "c"}, {"d", "e", "f"}}, 3, false},                           // nothing in common
		{[][]string{{"a", "b", "c"}, {"d", "e", "f"}, {"a", "b", "c", "d", "e"}}, 3, true}, // three sums, one name
		{[][]string{{"a", "b", "c"}, {"a", "b", "c", "d", "e", "f"}}, 3, false},
	} {
		if got := federate.TellsApart(x.sets, x.k); got != x.want {
			t.Errorf("%v: %v", x.sets, got)
		}
	}
}

// byRationals says whether the span of the sets' indicators meets that of fewer than k unit
// vectors: dim(A ∩ B) = rank A + rank B − rank (A ∪ B), for every choice.
func byRationals(sets [][]string, n, k int) bool {
	var rows [][]*big.Rat
	vector := func(on func(i int) bool) []*big.Rat {
		v := make([]*big.Rat, n)
		for i := range v {
			v[i] = new(big.Rat)
			if on(i) {
				v[i].SetInt64(1)
			}
		}
		return v
	}
	for _, s := range sets {
		if len(s) < k {
			return true
		}
		rows = append(rows, vector(func(i int) bool { return slices.Contains(s, fmt.Sprintf("c%d", i)) }))
	}
	base := rankOf(rows)
	for m := 1; m < 1<<n; m++ {
		var units [][]*big.Rat
		for i := range n {
			if m>>i&1 == 1 {
				units = append(units, vector(func(j int) bool { return i == j }))
			}
		}
		if len(units) < k && rankOf(append(slices.Clone(rows), units...)) < base+len(units) {
			return true
		}
	}
	return false
}

func rankOf(in [][]*big.Rat) int {
	var rows [][]*big.Rat
	for _, r := range in {
		c := make([]*big.Rat, len(r))
		for i := range r {
			c[i] = new(big.Rat).Set(r[i])
		}
		rows = append(rows, c)
	}
	rank := 0
	for c := 0; len(rows) > 0 && c < len(rows[0]) && rank < len(rows); c++ {
		at := slices.IndexFunc(rows[rank:], func(r []*big.Rat) bool { return r[c].Sign() != 0 })
		if at < 0 {
			continue
		}
		rows[rank], rows[rank+at] = rows[rank+at], rows[rank]
		for o := rank + 1; o < len(rows); o++ {
			f := new(big.Rat).Quo(rows[o][c], rows[rank][c])
			for i := range rows[o] {
				rows[o][i].Sub(rows[o][i], new(big.Rat).Mul(f, rows[rank][i]))
			}
		}
		rank++
	}
	return rank
}

// What comes over the wire is read strictly: whatever is taken reads back as the same
// bytes.
func FuzzMessages(f *testing.F) {
	p := proposal(federate.BGV, fourCities, fourCities, 2, 30)
	f.Add(p.Encode())
	for _, m := range []*federate.Message{
		{V: 1, Session: p.Session(), Kind: federate.KindAnswer, From: "city_a", At: 1, Answer: &federate.Answer{Accept: true, Schema: p.Schema, Nonce: p.Nonce}},
		{V: 1, Session: p.Session(), Kind: federate.KindReveal, From: "city_a", At: 1, Reveal: &federate.Reveal{Commitments: p.Nonce, Salt: make([]byte, 32), Deals: []federate.Deal{{To: "b", Sealed: p.Nonce}}}},
		{V: 1, Session: p.Session(), Kind: federate.KindManifest, From: "gateway", At: 1, Manifest: &federate.Manifest{Key: p.Nonce, Contributions: []federate.Signed{{Text: []byte("x")}}}},
		{V: 1, Session: p.Session(), Kind: federate.KindAbort, From: "gateway", At: 1, Abort: &federate.Abort{Code: "X"}},
	} {
		f.Add(m.Encode())
	}
	f.Add((&federate.Record{V: 1, Deed: federate.Contributed, Session: p.Nonce, Key: p.Nonce, Query: p.Nonce, At: 1}).Encode())
	f.Add([]byte(`{"v":1e0}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := federate.DecodeMessage(b); err == nil && string(m.Encode()) != string(b) {
			t.Errorf("%q reads back as another", b)
		}
		if p, fault := federate.DecodeProposal(b); fault == nil {
			if string(p.Encode()) != string(b) {
				t.Errorf("%q reads back as another", b)
			}
			p.Price()
			if p.SumBound().BitLen() > 70 {
				t.Error("a bound beyond all limits")
			}
		}
		federate.LoadJournal([][]byte{b})
		r := roundForFuzz(t)
		if f := r.Receive(sign("gateway", b), start); f == nil && r.Phase() != federate.Proposed {
			t.Error("any message moves the round on")
		}
	})
}

func roundForFuzz(t *testing.T) *federate.Round {
	w := newWorld(t, federate.Mask, 30)
	r, f := federate.Open(w.setup("city_a"), sign(w.p.Aggregator, w.p.Encode()), start)
	if f != nil {
		t.Fatal(f)
	}
	return r
}
