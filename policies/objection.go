package policies

import (
	"encoding/hex"
	"maps"
	"regexp"
	"slices"
	"time"
)

// Kinds of the handling of objections (R25) and of errors in data (R26).
const (
	KindObjection  Kind = "Objection"  // any party, or a department for a person 异议
	KindRuling     Kind = "Ruling"     // owning department or regulator 处理决定
	KindCorrection Kind = "Correction" // any party: an error in data 更正申请
	KindReply      Kind = "Reply"      // what whoever objected or reported is told 答复
	KindDispute    Kind = "Dispute"    // the reporter does not accept the reply 争议
)

// Objection 异议 to the use of a data set, or a suspected harm (R25). The data set
// is suspended at once. A person on whose behalf it is filed never stands in it:
// Receipt is a receipt number or a salted commitment.
type Objection struct {
	ID       string `yaml:"id" json:"id"`
	By       string `yaml:"by" json:"by"`
	Official string `yaml:"official" json:"official"`
	Dataset  string `yaml:"dataset" json:"dataset"`
	Receipt  string `yaml:"receipt,omitempty" json:"receipt,omitempty"`
	Ground   Text   `yaml:"ground" json:"ground"`
}

// Ruling ends the verification of an objection: withdraw takes the data set out
// of use for good, resume frees it, process frees it because a new snapshot or
// catalogue has taken what was objected to out of it.
type Ruling struct {
	Objection string   `yaml:"objection" json:"objection"`
	By        string   `yaml:"by" json:"by"`
	Officials []string `yaml:"officials" json:"officials"`
	Outcome   string   `yaml:"outcome" json:"outcome"` // withdraw | resume | process
	Reason    Text     `yaml:"reason" json:"reason"`
	Basis     Text     `yaml:"basis" json:"basis"`
	Answer    Text     `yaml:"answer,omitempty" json:"answer,omitzero"` // what the objector is told; else a Reply must follow
}

// Correction 更正 reports an error in data, without any record's content.
type Correction struct {
	ID       string   `yaml:"id" json:"id"`
	By       string   `yaml:"by" json:"by"`
	Official string   `yaml:"official" json:"official"`
	Dataset  string   `yaml:"dataset" json:"dataset"`
	Columns  []string `yaml:"columns,omitempty" json:"columns,omitempty"`
	Receipt  string   `yaml:"receipt,omitempty" json:"receipt,omitempty"`
	Error    Text     `yaml:"error" json:"error"`
}

// Reply answers an objection that was ruled on without an answer, or a
// correction: by the owning department, or once it is disputed by the regulator.
type Reply struct {
	Objection  string   `yaml:"objection,omitempty" json:"objection,omitempty"`
	Correction string   `yaml:"correction,omitempty" json:"correction,omitempty"`
	By         string   `yaml:"by" json:"by"`
	Officials  []string `yaml:"officials" json:"officials"`
	Outcome    string   `yaml:"outcome,omitempty" json:"outcome,omitempty"` // correction only: corrected | unfounded
	Answer     Text     `yaml:"answer" json:"answer"`
	Basis      Text     `yaml:"basis,omitempty" json:"basis,omitzero"`
}

// Dispute brings a correction before the regulator (R26).
type Dispute struct {
	Correction string `yaml:"correction" json:"correction"`
	By         string `yaml:"by" json:"by"`
	Official   string `yaml:"official" json:"official"`
	Reason     Text   `yaml:"reason" json:"reason"`
}

// CaseState is how far an objection or a correction is.
type CaseState string

const (
	CaseOpen     CaseState = "open"
	CaseRuled    CaseState = "ruled"    // objection: decided, the objector not told yet
	CaseAnswered CaseState = "answered" // whoever objected or reported was told
	CaseDisputed CaseState = "disputed" // correction: before the regulator
	CaseSettled  CaseState = "settled"  // correction: decided by the regulator
)

// ObjectionCase is an objection and everything done on it.
type ObjectionCase struct {
	Objection Objection
	State     CaseState
	Since     time.Time
	Outcome   string // of the ruling
	Steps     []Step
	rules     rules
}

// CorrectionCase is a reported error and everything done on it.
type CorrectionCase struct {
	Correction Correction
	State      CaseState
	Since      time.Time
	Steps      []Step
	rules      rules
}

// ObjectionCase returns an objection and its handling.
func (b *Book) ObjectionCase(id string) (ObjectionCase, bool) {
	c, ok := b.desk.objections[id]
	return c, ok
}

// CorrectionCase returns a reported error and its handling.
func (b *Book) CorrectionCase(id string) (CorrectionCase, bool) {
	c, ok := b.desk.corrections[id]
	return c, ok
}

// Objections lists objection ids in order.
func (b *Book) Objections() []string { return slices.Sorted(maps.Keys(b.desk.objections)) }

// Corrections lists correction ids in order.
func (b *Book) Corrections() []string { return slices.Sorted(maps.Keys(b.desk.corrections)) }

var receiptPattern = regexp.MustCompile(`^[a-z]{1,4}-[0-9]{4}-[0-9]{1,4}$`)

// checkReceipt lets nothing through that could be a person's name or number: a
// SHA-256 commitment in hexadecimal, or a short number of a fixed form.
func checkReceipt(s string) error {
	if h, err := hex.DecodeString(s); s == "" || err == nil && len(h) == 32 || receiptPattern.MatchString(s) {
		return nil
	}
	return texts.Errorf("receipt is neither a commitment of 64 hexadecimal digits nor a receipt number such as r-2026-0017: no person's name or number is written into the ledger")
}

func (b *Book) putObjection(v Objection, a act) error {
	if err := checkID("objection", v.ID); err != nil {
		return err
	}
	who, err := b.party(v.By, a, RoleOperator, RoleDepartment, RoleRegulator)
	if err != nil {
		return texts.Errorf("objection %q: %w", v.ID, err)
	}
	if _, dup := b.desk.objections[v.ID]; dup {
		return texts.Errorf("objection %q was filed before", v.ID)
	}
	if err := checkID("official", v.Official); err != nil {
		return err
	}
	if _, ok := b.datasets[v.Dataset]; !ok {
		return texts.Errorf("objection %q: data set %q is not in the catalogue", v.ID, safeName(v.Dataset))
	}
	if err := checkReceipt(v.Receipt); err != nil {
		return texts.Errorf("objection %q: %w", v.ID, err)
	}
	if v.Receipt != "" && who.Role == RoleOperator {
		return texts.Errorf("objection %q: a person objects through a department or the regulator, not through operator %q", v.ID, v.By)
	}
	if err := checkWords(true, map[string]Text{"ground": v.Ground}); err != nil {
		return texts.Errorf("objection %q: %w", v.ID, err)
	}
	target := Target{TargetDataset, v.Dataset}
	for _, h := range b.Holds(target) {
		if h.Cause == v.ID {
			return texts.Errorf("objection %q: data set %q is held under this very id already; choose another", v.ID, v.Dataset)
		}
	}
	// One party, one open objection to a data set: more would only pile up what
	// has to be ruled on before it is free again.
	for id, c := range b.desk.objections {
		if c.State == CaseOpen && c.Objection.Dataset == v.Dataset && c.Objection.By == v.By && c.Objection.Receipt == v.Receipt {
			return texts.Errorf("objection %q: %q stands open on the same data set", v.ID, id)
		}
	}
	b.suspend(target, Hold{Since: a.at, By: v.By, Reason: v.Ground, Cause: v.ID})
	b.desk.objections[v.ID] = ObjectionCase{Objection: v, State: CaseOpen, Since: a.at, rules: b.pinned(),
		Steps: []Step{{At: a.at, By: v.By, Officials: []string{v.Official}, Decision: "filed", Reason: v.Ground}}}
	return nil
}

func (b *Book) putRuling(v Ruling, a act) error {
	c, ok := b.desk.objections[v.Objection]
	if !ok {
		return texts.Errorf("objection %q was not filed: there is nothing to rule on", safeName(v.Objection))
	}
	if err := b.rule(&c, v, a); err != nil {
		return texts.Errorf("objection %q: %w", v.Objection, err)
	}
	b.desk.objections[v.Objection] = c
	return nil
}

func (b *Book) rule(c *ObjectionCase, v Ruling, a act) error {
	id, dataset := c.Objection.ID, c.Objection.Dataset
	if c.State != CaseOpen {
		return texts.Errorf("it was ruled on already")
	}
	if err := b.decider(v.By, b.datasets[dataset].Department, a); err != nil {
		return err
	}
	if err := checkOfficials(v.By, v.Officials, c.Steps[:1], b.of(c.rules).twoPerson); err != nil {
		return err
	}
	if err := checkWords(true, map[string]Text{"reason": v.Reason, "basis": v.Basis}); err != nil {
		return err
	}
	if err := checkWords(false, map[string]Text{"answer": v.Answer}); err != nil {
		return err
	}
	switch v.Outcome {
	case "withdraw": // the hold stays for good
	case "resume":
		b.lift(Target{TargetDataset, dataset}, id)
	case "process":
		if !b.desk.renewed[dataset].After(c.Steps[0].At) {
			return texts.Errorf("data set %q has no new snapshot or catalogue since the objection: process it first", dataset)
		}
		b.lift(Target{TargetDataset, dataset}, id)
	default:
		return texts.Errorf("unknown outcome %q; known: withdraw, resume, process", safeName(v.Outcome))
	}
	c.State, c.Since, c.Outcome = CaseRuled, a.at, v.Outcome
	if v.Answer.ZH != "" {
		c.State = CaseAnswered
	}
	c.Steps = follows(c.Steps, Step{At: a.at, By: v.By, Officials: v.Officials, Decision: v.Outcome, Reason: v.Reason, Basis: v.Basis, Answer: v.Answer})
	return nil
}

func (b *Book) putCorrection(v Correction, a act) error {
	if err := checkID("correction", v.ID); err != nil {
		return err
	}
	if _, err := b.party(v.By, a, RoleOperator, RoleDepartment, RoleRegulator); err != nil {
		return texts.Errorf("correction %q: %w", v.ID, err)
	}
	if _, dup := b.desk.corrections[v.ID]; dup {
		return texts.Errorf("correction %q was filed before", v.ID)
	}
	if err := checkID("official", v.Official); err != nil {
		return err
	}
	e, ok := b.datasets[v.Dataset]
	if !ok {
		return texts.Errorf("correction %q: data set %q is not in the catalogue", v.ID, safeName(v.Dataset))
	}
	for _, name := range v.Columns {
		if !slices.ContainsFunc(e.Dataset.Columns, func(c Column) bool { return c.Name == name }) {
			return texts.Errorf("correction %q: unknown column %q of %q", v.ID, safeName(name), v.Dataset)
		}
	}
	if err := checkReceipt(v.Receipt); err != nil {
		return texts.Errorf("correction %q: %w", v.ID, err)
	}
	if err := checkWords(true, map[string]Text{"error": v.Error}); err != nil {
		return texts.Errorf("correction %q: %w", v.ID, err)
	}
	b.desk.corrections[v.ID] = CorrectionCase{Correction: v, State: CaseOpen, Since: a.at, rules: b.pinned(),
		Steps: []Step{{At: a.at, By: v.By, Officials: []string{v.Official}, Decision: "filed", Reason: v.Error}}}
	return nil
}

func (b *Book) putReply(v Reply, a act) error {
	if (v.Objection == "") == (v.Correction == "") {
		return texts.Errorf("exactly one of objection and correction must be given")
	}
	if err := checkWords(true, map[string]Text{"answer": v.Answer}); err != nil {
		return err
	}
	if err := checkWords(false, map[string]Text{"basis": v.Basis}); err != nil {
		return err
	}
	step := Step{At: a.at, By: v.By, Officials: v.Officials, Decision: "answered", Answer: v.Answer, Basis: v.Basis}
	if v.Objection != "" {
		c, ok := b.desk.objections[v.Objection]
		if !ok {
			return texts.Errorf("objection %q was not filed", safeName(v.Objection))
		}
		if err := b.replyObjection(&c, v, step, a); err != nil {
			return texts.Errorf("objection %q: %w", v.Objection, err)
		}
		b.desk.objections[v.Objection] = c
		return nil
	}
	c, ok := b.desk.corrections[v.Correction]
	if !ok {
		return texts.Errorf("correction %q was not filed", safeName(v.Correction))
	}
	if err := b.replyCorrection(&c, v, step, a); err != nil {
		return texts.Errorf("correction %q: %w", v.Correction, err)
	}
	b.desk.corrections[v.Correction] = c
	return nil
}

func (b *Book) replyObjection(c *ObjectionCase, v Reply, step Step, a act) error {
	if c.State != CaseRuled {
		return texts.Errorf("it is %s; only a ruling that carries no answer is followed by one", c.State)
	}
	if v.Outcome != "" {
		return texts.Errorf("outcome stands in the ruling, not in the reply")
	}
	if err := b.decider(v.By, b.datasets[c.Objection.Dataset].Department, a); err != nil {
		return err
	}
	if err := checkOfficials(v.By, v.Officials, c.Steps[:1], false); err != nil {
		return err
	}
	c.State, c.Since, c.Steps = CaseAnswered, a.at, follows(c.Steps, step)
	return nil
}

func (b *Book) replyCorrection(c *CorrectionCase, v Reply, step Step, a act) error {
	owner := b.datasets[c.Correction.Dataset].Department
	did := c.Steps[:1]
	next := CaseAnswered
	switch c.State {
	case CaseOpen:
		if err := b.decider(v.By, owner, a); err != nil {
			return err
		}
	case CaseDisputed:
		if v.By != b.root {
			return texts.Errorf("it is disputed: the regulator settles it, not %q", safeName(v.By))
		}
		if _, err := b.party(v.By, a, RoleRegulator); err != nil {
			return err
		}
		next = CaseSettled
		// Whoever answered first does not decide on the dispute about it.
		did = c.Steps
	default:
		return texts.Errorf("it is %s", c.State)
	}
	if err := checkOfficials(v.By, v.Officials, did, b.of(c.rules).twoPerson); err != nil {
		return err
	}
	switch v.Outcome {
	case "unfounded":
		if v.Basis.ZH == "" {
			return texts.Errorf("basis.zh is missing: a refusal states its legal basis")
		}
	case "corrected":
		if !b.desk.renewed[c.Correction.Dataset].After(c.Steps[0].At) {
			return texts.Errorf("data set %q has no new snapshot or catalogue since the report: correct it first", c.Correction.Dataset)
		}
	default:
		return texts.Errorf("unknown outcome %q; known: corrected, unfounded", safeName(v.Outcome))
	}
	step.Decision = v.Outcome
	c.State, c.Since, c.Steps = next, a.at, follows(c.Steps, step)
	return nil
}

func (b *Book) putDispute(v Dispute, a act) error {
	c, ok := b.desk.corrections[v.Correction]
	if !ok || c.Correction.By != v.By {
		return texts.Errorf("party %q reported no error %q", safeName(v.By), safeName(v.Correction))
	}
	if _, err := b.party(v.By, a, RoleOperator, RoleDepartment, RoleRegulator); err != nil {
		return texts.Errorf("correction %q: %w", v.Correction, err)
	}
	if c.State != CaseAnswered {
		return texts.Errorf("correction %q is %s; only an answer can be disputed, once", v.Correction, c.State)
	}
	if err := checkID("official", v.Official); err != nil {
		return err
	}
	if err := checkWords(true, map[string]Text{"reason": v.Reason}); err != nil {
		return texts.Errorf("correction %q: %w", v.Correction, err)
	}
	c.State, c.Since = CaseDisputed, a.at
	c.Steps = follows(c.Steps, Step{At: a.at, By: v.By, Officials: []string{v.Official}, Decision: "disputed", Reason: v.Reason})
	b.desk.corrections[v.Correction] = c
	return nil
}
