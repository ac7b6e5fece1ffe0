package engine

import (
	"bufio"
	"errors"
	"fmt"
	"os"

	"github.com/sandgate/sandgate/compute/protect"
)

// SubjectBytes is the length of a commitment to a data subject as a snapshot's
// hidden column and the lists of consents hold it: 128 bits.
const SubjectBytes = 16

// Subjects are the data subjects who consent to a use, each once.
type Subjects [][SubjectBytes]byte

// errSubjects is a caller's fault: without its list no consenting plan is run.
var errSubjects = errors.New("failed to list consents: a plan that needs them was given none, or others")

// listSubjects writes a sealed memory file for every data set that the plan reads of
// consenting units only. Which they are and how many stays between this process and
// the worker. nil and the empty list differ: nobody consented, or nobody was asked.
func listSubjects(plan *protect.Plan, subjects []Subjects) (files []*os.File, datasets []int, err error) {
	for i := range max(len(plan.Consents), len(subjects)) {
		if given := i < len(subjects) && subjects[i] != nil; given != plan.Consenting(i) {
			closeAll(files)
			return nil, nil, errSubjects
		}
		if !plan.Consenting(i) {
			continue
		}
		f, err := subjectFile(subjects[i])
		if err != nil {
			closeAll(files)
			return nil, nil, err
		}
		files, datasets = append(files, f), append(datasets, i)
	}
	return files, datasets, nil
}

func subjectFile(subjects Subjects) (*os.File, error) {
	f, err := newMemoryFile()
	if err != nil {
		return nil, err
	}
	w := bufio.NewWriterSize(f, 1<<16)
	for _, s := range subjects {
		_, _ = w.Write(s[:]) // Flush reports it
	}
	if err := w.Flush(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("failed to write list of consents: %w", err)
	}
	return sealMemoryFile(f)
}

// Split separates a job's snapshots from its lists of consents, which are parallel
// to j.Consents. It errs when they do not fit.
func (j ExecuteJob) Split(files []*os.File) (snapshots, lists []*os.File, err error) {
	n := len(files) - len(j.Consents)
	for at, i := range j.Consents {
		if n < 1 || i < 0 || i >= n || at > 0 && i <= j.Consents[at-1] {
			return nil, nil, errSubjects
		}
	}
	return files[:n], files[n:], nil
}
