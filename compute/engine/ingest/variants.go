package ingest

import (
	"fmt"
	"slices"
	"strings"
)

// Variant is a hidden column: Of under another mask, for those who may see no more of
// it. It is stored beside the column and has no field in the raw file.
type Variant struct {
	Name string `json:"name"`
	Of   string `json:"of"` // name of the Spec column
	Mask Mask   `json:"mask"`
}

// maxStored bounds the columns of a snapshot, hidden ones included.
const maxStored = 2000

// checkVariants refuses hidden columns without a column, of the unit, or under a name
// that is taken. seen holds the names of the columns in lower case.
func (s *Spec) checkVariants(seen map[string]bool) error {
	if len(s.Columns)+len(s.Variants) > maxStored {
		return fmt.Errorf("failed to check ingest specification: more than %d columns, hidden ones included", maxStored)
	}
	for _, v := range s.Variants {
		if v.Name == "" || v.Name == UnitToken || v.Name == UnitRank || seen[strings.ToLower(v.Name)] {
			return fmt.Errorf("failed to check hidden column of %q: its name is empty, reserved or used twice", v.Of)
		}
		seen[strings.ToLower(v.Name)] = true
		if s.source(v) < 0 || strings.EqualFold(v.Of, s.UnitColumn) {
			return fmt.Errorf("failed to check hidden column of %q: it is no column, or the unit", v.Of)
		}
	}
	return nil
}

func (s *Spec) source(v Variant) int {
	return slices.IndexFunc(s.Columns, func(c Column) bool { return c.Name == v.Of })
}

// masked is the column of a variant under its own mask.
func (s *Spec) masked(v Variant) Column {
	c := s.Columns[s.source(v)]
	c.Mask = &v.Mask
	return c
}

// storedVariants are the hidden columns as the snapshot holds them.
func (s *Spec) storedVariants() ([]Stored, error) {
	var out []Stored
	for _, v := range s.Variants {
		_, typ, drop, err := operator(s.masked(v), nil)
		if err != nil {
			return nil, err
		}
		if drop {
			return nil, fmt.Errorf("failed to check hidden column of %q: its mask stores nothing", v.Of)
		}
		out = append(out, Stored{Name: v.Name, Type: typ, Nullable: true, source: s.source(v)})
	}
	return out, nil
}

// hidden is a Variant prepared for the inner loop.
type hidden struct {
	column
	source int
}

func (in *reader) prepareVariants(keys Keys) error {
	for _, v := range in.spec.Variants {
		h := hidden{source: in.spec.source(v), column: column{Column: in.spec.masked(v), masked: map[string]Value{}}}
		var err error
		if h.op, h.stored, _, err = operator(h.Column, keys.Pseudonym); err != nil {
			return err
		}
		h.ints, _ = h.op.(IntOperator)
		in.hidden = append(in.hidden, h)
	}
	return nil
}

// hide masks the row's values for the hidden columns, which are stored from position
// next on. On a refusal it names the column of the file.
func (in *reader) hide(next int) (column int, code Code) {
	for i := range in.hidden {
		h := &in.hidden[i]
		v, code := in.columns[h.source].now, Code("")
		if !v.Null {
			v, code = h.under(v)
		}
		if code != "" {
			return h.source, code
		}
		in.row.Values[next+i] = v
	}
	return 0, ""
}

// under is a value under the column's mask.
func (c *column) under(v Value) (Value, Code) {
	if c.ints != nil {
		return Value{I: c.ints.ApplyInt(v.I)}, ""
	}
	return c.mask(format(c.Type, v))
}
