package twin

import (
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

// Drawing twelve columns, on all processors.
func BenchmarkSample(b *testing.B) {
	s := schemaOf(b, Spec{Columns: learned, RowsPerUnit: 1}, registry())
	p, err := learnt(b, s, encoded(b, s, residents(20_000, 1, 1)), 1).Sampler([]byte("s"))
	if err != nil {
		b.Fatal(err)
	}
	const part = 4096
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := p.Rows(0, part); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)*part/b.Elapsed().Seconds(), "rows/s")
}
