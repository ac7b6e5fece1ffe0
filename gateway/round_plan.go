package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/query"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// refusedFor are the reasons of an error, one for what is nobody's rule: what a node
// refuses it says by name, and no text of another kind leaves it.
func refusedFor(err error) []policies.Reason {
	var refused *Refusal
	var reason *policies.Reason
	switch {
	case errors.As(err, &refused) && len(refused.Reasons) > 0:
		return refused.Reasons
	case errors.As(err, &reason):
		return []policies.Reason{*reason}
	}
	return []policies.Reason{{Code: "FEDERATION_INTERNAL", Rule: "federation", SetBy: "sandgate", ZH: "本节点未能处理提案", EN: "the node could not deal with the proposal"}}
}

// refusedAs is the first reason of an error, as the node names it to the others.
func refusedAs(err error) error {
	if err == nil {
		return nil
	}
	x := refusedFor(err)[0]
	return &x
}

// planRound takes the statement of a brief through the closed language to the domain's
// own plan, by its own catalogue and rules, and renders and gates it.
func (d *Domain) planRound(ctx context.Context, receiver string, b *federate.Brief) (*prepared, *query.Query, error) {
	p := &prepared{}
	canonical, err := d.analyse(ctx, receiver, p, Query{SQL: b.Query.SQL, Purpose: b.Purpose})
	switch {
	case err != nil:
		return nil, nil, err
	case len(p.analysis) > 0:
		return nil, nil, &Refusal{Reasons: p.analysis}
	case p.query.Post.Query != nil || p.request.Core == nil:
		return nil, nil, invalid("FEDERATION_POST", "跨域查询只能是可保护的核心，不含后处理", "a query over domains is protected core alone, without post-processing")
	}
	// What the columns are called and in which order they stand is signed with the answer.
	if post, err := json.Marshal(p.query.Post); err != nil || !bytes.Equal(post, b.Query.Post) {
		return nil, nil, invalid("FEDERATION_POST", "任务书所列各列的名称或次序与语句不符", "names or order of the columns in the brief are not those of its statement")
	}
	p.request.Query, p.request.Epoch = d.commitment(canonical, nil)
	var facts []protect.Facts
	var reason *policies.Reason
	d.log.View(func() { facts, p.snaps, reason = d.state.Facts(p.query.Core) })
	if reason != nil {
		return nil, nil, refusal(*reason)
	}
	price := budget.Nano(b.Query.Price)
	if p.plan, reason = protect.Build(p.query.Core, facts, price); reason != nil {
		return nil, nil, refusal(*reason)
	}
	redacted, reason := protect.Build(*p.request.Core, facts, price)
	if reason != nil {
		return nil, nil, refusal(*reason)
	}
	if p.outline, err = outlineOf(p.plan, redacted); err != nil {
		return nil, nil, err
	}
	q, err := query.New(p.plan, b.Terms, b.Salt)
	if err != nil {
		return nil, nil, invalid("FEDERATION_QUERY", "此查询不能跨域相加：须为 dp 方式，每个聚合都加噪，分组列都有公开代码表，且值在范围之内",
			"this query cannot be added up over domains: it is to be in dp mode, with noise on every aggregate, public code lists for every key, and cells within the range")
	}
	return p, q, d.gate(ctx, receiver, p)
}

// roundData is what of a plan stands in the entry of a round.
func roundData(p *prepared, b *federate.Brief) *entry.RoundData {
	return &entry.RoundData{Core: p.request.Core, Query: p.request.Query, Epoch: p.request.Epoch, PlanPrice: budget.Nano(b.Query.Price)}
}

// cellsOf executes a contributor's plan and lays the exact partials out as the round adds
// them.
func (d *Domain) cellsOf(ctx context.Context, p *prepared, q *query.Query) ([]int64, error) {
	files, _, err := p.lease.Open()
	if err != nil {
		return nil, err
	}
	if err := d.pool.Restart(ctx); err != nil {
		return nil, fmt.Errorf("failed to replace the worker spawner: %w", err)
	}
	partials, err := d.runner.Execute(ctx, p.sql, p.plan, files, sandbox.Limits{Wall: d.opt.Wall, Memory: d.opt.Memory, Threads: 2})
	if err != nil {
		return nil, err
	}
	return q.Cells(partials)
}
