package protect

import (
	"fmt"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/policies"
)

// FactsOf returns the public facts of a data set that a protected plan depends
// on. The entry must be Ready.
func FactsOf(e policies.Entry) (Facts, error) {
	cols, err := e.AllStored()
	if err != nil {
		return Facts{}, err
	}
	f := Facts{
		Unit:    unitOf(e.Dataset),
		Dataset: e.Dataset.ID, Department: e.Department, Public: e.Dataset.Public,
		MaxRows: e.Rule.MaxRows, OneRow: e.Dataset.OneRow, Consent: e.Dataset.Consent == policies.ConsentRequired, Unique: e.Dataset.Unique, Columns: map[string]ColumnFacts{},
	}
	if f.OneRow {
		f.MaxRows = 1
	}
	if !f.Public {
		f.Mode = Mode(e.Rule.Mode)
		f.K, f.Round = e.KeyUnits(), 1
		if e.Rule.Exact != nil {
			f.K, f.Round = e.Rule.Exact.K, e.Rule.Exact.Round
			if f.Exact, err = exactRules(e.Rule.Exact); err != nil {
				return f, err
			}
		}
		query, limits, err := e.Limits()
		if err != nil {
			return f, err
		}
		f.QueryRho, f.QueryMaxRho = query, limits.Query
	}
	for _, c := range cols {
		if c.Drop {
			continue
		}
		cf, err := columnFacts(c)
		if err != nil {
			return f, fmt.Errorf("column %q: %w", c.Column.Name, err)
		}
		cf.Private = slices.Contains(e.Rule.PrivateKeys, c.Column.Name)
		f.Columns[c.Name] = cf
	}
	return f, nil
}

func unitOf(d policies.Dataset) policies.UnitKind {
	if d.Unit == nil {
		return ""
	}
	return d.Unit.Kind
}

func columnFacts(c policies.StoredColumn) (ColumnFacts, error) {
	cf := ColumnFacts{Type: c.Type, Nullable: nullable(c), Grid: c.Grid}
	// The bounds of a date make it no measure; they bound its parts and differences.
	if c.Bounds != nil && (c.Type.Kind == algebra.Int || c.Type.Kind == algebra.Decimal || c.Type.Kind == algebra.Date) {
		cf.Bounds = &Range{Lo: c.Bounds[0], Hi: c.Bounds[1]}
		cf.Stored = cf.Bounds
	}
	if masking.Perturbs(c.Mask.Op) {
		return perturbedCodes(cf, c)
	}
	op, err := masking.New(c.Mask.Op, policies.MaskParams(c.Column, c.Mask, []byte("code lists are masked by keyless operators only")))
	if err != nil {
		return cf, err
	}
	// A pseudonym's codes depend on a key that policy does not hold.
	if len(c.Column.Codes) > 0 && c.Mask.Op != "pseudonym" {
		if cf.Codes, err = codeValues(c, op); err != nil {
			return cf, err
		}
	}
	if cf.Codes == nil {
		cf.Codes, err = enumerable(c, op)
	}
	return cf, err
}

func codeValues(c policies.StoredColumn, op masking.Operator) ([]algebra.Value, error) {
	var out []algebra.Value
	ints, _ := op.(masking.IntOperator)
	for _, code := range c.Column.Codes {
		if ints != nil { // ingest masks the number, whatever its spelling
			raw, err := policies.CodeValue(algebra.Type{Kind: c.Column.Type, Scale: c.Column.Scale}, code.Value)
			if err != nil {
				return nil, fmt.Errorf("failed to read the code list: %w", err)
			}
			out = append(out, algebra.Value{Type: c.Type, I: ints.ApplyInt(raw.I)})
			continue
		}
		s, null := op.Apply(code.Value)
		if null {
			continue
		}
		v, err := policies.CodeValue(c.Type, s)
		if err != nil {
			return nil, fmt.Errorf("failed to read the code list: %w", err)
		}
		out = append(out, v)
	}
	slices.SortFunc(out, CompareValues)
	return slices.CompactFunc(out, func(a, b algebra.Value) bool { return CompareValues(a, b) == 0 }), nil
}

// nullable says whether a stored column may hold NULL: some masks turn a value that
// they cannot read into NULL.
func nullable(c policies.StoredColumn) bool {
	return c.Column.Nullable || masking.MayNull(c.Mask.Op)
}

// maxEnumerated caps the code list derived from bounds.
const maxEnumerated = 1000

// enumerable derives a public code list where the registered bounds already name
// every value a column can hold: booleans, small integer ranges, and what a mask
// makes of bounded numbers and dates: years, quarters, months, bands.
func enumerable(c policies.StoredColumn, op masking.Operator) ([]algebra.Value, error) {
	if c.Type.Kind == algebra.Bool {
		return []algebra.Value{{Type: c.Type}, {Type: c.Type, I: 1}}, nil
	}
	if c.Bounds == nil {
		return nil, nil
	}
	lo, hi := c.Bounds[0], c.Bounds[1]
	var all []int64
	ints, ok := op.(masking.IntOperator)
	switch {
	case ok && c.Mask.Op != masking.OpClip:
		raw, err := policies.ParseBounds(c.Column)
		if err != nil {
			return nil, err
		}
		all = ints.Image(raw[0], raw[1], maxEnumerated)
	case c.Type.Kind == algebra.Int && hi-lo < maxEnumerated:
		for i := lo; i <= hi; i++ {
			all = append(all, i)
		}
	}
	var out []algebra.Value
	for _, i := range all {
		out = append(out, algebra.Value{Type: c.Type, I: i})
	}
	return out, nil
}
