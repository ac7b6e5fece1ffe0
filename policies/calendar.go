package policies

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// CivilZone is the zone of statutory days: China Standard Time has had no
// daylight saving since 1991, so a fixed offset is exact.
var CivilZone = time.FixedZone("CST", 8*3600)

// Clock is an instant as every text that a person reads states it: to the minute, in
// China Standard Time, the zone beside it. Programs are given RFC 3339 in UTC.
func Clock(at time.Time) string { return at.In(CivilZone).Format("2006-01-02 15:04 -07:00") }

// Day is the day of an instant in China Standard Time.
func Day(at time.Time) string { return at.In(CivilZone).Format(time.DateOnly) }

// CalendarYear is one year of the working-day calendar 工作日历, as the State
// Council's yearly notice on holidays arranges it. Days are written 2026-01-01,
// runs of days 2026-02-15..2026-02-23.
type CalendarYear struct {
	Year     int      `yaml:"year" json:"year"`
	Source   string   `yaml:"source" json:"source"`                         // the notice the days come from
	Holidays []string `yaml:"holidays" json:"holidays"`                     // 放假, weekends inside a run included
	Workdays []string `yaml:"workdays,omitempty" json:"workdays,omitempty"` // 调休: weekend days that are worked
}

// Calendar counts working days. The zero Calendar knows no year.
type Calendar struct {
	years map[int]map[civilDay]bool // the days that differ from the week: true is worked
}

// civilDay is a day in China Standard Time, counted from 1970-01-01.
type civilDay int64

func dayOf(at time.Time) civilDay {
	y, m, d := at.In(CivilZone).Date()
	return civilDay(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

// start is the first instant of the day in China Standard Time.
func (d civilDay) start() time.Time {
	return time.Unix(int64(d)*86400, 0).Add(-8 * time.Hour).UTC()
}

func (d civilDay) date() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

// MissingYear is a deadline that cannot be computed, because the calendar does
// not have a year that it reaches into. Which weekends are worked is known only
// from the year's notice, so it is never guessed.
type MissingYear struct{ Year int }

func (m *MissingYear) Error() string {
	return fmt.Sprintf("the calendar has no year %d: the regulator applies a Profile with that year's holidays", m.Year)
}

// Chinese is the error in Chinese.
func (m *MissingYear) Chinese() string {
	return fmt.Sprintf("工作日历没有 %d 年：请主管部门提交含该年节假日的 Profile", m.Year)
}

// NewCalendar checks the years and makes a calendar of them.
func NewCalendar(years []CalendarYear) (Calendar, error) {
	c := Calendar{years: map[int]map[civilDay]bool{}}
	for _, y := range years {
		if y.Year < 2000 || y.Year > 2100 {
			return Calendar{}, texts.Errorf("calendar year %d must lie in 2000…2100", y.Year)
		}
		if _, dup := c.years[y.Year]; dup {
			return Calendar{}, texts.Errorf("calendar year %d stands twice", y.Year)
		}
		if y.Source == "" {
			return Calendar{}, texts.Errorf("calendar year %d: source is missing: name the notice the days come from", y.Year)
		}
		if len(y.Holidays) == 0 {
			return Calendar{}, texts.Errorf("calendar year %d: no holidays", y.Year)
		}
		days := map[civilDay]bool{}
		for _, list := range []struct {
			texts  []string
			worked bool
		}{{y.Holidays, false}, {y.Workdays, true}} {
			for _, text := range list.texts {
				if err := addDays(days, y.Year, text, list.worked); err != nil {
					return Calendar{}, texts.Errorf("calendar year %d: %w", y.Year, err)
				}
			}
		}
		c.years[y.Year] = days
	}
	return c, nil
}

// addDays enters a day or a run of days.
func addDays(days map[civilDay]bool, year int, text string, worked bool) error {
	first, last, run := strings.Cut(text, "..")
	if !run {
		last = first
	}
	from, err1 := time.Parse(time.DateOnly, first)
	to, err2 := time.Parse(time.DateOnly, last)
	if err1 != nil || err2 != nil {
		return texts.Errorf("%q is not a day such as 2026-01-01 or a run such as 2026-02-15..2026-02-23", safeName(text))
	}
	if from.Year() != year || to.Year() != year {
		return texts.Errorf("%s lies outside the year; give each year its own days", text)
	}
	if to.Before(from) {
		return texts.Errorf("%s ends before it begins", text)
	}
	for day := from; !day.After(to); day = day.AddDate(0, 0, 1) {
		d := civilDay(day.Unix() / 86400)
		if _, dup := days[d]; dup {
			return texts.Errorf("%s stands twice, or both as a holiday and as a workday", day.Format(time.DateOnly))
		}
		if worked && day.Weekday() != time.Saturday && day.Weekday() != time.Sunday {
			return texts.Errorf("workday %s is no Saturday or Sunday: only weekend days are made up", day.Format(time.DateOnly))
		}
		days[d] = worked
	}
	return nil
}

// Years lists the years of the calendar in order.
func (c Calendar) Years() []int {
	var out []int
	for y := range c.years {
		out = append(out, y)
	}
	slices.Sort(out)
	return out
}

// worked says whether a day is a working day.
func (c Calendar) worked(d civilDay) (bool, error) {
	days, ok := c.years[d.date().Year()]
	if !ok {
		return false, &MissingYear{Year: d.date().Year()}
	}
	if w, special := days[d]; special {
		return w, nil
	}
	wd := d.date().Weekday()
	return wd != time.Saturday && wd != time.Sunday, nil
}

// maxWorkingDays bounds a deadline.
const maxWorkingDays = 250

// AddWorkingDays returns the end of the n-th working day after an instant: the
// midnight, China Standard Time, before which an act is in time. The day of the
// instant itself does not count (民法典 art. 201), whether or not it is worked. n
// must lie in 1…250; a year that the calendar lacks is a *MissingYear.
func (c Calendar) AddWorkingDays(from time.Time, n int) (time.Time, error) {
	if n < 1 || n > maxWorkingDays {
		return time.Time{}, texts.Errorf("a deadline must lie in 1…250 working days")
	}
	day := dayOf(from)
	for n > 0 {
		day++
		w, err := c.worked(day)
		if err != nil {
			return time.Time{}, err
		}
		if w {
			n--
		}
	}
	return (day + 1).start(), nil
}
