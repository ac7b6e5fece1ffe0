package report

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sandgate/sandgate/compute/twin/compare"
	"github.com/sandgate/sandgate/policies"
)

// Given says whether there is a comparison to show.
func (v view) Given() bool {
	return v.Compared != nil && len(v.Compared.Queries)+len(v.Compared.Models) > 0
}

// Num is a number in four digits that count, and all of a whole one.
func (v view) Num(x float64) string {
	if x == math.Trunc(x) && math.Abs(x) < 1e15 {
		return strconv.FormatFloat(x, 'f', -1, 64)
	}
	if a := math.Abs(x); a >= 1000 && a < 1e15 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'g', 4, 64)
}

// Ranged is an absolute difference with its bounds.
func (v view) Ranged(r compare.Range) string {
	return fmt.Sprintf("%s (%s – %s)", v.Num(r.About), v.Num(r.Low), v.Num(r.High))
}

// Share of a column's mean difference in its values, in percent.
func (v view) Share(c compare.Column) string {
	low, about, high, ok := c.Share()
	if !ok {
		return "—"
	}
	return fmt.Sprintf("%s (%s – %s)", v.Percent(about), v.Percent(low), v.Percent(high))
}

// Figure of an evaluation in words.
func (v view) Figure(f compare.Figure) template.HTML {
	n, ok := figures[f.Name]
	if !ok {
		n = [2]string{f.Name, f.Name}
	}
	if f.Group != "" {
		n[0], n[1] = n[0]+"，"+f.Group, n[1]+", "+f.Group
	}
	return v.Say(n[0], n[1])
}

var figures = map[string][2]string{
	"accuracy": {"准确率", "accuracy"}, "auc": {"AUC", "AUC"}, "r2": {"R²", "R²"}, "rmse": {"均方根误差", "RMSE"},
	"bias": {"偏差", "bias"}, "mean": {"均值", "mean"},
}

// Missed is how many values of a column one side alone has, or withholds.
func (v view) Missed(q compare.Query, c compare.Column) int {
	return q.Groups.Data + q.Groups.Twin + q.Groups.Unclear + c.Withheld
}

// Celled is a value with its interval.
func (v view) Celled(c compare.Cell) string {
	return fmt.Sprintf("%s [%s, %s]", v.Num(c.Value), v.Num(c.Low), v.Num(c.High))
}

// Evaluated draws the figures of a model that are shares.
func (v view) Evaluated(m compare.Model) template.HTML {
	c := compare.Column{Name: m.Product}
	for _, f := range m.Figures {
		if f.Name == "accuracy" || f.Name == "auc" || f.Name == "r2" {
			name := figures[f.Name][1]
			if f.Group != "" {
				name += ", " + f.Group
			}
			c.Points = append(c.Points, compare.Point{Group: name, Data: f.Data, Twin: f.Twin})
		}
	}
	c.Points = c.Points[:min(len(c.Points), compare.MostPoints)]
	return v.Points(compare.Query{Name: m.Product}, c)
}

// Points draws a column's groups: what the data's answer says above what the twin's does,
// each with its interval.
func (v view) Points(q compare.Query, c compare.Column) template.HTML {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, p := range c.Points {
		lo, hi = min(lo, p.Data.Low, p.Twin.Low, p.Data.Value, p.Twin.Value), max(hi, p.Data.High, p.Twin.High, p.Data.Value, p.Twin.Value)
	}
	if len(c.Points) == 0 {
		return ""
	}
	if lo > 0 && lo < hi/2 {
		lo = 0 // what is nearly drawn from nothing is drawn from nothing
	}
	if hi <= lo {
		hi = lo + max(1, math.Abs(lo))
	}
	x := func(value float64) int { return inset + int(math.Round((value-lo)/(hi-lo)*drawnOver)) }
	var b strings.Builder
	height := 3 * rowHeight * len(c.Points)
	b.WriteString(opened(plotWidth, height+30, q.Name+": "+c.Name))
	b.WriteString(axis(height, func(i int) string { return v.Tick(lo + (hi-lo)*float64(i)/4) }))
	mark := func(y int, of series, group string, cell compare.Cell) {
		b.WriteString(of.mark(y, x(cell.Low), x(cell.Value), x(cell.High), fmt.Sprintf("%s, %s: %s (%s – %s)", group, v.Plain(of.zh, of.en), v.Num(cell.Value), v.Num(cell.Low), v.Num(cell.High))))
	}
	for i, p := range c.Points {
		y, name := 3*rowHeight*i, p.Group
		if name == "" {
			name = v.Plain("全部", "all")
		}
		b.WriteString(named(y, name))
		mark(y+rowHeight+8, other, name, p.Data)
		mark(y+2*rowHeight+6, own, name, p.Twin)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// Tick is a number at an axis, short enough to stand beside the next.
func (v view) Tick(x float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e4, "k"}} {
		if math.Abs(x) >= unit.size {
			if unit.name == "k" {
				unit.size = 1e3
			}
			return strconv.FormatFloat(x/unit.size, 'g', 3, 64) + unit.name
		}
	}
	return strconv.FormatFloat(x, 'g', 4, 64)
}

// When it was compared.
func (v view) When() string { return policies.Clock(time.UnixMilli(v.Compared.At)) }
