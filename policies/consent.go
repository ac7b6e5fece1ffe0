package policies

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Kinds of document by which a department records what a data subject 数据主体
// agreed to, and that he takes it back (R28).
const (
	KindConsent           Kind = "Consent"
	KindConsentWithdrawal Kind = "ConsentWithdrawal"
)

// ConsentRequired in a catalogue entry: the data set is used only for subjects who
// agreed. No job there is today can be restricted to them, so it answers none.
const ConsentRequired = "required"

// Consent of one data subject, who is never named: Subject is the commitment that
// the gateway computes from the identifier under a key of its own. Exactly one of
// Licence and Operator says for whose use.
type Consent struct {
	ID         string    `yaml:"id" json:"id"`
	Department string    `yaml:"department" json:"department"`
	Subject    string    `yaml:"subject" json:"subject"` // 64 hexadecimal digits
	Licence    string    `yaml:"licence,omitempty" json:"licence,omitempty"`
	Operator   string    `yaml:"operator,omitempty" json:"operator,omitempty"`
	Purposes   []string  `yaml:"purposes" json:"purposes"`
	Datasets   []string  `yaml:"datasets" json:"datasets"`
	NotBefore  time.Time `yaml:"not_before" json:"not_before"`
	NotAfter   time.Time `yaml:"not_after" json:"not_after"` // exclusive
	Document   string    `yaml:"document" json:"document"`   // where the paper or its scan is kept
}

// ConsentWithdrawal ends a consent at once.
type ConsentWithdrawal struct {
	Consent    string `yaml:"consent" json:"consent"`
	Department string `yaml:"department" json:"department"`
}

// ConsentRecord is a consent and, once it was taken back, since when.
type ConsentRecord struct {
	Consent   Consent
	At        time.Time
	Withdrawn time.Time // zero while it stands
}

// maxConsentTerm in years: a consent outlives no licence.
const maxConsentTerm = maxTerm

func (b *Book) putConsent(c Consent, a act) error {
	if err := b.checkConsent(c, a); err != nil {
		return fmt.Errorf("consent %q: %w", safeName(c.ID), err)
	}
	b.consents[c.ID] = ConsentRecord{Consent: c, At: a.at}
	return nil
}

func (b *Book) checkConsent(c Consent, a act) error {
	if err := checkID("consent", c.ID); err != nil {
		return err
	}
	if err := b.department(c.Department, a.signers); err != nil {
		return err
	}
	if _, ok := b.consents[c.ID]; ok {
		return errors.New("a consent of this id was recorded before")
	}
	// The text is not repeated: somebody may have put the number itself there.
	if raw, err := hex.DecodeString(c.Subject); err != nil || len(raw) != 32 || hex.EncodeToString(raw) != c.Subject {
		return errors.New("subject is not a commitment; compute it with sandgate consent subject")
	}
	if c.Document == "" {
		return errors.New("document is missing: where the authorisation is kept")
	}
	if c.NotBefore.IsZero() || !c.NotAfter.After(c.NotBefore) || c.NotAfter.After(c.NotBefore.AddDate(maxConsentTerm, 0, 0)) {
		return fmt.Errorf("not_before and not_after must span a term of at most %d years", maxConsentTerm)
	}
	if (c.Licence == "") == (c.Operator == "") {
		return errors.New("exactly one of licence and operator says for whose use")
	}
	l, granted := b.licences[c.Licence]
	if c.Licence != "" && !granted {
		return fmt.Errorf("licence %q is not granted", safeName(c.Licence))
	}
	if p, ok := b.parties[c.Operator]; c.Operator != "" && (!ok || p.Role != RoleOperator) {
		return fmt.Errorf("operator %q is not in the registry", safeName(c.Operator))
	}
	if len(c.Purposes) == 0 || len(c.Datasets) == 0 {
		return errors.New("purposes and datasets must not be empty: what is not named is not agreed to")
	}
	for _, p := range c.Purposes {
		if _, ok := b.purposes[p]; !ok || granted && !slices.Contains(l.Purposes, p) {
			return fmt.Errorf("purpose %q is not registered, or not granted by the licence", safeName(p))
		}
	}
	for _, id := range c.Datasets {
		e, err := b.owned(id, c.Department)
		if err != nil {
			return err
		}
		if e.Dataset.Unit == nil || e.Dataset.Unit.Kind != UnitPerson {
			return fmt.Errorf("data set %q holds no data subjects", id)
		}
		if granted && !slices.ContainsFunc(l.Resources, func(o LicenceObject) bool { return o.Dataset == id }) {
			return fmt.Errorf("licence %q does not grant data set %q", l.ID, id)
		}
	}
	return nil
}

func (b *Book) putWithdrawal(w ConsentWithdrawal, a act) error {
	if err := b.department(w.Department, a.signers); err != nil {
		return err
	}
	r, ok := b.consents[w.Consent]
	switch {
	case !ok:
		return fmt.Errorf("consent %q is not recorded", safeName(w.Consent))
	case r.Consent.Department != w.Department:
		return fmt.Errorf("consent %q was recorded by %q, which alone withdraws it", w.Consent, r.Consent.Department)
	case !r.Withdrawn.IsZero():
		return fmt.Errorf("consent %q was withdrawn already", w.Consent)
	}
	r.Withdrawn = a.at
	b.consents[w.Consent] = r
	return nil
}

// Consents lists the recorded consents in the order of their ids.
func (b *Book) Consents() []ConsentRecord {
	out := make([]ConsentRecord, 0, len(b.consents))
	for _, id := range slices.Sorted(maps.Keys(b.consents)) {
		out = append(out, b.consents[id])
	}
	return out
}

// Consented says whether a data subject's consent covers the use of a data set
// under a licence for a purpose at an instant. A licence that is not in force, or
// is held, covers nothing. It is decided anew at every execution: a withdrawal
// takes effect at the next.
func (b *Book) Consented(subject, dataset, licence, purpose string, at time.Time) bool {
	l, ok := b.licences[licence]
	if !ok || b.InForce(licence, at) != nil || b.Suspended(Target{TargetLicence, licence}) != nil || !slices.Contains(l.Purposes, purpose) {
		return false
	}
	for _, r := range b.consents {
		c := r.Consent
		if c.Subject == subject && (c.Licence == licence || c.Operator == l.Operator) && slices.Contains(c.Purposes, purpose) && slices.Contains(c.Datasets, dataset) &&
			!at.Before(c.NotBefore) && at.Before(c.NotAfter) && (r.Withdrawn.IsZero() || at.Before(r.Withdrawn)) {
			return true
		}
	}
	return false
}

// decideConsent refuses what would use the data of all subjects where only those
// who agreed may be used. A verification asks about one subject and is decided on
// his consent.
func (b *Book) decideConsent(r Request, dataset string) *Reason {
	e := b.datasets[dataset]
	if e.Dataset.Consent != ConsentRequired {
		return nil
	}
	if r.Kind != JobVerification {
		return reasonf("CONSENT_REQUIRED", "catalogue/"+dataset, e.Department, "数据集“%s”须经数据主体同意，不作统计查询", "data set %q needs the data subjects' consent and answers no query", dataset).
			hint("仅可就已同意的数据主体核验", "only a verification of a subject who agreed can be let in")
	}
	if b.Consented(r.Subject, dataset, r.Licence, r.Purpose, r.At) {
		return nil
	}
	return reasonf("CONSENT_MISSING", "catalogue/"+dataset, e.Department, "数据集“%s”：没有该数据主体对本授权和用途的有效同意", "data set %q: no consent of the subject to this licence and purpose is in force", dataset).
		hint("请由数源部门登记其同意", "have the department record it")
}
