package release

import (
	"math/big"
	"slices"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/disclosure"
	"github.com/sandgate/sandgate/compute/protect"
)

// paid asks f over pay by g of units with the given values, which are numbered
// from 1 in order. rest units of the snapshot have no row in the four groups.
func paid(t *testing.T, f algebra.Func, change func(*protect.ExactRules), check *disclosure.Check, groups ...[]int64) string {
	t.Helper()
	facts := exactFacts()
	if change != nil {
		change(&facts.Exact)
	}
	arg := "pay"
	if f == algebra.CountRows {
		arg = ""
	}
	p := build(t, core(facts, []string{"g"}, agg(facts, f, arg)), 0, facts)
	x := protect.Partials{}
	total, next, all := int64(0), uint64(1), int64(0)
	fill := func(n, sum int64) (m []*big.Int) {
		for _, me := range p.Measures {
			v := n
			if me.Kind == protect.MeasureSum {
				v = sum - me.Offset*n
			}
			m = append(m, big.NewInt(v))
		}
		return m
	}
	for i, values := range groups {
		if len(values) == 0 {
			continue
		}
		sorted, sum := slices.Sorted(slices.Values(values)), int64(0)
		var units, top []uint64
		for _, v := range sorted {
			sum += v
			units = append(units, next)
			next++
		}
		for _, v := range sorted[max(0, len(sorted)-2):] {
			top = append(top, uint64(v))
		}
		cell := protect.Cell{Keys: []algebra.Value{text(string(rune('a' + i)))}, M: fill(int64(len(values)), sum)}
		for _, l := range p.Exact.Lists {
			if l.Top {
				cell.Lists = append(cell.Lists, top)
			} else {
				cell.Lists = append(cell.Lists, units)
			}
		}
		x.Cells = append(x.Cells, cell)
		total, all = total+int64(len(values)), all+sum
	}
	x.Total = &protect.Cell{M: fill(total, all)}
	p.Exact.SnapUnits = total
	if check == nil {
		check = openCheck(total)
	}
	r, err := Exact(p, x, check)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Load(r.Encode(), r.Digest()); err != nil {
		t.Errorf("a stored release does not load: %v", err)
	}
	return show(r)
}

func flat(n int, v int64, more ...int64) []int64 {
	return append(slices.Repeat([]int64{v}, n), more...)
}

func TestR01_ExactDominanceAndRange(t *testing.T) {
	fine := flat(60, 100_000)
	for _, c := range []struct {
		name  string
		f     algebra.Func
		group []int64
		rules func(*protect.ExactRules)
		held  bool
	}{
		{"even", algebra.Sum, flat(20, 100_000), nil, false},
		{"one unit has most of it", algebra.Sum, flat(20, 40_000, 900_000), nil, true},
		{"a count does not care", algebra.CountRows, flat(20, 40_000, 900_000), nil, false},
		{"a mean does", algebra.Avg, flat(20, 40_000, 900_000), nil, true},
		{"two have 91 %", algebra.Sum, flat(20, 4_000, 420_000, 420_000), nil, true},
		{"two have 70 %", algebra.Sum, flat(20, 18_000, 420_000, 420_000), nil, false},
		{"two have 70 %, stricter rule", algebra.Sum, flat(20, 18_000, 420_000, 420_000), func(r *protect.ExactRules) { r.Top2 = 60 }, true},
		{"the rest hides the largest badly", algebra.Sum, flat(20, 5_000, 500_000, 500_000), func(r *protect.ExactRules) { r.Top1, r.Top2, r.P = 100, 100, 21 }, true},
		{"everybody earns nothing", algebra.Sum, flat(20, 0), nil, true},
		{"everybody earns the most", algebra.Avg, flat(20, 1_000_000), nil, true},
		{"ten units: nine degrees of freedom", algebra.Avg, flat(10, 100_000), nil, true},
		{"eleven units", algebra.Avg, flat(11, 100_000), nil, false},
	} {
		got := paid(t, c.f, c.rules, nil, c.group, fine, fine, fine)
		if (got[2] == 'W') != c.held { // "a,WITHHELD …" or "a,<value> …"
			t.Errorf("%s: %s", c.name, got)
		}
	}
}

func TestR01_ExactStructuralZerosAndOther(t *testing.T) {
	big60, small := flat(60, 100_000), flat(4, 100_000)
	zero := func(r *protect.ExactRules) { r.Zeros = []map[string]string{{"g": "d"}} }
	merge := func(r *protect.ExactRules) { r.Merge = true }
	for _, c := range []struct {
		name   string
		rules  func(*protect.ExactRules)
		groups [][]int64
		want   string
	}{
		{"an empty cell takes a second with it", nil, [][]int64{big60, big60, big60}, "a,WITHHELD b,60 c,60 d,WITHHELD"},
		{"a structural zero is no finding", zero, [][]int64{big60, big60, big60}, "a,60 b,60 c,60 d,0"},
		{"declared empty and is not", zero, [][]int64{big60, big60, big60, small}, "a,WITHHELD b,60 c,60 d,WITHHELD"},
		{"all in one cell, none elsewhere by nature", func(r *protect.ExactRules) { r.Zeros = []map[string]string{{"g": "b"}, {"g": "c"}, {"g": "d"}} }, [][]int64{big60}, "a,60 b,0 c,0 d,0"},
		{"all in one cell", zero, [][]int64{big60}, "a,WITHHELD b,WITHHELD c,WITHHELD d,0"},
		{"withheld cells are added up", merge, [][]int64{big60, big60, flat(20, 1), small}, "a,60 b,60 c,WITHHELD d,WITHHELD OTHER,25"},
		{"nothing withheld, nothing to add", merge, [][]int64{big60, big60, big60, big60}, "a,60 b,60 c,60 d,60"},
		{"small cells that are enough together", merge, [][]int64{flat(12, 1), small, small, small}, "a,10 b,WITHHELD c,WITHHELD d,WITHHELD OTHER,10"},
		{"small cells that are not", merge, [][]int64{big60, big60, small, small}, "a,WITHHELD b,60 c,WITHHELD d,WITHHELD OTHER,70"},
	} {
		if got := paid(t, algebra.CountRows, c.rules, nil, c.groups...); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// A table of several cells whose total differs from an earlier release by one unit
// is withheld as a whole: adding its cells up is free.
func TestR01_ExactMarginsAreHeldAgainstEarlierReleases(t *testing.T) {
	store := disclosure.NewStore(10)
	var units []uint64
	for u := range uint64(239) {
		units = append(units, u+1)
	}
	first := store.Begin("00000000000000000001", "s", 300, 10)
	if hit := first.Try(disclosure.Set{Region: disclosure.Region{Base: "earlier", Cells: []int{0}}, Units: units}); hit != nil {
		t.Fatal(hit)
	}
	first.Commit()
	g := flat(60, 100_000)
	got := paid(t, algebra.CountRows, nil, store.Begin("00000000000000000002", "s", 300, 10), g, g, g, g)
	if want := "a,DIFFERENCING b,DIFFERENCING c,DIFFERENCING d,DIFFERENCING"; got != want {
		t.Errorf("got %s", got)
	}
}
