package compare

import (
	"fmt"
	"math"
	"slices"

	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/policies"
)

// agreeUnits is how many units of the twin both models are asked about.
const agreeUnits = 20_000

// Agreement asks two models of one product about rows of the twin. It is nil where there
// is nothing to ask: clusters have no common names, and of columns that the twin did not
// learn its rows tell nothing.
func Agreement(data, own *model.Parameters, t *twin.Twin) (*Agree, error) {
	if data.Family == policies.FamilyKMeans || data.Family != own.Family || !slices.EqualFunc(data.Features, own.Features, func(a, b model.Feature) bool { return a.Column == b.Column && a.Kind == b.Kind }) {
		return nil, nil
	}
	s, err := t.Sampler([]byte("sandgate/twin-agreement/v1"))
	if err != nil {
		return nil, err
	}
	rows, err := s.Rows(0, agreeUnits)
	if err != nil {
		return nil, err
	}
	columns := make([]model.Column, len(data.Features))
	for i, f := range data.Features {
		at := slices.IndexFunc(t.Columns, func(c twin.Column) bool { return c.Column == f.Column })
		if at < 0 {
			return nil, nil
		}
		columns[i] = rows.Columns[at]
	}
	var scores [2][]float64
	width := 0
	for i, p := range []*model.Parameters{data, own} {
		d, err := model.EncodeRows(p.Features, columns)
		if err != nil {
			return nil, fmt.Errorf("failed to code the twin's rows: %w", err)
		}
		scorer, err := p.Scorer()
		if err != nil {
			return nil, err
		}
		if width = scorer.Width(); i == 1 && len(scores[0]) != d.Rows()*width {
			return nil, nil // of another number of classes
		}
		scores[i] = make([]float64, d.Rows()*width)
		scorer.Score(d, scores[i])
	}
	return agreed(scores[0], scores[1], width, data.Target.Classes > 0), nil
}

// agreed compares scores row by row.
func agreed(a, b []float64, width int, classes bool) *Agree {
	out := &Agree{Rows: len(a) / width, Classes: classes}
	if out.Rows == 0 {
		return nil
	}
	sum := 0.0
	for r := range out.Rows {
		x, y := a[r*width:(r+1)*width], b[r*width:(r+1)*width]
		switch {
		case !classes: // a number's scale has a length of two
			sum += min(1, math.Abs(x[0]-y[0])/2)
		case classOf(x) == classOf(y):
			sum++
		}
	}
	out.Share = int64(math.Round(10_000 * sum / float64(out.Rows)))
	return out
}

// classOf is the likeliest class by the probabilities of all but the first.
func classOf(p []float64) int {
	best, most, rest := 0, 0.0, 1.0
	for i, x := range p {
		rest -= x
		if x > most {
			best, most = i+1, x
		}
	}
	if rest > most {
		return 0
	}
	return best
}
