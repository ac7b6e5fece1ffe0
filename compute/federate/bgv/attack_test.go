package bgv

import (
	"slices"
	"testing"

	"github.com/tuneinsight/lattigo/v6/ring"
)

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
				o, err := h[name].Open(sum, set, nil, nil, seeded(uint64(i)))
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

func TestR39_ControlRogueKeyWithoutCommitments(t *testing.T) {
	s := scheme(t)
	p := proposal(3, 2, 2, 16, 1000)
	hs, _ := held(t, s, p)
	rogue := hs["dept01"].(*holder)
	r := rogue.p.ring
	// −(the others' shares) + his own.
	share, one := r.NewPoly(), r.NewPoly()
	if err := rogue.p.get(rogue.public[:polyBytes], share); err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{"regulator", "dept00"} {
		if err := rogue.p.get(hs[other].KeyShare()[:polyBytes], one); err != nil {
			t.Fatal(err)
		}
		r.Sub(share, one, share)
	}
	made := append(put(nil, share), rogue.public[polyBytes:]...)
	// He does not know the secret of it, so he proves nothing about what he deals.
	if s.CheckShare(context(p, ""), "dept01", made) == nil {
		t.Error("a rogue key passes for one whose secret is dealt")
	}
	k, err := s.Key(context(p, ""), [][]byte{hs["regulator"].KeyShare(), hs["dept00"].KeyShare(), made})
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

func TestR39_AHolderOpensOnce(t *testing.T) {
	s := scheme(t)
	p := proposal(3, 2, 2, 8, 10)
	hs, k := held(t, s, p)
	sum := filled(t, k, p, true, func(_, i int) int64 { return int64(i) })
	active := []string{"regulator", "dept00", "dept01"}
	o, err := hs["dept00"].Open(sum, active, nil, noiseOf(16, 3), seeded(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hs["dept00"].Open(sum, active, nil, noiseOf(16, 3), seeded(1)); err == nil {
		t.Error("a second share of the same secret")
	}
	if _, err := o.Share(nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Share(nil, 0); err == nil {
		t.Error("a part of the share was made twice")
	}
	hs["dept01"].Wipe()
	if _, err := hs["dept01"].Open(sum, active, nil, noiseOf(16, 3), seeded(1)); err == nil {
		t.Error("a wiped secret makes a share")
	}
}

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
