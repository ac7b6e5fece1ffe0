package duckdb

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// sketch is what random expressions of one SELECT may read.
type sketch struct {
	r       *rand.Rand
	columns []algebra.Col // stored ones
	derived []algebra.Expr
	gridded func(algebra.Col)
}

func (s *sketch) pick(t algebra.Type, derived bool) (algebra.Col, bool) {
	var fit []algebra.Col
	for _, c := range s.columns {
		if c.Type == t {
			fit = append(fit, c)
		}
	}
	if derived {
		for i, e := range s.derived {
			if e.Type == t {
				fit = append(fit, algebra.DerivedCol(i, t))
			}
		}
	}
	if len(fit) == 0 {
		return algebra.Col{}, false
	}
	return fit[s.r.IntN(len(fit))], true
}

func lit(v algebra.Value) algebra.Expr {
	return algebra.Expr{Op: algebra.ExprLit, Type: v.Type, Value: &v}
}

func (s *sketch) literal(t algebra.Type) algebra.Expr {
	if s.r.IntN(8) == 0 {
		return lit(algebra.Value{Type: t, Null: true})
	}
	return lit(someValue(s.r, t))
}

// expr is a random expression. Column wild, which has no bounds, is in none that
// computes: compute/protect would refuse it.
func (s *sketch) expr(t algebra.Type, depth int) algebra.Expr {
	r := s.r
	args := func(types ...algebra.Type) []algebra.Expr {
		var out []algebra.Expr
		for _, t := range types {
			out = append(out, s.expr(t, depth-1))
		}
		return out
	}
	if depth == 0 || r.IntN(5) == 0 {
		col, ok := s.pick(t, false)
		if !ok || col.Name == "wild" || r.IntN(5) == 0 {
			return s.literal(t)
		}
		return algebra.Expr{Op: algebra.ExprCol, Type: t, Col: &col}
	}
	switch r.IntN(8) {
	case 0:
		e := algebra.Expr{Op: algebra.ExprCase, Type: t}
		for range 1 + r.IntN(3) {
			e.Whens = append(e.Whens, algebra.When{If: s.pred(depth - 1), Then: s.expr(t, depth-1)})
		}
		if r.IntN(3) > 0 {
			other := s.expr(t, depth-1)
			e.Else = &other
		}
		return e
	case 1:
		return algebra.Expr{Op: algebra.ExprCoalesce, Type: t, Args: args(t, t, t)[:2+r.IntN(2)]}
	case 2:
		if col, ok := s.pick(t, false); ok && (t == typeInt || t == typeDec || t == typeDate) && col.Name != "wild" {
			s.gridded(col)
			return algebra.Expr{Op: algebra.ExprBin, Type: t, Args: []algebra.Expr{{Op: algebra.ExprCol, Type: t, Col: &col}}}
		}
	}
	switch t {
	case typeInt:
		switch r.IntN(8) {
		case 0:
			return algebra.Expr{Op: algebra.ExprAdd, Type: t, Args: args(t, t)}
		case 1:
			return algebra.Expr{Op: algebra.ExprSub, Type: t, Args: args(t, t)}
		case 2:
			return algebra.Expr{Op: algebra.ExprMul, Type: t, Args: args(t, t)}
		case 3, 4:
			op := []algebra.ExprOp{algebra.ExprDiv, algebra.ExprMod}[r.IntN(2)]
			return algebra.Expr{Op: op, Type: t, Args: append(args(t), lit(algebra.Value{Type: t, I: 1 + int64(r.IntN(7))}))}
		case 5:
			return algebra.Expr{Op: algebra.ExprAbs, Type: t, Args: args(t)}
		case 6:
			return algebra.Expr{Op: algebra.ExprPart, Type: t, Args: args(typeDate), Part: algebra.DateParts[r.IntN(5)]}
		}
		return algebra.Expr{Op: algebra.ExprSub, Type: t, Args: args(typeDate, typeDate)}
	case typeDec:
		switch r.IntN(4) {
		case 0:
			return algebra.Expr{Op: algebra.ExprScale, Type: t, Args: args(typeInt)}
		case 1:
			return algebra.Expr{Op: algebra.ExprMul, Type: t, Args: args(typeInt, t)}
		case 2:
			return algebra.Expr{Op: algebra.ExprAbs, Type: t, Args: args(t)}
		}
		return algebra.Expr{Op: algebra.ExprAdd, Type: t, Args: args(t, t)}
	case typeDate:
		if r.IntN(2) == 0 {
			op := []algebra.ExprOp{algebra.ExprAdd, algebra.ExprSub}[r.IntN(2)]
			return algebra.Expr{Op: op, Type: t, Args: args(t, typeInt)}
		}
	}
	return s.expr(t, 0)
}

func (s *sketch) pred(depth int) algebra.Pred {
	r := s.r
	if depth > 0 && r.IntN(3) == 0 {
		p := algebra.Pred{Op: []algebra.PredOp{algebra.OpAnd, algebra.OpOr, algebra.OpNot}[r.IntN(3)]}
		p.Args = append(p.Args, s.pred(depth-1))
		if p.Op != algebra.OpNot {
			p.Args = append(p.Args, s.pred(depth-1))
		}
		return p
	}
	t := []algebra.Type{typeInt, typeDec, typeDate, typeText, typeBool}[r.IntN(5)]
	col, ok := s.pick(t, true)
	if !ok || r.IntN(25) == 0 {
		return algebra.Pred{Op: algebra.OpConst, Values: []algebra.Value{{Type: typeBool, I: int64(r.IntN(2))}}}
	}
	switch r.IntN(6) {
	case 0:
		return algebra.Pred{Op: algebra.OpIsNull, Col: &col}
	case 1:
		p := algebra.Pred{Op: algebra.OpIn, Col: &col}
		for range 1 + r.IntN(4) {
			p.Values = append(p.Values, someValue(r, t))
		}
		return p
	}
	p := algebra.Pred{Op: []algebra.PredOp{algebra.OpEq, algebra.OpNe, algebra.OpLt, algebra.OpLe, algebra.OpGt, algebra.OpGe}[r.IntN(6)], Col: &col}
	if other, ok := s.pick(t, true); ok && r.IntN(4) == 0 {
		p.Other = &other
		return p
	}
	p.Values = []algebra.Value{someValue(r, t)}
	if col.Name == "wild" && r.IntN(2) == 0 {
		p.Values[0].I = math.MinInt64
	}
	return p
}

func (s *sketch) derive(n int) {
	for range n {
		t := []algebra.Type{typeInt, typeDec, typeDate, typeText, typeBool}[s.r.IntN(5)]
		e := s.expr(t, 3)
		for e.Op == algebra.ExprLit || e.Op == algebra.ExprCol {
			e = s.expr(t, 3)
		}
		// A canonical core defines nothing twice.
		if !slices.ContainsFunc(s.derived, func(d algebra.Expr) bool { return reflect.DeepEqual(d, e) }) {
			s.derived = append(s.derived, e)
		}
	}
}

// randomPlan draws a plan of any shape the algebra and the engine's contract allow.
// Prices are left out: they do not reach the engine.
func (w *world) randomPlan(r *rand.Rand) *protect.Plan {
	for {
		if p := w.tryPlan(r); p != nil && p.Core.Validate(w.schemas) == nil {
			for i, id := range p.Core.Datasets() {
				if w.schema(id).Consent {
					p.Consents = append(p.Consents, make([]bool, len(p.Core.Datasets())-len(p.Consents))...)
					p.Consents[i] = true
				}
			}
			if p.Consents != nil && p.Mode != protect.ModeDP {
				continue
			}
			return p
		}
	}
}

func (w *world) schema(id string) algebra.Schema {
	return w.schemas[slices.IndexFunc(w.schemas, func(s algebra.Schema) bool { return s.Dataset == id })]
}

func columnsOf(s algebra.Schema, table int) []algebra.Col {
	var out []algebra.Col
	for _, c := range s.Columns {
		out = append(out, algebra.Col{Table: table, Name: c.Name, Type: c.Type})
	}
	return out
}

func (w *world) perUnit(r *rand.Rand, id string, grid func(string, string)) algebra.Table {
	s := &sketch{r: r, columns: columnsOf(w.schema(id), 0)}
	s.gridded = func(c algebra.Col) { grid(id, c.Name) }
	s.derive(r.IntN(2))
	u := &algebra.PerUnit{Derived: s.derived}
	if r.IntN(2) == 0 {
		p := s.pred(2)
		u.Where = &p
	}
	for range 1 + r.IntN(3) {
		a := algebra.Agg{Func: []algebra.Func{algebra.CountRows, algebra.CountCol, algebra.Sum, algebra.Min, algebra.Max}[r.IntN(5)]}
		if a.Func != algebra.CountRows {
			t := []algebra.Type{typeInt, typeDec, typeDate}[r.IntN(3)]
			if a.Func == algebra.Sum {
				t = []algebra.Type{typeInt, typeDec}[r.IntN(2)]
			}
			c, ok := s.pick(t, true)
			if !ok || c.Name == "wild" {
				continue
			}
			a.Arg = &c
		}
		u.Aggs = append(u.Aggs, a)
	}
	if u.Aggs == nil {
		u.Aggs = []algebra.Agg{{Func: algebra.CountRows}}
	}
	return algebra.Table{Dataset: id, PerUnit: u}
}

func (w *world) tryPlan(r *rand.Rand) *protect.Plan {
	p := &protect.Plan{Mode: protect.ModeDP, MaxRows: 1 + int64(r.IntN(4)), MaxCells: 2000}
	core := &p.Core
	type gridKey struct{ dataset, column string }
	var grids []gridKey
	grid := func(id, column string) { grids = append(grids, gridKey{id, column}) }

	weighted := false
	switch r.IntN(6) {
	case 0:
		core.Tables = []algebra.Table{w.perUnit(r, "visits", grid)}
		p.OneRow = true
	case 1:
		core.Tables = []algebra.Table{{Dataset: "visits", Parts: []string{"visits2"}}}
		weighted = r.IntN(2) == 0
	case 2:
		core.Tables = []algebra.Table{{Dataset: "people"}}
		p.OneRow = true
	default:
		core.Tables = []algebra.Table{{Dataset: "visits"}}
		weighted = r.IntN(4) == 0
	}
	if p.OneRow {
		p.MaxRows = 1
	}
	join := func(t algebra.Table, j algebra.Join) {
		j.Table, j.Outer = len(core.Tables), r.IntN(2) == 0
		if !j.Unit {
			j.Right.Table = j.Table
		}
		core.Tables, core.Joins = append(core.Tables, t), append(core.Joins, j)
	}
	if fact := core.Tables[0]; fact.PerUnit == nil && r.IntN(2) == 0 {
		left := algebra.Col{Name: "code", Type: typeText}
		join(algebra.Table{Dataset: "area"}, algebra.Join{Left: left, Right: left})
		if r.IntN(2) == 0 {
			level := algebra.Col{Name: "level", Type: typeInt}
			at := level
			at.Table = 1
			join(algebra.Table{Dataset: "grade"}, algebra.Join{Left: at, Right: level})
		}
	}
	switch r.IntN(6) {
	case 0:
		join(algebra.Table{Dataset: "people"}, algebra.Join{Unit: true})
	case 1:
		join(w.perUnit(r, "visits2", grid), algebra.Join{Unit: true})
	case 2:
		if !weighted {
			join(w.perUnit(r, "visits", grid), algebra.Join{Unit: true})
		}
	}
	if slices.ContainsFunc(core.Tables[1:], func(t algebra.Table) bool { return slices.Contains(core.Tables[0].Parts, t.Dataset) }) {
		weighted = false
	}

	s := &sketch{r: r}
	s.gridded = func(c algebra.Col) {
		if t := core.Tables[c.Table]; t.PerUnit == nil {
			grid(t.Dataset, c.Name)
		}
	}
	for i := range core.Tables {
		view, err := core.View(i, w.schemas)
		if err != nil {
			panic(err)
		}
		s.columns = append(s.columns, columnsOf(view, i)...)
	}
	s.derive(r.IntN(4))
	core.Derived = s.derived
	if usesPerUnitBin(core) {
		return nil
	}
	if r.IntN(2) == 0 {
		where := s.pred(3)
		core.Where = &where
	}
	w.keys(p, s)
	core.Aggs = []algebra.Agg{{Func: algebra.CountRows}}
	for range 1 + r.IntN(5) {
		p.Measures = append(p.Measures, s.measure(p))
	}

	datasets := core.Datasets()
	for _, id := range datasets {
		rank := p.MaxRows
		if w.schema(id).Public || id == "people" {
			rank = 0
		} else if len(core.Tables[0].Parts) > 0 || core.Tables[0].PerUnit != nil || id != datasets[0] {
			rank = 1 + int64(r.IntN(4))
		}
		p.Ranks = append(p.Ranks, rank)
	}
	if weighted {
		p.Weight = 1 + int64(r.IntN(1000))
		p.Ranks[0] = 0
		if len(core.Tables[0].Parts) > 0 {
			p.Ranks[1] = 0
		}
	}
	for _, g := range grids {
		at := slices.Index(datasets, g.dataset)
		if at < 0 || slices.ContainsFunc(p.Grids, func(o protect.Grid) bool { return o.Dataset == at && o.Column == g.column }) {
			continue
		}
		edges := []int64{int64(r.IntN(4)) - 3}
		for range 1 + r.IntN(4) {
			edges = append(edges, edges[len(edges)-1]+1+int64(r.IntN(200))/(1+int64(r.IntN(60))))
		}
		p.Grids = append(p.Grids, protect.Grid{Dataset: at, Column: g.column, Edges: edges})
	}
	return p
}

// usesPerUnitBin: only a data set's own columns have grids.
func usesPerUnitBin(core *algebra.Core) bool {
	var in func(e algebra.Expr) bool
	in = func(e algebra.Expr) bool {
		if e.Op == algebra.ExprBin && core.Tables[e.Args[0].Col.Table].PerUnit != nil {
			return true
		}
		return slices.ContainsFunc(e.Args, in) || e.Else != nil && in(*e.Else) ||
			slices.ContainsFunc(e.Whens, func(w algebra.When) bool { return in(w.Then) })
	}
	return slices.ContainsFunc(core.Derived, in)
}

func (w *world) keys(p *protect.Plan, s *sketch) {
	r := s.r
	for range r.IntN(4) {
		t := []algebra.Type{typeInt, typeDec, typeDate, typeText, typeBool}[r.IntN(5)]
		c, ok := s.pick(t, true)
		if !ok || slices.Contains(p.Core.Keys, c) {
			continue
		}
		k := protect.Key{Col: c}
		if r.IntN(2) == 0 {
			k.Nullable, k.Codes = r.IntN(2) == 0, []algebra.Value{}
			for range r.IntN(6) {
				k.Codes = append(k.Codes, someValue(r, t))
			}
			slices.SortFunc(k.Codes, protect.CompareValues)
			k.Codes = slices.Compact(k.Codes)
			if len(k.Codes) == 0 {
				k.Nullable = true
			}
		}
		p.Core.Keys, p.Keys = append(p.Core.Keys, c), append(p.Keys, k)
	}
}

func (s *sketch) measure(p *protect.Plan) protect.Measure {
	r := s.r
	m := protect.Measure{Kind: []protect.MeasureKind{protect.MeasureRows, protect.MeasureNonNull, protect.MeasureSum, protect.MeasureSum, protect.MeasureUnits,
		protect.MeasureFirst, protect.MeasureProduct, protect.MeasureProduct, protect.MeasureBin}[r.IntN(9)]}
	if fact := p.Core.Tables[0]; m.Kind == protect.MeasureFirst && (fact.PerUnit != nil || len(fact.Parts) > 0) {
		m.Kind = protect.MeasureRows
	}
	if r.IntN(3) == 0 {
		filter := s.pred(2)
		m.Filter = &filter
	}
	number := func() *algebra.Col {
		for range 20 {
			if c, ok := s.pick([]algebra.Type{typeInt, typeDec}[r.IntN(2)], true); ok && c.Name != "wild" {
				return &c
			}
		}
		return nil
	}
	clamp := func() *protect.Range {
		lo := int64(r.IntN(8)) - 4
		return &protect.Range{Lo: lo, Hi: lo + int64(r.IntN(9))}
	}
	switch m.Kind {
	case protect.MeasureNonNull, protect.MeasureSum:
		m.Col = number()
		if m.Kind == protect.MeasureSum {
			m.Offset = []int64{0, 3, -7, math.MaxInt64}[r.IntN(4)]
			if r.IntN(2) == 0 {
				m.Clamp = clamp()
			}
		}
		if r.IntN(3) == 0 {
			m.Col2 = number()
			m.Both = m.Col2 != nil
		}
	case protect.MeasureProduct:
		m.Col, m.Col2 = number(), number()
		m.Offset, m.Offset2 = int64(r.IntN(9))-4, int64(r.IntN(9))-4
		m.Clamp, m.Clamp2 = clamp(), clamp()
		if r.IntN(3) == 0 {
			m.Clamp = &protect.Range{Lo: -1 << 33, Hi: 1 << 40} // past 64 bits
			m.Clamp2 = &protect.Range{Lo: -1 << 33, Hi: 1 << 30}
		}
		m.Both = m.Col2 != nil && r.IntN(2) == 0
	case protect.MeasureBin:
		if m.Col = number(); r.IntN(3) == 0 {
			if c, ok := s.pick(typeDate, true); ok {
				m.Col = &c
			}
		}
		lo := int64(r.IntN(9)) - 4
		m.Bin, m.LastBin = &protect.Range{Lo: lo, Hi: lo + int64(r.IntN(300))/20}, r.IntN(2) == 0
	default:
		return m
	}
	if m.Col == nil || m.Kind == protect.MeasureProduct && m.Col2 == nil {
		return protect.Measure{Kind: protect.MeasureRows, Filter: m.Filter}
	}
	return m
}
