package protect

import (
	"math/big"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// lists asks for what differencing control and dominance need: who is in a cell,
// who has a value there, and the two largest contributions to a sum.
func (b *builder) lists() {
	b.plan.Exact.Lists = []List{{}}
	for i, a := range b.core.Aggs {
		if a.Arg == nil {
			continue
		}
		col := *a.Arg
		if find := b.plan.NonNull(&col); find >= 0 && b.plan.Exact.List(List{Col: &col}) < 0 {
			b.plan.Exact.Lists = append(b.plan.Exact.Lists, List{Col: &col})
		}
		if f := b.plan.Outputs[i].Func; (f == algebra.Sum || f == algebra.Avg) && b.plan.Exact.List(List{Col: &col, Top: true}) < 0 {
			b.plan.Exact.Lists = append(b.plan.Exact.Lists, List{Col: &col, Top: true})
		}
	}
}

// List is the index of a list column, −1 when the result has none such.
func (r *ExactRules) List(want List) int {
	for i, l := range r.Lists {
		if l.Top == want.Top && (l.Col == nil) == (want.Col == nil) && (l.Col == nil || *l.Col == *want.Col) {
			return i
		}
	}
	return -1
}

// NonNull is the index of the measure that counts rows with a value in col, −1
// when the column has no NULLs and the rows serve.
func (p *Plan) NonNull(col *algebra.Col) int {
	for i, m := range p.Measures {
		if m.Kind == MeasureNonNull && m.Col != nil && *m.Col == *col {
			return i
		}
	}
	return -1
}

// exactRules reads the department's rule with its defaults.
func exactRules(r *policies.ExactRule) (ExactRules, error) {
	nano, err := r.NanoBits()
	if err != nil {
		return ExactRules{}, err
	}
	top1, top2, p, dof := r.Thresholds()
	return ExactRules{Top1: top1, Top2: top2, P: p, Dof: dof, Zeros: r.StructuralZeros, Merge: r.MergeOther, NanoBits: nano}, nil
}

// Dominated says that one or two units make up too much of a sum of absolute
// values, or that all others together are too small to hide the largest from the
// second (p% rule).
func (r *ExactRules) Dominated(largest, second, total *big.Int) bool {
	two := new(big.Int).Add(largest, second)
	over := func(part *big.Int, percent int64) bool {
		return new(big.Int).Mul(part, big.NewInt(100)).Cmp(new(big.Int).Mul(total, big.NewInt(percent))) > 0
	}
	if total.Sign() == 0 {
		return false
	}
	rest := new(big.Int).Sub(total, two)
	return over(largest, r.Top1) || over(two, r.Top2) || rest.Mul(rest, big.NewInt(100)).Cmp(new(big.Int).Mul(largest, big.NewInt(r.P))) < 0
}
