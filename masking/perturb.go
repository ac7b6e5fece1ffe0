package masking

import (
	"encoding/binary"
	"slices"
	"sync"

	"github.com/sandgate/sandgate/compute/algebra"
)

// Operators that look beyond the value they mask. noise and response draw from a key
// and the value's privacy unit; shuffle and k_anonymous need the whole table.
const (
	OpNoise      = "noise"       // discrete Laplace noise, one draw a unit and column
	OpResponse   = "response"    // randomised response over the code list
	OpShuffle    = "shuffle"     // values of a column permuted inside groups of units
	OpKAnonymous = "k_anonymous" // generalised together with the other such columns until every class has k units
)

// Bounds of parameters.
const (
	MaxNoiseScale   = 1_000_000
	MaxRetainDigits = 6
	MinGroup        = 5  // least units of a group that is shuffled, where the mask says nothing
	MaxSuppress     = 20 // percent of rows
	MaxLadder       = 6
)

// UnitOperator masks one value by the privacy unit that it belongs to. Its Apply, for
// a value without a unit, gives NULL.
type UnitOperator interface {
	Operator
	ApplyUnit(unit uint64, v string) string
}

// IntUnitOperator is a UnitOperator on numbers and dates, which also takes them as
// integers.
type IntUnitOperator interface {
	UnitOperator
	ApplyUnitInt(unit uint64, v int64) int64
}

// OfTable reports whether an operator needs the whole table, so that the stored value
// of one unit depends on the rows of others. Differential privacy counts what one
// unit's rows change: it does not cover such a column.
func OfTable(op string) bool { return op == OpShuffle || op == OpKAnonymous }

// Perturbs reports whether an operator is one of this file: applied at ingest, for
// everybody.
func Perturbs(op string) bool { return OfTable(op) || op == OpNoise || op == OpResponse }

func init() {
	operators[OpNoise] = operator{takes: "width scale lo hi", kinds: []algebra.Kind{algebra.Int, algebra.Decimal, algebra.Date},
		needs: "an int, decimal or date column", build: func(p Params) (Operator, error) { return buildNoise(p) }}
	operators[OpResponse] = operator{takes: "retain codes", kinds: []algebra.Kind{algebra.Text, algebra.Int},
		needs: "a text or int column", build: func(p Params) (Operator, error) { return buildResponse(p) }}
	operators[OpShuffle] = operator{takes: "by least", null: true, build: func(p Params) (Operator, error) {
		if p.Least != 0 && p.Least < 2 {
			return nil, texts.Errorf(`mask "shuffle": least is 2 or more units; a unit alone is shuffled with nobody`)
		}
		return apply(nothing), nil
	}}
	operators[OpKAnonymous] = operator{takes: "k suppress ladder", null: true, build: func(p Params) (Operator, error) {
		if p.K < 2 || p.K > 1000 {
			return nil, texts.Errorf(`mask "k_anonymous": k is 2 to 1000 units`)
		}
		if p.Suppress < 0 || p.Suppress > MaxSuppress {
			return nil, texts.Errorf(`mask "k_anonymous": suppress is 0 to %d percent of the rows`, MaxSuppress)
		}
		_, err := NewLadder(p)
		return apply(nothing), err
	}}
}

// noise adds to a value, rounded to its grid, what key, column and unit determine.
type noise struct {
	t             algebra.Type
	width, lo, hi int64
	scale         uint64
	column        string
	pool          *sync.Pool
}

func buildNoise(p Params) (*noise, error) {
	n := &noise{t: p.Type, scale: uint64(p.Scale), column: p.Column, pool: streams(p.Key)}
	if p.Scale < 1 || p.Scale > MaxNoiseScale {
		return nil, texts.Errorf(`mask "noise": scale is 1 to %d steps of width`, MaxNoiseScale)
	}
	unit := p.Type
	if unit.Kind == algebra.Date {
		unit = intType // days
	}
	var ok bool
	if n.width, ok = parseInt(unit, p.Width); !ok || n.width < 1 || n.width > 1<<40/int64(p.Scale) {
		return nil, texts.Errorf(`mask "noise" needs a width: the step of the column's grid, in days for a date; width × scale at most 2^40`)
	}
	var okLo, okHi bool
	if n.lo, okLo = parseInt(p.Type, p.Lo); !okLo {
		return nil, texts.Errorf(`mask "noise" needs registered bounds of the column`)
	}
	if n.hi, okHi = parseInt(p.Type, p.Hi); !okHi || n.lo > n.hi {
		return nil, texts.Errorf(`mask "noise" needs registered bounds of the column`)
	}
	return n, nil
}

func streams(key []byte) *sync.Pool {
	k := slices.Clone(key)
	return &sync.Pool{New: func() any { return keyed(k) }}
}

func (n *noise) Apply(string) (string, bool) { return "", true }

func (n *noise) ApplyUnit(unit uint64, v string) string {
	i, _ := parseInt(n.t, v)
	return formatInt(n.t, n.ApplyUnitInt(unit, i))
}

func (n *noise) ApplyUnitInt(unit uint64, v int64) int64 {
	s := n.pool.Get().(*stream)
	defer n.pool.Put(s)
	s.start([]byte("sandgate/masking/noise/v1"), []byte(n.column), binary.BigEndian.AppendUint64(nil, unit))
	// What stands below the grid's step would pass through the noise as it is.
	v = min(max(v, n.lo), n.hi)
	steps := v / n.width
	if left := v - steps*n.width; 2*left >= n.width {
		steps++
	} else if 2*left < -n.width {
		steps--
	}
	return min(max(steps*n.width+s.laplace(n.scale)*n.width, n.lo), n.hi)
}

// response keeps a value with a registered probability, and else draws a code.
type response struct {
	retain uint64 // millionths
	codes  []string
	column string
	pool   *sync.Pool
}

func buildResponse(p Params) (*response, error) {
	retain, err := algebra.ParseDecimal(p.Retain, MaxRetainDigits)
	if err != nil || retain <= 0 || retain >= 1_000_000 {
		return nil, texts.Errorf(`mask "response" needs retain: the probability of keeping a value, a decimal between 0 and 1, neither of them`)
	}
	codes := slices.Clone(p.Codes)
	slices.Sort(codes)
	if codes = slices.Compact(codes); len(codes) < 2 {
		return nil, texts.Errorf(`mask "response" needs a code list of at least two values`)
	}
	return &response{uint64(retain), codes, p.Column, streams(p.Key)}, nil
}

func (r *response) Apply(string) (string, bool) { return "", true }

// ApplyUnit gives one answer for a unit's value whenever it is asked: repeated ingests
// average nothing out.
func (r *response) ApplyUnit(unit uint64, v string) string {
	s := r.pool.Get().(*stream)
	defer r.pool.Put(s)
	s.start([]byte("sandgate/masking/response/v1"), []byte(r.column), binary.BigEndian.AppendUint64(nil, unit), []byte(v))
	if s.below(1_000_000) < r.retain {
		return v
	}
	return r.codes[s.below(uint64(len(r.codes)))]
}
