package duckdb

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/sandbox"
)

func init() { ingest.BuildOperator = maskingOperator }

var shared struct {
	once sync.Once
	pool *sandbox.Pool
	err  error
}

func TestMain(m *testing.M) {
	sandbox.Main()
	if len(os.Args) == 3 && os.Args[1] == "ingest-and-die" {
		ingestAndDie(os.Args[2])
	}
	code := m.Run()
	if shared.pool != nil {
		_ = shared.pool.Close()
	}
	os.Exit(code)
}

var engineText = algebra.Type{Kind: algebra.Text}

var testLimits = sandbox.Limits{Wall: 60 * time.Second, Memory: 512 << 20, Result: 16 << 20, Threads: 1}

func pool(t testing.TB) *sandbox.Pool {
	t.Helper()
	shared.once.Do(func() {
		shared.pool, shared.err = sandbox.NewPool(context.Background(), sandbox.Config{
			Warm: map[string]int{engine.ExecuteHandler: 1, engine.PostHandler: 2}, Limits: testLimits,
		})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.pool
}

var storeOptions = engine.StoreOptions{Key: bytes.Repeat([]byte("s"), 32), Memory: 2 << 30}

func store(t testing.TB) *engine.Store {
	t.Helper()
	s, err := engine.OpenStore(t.TempDir(), storeOptions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

var testKeys = ingest.Keys{
	Unit: bytes.Repeat([]byte("u"), 32), Rank: bytes.Repeat([]byte("r"), 32), Pseudonym: bytes.Repeat([]byte("p"), 32),
}

func healthSpec() ingest.Spec {
	return ingest.Spec{
		Dataset: "health.visits", UnitColumn: "id", UnitKind: "person", MaxBadPercent: 50,
		Columns: []ingest.Column{
			{Name: "id", Type: algebra.Type{Kind: algebra.Text}},
			{Name: "district", Type: algebra.Type{Kind: algebra.Text}, Codes: []string{"东", "西"}, Other: "其他"},
			{Name: "fee", Type: algebra.Type{Kind: algebra.Decimal, Scale: 2}, Bounds: &ingest.Range{Lo: 0, Hi: 100000}, Nullable: true, Missing: []string{"NA"}},
			{Name: "day", Type: algebra.Type{Kind: algebra.Date}},
			{Name: "insured", Type: algebra.Type{Kind: algebra.Bool}},
			{Name: "born", Type: algebra.Type{Kind: algebra.Date}, Mask: &ingest.Mask{Op: "year"}},
			{Name: "phone", Type: algebra.Type{Kind: algebra.Text}, Mask: &ingest.Mask{Op: "drop"}},
		},
	}
}

const healthCSV = `id,district,fee,day,insured,born,phone
A1,东,12.345,2024-02-29,true,1980-01-01,13800000000
A1,西,NA,2024-03-01,false,1980-01-01,13800000000
b2,南,5000.00,2024-03-02,1,1990-12-31,13900000000
 B2 ,东,-3,2024-03-02,0,1990-12-31,13900000000
`

func take(t testing.TB, s *engine.Store, spec ingest.Spec, raw string) (engine.Manifest, error) {
	t.Helper()
	return engine.IngestVia(context.Background(), pool(t), s, strings.NewReader(raw), engine.IngestOptions{
		Format: ingest.CSV, Spec: spec, Keys: testKeys, Created: time.Unix(1700000000, 0), Limits: testLimits,
	})
}

// run executes text over a snapshot with the given key types and two measures.
func run(t testing.TB, s *engine.Store, id, text string, measures int, keys ...algebra.Type) (protect.Partials, error) {
	t.Helper()
	return (&engine.Runner{Pool: pool(t)}).Execute(context.Background(), text, plan(measures, keys...), []*os.File{snapshot(t, s, id)}, testLimits)
}

// snapshot returns a snapshot's memory file, leased until the test ends.
func snapshot(t testing.TB, s *engine.Store, id string) *os.File {
	t.Helper()
	lease, err := s.Lease(context.Background(), []string{id})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lease.Release)
	files, _, err := lease.Open()
	if err != nil {
		t.Fatal(err)
	}
	return files[0]
}

func plan(measures int, keys ...algebra.Type) *protect.Plan {
	p := &protect.Plan{Measures: make([]protect.Measure, measures), MaxCells: 100}
	for _, k := range keys {
		p.Keys = append(p.Keys, protect.Key{Col: algebra.Col{Type: k}})
	}
	return p
}

func TestIngestAndExecute(t *testing.T) {
	s := store(t)
	m, err := take(t, s, healthSpec(), healthCSV)
	if err != nil {
		t.Fatal(err)
	}
	if m.Rows != 4 || m.Units != 2 || m.Bad != 0 || m.MaxRank != 2 || len(m.Columns) != 5 {
		t.Fatalf("manifest %+v", m)
	}
	if m.Columns[1].Clamped != 2 || m.Columns[0].Others != 1 {
		t.Errorf("clamped %+v", m.Columns)
	}
	text := algebra.Type{Kind: algebra.Text}
	got, err := run(t, s, m.Snapshot, `SELECT t0.district AS k0, t0.day AS k1, t0.insured AS k2, t0.born AS k3, COUNT(*) AS m0, COALESCE(SUM(t0.fee),0) AS m1, COUNT(DISTINCT t0._unit) AS m2
		FROM d0.main.t AS t0 WHERE t0._rn <= 6 GROUP BY ALL ORDER BY 2, 1 DESC`, 3,
		text, algebra.Type{Kind: algebra.Date}, algebra.Type{Kind: algebra.Bool}, algebra.Type{Kind: algebra.Int})
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		district        string
		day, insured, y int64
		sum             int64
	}{{"东", 19782, 1, 1980, 1235}, {"西", 19783, 0, 1980, 0}, {"其他", 19784, 1, 1990, 100000}, {"东", 19784, 0, 1990, 0}}
	if len(got.Cells) != 4 {
		t.Fatalf("cells %+v", got.Cells)
	}
	for _, w := range want {
		found := false
		for _, c := range got.Cells {
			if c.Keys[0].S == w.district && c.Keys[1].I == w.day && c.Keys[2].I == w.insured && c.Keys[3].I == w.y {
				found = c.M[0].Int64() == 1 && c.M[1].Int64() == w.sum && c.M[2].Int64() == 1
			}
		}
		if !found {
			t.Errorf("no cell %+v in %+v", w, got.Cells)
		}
	}
}

// TestContainerTier: the engine works in the tier without namespaces, where /proc
// is visible but refused.
func TestContainerTier(t *testing.T) {
	p, err := sandbox.NewPool(context.Background(), sandbox.Config{Tier: sandbox.TierContainer, Limits: testLimits})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s := store(t)
	m, err := engine.IngestVia(context.Background(), p, s, strings.NewReader(healthCSV), engine.IngestOptions{
		Format: ingest.CSV, Spec: healthSpec(), Keys: testKeys, Limits: testLimits,
	})
	if err != nil {
		t.Fatal(err)
	}
	f := snapshot(t, s, m.Snapshot)
	got, err := (&engine.Runner{Pool: p}).Execute(context.Background(), `SELECT count(*) AS m0 FROM d0.main.t`, plan(1), []*os.File{f}, testLimits)
	if err != nil || got.Cells[0].M[0].Int64() != 4 {
		t.Fatalf("%+v, %v", got, err)
	}
}
