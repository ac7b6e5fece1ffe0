package gate

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

// Noise adds the noise of a price to the exact sums of a pass; release.Sums does.
type Noise func(exact []int64, norm int64, rho budget.Nano, rnd io.Reader) ([]int64, error)

// NewTrial is the trial of a model that package model trained on the training part of
// a split. Noise may be nil when the design is not private.
func NewTrial(d model.Design, s model.Split, p *model.Parameters, noise Noise) (Trial, error) {
	if s.Train == nil || s.Held == nil || p == nil {
		return Trial{}, fmt.Errorf("failed to read the trial: both parts of the split and the parameters are needed")
	}
	plan, err := d.Plan()
	if err != nil {
		return Trial{}, fmt.Errorf("failed to price the trial: %w", err)
	}
	scorer, err := scorerOf(p)
	if err != nil {
		return Trial{}, err
	}
	data, members := Together(s)
	return Trial{Design: d, Data: data, Members: members, Target: scorer, Structure: StructureOf(p), Rho: plan.Price(), Train: TrainerOf(d, noise)}, nil
}

// Together lays both parts of a split into one, and says which units are in training.
func Together(s model.Split) (*model.Data, []bool) {
	data := joined(s.Train, s.Held)
	members := make([]bool, data.Count)
	for u := range s.Train.Count {
		members[u] = true
	}
	return data, members
}

// TrainerOf trains as package model does, on exact sums, with noise where the design is
// private.
func TrainerOf(d model.Design, noise Noise) Trainer {
	return func(ctx context.Context, members []bool, data *model.Data, rnd io.Reader) (model.Scorer, error) {
		oracle := model.Local(data, d, members)
		if d.Spec.Private {
			if noise == nil {
				return nil, fmt.Errorf("failed to train: a private model needs noise")
			}
			oracle = model.Noised(oracle, func(sums []int64, norm int64, rho budget.Nano) ([]int64, error) { return noise(sums, norm, rho, rnd) })
		}
		p, err := model.Train(ctx, d, oracle, nil)
		if err != nil {
			return nil, err
		}
		return scorerOf(p)
	}
}

// centred tells how far each row is from the nearest centre, over all that a centre
// holds: numbers, and the shares of codes.
type centred struct {
	model.Scorer
	p *model.Parameters
}

// Distances implements Centred.
func (c centred) Distances(d *model.Data, out []float64) {
	var x []float64
	for r := range out {
		x = x[:0]
		for f, feature := range c.p.Features {
			bin := int(d.Bins[f][r])
			if feature.Kind == model.KindNumber {
				x = append(x, float64(d.Values[f][r]))
			} else {
				for code := 1; code < len(feature.Codes); code++ {
					x = append(x, indicator(bin == code))
				}
			}
			if feature.Nullable {
				x = append(x, indicator(bin == feature.Bins()-1))
			}
		}
		best := math.Inf(1)
		for _, centre := range c.p.Centres {
			best = min(best, distance(centre, x))
		}
		out[r] = math.Sqrt(best)
	}
}

func indicator(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func scorerOf(p *model.Parameters) (model.Scorer, error) {
	s, err := p.Scorer()
	if err != nil {
		return nil, fmt.Errorf("failed to read the model: %w", err)
	}
	if p.Family == policies.FamilyKMeans {
		return centred{s, p}, nil
	}
	return s, nil
}

// centresOf takes the number features out of the centres, whose coordinates are the
// slots of Parameters but the intercept.
func centresOf(p *model.Parameters) [][]float64 {
	var at []int
	slots := 0
	for _, f := range p.Features {
		if f.Kind == model.KindNumber {
			at = append(at, slots)
			slots++
		} else {
			slots += len(f.Codes) - 1
		}
		if f.Nullable {
			slots++
		}
	}
	var out [][]float64
	for _, c := range p.Centres {
		x := make([]float64, len(at))
		for i, j := range at {
			x[i] = math.NaN()
			if j < len(c) {
				x[i] = c[j]
			}
		}
		out = append(out, x)
	}
	return out
}

// StructureOf is what a parameter file holds.
func StructureOf(p *model.Parameters) Structure {
	s := Structure{Family: p.Family, Parameters: p.Count(), Points: centresOf(p)}
	for i, f := range p.Features {
		for _, n := range f.Edges {
			s.Constants = append(s.Constants, Constant{Feature: i, Number: n})
		}
		for _, c := range f.Codes {
			s.Constants = append(s.Constants, Constant{Feature: i, Code: c, IsCode: true})
		}
		if f.Kind == model.KindNumber {
			s.Constants = append(s.Constants, Constant{Feature: i, Number: f.Bounds[0]}, Constant{Feature: i, Number: f.Bounds[1]})
		}
	}
	t := p.Target
	for _, c := range append(slices.Clone(t.Codes), t.Positive...) {
		s.Constants = append(s.Constants, Constant{Feature: -1, Code: c, IsCode: true})
	}
	if t.Threshold != nil {
		s.Constants = append(s.Constants, Constant{Feature: -1, Number: *t.Threshold})
	}
	if t.Bounds[0] < t.Bounds[1] {
		s.Constants = append(s.Constants, Constant{Feature: -1, Number: t.Bounds[0]}, Constant{Feature: -1, Number: t.Bounds[1]})
	}
	for i := range p.Trees {
		s.Cells = append(s.Cells, leavesOf(&p.Trees[i], 0, nil)...)
	}
	// The cells of an additive model are not listed: none is learned from fewer than ten
	// units, and that one stands beside a listed code would be told by the verdict.
	return s
}

func leavesOf(t *model.Tree, node int, path Cell) []Cell {
	n := t.Nodes[node]
	if n.Left == 0 {
		return []Cell{slices.Clone(path)}
	}
	left := append(slices.Clone(path), Condition{Feature: n.Feature, Bin: n.Bin, Equal: n.Equal})
	right := append(slices.Clone(path), Condition{Feature: n.Feature, Bin: n.Bin, Equal: n.Equal, Not: true})
	return append(leavesOf(t, n.Left, left), leavesOf(t, n.Right, right)...)
}
