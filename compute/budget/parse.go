package budget

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// unit is how many Nano make one ρ; digits is its number of decimal digits.
const (
	unit   = 1_000_000_000
	digits = 9
)

// maxText bounds the length of a decimal ρ, so that a hostile policy file cannot
// make the parser walk megabytes of zeros.
const maxText = 40

// ParsePrice reads a decimal ρ such as "0.00088" and rounds up to the next Nano,
// so that no price is ever understated. It refuses signs, exponents, blanks,
// empty parts and values above math.MaxInt64 Nano.
func ParsePrice(s string) (Nano, error) { return parse(s, true) }

// ParseLimit reads a decimal ρ and rounds down, so that no limit is ever
// overstated. It refuses what ParsePrice refuses.
func ParseLimit(s string) (Nano, error) { return parse(s, false) }

func parse(s string, up bool) (Nano, error) {
	fail := func(why string) (Nano, error) {
		return 0, fmt.Errorf("failed to parse rho: %s (write it like 0.00088)", why)
	}
	if s == "" || len(s) > maxText {
		return fail("it must have 1 to 40 characters")
	}
	whole, frac, dot := strings.Cut(s, ".")
	if whole == "" || dot && frac == "" {
		return fail("digits must stand on both sides of the point")
	}
	for _, part := range []string{whole, frac} {
		for _, c := range []byte(part) {
			if c < '0' || c > '9' {
				return fail("only digits and one point are allowed")
			}
		}
	}
	rest := ""
	if len(frac) > digits {
		frac, rest = frac[:digits], frac[digits:]
	}
	n, err := strconv.ParseInt(whole+frac+strings.Repeat("0", digits-len(frac)), 10, 64)
	if err != nil {
		return fail("it is too large")
	}
	if up && strings.Trim(rest, "0") != "" {
		if n == math.MaxInt64 {
			return fail("it is too large")
		}
		n++
	}
	return Nano(n), nil
}

// String prints n as a decimal ρ without superfluous zeros: "0.00088". It is
// exact: ParsePrice and ParseLimit both give n back when n is not negative.
func (n Nano) String() string {
	u, sign := uint64(n), ""
	if n < 0 {
		u, sign = -u, "-"
	}
	s := fmt.Sprintf("%s%d.%09d", sign, u/unit, u%unit)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// Rho returns n in ρ, for display and for conversions that end in floating
// point. Decisions use n itself.
func (n Nano) Rho() float64 { return float64(n) / unit }
