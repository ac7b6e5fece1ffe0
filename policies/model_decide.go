package policies

import (
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
)

// modelCore is a model as the rules on levels, masks and the negative list see it: a
// table of its columns' values. No plan is ever made of it.
func (b *Book) modelCore(m ModelSpec) algebra.Core {
	core := algebra.Core{Tables: []algebra.Table{{Dataset: m.Dataset}}}
	stored, err := b.datasets[m.Dataset].Stored()
	if err != nil {
		return core // refused by checkModel
	}
	for _, name := range m.ModelColumns() {
		i := slices.IndexFunc(stored, func(c StoredColumn) bool { return c.Column.Name == name && !c.Drop })
		if i >= 0 {
			core.Keys = append(core.Keys, algebra.Col{Name: name, Type: stored[i].Type})
		}
	}
	return core
}

// WaitOfModel is what a model's outcome waits for; see WaitOf.
func (b *Book) WaitOfModel(product string) string {
	p, ok := b.products[product]
	if !ok || p.Model == nil {
		return WaitPublished
	}
	return b.WaitOf(b.modelCore(*p.Model))
}

// ModelCore is the form under which a model product's columns are graded and metered.
func (b *Book) ModelCore(product string) (algebra.Core, bool) {
	p, ok := b.products[product]
	if !ok || p.Model == nil {
		return algebra.Core{}, false
	}
	return b.modelCore(*p.Model), true
}

// DecideModel says whether a model may be trained, released or used for scores, and
// if not every reason, as Decide does for queries.
func (b *Book) DecideModel(r Request) []Reason {
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
	p, ok := b.products[r.Product]
	if !ok || p.Operator != r.Operator || p.Model == nil {
		add(reasonf("PRODUCT_UNKNOWN", "product", b.root, "您没有编号为“%s”的模型产品", "you have no model product %q", r.Product).
			hint("用 sandgate model draft 拟稿，登记并通过审查", "draft one with sandgate model draft, file it and have it reviewed"))
		return out[:min(len(out), maxReasons)]
	}
	if p.Licence != r.Licence || !slices.Contains(p.Purposes, r.Purpose) {
		add(reasonf("PRODUCT_SCOPE", "product/"+p.ID, p.Operator, "产品“%s”登记的授权或用途与本次请求不同", "product %q was filed for another licence or other purposes", p.ID).
			hint("用登记的授权与用途提交，或登记产品的新版本", "ask under the licence and purposes it was filed for, or file a new version of the product"))
	}
	if r.Version != p.Digest() {
		add(reasonf("PRODUCT_CHANGED", "product/"+p.ID, p.Operator, "产品“%s”在受理期间变更", "product %q was changed meanwhile", p.ID))
	}
	b.runnable(p, r.At, add)
	m := *p.Model
	add(b.decideDataset(r, l, m.Dataset))
	add(b.Suspended(Target{TargetDataset, m.Dataset}))
	add(b.decideProvider(l, m.Dataset))
	add(b.decideConsent(r, m.Dataset))
	core := b.modelCore(m)
	for _, x := range b.Withheld(core, r.At) {
		add(&x)
	}
	for _, c := range m.ModelColumns() {
		add(b.decideColumn(l, ColumnUse{m.Dataset, c, UseTrain}))
	}
	if len(out) == 0 {
		add(b.decideLevel(core))
		add(b.decideWitnesses(b.WaitOf(core)))
		if err := b.checkModel(m); err != nil {
			add(reasonf("MODEL_INVALID", "product/"+p.ID, b.datasets[m.Dataset].Department, "产品“%s”的模型规格与现行目录、脱敏或模型规则不符", "the model of product %q does not fit the catalogue, masks or model rule in force", p.ID).
				hint("重新拟稿、登记并送审", "draft, file and review it again"))
		}
	}
	r.Core = core
	for _, x := range slices.Concat(b.decideMasks(r), b.decideOfTable(r)) {
		add(x)
	}
	return out[:min(len(out), maxReasons)]
}

// ModelProduct returns a model product as it stands.
func (b *Book) ModelProduct(id string) (Product, bool) {
	p, ok := b.products[id]
	return p, ok && p.Model != nil
}

// StoppedModel is the first reason why a model that was let in may no longer go on, be
// handed out or give scores; nil when it may.
func (b *Book) StoppedModel(r Request, at time.Time) *Reason {
	r.At = at
	if all := b.DecideModel(r); len(all) > 0 {
		return &all[0]
	}
	return nil
}
