package policies

import (
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/masking"
)

// TwinRule 孪生规则 lets the owning department publish a synthetic twin 合成孪生 of a
// data set, which all who hold a licence on it may then draw rows from without limit.
// A data set whose rule has none has no twin.
type TwinRule struct {
	// Rho is the most that one publication may cost, a decimal string; empty is
	// DefaultModelRho (ε 1), and MostModelRho (ε 2) the most there is.
	Rho string `yaml:"rho,omitempty" json:"rho,omitempty"`
	// Level is the highest level of a column that a twin may be learned of; 0 is
	// DefaultTwinLevel. A twin of level 4 is published only where it is written here.
	Level int `yaml:"level,omitempty" json:"level,omitempty"`
	// Relate names the data sets whose twins may be tied to this one's by the unit. It is
	// a standing consent: the department of any of them may ask, when all name each other,
	// and the price is debited here too, Rho at most.
	Relate []string `yaml:"relate,omitempty" json:"relate,omitempty"`
}

// DefaultTwinLevel is the highest level of a twin's columns when the rule names none.
const DefaultTwinLevel = 3

// mostTwinLevel is the highest level that a rule may open to twins: above it data is
// important or core.
const mostTwinLevel = 4

// Twins returns the limits in force for a twin of the data set; ok is false where its
// department lets none be published.
func (e Entry) Twins() (rho budget.Nano, level int, ok bool) {
	if e.Rule == nil || e.Rule.Twin == nil {
		return 0, 0, false
	}
	rho, level = DefaultModelRho, e.Rule.Twin.Level
	if level == 0 {
		level = DefaultTwinLevel
	}
	if e.Rule.Twin.Rho != "" {
		var err error
		if rho, err = budget.ParseLimit(e.Rule.Twin.Rho); err != nil {
			return 0, 0, false // refused when the rule was set
		}
	}
	return rho, level, true
}

// checkTwinRule holds a department's limits to those of the product.
func (e Entry) checkTwinRule(r DisclosureRule) error {
	if r.Twin == nil {
		return nil
	}
	if e.Dataset.Public {
		return texts.Errorf("a public data set needs no twin")
	}
	if e.Dataset.Consent == ConsentRequired {
		return texts.Errorf("a twin cannot be taken back with a consent: a data set that is used by each subject's consent has none")
	}
	if r.Twin.Rho != "" {
		rho, err := budget.ParseLimit(r.Twin.Rho)
		if err != nil || rho <= 0 || rho > MostModelRho {
			return texts.Errorf("twin.rho must be a ρ above 0 and at most %s (ε 2)", MostModelRho)
		}
	}
	if r.Twin.Level < 0 || r.Twin.Level > mostTwinLevel {
		return texts.Errorf("twin.level must lie in 1…%d, or be left out for %d", mostTwinLevel, DefaultTwinLevel)
	}
	return e.checkRelated(r.Twin.Relate)
}

// twinCore is a twin as the rules on levels and the negative list see it: a table of
// the values of the columns that it is learned of. No plan is ever made of it.
func (b *Book) twinCore(dataset string, columns []string) algebra.Core {
	core := algebra.Core{Tables: []algebra.Table{{Dataset: dataset}}}
	stored, err := b.datasets[dataset].Stored()
	if err != nil {
		return core
	}
	for _, name := range columns {
		if i := slices.IndexFunc(stored, func(c StoredColumn) bool { return c.Name == name && !c.Drop }); i >= 0 {
			core.Keys = append(core.Keys, algebra.Col{Name: name, Type: stored[i].Type})
		}
	}
	return core
}

// WaitOfTwin is what a twin waits for before anybody is told of it; see WaitOf.
func (b *Book) WaitOfTwin(dataset string, columns []string) string {
	return b.WaitOf(b.twinCore(dataset, columns))
}

// TwinWithheld says why a published twin, learned of these stored columns, is not handed
// to operators any more: what is not shared, listed or registered now may not be asked
// for, and a column whose level or whose department's rule closed it to twins since goes
// to nobody new. The columns count by name, stored still or not: they are in the twin. nil
// when it may be handed out.
func (b *Book) TwinWithheld(dataset string, columns []string, at time.Time) *Reason {
	if x := b.Withheld(b.twinCore(dataset, columns), at); len(x) > 0 {
		return &x[0]
	}
	e := b.datasets[dataset]
	_, level, ok := e.Twins()
	if !ok {
		return e.twinNotAllowed()
	}
	for _, name := range columns {
		if n, ok := b.listed(e, BaseColumn(name)); ok {
			return negativeReason(n, "列“%s”在负面清单中（%s，依据：%s）", "column %q is on the negative list (%s, basis: %s)", safeName(dataset+"."+name))
		}
		if x := e.twinLevel(name, level); x != nil {
			return x
		}
	}
	return nil
}

func (e Entry) twinNotAllowed() *Reason {
	return reasonf("TWIN_NOT_ALLOWED", "disclosure/"+e.Dataset.ID, e.Department, "数据集“%s”的披露规则不允许发布孪生", "the disclosure rule of data set %q lets no twin be published", e.Dataset.ID).
		hint("在 Disclosure 中写 twin: {}，或 twin: {rho: …, level: …}，签名后 policy apply", "write twin: {}, or twin: {rho: …, level: …}, into the Disclosure, sign and apply it")
}

// twinLevel refuses a column above the level that the rule opens to twins.
func (e Entry) twinLevel(name string, level int) *Reason {
	l := levelOr(e.Levels[name])
	if l <= level {
		return nil
	}
	return reasonf("TWIN_LEVEL", "grading/"+e.Dataset.ID, e.Department, "列“%s.%s”为 %d 级，规则只允许由不高于 %d 级的列学成孪生", "column %q.%q is graded %d, and the rule lets a twin be learned of columns of level %d at most", e.Dataset.ID, name, l, level).
		hint("用 --column 只列较低级别的列；确需第 4 级时由部门写明 twin.level: 4", "list the columns of lower levels with --column; for level 4 the department writes twin.level: 4")
}

// OpenToTwins says why a department may publish no twin of a data set at all,
// whatever its columns and price; nil when it may.
func (b *Book) OpenToTwins(department, dataset string) *Reason {
	e, ok := b.datasets[dataset]
	if !ok || e.Department != department {
		return reasonf("DATASET_UNKNOWN", "catalogue", b.root, "您的目录中没有数据集“%s”", "your catalogue has no data set %q", safeName(dataset))
	}
	if x := b.Suspended(Target{Kind: TargetGateway}); x != nil {
		return x
	}
	if x := b.Suspended(Target{TargetDataset, dataset}); x != nil {
		return x
	}
	if x := e.Ready(); x != nil {
		return x
	}
	if _, _, ok := e.Twins(); !ok {
		return e.twinNotAllowed()
	}
	return nil
}

// DecideTwin says why a twin of a data set, learned of these stored columns at this
// price, may not be published, every reason; none when it may. OpenToTwins comes first.
func (b *Book) DecideTwin(dataset string, columns []string, rho budget.Nano, at time.Time) []Reason {
	var out []Reason
	add := func(x *Reason) {
		if x != nil {
			out = append(out, *x)
		}
	}
	e := b.datasets[dataset]
	most, level, _ := e.Twins()
	if rho > most {
		add(reasonf("TWIN_RHO", "disclosure/"+dataset, e.Department, "孪生的价格 ρ %s 超过规则允许的 %s", "the twin costs ρ %s and the rule allows %s", rho, most).
			hint("降低 --rho，或由部门修改 twin.rho（至多 ε 2）", "lower --rho, or change twin.rho (ε 2 at most)"))
	}
	core := b.twinCore(dataset, columns)
	for _, x := range b.Withheld(core, at) {
		add(&x)
	}
	for _, name := range columns {
		add(e.twinLevel(name, level))
		add(e.twinMask(name))
	}
	if len(out) == 0 {
		add(b.decideLevel(core))
		add(b.decideWitnesses(b.WaitOf(core)))
	}
	return out[:min(len(out), maxReasons)]
}

// twinMask refuses a column whose values depend on other units' rows, in whatever mode
// the data set is, and one of which some rule demands more than is stored, for whatever
// purpose or recipient: a twin goes to all of them.
func (e Entry) twinMask(name string) *Reason {
	i := slices.IndexFunc(e.Dataset.Columns, func(c Column) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	c := e.Dataset.Columns[i]
	if op := e.Masks[name].Op; masking.OfTable(op) {
		return reasonf("TABLE_MASK", "masking/"+e.Dataset.ID, e.Department, "列“%s.%s”经 %s 处理，取值依赖他人的行，不能学成孪生", "column %q.%q is masked by %s: its values depend on other people's rows, and no twin is learned of them", e.Dataset.ID, name, op).
			hint("用 --column 略去该列；或改用按值泛化（year、band、area）后重新入库", "leave the column out with --column, or mask it value by value (year, band, area) and ingest again")
	}
	stored := e.demands(c, "", "")[0].mask
	for _, r := range e.MaskRules {
		if r.everybody() || !r.on(e, name) || atLeast(c, stored, r.Mask) {
			continue
		}
		return reasonf("MASK_RULE", "masking/"+e.Dataset.ID, e.Department, "列“%s.%s”：规则“%s”对部分用途或接收方要求脱敏为 %s，而孪生面向全部接收方", "column %q.%q: rule %q demands mask %s for some purposes or recipients, and a twin goes to all",
			e.Dataset.ID, name, r.ID, r.Mask.Op).hint("用 --column 略去该列，或以该脱敏入库", "leave the column out with --column, or ingest under that mask")
	}
	return nil
}

// MayReadTwin says why a party may not have the twin of a data set; nil for its
// department, the regulator, and an operator that holds a licence in force on it.
func (b *Book) MayReadTwin(party, dataset string, at time.Time) *Reason {
	e := b.datasets[dataset]
	if x := b.Authorize(party, ActReadTwin, Resource{Department: e.Department}); x != nil {
		return x
	}
	if p := b.parties[party]; p.Role != RoleOperator {
		return nil
	}
	if x := b.decideParty(Request{Operator: party}); x != nil {
		return x
	}
	for _, target := range []Target{{Kind: TargetGateway}, {TargetOperator, party}, {TargetDataset, dataset}} {
		if x := b.Suspended(target); x != nil {
			return x
		}
	}
	none := reasonf("DATASET_NOT_LICENSED", "licence", b.root, "您没有包含数据集“%s”的有效授权", "you hold no licence in force on data set %q", safeName(dataset))
	for id, l := range b.licences {
		if l.Operator != party || b.decideDatasetGrant(l, dataset) != nil || b.InForce(id, at) != nil || b.Suspended(Target{TargetLicence, id}) != nil {
			continue
		}
		return nil
	}
	return none
}
