package model

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"sort"
	"sync"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/policies"
)

// clinic is the entry of a made-up data set: ten numbers n0…n9 (n9 may be missing),
// eight categories c0…c7, a registered grid, and three labels.
func clinic() policies.Entry {
	text := func(s string) policies.Text { return policies.Text{ZH: s, EN: s} }
	d := policies.Dataset{ID: "clinic", Unit: &policies.Unit{Column: "person", Kind: "person"}}
	d.Columns = append(d.Columns, policies.Column{Name: "person", Type: algebra.Text})
	for i := range 10 {
		c := policies.Column{Name: fmt.Sprintf("n%d", i), Title: text("n"), Type: algebra.Int, Bounds: &policies.Bounds{Lo: "0", Hi: "999"}}
		if i == 9 {
			c.Nullable = true
		}
		if i == 0 {
			c.Grid = &policies.Grid{Edges: []string{"0", "100", "200", "400", "600", "800", "999"}}
		}
		d.Columns = append(d.Columns, c)
	}
	for i := range 8 {
		c := policies.Column{Name: fmt.Sprintf("c%d", i), Type: algebra.Text}
		for k := range 3 + i%3 {
			c.Codes = append(c.Codes, policies.Code{Value: string(rune('a' + k))})
		}
		d.Columns = append(d.Columns, c)
	}
	d.Columns = append(d.Columns,
		policies.Column{Name: "ill", Type: algebra.Bool},
		policies.Column{Name: "cost", Type: algebra.Decimal, Scale: 2, Bounds: &policies.Bounds{Lo: "0", Hi: "1000"}, Grid: &policies.Grid{Edges: []string{"0", "250", "500", "750", "1000"}}},
		policies.Column{Name: "kind", Type: algebra.Text, Codes: []policies.Code{{Value: "x"}, {Value: "y"}, {Value: "z"}}},
		policies.Column{Name: "fixed", Type: algebra.Int, Bounds: &policies.Bounds{Lo: "5", Hi: "5"}},
		policies.Column{Name: "free", Type: algebra.Int},
		policies.Column{Name: "gone", Type: algebra.Int, Bounds: &policies.Bounds{Lo: "0", Hi: "9"}},
		policies.Column{Name: "alias", Type: algebra.Text},
		policies.Column{Name: "single", Type: algebra.Text, Codes: []policies.Code{{Value: "only"}}},
		policies.Column{Name: "born", Type: algebra.Date, Bounds: &policies.Bounds{Lo: "1920-01-01", Hi: "2020-12-31"}},
	)
	return policies.Entry{Dataset: d, Department: "health", Masked: true, Levels: map[string]int{"n0": 3}, Rule: &policies.DisclosureRule{Mode: "dp", MaxRows: 5},
		Masks: map[string]policies.Mask{"gone": {Op: "drop"}, "alias": {Op: "pseudonym"}}}
}

// features are the first numbers and categories of the clinic.
func features(numbers, categories int) []policies.ModelFeature {
	var out []policies.ModelFeature
	for i := range numbers {
		out = append(out, policies.ModelFeature{Column: fmt.Sprintf("n%d", i)})
	}
	for i := range categories {
		out = append(out, policies.ModelFeature{Column: fmt.Sprintf("c%d", i)})
	}
	return out
}

func spec(f policies.ModelFamily, private bool) policies.ModelSpec {
	s := policies.ModelSpec{Dataset: "clinic", Family: f, Features: features(10, 8), RhoEvaluation: "0.005", Release: policies.ReleaseScores}
	switch f {
	case policies.FamilyLinear:
		s.Label.Column = "cost"
	case policies.FamilySoftmax:
		s.Label.Column = "kind"
	case policies.FamilyKMeans:
	default:
		s.Label.Column = "ill"
	}
	if private {
		s.Private, s.Rho = true, "0.0185"
	}
	return s
}

func design(t testing.TB, s policies.ModelSpec) Design {
	t.Helper()
	d, err := NewDesign(s, clinic())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var testKey = []byte("0123456789abcdef0123456789abcdef")

// made draws units with a planted effect of both kinds of features on all labels.
func made(units int, seed uint64) map[string]Column {
	r := rand.New(rand.NewPCG(seed, 7))
	out := map[string]Column{}
	score := make([]float64, units)
	for i := range 10 {
		c := Column{Ints: make([]int64, units), Null: make([]bool, units)}
		for u := range units {
			v := r.Float64()
			if i%2 == 1 {
				v = 0.3 + 0.12*r.NormFloat64() // bunched within wide bounds
			}
			c.Ints[u] = int64(min(max(1000*v, 0), 999))
			c.Null[u] = i == 9 && r.IntN(10) == 0
			x := 2*v - 1
			switch i {
			case 0:
				score[u] += 1.5 * x
			case 1:
				score[u] += 4 * (x + 0.4)
			case 2:
				score[u] += 1.5*x*x - 0.5
			case 3:
				score[u] -= 3 * (x + 0.4)
			case 4:
				score[u] += 0.5 * x
			}
		}
		out[fmt.Sprintf("n%d", i)] = c
	}
	for i := range 8 {
		c := Column{Texts: make([]string, units)}
		for u := range units {
			k := r.IntN(3 + i%3)
			c.Texts[u] = string(rune('a' + k))
			if i < 3 {
				score[u] += 0.5 * (float64(k) - 1)
			}
		}
		out[fmt.Sprintf("c%d", i)] = c
	}
	ill, cost, kind := Column{Ints: make([]int64, units)}, Column{Ints: make([]int64, units)}, Column{Texts: make([]string, units)}
	for u := range units {
		if r.Float64() < logistic(score[u]-0.5) {
			ill.Ints[u] = 1
		}
		cost.Ints[u] = int64(min(max(50_000+9_000*score[u]+5_000*r.NormFloat64(), 0), 100_000))
		z := score[u] + r.NormFloat64()
		kind.Texts[u] = "y"
		if z < -0.7 {
			kind.Texts[u] = "x"
		} else if z > 0.9 {
			kind.Texts[u] = "z"
		}
	}
	out["ill"], out["cost"], out["kind"] = ill, cost, kind
	return out
}

func split(t testing.TB, d Design, columns map[string]Column) Split {
	t.Helper()
	e, err := NewEncoder(d, testKey)
	if err != nil {
		t.Fatal(err)
	}
	b := Batch{}
	for _, c := range d.Columns {
		b.Columns = append(b.Columns, columns[c])
	}
	for i := range max(len(b.Columns[0].Ints), len(b.Columns[0].Texts)) {
		b.Units = append(b.Units, uint64(i)*2654435761)
	}
	if err := e.Add(b); err != nil {
		t.Fatal(err)
	}
	return e.Finish()
}

func noisyOracle(d *Data, design Design, seed uint64) Oracle {
	rnd := stream{rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 3})}
	return Noised(Local(d, design, nil), func(sums []int64, norm int64, rho budget.Nano) ([]int64, error) {
		return release.Sums(sums, norm, rho, rnd)
	})
}

type stream struct{ c *rand.ChaCha8 }

func (s stream) Read(p []byte) (int, error) { return s.c.Read(p) }

var _ io.Reader = stream{}

func scoresOf(t testing.TB, p *Parameters, d *Data) []float64 {
	t.Helper()
	s, err := p.Scorer()
	if err != nil {
		t.Fatal(err)
	}
	out := make([]float64, d.Rows()*s.Width())
	s.Score(d, out)
	if !finite(out) {
		t.Fatal("a score is no number")
	}
	return out
}

// auc by ranks, ties halved.
func auc(scores []float64, labels []float32) float64 {
	at := make([]int, len(scores))
	for i := range at {
		at[i] = i
	}
	sort.Slice(at, func(a, b int) bool { return scores[at[a]] < scores[at[b]] })
	var pos, neg, sum float64
	for i := 0; i < len(at); {
		j, p := i, 0.0
		for ; j < len(at) && scores[at[j]] == scores[at[i]]; j++ {
			p += float64(labels[at[j]])
		}
		n := float64(j-i) - p
		sum += p*neg + p*n/2
		pos, neg = pos+p, neg+n
		i = j
	}
	return sum / (pos * neg)
}

// city is the made-up data set that most tests share: 25 000 units, 20 000 of them for
// training.
var city = sync.OnceValue(func() map[string]Column { return made(25_000, 1) })

func train(t testing.TB, s policies.ModelSpec, columns map[string]Column, seed uint64) (*Parameters, Split) {
	t.Helper()
	d := design(t, s)
	x := split(t, d, columns)
	o := Local(x.Train, d, nil)
	if s.Private {
		o = noisyOracle(x.Train, d, seed)
	}
	p, err := Train(context.Background(), d, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p, x
}

func r2(scores []float64, labels []float32) float64 {
	mean, ss, rs := 0.0, 0.0, 0.0
	for _, y := range labels {
		mean += float64(y) / float64(len(labels))
	}
	for i, y := range labels {
		ss += math.Pow(float64(y)-mean, 2)
		rs += math.Pow(float64(y)-scores[i], 2)
	}
	return 1 - rs/ss
}

// finite reports whether no score is NaN or infinite.
func finite(scores []float64) bool {
	for _, x := range scores {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return false
		}
	}
	return true
}
