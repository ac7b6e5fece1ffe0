package protect

import (
	"fmt"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/policies"
)

// perturbedCodes fills in the public code list of a column under noise, randomised
// response, shuffling or k-anonymous generalisation: every value that any draw or any
// level can give. Which ones an ingest gave is not public.
func perturbedCodes(cf ColumnFacts, c policies.StoredColumn) (ColumnFacts, error) {
	keep, err := masking.New(masking.OpKeep, masking.Params{Type: c.Type})
	if err != nil {
		return cf, err
	}
	if len(c.Column.Codes) == 0 || c.Mask.Op == masking.OpNoise {
		if c.Mask.Op != masking.OpKAnonymous || c.Type.Kind == algebra.Bool {
			cf.Codes, err = enumerable(c, keep)
		}
		return cf, err
	}
	if cf.Codes, err = codeValues(c, keep); err != nil || c.Mask.Op != masking.OpKAnonymous {
		return cf, err
	}
	l, err := masking.NewLadder(policies.MaskParams(c.Column, c.Mask, nil))
	if err != nil {
		return cf, fmt.Errorf("failed to read the ladder: %w", err)
	}
	for _, v := range slices.Clone(cf.Codes) {
		for level := range l.Height() + 1 {
			g, null := v, false
			if v.Type.Kind == algebra.Text {
				g.S, null = l.Text(level, v.S)
			} else {
				g.I, null = l.Int(level, v.I)
			}
			if !null {
				cf.Codes = append(cf.Codes, g)
			}
		}
	}
	slices.SortFunc(cf.Codes, CompareValues)
	cf.Codes = slices.CompactFunc(cf.Codes, func(a, b algebra.Value) bool { return CompareValues(a, b) == 0 })
	return cf, nil
}
