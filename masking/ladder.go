package masking

import (
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
)

// Ladder is the registered ways of generalising one quasi-identifier, each coarser
// than the one before. Level 0 is the value as it is. A value keeps its type at every
// level: a date becomes the first day of its month, quarter or year, a number the
// lower edge of its band, a code its prefix; "null" is the coarsest of all.
type Ladder struct {
	rungs  []string
	ints   []func(int64) int64
	digits []int
}

// Rungs of dates; a number's are widths, a code's are the digits kept.
const (
	RungMonth   = "month"
	RungQuarter = "quarter"
	RungYear    = "year"
	RungNull    = "null"
)

// NewLadder reads the ladder of a column of type p.Type. It errs on a rung that does
// not fit the type, and on one that is not made of whole values of the one before.
func NewLadder(p Params) (Ladder, error) {
	l := Ladder{rungs: p.Ladder}
	if len(p.Ladder) == 0 || len(p.Ladder) > MaxLadder {
		return l, texts.Errorf(`mask "k_anonymous" needs a ladder of 1 to %d rungs, from fine to coarse`, MaxLadder)
	}
	before := int64(0)
	for i, rung := range p.Ladder {
		if rung == RungNull {
			if i != len(p.Ladder)-1 {
				return l, texts.Errorf(`mask "k_anonymous": "null" is the last rung; nothing is coarser`)
			}
			break
		}
		switch p.Type.Kind {
		case algebra.Date:
			at := int64(slices.Index([]string{"", RungMonth, RungQuarter, RungYear}, rung))
			if at <= before {
				return l, texts.Errorf(`mask "k_anonymous": rungs of a date are month, quarter, year, null, in this order`)
			}
			before = at
			l.ints = append(l.ints, []func(int64) int64{nil, algebra.MonthOf, quarterOf(p.Type).f, firstOfYear}[at])
		case algebra.Int, algebra.Decimal:
			width, ok := parseInt(p.Type, rung)
			if !ok || width < 2 || before > 0 && (width == before || width%before != 0) {
				return l, texts.Errorf(`mask "k_anonymous": rungs of a number are widths, each a multiple of the one before, and null`)
			}
			before = width
			l.ints = append(l.ints, bands{width: width}.floor)
		case algebra.Text:
			n := slices.Index([]string{"", "", "2", "", "4", "", "6"}, rung)
			if n <= 0 || before > 0 && int64(n) >= before {
				return l, texts.Errorf(`mask "k_anonymous": rungs of a code are the leading digits kept, 6, 4, 2, in this order, and null`)
			}
			before = int64(n)
			l.digits = append(l.digits, n)
		default:
			return l, texts.Errorf(`mask "k_anonymous": a %s column has the rung null alone`, p.Type.Kind)
		}
	}
	return l, nil
}

func firstOfYear(v int64) int64 {
	_, m, _ := algebra.Civil(v)
	for v = algebra.MonthOf(v); m > 1; m-- {
		v = algebra.MonthOf(v - 1)
	}
	return v
}

// Height is the number of rungs, and the coarsest level.
func (l Ladder) Height() int { return len(l.rungs) }

// Rung names a level; empty for level 0.
func (l Ladder) Rung(level int) string {
	if level == 0 {
		return ""
	}
	return l.rungs[level-1]
}

// Int generalises a number or a date to a level.
func (l Ladder) Int(level int, v int64) (out int64, null bool) {
	switch {
	case level == 0:
		return v, false
	case level > len(l.ints):
		return 0, true
	}
	return l.ints[level-1](v), false
}

// Text generalises a code to a level. What is no code of an area becomes NULL.
func (l Ladder) Text(level int, v string) (out string, null bool) {
	switch {
	case level == 0:
		return v, false
	case level > len(l.digits):
		return "", true
	}
	return area(v, l.digits[level-1])
}

// Coarsest generalises a number or a date to the last level that is not NULL.
func (l Ladder) Coarsest(v int64) int64 {
	out, _ := l.Int(len(l.ints), v)
	return out
}
