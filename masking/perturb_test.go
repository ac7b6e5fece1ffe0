package masking

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
)

func made[T any](t *testing.T, op string, p Params) T {
	t.Helper()
	if p.Key == nil {
		p.Key = testKey
	}
	o, err := New(op, p)
	if err != nil {
		t.Fatal(err)
	}
	out, ok := o.(T)
	if !ok {
		t.Fatalf("%s is a %T", op, o)
	}
	return out
}

var feeNoise = Params{Type: fenType, Column: "fee", Width: "10.00", Scale: 3, Lo: "0.00", Hi: "100000.00"}

// TestR20_NoiseIsKeyedBoundedUnbiased: one draw a unit and column, the same at every
// ingest; another key, column or unit draws anew; the result is on the grid and inside
// the bounds; over many units the mean stays and the spread is that of discrete
// Laplace.
func TestR20_NoiseIsKeyedBoundedUnbiased(t *testing.T) {
	fee := made[IntUnitOperator](t, OpNoise, feeNoise)
	other := feeNoise
	other.Column = "cost"
	cost := made[IntUnitOperator](t, OpNoise, other)
	other = feeNoise
	other.Key = bytes.Repeat([]byte{9}, 32)
	rekeyed := made[IntUnitOperator](t, OpNoise, other)
	const units, value = 20_000, 50_000_04 // rounds to 50 000.00
	sum, square, same, sameColumn, sameKey, negative := 0.0, 0.0, 0, 0, 0, 0
	for u := range uint64(units) {
		v := fee.ApplyUnitInt(u, value)
		if v != fee.ApplyUnitInt(u, value) || fee.ApplyUnit(u, "50000.04") != formatInt(fenType, v) {
			t.Fatal("not one draw")
		}
		if v%1000 != 0 || v < 0 || v > 100_000_00 {
			t.Fatalf("%d is off the grid or the bounds", v)
		}
		steps := float64(v-50_000_00) / 1000
		sum, square = sum+steps, square+steps*steps
		if v == cost.ApplyUnitInt(u, value) {
			sameColumn++
		}
		if v == rekeyed.ApplyUnitInt(u, value) {
			sameKey++
		}
		if v == fee.ApplyUnitInt(u+units, value) {
			same++
		}
		if v < 50_000_00 {
			negative++
		}
	}
	// Var = 2q/(1−q)² with q = e^(−1/scale).
	q := math.Exp(-1.0 / 3)
	variance := 2 * q / (1 - q) / (1 - q)
	if mean := sum / units; math.Abs(mean) > 5*math.Sqrt(variance/units) {
		t.Errorf("biased by %v steps", mean)
	}
	if got := square / units; math.Abs(got/variance-1) > 0.08 {
		t.Errorf("variance %v, want %v", got, variance)
	}
	for name, n := range map[string]int{"units": same, "columns": sameColumn, "keys": sameKey} {
		if n > units/5 {
			t.Errorf("%d of %d draws of two %s are equal", n, units, name)
		}
	}
	if negative < units/3 || negative > units/2 {
		t.Errorf("%d draws below the value", negative)
	}
	for _, v := range []int64{-5, 0, 100_000_00, math.MaxInt64, math.MinInt64} {
		for u := range uint64(200) {
			if got := fee.ApplyUnitInt(u, v); got < 0 || got > 100_000_00 {
				t.Fatalf("%d became %d", v, got)
			}
		}
	}
	// The positive control: without rounding to the grid the residue would pass.
	if fee.ApplyUnitInt(1, 50_003_49)%1000 == 349 {
		t.Error("what is finer than the grid passes")
	}
	if v, null := fee.Apply("1.00"); !null || v != "" {
		t.Error("a value without a unit passed")
	}
}

func TestPerturbationVectors(t *testing.T) {
	fee := made[UnitOperator](t, OpNoise, feeNoise)
	day := made[UnitOperator](t, OpNoise, Params{Type: dateType, Column: "day", Width: "7", Scale: 2, Lo: "2025-01-01", Hi: "2025-12-31"})
	code := made[UnitOperator](t, OpResponse, Params{Type: algebra.Type{Kind: algebra.Text}, Column: "sex", Retain: "0.5", Codes: []string{"1", "2", "9"}})
	var got []string
	for u := range uint64(6) {
		got = append(got, fee.ApplyUnit(u, "1234.56")+" "+day.ApplyUnit(u, "2025-06-15")+" "+code.ApplyUnit(u, "1"))
	}
	got = append(got, fmt.Sprint(Permutation(testKey, "wage", []byte("g"), 8)))
	want := strings.Split(perturbationVectors, "\n")
	if strings.Join(got, "\n") != perturbationVectors {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}

// perturbationVectors were computed by a second program, in another language, from the
// texts of the algorithms.
const perturbationVectors = `1260.00 2025-07-24 1
1230.00 2025-06-26 2
1310.00 2025-06-12 1
1210.00 2025-05-22 1
1200.00 2025-07-17 1
1220.00 2025-05-15 1
[6 2 0 7 4 5 3 1]`

// TestR20_ResponseKeepsTheRegisteredShare: a value stays with the registered
// probability and else becomes any code alike, once and for all.
func TestR20_ResponseKeepsTheRegisteredShare(t *testing.T) {
	codes := []string{"a", "b", "c", "d"}
	p := Params{Type: algebra.Type{Kind: algebra.Text}, Column: "c", Retain: "0.6", Codes: codes}
	op := made[UnitOperator](t, OpResponse, p)
	p.Key = bytes.Repeat([]byte{7}, 32)
	rekeyed := made[UnitOperator](t, OpResponse, p)
	const n = 20_000
	count, differ := map[string]int{}, 0
	for u := range uint64(n) {
		v := op.ApplyUnit(u, "b")
		count[v]++
		if v != op.ApplyUnit(u, "b") {
			t.Fatal("not one answer")
		}
		if v != rekeyed.ApplyUnit(u, "b") {
			differ++
		}
	}
	for _, c := range codes {
		want := 0.1
		if c == "b" {
			want = 0.7 // 0.6 + 0.4/4
		}
		if got := float64(count[c]) / n; math.Abs(got-want) > 0.016 {
			t.Errorf("%s: %v, want %v", c, got, want)
		}
	}
	if len(count) != 4 || differ < n/4 {
		t.Errorf("%v, %d differ by key", count, differ)
	}
}

func TestPermutation(t *testing.T) {
	at := [4][4]int{}
	for g := range 24_000 {
		p := Permutation(testKey, "c", fmt.Append(nil, g), 4)
		sorted := slices.Sorted(slices.Values(p))
		if !slices.Equal(sorted, []int{0, 1, 2, 3}) {
			t.Fatalf("%v is no permutation", p)
		}
		for i, v := range p {
			at[i][v]++
		}
	}
	for i := range at {
		for v, n := range at[i] {
			if n < 5600 || n > 6400 {
				t.Errorf("%d stands at %d in %d of 24000", v, i, n)
			}
		}
	}
	long := Permutation(testKey, "c", nil, 1000)
	if !slices.Equal(long, Permutation(testKey, "c", nil, 1000)) || slices.Equal(long, Permutation(testKey, "d", nil, 1000)) ||
		slices.Equal(long, Permutation(bytes.Repeat([]byte{1}, 32), "c", nil, 1000)) {
		t.Error("the order is not that of key and column")
	}
}

// TestLadderIsMonotoneAndNested: each level can be computed from the one before, so a
// grid of the coarsest level is right for every level.
func TestLadderIsMonotoneAndNested(t *testing.T) {
	for _, c := range []struct {
		t     algebra.Type
		rungs string
	}{{dateType, "month quarter year null"}, {dateType, "quarter"}, {fenType, "10.00 50.00 1000.00 null"}, {intType, "5 10"}} {
		l, err := NewLadder(Params{Type: c.t, Ladder: strings.Fields(c.rungs)})
		if err != nil {
			t.Fatal(err)
		}
		for v := int64(-3000); v < 3000; v += 7 {
			for level := 1; level <= l.Height(); level++ {
				fine, nullFine := l.Int(level-1, v)
				coarse, null := l.Int(level, v)
				again, nullAgain := l.Int(level, fine)
				if nullFine && !null || !null && (coarse > fine || coarse != again || nullAgain) {
					t.Fatalf("%v level %d: %d became %d and %d", c.rungs, level, v, fine, coarse)
				}
			}
			if back, _ := l.Int(0, v); back != v || l.Coarsest(l.Coarsest(v)) != l.Coarsest(v) {
				t.Fatal("level 0 or the coarsest level is wrong")
			}
		}
	}
	l, err := NewLadder(Params{Type: algebra.Type{Kind: algebra.Text}, Ladder: []string{"4", "2", "null"}})
	if err != nil {
		t.Fatal(err)
	}
	for level, want := range []string{"239902", "2399", "23", ""} {
		if got, null := l.Text(level, "239902"); got != want || null != (want == "") {
			t.Errorf("level %d: %q", level, got)
		}
	}
	if _, null := l.Text(1, "somewhere"); !null {
		t.Error("what is no code passed a ladder")
	}
}

func TestPerturbationRefusals(t *testing.T) {
	text := algebra.Type{Kind: algebra.Text}
	for name, c := range map[string]struct {
		op string
		p  Params
	}{
		"noise without bounds":         {OpNoise, Params{Type: fenType, Width: "1.00", Scale: 1}},
		"noise without a width":        {OpNoise, Params{Type: fenType, Scale: 1, Lo: "0", Hi: "1"}},
		"noise without a scale":        {OpNoise, Params{Type: fenType, Width: "1.00", Lo: "0", Hi: "1"}},
		"noise on text":                {OpNoise, Params{Type: text, Width: "1", Scale: 1, Lo: "0", Hi: "1"}},
		"noise too wide":               {OpNoise, Params{Type: intType, Width: "1099511627777", Scale: 1, Lo: "0", Hi: "1"}},
		"response that keeps all":      {OpResponse, Params{Type: text, Retain: "1", Codes: []string{"a", "b"}}},
		"response that keeps none":     {OpResponse, Params{Type: text, Retain: "0", Codes: []string{"a", "b"}}},
		"response of one code":         {OpResponse, Params{Type: text, Retain: "0.5", Codes: []string{"a", "a"}}},
		"shuffle of one":               {OpShuffle, Params{Type: text, By: []string{"x"}, Least: 1}},
		"k of one":                     {OpKAnonymous, Params{Type: dateType, K: 1, Ladder: []string{"year"}}},
		"all suppressed":               {OpKAnonymous, Params{Type: dateType, K: 5, Suppress: 21, Ladder: []string{"year"}}},
		"no ladder":                    {OpKAnonymous, Params{Type: dateType, K: 5}},
		"ladder downwards":             {OpKAnonymous, Params{Type: dateType, K: 5, Ladder: []string{"year", "month"}}},
		"null in between":              {OpKAnonymous, Params{Type: dateType, K: 5, Ladder: []string{"null", "year"}}},
		"widths that do not nest":      {OpKAnonymous, Params{Type: intType, K: 5, Ladder: []string{"10", "25"}}},
		"digits that do not exist":     {OpKAnonymous, Params{Type: text, K: 5, Ladder: []string{"3"}}},
		"a field of another operator":  {OpKAnonymous, Params{Type: dateType, K: 5, Ladder: []string{"year"}, Width: "1"}},
		"a year of a truth value":      {OpKAnonymous, Params{Type: algebra.Type{Kind: algebra.Bool}, K: 5, Ladder: []string{"year"}}},
		"year with a ladder by itself": {OpYear, Params{Type: dateType, Ladder: []string{"year"}}},
	} {
		if _, _, err := OutType(c.op, c.p); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for _, op := range []string{OpNoise, OpResponse} {
		p := feeNoise
		if op == OpResponse {
			p = Params{Type: text, Retain: "0.5", Codes: []string{"a", "b"}}
		}
		p.Key = []byte("short")
		if _, err := New(op, p); err == nil {
			t.Errorf("%s took a short key", op)
		}
	}
}

// TestPerturbationIsComparableToItselfAlone: a mask that draws, or that looks at other
// rows, is no function of a value under another mask.
func TestPerturbationIsComparableToItselfAlone(t *testing.T) {
	masks := map[string]Params{
		OpNoise: feeNoise, OpShuffle: {Type: fenType, By: []string{"a"}},
		OpKAnonymous: {Type: fenType, K: 5, Ladder: []string{"10.00", "null"}}, OpKeep: {Type: fenType}, OpRound: {Type: fenType, Width: "10.00"},
	}
	for a, p := range masks {
		for b, q := range masks {
			if !Perturbs(a) && !Perturbs(b) {
				continue
			}
			want := a == b || b == OpKeep && !Perturbs(a)
			if got := AtLeast(a, p, b, q); got != want {
				t.Errorf("%s at least as general as %s: %v", a, b, got)
			}
		}
		if !AtLeast(OpNull, Params{Type: fenType}, a, p) || a != OpKeep && AtLeast(a, p, OpNull, Params{Type: fenType}) {
			t.Errorf("null against %s", a)
		}
	}
	two := feeNoise
	two.Scale++
	if AtLeast(OpNoise, two, OpNoise, feeNoise) || AtLeast(OpConstant, Params{Type: fenType, Value: "1.00"}, OpShuffle, masks[OpShuffle]) {
		t.Error("two draws are comparable")
	}
}
