package policies

import (
	"reflect"
	"slices"
	"strings"
)

// KindProfile is a city's calendar and deadlines; the regulator signs it.
const KindProfile Kind = "Profile"

// Profile is a city's own numbers 城市配置: its working-day calendar, how many
// working days each kind of act may take, and who reviews. One profile is in
// force; a later one replaces it. What was filed under an earlier one keeps the
// earlier numbers; the calendar, a fact and no rule, is always the latest.
type Profile struct {
	ID        string         `yaml:"id" json:"id"`
	Title     Text           `yaml:"title" json:"title"`
	Calendar  []CalendarYear `yaml:"calendar" json:"calendar"`
	Deadlines Deadlines      `yaml:"deadlines" json:"deadlines"`
	// Reminder is how many working days before the end of a deadline a reminder
	// goes out (R24); Escalation how many after it the duty is escalated.
	Reminder   int `yaml:"reminder" json:"reminder"`
	Escalation int `yaml:"escalation" json:"escalation"`
	// EscalateTo is the party that missed deadlines go to; empty is the regulator.
	EscalateTo string `yaml:"escalate_to,omitempty" json:"escalate_to,omitempty"`
	// TwoPerson: reviews and rulings name two officials.
	TwoPerson bool `yaml:"two_person,omitempty" json:"two_person,omitempty"`
	// RegulatorReviews: the regulator reviews every application beside the
	// departments whose data it asks for.
	RegulatorReviews bool `yaml:"regulator_reviews,omitempty" json:"regulator_reviews,omitempty"`
	// UnusedMonths after which a grant without a job is shown to the regulator
	// (R27: 3).
	UnusedMonths int   `yaml:"unused_months" json:"unused_months"`
	Burst        Burst `yaml:"burst" json:"burst"`
	// UsageReport is how many working days after a quarter the holders of licences
	// report on their use (R31); 0 sets no deadline, and a missing report is shown.
	UsageReport int `yaml:"usage_report,omitempty" json:"usage_report,omitempty"`
}

// Burst is how many attempts outside a licence's columns, purposes or data sets
// within how many hours the regulator is shown (R27).
type Burst struct {
	Refusals int `yaml:"refusals" json:"refusals"` // 2…100
	Hours    int `yaml:"hours" json:"hours"`       // 1…720
}

// Deadlines of acts, in working days, 1…250 each.
type Deadlines struct {
	Accept   int `yaml:"accept" json:"accept"`     // the regulator takes an application in, or returns it
	Complete int `yaml:"complete" json:"complete"` // the applicant completes a returned application
	Review   int `yaml:"review" json:"review"`     // each reviewer approves or refuses
	Grant    int `yaml:"grant" json:"grant"`       // the licence follows an approval
	Rule     int `yaml:"rule" json:"rule"`         // the owning department rules on an objection
	Answer   int `yaml:"answer" json:"answer"`     // the objector is told
	Correct  int `yaml:"correct" json:"correct"`   // a reported error is checked and answered (R26)
	Settle   int `yaml:"settle" json:"settle"`     // the regulator settles a dispute
	Follow   int `yaml:"follow" json:"follow"`     // catalogue and grading follow a change of law or function (R22)
	Check    int `yaml:"check" json:"check"`       // the regulator reviews that (R22)
	Renew    int `yaml:"renew" json:"renew"`       // before a licence ends its operator is reminded
}

// rules are the numbers of a profile that something filed under it keeps.
type rules struct {
	Deadlines
	profile                  string
	reminder, escalation     int
	escalateTo               string
	twoPerson, withRegulator bool
}

func (p Profile) rules() rules {
	return rules{Deadlines: p.Deadlines, profile: p.ID, reminder: p.Reminder, escalation: p.Escalation,
		escalateTo: p.EscalateTo, twoPerson: p.TwoPerson, withRegulator: p.RegulatorReviews}
}

// Profile returns the profile in force.
func (b *Book) Profile() (Profile, bool) { return b.desk.profile, b.desk.profile.ID != "" }

// Calendar returns the working-day calendar in force; without a profile it knows
// no year.
func (b *Book) Calendar() Calendar { return b.desk.calendar }

func (b *Book) putProfile(p Profile, a act) error {
	if !a.signers[b.root] {
		return texts.Errorf("signature of the regulator %q is missing", b.root)
	}
	if err := checkID("profile", p.ID); err != nil {
		return err
	}
	if p.Title.ZH == "" {
		return texts.Errorf("title.zh is missing")
	}
	calendar, err := NewCalendar(p.Calendar)
	if err != nil {
		return err
	}
	// Deadlines already run over these years: without one they would lose their
	// end, and a missed one could be made to vanish.
	for _, y := range b.desk.calendar.Years() {
		if !slices.Contains(calendar.Years(), y) {
			return texts.Errorf("calendar year %d is missing; a profile may add or correct years, never drop one", y)
		}
	}
	d := reflect.ValueOf(p.Deadlines)
	for i := range d.NumField() {
		if n := d.Field(i).Int(); n < 1 || n > maxWorkingDays {
			name, _, _ := strings.Cut(d.Type().Field(i).Tag.Get("yaml"), ",")
			return texts.Errorf("deadlines.%s is %d; it must lie in 1…250 working days", name, n)
		}
	}
	for _, n := range []struct {
		name       string
		is, lo, hi int
	}{
		{"reminder", p.Reminder, 1, 30}, {"escalation", p.Escalation, 1, 30}, {"unused_months", p.UnusedMonths, 1, 60},
		{"burst.refusals", p.Burst.Refusals, 2, maxStrays}, {"burst.hours", p.Burst.Hours, 1, 720},
	} {
		if n.is < n.lo || n.is > n.hi {
			return texts.Errorf("%s is %d; it must lie in %d…%d", n.name, n.is, n.lo, n.hi)
		}
	}
	if p.UsageReport < 0 || p.UsageReport > maxWorkingDays {
		return texts.Errorf("usage_report is %d; it must lie in 1…250 working days, or be left out", p.UsageReport)
	}
	if p.EscalateTo != "" {
		if to, ok := b.parties[p.EscalateTo]; !ok || to.Role == RoleOperator || to.Withdrawn {
			return texts.Errorf("escalate_to %q is no department or regulator of the registry", safeName(p.EscalateTo))
		}
	}
	b.desk.profile, b.desk.calendar = p, calendar
	return nil
}

// maxStrays is the most attempts outside a licence that a burst may take.
const maxStrays = 100
