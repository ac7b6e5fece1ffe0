package engine

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/sandgate/sandgate/compute/protect"
)

// colList is the kind of a list column: for every row its length and its
// elements, uint64 in ascending order, no element twice but in lists of two.
const colList = 5

// frameElements bounds the list elements of a frame by the row that passes it.
const frameElements = 1 << 18

// topElements is the length of the lists of largest values.
const topElements = 2

// listCaps is the most elements a row of each list column may have: two largest
// values, or all units of the snapshot.
func listCaps(plan *protect.Plan) []int {
	if plan.Exact == nil {
		return nil
	}
	var out []int
	for _, l := range plan.Exact.Lists {
		n := topElements
		if !l.Top {
			n = int(min(max(plan.Exact.SnapUnits, 0), math.MaxInt32))
		}
		out = append(out, n)
	}
	return out
}

// fitsLists checks a row's lists: of a cell no longer than their caps and in
// order; of the grand total, which has no use for them, empty.
func (s Schema) fitsLists(r Row) bool {
	if len(r.Lists) != len(s.Lists) {
		return false
	}
	for i, l := range r.Lists {
		if len(l) > s.Lists[i] || r.Group != 0 && len(l) > 0 {
			return false
		}
		for j := 1; j < len(l); j++ {
			if l[j] < l[j-1] || l[j] == l[j-1] && len(l) > topElements {
				return false
			}
		}
	}
	return true
}

func appendLists(out []byte, s Schema, rows []Row) []byte {
	for i := range s.Lists {
		out = append(out, colList)
		for _, r := range rows {
			out = binary.LittleEndian.AppendUint32(out, uint32(len(r.Lists[i])))
			for _, v := range r.Lists[i] {
				out = binary.LittleEndian.AppendUint64(out, v)
			}
		}
	}
	return out
}

func readLists(c *cursor, s Schema, rows []Row) error {
	for i := range s.Lists {
		kind, ok := c.take(1)
		if !ok || kind[0] != colList {
			return fmt.Errorf("%w: list column", ErrPartials)
		}
		for r := range rows {
			head, ok := c.take(4)
			if !ok || uint64(binary.LittleEndian.Uint32(head)) > uint64(s.Lists[i]) {
				return fmt.Errorf("%w: list length", ErrPartials)
			}
			raw, ok := c.take(8 * int(binary.LittleEndian.Uint32(head)))
			if !ok {
				return fmt.Errorf("%w: list", ErrPartials)
			}
			l := make([]uint64, len(raw)/8)
			for j := range l {
				l[j] = binary.LittleEndian.Uint64(raw[8*j:])
			}
			rows[r].Lists = append(rows[r].Lists, l)
		}
	}
	return nil
}
