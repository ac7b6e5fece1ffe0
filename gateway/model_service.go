package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sandgate/sandgate/compute/engine"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

type modelService struct {
	sandgatev1.UnimplementedModelServiceServer
	d *Domain
}

func modelIDOf(name string) string { return strings.TrimPrefix(name, "models/") }

// modelQuery checks the ids that a model's request names.
func modelQuery(licence, purpose, product string) (ModelQuery, error) {
	switch {
	case licence == "":
		return ModelQuery{}, invalid("LICENCE_MISSING", "缺少授权编号 licence", "licence is missing")
	case purpose == "":
		return ModelQuery{}, invalid("PURPOSE_MISSING", "缺少用途 purpose", "purpose is missing")
	case product == "":
		return ModelQuery{}, invalid("PRODUCT_MISSING", "缺少模型产品 product", "product is missing")
	case len(licence) > 64 || len(purpose) > 64 || len(product) > 64:
		return ModelQuery{}, invalid("ID_TOO_LONG", "编号过长", "an id is too long")
	}
	return ModelQuery{Licence: licence, Purpose: purpose, Product: product}, nil
}

func (s *modelService) ExplainModel(ctx context.Context, req *sandgatev1.ExplainModelRequest) (*sandgatev1.ExplainModelResponse, error) {
	q, err := modelQuery(req.GetLicence(), req.GetPurpose(), req.GetProduct())
	if err != nil {
		return nil, err
	}
	p, err := s.d.ExplainModel(caller(ctx), q)
	if err != nil {
		return nil, err
	}
	out := &sandgatev1.ExplainModelResponse{
		Allowed: len(p.Reasons) == 0, Reasons: reasonsOf(p.Reasons), TrainingNanoRho: p.Training, EvaluationNanoRho: p.Evaluation,
		Columns: p.Columns, Passes: int32(len(p.Passes)), Release: string(p.Spec.Release),
	}
	for _, x := range p.Passes {
		out.Sums += int64(x.Width)
	}
	if len(p.Columns) > 0 {
		out.StepsZh, out.StepsEn = modelSteps(p)
	}
	return out, nil
}

// modelSteps tells in words what becomes of a specification.
func modelSteps(p *ModelPlan) (zh, en []string) {
	add := func(z, e string) { zh, en = append(zh, z), append(en, e) }
	spec := p.Spec
	if spec.Family == policies.FamilyModule {
		return moduleSteps(p)
	}
	add(fmt.Sprintf("工作进程读取数据集 %s 的 %d 列，每个单元至多 %d 行；%d%% 的单元留作评估，不参与训练", spec.Dataset, len(p.Columns), max(1, spec.RowsPerUnit), spec.HoldOut),
		fmt.Sprintf("a worker reads %d columns of data set %s, at most %d rows of each unit; %d%% of the units are held out for evaluation", len(p.Columns), spec.Dataset, max(1, spec.RowsPerUnit), spec.HoldOut))
	if spec.Private {
		add(fmt.Sprintf("差分隐私训练：%d 遍扫描，每遍的和加离散高斯噪声后才离开工作进程，参数只由加噪的和算出", len(p.Passes)-1),
			fmt.Sprintf("private training in %d passes: the sums of each get discrete Gaussian noise before they are used, and the parameters follow from noised sums alone", len(p.Passes)-1))
	} else {
		add("在工作进程内训练；参数只以密文存放，不导出", "training inside the worker; the parameters are kept encrypted and never handed out")
	}
	add("合格检验：结构扫描、成员推断、金丝雀、属性推断、反演、实例重放，并以有意过拟合的模型作对照；任一项不过即不发布",
		"the release gate: structure, membership inference, canaries, attribute inference, inversion and instances, beside a deliberately overfitted control; if one gets through, nothing is released")
	add("通过者以加噪的和评估（AUC、校准、分组均值）并出具合格证；账本先记合格证与参数的散列，再发布",
		"one that passes is evaluated by noised sums (AUC, calibration, group means); the ledger commits to certificate and parameters before anything leaves")
	if spec.Release == policies.ReleaseParameters {
		add("发布：参数文件", "released: the parameter file")
	} else {
		add("发布：打分接口，分值保留两位小数，按月限行数；模型留在域内", "released: scores with two digits, a limited number of rows a month; the model stays inside")
	}
	if spec.EncryptedScores {
		add("另可对加密的行打分：分值是精确的，行数达到参数个数即可解出参数；等同于参数可以离开",
			"and scores of rows that stay encrypted: they are exact, and as many rows as there are parameters give the parameters, which may thereby leave")
	}
	return zh, en
}

// moduleSteps tells what becomes of an operator's module.
func moduleSteps(p *ModelPlan) (zh, en []string) {
	add := func(z, e string) { zh, en = append(zh, z), append(en, e) }
	spec := p.Spec
	add(fmt.Sprintf("工作进程读取数据集 %s 的 %d 列，每个单元至多 %d 行", spec.Dataset, len(p.Columns), max(1, spec.RowsPerUnit)),
		fmt.Sprintf("a worker reads %d columns of data set %s, at most %d rows of each unit", len(p.Columns), spec.Dataset, max(1, spec.RowsPerUnit)))
	add("同一进程内以解释器逐行运行模块，每行一个全新实例；出错、超出指令数的行没有得分，此外不留痕迹",
		"the module runs inside that worker by an interpreter, each row in an instance of its own; a row at which it fails or takes too many instructions has no score, and nothing else comes of it")
	add(fmt.Sprintf("得分截到 %g…%g，分 %d 档，按标签与分组计数；计数加离散高斯噪声后才离开", spec.Bounds.Low, spec.Bounds.High, spec.Bounds.Bins),
		fmt.Sprintf("scores are cut to %g…%g and counted in %d parts by label and group; the counts get discrete Gaussian noise before they leave", spec.Bounds.Low, spec.Bounds.High, spec.Bounds.Bins))
	add("发布：由加噪计数算出的直方图、校准表、AUC 与分组均值；没有用数据训练，因此不做攻击检验",
		"released: histogram, calibration, AUC and group means that follow from the noised counts; nothing is trained on data, so no attack is made")
	return zh, en
}

func (s *modelService) TrainModel(ctx context.Context, req *sandgatev1.TrainModelRequest) (*longrunningpb.Operation, error) {
	q, err := modelQuery(req.GetLicence(), req.GetPurpose(), req.GetProduct())
	if err != nil {
		return nil, err
	}
	if req.GetTwin() != nil {
		m, err := s.d.RehearseModel(ctx, caller(ctx), req.GetRequestId(), q, asTwinRun(req.GetTwin()))
		if err != nil {
			return nil, err
		}
		return done("operations/rehearsal", nil, rehearsedModelOf(m))
	}
	q.Signed = req.GetSignedRequest()
	id, err := s.d.TrainModel(ctx, caller(ctx), req.GetRequestId(), q)
	if err != nil {
		return nil, err
	}
	return modelOperation(ctx, s.d, id)
}

func (s *modelService) GetModel(ctx context.Context, req *sandgatev1.GetModelRequest) (*sandgatev1.Model, error) {
	id := modelIDOf(req.GetName())
	m, err := s.d.settledModel(ctx, caller(ctx), id)
	if err != nil {
		return nil, err
	}
	out := s.d.modelOf(m)
	if m.Phase == state.PhaseReleased {
		receipt, err := s.d.log.Receipt(m.FinishSeq)
		if err != nil {
			return nil, err
		}
		out.Receipt = receiptOf(receipt)
	}
	return out, nil
}

// settledModel is Model once the ledger is as far as the data's level asks.
func (d *Domain) settledModel(ctx context.Context, party, id string) (m state.Model, err error) {
	rule := policies.WaitPublished
	if serr := d.settled(ctx, func() {
		if m, err = d.modelFor(party, id); err == nil {
			rule = d.state.Book().WaitOfModel(m.Request.Product)
		}
	}); serr != nil {
		return m, serr
	}
	if err != nil || m.Phase != state.PhaseReleased {
		return m, err
	}
	return m, d.settledBy(ctx, rule, m.FinishSeq)
}

func (s *modelService) ListModels(ctx context.Context, req *sandgatev1.ListModelsRequest) (*sandgatev1.ListModelsResponse, error) {
	d, party := s.d, caller(ctx)
	all, err := d.modelsOf(ctx, party)
	if err != nil {
		return nil, err
	}
	page, next, err := pageOf(all, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	out := &sandgatev1.ListModelsResponse{NextPageToken: next}
	for _, m := range page {
		out.Models = append(out.Models, d.modelOf(m))
	}
	return out, nil
}

// modelsOf lists the models that a party may see, newest first. A verdict that waits
// for publication or witnesses is not told by the list.
func (d *Domain) modelsOf(ctx context.Context, party string) (all []state.Model, err error) {
	covered := d.coveredBy()
	serr := d.settled(ctx, func() {
		b := d.state.Book()
		who, _ := b.Party(party)
		if who.Role != policies.RoleDepartment {
			if x := b.Authorize(party, policies.ActReadModel, policies.Resource{Operator: party}); x != nil && who.Role != policies.RoleRegulator {
				err = refusal(*x)
				return
			}
		}
		for _, id := range slices.Backward(d.state.Models()) {
			m, ferr := d.modelFor(party, id)
			if ferr != nil {
				continue
			}
			if m.Phase == state.PhaseReleased && !covered(b.WaitOfModel(m.Request.Product), m.FinishSeq) {
				m.Phase, m.Certified = state.PhaseReserved, nil
			}
			all = append(all, m)
		}
	})
	if serr != nil {
		return nil, serr
	}
	return all, err
}

// coveredBy says of an entry whether the ledger is as far as a rule asks, now.
func (d *Domain) coveredBy() func(rule string, seq uint64) bool {
	_, published := d.log.Published()
	_, witnessed := d.log.Witnessed()
	contested := d.log.Disputed() != nil
	return func(rule string, seq uint64) bool {
		switch {
		case contested:
			return false
		case rule == policies.WaitDurable:
			return true
		case rule == policies.WaitWitnessed:
			return seq < witnessed
		}
		return seq < published
	}
}

func (s *modelService) CancelModel(ctx context.Context, req *sandgatev1.CancelModelRequest) (*sandgatev1.Model, error) {
	id := modelIDOf(req.GetName())
	if err := s.d.CancelModel(ctx, caller(ctx), id); err != nil {
		return nil, err
	}
	return s.GetModel(ctx, &sandgatev1.GetModelRequest{Name: id})
}

// modelOf renders what the ledger says of a model.
func (d *Domain) modelOf(m state.Model) *sandgatev1.Model {
	id := m.Request.Model
	out := &sandgatev1.Model{
		Name: "models/" + id, Operator: m.Operator, Licence: m.Request.Licence, Purpose: m.Request.Purpose, Product: m.Request.Product, ProductVersion: m.Request.Version,
		Reasons: reasonsOf(modelReasons(m)), CreateTime: timestamppb.New(time.UnixMilli(m.At)), Seq: m.Seq, RowsScored: m.Scored,
		State: map[state.Phase]sandgatev1.Model_State{
			state.PhaseRefused: sandgatev1.Model_STATE_REFUSED, state.PhaseReserved: sandgatev1.Model_STATE_RUNNING,
			state.PhaseReleased: sandgatev1.Model_STATE_CERTIFIED, state.PhaseFailed: sandgatev1.Model_STATE_FAILED,
		}[m.Phase],
	}
	if m.Reserved != nil {
		out.PriceNanoRho, out.Snapshot = int64(m.Reserved.Price), m.Reserved.Snapshot
	}
	if m.Phase == state.PhaseReserved {
		if _, waits := d.queued(modelRun(id)); waits {
			out.State = sandgatev1.Model_STATE_QUEUED
		}
		d.mu.Lock()
		if p, ok := d.progress[id]; ok {
			out.Progress = &sandgatev1.ModelProgress{Stage: stageName(p.Stage), Done: int32(p.Done), Total: int32(p.Total)}
		}
		d.mu.Unlock()
	}
	if c := m.Certified; c != nil {
		out.Verdict = verdictOf(c.Certificate.Verdict)
		out.ParametersDigest = c.Parameters
		if c.Certificate.Verdict == policies.VerdictPass {
			d.log.View(func() {
				if p, ok := d.state.Book().ModelProduct(m.Request.Product); ok && p.Digest() == m.Request.Version {
					out.Release = string(p.Model.Release)
				}
			})
		}
	}
	return out
}

func verdictOf(v policies.Verdict) sandgatev1.Model_Verdict {
	return map[policies.Verdict]sandgatev1.Model_Verdict{
		policies.VerdictPass: sandgatev1.Model_VERDICT_PASS, policies.VerdictFail: sandgatev1.Model_VERDICT_FAIL, policies.VerdictVoid: sandgatev1.Model_VERDICT_VOID,
	}[v]
}

func stageName(s engine.ModelStage) string {
	return map[engine.ModelStage]string{engine.StageLoad: "load", engine.StageTrain: "train", engine.StageGate: "gate", stageEvaluate: "evaluate"}[s]
}

// modelReasons is why a model was refused, did not pass or ended.
func modelReasons(m state.Model) []policies.Reason {
	if m.Certified != nil {
		return gateReasons(m.Certified.Certificate)
	}
	f := m.Failed
	if f == nil {
		return m.Reasons
	}
	r := policies.Reason{Code: f.Code, Rule: "execution", SetBy: "sandgate", HintZH: "预算不退还；可用新的 request_id 重新提交", HintEN: "its price stays debited; submit it anew under another request_id"}
	if text, ok := modelEnds[f.Code]; ok {
		r.ZH, r.EN = text[0], text[1]
		if text[2] != "" {
			r.HintZH, r.HintEN = text[2], text[3]
		}
		return []policies.Reason{r}
	}
	if f.Rule != "" {
		r.Rule, r.SetBy = f.Rule, f.By
		r.ZH, r.EN = "模型已依 "+f.Rule+" 停止，没有发布", "the model was stopped by "+f.Rule+"; nothing was released"
		return []policies.Reason{r}
	}
	r.Code, r.ZH, r.EN = "EXECUTION_FAILED", "模型未能完成", "the model could not be completed"
	return []policies.Reason{r}
}

// modelEnds are the ends of models that have words of their own: Chinese, English, and
// hints where they differ from that of every end.
var modelEnds = map[string][4]string{
	state.Cancelled:               {"已取消", "cancelled", "", ""},
	state.SnapshotGone:            {"训练期间数据快照已更新", "the snapshot was replaced meanwhile", "", ""},
	"SNAPSHOT_DESTROYED":          {"训练期间数据快照被销毁", "the snapshot was destroyed meanwhile", "", ""},
	string(engine.ModelUnfit):     {"数据不足以训练该模型：单元过少、标签只有一类或缺失、特征没有变化或训练不收敛", "the rows carry no such model: too few units, labels of one class or none, features that do not vary, or no solution", "换用更大的数据集、其他标签或特征；价格不退", "take a larger data set, another label or other features; the price stays charged"},
	string(engine.ModelNotListed): {"有存储值不在现行代码表内", "a stored value is outside the code list in force", "由数源部门重新入库或补全代码表", "the department ingests again, or completes the code list"},
	string(engine.ModelModule):    {"模块无法运行，或其列与规格不符", "the module does not run, or its columns are not those of the specification", "用 sandgate wasm check 检查；重新拟稿、登记并送审", "look at it with sandgate wasm check; draft, file and review it again"},
	string(engine.ModelTooLarge):  {"行数超出工作进程的内存", "the rows do not fit into a worker's memory", "减少 rows_per_unit 或特征", "take fewer rows_per_unit or features"},
}

// modelOperation is a model as an operation: done when the ledger holds its outcome.
func modelOperation(ctx context.Context, d *Domain, id string) (*longrunningpb.Operation, error) {
	party, name := caller(ctx), "operations/models/"+id
	m, err := d.settledModel(ctx, party, id)
	if err != nil {
		return nil, err
	}
	meta := d.modelOf(m)
	body, err := anypb.New(meta)
	if err != nil {
		return nil, err
	}
	var refused *Refusal
	switch {
	case m.Phase == state.PhaseReleased:
		receipt, err := d.log.Receipt(m.FinishSeq)
		if err != nil {
			return nil, err
		}
		meta.Receipt = receiptOf(receipt)
		return done(name, meta, meta)
	case m.Phase == state.PhaseReserved && d.isRunning(modelRun(id)):
		return &longrunningpb.Operation{Name: name, Metadata: body}, nil
	case m.Phase == state.PhaseReserved:
		refused = refusal(policies.Reason{Code: "OUTCOME_UNKNOWN", Rule: "ledger", ZH: "模型尚未完成", EN: "the model has not finished",
			HintZH: "请用同一 request_id 重试，不会再次扣减", HintEN: "retry with the same request_id; nothing is debited again"})
	default:
		refused = &Refusal{Job: "", Reasons: modelReasons(m)}
	}
	st, _ := status.FromError(statusOf(refused))
	return &longrunningpb.Operation{Name: name, Metadata: body, Done: true, Result: &longrunningpb.Operation_Error{Error: st.Proto()}}, nil
}
