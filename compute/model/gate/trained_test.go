package gate

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/policies"
)

// shop is the catalogue entry of an invented table.
func shop() policies.Entry {
	list := func(name string, codes ...string) policies.Column {
		c := policies.Column{Name: name, Type: algebra.Text}
		for _, v := range codes {
			c.Codes = append(c.Codes, policies.Code{Value: v})
		}
		return c
	}
	number := func(name string, nullable bool) policies.Column {
		return policies.Column{Name: name, Type: algebra.Int, Nullable: nullable, Bounds: &policies.Bounds{Lo: "0", Hi: "100"}, Grid: &policies.Grid{Edges: []string{"0", "25", "50", "75", "100"}}}
	}
	d := policies.Dataset{ID: "shop", Unit: &policies.Unit{Column: "person", Kind: "person"}, OneRow: true}
	d.Columns = []policies.Column{{Name: "person", Type: algebra.Text}, number("age", false), number("score", true), list("area", "a", "b", "c"),
		{Name: "buys", Type: algebra.Bool}, number("spend", false), list("kind", "x", "y", "z")}
	return policies.Entry{Dataset: d, Department: "trade", Masked: true, Levels: map[string]int{"age": 3}, Rule: &policies.DisclosureRule{Mode: "dp", MaxRows: 1}}
}

func sold(t testing.TB, d model.Design, units int) model.Split {
	t.Helper()
	r := rand.New(rand.NewPCG(5, 5))
	columns := map[string]*model.Column{"age": {}, "score": {Null: make([]bool, units)}, "area": {}, "buys": {}, "spend": {}, "kind": {}}
	b := model.Batch{}
	for u := range units {
		age, score, area := r.IntN(101), r.IntN(101), r.IntN(3)
		columns["age"].Ints, columns["score"].Ints = append(columns["age"].Ints, int64(age)), append(columns["score"].Ints, int64(score))
		columns["score"].Null[u] = r.IntN(10) == 0
		columns["area"].Texts = append(columns["area"].Texts, string(rune('a'+area)))
		x := age + score/2 + 20*area + r.IntN(60)
		buys := int64(0)
		if x > 125 {
			buys = 1
		}
		columns["buys"].Ints = append(columns["buys"].Ints, buys)
		columns["spend"].Ints = append(columns["spend"].Ints, int64(min(100, x/2)))
		columns["kind"].Texts = append(columns["kind"].Texts, string(rune('x'+min(2, x/80))))
		b.Units = append(b.Units, r.Uint64())
	}
	for _, name := range d.Columns {
		b.Columns = append(b.Columns, *columns[name])
	}
	e, err := model.NewEncoder(d, []byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Add(b); err != nil {
		t.Fatal(err)
	}
	return e.Finish()
}

// Every family that can be trained goes through the gate as it is trained for release,
// its constants are those of the catalogue, and no run is void.
func TestR02_EveryFamilyOfTheTrainer(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	for _, family := range families {
		t.Run(string(family), func(t *testing.T) {
			s := policies.ModelSpec{Dataset: "shop", Family: family, RhoEvaluation: "0.005", Release: policies.ReleaseParameters, Private: true, Rho: "0.0244",
				Features: []policies.ModelFeature{{Column: "age"}, {Column: "score"}, {Column: "area"}}, Setting: policies.ModelSettings{Trees: 3, Clusters: 3, Rounds: 5, Depth: 2}}
			switch family {
			case policies.FamilyLinear:
				s.Label.Column = "spend"
			case policies.FamilySoftmax:
				s.Label.Column = "kind"
			case policies.FamilyKMeans:
			default:
				s.Label.Column = "buys"
			}
			if family != policies.FamilyForest {
				s.Setting.Trees = 0
			}
			if family != policies.FamilyKMeans {
				s.Setting.Clusters = 0
			}
			if family != policies.FamilyAdditive {
				s.Setting.Rounds = 0
			}
			if family != policies.FamilyTree && family != policies.FamilyForest {
				s.Setting.Depth = 0
			}
			d, err := model.NewDesign(s, shop())
			if err != nil {
				t.Fatal(err)
			}
			split := sold(t, d, 1500)
			noise := seed(9)
			p, err := model.Train(context.Background(), d, model.Noised(model.Local(split.Train, d, nil), func(sums []int64, norm int64, rho budget.Nano) ([]int64, error) {
				return release.Sums(sums, norm, rho, noise)
			}), nil)
			if err != nil {
				t.Fatal(err)
			}
			x, err := NewTrial(d, split, p, release.Sums)
			if err != nil {
				t.Fatal(err)
			}
			if x.Structure.Parameters == 0 || len(x.Structure.Constants) == 0 || x.Rho != 24_400_000 {
				t.Errorf("the trial is empty: %+v at %s", x.Structure, x.Rho)
			}
			if (family == policies.FamilyKMeans) != (len(x.Structure.Points) > 0) || (len(x.Structure.Cells) > 0) != slices.Contains([]policies.ModelFamily{policies.FamilyTree, policies.FamilyForest}, family) {
				t.Errorf("%d points and %d cells", len(x.Structure.Points), len(x.Structure.Cells))
			}
			if r := run(t, x, Options{Attacked: 400}, 3); r.Verdict != Pass {
				show(t, r)
				t.Error(r.Verdict)
			}
		})
	}
}

func TestTrialNeedsItsParts(t *testing.T) {
	if _, err := NewTrial(model.Design{}, model.Split{}, nil, nil); err == nil {
		t.Error("a trial of nothing")
	}
	x := trial(t, 300, 2, 24_400_000, 1)
	if _, err := TrainerOf(x.Design, nil)(context.Background(), x.Members, x.Data, seed(1)); err == nil {
		t.Error("a private model is trained without noise")
	}
	broken := func([]int64, int64, budget.Nano, io.Reader) ([]int64, error) { return nil, errors.New("no") }
	if _, err := TrainerOf(x.Design, broken)(context.Background(), x.Members, x.Data, seed(1)); err == nil {
		t.Error("broken noise is not told")
	}
}
