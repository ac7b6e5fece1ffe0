package attack

import (
	"testing"

	"github.com/sandgate/sandgate/internal/leak"
)

// Score is one line of the leak score card.
type Score = leak.Score

// Record keeps a score, and fails the test when the attack got through.
func Record(t testing.TB, s Score) {
	t.Helper()
	leak.Record(t, s)
}

// Full reports whether the suite runs at full strength.
func Full() bool { return leak.Full() }

// Trials is quick, or full when the suite runs at full strength.
func Trials(quick, full int) int { return leak.Trials(quick, full) }
