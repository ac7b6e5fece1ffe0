package twin

import "slices"

// reconcile makes one set of marginals of all that was measured, each source weighed by
// the inverse of its variance, and settles the tree's pairs on it.
func (l *learner) reconcile(measured []table, edges [][2]int, sigma float64) {
	d := len(l.schema.Columns)
	estimate, precision := make([][]float64, d), make([][]float64, d)
	for c := range d {
		n := len(l.mass[c])
		estimate[c], precision[c] = make([]float64, n), make([]float64, n)
		sum, cells := make([]float64, n), make([]float64, n)
		for cell, ok := range l.schema.Columns[c].drawable() {
			if g := l.fine[c][cell]; ok {
				sum[g] += l.raw[c][cell]
				cells[g]++
			}
		}
		for g := range n {
			precision[c][g] = 1 / (cells[g] * l.sigma[0] * l.sigma[0])
			estimate[c][g] = sum[g] * precision[c][g]
		}
	}
	for i, e := range edges {
		rows, cols := measured[i].sums()
		for side, sums := range [][]float64{rows, cols} {
			c, other := e[side], len(l.mass[e[1-side]])
			w := 1 / (float64(other) * sigma * sigma)
			for g, x := range sums {
				estimate[c][g] += x * w
				precision[c][g] += w
			}
		}
	}
	for c := range d {
		variance := make([]float64, len(estimate[c]))
		for g := range estimate[c] {
			variance[g] = 1 / precision[c][g]
			estimate[c][g] *= variance[g]
		}
		l.bound(c, estimate[c], variance)
		project(estimate[c], l.units)
		l.mass[c] = estimate[c]
	}
	l.pairs = map[[2]int]table{}
	for i, e := range edges {
		l.pairs[e] = l.pair(e, measured[i], sigma)
	}
}

// bound moves the estimates of a column's fine groups to what the coarse tables say of
// their sums.
func (l *learner) bound(c int, estimate, variance []float64) {
	n := slices.Max(l.join[c]) + 1
	sum, weight := make([]float64, n), 0.0
	for o := range l.schema.Columns {
		if o == c {
			continue
		}
		t := l.wide[pairIndex(c, o)]
		rows, cols := t.sums()
		if c < o {
			rows = cols
		}
		w := float64(n) / (float64(len(t.v)) * l.sigma[1] * l.sigma[1])
		for k, x := range rows {
			sum[k] += x * w
		}
		weight += w
	}
	for k := range sum {
		sum[k] /= weight
	}
	noise := 1 / weight
	have, loose := added(estimate, l.join[c]), added(variance, l.join[c])
	for g, k := range l.join[c] {
		estimate[g] += variance[g] / (loose[k] + noise) * (sum[k] - have[k])
	}
}

// pair settles a fine table on what the coarse one says of its blocks.
func (l *learner) pair(e [2]int, measured table, sigma float64) table {
	a, b := e[0], e[1]
	ja, jb := l.join[a], l.join[b]
	coarseA, coarseB := added(l.mass[a], ja), added(l.mass[b], jb)
	wide := l.wide[pairIndex(a, b)]
	if a < b {
		wide = wide.turned()
	}
	// Both passes measured the blocks.
	block, cells := newTable(wide.rows, wide.cols), newTable(wide.rows, wide.cols)
	for i := range measured.rows {
		for j := range measured.cols {
			k := ja[i]*block.cols + jb[j]
			block.v[k] += measured.at(i, j)
			cells.v[k]++
		}
	}
	variance := 0.0
	for k := range block.v {
		w1, w2 := 1/(l.sigma[1]*l.sigma[1]), 1/(max(1, cells.v[k])*sigma*sigma)
		block.v[k] = (wide.v[k]*w1 + block.v[k]*w2) / (w1 + w2)
		variance += 1 / (w1 + w2) / float64(len(block.v))
	}
	block = settled(block, product(coarseA, coarseB), variance)
	expected := newTable(measured.rows, measured.cols)
	for i := range measured.rows {
		for j := range measured.cols {
			expected.v[i*expected.cols+j] = block.at(ja[i], jb[j]) * ratio(l.mass[a][i], coarseA[ja[i]]) * ratio(l.mass[b][j], coarseB[jb[j]])
		}
	}
	return settled(measured, expected, sigma*sigma)
}
