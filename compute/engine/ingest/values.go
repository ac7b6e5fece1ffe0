package ingest

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sandgate/sandgate/compute/algebra"
)

// maxText is engine.MaxText: the longest text a result frame carries.
const maxText = 4096

// Value is one stored value: I for every kind but text, which is S.
type Value struct {
	Null bool
	I    int64
	S    string
}

// parse reads a field's text as a value of typ. It accepts one spelling per kind:
// decimal digits with an optional sign, ISO dates, true/false/1/0.
func parse(typ algebra.Type, s string) (Value, Code) {
	switch typ.Kind {
	case algebra.Text:
		switch {
		case len(s) > maxText:
			return Value{}, CodeTooLong
		case !cleanText(s):
			return Value{}, CodeEncoding
		}
		return Value{S: s}, ""
	case algebra.Int:
		i, ok := parseDecimal(s, 0, false)
		if !ok {
			return Value{}, CodeMalform
		}
		return Value{I: i}, ""
	case algebra.Decimal:
		i, ok := parseDecimal(s, int(typ.Scale), true)
		if !ok {
			return Value{}, CodeMalform
		}
		return Value{I: i}, ""
	case algebra.Date:
		d, ok := parseDate(s)
		if !ok {
			return Value{}, CodeMalform
		}
		return Value{I: d}, ""
	case algebra.Bool:
		switch s {
		case "true", "TRUE", "True", "t", "1":
			return Value{I: 1}, ""
		case "false", "FALSE", "False", "f", "0":
			return Value{}, ""
		}
	}
	return Value{}, CodeMalform
}

func readAs(typ algebra.Type, s string) read {
	v, code := parse(typ, s)
	return read{v, code}
}

// cleanText says that s is UTF-8 without NUL.
func cleanText(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c == 0 || c >= utf8.RuneSelf {
			return strings.IndexByte(s[i:], 0) < 0 && utf8.ValidString(s[i:])
		}
	}
	return true
}

// parseDecimal reads [+-]digits[.digits] into minimal units of 10^-scale,
// exactly; digits beyond the scale round half away from zero. It refuses
// anything else and what does not fit 64 bits.
func parseDecimal(s string, scale int, fraction bool) (int64, bool) {
	neg := false
	if s != "" && (s[0] == '-' || s[0] == '+') {
		neg = s[0] == '-'
		s = s[1:]
	}
	var n uint64
	digits, after, point, roundUp := 0, 0, false, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '.' && fraction && !point && digits > 0 {
			point = true
			continue
		}
		if c < '0' || c > '9' {
			return 0, false
		}
		digits++
		if point {
			if after == scale {
				// The first dropped digit alone decides half away from zero.
				roundUp = c >= '5'
				after++
				continue
			}
			if after > scale {
				continue
			}
			after++
		}
		if n > (math.MaxUint64-9)/10 {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	if digits == 0 || s[len(s)-1] == '.' {
		return 0, false
	}
	for ; after < scale; after++ {
		if n > math.MaxUint64/10 {
			return 0, false
		}
		n *= 10
	}
	if roundUp {
		n++
	}
	if n > math.MaxInt64 {
		return 0, false
	}
	if neg {
		return -int64(n), true
	}
	return int64(n), true
}

// parseDate reads YYYY-MM-DD of the years 1 to 9999 as days since 1970-01-01.
func parseDate(s string) (int64, bool) {
	if len(s) != 10 || s[4] != '-' || s[7] != '-' {
		return 0, false
	}
	century, year, m, d := twoDigits(s[0], s[1]), twoDigits(s[2], s[3]), twoDigits(s[5], s[6]), twoDigits(s[8], s[9])
	if century|year|m|d < 0 {
		return 0, false
	}
	y := century*100 + year
	if y < 1 || m < 1 || m > 12 || d < 1 || d > daysIn(y, m) {
		return 0, false
	}
	// Days from civil: years start in March so that the leap day comes last.
	if m <= 2 {
		y--
		m += 12
	}
	era := y / 400
	yoe := y - era*400
	doy := (153*(m-3)+2)/5 + d - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return int64(era*146097 + doe - 719468), true
}

// twoDigits is negative when they are not.
func twoDigits(tens, ones byte) int {
	tens, ones = tens-'0', ones-'0'
	if tens > 9 || ones > 9 {
		return -1
	}
	return int(tens)*10 + int(ones)
}

func daysIn(y, m int) int {
	switch m {
	case 2:
		if y%4 == 0 && (y%100 != 0 || y%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// format spells a value canonically, as mask operators expect it.
func format(typ algebra.Type, v Value) string {
	switch typ.Kind {
	case algebra.Text:
		return v.S
	case algebra.Bool:
		return strconv.FormatBool(v.I != 0)
	case algebra.Date:
		return time.Unix(v.I*86400, 0).UTC().Format(time.DateOnly)
	case algebra.Decimal:
		if typ.Scale > 0 {
			return formatDecimal(v.I, int(typ.Scale))
		}
	}
	return strconv.FormatInt(v.I, 10)
}

func formatDecimal(i int64, scale int) string {
	u, sign := uint64(i), ""
	if i < 0 {
		u, sign = -u, "-"
	}
	s := strconv.FormatUint(u, 10)
	for len(s) <= scale {
		s = "0" + s
	}
	return sign + s[:len(s)-scale] + "." + s[len(s)-scale:]
}
