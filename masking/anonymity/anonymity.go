// Package anonymity chooses how far the quasi-identifiers of a table are generalised
// so that every class of equal ones has at least k privacy units: global recoding,
// one level a column for the whole table, with few rows suppressed. It looks through
// the lattice of levels (Samarati, "Protecting Respondents' Identities in Microdata
// Release", IEEE TKDE 2001; LeFevre, DeWitt and Ramakrishnan, "Incognito", SIGMOD
// 2005) in the order of what a node loses at least, so the first that no later one
// can beat is the best of all, not merely a minimal one as Datafly (Sweeney, 2002)
// finds.
//
// The loss of a node is the mean over all cells of level ÷ height of the column's
// ladder, 1 for a cell of a suppressed row (Sweeney's precision, turned round). It is
// computed in integers, and ties go to the node of less generalisation and then to
// the one that is first in the order of the columns: the choice depends on the table
// alone.
package anonymity

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// MaxNodes caps the lattice.
const MaxNodes = 4096

// Table is what the choice depends on. Values are numbered from 0 in each column, 0 is
// NULL.
type Table struct {
	// Levels maps, by column, level and value, to the generalised value, 0 for NULL.
	// Level 0 of a column maps every value to itself.
	Levels [][][]int32
	// Classes are the combinations of values that occur.
	Classes [][]int32
	// Rows is how many rows a class has.
	Rows []int64
	// Members are the classes of each unit, unit after unit, and Ends where each unit's
	// end. Both are nil when every unit has one row: rows are units then.
	Members []int32
	Ends    []int
}

// Choice is the outcome.
type Choice struct {
	Node       []int  // level of each column
	Suppressed []bool // by class: its rows have NULL in all quasi-identifiers
	Rows       int64  // suppressed
}

// Nodes is the number of nodes of a lattice of ladders of these heights, an error when
// it is over MaxNodes.
func Nodes(heights []int) (int, error) {
	n := 1
	for _, h := range heights {
		if n *= h + 1; n > MaxNodes {
			return 0, fmt.Errorf("the ladders make more than %d combinations; give fewer columns or rungs", MaxNodes)
		}
	}
	return n, nil
}

// Search finds the node of least loss for which every class, that of the suppressed
// rows too, has at least k units, with at most suppress percent of the rows
// suppressed. found is false when there is none.
func Search(t Table, k int64, suppress int) (best Choice, found bool, err error) {
	heights := make([]int, len(t.Levels))
	scale := int64(1)
	for i, levels := range t.Levels {
		if heights[i] = len(levels) - 1; heights[i] < 1 {
			return best, false, errors.New("a column without a ladder")
		}
		scale = lcm(scale, int64(heights[i]))
	}
	if _, err := Nodes(heights); err != nil {
		return best, false, err
	}
	rows := int64(0)
	for _, n := range t.Rows {
		rows += n
	}
	type node struct {
		levels []int
		lost   int64 // Σ level ÷ height, in 1/scale
	}
	var nodes []node
	for at := make([]int, len(heights)); ; {
		n := node{levels: slices.Clone(at)}
		for i, l := range at {
			n.lost += int64(l) * (scale / int64(heights[i]))
		}
		nodes = append(nodes, n)
		i := len(at) - 1
		for ; i >= 0 && at[i] == heights[i]; i-- {
			at[i] = 0
		}
		if i < 0 {
			break
		}
		at[i]++
	}
	slices.SortStableFunc(nodes, func(a, b node) int { return cmp.Compare(a.lost, b.lost) })
	w := newWork(t)
	least := int64(0)
	for _, n := range nodes {
		if found && n.lost*rows >= least {
			break // no later node loses less, whatever it suppresses
		}
		gone, n0, ok := w.suppress(n.levels, k, rows*int64(suppress)/100)
		if !ok {
			continue
		}
		if lost := (rows-n0)*n.lost + n0*scale*int64(len(heights)); !found || lost < least {
			best, found, least = Choice{Node: n.levels, Suppressed: gone, Rows: n0}, true, lost
		}
	}
	return best, found, nil
}

func lcm(a, b int64) int64 {
	x, y := a, b
	for y != 0 {
		x, y = y, x%y
	}
	return a / x * b
}

// work is what every node is weighed with.
type work struct {
	Table
	of    []int32 // generalised class of a class
	pairs map[uint64]int32
	units []int64
	seen  []int // by generalised class: the unit counted last, plus one
}

func newWork(t Table) *work {
	return &work{Table: t, of: make([]int32, len(t.Classes)), pairs: map[uint64]int32{}}
}

// generalise numbers the classes of a node; none is the class of NULLs alone, −1 when
// there is no such class.
func (w *work) generalise(levels []int) (classes int, none int32) {
	none = -1
	for c, level := range levels {
		clear(w.pairs)
		for i, class := range w.Classes {
			pair := uint64(uint32(w.Levels[c][level][class[c]]))
			if c > 0 {
				pair |= uint64(w.of[i]) << 32
			}
			id, ok := w.pairs[pair]
			if !ok {
				id = int32(len(w.pairs))
				w.pairs[pair] = id
			}
			w.of[i] = id
		}
	}
	for i, class := range w.Classes {
		null := true
		for c, level := range levels {
			null = null && w.Levels[c][level][class[c]] == 0
		}
		if null {
			none = w.of[i]
			break
		}
	}
	return len(w.pairs), none
}

// count gives the units of each of n classes.
func (w *work) count(n int, of func(class int32) int32) []int64 {
	w.units = append(w.units[:0], make([]int64, n)...)
	if w.Ends == nil {
		for i, rows := range w.Rows {
			if g := of(int32(i)); g >= 0 {
				w.units[g] += rows
			}
		}
		return w.units
	}
	w.seen = append(w.seen[:0], make([]int, n)...)
	from := 0
	for unit, end := range w.Ends {
		for _, class := range w.Members[from:end] {
			if g := of(class); g >= 0 && w.seen[g] != unit+1 {
				w.seen[g] = unit + 1
				w.units[g]++
			}
		}
		from = end
	}
	return w.units
}

// suppress says which classes of the table go at a node, and how many rows; ok is
// false when that is more than most rows, or when no set of them will do.
func (w *work) suppress(levels []int, k, most int64) (gone []bool, rows int64, ok bool) {
	n, none := w.generalise(levels)
	units := slices.Clone(w.count(n, func(i int32) int32 { return w.of[i] }))
	rowsOf := make([]int64, n)
	for i, r := range w.Rows {
		rowsOf[w.of[i]] += r
	}
	out := make([]bool, n)
	var left []int32
	for g := range int32(n) {
		switch {
		case g == none:
		case units[g] < k:
			out[g] = true
			rows += rowsOf[g]
		default:
			left = append(left, g)
		}
	}
	// The smallest go first; classes are numbered in the order in which they occur.
	slices.SortStableFunc(left, func(a, b int32) int { return cmp.Compare(units[a], units[b]) })
	for {
		if rows > most {
			return nil, 0, false
		}
		// Suppressed rows and those of NULLs alone are one class.
		together := w.count(1, func(i int32) int32 {
			if g := w.of[i]; g == none || out[g] {
				return 0
			}
			return -1
		})[0]
		if together == 0 || together >= k {
			break
		}
		if len(left) == 0 {
			return nil, 0, false
		}
		out[left[0]] = true
		rows += rowsOf[left[0]]
		left = left[1:]
	}
	gone = make([]bool, len(w.Classes))
	for i := range gone {
		gone[i] = out[w.of[i]]
	}
	return gone, rows, true
}
