package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// civil is the zone of budget years and statutory days.
var civil = policies.CivilZone

// Year returns the budget year of an instant.
func Year(at time.Time) int { return at.In(civil).Year() }

// JobID derives the job's id from who asks and the request id, so that a retry
// names the same job.
func JobID(operator, request string) string {
	sum := sha256.Sum256([]byte("sandgate/job/v1\n" + requestKey(operator, request)))
	return hex.EncodeToString(sum[:10])
}

// Ask is a request to decide. Analysis holds the refusals of the closed
// language; with any, Request.Core may be absent.
type Ask struct {
	Operator string
	Request  entry.Request
	Analysis []policies.Reason
	At       time.Time
}

// Decision is the outcome of an Ask: exactly one body is set.
type Decision struct {
	Refused  *entry.Refused
	Repeated *entry.Repeated
	Reserved *entry.Reserved
	// Plan is the plan of the core as asked (literals redacted), set when it
	// could be built; its prices and scales are those of the full core.
	Plan *protect.Plan
}

// Kind of the entry that records the decision.
func (d Decision) Kind() entry.Kind {
	switch {
	case d.Refused != nil:
		return entry.KindRefused
	case d.Repeated != nil:
		return entry.KindRepeated
	}
	return entry.KindReserved
}

// Decide is pure: the same ledger prefix and the same ask give the same
// decision. It changes nothing; applying the entry does.
func (s *State) Decide(a Ask) Decision {
	refuse := func(reasons ...policies.Reason) Decision {
		return Decision{Refused: &entry.Refused{Request: a.Request, Analysis: a.Analysis, Reasons: reasons}}
	}
	var core algebra.Core
	if a.Request.Core != nil {
		core = *a.Request.Core
	}
	reasons := s.book.Decide(policies.Request{Operator: a.Operator, Licence: a.Request.Licence, Purpose: a.Request.Purpose, At: a.At, Core: core,
		Product: a.Request.Product, Version: a.Request.Version})
	reasons = append(append([]policies.Reason(nil), a.Analysis...), reasons...)
	if len(reasons) > 0 {
		return refuse(reasons...)
	}
	if a.Request.Core == nil {
		return refuse(policies.Reason{Code: "NO_QUERY", Rule: "core language", SetBy: "sandgate", ZH: "没有查询", EN: "there is no query"})
	}
	facts, snapshots, reason := s.Facts(core)
	if reason != nil {
		return refuse(*reason)
	}
	price := a.Request.Price
	if price == 0 {
		price = facts[0].QueryRho
	}
	plan, reason := protect.Build(core, facts, price)
	if reason != nil {
		return refuse(*reason)
	}
	d := Decision{Plan: plan}
	if of, ok := s.answers[answerKey(a.Request.Query, snapshots)]; ok && s.repeats(of, plan) && plan.Consents == nil {
		d.Repeated = &entry.Repeated{Request: a.Request, Of: of}
		return d
	}
	if reasons := s.exhaustedQuotas(a.Request.Licence, a.At, plan.Rho); len(reasons) > 0 {
		return refuse(reasons...)
	}
	if x := s.spentUnknown(core.Datasets()); x != nil {
		return refuse(*x)
	}
	if x := s.exactEpoch(core.Tables[0].Dataset); x != nil && plan.Mode == protect.ModeExact {
		return refuse(*x)
	}
	information, reason := s.information(core, plan)
	if reason != nil {
		return refuse(*reason)
	}
	charges, err := s.charges(core, a, plan.Rho)
	if err != nil {
		return refuse(policies.Reason{Code: "POLICY_INVALID", Rule: "disclosure/" + core.Tables[0].Dataset, ZH: "预算规则无法读取", EN: "the budget rule cannot be read"})
	}
	if information != nil {
		charges = append(charges, *information)
	}
	if err := s.filter.Clone().Reserve(charges); err != nil {
		x := exhausted(err, core.Tables[0].Dataset, facts[0].Department)
		if plan.Consents != nil {
			x.HintZH, x.HintEN = "预算按年度核定；须经同意的数据集不重复已发布的结果", "budgets are set by the year; where consents are needed, no release is repeated"
		}
		return refuse(x)
	}
	d.Reserved = &entry.Reserved{Request: a.Request, Mode: string(plan.Mode), Snapshots: snapshots, Price: plan.Rho, Charges: charges, Rules: rulesOf(plan),
		Pseudonyms: s.book.PseudonymKeys(core)}
	return d
}

// repeats says whether a released job's answer may stand for the plan: it was
// made by the way of release now in force and is at least as precise.
func (s *State) repeats(job string, plan *protect.Plan) bool {
	r := s.jobs[job].Reserved
	return r.Mode == string(plan.Mode) && r.Price >= plan.Rho && r.Rules == rulesOf(plan)
}

// Facts returns the public facts and the current snapshots of core.Datasets().
func (s *State) Facts(core algebra.Core) ([]protect.Facts, []string, *policies.Reason) {
	var facts []protect.Facts
	var snapshots []string
	for _, id := range core.Datasets() {
		e, ok := s.book.Dataset(id)
		if !ok {
			return nil, nil, missing("DATASET_UNKNOWN", id, "", "目录中没有数据集“%s”", "data set %q is not in the catalogue")
		}
		if x := e.Ready(); x != nil {
			return nil, nil, x
		}
		snap, ok := s.snapshots[id]
		if gone := s.destroyed[id]; !ok && len(gone) > 0 {
			return nil, nil, missing("NO_SNAPSHOT", id, e.Department, "数据集“%s”的快照已销毁", "the snapshot of data set %q was destroyed")
		}
		if !ok {
			return nil, nil, missing("NO_SNAPSHOT", id, e.Department, "数据集“%s”尚未入库", "data set %q has no snapshot yet")
		}
		if snap.Spec != e.SpecDigest() {
			return nil, nil, missing("SNAPSHOT_STALE", id, e.Department, "数据集“%s”的目录或脱敏规则变更后尚未重新入库",
				"data set %q was not ingested again since its catalogue or masking changed")
		}
		f, err := factsOf(e)
		if err != nil {
			return nil, nil, missing("POLICY_INVALID", id, e.Department, "数据集“%s”的规则无法读取", "the rules of data set %q cannot be read")
		}
		facts, snapshots = append(facts, f), append(snapshots, snap.Snapshot)
	}
	if x := s.oneEpoch(core); x != nil {
		return nil, nil, x
	}
	if x := s.consentEpoch(core); x != nil {
		return nil, nil, x
	}
	return facts, snapshots, nil
}

// factsOf is protect.FactsOf, once for an entry of a book.
func factsOf(e policies.Entry) (protect.Facts, error) {
	f, err := e.Derive("facts", func() (any, error) { return protect.FactsOf(e) })
	if err != nil {
		return protect.Facts{}, err
	}
	return f.(protect.Facts), nil
}

func missing(code, dataset, dept, zh, en string) *policies.Reason {
	return &policies.Reason{Code: code, Rule: "catalogue/" + dataset, SetBy: dept, ZH: fmt.Sprintf(zh, dataset), EN: fmt.Sprintf(en, dataset)}
}

func (s *State) charges(core algebra.Core, a Ask, price budget.Nano) ([]budget.Charge, error) {
	var out []budget.Charge
	for _, id := range core.Datasets() {
		e, _ := s.book.Dataset(id)
		if e.Dataset.Public {
			continue
		}
		_, limits, err := e.Limits()
		if err != nil {
			return nil, err
		}
		out = append(out, budget.Charges(id, a.Operator, Year(a.At), price, limits)...)
	}
	return out, nil
}

func exhausted(err error, dataset, dept string) policies.Reason {
	r := policies.Reason{Code: "BUDGET_EXHAUSTED", Rule: "disclosure/" + dataset, SetBy: dept, ZH: "隐私预算不足", EN: "the privacy budget is exhausted"}
	var x *budget.Exhausted
	if errors.As(err, &x) {
		r.ZH, r.EN = x.Text("zh"), x.Text("en")
		if x.Scope.Kind == budget.ScopeQuery {
			r.Code = "PRICE_TOO_HIGH"
		}
		if x.Scope.Kind == budget.ScopeInformation {
			r.Code = "INFORMATION_EXHAUSTED"
			r.HintZH = "重复已发布的同一查询不收费；减少分组或聚合可降低信息量；上限由部门签名的规则（exact.bits_per_unit）核定"
			r.HintEN = "repeating a released query is free; fewer cells or aggregates tell less; the cap is set by the department's signed rule (exact.bits_per_unit)"
			return r
		}
	}
	r.HintZH = "重复已发布的同一查询不收费；预算按年度核定"
	r.HintEN = "repeating a released query is free; budgets are set by the year"
	return r
}

func answerKey(query string, snapshots []string) string {
	return query + "\x00" + strings.Join(snapshots, "\x00")
}

// ask rebuilds the ask that an entry records. It refuses a job id or request id
// that does not fit, a request id that was used before, and a request that the
// operator did not sign: nobody else may ask in his name.
func (s *State) ask(e *entry.Entry, r entry.Request, analysis []policies.Reason) (Ask, error) {
	if r.Job != JobID(e.Actor, r.Request) {
		return Ask{}, errors.New("job id is not derived from operator and request id")
	}
	if _, used := s.jobs[r.Job]; used {
		return Ask{}, errors.New("request id was used before")
	}
	if x := s.CheckRequest(e.Signed, e.Actor, r, e.Time()); x != nil {
		return Ask{}, x
	}
	if err := s.checkCommitEpoch(r); err != nil {
		return Ask{}, err
	}
	return Ask{Operator: e.Actor, Request: r, Analysis: analysis, At: e.Time()}, nil
}

func (s *State) begin(e *entry.Entry, r entry.Request, phase Phase) *Job {
	j := &Job{Operator: e.Actor, Request: r, Phase: phase, At: e.At, Seq: e.Seq}
	s.jobs[r.Job] = j
	s.order = append(s.order, r.Job)
	s.requests[requestKey(e.Actor, r.Request)] = r.Job
	return j
}

// same compares as the ledger does: by the text that would be written.
func same(what string, got, want any) error {
	if reflect.DeepEqual(got, want) {
		return nil // equal values are written alike
	}
	a, errA := json.Marshal(got)
	b, errB := json.Marshal(want)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		return fmt.Errorf("%s differs from what the rules in force decide", what)
	}
	return nil
}

func (s *State) applyRefused(e *entry.Entry) error {
	a, err := s.ask(e, e.Refused.Request, e.Refused.Analysis)
	if err != nil {
		return err
	}
	if err := same("refusal", e.Refused, s.Decide(a).Refused); err != nil {
		return err
	}
	s.begin(e, e.Refused.Request, PhaseRefused).Reasons = e.Refused.Reasons
	s.seen(e, e.Refused.Request, e.Refused.Reasons)
	return nil
}

func (s *State) applyReserved(e *entry.Entry) error {
	a, err := s.ask(e, e.Reserved.Request, nil)
	if err != nil {
		return err
	}
	if err := same("reservation", e.Reserved, s.Decide(a).Reserved); err != nil {
		return err
	}
	if err := s.filter.Reserve(e.Reserved.Charges); err != nil {
		return err
	}
	j := s.begin(e, e.Reserved.Request, PhaseReserved)
	j.Reserved, j.consents = e.Reserved, s.consentsFor(j, e.Time())
	s.use(e.Reserved.Request.Licence, e.Time(), e.Reserved.Price)
	s.exactReserved(e.Reserved)
	s.open[e.Reserved.Request.Job] = true
	s.seen(e, e.Reserved.Request, nil)
	return nil
}

func (s *State) applyRepeated(e *entry.Entry) error {
	a, err := s.ask(e, e.Repeated.Request, nil)
	if err != nil {
		return err
	}
	if err := same("repeated answer", e.Repeated, s.Decide(a).Repeated); err != nil {
		return err
	}
	s.begin(e, e.Repeated.Request, PhaseRepeated).RepeatOf = e.Repeated.Of
	s.seen(e, e.Repeated.Request, nil)
	return nil
}

func (s *State) applyReleased(e *entry.Entry) error {
	if err := s.gateway(e); err != nil {
		return err
	}
	if !isDigest(e.Released.Digest) {
		return errors.New("release digest is not a SHA-256 hash")
	}
	if err := s.CheckRelease(e.Released.Job, e.Time()); err != nil {
		return err
	}
	j := s.jobs[e.Released.Job]
	if err := checkCells(j, e.Released); err != nil {
		return err
	}
	if e.Released.Cells != "" {
		s.exact[j.Request.Core.Tables[0].Dataset]++
	}
	j.Phase, j.Released, j.FinishSeq, j.FinishAt, j.consents = PhaseReleased, e.Released, e.Seq, e.At, nil
	delete(s.open, e.Released.Job)
	s.answers[answerKey(j.Request.Query, j.Reserved.Snapshots)] = e.Released.Job
	s.released++
	return nil
}

func isDigest(s string) bool {
	d, err := hex.DecodeString(s)
	return err == nil && len(d) == sha256.Size
}

func (s *State) applyFailed(e *entry.Entry) error {
	if err := s.gateway(e); err != nil {
		return err
	}
	j, ok := s.jobs[e.Failed.Job]
	if !ok || j.Phase != PhaseReserved {
		return errors.New("job has no open reservation")
	}
	if err := s.checkFailed(e.Failed, e.Time()); err != nil {
		return err
	}
	if err := s.checkCancelled(e); err != nil {
		return err
	}
	if e.Signed != nil {
		s.acted(e, e.Failed.By)
	}
	delete(s.open, e.Failed.Job)
	j.Phase, j.FailCode, j.FailRule, j.FailBy, j.FinishSeq, j.FinishAt, j.consents = PhaseFailed, e.Failed.Code, e.Failed.Rule, e.Failed.By, e.Seq, e.At, nil
	return nil
}
