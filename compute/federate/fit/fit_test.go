package fit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

// clinic is the entry of a made-up data set that every domain has: three numbers, a
// category, and two labels.
func clinic() policies.Entry {
	d := policies.Dataset{ID: "clinic", Unit: &policies.Unit{Column: "person", Kind: "person"}, Columns: []policies.Column{{Name: "person", Type: algebra.Text}}}
	for i := range 3 {
		d.Columns = append(d.Columns, policies.Column{Name: fmt.Sprintf("n%d", i), Type: algebra.Int, Bounds: &policies.Bounds{Lo: "0", Hi: "999"}, Nullable: i == 2})
	}
	d.Columns = append(d.Columns, policies.Column{Name: "c0", Type: algebra.Text, Codes: []policies.Code{{Value: "a"}, {Value: "b"}, {Value: "c"}}},
		policies.Column{Name: "ill", Type: algebra.Bool}, policies.Column{Name: "cost", Type: algebra.Int, Bounds: &policies.Bounds{Lo: "0", Hi: "1000"}})
	return policies.Entry{Dataset: d, Department: "health", Masked: true, Levels: map[string]int{"n0": 3}, Rule: &policies.DisclosureRule{Mode: "dp", MaxRows: 5}}
}

func spec(f policies.ModelFamily) policies.ModelSpec {
	s := policies.ModelSpec{Dataset: "clinic", Family: f, Features: []policies.ModelFeature{{Column: "n0"}, {Column: "n1"}, {Column: "n2"}, {Column: "c0"}},
		Private: true, Rho: "0.1", RhoEvaluation: "0.02", Release: policies.ReleaseParameters, RowsPerUnit: 3}
	if s.Label.Column = "ill"; f == policies.FamilyLinear {
		s.Label.Column = "cost"
	} else {
		s.Setting.Steps = 4
	}
	return s
}

func design(t testing.TB, s policies.ModelSpec, e policies.Entry) model.Design {
	t.Helper()
	d, err := model.NewDesign(s, e)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var terms = Terms{Terms: federate.Terms{MaxUnits: 1 << 16, Overlap: 1, Period: "2026-10"}, Decryptors: 4, Dishonest: 1, Retries: 2}

const run = "0123456789abcdef0123456789abcdef"

func training(t testing.TB, f policies.ModelFamily, x Terms) *Model {
	t.Helper()
	m, err := New(design(t, spec(f), clinic()), x, run)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// people are units of one to three rows each.
func people(d model.Design, units int, seed uint64) *model.Data {
	r := rand.New(rand.NewPCG(seed, 1))
	out := &model.Data{Count: units, Bins: make([][]uint16, len(d.Features)), Values: make([][]float32, len(d.Features))}
	for u := range units {
		for range 1 + r.IntN(3) {
			out.Units = append(out.Units, int32(u))
			score := r.NormFloat64()
			for f, x := range d.Features {
				if x.Kind == model.KindCategory {
					out.Bins[f] = append(out.Bins[f], uint16(r.IntN(3)))
					continue
				}
				v, bin := r.Int64N(1000), 0
				for _, e := range x.Edges {
					if v >= e {
						bin++
					}
				}
				scaled := 2*float32(v)/999 - 1
				score += 2 * float64(scaled)
				if x.Nullable && r.IntN(10) == 0 {
					scaled, bin = 0, x.Bins()-1
				}
				out.Bins[f], out.Values[f] = append(out.Bins[f], uint16(bin)), append(out.Values[f], scaled)
			}
			y := float32(max(-1, min(1, score/8)))
			if d.Target.Classes == 2 {
				y = 0
				if score > 0 {
					y = 1
				}
			}
			out.Label = append(out.Label, y)
		}
	}
	return out
}

// pool lays several domains' rows into one.
func pool(all ...*model.Data) *model.Data {
	out := &model.Data{Bins: make([][]uint16, len(all[0].Bins)), Values: make([][]float32, len(all[0].Values))}
	for _, d := range all {
		for _, u := range d.Units {
			out.Units = append(out.Units, u+int32(out.Count))
		}
		out.Count += d.Count
		for f := range d.Bins {
			out.Bins[f] = append(out.Bins[f], d.Bins[f]...)
			if d.Values[f] != nil {
				out.Values[f] = append(out.Values[f], d.Values[f]...)
			}
		}
		out.Label = append(out.Label, d.Label...)
	}
	return out
}

// domain is one domain's split.
func domain(m *Model, units int, seed uint64) model.Split {
	return model.Split{Train: people(m.Design(), units, seed), Held: people(m.Design(), units/4, seed+100)}
}

func sumsOf(t testing.TB, m *Model, s model.Split, p model.Pass) []int64 {
	t.Helper()
	data := s.Train
	if p.Kind == model.PassScores {
		data = s.Held
	}
	sums, err := model.Sums(data, m.Design(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

func session(i int) string { return fmt.Sprintf("%064x", i+1) }

// play trains; answer is what a round gives for its step.
func play(t testing.TB, m *Model, answer func(s *Step) []int64) ([]Answer, *Outcome) {
	t.Helper()
	var answers []Answer
	for {
		step, out, err := m.Next(context.Background(), answers)
		if err != nil {
			t.Fatal(err)
		}
		if out != nil {
			return answers, out
		}
		if step.Index != len(answers) || step.Of != m.Rounds() {
			t.Fatalf("step %d of %d after %d answers", step.Index, step.Of, len(answers))
		}
		answers = append(answers, Answer{Session: session(step.Index), Values: answer(step)})
	}
}

// R39: without noise the model of three domains' rounds is, to the last byte, the one that
// the trainer makes of all rows together, figures included; so are the sums of every pass.
func TestR39_FederatedModelIsThatOfAllRows(t *testing.T) {
	for _, f := range []policies.ModelFamily{policies.FamilyLinear, policies.FamilyLogistic} {
		for seed := range uint64(4) {
			m := training(t, f, terms)
			var splits []model.Split
			var train, held []*model.Data
			for i := range 3 {
				s := domain(m, 300+100*i, 10*seed+uint64(i))
				splits, train, held = append(splits, s), append(train, s.Train), append(held, s.Held)
			}
			all := model.Split{Train: pool(train...), Held: pool(held...)}
			kinds := ""
			answers, out := play(t, m, func(s *Step) []int64 {
				kinds += string(s.Pass.Kind) + " "
				total := make([]int64, s.Pass.Width)
				for _, d := range splits {
					cells, err := s.Cells(sumsOf(t, m, d, s.Pass))
					if err != nil {
						t.Fatal(err)
					}
					for i, x := range cells {
						total[i] += x
					}
				}
				if !slices.Equal(total, sumsOf(t, m, all, s.Pass)) {
					t.Fatalf("%s: the sums of pass %d are not those of all rows", f, s.Index+1)
				}
				return total
			})
			want, err := model.Train(context.Background(), m.Design(), model.Local(all.Train, m.Design(), nil), nil)
			if err != nil {
				t.Fatal(err)
			}
			want.Rho = out.Parameters.Rho
			file, err := want.Encode()
			if err != nil || !bytes.Equal(file, out.File) {
				t.Errorf("%s: the parameters are not those of all rows", f)
			}
			if strings.Count(kinds, "scores") != 1 || !strings.HasSuffix(kinds, "scores ") || strings.Count(kinds, "gradient") != map[policies.ModelFamily]int{policies.FamilyLogistic: 4}[f] {
				t.Errorf("%s asks for %s", f, kinds)
			}
			// A party that joins late, or starts again, comes to the same.
			if _, again, err := m.Next(context.Background(), answers); err != nil || again.Digest != out.Digest {
				t.Errorf("%s: the answers give another model when they are replayed", f)
			}
			if p, err := model.Parse(out.File); err != nil || p.Rho != m.Training().String() {
				t.Errorf("%s: the file does not name what was paid", f)
			}
		}
	}
}

// The price is what was asked for, whatever the overlap and the decryptors; the noise that
// a domain's own design counts on is what all decryptors draw, and never more than it.
func TestR39_PriceAndNoiseOfARound(t *testing.T) {
	for _, f := range []policies.ModelFamily{policies.FamilyLinear, policies.FamilyLogistic} {
		for _, x := range []struct{ decryptors, dishonest, overlap int }{{2, 0, 1}, {2, 1, 1}, {4, 1, 2}, {5, 3, 3}, {9, 4, 1}} {
			at := terms
			at.Decryptors, at.Dishonest, at.Overlap = x.decryptors, x.dishonest, x.overlap
			m := training(t, f, at)
			asked, err := m.Asked().Plan()
			if err != nil {
				t.Fatal(err)
			}
			if got, most := m.Training(), asked.Price(); got > most || got < most*99/100 {
				t.Errorf("%+v: training costs %d, %d was asked for", x, got, most)
			}
			if got, most := m.Price()-m.Training(), asked.Evaluation.Rho; got > most || got < most*9/10 {
				t.Errorf("%+v: evaluation costs %d, %d was asked for", x, got, most)
			}
			if m.Reserve() < m.Price()+budget.Nano(at.Retries) {
				t.Errorf("%+v: nothing is kept for retries", x)
			}
			for i := range m.Rounds() {
				p := proposalOf(m, i)
				if f := p.Check(); f != nil {
					t.Fatal(f)
				}
				all := new(big.Int).Mul(p.ShareVariance(0), big.NewInt(int64(p.Decryptors())))
				pass := m.pass(i)
				counted := pass.Sigma() / pass.Step // in lattice steps
				got, _ := new(big.Float).SetInt(all).Float64()
				if got < counted*counted-1e-6*got || got > 1.07*counted*counted {
					t.Errorf("%+v pass %d: all decryptors draw a variance of %g, the trainer counts on %g", x, i, got, counted*counted)
				}
			}
		}
	}
}

// proposalOf is round i of a training with as many departments as its terms say.
func proposalOf(m *Model, i int) *federate.Proposal {
	var departments []string
	for d := range m.terms.Decryptors - 1 {
		departments = append(departments, fmt.Sprintf("city_%02d", d))
	}
	contributors := []string{"city_00", "city_01", "city_02"}
	return &federate.Proposal{V: federate.Version, Nonce: strings.Repeat("0", 64), Scheme: federate.Mask, Query: m.Query(), Schema: m.Query(), Columns: m.columns[i], Contributors: contributors,
		Regulator: "regulator", Departments: departments, Threshold: m.terms.Decryptors - 1, Aggregator: "gateway", Receiver: "operator", MinContributors: 3, Dishonest: m.terms.Dishonest, Deadline: 1}
}

// R39: a unit that stands in as many domains as the terms allow moves the sums of all of
// them together by no more than the sensitivity says, in every pass. Control: it does move
// them by more than the sensitivity of terms that do not allow for it.
func TestR39_SensitivityOfAUnitInSeveralDomains(t *testing.T) {
	over := 0
	for _, f := range []policies.ModelFamily{policies.FamilyLinear, policies.FamilyLogistic} {
		for overlap := 1; overlap <= 3; overlap++ {
			at := terms
			at.Overlap = overlap
			m := training(t, f, at)
			splits := []model.Split{domain(m, 1500, 1), domain(m, 1500, 2), domain(m, 1500, 3)}
			play(t, m, func(s *Step) []int64 {
				total := make([]int64, s.Pass.Width)
				for _, d := range splits {
					for i, x := range sumsOf(t, m, d, s.Pass) {
						total[i] += x
					}
				}
				for trial := range uint64(20) {
					// The unit has the same rows in the domains: nothing is worse.
					who := model.Split{Train: people(m.Design(), 1, 1000+trial), Held: people(m.Design(), 1, 1000+trial)}
					square := new(big.Int)
					for _, x := range sumsOf(t, m, who, s.Pass) {
						x *= int64(overlap)
						square.Add(square, new(big.Int).Mul(big.NewInt(x), big.NewInt(x)))
					}
					if square.Cmp(s.Columns[0].Sensitivity2) > 0 {
						t.Errorf("%s in %d domains: a unit moves pass %d by more than its sensitivity", f, overlap, s.Index+1)
					}
					alone := new(big.Int).Quo(s.Columns[0].Sensitivity2, big.NewInt(int64(overlap*overlap)))
					if overlap > 1 && square.Cmp(alone) > 0 {
						over++
					}
				}
				return total
			})
		}
	}
	if over == 0 {
		t.Error("control: no unit of several domains moves a pass by more than one domain's sensitivity")
	}
}

// What cannot be tried in every domain, or has exact sums, is refused by name.
func TestR39_WhatIsNotTrainedOverDomains(t *testing.T) {
	code := func(s policies.ModelSpec, x Terms, run string) string {
		_, err := New(design(t, s, clinic()), x, run)
		var r *policies.Reason
		if !errors.As(err, &r) {
			return ""
		}
		return r.Code
	}
	base := spec(policies.FamilyLogistic)
	change := func(f func(s *policies.ModelSpec)) policies.ModelSpec { s := base; f(&s); return s }
	withTerms := func(f func(x *Terms)) Terms { x := terms; f(&x); return x }
	for name, c := range map[string]struct {
		s    policies.ModelSpec
		x    Terms
		run  string
		want string
	}{
		"fine":      {base, terms, run, ""},
		"additive":  {change(func(s *policies.ModelSpec) { s.Family, s.Setting = policies.FamilyAdditive, policies.ModelSettings{} }), terms, run, CodeFamily},
		"tree":      {change(func(s *policies.ModelSpec) { s.Family, s.Setting = policies.FamilyTree, policies.ModelSettings{} }), terms, run, CodeFamily},
		"scores":    {change(func(s *policies.ModelSpec) { s.Release = policies.ReleaseScores }), terms, run, CodePrivate},
		"exact":     {change(func(s *policies.ModelSpec) { s.Private, s.Rho, s.Release = false, "", policies.ReleaseScores }), terms, run, CodePrivate},
		"epsilon":   {change(func(s *policies.ModelSpec) { s.Rho = "1" }), terms, run, CodePrice},
		"too cheap": {change(func(s *policies.ModelSpec) { s.Rho = "0.000000008" }), terms, run, CodePrice},
		"too dear":  {change(func(s *policies.ModelSpec) { s.RhoEvaluation = "1000000" }), terms, run, CodePrice},
		"rounds":    {change(func(s *policies.ModelSpec) { s.Setting.Steps = 100 }), terms, run, CodeTerms},
		"run":       {base, terms, "x", CodeTerms},
		"overlap":   {base, withTerms(func(x *Terms) { x.Overlap = 0 }), run, CodeTerms},
		"units":     {base, withTerms(func(x *Terms) { x.MaxUnits = 1 << 41 }), run, CodeTerms},
		"dishonest": {base, withTerms(func(x *Terms) { x.Dishonest = 4 }), run, CodeTerms},
		"retries":   {base, withTerms(func(x *Terms) { x.Retries = MaxRetries + 1 }), run, CodeTerms},
		"period":    {base, withTerms(func(x *Terms) { x.Period = "" }), run, CodeTerms},
	} {
		if got := code(c.s, c.x, c.run); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// Whatever domains do not have alike makes another schema of every round.
func TestR39_ModelSchemaTellsDomainsApart(t *testing.T) {
	schema := func(e policies.Entry, s policies.ModelSpec, x Terms, run string) (string, string) {
		m, err := New(design(t, s, e), x, run)
		if err != nil {
			t.Fatal(err)
		}
		step, _, err := m.Next(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return step.Schema, step.Query
	}
	s := spec(policies.FamilyLinear)
	base, query := schema(clinic(), s, terms, run)
	if again, _ := schema(clinic(), s, terms, run); again != base {
		t.Fatal("the same training is another schema")
	}
	codes, bounds := clinic(), clinic()
	codes.Dataset.Columns[4].Codes = codes.Dataset.Columns[4].Codes[:2]
	bounds.Dataset.Columns[1].Bounds = &policies.Bounds{Lo: "0", Hi: "99"}
	dearer, wide := s, terms
	dearer.Rho = "0.11"
	wide.Overlap = 2
	for name, other := range map[string]func() (string, string){
		"codes":   func() (string, string) { return schema(codes, s, terms, run) },
		"bounds":  func() (string, string) { return schema(bounds, s, terms, run) },
		"price":   func() (string, string) { return schema(clinic(), dearer, terms, run) },
		"overlap": func() (string, string) { return schema(clinic(), s, wide, run) },
		"run":     func() (string, string) { return schema(clinic(), s, terms, strings.Repeat("a", 32)) },
	} {
		got, q := other()
		if got == base {
			t.Errorf("%s: the schema is the same", name)
		}
		if q != query {
			t.Errorf("%s: rounds about the same data have another query digest", name)
		}
	}
	later := terms
	later.Period = "2026-11"
	if got, q := schema(clinic(), s, later, run); got == base || q == query {
		t.Error("another period is the same data")
	}
}
