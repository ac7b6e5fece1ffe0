package twin

import (
	"math"
	"slices"
)

// table is counts by row and column.
type table struct {
	rows, cols int
	v          []float64
}

func newTable(rows, cols int) table { return table{rows, cols, make([]float64, rows*cols)} }

func (t table) at(i, j int) float64 { return t.v[i*t.cols+j] }

func (t table) sums() (rows, cols []float64) {
	rows, cols = make([]float64, t.rows), make([]float64, t.cols)
	for i := range rows {
		for j := range cols {
			rows[i] += t.at(i, j)
			cols[j] += t.at(i, j)
		}
	}
	return rows, cols
}

func (t table) turned() table {
	out := newTable(t.cols, t.rows)
	for i := range t.rows {
		for j := range t.cols {
			out.v[j*t.rows+i] = t.at(i, j)
		}
	}
	return out
}

func total(v []float64) float64 {
	s := 0.0
	for _, x := range v {
		s += x
	}
	return s
}

// product is the table of two independent marginals of the same sum.
func product(rows, cols []float64) table {
	t := newTable(len(rows), len(cols))
	n := max(total(rows), 1)
	for i, x := range rows {
		for j, y := range cols {
			t.v[i*t.cols+j] = x * y / n
		}
	}
	return t
}

// project moves v to the nearest non-negative vector that sums to n (norm-sub): it
// lowers or raises all that stays positive by the same amount.
func project(v []float64, n float64) {
	sorted := slices.Clone(v)
	slices.SortFunc(sorted, func(a, b float64) int {
		switch {
		case a > b:
			return -1
		case a < b:
			return 1
		}
		return 0
	})
	sum, shift := 0.0, 0.0
	for i, x := range sorted {
		sum += x
		if s := (sum - n) / float64(i+1); x > s {
			shift = s
		}
	}
	for i := range v {
		v[i] = max(0, v[i]-shift)
	}
}

// shrink draws a noisy table towards what is expected of it: the deviation of a cell is
// taken for a Gaussian whose variance grows with the expected count, at a rate that is
// estimated from all cells (James–Stein, empirical Bayes). Without it the noise of a
// thousand nearly empty cells would pass for dependence.
func shrink(t, expected table, variance float64) {
	energy, mass := 0.0, 0.0
	for i, x := range t.v {
		d := x - expected.v[i]
		energy += d*d - variance
		mass += expected.v[i]
	}
	rate := max(0, energy) / max(mass, 1)
	for i := range t.v {
		e := expected.v[i]
		f := 0.0
		if s := rate * e; s > 0 {
			f = s / (s + variance)
		}
		t.v[i] = e + f*(t.v[i]-e)
	}
}

// rake fits a non-negative table to its marginals (iterative proportional fitting:
// Deming, Stephan 1940).
func rake(t table, rows, cols []float64) {
	for range 60 {
		r, _ := t.sums()
		for i := range r {
			f := ratio(rows[i], r[i])
			for j := range t.cols {
				t.v[i*t.cols+j] *= f
			}
		}
		_, c := t.sums()
		worst := 0.0
		for j := range c {
			f := ratio(cols[j], c[j])
			worst = max(worst, math.Abs(c[j]-cols[j]))
			for i := range t.rows {
				t.v[i*t.cols+j] *= f
			}
		}
		if worst < 1e-3 {
			return
		}
	}
}

func ratio(want, have float64) float64 {
	if have <= 0 {
		return 0
	}
	return want / have
}

// settled is the estimate of a pair's table: measured with noise, drawn towards what is
// expected, not negative, with the marginals of expected.
func settled(measured, expected table, variance float64) table {
	rows, cols := expected.sums()
	return settledOn(table{measured.rows, measured.cols, slices.Clone(measured.v)}, expected, rows, cols, variance)
}

// settledOn is settled with marginals apart; it writes to t.
func settledOn(t, expected table, rows, cols []float64, variance float64) table {
	if variance > 0 {
		shrink(t, expected, variance)
	}
	project(t.v, total(rows))
	for i := range t.v {
		// Nothing that is expected is quite impossible, so that raking finds its rows.
		t.v[i] = 0.999*t.v[i] + 0.001*expected.v[i]
	}
	rake(t, rows, cols)
	return t
}

// information is the mutual information of a table, in nats.
func information(t table) float64 {
	rows, cols := t.sums()
	n, out := total(rows), 0.0
	for i := range t.rows {
		for j := range t.cols {
			if x := t.at(i, j); x > 0 {
				out += x / n * math.Log(x*n/(rows[i]*cols[j]))
			}
		}
	}
	return out
}

// clique is the joint of three columns of which the three pairs are known: that of the
// greatest entropy. x changes fastest, then b. Rounds bounds the raking.
func clique(ab, ax, bx table, rounds int) []float64 {
	na, nb, nx := ab.rows, ab.cols, ax.cols
	v := make([]float64, na*nb*nx)
	as, bs := ab.sums()
	for a := range na {
		for b := range nb {
			for x := range nx {
				if as[a] > 0 && bs[b] > 0 {
					v[(a*nb+b)*nx+x] = ab.at(a, b) * ax.at(a, x) * bx.at(b, x) / (as[a] * bs[b])
				}
			}
		}
	}
	n := total(ab.v)
	sax, sbx := newTable(na, nx), newTable(nb, nx)
	for range rounds {
		clear(sax.v)
		for a := range na {
			for b := range nb {
				for x := range nx {
					sax.v[a*nx+x] += v[(a*nb+b)*nx+x]
				}
			}
		}
		for i := range sax.v {
			sax.v[i] = ratio(ax.v[i], sax.v[i])
		}
		clear(sbx.v)
		for a := range na {
			for b := range nb {
				for x := range nx {
					v[(a*nb+b)*nx+x] *= sax.v[a*nx+x]
					sbx.v[b*nx+x] += v[(a*nb+b)*nx+x]
				}
			}
		}
		for i := range sbx.v {
			sbx.v[i] = ratio(bx.v[i], sbx.v[i])
		}
		worst := 0.0
		for a := range na {
			for b := range nb {
				s := 0.0
				for x := range nx {
					v[(a*nb+b)*nx+x] *= sbx.v[b*nx+x]
					s += v[(a*nb+b)*nx+x]
				}
				worst = max(worst, math.Abs(s-ab.at(a, b)))
				f := ratio(ab.at(a, b), s)
				for x := range nx {
					v[(a*nb+b)*nx+x] *= f
				}
			}
		}
		if worst < 1e-6*n {
			break
		}
	}
	return v
}
