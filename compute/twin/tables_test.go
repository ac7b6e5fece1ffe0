package twin

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sandgate/sandgate/compute/model"
)

// project finds the nearest point of the simplex: no other is nearer.
func TestProjectIsNearest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		n := 1 + r.IntN(12)
		v, w := make([]float64, n), make([]float64, n)
		for i := range v {
			v[i] = r.NormFloat64() * 50
		}
		copy(w, v)
		project(w, 100)
		far := func(x []float64) float64 {
			s := 0.0
			for i := range x {
				s += (x[i] - v[i]) * (x[i] - v[i])
			}
			return s
		}
		if math.Abs(total(w)-100) > 1e-6 || slices.Min(w) < 0 {
			t.Fatalf("%v is no distribution", w)
		}
		for range 50 {
			other := make([]float64, n)
			for i := range other {
				other[i] = r.ExpFloat64()
			}
			sum, f := total(other), r.Float64()
			for i := range other {
				other[i] = f*100*other[i]/sum + (1-f)*w[i]
			}
			if far(other) < far(w)-1e-6 {
				t.Fatal("another point is nearer")
			}
		}
	}
}

// A clique's joint has the pairs it was made of; settled tables their marginals.
func TestCliqueHasItsPairs(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	const na, nb, nx = 4, 5, 3
	joint := make([]float64, na*nb*nx)
	ab, ax, bx := newTable(na, nb), newTable(na, nx), newTable(nb, nx)
	for i := range joint {
		p := r.ExpFloat64() * 100
		a, b, x := i/nx/nb, i/nx%nb, i%nx
		ab.v[a*nb+b] += p
		ax.v[a*nx+x] += p
		bx.v[b*nx+x] += p
	}
	back := [3]table{newTable(na, nb), newTable(na, nx), newTable(nb, nx)}
	for i, p := range clique(ab, ax, bx, 200) {
		a, b, x := i/nx/nb, i/nx%nb, i%nx
		back[0].v[a*nb+b] += p
		back[1].v[a*nx+x] += p
		back[2].v[b*nx+x] += p
	}
	for k, want := range []table{ab, ax, bx} {
		for i, x := range want.v {
			if math.Abs(back[k].v[i]-x) > 0.05 {
				t.Fatalf("pair %d, cell %d: %.2f, want %.2f", k, i, back[k].v[i], x)
			}
		}
	}
	rows, cols := ab.sums()
	noise := newTable(na, nb)
	for i, x := range ab.v {
		noise.v[i] = x + r.NormFloat64()*40
	}
	gotRows, gotCols := settled(noise, product(rows, cols), 1600).sums()
	for i, x := range append(gotRows, gotCols...) {
		if want := append(slices.Clone(rows), cols...)[i]; math.Abs(x-want) > 0.01*want+0.01 {
			t.Errorf("marginal %d: %.2f, want %.2f", i, x, want)
		}
	}
}

// Noise alone is not taken for dependence, and dependence is not shrunk away.
func TestNoiseIsNoInformation(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	even := []float64{1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000}
	flat, tied := product(even, even), newTable(8, 8)
	for i := range 8 {
		tied.v[i*9] = 1000
	}
	const sigma = 60
	measure := func(of table) (plain, corrected float64) {
		noisy := table{8, 8, slices.Clone(of.v)}
		for i := range noisy.v {
			noisy.v[i] += r.NormFloat64() * sigma
		}
		corrected = information(settled(noisy, flat, sigma*sigma))
		project(noisy.v, 8000)
		return information(noisy), corrected
	}
	sum, raw := 0.0, 0.0
	for range 20 {
		p, c := measure(flat)
		sum, raw = sum+c/20, raw+p/20
	}
	if raw < 0.05 || sum > raw/4 {
		t.Errorf("of noise alone %.4f nats are left of %.4f", sum, raw)
	}
	if _, c := measure(tied); c < 0.9*math.Log(8) {
		t.Errorf("of full dependence %.3f nats are left of %.3f", c, math.Log(8))
	}
}

// Groups cover all cells, each holds one that is drawn, and numbers stay in order.
func TestGroups(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for range 500 {
		c := Column{}
		c.Kind = []model.Kind{model.KindNumber, model.KindCategory}[r.IntN(2)]
		w := make([]float64, 2+r.IntN(70))
		for i := range w {
			if r.IntN(3) > 0 {
				w[i] = math.Exp(3 * r.NormFloat64())
			}
		}
		w[r.IntN(len(w))] = 5
		most := 2 + r.IntN(31)
		fine := grouped(c, w, most)
		join := merged(c, fine, w, 2+r.IntN(min(7, most-1)))
		for name, g := range map[string][]int{"fine": fine, "coarse": composed(fine, join)} {
			n := groupsOf(g, len(w), maxFine)
			if n == 0 || n > most {
				t.Fatalf("%s: %d groups of %d (%v)", name, n, most, g)
			}
			mass := make([]float64, n)
			for i, x := range w {
				mass[g[i]] += x
			}
			if slices.Min(mass) <= 0 {
				t.Fatalf("%s: a group without weight: %v of %v", name, g, w)
			}
			if c.Kind == model.KindNumber && !slices.IsSorted(g[:len(g)-1]) {
				t.Fatalf("%s: a number's groups are out of order: %v", name, g)
			}
		}
	}
}
