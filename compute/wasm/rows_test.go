package wasm

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/sandgate/sandgate/policies"
)

func rowsOf(t testing.TB, module []byte, inputs ...Type) *Rows {
	t.Helper()
	r, err := NewRows(t.Context(), module, inputs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// oneOf is one row of a batch.
func oneOf(b Batch, r int) Batch {
	out := Batch{Rows: 1}
	for _, c := range b.Columns {
		x := Column{Type: c.Type}
		if c.Valid != nil {
			x.Valid = c.Valid[r : r+1]
		}
		switch c.Type {
		case Int64:
			x.Ints = c.Ints[r : r+1]
		case Float64:
			x.Floats = c.Floats[r : r+1]
		default:
			x.Texts = c.Texts[r : r+1]
		}
		out.Columns = append(out.Columns, x)
	}
	return out
}

// TestR04_MeteredRowsScoreAlike: counting instructions and taking rows one by one
// changes no bit of a score.
func TestR04_MeteredRowsScoreAlike(t *testing.T) {
	b := numbers(300, true)
	for _, guest := range []string{"logistic-c", "logistic-as"} {
		rows := rowsOf(t, stored(t, guest), Float64, Float64, Float64, Float64)
		want, _, err := scored(t, &Host{Pool: pool(t), Interpret: true}, stored(t, guest), b)
		if err != nil {
			t.Fatal(err)
		}
		for r := range b.Rows {
			score, ok, err := rows.Score(oneOf(b, r))
			if err != nil || ok != (want[0].Valid[r] && want[0].Floats[r] == want[0].Floats[r]) || ok && math.Float64bits(score) != math.Float64bits(want[0].Floats[r]) {
				t.Fatalf("%s row %d: %v %v, want %v %v (%v)", guest, r, score, ok, want[0].Floats[r], want[0].Valid[r], err)
			}
		}
	}
	if _, err := NewRows(t.Context(), stored(t, "words-c"), []Type{Int64, Text}); err == nil {
		t.Error("a module without a float score is taken")
	}
	if _, err := NewRows(t.Context(), stored(t, "logistic-c"), []Type{Float64}); err == nil {
		t.Error("a module of other columns is taken")
	}
}

// paid is a row of income.c's columns.
func paid(x float64) Batch {
	return Batch{Rows: 1, Columns: []Column{{Type: Text, Texts: []string{"employee"}}, {Type: Float64, Floats: []float64{x}}}}
}

// TestR02_ARowThatBreaksTheModuleHasNoScore: whatever a module does at one person's row,
// the row has no score, nothing else comes of it, and it takes milliseconds.
func TestR02_ARowThatBreaksTheModuleHasNoScore(t *testing.T) {
	rows := rowsOf(t, stored(t, "spy-c"), Text, Float64)
	for _, x := range []float64{222.22, 333.33, 444.44, 555.55, 666.66, 777.77} {
		begin := time.Now()
		if _, ok, err := rows.Score(paid(x)); ok || err != nil {
			t.Errorf("%v: %v %v", x, ok, err)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("%v took %v", x, took)
		}
		if score, ok, err := rows.Score(paid(1 + x)); score != 0.25 || !ok || err != nil {
			t.Errorf("after %v: %v %v %v", x, score, ok, err)
		}
	}
	if score, ok, _ := rows.Score(paid(111.11)); !ok || score != 0.95 {
		t.Errorf("the row itself: %v %v", score, ok)
	}
	if score, ok, _ := rows.Score(paid(2)); !ok || score != 0.25 {
		t.Errorf("a row after one that was seen: %v %v", score, ok)
	}
}

// TestR02_ABatchTellsOfOnePerson is the control of the rows taken one by one: the same
// module, given a batch, puts one person's value into everybody's score.
func TestR02_ABatchTellsOfOnePerson(t *testing.T) {
	b := Batch{Rows: 200, Columns: []Column{{Type: Text, Texts: make([]string, 200)}, {Type: Float64, Floats: make([]float64, 200)}}}
	rows := rowsOf(t, stored(t, "spy-c"), Text, Float64)
	for _, there := range []bool{false, true} {
		if there {
			b.Columns[1].Floats[100] = 111.11
		}
		out, _, err := scored(t, &Host{Pool: pool(t)}, stored(t, "spy-c"), b)
		if err != nil {
			t.Fatal(err)
		}
		told, alone := 0, 0
		for r := range b.Rows {
			if out[0].Floats[r] == 0.95 {
				told++
			}
			if score, _, _ := rows.Score(oneOf(b, r)); score == 0.95 {
				alone++
			}
		}
		if want := map[bool]int{true: 200}[there]; told != want || there && alone != 1 || !there && alone != 0 {
			t.Errorf("there: %v; in a batch %d rows tell, one by one %d", there, told, alone)
		}
	}
	b.Columns[1].Floats[100] = 222.22
	_, _, err := scored(t, &Host{Pool: pool(t)}, stored(t, "spy-c"), b)
	var no *policies.Reason
	if !errors.As(err, &no) || no.Code != CodeTrap {
		t.Errorf("in a batch, a row that breaks the module ends it: %v", err)
	}
}

// The counter is the host's: a module that names its index does not come to be.
func TestMeterKeepsItsCounter(t *testing.T) {
	for _, op := range []byte{opGlobalGet, opGlobalSet} {
		module := assemble(func(a *assembly) {
			if op == opGlobalGet {
				a.score = join([]byte{op, 0}, drop, loadRows)
			} else {
				a.score = join(i64const(1<<40), []byte{op, 0}, loadRows)
			}
		})
		if _, no := Check(module, RowModule, RowMemory); no != nil {
			t.Fatal(no)
		}
		if _, no := Meter(module, RowFuel); no == nil || no.Code != CodeMalformed {
			t.Errorf("global %#x: %v", op, no)
		}
	}
	if _, err := NewRows(t.Context(), assemble(func(a *assembly) { a.init = endless }), []Type{Float64}); err == nil {
		t.Error("a module that never begins is taken")
	}
	deep := assemble(func(a *assembly) { a.score = join(nestedLoops(40), loadRows) })
	rows := rowsOf(t, deep, Float64)
	if _, ok, _ := rows.Score(Batch{Rows: 1, Columns: []Column{{Type: Float64, Floats: []float64{1}}}}); ok {
		t.Error("loops within loops never end, and have a score")
	}
}

// nestedLoops is n loops, the innermost of which goes on for ever.
func nestedLoops(n int) []byte {
	var out []byte
	for range n {
		out = append(out, opLoop, void)
	}
	out = append(out, 0x0c, 0x00)
	for range n {
		out = append(out, opEnd)
	}
	return out
}

// FuzzMeter: what Check accepts is metered or refused; a module that compiles does so
// with its counter too, unless it names the counter's index.
func FuzzMeter(f *testing.F) {
	for _, guest := range []string{"logistic-c", "logistic-as", "words-c", "income-c", "spy-c"} {
		f.Add(stored(f, guest))
	}
	f.Add(assemble(nil))
	f.Add(assemble(func(a *assembly) { a.score = join(nestedLoops(3), loadRows) }))
	f.Fuzz(func(t *testing.T, module []byte) {
		if _, no := Check(module, 1<<20, RowMemory); no != nil {
			return
		}
		metered, no := Meter(module, RowFuel)
		runtime := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2))
		defer runtime.Close(t.Context())
		_, plain := runtime.CompileModule(t.Context(), module)
		if no != nil {
			if plain == nil {
				t.Fatalf("a valid module is refused: %v", no)
			}
			return
		}
		_, err := runtime.CompileModule(t.Context(), metered)
		if (plain == nil) != (err == nil) {
			t.Fatalf("plain: %v, metered: %v", plain, err)
		}
	})
}

// BenchmarkRows is one row, in an instance of its own.
func BenchmarkRows(b *testing.B) {
	for _, guest := range []string{"income-c", "spy-c"} {
		b.Run(guest, func(b *testing.B) {
			rows := rowsOf(b, stored(b, guest), Text, Float64)
			n := 0.0
			for b.Loop() {
				n++ // never a row that was seen
				if _, ok, err := rows.Score(paid(n / 7)); !ok || err != nil {
					b.Fatal(fmt.Sprint(ok, err))
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
	b.Run("fuel", func(b *testing.B) {
		rows := rowsOf(b, stored(b, "spy-c"), Text, Float64)
		for b.Loop() {
			rows.seen = map[string]float64{}
			if _, ok, _ := rows.Score(paid(555.55)); ok {
				b.Fatal("it ended")
			}
		}
	})
}
