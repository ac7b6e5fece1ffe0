package federate

import (
	"math/bits"
	"slices"
)

// mersenne is the prime 2^61−1, modulo which ranks are computed. A dependency over the
// rationals is one modulo the prime too, so that nothing is missed.
const mersenne = 1<<61 - 1

// maxSubsets bounds the search of TellsApart.
const maxSubsets = 200_000

// TellsApart says whether some linear combination of the sums over these sets of
// contributors depends on fewer than k of them, though on one: then the differences of
// the sums tell those few apart. It is true as well if there are too many sets to find
// out.
//
// A combination is a vector of the row space of the incidence matrix, and those are the
// vectors orthogonal to its kernel: one with support in I exists if and only if the rows I
// of a kernel basis are linearly dependent.
func TellsApart(sets [][]string, k int) bool {
	var names []string
	for _, s := range sets {
		if len(s) < k {
			return true
		}
		names = append(names, s...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(sets) < 2 || k < 2 {
		return false
	}
	rows := make([][]uint64, len(sets))
	for i, s := range sets {
		rows[i] = make([]uint64, len(names))
		for _, one := range s {
			at, _ := slices.BinarySearch(names, one)
			rows[i][at] = 1
		}
	}
	kernel := kernelOf(rows, len(names))
	tried := 0
	var pick func(from int, chosen [][]uint64) bool
	pick = func(from int, chosen [][]uint64) bool {
		for i := from; i < len(kernel); i++ {
			if tried++; tried > maxSubsets {
				return true
			}
			now := append(chosen[:len(chosen):len(chosen)], kernel[i])
			if dependent(now) || len(now) < k-1 && pick(i+1, now) {
				return true
			}
		}
		return false
	}
	return pick(0, nil)
}

// kernelOf returns, for each column, its coordinates in a basis of the kernel.
func kernelOf(rows [][]uint64, columns int) [][]uint64 {
	pivots := reduce(rows, columns)
	free := []int{}
	for c := range columns {
		if !slices.Contains(pivots, c) {
			free = append(free, c)
		}
	}
	out := make([][]uint64, columns)
	for c := range out {
		out[c] = make([]uint64, len(free))
	}
	for b, c := range free {
		out[c][b] = 1
		for r, p := range pivots {
			out[p][b] = minus(0, rows[r][c])
		}
	}
	return out
}

func dependent(rows [][]uint64) bool {
	own := make([][]uint64, len(rows))
	for i := range rows {
		own[i] = slices.Clone(rows[i])
	}
	return len(reduce(own, len(rows[0]))) < len(rows)
}

// reduce brings rows to reduced echelon form and returns the pivots' columns.
func reduce(rows [][]uint64, columns int) (pivots []int) {
	for c := 0; c < columns && len(pivots) < len(rows); c++ {
		r := len(pivots)
		at := slices.IndexFunc(rows[r:], func(row []uint64) bool { return row[c] != 0 })
		if at < 0 {
			continue
		}
		rows[r], rows[r+at] = rows[r+at], rows[r]
		inv := power(rows[r][c], mersenne-2)
		for i := range rows[r] {
			rows[r][i] = times(rows[r][i], inv)
		}
		for o := range rows {
			if f := rows[o][c]; o != r && f != 0 {
				for i := range rows[o] {
					rows[o][i] = minus(rows[o][i], times(f, rows[r][i]))
				}
			}
		}
		pivots = append(pivots, c)
	}
	return pivots
}

func minus(a, b uint64) uint64 {
	if a < b {
		a += mersenne
	}
	return a - b
}

func times(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return bits.Rem64(hi, lo, mersenne)
}

func power(a, e uint64) uint64 {
	out := uint64(1)
	for ; e > 0; e >>= 1 {
		if e&1 == 1 {
			out = times(out, a)
		}
		a = times(a, a)
	}
	return out
}
