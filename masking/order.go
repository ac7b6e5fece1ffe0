package masking

import (
	"math"
	"reflect"
	"slices"
)

// AtLeast reports whether mask a of a column is at least as general as mask b of
// the same column (a.Type equals b.Type): then whoever has b's result can compute
// a's, for NULL too, and so learns nothing from a that b does not tell. Keys count
// as equal. It is a partial order on what masks keep; it is sound and not complete:
// where no rule below says so, two masks are not comparable and the result is false.
//
//	drop ≥ null ≥ everything            year ≥ quarter ≥ month ≥ keep
//	constant ≥ what makes no NULL       area of fewer digits ≥ of more
//	address: province ≥ city ≥ district age bands, bands: every edge of a is one of b
//	clip ≥ clip of wider ends           bands ≥ clip that leaves every edge in place
//
// Noise, randomised response, shuffling and k-anonymous generalisation are at least as
// general as themselves alone.
func AtLeast(opA string, a Params, opB string, b Params) bool {
	if a.Type != b.Type {
		return false
	}
	a.Key, b.Key = nil, nil
	if _, _, err := OutType(opA, a); err != nil {
		return false
	}
	if _, _, err := OutType(opB, b); err != nil {
		return false
	}
	switch {
	case opA == opB && reflect.DeepEqual(normal(a), normal(b)), opA == OpDrop:
		return true
	case opB == OpDrop:
		return false
	case Perturbs(opA), opA == OpConstant && OfTable(opB):
		// What it gives depends on more than the value at hand.
		return false
	case opA == OpNull, opB == OpKeep:
		return true
	case opB == OpNull:
		return false
	case opA == OpConstant:
		return !MayNull(opB)
	case dateRank(opA) > 0 && dateRank(opB) > 0:
		return dateRank(opA) >= dateRank(opB)
	}
	switch {
	case opA == OpArea && opB == OpArea:
		return a.Digits <= b.Digits
	case opA == OpAddress && opB == OpAddress:
		return levelRank(a.Level) <= levelRank(b.Level)
	case opA == OpAgeBand && opB == OpAgeBand:
		return a.At == b.At && coarser(OpAgeBand, a, b)
	case opA == OpBand && opB == OpBand:
		return coarser(OpBand, a, b)
	case opA == OpClip && opB == OpClip:
		lo, hi, _ := ends(a)
		wideLo, wideHi, _ := ends(b)
		return lo >= wideLo && hi <= wideHi
	case opA == OpBand && opB == OpClip:
		return unclipped(a, b)
	}
	return false
}

// normal makes equal parameters equal by reflection: no edges are nil.
func normal(p Params) Params {
	for _, list := range []*[]string{&p.Edges, &p.Codes, &p.By, &p.Ladder} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	return p
}

func dateRank(op string) int {
	return slices.Index([]string{"", OpMonth, OpQuarter, OpYear}, op)
}

// levelRank is 0 for a province, the coarsest; −1 for no level.
func levelRank(level string) int {
	return slices.Index([]string{LevelProvince, LevelCity, LevelDistrict}, level)
}

// coarser reports whether the bands of a are made of whole bands of b.
func coarser(op string, a, b Params) bool {
	t := a.Type
	if op == OpAgeBand {
		t = intType
	}
	x, errX := bandsOf(op, a, t)
	y, errY := bandsOf(op, b, t)
	switch {
	case errX != nil || errY != nil:
		return false
	case x.width > 0:
		// Bands by edges are open at both ends; no multiple of a width is.
		return y.width > 0 && x.width%y.width == 0
	case y.width > 0:
		return !slices.ContainsFunc(x.edges[1:], func(e int64) bool { return e%y.width != 0 })
	}
	// b does not tell its first edge from what lies below it, nor does a its own.
	return !slices.ContainsFunc(x.edges[1:], func(e int64) bool { return !slices.Contains(y.edges[1:], e) })
}

// unclipped reports whether a's edges, but for the first, which takes everything
// below it as well, lie where b leaves values in place.
func unclipped(a, b Params) bool {
	x, err := bandsOf(OpBand, a, a.Type)
	lo, hi, errEnds := ends(b)
	if err != nil || errEnds != nil || x.width > 0 {
		return false
	}
	return !slices.ContainsFunc(x.edges[1:], func(e int64) bool {
		return lo != math.MinInt64 && e <= lo || e > hi
	})
}

// CoarserGrid reports whether the lower edge of a value's cell in a registered grid
// can be computed from the value's band under a band mask p: every inner edge of
// the grid starts a band. The grid's first and last edges hold every value between
// them, so they tell nothing.
func CoarserGrid(p Params, grid []int64) bool {
	b, err := bandsOf(OpBand, p, p.Type)
	if err != nil || len(grid) < 2 {
		return false
	}
	for _, e := range grid[1 : len(grid)-1] {
		if b.width > 0 && e%b.width != 0 || b.width == 0 && !slices.Contains(b.edges[1:], e) {
			return false
		}
	}
	return true
}

// CoarserQuotient reports whether value / by, by > 0, of values that are not
// negative can be computed from the value's band under a band mask p.
func CoarserQuotient(p Params, by int64) bool {
	b, err := bandsOf(OpBand, p, p.Type)
	return err == nil && by > 0 && b.width > 0 && by%b.width == 0
}
