package algebra

import (
	"errors"
	"math/big"
	"strconv"
	"strings"
)

// ErrDecimal is returned for text that is not an exact decimal of the asked
// scale. It carries no part of the text.
var ErrDecimal = errors.New("not a decimal number of this scale")

// ParseDecimal reads an exact decimal ("-12.5") as a count of 10^-scale units.
// More decimals than scale, exponents, spaces and values beyond int64 are
// refused; nothing is ever rounded here.
func ParseDecimal(s string, scale uint8) (int64, error) {
	neg := strings.HasPrefix(s, "-")
	body := strings.TrimPrefix(strings.TrimPrefix(s, "-"), "+")
	if neg && strings.HasPrefix(s, "-+") {
		return 0, ErrDecimal
	}
	whole, frac, dot := strings.Cut(body, ".")
	if whole == "" || dot && frac == "" || len(frac) > int(scale) {
		return 0, ErrDecimal
	}
	digits := whole + frac + strings.Repeat("0", int(scale)-len(frac))
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return 0, ErrDecimal
		}
	}
	if neg {
		digits = "-" + digits
	}
	v, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, ErrDecimal
	}
	return v, nil
}

// FormatDecimal prints x·10^−scale with exactly scale decimal digits.
func FormatDecimal(x *big.Int, scale uint8) string {
	s, sign := new(big.Int).Abs(x).String(), ""
	if x.Sign() < 0 {
		sign = "-"
	}
	if scale == 0 {
		return sign + s
	}
	n := int(scale)
	if len(s) <= n {
		s = strings.Repeat("0", n-len(s)+1) + s
	}
	return sign + s[:len(s)-n] + "." + s[len(s)-n:]
}
