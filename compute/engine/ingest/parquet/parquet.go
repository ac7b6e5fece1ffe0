// Package parquet lets package ingest read Parquet files; a program links it for
// its side effect. The library behind it is not hardened against hostile files: it
// runs inside the ingest worker, where a crash or an absurd allocation costs that
// worker only.
package parquet

import (
	"context"
	"io"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine/ingest"
)

func init() { ingest.OpenParquet = open }

func refuse(code ingest.Code) error { return &ingest.Refusal{Code: code, Column: -1} }

type table struct {
	file   *file.Reader
	reader *pqarrow.FileReader
	schema *arrow.Schema
}

func open(r io.Reader) (ingest.Table, error) {
	source, ok := r.(parquet.ReaderAtSeeker)
	if !ok {
		return nil, refuse(ingest.CodeUnsupported)
	}
	t := &table{}
	var err error
	if t.file, err = file.NewParquetReader(source); err != nil {
		return nil, refuse(ingest.CodeTruncated)
	}
	if t.reader, err = pqarrow.NewFileReader(t.file, pqarrow.ArrowReadProperties{BatchSize: 8192}, memory.DefaultAllocator); err == nil {
		t.schema, err = t.reader.Schema()
	}
	if err != nil {
		_ = t.file.Close()
		return nil, refuse(ingest.CodeSyntax)
	}
	return t, nil
}

func (t *table) Close() error { return t.file.Close() }

func (t *table) Rows() int64 { return t.file.NumRows() }

func (t *table) Names() []string {
	names := make([]string, t.schema.NumFields())
	for i := range names {
		names[i] = t.schema.Field(i).Name
	}
	return names
}

func (t *table) Each(ctx context.Context, row func([]string, []bool) error) error {
	records, err := t.reader.GetRecordReader(ctx, nil, nil)
	if err != nil {
		return refuse(ingest.CodeSyntax)
	}
	defer records.Release()
	fields, null := make([]string, t.schema.NumFields()), make([]bool, t.schema.NumFields())
	for records.Next() {
		batch := records.RecordBatch()
		for i := range int(batch.NumRows()) {
			for f := range fields {
				column := batch.Column(f)
				fields[f] = ""
				if null[f] = column.IsNull(i); !null[f] {
					fields[f] = cell(column, i)
				}
			}
			if err := row(fields, null); err != nil {
				return err
			}
		}
	}
	if err := records.Err(); err != nil && err != io.EOF {
		return ingest.ErrTable
	}
	return nil
}

// Fits quantises floats to the decimal's scale.
func (t *table) Fits(field int, kind algebra.Kind) bool {
	typ := t.schema.Field(field).Type
	if d, ok := typ.(*arrow.DictionaryType); ok {
		typ = d.ValueType
	}
	id := typ.ID()
	integer := arrow.IsInteger(id)
	switch kind {
	case algebra.Int:
		return integer
	case algebra.Decimal:
		return integer || id == arrow.DECIMAL128 || id == arrow.FLOAT64 || id == arrow.FLOAT32
	case algebra.Date:
		return id == arrow.DATE32 || id == arrow.DATE64
	case algebra.Bool:
		return id == arrow.BOOL
	case algebra.Text:
		return id == arrow.STRING || id == arrow.LARGE_STRING
	}
	return false
}

// cell spells a value as a CSV file would.
func cell(column arrow.Array, row int) string {
	switch a := column.(type) {
	case *array.String:
		return a.Value(row)
	case *array.Int64:
		return strconv.FormatInt(a.Value(row), 10)
	case *array.Float64:
		return strconv.FormatFloat(a.Value(row), 'f', -1, 64)
	case *array.Float32:
		return strconv.FormatFloat(float64(a.Value(row)), 'f', -1, 32)
	case *array.Date64:
		return a.Value(row).ToTime().UTC().Format("2006-01-02")
	case *array.Dictionary:
		return cell(a.Dictionary(), a.GetValueIndex(row))
	}
	return column.ValueStr(row)
}
