package masking

import (
	"math"
	"math/big"
	"slices"
	"strconv"

	"github.com/sandgate/sandgate/compute/algebra"
)

// IntOperator is an Operator on numbers and dates that also takes and gives them
// as integers: minimal units of a decimal, days since 1970-01-01 of a date. It is
// total, never gives NULL, and is monotone: ApplyInt keeps order, or turns it
// round everywhere (age bands, where a later birth is a lower age).
type IntOperator interface {
	Operator
	ApplyInt(v int64) int64
	// Image lists every value the operator can give for inputs between lo and hi,
	// ascending; nil when there are more than most of them.
	Image(lo, hi int64, most int) []int64
}

// monotone is an IntOperator over a function.
type monotone struct {
	in, out algebra.Type
	f       func(int64) int64
	// next gives the value after one the operator can give; nil for every integer.
	next func(int64) int64
}

func (n monotone) ApplyInt(v int64) int64 { return n.f(v) }

func (n monotone) Apply(v string) (string, bool) {
	i, ok := parseInt(n.in, v)
	if !ok {
		return "", true
	}
	return formatInt(n.out, n.f(i)), false
}

func (n monotone) Image(lo, hi int64, most int) []int64 {
	a, b := n.f(lo), n.f(hi)
	if a > b {
		a, b = b, a
	}
	var out []int64
	for v := a; v <= b; {
		if len(out) == most {
			return nil
		}
		out = append(out, v)
		step := v + 1
		if n.next != nil {
			step = n.next(v)
		}
		if step <= v { // saturated
			break
		}
		v = step
	}
	return out
}

// parseInt reads a canonical value of an integer-like type.
func parseInt(t algebra.Type, v string) (int64, bool) {
	if !canonical(t, v) {
		return 0, false
	}
	var i int64
	var err error
	switch t.Kind {
	case algebra.Date:
		i, err = algebra.ParseDate(v)
	case algebra.Int, algebra.Decimal:
		i, err = algebra.ParseDecimal(v, t.Scale)
	default:
		return 0, false
	}
	return i, err == nil
}

func formatInt(t algebra.Type, i int64) string {
	switch t.Kind {
	case algebra.Date:
		return algebra.FormatDate(i)
	case algebra.Decimal:
		return algebra.FormatDecimal(big.NewInt(i), t.Scale)
	}
	return strconv.FormatInt(i, 10)
}

var intType = algebra.Type{Kind: algebra.Int}

func yearOf(t algebra.Type) monotone { return monotone{in: t, out: intType, f: algebra.YearOf} }

func monthOf(t algebra.Type) monotone {
	return monotone{in: t, out: t, f: algebra.MonthOf, next: algebra.NextMonth}
}

func quarterOf(t algebra.Type) monotone {
	return monotone{in: t, out: t, f: func(v int64) int64 {
		_, m, d := algebra.Civil(v)
		v -= d - 1
		for ; m%3 != 1; m-- {
			v = algebra.MonthOf(v - 1)
		}
		return v
	}, next: func(v int64) int64 { return algebra.NextMonth(algebra.NextMonth(algebra.NextMonth(v))) }}
}

// bands gives the lower edge of the band a value falls into.
type bands struct {
	edges []int64 // ascending; the first band also takes what lies below it, the last is open
	width int64   // or: multiples of width
}

func (b bands) floor(v int64) int64 {
	if b.width > 0 {
		q := v / b.width
		if v%b.width < 0 {
			q--
		}
		if q < math.MinInt64/b.width {
			q++ // the multiple below is beyond 64 bits
		}
		return q * b.width
	}
	i, found := slices.BinarySearch(b.edges, v)
	if found {
		return v
	}
	return b.edges[max(i-1, 0)]
}

func (b bands) next(v int64) int64 {
	if b.width > 0 {
		if v > math.MaxInt64-b.width {
			return v
		}
		return v + b.width
	}
	i, found := slices.BinarySearch(b.edges, v)
	if found {
		i++
	}
	if i >= len(b.edges) {
		return v
	}
	return b.edges[i]
}

// MaxEdges caps the edges of bands.
const MaxEdges = 200

// bandsOf reads edges or width in units of t.
func bandsOf(op string, p Params, t algebra.Type) (bands, error) {
	if (len(p.Edges) > 0) == (p.Width != "") {
		return bands{}, texts.Errorf("mask %q needs edges or width, one of them", op)
	}
	if p.Width != "" {
		w, err := positive(op, p.Width, t)
		return bands{width: w}, err
	}
	if len(p.Edges) > MaxEdges {
		return bands{}, texts.Errorf("mask %q takes at most %d edges", op, MaxEdges)
	}
	var b bands
	for _, text := range p.Edges {
		e, ok := parseInt(t, text)
		if !ok {
			return bands{}, texts.Errorf("mask %q: an edge is no canonical %s", op, t.Kind)
		}
		if n := len(b.edges); n > 0 && b.edges[n-1] >= e {
			return bands{}, texts.Errorf("mask %q: edges must ascend and not repeat", op)
		}
		b.edges = append(b.edges, e)
	}
	return b, nil
}

func positive(op, text string, t algebra.Type) (int64, error) {
	w, ok := parseInt(t, text)
	if !ok || w < 1 || w > math.MaxInt64/4 {
		return 0, texts.Errorf("mask %q: width must be a positive %s", op, t.Kind)
	}
	return w, nil
}

func bandOf(p Params) (monotone, error) {
	b, err := bandsOf(OpBand, p, p.Type)
	return monotone{in: p.Type, out: p.Type, f: b.floor, next: b.next}, err
}

// ageOf gives the band of the age in completed years at a fixed date. Were it the
// day of the ingest, two ingests would differ by those whose birthday lies between.
func ageOf(p Params) (monotone, error) {
	b, err := bandsOf(OpAgeBand, p, intType)
	if err != nil {
		return monotone{}, err
	}
	at, ok := parseInt(algebra.Type{Kind: algebra.Date}, p.At)
	if !ok {
		return monotone{}, texts.Errorf(`mask "age_band" needs the reference date at, like "2026-01-01"`)
	}
	year, month, day := algebra.Civil(at)
	return monotone{in: p.Type, out: intType, next: b.next, f: func(born int64) int64 {
		y, m, d := algebra.Civil(born)
		age := year - y
		if m > month || m == month && d > day {
			age-- // born on 29 February: a year older on 1 March
		}
		return b.floor(max(age, 0))
	}}, nil
}

// roundOf rounds to a multiple of width, halves away from zero.
func roundOf(p Params) (monotone, error) {
	w, err := positive(OpRound, p.Width, p.Type)
	if err != nil {
		return monotone{}, err
	}
	b := bands{width: w}
	return monotone{in: p.Type, out: p.Type, next: b.next, f: func(v int64) int64 {
		q, r := v/w, v%w
		switch {
		case r >= w-r && q < math.MaxInt64/w:
			q++
		case -r >= w+r && q > math.MinInt64/w:
			q--
		}
		return q * w
	}}, nil
}

// clipOf puts what lies beyond lo or hi on them: top and bottom coding.
func clipOf(p Params) (monotone, error) {
	lo, hi, err := ends(p)
	return monotone{in: p.Type, out: p.Type, f: func(v int64) int64 { return min(max(v, lo), hi) }}, err
}

func ends(p Params) (lo, hi int64, err error) {
	lo, hi = math.MinInt64, math.MaxInt64
	if p.Lo == "" && p.Hi == "" {
		return lo, hi, texts.Errorf(`mask "clip" needs lo, hi or both`)
	}
	for _, e := range []struct {
		text string
		to   *int64
	}{{p.Lo, &lo}, {p.Hi, &hi}} {
		if e.text == "" {
			continue
		}
		v, ok := parseInt(p.Type, e.text)
		if !ok {
			return lo, hi, texts.Errorf("mask \"clip\": an end is no canonical %s", p.Type.Kind)
		}
		*e.to = v
	}
	if lo > hi {
		return lo, hi, texts.Errorf(`mask "clip": lo is above hi`)
	}
	return lo, hi, nil
}
