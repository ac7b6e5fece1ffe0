package audit

import (
	"context"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/sandgate/sandgate/ledger/ledgertest"
)

// The whole audit, as sandgate audit does it.
func BenchmarkAudit(b *testing.B) {
	n := ledgertest.BenchEntries(b)
	base, err := ledgertest.Shared(b.Context(), n)
	if err != nil {
		b.Fatal(err)
	}
	pinned, err := ledgertest.Trust()
	if err != nil {
		b.Fatal(err)
	}
	var held *Report
	verify := ledgertest.VerifyCost(b)
	cpu := ledgertest.CPU(b)
	b.ResetTimer()
	for range b.N {
		if held, err = Run(b.Context(), filepath.Join(base, "ledger"), Options{Trust: pinned}); err != nil || !held.OK {
			b.Fatal(err, held)
		}
	}
	b.StopTimer()
	cpu = ledgertest.CPU(b) - cpu
	verify = (verify + ledgertest.VerifyCost(b)) / 2
	b.ReportMetric(float64(held.Entries)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(float64(verify.Nanoseconds())/1e3, "CPU-µs/ed25519-verify")
	b.ReportMetric(cpu.Seconds()/verify.Seconds()/float64(held.Entries)/float64(b.N), "CPU-of-entry÷verify")
	b.ReportMetric(float64(held.Entries), "entries")
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "state-MB")
	runtime.KeepAlive(held)
}

// The replay alone: decoding, signatures and every decision, from memory.
func BenchmarkReplay(b *testing.B) {
	n := min(ledgertest.BenchEntries(b), 100_000)
	var texts [][]byte
	if err := ledgertest.Generate(ledgertest.Options{Entries: n}, func(text []byte) error { texts = append(texts, text); return nil }); err != nil {
		b.Fatal(err)
	}
	pinned, err := ledgertest.Trust()
	if err != nil {
		b.Fatal(err)
	}
	verify := ledgertest.VerifyCost(b)
	cpu := ledgertest.CPU(b)
	b.ResetTimer()
	for range b.N {
		r := &Report{}
		r.begin()
		a := newAuditor(r, pinned, Options{})
		err := a.replay(b.Context(), func(_ context.Context, hand func(uint64, [][]byte) error) error {
			for first := 0; first < len(texts); first += 256 {
				if err := hand(uint64(first), texts[first:min(len(texts), first+256)]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || a.broken != nil || a.state.Size() != uint64(len(texts)) {
			b.Fatal(err, a.broken)
		}
	}
	b.StopTimer()
	cpu = ledgertest.CPU(b) - cpu
	verify = (verify + ledgertest.VerifyCost(b)) / 2
	b.ReportMetric(float64(len(texts)*b.N)/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(cpu.Seconds()/verify.Seconds()/float64(len(texts)*b.N), "CPU-of-entry÷verify")
}
