package ingest

import (
	"context"
	"errors"
	"io"

	"github.com/sandgate/sandgate/compute/algebra"
)

// Table is an opened file of named and typed columns.
type Table interface {
	// Names are the columns in the order of the file.
	Names() []string
	// Fits says whether a column of the file may fill a catalogue column.
	Fits(field int, kind algebra.Kind) bool
	// Rows is how many rows the file announces.
	Rows() int64
	// Each calls row with every row, spelled as a CSV file would; null marks
	// fields that are NULL. Its error is row's own or ErrTable.
	Each(ctx context.Context, row func(fields []string, null []bool) error) error
	Close() error
}

// ErrTable says that a table broke off while it was read.
var ErrTable = errors.New("table is damaged")

// OpenParquet opens a Parquet file; a *Refusal says why it cannot. Package
// ingest/parquet sets it in a program that links it: the library is large, and
// what it prepares when a program starts is of no use to a query worker.
var OpenParquet func(r io.Reader) (Table, error)

// readParquet reads a Parquet file.
func (g *ingestion) readParquet(ctx context.Context, r io.Reader) error {
	in := g.lanes[0]
	if OpenParquet == nil {
		return refuse(CodeUnsupported)
	}
	t, err := OpenParquet(r)
	if err != nil {
		return err
	}
	defer t.Close()
	columnOf, err := in.bind(t.Names())
	if err != nil {
		return err
	}
	fieldOf := make([]int, len(columnOf))
	for f, c := range columnOf {
		fieldOf[c] = f
		if !t.Fits(f, in.spec.Columns[c].Type.Kind) {
			return &Refusal{Code: CodeColumnType, Field: f + 1, Column: c}
		}
	}
	ordered, isNull := make([]string, len(columnOf)), make([]bool, len(columnOf))
	ticked := int64(0)
	err = t.Each(ctx, func(fields []string, null []bool) error {
		for f, c := range columnOf {
			ordered[c], isNull[c] = fields[f], null[f]
		}
		if g.tick != nil && in.read-ticked >= tickRows {
			ticked = in.read
			g.tick(in.read)
		}
		return in.take(ordered, fieldOf, isNull)
	})
	g.total = in.read
	if err == ErrTable {
		no := refuse(CodeTruncated)
		no.Row = in.read + 1
		return no
	}
	if err == nil && in.read != t.Rows() {
		return refuse(CodeTruncated)
	}
	return err
}
