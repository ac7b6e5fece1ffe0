package twin

import (
	"runtime"
	"sync"
	"testing"
)

// Learning from 200 000 units of twelve columns: passes, noise and all, but for reading.
func BenchmarkLearn(b *testing.B) {
	s := schemaOf(b, Spec{Columns: learned, RowsPerUnit: 1}, registry())
	d := encoded(b, s, residents(200_000, 1, 1))
	for b.Loop() {
		learnt(b, s, d, 1)
	}
}

// drawing draws so many units in parts, on all processors, and says how many rows a
// second that gives.
func drawing(b *testing.B, units int, part func(from uint64, units int) (rows int, err error)) {
	const each = 4096
	total := 0
	for b.Loop() {
		var wait sync.WaitGroup
		var mu sync.Mutex
		processors := runtime.GOMAXPROCS(0)
		for i := range processors {
			wait.Go(func() {
				for at := i * each; at < units; at += processors * each {
					n, err := part(uint64(at), each)
					mu.Lock()
					if total += n; err != nil {
						b.Error(err)
					}
					mu.Unlock()
				}
			})
		}
		wait.Wait()
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "rows/s")
}

// Drawing twelve columns.
func BenchmarkSample(b *testing.B) {
	s := schemaOf(b, Spec{Columns: learned, RowsPerUnit: 1}, registry())
	p, err := learnt(b, s, encoded(b, s, residents(20_000, 1, 1)), 1).Sampler([]byte("s"))
	if err != nil {
		b.Fatal(err)
	}
	drawing(b, 1<<20, func(from uint64, units int) (int, error) {
		rows, err := p.Rows(from, units)
		return len(rows.Units), err
	})
}

// Learning what ties three tables of 40 000 people.
func BenchmarkLearnRelations(b *testing.B) {
	p := pooled(b, 40_000, epsilonOne)
	for b.Loop() {
		related(b, p, "0.01")
	}
}

// Drawing one table of three that are tied.
func BenchmarkSampleLinked(b *testing.B) {
	p := pooled(b, 20_000, epsilonOne)
	_, r := related(b, p, "0.02")
	l, err := NewLinked(r, p.twins(), []byte("s"))
	if err != nil {
		b.Fatal(err)
	}
	drawing(b, 1<<18, func(from uint64, units int) (int, error) {
		rows, err := l.Rows(1, from, units)
		return len(rows.Units), err
	})
}
