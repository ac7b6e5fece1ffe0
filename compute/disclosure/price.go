package disclosure

import (
	"math/big"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// Bits is ⌈1000·log₂ values⌉, thousandths of a bit, in integers alone: an auditor
// on another machine gets the same price. values ≤ 1 carry nothing.
func Bits(values *big.Int) int64 {
	if values.Cmp(big.NewInt(1)) <= 0 {
		return 0
	}
	// 2^m ≥ v^1000 exactly when m ≥ 1000·log₂ v.
	p := new(big.Int).Exp(values, big.NewInt(1000), nil)
	return int64(p.Sub(p, big.NewInt(1)).BitLen())
}

// PublicUnits rounds a snapshot's number of units down to what the ledger may say
// of it: two leading digits, and tens at the finest.
func PublicUnits(units int64) int64 { return max(units, 0) / step(units) * step(units) }

// UnitsBelow is the exclusive upper bound of a number of units whose PublicUnits
// is public.
func UnitsBelow(public int64) int64 { return public + step(public) }

func step(units int64) int64 {
	s := int64(10)
	for ; units >= 100*s; s *= 10 {
	}
	return s
}

// Limit is the information cap of a snapshot in thousandths of a bit: nanoBits per
// unit times its public number of units, rounded down.
func Limit(nanoBits, publicUnits int64) int64 {
	l := new(big.Int).Mul(big.NewInt(nanoBits), big.NewInt(publicUnits))
	l.Quo(l, big.NewInt(1_000_000))
	if !l.IsInt64() {
		return int64(^uint64(0) >> 1)
	}
	return l.Int64()
}

// Price is the most an answer to plan can tell, in thousandths of a bit: for every
// cell of every output the number of values it can take after rounding, withheld
// for either of two reasons among them, and which of the earlier releases a
// collision would name. It reads public facts only, so whoever asks can work out
// what an answer, a suppression included, will cost (simulatable auditing,
// Kenthapadi, Mishra and Nissim 2005). The plan must be exact.
func Price(plan *protect.Plan, publicUnits int64, earlier int) int64 {
	cells := int64(plan.MaxCells)
	if plan.Exact.Merge && len(plan.Keys) > 0 {
		cells++
	}
	var price int64
	for i := range plan.Outputs {
		v := values(plan, i, UnitsBelow(publicUnits)-1)
		price += Bits(v.Add(v, big.NewInt(2)))
	}
	return cells*price + Bits(big.NewInt(int64(earlier)+2))
}

// values counts what output i can say of a cell of at most n units: the multiples
// of its base between the least and the largest, one more at each end for
// rounding away from zero.
func values(plan *protect.Plan, i int, n int64) *big.Int {
	multiples := func(span, base *big.Int) *big.Int {
		out := new(big.Int).Quo(span, base)
		return out.Add(out, big.NewInt(2))
	}
	counts := multiples(big.NewInt(n), big.NewInt(plan.Exact.Round))
	o := plan.Outputs[i]
	if o.Func != algebra.Sum && o.Func != algebra.Avg {
		return counts
	}
	span := big.NewInt(max(o.Range.Hi, 0))
	span.Sub(span, big.NewInt(min(o.Range.Lo, 0))).Mul(span, big.NewInt(n))
	sums := multiples(span, plan.RoundBase(i))
	sums.Add(sums, big.NewInt(1)) // a range on both sides of zero may be cut on both
	if o.Func == algebra.Avg {    // a rounded sum over a rounded count, and no more
		sums.Mul(sums, counts)
	}
	return sums
}
