package state

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// weakening is a start of a gateway whose workers were less isolated than those before.
type weakening struct {
	seq      uint64
	at       int64
	from, to string
}

// mostStarts kept: enough for thirty days of restarts that each mean something.
const mostStarts = 100

func (s *State) started(e *entry.Entry) {
	if e.Started == nil {
		return
	}
	if weaker(s.tier, e.Started.Tier) {
		s.starts = append(s.starts[max(0, len(s.starts)-mostStarts+1):], weakening{e.Seq, e.At, s.tier, e.Started.Tier})
	}
	s.tier = e.Started.Tier
}

// isolation ranks the tiers of worker isolation; what is not known is the weakest.
var isolation = map[string]int{"full": 2, "container": 1}

func weaker(from, to string) bool { return from != "" && isolation[to] < isolation[from] }

// AlertKind is what the regulator is warned of (R33).
type AlertKind string

const (
	AlertBudget      AlertKind = "budget"       // a budget is nearly spent
	AlertRefusals    AlertKind = "refusals"     // a burst of refused requests
	AlertOutOfScope  AlertKind = "out_of_scope" // a burst of attempts outside a licence
	AlertEnumeration AlertKind = "enumeration"  // many different questions on the same columns
	AlertUnused      AlertKind = "unused"       // a grant that is not used
	AlertDeadline    AlertKind = "deadline"     // a missed or undatable deadline
	AlertOrder       AlertKind = "order"        // an order took effect, whoever gave it
	AlertRestart     AlertKind = "restart"      // the gateway serves with weaker isolation than before
	AlertLag         AlertKind = "lag"          // the ledger's checkpoint is not published any more
	AlertWitness     AlertKind = "witness"      // a witness does not sign
)

// Severity of an alert.
type Severity string

const (
	SeverityInfo    Severity = "info"
	SeverityWarning Severity = "warning"
	SeveritySerious Severity = "serious"
)

// Alert is one warning. It names parties, licences, data sets and counts of
// requests, and never a value of data.
type Alert struct {
	// ID is the same whenever the same event is derived again: who receives it twice
	// knows it by its id.
	ID       string    `json:"id"`
	Kind     AlertKind `json:"kind"`
	Severity Severity  `json:"severity"`
	About    string    `json:"about"` // such as licence/alpha-2026 or duty/rule/obj-1/health
	At       time.Time `json:"at"`    // when it happened; of a state, when it was derived
	ZH       string    `json:"zh"`
	EN       string    `json:"en"`
}

// Frequency is so many requests within so many hours.
type Frequency struct {
	Count int `yaml:"count" json:"count"` // 2…100
	Hours int `yaml:"hours" json:"hours"` // 1…720
}

// AlertRules are the thresholds of alerts. Those of out_of_scope and unused are the
// city profile's.
type AlertRules struct {
	BudgetPercent int           `yaml:"budget_percent"` // 50…100
	Refusals      Frequency     `yaml:"refusals"`
	Enumeration   Frequency     `yaml:"enumeration"`
	Lag           time.Duration `yaml:"lag"` // from 10 s on
}

// DefaultAlertRules hold where none are given.
var DefaultAlertRules = AlertRules{BudgetPercent: 80, Refusals: Frequency{20, 1}, Enumeration: Frequency{30, 24}, Lag: 5 * time.Minute}

// Observed is what the ledger does not tell of itself.
type Observed struct {
	// Published is how many entries the last checkpoint covers, and Since for how long
	// it has covered no more while there were some; zero when it keeps up.
	Published uint64
	Since     time.Time
	// Silent are witnesses that have not signed for too long, with the time of their
	// last signature.
	Silent map[string]time.Time
	// Disputed says which witness holds another history; empty when none does.
	Disputed string
}

// alerts gathers warnings at an instant.
type alerts struct {
	s   *State
	at  time.Time
	out []Alert
}

func (a *alerts) add(kind AlertKind, key string, severity Severity, about string, at time.Time, zh, en string) {
	id := string(kind) + "/" + key
	if !slices.ContainsFunc(a.out, func(x Alert) bool { return x.ID == id }) {
		a.out = append(a.out, Alert{ID: id, Kind: kind, Severity: severity, About: about, At: at.UTC(), ZH: zh, EN: en})
	}
}

// Alerts derives every warning of the last thirty days, the oldest first. It is
// pure: the same ledger prefix, rules, observation and instant give the same list.
func (s *State) Alerts(rules AlertRules, o Observed, at time.Time) []Alert {
	if s.book == nil {
		return nil
	}
	a := &alerts{s: s, at: at}
	a.licences(rules)
	a.events()
	if !o.Since.IsZero() && at.Sub(o.Since) >= rules.Lag {
		a.add(AlertLag, fmt.Sprint(o.Published), SeveritySerious, "ledger", o.Since,
			fmt.Sprintf("账本自 %s 起没有公布新的检查点（已公布 %d 条）", policies.Clock(o.Since), o.Published),
			fmt.Sprintf("the ledger has published no checkpoint since %s (%d entries are covered)", policies.Clock(o.Since), o.Published))
	}
	if o.Disputed != "" {
		a.add(AlertWitness, "dispute", SeveritySerious, "ledger", at, "见证方持有账本的另一段历史，网关已停止作答", "a witness holds another history of the ledger; the gateway answers nothing")
	}
	for _, name := range slices.Sorted(maps.Keys(o.Silent)) {
		last := o.Silent[name]
		a.add(AlertWitness, name+"/"+policies.Day(last), SeveritySerious, "witness/"+name, last,
			fmt.Sprintf("见证方“%s”自 %s 起没有签名", name, policies.Clock(last)), fmt.Sprintf("witness %q has not signed since %s", name, policies.Clock(last)))
	}
	slices.SortStableFunc(a.out, func(x, y Alert) int { return cmp.Or(x.At.Compare(y.At), cmp.Compare(x.ID, y.ID)) })
	return a.out
}

// licences are the warnings about the use of grants in force.
func (a *alerts) licences(rules AlertRules) {
	b := a.s.book
	profile, _ := b.Profile()
	for _, id := range b.Licences() {
		if b.InForce(id, a.at) != nil {
			continue
		}
		l, _ := b.Licence(id)
		about := "licence/" + id
		counted := func(kind AlertKind, times []int64, f Frequency, severity Severity, zh, en string) {
			if f.Count == 0 {
				return // no profile says what a burst is
			}
			ms, ok := latestBurst(times, f.Count, f.Hours)
			last := time.UnixMilli(ms)
			if !ok || a.at.Sub(last) >= shown {
				return
			}
			// One a day and licence: whoever goes on all day is one event.
			a.add(kind, id+"/"+policies.Day(last), severity, about, last, fmt.Sprintf("授权“%s”（%s）%d 小时内%s %d 次或更多", id, l.Operator, f.Hours, zh, f.Count),
				fmt.Sprintf("licence %q (%s): %d or more %s within %d hours", id, l.Operator, f.Count, en, f.Hours))
		}
		counted(AlertOutOfScope, a.s.desk.stray[id], Frequency{profile.Burst.Refusals, profile.Burst.Hours}, SeverityWarning, "超出授权范围的请求", "requests outside the licence")
		counted(AlertRefusals, a.s.conduct.refused[id], rules.Refusals, SeverityWarning, "被拒绝的请求", "refused requests")
		for _, times := range sortedLists(a.s.questions(id)) {
			counted(AlertEnumeration, times, rules.Enumeration, SeveritySerious, "对相同的列提出不同的查询", "different questions on the same columns")
		}
		for _, u := range a.s.BudgetUses(l, a.at) {
			if p := u.Percent(); p >= rules.BudgetPercent {
				a.add(AlertBudget, fmt.Sprintf("%s/%d", u.Scope.Key(), rules.BudgetPercent), SeverityInfo, "dataset/"+u.Scope.Dataset, a.s.reachedAt(u, rules.BudgetPercent, a.at),
					fmt.Sprintf("预算 %s 已用 %d%%", u.Scope.Key(), p), fmt.Sprintf("%d%% of budget %s is spent", p, u.Scope.Key()))
			}
		}
	}
	for id, since := range a.s.Unused(a.at) {
		a.add(AlertUnused, id+"/"+policies.Day(since), SeverityInfo, "licence/"+id, a.s.book.UnusedLimit(since),
			fmt.Sprintf("授权“%s”自 %s 起未使用", id, policies.Day(since)), fmt.Sprintf("licence %q has not been used since %s", id, policies.Day(since)))
	}
}

// events are the warnings about what stands in the ledger as such.
func (a *alerts) events() {
	for _, n := range a.s.desk.order {
		at := time.UnixMilli(a.s.desk.noted[notedKey(n.Duty, n.Phase)])
		kind, _, _ := strings.Cut(n.Duty, "/")
		if !n.Phase.Missed() || a.at.Sub(at) >= shown || kind == string(policies.DutyUnused) || kind == string(policies.DutyBurst) {
			continue
		}
		if kind == string(policies.DutyProbe) {
			a.add(AlertEnumeration, n.Duty, SeveritySerious, "duty/"+n.Duty, at, "核验请求呈试探形态："+n.Duty, "verifications look like probing: "+n.Duty)
			continue
		}
		a.add(AlertDeadline, string(n.Phase)+"/"+n.Duty, SeverityWarning, "duty/"+n.Duty, at,
			fmt.Sprintf("办理事项 %s（%s）：%s", n.Duty, n.Owes, phaseTitles[n.Phase]), fmt.Sprintf("duty %s of %s is %s", n.Duty, n.Owes, n.Phase))
	}
	for _, r := range a.s.book.Orders() {
		if a.at.Sub(r.At) >= shown {
			continue
		}
		severity := SeverityWarning
		if r.Order.Stage == policies.StageEnd || r.Order.Stage == policies.StageSuspend {
			severity = SeveritySerious
		}
		zh, en := "", ""
		if r.Standing != "" {
			zh, en = fmt.Sprintf("，由网关依自动处置规则 %s 执行", r.Standing), fmt.Sprintf(", carried out by the gateway under standing order %s", r.Standing)
		}
		a.add(AlertOrder, r.Order.ID, severity, r.Order.Target.String(), r.At, fmt.Sprintf("%s 对 %s 作出决定 %s：%s%s", r.Order.By, r.Order.Target, r.Order.ID, stageTitles[r.Order.Stage], zh),
			fmt.Sprintf("%s ordered %s on %s (%s)%s", r.Order.By, r.Order.Stage, r.Order.Target, r.Order.ID, en))
	}
	for _, x := range a.s.starts {
		if at := time.UnixMilli(x.at); a.at.Sub(at) < shown {
			a.add(AlertRestart, fmt.Sprint(x.seq), SeveritySerious, "gateway", at, fmt.Sprintf("网关以较弱的隔离等级启动：%s → %s（账本第 %d 条）", x.from, x.to, x.seq),
				fmt.Sprintf("the gateway started with weaker isolation: %s after %s (ledger entry %d)", x.to, x.from, x.seq))
		}
	}
}

var (
	phaseTitles = map[policies.DutyPhase]string{policies.PhaseOverdue: "已逾期", policies.PhaseEscalated: "已逾期并升级", policies.PhaseUndated: "无法计算期限"}
	stageTitles = map[policies.OrderStage]string{policies.StageNotice: "提示", policies.StageRectify: "责令整改", policies.StageSuspend: "暂停", policies.StageResume: "恢复", policies.StageEnd: "终止"}
)
