package duckdb

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandgate/sandgate/compute/algebra"
	decoder "github.com/sandgate/sandgate/compute/analyse"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/compute/render"
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

var layouts struct {
	once sync.Once
	dir  string
	err  error
}

// laidOut opens a table of rows rows as d0.main.t, in the order in which ingest
// writes it: one (one row per unit) or many (40 rows a unit on average).
func laidOut(b *testing.B, layout string, rows int) *session {
	b.Helper()
	layouts.once.Do(func() { layouts.dir, layouts.err = os.MkdirTemp("", "sandgate-bench-") })
	if layouts.err != nil {
		b.Fatal(layouts.err)
	}
	name := filepath.Join(layouts.dir, fmt.Sprintf("%s-%d.duckdb", layout, rows))
	s, err := open()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.conn.Close(); _ = s.connector.Close() })
	if err := s.exec("SET threads=1", "SET memory_limit='4GB'"); err != nil {
		b.Fatal(err)
	}
	if _, err := os.Stat(name); err != nil {
		unit := map[string]string{"one": "hash(range)", "many": fmt.Sprintf("hash(hash(range) %% %d)", max(1, rows/40))}[layout]
		if err := s.exec("ATTACH '"+name+"' AS "+outName,
			"CREATE TABLE out.main.t (_unit UBIGINT NOT NULL, _rn INTEGER NOT NULL, district VARCHAR, base BIGINT, shop BIGINT, age BIGINT)"); err != nil {
			b.Fatal(err)
		}
		// Passes over equal ranges of tokens, each by rank and unit, as stage and writer make them.
		passes := rows/passRows + 1
		for p := range passes {
			if err := s.exec(fmt.Sprintf(`INSERT INTO out.main.t SELECT _unit, row_number() OVER (PARTITION BY _unit ORDER BY hash(range + 1)) AS _rn, (hash(range + 9) %% 12)::VARCHAR,
				(hash(range + 5) %% 50000)::BIGINT, (hash(range + 3) %% 4000)::BIGINT, (hash(range + 4) %% 100)::BIGINT FROM (SELECT range, %s AS _unit FROM range(%d)) WHERE (_unit >> 56) * %d // 256 = %d ORDER BY _rn, _unit`, unit, rows, passes, p)); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.exec("CHECKPOINT out", "DETACH out"); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.exec("ATTACH '" + name + "' AS d0 (READ_ONLY)"); err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkProtected reports the CPU of the statement rendered for a plan over that
// of the raw query an analyst would write, as cpu-ratio, minimum of several
// interleaved runs each; by number of rows.
func BenchmarkProtected(b *testing.B) {
	district, base := algebra.Col{Name: "district", Type: engineText}, algebra.Col{Name: "base", Type: typeInt}
	shop, age := algebra.Col{Name: "shop", Type: typeInt}, algebra.Col{Name: "age", Type: typeInt}
	schemas := []algebra.Schema{{Dataset: "t", Unit: "id", Columns: []algebra.SchemaColumn{
		{Name: "district", Type: engineText}, {Name: "base", Type: typeInt}, {Name: "shop", Type: typeInt}, {Name: "age", Type: typeInt}}}}
	public := protect.Key{Col: district, Nullable: true}
	for i := range 12 {
		public.Codes = append(public.Codes, algebra.Value{Type: engineText, S: fmt.Sprint(i)})
	}
	counts := []protect.Measure{{Kind: protect.MeasureRows}, {Kind: protect.MeasureSum, Col: &base}}
	few := algebra.Pred{Op: algebra.OpLt, Col: &shop, Values: []algebra.Value{{Type: typeInt, I: 400}}}
	label := func(s string) algebra.Expr { return lit(algebra.Value{Type: typeText, S: s}) }
	old := label("old")
	band := algebra.Expr{Op: algebra.ExprCase, Type: typeText, Else: &old, Whens: []algebra.When{
		{If: algebra.Pred{Op: algebra.OpLt, Col: &age, Values: []algebra.Value{{Type: typeInt, I: 18}}}, Then: label("young")},
		{If: algebra.Pred{Op: algebra.OpLt, Col: &age, Values: []algebra.Value{{Type: typeInt, I: 60}}}, Then: label("grown")}}}
	grid := func() (out []protect.Measure) {
		for i := range int64(20) {
			out = append(out, protect.Measure{Kind: protect.MeasureBin, Col: &age, Bin: &protect.Range{Lo: 5 * i, Hi: 5*i + 5}})
		}
		return out
	}()
	spread := &protect.Range{Lo: 0, Hi: 50_000}
	a0 := algebra.Col{Name: "a0", Type: typeInt}
	perUnit := algebra.Table{Dataset: "t", PerUnit: &algebra.PerUnit{Aggs: []algebra.Agg{{Func: algebra.CountRows}, {Func: algebra.Sum, Arg: &base}}}}
	a1 := algebra.Col{Name: "a1", Type: typeInt}
	const byDistrict = "SELECT district AS k0, COUNT(*) AS m0, SUM(base) AS m1 FROM d0.main.t GROUP BY ALL"
	plan := func(m int64, key protect.Key, measures []protect.Measure) protect.Plan {
		return protect.Plan{MaxRows: m, Ranks: []int64{m}, Keys: []protect.Key{key}, Measures: measures}
	}
	const unitRaw = "SELECT n AS k0, COUNT(*) AS m0, SUM(s) AS m1 FROM (SELECT _unit, COUNT(*) n, SUM(base) s FROM d0.main.t GROUP BY _unit) GROUP BY ALL"
	const fewRaw = "SELECT district AS k0, COUNT(*) AS m0, SUM(base) AS m1 FROM d0.main.t WHERE shop < 400 GROUP BY ALL"
	ofUnits := protect.Plan{MaxRows: 1, OneRow: true, Ranks: []int64{40}, Core: algebra.Core{Tables: []algebra.Table{perUnit}}, Keys: []protect.Key{{Col: a0}},
		Measures: []protect.Measure{{Kind: protect.MeasureRows}, {Kind: protect.MeasureSum, Col: &a1}}}
	weighted := protect.Plan{MaxRows: 20, Weight: protect.Lattice, Ranks: []int64{0}, Core: algebra.Core{Where: &few}, Keys: []protect.Key{public}, Measures: counts}
	for _, c := range []struct {
		name, layout, raw string
		plan              protect.Plan
	}{
		{"one-row", "one", byDistrict, protect.Plan{OneRow: true, MaxRows: 1, Ranks: []int64{0}, Keys: []protect.Key{public}, Measures: counts}},
		{"one-row-clamped", "one", byDistrict, protect.Plan{OneRow: true, MaxRows: 1, Ranks: []int64{0}, Keys: []protect.Key{public},
			Measures: []protect.Measure{{Kind: protect.MeasureRows}, {Kind: protect.MeasureSum, Col: &base, Clamp: &protect.Range{Lo: 100, Hi: 40_000}}}}},
		{"public-keys-rank6", "many", byDistrict, plan(6, public, counts)},
		{"public-keys-rank40", "many", byDistrict, plan(40, public, counts)},
		{"derived-keys-rank40", "many", "SELECT CASE WHEN age < 18 THEN 'young' WHEN age < 60 THEN 'grown' ELSE 'old' END AS k0, COUNT(*) AS m0, SUM(base) AS m1 FROM d0.main.t GROUP BY ALL",
			protect.Plan{MaxRows: 40, Ranks: []int64{40}, Core: algebra.Core{Derived: []algebra.Expr{band}}, Keys: []protect.Key{{Col: algebra.DerivedCol(0, typeText)}}, Measures: counts}},
		{"private-keys-rank6", "many", "SELECT shop AS k0, COUNT(*) AS m0 FROM d0.main.t GROUP BY ALL",
			plan(6, protect.Key{Col: shop}, []protect.Measure{{Kind: protect.MeasureRows}, {Kind: protect.MeasureFirst}})},
		{"private-keys-rank40", "many", "SELECT shop AS k0, COUNT(*) AS m0 FROM d0.main.t GROUP BY ALL",
			plan(40, protect.Key{Col: shop}, []protect.Measure{{Kind: protect.MeasureRows}, {Kind: protect.MeasureFirst}})},
		{"private-keys-rank6-units", "many", "SELECT shop AS k0, COUNT(*) AS m0 FROM d0.main.t GROUP BY ALL",
			plan(6, protect.Key{Col: shop}, []protect.Measure{{Kind: protect.MeasureRows}, {Kind: protect.MeasureUnits}})},
		{"variance-rank40", "many", "SELECT district AS k0, VAR_SAMP(base) AS m0 FROM d0.main.t GROUP BY ALL",
			plan(40, public, []protect.Measure{{Kind: protect.MeasureRows}, {Kind: protect.MeasureSum, Col: &base, Offset: 25_000},
				{Kind: protect.MeasureProduct, Col: &base, Col2: &base, Offset: 25_000, Offset2: 25_000, Clamp: spread, Clamp2: spread}})},
		{"median-rank40", "many", "SELECT district AS k0, MEDIAN(age) AS m0 FROM d0.main.t GROUP BY ALL", plan(40, public, grid)},
		{"per-unit-rank40", "many", unitRaw, ofUnits},
		{"weights-selective", "many", fewRaw, weighted},
	} {
		for _, rows := range []int{600_000, 6_000_000} {
			b.Run(fmt.Sprintf("%s/rows=%d", c.name, rows), func(b *testing.B) {
				p := c.plan
				p.Mode, p.MaxCells = protect.ModeDP, 10_000
				if p.Core.Tables == nil {
					p.Core.Tables = []algebra.Table{{Dataset: "t"}}
				}
				p.Core.Aggs = []algebra.Agg{{Func: algebra.CountRows}}
				for _, k := range p.Keys {
					p.Core.Keys = append(p.Core.Keys, k.Col)
				}
				text, err := render.SQL(&p, schemas)
				if err != nil {
					b.Fatal(err)
				}
				s := laidOut(b, c.layout, rows)
				ratio, cost := 0.0, time.Hour
				for b.Loop() {
					plainMin, protectedMin := time.Hour, time.Hour
					for range 5 {
						plainMin = min(plainMin, cpu(b, s, c.raw, strings.Count(c.raw[:strings.Index(c.raw, " FROM ")], " AS ")))
						protectedMin = min(protectedMin, cpu(b, s, text, len(p.Keys)+len(p.Measures)))
					}
					ratio, cost = float64(protectedMin)/float64(plainMin), protectedMin
				}
				b.ReportMetric(ratio, "cpu-ratio")
				b.ReportMetric(float64(cost.Nanoseconds())/float64(rows), "cpu-ns/row")
			})
		}
	}
	_ = os.RemoveAll(layouts.dir)
}

// BenchmarkDecision is what stands between a text and its job: parse, decode,
// canonical form, plan, statement, both gates. The ledger's own decision, which
// builds the plan again, is not in it.
func BenchmarkDecision(b *testing.B) {
	const text = `SELECT district, COUNT(*), AVG(wage) FROM social WHERE age >= 18 AND NOT paid AND gender IN ('1', '2') GROUP BY district`
	raw, err := os.ReadFile("../../analyse/testdata/schemas.json")
	if err != nil {
		b.Fatal(err)
	}
	var all []algebra.Schema
	if err := json.Unmarshal(raw, &all); err != nil {
		b.Fatal(err)
	}
	facts := protect.Facts{Dataset: "social", Department: "d", Unit: "person", Mode: protect.ModeDP, MaxRows: 6, K: 5, QueryRho: 4_000_000, QueryMaxRho: 40_000_000, Columns: map[string]protect.ColumnFacts{}}
	for _, c := range all[0].Columns {
		f := protect.ColumnFacts{Type: c.Type}
		if c.Type.Kind == algebra.Int || c.Type.Kind == algebra.Decimal {
			f.Bounds = &protect.Range{Lo: 0, Hi: 100}
			f.Stored = f.Bounds
		}
		if c.Name == "district" {
			for i := range 20 {
				f.Codes = append(f.Codes, algebra.Value{Type: typeText, S: fmt.Sprint(1101+i, "00")})
			}
		}
		facts.Columns[c.Name] = f
	}
	// An operator's text has a database of its own, prepared before it arrives.
	reader, err := openWarm()
	if err != nil {
		b.Fatal(err)
	}
	defer reader.discard()
	gate, err := openWarm()
	if err != nil {
		b.Fatal(err)
	}
	defer gate.discard()
	ctx := context.Background()
	before := rusage(b)
	defer func() { b.ReportMetric(float64((rusage(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op") }()
	for b.Loop() {
		tree, err := reader.syntax(ctx, text)
		if err != nil {
			b.Fatal(err)
		}
		q, reason := decoder.Decode(tree, text, all, nil)
		if reason != nil {
			b.Fatal(reason)
		}
		p, reason := protect.Build(algebra.Canonicalise(q).Core, []protect.Facts{facts}, facts.QueryRho)
		if reason != nil {
			b.Fatal(reason)
		}
		schemas, err := p.Core.SchemasOf(all)
		if err != nil {
			b.Fatal(err)
		}
		sql, err := render.SQL(p, schemas)
		if err != nil {
			b.Fatal(err)
		}
		if tree, err = gate.syntax(ctx, sql); err != nil {
			b.Fatal(err)
		}
		bound, err := gate.bind(ctx, schemas, sql)
		if err != nil {
			b.Fatal(err)
		}
		if err := render.Check(p, schemas, tree, bound); err != nil {
			b.Fatal(err)
		}
	}
}

// cpu runs a query in this process and returns its CPU time.
func cpu(b *testing.B, s *session, text string, columns int) time.Duration {
	b.Helper()
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
