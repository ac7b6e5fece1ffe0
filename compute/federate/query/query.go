// Package query makes an aggregation round (compute/federate) of a protected plan: the
// columns of a proposal, a domain's cells, and the release of the sums. Every domain builds
// the plan from its own policy; the digest of what must agree, code lists, clamps, weights
// and noise, is the proposal's schema, so that domains which differ refuse by name. The
// package is pure.
package query

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/compute/release"
)

// Terms are what the domains agree on beside the query.
type Terms = federate.Terms

// Query is a plan as a round. It must not be changed and is safe for concurrent use.
type Query struct {
	plan    *protect.Plan
	terms   Terms
	salt    string
	columns []federate.Column
	of      []int // the column of each measure; −1: without noise
	cells   int   // combinations of the keys
}

// New checks that several domains can add the plan up: in dp mode, over keys with public
// code lists. salt is the brief's (federate.Brief.Salt); whoever has none, as at replay, has
// the round's data, columns and noise, and not its schema.
func New(plan *protect.Plan, t Terms, salt string) (*Query, error) {
	if t.MaxUnits < 1 || t.MaxUnits > 1<<40 || t.Overlap < 1 || t.Overlap > federate.MaxContributors || t.Period == "" || len(t.Period) > 64 {
		return nil, errors.New("the terms lack a bound of units, an overlap or a period")
	}
	if len(plan.Core.Datasets()) != 1 {
		return nil, errors.New("a query about one data set alone is added up over domains")
	}
	q := &Query{plan: plan, terms: t, salt: salt}
	empty, err := release.JointCells(plan, protect.Partials{})
	if err != nil {
		return nil, errors.New("only a query in dp mode, with noise on every measure and code lists for every key, is added up over domains")
	}
	noised := 0
	for _, m := range plan.Measures {
		if m.Sigma2.Sign() > 0 {
			noised++
		}
	}
	q.cells = len(empty) / noised
	for i, m := range plan.Measures {
		if m.Sigma2.Sign() == 0 {
			q.of = append(q.of, -1)
			continue
		}
		// Bins of one grid are one vector with one sensitivity and one price.
		if last := len(q.columns) - 1; m.Vector != 0 && i > 0 && plan.Measures[i-1].Vector == m.Vector {
			q.columns[last].Cells += q.cells
			q.of = append(q.of, last)
			continue
		}
		c, err := q.column(i, m)
		if err != nil {
			return nil, err
		}
		q.columns = append(q.columns, c)
		q.of = append(q.of, len(q.columns)-1)
	}
	return q, nil
}

// column is that of a measure. A unit moves a cell by √Sens2 at most, so a domain's cells
// are within so many times its units.
func (q *Query) column(i int, m protect.Measure) (federate.Column, error) {
	root := new(big.Int).Sqrt(m.Sens2)
	root.Add(root, big.NewInt(1)).Mul(root, big.NewInt(q.terms.MaxUnits))
	if !root.IsInt64() || root.Int64() > federate.MaxBound {
		return federate.Column{}, fmt.Errorf("measure %d has cells beyond 2^56 at this bound of units", i+1)
	}
	c := federate.Column{Name: fmt.Sprintf("m%d.%s", i+1, m.Kind), Cells: q.cells, Low: -root.Int64(), High: root.Int64(),
		Sigma2: q.joint(m.Sigma2), Sensitivity2: q.joint(m.Sens2)}
	switch m.Kind {
	case protect.MeasureSum, protect.MeasureProduct:
	default:
		c.Low = 0
	}
	return c, nil
}

// joint is a squared figure of one domain for a unit in several of them.
func (q *Query) joint(x *big.Int) *big.Int {
	d := big.NewInt(int64(q.terms.Overlap))
	return d.Mul(d, d).Mul(d, x)
}

// Columns are those of a proposal.
func (q *Query) Columns() []federate.Column {
	return append([]federate.Column(nil), q.columns...)
}

func digest(label string, v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic("query: a plan did not marshal")
	}
	h := sha256.New()
	fmt.Fprintf(h, "sandgate/federation/v1/%s/%d\n", label, len(text))
	h.Write(text)
	return hex.EncodeToString(h.Sum(nil))
}

// Query is the digest of the data that the query is about (federate.DataDigest).
func (q *Query) Query() string {
	return federate.DataDigest(q.plan.Core.Datasets()[0], q.terms.Period)
}

// Schema is the digest of what every domain must have alike. Ranks are each domain's own. It
// is salted: ledgers hold it, and a digest of a plan's literals would let a guess at them
// be tested.
func (q *Query) Schema() string {
	p := *q.plan
	p.Ranks = nil
	return digest("schema", struct {
		Plan  protect.Plan `json:"plan"`
		Terms Terms        `json:"terms"`
		Salt  string       `json:"salt"`
	}{p, q.terms, q.salt})
}

// Fits says whether a proposal is this query's.
func (q *Query) Fits(p *federate.Proposal) bool {
	if p.Query != q.Query() || p.Schema != q.Schema() || !q.SameNoise(p) {
		return false
	}
	for i, c := range q.columns {
		if c.Cells != p.Columns[i].Cells {
			return false
		}
	}
	return true
}

// SameNoise says whether a proposal has this query's columns, with their bounds and noise,
// and so its price. A plan whose literals are redacted tells as much, but not its schema,
// nor the number of its cells.
func (q *Query) SameNoise(p *federate.Proposal) bool {
	if len(p.Columns) != len(q.columns) {
		return false
	}
	for i, c := range q.columns {
		d := p.Columns[i]
		if c.Name != d.Name || c.Low != d.Low || c.High != d.High || d.Sigma2 == nil || d.Sensitivity2 == nil ||
			c.Sigma2.Cmp(d.Sigma2) != 0 || c.Sensitivity2.Cmp(d.Sensitivity2) != 0 {
			return false
		}
	}
	return true
}

// Bytes that a cell of a release takes at most beside a key's text, and that a column's
// head does.
const (
	numberBytes = 160 // a value and its interval: three integers of 40 digits, and their names
	keyBytes    = 48
	headBytes   = 1024
)

// Deliverable says whether the release is certain to fit into a delivery, whatever the sums
// are. It is asked before anybody pays.
func (q *Query) Deliverable() bool {
	row := numberBytes * len(q.plan.Outputs)
	for _, k := range q.plan.Keys {
		longest := 0
		for _, c := range k.Codes {
			text, err := json.Marshal(c.S)
			if err != nil {
				return false
			}
			longest = max(longest, len(text))
		}
		row += keyBytes + longest
	}
	return headBytes*(1+len(q.plan.Outputs)+len(q.plan.Keys))+q.cells*row <= federate.MaxRelease
}

// Cells are a domain's, from its exact partials. The error is release.ErrKernel.
func (q *Query) Cells(p protect.Partials) ([]int64, error) { return release.JointCells(q.plan, p) }

// Release is that of a round's result: intervals are by the noise that all decryptors
// added, which is more than what the price counts on.
func (q *Query) Release(p *federate.Proposal, sums []int64) (*release.Release, error) {
	if !q.Fits(p) {
		return nil, errors.New("the round is of another query")
	}
	plan := *q.plan
	plan.Measures = append([]protect.Measure(nil), q.plan.Measures...)
	for i := range plan.Measures {
		if c := q.of[i]; c >= 0 {
			m := &plan.Measures[i]
			m.Sens2 = p.Columns[c].Sensitivity2
			m.Sigma2 = new(big.Int).Mul(p.ShareVariance(c), big.NewInt(int64(p.Decryptors())))
		}
	}
	return release.Joint(&plan, sums, q.terms.Overlap)
}
