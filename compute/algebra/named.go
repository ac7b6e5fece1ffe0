package algebra

// Named returns a copy of c in which every column of a data set has the name that
// name gives it. Columns of a pre-aggregation per unit and derived columns keep their
// numbers; what they are made of is renamed.
func (c Core) Named(name func(t Table, column string) string) Core {
	tables := c.Tables
	c = c.renamed(func(col Col) Col {
		if col.Table >= 0 && col.Table < len(tables) && tables[col.Table].PerUnit == nil {
			col.Name = name(tables[col.Table], col.Name)
		}
		return col
	})
	c.Tables = nil
	for _, t := range tables {
		if u := t.PerUnit; u != nil {
			inside := Core{Derived: u.Derived, Where: u.Where, Aggs: u.Aggs}.renamed(func(col Col) Col {
				if col.Table == 0 {
					col.Name = name(t, col.Name)
				}
				return col
			})
			t.PerUnit = &PerUnit{Derived: inside.Derived, Where: inside.Where, Aggs: inside.Aggs}
		}
		c.Tables = append(c.Tables, t)
	}
	return c
}
