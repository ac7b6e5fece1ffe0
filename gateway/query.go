package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/analyse"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/compute/render"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
	"github.com/sandgate/sandgate/sandbox"
)

// Query is what an operator asks and on what ground.
type Query struct {
	Licence string
	Purpose string
	SQL     string
	Price   budget.Nano // 0 takes the department's default
	// Parameters are the values of $1, $2, ….
	Parameters []string
	// Targets are errors asked for instead of a price.
	Targets []TargetError
	// Product is the id of a filed product; its text then stands for SQL.
	Product string
	// Signed is the DSSE envelope of what the operator signed, Salt that of its
	// commitment. Explaining needs neither.
	Signed, Salt []byte
}

// prepared is a query that passed the closed language, with the plan that the
// policy in force gives it. Everything in it depends on public facts only.
type prepared struct {
	query    algebra.Query
	parts    analyse.Parts
	text     string // as it was written, for places in refusals
	request  entry.Request
	analysis []policies.Reason
	schemas  []algebra.Schema
	plan     *protect.Plan // nil when refused
	outline  []byte        // the plan of the redacted core, as the ledger's readers make it
	sql      string
	snaps    []string
	decision state.Decision
	lease    *engine.Lease // of snaps; nil until memory is held
	started  bool          // the execution releases lease and ticket
	at       time.Time
	ask      state.Ask
	ticket   *sandbox.Ticket // room in the queue; nil until admitted
	owed     bool            // the job is reserved already: only its execution is missing
	signed   *request.Signed // what the operator signed; nil in an explanation
}

// parse sends one request to analyser sessions, which hold schemas and no data.
// The error is *sandbox.ErrKilled when the analysis did not finish.
func (d *Domain) parse(ctx context.Context, sessions *sandbox.Sessions, operator string, req engine.AnalyseRequest) ([]byte, error) {
	payload, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("failed to encode analyser request: %w", err)
	}
	if err := d.pool.Restart(ctx); err != nil {
		d.opt.Logger.Error("workers cannot be started")
		return nil, workersDown()
	}
	out, err := sessions.Call(ctx, operator, payload)
	var killed *sandbox.ErrKilled
	if errors.Is(err, sandbox.ErrLost) || errors.As(err, &killed) && killed.Cause == sandbox.CauseCrashed {
		// Somebody outside may have ended it. A text that ends its analyser does so
		// again; any other must not stand in the ledger as too complex.
		out, err = sessions.Call(ctx, operator, payload)
	}
	switch {
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		return nil, ctx.Err() // not the text's fault
	case errors.Is(err, sandbox.ErrBusy):
		return nil, queueFull()
	case errors.Is(err, sandbox.ErrSpawner):
		return nil, workersDown()
	case errors.As(err, &killed) && killed.Cause == sandbox.CauseStarved:
		return nil, refusal(starved)
	}
	return nil, fmt.Errorf("failed to analyse: %w", err)
}

var tooComplex = policies.Reason{Code: "TOO_COMPLEX", Rule: "core language", SetBy: "sandgate",
	ZH: "语句过于复杂，分析未在时限内完成", EN: "the statement is too complex: its analysis did not finish in time",
	HintZH: "请拆成更小的查询", HintEN: "split it into smaller queries"}

// starved is a text that the machine did not get to: nothing is known of it.
var starved = policies.Reason{Code: "BUSY", Rule: "analyser", SetBy: "sandgate",
	ZH: "网关繁忙，未能分析该语句；没有受理，也不扣减预算", EN: "the gateway was too busy to analyse the text; nothing was taken in or charged",
	HintZH: "请稍后用同一 request_id 重试", HintEN: "retry with the same request_id a little later"}

// prepare takes an operator's text through the closed language to a plan and a
// rendered statement. Refusals of the language are kept in analysis, so that the
// ledger records them together with those of policy.
func (d *Domain) prepare(ctx context.Context, operator, requestID string, q Query) (*prepared, error) {
	p := &prepared{request: entry.Request{
		Job: state.JobID(operator, requestID), Request: requestID, Licence: q.Licence, Purpose: q.Purpose, Price: q.Price,
	}}
	if err := d.product(operator, p, &q); err != nil {
		return nil, err
	}
	canonical, err := d.analyse(ctx, operator, p, q)
	if err != nil {
		return nil, err
	}
	if p.free() {
		return nil, refusal(policies.Reason{Code: "POST_WITHOUT_CORE", Rule: "request", SetBy: "sandgate", ZH: "此语句只读取已有的发布结果，无须作为作业受理", EN: "this text reads earlier releases only; it is no job",
			HintZH: "去掉 --on twin 提交；读取发布结果不收费", HintEN: "submit it without --on twin: reading releases costs nothing"})
	}
	p.request.Query, p.request.Epoch = d.commitment(canonical, p.request.Core)
	if err := d.priceTargets(p, q.Targets); err != nil {
		return nil, err
	}
	err = errors.New("policy kept changing")
	for range 3 {
		if err = d.decide(ctx, operator, p); err == nil {
			return p, nil
		}
		if !errors.Is(err, errPolicyMoved) {
			return nil, err
		}
	}
	return nil, err
}

// errPolicyMoved says that policy or snapshots changed between planning and the
// decision; planning starts again.
var errPolicyMoved = errors.New("policy or snapshots changed meanwhile")

// maxCore keeps a request well inside one ledger entry.
const maxCore = 40 << 10

// analyse decodes the text; it returns what the query commitment covers.
func (d *Domain) analyse(ctx context.Context, operator string, p *prepared, q Query) ([]byte, error) {
	sql := q.SQL
	p.text = sql
	if len(p.analysis) > 0 {
		return []byte("text\n" + sql), nil
	}
	refuse := func(r *policies.Reason) ([]byte, error) {
		p.analysis = []policies.Reason{*r}
		// A refused text is committed as it stands: the operator can later be
		// shown what he was refused, and nobody else can read it.
		return []byte("text\n" + sql), nil
	}
	if r := analyse.CheckText(sql); r != nil {
		return refuse(r)
	}
	var look seen
	var err error
	d.log.View(func() { look, err = seenBy(d.state.Book(), q.Purpose, operator) })
	if err != nil {
		return nil, err
	}
	ast, err := d.parse(ctx, d.parsers, operator, engine.AnalyseRequest{Op: engine.AnalyseSyntax, SQL: sql})
	var killed *sandbox.ErrKilled
	if errors.As(err, &killed) {
		return refuse(&tooComplex)
	}
	if err != nil {
		return nil, err
	}
	query, parts, r := look.read(ast, sql, q.Parameters)
	if r != nil {
		return refuse(r)
	}
	p.parts = parts
	if parts.Core != nil {
		p.query = algebra.Canonicalise(query)
	}
	// The post-processing names the core's columns and not their places, so
	// canonical order does not move it.
	if p.query.Post.Query = parts.Post; p.free() {
		return nil, nil
	}
	if p.schemas, err = p.query.Core.SchemasOf(look.stored); err != nil {
		return nil, err
	}
	redacted := p.query.Core.Redacted()
	if len(redacted.Bytes()) > maxCore {
		return refuse(&policies.Reason{Code: "TOO_LARGE", Rule: "core language", SetBy: "sandgate",
			ZH: "查询条件过多，账本一条记录放不下", EN: "the conditions are too many for one ledger entry",
			HintZH: "请缩短 IN 列表或拆成几个查询", HintEN: "shorten IN lists or split the query"})
	}
	p.request.Core = &redacted
	return append([]byte("core\n"), p.query.Core.Bytes()...), nil
}

// decide takes one look at the ledger's state and, when the query would run,
// builds, renders and gates its plan.
func (d *Domain) decide(ctx context.Context, operator string, p *prepared) error {
	var reason *policies.Reason
	var facts []protect.Facts
	d.log.View(func() {
		p.at = d.instant()
		p.ask = state.Ask{Operator: operator, Request: p.request, Analysis: p.analysis, At: p.at}
		p.decision = d.state.Decide(p.ask)
		// A reservation that a crash orphaned may itself have taken the last of
		// the budget; its retry asks for nothing more.
		j, ok := d.state.Job(p.request.Job)
		p.owed = ok && j.Phase == state.PhaseReserved && (p.decision.Refused == nil || onlyExhausted(p.decision.Refused.Reasons))
		if p.decision.Refused == nil || p.owed {
			facts, p.snaps, reason = d.state.Facts(p.query.Core)
		}
	})
	if p.decision.Refused != nil && !p.owed {
		return nil
	}
	if reason != nil {
		return refusal(*reason)
	}
	price := p.request.Price
	if price == 0 {
		price = facts[0].QueryRho
	}
	if p.plan, reason = protect.Build(p.query.Core, facts, price); reason != nil {
		return refusal(*reason)
	}
	redacted, reason := protect.Build(*p.request.Core, facts, price)
	if reason != nil {
		return refusal(*reason)
	}
	var err error
	if p.outline, err = outlineOf(p.plan, redacted); err != nil {
		return err
	}
	return d.gate(ctx, operator, p)
}

func onlyExhausted(reasons []policies.Reason) bool {
	return !slices.ContainsFunc(reasons, func(r policies.Reason) bool {
		return r.Code != "BUDGET_EXHAUSTED" && r.Code != "INFORMATION_EXHAUSTED" && r.Code != "QUOTA_EXHAUSTED"
	})
}

// gate renders the engine statement from the plan and has it checked by two
// readers that share nothing with the renderer: the text re-parsed must say what
// the plan says, and the bound plan may name approved tables and functions only.
func (d *Domain) gate(ctx context.Context, operator string, p *prepared) error {
	var err error
	if p.sql, err = render.SQL(p.plan, p.schemas); err != nil {
		return fmt.Errorf("failed to render the plan: %w", err)
	}
	out, err := d.parse(ctx, d.gates, operator, engine.AnalyseRequest{Op: engine.AnalyseGate, SQL: p.sql, Schemas: p.schemas})
	var killed *sandbox.ErrKilled
	if errors.As(err, &killed) {
		return refusal(tooComplex)
	}
	if err != nil {
		return err
	}
	var reply engine.AnalyseGateReply
	if err := json.Unmarshal(out, &reply); err != nil {
		return errors.New("failed to read the analyser's answer")
	}
	if err := render.Check(p.plan, p.schemas, reply.Syntax, reply.Plan); err != nil {
		return fmt.Errorf("the rendered statement did not pass the gate: %w", err)
	}
	return nil
}

// Explanation is what explain shows before anything is run or charged.
type Explanation struct {
	Allowed bool
	Reasons []policies.Reason
	SQL     string
	Plan    *protect.Plan
	Names   []string // of the aggregates, parallel to Plan.Outputs
	Repeat  bool
	Budgets []BudgetLine
	// Form is the redacted canonical core as JSON; empty when the text is none.
	Form string
	// Boundary is nil when the whole text is protected core.
	Boundary *Boundary
	// Level is what the query derives is graded, zero for what reads releases only;
	// Wait is what its answer waits for.
	Level policies.QueryLevel
	Wait  string
	// SightsZH and SightsEN say under which masks columns are seen.
	SightsZH, SightsEN []string
}

// Explain takes a query as far as the decision and no further: nothing is
// recorded, charged or read.
func (d *Domain) Explain(ctx context.Context, operator string, q Query) (*Explanation, error) {
	if err := d.Authorize(operator, policies.ActExplainJob, policies.Resource{}); err != nil {
		return nil, err
	}
	if x, err := d.explainFree(ctx, operator, q); x != nil || err != nil {
		return x, err
	}
	p, err := d.prepare(ctx, operator, "explain", q)
	if err != nil {
		return nil, err
	}
	own := d.ownRepeat(operator, p)
	d.hideRepeat(p, own)
	x := &Explanation{Allowed: p.decision.Refused == nil, Plan: p.plan, Repeat: own}
	if p.plan != nil {
		x.SQL = p.sql
	}
	if p.request.Core != nil {
		x.Form = string(p.request.Core.Bytes())
	}
	d.grade(x, p.request.Core)
	d.log.View(func() {
		x.SightsZH, x.SightsEN = sightLines(d.state.Book(), p.request.Core, q.Purpose, operator)
	})
	if p.decision.Refused != nil {
		x.Reasons = p.decision.Refused.Reasons
		return x, nil
	}
	if err := d.store.Fits(p.snaps); err != nil {
		return nil, leaseRefused(err)
	}
	if x.Boundary, err = d.bindPost(ctx, operator, p); err != nil {
		return nil, err
	}
	for i := range p.plan.Outputs {
		x.Names = append(x.Names, outputName(p.query, len(p.query.Core.Keys)+i))
	}
	if p.decision.Reserved != nil {
		d.log.View(func() {
			for _, c := range p.decision.Reserved.Charges {
				x.Budgets = append(x.Budgets, BudgetLine{Dataset: c.Scope.Dataset, Scope: c.Scope, Limit: c.Limit, Spent: d.state.Spent(c.Scope) + c.Amount, Query: c.Amount})
			}
		})
	}
	return x, nil
}

// ownRepeat says whether a query repeats a release that the operator himself was
// given. Another's would be free to probe for by explaining.
func (d *Domain) ownRepeat(operator string, p *prepared) (own bool) {
	if p.decision.Repeated == nil {
		return false
	}
	d.log.View(func() {
		of, _ := d.state.Job(p.decision.Repeated.Of)
		own = of.Operator == operator
		for _, id := range d.state.Jobs() {
			j, _ := d.state.Job(id)
			own = own || j.Operator == operator && j.RepeatOf == p.decision.Repeated.Of
		}
	})
	return own
}

// hideRepeat decides a query anew, as one that was never answered, where only another
// operator was given its release: that it would be free, whatever is left of the budget,
// tells that he asked.
func (d *Domain) hideRepeat(p *prepared, own bool) {
	if p.decision.Repeated == nil || own {
		return
	}
	d.log.View(func() {
		ask := p.ask
		ask.Request.Query = rehearsalPrefix + p.request.Job // a commitment that nothing was released under
		p.decision = d.state.Decide(ask)
	})
	if p.decision.Refused != nil {
		p.plan = nil // a refused query has none
	}
}

// outputName is the name the operator gave a core output, or a description of a
// hidden one.
func outputName(q algebra.Query, ref int) string {
	for _, o := range q.Post.Outputs {
		if o.Ref == ref {
			return o.Name
		}
	}
	return coreName(q.Core, ref)
}

// coreName names a core output after what it is.
func coreName(core algebra.Core, ref int) string {
	if ref < len(core.Keys) {
		return policies.BaseColumn(core.Keys[ref].Name)
	}
	a := core.Aggs[ref-len(core.Keys)]
	if a.Arg == nil {
		return string(a.Func)
	}
	return strings.Join([]string{string(a.Func), policies.BaseColumn(a.Arg.Name)}, "_")
}

// BudgetLine is what was spent of one scope.
type BudgetLine struct {
	Dataset string
	Scope   budget.Scope
	Limit   budget.Nano
	Spent   budget.Nano
	// Query is what one more query takes: the department's default price, or in an
	// explanation that of the query at hand. 0 when it is not known beforehand.
	Query budget.Nano
}

// Budgets lists the scopes of a licence's data sets for its operator, or for a
// regulator.
func (d *Domain) Budgets(operator, licence string) ([]BudgetLine, error) {
	var out []BudgetLine
	var err error
	d.log.View(func() {
		b := d.state.Book()
		if x := b.Authorize(operator, policies.ActReadBudget, policies.Resource{}); x != nil {
			err = refusal(*x)
			return
		}
		l, ok := b.Licence(licence)
		if p, _ := b.Party(operator); !ok || l.Operator != operator && p.Role != policies.RoleRegulator {
			err = invalid("LICENCE_UNKNOWN", "您没有该授权", "you hold no such licence")
			return
		}
		year := state.Year(d.instant())
		for _, r := range l.Resources {
			e, _ := b.Dataset(r.Dataset)
			if e.Dataset.Public || e.Rule == nil {
				continue
			}
			query, limits, lerr := e.Limits()
			if lerr != nil {
				err = lerr
				return
			}
			if e.Rule.Mode == string(protect.ModeExact) {
				query = 0
			}
			for _, c := range budget.Charges(r.Dataset, l.Operator, year, 0, limits) {
				spent := d.state.Spent(c.Scope)
				if d.state.SpentUnknown(r.Dataset) {
					spent = c.Limit
				}
				out = append(out, BudgetLine{Dataset: r.Dataset, Scope: c.Scope, Limit: c.Limit, Spent: spent, Query: query})
			}
			if e.Rule.Exact == nil {
				continue
			}
			nano, nerr := e.Rule.Exact.NanoBits()
			if nerr != nil {
				err = nerr
				return
			}
			if c := d.state.Information(r.Dataset, nano); c != nil {
				out = append(out, BudgetLine{Dataset: r.Dataset, Scope: c.Scope, Limit: c.Limit, Spent: d.state.Spent(c.Scope)})
			}
		}
	})
	return out, err
}
