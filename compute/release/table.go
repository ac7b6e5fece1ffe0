package release

import (
	"encoding/binary"
	"errors"
	"math/big"
	"slices"
	"unicode/utf8"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// errShape is internal: guard replaces it by ErrKernel.
var errShape = errors.New("partials do not fit the plan")

// guard runs a kernel and flattens every failure, a broken random source and a
// programming error included, to ErrKernel and no release.
func guard(kernel func() (*Release, error)) (r *Release, err error) {
	defer func() {
		if recover() != nil || err != nil {
			r, err = nil, ErrKernel
		}
	}()
	return kernel()
}

// group is one cell of exact partials with its place in the table.
type group struct {
	keys  []algebra.Value
	m     []*big.Int
	shown bool // a registered key combination
}

// table checks the partials against the plan and lays them out: with public keys
// one group for every combination, empty ones included; with private keys those
// the worker found. Groups are sorted by key. A group whose code is not
// registered comes last and is never shown: dropping rows by their own value
// keeps a unit's influence bounded, while an error would tell that they exist.
func table(plan *protect.Plan, p protect.Partials) ([]group, error) {
	found := make(map[string][]*big.Int, len(p.Cells))
	var groups, stray []group
	private := false
	for _, k := range plan.Keys {
		private = private || k.Codes == nil
	}
	for _, c := range p.Cells {
		if !fits(plan, c) {
			return nil, errShape
		}
		id := identity(c.Keys)
		if _, twice := found[id]; twice {
			return nil, errShape
		}
		found[id] = c.M
		g := group{keys: c.Keys, m: c.M, shown: registered(plan, c.Keys)}
		switch {
		case !g.shown:
			stray = append(stray, g)
		case private:
			groups = append(groups, g)
		}
	}
	if private {
		if len(groups) > plan.MaxCells {
			return nil, errShape
		}
		slices.SortFunc(groups, func(a, b group) int { return slices.CompareFunc(a.keys, b.keys, protect.CompareValues) })
		return append(groups, stray...), nil
	}
	zero := make([]*big.Int, len(plan.Measures))
	for i := range zero {
		zero[i] = new(big.Int)
	}
	cells, domains := 1, make([][]algebra.Value, len(plan.Keys))
	for i, k := range plan.Keys {
		domains[i] = domain(k)
		if cells *= len(domains[i]); cells > plan.MaxCells {
			return nil, errShape
		}
	}
	for i := range cells {
		keys := make([]algebra.Value, len(plan.Keys))
		for j, rest := len(keys)-1, i; j >= 0; j-- {
			d := domains[j]
			keys[j], rest = d[rest%len(d)], rest/len(d)
		}
		m, ok := found[identity(keys)]
		if !ok {
			m = zero
		}
		groups = append(groups, group{keys: keys, m: m, shown: true})
	}
	return append(groups, stray...), nil
}

// domain lists the values of a public key in order, NULL last.
func domain(k protect.Key) []algebra.Value {
	if !k.Nullable {
		return k.Codes
	}
	return append(slices.Clip(k.Codes), algebra.Value{Type: k.Col.Type, Null: true})
}

func fits(plan *protect.Plan, c protect.Cell) bool {
	if len(c.Keys) != len(plan.Keys) || len(c.M) != len(plan.Measures) {
		return false
	}
	for i, v := range c.Keys {
		if v.Type != plan.Keys[i].Col.Type || v.Redacted {
			return false
		}
	}
	for i, m := range c.M {
		kind := plan.Measures[i].Kind
		if m == nil || m.Sign() < 0 && kind != protect.MeasureSum && kind != protect.MeasureProduct {
			return false
		}
	}
	return true
}

func registered(plan *protect.Plan, keys []algebra.Value) bool {
	for i, k := range plan.Keys {
		switch {
		case k.Codes == nil:
			if !utf8.ValidString(keys[i].S) {
				return false
			}
		case keys[i].Null:
			if !k.Nullable {
				return false
			}
		default:
			if _, ok := slices.BinarySearchFunc(k.Codes, keys[i], protect.CompareValues); !ok {
				return false
			}
		}
	}
	return true
}

// identity is an injective text of a key combination whose types are fixed.
func identity(keys []algebra.Value) string {
	var b []byte
	for _, v := range keys {
		if v.Null {
			b = append(b, 0)
			continue
		}
		b = append(b, 1)
		b = binary.BigEndian.AppendUint64(b, uint64(v.I))
		b = binary.BigEndian.AppendUint64(b, uint64(len(v.S)))
		b = append(b, v.S...)
	}
	return string(b)
}
