package twin

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"testing"
)

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
	if testing.Short() {
		f.Skip("arithmetic: left out of the short run under the race detector")
	}
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
