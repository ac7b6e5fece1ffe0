package protect

import (
	"slices"
	"unicode/utf8"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// keys gives every grouping key its public domain, or makes the table one of
// private keys.
func (b *builder) keys() *policies.Reason {
	cells := 1
	for i, c := range b.core.Keys {
		x, r := b.scope.column(c)
		if r != nil {
			return r
		}
		x = x.enumerated()
		if slices.Contains(b.core.Keys[:i], c) {
			return invalidCore("分组键重复", "a grouping key stands twice")
		}
		k := Key{Col: c}
		switch {
		case x.private:
			b.private = true
		case x.listed:
			if k.Codes, r = keyCodes(x); r != nil {
				return r
			}
			k.Nullable = x.nullable
			// Labels are counted beside codes even where a label is a code too: which
			// it is cannot be seen once the ledger has redacted the label.
			n := len(x.codes) + len(x.labels) + boolInt(k.Nullable)
			if len(k.Codes) == 0 {
				return keyNotPublic(x.owner, x.name)
			}
			if n > MaxPublicCells/cells {
				return tooManyCells(x.owner, x.name)
			}
			cells *= n
		default:
			return keyNotPublic(x.owner, x.name)
		}
		b.plan.Keys = append(b.plan.Keys, k)
	}
	b.plan.MaxCells = cells
	if b.private {
		b.plan.MaxCells = MaxPrivateCells
		if b.k() < 1 {
			return incomplete(b.facts[0], "k")
		}
		if len(b.core.Tables[0].Parts) > 0 {
			return privateKeysOf(b.facts[0], "UNION ALL", "UNION ALL")
		}
		if b.core.Sets != nil {
			return privateKeysOf(b.facts[0], "ROLLUP、CUBE、GROUPING SETS", "ROLLUP, CUBE and GROUPING SETS")
		}
	}
	return nil
}

// k is the least number of units of a private key: the strictest data set's.
func (b *builder) k() int64 {
	k := int64(0)
	for _, f := range b.facts {
		if !f.Public {
			k = max(k, f.K)
		}
	}
	return k
}

func keyCodes(x scalar) ([]algebra.Value, *policies.Reason) {
	codes := slices.Clone(x.codes)
	slices.SortFunc(codes, CompareValues)
	for j, v := range codes {
		if v.Type != x.typ || v.Null || v.Redacted || !utf8.ValidString(v.S) || j > 0 && CompareValues(codes[j-1], v) == 0 {
			return nil, badCodes(x.owner, x.name)
		}
	}
	for _, v := range x.labels {
		if v.Type != x.typ || v.Null || !utf8.ValidString(v.S) {
			return nil, badCodes(x.owner, x.name)
		}
	}
	if len(x.labels) == 0 {
		return codes, nil
	}
	return distinct(append(codes, x.labels...)), nil
}

// sets checks the grouping sets: margins are added up from the noisy cells of all
// keys, so only what adds up has any.
func (b *builder) sets() *policies.Reason {
	if b.core.Sets == nil {
		return nil
	}
	for _, s := range b.core.Sets {
		for j, k := range s {
			if k < 0 || k >= len(b.core.Keys) || j > 0 && s[j-1] >= k {
				return invalidCore("分组集不合规", "a grouping set is malformed")
			}
		}
	}
	if len(b.core.Sets) == 0 || len(b.core.Sets) > algebra.MaxSets {
		return invalidCore("分组集不合规", "a grouping set is malformed")
	}
	if b.plan.MaxCells*len(b.core.Sets) > maxDraws {
		return tooManyCells(b.facts[0], "GROUPING SETS")
	}
	if b.plan.OneRow {
		return nil
	}
	for _, a := range b.core.Aggs {
		if a.Func == algebra.CountUnits {
			return unitsInSets(b.facts[0])
		}
	}
	return nil
}
