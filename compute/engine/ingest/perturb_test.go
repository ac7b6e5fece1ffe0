package ingest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
)

func wholeSpec(oneRow bool) Spec {
	text, day := algebra.Type{Kind: algebra.Text}, algebra.Type{Kind: algebra.Date}
	s := Spec{Dataset: "d", UnitColumn: "id", UnitKind: "person", OneRow: oneRow, Columns: []Column{
		{Name: "id", Type: text}, {Name: "area", Type: text, Nullable: true, Mask: &Mask{Op: "k_anonymous", K: 4, Suppress: 10, Ladder: []string{"4", "2", "null"}}},
		{Name: "born", Type: day, Mask: &Mask{Op: "k_anonymous", K: 4, Suppress: 10, Ladder: []string{"month", "year", "null"}}},
		{Name: "class", Type: text}, {Name: "wage", Type: algebra.Type{Kind: algebra.Int}, Nullable: true},
		{Name: "sex", Type: text, Codes: []string{"1", "2"}, Mask: &Mask{Op: "response", Column: "sex", Retain: "0.9", Codes: []string{"1", "2"}}},
		{Name: "fee", Type: algebra.Type{Kind: algebra.Int}, Nullable: true, Mask: &Mask{Op: "noise", Column: "fee", Width: "5", Scale: 2, Lo: "0", Hi: "1000"}},
	}}
	if oneRow {
		s.Columns[4].Mask = &Mask{Op: "shuffle", By: []string{"class"}, Least: 4}
	}
	return s
}

func wholeFile(r *rand.Rand, units, rows int) []string {
	var out []string
	for u := range units {
		for range 1 + r.IntN(rows) {
			wage := fmt.Sprint(1000 + r.IntN(50))
			if r.IntN(9) == 0 {
				wage = ""
			}
			area := fmt.Sprintf("23%02d%02d", 1+r.IntN(3), 1+r.IntN(3))
			if r.IntN(20) == 0 {
				area = ""
			}
			class := string(rune('a' + u%5))
			if u < 3 {
				class = "rare"
			}
			out = append(out, fmt.Sprintf("U%04d,%s,%d-%02d-%02d,%s,%s,%d,%d\n", u, area, 1960+r.IntN(4), 1+r.IntN(12), 1+r.IntN(28), class, wage, 1+r.IntN(2), r.IntN(900)))
		}
	}
	return out
}

type storedRow struct {
	unit, order uint64
	before      []byte
	after       []Value
}

// whole ingests lines as the worker does and applies the masks of the table.
func whole(t *testing.T, s Spec, lines []string, k Keys) ([]storedRow, *Generalised, error) {
	t.Helper()
	var sink lanes
	sink.n, sink.rows = 1, map[string]int{}
	var rows []storedRow
	add := sinkFunc(func(r Row) error {
		rows = append(rows, storedRow{unit: r.Unit, order: r.Order, before: slices.Clone(r.Encoded)})
		return nil
	})
	if _, err := Ingest(context.Background(), strings.NewReader("id,area,born,class,wage,sex,fee\n"+strings.Join(lines, "")), CSV, &s, k, add, nil); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(rows, func(a, b storedRow) int { return cmp.Or(cmp.Compare(a.unit, b.unit), cmp.Compare(a.order, b.order)) })
	w, err := NewWhole(&s, k)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if !w.See(r.before) {
			t.Fatal("a row is not one")
		}
	}
	g, err := w.Solve()
	if err != nil {
		return nil, nil, err
	}
	for i := range rows {
		b, ok := w.Rewrite(nil, i, rows[i].before)
		if !ok || !w.cut(b) {
			t.Fatal("a row was not rewritten")
		}
		for c := range w.stored {
			rows[i].after = append(rows[i].after, decoded(w.span(b, c)))
		}
	}
	return rows, g, nil
}

type sinkFunc func(Row) error

func (f sinkFunc) Add(r Row) error { return f(r) }

func valuesBefore(r storedRow, n int) []Value {
	out := make([]Value, n)
	cells := make([]Cell, n)
	Decode(r.before, cells)
	for i, c := range cells {
		out[i] = Value{Null: c.Size < 0, I: c.Number, S: string(r.before[c.At : c.At+max(c.Size, 0)])}
	}
	return out
}

// TestR20R22_WholeTableMasks: every class of the quasi-identifiers has k units; a
// shuffle keeps the values of each group and clears groups that are too small; noise
// and response are drawn once a unit; other columns stay; the order of the file
// changes nothing, another key does.
func TestR20R22_WholeTableMasks(t *testing.T) {
	withMasks(t)
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 3))
		one := seed%2 == 0
		s := wholeSpec(one)
		rowsOf := 1
		if !one {
			rowsOf = 4
		}
		lines := wholeFile(r, 60+r.IntN(200), rowsOf)
		rows, g, err := whole(t, s, lines, keys)
		if err != nil {
			t.Fatal(err)
		}
		if !g.Fits(s) {
			t.Fatalf("outcome %+v does not fit", g)
		}
		classes := map[string]map[uint64]bool{}
		groups := map[string][2][]string{}
		suppressed := 0
		for _, x := range rows {
			before := valuesBefore(x, 6)
			key := fmt.Sprint(x.after[0], x.after[1])
			if classes[key] == nil {
				classes[key] = map[uint64]bool{}
			}
			classes[key][x.unit] = true
			if x.after[0].Null && x.after[1].Null && g.Levels[1] < 3 {
				suppressed++
			}
			if x.after[2] != before[2] || x.after[4] != before[4] || x.after[5] != before[5] || !one && x.after[3] != before[3] {
				t.Fatal("a column without a table mask changed")
			}
			if before[5].I%5 != 0 || before[5].I < 0 || before[5].I > 1000 {
				t.Fatalf("fee %d is off its grid", before[5].I)
			}
			both := groups[before[2].S]
			both[0], both[1] = append(both[0], fmt.Sprint(before[3])), append(both[1], fmt.Sprint(x.after[3]))
			groups[before[2].S] = both
		}
		for key, units := range classes {
			if len(units) < 4 {
				t.Fatalf("seed %d: class %s has %d units at %v", seed, key, len(units), g)
			}
		}
		if suppressed*100 > g.Suppressed*len(rows) || g.Suppressed > 10 {
			t.Fatalf("%d of %d rows suppressed, %d percent said", suppressed, len(rows), g.Suppressed)
		}
		moved := 0
		for class, both := range groups {
			if !one {
				continue
			}
			for i := range both[0] {
				if both[0][i] != both[1][i] {
					moved++
				}
			}
			slices.Sort(both[0])
			slices.Sort(both[1])
			null := fmt.Sprint(Value{Null: true})
			if small := len(both[0]) < 4; small && both[1][0] != null || !small && !slices.Equal(both[0], both[1]) {
				t.Fatalf("group %s: %v became %v", class, both[0], both[1])
			}
		}
		if one && moved < len(rows)/2 {
			t.Fatalf("%d of %d values moved", moved, len(rows))
		}
		r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		again, g2, err := whole(t, s, lines, keys)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(rows) || fmt.Sprint(g2) != fmt.Sprint(g) {
			t.Fatal("the order of the file is visible", err)
		}
		other := keys
		other.Pseudonym = bytes.Repeat([]byte{8}, 32)
		if rekeyed, _, _ := whole(t, s, lines, other); fmt.Sprint(rekeyed) == fmt.Sprint(rows) {
			t.Fatal("the key changes nothing")
		}
	}
}

// TestR22_NothingAnonymousIsRefused: where no registered rung gives every class enough
// units, the file is refused by code and column.
func TestR22_NothingAnonymousIsRefused(t *testing.T) {
	withMasks(t)
	s := wholeSpec(true)
	s.Columns[1].Mask.Ladder, s.Columns[2].Mask.Ladder = []string{"4"}, []string{"month"}
	_, _, err := whole(t, s, wholeFile(rand.New(rand.NewPCG(1, 1)), 50, 1), keys)
	var no *Refusal
	if !errors.As(err, &no) || no.Code != CodeNotAnonymous || no.Column != 1 || !no.Valid(len(s.Columns)) {
		t.Fatalf("got %v", err)
	}
	for name, change := range map[string]func(*Spec){
		"shuffle of units with many rows": func(s *Spec) { s.OneRow = false },
		"shuffle by a dropped column":     func(s *Spec) { s.Columns[3].Mask = &Mask{Op: "drop"} },
		"a ladder that does not fit":      func(s *Spec) { s.Columns[1].Mask.Ladder = []string{"year"} },
		"no units":                        func(s *Spec) { s.UnitColumn, s.OneRow = "", false },
	} {
		s := wholeSpec(true)
		change(&s)
		if w, err := NewWhole(&s, keys); err == nil {
			t.Errorf("%s: %v", name, w)
		}
	}
	plain := spec()
	if w, err := NewWhole(&plain, keys); w != nil || err != nil {
		t.Error("a table without such masks is looked at", err)
	}
	for name, g := range map[string]*Generalised{"none": nil, "too few": {Levels: []int{1}}, "too high": {Levels: []int{4, 1}}, "negative": {Levels: []int{-1, 1}}, "too much": {Levels: []int{1, 1}, Suppressed: 11}} {
		if g.Fits(wholeSpec(true)) {
			t.Errorf("%s fits", name)
		}
	}
}
