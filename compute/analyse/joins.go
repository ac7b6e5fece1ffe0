package analyse

import (
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// tableRef reads FROM: one table, or tables joined one after another.
func (d *decoder) tableRef(t object, env sources) *policies.Reason {
	if t["type"] == "JOIN" && t["sample"] == nil {
		return d.join(t, env)
	}
	at := len(d.scope.tables)
	s, r := d.source(t, at, env)
	if r != nil {
		return r
	}
	for i := range s.columns { // those of values per unit do not know their table yet
		if !s.columns[i].unit {
			s.columns[i].col.Table = at
		}
	}
	if s.where != nil && s.table.PerUnit != nil {
		where := moved(*s.where, at)
		s.where = &where
	}
	off := offset(t)
	if s.alias != "" && slices.ContainsFunc(d.scope.tables, func(o scopeTable) bool { return sameName(o.alias, s.alias) }) {
		return d.refuse("DUPLICATE_NAME", off, s.alias)
	}
	if at == 0 {
		if s.public {
			return d.refuse("PUBLIC_FACT", off, s.dataset)
		}
		s.firm = true
	}
	d.scope.tables = append(d.scope.tables, s)
	d.out.core.Tables = append(d.out.core.Tables, s.table)
	d.out.core.Where = both(d.out.core.Where, s.where)
	return nil
}

// moved is a condition on table 0 as one on table at.
func moved(p algebra.Pred, at int) algebra.Pred {
	if p.Col != nil {
		col := *p.Col
		col.Table = at
		p.Col = &col
	}
	if p.Other != nil {
		other := *p.Other
		other.Table = at
		p.Other = &other
	}
	args := p.Args
	p.Args = nil
	for _, a := range args {
		p.Args = append(p.Args, moved(a, at))
	}
	return p
}

func (d *decoder) join(t object, env sources) *policies.Reason {
	off := offset(t)
	left, right := d.obj(t, "left"), d.obj(t, "right")
	if r := d.tableRef(left, env); r != nil {
		return r
	}
	outer := false
	switch d.str(t, "join_type") {
	case "INNER":
	case "LEFT":
		outer = true
	default:
		return d.refuse("JOIN_TYPE", off)
	}
	if d.str(t, "ref_type") != "REGULAR" {
		return d.refuse("JOIN_TYPE", off)
	}
	if right["type"] == "JOIN" {
		return d.refuse("JOIN_TYPE", offset(right))
	}
	if r := d.tableRef(right, env); r != nil {
		return r
	}
	if r := d.only(t, "left", "right", "condition", "join_type", "ref_type", "using_columns"); r != nil {
		return r
	}
	at := len(d.scope.tables) - 1
	s := &d.scope.tables[at]
	a, from, b, to, r := d.joinColumns(t, at)
	if r != nil {
		return r
	}
	if from == at {
		a, from, b, to = b, to, a, from
	}
	place := offset(right)
	switch {
	case from == at || to != at:
		return d.refuse("JOIN_CONDITION", offset(t["condition"]))
	case outer && s.where != nil:
		return d.refuse("JOIN_OUTER_WHERE", place)
	case s.public && a.unit:
		return d.refuse("UNIT_COLUMN", a.off, a.name)
	case s.public && !slices.Contains(s.unique, b.col.Name):
		return d.refuse("JOIN_NOT_UNIQUE_KEY", off, s.dataset)
	case s.public && a.col.Type != b.col.Type:
		return d.refuse("JOIN_TYPES", off)
	case s.public:
		d.out.core.Joins = append(d.out.core.Joins, algebra.Join{Table: at, Outer: outer, Left: a.col, Right: b.col})
		return nil
	case !a.unit || !b.unit || len(s.table.Parts) > 0:
		return d.refuse("JOIN_NOT_PUBLIC", place, s.dataset)
	case !d.scope.tables[from].firm:
		return d.refuse("JOIN_UNIT_CHAIN", place)
	}
	s.firm = !outer
	d.out.core.Joins = append(d.out.core.Joins, algebra.Join{Table: at, Outer: outer, Unit: true})
	return nil
}

// joinColumns reads ON a = b or USING (a).
func (d *decoder) joinColumns(t object, at int) (a scopeColumn, from int, b scopeColumn, to int, r *policies.Reason) {
	off := offset(t)
	if using := d.names(t, "using_columns"); len(using) > 0 {
		if len(using) > 1 || t["condition"] != nil {
			return a, from, b, to, d.refuse("JOIN_CONDITION", off)
		}
		if a, from, r = d.lookup(using, off, 0, at); r != nil {
			return a, from, b, to, r
		}
		if b, to, r = d.lookup(using, off, at, at+1); r != nil {
			return a, from, b, to, r
		}
		a.off, b.off = off, off
		d.scope.tables[at].using = append(d.scope.tables[at].using, b.name)
		return a, from, b, to, nil
	}
	if t["condition"] == nil {
		return a, from, b, to, d.refuse("JOIN_CONDITION", off)
	}
	on := d.obj(t, "condition")
	l, _ := on["left"].(object)
	m, _ := on["right"].(object)
	if on["class"] != "COMPARISON" || on["type"] != "COMPARE_EQUAL" || l["class"] != "COLUMN_REF" || m["class"] != "COLUMN_REF" {
		return a, from, b, to, d.refuse("JOIN_CONDITION", offset(on))
	}
	for _, e := range []object{on, l, m} {
		if r = d.only(e, "left", "right", "column_names"); r != nil {
			return a, from, b, to, r
		}
	}
	if a, from, r = d.lookup(d.names(l, "column_names"), offset(l), 0, at+1); r != nil {
		return a, from, b, to, r
	}
	b, to, r = d.lookup(d.names(m, "column_names"), offset(m), 0, at+1)
	a.off, b.off = offset(l), offset(m)
	return a, from, b, to, r
}
