package engine

import "strings"

// Confined says that a data set does not fit into memory and may not be put on the
// volume, whose encryption is only declared.
type Confined struct {
	TooLarge        // of memory
	Dataset  string // empty where several together do not fit
}

func (e *Confined) Error() string {
	return e.TooLarge.Error() + "; the volume for large snapshots is encrypted by declaration only, which the data's level does not allow"
}

// Declared says that the host cannot see what encrypts the volume.
func (v *Volume) Declared() bool { return strings.HasPrefix(v.kind, "declared:") }

// kept says whether a data set must be kept off the volume.
func (s *Store) kept(dataset string) bool {
	return s.volume != nil && s.volume.Declared() && s.confined(dataset)
}

// fits refuses what could never be held, even alone: without a volume all of wants,
// with one what is not large.
func (s *Store) fits(wants []demand, large map[string]bool) error {
	if s.volume != nil && !s.volume.Declared() {
		return nil
	}
	var small []demand
	dataset := ""
	for _, w := range wants {
		if large[w.id] {
			continue
		}
		small = append(small, w)
		if w.kept != "" && w.size > s.memory.limit {
			dataset = w.kept
		}
	}
	err := s.memory.fits(small)
	if short, ok := err.(*TooLarge); ok && s.volume != nil {
		return &Confined{TooLarge: *short, Dataset: dataset}
	}
	return err
}

// evacuate lets go of copies on the volume that must not be there any more: the
// level of their data set was raised since they were opened. A copy that a job
// holds goes when the job ends.
func (s *Store) evacuate(manifests []Manifest) {
	for _, m := range manifests {
		if s.kept(m.Dataset) {
			s.volume.shelf.drop(m.Snapshot)
		}
	}
}

// Evacuate does so for every data set; it is for calling when policy changed.
func (s *Store) Evacuate() {
	if s.volume == nil || !s.volume.Declared() {
		return
	}
	for _, id := range s.volume.shelf.ids() {
		m, err := s.Manifest(id)
		// What cannot be told whose it is may be anybody's.
		if err != nil || s.confined(m.Dataset) {
			s.volume.shelf.drop(id)
		}
	}
}

// ids lists what is held.
func (m *memory) ids() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for id := range m.held {
		out = append(out, id)
	}
	return out
}
