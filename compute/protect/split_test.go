package protect

import (
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
)

// Weights are for selective filters, by public facts and never by literals.
func TestWeightRule(t *testing.T) {
	f, other := rich("t", 3), rich("p", 1)
	other.OneRow = true
	and := func(p ...algebra.Pred) *algebra.Pred { return &algebra.Pred{Op: algebra.OpAnd, Args: p} }
	or := func(p ...algebra.Pred) *algebra.Pred { return &algebra.Pred{Op: algebra.OpOr, Args: p} }
	net := func(o algebra.PredOp) algebra.Pred {
		c := col(f, 0, "net")
		return algebra.Pred{Op: o, Col: &c, Values: []algebra.Value{{Type: intType, I: 1}}}
	}
	for _, c := range []struct {
		where *algebra.Pred
		share int64
	}{
		{and(eq(f, "area", "0001")), whole / 4},
		{and(eq(f, "sector", "0001")), whole / 100},
		{and(eq(f, "area", "0001"), net(algebra.OpGt)), whole / 4 / 3},
		{and(net(algebra.OpGt), net(algebra.OpLt)), whole / 4},
		{or(eq(f, "area", "0001"), eq(f, "sector", "0001")), whole/4 + whole/100},
		{or(*or(eq(f, "area", "0001"), eq(f, "area", "0002")), *or(eq(f, "area", "0001"), eq(f, "area", "0002"), eq(f, "area", "0003"))), whole},
		{&algebra.Pred{Op: algebra.OpNot, Args: []algebra.Pred{eq(f, "sector", "0001")}}, whole - whole/100},
		{and(net(algebra.OpEq)), whole / 10},
	} {
		core := query(f, "", "sum pay", "count")
		core.Where = c.where
		p, r := Build(core, []Facts{f}, 4_000_000)
		if r != nil {
			t.Fatal(r)
		}
		b := &builder{core: core, facts: []Facts{f}, at: []int{0}, nullable: []bool{false}}
		b.scope = &scope{stored: b.stored, grid: b.gridOf}
		if got := b.selectivity(*c.where); got != c.share {
			t.Errorf("selectivity %d, want %d", got, c.share)
		}
		if want := c.share <= whole/8; (p.Weight != 0) != want || (p.Ranks[0] == 0) != want {
			t.Errorf("share %d: weight %d, ranks %v", c.share, p.Weight, p.Ranks)
		} else if want && p.Measures[1].Sens2.Int64() != 9*Lattice*Lattice {
			t.Errorf("sensitivity %s is not in lattice units", p.Measures[1].Sens2)
		}
	}
	core := query(f, "", "count")
	core.Where = and(eq(f, "sector", "0001"))
	for name, change := range map[string]func(*algebra.Core, *Facts){
		"one row":   func(c *algebra.Core, f *Facts) { f.OneRow = true },
		"exact":     func(c *algebra.Core, f *Facts) { f.Mode, f.OneRow = ModeExact, true },
		"units":     func(c *algebra.Core, f *Facts) { *c = query(*f, "area", "count_units"); c.Where = core.Where },
		"unbounded": func(c *algebra.Core, f *Facts) { c.Where = nil },
		"used twice": func(c *algebra.Core, f *Facts) {
			c.Tables = append(c.Tables, algebra.Table{Dataset: "t", PerUnit: &algebra.PerUnit{Aggs: []algebra.Agg{{Func: algebra.CountRows}}}})
			c.Joins = []algebra.Join{{Table: 1, Unit: true}}
		},
	} {
		c, g := core, f
		c.Tables = slices.Clone(core.Tables)
		change(&c, &g)
		if p, r := Build(c, []Facts{g}, 4_000_000); r != nil || p.Weight != 0 {
			t.Errorf("%s: %v, weight %d", name, r, p.Weight)
		}
	}
}

// Property: the split is never worse than the even one for its objective, and no
// split of the same price is better than by rounding.
func TestSplitIsOptimal(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 12))
	all := []string{"count", "count_units", "sum pay", "avg pay", "var_pop pay", "sum debt", "avg debt", "count_col debt", "stddev_samp debt", "sum net", "quantile pay", "max pay"}
	better := 0
	for range 1500 {
		f := rich("t", 1+rng.Int64N(20))
		f.QueryMaxRho = 1 << 40
		var aggs []string
		for _, i := range rng.Perm(len(all))[:1+rng.IntN(len(all))] {
			aggs = append(aggs, all[i])
		}
		price := budget.Nano(1_000_000 + rng.Int64N(1<<30))
		p, r := Build(query(f, []string{"", "area"}[rng.IntN(2)], aggs...), []Facts{f}, price)
		if r != nil {
			t.Fatal(r)
		}
		// J = Σ load·σ²/Δ² with σ² as booked, against σ² = Δ²/2ρ at even shares.
		loads, n := p.loads(), int64(0)
		for _, l := range loads {
			if l > 0 {
				n++
			}
		}
		ours, even := new(big.Rat), new(big.Rat)
		for i, l := range loads {
			if l == 0 {
				continue
			}
			ours.Add(ours, new(big.Rat).Mul(big.NewRat(l, 1), new(big.Rat).SetFrac(p.Measures[i].Sigma2, p.Measures[i].Sens2)))
			even.Add(even, big.NewRat(l*n, 2*int64(price)))
		}
		even.Mul(even, big.NewRat(nanoPerRho, 1))
		// σ² is rounded up to an integer: at most one unit of each Δ².
		slack := new(big.Rat)
		for i, l := range loads {
			if l > 0 {
				slack.Add(slack, new(big.Rat).Mul(big.NewRat(l, 1), new(big.Rat).SetFrac(big.NewInt(2), p.Measures[i].Sens2)))
			}
		}
		if limit := new(big.Rat).Add(even, slack); ours.Cmp(limit) > 0 {
			t.Fatalf("%v: the split is worse than the even one", aggs)
		}
		if new(big.Rat).Mul(ours, big.NewRat(101, 100)).Cmp(even) < 0 {
			better++
		}
		if p.Rho > price {
			t.Fatalf("price %d, booked %d", price, p.Rho)
		}
	}
	if better < 100 {
		t.Errorf("the split beats the even one in %d of 1500 queries only", better)
	}
}

func TestSharedSumIsCheaper(t *testing.T) {
	f := rich("t", 1)
	p, _ := Build(query(f, "", "sum pay", "count", "avg pay"), []Facts{f}, 3_000_000)
	if len(p.Measures) != 2 || p.Outputs[0].Offset != 2_000_000 || p.Outputs[0].A != p.Outputs[2].A || p.Outputs[0].B != p.Outputs[1].A {
		t.Fatalf("%+v", p)
	}
	alone, _ := Build(query(f, "", "sum pay"), []Facts{f}, 1_000_000)
	if p.ExpectedError()[0].SD.Cmp(alone.ExpectedError()[0].SD) > 0 {
		t.Errorf("shared %s, at a third of the price alone %s", p.ExpectedError()[0].SD, alone.ExpectedError()[0].SD)
	}
	v, _ := Build(query(f, "", "var_pop net", "quantile pay", "min pay"), []Facts{f}, 3_000_000)
	sq := v.Measures[v.Outputs[0].In[2]]
	// net is −7…12 about 2: squares up to 100, centred by 50.
	if sq.Centre.Int64() != 50 || sq.Sens2.Int64() != 50*50 || sq.CentreBy != v.Outputs[0].In[0] {
		t.Errorf("%+v", sq)
	}
	vectors, priced := map[int]int{}, 0
	for _, m := range v.Measures {
		if m.Vector > 0 {
			vectors[m.Vector]++
			if m.Rho > 0 {
				priced++
			}
		}
	}
	if len(vectors) != 1 || vectors[1] != 3 || priced != 1 {
		t.Errorf("three grid cells are one vector with one price: %v, %d priced", vectors, priced)
	}
}
