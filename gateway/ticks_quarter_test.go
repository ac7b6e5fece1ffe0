package gateway

import (
	"testing"
	"time"
)

// TestModelTicks: a model's outcome is seen on a tick or a quarter between two, never
// before it is there, and at most a quarter late.
func TestModelTicks(t *testing.T) {
	grid := ticks(100 * time.Millisecond)
	seen := map[time.Duration]bool{}
	for elapsed := time.Millisecond; elapsed < 2*time.Minute; elapsed += 37 * time.Millisecond {
		at := grid.quarter(elapsed)
		seen[at] = true
		if at < elapsed || elapsed > 100*time.Millisecond && float64(at) > 1.26*float64(elapsed) {
			t.Fatalf("%v is seen at %v", elapsed, at)
		}
	}
	// Eleven doublings of the first tick, four instants each.
	if len(seen) > 1+4*11 {
		t.Errorf("%d instants in two minutes", len(seen))
	}
	if at := ticks(0).quarter(time.Second); at != time.Second {
		t.Error(at)
	}
}
