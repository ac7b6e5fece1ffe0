package onnx

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/sandgate/sandgate/compute/model/onnx/onnxpb"
)

// ml is the domain of operators of classical machine learning.
const ml = "ai.onnx.ml"

// graph collects nodes. Every value is named by a string, as in the format.
type graph struct {
	out   onnxpb.GraphProto
	taken map[string]bool // names of inputs and outputs
	made  int
}

// free is a name that nothing has.
func (g *graph) free() string {
	for {
		g.made++
		if name := fmt.Sprintf("v%d", g.made); !g.taken[name] {
			return name
		}
	}
}

// op adds an operator and names its first output.
func (g *graph) op(kind string, inputs []string, attributes ...*onnxpb.AttributeProto) string {
	return g.ops("", kind, inputs, 1, attributes...)[0]
}

func (g *graph) ops(domain, kind string, inputs []string, outputs int, attributes ...*onnxpb.AttributeProto) []string {
	n := &onnxpb.NodeProto{OpType: &kind, Input: inputs, Attribute: attributes}
	if domain != "" {
		n.Domain = &domain
	}
	for range outputs {
		n.Output = append(n.Output, g.free())
	}
	g.out.Node = append(g.out.Node, n)
	return n.Output
}

func (g *graph) one(kind string, a string) string    { return g.op(kind, []string{a}) }
func (g *graph) two(kind string, a, b string) string { return g.op(kind, []string{a, b}) }

func (g *graph) where(condition, then, otherwise string) string {
	return g.op("Where", []string{condition, then, otherwise})
}

func (g *graph) cast(a string, to onnxpb.TensorProto_DataType) string {
	return g.op("Cast", []string{a}, integer("to", int64(to)))
}

// join puts columns side by side.
func (g *graph) join(columns []string) string {
	if len(columns) == 1 {
		return columns[0]
	}
	return g.op("Concat", columns, integer("axis", 1))
}

// rename gives a value the name of an output.
func (g *graph) rename(a, name string) {
	kind := "Identity"
	g.out.Node = append(g.out.Node, &onnxpb.NodeProto{OpType: &kind, Input: []string{a}, Output: []string{name}})
}

// number is a scalar.
func (g *graph) number(x float64) string { return g.numbers(nil, x) }

// numbers is a constant of a shape, row by row.
func (g *graph) numbers(shape []int64, x ...float64) string {
	return g.constant(&onnxpb.TensorProto{Dims: shape, DataType: proto.Int32(int32(onnxpb.TensorProto_DOUBLE)), DoubleData: x})
}

// integers is a constant of a shape.
func (g *graph) integers(shape []int64, x ...int64) string {
	return g.constant(&onnxpb.TensorProto{Dims: shape, DataType: proto.Int32(int32(onnxpb.TensorProto_INT64)), Int64Data: x})
}

func (g *graph) constant(t *onnxpb.TensorProto) string {
	name := g.free()
	t.Name = &name
	g.out.Initializer = append(g.out.Initializer, t)
	return name
}

// look takes the rows of a table whose numbers are in index, one per row.
func (g *graph) look(table [][]float64, index string) string {
	var flat []float64
	for _, row := range table {
		flat = append(flat, row...)
	}
	t := g.numbers([]int64{int64(len(table)), int64(len(table[0]))}, flat...)
	// Rows × 1 × columns, of which the middle goes.
	return g.two("Squeeze", g.two("Gather", t, index), g.integers([]int64{1}, 1))
}

// sumRows adds up each row.
func (g *graph) sumRows(a string) string { return g.two("ReduceSum", a, g.integers([]int64{1}, 1)) }

func integer(name string, v int64) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: &name, Type: onnxpb.AttributeProto_INT.Enum(), I: &v}
}

func integers(name string, v []int64) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: &name, Type: onnxpb.AttributeProto_INTS.Enum(), Ints: v}
}

func floats(name string, v []float32) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: &name, Type: onnxpb.AttributeProto_FLOATS.Enum(), Floats: v}
}

func texts(name string, v ...string) *onnxpb.AttributeProto {
	a := &onnxpb.AttributeProto{Name: &name, Type: onnxpb.AttributeProto_STRINGS.Enum()}
	for _, s := range v {
		a.Strings = append(a.Strings, []byte(s))
	}
	return a
}

func text(name, v string) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: &name, Type: onnxpb.AttributeProto_STRING.Enum(), S: []byte(v)}
}
