package model

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"

	"github.com/sandgate/sandgate/policies"
)

// Schema is what is public of a linear model: how rows are coded, and what its scores
// are of. Every constant of it comes from the catalogue; nothing of it was learnt.
type Schema struct {
	Family   policies.ModelFamily `json:"family"` // linear, logistic or softmax
	Features []Feature            `json:"features"`
	Target   Target               `json:"target,omitzero"`
}

// Schema of a linear model; false of any other family.
func (p *Parameters) Schema() (Schema, bool) {
	return Schema{p.Family, p.Features, p.Target}, linearFamily(p.Family)
}

func linearFamily(f policies.ModelFamily) bool {
	return slices.Contains([]policies.ModelFamily{policies.FamilyLinear, policies.FamilyLogistic, policies.FamilySoftmax}, f)
}

// ParseSchema reads the JSON of a schema. Unknown fields, constants out of range and
// families that are not linear are refused.
func ParseSchema(text []byte) (*Schema, error) {
	bad := reason(CodeParameter, "不是有效的模型输入说明", "this is no valid description of a model's inputs", "向网关重新取得", "get it again from the gateway")
	if len(text) > MaxFile {
		return nil, bad
	}
	s := &Schema{}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if d.Decode(s) != nil || len(s.Features) == 0 || len(s.Features) > maxFeatures || !linearFamily(s.Family) || !s.Target.valid(s.Family) {
		return nil, bad
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, bad
	}
	for _, f := range s.Features {
		if !f.valid() {
			return nil, bad
		}
	}
	return s, nil
}

// Inputs is how many numbers a row is coded as, the intercept not counted.
func (s *Schema) Inputs() int { return len(slotsOf(s.Features)) - 1 }

// Outputs is how many sums a score follows from.
func (s *Schema) Outputs() int { return max(1, s.Target.Classes-1) }

// Columns hands out the inputs of rows, one after the other in the order of the
// coefficients: a number within [−1, 1] for each row. The slice is used again.
func (s *Schema) Columns(d *Data, each func(values []float32) error) error {
	values := make([]float32, d.Rows())
	for _, sl := range slotsOf(s.Features)[1:] {
		bins, last := d.Bins[sl.feature], uint16(s.Features[sl.feature].Bins()-1)
		clear(values)
		for r, bin := range bins {
			switch {
			case sl.what == slotValue && bin != last:
				values[r] = d.Values[sl.feature][r]
			case sl.what == slotCode && bin == sl.code, sl.what == slotMissing && bin == last:
				values[r] = 1
			}
		}
		if err := each(values); err != nil {
			return err
		}
	}
	return nil
}

// Link makes scores of the sums of one row, in place: what Scorer gives.
func (s *Schema) Link(sums []float64) {
	switch s.Family {
	case policies.FamilyLogistic:
		sums[0] = logistic(sums[0])
	case policies.FamilySoftmax:
		softmax(sums)
	default:
		sums[0] = min(max(sums[0], -1), 1)
	}
}
