package metering

import (
	"math/rand/v2"
	"testing"
	"time"
)

// R10: parts add up to the whole, none is more than one off its exact share, and
// equal weights in any order give the same parts.
func TestR10_DivideAddsUp(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		weights := map[string]int64{}
		var sum int64
		for _, n := range []string{"a", "b", "c", "d", "e"}[:1+r.IntN(5)] {
			weights[n] = 1 + r.Int64N(9)
			sum += weights[n]
		}
		amount := r.Int64N(100_000)
		names, parts := divide(weights, amount)
		var total int64
		for i, p := range parts {
			total += p
			if low := amount * weights[names[i]] / sum; p != low && p != low+1 {
				t.Fatalf("%v of %d: part of %s is %d", weights, amount, names[i], p)
			}
		}
		if total != amount {
			t.Fatalf("%v of %d adds up to %d", weights, amount, total)
		}
	}
	if names, parts := divide(nil, 5); names != nil || parts != nil {
		t.Error("nobody gets something")
	}
}

// Quarters are those of Beijing, not of Greenwich, and fill the year.
func TestR32_QuartersFillTheYear(t *testing.T) {
	y := Year(2026)
	at := y.From
	for q := 1; q <= 4; q++ {
		p := Quarter(2026, q)
		if !p.From.Equal(at) {
			t.Errorf("quarter %d begins at %v", q, p.From)
		}
		at = p.To
	}
	if !at.Equal(y.To) || !y.From.Equal(time.Date(2025, 12, 31, 16, 0, 0, 0, time.UTC)) {
		t.Errorf("the year is %v to %v", y.From, at)
	}
	if !y.holds(y.From) || y.holds(y.To) {
		t.Error("a period holds its first instant and not its end")
	}
}
