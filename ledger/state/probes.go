package state

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// Pattern of verifications that look like an attempt to find out more than was
// agreed to.
type Pattern string

// Patterns, each with how many events within a day the regulator is shown.
const (
	ProbeSubjects  Pattern = "subjects"  // beyond the quota of distinct subjects
	ProbeStrangers Pattern = "strangers" // about many subjects who consented to nothing
	ProbeClaims    Pattern = "claims"    // claim after claim about one subject
	ProbeSearch    Pattern = "search"    // threshold after threshold about one subject
	ProbePool      Pattern = "pool"      // beyond the bits of all operators together
)

var probeEvents = map[Pattern]int{ProbeSubjects: 1, ProbeStrangers: 20, ProbeClaims: 3, ProbeSearch: 3, ProbePool: 1}

type probe struct {
	Licence string
	Pattern Pattern
}

// Probe is a pattern seen under a licence, and the event that completed it last.
type Probe struct {
	Licence string
	Pattern Pattern
	At      time.Time
}

const mostProbes = 100

func (s *State) noteProbe(licence string, p Pattern, at int64) {
	key := probe{licence, p}
	old := s.verifications.probes[key]
	s.verifications.probes[key] = append(slices.Clone(old[max(0, len(old)-mostProbes+1):]), at)
}

func (s *State) noteRefused(e *entry.Entry, r *entry.VerificationRefused) {
	for _, x := range r.Reasons {
		switch x.Code {
		case "SUBJECTS_EXHAUSTED":
			s.noteProbe(r.Request.Licence, ProbeSubjects, e.At)
		case "QUESTIONS_EXHAUSTED":
			pattern := ProbeSearch
			if p, ok := s.book.Product(r.Request.Product); ok && p.Predicate.Op == policies.PredEquals {
				pattern = ProbeClaims
			}
			s.noteProbe(r.Request.Licence, pattern, e.At)
		}
	}
}

func (s *State) noteReserved(e *entry.Entry, r *entry.VerificationReserved, fresh bool) {
	switch {
	case r.Ground == entry.GroundConsent && fresh:
		s.noteProbe(r.Request.Licence, ProbeStrangers, e.At)
	case r.Ground == entry.GroundExhausted:
		s.noteProbe(r.Request.Licence, ProbePool, e.At)
	}
}

// completed is the last event that completed n of them within a span.
func completed(times []int64, n int, span time.Duration) (time.Time, bool) {
	for i := len(times) - 1; i >= n-1; i-- {
		if times[i]-times[i-n+1] <= span.Milliseconds() {
			return time.UnixMilli(times[i]).UTC(), true
		}
	}
	return time.Time{}, false
}

// Probes lists the patterns completed within the last thirty days, in order of
// licence and pattern.
func (s *State) Probes(at time.Time) []Probe {
	var out []Probe
	for key, times := range s.verifications.probes {
		if last, ok := completed(times, probeEvents[key.Pattern], 24*time.Hour); ok && at.Sub(last) < shown {
			out = append(out, Probe{key.Licence, key.Pattern, last})
		}
	}
	slices.SortFunc(out, func(x, y Probe) int {
		return cmp.Or(cmp.Compare(x.Licence, y.Licence), cmp.Compare(x.Pattern, y.Pattern))
	})
	return out
}

// probeDuties are what the regulator is shown of them: noted in the ledger as other
// duties are, without a deadline and escalated from the start.
func (s *State) probeDuties(at time.Time) []policies.Duty {
	var out []policies.Duty
	for _, p := range s.Probes(at) {
		out = append(out, policies.Duty{ID: fmt.Sprintf("%s/%s/%s/%s", policies.DutyProbe, p.Licence, p.Pattern, policies.Day(p.At)),
			Kind: policies.DutyProbe, About: p.Licence, Owes: s.book.Root(), Since: p.At, Due: p.At, Phase: policies.PhaseEscalated, EscalatedTo: s.book.Root()})
	}
	return out
}
