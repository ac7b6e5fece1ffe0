package query

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/protect"
)

// Encode is a plan as a brief holds it (federate.QueryBrief.Plan): without Ranks, which
// are each domain's own.
func Encode(plan *protect.Plan) (json.RawMessage, error) {
	p := *plan
	p.Ranks = nil
	return json.Marshal(p)
}

// Decode reads the plan of a brief, for a party that has no catalogue to make its own
// from. That it is the plan of the proposal, Fits says; that it is the right one, the
// contributors, whose own must have the same digest. Its cells are counted before anything
// is laid out by them.
func Decode(text json.RawMessage) (*protect.Plan, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	plan := &protect.Plan{}
	if err := dec.Decode(plan); err != nil {
		return nil, errors.New("the plan of the brief is malformed")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("bytes follow the plan of the brief")
	}
	if plan.Ranks != nil || len(plan.Measures) == 0 || len(plan.Measures) > federate.MaxCells {
		return nil, errors.New("the plan of the brief has ranks, or no measures, or too many")
	}
	cells := len(plan.Measures)
	for _, k := range plan.Keys {
		n := len(k.Codes)
		if k.Nullable {
			n++
		}
		if n < 1 || cells > federate.MaxCells/n {
			return nil, errors.New("the plan of the brief has too many cells, or a key without codes")
		}
		cells *= n
	}
	noised := false
	for _, m := range plan.Measures {
		if m.Sigma2 == nil || m.Sens2 == nil || m.Sigma2.Sign() < 0 || m.Sens2.Sign() < 0 {
			return nil, errors.New("a measure of the brief's plan has no noise")
		}
		noised = noised || m.Sigma2.Sign() > 0
	}
	if !noised {
		return nil, errors.New("no measure of the brief's plan has noise")
	}
	return plan, nil
}
