package wasm

import (
	"encoding/binary"
	"errors"
	"math"
	"unicode/utf8"
)

// ABIVersion is what the export sandgate_abi must answer.
const ABIVersion = 1

// Type of a column in linear memory; the numbers are the ABI's.
type Type uint32

// Types of columns. Text is for inputs only.
const (
	Int64   Type = 1 // 8 bytes, little-endian
	Float64 Type = 2 // 8 bytes, IEEE 754; every NaN is 0x7ff8000000000000
	Text    Type = 3 // UTF-8 bytes, with row offsets beside
)

// outputBit marks an output in what sandgate_column answers.
const outputBit = 0x100

// String names the type as documents and messages do.
func (t Type) String() string {
	switch t {
	case Int64:
		return "i64"
	case Float64:
		return "f64"
	case Text:
		return "utf8"
	}
	return "unknown"
}

// Bounds of the ABI.
const (
	MaxInputs  = 64
	MaxOutputs = 16
	// MaxRows of one batch.
	MaxRows = 65536
	// MaxBlock is the longest batch in linear memory, in bytes.
	MaxBlock = 12 << 20
)

const (
	headBytes       = 32
	descriptorBytes = 16
	canonicalNaN    = 0x7ff8000000000000
)

// Signature is what a module takes and gives, in order.
type Signature struct {
	Inputs, Outputs []Type
}

// check says whether a signature is within the ABI.
func (s Signature) check() bool {
	if len(s.Inputs) == 0 || len(s.Inputs) > MaxInputs || len(s.Outputs) == 0 || len(s.Outputs) > MaxOutputs {
		return false
	}
	for _, t := range s.Inputs {
		if t != Int64 && t != Float64 && t != Text {
			return false
		}
	}
	for _, t := range s.Outputs {
		if t != Int64 && t != Float64 {
			return false
		}
	}
	return true
}

// BatchRows is how many rows a batch should have, so that it stays well below
// MaxBlock with up to 4 MiB of text.
func (s Signature) BatchRows() int {
	return max(1, min(MaxRows, (7<<20)/(9*(len(s.Inputs)+len(s.Outputs)))))
}

// BatchText is how much text in all a batch should hold, in bytes.
const BatchText = 4 << 20

// Column holds one column of a batch: the slice of its type, one value per row.
type Column struct {
	Type   Type
	Ints   []int64
	Floats []float64
	Texts  []string
	// Valid says which rows have a value; nil means all. The value of a row
	// without one is not looked at.
	Valid []bool
}

// rows is the length of the slice of the column's type.
func (c *Column) rows() int {
	switch c.Type {
	case Int64:
		return len(c.Ints)
	case Float64:
		return len(c.Floats)
	case Text:
		return len(c.Texts)
	}
	return -1
}

func (c *Column) valid(row int) bool { return c.Valid == nil || c.Valid[row] }

// Batch is rows of a module's input columns.
type Batch struct {
	Rows    int
	Columns []Column
}

func pad8(n int) int { return (n + 7) &^ 7 }

func bitmapBytes(rows int) int { return pad8((rows + 7) / 8) }

var (
	errBatchShape = errors.New("failed to encode batch: its columns do not fit the module's signature or each other")
	errBatchText  = errors.New("failed to encode batch: a text is not UTF-8")
	errBatchSize  = errors.New("failed to encode batch: it is larger than the block limit")
)

// EncodeBlock lays a batch out as a module finds it, with addresses counted from
// the block's own start and outputs zeroed and valid. Missing values are zero or
// empty, NaNs canonical. It fails for a batch that does not fit sig, is over MaxRows
// or MaxBlock, or has a text that is not UTF-8.
func EncodeBlock(b Batch, sig Signature) ([]byte, error) {
	if !sig.check() || b.Rows < 1 || b.Rows > MaxRows || len(b.Columns) != len(sig.Inputs) {
		return nil, errBatchShape
	}
	size := headBytes + descriptorBytes*(len(sig.Inputs)+len(sig.Outputs))
	for i := range b.Columns {
		c := &b.Columns[i]
		if c.Type != sig.Inputs[i] || c.rows() != b.Rows || c.Valid != nil && len(c.Valid) != b.Rows {
			return nil, errBatchShape
		}
		size += bitmapBytes(b.Rows)
		if c.Type != Text {
			size += 8 * b.Rows
			continue
		}
		text := 0
		for r, s := range c.Texts {
			if c.valid(r) {
				text += len(s)
				if !utf8.ValidString(s) {
					return nil, errBatchText
				}
			}
			if text > MaxBlock {
				return nil, errBatchSize
			}
		}
		size += pad8(4*(b.Rows+1)) + pad8(text)
	}
	size += len(sig.Outputs) * (bitmapBytes(b.Rows) + 8*b.Rows)
	if size > MaxBlock {
		return nil, errBatchSize
	}
	block := make([]byte, size)
	le := binary.LittleEndian
	le.PutUint32(block[0:], ABIVersion)
	le.PutUint32(block[4:], uint32(b.Rows))
	le.PutUint32(block[8:], uint32(len(sig.Inputs)))
	le.PutUint32(block[12:], uint32(len(sig.Outputs)))
	le.PutUint32(block[16:], uint32(size))
	at := headBytes + descriptorBytes*(len(sig.Inputs)+len(sig.Outputs))
	describe := func(i int, t uint32, validity, data, offsets int) {
		d := block[headBytes+descriptorBytes*i:]
		le.PutUint32(d[0:], t)
		le.PutUint32(d[4:], uint32(validity))
		le.PutUint32(d[8:], uint32(data))
		le.PutUint32(d[12:], uint32(offsets))
	}
	for i := range b.Columns {
		c := &b.Columns[i]
		validity := at
		fillBits(block[at:], c.Valid, b.Rows)
		at += bitmapBytes(b.Rows)
		if c.Type == Text {
			offsets := at
			at += pad8(4 * (b.Rows + 1))
			text := at
			for r, s := range c.Texts {
				if c.valid(r) {
					at += copy(block[at:], s)
				}
				le.PutUint32(block[offsets+4*(r+1):], uint32(at-text))
			}
			at = pad8(at)
			describe(i, uint32(c.Type), validity, text, offsets)
			continue
		}
		putValues(block[at:at+8*b.Rows], c)
		describe(i, uint32(c.Type), validity, at, 0)
		at += 8 * b.Rows
	}
	for i, t := range sig.Outputs {
		fillBits(block[at:], nil, b.Rows)
		data := at + bitmapBytes(b.Rows)
		describe(len(sig.Inputs)+i, outputBit|uint32(t), at, data, 0)
		at = data + 8*b.Rows
	}
	return block, nil
}

func putValues(dst []byte, c *Column) {
	le := binary.LittleEndian
	if c.Type == Int64 {
		for r, v := range c.Ints {
			if c.valid(r) {
				le.PutUint64(dst[8*r:], uint64(v))
			}
		}
		return
	}
	for r, v := range c.Floats {
		if c.valid(r) {
			le.PutUint64(dst[8*r:], floatBits(v))
		}
	}
}

// floatBits are the bits of a number, with one spelling of NaN.
func floatBits(v float64) uint64 {
	if v != v {
		return canonicalNaN
	}
	return math.Float64bits(v)
}

// fillBits writes a validity bitmap; bits past the last row stay zero.
func fillBits(dst []byte, valid []bool, rows int) {
	if valid == nil {
		for i := range rows / 8 {
			dst[i] = 0xff
		}
		if rows%8 != 0 {
			dst[rows/8] = 1<<(rows%8) - 1
		}
		return
	}
	for r, v := range valid {
		if v {
			dst[r/8] |= 1 << (r % 8)
		}
	}
}

// place is where a column lies in a block.
type place struct {
	kind                    uint32
	validity, data, offsets int
}

// parseBlock reads a block as EncodeBlock wrote it and accepts nothing else: it
// gives the worker the places of the outputs.
func parseBlock(block []byte, sig Signature) (rows int, outputs []place, ok bool) {
	if len(block) < headBytes || len(block) > MaxBlock {
		return 0, nil, false
	}
	le := binary.LittleEndian
	word := func(at int) uint64 { return uint64(le.Uint32(block[at:])) }
	rows = int(word(4))
	if word(0) != ABIVersion || rows < 1 || rows > MaxRows || word(8) != uint64(len(sig.Inputs)) || word(12) != uint64(len(sig.Outputs)) ||
		word(16) != uint64(len(block)) || word(20) != 0 || word(24) != 0 || word(28) != 0 {
		return 0, nil, false
	}
	at := headBytes + descriptorBytes*(len(sig.Inputs)+len(sig.Outputs))
	if at > len(block) {
		return 0, nil, false
	}
	for i := range len(sig.Inputs) + len(sig.Outputs) {
		d := headBytes + descriptorBytes*i
		p := place{kind: le.Uint32(block[d:]), validity: int(word(d + 4)), data: int(word(d + 8)), offsets: int(word(d + 12))}
		want := place{validity: at}
		at += bitmapBytes(rows)
		if i < len(sig.Inputs) {
			want.kind = uint32(sig.Inputs[i])
		} else {
			want.kind = outputBit | uint32(sig.Outputs[i-len(sig.Inputs)])
		}
		if want.kind == uint32(Text) {
			want.offsets = at
			at += pad8(4 * (rows + 1))
			if at > len(block) {
				return 0, nil, false
			}
			want.data = at
			text, fits := textLength(block[want.offsets:at], rows)
			if !fits {
				return 0, nil, false
			}
			at = pad8(at + text)
		} else {
			want.data = at
			at += 8 * rows
		}
		if p != want || at > len(block) {
			return 0, nil, false
		}
		if i >= len(sig.Inputs) {
			outputs = append(outputs, p)
		}
	}
	return rows, outputs, at == len(block)
}

// textLength checks that offsets start at zero and never fall, and returns the
// last.
func textLength(offsets []byte, rows int) (int, bool) {
	last := uint32(0)
	for r := range rows + 1 {
		next := binary.LittleEndian.Uint32(offsets[4*r:])
		if next < last || r == 0 && next != 0 || next > MaxBlock {
			return 0, false
		}
		last = next
	}
	return int(last), true
}

// rebase turns addresses counted from the block's start into ones of linear
// memory.
func rebase(block []byte, columns int, base uint32) {
	le := binary.LittleEndian
	for i := range columns {
		d := block[headBytes+descriptorBytes*i:]
		le.PutUint32(d[4:], le.Uint32(d[4:])+base)
		le.PutUint32(d[8:], le.Uint32(d[8:])+base)
		if offsets := le.Uint32(d[12:]); offsets != 0 {
			le.PutUint32(d[12:], offsets+base)
		}
	}
}
