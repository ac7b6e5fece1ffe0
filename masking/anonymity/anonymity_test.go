package anonymity

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sandgate/sandgate/masking/risk"
)

// drawn is a table of units with some rows each over columns of the given heights:
// value v > 0 at level l becomes (v−1)>>l + 1, and NULL at the last level when the
// column's ladder ends so.
type drawn struct {
	Table
	unit  []int // of each row
	class []int
}

func draw(r *rand.Rand, heights []int, values, units, most int) drawn {
	d := drawn{}
	for c, h := range heights {
		var levels [][]int32
		for l := range h + 1 {
			m := make([]int32, values+1)
			for v := 1; v <= values; v++ {
				if m[v] = int32((v-1)>>l + 1); l == h && c%2 == 0 {
					m[v] = 0
				}
			}
			levels = append(levels, m)
		}
		d.Levels = append(d.Levels, levels)
	}
	ids := map[string]int{}
	for u := range units {
		var mine []int32
		for range 1 + r.IntN(most) {
			class := make([]int32, len(heights))
			for c := range class {
				class[c] = int32(r.IntN(values + 1))
				if r.IntN(2) == 0 {
					class[c] = 1
				}
			}
			id, ok := ids[fmt.Sprint(class)]
			if !ok {
				id = len(d.Classes)
				ids[fmt.Sprint(class)] = id
				d.Classes, d.Rows = append(d.Classes, class), append(d.Rows, 0)
			}
			d.Rows[id]++
			d.unit, d.class, mine = append(d.unit, u), append(d.class, id), append(mine, int32(id))
		}
		if most > 1 {
			d.Members = append(d.Members, mine...)
			d.Ends = append(d.Ends, len(d.Members))
		}
	}
	return d
}

// stored is the generalised row i.
func (d drawn) stored(c Choice, i int) string {
	class := d.Classes[d.class[i]]
	out := make([]int32, len(class))
	for col := range out {
		if out[col] = d.Levels[col][c.Node[col]][class[col]]; c.Suppressed[d.class[i]] {
			out[col] = 0
		}
	}
	return fmt.Sprint(out)
}

// loss is the declared loss, computed row by row.
func (d drawn) loss(c Choice) float64 {
	total := 0.0
	for _, class := range d.class {
		for col, level := range c.Node {
			if x := float64(level) / float64(len(d.Levels[col])-1); c.Suppressed[class] {
				total++
			} else {
				total += x
			}
		}
	}
	return total
}

// TestR22_EveryClassHasKUnits: after any choice every class has k units, as package
// risk counts them, no more is suppressed than allowed, and no node that the reference
// finds admissible loses less.
func TestR22_EveryClassHasKUnits(t *testing.T) {
	found, missing := 0, 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		heights := []int{1 + r.IntN(3), 1 + r.IntN(2), 1 + r.IntN(3)}[:1+r.IntN(3)]
		d := draw(r, heights, 1+r.IntN(9), 1+r.IntN(60), 1+r.IntN(3))
		k, suppress := int64(2+r.IntN(6)), r.IntN(4)*5
		c, ok, err := Search(d.Table, k, suppress)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			missing++
		} else {
			found++
			check(t, d, c, k, suppress)
		}
		// The reference: every node, suppressing what is too small.
		for _, node := range all(heights) {
			ref := Choice{Node: node, Suppressed: make([]bool, len(d.Classes))}
			least, rows := smallest(d, ref, k)
			if rows*100 > suppress*len(d.unit) || least < int(k) && least > 0 {
				continue
			}
			if !ok || d.loss(ref) < d.loss(c)-1e-9 {
				t.Fatalf("seed %d: node %v loses %v, chosen %v (found %v)", seed, node, d.loss(ref), c.Node, ok)
			}
		}
	}
	if found < 100 || missing < 10 {
		t.Fatalf("%d found, %d without: the cases say little", found, missing)
	}
}

// smallest suppresses the classes below k in ref and gives the units of the smallest
// class that remains, and the rows suppressed.
func smallest(d drawn, ref Choice, k int64) (least, rows int) {
	count := func() map[string]map[int]bool {
		m := map[string]map[int]bool{}
		for i, u := range d.unit {
			s := d.stored(ref, i)
			if m[s] == nil {
				m[s] = map[int]bool{}
			}
			m[s][u] = true
		}
		return m
	}
	before := count()
	null := fmt.Sprint(make([]int32, len(ref.Node)))
	gone := map[int]bool{}
	for i := range d.unit {
		if s := d.stored(ref, i); s != null && len(before[s]) < int(k) {
			rows++
			gone[d.class[i]] = true
		}
	}
	for class := range gone {
		ref.Suppressed[class] = true
	}
	for _, units := range count() {
		if least == 0 || len(units) < least {
			least = len(units)
		}
	}
	return least, rows
}

func all(heights []int) [][]int {
	out := [][]int{nil}
	for _, h := range heights {
		var next [][]int
		for _, n := range out {
			for l := range h + 1 {
				next = append(next, append(slices.Clone(n), l))
			}
		}
		out = next
	}
	return out
}

func check(t *testing.T, d drawn, c Choice, k int64, suppress int) {
	t.Helper()
	units := map[string]map[int]bool{}
	rows := int64(0)
	for i, u := range d.unit {
		s := d.stored(c, i)
		if units[s] == nil {
			units[s] = map[int]bool{}
		}
		units[s][u] = true
		if c.Suppressed[d.class[i]] {
			rows++
		}
	}
	var sizes []int64
	for s, u := range units {
		if int64(len(u)) < k {
			t.Fatalf("class %s has %d units", s, len(u))
		}
		sizes = append(sizes, int64(len(u)))
	}
	if rows != c.Rows || rows*100 > int64(suppress*len(d.unit)) {
		t.Fatalf("%d rows suppressed, %d said, %d percent allowed of %d", rows, c.Rows, suppress, len(d.unit))
	}
	var classes []risk.Class
	for _, n := range sizes {
		classes = append(classes, risk.Class{Size: n})
	}
	report, err := risk.Assess(classes, risk.Question{Model: risk.Enclave, Context: 0.1, Quasi: len(c.Node)})
	if err != nil || len(classes) > 0 && report.K < k {
		t.Fatalf("the risk figures say k = %d, want %d (%v)", report.K, k, err)
	}
}

func TestSearchRefusals(t *testing.T) {
	if _, _, err := Search(Table{Levels: [][][]int32{{{0}}}}, 5, 0); err == nil {
		t.Error("a column without a ladder")
	}
	if _, err := Nodes([]int{6, 6, 6, 6, 6}); err == nil {
		t.Error("too large a lattice")
	}
	if c, ok, err := Search(Table{Levels: [][][]int32{{{0}, {0}}}}, 5, 0); err != nil || !ok || c.Rows != 0 {
		t.Error("an empty table has nothing to protect", ok, err)
	}
}
