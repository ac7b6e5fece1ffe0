package state

import (
	"fmt"
	"strconv"
	"time"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

// usage is what a licence was used for. Days and months are counted in China
// Standard Time; an entry's time never goes back, so one of each is enough.
type usage struct {
	day, month                string
	perDay, perMonth, perTerm int64
	rho                       budget.Nano
}

const (
	dayForm   = "2006-01-02"
	monthForm = "2006-01"
)

// at is the usage seen at an instant: what was counted on another day is past.
func (u usage) at(t time.Time) usage {
	if day := t.In(civil).Format(dayForm); u.day != day {
		u.day, u.perDay = day, 0
	}
	if month := t.In(civil).Format(monthForm); u.month != month {
		u.month, u.perMonth = month, 0
	}
	return u
}

// use counts a reservation. A repeat is not counted: it reads no data and is free,
// as it is for the budgets. A job that fails or is stopped stays counted.
func (s *State) use(licence string, at time.Time, price budget.Nano) {
	u := s.used[licence].at(at)
	u.perDay, u.perMonth, u.perTerm, u.rho = u.perDay+1, u.perMonth+1, u.perTerm+1, u.rho+price
	s.used[licence] = u
}

// QuotaKind names a limit as the licence does.
type QuotaKind string

// The limits of a licence's quota.
const (
	QuotaDay   QuotaKind = "jobs_per_day"
	QuotaMonth QuotaKind = "jobs_per_month"
	QuotaTerm  QuotaKind = "jobs_per_term"
	QuotaRho   QuotaKind = "rho_per_term"
)

// QuotaLine is one limit of a licence: jobs, or nano-ρ for QuotaRho.
type QuotaLine struct {
	Kind        QuotaKind
	Limit, Used int64
	// Renews is when it counts from zero again; zero for what lasts the term.
	Renews time.Time
}

// Quotas lists the limits of a licence and what is used of them at an instant.
func (s *State) Quotas(licence string, at time.Time) []QuotaLine {
	l, ok := s.book.Licence(licence)
	if !ok || l.Quota == nil {
		return nil
	}
	u := s.used[licence].at(at)
	y, m, d := at.In(civil).Date()
	var out []QuotaLine
	add := func(kind QuotaKind, limit *int64, used int64, renews time.Time) {
		if limit != nil {
			out = append(out, QuotaLine{kind, *limit, used, renews})
		}
	}
	add(QuotaDay, l.Quota.JobsPerDay, u.perDay, time.Date(y, m, d+1, 0, 0, 0, 0, civil))
	add(QuotaMonth, l.Quota.JobsPerMonth, u.perMonth, time.Date(y, m+1, 1, 0, 0, 0, 0, civil))
	add(QuotaTerm, l.Quota.JobsPerTerm, u.perTerm, time.Time{})
	if limit := int64(l.Quota.RhoLimit()); limit > 0 {
		add(QuotaRho, &limit, int64(u.rho), time.Time{})
	}
	return out
}

// exhaustedQuotas refuses a job that one more use of a licence, at a price, would
// take past its quota.
func (s *State) exhaustedQuotas(licence string, at time.Time, price budget.Nano) []policies.Reason {
	var out []policies.Reason
	for _, q := range s.Quotas(licence, at) {
		need, left, unit := int64(1), strconv.FormatInt(max(0, q.Limit-q.Used), 10), ""
		if q.Kind == QuotaRho {
			need, left, unit = int64(price), budget.Nano(max(0, q.Limit-q.Used)).String(), " ρ"
		}
		if need <= q.Limit-q.Used {
			continue
		}
		of := strconv.FormatInt(q.Limit, 10)
		if q.Kind == QuotaRho {
			of = budget.Nano(q.Limit).String()
		}
		r := policies.Reason{Code: "QUOTA_EXHAUSTED", Rule: "licence/" + licence, SetBy: s.genesis.Regulator,
			ZH:     fmt.Sprintf("授权“%s”的额度 %s 不足：上限 %s%s，剩余 %s%s", licence, quotaTitles[q.Kind], of, unit, left, unit),
			EN:     fmt.Sprintf("quota %s of licence %q is exhausted: %s%s in all, %s%s left", q.Kind, licence, of, unit, left, unit),
			HintZH: "本期内不再恢复；请申请变更或续签授权", HintEN: "it does not come back in this term; apply for a change or a renewal of the licence"}
		if !q.Renews.IsZero() {
			when := policies.Clock(q.Renews)
			r.HintZH, r.HintEN = "于 "+when+" 重新计算；重复已发布的同一查询不占额度", "it counts anew from "+when+"; repeating a released query takes none"
		}
		out = append(out, r)
	}
	return out
}

var quotaTitles = map[QuotaKind]string{QuotaDay: "每日作业数", QuotaMonth: "每月作业数", QuotaTerm: "授权期内作业数", QuotaRho: "授权期内 ρ 总额"}
