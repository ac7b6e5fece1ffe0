package duckdb

/*
#include <stdint.h>

// The engine's C interface, as its header has it.
void duckdb_unsafe_vector_assign_string_element_len(void *vector, uint64_t index, const char *text, uint64_t size);

static void assign_texts(void *vector, const char *text, const int64_t *at, const int32_t *size, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (size[i] >= 0)
			duckdb_unsafe_vector_assign_string_element_len(vector, i, text + at[i], (uint64_t)size[i]);
}
*/
import "C"

import (
	"context"
	"encoding/binary"
	"fmt"
	"reflect"
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
	errs := make([]error, len(writers))
	var wait sync.WaitGroup
	for i, w := range writers {
		wait.Add(1)
		go func() {
			defer wait.Done()
			from, to := groups*i/len(writers)*groupRows, groups*(i+1)/len(writers)*groupRows
			errs[i] = w.rows(p, ranks, order, from, min(to, len(p.rows)))
		}()
	}
	wait.Wait()
	for i, w := range writers {
		if errs[i] != nil {
			return errs[i]
		}
		if err := w.s.exec("COMMIT"); err != nil {
			return err
		}
	}
	return nil
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

	at    [][]int64 // of the texts of each column
	size  [][]int32 // −1: NULL
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
	w.at, w.size = make([][]int64, len(stored)), make([][]int32, len(stored))
	for i, c := range stored {
		if c.Type.Kind == algebra.Text {
			w.at[i], w.size[i] = make([]int64, bindings.VectorSize()), make([]int32, bindings.VectorSize())
		}
	}
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
	if err := w.s.exec("BEGIN"); err != nil || from >= to {
		return err
	}
	var a bindings.Appender
	if bindings.AppenderCreateExt(w.conn, outName, "main", "t", &a) == bindings.StateError {
		bindings.AppenderDestroy(&a)
		return errEngine
	}
	defer bindings.AppenderDestroy(&a)
	for step := int(bindings.VectorSize()); from < to; from += step {
		if err := w.fill(p, ranks, order, from, min(from+step, to)); err != nil {
			return err
		}
		if bindings.AppendDataChunk(a, w.chunk) == bindings.StateError {
			return fmt.Errorf("failed to append: %s", bindings.AppenderError(a)) // mapError reads the kind from it and drops the text
		}
	}
	if bindings.AppenderClose(a) == bindings.StateError {
		return fmt.Errorf("failed to append: %s", bindings.AppenderError(a))
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
		whole := ingest.Decode(p.text[r.at:r.end], len(w.stored), func(i int, null bool, number int64, at, size int) {
			c := first + i
			if null {
				mask := (*uint64)(unsafe.Add(w.valid[c], n/64*8))
				*mask &^= 1 << (n % 64)
			}
			switch w.stored[i].Type.Kind {
			case algebra.Text:
				if w.at[i][n], w.size[i][n] = int64(r.at+at), int32(size); null {
					w.size[i][n] = -1
				}
			case algebra.Bool:
				put(w.data[c], n, number != 0)
			case algebra.Date:
				put(w.data[c], n, int32(number))
			default:
				put(w.data[c], n, number)
			}
		})
		if !whole {
			return errEngine
		}
	}
	for i, at := range w.at {
		if at == nil {
			continue
		}
		v := bindings.DataChunkGetVector(w.chunk, bindings.IdxT(first+i))
		C.assign_texts(v.Ptr, (*C.char)(unsafe.Pointer(unsafe.SliceData(p.text))), (*C.int64_t)(&at[0]), (*C.int32_t)(&w.size[i][0]), C.uint64_t(to-from))
	}
	bindings.DataChunkSetSize(w.chunk, bindings.IdxT(to-from))
	return nil
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
