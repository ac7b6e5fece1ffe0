package report

import (
	"fmt"
	"html/template"
	"strings"

	"github.com/sandgate/sandgate/compute/twin"
)

// Plots are written by hand: bars and squares, with a title on each for whoever points
// at it or has it read out. They are as wide as a telephone, where a letter is then as
// large as in the text around; names stand above their bars, as there is no room beside.

const (
	rowHeight = 24
	inset     = 30  // of the scale from both sides: half a label of its axis
	drawnOver = 288 // width of the scale
	plotWidth = drawnOver + 2*inset
	side      = 24 // of a square of the heat map
)

func text(x, y int, anchor, s string) string {
	return fmt.Sprintf(`<text x="%d" y="%d" text-anchor="%s">%s</text>`, x, y, anchor, template.HTMLEscapeString(s))
}

func opened(width, height int, label string) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" role="img" aria-label="%s">`, width, height, width, template.HTMLEscapeString(label))
}

// scaleOf rounds the end of a scale up, in ten-thousandths.
func scaleOf(most int64) int64 {
	for _, s := range []int64{50, 100, 200, 500, 1000, 2000, 5000} {
		if most <= s {
			return s
		}
	}
	return 10_000
}

// Distances are the columns' ranges as bars: the dot is the estimate.
func (v view) Distances() template.HTML {
	most := int64(1)
	for _, r := range v.Q.Columns {
		most = max(most, r.High)
	}
	end := scaleOf(most)
	var b strings.Builder
	height := 2 * rowHeight * len(v.Q.Columns)
	b.WriteString(opened(plotWidth, height+30, v.Plain("各列的总变差距离", "total variation distance by column")))
	b.WriteString(v.axis(height, end))
	for i, r := range v.Q.Columns {
		y := 2 * rowHeight * i
		b.WriteString(named(y, v.Name(i)))
		b.WriteString(v.bar(y+rowHeight+10, v.Name(i), r, end, own))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

func at(x, end int64) int { return inset + int(min(x, end)*drawnOver/end) }

// series is one of two that a plot may hold: they differ in shape as well as in colour.
type series struct{ class, zh, en string }

var own, other = series{"own", "孪生", "twin"}, series{"other", "真实", "data"}

// mark draws an interval with its value.
func (s series) mark(y, low, value, high int, title string) string {
	shape := fmt.Sprintf(`<circle cx="%d" cy="%d" r="5"/>`, value, y)
	if s == other {
		shape = fmt.Sprintf(`<rect x="%d" y="%d" width="9" height="9"/>`, value-4, y-4)
	}
	return fmt.Sprintf(`<g class="%s"><title>%s</title><line x1="%d" y1="%d" x2="%d" y2="%d"/>%s</g>`, s.class, template.HTMLEscapeString(title), low, y, max(high, low+1), y, shape)
}

// bar is a range in ten-thousandths.
func (v view) bar(y int, name string, r twin.Range, end int64, of series) string {
	return of.mark(y, at(r.Low, end), at(r.About, end), at(r.High, end), fmt.Sprintf("%s: %s (%s – %s)", name, v.Percent(r.About), v.Percent(r.Low), v.Percent(r.High)))
}

// named puts a name above what is drawn of it.
func named(y int, name string) string { return text(inset, y+16, "start", short(name, 44)) }

// short cuts a name to so many places, of which a Han character takes two.
func short(s string, places int) string {
	wide := func(r rune) int {
		if r >= 0x1100 {
			return 2
		}
		return 1
	}
	taken := 0
	for i, r := range s {
		if taken += wide(r); taken > places {
			return s[:i] + "…"
		}
	}
	return s
}

// axis behind what is that high.
func (v view) axis(height int, end int64) string {
	return axis(height, func(i int) string { return v.Percent(end * int64(i) / 4) })
}

func axis(height int, label func(int) string) string {
	var b strings.Builder
	for i := range 5 {
		x := inset + drawnOver*i/4
		fmt.Fprintf(&b, `<line class="axis" x1="%d" y1="0" x2="%d" y2="%d"/>%s`, x, x, height+4, text(x, height+20, "middle", label(i)))
	}
	return b.String()
}

// Heat is the distance of all pairs of columns, darker where it is greater.
func (v view) Heat() template.HTML {
	d, labelled := len(v.T.Columns), 0
	most := int64(1)
	for _, r := range v.Q.Pairs {
		most = max(most, r.About)
	}
	for a := range d {
		labelled = max(labelled, 7*min(22, len(v.Name(a)))+32)
	}
	end := scaleOf(most)
	var b strings.Builder
	b.WriteString(opened(labelled+side*d+10, side*d+28, v.Plain("各列对的总变差距离", "total variation distance of pairs of columns")))
	for a := range d {
		b.WriteString(text(labelled-8, a*side+16, "end", fmt.Sprintf("%s %d", short(v.Name(a), 22), a+1)))
		if a < d-1 {
			b.WriteString(text(labelled+a*side+side/2, d*side+16, "middle", fmt.Sprint(a+1)))
		}
	}
	for i, r := range v.Q.Pairs {
		x, y := columnsOf(i)
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" class="cell" fill-opacity="%.2f"><title>%s × %s: %s (%s – %s)</title></rect>`,
			labelled+y*side, x*side, side-2, side-2, 0.06+0.94*float64(min(r.About, end))/float64(end),
			template.HTMLEscapeString(v.Name(x)), template.HTMLEscapeString(v.Name(y)), v.Percent(r.About), v.Percent(r.Low), v.Percent(r.High))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// Worth draws what models learned on the twin explain of the data, and how much more
// others would.
func (v view) Worth() template.HTML {
	most := int64(1)
	for _, m := range v.Q.Models {
		most = max(most, m.Data.High, m.Lost.High)
	}
	end := scaleOf(most)
	var b strings.Builder
	height := 3 * rowHeight * len(v.Q.Models)
	b.WriteString(opened(plotWidth, height+30, v.Plain("模型解释的方差", "variance that models explain")))
	b.WriteString(v.axis(height, end))
	for i, m := range v.Q.Models {
		name, y := v.Name(m.Column), 3*rowHeight*i
		b.WriteString(named(y, name))
		b.WriteString(v.bar(y+rowHeight+8, name+", "+v.Plain("孪生学得", "learned on the twin"), m.Data, end, own))
		b.WriteString(v.bar(y+2*rowHeight+6, name+", "+v.Plain("真实数据学得者多出", "more by learning on the data"), m.Lost, end, other))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}
