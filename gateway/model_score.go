package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/model"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
	"github.com/sandgate/sandgate/sandbox"
)

// scoreWall bounds one scoring call.
const scoreWall = 20 * time.Second

// damagedModel is a parameter file that is not the one the ledger commits to.
var damagedModel = policies.Reason{Code: "MODEL_DAMAGED", Rule: "ledger", SetBy: "sandgate",
	ZH: "存放的模型文件缺失，或与账本所记散列不符，未交付", EN: "what is kept of the model is missing, or not what the ledger commits to; nothing is handed out",
	HintZH: "请网关管理员从备份恢复主目录下的 models 目录", HintEN: "have the gateway's administrator restore the directory models of its home from backup"}

// usable opens the parameter file of a model that its operator may use now, and holds
// it against the ledger; and with judged the released evaluation, where there is one.
func (d *Domain) usable(ctx context.Context, operator, id string, judged *model.Evaluation) (file []byte, m state.Model, spec policies.ModelSpec, err error) {
	rule := policies.WaitPublished
	serr := d.settled(ctx, func() {
		m, _ = d.state.Model(id)
		if x := d.state.Book().Authorize(operator, policies.ActUseModel, policies.Resource{Operator: m.Operator}); x != nil {
			err = refusal(*x)
			if m.Operator != "" && m.Operator != operator {
				err = invalid("NOT_FOUND", "没有这个模型", "there is no such model")
			}
			return
		}
		if x := d.state.UseModel(operator, id, d.instant()); x != nil {
			err = refusal(*x)
			return
		}
		b := d.state.Book()
		rule = b.WaitOfModel(m.Request.Product)
		p, _ := b.ModelProduct(m.Request.Product)
		spec = *p.Model
	})
	if err = errors.Join(serr, err); err != nil {
		return nil, m, spec, err
	}
	if d.log.Disputed() != nil {
		return nil, m, spec, disputed()
	}
	if err := d.settledBy(ctx, rule, m.FinishSeq); err != nil {
		return nil, m, spec, err
	}
	kept, err := d.openModel(id, false)
	if err == nil {
		defer kept.close()
		file, err = kept.load(partParameters)
	}
	if err != nil || digestOf(file) != m.Certified.Parameters {
		d.opt.Logger.Error("the parameters of a model are missing or damaged", "model", id)
		return nil, m, spec, refusal(damagedModel)
	}
	if want := m.Certified.Certificate.Evaluation; judged != nil && want != "" {
		text, err := kept.load(partFigures)
		if err != nil || digestOf(text) != want || json.Unmarshal(text, judged) != nil {
			d.opt.Logger.Error("the report of a model is missing or damaged", "model", id)
			return nil, m, spec, refusal(damagedModel)
		}
	}
	return file, m, spec, nil
}

func (s *modelService) DownloadModel(ctx context.Context, req *sandgatev1.DownloadModelRequest) (*sandgatev1.ModelFile, error) {
	id := modelIDOf(req.GetName())
	file, m, spec, err := s.d.usable(ctx, caller(ctx), id, nil)
	if err != nil {
		return nil, err
	}
	if !spec.Private || spec.Release != policies.ReleaseParameters {
		return nil, refusal(policies.Reason{Code: "MODEL_STAYS_INSIDE", Rule: "model/" + id, SetBy: "sandgate", ZH: "该模型不导出参数，只提供打分", EN: "this model's parameters stay inside; it gives scores",
			HintZH: "用 sandgate model score 打分", HintEN: "use sandgate model score"})
	}
	receipt, err := s.d.log.Receipt(m.FinishSeq)
	if err != nil {
		return nil, err
	}
	return &sandgatev1.ModelFile{Name: "models/" + id + "/file", Content: file, Digest: m.Certified.Parameters, Receipt: receiptOf(receipt)}, nil
}

// Scores is the answer to one scoring call.
type Scores struct {
	engine.Scored
	// Confidences has an estimate for each row, nil where there is none.
	Confidences []*model.Estimate
	Left        int64 // rows that may still be scored this month
	Receipt     ledger.Receipt
}

// ScoreModel scores rows that a model's operator brings. They are held in memory and in
// one worker while they are scored; the ledger counts them before the scores are given.
func (d *Domain) ScoreModel(ctx context.Context, operator, requestID, id string, columns []string, rows [][]string, envelope, salt []byte) (*Scores, error) {
	if !requestIDPattern.MatchString(requestID) {
		return nil, invalid("REQUEST_ID", "request_id 必须是 UUID", "request_id must be a UUID")
	}
	judged := &model.Evaluation{}
	file, _, _, err := d.usable(ctx, operator, id, judged)
	if err != nil {
		return nil, err
	}
	signed, err := d.openRequest(operator, requestID, envelope, salt, request.ScoreFields(columns, rows))
	if err != nil {
		return nil, err
	}
	var refused error
	d.log.View(func() {
		switch x := d.state.CheckAct(signed, operator, state.ActScore(id), d.instant()); {
		case d.state.ScoresCalled(operator, requestID):
			refused = invalid("REQUEST_ID_REUSED", "该 request_id 已用于一次打分", "the request_id was used for scores before")
		case x != nil:
			refused = x
		default:
			if x := d.state.DecideScores(operator, id, int64(len(rows)), d.instant()); x != nil {
				refused = refusal(*x)
			}
		}
	})
	if refused != nil {
		return nil, refused
	}
	out, err := d.score(ctx, operator, file, columns, rows)
	if err != nil {
		return nil, err
	}
	answer := &Scores{Scored: *out}
	for _, r := range out.Rows {
		answer.Confidences = append(answer.Confidences, judged.Confidence(r))
	}
	answer.Receipt, err = d.append(ctx, func(e *entry.Entry) error {
		if x := d.state.DecideScores(operator, id, int64(len(rows)), e.Time()); x != nil {
			return refusal(*x)
		}
		e.Kind, e.Actor, e.Signed = entry.KindModelScored, operator, signed
		e.ModelScored = &entry.ModelScored{Model: id, Request: requestID, Rows: int64(len(rows))}
		return nil
	})
	if err != nil {
		return nil, err
	}
	d.log.View(func() { answer.Left = d.state.ScoresLeft(id, d.instant()) })
	return answer, nil
}

// score runs the worker.
func (d *Domain) score(ctx context.Context, operator string, file []byte, columns []string, rows [][]string) (*engine.Scored, error) {
	if err := d.pool.Restart(ctx); err != nil {
		d.opt.Logger.Error("workers cannot be started")
		return nil, workersDown()
	}
	ticket, err := d.pool.Admit(engine.ScoreHandler, operator)
	switch {
	case errors.Is(err, sandbox.ErrBusy):
		return nil, queueFull()
	case errors.Is(err, sandbox.ErrSpawner):
		return nil, workersDown()
	case err != nil:
		return nil, err
	}
	defer ticket.Close()
	ctx, cancel := context.WithTimeout(ctx, scoreWall)
	defer cancel()
	if err := ticket.Wait(ctx, nil); err != nil {
		return nil, queueFull()
	}
	out, err := d.runner.Score(sandbox.WithTicket(ctx, ticket), file, columns, rows, sandbox.Limits{Wall: scoreWall, Memory: d.opt.Memory, Threads: 1})
	var fault *engine.ScoreFault
	var refused *engine.ModelRefused
	switch {
	case errors.As(err, &fault):
		return nil, rowsRefused(fault)
	case errors.As(err, &refused):
		return nil, refusal(damagedModel)
	case err != nil:
		return nil, refusal(policies.Reason{Code: "SCORING_FAILED", Rule: "execution", SetBy: "sandgate", ZH: "打分未能完成，不计行数", EN: "the rows could not be scored; none is counted",
			HintZH: "请用新的 request_id 重试，或减少行数", HintEN: "try again under another request_id, or with fewer rows"})
	}
	return out, nil
}

// rowsRefused names the place that is wrong, and no value.
func rowsRefused(f *engine.ScoreFault) error {
	r := policies.Reason{Code: f.Code, Rule: "request", SetBy: "sandgate", Line: f.Row, Column: f.Column,
		HintZH: "列与取值须与目录一致；不计行数", HintEN: "columns and values are those of the catalogue; no row is counted"}
	switch f.Code {
	case "COLUMN_MISSING":
		r.ZH, r.EN = fmt.Sprintf("缺少模型的第 %d 个特征列", f.Column), fmt.Sprintf("the column of the model's feature %d is missing", f.Column)
		r.Line, r.Column = 0, 0
	case "COLUMN_UNKNOWN":
		r.ZH, r.EN = fmt.Sprintf("第 %d 列不是模型的特征，或重复", f.Column), fmt.Sprintf("column %d is no feature of the model, or stands twice", f.Column)
		r.Line, r.Column = 0, 0
	case "ROW_COUNT":
		r.ZH, r.EN = fmt.Sprintf("一次须有 1 到 %d 行", engine.MaxScored), fmt.Sprintf("a call holds 1 to %d rows", engine.MaxScored)
	default:
		r.ZH, r.EN = "取值不符合该列的类型、代码表，或不得缺失", "the value does not fit the column's type or code list, or must not be missing"
	}
	return refusal(r)
}

func (s *modelService) ScoreModel(ctx context.Context, req *sandgatev1.ScoreModelRequest) (*sandgatev1.ScoreModelResponse, error) {
	rows := make([][]string, len(req.GetRows()))
	for i, r := range req.GetRows() {
		rows[i] = r.GetValues()
	}
	if len(rows) == 0 || len(rows) > engine.MaxScored {
		return nil, rowsRefused(&engine.ScoreFault{Code: "ROW_COUNT"})
	}
	a, err := s.d.ScoreModel(ctx, caller(ctx), req.GetRequestId(), modelIDOf(req.GetName()), slices.Clone(req.GetColumns()), rows, req.GetSignedRequest(), req.GetSalt())
	if err != nil {
		return nil, err
	}
	out := &sandgatev1.ScoreModelResponse{Columns: a.Columns, RowsLeft: a.Left, Receipt: receiptOf(a.Receipt)}
	for _, r := range a.Rows {
		out.Scores = append(out.Scores, &sandgatev1.ModelRow{Values: r})
	}
	for _, c := range a.Confidences {
		shown := &sandgatev1.ScoreConfidence{}
		if c != nil {
			text := func(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }
			shown.Observed, shown.Lower, shown.Upper = text(c.Value), text(c.Low), text(c.High)
		}
		out.Confidences = append(out.Confidences, shown)
	}
	return out, nil
}
