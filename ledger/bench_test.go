package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// countOnly accepts everything, so that the benchmarks measure the log and not a machine.
type countOnly struct{ n uint64 }

func (c *countOnly) Apply(uint64, []byte) error { c.n++; return nil }

// chainedFile is what the log is measured against: a plain file of hash-chained
// records, one fsync for all who wait. It signs nothing, proves nothing and cannot be
// audited in parts.
type chainedFile struct {
	f    *os.File
	wake chan struct{}
	end  chan struct{}

	mu    sync.Mutex
	chain [sha256.Size]byte
	next  *group
	err   error
}

type group struct {
	records []byte
	done    chan struct{}
}

func newChainedFile(b *testing.B) *chainedFile {
	f, err := os.Create(filepath.Join(b.TempDir(), "chain"))
	if err != nil {
		b.Fatal(err)
	}
	c := &chainedFile{f: f, wake: make(chan struct{}, 1), end: make(chan struct{}), next: &group{done: make(chan struct{})}}
	go c.run()
	b.Cleanup(func() {
		close(c.wake)
		<-c.end
		if err := errors.Join(c.err, f.Close()); err != nil {
			b.Error(err)
		}
	})
	return c
}

func (c *chainedFile) run() {
	defer close(c.end)
	for range c.wake {
		c.mu.Lock()
		g := c.next
		c.next = &group{done: make(chan struct{})}
		c.mu.Unlock()
		if len(g.records) > 0 {
			_, err := c.f.Write(g.records)
			c.err = errors.Join(c.err, err, c.f.Sync())
		}
		close(g.done)
	}
}

func (c *chainedFile) append(entry []byte) {
	c.mu.Lock()
	h := sha256.New()
	h.Write(c.chain[:])
	h.Write(entry)
	h.Sum(c.chain[:0])
	g := c.next
	g.records = append(append(g.records, entry...), c.chain[:]...)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
	<-g.done
}

func quantile(took []time.Duration, q float64) float64 {
	slices.Sort(took)
	return float64(took[int(q*float64(len(took)-1))].Nanoseconds()) / 1e6
}

// One writer, 1 kB entries: the latency of an acknowledged append, beside that of the
// plain file, turn by turn.
func BenchmarkAppend1(b *testing.B) {
	l, err := Open(context.Background(), testConfig(b, b.TempDir()), &countOnly{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	file := newChainedFile(b)
	entry := [][]byte{[]byte(strings.Repeat("x", 1024))}
	var ours, plain []time.Duration
	b.ResetTimer()
	for range b.N {
		begin := time.Now()
		if _, err := l.Do(context.Background(), func() ([][]byte, error) { return entry, nil }); err != nil {
			b.Fatal(err)
		}
		between := time.Now()
		file.append(entry[0])
		ours, plain = append(ours, between.Sub(begin)), append(plain, time.Since(between))
	}
	b.StopTimer()
	mine, ref := quantile(ours, 0.5), quantile(plain, 0.5)
	b.ReportMetric(mine, "p50-ms")
	b.ReportMetric(quantile(ours, 0.99), "p99-ms")
	b.ReportMetric(ref, "file-p50-ms")
	b.ReportMetric(mine/ref, "p50÷file")
}

// 64 writers, 1 kB entries: the rate of acknowledged appends, beside that of the plain
// file, in rounds by turns.
func BenchmarkAppend64(b *testing.B) {
	const writers, round = 64, 4096
	l, err := Open(context.Background(), testConfig(b, b.TempDir()), &countOnly{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	file := newChainedFile(b)
	entry := [][]byte{[]byte(strings.Repeat("x", 1024))}
	run := func(n int, one func() error) time.Duration {
		var left atomic.Int64
		left.Store(int64(n))
		begin := time.Now()
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					if err := one(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		return time.Since(begin)
	}
	var ours, plain time.Duration
	b.SetBytes(1024)
	b.ResetTimer()
	for n := b.N; n > 0; n -= round {
		ours += run(min(n, round), func() error {
			_, err := l.Do(context.Background(), func() ([][]byte, error) { return entry, nil })
			return err
		})
		plain += run(min(n, round), func() error { file.append(entry[0]); return nil })
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/ours.Seconds(), "entries/s")
	b.ReportMetric(float64(b.N)/plain.Seconds(), "file-entries/s")
	b.ReportMetric(plain.Seconds()/ours.Seconds(), "rate÷file")
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
