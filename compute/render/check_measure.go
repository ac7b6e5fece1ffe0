package render

import (
	"errors"
	"math/big"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// aggregate is one aggregate call of the tree with its FILTER taken apart.
type aggregate struct {
	args       []any
	conditions []any
}

// readAggregate reads name([DISTINCT] args) [FILTER (WHERE …)].
func readAggregate(v any, name string, args int, distinct bool) (aggregate, error) {
	f, err := node(v, "FUNCTION", "FUNCTION", "function_name", "children", "distinct", "filter")
	if err != nil {
		return aggregate{}, err
	}
	if f[0] != name || len(items(f[1])) != args || f[2] != distinct {
		return aggregate{}, errShape
	}
	conditions, err := conjuncts(f[3])
	return aggregate{args: items(f[1]), conditions: conditions}, err
}

// isCountStar reads COUNT(*), and with check its filter.
func isCountStar(v any, check func([]any) error) error {
	a, err := readAggregate(v, "count_star", 0, false)
	if err != nil {
		return err
	}
	if check != nil {
		return check(a.conditions)
	}
	if len(a.conditions) != 0 {
		return errShape
	}
	return nil
}

// orZero reads COALESCE(sum, 0).
func orZero(v any) (any, error) {
	f, err := node(v, "OPERATOR", "OPERATOR_COALESCE", "children")
	list := items(f2(f))
	if err != nil || len(list) != 2 {
		return nil, errShape
	}
	if zero, ok := constant(list[1]); !ok || zero.Sign() != 0 {
		return nil, errShape
	}
	return list[0], nil
}

// filters returns a check of an aggregate's conditions: those of extra, each once
// and last, after the measure's own filter.
func (r *reader) filters(m protect.Measure, extra ...func(any) bool) func([]any) error {
	return func(conditions []any) error {
		n := len(conditions) - len(extra)
		if n < 0 {
			return errors.New("filter is not the plan's")
		}
		for i, is := range extra {
			if !is(conditions[n+i]) {
				return errors.New("filter is not the plan's")
			}
		}
		return r.outer.sameCondition(conditions[:n], m.Filter)
	}
}

// present reads col IS NOT NULL.
func (r *reader) present(col algebra.Col) func(any) bool {
	return func(v any) bool {
		f, err := node(v, "OPERATOR", "OPERATOR_IS_NOT_NULL", "children")
		list := items(f2(f))
		return err == nil && len(list) == 1 && r.outer.isColumn(list[0], col) == nil
	}
}

func (r *reader) isMeasure(v any, m protect.Measure) error {
	var both []func(any) bool
	if m.Both {
		both = append(both, r.present(*m.Col2))
	}
	switch m.Kind {
	case protect.MeasureRows:
		return r.isRows(v, r.filters(m))
	case protect.MeasureFirst:
		return isCountStar(v, r.filters(m, func(v any) bool {
			f, err := node(v, "COMPARISON", "COMPARE_EQUAL", "left", "right")
			if err != nil || !r.outer.isHidden(f[0], 0, rankColumn) {
				return false
			}
			one, ok := constant(f[1])
			return ok && one.Cmp(big.NewInt(1)) == 0
		}))
	case protect.MeasureUnits:
		a, err := readAggregate(v, "count", 1, true)
		if err != nil {
			return err
		}
		if !r.outer.isHidden(a.args[0], 0, unitColumn) {
			return errors.New("not the unit column")
		}
		return r.filters(m)(a.conditions)
	case protect.MeasureNonNull:
		return r.isPresent(v, m, both)
	case protect.MeasureBin:
		upper := "COMPARE_LESSTHAN"
		if m.LastBin {
			upper = "COMPARE_LESSTHANOREQUALTO"
		}
		return r.isRows(v, r.filters(m,
			func(v any) bool {
				return r.outer.isComparison(v, "COMPARE_GREATERTHANOREQUALTO", *m.Col, m.Bin.Lo) == nil
			},
			func(v any) bool { return r.outer.isComparison(v, upper, *m.Col, m.Bin.Hi) == nil }))
	case protect.MeasureSum:
		return r.isSum(v, m, both)
	case protect.MeasureProduct:
		return r.isProduct(v, m)
	}
	return errors.New("unknown measure")
}

// isRows reads a count of rows, or the sum of their weights.
func (r *reader) isRows(v any, check func([]any) error) error {
	if r.plan.Weight == 0 {
		return isCountStar(v, check)
	}
	sum, err := orZero(v)
	if err != nil {
		return err
	}
	a, err := readAggregate(sum, "sum", 1, false)
	if err != nil {
		return err
	}
	if !isWeight(a.args[0]) {
		return errors.New("not the weights")
	}
	return check(a.conditions)
}

func isWeight(v any) bool {
	weights := view{names: []string{"w"}}
	return weights.isHidden(v, 0, "w")
}

// isPresent reads the count of rows with a value.
func (r *reader) isPresent(v any, m protect.Measure, both []func(any) bool) error {
	if r.plan.Weight != 0 {
		return r.isRows(v, r.filters(m, append(both, r.present(*m.Col))...))
	}
	a, err := readAggregate(v, "count", 1, false)
	if err != nil {
		return err
	}
	if err := r.outer.isColumn(a.args[0], *m.Col); err != nil {
		return err
	}
	return r.filters(m, both...)(a.conditions)
}

// total reads COALESCE(SUM([weight *] value) …, 0).
func (r *reader) total(v any) (value any, conditions []any, err error) {
	sum, err := orZero(v)
	if err != nil {
		return nil, nil, err
	}
	a, err := readAggregate(sum, "sum", 1, false)
	if err != nil {
		return nil, nil, err
	}
	if r.plan.Weight == 0 {
		return a.args[0], a.conditions, nil
	}
	weight, value, err := wideCall(a.args[0], "*")
	if err != nil || !isWeight(weight) {
		return nil, nil, errors.New("not weighted")
	}
	return value, a.conditions, nil
}

// isSum reads the sum [- CAST(offset AS HUGEINT) * count].
func (r *reader) isSum(v any, m protect.Measure, both []func(any) bool) error {
	sum := v
	if m.Offset != 0 {
		minus, err := call(v, "-", true, 2)
		if err != nil {
			return err
		}
		offset, count, err := wideCall(minus[1], "*")
		if err != nil {
			return err
		}
		if n, ok := constant(offset); !ok || n.Cmp(big.NewInt(m.Offset)) != 0 {
			return errors.New("offset is not the plan's")
		}
		if err := r.isPresent(count, m, both); err != nil {
			return err
		}
		sum = minus[0]
	}
	value, conditions, err := r.total(sum)
	if err != nil {
		return err
	}
	switch {
	case m.Clamp == nil:
		err = r.outer.isColumn(value, *m.Col)
	case m.Col.Table == algebra.DerivedTable:
		both = append(both, r.present(*m.Col))
		err = r.outer.isClamped(value, *m.Col, *m.Clamp)
	default:
		err = r.outer.isCaseClamp(value, *m.Col, *m.Clamp)
	}
	if err != nil {
		return err
	}
	return r.filters(m, both...)(conditions)
}

// isClamped reads LEAST(GREATEST(col, lo), hi), which takes NULL for the lower bound.
func (w *view) isClamped(v any, col algebra.Col, r protect.Range) error {
	least, err := call(v, "least", false, 2)
	if err != nil {
		return err
	}
	greatest, err := call(least[0], "greatest", false, 2)
	if err != nil {
		return err
	}
	if !isNumber(least[1], r.Hi) || !isNumber(greatest[1], r.Lo) {
		return errors.New("clamp is not the plan's")
	}
	return w.isColumn(greatest[0], col)
}

func isNumber(v any, want int64) bool {
	n, ok := constant(v)
	return ok && n.IsInt64() && n.Int64() == want
}

// isCaseClamp reads CASE WHEN col < lo THEN lo WHEN col > hi THEN hi ELSE col END.
func (w *view) isCaseClamp(v any, col algebra.Col, r protect.Range) error {
	list, other, err := branches(v)
	if err != nil {
		return err
	}
	if len(list) != 2 || !isNumber(list[0][1], r.Lo) || !isNumber(list[1][1], r.Hi) {
		return errors.New("clamp is not the plan's")
	}
	if err := w.isComparison(list[0][0], "COMPARE_LESSTHAN", col, r.Lo); err != nil {
		return err
	}
	if err := w.isComparison(list[1][0], "COMPARE_GREATERTHAN", col, r.Hi); err != nil {
		return err
	}
	return w.isColumn(other, col)
}

// isProduct reads the sum of a product of two factors. How wide it is computed
// depends on how far the factors can reach.
func (r *reader) isProduct(v any, m protect.Measure) error {
	value, conditions, err := r.total(v)
	if err != nil {
		return err
	}
	extra := []func(any) bool{r.present(*m.Col)}
	if *m.Col2 != *m.Col {
		extra = append(extra, r.present(*m.Col2))
	}
	if err := r.filters(m, extra...)(conditions); err != nil {
		return err
	}
	args, err := call(value, "*", true, 2)
	if err != nil {
		return err
	}
	first, second := r.held(*m.Col, m.Clamp), r.held(*m.Col2, m.Clamp2)
	if first == nil || second == nil {
		return errors.New("a factor has no bounds")
	}
	bits := widest(*first, m.Offset).BitLen() + widest(*second, m.Offset2).BitLen()
	narrow, err := r.outer.isFactor(args[0], *m.Col, *first, m.Offset)
	if err != nil {
		return err
	}
	narrow2, err := r.outer.isFactor(args[1], *m.Col2, *second, m.Offset2)
	switch {
	case err != nil:
		return err
	case narrow != narrow2, narrow && bits > 63, bits+big.NewInt(r.plan.Weight).BitLen() > 95:
		return errors.New("a product may overflow")
	}
	return nil
}

// held is the range of a factor: its clamp, or what the aggregates declare.
func (r *reader) held(c algebra.Col, clamp *protect.Range) *protect.Range {
	if clamp != nil {
		return clamp
	}
	none := protect.Range{}
	for i, o := range r.plan.Outputs {
		if i >= len(r.plan.Core.Aggs) {
			return nil
		}
		switch a := r.plan.Core.Aggs[i]; {
		case a.Arg != nil && *a.Arg == c && o.Range != none:
			return &o.Range
		case a.Arg2 != nil && *a.Arg2 == c && o.Range2 != none:
			return &o.Range2
		}
	}
	return nil
}

func widest(r protect.Range, offset int64) *big.Int {
	lo := new(big.Int).Sub(big.NewInt(r.Lo), big.NewInt(offset))
	hi := new(big.Int).Sub(big.NewInt(r.Hi), big.NewInt(offset))
	if lo.CmpAbs(hi) > 0 {
		return lo
	}
	return hi
}

// isFactor reads a clamped column minus its offset and says whether in 64 bits.
func (w *view) isFactor(v any, col algebra.Col, clamp protect.Range, offset int64) (narrow bool, err error) {
	args, err := call(v, "-", true, 2)
	if err != nil {
		return false, err
	}
	if !isNumber(args[1], offset) {
		return false, errors.New("offset is not the plan's")
	}
	if wide, ok := cast(args[0], "HUGEINT"); ok {
		return false, w.isClamped(wide, col, clamp)
	}
	return true, w.isClamped(args[0], col, clamp)
}
