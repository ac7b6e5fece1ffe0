package policies

import (
	"math/big"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/masking/anonymity"
)

// RungExact is how a level without generalisation is spelled.
const RungExact = "exact"

// maxBy is the most columns that make a group of a shuffle.
const maxBy = 8

// perturbed fills in what the masks of noise, response, shuffle and k_anonymous take
// from the mask and from the catalogue. Noise stays inside the registered bounds.
func perturbed(p masking.Params, c Column, m Mask) masking.Params {
	p.Scale, p.Retain, p.By, p.Least, p.K, p.Suppress, p.Ladder = m.Scale, m.Retain, m.By, m.Least, m.K, m.Suppress, m.Ladder
	switch m.Op {
	case masking.OpNoise:
		p.Column = c.Name
		if c.Bounds == nil {
			break
		}
		if b, err := ParseBounds(c); err == nil {
			p.Lo, p.Hi = spelled(p.Type, b[0]), spelled(p.Type, b[1])
		}
	case masking.OpResponse:
		p.Column = c.Name
		for _, code := range c.Codes {
			p.Codes = append(p.Codes, code.Value)
		}
	}
	return p
}

func spelled(t algebra.Type, v int64) string {
	if t.Kind == algebra.Date {
		return algebra.FormatDate(v)
	}
	return algebra.FormatDecimal(big.NewInt(v), t.Scale)
}

// checkPerturbing holds the masks that look beyond one value to what they need of the
// data set.
func checkPerturbing(e Entry) error {
	var first string // of the k-anonymous columns
	var heights []int
	for _, c := range e.Dataset.Columns {
		m, ok := e.Masks[c.Name]
		if !ok || !masking.Perturbs(m.Op) {
			continue
		}
		if e.Dataset.Unit == nil {
			return texts.Errorf("column %q: mask %q needs a privacy unit, and the data set is public", c.Name, m.Op)
		}
		switch m.Op {
		case masking.OpNoise:
			if m.Lo != "" || m.Hi != "" {
				return texts.Errorf("column %q: mask \"noise\" stays inside the registered bounds; remove lo and hi", c.Name)
			}
		case masking.OpShuffle:
			if err := checkShuffle(e, c, m); err != nil {
				return texts.Errorf("column %q: mask \"shuffle\": %w", c.Name, err)
			}
		case masking.OpKAnonymous:
			if c.Identifier != "" {
				return texts.Errorf("column %q: mask \"k_anonymous\" is for quasi-identifiers; the column identifies a unit by itself (%s): drop or pseudonymise it", c.Name, c.Identifier)
			}
			if f := e.Masks[first]; first != "" && (f.K != m.K || f.Suppress != m.Suppress) {
				return texts.Errorf("columns %q and %q: k and suppress are one for all k_anonymous columns of a data set", first, c.Name)
			}
			first = c.Name
			heights = append(heights, len(m.Ladder))
		}
	}
	_, err := anonymity.Nodes(heights)
	return err
}

func checkShuffle(e Entry, c Column, m Mask) error {
	if !e.Dataset.OneRow {
		return texts.Errorf("only for a data set with one row per unit (one_row_per_unit): a unit's rows would be torn apart")
	}
	if len(m.By) == 0 || len(m.By) > maxBy {
		return texts.Errorf("name 1 to %d columns under by, inside whose groups values are permuted", maxBy)
	}
	for i, name := range m.By {
		by := slices.IndexFunc(e.Dataset.Columns, func(c Column) bool { return c.Name == name })
		switch op := e.Masks[name].Op; {
		case by < 0:
			return texts.Errorf("unknown column %q under by", safeName(name))
		case name == c.Name || slices.Contains(m.By[:i], name):
			return texts.Errorf("column %q stands twice", name)
		case e.isUnit(name) || op == masking.OpDrop:
			return texts.Errorf("column %q under by is not stored", name)
		case masking.Perturbs(op):
			return texts.Errorf("column %q under by is itself masked by %q", name, op)
		}
	}
	return nil
}

// perturbedBounds are the bounds after one of these masks, nil for other masks: a
// superset that holds whatever levels an ingest chooses, so that a decision does not
// depend on the data.
func perturbedBounds(c Column, m Mask, b [2]int64) (*[2]int64, error) {
	switch m.Op {
	case masking.OpNoise, masking.OpShuffle:
		return &b, nil
	case masking.OpKAnonymous:
		l, err := masking.NewLadder(MaskParams(c, m, nil))
		if err != nil {
			return nil, err
		}
		return &[2]int64{min(b[0], l.Coarsest(b[0])), b[1]}, nil
	}
	return nil, nil
}

// perturbedGrid is the grid after one of these masks. That of a k-anonymous column is
// the one of its coarsest level: values of a finer level fall on the same side of its
// edges, so it is right for whatever level an ingest chooses.
func perturbedGrid(c Column, m Mask, edges []int64) ([]int64, error) {
	switch m.Op {
	case masking.OpNoise, masking.OpShuffle:
		return edges, nil
	case masking.OpKAnonymous:
		l, err := masking.NewLadder(MaskParams(c, m, nil))
		if err != nil {
			return nil, err
		}
		for i := range edges[:len(edges)-1] {
			edges[i] = l.Coarsest(edges[i])
		}
		if edges = slices.Compact(edges); len(edges) >= 2 {
			return edges, nil
		}
	}
	return nil, nil
}

// decideOfTable refuses a query of a differentially private data set that looks at a
// column whose values depend on other units' rows: what one unit changes there is not
// bounded by its own rows, so the budget would not pay for it.
func (b *Book) decideOfTable(r Request) []*Reason {
	var out []*Reason
	refused := map[[2]string]bool{}
	for _, f := range Forms(r.Core) {
		e, ok := b.datasets[f.Dataset]
		at := [2]string{f.Dataset, f.Column}
		if m := e.Masks[f.Column]; !ok || !masking.OfTable(m.Op) || e.Rule == nil || e.Rule.Mode != "dp" || refused[at] {
			continue
		}
		refused[at] = true
		out = append(out, reasonf("TABLE_MASK", "masking/"+f.Dataset, e.Department,
			"列“%s.%s”经 %s 处理，取值依赖他人的行，差分隐私统计不能使用", "column %q.%q is masked by %s: its values depend on other people's rows, and differentially private statistics cannot use it",
			f.Dataset, f.Column, e.Masks[f.Column].Op).hint("请用其他列；数源部门可改用按值泛化（year、band、area）后重新入库", "ask other columns; the department can mask it value by value (year, band, area) and ingest again"))
	}
	return out
}

// Generalised is how an ingest generalised the k-anonymous columns of a data set.
type Generalised struct {
	Rungs      map[string]string `json:"rungs"`      // column → rung of its ladder, RungExact for none
	Suppressed int               `json:"suppressed"` // percent of the rows, rounded up
}

// CheckGeneralised says whether an ingest under the entry's masks can have chosen
// these rungs: each k-anonymous column one of its ladder's, no other column any, and
// no more suppressed than registered.
func (e Entry) CheckGeneralised(g *Generalised) error {
	n := 0
	for _, c := range e.Dataset.Columns {
		m := e.Masks[c.Name]
		if m.Op != masking.OpKAnonymous {
			continue
		}
		n++
		if g == nil {
			return texts.Errorf("the rung of column %q is missing", c.Name)
		}
		if rung := g.Rungs[c.Name]; rung != RungExact && !slices.Contains(m.Ladder, rung) {
			return texts.Errorf("column %q: not a rung of its ladder", c.Name)
		}
		if g.Suppressed < 0 || g.Suppressed > m.Suppress {
			return texts.Errorf("more rows are suppressed than the registered %d percent", m.Suppress)
		}
	}
	if g != nil && (n == 0 || len(g.Rungs) != n) {
		return texts.Errorf("rungs of columns that are not k-anonymous")
	}
	return nil
}

// perturbedEffects shows these masks on synthetic values, each of a unit of its own.
// Which level a table is generalised to is known at ingest only, so the values go up
// the ladder one by one; a shuffle is shown as of one group.
func perturbedEffects(c Column, m Mask, before []string) ([]Effect, error) {
	p := MaskParams(c, m, previewKey)
	out := make([]Effect, len(before))
	for i, v := range before {
		out[i] = Effect{Before: v}
	}
	switch m.Op {
	case masking.OpShuffle:
		for i, from := range masking.Permutation(previewKey, c.Name, nil, len(before)) {
			out[i].After = before[from]
		}
	case masking.OpKAnonymous:
		l, err := masking.NewLadder(p)
		if err != nil {
			return nil, err
		}
		for i, v := range before {
			level := min(i+1, l.Height())
			if p.Type.Kind == algebra.Text || p.Type.Kind == algebra.Bool {
				out[i].After, out[i].Null = l.Text(level, v)
				continue
			}
			n, err := parseUnits(c, v)
			if err != nil {
				return nil, err
			}
			if n, out[i].Null = l.Int(level, n); !out[i].Null {
				out[i].After = spelled(p.Type, n)
			}
		}
	default:
		op, err := masking.New(m.Op, p)
		if err != nil {
			return nil, err
		}
		unit, ok := op.(masking.UnitOperator)
		if !ok {
			return nil, texts.Errorf("mask %q cannot be shown", m.Op)
		}
		for i, v := range before {
			out[i].After = unit.ApplyUnit(uint64(i), v)
		}
	}
	return out, nil
}
