package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/masking/risk"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// RiskQuestion is what a department asks of its data set's snapshot in force.
type RiskQuestion struct {
	Dataset          string
	Quasi, Sensitive []string
	Model            string
	Context          string // context risk, a decimal 0…1
}

// RiskAnswer is an assessment with its figures, for the department alone.
type RiskAnswer struct {
	ID       string
	Snapshot string
	Report   risk.Report
	Least    int64
	Figures  []byte // what the ledger commits to
	Salt     []byte
	Receipt  ledger.Receipt
}

// figuresLabel keeps a commitment to figures from being one to a query.
const figuresLabel = "sandgate/risk-figures/v1\n"

// AssessRisk measures the re-identification risk of a data set's snapshot in
// force. Counts per equivalence class come from jailed workers; the verdict is
// recorded before the figures are answered.
func (d *Domain) AssessRisk(ctx context.Context, actor string, q RiskQuestion) (RiskAnswer, error) {
	r := &entry.Risk{Dataset: q.Dataset, Quasi: named(q.Quasi), Sensitive: named(q.Sensitive), Model: q.Model, Context: q.Context, Overall: policies.MaxOverallRisk}
	var schema algebra.Schema
	var reason *policies.Reason
	var err error
	d.log.View(func() {
		e, ok := d.state.Book().Dataset(q.Dataset)
		snap, _ := d.state.Snapshot(q.Dataset)
		r.Snapshot, r.Spec = snap.Snapshot, snap.Spec
		if reason = d.state.CheckRisk(actor, r); reason == nil && ok {
			schema, err = e.Schema()
		}
	})
	if reason != nil {
		return RiskAnswer{}, refusal(*reason)
	}
	if err == nil {
		err = d.signedAct(ctx, actor, state.ActRisk(r))
	}
	if err != nil {
		return RiskAnswer{}, err
	}
	report, err := d.assess(ctx, schema, r)
	if err != nil {
		return RiskAnswer{}, riskRefused(err)
	}
	out := RiskAnswer{Snapshot: r.Snapshot, Report: report}
	if out.Figures, err = json.Marshal(report); err != nil {
		return RiskAnswer{}, fmt.Errorf("failed to encode figures: %w", err)
	}
	r.Figures, out.Salt = entry.Commit(d.commitKey(), append([]byte(figuresLabel), out.Figures...))
	r.Least, _ = risk.Model(q.Model).K()
	out.Least, r.Level, r.Within = r.Least, string(report.Level), report.Within
	out.Receipt, err = d.append(ctx, func(x *entry.Entry) error {
		// The snapshot may have been replaced while it was read.
		if reason := d.state.CheckRisk(actor, r); reason != nil {
			return refusal(*reason)
		}
		x.Kind, x.Actor, x.Risk, x.Signed = entry.KindRisk, actor, r, signedOf(ctx)
		out.ID = state.RiskID(x.Seq)
		return nil
	})
	if err != nil {
		return RiskAnswer{}, err
	}
	return out, nil
}

// named is a list of names that is never nil: an entry has one spelling.
func named(list []string) []string { return append([]string{}, list...) }

func (d *Domain) assess(ctx context.Context, schema algebra.Schema, r *entry.Risk) (risk.Report, error) {
	lease, err := d.store.Lease(ctx, []string{r.Snapshot})
	if err != nil {
		return risk.Report{}, leaseRefused(err)
	}
	defer lease.Release()
	files, _, err := lease.Open()
	if err != nil {
		return risk.Report{}, err
	}
	if err := d.pool.Restart(ctx); err != nil {
		return risk.Report{}, workersDown()
	}
	classes, sensitive, err := d.runner.Classes(ctx, schema, r.Quasi, r.Sensitive, files[0], sandbox.Limits{Wall: d.opt.Wall, Memory: d.opt.Memory, Threads: 2})
	if err != nil {
		return risk.Report{}, err
	}
	probability, err := algebra.ParseDecimal(r.Context, policies.ContextScale)
	if err != nil {
		return risk.Report{}, err
	}
	return risk.Assess(classes, risk.Question{Model: risk.Model(r.Model), Context: float64(probability) / 1e6, Quasi: len(r.Quasi), Sensitive: sensitive})
}

// riskRefused renders why there are no figures; none of it depends on a value.
func riskRefused(err error) error {
	var known *Refusal
	if errors.As(err, &known) {
		return err
	}
	zh, en := "评估未能完成", "the assessment did not finish"
	if errors.Is(err, engine.ErrClasses) || errors.Is(err, engine.ErrPartials) {
		zh, en = "等价类过多，无法评估", "there are too many equivalence classes to assess"
	}
	return refusal(policies.Reason{Code: "ASSESSMENT_FAILED", Rule: "GB/T 42460-2023", SetBy: "sandgate", ZH: zh, EN: en,
		HintZH: "减少准标识符，或先加粗脱敏再入库", HintEN: "name fewer quasi-identifiers, or coarsen the masks and ingest again"})
}

type riskService struct {
	sandgatev1.UnimplementedRiskServiceServer
	d *Domain
}

func (s *riskService) AssessRisk(ctx context.Context, req *sandgatev1.AssessRiskRequest) (*sandgatev1.RiskAssessment, error) {
	a, err := s.d.AssessRisk(ctx, caller(ctx), RiskQuestion{
		Dataset: req.GetDataset(), Quasi: req.GetQuasi(), Sensitive: req.GetSensitive(), Model: req.GetModel(), Context: req.GetContextRisk(),
	})
	if err != nil {
		return nil, err
	}
	r := a.Report
	out := &sandgatev1.RiskAssessment{
		Name: a.ID, Snapshot: a.Snapshot, Level: string(r.Level), Within: r.Within, LeastClass: a.Least, Units: r.Units, Classes: r.Classes, K: r.K,
		Largest: r.Largest, Above: r.Above, MaxRisk: r.MaxRisk, MeanRisk: r.MeanRisk, Overall: r.Overall, Salt: a.Salt, Figures: a.Figures, Receipt: receiptOf(a.Receipt),
	}
	for _, x := range r.Diversity {
		out.Diversity = append(out.Diversity, &sandgatev1.ColumnDiversity{Column: x.Name, Distinct: x.Distinct, Entropy: x.Entropy, Distance: x.T, OneValue: x.OneValue})
	}
	return out, nil
}
