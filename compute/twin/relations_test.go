package twin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
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

// joint is what is seen by joining two tables on the unit: the shares of pairs of rows by
// two columns, every unit weighing one; unmatched units have −1.
func joint(a, b Joined, x, y int) map[[2]int]float64 {
	out, n := map[[2]int]float64{}, 0.0
	rows := func(j Joined) map[uint64][]int {
		m := map[uint64][]int{}
		for r, u := range j.Data.Units {
			m[j.Units[u]] = append(m[j.Units[u]], r)
		}
		return m
	}
	ra, rb := rows(a), rows(b)
	add := func(us, vs []int) {
		if us == nil {
			us = []int{-1}
		}
		if vs == nil {
			vs = []int{-1}
		}
		cell := func(j Joined, c, r int) int {
			if r < 0 {
				return -1
			}
			return int(j.Data.Bins[c][r])
		}
		for _, r := range us {
			for _, q := range vs {
				out[[2]int{cell(a, x, r), cell(b, y, q)}] += 1 / float64(len(us)*len(vs))
			}
		}
		n++
	}
	for u, us := range ra {
		add(us, rb[u])
	}
	for u, vs := range rb {
		if ra[u] == nil {
			add(nil, vs)
		}
	}
	for k := range out {
		out[k] /= n
	}
	return out
}

func apart(a, b map[[2]int]float64) float64 {
	sum := 0.0
	for k, x := range a {
		sum += math.Abs(x-b[k]) / 2
	}
	for k, y := range b {
		if _, ok := a[k]; !ok {
			sum += y / 2
		}
	}
	return sum
}

// Joins on the unit behave on the twins as on the data: who has rows in both tables, and
// what of one goes with what of the other. Twins that nothing ties do not.
func TestRelationsKeepJoins(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	p := pooled(t, 40_000, epsilonOne)
	// One pair of columns ties a table: by sex, which both have, it would know no more of
	// the district.
	p.members[1].Link = []string{"chapter", "visits"}
	_, r := related(t, p, "0.01")
	linked, err := NewLinked(r, p.twins(), []byte("s"))
	if err != nil {
		t.Fatal(err)
	}
	var drawn, loose []Joined
	for i, m := range p.members {
		rows, err := linked.Rows(i, 0, 40_000)
		if err != nil {
			t.Fatal(err)
		}
		d, err := encodeRows(m.Twin.Columns, rows.Rows)
		if err != nil {
			t.Fatal(err)
		}
		drawn = append(drawn, d)
		// The same tables without relations: units by number, as many as there are.
		alone := draw(t, m.Twin, "s", 0, int(m.Twin.Units))
		for u := range alone.Units {
			alone.Units[u] = 0
		}
		number := uint64(0)
		for u, rank := range alone.Ranks {
			if rank == 1 {
				number++
			}
			alone.Units[u] = number
		}
		if d, err = encodeRows(m.Twin.Columns, alone); err != nil {
			t.Fatal(err)
		}
		loose = append(loose, d)
		one, two := distances(m.Schema, p.data[i].Data, drawn[i].Data)
		t.Logf("%s: %d of %d units, 1-way %.4f, 2-way %.4f", m.Schema.Dataset, drawn[i].Data.Count, p.data[i].Data.Count, one, two)
		if one > 0.02 || two > 0.06 {
			t.Errorf("%s: tied, 1-way distance %.4f, 2-way %.4f", m.Schema.Dataset, one, two)
		}
	}
	for _, x := range []struct {
		name       string
		a, b, x, y int
		most       float64
	}{{"district × chapter", 0, 1, 1, 0, 0.08}, {"education × income", 0, 2, 2, 0, 0.08}, {"district × visits", 0, 1, 1, 1, 0.08}} {
		real := joint(p.data[x.a], p.data[x.b], x.x, x.y)
		got, control := apart(real, joint(drawn[x.a], drawn[x.b], x.x, x.y)), apart(real, joint(loose[x.a], loose[x.b], x.x, x.y))
		t.Logf("%s: joined distance %.4f, of twins that nothing ties %.4f", x.name, got, control)
		if got > x.most || got > control*0.75 {
			t.Errorf("%s: joined distance %.4f (at most %.2f), of twins that nothing ties %.4f", x.name, got, x.most, control)
		}
	}
	// Who is in both: exact presence against the twins'.
	for i := range 3 {
		for j := range i {
			both := func(d []Joined) float64 {
				n := 0
				for _, u := range d[i].Units {
					if _, ok := slices.BinarySearch(d[j].Units, u); ok {
						n++
					}
				}
				return float64(n) / float64(d[i].Data.Count)
			}
			if want, got := both(p.data), both(drawn); math.Abs(want-got) > 0.03 {
				t.Errorf("%.3f of the units of table %d are in table %d, of the twins' %.3f", want, i, j, got)
			}
		}
	}
	if q := r.Quality.Mean; q.High > 1500 || q.High < q.About {
		t.Errorf("reported %+v", r.Quality)
	}
	t.Logf("reported %+v; ties %v", r.Quality, func() (out [][4]int) {
		for _, x := range r.Ties {
			out = append(out, [4]int{x.Table, x.Parent, x.Link, x.ParentLink})
		}
		return out
	}())
}

// A unit has the same number, token, and identifiers of a kind in every table; what is
// drawn is fixed by documents and seed, in any part.
func TestLinkedUnitsAreTheSame(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	p := pooled(t, 4000, "0.5")
	s, r := related(t, p, "0.5")
	text, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := LearnRelations(t.Context(), s, p.twins(), noisySpan(p, s, 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := again.Encode(); err != nil || !bytes.Equal(text, other) {
		t.Fatal("the same answers, other relations")
	}
	parsed, err := ParseRelations(text)
	if err != nil {
		t.Fatal(err)
	}
	rows := func(r *Relations, table int, seed string, from uint64, n int) LinkedRows {
		l, err := NewLinked(r, p.twins(), []byte(seed))
		if err != nil {
			t.Fatal(err)
		}
		out, err := l.Rows(table, from, n)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	token, name := map[uint64]uint64{}, map[uint64]string{}
	for table, column := range []int{4, 3, -1} {
		x := rows(r, table, "s", 0, 2000)
		if !reflect.DeepEqual(x, rows(parsed, table, "s", 0, 2000)) {
			t.Error("the document gives other rows than the relations it was written from")
		}
		late := rows(r, table, "s", 1500, 500)
		at := len(x.Units) - len(late.Units)
		if at <= 0 || !slices.Equal(x.Numbers[at:], late.Numbers) || !slices.Equal(x.Units[at:], late.Units) || !slices.Equal(x.Columns[0].Texts[at*min(1, len(x.Columns[0].Texts)):], late.Columns[0].Texts) {
			t.Error("a part drawn by itself holds other rows")
		}
		if other := rows(r, table, "t", 0, 2000); slices.Equal(x.Units[:50], other.Units[:50]) {
			t.Error("another seed, the same units")
		}
		units := map[uint64]bool{}
		for i, n := range x.Numbers {
			if was, ok := token[n]; ok && was != x.Units[i] {
				t.Fatalf("unit %d has two tokens", n)
			}
			token[n], units[n] = x.Units[i], true
			if i > 0 && (n < x.Numbers[i-1] || n == x.Numbers[i-1] && x.Ranks[i] != x.Ranks[i-1]+1) || (i == 0 || n != x.Numbers[i-1]) && x.Ranks[i] != 1 {
				t.Fatal("rows of a unit do not lie together")
			}
			if column >= 0 {
				if was, ok := name[n]; ok && was != x.Columns[column].Texts[i] {
					t.Fatalf("unit %d has two names", n)
				}
				name[n] = x.Columns[column].Texts[i]
			}
		}
		if share := float64(len(units)) / 2000; share < 0.2 || share > 0.95 {
			t.Errorf("%.2f of the units have rows in table %d", share, table)
		}
	}
	l, err := NewLinked(r, p.twins(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(l.Names(1), []string{"chapter", "visits", "sex", "name"}) {
		t.Errorf("names %v", l.Names(1))
	}
	for _, bad := range [][3]int{{-1, 0, 1}, {3, 0, 1}, {0, 0, -1}, {0, 0, maxUnits + 1}} {
		if _, err := l.Rows(bad[0], uint64(bad[1]), bad[2]); code(err) != CodeSample {
			t.Errorf("%v: %v", bad, err)
		}
	}
	swapped := p.twins()
	swapped[0], swapped[1] = swapped[1], swapped[0]
	for name, twins := range map[string][]*Twin{"swapped": swapped, "one less": p.twins()[:2], "none": {nil, nil, nil}} {
		if _, err := NewLinked(r, twins, nil); code(err) != CodeFile {
			t.Errorf("twins %s: %v", name, err)
		}
		if _, err := LearnRelations(t.Context(), s, twins, noisySpan(p, s, 1), nil); code(err) != CodeFile {
			t.Errorf("twins %s: learned (%v)", name, err)
		}
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

// A document is read back as it was written; one altered byte is refused, and so is what
// a sampler could not draw from, whatever its digest.
func TestRelationsDocument(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	p := pooled(t, 2000, "0.5")
	_, r := related(t, p, "0.5")
	text, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(text); i += max(1, len(text)/150) {
		bad := slices.Clone(text)
		bad[i] ^= 1
		if _, err := ParseRelations(bad); code(err) != CodeFile {
			t.Fatalf("byte %d altered: %v", i, err)
		}
	}
	for name, change := range map[string]func(*Relations){
		"another format":       func(x *Relations) { x.Format = Format },
		"another price":        func(x *Relations) { x.Rho = "0.4" },
		"no units":             func(x *Relations) { x.Units = 0 },
		"a tie less":           func(x *Relations) { x.Ties = x.Ties[:2] },
		"a parent drawn late":  func(x *Relations) { x.Ties[1].Parent = x.Ties[2].Table },
		"two roots":            func(x *Relations) { x.Ties[1].Parent = -1 },
		"a table twice":        func(x *Relations) { x.Ties[2].Table = x.Ties[1].Table },
		"no such link":         func(x *Relations) { x.Ties[1].Link = 9 },
		"a row less":           func(x *Relations) { x.Ties[1].Weights = x.Ties[1].Weights[1:] },
		"a row of nothing":     func(x *Relations) { clear(x.Ties[1].Weights[0]) },
		"a group out of range": func(x *Relations) { x.Span.Tables[0].Links[0].Few[0] = 9 },
		"a table less":         func(x *Relations) { x.Span.Tables = x.Span.Tables[:1] },
	} {
		x, err := ParseRelations(text)
		if err != nil {
			t.Fatal(err)
		}
		change(x)
		digest, _ := x.Digest()
		bad, err := json.Marshal(relationsDocument{x, digest})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseRelations(append(bad, '\n')); code(err) != CodeFile {
			t.Errorf("%s: read (%v)", name, err)
		}
		if _, err := NewLinked(x, p.twins(), nil); code(err) != CodeFile {
			t.Errorf("%s: drawn from (%v)", name, err)
		}
	}
}

// Whatever is read is written as it was.
func FuzzParseRelations(f *testing.F) {
	p := pooled(f, 1500, "0.5")
	_, r := related(f, p, "0.5")
	text, err := r.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"format":"sandgate-relations/v1"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, text []byte) {
		x := &Relations{}
		// Beneath the digest, which no fuzzer guesses.
		if json.Unmarshal(text, &relationsDocument{Relations: x}) == nil {
			if l, err := NewLinked(x, p.twins(), nil); err == nil {
				for i := range p.members {
					if _, err := l.Rows(i, 0, 2); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		y, err := ParseRelations(text)
		if err != nil {
			return
		}
		if again, err := y.Encode(); err != nil || !bytes.Equal(again, text) {
			t.Fatalf("another encoding (%v)", err)
		}
	})
}
