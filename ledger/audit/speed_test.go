package audit

import (
	"path/filepath"
	"os"
	"strconv"
	"testing"

	"github.com/sandgate/sandgate/ledger/ledgertest"
)

func BenchmarkAudit(b *testing.B) {
	n := 100_000
	if s := os.Getenv("ENTRIES"); s != "" { n, _ = strconv.Atoi(s) }
	dir, err := ledgertest.Shared(b.Context(), n)
	if err != nil { b.Fatal(err) }
	trust, err := ledgertest.Trust()
	if err != nil { b.Fatal(err) }
	b.ResetTimer()
	for range b.N {
		r, err := Run(b.Context(), filepath.Join(dir, "ledger"), Options{Trust: trust})
		if err != nil || !r.OK { b.Fatal(err, r) }
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "entries/s")
}
