package onnx

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/model/onnx/onnxpb"
	"github.com/sandgate/sandgate/policies"
)

// R02: an exported model is one that any reader of the format takes: names are made
// once, before they are used, every operator is of the version named, equal parameters
// give equal bytes, and it holds what the file holds.
func TestR02ExportedForm(t *testing.T) {
	known := []string{"Add", "ArgMin", "Cast", "Clip", "Concat", "Div", "Exp", "Gather", "GreaterOrEqual", "Identity", "IsNaN", "LabelEncoder", "Less", "Max", "Mul", "Neg", "Or",
		"ReduceMax", "ReduceSum", "Round", "Split", "Squeeze", "Sub", "TreeEnsembleRegressor", "Where"}
	for name, p := range made() {
		m, err := Export(p)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if again, err := Export(p); err != nil || !bytes.Equal(again.Content, m.Content) {
			t.Errorf("%s: exported again it differs (%v)", name, err)
		}
		var x onnxpb.ModelProto
		if err := proto.Unmarshal(m.Content, &x); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		made, used := map[string]bool{}, map[string]bool{}
		take := func(s string) {
			if made[s] || s == "" {
				t.Errorf("%s: %q is made twice", name, s)
			}
			made[s] = true
		}
		for i, in := range x.GetGraph().GetInput() {
			take(in.GetName())
			if in.GetName() != p.Features[i].Column || m.Inputs[i].Name != in.GetName() || !strings.Contains(in.GetDocString(), m.Inputs[i].EN) {
				t.Errorf("%s: input %d is %q", name, i, in.GetName())
			}
		}
		for _, c := range x.GetGraph().GetInitializer() {
			take(c.GetName())
			n := int64(1)
			for _, d := range c.GetDims() {
				n *= d
			}
			if n != int64(len(c.GetDoubleData())+len(c.GetInt64Data())) {
				t.Errorf("%s: a constant does not have its shape", name)
			}
		}
		for _, n := range x.GetGraph().GetNode() {
			if !slices.Contains(known, n.GetOpType()) {
				t.Errorf("%s: operator %s", name, n.GetOpType())
			}
			for _, in := range n.GetInput() {
				if !made[in] {
					t.Errorf("%s: %s reads %q before it is made", name, n.GetOpType(), in)
				}
				used[in] = true
			}
			for _, out := range n.GetOutput() {
				take(out)
			}
		}
		for _, out := range x.GetGraph().GetOutput() {
			if !made[out.GetName()] {
				t.Errorf("%s: output %q is not made", name, out.GetName())
			}
			used[out.GetName()] = true
		}
		for s := range made {
			if !used[s] {
				t.Errorf("%s: %q is not used", name, s)
			}
		}
		digest, err := p.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(x.GetMetadataProps(), func(e *onnxpb.StringStringEntryProto) bool { return e.GetKey() == "sandgate.digest" }); i < 0 || x.GetMetadataProps()[i].GetValue() != digest {
			t.Errorf("%s: the digest of the parameter file is not in it", name)
		}
		if got := []string{m.Outputs[0].Name, m.Outputs[1].Name}; !slices.Equal(got, []string{"score_", "rounded"}) {
			t.Errorf("%s: outputs %q beside a column score", name, got)
		}
	}
}

// What would not score equally is refused and named.
func TestExportRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		edit       func(*model.Parameters)
		code, says string
	}{
		"bounds":     {func(p *model.Parameters) { p.Features[3].Bounds[1]++ }, CodeColumn, `"wide"`},
		"low bounds": {func(p *model.Parameters) { p.Features[3].Bounds[0]-- }, CodeColumn, `"wide"`},
		"empty code": {func(p *model.Parameters) { p.Features[5].Codes[2] = "" }, CodeColumn, `"区县"`},
		"twice":      {func(p *model.Parameters) { p.Features[4].Column = "age" }, CodeColumn, `"age"`},
		"family":     {func(p *model.Parameters) { p.Family = "svm" }, model.CodeParameter, "family"},
		"parameters": {func(p *model.Parameters) { p.Coefficients[0] = nil }, model.CodeParameter, "number"},
	} {
		p := made()["logistic"]
		c.edit(p)
		m, err := Export(p)
		if r := (*policies.Reason)(nil); m != nil || !errors.As(err, &r) || r.Code != c.code || !strings.Contains(r.EN, c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A family that the file may come to have and this package does not know.
	g := &graph{taken: map[string]bool{}}
	if s := g.score(&model.Parameters{Family: "module"}, nil); s != "" {
		t.Errorf("an unknown family scores %q", s)
	}
}
