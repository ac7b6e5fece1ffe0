package policies

import (
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
)

// Request is what an operator wants to do, as far as policy is concerned. It
// holds names only, so the ledger can keep it and an auditor decide it again.
type Request struct {
	Operator string
	Licence  string
	Purpose  string
	At       time.Time
	Core     algebra.Core // redacted: literals never decide
	// Of, when set, is where Core was taken from: a value that equal requests share and
	// nobody changes. What is decided of it whatever the time is then decided once.
	Of      *algebra.Core
	Product string  // id of the product it runs under; empty for none
	Version string  // digest of the product that ran
	Kind    JobKind // empty is JobQuery
	Subject string  // commitment of the one data subject that a verification asks about
}

// ColumnUse is one way in which a core uses a column.
type ColumnUse struct {
	Dataset string
	Column  string
	Use     Use
}

// Uses lists every column a core touches and how, in order and without
// repetition. A derived column stands for the columns it computes with, used as it
// is used; what CASE, FILTER and WHERE look at is filtered by. The columns behind a
// value per unit are measures, and, where the value is one of theirs or a sum of
// them, used as it is used too. A use of the fact table is one of each of its parts.
func Uses(core algebra.Core) []ColumnUse {
	u := uses{core: core}
	u.scope = scope{derived: core.Derived, seen: map[ColumnUse]bool{}, add: func(c algebra.Col, use Use) {
		if c.Table < 0 || c.Table >= len(core.Tables) {
			return // malformed: no plan is built from such a core
		}
		u.table(core.Tables[c.Table], c.Name, use)
	}}
	for _, k := range core.Keys {
		u.scope.col(k, UseKey)
	}
	u.scope.pred(core.Where)
	for _, j := range core.Joins {
		if !j.Unit {
			u.scope.col(j.Left, UseJoin)
			u.scope.col(j.Right, UseJoin)
		}
	}
	u.scope.aggs(core.Aggs)
	for _, t := range core.Tables {
		if t.PerUnit != nil {
			s := u.inside(t)
			s.pred(t.PerUnit.Where)
			s.aggs(t.PerUnit.Aggs)
		}
	}
	return u.out
}

type uses struct {
	core  algebra.Core
	scope scope
	out   []ColumnUse
}

func (u *uses) put(dataset, column string, use Use) {
	// A hidden column is licensed, graded and used as the column it stands for.
	cu := ColumnUse{dataset, BaseColumn(column), use}
	if !slices.Contains(u.out, cu) {
		u.out = append(u.out, cu)
	}
}

// table adds the use of a column of t as the core sees it.
func (u *uses) table(t algebra.Table, name string, use Use) {
	if t.PerUnit == nil {
		u.put(t.Dataset, name, use)
		for _, p := range t.Parts {
			u.put(p, name, use)
		}
		return
	}
	i, ok := algebra.PerUnitIndex(name)
	if !ok || i >= len(t.PerUnit.Aggs) {
		return
	}
	switch a := t.PerUnit.Aggs[i]; a.Func {
	case algebra.CountRows, algebra.CountCol:
	default:
		if a.Arg != nil {
			u.inside(t).col(*a.Arg, use)
		}
	}
}

// inside is the scope of a value per unit: the data set alone, as table 0.
func (u *uses) inside(t algebra.Table) scope {
	return scope{derived: t.PerUnit.Derived, seen: map[ColumnUse]bool{}, add: func(c algebra.Col, use Use) {
		if c.Table == 0 {
			u.put(t.Dataset, c.Name, use)
		}
	}}
}

// scope resolves derived columns to those of tables.
type scope struct {
	derived []algebra.Expr
	seen    map[ColumnUse]bool // derived columns resolved already
	add     func(algebra.Col, Use)
}

func (s scope) col(c algebra.Col, use Use) {
	if c.Table != algebra.DerivedTable {
		s.add(c, use)
		return
	}
	i, ok := c.Derived()
	done := ColumnUse{Column: c.Name, Use: use}
	if !ok || i >= len(s.derived) || s.seen[done] {
		return
	}
	s.seen[done] = true
	// An expression may name those before it only, so this ends.
	before := scope{derived: s.derived[:i], seen: s.seen, add: s.add}
	s.derived[i].Each(
		func(c algebra.Col) { before.col(c, use) },
		func(c algebra.Col) { before.col(c, UseFilter) })
}

func (s scope) pred(p *algebra.Pred) {
	if p != nil {
		p.Each(func(c algebra.Col) { s.col(c, UseFilter) })
	}
}

func (s scope) aggs(list []algebra.Agg) {
	for _, a := range list {
		if a.Arg != nil {
			s.col(*a.Arg, UseMeasure)
		}
		if a.Arg2 != nil {
			s.col(*a.Arg2, UseMeasure)
		}
		s.pred(a.Filter)
	}
}

// Decide says whether a request may run, and if not, every reason at once: it
// never stops at the first, so that an operator is not led through a refusal a
// day. An empty result is permission by policy; the budget is decided after it.
// Deny by default: whatever no document allows is refused.
func (b *Book) Decide(r Request) []Reason {
	var out []Reason
	add := func(x *Reason) {
		if x != nil {
			out = append(out, *x)
		}
	}
	add(b.decideParty(r))
	add(b.Suspended(Target{Kind: TargetGateway}))
	add(b.Suspended(Target{TargetOperator, r.Operator}))
	l, granted := b.licences[r.Licence]
	if granted && l.Operator != r.Operator {
		// The same words as for a licence that does not exist: who holds what is
		// not for other operators to find out.
		granted = false
	}
	if !granted {
		add(reasonf("LICENCE_UNKNOWN", "licence", b.root, "您没有编号为“%s”的授权", "you hold no licence %q", r.Licence).
			hint("用 sandgate licence list 查看授权；尚无授权请先申请", "see sandgate licence list; without a licence, apply for one first"))
		return out
	}
	add(b.InForce(r.Licence, r.At))
	add(b.Suspended(Target{TargetLicence, r.Licence}))
	add(b.decideKind(r, l))
	add(b.decidePurpose(r, l))
	out = append(out, b.decideProduct(r, l)...)
	for _, id := range r.Core.Datasets() {
		add(b.decideDataset(r, l, id))
		add(b.Suspended(Target{TargetDataset, id}))
		add(b.decideProvider(l, id))
		add(b.decideConsent(r, id))
	}
	out = append(out, b.Withheld(r.Core, r.At)...)
	t := b.timelessOf(r, l)
	out = append(out, t.columns...)
	if len(out) == 0 {
		add(t.level)
	}
	if len(out) == 0 {
		add(t.witnesses)
	}
	out = append(out, t.masks...)
	// A refusal must fit a ledger entry; so many reasons teach nobody more.
	return out[:min(len(out), maxReasons)]
}

// timeless is what of a decision depends neither on the time nor on orders, consents
// and registrations: on the core, its licence and who asks for what.
type timeless struct {
	columns          []Reason
	level, witnesses *Reason
	masks            []Reason
}

type timelessKey struct {
	of                         *algebra.Core
	operator, licence, purpose string
}

func (b *Book) timelessOf(r Request, l Licence) timeless {
	if r.Of == nil {
		return b.timeless(r, l)
	}
	return b.Remember(timelessKey{r.Of, r.Operator, r.Licence, r.Purpose}, func() any { return b.timeless(r, l) }).(timeless)
}

func (b *Book) timeless(r Request, l Licence) (out timeless) {
	for _, u := range Uses(r.Core) {
		if x := b.decideColumn(l, u); x != nil {
			out.columns = append(out.columns, *x)
		}
	}
	out.level = b.decideLevel(r.Core)
	if len(r.Core.Tables) > 0 {
		out.witnesses = b.decideWitnesses(b.WaitOf(r.Core))
	}
	for _, x := range slices.Concat(b.decideMasks(r), b.decidePseudonyms(r.Core), b.decideOfTable(r)) {
		out.masks = append(out.masks, *x)
	}
	return out
}

// maxReasons caps the reasons of one refusal.
const maxReasons = 32

func (b *Book) decideParty(r Request) *Reason {
	p, ok := b.parties[r.Operator]
	if !ok || p.Role != RoleOperator {
		return reasonf("OPERATOR_UNKNOWN", "registry", b.root, "登记表中没有运营机构“%s”", "operator %q is not in the registry", r.Operator)
	}
	if p.Withdrawn {
		return reasonf("PARTY_WITHDRAWN", b.endedBy(Target{TargetOperator, r.Operator}, "R37"), b.root, "“%s”的账号已停用", "the account of %q was withdrawn", r.Operator)
	}
	if p.Abroad {
		return reasonf("RECIPIENT_ABROAD", "R38", b.root, "运营机构“%s”在境外，未经评估不得向境外提供", "operator %q is outside the border; nothing is exported without its assessment", r.Operator)
	}
	return nil
}

func (b *Book) decidePurpose(r Request, l Licence) *Reason {
	if _, ok := b.purposes[r.Purpose]; !ok {
		return reasonf("PURPOSE_UNKNOWN", "registry", b.root, "没有登记用途“%s”", "purpose %q is not registered", r.Purpose)
	}
	if !slices.Contains(l.Purposes, r.Purpose) {
		return reasonf("PURPOSE_NOT_LICENSED", "licence/"+l.ID, b.root, "授权“%s”不含用途“%s”", "licence %q does not grant purpose %q", l.ID, r.Purpose).
			hint("授权所含用途见 sandgate licence list；其他用途须另行申请", "sandgate licence list names its purposes; another one needs an application")
	}
	return nil
}

func (b *Book) decideDatasetGrant(l Licence, id string) *Reason {
	if !slices.ContainsFunc(l.Resources, func(o LicenceObject) bool { return o.Dataset == id }) {
		return reasonf("DATASET_NOT_LICENSED", "licence/"+l.ID, b.root, "授权“%s”不含数据集“%s”", "licence %q does not grant data set %q", l.ID, id).
			hint("请申请变更授权范围", "apply for a change of the licence's scope")
	}
	return nil
}

func (b *Book) decideDataset(r Request, l Licence, id string) *Reason {
	if x := b.decideDatasetGrant(l, id); x != nil {
		return x
	}
	e, ok := b.datasets[id]
	if !ok {
		return reasonf("DATASET_UNKNOWN", "catalogue", b.root, "目录中没有数据集“%s”", "data set %q is not in the catalogue", id)
	}
	if x := e.Ready(); x != nil {
		return x
	}
	if !slices.Contains(e.Rule.Purposes, r.Purpose) {
		return reasonf("PURPOSE_NOT_ALLOWED", "disclosure/"+id, e.Department, "数据集“%s”的数源部门未允许用途“%s”", "the department of data set %q does not allow purpose %q", id, r.Purpose)
	}
	return nil
}

func (b *Book) decideColumn(l Licence, u ColumnUse) *Reason {
	i := slices.IndexFunc(l.Resources, func(o LicenceObject) bool { return o.Dataset == u.Dataset })
	e, ok := b.datasets[u.Dataset]
	if i < 0 || !ok || e.Rule == nil {
		return nil // decideDataset has refused the whole data set
	}
	if !slices.Contains(l.Resources[i].Columns, u.Column) {
		return reasonf("COLUMN_NOT_LICENSED", "licence/"+l.ID, b.root, "授权“%s”不含列“%s.%s”", "licence %q does not grant column %q.%q", l.ID, u.Dataset, u.Column).
			hint("请改用授权内的列，或申请变更授权范围", "use a granted column, or apply for a change of the licence's scope")
	}
	if !slices.Contains(e.Rule.Uses[u.Column], u.Use) {
		return reasonf("USE_NOT_ALLOWED", "disclosure/"+u.Dataset, e.Department, "数源部门未允许把列“%s.%s”用作 %s", "the department does not allow column %q.%q as a %s", u.Dataset, u.Column, string(u.Use))
	}
	return nil
}

// Ready says what a data set still lacks before anything may be ingested into it
// or asked of it; nil when nothing.
func (e Entry) Ready() *Reason {
	missing := ""
	switch {
	case e.Levels == nil:
		missing = "Grading"
	case !e.Masked && !e.Dataset.Public:
		missing = "Masking"
	case e.Rule == nil:
		missing = "Disclosure"
	default:
		return nil
	}
	return reasonf("DATASET_NOT_READY", "catalogue/"+e.Dataset.ID, e.Department, "数据集“%s”尚缺文档 %s", "data set %q still lacks its %s document", e.Dataset.ID, missing).
		hint("由数源部门签名后执行 sandgate policy apply", "the department signs it and runs sandgate policy apply")
}

// Level is the data set's level: that of its highest column (就高从严).
func (e Entry) Level() int {
	level := 0
	for _, l := range e.Levels {
		level = max(level, l)
	}
	return level
}
