package ingest

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
)

// Row is one row to store. Values are parallel to Spec.StoredColumns; they, their texts
// and Encoded are valid until the sink returns.
type Row struct {
	Unit   uint64 // token; 0 in a public table
	Order  uint64 // secret keyed hash of the row's own content and unit
	Values []Value

	Subject Subject // whose consent the row needs; zero unless Spec.Consent
	// Encoded is Unit and Values in one piece, equal for equal rows only; see Decode.
	Encoded []byte
}

// Sink takes the rows of an ingest.
type Sink interface {
	Add(Row) error
}

// ParallelSink is a Sink that takes rows from several goroutines, in any order, each
// through a sink of its own. Any other Sink gets the rows in the order of the file.
type ParallelSink interface {
	Sink
	Lanes() []Sink // at least one
}

// maxTokens and maxMasked bound the caches; past them values are computed again.
const (
	maxTokens = 4 << 20
	maxMasked = 1 << 16
)

// reader turns raw fields into rows.
type reader struct {
	spec      *Spec
	columns   []column // parallel to spec.Columns
	stored    []Stored
	unit      int // index into spec.Columns, −1 when public
	token     hash.Hash
	tokens    map[string]uint64
	maxTokens int
	rank      hash.Hash
	sink      Sink
	row       Row
	buf       []byte
	sum       [4]uint64
	out       Summary
	first     *Refusal // the first bad row
	read      int64    // rows of the block at hand
	block     int
	// firstBlock is where first was found; its Row counts from there.
	firstBlock int
	unitOps    []int // indexes into stored

	fields                []string
	fieldOf               []int
	clampedNow, othersNow []int // of the row at hand, counted once it is good

	hidden []hidden // parallel to spec.Variants

	subjects *subjects // nil unless spec.Consent
}

// column is a Spec column prepared for the inner loop. The empty field is always
// a NULL; missing holds the further spellings.
type column struct {
	Column
	missing      map[string]bool
	codes        map[string]read // nil: any value
	other        read
	op           Operator
	ints         IntOperator // op when it is one
	stored       algebra.Type
	drop         bool
	masked       map[string]Value
	now          Value // of the row at hand, before the mask
	later        bool  // the operator looks at the unit or at the whole table
	asked, known int   // of masked
}

// read is a field's text as parse reads it.
type read struct {
	Value
	code Code
}

// Ingest reads r in the given format and hands every good row to sink. Bad rows
// are counted and set aside; the error is a *Refusal when the file is not taken.
// progress, if any, is called with the rows read so far. Parquet needs an
// io.ReaderAt and io.Seeker.
func Ingest(ctx context.Context, r io.Reader, format Format, spec *Spec, keys Keys, sink Sink, progress func(rows int64)) (Summary, error) {
	sinks := []Sink{sink}
	if p, ok := sink.(ParallelSink); ok && format != Parquet {
		sinks = p.Lanes()
	}
	g := &ingestion{tick: progress, read: map[int]int64{}}
	for _, s := range sinks {
		in, err := newReader(spec, keys, s)
		if err != nil {
			return Summary{}, err
		}
		in.maxTokens = maxTokens / len(sinks)
		g.lanes = append(g.lanes, in)
	}
	var err error
	switch format {
	case CSV, CSVGzip:
		err = g.readCSV(ctx, r, format == CSVGzip)
	case Parquet:
		err = g.readParquet(ctx, r)
	default:
		err = refuse(CodeUnsupported)
	}
	if err != nil {
		return Summary{}, err
	}
	return g.summary()
}

func newReader(spec *Spec, keys Keys, sink Sink) (*reader, error) {
	stored, err := spec.StoredColumns()
	if err != nil {
		return nil, err
	}
	if len(keys.Rank) < 32 || spec.UnitColumn != "" && len(keys.Unit) < 32 {
		return nil, errors.New("failed to start ingest: keys of at least 32 bytes are needed")
	}
	in := &reader{
		spec: spec, stored: stored, unit: -1, sink: sink, tokens: map[string]uint64{},
		token: hmac.New(sha256.New, keys.Unit), rank: hmac.New(sha256.New, keys.Rank),
		row: Row{Values: make([]Value, len(stored))}, fields: make([]string, len(spec.Columns)), fieldOf: make([]int, len(spec.Columns)),
	}
	for i, c := range stored {
		if m := spec.Columns[c.source].Mask; m != nil && masking.Perturbs(m.Op) && !masking.OfTable(m.Op) {
			in.unitOps = append(in.unitOps, i)
		}
	}
	if len(in.unitOps) > 0 && spec.UnitColumn == "" {
		return nil, errors.New("failed to start ingest: a mask by unit needs a unit column")
	}
	if in.subjects, err = newSubjects(spec, keys); err != nil {
		return nil, err
	}
	in.out.Clamped = make([]int64, len(spec.Columns))
	in.out.Others = make([]int64, len(spec.Columns))
	in.out.BadBy = map[Code]int64{}
	for i, c := range spec.Columns {
		col := column{Column: c, missing: map[string]bool{}, stored: c.Type}
		for _, m := range c.Missing {
			col.missing[m] = true
		}
		if len(c.Codes) > 0 {
			col.codes = map[string]read{}
			for _, code := range append([]string{c.Other}, c.Codes...) {
				col.codes[code] = readAs(c.Type, code)
			}
			if col.other = col.codes[c.Other]; !slices.Contains(c.Codes, c.Other) {
				delete(col.codes, c.Other)
			}
		}
		if strings.EqualFold(c.Name, spec.UnitColumn) {
			in.unit = i
		} else if c.Mask != nil {
			col.op, col.stored, col.drop, err = operator(c, keys.Pseudonym)
			if err != nil {
				return nil, err
			}
			col.ints, _ = col.op.(IntOperator)
			col.later = masking.Perturbs(c.Mask.Op)
			col.masked = map[string]Value{}
		}
		in.columns = append(in.columns, col)
	}
	return in, in.prepareVariants(keys)
}

// bind maps the file's header to the catalogue's columns: the same set, in any
// order, each once. The result maps file field to Spec.Columns index.
func (in *reader) bind(header []string) ([]int, error) {
	fields := make([]int, len(header))
	seen := make([]bool, len(in.columns))
	for f, name := range header {
		at := slices.IndexFunc(in.columns, func(c column) bool { return c.Name == strings.TrimSpace(name) })
		if at < 0 || seen[at] {
			return nil, &Refusal{Code: CodeHeader, Field: f + 1, Column: at}
		}
		seen[at] = true
		fields[f] = at
	}
	if missing := slices.Index(seen, false); missing >= 0 {
		return nil, &Refusal{Code: CodeHeader, Column: missing}
	}
	return fields, nil
}

// bad sets the current row aside.
func (in *reader) bad(code Code, field, column int) {
	in.out.Bad++
	in.out.BadBy[code]++
	if in.first == nil {
		in.first, in.firstBlock = &Refusal{Detail: code, Row: in.read, Field: field, Column: column}, in.block
	}
}

const tickRows = 1 << 16

// take processes one row whose fields are in catalogue order. fieldOf names the
// file's field of a column, for refusals. null, when not nil, marks fields that
// are NULL whatever their text (Parquet).
func (in *reader) take(fields []string, fieldOf []int, null []bool) error {
	in.read++
	in.clampedNow, in.othersNow = in.clampedNow[:0], in.othersNow[:0]
	next := 0
	for i := range in.columns {
		c := &in.columns[i]
		isNull := null != nil && null[i] || fields[i] == "" || len(c.missing) > 0 && c.missing[fields[i]]
		if i == in.unit {
			token, ok := uint64(0), false
			if !isNull {
				token, ok = in.unitToken(fields[i])
			}
			if !ok {
				in.bad(CodeUnit, fieldOf[i]+1, i)
				return nil
			}
			in.row.Unit = token
			in.row.Subject = in.subjects.of(in.spec.UnitKind, token, fields[i])
			continue
		}
		v, code := in.value(i, fields[i], isNull)
		if code != "" {
			in.bad(code, fieldOf[i]+1, i)
			return nil
		}
		if !c.drop {
			in.row.Values[next] = v
			next++
		}
	}
	if i, code := in.hide(next); code != "" {
		in.bad(code, fieldOf[i]+1, i)
		return nil
	}
	if code := in.perUnit(); code != "" {
		in.bad(code, 0, -1)
		return nil
	}
	for _, i := range in.clampedNow {
		in.out.Clamped[i]++
	}
	for _, i := range in.othersNow {
		in.out.Others[i]++
	}
	in.out.Rows++
	in.fingerprint()
	return in.sink.Add(in.row)
}

// value validates, clamps and masks one field.
func (in *reader) value(i int, text string, isNull bool) (Value, Code) {
	c := &in.columns[i]
	if isNull {
		if !c.Nullable {
			return Value{}, CodeNull
		}
		c.now = Value{Null: true}
		return c.now, ""
	}
	var v Value
	var code Code
	if c.codes == nil {
		v, code = parse(c.Type, text)
	} else {
		r, ok := c.codes[text]
		if !ok {
			if c.Other == "" {
				return Value{}, CodeNotCode
			}
			in.othersNow = append(in.othersNow, i)
			r = c.other
		}
		v, code = r.Value, r.code
	}
	if code != "" {
		return Value{}, code
	}
	if b := c.Bounds; b != nil && (v.I < b.Lo || v.I > b.Hi) {
		v.I = min(max(v.I, b.Lo), b.Hi)
		in.clampedNow = append(in.clampedNow, i)
	}
	c.now = v
	if c.op == nil || c.later {
		return v, ""
	}
	return c.under(v)
}

// mask applies the column's operator, remembering answers while they are few.
func (c *column) mask(text string) (Value, Code) {
	// Where most values are new, looking them up costs more than it saves.
	keep := c.asked < maxMasked/4 || c.known*2 > c.asked
	if keep {
		c.asked++
		if v, ok := c.masked[text]; ok {
			c.known++
			return v, ""
		}
	}
	var v Value
	out, null := c.op.Apply(text)
	if null {
		v.Null = true
	} else {
		var code Code
		if v, code = parse(c.stored, out); code != "" {
			return Value{}, code
		}
	}
	if keep && len(c.masked) < maxMasked {
		// What is remembered must not hold the whole line it was cut from.
		v.S = strings.Clone(v.S)
		c.masked[strings.Clone(text)] = v
	}
	return v, ""
}

// unitToken is HMAC-SHA-256(unit key, kind ‖ 0 ‖ canonical identifier), cut to 64
// bits. Each distinct spelling is computed once.
func (in *reader) unitToken(text string) (uint64, bool) {
	if !in.spec.OneRow {
		if t, ok := in.tokens[text]; ok {
			return t, true
		}
	}
	canonical, ok := CanonicalUnit(in.spec.UnitKind, text)
	if !ok {
		return 0, false
	}
	in.buf = append(append(append(in.buf[:0], in.spec.UnitKind...), 0), canonical...)
	t := tokenOf(in.token, in.buf)
	// Where each unit has one row, none is met again.
	if !in.spec.OneRow && len(in.tokens) < in.maxTokens {
		in.tokens[strings.Clone(text)] = t
	}
	return t, true
}

// fingerprint computes the row's keyed hash over unit and stored content. Its
// head orders the row inside its unit, so the order depends on the unit's own
// rows and on nothing an outsider can compute; the sum of all hashes modulo
// 2^256 identifies the content whatever order the file had.
func (in *reader) fingerprint() {
	b := binary.BigEndian.AppendUint64(in.row.Encoded[:0], in.row.Unit)
	for i := range in.row.Values {
		v := &in.row.Values[i]
		switch {
		case v.Null:
			b = append(b, 0)
		case in.stored[i].Type.Kind == algebra.Text:
			b = binary.BigEndian.AppendUint32(append(b, 2), uint32(len(v.S)))
			b = append(b, v.S...)
		default:
			b = binary.BigEndian.AppendUint64(append(b, 1), uint64(v.I))
		}
	}
	in.row.Encoded = b
	in.rank.Reset()
	_, _ = in.rank.Write(b)
	in.buf = in.rank.Sum(in.buf[:0])
	in.row.Order = binary.BigEndian.Uint64(in.buf)
	var h [4]uint64
	for w := range h {
		h[w] = binary.BigEndian.Uint64(in.buf[8*w:])
	}
	addTo(&in.sum, &h)
}

// Cell is one stored value of an encoded row.
type Cell struct {
	Number   int64 // of every kind but text
	At, Size int   // of a text in the row; Size is −1 for NULL
}

// Decode fills cells with the stored values of an encoded row. It reports whether row
// is a whole row of so many values.
func Decode(row []byte, cells []Cell) bool {
	at := 8
	for i := range cells {
		if at >= len(row) {
			return false
		}
		kind := row[at]
		at++
		switch {
		case kind == 0:
			cells[i] = Cell{Size: -1}
		case kind == 1 && at+8 <= len(row):
			cells[i] = Cell{Number: int64(binary.BigEndian.Uint64(row[at:]))}
			at += 8
		case kind == 2 && at+4 <= len(row):
			size := int(binary.BigEndian.Uint32(row[at:]))
			at += 4
			if size > len(row)-at {
				return false
			}
			cells[i] = Cell{At: at, Size: size}
			at += size
		default:
			return false
		}
	}
	return at == len(row)
}
