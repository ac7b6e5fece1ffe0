package gateway

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sandgate/sandgate/compute/twin"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/certificate"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

type twinService struct {
	sandgatev1.UnimplementedTwinServiceServer
	d *Domain
}

// PublishTwin implements sandgatev1.TwinServiceServer.
func (s *twinService) PublishTwin(ctx context.Context, req *sandgatev1.PublishTwinRequest) (*sandgatev1.Twin, error) {
	spec := twin.Spec{Dataset: req.GetDataset(), Columns: req.GetColumns(), PerUnit: req.GetPerUnit(), RowsPerUnit: int(req.GetRowsPerUnit()), Rho: req.GetRho()}
	if !req.GetValidateOnly() {
		id, err := s.d.PublishTwin(ctx, caller(ctx), req.GetRequestId(), spec)
		if err != nil {
			return nil, err
		}
		return s.get(ctx, "twins/"+id)
	}
	p, err := s.d.ExplainTwin(caller(ctx), spec)
	if err != nil {
		return nil, err
	}
	out := &sandgatev1.Twin{Department: caller(ctx), Dataset: spec.Dataset, Reasons: reasonsOf(p.Reasons)}
	if p.Schema.Dataset != "" {
		columnsInto(out, p.Schema)
		out.PriceNanoRho, out.SchemaDigest = int64(p.Schema.Plan().Price()), p.Schema.Digest()
	}
	return out, nil
}

func columnsInto(out *sandgatev1.Twin, schema twin.Schema) {
	out.Columns, out.RowsPerUnit, out.Passes = schema.Reads(), int32(schema.RowsPerUnit), int32(len(schema.Plan().Passes))
	for _, g := range schema.Generated {
		out.Generated = append(out.Generated, g.Column)
	}
}

// GetTwin implements sandgatev1.TwinServiceServer.
func (s *twinService) GetTwin(ctx context.Context, req *sandgatev1.GetTwinRequest) (*sandgatev1.Twin, error) {
	return s.get(ctx, req.GetName())
}

func (s *twinService) get(ctx context.Context, name string) (*sandgatev1.Twin, error) {
	t, err := s.d.settledTwin(ctx, caller(ctx), name)
	if err != nil {
		return nil, err
	}
	out := s.d.twinOf(t)
	if t.Phase == state.PhaseReleased {
		receipt, err := s.d.log.Receipt(t.FinishSeq)
		if err != nil {
			return nil, err
		}
		out.Receipt = receiptOf(receipt)
	}
	return out, nil
}

// twinFor finds a twin that a party may see: an operator those published, of data sets
// that it holds a licence on, unless they are withheld since. One that is not there and one that is not its look the
// same. Call it in the sequencer.
func (d *Domain) twinFor(party, name string) (state.Twin, error) {
	var t state.Twin
	ok := false
	dataset, byDataset := strings.CutPrefix(name, "datasets/")
	if byDataset {
		t, ok = d.state.PublishedTwin(dataset)
	} else if t, ok = d.state.Twin(strings.TrimPrefix(name, "twins/")); ok {
		dataset = t.Request.Spec.Dataset
	}
	b := d.state.Book()
	if x := b.MayReadTwin(party, dataset, d.instant()); x != nil {
		if !byDataset && x.Code != "PARTY_UNKNOWN" && x.Code != "PARTY_WITHDRAWN" && x.Code != "RECIPIENT_ABROAD" {
			return t, invalid("NOT_FOUND", "没有这个孪生", "there is no such twin")
		}
		return t, refusal(*x)
	}
	who, _ := b.Party(party)
	if ok && who.Role == policies.RoleOperator && t.Phase != state.PhaseReleased {
		ok = false
	}
	if ok && who.Role == policies.RoleOperator {
		if x := b.TwinWithheld(dataset, t.Columns, d.instant()); x != nil {
			return t, refusal(*x)
		}
	}
	switch {
	case ok:
		return t, nil
	case byDataset:
		return t, refusal(noTwin(dataset))
	}
	return t, invalid("NOT_FOUND", "没有这个孪生", "there is no such twin")
}

// settledTwin is twinFor once the ledger is as far as the data's level asks.
func (d *Domain) settledTwin(ctx context.Context, party, name string) (t state.Twin, err error) {
	rule := policies.WaitPublished
	if serr := d.settled(ctx, func() {
		if t, err = d.twinFor(party, name); err == nil {
			rule = d.waitOfTwin(t)
		}
	}); serr != nil {
		return t, serr
	}
	if err != nil || t.Phase != state.PhaseReleased {
		return t, err
	}
	return t, d.settledBy(ctx, rule, t.FinishSeq)
}

// waitOfTwin is what a twin waits for; one that the catalogue no longer gives waits for
// the most. Call it in the sequencer.
func (d *Domain) waitOfTwin(t state.Twin) string {
	schema, ok := d.schemaOf(t)
	if !ok {
		return policies.WaitPublished
	}
	return d.state.Book().WaitOfTwin(t.Request.Spec.Dataset, schema.Reads())
}

// schemaOf is the schema of a twin by the catalogue in force. Call it in the sequencer.
func (d *Domain) schemaOf(t state.Twin) (twin.Schema, bool) {
	e, _ := d.state.Book().Dataset(t.Request.Spec.Dataset)
	schema, err := twin.NewSchema(t.Request.Spec, e)
	return schema, err == nil && schema.Digest() == t.Reserved.Schema
}

// ListTwins implements sandgatev1.TwinServiceServer.
func (s *twinService) ListTwins(ctx context.Context, req *sandgatev1.ListTwinsRequest) (*sandgatev1.ListTwinsResponse, error) {
	d, party := s.d, caller(ctx)
	var all []state.Twin
	var refused error
	covered := d.coveredBy()
	if err := d.settled(ctx, func() {
		b := d.state.Book()
		who, _ := b.Party(party)
		// A department's own right is shown by a data set of its own: none is needed to ask.
		if x := b.Authorize(party, policies.ActReadTwin, policies.Resource{Department: party}); x != nil {
			refused = refusal(*x)
			return
		}
		for _, id := range slices.Backward(d.state.Twins()) {
			t, ferr := d.twinFor(party, "twins/"+id)
			if ferr != nil {
				continue
			}
			if t.Phase == state.PhaseReleased && !covered(d.waitOfTwin(t), t.FinishSeq) {
				if who.Role == policies.RoleOperator {
					continue
				}
				t.Phase, t.Published = state.PhaseReserved, nil
			}
			all = append(all, t)
		}
	}); err != nil {
		return nil, err
	}
	if refused != nil {
		return nil, refused
	}
	page, next, err := pageOf(all, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	out := &sandgatev1.ListTwinsResponse{NextPageToken: next}
	for _, t := range page {
		out.Twins = append(out.Twins, d.twinOf(t))
	}
	return out, nil
}

// DownloadTwin implements sandgatev1.TwinServiceServer.
func (s *twinService) DownloadTwin(ctx context.Context, req *sandgatev1.DownloadTwinRequest) (*sandgatev1.TwinFile, error) {
	d := s.d
	t, err := d.settledTwin(ctx, caller(ctx), req.GetName())
	if err != nil {
		return nil, err
	}
	id := t.Request.Twin
	if t.Phase != state.PhaseReleased {
		return nil, refusal(policies.Reason{Code: "TWIN_NONE", Rule: "twin/" + id, SetBy: "sandgate", ZH: "孪生尚未学成，或已中止", EN: "the twin is not learned yet, or ended without one",
			HintZH: "用 sandgate twin show 查看", HintEN: "see sandgate twin show"})
	}
	out := &sandgatev1.TwinFile{Name: "twins/" + id}
	if out.Document, err = d.twinDocument(t); err != nil {
		return nil, err
	}
	c := certificate.Twin{V: certificate.Version, Twin: id, Department: t.Department, Spec: t.Request.Spec, Snapshot: t.Reserved.Snapshot, PriceNanoRho: int64(t.Reserved.Price),
		Outcome: t.Published.Certificate, Seq: t.FinishSeq, At: t.FinishAt}
	var stale *policies.Reason
	d.log.View(func() { c.Origin, stale = d.state.Genesis().Origin, d.state.StaleTwin(id) })
	if stale != nil {
		out.Stale = reasonsOf([]policies.Reason{*stale})[0]
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("failed to encode certificate: %w", err)
	}
	d.keyMu.Lock()
	key := ed25519.NewKeyFromSeed(d.keys.Receipt)
	d.keyMu.Unlock()
	if out.Envelope, err = certificate.Sign(certificate.TwinPayloadType, payload, key); err != nil {
		return nil, err
	}
	out.Key = base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	receipt, err := d.log.Receipt(t.FinishSeq)
	if err != nil {
		return nil, err
	}
	out.Receipt = receiptOf(receipt)
	return out, nil
}

// twinOf renders what the ledger says of a twin.
func (d *Domain) twinOf(t state.Twin) *sandgatev1.Twin {
	id, spec := t.Request.Twin, t.Request.Spec
	out := &sandgatev1.Twin{
		Name: "twins/" + id, Department: t.Department, Dataset: spec.Dataset, PriceNanoRho: int64(t.Reserved.Price), Snapshot: t.Reserved.Snapshot, SchemaDigest: t.Reserved.Schema,
		Columns: spec.Columns, RowsPerUnit: int32(max(1, spec.RowsPerUnit)), CreateTime: timestamppb.New(time.UnixMilli(t.At)), Seq: t.Seq,
		State: map[state.Phase]sandgatev1.Twin_State{state.PhaseReserved: sandgatev1.Twin_STATE_RUNNING, state.PhaseReleased: sandgatev1.Twin_STATE_PUBLISHED, state.PhaseFailed: sandgatev1.Twin_STATE_FAILED}[t.Phase],
	}
	var stale *policies.Reason
	d.log.View(func() {
		if schema, ok := d.schemaOf(t); ok {
			out.Columns = nil
			columnsInto(out, schema)
		}
		if t.Phase == state.PhaseReleased {
			stale = d.state.StaleTwin(id)
			now, _ := d.state.PublishedTwin(spec.Dataset)
			out.Current = now.Request.Twin == id
		}
	})
	switch t.Phase {
	case state.PhaseReserved:
		if _, waits := d.queued(twinRun(id)); waits {
			out.State = sandgatev1.Twin_STATE_QUEUED
		}
		d.mu.Lock()
		out.PassesDone = int32(d.progress[id].Done)
		d.mu.Unlock()
	case state.PhaseReleased:
		if stale != nil {
			out.Stale = reasonsOf([]policies.Reason{*stale})[0]
		}
		c := t.Published.Certificate
		out.SpentNanoRho, out.Units, out.MarginalsOnly, out.DocumentDigest = int64(c.Rho), c.Units, c.MarginalsOnly, c.Document
		out.Quality = distancesOf(c.Quality)
	case state.PhaseFailed:
		out.Reasons = reasonsOf([]policies.Reason{twinReason(t)})
	}
	return out
}

func distancesOf(q entry.TwinFigures) (out []*sandgatev1.TwinDistance) {
	for _, f := range []struct {
		tables string
		of     twin.Figure
	}{{"one_way", q.OneWay}, {"two_way", q.TwoWay}} {
		if f.of == (twin.Figure{}) && f.tables == "two_way" {
			continue // not measured
		}
		for _, r := range []struct {
			of string
			twin.Range
		}{{"mean", f.of.Mean}, {"worst", f.of.Worst}} {
			out = append(out, &sandgatev1.TwinDistance{Tables: f.tables, Of: r.of, Low: r.Low, About: r.About, High: r.High})
		}
	}
	return out
}

// twinReason is why a twin ended without being published.
func twinReason(t state.Twin) policies.Reason {
	f := t.Failed
	r := policies.Reason{Code: f.Code, Rule: "execution", SetBy: "sandgate", HintZH: "费用不退还；可用新的 request_id 重新发布", HintEN: "its price stays debited; publish anew under another request_id"}
	switch {
	case f.Code == twin.CodeTooFewUnits:
		r.ZH, r.EN = "按加噪的计数，单元过少，学不到任何东西", "by the noisy count there are too few units: nothing can be learned"
	case f.Code == twin.CodeStale:
		r.ZH, r.EN = "学习期间目录已改变", "the catalogue changed meanwhile"
	case f.Code == state.SnapshotGone:
		r.ZH, r.EN = "学习期间数据快照已更新", "the snapshot was replaced meanwhile"
	case f.Rule != "":
		r.Rule, r.SetBy = f.Rule, f.By
		r.ZH, r.EN = "孪生已依 "+f.Rule+" 停止，没有发布", "the twin was stopped by "+f.Rule+"; nothing was published"
	case modelEnds[f.Code][0] != "":
		r.ZH, r.EN = modelEnds[f.Code][0], modelEnds[f.Code][1]
	default:
		r.Code, r.ZH, r.EN = "EXECUTION_FAILED", "孪生未能学成", "the twin could not be learned"
	}
	return r
}
