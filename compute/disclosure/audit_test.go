package disclosure

import (
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
)

// extremes enumerates every table of small numbers with the same margins as far
// as an attacker knows them, and returns the range of each withheld cell.
func extremes(t *Table, k int64) map[int][2]int64 {
	rows, cols := t.Sizes[0], t.Sizes[1]
	rowOf := func(i int) int { return i / cols }
	sums := func(n []int64) ([]int64, []int64) {
		r, c := make([]int64, rows), make([]int64, cols)
		for i, v := range n {
			r[rowOf(i)] += v
			c[i%cols] += v
		}
		return r, c
	}
	r0, c0 := sums(t.Counts)
	asMap := func(s []int64) map[int]int64 {
		m := map[int]int64{}
		for i, v := range s {
			m[i] = v
		}
		return m
	}
	rn, cn := known(asMap(r0), k), known(asMap(c0), k)
	group := func(s []int64, node map[int]int) map[int]int64 {
		m := map[int]int64{}
		for i, v := range s {
			m[node[i]] += v
		}
		return m
	}
	wantR, wantC := group(r0, rn), group(c0, cn)
	var held []int
	for i, h := range t.Held {
		if h {
			held = append(held, i)
		}
	}
	out := map[int][2]int64{}
	n := slices.Clone(t.Counts)
	var all int64
	for _, i := range held {
		all += t.Counts[i]
		n[i] = 0
	}
	eq := func(a, b map[int]int64) bool {
		for x, v := range a {
			if b[x] != v {
				return false
			}
		}
		return true
	}
	var try func(at int, left int64)
	try = func(at int, left int64) {
		if at == len(held) {
			r, c := sums(n)
			if left != 0 || !eq(group(r, rn), wantR) || !eq(group(c, cn), wantC) {
				return
			}
			for _, i := range held {
				x, ok := out[i]
				if !ok {
					x = [2]int64{n[i], n[i]}
				}
				out[i] = [2]int64{min(x[0], n[i]), max(x[1], n[i])}
			}
			return
		}
		for v := int64(0); v <= left; v++ {
			n[held[at]] = v
			try(at+1, left-v)
		}
		n[held[at]] = 0
	}
	try(0, all)
	return out
}

func TestAttack16_IntervalsAgainstEnumeration(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	narrow, wide := 0, 0
	for range 400 {
		tab := Table{Sizes: []int{2 + r.IntN(2), 2 + r.IntN(2)}}
		for range tab.Sizes[0] * tab.Sizes[1] {
			tab.Counts = append(tab.Counts, int64(r.IntN(7)))
			tab.Held = append(tab.Held, false)
		}
		for range 2 + r.IntN(4) {
			tab.Held[r.IntN(len(tab.Held))] = true
		}
		k := int64(1 + r.IntN(5))
		got := tab.Audit(k)
		for i, x := range extremes(&tab, k) {
			bad := x[1]-x[0] < k
			if bad != slices.Contains(got, i) {
				t.Fatalf("%+v k %d: cell %d ranges over %v, audit says %v", tab, k, i, x, got)
			}
			if bad {
				narrow++
			} else {
				wide++
			}
		}
	}
	if narrow < 50 || wide < 50 {
		t.Fatalf("one-sided draw: %d narrow, %d wide", narrow, wide)
	}
}

func TestAuditOneKeyAndNone(t *testing.T) {
	for _, c := range []struct {
		counts []int64
		held   []bool
		bad    int
	}{
		{[]int64{100, 5, 20}, []bool{false, true, false}, 1},
		{[]int64{100, 5, 4}, []bool{false, true, true}, 2},
		{[]int64{100, 5, 5}, []bool{false, true, true}, 0},
		{[]int64{100, 0, 20}, []bool{false, true, true}, 0},
	} {
		if got := (&Table{Sizes: []int{3}, Counts: c.counts, Held: c.held}).Audit(10); len(got) != c.bad {
			t.Errorf("%v %v: %v", c.counts, c.held, got)
		}
	}
	if got := (&Table{Counts: []int64{4}, Held: []bool{true}}).Audit(10); len(got) != 1 {
		t.Errorf("one cell: %v", got)
	}
}

func TestBitsRoundUpAndAreExactOnPowers(t *testing.T) {
	for v, want := range map[int64]int64{0: 0, 1: 0, 2: 1000, 3: 1585, 4: 2000, 1024: 10000, 1025: 10002, 10: 3322} {
		if got := Bits(big.NewInt(v)); got != want {
			t.Errorf("%d values: %d, want %d", v, got, want)
		}
	}
}

func TestPublicUnitsSayLittle(t *testing.T) {
	for n, want := range map[int64]int64{0: 0, 9: 0, 57: 50, 512: 510, 999: 990, 1000: 1000, 8213: 8200, 123456: 120000} {
		got := PublicUnits(n)
		if got != want || n >= UnitsBelow(got) {
			t.Errorf("%d: %d, below %d", n, got, UnitsBelow(got))
		}
	}
	if Limit(100_000_000, 510) != 51_000 {
		t.Errorf("0.1 bit of 510 units: %d", Limit(100_000_000, 510))
	}
}
