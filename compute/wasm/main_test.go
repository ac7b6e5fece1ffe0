package wasm

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sandgate/sandgate/sandbox"
)

var shared struct {
	once sync.Once
	pool *sandbox.Pool
	err  error
}

func TestMain(m *testing.M) {
	sandbox.Main()
	code := m.Run()
	if shared.pool != nil {
		_ = shared.pool.Close()
	}
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

func pool(t testing.TB) *sandbox.Pool {
	t.Helper()
	shared.once.Do(func() { shared.pool, shared.err = sandbox.NewPool(context.Background(), sandbox.Config{}) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.pool
}

// stored returns a guest as it is kept in the repository.
func stored(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "wasm", name+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var built struct {
	once sync.Once
	dir  string
	err  error
	out  []byte
}

// fresh builds the guests from source and returns one. Without compilers the
// test is skipped, in continuous integration it fails.
func fresh(t *testing.T, name string) []byte {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "sandgate-wasm-"); built.err == nil {
			built.out, built.err = exec.Command(filepath.Join("..", "..", ".ci", "wasm.sh"), "--offline", built.dir).CombinedOutput()
		}
	})
	if exit := (*exec.ExitError)(nil); built.err != nil {
		if os.Getenv("CI") != "true" && asExit(built.err, &exit) && exit.ExitCode() == 77 {
			fmt.Fprintf(os.Stderr, "!! 跳过 %s：没有 WebAssembly 编译器 · SKIPPED: no WebAssembly compilers; run .ci/wasm.sh\n%s", t.Name(), built.out)
			t.Skip("no WebAssembly compilers; run .ci/wasm.sh")
		}
		t.Fatalf("failed to build guests: %v\n%s", built.err, built.out)
	}
	b, err := os.ReadFile(filepath.Join(built.dir, name+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func asExit(err error, target **exec.ExitError) bool {
	exit, ok := err.(*exec.ExitError)
	*target = exit
	return ok
}

// reference is the model of testdata/wasm/logistic.c in Go, with every product
// rounded by itself.
func reference(x [4]float64) (score float64, band int64) {
	z := float64(0.8*x[0]) - 1.5
	z += float64(-0.6 * x[1])
	z += float64(0.3 * x[2])
	z += float64(1.1 * x[3])
	s := 1 / (1 + exponential(-z))
	return s, int64(s * 10)
}

func exponential(x float64) float64 {
	if !(x > -40) {
		x = -40
	}
	if x > 40 {
		x = 40
	}
	k := math.Floor(float64(x*1.4426950408889634) + 0.5)
	r := x - float64(k*0.6931471805599453)
	p := 1.0 / 3628800
	for _, c := range [...]float64{1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1, 1} {
		p = float64(p*r) + c
	}
	return p * math.Float64frombits(uint64(int64(k)+1023)<<52)
}

// numbers are n rows of four columns, with some values missing and some odd.
func numbers(n int, missing bool) Batch {
	b := Batch{Rows: n, Columns: make([]Column, 4)}
	state := uint64(0x9e3779b97f4a7c15)
	odd := []float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), 1e300, -1e300, 5e-324, 1e-9}
	for i := range b.Columns {
		c := Column{Type: Float64, Floats: make([]float64, n)}
		if missing {
			c.Valid = make([]bool, n)
		}
		for r := range n {
			state ^= state << 13
			state ^= state >> 7
			state ^= state << 17
			c.Floats[r] = float64(int64(state>>11))/(1<<50) - 4
			if missing {
				c.Valid[r] = state%17 != 0
				if state%29 == 0 {
					c.Floats[r] = odd[state>>40%8]
				}
			}
		}
		b.Columns[i] = c
	}
	return b
}

// list is a source of batches.
func list(batches ...Batch) func(Signature) (Source, error) {
	return func(Signature) (Source, error) {
		return func() (Batch, error) {
			if len(batches) == 0 {
				return Batch{}, io.EOF
			}
			b := batches[0]
			batches = batches[1:]
			return b, nil
		}, nil
	}
}

// scored runs a module over batches and returns the outputs joined.
func scored(t testing.TB, h *Host, module []byte, batches ...Batch) ([]Column, Stats, error) {
	t.Helper()
	var out []Column
	stats, err := h.Score(context.Background(), module, list(batches...), func(b Batch, columns []Column) error {
		if out == nil {
			out = make([]Column, len(columns))
		}
		for i, c := range columns {
			o := &out[i]
			o.Type, o.Ints, o.Floats = c.Type, append(o.Ints, c.Ints...), append(o.Floats, c.Floats...)
			for r := range b.Rows {
				o.Valid = append(o.Valid, c.valid(r))
			}
		}
		return nil
	})
	return out, stats, err
}
