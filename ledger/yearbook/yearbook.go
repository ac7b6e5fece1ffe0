// Package yearbook makes the yearly disclosure 年度披露 of authorised operation (R32)
// from a replayed ledger and nothing else: what data was open to operators, who was
// licensed for what, what was used, refused, ordered, objected to and missed. It
// holds no figure of the data, only of its use.
package yearbook

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/ledger/metering"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// Department is what a source department offers at the end of the year.
type Department struct {
	ID         string `json:"id"`
	Datasets   int    `json:"datasets"`   // catalogued
	Registered int    `json:"registered"` // with a registration in force
	Suspended  int    `json:"suspended"`
}

// Licence is a licence that was in force at some time of the year.
type Licence struct {
	ID       string        `json:"id"`
	Operator string        `json:"operator"`
	Title    policies.Text `json:"title"`
	Purposes []string      `json:"purposes"`
	From     time.Time     `json:"from"`
	Until    time.Time     `json:"until"`
	State    string        `json:"state"` // at the end of the year: in force, or the code that refuses it
}

// Count of a name.
type Count struct {
	Name string `json:"name"`
	N    int    `json:"n"`
}

// Spending is the privacy budget debited for a data set by the year's answers.
type Spending struct {
	Dataset string      `json:"dataset"`
	Jobs    int         `json:"jobs"`
	Rho     budget.Nano `json:"rho"`
}

// Order is an order given in the year.
type Order struct {
	ID     string          `json:"id"`
	By     string          `json:"by"`
	At     time.Time       `json:"at"`
	Target policies.Target `json:"target"`
	Stage  string          `json:"stage"`
	Reason policies.Text   `json:"reason"`
	Closed bool            `json:"closed"`
}

// Cases are objections or corrections that moved in the year, by how far they are.
type Cases struct {
	Kind  string  `json:"kind"` // objection, correction
	State []Count `json:"state"`
}

// Book is the disclosure of one year, in China Standard Time.
type Book struct {
	Year        int                `json:"year"`
	Until       time.Time          `json:"until"` // what it knows: the end of the year or of the ledger
	Departments []Department       `json:"departments"`
	Licences    []Licence          `json:"licences"`
	Use         metering.Statement `json:"use"`
	Refusals    []Count            `json:"refusals"` // by code, the most frequent first
	Spending    []Spending         `json:"spending"`
	Orders      []Order            `json:"orders"`
	Cases       []Cases            `json:"cases"`
	// Missed are duties noted as missed in the year.
	Missed []string `json:"missed"`
}

// Of makes the disclosure of a year from the state after the ledger's last entry.
// Catalogue and licences are as they stand at that entry.
func Of(s *state.State, year int) Book {
	p := metering.Year(year)
	out := Book{Year: year, Until: p.To, Use: metering.Of(s, p, metering.Filter{})}
	if last := time.UnixMilli(s.At()); last.Before(out.Until) {
		out.Until = last
	}
	book := s.Book()
	if book == nil {
		return out
	}
	out.Departments = departments(book, out.Until)
	for _, id := range book.Licences() {
		l, _ := book.Licence(id)
		if !l.NotBefore.Before(p.To) || !l.NotAfter.After(p.From) {
			continue
		}
		x := Licence{ID: id, Operator: l.Operator, Title: l.Title, Purposes: l.Purposes, From: l.NotBefore, Until: l.NotAfter, State: "IN_FORCE"}
		if r := book.InForce(id, out.Until.Add(-1)); r != nil {
			x.State = r.Code
		}
		out.Licences = append(out.Licences, x)
	}
	out.jobs(s, p)
	for _, o := range book.Orders() {
		if in(p, o.At) {
			out.Orders = append(out.Orders, Order{o.Order.ID, o.Order.By, o.At, o.Order.Target, string(o.Order.Stage), o.Order.Reason, o.Closed != ""})
		}
	}
	out.Cases = cases(book, p)
	out.Missed = s.MissedBetween(p.From, p.To)
	return out
}

func in(p metering.Period, at time.Time) bool { return !at.Before(p.From) && at.Before(p.To) }

func departments(book *policies.Book, at time.Time) []Department {
	by := map[string]*Department{}
	for _, id := range book.Datasets() {
		e, _ := book.Dataset(id)
		if by[e.Department] == nil {
			by[e.Department] = &Department{ID: e.Department}
		}
		d := by[e.Department]
		d.Datasets++
		target := policies.Target{Kind: policies.TargetDataset, ID: id}
		if _, known := book.RegistrationOf(target); known && book.Registered(target, at) == nil {
			d.Registered++
		}
		if book.Suspended(target) != nil {
			d.Suspended++
		}
	}
	var out []Department
	for _, id := range slices.Sorted(maps.Keys(by)) {
		out = append(out, *by[id])
	}
	return out
}

// jobs counts refusals by reason and adds up what was debited by data set.
func (b *Book) jobs(s *state.State, p metering.Period) {
	refused, spent := map[string]int{}, map[string]*Spending{}
	for _, id := range s.Jobs() {
		j, _ := s.Job(id)
		if !in(p, time.UnixMilli(j.At)) {
			continue
		}
		for _, r := range j.Reasons {
			refused[r.Code]++
		}
		if j.Reserved == nil {
			continue
		}
		spend(spent, j.Reserved.Charges)
	}
	for _, id := range s.Models() {
		m, _ := s.Model(id)
		if !in(p, time.UnixMilli(m.At)) {
			continue
		}
		for _, r := range m.Reasons {
			refused[r.Code]++
		}
	}
	s.ChargedBeside(func(at int64, charges []budget.Charge) {
		if in(p, time.UnixMilli(at)) {
			spend(spent, charges)
		}
	})
	for _, id := range s.Verifications() {
		v, _ := s.Verification(id)
		if in(p, time.UnixMilli(v.At)) {
			for _, r := range v.Reasons {
				refused[r.Code]++
			}
		}
	}
	b.Refusals = counts(refused)
	for _, id := range slices.Sorted(maps.Keys(spent)) {
		b.Spending = append(b.Spending, *spent[id])
	}
}

// spend adds one execution's charges. Every scope of a data set bears the whole price:
// it is counted once.
func spend(spent map[string]*Spending, charges []budget.Charge) {
	seen := map[string]bool{}
	for _, c := range charges {
		if d := c.Scope.Dataset; !seen[d] && c.Scope.Kind != budget.ScopeInformation {
			seen[d] = true
			if spent[d] == nil {
				spent[d] = &Spending{Dataset: d}
			}
			spent[d].Jobs++
			spent[d].Rho += c.Amount
		}
	}
}

func counts(m map[string]int) []Count {
	var out []Count
	for name, n := range m {
		out = append(out, Count{name, n})
	}
	slices.SortFunc(out, func(x, y Count) int { return cmp.Or(cmp.Compare(y.N, x.N), cmp.Compare(x.Name, y.Name)) })
	return out
}

func cases(book *policies.Book, p metering.Period) []Cases {
	objections, corrections := map[string]int{}, map[string]int{}
	for _, id := range book.Objections() {
		if c, _ := book.ObjectionCase(id); in(p, c.Since) {
			objections[string(c.State)]++
		}
	}
	for _, id := range book.Corrections() {
		if c, _ := book.CorrectionCase(id); in(p, c.Since) {
			corrections[string(c.State)]++
		}
	}
	var out []Cases
	if len(objections) > 0 {
		out = append(out, Cases{"objection", counts(objections)})
	}
	if len(corrections) > 0 {
		out = append(out, Cases{"correction", counts(corrections)})
	}
	return out
}
