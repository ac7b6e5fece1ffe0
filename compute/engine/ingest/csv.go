package ingest

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"io"
	"math"
)

// cutOr tells a file that ends early from one that is wrong.
func cutOr(err error, other Code) Code {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return CodeTruncated
	}
	return other
}

func csvCode(err error) Code {
	if errors.Is(err, errRecord) {
		return CodeTooLong
	}
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
