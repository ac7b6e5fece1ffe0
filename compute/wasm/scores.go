package wasm

import (
	"encoding/binary"
	"errors"
	"math"
)

var errScores = errors.New("failed to decode scores: the frame does not have the length and form of this batch's outputs")

// collectScores copies the outputs a module left in a block in linear memory
// into dst, in the one form they may have: bits past the last row and values of
// rows without a score are zero, every NaN is canonical. It returns how many
// scores are NaN.
func collectScores(dst, block []byte, rows int, outputs []place) (scores []byte, nans int) {
	le := binary.LittleEndian
	bitmap := bitmapBytes(rows)
	for _, p := range outputs {
		from := len(dst)
		dst = append(dst, block[p.validity:p.validity+bitmap]...)
		bits := dst[from:]
		if rows%8 != 0 {
			bits[rows/8] &= 1<<(rows%8) - 1
		}
		clear(bits[(rows+7)/8:])
		from = len(dst)
		dst = append(dst, block[p.data:p.data+8*rows]...)
		values := dst[from:]
		bits = dst[from-bitmap : from]
		float := p.kind == outputBit|uint32(Float64)
		for r := range rows {
			v := values[8*r : 8*r+8]
			switch {
			case bits[r/8]>>(r%8)&1 == 0:
				clear(v)
			case float:
				if w := le.Uint64(v); w&^(1<<63) > 0x7ff0000000000000 {
					le.PutUint64(v, canonicalNaN)
					nans++
				}
			}
		}
	}
	return dst, nans
}

// DecodeScores reads the scores of one batch. The frame comes out of a worker
// that ran foreign code and may hold anything: everything but the exact form
// that collectScores gives is an error.
func DecodeScores(frame []byte, rows int, outputs []Type) ([]Column, error) {
	if rows < 1 || rows > MaxRows || len(outputs) > MaxOutputs || len(frame) != len(outputs)*(bitmapBytes(rows)+8*rows) {
		return nil, errScores
	}
	le := binary.LittleEndian
	columns := make([]Column, len(outputs))
	for i, t := range outputs {
		bits, values := frame[:bitmapBytes(rows)], frame[bitmapBytes(rows):bitmapBytes(rows)+8*rows]
		frame = frame[bitmapBytes(rows)+8*rows:]
		for b := rows; b < 8*len(bits); b++ {
			if bits[b/8]>>(b%8)&1 != 0 {
				return nil, errScores
			}
		}
		c := Column{Type: t}
		switch t {
		case Int64:
			c.Ints = make([]int64, rows)
		case Float64:
			c.Floats = make([]float64, rows)
		default:
			return nil, errScores
		}
		for r := range rows {
			w := le.Uint64(values[8*r:])
			valid := bits[r/8]>>(r%8)&1 != 0
			if !valid && c.Valid == nil {
				c.Valid = make([]bool, rows)
				for k := range r {
					c.Valid[k] = true
				}
			}
			if c.Valid != nil {
				c.Valid[r] = valid
			}
			if !valid && w != 0 {
				return nil, errScores
			}
			if t == Int64 {
				c.Ints[r] = int64(w)
				continue
			}
			c.Floats[r] = math.Float64frombits(w)
			if c.Floats[r] != c.Floats[r] && w != canonicalNaN {
				return nil, errScores
			}
		}
		columns[i] = c
	}
	return columns, nil
}
