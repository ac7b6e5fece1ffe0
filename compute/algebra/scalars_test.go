package algebra

import (
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestParseDecimal(t *testing.T) {
	for _, c := range []struct {
		in    string
		scale uint8
		want  int64
	}{
		{"0", 0, 0}, {"-0", 2, 0}, {"12.5", 1, 125}, {"12.5", 2, 1250}, {"+7", 0, 7}, {"-12.50", 2, -1250}, {"007", 0, 7}, {"0.000001", 6, 1},
		{"9223372036854775807", 0, 1<<63 - 1}, {"-9223372036854775808", 0, -1 << 63}, {"92233720368547758.07", 2, 1<<63 - 1},
	} {
		if got, err := ParseDecimal(c.in, c.scale); err != nil || got != c.want {
			t.Errorf("%s at scale %d: %d %v; want %d", c.in, c.scale, got, err, c.want)
		}
	}
	for _, c := range []struct {
		in    string
		scale uint8
	}{
		{"", 2}, {"-", 2}, {"+", 2}, {".", 2}, {"1.", 2}, {".5", 2}, {"1.234", 2}, {"1.0", 0}, {"1e3", 2}, {" 1", 2}, {"1 ", 2}, {"1,5", 2}, {"--1", 2}, {"-+1", 2}, {"+-1", 2},
		{"1.-5", 2}, {"1.+5", 2}, {"0x1", 2}, {"1_000", 0}, {"NaN", 2}, {"Inf", 2}, {"１", 0}, {"9223372036854775808", 0}, {"92233720368547758.08", 2}, {strings.Repeat("9", 1000), 0}, {"1.2.3", 2},
	} {
		if got, err := ParseDecimal(c.in, c.scale); !errors.Is(err, ErrDecimal) {
			t.Errorf("%q at scale %d: %d, %v", c.in, c.scale, got, err)
		}
	}
}

func FuzzParseDecimal(f *testing.F) {
	for _, s := range []string{"0", "-12.5", "+1", "1e3", "92233720368547758.07", "1.", ".1", "-"} {
		f.Add(s, uint8(2))
	}
	f.Fuzz(func(t *testing.T, s string, scale uint8) {
		scale %= 10
		got, err := ParseDecimal(s, scale)
		if err != nil {
			if err.Error() != ErrDecimal.Error() {
				t.Fatalf("the error says %q", err)
			}
			return
		}
		want, ok := new(big.Rat).SetString(s)
		if !ok {
			t.Fatalf("%q is no number and was read as %d", s, got)
		}
		unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)
		if want.Mul(want, new(big.Rat).SetInt(unit)).Cmp(new(big.Rat).SetInt64(got)) != 0 {
			t.Fatalf("%q at scale %d is %s units, not %d", s, scale, want, got)
		}
	})
}

func TestDates(t *testing.T) {
	for in, days := range map[string]int64{
		"1970-01-01": 0, "1969-12-31": -1, "2000-02-29": 11016, "1900-03-01": -25508, "0001-01-01": -719162, "9999-12-31": 2932896,
	} {
		if got, err := ParseDate(in); err != nil || got != days || FormatDate(days) != in {
			t.Errorf("%s: %d %v; %d prints as %s", in, got, err, days, FormatDate(days))
		}
	}
	for _, bad := range []string{"", "2025-1-01", "2025-02-30", "1900-02-29", "20250101", "2025-01-01 ", "2025-01-01T00:00:00Z", "10000-01-01", "-001-01-01", "2025/01/01", "２025-01-01"} {
		if got, err := ParseDate(bad); !errors.Is(err, ErrDate) {
			t.Errorf("%q: %d %v", bad, got, err)
		}
	}
	// Every day of four centuries around the epoch, against the calendar.
	for d := int64(-80_000); d < 70_000; d++ {
		at := time.Unix(0, 0).UTC().AddDate(0, 0, int(d))
		if YearOf(d) != int64(at.Year()) {
			t.Fatalf("day %d: year %d", d, YearOf(d))
		}
		first := time.Date(at.Year(), at.Month(), 1, 0, 0, 0, 0, time.UTC)
		next := first.AddDate(0, 1, 0)
		if FormatDate(MonthOf(d)) != first.Format(time.DateOnly) || FormatDate(NextMonth(d)) != next.Format(time.DateOnly) {
			t.Fatalf("day %d: month %s, next %s", d, FormatDate(MonthOf(d)), FormatDate(NextMonth(d)))
		}
	}
}
