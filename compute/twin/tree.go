package twin

import (
	"math"
)

// vertex is a column of the tree with its parents: none of the first, one of the
// second, two adjacent ones of all others.
type vertex struct {
	column  int
	parents []int
}

// tree chooses a 2-tree over d columns, greedily: it begins with the pair of the
// greatest mutual information, then always takes the column that two adjacent ones tell
// most about. pair gives the coarse table of two columns, rows first. Columns that are
// constant in a unit come before all others, so that they can be drawn once per unit.
func tree(columns []Column, pair func(a, b int) table) []vertex {
	d := len(columns)
	first := 0
	for _, c := range columns {
		if c.PerUnit {
			first++
		}
	}
	inTree := make([]bool, d)
	allowed := func(done, c int) bool { return !inTree[c] && (done >= first || columns[c].PerUnit) }
	best, root, second := math.Inf(-1), 0, 1
	for a := range d {
		for b := range a {
			constant := 0
			for _, c := range []int{a, b} {
				if columns[c].PerUnit {
					constant++
				}
			}
			if constant < min(2, first) {
				continue
			}
			if x := information(pair(a, b)); x > best {
				best, root, second = x, b, a
			}
		}
	}
	if columns[second].PerUnit && !columns[root].PerUnit {
		root, second = second, root
	}
	out := []vertex{{column: root}, {column: second, parents: []int{root}}}
	inTree[root], inTree[second] = true, true
	type gain struct {
		a, b  int
		value float64
	}
	gains := make([]gain, d)
	for i := range gains {
		gains[i].value = math.Inf(-1)
	}
	look := func(a, b int) {
		ab := pair(a, b)
		for x := range d {
			if inTree[x] {
				continue
			}
			if v := told(ab, pair(a, x), pair(b, x)); v > gains[x].value {
				gains[x] = gain{a, b, v}
			}
		}
	}
	look(root, second)
	for len(out) < d {
		next := -1
		for x := range d {
			if allowed(len(out), x) && (next < 0 || gains[x].value > gains[next].value) {
				next = x
			}
		}
		g := gains[next]
		inTree[next] = true
		out = append(out, vertex{next, []int{g.a, g.b}})
		look(g.a, next)
		look(g.b, next)
	}
	return out
}

// told is the mutual information between a column and two others together.
func told(ab, ax, bx table) float64 {
	v := clique(ab, ax, bx, 6)
	nx := ax.cols
	n := total(v)
	if n <= 0 {
		return 0
	}
	xs := make([]float64, nx)
	for i, p := range v {
		xs[i%nx] += p
	}
	out := 0.0
	for i := 0; i < len(v); i += nx {
		s := total(v[i : i+nx])
		for x, p := range v[i : i+nx] {
			if p > 0 {
				out += p / n * math.Log(p*n/(s*xs[x]))
			}
		}
	}
	return out
}

// pairsOf lists the edges of a tree.
func pairsOf(t []vertex) [][2]int {
	var out [][2]int
	for _, v := range t {
		for _, p := range v.parents {
			out = append(out, [2]int{p, v.column})
		}
	}
	return out
}
