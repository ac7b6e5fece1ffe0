package policies

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const usageQ2 = "kind: UsageReport\nid: r-1\noperator: op\nlicence: l1\nperiod: 2026Q2\n" +
	"scenario: {zh: 城市规划}\neffect: {zh: 三份规划采用}\nincidents: {zh: 无}\n"

func usageAt(t *testing.T, b *Book, text string, at time.Time, parties ...string) (*Book, error) {
	t.Helper()
	next, _, err := b.Apply(signed(t, text, parties...), at)
	return next, err
}

// R31: every quarter of a licence wants feedback; what is missing is seen, and owed.
func TestR31_MissingFeedbackIsAVisibleGap(t *testing.T) {
	b := town(t, "")
	after := time.Date(2026, 7, 2, 0, 0, 0, 0, time.UTC) // granted on 1 June
	if q := b.UsageQuarters(time.Date(2026, 6, 29, 0, 0, 0, 0, time.UTC)); len(q) != 0 {
		t.Fatalf("before the quarter ends %v is due", q)
	}
	quarters := b.UsageQuarters(after)
	at := slices.IndexFunc(quarters, func(q UsageQuarter) bool { return q.Licence == "l1" })
	if at < 0 || quarters[at].Period != "2026Q2" || quarters[at].Operator != "op" || !quarters[at].Filed.At.IsZero() {
		t.Fatalf("after the quarter: %+v", quarters)
	}
	filed, err := usageAt(t, b, usageQ2, after, "op")
	if err != nil {
		t.Fatal(err)
	}
	if q := filed.UsageQuarters(after)[at]; !q.Filed.At.Equal(after) || q.Filed.Report.Effect.ZH != "三份规划采用" {
		t.Errorf("after it was filed: %+v", q)
	}
	if q := b.UsageQuarters(after)[at]; !q.Filed.At.IsZero() {
		t.Error("the book before it was changed")
	}
	// Half a year later the next ones are missing, and this one is not.
	var missing []string
	for _, q := range filed.UsageQuarters(after.AddDate(0, 6, 0)) {
		if q.Licence == "l1" && q.Filed.At.IsZero() {
			missing = append(missing, q.Period)
		}
	}
	if !slices.Equal(missing, []string{"2026Q3", "2026Q4"}) {
		t.Errorf("missing half a year later: %v", missing)
	}
}

// R31, R24: the profile gives the feedback a deadline in working days, and a missed
// one is escalated until the report is there.
func TestR31_FeedbackIsOwedWithinTheProfilesDays(t *testing.T) {
	b := apply(t, town(t, ""), chifeng(t), "bureau")
	late := time.Date(2026, 8, 3, 0, 0, 0, 0, time.UTC)
	owed := func(b *Book, at time.Time) []Duty {
		return slices.DeleteFunc(b.Duties(at), func(d Duty) bool { return d.Kind != DutyReport })
	}
	if d := owed(b, late); len(d) != 0 {
		t.Fatalf("a profile without usage_report sets deadlines: %v", d)
	}
	b = apply(t, b, load(t, "profiles/chifeng.yaml"), "bureau")
	d := owed(b, time.Date(2026, 7, 2, 0, 0, 0, 0, time.UTC))
	if len(d) == 0 || d[0].Owes != "op" || d[0].Phase != PhaseOpen || d[0].Due.Add(-1).In(CivilZone).Format(time.DateOnly) != "2026-07-22" {
		t.Fatalf("two days after the quarter: %+v", d)
	}
	if d = owed(b, late); len(d) == 0 || !d[0].Phase.Missed() {
		t.Fatalf("a month after it: %+v", d)
	}
	filed, err := usageAt(t, b, usageQ2, late, "op")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range owed(filed, late) {
		if x.About == "l1/2026Q2" {
			t.Errorf("still owed: %+v", x)
		}
	}
}

func TestR31_FeedbackIsRefusedByName(t *testing.T) {
	b := town(t, "")
	after := time.Date(2026, 7, 2, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		text string
		at   time.Time
		by   string
		want string
	}{
		"early":        {usageQ2, time.Date(2026, 6, 20, 0, 0, 0, 0, time.UTC), "op", "is not over"},
		"other party":  {usageQ2, after, "dept", "signature of"},
		"no licence":   {strings.Replace(usageQ2, "l1", "l9", 1), after, "op", "holds no licence"},
		"no quarter":   {strings.Replace(usageQ2, "2026Q2", "2026Q5", 1), after, "op", "not a quarter"},
		"not yet held": {strings.Replace(usageQ2, "2026Q2", "2026Q1", 1), after, "op", "was not held"},
		"no effect":    {strings.Replace(usageQ2, "三份规划采用", "", 1), after, "op", "effect.zh"},
		"a number":     {strings.Replace(usageQ2, "三份规划采用", "联系 13800138000", 1), after, "op", "effect.zh"},
		"unknown":      {usageQ2 + "rating: 5\n", after, "op", "rating"},
	} {
		if _, err := usageAt(t, b, c.text, c.at, c.by); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	filed, err := usageAt(t, b, usageQ2, after, "op")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := usageAt(t, filed, strings.Replace(usageQ2, "2026Q2", "2026Q3", 1), after.AddDate(0, 6, 0), "op"); err == nil {
		t.Error("one id stands for two quarters")
	}
}
