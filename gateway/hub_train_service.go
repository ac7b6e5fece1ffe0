package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sandgate/sandgate/compute/federate"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

type trainingService struct {
	sandgatev1.UnimplementedTrainingServiceServer
	d *Domain
}

func trainingIDOf(name string) string { return strings.TrimPrefix(name, "trainings/") }

// maxSpecification bounds the specification of a training, in bytes: it stands in an entry.
const maxSpecification = 32 << 10

func (s *trainingService) ProposeTraining(ctx context.Context, req *sandgatev1.ProposeTrainingRequest) (*sandgatev1.Training, error) {
	for _, id := range append([]string{req.GetLicence(), req.GetPurpose(), req.GetRegion(), req.GetPeriod(), req.GetScheme()}, req.GetContributors()...) {
		if len(id) > 64 {
			return nil, invalid("ID_TOO_LONG", "编号过长", "an id is too long")
		}
	}
	switch {
	case req.GetRegion() == "":
		return nil, invalid("FEDERATION_MISSING", "缺少跨域协议 region", "region, the agreement, is missing")
	case req.GetLicence() == "":
		return nil, invalid("LICENCE_MISSING", "缺少授权编号 licence", "licence is missing")
	case req.GetPurpose() == "":
		return nil, invalid("PURPOSE_MISSING", "缺少用途 purpose", "purpose is missing")
	case req.GetPeriod() == "":
		return nil, invalid("ROUND_PERIOD", "缺少期次 period", "period is missing")
	case len(req.GetSpecification()) == 0 || len(req.GetSpecification()) > maxSpecification:
		return nil, invalid("MODEL_INVALID", "缺少模型规格，或超过 32 KiB", "the specification is missing, or has more than 32 KiB")
	case len(req.GetContributors()) > federate.MaxContributors:
		return nil, invalid("ROUND_PARTY", "参与方过多", "too many domains")
	}
	spec, err := policies.ParseModelSpec(req.GetSpecification())
	if err != nil || spec.Text() != string(req.GetSpecification()) {
		return nil, invalid("MODEL_INVALID", "模型规格有误，或不是规范的 JSON", "the specification is malformed, or not the JSON that it is written as")
	}
	q := TrainingQuery{Region: req.GetRegion(), Licence: req.GetLicence(), Purpose: req.GetPurpose(), Period: req.GetPeriod(), Spec: *spec,
		Scheme: req.GetScheme(), Contributors: req.GetContributors(), Seconds: int(req.GetSeconds()), Signed: req.GetSignedRequest()}
	if req.Retries != nil {
		n := int(req.GetRetries())
		q.Retries = &n
	}
	run, err := s.d.ProposeTraining(ctx, caller(ctx), req.GetRequestId(), q)
	if err != nil {
		return nil, err
	}
	return s.get(ctx, run)
}

func (s *trainingService) GetTraining(ctx context.Context, req *sandgatev1.GetTrainingRequest) (*sandgatev1.Training, error) {
	return s.get(ctx, trainingIDOf(req.GetName()))
}

func (s *trainingService) get(ctx context.Context, run string) (*sandgatev1.Training, error) {
	if err := s.d.settled(ctx, func() {}); err != nil {
		return nil, err
	}
	t, err := s.d.trainingFor(caller(ctx), run)
	if err != nil {
		return nil, err
	}
	return s.d.trainingOf(t), nil
}

func (s *trainingService) ListTrainings(ctx context.Context, req *sandgatev1.ListTrainingsRequest) (*sandgatev1.ListTrainingsResponse, error) {
	d, party := s.d, caller(ctx)
	var all []state.HubTraining
	var err error
	if serr := d.settled(ctx, func() {
		if x := d.state.Book().Authorize(party, policies.ActReadRound, policies.Resource{Operator: party}); x != nil {
			err = refusal(*x)
			return
		}
		for _, run := range slices.Backward(d.state.HubTrainings()) {
			if t, terr := d.trainingInView(party, run); terr == nil {
				all = append(all, t)
			}
		}
	}); serr != nil {
		return nil, serr
	}
	if err != nil {
		return nil, err
	}
	page, next, err := pageOf(all, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	out := &sandgatev1.ListTrainingsResponse{NextPageToken: next}
	for _, t := range page {
		out.Trainings = append(out.Trainings, d.trainingOf(t))
	}
	return out, nil
}

func (s *trainingService) CancelTraining(ctx context.Context, req *sandgatev1.CancelTrainingRequest) (*sandgatev1.Training, error) {
	run := trainingIDOf(req.GetName())
	if err := s.d.cancelTraining(ctx, caller(ctx), run); err != nil {
		return nil, err
	}
	return s.get(ctx, run)
}

func (s *trainingService) GetTrainedModel(ctx context.Context, req *sandgatev1.GetTrainedModelRequest) (*sandgatev1.TrainedModel, error) {
	d, run := s.d, trainingIDOf(req.GetName())
	if err := d.settled(ctx, func() {}); err != nil {
		return nil, err
	}
	t, err := d.trainingFor(caller(ctx), run)
	if err != nil {
		return nil, err
	}
	if err := d.Authorize(caller(ctx), policies.ActFetchRound, policies.Resource{Operator: t.Operator}); err != nil {
		return nil, err
	}
	if t.Phase != state.PhaseReleased {
		return nil, &Refusal{Reasons: trainingReasons(t)}
	}
	rule := policies.WaitPublished
	d.log.View(func() { b := d.state.Book(); rule = b.WaitOf(b.TrainingCore(t.Asked.Request.Spec)) })
	if err := d.settledBy(ctx, rule, t.FinishSeq); err != nil {
		return nil, err
	}
	x, err := d.readTrained(t.Certified)
	if err != nil {
		d.opt.Logger.Error("the stored model of a training is missing or damaged", "training", run)
		return nil, refusal(damaged)
	}
	receipt, err := d.log.Receipt(t.FinishSeq)
	if err != nil {
		return nil, err
	}
	return &sandgatev1.TrainedModel{Training: d.trainingOf(t), File: x.File, Certificate: x.Certificate, Evaluation: x.Evaluation, Receipt: receiptOf(receipt)}, nil
}

// readTrained reads a stored model and holds it against the ledger.
func (d *Domain) readTrained(c *entry.HubModelCertified) (x certified, err error) {
	text, err := os.ReadFile(d.releasePath(c.Stored))
	if err != nil {
		return x, fmt.Errorf("failed to read the model: %w", err)
	}
	if err := json.Unmarshal(text, &x); err != nil {
		return x, fmt.Errorf("failed to read the model: %w", err)
	}
	if hashText(text) != c.Stored || hashText(x.File) != c.File || hashText(x.Certificate) != c.Certificate {
		return x, errors.New("the model is not the one that the ledger commits to")
	}
	return x, nil
}

// trainingOf renders what ledger and hub say of a training. It must not be called in View:
// see roundOf.
func (d *Domain) trainingOf(t state.HubTraining) *sandgatev1.Training {
	p := t.Asked
	r := p.Request
	out := &sandgatev1.Training{
		Name: "trainings/" + r.Run, Operator: t.Operator, Licence: r.Licence, Purpose: r.Purpose, Region: r.Region, Dataset: r.Spec.Dataset, Period: r.Period, Family: string(r.Spec.Family),
		Scheme: p.Scheme, Contributors: p.Contributors, PriceNanoRho: int64(p.Price), ReserveNanoRho: int64(p.Reserve), Passes: int32(p.Passes), Answered: int32(t.Answered()), Retries: int32(p.Retries),
		Judged: t.Judged, CreateTime: timestamppb.New(time.UnixMilli(t.At)), Seq: t.Seq, Overlap: int32(t.Overlap),
		State: map[state.Phase]sandgatev1.Training_State{
			state.PhaseReserved: sandgatev1.Training_STATE_RUNNING, state.PhaseReleased: sandgatev1.Training_STATE_CERTIFIED, state.PhaseFailed: sandgatev1.Training_STATE_FAILED,
		}[t.Phase],
	}
	for _, a := range t.Passes {
		x := &sandgatev1.TrainingPass{Pass: int32(a.Pass), Session: a.Session, Answered: a.Release != ""}
		if a.Missed != nil {
			x.Reasons = reasonsOf([]policies.Reason{missReason(a.Missed.Code, a.Missed.Party, a.Missed.Reason)})
		}
		out.Attempts = append(out.Attempts, x)
	}
	switch t.Phase {
	case state.PhaseReserved:
		out.Phase, out.Missing = d.trainingPhase(t)
	case state.PhaseReleased:
		out.Model = t.Certified.Model
	case state.PhaseFailed:
		out.Reasons = reasonsOf(trainingReasons(t))
	}
	return out
}

// trainingPhase is what a training waits for.
func (d *Domain) trainingPhase(t state.HubTraining) (phase string, missing []string) {
	if p, open := t.Open(); open {
		if st, err := d.aggregator.hub.State(p.Session); err == nil {
			return string(st.Phase), st.Missing
		}
		return "", nil
	}
	if t.Answered() == t.Asked.Passes {
		for _, c := range t.Asked.Contributors {
			if !slices.Contains(t.Judged, c) {
				missing = append(missing, c)
			}
		}
		return "trial", missing
	}
	return "", nil
}

// missReason is why a pass, or a training, ended, with the party in the way.
func missReason(code, party string, said *policies.Reason) policies.Reason {
	if said == nil {
		return policies.Reason{Code: code, Rule: "federation", SetBy: party, ZH: "未能完成", EN: "it could not be completed"}
	}
	x := *said
	x.SetBy = party
	return x
}

// trainingReasons is why a training has no model.
func trainingReasons(t state.HubTraining) []policies.Reason {
	f := t.Ended
	again := func(x policies.Reason) []policies.Reason {
		if x.HintZH == "" && x.HintEN == "" {
			x.HintZH, x.HintEN = "请用新的 request_id 重新训练；各域已扣的预算不退还", "train again under another request_id; what the domains have charged stays charged"
		}
		return []policies.Reason{x}
	}
	switch {
	case f == nil:
		return []policies.Reason{{Code: "TRAINING_RUNNING", Rule: "federation", SetBy: "sandgate", ZH: "训练进行中，尚无模型", EN: "the training runs and has no model yet",
			HintZH: "用 sandgate round training 查看进度", HintEN: "see its progress with sandgate round training"}}
	case f.Code == state.Cancelled:
		return again(policies.Reason{Code: f.Code, Rule: "request", SetBy: f.By, ZH: "训练已由“" + f.By + "”取消", EN: "the training was cancelled by " + f.By})
	case f.Rule != "":
		return again(policies.Reason{Code: f.Code, Rule: f.Rule, SetBy: f.By, ZH: "训练已依 " + f.Rule + " 停止", EN: "the training was stopped by " + f.Rule})
	}
	return again(missReason(f.Code, f.Party, f.Reason))
}
