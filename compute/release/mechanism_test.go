package release

import (
	"fmt"
	"math/big"
	"strconv"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/internal/reference"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/internal/leak"
)

// widePlan reads every kind of noisy measure.
func widePlan(t testing.TB, price budget.Nano, weighted bool) *protect.Plan {
	f := testFacts(3)
	f.QueryMaxRho = price
	pay := f.Columns["pay"]
	pay.Grid = []int64{0, 500_000, 750_000, 1_000_000}
	f.Columns["pay"] = pay
	y, x := col(f, "debt"), col(f, "pay")
	c := core(f, nil, agg(f, algebra.Sum, "pay"), agg(f, algebra.VarPop, "debt"), algebra.Agg{Func: algebra.Corr, Arg: &y, Arg2: &x},
		algebra.Agg{Func: algebra.Quantile, Arg: &x, Q: 500_000}, agg(f, algebra.CountRows, ""))
	if weighted {
		g, h := col(f, "g"), col(f, "h")
		c.Where = &algebra.Pred{Op: algebra.OpAnd, Args: []algebra.Pred{{Op: algebra.OpEq, Col: &g, Values: []algebra.Value{text("a")}}, {Op: algebra.OpIsNull, Col: &h}}}
	}
	p := build(t, c, price, f)
	if (p.Weight != 0) != weighted {
		t.Fatalf("weight %d", p.Weight)
	}
	return p
}

// R01 attack 11, every mechanism: two inputs that differ by a measure's sensitivity
// are told apart no better than its own price claims; with half the σ they are.
func TestR01Attack11EveryMechanism(t *testing.T) {
	const delta = 0.01
	n := trials(40_000*slowdown, 1_000_000)
	private := func() *protect.Plan {
		f := testFacts(3)
		f.QueryMaxRho = 2_000_000_000
		return build(t, core(f, []string{"w"}, agg(f, algebra.CountRows, "")), 2_000_000_000, f)
	}()
	type mechanism struct {
		name          string
		sens2, sigma2 *big.Int
		rho           budget.Nano
	}
	all := []mechanism{{"selection", private.Selection.Sens2, private.Selection.Sigma2, private.Selection.Rho}}
	for _, weighted := range []bool{false, true} {
		p := widePlan(t, 6_000_000_000, weighted)
		seen := map[protect.MeasureKind]bool{}
		for _, m := range p.Measures {
			if m.Sigma2.Sign() > 0 && m.Rho > 0 && !seen[m.Kind] {
				seen[m.Kind] = true
				all = append(all, mechanism{string(m.Kind) + " weight " + strconv.FormatInt(p.Weight, 10), m.Sens2, m.Sigma2, m.Rho})
			}
		}
		if len(seen) < 5 {
			t.Fatalf("only %v are audited", seen)
		}
	}
	r := newRandom(seeded(112))
	closest, most, missed := 0.0, 0.0, 0
	for _, m := range all {
		claimed, err := budget.Epsilon(m.rho, delta)
		if err != nil {
			t.Fatal(err)
		}
		shift := new(big.Int).Sqrt(m.sens2)
		audit := func(sigma2 *big.Int) float64 {
			a, b := make([]float64, n), make([]float64, n)
			for i := range n {
				x := r.gaussian(sigma2)
				a[i], _ = new(big.Float).SetInt(x.Add(x, shift)).Float64()
				b[i], _ = new(big.Float).SetInt(r.gaussian(sigma2)).Float64()
			}
			return leak.EpsilonLowerBound(a, b, delta)
		}
		honest := audit(m.sigma2)
		quarter := new(big.Int).Rsh(m.sigma2, 2)
		if quarter.Sign() == 0 {
			quarter.SetInt64(1)
		}
		wrong := audit(quarter)
		if honest > claimed || honest < claimed/5 {
			t.Errorf("%s: ε %.3f proved, %.3f claimed", m.name, honest, claimed)
		}
		if m.sigma2.Cmp(big.NewInt(8)) > 0 && wrong <= claimed {
			t.Errorf("%s: control with half the σ not caught: %.3f against %.3f", m.name, wrong, claimed)
			missed++
		}
		closest, most = max(closest, honest/claimed), max(most, wrong/claimed)
	}
	leak.Record(t, leak.Score{Attack: fmt.Sprintf("11 distinguishing audit at the kernel, all %d mechanisms", len(all)), Figure: fmt.Sprintf("at most %.2f of the claimed ε proved", closest), Bound: "1.00",
		Control: fmt.Sprintf("half the σ: up to %.2f of it, %d not caught", most, missed), Pass: closest <= 1 && missed == 0, Trials: 2 * n * len(all)})
}

// R01 attack 13 with several rows per unit: nine units that put all their rows into
// one key do not make it a key of ten, whatever their number of rows.
func TestR01Attack13ManyRowsOfFewUnits(t *testing.T) {
	f := testFacts(4)
	f.QueryMaxRho = 10_000_000_000
	plan := build(t, core(f, []string{"w"}, agg(f, algebra.CountRows, ""), agg(f, algebra.CountUnits, "")), 1_000_000_000, f)
	if m := plan.Measures[plan.Selection.Measure]; m.Kind != protect.MeasureFirst || plan.Selection.Sens2.Int64() != 1 {
		t.Fatalf("%+v", plan.Selection)
	}
	data := reference.Data{}
	put := func(key string, units, from int) {
		for u := range units {
			for rank := range int64(4) {
				data["t"] = append(data["t"], reference.Row{Unit: strconv.Itoa(from + u), Rank: rank + 1, Values: map[string]algebra.Value{"w": text(key)}})
			}
		}
	}
	put("rare", int(f.K)-1, 0)
	put("many", 400, 1000)
	part := reference.Partials(plan, data)
	rnd := seeded(131)
	runs := trials(5000, 100_000)
	for range runs {
		if r := release(t, plan, part, rnd); r.Len() != 1 || *r.rows[0][0].text != "many" {
			t.Fatalf("released: %v", r.Rows())
		}
	}
	// Control: selection by rows would show it, and the kernel refuses such a plan.
	loose := *plan
	s := *plan.Selection
	s.Measure = plan.Outputs[0].A
	loose.Selection = &s
	if _, err := DP(&loose, part, rnd); err == nil {
		t.Error("the kernel selects keys by a count that one unit moves by more than one")
	}
	if rows := part.Cells[0].M[s.Measure].Int64(); rows < s.K {
		t.Errorf("control: the rare key has only %d rows", rows)
	} else {
		leak.Record(t, leak.Score{Attack: "13 many rows of few units at the kernel", Figure: 0, Bound: 0, Control: fmt.Sprintf("the rare key has %d rows", rows), Pass: true, Trials: runs})
	}
}

// The kernel checks the arithmetic of vectors, centres and parts before it draws.
func TestR01KernelRefusesBrokenLanguagePlans(t *testing.T) {
	plan := widePlan(t, 4_000_000, false)
	data := reference.Data{"t": {{Unit: "u", Rank: 1, Values: map[string]algebra.Value{"pay": {Type: yuanType, I: 5}, "debt": num(3), "g": text("a"), "h": null(textType)}}}}
	part := reference.Partials(plan, data)
	if _, err := DP(plan, part, seeded(1)); err != nil {
		t.Fatal(err)
	}
	first := func(p *protect.Plan, kind protect.MeasureKind, k int) *protect.Measure {
		for i := range p.Measures {
			if p.Measures[i].Kind == kind {
				if k == 0 {
					return &p.Measures[i]
				}
				k--
			}
		}
		t.Fatalf("no %s", kind)
		return nil
	}
	for name, breakIt := range map[string]func(p *protect.Plan){
		"vector with less noise":    func(p *protect.Plan) { first(p, protect.MeasureBin, 1).Sigma2 = big.NewInt(1) },
		"vector with more reach":    func(p *protect.Plan) { first(p, protect.MeasureBin, 1).Sens2 = big.NewInt(1 << 40) },
		"vector priced twice":       func(p *protect.Plan) { first(p, protect.MeasureBin, 1).Rho = 5 },
		"vector of sums":            func(p *protect.Plan) { first(p, protect.MeasureBin, 1).Kind = protect.MeasureSum },
		"bin outside the vector":    func(p *protect.Plan) { first(p, protect.MeasureBin, 1).Vector = 0 },
		"vector without noise":      func(p *protect.Plan) { first(p, protect.MeasureBin, 0).Sigma2 = new(big.Int) },
		"centre of nothing":         func(p *protect.Plan) { first(p, protect.MeasureProduct, 0).CentreBy = 99 },
		"square without noise":      func(p *protect.Plan) { first(p, protect.MeasureProduct, 0).Sigma2 = new(big.Int) },
		"missing part of a sum":     func(p *protect.Plan) { p.Outputs[0].B = 99 },
		"missing moment":            func(p *protect.Plan) { p.Outputs[2].In[4] = -1 },
		"moment of another shape":   func(p *protect.Plan) { p.Outputs[2].In = p.Outputs[2].In[:3] },
		"moment of another fashion": func(p *protect.Plan) { p.Outputs[2].Func = algebra.CountRows },
		"grid of another length":    func(p *protect.Plan) { p.Outputs[3].Grid = p.Outputs[3].Grid[:2] },
		"negative weight":           func(p *protect.Plan) { p.Weight = -1 },
	} {
		p := widePlan(t, 4_000_000, false)
		breakIt(p)
		if r, err := DP(p, part, seeded(1)); r != nil || err != ErrKernel {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}

// Releases of every kind of output load again, and dates print as dates.
func TestLoadEveryOutput(t *testing.T) {
	f, data, _, _ := moneyWorld(2000)
	y, x := col(f, "net"), col(f, "pay")
	day := f.Columns["day"]
	day.Nullable = false
	f.Columns["day"] = day
	for i := range data["p"] {
		data["p"][i].Values["day"] = algebra.Value{Type: dateType, I: 19_000 + int64(i)%1000}
	}
	d := col(f, "day")
	c := core(f, []string{"g"}, algebra.Agg{Func: algebra.Quantile, Arg: &d, Q: 500_000}, algebra.Agg{Func: algebra.Max, Arg: &d})
	for _, fn := range []algebra.Func{algebra.VarPop, algebra.VarSamp, algebra.StddevPop, algebra.StddevSamp} {
		c.Aggs = append(c.Aggs, algebra.Agg{Func: fn, Arg: &x})
	}
	for _, fn := range []algebra.Func{algebra.CovarPop, algebra.CovarSamp, algebra.Corr, algebra.RegrSlope, algebra.RegrIntercept, algebra.RegrR2, algebra.RegrCount} {
		c.Aggs = append(c.Aggs, algebra.Agg{Func: fn, Arg: &y, Arg2: &x})
	}
	plan := build(t, c, 4_400_000, f)
	r := release(t, plan, reference.Partials(plan, data), seeded(8))
	again, err := Load(r.Encode(), r.Digest())
	if err != nil {
		t.Fatal(err)
	}
	cells := again.Rows()[0]
	if cells[1].Value != "2022-11-04" || cells[1].Lo > cells[1].Value || len(cells[1].Hi) != 10 || cells[2].Hi != "2024-10-04" {
		t.Errorf("dates: %+v %+v", cells[1], cells[2])
	}
	withheld := 0
	for j, cell := range cells[1:] {
		if cell.Suppressed == TooNoisy {
			withheld++
		} else if cell.Value == "" || cell.Lo == "" || cell.Hi == "" {
			t.Errorf("output %d: %+v", j, cell)
		}
	}
	if withheld > 6 {
		t.Errorf("%d of 13 are withheld in a cell of 500", withheld)
	}
	// Nothing at all is no error, whatever is asked: each is withheld or zero.
	if _, err := DP(plan, protect.Partials{}, seeded(9)); err != nil {
		t.Errorf("an empty table: %v", err)
	}
}
