package wasm

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// leb is unsigned LEB128.
func leb(n uint32) []byte { return binary.AppendUvarint(nil, uint64(n)) }

// sleb is signed LEB128.
func sleb(n int64) []byte {
	var out []byte
	for {
		b := byte(n & 0x7f)
		n >>= 7
		if n == 0 && b&0x40 == 0 || n == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func section(id byte, body []byte) []byte { return join([]byte{id}, leb(uint32(len(body))), body) }

func vector(items ...[]byte) []byte { return join(leb(uint32(len(items))), join(items...)) }

func name(s string) []byte { return join(leb(uint32(len(s))), []byte(s)) }

// Instructions.
var (
	i32const    = func(n int64) []byte { return join([]byte{0x41}, sleb(n)) }
	i64const    = func(n int64) []byte { return join([]byte{0x42}, sleb(n)) }
	get         = func(local uint32) []byte { return join([]byte{0x20}, leb(local)) }
	call        = func(f uint32) []byte { return join([]byte{0x10}, leb(f)) }
	drop        = []byte{0x1a}
	unreachable = []byte{0x00}
	endless     = []byte{0x03, 0x40, 0x0c, 0x00, 0x0b, 0x00} // loop br 0 end unreachable
	loadRows    = join(get(0), []byte{0x28, 2, 4})           // i32.load offset=4
	// outputData is the address of the first output's values of a module with
	// one input: the second descriptor's third word.
	outputData = join(get(0), []byte{0x28, 2, 32 + 16 + 8})
	store64    = []byte{0x37, 3, 0}
)

func body(code []byte) []byte { return bodyWith([]byte{0}, code) }

func bodyWith(locals, code []byte) []byte {
	b := join(locals, code, []byte{0x0b})
	return join(leb(uint32(len(b))), b)
}

// assembly is a module: f64 → f64 unless it says otherwise, which answers every
// question properly and scores zeros.
type assembly struct {
	memory                           []byte // body of the memory section
	abi, column, alloc, score, init  []byte // code, without the last end
	extra                            [][]byte
	imports, start, table, elem, raw []byte // bodies of sections; raw: whole sections at the end
	exports                          [][]byte
	types                            [][]byte
	functions                        [][]byte // replaces the function section's items
	locals                           []byte   // of _initialize
	same                             [][]byte // more bodies, of _initialize's type
}

func exportOf(s string, kind byte, index uint32) []byte {
	return join(name(s), []byte{kind}, leb(index))
}

// assemble puts the module together. Functions: 0 abi, 1 column, 2 alloc, 3
// score, 4 _initialize, then extra ones of type i32 → i32.
func assemble(change func(*assembly)) []byte {
	a := &assembly{
		memory: []byte{1, 1, 3, 16},
		abi:    i32const(1),
		column: join(get(0), []byte{0x45, 0x04, 0x7f}, i32const(2), []byte{0x05}, get(0), i32const(1), []byte{0x46, 0x04, 0x7f}, i32const(0x102), []byte{0x05}, i32const(0), []byte{0x0b, 0x0b}),
		alloc:  i32const(65536),
		score:  loadRows,
		exports: [][]byte{
			exportOf("memory", 2, 0), exportOf("sandgate_abi", 0, 0), exportOf("sandgate_column", 0, 1), exportOf("sandgate_alloc", 0, 2),
			exportOf("sandgate_score", 0, 3), exportOf("_initialize", 0, 4),
		},
		types: [][]byte{{0x60, 0, 1, 0x7f}, {0x60, 1, 0x7f, 1, 0x7f}, {0x60, 0, 0}},
	}
	a.locals = []byte{0}
	if change != nil {
		change(a)
	}
	functions := [][]byte{{0}, {1}, {1}, {1}, {2}}
	bodies := [][]byte{body(a.abi), body(a.column), body(a.alloc), body(a.score), bodyWith(a.locals, a.init)}
	for _, code := range a.extra {
		functions = append(functions, []byte{1})
		bodies = append(bodies, body(code))
	}
	for _, b := range a.same {
		functions, bodies = append(functions, []byte{2}), append(bodies, b)
	}
	if a.functions != nil {
		functions = a.functions
	}
	out := join([]byte("\x00asm\x01\x00\x00\x00"), section(1, vector(a.types...)))
	if a.imports != nil {
		out = append(out, section(2, a.imports)...)
	}
	out = append(out, section(3, vector(functions...))...)
	if a.table != nil {
		out = append(out, section(4, a.table)...)
	}
	if a.memory != nil {
		out = append(out, section(5, a.memory)...)
	}
	out = append(out, section(7, vector(a.exports...))...)
	if a.start != nil {
		out = append(out, section(8, a.start)...)
	}
	if a.elem != nil {
		out = append(out, section(9, a.elem)...)
	}
	return join(out, section(10, vector(bodies...)), a.raw)
}

// without removes an export.
func (a *assembly) without(s string) {
	a.exports = slices.DeleteFunc(a.exports, func(e []byte) bool { return bytes.HasPrefix(e, name(s)) })
}
