package ingest

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/masking/anonymity"
)

// Generalised is how the k-anonymous columns of a file were generalised.
type Generalised struct {
	// Levels are those of the ladders, parallel to the k-anonymous columns of
	// Spec.Columns.
	Levels []int `json:"levels"`
	// Suppressed is the share of rows whose quasi-identifiers are all NULL because
	// their class was too small, in percent, rounded up.
	Suppressed int `json:"suppressed"`
}

// Fits says whether what came out of a worker can be an outcome of a specification.
func (g *Generalised) Fits(s Spec) bool {
	n := 0
	for _, c := range s.Columns {
		if c.Mask == nil || c.Mask.Op != masking.OpKAnonymous {
			continue
		}
		if g == nil || n >= len(g.Levels) || g.Levels[n] < 0 || g.Levels[n] > len(c.Mask.Ladder) || g.Suppressed < 0 || g.Suppressed > c.Mask.Suppress {
			return false
		}
		n++
	}
	return g == nil && n == 0 || g != nil && n > 0 && n == len(g.Levels)
}

// Whole applies the masks that need the whole file: shuffling and k-anonymous
// generalisation. Every row is shown to it once, unit after unit, then Solve decides,
// then Rewrite is asked for the same rows in the same order.
type Whole struct {
	stored  []Stored
	key     []byte
	quasi   []quasi
	k       int64
	percent int
	shuffle []shuffled
	spans   []int

	// Of k-anonymity: the class of each row, and the classes.
	class   []int32
	classes map[string]int32
	of      anonymity.Table
	choice  anonymity.Choice
	unit    uint64
	first   int  // of of.Members, of the unit at hand
	several bool // some unit has several rows
}

// quasi is one k-anonymous column.
type quasi struct {
	at     int // index into stored
	ladder masking.Ladder
	ids    map[string]int32
	values []Value   // by id; 0 is NULL
	gained [][]Value // by level and id of the generalised value
}

// shuffled is one column that is permuted.
type shuffled struct {
	at, least int
	by        []int // indexes into stored
	group     []int32
	groups    map[string]int32
	value     []int32
	ids       map[string]int32
	values    []string // encoded, by id
}

// NewWhole returns the table masks of a specification, nil when it has none.
func NewWhole(s *Spec, keys Keys) (*Whole, error) {
	stored, err := s.StoredColumns()
	if err != nil {
		return nil, err
	}
	t := &Whole{stored: stored, key: keys.Pseudonym, classes: map[string]int32{}, spans: make([]int, len(stored)+1)}
	index := func(name string) int {
		return slices.IndexFunc(stored, func(c Stored) bool { return c.Name == name })
	}
	for i, c := range stored {
		m := s.Columns[c.source].Mask
		if m == nil || !masking.OfTable(m.Op) {
			continue
		}
		if s.UnitColumn == "" || m.Op == masking.OpShuffle && !s.OneRow {
			return nil, fmt.Errorf("failed to prepare mask of column %q: it needs units, and shuffling one row of each", c.Name)
		}
		if m.Op == masking.OpKAnonymous {
			ladder, err := masking.NewLadder(masking.Params{Type: c.Type, Ladder: m.Ladder})
			if err != nil {
				return nil, fmt.Errorf("failed to prepare mask of column %q: %w", c.Name, err)
			}
			t.quasi = append(t.quasi, quasi{at: i, ladder: ladder, ids: map[string]int32{}, values: []Value{{Null: true}}})
			t.k, t.percent = int64(m.K), m.Suppress
			continue
		}
		x := shuffled{at: i, least: m.Least, groups: map[string]int32{}, ids: map[string]int32{}}
		if x.least == 0 {
			x.least = masking.MinGroup
		}
		for _, name := range m.By {
			by := index(name)
			if by < 0 {
				return nil, fmt.Errorf("failed to prepare mask of column %q: column %q is not stored", c.Name, name)
			}
			x.by = append(x.by, by)
		}
		t.shuffle = append(t.shuffle, x)
	}
	if len(t.quasi)+len(t.shuffle) == 0 {
		return nil, nil
	}
	return t, nil
}

// cut finds where the values of an encoded row stand.
func (t *Whole) cut(row []byte) bool {
	at := 8
	for i := range t.stored {
		t.spans[i] = at
		if at >= len(row) {
			return false
		}
		switch row[at] {
		case 1:
			at += 8
		case 2:
			if at+5 > len(row) {
				return false
			}
			at += 4 + int(binary.BigEndian.Uint32(row[at+1:]))
		}
		at++
	}
	t.spans[len(t.stored)] = at
	return at == len(row)
}

func (t *Whole) span(row []byte, i int) []byte { return row[t.spans[i]:t.spans[i+1]] }

// decoded is a value of cut's.
func decoded(b []byte) Value {
	switch b[0] {
	case 1:
		return Value{I: int64(binary.BigEndian.Uint64(b[1:]))}
	case 2:
		return Value{S: string(b[5:])}
	}
	return Value{Null: true}
}

func encode(b []byte, typ algebra.Type, v Value) []byte {
	switch {
	case v.Null:
		return append(b, 0)
	case typ.Kind == algebra.Text:
		return append(binary.BigEndian.AppendUint32(append(b, 2), uint32(len(v.S))), v.S...)
	}
	return binary.BigEndian.AppendUint64(append(b, 1), uint64(v.I))
}

// idOf numbers what was not seen before.
func idOf(ids map[string]int32, key []byte, next int) (id int32, fresh bool) {
	if id, ok := ids[string(key)]; ok {
		return id, false
	}
	ids[string(key)] = int32(next)
	return int32(next), true
}

// See takes note of a row. It reports whether row is one.
func (t *Whole) See(row []byte) bool {
	if len(t.class) == math.MaxInt32 || !t.cut(row) {
		return false
	}
	var key []byte
	for i := range t.shuffle {
		x := &t.shuffle[i]
		key = key[:0]
		for _, by := range x.by {
			key = append(key, t.span(row, by)...)
		}
		group, _ := idOf(x.groups, key, len(x.groups))
		value, fresh := idOf(x.ids, t.span(row, x.at), len(x.values))
		if fresh {
			x.values = append(x.values, string(t.span(row, x.at)))
		}
		x.group, x.value = append(x.group, group), append(x.value, value)
	}
	if len(t.quasi) == 0 {
		return true
	}
	key = key[:0]
	for _, q := range t.quasi {
		key = append(key, t.span(row, q.at)...)
	}
	class, fresh := idOf(t.classes, key, len(t.classes))
	if fresh {
		values := make([]int32, len(t.quasi))
		for i := range t.quasi {
			q := &t.quasi[i]
			b := t.span(row, q.at)
			if b[0] == 0 {
				continue
			}
			var first bool
			if values[i], first = idOf(q.ids, b, len(q.values)); first {
				q.values = append(q.values, decoded(b))
			}
		}
		t.of.Classes, t.of.Rows = append(t.of.Classes, values), append(t.of.Rows, 0)
	}
	t.of.Rows[class]++
	unit := binary.BigEndian.Uint64(row)
	if len(t.class) == 0 || unit != t.unit {
		if len(t.class) > 0 {
			t.of.Ends = append(t.of.Ends, len(t.of.Members))
		}
		t.unit, t.first = unit, len(t.of.Members)
	} else {
		t.several = true
	}
	t.class = append(t.class, class)
	if !slices.Contains(t.of.Members[t.first:], class) {
		t.of.Members = append(t.of.Members, class)
	}
	return true
}

// Solve decides what becomes of the rows seen. The error is a *Refusal when no
// registered generalisation gives every class enough units.
func (t *Whole) Solve() (*Generalised, error) {
	for i := range t.shuffle {
		t.shuffle[i].solve(t.key, t.stored[t.shuffle[i].at].Name)
	}
	if len(t.quasi) == 0 {
		return nil, nil
	}
	t.of.Ends = append(t.of.Ends, len(t.of.Members))
	if !t.several {
		t.of.Members, t.of.Ends = nil, nil
	}
	for i := range t.quasi {
		t.of.Levels = append(t.of.Levels, t.quasi[i].levels(t.stored[t.quasi[i].at].Type))
	}
	choice, found, err := anonymity.Search(t.of, t.k, t.percent)
	if err != nil {
		return nil, err
	}
	rows := int64(len(t.class))
	if !found {
		return nil, &Refusal{Code: CodeNotAnonymous, Column: t.stored[t.quasi[0].at].source, Rows: rows}
	}
	t.choice = choice
	g := &Generalised{Levels: choice.Node}
	if rows > 0 {
		g.Suppressed = int((choice.Rows*100 + rows - 1) / rows)
	}
	t.of.Members, t.of.Ends = nil, nil
	return g, nil
}

// levels maps every value to each level of the ladder.
func (q *quasi) levels(typ algebra.Type) [][]int32 {
	var out [][]int32
	for level := range q.ladder.Height() + 1 {
		ids, gained, to := map[Value]int32{{Null: true}: 0}, []Value{{Null: true}}, make([]int32, len(q.values))
		for id, v := range q.values {
			if !v.Null && typ.Kind == algebra.Text {
				v.S, v.Null = q.ladder.Text(level, v.S)
			} else if !v.Null {
				v.I, v.Null = q.ladder.Int(level, v.I)
			}
			g, ok := ids[v]
			if !ok {
				g = int32(len(gained))
				ids[v], gained = g, append(gained, v)
			}
			to[id] = g
		}
		out, q.gained = append(out, to), append(q.gained, gained)
	}
	return out
}

// solve permutes the values inside each group; those of a group that is too small
// become NULL.
func (x *shuffled) solve(key []byte, column string) {
	rows := make([][]int32, len(x.groups))
	for row, g := range x.group {
		rows[g] = append(rows[g], int32(row))
	}
	null, fresh := idOf(x.ids, []byte{0}, len(x.values))
	if fresh {
		x.values = append(x.values, "\x00")
	}
	for name, g := range x.groups {
		mine := rows[g]
		before := make([]int32, len(mine))
		for i, row := range mine {
			before[i] = x.value[row]
		}
		if len(mine) < x.least {
			for _, row := range mine {
				x.value[row] = null
			}
			continue
		}
		for i, from := range masking.Permutation(key, column, []byte(name), len(mine)) {
			x.value[mine[i]] = before[from]
		}
	}
}

// Rewrite appends to b the n-th row seen as it is to be stored.
func (t *Whole) Rewrite(b []byte, n int, row []byte) ([]byte, bool) {
	if !t.cut(row) || len(t.quasi) > 0 && n >= len(t.class) {
		return b, false
	}
	b = append(b, row[:8]...)
	for i, c := range t.stored {
		done := false
		for j := range t.quasi {
			q := &t.quasi[j]
			if q.at != i {
				continue
			}
			done = true
			class, v := t.class[n], Value{Null: true}
			if !t.choice.Suppressed[class] {
				level := t.choice.Node[j]
				v = q.gained[level][t.of.Levels[j][level][t.of.Classes[class][j]]]
			}
			b = encode(b, c.Type, v)
		}
		for j := range t.shuffle {
			if x := &t.shuffle[j]; x.at == i {
				if done = true; n >= len(x.value) {
					return b, false
				}
				b = append(b, x.values[x.value[n]]...)
			}
		}
		if !done {
			b = append(b, t.span(row, i)...)
		}
	}
	return b, true
}

// perUnit applies the operators that look at the unit to the row at hand: noise and
// randomised response. NULL stays NULL.
func (in *reader) perUnit() Code {
	for _, at := range in.unitOps {
		v := &in.row.Values[at]
		if v.Null {
			continue
		}
		c := &in.columns[in.stored[at].source]
		if op, ok := c.op.(masking.IntUnitOperator); ok && c.stored.Kind != algebra.Text {
			v.I = op.ApplyUnitInt(in.row.Unit, v.I)
			continue
		}
		op, ok := c.op.(masking.UnitOperator)
		if !ok {
			return CodeUnsupported
		}
		var code Code
		if *v, code = parse(c.stored, op.ApplyUnit(in.row.Unit, format(c.stored, *v))); code != "" {
			return code
		}
	}
	return ""
}
