package model

import "slices"

// slot is one column of the design matrix, in the order of its coefficients.
type slot struct {
	feature int // −1: the intercept
	what    slotKind
	code    uint16 // of slotCode
}

type slotKind uint8

const (
	slotIntercept slotKind = iota
	slotValue              // a number scaled to [-1, 1], 0 when missing
	slotCode               // 1 when the category is code; the first code has none
	slotMissing            // 1 when missing; of nullable features alone
)

// slotsOf lays out the design matrix: the intercept, then per feature its value or its
// codes but the first, and whether it is missing.
func slotsOf(features []Feature) []slot {
	out := []slot{{feature: -1}}
	for i, f := range features {
		if f.Kind == KindNumber {
			out = append(out, slot{feature: i, what: slotValue})
		} else {
			for c := 1; c < len(f.Codes); c++ {
				out = append(out, slot{feature: i, what: slotCode, code: uint16(c)})
			}
		}
		if f.Nullable {
			out = append(out, slot{feature: i, what: slotMissing})
		}
	}
	return out
}

// matrix fills rows of the design matrix.
type matrix struct {
	d     *Data
	slots []slot
	// at is the first slot of a feature, missing that of its indicator or −1, last its
	// missing bin.
	at, missing []int
	last        []uint16
}

func newMatrix(features []Feature, d *Data) *matrix {
	m := &matrix{d: d, slots: slotsOf(features)}
	at := 1
	for _, f := range features {
		m.at, m.last = append(m.at, at), append(m.last, uint16(f.Bins()-1))
		if f.Kind == KindNumber {
			at++
		} else {
			at += len(f.Codes) - 1
		}
		if f.Nullable {
			m.missing = append(m.missing, at)
			at++
		} else {
			m.missing = append(m.missing, -1)
		}
	}
	return m
}

// fill writes row r into x, which has one number per slot.
func (m *matrix) fill(r int, x []float64) {
	clear(x)
	x[0] = 1
	for f, at := range m.at {
		bin := m.d.Bins[f][r]
		switch {
		case bin == m.last[f]:
			if m.missing[f] >= 0 {
				x[m.missing[f]] = 1
			}
		case m.d.Values[f] != nil:
			x[at] = float64(m.d.Values[f][r])
		case bin > 0:
			x[at+int(bin)-1] = 1
		}
	}
}

// rowBound is the largest square norm of a row of the design matrix.
func rowBound(features []Feature) float64 { return 1 + float64(len(features)) }

// term is a table of an additive model: over the bins of feature a, or of a and b.
type term struct{ a, b int }

// terms are those of an additive model; of a tree, the features.
func (d Design) terms() []term {
	var out []term
	index := map[string]int{}
	for i, f := range d.Spec.Features {
		index[f.Column] = i
		out = append(out, term{i, -1})
	}
	for _, p := range d.Spec.Pairs {
		out = append(out, term{index[p[0]], index[p[1]]})
	}
	return out
}

func (t term) size(features []Feature) int {
	if t.b < 0 {
		return features[t.a].Bins()
	}
	return features[t.a].Bins() * features[t.b].Bins()
}

// width is how many cells the tables of terms have together.
func width(terms []term, features []Feature) int {
	n := 0
	for _, t := range terms {
		n += t.size(features)
	}
	return n
}

// cells finds the cell of each term in a table of all.
type cells struct {
	d      *Data
	terms  []term
	start  []int
	stride []int // bins of b
}

func newCells(terms []term, features []Feature, d *Data) *cells {
	c := &cells{d: d, terms: slices.Clone(terms)}
	at := 0
	for _, t := range terms {
		c.start = append(c.start, at)
		if t.b >= 0 {
			c.stride = append(c.stride, features[t.b].Bins())
		} else {
			c.stride = append(c.stride, 0)
		}
		at += t.size(features)
	}
	return c
}

func (c *cells) at(term, row int) int {
	t := c.terms[term]
	cell := c.start[term] + int(c.d.Bins[t.a][row])
	if t.b >= 0 {
		cell = c.start[term] + int(c.d.Bins[t.a][row])*c.stride[term] + int(c.d.Bins[t.b][row])
	}
	return cell
}

// leaf walks a row down a tree to a node's index.
func (t *Tree) leaf(d *Data, row int) int {
	n := 0
	for t.Nodes[n].Left != 0 {
		s := &t.Nodes[n]
		bin := int(d.Bins[s.Feature][row])
		if s.Equal && bin == s.Bin || !s.Equal && bin < s.Bin {
			n = s.Left
		} else {
			n = s.Right
		}
	}
	return n
}
