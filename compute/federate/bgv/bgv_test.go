package bgv

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/release"
)

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// seeded is a stream of AES-CTR that a test can repeat.
func seeded(seed uint64) io.Reader {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed+1)
	b, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err)
	}
	return &cipher.StreamReader{S: cipher.NewCTR(b, make([]byte, 16)), R: zeros{}}
}

func scheme(t testing.TB) *Scheme {
	t.Helper()
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func names(prefix string, n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("%s%02d", prefix, i))
	}
	return out
}

// proposal is one of p contributors and d departments, t of them needed.
func proposal(p, d, t, cells int, bound int64) *federate.Proposal {
	h := strings.Repeat("ab", 32)
	return &federate.Proposal{V: federate.Version, Nonce: h, Scheme: federate.BGV, Query: h, Schema: h, Columns: []federate.Column{{Name: "a", Cells: cells, Low: -bound, High: bound, Sigma2: big.NewInt(1600), Sensitivity2: big.NewInt(1)}},
		Contributors: names("city", p), Regulator: "regulator", Departments: names("dept", d), Threshold: t, Aggregator: "gateway", Receiver: "operator",
		MinContributors: 3, Deadline: 1 << 40}
}

func context(p *federate.Proposal, self string) federate.Context {
	return federate.Context{Proposal: p, Self: self, CRS: sha256.Sum256([]byte("crs"))}
}

// held is every holder's secret, dealt, and the key.
func held(t testing.TB, s *Scheme, p *federate.Proposal) (map[string]federate.Holder, federate.Key) {
	t.Helper()
	out := map[string]federate.Holder{}
	var shares [][]byte
	for i, name := range p.Holders() {
		h, err := s.Holder(context(p, name), seeded(uint64(100+i)))
		if err != nil {
			t.Fatal(err)
		}
		out[name] = h
		shares = append(shares, h.KeyShare())
	}
	for _, from := range p.Departments {
		for _, to := range p.Departments {
			if from != to {
				deal, err := out[from].Deal(to)
				if err != nil {
					t.Fatal(err)
				}
				if err := out[to].Take(from, deal); err != nil {
					t.Fatal(err)
				}
				if err := out[to].Check(from, out[from].KeyShare()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	k, err := s.Key(context(p, ""), shares)
	if err != nil {
		t.Fatal(err)
	}
	return out, k
}

// filled encrypts and adds one contribution per party, all of whose cells are cell's.
func filled(t testing.TB, k federate.Key, p *federate.Proposal, open bool, cell func(party, i int) int64) federate.Sum {
	t.Helper()
	s := k.Sum(open)
	var ws []federate.Writer
	for i := range p.Contributors {
		w, err := k.Writer(seeded(uint64(i)))
		if err != nil {
			t.Fatal(err)
		}
		ws = append(ws, w)
	}
	h := sha256.New()
	for c := 0; c*n < p.Cells(); c++ {
		for i, w := range ws {
			var v []int64
			for j := c * n; j < min(p.Cells(), (c+1)*n); j++ {
				v = append(v, cell(i, j))
			}
			part, err := w.Part(nil, c, v)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Add(c, part); err != nil {
				t.Fatal(err)
			}
		}
		s.Close(c, h)
	}
	return s
}

// noiseOf is noise of a variance, nil for none.
func noiseOf(variance int64, seed uint64) federate.Noise {
	if variance == 0 {
		return nil
	}
	s, err := release.NewNoiseShare(big.NewInt(variance), seeded(seed))
	if err != nil {
		panic(err)
	}
	return s
}

// opened opens a sum by the active holders.
func opened(t testing.TB, p *federate.Proposal, held map[string]federate.Holder, s federate.Sum, variance int64, active []string) ([]int64, error) {
	t.Helper()
	for i, name := range active {
		o, err := held[name].Open(s, active, nil, noiseOf(variance, uint64(2000+i)), seeded(uint64(1000+i)))
		if err != nil {
			return nil, err
		}
		for c := 0; c*n < p.Cells(); c++ {
			share, err := o.Share(nil, c)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.AddShare(c, share); err != nil {
				t.Fatal(err)
			}
		}
	}
	var out []int64
	for c := 0; c*n < p.Cells(); c++ {
		var err error
		if out, err = s.Values(out, c); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// edge is the widest bound of a set for p contributors with this proposal's noise.
func edge(p *federate.Proposal, t uint64) int64 {
	return (int64(t/2) - p.NoiseBound(0)) / int64(len(p.Contributors))
}

// R39: sums are exact integers, up to the last one that the parameters hold; one beyond
// takes the next parameters, and beyond those there are none.
func TestR39_SumsAreExactAtTheEdgeOfTheirBounds(t *testing.T) {
	s := scheme(t)
	for i, set := range sets {
		t.Run(set.name, func(t *testing.T) {
			p := proposal(8, 3, 2, n+5, 1)
			b := edge(p, set.t)
			p.Columns[0].Low, p.Columns[0].High = -b, b
			shape, f := s.Fit(p)
			if f != nil || shape.Parameters != set.name {
				t.Fatalf("at the edge: %s, %v", shape.Parameters, f)
			}
			q := proposal(8, 3, 2, n+5, b+1)
			shape, f = s.Fit(q)
			if i == len(sets)-1 && f == nil || i < len(sets)-1 && shape.Parameters != sets[i+1].name {
				t.Errorf("beyond the edge: %s, %v", shape.Parameters, f)
			}
			h, k := held(t, s, p)
			cell := func(party, i int) int64 {
				switch i % 4 {
				case 0:
					return b
				case 1:
					return -b
				case 2:
					return int64(i) * int64(party)
				}
				return 0
			}
			sum := filled(t, k, p, true, cell)
			got, err := opened(t, p, h, sum, 0, []string{"regulator", "dept00", "dept02"})
			if err != nil {
				t.Fatal(err)
			}
			for i, x := range got {
				var want int64
				for party := range p.Contributors {
					want += cell(party, i)
				}
				if x != want {
					t.Fatalf("cell %d is %d, want %d", i, x, want)
				}
			}
		})
	}
}

// The exact sum is hidden: what is opened is off by noise of the declared variance.
func TestR39_OpenedSumsCarryEveryDecryptorsNoise(t *testing.T) {
	s := scheme(t)
	p := proposal(3, 2, 2, 4*n, 1000)
	h, k := held(t, s, p)
	active := []string{"regulator", "dept00", "dept01"}
	variance := p.ShareVariance(0).Int64()
	got, err := opened(t, p, h, filled(t, k, p, true, func(_, i int) int64 { return int64(i % 100) }), variance, active)
	if err != nil {
		t.Fatal(err)
	}
	var sum, square float64
	for i, x := range got {
		e := float64(x - 3*int64(i%100))
		sum += e
		square += e * e
	}
	want := float64(3 * variance)
	if mean, v := sum/float64(len(got)), square/float64(len(got)); v < 0.94*want || v > 1.06*want || mean > 2 || mean < -2 {
		t.Errorf("noise has mean %.2f and variance %.0f, want 0 and %.0f", mean, v, want)
	}
}

// R39: without the regulator, or with a department too few, nothing opens: not for all
// departments together, nor for the regulator with one of them. Control: with them it does.
// A plain t-of-n would let departments open without the regulator: the shares say that
// the departments' part alone is what they can put together.
// R39 rogue key: who speaks last can choose his share so that the key is his alone. This
// is the control of the commitments that the round demands (compute/federate): without
// them the attack reads a contribution by itself.
// One secret makes one share.
// R39 second decryption, the control of the journal: were a secret to open the sum of all
// and then that of all but one, the difference would be that one's data.
// The flood is uniform over its whole width, and every residue is reduced.
// Decryption shares without the flood would tell the noise of the ciphertext; with it, a
// share's distance to what it hides is about 2^108.
// Every sum that any proposal may have fits, by the worst case and not by experience.
// The start refuses parameters that the table does not hold secure.
// The centred residues are exact at both ends of the modulus.
// R39: what is not a ciphertext or share of exactly this form is refused, whatever it is.
// Randomness that ends is an error, never weak noise.
