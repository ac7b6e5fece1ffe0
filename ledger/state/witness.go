package state

import (
	"slices"

	"github.com/sandgate/sandgate/policies"
)

// witnessing is a witness policy and the size of the smallest tree that covers its
// entry.
type witnessing struct {
	size   uint64
	policy *policies.WitnessPolicy // nil: nobody
}

// noteWitnesses is told of every policy entry before its book takes effect.
func (s *State) noteWitnesses(seq uint64, next *policies.WitnessPolicy) {
	s.bundles = append(s.bundles, seq)
	if next != s.book.Witnesses() {
		s.witnessed = append(s.witnessed, witnessing{seq + 1, next})
	}
}

// WitnessesAt is the witness policy for a checkpoint over size entries: the last one
// that it covers. nil asks for nobody.
func (s *State) WitnessesAt(size uint64) *policies.WitnessPolicy {
	for _, w := range slices.Backward(s.witnessed) {
		if w.size <= size {
			return w.policy
		}
	}
	return nil
}

// Bundles lists the entries below seq that put signed documents in force.
func (s *State) Bundles(seq uint64) []uint64 {
	n, _ := slices.BinarySearch(s.bundles, seq)
	return slices.Clone(s.bundles[:n])
}
