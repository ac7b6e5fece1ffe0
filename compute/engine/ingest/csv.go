package ingest

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"strings"
)

// readCSV reads RFC 4180 with a header line, UTF-8 with or without a byte order
// mark.
func (in *reader) readCSV(ctx context.Context, r io.Reader, zipped bool) error {
	if zipped {
		z, err := gzip.NewReader(bufio.NewReaderSize(r, 1<<20))
		if err != nil {
			return refuse(cutOr(err, CodeSyntax))
		}
		defer z.Close()
		r = z
	}
	// A last line without its line feed may be half a row whose cut fields still
	// parse, so the end is watched.
	tail := &lastByte{r: r}
	buffered := bufio.NewReaderSize(tail, 1<<20)
	if mark, err := buffered.Peek(3); err == nil && string(mark) == "\xef\xbb\xbf" {
		_, _ = buffered.Discard(3)
	}
	lines := csv.NewReader(buffered)
	lines.ReuseRecord = true
	lines.FieldsPerRecord = -1
	header, err := lines.Read()
	if errors.Is(err, io.EOF) {
		return refuse(CodeEmpty)
	}
	if err != nil {
		return refuse(csvCode(err))
	}
	names := make([]string, len(header))
	for i, name := range header {
		names[i] = strings.Clone(name)
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
		record, err := lines.Read()
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
	if tail.seen && tail.last != '\n' && tail.last != '\r' {
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

// lastByte remembers the last byte read through it.
type lastByte struct {
	r    io.Reader
	last byte
	seen bool
}

func (l *lastByte) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if n > 0 {
		l.last, l.seen = p[n-1], true
	}
	return n, err
}
