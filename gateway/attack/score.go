package attack

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"testing"
)

// Score is one line of the leak score card; README.md describes it.
type Score struct {
	Attack  string `json:"attack"`
	Figure  any    `json:"figure"`
	Bound   any    `json:"bound"`
	Control any    `json:"control"`
	Pass    bool   `json:"pass"`
	Trials  int    `json:"trials"`
	Open    bool   `json:"open,omitempty"` // a known gap: recorded, not asserted
	Note    string `json:"note,omitempty"`
}

var scoreMu sync.Mutex

// Record appends a score to the file that SANDGATE_SCORECARD names, and fails
// the test when the attack got through.
func Record(t testing.TB, s Score) {
	t.Helper()
	t.Logf("%s: figure %v, bound %v, control %v, trials %d %s", s.Attack, s.Figure, s.Bound, s.Control, s.Trials, s.Note)
	if !s.Pass {
		t.Errorf("attack %s got through: figure %v, bound %v, control %v", s.Attack, s.Figure, s.Bound, s.Control)
	}
	path := os.Getenv("SANDGATE_SCORECARD")
	if path == "" {
		return
	}
	if err := appendLine(path, s); err != nil {
		t.Errorf("score card: %v", err)
	}
}

func appendLine(path string, s Score) error {
	line, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("failed to encode score: %w", err)
	}
	scoreMu.Lock()
	defer scoreMu.Unlock()
	// One write of one line in append mode: test binaries share the file.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("failed to open score card: %w", err)
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		f.Close()
		return fmt.Errorf("failed to write score card: %w", err)
	}
	return f.Close()
}
