// Package trial makes a trained model ready for the release gate: it puts the units
// that were trained on and those that were held out together again, says what the
// model holds, and lends the gate the trainer. It is pure.
package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/model/gate"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/policies"
)

// New is the trial of a model on the units it was made of and those that were held out.
func New(design model.Design, split model.Split, p *model.Parameters) (gate.Trial, error) {
	digest := design.Digest()
	if p.Design != fmt.Sprintf("%x", digest[:]) {
		return gate.Trial{}, errors.New("failed to prepare the gate: the parameters are of another design")
	}
	scorer, err := target(p)
	if err != nil {
		return gate.Trial{}, err
	}
	plan, err := design.Plan()
	if err != nil {
		return gate.Trial{}, err
	}
	data, members := together(split)
	t := gate.Trial{Design: design, Data: data, Members: members, Target: scorer, Structure: structure(design, p), Train: trainer(design)}
	if design.Spec.Private {
		t.Rho = plan.Price()
	}
	return t, nil
}

// together puts held-out units behind those that were trained on.
func together(s model.Split) (*model.Data, []bool) {
	d := &model.Data{Count: s.Train.Count + s.Held.Count, Units: slices.Clone(s.Train.Units), Label: append(slices.Clone(s.Train.Label), s.Held.Label...)}
	for _, u := range s.Held.Units {
		d.Units = append(d.Units, u+int32(s.Train.Count))
	}
	for f := range s.Train.Bins {
		d.Bins = append(d.Bins, append(slices.Clone(s.Train.Bins[f]), s.Held.Bins[f]...))
		var values []float32
		if s.Train.Values[f] != nil {
			values = append(slices.Clone(s.Train.Values[f]), s.Held.Values[f]...)
		}
		d.Values = append(d.Values, values)
	}
	for g := range s.Train.Groups {
		d.Groups = append(d.Groups, append(slices.Clone(s.Train.Groups[g]), s.Held.Groups[g]...))
	}
	members := make([]bool, d.Count)
	for u := range s.Train.Count {
		members[u] = true
	}
	return d, members
}

// trainer trains shadows as the target was trained: the same passes at the same price,
// with noise from rnd. The noise of shadows protects nobody; it makes them alike.
func trainer(design model.Design) gate.Trainer {
	return func(ctx context.Context, members []bool, data *model.Data, rnd io.Reader) (model.Scorer, error) {
		oracle := model.Local(data, design, members)
		if design.Spec.Private {
			oracle = model.Noised(oracle, func(sums []int64, norm int64, rho budget.Nano) ([]int64, error) {
				return release.Sums(sums, norm, rho, rnd)
			})
		}
		p, err := model.Train(ctx, design, oracle, nil)
		if err != nil {
			return nil, err
		}
		return target(p)
	}
}

// target is the scorer of parameters, with its centres where it has some.
func target(p *model.Parameters) (model.Scorer, error) {
	s, err := p.Scorer()
	if err != nil || p.Family != policies.FamilyKMeans {
		return s, err
	}
	return centred{s, centres(p)}, nil
}

// centred is a clustering as the gate knows it.
type centred struct {
	model.Scorer
	centres [][]float64
}

// Centres implements gate.Centred.
func (c centred) Centres() [][]float64 { return c.centres }

// centres are those of a clustering in the space of its number features.
func centres(p *model.Parameters) [][]float64 {
	var out [][]float64
	for _, c := range p.Centres {
		at := 0
		var point []float64
		for _, f := range p.Features {
			if f.Kind == model.KindNumber {
				point = append(point, c[at])
				at++
			} else {
				at += len(f.Codes) - 1
			}
			if f.Nullable {
				at++
			}
		}
		out = append(out, point)
	}
	return out
}

// structure is what a model holds.
func structure(d model.Design, p *model.Parameters) gate.Structure {
	s := gate.Structure{Family: p.Family, Parameters: p.Count()}
	for i, f := range p.Features {
		for _, c := range f.Codes {
			s.Constants = append(s.Constants, gate.Constant{Feature: i, Code: c, IsCode: true})
		}
		for _, e := range f.Edges {
			s.Constants = append(s.Constants, gate.Constant{Feature: i, Number: e})
		}
		if f.Kind == model.KindNumber {
			s.Constants = append(s.Constants, gate.Constant{Feature: i, Number: f.Bounds[0]}, gate.Constant{Feature: i, Number: f.Bounds[1]})
		}
	}
	for _, c := range slices.Concat(p.Target.Codes, p.Target.Positive) {
		s.Constants = append(s.Constants, gate.Constant{Feature: -1, Code: c, IsCode: true})
	}
	if p.Target.Threshold != nil {
		s.Constants = append(s.Constants, gate.Constant{Feature: -1, Number: *p.Target.Threshold})
	}
	for i := range p.Trees {
		leaves(&p.Trees[i], 0, nil, &s.Cells)
	}
	if p.Family == policies.FamilyAdditive && !d.Spec.Private {
		// A bin that says nothing of its own holds nobody.
		for i := range p.Features {
			for b, v := range p.Tables[i] {
				if v != 0 {
					s.Cells = append(s.Cells, gate.Cell{{Feature: i, Bin: b, Equal: true}})
				}
			}
		}
	}
	if p.Family == policies.FamilyKMeans {
		s.Points = centres(p)
	}
	return s
}

// leaves lists the leaves below a node as the conditions on the way to them.
func leaves(t *model.Tree, at int, way gate.Cell, out *[]gate.Cell) {
	n := t.Nodes[at]
	if n.Left == 0 {
		if len(way) > 0 {
			*out = append(*out, slices.Clone(way))
		}
		return
	}
	c := gate.Condition{Feature: n.Feature, Bin: n.Bin, Equal: n.Equal}
	leaves(t, n.Left, append(slices.Clone(way), c), out)
	c.Not = true
	leaves(t, n.Right, append(slices.Clone(way), c), out)
}
