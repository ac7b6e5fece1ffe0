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

// exactSupported refuses what exact mode cannot check: it knows sets of units and
// sums of columns, so that an aggregate over an expression, which can leave a unit
// out without leaving its row out, would pass by the check of differences.
func exactSupported(core algebra.Core, f Facts) *policies.Reason {
	refuse := func(zh, en string) *policies.Reason {
		return by(f, "EXACT_UNSUPPORTED", "精确方式不支持"+zh, "exact mode does not support "+en,
			"请使用 COUNT、SUM、AVG 作用于登记的列，并用 WHERE 和登记的分组列", "use COUNT, SUM or AVG of registered columns, with WHERE and registered keys")
	}
	for i, t := range core.Tables {
		if t.PerUnit != nil || len(t.Parts) > 0 || i > 0 && core.Joins[i-1].Unit {
			return refuse("按单元预聚合、分区合并和私有表连接", "values per unit, partitions and joins on the unit")
		}
	}
	if core.Sets != nil {
		return refuse("多重分组（ROLLUP、CUBE、GROUPING SETS）", "grouping sets")
	}
	for _, a := range core.Aggs {
		switch a.Func {
		case algebra.CountRows, algebra.CountUnits, algebra.CountCol, algebra.Sum, algebra.Avg:
		default:
			return refuse("这个聚合函数", "this aggregate function")
		}
		if a.Filter != nil || a.Arg != nil && a.Arg.Table == algebra.DerivedTable {
			return refuse("聚合的 FILTER 子句和表达式参数", "FILTER and expressions as arguments of aggregates")
		}
	}
	for _, k := range core.Keys {
		if k.Table >= 0 && f.Columns[k.Name].Private && k.Table == 0 {
			return keyNotPublic(f, k.Name)
		}
	}
	return nil
}
