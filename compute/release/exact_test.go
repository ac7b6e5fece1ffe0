package release

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/disclosure"
	"github.com/sandgate/sandgate/compute/protect"
)

// exactTable builds COUNT(*), SUM(pay), COUNT(debt), AVG(debt) over cells of the
// given units; every unit has one row and pay 1 234.56, all but nulls[i] a debt of −7.
func exactTable(t *testing.T, keys []string, units, nulls []int64, snap int64, change func(*protect.Facts, *algebra.Core)) (*Release, error) {
	t.Helper()
	f := exactFacts()
	c := core(f, keys, agg(f, algebra.CountRows, ""), agg(f, algebra.Sum, "pay"), agg(f, algebra.CountCol, "debt"), agg(f, algebra.Avg, "debt"))
	if change != nil {
		change(&f, &c)
	}
	p := build(t, c, 0, f)
	p.Exact.SnapUnits = snap
	if p.Rho != 0 || p.Selection != nil {
		t.Fatalf("exact plan has a price: %+v", p)
	}
	next := uint64(1)
	fill := func(u, null int64, k []algebra.Value) protect.Cell {
		cell := protect.Cell{Keys: k}
		for _, l := range p.Exact.Lists {
			var list []uint64
			switch {
			case l.Top && l.Col.Name == "pay":
				list = slices.Repeat([]uint64{123_456}, int(min(u, 2)))
			case l.Top:
				list = slices.Repeat([]uint64{7}, int(min(u-null, 2)))
			default:
				for x := range u {
					if l.Col == nil || x >= null {
						list = append(list, next+uint64(x))
					}
				}
			}
			cell.Lists = append(cell.Lists, list)
		}
		if k != nil {
			next += uint64(u)
		}
		for _, m := range p.Measures {
			x := map[protect.MeasureKind]int64{protect.MeasureRows: u, protect.MeasureUnits: u, protect.MeasureNonNull: u - null}[m.Kind]
			if m.Kind == protect.MeasureSum && m.Col.Name == "pay" {
				x = 123_456 * u
			} else if m.Kind == protect.MeasureSum {
				x = (-7 - m.Offset) * (u - null)
			}
			cell.M = append(cell.M, big.NewInt(x))
		}
		return cell
	}
	x := protect.Partials{}
	var all, allNull int64
	for i, u := range units {
		var null int64
		if nulls != nil {
			null = nulls[i]
		}
		k := []algebra.Value{}
		if len(keys) > 0 {
			k = append(k, text(string(rune('a'+i))))
		}
		if u > 0 {
			x.Cells = append(x.Cells, fill(u, null, k))
		}
		all, allNull = all+u, allNull+null
	}
	total := fill(all, allNull, nil)
	x.Total = &total
	return Exact(p, x, openCheck(snap))
}

// exactFacts are testFacts under the default rules of exact mode.
func exactFacts() protect.Facts {
	f := testFacts(1)
	f.Mode, f.OneRow = protect.ModeExact, true
	f.Exact = protect.ExactRules{Top1: 50, Top2: 90, P: 10, Dof: 10, NanoBits: 100_000_000}
	return f
}

// openCheck is a check against a store that holds nothing.
func openCheck(snap int64) *disclosure.Check {
	return disclosure.NewStore(10).Begin("00", "s", int(snap), 10)
}

// show prints each row's cells as value or code.
func show(r *Release) string {
	var rows []string
	for _, row := range r.Rows() {
		var cells []string
		for _, c := range row {
			s := c.Value
			if c.Null {
				s = "NULL"
			}
			if c.Suppressed != "" {
				s = c.Suppressed
			}
			cells = append(cells, s)
		}
		rows = append(rows, strings.Join(cells, ","))
	}
	return strings.Join(rows, " ")
}

// allOf is a row whose four estimates carry one code.
func allOf(key, code string) string {
	return strings.TrimPrefix(fmt.Sprintf("%s,%s,%s,%s,%s", key, code, code, code, code), ",")
}

// full rows of u units, rounded: counts to 5, sums (bound 10 000.00, 7 digits) to
// 500.00, averages (bound 500, 3 digits) to 1.
func TestR01ExactThresholds(t *testing.T) {
	// Fewer than k units without a debt, none among them, would be COUNT(*) less
	// COUNT(debt).
	f100 := "100,123500.00,WITHHELD,-7.00"
	f200 := "200,247000.00,WITHHELD,-7.00"
	f43 := "45,53000.00,WITHHELD,-6.67"
	withWhere := func(f *protect.Facts, c *algebra.Core) {
		p := col(*f, "pay")
		c.Where = &algebra.Pred{Op: algebra.OpGt, Col: &p, Values: []algebra.Value{{Type: yuanType, I: 1}}}
	}
	for _, c := range []struct {
		name   string
		keys   []string
		units  []int64
		snap   int64
		change func(*protect.Facts, *algebra.Core)
		want   string
	}{
		{"all large", []string{"g"}, []int64{100, 200, 43, 100}, 443, nil, "a," + f100 + " b," + f200 + " c," + f43 + " d," + f100},
		{"one small: a second joins it", []string{"g"}, []int64{100, 200, 43, 9}, 352, nil,
			"a," + f100 + " b," + f200 + " " + allOf("c", Complement) + " " + allOf("d", BelowK)},
		{"empty is small", []string{"g"}, []int64{100, 200, 43, 0}, 343, nil,
			"a," + f100 + " b," + f200 + " " + allOf("c", Complement) + " " + allOf("d", BelowK)},
		{"two small below k together: a third", []string{"g"}, []int64{100, 200, 5, 4}, 309, nil,
			allOf("a", Complement) + " b," + f200 + " " + allOf("c", BelowK) + " " + allOf("d", BelowK)},
		{"two small above k together", []string{"g"}, []int64{100, 200, 5, 9}, 314, nil,
			"a," + f100 + " b," + f200 + " " + allOf("c", BelowK) + " " + allOf("d", BelowK)},
		{"nearly all in one cell", []string{"g"}, []int64{100, 4, 3, 2}, 109, nil,
			strings.Join([]string{allOf("a", Complement), allOf("b", BelowK), allOf("c", BelowK), allOf("d", BelowK)}, " ")},
		{"no keys, no filter", nil, []int64{100}, 100, nil, f100},
		{"no keys, too few", nil, []int64{9}, 9, nil, allOf("", BelowK)},
		{"filter leaves out 9", nil, []int64{100}, 109, withWhere, allOf("", Complement)},
		{"filter leaves out none", nil, []int64{100}, 100, withWhere, allOf("", Complement)},
		{"filter leaves out 10", nil, []int64{100}, 110, withWhere, f100},
		{"filtered table", []string{"g"}, []int64{100, 200, 43, 100}, 445, withWhere,
			strings.Join([]string{allOf("a", Complement), allOf("b", Complement), allOf("c", Complement), allOf("d", Complement)}, " ")},
	} {
		r, err := exactTable(t, c.keys, c.units, nil, c.snap, c.change)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := show(r); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
		if r.Rho() != 0 || r.Mode() != protect.ModeExact {
			t.Errorf("%s: price %s", c.name, r.Rho())
		}
	}
}

// A column that is NULL for all but a few units must not give their sum away.
func TestR01ExactCountsUnitsWithAValue(t *testing.T) {
	r, err := exactTable(t, []string{"g"}, []int64{100, 200, 43, 100}, []int64{95, 0, 0, 0}, 443, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := "a,100,123500.00,WITHHELD,WITHHELD b,200,247000.00,WITHHELD,-7.00 c,45,53000.00,WITHHELD,WITHHELD d,100,123500.00,WITHHELD,-7.00"
	if got := show(r); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestExactIntervals(t *testing.T) {
	r, err := exactTable(t, nil, []int64{102}, nil, 102, nil)
	if err != nil {
		t.Fatal(err)
	}
	row := r.Rows()[0]
	for i, want := range []Cell{
		{KindEstimate, false, "100", "97", "103", ""},
		{KindEstimate, false, "126000.00", "125750.00", "126250.00", ""},
		{KindEstimate, true, "", "", "", BelowK},
		{KindEstimate, false, "-7.15", "-7.41", "-6.91", ""},
	} {
		if row[i] != want {
			t.Errorf("cell %d: %+v, want %+v", i, row[i], want)
		}
	}
}

// SUM and AVG together must not undo the rounding of COUNT: cells whose sums and
// counts round alike are released alike, to the last digit.
func TestR01ExactAverageHidesTheCount(t *testing.T) {
	e := &exact{plan: &protect.Plan{Exact: &protect.ExactRules{K: 10, Round: 5}}}
	o := protect.Output{Func: algebra.Avg, A: 0, B: 1}
	base := big.NewInt(50)
	seen := map[string]bool{}
	for n := int64(53); n <= 57; n++ {
		for _, sum := range []int64{7_980, 8_000, 8_024} {
			v, err := e.mean(o, base, []*big.Int{big.NewInt(sum), big.NewInt(n)})
			if err != nil {
				t.Fatal(err)
			}
			if exact := sum * 100 / n; v.lo.Int64() > exact || v.hi.Int64() < exact {
				t.Errorf("%d/%d: [%v, %v] misses the mean", sum, n, v.lo, v.hi)
			}
			seen[v.num.String()+v.lo.String()+v.hi.String()] = true
		}
	}
	if len(seen) != 1 {
		t.Errorf("counts 53…57 are told apart: %v", seen)
	}
}

func TestExactRefusesUnfitPartials(t *testing.T) {
	if _, err := exactTable(t, nil, []int64{100}, nil, 99, nil); err != ErrKernel {
		t.Errorf("more units than the snapshot: %v", err)
	}
	if _, err := exactTable(t, nil, []int64{100}, nil, 0, nil); err != ErrKernel {
		t.Errorf("unknown snapshot: %v", err)
	}
	f := exactFacts()
	p := build(t, core(f, nil, agg(f, algebra.CountRows, "")), 0, f)
	p.Exact.SnapUnits = 100
	if _, err := Exact(p, protect.Partials{}, openCheck(100)); err != ErrKernel {
		t.Errorf("no total: %v", err)
	}
	if _, err := DP(p, protect.Partials{}, seeded(1)); err != ErrKernel {
		t.Errorf("an exact plan got noise: %v", err)
	}
}
