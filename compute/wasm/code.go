package wasm

import "github.com/sandgate/sandgate/policies"

// reader walks over a module. After the first fault it stands still and answers
// zeros.
type reader struct {
	b   []byte
	at  int
	bad string
}

func (r *reader) fail(what string) {
	if r.bad == "" {
		r.bad = what
	}
}

func (r *reader) fault() *policies.Reason {
	if r.bad == "" {
		return nil
	}
	return refuse(CodeMalformed, r.at, r.bad)
}

func (r *reader) byte() byte {
	if r.bad != "" || r.at >= len(r.b) {
		r.fail("unexpected end")
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

// take returns the next n bytes, or none at a fault.
func (r *reader) take(n int) []byte {
	if r.bad != "" || n < 0 || n > len(r.b)-r.at {
		r.fail("unexpected end")
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at]
}

// u32 reads an unsigned LEB128 of at most 32 bits.
func (r *reader) u32() uint32 {
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		b := r.byte()
		if r.bad != "" {
			return 0
		}
		if shift == 28 && b > 0x0f {
			break
		}
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
	r.fail("integer")
	return 0
}

// skipSigned passes over a signed LEB128 of at most bits.
func (r *reader) skipSigned(bits int) {
	for n := 0; n < (bits+6)/7; n++ {
		if b := r.byte(); r.bad != "" || b < 0x80 {
			return
		}
	}
	r.fail("integer")
}

// valueType reads a value type: a letter for a number, 'r' for a reference, 0
// for one that is unknown here.
func (r *reader) valueType() byte {
	switch r.byte() {
	case 0x7f:
		return 'i'
	case 0x7e:
		return 'I'
	case 0x7d:
		return 'f'
	case 0x7c:
		return 'F'
	case 0x7b:
		return 'v'
	case 0x70, 0x6f:
		return 'r'
	}
	return 0
}

func (m *moduleReader) codeSection() *policies.Reason {
	r := &m.r
	n := r.u32()
	if r.bad != "" {
		return nil
	}
	if int(n) != len(m.functions) {
		r.fail("number of functions")
		return nil
	}
	m.bodies = int(n)
	section := r.b
	for range n {
		size := r.u32()
		if r.bad != "" {
			return nil
		}
		if size > maxBody {
			return refuse(CodeLimit, "单个函数的字节数", maxBody, "bytes of one function")
		}
		if int64(size) > int64(len(section)-r.at) {
			r.fail("function length")
			return nil
		}
		end := r.at + int(size)
		r.b = section[:end]
		if no := m.body(); no != nil {
			return no
		}
		if r.bad != "" {
			return nil
		}
		if r.at != end {
			r.fail("function length")
			return nil
		}
		r.b = section
	}
	return nil
}

// body reads one function: its locals, and instructions up to the end that
// closes it.
func (m *moduleReader) body() *policies.Reason {
	r := &m.r
	locals := uint64(0)
	for range r.u32() {
		locals += uint64(r.u32())
		if locals > maxLocals {
			return refuse(CodeLimit, "单个函数的局部变量个数", maxLocals, "locals of one function")
		}
		at := r.at
		if kind := r.valueType(); r.bad != "" {
			return nil
		} else if kind == 0 {
			return refuse(CodeFeature, at, "value type")
		}
	}
	depth := 1
	for depth > 0 {
		if r.bad != "" {
			return nil
		}
		at := r.at
		op := r.byte()
		switch {
		case op >= 0x02 && op <= 0x04: // block, loop, if
			r.skipSigned(33)
			if depth++; depth > maxNesting {
				return refuse(CodeLimit, "嵌套层数", maxNesting, "nested blocks")
			}
		case op == 0x0b:
			depth--
		case op == 0xfc:
			if what := r.bulk(); what != "" {
				return refuse(CodeFeature, at, what)
			}
		case op == 0xfd:
			m.simd = true
			if what := r.vector(); what != "" {
				return refuse(CodeFeature, at, what)
			}
		default:
			if what := r.plainInstruction(op); what != "" {
				return refuse(CodeFeature, at, what)
			}
		}
	}
	return nil
}

// memoryArgument passes over alignment and offset. The bit that would name
// another memory is a fault.
func (r *reader) memoryArgument() {
	if align := r.u32(); align > 31 {
		r.fail("alignment")
	}
	r.u32()
}

// zero reads the index of the one memory or table there is.
func (r *reader) zero() {
	if r.byte() != 0 {
		r.fail("memory index")
	}
}

// plainInstruction passes over the operands of an instruction of one byte, or
// says which feature it belongs to that is not allowed.
func (r *reader) plainInstruction(op byte) string {
	switch {
	case op <= 0x01, op == 0x05, op == 0x0f, op == 0x1a, op == 0x1b, op >= 0x45 && op <= 0xc4, op == 0xd1:
	case op == 0x0c, op == 0x0d, op == 0x10, op >= 0x20 && op <= 0x26, op == 0xd2:
		r.u32()
	case op == 0x0e: // br_table
		for range r.u32() {
			if r.bad != "" {
				return ""
			}
			r.u32()
		}
		r.u32()
	case op == 0x11: // call_indirect
		r.u32()
		r.u32()
	case op == 0x1c: // select with types
		for range r.u32() {
			if r.bad != "" {
				return ""
			}
			r.byte()
		}
	case op >= 0x28 && op <= 0x3e:
		r.memoryArgument()
	case op == 0x3f, op == 0x40:
		r.zero()
	case op == 0x41:
		r.skipSigned(32)
	case op == 0x42:
		r.skipSigned(64)
	case op == 0x43:
		r.take(4)
	case op == 0x44:
		r.take(8)
	case op == 0xd0:
		r.byte()
	case op == 0x12, op == 0x13:
		return "tail calls"
	case op >= 0x06 && op <= 0x0a, op == 0x18, op == 0x19, op == 0x1f:
		return "exceptions"
	case op == 0xfe:
		return "threads (atomic instructions)"
	case op == 0xfb || op >= 0xd3 && op <= 0xd6 || op == 0x14 || op == 0x15:
		return "GC and typed references"
	default:
		return "unknown instruction"
	}
	return ""
}

// bulk reads an instruction after 0xfc.
func (r *reader) bulk() string {
	switch sub := r.u32(); {
	case sub <= 7: // saturating truncation
	case sub == 8: // memory.init
		r.u32()
		r.zero()
	case sub == 9, sub == 13: // data.drop, elem.drop
		r.u32()
	case sub == 10: // memory.copy
		r.zero()
		r.zero()
	case sub == 11: // memory.fill
		r.zero()
	case sub == 12, sub == 14: // table.init, table.copy
		r.u32()
		r.u32()
	case sub == 15:
		return "table.grow"
	case sub == 16, sub == 17: // table.size, table.fill
		r.u32()
	default:
		return "unknown instruction"
	}
	return ""
}

// vector reads an instruction after 0xfd: fixed-width SIMD.
func (r *reader) vector() string {
	switch sub := r.u32(); {
	case sub <= 11, sub == 92, sub == 93: // loads and stores
		r.memoryArgument()
	case sub == 12, sub == 13: // v128.const, i8x16.shuffle
		r.take(16)
	case sub >= 21 && sub <= 34: // lanes
		r.byte()
	case sub >= 84 && sub <= 91: // loads and stores of one lane
		r.memoryArgument()
		r.byte()
	case sub < 0x100:
	default:
		return "relaxed SIMD"
	}
	return ""
}
