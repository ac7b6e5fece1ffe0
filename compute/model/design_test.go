package model

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/policies"
)

// R02: every constant of a design comes from the catalogue.
func TestR02DesignFromTheCatalogue(t *testing.T) {
	s := spec(policies.FamilyLogistic, true)
	s.Features = append(s.Features, policies.ModelFeature{Column: "born", Bins: 4}, policies.ModelFeature{Column: "cost"})
	s.Groups = []string{"c1", "c0"}
	d := design(t, s)
	f := d.Features
	if f[0].Kind != KindNumber || f[0].Bounds != [2]int64{0, 999} || !slices.Equal(f[0].Edges, []int64{100, 200, 400, 600, 800}) || f[0].Bins() != 7 {
		t.Errorf("a number with a grid: %+v", f[0])
	}
	if len(f[1].Edges) != 15 || f[1].Bins() != 17 || f[1].Nullable || !f[9].Nullable {
		t.Errorf("numbers without a grid: %+v %+v", f[1], f[9])
	}
	if f[10].Kind != KindCategory || !slices.Equal(f[10].Codes, []string{"a", "b", "c"}) || f[10].Bins() != 4 {
		t.Errorf("a category: %+v", f[10])
	}
	if f[18].Kind != KindNumber || f[18].Type != "date" || len(f[18].Edges) != 3 {
		t.Errorf("a date: %+v", f[18])
	}
	if f[19].Scale != 2 || f[19].Bounds != [2]int64{0, 100_000} || !slices.Equal(f[19].Edges, []int64{25_000, 50_000, 75_000}) {
		t.Errorf("a decimal: %+v", f[19])
	}
	if d.Target.Classes != 2 || !slices.Equal(d.Target.Positive, []string{"true"}) {
		t.Errorf("a Bool label: %+v", d.Target)
	}
	want := []string{"n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9", "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "born", "cost", "ill"}
	if !slices.Equal(d.Columns, want) {
		t.Errorf("columns %v", d.Columns)
	}
	if d.Spec.HoldOut != 20 || d.Spec.RowsPerUnit != 1 || d.Spec.Setting.Clip != 1 || d.Spec.Setting.Steps != 8 {
		t.Errorf("defaults: %+v", d.Spec)
	}
	s.Features = []policies.ModelFeature{{Column: "n0", Bins: 3}}
	if e := design(t, s).Features[0].Edges; !slices.Equal(e, []int64{200, 600}) {
		t.Errorf("a thinned grid keeps registered edges: %v", e)
	}
	if a, b := design(t, s).Digest(), d.Digest(); a == b {
		t.Error("two designs have one digest")
	}
}

// R02: what would keep records, or reads what it must not, is refused before any data
// is read, with a name and a way out.
func TestR02DesignRefusals(t *testing.T) {
	num := policies.FamilyLinear
	for name, c := range map[string]struct {
		code string
		in   string // the English text holds it
		edit func(*policies.ModelSpec)
	}{
		"knn":                 {CodeFamily, "knn", func(s *policies.ModelSpec) { s.Family = "knn" }},
		"svm":                 {CodeFamily, "support vectors", func(s *policies.ModelSpec) { s.Family = "svm" }},
		"gp":                  {CodeFamily, "Gaussian", func(s *policies.ModelSpec) { s.Family = "gp" }},
		"generative":          {CodeFamily, "generative", func(s *policies.ModelSpec) { s.Family = "generative" }},
		"embedding":           {CodeFamily, "single persons", func(s *policies.ModelSpec) { s.Family = "embedding" }},
		"unknown":             {CodeFamily, "magic", func(s *policies.ModelSpec) { s.Family = "magic" }},
		"no such column":      {CodeColumn, "nope", func(s *policies.ModelSpec) { s.Features[0].Column = "nope" }},
		"long name":           {CodeColumn, "…", func(s *policies.ModelSpec) { s.Features[0].Column = "110101199003078888" }},
		"dropped":             {CodeColumn, "gone", func(s *policies.ModelSpec) { s.Features[0].Column = "gone" }},
		"the unit":            {CodeColumn, "person", func(s *policies.ModelSpec) { s.Features[0].Column = "person" }},
		"pseudonym":           {CodeColumn, "alias", func(s *policies.ModelSpec) { s.Features[0].Column = "alias" }},
		"no bounds":           {CodeColumn, "free", func(s *policies.ModelSpec) { s.Features[0].Column = "free" }},
		"bins of codes":       {CodeColumn, "c0", func(s *policies.ModelSpec) { s.Features[10].Bins = 4 }},
		"constant":            {CodeConstant, "fixed", func(s *policies.ModelSpec) { s.Features[0].Column = "fixed" }},
		"one code":            {CodeConstant, "single", func(s *policies.ModelSpec) { s.Features[0].Column = "single" }},
		"label is feature":    {CodeSpec, "ill", func(s *policies.ModelSpec) { s.Features[0].Column = "ill" }},
		"twice":               {CodeSpec, "n1", func(s *policies.ModelSpec) { s.Features[0].Column = "n1" }},
		"no features":         {CodeSpec, "features", func(s *policies.ModelSpec) { s.Features = nil }},
		"no label":            {CodeSpec, "label", func(s *policies.ModelSpec) { s.Label.Column = "" }},
		"bins":                {CodeSpec, "n2", func(s *policies.ModelSpec) { s.Features[2].Bins = 65 }},
		"hold out":            {CodeSpec, "hold_out", func(s *policies.ModelSpec) { s.HoldOut = 60 }},
		"rows":                {CodeSpec, "department", func(s *policies.ModelSpec) { s.RowsPerUnit = 6 }},
		"pairs":               {CodeSpec, "additive", func(s *policies.ModelSpec) { s.Pairs = [][2]string{{"n0", "n1"}} }},
		"parameters in clear": {CodeSpec, "privately", func(s *policies.ModelSpec) { s.Private, s.Rho, s.Release = false, "", policies.ReleaseParameters }},
		"no release":          {CodeSpec, "release", func(s *policies.ModelSpec) { s.Release = "" }},
		"another data set":    {CodeSpec, "data set", func(s *policies.ModelSpec) { s.Dataset = "other" }},
		"module digest":       {CodeSpec, "module", func(s *policies.ModelSpec) { s.Module = &policies.ModelModule{SHA256: "abc", Size: 1} }},
		"group without codes": {CodeColumn, "n0", func(s *policies.ModelSpec) { s.Groups = []string{"n0"} }},
		"label unit":          {CodeColumn, "person", func(s *policies.ModelSpec) { s.Label.Column = "person" }},
		"positive":            {CodeLabel, "kind", func(s *policies.ModelSpec) { s.Label = policies.ModelLabel{Column: "kind", Positive: []string{"w"}} }},
		"all positive": {CodeLabel, "kind", func(s *policies.ModelSpec) {
			s.Label = policies.ModelLabel{Column: "kind", Positive: []string{"x", "y", "z"}}
		}},
		"classes of logistic": {CodeLabel, "kind", func(s *policies.ModelSpec) { s.Label = policies.ModelLabel{Column: "kind"} }},
		"number of logistic":  {CodeLabel, "cost", func(s *policies.ModelSpec) { s.Label = policies.ModelLabel{Column: "cost"} }},
		"off the grid":        {CodeLabel, "cost", func(s *policies.ModelSpec) { s.Label = policies.ModelLabel{Column: "cost", Threshold: "251"} }},
		"edge of bounds":      {CodeLabel, "cost", func(s *policies.ModelSpec) { s.Label = policies.ModelLabel{Column: "cost", Threshold: "0"} }},
		"no grid": {CodeLabel, "n1", func(s *policies.ModelSpec) {
			s.Features[1].Column = "cost"
			s.Label = policies.ModelLabel{Column: "n1", Threshold: "500"}
		}},
		"classes of linear": {CodeLabel, "ill", func(s *policies.ModelSpec) { s.Family = num }},
		"softmax of two":    {CodeLabel, "ill", func(s *policies.ModelSpec) { s.Family = policies.FamilySoftmax }},
		"steps":             {CodeSetting, "steps", func(s *policies.ModelSpec) { s.Setting.Steps = 201 }},
		"negative":          {CodeSetting, "clip", func(s *policies.ModelSpec) { s.Setting.Clip = -1 }},
		"another family's":  {CodeSetting, "trees", func(s *policies.ModelSpec) { s.Setting.Trees = 5 }},
		"no rho":            {CodePrice, "rho", func(s *policies.ModelSpec) { s.Rho = "" }},
		"rho zero":          {CodePrice, "rho", func(s *policies.ModelSpec) { s.Rho = "0" }},
		"rho words":         {CodePrice, "rho", func(s *policies.ModelSpec) { s.Rho = "1e-3" }},
		"rho not private":   {CodePrice, "private", func(s *policies.ModelSpec) { s.Private = false }},
		"no evaluation":     {CodePrice, "rho_evaluation", func(s *policies.ModelSpec) { s.RhoEvaluation = "" }},
	} {
		s := spec(policies.FamilyLogistic, true)
		c.edit(&s)
		_, err := NewDesign(s, clinic())
		var r *policies.Reason
		if !errors.As(err, &r) || r.Code != c.code || !strings.Contains(r.EN, c.in) || r.ZH == "" || r.HintZH == "" || r.HintEN == "" || strings.Contains(r.EN+r.ZH, "%!") {
			t.Errorf("%s: got %v, want %s with %q", name, err, c.code, c.in)
		}
	}
}

func TestDesignTooLarge(t *testing.T) {
	s := spec(policies.FamilyAdditive, true)
	for i := range 10 {
		for j := range i {
			s.Pairs = append(s.Pairs, [2]string{s.Features[i].Column, s.Features[j].Column})
		}
	}
	for i := range 10 {
		s.Features[i].Bins = 64
	}
	var r *policies.Reason
	if _, err := NewDesign(s, clinic()); !errors.As(err, &r) || r.Code != CodeTooLarge {
		t.Errorf("pairs: %v", err)
	}
	s = spec(policies.FamilyForest, false)
	s.Setting.Trees, s.Setting.Depth = 100, 10
	if _, err := NewDesign(s, clinic()); !errors.As(err, &r) || r.Code != CodeTooLarge {
		t.Errorf("leaves: %v", err)
	}
}

// R01: the plan is the price: the passes' ρ add up to the specification's, to the
// nano, for every family, and one nano a pass is the least.
func TestR01PlanPrice(t *testing.T) {
	for _, f := range []policies.ModelFamily{policies.FamilyLinear, policies.FamilyLogistic, policies.FamilySoftmax, policies.FamilyAdditive, policies.FamilyTree, policies.FamilyForest, policies.FamilyKMeans} {
		for _, rho := range []string{"0.0185", "0.000000999", "0.00000004", "0.1234567899"} {
			s := spec(f, true)
			s.Rho = rho
			d := design(t, s)
			want, _, r := prices(s)
			if r != nil {
				t.Fatal(r)
			}
			p, err := d.Plan()
			if err != nil {
				t.Fatal(err)
			}
			if p.Price() != want {
				t.Errorf("%s: %d charged of %d", f, p.Price(), want)
			}
			for i, x := range p.Passes {
				if x.Rho < 1 || x.Norm < 1 || x.Width < 1 || x.Step <= 0 {
					t.Errorf("%s: pass %d: %+v", f, i, x)
				}
				if p.Admit(i, x) != nil {
					t.Errorf("%s: pass %d of the plan is not admitted", f, i)
				}
				for name, edit := range map[string]func(*Pass){"kind": func(x *Pass) { x.Kind = "other" }, "rho": func(x *Pass) { x.Rho-- }, "norm": func(x *Pass) { x.Norm-- },
					"step": func(x *Pass) { x.Step /= 2 }, "width": func(x *Pass) { x.Width++ }} {
					y := x
					edit(&y)
					if p.Admit(i, y) == nil {
						t.Errorf("%s: pass %d with another %s is admitted", f, i, name)
					}
				}
			}
			if p.Admit(len(p.Passes), p.Passes[0]) == nil || p.Admit(-1, p.Passes[0]) == nil {
				t.Errorf("%s: a pass beyond the plan is admitted", f)
			}
			if p.Evaluation.Rho != 5_000_000 || p.Evaluation.Kind != PassScores {
				t.Errorf("%s: evaluation %+v", f, p.Evaluation)
			}
		}
		s := spec(f, false)
		p, err := design(t, s).Plan()
		if err != nil || p.Price() != 0 {
			t.Errorf("%s without noise: %v %v", f, p.Price(), err)
		}
	}
	s := spec(policies.FamilyLogistic, true)
	s.Rho = "0.000000005"
	var r *policies.Reason
	if _, err := design(t, s).Plan(); !errors.As(err, &r) || r.Code != CodePrice {
		t.Errorf("five nanos for nine passes: %v", err)
	}
}
