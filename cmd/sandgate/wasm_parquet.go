package main

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/sandgate/sandgate/compute/wasm"
)

// parquetSource reads the chosen columns of a Parquet file. The file is the
// operator's own: the library that reads it is not hardened against others'.
func (c *columnFile) parquetSource(ctx context.Context, sig wasm.Signature) (wasm.Source, error) {
	pf, err := file.NewParquetReader(c.file)
	if err != nil {
		return nil, texts.Errorf("failed to read input as Parquet: %w", err)
	}
	fr, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{BatchSize: int64(sig.BatchRows())}, memory.DefaultAllocator)
	if err != nil {
		return nil, texts.Errorf("failed to read input as Parquet: %w", err)
	}
	schema, err := fr.Schema()
	if err != nil {
		return nil, texts.Errorf("failed to read input as Parquet: %w", err)
	}
	names := make([]string, schema.NumFields())
	for i := range names {
		names[i] = schema.Field(i).Name
	}
	fields, err := c.bind(names, sig)
	if err != nil {
		return nil, err
	}
	leaves := make([]int, len(fields))
	for i, f := range fields {
		if t := schema.Field(f).Type; !fitsInput(sig.Inputs[i], t) {
			return nil, columnError("先在文件中换算该列 · convert the column in the file first",
				"column %q is %s; the module takes %s · %[1]q 列的类型是 %[2]s，模块需要 %[3]s", names[f], t, sig.Inputs[i])
		}
		if leaves[i] = pf.MetaData().Schema.ColumnIndexByName(names[f]); leaves[i] < 0 {
			return nil, columnError("只支持扁平的列 · only flat columns are read", "column %q is nested · %[1]q 是嵌套列", names[f])
		}
	}
	records, err := fr.GetRecordReader(ctx, leaves, nil)
	if err != nil {
		return nil, texts.Errorf("failed to read input as Parquet: %w", err)
	}
	var rest wasm.Batch
	return func() (wasm.Batch, error) {
		for rest.Rows == 0 {
			if !records.Next() {
				records.Release()
				if err := records.Err(); err != nil && !errors.Is(err, io.EOF) {
					return wasm.Batch{}, texts.Errorf("failed to read input as Parquet: %w", err)
				}
				return wasm.Batch{}, io.EOF
			}
			record := records.RecordBatch()
			rest = wasm.Batch{Rows: int(record.NumRows()), Columns: make([]wasm.Column, len(fields))}
			for i, f := range fields {
				at := record.Schema().FieldIndices(names[f])
				if len(at) != 1 {
					return wasm.Batch{}, texts.Errorf("failed to read input as Parquet: column %q", names[f])
				}
				rest.Columns[i] = arrowColumn(record.Column(at[0]), sig.Inputs[i])
			}
		}
		var next wasm.Batch
		next, rest = cutBatch(rest, sig.BatchRows())
		return next, nil
	}, nil
}

// fitsInput says whether a column can be given to an input without losing more
// than what a float64 rounds.
func fitsInput(want wasm.Type, t arrow.DataType) bool {
	if d, ok := t.(*arrow.DictionaryType); ok {
		t = d.ValueType
	}
	id := t.ID()
	switch want {
	case wasm.Int64:
		return arrow.IsInteger(id) && id != arrow.UINT64 || id == arrow.BOOL || id == arrow.DATE32
	case wasm.Float64:
		return id == arrow.FLOAT64 || id == arrow.FLOAT32 || arrow.IsInteger(id) || id == arrow.DECIMAL128
	case wasm.Text:
		return id == arrow.STRING || id == arrow.LARGE_STRING
	}
	return false
}

// arrowColumn copies a column whose type fitsInput accepts.
func arrowColumn(a arrow.Array, want wasm.Type) wasm.Column {
	n := a.Len()
	c := wasm.Column{Type: want}
	if a.NullN() > 0 {
		c.Valid = make([]bool, n)
		for r := range n {
			c.Valid[r] = a.IsValid(r)
		}
	}
	switch want {
	case wasm.Int64:
		c.Ints = make([]int64, n)
	case wasm.Float64:
		c.Floats = make([]float64, n)
		if f, ok := a.(*array.Float64); ok {
			copy(c.Floats, f.Float64Values())
			return c
		}
	case wasm.Text:
		c.Texts = make([]string, n)
	}
	for r := range n {
		if a.IsNull(r) {
			continue
		}
		v, at := a, r
		if d, ok := a.(*array.Dictionary); ok {
			v, at = d.Dictionary(), d.GetValueIndex(r)
		}
		switch want {
		case wasm.Int64:
			c.Ints[r] = integerAt(v, at)
		case wasm.Float64:
			c.Floats[r] = floatAt(v, at)
		case wasm.Text:
			c.Texts[r] = strings.Clone(v.ValueStr(at))
		}
	}
	return c
}

func integerAt(a arrow.Array, r int) int64 {
	switch v := a.(type) {
	case *array.Int64:
		return v.Value(r)
	case *array.Int32:
		return int64(v.Value(r))
	case *array.Int16:
		return int64(v.Value(r))
	case *array.Int8:
		return int64(v.Value(r))
	case *array.Uint32:
		return int64(v.Value(r))
	case *array.Uint16:
		return int64(v.Value(r))
	case *array.Uint8:
		return int64(v.Value(r))
	case *array.Date32:
		return int64(v.Value(r))
	case *array.Boolean:
		if v.Value(r) {
			return 1
		}
	}
	return 0
}

func floatAt(a arrow.Array, r int) float64 {
	switch v := a.(type) {
	case *array.Float64:
		return v.Value(r)
	case *array.Float32:
		return float64(v.Value(r))
	case *array.Uint64:
		return float64(v.Value(r))
	case *array.Decimal128:
		// The library's own conversion multiplies by an inexact power; the
		// nearest float64 is what the same digits in a CSV file give.
		if f, err := strconv.ParseFloat(v.ValueStr(r), 64); err == nil {
			return f
		}
	}
	return float64(integerAt(a, r))
}

// cutBatch splits a batch where its text or its rows become too many.
func cutBatch(b wasm.Batch, most int) (head, tail wasm.Batch) {
	rows, text := 0, 0
	for rows < min(b.Rows, most) {
		for i := range b.Columns {
			if b.Columns[i].Type == wasm.Text {
				text += len(b.Columns[i].Texts[rows])
			}
		}
		if text > wasm.BatchText && rows > 0 {
			break
		}
		rows++
	}
	part := func(from, to int) wasm.Batch {
		out := wasm.Batch{Rows: to - from, Columns: make([]wasm.Column, len(b.Columns))}
		for i, c := range b.Columns {
			p := wasm.Column{Type: c.Type}
			switch c.Type {
			case wasm.Int64:
				p.Ints = c.Ints[from:to]
			case wasm.Float64:
				p.Floats = c.Floats[from:to]
			case wasm.Text:
				p.Texts = c.Texts[from:to]
			}
			if c.Valid != nil {
				p.Valid = c.Valid[from:to]
			}
			out.Columns[i] = p
		}
		return out
	}
	return part(0, rows), part(rows, b.Rows)
}
