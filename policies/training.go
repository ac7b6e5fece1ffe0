package policies

import (
	"encoding/json"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/internal/bilingual"
)

// Text of a specification in the one way it is written: JSON. It is what an operator signs
// of a model over domains 跨域模型, however its file is laid out.
func (m ModelSpec) Text() string {
	text, err := json.Marshal(m)
	if err != nil {
		return "" // a number that is none: no plan is made of it either
	}
	return string(text)
}

// TrainingCore is the form under which the columns of a model over domains 跨域模型 are
// graded and metered, as ModelCore is of a product's.
func (b *Book) TrainingCore(m ModelSpec) algebra.Core { return b.modelCore(m) }

// DecideTraining says whether an operator may have a model trained over the domains of an
// agreement, by licence, catalogue and model rule of this book, and if not every reason.
// It is DecideModel without a product: the agreement that the departments signed stands in
// the place of the review, and every domain decides again by its own.
func (b *Book) DecideTraining(r Request, m ModelSpec) []Reason {
	var out []Reason
	add := func(x *Reason) {
		if x != nil {
			out = append(out, *x)
		}
	}
	r.Kind = JobModel
	add(b.decideParty(r))
	add(b.Suspended(Target{Kind: TargetGateway}))
	add(b.Suspended(Target{TargetOperator, r.Operator}))
	l, granted := b.licences[r.Licence]
	if !granted || l.Operator != r.Operator {
		add(reasonf("LICENCE_UNKNOWN", "licence", b.root, "您没有编号为“%s”的授权", "you hold no licence %q", r.Licence).
			hint("用 sandgate licence list 查看授权；尚无授权请先申请", "see sandgate licence list; without a licence, apply for one first"))
		return out
	}
	add(b.InForce(r.Licence, r.At))
	add(b.Suspended(Target{TargetLicence, r.Licence}))
	add(b.decideKind(r, l))
	add(b.decidePurpose(r, l))
	add(b.decideDataset(r, l, m.Dataset))
	add(b.Suspended(Target{TargetDataset, m.Dataset}))
	add(b.decideProvider(l, m.Dataset))
	add(b.decideConsent(r, m.Dataset))
	core := b.modelCore(m)
	out = append(out, b.Withheld(core, r.At)...)
	for _, c := range m.ModelColumns() {
		add(b.decideColumn(l, ColumnUse{m.Dataset, c, UseTrain}))
	}
	if len(out) == 0 {
		add(b.decideLevel(core))
		add(b.decideWitnesses(b.WaitOf(core)))
		if err := b.checkModel(m); err != nil {
			add((&Reason{Code: "MODEL_INVALID", Rule: "disclosure/" + m.Dataset, SetBy: b.datasets[m.Dataset].Department, ZH: "模型规格与现行目录、脱敏或模型规则不符：" + bilingual.Chinese(err), EN: "the specification does not fit the catalogue, masks or model rule in force: " + err.Error()}).
				hint("修改规格，或请部门修改模型规则（Disclosure 的 models）", "correct the specification, or ask the department to change its model rule (models of its Disclosure)"))
		}
	}
	r.Core = core
	for _, x := range slices.Concat(b.decideMasks(r), b.decideOfTable(r)) {
		add(x)
	}
	return out[:min(len(out), maxReasons)]
}
