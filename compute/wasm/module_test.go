package wasm

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

const testMemory = 256 << 20

// hostileModules are modules that Check must refuse, with the code it must give.
var hostileModules = []struct {
	name, code string
	change     func(*assembly)
}{
	{"import function", CodeImport, func(a *assembly) {
		a.imports = vector(join(name("env"), name("read"), []byte{0, 1}))
	}},
	{"import memory", CodeImport, func(a *assembly) { a.imports = vector(join(name("env"), name("memory"), []byte{2, 0, 1})) }},
	{"start", CodeStart, func(a *assembly) { a.start = leb(4) }},
	{"no memory", CodeMemory, func(a *assembly) { a.memory = nil }},
	{"two memories", CodeMemory, func(a *assembly) { a.memory = []byte{2, 1, 1, 2, 1, 1, 2} }},
	{"memory without maximum", CodeMemory, func(a *assembly) { a.memory = []byte{1, 0, 1} }},
	{"memory over the cap", CodeMemory, func(a *assembly) { a.memory = join([]byte{1, 1, 1}, leb(4097)) }},
	{"memory of 4 GiB", CodeMemory, func(a *assembly) { a.memory = join([]byte{1, 1, 1}, leb(65536)) }},
	{"minimum over maximum", CodeMemory, func(a *assembly) { a.memory = []byte{1, 1, 9, 3} }},
	{"shared memory", CodeFeature, func(a *assembly) { a.memory = []byte{1, 3, 1, 2} }},
	{"64-bit memory", CodeFeature, func(a *assembly) { a.memory = []byte{1, 5, 1, 2} }},
	{"atomic", CodeFeature, func(a *assembly) {
		a.score = join(get(0), i32const(1), []byte{0xfe, 0x1e, 2, 0}, drop, loadRows)
	}},
	{"relaxed SIMD", CodeFeature, func(a *assembly) { a.extra = [][]byte{join([]byte{0xfd, 0x80, 0x02}, unreachable)} }},
	{"tail call", CodeFeature, func(a *assembly) { a.extra = [][]byte{join(get(0), []byte{0x12, 1})} }},
	{"exception", CodeFeature, func(a *assembly) { a.extra = [][]byte{{0x06, 0x40, 0x0b, 0x00}} }},
	{"tag section", CodeFeature, func(a *assembly) { a.raw = section(13, []byte{0}) }},
	{"GC type", CodeFeature, func(a *assembly) { a.types = append(a.types, []byte{0x5f, 0}) }},
	{"GC instruction", CodeFeature, func(a *assembly) { a.extra = [][]byte{{0xfb, 0, 0}} }},
	{"table grows", CodeFeature, func(a *assembly) { a.extra = [][]byte{{0xfc, 15, 0, 0x00}} }},
	{"large table", CodeLimit, func(a *assembly) { a.table = vector(join([]byte{0x70, 0}, leb(1<<20))) }},
	{"many tables", CodeLimit, func(a *assembly) { a.table = leb(17) }},
	{"many locals", CodeLimit, func(a *assembly) { a.locals = []byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x7e} }},
	{"deep nesting", CodeLimit, func(a *assembly) {
		a.extra = [][]byte{join(bytes.Repeat([]byte{0x02, 0x40}, 1001), bytes.Repeat([]byte{0x0b}, 1001), unreachable)}
	}},
	{"long function", CodeLimit, func(a *assembly) { a.extra = [][]byte{bytes.Repeat([]byte{0x01}, 2<<20)} }},
	{"many exports", CodeLimit, func(a *assembly) {
		for range 10 {
			a.exports = append(a.exports, exportOf("x", 0, 0))
		}
	}},
	{"foreign export", CodeExport, func(a *assembly) { a.exports = append(a.exports, exportOf("backdoor", 0, 0)) }},
	{"no score", CodeExport, func(a *assembly) { a.without("sandgate_score") }},
	{"no memory export", CodeExport, func(a *assembly) { a.without("memory") }},
	{"score of another type", CodeExport, func(a *assembly) {
		a.without("sandgate_score")
		a.exports = append(a.exports, exportOf("sandgate_score", 0, 0))
	}},
	{"score that is no function", CodeExport, func(a *assembly) {
		a.without("sandgate_score")
		a.exports = append(a.exports, exportOf("sandgate_score", 2, 0))
	}},
	{"export out of range", CodeExport, func(a *assembly) {
		a.without("sandgate_score")
		a.exports = append(a.exports, exportOf("sandgate_score", 0, 99))
	}},
	{"exported twice", CodeExport, func(a *assembly) { a.exports = append(a.exports, exportOf("sandgate_abi", 0, 0)) }},
	{"section twice", CodeMalformed, func(a *assembly) { a.raw = section(10, []byte{0}) }},
	{"unknown section", CodeMalformed, func(a *assembly) { a.raw = section(77, nil) }},
	{"section too long", CodeMalformed, func(a *assembly) { a.raw = []byte{11, 0xff, 0x7f} }},
	{"functions without code", CodeMalformed, func(a *assembly) { a.functions = [][]byte{{0}, {1}, {1}, {1}, {2}, {1}} }},
	{"unknown instruction", CodeFeature, func(a *assembly) { a.extra = [][]byte{{0xff}} }},
	{"function without end", CodeMalformed, func(a *assembly) { a.extra = [][]byte{{0x02, 0x40}} }},
	{"code behind the end", CodeMalformed, func(a *assembly) { a.extra = [][]byte{join(i32const(1), []byte{0x0b, 0x01})} }},
}

func TestR04_CheckRefusesHostileModules(t *testing.T) {
	if _, no := Check(assemble(nil), 1<<20, testMemory); no != nil {
		t.Fatalf("the plain module is refused: %v", no)
	}
	for _, c := range hostileModules {
		module := assemble(c.change)
		if _, no := Check(module, 16<<20, testMemory); no == nil {
			t.Errorf("%s: accepted", c.name)
		} else if no.Code != c.code || no.ZH == "" || no.EN == "" || strings.Contains(no.ZH+no.EN, "%!") {
			t.Errorf("%s: %s, want %s; %q", c.name, no.Code, c.code, no.ZH+no.EN)
		}
	}
	if _, no := Check(make([]byte, 2000), 1999, testMemory); no == nil || no.Code != CodeTooLarge {
		t.Errorf("too large: %v", no)
	}
	if _, no := Check(assemble(nil), 16<<20, PageBytes); no == nil || no.Code != CodeMemory {
		t.Errorf("memory over a smaller cap: %v", no)
	}
}

// TestEveryPrefixIsRefused: a module cut anywhere is refused, and reading never
// fails in another way; nor is any single flipped byte a crash.
func TestEveryPrefixIsRefused(t *testing.T) {
	module := stored(t, "logistic-as")
	if _, no := Check(module, 1<<20, testMemory); no != nil {
		t.Fatal(no)
	}
	for n := range module {
		if _, no := Check(module[:n], 1<<20, testMemory); no == nil {
			t.Errorf("the first %d of %d bytes are accepted", n, len(module))
		}
		for _, flip := range []byte{1, 0x80, 0xff} {
			other := slices.Clone(module)
			other[n] ^= flip
			_, _ = Check(other, 1<<20, testMemory)
		}
	}
}

// TestNamesOfAModuleDoNotLeak: what a module calls things reaches a message only
// when it is a plain name.
func TestNamesOfAModuleDoNotLeak(t *testing.T) {
	for in, out := range map[string]string{"fd_write": "fd_write", "a b": "?", "\x1b[31m": "?", "数据": "?", strings.Repeat("x", 65): "?", "": "?"} {
		module := assemble(func(a *assembly) { a.imports = vector(join(name("env"), name(in), []byte{0, 1})) })
		_, no := Check(module, 1<<20, testMemory)
		if no == nil || !strings.Contains(no.EN, "env."+out) {
			t.Fatalf("%q: %v", in, no)
		}
		if in != out && in != "" && strings.Contains(no.EN+no.ZH, in) {
			t.Errorf("%q stands in the message", in)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(assemble(nil))
	for _, c := range hostileModules {
		if m := assemble(c.change); len(m) < 4096 {
			f.Add(m)
		}
	}
	for _, n := range []string{"logistic-c", "logistic-as", "words-c"} {
		f.Add(stored(f, n))
	}
	f.Fuzz(func(t *testing.T, module []byte) {
		if len(module) > 1<<16 {
			return
		}
		begin := time.Now()
		report, no := Check(module, 1<<16, testMemory)
		if spent := time.Since(begin); spent > 2*time.Second {
			t.Fatalf("%d bytes took %v", len(module), spent)
		}
		if (report == nil) == (no == nil) {
			t.Fatal("neither or both of report and refusal")
		}
		if no != nil {
			if strings.Contains(no.ZH+no.EN, "%!") {
				t.Fatalf("badly worded: %s", no.EN)
			}
			return
		}
		// A second reader agrees on what was accepted.
		ctx := context.Background()
		rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(testMemory/PageBytes))
		defer rt.Close(ctx)
		compiled, err := rt.CompileModule(ctx, module)
		if err != nil {
			return
		}
		if len(compiled.ImportedFunctions()) > 0 || len(compiled.ImportedMemories()) > 0 {
			t.Fatal("an accepted module has imports")
		}
		memory := compiled.ExportedMemories()["memory"]
		if most, ok := memory.Max(); !ok || int64(most)*PageBytes != report.MemoryMax || report.MemoryMax > testMemory {
			t.Fatalf("memory: %d, %v, report %d", most, ok, report.MemoryMax)
		}
		for n, f := range compiled.ExportedFunctions() {
			if _, known := exportTypes[n]; !known {
				t.Fatalf("an accepted module exports %q", n)
			}
			if len(f.ParamTypes()) > 1 || len(f.ResultTypes()) > 1 {
				t.Fatalf("%s has another type", n)
			}
		}
	})
}
