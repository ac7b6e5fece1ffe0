package encrypted

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/bits"

	"github.com/tuneinsight/lattigo/v6/ring"
)

// Weights are a linear model's coefficients as integers. They are not changed once made.
type Weights struct {
	outputs [][]int64 // output → intercept, inputs; in units of 2^-weightBits
}

// ErrWide is returned for a model that is too large for a reply.
var ErrWide = errors.New("the model has too many inputs or outputs, or too large coefficients, for encrypted scores")

// NewWeights takes one row per output: the intercept, then one coefficient per input.
func NewWeights(coefficients [][]float64) (*Weights, error) {
	if len(coefficients) == 0 || len(coefficients) > MaxOutputs {
		return nil, ErrWide
	}
	w := &Weights{}
	for _, row := range coefficients {
		if len(row) != len(coefficients[0]) || len(row) < 2 || len(row) > MaxInputs+1 {
			return nil, ErrWide
		}
		sum, whole := 0.0, make([]int64, len(row))
		for i, x := range row {
			if sum += math.Abs(x); !(sum <= widest-1) { // rounding stays below widest
				return nil, ErrWide
			}
			whole[i] = int64(math.Round(math.Ldexp(x, weightBits)))
		}
		w.outputs = append(w.outputs, whole)
	}
	return w, nil
}

// Inputs is how many ciphertexts a call has.
func (w *Weights) Inputs() int { return len(w.outputs[0]) - 1 }

// Outputs is how many replies it gets.
func (w *Weights) Outputs() int { return len(w.outputs) }

// Evaluation is one call: parts are added in the order of the inputs and forgotten, then
// each output is replied to. It holds 2·PolyBytes per output and is for one goroutine.
type Evaluation struct {
	s      *Scheme
	w      *Weights
	rows   int
	seed   []byte
	key    ring.Poly // NTT and Montgomery form
	from   *stream
	next   int
	c0, c1 []ring.Poly // of each output, residues below 2q; c0 as coefficients, c1 in NTT form
	given  []bool
	bad    bool // a part was refused
}

// Evaluate begins a call of so many rows under a client's seed and public key.
func (s *Scheme) Evaluate(w *Weights, seed, key []byte, rows int, rnd io.Reader) (*Evaluation, error) {
	if rows < 1 || rows > BlockRows {
		return nil, errRows
	}
	if len(seed) != SeedBytes {
		return nil, errLength
	}
	from, err := secretStream(rnd)
	if err != nil {
		return nil, err
	}
	e := &Evaluation{s: s, w: w, rows: rows, seed: append([]byte(nil), seed...), key: s.ring.NewPoly(), from: from, given: make([]bool, w.Outputs())}
	if err := s.get(key, e.key); err != nil {
		return nil, err
	}
	s.ring.MForm(e.key, e.key)
	for range w.outputs {
		e.c0, e.c1 = append(e.c0, s.ring.NewPoly()), append(e.c1, s.ring.NewPoly())
	}
	return e, nil
}

// times multiplies by a constant (Shoup): shoup is ⌊w·2^64/q⌋.
type times struct{ w, shoup, q uint64 }

func (l *limb) times(w int64) times {
	x := l.of(w)
	hi, _ := bits.Div64(x, 0, l.q)
	return times{x, hi, l.q}
}

// add adds w·x to sums below 2q and leaves them there.
func (t times) add(sum, x []uint64) {
	twice := 2 * t.q
	sum = sum[:len(x)]
	for i, v := range x {
		hi, _ := bits.Mul64(v, t.shoup)
		y := sum[i] + v*t.w - hi*t.q
		sum[i] = min(y, y-twice) // y-twice wraps around when y is the smaller
	}
}

// Add takes the ciphertext of the next input.
func (e *Evaluation) Add(part []byte) error {
	if e.next >= e.w.Inputs() {
		return errMore
	}
	if len(part) != PartBytes {
		e.bad = true
		return errLength
	}
	e.next++
	public := publicStream(e.seed, e.next)
	var buf [8 * chunk]byte
	var x [chunk]uint64
	by := make([]times, e.w.Outputs())
	for i := range e.s.limb {
		l := &e.s.limb[i]
		for k, row := range e.w.outputs {
			by[k] = l.times(row[e.next])
		}
		for at := 0; at < BlockRows; at += chunk {
			over := uint64(0)
			for j := range x {
				v := binary.LittleEndian.Uint64(part[8*j:])
				over |= (l.q - 1 - v) | v // the top bit is set when v ≥ q
				x[j] = v
			}
			if over>>63 != 0 {
				e.bad = true
				return errResidue
			}
			part = part[8*chunk:]
			for k := range by {
				by[k].add(e.c0[k].Coeffs[i][at:at+chunk], x[:])
			}
			public.residues(x[:], l.q, &buf)
			for k := range by {
				by[k].add(e.c1[k].Coeffs[i][at:at+chunk], x[:])
			}
		}
	}
	return nil
}

// Reply gives one output, once, when every input is there. It is an encryption of the
// logits that is independent of the weights but for them: a fresh encryption of zero
// under the client's key is added, each row's noise drowns in a flood, and what stands
// in the coefficients of no row is replaced by random numbers.
func (e *Evaluation) Reply(output int) ([]byte, error) {
	if e.bad || e.next < e.w.Inputs() {
		return nil, errFewer
	}
	if output < 0 || output >= len(e.given) || e.given[output] {
		return nil, errors.New("there is no such output, or it was given before")
	}
	e.given[output] = true
	s, r := e.s, e.s.ring
	c0, c1 := e.c0[output], e.c1[output]
	r.Reduce(c0, c0)
	r.Reduce(c1, c1)
	secrets, errs, err := s.samplers(e.from)
	if err != nil {
		return nil, err
	}
	u, work := secrets.ReadNew(), r.NewPoly()
	r.NTT(u, u)
	s.uniform(publicStream(e.seed, 0), work)
	r.MForm(work, work)
	r.MulCoeffsMontgomeryThenAdd(u, work, c1)
	errs.Read(work)
	r.NTT(work, work)
	r.Add(c1, work, c1)
	r.MulCoeffsMontgomery(u, e.key, work)
	r.INTT(work, work)
	errs.ReadAndAdd(work)
	r.Add(c0, work, c0)
	e.drown(c0, e.w.outputs[output][0])
	u.Zero()
	return put(put(make([]byte, 0, ReplyBytes), c0), c1), nil
}

// drown adds the intercept and an integer uniform in [−2^127, 2^127) to the coefficient
// of each row, and makes all others uniform.
func (e *Evaluation) drown(c0 ring.Poly, intercept int64) {
	flood := make([]byte, 16*e.rows)
	_, _ = e.from.Read(flood)
	var buf [8 * chunk]byte
	for i, c := range c0.Coeffs {
		l := &e.s.limb[i]
		plus := ring.CRed(ring.MRed(l.of(intercept), l.oneM, l.q, l.mrc)+l.q-l.floodStart, l.q)
		for j := range e.rows {
			lo, hi := binary.LittleEndian.Uint64(flood[16*j:]), binary.LittleEndian.Uint64(flood[16*j+8:])
			x := ring.CRed(ring.BRedAdd(lo, l.q, l.brc)+ring.MRed(ring.BRedAdd(hi, l.q, l.brc), l.wordM, l.q, l.mrc), l.q)
			c[j] = ring.CRed(c[j]+ring.CRed(x+plus, l.q), l.q)
		}
		for rest := c[e.rows:]; len(rest) > 0; {
			n := min(chunk, len(rest))
			e.from.residues(rest[:n], l.q, &buf)
			rest = rest[n:]
		}
	}
	clear(flood)
}
