package policies

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	// KindStandingOrder is an instruction that the gateway carries out by itself when
	// its condition is met (R27).
	KindStandingOrder Kind = "StandingOrder"
	// KindStandingOrderWithdrawal ends one.
	KindStandingOrderWithdrawal Kind = "StandingOrderWithdrawal"
)

// StandingOrder 自动处置规则 of the regulator, on any licence, or of a department, on
// licences that grant its data. It is never changed: whoever wants another
// withdraws it and signs one of another id.
type StandingOrder struct {
	ID        string        `yaml:"id" json:"id"`
	By        string        `yaml:"by" json:"by"` // party that signs, and that may lift what it orders
	Scope     StandingScope `yaml:"scope,omitempty" json:"scope,omitzero"`
	Condition Condition     `yaml:"condition" json:"condition"`
	Measure   Measure       `yaml:"measure" json:"measure"`
	// Until is when it ends by itself; zero is when it is withdrawn.
	Until  time.Time `yaml:"until,omitempty" json:"until,omitzero"`
	Reason Text      `yaml:"reason" json:"reason"`
	Basis  Text      `yaml:"basis" json:"basis"`
}

// StandingScope narrows a standing order; what is empty narrows nothing.
type StandingScope struct {
	Licences []string `yaml:"licences,omitempty" json:"licences,omitempty"`
	Datasets []string `yaml:"datasets,omitempty" json:"datasets,omitempty"` // licences that grant one of them
}

// ConditionKind is what a standing order waits for.
type ConditionKind string

const (
	// ConditionUnused: no job under the licence for so many months.
	ConditionUnused ConditionKind = "unused"
	// ConditionOutOfScope: so many attempts on columns, purposes or data sets outside
	// the licence within so many hours.
	ConditionOutOfScope ConditionKind = "out_of_scope"
	// ConditionRefusals: so many refused requests within so many hours, of whatever
	// kind, but for those that others than the asker caused.
	ConditionRefusals ConditionKind = "refusals"
	// ConditionEnumeration: so many different questions on the same columns within so
	// many hours, as whoever enumerates persons or differences sets of them asks.
	ConditionEnumeration ConditionKind = "enumeration"
	// ConditionBudget: so many percent of a budget of the licence's data are spent.
	ConditionBudget ConditionKind = "budget"
	// ConditionUncorrected: an order to rectify is so many working days past its end.
	ConditionUncorrected ConditionKind = "uncorrected"
)

// Condition of a standing order: its kind and exactly the numbers of that kind.
type Condition struct {
	Kind    ConditionKind `yaml:"kind" json:"kind"`
	Months  int           `yaml:"months,omitempty" json:"months,omitempty"`   // unused: 1…60
	Count   int           `yaml:"count,omitempty" json:"count,omitempty"`     // 2…100
	Hours   int           `yaml:"hours,omitempty" json:"hours,omitempty"`     // 1…720
	Percent int           `yaml:"percent,omitempty" json:"percent,omitempty"` // budget: 50…100
	Days    int           `yaml:"days,omitempty" json:"days,omitempty"`       // uncorrected: working days, 0…250
}

// Measure is what is ordered.
type Measure struct {
	Stage OrderStage `yaml:"stage" json:"stage"`                   // notice | rectify | suspend | end
	Days  int        `yaml:"days,omitempty" json:"days,omitempty"` // rectify: working days to correct in, 1…250
}

// StandingOrderWithdrawal 撤销 of a standing order by who signed it, or by the
// regulator. What it ordered stays.
type StandingOrderWithdrawal struct {
	Standing string `yaml:"standing_order" json:"standing_order"`
	By       string `yaml:"by" json:"by"`
	Reason   Text   `yaml:"reason" json:"reason"`
}

// StandingRecord is a standing order and when it held.
type StandingRecord struct {
	Standing  StandingOrder
	At        time.Time
	Withdrawn time.Time // zero while it stands
}

type executedKey struct {
	standing string
	target   Target
}

// measures lists what each condition may lead to. What is for good never follows
// from a pattern of questions, which can be wrong about its author, and a budget
// that runs out is nobody's fault.
var measures = map[ConditionKind][]OrderStage{
	ConditionUnused:      {StageNotice, StageRectify, StageSuspend, StageEnd},
	ConditionOutOfScope:  {StageNotice, StageRectify, StageSuspend},
	ConditionRefusals:    {StageNotice, StageRectify, StageSuspend},
	ConditionEnumeration: {StageNotice, StageRectify, StageSuspend},
	ConditionBudget:      {StageNotice},
	ConditionUncorrected: {StageSuspend, StageEnd},
}

func (c Condition) check() error {
	need := map[ConditionKind][]string{
		ConditionUnused: {"months"}, ConditionOutOfScope: {"count", "hours"}, ConditionRefusals: {"count", "hours"},
		ConditionEnumeration: {"count", "hours"}, ConditionBudget: {"percent"}, ConditionUncorrected: {"days"},
	}[c.Kind]
	if need == nil {
		return texts.Errorf("unknown condition %q; known: unused, out_of_scope, refusals, enumeration, budget, uncorrected", safeName(string(c.Kind)))
	}
	for _, n := range []struct {
		name       string
		is, lo, hi int
	}{{"months", c.Months, 1, 60}, {"count", c.Count, 2, maxStrays}, {"hours", c.Hours, 1, 720}, {"percent", c.Percent, 50, 100}, {"days", c.Days, 0, maxWorkingDays}} {
		switch wanted := slices.Contains(need, n.name); {
		case !wanted && n.is != 0:
			return texts.Errorf("condition.%s does not belong to %s", n.name, c.Kind)
		case wanted && (n.is < n.lo || n.is > n.hi):
			return texts.Errorf("condition.%s is %d; it must lie in %d…%d", n.name, n.is, n.lo, n.hi)
		}
	}
	return nil
}

// Words says a condition in words.
func (c Condition) Words() Text {
	switch c.Kind {
	case ConditionUnused:
		return Text{ZH: fmt.Sprintf("连续 %d 个月未使用", c.Months), EN: fmt.Sprintf("not used for %d months", c.Months)}
	case ConditionOutOfScope:
		return Text{ZH: fmt.Sprintf("%d 小时内 %d 次超出授权范围的请求", c.Hours, c.Count), EN: fmt.Sprintf("%d requests outside the licence within %d hours", c.Count, c.Hours)}
	case ConditionRefusals:
		return Text{ZH: fmt.Sprintf("%d 小时内 %d 次请求被拒绝", c.Hours, c.Count), EN: fmt.Sprintf("%d refused requests within %d hours", c.Count, c.Hours)}
	case ConditionEnumeration:
		return Text{ZH: fmt.Sprintf("%d 小时内对相同的列提出 %d 个不同的查询", c.Hours, c.Count), EN: fmt.Sprintf("%d different questions on the same columns within %d hours", c.Count, c.Hours)}
	case ConditionBudget:
		return Text{ZH: fmt.Sprintf("预算已用 %d%%", c.Percent), EN: fmt.Sprintf("%d%% of a budget spent", c.Percent)}
	}
	return Text{ZH: fmt.Sprintf("整改期满 %d 个工作日仍未整改", c.Days), EN: fmt.Sprintf("not corrected %d working days after the deadline", c.Days)}
}

func (b *Book) putStandingOrder(v StandingOrder, a act) error {
	if err := checkID("standing order", v.ID); err != nil {
		return err
	}
	if err := b.checkStanding(v, a); err != nil {
		return texts.Errorf("standing order %q: %w", v.ID, err)
	}
	b.standing[v.ID] = StandingRecord{Standing: v, At: a.at}
	return nil
}

func (b *Book) checkStanding(v StandingOrder, a act) error {
	if _, ok := b.standing[v.ID]; ok {
		return texts.Errorf("one of this id was signed before; withdraw it and take another id")
	}
	if len(b.standing) >= maxStanding {
		return texts.Errorf("there are %d standing orders already", maxStanding)
	}
	if _, err := b.party(v.By, a, RoleDepartment, RoleRegulator); err != nil {
		return err
	}
	if err := v.Condition.check(); err != nil {
		return err
	}
	if !slices.Contains(measures[v.Condition.Kind], v.Measure.Stage) {
		return texts.Errorf("measure %q does not follow from %s; possible: %v", safeName(string(v.Measure.Stage)), v.Condition.Kind, measures[v.Condition.Kind])
	}
	if rectify := v.Measure.Stage == StageRectify; rectify != (v.Measure.Days != 0) || v.Measure.Days < 0 || v.Measure.Days > maxWorkingDays {
		return texts.Errorf("measure.days: an order to rectify, and no other, names 1…%d working days", maxWorkingDays)
	}
	if v.Measure.Stage == StageRectify || v.Condition.Kind == ConditionUncorrected {
		if b.desk.profile.ID == "" {
			return texts.Errorf("no Profile is in force, so no working day can be counted; the regulator applies one first")
		}
		if err := b.reach(a.at, max(1, v.Measure.Days)); err != nil {
			return err
		}
	}
	if !v.Until.IsZero() && !v.Until.After(a.at) {
		return texts.Errorf("until lies in the past")
	}
	if err := checkWords(true, map[string]Text{"reason": v.Reason, "basis": v.Basis}); err != nil {
		return err
	}
	return b.checkStandingScope(v)
}

// maxStanding caps the standing orders of a ledger: every one of them is held
// against every licence whenever the ledger grows.
const maxStanding = 200

func (b *Book) checkStandingScope(v StandingOrder) error {
	for _, id := range v.Scope.Datasets {
		e, ok := b.datasets[id]
		if !ok {
			return texts.Errorf("scope: data set %q is not in the catalogue", safeName(id))
		}
		if v.By != b.root && e.Department != v.By {
			return texts.Errorf("scope: data set %q is not of department %q", id, v.By)
		}
	}
	for _, id := range v.Scope.Licences {
		l, ok := b.licences[id]
		if !ok {
			return texts.Errorf("scope: licence %q is not granted", safeName(id))
		}
		if v.By != b.root && !slices.Contains(b.Owners(l), v.By) {
			return texts.Errorf("scope: licence %q grants no data of department %q", id, v.By)
		}
	}
	return nil
}

func (b *Book) putStandingOrderWithdrawal(v StandingOrderWithdrawal, a act) error {
	r, ok := b.standing[v.Standing]
	if !ok || !r.Withdrawn.IsZero() {
		return texts.Errorf("no standing order %q is in force", safeName(v.Standing))
	}
	if v.By != r.Standing.By && v.By != b.root {
		return texts.Errorf("standing order %q was signed by %q: only that party or the regulator may withdraw it", v.Standing, r.Standing.By)
	}
	if _, err := b.party(v.By, a, RoleDepartment, RoleRegulator); err != nil {
		return err
	}
	if err := checkWords(true, map[string]Text{"reason": v.Reason}); err != nil {
		return err
	}
	r.Withdrawn = a.at
	b.standing[v.Standing] = r
	return nil
}

// StandingOrders lists every standing order, the first signed first.
func (b *Book) StandingOrders() []StandingRecord {
	out := slices.Collect(maps.Values(b.standing))
	slices.SortFunc(out, func(x, y StandingRecord) int {
		if c := x.At.Compare(y.At); c != 0 {
			return c
		}
		return strings.Compare(x.Standing.ID, y.Standing.ID)
	})
	return out
}

// StandingHolds says whether a standing order is in force at an instant: not withdrawn, not
// ended, and its signer still a party.
func (b *Book) StandingHolds(r StandingRecord, at time.Time) bool {
	p, ok := b.parties[r.Standing.By]
	return ok && !p.Withdrawn && r.Withdrawn.IsZero() && (r.Standing.Until.IsZero() || at.Before(r.Standing.Until))
}

// Covered lists the licences in force at an instant that a standing order is about.
func (b *Book) Covered(r StandingRecord, at time.Time) []Licence {
	v := r.Standing
	var out []Licence
	for _, id := range b.Licences() {
		l := b.licences[id]
		if len(v.Scope.Licences) > 0 && !slices.Contains(v.Scope.Licences, id) || b.InForce(id, at) != nil {
			continue
		}
		if len(v.Scope.Datasets) > 0 && !slices.ContainsFunc(l.Resources, func(o LicenceObject) bool { return slices.Contains(v.Scope.Datasets, o.Dataset) }) {
			continue
		}
		if v.By == b.root || slices.Contains(b.Owners(l), v.By) {
			out = append(out, l)
		}
	}
	return out
}

// Executed lists what a standing order gave on a licence.
func (b *Book) Executed(standing, licence string) []OrderRecord {
	var out []OrderRecord
	for _, id := range b.executed[executedKey{standing, Target{TargetLicence, licence}}] {
		out = append(out, b.orders[id])
	}
	return out
}

// Automatic is an order that a standing order calls for.
type Automatic struct {
	Standing string `json:"standing"`
	Occasion string `json:"occasion"` // what met the condition: each occasion is ordered on once
	Order    Order  `json:"order"`
}

// Call is the order that a standing order calls for on a licence at an instant. It
// fails when the calendar does not reach as far as the deadline it would set.
func (b *Book) Call(r StandingRecord, licence, occasion string, at time.Time) (Automatic, error) {
	v, met := r.Standing, r.Standing.Condition.Words()
	o := Order{By: v.By, Target: Target{TargetLicence, licence}, Stage: v.Measure.Stage, Basis: v.Basis,
		Reason: Text{ZH: v.Reason.ZH + "（" + met.ZH + "）", EN: strings.TrimSpace(v.Reason.EN + " (" + met.EN + ")")}}
	if v.Measure.Stage == StageRectify {
		due, err := b.desk.calendar.AddWorkingDays(at, v.Measure.Days)
		if err != nil {
			return Automatic{}, err
		}
		o.Due = due.UTC()
	}
	// Nobody keeps an order from being given by taking its id first.
	for n := 0; ; n++ {
		o.ID = automaticID(v.ID, licence, occasion, n)
		_, taken := b.orders[o.ID]
		if _, held := b.holds[o.Target][o.ID]; !taken && !held {
			return Automatic{Standing: v.ID, Occasion: occasion, Order: o}, nil
		}
	}
}

// automaticID is of letters: digits would look like a number that stands for somebody.
func automaticID(standing, licence, occasion string, n int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "sandgate/automatic-order/v1\n%q %q %q %d", standing, licence, occasion, n))
	id := sum[:16]
	for i := range id {
		id[i] = 'a' + id[i]%26
	}
	return "auto-" + string(id)
}

// Ordered returns the book with an automatic order in force. That it is called for
// is for the ledger's state to have decided.
func (b *Book) Ordered(v Automatic, at time.Time) (*Book, error) {
	if _, ok := b.standing[v.Standing]; !ok {
		return nil, texts.Errorf("there is no such standing order")
	}
	next := b.clone()
	if err := next.give(v.Order, act{at: at}); err != nil {
		return nil, err
	}
	r := next.orders[v.Order.ID]
	r.Standing, r.Occasion = v.Standing, v.Occasion
	next.orders[v.Order.ID] = r
	key := executedKey{v.Standing, v.Order.Target}
	next.executed[key] = append(slices.Clone(next.executed[key]), v.Order.ID)
	return next.settle(), nil
}

// WorkingDaysAfter is the instant so many working days after the last one in time
// before a deadline; false when the calendar does not reach that far.
func (b *Book) WorkingDaysAfter(due time.Time, days int) (time.Time, bool) {
	if days == 0 {
		return due, true
	}
	end, err := b.desk.calendar.AddWorkingDays(due.Add(-1), days)
	return end, err == nil
}
