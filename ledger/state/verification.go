package state

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// Verification is what the ledger says of one verification 核验.
type Verification struct {
	Operator  string
	Request   entry.VerificationRequest
	Phase     Phase // REFUSED, RESERVED, RELEASED (answered) or FAILED
	At        int64 // first entry, Unix milliseconds
	Seq       uint64
	Reasons   []policies.Reason
	Reserved  *entry.VerificationReserved
	Answered  *entry.VerificationAnswered
	Failed    *entry.VerificationFailed
	FinishSeq uint64
	FinishAt  int64

	// carried: what a reservation was counted under, as its product then stood.
	attributes []string
	dataset    string
}

// verifications is their projection. The counters are of the calendar year and
// month of the last reservation; an entry's time never goes back.
type verifications struct {
	all     map[string]*Verification
	order   []string
	answers map[string]string // question + snapshot → verification answered from data

	year     int
	asked    map[string]map[string]bool // operator, subject, attribute → questions
	told     map[string]map[string]bool // subject, attribute → questions let at data
	month    string
	subjects map[string]map[string]bool // operator, data set → subjects

	probes map[probe][]int64
}

func newVerifications() verifications {
	return verifications{all: map[string]*Verification{}, answers: map[string]string{}, asked: map[string]map[string]bool{}, told: map[string]map[string]bool{},
		subjects: map[string]map[string]bool{}, probes: map[probe][]int64{}}
}

func (v verifications) clone() verifications {
	sets := func(m map[string]map[string]bool) map[string]map[string]bool {
		out := map[string]map[string]bool{}
		for k, s := range m {
			out[k] = maps.Clone(s)
		}
		return out
	}
	v.answers, v.order, v.probes = maps.Clone(v.answers), slices.Clone(v.order), maps.Clone(v.probes)
	v.asked, v.told, v.subjects = sets(v.asked), sets(v.told), sets(v.subjects)
	all := map[string]*Verification{}
	for id, x := range v.all {
		own := *x
		all[id] = &own
	}
	v.all = all
	return v
}

// VerificationID derives a verification's id from who asks and the request id.
func VerificationID(operator, request string) string {
	sum := sha256.Sum256([]byte("sandgate/verification/v1\n" + requestKey(operator, request)))
	return hex.EncodeToString(sum[:10])
}

// Verification returns a copy of what is known of one.
func (s *State) Verification(id string) (Verification, bool) {
	v, ok := s.verifications.all[id]
	if !ok {
		return Verification{}, false
	}
	return *v, true
}

// Verifications lists ids in the order of their first entry.
func (s *State) Verifications() []string { return slices.Clone(s.verifications.order) }

// Told is the verification that answered a question on a snapshot from data.
func (s *State) Told(question, snapshot string) (string, bool) {
	id, ok := s.verifications.answers[questionKey(question, snapshot)]
	return id, ok
}

// VerificationAsk is a verification to decide.
type VerificationAsk struct {
	Operator string
	Request  entry.VerificationRequest
	At       time.Time
}

// VerificationDecision is the outcome: exactly one body is set.
type VerificationDecision struct {
	Refused  *entry.VerificationRefused
	Reserved *entry.VerificationReserved
}

// DecideVerification is pure, as Decide is. What it refuses, the policy, the
// request and the operator's own earlier requests decide; what becomes of the
// subject's consent and of other operators' questions is the ground, which the
// operator does not see.
func (s *State) DecideVerification(a VerificationAsk) VerificationDecision {
	refuse := func(reasons ...policies.Reason) VerificationDecision {
		return VerificationDecision{Refused: &entry.VerificationRefused{Request: a.Request, Reasons: reasons}}
	}
	if reasons := s.book.DecideVerification(s.asVerification(a)); len(reasons) > 0 {
		return refuse(reasons...)
	}
	if a.Request.Subject == "" || a.Request.Question == "" {
		return refuse(policies.Reason{Code: "NO_SUBJECT", Rule: "request", SetBy: "sandgate", ZH: "未指明数据主体", EN: "no subject is named"})
	}
	p, _ := s.book.Product(a.Request.Product)
	q := *p.Predicate
	_, snapshots, reason := s.Facts(algebra.Core{Tables: []algebra.Table{{Dataset: q.Dataset}}})
	if reason != nil {
		return refuse(*reason)
	}
	// A restored ledger that may lack entries may lack questions: what was asked before
	// is answered again, since it tells nothing new, and nothing else is.
	e, _ := s.book.Dataset(q.Dataset)
	limits, seen := e.Verification(), s.verifications.at(a.At)
	r := &entry.VerificationReserved{Request: a.Request, Snapshot: snapshots[0], Repeat: seen.repeats(a, q, snapshots[0])}
	if !r.Repeat {
		if x := s.spentUnknown([]string{q.Dataset}); x != nil {
			return refuse(*x)
		}
		if x := seen.exhausted(a, q, snapshots[0], e.Department, limits); x != nil {
			return refuse(*x)
		}
		if reasons := s.exhaustedQuotas(a.Request.Licence, a.At, 0); len(reasons) > 0 {
			return refuse(reasons...)
		}
	}
	r.Ground = entry.GroundData
	_, stored := s.Told(a.Request.Question, r.Snapshot)
	switch {
	case !s.book.SubjectConsents(a.Request.Subject, q.Dataset, a.Request.Licence, a.Request.Purpose, a.At):
		r.Ground = entry.GroundConsent
	case stored:
		r.Ground = entry.GroundStored
	case seen.full(a, q, r.Snapshot, limits.BitsPerYear):
		r.Ground = entry.GroundExhausted
	}
	return VerificationDecision{Reserved: r}
}

func (s *State) asVerification(a VerificationAsk) policies.Request {
	return policies.Request{Operator: a.Operator, Licence: a.Request.Licence, Purpose: a.Request.Purpose, At: a.At,
		Product: a.Request.Product, Version: a.Request.Version, Kind: policies.JobVerification, Subject: a.Request.Subject}
}

func questionKey(question, snapshot string) string { return question + "\x00" + snapshot }

func keyed(parts ...string) string { return strings.Join(parts, "\x00") }

// at is the counters seen at an instant: those of another year or month are past.
func (v verifications) at(t time.Time) verifications {
	if y := Year(t); y != v.year {
		v.year, v.asked, v.told = y, map[string]map[string]bool{}, map[string]map[string]bool{}
	}
	if m := t.In(civil).Format(monthForm); m != v.month {
		v.month, v.subjects = m, map[string]map[string]bool{}
	}
	return v
}

// repeats says whether the operator asked the very same in this year.
func (v verifications) repeats(a VerificationAsk, q policies.VerificationPredicate, snapshot string) bool {
	for _, attribute := range q.Attributes() {
		if !v.asked[keyed(a.Operator, a.Request.Counted(), attribute)][questionKey(a.Request.Question, snapshot)] {
			return false
		}
	}
	return true
}

// exhausted refuses a further question, or subject, beyond the operator's own limits.
func (v verifications) exhausted(a VerificationAsk, q policies.VerificationPredicate, snapshot, department string, limits policies.VerificationRule) *policies.Reason {
	key := questionKey(a.Request.Question, snapshot)
	for _, attribute := range q.Attributes() {
		asked := v.asked[keyed(a.Operator, a.Request.Counted(), attribute)]
		if !asked[key] && int64(len(asked)) >= limits.QuestionsPerYear {
			return &policies.Reason{Code: "QUESTIONS_EXHAUSTED", Rule: "disclosure/" + q.Dataset, SetBy: department,
				ZH:     fmt.Sprintf("对该主体的列“%s”，本年可核验的 %d 问已用完", attribute, limits.QuestionsPerYear),
				EN:     fmt.Sprintf("the %d questions of this year about this subject's column %q are used up", limits.QuestionsPerYear, attribute),
				HintZH: "重复已问过的同一问题不计数；次年重新计算", HintEN: "repeating a question is free; it counts anew next year"}
		}
	}
	subjects := v.subjects[keyed(a.Operator, q.Dataset)]
	if !subjects[a.Request.Counted()] && int64(len(subjects)) >= limits.SubjectsPerMonth {
		return &policies.Reason{Code: "SUBJECTS_EXHAUSTED", Rule: "disclosure/" + q.Dataset, SetBy: department,
			ZH:     fmt.Sprintf("数据集“%s”：本月可核验的 %d 名主体已用完", q.Dataset, limits.SubjectsPerMonth),
			EN:     fmt.Sprintf("data set %q: the %d subjects of this month are used up", q.Dataset, limits.SubjectsPerMonth),
			HintZH: "下月重新计算；上限由数源部门核定", HintEN: "it counts anew next month; the department sets the limit"}
	}
	return nil
}

// full says whether answering from data would tell more than the bits of the year,
// over all operators.
func (v verifications) full(a VerificationAsk, q policies.VerificationPredicate, snapshot string, most int64) bool {
	key := questionKey(a.Request.Question, snapshot)
	return slices.ContainsFunc(q.Attributes(), func(attribute string) bool {
		told := v.told[keyed(a.Request.Counted(), attribute)]
		return !told[key] && int64(len(told)) >= most
	})
}

// countYear counts a reservation against the limits of its year.
func (v *verifications) countYear(x *Verification) {
	r := x.Reserved
	for _, attribute := range x.attributes {
		put(v.asked, keyed(x.Operator, r.Request.Counted(), attribute), questionKey(r.Request.Question, r.Snapshot))
		// Before data is read, as budgets are: what fails has been counted.
		if r.Ground == entry.GroundData {
			put(v.told, keyed(r.Request.Counted(), attribute), questionKey(r.Request.Question, r.Snapshot))
		}
	}
}

// countMonth counts a reservation's subject; fresh if it is new in its month.
func (v *verifications) countMonth(x *Verification) (fresh bool) {
	return put(v.subjects, keyed(x.Operator, x.dataset), x.Reserved.Request.Counted())
}

func put(sets map[string]map[string]bool, key, member string) (fresh bool) {
	if sets[key] == nil {
		sets[key] = map[string]bool{}
	}
	fresh = !sets[key][member]
	sets[key][member] = true
	return fresh
}

// verificationAsk rebuilds the ask that an entry records.
func (s *State) verificationAsk(e *entry.Entry, r entry.VerificationRequest) (VerificationAsk, error) {
	if r.Verification != VerificationID(e.Actor, r.Request) {
		return VerificationAsk{}, errors.New("id is not derived from operator and request id")
	}
	if _, used := s.verifications.all[r.Verification]; used {
		return VerificationAsk{}, errors.New("request id was used before")
	}
	if x := s.CheckSigned(e.Signed, e.Actor, e.Time()); x != nil {
		return VerificationAsk{}, x
	}
	if x := SameVerification(e.Signed.Statement, e.Actor, r); x != nil {
		return VerificationAsk{}, x
	}
	if r.Subject != "" && (r.Former != "") != (s.ConsentEpochOf(e.Time()) < s.keys.epochs[entry.KeyConsent]) {
		return VerificationAsk{}, errors.New("the subject is not named by the key under which the year is counted")
	}
	return VerificationAsk{Operator: e.Actor, Request: r, At: e.Time()}, nil
}

func (s *State) beginVerification(e *entry.Entry, r entry.VerificationRequest, phase Phase) *Verification {
	v := &Verification{Operator: e.Actor, Request: r, Phase: phase, At: e.At, Seq: e.Seq}
	s.verifications.all[r.Verification] = v
	s.verifications.order = append(s.verifications.order, r.Verification)
	return v
}

func (s *State) applyVerificationRefused(e *entry.Entry) error {
	r := e.VerificationRefused
	a, err := s.verificationAsk(e, r.Request)
	if err != nil {
		return err
	}
	if err := same("refusal", r, s.DecideVerification(a).Refused); err != nil {
		return err
	}
	s.beginVerification(e, r.Request, PhaseRefused).Reasons = r.Reasons
	s.seen(e, entry.Request{Licence: r.Request.Licence}, r.Reasons)
	s.noteRefused(e, r)
	return nil
}

func (s *State) applyVerificationReserved(e *entry.Entry) error {
	r := e.VerificationReserved
	a, err := s.verificationAsk(e, r.Request)
	if err != nil {
		return err
	}
	if err := same("reservation", r, s.DecideVerification(a).Reserved); err != nil {
		return err
	}
	p, _ := s.book.Product(r.Request.Product)
	s.verifications = s.verifications.at(e.Time())
	x := s.beginVerification(e, r.Request, PhaseReserved)
	x.Reserved, x.attributes, x.dataset = r, p.Predicate.Attributes(), p.Predicate.Dataset
	s.verifications.countYear(x)
	fresh := s.verifications.countMonth(x)
	if !r.Repeat {
		s.use(r.Request.Licence, e.Time(), 0)
	}
	s.seen(e, entry.Request{Licence: r.Request.Licence}, nil)
	s.noteReserved(e, r, fresh)
	return nil
}

// GroundNow is on what ground an open verification may be answered at an instant,
// or how it ends because it may not. A consent withdrawn meanwhile takes its data
// away; one recorded meanwhile gives none, since nothing was read.
func (s *State) GroundNow(id string, at time.Time) (entry.Ground, *entry.VerificationFailed, error) {
	v, ok := s.verifications.all[id]
	if !ok || v.Phase != PhaseReserved {
		return "", nil, errors.New("verification has no open reservation")
	}
	if reasons := s.book.DecideVerification(s.asVerification(VerificationAsk{v.Operator, v.Request, at})); len(reasons) > 0 {
		x := reasons[0]
		return "", &entry.VerificationFailed{Verification: id, Code: x.Code, By: x.SetBy, Rule: x.Rule}, nil
	}
	p, _ := s.book.Product(v.Request.Product)
	dataset := p.Predicate.Dataset
	if snap, ok := s.snapshots[dataset]; !ok || snap.Snapshot != v.Reserved.Snapshot {
		return "", &entry.VerificationFailed{Verification: id, Code: SnapshotGone}, nil
	}
	ground := v.Reserved.Ground
	if !s.book.SubjectConsents(v.Request.Subject, dataset, v.Request.Licence, v.Request.Purpose, at) && (ground == entry.GroundData || ground == entry.GroundStored) {
		ground = entry.GroundConsent
	}
	return ground, nil, nil
}

// SnapshotGone is the code of what ends because its snapshot was replaced.
const SnapshotGone = "SNAPSHOT_GONE"

func (s *State) applyVerificationAnswered(e *entry.Entry) error {
	if err := s.gateway(e); err != nil {
		return err
	}
	a := e.VerificationAnswered
	ground, stopped, err := s.GroundNow(a.Verification, e.Time())
	if err != nil {
		return err
	}
	if stopped != nil || ground != a.Ground {
		return errors.New("the answer has another ground than the rules in force give it")
	}
	v := s.verifications.all[a.Verification]
	v.Phase, v.Answered, v.FinishSeq, v.FinishAt = PhaseReleased, a, e.Seq, e.At
	if key := questionKey(v.Request.Question, v.Reserved.Snapshot); ground == entry.GroundData && s.verifications.answers[key] == "" {
		s.verifications.answers[key] = a.Verification
	}
	return nil
}

func (s *State) applyVerificationFailed(e *entry.Entry) error {
	if err := s.gateway(e); err != nil {
		return err
	}
	f := e.VerificationFailed
	_, stopped, err := s.GroundNow(f.Verification, e.Time())
	if err != nil {
		return err
	}
	// A failure that names what stopped it is decided again.
	if f.Rule != "" && (stopped == nil || *stopped != *f) {
		return errors.New("nothing in force stops the verification as the entry says")
	}
	v := s.verifications.all[f.Verification]
	v.Phase, v.Failed, v.FinishSeq, v.FinishAt = PhaseFailed, f, e.Seq, e.At
	return nil
}
