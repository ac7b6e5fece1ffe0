package policies

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/masking"
)

// typingKey stands in where an operator is only typed: its result type does not
// depend on the key, but an empty or short key is refused.
var typingKey = []byte("typing only, never used to mask a value")

// StoredColumn is a catalogue column as the snapshot holds it, after its mask.
type StoredColumn struct {
	Name   string       // in the snapshot: Column.Name, or that of a hidden column (Variants)
	Column Column       // as the file carries it
	Mask   Mask         // Op "keep" where none was named
	Type   algebra.Type // after the mask
	Drop   bool         // not stored: a dropped column, or the unit column itself
	// Bounds is the registered range after the mask, in minimal units: ingest
	// clamps every value to it. nil when there is none or the mask leaves none.
	Bounds *[2]int64
	// Grid are the edges of the registered grid after the mask, ascending; nil when
	// there is none or the mask leaves none.
	Grid []int64
}

// Stored returns what a snapshot of the data set holds, in catalogue order. The
// unit column is always Drop: its keyed token takes its place.
func (e Entry) Stored() ([]StoredColumn, error) {
	if d := e.remembered(); d != nil {
		out, err := d.stored()
		return slices.Clip(out), err
	}
	return e.stored()
}

func (e Entry) stored() ([]StoredColumn, error) {
	var out []StoredColumn
	for _, c := range e.Dataset.Columns {
		m, ok := e.Masks[c.Name]
		if !ok {
			m = Mask{Op: "keep"}
		}
		s, err := e.storedAs(c, m, c.Name)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// storedAs is a column under a mask, by the name it is stored under.
func (e Entry) storedAs(c Column, m Mask, name string) (s StoredColumn, err error) {
	s = StoredColumn{Name: name, Column: c, Mask: m}
	if s.Type, s.Drop, err = masking.OutType(m.Op, MaskParams(c, m, typingKey)); err != nil {
		return s, fmt.Errorf("failed to type column %q: %w", c.Name, err)
	}
	s.Drop = s.Drop || e.isUnit(c.Name)
	if s.Bounds, err = maskedBounds(c, m); err != nil {
		return s, fmt.Errorf("column %q: %w", c.Name, err)
	}
	if s.Grid, err = maskedGrid(c, m); err != nil {
		return s, fmt.Errorf("column %q: %w", c.Name, err)
	}
	return s, nil
}

// maskedBounds carries the registered bounds through masks that are monotone.
func maskedBounds(c Column, m Mask) (*[2]int64, error) {
	if c.Bounds == nil {
		return nil, nil
	}
	b, err := ParseBounds(c)
	if err != nil {
		return nil, err
	}
	if m.Op == masking.OpKeep {
		return &b, nil
	}
	if masking.Perturbs(m.Op) {
		return perturbedBounds(c, m, b)
	}
	op, ok, err := intOperator(c, m)
	if !ok || err != nil {
		return nil, err
	}
	lo, hi := op.ApplyInt(b[0]), op.ApplyInt(b[1])
	return &[2]int64{min(lo, hi), max(lo, hi)}, nil
}

// intOperator is the monotone operator of a mask, false for a mask that has none.
func intOperator(c Column, m Mask) (masking.IntOperator, bool, error) {
	op, err := masking.New(m.Op, MaskParams(c, m, typingKey))
	if err != nil {
		return nil, false, err
	}
	n, ok := op.(masking.IntOperator)
	return n, ok, nil
}

// ingested is what of an entry decides how a file is read and stored.
type ingested struct {
	ID      string           `json:"id"`
	Unit    *Unit            `json:"unit"`
	Public  bool             `json:"public"`
	OneRow  bool             `json:"one_row"`
	Unique  []string         `json:"unique"`
	BadRows BadRows          `json:"bad_rows"`
	Columns []ingestedColumn `json:"columns"`
	// A snapshot taken without it knows nothing of its units' consents.
	Consent string `json:"consent,omitempty"`
}

type ingestedColumn struct {
	Column Column `json:"column"`
	Mask   Mask   `json:"mask"`
}

// SpecDigest commits to everything ingest did with a file: columns, types,
// codes, bounds, masks and unit. A snapshot whose digest differs from the policy
// in force is stale and answers nothing until the file is ingested again.
func (e Entry) SpecDigest() string {
	if d := e.remembered(); d != nil {
		return d.digest()
	}
	return e.specDigest()
}

func (e Entry) specDigest() string {
	// Titles, abstract and the like describe the data and change nothing in it: a
	// corrected title must not make every snapshot stale.
	spec := ingested{ID: e.Dataset.ID, Unit: e.Dataset.Unit, Public: e.Dataset.Public, OneRow: e.Dataset.OneRow, Unique: e.Dataset.Unique, BadRows: e.Dataset.BadRows, Consent: e.Dataset.Consent}
	for _, c := range e.Dataset.Columns {
		m, ok := e.Masks[c.Name]
		if !ok {
			m.Op = masking.OpKeep
		}
		// Nor does a grid: it shapes answers, not what is stored.
		c.Title, c.Measure, c.Grid, c.Codes = Text{}, "", nil, slices.Clone(c.Codes)
		c.Element, c.ElementType, c.Source, c.Basis = "", "", "", ""
		for i := range c.Codes {
			c.Codes[i].Title = Text{}
		}
		spec.Columns = append(spec.Columns, ingestedColumn{c, m})
	}
	text, err := json.Marshal(spec)
	if err != nil {
		panic(fmt.Sprintf("policies: a checked data set does not marshal: %v", err))
	}
	sum := sha256.Sum256(append([]byte("sandgate/ingest-spec/v1\n"), text...))
	return hex.EncodeToString(sum[:])
}

// Schema is the data set as it is stored, hidden columns included: what a canonical
// form is rendered and gated by. An operator's names are resolved by View.
func (e Entry) Schema() (algebra.Schema, error) {
	cols, err := e.AllStored()
	if err != nil {
		return algebra.Schema{}, err
	}
	return e.schemaOf(cols), nil
}

func (e Entry) schemaOf(cols []StoredColumn) algebra.Schema {
	s := e.schema()
	for _, c := range cols {
		if !c.Drop {
			s.Columns = append(s.Columns, algebra.SchemaColumn{Name: c.Name, Type: c.Type})
		}
	}
	return s
}

// schema is a schema without columns.
func (e Entry) schema() algebra.Schema {
	s := algebra.Schema{Dataset: e.Dataset.ID, Public: e.Dataset.Public, Unique: e.Dataset.Unique, Consent: e.Dataset.Consent == ConsentRequired}
	if e.Dataset.Unit != nil {
		s.Unit = e.Dataset.Unit.Column
	}
	return s
}

// Limits returns the default price of a query and the budget limits in force for
// the data set. The entry must be Ready and not public.
func (e Entry) Limits() (budget.Nano, budget.Limits, error) { return e.Rule.Budget.limits() }
