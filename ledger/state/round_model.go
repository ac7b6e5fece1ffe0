package state

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/fit"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/signature"
)

// TrainingRun is what the ledger says of a training over rounds in which the domain takes
// part.
type TrainingRun struct {
	Sessions   []string // of its rounds, in order
	Verdict    *entry.RoundVerdict
	VerdictAt  int64 // Unix milliseconds
	VerdictSeq uint64
}

// TrainingRun returns a copy of what is known of one.
func (s *State) TrainingRun(run string) (TrainingRun, bool) {
	r, ok := s.rounds.runs[run]
	if !ok {
		return TrainingRun{}, false
	}
	out := *r
	out.Sessions = slices.Clone(r.Sessions)
	return out, true
}

// TrainingRounds are the rounds of a training as this domain took part in them, and the
// session of one that has not ended, if there is one.
func (s *State) TrainingRounds(run string) (history []fit.Round, open string) {
	r := s.rounds.runs[run]
	if r == nil {
		return nil, ""
	}
	for _, id := range r.Sessions {
		x := s.rounds.all[id]
		one := fit.Round{Session: id, Pass: x.Joined.Model.Pass}
		switch {
		case x.Ended == nil:
			open = id
		case x.Ended.Code == "":
			one.Values = x.Ended.Values
		}
		history = append(history, one)
	}
	return history, open
}

func runReason(run, zh, en, hintZH, hintEN string) *policies.Reason {
	return &policies.Reason{Code: "FEDERATION_RUN", Rule: "training/" + run, SetBy: "sandgate", ZH: zh, EN: en, HintZH: hintZH, HintEN: hintEN}
}

// trainingTerms are those of a round's training.
func trainingTerms(j *entry.RoundJoined) fit.Terms {
	return fit.Terms{Terms: federate.Terms{MaxUnits: j.MaxUnits, Overlap: j.Overlap, Period: j.Period}, Decryptors: j.Model.Decryptors, Dishonest: j.Model.Dishonest, Retries: j.Model.Retries}
}

// ownTraining is the training of a round by this domain's catalogue.
func (s *State) ownTraining(j *entry.RoundJoined) (*fit.Model, *policies.Reason) {
	e, ok := s.book.Dataset(j.Dataset)
	if !ok {
		return nil, missing("DATASET_UNKNOWN", j.Dataset, "", "目录中没有数据集“%s”", "data set %q is not in the catalogue")
	}
	m, err := fit.Own(j.Model.Spec, e, trainingTerms(j), j.Model.Run)
	var reason *policies.Reason
	if err != nil && !errors.As(err, &reason) {
		reason = missing("POLICY_INVALID", j.Dataset, e.Department, "数据集“%s”的规则无法读取", "the rules of data set %q cannot be read")
	}
	return m, reason
}

// roundModel is the training of a round as the policy sees it: who has the data finds by
// its own design what it can cost, who has none by what was asked.
func (s *State) roundModel(j *entry.RoundJoined) *policies.RoundModel {
	if j.Model == nil {
		return nil
	}
	out := &policies.RoundModel{Spec: j.Model.Spec, Data: j.Data != nil}
	if out.Data {
		if m, reason := s.ownTraining(j); reason == nil {
			out.Reserve = m.Reserve()
			return out
		}
	}
	if training, evaluation, err := j.Model.Spec.Price(); err == nil {
		out.Reserve = training + evaluation
	}
	return out
}

// sameRun says whether two rounds are of one training: everything but the pass is the same.
func sameRun(a, b *entry.RoundJoined) bool {
	p, f := federate.DecodeProposal(a.Proposal)
	q, g := federate.DecodeProposal(b.Proposal)
	if f != nil || g != nil || p.Receiver != q.Receiver || p.Aggregator != q.Aggregator || !slices.Equal(p.Contributors, q.Contributors) {
		return false
	}
	terms := func(j *entry.RoundJoined) string {
		m := *j.Model
		m.Pass = 0
		text, err := json.Marshal([]any{j.Party, j.Region, j.Dataset, j.Purpose, j.Period, j.MaxUnits, j.Overlap, j.Data != nil, m})
		if err != nil {
			return ""
		}
		return string(text)
	}
	return terms(a) != "" && terms(a) == terms(b)
}

// Remembers says whether a party has the rounds of a training in its ledger: it has data or
// decrypts. One that only holds a share of the key joins none, so there is nothing that it
// could hold a pass against; the schema binds it to what those with data found.
func Remembers(p *federate.Proposal, party string) bool {
	return slices.Contains(p.Contributors, party) || party == p.Regulator || slices.Contains(p.Departments[:p.Threshold], party)
}

// nextPass says why a round is not the next of its training, by the rounds that this ledger
// has: one at a time, each pass released once, all about the same.
func (s *State) nextPass(p *federate.Proposal, j *entry.RoundJoined) *policies.Reason {
	run := j.Model.Run
	if p.Decryptors() != j.Model.Decryptors || p.Dishonest != j.Model.Dishonest {
		return runReason(run, "提案的解密方与训练的约定不同", "the decryptors of the proposal are not those of the training", "以训练的约定另提一轮", "propose it with the training's terms")
	}
	history, open := s.TrainingRounds(run)
	if open != "" {
		return runReason(run, "该训练的前一轮在本域尚未结束", "the round before of this training has not ended in this domain", "待其结束再提下一轮", "wait for its end")
	}
	if r := s.rounds.runs[run]; r != nil {
		if r.Verdict != nil || !sameRun(s.rounds.all[r.Sessions[0]].Joined, j) {
			return runReason(run, "该训练编号已用于另一训练，或其模型已受检", "the run is of another training, or its model was tried", "以新的训练编号重新训练", "train again under another run")
		}
	}
	if !Remembers(p, j.Party) {
		return nil
	}
	pass, reason := fit.Due(history, j.Model.Retries)
	if reason == nil && pass != j.Model.Pass {
		reason = &policies.Reason{Code: fit.CodeHistory, Rule: "federation", SetBy: "sandgate", ZH: "此轮不是本域账本所记之后的一轮", EN: "the round is not the one after those of this domain's ledger", HintZH: "以各方都有的结果继续，或重新训练", HintEN: "go on from answers that all parties have, or train again"}
	}
	return reason
}

// trainingData finds snapshot, key and charges of a contributor to a pass, and holds the
// noise of the proposal against the pass of its own plan.
func (s *State) trainingData(p *federate.Proposal, j entry.RoundJoined, at time.Time) (*entry.RoundData, *policies.Reason) {
	m, reason := s.ownTraining(&j)
	if reason != nil {
		return nil, reason
	}
	e, _ := s.book.Dataset(j.Dataset)
	if !m.SameNoise(j.Model.Pass, p) {
		return nil, otherPlan(j.Dataset, e.Department)
	}
	_, snapshots, reason := s.Facts(algebra.Core{Tables: []algebra.Table{{Dataset: j.Dataset}}})
	if reason != nil {
		return nil, reason
	}
	if x := s.otherPeriod(j, snapshots[0]); x != nil {
		return nil, x
	}
	data := entry.RoundData{Snapshot: snapshots[0], Price: p.Price(), Epoch: s.keys.epochs[entry.KeyCommit]}
	if r := s.rounds.runs[j.Model.Run]; r != nil {
		first := s.rounds.all[r.Sessions[0]].Joined.Data
		if first.Snapshot != data.Snapshot {
			return nil, runReason(j.Model.Run, "训练期间数据已更换快照：留出单元与各遍须属同一快照", "the snapshot changed since the training began: all its passes are about one", "重新训练", "train again")
		}
		data.Epoch = first.Epoch // the units that are held out stay so
	}
	_, most, _, ok := e.Models()
	if !ok {
		return nil, missing("MODEL_INVALID", j.Dataset, e.Department, "数据集“%s”的数源部门不允许训练模型", "the department of data set %q lets no models be trained")
	}
	if data.Charges, reason = s.roundCharges(p, e, at, &most); reason != nil {
		return nil, reason
	}
	return &data, nil
}

// VerdictDue says why a verdict may not be entered at an instant: no training of the
// domain's data that is complete, one that was tried before, or an order in between; nil when
// it may.
func (s *State) VerdictDue(run string, at time.Time) *policies.Reason {
	r := s.rounds.runs[run]
	if r == nil {
		return runReason(run, "本域没有参加此训练", "this domain took no part in the training", "核对训练编号", "check the run")
	}
	last := s.rounds.all[r.Sessions[len(r.Sessions)-1]]
	j := last.Joined
	history, open := s.TrainingRounds(run)
	switch {
	case r.Verdict != nil:
		return runReason(run, "本域已检验此训练的模型", "this domain has tried the model of the training", "每次训练只检验一次", "a training is tried once")
	case j.Data == nil:
		return runReason(run, "本域没有数据参加此训练", "this domain has no data in the training", "由参与方检验", "its contributors try it")
	case open != "":
		return runReason(run, "该训练的一轮在本域尚未结束", "a round of this training has not ended in this domain", "待其结束", "wait for its end")
	}
	m, reason := s.ownTraining(j)
	if reason != nil {
		return reason
	}
	pass, reason := fit.Due(history, j.Model.Retries)
	if reason == nil && pass != m.Rounds() {
		reason = runReason(run, "训练尚未完成", "the training is not complete", "完成全部各轮", "make all rounds first")
	}
	if reason != nil {
		return reason
	}
	if _, snapshots, reason := s.Facts(algebra.Core{Tables: []algebra.Table{{Dataset: j.Dataset}}}); reason != nil {
		return reason
	} else if snapshots[0] != j.Data.Snapshot {
		return runReason(run, "训练期间数据已更换快照，留出单元已不可得", "the snapshot changed since the training, and its held-out units are gone", "重新训练", "train again")
	}
	return s.StoppedRound(last, at)
}

// checkVerdict holds a verdict to the training, to its domain and to the order of things.
func (s *State) checkVerdict(v *entry.RoundVerdict, at time.Time) error {
	if x := s.VerdictDue(v.Run, at); x != nil {
		return x
	}
	r := s.rounds.runs[v.Run]
	last := s.rounds.all[r.Sessions[len(r.Sessions)-1]]
	m, reason := s.ownTraining(last.Joined)
	if reason != nil {
		return reason
	}
	x, err := m.Reads(v.Verdict)
	if err != nil {
		return err
	}
	p, f := federate.DecodeProposal(last.Joined.Proposal)
	if f != nil {
		return f
	}
	fed, _ := s.book.Federation(last.Joined.Region)
	key, ok := fed.KeyOf(last.Joined.Party)
	switch {
	case x.From != last.Joined.Party || !ok || !signature.Verify(key, fit.VerdictBytes(v.Verdict), v.Sig):
		return errors.New("the verdict is not signed by the domain's party")
	case !slices.Equal(x.Contributors, p.Contributors):
		return errors.New("the verdict names other contributors than the rounds had")
	case x.At > at.Unix() || x.At < last.FinishAt/1000:
		return errors.New("the verdict is of another time than between the last round and its entry")
	}
	return nil
}

func (s *State) applyRoundVerdict(e *entry.Entry) error {
	if err := s.gateway(e); err != nil {
		return err
	}
	if err := s.checkVerdict(e.RoundVerdict, e.Time()); err != nil {
		return err
	}
	r := s.rounds.runs[e.RoundVerdict.Run]
	r.Verdict, r.VerdictAt, r.VerdictSeq = e.RoundVerdict, e.At, e.Seq
	return nil
}

// otherPlan is the refusal of a proposal whose columns are not those of the domain's plan.
func otherPlan(dataset, department string) *policies.Reason {
	return &policies.Reason{Code: "FEDERATION_SCHEMA", Rule: "disclosure/" + dataset, SetBy: department, ZH: "提案的列、上下限或噪声与本域的计划不同",
		EN: "columns, bounds or noise of the proposal differ from this domain's plan", HintZH: "各域的目录、脱敏与披露规则须一致", HintEN: "catalogue, masking and disclosure of all domains must agree"}
}

// roundCharges are what a round costs in the scopes of its data set; most takes the place of
// what one query may cost.
func (s *State) roundCharges(p *federate.Proposal, e policies.Entry, at time.Time, most *budget.Nano) ([]budget.Charge, *policies.Reason) {
	id := e.Dataset.ID
	if x := s.spentUnknown([]string{id}); x != nil {
		return nil, x
	}
	_, limits, err := e.Limits()
	if err != nil {
		return nil, missing("POLICY_INVALID", id, e.Department, "数据集“%s”的规则无法读取", "the rules of data set %q cannot be read")
	}
	if most != nil {
		limits.Query = *most
	}
	charges := budget.Charges(id, p.Receiver, Year(at), p.Price(), limits)
	if err := s.filter.Clone().Reserve(charges); err != nil {
		x := exhausted(err, id, e.Department)
		return nil, &x
	}
	return charges, nil
}
