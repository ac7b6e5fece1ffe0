package gateway

import (
	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/policies"
)

// TargetError asks for the 95 % half-width of one output, in its own unit, in a
// cell of Values values. An empty Column means every aggregate.
type TargetError struct {
	Column    string
	HalfWidth string
	Values    int64
}

// defaultValues is the size of the cell that an error is asked for or shown for,
// where it depends on it and none is named.
const defaultValues = 1000

// priceTargets sets the request's price to the least that meets every target. It
// reads public facts only; what cannot be met is a refusal of the query, ledgered
// like any other. Policy is decided after, and does not depend on the price.
func (d *Domain) priceTargets(p *prepared, targets []TargetError) error {
	if len(targets) == 0 || len(p.analysis) > 0 {
		return nil
	}
	if p.request.Price != 0 {
		return invalid("TARGET_AND_PRICE", "价格与目标误差只能给出一个", "give a price or a target error, not both")
	}
	var facts []protect.Facts
	var reason *policies.Reason
	d.log.View(func() { facts, _, reason = d.state.Facts(p.query.Core) })
	if reason != nil {
		return nil // decide refuses it, with every other reason
	}
	plan, reason := protect.Build(p.query.Core, facts, facts[0].QueryMaxRho)
	if reason != nil {
		return nil
	}
	wanted, err := targetsOf(p.query, plan, targets)
	if err != nil {
		return err
	}
	price, reason := protect.PriceForAll(p.query.Core, facts, wanted)
	if reason != nil {
		p.analysis = []policies.Reason{*reason}
		return nil
	}
	p.request.Price = price
	return nil
}

// targetsOf resolves names and units.
func targetsOf(q algebra.Query, plan *protect.Plan, targets []TargetError) ([]protect.Target, error) {
	var out []protect.Target
	errs := plan.ExpectedError()
	for _, t := range targets {
		met := false
		for i, e := range errs {
			if t.Column != "" && t.Column != outputName(q, len(q.Core.Keys)+i) {
				continue
			}
			met = true
			half, err := e.Units(t.HalfWidth)
			if err != nil {
				return nil, invalid("TARGET_ERROR", "目标误差须是正的十进制数，例如 50 或 12.5", "a target error is a positive decimal such as 50 or 12.5")
			}
			if half.Sign() < 1 {
				return nil, invalid("TARGET_UNIT", "目标误差小于该列的最小单位；误差按最小单位计，至少为一个", "the target error is finer than the column's smallest unit, in which errors are counted: ask for one unit at least")
			}
			n := t.Values
			if n == 0 {
				n = defaultValues
			}
			if n < 1 {
				return nil, invalid("TARGET_VALUES", "组内值数须为正数", "the number of values must be positive")
			}
			out = append(out, protect.Target{Output: i, Half: half, Values: n})
		}
		if !met {
			return nil, invalid("TARGET_COLUMN", "目标误差所指的列不是本查询的聚合列", "the target error names no aggregate of this query")
		}
	}
	return out, nil
}
