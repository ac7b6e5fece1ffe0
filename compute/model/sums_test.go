package model

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sandgate/sandgate/policies"
)

// wild draws data of any design, unlike what an encoder would give: units of one to
// five rows, extremes, and values that no bounds were kept for.
func wild(r *rand.Rand, d Design, units int, extreme bool) *Data {
	x := &Data{Count: units, Groups: make([][]uint16, len(d.Groups))}
	for range d.Features {
		x.Bins, x.Values = append(x.Bins, []uint16{}), append(x.Values, nil)
	}
	for u := range units {
		for range 1 + r.IntN(5) {
			x.Units = append(x.Units, int32(u))
			for i, f := range d.Features {
				bin := uint16(r.IntN(f.Bins()))
				if extreme {
					bin = uint16(f.Bins() - 1 - r.IntN(2))
				}
				x.Bins[i] = append(x.Bins[i], bin)
				if f.Kind == KindNumber {
					v := float32(2*r.Float64() - 1)
					if extreme {
						v = float32(1 - 2*r.IntN(2))
						if u%7 == 0 {
							v *= 1e6 // a broken encoder; the sums keep to the norm all the same
						}
						if u%11 == 0 {
							v = float32(math.NaN())
						}
					}
					x.Values[i] = append(x.Values[i], v)
				}
			}
			switch d.Target.Classes {
			case 0:
				x.Label = append(x.Label, float32(2*r.Float64()-1))
			default:
				x.Label = append(x.Label, float32(r.IntN(d.Target.Classes)))
			}
			for g, f := range d.Groups {
				x.Groups[g] = append(x.Groups[g], uint16(r.IntN(f.Bins())))
			}
		}
	}
	return x
}

// filled gives a pass of the plan the parameters that a trainer might give it.
func filledPass(r *rand.Rand, d Design, p Pass) Pass {
	inputs := len(slotsOf(d.Features))
	n := 0
	switch p.Kind {
	case PassGradient:
		n = inputs * d.outputs()
	case PassResiduals:
		n = p.Width + 1
	case PassClusters:
		n = d.Spec.Setting.Clusters * (inputs - 1)
	case PassLeaves:
		for k := range max(1, d.Spec.Setting.Trees) {
			t := d.randomTree(k)
			cells := 0
			for i := range t.Nodes {
				if t.Nodes[i].Left == 0 {
					cells++
					t.Nodes[i].Cell = cells
				}
			}
			p.Trees = append(p.Trees, t)
		}
	}
	for range n {
		p.Theta = append(p.Theta, 20*r.NormFloat64())
	}
	return p
}

func everyDesign(t testing.TB, private bool) []Design {
	var out []Design
	for _, f := range []policies.ModelFamily{policies.FamilyLinear, policies.FamilyLogistic, policies.FamilySoftmax, policies.FamilyAdditive, policies.FamilyTree, policies.FamilyForest, policies.FamilyKMeans} {
		s := spec(f, private)
		s.Features, s.Groups = features(3, 2), []string{"c5"}
		s.Features = append(s.Features, policies.ModelFeature{Column: "n9"})
		if f == policies.FamilyAdditive {
			s.Pairs = [][2]string{{"n0", "c1"}}
		}
		out = append(out, design(t, s))
		if f == policies.FamilyAdditive || f == policies.FamilyTree {
			s.Label.Column = "cost"
			out = append(out, design(t, s))
		}
	}
	return out
}

// R01: no unit, whatever its rows hold, moves the sums of any pass by more than the
// pass's norm, in exact integers; some come near it.
func TestR01NoUnitMovesAPassBeyondItsNorm(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for _, private := range []bool{true, false} {
		for _, d := range everyDesign(t, private) {
			plan, err := d.Plan()
			if err != nil {
				t.Fatal(err)
			}
			seen := map[PassKind]bool{}
			for _, p := range append(plan.Passes, plan.Evaluation) {
				if seen[p.Kind] {
					continue
				}
				seen[p.Kind] = true
				p = filledPass(r, d, p)
				most := 0.0
				for _, extreme := range []bool{false, true} {
					x := wild(r, d, 60, extreme)
					scores := make([]float64, x.Rows()*d.scoreWidth())
					for i := range scores {
						scores[i] = []float64{r.Float64(), math.NaN(), math.Inf(1), -5, 0.5}[i%5]
					}
					sums := func(members []bool) []int64 {
						var out []int64
						var err error
						if p.Kind == PassScores {
							out, err = ScoreSums(x, d, p, scores, members)
						} else {
							out, err = Sums(x, d, p, members)
						}
						if err != nil {
							t.Fatalf("%s %s: %v", d.Spec.Family, p.Kind, err)
						}
						return out
					}
					all := sums(nil)
					for u := range x.Count {
						members := make([]bool, x.Count)
						for i := range members {
							members[i] = i != u
						}
						square := int64(0)
						for i, v := range sums(members) {
							square += (all[i] - v) * (all[i] - v)
						}
						if square > p.Norm*p.Norm {
							t.Fatalf("%s %s private %v: unit %d moves the sums by %.3f norms", d.Spec.Family, p.Kind, private, u, math.Sqrt(float64(square))/float64(p.Norm))
						}
						most = max(most, math.Sqrt(float64(square))/float64(p.Norm))
					}
				}
				if most < 0.2 {
					t.Errorf("%s %s: no unit moves the sums by more than %.3f norms: the norm is wasted", d.Spec.Family, p.Kind, most)
				}
			}
		}
	}
}

// The control: without cutting, one unit moves a gradient far beyond its norm.
func TestR01UncutGradientsAreUnbounded(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	d := everyDesign(t, true)[1]
	plan, _ := d.Plan()
	p := filledPass(r, d, plan.Passes[1])
	x := wild(r, d, 60, true)
	c := newContributor(x, d, p)
	a := newUnitSum(p)
	most := 0.0
	for i := range x.Rows() {
		c.row(a, i, 1)
		if n := math.Sqrt(dot(a.v, a.v)) / p.Step / float64(p.Norm); n > most {
			most = n
		}
		clear(a.v)
	}
	if most < 100 {
		t.Errorf("the uncut gradients reach %.1f norms only: the test data are too tame", most)
	}
}

// Sums do not depend on the order of units or on how the rows are divided among
// goroutines; the sums of two halves of the units are the sum of all.
func TestSumsAreSumsOverUnits(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for _, d := range everyDesign(t, true) {
		plan, _ := d.Plan()
		p := filledPass(r, d, plan.Passes[len(plan.Passes)-1])
		x := wild(r, d, 25_000, false) // more rows than one goroutine takes
		members, others := make([]bool, x.Count), make([]bool, x.Count)
		for i := range members {
			members[i] = r.IntN(2) == 0
			others[i] = !members[i]
		}
		all, err := Sums(x, d, p, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := Sums(x, d, p, members)
		b, _ := Sums(x, d, p, others)
		for i := range all {
			if a[i]+b[i] != all[i] {
				t.Fatalf("%s: coordinate %d: %d + %d is not %d", d.Spec.Family, i, a[i], b[i], all[i])
			}
		}
		again, _ := Sums(x, d, p, nil)
		if !slices.Equal(all, again) {
			t.Errorf("%s: sums differ from run to run", d.Spec.Family)
		}
	}
}

// A pass that does not have the form of its kind is refused before a row is read.
func TestSumsRefuseMalformedPasses(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	for _, d := range everyDesign(t, true) {
		plan, _ := d.Plan()
		good := filledPass(r, d, plan.Passes[len(plan.Passes)-1])
		x := wild(r, d, 5, false)
		for name, edit := range map[string]func(*Pass){
			"width":    func(p *Pass) { p.Width++ },
			"no width": func(p *Pass) { p.Width = 0 },
			"kind":     func(p *Pass) { p.Kind = "other" },
			"theta":    func(p *Pass) { p.Theta = append(slices.Clone(p.Theta), 1) },
			"nan":      func(p *Pass) { p.Theta = append(slices.Clone(p.Theta[:max(0, len(p.Theta)-1)]), math.NaN()) },
			"step":     func(p *Pass) { p.Step = 0 },
			"norm":     func(p *Pass) { p.Norm = 0 },
			"loop":     func(p *Pass) { p.Trees = []Tree{{Nodes: []Node{{Left: 0, Right: 0}, {Left: 1, Right: 1}}}} },
			"feature":  func(p *Pass) { p.Trees = []Tree{{Nodes: []Node{{Feature: 99, Left: 1, Right: 2}, {}, {}}}} },
			"cell":     func(p *Pass) { p.Trees = []Tree{{Nodes: []Node{{Cell: 1 << 20}}}} },
			"model":    func(p *Pass) { p.Model = &Parameters{} },
		} {
			p := good
			edit(&p)
			if out, err := Sums(x, d, p, nil); err == nil {
				t.Errorf("%s: %s: answered with %d sums", d.Spec.Family, name, len(out))
			}
		}
		if _, err := Sums(x, d, good, make([]bool, 3)); err == nil {
			t.Errorf("%s: members of other data are accepted", d.Spec.Family)
		}
	}
}

func BenchmarkSums(b *testing.B) {
	for _, d := range everyDesign(b, true) {
		s := d.Spec
		s.Features = features(10, 8)
		s.Pairs, s.Groups = nil, nil
		d := design(b, s)
		x := split(b, d, city()).Train
		plan, _ := d.Plan()
		seen := map[PassKind]bool{}
		for _, p := range plan.Passes {
			if seen[p.Kind] {
				continue
			}
			seen[p.Kind] = true
			p = filledPass(rand.New(rand.NewPCG(1, 1)), d, p)
			b.Run(string(s.Family)+"/"+string(p.Kind), func(b *testing.B) {
				for range b.N {
					if _, err := Sums(x, d, p, nil); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(x.Rows()*len(d.Features)*b.N)/b.Elapsed().Seconds()/1e6, "Mcells/s")
			})
		}
	}
}
