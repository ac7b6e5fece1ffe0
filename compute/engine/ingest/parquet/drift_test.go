package parquet

import (
	"bytes"
	"context"
	"errors"
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

// emptyFile writes a file of columns without rows.
func emptyFile(t *testing.T, fields ...arrow.Field) string {
	t.Helper()
	schema := arrow.NewSchema(fields, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
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

// A file whose columns are not the catalogue's is refused, and the refusal says
// which column: one too many, one too few, one twice, one of another type. Their
// order is free, because columns are found by name.
func TestR15_DriftBetweenFileAndCatalogue(t *testing.T) {
	text := func(name string) arrow.Field { return arrow.Field{Name: name, Type: arrow.BinaryTypes.String} }
	id, city, fee := text("id"), text("city"), arrow.Field{Name: "fee", Type: arrow.PrimitiveTypes.Float64}
	retyped := func(f arrow.Field, typ arrow.DataType) arrow.Field { f.Type = typ; return f }
	for name, c := range map[string]struct {
		fields []arrow.Field
		want   *ingest.Refusal
	}{
		"as in the catalogue":         {[]arrow.Field{id, city, fee}, nil},
		"reordered":                   {[]arrow.Field{fee, id, city}, nil},
		"extra":                       {[]arrow.Field{id, city, fee, text(canary)}, &ingest.Refusal{Code: ingest.CodeHeader, Field: 4, Column: -1}},
		"extra in front":              {[]arrow.Field{text(canary), id, city, fee}, &ingest.Refusal{Code: ingest.CodeHeader, Field: 1, Column: -1}},
		"missing":                     {[]arrow.Field{id, fee}, &ingest.Refusal{Code: ingest.CodeHeader, Column: 1}},
		"missing unit":                {[]arrow.Field{city, fee}, &ingest.Refusal{Code: ingest.CodeHeader, Column: 0}},
		"twice":                       {[]arrow.Field{id, city, city, fee}, &ingest.Refusal{Code: ingest.CodeHeader, Field: 3, Column: 1}},
		"renamed by case":             {[]arrow.Field{id, text("City"), fee}, &ingest.Refusal{Code: ingest.CodeHeader, Field: 2, Column: -1}},
		"unit as a number":            {[]arrow.Field{retyped(id, arrow.PrimitiveTypes.Int64), city, fee}, &ingest.Refusal{Code: ingest.CodeColumnType, Field: 1, Column: 0}},
		"code as a number, reordered": {[]arrow.Field{fee, id, retyped(city, arrow.PrimitiveTypes.Int64)}, &ingest.Refusal{Code: ingest.CodeColumnType, Field: 3, Column: 1}},
		"sum as a date":               {[]arrow.Field{id, city, retyped(fee, arrow.FixedWidthTypes.Date32)}, &ingest.Refusal{Code: ingest.CodeColumnType, Field: 3, Column: 2}},
	} {
		_, err := take(t, ingest.Parquet, emptyFile(t, c.fields...))
		var got *ingest.Refusal
		if c.want == nil && err != nil || c.want != nil && (!errors.As(err, &got) || *got != *c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// Every type of the catalogue against every type of a file.
func TestR15_RetypedColumns(t *testing.T) {
	files := map[string]arrow.DataType{"string": arrow.BinaryTypes.String, "int64": arrow.PrimitiveTypes.Int64, "int32": arrow.PrimitiveTypes.Int32, "float64": arrow.PrimitiveTypes.Float64,
		"decimal": &arrow.Decimal128Type{Precision: 18, Scale: 2}, "bool": arrow.FixedWidthTypes.Boolean, "date": arrow.FixedWidthTypes.Date32, "timestamp": arrow.FixedWidthTypes.Timestamp_us,
		"binary": arrow.BinaryTypes.Binary, "list": arrow.ListOf(arrow.PrimitiveTypes.Int64)}
	fits := map[algebra.Kind][]string{algebra.Text: {"string"}, algebra.Int: {"int64", "int32"}, algebra.Decimal: {"int64", "int32", "float64", "decimal"}, algebra.Bool: {"bool"}, algebra.Date: {"date"}}
	for kind, right := range fits {
		for name, typ := range files {
			s := spec
			s.Columns = slices.Clone(spec.Columns)
			s.Columns[2] = ingest.Column{Name: "x", Type: algebra.Type{Kind: kind}}
			var rows sink
			raw := emptyFile(t, arrow.Field{Name: "id", Type: arrow.BinaryTypes.String}, arrow.Field{Name: "city", Type: arrow.BinaryTypes.String}, arrow.Field{Name: "x", Type: typ})
			_, err := ingest.Ingest(context.Background(), strings.NewReader(raw), ingest.Parquet, &s, keys, &rows, nil)
			if got := err == nil; got != slices.Contains(right, name) {
				t.Errorf("%s for %s: %v", name, kind, err)
			}
			var x *ingest.Refusal
			if err != nil && (!errors.As(err, &x) || x.Code != ingest.CodeColumnType && x.Code != ingest.CodeUnsupported && x.Code != ingest.CodeHeader) {
				t.Errorf("%s for %s: %v", name, kind, err)
			}
		}
	}
}
