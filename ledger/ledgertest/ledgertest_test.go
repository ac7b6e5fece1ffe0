package ledgertest

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sandgate/sandgate/ledger/audit"
	"github.com/sandgate/sandgate/ledger/entry"
)

// The audit accepts what is made here, and every common kind of entry is among it.
func TestR30_AuditAcceptsTheMadeLedger(t *testing.T) {
	base, n := t.TempDir(), 3000
	if err := Write(t.Context(), base, n); err != nil {
		t.Fatal(err)
	}
	trust, err := Trust()
	if err != nil {
		t.Fatal(err)
	}
	r, err := audit.Run(t.Context(), filepath.Join(base, "ledger"), audit.Options{Trust: trust})
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK || r.Entries < uint64(n) {
		t.Errorf("%d entries: %+v", r.Entries, r.Findings)
	}
	kinds := slices.Sorted(maps.Keys(r.Kinds))
	for _, want := range []entry.Kind{entry.KindGenesis, entry.KindStarted, entry.KindHeartbeat, entry.KindPolicy, entry.KindSnapshot, entry.KindRefused, entry.KindReserved, entry.KindRepeated,
		entry.KindReleased, entry.KindFailed, entry.KindVerificationReserved, entry.KindVerificationAnswered} {
		if !slices.Contains(kinds, want) {
			t.Errorf("no entry of kind %s", want)
		}
	}
}

// What makes the ledgers takes, and how long an entry is on average.
func BenchmarkGenerate(b *testing.B) {
	const entries = 5000
	for range b.N {
		n := 0
		if err := Generate(Options{Entries: entries}, func(text []byte) error { n += len(text); return nil }); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(n)/entries, "bytes/entry")
	}
	b.ReportMetric(entries*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
