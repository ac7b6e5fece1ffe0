package protect

import (
	"cmp"
	"math"
	"math/big"
	"slices"
	"unicode/utf8"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

// Caps on what one query may group by and how far one unit may reach.
const (
	// MaxPublicCells caps the product of the code lists of a query's keys.
	MaxPublicCells = 10_000
	// MaxPrivateCells caps the keys past the pre-threshold that a worker may
	// return. It is a memory limit far above real tables: passing it is a
	// failure after data was read, so it costs the whole price.
	MaxPrivateCells = 1 << 20
	// maxTouched caps m for private keys, the range of the τ table.
	maxTouched = 1 << 20
)

// Build turns core into a protected plan, or says why it may not run. facts is
// parallel to core.Tables; price is the ρ to spend, which exact mode ignores
// because it charges no ρ. Build is pure and reads no data, so the ledger's
// auditor gets the same plan from the same entry.
//
// In dp mode the plan satisfies Σ Rho ≤ price, and δ = 1/InverseDelta when it has
// private keys, for adding or removing all rows of one privacy unit.
func Build(core algebra.Core, facts []Facts, price budget.Nano) (*Plan, *policies.Reason) {
	b := &builder{core: core, facts: facts}
	for _, step := range []func() *policies.Reason{b.tables, b.columns, b.keys, b.outputs} {
		if r := step(); r != nil {
			return nil, r
		}
	}
	if b.plan.Mode == ModeExact {
		if r := exactSupported(core, facts[0]); r != nil {
			return nil, r
		}
		b.addUnits()
		b.lists()
		for i := range b.plan.Measures {
			b.plan.Measures[i].Sens2, b.plan.Measures[i].Sigma2 = new(big.Int), new(big.Int)
		}
		return &b.plan, nil
	}
	if r := b.prices(price); r != nil {
		return nil, r
	}
	return &b.plan, nil
}

type builder struct {
	core     algebra.Core
	facts    []Facts
	nullable []bool // per table: an outer join may leave its columns NULL
	private  bool   // at least one private key
	plan     Plan
}

// tables checks the join graph: one private fact table, every other table public
// and met on a column of which each value stands in one row only, so that a unit
// contributes as many rows after the joins as before.
func (b *builder) tables() *policies.Reason {
	if len(b.core.Tables) == 0 || len(b.core.Tables) != len(b.facts) {
		return invalidCore("表与规则不对应", "tables and facts do not correspond")
	}
	for i, t := range b.core.Tables {
		if t.Dataset != b.facts[i].Dataset {
			return invalidCore("表与规则不对应", "tables and facts do not correspond")
		}
	}
	fact := b.facts[0]
	b.plan = Plan{Core: b.core, Mode: fact.Mode, MaxRows: fact.MaxRows, OneRow: fact.OneRow}
	if fact.Public {
		return factPublic(fact)
	}
	switch fact.Mode {
	case ModeDP:
		if fact.OneRow {
			b.plan.MaxRows = 1
		}
		if b.plan.MaxRows < 1 {
			return incomplete(fact, "max_rows")
		}
		if fact.QueryMaxRho < 1 {
			return incomplete(fact, "query_max")
		}
	case ModeExact:
		// No contribution bound: exact answers are protected by thresholds, and
		// dropping rows would only make them wrong.
		b.plan.MaxRows = math.MaxInt64
		if fact.K < 2 {
			return incomplete(fact, "k")
		}
		if fact.Round < 2 {
			return incomplete(fact, "round")
		}
		if !fact.OneRow {
			// A unit with several rows can be in two cells with different ones: sets of
			// units would not tell their difference.
			return incomplete(fact, "one_row_per_unit")
		}
		rules := fact.Exact
		rules.K, rules.Round, rules.Lists = fact.K, fact.Round, nil
		b.plan.Exact = &rules
	default:
		return incomplete(fact, "mode")
	}
	b.nullable = make([]bool, len(b.facts))
	if len(b.core.Joins) != len(b.core.Tables)-1 {
		return invalidCore("每张维表恰好连接一次", "every dimension table must be joined exactly once")
	}
	for i, j := range b.core.Joins {
		t := i + 1
		if j.Table != t || j.Right.Table != t || j.Left.Table < 0 || j.Left.Table >= t {
			return invalidCore("每张维表恰好连接一次", "every dimension table must be joined exactly once")
		}
		dim := b.facts[t]
		switch {
		case !dim.Public && dim.Mode != fact.Mode:
			return modeMixed(fact, dim)
		case !dim.Public:
			return privateJoin(dim)
		case !slices.Contains(dim.Unique, j.Right.Name):
			return joinNotUnique(dim, j.Right.Name)
		case j.Left.Type != j.Right.Type:
			return invalidCore("连接两侧类型不同", "the two sides of a join differ in type")
		}
		b.nullable[t] = j.Outer
	}
	return nil
}

// columns refuses any column the facts do not know, wherever it stands.
func (b *builder) columns() *policies.Reason {
	cols := slices.Clone(b.core.Keys)
	for _, j := range b.core.Joins {
		cols = append(cols, j.Left, j.Right)
	}
	for _, a := range b.core.Aggs {
		if a.Arg != nil {
			cols = append(cols, *a.Arg)
		}
	}
	if b.core.Where != nil {
		cols = predColumns(cols, *b.core.Where)
	}
	for _, c := range cols {
		if c.Table < 0 || c.Table >= len(b.facts) {
			return invalidCore("列所在的表不存在", "a column names a table that is not there")
		}
		if f, ok := b.facts[c.Table].Columns[c.Name]; !ok || f.Type != c.Type {
			return unknownColumn(b.facts[c.Table], c.Name)
		}
	}
	return nil
}

func predColumns(cols []algebra.Col, p algebra.Pred) []algebra.Col {
	for _, c := range []*algebra.Col{p.Col, p.Other} {
		if c != nil {
			cols = append(cols, *c)
		}
	}
	for _, a := range p.Args {
		cols = predColumns(cols, a)
	}
	return cols
}

func (b *builder) column(c algebra.Col) (Facts, ColumnFacts) {
	f := b.facts[c.Table]
	return f, f.Columns[c.Name]
}

func (b *builder) keys() *policies.Reason {
	cells := 1
	for i, c := range b.core.Keys {
		f, cf := b.column(c)
		if slices.Contains(b.core.Keys[:i], c) {
			return invalidCore("分组键重复", "a grouping key stands twice")
		}
		codes := slices.Clone(cf.Codes)
		if c.Type.Kind == algebra.Bool && len(codes) == 0 {
			// The domain of a truth value is public by its type.
			codes = []algebra.Value{{Type: c.Type}, {Type: c.Type, I: 1}}
		}
		k := Key{Col: c}
		switch {
		case cf.Private:
			b.private = true
		case len(codes) > 0:
			slices.SortFunc(codes, CompareValues)
			for j, v := range codes {
				if v.Type != c.Type || v.Null || v.Redacted || !utf8.ValidString(v.S) || j > 0 && CompareValues(codes[j-1], v) == 0 {
					return badCodes(f, c.Name)
				}
			}
			k.Codes, k.Nullable = codes, cf.Nullable || b.nullable[c.Table]
			n := len(codes)
			if k.Nullable {
				n++
			}
			if n > MaxPublicCells/cells {
				return tooManyCells(f, c.Name)
			}
			cells *= n
		default:
			return keyNotPublic(f, c.Name)
		}
		b.plan.Keys = append(b.plan.Keys, k)
	}
	b.plan.MaxCells = cells
	if b.private {
		b.plan.MaxCells = MaxPrivateCells
		if b.facts[0].K < 1 {
			return incomplete(b.facts[0], "k")
		}
		if b.plan.Mode == ModeDP && b.plan.MaxRows > maxTouched {
			return incomplete(b.facts[0], "max_rows")
		}
	}
	return nil
}

// outputs chooses the measures: each exact partial once, however many
// aggregates read it, because every further measure makes all others noisier.
func (b *builder) outputs() *policies.Reason {
	if len(b.core.Aggs) == 0 {
		return noAggregate()
	}
	for _, a := range b.core.Aggs {
		o := Output{Func: a.Func}
		switch a.Func {
		case algebra.CountRows, algebra.CountUnits:
			if a.Arg != nil {
				return invalidCore("COUNT(*) 不带列", "this count takes no column")
			}
			if a.Func == algebra.CountRows {
				o.A = b.addRows()
			} else {
				o.A = b.addUnits()
			}
		case algebra.CountCol, algebra.Sum, algebra.Avg:
			if a.Arg == nil {
				return invalidCore("聚合缺少列", "an aggregate lacks its column")
			}
			if r := b.columnOutput(a, &o); r != nil {
				return r
			}
		default:
			return invalidCore("聚合函数未知", "unknown aggregate function")
		}
		b.plan.Outputs = append(b.plan.Outputs, o)
	}
	return nil
}

func (b *builder) columnOutput(a algebra.Agg, o *Output) *policies.Reason {
	f, cf := b.column(*a.Arg)
	if a.Func == algebra.CountCol {
		o.A = b.addNonNull(*a.Arg)
		return nil
	}
	if k := a.Arg.Type.Kind; k != algebra.Int && k != algebra.Decimal {
		return measureType(f, a.Arg.Name)
	}
	if cf.Bounds == nil {
		return noBounds(f, a.Arg.Name)
	}
	if cf.Bounds.Lo > cf.Bounds.Hi {
		return badBounds(f, a.Arg.Name)
	}
	o.Range, o.Scale = *cf.Bounds, a.Arg.Type.Scale
	if a.Func == algebra.Avg {
		o.Offset = midpoint(o.Range)
	}
	m := Measure{Kind: MeasureSum, Offset: o.Offset, Sens2: b.sumSens2(o.Range, o.Offset)}
	if s := cf.Stored; s == nil || s.Lo < o.Range.Lo || s.Hi > o.Range.Hi {
		clamp := o.Range
		m.Clamp = &clamp
	}
	o.A = b.add(m, a.Arg)
	if a.Func == algebra.Avg {
		o.B = b.addNonNull(*a.Arg)
	} else if b.plan.Mode == ModeExact {
		b.addNonNull(*a.Arg) // the threshold counts units that have a value
	}
	return nil
}

func (b *builder) addRows() int {
	return b.add(Measure{Kind: MeasureRows, Sens2: b.square(1)}, nil)
}

// addNonNull counts the rows where c has a value: all of them when it cannot be
// NULL, and then the row count serves. Exact mode needs both, to tell how many
// units have a value.
func (b *builder) addNonNull(c algebra.Col) int {
	if _, cf := b.column(c); !cf.Nullable && !b.nullable[c.Table] {
		return b.addRows()
	}
	if b.plan.Mode == ModeExact {
		b.addRows()
	}
	return b.add(Measure{Kind: MeasureNonNull, Sens2: b.square(1)}, &c)
}

// addUnits counts distinct units. A unit counts once per cell and reaches at
// most min(m, cells) of them, so that is Δ₂².
func (b *builder) addUnits() int {
	touched := b.plan.MaxRows
	if !b.private {
		touched = min(touched, int64(b.plan.MaxCells))
	}
	return b.add(Measure{Kind: MeasureUnits, Sens2: big.NewInt(touched)}, nil)
}

func (b *builder) add(m Measure, c *algebra.Col) int {
	if c != nil {
		col := *c
		m.Col = &col
	}
	for i, have := range b.plan.Measures {
		if have.Kind == m.Kind && have.Offset == m.Offset && (have.Col == nil) == (c == nil) && (c == nil || *have.Col == *c) {
			return i
		}
	}
	m.Sigma2 = new(big.Int)
	b.plan.Measures = append(b.plan.Measures, m)
	return len(b.plan.Measures) - 1
}

// square returns (m·v)²: all m rows of a unit may fall into one cell.
func (b *builder) square(v int64) *big.Int {
	d := new(big.Int).Mul(big.NewInt(b.plan.MaxRows), big.NewInt(v))
	return d.Mul(d, d)
}

// sumSens2 is (m·max(|L−off|, |U−off|))², at least that of one minimal unit per
// row: a constant column must not bring the noise down to zero.
func (b *builder) sumSens2(r Range, off int64) *big.Int {
	o, d := big.NewInt(off), big.NewInt(1)
	for _, v := range []int64{r.Lo, r.Hi} {
		x := new(big.Int).Sub(big.NewInt(v), o)
		if x.Abs(x).Cmp(d) > 0 {
			d = x
		}
	}
	d.Mul(d, big.NewInt(b.plan.MaxRows))
	return d.Mul(d, d)
}

// midpoint is ⌊(L+U)/2⌋ without overflow.
func midpoint(r Range) int64 {
	return r.Lo + int64((uint64(r.Hi)-uint64(r.Lo))/2)
}

// prices splits price evenly over the measures that outputs read and, with
// private keys, the selection; sets every σ² to the least integer its share
// affords; and books the price that σ² really has, which is never above the
// share.
func (b *builder) prices(price budget.Nano) *policies.Reason {
	f := b.facts[0]
	if price < 1 {
		return priceNotPositive(f)
	}
	if price > f.QueryMaxRho {
		return priceTooHigh(f, price)
	}
	var parts []int
	read := make([]bool, len(b.plan.Measures))
	for _, o := range b.plan.Outputs {
		read[o.A] = true
		if o.Func == algebra.Avg {
			read[o.B] = true
		}
	}
	for i := range b.plan.Measures {
		if read[i] {
			parts = append(parts, i)
		}
	}
	n := len(parts)
	if b.private {
		n++
	}
	if price < budget.Nano(n) {
		return priceTooLow(f, n)
	}
	shares := split(price, n)
	for i, p := range parts {
		m := &b.plan.Measures[p]
		m.Sigma2 = sigma2For(m.Sens2, shares[i])
		m.Rho = rhoFor(m.Sens2, m.Sigma2)
		b.plan.Rho += m.Rho
	}
	if b.private {
		s := &Selection{K: f.K, Measure: b.addUnits()}
		s.Sens2 = new(big.Int).Set(b.plan.Measures[s.Measure].Sens2)
		s.Sigma2 = sigma2For(s.Sens2, shares[n-1])
		s.Rho = rhoFor(s.Sens2, s.Sigma2)
		s.Tau = tau(s.Sigma2, b.plan.MaxRows)
		b.plan.Selection = s
		b.plan.Rho += s.Rho
	}
	return nil
}

// CompareValues is the canonical order of key values of one type: by number or
// by bytes, NULL last. It returns −1, 0 or 1.
func CompareValues(a, b algebra.Value) int {
	switch {
	case a.Null || b.Null:
		return boolInt(a.Null) - boolInt(b.Null)
	case a.Type.Kind == algebra.Text:
		return cmp.Compare(a.S, b.S)
	}
	return cmp.Compare(a.I, b.I)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
