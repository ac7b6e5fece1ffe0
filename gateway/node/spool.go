package node

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// spool keeps the parts of one stream in a file without a name, which goes with the
// process: a round does not outlive its hub.
type spool struct {
	mu    sync.Mutex
	file  *os.File
	ends  []int64 // of each part
	whole bool
}

func newSpool(dir string) (*spool, error) {
	f, err := os.CreateTemp(dir, ".round-*")
	if err != nil {
		return nil, fmt.Errorf("failed to keep the parts of a round: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("failed to keep the parts of a round: %w", err), f.Close())
	}
	return &spool{file: f}, nil
}

func (s *spool) end() int64 {
	if len(s.ends) == 0 {
		return 0
	}
	return s.ends[len(s.ends)-1]
}

func (s *spool) put(part []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.file.WriteAt(part, s.end()); err != nil {
		return fmt.Errorf("failed to keep the parts of a round: %w", err)
	}
	s.ends = append(s.ends, s.end()+int64(len(part)))
	return nil
}

// get reads part i; io.EOF after the last.
func (s *spool) get(i int) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i >= len(s.ends) {
		return nil, io.EOF
	}
	from := int64(0)
	if i > 0 {
		from = s.ends[i-1]
	}
	part := make([]byte, s.ends[i]-from)
	if _, err := s.file.ReadAt(part, from); err != nil {
		return nil, fmt.Errorf("failed to read the parts of a round: %w", err)
	}
	return part, nil
}

func (s *spool) close() { s.file.Close() }
