package analyse

import (
	"math/big"
	"strconv"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
)

// sampleMark starts the value of a parameter that is not known yet. No value that a
// caller is given has a NUL in it.
const sampleMark = "\x00sample/"

// firstSample is 2020-01-01 in days, an ordinary date.
const firstSample = 18262

// Sample is a value of the n-th parameter, from 0, where none is known: it fits every
// type, and differs from that of every other parameter. A text read with samples has
// the form that it has with values, unless its form depends on them. half makes a
// number that is no integer, for those that are compared as such.
func Sample(n int, half bool) string {
	text := sampleMark + strconv.Itoa(n+1)
	if half {
		text += "/half"
	}
	return text
}

// sampled gives a sample a value of type t; false for any other literal.
func (l literal) sampled(t algebra.Type) (literal, bool) {
	rest, ok := strings.CutPrefix(l.s, sampleMark)
	if !ok || l.kind != litParameter {
		return l, false
	}
	rest, half := strings.CutSuffix(rest, "/half")
	n, err := strconv.ParseInt(rest, 10, 32)
	if err != nil || n < 1 {
		return l, false
	}
	switch t.Kind {
	case algebra.Text:
		return literal{kind: litText, s: "sample " + rest}, true
	case algebra.Date:
		return literal{kind: litDate, i: firstSample + n}, true
	case algebra.Bool:
		return literal{kind: litBool, i: 1}, true
	}
	number := new(big.Rat).SetInt64(n)
	if half {
		number.Add(number, big.NewRat(1, 2))
	}
	return literal{kind: litNumber, number: number}, true
}
