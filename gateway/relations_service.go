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

type relationsService struct {
	sandgatev1.UnimplementedRelationsServiceServer
	d *Domain
}

// RelateTwins implements sandgatev1.RelationsServiceServer.
func (s *relationsService) RelateTwins(ctx context.Context, req *sandgatev1.RelateTwinsRequest) (*sandgatev1.Relations, error) {
	spec := twin.RelationsSpec{Rho: req.GetRho()}
	for _, t := range req.GetTables() {
		spec.Tables = append(spec.Tables, twin.RelatedTable{Dataset: t.GetDataset(), Link: t.GetLink()})
	}
	if !req.GetValidateOnly() {
		id, err := s.d.RelateTwins(ctx, caller(ctx), req.GetRequestId(), spec)
		if err != nil {
			return nil, err
		}
		return s.get(ctx, "relations/"+id)
	}
	p, err := s.d.ExplainRelations(caller(ctx), spec)
	if err != nil {
		return nil, err
	}
	out := &sandgatev1.Relations{Department: caller(ctx), Tables: s.d.tablesOf(spec, nil), Reasons: reasonsOf(p.Reasons), Passes: int32(p.Passes)}
	if p.Reserved != nil {
		out.PriceNanoRho, out.Tables = int64(p.Reserved.Price), s.d.tablesOf(spec, p.Reserved.Tables)
	}
	return out, nil
}

// tablesOf are the data sets of a specification with the twins they are tied by.
func (d *Domain) tablesOf(spec twin.RelationsSpec, by []entry.RelatedTwin) (out []*sandgatev1.RelatedTable) {
	d.log.View(func() {
		for i, t := range spec.Tables {
			x := &sandgatev1.RelatedTable{Dataset: t.Dataset, Link: t.Link}
			if i < len(by) {
				e, _ := d.state.Book().Dataset(t.Dataset)
				x.Twin, x.DocumentDigest, x.Snapshot, x.Department = by[i].Twin, by[i].Document, by[i].Snapshot, e.Department
			}
			out = append(out, x)
		}
	})
	return out
}

// GetRelations implements sandgatev1.RelationsServiceServer.
func (s *relationsService) GetRelations(ctx context.Context, req *sandgatev1.GetRelationsRequest) (*sandgatev1.Relations, error) {
	return s.get(ctx, req.GetName())
}

func (s *relationsService) get(ctx context.Context, name string) (*sandgatev1.Relations, error) {
	r, err := s.d.settledRelations(ctx, caller(ctx), name)
	if err != nil {
		return nil, err
	}
	out := s.d.relationsOf(r)
	if r.Phase == state.PhaseReleased {
		receipt, err := s.d.log.Receipt(r.FinishSeq)
		if err != nil {
			return nil, err
		}
		out.Receipt = receiptOf(receipt)
	}
	return out, nil
}

// publishedOver are the relations that were published last over exactly these data sets.
// Call it in the sequencer.
func (d *Domain) publishedOver(datasets []string) (state.Relations, bool) {
	for _, id := range slices.Backward(d.state.AllRelations()) {
		if r, _ := d.state.Relations(id); r.Phase == state.PhaseReleased && slices.Equal(r.Request.Spec.Datasets(), datasets) {
			return r, true
		}
	}
	return state.Relations{}, false
}

func noRelations() policies.Reason {
	return policies.Reason{Code: "RELATIONS_NONE", Rule: "twin", SetBy: "sandgate", ZH: "这些数据集没有已发布的跨表关系", EN: "no relations between these data sets are published",
		HintZH: "请数源部门执行 sandgate twin relate", HintEN: "ask a department to run sandgate twin relate"}
}

// mayReadRelations says why a party may not see relations over data sets; nil for the
// regulator, the department of one of them, and an operator with a licence in force on
// each. Whole: to have the document, which goes with all the twins, a department needs to
// own all of them.
func mayReadRelations(b *policies.Book, party string, datasets []string, whole bool, at time.Time) *policies.Reason {
	who, _ := b.Party(party)
	var refused *policies.Reason
	for _, id := range datasets {
		one := who.Role == policies.RoleDepartment && !whole
		switch x := b.MayReadTwin(party, id, at); {
		case x == nil && one:
			return nil
		case x != nil && !one:
			return x
		case x != nil && refused == nil:
			refused = x
		}
	}
	return refused
}

// maxRelationsName bounds the name of relations, which is looked up in the sequencer's
// turn: eight ids of 63 characters and what stands between and before them.
const maxRelationsName = 8*64 + len("datasets/")

func unknownRelations() error {
	return invalid("NOT_FOUND", "没有这份跨表关系", "there are no such relations")
}

// relationsFor finds relations that a party may see: an operator those published, while
// none of their data sets is withheld and all still name each other. Those that are not
// there and those that are not its look the same. Call it in the sequencer.
func (d *Domain) relationsFor(party, name string) (state.Relations, error) {
	var r state.Relations
	ok := false
	list, byDatasets := strings.CutPrefix(name, "datasets/")
	datasets := slices.Sorted(slices.Values(strings.Split(list, "+")))
	if byDatasets {
		r, ok = d.publishedOver(datasets)
	} else if r, ok = d.state.Relations(strings.TrimPrefix(name, "relations/")); ok {
		datasets = r.Request.Spec.Datasets()
	} else {
		datasets = nil
	}
	if len(datasets) == 0 {
		datasets = []string{""}
	}
	b := d.state.Book()
	if x := mayReadRelations(b, party, datasets, false, d.instant()); x != nil {
		if !byDatasets && x.Code != "PARTY_UNKNOWN" && x.Code != "PARTY_WITHDRAWN" && x.Code != "RECIPIENT_ABROAD" {
			return r, unknownRelations()
		}
		return r, refusal(*x)
	}
	who, _ := b.Party(party)
	if who.Role == policies.RoleOperator {
		ok = ok && r.Phase == state.PhaseReleased
		if ok {
			if x := d.relationsWithheld(r); x != nil {
				return r, refusal(*x)
			}
		}
	}
	switch {
	case ok:
		return r, nil
	case byDatasets:
		return r, refusal(noRelations())
	}
	return r, unknownRelations()
}

// relationsWithheld says why relations are not handed to operators any more. Call it in
// the sequencer.
func (d *Domain) relationsWithheld(r state.Relations) *policies.Reason {
	b := d.state.Book()
	for i, id := range r.Request.Spec.Datasets() {
		t, _ := d.state.Twin(r.Reserved.Tables[i].Twin)
		if x := b.TwinWithheld(id, t.Columns, d.instant()); x != nil {
			return x
		}
	}
	return b.Unrelated(r.Request.Spec.Datasets())
}

// waitOfRelations is the strictest of what the twins wait for. Call it in the sequencer.
func (d *Domain) waitOfRelations(r state.Relations) string {
	out := policies.WaitDurable
	for _, table := range r.Reserved.Tables {
		t, _ := d.state.Twin(table.Twin)
		if w := d.waitOfTwin(t); w == policies.WaitWitnessed || w == policies.WaitPublished && out == policies.WaitDurable {
			out = w
		}
	}
	return out
}

// settledRelations is relationsFor once the ledger is as far as the data's level asks.
func (d *Domain) settledRelations(ctx context.Context, party, name string) (r state.Relations, err error) {
	if len(name) > maxRelationsName || strings.Count(name, "+") > 7 {
		return r, unknownRelations() // before it takes anybody's turn
	}
	rule := policies.WaitPublished
	if serr := d.settled(ctx, func() {
		if r, err = d.relationsFor(party, name); err == nil {
			rule = d.waitOfRelations(r)
		}
	}); serr != nil {
		return r, serr
	}
	if err != nil || r.Phase != state.PhaseReleased {
		return r, err
	}
	return r, d.settledBy(ctx, rule, r.FinishSeq)
}

// ListRelations implements sandgatev1.RelationsServiceServer.
func (s *relationsService) ListRelations(ctx context.Context, req *sandgatev1.ListRelationsRequest) (*sandgatev1.ListRelationsResponse, error) {
	d, party := s.d, caller(ctx)
	var all []state.Relations
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
		for _, id := range slices.Backward(d.state.AllRelations()) {
			r, ferr := d.relationsFor(party, "relations/"+id)
			if ferr != nil {
				continue
			}
			if r.Phase == state.PhaseReleased && !covered(d.waitOfRelations(r), r.FinishSeq) {
				if who.Role == policies.RoleOperator {
					continue
				}
				r.Phase, r.Published = state.PhaseReserved, nil
			}
			all = append(all, r)
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
	out := &sandgatev1.ListRelationsResponse{NextPageToken: next}
	for _, r := range page {
		out.Relations = append(out.Relations, d.relationsOf(r))
	}
	return out, nil
}

// DownloadRelations implements sandgatev1.RelationsServiceServer.
func (s *relationsService) DownloadRelations(ctx context.Context, req *sandgatev1.DownloadRelationsRequest) (*sandgatev1.RelationsFile, error) {
	d := s.d
	r, err := d.settledRelations(ctx, caller(ctx), req.GetName())
	if err != nil {
		return nil, err
	}
	id := r.Request.Relations
	if r.Phase != state.PhaseReleased {
		return nil, refusal(policies.Reason{Code: "RELATIONS_NONE", Rule: "relations/" + id, SetBy: "sandgate", ZH: "跨表关系尚未学成，或已中止", EN: "the relations are not learned yet, or ended without any",
			HintZH: "用 sandgate twin show 查看", HintEN: "see sandgate twin show"})
	}
	var refused, stale *policies.Reason
	c := certificate.Relations{V: certificate.Version, Relations: id, Department: r.Department, Spec: r.Request.Spec, Tables: r.Reserved.Tables, PriceNanoRho: int64(r.Reserved.Price),
		Outcome: r.Published.Certificate, Seq: r.FinishSeq, At: r.FinishAt}
	d.log.View(func() {
		c.Origin, stale = d.state.Genesis().Origin, d.state.StaleRelations(id)
		refused = mayReadRelations(d.state.Book(), caller(ctx), r.Request.Spec.Datasets(), true, d.instant())
	})
	if refused != nil {
		return nil, refusal(*refused)
	}
	out := &sandgatev1.RelationsFile{Name: "relations/" + id}
	if out.Document, err = d.relationsDocument(r); err != nil {
		return nil, err
	}
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
	if out.Envelope, err = certificate.Sign(certificate.RelationsPayloadType, payload, key); err != nil {
		return nil, err
	}
	out.Key = base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	receipt, err := d.log.Receipt(r.FinishSeq)
	if err != nil {
		return nil, err
	}
	out.Receipt = receiptOf(receipt)
	return out, nil
}

// relationsOf renders what the ledger says of relations.
func (d *Domain) relationsOf(r state.Relations) *sandgatev1.Relations {
	id := r.Request.Relations
	out := &sandgatev1.Relations{
		Name: "relations/" + id, Department: r.Department, Tables: d.tablesOf(r.Request.Spec, r.Reserved.Tables), PriceNanoRho: int64(r.Reserved.Price), CreateTime: timestamppb.New(time.UnixMilli(r.At)), Seq: r.Seq, Passes: 2,
		State: map[state.Phase]sandgatev1.Twin_State{state.PhaseReserved: sandgatev1.Twin_STATE_RUNNING, state.PhaseReleased: sandgatev1.Twin_STATE_PUBLISHED, state.PhaseFailed: sandgatev1.Twin_STATE_FAILED}[r.Phase],
	}
	switch r.Phase {
	case state.PhaseReserved:
		if _, waits := d.queued(relationsRun(id)); waits {
			out.State = sandgatev1.Twin_STATE_QUEUED
		}
		d.mu.Lock()
		out.PassesDone = int32(d.progress[id].Done)
		d.mu.Unlock()
	case state.PhaseReleased:
		var stale *policies.Reason
		d.log.View(func() { stale = d.state.StaleRelations(id) })
		if stale != nil {
			out.Stale = reasonsOf([]policies.Reason{*stale})[0]
		}
		c := r.Published.Certificate
		out.Units, out.DocumentDigest = c.Units, c.Document
		out.Quality = distancesOf(entry.TwinFigures{TwoWay: c.Quality})[2:]
		for _, q := range out.Quality {
			q.Tables = "across"
		}
	case state.PhaseFailed:
		out.Reasons = reasonsOf([]policies.Reason{relationsReason(r)})
	}
	return out
}

// relationsReason is why relations ended without being published.
func relationsReason(r state.Relations) policies.Reason {
	f := r.Failed
	x := policies.Reason{Code: f.Code, Rule: "execution", SetBy: "sandgate", HintZH: "费用不退还；可用新的 request_id 重新发布", HintEN: "the price stays debited; publish anew under another request_id"}
	switch {
	case f.Code == twin.CodeTooFewUnits:
		x.ZH, x.EN = "按加噪的计数，单元过少，学不到任何东西", "by the noisy count there are too few units: nothing can be learned"
	case f.Code == twin.CodeStale:
		x.ZH, x.EN = "学习期间目录已改变", "a catalogue changed meanwhile"
	case f.Code == state.SnapshotGone:
		x.ZH, x.EN = "学习期间数据快照已更新", "a snapshot was replaced meanwhile"
	case f.Rule != "":
		x.Rule, x.SetBy = f.Rule, f.By
		x.ZH, x.EN = "跨表关系已依 "+f.Rule+" 停止，没有发布", "the relations were stopped by "+f.Rule+"; nothing was published"
	case modelEnds[f.Code][0] != "":
		x.ZH, x.EN = modelEnds[f.Code][0], modelEnds[f.Code][1]
	default:
		x.Code, x.ZH, x.EN = "EXECUTION_FAILED", "跨表关系未能学成", "the relations could not be learned"
	}
	return x
}
