package report

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"image/color"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/model/gate"
)

var (
	blue = color.RGBA{R: 0x1f, G: 0x5f, B: 0xa8, A: 0xff}
	red  = color.RGBA{R: 0xb0, G: 0x30, B: 0x30, A: 0xff}
	grey = color.RGBA{R: 0x99, G: 0x99, B: 0x99, A: 0xff}
)

// svg draws a plot as one element, without the declarations that only a file may have.
func svg(p *plot.Plot, width, height vg.Length) (template.HTML, error) {
	c := vgsvg.New(width, height)
	p.Draw(draw.New(c))
	var out bytes.Buffer
	if _, err := c.WriteTo(&out); err != nil {
		return "", fmt.Errorf("failed to draw a plot: %w", err)
	}
	b := out.Bytes()
	i := bytes.Index(b, []byte("<svg"))
	if i < 0 {
		return "", errors.New("failed to draw a plot: no SVG came of it")
	}
	return template.HTML(b[i:]), nil
}

func line(p *plot.Plot, xy plotter.XYs, c color.Color, dashed bool) error {
	l, err := plotter.NewLine(xy)
	if err != nil {
		return fmt.Errorf("failed to draw a line: %w", err)
	}
	l.Color, l.Width = c, vg.Points(1.5)
	if dashed {
		l.Dashes = []vg.Length{vg.Points(3), vg.Points(3)}
	}
	p.Add(l)
	return nil
}

// lowest rate that is drawn: a logarithmic axis has no zero.
const lowest = 0.0005

func rocPlot(r *gate.Report) (template.HTML, error) {
	var own, control, chance plotter.XYs
	for _, x := range r.ROC {
		f, err := strconv.ParseFloat(x.FPR, 64)
		if err != nil {
			return "", fmt.Errorf("failed to read a point of the curve: %w", err)
		}
		t, err := strconv.ParseFloat(x.TPR, 64)
		if err != nil {
			return "", fmt.Errorf("failed to read a point of the curve: %w", err)
		}
		c, err := strconv.ParseFloat(x.Control, 64)
		if err != nil {
			return "", fmt.Errorf("failed to read a point of the curve: %w", err)
		}
		f = max(f, lowest)
		own, control, chance = append(own, plotter.XY{X: f, Y: max(t, lowest)}), append(control, plotter.XY{X: f, Y: max(c, lowest)}), append(chance, plotter.XY{X: f, Y: f})
	}
	if len(own) < 2 {
		return "", errors.New("failed to draw the curve: it has no points")
	}
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "FPR", "TPR"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
	for _, l := range []struct {
		xy     plotter.XYs
		c      color.Color
		dashed bool
	}{{chance, grey, true}, {control, red, false}, {own, blue, false}} {
		if err := line(p, l.xy, l.c, l.dashed); err != nil {
			return "", err
		}
	}
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = lowest, 1, lowest, 1
	return svg(p, 11*vg.Centimeter, 8.5*vg.Centimeter)
}

// bars are points with intervals.
type bars struct {
	plotter.XYs
	plotter.YErrors
}

func calibrationPlot(parts []model.CalibrationPart) (template.HTML, error) {
	var b bars
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, c := range parts {
		if c.Observed == nil {
			continue
		}
		x := (c.From + c.To) / 2
		b.XYs = append(b.XYs, plotter.XY{X: x, Y: c.Observed.Value})
		b.YErrors = append(b.YErrors, struct{ Low, High float64 }{c.Observed.Value - c.Observed.Low, c.Observed.High - c.Observed.Value})
		lo, hi = min(lo, x, c.Observed.Low), max(hi, x, c.Observed.High)
	}
	if len(b.XYs) == 0 || lo >= hi {
		return "", nil
	}
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "score", "observed"
	if err := line(p, plotter.XYs{{X: lo, Y: lo}, {X: hi, Y: hi}}, grey, true); err != nil {
		return "", err
	}
	e, err := plotter.NewYErrorBars(b)
	if err != nil {
		return "", fmt.Errorf("failed to draw intervals: %w", err)
	}
	e.Color = blue
	s, err := plotter.NewScatter(b.XYs)
	if err != nil {
		return "", fmt.Errorf("failed to draw points: %w", err)
	}
	s.Color, s.Shape = blue, draw.CircleGlyph{}
	p.Add(e, s)
	return svg(p, 11*vg.Centimeter, 8.5*vg.Centimeter)
}

// mostShapes is how many features are drawn; a page of hundreds helps nobody.
const mostShapes = 24

// shapePlots draws what each feature adds to the score: the table of an additive model,
// the slope or the codes' coefficients of a linear one with one output. Other families
// have no shape per feature.
func shapePlots(m *model.Parameters) ([]shape, error) {
	var out []shape
	slot := 1
	for f, x := range m.Features[:min(len(m.Features), mostShapes)] {
		var y []float64
		steps := true
		switch {
		case f < len(m.Tables):
			y = m.Tables[f]
		case len(m.Coefficients) == 1:
			row := m.Coefficients[0]
			n := 1
			if x.Kind == model.KindCategory {
				n = len(x.Codes) - 1
			}
			if slot+n > len(row) {
				return nil, errors.New("failed to draw a feature: its coefficients are missing")
			}
			if x.Kind == model.KindCategory {
				y = append([]float64{0}, row[slot:slot+n]...)
			} else {
				y, steps = []float64{-row[slot], row[slot]}, false
			}
			if slot += n; x.Nullable {
				slot++
			}
		default:
			return nil, nil
		}
		plotted, err := shapePlot(x, y, steps)
		if err != nil {
			return nil, err
		}
		out = append(out, shape{x.Column, plotted})
	}
	return out, nil
}

func shapePlot(x model.Feature, y []float64, steps bool) (template.HTML, error) {
	p := plot.New()
	var xy plotter.XYs
	at := func(i int) float64 { // where bin i begins, in the feature's own units
		unit := math.Pow10(-x.Scale)
		switch {
		case x.Kind == model.KindCategory:
			return float64(i)
		case i == 0:
			return float64(x.Bounds[0]) * unit
		case i <= len(x.Edges):
			return max(float64(x.Edges[i-1]), float64(x.Bounds[0])) * unit
		}
		return float64(x.Bounds[1]) * unit
	}
	n := len(y)
	if steps {
		n = min(n, x.Bins()-1) // what is missing has no place on the axis
	}
	for i := range n {
		switch {
		case !steps:
			xy = append(xy, plotter.XY{X: at(i * (len(x.Edges) + 1)), Y: y[i]})
		default:
			xy = append(xy, plotter.XY{X: at(i), Y: y[i]}, plotter.XY{X: at(i + 1), Y: y[i]})
		}
	}
	if len(xy) == 0 {
		return "", errors.New("failed to draw a feature: it has no bins")
	}
	if err := line(p, xy, blue, false); err != nil {
		return "", err
	}
	return svg(p, 8*vg.Centimeter, 5.5*vg.Centimeter)
}
