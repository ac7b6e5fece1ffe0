// Package metering makes statements 计量 of what the ledger says was used: by
// operator, licence, product, purpose and fee class (R09), what each source
// department contributed (R10), and what may be charged (发改价格〔2025〕65号). It
// reads a replayed ledger and nothing else, so whoever holds a copy can make the
// very statement that the gateway gives out.
package metering

import (
	"cmp"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// Period is a half-open span [From, To).
type Period struct{ From, To time.Time }

func (p Period) holds(at time.Time) bool { return !at.Before(p.From) && at.Before(p.To) }

// Filter narrows a statement; empty fields do not.
type Filter struct {
	Operator   string
	Department string // executions that read its data
}

// Line is what was used on one ground. Calls are those answered, from data or, as
// Repeats, from an earlier answer; refused and failed ones are counted and not
// charged.
type Line struct {
	Operator string            `json:"operator"`
	Licence  string            `json:"licence"`
	Product  string            `json:"product"` // empty: no product was named
	Purpose  string            `json:"purpose"`
	Fee      policies.FeeClass `json:"fee"`
	Calls    int64             `json:"calls"`
	Repeats  int64             `json:"repeats"` // of Calls
	Refused  int64             `json:"refused"`
	Failed   int64             `json:"failed"`
	Rows     int64             `json:"rows"`   // released
	Bytes    int64             `json:"bytes"`  // released
	Millis   int64             `json:"millis"` // from acceptance to outcome, which is put on ticks
	Rho      budget.Nano       `json:"rho"`    // debited
	Fen      int64             `json:"fen"`    // chargeable, hundredths of a yuan
	Capped   int64             `json:"capped"` // calls whose tariff was above its ceiling, charged at the ceiling
}

// Contribution is what a department's data contributed 贡献: in how many answered
// calls it was read, and its share of them, a call being divided by the columns
// it used of each department.
type Contribution struct {
	Department string `json:"department"`
	Product    string `json:"product"`
	Calls      int64  `json:"calls"`
	Share      int64  `json:"share"` // calls, in ten-thousandths; over all departments they add up to the calls
	Fen        int64  `json:"fen"`   // of the chargeable amount, by share
}

// Statement of a period.
type Statement struct {
	Period        Period         `json:"-"`
	Lines         []Line         `json:"lines"`
	Contributions []Contribution `json:"contributions"`
	// Feedback is what operators reported on their use in the quarters that ended
	// in the period, and which reports are missing (R31).
	Feedback []Feedback `json:"feedback"`
}

// Feedback on one quarter of a licence. Filed is zero while the report is missing.
type Feedback struct {
	Operator string    `json:"operator"`
	Licence  string    `json:"licence"`
	Quarter  string    `json:"quarter"` // such as 2026Q3
	Filed    time.Time `json:"filed,omitzero"`
	Report   string    `json:"report,omitempty"` // id of the latest
}

// whole is one call in units of Contribution.Share.
const whole = 10_000

// Of makes the statement of a period. A job counts in the period in which it was
// decided.
func Of(s *state.State, p Period, f Filter) Statement {
	out := Statement{Period: p}
	lines := map[Line]*Line{}
	shares := map[Contribution]*Contribution{}
	for _, u := range uses(s) {
		if !p.holds(u.at) || f.Operator != "" && u.operator != f.Operator || f.Department != "" && u.split[f.Department] == 0 {
			continue
		}
		purpose, _ := s.Book().Purpose(u.purpose)
		key := Line{Operator: u.operator, Licence: u.licence, Product: u.product, Purpose: u.purpose, Fee: purpose.Fee}
		if lines[key] == nil {
			x := key
			lines[key] = &x
		}
		l := lines[key]
		u.count(l)
		if !u.answered {
			continue
		}
		var fen int64
		var cut bool
		if !u.free {
			fen, cut = s.Book().Charge(u.operator, u.licence, u.product, u.purpose, u.at)
		}
		l.Fen += fen
		if cut {
			l.Capped++
		}
		departments, parts := divide(u.split, whole)
		_, money := divide(u.split, fen)
		for i, d := range departments {
			if f.Department != "" && d != f.Department {
				continue
			}
			key := Contribution{Department: d, Product: u.product}
			if shares[key] == nil {
				x := key
				shares[key] = &x
			}
			c := shares[key]
			c.Calls, c.Share, c.Fen = c.Calls+1, c.Share+parts[i], c.Fen+money[i]
		}
	}
	out.Feedback = feedback(s, p, f)
	for _, l := range lines {
		out.Lines = append(out.Lines, *l)
	}
	for _, c := range shares {
		out.Contributions = append(out.Contributions, *c)
	}
	slices.SortFunc(out.Lines, func(a, b Line) int {
		return cmp.Or(cmp.Compare(a.Operator, b.Operator), cmp.Compare(a.Licence, b.Licence), cmp.Compare(a.Product, b.Product), cmp.Compare(a.Purpose, b.Purpose))
	})
	slices.SortFunc(out.Contributions, func(a, b Contribution) int {
		return cmp.Or(cmp.Compare(a.Department, b.Department), cmp.Compare(a.Product, b.Product))
	})
	return out
}

// feedback looks at the end of the period, or of the ledger if that is earlier: what
// is missing is told of the ledger, not of the reader's clock.
func feedback(s *state.State, p Period, f Filter) []Feedback {
	book := s.Book()
	if book == nil {
		return nil
	}
	at := time.UnixMilli(s.At())
	if p.To.Before(at) {
		at = p.To
	}
	var out []Feedback
	for _, q := range book.UsageQuarters(at) {
		l, _ := book.Licence(q.Licence)
		if q.End.Before(p.From) || !p.From.Before(q.End) || f.Operator != "" && q.Operator != f.Operator ||
			f.Department != "" && !slices.Contains(book.Owners(l), f.Department) {
			continue
		}
		out = append(out, Feedback{Operator: q.Operator, Licence: q.Licence, Quarter: q.Period, Filed: q.Filed.At, Report: q.Filed.Report.ID})
	}
	slices.SortFunc(out, func(a, b Feedback) int {
		return cmp.Or(cmp.Compare(a.Operator, b.Operator), cmp.Compare(a.Licence, b.Licence), cmp.Compare(a.Quarter, b.Quarter))
	})
	return out
}

func (l *Line) add(s *state.State, j state.Job) {
	switch j.Phase {
	case state.PhaseRefused:
		l.Refused++
		return
	case state.PhaseFailed:
		l.Failed++
	case state.PhaseReleased:
		l.Calls++
		l.Rows, l.Bytes = l.Rows+j.Released.Rows, l.Bytes+j.Released.Bytes
	case state.PhaseRepeated:
		l.Calls++
		l.Repeats++
		// What was answered again is what was released then.
		if of, ok := s.Job(j.RepeatOf); ok && of.Released != nil {
			l.Rows, l.Bytes = l.Rows+of.Released.Rows, l.Bytes+of.Released.Bytes
		}
	}
	if j.Reserved != nil {
		l.Rho += j.Reserved.Price
	}
	if j.FinishAt > j.At {
		l.Millis += j.FinishAt - j.At
	}
}

// columnsOf counts the columns a query uses of every department's data; a data set
// of which no column is used, as in a bare count, counts as one.
func columnsOf(s *state.State, core *algebra.Core) map[string]int64 {
	out := map[string]int64{}
	if core == nil {
		return out
	}
	type column struct{ dataset, name string }
	seen := map[column]bool{}
	used := map[string]bool{}
	for _, u := range policies.Uses(*core) {
		c := column{u.Dataset, u.Column}
		if e, ok := s.Book().Dataset(u.Dataset); ok && !seen[c] {
			seen[c], used[u.Dataset] = true, true
			out[e.Department]++
		}
	}
	for _, id := range core.Datasets() {
		if e, ok := s.Book().Dataset(id); ok && !used[id] {
			out[e.Department]++
		}
	}
	return out
}

// divide splits an amount by weights, in the order of the names, so that the parts
// add up to it exactly: what whole parts leave goes to the largest remainders.
func divide(weights map[string]int64, amount int64) (names []string, parts []int64) {
	var sum int64
	for n, w := range weights {
		names, sum = append(names, n), sum+w
	}
	if sum == 0 {
		return nil, nil
	}
	slices.Sort(names)
	parts = make([]int64, len(names))
	rest := amount
	order := make([]int, len(names))
	for i, n := range names {
		parts[i], order[i] = amount*weights[n]/sum, i
		rest -= parts[i]
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(amount*weights[names[b]]%sum, amount*weights[names[a]]%sum)
	})
	for _, i := range order[:rest] {
		parts[i]++
	}
	return names, parts
}

// Quarter is a calendar quarter, 1 to 4, in China Standard Time.
func Quarter(year, quarter int) Period {
	from, to := policies.Quarter(year, quarter)
	return Period{from, to}
}

// Year is a calendar year in China Standard Time.
func Year(year int) Period {
	from := Quarter(year, 1).From
	return Period{from, from.AddDate(1, 0, 0)}
}
