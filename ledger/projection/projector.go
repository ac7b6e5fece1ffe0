package projection

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// Row is handed out as the table's index in Tables and its cells, which the
// receiver must not keep.
type Row func(table int, cells []*string) error

// Projector turns entries into rows as an audit visits them. It is not safe for
// concurrent use.
type Projector struct {
	row       Row
	snapshots []snapshot
	current   map[string]int // by data set, into snapshots
}

type snapshot struct {
	seq, at, destroyedSeq, destroyedAt *string
	dataset, id                        string
}

// New returns a projector that hands its rows to row.
func New(row Row) *Projector { return &Projector{row: row, current: map[string]int{}} }

// Entry takes the next entry, and its canonical bytes.
func (p *Projector) Entry(e *entry.Entry, text []byte) error {
	seq, at := unsigned(e.Seq), integer(e.At)
	if err := p.row(tableEntries, []*string{seq, at, word(string(e.Kind)), word(e.Actor), word(string(text))}); err != nil {
		return err
	}
	switch {
	case e.Policy != nil:
		return p.documents(e, seq, at)
	case e.Snapshot != nil:
		p.current[e.Snapshot.Dataset] = len(p.snapshots)
		p.snapshots = append(p.snapshots, snapshot{seq: seq, at: at, dataset: e.Snapshot.Dataset, id: e.Snapshot.Snapshot})
	case e.Destroyed != nil:
		if i, ok := p.current[e.Destroyed.Dataset]; ok {
			p.snapshots[i].destroyedSeq, p.snapshots[i].destroyedAt = seq, at
		}
	case e.DutyNoted != nil:
		return p.row(tableDuties, []*string{seq, at, word(e.DutyNoted.Duty), word(string(e.DutyNoted.Phase)), word(e.DutyNoted.Owes)})
	}
	return nil
}

// documents spreads out a signed bundle. Who replayed the entry has parsed it, so
// one that cannot be read is an error.
func (p *Projector) documents(e *entry.Entry, seq, at *string) error {
	envelope, err := state.Inflate(e.Policy.Envelope)
	if err != nil {
		return err
	}
	env, payload, err := policies.ParseEnvelope(envelope)
	if err != nil {
		return err
	}
	for _, s := range env.Signatures {
		if err := p.row(tableSigners, []*string{seq, word(s.KeyID)}); err != nil {
			return err
		}
	}
	dec := yaml.NewDecoder(strings.NewReader(string(payload)))
	for n := int64(1); ; n++ {
		var node yaml.Node
		if err := dec.Decode(&node); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("failed to read signed document %d of entry %d", n, e.Seq)
		}
		var head struct {
			Kind string `yaml:"kind"`
		}
		text, err := yaml.Marshal(&node)
		if err != nil || node.Decode(&head) != nil {
			return fmt.Errorf("failed to read signed document %d of entry %d", n, e.Seq)
		}
		if err := p.row(tableDocuments, []*string{seq, at, word(e.Actor), integer(n), word(head.Kind), word(string(text))}); err != nil {
			return err
		}
	}
}

// Meta says of which tree a projection is.
type Meta struct {
	Origin  string
	Entries uint64
	Root    string
	Audited bool // the audit that made it found nothing fatal
}

// Close hands out what stands only at the end: jobs, what they were charged, what
// was spent, snapshots, and the projection's own description. st is the state after
// the last entry.
func (p *Projector) Close(st *state.State, m Meta) error {
	scopes := map[string]budget.Scope{}
	var order []string
	for _, id := range st.Jobs() {
		j, _ := st.Job(id)
		if err := p.job(id, &j); err != nil {
			return err
		}
		if j.Reserved == nil {
			continue
		}
		for _, c := range j.Reserved.Charges {
			if key := c.Scope.Key(); scopes[key].Kind == "" {
				scopes[key] = c.Scope
				order = append(order, key)
			}
		}
	}
	for _, key := range order {
		s := scopes[key]
		if s.Kind == budget.ScopeQuery {
			continue // a bound on one query, in which nothing adds up
		}
		if err := p.row(tableSpending, []*string{word(string(s.Kind)), word(s.Dataset), word(s.Operator), year(s.Year), integer(int64(st.Spent(s)))}); err != nil {
			return err
		}
	}
	for _, id := range st.Verifications() {
		v, _ := st.Verification(id)
		if err := p.verification(id, v); err != nil {
			return err
		}
	}
	for _, id := range st.Models() {
		m, _ := st.Model(id)
		if err := p.model(id, m); err != nil {
			return err
		}
	}
	for _, s := range p.snapshots {
		if err := p.row(tableSnapshots, []*string{s.seq, s.at, word(s.dataset), word(s.id), s.destroyedSeq, s.destroyedAt}); err != nil {
			return err
		}
	}
	return p.row(tableMeta, []*string{word(m.Origin), unsigned(m.Entries), word(m.Root), word(strconv.FormatBool(m.Audited))})
}

func (p *Projector) job(id string, j *state.Job) error {
	job, q := word(id), j.Request
	cells := []*string{job, word(j.Operator), word(q.Request), word(q.Licence), word(q.Purpose), word(q.Product), nil, word(string(j.Phase)),
		unsigned(j.Seq), integer(j.At), nil, nil, word(j.RepeatOf), word(j.FailCode), word(j.FailRule), word(j.FailBy), nil, nil, nil, nil}
	if j.FinishAt != 0 {
		cells[10], cells[11] = unsigned(j.FinishSeq), integer(j.FinishAt)
	}
	if j.Reserved != nil {
		cells[6], cells[16] = word(j.Reserved.Mode), integer(int64(j.Reserved.Price))
	}
	if j.Released != nil {
		cells[17], cells[18], cells[19] = word(j.Released.Digest), integer(j.Released.Rows), integer(j.Released.Bytes)
	}
	if err := p.row(tableJobs, cells); err != nil {
		return err
	}
	if q.Core != nil {
		for i, dataset := range q.Core.Datasets() {
			var read *string
			if j.Reserved != nil && i < len(j.Reserved.Snapshots) {
				read = word(j.Reserved.Snapshots[i])
			}
			if err := p.row(tableJobDatasets, []*string{job, word(dataset), read}); err != nil {
				return err
			}
		}
	}
	for _, r := range j.Reasons {
		if err := p.row(tableReasons, []*string{job, unsigned(j.Seq), integer(j.At), word(j.Operator), word(r.Code), word(r.Rule), word(r.SetBy), word(r.ZH), word(r.EN)}); err != nil {
			return err
		}
	}
	if j.Reserved == nil {
		return nil
	}
	for _, c := range j.Reserved.Charges {
		s := c.Scope
		if err := p.row(tableCharges, []*string{job, word(string(s.Kind)), word(s.Dataset), word(s.Operator), year(s.Year), integer(int64(c.Amount)), integer(int64(c.Limit))}); err != nil {
			return err
		}
	}
	return nil
}

func (p *Projector) verification(id string, v state.Verification) error {
	q := v.Request
	cells := []*string{word(id), word(v.Operator), word(q.Request), word(q.Licence), word(q.Purpose), word(q.Product), word(string(v.Phase)), nil, nil, unsigned(v.Seq), integer(v.At), nil}
	if v.Reserved != nil {
		cells[7], cells[8] = word(string(v.Reserved.Ground)), word(strconv.FormatBool(v.Reserved.Repeat))
	}
	if v.FinishSeq != 0 {
		cells[11] = unsigned(v.FinishSeq)
	}
	if err := p.row(tableVerifications, cells); err != nil {
		return err
	}
	for _, r := range v.Reasons {
		if err := p.row(tableReasons, []*string{word(id), unsigned(v.Seq), integer(v.At), word(v.Operator), word(r.Code), word(r.Rule), word(r.SetBy), word(r.ZH), word(r.EN)}); err != nil {
			return err
		}
	}
	return nil
}

// word is a text cell; what is empty is absent.
func word(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func integer(n int64) *string {
	s := strconv.FormatInt(n, 10)
	return &s
}

func unsigned(n uint64) *string {
	s := strconv.FormatUint(n, 10)
	return &s
}

func year(y int) *string {
	if y == 0 {
		return nil
	}
	return integer(int64(y))
}
