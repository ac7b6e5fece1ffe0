package twin

import (
	"context"

	"github.com/sandgate/sandgate/compute/model"
)

// Joined are the coded rows of one table of a span with the token of each unit,
// ascending.
type Joined struct {
	Data  *model.Data
	Units []uint64
}

// SpanSums computes the exact sums of a pass of a span, in the jailed worker. Every unit
// that has a row in any table counts once in each pair's table: its k steps are spread
// over the groups of its rows in one table times those in the other, in integers that
// add up to k, so that its norm over all tables is k√tables whatever its rows hold.
func SpanSums(tables []Joined, s Span, p Pass) ([]int64, error) {
	turn := 0
	if p.Kind == PassTies {
		turn = 1
	}
	if err := s.Admit(turn, p); err != nil {
		return nil, err
	}
	if !s.fits(tables) {
		return nil, badRows()
	}
	all := s.asked(p)
	k := stepsOf(len(all))
	out := make([]int64, p.Width)
	// counts[table][link] are a unit's rows by state; rows[table] their number.
	counts, rows := make([][][]int64, len(tables)), make([]int64, len(tables))
	for i, t := range s.Tables {
		for _, l := range t.Links {
			counts[i] = append(counts[i], make([]int64, states(l.groups(p.Kind))))
		}
	}
	next, row := make([]int, len(tables)), make([]int, len(tables))
	for {
		unit, any := uint64(0), false
		for i, t := range tables {
			if next[i] < len(t.Units) && (!any || t.Units[next[i]] < unit) {
				unit, any = t.Units[next[i]], true
			}
		}
		if !any {
			return out, nil
		}
		for i, t := range tables {
			for l := range counts[i] {
				clear(counts[i][l])
			}
			if next[i] == len(t.Units) || t.Units[next[i]] != unit {
				for l := range counts[i] {
					counts[i][l][0] = 1
				}
				rows[i] = 1
				continue
			}
			rows[i] = 0
			for ; row[i] < t.Data.Rows() && int(t.Data.Units[row[i]]) == next[i]; row[i]++ {
				rows[i]++
				for l, link := range s.Tables[i].Links {
					counts[i][l][1+link.groups(p.Kind)[t.Data.Bins[link.Column][row[i]]]]++
				}
			}
			next[i]++
		}
		at := 0
		for _, x := range all {
			a, b := counts[x.table[0]][x.link[0]], counts[x.table[1]][x.link[1]]
			n, done := rows[x.table[0]]*rows[x.table[1]], int64(0)
			for i, u := range a {
				for j, v := range b {
					if u*v > 0 {
						out[at+i*len(b)+j] += (done+u*v)*k/n - done*k/n
						done += u * v
					}
				}
			}
			at += len(a) * len(b)
		}
	}
}

// fits keeps data that no encoder made, or of other tables, from being summed.
func (s Span) fits(tables []Joined) bool {
	if len(tables) != len(s.Tables) {
		return false
	}
	for i, t := range tables {
		shape := Schema{RowsPerUnit: s.Tables[i].RowsPerUnit}
		if t.Data == nil || len(t.Units) != t.Data.Count || len(t.Data.Bins) != len(s.Tables[i].Cells) {
			return false
		}
		for u := 1; u < len(t.Units); u++ {
			if t.Units[u] <= t.Units[u-1] {
				return false
			}
		}
		for c, bins := range t.Data.Bins {
			if len(bins) != t.Data.Rows() {
				return false
			}
			for _, b := range bins {
				if int(b) >= s.Tables[i].Cells[c] {
					return false
				}
			}
		}
		if !shape.holds(&model.Data{Units: t.Data.Units, Count: t.Data.Count}) {
			return false
		}
	}
	return true
}

// LocalSpan answers a span's passes over data at hand with its exact sums; see Noised.
func LocalSpan(tables []Joined, s Span) Oracle { return localSpan{tables, s} }

type localSpan struct {
	tables []Joined
	s      Span
}

func (l localSpan) Sums(ctx context.Context, p Pass) ([]int64, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return SpanSums(l.tables, l.s, p)
}
