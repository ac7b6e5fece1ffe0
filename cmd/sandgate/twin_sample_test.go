package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/gateway/certificate"
	"github.com/sandgate/sandgate/policies"
)

// everyType is a twin with a column of each type, units of one to three rows, and an
// identifier that is made up.
func everyType() *twin.Twin {
	t := &twin.Twin{Format: twin.Format, SchemaDigest: strings.Repeat("ab", 32), Dataset: "people", Rho: "0.01", Units: 1000, Noise: []int64{1}, Lengths: []int64{1, 2, 1},
		Generated: []twin.Generated{{Column: "citizen", Kind: policies.IdentCitizen}}}
	column := func(f model.Feature, cells ...int64) {
		groups := make([]int, len(cells))
		t.Columns, t.Groups, t.Cells = append(t.Columns, twin.Column{Feature: f}), append(t.Groups, groups), append(t.Cells, cells)
		t.Order = append(t.Order, twin.Vertex{Column: len(t.Order), Weights: [][]int64{{1}}})
	}
	column(model.Feature{Column: "sex", Kind: model.KindCategory, Type: algebra.Text, Codes: []string{"f", `m,"x"`}, Nullable: true}, 3, 2, 1)
	column(model.Feature{Column: "insured", Kind: model.KindCategory, Type: algebra.Bool, Codes: []string{"false", "true"}}, 1, 1, 0)
	column(model.Feature{Column: "level", Kind: model.KindCategory, Type: algebra.Int, Codes: []string{"1", "2"}}, 1, 3, 0)
	column(model.Feature{Column: "fee", Kind: model.KindNumber, Type: algebra.Decimal, Scale: 2, Bounds: [2]int64{-500, 99_999}, Edges: []int64{0}, Nullable: true}, 1, 2, 1)
	column(model.Feature{Column: "born", Kind: model.KindNumber, Type: algebra.Date, Bounds: [2]int64{-14_610, 18_000}}, 1, 0)
	return t
}

// R14: all kinds of files hold the very same rows, say that they are synthetic, and are
// the same when they are drawn again.
func TestR14_TwinFilesHoldTheSameRows(t *testing.T) {
	x := everyType()
	draw := func(name, seed string, rows, units int64) []byte {
		t.Helper()
		path := filepath.Join(t.TempDir(), name)
		kind := strings.TrimPrefix(filepath.Ext(name), ".")
		d := &drawing{twin: x, certificate: &certificate.Twin{Twin: "t1", Seq: 7, Origin: "o"}, seed: seed, rows: rows, units: units}
		if _, err := (&app{lang: "en"}).sample(d, kind, path); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		mark := text
		if kind == "csv" {
			if mark, err = os.ReadFile(path + "-metadata.json"); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Contains(mark, []byte("synthetic")) || !bytes.Contains(mark, []byte("t1")) {
			t.Errorf("%s does not say what it is", name)
		}
		return text
	}
	const rows = 40_000 // more than one part
	text := draw("a.csv", "s", rows, 0)
	want, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil || len(want) != rows+1 || strings.Join(want[0], " ") != "_unit sex insured level fee born citizen" {
		t.Fatalf("%d rows, %v, %v", len(want), want[0], err)
	}
	if short := draw("b.csv", "s", 100, 0); !bytes.HasPrefix(text, short) {
		t.Error("fewer rows are not the first of more")
	}
	if other := draw("c.csv", "other", rows, 0); bytes.Equal(other, text) {
		t.Error("another seed gives the same rows")
	}
	nulls := 0
	for _, r := range want[1:] {
		if r[1] == "" {
			nulls++
		}
	}
	if nulls == 0 || nulls > rows/2 {
		t.Errorf("%d rows miss a value", nulls)
	}
	pq := draw("a.parquet", "s", rows, 0)
	pf, err := file.NewParquetReader(bytes.NewReader(pq))
	if err != nil {
		t.Fatal(err)
	}
	fr, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	if got := pf.MetaData().KeyValueMetadata().FindValue("sandgate.synthetic"); got == nil || *got != "true" {
		t.Error("the Parquet file does not say that it is synthetic")
	}
	table, err := fr.ReadTable(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	reader := array.NewTableReader(table, rows)
	var records []arrow.RecordBatch
	for reader.Next() {
		r := reader.RecordBatch()
		r.Retain()
		records = append(records, r)
	}
	sameRows(t, "parquet", want[1:], records)
	ar := draw("a.arrow", "s", rows, 0)
	ir, err := ipc.NewFileReader(bytes.NewReader(ar))
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := ir.Schema().Metadata().GetValue("sandgate.synthetic"); !ok || got != "true" {
		t.Error("the Arrow file does not say that it is synthetic")
	}
	records = nil
	for i := range ir.NumRecords() {
		r, err := ir.RecordBatch(i)
		if err != nil {
			t.Fatal(err)
		}
		r.Retain()
		records = append(records, r)
	}
	sameRows(t, "arrow", want[1:], records)
	if !bytes.Equal(pq, draw("b.parquet", "s", rows, 0)) || !bytes.Equal(ar, draw("b.arrow", "s", rows, 0)) {
		t.Error("drawn again, a file differs")
	}
	whole, err := csv.NewReader(bytes.NewReader(draw("d.csv", "s", 0, 20_000))).ReadAll()
	if err != nil || whole[len(whole)-1][0] != "19999" || len(whole) < 39_000 || len(whole) > 41_000 {
		t.Errorf("20 000 units give %d rows, the last of unit %s, %v", len(whole)-1, whole[len(whole)-1][0], err)
	}
}

// sameRows holds records to the rows of a CSV file, as texts.
func sameRows(t *testing.T, what string, want [][]string, records []arrow.RecordBatch) {
	t.Helper()
	at := 0
	for _, r := range records {
		for row := range int(r.NumRows()) {
			for c := range int(r.NumCols()) {
				got := ""
				if r.Column(c).IsValid(row) {
					got = r.Column(c).ValueStr(row)
				}
				if d, ok := r.Column(c).(*array.Decimal128); ok && d.IsValid(row) {
					got = d.Value(row).ToString(2)
				}
				if got != want[at][c] {
					t.Fatalf("%s: row %d, column %d is %q, and %q in the CSV file", what, at, c, got, want[at][c])
				}
			}
			at++
		}
	}
	if at != len(want) {
		t.Errorf("%s holds %d rows of %d", what, at, len(want))
	}
}
