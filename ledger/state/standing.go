package state

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// Due lists what the standing orders in force call for at an instant and was not
// ordered yet (R27). It is pure: the same ledger prefix and instant give the same
// list in the same order.
func (s *State) Due(at time.Time) []policies.Automatic {
	if s.book == nil {
		return nil
	}
	var out []policies.Automatic
	for _, r := range s.book.StandingOrders() {
		if !s.book.StandingHolds(r, at) {
			continue
		}
		for _, l := range s.book.Covered(r, at) {
			for _, occasion := range s.occasions(r, l, at) {
				// A calendar that lacks the year is asked for by a duty of its own
				// (calendar/YEAR); no deadline is guessed.
				if v, err := s.book.Call(r, l.ID, occasion, at); err == nil {
					out = append(out, v)
				}
			}
		}
	}
	return out
}

// occasions says what meets the condition of a standing order on a licence; nothing
// while an order that it gave is open.
func (s *State) occasions(r policies.StandingRecord, l policies.Licence, at time.Time) []string {
	given := s.book.Executed(r.Standing.ID, l.ID)
	// What was ordered on, or came before the instruction was signed, is past.
	since := r.At
	for _, o := range given {
		if o.Closed == "" && (o.Order.Stage == policies.StageSuspend || o.Order.Stage == policies.StageRectify) {
			return nil
		}
		since = latest(since, o.At, o.ClosedAt)
	}
	fresh := func(occasion string) []string {
		if slices.ContainsFunc(given, func(o policies.OrderRecord) bool { return o.Occasion == occasion }) {
			return nil
		}
		return []string{occasion}
	}
	c := r.Standing.Condition
	counted := func(times []int64) []string {
		if last, ok := burst(times, since.UnixMilli(), c.Count, c.Hours); ok {
			return fresh(instant(last))
		}
		return nil
	}
	switch c.Kind {
	case policies.ConditionUnused:
		if from, ok := s.idle(l, c.Months, at); ok {
			return fresh(instant(from.UnixMilli()))
		}
	case policies.ConditionOutOfScope:
		return counted(s.desk.stray[l.ID])
	case policies.ConditionRefusals:
		return counted(s.conduct.refused[l.ID])
	case policies.ConditionEnumeration:
		for _, times := range sortedLists(s.questions(l.ID)) {
			if out := counted(times); out != nil {
				return out
			}
		}
	case policies.ConditionBudget:
		var out []string
		for _, u := range s.BudgetUses(l, at) {
			if u.Percent() >= c.Percent {
				out = append(out, fresh(u.Scope.Key())...)
			}
		}
		return out
	case policies.ConditionUncorrected:
		return s.uncorrected(r, l, at, fresh)
	}
	return nil
}

// idle says since when a licence has not been used, if that is so many months. A
// suspension counts as use: whoever may not use a grant does not leave it unused.
func (s *State) idle(l policies.Licence, months int, at time.Time) (time.Time, bool) {
	target := policies.Target{Kind: policies.TargetLicence, ID: l.ID}
	if len(s.book.Holds(target)) > 0 {
		return time.Time{}, false
	}
	from := latest(s.book.Granted(l.ID), l.NotBefore)
	if last, ok := s.LastUse(l.ID); ok {
		from = latest(from, last)
	}
	for _, o := range s.book.Orders() {
		if o.Order.Target == target {
			from = latest(from, o.ClosedAt)
		}
	}
	return from, !at.Before(from.In(civil).AddDate(0, months, 0))
}

// uncorrected are the orders to rectify on a licence that ran out so many working
// days ago: those of who signed the standing order, and for the regulator anybody's.
func (s *State) uncorrected(r policies.StandingRecord, l policies.Licence, at time.Time, fresh func(string) []string) []string {
	for _, o := range s.book.Orders() {
		mine := o.Order.By == r.Standing.By || r.Standing.By == s.book.Root()
		if o.Order.Target != (policies.Target{Kind: policies.TargetLicence, ID: l.ID}) || !o.Overdue(at) || !mine {
			continue
		}
		if end, ok := s.book.WorkingDaysAfter(o.Order.Due, r.Standing.Condition.Days); ok && !at.Before(end) {
			if out := fresh(o.Order.ID); out != nil {
				return out
			}
		}
	}
	return nil
}

func latest(t time.Time, more ...time.Time) time.Time {
	for _, m := range more {
		if m.After(t) {
			t = m
		}
	}
	return t
}

func instant(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339Nano) }

// sortedLists are the lists of a map in an order that every reader finds alike.
func sortedLists(m map[string][]int64) [][]int64 {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, cmp.Compare[string])
	out := make([][]int64, len(keys))
	for i, k := range keys {
		out[i] = m[k]
	}
	return out
}

// ErrNotCalledFor says that no standing order calls for anything.
var ErrNotCalledFor = errors.New("no standing order calls for an order")

// NextOrdered is the first order that is called for at an instant, and the book with
// it in force.
func (s *State) NextOrdered(at time.Time) (policies.Automatic, *policies.Book, error) {
	due := s.Due(at)
	if len(due) == 0 {
		return policies.Automatic{}, nil, ErrNotCalledFor
	}
	next, err := s.book.Ordered(due[0], at)
	return due[0], next, err
}

func (s *State) applyOrdered(e *entry.Entry) error {
	if err := s.gateway(e); err != nil {
		return err
	}
	for _, v := range s.Due(e.Time()) {
		if same("automatic order", v, *e.Ordered) == nil {
			next, err := s.book.Ordered(v, e.Time())
			if err != nil {
				return err
			}
			s.book = next
			return nil
		}
	}
	return errors.New("no standing order in force calls for this order at the entry's time")
}
