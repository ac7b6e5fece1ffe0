package duckdb

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/sandbox"
)

// demoRows is the size of the table below.
const demoRows = 1_000_000

// demoTable is a table of twelve columns as the demo city has them: its population
// register of eight, one row a person, and the four further columns of its visits,
// with the masks of the demo's documents. Two addresses in a hundred are quoted.
func demoTable() ([]byte, ingest.Spec) {
	var raw bytes.Buffer
	raw.WriteString("id_number,name,gender,birth_date,district,household_type,phone,address,visit_date,department,fee_yuan,insured_yuan\n")
	districts := []string{"239902", "239903", "239905", "239906", "239921", "239922", "239923", "239924"}
	streets := []string{"解放路", "人民大街", "和平里", "建设中路", "文化街"}
	for i := range demoRows {
		address := fmt.Sprintf("砂门市东门区%s%d号%d单元%d室", streets[i%5], 1+i%380, 1+i%6, 100+i%1800)
		if i%50 == 0 {
			address = `"` + address + `,""砂门家园"""`
		}
		fmt.Fprintf(&raw, "2399%02d19%02d%02d%02d%04d%04d,%s,%d,19%02d-%02d-%02d,%s,%s,154%08d,%s,2025-%02d-%02d,D%02d,%d.%02d,%d.%02d\n",
			i%100, 40+i/10000%60, 1+i%12, 1+i%28, i/100%10000, i%10000, []string{"张样例", "欧阳虚构", "李示", "王明"}[i%4]+string(rune(0x4e00+i%3000)), 1+i%2,
			40+i%60, 1+i%12, 1+i%28, districts[i%8], []string{"urban", "rural", "collective", ""}[i%4], i*7919%100000000, address,
			1+i%12, 1+i%28, i%20, i%3000, i%100, i%2000, i%100)
	}
	text, day, money := engineText, algebra.Type{Kind: algebra.Date}, algebra.Type{Kind: algebra.Decimal, Scale: 2}
	return raw.Bytes(), ingest.Spec{Dataset: "demo", UnitColumn: "id_number", UnitKind: "person", OneRow: true, MaxBadPercent: 0.5, Columns: []ingest.Column{
		{Name: "id_number", Type: text}, {Name: "name", Type: text, Mask: &ingest.Mask{Op: masking.OpName}},
		{Name: "gender", Type: text, Codes: []string{"1", "2", "9"}, Other: "9"},
		{Name: "birth_date", Type: day, Bounds: &ingest.Range{Lo: -25567, Hi: 20454}, Mask: &ingest.Mask{Op: masking.OpYear}},
		{Name: "district", Type: text, Codes: append(districts, "239999"), Other: "239999"},
		{Name: "household_type", Type: text, Nullable: true, Codes: []string{"urban", "rural", "collective"}},
		{Name: "phone", Type: text, Nullable: true, Mask: &ingest.Mask{Op: masking.OpPhone}},
		{Name: "address", Type: text, Nullable: true, Mask: &ingest.Mask{Op: masking.OpDrop}},
		{Name: "visit_date", Type: day}, {Name: "department", Type: text},
		{Name: "fee_yuan", Type: money, Bounds: &ingest.Range{Lo: 0, Hi: 20_000_000}}, {Name: "insured_yuan", Type: money, Bounds: &ingest.Range{Lo: 0, Hi: 20_000_000}},
	}}
}

// BenchmarkIngestTable streams the table through a jailed worker into a snapshot in
// force: as it is, with one row a person, and with four rows a person. Each turn is
// another data set, so that each snapshot is sealed and written. In the same run, what
// the engine alone makes of the text: typed columns of the same table in a file in
// memory, with nothing checked, masked, tokenised, sorted or sealed.
func BenchmarkIngestTable(b *testing.B) {
	raw, spec := demoTable()
	limits := testLimits
	limits.Memory, limits.Threads = 2<<30, 2
	for _, c := range []struct {
		name string
		one  bool
	}{{"one-row-a-unit", true}, {"rows-of-units", false}} {
		b.Run(c.name, func(b *testing.B) {
			s := store(b)
			spec := spec
			if spec.OneRow = c.one; !c.one {
				spec.UnitColumn, spec.UnitKind = "name", "record"
			}
			turn := 0
			for b.Loop() {
				turn++
				spec.Dataset = fmt.Sprint("demo", turn)
				m, err := engine.IngestVia(context.Background(), pool(b), s, bytes.NewReader(raw), engine.IngestOptions{
					Format: ingest.CSV, Spec: spec, Keys: testKeys, Created: time.Unix(0, 0), Limits: limits,
				})
				if err != nil || m.Rows != demoRows {
					b.Fatal(m.Rows, err)
				}
			}
			b.ReportMetric(float64(demoRows*b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
	b.Run("engine-alone", func(b *testing.B) { ingestAlone(b, raw, spec, limits) })
}

// ingestAlone loads the table by the engine's own reader of CSV.
func ingestAlone(b *testing.B, raw []byte, spec ingest.Spec, limits sandbox.Limits) {
	name := filepath.Join(b.TempDir(), "raw.csv")
	if err := os.WriteFile(name, raw, 0o600); err != nil {
		b.Fatal(err)
	}
	var columns []string
	for _, c := range spec.Columns {
		kind := sqlType(c.Type.Kind)
		if c.Type.Kind == algebra.Decimal {
			kind = "DECIMAL(18,2)"
		}
		columns = append(columns, fmt.Sprintf("'%s': '%s'", c.Name, kind))
	}
	s, err := open()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.conn.Close(); _ = s.connector.Close() })
	if err := s.size(limits); err != nil {
		b.Fatal(err)
	}
	turn := 0
	for b.Loop() {
		turn++
		at := fmt.Sprint("alone", turn)
		for _, file := range []string{at, at + ".wal"} {
			fd, err := unix.MemfdCreate(file, unix.MFD_CLOEXEC)
			if err != nil {
				b.Fatal(err)
			}
			if err := bindFile("", os.NewFile(uintptr(fd), file), true); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.exec(fmt.Sprintf("ATTACH '%s%s' AS %s", vfsRoot, at, at), fmt.Sprintf("CREATE TABLE %s.main.t AS FROM read_csv('%s', header=true, columns={%s})", at, name, strings.Join(columns, ", ")),
			"CHECKPOINT "+at, "DETACH "+at); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(demoRows*b.N)/b.Elapsed().Seconds(), "rows/s")
}

// maskingOperator builds the operators of package masking, as the program does.
func maskingOperator(m ingest.Mask, source algebra.Type, key []byte) (ingest.Operator, algebra.Type, bool, error) {
	if key == nil {
		key = []byte(strings.Repeat("k", 32))
	}
	p := masking.Params{Digits: m.Digits, Value: m.Value, Level: m.Level, At: m.At, Edges: m.Edges, Width: m.Width, Lo: m.Lo, Hi: m.Hi, Key: key, Type: source,
		Column: m.Column, Scale: m.Scale, Retain: m.Retain, Codes: m.Codes, By: m.By, Least: m.Least, K: m.K, Suppress: m.Suppress, Ladder: m.Ladder}
	t, drop, err := masking.OutType(m.Op, p)
	if err != nil || drop {
		return nil, t, drop, err
	}
	o, err := masking.New(m.Op, p)
	return o, t, false, err
}
