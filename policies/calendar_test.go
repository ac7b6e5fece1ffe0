package policies

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var profileNames = []string{"anshan", "baotou", "chifeng", "inner_mongolia", "shuangyashan"}

func profileOf(t testing.TB, name string) Profile {
	t.Helper()
	docs, err := ParseBundle([]byte(load(t, "profiles/"+name+".yaml")))
	if err != nil {
		t.Fatal(err)
	}
	return *docs[0].Body.(*Profile)
}

func calendarOf(t testing.TB) Calendar {
	t.Helper()
	c, err := NewCalendar(profileOf(t, "chifeng").Calendar)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func cst(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.ParseInLocation("2006-01-02 15:04:05", text, CivilZone)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// Every shipped profile takes effect, and has the numbers that the requirements
// give for its city.
func TestR22_R24_R26_ShippedProfiles(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "testdata", "profiles", "*.yaml"))
	if err != nil || len(files) != len(profileNames) {
		t.Fatalf("%v, %v", files, err)
	}
	for _, name := range profileNames {
		b := apply(t, town(t, ""), load(t, "profiles/"+name+".yaml"), "bureau")
		p, ok := b.Profile()
		if !ok || p.ID != name || !slices.Equal(b.Calendar().Years(), []int{2025, 2026}) {
			t.Errorf("%s: %v %v", name, p.ID, b.Calendar().Years())
		}
		follow, check := 10, 2
		if name == "inner_mongolia" {
			follow, check = 15, 5
		}
		if p.Deadlines.Follow != follow || p.Deadlines.Check != check || p.Deadlines.Correct != 5 || p.UnusedMonths != 3 || !p.TwoPerson {
			t.Errorf("%s: %+v", name, p)
		}
		for _, n := range []int{p.Deadlines.Accept, p.Deadlines.Complete, p.Deadlines.Review, p.Deadlines.Grant, p.Deadlines.Answer} {
			if !slices.Contains([]int{1, 2, 3, 5, 7, 10}, n) {
				t.Errorf("%s: %d is none of the numbers of R24", name, n)
			}
		}
	}
}

func TestR24_AddWorkingDays(t *testing.T) {
	c := calendarOf(t)
	for _, x := range []struct {
		name, from string
		n          int
		want       string // the last day
	}{
		{"a plain week", "2026-03-02 09:00:00", 3, "2026-03-05"},
		{"over a weekend", "2026-03-06 09:00:00", 1, "2026-03-09"},
		{"filed on a Saturday", "2026-03-07 10:00:00", 1, "2026-03-09"},
		{"first instant of the day", "2026-03-02 00:00:00", 1, "2026-03-03"},
		{"last second of the day", "2026-03-02 23:59:59", 1, "2026-03-03"},
		{"the next second", "2026-03-03 00:00:00", 1, "2026-03-04"},
		{"made-up Sunday before the festival", "2025-01-24 12:00:00", 1, "2025-01-26"},
		{"made-up Saturday counts", "2026-02-13 12:00:00", 1, "2026-02-14"},
		{"over the Spring Festival 2026", "2026-02-14 12:00:00", 1, "2026-02-24"},
		{"over both made-up Saturdays", "2026-02-13 12:00:00", 6, "2026-02-28"},
		{"over the Spring Festival 2025", "2025-01-27 12:00:00", 1, "2025-02-05"},
		{"made-up Saturday after it", "2025-02-07 12:00:00", 1, "2025-02-08"},
		{"filed within the festival", "2026-02-18 12:00:00", 1, "2026-02-24"},
		{"over the year's end", "2025-12-31 18:00:00", 1, "2026-01-04"},
		{"two over the year's end", "2025-12-30 18:00:00", 3, "2026-01-05"},
		{"National Day", "2026-09-30 12:00:00", 2, "2026-10-09"},
		{"National Day and its made-up Saturday", "2026-09-30 12:00:00", 3, "2026-10-10"},
	} {
		due, err := c.AddWorkingDays(cst(t, x.from), x.n)
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		if want := cst(t, x.want+" 00:00:00").AddDate(0, 0, 1); !due.Equal(want) {
			t.Errorf("%s: due %v, want the end of %s", x.name, due.In(CivilZone), x.want)
		}
	}
	// The zone of the instant is no matter: 16:30 UTC is the next day in China.
	a, err := c.AddWorkingDays(time.Date(2026, 3, 2, 16, 30, 0, 0, time.UTC), 1)
	if err != nil || !a.Equal(cst(t, "2026-03-05 00:00:00")) {
		t.Errorf("%v %v", a.In(CivilZone), err)
	}
}

// A year that the calendar lacks is named, never guessed.
func TestR24_MissingYearIsNamed(t *testing.T) {
	c := calendarOf(t)
	for from, year := range map[string]int{"2026-12-31 09:00:00": 2027, "2024-12-31 09:00:00": 0, "2024-06-03 09:00:00": 2024, "2030-01-01 00:00:00": 2030} {
		_, err := c.AddWorkingDays(cst(t, from), 1)
		var missing *MissingYear
		switch {
		case year == 0 && err != nil:
			t.Errorf("%s needs 2025 only: %v", from, err)
		case year != 0 && (!errors.As(err, &missing) || missing.Year != year || !strings.Contains(err.Error(), time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Format("2006"))):
			t.Errorf("%s: %v", from, err)
		}
	}
	if _, err := (Calendar{}).AddWorkingDays(time.Unix(0, 0), 1); err == nil {
		t.Error("a calendar without any year counts")
	}
	for _, n := range []int{0, -1, 251, 1 << 40} {
		if _, err := c.AddWorkingDays(cst(t, "2026-03-02 09:00:00"), n); err == nil {
			t.Errorf("%d working days were counted", n)
		}
	}
}

// naive counts as a clerk would, with the days in words.
func naive(years []CalendarYear, from time.Time, n int) (string, bool) {
	listed := func(list []string, day string) bool {
		for _, r := range list {
			first, last, run := strings.Cut(r, "..")
			if !run {
				last = first
			}
			if day >= first && day <= last {
				return true
			}
		}
		return false
	}
	at := from.In(CivilZone)
	for n > 0 {
		at = at.AddDate(0, 0, 1)
		i := slices.IndexFunc(years, func(y CalendarYear) bool { return y.Year == at.Year() })
		if i < 0 {
			return "", false
		}
		day := at.Format(time.DateOnly)
		weekend := at.Weekday() == time.Saturday || at.Weekday() == time.Sunday
		if listed(years[i].Workdays, day) || !weekend && !listed(years[i].Holidays, day) {
			n--
		}
	}
	return at.Format(time.DateOnly), true
}

func TestR24_AddWorkingDaysAgainstAReference(t *testing.T) {
	p := profileOf(t, "chifeng")
	c := calendarOf(t)
	rng := rand.New(rand.NewPCG(19, 24))
	first := cst(t, "2024-12-20 00:00:00")
	counted, missing := 0, 0
	for range 4000 {
		from := first.Add(time.Duration(rng.Int64N(int64(740 * 24 * time.Hour))))
		n := 1 + rng.IntN(60)
		want, ok := naive(p.Calendar, from, n)
		got, err := c.AddWorkingDays(from, n)
		if (err == nil) != ok {
			t.Fatalf("%v + %d: %v, reference %v", from, n, err, ok)
		}
		if err != nil {
			missing++
			continue
		}
		counted++
		if last := got.Add(-time.Second).In(CivilZone).Format(time.DateOnly); last != want {
			t.Fatalf("%v + %d: %s, reference %s", from, n, last, want)
		}
		// One day more is later; a minute later is no earlier.
		if more, err := c.AddWorkingDays(from, n+1); err == nil && !more.After(got) {
			t.Fatalf("%v: %d days end no earlier than %d", from, n, n+1)
		}
		if later, err := c.AddWorkingDays(from.Add(time.Minute), n); err == nil && later.Before(got) {
			t.Fatalf("%v: filed a minute later is due earlier", from)
		}
	}
	if counted < 1000 || missing < 50 {
		t.Errorf("%d counted, %d without a year: the test looks at one side only", counted, missing)
	}
}

func TestR24_BadProfilesAreRefusedByName(t *testing.T) {
	good := load(t, "profiles/chifeng.yaml")
	b := town(t, "")
	change := func(from, to string) string {
		if !strings.Contains(good, from) {
			t.Fatalf("the profile holds no %q", from)
		}
		return strings.Replace(good, from, to, 1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"deadline of zero":       {change("accept: 2", "accept: 0"), "deadlines.accept is 0"},
		"negative deadline":      {change("review: 7", "review: -7"), "deadlines.review is -7"},
		"deadline left out":      {change("  correct: 5\n", ""), "deadlines.correct is 0"},
		"fraction of a day":      {change("accept: 2", "accept: 2.5"), "whole number"},
		"deadline of years":      {change("accept: 2", "accept: 251"), "deadlines.accept is 251"},
		"unknown deadline":       {change("accept: 2", "accept: 2\n  acept: 2"), "acept"},
		"no reminder":            {change("reminder: 1", "reminder: 0"), "reminder is 0"},
		"no escalation":          {change("escalation: 1", "escalation: 0"), "escalation is 0"},
		"no months":              {change("unused_months: 3", "unused_months: 0"), "unused_months"},
		"burst of one":           {change("refusals: 5", "refusals: 1"), "burst.refusals"},
		"holiday twice":          {change("2025-01-01, ", "2025-01-01, 2025-01-01, "), "2025-01-01 stands twice"},
		"overlapping runs":       {change("2025-01-28..2025-02-04", "2025-01-28..2025-02-04, 2025-02-04..2025-02-05"), "2025-02-04 stands twice"},
		"holiday that is worked": {change("workdays: [2025-01-26", "workdays: [2025-02-01, 2025-01-26"), "2025-02-01 stands twice"},
		"made-up weekday":        {change("workdays: [2025-01-26", "workdays: [2025-03-05, 2025-01-26"), "no Saturday or Sunday"},
		"day of another year":    {change("2025-01-01, ", "2024-12-31, 2025-01-01, "), "outside the year"},
		"run over the year":      {change("2025-10-01..2025-10-08", "2025-10-01..2026-10-08"), "outside the year"},
		"run backwards":          {change("2025-10-01..2025-10-08", "2025-10-08..2025-10-01"), "ends before it begins"},
		"no such day":            {change("2025-01-01, ", "2025-02-29, "), "is not a day"},
		"year twice":             {change("year: 2026", "year: 2025"), "year 2025 stands twice"},
		"no source":              {change(`source: "国办发明电〔2024〕12号"`, `source: ""`), "source is missing"},
		"no holidays":            {change("holidays: [2025-01-01, 2025-01-28..2025-02-04, 2025-04-04..2025-04-06, 2025-05-01..2025-05-05, 2025-05-31..2025-06-02, 2025-10-01..2025-10-08]", "holidays: []"), "no holidays"},
		"year 9999":              {change("year: 2026", "year: 9999"), "2000…2100"},
		"escalation to nobody":   {good + "escalate_to: nobody\n", "escalate_to"},
		"escalation to operator": {good + "escalate_to: op\n", "escalate_to"},
		"bad id":                 {change("id: chifeng", "id: 赤峰"), "not an id"},
	} {
		if got := refused(t, b, c.text, "bureau"); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s; want %q", name, got, c.want)
		}
	}
	if got := refused(t, b, good, "dept"); !strings.Contains(got, `signature of the regulator`) {
		t.Error(got)
	}
	in := apply(t, b, good, "bureau")
	lost := good[:strings.Index(good, "  - year: 2026")] + good[strings.Index(good, "deadlines:"):]
	if got := refused(t, in, lost, "bureau"); !strings.Contains(got, "calendar year 2026 is missing") {
		t.Error(got)
	}
}

func TestClockNamesItsZone(t *testing.T) {
	for _, x := range []struct {
		at         time.Time
		clock, day string
	}{
		{time.Date(2026, 1, 1, 16, 30, 59, 0, time.UTC), "2026-01-02 00:30 +08:00", "2026-01-02"},
		{time.Date(2026, 1, 1, 15, 59, 59, 0, time.UTC), "2026-01-01 23:59 +08:00", "2026-01-01"},
		{time.Date(2025, 12, 31, 12, 0, 0, 0, time.FixedZone("", -5*3600)), "2026-01-01 01:00 +08:00", "2026-01-01"},
	} {
		if got := Clock(x.at); got != x.clock {
			t.Errorf("Clock(%v) = %q, want %q", x.at, got, x.clock)
		}
		if got := Day(x.at); got != x.day {
			t.Errorf("Day(%v) = %q, want %q", x.at, got, x.day)
		}
	}
}
