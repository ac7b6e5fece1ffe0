package onnx

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/model/onnx/onnxpb"
	"github.com/sandgate/sandgate/policies"
)

// Codes of refusals.
const (
	CodeFamily = "MODEL_EXPORT_FAMILY" // a family without an equal in ONNX
	CodeColumn = "MODEL_EXPORT_COLUMN" // a feature that an ONNX input cannot carry exactly
)

// Versions that the model asks for: those of ONNX 1.12.
const (
	irVersion = 8
	opset     = 17
	opsetML   = 3
)

// exact is the largest bound, in minimal units, of a number that a double carries with
// its decimals: 2⁵⁰ keeps v·10^scale within half a unit.
const exact = int64(1) << 50

// Port is an input or output of the model.
type Port struct {
	Name string
	Type string // "double" or "string"
	// ZH and EN say what the values are.
	ZH, EN string
}

// Model is a parameter file as an ONNX model. Inputs are rows × 1, outputs rows ×
// Columns.
type Model struct {
	Content []byte // ModelProto
	Inputs  []Port
	// Outputs are the score in the label's units, and the same with two digits.
	Outputs []Port
	// Columns are how many numbers a score has: one, or one per class but the first.
	Columns int
}

// Export writes parameters as an ONNX model. Equal parameters give equal bytes. What
// cannot be carried over with equal scores is a *policies.Reason that names it.
func Export(p *model.Parameters) (*Model, error) {
	scorer, err := p.Scorer() // which holds them to the format
	if err != nil {
		return nil, err
	}
	digest, err := p.Digest()
	if err != nil {
		return nil, err
	}
	g := &graph{taken: map[string]bool{}}
	m := &Model{Columns: scorer.Width()}
	for _, f := range p.Features {
		if err := carried(f); err != nil {
			return nil, err
		}
		if g.taken[f.Column] {
			return nil, reason(CodeColumn, "列 %q 是两个特征，ONNX 的输入须各有其名", "column %q is two features, and inputs of ONNX have names of their own", f.Column)
		}
		g.taken[f.Column] = true
		port := portOf(f)
		m.Inputs = append(m.Inputs, port)
		g.out.Input = append(g.out.Input, value(port, 1))
	}
	score := Port{Type: "double", ZH: "未取整的分值", EN: "the score, not rounded"}
	rounded := Port{Type: "double", ZH: "保留两位小数的分值", EN: "the score with two digits"}
	if p.Family == policies.FamilyKMeans {
		score.ZH, score.EN = "簇的序号，从 0 起", "the number of the cluster, from 0"
		rounded.ZH, rounded.EN = score.ZH, score.EN
	}
	for _, o := range []struct {
		port *Port
		name string
	}{{&score, "score"}, {&rounded, "rounded"}} {
		// A column may be called so.
		for o.port.Name = o.name; g.taken[o.port.Name]; {
			o.port.Name += "_"
		}
		g.taken[o.port.Name] = true
	}
	m.Outputs = []Port{score, rounded}

	var in []*input
	for _, f := range p.Features {
		in = append(in, g.read(f))
	}
	result := g.score(p, in)
	if result == "" {
		return nil, reason(CodeFamily, "模型族 %q 在 ONNX 中没有分值相同的写法", "family %q has no form in ONNX with equal scores", string(p.Family))
	}
	result = g.refuse(result, in)
	g.rename(result, score.Name)
	hundred := g.number(100)
	g.rename(g.two("Div", g.one("Round", g.two("Mul", result, hundred)), hundred), rounded.Name)
	for _, o := range m.Outputs {
		g.out.Output = append(g.out.Output, value(o, int64(m.Columns)))
	}
	g.out.Name = proto.String("sandgate-" + string(p.Family))

	m.Content, err = encode(&g.out, p, digest)
	return m, err
}

// refuse makes NaN of what the scorer refuses.
func (g *graph) refuse(score string, in []*input) string {
	refused := ""
	for _, x := range in {
		switch {
		case x.refused == "":
		case refused == "":
			refused = x.refused
		default:
			refused = g.two("Or", refused, x.refused)
		}
	}
	if refused == "" {
		return score
	}
	return g.where(refused, g.number(math.NaN()), score)
}

func encode(g *onnxpb.GraphProto, p *model.Parameters, digest string) ([]byte, error) {
	classes, err := json.Marshal(p.Target.Codes)
	if err != nil {
		return nil, fmt.Errorf("failed to encode classes: %w", err)
	}
	note := func(k, v string) *onnxpb.StringStringEntryProto {
		return &onnxpb.StringStringEntryProto{Key: &k, Value: &v}
	}
	x := &onnxpb.ModelProto{
		IrVersion: proto.Int64(irVersion), ProducerName: proto.String("sandgate"), Graph: g,
		OpsetImport:   []*onnxpb.OperatorSetIdProto{{Domain: proto.String(""), Version: proto.Int64(opset)}, {Domain: proto.String(ml), Version: proto.Int64(opsetML)}},
		MetadataProps: []*onnxpb.StringStringEntryProto{note("sandgate.format", model.Format), note("sandgate.digest", digest), note("sandgate.family", string(p.Family))},
	}
	if p.Target.Column != "" {
		x.MetadataProps = append(x.MetadataProps, note("sandgate.label", p.Target.Column))
	}
	if p.Family == policies.FamilySoftmax {
		x.MetadataProps = append(x.MetadataProps, note("sandgate.classes", string(classes)))
	}
	out, err := proto.MarshalOptions{Deterministic: true}.Marshal(x)
	if err != nil {
		return nil, fmt.Errorf("failed to encode model: %w", err)
	}
	return out, nil
}

// carried says whether a feature's values pass an ONNX input unchanged.
func carried(f model.Feature) error {
	if f.Kind == model.KindNumber && (f.Bounds[0] < -exact || f.Bounds[1] > exact) {
		return reason(CodeColumn, "列 %q 的登记范围超过 2⁵⁰ 个最小单位，双精度数不能准确表示", "the bounds of column %q pass 2⁵⁰ minimal units, which doubles do not carry exactly", f.Column)
	}
	if slices.Contains(f.Codes, "") {
		return reason(CodeColumn, "列 %q 的代码表中有空代码，与缺失无法区分", "the code list of column %q holds the empty code, which cannot be told from missing", f.Column)
	}
	return nil
}

func portOf(f model.Feature) Port {
	p := Port{Name: f.Column, Type: "double"}
	switch {
	case f.Kind == model.KindCategory:
		p.Type, p.ZH, p.EN = "string", "代码表中的代码", "a code of the code list"
	case f.Type == algebra.Date:
		p.ZH, p.EN = "1970-01-01 起的天数", "days since 1970-01-01"
	default:
		p.ZH, p.EN = "目录写法的数值", "a number as the catalogue writes it"
	}
	switch {
	case !f.Nullable:
		p.ZH, p.EN = p.ZH+"，不可缺失", p.EN+", never missing"
	case p.Type == "string":
		p.ZH, p.EN = p.ZH+"，空串为缺失", p.EN+", empty when missing"
	default:
		p.ZH, p.EN = p.ZH+"，NaN 为缺失", p.EN+", NaN when missing"
	}
	return p
}

// value describes a port, of any number of rows.
func value(p Port, columns int64) *onnxpb.ValueInfoProto {
	kind := onnxpb.TensorProto_DOUBLE
	if p.Type == "string" {
		kind = onnxpb.TensorProto_STRING
	}
	shape := &onnxpb.TensorShapeProto{Dim: []*onnxpb.TensorShapeProto_Dimension{
		{Value: &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: "rows"}}, {Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: columns}}}}
	return &onnxpb.ValueInfoProto{Name: &p.Name, DocString: proto.String(p.ZH + " · " + p.EN),
		Type: &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{TensorType: &onnxpb.TypeProto_Tensor{ElemType: proto.Int32(int32(kind)), Shape: shape}}}}
}

func reason(code, zh, en, name string) *policies.Reason {
	return &policies.Reason{Code: code, Rule: "model", SetBy: "sandgate", ZH: fmt.Sprintf(zh, name), EN: fmt.Sprintf(en, name),
		HintZH: "用 sandgate model score 打分，或按 docs/model-file.md 读取参数文件", HintEN: "score with sandgate model score, or read the parameter file as docs/model-file.md describes"}
}
