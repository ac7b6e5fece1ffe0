package twin

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/model"
)

// recorder keeps the passes that were asked.
type recorder struct {
	Oracle
	passes  []Pass
	answers [][]int64
}

func (r *recorder) Sums(ctx context.Context, p Pass) ([]int64, error) {
	a, err := r.Oracle.Sums(ctx, p)
	r.passes, r.answers = append(r.passes, p), append(r.answers, slices.Clone(a))
	return a, err
}

// without leaves a unit out.
func without(d *model.Data, unit int32) *model.Data {
	out := &model.Data{Count: d.Count - 1, Bins: make([][]uint16, len(d.Bins))}
	for r, u := range d.Units {
		if u == unit {
			continue
		}
		if u > unit {
			u--
		}
		out.Units = append(out.Units, u)
		for c := range d.Bins {
			out.Bins[c] = append(out.Bins[c], d.Bins[c][r])
		}
	}
	return out
}

// R02: whatever a unit's rows hold, adding or removing it moves no pass beyond its
// norm, so that the noise of release.Sums is enough.
func TestR02NoUnitMovesAPassBeyondItsNorm(t *testing.T) {
	s := schemaOf(t, Spec{Columns: learned, RowsPerUnit: 5}, registry())
	d := encoded(t, s, residents(4000, 5, 3))
	rec := &recorder{Oracle: noisy(d, s, 1)}
	if _, err := Learn(t.Context(), s, rec, nil); err != nil {
		t.Fatal(err)
	}
	if len(rec.passes) != 3 {
		t.Fatalf("%d passes", len(rec.passes))
	}
	r := rand.New(rand.NewPCG(1, 1))
	reached := false
	for range 40 {
		unit := int32(r.IntN(d.Count))
		less := without(d, unit)
		for i, p := range rec.passes {
			with, err := Sums(d, s, p)
			if err != nil {
				t.Fatal(err)
			}
			rest, err := Sums(less, s, p)
			if err != nil {
				t.Fatal(err)
			}
			square := int64(0)
			for k := range with {
				square += (with[k] - rest[k]) * (with[k] - rest[k])
			}
			if square > p.Norm*p.Norm {
				t.Fatalf("pass %d: a unit moves the sums by √%d, beyond %d", i+1, square, p.Norm)
			}
			reached = reached || 4*square > 3*p.Norm*p.Norm
		}
	}
	if !reached {
		t.Error("no unit came near its norm: the test compares nothing")
	}
}

// Data and passes that do not have the form of the schema are refused.
func TestSumsRefuse(t *testing.T) {
	s := schemaOf(t, Spec{Columns: []string{"sex", "visits", "job"}, RowsPerUnit: 2}, registry())
	d := encoded(t, s, pick(residents(500, 2, 3), "sex", "visits", "job"))
	plan := s.Plan()
	if plan.Price() != s.Rho || len(plan.Passes) != 3 {
		t.Fatalf("a plan of %d passes costs %v of %v", len(plan.Passes), plan.Price(), s.Rho)
	}
	cells := plan.Passes[0]
	pairs := plan.Passes[2]
	pairs.Pairs = [][2]int{{0, 1}, {0, 2}, {2, 1}}
	for _, c := range s.Columns {
		g := make([]int, c.Bins())
		g[0] = 1
		pairs.Groups = append(pairs.Groups, g)
	}
	pairs.Width = 12
	if err := s.Admit(2, pairs); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Pass){
		"a lower norm":         func(p *Pass) { p.Norm-- },
		"a finer step":         func(p *Pass) { p.Step /= 2 },
		"a higher price":       func(p *Pass) { p.Rho++ },
		"another kind":         func(p *Pass) { p.Kind = PassCoarse; p.Pairs = p.Pairs[:2] },
		"one table more":       func(p *Pass) { p.Pairs = append(slices.Clone(p.Pairs), [2]int{1, 2}); p.Width += 4 },
		"one table less":       func(p *Pass) { p.Pairs = p.Pairs[:2]; p.Width -= 4 },
		"a column with itself": func(p *Pass) { p.Pairs = [][2]int{{0, 1}, {0, 2}, {1, 1}} },
		"no such column":       func(p *Pass) { p.Pairs = [][2]int{{0, 1}, {0, 2}, {1, 3}} },
		"another width":        func(p *Pass) { p.Width++ },
		"groups cut short":     func(p *Pass) { p.Groups = slices.Clone(p.Groups); p.Groups[0] = p.Groups[0][:1] },
		"a negative group":     func(p *Pass) { p.Groups = slices.Clone(p.Groups); p.Groups[0] = []int{0, -1, 1} },
		"an empty group":       func(p *Pass) { p.Groups = slices.Clone(p.Groups); p.Groups[0] = []int{0, 2, 0} },
		"a model":              func(p *Pass) { p.Model = &model.Parameters{} },
	} {
		p := pairs
		change(&p)
		if err := s.Admit(2, p); code(err) != CodePass {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Sums(d, s, p); err == nil && p.Rho == pairs.Rho {
			t.Errorf("%s: it was summed", name)
		}
	}
	for _, i := range []int{-1, 1, 3} {
		if err := s.Admit(i, pairs); code(err) != CodePass {
			t.Errorf("as pass %d: %v", i, err)
		}
	}
	for name, change := range map[string]func(*model.Data){
		"a cell out of range":  func(d *model.Data) { d.Bins[0] = slices.Clone(d.Bins[0]); d.Bins[0][7] = 3 },
		"a column cut short":   func(d *model.Data) { d.Bins[1] = d.Bins[1][1:] },
		"a column less":        func(d *model.Data) { d.Bins = d.Bins[:2] },
		"units out of order":   func(d *model.Data) { d.Units = slices.Clone(d.Units); d.Units[3] = 400 },
		"too many rows a unit": func(d *model.Data) { d.Units = make([]int32, len(d.Units)); d.Count = 1 },
	} {
		bad := *d
		bad.Bins = slices.Clone(d.Bins)
		change(&bad)
		if _, err := Sums(&bad, s, cells); code(err) != CodeRows {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Sums do not depend on the order of the file, and batches may be cut anywhere.
func TestEncoderKeepsUnitsTogether(t *testing.T) {
	s := schemaOf(t, Spec{Columns: []string{"sex", "visits", "job"}, RowsPerUnit: 2}, registry())
	b := pick(residents(800, 4, 3), "sex", "visits", "job")
	r := rand.New(rand.NewPCG(4, 4))
	order := r.Perm(len(b.Units))
	e, err := NewEncoder(s, testKey)
	if err != nil {
		t.Fatal(err)
	}
	for len(order) > 0 {
		n := min(len(order), 1+r.IntN(300))
		part := model.Batch{Columns: make([]model.Column, 3)}
		for _, i := range order[:n] {
			part.Units = append(part.Units, b.Units[i])
			for c, from := range b.Columns {
				to := &part.Columns[c]
				to.Null = append(to.Null, from.Null[i])
				if from.Ints != nil {
					to.Ints = append(to.Ints, from.Ints[i])
				} else {
					to.Texts = append(to.Texts, from.Texts[i])
				}
			}
		}
		if err := e.Add(part); err != nil {
			t.Fatal(err)
		}
		order = order[n:]
	}
	one, two := encoded(t, s, b), e.Finish()
	p := s.Plan().Passes[0]
	a, err := Sums(one, s, p)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Sums(two, s, p)
	if err != nil || !slices.Equal(a[len(a)-2:], again[len(again)-2:]) || one.Rows() != two.Rows() {
		t.Errorf("another order of rows, other sums (%v)", err)
	}
	for name, bad := range map[string]model.Batch{
		"a column less":   {Units: b.Units, Columns: b.Columns[:2]},
		"units cut short": {Units: b.Units[1:], Columns: b.Columns},
		"ranks cut short": {Units: b.Units, Ranks: []int32{1}, Columns: b.Columns},
	} {
		e, _ := NewEncoder(s, testKey)
		if err := e.Add(bad); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := NewEncoder(s, testKey[:15]); err == nil {
		t.Error("a short key was taken")
	}
}

// Prices add up to the nano, whatever the schema.
func TestPlanCostsRho(t *testing.T) {
	s := schemaOf(t, Spec{Columns: learned}, registry())
	for _, rho := range []budget.Nano{3, 4, 7, 99, 24_355_970, 1_000_000_007} {
		for d := 1; d <= 12; d++ {
			x := s
			x.Rho, x.Columns = rho, s.Columns[:d]
			plan := x.Plan()
			if plan.Price() != rho {
				t.Errorf("%d columns at %v cost %v", d, rho, plan.Price())
			}
			for i, p := range plan.Passes {
				if p.Rho < 1 || p.Norm < 1 {
					t.Errorf("%d columns at %v: pass %d is %+v", d, rho, i+1, p)
				}
			}
		}
	}
}

// On any number of goroutines the sums are those of a plain count.
func TestSumsMatchAPlainCount(t *testing.T) {
	columns := []string{"sex", "visits", "job"}
	s := schemaOf(t, Spec{Columns: columns, RowsPerUnit: 3}, registry())
	d := encoded(t, s, pick(residents(60_000, 3, 3), columns...))
	rec := &recorder{Oracle: Local(d, s)}
	if _, err := Learn(t.Context(), s, rec, nil); err != nil {
		t.Fatal(err)
	}
	rows := make([]int64, d.Count)
	for _, u := range d.Units {
		rows[u]++
	}
	seen := make([]int64, d.Count)
	want := [3][]int64{}
	for i, p := range rec.passes {
		want[i] = make([]int64, p.Width)
	}
	for r, u := range d.Units {
		for i, p := range rec.passes {
			k, n, at := int64(1/p.Step+0.5), rows[u], 0
			w := (seen[u]+1)*k/n - seen[u]*k/n
			if i == 0 {
				for c := range columns {
					want[i][at+int(d.Bins[c][r])] += w
					at += s.Columns[c].Bins()
				}
				if seen[u] == 0 {
					want[i][at+int(n)-1] += k
				}
				continue
			}
			for _, pair := range p.Pairs {
				ga, gb := p.Groups[pair[0]], p.Groups[pair[1]]
				size := slices.Max(gb) + 1
				want[i][at+ga[d.Bins[pair[0]][r]]*size+gb[d.Bins[pair[1]][r]]] += w
				at += (slices.Max(ga) + 1) * size
			}
		}
		seen[u]++
	}
	for i, p := range rec.passes {
		if !slices.Equal(rec.answers[i], want[i]) {
			t.Errorf("pass %d: other sums than a plain count", i+1)
		}
		if steps := int64(1/p.Step + 0.5); total64(want[i]) != steps*int64(d.Count)*int64(len(p.Pairs)) && i > 0 {
			t.Errorf("pass %d: the tables do not count every unit once", i+1)
		}
	}
}

func total64(v []int64) int64 {
	s := int64(0)
	for _, x := range v {
		s += x
	}
	return s
}
