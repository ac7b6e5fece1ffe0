package bgv

import (
	"crypto/sha256"
	"testing"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/tuneinsight/lattigo/v6/multiparty"
	"github.com/tuneinsight/lattigo/v6/ring"
	"github.com/tuneinsight/lattigo/v6/ring/ringqp"
	"github.com/tuneinsight/lattigo/v6/utils/structs"
)

// crooked is a department that deals what it likes and proves it as well as it can. It is
// an honest holder whose deals and share polynomial were changed after it made its share b.
func crooked(t *testing.T, s *Scheme, p *federate.Proposal, self string, change func(h *holder, deals []ring.Poly)) (share []byte, deals map[string][]byte) {
	t.Helper()
	made, err := s.Holder(context(p, self), seeded(77))
	if err != nil {
		t.Fatal(err)
	}
	h := made.(*holder)
	a, err := h.p.reference(h.crs)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]ring.Poly, len(p.Departments))
	for i, to := range p.Departments {
		if all[i], err = h.deal(to); err != nil {
			t.Fatal(err)
		}
	}
	change(h, all)
	share = h.public[:polyBytes:polyBytes]
	deals = map[string][]byte{}
	for i, to := range p.Departments {
		deals[to] = put(nil, all[i])
		sum := sha256.Sum256(deals[to])
		share = append(share, sum[:]...)
	}
	bits := challenge(h.crs, self, share)
	for _, r := range h.dealing.Value {
		own, product := h.p.both(bits, a, r.Q)
		share = appendEquations(appendEquations(share, own), product)
	}
	return share, deals
}

// R39 attack: a department deals shares of another secret than that of its share of the
// key, a secret that is not small, or something else to one of them. It is found out by
// everybody or by whom it dealt that to, whatever it publishes. Controls: an honest
// department that goes the same way passes; and who does not check takes part in a key
// whose sums do not open, with nobody to name.
func TestR39_AttackInconsistentDeals(t *testing.T) {
	s := scheme(t)
	p := proposal(3, 4, 2, 8, 10)
	const dealer = "dept01"
	redeal := func(h *holder, deals []ring.Poly) { // consistent deals of the polynomial as it is now
		thr := multiparty.NewThresholdizer(h.p.rlwe)
		for i := range deals {
			out := thr.AllocateThresholdSecretShare()
			thr.GenShamirSecretShare(multiparty.ShamirPublicPoint(i+1), h.dealing, &out)
			deals[i] = out.Q
		}
	}
	for name, c := range map[string]struct {
		change  func(h *holder, deals []ring.Poly)
		public  bool // everybody finds it
		victims []string
	}{
		"honest": {func(h *holder, deals []ring.Poly) { redeal(h, deals) }, false, nil},
		"one coefficient of one deal": {func(h *holder, deals []ring.Poly) {
			one := h.p.ring.NewPoly()
			for l := range one.Coeffs {
				one.Coeffs[l][5] = 1
			}
			h.p.ring.Add(deals[2], one, deals[2])
		}, false, []string{"dept02"}},
		"two deals changed": {func(h *holder, deals []ring.Poly) { deals[0], deals[3] = deals[3], deals[0] }, false, []string{"dept00", "dept03"}},
		"another secret": {func(h *holder, deals []ring.Poly) {
			other, _ := s.Holder(context(p, dealer), seeded(78))
			h.dealing.Value[0] = ringqp.Poly{Q: other.(*holder).secret}
			redeal(h, deals)
		}, true, nil},
		"a secret beside the dealt one": {func(h *holder, deals []ring.Poly) {
			// The equations are those of the true secret, the deals of another.
			other, _ := s.Holder(context(p, dealer), seeded(78))
			mine := h.dealing
			h.dealing.Value = structs.Vector[ringqp.Poly]{{Q: other.(*holder).secret}, mine.Value[1]}
			redeal(h, deals)
			h.dealing = mine
		}, false, []string{"dept00", "dept02", "dept03"}},
		"a secret that is not small": {func(h *holder, deals []ring.Poly) {
			h.dealing.Value[0] = ringqp.Poly{Q: *h.dealing.Value[1].Q.CopyNew()}
			redeal(h, deals)
		}, true, nil},
		"a degree too many": {func(h *holder, deals []ring.Poly) {
			three := append(structs.Vector[ringqp.Poly]{}, h.dealing.Value...)
			three = append(three, ringqp.Poly{Q: *h.dealing.Value[1].Q.CopyNew()})
			mine := h.dealing
			h.dealing.Value = three
			redeal(h, deals)
			h.dealing = mine
		}, false, []string{"dept00", "dept02", "dept03"}},
	} {
		share, deals := crooked(t, s, p, dealer, c.change)
		if err := s.CheckShare(context(p, "gateway"), dealer, share); (err != nil) != c.public {
			t.Errorf("%s: everybody says %v", name, err)
		}
		var found []string
		for _, to := range p.Departments {
			if to == dealer {
				continue
			}
			h, err := s.Holder(context(p, to), seeded(5))
			if err != nil {
				t.Fatal(err)
			}
			if err := h.Take(dealer, deals[to]); err != nil {
				t.Fatal(err)
			}
			if h.Check(dealer, share) != nil {
				found = append(found, to)
			}
		}
		if !c.public && len(found) != len(c.victims) {
			t.Errorf("%s: found by %v, dealt to %v", name, found, c.victims)
		}
	}
}

// Control: without the check, a key with one false deal is made, encrypts and does not
// open.
func TestR39_UncheckedDealDoesNotOpen(t *testing.T) {
	s := scheme(t)
	p := proposal(3, 3, 2, 8, 10)
	for _, spoilt := range []bool{false, true} {
		hs := map[string]*holder{}
		var shares [][]byte
		for i, name := range p.Holders() {
			h, err := s.Holder(context(p, name), seeded(uint64(i)))
			if err != nil {
				t.Fatal(err)
			}
			hs[name], shares = h.(*holder), append(shares, h.KeyShare())
		}
		for _, from := range p.Departments {
			for _, to := range p.Departments {
				if from == to {
					continue
				}
				deal, err := hs[from].deal(to)
				if err != nil {
					t.Fatal(err)
				}
				if spoilt && from == "dept01" && to == "dept00" {
					deal.Coeffs[0][3] ^= 1
				}
				hs[to].take(from, deal)
			}
		}
		k, err := s.Key(context(p, ""), shares)
		if err != nil {
			t.Fatal(err)
		}
		sum := filled(t, k, p, true, func(int, int) int64 { return 1 })
		active := []string{"regulator", "dept00", "dept01"}
		for i, name := range active {
			o, err := hs[name].Open(sum, active, nil, nil, seeded(uint64(50+i)))
			if err != nil {
				t.Fatal(err)
			}
			part, err := o.Share(nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := sum.AddShare(0, part); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := sum.Values(nil, 0); (err != nil) != spoilt {
			t.Errorf("false deal %v: %v", spoilt, err)
		}
	}
}

// The projections are the inner products that they stand for, and what is small is taken
// for small at its bound and no further.
func TestProjections(t *testing.T) {
	s := scheme(t)
	for _, p := range s.sets {
		poly := ring.NewUniformSampler(full{seeded(1)}, p.ring).ReadNew()
		bits := challenge([32]byte{1}, "a", nil)
		got := p.project(bits, poly)
		for l := range p.limb {
			for r := range rows {
				want := uint64(0)
				for i, x := range poly.Coeffs[l] {
					if bits[r*rowBytes+i/8]>>(i%8)&1 == 1 {
						want = (want + x) % p.limb[l].q
					}
				}
				if got[l][r] != want {
					t.Fatalf("row %d modulo prime %d is %d, want %d", r, l, got[l][r], want)
				}
			}
		}
		of := func(v int64) (e equations) {
			for l := range p.limb {
				for r := range rows {
					e[l][r] = uint64(v)
					if v < 0 {
						e[l][r] += p.limb[l].q
					}
				}
			}
			return e
		}
		for v, want := range map[int64]bool{0: true, 7: true, -7: true, 8: false, -8: false} {
			if got := p.small(of(v), 7); got != want {
				t.Errorf("%d is small: %v", v, got)
			}
		}
		mixed := of(3)
		mixed[2][rows-1] = 4
		if p.small(mixed, 7) {
			t.Error("three residues of different integers are small")
		}
	}
}
