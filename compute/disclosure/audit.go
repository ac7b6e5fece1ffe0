package disclosure

// Table is one output of a table of cells for the interval audit. Counts and
// Held are parallel to the product of Sizes, the last key fastest.
type Table struct {
	Sizes  []int
	Counts []int64 // units of each cell
	Held   []bool  // withheld
}

// Audit returns the withheld cells whose number of units an attacker would know
// to within fewer than k, when he knows every released cell exactly and every
// margin of at least k units, whether or not it was ever released. Margins below
// k are no release's, so they are known only together with enough others.
//
// One and two keys are exact: what is unknown is a transportation polytope, in
// which the extremes of one cell are maximum flows. With more keys each key is
// audited against all others together, not all margins jointly.
func (t *Table) Audit(k int64) []int {
	bad := map[int]bool{}
	for d := range max(len(t.Sizes), 1) {
		if d == 1 && len(t.Sizes) == 2 {
			break // the transposed table
		}
		t.audit(d, k, bad)
	}
	var out []int
	for i := range t.Held {
		if bad[i] {
			out = append(out, i)
		}
	}
	return out
}

// split gives the row and the column of cell i when key d makes the rows.
func (t *Table) split(d, i int) (row, column int) {
	if len(t.Sizes) < 2 {
		return 0, 0 // one margin, the total
	}
	scale, rest := 1, i
	for j := len(t.Sizes) - 1; j >= 0; j-- {
		x := rest % t.Sizes[j]
		rest /= t.Sizes[j]
		if j == d {
			row = x
			continue
		}
		column += x * scale
		scale *= t.Sizes[j]
	}
	return row, column
}

// edge is a withheld cell between the node of its row and that of its column.
type edge struct {
	cell        int
	row, column int
	units       int64
}

func (t *Table) audit(d int, k int64, bad map[int]bool) {
	rows, columns := map[int]int64{}, map[int]int64{}
	for i, n := range t.Counts {
		r, c := t.split(d, i)
		rows[r] += n
		columns[c] += n
	}
	rowNode, columnNode := known(rows, k), known(columns, k)
	var edges []edge
	for i, held := range t.Held {
		if held {
			r, c := t.split(d, i)
			edges = append(edges, edge{i, rowNode[r], columnNode[c], t.Counts[i]})
		}
	}
	g := network{edges: edges}
	g.build()
	for i := range edges {
		up := g.flow(i, true, k)
		if up >= k {
			continue
		}
		if up+min(edges[i].units, g.flow(i, false, k)) < k {
			bad[edges[i].cell] = true
		}
	}
}

// known numbers the margins an attacker knows: those of at least k units one by
// one, the smaller ones together with the smallest of the others that they need.
func known(margins map[int]int64, k int64) map[int]int {
	out := map[int]int{}
	var small, all int64
	n := 0
	for m := range margins {
		n = max(n, m+1)
	}
	for m := range n {
		if all += margins[m]; margins[m] < k {
			small += margins[m]
		}
	}
	node := 1 // node 0 is the small ones
	for m := range n {
		if margins[m] >= k {
			out[m] = node
			node++
		}
	}
	for small > 0 && small < k && small < all {
		least := -1
		for m := range n {
			if out[m] != 0 && (least < 0 || margins[m] < margins[least]) {
				least = m
			}
		}
		if least < 0 {
			break
		}
		small += margins[least]
		out[least] = 0
	}
	return out
}

// network is the bipartite graph of withheld cells. Raising one cell takes units
// out of others in its row, which others in their columns must take up, and so on
// until the cell's own column is level again.
type network struct {
	edges []edge
	nodes int
	at    [][]int // edges of each node: rows first, then columns
	rows  int
}

func (g *network) build() {
	columns := 0
	for _, e := range g.edges {
		g.rows, columns = max(g.rows, e.row+1), max(columns, e.column+1)
	}
	g.nodes = g.rows + columns
	g.at = make([][]int, g.nodes)
	for i, e := range g.edges {
		g.at[e.row] = append(g.at[e.row], i)
		g.at[g.rows+e.column] = append(g.at[g.rows+e.column], i)
	}
}

// flow is how far edge out can be raised (or lowered), no further than to enough:
// the maximum flow from its row to its column over the other edges, of which
// those that give units have what they hold and those that take have no limit.
func (g *network) flow(out int, raise bool, enough int64) int64 {
	have := make([]int64, len(g.edges)) // units now, as the flow moves them
	for i, e := range g.edges {
		have[i] = e.units
	}
	from, to := g.edges[out].row, g.rows+g.edges[out].column
	total := int64(0)
	for total < enough {
		came := make([]int, g.nodes)
		for i := range came {
			came[i] = -1
		}
		came[from] = -2
		queue := []int{from}
		for len(queue) > 0 && came[to] == -1 {
			v := queue[0]
			queue = queue[1:]
			for _, i := range g.at[v] {
				if i == out {
					continue
				}
				w := g.edges[i].row
				if v < g.rows {
					w = g.rows + g.edges[i].column
				}
				// Leaving a row by an edge lowers it when the cell is to be raised.
				lowers := (v < g.rows) == raise
				if came[w] == -1 && (!lowers || have[i] > 0) {
					came[w] = i
					queue = append(queue, w)
				}
			}
		}
		if came[to] == -1 {
			return total
		}
		push := enough - total
		g.walk(from, to, came, func(i int, fromRow bool) {
			if fromRow == raise {
				push = min(push, have[i])
			}
		})
		g.walk(from, to, came, func(i int, fromRow bool) {
			if fromRow == raise {
				have[i] -= push
			} else {
				have[i] += push
			}
		})
		total += push
	}
	return total
}

func (g *network) walk(from, to int, came []int, f func(i int, fromRow bool)) {
	for v := to; v != from; {
		i := came[v]
		fromRow := v >= g.rows // the edge was left from its row
		f(i, fromRow)
		if fromRow {
			v = g.edges[i].row
		} else {
			v = g.rows + g.edges[i].column
		}
	}
}
