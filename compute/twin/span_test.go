package twin

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/policies"
)

// pool is three tables of the same people: a register, a clinic where the old of some
// districts go, with a chapter that follows the district, and a fund that those pay into
// whose education is high.
type pool struct {
	members []Member
	data    []Joined
}

func (p pool) twins() (out []*Twin) {
	for _, m := range p.members {
		out = append(out, m.Twin)
	}
	return out
}

func tableOf(id string) policies.Entry {
	e := registry()
	e.Dataset.ID = id
	return e
}

func pooled(t testing.TB, units int, rho string) pool {
	t.Helper()
	r := rand.New(rand.NewPCG(11, 3))
	specs := []Spec{{Columns: []string{"sex", "district", "education", "citizen_id", "name"}, Rho: rho}, {Columns: []string{"chapter", "visits", "sex", "name"}, RowsPerUnit: 3, Rho: rho},
		{Columns: []string{"income", "scheme"}, RowsPerUnit: 2, Rho: rho}}
	batch := make([]model.Batch, 3)
	for i, n := range []int{3, 3, 2} {
		batch[i].Columns = make([]model.Column, n)
	}
	text := func(table, column int, s string) {
		c := &batch[table].Columns[column]
		c.Texts = append(c.Texts, s)
	}
	number := func(table, column int, x int64) {
		c := &batch[table].Columns[column]
		c.Ints = append(c.Ints, x)
		if table == 2 {
			c.Null = append(c.Null, false)
		}
	}
	for u := range units {
		id := mix(uint64(u) + 99)
		sex, district, education := r.IntN(2), r.IntN(12), r.IntN(7)
		if u%10 > 0 {
			batch[0].Units = append(batch[0].Units, id)
			text(0, 0, fmt.Sprintf("s%02d", sex))
			text(0, 1, fmt.Sprintf("d%02d", district))
			number(0, 2, int64(education)+1)
		}
		if r.IntN(12) < district {
			for range 1 + r.IntN(3) {
				batch[1].Units = append(batch[1].Units, id)
				text(1, 0, fmt.Sprintf("c%02d", (district+r.IntN(3))%18))
				number(1, 1, int64(r.IntN(21)))
				text(1, 2, fmt.Sprintf("s%02d", sex))
			}
		}
		if r.IntN(7) < education {
			for range 1 + r.IntN(2) {
				batch[2].Units = append(batch[2].Units, id)
				number(2, 0, int64(100000*education+r.IntN(100000)))
				text(2, 1, fmt.Sprintf("h%02d", r.IntN(4)))
			}
		}
	}
	var p pool
	for i, id := range []string{"registry", "clinic", "fund"} {
		e := tableOf(id)
		s := schemaOf(t, specs[i], e)
		enc, err := NewEncoder(s, testKey)
		if err != nil {
			t.Fatal(err)
		}
		if err := enc.Add(batch[i]); err != nil {
			t.Fatal(err)
		}
		j := enc.FinishJoined()
		p.data = append(p.data, j)
		p.members = append(p.members, Member{Entry: e, Schema: s, Twin: learnt(t, s, j.Data, uint64(i))})
	}
	return p
}

func noisySpan(p pool, s Span, seed byte) Oracle {
	rnd := chaCha{rand.NewChaCha8([32]byte{seed, 7})}
	return Noised(LocalSpan(p.data, s), func(sums []int64, norm int64, rho budget.Nano) ([]int64, error) {
		return release.Sums(sums, norm, rho, rnd)
	})
}

func related(t testing.TB, p pool, rho string) (Span, *Relations) {
	t.Helper()
	s, err := NewSpan(p.members, rho)
	if err != nil {
		t.Fatal(err)
	}
	r, err := LearnRelations(t.Context(), s, p.twins(), noisySpan(p, s, 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

// without leaves a unit out of all tables.
func (p pool) without(unit uint64) []Joined {
	var out []Joined
	for _, j := range p.data {
		i, ok := slices.BinarySearch(j.Units, unit)
		if !ok {
			out = append(out, j)
			continue
		}
		out = append(out, Joined{without(j.Data, int32(i)), slices.Delete(slices.Clone(j.Units), i, i+1)})
	}
	return out
}

// R02: a unit with all its rows in all tables moves the pass by its norm at most, and
// each table counts it once.
func TestR02_NoUnitMovesASpanBeyondItsNorm(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	p := pooled(t, 3000, "0.5")
	s, err := NewSpan(p.members, "0.5")
	if err != nil {
		t.Fatal(err)
	}
	pass := s.Plan().Passes[0]
	with, err := SpanSums(p.data, s, pass)
	if err != nil {
		t.Fatal(err)
	}
	all := map[uint64]bool{}
	for _, j := range p.data {
		for _, u := range j.Units {
			all[u] = true
		}
	}
	at, k := 0, stepsOf(len(s.across()))
	for _, x := range s.across() {
		n := s.width([]across{x}, PassAcross)
		if got := total64(with[at : at+n]); got != k*int64(len(all)) {
			t.Fatalf("a table counts %d steps of %d units", got, len(all))
		}
		at += n
	}
	reached := false
	for i, unit := range p.data[1].Units {
		if i%40 > 0 {
			continue
		}
		rest, err := SpanSums(p.without(unit), s, pass)
		if err != nil {
			t.Fatal(err)
		}
		square := int64(0)
		for i := range with {
			square += (with[i] - rest[i]) * (with[i] - rest[i])
		}
		if square > pass.Norm*pass.Norm {
			t.Fatalf("a unit moves the sums by √%d, beyond %d", square, pass.Norm)
		}
		reached = reached || 10*square > 4*pass.Norm*pass.Norm
	}
	if !reached {
		t.Error("no unit came near the norm: the test compares nothing")
	}
}

// What does not belong together is refused before data is read, by name.
func TestSpansRefuse(t *testing.T) {
	p := pooled(t, 2000, "0.5")
	change := func(f func(m []Member)) []Member {
		m := slices.Clone(p.members)
		f(m)
		return m
	}
	for name, c := range map[string]struct {
		members []Member
		rho     string
		code    string
	}{
		"one table":              {p.members[:1], "0.1", CodeSpec},
		"no price":               {p.members, "", CodePrice},
		"too low a price":        {p.members, "0.000001", CodePrice},
		"a table twice":          {change(func(m []Member) { m[1] = m[0] }), "0.1", CodeSpec},
		"no twin":                {change(func(m []Member) { m[1].Twin = nil }), "0.1", CodeSpec},
		"another table's twin":   {change(func(m []Member) { m[1].Twin = m[0].Twin }), "0.1", CodeSpec},
		"another kind of unit":   {change(func(m []Member) { m[1].Entry.Dataset.Unit = &policies.Unit{Column: "person", Kind: "organisation"} }), "0.1", CodeSpec},
		"a catalogue that moved": {change(func(m []Member) { m[1].Schema.RowsPerUnit = 1 }), "0.1", CodeStale},
		"no such column":         {change(func(m []Member) { m[1].Link = []string{"soul"} }), "0.1", CodeSpec},
		"a column twice":         {change(func(m []Member) { m[1].Link = []string{"sex", "sex"} }), "0.1", CodeSpec},
	} {
		if _, err := NewSpan(c.members, c.rho); code(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, err := NewSpan(change(func(m []Member) {
		m[0].Link, m[1].Link, m[2].Link = []string{"district"}, []string{"chapter"}, []string{"income"}
	}), "0.1")
	if err != nil || len(s.across()) != 3 {
		t.Fatalf("%d pairs of listed columns (%v)", len(s.across()), err)
	}
	var again Span
	if text, err := json.Marshal(s); err != nil || json.Unmarshal(text, &again) != nil || again.Digest() != s.Digest() {
		t.Error("a span does not survive its JSON")
	}
	pass := s.Plan().Passes[0]
	for name, f := range map[string]func(*Pass){"a lower norm": func(p *Pass) { p.Norm-- }, "a higher price": func(p *Pass) { p.Rho++ }, "a finer step": func(p *Pass) { p.Step /= 2 },
		"another kind": func(p *Pass) { p.Kind = PassFine }, "another width": func(p *Pass) { p.Width++ }, "pairs": func(p *Pass) { p.Pairs = [][2]int{{0, 1}} }} {
		bad := pass
		f(&bad)
		if _, err := SpanSums(p.data, s, bad); code(err) != CodePass {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Admit(1, pass); code(err) != CodePass {
		t.Errorf("a second pass: %v", err)
	}
	for name, f := range map[string]func(d []Joined) []Joined{
		"a table less":        func(d []Joined) []Joined { return d[:2] },
		"tables swapped":      func(d []Joined) []Joined { d[0], d[1] = d[1], d[0]; return d },
		"tokens out of order": func(d []Joined) []Joined { d[0].Units = slices.Clone(d[0].Units); d[0].Units[5] = 0; return d },
		"a token less":        func(d []Joined) []Joined { d[0].Units = d[0].Units[1:]; return d },
		"no rows at all":      func(d []Joined) []Joined { d[0].Data = nil; return d },
		"a cell out of range": func(d []Joined) []Joined {
			x := *d[0].Data
			x.Bins = slices.Clone(x.Bins)
			x.Bins[0] = slices.Clone(x.Bins[0])
			x.Bins[0][3] = 99
			d[0].Data = &x
			return d
		},
		"too many rows of a one": func(d []Joined) []Joined {
			x := *d[0].Data
			x.Units = make([]int32, len(x.Units))
			x.Count = 1
			d[0].Data, d[0].Units = &x, d[0].Units[:1]
			return d
		},
	} {
		if _, err := SpanSums(f(slices.Clone(p.data)), s, pass); code(err) != CodeRows {
			t.Errorf("%s: %v", name, err)
		}
	}
	few := Noised(LocalSpan(p.data, s), func(sums []int64, _ int64, _ budget.Nano) ([]int64, error) { return make([]int64, len(sums)), nil })
	if _, err := LearnRelations(t.Context(), s, p.twins(), few, nil); code(err) != CodeTooFewUnits {
		t.Errorf("nobody there: %v", err)
	}
	short := Noised(LocalSpan(p.data, s), func(sums []int64, _ int64, _ budget.Nano) ([]int64, error) { return sums[1:], nil })
	if _, err := LearnRelations(t.Context(), s, p.twins(), short, nil); err == nil {
		t.Error("an answer cut short was taken")
	}
}
