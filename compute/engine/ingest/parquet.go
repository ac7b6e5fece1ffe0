package ingest

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
)

// readParquet reads a Parquet file. The library is not hardened against hostile
// files: it runs inside the worker, where a crash or an absurd allocation costs
// the worker only.
func (in *reader) readParquet(ctx context.Context, r io.Reader) error {
	source, ok := r.(parquet.ReaderAtSeeker)
	if !ok {
		return refuse(CodeUnsupported)
	}
	pf, err := file.NewParquetReader(source)
	if err != nil {
		return refuse(CodeTruncated)
	}
	defer pf.Close()
	fr, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{BatchSize: 8192}, memory.DefaultAllocator)
	if err != nil {
		return refuse(CodeSyntax)
	}
	schema, err := fr.Schema()
	if err != nil {
		return refuse(CodeSyntax)
	}
	names := make([]string, schema.NumFields())
	for i := range names {
		names[i] = schema.Field(i).Name
	}
	columnOf, err := in.bind(names)
	if err != nil {
		return err
	}
	fieldOf := make([]int, len(columnOf))
	for f, c := range columnOf {
		fieldOf[c] = f
		if !fits(in.spec.Columns[c].Type.Kind, schema.Field(f).Type) {
			return &Refusal{Code: CodeColumnType, Field: f + 1, Column: c}
		}
	}
	records, err := fr.GetRecordReader(ctx, nil, nil)
	if err != nil {
		return refuse(CodeSyntax)
	}
	defer records.Release()
	fields, null := make([]string, len(columnOf)), make([]bool, len(columnOf))
	for records.Next() {
		batch := records.RecordBatch()
		for row := range int(batch.NumRows()) {
			for f, c := range columnOf {
				column := batch.Column(f)
				if null[c] = column.IsNull(row); null[c] {
					fields[c] = ""
					continue
				}
				fields[c] = cell(column, row)
			}
			if err := in.take(fields, fieldOf, null); err != nil {
				return err
			}
		}
	}
	if err := records.Err(); err != nil && err != io.EOF {
		no := refuse(CodeTruncated)
		no.Row = in.read + 1
		return no
	}
	if in.read != pf.NumRows() {
		return refuse(CodeTruncated)
	}
	return nil
}

// fits says whether a Parquet column may fill a catalogue column. Floats are
// quantised to the decimal's scale.
func fits(kind algebra.Kind, t arrow.DataType) bool {
	if d, ok := t.(*arrow.DictionaryType); ok {
		t = d.ValueType
	}
	id := t.ID()
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
