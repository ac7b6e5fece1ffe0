package algebra

import (
	"slices"
	"strings"
)

// canonicalTables are the tables and joins of a core in canonical order, while
// columns of values per unit still go by the content of their aggregate.
type canonicalTables struct {
	tables []Table
	joins  []Join
	index  []int            // old table → its place
	names  [][]string       // old table, number of a value per unit → its name by content
	values []map[string]Agg // place → the values per unit by name
	inner  []*namer         // place → the scope inside PerUnit
}

// canonicalTables orders the joins. A table joined on its unique key, or on the
// unit when it has one row per unit, adds at most one match to a row, so independent
// joins commute and a repeated join adds nothing; a join stays behind the table its
// left column comes from. Two values per unit over the same rows of one data set
// are columns of one table.
func (c Core) canonicalTables() *canonicalTables {
	t := &canonicalTables{index: make([]int, len(c.Tables))}
	all := make([]Table, len(c.Tables))
	ids := make([]string, len(c.Tables)) // what a table is, but for its columns
	inner := make([]*namer, len(c.Tables))
	values := make([]map[string]Agg, len(c.Tables))
	for i, table := range c.Tables {
		all[i] = table
		var names []string
		if u := table.PerUnit; u != nil {
			n := newNamer(func(col Col) Col { return col })
			n.define(u.Derived)
			all[i].PerUnit = &PerUnit{Where: n.where(u.Where)}
			inner[i], values[i] = n, map[string]Agg{}
			for _, a := range u.Aggs {
				a = n.agg(a)
				a = n.unfiltered(a)
				name := contentName(a)
				names, values[i][name] = append(names, name), a
			}
		} else if len(table.Parts) > 0 {
			parts := append([]string{table.Dataset}, table.Parts...)
			slices.Sort(parts)
			all[i].Dataset, all[i].Parts = parts[0], parts[1:]
		}
		t.names = append(t.names, names)
		ids[i] = string(mustMarshal(all[i]))
	}
	placed := make([]bool, len(c.Tables))
	put := func(i int) {
		t.index[i] = len(t.tables)
		t.tables, t.values, t.inner = append(t.tables, all[i]), append(t.values, values[i]), append(t.inner, inner[i])
		placed[i] = true
	}
	merge := func(i, at int) {
		for name, a := range values[i] {
			t.values[at][name] = a
		}
		for name, e := range inner2exprs(inner[i]) {
			t.inner[at].exprs[name] = e
		}
		t.index[i], placed[i] = at, true
	}
	put(0)
	left := func(j Join) Col {
		if j.Unit {
			return Col{}
		}
		return t.place(j.Left)
	}
	compare := func(a, b Join) int {
		if d := compareBool(a.Unit, b.Unit); d != 0 {
			return d
		}
		if d := compareCol(left(a), left(b)); d != 0 {
			return d
		}
		if d := strings.Compare(ids[a.Table], ids[b.Table]); d != 0 {
			return d
		}
		if d := strings.Compare(a.Right.Name, b.Right.Name); d != 0 {
			return d
		}
		return compareBool(a.Outer, b.Outer)
	}
	rest := slices.Clone(c.Joins)
	for len(rest) > 0 {
		best := -1
		for i, j := range rest {
			if (j.Unit || placed[j.Left.Table]) && (best < 0 || compare(j, rest[best]) < 0) {
				best = i
			}
		}
		j := rest[best]
		rest = slices.Delete(rest, best, best+1)
		old := j.Table
		if j.Unit && all[old].PerUnit != nil && ids[old] == ids[0] {
			merge(old, 0) // the fact table's own values again
			continue
		}
		j.Left = left(j)
		same := slices.IndexFunc(t.joins, func(k Join) bool {
			return k.Unit == j.Unit && k.Left == j.Left && k.Right.Name == j.Right.Name &&
				string(mustMarshal(t.tables[k.Table])) == ids[old]
		})
		if same >= 0 {
			merge(old, t.joins[same].Table)
			t.joins[same].Outer = t.joins[same].Outer && j.Outer
			continue
		}
		put(old)
		j.Table = t.index[old]
		if !j.Unit {
			j.Right.Table = j.Table
		}
		t.joins = append(t.joins, j)
	}
	return t
}

func inner2exprs(n *namer) map[string]Expr {
	if n == nil {
		return nil
	}
	return n.exprs
}

// place moves a column of a placed table to its canonical place.
func (t *canonicalTables) place(col Col) Col {
	if names := t.names[col.Table]; names != nil {
		i, _ := PerUnitIndex(col.Name)
		col.Name = names[i]
	}
	col.Table = t.index[col.Table]
	return col
}

// finish keeps the values per unit that c uses and gives them their numbers.
func (t *canonicalTables) finish(c Core) Core {
	used := make([]map[string]bool, len(c.Tables))
	for i := range used {
		used[i] = map[string]bool{}
	}
	c.each(func(col Col) {
		if col.Table >= 0 {
			used[col.Table][col.Name] = true
		}
	})
	number := make([]map[string]string, len(c.Tables))
	for i, u := range c.Tables {
		if u.PerUnit == nil {
			continue
		}
		var names []string
		for name := range t.values[i] {
			if used[i][name] {
				names = append(names, name)
			}
		}
		slices.SortFunc(names, func(a, b string) int { return compareAgg(t.values[i][a], t.values[i][b]) })
		number[i] = map[string]string{}
		inside := Core{Tables: []Table{{Dataset: u.Dataset}}, Where: u.PerUnit.Where}
		for k, name := range names {
			number[i][name] = PerUnitName(k)
			inside.Aggs = append(inside.Aggs, t.values[i][name])
		}
		if len(inside.Aggs) == 0 {
			inside.Aggs = []Agg{{Func: CountRows}} // that a unit has a row is all that is used
		}
		inside = t.inner[i].number(inside)
		c.Tables[i].PerUnit = &PerUnit{Derived: inside.Derived, Where: inside.Where, Aggs: inside.Aggs}
	}
	return c.renamed(func(col Col) Col {
		if col.Table >= 0 && number[col.Table] != nil {
			col.Name = number[col.Table][col.Name]
		}
		return col
	})
}
