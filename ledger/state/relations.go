package state

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// Relations is what the ledger says of one publication of relations across tables 跨表关系.
type Relations struct {
	Department string // that asked
	Request    entry.RelationsRequest
	Phase      Phase // RESERVED, RELEASED (published) or FAILED
	At         int64 // first entry, Unix milliseconds
	Seq        uint64
	Reserved   *entry.RelationsReserved
	Published  *entry.RelationsPublished
	Failed     *entry.RelationsFailed
	FinishSeq  uint64
	FinishAt   int64
}

// relations are their projection.
type relations struct {
	all   map[string]*Relations
	order []string
}

func (x relations) clone() relations {
	all := map[string]*Relations{}
	for id, r := range x.all {
		own := *r
		all[id] = &own
	}
	return relations{all, slices.Clone(x.order)}
}

// RelationsID derives an id from who asks and the request id. It is longer than a twin's.
func RelationsID(department, request string) string {
	sum := sha256.Sum256([]byte("sandgate/twin-relations/v1\n" + requestKey(department, request)))
	return hex.EncodeToString(sum[:12])
}

// Relations returns a copy of what is known of one publication.
func (s *State) Relations(id string) (Relations, bool) {
	r, ok := s.synthetics.relations.all[id]
	if !ok {
		return Relations{}, false
	}
	return *r, true
}

// AllRelations lists ids in the order of their first entry.
func (s *State) AllRelations() []string { return slices.Clone(s.synthetics.relations.order) }

// OpenRelations lists those with an open reservation, in order.
func (s *State) OpenRelations() []string {
	return slices.DeleteFunc(s.AllRelations(), func(id string) bool { return s.synthetics.relations.all[id].Phase != PhaseReserved })
}

// OpenRelationsOn lists those of them that read a data set.
func (s *State) OpenRelationsOn(dataset string) []string {
	return slices.DeleteFunc(s.OpenRelations(), func(id string) bool {
		return !slices.Contains(s.synthetics.relations.all[id].Request.Spec.Datasets(), dataset)
	})
}

// RelationsAsk is a publication to decide.
type RelationsAsk struct {
	Department string
	Request    entry.RelationsRequest
	At         time.Time
}

// RelationsGround is what a book makes of an ask: for each table its catalogue entry, the
// twin in force and that one's schema.
type RelationsGround struct {
	Entries []policies.Entry
	Twins   []Twin
	Schemas []twin.Schema
	Price   budget.Nano
}

// RelationsGround holds an ask to the rules of all departments under the policy in force,
// or says why there is none.
func (s *State) RelationsGround(a RelationsAsk) (RelationsGround, []policies.Reason) {
	return s.relationsGround(s.book, a)
}

func (s *State) relationsGround(book *policies.Book, a RelationsAsk) (g RelationsGround, reasons []policies.Reason) {
	refuse := func(err error) (RelationsGround, []policies.Reason) {
		var x *policies.Reason
		if !errors.As(err, &x) {
			x = &policies.Reason{Code: "POLICY_INVALID", Rule: "catalogue", SetBy: "sandgate", ZH: "目录条目无法读取", EN: "a catalogue entry cannot be read"}
		}
		return RelationsGround{}, []policies.Reason{*x}
	}
	spec := a.Request.Spec
	var err error
	if g.Price, err = spec.Price(); err != nil {
		return refuse(err)
	}
	if x := book.OpenToRelations(a.Department, spec.Datasets()); x != nil {
		return refuse(x)
	}
	for _, t := range spec.Tables {
		e, _ := book.Dataset(t.Dataset)
		published, ok := s.PublishedTwin(t.Dataset)
		if !ok {
			return refuse(&policies.Reason{Code: "TWIN_NONE", Rule: "twin/" + t.Dataset, SetBy: e.Department, ZH: "数据集“" + t.Dataset + "”没有已发布的孪生", EN: "no twin of data set \"" + t.Dataset + "\" is published",
				HintZH: "先由其部门执行 sandgate twin publish", HintEN: "have its department run sandgate twin publish first"})
		}
		schema, err := twin.NewSchema(published.Request.Spec, e)
		if err != nil || schema.Digest() != published.Published.Certificate.Schema {
			return refuse(staleTwin(published))
		}
		reasons = append(reasons, book.DecideTwin(t.Dataset, schema.Reads(), g.Price, a.At)...)
		g.Entries, g.Twins, g.Schemas = append(g.Entries, e), append(g.Twins, published), append(g.Schemas, schema)
	}
	if len(reasons) > 0 {
		return RelationsGround{}, reasons
	}
	if err := spec.Holds(g.Entries, g.Schemas); err != nil {
		return refuse(err)
	}
	return g, nil
}

// DecideRelations is pure, as Decide is: a reservation, or every reason against it.
func (s *State) DecideRelations(a RelationsAsk) (*entry.RelationsReserved, []policies.Reason) {
	g, reasons := s.relationsGround(s.book, a)
	if len(reasons) > 0 {
		return nil, reasons
	}
	datasets := a.Request.Spec.Datasets()
	out := &entry.RelationsReserved{Request: a.Request, Price: g.Price}
	for i, id := range datasets {
		for _, open := range append(s.OpenTwinsOn(id), s.OpenRelationsOn(id)...) {
			return nil, []policies.Reason{{Code: "TWIN_UNDER_WAY", Rule: "twin/" + open, SetBy: g.Entries[i].Department, ZH: "数据集“" + id + "”的孪生或跨表关系正在学习", EN: "a twin of data set \"" + id + "\", or its relations, are being learned",
				HintZH: "用 sandgate twin list 查看", HintEN: "see sandgate twin list"}}
		}
	}
	if x := s.drained(a.Department, g); x != nil {
		return nil, []policies.Reason{*x}
	}
	if was, ok := s.relatedAlready(a.Request.Spec, g); ok {
		return nil, []policies.Reason{{Code: "TWIN_RELATED", Rule: "twin/" + was, SetBy: a.Department, ZH: "这几个孪生已经相系：再学一次只会再次扣减各数据集的账", EN: "these very twins are tied already: learning it again would debit every data set once more",
			HintZH: "用 sandgate twin show 查看；要更准的关系，先重新发布其中一个孪生", HintEN: "see sandgate twin show; for relations at another price publish one of the twins anew first"}}
	}
	core := algebra.Core{}
	for _, id := range datasets {
		core.Tables = append(core.Tables, algebra.Table{Dataset: id})
	}
	// Tokens of one kind of unit are equal within an epoch of their key: Facts refuses
	// data sets of two epochs, as of a join.
	_, snapshots, x := s.Facts(core)
	if x == nil {
		x = s.spentUnknown(datasets)
	}
	if x != nil {
		return nil, []policies.Reason{*x}
	}
	for i, id := range datasets {
		e := g.Entries[i]
		most, _, _ := e.Twins()
		_, limits, err := e.Limits()
		if err != nil {
			return nil, []policies.Reason{{Code: "POLICY_INVALID", Rule: "disclosure/" + id, SetBy: e.Department, ZH: "孪生规则无法读取", EN: "the twin rule cannot be read"}}
		}
		limits.Query = most
		// A unit may have rows in all tables: each data set owes the whole price, in the
		// account of its own department, whoever of them asks.
		out.Charges = append(out.Charges, budget.Charges(id, e.Department, Year(a.At), g.Price, limits)...)
		c := g.Twins[i].Published.Certificate
		out.Tables = append(out.Tables, entry.RelatedTwin{Twin: g.Twins[i].Request.Twin, Document: c.Document, Schema: c.Schema, Snapshot: snapshots[i]})
	}
	if err := s.filter.Clone().Reserve(out.Charges); err != nil {
		return nil, []policies.Reason{relationsExhausted(err, g.Entries)}
	}
	return out, nil
}

// mostByOthers is how often one published twin may be tied, and its data set charged, at
// the wish of other departments than its own, whatever came of it.
const mostByOthers = 2

// drained refuses the wish of a department for the twin of another one that was charged
// for others' wishes as often as may be: who is named in a rule must not spend the year of
// who named it by asking again, for other columns or after a failure that it brought about.
// The owner may ask itself, and a twin that it publishes anew counts from the start.
func (s *State) drained(department string, g RelationsGround) *policies.Reason {
	for i, t := range g.Twins {
		owner, asked := g.Entries[i].Department, 0
		if owner == department {
			continue
		}
		for _, id := range s.synthetics.relations.order {
			r := s.synthetics.relations.all[id]
			if r.Department != owner && slices.ContainsFunc(r.Reserved.Tables, func(x entry.RelatedTwin) bool { return x.Twin == t.Request.Twin }) {
				asked++
			}
		}
		if asked >= mostByOthers {
			dataset := t.Request.Spec.Dataset
			return &policies.Reason{Code: "TWIN_RELATED", Rule: "twin/" + t.Request.Twin, SetBy: owner,
				ZH:     fmt.Sprintf("数据集“%s”的这一孪生已应其他部门的要求扣费 %d 次，为其上限", dataset, asked),
				EN:     fmt.Sprintf("this twin of data set %q was charged %d times at the wish of other departments, as often as may be", dataset, asked),
				HintZH: "由其部门自己提出，或待其重新发布孪生", HintEN: "its own department asks, or publishes the twin anew"}
		}
	}
	return nil
}

// linksOf are the columns that may tie each table, whatever way they are written.
func linksOf(spec twin.RelationsSpec, schemas []twin.Schema) [][]string {
	out := make([][]string, len(spec.Tables))
	for i, t := range spec.Tables {
		if out[i] = slices.Sorted(slices.Values(t.Link)); len(t.Link) == 0 {
			out[i] = slices.Sorted(slices.Values(schemas[i].Reads()))
		}
	}
	return out
}

// relatedAlready is the publication that ties these very twins by all of these columns.
func (s *State) relatedAlready(spec twin.RelationsSpec, g RelationsGround) (string, bool) {
	for _, id := range slices.Backward(s.synthetics.relations.order) {
		r := s.synthetics.relations.all[id]
		if r.Phase != PhaseReleased || !slices.EqualFunc(r.Reserved.Tables, g.Twins, func(a entry.RelatedTwin, b Twin) bool { return a.Twin == b.Request.Twin }) {
			continue
		}
		// The same twins have the same schemas.
		if slices.EqualFunc(linksOf(r.Request.Spec, g.Schemas), linksOf(spec, g.Schemas), func(was, is []string) bool {
			return !slices.ContainsFunc(is, func(c string) bool { return !slices.Contains(was, c) })
		}) {
			return id, true
		}
	}
	return "", false
}

// relationsExhausted names the data set whose budget is in the way.
func relationsExhausted(err error, entries []policies.Entry) policies.Reason {
	of := entries[0]
	var over *budget.Exhausted
	if errors.As(err, &over) {
		for _, e := range entries {
			if e.Dataset.ID == over.Scope.Dataset {
				of = e
			}
		}
	}
	x := exhausted(err, of.Dataset.ID, of.Department)
	if over != nil && over.Scope.Kind == budget.ScopeOperatorYear {
		x.ZH = fmt.Sprintf("隐私预算不足：部门年度（%s）上限 ρ %s，已用 %s，本次申请 %s", over.Scope.Key(), over.Limit, over.Spent, over.Asked)
		x.EN = fmt.Sprintf("privacy budget exhausted: department and year (%s): limit ρ %s, spent %s, asked %s", over.Scope.Key(), over.Limit, over.Spent, over.Asked)
	}
	x.HintZH = "各孪生仍可分别使用；降低 --rho，或待下一年度"
	x.HintEN = "the twins stay in use by themselves; lower --rho, or wait for another year"
	return x
}

// ActRelations is what a department signs to have twins tied.
func ActRelations(spec twin.RelationsSpec) Act {
	var fields []request.RelatedTable
	for _, t := range spec.Tables {
		fields = append(fields, request.RelatedTable{Dataset: t.Dataset, Link: t.Link})
	}
	return Act{Method: request.MethodRelations, Terms: request.RelationsTerms(fields), Public: request.RelationsFields(fields, spec.Rho)}
}

func (s *State) applyRelationsReserved(e *entry.Entry) error {
	r := e.RelationsReserved
	id := r.Request.Relations
	if _, used := s.synthetics.relations.all[id]; used {
		return errors.New("request id was used before")
	}
	if x := s.book.Authorize(e.Actor, policies.ActPublishTwin, policies.Resource{Department: e.Actor}); x != nil {
		return x // that one of the data sets is its own, the rules decide
	}
	if err := s.signedAct(e, e.Actor, ActRelations(r.Request.Spec)); err != nil {
		return err
	}
	if id != RelationsID(e.Actor, r.Request.Request) || r.Request.Request != e.Signed.Statement.Request {
		return errors.New("id is not derived from department and signed request id")
	}
	want, reasons := s.DecideRelations(RelationsAsk{e.Actor, r.Request, e.Time()})
	if len(reasons) > 0 {
		return &reasons[0]
	}
	if err := same("reservation", r, want); err != nil {
		return err
	}
	if err := s.filter.Reserve(r.Charges); err != nil {
		return err
	}
	s.acted(e, e.Actor)
	x := &s.synthetics.relations
	x.all[id] = &Relations{Department: e.Actor, Request: r.Request, Phase: PhaseReserved, At: e.At, Seq: e.Seq, Reserved: r}
	x.order = append(x.order, id)
	return nil
}

// StoppedRelations says how open relations end at an instant because a book no longer lets
// them be learned, the catalogue gives another schema, or a snapshot is gone; nil when they
// may go on.
func (s *State) StoppedRelations(book *policies.Book, id string, at time.Time) *entry.RelationsFailed {
	r, ok := s.synthetics.relations.all[id]
	if !ok || r.Phase != PhaseReserved {
		return nil
	}
	if owner, _ := book.Party(r.Department); owner.Withdrawn {
		return &entry.RelationsFailed{Relations: id, Code: "PARTY_WITHDRAWN", By: s.genesis.Regulator, Rule: "R37"}
	}
	_, reasons := s.relationsGround(book, RelationsAsk{r.Department, r.Request, at})
	if len(reasons) > 0 && reasons[0].Code == twin.CodeStale {
		return &entry.RelationsFailed{Relations: id, Code: twin.CodeStale}
	}
	if len(reasons) > 0 {
		x := reasons[0]
		return &entry.RelationsFailed{Relations: id, Code: x.Code, By: x.SetBy, Rule: x.Rule}
	}
	for i, t := range r.Reserved.Tables {
		if snap, ok := s.snapshots[r.Request.Spec.Tables[i].Dataset]; !ok || snap.Snapshot != t.Snapshot {
			return &entry.RelationsFailed{Relations: id, Code: SnapshotGone}
		}
	}
	return nil
}

func (s *State) applyRelationsPublished(e *entry.Entry) error {
	if err := s.gateway(e); err != nil {
		return err
	}
	p := e.RelationsPublished
	r, ok := s.synthetics.relations.all[p.Relations]
	if !ok || r.Phase != PhaseReserved {
		return errors.New("relations have no open reservation")
	}
	if x := s.StoppedRelations(s.book, p.Relations, e.Time()); x != nil {
		return errors.New("the relations may no longer be published (" + x.Code + ")")
	}
	c := p.Certificate
	if c.Rho != r.Reserved.Price {
		return errors.New("the certificate does not follow from the plan")
	}
	for _, t := range r.Reserved.Tables {
		// Whoever has a row in one table has one in any.
		if known := s.synthetics.all[t.Twin]; c.Units < known.Published.Certificate.Units {
			return errors.New("the certificate counts fewer units than a twin")
		}
	}
	if !isDistance(c.Quality) {
		return errors.New("a figure of the certificate is no distance")
	}
	r.Phase, r.Published, r.FinishSeq, r.FinishAt = PhaseReleased, p, e.Seq, e.At
	s.released++
	return nil
}

// isDistance says whether all of a figure lies in its range, in ten-thousandths.
func isDistance(f twin.Figure) bool {
	for _, x := range []twin.Range{f.Mean, f.Worst} {
		if x.Low < 0 || x.Low > x.About || x.About > x.High || x.High > 10_000 {
			return false
		}
	}
	return true
}

func (s *State) applyRelationsFailed(e *entry.Entry) error {
	if err := s.gateway(e); err != nil {
		return err
	}
	f := e.RelationsFailed
	r, ok := s.synthetics.relations.all[f.Relations]
	if !ok || r.Phase != PhaseReserved {
		return errors.New("relations have no open reservation")
	}
	// A failure that names what stopped it is decided again.
	if want := s.StoppedRelations(s.book, f.Relations, e.Time()); f.Rule != "" && (want == nil || *want != *f) {
		return errors.New("nothing in force stops the relations as the entry says")
	}
	r.Phase, r.Failed, r.FinishSeq, r.FinishAt = PhaseFailed, f, e.Seq, e.At
	return nil
}

// StaleRelations says why published relations no longer tie the twins of their data sets:
// one of these was published anew, or is stale itself. nil when they do.
func (s *State) StaleRelations(id string) *policies.Reason {
	r, ok := s.synthetics.relations.all[id]
	if !ok || r.Published == nil {
		return nil
	}
	for i, t := range r.Reserved.Tables {
		dataset := r.Request.Spec.Tables[i].Dataset
		if now, _ := s.PublishedTwin(dataset); now.Request.Twin != t.Twin {
			return &policies.Reason{Code: "RELATIONS_STALE", Rule: "twin/" + now.Request.Twin, SetBy: now.Department,
				ZH: "数据集“" + dataset + "”的孪生在跨表关系学成之后已重新发布：跨表关系已过期", EN: "the twin of data set \"" + dataset + "\" was published anew since the relations were learned: they are stale",
				HintZH: "请部门再次执行 sandgate twin relate", HintEN: "ask a department to run sandgate twin relate again"}
		}
		if x := s.StaleTwin(t.Twin); x != nil {
			return x
		}
	}
	return nil
}
