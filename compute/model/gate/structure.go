package gate

import (
	"math"
	"slices"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

// Structure is what a model holds, for the static scan. Nothing that counts units is
// taken from it: the gate counts them itself.
type Structure struct {
	Family     policies.ModelFamily
	Parameters int
	// Cells are the sets of rows that the model treats as one: leaves of trees, bins of
	// an additive model.
	Cells []Cell
	// Constants are all that the model holds besides learned weights: split points,
	// edges, scalers, codes.
	Constants []Constant
	// Points of the space of features that the model holds, such as centres: one
	// coordinate per number feature of the design in order, scaled to [-1, 1]; NaN
	// where it has none.
	Points [][]float64
}

// Cell is the rows that meet every condition.
type Cell []Condition

// Condition holds of rows whose bin of Feature is below Bin, or equal to it when Equal;
// of all other rows when Not.
type Condition struct {
	Feature, Bin int
	Equal, Not   bool
}

// Constant belongs to a feature of the design by index, or to the label when Feature
// is -1: a number in stored units, or a code.
type Constant struct {
	Feature int
	Number  int64
	Code    string
	IsCode  bool
}

// families that can be released; a module of the operator's own is not trained here,
// so that there is nothing to try and no certificate.
var families = []policies.ModelFamily{policies.FamilyLinear, policies.FamilyLogistic, policies.FamilySoftmax, policies.FamilyAdditive,
	policies.FamilyTree, policies.FamilyForest, policies.FamilyKMeans}

// family is the rule before all attacks.
func (b *bench) family() []Figure {
	refused, bare := 0, 0
	if !slices.Contains(families, b.Structure.Family) || b.Structure.Family != b.Design.Spec.Family {
		refused = 1
	}
	if r := b.Design.Spec.Release; r != policies.ReleaseScores && (r != policies.ReleaseParameters || !b.Design.Spec.Private) {
		bare = 1
	}
	return []Figure{count("refused_family", refused, 0), count("parameters_without_noise", bare, 0), {Name: "epsilon", Of: OfModel, Value: epsilonText(b.Rho)}}
}

// scan looks at what the model holds, without any attack.
func (b *bench) scan(l *lineup) ([]Figure, error) {
	units := len(b.in)
	short, foreign := 0, 0
	if units-b.Structure.Parameters < smallest {
		short = 1
	}
	for _, c := range b.Structure.Constants {
		if !registered(b.Design, c) {
			foreign++
		}
	}
	small, pure, few := b.cells()
	gap, err := b.gap(l)
	if err != nil {
		return nil, err
	}
	share := float64(b.Structure.Parameters) / float64(units)
	return []Figure{{Name: "parameters_per_unit", Of: OfModel, Value: ceil3(share)}, count("freedom_short", short, 0), count("small_cells", small, 0),
		count("pure_cells", pure, 0), count("small_classes", few, 0), count("foreign_constants", foreign, 0), gap}, nil
}

// registered reports whether a constant stands in the design, which takes all of its
// own from the catalogue.
func registered(d model.Design, c Constant) bool {
	if c.Feature == -1 {
		t := d.Target
		if c.IsCode {
			return slices.Contains(t.Codes, c.Code) || slices.Contains(t.Positive, c.Code)
		}
		return t.Threshold != nil && *t.Threshold == c.Number || c.Number == t.Bounds[0] || c.Number == t.Bounds[1]
	}
	if c.Feature < 0 || c.Feature >= len(d.Features) {
		return false
	}
	f := d.Features[c.Feature]
	if f.Kind == model.KindCategory {
		return c.IsCode && slices.Contains(f.Codes, c.Code)
	}
	return !c.IsCode && (slices.Contains(f.Edges, c.Number) || c.Number == f.Bounds[0] || c.Number == f.Bounds[1])
}

// cells counts those of one to nine units and, of trees that are not private, those
// in which all units share one class or a class has fewer than ten: the score of such a
// leaf is what its few units said. A private leaf's value is noised to hide any unit
// (its training keeps leaves large by noisy counts; to refuse it for the true count
// would tell that count), and an additive bin's score is no rate of its units.
func (b *bench) cells() (small, pure, few int) {
	classes := b.Design.Target.Classes
	if b.Design.Spec.Private {
		return 0, 0, 0
	}
	rates := classes > 1 && (b.Structure.Family == policies.FamilyTree || b.Structure.Family == policies.FamilyForest)
	for _, c := range b.Structure.Cells {
		units, by := 0, make([]int, max(1, classes))
		for _, u := range b.in {
			for r := b.starts[u]; r < b.starts[u+1]; r++ {
				if !c.holds(b.Data, r) {
					continue
				}
				units++
				if classes > 1 {
					by[int(b.Data.Label[r])]++
				}
				break
			}
		}
		if units > 0 && units < smallest {
			small++
		}
		if !rates || units == 0 {
			continue
		}
		one, little := false, false
		for _, n := range by {
			one = one || n == units
			little = little || n > 0 && n < smallest
		}
		if one {
			pure++
		}
		if little {
			few++
		}
	}
	return small, pure, few
}

func (c Cell) holds(d *model.Data, row int) bool {
	for _, x := range c {
		if x.Feature < 0 || x.Feature >= len(d.Bins) {
			return false
		}
		bin := int(d.Bins[x.Feature][row])
		if in := x.Equal && bin == x.Bin || !x.Equal && bin < x.Bin; in == x.Not {
			return false
		}
	}
	return true
}

// gap compares the target's losses on members and on others. Its lower end is the
// distance less what chance exceeds once in a thousand runs.
func (b *bench) gap(l *lineup) (Figure, error) {
	p, err := b.fit(b.Target, l.data)
	if err != nil {
		return Figure{}, err
	}
	loss := make([]float64, len(l.units))
	for u := range loss {
		for r := l.rows[u]; r < l.rows[u+1]; r++ {
			loss[u] -= p[r] / float64(l.rows[u+1]-l.rows[u])
		}
	}
	in, out := split(loss, l.member)
	d := kolmogorov(in, out)
	chance := 1.9495 * math.Sqrt(1/float64(len(in))+1/float64(len(out)))
	return figure("loss_gap", OfModel, interval{d, d - chance, min(1, d+chance)}), nil
}

// instances looks for records among the points that the model holds. A point that ten
// units share is no record. A point is too close when it lies nearer to a training row
// than all but one in twenty of the units held out do.
func (b *bench) instances(s *stream) []Figure {
	points := b.Structure.Points
	if len(points) == 0 {
		return []Figure{count("records", 0, 0), figure("near", OfModel, interval{})}
	}
	var rows [][]float64
	var owner []int32
	for _, u := range b.in {
		for r := b.starts[u]; r < b.starts[u+1]; r++ {
			rows, owner = append(rows, point(b.Data, r, nil)), append(owner, u)
		}
	}
	nearest := func(p []float64) float64 {
		best := math.Inf(1)
		for _, r := range rows {
			best = min(best, distance(p, r))
		}
		return best
	}
	var usual []float64
	for _, u := range sample(s, b.out, 300) {
		if b.starts[u] < b.starts[u+1] {
			usual = append(usual, nearest(point(b.Data, b.starts[u], nil)))
		}
	}
	slices.Sort(usual)
	least := 0.0
	if len(usual) > 0 {
		least = usual[len(usual)/20]
	}
	records, near := 0, 0
	for _, p := range points {
		// Half the precision of a stored float32 coordinate.
		const same = 1e-13
		if nearest(p) < least {
			near++
		}
		holders := map[int32]bool{}
		for i, r := range rows {
			if distance(p, r) <= same {
				holders[owner[i]] = true
			}
		}
		if len(holders) > 0 && len(holders) < smallest {
			records++
		}
	}
	return []Figure{count("records", records, 0), figure("near", OfModel, clopperPearson(near, len(points)))}
}

// charged is the ε that canaries are held to.
func charged(rho budget.Nano) float64 {
	if rho == 0 {
		return 1
	}
	return float64(thousandths(epsilonText(rho))) / 1000
}
