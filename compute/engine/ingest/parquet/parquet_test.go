package parquet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine/ingest"
)

// canary stands for every cell of a refused file: no error may contain it.
const canary = "canary7731"

var keys = ingest.Keys{Unit: bytes.Repeat([]byte{1}, 32), Rank: bytes.Repeat([]byte{2}, 32), Pseudonym: bytes.Repeat([]byte{3}, 32)}

var spec = ingest.Spec{
	Dataset: "d", UnitColumn: "id", UnitKind: "person", MaxBadPercent: 50,
	Columns: []ingest.Column{
		{Name: "id", Type: algebra.Type{Kind: algebra.Text}},
		{Name: "city", Type: algebra.Type{Kind: algebra.Text}, Nullable: true, Missing: []string{"-"}},
		{Name: "fee", Type: algebra.Type{Kind: algebra.Decimal, Scale: 2}, Bounds: &ingest.Range{Lo: 0, Hi: 1000}},
	},
}

type sink struct{ rows []ingest.Row }

func (s *sink) Add(r ingest.Row) error {
	r.Values = slices.Clone(r.Values)
	s.rows = append(s.rows, r)
	return nil
}

func take(t *testing.T, format ingest.Format, raw string) (ingest.Summary, error) {
	t.Helper()
	var s sink
	sum, err := ingest.Ingest(context.Background(), strings.NewReader(raw), format, &spec, keys, &s, nil)
	if err != nil && strings.Contains(err.Error(), canary) {
		t.Fatalf("the error quotes data: %v", err)
	}
	return sum, err
}

func parquetFile(t *testing.T, names []string, fee arrow.DataType, fill func(b *array.RecordBuilder)) string {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: names[0], Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: names[1], Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: names[2], Type: fee, Nullable: true},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	fill(b)
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(b.NewRecordBatch()), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestParquetEqualsCSV: the two formats of one table have one content hash,
// whatever the order of the columns.
func TestParquetEqualsCSV(t *testing.T) {
	want, err := take(t, ingest.CSV, "id,city,fee\nA,x,1.5\nB,-,2.125\n")
	if err != nil {
		t.Fatal(err)
	}
	fill := func(id, city int) func(b *array.RecordBuilder) {
		return func(b *array.RecordBuilder) {
			b.Field(id).(*array.StringBuilder).AppendValues([]string{"A", "B"}, nil)
			b.Field(city).(*array.StringBuilder).AppendValues([]string{"x", ""}, []bool{true, false})
			b.Field(2).(*array.Float64Builder).AppendValues([]float64{1.5, 2.125}, nil)
		}
	}
	raw := parquetFile(t, []string{"id", "city", "fee"}, arrow.PrimitiveTypes.Float64, fill(0, 1))
	for name, file := range map[string]string{"as in the catalogue": raw, "other order": parquetFile(t, []string{"city", "id", "fee"}, arrow.PrimitiveTypes.Float64, fill(1, 0))} {
		got, err := take(t, ingest.Parquet, file)
		if err != nil || !bytes.Equal(got.Content, want.Content) || got.Rows != 2 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for cut := range 20 {
		if _, err := take(t, ingest.Parquet, raw[:len(raw)*cut/20]); err == nil {
			t.Errorf("%d twentieths of a Parquet file were taken", cut)
		}
	}
}

func TestParquetRefusals(t *testing.T) {
	texts := func(b *array.RecordBuilder) {
		for i := range 3 {
			b.Field(i).(*array.StringBuilder).Append(canary)
		}
	}
	for _, c := range []struct {
		name, raw string
		want      ingest.Refusal
	}{
		{"a text column for a decimal", parquetFile(t, []string{"id", "city", "fee"}, arrow.BinaryTypes.String, texts), ingest.Refusal{Code: ingest.CodeColumnType, Field: 3, Column: 2}},
		{"unknown column", parquetFile(t, []string{"id", "town", "fee"}, arrow.BinaryTypes.String, texts), ingest.Refusal{Code: ingest.CodeHeader, Field: 2, Column: -1}},
		{"no Parquet", "id,city,fee\n" + canary + ",x,1\n", ingest.Refusal{Code: ingest.CodeTruncated, Column: -1}},
	} {
		_, err := take(t, ingest.Parquet, c.raw)
		var got *ingest.Refusal
		if !errors.As(err, &got) || *got != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestFieldsOfParquet: without a catalogue the fields are spelled as a CSV file
// would, and a cut file is refused.
func TestFieldsOfParquet(t *testing.T) {
	raw := parquetFile(t, []string{"id", "city", "fee"}, arrow.PrimitiveTypes.Float64, func(b *array.RecordBuilder) {
		b.Field(0).(*array.StringBuilder).AppendValues([]string{"A", "B"}, nil)
		b.Field(1).(*array.StringBuilder).AppendValues([]string{"x", ""}, []bool{true, false})
		b.Field(2).(*array.Float64Builder).AppendValues([]float64{1.5, 2.125}, nil)
	})
	read := func(raw string) (string, error) {
		text := ""
		err := ingest.Fields(context.Background(), strings.NewReader(raw), ingest.Parquet,
			func(names []string) error { text += strings.Join(names, "|"); return nil },
			func(fields []string, null []bool) error {
				text += fmt.Sprintf(" %s %v", strings.Join(fields, "|"), null)
				return nil
			})
		return text, err
	}
	if got, err := read(raw); err != nil || got != "id|city|fee A|x|1.5 [false false false] B||2.125 [false true false]" {
		t.Errorf("%q, %v", got, err)
	}
	for cut := range 20 {
		if _, err := read(raw[:len(raw)*cut/20]); err == nil {
			t.Errorf("%d twentieths of a Parquet file were read", cut)
		}
	}
}
