package state

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// desk is what the jobs tell about grants, and which duties were noted.
type desk struct {
	used  map[string]int64   // licence → its last job that was not refused, Unix milliseconds
	stray map[string][]int64 // licence → the last attempts outside it
	noted map[string]int64   // duty and phase → when it was noted
	order []entry.DutyNoted  // as noted
}

func newDesk() desk {
	return desk{used: map[string]int64{}, stray: map[string][]int64{}, noted: map[string]int64{}}
}

// outside are the refusals of what lies outside a licence (R27).
var outside = []string{"COLUMN_NOT_LICENSED", "PURPOSE_NOT_LICENSED", "DATASET_NOT_LICENSED"}

// mostStrays kept of a licence: as many as the largest burst a profile may set.
const mostStrays = 100

// seen keeps when a licence was used and when it was overstepped.
func (s *State) seen(e *entry.Entry, r entry.Request, reasons []policies.Reason) {
	s.conduct.add(e, r, reasons, func() string { return s.columns(r) })
	if len(reasons) == 0 {
		s.desk.used[r.Licence] = e.At
		return
	}
	// Of a licence that is another operator's, or nobody's, the refusal says so
	// and none of these.
	if !slices.ContainsFunc(reasons, func(x policies.Reason) bool { return slices.Contains(outside, x.Code) }) {
		return
	}
	old := s.desk.stray[r.Licence]
	s.desk.stray[r.Licence] = append(slices.Clone(old[max(0, len(old)-mostStrays+1):]), e.At)
}

// LastUse is the last job under a licence that was not refused; false without one.
func (s *State) LastUse(licence string) (time.Time, bool) {
	at, ok := s.desk.used[licence]
	return time.UnixMilli(at).UTC(), ok
}

// Unused lists the licences in force at an instant that had no job for as many
// months as the profile allows (R27), each with the instant since when.
func (s *State) Unused(at time.Time) map[string]time.Time {
	out := map[string]time.Time{}
	for _, id := range s.book.Licences() {
		if s.book.InForce(id, at) != nil {
			continue
		}
		l, _ := s.book.Licence(id)
		since := s.book.Granted(id)
		if l.NotBefore.After(since) {
			since = l.NotBefore
		}
		if last, ok := s.LastUse(id); ok && last.After(since) {
			since = last
		}
		if limit := s.book.UnusedLimit(since); !limit.IsZero() && !at.Before(limit) {
			out[id] = since.UTC()
		}
	}
	return out
}

// shown is how long a burst stays among the duties.
const shown = 30 * 24 * time.Hour

// Bursts lists the licences outside of which so many attempts were made within so
// many hours, as the profile says (R27), each with the instant of the attempt
// that completed the latest burst. A burst is shown for thirty days.
func (s *State) Bursts(at time.Time) map[string]time.Time {
	out := map[string]time.Time{}
	p, ok := s.book.Profile()
	if !ok {
		return out
	}
	for id, times := range s.desk.stray {
		if last, ok := completed(times, p.Burst.Refusals, time.Duration(p.Burst.Hours)*time.Hour); ok && at.Sub(last) < shown {
			out[id] = last
		}
	}
	return out
}

// Duties are those of the policy in force (policies.Book.Duties) and what the
// regulator is shown of the use of licences: grants unused and bursts of attempts
// outside one. These two have no deadline and are escalated from the start.
func (s *State) Duties(at time.Time) []policies.Duty {
	if s.book == nil {
		return nil
	}
	out := s.book.Duties(at)
	root := s.book.Root()
	shown := func(kind policies.DutyKind, licences map[string]time.Time, due func(time.Time) time.Time) {
		for id, since := range licences {
			out = append(out, policies.Duty{ID: fmt.Sprintf("%s/%s/%s", kind, id, policies.Day(since)), Kind: kind, About: id, Owes: root,
				Since: since, Due: due(since), Phase: policies.PhaseEscalated, EscalatedTo: root})
		}
	}
	shown(policies.DutyUnused, s.Unused(at), s.book.UnusedLimit)
	shown(policies.DutyBurst, s.Bursts(at), func(since time.Time) time.Time { return since })
	// verification:
	out = append(out, s.probeDuties(at)...)
	policies.SortDuties(out)
	return out
}

func notedKey(duty string, phase policies.DutyPhase) string { return string(phase) + "\x00" + duty }

// ErrNothingDue says that no duty is left to be noted.
var ErrNothingDue = errors.New("no duty is to be noted")

// NextNote is the first duty that came into a phase that is to be noted, and was
// not noted in it: a reminder, a missed deadline, an escalation.
func (s *State) NextNote(at time.Time) (entry.DutyNoted, error) {
	for _, d := range s.Duties(at) {
		if _, done := s.desk.noted[notedKey(d.ID, d.Phase)]; !done && d.Phase != policies.PhaseOpen {
			return entry.DutyNoted{Duty: d.ID, Phase: d.Phase, Owes: d.Owes}, nil
		}
	}
	return entry.DutyNoted{}, ErrNothingDue
}

// Noted lists what was noted, in order.
func (s *State) Noted() []entry.DutyNoted { return slices.Clone(s.desk.order) }

func (s *State) applyDutyNoted(e *entry.Entry) error {
	if err := s.gateway(e); err != nil {
		return err
	}
	n := *e.DutyNoted
	if _, again := s.desk.noted[notedKey(n.Duty, n.Phase)]; again {
		return errors.New("the duty was noted in this phase before")
	}
	fits := func(d policies.Duty) bool { return d.ID == n.Duty && d.Phase == n.Phase && d.Owes == n.Owes }
	if n.Phase == policies.PhaseOpen || !slices.ContainsFunc(s.Duties(e.Time()), fits) {
		return errors.New("no such duty is in this phase at the entry's time")
	}
	s.desk.noted[notedKey(n.Duty, n.Phase)] = e.At
	s.desk.order = append(s.desk.order, n)
	return nil
}

// MissedBetween lists the duties that were noted as missed in [from, to), each once,
// sorted. What the regulator is merely shown, an unused grant or a burst, is not
// among them.
func (s *State) MissedBetween(from, to time.Time) []string {
	var out []string
	for _, n := range s.desk.order {
		at := time.UnixMilli(s.desk.noted[notedKey(n.Duty, n.Phase)])
		kind, _, _ := strings.Cut(n.Duty, "/")
		if !n.Phase.Missed() || at.Before(from) || !at.Before(to) || kind == string(policies.DutyUnused) || kind == string(policies.DutyBurst) || kind == string(policies.DutyProbe) {
			continue
		}
		out = append(out, n.Duty)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
