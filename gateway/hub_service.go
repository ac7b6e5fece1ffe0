package gateway

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/federate"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

type roundService struct {
	sandgatev1.UnimplementedRoundServiceServer
	d *Domain
}

func roundIDOf(name string) string {
	return strings.TrimSuffix(strings.TrimPrefix(name, "rounds/"), "/release")
}

func (s *roundService) ProposeRound(ctx context.Context, req *sandgatev1.ProposeRoundRequest) (*sandgatev1.Round, error) {
	for _, id := range append([]string{req.GetLicence(), req.GetPurpose(), req.GetRegion(), req.GetPeriod(), req.GetScheme()}, req.GetContributors()...) {
		if len(id) > 64 {
			return nil, invalid("ID_TOO_LONG", "编号过长", "an id is too long")
		}
	}
	switch {
	case req.GetRegion() == "":
		return nil, invalid("FEDERATION_MISSING", "缺少跨域协议 region", "region, the agreement, is missing")
	case req.GetLicence() == "":
		return nil, invalid("LICENCE_MISSING", "缺少授权编号 licence", "licence is missing")
	case req.GetPurpose() == "":
		return nil, invalid("PURPOSE_MISSING", "缺少用途 purpose", "purpose is missing")
	case req.GetPeriod() == "":
		return nil, invalid("ROUND_PERIOD", "缺少期次 period", "period is missing")
	case req.GetSql() == "":
		return nil, invalid("SQL_MISSING", "缺少查询语句 sql", "sql is missing")
	case req.GetPriceNanoRho() < 0:
		return nil, invalid("PRICE_NEGATIVE", "价格不能为负", "the price must not be negative")
	case len(req.GetContributors()) > federate.MaxContributors:
		return nil, invalid("ROUND_PARTY", "参与方过多", "too many domains")
	}
	id, err := s.d.ProposeRound(ctx, caller(ctx), req.GetRequestId(), RoundQuery{
		Region: req.GetRegion(), Licence: req.GetLicence(), Purpose: req.GetPurpose(), Period: req.GetPeriod(), SQL: req.GetSql(), Price: budget.Nano(req.GetPriceNanoRho()),
		Scheme: req.GetScheme(), Contributors: req.GetContributors(), Seconds: int(req.GetSeconds()), Signed: req.GetSignedRequest(), Salt: req.GetSalt(),
	})
	if err != nil {
		return nil, err
	}
	return s.get(ctx, id)
}

func (s *roundService) GetRound(ctx context.Context, req *sandgatev1.GetRoundRequest) (*sandgatev1.Round, error) {
	return s.get(ctx, roundIDOf(req.GetName()))
}

func (s *roundService) get(ctx context.Context, id string) (*sandgatev1.Round, error) {
	if err := s.d.settled(ctx, func() {}); err != nil {
		return nil, err
	}
	r, err := s.d.roundFor(caller(ctx), id)
	if err != nil {
		return nil, err
	}
	return s.d.roundOf(r), nil
}

func (s *roundService) ListRounds(ctx context.Context, req *sandgatev1.ListRoundsRequest) (*sandgatev1.ListRoundsResponse, error) {
	d, party := s.d, caller(ctx)
	var all []state.HubRound
	var err error
	if serr := d.settled(ctx, func() {
		if x := d.state.Book().Authorize(party, policies.ActReadRound, policies.Resource{Operator: party}); x != nil {
			err = refusal(*x)
			return
		}
		for _, id := range slices.Backward(d.state.HubRounds()) {
			if r, rerr := d.roundInView(party, id); rerr == nil {
				all = append(all, r)
			}
		}
	}); serr != nil {
		return nil, serr
	}
	if err != nil {
		return nil, err
	}
	page, next, err := pageOf(all, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	out := &sandgatev1.ListRoundsResponse{NextPageToken: next}
	for _, r := range page {
		out.Rounds = append(out.Rounds, d.roundOf(r))
	}
	return out, nil
}

func (s *roundService) CancelRound(ctx context.Context, req *sandgatev1.CancelRoundRequest) (*sandgatev1.Round, error) {
	id := roundIDOf(req.GetName())
	if err := s.d.cancelRound(ctx, caller(ctx), id); err != nil {
		return nil, err
	}
	return s.get(ctx, id)
}

func (s *roundService) GetRoundRelease(ctx context.Context, req *sandgatev1.GetRoundReleaseRequest) (*sandgatev1.RoundRelease, error) {
	d, id := s.d, roundIDOf(req.GetName())
	if err := d.settled(ctx, func() {}); err != nil {
		return nil, err
	}
	r, err := d.roundFor(caller(ctx), id)
	if err != nil {
		return nil, err
	}
	if err := d.Authorize(caller(ctx), policies.ActFetchRound, policies.Resource{Operator: r.Operator}); err != nil {
		return nil, err
	}
	if r.Phase != state.PhaseReleased {
		return nil, &Refusal{Reasons: roundReasons(r)}
	}
	if err := d.wait(ctx, *r.Proposed.Request.Core, r.FinishSeq); err != nil {
		return nil, err
	}
	a, text, err := d.roundAnswer(id, r)
	if err != nil {
		return nil, err
	}
	out := &sandgatev1.RoundRelease{Release: releaseOf(a), Round: d.roundOf(r), Delivery: &sandgatev1.SignedText{Text: text.Text, Sig: text.Sig}}
	out.Release.Name = "rounds/" + id + "/release"
	note := a.Release.OverlapNote()
	out.OverlapNote, out.OverlapNoteEn = note.ZH, note.EN
	return out, nil
}

func (s *roundService) GetHub(ctx context.Context, _ *sandgatev1.GetHubRequest) (*sandgatev1.Hub, error) {
	if err := s.d.Authorize(caller(ctx), policies.ActReadRound, policies.Resource{Operator: caller(ctx)}); err != nil {
		return nil, err
	}
	out := &sandgatev1.Hub{Key: s.d.hubPublicKey()}
	s.d.log.View(func() { out.Regions = s.d.state.Book().Federations(); out.Origin = s.d.state.Genesis().Origin })
	return out, nil
}

// roundAnswer reads the stored answer of a round and holds it against the ledger.
func (d *Domain) roundAnswer(id string, r state.HubRound) (*Answer, delivered, error) {
	a, text, err := d.readRoundAnswer(id, r)
	if err != nil {
		d.opt.Logger.Error("the stored answer of a round is missing or damaged", "round", id)
		return nil, delivered{}, refusal(damaged)
	}
	a.Receipt, err = d.log.Receipt(r.FinishSeq)
	return a, text, err
}

func (d *Domain) readRoundAnswer(id string, r state.HubRound) (*Answer, delivered, error) {
	var text delivered
	m, err := federate.DecodeMessage(r.Released.Result)
	if err != nil || m.Result == nil {
		return nil, text, errors.New("the ledger holds no result")
	}
	file, err := os.ReadFile(d.releasePath(m.Result.Release))
	if err != nil {
		return nil, text, fmt.Errorf("failed to read the answer: %w", err)
	}
	if err := json.Unmarshal(file, &text); err != nil {
		return nil, text, fmt.Errorf("failed to read the answer: %w", err)
	}
	dl, err := federate.DecodeDelivery(text.Text)
	if err != nil || federate.DeliveryDigest(text.Text) != m.Result.Release {
		return nil, text, errors.New("the answer is not the one that the ledger commits to")
	}
	rel, err := loadDelivery(dl)
	if err != nil {
		return nil, text, err
	}
	if digest := rel.Digest(); hex.EncodeToString(digest[:]) != r.Released.Digest {
		return nil, text, errors.New("the release is not the one that the ledger commits to")
	}
	var post algebra.Post // which the regulator signed with the answer
	if err := json.Unmarshal(dl.Post, &post); err != nil {
		return nil, text, fmt.Errorf("failed to read post-processing: %w", err)
	}
	if rel, err = rel.Apply(post); err != nil {
		return nil, text, err
	}
	return &Answer{Job: id, Release: rel, Price: r.Proposed.Price, Digest: r.Released.Digest}, text, nil
}

// roundOf renders what ledger and hub say of a round. It must not be called in View: the
// hub, while it waits for the ledger, holds its own lock.
func (d *Domain) roundOf(r state.HubRound) *sandgatev1.Round {
	p := r.Proposed
	out := &sandgatev1.Round{
		Name: "rounds/" + p.Request.Round, Operator: r.Operator, Licence: p.Request.Licence, Purpose: p.Request.Purpose, Region: p.Request.Region,
		Dataset: p.Request.Core.Datasets()[0], Period: p.Request.Period, Scheme: p.Scheme, Contributors: p.Contributors, PriceNanoRho: int64(p.Price), Session: p.Session,
		CreateTime: timestamppb.New(time.UnixMilli(r.At)), Deadline: timestamppb.New(time.Unix(p.Deadline, 0)), Seq: r.Seq, Overlap: int32(r.Overlap),
		State: map[state.Phase]sandgatev1.Round_State{
			state.PhaseReserved: sandgatev1.Round_STATE_RUNNING, state.PhaseReleased: sandgatev1.Round_STATE_RELEASED, state.PhaseFailed: sandgatev1.Round_STATE_FAILED,
		}[r.Phase],
	}
	switch r.Phase {
	case state.PhaseReserved:
		if st, err := d.aggregator.hub.State(p.Session); err == nil {
			out.Phase, out.Missing = string(st.Phase), st.Missing
		}
	case state.PhaseFailed:
		out.Reasons = reasonsOf(roundReasons(r))
	}
	return out
}

// roundReasons is why a round has no answer.
func roundReasons(r state.HubRound) []policies.Reason {
	f := r.Failed
	again := policies.Reason{HintZH: "请用新的 request_id 另起一轮；各域已扣的预算不退还", HintEN: "propose another round under another request_id; what the domains have charged stays charged"}
	switch {
	case f == nil:
		return []policies.Reason{{Code: "ROUND_RUNNING", Rule: "federation", SetBy: "sandgate", ZH: "轮次进行中，尚无结果", EN: "the round runs and has no answer yet",
			HintZH: "用 sandgate round show 查看进度", HintEN: "see its progress with sandgate round show"}}
	case f.Code == state.Cancelled:
		again.Code, again.Rule, again.SetBy, again.ZH, again.EN = f.Code, "request", f.By, "轮次已由“"+f.By+"”取消", "the round was cancelled by "+f.By
		return []policies.Reason{again}
	case f.Reason != nil:
		x := *f.Reason
		x.SetBy = f.Party
		if x.HintZH == "" && x.HintEN == "" {
			x.HintZH, x.HintEN = again.HintZH, again.HintEN
		}
		return []policies.Reason{x}
	}
	again.Code, again.Rule, again.SetBy, again.ZH, again.EN = f.Code, "federation", f.Party, "轮次未能完成", "the round could not be completed"
	return []policies.Reason{again}
}
