package policies

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// KindUsageReport is an operator's quarterly feedback on what it used data for and
// to what effect 数据使用情况反馈 (R31).
const KindUsageReport Kind = "UsageReport"

// DutyReport is the feedback that the holder of a licence owes after each quarter.
const DutyReport DutyKind = "report"

// UsageReport is one licence's feedback on one quarter. A later one on the same
// quarter replaces it; both stay in the ledger.
type UsageReport struct {
	ID        string `yaml:"id" json:"id"`
	Operator  string `yaml:"operator" json:"operator"`
	Licence   string `yaml:"licence" json:"licence"`
	Period    string `yaml:"period" json:"period"`       // such as 2026Q3
	Scenario  Text   `yaml:"scenario" json:"scenario"`   // 使用场景: where the results were used
	Effect    Text   `yaml:"effect" json:"effect"`       // 使用成效: what came of it
	Incidents Text   `yaml:"incidents" json:"incidents"` // 问题与安全事件; "无" when there were none
}

// UsageRecord is a report with the instant it was filed.
type UsageRecord struct {
	Report UsageReport
	At     time.Time
}

// UsageQuarter is a quarter for which a licence's feedback is due or was given.
type UsageQuarter struct {
	Licence  string
	Operator string
	Period   string
	End      time.Time // of the quarter
	// Filed is the latest report; its At is zero while there is none.
	Filed UsageRecord
}

type usageKey struct{ licence, period string }

var quarterPattern = regexp.MustCompile(`^(20[0-9]{2})Q([1-4])$`)

// quarterOf reads 2026Q3 as the half-open span of that quarter in China Standard Time.
func quarterOf(period string) (from, to time.Time, ok bool) {
	m := quarterPattern.FindStringSubmatch(period)
	if m == nil {
		return from, to, false
	}
	year, _ := strconv.Atoi(m[1])
	quarter, _ := strconv.Atoi(m[2])
	from, to = Quarter(year, quarter)
	return from.UTC(), to.UTC(), true
}

// Quarter is the half-open span of a calendar quarter, 1 to 4, in China Standard Time.
func Quarter(year, quarter int) (from, to time.Time) {
	from = time.Date(year, time.Month(3*quarter-2), 1, 0, 0, 0, 0, CivilZone)
	return from, from.AddDate(0, 3, 0)
}

// quarterAt names the quarter an instant lies in.
func quarterAt(at time.Time) string {
	at = at.In(CivilZone)
	return strconv.Itoa(at.Year()) + "Q" + strconv.Itoa((int(at.Month())+2)/3)
}

func (b *Book) putUsageReport(r UsageReport, a act) error {
	if err := b.checkUsageReport(r, a); err != nil {
		return texts.Errorf("usage report %q: %w", safeName(r.ID), err)
	}
	b.usage = maps.Clone(b.usage)
	if b.usage == nil {
		b.usage = map[usageKey]UsageRecord{}
	}
	b.usage[usageKey{r.Licence, r.Period}] = UsageRecord{Report: r, At: a.at}
	return nil
}

func (b *Book) checkUsageReport(r UsageReport, a act) error {
	if err := checkID("usage report", r.ID); err != nil {
		return err
	}
	if _, err := b.party(r.Operator, a, RoleOperator); err != nil {
		return err
	}
	for key, have := range b.usage {
		if have.Report.ID == r.ID && key != (usageKey{r.Licence, r.Period}) {
			return texts.Errorf("a report of this id was filed before, on another licence or quarter")
		}
	}
	l, ok := b.licences[r.Licence]
	if !ok || l.Operator != r.Operator {
		return texts.Errorf("operator %q holds no licence %q", r.Operator, safeName(r.Licence))
	}
	from, to, ok := quarterOf(r.Period)
	if !ok {
		return texts.Errorf("period is not a quarter such as 2026Q3")
	}
	held := b.desk.first[r.Licence]
	if l.NotBefore.After(held) {
		held = l.NotBefore
	}
	if !held.Before(to) || !l.NotAfter.After(from) {
		return texts.Errorf("licence %q was not held in %s", r.Licence, r.Period)
	}
	over := to
	if b.InForce(r.Licence, a.at) != nil {
		over = from // a licence that ended has its last report at once
	}
	if a.at.Before(over) {
		return texts.Errorf("quarter %s is not over; it is reported on after its end", r.Period)
	}
	for _, f := range []struct {
		name string
		text Text
	}{{"scenario", r.Scenario}, {"effect", r.Effect}, {"incidents", r.Incidents}} {
		if f.text.ZH == "" {
			return texts.Errorf("%s.zh is missing", f.name)
		}
	}
	return nil
}

// mostQuarters is how far back feedback is looked for: a licence has a term of at
// most five years, and a year is left to report the last of them.
const mostQuarters = 24

// UsageQuarters lists the quarters that ended while, or in which, a licence was
// held, with the feedback given on each, by licence and quarter: a missing one is a
// visible gap (R31).
func (b *Book) UsageQuarters(at time.Time) []UsageQuarter {
	var out []UsageQuarter
	for _, id := range b.Licences() {
		l := b.licences[id]
		held := b.desk.first[id]
		if l.NotBefore.After(held) {
			held = l.NotBefore
		}
		var of []UsageQuarter
		// From the last quarter that is over backwards, so that an old licence costs
		// no more than the bound.
		from, _, _ := quarterOf(quarterAt(at))
		for range mostQuarters {
			period := quarterAt(from.Add(-1))
			start, end, _ := quarterOf(period)
			from = start
			if !held.Before(end) {
				break
			}
			if l.NotAfter.After(start) && !b.revokedBefore(id, start) {
				of = append(of, UsageQuarter{Licence: id, Operator: l.Operator, Period: period, End: end, Filed: b.usage[usageKey{id, period}]})
			}
		}
		slices.Reverse(of)
		out = append(out, of...)
	}
	return out
}

// revokedBefore says whether a licence was withdrawn before an instant.
func (b *Book) revokedBefore(licence string, at time.Time) bool {
	since, ok := b.desk.lost[licence]
	return ok && since.Before(at)
}

// reports enters the feedback that is owed, where the profile in force gives it a
// deadline.
func (a *agenda) reports() {
	r := a.b.pinned()
	days := a.b.desk.profile.UsageReport
	if days == 0 {
		return // UsageQuarters shows the gap; nobody is reminded of it
	}
	for _, q := range a.b.UsageQuarters(a.at) {
		if q.Filed.At.IsZero() {
			a.add(DutyReport, q.Licence+"/"+q.Period, q.Operator, 1, q.End, days, r)
		}
	}
}
