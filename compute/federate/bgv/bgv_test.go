package bgv

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/tuneinsight/lattigo/v6/ring"
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
	return &federate.Proposal{V: federate.Version, Nonce: h, Scheme: federate.BGV, Query: h, Schema: h, Columns: []federate.Column{{Name: "a", Cells: cells, Low: -bound, High: bound}},
		Contributors: names("city", p), Regulator: "regulator", Departments: names("dept", d), Threshold: t, Aggregator: "gateway", Receiver: "operator",
		MinContributors: 3, Noise: federate.Noise{Sigma2: big.NewInt(1600), Sensitivity2: big.NewInt(1)}, Deadline: 1 << 40}
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

// opened opens a sum by the active holders.
func opened(t testing.TB, p *federate.Proposal, held map[string]federate.Holder, s federate.Sum, variance int64, active []string) ([]int64, error) {
	t.Helper()
	for i, name := range active {
		o, err := held[name].Open(s, active, nil, big.NewInt(variance), seeded(uint64(1000+i)))
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
	return (int64(t/2) - p.NoiseBound()) / int64(len(p.Contributors))
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
	variance := p.ShareVariance().Int64()
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
func TestR39_AttackTooFewHolders(t *testing.T) {
	s := scheme(t)
	p := proposal(3, 3, 2, 64, 1000)
	cell := func(party, i int) int64 { return int64(party*100 + i) }
	for _, x := range []struct {
		name    string
		take    []string
		combine []string // whom the additive shares are made for
		opens   bool
	}{
		{"regulator and two", []string{"regulator", "dept01", "dept02"}, []string{"regulator", "dept01", "dept02"}, true},
		{"all departments but no regulator", []string{"dept00", "dept01"}, []string{"dept00", "dept01"}, false},
		{"regulator and one", []string{"regulator", "dept00"}, []string{"regulator", "dept00", "dept01"}, false},
		{"regulator alone", []string{"regulator"}, []string{"regulator", "dept00", "dept01"}, false},
		{"nobody: aggregator and operator", nil, nil, false},
		{"shares of different sets", []string{"regulator", "dept00", "dept01"}, nil, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			h, k := held(t, s, p)
			sum := filled(t, k, p, true, cell)
			for i, name := range x.take {
				set := x.combine
				if set == nil { // each for a set of its own
					set = [][]string{{"regulator"}, {"dept00", "dept02"}, {"dept01", "dept02"}}[i]
				}
				o, err := h[name].Open(sum, set, nil, new(big.Int), seeded(uint64(i)))
				if err != nil {
					t.Fatal(err)
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
			if (err == nil) != x.opens {
				t.Errorf("opened: %v, %v", err == nil, err)
			}
			if x.opens && (got[0] != 300 || got[63] != 300+3*63) {
				t.Errorf("control: %v", got[:3])
			}
		})
	}
}

// A plain t-of-n would let departments open without the regulator: the shares say that
// the departments' part alone is what they can put together.
func TestDepartmentsShareTheirPartAlone(t *testing.T) {
	s := scheme(t)
	p := proposal(3, 3, 2, 8, 10)
	hs, _ := held(t, s, p)
	want := make([]uint64, n)
	r := hs["regulator"].(*holder).p.ring
	total := r.NewPoly()
	for _, d := range p.Departments {
		r.Add(total, hs[d].(*holder).secret, total)
	}
	copy(want, total.Coeffs[0])
	for _, active := range [][]string{{"dept00", "dept01"}, {"dept01", "dept02"}, {"dept00", "dept02"}} {
		got := r.NewPoly()
		for _, d := range active {
			one, err := hs[d].(*holder).additive(active)
			if err != nil {
				t.Fatal(err)
			}
			r.Add(got, one, got)
		}
		if !slices.Equal(got.Coeffs[0], want) {
			t.Errorf("%v do not put the departments' secret together", active)
		}
	}
}

// R39 rogue key: who speaks last can choose his share so that the key is his alone. This
// is the control of the commitments that the round demands (compute/federate): without
// them the attack reads a contribution by itself.
func TestR39_ControlRogueKeyWithoutCommitments(t *testing.T) {
	s := scheme(t)
	p := proposal(3, 2, 2, 16, 1000)
	hs, _ := held(t, s, p)
	rogue := hs["dept01"].(*holder)
	r := rogue.p.ring
	// −(the others' shares) + his own.
	share, one := r.NewPoly(), r.NewPoly()
	if err := rogue.p.get(rogue.public, share); err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{"regulator", "dept00"} {
		if err := rogue.p.get(hs[other].KeyShare(), one); err != nil {
			t.Fatal(err)
		}
		r.Sub(share, one, share)
	}
	k, err := s.Key(context(p, ""), [][]byte{hs["regulator"].KeyShare(), hs["dept00"].KeyShare(), put(nil, share)})
	if err != nil {
		t.Fatal(err)
	}
	alone := k.Sum(true)
	w, err := k.Writer(seeded(3))
	if err != nil {
		t.Fatal(err)
	}
	part, err := w.Part(nil, 0, []int64{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	if err := alone.Add(0, part); err != nil {
		t.Fatal(err)
	}
	sm := alone.(*sum)
	c1 := ring.Poly{Coeffs: [][]uint64{sm.c1[:n], sm.c1[n : 2*n], sm.c1[2*n : 3*n]}}
	r.MulCoeffsMontgomery(c1, rogue.secret, share)
	r.INTT(share, share)
	if err := alone.AddShare(0, put(nil, share)); err != nil {
		t.Fatal(err)
	}
	if got, err := alone.Values(nil, 0); err != nil || !slices.Equal(got[:4], []int64{1, 2, 3, 0}) {
		t.Errorf("the control does not read the contribution: %v", err)
	}
}

// One secret makes one share.
func TestR39_AHolderOpensOnce(t *testing.T) {
	s := scheme(t)
	p := proposal(3, 2, 2, 8, 10)
	hs, k := held(t, s, p)
	sum := filled(t, k, p, true, func(_, i int) int64 { return int64(i) })
	active := []string{"regulator", "dept00", "dept01"}
	o, err := hs["dept00"].Open(sum, active, nil, big.NewInt(16), seeded(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hs["dept00"].Open(sum, active, nil, big.NewInt(16), seeded(1)); err == nil {
		t.Error("a second share of the same secret")
	}
	if _, err := o.Share(nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Share(nil, 0); err == nil {
		t.Error("a part of the share was made twice")
	}
	hs["dept01"].Wipe()
	if _, err := hs["dept01"].Open(sum, active, nil, big.NewInt(16), seeded(1)); err == nil {
		t.Error("a wiped secret makes a share")
	}
}

// R39 second decryption, the control of the journal: were a secret to open the sum of all
// and then that of all but one, the difference would be that one's data.
func TestR39_ControlSecondDecryptionIsolatesOne(t *testing.T) {
	s := scheme(t)
	p := proposal(4, 1, 1, 8, 1000)
	active := []string{"regulator", "dept00"}
	hs, k := held(t, s, p)
	cell := func(party, i int) int64 { return int64(100*party + i) }
	all, err := opened(t, p, hs, filled(t, k, p, true, cell), 0, active)
	if err != nil {
		t.Fatal(err)
	}
	less := *p
	less.Contributors = p.Contributors[:3]
	if _, err := opened(t, p, hs, filled(t, k, &less, true, cell), 0, active); err == nil {
		t.Fatal("the second sum opens")
	}
	for _, h := range hs {
		h.(*holder).opened = false
	}
	rest, err := opened(t, p, hs, filled(t, k, &less, true, cell), 0, active)
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if all[i]-rest[i] != cell(3, i) {
			t.Errorf("control: cell %d of the missing party does not come out", i)
		}
	}
}

// The flood is uniform over its whole width, and every residue is reduced.
func TestR39_FloodIsUniformAndReduced(t *testing.T) {
	for _, p := range scheme(t).sets {
		const polys = 8
		var ones [floodBits + 1]int
		rnd := full{seeded(7)}
		raw, keep := make([]byte, 16*n), make([]byte, 16*n)
		q := p.rlwe.QBigInt()
		for range polys {
			rnd.Read(raw)
			copy(keep, raw)
			poly := p.ring.NewPoly()
			p.drown(poly, raw)
			if slices.ContainsFunc(raw, func(b byte) bool { return b != 0 }) {
				t.Fatal("the randomness of the flood is kept")
			}
			values := make([]*big.Int, n)
			for i := range values {
				values[i] = new(big.Int)
			}
			p.ring.PolyToBigintCentered(poly, 1, values)
			start := new(big.Int).Lsh(big.NewInt(1), floodBits)
			for j, v := range values {
				for l, c := range poly.Coeffs {
					if c[j] >= p.limb[l].q {
						t.Fatalf("%s: residue %d of coefficient %d is not reduced", p.name, l, j)
					}
				}
				v.Add(v, start)
				if v.Sign() < 0 || v.BitLen() > floodBits+1 || v.Cmp(q) >= 0 {
					t.Fatalf("%s: a coefficient lies outside the flood", p.name)
				}
				// It is the 109 bits that were drawn, whatever the primes.
				lo, hi := binary.LittleEndian.Uint64(keep[16*j:]), binary.LittleEndian.Uint64(keep[16*j+8:])
				want := new(big.Int).SetUint64(hi & (1<<45 - 1))
				want.Lsh(want, 64).Add(want, new(big.Int).SetUint64(lo))
				if v.Cmp(want) != 0 {
					t.Fatalf("%s: coefficient %d is not what was drawn", p.name, j)
				}
				for b := range ones {
					ones[b] += int(v.Bit(b))
				}
			}
		}
		for b, k := range ones {
			// 6 standard deviations of a fair coin.
			if d := 2*k - polys*n; d*d > 36*polys*n {
				t.Errorf("%s: bit %d of the flood is set %d times of %d", p.name, b, k, polys*n)
			}
		}
	}
}

// Decryption shares without the flood would tell the noise of the ciphertext; with it, a
// share's distance to what it hides is about 2^108.
func TestFloodIsInTheShare(t *testing.T) {
	s := scheme(t)
	p := proposal(3, 1, 1, n, 10)
	hs, k := held(t, s, p)
	sum := filled(t, k, p, true, func(_, i int) int64 { return 0 }).(*sum)
	h := hs["regulator"].(*holder)
	o, err := h.Open(sum, []string{"regulator", "dept00"}, nil, new(big.Int), seeded(5))
	if err != nil {
		t.Fatal(err)
	}
	share, err := o.Share(nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := h.p.ring
	exact, got := r.NewPoly(), r.NewPoly()
	c1 := ring.Poly{Coeffs: [][]uint64{sum.c1[:n], sum.c1[n : 2*n], sum.c1[2*n : 3*n]}}
	r.MulCoeffsMontgomery(c1, h.secret, exact)
	r.INTT(exact, exact)
	if err := h.p.get(share, got); err != nil {
		t.Fatal(err)
	}
	r.Sub(got, exact, got)
	values := make([]*big.Int, n)
	for i := range values {
		values[i] = new(big.Int)
	}
	r.PolyToBigintCentered(got, 1, values)
	var big108 int
	for _, v := range values {
		if l := v.BitLen(); l > floodBits+1 {
			t.Fatal("noise beyond the flood")
		} else if l >= floodBits-1 {
			big108++
		}
	}
	// Three in four lie in the outer three quarters.
	if big108 < n*70/100 || big108 > n*80/100 {
		t.Errorf("%d of %d coefficients are near the flood's width", big108, n)
	}
}

// Every sum that any proposal may have fits, by the worst case and not by experience.
func TestR39_WorstCaseNoiseFits(t *testing.T) {
	s := scheme(t)
	for _, x := range []struct{ parties, holders, t int }{{3, 1, 1}, {8, 8, 5}, {federate.MaxContributors, federate.MaxDepartments, federate.MaxDepartments}} {
		p := proposal(x.parties, x.holders, x.t, federate.MaxCells, 1)
		if f := p.Check(); f != nil {
			t.Fatal(f)
		}
		got := s.pick(p)
		if x.parties == federate.MaxContributors {
			if got != nil && !drowned(x.parties, x.holders+1, federate.MaxCells) {
				t.Error("a release is not hidden by its flood")
			}
			continue
		}
		if got == nil {
			t.Fatalf("%v has no parameters", x)
		}
		limit := got.limit(p)
		if limit.Cmp(got.half) >= 0 {
			t.Errorf("%v: T times the noise exceeds half the modulus", x)
		}
		before, _ := noise(x.parties, x.holders+1, 1)
		if d := floodBits + 1 - before.BitLen() - bits.Len(uint(federate.MaxCells)); d < hidden-1 {
			t.Errorf("%v: %d bits of flooding", x, d)
		}
	}
}

// The start refuses parameters that the table does not hold secure.
func TestInsecureParametersAreRefused(t *testing.T) {
	for _, row := range standard {
		if secure(row.logN, row.quantum) != nil || secure(row.logN, row.quantum+1) == nil {
			t.Errorf("N=2^%d", row.logN)
		}
	}
	if secure(9, 1) == nil {
		t.Error("a ring degree that is not in the table")
	}
	loose := sets[0]
	loose.t++
	if _, err := newParams(loose); err == nil {
		t.Error("a plaintext modulus that is no prime")
	}
}

// The centred residues are exact at both ends of the modulus.
func TestGarnerAgainstBigIntegers(t *testing.T) {
	for _, p := range scheme(t).sets {
		q := p.rlwe.QBigInt()
		tb := new(big.Int).SetUint64(p.t)
		rnd := seeded(9)
		raw := make([]byte, 24)
		for i := range 2000 {
			v := new(big.Int)
			switch i {
			case 0:
			case 1:
				v.Set(p.half)
			case 2:
				v.Neg(p.half)
			case 3:
				v.SetUint64(p.t / 2)
			case 4:
				v.SetUint64(p.t/2 + 1)
			default:
				io.ReadFull(rnd, raw)
				v.SetBytes(raw)
				v.Mod(v, q).Sub(v, p.half)
			}
			var y [limbs]uint64
			for l := range y {
				y[l] = new(big.Int).Mod(v, new(big.Int).SetUint64(p.limb[l].q)).Uint64()
			}
			want := new(big.Int).Mod(v, tb)
			if want.Cmp(new(big.Int).SetUint64(p.t/2)) > 0 {
				want.Sub(want, tb)
			}
			got, ok := p.garn.open(y[0], y[1], y[2], p.garn.half)
			if !ok || got != want.Int64() {
				t.Fatalf("%s: %v gives %d, want %v", p.name, v, got, want)
			}
			abs := new(big.Int).Abs(v)
			if _, ok := p.garn.open(y[0], y[1], y[2], wideOf(abs)); !ok {
				t.Fatal("a value at the limit is refused")
			}
			if abs.Sign() > 0 {
				if _, ok := p.garn.open(y[0], y[1], y[2], wideOf(abs.Sub(abs, big.NewInt(1)))); ok {
					t.Fatal("a value beyond the limit is taken")
				}
			}
		}
	}
}

// R39: what is not a ciphertext or share of exactly this form is refused, whatever it is.
func FuzzStrictDecoding(f *testing.F) {
	s, err := New()
	if err != nil {
		f.Fatal(err)
	}
	p := proposal(3, 2, 2, 8, 10)
	hs, k := held(f, s, p)
	w, err := k.Writer(seeded(1))
	if err != nil {
		f.Fatal(err)
	}
	part, err := w.Part(nil, 0, []int64{1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(part, 0, byte(0))
	f.Add(part[:len(part)-1], 0, byte(0))
	f.Add(append(slices.Clone(part), 0), 0, byte(0))
	f.Add(hs["regulator"].KeyShare(), 7, byte(0xff))
	f.Add([]byte{}, 0, byte(1))
	f.Fuzz(func(t *testing.T, b []byte, at int, x byte) {
		b = slices.Clone(b)
		if len(b) > 0 {
			b[uint(at)%uint(len(b))] ^= x
		}
		canonical := func(size int) bool {
			if len(b) != size {
				return false
			}
			for i := 0; i < len(b); i += 8 {
				if binary.LittleEndian.Uint64(b[i:]) >= s.sets[0].q[i/8/n%limbs] {
					return false
				}
			}
			return true
		}
		if err := k.Sum(true).Add(0, b); (err == nil) != canonical(partBytes) {
			t.Error(err)
		}
		if err := k.Sum(true).AddShare(0, b); (err == nil) != canonical(polyBytes) {
			t.Error(err)
		}
		if err := s.CheckShare(context(p, ""), b); (err == nil) != canonical(polyBytes) {
			t.Error(err)
		}
		if k.Sum(true).Add(1, part) == nil || k.Sum(true).Add(-1, part) == nil {
			t.Error("a part that does not exist")
		}
	})
}

type broken struct{ after int }

func (b *broken) Read(p []byte) (int, error) {
	if b.after -= len(p); b.after < 0 {
		return 0, io.ErrUnexpectedEOF
	}
	return len(p), nil
}

// Randomness that ends is an error, never weak noise.
func TestR39_WithoutRandomnessNothingIsMade(t *testing.T) {
	s := scheme(t)
	p := proposal(3, 1, 1, 8, 10)
	if _, err := s.Holder(context(p, "dept00"), &broken{100}); err == nil {
		t.Error("a secret without randomness")
	}
	hs, k := held(t, s, p)
	w, err := k.Writer(&broken{5000})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Part(nil, 0, []int64{1}); err == nil {
		t.Error("a contribution without randomness")
	}
	sum := filled(t, k, p, true, func(int, int) int64 { return 1 })
	o, err := hs["dept00"].Open(sum, []string{"regulator", "dept00"}, nil, big.NewInt(16), &broken{80_000})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Share(nil, 0); err == nil {
		t.Error("a share without its flood")
	}
}
