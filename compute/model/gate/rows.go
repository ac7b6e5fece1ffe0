package gate

import (
	"cmp"
	"errors"
	"math"
	"slices"

	"github.com/sandgate/sandgate/compute/model"
)

// parts is into how many equal parts a number without registered edges is cut when its
// value is to be guessed; candidates is how many values of a feature are tried at most.
const (
	parts      = 8
	candidates = 16
)

// column is a feature as attacks see it: a few cells, and what to write into a row to
// put it into one.
type column struct {
	feature int
	parts   bool // cells are equal parts of the values, not bins
	bins    []uint16
	values  []float32 // nil for a category
	share   []float64 // cell → share of all rows
	likely  []int     // cells to try, most frequent first
}

func columns(d model.Design, data *model.Data) []column {
	out := make([]column, len(d.Features))
	for f, x := range d.Features {
		c := column{feature: f, parts: x.Kind == model.KindNumber && len(x.Edges) == 0}
		n := x.Bins() - 1
		if c.parts {
			n = parts
		}
		c.bins = make([]uint16, n)
		for i := range n {
			if !c.parts {
				c.bins[i] = uint16(i)
			}
			if x.Kind == model.KindNumber {
				c.values = append(c.values, middle(x, i, c.parts))
			}
		}
		c.share = make([]float64, n+1)
		for r := range data.Rows() {
			c.share[c.cell(data, r)] += 1 / float64(data.Rows())
		}
		for i := range n {
			if c.share[i] > 0 {
				c.likely = append(c.likely, i)
			}
		}
		slices.SortStableFunc(c.likely, func(a, b int) int { return cmp.Compare(c.share[b], c.share[a]) })
		c.likely = c.likely[:min(candidates, len(c.likely))]
		out[f] = c
	}
	return out
}

// middle of cell i of a number, scaled to [-1, 1].
func middle(x model.Feature, i int, equal bool) float32 {
	if equal {
		return float32(2*(float64(i)+0.5)/parts - 1)
	}
	lo, hi := float64(x.Bounds[0]), float64(x.Bounds[1])
	if hi <= lo {
		return 0
	}
	a, b := lo, hi
	if i > 0 {
		a = float64(x.Edges[i-1])
	}
	if i < len(x.Edges) {
		b = float64(x.Edges[i])
	}
	return float32(max(-1, min(1, ((a+b)-(lo+hi))/(hi-lo))))
}

// cell of a row; the last one is missing.
func (c column) cell(d *model.Data, row int) int {
	b := int(d.Bins[c.feature][row])
	if !c.parts {
		return b
	}
	if b > 0 {
		return parts
	}
	return max(0, min(parts-1, int((float64(d.Values[c.feature][row])+1)/2*parts)))
}

// set puts a row of d, which the caller owns, into a cell.
func (c column) set(d *model.Data, row, cell int) {
	d.Bins[c.feature][row] = c.bins[cell]
	if c.values != nil {
		d.Values[c.feature][row] = c.values[cell]
	}
}

// pick copies the rows of some units, ascending, into data of their own.
func (b *bench) pick(units []int32) *model.Data {
	var rows []int
	d := &model.Data{Count: len(units)}
	for i, u := range units {
		for r := b.starts[u]; r < b.starts[u+1]; r++ {
			rows = append(rows, r)
			d.Units = append(d.Units, int32(i))
		}
	}
	take(d, b.Data, rows)
	return d
}

// take fills d with rows of from.
func take(d, from *model.Data, rows []int) {
	d.Bins, d.Values = make([][]uint16, len(from.Bins)), make([][]float32, len(from.Values))
	d.Groups = make([][]uint16, len(from.Groups))
	for f := range from.Bins {
		d.Bins[f] = at(from.Bins[f], rows)
		d.Values[f] = at(from.Values[f], rows)
	}
	for g := range from.Groups {
		d.Groups[g] = at(from.Groups[g], rows)
	}
	d.Label = at(from.Label, rows)
}

func at[T any](x []T, rows []int) []T {
	if x == nil {
		return nil
	}
	out := make([]T, len(rows))
	for i, r := range rows {
		out[i] = x[r]
	}
	return out
}

// clone copies d so that its features and labels can be changed.
func clone(d *model.Data) *model.Data {
	c := *d
	c.Bins, c.Values = slices.Clone(d.Bins), slices.Clone(d.Values)
	for f := range d.Bins {
		c.Bins[f], c.Values[f] = slices.Clone(d.Bins[f]), slices.Clone(d.Values[f])
	}
	c.Label = slices.Clone(d.Label)
	return &c
}

var errScore = errors.New("failed to attack the model: a score is no number")

// scores of every row of d.
func scores(s model.Scorer, d *model.Data) ([]float64, error) {
	out := make([]float64, d.Rows()*s.Width())
	s.Score(d, out)
	for _, v := range out {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, errScore
		}
	}
	return out, nil
}

// signal is what membership shows in, one number per row: the logit of the probability
// of the row's own class, the predicted number, or the distance to the nearest centre.
func (b *bench) signal(s model.Scorer, d *model.Data) ([]float64, error) {
	if c, ok := s.(Centred); ok {
		out := make([]float64, d.Rows())
		c.Distances(d, out)
		for r, v := range out {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return nil, errScore
			}
			out[r] = -v
		}
		return out, nil
	}
	p, err := scores(s, d)
	if err != nil {
		return nil, err
	}
	w, out := s.Width(), make([]float64, d.Rows())
	for r := range out {
		out[r] = p[r*w]
		if b.Design.Target.Classes > 1 {
			out[r] = logit(ofClass(p[r*w:(r+1)*w], int(d.Label[r])))
		}
	}
	return out, nil
}

// fit is how well the model fits each row: its signal, or of a number how close the
// prediction comes to the label.
func (b *bench) fit(s model.Scorer, d *model.Data) ([]float64, error) {
	x, err := b.signal(s, d)
	if err == nil && b.labelled() && b.Design.Target.Classes == 0 {
		for r := range x {
			x[r] = -math.Abs(x[r] - float64(d.Label[r]))
		}
	}
	return x, err
}

// ofClass is the probability of a class, given those of all but the first.
func ofClass(p []float64, class int) float64 {
	if class > 0 {
		return p[class-1]
	}
	rest := 1.0
	for _, v := range p {
		rest -= v
	}
	return max(0, rest)
}

// point is the row's place among the number features; what is missing lies in the middle.
func point(d *model.Data, row int, into []float64) []float64 {
	into = into[:0]
	for _, v := range d.Values {
		if v != nil {
			into = append(into, float64(v[row]))
		}
	}
	return into
}

// distance squared; coordinates that one of them lacks do not count.
func distance(a, b []float64) (s float64) {
	for i := range min(len(a), len(b)) {
		if !math.IsNaN(a[i]) {
			s += (a[i] - b[i]) * (a[i] - b[i])
		}
	}
	return s
}

// sample draws n of units, ascending.
func sample(s *stream, units []int32, n int) []int32 {
	x := slices.Clone(units)
	shuffle(s, x)
	x = x[:min(n, len(x))]
	slices.Sort(x)
	return x
}
