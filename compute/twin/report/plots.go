package report

import (
	"fmt"
	"html/template"
	"strings"

	"github.com/sandgate/sandgate/compute/twin"
)

// Plots are written by hand: bars and squares, with a title on each for whoever points
// at it or has it read out.

const (
	rowHeight = 22
	labelled  = 170 // width of names
	drawnOver = 420 // width of the scale
)

func text(x, y int, anchor, s string) string {
	return fmt.Sprintf(`<text x="%d" y="%d" text-anchor="%s">%s</text>`, x, y, anchor, template.HTMLEscapeString(s))
}

func opened(width, height int, label string) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">`, width, height, template.HTMLEscapeString(label))
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
	height := rowHeight*len(v.Q.Columns) + 30
	b.WriteString(opened(labelled+drawnOver+50, height, v.Plain("各列的总变差距离", "total variation distance by column")))
	for i, r := range v.Q.Columns {
		b.WriteString(bar(i, v.Name(i), r, end, "own", fmt.Sprintf("%s: %s (%s – %s)", v.Name(i), v.Percent(r.About), v.Percent(r.Low), v.Percent(r.High))))
	}
	b.WriteString(v.axis(len(v.Q.Columns), end))
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

func at(x, end int64) int { return labelled + int(x*drawnOver/end) }

// bar is a range on a row, with its name.
func bar(row int, name string, r twin.Range, end int64, class, title string) string {
	y := row*rowHeight + rowHeight/2
	return fmt.Sprintf(`<g class="%s"><title>%s</title>%s<line x1="%d" y1="%d" x2="%d" y2="%d"/><circle cx="%d" cy="%d" r="4"/></g>`,
		class, template.HTMLEscapeString(title), text(labelled-8, y+4, "end", short(name)), at(r.Low, end), y, max(at(r.High, end), at(r.Low, end)+1), y, at(r.About, end), y)
}

func short(s string) string {
	if r := []rune(s); len(r) > 22 {
		return string(r[:21]) + "…"
	}
	return s
}

// axis below so many rows.
func (v view) axis(rows int, end int64) string {
	var b strings.Builder
	y := rows * rowHeight
	for i := range int64(5) {
		x := end * i / 4
		fmt.Fprintf(&b, `<line class="axis" x1="%d" y1="0" x2="%d" y2="%d"/>%s`, at(x, end), at(x, end), y+4, text(at(x, end), y+20, "middle", v.Percent(x)))
	}
	return b.String()
}

// Heat is the distance of all pairs of columns, darker where it is greater.
func (v view) Heat() template.HTML {
	d, side := len(v.T.Columns), 24
	most := int64(1)
	for _, r := range v.Q.Pairs {
		most = max(most, r.About)
	}
	end := scaleOf(most)
	var b strings.Builder
	b.WriteString(opened(labelled+side*d+10, side*d+28, v.Plain("各列对的总变差距离", "total variation distance of pairs of columns")))
	for a := range d {
		b.WriteString(text(labelled-8, a*side+16, "end", fmt.Sprintf("%s %d", short(v.Name(a)), a+1)))
		b.WriteString(text(labelled+a*side+side/2, d*side+16, "middle", fmt.Sprint(a+1)))
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
	var b strings.Builder
	b.WriteString(opened(labelled+drawnOver+50, rowHeight*2*len(v.Q.Models)+30, v.Plain("模型解释的方差", "variance that models explain")))
	for i, m := range v.Q.Models {
		name := v.Name(m.Column)
		b.WriteString(bar(2*i, name, m.Data, 10_000, "own", fmt.Sprintf("%s, twin: %s (%s – %s)", name, v.Percent(m.Data.About), v.Percent(m.Data.Low), v.Percent(m.Data.High))))
		b.WriteString(bar(2*i+1, "", m.Lost, 10_000, "other", fmt.Sprintf("%s, data: + %s (%s – %s)", name, v.Percent(m.Lost.About), v.Percent(m.Lost.Low), v.Percent(m.Lost.High))))
	}
	b.WriteString(v.axis(2*len(v.Q.Models), 10_000))
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}
