package algebra

import (
	"errors"
	"time"
)

// ErrDate is returned for text that is not a date of the form 2006-01-02. It
// carries no part of the text.
var ErrDate = errors.New("not a date of the form 2006-01-02")

// YearOf returns the calendar year of a day count.
func YearOf(days int64) int64 { return int64(day(days).Year()) }

// MonthOf returns the first day of the day's month, as a day count.
func MonthOf(days int64) int64 { t := day(days); return days - int64(t.Day()) + 1 }

// NextMonth returns the first day of the following month, as a day count.
func NextMonth(days int64) int64 {
	t := day(MonthOf(days))
	return floorDay(t.AddDate(0, 1, 0).Unix())
}

// FormatDate renders a day count as 2006-01-02.
func FormatDate(days int64) string { return day(days).Format(time.DateOnly) }

// ParseDate reads 2006-01-02 strictly as a day count.
func ParseDate(s string) (int64, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, ErrDate
	}
	return floorDay(t.Unix()), nil
}

func day(days int64) time.Time { return time.Unix(days*86400, 0).UTC() }

// floorDay divides towards minus infinity: dates before 1970 are days too.
func floorDay(sec int64) int64 {
	d := sec / 86400
	if sec%86400 < 0 {
		d--
	}
	return d
}

// Civil returns the year, the month 1 to 12 and the day 1 to 31 of a day count.
func Civil(days int64) (y, m, d int64) {
	year, month, dom := day(days).Date()
	return int64(year), int64(month), int64(dom)
}
