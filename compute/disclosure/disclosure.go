// Package disclosure is differencing control 差分控制 and the information account
// of exact mode. It keeps what every earlier release disclosed as sets of privacy
// units and refuses a new cell that, taken with at most two of them, would speak
// of fewer than k units. It is pure and holds no values of units, only who was in
// which cell.
//
// Limits: combinations of more than three sets are not searched; what they give
// is bounded by the information account (Price). Units are members of a set as a
// whole, so data sets must have one row per unit.
package disclosure

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// MaxK is the largest k a Store can serve: its sketches grow with k.
const MaxK = 100

// Set is one cell that a release discloses: who is in it and which public
// condition chose them.
type Set struct {
	// Family separates what can be subtracted from each other: "" holds rows of
	// cells and counts, a column name the units that have a value in it.
	Family string `json:"family,omitempty"`
	Region Region `json:"region"`
	// Units are the members' tokens, each once.
	Units []uint64 `json:"-"`
	// Values are the exact sums of released quantities modulo 2^64, by name: they
	// tell whether an unchanged set changed in value from one snapshot to the next.
	Values map[string]uint64 `json:"values,omitempty"`
}

// Region is the public condition of a set: rows of Base whose keys fall into one
// of Cells. Equal regions over one snapshot hold equal sets whatever the data.
type Region struct {
	Base  string `json:"base"`            // commitment to tables, joins and condition
	Whole bool   `json:"whole,omitempty"` // Base leaves no row of the data set out
	Keys  []Key  `json:"keys,omitempty"`
	Cells []int  `json:"cells"` // ascending indices into the product of the keys' domains, last key fastest
	// Void lists, like Cells, combinations that are empty by nature.
	Void []int `json:"void,omitempty"`
}

// Key is a grouping key with a public domain of Size values.
type Key struct {
	Name string `json:"name"` // column and commitment to its code list
	Size int    `json:"size"`
}

// same says that two regions are written alike.
func (r *Region) same(o *Region) bool {
	return r.Base == o.Base && slices.Equal(r.Keys, o.Keys) && slices.Equal(r.Cells, o.Cells) && slices.Equal(r.Void, o.Void)
}

// maxDomain bounds the work of a structural proof; a larger one is not tried and
// the relation counts as found in the data.
const maxDomain = 1 << 18

// vanishes proves from public facts alone that Σ signs·regions is zero in every
// row: that N = S₁ ⊎ S₂ holds because N's key has just these codes, say.
func vanishes(signs []int, regions []*Region) bool {
	var keys []Key
	size := 1
	for _, r := range regions {
		if r.Base != regions[0].Base {
			return false
		}
		for _, k := range r.Keys {
			at := slices.IndexFunc(keys, func(h Key) bool { return h.Name == k.Name })
			if at >= 0 && keys[at].Size != k.Size {
				return false
			}
			if at < 0 {
				if k.Size < 1 || size > maxDomain/k.Size {
					return false
				}
				keys, size = append(keys, k), size*k.Size
			}
		}
	}
	sum, void := make([]int8, size), make([]bool, size)
	point := make([]int, len(keys))
	for i, r := range regions {
		domain := 1
		at := make([]int, len(r.Keys))
		for j, k := range r.Keys {
			at[j] = slices.IndexFunc(keys, func(h Key) bool { return h.Name == k.Name })
			domain *= k.Size
		}
		inside, empty := make([]bool, domain), make([]bool, domain)
		for _, list := range []struct {
			cells []int
			to    []bool
		}{{r.Cells, inside}, {r.Void, empty}} {
			for _, c := range list.cells {
				if c < 0 || c >= domain {
					return false
				}
				list.to[c] = true
			}
		}
		for p := range sum {
			for j, rest := len(keys)-1, p; j >= 0; j-- {
				point[j], rest = rest%keys[j].Size, rest/keys[j].Size
			}
			c := 0
			for j, k := range r.Keys {
				c = c*k.Size + point[at[j]]
			}
			void[p] = void[p] || empty[c]
			if inside[c] {
				sum[p] += int8(signs[i])
			}
		}
	}
	for p, v := range sum {
		if v != 0 && !void[p] {
			return false
		}
	}
	return true
}

// whole is the region of the unfiltered data set.
func (r *Region) whole() *Region { return &Region{Base: r.Base, Whole: true, Cells: []int{0}} }

// Collision says why a set may not be released. Release is the earlier release it
// collides with, "" when it collides with cells of its own table or with the
// whole data set.
type Collision struct {
	Release string
}

// mix is the finaliser of SplitMix64, a bijection.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// Commitment is a short injective name of public parts, for Region.Base and Key.Name.
func Commitment(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		h.Write([]byte(p))
	}
	return string(hexDigits(h.Sum(nil)[:16]))
}

func hexDigits(b []byte) []byte {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, 2*len(b))
	for _, c := range b {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return out
}
