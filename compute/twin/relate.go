package twin

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
)

// LearnRelations asks a span's two passes and returns what ties its tables: a tree over
// the tables (Chow, Liu 1968), each tied to another by the pair of columns that tell most
// of each other, presence among them. twins are those of the span's tables, in their
// order; progress may be nil. A refusal is drawn from noisy sums and may be told.
func LearnRelations(ctx context.Context, s Span, twins []*Twin, oracle Oracle, progress func(done, total int)) (*Relations, error) {
	if err := s.of(twins); err != nil {
		return nil, err
	}
	r := relating{span: s, twins: twins, plan: s.Plan(), oracle: oracle, progress: progress}
	few, err := r.ask(ctx, 0, nil)
	if err != nil {
		return nil, err
	}
	if err := r.count(few); err != nil {
		return nil, err
	}
	if err := r.marginals(); err != nil {
		return nil, err
	}
	tree := r.tree(few)
	var chosen [][2]int
	for _, b := range tree[1:] {
		chosen = append(chosen, [2]int{b.pair, 0})
	}
	many, err := r.ask(ctx, 1, chosen)
	if err != nil {
		return nil, err
	}
	out := &Relations{Format: RelationsFormat, Span: s, Rho: s.Rho.String(), Units: int64(math.Round(r.units)), Ties: r.ties(tree, many)}
	for _, x := range r.sigma {
		out.Noise = append(out.Noise, int64(math.Round(x*1000)))
	}
	if err := out.check(); err != nil {
		return nil, err
	}
	if out.Quality, err = r.judge(out, few); err != nil {
		return nil, err
	}
	return out, out.check()
}

// of holds twins to the span they are tied by.
func (s Span) of(twins []*Twin) error {
	if !s.holds() || len(twins) != len(s.Tables) {
		return badFile("跨表关系与孪生不符", "relations and twins do not belong together")
	}
	for i, t := range s.Tables {
		digest, err := twins[i].Digest()
		if err != nil || digest != t.Twin || len(twins[i].Columns) != len(t.Cells) {
			return badFile("跨表关系与孪生不符", "relations and twins do not belong together")
		}
		for c, n := range t.Cells {
			if twins[i].Columns[c].Bins() != n {
				return badFile("跨表关系与孪生不符", "relations and twins do not belong together")
			}
		}
		for _, l := range t.Links {
			_, few := l.joined(twins[i], l.Few)
			if _, many := l.joined(twins[i], l.Many); !few || !many {
				return badFile("跨表关系与孪生不符", "relations and twins do not belong together")
			}
		}
	}
	return nil
}

// joined is the link's group of each of a twin's groups; false when one is cut apart.
func (l Link) joined(t *Twin, groups []int) ([]int, bool) {
	fine := t.Groups[l.Column]
	out := make([]int, slices.Max(fine)+1)
	for i := range out {
		out[i] = -1
	}
	for cell, g := range fine {
		if out[g] >= 0 && out[g] != groups[cell] {
			return nil, false
		}
		out[g] = groups[cell]
	}
	return out, true
}

type relating struct {
	span     Span
	twins    []*Twin
	plan     Plan
	oracle   Oracle
	progress func(done, total int)
	sigma    []float64     // by pass
	units    float64       // that have a row in any table
	few      [][][]float64 // by table, link and state of the first pass; sum to units
	many     [][][]float64 // of the second
}

// ask answers a pass, as counts.
func (r *relating) ask(ctx context.Context, i int, chosen [][2]int) ([]table, error) {
	p := r.plan.Passes[i]
	p.Pairs = chosen
	pairs := r.span.asked(p)
	p.Width = r.span.width(pairs, p.Kind)
	if err := r.span.Admit(i, p); err != nil {
		return nil, err
	}
	sums, err := r.oracle.Sums(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("failed to answer pass %d of relations: %w", i+1, err)
	}
	if len(sums) != p.Width {
		return nil, errors.New("failed to learn relations: an answer does not have the width of its pass")
	}
	r.sigma = append(r.sigma, p.Sigma())
	if r.progress != nil {
		r.progress(i+1, len(r.plan.Passes))
	}
	return r.span.cutUp(sums, pairs, p), nil
}

// cutUp makes tables of an answer.
func (s Span) cutUp(sums []int64, pairs []across, p Pass) []table {
	var out []table
	for _, x := range pairs {
		t := newTable(states(s.linkOf(x, 0).groups(p.Kind)), states(s.linkOf(x, 1).groups(p.Kind)))
		for i := range t.v {
			t.v[i] = float64(sums[i]) * p.Step
		}
		sums = sums[len(t.v):]
		out = append(out, t)
	}
	return out
}

// count takes the units from the first pass: each of its tables counts all.
func (r *relating) count(few []table) error {
	sum, weight := 0.0, 0.0
	for _, t := range few {
		w := 1 / float64(len(t.v))
		sum, weight = sum+w*total(t.v), weight+w
	}
	if r.units = sum / weight; !(r.units-rareSigmas*r.sigma[0]/math.Sqrt(weight) >= leastUnits) || r.units > 1<<40 {
		return reason(CodeTooFewUnits, "按加噪的计数，单元少于 %d 个：学不到任何东西", "by the noisy count there are fewer than %d units: nothing can be learned",
			"扩大数据范围，或提高 rho", "use a larger data set, or raise rho", leastUnits)
	}
	for _, t := range r.twins {
		r.units = max(r.units, float64(t.Units))
	}
	return nil
}

// marginals of all states: how many units have rows in a table was measured with its
// twin, and better than here.
func (r *relating) marginals() error {
	for i, t := range r.span.Tables {
		mass, err := r.twins[i].masses()
		if err != nil {
			return err
		}
		present := min(float64(r.twins[i].Units), r.units)
		spread := func(kind func(Link) []int) [][]float64 {
			var out [][]float64
			for _, l := range t.Links {
				join, _ := l.joined(r.twins[i], kind(l))
				v := make([]float64, states(join))
				v[0] = r.units - present
				for g, x := range mass[l.Column] {
					v[1+join[g]] += x * present
				}
				out = append(out, v)
			}
			return out
		}
		r.few = append(r.few, spread(func(l Link) []int { return l.Few }))
		r.many = append(r.many, spread(func(l Link) []int { return l.Many }))
	}
	return nil
}

// branch is a table of the tree with the pair that ties it to another one.
type branch struct {
	table, parent, pair int
}

// tree begins with the largest table, then always takes the table that one of those
// taken tells most about.
func (r *relating) tree(few []table) []branch {
	all := r.span.across()
	gain, pair := map[[2]int]float64{}, map[[2]int]int{}
	for i, x := range all {
		t := r.settle(few[i], r.few[x.table[0]][x.link[0]], r.few[x.table[1]][x.link[1]], r.sigma[0])
		if g, seen := gain[x.table]; !seen || information(t) > g {
			gain[x.table], pair[x.table] = information(t), i
		}
	}
	root := 0
	for i, t := range r.twins {
		if t.Units > r.twins[root].Units {
			root = i
		}
	}
	out := []branch{{table: root, parent: -1}}
	taken := make([]bool, len(r.twins))
	taken[root] = true
	for len(out) < len(r.twins) {
		best, next := math.Inf(-1), branch{}
		for a := range r.twins {
			for b := range r.twins {
				k := [2]int{max(a, b), min(a, b)}
				if taken[a] && !taken[b] && gain[k] > best {
					best, next = gain[k], branch{b, a, pair[k]}
				}
			}
		}
		taken[next.table] = true
		out = append(out, next)
	}
	return out
}

// ties are the branches with what was measured of them.
func (r *relating) ties(tree []branch, many []table) []Tie {
	present := min(float64(r.twins[tree[0].table].Units), r.units)
	out := []Tie{{Table: tree[0].table, Parent: -1, Weights: [][]int64{whole([]float64{r.units - present, present})}}}
	all := r.span.across()
	for i, b := range tree[1:] {
		x := all[b.pair]
		t := r.settle(many[i], r.many[x.table[0]][x.link[0]], r.many[x.table[1]][x.link[1]], r.sigma[1])
		tie := Tie{Table: b.table, Parent: b.parent, Link: x.link[1], ParentLink: x.link[0]}
		if x.table[0] == b.table {
			t, tie.Link, tie.ParentLink = t.turned(), x.link[0], x.link[1]
		}
		for row := range slices.Chunk(t.v, t.cols) {
			if total(row) <= 0 {
				row = r.many[b.table][tie.Link] // of states that no unit has
			}
			tie.Weights = append(tie.Weights, whole(row))
		}
		out = append(out, tie)
	}
	return out
}

// settle estimates a table of two states. How many units are in each was measured with
// the twins, and better than here; of two tables, nobody is in neither.
func (r *relating) settle(measured table, rows, cols []float64, sigma float64) table {
	t, expected := table{measured.rows, measured.cols, slices.Clone(measured.v)}, product(rows, cols)
	if len(r.twins) == 2 {
		t.v[0], expected.v[0] = 0, 0
		rake(expected, rows, cols)
	}
	return settledOn(t, expected, rows, cols, sigma*sigma)
}

// judgedTogether is how many units are drawn to judge relations.
const judgedTogether = 1 << 15

// judge compares all pairs of columns across tables with what was measured, noise and all.
func (r *relating) judge(x *Relations, few []table) (Figure, error) {
	linked, err := NewLinked(x, r.twins, []byte("sandgate/twin-quality/v1"))
	if err != nil {
		return Figure{}, err
	}
	var drawn []Joined
	for i, t := range r.twins {
		rows, err := linked.Rows(i, 0, judgedTogether)
		if err != nil {
			return Figure{}, err
		}
		d, err := encodeRows(t.Columns, rows.Rows)
		if err != nil {
			return Figure{}, err
		}
		drawn = append(drawn, d)
	}
	p := r.plan.Passes[0]
	sums, err := SpanSums(drawn, r.span, p)
	if err != nil {
		return Figure{}, err
	}
	var all []Range
	for i, t := range r.span.cutUp(sums, r.span.asked(p), p) {
		all = append(all, ranged(t.v, few[i].v, r.sigma[0], r.units))
	}
	return figure(all), nil
}
