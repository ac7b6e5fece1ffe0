package twin

import (
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

// maxMagnitude of a stored bound; see policies.ParseBounds. Masks move it little.
const maxMagnitude = int64(1) << 54

func (t *Twin) columnsHold() bool {
	if len(t.Columns) == 0 || len(t.Columns) > maxColumns || len(t.Generated) > maxCatalogue {
		return false
	}
	seen := map[string]bool{}
	fresh := func(name string) bool {
		ok := name != "" && len(name) <= maxName && !seen[name]
		seen[name] = true
		return ok
	}
	for _, c := range t.Columns {
		if !fresh(c.Column) || !c.valid() {
			return false
		}
	}
	for _, g := range t.Generated {
		if !fresh(g.Column) || !slices.Contains(identifiers, g.Kind) {
			return false
		}
	}
	return true
}

var identifiers = []policies.IdentifierKind{policies.IdentCitizen, policies.IdentCredit, policies.IdentPhone, policies.IdentName, policies.IdentCard,
	policies.IdentAddress, policies.IdentEmail, policies.IdentPlate, policies.IdentOpaque}

func (c Column) valid() bool {
	switch c.Kind {
	case model.KindCategory:
		if len(c.Codes) < 1 || len(c.Codes) > maxCodes || len(c.Edges) != 0 || c.Bounds != [2]int64{} || c.Scale != 0 ||
			!slices.Contains([]algebra.Kind{algebra.Text, algebra.Int, algebra.Bool, algebra.Date}, c.Type) {
			return false
		}
		seen := map[string]bool{}
		for _, code := range c.Codes {
			if seen[code] || len(code) > maxName {
				return false
			}
			seen[code] = true
		}
		_, _, err := values(c)
		return err == nil
	case model.KindNumber:
		lo, hi := c.Bounds[0], c.Bounds[1]
		if len(c.Codes) != 0 || lo > hi || lo < -maxMagnitude || hi > maxMagnitude || len(c.Edges) >= maxBins || c.Scale < 0 || c.Scale > 9 ||
			!slices.Contains([]algebra.Kind{algebra.Int, algebra.Decimal, algebra.Date}, c.Type) {
			return false
		}
		for i, e := range c.Edges {
			if e <= lo || e > hi || i > 0 && e <= c.Edges[i-1] {
				return false
			}
		}
		return true
	}
	return false
}

func (t *Twin) cellsHold() bool {
	if len(t.Groups) != len(t.Columns) || len(t.Cells) != len(t.Columns) {
		return false
	}
	for i, c := range t.Columns {
		n := groupsOf(t.Groups[i], c.Bins(), maxFine)
		if n == 0 || len(t.Cells[i]) != c.Bins() {
			return false
		}
		byGroup := make([][]int64, n)
		for cell, ok := range c.drawable() {
			if w := t.Cells[i][cell]; w != 0 && !ok {
				return false
			}
			byGroup[t.Groups[i][cell]] = append(byGroup[t.Groups[i][cell]], t.Cells[i][cell])
		}
		for _, w := range byGroup {
			if !weighed(w) {
				return false
			}
		}
	}
	return true
}

func (t *Twin) orderHolds() bool {
	if len(t.Order) != len(t.Columns) {
		return false
	}
	at := map[int]int{}
	below := false // a column that differs from row to row was drawn
	for i, v := range t.Order {
		if _, twice := at[v.Column]; twice || v.Column < 0 || v.Column >= len(t.Columns) || len(v.Parents) > 2 {
			return false
		}
		if t.Columns[v.Column].PerUnit && below {
			return false
		}
		below = below || !t.Columns[v.Column].PerUnit
		rows := 1
		for _, p := range v.Parents {
			if _, earlier := at[p]; !earlier {
				return false
			}
			rows *= slices.Max(t.Groups[p]) + 1
		}
		if len(v.Parents) == 2 {
			a, b := v.Parents[0], v.Parents[1]
			if !slices.Contains(t.Order[at[a]].Parents, b) && !slices.Contains(t.Order[at[b]].Parents, a) {
				return false
			}
		}
		if len(v.Weights) != rows {
			return false
		}
		for _, w := range v.Weights {
			if len(w) != slices.Max(t.Groups[v.Column])+1 || !weighed(w) {
				return false
			}
		}
		at[v.Column] = i
	}
	return true
}
