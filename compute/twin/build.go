package twin

import (
	"math"
	"slices"
)

// twin turns what was learned into a document.
func (l *learner) twin(marginalsOnly bool) (*Twin, error) {
	s := l.schema
	t := &Twin{Format: Format, SchemaDigest: s.Digest(), Dataset: s.Dataset, Columns: s.Columns, Generated: s.Generated,
		Rho: l.spent.String(), Units: int64(math.Round(l.units)), Rare: int64(math.Ceil(rareSigmas * l.sigma[0])), MarginalsOnly: marginalsOnly,
		Lengths: whole(l.lengths), Groups: l.fine}
	for _, x := range l.sigma[:l.next] {
		t.Noise = append(t.Noise, int64(math.Round(x*1000)))
	}
	for c := range s.Columns {
		t.Cells = append(t.Cells, l.within(c))
	}
	if l.order == nil {
		t.Order = l.independent()
	} else {
		t.Order = l.dependent()
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	if err := l.judge(t); err != nil {
		return nil, err
	}
	return t, t.check()
}

// within gives the weights of a column's cells, each group for itself.
func (l *learner) within(c int) []int64 {
	out := make([]int64, len(l.cells[c]))
	for g := range l.mass[c] {
		var cells []int
		var mass []float64
		for cell, x := range l.cells[c] {
			if l.fine[c][cell] == g {
				cells, mass = append(cells, cell), append(mass, x)
			}
		}
		for i, w := range whole(mass) {
			out[cells[i]] = w
		}
	}
	return out
}

// whole brings a distribution to integer weights that sum to about scale. What is
// nothing stays nothing; the greatest weight is at least 1.
func whole(mass []float64) []int64 {
	out := make([]int64, len(mass))
	n := total(mass)
	for i, x := range mass {
		out[i] = int64(math.Round(x / n * scale))
	}
	return out
}

// independent are marginals alone, constant columns first.
func (l *learner) independent() []Vertex {
	var out []Vertex
	for _, constant := range []bool{true, false} {
		for c, column := range l.schema.Columns {
			if column.PerUnit == constant {
				out = append(out, Vertex{Column: c, Weights: [][]int64{whole(l.mass[c])}})
			}
		}
	}
	return out
}

func (l *learner) dependent() []Vertex {
	var out []Vertex
	for _, v := range l.order {
		x := Vertex{Column: v.column, Parents: v.parents}
		n := len(l.mass[v.column])
		var joint []float64
		switch len(v.parents) {
		case 0:
			joint = l.mass[v.column]
		case 1:
			joint = l.edge(v.parents[0], v.column).v
		default:
			a, b := v.parents[0], v.parents[1]
			joint = clique(l.edge(a, b), l.edge(a, v.column), l.edge(b, v.column), 60)
		}
		for row := range slices.Chunk(joint, n) {
			if total(row) <= 0 {
				row = l.mass[v.column] // of parents that do not occur together
			}
			x.Weights = append(x.Weights, whole(row))
		}
		out = append(out, x)
	}
	return out
}

// edge is the settled table of two adjacent columns, the first by row.
func (l *learner) edge(a, b int) table {
	if t, ok := l.pairs[[2]int{a, b}]; ok {
		return t
	}
	return l.pairs[[2]int{b, a}].turned()
}
