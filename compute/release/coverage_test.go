package release

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/internal/reference"
	"github.com/sandgate/sandgate/compute/protect"
)

// sample world: one row per unit, net rises with pay, a tenth of net is NULL.
func moneyWorld(units int) (protect.Facts, reference.Data, [][2]float64, []int64) {
	r := rand.New(rand.NewPCG(31, uint64(units)))
	f := worldFacts(r)["p"]
	f.QueryMaxRho = 4_400_000
	g := protect.ColumnFacts{Type: yuanType, Bounds: &protect.Range{Lo: 0, Hi: 1_000_000}, Stored: &protect.Range{Lo: 0, Hi: 1_000_000}}
	for e := int64(0); e <= 1_000_000; e += 50_000 {
		g.Grid = append(g.Grid, e)
	}
	f.Columns["pay"] = g
	data := reference.Data{}
	var pairs [][2]float64 // net (y), pay (x) in their own units
	var pays []int64
	for u := range units {
		x := r.Int64N(800_000) + 100_000
		y := min(12, max(-7, x/60_000-6+r.Int64N(7)-3))
		vals := map[string]algebra.Value{"pay": {Type: yuanType, I: x}, "net": num(y), "g": text(string(rune('a' + u%4)))}
		if u%10 == 0 {
			vals["net"] = null(intType)
		} else {
			pairs = append(pairs, [2]float64{float64(y), float64(x) / 100})
		}
		pays = append(pays, x)
		data["p"] = append(data["p"], reference.Row{Unit: strconv.Itoa(u), Rank: 1, Values: vals})
	}
	slices.Sort(pays)
	return f, data, pairs, pays
}

// statistics of pairs (y, x) by textbook formulas.
func statistics(p [][2]float64) map[algebra.Func]float64 {
	n := float64(len(p))
	var my, mx, syy, sxx, sxy float64
	for _, v := range p {
		my, mx = my+v[0]/n, mx+v[1]/n
	}
	for _, v := range p {
		syy, sxx, sxy = syy+(v[0]-my)*(v[0]-my), sxx+(v[1]-mx)*(v[1]-mx), sxy+(v[0]-my)*(v[1]-mx)
	}
	return map[algebra.Func]float64{algebra.CovarPop: sxy / n, algebra.CovarSamp: sxy / (n - 1), algebra.RegrSlope: sxy / sxx,
		algebra.RegrIntercept: my - sxy/sxx*mx, algebra.Corr: sxy / math.Sqrt(sxx*syy), algebra.RegrR2: sxy * sxy / sxx / syy, algebra.RegrCount: n,
		algebra.VarPop: syy / n, algebra.VarSamp: syy / (n - 1), algebra.StddevPop: math.Sqrt(syy / n), algebra.StddevSamp: math.Sqrt(syy / (n - 1)),
		algebra.Avg: my, algebra.Sum: my * n, algebra.CountCol: n}
}

// statisticsOnly skips a test of frequencies under the race detector: it has one
// goroutine, and too few runs there to say anything.
func statisticsOnly(t *testing.T) {
	if slowdown > 1 {
		t.Skip("frequencies need more runs than the race detector leaves time for")
	}
}

// cover runs a plan and returns how often each output's interval held truth, among
// the runs that released it, and how often it was withheld.
func cover(t *testing.T, plan *protect.Plan, part protect.Partials, truth []float64, runs int, seed uint64) (covered, withheld []float64) {
	t.Helper()
	rnd := seeded(seed)
	covered, withheld = make([]float64, len(truth)), make([]float64, len(truth))
	for range runs {
		for j, cell := range release(t, plan, part, rnd).Rows()[0][len(plan.Keys):] {
			if cell.Suppressed != "" {
				withheld[j]++
				continue
			}
			lo, err1 := strconv.ParseFloat(cell.Lo, 64)
			hi, err2 := strconv.ParseFloat(cell.Hi, 64)
			v, err3 := strconv.ParseFloat(cell.Value, 64)
			if err1 != nil || err2 != nil || err3 != nil || lo > v || v > hi {
				t.Fatalf("cell %d: %+v", j, cell)
			}
			if lo <= truth[j] && truth[j] <= hi {
				covered[j]++
			}
		}
	}
	for j := range truth {
		covered[j] /= max(1, float64(runs)-withheld[j])
		withheld[j] /= float64(runs)
	}
	return covered, withheld
}

// Intervals of moments and regressions cover in at least 94 % of runs, in large cells
// and in cells so small that some runs are withheld; those of counts in 94 to 96 %.
// (Averages here have two digits only, to which intervals are rounded outwards;
// TestIntervalCoverage holds those of finer units to 94 to 96 %.)
func TestIntervalCoverageOfMoments(t *testing.T) {
	statisticsOnly(t)
	funcs := []algebra.Func{algebra.VarPop, algebra.VarSamp, algebra.StddevPop, algebra.StddevSamp, algebra.CovarPop, algebra.CovarSamp,
		algebra.Corr, algebra.RegrSlope, algebra.RegrIntercept, algebra.RegrR2, algebra.RegrCount, algebra.Avg, algebra.CountCol}
	for _, units := range []int{5000, 800} {
		f, data, pairs, _ := moneyWorld(units)
		truth := statistics(pairs)
		y, x := col(f, "net"), col(f, "pay")
		for i, fn := range funcs {
			a := algebra.Agg{Func: fn, Arg: &y}
			if i >= 4 && i <= 10 {
				a.Arg2 = &x
			}
			plan := build(t, core(f, nil, a), 4_400_000, f)
			covered, withheld := cover(t, plan, reference.Partials(plan, data), []float64{truth[fn]}, trials(1500, 50_000), uint64(i))
			top := 1.0
			if fn == algebra.RegrCount || fn == algebra.CountCol {
				top = 0.962
			}
			if covered[0] < 0.94 || covered[0] > top || withheld[0] > 0.6 || units > 1000 && withheld[0] > 0 {
				t.Errorf("%s of %d: covers %.4f, withheld %.3f", fn, units, covered[0], withheld[0])
			}
			t.Logf("%s of %d: covers %.4f, withheld %.3f", fn, units, covered[0], withheld[0])
		}
	}
}

// SUM, COUNT and AVG that share their measures, with and without weights.
func TestIntervalCoverageOfSharedMeasures(t *testing.T) {
	statisticsOnly(t)
	f, data, pairs, _ := moneyWorld(4000)
	truth := statistics(pairs)
	plan := build(t, core(f, nil, agg(f, algebra.Sum, "net"), agg(f, algebra.CountCol, "net"), agg(f, algebra.Avg, "net"), agg(f, algebra.VarPop, "net")), 4_400_000, f)
	if len(plan.Measures) != 3 {
		t.Fatalf("four outputs of one column need three measures, not %d", len(plan.Measures))
	}
	want := []float64{truth[algebra.Sum], truth[algebra.CountCol], truth[algebra.Avg], truth[algebra.VarPop]}
	covered, _ := cover(t, plan, reference.Partials(plan, data), want, trials(6000, 100_000), 1)
	for j := range 3 {
		if covered[j] < 0.94 || covered[j] > []float64{0.96, 0.96, 1}[j] {
			t.Errorf("output %d covers %.4f", j, covered[j])
		}
	}
	// Weights: truth is the weighted total. 3000 units of one to three rows, m = 2.
	f.OneRow, f.MaxRows = false, 2
	rows := data["p"]
	data["p"] = nil
	for i, r := range rows {
		for k := range 1 + i%3 {
			r.Rank = int64(k + 1)
			data["p"] = append(data["p"], r)
		}
	}
	c := core(f, nil, agg(f, algebra.CountRows, ""), agg(f, algebra.Sum, "net"), agg(f, algebra.Avg, "net"), agg(f, algebra.CountCol, "net"))
	g, h := col(f, "g"), col(f, "h")
	c.Where = &algebra.Pred{Op: algebra.OpAnd, Args: []algebra.Pred{{Op: algebra.OpEq, Col: &g, Values: []algebra.Value{text("a")}}, {Op: algebra.OpIsNull, Col: &h}}}
	for i := range data["p"] {
		data["p"][i].Values["h"] = null(textType)
	}
	plan = build(t, c, 4_400_000, f)
	if plan.Weight != protect.Lattice || plan.Ranks[0] != 0 {
		t.Fatalf("a selective filter takes weights: %+v", plan)
	}
	part := reference.Partials(plan, data)
	in := func(i int) float64 {
		x, _ := new(big.Float).SetInt(part.Cells[0].M[i]).Float64()
		return x / protect.Lattice
	}
	sum := func(o protect.Output) float64 { return in(o.A) + float64(o.Offset)*in(o.B) }
	o := plan.Outputs
	want = []float64{in(o[0].A), sum(o[1]), float64(o[2].Offset) + in(o[2].A)/in(o[2].B), in(o[3].A)}
	if want[0] < 1500 || want[0] > 2000 {
		t.Fatalf("a thousand units of weight one to two weigh %.1f", want[0])
	}
	covered, _ = cover(t, plan, part, want, trials(4000, 100_000), 2)
	for j := range want {
		if covered[j] < 0.94 || covered[j] > 0.962 {
			t.Errorf("weighted output %d covers %.4f", j, covered[j])
		}
	}
}

// Margins are sums of the released cells' noise: they agree with each other, and
// their intervals cover.
func TestMarginsAgreeAndCover(t *testing.T) {
	statisticsOnly(t)
	f, data, _, _ := moneyWorld(4000)
	c := core(f, []string{"g", "h"}, agg(f, algebra.CountRows, ""), agg(f, algebra.Avg, "pay"), agg(f, algebra.Sum, "pay"))
	for i := range data["p"] {
		data["p"][i].Values["h"] = text(string(rune('a' + i%3)))
	}
	c.Sets = [][]int{{0, 1}, {0}, {1}, {}}
	plan := build(t, c, 4_400_000, f)
	part := reference.Partials(plan, data)
	rnd := seeded(5)
	hits, n := map[int]int{}, trials(2000, 30_000)
	for range n {
		r := release(t, plan, part, rnd)
		if r.Len() != 16+4+4+1 {
			t.Fatalf("%d rows", r.Len())
		}
		sums := map[int64]int64{}
		var kept int64 = 1 << 60
		for _, row := range r.rows {
			mask := row[len(row)-1].num.Int64()
			sums[mask] += row[2].num.Int64()
			if row[0].null() != (mask&2 != 0) || mask&1 != 0 && !row[1].null() {
				t.Fatalf("mask %d with keys %v", mask, row[:2])
			}
			if mask == 3 {
				kept = row[2].num.Int64()
				if row[2].lo.Int64() <= 4000 && 4000 <= row[2].hi.Int64() {
					hits[0]++
				}
				var truth int64
				for _, x := range data["p"] {
					truth += x.Values["pay"].I
				}
				if row[4].lo.Int64() <= truth && truth <= row[4].hi.Int64() {
					hits[1]++
				}
				if at := truth * 100 / 4000; row[3].lo.Int64() <= at && at <= row[3].hi.Int64() {
					hits[2]++
				}
			}
			if mask == 1 && row[2].lo.Int64() <= 1000 && 1000 <= row[2].hi.Int64() {
				hits[3]++
			}
		}
		// The table by g has no empty cell, so nothing there is clamped.
		if d := sums[1] - kept; d != 0 {
			t.Fatalf("margins differ by %d", d)
		}
	}
	for what, k := range map[int]int{0: 1, 1: 1, 2: 1, 3: 4} {
		if share := float64(hits[what]) / float64(k*n); share < 0.94 || share > 0.96 {
			t.Errorf("margin %d covers %.4f", what, share)
		}
	}
	again, err := Load(release(t, plan, part, seeded(7)).Encode(), release(t, plan, part, seeded(7)).Digest())
	if err != nil || again.Len() != 25 {
		t.Errorf("a release with margins does not load: %v", err)
	}
	p, err := again.Apply(algebra.Post{Outputs: []algebra.Output{{Ref: 5, Name: "g", Grouping: []int{1, 0}}, {Ref: 5, Name: "h", Grouping: []int{1}}}})
	if err != nil {
		t.Fatal(err)
	}
	if last := p.Rows()[24]; last[0].Value != "3" || last[1].Value != "1" || p.Rows()[16][0].Value != "2" || p.Rows()[20][0].Value != "1" || p.Rows()[0][0].Value != "0" {
		t.Errorf("GROUPING: %v %v %v", p.Rows()[16], p.Rows()[20], last)
	}
	for _, bad := range []algebra.Output{{Ref: 4, Grouping: []int{0}}, {Ref: 5, Grouping: []int{2}}, {Ref: 5, Grouping: []int{-1}}, {Ref: 5, Grouping: []int{}}} {
		if _, err := again.Apply(algebra.Post{Outputs: []algebra.Output{bad}}); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

// Quantiles, minimum and maximum: the interval of edges covers, and the estimate is
// near.
func TestQuantileCoverage(t *testing.T) {
	statisticsOnly(t)
	f, data, _, pays := moneyWorld(3000)
	x := col(f, "pay")
	for _, q := range []int64{0, 100_000, 250_000, 500_000, 900_000, 1_000_000} {
		plan := build(t, core(f, nil, algebra.Agg{Func: algebra.Quantile, Arg: &x, Q: q}), 4_400_000, f)
		rank := max(0, int(math.Ceil(float64(q)/1e6*float64(len(pays))))-1)
		truth := float64(pays[rank]) / 100
		covered, withheld := cover(t, plan, reference.Partials(plan, data), []float64{truth}, trials(400, 30_000), uint64(q))
		if covered[0] < 0.95 || withheld[0] > 0 {
			t.Errorf("q %d: covers %.4f, withheld %.3f", q, covered[0], withheld[0])
		}
		if q != 500_000 {
			continue
		}
		near := 0
		for s := range uint64(200) {
			v := release(t, plan, reference.Partials(plan, data), seeded(s)).rows[0][0]
			if d := v.num.Int64() - pays[rank]; d > -100_000 && d <= 50_000 && v.hi.Int64()-v.lo.Int64() <= 300_000 {
				near++
			}
		}
		if near < 190 {
			t.Errorf("the median is near in %d of 200 runs", near)
		}
	}
	for fn, truth := range map[algebra.Func]float64{algebra.Min: float64(pays[0]) / 100, algebra.Max: float64(pays[len(pays)-1]) / 100} {
		plan := build(t, core(f, nil, algebra.Agg{Func: fn, Arg: &x}), 4_400_000, f)
		covered, withheld := cover(t, plan, reference.Partials(plan, data), []float64{truth}, trials(400, 30_000), 3)
		if covered[0] < 0.97 || withheld[0] > 0 {
			t.Errorf("%s: covers %.4f, withheld %.3f", fn, covered[0], withheld[0])
		}
		empty := reference.Partials(plan, reference.Data{})
		shown := 0
		for s := range uint64(400) {
			if release(t, plan, empty, seeded(s)).rows[0][0].withheld != TooNoisy {
				shown++
			}
		}
		if shown > 25 { // 2.5 % and five deviations
			t.Errorf("%s of nothing shows in %d of 400 runs", fn, shown)
		}
	}
}
