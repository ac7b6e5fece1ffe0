package leak

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Coded are records by column: what the attacks on synthetic data look at.
type Coded [][]uint16

// Rows is how many records there are.
func (d Coded) Rows() int {
	if len(d) == 0 {
		return 0
	}
	return len(d[0])
}

func (d Coded) key(r int, columns []int) string {
	out := make([]byte, 0, 2*len(columns))
	for _, c := range columns {
		out = append(out, byte(d[c][r]>>8), byte(d[c][r]))
	}
	return string(out)
}

// Rate is a share of trials with the half width of its interval at two and a half
// standard deviations.
type Rate struct {
	Share, Half float64
	Trials      int
}

func rateOf(hits, n int) Rate {
	n = max(1, n)
	p := (float64(hits) + 1) / (float64(n) + 2)
	return Rate{float64(hits) / float64(n), 2.5 * math.Sqrt(p*(1-p)/float64(n)), n}
}

// More says whether an attack tells more of the members than of the control (the
// criterion of Giomi et al., "A Unified Framework for Quantifying Privacy Risk in
// Synthetic Data", PETS 2023): by more than chance and than one in a hundred.
func More(members, control Rate) bool {
	return members.Share-control.Share > Margin(members, control)
}

// Margin is how much more may be told of members than of the control.
func Margin(members, control Rate) float64 { return math.Hypot(members.Half, control.Half) + 0.01 }

// Copies is how many rows of a population stand in the twin as they are.
func Copies(drawn, d Coded) Rate {
	all := make([]int, len(d))
	for c := range all {
		all[c] = c
	}
	seen := map[string]bool{}
	for r := range drawn.Rows() {
		seen[drawn.key(r, all)] = true
	}
	hits := 0
	for r := range d.Rows() {
		if seen[d.key(r, all)] {
			hits++
		}
	}
	return rateOf(hits, d.Rows())
}

// SingledOut guesses, from what is unique in the twin in a few columns, that one person
// is like that: the share of guesses that fit exactly one record of a population.
func SingledOut(drawn, d Coded, columns int, seed uint64) Rate {
	r := rand.New(rand.NewPCG(seed, 3))
	hits, guesses := 0, 0
	for range 12 {
		chosen := r.Perm(len(d))[:columns]
		twin, real := map[string]int{}, map[string]int{}
		for i := range drawn.Rows() {
			twin[drawn.key(i, chosen)]++
		}
		for i := range d.Rows() {
			real[d.key(i, chosen)]++
		}
		for k, n := range twin {
			if n == 1 {
				guesses++
				if real[k] == 1 {
					hits++
				}
			}
		}
	}
	return rateOf(hits, max(1, guesses))
}

// Inferred guesses a column of each record from the twin's row that agrees with it in
// most of the others: the share of right guesses.
func Inferred(drawn, d Coded, secret int, rows int) Rate {
	hits := 0
	for i := range rows {
		best, guess := -1, uint16(0)
		for r := range min(3000, drawn.Rows()) {
			same := 0
			for c := range d {
				if c != secret && drawn[c][r] == d[c][i] {
					same++
				}
			}
			if same > best {
				best, guess = same, drawn[secret][r]
			}
		}
		if guess == d[secret][i] {
			hits++
		}
	}
	return rateOf(hits, rows)
}

// Linked says how often two halves of a record lead to the same row of the twin: the
// share of records of which the five nearest rows by the first half of the columns and
// by the second have one in common.
func Linked(drawn, d Coded, rows int) Rate {
	const nearest = 5
	half := len(d) / 2
	find := func(i, from, to int) []int {
		var byDistance [16][]int
		for r := range min(3000, drawn.Rows()) {
			off := 0
			for c := from; c < to; c++ {
				if drawn[c][r] != d[c][i] {
					off++
				}
			}
			if len(byDistance[off]) < nearest {
				byDistance[off] = append(byDistance[off], r)
			}
		}
		return slices.Concat(byDistance[:]...)[:nearest]
	}
	hits := 0
	for i := range rows {
		a, b := find(i, 0, half), find(i, half, len(d))
		if slices.ContainsFunc(a, func(r int) bool { return slices.Contains(b, r) }) {
			hits++
		}
	}
	return rateOf(hits, rows)
}
