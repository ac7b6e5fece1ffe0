package protect

import (
	"encoding/json"
	"math/big"
	"strconv"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// filter is the FILTER of one aggregate. Its id says when two filters may be taken
// for one and the same: filters with literals never are, because on a redacted core
// different ones look alike, and the price must come out the same there.
type filter struct {
	pred *algebra.Pred
	id   string
}

func filterOf(i int, p *algebra.Pred) filter {
	if p == nil {
		return filter{}
	}
	f := filter{pred: p, id: "#" + strconv.Itoa(i)}
	if !hasLiteral(*p) {
		b, err := json.Marshal(p)
		if err == nil {
			f.id = string(b)
		}
	}
	return f
}

func hasLiteral(p algebra.Pred) bool {
	if p.Op != algebra.OpConst && len(p.Values) > 0 {
		return true
	}
	for _, a := range p.Args {
		if hasLiteral(a) {
			return true
		}
	}
	return false
}

// with is f and the condition that c has a value.
func (f filter) with(c algebra.Col) filter {
	has := algebra.Pred{Op: algebra.OpNot, Args: []algebra.Pred{{Op: algebra.OpIsNull, Col: &c}}}
	if f.pred == nil {
		return filter{&has, "+" + colID(&c)}
	}
	return filter{&algebra.Pred{Op: algebra.OpAnd, Args: []algebra.Pred{*f.pred, has}}, f.id + "+" + colID(&c)}
}

func colID(c *algebra.Col) string {
	if c == nil {
		return ""
	}
	return strconv.Itoa(c.Table) + "." + strconv.Quote(c.Name)
}

func known(f algebra.Func) bool {
	switch f {
	case algebra.CountRows, algebra.CountCol, algebra.CountUnits, algebra.Sum, algebra.Avg, algebra.VarSamp, algebra.VarPop,
		algebra.StddevSamp, algebra.StddevPop, algebra.CovarSamp, algebra.CovarPop, algebra.Corr, algebra.RegrSlope,
		algebra.RegrIntercept, algebra.RegrR2, algebra.RegrCount, algebra.Quantile, algebra.Min, algebra.Max:
		return true
	}
	return false
}

// outputs chooses the measures: each exact partial once, however many
// aggregates read it, because every further measure makes all others noisier.
func (b *builder) outputs() *policies.Reason {
	if len(b.core.Aggs) == 0 {
		return noAggregate()
	}
	counted, r := b.counted()
	if r != nil {
		return r
	}
	for i, a := range b.core.Aggs {
		f := filterOf(i, a.Filter)
		o := Output{Func: a.Func}
		two := false
		switch a.Func {
		case algebra.CovarSamp, algebra.CovarPop, algebra.Corr, algebra.RegrSlope, algebra.RegrIntercept, algebra.RegrR2, algebra.RegrCount:
			two = true
		}
		if two != (a.Arg2 != nil) || a.Q != 0 && a.Func != algebra.Quantile || a.Q < 0 || a.Q > 1_000_000 {
			return invalidCore("聚合的参数不合规", "an aggregate has wrong arguments")
		}
		switch {
		case a.Func == algebra.CountRows || a.Func == algebra.CountUnits:
			if a.Arg != nil {
				return invalidCore("COUNT(*) 不带列", "this count takes no column")
			}
			if a.Func == algebra.CountUnits && (!b.plan.OneRow || b.plan.Mode == ModeExact) {
				o.A = b.addUnits(f)
			} else {
				o.A = b.addRows(f)
			}
		case !known(a.Func):
			return invalidCore("聚合函数未知", "unknown aggregate function")
		case a.Arg == nil:
			return invalidCore("聚合缺少列", "an aggregate lacks its column")
		case a.Func == algebra.Quantile || a.Func == algebra.Min || a.Func == algebra.Max:
			r = b.binOutput(a, f, &o)
		case two:
			r = b.pairOutput(a, f, &o)
		default:
			r = b.columnOutput(a, f, &o, counted)
		}
		if r != nil {
			return r
		}
		b.plan.Outputs = append(b.plan.Outputs, o)
	}
	if !b.private && b.plan.MaxCells*len(b.plan.Measures) > maxDraws {
		return tooManyDraws(b.facts[0])
	}
	return nil
}

// group names the values of one column under one filter.
func group(c algebra.Col, f filter) string { return colID(&c) + "|" + f.id }

// counted says for which columns an output reads the number of values anyway: a SUM
// of them is then the centred sum plus Offset times that number, which costs less
// than a sum of its own.
func (b *builder) counted() (map[string]bool, *policies.Reason) {
	out := map[string]bool{}
	if b.plan.Mode == ModeExact {
		return out, nil
	}
	rows := map[string]bool{}
	for i, a := range b.core.Aggs {
		f := filterOf(i, a.Filter)
		switch a.Func {
		case algebra.CountRows:
			rows[f.id] = true
		case algebra.CountCol, algebra.Avg, algebra.VarSamp, algebra.VarPop, algebra.StddevSamp, algebra.StddevPop:
			if a.Arg != nil {
				out[group(*a.Arg, f)] = true
			}
		}
	}
	for i, a := range b.core.Aggs {
		f := filterOf(i, a.Filter)
		if a.Func != algebra.Sum || a.Arg == nil || !rows[f.id] {
			continue
		}
		x, r := b.scope.column(*a.Arg)
		if r != nil {
			return nil, r
		}
		if !x.nullable {
			out[group(*a.Arg, f)] = true
		}
	}
	return out, nil
}

// number resolves the numeric argument of an aggregate with its clamp.
func (b *builder) number(c algebra.Col) (scalar, *Range, *policies.Reason) {
	x, r := b.scope.column(c)
	switch {
	case r != nil:
		return x, nil, r
	case c.Type.Kind != algebra.Int && c.Type.Kind != algebra.Decimal:
		return x, nil, measureType(x.owner, x.name)
	case x.bounds == nil:
		return x, nil, noBounds(x.owner, x.name)
	case x.bounds.Lo > x.bounds.Hi:
		return x, nil, badBounds(x.owner, x.name)
	}
	var clamp *Range
	if s := x.stored; s == nil || s.Lo < x.bounds.Lo || s.Hi > x.bounds.Hi {
		clamp = &Range{x.bounds.Lo, x.bounds.Hi}
	}
	return x, clamp, nil
}

func (b *builder) columnOutput(a algebra.Agg, f filter, o *Output, counted map[string]bool) *policies.Reason {
	if a.Func == algebra.CountCol {
		x, r := b.scope.column(*a.Arg)
		if r == nil {
			o.A = b.addNonNull(*a.Arg, x, f)
		}
		return r
	}
	x, clamp, r := b.number(*a.Arg)
	if r != nil {
		return r
	}
	o.Range, o.Scale = *x.bounds, a.Arg.Type.Scale
	if a.Func != algebra.Sum || counted[group(*a.Arg, f)] {
		o.Offset = midpoint(o.Range)
	}
	o.A = b.addSum(*a.Arg, nil, clamp, o.Range, o.Offset, f)
	switch a.Func {
	case algebra.Sum:
		if o.Offset != 0 {
			o.B = b.addNonNull(*a.Arg, x, f)
		} else if b.plan.Mode == ModeExact {
			b.addNonNull(*a.Arg, x, f) // the threshold counts units that have a value
		}
	case algebra.Avg:
		o.B = b.addNonNull(*a.Arg, x, f)
	default:
		n := b.addNonNull(*a.Arg, x, f)
		sq, r := b.addSquare(*a.Arg, x, clamp, o.Range, o.Offset, f, n)
		if r != nil {
			return r
		}
		o.In = []int{n, o.A, sq}
		o.A = n
	}
	return nil
}

// pairOutput is a two-column moment of y = Arg and x = Arg2, over rows where
// neither is NULL.
func (b *builder) pairOutput(a algebra.Agg, f filter, o *Output) *policies.Reason {
	y, yClamp, r := b.number(*a.Arg)
	if r != nil {
		return r
	}
	x, xClamp, r := b.number(*a.Arg2)
	if r != nil {
		return r
	}
	same := *a.Arg == *a.Arg2
	o.Range, o.Scale, o.Offset = *y.bounds, a.Arg.Type.Scale, midpoint(*y.bounds)
	o.Range2, o.Scale2, o.Offset2 = *x.bounds, a.Arg2.Type.Scale, midpoint(*x.bounds)
	// Only a column that can be NULL restricts the rows of the other's sums.
	other := func(c algebra.Col, s scalar) *algebra.Col {
		if s.nullable && !same {
			return &c
		}
		return nil
	}
	var n int
	if y.nullable && other(*a.Arg2, x) != nil {
		n = b.add(Measure{Kind: MeasureNonNull, Col: a.Arg, Col2: a.Arg2, Both: true, Sens2: b.square(big.NewInt(1))}, f)
	} else if y.nullable {
		n = b.addNonNull(*a.Arg, y, f)
	} else {
		n = b.addNonNull(*a.Arg2, x, f)
	}
	o.A = n
	if a.Func == algebra.RegrCount {
		return nil
	}
	in := []int{n, -1, -1, -1, -1, -1}
	in[1] = b.addSum(*a.Arg, other(*a.Arg2, x), yClamp, o.Range, o.Offset, f)
	in[2] = b.addSum(*a.Arg2, other(*a.Arg, y), xClamp, o.Range2, o.Offset2, f)
	square := func(c algebra.Col, s scalar, clamp *Range, rg Range, off int64, with *algebra.Col) (int, *policies.Reason) {
		g := f
		if with != nil {
			g = f.with(*with)
		}
		return b.addSquare(c, s, clamp, rg, off, g, n)
	}
	if a.Func == algebra.Corr || a.Func == algebra.RegrR2 {
		if in[3], r = square(*a.Arg, y, yClamp, o.Range, o.Offset, other(*a.Arg2, x)); r != nil {
			return r
		}
	}
	if a.Func != algebra.CovarPop && a.Func != algebra.CovarSamp {
		if in[4], r = square(*a.Arg2, x, xClamp, o.Range2, o.Offset2, other(*a.Arg, y)); r != nil {
			return r
		}
	}
	if same {
		in[5], r = square(*a.Arg, y, yClamp, o.Range, o.Offset, nil)
	} else {
		in[5], r = b.addProduct(a, y, yClamp, xClamp, o, f)
	}
	o.In = in
	return r
}

func (b *builder) addRows(f filter) int {
	return b.add(Measure{Kind: MeasureRows, Sens2: b.square(big.NewInt(1))}, f)
}

// addNonNull counts the rows where c has a value: all of them when it cannot be
// NULL, and then the row count serves. Exact mode needs both, to tell how many
// units have a value.
func (b *builder) addNonNull(c algebra.Col, x scalar, f filter) int {
	if !x.nullable {
		return b.addRows(f)
	}
	if b.plan.Mode == ModeExact {
		b.addRows(f)
	}
	return b.add(Measure{Kind: MeasureNonNull, Col: &c, Sens2: b.square(big.NewInt(1))}, f)
}

// addUnits counts distinct units. A unit counts once per cell and reaches at
// most min(m, cells) of them, so that is Δ₂².
func (b *builder) addUnits(f filter) int {
	touched := b.plan.MaxRows
	if !b.private {
		touched = min(touched, int64(b.plan.MaxCells))
	}
	return b.add(Measure{Kind: MeasureUnits, Sens2: big.NewInt(touched)}, f)
}

func (b *builder) addSum(c algebra.Col, other *algebra.Col, clamp *Range, r Range, off int64, f filter) int {
	return b.add(Measure{Kind: MeasureSum, Col: &c, Col2: other, Both: other != nil, Clamp: clamp, Offset: off, Sens2: b.square(reach(r, off))}, f)
}

// addSquare sums (c−off)², which lies in 0…R² per row: less R²/2 per row, it moves by
// half as much.
func (b *builder) addSquare(c algebra.Col, x scalar, clamp *Range, r Range, off int64, f filter, n int) (int, *policies.Reason) {
	d := reach(r, off)
	if !b.fits(d, d) {
		return 0, tooWide(x.owner, x.name)
	}
	d.Mul(d, d)
	centre := new(big.Int).Rsh(d, 1)
	d.Sub(d, centre)
	m := Measure{Kind: MeasureProduct, Col: &c, Col2: &c, Clamp: clamp, Clamp2: clamp, Offset: off, Offset2: off, Sens2: b.square(d)}
	if centre.Sign() > 0 {
		m.Centre, m.CentreBy = centre, n
	}
	return b.add(m, f), nil
}

func (b *builder) addProduct(a algebra.Agg, y scalar, yClamp, xClamp *Range, o *Output, f filter) (int, *policies.Reason) {
	dy, dx := reach(o.Range, o.Offset), reach(o.Range2, o.Offset2)
	if !b.fits(dy, dx) {
		return 0, tooWide(y.owner, y.name)
	}
	return b.add(Measure{Kind: MeasureProduct, Col: a.Arg, Col2: a.Arg2, Clamp: yClamp, Clamp2: xClamp,
		Offset: o.Offset, Offset2: o.Offset2, Sens2: b.square(dy.Mul(dy, dx))}, f), nil
}

// fits reports whether 2^40 rows of products stay inside the engine's 128 bits.
func (b *builder) fits(x, y *big.Int) bool {
	return x.BitLen()+y.BitLen()+big.NewInt(max(1, b.plan.Weight)).BitLen() <= 86
}

// binOutput reads noisy counts per cell of the column's registered grid.
func (b *builder) binOutput(a algebra.Agg, f filter, o *Output) *policies.Reason {
	x, r := b.scope.column(*a.Arg)
	if r != nil {
		return r
	}
	if k := a.Arg.Type.Kind; k != algebra.Int && k != algebra.Decimal && k != algebra.Date {
		return measureType(x.owner, x.name)
	}
	if len(x.grid) < 2 || len(x.grid) > maxGrid+1 {
		return noGrid(x.owner, x.name)
	}
	o.Grid, o.Q, o.Scale = append([]int64(nil), x.grid...), a.Q, a.Arg.Type.Scale
	o.Range = Range{x.grid[0], x.grid[len(x.grid)-1]}
	vector := 0
	for i := range len(x.grid) - 1 {
		m := Measure{Kind: MeasureBin, Col: a.Arg, Bin: &Range{x.grid[i], x.grid[i+1]}, LastBin: i == len(x.grid)-2, Sens2: b.square(big.NewInt(1))}
		at, have := b.find(&m, f)
		if !have {
			if vector == 0 {
				b.vectors++
				vector = b.vectors
			}
			m.Vector = vector
			at = b.add(m, f)
		}
		o.In = append(o.In, at)
	}
	o.A = o.In[0]
	return nil
}

// identify is what makes a measure one and the same exact partial.
func identify(m *Measure, f filter) string {
	span := func(r *Range) string {
		if r == nil {
			return ""
		}
		return strconv.FormatInt(r.Lo, 10) + ".." + strconv.FormatInt(r.Hi, 10)
	}
	id := string(m.Kind)
	for _, part := range []string{colID(m.Col), colID(m.Col2), span(m.Clamp), span(m.Clamp2), strconv.FormatInt(m.Offset, 10),
		strconv.FormatInt(m.Offset2, 10), span(m.Bin), strconv.FormatBool(m.Both), f.id} {
		id += "|" + part
	}
	return id
}

func (b *builder) find(m *Measure, f filter) (int, bool) {
	i, ok := b.ids[identify(m, f)]
	return i, ok
}

func (b *builder) add(m Measure, f filter) int {
	if i, have := b.find(&m, f); have {
		return i
	}
	// The plan shares no memory with the core or with other measures.
	for _, c := range []**algebra.Col{&m.Col, &m.Col2} {
		if *c != nil {
			own := **c
			*c = &own
		}
	}
	for _, r := range []**Range{&m.Clamp, &m.Clamp2} {
		if *r != nil {
			own := **r
			*r = &own
		}
	}
	m.Filter, m.Sigma2 = f.pred, new(big.Int)
	if b.ids == nil {
		b.ids = map[string]int{}
	}
	b.ids[identify(&m, f)] = len(b.plan.Measures)
	b.plan.Measures = append(b.plan.Measures, m)
	return len(b.plan.Measures) - 1
}

// square returns (m·v)², in lattice units with weights: all m rows of a unit may
// fall into one cell, and so may its whole weight.
func (b *builder) square(v *big.Int) *big.Int {
	d := new(big.Int).Mul(big.NewInt(b.plan.MaxRows), v)
	if b.plan.Weight != 0 {
		d.Mul(d, big.NewInt(b.plan.Weight))
	}
	return d.Mul(d, d)
}

// reach is max(|L−off|, |U−off|), at least one minimal unit: a constant column must
// not bring the noise down to zero.
func reach(r Range, off int64) *big.Int {
	o, d := big.NewInt(off), big.NewInt(1)
	for _, v := range []int64{r.Lo, r.Hi} {
		x := new(big.Int).Sub(big.NewInt(v), o)
		if x.Abs(x).Cmp(d) > 0 {
			d = x
		}
	}
	return d
}

// midpoint is ⌊(L+U)/2⌋ without overflow.
func midpoint(r Range) int64 {
	return r.Lo + int64((uint64(r.Hi)-uint64(r.Lo))/2)
}
