// Package reference is an engine small enough to be seen through: it computes the
// exact partials of a protected plan row by row, by the definitions in
// compute/protect. Tests hold the engine's SQL and the declared sensitivities
// against it; production code does not use it.
package reference

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"
	"strconv"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// Row is one stored row. Unit is the token of its privacy unit and Rank its rank
// inside the unit, from 1; a public table has neither.
type Row struct {
	Unit   string
	Rank   int64
	Values map[string]algebra.Value
}

// Data holds the rows of every data set by its id.
type Data map[string][]Row

// Partials computes the exact partials of plan over data. Rows whose key is not in
// a code list of the plan are left out, as the engine's statement leaves them out.
// It panics on a plan that names what is not there.
func Partials(plan *protect.Plan, data Data) protect.Partials {
	e := &engine{plan: plan, data: data}
	rows := e.join()
	weights := e.weights(rows)
	found, total := map[string]*cell{}, e.newCell(nil)
	var order []string
	for i, r := range rows {
		keys, listed := []algebra.Value{}, true
		for _, k := range plan.Keys {
			v := e.value(r, k.Col)
			keys, listed = append(keys, v), listed && inCodes(k, v)
		}
		if !listed {
			continue
		}
		id := identity(keys)
		if found[id] == nil {
			found[id] = e.newCell(keys)
			order = append(order, id)
		}
		e.add(found[id], r, weights[i])
		e.add(total, r, weights[i])
	}
	var out protect.Partials
	for _, id := range order {
		out.Cells = append(out.Cells, found[id].finish(plan))
	}
	if len(plan.Keys) == 0 && len(order) == 0 {
		out.Cells = append(out.Cells, e.newCell([]algebra.Value{}).finish(plan))
	}
	if plan.Mode == protect.ModeExact {
		c := total.finish(plan)
		out.Total = &c
	}
	return out
}

type engine struct {
	plan *protect.Plan
	data Data
}

// joined is a row after the joins: one stored or pre-aggregated row per table, nil
// where an outer join found none.
type joined struct {
	unit   string
	rank   int64
	tables []map[string]algebra.Value
}

type cell struct {
	keys  []algebra.Value
	m     []*big.Int
	units []map[string]bool
}

func (e *engine) newCell(keys []algebra.Value) *cell {
	c := &cell{keys: keys}
	for range e.plan.Measures {
		c.m, c.units = append(c.m, new(big.Int)), append(c.units, map[string]bool{})
	}
	return c
}

func (c *cell) finish(p *protect.Plan) protect.Cell {
	for i, m := range p.Measures {
		if m.Kind == protect.MeasureUnits {
			c.m[i].SetInt64(int64(len(c.units[i])))
		}
	}
	return protect.Cell{Keys: c.keys, M: c.m}
}

// bounded returns the rows of a data set within its rank bound.
func (e *engine) bounded(id string) []Row {
	bound := int64(0)
	if i := slices.Index(e.plan.Core.Datasets(), id); i < len(e.plan.Ranks) {
		bound = e.plan.Ranks[i]
	}
	var out []Row
	for _, r := range e.data[id] {
		if bound == 0 || r.Rank <= bound {
			out = append(out, r)
		}
	}
	return out
}

// source returns the rows of a table: stored, united, or one per unit.
func (e *engine) source(t algebra.Table) []Row {
	rows := e.bounded(t.Dataset)
	for _, p := range t.Parts {
		rows = append(rows, e.bounded(p)...)
	}
	if t.PerUnit == nil {
		return rows
	}
	var out []Row
	index := map[string]int{}
	p := *t.PerUnit
	for _, r := range rows {
		s := scope{derived: p.Derived, grid: func(c algebra.Col) []int64 { return e.grid(t.Dataset, c.Name) },
			column: func(c algebra.Col) algebra.Value { return stored(r.Values, c) }}
		if p.Where != nil && s.truth(*p.Where) != yes {
			continue
		}
		at, ok := index[r.Unit]
		if !ok {
			at = len(out)
			index[r.Unit] = at
			u := Row{Unit: r.Unit, Rank: 1, Values: map[string]algebra.Value{}}
			for i, a := range p.Aggs {
				u.Values["a"+strconv.Itoa(i)] = emptyAggregate(a)
			}
			out = append(out, u)
		}
		for i, a := range p.Aggs {
			name := "a" + strconv.Itoa(i)
			out[at].Values[name] = s.aggregate(a, out[at].Values[name])
		}
	}
	return out
}

func emptyAggregate(a algebra.Agg) algebra.Value {
	if a.Func == algebra.CountRows || a.Func == algebra.CountCol {
		return algebra.Value{Type: algebra.Type{Kind: algebra.Int}}
	}
	return algebra.Value{Type: a.Arg.Type, Null: true}
}

// aggregate adds the row of s to a unit's aggregate so far.
func (s scope) aggregate(a algebra.Agg, so algebra.Value) algebra.Value {
	if a.Filter != nil && s.truth(*a.Filter) != yes {
		return so
	}
	if a.Func == algebra.CountRows {
		so.I++
		return so
	}
	v := s.value(*a.Arg)
	switch {
	case v.Null:
	case a.Func == algebra.CountCol:
		so.I++
	case so.Null:
		so = v
	case a.Func == algebra.Sum:
		so.I += v.I
	case a.Func == algebra.Min:
		so.I = min(so.I, v.I)
	case a.Func == algebra.Max:
		so.I = max(so.I, v.I)
	default:
		panic("reference: unknown aggregate of a unit")
	}
	return so
}

// join applies joins and WHERE.
func (e *engine) join() []joined {
	core := e.plan.Core
	var out []joined
	others := make([][]Row, len(core.Tables))
	for i := range core.Joins {
		others[i+1] = e.source(core.Tables[i+1])
	}
	for _, r := range e.source(core.Tables[0]) {
		row := joined{unit: r.Unit, rank: r.Rank, tables: make([]map[string]algebra.Value, len(core.Tables))}
		row.tables[0] = r.Values
		dropped := false
		for _, j := range core.Joins {
			for _, o := range others[j.Table] {
				if j.Unit {
					if o.Unit == r.Unit {
						row.tables[j.Table] = o.Values
					}
					continue
				}
				left, right := e.value(row, j.Left), stored(o.Values, j.Right)
				if !left.Null && !right.Null && left == right {
					row.tables[j.Table] = o.Values
				}
			}
			dropped = dropped || row.tables[j.Table] == nil && !j.Outer
		}
		if !dropped && (core.Where == nil || e.scope(row).truth(*core.Where) == yes) {
			out = append(out, row)
		}
	}
	return out
}

func (e *engine) scope(r joined) scope {
	return scope{derived: e.plan.Core.Derived,
		column: func(c algebra.Col) algebra.Value {
			if r.tables[c.Table] == nil {
				return algebra.Value{Type: c.Type, Null: true}
			}
			return stored(r.tables[c.Table], c)
		},
		grid: func(c algebra.Col) []int64 { return e.grid(e.plan.Core.Tables[c.Table].Dataset, c.Name) }}
}

func (e *engine) value(r joined, c algebra.Col) algebra.Value { return e.scope(r).value(c) }

func (e *engine) grid(dataset, column string) []int64 {
	at := slices.Index(e.plan.Core.Datasets(), dataset)
	for _, g := range e.plan.Grids {
		if g.Dataset == at && g.Column == column {
			return g.Edges
		}
	}
	panic(fmt.Sprintf("reference: column %q has no grid", column))
}

func stored(values map[string]algebra.Value, c algebra.Col) algebra.Value {
	v, ok := values[c.Name]
	if !ok {
		panic(fmt.Sprintf("reference: no column %q", c.Name))
	}
	return v
}

// weights is ⌊Weight·m/max(m,n)⌋ for each row of a unit with n rows, 1 without Weight.
func (e *engine) weights(rows []joined) []int64 {
	n := map[string]int64{}
	for _, r := range rows {
		n[r.unit]++
	}
	out := make([]int64, len(rows))
	for i, r := range rows {
		out[i] = 1
		if w, m := e.plan.Weight, e.plan.MaxRows; w != 0 {
			out[i] = w * m / max(m, n[r.unit])
		}
	}
	return out
}

// add counts one row in a cell.
func (e *engine) add(c *cell, r joined, weight int64) {
	s := e.scope(r)
	w := big.NewInt(weight)
	for i, m := range e.plan.Measures {
		if m.Filter != nil && s.truth(*m.Filter) != yes {
			continue
		}
		var x, y algebra.Value
		if m.Col != nil {
			x = s.value(*m.Col)
		}
		if m.Col2 != nil {
			y = s.value(*m.Col2)
		}
		both := (m.Both || m.Kind == protect.MeasureProduct) && (x.Null || y.Null)
		sum := c.m[i]
		switch m.Kind {
		case protect.MeasureRows:
			sum.Add(sum, w)
		case protect.MeasureFirst:
			if r.rank == 1 {
				sum.Add(sum, big.NewInt(1))
			}
		case protect.MeasureUnits:
			c.units[i][r.unit] = true
		case protect.MeasureNonNull:
			if !x.Null && !both {
				sum.Add(sum, w)
			}
		case protect.MeasureSum:
			if !x.Null && !both {
				sum.Add(sum, new(big.Int).Mul(w, shifted(x.I, m.Clamp, m.Offset)))
			}
		case protect.MeasureProduct:
			if !both {
				p := new(big.Int).Mul(shifted(x.I, m.Clamp, m.Offset), shifted(y.I, m.Clamp2, m.Offset2))
				sum.Add(sum, p.Mul(p, w))
			}
		case protect.MeasureBin:
			if !x.Null && x.I >= m.Bin.Lo && (x.I < m.Bin.Hi || m.LastBin && x.I == m.Bin.Hi) {
				sum.Add(sum, w)
			}
		default:
			panic("reference: unknown kind of measure")
		}
	}
}

func shifted(v int64, clamp *protect.Range, offset int64) *big.Int {
	if clamp != nil {
		v = max(clamp.Lo, min(clamp.Hi, v))
	}
	return new(big.Int).Sub(big.NewInt(v), big.NewInt(offset))
}

func inCodes(k protect.Key, v algebra.Value) bool {
	switch {
	case k.Codes == nil:
		return true
	case v.Null:
		return k.Nullable
	}
	_, ok := slices.BinarySearchFunc(k.Codes, v, protect.CompareValues)
	return ok
}

// identity is an injective text of a key combination whose types are fixed.
func identity(keys []algebra.Value) string {
	var b []byte
	for _, v := range keys {
		if v.Null {
			b = append(b, 0)
			continue
		}
		b = append(b, 1)
		b = binary.BigEndian.AppendUint64(b, uint64(v.I))
		b = binary.BigEndian.AppendUint64(b, uint64(len(v.S)))
		b = append(b, v.S...)
	}
	return string(b)
}

func compare(a, b algebra.Value) int {
	if a.Type.Kind == algebra.Text {
		return cmp.Compare(a.S, b.S)
	}
	return cmp.Compare(a.I, b.I)
}
