package policies

import (
	"maps"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/budget"
)

// LicenceMode is how much a licence hands over (27号): all of a region's public
// data, that of a field, or that of a scenario.
type LicenceMode string

const (
	ModeWhole    LicenceMode = "whole"    // 整体授权
	ModeField    LicenceMode = "field"    // 分领域授权
	ModeScenario LicenceMode = "scenario" // 依场景授权
)

// JobKind is a kind of job that a licence may grant (R03).
type JobKind string

const (
	JobQuery        JobKind = "query"        // 查询统计
	JobVerification JobKind = "verification" // 核验
	JobModel        JobKind = "model"        // 模型
)

// Quota caps what a licence is used for. A limit that is not named does not
// apply; a day and a month are those of China Standard Time.
type Quota struct {
	JobsPerDay   *int64 `yaml:"jobs_per_day,omitempty" json:"jobs_per_day,omitempty"`
	JobsPerMonth *int64 `yaml:"jobs_per_month,omitempty" json:"jobs_per_month,omitempty"`
	JobsPerTerm  *int64 `yaml:"jobs_per_term,omitempty" json:"jobs_per_term,omitempty"`
	// Rho is the most ρ that the jobs of the whole term may be priced at together,
	// a decimal string; it comes on top of the data sets' own budgets.
	Rho string `yaml:"rho_per_term,omitempty" json:"rho_per_term,omitempty"`
}

// RhoLimit is Rho in nano-ρ, 0 when no limit is named. The quota was checked.
func (q *Quota) RhoLimit() budget.Nano {
	if q == nil || q.Rho == "" {
		return 0
	}
	v, err := budget.ParseLimit(q.Rho)
	if err != nil {
		return 1 // unreadable: the least there is, so that nothing runs on it
	}
	return v
}

// Entrusted is a third party whose staff works for the operator under the licence
// (R37): named, reviewed by an authority, and until a day.
type Entrusted struct {
	ID         string    `yaml:"id" json:"id"`
	Title      Text      `yaml:"title" json:"title"`
	Task       Text      `yaml:"task" json:"task"`
	ReviewedBy string    `yaml:"reviewed_by" json:"reviewed_by"` // a department or the regulator
	Reviewed   time.Time `yaml:"reviewed" json:"reviewed"`
	From       time.Time `yaml:"from" json:"from"`
	Until      time.Time `yaml:"until" json:"until"` // exclusive, inside the licence's term
}

// Recipient may be handed what is released under the licence. Location is "CN":
// one outside the border, which Hong Kong, Macao and Taiwan count as here, is
// refused (R38).
type Recipient struct {
	ID       string `yaml:"id" json:"id"`
	Title    Text   `yaml:"title" json:"title"`
	Location string `yaml:"location" json:"location"` // ISO 3166-1 alpha-2
}

// inCountry is the only location of a recipient.
const inCountry = "CN"

// ProviderConsent says that the region or department a data set was shared from
// agrees to its authorised operation (R13). A provider that is a registered
// department signs the bundle; of any other, Document names the paper.
type ProviderConsent struct {
	Dataset  string    `yaml:"dataset" json:"dataset"`
	Provider string    `yaml:"provider" json:"provider"`
	Document string    `yaml:"document" json:"document"` // number of the letter of consent
	Signed   time.Time `yaml:"signed" json:"signed"`
	Until    time.Time `yaml:"until,omitempty" json:"until,omitzero"` // not before the licence ends
}

// checkUseTerms checks what a catalogue entry asks of licences.
func checkUseTerms(d Dataset) error {
	if d.SharedFrom != "" {
		if err := checkID("shared_from", d.SharedFrom); err != nil {
			return err
		}
	}
	switch {
	case d.Consent != "" && d.Consent != ConsentRequired:
		return texts.Errorf("consent %q is unknown; known: %q", safeName(d.Consent), ConsentRequired)
	case d.Consent != "" && (d.Unit == nil || d.Unit.Kind != UnitPerson):
		return texts.Errorf("consent is a data subject's: only a data set whose unit is a person can require it")
	}
	return nil
}

// checkAgreement checks what a licence says beyond the bare grant, and whose
// signatures that needs.
func (b *Book) checkAgreement(l Licence, a act) error {
	if l.Version < 0 || l.Version > 2 {
		return texts.Errorf("version %d is unknown; known: 1, 2", l.Version)
	}
	// What both sides agreed to is not changed by one of them.
	if (l.Version == 2 || b.agreed || b.licences[l.ID].Version == 2) && !a.signers[l.Operator] {
		return texts.Errorf("signature of operator %q is missing: an agreement needs both sides", l.Operator)
	}
	if err := b.checkBody(l, a); err != nil {
		return err
	}
	if err := checkMode(l); err != nil {
		return err
	}
	if err := checkQuota(l.Quota); err != nil {
		return err
	}
	for _, p := range slices.Sorted(maps.Keys(l.Fees)) {
		if !slices.Contains(l.Purposes, p) {
			return texts.Errorf("fees: purpose %q is not granted", safeName(p))
		}
		if want := b.purposes[p].Fee; l.Fees[p] != want {
			return texts.Errorf("fees: purpose %q is of fee class %q in the registry, not %q", p, want, safeName(string(l.Fees[p])))
		}
	}
	if err := b.checkEntrusted(l, a); err != nil {
		return err
	}
	if err := b.checkRecipients(l.Recipients); err != nil {
		return err
	}
	if err := b.checkProviders(l, a); err != nil {
		return err
	}
	if l.ExitDays < 0 || l.ExitDays > 365 {
		return texts.Errorf("exit_days %d must lie in 1…365", l.ExitDays)
	}
	return b.checkRenewal(l)
}

func (b *Book) checkBody(l Licence, a act) error {
	if l.Body == "" {
		return nil
	}
	p, ok := b.parties[l.Body]
	switch {
	case !ok || p.Role == RoleOperator || p.Withdrawn:
		return texts.Errorf("implementing_body %q is no department or regulator in the registry", safeName(l.Body))
	case !a.signers[l.Body]:
		return texts.Errorf("signature of the implementing body %q is missing", l.Body)
	}
	return nil
}

func checkMode(l Licence) error {
	switch l.Mode {
	case "", ModeWhole, ModeScenario:
		if l.Field != (Text{}) {
			return texts.Errorf("field is for mode field alone")
		}
	case ModeField:
		if l.Field.ZH == "" {
			return texts.Errorf("mode field: which field must be stated in Chinese")
		}
	default:
		return texts.Errorf("unknown mode %q; known: whole, field, scenario", safeName(string(l.Mode)))
	}
	seen := map[JobKind]bool{}
	for _, k := range l.Jobs {
		if k != JobQuery && k != JobVerification && k != JobModel {
			return texts.Errorf("unknown kind of job %q; known: query, verification, model", safeName(string(k)))
		}
		if seen[k] {
			return texts.Errorf("kind of job %q stands twice", k)
		}
		seen[k] = true
	}
	return nil
}

func checkQuota(q *Quota) error {
	if q == nil {
		return nil
	}
	named := q.Rho != ""
	for _, f := range []struct {
		name string
		n    *int64
	}{{"jobs_per_day", q.JobsPerDay}, {"jobs_per_month", q.JobsPerMonth}, {"jobs_per_term", q.JobsPerTerm}} {
		if f.n == nil {
			continue
		}
		if named = true; *f.n < 1 {
			return texts.Errorf("quota.%s is %d and must be positive; leave it out for no limit", f.name, *f.n)
		}
	}
	if q.Rho != "" {
		if v, err := budget.ParseLimit(q.Rho); err != nil || v <= 0 {
			return texts.Errorf("quota.rho_per_term %q is not a positive ρ", safeName(q.Rho))
		}
	}
	if !named {
		return texts.Errorf("quota names no limit")
	}
	return nil
}

// checkEntrusted refuses a third party that nobody reviewed, that is abroad, or
// whose terms overlap: two rows for one day would say two things.
func (b *Book) checkEntrusted(l Licence, a act) error {
	for i, e := range l.Entrusted {
		if err := checkID("entrusted party", e.ID); err != nil {
			return err
		}
		if e.Title.ZH == "" || e.Task.ZH == "" {
			return texts.Errorf("entrusted party %q: title and task must be stated in Chinese", e.ID)
		}
		if p, ok := b.parties[e.ID]; ok && (p.Abroad || p.Withdrawn) {
			return texts.Errorf("entrusted party %q is abroad or withdrawn", e.ID)
		}
		if p, ok := b.parties[e.ReviewedBy]; !ok || p.Role == RoleOperator {
			return texts.Errorf("entrusted party %q: reviewed_by %q is no department or regulator", e.ID, safeName(e.ReviewedBy))
		}
		if e.Reviewed.IsZero() || e.Reviewed.After(a.at) {
			return texts.Errorf("entrusted party %q: no date of a review that has taken place", e.ID)
		}
		if e.From.Before(l.NotBefore) || !e.Until.After(e.From) || e.Until.After(l.NotAfter) {
			return texts.Errorf("entrusted party %q: from and until must lie in the licence's term", e.ID)
		}
		for _, o := range l.Entrusted[:i] {
			if o.ID == e.ID && e.From.Before(o.Until) && o.From.Before(e.Until) {
				return texts.Errorf("entrusted party %q: its terms overlap", e.ID)
			}
		}
	}
	return nil
}

func (b *Book) checkRecipients(list []Recipient) error {
	seen := map[string]bool{}
	for _, r := range list {
		if err := checkID("recipient", r.ID); err != nil {
			return err
		}
		if seen[r.ID] {
			return texts.Errorf("recipient %q stands twice", r.ID)
		}
		seen[r.ID] = true
		if r.Title.ZH == "" {
			return texts.Errorf("recipient %q: title must be stated in Chinese", r.ID)
		}
		if r.Location == "" {
			return texts.Errorf("recipient %q: location is missing", r.ID)
		}
		if p, ok := b.parties[r.ID]; r.Location != inCountry || ok && p.Abroad {
			return texts.Errorf("recipient %q is outside the border: nothing is exported without its assessment", r.ID)
		}
	}
	return nil
}

func (b *Book) checkProviders(l Licence, a act) error {
	seen := map[string]bool{}
	for _, c := range l.Providers {
		from := b.datasets[c.Dataset].Dataset.SharedFrom
		switch {
		case !slices.ContainsFunc(l.Resources, func(o LicenceObject) bool { return o.Dataset == c.Dataset }):
			return texts.Errorf("provider_consents: data set %q is not granted", safeName(c.Dataset))
		case seen[c.Dataset]:
			return texts.Errorf("provider_consents: data set %q stands twice", c.Dataset)
		case from != c.Provider:
			return texts.Errorf("provider_consents: data set %q was not shared from %q", c.Dataset, safeName(c.Provider))
		case c.Document == "":
			return texts.Errorf("provider_consents: data set %q: the document is not named", c.Dataset)
		case c.Signed.IsZero() || c.Signed.After(a.at):
			return texts.Errorf("provider_consents: data set %q: no date of a signature that was given", c.Dataset)
		case !c.Until.IsZero() && c.Until.Before(l.NotAfter):
			return texts.Errorf("provider_consents: data set %q: the consent ends before the licence", c.Dataset)
		}
		seen[c.Dataset] = true
	}
	for _, r := range l.Resources {
		from := b.datasets[r.Dataset].Dataset.SharedFrom
		if from == "" {
			continue
		}
		if !seen[r.Dataset] {
			return texts.Errorf("data set %q was shared from %q, whose consent is missing: state it in provider_consents", r.Dataset, from)
		}
		if p, ok := b.parties[from]; ok && p.Role == RoleDepartment && !a.signers[from] {
			return texts.Errorf("signature of department %q, which shared %q, is missing", from, r.Dataset)
		}
	}
	return nil
}

func (b *Book) checkRenewal(l Licence) error {
	if l.Renews == "" {
		return nil
	}
	old, ok := b.licences[l.Renews]
	switch {
	case !ok || l.Renews == l.ID:
		return texts.Errorf("renews: licence %q is not granted", safeName(l.Renews))
	case old.Operator != l.Operator:
		return texts.Errorf("renews: licence %q is another operator's", l.Renews)
	case l.NotBefore.Before(old.NotBefore) || !l.NotAfter.After(old.NotAfter):
		return texts.Errorf("renews: the term does not go on from that of licence %q", l.Renews)
	}
	if r, ok := b.revoked[l.Renews]; ok {
		return texts.Errorf("renews: licence %q was revoked by %q and is not renewed", l.Renews, r.By)
	}
	return nil
}

func (b *Book) decideKind(r Request, l Licence) *Reason {
	kind := r.Kind
	if kind == "" {
		kind = JobQuery
	}
	if len(l.Jobs) == 0 && kind == JobQuery || slices.Contains(l.Jobs, kind) {
		return nil
	}
	return reasonf("JOB_KIND_NOT_LICENSED", "licence/"+l.ID, b.root, "授权“%s”不含作业类型 %s", "licence %q does not grant jobs of kind %s", l.ID, string(kind))
}

// decideProvider refuses shared-in data that its provider did not agree to. The
// catalogue may have said so after the licence was granted.
func (b *Book) decideProvider(l Licence, dataset string) *Reason {
	from := b.datasets[dataset].Dataset.SharedFrom
	if from == "" || slices.ContainsFunc(l.Providers, func(c ProviderConsent) bool { return c.Dataset == dataset && c.Provider == from }) {
		return nil
	}
	return reasonf("PROVIDER_CONSENT_MISSING", "licence/"+l.ID, from, "数据集“%s”由“%s”共享而来，授权“%s”未附其同意", "data set %q was shared from %q, whose consent licence %q does not hold", dataset, from, l.ID).
		hint("请取得提供方同意后变更授权（provider_consents）", "obtain the provider's consent and change the licence (provider_consents)")
}

// Stopped says why a request that was let in may no longer run, nor be released,
// nil when it may: whatever would refuse it now.
func (b *Book) Stopped(r Request) *Reason {
	if reasons := b.Decide(r); len(reasons) > 0 {
		return &reasons[0]
	}
	return nil
}
