package policies

import (
	"slices"

	"github.com/sandgate/sandgate/compute/budget"
)

// FederationModels lets models be trained over rounds. Terms, purposes, columns and the
// price of a period are those of the agreement; the domain's own model rule holds besides.
type FederationModels struct {
	Families []ModelFamily `yaml:"families" json:"families"` // linear | logistic
	// Rho is the most that one training may cost a domain, in ρ as a decimal string: all its
	// passes, the figures on held-out units and the rounds that are made up for. It stands in
	// the place of rho.round.
	Rho string `yaml:"rho" json:"rho"`
}

// RoundModel is the training that a round is a pass of.
type RoundModel struct {
	Spec ModelSpec
	// Reserve is the most that the training can cost, failed rounds included.
	Reserve budget.Nano
	// Data says that the party that decides has the data set: its own rules hold then.
	Data bool
}

// addedUp are the families whose passes are sums that domains can add up and try one by one
// (compute/federate/fit).
var addedUp = []ModelFamily{FamilyLinear, FamilyLogistic}

// checkModels holds what an agreement says of models to itself, and to the price of a period.
func (f Federation) checkModels(period budget.Nano) error {
	if f.Models == nil {
		return nil
	}
	if len(f.Models.Families) == 0 {
		return texts.Errorf("models.families is missing")
	}
	for i, x := range f.Models.Families {
		if !slices.Contains(addedUp, x) || slices.Contains(f.Models.Families[:i], x) {
			return texts.Errorf("models.families: %q is no family that is trained over domains, or stands twice; known: linear, logistic", safeName(string(x)))
		}
	}
	if rho, err := budget.ParseLimit(f.Models.Rho); err != nil || rho <= 0 || rho > period {
		return texts.Errorf("models.rho is a positive decimal number and at most rho.period")
	}
	return nil
}

// decideTraining says why a training is outside an agreement, and what the most is that
// one round of it may cost.
func (f Federation) decideTraining(m RoundModel, by string) (most budget.Nano, out []Reason) {
	rule := "federation/" + f.Region
	if f.Models == nil {
		return 0, []Reason{*reasonf("FEDERATION_MODELS", rule, by, "跨域协议“%s”不允许训练模型", "federation %q lets no models be trained", f.Region).
			hint("由数源部门签署带 models（families、rho）的跨域协议", "have the department sign a federation that has models (families, rho)")}
	}
	if !slices.Contains(f.Models.Families, m.Spec.Family) {
		out = append(out, *reasonf("FEDERATION_MODELS", rule, by, "跨域协议“%s”不允许模型族 %s", "federation %q does not allow family %s", f.Region, string(m.Spec.Family)).
			hint("改用协议 models.families 所列的模型族", "use a family of models.families in the agreement"))
	}
	most, err := budget.ParseLimit(f.Models.Rho)
	if err != nil || m.Reserve <= 0 || m.Reserve > most {
		out = append(out, *reasonf("FEDERATION_MODELS", rule, by, "跨域协议“%s”：一次训练至多花费 ρ %s，本次连同补做可达 %s", "federation %q: one training costs ρ %s at most, and this one up to %s with the rounds that are made up for", f.Region, f.Models.Rho, m.Reserve).
			hint("降低 rho、rho_evaluation 或重试次数", "lower rho, rho_evaluation or the retries"))
	}
	return most, out
}

// decideTrainingData is what the domain's own model rule says, as of a model that is trained
// in this domain alone.
func (b *Book) decideTrainingData(m ModelSpec, e Entry, rec federated) []Reason {
	var out []Reason
	for _, c := range m.ModelColumns() {
		if !slices.Contains(rec.Federation.Columns, c) {
			out = append(out, *reasonf("FEDERATION_OUTSIDE", "federation/"+rec.Federation.Region, e.Department, "跨域协议“%s”不含列“%s”", "federation %q does not have column %q", rec.Federation.Region, c))
		} else if !slices.Contains(e.Rule.Uses[c], UseTrain) {
			out = append(out, *reasonf("USE_NOT_ALLOWED", "disclosure/"+m.Dataset, e.Department, "数源部门未允许把列“%s.%s”用作 %s", "the department does not allow column %q.%q as a %s", m.Dataset, c, string(UseTrain)))
		}
	}
	if err := b.checkModel(m); err != nil {
		out = append(out, *reasonf("MODEL_INVALID", "disclosure/"+m.Dataset, e.Department, "模型规格与本域的目录、脱敏或模型规则（Disclosure 的 models）不符", "the model does not fit this domain's catalogue, masks or model rule (models of its Disclosure)").
			hint("各域的数源部门须在 Disclosure 中允许此模型族与价格", "the department of every domain allows family and price in its Disclosure"))
	}
	return out
}
