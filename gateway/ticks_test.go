package gateway

import (
	"context"
	"math"
	"testing"
	"time"
)

// The grid: outcomes leave at the first tick, twice that, four times …; a failure
// leaves when a time-out would, whenever it came.
func TestTicks(t *testing.T) {
	const ms = time.Millisecond
	g := ticks(250 * ms)
	for elapsed, want := range map[time.Duration]time.Duration{0: 250 * ms, ms: 250 * ms, 250 * ms: 250 * ms, 251 * ms: 500 * ms, 900 * ms: time.Second, 3 * time.Second: 4 * time.Second, time.Minute: 64 * time.Second} {
		if got := g.after(elapsed); got != want {
			t.Errorf("after %v: %v, want %v", elapsed, got, want)
		}
	}
	seen := map[time.Duration]bool{}
	for elapsed := time.Duration(0); elapsed < time.Minute; elapsed += 37 * ms {
		seen[g.after(elapsed)] = true
		if got := g.failure(elapsed, time.Minute); got != 64*time.Second {
			t.Fatalf("a failure after %v is seen at %v", elapsed, got)
		}
	}
	// What a release's instant can carry, in bits, for a whole minute.
	if bits := math.Log2(float64(len(seen))); bits > 3.2 {
		t.Errorf("%d instants carry %.1f bits", len(seen), bits)
	}
	if late := g.failure(65*time.Second, time.Minute); late != 128*time.Second {
		t.Errorf("a failure past the last tick is seen at %v", late)
	}
	// A cancelled seat is free at one instant, ended or killed.
	if got := g.cancelled(200 * ms); got != 500*ms || g.cancelled(100*ms) != 250*ms {
		t.Errorf("cancelled at 200 ms, free at %v", got)
	}
	off := ticks(-1)
	if off.after(7*ms) != 7*ms || off.failure(7*ms, time.Minute) != 7*ms || off.cancelled(7*ms) != 7*ms || off.String() != "off" || g.String() != "250ms" {
		t.Error("ticks that are off delay")
	}
}

func TestPauseEndsWithEither(t *testing.T) {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	begin := time.Now()
	pause(begin.Add(time.Hour), over, context.Background())
	pause(begin.Add(time.Hour), context.Background(), over)
	pause(begin.Add(20*time.Millisecond), context.Background(), context.Background())
	if took := time.Since(begin); took < 20*time.Millisecond || took > 10*time.Second {
		t.Errorf("paused for %v", took)
	}
}
