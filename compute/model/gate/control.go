package gate

import (
	"context"
	"io"
	"math"
	"slices"

	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

// control is the positive control of every attack: a model that memorises its rows, on
// the same units with one column more, a number of their own. Without that column a
// table of few different rows would leave nothing to memorise, and the control would
// look harmless for a reason that has nothing to do with the attacks.
func control(t Trial) Trial {
	n := t.Data.Count
	c := t
	c.Design.Spec.Private, c.Rho = false, 0
	c.Design.Spec.Release = policies.ReleaseScores
	number := model.Feature{Column: "sandgate.number", Kind: model.KindNumber, Bounds: [2]int64{0, int64(n)}}
	c.Design.Features = append(slices.Clone(t.Design.Features), number)
	d := *t.Data
	own := make([]float32, d.Rows())
	for r, u := range d.Units {
		own[r] = float32(2*float64(u)/float64(max(1, n)) - 1)
	}
	d.Bins = append(slices.Clone(d.Bins), make([]uint16, d.Rows()))
	d.Values = append(slices.Clone(d.Values), own)
	c.Data = &d
	cols := columns(c.Design, c.Data)
	width := t.Target.Width()
	c.Train = func(_ context.Context, members []bool, data *model.Data, _ io.Reader) (model.Scorer, error) {
		return memorise(t.Design.Target, cols, members, data, width), nil
	}
	target := memorise(t.Design.Target, cols, t.Members, c.Data, width)
	c.Target = target
	c.Structure = Structure{Family: "nearest_neighbour", Parameters: len(target.label)}
	for r := range d.Rows() {
		if t.Members[d.Units[r]] && len(c.Structure.Points) < 100 {
			c.Structure.Points = append(c.Structure.Points, point(&d, r, nil))
		}
	}
	return c
}

// memoriser answers with the label that it has stored for a row, or with the mean. A
// row is known by the cells of its features and by its last value, exactly.
type memoriser struct {
	target model.Target
	cols   []column
	width  int
	label  map[uint64]float32
	mean   []float64
}

func memorise(t model.Target, cols []column, members []bool, d *model.Data, width int) *memoriser {
	m := &memoriser{target: t, cols: cols, width: width, label: map[uint64]float32{}, mean: make([]float64, width)}
	total := 0.0
	for r, u := range d.Units {
		if !members[u] {
			continue
		}
		total++
		y := float32(1)
		if t.Column != "" {
			y = d.Label[r]
		}
		m.label[m.key(d, r)] = y
		switch {
		case t.Column == "":
		case t.Classes == 0:
			m.mean[0] += float64(y)
		case y > 0:
			m.mean[int(y)-1]++
		}
	}
	for i := range m.mean {
		m.mean[i] /= max(1, total)
	}
	return m
}

func (m *memoriser) key(d *model.Data, row int) uint64 {
	h := uint64(14695981039346656037)
	for i, c := range m.cols {
		v := uint64(c.cell(d, row))
		if i == len(m.cols)-1 {
			v = uint64(math.Float32bits(d.Values[c.feature][row]))
		}
		h = (h ^ v) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	return h
}

// Width implements model.Scorer.
func (m *memoriser) Width() int { return m.width }

// Score implements model.Scorer.
func (m *memoriser) Score(d *model.Data, out []float64) {
	for r := range d.Rows() {
		row := out[r*m.width : (r+1)*m.width]
		copy(row, m.mean)
		y, known := m.label[m.key(d, r)]
		if !known {
			continue
		}
		if m.target.Classes == 0 {
			row[0] = float64(y)
			continue
		}
		for c := range row {
			row[c] = 0.001 / float64(m.width)
			if c+1 == int(y) {
				row[c] = 0.999
			}
		}
	}
}
