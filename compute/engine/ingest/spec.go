// Package ingest reads a department's raw file against its catalogue entry and
// turns it into rows that may be stored: validated, clamped, masked, the privacy
// unit replaced by a keyed token. It runs inside a sandboxed worker; what it says
// about a file is codes, positions and counts, never a value.
package ingest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
)

// Format of a raw file.
type Format string

// Formats.
const (
	CSV     Format = "csv"
	CSVGzip Format = "csv.gz"
	Parquet Format = "parquet"
)

// Range is an inclusive interval in minimal units.
type Range struct {
	Lo int64 `json:"lo"`
	Hi int64 `json:"hi"`
}

// Mask names a masking operator and its parameters, as package masking takes them.
type Mask struct {
	Op     string   `json:"op"`
	Digits int      `json:"digits,omitempty"`
	Value  string   `json:"value,omitempty"`
	Level  string   `json:"level,omitempty"`
	At     string   `json:"at,omitempty"`
	Edges  []string `json:"edges,omitempty"`
	Width  string   `json:"width,omitempty"`
	Lo     string   `json:"lo,omitempty"`
	Hi     string   `json:"hi,omitempty"`

	Column   string   `json:"column,omitempty"`
	Scale    int      `json:"scale,omitempty"`
	Retain   string   `json:"retain,omitempty"`
	Codes    []string `json:"codes,omitempty"`
	By       []string `json:"by,omitempty"`
	Least    int      `json:"least,omitempty"`
	K        int      `json:"k,omitempty"`
	Suppress int      `json:"suppress,omitempty"`
	Ladder   []string `json:"ladder,omitempty"`
}

// Column is one column of the raw file. Codes is the code list as the file
// spells it; a value outside it becomes Other when that is set, else its row is
// bad. Bounds are in minimal units of Type; values outside are clamped.
type Column struct {
	Name     string       `json:"name"`
	Type     algebra.Type `json:"type"`
	Nullable bool         `json:"nullable,omitempty"`
	Missing  []string     `json:"missing,omitempty"`
	Codes    []string     `json:"codes,omitempty"`
	Other    string       `json:"other,omitempty"`
	Bounds   *Range       `json:"bounds,omitempty"`
	Mask     *Mask        `json:"mask,omitempty"`
}

// Spec is everything ingest needs to know of a data set. It holds no key.
type Spec struct {
	Dataset    string   `json:"dataset"`
	UnitColumn string   `json:"unit_column,omitempty"` // empty: public
	UnitKind   string   `json:"unit_kind,omitempty"`
	OneRow     bool     `json:"one_row,omitempty"` // refused unless every unit has one row
	Unique     []string `json:"unique,omitempty"`  // public only; each alone unique and never NULL
	// MaxBadPercent is the share of bad rows, in percent of all rows, over
	// which the file is refused.
	MaxBadPercent float64  `json:"max_bad_percent,omitempty"`
	Consent       bool     `json:"consent,omitempty"` // store whose consent each row needs
	Columns       []Column `json:"columns"`
	// Variants are stored behind the columns, in this order.
	Variants []Variant `json:"variants,omitempty"`
}

// Keys are the secrets of tokenisation, at least 32 bytes each. They travel in a
// job's payload, never in an environment or a file.
type Keys struct {
	Unit      []byte `json:"unit"`      // unit token: one space over the whole pool
	Rank      []byte `json:"rank"`      // order of rows inside a unit, and the content hash
	Pseudonym []byte `json:"pseudonym"` // handed to mask operators
	// Consent commits to data subjects as recorded consents do; set with Spec.Consent.
	Consent []byte `json:"consent,omitempty"`
}

// Operator masks one value given as canonical text: dates ISO, decimals with
// their scale, booleans true or false. null makes the stored value NULL.
type Operator interface {
	Apply(v string) (out string, null bool)
}

// IntOperator masks numbers and dates without spelling them out: minimal units and
// days. An Operator that is one gives no NULL.
type IntOperator interface {
	ApplyInt(v int64) int64
}

// BuildOperator makes the operator of a mask and names the type it stores; drop
// leaves the column out of the snapshot. The gateway calls it without a key to
// learn the stored type, the worker with Keys.Pseudonym. The program that links
// package masking sets it before any ingest; nil refuses every masked column.
var BuildOperator func(m Mask, source algebra.Type, key []byte) (o Operator, stored algebra.Type, drop bool, err error)

// CanonicalUnit brings a unit identifier of a kind into its one spelling and
// says whether it is well formed. The program that knows identifier kinds
// replaces it before any ingest.
var CanonicalUnit = func(kind, v string) (string, bool) {
	v = strings.ToUpper(strings.TrimSpace(v))
	return v, v != "" && len(v) <= 64
}

// UnitColumn and RankColumn are the columns ingest adds to a private table.
const (
	UnitToken = "_unit" // UBIGINT
	UnitRank  = "_rn"   // INTEGER, from 1
	// UnitConsent is there where Spec.Consent asks for it.
	UnitConsent = "_consent" // UUID
)

// Stored is one column of the snapshot.
type Stored struct {
	Name     string       `json:"name"`
	Type     algebra.Type `json:"type"`
	Nullable bool         `json:"nullable,omitempty"`
	Bounds   *Range       `json:"bounds,omitempty"` // enforced at ingest; nil when a mask changed the value
	source   int          // index into Spec.Columns
}

// Source returns the index in Spec.Columns that the stored column comes from.
func (s Stored) Source() int { return s.source }

// Hash identifies the specification: two snapshots with one hash were ingested
// under the same rules.
func (s *Spec) Hash() (string, error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("failed to encode ingest specification: %w", err)
	}
	sum := sha256.Sum256(append([]byte("sandgate ingest specification v1\n"), raw...))
	return hex.EncodeToString(sum[:]), nil
}

// Check refuses a specification that could not be honoured.
func (s *Spec) Check() error {
	if s.Dataset == "" || len(s.Columns) == 0 || len(s.Columns) > 1000 {
		return errors.New("failed to check ingest specification: a data set id and 1 to 1000 columns are needed")
	}
	seen := map[string]bool{}
	for _, c := range s.Columns {
		switch c.Type.Kind {
		case algebra.Int, algebra.Bool, algebra.Date, algebra.Text:
			if c.Type.Scale != 0 {
				return fmt.Errorf("failed to check column %q: only a decimal has a scale", c.Name)
			}
		case algebra.Decimal:
			if c.Type.Scale > 9 {
				return fmt.Errorf("failed to check column %q: scale is 0 to 9", c.Name)
			}
		default:
			return fmt.Errorf("failed to check column %q: unknown type %q", c.Name, c.Type.Kind)
		}
		if c.Name == "" || c.Name == UnitToken || c.Name == UnitRank || c.Name == UnitConsent || seen[strings.ToLower(c.Name)] {
			return fmt.Errorf("failed to check column %q: the name is empty, reserved or used twice", c.Name)
		}
		seen[strings.ToLower(c.Name)] = true
		if c.Bounds != nil && (c.Bounds.Lo > c.Bounds.Hi || c.Type.Kind == algebra.Text || c.Type.Kind == algebra.Bool) {
			return fmt.Errorf("failed to check column %q: bounds are empty or do not fit the type", c.Name)
		}
		if len(c.Codes) > 0 && c.Type.Kind != algebra.Text && c.Type.Kind != algebra.Int && c.Type.Kind != algebra.Date {
			return fmt.Errorf("failed to check column %q: only text, int and date columns have codes", c.Name)
		}
	}
	if s.UnitColumn != "" && !seen[strings.ToLower(s.UnitColumn)] {
		return fmt.Errorf("failed to check ingest specification: unit column %q is not a column", s.UnitColumn)
	}
	if s.UnitColumn == "" && s.Consent {
		return errors.New("failed to check ingest specification: consents are those of units")
	}
	if s.UnitColumn == "" && s.OneRow || s.UnitColumn != "" && len(s.Unique) > 0 {
		return errors.New("failed to check ingest specification: one row per unit needs a unit, unique columns need a public table")
	}
	return s.checkVariants(seen)
}

// StoredColumns are the columns of the snapshot in its order, without _unit and
// _rn: neither the unit column nor a dropped one is among them. Hidden columns come
// last.
func (s *Spec) StoredColumns() ([]Stored, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	var out []Stored
	for i, c := range s.Columns {
		if strings.EqualFold(c.Name, s.UnitColumn) {
			continue
		}
		st := Stored{Name: c.Name, Type: c.Type, Nullable: c.Nullable, Bounds: c.Bounds, source: i}
		if c.Mask != nil {
			_, typ, drop, err := operator(c, nil)
			if err != nil {
				return nil, err
			}
			if drop {
				continue
			}
			st.Type, st.Bounds, st.Nullable = typ, nil, true
		}
		out = append(out, st)
	}
	for _, name := range s.Unique {
		if !hasColumn(out, name) {
			return nil, fmt.Errorf("failed to check ingest specification: unique column %q is not stored", name)
		}
	}
	variants, err := s.storedVariants()
	return append(out, variants...), err
}

func hasColumn(columns []Stored, name string) bool {
	for _, c := range columns {
		if c.Name == name {
			return true
		}
	}
	return false
}

func operator(c Column, key []byte) (Operator, algebra.Type, bool, error) {
	if BuildOperator == nil {
		return nil, algebra.Type{}, false, fmt.Errorf("failed to build mask of column %q: this program has no masking operators", c.Name)
	}
	o, typ, drop, err := BuildOperator(*c.Mask, c.Type, key)
	if err != nil {
		return nil, typ, drop, fmt.Errorf("failed to build mask of column %q: %w", c.Name, err)
	}
	return o, typ, drop, nil
}
