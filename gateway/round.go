package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/fit"
	"github.com/sandgate/sandgate/compute/federate/query"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// partner is the domain behind a node: its decisions, its rows, its ledger. It implements
// node.Domain.
type partner struct {
	d     *Domain
	party string
	told  func(RoundEvent)
	sign  func(text []byte) ([]byte, error)
	gates chan struct{} // holds one while a gate runs

	mu   sync.Mutex
	open map[string]*partaking // by session
}

// partaking is one round of a partner, from its decision to its end.
type partaking struct {
	brief  *federate.Brief
	digest string // of the brief
	joined entry.RoundJoined
	run    string        // of a pass: its training; read by other rounds, and never written again
	query  *query.Query  // of a query
	plan   *prepared     // of a contributor to a query, else nil
	pass   *passing      // of a pass of a training, else nil
	sums   []int64       // with all noise, at the regulator
	in     bool          // its entry is in the ledger
	over   chan struct{} // closed when it has ended here
}

// RoundEvent is something that a node tells the people who run it. It holds names,
// digests and codes.
type RoundEvent struct {
	What    string            `json:"what"` // joined | refused | answered | released | failed | judged
	Session string            `json:"session"`
	Region  string            `json:"region,omitempty"`
	Dataset string            `json:"dataset,omitempty"`
	Period  string            `json:"period,omitempty"`
	Purpose string            `json:"purpose,omitempty"`
	Price   string            `json:"price,omitempty"` // ρ that is charged
	Release string            `json:"release,omitempty"`
	Party   string            `json:"party,omitempty"`   // to blame
	Run     string            `json:"run,omitempty"`     // of the training that it is a pass of, or whose model was tried
	Verdict string            `json:"verdict,omitempty"` // of the gate: PASS | FAIL | VOID
	Reasons []policies.Reason `json:"reasons,omitempty"`
}

func (x *partner) tell(what, session string, t *partaking, more func(*RoundEvent)) {
	e := RoundEvent{What: what, Session: session}
	if t != nil {
		e.Region, e.Dataset, e.Period, e.Purpose = t.brief.Region, t.brief.Dataset, t.brief.Terms.Period, t.brief.Purpose
		e.Run = t.run
	}
	if more != nil {
		more(&e)
	}
	x.told(e)
}

func (x *partner) of(session string) (*partaking, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	t, ok := x.open[session]
	if !ok {
		return nil, errors.New("the round was not decided here")
	}
	return t, nil
}

// Decide implements node.Domain: the brief must be the proposal's, the agreement must
// allow all of it, and the domain's own plan must be the one proposed.
func (x *partner) Decide(ctx context.Context, p *federate.Proposal, signed federate.Signed, brief []byte) (string, []policies.Reason) {
	t, schema, err := x.decide(ctx, p, signed, brief)
	if err != nil {
		reasons := refusedFor(err)
		x.tell("refused", p.Session(), nil, func(e *RoundEvent) { e.Reasons = reasons })
		return schema, reasons
	}
	if t == nil { // the answer says that the schemas differ
		x.tell("refused", p.Session(), nil, func(e *RoundEvent) {
			e.Reasons = []policies.Reason{{Code: "FEDERATION_SCHEMA", Rule: "federation", SetBy: x.party, ZH: "数据列、代码表或截断范围与提案不同", EN: "columns, code lists or clamps differ from the proposal's"}}
		})
		return schema, nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.open[p.Session()] = t
	return schema, nil
}

// decide returns the round to take part in, nil if the domain's own schema is another.
func (x *partner) decide(ctx context.Context, p *federate.Proposal, signed federate.Signed, text []byte) (*partaking, string, error) {
	if p.Brief == "" || federate.BriefDigest(text) != p.Brief {
		return nil, "", invalid("FEDERATION_BRIEF", "提案未附任务书", "the proposal has no brief")
	}
	b, f := federate.DecodeBrief(text)
	if f != nil {
		return nil, "", f.Reason
	}
	if len(signed.Text) > entry.MaxRoundProposal {
		return nil, "", invalid("FEDERATION_TOO_LARGE", "提案过长，账本一条记录放不下", "the proposal is too long for one ledger entry")
	}
	t := &partaking{over: make(chan struct{}), brief: b, digest: p.Brief, joined: entry.RoundJoined{Session: p.Session(), Party: x.party, Proposal: signed.Text, Sig: signed.Sig,
		Region: b.Region, Dataset: b.Dataset, Purpose: b.Purpose, Period: b.Terms.Period, MaxUnits: b.Terms.MaxUnits, Overlap: b.Terms.Overlap}}
	if err := x.known(b); err != nil {
		return nil, "", err
	}
	var err error
	if t.joined.Request, err = askedIn(p, b); err != nil {
		return nil, "", err
	}
	decide := map[federate.BriefKind]func(context.Context, *federate.Proposal, *partaking) (string, error){federate.BriefQuery: x.decideQuery, federate.BriefModel: x.decidePass}[b.Kind]
	if decide == nil {
		return nil, "", invalid("FEDERATION_KIND", "本节点不参加此类任务", "this node takes no part in rounds of this kind")
	}
	schema, err := decide(ctx, p, t)
	if err != nil {
		return nil, "", err
	}
	if schema != p.Schema {
		return nil, schema, nil
	}
	var reasons []policies.Reason
	x.d.log.View(func() { _, reasons = x.d.state.DecideRound(t.joined, x.d.instant()) })
	if len(reasons) > 0 {
		return nil, "", &Refusal{Reasons: reasons}
	}
	return t, p.Schema, nil
}

// decideQuery makes the domain's own plan of a query, and returns its schema.
func (x *partner) decideQuery(ctx context.Context, p *federate.Proposal, t *partaking) (string, error) {
	var err error
	if slices.Contains(p.Contributors, x.party) {
		if t.plan, t.query, err = x.d.planRound(ctx, p.Receiver, t.brief); err == nil {
			t.joined.Data = roundData(t.plan, t.brief)
		}
	} else {
		t.query, err = foreign(t.brief)
	}
	switch {
	case err != nil:
		return "", err
	case !t.query.Deliverable():
		return "", invalid("FEDERATION_TOO_LARGE", "结果行数过多，一次交付放不下；请减少分组列", "the answer has too many rows for one delivery; take fewer keys")
	case t.query.Schema() == p.Schema && !t.query.Fits(p):
		return "", invalid("FEDERATION_SCHEMA", "提案的查询、列或噪声与任务书不符", "query, columns or noise of the proposal are not those of its brief")
	}
	return t.query.Schema(), nil
}

// known refuses before anything is analysed what no agreement of this domain names.
func (x *partner) known(b *federate.Brief) error {
	ok := false
	x.d.log.View(func() { _, ok = x.d.state.Book().Federation(b.Region) })
	if !ok {
		return invalid("FEDERATION_UNKNOWN", "本域没有提案所称的跨域协议", "this domain has no federation of the name that the proposal gives")
	}
	return nil
}

// foreign is the query of a brief for who has not the data set: its plan, bound to the
// proposal by the schema that every contributor holds against its own.
func foreign(b *federate.Brief) (*query.Query, error) {
	plan, err := query.Decode(b.Query.Plan)
	if err == nil && !slices.Equal(plan.Core.Datasets(), []string{b.Dataset}) {
		err = errors.New("the plan is of another data set")
	}
	var q *query.Query
	if err == nil {
		q, err = query.New(plan, b.Terms, b.Salt)
	}
	if err != nil {
		return nil, invalid("FEDERATION_BRIEF", "任务书的计划有误，或属于另一数据集", "the plan of the brief is malformed, or of another data set")
	}
	return q, nil
}

// join enters the decision, decided once more on the state that the entry is applied to.
func (x *partner) join(ctx context.Context, t *partaking) error {
	if t.in {
		return nil
	}
	_, err := x.d.append(ctx, func(e *entry.Entry) error {
		if _, again := x.d.state.Round(t.joined.Session); again {
			return invalid("FEDERATION_AGAIN", "本域已参加过此轮次；须另起一轮", "this domain has taken part in this round; start another")
		}
		if t.joined.Data != nil {
			if err := x.d.isLeaving(t.brief.Dataset); err != nil {
				return err
			}
		}
		j, reasons := x.d.state.DecideRound(t.joined, e.Time())
		if len(reasons) > 0 {
			return &Refusal{Reasons: reasons}
		}
		if t.plan != nil && !slices.Equal([]string{j.Data.Snapshot}, t.plan.snaps) || t.pass != nil && !x.samePass(t, j) {
			return invalid("POLICY_CHANGED", "受理期间快照或规则已变更；须另起一轮", "snapshot or rules changed meanwhile; start another round")
		}
		e.Kind, e.Actor, e.RoundJoined = entry.KindRoundJoined, "gateway", j
		t.joined = *j
		return nil
	})
	if err != nil {
		return refusedAs(err)
	}
	t.in = true
	x.tell("joined", t.joined.Session, t, func(e *RoundEvent) {
		if t.joined.Data != nil {
			e.Price = t.joined.Data.Price.String()
		}
	})
	return nil
}

// Values implements node.Domain. Memory and a seat are held before the price is charged,
// and the price is charged before a row is read.
func (x *partner) Values(ctx context.Context, p *federate.Proposal) (func([]int64) error, error) {
	t, err := x.of(p.Session())
	if err != nil {
		return nil, err
	}
	var cells []int64
	switch {
	case t.joined.Data == nil:
		return nil, errors.New("the domain has no data in this round")
	case t.pass != nil:
		cells, err = x.passCells(ctx, p, t)
	default:
		cells, err = x.queryCells(ctx, p, t)
	}
	if err != nil {
		return nil, err
	}
	if len(cells) != p.Cells() {
		clear(cells)
		return nil, errors.New("the cells are not those of the proposal")
	}
	left := cells
	return func(out []int64) error {
		n := copy(out, left)
		clear(left[:n])
		if left = left[n:]; n < len(out) {
			return errors.New("more cells were asked for than there are")
		}
		return nil
	}, nil
}

// queryCells joins a query and has a worker execute the domain's plan.
func (x *partner) queryCells(ctx context.Context, p *federate.Proposal, t *partaking) ([]int64, error) {
	defer t.plan.settle()
	if err := x.d.admit(ctx, p.Receiver, t.plan); err != nil {
		return nil, refusedAs(err)
	}
	if err := x.d.hold(ctx, t.plan); err != nil {
		return nil, refusedAs(err)
	}
	if err := x.join(ctx, t); err != nil {
		return nil, err
	}
	return x.d.onGrid(ctx, t.plan.ticket, func(ctx context.Context) ([]int64, error) { return x.d.cellsOf(ctx, t.plan, t.query) })
}

// Answering implements node.Domain.
func (x *partner) Answering(ctx context.Context, session string, _ *federate.Proposal, manifest string) error {
	t, err := x.of(session)
	if err != nil {
		return err
	}
	if err := x.join(ctx, t); err != nil {
		return err
	}
	_, err = x.d.append(ctx, func(e *entry.Entry) error {
		if r, _ := x.d.state.Round(session); r.Phase != state.PhaseReserved || r.Answered != nil {
			return invalid("FEDERATION_AGAIN", "本域已为此轮次作答；须另起一轮", "this domain has answered this round; start another")
		} else if x := x.d.state.StoppedRound(&r, e.Time()); x != nil {
			return x
		}
		e.Kind, e.Actor, e.RoundAnswered = entry.KindRoundAnswered, "gateway", &entry.RoundAnswered{Session: session, Manifest: manifest}
		return nil
	})
	if err != nil {
		return refusedAs(err)
	}
	x.tell("answered", session, t, nil)
	return nil
}

// Released implements node.Domain.
func (x *partner) Released(_ context.Context, session string, p *federate.Proposal, part []int64) error {
	t, err := x.of(session)
	if err != nil {
		return err
	}
	if len(part) > p.Cells()-len(t.sums) {
		return errors.New("there are more sums than cells")
	}
	t.sums = append(t.sums, part...)
	return nil
}

// Deliver implements node.Domain: the release of the kernel, committed to in the ledger
// before anybody is given it.
func (x *partner) Deliver(ctx context.Context, session string, p *federate.Proposal, values string) ([]byte, error) {
	t, err := x.of(session)
	if err != nil {
		return nil, err
	}
	defer clear(t.sums)
	var release []byte
	var post json.RawMessage
	if t.pass != nil {
		release = fit.EncodeValues(t.sums) // the noisy sums are what every party goes on from
	} else {
		rel, err := t.query.Release(p, t.sums)
		if err != nil {
			return nil, err
		}
		release, post = rel.Encode(), t.brief.Query.Post
	}
	out := &federate.Delivery{V: federate.Version, Session: session, From: x.party, Receiver: p.Receiver, At: x.d.opt.Now().Unix(), Brief: t.digest, Values: values, Release: release, Request: t.joined.Request.Statement.Request, Post: post}
	text := out.Encode()
	return text, refusedAs(x.end(ctx, t, entry.RoundEnded{Session: session, Release: federate.DeliveryDigest(text), Values: values}))
}

// Ended implements node.Domain.
func (x *partner) Ended(session string, _ *federate.Proposal, result *federate.Result, fault *federate.Fault) {
	t, err := x.of(session)
	if err != nil {
		return
	}
	defer func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.open, session)
		close(t.over)
	}()
	defer clear(t.sums)
	end := entry.RoundEnded{Session: session, Code: "FEDERATION_INTERNAL"}
	switch {
	case result != nil && result.Release != "":
		end = entry.RoundEnded{Session: session, Release: result.Release, Values: result.Values, Manifest: result.Manifest}
	case fault != nil:
		end.Code, end.Party = fault.Reason.Code, fault.Party
	}
	// The node may be stopping; what it did is entered all the same. Whether it joined the
	// ledger says: a step that was broken off may have been entered without its knowing.
	if err := x.end(context.Background(), t, end); err != nil {
		x.d.opt.Logger.Error("the end of a round could not be entered", "session", session)
	}
	x.tell(map[bool]string{true: "released", false: "failed"}[end.Code == ""], session, t, func(e *RoundEvent) {
		e.Release, e.Party = end.Release, end.Party
		if fault != nil && result == nil {
			e.Reasons = []policies.Reason{*fault.Reason}
		}
	})
}

// end enters an outcome, once. The regulator's release stands before its result is
// announced: what becomes of the announcement changes nothing of it.
func (x *partner) end(ctx context.Context, t *partaking, end entry.RoundEnded) error {
	_, err := x.d.append(ctx, func(e *entry.Entry) error {
		r, ok := x.d.state.Round(end.Session)
		if !ok || r.Phase != state.PhaseReserved {
			return errEnded
		}
		if end.Code == "" && end.Manifest == "" && r.Answered != nil {
			end.Manifest = r.Answered.Manifest
		}
		e.Kind, e.Actor, e.RoundEnded = entry.KindRoundEnded, "gateway", &end
		return nil
	})
	if errors.Is(err, errEnded) {
		return nil
	}
	return err
}
