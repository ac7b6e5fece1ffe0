package policies

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// One duty, from its first day to its escalation, to the second.
func TestR24_PhasesOfADuty(t *testing.T) {
	b := play(t, desktown(t), fileIt, acceptIt) // Monday 2 March, 7 working days: until the end of Wednesday 11 March
	phase := func(when string) DutyPhase {
		d := b.Duties(cst(t, when))
		if len(d) != 2 || d[0].Phase != d[1].Phase {
			t.Fatalf("%s: %v", when, d)
		}
		return d[0].Phase
	}
	for _, x := range []struct {
		when string
		want DutyPhase
	}{
		{"2026-03-02 09:00:01", PhaseOpen}, {"2026-03-10 23:59:59", PhaseOpen},
		{"2026-03-11 00:00:00", PhaseRemind}, {"2026-03-11 23:59:59", PhaseRemind},
		{"2026-03-12 00:00:00", PhaseOverdue}, {"2026-03-12 23:59:59", PhaseOverdue},
		{"2026-03-13 00:00:00", PhaseEscalated}, {"2027-03-13 00:00:00", PhaseEscalated},
	} {
		if got := phase(x.when); got != x.want {
			t.Errorf("%s: %s, want %s", x.when, got, x.want)
		}
	}
	d := b.Duties(cst(t, "2026-03-13 00:00:00"))
	if d[0].EscalatedTo != "bureau" || d[1].EscalatedTo != "bureau" || !d[0].Phase.Missed() {
		t.Errorf("%v", d)
	}
	// To whom the profile names, but never to the one who owes.
	to := at(t, town(t, ""), monday, chifeng(t)+"escalate_to: dept\n", "bureau")
	to = play(t, to, fileIt, acceptIt)
	for _, d := range to.Duties(cst(t, "2026-03-13 00:00:00")) {
		if want := map[string]string{"dept": "bureau", "bureau": "dept"}[d.Owes]; d.EscalatedTo != want {
			t.Errorf("%s is escalated to %q", d.ID, d.EscalatedTo)
		}
	}
}

// What was filed keeps the numbers it was filed under; what is filed later has
// the later ones.
func TestR24_DeadlinesAreThoseOfTheFiling(t *testing.T) {
	b := play(t, desktown(t), fileIt)
	slow := strings.Replace(chifeng(t), "accept: 2", "accept: 10", 1)
	b = at(t, b, monday, slow, "bureau")
	b = at(t, b, monday, strings.Replace(townApplication, "app-1", "app-2", 1), "op")
	d := b.Duties(day(0))
	if len(d) != 2 || !d[0].Due.Equal(cst(t, "2026-03-05 00:00:00")) || !d[1].Due.Equal(cst(t, "2026-03-17 00:00:00")) {
		t.Errorf("%v", d)
	}
	if !slices.Equal(b.Applications(), []string{"app-1", "app-2"}) {
		t.Error(b.Applications())
	}
}

func TestR06_RenewalIsRemindedOf(t *testing.T) {
	text := edited(t, townLicence, "not_after: 2031-01-01", "not_after: 2026-06-01")
	b := at(t, town(t, "licence"), monday, chifeng(t), "bureau")
	b = at(t, b, monday, text, "bureau", "dept")
	for when, want := range map[string]int{"2026-03-02 12:00:00": 0, "2026-05-15 23:59:59": 0, "2026-05-18 00:00:00": 1, "2026-05-31 23:59:59": 1, "2026-06-01 00:00:00": 0} {
		if d := b.Duties(cst(t, when)); len(d) != want || want == 1 && (d[0].ID != "renew/l1/2026-06-01" || d[0].Phase != PhaseRemind || d[0].Owes != "op") {
			t.Errorf("%s: %v", when, d)
		}
	}
	renewal := edited(t, townApplication, "contact:", "renews: l1\ncontact:")
	b = at(t, b, cst(t, "2026-05-19 10:00:00"), renewal, "op")
	if d := b.Duties(cst(t, "2026-05-20 10:00:00")); len(d) != 1 || d[0].Kind != DutyAccept {
		t.Errorf("reminded though an application is under way: %v", d)
	}
}

func TestR24_NextYearsCalendarIsOwedInDecember(t *testing.T) {
	b := desktown(t)
	for when, want := range map[string]int{"2025-12-31 12:00:00": 0, "2026-11-30 23:59:59": 0, "2026-12-01 00:00:00": 1} {
		if d := b.Duties(cst(t, when)); len(d) != want || want == 1 && d[0].ID != "calendar/2027" {
			t.Errorf("%s: %v", when, d)
		}
	}
}

// The same book at the same instant owes the same, and asking changes nothing.
func TestR24_DutiesArePure(t *testing.T) {
	b := play(t, desktown(t), fileIt, acceptIt, objectIt, correctIt, bundleStep{townChange, []string{"bureau"}})
	before := picture(t, b)
	first := owed(b, day(9))
	if len(first) != 5 || !slices.Equal(first, owed(b, day(9))) || picture(t, b) != before {
		t.Errorf("%q", first)
	}
	due := b.Duties(day(9))
	if !slices.IsSortedFunc(due, func(x, y Duty) int { return x.Due.Compare(y.Due) }) {
		t.Error("the first due does not come first")
	}
	ids := map[string]time.Time{}
	for _, d := range due {
		ids[d.ID] = d.Due
	}
	if len(ids) != len(due) {
		t.Error("two duties have one id")
	}
}
