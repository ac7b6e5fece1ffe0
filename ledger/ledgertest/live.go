package ledgertest

import (
	"fmt"
	"strconv"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// question is what an operator asks, and may ask again.
type question struct {
	operator, licence, purpose string
	price                      budget.Nano
	core                       *algebra.Core
	commitment                 string
	analysis                   []policies.Reason
}

// adult is the product of verification: is somebody born before 2005?
const adult = "alpha-adult"

const (
	beatEvery    = 10 * time.Minute
	mostOpen     = 4       // jobs at once
	snapshotsOf  = 20_000  // entries from one refresh of the data to the next
	consentsOf   = 4_000   // entries from one document of consents to the next
	restartOf    = 50_000  // entries from one start of the gateway to the next
	subjects     = 200_000 // about whom is asked
	mostConsents = 60      // documents, of 2,000 subjects each
	remembered   = 512     // questions that may be asked again
	price        = 200     // nano-ρ of a question, so that a year's budget bears hundreds of thousands
)

// live writes what comes next: an end of what is open, or something new.
func (c *city) live() error {
	size := int(c.s.Size())
	switch {
	case c.now.Sub(c.beats) >= beatEvery:
		c.beats = c.now
		return c.add(entry.KindHeartbeat, "gateway", func(e *entry.Entry) { e.Heartbeat = &entry.Beat{Released: c.s.Released()} })
	case len(c.open) > c.r.IntN(mostOpen):
		end := c.open[0]
		c.open = c.open[1:]
		return end()
	case size%restartOf == restartOf-1 && len(c.open) == 0:
		if err := c.add(entry.KindStopped, "gateway", nil); err != nil {
			return err
		}
		return c.start()
	case size%snapshotsOf == snapshotsOf-1:
		return c.snapshots()
	case size%consentsOf == consentsOf-1 && size/consentsOf < mostConsents:
		return c.consents(4 + size/consentsOf)
	}
	if c.r.IntN(100) < 30 {
		return c.verify()
	}
	return c.ask()
}

// ask submits a job: most are let in, some repeat, some are refused.
func (c *city) ask() error {
	q := c.question()
	c.acts++
	id := requestID("job", c.acts)
	a := state.Ask{Operator: q.operator, Analysis: q.analysis, At: c.now, Request: entry.Request{Job: state.JobID(q.operator, id), Request: id, Licence: q.licence, Purpose: q.purpose,
		Core: q.core, Query: q.commitment, Price: q.price}}
	st := request.Statement{Party: q.operator, Method: request.MethodQuery, Request: id, Licence: q.licence, Purpose: q.purpose, Body: commitment("body" + id)}
	if q.price != 0 {
		st.Terms = map[string]string{request.TermPrice: strconv.FormatInt(int64(q.price), 10)}
	}
	signed, err := c.sign(st)
	if err != nil {
		return err
	}
	d := c.s.Decide(a)
	err = c.add(d.Kind(), q.operator, func(e *entry.Entry) {
		e.Refused, e.Repeated, e.Reserved, e.Signed = d.Refused, d.Repeated, d.Reserved, signed
	})
	if err != nil || d.Reserved == nil {
		return err
	}
	c.open = append(c.open, func() error { return c.end(a.Request.Job, d.Reserved.Mode == "exact") })
	return nil
}

func (c *city) end(job string, exact bool) error {
	if c.r.IntN(40) == 0 {
		return c.add(entry.KindFailed, "gateway", func(e *entry.Entry) { e.Failed = &entry.Failed{Job: job, Code: "EXECUTION_FAILED"} })
	}
	return c.add(entry.KindReleased, "gateway", func(e *entry.Entry) {
		e.Released = &entry.Released{Job: job, Digest: commitment("release" + job), Rows: 9, Bytes: 900}
		if exact {
			e.Released.Cells = commitment("cells" + job)
		}
	})
}

// question is a new one, or one of those asked before.
func (c *city) question() question {
	kind := c.r.IntN(100)
	if kind < 25 && len(c.asked) > 0 {
		return c.asked[c.r.IntN(len(c.asked))]
	}
	n := strconv.Itoa(c.acts)
	q := question{operator: "alpha", licence: "alpha-2026", purpose: "urban_planning", price: price, commitment: commitment("query" + n)}
	switch {
	case kind < 45:
		q.core = c.counted("population", "district", "gender", "household_type")
		c.narrow(q.core, number("birth_date"))
	case kind < 60:
		q.core = c.counted("social_insurance", "district", "scheme", "industry")
		q.core.Aggs = append(q.core.Aggs, algebra.Agg{Func: algebra.Sum, Arg: yuan("base_yuan")})
		c.narrow(q.core, yuan("base_yuan"))
	case kind < 70:
		q.core = c.counted("housing_fund", "district", "month")
		q.core.Aggs = append(q.core.Aggs, algebra.Agg{Func: algebra.Avg, Arg: yuan("deposit_yuan")})
		c.narrow(q.core, yuan("deposit_yuan"))
	case kind < 82:
		q.operator, q.licence, q.purpose = "beta", "beta-2026", "industry_research"
		q.core = c.counted("social_insurance", "industry", "district")
	case kind < 90:
		// Exact mode: the same few questions, for which the information cap is meant.
		q.operator, q.licence, q.purpose, q.price = "beta", "beta-2026", "industry_research", 0
		q.core = counted("enterprises", "industry")
		q.commitment = commitment("exact" + strconv.Itoa(c.r.IntN(40)))
	case kind < 96:
		// Not what the licence is for.
		q.core, q.purpose = counted("population", "district"), "industry_research"
	default:
		// Not in the language.
		q.analysis = []policies.Reason{{Code: "CONSTRUCT_NOT_ALLOWED", Rule: "core language", SetBy: "sandgate", ZH: "语句中的构造不在受支持的语言之内", EN: "the statement has a construct outside of the language"}}
	}
	if q.core != nil && q.price != 0 {
		if len(c.asked) < remembered {
			c.asked = append(c.asked, q)
		} else {
			c.asked[c.r.IntN(remembered)] = q
		}
	}
	return q
}

// counted is SELECT keys, count(*) FROM dataset GROUP BY keys.
func counted(dataset string, keys ...string) *algebra.Core {
	core := &algebra.Core{Tables: []algebra.Table{{Dataset: dataset}}, Aggs: []algebra.Agg{{Func: algebra.CountRows}}}
	for _, k := range keys {
		kind := algebra.Text
		if k == "month" {
			kind = algebra.Date
		}
		core.Keys = append(core.Keys, algebra.Col{Name: k, Type: algebra.Type{Kind: kind}})
	}
	return core
}

// counted has some of the keys, at least the first.
func (c *city) counted(dataset string, keys ...string) *algebra.Core {
	some := keys[:1]
	for _, k := range keys[1:] {
		if c.r.IntN(2) == 0 {
			some = append(some[:len(some):len(some)], k)
		}
	}
	return counted(dataset, some...)
}

// narrow puts conditions on a core, as the ledger keeps them: without their literals.
func (c *city) narrow(core *algebra.Core, measure *algebra.Col) {
	redacted := func(t algebra.Type, n int) (out []algebra.Value) {
		for range n {
			out = append(out, algebra.Value{Type: t, Redacted: true})
		}
		return out
	}
	var all []algebra.Pred
	if c.r.IntN(2) == 0 {
		ops := []algebra.PredOp{algebra.OpLt, algebra.OpLe, algebra.OpGt, algebra.OpGe}
		all = append(all, algebra.Pred{Op: ops[c.r.IntN(len(ops))], Col: measure, Values: redacted(measure.Type, 1)})
	}
	if c.r.IntN(2) == 0 {
		text := algebra.Type{Kind: algebra.Text}
		all = append(all, algebra.Pred{Op: algebra.OpIn, Col: &algebra.Col{Name: "district", Type: text}, Values: redacted(text, 1+c.r.IntN(8))})
	}
	switch len(all) {
	case 1:
		core.Where = &all[0]
	case 2:
		core.Where = &algebra.Pred{Op: algebra.OpAnd, Args: all}
	}
}

func yuan(column string) *algebra.Col {
	return &algebra.Col{Name: column, Type: algebra.Type{Kind: algebra.Decimal, Scale: 2}}
}

func number(column string) *algebra.Col {
	return &algebra.Col{Name: column, Type: algebra.Type{Kind: algebra.Int}}
}

// verify asks a question about one subject.
func (c *city) verify() error {
	c.acts++
	id, product, who := requestID("verification", c.acts), adult, subject(c.r.IntN(subjects))
	p, ok := c.s.Book().Product(product)
	if !ok {
		return fmt.Errorf("product %s is not filed", product)
	}
	r := entry.VerificationRequest{Verification: state.VerificationID("alpha", id), Request: id, Licence: "alpha-2026", Purpose: "urban_planning", Product: product, Version: p.Digest(),
		Subject: who, Question: commitment(who + "adult")}
	signed, err := c.sign(request.Statement{Party: "alpha", Method: request.MethodVerify, Request: id, Licence: r.Licence, Purpose: r.Purpose, Body: commitment("body" + id),
		Terms: map[string]string{request.TermProduct: product, request.TermDigest: r.Version}})
	if err != nil {
		return err
	}
	d := c.s.DecideVerification(state.VerificationAsk{Operator: "alpha", Request: r, At: c.now})
	if d.Refused != nil {
		return c.add(entry.KindVerificationRefused, "alpha", func(e *entry.Entry) { e.VerificationRefused, e.Signed = d.Refused, signed })
	}
	err = c.add(entry.KindVerificationReserved, "alpha", func(e *entry.Entry) { e.VerificationReserved, e.Signed = d.Reserved, signed })
	c.open = append(c.open, func() error { return c.answer(r.Verification) })
	return err
}

func (c *city) answer(id string) error {
	ground, stopped, err := c.s.GroundNow(id, c.now)
	if err != nil {
		return err
	}
	if stopped != nil {
		return c.add(entry.KindVerificationFailed, "gateway", func(e *entry.Entry) { e.VerificationFailed = stopped })
	}
	return c.add(entry.KindVerificationAnswered, "gateway", func(e *entry.Entry) {
		e.VerificationAnswered = &entry.VerificationAnswered{Verification: id, Ground: ground, Answer: commitment("answer" + id)}
	})
}
