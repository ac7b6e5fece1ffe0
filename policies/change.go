package policies

import (
	"maps"
	"slices"
	"time"
)

// KindLegalChange records a change of law or function that catalogue and grading
// have to follow (R22).
const KindLegalChange Kind = "LegalChange"

// LegalChange 法规或职能变更 begins the deadline within which a department's
// catalogue or grading of the data sets named must follow, and after it that of
// the regulator's review. The department or the regulator signs it.
type LegalChange struct {
	ID         string    `yaml:"id" json:"id"`
	By         string    `yaml:"by" json:"by"`
	Department string    `yaml:"department" json:"department"`
	Datasets   []string  `yaml:"datasets" json:"datasets"`
	Since      time.Time `yaml:"since" json:"since"` // when the law or function changed; the deadline counts from then
	Basis      Text      `yaml:"basis" json:"basis"`
}

// ChangeState is how far a change is followed.
type ChangeState string

const (
	ChangeOpen     ChangeState = "open"
	ChangeFollowed ChangeState = "followed" // every data set was catalogued or graded anew
	ChangeReviewed ChangeState = "reviewed" // the regulator approved it
)

// ChangeCase is a change and everything done on it.
type ChangeCase struct {
	Change LegalChange
	State  ChangeState
	Since  time.Time
	Steps  []Step
	rules  rules
}

// ChangeCase returns a change of law or function and its handling.
func (b *Book) ChangeCase(id string) (ChangeCase, bool) {
	c, ok := b.desk.changes[id]
	return c, ok
}

func (b *Book) putLegalChange(v LegalChange, a act) error {
	if err := checkID("change", v.ID); err != nil {
		return err
	}
	if _, dup := b.desk.changes[v.ID]; dup {
		return texts.Errorf("change %q was recorded before", v.ID)
	}
	if err := b.decider(v.By, v.Department, a); err != nil {
		return texts.Errorf("change %q: %w", v.ID, err)
	}
	if len(v.Datasets) == 0 {
		return texts.Errorf("change %q: no data sets", v.ID)
	}
	for _, id := range v.Datasets {
		if _, err := b.owned(id, v.Department); err != nil {
			return texts.Errorf("change %q: %w", v.ID, withoutNumbers(err))
		}
	}
	if v.Since.IsZero() || v.Since.After(a.at) {
		return texts.Errorf("change %q: since is missing or lies in the future", v.ID)
	}
	if err := checkWords(true, map[string]Text{"basis": v.Basis}); err != nil {
		return texts.Errorf("change %q: %w", v.ID, err)
	}
	if b.desk.profile.ID == "" {
		return texts.Errorf("change %q: no Profile is in force, so no deadline would run; the regulator applies one first", v.ID)
	}
	r := b.pinned()
	if err := b.reach(v.Since, r.Follow); err != nil {
		return texts.Errorf("change %q: %w", v.ID, err)
	}
	b.desk.changes[v.ID] = ChangeCase{Change: v, State: ChangeOpen, Since: a.at, rules: r,
		Steps: []Step{{At: a.at, By: v.By, Decision: "filed", Basis: v.Basis}}}
	b.follow(v.Department, a.at)
	return nil
}

// from is when the deadline to follow began: with the change itself, or when the
// regulator sent back what followed it.
func (c ChangeCase) from() time.Time {
	if c.Steps[len(c.Steps)-1].Decision == "return" {
		return c.Since
	}
	return c.Change.Since
}

// follow closes the changes of a department of which every data set has been
// catalogued or graded anew.
func (b *Book) follow(department string, at time.Time) {
	for _, id := range slices.Sorted(maps.Keys(b.desk.changes)) {
		c := b.desk.changes[id]
		behind := func(d string) bool { return b.desk.updated[d].Before(c.from()) }
		if c.State != ChangeOpen || c.Change.Department != department || slices.ContainsFunc(c.Change.Datasets, behind) {
			continue
		}
		c.State, c.Since = ChangeFollowed, at
		c.Steps = follows(c.Steps, Step{At: at, By: department, Decision: "followed"})
		b.desk.changes[id] = c
	}
}

// reviewChange is the regulator's look at what followed: approved, or sent back
// to the department.
func (b *Book) reviewChange(v Review, a act) error {
	c, ok := b.desk.changes[v.Change]
	if !ok {
		return texts.Errorf("change %q was not recorded", safeName(v.Change))
	}
	if v.By != b.root {
		return texts.Errorf("change %q: party %q may not review it: the regulator does", v.Change, safeName(v.By))
	}
	if _, err := b.party(v.By, a, RoleRegulator); err != nil {
		return texts.Errorf("change %q: %w", v.Change, err)
	}
	if c.State != ChangeFollowed {
		return texts.Errorf("change %q is %s, not followed", v.Change, c.State)
	}
	if err := checkOfficials(v.By, v.Officials, nil, c.rules.twoPerson); err != nil {
		return texts.Errorf("change %q: %w", v.Change, err)
	}
	if err := checkWords(true, map[string]Text{"reason": v.Reason}); err != nil {
		return texts.Errorf("change %q: %w", v.Change, err)
	}
	if len(v.Scope) > 0 || v.NotAfter != nil {
		return texts.Errorf("change %q: scope and not_after belong to applications", v.Change)
	}
	switch v.Decision {
	case "approve":
		c.State = ChangeReviewed
	case "return":
		c.State = ChangeOpen
	default:
		return texts.Errorf("change %q: unknown decision %q; known: approve, return", v.Change, safeName(v.Decision))
	}
	c.Since = a.at
	c.Steps = follows(c.Steps, Step{At: a.at, By: v.By, Officials: v.Officials, Decision: v.Decision, Reason: v.Reason, Basis: v.Basis})
	b.desk.changes[v.Change] = c
	return nil
}
