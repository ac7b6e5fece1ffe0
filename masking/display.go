package masking

import (
	"slices"
	"strings"
)

// starred replaces a value that a display mask cannot read. Its width is fixed
// so that not even the length of a malformed value passes.
const starred = "********"

// display turns a mask of well-formed values into an operator that stars out
// every other value.
func display(mask func(string) (string, bool)) Operator {
	return apply(func(v string) (string, bool) {
		if out, ok := mask(v); ok {
			return out, false
		}
		return starred, false
	})
}

// maskID keeps the first 6 and the last 4 characters of a 公民身份号码 and stars
// the birth date. It keeps region, sex (odd or even serial) and a check that
// narrows the date to one in eleven: a quasi-identifier. A number whose check
// fails is masked the same; the legacy spellings are normalised first.
func maskID(v string) (string, bool) {
	n, ok := NormaliseCitizenID(v)
	if !ok || CitizenID(n) == Malformed {
		return "", false
	}
	return n[:6] + "********" + n[14:], true
}

// maskPhone keeps the first 3 and last 4 digits of a mobile number. With a name
// or a district beside it the last 4 single people out.
func maskPhone(v string) (string, bool) {
	n, ok := NormalisePhone(v)
	if !ok {
		return "", false
	}
	return n[:3] + "****" + n[7:], true
}

// maskCard keeps the issuer's 6 digits and the last 4 of a card number. Luhn's
// check leaves a tenth of the middle: of a 13-digit card only 100 candidates.
func maskCard(v string) (string, bool) {
	if BankCard(v) == Malformed {
		return "", false
	}
	return v[:6] + strings.Repeat("*", len(v)-10) + v[len(v)-4:], true
}

// maskName keeps the surname, one star per further character: 张*, 欧阳**. A name
// with a separator (阿依古丽·买买提) has no surname: its first character and the
// separators are kept. It keeps surname and length of the name, which single out
// bearers of rare surnames. Counted in characters, not bytes. One character
// alone, or anything not in Han script, is starred out.
func maskName(v string) (string, bool) {
	r := []rune(v)
	if PersonalName(v) != OK || len(r) < 2 {
		return "", false
	}
	dotted := slices.ContainsFunc(r, separator)
	keep := 1
	if !dotted && len(r) > 2 && compoundSurnames[string(r[:2])] {
		keep = 2
	}
	for i := keep; i < len(r); i++ {
		if separator(r[i]) {
			r[i] = '·'
		} else {
			r[i] = '*'
		}
	}
	return string(r), true
}
