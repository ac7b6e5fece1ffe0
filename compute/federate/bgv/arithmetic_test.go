package bgv

import (
	"encoding/binary"
	"io"
	"math/big"
	"math/bits"
	"slices"
	"testing"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/tuneinsight/lattigo/v6/ring"
)

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

func TestFloodIsInTheShare(t *testing.T) {
	s := scheme(t)
	p := proposal(3, 1, 1, n, 10)
	hs, k := held(t, s, p)
	sum := filled(t, k, p, true, func(_, i int) int64 { return 0 }).(*sum)
	h := hs["regulator"].(*holder)
	o, err := h.Open(sum, []string{"regulator", "dept00"}, nil, nil, seeded(5))
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

func FuzzStrictDecoding(f *testing.F) {
	s, err := New()
	if err != nil {
		f.Fatal(err)
	}
	p := proposal(3, 2, 2, 8, 10)
	_, k := held(f, s, p)
	w, err := k.Writer(seeded(1))
	if err != nil {
		f.Fatal(err)
	}
	part, err := w.Part(nil, 0, []int64{1})
	if err != nil {
		f.Fatal(err)
	}
	// The input says what to do to a well-formed part: megabytes are too much to mutate.
	f.Add([]byte{}, partBytes, 0)
	f.Add([]byte{}, partBytes-1, 0)
	f.Add([]byte{}, partBytes+8, 0)
	f.Add([]byte{}, polyBytes, 0)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, partBytes, polyBytes)
	f.Add([]byte{0xff}, polyBytes, 7)
	f.Add([]byte{}, 0, 0)
	f.Fuzz(func(t *testing.T, over []byte, length, at int) {
		b := make([]byte, uint(length)%(partBytes+64))
		copy(b, part)
		if len(b) > 0 {
			copy(b[uint(at)%uint(len(b)):], over)
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
		if err := s.CheckShare(context(p, ""), "regulator", b); (err == nil) != canonical(polyBytes) {
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
	o, err := hs["dept00"].Open(sum, []string{"regulator", "dept00"}, nil, noiseOf(16, 3), &broken{80_000})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Share(nil, 0); err == nil {
		t.Error("a share without its flood")
	}
}
