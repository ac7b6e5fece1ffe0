package twin

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/sandgate/sandgate/compute/model"
)

// mostTries bounds how often the groups of a row are drawn until they fit; then those
// that do not are put right, at the cost of what they have to do with the row's others.
const mostTries = 400

// Linked draws rows of several twins that relations tie: a synthetic unit has the same
// number, token, and made-up identifiers in all tables, and the rows of its tables belong
// together as measured. It is safe for concurrent use. What a unit has in a table depends
// on documents, seed, table and number alone.
type Linked struct {
	tables []linkedTable
}

type linkedTable struct {
	sampler *Sampler
	parent  int
	states  aliases
	own     held   // group to be drawn so; column −1 of the root
	above   held   // of the parent's
	ties    []held // all of the table's that are in use: its rows agree in them
}

// held is a column with the link's group of each of its groups.
type held struct {
	column int
	group  []int
}

// LinkedRows are rows of one table. Numbers are those of the units, ascending; a unit
// without a row in the table is left out.
type LinkedRows struct {
	Rows
	Numbers []uint64
}

// NewLinked prepares drawing with a seed of any length. twins are those of the span's
// tables, in their order; other ones are refused.
func NewLinked(r *Relations, twins []*Twin, seed []byte) (*Linked, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := r.Span.of(twins); err != nil {
		return nil, err
	}
	key := func(what string) [2]uint64 {
		digest := sha256.New()
		for _, part := range []string{"sandgate/twin-linked/v1", r.Span.Digest(), what, hex.EncodeToString(seed)} {
			digest.Write([]byte(part + "\n"))
		}
		sum := digest.Sum(nil)
		return [2]uint64{binary.BigEndian.Uint64(sum), binary.BigEndian.Uint64(sum[8:])}
	}
	out := &Linked{tables: make([]linkedTable, len(twins))}
	for i, t := range twins {
		s, err := t.Sampler(seed)
		if err != nil {
			return nil, err
		}
		s.key, s.who = key(fmt.Sprint("table ", i)), key("units")
		// The same kind of identifier is the same in all tables, the first of a table
		// with the first of another.
		count := map[string]uint64{}
		for g, x := range t.Generated {
			count[string(x.Kind)]++
			sum := sha256.Sum256([]byte(fmt.Sprint(x.Kind, count[string(x.Kind)])))
			s.slots[g] = binary.BigEndian.Uint64(sum[:])
		}
		out.tables[i].sampler = s
	}
	for _, tie := range r.Ties {
		x := &out.tables[tie.Table]
		x.parent, x.states, x.own = tie.Parent, newAliases(tie.Weights), held{column: -1}
		if tie.Parent < 0 {
			continue
		}
		link := func(table, l int) held {
			k := r.Span.Tables[table].Links[l]
			join, _ := k.joined(twins[table], k.Many)
			return held{k.Column, join}
		}
		x.own, x.above = link(tie.Table, tie.Link), link(tie.Parent, tie.ParentLink)
		x.ties = append(x.ties, x.own)
		out.tables[tie.Parent].ties = append(out.tables[tie.Parent].ties, x.above)
	}
	out.tellBirths()
	return out, nil
}

// Names are the columns of a table's rows; see Sampler.Names.
func (l *Linked) Names(table int) []string { return l.tables[table].sampler.Names() }

// Rows draws what the units numbered from…from+units−1 have in a table.
func (l *Linked) Rows(table int, from uint64, units int) (LinkedRows, error) {
	if table < 0 || table >= len(l.tables) {
		return LinkedRows{}, reason(CodeSample, "没有第 %d 个表", "there is no table %d", "改正编号", "correct the number", table)
	}
	if err := drawable(from, units); err != nil {
		return LinkedRows{}, err
	}
	x := &l.tables[table]
	work := make([]*work, len(l.tables))
	for i, t := range l.tables {
		work[i] = t.sampler.work()
	}
	out := LinkedRows{Rows: x.sampler.rows(units)}
	for i := range units {
		number := from + uint64(i)
		rnd, ok := l.begin(table, number, work)
		if !ok {
			continue
		}
		was := len(out.Units)
		x.sampler.add(&out.Rows, number, &rnd, work[table], func() { x.again(&rnd, work[table]) })
		for range len(out.Units) - was {
			out.Numbers = append(out.Numbers, number)
		}
	}
	return out, nil
}

// begin draws whether a unit has rows in a table, and the groups of its first row, after
// those of the tables that it hangs on.
func (l *Linked) begin(table int, number uint64, all []*work) (stream, bool) {
	x := &l.tables[table]
	row := 0
	if x.parent >= 0 {
		if _, ok := l.begin(x.parent, number, all); ok {
			row = 1 + x.above.group[all[x.parent].group[x.above.column]]
		}
	}
	rnd := x.sampler.unit(number)
	state := x.states.draw(&rnd, row)
	if state == 0 {
		return rnd, false
	}
	w := all[table]
	for try := 0; ; try++ {
		x.sampler.groups(&rnd, w.group, true)
		x.sampler.groups(&rnd, w.group, false)
		if x.own.column < 0 || x.own.group[w.group[x.own.column]] == state-1 {
			break
		}
		if try == mostTries {
			w.group[x.own.column] = slices.Index(x.own.group, state-1)
			break
		}
	}
	copy(w.first, w.group)
	return rnd, true
}

// again draws a further row of a unit, which agrees with the first in the columns that
// tie: else what one row has to do with another table would be lost among the others.
func (x *linkedTable) again(rnd *stream, w *work) {
	for range mostTries {
		x.sampler.groups(rnd, w.group, false)
		fits := true
		for _, h := range x.ties {
			fits = fits && h.group[w.group[h.column]] == h.group[w.first[h.column]]
		}
		if fits {
			return
		}
	}
	for _, h := range x.ties {
		w.group[h.column] = w.first[h.column]
	}
}

// encodeRows codes rows of a twin as those of data are.
func encodeRows(columns []Column, rows Rows) (Joined, error) {
	most := 1
	for _, r := range rows.Ranks {
		most = max(most, int(r))
	}
	e, err := NewEncoder(Schema{Columns: columns, RowsPerUnit: most}, make([]byte, 16))
	if err != nil {
		return Joined{}, err
	}
	if err := e.Add(model.Batch{Units: rows.Units, Ranks: rows.Ranks, Columns: rows.Columns[:len(columns)]}); err != nil {
		return Joined{}, err
	}
	return e.FinishJoined(), nil
}
