package duckdb

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"math/bits"
	"os"
	"slices"
	"sync"

	"github.com/klauspost/compress/s2"

	"github.com/sandgate/sandgate/compute/engine/ingest"
)

// stageParts is into how many ranges of its keys a stage sorts the rows as they
// come. Keys are uniform over 64 bits, so ranges are of about equal size.
const stageParts = 128

// partKeys is how many keys one of those ranges has.
const partKeys = 1 << 64 / stageParts

// stageBlock is how much of one part a lane gathers before it goes to the file.
const stageBlock = 32 << 10

// stage holds the rows of a file until all of them are known. It keeps each row as
// ingest encoded it, behind its order, by range of the unit token, or of the order in
// a table without units. Blocks are compressed: the file counts against the memory of
// the domain.
type stage struct {
	file    *os.File
	private bool
	consent bool // rows carry the subject whose consent they need
	oneRow  bool // no unit is to have several rows; a file that breaks it is refused later
	lanes   []ingest.Sink

	mu    sync.Mutex
	size  int64
	parts [stageParts]stagePart
}

type stagePart struct {
	rows, bytes int64
	blocks      []extent
}

// extent is where a compressed block stands in the file.
type extent struct {
	at   int64
	size int
}

func newStage(f *os.File, private, consent bool, lanes int) *stage {
	s := &stage{file: f, private: private, consent: consent}
	for range max(1, lanes) {
		s.lanes = append(s.lanes, &stageLane{s: s})
	}
	return s
}

// Add is not used: every lane has its own.
func (s *stage) Add(ingest.Row) error { return errEngine }

// Lanes implements ingest.ParallelSink.
func (s *stage) Lanes() []ingest.Sink { return s.lanes }

// key is what rows are sorted by first.
func (s *stage) key(unit, order uint64) uint64 {
	if s.private {
		return unit
	}
	return order
}

// stageLane is one goroutine's way into a stage.
type stageLane struct {
	s     *stage
	parts [stageParts][]byte
	rows  [stageParts]int64
	pack  []byte
}

const rowHead = 8 + 4 // order and length

// head is what stands before a row's encoding.
func (s *stage) head() int {
	if s.consent {
		return rowHead + len(ingest.Subject{})
	}
	return rowHead
}

// Add keeps a row.
func (l *stageLane) Add(r ingest.Row) error {
	p := l.s.key(r.Unit, r.Order) / partKeys
	b := l.parts[p]
	if len(b)+l.s.head()+len(r.Encoded) > stageBlock && len(b) > 0 {
		if err := l.flush(int(p)); err != nil {
			return err
		}
		b = l.parts[p]
	}
	b = binary.BigEndian.AppendUint64(b, r.Order)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Encoded)))
	if l.s.consent {
		b = append(b, r.Subject[:]...)
	}
	l.parts[p] = append(b, r.Encoded...)
	l.rows[p]++
	return nil
}

func (l *stageLane) flush(p int) error {
	if len(l.parts[p]) == 0 {
		return nil
	}
	l.pack = s2.Encode(l.pack[:cap(l.pack)], l.parts[p])
	s := l.s
	s.mu.Lock()
	at := s.size
	s.size += int64(len(l.pack))
	part := &s.parts[p]
	part.rows += l.rows[p]
	part.bytes += int64(len(l.parts[p]))
	part.blocks = append(part.blocks, extent{at, len(l.pack)})
	s.mu.Unlock()
	l.parts[p], l.rows[p] = l.parts[p][:0], 0
	_, err := s.file.WriteAt(l.pack, at)
	return err
}

// close brings the lanes' last rows in.
func (s *stage) close() error {
	var errs []error
	for _, l := range s.lanes {
		l := l.(*stageLane)
		for p := range l.parts {
			errs = append(errs, l.flush(p))
			l.parts[p] = nil
		}
		l.pack = nil
	}
	return errors.Join(errs...)
}

// passRows is about how many rows one sorting pass holds in memory.
const passRows = 1 << 20

// passes is how many runs of consecutive parts are sorted one after the other, for
// passes of at most about so many bytes. It depends on the content alone.
func (s *stage) passes(memory int64) int {
	var rows, size int64
	for _, p := range s.parts {
		rows, size = rows+p.rows, size+p.bytes
	}
	return int(min(stageParts, max(rows/passRows, size/max(memory, 1<<20))+1))
}

// stagedRow is where a row of a pass stands.
type stagedRow struct {
	unit, order uint64
	at, end     int // of its encoding
	subject     ingest.Subject
}

// pass is some consecutive parts of a stage in memory.
type pass struct {
	text []byte
	rows []stagedRow // by unit and order; by order where there are no units
}

// load reads the parts from…to−1 into p, sorted. Its buffers are used again.
func (s *stage) load(p *pass, from, to int) error {
	starts, total, rows := make([]int, stageParts+1), 0, 0
	at := make([]int, stageParts+1)
	for i := from; i < to; i++ {
		starts[i], at[i] = rows, total
		rows, total = rows+int(s.parts[i].rows), total+int(s.parts[i].bytes)
	}
	starts[to], at[to] = rows, total
	p.text, p.rows = slices.Grow(p.text[:0], total)[:total], slices.Grow(p.rows[:0], rows)[:rows]
	errs := make([]error, len(s.lanes))
	var wait sync.WaitGroup
	for l := range s.lanes {
		wait.Add(1)
		go func() {
			defer wait.Done()
			var parts partLoader
			for i := from + l; i < to && errs[l] == nil; i += len(s.lanes) {
				errs[l] = parts.load(s, i, p.text, at[i], at[i+1], p.rows[starts[i]:starts[i+1]])
			}
		}()
	}
	wait.Wait()
	return errors.Join(errs...)
}

// partLoader reads parts of a stage. Its buffers are used again.
type partLoader struct {
	pack []byte
	rows []stagedRow // as they stand in the file
	ends []uint32
}

// load reads one part into text[at:end] and its rows, sorted, into rows.
func (l *partLoader) load(s *stage, part int, text []byte, at, end int, rows []stagedRow) error {
	to := at
	for _, b := range s.parts[part].blocks {
		l.pack = slices.Grow(l.pack[:0], b.size)[:b.size]
		if _, err := s.file.ReadAt(l.pack, b.at); err != nil {
			return err
		}
		n, err := s2.DecodedLen(l.pack)
		if err != nil || n > end-to {
			return errEngine
		}
		if _, err := s2.Decode(text[to:to+n:to+n], l.pack); err != nil {
			return errEngine
		}
		to += n
	}
	l.rows = slices.Grow(l.rows[:0], len(rows))[:len(rows)]
	n, head := 0, s.head()
	for ; at < to && n < len(rows) && to-at >= head+8; n++ {
		size := int(binary.BigEndian.Uint32(text[at+8:]))
		r := stagedRow{order: binary.BigEndian.Uint64(text[at:]), at: at + head, end: at + head + size}
		copy(r.subject[:], text[at+rowHead:r.at])
		if size < 8 || r.end > to {
			return errEngine
		}
		r.unit = binary.BigEndian.Uint64(text[r.at:])
		if s.key(r.unit, r.order)/partKeys != uint64(part) {
			return errEngine
		}
		l.rows[n], at = r, r.end
	}
	if n != len(rows) || at != end {
		return errEngine
	}
	l.sort(s, rows, text)
	return nil
}

// sort puts l.rows, whose keys are all of one part, into rows by unit and order. Keys
// are uniform, so a row's key tells about where it goes; few rows share a place.
func (l *partLoader) sort(s *stage, rows []stagedRow, text []byte) {
	n := len(rows)
	l.ends = slices.Grow(l.ends[:0], n+1)[:n+1]
	clear(l.ends)
	place := func(r *stagedRow) uint64 {
		at, _ := bits.Mul64(s.key(r.unit, r.order)*stageParts, uint64(n))
		return at
	}
	for i := range l.rows {
		l.ends[place(&l.rows[i])+1]++
	}
	for i := range n {
		l.ends[i+1] += l.ends[i]
	}
	for i := range l.rows {
		at := place(&l.rows[i])
		rows[l.ends[at]] = l.rows[i]
		l.ends[at]++
	}
	// Equal orders are equal rows; a collision must not leak the order of the file.
	compare := func(a, b stagedRow) int {
		if s.private && a.unit != b.unit {
			return cmp.Compare(a.unit, b.unit)
		}
		if a.order != b.order {
			return cmp.Compare(a.order, b.order)
		}
		return bytes.Compare(text[a.at:a.end], text[b.at:b.end])
	}
	from := uint32(0)
	for _, to := range l.ends[:n] {
		if to-from > 1 {
			slices.SortFunc(rows[from:to], compare)
		}
		from = to
	}
}

// ranks returns the rank of each row of p inside its unit, from 1, in into's place.
func (p *pass) ranks(into []int32) []int32 {
	into = slices.Grow(into[:0], len(p.rows))[:len(p.rows)]
	for i := range p.rows {
		into[i] = 1
		if i > 0 && p.rows[i-1].unit == p.rows[i].unit {
			into[i] = into[i-1] + 1
		}
	}
	return into
}

// ranked returns the rank of each row of p inside its unit, from 1, and the order in
// which the rows are stored: by rank, then unit (docs/decisions/014-snapshot-order.md).
func (p *pass) ranked() (ranks []int32, order []uint32) {
	ranks, order = p.ranks(nil), make([]uint32, len(p.rows))
	var of []int // rows by rank
	for _, rank := range ranks {
		if int(rank) > len(of) {
			of = append(of, 0)
		}
		of[rank-1]++
	}
	next := 0
	for i, n := range of {
		of[i] = next
		next += n
	}
	for i, rank := range ranks {
		order[of[rank-1]] = uint32(i)
		of[rank-1]++
	}
	return ranks, order
}

// solve shows a stage to the masks of a whole table, in the order in which write stores
// it, and lets them decide.
func (s *stage) solve(ctx context.Context, t *ingest.Whole, memory int64) (*ingest.Generalised, error) {
	if t == nil {
		return nil, nil
	}
	var p pass
	n := s.passes(memory)
	for i := range n {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := s.load(&p, i*stageParts/n, (i+1)*stageParts/n); err != nil {
			return nil, err
		}
		for _, r := range p.rows {
			if !t.See(p.text[r.at:r.end]) {
				return nil, errEngine
			}
		}
	}
	return t.Solve()
}

// rewrite replaces the rows of a pass, whose first is the seen-th of the stage, by what
// the masks of the whole table make of them.
func (p *pass) rewrite(t *ingest.Whole, seen int) error {
	if t == nil {
		return nil
	}
	text := make([]byte, 0, len(p.text))
	for i := range p.rows {
		r := &p.rows[i]
		at, ok := len(text), false
		if text, ok = t.Rewrite(text, seen+i, p.text[r.at:r.end]); !ok {
			return errEngine
		}
		r.at, r.end = at, len(text)
	}
	p.text = text
	return nil
}
