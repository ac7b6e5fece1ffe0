package state

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// LicenceEnded is the code of a job whose licence ended while it ran; every other
// job that is stopped fails with the code that would refuse it now.
const LicenceEnded = "LICENCE_ENDED"

// Open lists the jobs with an open reservation, running, waiting or orphaned by a
// crash, in the order in which they were reserved.
func (s *State) Open() []string {
	return slices.SortedFunc(maps.Keys(s.open), func(x, y string) int { return cmp.Compare(s.jobs[x].Seq, s.jobs[y].Seq) })
}

// Stopped says how an open job ends at an instant because a book no longer lets it
// run, nil when it may go on. What stops it is public: its operator, licence,
// purpose and columns, and the policy; never data. Of the consents it was let in with,
// it tells that one ended.
func (s *State) Stopped(book *policies.Book, job string, at time.Time) *entry.Failed {
	j, ok := s.jobs[job]
	if !ok || j.Phase != PhaseReserved {
		return nil
	}
	x := s.refusedNow(book, j, at)
	if x == nil {
		return nil
	}
	f := &entry.Failed{Job: job, Code: x.Code, By: x.SetBy, Rule: x.Rule}
	switch x.Code {
	case "LICENCE_REVOKED", "LICENCE_EXPIRED", "LICENCE_NOT_YET_VALID":
		f.Code = LicenceEnded
	}
	return f
}

func (s *State) refusedNow(book *policies.Book, j *Job, at time.Time) *policies.Reason {
	var core algebra.Core
	if j.Request.Core != nil {
		core = *j.Request.Core
	}
	if x := book.Stopped(policies.Request{Operator: j.Operator, Licence: j.Request.Licence, Purpose: j.Request.Purpose, At: at, Core: core,
		Product: j.Request.Product, Version: j.Request.Version, Of: j.Request.Shared()}); x != nil {
		return x
	}
	return j.consentsEnded(book, at)
}

// CheckRelease says whether a reserved job may still release at an instant: what
// let it in must hold to the end (R06), and neither its operator nor its licence,
// nor a data set, nor the gateway may be held by an order (R27), and every consent it
// was computed with must stand (R28).
func (s *State) CheckRelease(job string, at time.Time) error {
	j, ok := s.jobs[job]
	if !ok || j.Phase != PhaseReserved {
		return errors.New("job has no open reservation")
	}
	if x := s.refusedNow(s.book, j, at); x != nil {
		return x
	}
	return nil
}

// checkFailed does not believe a failure that names what stopped the job.
func (s *State) checkFailed(f *entry.Failed, at time.Time) error {
	if f.Rule == "" {
		return nil
	}
	if want := s.Stopped(s.book, f.Job, at); want == nil || *want != *f {
		return errors.New("nothing in force stops the job as the entry says")
	}
	return nil
}
