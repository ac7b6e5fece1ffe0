package ingest

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"math"
	"strings"
)

// MaxRecord caps the bytes of one CSV row that Fields reads: an unbalanced quote
// makes one row of the rest of a file.
const MaxRecord = 16 << 20

// Fields reads a file of the given format without a catalogue, as it stands:
// header once with the names of its columns, then row for every row, whose fields
// are valid until it returns and may be more or fewer than the header's. null is
// nil, or marks the fields that are NULL. It holds one row at a time. The error is a
// *Refusal, or that of header, row or ctx. Parquet needs an io.ReaderAt and
// io.Seeker.
func Fields(ctx context.Context, r io.Reader, format Format, header func(names []string) error, row func(fields []string, null []bool) error) error {
	switch format {
	case CSV, CSVGzip:
		return csvFields(ctx, r, format == CSVGzip, header, row)
	case Parquet:
		return parquetFields(ctx, r, header, row)
	}
	return refuse(CodeUnsupported)
}

// csvFile is an opened CSV file.
type csvFile struct {
	*csv.Reader
	text io.Reader // what Reader reads: without a byte order mark
	tail *lastByte
	zip  *gzip.Reader
}

// openCSV opens RFC 4180 text, UTF-8 with or without a byte order mark.
func openCSV(r io.Reader, zipped bool) (*csvFile, error) {
	f := &csvFile{}
	if zipped {
		z, err := gzip.NewReader(bufio.NewReaderSize(r, 1<<20))
		if err != nil {
			return nil, refuse(cutOr(err, CodeSyntax))
		}
		f.zip, r = z, z
	}
	// A last line without its line feed may be half a row whose cut fields still
	// parse, so the end is watched.
	f.tail = &lastByte{r: r, left: math.MaxInt}
	buffered := bufio.NewReaderSize(f.tail, 1<<20)
	if mark, err := buffered.Peek(3); err == nil && string(mark) == "\xef\xbb\xbf" {
		_, _ = buffered.Discard(3)
	}
	f.text = buffered
	f.Reader = csv.NewReader(buffered)
	f.ReuseRecord = true
	f.FieldsPerRecord = -1
	return f, nil
}

func (f *csvFile) close() {
	if f.zip != nil {
		_ = f.zip.Close()
	}
}

// header reads the first line; its names are the caller's to keep.
func (f *csvFile) header() ([]string, error) {
	header, err := f.Read()
	if errors.Is(err, io.EOF) {
		return nil, refuse(CodeEmpty)
	}
	if err != nil {
		return nil, refuse(csvCode(err))
	}
	names := make([]string, len(header))
	for i, name := range header {
		names[i] = strings.Clone(name)
	}
	return names, nil
}

// cut says that the file ends inside a row.
func (f *csvFile) cut() bool {
	return f.tail.seen && f.tail.last != '\n' && f.tail.last != '\r'
}

func csvFields(ctx context.Context, r io.Reader, zipped bool, header func([]string) error, row func([]string, []bool) error) error {
	f, err := openCSV(r, zipped)
	if err != nil {
		return err
	}
	defer f.close()
	f.tail.left = MaxRecord
	names, err := f.header()
	if err != nil {
		return err
	}
	if err := header(names); err != nil {
		return err
	}
	for n := int64(1); ; n++ {
		f.tail.left = MaxRecord
		record, err := f.Read()
		if errors.Is(err, io.EOF) {
			if f.cut() {
				return &Refusal{Code: CodeTruncated, Row: n - 1, Column: -1}
			}
			return nil
		}
		if err != nil {
			no := refuse(csvCode(err))
			no.Row = n
			return no
		}
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := row(record, nil); err != nil {
			return err
		}
	}
}

var errRecord = errors.New("row is too long")

func parquetFields(ctx context.Context, r io.Reader, header func([]string) error, row func([]string, []bool) error) error {
	if OpenParquet == nil {
		return refuse(CodeUnsupported)
	}
	t, err := OpenParquet(r)
	if err != nil {
		return err
	}
	defer t.Close()
	if err := header(t.Names()); err != nil {
		return err
	}
	n := int64(0)
	err = t.Each(ctx, func(fields []string, null []bool) error {
		n++
		return row(fields, null)
	})
	if err == ErrTable || err == nil && n != t.Rows() {
		return &Refusal{Code: CodeTruncated, Row: n, Column: -1}
	}
	return err
}
