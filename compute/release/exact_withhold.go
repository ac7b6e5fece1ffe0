package release

import (
	"encoding/json"
	"math/big"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/disclosure"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/policies"
)

// maxAudited is the most withheld cells that are audited one by one; a sparser
// table is withheld as a whole.
const maxAudited = 2000

// complement withholds further cells of output i, smallest first, until the
// withheld ones cannot be told apart by subtraction from margins.
func (e *exact) complement(i int) {
	t := disclosure.Table{Counts: make([]int64, len(e.cells)), Held: make([]bool, len(e.cells))}
	for _, k := range e.plan.Keys {
		t.Sizes = append(t.Sizes, len(domain(k)))
	}
	for j := range e.cells {
		t.Counts[j] = int64(len(e.contributors(i, j)))
	}
	if len(e.plan.Keys) == 0 {
		return // one cell, and no margin but itself
	}
	for {
		hidden := 0
		for j := range e.cells {
			if t.Held[j] = e.held[i][j] != ""; t.Held[j] {
				hidden++
			}
		}
		if hidden == 0 {
			return
		}
		if hidden > maxAudited {
			for j := range e.held[i] {
				e.hold(i, j, Complement)
			}
			return
		}
		bad, more := t.Audit(e.plan.Exact.K), false
		var joined []int
		for _, j := range bad {
			if slices.ContainsFunc(joined, func(x int) bool { return x == j || inLine(x, j, t.Sizes) }) {
				continue // what was added for another cell may serve this one
			}
			if x := e.join(i, j, t.Sizes); x >= 0 {
				joined, more = append(joined, x), true
			}
		}
		if len(bad) == 0 && e.unionDominated(i) {
			more = e.join(i, -1, nil) >= 0
		}
		if !more {
			return
		}
	}
}

func (e *exact) hold(i, j int, code string) {
	if e.held[i][j] == "" {
		e.held[i][j] = code
	}
}

// join withholds the smallest released cell of output i in a line with cell near,
// or anywhere when there is none, and returns it; −1 when all are withheld.
func (e *exact) join(i, near int, sizes []int) int {
	for _, anywhere := range []bool{false, true} {
		least := -1
		for j, c := range e.cells {
			if e.held[i][j] != "" || c.zero || !anywhere && (near < 0 || !inLine(near, j, sizes)) {
				continue
			}
			if least < 0 || len(e.contributors(i, j)) < len(e.contributors(i, least)) {
				least = j
			}
		}
		if least >= 0 {
			e.held[i][least] = Complement
			return least
		}
	}
	return -1
}

// inLine says that two cells differ in exactly one key.
func inLine(a, b int, sizes []int) bool {
	differ := 0
	for d := len(sizes) - 1; d >= 0; d-- {
		if a%sizes[d] != b%sizes[d] {
			differ++
		}
		a, b = a/sizes[d], b/sizes[d]
	}
	return differ == 1
}

// unionDominated says that the sum of all withheld cells, which is the total less
// the released ones, would itself give a unit away.
func (e *exact) unionDominated(i int) bool {
	if f := e.plan.Outputs[i].Func; f != algebra.Sum && f != algebra.Avg {
		return false
	}
	total, largest, second := new(big.Int), new(big.Int), new(big.Int)
	for j := range e.cells {
		if e.held[i][j] == "" {
			continue
		}
		sum, _ := e.sum(i, j)
		total.Add(total, sum)
		a, b, err := e.top(i, j)
		if err != nil {
			return true
		}
		for _, x := range []*big.Int{a, b} {
			switch {
			case x.Cmp(largest) > 0:
				largest, second = x, largest
			case x.Cmp(second) > 0:
				second = x
			}
		}
	}
	return e.plan.Exact.Dominated(largest, second, total.Abs(total))
}

// difference holds what is still to be released against the store, margins last,
// and reports whether it withheld something.
func (e *exact) difference() bool {
	before := e.withheld()
	for j := range e.cells {
		if e.cells[j].zero {
			continue // nobody is in it, which is public
		}
		var out []int
		for i := range e.held {
			if e.held[i][j] == "" {
				out = append(out, i)
			}
		}
		if len(out) == 0 {
			continue
		}
		if e.try("", "", out, []int{j}) {
			continue
		}
		for _, i := range out {
			for _, family := range e.families(i) {
				e.try(family, e.plan.Core.Aggs[i].Arg.Name, []int{i}, []int{j})
			}
		}
	}
	if e.withheld() == before {
		e.margins()
	}
	return e.withheld() != before
}

func (e *exact) withheld() int {
	n := 0
	for i := range e.held {
		for _, code := range e.held[i] {
			if code != "" {
				n++
			}
		}
	}
	return n
}

// families are those in which output i discloses who has a value, where that can
// differ from who is in the cell.
func (e *exact) families(i int) []string {
	arg := e.plan.Core.Aggs[i].Arg
	if arg == nil || e.plan.Exact.List(protect.List{Col: arg}) < 0 {
		return nil
	}
	if e.plan.Outputs[i].Func == algebra.CountCol {
		return []string{"", familyOf(arg)}
	}
	return []string{familyOf(arg)}
}

// familyOf is one for a column and what stands for it under masks that only some see:
// who has a value in the one is who has a value in the other.
func familyOf(c *algebra.Col) string {
	return disclosure.Commitment("column", string(rune('0'+c.Table)), policies.BaseColumn(c.Name))
}

// sumOf names the sums of a column as it is stored.
func sumOf(c *algebra.Col) string {
	return "sum/" + disclosure.Commitment("column", string(rune('0'+c.Table)), c.Name)
}

// try offers the union of cells to the check; values names the column whose
// contributors it is, "" for all units. On a collision the outputs are withheld in
// these cells.
func (e *exact) try(family, values string, outputs, cells []int) bool {
	set := disclosure.Set{Family: family, Region: e.region(values, cells), Values: map[string]uint64{}}
	for _, j := range cells {
		if values == "" {
			set.Units = append(set.Units, e.cells[j].lists[0]...)
		} else {
			set.Units = append(set.Units, e.contributors(outputs[0], j)...)
		}
	}
	for _, i := range outputs {
		o, arg := e.plan.Outputs[i], e.plan.Core.Aggs[i].Arg
		nullable := len(e.families(i)) > 0
		if o.Func != algebra.Sum && o.Func != algebra.Avg || nullable != (values != "") {
			continue
		}
		all := new(big.Int)
		for _, j := range cells {
			sum, _ := e.sum(i, j)
			all.Add(all, sum)
		}
		set.Values[sumOf(arg)] = low64(all)
	}
	hit := e.check.Try(set)
	if hit == nil {
		return false
	}
	code := Complement
	if hit.Release != "" {
		code = Differencing
		if e.collides == "" {
			e.collides = hit.Release
		}
	}
	for _, i := range outputs {
		for _, j := range cells {
			e.hold(i, j, code)
		}
	}
	return true
}

// low64 is x modulo 2^64.
func low64(x *big.Int) uint64 {
	return new(big.Int).And(x, new(big.Int).SetUint64(^uint64(0))).Uint64()
}

// region writes down which public condition chooses the cells.
func (e *exact) region(values string, cells []int) disclosure.Region {
	core := e.plan.Core
	text, err := json.Marshal([]any{core.Tables, core.Joins, core.Derived, core.Where})
	if err != nil {
		panic("release: a core did not marshal")
	}
	r := disclosure.Region{Base: disclosure.Commitment("base", string(text), values), Whole: e.whole() && values == "", Cells: slices.Clone(cells)}
	slices.Sort(r.Cells)
	for j, c := range e.cells {
		if c.zero {
			r.Void = append(r.Void, j)
		}
	}
	for _, k := range e.plan.Keys {
		codes, err := json.Marshal([]any{k, core.Derived})
		if err != nil {
			panic("release: a key did not marshal")
		}
		r.Keys = append(r.Keys, disclosure.Key{Name: disclosure.Commitment("key", string(codes)), Size: len(domain(k))})
	}
	return r
}

// maxMarginKeys bounds the margins of a table with many keys to single keys and
// the total.
const maxMarginKeys = 5

// margins offers every sum of released cells that a reader gets by adding up over
// keys: the total and, for each choice of keys, each of their combinations.
func (e *exact) margins() {
	if len(e.plan.Keys) == 0 {
		return
	}
	for i := range e.plan.Outputs {
		for choice := 0; choice < 1<<min(len(e.plan.Keys), 20)-1; choice++ {
			if len(e.plan.Keys) > maxMarginKeys && choice&(choice-1) != 0 {
				continue
			}
			lines, order := map[string][]int{}, []string{}
			for j, c := range e.cells {
				if e.held[i][j] != "" || c.zero {
					continue
				}
				var key []algebra.Value
				for d := range e.plan.Keys {
					if choice>>d&1 == 1 {
						key = append(key, c.keys[d])
					}
				}
				id := identity(key)
				if lines[id] == nil {
					order = append(order, id)
				}
				lines[id] = append(lines[id], j)
			}
			for _, id := range order {
				if cells := lines[id]; len(cells) > 1 && !e.try("", "", []int{i}, cells) {
					for _, family := range e.families(i) {
						e.try(family, e.plan.Core.Aggs[i].Arg.Name, []int{i}, cells)
					}
				}
			}
		}
	}
}

// release rounds what passed.
func (e *exact) release() (*Release, error) {
	r := &Release{mode: protect.ModeExact, cols: header(e.plan), collides: e.collides}
	for j, c := range e.cells {
		var row []value
		for _, k := range c.keys {
			row = append(row, keyValue(k))
		}
		for i := range e.plan.Outputs {
			v := value{withheld: e.held[i][j]}
			var err error
			switch {
			case v.withheld != "":
			case c.zero:
				v = value{num: new(big.Int), lo: new(big.Int), hi: new(big.Int)}
			default:
				v, err = e.rounded(i, c.m)
			}
			if err != nil {
				return nil, err
			}
			row = append(row, v)
		}
		r.rows = append(r.rows, row)
	}
	return r, e.merge(r)
}

// merge adds the withheld cells up in one further row, where the rule says so, a
// value is withheld and their sum keeps every rule of a cell.
func (e *exact) merge(r *Release) error {
	if !e.plan.Exact.Merge || len(e.plan.Keys) == 0 || e.withheld() == 0 {
		return nil
	}
	var row []value
	for range e.plan.Keys {
		row = append(row, value{withheld: Other})
	}
	for i := range e.plan.Outputs {
		v, err := e.merged(i)
		if err != nil {
			return err
		}
		row = append(row, v)
	}
	r.rows, r.collides = append(r.rows, row), e.collides
	return nil
}

func (e *exact) merged(i int) (value, error) {
	var cells []int
	m := make([]*big.Int, len(e.plan.Measures))
	for x := range m {
		m[x] = new(big.Int)
	}
	units, values := 0, 0
	for j, c := range e.cells {
		if e.held[i][j] == "" {
			continue
		}
		cells = append(cells, j)
		for x := range m {
			m[x].Add(m[x], c.m[x])
		}
		units += len(c.lists[0])
		values += len(e.contributors(i, j))
	}
	k := int(e.plan.Exact.K)
	rest := new(big.Int).Sub(e.total, big.NewInt(int64(units)))
	switch o := e.plan.Outputs[i]; {
	case len(cells) < 2 || values < k || rest.Cmp(big.NewInt(int64(k))) < 0 && !(rest.Sign() == 0 && e.whole()),
		o.Func == algebra.Avg && int64(values) < e.plan.Exact.Dof+1,
		e.unionDominated(i):
		return value{withheld: BelowK}, nil
	}
	before := e.held[i]
	e.held[i] = slices.Clone(before)
	hit := e.try("", "", []int{i}, cells)
	for _, family := range e.families(i) {
		hit = hit || e.try(family, e.plan.Core.Aggs[i].Arg.Name, []int{i}, cells)
	}
	e.held[i] = before
	if hit {
		return value{withheld: BelowK}, nil
	}
	return e.rounded(i, m)
}
