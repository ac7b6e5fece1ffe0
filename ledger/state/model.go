package state

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// Model is what the ledger says of one model job 模型作业.
type Model struct {
	Operator  string
	Request   entry.ModelRequest
	Phase     Phase // REFUSED, RESERVED, RELEASED (certified, whatever the verdict) or FAILED
	At        int64 // first entry, Unix milliseconds
	Seq       uint64
	Reasons   []policies.Reason
	Reserved  *entry.ModelReserved
	Certified *entry.ModelCertified
	Failed    *entry.ModelFailed
	FinishSeq uint64
	FinishAt  int64
	Scored    int64 // rows scored since
	ScoredSeq uint64
}

// models is their projection. Rows are counted in the calendar month of the last
// call; an entry's time never goes back.
type models struct {
	all   map[string]*Model
	order []string

	month string
	rows  map[string]int64 // operator, data set → rows scored in month
	calls map[string]bool  // operator + request id of a scoring call

	modules map[string]module // operator, digest → a module whose file is held
}

func newModels() models {
	return models{all: map[string]*Model{}, rows: map[string]int64{}, calls: map[string]bool{}, modules: map[string]module{}}
}

func (m models) clone() models {
	all := map[string]*Model{}
	for id, x := range m.all {
		own := *x
		all[id] = &own
	}
	m.all, m.order, m.rows, m.calls, m.modules = all, slices.Clone(m.order), maps.Clone(m.rows), maps.Clone(m.calls), maps.Clone(m.modules)
	return m
}

// ModelID derives a model's id from who asks and the request id.
func ModelID(operator, request string) string {
	sum := sha256.Sum256([]byte("sandgate/model/v1\n" + requestKey(operator, request)))
	return hex.EncodeToString(sum[:10])
}

// Model returns a copy of what is known of one.
func (s *State) Model(id string) (Model, bool) {
	m, ok := s.models.all[id]
	if !ok {
		return Model{}, false
	}
	return *m, true
}

// Models lists ids in the order of their first entry.
func (s *State) Models() []string { return slices.Clone(s.models.order) }

// OpenModels lists the models with an open reservation, in order.
func (s *State) OpenModels() []string {
	var out []string
	for _, id := range s.models.order {
		if s.models.all[id].Phase == PhaseReserved {
			out = append(out, id)
		}
	}
	return out
}

// ModelAsk is a model to decide.
type ModelAsk struct {
	Operator string
	Request  entry.ModelRequest
	At       time.Time
}

// ModelDecision is the outcome: exactly one body is set.
type ModelDecision struct {
	Refused  *entry.ModelRefused
	Reserved *entry.ModelReserved
}

func (a ModelAsk) asPolicy() policies.Request {
	return policies.Request{Operator: a.Operator, Licence: a.Request.Licence, Purpose: a.Request.Purpose, At: a.At,
		Product: a.Request.Product, Version: a.Request.Version, Kind: policies.JobModel}
}

// DecideModel is pure, as Decide is.
func (s *State) DecideModel(a ModelAsk) ModelDecision {
	refuse := func(reasons ...policies.Reason) ModelDecision {
		return ModelDecision{Refused: &entry.ModelRefused{Request: a.Request, Reasons: reasons}}
	}
	if reasons := s.book.DecideModel(a.asPolicy()); len(reasons) > 0 {
		return refuse(reasons...)
	}
	p, _ := s.book.ModelProduct(a.Request.Product)
	spec := *p.Model
	if x := s.missingModule(a.Operator, spec, p.ID); x != nil {
		return refuse(*x)
	}
	core := algebra.Core{Tables: []algebra.Table{{Dataset: spec.Dataset}}}
	_, snapshots, reason := s.Facts(core)
	if reason != nil {
		return refuse(*reason)
	}
	e, _ := s.book.Dataset(spec.Dataset)
	invalid := policies.Reason{Code: "POLICY_INVALID", Rule: "disclosure/" + spec.Dataset, SetBy: e.Department, ZH: "模型规则无法读取", EN: "the model rule cannot be read"}
	training, evaluation, err := spec.Price()
	if err != nil {
		return refuse(invalid)
	}
	_, most, _, ok := e.Models()
	_, limits, err := e.Limits()
	if err != nil || !ok {
		return refuse(invalid)
	}
	price := training + evaluation
	if reasons := s.exhaustedQuotas(a.Request.Licence, a.At, price); len(reasons) > 0 {
		return refuse(reasons...)
	}
	if x := s.spentUnknown([]string{spec.Dataset}); x != nil {
		return refuse(*x)
	}
	limits.Query = most // what one model may cost is the model rule's
	charges := budget.Charges(spec.Dataset, a.Operator, Year(a.At), price, limits)
	if err := s.filter.Clone().Reserve(charges); err != nil {
		x := exhausted(err, spec.Dataset, e.Department)
		x.HintZH = "重新训练总要付价；已有的模型仍可用；预算按年度核定，或用较低的 rho 提交新版产品"
		x.HintEN = "training anew is never free, and models that there are stay; budgets are set by the year, or file a version of the product with a lower rho"
		return refuse(x)
	}
	return ModelDecision{Reserved: &entry.ModelReserved{Request: a.Request, Snapshot: snapshots[0], Price: price, Charges: charges}}
}

// modelAsk rebuilds the ask that an entry records.
func (s *State) modelAsk(e *entry.Entry, r entry.ModelRequest) (ModelAsk, error) {
	if r.Model != ModelID(e.Actor, r.Request) {
		return ModelAsk{}, errors.New("id is not derived from operator and request id")
	}
	if _, used := s.models.all[r.Model]; used {
		return ModelAsk{}, errors.New("request id was used before")
	}
	if x := s.CheckSigned(e.Signed, e.Actor, e.Time()); x != nil {
		return ModelAsk{}, x
	}
	if x := SameModel(e.Signed.Statement, e.Actor, r); x != nil {
		return ModelAsk{}, x
	}
	return ModelAsk{Operator: e.Actor, Request: r, At: e.Time()}, nil
}

// SameModel compares what an operator signed with a model's request; it verifies no
// signature. The product's digest commits to the specification, so there is no body.
func SameModel(st request.Statement, operator string, r entry.ModelRequest) *policies.Reason {
	terms := map[string]string{}
	if r.Product != "" {
		terms[request.TermProduct] = r.Product
	}
	if r.Version != "" {
		terms[request.TermDigest] = r.Version
	}
	what := ""
	switch {
	case st.Method != request.MethodModel:
		what = "method"
	case st.Request != r.Request:
		what = "request_id"
	case st.Licence != r.Licence:
		what = "licence"
	case st.Purpose != r.Purpose:
		what = "purpose"
	case !maps.Equal(st.Terms, terms):
		what = "terms"
	case st.Body != "":
		what = "body"
	default:
		return nil
	}
	return policies.SignatureFault(request.Mismatch(what), operator)
}

func (s *State) beginModel(e *entry.Entry, r entry.ModelRequest, phase Phase) *Model {
	m := &Model{Operator: e.Actor, Request: r, Phase: phase, At: e.At, Seq: e.Seq}
	s.models.all[r.Model] = m
	s.models.order = append(s.models.order, r.Model)
	return m
}

func (s *State) applyModelRefused(e *entry.Entry) error {
	r := e.ModelRefused
	a, err := s.modelAsk(e, r.Request)
	if err != nil {
		return err
	}
	if err := same("refusal", r, s.DecideModel(a).Refused); err != nil {
		return err
	}
	s.beginModel(e, r.Request, PhaseRefused).Reasons = r.Reasons
	s.seen(e, entry.Request{Licence: r.Request.Licence}, r.Reasons)
	return nil
}

func (s *State) applyModelReserved(e *entry.Entry) error {
	r := e.ModelReserved
	a, err := s.modelAsk(e, r.Request)
	if err != nil {
		return err
	}
	if err := same("reservation", r, s.DecideModel(a).Reserved); err != nil {
		return err
	}
	if err := s.filter.Reserve(r.Charges); err != nil {
		return err
	}
	s.beginModel(e, r.Request, PhaseReserved).Reserved = r
	s.use(r.Request.Licence, e.Time(), r.Price)
	s.seen(e, entry.Request{Licence: r.Request.Licence}, nil)
	return nil
}

// StoppedModel says how an open model ends at an instant because a book no longer lets
// it run, or its snapshot is gone; nil when it may go on.
func (s *State) StoppedModel(book *policies.Book, id string, at time.Time) *entry.ModelFailed {
	m, ok := s.models.all[id]
	if !ok || m.Phase != PhaseReserved {
		return nil
	}
	if x := book.StoppedModel(ModelAsk{m.Operator, m.Request, at}.asPolicy(), at); x != nil {
		f := &entry.ModelFailed{Model: id, Code: x.Code, By: x.SetBy, Rule: x.Rule}
		switch x.Code {
		case "LICENCE_REVOKED", "LICENCE_EXPIRED", "LICENCE_NOT_YET_VALID":
			f.Code = LicenceEnded
		}
		return f
	}
	dataset := s.datasetOf(m)
	if snap, ok := s.snapshots[dataset]; !ok || snap.Snapshot != m.Reserved.Snapshot {
		return &entry.ModelFailed{Model: id, Code: SnapshotGone}
	}
	return nil
}

func (s *State) datasetOf(m *Model) string {
	p, _ := s.book.ModelProduct(m.Request.Product)
	if p.Model == nil {
		return ""
	}
	return p.Model.Dataset
}

func (s *State) applyModelCertified(e *entry.Entry) error {
	if err := s.gateway(e); err != nil {
		return err
	}
	c := e.ModelCertified
	m, ok := s.models.all[c.Model]
	if !ok || m.Phase != PhaseReserved {
		return errors.New("model has no open reservation")
	}
	if x := s.StoppedModel(s.book, c.Model, e.Time()); x != nil {
		return fmt.Errorf("the model may no longer go on (%s)", x.Code)
	}
	if err := c.Certificate.Check(); err != nil {
		return err
	}
	if err := s.certifies(m, c); err != nil {
		return err
	}
	m.Phase, m.Certified, m.FinishSeq, m.FinishAt = PhaseReleased, c, e.Seq, e.At
	if c.Certificate.Verdict == policies.VerdictPass {
		s.released++
	}
	return nil
}

func (s *State) applyModelFailed(e *entry.Entry) error {
	f := e.ModelFailed
	m, ok := s.models.all[f.Model]
	if !ok || m.Phase != PhaseReserved {
		return errors.New("model has no open reservation")
	}
	if f.Code == Cancelled {
		if err := s.signedAct(e, f.By, ActCancelModel(f.Model)); err != nil {
			return err
		}
		if f.By != m.Operator {
			return errors.New("only its operator cancels a model")
		}
		s.acted(e, f.By)
	} else {
		if err := s.gateway(e); err != nil {
			return err
		}
		if e.Signed != nil {
			return errors.New("the entry holds a signed request, which its kind does not take")
		}
		// A failure that names what stopped it is decided again.
		if want := s.StoppedModel(s.book, f.Model, e.Time()); f.Rule != "" && (want == nil || *want != *f) {
			return errors.New("nothing in force stops the model as the entry says")
		}
	}
	m.Phase, m.Failed, m.FinishSeq, m.FinishAt = PhaseFailed, f, e.Seq, e.At
	return nil
}

// ActCancelModel is what an operator signs to cancel a model.
func ActCancelModel(model string) Act {
	return Act{Method: request.MethodCancelModel, Terms: map[string]string{request.TermModel: model}}
}

// UseModel says why a certified model may not be handed out, or give scores, at an
// instant; nil when it may. What let it be trained must hold still, and a model that
// was not trained privately ends with the data it was made of (R36).
func (s *State) UseModel(operator, id string, at time.Time) *policies.Reason {
	unknown := &policies.Reason{Code: "MODEL_UNKNOWN", Rule: "model", SetBy: "sandgate", ZH: "您没有该编号的模型", EN: "you have no model of this id"}
	m, ok := s.models.all[id]
	if !ok || m.Operator != operator {
		return unknown
	}
	if m.Certified == nil {
		return &policies.Reason{Code: "MODEL_NOT_READY", Rule: "model/" + id, SetBy: "sandgate", ZH: "模型尚未训练完成，或已中止", EN: "the model is not trained yet, or ended without a certificate",
			HintZH: "用 sandgate model show 查看进度", HintEN: "see sandgate model show"}
	}
	if m.Certified.Certificate.Verdict != policies.VerdictPass {
		return &policies.Reason{Code: "MODEL_NOT_RELEASED", Rule: "model/" + id, SetBy: "sandgate",
			ZH:     "模型未通过合格检验：" + strings.Join(m.Certified.Certificate.Reasons, "、"),
			EN:     "the model did not pass the release gate: " + strings.Join(m.Certified.Certificate.Reasons, ", "),
			HintZH: "用 sandgate model certificate 查看各项攻击的结果", HintEN: "see what each attack found with sandgate model certificate"}
	}
	p, ok := s.book.ModelProduct(m.Request.Product)
	if x := s.book.StoppedModel(ModelAsk{m.Operator, m.Request, at}.asPolicy(), at); x != nil {
		return x
	}
	if ok && p.Model.Family == policies.FamilyModule {
		return &policies.Reason{Code: "MODEL_AGGREGATES_ONLY", Rule: "model/" + id, SetBy: "sandgate", ZH: "模块只发布汇总，见其合格证；不导出，也不打分", EN: "a module gives aggregates, which stand in its certificate; it is neither handed out nor gives scores",
			HintZH: "用 sandgate model certificate 查看；自带的行用 sandgate wasm run 打分", HintEN: "see sandgate model certificate; score rows of your own with sandgate wasm run"}
	}
	if !ok || !p.Model.Inside() {
		return nil
	}
	for _, d := range s.destroyed[p.Model.Dataset] {
		if d.Snapshot == m.Reserved.Snapshot {
			return &policies.Reason{Code: "MODEL_DATA_DESTROYED", Rule: "model/" + id, SetBy: "R36", ZH: "模型所用的快照已销毁，非差分隐私训练的模型随之停用", EN: "the snapshot it was made of was destroyed, and a model that was not trained privately ends with it",
				HintZH: "在现行快照上重新训练", HintEN: "train it again on the present snapshot"}
		}
	}
	return nil
}

// DecideScores says why rows may not be scored; nil when they may.
func (s *State) DecideScores(operator, id string, rows int64, at time.Time) *policies.Reason {
	if x := s.UseModel(operator, id, at); x != nil {
		return x
	}
	m := s.models.all[id]
	dataset := s.datasetOf(m)
	e, _ := s.book.Dataset(dataset)
	_, _, most, ok := e.Models()
	if !ok {
		return &policies.Reason{Code: "MODEL_INVALID", Rule: "disclosure/" + dataset, SetBy: e.Department, ZH: "数源部门已不允许模型", EN: "the department no longer allows models"}
	}
	if used := s.models.at(at).rows[keyed(operator, dataset)]; rows <= 0 || rows > most-used {
		return &policies.Reason{Code: "SCORES_EXHAUSTED", Rule: "disclosure/" + dataset, SetBy: e.Department,
			ZH: fmt.Sprintf("本月可打分 %d 行，已用 %d 行", most, used), EN: fmt.Sprintf("%d rows may be scored in this month and %d were", most, used),
			HintZH: "下月重新计算；上限由数源部门核定", HintEN: "it counts anew next month; the department sets the limit"}
	}
	return nil
}

// at is the counters seen at an instant: those of another month are past.
func (m models) at(t time.Time) models {
	if x := t.In(civil).Format(monthForm); x != m.month {
		m.month, m.rows = x, map[string]int64{}
	}
	return m
}

// ScoresCalled says whether a scoring call with this request id was answered.
func (s *State) ScoresCalled(operator, request string) bool {
	return s.models.calls[requestKey(operator, request)]
}

// ActScore is what an operator signs of rows to score: how many there are; the body
// commits to them.
func ActScore(model string) Act {
	return Act{Method: request.MethodScore, Terms: map[string]string{request.TermModel: model}, Secret: true}
}

func (s *State) applyModelScored(e *entry.Entry) error {
	r := e.ModelScored
	if s.ScoresCalled(e.Actor, r.Request) {
		return errors.New("request id was used before")
	}
	act, decide := ActScore(r.Model), s.DecideScores
	if r.Encrypted {
		act, decide = ActScoreEncrypted(r.Model, r.Rows), s.DecideEncrypted
	}
	if err := s.signedAct(e, e.Actor, act); err != nil {
		return err
	}
	if e.Signed.Statement.Request != r.Request {
		return errors.New("the request signed is another one")
	}
	if x := decide(e.Actor, r.Model, r.Rows, e.Time()); x != nil {
		return x
	}
	s.acted(e, e.Actor)
	s.models = s.models.at(e.Time())
	s.models.rows[keyed(e.Actor, s.datasetOf(s.models.all[r.Model]))] += r.Rows
	s.models.calls[requestKey(e.Actor, r.Request)] = true
	m := s.models.all[r.Model]
	m.Scored, m.ScoredSeq = m.Scored+r.Rows, e.Seq
	return nil
}
