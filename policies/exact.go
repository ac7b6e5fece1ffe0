package policies

import (
	"slices"

	"github.com/sandgate/sandgate/compute/budget"
)

// Limits of an ExactRule.
const (
	minK, maxK      = 10, 100 // the check of combinations grows with k
	maxBits         = 16      // per unit: past it the cap caps nothing
	maxZeros        = 1000
	defTop1         = 50
	defTop2         = 90
	defP            = 10
	defDof          = 10
	nanoBitsPerUnit = 1_000_000_000
)

// Thresholds returns the rule's thresholds with the defaults filled in.
func (r ExactRule) Thresholds() (top1, top2, p, dof int64) {
	or := func(v, d int64) int64 {
		if v == 0 {
			return d
		}
		return v
	}
	return or(r.Top1, defTop1), or(r.Top2, defTop2), or(r.PPercent, defP), or(r.Dof, defDof)
}

// NanoBits is the information cap in 1e-9 bit per unit, rounded down.
func (r ExactRule) NanoBits() (int64, error) {
	text := r.BitsPerUnit
	if text == "" {
		text = DefaultBitsPerUnit
	}
	n, err := budget.ParseLimit(text)
	if err != nil || n <= 0 || n > maxBits*nanoBitsPerUnit {
		return 0, texts.Errorf("exact.bits_per_unit must be a decimal above 0 and at most %d", maxBits)
	}
	return int64(n), nil
}

// checkExact holds an exact rule to what may have one and to its bounds.
func checkExact(e Entry, r DisclosureRule) error {
	if e.Dataset.Unit.Kind == UnitPerson {
		return texts.Errorf("mode exact is for organisational and non-personal data; personal data takes dp")
	}
	for _, c := range e.Dataset.Columns {
		// What identifies a natural person makes a column personal data, whatever
		// the unit is; what is not stored cannot be asked about.
		person := slices.Contains([]IdentifierKind{IdentCitizen, IdentName, IdentPhone, IdentCard, IdentAddress, IdentEmail, IdentPlate}, c.Identifier)
		// A record may be a person under a foreign number.
		if e.Dataset.Unit.Kind == UnitRecord && len(r.Uses[c.Name]) > 0 && !DemandsOf(e.Levels[c.Name]).PersonalExact {
			return texts.Errorf("column %q of a record is graded %d and may be personal data, which has no exact mode: take mode dp", c.Name, e.Levels[c.Name])
		}
		if m, ok := e.Masks[c.Name]; person && !DemandsOf(e.Levels[c.Name]).PersonalExact && !(ok && m.Op == "drop") {
			return texts.Errorf("column %q is personal data of level %d, which has no exact mode: drop it by its mask, or take mode dp", c.Name, e.Levels[c.Name])
		}
	}
	if !e.Dataset.OneRow {
		return texts.Errorf("mode exact needs one_row_per_unit: with several rows of a unit, cells cannot be told apart by who is in them")
	}
	if r.Exact == nil || r.Exact.K < minK || r.Exact.K > maxK || r.Exact.Round < 2 {
		return texts.Errorf("mode exact needs exact: {k ≥ %d, round ≥ 2}, k at most %d", minK, maxK)
	}
	if len(r.PrivateKeys) > 0 {
		return texts.Errorf("mode exact takes no private keys: k already governs every cell")
	}
	top1, top2, p, dof := r.Exact.Thresholds()
	if top1 < 1 || top1 > defTop1 || top2 < top1 || top2 > defTop2 || p < defP || p > 1000 || dof < defDof || dof > 1000 {
		return texts.Errorf("exact thresholds may only be made stricter: top1 ≤ %d, top1 ≤ top2 ≤ %d, p_percent ≥ %d, dof ≥ %d", defTop1, defTop2, defP, defDof)
	}
	if _, err := r.Exact.NanoBits(); err != nil {
		return err
	}
	if len(r.Exact.StructuralZeros) > maxZeros {
		return texts.Errorf("exact.structural_zeros has more than %d entries", maxZeros)
	}
	for _, z := range r.Exact.StructuralZeros {
		if len(z) == 0 {
			return texts.Errorf("exact.structural_zeros has an empty entry")
		}
		for name := range z {
			if !slices.Contains(r.Uses[name], UseKey) {
				return texts.Errorf("exact.structural_zeros: %q is not a column with use key", safeName(name))
			}
		}
	}
	return nil
}
