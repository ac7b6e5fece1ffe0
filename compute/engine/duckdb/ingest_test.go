package duckdb

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/sandbox"
)

// TestR01_RefusedFilesQuoteNothing: every refusal names columns and positions;
// no value of the file is in the error, and nothing comes into force.
func TestR01_RefusedFilesQuoteNothing(t *testing.T) {
	const canary = "canary7731"
	const head = "id,district,fee,day,insured,born,phone\n"
	row := func(id, fee string) string {
		return id + ",东," + fee + ",2024-01-01,1,2000-01-01," + canary + "\n"
	}
	s := store(t)
	for _, c := range []struct {
		name   string
		raw    string
		change func(*ingest.Spec)
		want   string
	}{
		{"bad rows", head + row("A", canary) + row("B", canary) + row("C", "1"), nil, `file refused: TOO_MANY_BAD_ROWS (first: MALFORMED), column "fee", field 3, row 1, 2 of 3`},
		{"header", strings.Replace(head, "fee", canary, 1), nil, "file refused: HEADER_MISMATCH, field 3"},
		{"missing column", strings.Replace(head, ",phone", "", 1), nil, `file refused: HEADER_MISMATCH, column "phone"`},
		{"cut", head + row("A", "1") + "B,东," + canary, nil, "file refused: TRUNCATED, row 2"},
		{"one row", head + row("A", "1") + row("A", "2") + row("B", "3"), func(s *ingest.Spec) { s.OneRow = true }, `file refused: NOT_ONE_ROW, column "id", 1 of 3`},
		{"unique", head + row("A", "1") + row("B", "1") + row("C", "NA"), func(s *ingest.Spec) { s.UnitColumn, s.Unique = "", []string{"fee"} }, `file refused: NOT_UNIQUE, column "fee", 2 of 3`},
	} {
		spec := healthSpec()
		if c.change != nil {
			c.change(&spec)
		}
		_, err := take(t, s, spec, c.raw)
		var refused *engine.Refused
		if !errors.As(err, &refused) || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error quotes data", c.name)
		}
	}
	if _, err := s.Current("health.visits"); !errors.Is(err, engine.ErrNoSnapshot) {
		t.Errorf("a refused file is in force: %v", err)
	}
}

// TestSnapshotHidesFileOrder: the same rows in any order make the same snapshot,
// row by row, and no raw value of a dropped, masked or unit column is in its file.
func TestSnapshotHidesFileOrder(t *testing.T) {
	lines := make([]string, 300)
	for i := range lines {
		lines[i] = fmt.Sprintf("UNITCANARY%03d,东,%d.50,2024-01-01,1,1977-07-31,PHONECANARY%d\n", i%90, i, i)
	}
	var first engine.Manifest
	var rows string
	for range 2 {
		rand.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		dir := t.TempDir()
		s, err := engine.OpenStore(dir, storeOptions)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		m, err := take(t, s, healthSpec(), "id,district,fee,day,insured,born,phone\n"+strings.Join(lines, ""))
		if err != nil {
			t.Fatal(err)
		}
		// The memory file under a name that the engine opens.
		name := filepath.Join(t.TempDir(), "plain")
		raw, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", snapshot(t, s, m.Snapshot).Fd()))
		err = errors.Join(err, os.WriteFile(name, raw, 0o600))
		if err != nil {
			t.Fatal(err)
		}
		for _, canary := range []string{"UNITCANARY", "PHONECANARY", "1977-07", string(testKeys.Unit), string(testKeys.Rank)} {
			if bytes.Contains(raw, []byte(canary)) {
				t.Fatalf("the snapshot holds %q", canary)
			}
		}
		dump := dumpTable(t, name)
		if rows == "" {
			first, rows = m, dump
			continue
		}
		if m.Snapshot != first.Snapshot || dump != rows {
			t.Fatal("the file's order is visible in the snapshot")
		}
		if m.Units != 90 || m.Rows != 300 || m.MaxRank != 4 {
			t.Fatalf("manifest %+v", m)
		}
	}
}

// dumpTable reads a snapshot in this process, in physical order, and checks that
// it is sorted by rank and unit, and that every unit has the ranks 1…n.
func dumpTable(t *testing.T, name string) string {
	t.Helper()
	s, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.connector.Close()
	defer s.conn.Close()
	if err := s.exec(fmt.Sprintf("ATTACH '%s' AS d (READ_ONLY)", name)); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	var unit uint64
	rank, reached := int32(1), map[uint64]int32{}
	if err := s.each("SELECT * FROM d.main.t", 7, func(v []driver.Value) error {
		u, n := v[0].(uint64), v[1].(int32)
		if n < rank || n == rank && u <= unit || n != reached[u]+1 {
			return errors.New("not sorted")
		}
		unit, rank, reached[u] = u, n, n
		fmt.Fprintln(&out, v)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestPublicTable(t *testing.T) {
	spec := ingest.Spec{Dataset: "区划 代码", Unique: []string{"code"}, Columns: []ingest.Column{
		{Name: "code", Type: algebra.Type{Kind: algebra.Text}}, {Name: `na"me`, Type: algebra.Type{Kind: algebra.Text}},
	}}
	s := store(t)
	m, err := take(t, s, spec, "code,\"na\"\"me\"\n02,b\n01,a\n")
	if err != nil || !m.Public || m.Units != 0 || m.Rows != 2 {
		t.Fatalf("%+v, %v", m, err)
	}
	now, err := s.Current("区划 代码")
	if err != nil || now.Snapshot != m.Snapshot {
		t.Fatal(err)
	}
	got, err := run(t, s, m.Snapshot, `SELECT code AS k0, count(*) AS m0 FROM d0.main.t GROUP BY ALL`, 1, algebra.Type{Kind: algebra.Text})
	if err != nil || len(got.Cells) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := run(t, s, m.Snapshot, `SELECT count(_unit) AS m0 FROM d0.main.t`, 1); err == nil {
		t.Fatal("a public table has a unit column")
	}
}

// TestIngestMemoryAndClock: an ingest over its limits dies and leaves the store
// as it was.
func TestIngestMemoryAndClock(t *testing.T) {
	s := store(t)
	limits := testLimits
	limits.Wall = 1 << 29 // about half a second
	_, err := engine.IngestVia(context.Background(), pool(t), s, &endless{head: "id,district,fee,day,insured,born,phone\n"},
		engine.IngestOptions{Format: ingest.CSV, Spec: healthSpec(), Keys: testKeys, Limits: limits})
	var killed *sandbox.ErrKilled
	if !errors.As(err, &killed) || killed.Cause != sandbox.CauseTimeout {
		t.Fatalf("got %v", err)
	}
	if _, err := s.Current("health.visits"); !errors.Is(err, engine.ErrNoSnapshot) {
		t.Fatal(err)
	}
}
