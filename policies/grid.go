package policies

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
)

// MaxGridCells caps the cells of a grid: each costs a draw of noise in every group.
const MaxGridCells = 200

// ParseGrid returns the edges of a column's grid in minimal units or days,
// ascending. The grid must cover the registered bounds and have no cell outside
// them: a value that falls in no cell would be missing from every quantile.
func ParseGrid(c Column) ([]int64, error) {
	if c.Bounds == nil {
		return nil, texts.Errorf("a grid needs registered bounds, which it covers")
	}
	bounds, err := ParseBounds(c)
	if err != nil {
		return nil, err
	}
	edges, err := gridEdges(c)
	if err != nil {
		return nil, err
	}
	if len(edges) < 2 || len(edges) > MaxGridCells+1 {
		return nil, texts.Errorf("a grid has 1 to %d cells", MaxGridCells)
	}
	for i := range edges[1:] {
		if edges[i] >= edges[i+1] {
			return nil, texts.Errorf("edges must ascend and not repeat")
		}
	}
	if edges[0] > bounds[0] || edges[len(edges)-1] < bounds[1] {
		return nil, texts.Errorf("the grid must cover the bounds, from bounds.lo to bounds.hi")
	}
	if edges[1] <= bounds[0] || edges[len(edges)-2] > bounds[1] {
		return nil, texts.Errorf("a cell of the grid lies outside the bounds")
	}
	return edges, nil
}

func gridEdges(c Column) ([]int64, error) {
	g := c.Grid
	if len(g.Edges) > 0 {
		if g.From != "" || g.To != "" || g.Step != "" {
			return nil, texts.Errorf("give edges, or from, to and step, not both")
		}
		if len(g.Edges) > MaxGridCells+1 {
			return nil, texts.Errorf("a grid has 1 to %d cells", MaxGridCells)
		}
		var out []int64
		for _, s := range g.Edges {
			v, err := parseUnits(c, s)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	}
	if g.From == "" || g.To == "" || g.Step == "" {
		return nil, texts.Errorf("give edges, or from, to and step")
	}
	from, err := parseUnits(c, g.From)
	if err != nil {
		return nil, err
	}
	to, err := parseUnits(c, g.To)
	if err != nil {
		return nil, err
	}
	next, err := stepper(c, g.Step, from)
	if err != nil {
		return nil, err
	}
	out := []int64{from}
	for i := 1; len(out) <= MaxGridCells; i++ {
		v := next(i)
		if v >= to {
			return append(out, to), nil
		}
		out = append(out, v)
	}
	return nil, texts.Errorf("a grid has 1 to %d cells", MaxGridCells)
}

// stepper returns the i-th edge after from.
func stepper(c Column, step string, from int64) (func(i int) int64, error) {
	if c.Type != algebra.Date {
		v, err := parseUnits(c, step)
		if err != nil {
			return nil, err
		}
		if v < 1 {
			return nil, texts.Errorf("step must be positive")
		}
		return func(i int) int64 { return from + int64(i)*v }, nil
	}
	count, unit, _ := strings.Cut(step, " ")
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > 10_000 {
		return nil, texts.Errorf(`the step of a date grid is like "1 month", "3 months" or "7 days"`)
	}
	switch unit {
	case "day", "days":
		return func(i int) int64 { return from + int64(i*n) }, nil
	case "month", "months":
		start := time.Unix(from*86400, 0).UTC()
		if start.Day() > 28 {
			return nil, texts.Errorf("a grid in months starts on day 1…28, which every month has")
		}
		return func(i int) int64 { return start.AddDate(0, i*n, 0).Unix() / 86400 }, nil
	}
	return nil, texts.Errorf(`the step of a date grid is like "1 month", "3 months" or "7 days"`)
}

// maskedGrid carries a grid through the masks that keep order: edges become what
// the mask makes of them, the last one rounded up, so that the grid still covers
// every value.
func maskedGrid(c Column, m Mask) ([]int64, error) {
	if c.Grid == nil {
		return nil, nil
	}
	edges, err := ParseGrid(c)
	if err != nil {
		return nil, err
	}
	last := edges[len(edges)-1]
	switch {
	case m.Op == masking.OpKeep:
		return edges, nil
	case masking.Perturbs(m.Op):
		return perturbedGrid(c, m, edges)
	case m.Op == masking.OpYear && c.Type == algebra.Date:
		for i := range edges {
			edges[i] = algebra.YearOf(edges[i])
		}
		if year, _ := algebra.ParseDate(fmt.Sprintf("%04d-01-01", edges[len(edges)-1])); year != last {
			edges[len(edges)-1]++
		}
	case m.Op == masking.OpMonth && c.Type == algebra.Date:
		for i := range edges {
			edges[i] = algebra.MonthOf(edges[i])
		}
		if edges[len(edges)-1] != last {
			edges[len(edges)-1] = algebra.NextMonth(last)
		}
	default:
		return generalisedGrid(c, m, edges)
	}
	edges = slices.Compact(edges)
	if len(edges) < 2 {
		return nil, nil
	}
	return edges, nil
}

// generalisedGrid carries a grid through the other monotone masks. Inner edges
// become what the mask makes of them. Where the mask gives lower edges of bands,
// the last edge lies beyond the greatest of them, so that the band it starts is not
// merged with the one before. Ages turn the order round and are no longer dates:
// their grid is the bands themselves.
func generalisedGrid(c Column, m Mask, edges []int64) ([]int64, error) {
	op, ok, err := intOperator(c, m)
	if !ok || err != nil {
		return nil, err
	}
	first, last := edges[0], edges[len(edges)-1]
	if m.Op == masking.OpAgeBand {
		edges = op.Image(first, last, MaxGridCells)
		if edges == nil {
			return nil, nil
		}
		return append(edges, edges[len(edges)-1]+1), nil
	}
	for i, e := range edges {
		edges[i] = op.ApplyInt(e)
	}
	edges[len(edges)-1] = max(edges[len(edges)-1], last)
	if m.Op == masking.OpClip {
		edges[len(edges)-1] = op.ApplyInt(last)
	}
	if edges = slices.Compact(edges); len(edges) < 2 {
		return nil, nil
	}
	return edges, nil
}
