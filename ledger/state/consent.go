package state

import (
	"time"

	"github.com/sandgate/sandgate/policies"
)

// A job reads the rows of the subjects whose consents were in force when it was
// reserved, and of no others, also when a crash made it start late. Which those are
// is a function of the ledger before the reservation: replay finds the same, and the
// entry says nothing of it that a party could learn their number from.
//
// No answer over consenting subjects stands for another: a repeat that is free while
// no consent changed, and priced once one did, would count the changes for whoever
// asks again and again.

// consentsFor gathers what a job that is let in at an instant may read.
func (s *State) consentsFor(j *Job, at time.Time) []policies.ConsentUse {
	var out []policies.ConsentUse
	for _, id := range j.Request.Core.Datasets() {
		if e, _ := s.book.Dataset(id); e.Dataset.Consent == policies.ConsentRequired {
			out = append(out, s.book.ConsentsFor(id, j.Request.Licence, j.Request.Purpose, at))
		}
	}
	return out
}

// Consents are the consents that an open job was let in with, one for each of its
// data sets that need them, in the order of Core.Datasets().
func (s *State) Consents(job string) []policies.ConsentUse {
	if j, ok := s.jobs[job]; ok {
		return j.consents
	}
	return nil
}

// consentsEnded stops a job one of whose consents ended. One that was recorded since
// does not.
func (j *Job) consentsEnded(book *policies.Book, at time.Time) *policies.Reason {
	for _, u := range j.consents {
		if !book.Upheld(u, at) {
			return book.ConsentEnded(u.Dataset)
		}
	}
	return nil
}
