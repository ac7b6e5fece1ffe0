// Package report renders a synthetic twin's quality as one page for people: Chinese
// first, English beside it, tables with plots as inline SVG. The page has no script and
// asks for nothing from outside. It shows the document's own figures, which follow from
// noised sums alone, and computes none but ε.
package report

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"html/template"
	"slices"
	"strings"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/compute/twin/compare"
)

// Line is a fact of the certificate: who published the twin, when, under which entry.
type Line struct {
	ZH, EN, Value string
}

// Page is what is shown of a twin.
type Page struct {
	Twin  *twin.Twin
	Lines []Line // above the document's own facts
	// Compared, which may be nil, is shown beside the document's figures as the word of
	// who compared: pass what was computed on this twin alone (compare.Report.Of).
	Compared *compare.Report
}

// delta of the ε that is shown beside ρ.
const delta = 1e-6

// mostPairs is how many pairs stand in the table; all are in the plot.
const mostPairs = 15

// HTML renders the page: for "zh" Chinese first and English beside it, for "en" English
// alone. It errs on another language and on a twin that its own format refuses.
func (p Page) HTML(lang string) ([]byte, error) {
	if lang != "zh" && lang != "en" {
		return nil, fmt.Errorf("failed to render twin report: unknown language %q", lang)
	}
	if p.Twin == nil {
		return nil, errors.New("failed to render twin report: there is no twin")
	}
	if _, err := p.Twin.Encode(); err != nil {
		return nil, fmt.Errorf("failed to render twin report: %w", err)
	}
	v := view{Page: p, Lang: lang, T: p.Twin, Q: p.Twin.Quality}
	rho, err := budget.ParsePrice(p.Twin.Rho)
	if err != nil {
		return nil, fmt.Errorf("failed to render twin report: %w", err)
	}
	epsilon, err := budget.Epsilon(rho, delta)
	if err != nil {
		return nil, fmt.Errorf("failed to render twin report: %w", err)
	}
	v.Epsilon = fmt.Sprintf("%.3g", epsilon)
	if v.Digest, err = p.Twin.Digest(); err != nil {
		return nil, fmt.Errorf("failed to render twin report: %w", err)
	}
	var out bytes.Buffer
	if err := page.Execute(&out, v); err != nil {
		return nil, fmt.Errorf("failed to render twin report: %w", err)
	}
	return out.Bytes(), nil
}

type view struct {
	Page
	Lang            string
	T               *twin.Twin
	Q               twin.Quality
	Epsilon, Digest string
}

// Say is text in the page's language, Chinese with the English beside it.
func (v view) Say(zh, en string) template.HTML {
	if v.Lang == "en" {
		return template.HTML(template.HTMLEscapeString(en))
	}
	return template.HTML(template.HTMLEscapeString(zh) + ` <span lang="en">` + template.HTMLEscapeString(en) + `</span>`)
}

// Plain is the same without markup, for titles.
func (v view) Plain(zh, en string) string {
	if v.Lang == "en" {
		return en
	}
	return zh + " · " + en
}

// Percent of ten-thousandths.
func (v view) Percent(x int64) string { return fmt.Sprintf("%d.%02d %%", x/100, x%100) }

// Noise of a pass, in units.
func (v view) Noise() string {
	var out []string
	for _, x := range v.T.Noise {
		out = append(out, fmt.Sprintf("%.1f", float64(x)/1000))
	}
	return strings.Join(out, " · ")
}

// Name of a learned column.
func (v view) Name(c int) string { return v.T.Columns[c].Column }

// Made are the columns that are made up.
func (v view) Made() string {
	var out []string
	for _, g := range v.T.Generated {
		out = append(out, g.Column)
	}
	return strings.Join(out, ", ")
}

// Kind of question in words.
func (v view) Kind(k twin.QueryKind) template.HTML {
	n := kinds[k]
	return v.Say(n[0], n[1])
}

// Target of a model in words.
func (v view) Target(m twin.Trained) template.HTML {
	c := v.T.Columns[m.Column]
	switch {
	case c.Kind == model.KindNumber:
		return v.Say("是否在较大的一半", "is it in the upper half")
	case m.Cell < len(c.Codes):
		return v.Say("是否为 "+c.Codes[m.Cell], "is it "+c.Codes[m.Cell])
	}
	return v.Say("是否缺失", "is it missing")
}

type pair struct {
	A, B string
	twin.Range
}

// Worst pairs of columns, by their upper bound.
func (v view) Worst() []pair {
	var all []pair
	for i, r := range v.Q.Pairs {
		a, b := columnsOf(i)
		all = append(all, pair{v.Name(a), v.Name(b), r})
	}
	slices.SortStableFunc(all, func(a, b pair) int { return cmp.Compare(b.About, a.About) })
	return all[:min(len(all), mostPairs)]
}

// columnsOf the i-th pair: column a with each b < a.
func columnsOf(i int) (a, b int) {
	for a = 1; i >= a; a++ {
		i -= a
	}
	return a, i
}

var kinds = map[twin.QueryKind][2]string{
	twin.QueryCount:  {"一个条件的计数", "count with one condition"},
	twin.QueryUpTo:   {"数值不超过某界的计数", "count up to a limit"},
	twin.QueryBoth:   {"两个条件的计数", "count with two conditions"},
	twin.QueryMean:   {"均值", "mean"},
	twin.QueryMeanBy: {"分组均值", "mean by group"},
}
