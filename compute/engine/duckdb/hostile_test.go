package duckdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/sandbox"
)

// TestR01_HostileSQL: SQL that a broken renderer might one day pass on runs into
// the worker's limits and comes back as one constant.
func TestR01_HostileSQL(t *testing.T) {
	t.Parallel()
	limits := sandbox.Limits{Wall: 1500 * time.Millisecond, Memory: 128 << 20, Result: 1 << 20, Threads: 2}
	r := engine.Runner{Pool: pool(t)}
	for _, c := range []struct {
		name, sql string
		want      []sandbox.Cause
	}{
		{"repeat", `SELECT length(repeat('x', 900000000))::BIGINT`, []sandbox.Cause{sandbox.CauseMemory, sandbox.CauseTimeout, sandbox.CauseCrashed}},
		{"list explosion", `SELECT len(list_sort(list_transform(range(100000000), x -> x * 2)))::BIGINT`, []sandbox.Cause{sandbox.CauseMemory, sandbox.CauseTimeout, sandbox.CauseCrashed}},
		{"cross join", `SELECT count(*) FROM range(1000000) a, range(1000000) b, range(1000000) c WHERE a.range + b.range + c.range = 7`, []sandbox.Cause{sandbox.CauseTimeout}},
		{"recursion", `WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r`, []sandbox.Cause{sandbox.CauseTimeout, sandbox.CauseMemory}},
		{"pairs of units", `SELECT count(*) FROM range(3000000) AS t0(u) INNER JOIN (SELECT w.u FROM range(3000000) AS w(u)) AS w ON t0.u <> w.u`, []sandbox.Cause{sandbox.CauseTimeout, sandbox.CauseMemory}},
		{"sort", `SELECT count(*) FROM (SELECT range, hash(range) h FROM range(200000000) ORDER BY h LIMIT 100000000)`, []sandbox.Cause{sandbox.CauseMemory, sandbox.CauseTimeout, sandbox.CauseCrashed}},
		{"too many rows", `SELECT range FROM range(1000)`, []sandbox.Cause{sandbox.CauseFailed}},
		{"value in error", `SELECT CAST('canary-7731' AS INTEGER)`, []sandbox.Cause{sandbox.CauseFailed}},
		{"error()", `SELECT error('canary-7731')`, []sandbox.Cause{sandbox.CauseFailed}},
		{"float", `SELECT 1.5::DOUBLE`, []sandbox.Cause{sandbox.CauseFailed}},
		{"null measure", `SELECT NULL::BIGINT`, []sandbox.Cause{sandbox.CauseFailed}},
		{"two columns", `SELECT 1, 2`, []sandbox.Cause{sandbox.CauseFailed}},
		{"two statements", `SELECT 1; SELECT 2`, []sandbox.Cause{sandbox.CauseFailed}},
		{"no statement", ``, []sandbox.Cause{sandbox.CauseFailed}},
	} {
		t.Run(c.name, func(t *testing.T) {
			begin, limits := time.Now(), limits
			if slices.Equal(c.want[:1], []sandbox.Cause{sandbox.CauseTimeout}) {
				limits.Wall = 500 * time.Millisecond // it would run on for ever
			}
			_, err := r.Execute(context.Background(), c.sql, plan(1), nil, limits)
			var killed *sandbox.ErrKilled
			if !errors.As(err, &killed) {
				t.Fatalf("got %v", err)
			}
			for _, want := range c.want {
				if killed.Cause == want {
					if took := time.Since(begin); took > 30*time.Second { // unhindered, each would run for minutes
						t.Fatalf("took %v", took)
					}
					if err.Error() != "worker did not finish: "+string(want) {
						t.Fatalf("text %q", err)
					}
					return
				}
			}
			t.Fatalf("got %s, want one of %v", killed.Cause, c.want)
		})
	}
	p, err := r.Execute(context.Background(), `SELECT 5::BIGINT`, plan(1), nil, limits)
	if err != nil || p.Cells[0].M[0].Int64() != 5 {
		t.Fatalf("the next job must run: %+v, %v", p, err)
	}
}

// TestR01_EngineIsLocked: statements and functions that reach out of a snapshot
// are refused by the engine or by the jail around it.
func TestR01_EngineIsLocked(t *testing.T) {
	t.Parallel()
	s := store(t)
	m, err := take(t, s, healthSpec(), healthCSV)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		`SELECT count(*) FROM read_text('/etc/passwd')`,
		`SELECT count(*) FROM read_text('/sandgate/d0')`,
		`SELECT count(*) FROM read_csv('/etc/hosts')`,
		`SELECT count(*) FROM read_blob('/proc/self/environ')`,
		`SELECT count(*) FROM glob('/**')`,
		`SELECT count(*) FROM read_csv('http://127.0.0.1:1/x')`,
		`SELECT count(*) FROM '/sandgate/d0'`,
		`SELECT count(*) FROM read_parquet('/sandgate/d0')`,
		`SELECT count(*) FROM enable_logging('QueryLog', storage='file', storage_config={'path': '/tmp/x'})`,
		`ATTACH ':memory:' AS x`,
		`ATTACH '/sandgate/d0' AS x`,
		`DETACH d0`,
		`COPY (SELECT 1) TO '/dev/stdout'`,
		`COPY d0.main.t TO '/tmp/x'`,
		`EXPORT DATABASE '/tmp/x'`,
		`INSTALL httpfs`,
		`LOAD httpfs`,
		`SET threads=8`,
		`RESET threads`,
		`SET lock_configuration=false`,
		`SET enable_external_access=true`,
		`PRAGMA enable_profiling`,
		`PRAGMA database_list`,
		`CALL enable_logging('QueryLog', storage='stdout')`,
		`CREATE TABLE x(i INT)`,
		`CREATE TEMP TABLE x AS SELECT * FROM d0.main.t`,
		`CREATE SECRET x (TYPE s3)`,
		`DELETE FROM d0.main.t`,
		`UPDATE d0.main.t SET fee = 0`,
		`INSERT INTO d0.main.t SELECT * FROM d0.main.t`,
		`DROP TABLE d0.main.t`,
		`EXPLAIN SELECT 1`,
		`EXPLAIN ANALYZE SELECT 1`,
		`BEGIN`,
		`CHECKPOINT`,
		`USE d0`,
		`SHOW TABLES`,
		`DESCRIBE d0.main.t`,
		`SELECT getenv('PATH')`,
		// The shapes of pre-aggregation, partitions and weights around something else.
		`SELECT count(*) FROM (SELECT p.content FROM read_text('/sandgate/d0') AS p UNION ALL SELECT p.content FROM read_text('/etc/passwd') AS p) AS t0`,
		`SELECT count(*) FROM d0.main.t AS t0 INNER JOIN (SELECT 1 AS _unit FROM glob('/**') GROUP BY 1) AS w ON t0._unit = w._unit`,
		`SELECT count(*) FROM (SELECT p._unit FROM d9.main.t AS p GROUP BY p._unit) AS t0`,
		`SELECT max(t0.fee * 9223372036854775807) FROM d0.main.t AS t0`,
		`SELECT count(*) FILTER (WHERE error(t0.district)) FROM d0.main.t AS t0`,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			_, err := run(t, s, m.Snapshot, text, 1)
			var killed *sandbox.ErrKilled
			if !errors.As(err, &killed) || killed.Cause == sandbox.CauseTimeout || killed.Cause == sandbox.CauseResultCap {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestLockIsWhatRefuses is the positive control of the table above: without the
// lock the engine does read files and change its own settings.
func TestLockIsWhatRefuses(t *testing.T) {
	s, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.connector.Close()
	defer s.conn.Close()
	for _, text := range []string{`SELECT count(*) FROM read_text('/etc/passwd')`, `SET threads=2`, `ATTACH ':memory:' AS x`} {
		if err := s.exec(text); err != nil {
			t.Errorf("control: %s: %v", text, err)
		}
	}
	if err := s.lock(); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`SELECT count(*) FROM read_text('/etc/passwd')`, `SET threads=1`, `COPY (SELECT 1) TO '/dev/stdout'`,
		`SELECT * FROM enable_logging('QueryLog', storage='file', storage_config={'path': '/tmp/sandgate-never'})`} {
		if err := s.exec(text); err == nil {
			t.Errorf("locked: %s succeeded", text)
		}
	}
}

// TestSnapshotStaysReadOnly: a descriptor handed over read-write is read-only to
// an execute worker all the same.
func TestSnapshotStaysReadOnly(t *testing.T) {
	s := store(t)
	m, err := take(t, s, healthSpec(), healthCSV)
	if err != nil {
		t.Fatal(err)
	}
	f := snapshot(t, s, m.Snapshot)
	before, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	r := engine.Runner{Pool: pool(t)}
	for range 3 {
		// Twice the same file: two attachments with positions of their own.
		p, err := r.Execute(context.Background(), `SELECT (SELECT count(*) FROM d0.main.t) + (SELECT count(*) FROM d1.main.t) AS m0`, plan(1), []*os.File{f, f}, testLimits)
		if err != nil || p.Cells[0].M[0].Int64() != 8 {
			t.Fatalf("%+v, %v", p, err)
		}
	}
	after, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil || string(before) != string(after) {
		t.Fatal("the snapshot changed")
	}
	if _, err := r.Execute(context.Background(), `SELECT 1`, plan(1), []*os.File{nil}, testLimits); err == nil {
		t.Fatal("a missing snapshot passed")
	}
}

// TestExactTotals runs the exact-mode shape with its grand total.
func TestExactTotals(t *testing.T) {
	s := store(t)
	m, err := take(t, s, healthSpec(), healthCSV)
	if err != nil {
		t.Fatal(err)
	}
	f := snapshot(t, s, m.Snapshot)
	p := plan(2, engineText)
	p.Exact = &protect.ExactRules{}
	got, err := (&engine.Runner{Pool: pool(t)}).Execute(context.Background(),
		`SELECT district AS k0, GROUPING(district) AS grp, count(*) AS m0, count(DISTINCT _unit) AS m1 FROM d0.main.t GROUP BY GROUPING SETS ((district), ())`,
		p, []*os.File{f}, testLimits)
	if err != nil || len(got.Cells) != 3 || got.Total == nil || got.Total.M[0].Int64() != 4 || got.Total.M[1].Int64() != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
}

// TestNoDescriptorLeaks: jobs and ingests of every fate leave no descriptor.
func TestNoDescriptorLeaks(t *testing.T) {
	s := store(t)
	round := func() {
		m, err := take(t, s, healthSpec(), healthCSV)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = take(t, s, healthSpec(), "nothing\n")
		_, _ = run(t, s, m.Snapshot, `SELECT error('x')`, 1)
	}
	round()
	time.Sleep(300 * time.Millisecond) // the warm worker taken is replaced in the background
	before := openFiles(t)
	round()
	round()
	deadline := time.Now().Add(5 * time.Second)
	for openFiles(t) > before {
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors before, %d after", before, openFiles(t))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
