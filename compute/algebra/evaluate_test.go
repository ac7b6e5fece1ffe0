package algebra_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
)

// value is the reference interpreter of expressions.
func value(e algebra.Expr, row map[string]algebra.Value) algebra.Value {
	null := algebra.Value{Type: e.Type, Null: true}
	switch e.Op {
	case algebra.ExprCol:
		return row[place(*e.Col)]
	case algebra.ExprLit:
		return *e.Value
	case algebra.ExprCase:
		for _, w := range e.Whens {
			if eval(w.If, row) == isTrue {
				return value(w.Then, row)
			}
		}
		if e.Else == nil {
			return null
		}
		return value(*e.Else, row)
	case algebra.ExprCoalesce:
		for _, a := range e.Args {
			if v := value(a, row); !v.Null {
				return v
			}
		}
		return null
	}
	var n []int64
	for _, a := range e.Args {
		v := value(a, row)
		if v.Null {
			return null
		}
		n = append(n, v.I)
	}
	out := algebra.Value{Type: e.Type}
	switch e.Op {
	case algebra.ExprAdd:
		out.I = n[0] + n[1]
	case algebra.ExprSub:
		out.I = n[0] - n[1]
	case algebra.ExprMul:
		out.I = n[0] * n[1]
	case algebra.ExprDiv:
		out.I = n[0] / n[1]
	case algebra.ExprMod:
		out.I = n[0] % n[1]
	case algebra.ExprAbs:
		out.I = max(n[0], -n[0])
	case algebra.ExprPart:
		out.I = algebra.DatePart(e.Part, n[0])
	case algebra.ExprScale:
		out.I = n[0]
		for range e.Type.Scale - e.Args[0].Type.Scale {
			out.I *= 10
		}
	}
	return out
}

type tableRow = map[string]algebra.Value

// derive adds the derived columns to a copy of row.
func derive(list []algebra.Expr, row tableRow) tableRow {
	out := tableRow{}
	for k, v := range row {
		out[k] = v
	}
	for i, e := range list {
		out[algebra.DerivedCol(i, e.Type).Name] = value(e, out)
	}
	return out
}

// answer evaluates a core of one table, or of one joined to a value per unit, and
// returns what every group's keys and aggregates are, in the order of keys and aggs
// that refs give. An aggregate is shown as the values it would be made of.
func answer(c algebra.Core, rows []tableRow, refs []int) string {
	source := rows
	if c.Tables[0].PerUnit != nil {
		source = perUnit(*c.Tables[0].PerUnit, rows, "")
	}
	for _, j := range c.Joins {
		units := perUnit(*c.Tables[j.Table].PerUnit, rows, fmt.Sprint(j.Table, "."))
		var joined []tableRow
		for _, r := range source {
			out, met := derive(nil, r), false
			for _, u := range units {
				if u["unit"] == r["unit"] {
					met = true
					for k, v := range u {
						out[k] = v
					}
				}
			}
			if !met && j.Outer {
				for i := range c.Tables[j.Table].PerUnit.Aggs {
					out[fmt.Sprint(j.Table, ".", algebra.PerUnitName(i))] = algebra.Value{Null: true}
				}
			}
			if met || j.Outer {
				joined = append(joined, out)
			}
		}
		source = joined
	}
	groups := map[string][]tableRow{}
	for _, r := range source {
		r = derive(c.Derived, r)
		if !keeps(c.Where, r) {
			continue
		}
		var key []string
		for _, ref := range refs {
			if ref < len(c.Keys) {
				key = append(key, fmt.Sprint(r[place(c.Keys[ref])]))
			}
		}
		k := strings.Join(key, "|")
		groups[k] = append(groups[k], r)
	}
	var out []string
	for k, members := range groups {
		for _, ref := range refs {
			if ref >= len(c.Keys) {
				k += " ; " + parts(c.Aggs[ref-len(c.Keys)], members)
			}
		}
		out = append(out, k)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func parts(a algebra.Agg, rows []tableRow) string {
	var out []string
	for _, r := range rows {
		if a.Filter != nil && eval(*a.Filter, r) != isTrue {
			continue
		}
		s := "row"
		if a.Arg != nil {
			v := r[place(*a.Arg)]
			if v.Null {
				continue
			}
			s = fmt.Sprint(v.I, v.S)
		}
		if a.Arg2 != nil {
			w := r[place(*a.Arg2)]
			if w.Null {
				continue
			}
			pair := []string{s, fmt.Sprint(w.I, w.S)}
			if a.Func != algebra.RegrSlope {
				slices.Sort(pair)
			}
			s = strings.Join(pair, ",")
		}
		if a.Func == algebra.CountCol || a.Func == algebra.CountRows {
			s = "row"
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return fmt.Sprint(out)
}

func perUnit(u algebra.PerUnit, rows []tableRow, prefix string) []tableRow {
	units := map[algebra.Value][]tableRow{}
	for _, r := range rows {
		if r = derive(u.Derived, r); keeps(u.Where, r) {
			units[r["unit"]] = append(units[r["unit"]], r)
		}
	}
	var out []tableRow
	for unit, members := range units {
		row := tableRow{"unit": unit}
		for i, a := range u.Aggs {
			v := algebra.Value{Type: intType}
			var list []int64
			for _, m := range members {
				if a.Arg == nil {
					v.I++
				} else if x := m[place(*a.Arg)]; !x.Null {
					list = append(list, x.I)
				}
			}
			if a.Arg != nil {
				v.Type = a.Arg.Type
				v.Null = len(list) == 0
				switch a.Func {
				case algebra.CountCol:
					v = algebra.Value{Type: intType, I: int64(len(list))}
				case algebra.Sum:
					for _, x := range list {
						v.I += x
					}
				case algebra.Min:
					if !v.Null {
						v.I = slices.Min(list)
					}
				case algebra.Max:
					if !v.Null {
						v.I = slices.Max(list)
					}
				}
			}
			row[prefix+algebra.PerUnitName(i)] = v
		}
		out = append(out, row)
	}
	return out
}
