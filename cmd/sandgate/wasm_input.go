package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sandgate/sandgate/compute/wasm"
)

// columnFile is an open file of the operator's own, and the columns chosen of it.
type columnFile struct {
	file   *os.File
	format string
	chosen []string
}

// openColumns opens a file; nothing of it is read yet.
func openColumns(name string, chosen []string) (*columnFile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return &columnFile{file: f, format: formatOf(name), chosen: chosen}, nil
}

// Close closes the file.
func (c *columnFile) Close() error { return c.file.Close() }

// source binds the file's columns to a module's inputs.
func (c *columnFile) source(ctx context.Context, sig wasm.Signature) (wasm.Source, error) {
	if c.format == "parquet" {
		return c.parquetSource(ctx, sig)
	}
	return c.csvSource(sig)
}

// bind finds the fields of the chosen columns, by default of all there are.
func (c *columnFile) bind(names []string, sig wasm.Signature) ([]int, error) {
	chosen := c.chosen
	if len(chosen) == 0 {
		chosen = names
	}
	if len(chosen) != len(sig.Inputs) {
		return nil, columnError("用 --column 按顺序写出各列 · list them in order with --column",
			"the module takes %d columns, %d are given · 模块需要 %[1]d 列，给出了 %[2]d 列", len(sig.Inputs), len(chosen))
	}
	fields := make([]int, len(chosen))
	for i, name := range chosen {
		fields[i] = slices.Index(names, name)
		if fields[i] < 0 || slices.Contains(names[fields[i]+1:], name) {
			return nil, columnError("用 --column 写出文件中的列名 · name columns of the file with --column",
				"the file has no column %q, or has it twice · 文件中没有列 %[1]q，或有两个", name)
		}
	}
	return fields, nil
}

// gathering fills batches row by row.
type gathering struct {
	sig   wasm.Signature
	batch wasm.Batch
	text  int
}

func (g *gathering) reset() {
	most := g.sig.BatchRows()
	g.text = 0
	g.batch = wasm.Batch{Columns: make([]wasm.Column, len(g.sig.Inputs))}
	for i, t := range g.sig.Inputs {
		c := wasm.Column{Type: t, Valid: make([]bool, 0, most)}
		switch t {
		case wasm.Int64:
			c.Ints = make([]int64, 0, most)
		case wasm.Float64:
			c.Floats = make([]float64, 0, most)
		case wasm.Text:
			c.Texts = make([]string, 0, most)
		}
		g.batch.Columns[i] = c
	}
}

// add appends a field to column i and says whether it is of the column's type.
func (g *gathering) add(i int, field string) bool {
	c := &g.batch.Columns[i]
	valid := field != ""
	c.Valid = append(c.Valid, valid)
	switch c.Type {
	case wasm.Int64:
		v := int64(0)
		if valid {
			var err error
			if v, err = strconv.ParseInt(field, 10, 64); err != nil {
				return false
			}
		}
		c.Ints = append(c.Ints, v)
	case wasm.Float64:
		v := 0.0
		if valid {
			var err error
			if v, err = strconv.ParseFloat(field, 64); err != nil {
				return false
			}
		}
		c.Floats = append(c.Floats, v)
	case wasm.Text:
		g.text += len(field)
		c.Texts = append(c.Texts, strings.Clone(field))
		return utf8.ValidString(field)
	}
	return true
}

func (g *gathering) full() bool {
	return g.batch.Rows >= g.sig.BatchRows() || g.text >= wasm.BatchText/2
}

// csvSource reads RFC 4180 with a header line, UTF-8 with or without a byte
// order mark.
func (c *columnFile) csvSource(sig wasm.Signature) (wasm.Source, error) {
	var r io.Reader = c.file
	if c.format == "csv.gz" {
		z, err := gzip.NewReader(bufio.NewReaderSize(r, 1<<20))
		if err != nil {
			return nil, texts.Errorf("failed to read input: %w", err)
		}
		r = z
	}
	buffered := bufio.NewReaderSize(r, 1<<20)
	if mark, err := buffered.Peek(3); err == nil && string(mark) == "\xef\xbb\xbf" {
		_, _ = buffered.Discard(3)
	}
	lines := csv.NewReader(buffered)
	lines.ReuseRecord = true
	header, err := lines.Read()
	if err != nil {
		return nil, csvFault(err, 0)
	}
	names := make([]string, len(header))
	for i, n := range header {
		names[i] = strings.Clone(n)
	}
	fields, err := c.bind(names, sig)
	if err != nil {
		return nil, err
	}
	row := int64(0)
	g := gathering{sig: sig}
	return func() (wasm.Batch, error) {
		g.reset()
		for !g.full() {
			record, err := lines.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			row++
			if err != nil {
				return wasm.Batch{}, csvFault(err, row)
			}
			for i, f := range fields {
				if !g.add(i, record[f]) {
					return wasm.Batch{}, columnError("缺失值写作空字段 · write a missing value as an empty field",
						"row %d, column %q is not of type %s · 第 %[1]d 行 %[2]q 列不是 %[3]s 类型", row, names[f], sig.Inputs[i])
				}
			}
			g.batch.Rows++
		}
		if g.batch.Rows == 0 {
			return wasm.Batch{}, io.EOF
		}
		return g.batch, nil
	}, nil
}

// csvFault says what is wrong with a file by row alone: the library's own text
// may quote a field.
func csvFault(err error, row int64) error {
	var syntax *csv.ParseError
	switch {
	case errors.As(err, &syntax):
		what := "quotes"
		if errors.Is(syntax.Err, csv.ErrFieldCount) {
			what = "number of fields"
		}
		return texts.Errorf("failed to read input: row %d: %s", row, what)
	case errors.Is(err, io.EOF):
		return texts.Errorf("failed to read input: it is empty")
	}
	return texts.Errorf("failed to read input: row %d: %w", row, err)
}
