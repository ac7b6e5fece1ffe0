package twin

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

// Limits of a span.
const (
	maxTables  = 8
	maxAcross  = 512     // pairs of columns, each of another table
	maxLink    = 4       // groups of a column where all pairs are looked at
	massesFrom = 1 << 15 // units drawn of a twin to see how heavy its groups are
)

// Kinds of a span's passes. The first row and column of each table are units without a
// row in that data set.
const (
	PassAcross model.PassKind = "twin-across" // all pairs of columns of different data sets, on few groups
	PassTies   model.PassKind = "twin-ties"   // a pair for each data set but one, on more
)

// shareAcross of ρ goes to the first pass, in percent.
const shareAcross = 40

// Member is one table of a pool whose twin was learned.
type Member struct {
	Entry  policies.Entry
	Schema Schema
	Twin   *Twin
	// Link names the columns that may tie the table to others, by stored name; empty for
	// all that are learned.
	Link []string
}

// Span is what ties the twins of several tables is to be learned of: constants of the
// catalogue and of released twins alone. It is made by NewSpan and not changed after.
type Span struct {
	Tables []Spanned   `json:"tables"`
	Rho    budget.Nano `json:"rho"`
}

// Spanned is a table of a span.
type Spanned struct {
	Dataset      string `json:"dataset"`
	SchemaDigest string `json:"schema_digest"`
	Twin         string `json:"twin"` // digest of the document
	RowsPerUnit  int    `json:"rows_per_unit"`
	Cells        []int  `json:"cells"` // of each column of the table
	Links        []Link `json:"links"`
}

// Link is a column that may tie. Few and Many give the group of each of its cells, from
// 0, in the first and second pass.
type Link struct {
	Column int   `json:"column"` // of the twin
	Few    []int `json:"few"`
	Many   []int `json:"many"`
}

// NewSpan holds the members of a pool to each other. All have the same kind of unit.
// What it refuses, it refuses before any data is read. The price is that of one unit
// with all its rows in all tables: it is charged to every data set of the span.
func NewSpan(members []Member, rho string) (Span, error) {
	if err := tablesFit(len(members)); err != nil {
		return Span{}, err
	}
	price, err := priceOf(rho)
	if err != nil {
		return Span{}, err
	}
	span := Span{Rho: price}
	chosen, units := make([][]int, len(members)), 0.0
	for i, m := range members {
		if m.Twin == nil || m.Entry.Dataset.Unit == nil || m.Entry.Dataset.ID != m.Schema.Dataset || m.Twin.Dataset != m.Schema.Dataset {
			return Span{}, reason(CodeSpec, "数据集 %s 没有相符的孪生", "data set %s has no twin that fits", "先发布其孪生", "publish its twin first", m.Schema.Dataset)
		}
		if err := sameKind(members[0].Entry, m.Entry); err != nil {
			return Span{}, err
		}
		for _, o := range members[:i] {
			if o.Schema.Dataset == m.Schema.Dataset {
				return Span{}, reason(CodeSpec, "数据集 %s 写了两次", "data set %s is named twice", "删去一处", "leave one out", m.Schema.Dataset)
			}
		}
		if err := m.Twin.Stale(m.Schema); err != nil {
			return Span{}, err
		}
		if chosen[i], err = linked(m.Twin.Columns, m.Link); err != nil {
			return Span{}, err
		}
		units = max(units, float64(m.Twin.Units))
	}
	pairs, err := pairsAcross(chosen)
	if err != nil {
		return Span{}, err
	}
	plan := Span{Rho: price}.passes(pairs, len(members)-1)
	few, many := linkGroups(coarseNoise, plan[0].Sigma(), units, maxLink), linkGroups(fineNoise, plan[1].Sigma(), units, maxFine)
	if noiseDistance(4, plan[0].Sigma(), units) > hopeless {
		return Span{}, reason(CodePrice, "预算太小，学不到跨表关系", "the budget is too small for relations between tables", "提高 rho，或在 link 中列出更少的列", "raise rho, or list fewer columns as link")
	}
	for i, m := range members {
		t, err := m.spanned(chosen[i], few, max(few, many))
		if err != nil {
			return Span{}, err
		}
		span.Tables = append(span.Tables, t)
	}
	return span, nil
}

// linkGroups is how many groups a column may have so that noise stays within the bound.
func linkGroups(bound, sigma, units float64, most int) int {
	for most > 1 && noiseDistance((most+1)*(most+1), sigma, units) > bound {
		most--
	}
	return most
}

// passes of a span over so many pairs, without their widths.
func (s Span) passes(pairs, ties int) []Pass {
	a, b := planned(PassAcross, pairs), planned(PassTies, ties)
	a.Rho = max(1, s.Rho*shareAcross/100)
	b.Rho = s.Rho - a.Rho
	return []Pass{a, b}
}

func (m Member) spanned(columns []int, few, many int) (Spanned, error) {
	digest, err := m.Twin.Digest()
	if err != nil {
		return Spanned{}, err
	}
	t := Spanned{Dataset: m.Schema.Dataset, SchemaDigest: m.Twin.SchemaDigest, Twin: digest, RowsPerUnit: m.Schema.RowsPerUnit}
	for _, c := range m.Twin.Columns {
		t.Cells = append(t.Cells, c.Bins())
	}
	mass, err := m.Twin.masses()
	if err != nil {
		return Spanned{}, err
	}
	for _, c := range columns {
		fine := m.Twin.Groups[c]
		weight := make([]float64, len(fine))
		sum := make([]float64, len(mass[c]))
		for cell, g := range fine {
			sum[g] += float64(m.Twin.Cells[c][cell])
		}
		for cell, g := range fine {
			weight[cell] = mass[c][g] * float64(m.Twin.Cells[c][cell]) / sum[g]
		}
		link := func(most int) []int { return composed(fine, merged(m.Twin.Columns[c], fine, weight, most)) }
		t.Links = append(t.Links, Link{c, link(few), link(many)})
	}
	return t, nil
}

// masses are the shares of a twin's groups, by column, as it draws them.
func (t *Twin) masses() ([][]float64, error) {
	s, err := t.Sampler([]byte("sandgate/twin-masses/v1"))
	if err != nil {
		return nil, err
	}
	out, group := make([][]float64, len(t.Columns)), make([]int, len(t.Columns))
	for c := range out {
		out[c] = make([]float64, slices.Max(t.Groups[c])+1)
	}
	for u := range uint64(massesFrom) {
		rnd := s.unit(u)
		s.groups(&rnd, group, true)
		s.groups(&rnd, group, false)
		for c, g := range group {
			out[c][g] += 1.0 / massesFrom
		}
	}
	return out, nil
}

// Digest names the span: SHA-256 of its canonical JSON, in hexadecimal.
func (s Span) Digest() string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("twin: a span does not marshal: %v", err))
	}
	sum := sha256.Sum256(append([]byte("sandgate/twin-span/v1\n"), text...))
	return hex.EncodeToString(sum[:])
}

// groups of a link in a pass.
func (l Link) groups(kind model.PassKind) []int {
	if kind == PassTies {
		return l.Many
	}
	return l.Few
}

// states of a link: no row, or one of its groups.
func states(groups []int) int { return slices.Max(groups) + 2 }

// across is a pair of links of different tables, the first table after the second.
type across struct {
	table [2]int
	link  [2]int
}

// across lists all pairs; a pass names one by its place.
func (s Span) across() []across {
	var out []across
	for i, t := range s.Tables {
		for j, o := range s.Tables[:i] {
			for a := range t.Links {
				for b := range o.Links {
					out = append(out, across{[2]int{i, j}, [2]int{a, b}})
				}
			}
		}
	}
	return out
}

func (s Span) linkOf(x across, side int) Link { return s.Tables[x.table[side]].Links[x.link[side]] }

// asked are the pairs of a pass; nil of one that is malformed.
func (s Span) asked(p Pass) []across {
	all := s.across()
	switch p.Kind {
	case PassAcross:
		if len(p.Pairs) == 0 {
			return all
		}
	case PassTies:
		var out []across
		for _, x := range p.Pairs {
			if x[0] < 0 || x[0] >= len(all) || x[1] != 0 {
				return nil
			}
			out = append(out, all[x[0]])
		}
		if len(out) == len(s.Tables)-1 {
			return out
		}
	}
	return nil
}

func (s Span) width(pairs []across, kind model.PassKind) int {
	n := 0
	for _, x := range pairs {
		n += states(s.linkOf(x, 0).groups(kind)) * states(s.linkOf(x, 1).groups(kind))
	}
	return n
}

// Plan is the span's two passes; the width of the second is the greatest it may have.
// Its Pairs name the chosen ones by their place among all, the second number being 0.
func (s Span) Plan() Plan {
	all, ties := s.across(), len(s.Tables)-1
	p := s.passes(len(all), ties)
	p[0].Width, p[1].Width = s.width(all, PassAcross), ties*(maxFine+1)*(maxFine+1)
	return Plan{Passes: p}
}

// Admit refuses, as CodePass, a pass that is not the i-th of the plan, as Schema.Admit
// does, and any pass of a span that does not have the form that NewSpan gives it.
func (s Span) Admit(i int, p Pass) error {
	if !s.holds() || i < 0 || i > 1 {
		return badPass(i)
	}
	x := s.Plan().Passes[i]
	if p.Kind != x.Kind || p.Rho != x.Rho || p.Norm != x.Norm || p.Step != x.Step || p.Width > x.Width ||
		len(p.Theta) != 0 || len(p.Trees) != 0 || p.Model != nil || len(p.Groups) != 0 {
		return badPass(i)
	}
	if pairs := s.asked(p); pairs == nil || p.Width != s.width(pairs, p.Kind) {
		return badPass(i)
	}
	return nil
}

// holds is what sums and samplers rely on.
func (s Span) holds() bool {
	if len(s.Tables) < 2 || len(s.Tables) > maxTables || s.Rho < 3 {
		return false
	}
	pairs, before := 0, 0
	for i, t := range s.Tables {
		if t.Dataset == "" || len(t.Dataset) > maxName || !isDigest(t.SchemaDigest) || !isDigest(t.Twin) || t.RowsPerUnit < 1 || t.RowsPerUnit > maxRowsOfUnit ||
			len(t.Cells) < 1 || len(t.Cells) > maxColumns || len(t.Links) < 1 || len(t.Links) > len(t.Cells) {
			return false
		}
		for _, o := range s.Tables[:i] {
			if o.Dataset == t.Dataset {
				return false
			}
		}
		seen := map[int]bool{}
		for _, l := range t.Links {
			if l.Column < 0 || l.Column >= len(t.Cells) || seen[l.Column] || groupsOf(l.Few, t.Cells[l.Column], maxLink) == 0 || groupsOf(l.Many, t.Cells[l.Column], maxFine) == 0 {
				return false
			}
			seen[l.Column] = true
		}
		pairs += before * len(t.Links)
		before += len(t.Links)
	}
	return pairs <= maxAcross
}
