package verify_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/sandgate/sandgate/ledger/ledgertest"
	"github.com/sandgate/sandgate/ledger/verify"
	"github.com/sandgate/sandgate/ledger/wal"
)

// Every leaf, tile and link of a ledger, without its meaning, beside one way through
// the hash-chained file alone.
func BenchmarkHashCheck(b *testing.B) {
	n := ledgertest.BenchEntries(b)
	base, err := ledgertest.Shared(b.Context(), n)
	if err != nil {
		b.Fatal(err)
	}
	trust, err := ledgertest.Trust()
	if err != nil {
		b.Fatal(err)
	}
	v, err := note.NewVerifier(trust.LogKey)
	if err != nil {
		b.Fatal(err)
	}
	dir := filepath.Join(base, "ledger")
	var plain, cpu time.Duration
	hash := ledgertest.HashCost(b)
	b.ResetTimer()
	for range b.N {
		from := ledgertest.CPU(b)
		res, err := verify.Dir(b.Context(), dir, v, nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		n = int(res.Size)
		b.StopTimer()
		cpu += ledgertest.CPU(b) - from
		begin := time.Now()
		if err := readChain(filepath.Join(dir, wal.FileName)); err != nil {
			b.Fatal(err)
		}
		plain += time.Since(begin)
		b.StartTimer()
	}
	b.StopTimer()
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(float64(n*b.N)/plain.Seconds(), "file-entries/s")
	hash = (hash + ledgertest.HashCost(b)) / 2
	b.ReportMetric(float64(hash.Nanoseconds())/1e3, "CPU-µs/KiB-hashed")
	b.ReportMetric(cpu.Seconds()/hash.Seconds()/float64(n*b.N), "CPU-of-entry÷KiB")
}

func readChain(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := wal.NewReader(f)
	for err == nil {
		_, err = r.Next()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
