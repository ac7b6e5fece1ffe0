package policies

import (
	"maps"
	"slices"
	"time"
)

// Kinds of the handling of applications (R23, R24).
const (
	KindApplication           Kind = "Application"           // operator: asks for data 申请
	KindApplicationWithdrawal Kind = "ApplicationWithdrawal" // operator: takes it back
	KindReview                Kind = "Review"                // department or regulator: takes in, returns, approves, refuses
)

// Application 申请 is an operator's request for data (R23). A returned one is
// completed by filing it again under the same id.
type Application struct {
	ID        string          `yaml:"id" json:"id"`
	Operator  string          `yaml:"operator" json:"operator"`
	Official  string          `yaml:"official" json:"official"` // who files it, an id and no name
	Scenario  Text            `yaml:"scenario" json:"scenario"`
	Purposes  []string        `yaml:"purposes" json:"purposes"`
	Scope     []LicenceObject `yaml:"scope" json:"scope"`
	Method    Text            `yaml:"method" json:"method"`
	NotBefore time.Time       `yaml:"not_before" json:"not_before"`
	NotAfter  time.Time       `yaml:"not_after" json:"not_after"` // at most five years later
	Security  Text            `yaml:"security" json:"security"`
	Contact   Text            `yaml:"contact" json:"contact"` // an office, no person
	// Renews names the licence that this one is to follow.
	Renews string `yaml:"renews,omitempty" json:"renews,omitempty"`
}

// ApplicationWithdrawal takes an application back before a licence is granted.
type ApplicationWithdrawal struct {
	Application string `yaml:"application" json:"application"`
	Operator    string `yaml:"operator" json:"operator"`
	Official    string `yaml:"official" json:"official"`
	Reason      Text   `yaml:"reason" json:"reason"`
}

// Review 审核 is an act of a reviewer on an application, or the regulator's look
// at what followed a change of law or function (R22). The regulator accepts or
// returns; each department whose data is asked for, and the regulator where the
// profile says so, approves or refuses. A refusal names its legal basis.
type Review struct {
	Application string   `yaml:"application,omitempty" json:"application,omitempty"`
	Change      string   `yaml:"change,omitempty" json:"change,omitempty"`
	By          string   `yaml:"by" json:"by"`
	Officials   []string `yaml:"officials" json:"officials"`
	Decision    string   `yaml:"decision" json:"decision"` // accept | return | approve | refuse
	Reason      Text     `yaml:"reason" json:"reason"`
	Basis       Text     `yaml:"basis,omitempty" json:"basis,omitzero"`
	// Scope and NotAfter narrow what is approved, by least authority: of the data
	// sets named, only these columns.
	Scope    []LicenceObject `yaml:"scope,omitempty" json:"scope,omitempty"`
	NotAfter *time.Time      `yaml:"not_after,omitempty" json:"not_after,omitempty"`
}

// ApplicationState is how far the handling of an application is.
type ApplicationState string

const (
	AppFiled     ApplicationState = "filed"
	AppReturned  ApplicationState = "returned"  // 退回补正
	AppAccepted  ApplicationState = "accepted"  // 受理
	AppReviewing ApplicationState = "reviewing" // at least one reviewer approved
	AppApproved  ApplicationState = "approved"
	AppRefused   ApplicationState = "refused"
	AppGranted   ApplicationState = "granted" // a licence names it
	AppWithdrawn ApplicationState = "withdrawn"
)

// ApplicationCase is an application and everything done on it.
type ApplicationCase struct {
	Application Application
	State       ApplicationState
	Filed       time.Time // last filing
	Since       time.Time // when the state was entered
	Reviewers   []string  // parties whose approval it needs
	Steps       []Step
	Licence     string // granted on it
	rules       rules
	round       int // filings
}

// ApplicationCase returns an application and its handling.
func (b *Book) ApplicationCase(id string) (ApplicationCase, bool) {
	c, ok := b.desk.applications[id]
	return c, ok
}

// Applications lists application ids in order.
func (b *Book) Applications() []string { return slices.Sorted(maps.Keys(b.desk.applications)) }

// Concerns says whether an application asks for data of a department.
func (b *Book) Concerns(c ApplicationCase, department string) bool {
	return slices.ContainsFunc(c.Application.Scope, func(o LicenceObject) bool { return b.datasets[o.Dataset].Department == department })
}

// pending are the reviewers who have not approved yet. Only a filing that nobody
// reviewed is returned, so approvals are always of the present one.
func (c ApplicationCase) pending() []string {
	return slices.DeleteFunc(slices.Clone(c.Reviewers), func(r string) bool {
		return slices.ContainsFunc(c.Steps, func(s Step) bool { return s.By == r && s.Decision == "approve" })
	})
}

// Granted is what a licence may grant on an application: its scope and term as
// the reviews narrowed them.
func (c ApplicationCase) Granted() ([]LicenceObject, time.Time) {
	scope, until := slices.Clone(c.Application.Scope), c.Application.NotAfter
	for _, s := range c.Steps {
		if s.Decision != "approve" {
			continue
		}
		if !s.NotAfter.IsZero() && s.NotAfter.Before(until) {
			until = s.NotAfter
		}
		for _, n := range s.Scope {
			i := slices.IndexFunc(scope, func(o LicenceObject) bool { return o.Dataset == n.Dataset })
			scope[i].Columns = slices.DeleteFunc(slices.Clone(scope[i].Columns), func(col string) bool { return !slices.Contains(n.Columns, col) })
		}
	}
	return slices.DeleteFunc(scope, func(o LicenceObject) bool { return len(o.Columns) == 0 }), until
}

// filings are the acts of those who filed or refiled.
func (c ApplicationCase) filings() []Step {
	return slices.DeleteFunc(slices.Clone(c.Steps), func(s Step) bool { return s.Decision != "filed" })
}

func (b *Book) putApplication(v Application, a act) error {
	if err := checkID("application", v.ID); err != nil {
		return err
	}
	if _, err := b.party(v.Operator, a, RoleOperator); err != nil {
		return texts.Errorf("application %q: %w", v.ID, err)
	}
	if b.desk.profile.ID == "" {
		return texts.Errorf("no Profile is in force, so no deadline would run; the regulator applies one first")
	}
	old, exists := b.desk.applications[v.ID]
	if exists && (old.State != AppReturned || old.Application.Operator != v.Operator) {
		return texts.Errorf("application %q was filed before and was not returned for completion; file a new one under another id", v.ID)
	}
	if err := b.checkApplication(v); err != nil {
		return texts.Errorf("application %q: %w", v.ID, err)
	}
	if !v.NotAfter.After(a.at) || v.NotBefore.After(a.at.AddDate(maxTerm, 0, 0)) {
		return texts.Errorf("application %q: the term lies in the past, or begins more than %d years from now", v.ID, maxTerm)
	}
	c := ApplicationCase{Application: v, State: AppFiled, Filed: a.at, Since: a.at, Steps: old.Steps, rules: b.pinned(), round: old.round + 1}
	for _, o := range v.Scope {
		if d := b.datasets[o.Dataset].Department; !slices.Contains(c.Reviewers, d) {
			c.Reviewers = append(c.Reviewers, d)
		}
	}
	if c.rules.withRegulator {
		c.Reviewers = append(c.Reviewers, b.root)
	}
	slices.Sort(c.Reviewers)
	if err := b.reach(a.at, c.rules.Accept); err != nil {
		return texts.Errorf("application %q: %w", v.ID, err)
	}
	c.Steps = follows(c.Steps, Step{At: a.at, By: v.Operator, Officials: []string{v.Official}, Decision: "filed"})
	b.desk.applications[v.ID] = c
	return nil
}

func (b *Book) checkApplication(v Application) error {
	if err := checkID("official", v.Official); err != nil {
		return err
	}
	if err := checkWords(true, map[string]Text{"scenario": v.Scenario, "method": v.Method, "security": v.Security, "contact": v.Contact}); err != nil {
		return err
	}
	if len(v.Purposes) == 0 || len(v.Scope) == 0 {
		return texts.Errorf("purposes and scope must not be empty")
	}
	for _, p := range v.Purposes {
		if _, ok := b.purposes[p]; !ok {
			return texts.Errorf("purpose %q is not in the registry", safeName(p))
		}
	}
	if v.NotBefore.IsZero() || !v.NotAfter.After(v.NotBefore) || v.NotAfter.After(v.NotBefore.AddDate(maxTerm, 0, 0)) {
		return texts.Errorf("not_before and not_after must span a term of at most %d years", maxTerm)
	}
	if l, ok := b.licences[v.Renews]; v.Renews != "" && (!ok || l.Operator != v.Operator) {
		return texts.Errorf("renews: %q is no licence of this operator", safeName(v.Renews))
	}
	return b.checkScope(v.Scope)
}

// checkScope checks that data sets and columns exist, each once.
func (b *Book) checkScope(scope []LicenceObject) error {
	seen := map[string]bool{}
	for _, o := range scope {
		e, ok := b.datasets[o.Dataset]
		if !ok {
			return texts.Errorf("data set %q is not in the catalogue", safeName(o.Dataset))
		}
		if seen[o.Dataset] {
			return texts.Errorf("data set %q stands twice", o.Dataset)
		}
		seen[o.Dataset] = true
		if len(o.Columns) == 0 {
			return texts.Errorf("data set %q: no columns", o.Dataset)
		}
		for i, name := range o.Columns {
			if !slices.ContainsFunc(e.Dataset.Columns, func(c Column) bool { return c.Name == name }) {
				return texts.Errorf("data set %q: unknown column %q", o.Dataset, safeName(name))
			}
			if slices.Contains(o.Columns[:i], name) {
				return texts.Errorf("data set %q: column %q stands twice", o.Dataset, name)
			}
		}
	}
	return nil
}

func (b *Book) putApplicationWithdrawal(v ApplicationWithdrawal, a act) error {
	c, ok := b.desk.applications[v.Application]
	if !ok || c.Application.Operator != v.Operator {
		return texts.Errorf("operator %q filed no application %q", safeName(v.Operator), safeName(v.Application))
	}
	if _, err := b.party(v.Operator, a, RoleOperator); err != nil {
		return texts.Errorf("application %q: %w", v.Application, err)
	}
	if err := checkID("official", v.Official); err != nil {
		return err
	}
	if err := checkWords(true, map[string]Text{"reason": v.Reason}); err != nil {
		return err
	}
	switch c.State {
	case AppRefused, AppGranted, AppWithdrawn:
		return texts.Errorf("application %q is %s and cannot be withdrawn", v.Application, c.State)
	}
	c.State, c.Since = AppWithdrawn, a.at
	c.Steps = follows(c.Steps, Step{At: a.at, By: v.Operator, Officials: []string{v.Official}, Decision: "withdrawn", Reason: v.Reason})
	b.desk.applications[v.Application] = c
	return nil
}

func (b *Book) putReview(v Review, a act) error {
	if (v.Application == "") == (v.Change == "") {
		return texts.Errorf("exactly one of application and change must be given")
	}
	if v.Change != "" {
		return b.reviewChange(v, a)
	}
	c, ok := b.desk.applications[v.Application]
	if !ok {
		return texts.Errorf("application %q was not filed", safeName(v.Application))
	}
	if err := b.review(&c, v, a); err != nil {
		return texts.Errorf("application %q: %w", v.Application, err)
	}
	b.desk.applications[v.Application] = c
	return nil
}

func (b *Book) review(c *ApplicationCase, v Review, a act) error {
	if a.signers[c.Application.Operator] {
		return texts.Errorf("operator %q filed it and cannot sign its review", c.Application.Operator)
	}
	if _, err := b.party(v.By, a, RoleDepartment, RoleRegulator); err != nil {
		return err
	}
	decides := v.Decision == "approve" || v.Decision == "refuse"
	if err := checkOfficials(v.By, v.Officials, c.filings(), c.rules.twoPerson && decides); err != nil {
		return err
	}
	if err := checkWords(true, map[string]Text{"reason": v.Reason}); err != nil {
		return err
	}
	if err := checkWords(v.Decision == "refuse", map[string]Text{"basis": v.Basis}); err != nil {
		return texts.Errorf("%w; a refusal states its legal basis", err)
	}
	if v.Decision != "approve" && (len(v.Scope) > 0 || v.NotAfter != nil) {
		return texts.Errorf("scope and not_after narrow an approval and stand beside no other decision")
	}
	switch v.Decision {
	case "accept", "return":
		if v.By != b.root {
			return texts.Errorf("party %q may not take it in or return it: the regulator does", v.By)
		}
		if c.State != AppFiled {
			return texts.Errorf("it is %s, not filed", c.State)
		}
	case "approve", "refuse":
		if !slices.Contains(c.Reviewers, v.By) {
			return texts.Errorf("party %q does not review it: it asks for no data of it (reviewers: %v)", v.By, c.Reviewers)
		}
		if c.State != AppAccepted && c.State != AppReviewing {
			return texts.Errorf("it is %s, not under review", c.State)
		}
		if !slices.Contains(c.pending(), v.By) {
			return texts.Errorf("party %q has approved it already", v.By)
		}
	default:
		return texts.Errorf("unknown decision %q; known: accept, return, approve, refuse", safeName(v.Decision))
	}
	step := Step{At: a.at, By: v.By, Officials: v.Officials, Decision: v.Decision, Reason: v.Reason, Basis: v.Basis, Scope: v.Scope}
	if v.NotAfter != nil {
		step.NotAfter = *v.NotAfter
	}
	if err := b.checkNarrowing(*c, step); err != nil {
		return err
	}
	c.Steps = follows(c.Steps, step)
	next, days := c.State, 0
	switch v.Decision {
	case "accept":
		next, days = AppAccepted, c.rules.Review
	case "return":
		next, days = AppReturned, c.rules.Complete
	case "refuse":
		next = AppRefused
	case "approve":
		next = AppReviewing
		if len(c.pending()) == 0 {
			next, days = AppApproved, c.rules.Grant
			if scope, until := c.Granted(); len(scope) == 0 || !until.After(c.Application.NotBefore) {
				return texts.Errorf("the reviews together leave nothing of it; refuse it instead")
			}
		}
	}
	if next != c.State && next != AppReviewing {
		c.Since = a.at
	}
	c.State = next
	if days > 0 {
		return b.reach(a.at, days)
	}
	return nil
}

// checkNarrowing holds what an approval narrows to the data that the reviewer may
// speak for and to what was applied for.
func (b *Book) checkNarrowing(c ApplicationCase, s Step) error {
	if err := b.checkScope(s.Scope); err != nil {
		return texts.Errorf("scope: %w", err)
	}
	for _, n := range s.Scope {
		i := slices.IndexFunc(c.Application.Scope, func(o LicenceObject) bool { return o.Dataset == n.Dataset })
		if i < 0 {
			return texts.Errorf("scope: data set %q was not applied for", n.Dataset)
		}
		if s.By != b.root && b.datasets[n.Dataset].Department != s.By {
			return texts.Errorf("scope: data set %q is not of department %q", n.Dataset, s.By)
		}
		for _, col := range n.Columns {
			if !slices.Contains(c.Application.Scope[i].Columns, col) {
				return texts.Errorf("scope: column %q of %q was not applied for", safeName(col), n.Dataset)
			}
		}
	}
	if !s.NotAfter.IsZero() && s.NotAfter.After(c.Application.NotAfter) {
		return texts.Errorf("not_after lies beyond what was applied for")
	}
	return nil
}

// fits holds a licence that names an application to it: by least authority a
// licence grants nothing that was not applied for and approved.
func (b *Book) fits(l Licence) error {
	if l.Application == "" {
		if old := b.licences[l.ID].Application; old != "" {
			return texts.Errorf("it was granted on application %q and must name it, or one that follows it", old)
		}
		return nil
	}
	c, ok := b.desk.applications[l.Application]
	switch {
	case !ok || c.Application.Operator != l.Operator:
		return texts.Errorf("operator %q filed no application %q", l.Operator, safeName(l.Application))
	case c.State == AppGranted && c.Licence != l.ID:
		return texts.Errorf("application %q was granted as licence %q", l.Application, c.Licence)
	case c.State != AppApproved && c.State != AppGranted:
		return texts.Errorf("application %q is %s, not approved", l.Application, c.State)
	}
	for _, p := range l.Purposes {
		if !slices.Contains(c.Application.Purposes, p) {
			return texts.Errorf("purpose %q was not applied for in %q", safeName(p), l.Application)
		}
	}
	scope, until := c.Granted()
	for _, r := range l.Resources {
		i := slices.IndexFunc(scope, func(o LicenceObject) bool { return o.Dataset == r.Dataset })
		if i < 0 {
			return texts.Errorf("data set %q was not approved in application %q", r.Dataset, l.Application)
		}
		for _, col := range r.Columns {
			if !slices.Contains(scope[i].Columns, col) {
				return texts.Errorf("column %q of %q was not approved in application %q", safeName(col), r.Dataset, l.Application)
			}
		}
	}
	if l.NotBefore.Before(c.Application.NotBefore) || l.NotAfter.After(until) {
		return texts.Errorf("its term goes beyond what application %q was approved for", l.Application)
	}
	return nil
}

// grant marks the application of a licence that took effect.
func (b *Book) grant(l Licence, at time.Time) {
	c, ok := b.desk.applications[l.Application]
	if !ok || c.State == AppGranted {
		return
	}
	c.State, c.Since, c.Licence = AppGranted, at, l.ID
	c.Steps = follows(c.Steps, Step{At: at, By: b.root, Decision: "granted"})
	b.desk.applications[l.Application] = c
}
