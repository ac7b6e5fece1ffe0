package release

import (
	"cmp"
	"encoding/hex"
	"errors"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
)

// Rekeyed returns r with the values of some text keys replaced, as one agreement is
// shown the pseudonyms of a release that another may be given too. keys are indices of
// key columns, to maps a value of one of them. Rows are put in the order of the new
// values: in the old one, row n of two agreements would be the same. The digest that
// results of Apply name as their source stays that of r.
func (r *Release) Rekeyed(keys []int, to func(key int, value string) string) (*Release, error) {
	if r.derived {
		return nil, errors.New("failed to re-key release: it is derived already")
	}
	for _, k := range keys {
		if k < 0 || k >= r.keys() || r.cols[k].Type.Kind != algebra.Text {
			return nil, errors.New("failed to re-key release: a column is no text key")
		}
	}
	out := *r
	digest := r.Digest()
	out.origin = hex.EncodeToString(digest[:])
	out.rows = make([][]value, len(r.rows))
	sets := map[string]int{} // grouping sets in the order of r
	for i, row := range r.rows {
		row = slices.Clone(row)
		for _, k := range keys {
			if row[k].text != nil {
				s := to(k, *row[k].text)
				row[k].text = &s
			}
		}
		out.rows[i] = row
		if set := r.setOf(row); sets[set] == 0 {
			sets[set] = len(sets) + 1
		}
	}
	slices.SortStableFunc(out.rows, func(a, b []value) int {
		if d := cmp.Compare(sets[r.setOf(a)], sets[r.setOf(b)]); d != 0 {
			return d
		}
		for k := range r.keys() {
			// What is withheld stands last, NULL before it.
			if d := cmp.Compare(truth(a[k].withheld != ""), truth(b[k].withheld != "")); d != 0 {
				return d
			}
			if d := cmp.Compare(truth(a[k].null()), truth(b[k].null())); d != 0 {
				return d
			}
			if a[k].null() {
				continue
			}
			if d := compare(a[k], b[k]); d != 0 {
				return d
			}
		}
		return 0
	})
	return &out, nil
}

// setOf names the grouping set of a row by its bit mask; "" without grouping sets.
func (r *Release) setOf(row []value) string {
	last := len(r.cols) - 1
	if last < r.keys() || r.cols[last].Kind != KindKey || row[last].num == nil {
		return ""
	}
	return row[last].num.String()
}
