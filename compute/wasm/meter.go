package wasm

import (
	"bytes"
	"encoding/binary"

	"github.com/sandgate/sandgate/policies"
)

// Meter gives a module that Check accepted a counter of instructions: an instance that
// has executed fuel of them traps. What a module can do with one row is bounded that
// way by the row alone, and not by a clock, whose verdict on one row would depend on
// those beside it.
//
// The counter is one global more. A function's entry takes off what stands in its body
// outside loops, and its locals; each turn of a loop what stands in the loop outside
// inner ones: nothing is executed that was not taken off before. Bulk instructions take
// off an eighth of their length as well. The counter's index is refused to the module.
func Meter(module []byte, fuel int64) ([]byte, *policies.Reason) {
	m := &meter{r: reader{b: module, at: 8}}
	globals, placed := uint32(0), false
	out := append([]byte(nil), module[:min(8, len(module))]...)
	for m.r.bad == "" && m.r.at < len(module) {
		id := m.r.byte()
		body := m.r.take(int(m.r.u32()))
		if m.r.bad != "" {
			break
		}
		if !placed && id != 0 && sectionOrder[id] >= sectionOrder[6] {
			placed = true
			var rest []byte
			if id == 6 {
				g := reader{b: body}
				globals = g.u32()
				rest = body[g.at:]
			}
			m.counter, m.length = globals, globals+1
			section := binary.AppendUvarint(nil, uint64(globals+2))
			section = append(section, rest...)
			section = append(section, 0x7e, 1, opI64Const)
			section = append(appendSigned(section, fuel), opEnd)
			section = append(section, 0x7f, 1, opI32Const, 0, opEnd)
			out = appendSection(out, 6, section)
			if id == 6 {
				continue
			}
		}
		if id == 10 {
			body = m.code(body)
			if m.r.bad != "" {
				break
			}
		}
		out = appendSection(out, id, body)
	}
	if no := m.r.fault(); no != nil {
		return nil, no
	}
	return out, nil
}

// Instructions that are written or looked for.
const (
	opUnreachable = 0x00
	opLoop        = 0x03
	opIf          = 0x04
	opEnd         = 0x0b
	opGlobalGet   = 0x23
	opGlobalSet   = 0x24
	opI32Const    = 0x41
	opI64Const    = 0x42
	opBulk        = 0xfc
	opVector      = 0xfd
	void          = 0x40
)

type meter struct {
	r       reader
	counter uint32 // global that holds what is left
	length  uint32 // global that holds the length of a bulk instruction
}

// code rewrites the code section.
func (m *meter) code(section []byte) []byte {
	r := &reader{b: section}
	n := r.u32()
	out := binary.AppendUvarint(nil, uint64(n))
	for range n {
		body := r.take(int(r.u32()))
		if r.bad != "" {
			m.r.fail(r.bad)
			return nil
		}
		text := m.function(body)
		out = append(binary.AppendUvarint(out, uint64(len(text))), text...)
	}
	return out
}

// function rewrites one: it is walked twice, to learn what each loop costs and to
// write the charges down.
func (m *meter) function(body []byte) []byte {
	r := &reader{b: body}
	locals := int64(0)
	for range r.u32() {
		locals += int64(r.u32())
		r.byte()
		if r.bad != "" {
			m.r.fail(r.bad)
			return nil
		}
	}
	start := r.at
	costs := m.costs(body[start:])
	if costs == nil {
		return nil
	}
	costs[0] += 1 + locals
	out := bytes.NewBuffer(append([]byte(nil), body[:start]...))
	out.Write(m.charge(costs[0]))
	loop := 0
	m.walk(body[start:], func(text []byte, op byte, sub uint32) {
		if op == opBulk && sub >= 8 && sub != 9 && sub != 13 && sub != 15 && sub != 16 {
			out.Write(m.bulk())
		}
		out.Write(text)
		if op == opLoop {
			loop++
			out.Write(m.charge(costs[loop]))
		}
	})
	return out.Bytes()
}

// costs counts a body's instructions: outside loops, and in each loop in the order of
// their beginnings.
func (m *meter) costs(code []byte) []int64 {
	out := []int64{0}
	open := []int{0} // by block: whose cost its instructions are
	m.walk(code, func(_ []byte, op byte, _ uint32) {
		at := open[len(open)-1]
		out[at]++
		switch {
		case op == opLoop:
			out = append(out, 0)
			open = append(open, len(out)-1)
		case op == 0x02 || op == opIf:
			open = append(open, at)
		case op == opEnd && len(open) > 1:
			open = open[:len(open)-1]
		}
	})
	if m.r.bad != "" {
		return nil
	}
	return out
}

// walk calls see with each instruction as it stands.
func (m *meter) walk(code []byte, see func(text []byte, op byte, sub uint32)) {
	r := &reader{b: code}
	for r.bad == "" && r.at < len(code) {
		start := r.at
		op := r.byte()
		sub := uint32(0)
		feature := ""
		switch op {
		case 0x02, opLoop, opIf:
			r.skipSigned(33)
		case opEnd:
		case opBulk:
			sub = (&reader{b: code, at: r.at}).u32()
			feature = r.bulk()
		case opVector:
			feature = r.vector()
		case opGlobalGet, opGlobalSet:
			if r.u32() >= m.counter {
				r.fail("global index")
			}
		default:
			feature = r.plainInstruction(op)
		}
		if feature != "" {
			r.fail("instruction")
		}
		if r.bad == "" {
			see(code[start:r.at], op, sub)
		}
	}
	if r.bad != "" {
		m.r.fail(r.bad)
	}
}

// charge takes cost off the counter and traps when nothing is left.
func (m *meter) charge(cost int64) []byte {
	out := m.global(nil, opGlobalGet, m.counter)
	out = append(appendSigned(append(out, opI64Const), cost), 0x7d) // i64.sub
	return m.check(out)
}

// check stores what is left, which is on the stack, and traps below zero.
func (m *meter) check(out []byte) []byte {
	out = m.global(out, opGlobalSet, m.counter)
	out = m.global(out, opGlobalGet, m.counter)
	return append(out, opI64Const, 0, 0x53 /* i64.lt_s */, opIf, void, opUnreachable, opEnd)
}

// bulk takes an eighth of the length on the stack off the counter, and leaves it there.
func (m *meter) bulk() []byte {
	out := m.global(nil, opGlobalSet, m.length)
	out = m.global(out, opGlobalGet, m.counter)
	out = m.global(out, opGlobalGet, m.length)
	out = append(out, 0xad /* i64.extend_i32_u */, opI64Const, 3, 0x88 /* i64.shr_u */, 0x7d)
	out = m.check(out)
	return m.global(out, opGlobalGet, m.length)
}

func (m *meter) global(out []byte, op byte, index uint32) []byte {
	return binary.AppendUvarint(append(out, op), uint64(index))
}

func appendSection(out []byte, id byte, body []byte) []byte {
	return append(binary.AppendUvarint(append(out, id), uint64(len(body))), body...)
}

// appendSigned appends a signed LEB128.
func appendSigned(out []byte, n int64) []byte {
	for {
		b := byte(n & 0x7f)
		n >>= 7
		if n == 0 && b&0x40 == 0 || n == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}
