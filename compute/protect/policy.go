package protect

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/policies"
)

// FactsOf returns the public facts of a data set that a protected plan depends
// on. The entry must be Ready.
func FactsOf(e policies.Entry) (Facts, error) {
	cols, err := e.Stored()
	if err != nil {
		return Facts{}, err
	}
	f := Facts{
		Dataset: e.Dataset.ID, Department: e.Department, Public: e.Dataset.Public,
		MaxRows: e.Rule.MaxRows, OneRow: e.Dataset.OneRow, Columns: map[string]ColumnFacts{},
	}
	if !f.Public {
		f.Mode = Mode(e.Rule.Mode)
		f.K, f.Round = 10, 1
		if e.Rule.Exact != nil {
			f.K, f.Round = e.Rule.Exact.K, e.Rule.Exact.Round
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
		f.Columns[c.Column.Name] = cf
	}
	return f, nil
}

func columnFacts(c policies.StoredColumn) (ColumnFacts, error) {
	cf := ColumnFacts{Type: c.Type, Nullable: c.Column.Nullable || c.Mask.Op == "null"}
	if c.Column.Bounds != nil && c.Type == (algebra.Type{Kind: c.Column.Type, Scale: c.Column.Scale}) {
		b, err := policies.ParseBounds(c.Column)
		if err != nil {
			return cf, err
		}
		cf.Bounds = &Range{Lo: b[0], Hi: b[1]}
		cf.Stored = cf.Bounds
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
		cf.Codes = enumerable(c, cf)
	}
	return cf, nil
}

func codeValues(c policies.StoredColumn, op masking.Operator) ([]algebra.Value, error) {
	var out []algebra.Value
	for _, code := range c.Column.Codes {
		s, null := op.Apply(code.Value)
		if null {
			continue
		}
		v := algebra.Value{Type: c.Type, S: s}
		if c.Type.Kind == algebra.Int {
			i, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("code list holds a value that is not an integer")
			}
			v = algebra.Value{Type: c.Type, I: i}
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b algebra.Value) int {
		if a.I != b.I {
			return int(max(-1, min(1, a.I-b.I)))
		}
		return strings.Compare(a.S, b.S)
	})
	return slices.CompactFunc(out, func(a, b algebra.Value) bool { return a.I == b.I && a.S == b.S }), nil
}

// maxEnumerated caps the code list derived from bounds.
const maxEnumerated = 1000

// enumerable derives a public code list where the registered bounds already name
// every value a column can hold: booleans, small integer ranges, the years of a
// bounded date masked to its year, and months.
func enumerable(c policies.StoredColumn, cf ColumnFacts) []algebra.Value {
	if c.Type.Kind == algebra.Bool {
		return []algebra.Value{{Type: c.Type}, {Type: c.Type, I: 1}}
	}
	if c.Column.Bounds == nil {
		return nil
	}
	b, err := policies.ParseBounds(c.Column)
	if err != nil {
		return nil
	}
	var out []algebra.Value
	switch {
	case c.Mask.Op == "year" && c.Column.Type == algebra.Date:
		lo, hi := algebra.YearOf(b[0]), algebra.YearOf(b[1])
		for y := lo; y <= hi && hi-lo < maxEnumerated; y++ {
			out = append(out, algebra.Value{Type: c.Type, I: y})
		}
	case c.Mask.Op == "month" && c.Column.Type == algebra.Date:
		for d := algebra.MonthOf(b[0]); d <= b[1] && len(out) <= maxEnumerated; d = algebra.NextMonth(d) {
			out = append(out, algebra.Value{Type: c.Type, I: d})
		}
		if len(out) > maxEnumerated {
			return nil
		}
	case cf.Bounds != nil && c.Type.Kind == algebra.Int && b[1]-b[0] < maxEnumerated:
		for i := b[0]; i <= b[1]; i++ {
			out = append(out, algebra.Value{Type: c.Type, I: i})
		}
	}
	return out
}
