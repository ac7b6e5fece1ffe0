package analyse

import (
	"math"
	"math/big"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"pgregory.net/rapid"
)

// TestNumberComparisonIsExact compares every coerced comparison with rational
// arithmetic: the coercion changes neither which values pass nor what NULL gives.
func TestNumberComparisonIsExact(t *testing.T) {
	ops := []algebra.PredOp{algebra.OpEq, algebra.OpNe, algebra.OpLt, algebra.OpLe, algebra.OpGt, algebra.OpGe}
	holds := func(op algebra.PredOp, d int) bool {
		return map[algebra.PredOp]bool{algebra.OpEq: d == 0, algebra.OpNe: d != 0, algebra.OpLt: d < 0,
			algebra.OpLe: d <= 0, algebra.OpGt: d > 0, algebra.OpGe: d >= 0}[op]
	}
	huge, _ := new(big.Int).SetString("99999999999999999999999999", 10)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]*big.Int{
			big.NewInt(0), big.NewInt(1), big.NewInt(-1), big.NewInt(45), big.NewInt(-45), big.NewInt(1005), big.NewInt(-999),
			big.NewInt(math.MaxInt64), big.NewInt(math.MinInt64), huge, new(big.Int).Neg(huge),
		}).Draw(t, "n")
		number := new(big.Rat).SetFrac(n, big.NewInt(rapid.SampledFrom([]int64{1, 10, 1000, 100000}).Draw(t, "unit")))
		typ := algebra.Type{Kind: algebra.Decimal, Scale: uint8(rapid.IntRange(0, 4).Draw(t, "scale"))}
		op := rapid.SampledFrom(ops).Draw(t, "op")
		c := numberComparison(op, term{typ: typ}, number)
		if c.a == nil || (c.b == nil) == (len(c.values) == 0) {
			t.Fatalf("NULL must stay NULL: %+v", c)
		}
		near := new(big.Int).Div(scaled(number, typ.Scale).Num(), scaled(number, typ.Scale).Denom())
		values := []int64{0, 1, -1, math.MaxInt64, math.MinInt64}
		if near.IsInt64() && near.Int64() > math.MinInt64 && near.Int64() < math.MaxInt64 {
			values = append(values, near.Int64()-1, near.Int64(), near.Int64()+1)
		}
		for _, x := range values {
			want := holds(op, new(big.Rat).SetInt64(x).Cmp(scaled(number, typ.Scale)))
			got := holds(c.op, 0) // a term with itself
			if c.b == nil {
				got = holds(c.op, big.NewInt(x).Cmp(big.NewInt(c.values[0].I)))
			}
			if got != want {
				t.Fatalf("%d (scale %d) %s %s: got %v, want %v", x, typ.Scale, op, number, got, want)
			}
		}
	})
}

func TestParseDateIsStrict(t *testing.T) {
	for text, want := range map[string]int64{"1970-01-01": 0, "1969-12-31": -1, "0001-01-01": algebra.MinDate, "9999-12-31": algebra.MaxDate, "2020-02-29": 18321} {
		if got, ok := parseDate(text); !ok || got != want {
			t.Errorf("%s: got %d %v, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "2020-2-3", "2020-02-30", "0000-12-31", "10000-01-01", "2020-01-01 ", "2020-01-01T00:00:00Z", "infinity", "epoch", "20200101", "２０２０-01-01"} {
		if _, ok := parseDate(text); ok {
			t.Errorf("%q: accepted", text)
		}
	}
}

func TestMeanComparesWithAnyDecimal(t *testing.T) {
	for text, want := range map[string]algebra.Value{
		"5":            {Type: algebra.Type{Kind: algebra.Int}, I: 5},
		"5.50":         {Type: algebra.Type{Kind: algebra.Decimal, Scale: 1}, I: 55},
		"-0.000000001": {Type: algebra.Type{Kind: algebra.Decimal, Scale: 9}, I: -1},
	} {
		r, _ := new(big.Rat).SetString(text)
		if got, ok := (literal{kind: litNumber, number: r}).decimal(); !ok || got != want {
			t.Errorf("%s: got %+v %v", text, got, ok)
		}
	}
	for _, text := range []string{"0.0000000001", "9223372036854775808"} {
		r, _ := new(big.Rat).SetString(text)
		if got, ok := (literal{kind: litNumber, number: r}).decimal(); ok {
			t.Errorf("%s: accepted as %+v", text, got)
		}
	}
}
