package wal

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// Reader streams the records of a write-ahead file and checks every one against the hash chain.
// It is not safe for concurrent use.
type Reader struct {
	r      *bufio.Reader
	origin string
	prev   Hash
	seq    uint64
	offset int64
	torn   int64
	buf    []byte
}

// NewReader reads the header from r. The stream must start at the beginning of the file.
func NewReader(r io.Reader) (*Reader, error) {
	br := bufio.NewReaderSize(r, 1<<20)
	head, err := br.Peek(len(magic) + 2 + MaxOriginSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("failed to read write-ahead header: %w", err)
	}
	origin, n, err := ParseHeader(head)
	if err != nil {
		return nil, err
	}
	seed := Seed(head[:n])
	if _, err := br.Discard(n); err != nil {
		return nil, fmt.Errorf("failed to read write-ahead header: %w", err)
	}
	return &Reader{r: br, origin: origin, prev: seed, offset: int64(n)}, nil
}

// Origin is the origin in the header.
func (r *Reader) Origin() string { return r.origin }

// Offset is the byte offset behind the last record returned by Next.
func (r *Reader) Offset() int64 { return r.offset }

// Chain is the link of the chain after the last record returned by Next.
func (r *Reader) Chain() Hash { return r.prev }

// TornBytes is the length of the cut-off tail, known once Next has returned io.EOF.
func (r *Reader) TornBytes() int64 { return r.torn }

// Next returns the next record; its entry is valid until the next call. The end of the file, with or without a
// cut-off record behind the last whole one, is io.EOF. Anything else that does not fit is a *CorruptError.
//
// A tail of zero bytes counts as cut off: some file systems extend a file before the data of the extension
// reaches the disk, and no record can begin with a zero tag but by a chance of 2⁻⁶⁴.
func (r *Reader) Next() (Record, error) {
	head, err := r.r.Peek(headSize)
	if len(head) == 0 && errors.Is(err, io.EOF) {
		return Record{}, io.EOF
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return Record{}, fmt.Errorf("failed to read write-ahead record %d: %w", r.seq, err)
	}
	_, size, err := parseHead(head, r.prev, r.seq, r.offset)
	if errors.Is(err, ErrTorn) {
		r.torn = int64(len(head))
		return Record{}, io.EOF
	}
	if err != nil {
		zeros, zeroErr := r.onlyZerosLeft()
		if zeroErr != nil {
			return Record{}, zeroErr
		}
		if zeros {
			return Record{}, io.EOF
		}
		return Record{}, err
	}
	n := headSize + size + chainSize
	if cap(r.buf) < n {
		r.buf = make([]byte, n, max(n, 4096))
	}
	got, err := io.ReadFull(r.r, r.buf[:n])
	if errors.Is(err, io.ErrUnexpectedEOF) {
		r.torn = int64(got)
		return Record{}, io.EOF
	}
	if err != nil {
		return Record{}, fmt.Errorf("failed to read write-ahead record %d: %w", r.seq, err)
	}
	rec, _, err := ParseRecord(r.buf[:n], r.prev, r.seq, r.offset)
	if err != nil {
		return Record{}, err
	}
	r.seq, r.prev, r.offset = r.seq+1, rec.Chain, r.offset+int64(n)
	return rec, nil
}

func (r *Reader) onlyZerosLeft() (bool, error) {
	for {
		b, err := r.r.ReadByte()
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("failed to read write-ahead record %d: %w", r.seq, err)
		}
		if b != 0 {
			return false, nil
		}
		r.torn++
	}
}

// Command is the run of records that one command appended; it is in the file whole or not at all.
type Command struct {
	First   uint64   // sequence number of the first entry
	Entries [][]byte // owned by the receiver
	Ends    []int64  // byte offset behind each record
}

// NextCommand returns the next whole command. A command whose last records are missing at the end of the file
// counts as cut off: io.EOF is returned, and End says where the last whole command ended.
func (r *Reader) NextCommand() (Command, error) {
	start := r.offset
	c := Command{First: r.seq}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			r.torn += r.offset - start
			r.offset = start
			return Command{}, io.EOF
		}
		if err != nil {
			return Command{}, err
		}
		c.Entries = append(c.Entries, append([]byte(nil), rec.Entry...))
		c.Ends = append(c.Ends, r.offset)
		if !rec.More {
			return c, nil
		}
	}
}
