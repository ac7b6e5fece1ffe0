package onnx

import (
	"math"

	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/model/onnx/onnxpb"
)

// input is a feature in the graph. Parts that a family does not ask for are not made.
type input struct {
	g       *graph
	f       model.Feature
	clamped string // of a number, once it is asked for
	absent  string // of a number: whether it is missing
	bin     string // rows × 1
	refused string // whether the scorer would refuse the row; "" if it never does
}

// read makes an input of a feature, named by its column.
func (g *graph) read(f model.Feature) *input {
	in := &input{g: g, f: f}
	if f.Kind == model.KindCategory {
		in.category()
	} else {
		in.number()
	}
	return in
}

func (in *input) number() {
	g, f := in.g, in.f
	in.absent = g.one("IsNaN", f.Column)
	if !f.Nullable {
		in.refused = in.absent
	}
}

// units is the number in minimal units, within its bounds: rows × 1.
func (in *input) units() string {
	if in.clamped == "" {
		g, f, x := in.g, in.f, in.f.Column
		if f.Scale > 0 {
			x = g.two("Mul", x, g.number(math.Pow10(f.Scale)))
		}
		in.clamped = g.op("Clip", []string{g.one("Round", x), g.number(float64(f.Bounds[0])), g.number(float64(f.Bounds[1]))})
	}
	return in.clamped
}

func (in *input) category() {
	g, f := in.g, in.f
	keys, values := append([]string(nil), f.Codes...), []int64(nil)
	if f.Nullable {
		keys = append(keys, "")
	}
	for i := range keys {
		values = append(values, int64(i))
	}
	code := g.ops(ml, "LabelEncoder", []string{f.Column}, 1, texts("keys_strings", keys...), integers("values_int64s", values), integer("default_int64", -1))[0]
	zero := g.integers(nil, 0)
	in.refused = g.two("Less", code, zero)
	in.bin = g.two("Max", code, zero)
}

// bins is the number of the feature's bin.
func (in *input) bins() string {
	if in.bin != "" {
		return in.bin
	}
	g, f := in.g, in.f
	bin := ""
	if len(f.Edges) == 0 {
		bin = g.integers([]int64{1, 1}, 0)
	} else {
		var edges []float64
		for _, e := range f.Edges {
			edges = append(edges, float64(e))
		}
		reached := g.two("GreaterOrEqual", in.units(), g.numbers([]int64{1, int64(len(edges))}, edges...))
		bin = g.sumRows(g.cast(reached, onnxpb.TensorProto_INT64))
	}
	in.bin = g.where(in.absent, g.integers([]int64{1, 1}, int64(f.Bins()-1)), bin)
	return in.bin
}

// scaled is the number from its bounds to [-1, 1], in single precision as rows are
// held, and 0 when missing.
func (in *input) scaled() string {
	g, lo, hi := in.g, in.f.Bounds[0], in.f.Bounds[1]
	x := g.two("Mul", g.two("Sub", in.units(), g.number(float64(lo))), g.number(2/float64(hi-lo)))
	x = g.cast(g.cast(g.two("Sub", x, g.number(1)), onnxpb.TensorProto_FLOAT), onnxpb.TensorProto_DOUBLE)
	return g.where(in.absent, g.number(0), x)
}

// slots are how many columns of the design matrix the feature has.
func slots(f model.Feature) int {
	n := 1
	if f.Kind == model.KindCategory {
		n = len(f.Codes) - 1
	}
	if f.Nullable {
		n++
	}
	return n
}

// indicators are the columns of the design matrix: rows × slots.
func (in *input) indicators() string {
	if in.f.Kind == model.KindNumber {
		columns := []string{in.scaled()}
		if in.f.Nullable {
			columns = append(columns, in.g.cast(in.absent, onnxpb.TensorProto_DOUBLE))
		}
		return in.g.join(columns)
	}
	table := make([][]float64, in.f.Bins())
	for bin := range table {
		table[bin] = make([]float64, slots(in.f))
		if bin > 0 && bin-1 < len(table[bin]) {
			table[bin][bin-1] = 1
		}
	}
	return in.g.look(table, in.bin)
}

// weighted is the feature's part of linear sums: rows × outputs. weights are those of
// its slots, by output.
func (in *input) weighted(weights [][]float64) string {
	g, outputs := in.g, int64(len(weights))
	column := func(slot int) []float64 {
		out := make([]float64, outputs)
		for k := range out {
			if slot >= 0 && slot < len(weights[k]) {
				out[k] = weights[k][slot]
			}
		}
		return out
	}
	if in.f.Kind == model.KindCategory {
		// The first code has no slot, and where nothing may be missing nor has that.
		table := make([][]float64, in.f.Bins())
		for bin := range table {
			table[bin] = column(bin - 1)
		}
		return g.look(table, in.bin)
	}
	z := g.two("Mul", in.scaled(), g.numbers([]int64{1, outputs}, column(0)...))
	if !in.f.Nullable {
		return z
	}
	return g.where(in.absent, g.numbers([]int64{1, outputs}, column(1)...), z)
}
