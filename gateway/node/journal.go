package node

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/internal/durable"
	"golang.org/x/sys/unix"
)

// Journal is the journal of rounds of one node, on disk: one canonical record a line. It
// belongs to one process at a time.
type Journal struct {
	file *os.File
	book *federate.Journal

	mu    sync.Mutex
	whole int64 // bytes of whole lines
	bad   bool
}

// OpenJournal reads the journal of a home directory, or begins it. A last line that is
// not whole was never acknowledged, so that nothing was done for it; it is cut off. Any
// other damage is refused: a node that forgets what it opened would open it again.
func OpenJournal(dir string) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("failed to make the directory of rounds: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "rounds.jsonl"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("failed to open the journal of rounds: %w", err)
	}
	j := &Journal{file: f}
	if err := j.load(dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return j, nil
}

func (j *Journal) load(dir string) error {
	if err := unix.Flock(int(j.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.New("failed to open the journal of rounds: another process has it open")
	}
	var lines [][]byte
	in := bufio.NewReader(j.file)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("failed to read the journal of rounds: %w", err)
		}
		j.whole += int64(len(line))
		lines = append(lines, line[:len(line)-1])
	}
	var err error
	if j.book, err = federate.LoadJournal(lines); err != nil {
		return fmt.Errorf("%w: the journal is damaged; without it this node must not open anything, and needs another party name", err)
	}
	if err := durable.Around("rounds.mend", func() error { return j.file.Truncate(j.whole) }); err != nil {
		return fmt.Errorf("failed to mend the journal of rounds: %w", err)
	}
	return durable.SyncDir(dir, "rounds")
}

// write makes a record durable. After an error nothing is written any more: what stands
// at the end of the file is not known.
func (j *Journal) write(text []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.bad {
		return errors.New("failed to write the journal of rounds: an earlier write failed; restart the node")
	}
	j.bad = true
	line := append(append([]byte(nil), text...), '\n')
	if err := durable.Around("rounds.write", func() error { _, err := j.file.WriteAt(line, j.whole); return err }); err != nil {
		return fmt.Errorf("failed to write the journal of rounds: %w", err)
	}
	if err := durable.Around("rounds.sync", j.file.Sync); err != nil {
		return fmt.Errorf("failed to sync the journal of rounds: %w", err)
	}
	j.whole, j.bad = j.whole+int64(len(line)), false
	return nil
}

// Restore enters an answer that the domain's ledger has and the journal has not, see
// federate.Journal.Restore. Call it before the first round.
func (j *Journal) Restore(p *federate.Proposal, manifest string, at int64) error {
	return j.book.Restore(p, manifest, at, j.write)
}

// Close gives the journal to another process.
func (j *Journal) Close() error { return j.file.Close() }
