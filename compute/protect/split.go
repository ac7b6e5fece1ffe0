package protect

import (
	"math/big"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

// loadUnit is 1 in the fixed-point loads below.
const loadUnit = 1 << 40

// loads says how much each measure's noise weighs. An output's error, in units of
// its own sensitivity, is Σ a_i²·σ_i²/Δ_i² over the measures it reads, with a = 1 for
// a measure read as it is and for each part of an average, moment or quantile; a sum
// that is shared as A + Offset·B, of sensitivity m·M, reads them with a = R/M and
// |Offset|/M, where R is the reach of A per row and M that of the values themselves.
// A measure's load is the sum of its a² over the outputs. The selection of private
// keys counts as an output of one measure.
//
// The price is split so that Σ load_i·σ_i²/Δ_i² is least: ρ_i ∝ √load_i
// (Cauchy–Schwarz on Σ load_i/2ρ_i at fixed Σ ρ_i).
func (p *Plan) loads() []int64 {
	load := make([]int64, len(p.Measures))
	for _, o := range p.Outputs {
		switch {
		case o.Grid != nil:
			load[o.In[0]] += loadUnit // one price for the vector
		case o.In != nil:
			for _, i := range o.In {
				if i >= 0 {
					load[i] += loadUnit
				}
			}
		case o.Func == algebra.Sum && o.Offset != 0:
			load[o.A] += squareShare(reach(o.Range, o.Offset), o.Range)
			load[o.B] += squareShare(new(big.Int).Abs(big.NewInt(o.Offset)), o.Range)
		case o.Func == algebra.Avg:
			load[o.A] += loadUnit
			load[o.B] += loadUnit
		default:
			load[o.A] += loadUnit
		}
	}
	return load
}

// squareShare is ⌈(part/M)²⌉ in loadUnits, M the largest magnitude in r.
func squareShare(part *big.Int, r Range) int64 {
	top := reach(r, 0)
	x := new(big.Int).Mul(part, part)
	x.Mul(x, big.NewInt(loadUnit))
	return min(loadUnit, ceilDiv(x, top.Mul(top, top)).Int64())
}

// split divides price in proportion to the roots of the loads, each share rounded
// down: shares grow with the price and add up to no more than it.
func split(price budget.Nano, loads []int64) []budget.Nano {
	roots, total := make([]*big.Int, len(loads)), new(big.Int)
	for i, l := range loads {
		roots[i] = new(big.Int).Sqrt(new(big.Int).Lsh(big.NewInt(l), 20))
		total.Add(total, roots[i])
	}
	shares := make([]budget.Nano, len(loads))
	for i, r := range roots {
		x := new(big.Int).Mul(big.NewInt(int64(price)), r)
		shares[i] = budget.Nano(x.Quo(x, total).Int64())
	}
	return shares
}

// prices splits the price over the measures that outputs read and, with private
// keys, the selection; sets every σ² to the least integer its share affords; and
// books the price that σ² really has, which is never above the share. Every private
// data set is charged the whole price, so the strictest maximum holds.
func (b *builder) prices(price budget.Nano) *policies.Reason {
	if price < 1 {
		return priceNotPositive(b.facts[0])
	}
	for _, f := range b.facts {
		if !f.Public && price > f.QueryMaxRho {
			return priceTooHigh(f, price)
		}
	}
	var parts []int
	var loads []int64
	for i, l := range b.plan.loads() {
		if l > 0 {
			parts, loads = append(parts, i), append(loads, l)
		}
	}
	if b.private {
		loads = append(loads, loadUnit)
	}
	shares := split(price, loads)
	if slices.Min(shares) < 1 {
		return priceTooLow(b.facts[0], len(shares))
	}
	for i, p := range parts {
		m := &b.plan.Measures[p]
		m.Sigma2 = sigma2For(m.Sens2, shares[i])
		m.Rho = rhoFor(m.Sens2, m.Sigma2)
		b.plan.Rho += m.Rho
		for j := range b.plan.Measures {
			if k := &b.plan.Measures[j]; m.Vector != 0 && k.Vector == m.Vector && j != p {
				k.Sigma2 = new(big.Int).Set(m.Sigma2)
			}
		}
	}
	if b.private {
		b.selection(shares[len(shares)-1])
	}
	return nil
}

// selection of private keys counts rows of rank 1, or all rows where a unit has but
// one: a unit then moves one cell by one.
func (b *builder) selection(share budget.Nano) {
	s := &Selection{K: b.k(), Sens2: big.NewInt(1)}
	if b.plan.OneRow {
		s.Measure = b.addRows(filter{})
	} else {
		s.Measure = b.add(Measure{Kind: MeasureFirst, Sens2: big.NewInt(1)}, filter{})
	}
	s.Sigma2 = sigma2For(s.Sens2, share)
	s.Rho = rhoFor(s.Sens2, s.Sigma2)
	s.Tau = tau(s.Sigma2)
	b.plan.Selection = s
	b.plan.Rho += s.Rho
}
