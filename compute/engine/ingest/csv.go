package ingest

import (
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"math"
)

// readCSV reads CSV with a header line.
func (in *reader) readCSV(ctx context.Context, r io.Reader, zipped bool) error {
	file, err := openCSV(r, zipped)
	if err != nil {
		return err
	}
	defer file.close()
	names, err := file.header()
	if err != nil {
		return err
	}
	columnOf, err := in.bind(names)
	if err != nil {
		return err
	}
	fieldOf := make([]int, len(columnOf))
	for f, c := range columnOf {
		fieldOf[c] = f
	}
	fields := make([]string, len(columnOf))
	for {
		record, err := file.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			no := refuse(csvCode(err))
			no.Row = in.read + 1
			return no
		}
		if in.read%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if len(record) != len(columnOf) {
			in.read++
			in.bad(CodeFields, min(len(record), len(columnOf)), -1)
			continue
		}
		for f, c := range columnOf {
			fields[c] = record[f]
		}
		if err := in.take(fields, fieldOf, nil); err != nil {
			return err
		}
	}
	if file.cut() {
		no := refuse(CodeTruncated)
		no.Row = in.read
		return no
	}
	return nil
}

// cutOr tells a file that ends early from one that is wrong.
func cutOr(err error, other Code) Code {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return CodeTruncated
	}
	return other
}

func csvCode(err error) Code {
	var syntax *csv.ParseError
	if errors.As(err, &syntax) {
		return CodeSyntax
	}
	if errors.Is(err, gzip.ErrChecksum) {
		return CodeTruncated
	}
	return cutOr(err, CodeSyntax)
}

// lastByte remembers the last byte read through it, and refuses to read on once
// left bytes are read.
type lastByte struct {
	r    io.Reader
	left int
	last byte
	seen bool
}

func (l *lastByte) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, errRecord
	}
	n, err := l.r.Read(p)
	if n > 0 {
		l.last, l.seen = p[n-1], true
	}
	if l.left != math.MaxInt {
		l.left -= n
	}
	return n, err
}
