package gateway

import (
	"context"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
)

func asTwinRun(t *sandgatev1.TwinRun) TwinRun { return TwinRun{Units: t.GetUnits(), Seed: t.GetSeed()} }

// What every synthetic answer says first.
const (
	syntheticZH = "合成数据上的演练：各值不是真实结果，不得作为结果使用；没有扣减，账本中没有"
	syntheticEN = "a rehearsal on synthetic data: the values are no real results and must not be used as such; nothing was charged, nothing is in the ledger"
)

func markOf(m *Mark) *sandgatev1.SyntheticMark {
	if m == nil {
		return nil
	}
	out := &sandgatev1.SyntheticMark{NoticeZh: syntheticZH, NoticeEn: syntheticEN, Seed: m.Seed, PriceNanoRho: int64(m.Price), RepeatOnReal: m.RepeatOnReal, Relations: m.Relations}
	if x := m.Untied; x != nil {
		out.Untied, out.UntiedZh, out.UntiedEn = x.Code, x.ZH, x.EN
	}
	for _, s := range m.Sources {
		out.Sources = append(out.Sources, &sandgatev1.SyntheticSource{Dataset: s.Dataset, Twin: s.Twin, Units: s.Units, Rows: s.Rows, MadeUp: s.MadeUp})
	}
	return out
}

// jobOfRehearsal shows one in the form of a job, marked.
func (r *rehearsal) jobOf() *sandgatev1.Job {
	q := r.p.request
	out := &sandgatev1.Job{Name: "jobs/" + r.id, Operator: r.operator, Licence: q.Licence, Purpose: q.Purpose, Product: q.Product,
		CreateTime: timestamppb.New(r.at), Synthetic: true, State: sandgatev1.Job_STATE_RUNNING}
	switch {
	case !r.ended():
		if t := r.ticket.Load(); t != nil && t.Position() > 0 {
			out.State, out.QueuePosition = sandgatev1.Job_STATE_QUEUED, int32(t.Position())
		}
	case r.failed != nil:
		out.State, out.ErrorCode = sandgatev1.Job_STATE_FAILED, r.failed.Code
	default:
		out.State, out.RepeatOf = sandgatev1.Job_STATE_SUCCEEDED, r.repeatOf
	}
	return out
}

// rehearsalJob is GetJob of one.
func (d *Domain) rehearsalJob(party, id string) (*sandgatev1.Job, error) {
	r := d.rehearsalOf(party, id)
	if r == nil {
		return nil, errNoRehearsal()
	}
	return r.jobOf(), nil
}

// rehearsalOperation is operationOf one.
func (d *Domain) rehearsalOperation(ctx context.Context, id string) (*longrunningpb.Operation, error) {
	party := caller(ctx)
	job, err := d.rehearsalJob(party, id)
	if err != nil {
		return nil, err
	}
	meta, err := anypb.New(job)
	if err != nil {
		return nil, err
	}
	out := &longrunningpb.Operation{Name: "operations/" + id, Metadata: meta}
	if s := job.GetState(); s == sandgatev1.Job_STATE_RUNNING || s == sandgatev1.Job_STATE_QUEUED {
		return out, nil
	}
	a, err := d.RehearsalAnswer(ctx, party, id, false)
	if err != nil {
		st, _ := status.FromError(statusOf(err))
		out.Done, out.Result = true, &longrunningpb.Operation_Error{Error: st.Proto()}
		return out, nil
	}
	return done(out.Name, job, releaseOf(a))
}

// waitRehearsal waits for one, at most until ctx ends.
func (d *Domain) waitRehearsal(ctx context.Context, party, id string) error {
	r := d.rehearsalOf(party, id)
	if r == nil {
		return errNoRehearsal()
	}
	select {
	case <-r.done:
	case <-ctx.Done():
	}
	return nil
}

// rehearse is Verify about a synthetic person.
func (s *verificationService) rehearse(ctx context.Context, req *sandgatev1.VerifyRequest, q Question) (*sandgatev1.Verification, error) {
	confirmed, mark, err := s.d.RehearseVerification(ctx, caller(ctx), req.GetRequestId(), q, asTwinRun(req.GetTwin()))
	if err != nil {
		return nil, err
	}
	out := &sandgatev1.Verification{Name: "verifications/" + rehearsalPrefix + req.GetRequestId(), Operator: caller(ctx), Licence: q.Licence, Purpose: q.Purpose, Product: q.Product,
		State: sandgatev1.Verification_STATE_ANSWERED, Answer: sandgatev1.Verification_ANSWER_NOT_CONFIRMED, CreateTime: timestamppb.New(s.d.opt.Now()), Synthetic: markOf(mark)}
	if confirmed {
		out.Answer = sandgatev1.Verification_ANSWER_CONFIRMED
	}
	return out, nil
}

// rehearsedModelOf is a rehearsal of a model on the wire.
func rehearsedModelOf(m *RehearsedModel) *sandgatev1.ModelRehearsal {
	return &sandgatev1.ModelRehearsal{Product: m.Product, Verdict: verdictOf(m.Verdict), Reasons: reasonsOf(m.Reasons), Figures: m.Figures, File: m.File, Synthetic: markOf(m.Mark)}
}
