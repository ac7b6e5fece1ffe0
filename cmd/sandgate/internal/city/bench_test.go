package city

import (
	"io"
	"testing"
)

// BenchmarkCity writes every table of a city of 200 000.
func BenchmarkCity(b *testing.B) {
	for b.Loop() {
		g := New(Config{Seed: 1, Residents: 200_000})
		for _, t := range Tables() {
			if err := g.Write(t.Name, io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	}
}
