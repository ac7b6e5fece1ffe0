package policies

import (
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
)

// QueryLevel is the level of the data set that a query derives.
type QueryLevel struct {
	// Level on the scale of GB/T 43697-2024, 1…6.
	Level int
	// Columns are those that have it, in the order of their use: why the level is
	// what it is.
	Columns []ColumnName
}

// ColumnName names a column of a data set.
type ColumnName struct {
	Dataset, Column string
}

// String returns dataset.column.
func (c ColumnName) String() string { return c.Dataset + "." + c.Column }

// LevelOf computes the level of what a core derives from all its data sets, joined
// and united ones included: that of the highest column it touches (就高从严, GB/T
// 43697-2024). It depends on the core and the gradings in force and on nothing
// else, so an auditor computes it again. A column without a level in force counts
// as core data.
func (b *Book) LevelOf(core algebra.Core) QueryLevel {
	var out QueryLevel
	for _, c := range b.touched(core) {
		level := levelOr(b.datasets[c.Dataset].Levels[c.Column])
		if level > out.Level {
			out = QueryLevel{Level: level}
		}
		if level == out.Level {
			out.Columns = append(out.Columns, c)
		}
	}
	if len(out.Columns) == 0 {
		out.Level = highestLevel // malformed: no plan is built from such a core
	}
	return out
}

// touched lists the columns behind a core: those it uses, and the unit column of
// every data set whose units it counts, joins, or sums up one by one. A bare count of
// rows touches no column, but says who is in the data set: the unit column stands
// for it.
func (b *Book) touched(core algebra.Core) []ColumnName {
	var out []ColumnName
	add := func(c ColumnName) {
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	named := map[string]bool{}
	for _, u := range Uses(core) {
		add(ColumnName{u.Dataset, u.Column})
		named[u.Dataset] = true
	}
	byUnit := unitUses(core)
	for _, id := range core.Datasets() {
		if named[id] && !byUnit[id] {
			continue
		}
		e := b.datasets[id]
		switch {
		case e.Dataset.Unit != nil:
			add(ColumnName{id, e.Dataset.Unit.Column})
		case !named[id]:
			// A public table that is only counted, or one that is not there: all of it.
			for _, c := range e.Dataset.Columns {
				add(ColumnName{id, c.Name})
			}
			if len(e.Dataset.Columns) == 0 {
				add(ColumnName{Dataset: id})
			}
		}
	}
	return out
}

// unitUses are the data sets whose units the core itself tells apart. The bound on
// a unit's contribution does so too, but it is protection and no use.
func unitUses(core algebra.Core) map[string]bool {
	out := map[string]bool{}
	table := func(i int) {
		if i < 0 || i >= len(core.Tables) {
			return
		}
		out[core.Tables[i].Dataset] = true
		for _, p := range core.Tables[i].Parts {
			out[p] = true
		}
	}
	for i, t := range core.Tables {
		if t.PerUnit != nil {
			table(i)
		}
	}
	for _, j := range core.Joins {
		if j.Unit {
			table(0)
			table(j.Table)
		}
	}
	for _, a := range core.Aggs {
		if a.Func == algebra.CountUnits {
			table(0)
		}
	}
	return out
}
