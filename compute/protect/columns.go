package protect

import (
	"cmp"
	"math/big"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// stored resolves a column of the core's tables.
func (b *builder) stored(c algebra.Col) (scalar, *policies.Reason) {
	if c.Table < 0 || c.Table >= len(b.core.Tables) {
		return scalar{}, invalidCore("列所在的表不存在", "a column names a table that is not there")
	}
	t, f := b.core.Tables[c.Table], b.facts[b.at[c.Table]]
	var x scalar
	var r *policies.Reason
	if t.PerUnit != nil {
		k, ok := algebra.PerUnitIndex(c.Name)
		if !ok || k >= len(t.PerUnit.Aggs) {
			return scalar{}, unknownColumn(f, c.Name)
		}
		if x, r = b.perUnit(c.Table, k); r == nil && x.typ != c.Type {
			r = unknownColumn(f, c.Name)
		}
	} else {
		x, r = b.storedIn(f, c)
		for _, p := range t.Parts {
			if r != nil {
				return scalar{}, r
			}
			i := slices.IndexFunc(b.facts, func(f Facts) bool { return f.Dataset == p })
			var y scalar
			if y, r = b.storedIn(b.facts[i], c); r == nil {
				x = united(x, y)
			}
		}
	}
	if r != nil {
		return scalar{}, r
	}
	x.nullable = x.nullable || b.nullable[c.Table]
	return x, nil
}

func (b *builder) storedIn(f Facts, c algebra.Col) (scalar, *policies.Reason) {
	cf, ok := f.Columns[c.Name]
	if !ok || cf.Type != c.Type {
		return scalar{}, unknownColumn(f, c.Name)
	}
	x := scalar{owner: f, name: policies.BaseColumn(c.Name), typ: cf.Type, nullable: cf.Nullable, bounds: cf.Bounds, stored: cf.Stored, private: cf.Private, grid: cf.Grid}
	if cf.Bounds != nil && cf.Bounds.Lo > cf.Bounds.Hi || cf.Stored != nil && cf.Stored.Lo > cf.Stored.Hi {
		x.bounds = cf.Bounds
	}
	x.codes, x.listed = cf.Codes, len(cf.Codes) > 0
	if c.Type.Kind == algebra.Bool && len(cf.Codes) == 0 {
		// The domain of a truth value is public by its type.
		x.codes, x.listed = []algebra.Value{{Type: c.Type}, {Type: c.Type, I: 1}}, true
	}
	if len(x.grid) < 2 || !slices.IsSortedFunc(x.grid, func(a, b int64) int {
		if a >= b {
			return 1 // strictly ascending
		}
		return -1
	}) {
		x.grid = nil
	}
	return x, nil
}

// united is a column of a union: it may hold what either part may hold.
func united(x, y scalar) scalar {
	x.nullable, x.private = x.nullable || y.nullable, x.private || y.private
	if x.bounds != nil && y.bounds != nil {
		x.bounds = hull(*x.bounds, *y.bounds)
	} else {
		x.bounds = nil
	}
	if x.stored != nil && y.stored != nil {
		x.stored = hull(*x.stored, *y.stored)
	} else {
		x.stored = nil
	}
	if x.listed = x.listed && y.listed; x.listed {
		x.codes = distinct(slices.Concat(x.codes, y.codes))
	} else {
		x.codes = nil
	}
	if !slices.Equal(x.grid, y.grid) {
		x.grid = nil
	}
	return x
}

// perUnit is the k-th value per unit of table i: a count lies in 0…m, a sum of at
// most m values in L…U lies in m·min(0,L)…m·max(0,U), a minimum or maximum in L…U.
func (b *builder) perUnit(i, k int) (scalar, *policies.Reason) {
	t, f := b.core.Tables[i], b.facts[b.at[i]]
	a, m := t.PerUnit.Aggs[k], rowsOf(f)
	x := scalar{owner: f, name: algebra.PerUnitName(k), typ: algebra.Type{Kind: algebra.Int}, computed: true}
	switch a.Func {
	case algebra.CountRows, algebra.CountCol:
		if (a.Func == algebra.CountRows) != (a.Arg == nil) || a.Arg2 != nil {
			break
		}
		least := int64(0)
		if a.Func == algebra.CountRows && a.Filter == nil {
			least = 1 // a unit without a row has no count
		}
		x.bounds = &Range{least, m}
		x.stored = x.bounds
		for v := least; m < maxGrid && v <= m+1; v++ {
			x.grid = append(x.grid, v)
		}
		return x, nil
	case algebra.Sum, algebra.Min, algebra.Max:
		if a.Arg == nil || a.Arg2 != nil {
			break
		}
		arg, r := b.units[i].column(*a.Arg)
		if r != nil {
			return scalar{}, r
		}
		kind := arg.typ.Kind
		if kind != algebra.Int && kind != algebra.Decimal && (a.Func == algebra.Sum || kind != algebra.Date) {
			return scalar{}, measureType(f, arg.name)
		}
		x.typ, x.nullable = arg.typ, arg.nullable || a.Filter != nil
		if arg.bounds == nil || arg.stored == nil {
			if a.Func == algebra.Sum || kind != algebra.Date {
				return scalar{}, noBounds(f, arg.name)
			}
			return x, nil
		}
		if a.Func != algebra.Sum {
			x.bounds, x.stored, x.grid = arg.bounds, arg.stored, arg.grid
			return x, nil
		}
		for _, side := range []struct {
			from Range
			to   **Range
		}{{*arg.bounds, &x.bounds}, {*arg.stored, &x.stored}} {
			lo := new(big.Int).Mul(big.NewInt(min(0, side.from.Lo)), big.NewInt(m))
			hi := new(big.Int).Mul(big.NewInt(max(0, side.from.Hi)), big.NewInt(m))
			if lo.CmpAbs(limit) > 0 || hi.CmpAbs(limit) > 0 {
				return scalar{}, overflow(f, arg.name)
			}
			*side.to = &Range{lo.Int64(), hi.Int64()}
		}
		return x, nil
	}
	return scalar{}, invalidCore("按单元汇总的函数未知", "unknown function in a pre-aggregation per unit")
}

// maxGrid caps the cells of a grid.
const maxGrid = 200

// gridOf is the grid of a column that a bin expression of the core reads.
func (b *builder) gridOf(c algebra.Col) []int64 {
	if c.Table < 0 || c.Table >= len(b.at) || b.core.Tables[c.Table].PerUnit != nil {
		return nil
	}
	return b.useGrid(b.at[c.Table], c.Name)
}

// useGrid books the grid of a data set's column in the plan.
func (b *builder) useGrid(dataset int, column string) []int64 {
	cf, ok := b.facts[dataset].Columns[column]
	if !ok || len(cf.Grid) < 2 {
		return nil
	}
	at, have := slices.BinarySearchFunc(b.plan.Grids, Grid{Dataset: dataset, Column: column}, func(a, b Grid) int {
		return cmp.Or(cmp.Compare(a.Dataset, b.Dataset), cmp.Compare(a.Column, b.Column))
	})
	if !have {
		b.plan.Grids = slices.Insert(b.plan.Grids, at, Grid{dataset, column, slices.Clone(cf.Grid)})
	}
	return cf.Grid
}
