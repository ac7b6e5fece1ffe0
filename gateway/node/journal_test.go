package node

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/internal/durable"
)

// R39: a journal that cannot be written stops the node before anything leaves; whatever
// reached the disk, the session is not answered after a restart, and a torn line is cut.
func TestR39_FaultOfTheJournalOfRounds(t *testing.T) {
	defer durable.Inject(nil)
	for _, point := range []string{"rounds.write/before", "rounds.write/after", "rounds.sync/before", "rounds.sync/after"} {
		t.Run(point, func(t *testing.T) {
			s := newSite(t)
			s.start()
			var once sync.Once
			durable.Inject(func(p string) (err error) {
				if p == point {
					once.Do(func() { err = errors.New("fault") })
				}
				return err
			})
			st := s.round(proposal(federate.Mask, point))
			durable.Inject(nil)
			if st.Phase != federate.Failed {
				t.Fatal("the round goes on")
			}
			s.stop()
			s.start() // every journal can be read again
			p := proposal(federate.Mask, point+" next")
			if st := s.round(p); st.Phase != federate.Done {
				t.Fatal(st.Fault)
			}
			s.near(p)
		})
	}
	for _, point := range []string{"rounds.mend/before", "rounds.mend/after", "rounds.syncdir/before", "rounds.syncdir/after"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "rounds.jsonl"), []byte(`{"v":1,"deed":`), 0o600); err != nil {
			t.Fatal(err)
		}
		durable.Inject(func(p string) error {
			if p == point {
				return errors.New("fault")
			}
			return nil
		})
		if _, err := OpenJournal(dir); err == nil {
			t.Errorf("%s: the journal opens", point)
		}
		durable.Inject(nil)
		j, err := OpenJournal(dir)
		if err != nil {
			t.Fatalf("%s: %v", point, err)
		}
		if _, err := OpenJournal(dir); err == nil {
			t.Error("two processes have one journal")
		}
		j.Close()
		if b, err := os.ReadFile(filepath.Join(dir, "rounds.jsonl")); err != nil || len(b) != 0 {
			t.Errorf("the torn line stays: %q", b)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rounds.jsonl"), []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenJournal(dir); err == nil {
		t.Error("a damaged journal opens")
	}
}

// R39: an answer that only the ledger has left is an answer all the same: it is not given
// again, and its set of contributors counts.
func TestR39_JournalRestored(t *testing.T) {
	dir := t.TempDir()
	j, err := OpenJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	p := proposal(federate.Mask, "restored")
	for range 2 {
		if err := j.Restore(p, hash("manifest"), 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Restore(p, "", 1); err != nil {
		t.Fatal(err) // it has the answer
	}
	if err := j.Restore(proposal(federate.Mask, "other"), "", 1); err == nil {
		t.Error("an answer to nothing was restored")
	}
	j.Close()
	if j, err = OpenJournal(dir); err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if !j.book.Has(federate.Answered, p.Session()) {
		t.Error("the answer is forgotten")
	}
	text, err := os.ReadFile(filepath.Join(dir, "rounds.jsonl"))
	if err != nil || strings.Count(string(text), "\n") != 1 {
		t.Errorf("%q, %v", text, err)
	}
}
