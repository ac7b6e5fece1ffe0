package gateway

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// RehearsedModel is what became of a model on synthetic rows: no certificate, nothing
// kept.
type RehearsedModel struct {
	Product string
	Verdict policies.Verdict
	Reasons []policies.Reason
	Figures []byte
	File    []byte // in a wrapper that says what it is
	Mark    *Mark
}

// syntheticFile wraps the parameters of a rehearsal. No reader of parameter files takes
// it: they take their own format alone.
type syntheticFile struct {
	Format     string          `json:"format"`
	NoticeZH   string          `json:"notice_zh"`
	NoticeEN   string          `json:"notice_en"`
	Twins      []MarkSource    `json:"twins"`
	Seed       string          `json:"seed"`
	Parameters json.RawMessage `json:"parameters"`
}

const syntheticFormat = "sandgate-synthetic-model/v1"

// RehearseModel trains a reviewed product on the twin of its data set, gate and
// evaluation included, under the decision that TrainModel would take now. It returns
// when that is done; nothing is charged, certified, ledgered or kept.
func (d *Domain) RehearseModel(ctx context.Context, operator, requestID string, q ModelQuery, run TwinRun) (*RehearsedModel, error) {
	if err := d.Authorize(operator, policies.ActTrainModel, policies.Resource{}); err != nil {
		return nil, err
	}
	if d.log.Disputed() != nil {
		return nil, disputed()
	}
	if err := run.checked(requestID); err != nil {
		return nil, err
	}
	t, err := d.planModel(ctx, operator, rehearsalPrefix+requestID, q)
	if err != nil {
		return nil, err
	}
	defer func() { t.settle() }()
	var price budget.Nano
	var reasons []policies.Reason
	d.log.View(func() {
		x := d.state.DecideModel(t.ask)
		if x.Refused != nil {
			reasons = x.Refused.Reasons
		} else {
			price = x.Reserved.Price
		}
	})
	if len(reasons) > 0 {
		return nil, &Refusal{Reasons: reasons}
	}
	if !t.ready {
		return nil, refusal(policies.Reason{Code: "POLICY_CHANGED", Rule: "policy", ZH: "受理期间规则已变更，请重试", EN: "the rules changed meanwhile; try again"})
	}
	if _, err := d.moduleOf(t); err != nil {
		return nil, err
	}
	spec := t.job.Design.Spec
	x, lease, err := d.drawOne(ctx, operator, spec.Dataset, run)
	if err != nil {
		return nil, err
	}
	t.lease = lease
	if err := d.seatRehearsal(ctx, operator, engine.ModelHandler, &t.ticket); err != nil {
		return nil, err
	}
	out, err := d.trainRehearsal(ctx, t)
	if err != nil {
		return nil, err
	}
	m := &RehearsedModel{Product: q.Product, Verdict: out.certificate.Verdict, Figures: out.figures, Reasons: gateReasons(out.certificate), Mark: markOfOne(x, run, price, t.job.Design.Columns)}
	if m.Verdict != policies.VerdictPass || spec.Release != policies.ReleaseParameters || len(out.parameters) == 0 {
		return m, nil
	}
	m.File, err = json.Marshal(syntheticFile{Format: syntheticFormat, NoticeZH: syntheticZH, NoticeEN: syntheticEN, Twins: m.Mark.Sources, Seed: run.Seed, Parameters: out.parameters})
	return m, err
}

// trainRehearsal computes under an id that no ledger knows, and removes what that keeps.
func (d *Domain) trainRehearsal(ctx context.Context, t *training) (out *trained, err error) {
	var b [10]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, fmt.Errorf("failed to name a rehearsal: %w", err)
	}
	id := rehearsalPrefix + hex.EncodeToString(b[:])
	ctx, cancel := context.WithTimeout(sandbox.WithTicket(ctx, t.ticket), modelWall)
	defer cancel()
	defer func() {
		d.mu.Lock()
		delete(d.progress, id)
		d.mu.Unlock()
		err = errors.Join(err, d.dropModel(id))
	}()
	if out, err = d.attemptModel(ctx, id, t); err == nil || ctx.Err() != nil {
		return out, err
	}
	var refused *engine.ModelRefused
	if errors.As(err, &refused) {
		return nil, refusal(policies.Reason{Code: string(refused.Code), Rule: "execution", SetBy: "sandgate", ZH: "未能训练；没有扣减", EN: "it could not be trained; nothing was charged"})
	}
	return nil, refusal(*rehearsalFailure(ctx, err))
}

// seatRehearsal waits in the queue of the workers that the real ones wait in.
func (d *Domain) seatRehearsal(ctx context.Context, operator, handler string, ticket **sandbox.Ticket) error {
	if err := d.pool.Restart(ctx); err != nil {
		return workersDown()
	}
	var err error
	*ticket, err = d.pool.Admit(handler, operator)
	switch {
	case errors.Is(err, sandbox.ErrBusy):
		return queueFull()
	case errors.Is(err, sandbox.ErrSpawner):
		return workersDown()
	case err != nil:
		return err
	}
	return (*ticket).Wait(ctx, nil)
}

// markOfOne marks an answer about one data set.
func markOfOne(x *draw, run TwinRun, price budget.Nano, columns []string) *Mark {
	s := MarkSource{Dataset: x.dataset, Twin: x.twin, Units: x.units, Rows: x.rows}
	for _, c := range columns {
		if base := policies.BaseColumn(c); slices.Contains(x.madeUp, base) && !slices.Contains(s.MadeUp, base) {
			s.MadeUp = append(s.MadeUp, base)
		}
	}
	return &Mark{Sources: []MarkSource{s}, Seed: run.Seed, Price: price}
}

// RehearseVerification answers a reviewed question about a synthetic person from the
// twin, under the decision that Verify would take now. Every synthetic person has
// agreed. Nothing is counted or ledgered.
func (d *Domain) RehearseVerification(ctx context.Context, operator, requestID string, q Question, run TwinRun) (confirmed bool, mark *Mark, err error) {
	if err := d.Authorize(operator, policies.ActVerify, policies.Resource{}); err != nil {
		return false, nil, err
	}
	if d.log.Disputed() != nil {
		return false, nil, disputed()
	}
	if err := run.checked(requestID); err != nil {
		return false, nil, err
	}
	var e policies.Entry
	d.log.View(func() {
		if p, ok := d.state.Book().Product(q.Product); ok && p.Operator == operator && p.Predicate != nil {
			e, _ = d.state.Book().Dataset(p.Predicate.Dataset)
		}
	})
	if e.Dataset.Unit != nil {
		var n uint64
		if got, serr := fmt.Sscanf(q.Subject, "twin:%d", &n); got == 1 && serr == nil && n < syntheticUnits {
			q.Subject = syntheticID(e.Dataset.Unit.Kind, n)
		}
	}
	v, err := d.question(ctx, operator, rehearsalPrefix+requestID, q)
	if err != nil {
		return false, nil, err
	}
	defer func() { v.settle() }()
	if u := e.Dataset.Unit; u != nil && !isSyntheticID(u.Kind, q.Subject) {
		return false, nil, refusal(policies.Reason{Code: "SUBJECT_NOT_SYNTHETIC", Rule: "twin/" + e.Dataset.ID, SetBy: "sandgate",
			ZH: "孪生上只核验合成主体，真实的标识不得用于演练", EN: "on a twin synthetic subjects alone are verified; a real identifier has no place in a rehearsal",
			HintZH: "写 twin:序号，如 twin:17", HintEN: "write twin:NUMBER, such as twin:17"})
	}
	var reasons []policies.Reason
	d.log.View(func() {
		if x := d.state.DecideVerification(v.ask); x.Refused != nil {
			reasons = x.Refused.Reasons
		}
	})
	if len(reasons) > 0 {
		return false, nil, &Refusal{Reasons: reasons}
	}
	x, lease, err := d.drawOne(ctx, operator, e.Dataset.ID, run)
	if err != nil {
		return false, nil, err
	}
	v.lease = lease
	if err := d.seatRehearsal(ctx, operator, engine.ExecuteHandler, &v.ticket); err != nil {
		return false, nil, err
	}
	keys := d.rehearsalKeys(e)
	token, ok := ingest.UnitTokenOf(keys.Unit, string(e.Dataset.Unit.Kind), q.Subject)
	if !ok {
		return false, nil, invalid("SUBJECT_ID", "标识的格式不对", "the identifier is malformed")
	}
	ctx, cancel := context.WithTimeout(sandbox.WithTicket(ctx, v.ticket), verifyWall)
	defer cancel()
	if confirmed, err = d.lookUp(ctx, v, token); err != nil {
		return false, nil, refusal(*rehearsalFailure(ctx, err))
	}
	return confirmed, markOfOne(x, run, 0, v.check.Columns), nil
}
