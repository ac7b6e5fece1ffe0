package onnx

import (
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

// made is a model of every family, and of every kind of label, whose numbers are drawn:
// they reach further than training would take them.
func made() map[string]*model.Parameters {
	r := rand.New(rand.NewPCG(7, 41))
	out := map[string]*model.Parameters{}
	binary := model.Target{Column: "ill", Type: algebra.Bool, Classes: 2, Codes: []string{"false", "true"}, Positive: []string{"true"}}
	amount := model.Target{Column: "cost", Type: algebra.Decimal, Bounds: [2]int64{-50_000, 1_250_050}, Scale: 2}
	classes := model.Target{Column: "scheme", Type: algebra.Text, Classes: 4, Codes: []string{"a", "b", "c", "丁"}}
	draw := func(n int, size float64) []float64 {
		x := make([]float64, n)
		for i := range x {
			x[i] = short(r.NormFloat64() * size)
		}
		return x
	}
	add := func(name string, f policies.ModelFamily, t model.Target, operators string, fill func(p *model.Parameters)) {
		p := &model.Parameters{Format: model.Format, Family: f, Operators: strings.Split(operators, " "), Private: true, Rho: "0.02", Design: strings.Repeat("0a", 32), Features: features(), Target: t}
		fill(p)
		out[name] = p
	}
	inputs := 1
	for _, f := range features() {
		inputs += slots(f)
	}
	rows := func(n, width int, size float64) [][]float64 {
		out := make([][]float64, n)
		for i := range out {
			out[i] = draw(width, size)
		}
		return out
	}
	tables := func(p *model.Parameters) {
		p.Intercept, p.Pairs = short(r.NormFloat64()), [][2]int{{0, 5}, {6, 1}}
		for _, f := range p.Features {
			p.Tables = append(p.Tables, draw(f.Bins(), 0.2))
		}
		for _, q := range p.Pairs {
			p.Tables = append(p.Tables, draw(p.Features[q[0]].Bins()*p.Features[q[1]].Bins(), 0.1))
		}
	}
	grow := func(trees, depth int) func(*model.Parameters) {
		return func(p *model.Parameters) {
			for range trees {
				p.Trees = append(p.Trees, tree(r, p.Features, depth))
			}
		}
	}
	add("linear", policies.FamilyLinear, amount, "scale indicate linear", func(p *model.Parameters) { p.Coefficients = rows(1, inputs, 0.2) })
	add("logistic", policies.FamilyLogistic, binary, "scale indicate linear logistic", func(p *model.Parameters) { p.Coefficients = rows(1, inputs, 1) })
	add("logistic at its limits", policies.FamilyLogistic, binary, "scale indicate linear logistic", func(p *model.Parameters) { p.Coefficients = rows(1, inputs, 1000) })
	add("softmax", policies.FamilySoftmax, classes, "scale indicate linear softmax", func(p *model.Parameters) { p.Coefficients = rows(3, inputs, 1) })
	add("softmax at its limits", policies.FamilySoftmax, classes, "scale indicate linear softmax", func(p *model.Parameters) { p.Coefficients = rows(3, inputs, 1000) })
	add("additive", policies.FamilyAdditive, binary, "bin look_up sum logistic", tables)
	add("additive of a number", policies.FamilyAdditive, amount, "bin look_up sum", tables)
	add("tree", policies.FamilyTree, binary, "bin walk", grow(1, 8))
	add("tree of a number", policies.FamilyTree, amount, "bin walk", grow(1, 6))
	add("tree of one leaf", policies.FamilyTree, binary, "bin walk", grow(1, 0))
	add("forest", policies.FamilyForest, binary, "bin walk mean", grow(17, 7))
	add("forest of one leaf each", policies.FamilyForest, binary, "bin walk mean", grow(3, 0))
	add("forest of a number", policies.FamilyForest, amount, "bin walk mean", grow(10, 5))
	add("kmeans", policies.FamilyKMeans, model.Target{}, "scale indicate nearest", func(p *model.Parameters) { p.Centres = rows(5, inputs-1, 0.5) })
	add("kmeans of one centre", policies.FamilyKMeans, model.Target{}, "scale indicate nearest", func(p *model.Parameters) { p.Centres = rows(1, inputs-1, 0.5) })
	return out
}

// short has six significant digits, as learnt numbers have.
func short(x float64) float64 {
	v, _ := strconv.ParseFloat(strconv.FormatFloat(x, 'e', 5, 64), 64)
	return v
}

// features are one of every kind, with and without a grid, that may and may not be
// missing; one is called as the output is.
func features() []model.Feature {
	return []model.Feature{
		{Column: "age", Kind: model.KindNumber, Type: algebra.Int, Bounds: [2]int64{0, 120}, Edges: []int64{18, 30, 45, 60, 75}, Nullable: true},
		{Column: "score", Kind: model.KindNumber, Type: algebra.Decimal, Bounds: [2]int64{-1_000_000, 99_999_999}, Edges: []int64{-1_000_000, 0, 1, 123_457, 5_000_000, 100_000_000}, Scale: 4, Nullable: true},
		{Column: "joined", Kind: model.KindNumber, Type: algebra.Date, Bounds: [2]int64{-3_653, 20_000}, Edges: []int64{0, 10_957}},
		{Column: "wide", Kind: model.KindNumber, Type: algebra.Int, Bounds: [2]int64{-exact, exact}, Edges: []int64{-exact + 1, 0, exact}, Nullable: true},
		{Column: "plain", Kind: model.KindNumber, Type: algebra.Int, Bounds: [2]int64{-7, 9}},
		{Column: "区县", Kind: model.KindCategory, Type: algebra.Text, Codes: []string{"甲", "乙", "丙 ", "d'\"\n", "e"}, Nullable: true},
		{Column: "grade", Kind: model.KindCategory, Type: algebra.Int, Codes: []string{"3", "-1", "20"}},
		{Column: "v1", Kind: model.KindCategory, Type: algebra.Bool, Codes: []string{"true", "false"}, Nullable: true},
	}
}

// tree splits at random to a depth, unevenly.
func tree(r *rand.Rand, features []model.Feature, depth int) model.Tree {
	nodes := []model.Node{{}}
	var grow func(at, depth int)
	grow = func(at, depth int) {
		if depth == 0 || depth < 4 && r.IntN(4) == 0 {
			nodes[at].Value = short(r.Float64())
			return
		}
		f := r.IntN(len(features))
		left := len(nodes)
		nodes = append(nodes, model.Node{}, model.Node{})
		n := model.Node{Feature: f, Bin: r.IntN(features[f].Bins()), Left: left, Right: left + 1, Equal: features[f].Kind == model.KindCategory}
		if !n.Equal {
			n.Bin = 1 + r.IntN(features[f].Bins()-1)
		}
		nodes[at] = n
		grow(left, depth-1)
		grow(left+1, depth-1)
	}
	grow(0, depth)
	return model.Tree{Nodes: nodes}
}

// drawn is a value of a feature as our scorer reads it and as ONNX does; text of a
// number is "" when it is missing.
type drawn struct {
	text    string
	number  float64
	stored  int64
	refused bool
}

// draw picks a value that is mostly at an edge, a bound or beyond one.
func draw(r *rand.Rand, f model.Feature, wrong bool) drawn {
	if wrong && !f.Nullable || f.Nullable && r.IntN(6) == 0 {
		return drawn{refused: !f.Nullable}
	}
	if f.Kind == model.KindCategory {
		if wrong {
			return drawn{text: []string{"乙 ", "nan", "True", "03", "3.0", "None"}[r.IntN(6)], refused: true}
		}
		at := r.IntN(len(f.Codes))
		d := drawn{text: f.Codes[at]}
		switch f.Type {
		case algebra.Int:
			d.stored, _ = strconv.ParseInt(d.text, 10, 64)
		case algebra.Bool:
			d.stored = map[string]int64{"true": 1}[d.text]
		}
		return d
	}
	lo, hi := f.Bounds[0], f.Bounds[1]
	marks := append([]int64{lo, hi}, f.Edges...)
	v := marks[r.IntN(len(marks))] + r.Int64N(3) - 1
	switch r.IntN(4) {
	case 0:
		v = lo + r.Int64N(hi-lo+1)
	case 1:
		v = min(max(v+(r.Int64N(3)-1)*(hi-lo), -2*exact), 2*exact)
	}
	d := drawn{stored: v}
	switch f.Type {
	case algebra.Date:
		v = min(max(v, -20_000), 40_000)
		d.stored, d.text = v, algebra.FormatDate(v)
	default:
		d.text = algebra.FormatDecimal(big.NewInt(v), uint8(f.Scale))
	}
	d.number, _ = strconv.ParseFloat(d.text, 64)
	if f.Type == algebra.Date {
		d.number = float64(v)
	}
	return d
}

// sorted are the names, in an order that does not change.
func sorted(m map[string]*model.Parameters) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
