package policies

import (
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
)

// Limits of an assessment.
const (
	maxQuasi     = 16
	maxSensitive = 8
	// ContextScale is the number of decimals of a context risk.
	ContextScale = 6
	// MaxOverallRisk is risk.MaxOverall as the ledger spells it.
	MaxOverallRisk = "0.05"
)

// CheckAssessment says whether a risk assessment of the data set can be asked: the
// columns are stored, every identifier under a mask that still shows part of it is
// among the quasi-identifiers, the model is known and the context risk is one.
func (e Entry) CheckAssessment(quasi, sensitive []string, model SharingModel, context string) *Reason {
	refuse := func(zh, en string, args ...any) *Reason {
		return reasonf("ASSESSMENT_INVALID", "GB/T 42460-2023", e.Department, zh, en, args...)
	}
	if e.Dataset.Unit == nil {
		return refuse("数据集“%s”是公开表，没有隐私单元可评估", "data set %q is public and has no privacy units to assess", e.Dataset.ID)
	}
	if _, ok := model.K(); !ok {
		return refuse("共享模型“%s”未知；可用 public、controlled、enclave", "sharing model %q is unknown; known: public, controlled, enclave", string(model))
	}
	if v, err := algebra.ParseDecimal(context, ContextScale); err != nil || v < 0 || v > 1_000_000 {
		return refuse("环境风险须是 0 到 1 的小数，至多六位", "the context risk is a decimal from 0 to 1 with at most six decimals")
	}
	if len(quasi) > maxQuasi || len(sensitive) > maxSensitive {
		return refuse("至多 16 个准标识符列、8 个敏感列", "at most 16 quasi-identifiers and 8 sensitive columns")
	}
	stored, err := e.Stored()
	if err != nil {
		return refuse("脱敏规则无法读取", "the masks cannot be read")
	}
	all := append(slices.Clone(quasi), sensitive...)
	for i, name := range all {
		if !slices.ContainsFunc(stored, func(c StoredColumn) bool { return c.Column.Name == name && !c.Drop }) {
			return refuse("列“%s”不在快照中", "column %q is not in the snapshot", name)
		}
		if slices.Contains(all[:i], name) {
			return refuse("列“%s”出现两次", "column %q stands twice", name)
		}
	}
	for _, c := range stored {
		hidden := c.Drop || slices.Contains([]string{masking.OpNull, masking.OpConstant, masking.OpPseudonym}, c.Mask.Op)
		if c.Column.Identifier != "" && !hidden && !slices.Contains(quasi, c.Column.Name) {
			return refuse("列“%s”是标识符，脱敏方法 %s 仍露出其一部分：须列为准标识符", "column %q is an identifier of which mask %s still shows a part: name it among the quasi-identifiers", c.Column.Name, c.Mask.Op).
				hint("或改用 drop、pseudonym 后重新入库", "or mask it by drop or pseudonym and ingest again")
		}
	}
	return nil
}
