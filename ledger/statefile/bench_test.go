package statefile

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// entries of the ledger that benchmarks open: ENTRIES, or as many as are made in a
// few seconds.
func entries(b *testing.B) int {
	n := 20_000
	if text := os.Getenv("ENTRIES"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatalf("ENTRIES is a number: %v", err)
		}
	}
	return n
}

// R33: a start from a state snapshot against a replay of everything, what writing a
// snapshot takes, and for how long it holds up appends: the first, of all, and one more
// after a thousand entries.
func BenchmarkStart(b *testing.B) {
	n := entries(b)
	p := placeOf(b, n)
	begin := time.Now()
	o := p.open()
	b.Logf("%d entries replayed in %.2f s", n, time.Since(begin).Seconds())
	b.ReportMetric(time.Since(begin).Seconds(), "replay-s")
	made, err := o.Keeper.Record(b.Context(), appender(o))
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("first snapshot: %d bytes, held %v, took %v", made.Bytes, made.Held, made.Took)
	p.close(o)

	var took time.Duration
	var slowest, held time.Duration
	starts := 0
	for b.Loop() {
		starts++
		begin := time.Now()
		o := p.open()
		one := time.Since(begin)
		took, slowest = took+one, max(slowest, one)
		if o.From == 0 {
			b.Fatalf("not started from a snapshot: %v", o.Refused)
		}
		p.beats(o, 1000)
		made, err := o.Keeper.Record(b.Context(), appender(o))
		if err != nil {
			b.Fatal(err)
		}
		held = max(held, made.Held)
		b.Logf("start %v (tail %d), snapshot after 1000: wrote %d bytes, held %v, took %v", one, o.Replayed, made.Written, made.Held, made.Took)
		p.close(o)
	}
	b.ReportMetric(took.Seconds()/float64(starts), "start-s")
	b.ReportMetric(slowest.Seconds(), "start-max-s")
	b.ReportMetric(float64(held.Microseconds())/1000, "held-ms")
	b.ReportMetric(float64(made.Bytes), "snapshot-bytes")
	b.ReportMetric(0, "ns/op")
}
