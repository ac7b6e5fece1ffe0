package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/query"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// RoundQuery is what an operator asks of several domains together.
type RoundQuery struct {
	Region, Licence, Purpose, Period string
	SQL                              string
	Price                            budget.Nano // 0 takes the department's default
	Scheme                           string      // empty takes the agreement's first
	Contributors                     []string    // empty asks all
	Seconds                          int         // 0 takes the default
	Signed, Salt                     []byte      // DSSE envelope, and the salt of its body
}

// proposing is a round on its way into the ledger.
type proposing struct {
	ask      state.HubAsk
	signed   *request.Signed
	core     algebra.Core // with its literals
	post     algebra.Post
	cut      []byte // post, as the brief holds it
	proposal federate.Proposal
	brief    []byte
	planned  entry.HubProposed // what the plan was made for
}

// ProposeRound plans a query that its operator signed, enters it and puts it to the
// domains. A refusal is a *Refusal and leaves no trace: nothing was read, charged or told to
// anybody. Calling again with the same request id returns the same round.
func (d *Domain) ProposeRound(ctx context.Context, operator, requestID string, q RoundQuery) (id string, err error) {
	if err := d.Authorize(operator, policies.ActProposeRound, policies.Resource{}); err != nil {
		return "", err
	}
	if d.log.Disputed() != nil {
		return "", disputed()
	}
	if !requestIDPattern.MatchString(requestID) {
		return "", invalid("REQUEST_ID", "request_id 必须是 UUID", "request_id must be a UUID")
	}
	signed, err := d.openRequest(operator, requestID, q.Signed, q.Salt, request.Query{SQL: q.SQL}.Fields())
	if err != nil {
		return "", err
	}
	for range 3 {
		var p *proposing
		if p, err = d.planRoundAtHub(ctx, operator, requestID, q, signed); err != nil {
			return "", err
		}
		if x := state.SameHubRound(signed.Statement, operator, p.ask.Request); x != nil {
			return "", x
		}
		id = p.ask.Request.Round
		if known, err := d.knownRound(ctx, p); known || err != nil {
			return id, err
		}
		if err = d.beginRound(ctx, p); !errors.Is(err, errPolicyMoved) {
			return id, err
		}
	}
	return "", refusal(policies.Reason{Code: "POLICY_CHANGED", Rule: "policy", ZH: "受理期间规则已变更，请重试", EN: "the rules changed meanwhile; try again"})
}

// planRoundAtHub takes a text through the closed language to a proposal, by the catalogue
// and the rules that this gateway has of data that it does not have.
func (d *Domain) planRoundAtHub(ctx context.Context, operator, requestID string, q RoundQuery, signed *request.Signed) (*proposing, error) {
	text := &prepared{}
	canonical, err := d.analyse(ctx, operator, text, Query{Licence: q.Licence, Purpose: q.Purpose, SQL: q.SQL})
	if err != nil {
		return nil, err
	}
	if len(text.analysis) > 0 {
		return nil, &Refusal{Reasons: text.analysis}
	}
	if text.free() || text.parts.Post != nil {
		return nil, invalid("ROUND_POST", "跨域轮次只收核心查询，不收其外的后处理", "a round takes a query alone, without post-processing around it")
	}
	p := &proposing{signed: signed, core: text.query.Core, post: text.query.Post}
	commitment, epoch := d.commitment(canonical, text.request.Core)
	p.ask = state.HubAsk{Operator: operator, Request: entry.HubRequest{Round: state.HubRoundID(operator, requestID), Request: requestID, Licence: q.Licence, Purpose: q.Purpose,
		Region: q.Region, Period: q.Period, Core: text.request.Core, Query: commitment, Epoch: epoch, Price: q.Price, Scheme: q.Scheme, Contributors: q.Contributors, Seconds: q.Seconds}}
	var decided state.HubDecision
	var e policies.Entry
	var known bool
	d.log.View(func() {
		if _, known = d.state.HubRound(p.ask.Request.Round); known {
			return
		}
		p.ask.At = d.instant()
		decided = d.state.DecideHubRound(p.ask)
		e, _ = d.state.Book().Dataset(decided.Agreement.Dataset)
	})
	if known {
		return p, nil
	}
	if decided.Proposed == nil {
		return nil, &Refusal{Reasons: decided.Reasons}
	}
	if decided.Agreement.Hub.Key != d.hubPublicKey() {
		return nil, refusal(hubKeyChanged(decided.Agreement))
	}
	return p, p.propose(q.SQL, q.Salt, decided, e)
}

// hubKeyChanged is of an agreement that names this gateway by a key that it had before.
func hubKeyChanged(f policies.Federation) policies.Reason {
	return policies.Reason{Code: "ROUND_HUB_KEY", Rule: "federation/" + f.Region, SetBy: f.Hub.Party,
		ZH: "协议所列的汇聚方公钥不是本网关的现行公钥", EN: "the agreement's key of the hub is not the one that this gateway has in force",
		HintZH: "用 sandgate round hub 查看公钥，各方重签协议", HintEN: "see sandgate round hub for the key, and have every party sign the agreement anew"}
}

// propose makes the proposal and its brief.
func (p *proposing) propose(text string, asked []byte, decided state.HubDecision, e policies.Entry) error {
	facts, err := protect.FactsOf(e)
	if err != nil {
		return fmt.Errorf("failed to read the rules of the data set: %w", err)
	}
	price := p.ask.Request.Price
	if price == 0 {
		price = facts.QueryRho
	}
	plan, x := protect.Build(p.core, []protect.Facts{facts}, price)
	if x != nil {
		return refusal(*x)
	}
	random := make([]byte, 64)
	if _, err := rand.Read(random); err != nil {
		return fmt.Errorf("failed to draw salt and nonce: %w", err)
	}
	nonce, salt := hex.EncodeToString(random[:32]), hex.EncodeToString(random[32:])
	q, err := query.New(plan, decided.Terms, salt)
	if err != nil {
		return refusal(policies.Reason{Code: "ROUND_QUERY", Rule: "federation/" + decided.Agreement.Region, SetBy: "sandgate", ZH: "此查询不能跨域相加", EN: err.Error()})
	}
	if !q.Deliverable() {
		return refusal(policies.Reason{Code: "ROUND_TOO_LARGE", Rule: "federation/" + decided.Agreement.Region, SetBy: "sandgate", ZH: "结果行数过多，一次交付放不下", EN: "the answer has too many rows for one delivery",
			HintZH: "减少分组列，或采用较粗的分组列", HintEN: "take fewer keys, or coarser ones"})
	}
	planText, err := query.Encode(plan)
	if err != nil {
		return fmt.Errorf("failed to encode the plan: %w", err)
	}
	post, err := json.Marshal(p.post)
	if err != nil {
		return fmt.Errorf("failed to encode post-processing: %w", err)
	}
	envelope, err := p.signed.Envelope()
	if err != nil {
		return fmt.Errorf("failed to encode the request: %w", err)
	}
	f, r := decided.Agreement, p.ask.Request
	brief := federate.Brief{V: federate.Version, Kind: federate.BriefQuery, Region: f.Region, Dataset: f.Dataset, Purpose: r.Purpose, Terms: decided.Terms, Salt: salt, Asked: federate.Asked{Request: envelope, Salt: asked},
		Query: &federate.QueryBrief{SQL: text, Price: int64(price), Plan: planText, Post: post}}
	p.brief, p.cut = brief.Encode(), post
	if _, f := federate.DecodeBrief(p.brief); f != nil {
		return refusal(*f.Reason)
	}
	p.planned = *decided.Proposed
	p.proposal = federate.Proposal{V: federate.Version, Nonce: nonce, Scheme: p.planned.Scheme, Query: q.Query(), Schema: q.Schema(), Columns: q.Columns(),
		Contributors: p.planned.Contributors, Regulator: f.With(policies.FederationRegulator)[0], Departments: f.With(policies.FederationKey), Threshold: f.Threshold,
		Aggregator: f.Hub.Party, Receiver: p.ask.Operator, MinContributors: f.K, Dishonest: f.Dishonest, Brief: federate.BriefDigest(p.brief)}
	if p.planned.Scheme == federate.Mask { // every holder's mask must come off
		p.proposal.Threshold = len(p.proposal.Departments)
	}
	return nil
}

// knownRound says whether the request id was seen before, for the same request.
func (d *Domain) knownRound(ctx context.Context, p *proposing) (bool, error) {
	var r state.HubRound
	var ok bool
	if err := d.settled(ctx, func() { r, ok = d.state.HubRound(p.ask.Request.Round) }); err != nil || !ok {
		return false, err
	}
	was, err := json.Marshal(r.Proposed.Request)
	if err != nil {
		return true, err
	}
	is, err := json.Marshal(p.ask.Request)
	if err != nil {
		return true, err
	}
	if !bytes.Equal(was, is) {
		return true, invalid("REQUEST_ID_REUSED", "该 request_id 已用于另一请求", "the request_id was used for another request")
	}
	return true, nil
}

// beginRound enters a round and then puts it to the domains: what they are asked stands
// in the ledger before they are.
func (d *Domain) beginRound(ctx context.Context, p *proposing) error {
	id := p.ask.Request.Round
	_, err := d.append(ctx, func(e *entry.Entry) error {
		if _, ok := d.state.HubRound(id); ok {
			return errPolicyMoved // another call with this request id came first
		}
		ask := p.ask
		ask.At = e.Time()
		decided := d.state.DecideHubRound(ask)
		if decided.Proposed == nil {
			return &Refusal{Reasons: decided.Reasons}
		}
		if decided.Proposed.Agreement != p.planned.Agreement || decided.Proposed.Price != p.planned.Price {
			return errPolicyMoved
		}
		p.proposal.Deadline = decided.Proposed.Deadline
		decided.Proposed.Session = p.proposal.Session()
		e.Kind, e.Actor, e.Signed, e.HubProposed = entry.KindHubProposed, ask.Operator, p.signed, decided.Proposed
		return nil
	})
	if err != nil {
		return err
	}
	a, session := d.aggregator, p.proposal.Session()
	a.mu.Lock()
	a.rounds[session] = &gathered{round: id, post: p.cut}
	a.mu.Unlock()
	d.opt.Logger.Info("round proposed", "round", id)
	_, err = a.hub.Propose(&p.proposal, p.brief)
	// One that was cancelled, or ended otherwise, between ledger and hub must not run on there.
	var now state.HubRound
	if d.log.View(func() { now, _ = d.state.HubRound(id) }); err == nil && now.Phase != state.PhaseReserved {
		why := &federate.Fault{Reason: &policies.Reason{Code: "FEDERATION_CANCELLED", Rule: "federation", SetBy: "sandgate", ZH: "轮次开始之前已结束", EN: "the round ended before it began"}}
		if cerr := a.hub.Cancel(session, why); cerr != nil {
			d.opt.Logger.Info("a cancelled round had ended at the hub", "round", id)
		}
	}
	if err != nil {
		var f *federate.Fault
		if !errors.As(err, &f) {
			f = &federate.Fault{Reason: &policies.Reason{Code: "ROUND_NOT_BEGUN", Rule: "federation", SetBy: "sandgate", ZH: "轮次未能开始", EN: "the round could not begin"}}
		}
		a.failed(session, f)
	}
	return nil
}

// cancelRound ends a round for its operator or the regulator.
func (d *Domain) cancelRound(ctx context.Context, party, id string) error {
	r, err := d.roundFor(party, id)
	if err != nil {
		return err
	}
	if err := d.Authorize(party, policies.ActCancelRound, policies.Resource{Operator: r.Operator}); err != nil {
		return err
	}
	if err := d.signedAct(ctx, party, state.ActCancelHubRound(id)); err != nil {
		return err
	}
	err = d.failRound(ctx, entry.HubFailed{Round: id, Code: state.Cancelled, By: party}, signedOf(ctx))
	if errors.Is(err, errEnded) {
		return invalid("NOT_CANCELLABLE", "轮次已结束，不能取消", "the round has ended and cannot be cancelled")
	}
	if err != nil {
		return err
	}
	why := &federate.Fault{Reason: &policies.Reason{Code: "FEDERATION_CANCELLED", Rule: "federation", SetBy: party, ZH: "“" + party + "”取消了本轮", EN: party + " cancelled the round"}}
	if cerr := d.aggregator.hub.Cancel(r.Proposed.Session, why); cerr != nil {
		d.opt.Logger.Info("a cancelled round had ended at the hub", "round", id)
	}
	return nil
}

// roundFor is a round that a party may see. One that is not there and one that is
// somebody else's look the same.
func (d *Domain) roundFor(party, id string) (r state.HubRound, err error) {
	d.log.View(func() { r, err = d.roundInView(party, id) })
	return r, err
}

// roundInView is roundFor for a caller in View.
func (d *Domain) roundInView(party, id string) (state.HubRound, error) {
	r, ok := d.state.HubRound(id)
	b := d.state.Book()
	x := b.Authorize(party, policies.ActReadRound, policies.Resource{Operator: r.Operator})
	p, _ := b.Party(party)
	if x != nil || !ok || p.Role == policies.RoleDepartment && !slices.Contains(r.Parties, party) {
		return state.HubRound{}, invalid("NOT_FOUND", "没有这个轮次", "there is no such round")
	}
	return r, nil
}
