package encrypted

import (
	"math"
	"math/big"
	"testing"

	"github.com/tuneinsight/lattigo/v6/ring"
)

// solve finds x with a·x = b modulo a prime; nil when a is singular.
func solve(q uint64, a [][]uint64, b []uint64) []uint64 {
	mod := new(big.Int).SetUint64(q)
	n := len(b)
	m := make([][]*big.Int, n)
	for i := range m {
		for _, v := range append(append([]uint64(nil), a[i]...), b[i]) {
			m[i] = append(m[i], new(big.Int).SetUint64(v))
		}
	}
	for c := range n {
		p := c
		for p < n && m[p][c].Sign() == 0 {
			p++
		}
		if p == n {
			return nil
		}
		m[c], m[p] = m[p], m[c]
		inv := new(big.Int).ModInverse(m[c][c], mod)
		for j := range m[c] {
			m[c][j].Mul(m[c][j], inv).Mod(m[c][j], mod)
		}
		for i := range m {
			if f := new(big.Int).Set(m[i][c]); i != c && f.Sign() != 0 {
				for j := range m[i] {
					m[i][j].Sub(m[i][j], new(big.Int).Mul(f, m[c][j])).Mod(m[i][j], mod)
				}
			}
		}
	}
	out := make([]uint64, n)
	for i := range out {
		out[i] = m[i][n].Uint64()
	}
	return out
}

// found is how many weights were found to 1e-6.
func found(q uint64, got []uint64, w []float64) (n int) {
	for i, v := range got {
		x := float64(v)
		if v > q/2 {
			x = -float64(q - v)
		}
		if math.Abs(math.Ldexp(x, -weightBits)-w[i+1]) < 1e-6 {
			n++
		}
	}
	return n
}

// phase is what the client sees of a pair, its own secret known.
func phase(s *Scheme, who *Client, c0, c1 ring.Poly) ring.Poly {
	out := s.ring.NewPoly()
	s.ring.MulCoeffsMontgomery(c1, who.secret, out)
	s.ring.INTT(out, out)
	s.ring.Add(out, c0, out)
	s.ring.Reduce(out, out)
	return out
}

func split(t *testing.T, s *Scheme, b []byte) (c0, c1 ring.Poly) {
	t.Helper()
	c0, c1 = s.ring.NewPoly(), s.ring.NewPoly()
	if s.get(b[:PolyBytes], c0) != nil || s.get(b[PolyBytes:], c1) != nil {
		t.Fatal("no reply")
	}
	return c0, c1
}

// The second half of a bare sum is Σ w·a with public a: the model from one row of zeros.
// A fresh encryption of zero hides it.
func TestAttackPublicHalf(t *testing.T) {
	s := scheme(t)
	const d = 8
	x, w := rowsOf(d, 1, 1, 11)
	for i := range x {
		x[i][0] = 0
	}
	who := client(t, s, 11)
	e := evaluate(t, s, who, x, w)
	a := make([][]uint64, d) // place → input
	for j := range d {
		p := s.ring.NewPoly()
		s.uniform(publicStream(who.seed, j+1), p)
		for at := range d {
			a[at] = append(a[at], p.Coeffs[0][at])
		}
	}
	attack := func(c1 ring.Poly) int { return found(primes[0], solve(primes[0], a, c1.Coeffs[0][:d]), w[0]) }
	bare := s.ring.NewPoly()
	s.ring.Reduce(e.c1[0], bare)
	if n := attack(bare); n != d {
		t.Fatalf("control: %d of %d weights follow from a bare sum", n, d)
	}
	_, c1 := split(t, s, reply(t, e, 0))
	if n := attack(c1); n != 0 {
		t.Fatalf("%d weights follow from a reply", n)
	}
}

// Whoever encrypted knows its errors, so that the noise of a reply, Σ w·e, is an equation
// in the weights for every row, beside the logit: rows of zeros give the model. The flood
// drowns it.
func TestAttackNoise(t *testing.T) {
	s := scheme(t)
	const d, rows = 8, 64
	x, w := rowsOf(d, 1, rows, 12)
	for i := range x {
		clear(x[i])
	}
	weights, _ := NewWeights(w)
	who := client(t, s, 12)
	e, err := s.Evaluate(weights, who.Seed(), who.Key(), rows, randomness(1))
	if err != nil {
		t.Fatal(err)
	}
	a := make([][]uint64, d) // row → input: the errors, which the client drew
	for j := range d {
		part, err := who.Encrypt(x[j])
		if err != nil {
			t.Fatal(err)
		}
		c0, c1 := s.ring.NewPoly(), s.ring.NewPoly()
		if err := s.get(part, c0); err != nil {
			t.Fatal(err)
		}
		s.uniform(publicStream(who.seed, j+1), c1)
		own := phase(s, who, c0, c1)
		for row := range d {
			a[row] = append(a[row], own.Coeffs[0][row])
		}
		if err := e.Add(part); err != nil {
			t.Fatal(err)
		}
	}
	q := primes[0]
	bare := phase(s, who, e.c0[0], e.c1[0])
	if n := found(q, solve(q, a, bare.Coeffs[0][:d]), w[0]); n != d {
		t.Fatalf("control: %d of %d weights follow from the bare noise", n, d)
	}
	c0, c1 := split(t, s, reply(t, e, 0))
	flooded := phase(s, who, c0, c1)
	l := &s.limb[0] // the attacker is told the intercept
	known := ring.MRed(l.of(weights.outputs[0][0]), l.oneM, q, l.mrc)
	for row := range d {
		flooded.Coeffs[0][row] = ring.CRed(flooded.Coeffs[0][row]+q-known, q)
	}
	if n := found(q, solve(q, a, flooded.Coeffs[0][:d]), w[0]); n != 0 {
		t.Fatalf("%d weights follow from a flooded reply", n)
	}
}

// The flood is uniform in ±2^127, in every row, and within the last digits of a logit.
func TestFloodIsUniform(t *testing.T) {
	s := scheme(t)
	x, w := [][]float32{make([]float32, BlockRows)}, [][]float64{{0, 1}}
	who := client(t, s, 13)
	got, err := who.Open(reply(t, evaluate(t, s, who, x, w), 0), BlockRows)
	if err != nil {
		t.Fatal(err)
	}
	var sum, square, most float64
	for _, z := range got {
		v := math.Ldexp(z, scaleBits-floodBits) // in units of the flood
		sum, square, most = sum+v, square+v*v, max(most, math.Abs(v))
	}
	n := float64(BlockRows)
	if mean, variance := sum/n, square/n; math.Abs(mean) > 6/math.Sqrt(3*n) || math.Abs(variance-1./3) > 6*math.Sqrt(4./45/n) || most > 1+1e-9 || most < 0.99 {
		t.Fatalf("mean %v, variance %v, most %v", mean, variance, most)
	}
}

// A call that counts one row gives one: what a client put into other coefficients is
// destroyed. Before that step all of them are there.
func TestAttackUncountedRows(t *testing.T) {
	s := scheme(t)
	x, w := rowsOf(3, 1, BlockRows, 14)
	weights, _ := NewWeights(w)
	who := client(t, s, 14)
	e, err := s.Evaluate(weights, who.Seed(), who.Key(), 1, randomness(1))
	if err != nil {
		t.Fatal(err)
	}
	for _, col := range x {
		part, _ := who.Encrypt(col)
		if err := e.Add(part); err != nil {
			t.Fatal(err)
		}
	}
	logits := func(p ring.Poly) (hits int) {
		whole := make([]*big.Int, BlockRows)
		for i := range whole {
			whole[i] = new(big.Int)
		}
		s.ring.PolyToBigintCentered(p, 1, whole)
		for row := range BlockRows {
			f, _ := new(big.Float).SetInt(whole[row]).Float64()
			if math.Abs(math.Ldexp(f, -scaleBits)-clearLogit(w[0], x, row)) < 1e-3 {
				hits++
			}
		}
		return hits
	}
	w0 := w[0][0]
	w[0][0] = 0 // a bare sum is without its intercept
	if n := logits(phase(s, who, e.c0[0], e.c1[0])); n != BlockRows {
		t.Fatalf("control: %d of %d rows", n, BlockRows)
	}
	w[0][0] = w0
	c0, c1 := split(t, s, reply(t, e, 0))
	if n := logits(phase(s, who, c0, c1)); n != 1 {
		t.Fatalf("one row was counted and %d were scored", n)
	}
	if _, err := who.Open(joined(c0, c1), BlockRows); err == nil {
		t.Fatal("uncounted rows open")
	}
}

func joined(c0, c1 ring.Poly) []byte { return put(put(nil, c0), c1) }

// An input far outside [−1, 1], which the evaluator cannot see, wraps around the modulus:
// between the flood and the modulus there are 52 bits a row, and an honest row already
// uses 49 of them. So a row never gives more than about one weight.
func TestOutOfRangeInputsWrap(t *testing.T) {
	s := scheme(t)
	window := s.params.QBigInt().BitLen() - (floodBits + 1)
	honest := 1 + 10 + scaleBits - (floodBits + 1) // ±1024, to the flood
	if window != 52 || honest != 49 {
		t.Fatalf("%d bits a row, of which honest rows use %d", window, honest)
	}
	w := [][]float64{{0, 1.5, -2.25}}
	weights, _ := NewWeights(w)
	who := client(t, s, 15)
	e, err := s.Evaluate(weights, who.Seed(), who.Key(), 1, randomness(1))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		part, _ := who.Encrypt([]float32{0})
		p := s.ring.NewPoly()
		_ = s.get(part, p)
		for i := range p.Coeffs { // a value of 2^20
			q := new(big.Int).SetUint64(primes[i])
			p.Coeffs[i][0] = ring.CRed(p.Coeffs[i][0]+new(big.Int).Mod(new(big.Int).Lsh(big.NewInt(1), inputBits+20), q).Uint64(), primes[i])
		}
		if err := e.Add(put(nil, p)); err != nil {
			t.Fatal(err)
		}
	}
	// −0.75·2^20 lies beyond ±2^13, so that what opens, if anything, is another number.
	if got, err := who.Open(reply(t, e, 0), 1); err == nil && math.Abs(got[0]+0.75*(1<<20)) < 1 {
		t.Fatal("an input of 2^20 was scored as it is")
	}
}

// Why only models are taken whose parameters may leave: with every protection on, exact
// logits of as many rows as there are parameters give all of them. Two digits of the
// probability, of the same rows, do not; they slow an attack down, and no more.
func TestAttackExtractionByExactLogits(t *testing.T) {
	s := scheme(t)
	const d = 32
	x, w := rowsOf(d, 1, d+1, 16)
	for i := range w[0] {
		w[0][i] /= 8 // so that probabilities are not all 0 or 1
	}
	who := client(t, s, 16)
	exact, err := who.Open(reply(t, evaluate(t, s, who, x, w), 0), d+1)
	if err != nil {
		t.Fatal(err)
	}
	worst := func(z []float64) float64 {
		got, most := solveReal(x, z), 0.0
		for i, v := range got {
			most = max(most, math.Abs(v-w[0][i]))
		}
		return most
	}
	if e := worst(exact); e > 1e-6 {
		t.Fatalf("control: parameters to %g only", e)
	}
	rounded := make([]float64, len(exact))
	for i, z := range exact {
		p := math.Round(100/(1+math.Exp(-z))) / 100
		p = min(max(p, 0.005), 0.995)
		rounded[i] = math.Log(p / (1 - p))
	}
	if e := worst(rounded); e < 1e-3 {
		t.Fatalf("two digits give the parameters to %g", e)
	}
}

// solveReal solves for intercept and weights by elimination.
func solveReal(x [][]float32, z []float64) []float64 {
	n := len(z)
	m := make([][]float64, n)
	for r := range m {
		m[r] = append(m[r], 1)
		for _, col := range x {
			m[r] = append(m[r], float64(col[r]))
		}
		m[r] = append(m[r], z[r])
	}
	for c := range n {
		p := c
		for r := c; r < n; r++ {
			if math.Abs(m[r][c]) > math.Abs(m[p][c]) {
				p = r
			}
		}
		m[c], m[p] = m[p], m[c]
		for r := range m {
			if r != c {
				f := m[r][c] / m[c][c]
				for j := c; j <= n; j++ {
					m[r][j] -= f * m[c][j]
				}
			}
		}
	}
	out := make([]float64, n)
	for i := range out {
		out[i] = m[i][n] / m[i][i]
	}
	return out
}
