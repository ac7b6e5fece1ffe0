package policies

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"
)

// DutyKind is what is owed.
type DutyKind string

const (
	DutyAccept   DutyKind = "accept"   // regulator: take an application in or return it
	DutyComplete DutyKind = "complete" // operator: complete a returned application
	DutyReview   DutyKind = "review"   // reviewer: approve or refuse
	DutyGrant    DutyKind = "grant"    // regulator: the licence for an approved application
	DutyRule     DutyKind = "rule"     // owning department: rule on an objection
	DutyAnswer   DutyKind = "answer"   // who ruled: tell the objector
	DutyCorrect  DutyKind = "correct"  // owning department: check a reported error and answer
	DutySettle   DutyKind = "settle"   // regulator: settle a dispute
	DutyFollow   DutyKind = "follow"   // department: catalogue and grading follow a change (R22)
	DutyCheck    DutyKind = "check"    // regulator: review what followed (R22)
	DutyRenew    DutyKind = "renew"    // operator: apply for the renewal of a licence that ends
	DutyCalendar DutyKind = "calendar" // regulator: apply next year's holidays
	DutyUnused   DutyKind = "unused"   // regulator: look at a grant that is not used (R27)
	DutyBurst    DutyKind = "burst"    // regulator: look at attempts outside a licence (R27)
	DutyProbe    DutyKind = "probe"    // regulator: look at verifications that search or enumerate (R27)
)

// DutyPhase is how urgent a duty is.
type DutyPhase string

const (
	PhaseOpen      DutyPhase = "open"
	PhaseRemind    DutyPhase = "remind"    // the deadline is near
	PhaseOverdue   DutyPhase = "overdue"   // it has passed
	PhaseEscalated DutyPhase = "escalated" // and was brought before whom the profile names
	PhaseUndated   DutyPhase = "undated"   // the calendar or the profile lacks what it is computed from
)

// Missed says whether a duty in the phase is past its deadline, or has none that
// could be kept.
func (p DutyPhase) Missed() bool {
	return p == PhaseOverdue || p == PhaseEscalated || p == PhaseUndated
}

// Duty is what a party owes until an instant.
type Duty struct {
	ID    string    `json:"id"` // stable while the duty lasts, and never used again
	Kind  DutyKind  `json:"kind"`
	About string    `json:"about"` // document or licence
	Owes  string    `json:"owes"`
	Since time.Time `json:"since"`
	// Due is the end of the last day: an act before it is in time. Zero in phase
	// undated, whose Problem says why.
	Due         time.Time `json:"due,omitzero"`
	Phase       DutyPhase `json:"phase"`
	EscalatedTo string    `json:"escalated_to,omitempty"`
	Problem     string    `json:"problem,omitempty"`
}

// of are the numbers that hold for a case: those it was filed under, or of one
// filed before any profile those in force now.
func (b *Book) of(r rules) rules {
	if r.profile == "" {
		return b.pinned()
	}
	return r
}

// agenda gathers duties at an instant.
type agenda struct {
	b   *Book
	at  time.Time
	out []Duty
}

// Duties are what is owed at an instant, by whom and until when, the first due
// first. It is pure: the same book and instant give the same duties.
func (b *Book) Duties(at time.Time) []Duty {
	a := &agenda{b: b, at: at}
	for _, id := range b.Applications() {
		a.application(b.desk.applications[id])
	}
	for _, id := range b.Objections() {
		a.objection(b.desk.objections[id])
	}
	for _, id := range b.Corrections() {
		a.correction(b.desk.corrections[id])
	}
	for _, id := range slices.Sorted(maps.Keys(b.desk.changes)) {
		c := b.desk.changes[id]
		switch r := b.of(c.rules); c.State {
		case ChangeOpen:
			a.add(DutyFollow, id, c.Change.Department, len(c.Steps), c.from(), r.Follow, r)
		case ChangeFollowed:
			a.add(DutyCheck, id, b.root, len(c.Steps), c.Since, r.Check, r)
		}
	}
	for _, id := range b.Licences() {
		a.renewal(b.licences[id])
	}
	a.reports()
	a.nextYear()
	SortDuties(a.out)
	return a.out
}

// SortDuties puts those without a date first, then the first due, then by id.
func SortDuties(d []Duty) {
	slices.SortFunc(d, func(x, y Duty) int { return cmp.Or(x.Due.Compare(y.Due), cmp.Compare(x.ID, y.ID)) })
}

func (a *agenda) application(c ApplicationCase) {
	id, r := c.Application.ID, c.rules
	switch c.State {
	case AppFiled:
		a.add(DutyAccept, id, a.b.root, c.round, c.Filed, r.Accept, r)
	case AppReturned:
		a.add(DutyComplete, id, c.Application.Operator, c.round, c.Since, r.Complete, r)
	case AppAccepted, AppReviewing:
		for _, p := range c.pending() {
			a.add(DutyReview, id, p, c.round, c.Since, r.Review, r)
		}
	case AppApproved:
		a.add(DutyGrant, id, a.b.root, c.round, c.Since, r.Grant, r)
	}
}

func (a *agenda) objection(c ObjectionCase) {
	id, r := c.Objection.ID, a.b.of(c.rules)
	switch c.State {
	case CaseOpen:
		a.add(DutyRule, id, a.b.datasets[c.Objection.Dataset].Department, 1, c.Since, r.Rule, r)
	case CaseRuled:
		a.add(DutyAnswer, id, c.Steps[len(c.Steps)-1].By, 1, c.Since, r.Answer, r)
	}
}

func (a *agenda) correction(c CorrectionCase) {
	id, r := c.Correction.ID, a.b.of(c.rules)
	switch c.State {
	case CaseOpen:
		a.add(DutyCorrect, id, a.b.datasets[c.Correction.Dataset].Department, 1, c.Since, r.Correct, r)
	case CaseDisputed:
		a.add(DutySettle, id, a.b.root, 1, c.Since, r.Settle, r)
	}
}

// add enters a duty of so many working days. round tells a duty from an earlier
// one of the same kind on the same document.
func (a *agenda) add(kind DutyKind, about, owes string, round int, since time.Time, days int, r rules) {
	d := Duty{ID: string(kind) + "/" + about + "/" + owes, Kind: kind, About: about, Owes: owes, Since: since, Phase: PhaseOpen}
	if round > 1 {
		d.ID += "/" + strconv.Itoa(round)
	}
	due, err := a.b.desk.calendar.AddWorkingDays(since, days)
	if r.profile == "" {
		err = texts.Errorf("no Profile is in force: the regulator applies one")
	}
	if err != nil {
		d.Phase, d.Problem = PhaseUndated, err.Error()
		a.out = append(a.out, d)
		return
	}
	d.Due = due
	switch {
	case !a.at.Before(due):
		d.Phase = PhaseOverdue
		// Counted from the last instant in time. When the calendar does not reach
		// that far nobody waits for it to.
		end, err := a.b.desk.calendar.AddWorkingDays(due.Add(-1), r.escalation)
		if err != nil || !a.at.Before(end) {
			d.Phase, d.EscalatedTo = PhaseEscalated, r.escalateTo
			if d.EscalatedTo == "" || d.EscalatedTo == owes {
				d.EscalatedTo = a.b.root
			}
		}
	case days <= r.reminder:
		d.Phase = PhaseRemind
	default:
		if near, err := a.b.desk.calendar.AddWorkingDays(since, days-r.reminder); err == nil && !a.at.Before(near) {
			d.Phase = PhaseRemind
		}
	}
	a.out = append(a.out, d)
}

// renewal reminds an operator of a licence that ends: so many working days from
// now lie beyond its end. One for which an application to follow it is under way
// needs no reminder.
func (a *agenda) renewal(l Licence) {
	days := a.b.desk.profile.Deadlines.Renew
	if days == 0 || a.b.InForce(l.ID, a.at) != nil {
		return
	}
	// Far from its end a licence needs no calendar: so many calendar days hold more
	// than the working days asked for, whatever the holidays.
	if l.NotAfter.After(a.at.AddDate(0, 0, 30+2*days)) {
		return
	}
	for _, c := range a.b.desk.applications {
		if c.Application.Renews == l.ID && c.State != AppRefused && c.State != AppWithdrawn {
			return
		}
	}
	d := Duty{ID: string(DutyRenew) + "/" + l.ID + "/" + Day(l.NotAfter), Kind: DutyRenew, About: l.ID, Owes: l.Operator,
		Since: l.NotBefore.UTC(), Due: l.NotAfter.UTC(), Phase: PhaseRemind}
	reach, err := a.b.desk.calendar.AddWorkingDays(a.at, days)
	if err == nil && reach.Before(l.NotAfter) {
		return
	}
	a.out = append(a.out, d)
}

// nextYear asks the regulator in December for the next year's calendar, without
// which deadlines that reach into it have no date.
func (a *agenda) nextYear() {
	now := a.at.In(CivilZone)
	if a.b.desk.profile.ID == "" || now.Month() != time.December || slices.Contains(a.b.desk.calendar.Years(), now.Year()+1) {
		return
	}
	next := strconv.Itoa(now.Year() + 1)
	a.out = append(a.out, Duty{ID: string(DutyCalendar) + "/" + next, Kind: DutyCalendar, About: "calendar " + next, Owes: a.b.root,
		Since: time.Date(now.Year(), time.December, 1, 0, 0, 0, 0, CivilZone).UTC(), Due: time.Date(now.Year()+1, time.January, 1, 0, 0, 0, 0, CivilZone).UTC(), Phase: PhaseRemind})
}

// UnusedLimit is the first instant at which a grant last used, or put in force,
// at an instant counts as unused; zero without a profile.
func (b *Book) UnusedLimit(last time.Time) time.Time {
	n := b.desk.profile.UnusedMonths
	if n == 0 {
		return time.Time{}
	}
	return last.In(CivilZone).AddDate(0, n, 0).UTC()
}

// Root is the regulator's party id.
func (b *Book) Root() string { return b.root }
