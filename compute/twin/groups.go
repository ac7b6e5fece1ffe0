package twin

import (
	"cmp"
	"slices"

	"github.com/sandgate/sandgate/compute/model"
)

// grouped cuts a column's cells into at most `most` groups of about equal weight, of
// which each holds a cell that is drawn. Cells of a number stay in order; of a category
// the heavy codes stay alone and the others share the last group. What is missing is a
// group of its own. Cells without weight go where they move least: to the group before
// them, or to the last.
func grouped(c Column, weight []float64, most int) []int {
	out := make([]int, len(weight))
	missing := len(weight) - 1
	alone := weight[missing] > 0 && most > 2 && total(weight[:missing]) > 0
	if alone {
		most--
	}
	n := 0
	if c.Kind == model.KindNumber {
		n = inOrder(out[:missing], weight[:missing], most)
	} else {
		n = byWeight(out[:missing], weight[:missing], most)
	}
	switch {
	case alone:
		out[missing] = n
	default:
		out[missing] = max(0, n-1)
	}
	return out
}

// inOrder gives neighbouring cells to groups; it returns their number.
func inOrder(out []int, weight []float64, most int) int {
	rest, left, group, mass := total(weight), most, 0, 0.0
	filled := 0
	for i, w := range weight {
		// A cell begins a new group when the one before is as heavy as its share, or
		// would be further from it with the cell than without.
		if share := rest / float64(left); w > 0 && mass > 0 && left > 1 && (mass >= share || mass+w-share > share-mass) {
			rest -= mass
			left--
			group++
			mass = 0
		}
		if w > 0 {
			filled = group + 1
		}
		mass += w
		out[i] = group
	}
	return filled
}

// byWeight leaves the heaviest codes alone.
func byWeight(out []int, weight []float64, most int) int {
	order := make([]int, len(weight))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(weight[b], weight[a]) })
	n := 0
	for _, w := range weight {
		if w > 0 {
			n++
		}
	}
	n = min(n, most)
	for rank, i := range order {
		out[i] = max(0, min(rank, n-1))
	}
	return n
}

// merged groups groups again: the coarse group of each fine one.
func merged(c Column, fine []int, weight []float64, most int) []int {
	n := slices.Max(fine) + 1
	mass := make([]float64, n)
	for cell, g := range fine {
		mass[g] += weight[cell]
	}
	missing := len(fine) - 1
	held := weight[missing] > 0 && n > 1 && total(mass[:n-1]) > 0 && mass[n-1] == weight[missing]
	if !held {
		mass = append(mass, 0) // no group is that of what is missing
	}
	return grouped(c, mass, most)[:n]
}

// composed is the coarse group of each cell.
func composed(fine, coarse []int) []int {
	out := make([]int, len(fine))
	for cell, g := range fine {
		out[cell] = coarse[g]
	}
	return out
}
