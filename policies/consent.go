package policies

import (
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
// agreed. Queries read their rows alone (ConsentsFor), with noise; a verification
// asks about one of them.
const ConsentRequired = "required"

// Consent of data subjects, who are never named: Subject is the commitment that
// the gateway computes from the identifier under a key of its own, Subjects a list of
// such (JoinSubjects). Exactly one of the two is set, and exactly one of Licence and
// Operator says for whose use.
type Consent struct {
	ID         string    `yaml:"id" json:"id"`
	Department string    `yaml:"department" json:"department"`
	Subject    string    `yaml:"subject,omitempty" json:"subject,omitempty"`   // 64 hexadecimal digits
	Subjects   string    `yaml:"subjects,omitempty" json:"subjects,omitempty"` // base64, at most MaxSubjects
	Licence    string    `yaml:"licence,omitempty" json:"licence,omitempty"`
	Operator   string    `yaml:"operator,omitempty" json:"operator,omitempty"`
	Purposes   []string  `yaml:"purposes" json:"purposes"`
	Datasets   []string  `yaml:"datasets" json:"datasets"`
	NotBefore  time.Time `yaml:"not_before" json:"not_before"`
	NotAfter   time.Time `yaml:"not_after" json:"not_after"` // exclusive
	Document   string    `yaml:"document" json:"document"`   // where the paper or its scan is kept
}

// ConsentWithdrawal ends a consent at once. With Subject, it ends that subject's
// alone: in the consent named, or, when none is, in all that the department recorded.
type ConsentWithdrawal struct {
	Consent    string `yaml:"consent,omitempty" json:"consent,omitempty"`
	Subject    string `yaml:"subject,omitempty" json:"subject,omitempty"` // commitment
	Department string `yaml:"department" json:"department"`
}

// ConsentRecord is a consent and, once it was taken back, since when.
type ConsentRecord struct {
	Consent   Consent
	At        time.Time
	Withdrawn time.Time // zero while it stands
	// Ended are the subjects who took theirs back, in order. Replaced, never changed.
	Ended []SubjectEnd
	keys  []SubjectKey // in order
}

// maxConsentTerm in years: a consent outlives no licence.
const maxConsentTerm = maxTerm

func (b *Book) putConsent(c Consent, a act) error {
	if err := b.checkConsent(c, a); err != nil {
		return texts.Errorf("consent %q: %w", safeName(c.ID), err)
	}
	keys, err := c.subjectKeys()
	if err != nil {
		return texts.Errorf("consent %q: %w", safeName(c.ID), err)
	}
	b.consents[c.ID] = ConsentRecord{Consent: c, At: a.at, keys: keys}
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
		return texts.Errorf("a consent of this id was recorded before")
	}
	if c.Document == "" {
		return texts.Errorf("document is missing: where the authorisation is kept")
	}
	if c.NotBefore.IsZero() || !c.NotAfter.After(c.NotBefore) || c.NotAfter.After(c.NotBefore.AddDate(maxConsentTerm, 0, 0)) {
		return texts.Errorf("not_before and not_after must span a term of at most %d years", maxConsentTerm)
	}
	if (c.Licence == "") == (c.Operator == "") {
		return texts.Errorf("exactly one of licence and operator says for whose use")
	}
	l, granted := b.licences[c.Licence]
	if c.Licence != "" && !granted {
		return texts.Errorf("licence %q is not granted", safeName(c.Licence))
	}
	if p, ok := b.parties[c.Operator]; c.Operator != "" && (!ok || p.Role != RoleOperator) {
		return texts.Errorf("operator %q is not in the registry", safeName(c.Operator))
	}
	if len(c.Purposes) == 0 || len(c.Datasets) == 0 {
		return texts.Errorf("purposes and datasets must not be empty: what is not named is not agreed to")
	}
	for _, p := range c.Purposes {
		if _, ok := b.purposes[p]; !ok || granted && !slices.Contains(l.Purposes, p) {
			return texts.Errorf("purpose %q is not registered, or not granted by the licence", safeName(p))
		}
	}
	for _, id := range c.Datasets {
		e, err := b.owned(id, c.Department)
		if err != nil {
			return err
		}
		if e.Dataset.Unit == nil || e.Dataset.Unit.Kind != UnitPerson {
			return texts.Errorf("data set %q holds no data subjects", id)
		}
		if granted && !slices.ContainsFunc(l.Resources, func(o LicenceObject) bool { return o.Dataset == id }) {
			return texts.Errorf("licence %q does not grant data set %q", l.ID, id)
		}
	}
	return nil
}

func (b *Book) putWithdrawal(w ConsentWithdrawal, a act) error {
	if err := b.department(w.Department, a.signers); err != nil {
		return err
	}
	if w.Consent == "" && w.Subject == "" {
		return texts.Errorf("consent or subject is missing: what is withdrawn")
	}
	if w.Subject != "" {
		return b.withdrawSubject(w, a)
	}
	r, ok := b.consents[w.Consent]
	switch {
	case !ok:
		return texts.Errorf("consent %q is not recorded", safeName(w.Consent))
	case r.Consent.Department != w.Department:
		return texts.Errorf("consent %q was recorded by %q, which alone withdraws it", w.Consent, r.Consent.Department)
	case !r.Withdrawn.IsZero():
		return texts.Errorf("consent %q was withdrawn already", w.Consent)
	}
	r.Withdrawn = a.at
	b.consents[w.Consent] = r
	return nil
}

// withdrawSubject ends one subject's consent, in one record or in all that stand.
func (b *Book) withdrawSubject(w ConsentWithdrawal, a act) error {
	key, ok := ParseSubject(w.Subject)
	if !ok {
		return texts.Errorf("subject is not a commitment; compute it with sandgate consent subject")
	}
	ended := 0
	for _, id := range slices.Sorted(maps.Keys(b.consents)) {
		if r := b.consents[id]; r.Consent.Department == w.Department && (w.Consent == "" || w.Consent == id) {
			if r, ok = r.without(key, a.at); ok {
				b.consents[id] = r
				ended++
			}
		}
	}
	if ended == 0 {
		return texts.Errorf("no consent of this subject stands that the department recorded")
	}
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
	key, ok := ParseSubject(subject)
	u, may := b.consentUse(dataset, licence, purpose, at)
	if !ok || !may {
		return false
	}
	for _, r := range b.consents {
		if r.covers(u, at) && r.holds(key, at) {
			return true
		}
	}
	return false
}

// decideConsent refuses what would use the data of all subjects where only those
// who agreed may be used. A query is restricted to them, and refused in exact mode by
// compute/protect; a verification asks about one subject and is decided on his consent.
func (b *Book) decideConsent(r Request, dataset string) *Reason {
	e := b.datasets[dataset]
	if e.Dataset.Consent != ConsentRequired {
		return nil
	}
	switch r.Kind {
	case "", JobQuery:
		// It reads the rows of who agreed, which is not for this decision to look at:
		// that there are none is told by the answer, noise and all.
		return nil
	case JobVerification:
	default:
		return reasonf("CONSENT_REQUIRED", "catalogue/"+dataset, e.Department, "数据集“%s”须经数据主体同意，不供此类作业使用", "data set %q needs the data subjects' consent and serves no job of this kind", dataset).
			hint("可作统计查询，或就已同意的数据主体核验", "ask a query, or verify a subject who agreed")
	}
	if b.Consented(r.Subject, dataset, r.Licence, r.Purpose, r.At) {
		return nil
	}
	return reasonf("CONSENT_MISSING", "catalogue/"+dataset, e.Department, "数据集“%s”：没有该数据主体对本授权和用途的有效同意", "data set %q: no consent of the subject to this licence and purpose is in force", dataset).
		hint("请由数源部门登记其同意", "have the department record it")
}
