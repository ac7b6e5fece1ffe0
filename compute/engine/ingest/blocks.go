package ingest

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"io"
	"math/bits"
	"strings"
	"sync"
	"unsafe"
)

// blockBytes is about how much text is parsed at once. A block ends where a row
// does.
const blockBytes = 512 << 10

// block is some whole rows of a CSV file. fail ends it in place of io.EOF.
type block struct {
	no   int
	text []byte
	fail error
}

// blockReader reads a block and then says how it ended.
type blockReader struct {
	bytes.Reader
	fail error
}

func (b *blockReader) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF && b.fail != nil {
		err = b.fail
	}
	return n, err
}

// splitter cuts CSV text into blocks. A line feed ends a row when an even number of
// quotes stands before it. That holds for every well-formed file; in any other one
// the parser stops at the first quote out of place, which stands in the same block
// and at the same row wherever the blocks end.
type splitter struct {
	r      io.Reader
	size   int // of a block, at least
	next   int
	rest   []byte // begun rows of the text already read
	ended  bool
	spares chan []byte
}

// cut returns the next block; ok is false behind the last.
func (s *splitter) cut() (b block, ok bool) {
	if s.ended {
		return b, false
	}
	var buf []byte
	select {
	case buf = <-s.spares:
	default:
		buf = make([]byte, 0, s.size+s.size/8+64)
	}
	buf = append(buf[:0], s.rest...)
	b.no = s.next
	s.next++
	for searched, quotes := 0, 0; ; {
		if cap(buf)-len(buf) < s.size/8+1 {
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
		got, err := s.r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+got]
		switch {
		case err == io.EOF:
			s.ended, b.text = true, buf
			return b, true
		case err != nil:
			s.ended, b.text, b.fail = true, buf, err
			return b, true
		case len(buf)-searched < s.size:
			continue
		}
		end, n := rowsEnd(buf[searched:], quotes)
		if end += searched; end > searched {
			s.rest = append(s.rest[:0], buf[end:]...)
			b.text = buf[:end]
			return b, true
		}
		if len(buf) > MaxRecord {
			s.ended, b.text, b.fail = true, buf, errRecord
			return b, true
		}
		searched, quotes = len(buf), quotes+n
	}
}

// rowsEnd returns where the last row that ends in text ends, 0 when none does, and the
// quotes in text. before is the number of quotes in front of it.
func rowsEnd(text []byte, before int) (end, quotes int) {
	quotes = bytes.Count(text, []byte{'"'})
	left := before + quotes
	for end = len(text); ; {
		at := bytes.LastIndexByte(text[:end], '\n')
		if at < 0 {
			return 0, quotes
		}
		if left -= bytes.Count(text[at:end], []byte{'"'}); left%2 == 0 {
			return at + 1, quotes
		}
		end = at
	}
}

// readCSV reads CSV with a header line, on every lane at once.
func (g *ingestion) readCSV(ctx context.Context, r io.Reader, zipped bool) error {
	file, err := openCSV(r, zipped)
	if err != nil {
		return err
	}
	defer file.close()
	s := &splitter{r: file.text, size: blockBytes, spares: make(chan []byte, 2*len(g.lanes)+2)}
	first, ok := s.cut()
	if !ok {
		return refuse(CodeEmpty)
	}
	head := newBlockCSV(first)
	names, err := head.Read()
	if errors.Is(err, io.EOF) {
		return refuse(CodeEmpty)
	}
	if err != nil {
		return refuse(csvCode(err))
	}
	columnOf, err := g.lanes[0].bind(names)
	if err != nil {
		return err
	}
	first.text = first.text[head.InputOffset():]

	work := make(chan block, len(g.lanes))
	var lanes sync.WaitGroup
	for _, in := range g.lanes {
		lanes.Add(1)
		go func() {
			defer lanes.Done()
			for b := range work {
				g.done(in.readBlock(b, columnOf), in, b)
				select {
				case s.spares <- b.text:
				default:
				}
			}
		}()
	}
	for b := first; ok && !g.stopped(ctx); b, ok = s.cut() {
		work <- b
	}
	close(work)
	lanes.Wait()
	if err := g.failure(ctx); err != nil {
		return err
	}
	if file.cut() {
		no := refuse(CodeTruncated)
		no.Row = g.rows()
		return no
	}
	return nil
}

func newBlockCSV(b block) *csv.Reader {
	r := &blockReader{fail: b.fail}
	r.Reset(b.text)
	c := csv.NewReader(r)
	c.ReuseRecord, c.FieldsPerRecord = true, -1
	return c
}

// records reads the rows of a block as encoding/csv does. A line without a quote is
// its fields between commas; any other row is given to encoding/csv by itself.
type records struct {
	block
	at     int
	fields []string
	quoted *csv.Reader
	row    blockReader
}

// Read returns the next row, valid until the one after it and as long as the block
// is, and io.EOF behind the last.
func (r *records) Read() ([]string, error) {
	for {
		rest := r.text[r.at:]
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			return r.readQuoted(len(rest), r.fail)
		}
		line := rest[:end]
		if bytes.IndexByte(line, '"') >= 0 {
			return r.readQuoted(quotedEnd(rest, end), r.fail)
		}
		r.at += end + 1
		if end > 0 && line[end-1] == '\r' {
			line = line[:end-1]
		}
		if len(line) == 0 {
			continue // as encoding/csv
		}
		// The block is not written to while its rows are read: no copy.
		text, fields := unsafe.String(unsafe.SliceData(line), len(line)), r.fields[:0]
		for {
			comma := strings.IndexByte(text, ',')
			if comma < 0 {
				break
			}
			fields = append(fields, text[:comma])
			text = text[comma+1:]
		}
		r.fields = append(fields, text)
		return r.fields, nil
	}
}

// quotedEnd returns where the row that rest begins with ends: behind the first line
// feed, from the one at end on, that an even number of quotes stands before. It is
// the end of rest when there is none.
func quotedEnd(rest []byte, end int) int {
	quotes := bytes.Count(rest[:end], []byte{'"'})
	for quotes%2 != 0 {
		next := bytes.IndexByte(rest[end+1:], '\n')
		if next < 0 {
			return len(rest)
		}
		quotes += bytes.Count(rest[end+1:end+1+next], []byte{'"'})
		end += 1 + next
	}
	return end + 1
}

// readQuoted reads the row of the next n bytes.
func (r *records) readQuoted(n int, fail error) ([]string, error) {
	r.row.Reset(r.text[r.at : r.at+n])
	if r.at += n; r.at == len(r.text) {
		r.row.fail = fail // what comes behind may be the rest of this row
	}
	if r.quoted == nil {
		r.quoted = csv.NewReader(&r.row)
		r.quoted.ReuseRecord, r.quoted.FieldsPerRecord = true, -1
	}
	return r.quoted.Read()
}

// readBlock reads the rows of one block. Its refusals count rows from the block's
// first.
func (in *reader) readBlock(b block, columnOf []int) error {
	in.block, in.read = b.no, 0
	file := records{block: b, fields: make([]string, 0, len(columnOf))}
	fields, fieldOf := in.fields, in.fieldOf
	for f, c := range columnOf {
		fieldOf[c] = f
	}
	for {
		record, err := file.Read()
		if errors.Is(err, io.EOF) && b.fail == nil {
			return nil
		}
		if err != nil {
			no := refuse(csvCode(err))
			no.Row = in.read + 1
			return no
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
}

// ingestion is one file on its way in: a reader a lane, and what they found.
type ingestion struct {
	lanes []*reader
	tick  func(int64)

	mu     sync.Mutex
	read   map[int]int64 // rows by block
	total  int64
	failed error // of the first block that has one
	at     int   // that block
}

// done takes note of a block that was read.
func (g *ingestion) done(err error, in *reader, b block) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.read[b.no] = in.read
	before := g.total / tickRows
	if g.total += in.read; g.tick != nil && g.total/tickRows > before {
		g.tick(g.total)
	}
	if err != nil && (g.failed == nil || b.no < g.at) {
		g.failed, g.at = err, b.no
	}
}

// stopped says that no further block is wanted. Blocks before the one that failed
// are under way already, so the first failure of the file is the one reported.
func (g *ingestion) stopped(ctx context.Context) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failed != nil || ctx.Err() != nil
}

func (g *ingestion) failure(ctx context.Context) error {
	var no *Refusal
	if errors.As(g.failed, &no) {
		no.Row += g.before(g.at)
	}
	if g.failed != nil {
		return g.failed
	}
	return ctx.Err()
}

// before is the number of rows in front of a block.
func (g *ingestion) before(no int) int64 {
	var n int64
	for b, rows := range g.read {
		if b < no {
			n += rows
		}
	}
	return n
}

func (g *ingestion) rows() int64 { return g.total }

// summary puts together what the lanes counted.
func (g *ingestion) summary() (Summary, error) {
	out, first := Summary{BadBy: map[Code]int64{}}, (*reader)(nil)
	out.Clamped, out.Others = make([]int64, len(g.lanes[0].columns)), make([]int64, len(g.lanes[0].columns))
	var sum [4]uint64
	for _, in := range g.lanes {
		out.Rows += in.out.Rows
		out.Bad += in.out.Bad
		for code, n := range in.out.BadBy {
			out.BadBy[code] += n
		}
		for i := range out.Clamped {
			out.Clamped[i] += in.out.Clamped[i]
			out.Others[i] += in.out.Others[i]
		}
		addTo(&sum, &in.sum)
		if in.first != nil && (first == nil || in.firstBlock < first.firstBlock) {
			first = in
		}
	}
	spec := g.lanes[0].spec
	if out.Bad > 0 && float64(out.Bad)*100 > spec.MaxBadPercent*float64(g.total) {
		no := *first.first
		no.Code, no.Count, no.Rows = CodeTooManyBad, out.Bad, g.total
		no.Row += g.before(first.firstBlock)
		return Summary{}, &no
	}
	for _, w := range sum {
		out.Content = binary.BigEndian.AppendUint64(out.Content, w)
	}
	return out, nil
}

// addTo adds modulo 2^256.
func addTo(sum, v *[4]uint64) {
	var carry uint64
	for w := 3; w >= 0; w-- {
		sum[w], carry = bits.Add64(sum[w], v[w], carry)
	}
}
