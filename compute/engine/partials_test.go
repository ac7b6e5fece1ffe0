package engine

import (
	"errors"
	"math/big"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

var (
	textType = algebra.Type{Kind: algebra.Text}
	intType  = algebra.Type{Kind: algebra.Int}
	boolType = algebra.Type{Kind: algebra.Bool}
)

func testPlan(exact bool, max int, keys ...algebra.Type) *protect.Plan {
	p := &protect.Plan{Measures: make([]protect.Measure, 2), MaxCells: max}
	for _, k := range keys {
		p.Keys = append(p.Keys, protect.Key{Col: algebra.Col{Type: k}})
	}
	if exact {
		p.Exact = &protect.ExactRules{}
	}
	return p
}

func bigs(v ...int64) []*big.Int {
	var out []*big.Int
	for _, x := range v {
		out = append(out, big.NewInt(x))
	}
	return out
}

func TestPartialsRoundTrip(t *testing.T) {
	huge := new(big.Int).Lsh(big.NewInt(1), 126)
	cells := []protect.Cell{
		{Keys: []algebra.Value{{Type: textType, S: "东区"}, {Type: intType, I: -5}}, M: []*big.Int{big.NewInt(7), new(big.Int).Neg(huge)}},
		{Keys: []algebra.Value{{Type: textType, Null: true}, {Type: intType, I: 0}}, M: []*big.Int{big.NewInt(0), huge}},
		{Keys: []algebra.Value{{Type: textType, S: ""}, {Type: intType, Null: true}}, M: []*big.Int{minInt128, maxInt128}},
	}
	for _, exact := range []bool{false, true} {
		plan := testPlan(exact, 3, textType, intType)
		want := protect.Partials{Cells: cells}
		if exact {
			want.Total = &protect.Cell{Keys: []algebra.Value{{Type: textType, Null: true}, {Type: intType, Null: true}}, M: bigs(10, 20)}
		}
		frames, err := EncodePartials(plan, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodePartials(plan, frames)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Cells) != len(want.Cells) || (got.Total == nil) != (want.Total == nil) {
			t.Fatalf("got %+v", got)
		}
		for i := range got.Cells {
			if !slices.Equal(got.Cells[i].Keys, want.Cells[i].Keys) {
				t.Errorf("cell %d keys %+v", i, got.Cells[i].Keys)
			}
			for m := range got.Cells[i].M {
				if got.Cells[i].M[m].Cmp(want.Cells[i].M[m]) != 0 {
					t.Errorf("cell %d measure %d: %v", i, m, got.Cells[i].M[m])
				}
			}
		}
		small := testPlan(exact, 2, textType, intType)
		if _, err := DecodePartials(small, frames); !errors.Is(err, ErrPartials) {
			t.Errorf("more cells than the plan allows: %v", err)
		}
	}
}

func TestPartialsExactNeedsTotal(t *testing.T) {
	plan := testPlan(true, 5, intType)
	cells := protect.Partials{Cells: []protect.Cell{{Keys: []algebra.Value{{Type: intType, I: 1}}, M: bigs(1, 2)}}}
	if _, err := EncodePartials(plan, cells); err == nil {
		t.Fatal("encoded exact partials without a total")
	}
	cells.Total = &protect.Cell{M: bigs(1, 2)}
	frames, err := EncodePartials(plan, cells)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodePartials(plan, append(frames, frames...)); !errors.Is(err, ErrPartials) {
		t.Fatalf("a key and a total that occur twice were taken: %v", err)
	}
	none := testPlan(true, 1)
	frames, err = EncodePartials(none, protect.Partials{Cells: []protect.Cell{{M: bigs(3, 4)}}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodePartials(none, frames)
	if err != nil || got.Total == nil || got.Total.M[1].Int64() != 4 {
		t.Fatalf("without keys the cell is the total: %+v, %v", got, err)
	}
	if _, err := DecodePartials(none, nil); !errors.Is(err, ErrPartials) {
		t.Fatalf("no total: %v", err)
	}
}

// TestPartialsStrict changes every byte of a good frame, cuts it everywhere and
// lengthens it: what is not refused must still be canonical.
func TestPartialsStrict(t *testing.T) {
	plan := testPlan(false, 4, textType, boolType)
	frames, err := EncodePartials(plan, protect.Partials{Cells: []protect.Cell{
		{Keys: []algebra.Value{{Type: textType, S: "ab"}, {Type: boolType, I: 1}}, M: bigs(1, 2)},
		{Keys: []algebra.Value{{Type: textType, Null: true}, {Type: boolType}}, M: bigs(3, -4)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	good := frames[0]
	for cut := range good {
		if _, err := DecodePartials(plan, [][]byte{good[:cut]}); !errors.Is(err, ErrPartials) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	if _, err := DecodePartials(plan, [][]byte{append(slices.Clone(good), 0)}); !errors.Is(err, ErrPartials) {
		t.Fatalf("trailing byte: %v", err)
	}
	for i := range good {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			bad := slices.Clone(good)
			bad[i] ^= flip
			got, err := DecodePartials(plan, [][]byte{bad})
			if err != nil {
				continue
			}
			again, err := EncodePartials(plan, got)
			if err != nil || len(again) != 1 || !slices.Equal(again[0], bad) {
				t.Fatalf("byte %d: a frame with two meanings", i)
			}
		}
	}
	for _, other := range []*protect.Plan{testPlan(false, 4, textType), testPlan(false, 4, textType, textType), testPlan(true, 4, textType, boolType)} {
		if _, err := DecodePartials(other, frames); !errors.Is(err, ErrPartials) {
			t.Fatalf("another plan's frame was taken: %v", err)
		}
	}
}

func TestDecoderMemoryFollowsInput(t *testing.T) {
	plan := testPlan(false, 1<<30, intType)
	lie := []byte{frameVersion, 0xff, 0xff, 0xff, 0x3f, 3, 0, colInt}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if _, err := DecodePartials(plan, [][]byte{lie}); !errors.Is(err, ErrPartials) {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Fatalf("allocated %d bytes for 800", grown)
	}
}

func FuzzDecodePartials(f *testing.F) {
	for _, exact := range []bool{false, true} {
		plan := testPlan(exact, 4, textType, intType)
		frames, err := EncodePartials(plan, protect.Partials{
			Cells: []protect.Cell{{Keys: []algebra.Value{{Type: textType, S: "x"}, {Type: intType, I: 2}}, M: bigs(1, 2)}},
			Total: &protect.Cell{M: bigs(1, 2)},
		})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(exact, frames[0])
	}
	f.Add(false, []byte{1, 255, 255, 255, 255, 4, 0})
	f.Fuzz(func(t *testing.T, exact bool, raw []byte) {
		plan := testPlan(exact, 4, textType, intType)
		got, err := DecodePartials(plan, [][]byte{raw})
		if err != nil {
			if !errors.Is(err, ErrPartials) || !reflect.DeepEqual(got, protect.Partials{}) {
				t.Fatalf("refusal with content: %v", err)
			}
			return
		}
		if len(got.Cells) > plan.MaxCells {
			t.Fatal("over the cap")
		}
	})
}
