package gateway

import (
	"encoding/json"
	"errors"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// ModelPlan is what a model would read, do and cost.
type ModelPlan struct {
	Spec                 policies.ModelSpec
	Columns              []string
	Passes               []model.Pass
	Training, Evaluation int64 // 1e-9 ρ
	Reasons              []policies.Reason
}

// ExplainModel says what a model product would do now, without charging or recording.
func (d *Domain) ExplainModel(operator string, q ModelQuery) (*ModelPlan, error) {
	if err := d.Authorize(operator, policies.ActExplainModel, policies.Resource{}); err != nil {
		return nil, err
	}
	const nobody = "00000000-0000-0000-0000-000000000000"
	t := &training{ask: state.ModelAsk{Operator: operator, Request: entry.ModelRequest{
		Model: state.ModelID(operator, nobody), Request: nobody, Licence: q.Licence, Purpose: q.Purpose, Product: q.Product,
	}}}
	out := &ModelPlan{}
	var err error
	d.log.View(func() {
		if err = d.designInto(t); err != nil {
			return
		}
		if x := d.state.DecideModel(t.ask); x.Refused != nil {
			out.Reasons = x.Refused.Reasons
		}
	})
	var refused *Refusal
	if errors.As(err, &refused) {
		out.Reasons, err = append(out.Reasons, refused.Reasons...), nil
	}
	if err != nil || !t.ready {
		return out, err
	}
	out.Spec, out.Columns = t.job.Design.Spec, t.job.Design.Columns
	training, evaluation, err := out.Spec.Price()
	if err != nil {
		return nil, err
	}
	out.Training, out.Evaluation = int64(training), int64(evaluation)
	out.Passes, err = passesOf(&t.job.Design)
	return out, err
}

// specText is a specification as reviewers read it.
func specText(spec policies.ModelSpec) string {
	text, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return ""
	}
	return string(text)
}

// checkModelFiled refuses a product whose model could not be trained, by the very words
// of the trainer.
func checkModelFiled(p policies.Product, book *policies.Book) error {
	e, ok := book.Dataset(p.Model.Dataset)
	if !ok {
		return nil // the book refuses it
	}
	design, err := model.NewDesign(*p.Model, e)
	var reason *policies.Reason
	if errors.As(err, &reason) {
		return refusal(*reason)
	}
	if err != nil {
		return err
	}
	passes, err := passesOf(&design)
	if err != nil {
		return err
	}
	for _, x := range passes {
		if x.Width > engine.MaxModelWidth {
			return refusal(policies.Reason{Code: "MODEL_INVALID", Rule: "product/" + p.ID, SetBy: "sandgate", ZH: "模型的一遍扫描有过多的和，无法传出工作进程", EN: "a pass of the model has more sums than leave a worker",
				HintZH: "减少特征、代码、bins 或 depth", HintEN: "use fewer features, codes, bins or a lower depth"})
		}
	}
	return nil
}
