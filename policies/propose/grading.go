package propose

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/sandgate/sandgate/policies"
)

// Grading writes a report as a Grading document for a department to read, correct
// and sign. Every level carries the reason it was proposed for. It parses as it
// stands, and holds nothing of the file but names of columns.
func (r Report) Grading(department, dataset string) ([]byte, error) {
	if department == "" || dataset == "" {
		return nil, errors.New("failed to write the proposal: a department and a data set are needed")
	}
	scalar := func(v string) *yaml.Node {
		n := &yaml.Node{}
		n.SetString(v)
		return n
	}
	columns := &yaml.Node{Kind: yaml.MappingNode}
	for _, c := range r.Columns {
		level := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(c.Level), LineComment: fmt.Sprintf("# proposed: %s · %s", c.Why.ZH, c.Why.EN)}
		columns.Content = append(columns.Content, scalar(c.Name), level)
	}
	doc := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{
		scalar("kind"), scalar(string(policies.KindGrading)),
		scalar("department"), scalar(department),
		scalar("scheme"), scalar(policies.SchemeGBT43697),
		scalar("levels"), {Kind: yaml.MappingNode, Content: []*yaml.Node{scalar(dataset), columns}},
	}}
	doc.HeadComment = "# 分级建议，未签名：逐列核对、修改后由数源部门签名（sandgate policy sign）。\n" +
		"# A proposal, not signed: check and correct every column, then the department signs it."
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return nil, fmt.Errorf("failed to write the proposal: %w", err)
	}
	if _, err := policies.ParseBundle(out.Bytes()); err != nil {
		return nil, fmt.Errorf("failed to write the proposal: %w", err)
	}
	return out.Bytes(), nil
}
