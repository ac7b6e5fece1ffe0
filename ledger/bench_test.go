package ledger

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// countOnly accepts everything, so that the benchmarks measure the log and not a machine.
type countOnly struct{ n uint64 }

func (c *countOnly) Apply(uint64, []byte) error { c.n++; return nil }

// One writer, 1 kB entries: the latency of a durable answer.
func BenchmarkAppend1(b *testing.B) { benchmarkAppend(b, 1) }

// 64 writers, 1 kB entries: group commit.
func BenchmarkAppend64(b *testing.B) { benchmarkAppend(b, 64) }

func benchmarkAppend(b *testing.B, writers int) {
	l, err := Open(context.Background(), testConfig(b, b.TempDir()), &countOnly{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	entry := [][]byte{[]byte(strings.Repeat("x", 1024))}
	var left atomic.Int64
	left.Store(int64(b.N))
	b.SetBytes(1024)
	b.ResetTimer()
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := l.Do(context.Background(), func() ([][]byte, error) { return entry, nil }); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

// Replay of a log of 10,000 entries at start-up.
func BenchmarkReopen10k(b *testing.B) {
	cfg := testConfig(b, b.TempDir())
	l, err := Open(context.Background(), cfg, &countOnly{})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 100 {
		entries := make([][]byte, 100)
		for j := range entries {
			entries[j] = fmt.Appendf(nil, "%d:%d:%s", i, j, strings.Repeat("x", 1000))
		}
		if _, err := l.Do(context.Background(), func() ([][]byte, error) { return entries, nil }); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		l, err := Open(context.Background(), cfg, &countOnly{})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
