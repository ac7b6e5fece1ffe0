package wasm

import (
	"math"
	"testing"
)

// TestR04_GuestsScoreLikeGo: guests built from C and AssemblyScript sources give
// the bits of the Go reference, over several batches, with missing and odd
// values, compiled and interpreted; the stored modules give the same.
func TestR04_GuestsScoreLikeGo(t *testing.T) {
	batches := []Batch{numbers(5000, true), numbers(1, false), numbers(MaxRows/4, false)}
	check := func(t *testing.T, h *Host, module []byte) {
		t.Helper()
		out, stats, err := scored(t, h, module, batches...)
		if err != nil {
			t.Fatal(err)
		}
		row := 0
		for _, b := range batches {
			for r := range b.Rows {
				var x [4]float64
				valid := true
				for i := range x {
					x[i] = b.Columns[i].Floats[r]
					valid = valid && b.Columns[i].valid(r)
				}
				score, band := reference(x)
				if out[0].Valid[row] != valid || out[1].Valid[row] != valid {
					t.Fatalf("row %d: validity %v, want %v", row, out[0].Valid[row], valid)
				}
				if valid && (math.Float64bits(out[0].Floats[row]) != floatBits(score) || out[1].Ints[row] != band && score == score) {
					t.Fatalf("row %d: %v → %x %d, want %x %d", row, x, math.Float64bits(out[0].Floats[row]), out[1].Ints[row], math.Float64bits(score), band)
				}
				row++
			}
		}
		if stats.Rows != int64(row) || stats.Batches != 3 {
			t.Errorf("stats %+v for %d rows", stats, row)
		}
	}
	for _, name := range []string{"logistic-c", "logistic-as"} {
		for engine, h := range map[string]*Host{"compiled": {Pool: pool(t)}, "interpreted": {Pool: pool(t), Interpret: true}} {
			t.Run(name+"/"+engine, func(t *testing.T) { check(t, h, fresh(t, name)) })
		}
		t.Run(name+"/stored", func(t *testing.T) { check(t, &Host{Pool: pool(t)}, stored(t, name)) })
	}
}

func TestTextAndIntegers(t *testing.T) {
	b := Batch{Rows: 5, Columns: []Column{
		{Type: Int64, Ints: []int64{1, -7, 99, 3, math.MinInt64}, Valid: []bool{true, true, false, true, true}},
		{Type: Text, Texts: []string{"", "数据", "abc", "gone", "a long text of more than eight bytes"}, Valid: []bool{true, true, true, false, true}},
	}}
	want := make([]uint64, 5)
	for r, s := range b.Columns[1].Texts {
		h := uint64(0xcbf29ce484222325)
		for _, c := range []byte(s) {
			h = (h ^ uint64(c)) * 0x100000001b3
		}
		if b.Columns[0].valid(r) {
			h ^= uint64(b.Columns[0].Ints[r])
		}
		want[r] = h
	}
	for name, module := range map[string][]byte{"stored": stored(t, "words-c"), "fresh": fresh(t, "words-c")} {
		out, _, err := scored(t, &Host{Pool: pool(t)}, module, b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for r := range 5 {
			if valid := b.Columns[1].Valid[r]; out[0].Valid[r] != valid || valid && uint64(out[0].Ints[r]) != want[r] {
				t.Errorf("%s row %d: %x %v, want %x", name, r, out[0].Ints[r], out[0].Valid[r], want[r])
			}
		}
	}
}

func TestDescribe(t *testing.T) {
	for _, interpret := range []bool{false, true} {
		h := &Host{Pool: pool(t), Interpret: interpret}
		report, sig, stats, err := h.Describe(t.Context(), stored(t, "logistic-as"))
		if err != nil {
			t.Fatal(err)
		}
		if !report.Initialises || report.MemoryMax != 1024*PageBytes || report.Functions < 5 || len(report.SHA256) != 64 || stats.Compile <= 0 {
			t.Errorf("report %+v, stats %+v", report, stats)
		}
		if len(sig.Inputs) != 4 || sig.Inputs[3] != Float64 || len(sig.Outputs) != 2 || sig.Outputs[1] != Int64 {
			t.Errorf("signature %+v", sig)
		}
	}
}
