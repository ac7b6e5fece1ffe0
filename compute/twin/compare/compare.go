// Package compare holds released answers of the data against answers of synthetic twins
// to the same text. Both sides were released under a price of their own, noise and all,
// so that a comparison costs nothing and tells nothing that its reader does not hold.
//
// Differences are ranges. Of noised answers both intervals are put together as the
// square root of the sum of squares of their sides (the method of variance estimates
// recovery: Zou, Donner 2008, "Construction of confidence limits about effect measures"),
// which holds in 95 of 100 cells; of exact answers, which are rounded, the ends are
// subtracted, which always holds. Ranges tell of noise and rounding alone: the twin is
// taken as it was drawn.
package compare

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/sandgate/sandgate/compute/model"
)

// Cell is a value with the interval that it was released with; both ends are the value
// where there is none.
type Cell struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// Range of an absolute difference.
type Range struct {
	Low   float64 `json:"low"`
	About float64 `json:"about"`
	High  float64 `json:"high"`
}

// Source is a twin that an answer was computed on.
type Source struct {
	Dataset string `json:"dataset"`
	Twin    string `json:"twin"` // SHA-256 of the document, hexadecimal
	Units   int64  `json:"units"`
	// MadeUp are columns of the text that the twin did not learn.
	MadeUp []string `json:"made_up,omitempty"`
}

// Query is a text whose answer of the data and of the twins are held against each other.
type Query struct {
	Name string `json:"name"` // what the caller calls the text
	Job  string `json:"job"`  // whose release is the data's answer
	// Known says that the gateway knew the text for one that the data had answered to the
	// caller, on the snapshots in force; otherwise columns alone vouch for it.
	Known bool `json:"known,omitempty"`
	// Exact answers are rounded and bear no noise.
	Exact   bool     `json:"exact,omitempty"`
	Sources []Source `json:"sources,omitempty"`
	Groups  Groups   `json:"groups,omitzero"`
	Columns []Column `json:"columns,omitempty"`
	// Refused is the code with which the twin gave no answer; nothing else is said then.
	Refused string `json:"refused,omitempty"`
}

// Groups are the rows of both answers by their keys.
type Groups struct {
	Both    int `json:"both"`
	Data    int `json:"data"`              // that the data's answer alone has
	Twin    int `json:"twin"`              // that the twin's alone has
	Unclear int `json:"unclear,omitempty"` // keys that a row shares with another: not compared
}

// Column is an estimate of a query over all groups that both answers have.
type Column struct {
	Name     string `json:"name"`
	Cells    int    `json:"cells"`              // compared
	Withheld int    `json:"withheld,omitempty"` // or null, on either side: not compared
	// Data is the mean size of the data's released values: what shares are of.
	Data  float64 `json:"data"`
	Mean  Range   `json:"mean"`
	Worst Range   `json:"worst"` // by its upper end
	// Points are the first cells of the data's answer.
	Points []Point `json:"points,omitempty"`
}

// Point is a group in both answers.
type Point struct {
	Group string `json:"group"`
	Data  Cell   `json:"data"`
	Twin  Cell   `json:"twin"`
}

// MostPoints is how many groups of a column are kept; all of them count.
const MostPoints = 12

// Share is the mean difference as a share of the data's mean value, in ten-thousandths;
// false where that is nothing.
func (c Column) Share() (low, about, high int64, ok bool) {
	if c.Data <= 0 || c.Cells == 0 {
		return 0, 0, 0, false
	}
	share := func(x float64) int64 { return int64(math.Round(min(x/c.Data, 1e6) * 10_000)) }
	return share(c.Mean.Low), share(c.Mean.About), share(c.Mean.High), true
}

// Table is an answer: rows of keys and estimates.
type Table struct {
	Columns []Head
	Rows    [][]Field
}

// Head of a column; one that is neither key nor estimate is not compared.
type Head struct {
	Name          string
	Key, Estimate bool
}

// Field is a cell: Text of a key, Cell of an estimate unless it is Absent.
type Field struct {
	Text   string
	Absent bool // null or withheld
	Cell
}

// separator stands between keys of a group.
const separator = " · "

// groups are a table's rows by their keys; nil under a key that several rows have.
func (t Table) groups() (byKey map[string][]Field, order []string) {
	byKey = map[string][]Field{}
	for _, row := range t.Rows {
		var keys []string
		for i, h := range t.Columns {
			if h.Key {
				text := row[i].Text
				if row[i].Absent {
					text = "∅"
				}
				keys = append(keys, text)
			}
		}
		k := strings.Join(keys, separator)
		if _, twice := byKey[k]; twice {
			byKey[k] = nil
			continue
		}
		byKey[k] = row
		order = append(order, k)
	}
	return byKey, order
}

// Answers compares two answers to one text. ok is false when their columns differ: then
// they are no answers to the same text.
func Answers(data, twin Table, exact bool) (groups Groups, columns []Column, ok bool) {
	if !slices.Equal(data.Columns, twin.Columns) {
		return Groups{}, nil, false
	}
	real, order := data.groups()
	drawn, theirs := twin.groups()
	var both []string
	for _, k := range order {
		t, there := drawn[k]
		switch {
		case !there && real[k] != nil:
			groups.Data++
		case real[k] == nil || t == nil:
			groups.Unclear++
		default:
			both = append(both, k)
		}
	}
	for _, k := range theirs {
		if _, there := real[k]; !there && drawn[k] != nil {
			groups.Twin++
		}
	}
	groups.Both = len(both)
	for i, h := range data.Columns {
		if !h.Estimate {
			continue
		}
		c := Column{Name: h.Name}
		for _, k := range both {
			a, b := real[k][i], drawn[k][i]
			if a.Absent || b.Absent {
				c.Withheld++
				continue
			}
			c.note(k, a.Cell, b.Cell, exact)
		}
		if n := float64(c.Cells); n > 0 {
			c.Mean = Range{c.Mean.Low / n, c.Mean.About / n, c.Mean.High / n}
			c.Data /= n
		}
		columns = append(columns, c)
	}
	return groups, columns, true
}

// note adds a cell to the sums of a column.
func (c *Column) note(group string, data, twin Cell, exact bool) {
	r := apart(data, twin, exact)
	c.Cells++
	c.Data += math.Abs(data.Value)
	c.Mean.Low += r.Low
	c.Mean.About += r.About
	c.Mean.High += r.High
	if c.Cells == 1 || r.High > c.Worst.High {
		c.Worst = r
	}
	if len(c.Points) < MostPoints {
		c.Points = append(c.Points, Point{group, data, twin})
	}
}

// apart is how far two values are from each other, by their intervals.
func apart(data, twin Cell, exact bool) Range {
	d := data.Value - twin.Value
	low, high := data.Low-twin.High, data.High-twin.Low
	if !exact {
		low = d - math.Hypot(data.Value-data.Low, twin.High-twin.Value)
		high = d + math.Hypot(data.High-data.Value, twin.Value-twin.Low)
	}
	r := Range{High: max(math.Abs(low), math.Abs(high))}
	if low > 0 || high < 0 {
		r.Low = min(math.Abs(low), math.Abs(high))
	}
	// What the noise adds to the square of a difference in the mean is taken off.
	sigma := 0.0
	if !exact {
		sigma = (high - low) / 2 / 1.959964
	}
	r.About = min(r.High, max(r.Low, math.Sqrt(max(0, d*d-sigma*sigma))))
	return r
}

// Model is a product that was trained on the data and on a twin.
type Model struct {
	Product string   `json:"product"`
	Model   string   `json:"model"` // trained on the data
	Sources []Source `json:"sources,omitempty"`
	Data    string   `json:"data"` // verdict of the gate
	Twin    string   `json:"twin"`
	Figures []Figure `json:"figures,omitempty"`
	Agree   *Agree   `json:"agree,omitempty"`
	Refused string   `json:"refused,omitempty"`
}

// Figure of an evaluation on held-out units: of the model of the data on the data, and of
// that of the twin on the twin.
type Figure struct {
	Name  string `json:"name"`            // as an evaluation calls it
	Group string `json:"group,omitempty"` // column=code of a group
	Data  Cell   `json:"data"`
	Twin  Cell   `json:"twin"`
	Error Range  `json:"error"`
}

// Agree says how alike both models are on rows of the twin: a class model, how many rows
// of 10 000 both give the same class; any other, how far their predictions are apart in
// the mean, in ten-thousandths of the label's range.
type Agree struct {
	Rows    int   `json:"rows"`
	Classes bool  `json:"classes,omitempty"`
	Share   int64 `json:"share"`
}

// Figures of two evaluations that both have.
func Figures(data, twin model.Evaluation) []Figure {
	var out []Figure
	put := func(name, group string, a, b *model.Estimate) {
		if a != nil && b != nil {
			x, y := Cell{a.Value, a.Low, a.High}, Cell{b.Value, b.Low, b.High}
			out = append(out, Figure{name, group, x, y, apart(x, y, false)})
		}
	}
	put("accuracy", "", data.Accuracy, twin.Accuracy)
	put("auc", "", data.AUC, twin.AUC)
	put("r2", "", data.R2, twin.R2)
	put("rmse", "", data.RMSE, twin.RMSE)
	put("bias", "", data.Bias, twin.Bias)
	put("mean", "", data.Mean, twin.Mean)
	for _, g := range data.Groups {
		i := slices.IndexFunc(twin.Groups, func(x model.GroupPart) bool { return x.Column == g.Column && x.Code == g.Code })
		if i < 0 || g.Withheld || twin.Groups[i].Withheld || len(out) >= mostFigures {
			continue
		}
		at, of := g.Column+"="+g.Code, twin.Groups[i]
		put("accuracy", at, g.Accuracy, of.Accuracy)
		put("rmse", at, g.RMSE, of.RMSE)
		put("mean", at, g.Mean, of.Mean)
	}
	return out
}

// Of leaves what was computed on a twin, alone or with others.
func (r Report) Of(dataset, twin string) Report {
	on := func(s []Source) bool {
		return slices.ContainsFunc(s, func(x Source) bool { return x.Dataset == dataset && x.Twin == twin })
	}
	r.Queries = slices.DeleteFunc(slices.Clone(r.Queries), func(q Query) bool { return !on(q.Sources) })
	r.Models = slices.DeleteFunc(slices.Clone(r.Models), func(m Model) bool { return !on(m.Sources) })
	return r
}

// Worst column of a query by the upper end of its share; nil when none has one.
func (q Query) Worst() *Column {
	var all []*Column
	for i := range q.Columns {
		if _, _, _, ok := q.Columns[i].Share(); ok {
			all = append(all, &q.Columns[i])
		}
	}
	if len(all) == 0 {
		return nil
	}
	return slices.MaxFunc(all, func(a, b *Column) int {
		_, _, x, _ := a.Share()
		_, _, y, _ := b.Share()
		return cmp.Compare(x, y)
	})
}
