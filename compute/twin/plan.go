package twin

import (
	"context"
	"errors"
	"math"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/model"
)

// Kinds of passes. Every unit counts once: each of its rows weighs one over their
// number, so that it moves each table by at most 1.
const (
	PassCells  model.PassKind = "twin-cells"  // every column in full resolution, then units by number of rows
	PassCoarse model.PassKind = "twin-coarse" // all pairs of columns on coarse groups
	PassFine   model.PassKind = "twin-fine"   // the pairs of the tree on fine groups
)

// Pass asks for sums, as a pass of a model does. Norm is the L2 sensitivity in lattice
// steps, adding or removing a unit; Theta, Trees and Model are not used.
type Pass struct {
	model.Pass
	// Groups give, per column, the group of each cell; Pairs are the columns of each
	// table, which lie one after the other, the second column's group changing fastest.
	Groups [][]int  `json:"groups,omitempty"`
	Pairs  [][2]int `json:"pairs,omitempty"`
}

// Oracle answers a pass with one integer per coordinate, in units of its lattice step.
type Oracle interface {
	Sums(ctx context.Context, p Pass) ([]int64, error)
}

// Plan is every pass that learning may ask for, in order, before any data is read. The
// width of a pass over pairs is the greatest it may have.
type Plan struct {
	Passes []Pass `json:"passes"`
}

// Price is what all passes cost together: the rho of the schema, to the nano.
func (p Plan) Price() budget.Nano {
	var sum budget.Nano
	for _, x := range p.Passes {
		sum += x.Rho
	}
	return sum
}

// Shares of ρ of the three passes, in percent.
const (
	shareCells  = 55
	shareCoarse = 18
)

// lattice is how many steps the largest contribution to a pass has, about.
const lattice = 1 << 12

// Plan lists the passes of the schema.
func (s Schema) Plan() Plan {
	d := len(s.Columns)
	cells := planned(PassCells, s.cellTables())
	cells.Width, cells.Rho = s.cellsWidth(), s.Rho
	if d == 1 {
		return Plan{Passes: []Pass{cells}}
	}
	coarse, fine := planned(PassCoarse, d*(d-1)/2), planned(PassFine, edgesOf(d))
	for a := range d {
		for b := range a {
			coarse.Width += min(maxCoarse, s.Columns[a].Bins()) * min(maxCoarse, s.Columns[b].Bins())
		}
	}
	fine.Width = edgesOf(d) * maxFine * maxFine
	cells.Rho = max(1, s.Rho*shareCells/100)
	coarse.Rho = max(1, s.Rho*shareCoarse/100)
	fine.Rho = s.Rho - cells.Rho - coarse.Rho
	return Plan{Passes: []Pass{cells, coarse, fine}}
}

// planned is a pass over so many tables, of which a unit moves each by at most 1. The
// step is one over an integer, so that a unit is a whole number of steps.
func planned(kind model.PassKind, tables int) Pass {
	k := stepsOf(tables)
	return Pass{Pass: model.Pass{Kind: kind, Step: 1 / float64(k), Norm: normOf(tables)}}
}

func stepsOf(tables int) int64 { return int64(lattice / math.Sqrt(float64(tables))) }

// normOf is ⌈k·√tables⌉.
func normOf(tables int) int64 {
	k := stepsOf(tables)
	square := k * k * int64(tables)
	n := int64(math.Sqrt(float64(square)))
	for n*n < square {
		n++
	}
	return n
}

// edgesOf a 2-tree over d columns.
func edgesOf(d int) int {
	if d < 3 {
		return d - 1
	}
	return 2*d - 3
}

// cellTables is the number of tables of the first pass: the columns, and units by
// number of rows where that is not always one.
func (s Schema) cellTables() int {
	if s.RowsPerUnit == 1 {
		return len(s.Columns)
	}
	return len(s.Columns) + 1
}

func (s Schema) cellsWidth() int {
	n := 0
	if s.RowsPerUnit > 1 {
		n = s.RowsPerUnit
	}
	for _, c := range s.Columns {
		n += c.Bins()
	}
	return n
}

// Admit refuses, as CodePass, a pass that is not the i-th of the plan. The release
// kernel's side calls it before it answers, so that neither learner nor worker can buy
// precision that was not planned: price, norm and number of tables are fixed, and only
// groups and pairs are the learner's choice.
func (s Schema) Admit(i int, p Pass) error {
	all := s.Plan().Passes
	if i < 0 || i >= len(all) {
		return badPass(i)
	}
	x := all[i]
	if x.Kind != p.Kind || x.Rho != p.Rho || x.Norm != p.Norm || x.Step != p.Step || p.Width > x.Width || s.steps(p) == 0 {
		return badPass(i)
	}
	return nil
}

// steps is how many lattice steps a unit is worth in each table of a pass; 0 of a pass
// that does not have the form of the schema.
func (s Schema) steps(p Pass) int64 {
	d := len(s.Columns)
	if len(p.Theta) != 0 || len(p.Trees) != 0 || p.Model != nil {
		return 0
	}
	tables, most := 0, 0
	switch p.Kind {
	case PassCells:
		tables = s.cellTables()
		if len(p.Groups) != 0 || len(p.Pairs) != 0 || p.Width != s.cellsWidth() {
			return 0
		}
	case PassCoarse:
		tables, most = d*(d-1)/2, maxCoarse
	case PassFine:
		tables, most = edgesOf(d), maxFine
	default:
		return 0
	}
	if most > 0 && (d < 2 || len(p.Pairs) != tables || p.Width != pairsWidth(s.Columns, p.Groups, p.Pairs, most)) {
		return 0
	}
	if k := stepsOf(tables); p.Norm == normOf(tables) && p.Step == 1/float64(k) {
		return k
	}
	return 0
}

// pairsWidth is the width of a pass over pairs, or -1 of one that is malformed.
func pairsWidth(columns []Column, groups [][]int, pairs [][2]int, most int) int {
	if len(groups) != len(columns) {
		return -1
	}
	size := make([]int, len(columns))
	for c, g := range groups {
		if size[c] = groupsOf(g, columns[c].Bins(), most); size[c] < 1 {
			return -1
		}
	}
	n := 0
	for _, p := range pairs {
		if p[0] < 0 || p[1] < 0 || p[0] >= len(columns) || p[1] >= len(columns) || p[0] == p[1] {
			return -1
		}
		n += size[p[0]] * size[p[1]]
	}
	return n
}

// groupsOf is how many groups there are, 1…most, each with a cell; 0 when malformed.
func groupsOf(g []int, cells, most int) int {
	if len(g) != cells {
		return 0
	}
	seen := make([]bool, most)
	top := -1
	for _, x := range g {
		if x < 0 || x >= most {
			return 0
		}
		seen[x] = true
		top = max(top, x)
	}
	for _, s := range seen[:top+1] {
		if !s {
			return 0
		}
	}
	return top + 1
}

// Replay answers the first passes from a log of answers and asks next for the others.
func Replay(answers [][]int64, next Oracle) Oracle { return &replay{answers: answers, next: next} }

type replay struct {
	answers [][]int64
	next    Oracle
}

func (r *replay) Sums(ctx context.Context, p Pass) ([]int64, error) {
	if len(r.answers) == 0 {
		return r.next.Sums(ctx, p)
	}
	a := r.answers[0]
	if len(a) != p.Width {
		return nil, errors.New("failed to replay the learning of a twin: a logged answer belongs to another pass")
	}
	r.answers = r.answers[1:]
	return a, nil
}

// Local answers passes over data at hand with their exact sums. It is for where the
// rows are; see Noised.
func Local(d *model.Data, s Schema) Oracle { return local{d, s} }

type local struct {
	d *model.Data
	s Schema
}

func (l local) Sums(ctx context.Context, p Pass) ([]int64, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return Sums(l.d, l.s, p)
}

// Noised adds noise (release.Sums) to an oracle's answers.
func Noised(exact Oracle, add func(sums []int64, norm int64, rho budget.Nano) ([]int64, error)) Oracle {
	return noised{exact, add}
}

type noised struct {
	exact Oracle
	add   func(sums []int64, norm int64, rho budget.Nano) ([]int64, error)
}

func (n noised) Sums(ctx context.Context, p Pass) ([]int64, error) {
	sums, err := n.exact.Sums(ctx, p)
	if err != nil {
		return nil, err
	}
	return n.add(sums, p.Norm, p.Rho)
}
