package state

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// Twin is what the ledger says of one publication of a synthetic twin 合成孪生.
type Twin struct {
	Department string
	Request    entry.TwinRequest
	Columns    []string // that it is learned of, as they were stored when it was let in
	Phase      Phase    // RESERVED, RELEASED (published) or FAILED
	At         int64    // first entry, Unix milliseconds
	Seq        uint64
	Reserved   *entry.TwinReserved
	Published  *entry.TwinPublished
	Failed     *entry.TwinFailed
	FinishSeq  uint64
	FinishAt   int64
}

// synthetics are their projection.
type synthetics struct {
	all       map[string]*Twin
	order     []string
	current   map[string]string // data set → the twin that was published last
	relations relations
}

func newSynthetics() synthetics {
	return synthetics{all: map[string]*Twin{}, current: map[string]string{}, relations: relations{all: map[string]*Relations{}}}
}

func (x synthetics) clone() synthetics {
	all := map[string]*Twin{}
	for id, t := range x.all {
		own := *t
		all[id] = &own
	}
	x.all, x.order, x.current, x.relations = all, slices.Clone(x.order), maps.Clone(x.current), x.relations.clone()
	return x
}

// TwinID derives a twin's id from who publishes it and the request id.
func TwinID(department, request string) string {
	sum := sha256.Sum256([]byte("sandgate/twin/v1\n" + requestKey(department, request)))
	return hex.EncodeToString(sum[:10])
}

// Twin returns a copy of what is known of one.
func (s *State) Twin(id string) (Twin, bool) {
	t, ok := s.synthetics.all[id]
	if !ok {
		return Twin{}, false
	}
	return *t, true
}

// Twins lists ids in the order of their first entry.
func (s *State) Twins() []string { return slices.Clone(s.synthetics.order) }

// OpenTwins lists the twins with an open reservation, in order.
func (s *State) OpenTwins() []string {
	var out []string
	for _, id := range s.synthetics.order {
		if s.synthetics.all[id].Phase == PhaseReserved {
			out = append(out, id)
		}
	}
	return out
}

// OpenTwinsOn lists those of a data set.
func (s *State) OpenTwinsOn(dataset string) []string {
	return slices.DeleteFunc(s.OpenTwins(), func(id string) bool { return s.synthetics.all[id].Request.Spec.Dataset != dataset })
}

// PublishedTwin is the twin of a data set that was published last.
func (s *State) PublishedTwin(dataset string) (Twin, bool) {
	return s.Twin(s.synthetics.current[dataset])
}

// TwinAsk is a twin to decide.
type TwinAsk struct {
	Department string
	Request    entry.TwinRequest
	At         time.Time
}

// twinSchema is what a book makes of a specification; it holds what is asked to the
// department's rule.
func twinSchema(book *policies.Book, a TwinAsk) (twin.Schema, []policies.Reason) {
	spec := a.Request.Spec
	if x := book.OpenToTwins(a.Department, spec.Dataset); x != nil {
		return twin.Schema{}, []policies.Reason{*x}
	}
	e, _ := book.Dataset(spec.Dataset)
	schema, err := twin.NewSchema(spec, e)
	if err != nil {
		var x *policies.Reason
		if !errors.As(err, &x) {
			x = &policies.Reason{Code: "POLICY_INVALID", Rule: "catalogue/" + spec.Dataset, SetBy: e.Department, ZH: "目录条目无法读取", EN: "the catalogue entry cannot be read"}
		}
		return twin.Schema{}, []policies.Reason{*x}
	}
	return schema, book.DecideTwin(spec.Dataset, schema.Reads(), schema.Rho, a.At)
}

// TwinSchema is the schema of an ask under the policy in force, or why there is none.
func (s *State) TwinSchema(a TwinAsk) (twin.Schema, []policies.Reason) { return twinSchema(s.book, a) }

// DecideTwin is pure, as Decide is: a reservation, or every reason against it.
func (s *State) DecideTwin(a TwinAsk) (*entry.TwinReserved, []policies.Reason) {
	schema, reasons := twinSchema(s.book, a)
	if len(reasons) > 0 {
		return nil, reasons
	}
	dataset := a.Request.Spec.Dataset
	// A twin that is published anew would leave relations without theirs.
	if open := append(s.OpenTwinsOn(dataset), s.OpenRelationsOn(dataset)...); len(open) > 0 {
		return nil, []policies.Reason{{Code: "TWIN_UNDER_WAY", Rule: "twin/" + open[0], SetBy: a.Department, ZH: "数据集“" + dataset + "”的孪生正在学习", EN: "a twin of data set \"" + dataset + "\" is being learned",
			HintZH: "用 sandgate twin list 查看", HintEN: "see sandgate twin list"}}
	}
	_, snapshots, reason := s.Facts(algebra.Core{Tables: []algebra.Table{{Dataset: dataset}}})
	if reason != nil {
		return nil, []policies.Reason{*reason}
	}
	e, _ := s.book.Dataset(dataset)
	if x := s.spentUnknown([]string{dataset}); x != nil {
		return nil, []policies.Reason{*x}
	}
	most, _, _ := e.Twins()
	_, limits, err := e.Limits()
	price := schema.Plan().Price()
	if err != nil || price != schema.Rho {
		return nil, []policies.Reason{{Code: "POLICY_INVALID", Rule: "disclosure/" + dataset, SetBy: e.Department, ZH: "孪生规则无法读取", EN: "the twin rule cannot be read"}}
	}
	limits.Query = most // what one twin may cost is the twin rule's
	// The department stands where an operator does: the account is its own, and the year
	// and lifetime of the data set are everybody's.
	charges := budget.Charges(dataset, a.Department, Year(a.At), price, limits)
	if err := s.filter.Clone().Reserve(charges); err != nil {
		x := exhausted(err, dataset, e.Department)
		var over *budget.Exhausted
		if errors.As(err, &over) && over.Scope.Kind == budget.ScopeOperatorYear {
			x.ZH = fmt.Sprintf("隐私预算不足：部门年度（%s）上限 ρ %s，已用 %s，本次申请 %s", over.Scope.Key(), over.Limit, over.Spent, over.Asked)
			x.EN = fmt.Sprintf("privacy budget exhausted: department and year (%s): limit ρ %s, spent %s, asked %s", over.Scope.Key(), over.Limit, over.Spent, over.Asked)
		}
		x.HintZH = "已发布的孪生仍可用；降低 --rho，或待下一年度"
		x.HintEN = "a twin that was published stays in use; lower --rho, or wait for another year"
		return nil, []policies.Reason{x}
	}
	return &entry.TwinReserved{Request: a.Request, Snapshot: snapshots[0], Schema: schema.Digest(), Price: price, Charges: charges}, nil
}

// ActTwin is what a department signs to have a twin published.
func ActTwin(spec twin.Spec) Act {
	return Act{Method: request.MethodTwin, Terms: map[string]string{request.TermDataset: spec.Dataset}, Public: request.TwinFields(spec.Columns, spec.PerUnit, spec.RowsPerUnit, spec.Rho)}
}

func (s *State) applyTwinReserved(e *entry.Entry) error {
	r := e.TwinReserved
	id := r.Request.Twin
	if _, used := s.synthetics.all[id]; used {
		return errors.New("request id was used before")
	}
	d, _ := s.book.Dataset(r.Request.Spec.Dataset)
	if x := s.book.Authorize(e.Actor, policies.ActPublishTwin, policies.Resource{Department: d.Department}); x != nil {
		return x
	}
	if err := s.signedAct(e, e.Actor, ActTwin(r.Request.Spec)); err != nil {
		return err
	}
	if id != TwinID(e.Actor, r.Request.Request) || r.Request.Request != e.Signed.Statement.Request {
		return errors.New("id is not derived from department and signed request id")
	}
	want, reasons := s.DecideTwin(TwinAsk{e.Actor, r.Request, e.Time()})
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
	schema, _ := s.TwinSchema(TwinAsk{e.Actor, r.Request, e.Time()})
	s.synthetics.all[id] = &Twin{Department: e.Actor, Request: r.Request, Columns: schema.Reads(), Phase: PhaseReserved, At: e.At, Seq: e.Seq, Reserved: r}
	s.synthetics.order = append(s.synthetics.order, id)
	return nil
}

// StoppedTwin says how an open twin ends at an instant because a book no longer lets it
// be learned, the catalogue gives another schema, or its snapshot is gone; nil when it
// may go on.
func (s *State) StoppedTwin(book *policies.Book, id string, at time.Time) *entry.TwinFailed {
	t, ok := s.synthetics.all[id]
	if !ok || t.Phase != PhaseReserved {
		return nil
	}
	if owner, _ := book.Party(t.Department); owner.Withdrawn {
		return &entry.TwinFailed{Twin: id, Code: "PARTY_WITHDRAWN", By: s.genesis.Regulator, Rule: "R37"}
	}
	schema, reasons := twinSchema(book, TwinAsk{t.Department, t.Request, at})
	if len(reasons) > 0 {
		x := reasons[0]
		return &entry.TwinFailed{Twin: id, Code: x.Code, By: x.SetBy, Rule: x.Rule}
	}
	if schema.Digest() != t.Reserved.Schema {
		return &entry.TwinFailed{Twin: id, Code: twin.CodeStale}
	}
	if snap, ok := s.snapshots[t.Request.Spec.Dataset]; !ok || snap.Snapshot != t.Reserved.Snapshot {
		return &entry.TwinFailed{Twin: id, Code: SnapshotGone}
	}
	return nil
}

func (s *State) applyTwinPublished(e *entry.Entry) error {
	if err := s.gateway(e); err != nil {
		return err
	}
	p := e.TwinPublished
	t, ok := s.synthetics.all[p.Twin]
	if !ok || t.Phase != PhaseReserved {
		return errors.New("twin has no open reservation")
	}
	if x := s.StoppedTwin(s.book, p.Twin, e.Time()); x != nil {
		return errors.New("the twin may no longer be published (" + x.Code + ")")
	}
	schema, _ := s.TwinSchema(TwinAsk{t.Department, t.Request, e.Time()})
	if err := certifiesTwin(p.Certificate, schema, t.Reserved); err != nil {
		return err
	}
	t.Phase, t.Published, t.FinishSeq, t.FinishAt = PhaseReleased, p, e.Seq, e.At
	s.synthetics.current[t.Request.Spec.Dataset] = p.Twin
	s.released++
	return nil
}

// certifiesTwin holds a certificate to its reservation: what was spent follows from the
// plan and from whether pairs were learned, and figures are distances.
func certifiesTwin(c entry.TwinCertificate, schema twin.Schema, r *entry.TwinReserved) error {
	passes := schema.Plan().Passes
	spent, pairs := r.Price, len(passes) > 1
	if c.MarginalsOnly {
		spent = passes[0].Rho
	}
	if c.Schema != r.Schema || c.MarginalsOnly && !pairs || c.Rho != spent || c.Units < 1 {
		return errors.New("the certificate does not follow from schema and plan")
	}
	if !isDistance(c.Quality.OneWay) || !isDistance(c.Quality.TwoWay) {
		return errors.New("a figure of the certificate is no distance")
	}
	if c.Quality.Rows < 1 || (c.MarginalsOnly || !pairs) && c.Quality.TwoWay != (twin.Figure{}) {
		return errors.New("the certificate has figures of what was not measured")
	}
	return nil
}

func (s *State) applyTwinFailed(e *entry.Entry) error {
	if err := s.gateway(e); err != nil {
		return err
	}
	f := e.TwinFailed
	t, ok := s.synthetics.all[f.Twin]
	if !ok || t.Phase != PhaseReserved {
		return errors.New("twin has no open reservation")
	}
	// A failure that names what stopped it is decided again.
	if want := s.StoppedTwin(s.book, f.Twin, e.Time()); f.Rule != "" && (want == nil || *want != *f) {
		return errors.New("nothing in force stops the twin as the entry says")
	}
	t.Phase, t.Failed, t.FinishSeq, t.FinishAt = PhaseFailed, f, e.Seq, e.At
	return nil
}

// StaleTwin says why a published twin no longer is one of its data set: the catalogue
// in force gives another schema, or none. nil when it fits.
func (s *State) StaleTwin(id string) *policies.Reason {
	t, ok := s.synthetics.all[id]
	if !ok || t.Published == nil {
		return nil
	}
	e, _ := s.book.Dataset(t.Request.Spec.Dataset)
	if schema, err := twin.NewSchema(t.Request.Spec, e); err == nil && schema.Digest() == t.Published.Certificate.Schema {
		return nil
	}
	return staleTwin(*t)
}

func staleTwin(t Twin) *policies.Reason {
	return &policies.Reason{Code: twin.CodeStale, Rule: "catalogue/" + t.Request.Spec.Dataset, SetBy: t.Department,
		ZH: "数据集“" + t.Request.Spec.Dataset + "”的目录在孪生学成之后已改变：孪生已过期", EN: "the catalogue of data set \"" + t.Request.Spec.Dataset + "\" changed since its twin was learned: the twin is stale",
		HintZH: "请数源部门重新发布孪生", HintEN: "ask the department to publish a twin again"}
}
