package attack

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/optimize/convex/lp"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
)

// known is one thing that an operator knows of a table: that the cells listed sum
// to something between lo and hi.
type known struct {
	cells  []int
	lo, hi float64
}

// most is what no cell exceeds, which everybody knows: it keeps programs bounded.
const most = 1e6

// interval is what linear programming makes of everything known about the sum of
// some cells.
func interval(t testing.TB, n int, facts []known, cells []int) (lo, hi float64) {
	t.Helper()
	facts = slices.Clone(facts)
	for c := range n {
		facts = append(facts, known{[]int{c}, 0, most})
	}
	// A fact gives up to two rows: sum + slack = hi, sum − surplus = lo.
	type row struct {
		cells []int
		sign  float64
		b     float64
	}
	var rows []row
	for _, f := range facts {
		rows = append(rows, row{f.cells, 1, f.hi})
		if f.lo > 0 {
			rows = append(rows, row{f.cells, -1, f.lo})
		}
	}
	a, b := mat.NewDense(len(rows), n+len(rows), nil), make([]float64, len(rows))
	for i, r := range rows {
		for _, c := range r.cells {
			a.Set(i, c, 1)
		}
		a.Set(i, n+i, r.sign)
		b[i] = r.b
	}
	solve := func(sign float64) float64 {
		c := make([]float64, n+len(rows))
		for _, x := range cells {
			c[x] = sign
		}
		// Facts that say the same twice make a program singular; a little room, another
		// each time, keeps it apart and moves no bound that matters.
		for try := range 20 {
			loose := slices.Clone(b)
			jitter := rand.New(rand.NewPCG(uint64(try), 16))
			for i, r := range rows {
				loose[i] += r.sign * 0.02 * jitter.Float64()
			}
			if v, _, err := lp.Simplex(c, a, loose, 1e-9, nil); err == nil {
				return v
			}
		}
		t.Fatal("the linear program has no solution")
		return 0
	}
	return solve(1), -solve(-1)
}

// crossed is a table of units by two keys.
type crossed struct {
	sizes [2]int
	count []int
	csv   string
}

func crossTable(rng *rand.Rand) crossed {
	x := crossed{sizes: [2]int{4, 3}}
	var b strings.Builder
	b.WriteString("id,a,b,staff\n")
	for i := range x.sizes[0] * x.sizes[1] {
		n := 30 + rng.IntN(200)
		if rng.IntN(4) == 0 {
			n = rng.IntN(10)
		}
		x.count = append(x.count, n)
		for u := range n {
			fmt.Fprintf(&b, "u%d-%d,a%d,b%d,%d\n", i, u, i/x.sizes[1], i%x.sizes[1], rng.IntN(100))
		}
	}
	x.csv = b.String()
	return x
}

// cellsOf are the cells that a row's keys cover.
func (x crossed) cellsOf(r *sandgatev1.Release, row *sandgatev1.ReleaseRow) (out []int) {
	want := map[string]string{}
	for i, c := range r.GetColumns() {
		if c.GetKey() {
			want[c.GetName()] = row.GetCells()[i].GetValue()
		}
	}
	for i := range x.count {
		a, b := fmt.Sprint("a", i/x.sizes[1]), fmt.Sprint("b", i%x.sizes[1])
		if v, ok := want["a"]; ok && v != a {
			continue
		}
		if v, ok := want["b"]; ok && v != b {
			continue
		}
		out = append(out, i)
	}
	return out
}

func (x crossed) sum(cells []int) (n int) {
	for _, c := range cells {
		n += x.count[c]
	}
	return n
}

// audit learns from releases, and from the number of all units, which may be
// public; it returns the narrowest interval of a withheld sum of cells, and how
// many of them are narrower than k.
func (x crossed) audit(t testing.TB, releases []*sandgatev1.Release, naive bool) (narrowest float64, pinned, withheld int) {
	t.Helper()
	const k = 10
	half := 2.0 // rounding to 5: at most 2 off
	if naive {
		half = 0.01 // exact counts; the program wants room
	}
	var held [][]int
	everybody := make([]int, len(x.count))
	for i := range everybody {
		everybody[i] = i
	}
	n := float64(x.sum(everybody))
	facts := []known{{everybody, n - 0.01, n + 0.01}}
	for _, r := range releases {
		for _, row := range r.GetRows() {
			cells := x.cellsOf(r, row)
			c := row.GetCells()[len(row.GetCells())-1]
			n := x.sum(cells)
			show := c.GetWithheld() == ""
			v := 0.0
			if show {
				v = number(t, c.GetValue())
			}
			if naive { // the control: suppression below k, nothing else
				show, v = n >= k, float64(n)
			}
			if show {
				facts = append(facts, known{cells, v - half, v + half})
			} else if n > 0 {
				held = append(held, cells)
			}
		}
	}
	narrowest = math.Inf(1)
	for _, cells := range held {
		lo, hi := interval(t, len(x.count), facts, cells)
		narrowest = min(narrowest, hi-lo)
		if hi-lo < k {
			pinned++
		}
	}
	return narrowest, pinned, len(held)
}

// What an operator can make of exact tables by linear programming: of one table
// and of all margins together, no withheld cell lies in an interval narrower than k.
func TestAttack16_IntervalsOfExactTables(t *testing.T) {
	a := Shared(t)
	rng := rand.New(rand.NewPCG(16, 16))
	kinds := []struct {
		name    string
		queries []string
	}{
		{"one table", []string{"a, b"}},
		{"a table and its margins", []string{"a, b", "a", "b", ""}},
	}
	for i, kind := range kinds {
		narrowest, pinned, held, answered, refused, broken := math.Inf(1), 0, 0, 0, 0, 0
		for n := range Trials(2, 24) {
			x := crossTable(rng)
			id := fmt.Sprintf("cross%d_%d", i, n)
			a.Add(t, exactTable(id, x.csv, codes("a", "key, filter", "a0", "a1", "a2", "a3"), codes("b", "key, filter", "b0", "b1", "b2"), column("staff", 0, 100, "measure")))
			var releases []*sandgatev1.Release
			for q, keys := range kind.queries {
				sql := "SELECT COUNT(*) AS n FROM " + id
				if keys != "" {
					sql = fmt.Sprintf("SELECT %s, COUNT(*) AS n FROM %s GROUP BY %s", keys, id, keys)
				}
				r, err := a.Run(Op(q%Operators), id, sql, 0) // colluding
				if err != nil {
					refused++
					continue
				}
				answered++
				releases = append(releases, r)
			}
			w, p, h := x.audit(t, releases, false)
			narrowest, pinned, held = min(narrowest, w), pinned+p, held+h
			_, p, _ = x.audit(t, releases, true)
			broken += p
		}
		if held == 0 || answered == 0 {
			t.Errorf("%s: %d withheld cells in %d answers: the attack proves nothing", kind.name, held, answered)
		}
		Record(t, Score{Attack: "16 intervals of withheld cells, " + kind.name, Figure: fmt.Sprintf("%d narrower than 10 (narrowest %.0f)", pinned, narrowest), Bound: 0, Control: fmt.Sprintf("plain suppression: %d", broken),
			Pass: pinned == 0 && broken > 0, Trials: held, Note: fmt.Sprintf("%d answered, %d refused", answered, refused)})
	}
}

// exactTable is a table released in exact mode, rounded to 5, k 10. Its
// information cap is out of the way, so that the other protections are tried.
func exactTable(id, csv string, columns ...Column) Table {
	return Table{ID: id, Rule: `mode: exact, exact: {k: 10, round: 5, bits_per_unit: "16"}`, Columns: columns, CSV: csv}
}
