package ledger_test

import (
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/ledgertest"
)

type unchecked struct{}

func (unchecked) Apply(uint64, []byte) error { return nil }

// An inclusion proof of an entry anywhere in the ledger: made from the tiles on disk,
// and verified.
func BenchmarkInclusionProof(b *testing.B) {
	n := ledgertest.BenchEntries(b)
	made, err := ledgertest.Shared(b.Context(), n)
	if err != nil {
		b.Fatal(err)
	}
	base := b.TempDir()
	if err := os.CopyFS(base, os.DirFS(made)); err != nil {
		b.Fatal(err)
	}
	cfg, err := ledgertest.Config(base)
	if err != nil {
		b.Fatal(err)
	}
	l, err := ledger.Open(b.Context(), cfg, unchecked{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	if _, err := l.WaitPublished(b.Context(), l.Size()-1); err != nil {
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
	r := rand.New(rand.NewPCG(1, 1))
	var making, verifying []time.Duration
	b.ResetTimer()
	for range b.N {
		begin := time.Now()
		p, err := l.Prove(b.Context(), r.Uint64N(l.Size()))
		between := time.Now()
		if err == nil {
			err = p.Verify(v)
		}
		if err != nil {
			b.Fatal(err)
		}
		making, verifying = append(making, between.Sub(begin)), append(verifying, time.Since(between))
	}
	b.StopTimer()
	ms := func(took []time.Duration, q float64) float64 {
		slices.Sort(took)
		return float64(took[int(q*float64(len(took)-1))].Nanoseconds()) / 1e6
	}
	b.ReportMetric(ms(making, 0.5), "make-p50-ms")
	b.ReportMetric(ms(making, 0.99), "make-p99-ms")
	b.ReportMetric(ms(verifying, 0.5), "verify-p50-ms")
	b.ReportMetric(float64(n), "entries")
}
