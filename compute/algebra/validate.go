package algebra

import (
	"errors"
	"fmt"
	"slices"
)

// View returns the columns of table i as the rest of the core sees them: those of
// its data set, or a0, a1, … when it is pre-aggregated to one row per unit. The name
// of the unit column stays, for COUNT(DISTINCT …) and joins on the unit; it is
// never among the columns of a PerUnit table. schemas need not be in any order.
func (c Core) View(i int, schemas []Schema) (Schema, error) {
	if i < 0 || i >= len(c.Tables) {
		return Schema{}, errors.New("core: no such table")
	}
	t := c.Tables[i]
	at := slices.IndexFunc(schemas, func(s Schema) bool { return s.Dataset == t.Dataset })
	if at < 0 {
		return Schema{}, fmt.Errorf("failed to find schema of table %d", i)
	}
	s := schemas[at]
	if t.PerUnit == nil {
		return s, nil
	}
	out := Schema{Dataset: s.Dataset, Public: s.Public, Unit: s.Unit}
	for j, a := range t.PerUnit.Aggs {
		out.Columns = append(out.Columns, SchemaColumn{Name: PerUnitName(j), Type: a.perUnitType()})
	}
	return out, nil
}

// perUnitType is the type of an aggregate inside PerUnit.
func (a Agg) perUnitType() Type {
	if a.Func == CountRows || a.Func == CountCol || a.Arg == nil {
		return Type{Kind: Int}
	}
	return a.Arg.Type
}

// Validate reports whether c is well formed and means something on the given
// schemas: every table, column and type exists, public tables are joined on a
// declared unique key and private ones on the unit, and the unit column is counted,
// never read. That a private table has one row per unit is for compute/protect to
// check. Redacted literals are accepted, so an auditor can validate a ledger entry.
func (c Core) Validate(schemas []Schema) error {
	if err := c.structure(); err != nil {
		return err
	}
	var tables []Schema
	for i := range c.Tables {
		s, err := c.View(i, schemas)
		if err != nil {
			return err
		}
		if c.Tables[i].PerUnit != nil && (s.Public || s.Unit == "") {
			return fmt.Errorf("core: table %d has no unit", i)
		}
		tables = append(tables, s)
	}
	if tables[0].Public {
		return errors.New("core: fact table is public")
	}
	for _, j := range c.Joins {
		s := tables[j.Table]
		switch {
		case j.Unit && (s.Public || s.Unit == "" || tables[0].Unit == ""):
			return fmt.Errorf("core: table %d is joined on a unit that is not there", j.Table)
		case !j.Unit && (!s.Public || !slices.Contains(s.Unique, j.Right.Name)):
			return fmt.Errorf("core: table %d is not joined on a unique key of a public table", j.Table)
		}
	}
	for _, a := range c.Aggs {
		if a.Func == CountUnits && tables[0].Unit == "" {
			return errors.New("core: fact table has no unit column")
		}
	}
	var err error
	c.each(func(col Col) {
		if col.Table >= 0 && err == nil {
			err = tables[col.Table].has(col)
		}
	})
	if err != nil {
		return err
	}
	for i, t := range c.Tables {
		if err := t.validate(c, i, schemas); err != nil {
			return err
		}
	}
	return nil
}

// each visits every column of the core but those inside a PerUnit.
func (c Core) each(visit func(Col)) {
	for _, j := range c.Joins {
		if !j.Unit {
			visit(j.Left)
			visit(j.Right)
		}
	}
	for _, e := range c.Derived {
		e.Each(visit, visit)
	}
	if c.Where != nil {
		c.Where.Each(visit)
	}
	for _, k := range c.Keys {
		visit(k)
	}
	eachOf(c.Aggs, visit)
}

func eachOf(aggs []Agg, visit func(Col)) {
	for _, a := range aggs {
		if a.Arg != nil {
			visit(*a.Arg)
		}
		if a.Arg2 != nil {
			visit(*a.Arg2)
		}
		if a.Filter != nil {
			a.Filter.Each(visit)
		}
	}
}

// each visits every column inside a PerUnit.
func (u PerUnit) each(visit func(Col)) {
	for _, e := range u.Derived {
		e.Each(visit, visit)
	}
	if u.Where != nil {
		u.Where.Each(visit)
	}
	eachOf(u.Aggs, visit)
}

// validate checks the inside of a PerUnit and the parts of the i-th table.
func (t Table) validate(c Core, i int, schemas []Schema) (err error) {
	find := func(id string) Schema {
		at := slices.IndexFunc(schemas, func(s Schema) bool { return s.Dataset == id })
		if at < 0 {
			err = fmt.Errorf("failed to find schema of a part of table %d", i)
			return Schema{}
		}
		return schemas[at]
	}
	if t.PerUnit != nil {
		base := find(t.Dataset)
		t.PerUnit.each(func(col Col) {
			if col.Table >= 0 && err == nil {
				err = base.has(col)
			}
		})
	}
	for _, id := range t.Parts {
		part := find(id)
		if err == nil && (part.Public || part.Unit == "") {
			err = errors.New("core: a part has no unit")
		}
		c.each(func(col Col) {
			if col.Table == i && err == nil {
				err = part.has(col)
			}
		})
	}
	return err
}

// has says whether col may be read from a table with these columns.
func (s Schema) has(col Col) error {
	if s.Unit != "" && col.Name == s.Unit {
		return errors.New("core: unit column used as a value")
	}
	if !slices.Contains(s.Columns, SchemaColumn{Name: col.Name, Type: col.Type}) {
		return fmt.Errorf("core: table %d has no such column of that type", col.Table)
	}
	return nil
}
