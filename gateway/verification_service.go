package gateway

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

type verificationService struct {
	sandgatev1.UnimplementedVerificationServiceServer
	d *Domain
}

// maxSubjectID and maxClaimText bound what a caller sends; both are far beyond any
// identifier or claim that is accepted.
const (
	maxSubjectID = 256
	maxClaimText = 1024
)

func (s *verificationService) Verify(ctx context.Context, req *sandgatev1.VerifyRequest) (*sandgatev1.Verification, error) {
	switch {
	case req.GetLicence() == "":
		return nil, invalid("LICENCE_MISSING", "缺少授权编号 licence", "licence is missing")
	case req.GetPurpose() == "":
		return nil, invalid("PURPOSE_MISSING", "缺少用途 purpose", "purpose is missing")
	case req.GetProduct() == "":
		return nil, invalid("PRODUCT_MISSING", "缺少核验产品 product", "product is missing")
	case len(req.GetLicence()) > 64 || len(req.GetPurpose()) > 64 || len(req.GetProduct()) > 64:
		return nil, invalid("ID_TOO_LONG", "编号过长", "an id is too long")
	case req.GetSubjectId() == "" || len(req.GetSubjectId()) > maxSubjectID:
		return nil, invalid("SUBJECT_ID", "标识的格式不对", "the identifier is malformed")
	case len(req.GetClaim()) > maxClaimText:
		return nil, invalid("CLAIM_FORM", "申报值过长", "the claim is too long")
	}
	q := Question{
		Licence: req.GetLicence(), Purpose: req.GetPurpose(), Product: req.GetProduct(), Subject: req.GetSubjectId(), Claim: req.GetClaim(),
		Signed: req.GetSignedRequest(), Salt: req.GetSalt(),
	}
	if req.GetTwin() != nil {
		return s.rehearse(ctx, req, q)
	}
	id, err := s.d.Verify(ctx, caller(ctx), req.GetRequestId(), q)
	if err != nil {
		return nil, err
	}
	out, err := s.get(ctx, id)
	if err != nil {
		return nil, err
	}
	// To the caller an end without an answer is an error, as of a job.
	if out.GetState() != sandgatev1.Verification_STATE_ANSWERED {
		return nil, &Refusal{Reasons: s.d.endOf(id)}
	}
	return out, nil
}

func (s *verificationService) GetVerification(ctx context.Context, req *sandgatev1.GetVerificationRequest) (*sandgatev1.Verification, error) {
	return s.get(ctx, strings.TrimPrefix(req.GetName(), "verifications/"))
}

// get shows one to who asked it and to the regulator, once the ledger is as far as
// the data's level asks.
func (s *verificationService) get(ctx context.Context, id string) (*sandgatev1.Verification, error) {
	d, party := s.d, caller(ctx)
	var v state.Verification
	var out *sandgatev1.Verification
	var rule string
	var err error
	if serr := d.settled(ctx, func() {
		var ok bool
		v, ok = d.state.Verification(id)
		x := d.state.Book().Authorize(party, policies.ActReadVerification, policies.Resource{Operator: v.Operator})
		// One that is not there and one that is somebody else's look the same.
		if x != nil || !ok {
			err = invalid("NOT_FOUND", "没有这次核验", "there is no such verification")
			return
		}
		rule = d.state.Book().WaitOfVerification(v.Request.Product)
		out, err = d.verificationOf(party, v)
	}); serr != nil {
		return nil, serr
	}
	if err != nil || v.Phase != state.PhaseReleased {
		return out, err
	}
	if err := d.settledBy(ctx, rule, v.FinishSeq); err != nil {
		return nil, err
	}
	receipt, err := d.log.Receipt(v.FinishSeq)
	if err != nil {
		return nil, err
	}
	out.Receipt = receiptOf(receipt)
	if out.Insight != nil {
		confirmed := out.GetAnswer() == sandgatev1.Verification_ANSWER_CONFIRMED
		out.Insight.Salt = d.answerSalt(id, v.Answered.Answer, confirmed)
	}
	return out, nil
}

func (s *verificationService) ListVerifications(ctx context.Context, req *sandgatev1.ListVerificationsRequest) (*sandgatev1.ListVerificationsResponse, error) {
	d, party := s.d, caller(ctx)
	if err := d.Authorize(party, policies.ActReadVerification, policies.Resource{Operator: party}); err != nil {
		return nil, err
	}
	_, published := d.log.Published()
	_, witnessed := d.log.Witnessed()
	contested := d.log.Disputed() != nil
	covered := map[string]uint64{policies.WaitDurable: math.MaxUint64, policies.WaitPublished: published, policies.WaitWitnessed: witnessed}
	var all []*sandgatev1.Verification
	var probes []*sandgatev1.VerificationProbe
	var err error
	if serr := d.settled(ctx, func() {
		regulator := d.isRegulator(party)
		for _, id := range slices.Backward(d.state.Verifications()) {
			v, _ := d.state.Verification(id)
			if !regulator && v.Operator != party {
				continue
			}
			// An answer that waits for publication or witnesses is not told by the list,
			// and none of a ledger that is disputed.
			if v.Phase == state.PhaseReleased && (contested || v.FinishSeq >= covered[d.state.Book().WaitOfVerification(v.Request.Product)]) {
				v.Answered = nil
			}
			one, verr := d.verificationOf(party, v)
			if verr != nil {
				err = verr
				return
			}
			all = append(all, one)
		}
		if regulator && req.GetPageToken() == "" {
			for _, p := range d.state.Probes(d.instant()) {
				probes = append(probes, &sandgatev1.VerificationProbe{Licence: p.Licence, Pattern: string(p.Pattern), Time: timestamppb.New(p.At)})
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
	return &sandgatev1.ListVerificationsResponse{Verifications: page, NextPageToken: next, Probes: probes}, nil
}

// isRegulator says whether a party is one. Call it in the sequencer.
func (d *Domain) isRegulator(party string) bool {
	p, ok := d.state.Book().Party(party)
	return p.Role == policies.RoleRegulator || !ok && party == d.state.Book().Root()
}

// verificationOf is the only place where an answer becomes a word on the wire. Call
// it in the sequencer.
func (d *Domain) verificationOf(party string, v state.Verification) (*sandgatev1.Verification, error) {
	out := &sandgatev1.Verification{
		Name: "verifications/" + v.Request.Verification, Operator: v.Operator, Licence: v.Request.Licence, Purpose: v.Request.Purpose, Product: v.Request.Product,
		Reasons: reasonsOf(verificationReasons(v)), CreateTime: timestamppb.New(time.UnixMilli(v.At)), Seq: v.Seq,
		State: map[state.Phase]sandgatev1.Verification_State{
			state.PhaseRefused: sandgatev1.Verification_STATE_REFUSED, state.PhaseReserved: sandgatev1.Verification_STATE_RUNNING,
			state.PhaseReleased: sandgatev1.Verification_STATE_ANSWERED, state.PhaseFailed: sandgatev1.Verification_STATE_FAILED,
		}[v.Phase],
	}
	if v.Reserved != nil {
		out.Repeat = v.Reserved.Repeat
	}
	if v.Answered != nil {
		confirmed, ok := d.answerOf(v.Request.Verification, v.Answered.Answer)
		if !ok {
			return nil, refusal(unreadable)
		}
		out.Answer = sandgatev1.Verification_ANSWER_NOT_CONFIRMED
		if confirmed {
			out.Answer = sandgatev1.Verification_ANSWER_CONFIRMED
		}
	}
	if !d.isRegulator(party) {
		return out, nil
	}
	out.Insight = &sandgatev1.VerificationInsight{Subject: v.Request.Subject, Question: v.Request.Question, ProductVersion: v.Request.Version}
	if v.Reserved != nil {
		out.Insight.Snapshot, out.Insight.Ground = v.Reserved.Snapshot, string(v.Reserved.Ground)
	}
	if v.Answered != nil {
		out.Insight.Ground, out.Insight.Commitment = string(v.Answered.Ground), v.Answered.Answer
	}
	return out, nil
}

// endOf is why a verification has no answer.
func (d *Domain) endOf(id string) (out []policies.Reason) {
	d.log.View(func() {
		if v, ok := d.state.Verification(id); ok {
			out = verificationReasons(v)
		}
	})
	if len(out) == 0 {
		out = []policies.Reason{{Code: "OUTCOME_UNKNOWN", Rule: "ledger", ZH: "核验未完成", EN: "the verification has not finished",
			HintZH: "请用同一 request_id 重试，不会再次计数", HintEN: "retry with the same request_id; nothing is counted again"}}
	}
	return out
}

func verificationReasons(v state.Verification) []policies.Reason {
	f := v.Failed
	switch {
	case f == nil:
		return v.Reasons
	case f.Code == state.SnapshotGone:
		return []policies.Reason{{Code: f.Code, Rule: "snapshot", ZH: "核验期间数据快照已更新，请用新的 request_id 重新提交", EN: "the snapshot was replaced meanwhile; ask anew under another request_id"}}
	case f.Rule != "":
		return []policies.Reason{{Code: f.Code, Rule: f.Rule, SetBy: f.By, ZH: "核验已依 " + f.Rule + " 停止，没有答复", EN: "the verification was stopped by " + f.Rule + "; there is no answer",
			HintZH: "恢复后请用新的 request_id 重新提交", HintEN: "once it is lifted, ask anew under another request_id"}}
	}
	return []policies.Reason{{Code: f.Code, Rule: "execution", SetBy: "sandgate", ZH: "核验未能完成，次数不退还", EN: "the verification could not be completed; it stays counted"}}
}
