package state

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// conduct is how licences are used, as far as standing orders and alerts ask.
type conduct struct {
	refused map[string][]int64            // licence → the last refusals of its holder's making
	asked   map[string]map[string][]asked // licence → columns → the last different questions on them
}

// asked is a question: the beginning of its commitment, and when it was last asked.
type asked struct {
	query string
	at    int64
}

// mostColumns is how many sets of columns are followed of a licence; of more, the
// one that was asked longest ago is forgotten.
const mostColumns = 256

func newConduct() conduct {
	return conduct{refused: map[string][]int64{}, asked: map[string]map[string][]asked{}}
}

func (c conduct) clone() conduct {
	out := newConduct()
	for l, list := range c.refused {
		out.refused[l] = slices.Clone(list)
	}
	for l, m := range c.asked {
		own := make(map[string][]asked, len(m))
		for columns, list := range m {
			own[columns] = slices.Clone(list)
		}
		out.asked[l] = own
	}
	return out
}

// blameless are refusals that say nothing of who asks: what is suspended, missing,
// spent or over.
var blameless = map[string]bool{
	"GATEWAY_SUSPENDED": true, "OPERATOR_SUSPENDED": true, "LICENCE_SUSPENDED": true, "DATASET_SUSPENDED": true, "PRODUCT_SUSPENDED": true,
	"LICENCE_EXPIRED": true, "LICENCE_NOT_YET_VALID": true, "LICENCE_REVOKED": true, "PARTY_WITHDRAWN": true,
	"NO_SNAPSHOT": true, "SNAPSHOT_STALE": true, "DATASET_NOT_READY": true, "POLICY_INVALID": true,
	"BUDGET_EXHAUSTED": true, "INFORMATION_EXHAUSTED": true, "QUOTA_EXHAUSTED": true, "BUDGET_UNKNOWN": true,
	"PROVIDER_CONSENT_MISSING": true, "CONSENT_REQUIRED": true,
}

// notHolder are the refusals of whoever names a licence that is not his, or that
// there is not: its holder does not answer for them, and nobody may have another's
// licence suspended by misusing its name.
var notHolder = map[string]bool{"LICENCE_UNKNOWN": true, "OPERATOR_UNKNOWN": true, "PARTY_UNKNOWN": true, "PERMISSION_DENIED": true}

// columns says which columns the request is about.
func (c conduct) add(e *entry.Entry, r entry.Request, reasons []policies.Reason, columns func() string) {
	if slices.ContainsFunc(reasons, func(x policies.Reason) bool { return notHolder[x.Code] }) {
		return
	}
	if slices.ContainsFunc(reasons, func(x policies.Reason) bool { return !blameless[x.Code] }) {
		c.refused[r.Licence] = append(lastOf(c.refused[r.Licence], mostStrays-1), e.At)
	}
	if r.Core != nil && e.Kind != entry.KindRepeated {
		c.ask(r.Licence, columns(), asked{query: r.Query[:16], at: e.At})
	}
}

// ask keeps a question; one that was asked before counts as asked now.
func (c conduct) ask(licence, columns string, q asked) {
	byColumns := c.asked[licence]
	if byColumns == nil {
		byColumns = map[string][]asked{}
		c.asked[licence] = byColumns
	}
	old, known := byColumns[columns]
	if !known && len(byColumns) >= mostColumns {
		oldest := ""
		for k, list := range byColumns {
			if last := list[len(list)-1].at; oldest == "" || last < byColumns[oldest][len(byColumns[oldest])-1].at ||
				last == byColumns[oldest][len(byColumns[oldest])-1].at && k < oldest {
				oldest = k
			}
		}
		delete(byColumns, oldest)
	}
	list := slices.DeleteFunc(old, func(o asked) bool { return o.query == q.query })
	byColumns[columns] = append(lastOf(list, mostStrays-1), q)
}

// lastOf keeps the last n of a list, in its own place.
func lastOf[T any](list []T, n int) []T {
	if len(list) <= n {
		return list
	}
	return list[:copy(list, list[len(list)-n:])]
}

type columnsKey struct{ of *algebra.Core }

// columns is columnsOf of a request's core, once for a core that many entries share.
func (s *State) columns(r entry.Request) string {
	if r.Shared() == nil {
		return columnsOf(*r.Core)
	}
	return s.book.Remember(columnsKey{r.Core}, func() any { return columnsOf(*r.Core) }).(string)
}

// columnsOf names the columns that a question is about, whatever it does with them:
// one literal more or less, or a condition turned round, is the same columns.
func columnsOf(core algebra.Core) string {
	names := slices.Clone(core.Datasets())
	for _, u := range policies.Uses(core) {
		if n := u.Dataset + "." + u.Column; !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", names))
	return hex.EncodeToString(sum[:8])
}

// burst is the first instant after since at which so many of the times, which
// ascend, lie within so many hours.
func burst(times []int64, since int64, count, hours int) (int64, bool) {
	span := (time.Duration(hours) * time.Hour).Milliseconds()
	i, _ := slices.BinarySearch(times, since+1)
	for times = times[i:]; len(times) >= count; times = times[1:] {
		if times[count-1]-times[0] <= span {
			return times[count-1], true
		}
	}
	return 0, false
}

// latestBurst is the last such instant.
func latestBurst(times []int64, count, hours int) (int64, bool) {
	span := (time.Duration(hours) * time.Hour).Milliseconds()
	for i := len(times) - 1; i >= count-1; i-- {
		if times[i]-times[i-count+1] <= span {
			return times[i], true
		}
	}
	return 0, false
}

// questions are the instants of a licence's questions, by columns.
func (s *State) questions(licence string) map[string][]int64 {
	out := map[string][]int64{}
	for columns, list := range s.conduct.asked[licence] {
		for _, q := range list {
			out[columns] = append(out[columns], q.at)
		}
	}
	return out
}

// BudgetUse is how far one budget is spent.
type BudgetUse struct {
	Scope        budget.Scope
	Spent, Limit budget.Nano
}

// Percent spent, rounded down; 100 where there is nothing to spend.
func (u BudgetUse) Percent() int {
	if u.Limit <= 0 || u.Spent >= u.Limit {
		return 100
	}
	// In this order a large budget does not overflow.
	if u.Limit > 1<<40 {
		return int(u.Spent / (u.Limit / 100))
	}
	return int(u.Spent * 100 / u.Limit)
}

// reachedAt is when the reservation was made that spent a percentage of a budget: going
// back over the charges, the first without which less is spent. It is at when no
// reservation did, because the limit was lowered to what is spent.
func (s *State) reachedAt(u BudgetUse, percent int, at time.Time) time.Time {
	for i := len(s.order) - 1; i >= 0; i-- {
		j := s.jobs[s.order[i]]
		if j.Reserved == nil {
			continue
		}
		for _, c := range j.Reserved.Charges {
			if c.Scope == u.Scope && c.Amount > 0 {
				at = time.UnixMilli(j.At)
				u.Spent -= c.Amount
			}
		}
		if u.Percent() < percent {
			break
		}
	}
	return at
}

// BudgetUses lists the budgets from which a licence's jobs are paid at an instant.
func (s *State) BudgetUses(l policies.Licence, at time.Time) []BudgetUse {
	var out []BudgetUse
	for _, r := range l.Resources {
		e, ok := s.book.Dataset(r.Dataset)
		if !ok || e.Dataset.Public || e.Rule == nil {
			continue
		}
		_, limits, err := e.Limits()
		if err != nil {
			continue
		}
		for _, c := range budget.Charges(r.Dataset, l.Operator, Year(at), 0, limits) {
			if c.Scope.Kind != budget.ScopeQuery && c.Limit > 0 {
				out = append(out, BudgetUse{c.Scope, s.Spent(c.Scope), c.Limit})
			}
		}
		if e.Rule.Exact == nil {
			continue
		}
		if nano, err := e.Rule.Exact.NanoBits(); err == nil {
			if c := s.Information(r.Dataset, nano); c != nil {
				out = append(out, BudgetUse{c.Scope, s.Spent(c.Scope), c.Limit})
			}
		}
	}
	return out
}
