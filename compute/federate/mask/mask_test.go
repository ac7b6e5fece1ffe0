package mask

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math/big"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/release"
)

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func seeded(seed byte) io.Reader {
	b, err := aes.NewCipher(bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		panic(err)
	}
	return &cipher.StreamReader{S: cipher.NewCTR(b, make([]byte, 16)), R: zeros{}}
}

func proposal(cells int, bound int64) *federate.Proposal {
	h := strings.Repeat("ab", 32)
	return &federate.Proposal{V: federate.Version, Nonce: h, Scheme: federate.Mask, Query: h, Schema: h, Columns: []federate.Column{{Name: "a", Cells: cells, Low: -bound, High: bound, Sigma2: big.NewInt(1600), Sensitivity2: big.NewInt(1)}},
		Contributors: []string{"a", "b", "c"}, Regulator: "regulator", Departments: []string{"a", "b"}, Threshold: 2, Aggregator: "gateway", Receiver: "operator",
		MinContributors: 3, Deadline: 1}
}

// run adds up one contribution per contributor, all of whose cells are cell's, and opens
// the sum with noise of the variance.
func run(t *testing.T, p *federate.Proposal, variance int64, cell func(party, i int) int64) ([]int64, error) {
	t.Helper()
	var s Scheme
	shape, f := s.Fit(p)
	if f != nil {
		t.Fatal(f)
	}
	k, err := s.Key(federate.Context{Proposal: p}, make([][]byte, 3))
	if err != nil {
		t.Fatal(err)
	}
	sum := k.Sum(true)
	seeds := map[string]map[string][]byte{"regulator": {}, "a": {}, "b": {}}
	for i, c := range p.Contributors {
		w, err := k.Writer(seeded(byte(i)))
		if err != nil {
			t.Fatal(err)
		}
		for part := range shape.Chunks {
			var v []int64
			for j := part * chunk; j < min(p.Cells(), (part+1)*chunk); j++ {
				v = append(v, cell(i, j))
			}
			b, err := w.Part(nil, part, v)
			if err != nil {
				t.Fatal(err)
			}
			if len(b) != shape.Part(part) {
				t.Fatalf("part %d has %d bytes", part, len(b))
			}
			if err := sum.Add(part, b); err != nil {
				t.Fatal(err)
			}
		}
		for h := range seeds {
			seeds[h][c] = w.Secret(h)
		}
	}
	i := byte(100)
	for _, h := range p.Holders() {
		one, err := s.Holder(federate.Context{Proposal: p, Self: h}, nil)
		if err != nil {
			t.Fatal(err)
		}
		i++
		var noise federate.Noise
		if variance > 0 {
			if noise, err = release.NewNoiseShare(big.NewInt(variance), seeded(i)); err != nil {
				t.Fatal(err)
			}
		}
		o, err := one.Open(nil, p.Holders(), seeds[h], noise, nil)
		if err != nil {
			t.Fatal(err)
		}
		for part := range shape.Chunks {
			share, err := o.Share(nil, part)
			if err != nil {
				t.Fatal(err)
			}
			if err := sum.AddShare(part, share); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := o.Share(nil, 0); err == nil {
			t.Error("a part of the share is made twice")
		}
	}
	var out []int64
	for part := range shape.Chunks {
		if out, err = sum.Values(out, part); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// R39: sums are exact at the widest bounds; wider ones have no parameters.
func TestR39_MasksAreExactAtTheEdge(t *testing.T) {
	p := proposal(chunk+3, 1)
	noise := p.NoiseBound(0)
	narrow := (1<<narrowBits - 1 - noise) / 3 // the widest of sums in words of 32 bits
	for _, c := range []struct {
		bound int64
		word  int
	}{{1, 4}, {narrow, 4}, {narrow + 1, 8}, {federate.MaxBound, 8}} {
		bound := c.bound
		p.Columns[0].Low, p.Columns[0].High = -bound, bound
		if got := wordBytes(p); got != c.word {
			t.Fatalf("bound %d: words of %d bytes", bound, got)
		}
		got, err := run(t, p, 0, func(party, i int) int64 {
			if i%2 == 0 {
				return bound
			}
			return -bound
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range got {
			if want := 3 * bound; i%2 == 0 && x != want || i%2 == 1 && x != -want {
				t.Fatalf("cell %d is %d", i, x)
			}
		}
	}
	for range 80 {
		p.Contributors = append(p.Contributors, "x")
	}
	if _, f := (Scheme{}).Fit(p); f == nil {
		t.Error("sums beyond 2^62 fit")
	}
}

// R39: every holder's noise is in the result.
func TestR39_MaskedSumsCarryNoise(t *testing.T) {
	p := proposal(4*chunk, 10)
	got, err := run(t, p, 1000, func(int, int) int64 { return 1 })
	if err != nil {
		t.Fatal(err)
	}
	square := 0.0
	for _, x := range got {
		square += float64((x - 3) * (x - 3))
	}
	if v := square / float64(len(got)); v < 2850 || v > 3150 {
		t.Errorf("variance %.0f, want 3000", v)
	}
}

// A contribution under all masks, and no mask of one part in another.
func TestMasksDoNotRepeat(t *testing.T) {
	p := proposal(2*chunk, 10)
	k, err := Scheme{}.Key(federate.Context{Proposal: p}, make([][]byte, 3))
	if err != nil {
		t.Fatal(err)
	}
	w, err := k.Writer(seeded(1))
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[[16]byte]bool{}
	for part := range 2 {
		b, err := w.Part(nil, part, make([]int64, chunk))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(b); i += 16 {
			if one := [16]byte(b[i:]); blocks[one] {
				t.Fatal("a block of the masks stands twice")
			} else {
				blocks[one] = true
			}
		}
	}
	if string(w.Secret("a")) == string(w.Secret("b")) {
		t.Error("two holders have one seed")
	}
}

func TestStrictLengths(t *testing.T) {
	for word, bound := range map[int]int64{4: 10, 8: 1 << 40} {
		strictLengths(t, word, proposal(chunk+3, bound))
	}
}

func strictLengths(t *testing.T, word int, p *federate.Proposal) {
	t.Helper()
	k, err := Scheme{}.Key(federate.Context{Proposal: p}, make([][]byte, 3))
	if err != nil {
		t.Fatal(err)
	}
	sum := k.Sum(true)
	for _, x := range []struct{ part, length int }{{0, word*chunk - 1}, {0, word*chunk + word}, {1, word * chunk}, {1, 2 * word}, {2, 0}, {-1, 3 * word}, {2, 3 * word}} {
		if sum.Add(x.part, make([]byte, x.length)) == nil || sum.AddShare(x.part, make([]byte, x.length)) == nil {
			t.Errorf("part %d of %d bytes is taken", x.part, x.length)
		}
	}
	if sum.Add(1, make([]byte, 3*word)) != nil {
		t.Error("the last part is refused")
	}
	sum.Close(0, sha256.New())
	if (Scheme{}).CheckShare(federate.Context{}, "a", []byte{1}) == nil {
		t.Error("a share of a key is taken")
	}
	h, err := Scheme{}.Holder(federate.Context{Proposal: p}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if h.Take("a", nil) == nil || h.Check("a", nil) == nil {
		t.Error("a deal is taken")
	}
	if _, err := h.Open(nil, p.Holders(), map[string][]byte{"a": make([]byte, 16)}, nil, nil); err == nil {
		t.Error("a short seed is taken")
	}
	if _, err := k.Writer(bytes.NewReader(make([]byte, 40))); err == nil {
		t.Error("a contribution without randomness")
	}
}

// Cells under masks add up to their sums, whatever is carried, of either sign, and at every
// length: what is masked, and what is taken off again as the complement of a complement.
func TestWordsAgainstIntegers(t *testing.T) {
	rnd := seeded(9)
	number := func(size int) int64 {
		var b [8]byte
		_, _ = rnd.Read(b[:])
		return int64(binary.LittleEndian.Uint64(b[:])) >> (2 + 32*(2-size/4))
	}
	for _, size := range []int{4, 8} {
		for n := range 20 {
			a, b := newWords(size, n), newWords(size, n)
			var masks [4][block]byte
			for range 50 {
				v, w := make([]int64, n), make([]int64, n)
				for i := range v {
					v[i], w[i] = number(size), number(size)
				}
				for k := range masks {
					_, _ = rnd.Read(masks[k][:size*n])
				}
				a.set(v, 0)
				add4(a.b, &masks)
				b.set(w, -1)
				for k := range masks {
					add(b.b, masks[k][:size*n])
				}
				complement(b.b)
				add(a.b, b.b)
				for i := range v {
					if a.get(i) != v[i]+w[i] {
						t.Fatalf("%d cells of %d bytes: cell %d is %d, want %d", n, size, i, a.get(i), v[i]+w[i])
					}
				}
			}
		}
	}
}
