package wasm

import (
	"fmt"
	"testing"
)

// BenchmarkScore compares rows per second of one model: plain Go, and the two
// guests in their workers with everything a run does: encoding, the pipe, both
// runs of every batch, comparison, decoding. Starting the worker is not counted
// in rows/s and given as its own figure.
func BenchmarkScore(b *testing.B) {
	batch := numbers(MaxRows, false)
	b.Run("native-go", func(b *testing.B) {
		out := make([]float64, batch.Rows)
		bands := make([]int64, batch.Rows)
		for b.Loop() {
			for r := range batch.Rows {
				out[r], bands[r] = reference([4]float64{batch.Columns[0].Floats[r], batch.Columns[1].Floats[r], batch.Columns[2].Floats[r], batch.Columns[3].Floats[r]})
			}
		}
		b.ReportMetric(float64(b.N)*float64(batch.Rows)/b.Elapsed().Seconds(), "rows/s")
	})
	for _, guest := range []string{"logistic-c", "logistic-as"} {
		for _, interpret := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/interpret=%v", guest, interpret), func(b *testing.B) {
				module, p := stored(b, guest), pool(b)
				h := &Host{Pool: p, Interpret: interpret}
				b.ResetTimer()
				stats, err := h.Score(b.Context(), module, func(sig Signature) (Source, error) {
					var batches []Batch
					for range b.N {
						batches = append(batches, batch)
					}
					b.ResetTimer()
					return list(batches...)(sig)
				}, func(Batch, []Column) error { return nil })
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(stats.Rows)/b.Elapsed().Seconds(), "rows/s")
				b.ReportMetric(float64(stats.Compile.Microseconds())/1000, "ms-compile")
			})
		}
	}
	b.Run("start-to-end/one-row", func(b *testing.B) {
		module, p := stored(b, "logistic-c"), pool(b)
		for b.Loop() {
			if _, _, err := scored(b, &Host{Pool: p}, module, numbers(1, false)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
