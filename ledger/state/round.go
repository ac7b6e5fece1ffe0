package state

import (
	"errors"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/query"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/signature"
)

// Round is what the ledger says of one aggregation round in which the domain takes part.
type Round struct {
	Phase     Phase // RESERVED, RELEASED or FAILED
	Joined    *entry.RoundJoined
	Answered  *entry.RoundAnswered
	Ended     *entry.RoundEnded
	At        int64 // first entry, Unix milliseconds
	Seq       uint64
	FinishAt  int64
	FinishSeq uint64
}

// rounds is their projection.
type rounds struct {
	all   map[string]*Round // by session
	order []string
	spent map[string]budget.Nano // by region, data set and period
	runs  map[string]*TrainingRun
}

func newRounds() rounds {
	return rounds{all: map[string]*Round{}, spent: map[string]budget.Nano{}, runs: map[string]*TrainingRun{}}
}

// Round returns a copy of what is known of a session.
func (s *State) Round(session string) (Round, bool) {
	r, ok := s.rounds.all[session]
	if !ok {
		return Round{}, false
	}
	return *r, true
}

// Rounds lists sessions in the order of their first entry.
func (s *State) Rounds() []string { return slices.Clone(s.rounds.order) }

// OpenRounds lists those without an outcome, in order.
func (s *State) OpenRounds() []string {
	return slices.DeleteFunc(s.Rounds(), func(id string) bool { return s.rounds.all[id].Phase != PhaseReserved })
}

func periodKey(j *entry.RoundJoined) string { return keyed(j.Region, j.Dataset) + "\x00" + j.Period }

// DecideRound says whether the domain takes part in a round at an instant, and what that
// costs: Snapshot, Price and Charges of j are not looked at but found. It is pure, as
// Decide is.
func (s *State) DecideRound(j entry.RoundJoined, at time.Time) (*entry.RoundJoined, []policies.Reason) {
	refuse := func(code, zh, en string) (*entry.RoundJoined, []policies.Reason) {
		return nil, []policies.Reason{{Code: code, Rule: "federation/" + j.Region, SetBy: "sandgate", ZH: zh, EN: en}}
	}
	p, f := federate.DecodeProposal(j.Proposal)
	switch {
	case f != nil:
		return nil, []policies.Reason{*f.Reason}
	case p.Session() != j.Session || p.Brief == "":
		return refuse("FEDERATION_PROPOSAL", "提案不属于此会话，或未附任务书", "the proposal is of another session, or has no brief")
	case !slices.Contains(p.Parties(), j.Party) || slices.Contains(p.Contributors, j.Party) != (j.Data != nil):
		return refuse("FEDERATION_PARTY", "本域不是本轮的一方，或角色不符", "the domain has no such part in the round")
	}
	if j.Data != nil && (j.Data.Core == nil) != (j.Model != nil) {
		return refuse("FEDERATION_PROPOSAL", "一轮或为查询，或为模型的一遍", "a round is either a query or a pass of a model")
	}
	if at.Unix() >= p.Deadline {
		return refuse("FEDERATION_LATE", "提案已过截止时刻", "the deadline of the proposal is over")
	}
	// Earlier rounds about the same data are found by this digest: a proposal of another would
	// be held against none of them.
	if p.Query != federate.DataDigest(j.Dataset, j.Period) {
		return refuse("FEDERATION_DATA", "提案所称的数据不是此数据集与期次的数据", "the proposal is of other data than this data set and period")
	}
	if fed, ok := s.book.Federation(j.Region); ok {
		if key, ok := fed.KeyOf(p.Aggregator); !ok || !signature.Verify(key, federate.SigningBytes(j.Proposal), j.Sig) {
			return refuse("FEDERATION_SIGNATURE", "提案没有跨域协议所列汇聚方的有效签名", "the proposal is not signed by the hub that the federation names")
		}
	}
	if reasons := s.book.DecideRound(s.roundOf(p, &j, s.rounds.spent[periodKey(&j)], at)); len(reasons) > 0 {
		return nil, reasons
	}
	if x := s.asked(p, &j); x != nil {
		return nil, []policies.Reason{*x}
	}
	if j.Model != nil {
		if x := s.nextPass(p, &j); x != nil {
			return nil, []policies.Reason{*x}
		}
	}
	out := j
	if j.Data != nil {
		find := s.roundData
		if j.Model != nil {
			find = s.trainingData
		}
		data, reason := find(p, j, at)
		if reason != nil {
			return nil, []policies.Reason{*reason}
		}
		out.Data = data
	}
	return &out, nil
}

// roundOf is a round as the policy sees it.
func (s *State) roundOf(p *federate.Proposal, j *entry.RoundJoined, spent budget.Nano, at time.Time) policies.Round {
	r := policies.Round{Region: j.Region, Self: j.Party, Hub: p.Aggregator, Regulator: p.Regulator, Receiver: p.Receiver, Contributors: p.Contributors, Departments: p.Departments,
		Threshold: p.Threshold, K: p.MinContributors, Dishonest: p.Dishonest, Scheme: p.Scheme, Dataset: j.Dataset, Purpose: j.Purpose, Period: j.Period, MaxUnits: j.MaxUnits, Overlap: j.Overlap,
		Price: p.Price(), Spent: spent, At: at}
	if j.Data != nil {
		r.Core = j.Data.Core
	}
	r.Model = s.roundModel(j)
	return r
}

// otherPeriod refuses to give one snapshot out under two names, in one region or in two:
// rounds are held against earlier ones about the same data set and period, so that whoever
// names periods could otherwise ask with all contributors, and again without one.
func (s *State) otherPeriod(j entry.RoundJoined, snapshot string) *policies.Reason {
	for _, id := range s.rounds.order {
		x := s.rounds.all[id].Joined
		if x.Data != nil && x.Data.Snapshot == snapshot && x.Period != j.Period {
			return &policies.Reason{Code: "FEDERATION_PERIOD", Rule: "federation/" + j.Region, SetBy: "sandgate", ZH: "同一快照已用于期次 " + x.Period + "，不能再作为 " + j.Period,
				EN: "the snapshot was used as period " + x.Period + " and cannot be " + j.Period + " as well", HintZH: "沿用该期次，或待新数据入库", HintEN: "keep the period, or wait for a new snapshot"}
		}
	}
	return nil
}

// roundData finds the snapshot and the charges of a contributor, and holds the noise of
// the proposal against the plan of the redacted core: what a round costs does not hang on
// who proposed it.
func (s *State) roundData(p *federate.Proposal, j entry.RoundJoined, at time.Time) (*entry.RoundData, *policies.Reason) {
	facts, snapshots, reason := s.Facts(*j.Data.Core)
	if reason != nil {
		return nil, reason
	}
	if x := s.otherPeriod(j, snapshots[0]); x != nil {
		return nil, x
	}
	if x := askedPrice(p, j, facts[0].QueryRho); x != nil {
		return nil, x
	}
	plan, reason := protect.Build(*j.Data.Core, facts, j.Data.PlanPrice)
	if reason != nil {
		return nil, reason
	}
	e, _ := s.book.Dataset(j.Dataset)
	q, err := query.New(plan, federate.Terms{MaxUnits: j.MaxUnits, Overlap: j.Overlap, Period: j.Period}, "")
	if err != nil || !q.SameNoise(p) {
		return nil, otherPlan(j.Dataset, e.Department)
	}
	charges, reason := s.roundCharges(p, e, at, nil)
	if reason != nil {
		return nil, reason
	}
	data := *j.Data
	data.Snapshot, data.Price, data.Charges = snapshots[0], p.Price(), charges
	return &data, nil
}

func (s *State) applyRoundJoined(e *entry.Entry) error {
	if err := s.gateway(e); err != nil {
		return err
	}
	j := e.RoundJoined
	if _, again := s.rounds.all[j.Session]; again {
		return errors.New("the domain joined this round before")
	}
	if j.Data != nil && j.Model == nil {
		if err := s.checkCommitEpoch(entry.Request{Core: j.Data.Core, Epoch: j.Data.Epoch}); err != nil {
			return err
		}
	}
	want, reasons := s.DecideRound(*j, e.Time())
	if len(reasons) > 0 {
		return &reasons[0]
	}
	if err := same("round", j, want); err != nil {
		return err
	}
	if j.Data != nil {
		if err := s.filter.Reserve(j.Data.Charges); err != nil {
			return err
		}
		s.rounds.spent[periodKey(j)] += j.Data.Price
	}
	s.rounds.all[j.Session] = &Round{Phase: PhaseReserved, Joined: j, At: e.At, Seq: e.Seq}
	s.rounds.order = append(s.rounds.order, j.Session)
	if j.Model != nil {
		r := s.rounds.runs[j.Model.Run]
		if r == nil {
			r = &TrainingRun{}
			s.rounds.runs[j.Model.Run] = r
		}
		r.Sessions = append(r.Sessions, j.Session)
	}
	return nil
}

// openRound is a round that was joined and has not ended.
func (s *State) openRound(e *entry.Entry, session string) (*Round, error) {
	if err := s.gateway(e); err != nil {
		return nil, err
	}
	r, ok := s.rounds.all[session]
	if !ok || r.Phase != PhaseReserved {
		return nil, errors.New("the domain did not join this round, or it is over")
	}
	return r, nil
}

// StoppedRound says why a round that was joined may not be answered at an instant: an
// order, or another agreement, came in between. Nil when it may.
func (s *State) StoppedRound(r *Round, at time.Time) *policies.Reason {
	p, f := federate.DecodeProposal(r.Joined.Proposal)
	if f != nil {
		return f.Reason
	}
	// Its own price is among what the period has spent.
	spent := s.rounds.spent[periodKey(r.Joined)]
	if r.Joined.Data != nil {
		spent -= r.Joined.Data.Price
	}
	if reasons := s.book.DecideRound(s.roundOf(p, r.Joined, spent, at)); len(reasons) > 0 {
		return &reasons[0]
	}
	return nil
}

func (s *State) applyRoundAnswered(e *entry.Entry) error {
	r, err := s.openRound(e, e.RoundAnswered.Session)
	if err != nil {
		return err
	}
	p, f := federate.DecodeProposal(r.Joined.Proposal)
	switch {
	case f != nil:
		return f
	case r.Answered != nil:
		return errors.New("the domain answered this round before: no key opens a second sum")
	case !slices.Contains(p.Holders(), r.Joined.Party):
		return errors.New("the domain holds no share of the round's key")
	case e.At >= p.Deadline*1000:
		return errors.New("the deadline of the round is over")
	}
	if x := s.StoppedRound(r, e.Time()); x != nil {
		return x
	}
	r.Answered = e.RoundAnswered
	return nil
}

func (s *State) applyRoundEnded(e *entry.Entry) error {
	r, err := s.openRound(e, e.RoundEnded.Session)
	if err != nil {
		return err
	}
	p, f := federate.DecodeProposal(r.Joined.Proposal)
	if f != nil {
		return f
	}
	x := e.RoundEnded
	if x.Code == "" && r.Answered != nil && r.Answered.Manifest != x.Manifest {
		return errors.New("the result is of another manifest than the one answered")
	}
	if x.Code == "" && r.Joined.Party == p.Regulator && r.Answered == nil {
		return errors.New("the regulator releases what it did not answer")
	}
	if r.Ended, r.Phase = x, PhaseReleased; x.Code != "" {
		r.Phase = PhaseFailed
	}
	r.FinishAt, r.FinishSeq = e.At, e.Seq
	return nil
}
