package wasm

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"golang.org/x/sys/unix"

	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// ones is a batch for the assembled modules.
func ones(rows int) Batch {
	b := Batch{Rows: rows, Columns: []Column{{Type: Float64, Floats: make([]float64, rows)}}}
	for r := range b.Columns[0].Floats {
		b.Columns[0].Floats[r] = 1
	}
	return b
}

func codeOf(err error) string {
	var r *policies.Reason
	if errors.As(err, &r) {
		return r.Code
	}
	if err != nil {
		return "error: " + err.Error()
	}
	return ""
}

// bomb is a module that passes Check and keeps a compiler busy: many functions
// of many nested loops over many locals.
func bomb(functions, length int) []byte {
	var code []byte
	for i := range 60 {
		code = join(code, []byte{0x03, 0x40}, get(uint32(i%60)), i64const(int64(i)), []byte{0x7c, 0x21}, leb(uint32((i*7+1)%60)))
	}
	for i := range 60 {
		code = join(code, get(0), []byte{0xa7, 0x0d}, leb(uint32(min(59-i, i%30))), []byte{0x0b})
	}
	long := bytes.Repeat(code, length)
	return assemble(func(a *assembly) {
		a.locals, a.init = []byte{1, 60, 0x7e}, long
		for range functions {
			a.same = append(a.same, bodyWith(a.locals, long))
		}
	})
}

func TestR04_HostileGuestsAreEnded(t *testing.T) {
	recursion := func(a *assembly) { a.extra = [][]byte{join(get(0), call(5))}; a.score = join(get(0), call(5)) }
	touch := func(a *assembly) { // grows to the maximum and writes every page
		a.memory = join([]byte{1, 1, 3}, leb(2048))
		a.score = join(i32const(2045), []byte{0x40, 0}, drop, i32const(0), i32const(7), i32const(2048*65536-8), []byte{0xfc, 11, 0}, i32const(200))
	}
	for _, c := range []struct {
		name, code, word string
		limits           Limits
		change           func(*assembly)
	}{
		{"endless loop", CodeBatchTime, "", Limits{Batch: 300 * time.Millisecond}, func(a *assembly) { a.score = endless }},
		{"endless loop in alloc", CodeBatchTime, "", Limits{Batch: 300 * time.Millisecond}, func(a *assembly) { a.alloc = endless }},
		{"endless loop in column", CodeCompileTime, "", Limits{Compile: 500 * time.Millisecond}, func(a *assembly) { a.column = endless }},
		{"endless loop in initialise", CodeCompileTime, "", Limits{Compile: 500 * time.Millisecond}, func(a *assembly) { a.init = endless }},
		{"endless loop under the wall clock", CodeWall, "", Limits{Wall: 500 * time.Millisecond}, func(a *assembly) { a.score = endless }},
		{"unreachable", CodeTrap, "unreachable", Limits{}, func(a *assembly) { a.score = unreachable }},
		{"out of bounds", CodeTrap, "out of bounds memory access", Limits{}, func(a *assembly) { a.score = join(i32const(-4), []byte{0x28, 2, 0}) }},
		{"division by zero", CodeTrap, "integer divide by zero", Limits{}, func(a *assembly) { a.score = join(get(0), i32const(0), []byte{0x6d}) }},
		{"NaN to integer", CodeTrap, "invalid conversion to integer", Limits{}, func(a *assembly) {
			a.score = join([]byte{0x44, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f, 0xaa})
		}},
		{"recursion", CodeTrap, "stack overflow", Limits{Batch: time.Minute}, recursion},
		{"empty table", CodeTrap, "invalid table access", Limits{}, func(a *assembly) {
			a.table = []byte{1, 0x70, 0, 1}
			a.score = join(get(0), i32const(0), []byte{0x11, 1, 0})
		}},
		{"no rows scored", CodeLength, "", Limits{}, func(a *assembly) { a.score = i32const(0) }},
		{"a row too many", CodeLength, "", Limits{}, func(a *assembly) { a.score = join(loadRows, i32const(1), []byte{0x6a}) }},
		{"own error", CodeGuest, "-7", Limits{}, func(a *assembly) { a.score = i32const(-7) }},
		{"no memory given", CodeAlloc, "", Limits{}, func(a *assembly) { a.alloc = i32const(0) }},
		{"crooked memory", CodeAlloc, "", Limits{}, func(a *assembly) { a.alloc = i32const(65537) }},
		{"memory past the end", CodeAlloc, "", Limits{}, func(a *assembly) { a.alloc = i32const(3*65536 - 8) }},
		{"memory at the very end", CodeAlloc, "", Limits{}, func(a *assembly) { a.alloc = i32const(-8) }},
		{"memory that is gone", CodeTrap, "", Limits{}, func(a *assembly) { a.alloc = join(i32const(1), []byte{0x28, 2, 0, 0x68, 0x00}) }},
		{"another ABI", CodeABI, "", Limits{}, func(a *assembly) { a.abi = i32const(2) }},
		{"no columns", CodeABI, "", Limits{}, func(a *assembly) { a.column = i32const(0) }},
		{"endless columns", CodeABI, "", Limits{}, func(a *assembly) { a.column = i32const(2) }},
		{"unknown column type", CodeABI, "", Limits{}, func(a *assembly) { a.column = join(get(0), i32const(9), []byte{0x6a}) }},
		{"invalid code", CodeInvalid, "", Limits{}, func(a *assembly) { a.score = []byte{0x6a} }},
		{"too much output", CodeOutput, "", Limits{Output: 1000}, nil},
		{"growing and touching all it may", "", "", Limits{Memory: 128 << 20}, touch},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &Host{Pool: pool(t), Limits: c.limits}
			begin := time.Now()
			_, _, err := scored(t, h, assemble(c.change), ones(200))
			if codeOf(err) != c.code || c.word != "" && !strings.Contains(err.Error(), c.word) {
				t.Errorf("%v, want %s %s", err, c.code, c.word)
			}
			if spent := time.Since(begin); spent > 30*time.Second {
				t.Errorf("it took %v", spent)
			}
			// The next run is unharmed.
			if _, _, err := scored(t, &Host{Pool: pool(t)}, assemble(nil), ones(3)); err != nil {
				t.Fatalf("the run after it: %v", err)
			}
		})
	}
}

// TestR04_CompileBombEndsInTime: a module that compiles for long does not
// outlive its limit, nor does its worker.
func TestR04_CompileBombEndsInTime(t *testing.T) {
	module := bomb(120, 60)
	if _, no := Check(module, 15<<20, testMemory); no != nil {
		t.Fatalf("the bomb (%d bytes) must pass the static check: %v", len(module), no)
	}
	h := &Host{Pool: pool(t), Limits: Limits{Compile: 400 * time.Millisecond, Module: 15 << 20}}
	begin := time.Now()
	_, _, _, err := h.Describe(t.Context(), module)
	if spent := time.Since(begin); codeOf(err) != CodeCompileTime || spent > 30*time.Second {
		t.Errorf("%v after %v", err, spent)
	}
	// The positive control: one function of it, unjailed, outlives its context.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	defer rt.Close(context.Background())
	begin = time.Now()
	if _, err := rt.CompileModule(ctx, bomb(0, 25)); time.Since(begin) < 200*time.Millisecond {
		t.Errorf("the bomb is none: one function compiles in %v (%v)", time.Since(begin), err)
	}
}

// TestMemoryIsBounded: a worker that takes more memory than the module may have
// beside the compiler is ended, and the reason says so.
func TestMemoryIsBounded(t *testing.T) {
	h := &Host{Pool: pool(t), handler: "wasm.test-memory"}
	if _, _, err := scored(t, h, assemble(nil), ones(1)); codeOf(err) != CodeOutOfMemory {
		t.Errorf("%v, want %s", err, CodeOutOfMemory)
	}
}

// TestNothingOfOneBatchReachesTheNext: a module that counts its calls in memory
// counts to one, whatever came before.
func TestNothingOfOneBatchReachesTheNext(t *testing.T) {
	counting := assemble(func(a *assembly) {
		// mem[16]++; output[0] = mem[16]
		a.score = join(i32const(16), i32const(16), []byte{0x29, 3, 0}, i64const(1), []byte{0x7c}, store64,
			outputData, i32const(16), []byte{0x29, 3, 0}, store64, loadRows)
	})
	for _, interpret := range []bool{false, true} {
		out, stats, err := scored(t, &Host{Pool: pool(t), Interpret: interpret}, counting, ones(1), ones(1), ones(1))
		if err != nil {
			t.Fatal(err)
		}
		for r := range 3 {
			if math.Float64bits(out[0].Floats[r]) != 1 {
				t.Errorf("batch %d sees what another left: %d", r, math.Float64bits(out[0].Floats[r]))
			}
		}
		if stats.Batches != 3 {
			t.Errorf("%+v", stats)
		}
	}
}

func TestNaNIsCanonical(t *testing.T) {
	odd := assemble(func(a *assembly) { a.score = join(outputData, i64const(-1), store64, loadRows) }) // a NaN with every bit set
	out, stats, err := scored(t, &Host{Pool: pool(t)}, odd, ones(2))
	if err != nil || stats.NaN != 1 || math.Float64bits(out[0].Floats[0]) != canonicalNaN || out[0].Floats[1] != 0 {
		t.Errorf("%v %+v %x", err, stats, math.Float64bits(out[0].Floats[0]))
	}
}

// TestADishonestBlockChangesNothing: a module may overwrite the block's own
// words; the host reads the outputs where it put them.
func TestADishonestBlockChangesNothing(t *testing.T) {
	lying := assemble(func(a *assembly) {
		// Every word of head and descriptors becomes ff, and the first score 5.0.
		a.score = join(outputData, i64const(int64(math.Float64bits(5))), store64, get(0), i32const(0xff), i32const(64), []byte{0xfc, 11, 0}, i32const(4))
	})
	out, _, err := scored(t, &Host{Pool: pool(t)}, lying, ones(4))
	if err != nil || out[0].Floats[0] != 5 || out[0].Floats[3] != 0 {
		t.Errorf("%v %+v", err, out)
	}
}

// TestR04_AttackImports: a module that prints through WASI, and one that reads
// through a host function, do so in an engine that offers it. Here they are
// refused, and a worker that is handed one all the same does not run it.
func TestR04_AttackImports(t *testing.T) {
	wasi := wasiModule()
	var printed bytes.Buffer
	ctx := t.Context()
	rt := wazero.NewRuntime(ctx)
	defer rt.Close(ctx)
	wasi_snapshot_preview1.MustInstantiate(ctx, rt)
	read := 0
	if _, err := rt.NewHostModuleBuilder("env").NewFunctionBuilder().WithFunc(func(uint32) uint32 { read++; return 0 }).Export("read").Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	for name, module := range map[string][]byte{"writer": wasi, "reader": envModule()} {
		instance, err := rt.InstantiateWithConfig(ctx, module, wazero.NewModuleConfig().WithStdout(&printed).WithName(name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := instance.ExportedFunction("attack").Call(ctx, 0); err != nil {
			t.Fatal(err)
		}
	}
	if printed.String() != "LEAK" || read != 1 {
		t.Fatalf("positive control: printed %q, read %d times", printed.String(), read)
	}
	for name, module := range map[string][]byte{"fd_write": wasi, "env.read": envModule()} {
		h := &Host{Pool: pool(t)}
		_, _, _, err := h.Describe(ctx, module)
		if codeOf(err) != CodeImport || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		unchecked := run{host: h, limits: Limits{}.withDefaults(), describe: true}
		if err := unchecked.do(ctx, module); codeOf(err) != CodeInvalid {
			t.Errorf("%s past the check: %v", name, err)
		}
	}
}

// wasiModule exports attack, which writes LEAK to standard output.
func wasiModule() []byte {
	return join([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, vector([]byte{0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f}, []byte{0x60, 1, 0x7f, 1, 0x7f})),
		section(2, vector(join(name("wasi_snapshot_preview1"), name("fd_write"), []byte{0, 0}))),
		section(3, vector([]byte{1})), section(5, []byte{1, 1, 1, 1}),
		section(7, vector(exportOf("memory", 2, 0), exportOf("attack", 0, 1))),
		section(10, vector(body(join(i32const(1), i32const(8), i32const(1), i32const(32), call(0))))),
		section(11, vector(join([]byte{0}, i32const(8), []byte{0x0b}, leb(12), []byte{16, 0, 0, 0, 4, 0, 0, 0, 'L', 'E', 'A', 'K'}))))
}

// envModule exports attack, which calls env.read.
func envModule() []byte {
	return join([]byte("\x00asm\x01\x00\x00\x00"), section(1, vector([]byte{0x60, 1, 0x7f, 1, 0x7f})),
		section(2, vector(join(name("env"), name("read"), []byte{0, 0}))), section(3, vector([]byte{0})),
		section(7, vector(exportOf("attack", 0, 1))), section(10, vector(body(join(get(0), call(0))))))
}

func init() {
	sandbox.Register("wasm.test-unstable", func(ctx context.Context, payload []byte, files []*os.File, emit func([]byte) error) error {
		runs := 0
		disturb = func(scores []byte) {
			if runs++; runs == 4 { // the second run of the second batch
				scores[len(scores)-1] ^= 1
			}
		}
		return interpretJob(ctx, payload, files, emit)
	})
	sandbox.Register("wasm.test-memory", func(ctx context.Context, payload []byte, files []*os.File, emit func([]byte) error) error {
		var kept [][]byte
		for {
			b := make([]byte, 16<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			kept = append(kept, b)
			runtime.KeepAlive(kept)
		}
	})
	// A worker whose every frame the module's bytes give: length, frame, ….
	sandbox.Register("wasm.test-frames", func(_ context.Context, payload []byte, _ []*os.File, emit func([]byte) error) error {
		_, module, err := decodePayload(payload)
		if err != nil {
			return err
		}
		frames := bytes.Split(module[strings.LastIndex(string(module), "FRAMES")+6:], []byte("|"))
		for _, f := range frames {
			if err := emit(f); err != nil {
				return err
			}
		}
		return nil
	})
	sandbox.RegisterWith("wasm.test-seal", sandbox.Registration{Code: true, Handler: func(ctx context.Context, payload []byte, files []*os.File, emit func([]byte) error) error {
		probe := func() string {
			page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
			if err == nil {
				err = unix.Mprotect(page, unix.PROT_READ|unix.PROT_EXEC)
			}
			if err == nil {
				return "open"
			}
			return "closed"
		}
		found := probe()
		err := compileJob(ctx, payload, files, func(frame []byte) error {
			switch frame[0] {
			case tagBegun:
				found += " " + probe()
			case tagCompiled, tagScores:
				found += " " + probe()
			}
			if frame[0] == tagScores {
				return errors.New(found)
			}
			return emit(frame)
		})
		if err != nil && err.Error() == "open open closed closed" {
			return emit([]byte(`R{"code":"WASM_UNSTABLE"}`)) // a code to recognise it by
		}
		return err
	}})
}

// TestR04_NoCodeAfterCompile: seen from inside the very worker, memory can become
// executable before and while the module is compiled, and never again from the
// moment it is, while its compiled code still scores.
func TestR04_NoCodeAfterCompile(t *testing.T) {
	h := &Host{Pool: pool(t), handler: "wasm.test-seal"}
	if _, _, err := scored(t, h, stored(t, "logistic-c"), numbers(10, false)); codeOf(err) != CodeUnstable {
		t.Errorf("the worker could make code at another time than while compiling: %v", err)
	}
}

func TestR04_DifferingRunsAreRefused(t *testing.T) {
	batches := []Batch{numbers(10, false), numbers(10, false), numbers(10, false)}
	taken := 0
	_, err := (&Host{Pool: pool(t), handler: "wasm.test-unstable"}).Score(t.Context(), stored(t, "logistic-c"), list(batches...), func(Batch, []Column) error { taken++; return nil })
	if codeOf(err) != CodeUnstable || taken != 1 {
		t.Errorf("%v after %d batches", err, taken)
	}
}

// TestAWorkerIsNotTrusted: whatever frames a worker sends, the host refuses and
// says nothing of what they hold.
func TestAWorkerIsNotTrusted(t *testing.T) {
	sig := `C{"Inputs":[2],"Outputs":[2]}`
	for _, frames := range []string{
		"", "?", "C{}", "B|B", "B|C{", "B|" + sig + "|" + sig, "B|" + sig, "B|" + sig + "|S", "B|" + sig + "|S0000", "B|" + sig + "|S00000000000000000",
		"S0000", "B|S0000", `B|R{"code":"CANARY"}`, `R{"code":"WASM_TRAP","trap":99}`, `R{"code":"WASM_TRAP","trap":-1}`, "R", "Rxx",
		`B|C{"Inputs":[2],"Outputs":[3]}`, `B|C{"Inputs":[],"Outputs":[2]}`, `B|C{"Inputs":[77],"Outputs":[2]}`,
	} {
		module := assemble(func(a *assembly) { a.raw = section(0, join(name("x"), []byte("FRAMES"), []byte(frames))) })
		taken := 0
		_, err := (&Host{Pool: pool(t), handler: "wasm.test-frames"}).Score(t.Context(), module, list(ones(1)), func(Batch, []Column) error { taken++; return nil })
		if codeOf(err) != CodeCrashed || taken != 0 || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%q: %v, %d batches taken", frames, err, taken)
		}
	}
}

// TestErrorsOfTheCallerEndTheRun: an error of the source, of open or of take
// comes back as it is, and so does a cancelled context.
func TestErrorsOfTheCallerEndTheRun(t *testing.T) {
	mine := errors.New("mine")
	h := &Host{Pool: pool(t)}
	module := assemble(nil)
	fine := func(Batch, []Column) error { return nil }
	if _, err := h.Score(t.Context(), module, func(Signature) (Source, error) { return nil, mine }, fine); !errors.Is(err, mine) {
		t.Errorf("open: %v", err)
	}
	if _, err := h.Score(t.Context(), module, func(Signature) (Source, error) { return func() (Batch, error) { return Batch{}, mine }, nil }, fine); !errors.Is(err, mine) {
		t.Errorf("source: %v", err)
	}
	if _, err := h.Score(t.Context(), module, list(ones(1)), func(Batch, []Column) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("take: %v", err)
	}
	if _, err := h.Score(t.Context(), module, list(numbers(3, false)), fine); !errors.Is(err, errBatchShape) {
		t.Errorf("a batch of another shape: %v", err)
	}
	if _, err := h.Score(t.Context(), module, list(Batch{}), fine); !errors.Is(err, errBatchShape) {
		t.Errorf("an empty batch: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := h.Score(ctx, module, list(ones(1), ones(1)), func(Batch, []Column) error { cancel(); return nil }); !errors.Is(err, context.Canceled) && err != nil {
		t.Errorf("cancelled: %v", err)
	}
	// An endless source under many concurrent runs.
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			n := 0
			_, err := h.Score(t.Context(), module, func(Signature) (Source, error) {
				return func() (Batch, error) { return ones(1000), nil }, nil
			}, func(Batch, []Column) error {
				if n++; n == 50 {
					return mine
				}
				return nil
			})
			if !errors.Is(err, mine) {
				t.Errorf("endless source: %v", err)
			}
		})
	}
	wg.Wait()
	// No rows at all.
	if stats, err := h.Score(t.Context(), module, list(), fine); err != nil || stats.Rows != 0 {
		t.Errorf("no rows: %+v, %v", stats, err)
	}
}
