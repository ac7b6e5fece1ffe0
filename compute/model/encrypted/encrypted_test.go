package encrypted

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/tuneinsight/lattigo/v6/core/rlwe"
	"github.com/tuneinsight/lattigo/v6/schemes/ckks"
)

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// randomness is a reproducible stream.
func randomness(seed byte) io.Reader {
	b, _ := aes.NewCipher(bytes.Repeat([]byte{seed}, 32))
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

// rowsOf makes inputs, column by column, and coefficients.
func rowsOf(inputs, outputs, rows int, seed uint64) (x [][]float32, w [][]float64) {
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range inputs {
		col := make([]float32, rows)
		for j := range col {
			if i%3 == 2 {
				col[j] = float32(r.IntN(2))
			} else {
				col[j] = float32(2*r.Float64() - 1)
			}
		}
		x = append(x, col)
	}
	for range outputs {
		row := make([]float64, inputs+1)
		for i := range row {
			row[i] = math.Round(1e6*4*(2*r.Float64()-1)) / 1e6
		}
		w = append(w, row)
	}
	return x, w
}

func clearLogit(w []float64, x [][]float32, row int) float64 {
	z := w[0]
	for i := range x {
		z += w[i+1] * float64(x[i][row])
	}
	return z
}

// evaluate takes columns through client and evaluator.
func evaluate(t testing.TB, s *Scheme, c *Client, x [][]float32, w [][]float64) *Evaluation {
	t.Helper()
	weights, err := NewWeights(w)
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.Evaluate(weights, c.Seed(), c.Key(), len(x[0]), randomness(9))
	if err != nil {
		t.Fatal(err)
	}
	for _, col := range x {
		part, err := c.Encrypt(col)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Add(part); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func client(t testing.TB, s *Scheme, seed byte) *Client {
	t.Helper()
	c, err := s.Client(randomness(seed))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func reply(t testing.TB, e *Evaluation, output int) []byte {
	t.Helper()
	b, err := e.Reply(output)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestR04EncryptedLogitsAreTheClearOnes(t *testing.T) {
	s := scheme(t)
	for _, c := range []struct{ inputs, outputs, rows int }{{1, 1, 1}, {9, 1, BlockRows}, {5, 3, 700}} {
		x, w := rowsOf(c.inputs, c.outputs, c.rows, 3)
		x[0][0] = -1 // the ends of the range
		if c.rows > 1 {
			x[0][1], x[0][2] = 1, 0
		}
		who := client(t, s, 1)
		e := evaluate(t, s, who, x, w)
		for k := range w {
			got, err := who.Open(reply(t, e, k), c.rows)
			if err != nil {
				t.Fatal(err)
			}
			for row, z := range got {
				if want := clearLogit(w[k], x, row); math.Abs(z-want) > 1e-10 {
					t.Fatalf("%+v, output %d, row %d: %v, want %v", c, k, row, z, want)
				}
			}
		}
	}
}

// The largest model that is taken comes back, and one beyond it is refused.
func TestR04EncryptedLogitsAtTheEdge(t *testing.T) {
	s := scheme(t)
	x := [][]float32{{1, -1}, {1, -1}}
	w := [][]float64{{-1, 511, -511}}
	who := client(t, s, 2)
	x[1][0], x[1][1] = -1, 1
	got, err := who.Open(reply(t, evaluate(t, s, who, x, w), 0), 2)
	if err != nil || math.Abs(got[0]-1021) > 1e-9 || math.Abs(got[1]+1023) > 1e-9 {
		t.Fatal(got, err)
	}
	for _, w := range [][][]float64{nil, {{1}}, {{1, 1}, {1}}, {{0, 1023.5}}, {{0, -1024}}, {{0, math.NaN()}}, {make([]float64, MaxInputs+2)}, make([][]float64, MaxOutputs+1)} {
		if _, err := NewWeights(w); !errors.Is(err, ErrWide) {
			t.Errorf("a model that does not fit was taken: %v", err)
		}
	}
}

// The library's own decryptor and decoder read the same out of a reply.
func TestEncryptedReplyIsCKKS(t *testing.T) {
	s := scheme(t)
	x, w := rowsOf(4, 1, 100, 5)
	who := client(t, s, 3)
	b := reply(t, evaluate(t, s, who, x, w), 0)
	sk := rlwe.NewSecretKey(s.params)
	sk.Value.Q.CopyLvl(limbs-1, who.secret)
	ct := ckks.NewCiphertext(s.params, 1, limbs-1)
	ct.IsBatched, ct.IsNTT, ct.Scale = false, true, rlwe.NewScale(math.Ldexp(1, scaleBits))
	ct.LogDimensions.Cols = logN - 1
	for i, half := range [][]byte{b[:PolyBytes], b[PolyBytes:]} {
		if err := s.get(half, ct.Value[i]); err != nil {
			t.Fatal(err)
		}
	}
	s.ring.NTT(ct.Value[0], ct.Value[0])
	got := make([]float64, BlockRows)
	if err := ckks.NewEncoder(s.params).Decode(ckks.NewDecryptor(s.params, sk).DecryptNew(ct), got); err != nil {
		t.Fatal(err)
	}
	for row := range 100 {
		if want := clearLogit(w[0], x, row); math.Abs(got[row]-want) > 1e-9 {
			t.Fatalf("row %d: %v, want %v", row, got[row], want)
		}
	}
}

func TestEncryptedParametersAreChecked(t *testing.T) {
	for name, q := range map[string][]uint64{
		"wider than the standard": {0x1fffffffffe00001, 0x1fffffffffc80001, 0x1fffffffffb40001, 0x1fffffffff500001},
		"too narrow":              {36028797018652673, 36028797019389953, 36028797019488257},
		"fewer":                   primes[:2],
		"a prime above 2^60":      {primes[0], primes[1], 1152921504606994433},
	} {
		if _, err := newScheme(q); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// What a ciphertext shows depends on key and message: encrypting twice, or under another
// key, shows nothing equal; and the evaluator cannot open without the key.
func TestEncryptedRowsAreHidden(t *testing.T) {
	s := scheme(t)
	col := make([]float32, 64)
	a, b := client(t, s, 4), client(t, s, 5)
	one, _ := a.Encrypt(col)
	two, _ := a.Encrypt(col)
	three, _ := b.Encrypt(col)
	if bytes.Equal(one, two) || bytes.Equal(one, three) {
		t.Fatal("equal columns have equal ciphertexts")
	}
	// A byte histogram of the low bytes: uniform within 6 σ.
	var count [256]int
	for i := 0; i < len(one); i += 8 {
		count[one[i]]++
	}
	for v, n := range count {
		if mean := float64(len(one)) / 8 / 256; math.Abs(float64(n)-mean) > 6*math.Sqrt(mean) {
			t.Fatalf("byte %d stands %d times", v, n)
		}
	}
	x, w := rowsOf(2, 1, 64, 6)
	who := client(t, s, 6)
	out := reply(t, evaluate(t, s, who, x, w), 0)
	if _, err := b.Open(out, 64); err == nil {
		t.Fatal("a reply opens under another key")
	}
}

func TestEncryptedMessagesAreStrict(t *testing.T) {
	s := scheme(t)
	who := client(t, s, 7)
	w, _ := NewWeights([][]float64{{0, 1, 2}})
	begin := func() *Evaluation {
		e, err := s.Evaluate(w, who.Seed(), who.Key(), 10, randomness(1))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	good, err := who.Encrypt([]float32{1})
	if err != nil {
		t.Fatal(err)
	}
	over := bytes.Clone(good)
	for _, x := range []uint64{primes[2], primes[2] + 1, 1 << 63, math.MaxUint64} {
		binary.LittleEndian.PutUint64(over[PartBytes-8:], x)
		e := begin()
		if err := e.Add(over); !errors.Is(err, errResidue) {
			t.Errorf("residue %d: %v", x, err)
		}
		_ = e.Add(good)
		if _, err := e.Reply(0); err == nil {
			t.Error("replies after a refused part")
		}
	}
	binary.LittleEndian.PutUint64(over[PartBytes-8:], primes[2]-1)
	e := begin()
	if err := e.Add(over); err != nil {
		t.Error(err)
	}
	if _, err := e.Reply(0); !errors.Is(err, errFewer) {
		t.Error("replied before every input was there")
	}
	if err := e.Add(good); err != nil {
		t.Error(err)
	}
	if err := e.Add(good); !errors.Is(err, errMore) {
		t.Error(err)
	}
	if _, err := e.Reply(0); err != nil {
		t.Error(err)
	}
	if _, err := e.Reply(0); err == nil {
		t.Error("one output was given twice: two floods of one noise")
	}
	if err := begin().Add(good[1:]); !errors.Is(err, errLength) {
		t.Error(err)
	}
	for _, bad := range []struct {
		seed, key []byte
		rows      int
	}{{who.Seed()[1:], who.Key(), 1}, {who.Seed(), who.Key()[1:], 1}, {who.Seed(), bytes.Repeat([]byte{255}, KeyBytes), 1}, {who.Seed(), who.Key(), 0}, {who.Seed(), who.Key(), BlockRows + 1}} {
		if _, err := s.Evaluate(w, bad.seed, bad.key, bad.rows, randomness(1)); err == nil {
			t.Error("a bad beginning was taken")
		}
	}
	for _, v := range [][]float32{nil, {1.5}, {float32(math.NaN())}, {float32(math.Inf(1))}, make([]float32, BlockRows+1)} {
		if _, err := who.Encrypt(v); err == nil {
			t.Error("values out of range were encrypted")
		}
	}
	who.Wipe()
	if _, err := who.Encrypt([]float32{1}); err == nil {
		t.Error("encrypts after its key is gone")
	}
	if _, err := s.Client(bytes.NewReader(make([]byte, 31))); err == nil {
		t.Error("a key without randomness")
	}
}

func FuzzAdd(f *testing.F) {
	s := scheme(f)
	who := client(f, s, 8)
	part, _ := who.Encrypt([]float32{1, 0.5})
	w, _ := NewWeights([][]float64{{0.5, 1}})
	f.Add(0, uint64(0), PartBytes)
	f.Add(PartBytes-8, uint64(math.MaxUint64), PartBytes)
	f.Add(17, primes[0], PartBytes)
	f.Add(0, uint64(1), 3)
	f.Fuzz(func(t *testing.T, at int, word uint64, length int) {
		b := bytes.Clone(part)
		if at >= 0 && at <= len(b)-8 {
			binary.LittleEndian.PutUint64(b[at:], word)
		}
		b = b[:max(0, min(len(b), length))]
		canonical := len(b) == PartBytes
		for i := 0; canonical && i < len(b); i += 8 {
			canonical = binary.LittleEndian.Uint64(b[i:]) < primes[i/(8*BlockRows)]
		}
		e, err := s.Evaluate(w, who.Seed(), who.Key(), 2, randomness(1))
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Add(b); (err == nil) != canonical {
			t.Fatalf("canonical %v, but %v", canonical, err)
		}
		out, err := e.Reply(0)
		if (err == nil) != canonical {
			t.Fatal(err)
		}
		if err == nil {
			_, _ = who.Open(out, 2)
		}
	})
}

func FuzzOpen(f *testing.F) {
	s := scheme(f)
	who := client(f, s, 8)
	f.Add(0, uint64(5), ReplyBytes, 3)
	f.Add(8*BlockRows, uint64(math.MaxUint64), ReplyBytes, 3)
	f.Add(0, uint64(0), 9, -1)
	f.Fuzz(func(t *testing.T, at int, word uint64, length, rows int) {
		b := make([]byte, max(0, min(ReplyBytes, length)))
		if at >= 0 && at <= len(b)-8 {
			binary.LittleEndian.PutUint64(b[at:], word)
		}
		out, err := who.Open(b, rows)
		if err == nil && len(out) != rows {
			t.Fatal("another number of rows")
		}
	})
}
