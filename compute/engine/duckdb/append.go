package duckdb

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unsafe"

	bindings "github.com/duckdb/duckdb-go-bindings"
	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine/ingest"
)

// groupRows is how many rows the engine keeps together, with the least and the
// greatest value of each column.
const groupRows = 122880

// write stores a stage as the snapshot's table, in passes of at most about memory
// bytes. Each lane writes its own consecutive share of a pass in a transaction of its
// own; the engine keeps rows in the order in which transactions end. table, if any,
// has seen the stage.
func (s *session) write(ctx context.Context, st *stage, stored []ingest.Stored, memory int64, table *ingest.Whole) error {
	var defs []string
	if st.private {
		defs = append(defs, "_unit UBIGINT NOT NULL", "_rn INTEGER NOT NULL")
	}
	for _, c := range stored {
		defs = append(defs, quote(c.Name)+" "+sqlType(c.Type.Kind))
	}
	if st.consent {
		defs = append(defs, consentColumn+" NOT NULL")
	}
	// A lane does the engine's work for its own rows. With a thread of the engine's beside
	// it, it would look for work all the time in which that one does it, and groups of rows
	// would be compressed and written as transactions end, one lane after the other.
	if err := s.exec("SET threads=1", "SET write_buffer_row_group_count=1"); err != nil {
		return err
	}
	if err := s.exec("CREATE TABLE out.main.t (" + strings.Join(defs, ", ") + ")"); err != nil {
		return err
	}
	var writers []*writer
	defer func() {
		for _, w := range writers {
			w.close()
		}
	}()
	for range st.lanes {
		w, err := s.newWriter(st.private, st.consent, stored)
		if err != nil {
			return err
		}
		writers = append(writers, w)
	}
	if st.streams(memory) && table == nil {
		return st.stream(ctx, writers)
	}
	var p pass
	seen, n := 0, st.passes(memory)
	for i := range n {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := st.load(&p, i*stageParts/n, (i+1)*stageParts/n); err != nil {
			return err
		}
		if err := p.rewrite(table, seen); err != nil {
			return err
		}
		seen += len(p.rows)
		if err := writePass(&p, writers, st.private); err != nil {
			return err
		}
	}
	return nil
}

// writePass stores the rows of a pass.
func writePass(p *pass, writers []*writer, private bool) error {
	var ranks []int32
	var order []uint32
	if private {
		ranks, order = p.ranked()
	}
	groups := (len(p.rows) + groupRows - 1) / groupRows
	return inTurn(writers, func(i int, w *writer) error {
		from, to := groups*i/len(writers)*groupRows, groups*(i+1)/len(writers)*groupRows
		return w.rows(p, ranks, order, from, min(to, len(p.rows)))
	})
}

// inTurn lets the writers work at once, each in a transaction that work leaves open,
// and ends the transactions one after the other. One that failed, and all after it,
// stay open.
func inTurn(writers []*writer, work func(i int, w *writer) error) error {
	errs, turn := make([]error, len(writers)), make([]chan bool, len(writers)+1)
	for i := range turn {
		turn[i] = make(chan bool, 1)
	}
	turn[0] <- true
	var wait sync.WaitGroup
	for i, w := range writers {
		wait.Add(1)
		go func() {
			defer wait.Done()
			errs[i] = work(i, w)
			good := <-turn[i] && errs[i] == nil
			if good {
				errs[i] = w.s.exec("COMMIT")
			}
			turn[i+1] <- good && errs[i] == nil
		}()
	}
	wait.Wait()
	return errors.Join(errs...)
}

// streams says that the rows of a stage need no order but that of its parts: no two of
// them are to have different ranks. Then a part a lane is all that memory has to hold.
func (s *stage) streams(memory int64) bool {
	return (s.oneRow || !s.private) && s.passes(memory)*len(s.lanes) <= stageParts
}

// stream stores a stage part by part. Each lane reads, sorts and writes the parts of
// its own consecutive share of the rows, in one transaction.
func (s *stage) stream(ctx context.Context, writers []*writer) error {
	var starts [stageParts + 1]int
	for i, p := range s.parts {
		starts[i+1] = starts[i] + int(p.rows)
	}
	total := starts[stageParts]
	groups := (total + groupRows - 1) / groupRows
	return inTurn(writers, func(i int, w *writer) error {
		from, to := groups*i/len(writers)*groupRows, groups*(i+1)/len(writers)*groupRows
		return w.parts(ctx, s, &starts, from, min(to, total))
	})
}

// parts appends the rows from…to−1 of a stage in a transaction that it leaves open.
// starts names the first row of each part.
func (w *writer) parts(ctx context.Context, s *stage, starts *[stageParts + 1]int, from, to int) error {
	a, err := w.begin()
	if err != nil {
		return err
	}
	defer bindings.AppenderDestroy(&a)
	var p pass
	var loader partLoader
	var ranks []int32
	for i := range stageParts {
		if starts[i+1] <= from || starts[i] >= to {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		size, rows := int(s.parts[i].bytes), int(s.parts[i].rows)
		p.text, p.rows = slices.Grow(p.text[:0], size)[:size], slices.Grow(p.rows[:0], rows)[:rows]
		if err := loader.load(s, i, p.text, 0, size, p.rows); err != nil {
			return err
		}
		if s.private {
			ranks = p.ranks(ranks)
		}
		if err := w.append(a, &p, ranks, nil, max(from-starts[i], 0), min(to, starts[i+1])-starts[i]); err != nil {
			return err
		}
	}
	return finish(a)
}

// writer appends rows to the snapshot's table over a connection of its own. The
// driver's appender takes one boxed value at a time; this one fills the engine's
// vectors.
type writer struct {
	s       *session
	conn    bindings.Connection
	types   []bindings.LogicalType
	chunk   bindings.DataChunk
	private bool
	consent bool
	stored  []ingest.Stored

	cells []ingest.Cell
	data  []unsafe.Pointer
	valid []unsafe.Pointer
}

func (s *session) newWriter(private, consent bool, stored []ingest.Stored) (*writer, error) {
	c, err := s.connector.Connect(context.Background())
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*duck.Conn)
	if !ok {
		return nil, errEngine
	}
	w := &writer{s: &session{conn: conn}, private: private, consent: consent, stored: stored}
	if w.conn, err = handle(conn); err != nil {
		_ = conn.Close()
		return nil, err
	}
	add := func(t bindings.Type) {
		w.types = append(w.types, bindings.CreateLogicalType(t))
	}
	if private {
		add(bindings.TypeUBigInt)
		add(bindings.TypeInteger)
	}
	for _, c := range stored {
		add(engineType(c.Type.Kind))
	}
	if consent {
		add(bindings.TypeUUID)
	}
	w.chunk = bindings.CreateDataChunk(w.types)
	w.cells = make([]ingest.Cell, len(stored))
	w.data, w.valid = make([]unsafe.Pointer, len(w.types)), make([]unsafe.Pointer, len(w.types))
	return w, nil
}

// handle is the engine's own connection behind the driver's, which does not hand it
// out. A driver that keeps it elsewhere is refused, not guessed at.
func handle(c *duck.Conn) (bindings.Connection, error) {
	f := reflect.ValueOf(c).Elem().FieldByName("conn")
	if !f.IsValid() || f.Type() != reflect.TypeFor[bindings.Connection]() {
		return bindings.Connection{}, fmt.Errorf("failed to find connection of driver: %w", errEngine)
	}
	return bindings.Connection{Ptr: f.FieldByName("Ptr").UnsafePointer()}, nil
}

func engineType(k algebra.Kind) bindings.Type {
	switch k {
	case algebra.Bool:
		return bindings.TypeBoolean
	case algebra.Date:
		return bindings.TypeDate
	case algebra.Text:
		return bindings.TypeVarchar
	}
	return bindings.TypeBigInt
}

func (w *writer) close() {
	bindings.DestroyDataChunk(&w.chunk)
	for i := range w.types {
		bindings.DestroyLogicalType(&w.types[i])
	}
	_ = w.s.conn.Close()
}

// rows appends the rows from…to−1 of a pass in a transaction that it leaves open.
// order names them; nil is as they stand.
func (w *writer) rows(p *pass, ranks []int32, order []uint32, from, to int) error {
	a, err := w.begin()
	if err != nil {
		return err
	}
	defer bindings.AppenderDestroy(&a)
	if err := w.append(a, p, ranks, order, from, to); err != nil {
		return err
	}
	return finish(a)
}

func (w *writer) begin() (a bindings.Appender, err error) {
	if err := w.s.exec("BEGIN"); err != nil {
		return a, err
	}
	if bindings.AppenderCreateExt(w.conn, outName, "main", "t", &a) == bindings.StateError {
		bindings.AppenderDestroy(&a)
		return a, errEngine
	}
	return a, nil
}

func finish(a bindings.Appender) error {
	if bindings.AppenderClose(a) == bindings.StateError {
		return fmt.Errorf("failed to append: %s", bindings.AppenderError(a)) // mapError reads the kind from it and drops the text
	}
	return nil
}

// append appends the rows from…to−1 of p.
func (w *writer) append(a bindings.Appender, p *pass, ranks []int32, order []uint32, from, to int) error {
	// The vectors point into the text until the engine has copied their rows.
	var pin runtime.Pinner
	if len(p.text) > 0 {
		pin.Pin(&p.text[0])
		defer pin.Unpin()
	}
	for step := int(bindings.VectorSize()); from < to; from += step {
		if err := w.fill(p, ranks, order, from, min(from+step, to)); err != nil {
			return err
		}
		if bindings.AppendDataChunk(a, w.chunk) == bindings.StateError {
			return fmt.Errorf("failed to append: %s", bindings.AppenderError(a))
		}
	}
	return nil
}

// fill puts rows into the chunk.
func (w *writer) fill(p *pass, ranks []int32, order []uint32, from, to int) error {
	bindings.DataChunkReset(w.chunk)
	for i := range w.types {
		v := bindings.DataChunkGetVector(w.chunk, bindings.IdxT(i))
		bindings.VectorEnsureValidityWritable(v)
		w.data[i], w.valid[i] = bindings.VectorGetData(v), bindings.VectorGetValidity(v)
	}
	first := 0
	if w.private {
		first = 2
	}
	for n := range to - from {
		row := from + n
		if order != nil {
			row = int(order[row])
		}
		r := &p.rows[row]
		if w.private {
			put(w.data[0], n, r.unit)
			put(w.data[1], n, ranks[row])
		}
		if w.consent {
			put(w.data[first+len(w.stored)], n, uuid(r.subject))
		}
		text := p.text[r.at:r.end]
		if !ingest.Decode(text, w.cells) {
			return errEngine
		}
		for i := range w.cells {
			c, data := &w.cells[i], w.data[first+i]
			if c.Size < 0 {
				mask := (*uint64)(unsafe.Add(w.valid[first+i], n/64*8))
				*mask &^= 1 << (n % 64)
			}
			switch w.stored[i].Type.Kind {
			case algebra.Text:
				if c.Size < 0 {
					put(data, n, engineString{})
					continue
				}
				putText(data, n, text[c.At:c.At+c.Size])
			case algebra.Bool:
				put(data, n, c.Number != 0)
			case algebra.Date:
				put(data, n, int32(c.Number))
			default:
				put(data, n, c.Number)
			}
		}
	}
	bindings.DataChunkSetSize(w.chunk, bindings.IdxT(to-from))
	return nil
}

// engineString is a text as the engine's vectors hold it (duckdb_string_t of its C
// interface): up to 12 bytes in place, else the first four and where all of them are.
type engineString struct {
	size   uint32
	prefix [4]byte
	at     uintptr // or 8 more bytes in place
}

// inPlace is how long a text may be that a vector holds itself.
const inPlace = 12

// putText sets the n-th text of a vector. It is not copied: it must stay where it is
// until the engine has taken the vector.
func putText(data unsafe.Pointer, n int, text []byte) {
	if len(text) > inPlace {
		put(data, n, engineString{uint32(len(text)), [4]byte(text), uintptr(unsafe.Pointer(unsafe.SliceData(text)))})
		return
	}
	put(data, n, engineString{size: uint32(len(text))})
	copy(unsafe.Slice((*byte)(unsafe.Add(data, uintptr(n)*unsafe.Sizeof(engineString{})+4)), inPlace), text)
}

// engineUUID is a UUID as the engine's vectors hold it: a 128-bit integer, low half
// first, whose highest bit is turned over so that UUIDs order as integers do.
type engineUUID struct{ low, high uint64 }

func uuid(s ingest.Subject) engineUUID {
	return engineUUID{low: binary.BigEndian.Uint64(s[8:]), high: binary.BigEndian.Uint64(s[:8]) ^ 1<<63}
}

// put sets the n-th value of a vector.
func put[T any](data unsafe.Pointer, n int, v T) {
	*(*T)(unsafe.Add(data, uintptr(n)*unsafe.Sizeof(v))) = v
}
