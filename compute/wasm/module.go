package wasm

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/sandgate/sandgate/policies"
)

// PageBytes is a WebAssembly page.
const PageBytes = 65536

// Bounds of a module that are not settings.
const (
	maxTypes       = 10_000
	maxFunctions   = 20_000
	maxTables      = 16
	maxElements    = 65_536
	maxGlobals     = 10_000
	maxSegments    = 20_000
	maxBody        = 1 << 20 // bytes of one function
	maxLocals      = 10_000  // of one function
	maxNesting     = 1_000   // of blocks
	maxSignature   = 64      // parameters, or results
	maxModuleBytes = 15 << 20
)

// The exports, and what they take and give: i is i32.
var exportTypes = map[string]string{
	"sandgate_abi": ">i", "sandgate_column": "i>i", "sandgate_alloc": "i>i", "sandgate_score": "i>i", "_initialize": ">",
}

// linkerGlobals may be exported beside: linkers leave them behind.
var linkerGlobals = []string{"__data_end", "__heap_base"}

// Report is what Check found in a module it accepts.
type Report struct {
	SHA256    string // of the module's bytes, in hex
	Bytes     int
	Functions int
	// MemoryMax is the most linear memory the module declares, in bytes.
	MemoryMax int64
	// Initialises says that every instance calls _initialize first.
	Initialises bool
	SIMD        bool
}

// Check reads a module and accepts it only if it has nothing but what the ABI
// needs: no import, no start function, one memory with a declared maximum of at
// most memoryMax bytes, the ABI's exports with their types, instructions of
// WebAssembly 2.0 alone, and sizes within fixed bounds. The module must have at
// most moduleMax bytes (capped at 15 MiB). It does not validate types inside
// functions; compiling does. Check is pure and takes time linear in the
// module's length.
func Check(module []byte, moduleMax int, memoryMax int64) (*Report, *policies.Reason) {
	if most := min(moduleMax, maxModuleBytes); len(module) > most {
		return nil, refuse(CodeTooLarge, len(module), most)
	}
	m := moduleReader{r: reader{b: module}, memoryMax: memoryMax}
	no := m.read()
	if no == nil {
		no = m.r.fault()
	}
	if no == nil {
		no = m.exported()
	}
	if no != nil {
		return nil, no
	}
	sum := sha256.Sum256(module)
	return &Report{
		SHA256: hex.EncodeToString(sum[:]), Bytes: len(module), Functions: len(m.functions),
		MemoryMax: int64(m.memoryPages) * PageBytes, Initialises: m.initialises, SIMD: m.simd,
	}, nil
}

// moduleReader gathers what the exports are checked against.
type moduleReader struct {
	r           reader
	memoryMax   int64
	types       []string
	functions   []uint32 // type of each
	bodies      int
	memories    int
	memoryPages uint32
	globals     uint32
	exports     []export
	initialises bool
	simd        bool
}

type export struct {
	name  string
	kind  byte
	index uint32
}

// sectionOrder is the place of each section in a module; custom sections (0)
// stand anywhere.
var sectionOrder = map[byte]int{1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 9, 12: 10, 10: 11, 11: 12}

func (m *moduleReader) read() *policies.Reason {
	r := &m.r
	if string(r.take(8)) != "\x00asm\x01\x00\x00\x00" {
		return refuse(CodeMalformed, 0, "header")
	}
	last := 0
	for r.bad == "" && r.at < len(r.b) {
		start := r.at
		id := r.byte()
		size := r.u32()
		if r.bad != "" {
			return r.fault()
		}
		end := r.at + int(size)
		if int64(r.at)+int64(size) > int64(len(r.b)) {
			return refuse(CodeMalformed, start, "section length")
		}
		if id != 0 {
			place, known := sectionOrder[id]
			switch {
			case id == 13:
				return refuse(CodeFeature, start, "exceptions")
			case !known || place <= last:
				return refuse(CodeMalformed, start, "section order")
			}
			last = place
		}
		// A section ends where it says: its reader sees no further.
		inner := *m
		inner.r.b = r.b[:end]
		if no := inner.section(id, end); no != nil {
			return no
		}
		if no := inner.r.fault(); no != nil {
			return no
		}
		if inner.r.at != end {
			return refuse(CodeMalformed, inner.r.at, "section length")
		}
		whole := r.b
		*m = inner
		m.r.b = whole
	}
	if m.bodies != len(m.functions) {
		return refuse(CodeMalformed, r.at, "functions without code")
	}
	return nil
}

func (m *moduleReader) section(id byte, end int) *policies.Reason {
	r := &m.r
	switch id {
	case 1:
		return m.typeSection()
	case 2:
		return m.importSection()
	case 3:
		n := r.u32()
		if n > maxFunctions {
			return refuse(CodeLimit, "函数个数", maxFunctions, "functions")
		}
		for range n {
			if r.bad != "" {
				return nil
			}
			m.functions = append(m.functions, r.u32())
		}
	case 4:
		return m.tableSection()
	case 5:
		return m.memorySection()
	case 6:
		if m.globals = r.u32(); m.globals > maxGlobals {
			return refuse(CodeLimit, "全局变量个数", maxGlobals, "globals")
		}
		r.at = end // read by the compiler's validation
	case 7:
		return m.exportSection()
	case 8:
		return refuse(CodeStart)
	case 9, 11:
		if n := r.u32(); n > maxSegments {
			return refuse(CodeLimit, "段个数", maxSegments, "segments")
		}
		r.at = end
	case 10:
		return m.codeSection()
	case 12:
		r.u32()
	case 0:
		r.take(int(r.u32()))
		r.at = end
	}
	return nil
}

func (m *moduleReader) typeSection() *policies.Reason {
	r := &m.r
	n := r.u32()
	if n > maxTypes {
		return refuse(CodeLimit, "类型个数", maxTypes, "types")
	}
	for range n {
		at := r.at
		if form := r.byte(); r.bad == "" && form != 0x60 {
			return refuse(CodeFeature, at, "GC types")
		}
		text := []byte{}
		for side := range 2 {
			count := r.u32()
			if count > maxSignature {
				return refuse(CodeLimit, "参数或返回值个数", maxSignature, "parameters or results")
			}
			for range count {
				at := r.at
				kind := r.valueType()
				if r.bad != "" {
					return nil
				}
				if kind == 0 {
					return refuse(CodeFeature, at, "value type")
				}
				text = append(text, kind)
			}
			if side == 0 {
				text = append(text, '>')
			}
		}
		m.types = append(m.types, string(text))
		if r.bad != "" {
			return nil
		}
	}
	return nil
}

// importSection refuses every import and names the first, if its name is plain.
func (m *moduleReader) importSection() *policies.Reason {
	r := &m.r
	n := r.u32()
	if r.bad != "" || n == 0 {
		return nil
	}
	name := plain(r.take(int(r.u32()))) + "." + plain(r.take(int(r.u32())))
	return refuse(CodeImport, name, n)
}

// plain returns a name of the module if it is short and made of letters, digits
// and the like: messages carry no other text of a module.
func plain(b []byte) string {
	if len(b) == 0 || len(b) > 64 || !utf8.Valid(b) {
		return "?"
	}
	for _, c := range b {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.' || c == '$') {
			return "?"
		}
	}
	return string(b)
}

func (m *moduleReader) tableSection() *policies.Reason {
	r := &m.r
	n := r.u32()
	if n > maxTables {
		return refuse(CodeLimit, "表个数", maxTables, "tables")
	}
	for range n {
		at := r.at
		if kind := r.byte(); r.bad == "" && kind != 0x70 && kind != 0x6f {
			return refuse(CodeFeature, at, "table type")
		}
		at = r.at
		flags := r.byte()
		if r.bad == "" && flags > 1 {
			return refuse(CodeFeature, at, "table limits")
		}
		least := r.u32()
		if flags == 1 {
			r.u32() // nothing grows a table here
		}
		if least > maxElements {
			return refuse(CodeLimit, "表元素个数", maxElements, "table elements")
		}
		if r.bad != "" {
			return nil
		}
	}
	return nil
}

func (m *moduleReader) memorySection() *policies.Reason {
	r := &m.r
	n := r.u32()
	if r.bad != "" {
		return nil
	}
	if n != 1 {
		return refuse(CodeMemory, strconv.FormatUint(uint64(n), 10)+" memories")
	}
	at := r.at
	flags := r.byte()
	switch {
	case r.bad != "":
		return nil
	case flags == 2 || flags == 3:
		return refuse(CodeFeature, at, "threads (shared memory)")
	case flags > 3:
		return refuse(CodeFeature, at, "64-bit memory")
	case flags == 0:
		return refuse(CodeMemory, "no maximum")
	}
	least := r.u32()
	m.memories, m.memoryPages = 1, r.u32()
	if r.bad != "" {
		return nil
	}
	if m.memoryPages == 0 || least > m.memoryPages {
		return refuse(CodeMemory, "minimum and maximum")
	}
	if int64(m.memoryPages)*PageBytes > m.memoryMax {
		return refuse(CodeMemory, "maximum "+strconv.FormatInt(int64(m.memoryPages)*PageBytes, 10)+" > "+strconv.FormatInt(m.memoryMax, 10))
	}
	return nil
}

func (m *moduleReader) exportSection() *policies.Reason {
	r := &m.r
	n := r.u32()
	if most := uint32(len(exportTypes) + 1 + len(linkerGlobals)); r.bad == "" && n > most {
		return refuse(CodeLimit, "导出个数", most, "exports")
	}
	for range n {
		name := plain(r.take(int(r.u32())))
		m.exports = append(m.exports, export{name, r.byte(), r.u32()})
		if r.bad != "" {
			return nil
		}
	}
	return nil
}

// exported checks the exports once all sections are known.
func (m *moduleReader) exported() *policies.Reason {
	if m.memories != 1 {
		return refuse(CodeMemory, "0 memories")
	}
	seen := map[string]bool{}
	for _, e := range m.exports {
		if seen[e.name] {
			return refuse(CodeExport, e.name+" ×2")
		}
		seen[e.name] = true
		want, known := exportTypes[e.name]
		switch {
		case e.name == "memory" && e.kind == 2 && e.index == 0:
		case e.kind == 3 && slices.Contains(linkerGlobals, e.name):
		case known && e.kind == 0:
			if int64(e.index) >= int64(len(m.functions)) || int64(m.functions[e.index]) >= int64(len(m.types)) {
				return refuse(CodeExport, e.name+": index")
			}
			if m.types[m.functions[e.index]] != want {
				return refuse(CodeExport, e.name+": type")
			}
		default:
			return refuse(CodeExport, e.name+" is not of the ABI")
		}
	}
	m.initialises = seen["_initialize"]
	for _, name := range []string{"memory", "sandgate_abi", "sandgate_column", "sandgate_alloc", "sandgate_score"} {
		if !seen[name] {
			return refuse(CodeExport, name+" is missing")
		}
	}
	return nil
}
