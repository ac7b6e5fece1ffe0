package onnx

import (
	"math"

	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/model/onnx/onnxpb"
	"github.com/sandgate/sandgate/policies"
)

// score adds the family's operators and names the score: rows × outputs, in the label's
// units. "" of a family that has none here.
func (g *graph) score(p *model.Parameters, in []*input) string {
	switch p.Family {
	case policies.FamilyLinear:
		return g.inUnit(p, g.clamp(g.linear(p, in)))
	case policies.FamilyLogistic:
		return g.logistic(g.linear(p, in))
	case policies.FamilySoftmax:
		return g.softmax(g.linear(p, in))
	case policies.FamilyAdditive:
		z := g.additive(p, in)
		if p.Target.Classes == 2 {
			return g.logistic(z)
		}
		return g.inUnit(p, g.clamp(z))
	case policies.FamilyTree, policies.FamilyForest:
		return g.inUnit(p, g.trees(p, in))
	case policies.FamilyKMeans:
		return g.nearest(p, in)
	}
	return ""
}

func (g *graph) linear(p *model.Parameters, in []*input) string {
	var first []float64
	for _, row := range p.Coefficients {
		first = append(first, row[0])
	}
	z := g.numbers([]int64{1, int64(len(first))}, first...)
	at := 1
	for _, x := range in {
		var weights [][]float64
		for _, row := range p.Coefficients {
			weights = append(weights, row[at:at+slots(x.f)])
		}
		at += slots(x.f)
		z = g.two("Add", z, x.weighted(weights))
	}
	return z
}

func (g *graph) clamp(z string) string {
	return g.op("Clip", []string{z, g.number(-1), g.number(1)})
}

// logistic is spelled out: the operator Sigmoid is an approximation in some runtimes.
func (g *graph) logistic(z string) string {
	one := g.number(1)
	return g.two("Div", one, g.two("Add", one, g.one("Exp", g.one("Neg", z))))
}

// softmax has a class of score 0 besides those of z.
func (g *graph) softmax(z string) string {
	top := g.two("Max", g.op("ReduceMax", []string{z}, integers("axes", []int64{1})), g.number(0))
	e := g.one("Exp", g.two("Sub", z, top))
	return g.two("Div", e, g.two("Add", g.one("Exp", g.one("Neg", top)), g.sumRows(e)))
}

func (g *graph) additive(p *model.Parameters, in []*input) string {
	z := g.numbers([]int64{1, 1}, p.Intercept)
	add := func(table []float64, index string) {
		rows := make([][]float64, len(table))
		for i, x := range table {
			rows[i] = []float64{x}
		}
		z = g.two("Add", z, g.look(rows, index))
	}
	for i, x := range in {
		add(p.Tables[i], x.bins())
	}
	for i, q := range p.Pairs {
		stride := g.integers(nil, int64(in[q[1]].f.Bins()))
		add(p.Tables[len(in)+i], g.two("Add", g.two("Mul", in[q[0]].bins(), stride), in[q[1]].bins()))
	}
	return z
}

// trees walks every tree to the number of its leaf: exact in the single precision that
// the operator computes in, as bins are. The leaf's value is then looked up.
func (g *graph) trees(p *model.Parameters, in []*input) string {
	var bins []string
	for _, x := range in {
		bins = append(bins, g.cast(x.bins(), onnxpb.TensorProto_FLOAT))
	}
	var tree, node, feature, left, right, leafTree, leafNode []int64
	var value, number []float32
	var modes []string
	var leaves [][]float64
	for t := range p.Trees {
		for n, x := range p.Trees[t].Nodes {
			mode := "LEAF"
			switch {
			case x.Left == 0:
				leafTree, leafNode, number = append(leafTree, int64(t)), append(leafNode, int64(n)), append(number, float32(len(leaves)))
				leaves = append(leaves, []float64{x.Value})
			case x.Equal:
				mode = "BRANCH_EQ"
			default:
				mode = "BRANCH_LT"
			}
			tree, node, feature, modes = append(tree, int64(t)), append(node, int64(n)), append(feature, int64(x.Feature)), append(modes, mode)
			left, right, value = append(left, int64(x.Left)), append(right, int64(x.Right)), append(value, float32(x.Bin))
		}
	}
	// One target per tree: what the operator would add up is a number and zeros.
	found := g.ops(ml, "TreeEnsembleRegressor", []string{g.join(bins)}, 1,
		integers("nodes_treeids", tree), integers("nodes_nodeids", node), integers("nodes_featureids", feature), floats("nodes_values", value), texts("nodes_modes", modes...),
		integers("nodes_truenodeids", left), integers("nodes_falsenodeids", right),
		integers("target_treeids", leafTree), integers("target_nodeids", leafNode), integers("target_ids", leafTree), floats("target_weights", number),
		integer("n_targets", int64(len(p.Trees))), text("aggregate_function", "SUM"), text("post_transform", "NONE"))[0]
	number64 := g.cast(found, onnxpb.TensorProto_INT64)
	each := []string{number64}
	if len(p.Trees) > 1 {
		each = g.ops("", "Split", []string{number64}, len(p.Trees), integer("axis", 1))
	}
	table := make([]float64, len(leaves))
	for i, x := range leaves {
		table[i] = x[0]
	}
	values := g.numbers([]int64{int64(len(table))}, table...)
	sum := g.number(0)
	for _, leaf := range each {
		sum = g.two("Add", sum, g.two("Gather", values, leaf))
	}
	return g.two("Mul", sum, g.number(1/float64(len(p.Trees))))
}

func (g *graph) nearest(p *model.Parameters, in []*input) string {
	var columns, distances []string
	for _, x := range in {
		columns = append(columns, x.indicators())
	}
	x := g.join(columns)
	for _, c := range p.Centres {
		away := g.two("Sub", x, g.numbers([]int64{1, int64(len(c))}, c...))
		distances = append(distances, g.sumRows(g.two("Mul", away, away)))
	}
	return g.cast(g.op("ArgMin", []string{g.join(distances)}, integer("axis", 1)), onnxpb.TensorProto_DOUBLE)
}

// inUnit brings the score of a number from [-1, 1] into the label's own unit.
func (g *graph) inUnit(p *model.Parameters, v string) string {
	if p.Target.Classes != 0 {
		return v
	}
	lo, hi := float64(p.Target.Bounds[0]), float64(p.Target.Bounds[1])
	part := g.two("Mul", g.two("Div", g.two("Add", v, g.number(1)), g.number(2)), g.number(hi-lo))
	return g.two("Div", g.two("Add", g.number(lo), part), g.number(math.Pow10(p.Target.Scale)))
}
