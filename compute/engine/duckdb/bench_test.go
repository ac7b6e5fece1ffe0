package duckdb

import (
	"bytes"
	"context"
	"database/sql/driver"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/ingest"
)

// BenchmarkIngest streams one million rows of eight columns through a worker
// into a snapshot in force.
func BenchmarkIngest(b *testing.B) {
	const rows = 1_000_000
	var raw bytes.Buffer
	raw.WriteString("id,district,fee,day,insured,a,b,c\n")
	for i := range rows {
		fmt.Fprintf(&raw, "U%08d,东,%d.%02d,2024-%02d-%02d,true,%d,%d,x%d\n", i*7919%250000, i%900, i%100, 1+i%12, 1+i%28, i, i%17, i%50)
	}
	integer := algebra.Type{Kind: algebra.Int}
	spec := ingest.Spec{
		Dataset: "bench", UnitColumn: "id", UnitKind: "person",
		Columns: []ingest.Column{
			{Name: "id", Type: engineText}, {Name: "district", Type: engineText, Codes: []string{"东", "西"}},
			{Name: "fee", Type: algebra.Type{Kind: algebra.Decimal, Scale: 2}, Bounds: &ingest.Range{Lo: 0, Hi: 80000}},
			{Name: "day", Type: algebra.Type{Kind: algebra.Date}}, {Name: "insured", Type: algebra.Type{Kind: algebra.Bool}},
			{Name: "a", Type: integer}, {Name: "b", Type: integer}, {Name: "c", Type: engineText},
		},
	}
	s := store(b)
	limits := testLimits
	limits.Memory, limits.Threads = 2<<30, 2
	before := childCPU(b)
	for b.Loop() {
		m, err := engine.IngestVia(context.Background(), pool(b), s, bytes.NewReader(raw.Bytes()), engine.IngestOptions{
			Format: ingest.CSV, Spec: spec, Keys: testKeys, Created: time.Unix(0, 0), Limits: limits,
		})
		if err != nil || m.Rows != rows {
			b.Fatal(m.Rows, err)
		}
	}
	b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(rows*b.N)/(childCPU(b)-before).Seconds(), "rows/cpu-s")
}

// childCPU is the CPU time of the workers that ended so far.
func childCPU(b *testing.B) time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkExecuteWarm is submit → partials with a warm worker on a small
// snapshot.
func BenchmarkExecuteWarm(b *testing.B) {
	s := store(b)
	m, err := take(b, s, healthSpec(), healthCSV)
	if err != nil {
		b.Fatal(err)
	}
	f := snapshot(b, s, m.Snapshot)
	r := engine.Runner{Pool: pool(b)}
	p := plan(3, engineText)
	for b.Loop() {
		b.StopTimer()
		time.Sleep(150 * time.Millisecond) // until the worker taken last is replaced
		b.StartTimer()
		if _, err := r.Execute(context.Background(), `SELECT t0.district AS k0, COUNT(*) AS m0, COALESCE(SUM(t0.fee),0) AS m1, COUNT(DISTINCT t0._unit) AS m2
			FROM d0.main.t AS t0 WHERE t0._rn <= 6 GROUP BY ALL`, p, []*os.File{f}, testLimits); err != nil {
			b.Fatal(err)
		}
	}
}

var million struct {
	once sync.Once
	dir  string
	err  error
}

// sixMillion returns a database of six million rows, as ingest lays them out:
// one (one row per unit) and many (150 000 units, sorted by unit and rank).
func sixMillion(b *testing.B) *session {
	b.Helper()
	million.once.Do(func() {
		million.dir, million.err = os.MkdirTemp("", "sandgate-bench-")
	})
	if million.err != nil {
		b.Fatal(million.err)
	}
	name := filepath.Join(million.dir, "six.duckdb")
	s, err := open()
	if err != nil {
		b.Fatal(err)
	}
	if err := s.exec("SET threads=1", "SET memory_limit='4GB'"); err != nil {
		b.Fatal(err)
	}
	if _, err := os.Stat(name); err != nil {
		const row = `(hash(range + 9) % 12)::VARCHAR AS district, (hash(range + 5) % 50000)::BIGINT AS base, (hash(range + 3) % 4000)::BIGINT AS shop`
		if err := s.exec("ATTACH '"+name+"' AS d0",
			"CREATE TABLE d0.main.one AS SELECT hash(range) AS _unit, 1::INTEGER AS _rn, "+row+" FROM range(6000000) ORDER BY _unit",
			"CREATE TABLE d0.main.many AS SELECT _unit, row_number() OVER (PARTITION BY _unit ORDER BY h)::INTEGER AS _rn, district, base, shop FROM (SELECT hash(hash(range) % 150000) AS _unit, hash(range + 1) AS h, "+row+" FROM range(6000000)) ORDER BY _unit, _rn",
			"DETACH d0"); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.exec("ATTACH '" + name + "' AS d0 (READ_ONLY)"); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.conn.Close(); _ = s.connector.Close() })
	return s
}

// BenchmarkProtected reports the CPU of a protected query over that of the raw
// one as cpu-ratio, minimum of several interleaved runs each.
func BenchmarkProtected(b *testing.B) {
	const raw = `SELECT district AS k0, COUNT(*) AS m0, SUM(base) AS m1 FROM d0.main.%s GROUP BY ALL`
	for _, c := range []struct{ name, raw, protected string }{
		{"one-row", fmt.Sprintf(raw, "one"),
			`SELECT district AS k0, COUNT(*) AS m0, COALESCE(SUM(base),0) AS m1 FROM d0.main.one GROUP BY ALL`},
		{"one-row-clamped", fmt.Sprintf(raw, "one"),
			`SELECT district AS k0, COUNT(*) AS m0, COALESCE(SUM(LEAST(GREATEST(base,100),40000)),0) AS m1 FROM d0.main.one GROUP BY ALL`},
		{"many-rows-rank6", fmt.Sprintf(raw, "many"),
			`SELECT district AS k0, COUNT(*) AS m0, COALESCE(SUM(base),0) AS m1 FROM d0.main.many WHERE _rn <= 6 GROUP BY ALL`},
		{"many-rows-rank40", fmt.Sprintf(raw, "many"),
			`SELECT district AS k0, COUNT(*) AS m0, COALESCE(SUM(base),0) AS m1 FROM d0.main.many WHERE _rn <= 40 GROUP BY ALL`},
		{"private-keys-units", `SELECT shop AS k0, COUNT(*) AS m0 FROM d0.main.many GROUP BY ALL`,
			`SELECT shop AS k0, COUNT(*) AS m0, COUNT(DISTINCT _unit) AS m1 FROM d0.main.many WHERE _rn <= 6 GROUP BY ALL`},
		{"window-at-query-time", fmt.Sprintf(raw, "many"), // what the stored rank avoids
			`SELECT district AS k0, COUNT(*) AS m0, SUM(base) AS m1 FROM (SELECT *, row_number() OVER (PARTITION BY _unit ORDER BY hash(base)) AS r FROM d0.main.many) WHERE r <= 6 GROUP BY ALL`},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := sixMillion(b)
			ratio := 0.0
			for b.Loop() {
				plainMin, protectedMin := time.Hour, time.Hour
				for range 4 {
					plainMin = min(plainMin, cpu(b, s, c.raw))
					protectedMin = min(protectedMin, cpu(b, s, c.protected))
				}
				ratio = float64(protectedMin) / float64(plainMin)
			}
			b.ReportMetric(ratio, "cpu-ratio")
		})
	}
	_ = os.RemoveAll(million.dir)
}

// cpu runs a query in this process and returns its CPU time.
func cpu(b *testing.B, s *session, text string) time.Duration {
	b.Helper()
	columns := strings.Count(text[:strings.Index(text, "FROM")], " AS ")
	before := rusage(b)
	if err := s.each(text, columns, func([]driver.Value) error { return nil }); err != nil {
		b.Fatal(text, err)
	}
	return rusage(b) - before
}

func rusage(b *testing.B) time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
