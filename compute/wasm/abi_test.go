package wasm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"
)

func mixed(rows int) (Batch, Signature) {
	sig := Signature{Inputs: []Type{Int64, Text, Float64}, Outputs: []Type{Float64, Int64}}
	b := Batch{Rows: rows, Columns: []Column{{Type: Int64}, {Type: Text}, {Type: Float64}}}
	for i := range b.Columns {
		b.Columns[i].Valid = make([]bool, rows)
	}
	for r := range rows {
		b.Columns[0].Ints = append(b.Columns[0].Ints, int64(r)*7-3)
		b.Columns[1].Texts = append(b.Columns[1].Texts, strings.Repeat("字", r%5))
		b.Columns[2].Floats = append(b.Columns[2].Floats, math.Float64frombits(0x7ff0000000000001+uint64(r))) // NaNs
		for i := range b.Columns {
			b.Columns[i].Valid[r] = (r+i)%3 != 0
		}
	}
	return b, sig
}

// TestBlockLayout reads a block the way docs/wasm.md tells a guest to.
func TestBlockLayout(t *testing.T) {
	for _, rows := range []int{1, 7, 8, 9, 64, 1000} {
		b, sig := mixed(rows)
		block, err := EncodeBlock(b, sig)
		if err != nil {
			t.Fatal(err)
		}
		const base = 4096
		memory := append(make([]byte, base), block...)
		rebase(memory[base:], 5, base)
		word := func(at uint32) uint32 { return binary.LittleEndian.Uint32(memory[at:]) }
		if word(base) != 1 || word(base+4) != uint32(rows) || word(base+8) != 3 || word(base+12) != 2 || word(base+16) != uint32(len(block)) {
			t.Fatalf("head %x", memory[base:base+32])
		}
		for i, kind := range []uint32{1, 3, 2, 0x102, 0x101} {
			d := uint32(base + 32 + 16*i)
			validity, data, offsets := word(d+4), word(d+8), word(d+12)
			if word(d) != kind || validity%8 != 0 || i != 1 && (data%8 != 0 || offsets != 0) {
				t.Fatalf("column %d: %x %x %x %x", i, word(d), validity, data, offsets)
			}
			for r := range uint32(rows) {
				valid := memory[validity+r/8]>>(r%8)&1 != 0
				if i >= 3 {
					if !valid || binary.LittleEndian.Uint64(memory[data+8*r:]) != 0 {
						t.Fatalf("output %d row %d is not zero and valid", i, r)
					}
					continue
				}
				if valid != b.Columns[i].Valid[r] {
					t.Fatalf("column %d row %d: validity %v", i, r, valid)
				}
				var got, want string
				switch {
				case i == 1:
					got = string(memory[data+word(offsets+4*r) : data+word(offsets+4*r+4)])
					want = b.Columns[1].Texts[r]
				case i == 0:
					got, want = fmt.Sprint(int64(binary.LittleEndian.Uint64(memory[data+8*r:]))), fmt.Sprint(b.Columns[0].Ints[r])
				default:
					got, want = fmt.Sprintf("%x", binary.LittleEndian.Uint64(memory[data+8*r:])), "7ff8000000000000"
				}
				if !valid {
					want = map[int]string{0: "0", 1: "", 2: "0"}[i]
				}
				if got != want {
					t.Fatalf("column %d row %d: %q, want %q", i, r, got, want)
				}
			}
			for r := rows; r < 8*bitmapBytes(rows); r++ {
				if memory[int(validity)+r/8]>>(r%8)&1 != 0 {
					t.Fatalf("column %d: a bit past the last row is set", i)
				}
			}
		}
	}
}

func TestBatchesThatDoNotFit(t *testing.T) {
	good, sig := mixed(10)
	for name, change := range map[string]func(*Batch, *Signature){
		"no rows":           func(b *Batch, _ *Signature) { b.Rows = 0 },
		"too many rows":     func(b *Batch, s *Signature) { *b, *s = ones(MaxRows+1), Signature{[]Type{Float64}, []Type{Int64}} },
		"a column less":     func(b *Batch, _ *Signature) { b.Columns = b.Columns[:2] },
		"another type":      func(b *Batch, _ *Signature) { b.Columns[0].Type = Float64 },
		"a short column":    func(b *Batch, _ *Signature) { b.Columns[0].Ints = b.Columns[0].Ints[:9] },
		"short validity":    func(b *Batch, _ *Signature) { b.Columns[2].Valid = b.Columns[2].Valid[:9] },
		"unknown type":      func(b *Batch, s *Signature) { b.Columns[0].Type, s.Inputs[0] = 9, 9 },
		"text as output":    func(_ *Batch, s *Signature) { s.Outputs[0] = Text },
		"no output":         func(_ *Batch, s *Signature) { s.Outputs = nil },
		"too many outputs":  func(_ *Batch, s *Signature) { s.Outputs = make([]Type, 17) },
		"too much text":     func(b *Batch, _ *Signature) { b.Columns[1].Texts[1] = strings.Repeat("x", MaxBlock) },
		"broken text":       func(b *Batch, _ *Signature) { b.Columns[1].Texts[1] = "\xc3\x28" },
		"a little too much": func(b *Batch, _ *Signature) { b.Columns[1].Texts[1] = strings.Repeat("x", MaxBlock-64) },
	} {
		b := Batch{Rows: good.Rows}
		for _, c := range good.Columns {
			c.Texts = append([]string(nil), c.Texts...)
			b.Columns = append(b.Columns, c)
		}
		s := Signature{append([]Type(nil), sig.Inputs...), append([]Type(nil), sig.Outputs...)}
		change(&b, &s)
		if block, err := EncodeBlock(b, s); err == nil {
			t.Errorf("%s: encoded in %d bytes", name, len(block))
		}
	}
	for _, n := range []int{1, 5, 64} {
		s := Signature{make([]Type, n), make([]Type, 16)}
		for i := range s.Inputs {
			s.Inputs[i] = Float64
		}
		for i := range s.Outputs {
			s.Outputs[i] = Float64
		}
		b := Batch{Rows: s.BatchRows()}
		for range n {
			b.Columns = append(b.Columns, Column{Type: Float64, Floats: make([]float64, b.Rows)})
		}
		if block, err := EncodeBlock(b, s); err != nil || len(block) > MaxBlock-BatchText {
			t.Errorf("%d columns: a batch of the proposed size takes %d bytes, %v", n, len(block), err)
		}
	}
}

// FuzzBlock: the worker's reader of blocks accepts what EncodeBlock writes and
// only what is inside the block.
func FuzzBlock(f *testing.F) {
	sig := Signature{Inputs: []Type{Int64, Text, Float64}, Outputs: []Type{Float64, Int64}}
	for _, rows := range []int{1, 8, 9, 100} {
		b, _ := mixed(rows)
		block, err := EncodeBlock(b, sig)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(block)
	}
	f.Fuzz(func(t *testing.T, block []byte) {
		rows, outputs, ok := parseBlock(block, sig)
		if !ok {
			return
		}
		for _, p := range outputs {
			if p.data+8*rows > len(block) || p.validity+bitmapBytes(rows) > p.data {
				t.Fatalf("%+v of %d bytes", p, len(block))
			}
		}
		// What is accepted can be scored by a guest that does nothing.
		scores, _ := collectScores(nil, block, rows, outputs)
		if _, err := DecodeScores(scores, rows, sig.Outputs); err != nil {
			t.Fatal(err)
		}
	})
}

func TestBlocksAreRead(t *testing.T) {
	for _, rows := range []int{1, 8, 9, 1000} {
		b, sig := mixed(rows)
		block, err := EncodeBlock(b, sig)
		if err != nil {
			t.Fatal(err)
		}
		if n, outputs, ok := parseBlock(block, sig); !ok || n != rows || len(outputs) != 2 {
			t.Errorf("%d rows: %d %v %v", rows, n, outputs, ok)
		}
		if _, _, ok := parseBlock(block, Signature{sig.Inputs, []Type{Float64}}); ok {
			t.Error("a block of another signature is read")
		}
		for i := range headBytes + 5*descriptorBytes {
			other := bytes.Clone(block)
			other[i] ^= 1
			if _, _, ok := parseBlock(other, sig); ok {
				t.Errorf("%d rows: a block with byte %d changed is read", rows, i)
			}
		}
	}
}

// FuzzScores: a frame from a worker is decoded or refused, and what is decoded
// is exactly what the frame holds.
func FuzzScores(f *testing.F) {
	types := []Type{Float64, Int64}
	for _, rows := range []int{1, 8, 9} {
		b, sig := mixed(rows)
		block, err := EncodeBlock(b, sig)
		if err != nil {
			f.Fatal(err)
		}
		_, outputs, _ := parseBlock(block, sig)
		for i := outputs[0].data; i < len(block); i++ {
			block[i] = 0xff
		}
		scores, _ := collectScores(nil, block, rows, outputs)
		f.Add(scores, rows)
	}
	f.Add([]byte{}, 0)
	f.Add(make([]byte, 2*16), -1)
	f.Fuzz(func(t *testing.T, frame []byte, rows int) {
		columns, err := DecodeScores(frame, rows, types)
		if err != nil {
			return
		}
		var again []byte
		for i := range columns {
			c := &columns[i]
			bits := make([]byte, bitmapBytes(rows))
			fillBits(bits, c.Valid, rows)
			values := make([]byte, 8*rows)
			putValues(values, c)
			again = append(append(again, bits...), values...)
		}
		if !bytes.Equal(again, frame) {
			t.Fatal("decoding lost something")
		}
	})
}

func TestScoresInAnotherFormAreRefused(t *testing.T) {
	const rows = 3
	good := make([]byte, 16)
	good[0] = 0b101
	for name, c := range map[string]struct {
		change func([]byte) []byte
		types  []Type
		ok     bool
	}{
		"good":                     {func(b []byte) []byte { return b }, []Type{Float64}, true},
		"short":                    {func(b []byte) []byte { return b[:31] }, []Type{Float64}, false},
		"long":                     {func(b []byte) []byte { return append(b, 0) }, []Type{Float64}, false},
		"a bit past the end":       {func(b []byte) []byte { b[0] |= 8; return b }, []Type{Float64}, false},
		"a value without validity": {func(b []byte) []byte { b[16] = 1; return b }, []Type{Float64}, false},
		"another NaN":              {func(b []byte) []byte { copy(b[8:], bytes.Repeat([]byte{0xff}, 8)); return b }, []Type{Float64}, false},
		"that as an integer":       {func(b []byte) []byte { copy(b[8:], bytes.Repeat([]byte{0xff}, 8)); return b }, []Type{Int64}, true},
		"text":                     {func(b []byte) []byte { return b }, []Type{Text}, false},
	} {
		frame := append(bytes.Clone(good[:8]), make([]byte, 8*rows)...)
		if _, err := DecodeScores(c.change(frame), rows, c.types); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
