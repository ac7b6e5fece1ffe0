// Package engine holds what the gateway and its workers agree on: the frames in
// which exact partials travel, the snapshots they are computed from, and the
// runner that puts the two together. It links no database; compute/engine/duckdb
// does.
package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"unicode/utf8"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// MaxText is the longest text value in bytes, at ingest and in a result.
const MaxText = 4096

// frameVersion starts every partials frame.
const frameVersion = 1

// Kinds of result columns.
const (
	colInt     = 1 // validity, int64
	colText    = 2 // validity, length-prefixed UTF-8
	colGroup   = 3 // int64: GROUPING of all keys
	colMeasure = 4 // int128, two's complement
)

// frameRows is how many rows an encoder puts into one frame.
const frameRows = 4096

// ErrPartials says that a worker's frames do not fit the plan. It carries no
// content on purpose.
var ErrPartials = errors.New("worker result does not fit the plan")

// Schema is the shape of a result: the gateway derives it from the plan and the
// worker is told it, so neither side reads a type from the other's bytes.
type Schema struct {
	Keys     []algebra.Type `json:"keys,omitempty"`
	Exact    bool           `json:"exact,omitempty"` // with keys, a grp column follows them
	Measures int            `json:"measures"`
	MaxCells int            `json:"max_cells"`
	// Lists caps the list columns of an exact result, which follow the measures: the
	// most elements of one row.
	Lists []int `json:"lists,omitempty"`
}

// SchemaOf returns the shape of plan's result.
func SchemaOf(plan *protect.Plan) Schema {
	s := Schema{Exact: plan.Exact != nil, Measures: len(plan.Measures), MaxCells: plan.MaxCells}
	for _, k := range plan.Keys {
		s.Keys = append(s.Keys, k.Col.Type)
	}
	s.Lists = listCaps(plan)
	return s
}

// Grouped says whether the result has a grp column.
func (s Schema) Grouped() bool { return s.Exact && len(s.Keys) > 0 }

// Columns is the number of result columns.
func (s Schema) Columns() int {
	n := len(s.Keys) + s.Measures + len(s.Lists)
	if s.Grouped() {
		n++
	}
	return n
}

// maxRows is the most rows a result may have: the cells and the grand total.
func (s Schema) maxRows() int {
	if s.Exact {
		return s.MaxCells + 1
	}
	return s.MaxCells
}

// Row is one row of a result.
type Row struct {
	Keys  []algebra.Value
	Group int64
	M     []*big.Int
	Lists [][]uint64
}

var (
	minInt128 = new(big.Int).Neg(new(big.Int).Lsh(big.NewInt(1), 127))
	maxInt128 = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 127), big.NewInt(1))
	two128    = new(big.Int).Lsh(big.NewInt(1), 128)
)

// Encoder turns rows into frames. It is not safe for concurrent use.
type Encoder struct {
	schema Schema
	emit   func([]byte) error
	rows   []Row
	total  int
	// elements of lists in rows
	elements int
}

// NewEncoder returns an encoder that hands each full frame to emit.
func NewEncoder(s Schema, emit func([]byte) error) *Encoder { return &Encoder{schema: s, emit: emit} }

// Add appends a row. It fails for a row of another shape and for more rows than
// the plan allows; the error carries no content.
func (e *Encoder) Add(r Row) error {
	if len(r.Keys) != len(e.schema.Keys) || len(r.M) != e.schema.Measures {
		return ErrPartials
	}
	for i, k := range r.Keys {
		if k.Type != e.schema.Keys[i] || k.Type.Kind == algebra.Text && (len(k.S) > MaxText || !utf8.ValidString(k.S)) {
			return ErrPartials
		}
	}
	for _, m := range r.M {
		if m == nil || m.Cmp(minInt128) < 0 || m.Cmp(maxInt128) > 0 {
			return ErrPartials
		}
	}
	if !e.schema.fitsLists(r) {
		return ErrPartials
	}
	if e.total++; e.total > e.schema.maxRows() {
		return ErrPartials
	}
	e.rows = append(e.rows, r)
	for _, l := range r.Lists {
		e.elements += len(l)
	}
	if len(e.rows) == frameRows || e.elements >= frameElements {
		return e.Flush()
	}
	return nil
}

// Flush emits the rows gathered so far.
func (e *Encoder) Flush() error {
	if len(e.rows) == 0 {
		return nil
	}
	n := len(e.rows)
	out := []byte{frameVersion}
	out = binary.LittleEndian.AppendUint32(out, uint32(n))
	out = binary.LittleEndian.AppendUint16(out, uint16(e.schema.Columns()))
	for k, typ := range e.schema.Keys {
		kind := byte(colInt)
		if typ.Kind == algebra.Text {
			kind = colText
		}
		out = append(out, kind)
		valid := make([]byte, (n+7)/8)
		for i, r := range e.rows {
			if !r.Keys[k].Null {
				valid[i/8] |= 1 << (i % 8)
			}
		}
		out = append(out, valid...)
		for _, r := range e.rows {
			v := r.Keys[k]
			if v.Null {
				v.I, v.S = 0, ""
			}
			if kind == colInt {
				out = binary.LittleEndian.AppendUint64(out, uint64(v.I))
				continue
			}
			out = binary.LittleEndian.AppendUint32(out, uint32(len(v.S)))
			out = append(out, v.S...)
		}
	}
	if e.schema.Grouped() {
		out = append(out, colGroup)
		for _, r := range e.rows {
			out = binary.LittleEndian.AppendUint64(out, uint64(r.Group))
		}
	}
	for m := range e.schema.Measures {
		out = append(out, colMeasure)
		for _, r := range e.rows {
			out = appendInt128(out, r.M[m])
		}
	}
	out = appendLists(out, e.schema, e.rows)
	e.rows, e.elements = e.rows[:0], 0
	return e.emit(out)
}

func appendInt128(out []byte, v *big.Int) []byte {
	if v.Sign() < 0 {
		v = new(big.Int).Add(v, two128)
	}
	var be [16]byte
	v.FillBytes(be[:])
	for i := range 16 {
		out = append(out, be[15-i])
	}
	return out
}

func readInt128(le []byte) *big.Int {
	var be [16]byte
	for i := range 16 {
		be[15-i] = le[i]
	}
	v := new(big.Int).SetBytes(be[:])
	if be[0]&0x80 != 0 {
		v.Sub(v, two128)
	}
	return v
}

// EncodePartials returns p as the frames a worker would send: the cells, then in
// exact mode the grand total.
func EncodePartials(plan *protect.Plan, p protect.Partials) ([][]byte, error) {
	var frames [][]byte
	s := SchemaOf(plan)
	e := NewEncoder(s, func(b []byte) error { frames = append(frames, b); return nil })
	for _, c := range p.Cells {
		if err := e.Add(Row{Keys: c.Keys, M: c.M, Lists: c.Lists}); err != nil {
			return nil, err
		}
	}
	if s.Grouped() {
		if p.Total == nil {
			return nil, ErrPartials
		}
		keys := make([]algebra.Value, len(s.Keys))
		for i, t := range s.Keys {
			keys[i] = algebra.Value{Type: t, Null: true}
		}
		if err := e.Add(Row{Keys: keys, Group: 1<<len(s.Keys) - 1, M: p.Total.M, Lists: make([][]uint64, len(s.Lists))}); err != nil {
			return nil, err
		}
	}
	return frames, e.Flush()
}

// DecodePartials reads a worker's frames strictly against the plan: column count
// and kinds, canonical NULLs, valid UTF-8, no trailing byte, no key twice, at
// most plan.MaxCells cells, and in exact mode exactly one grand total. It never
// allocates more than in proportion to the frames.
func DecodePartials(plan *protect.Plan, frames [][]byte) (protect.Partials, error) {
	d := NewDecoder(SchemaOf(plan))
	for _, f := range frames {
		if err := d.Add(f); err != nil {
			return protect.Partials{}, err
		}
	}
	return d.Finish()
}

// Decoder is DecodePartials frame by frame. It is not safe for concurrent use.
type Decoder struct {
	schema Schema
	out    protect.Partials
	rows   int
	seen   map[string]struct{}
}

// NewDecoder returns a decoder for results of shape s.
func NewDecoder(s Schema) *Decoder { return &Decoder{schema: s, seen: map[string]struct{}{}} }

// cursor reads a frame's bytes; a short read fails without allocating.
type cursor struct{ b []byte }

func (c *cursor) take(n int) ([]byte, bool) {
	if n < 0 || n > len(c.b) {
		return nil, false
	}
	head := c.b[:n]
	c.b = c.b[n:]
	return head, true
}

// Add decodes one frame.
func (d *Decoder) Add(frame []byte) error {
	c := cursor{frame}
	head, ok := c.take(7)
	if !ok || head[0] != frameVersion {
		return fmt.Errorf("%w: frame head", ErrPartials)
	}
	n := int(binary.LittleEndian.Uint32(head[1:]))
	if columns := int(binary.LittleEndian.Uint16(head[5:])); columns != d.schema.Columns() || columns == 0 {
		return fmt.Errorf("%w: column count", ErrPartials)
	}
	// Every column spends at least four bytes on a row.
	if n == 0 || n > len(frame)/4 || d.rows+n > d.schema.maxRows() {
		return fmt.Errorf("%w: row count", ErrPartials)
	}
	d.rows += n
	rows := make([]Row, n)
	for _, typ := range d.schema.Keys {
		if err := decodeKey(&c, typ, rows); err != nil {
			return err
		}
	}
	if d.schema.Grouped() {
		kind, ok := c.take(1)
		data, ok2 := c.take(8 * n)
		if !ok || !ok2 || kind[0] != colGroup {
			return fmt.Errorf("%w: group column", ErrPartials)
		}
		for i := range rows {
			rows[i].Group = int64(binary.LittleEndian.Uint64(data[8*i:]))
		}
	}
	for range d.schema.Measures {
		kind, ok := c.take(1)
		data, ok2 := c.take(16 * n)
		if !ok || !ok2 || kind[0] != colMeasure {
			return fmt.Errorf("%w: measure column", ErrPartials)
		}
		for i := range rows {
			rows[i].M = append(rows[i].M, readInt128(data[16*i:16*i+16]))
		}
	}
	if err := readLists(&c, d.schema, rows); err != nil {
		return err
	}
	if len(c.b) != 0 {
		return fmt.Errorf("%w: trailing bytes", ErrPartials)
	}
	for _, r := range rows {
		if err := d.place(r); err != nil {
			return err
		}
	}
	return nil
}

func decodeKey(c *cursor, typ algebra.Type, rows []Row) error {
	n := len(rows)
	want := byte(colInt)
	if typ.Kind == algebra.Text {
		want = colText
	}
	kind, ok := c.take(1)
	valid, ok2 := c.take((n + 7) / 8)
	if !ok || !ok2 || kind[0] != want {
		return fmt.Errorf("%w: key column", ErrPartials)
	}
	if n%8 != 0 && valid[n/8]>>(n%8) != 0 {
		return fmt.Errorf("%w: validity padding", ErrPartials)
	}
	for i := range rows {
		v := algebra.Value{Type: typ, Null: valid[i/8]>>(i%8)&1 == 0}
		if want == colInt {
			raw, ok := c.take(8)
			if !ok {
				return fmt.Errorf("%w: key column", ErrPartials)
			}
			v.I = int64(binary.LittleEndian.Uint64(raw))
		} else {
			raw, ok := c.take(4)
			if !ok || binary.LittleEndian.Uint32(raw) > MaxText {
				return fmt.Errorf("%w: text length", ErrPartials)
			}
			text, ok := c.take(int(binary.LittleEndian.Uint32(raw)))
			if !ok || !utf8.Valid(text) {
				return fmt.Errorf("%w: text", ErrPartials)
			}
			v.S = string(text)
		}
		if v.Null && (v.I != 0 || v.S != "") || typ.Kind == algebra.Bool && v.I&^1 != 0 {
			return fmt.Errorf("%w: key value", ErrPartials)
		}
		rows[i].Keys = append(rows[i].Keys, v)
	}
	return nil
}

// place files a row as cell or grand total.
func (d *Decoder) place(r Row) error {
	if !d.schema.fitsLists(r) {
		return fmt.Errorf("%w: list column", ErrPartials)
	}
	cell := protect.Cell{Keys: r.Keys, M: r.M, Lists: r.Lists}
	if r.Group != 0 {
		for _, k := range r.Keys {
			if !k.Null {
				return fmt.Errorf("%w: grand total with keys", ErrPartials)
			}
		}
		if !d.schema.Grouped() || d.out.Total != nil {
			return fmt.Errorf("%w: grand total", ErrPartials)
		}
		d.out.Total = &cell
		return nil
	}
	id := make([]byte, 0, 16*len(r.Keys))
	for _, k := range r.Keys {
		if k.Null {
			id = append(id, 0)
			continue
		}
		id = append(id, 1)
		id = binary.LittleEndian.AppendUint64(id, uint64(k.I))
		id = binary.LittleEndian.AppendUint32(id, uint32(len(k.S)))
		id = append(id, k.S...)
	}
	if _, dup := d.seen[string(id)]; dup {
		return fmt.Errorf("%w: a key occurs twice", ErrPartials)
	}
	d.seen[string(id)] = struct{}{}
	if len(d.out.Cells) >= d.schema.MaxCells {
		return fmt.Errorf("%w: too many cells", ErrPartials)
	}
	d.out.Cells = append(d.out.Cells, cell)
	return nil
}

// Finish returns the partials once every frame was added.
func (d *Decoder) Finish() (protect.Partials, error) {
	if d.schema.Exact {
		// Without keys the one cell is the grand total.
		if len(d.schema.Keys) == 0 && len(d.out.Cells) == 1 {
			d.out.Total = &d.out.Cells[0]
		}
		if d.out.Total == nil {
			return protect.Partials{}, fmt.Errorf("%w: no grand total", ErrPartials)
		}
	}
	return d.out, nil
}
