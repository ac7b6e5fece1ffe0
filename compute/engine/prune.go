package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/sandgate/sandgate/internal/durable"
)

// Prune deletes the snapshots that are neither in force nor leased nor in keep,
// which names those that the caller may still ask for: what the ledger has in
// force (it may lag behind or run ahead of this store by one ingest) and the
// snapshots of open jobs. It returns the ids of what is gone, sorted. A lease that
// comes later finds no manifest. A crash in between leaves nothing half deleted.
func (s *Store) Prune(keep map[string]bool) ([]string, error) {
	s.naming.Lock()
	defer s.naming.Unlock()
	current, err := s.inForce()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(s.path("snapshots"))
	if err != nil {
		return nil, fmt.Errorf("failed to list snapshots: %w", err)
	}
	grave, err := s.stage()
	if err != nil {
		return nil, err
	}
	var gone []string
	for _, e := range entries {
		id := e.Name()
		if keep[id] || current[id] || !isID(id) {
			continue
		}
		moved, err := s.bury(id, filepath.Join(grave, id))
		if err != nil {
			return gone, err
		}
		if moved {
			gone = append(gone, id)
		}
	}
	slices.Sort(gone)
	if len(gone) == 0 {
		return nil, os.Remove(grave)
	}
	return gone, errors.Join(syncDir(s.path("snapshots")), s.erase(grave))
}

// bury takes a snapshot's name away unless a lease holds it.
func (s *Store) bury(id, to string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leased[id] > 0 {
		return false, nil
	}
	if err := durable.Around("snapshot.bury", func() error { return os.Rename(s.path("snapshots", id), to) }); err != nil {
		return false, fmt.Errorf("failed to remove snapshot: %w", err)
	}
	delete(s.known, id)
	s.memory.drop(id)
	if s.volume != nil {
		s.volume.shelf.drop(id)
	}
	return true, nil
}

// inForce is the set of snapshots that a data set answers from.
func (s *Store) inForce() (map[string]bool, error) {
	entries, err := os.ReadDir(s.path("current"))
	if err != nil {
		return nil, fmt.Errorf("failed to list current snapshots: %w", err)
	}
	out := map[string]bool{}
	for _, e := range entries {
		id, err := os.ReadFile(s.path("current", e.Name()))
		if err != nil {
			return nil, fmt.Errorf("failed to read current snapshot: %w", err)
		}
		out[string(id)] = true
	}
	return out, nil
}
