package gateway

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sandgate/sandgate/compute/engine/ingest"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

type licenceService struct {
	sandgatev1.UnimplementedLicenceServiceServer
	d *Domain
}

// visible says whether a licence concerns a party.
func visible(b *policies.Book, party string, l policies.Licence) bool {
	p, _ := b.Party(party)
	return p.Role == policies.RoleRegulator || l.Operator == party || p.Role == policies.RoleDepartment && slices.Contains(b.Owners(l), party)
}

// concerns says whether an order is a party's to see: a department sees what bears
// on its data, an operator what bears on its jobs.
func concerns(b *policies.Book, party string, o policies.Order) bool {
	p, _ := b.Party(party)
	if p.Role == policies.RoleRegulator || o.By == party || o.Target.Kind == policies.TargetGateway || o.Target == (policies.Target{Kind: policies.TargetOperator, ID: party}) {
		return true
	}
	switch p.Role {
	case policies.RoleDepartment:
		owners, err := b.Concerned(o.Target)
		return err == nil && slices.Contains(owners, party)
	case policies.RoleOperator:
		for _, id := range b.Licences() {
			l, _ := b.Licence(id)
			if l.Operator != party {
				continue
			}
			if o.Target == (policies.Target{Kind: policies.TargetLicence, ID: id}) ||
				slices.ContainsFunc(l.Resources, func(r policies.LicenceObject) bool {
					return o.Target == policies.Target{Kind: policies.TargetDataset, ID: r.Dataset}
				}) {
				return true
			}
		}
	}
	return false
}

func (s *licenceService) ListLicences(ctx context.Context, req *sandgatev1.ListLicencesRequest) (*sandgatev1.ListLicencesResponse, error) {
	all, err := s.licences(caller(ctx))
	if err != nil {
		return nil, err
	}
	page, next, err := pageOf(all, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &sandgatev1.ListLicencesResponse{Licences: page, NextPageToken: next}, nil
}

func (s *licenceService) GetLicence(ctx context.Context, req *sandgatev1.GetLicenceRequest) (*sandgatev1.Licence, error) {
	// A licence that is not there and one that is not the caller's to see look the same.
	all, err := s.licences(caller(ctx))
	var refused *Refusal
	if err != nil && !errors.As(err, &refused) {
		return nil, err
	}
	name := "licences/" + strings.TrimPrefix(req.GetName(), "licences/")
	for _, l := range all {
		if l.GetName() == name {
			return l, nil
		}
	}
	return nil, invalid("NOT_FOUND", "没有这项授权", "there is no such licence")
}

func (s *licenceService) licences(party string) ([]*sandgatev1.Licence, error) {
	if err := s.d.Authorize(party, policies.ActReadLicence, policies.Resource{}); err != nil {
		return nil, err
	}
	var out []*sandgatev1.Licence
	s.d.log.View(func() {
		b, at := s.d.state.Book(), s.d.instant()
		for _, id := range b.Licences() {
			if l, _ := b.Licence(id); visible(b, party, l) {
				out = append(out, licenceOf(b, l, s.d.state.Quotas(id, at), at))
			}
		}
	})
	return out, nil
}

func licenceOf(b *policies.Book, l policies.Licence, quotas []state.QuotaLine, at time.Time) *sandgatev1.Licence {
	out := &sandgatev1.Licence{
		Name: "licences/" + l.ID, Operator: l.Operator, TitleZh: l.Title.ZH, TitleEn: l.Title.EN, Version: int32(max(l.Version, 1)), Mode: string(l.Mode),
		NotBefore: timestamppb.New(l.NotBefore), NotAfter: timestamppb.New(l.NotAfter), ImplementingBody: l.Body, Renews: l.Renews, State: sandgatev1.Licence_STATE_ACTIVE,
	}
	for _, h := range b.Holds(policies.Target{Kind: policies.TargetLicence, ID: l.ID}) {
		out.HeldBy, out.State = append(out.HeldBy, h.Cause), sandgatev1.Licence_STATE_SUSPENDED
	}
	if x := b.InForce(l.ID, at); x != nil {
		out.State = map[string]sandgatev1.Licence_State{
			"LICENCE_REVOKED": sandgatev1.Licence_STATE_ENDED, "LICENCE_EXPIRED": sandgatev1.Licence_STATE_EXPIRED, "LICENCE_NOT_YET_VALID": sandgatev1.Licence_STATE_PENDING,
		}[x.Code]
	}
	for _, k := range l.Jobs {
		out.Jobs = append(out.Jobs, string(k))
	}
	if len(l.Jobs) == 0 {
		out.Jobs = []string{string(policies.JobQuery)}
	}
	for _, id := range l.Purposes {
		p, _ := b.Purpose(id)
		out.Purposes = append(out.Purposes, &sandgatev1.LicencePurpose{Purpose: id, Fee: string(p.Fee)})
	}
	for _, r := range l.Resources {
		e, _ := b.Dataset(r.Dataset)
		out.Resources = append(out.Resources, &sandgatev1.LicenceResource{Dataset: r.Dataset, Columns: r.Columns, SharedFrom: e.Dataset.SharedFrom})
	}
	for _, q := range quotas {
		line := &sandgatev1.QuotaLine{Kind: string(q.Kind), Limit: q.Limit, Used: q.Used}
		if !q.Renews.IsZero() {
			line.RenewTime = timestamppb.New(q.Renews)
		}
		out.Quotas = append(out.Quotas, line)
	}
	for _, e := range l.Entrusted {
		out.Entrusted = append(out.Entrusted, &sandgatev1.EntrustedParty{Id: e.ID, TitleZh: e.Title.ZH, ReviewedBy: e.ReviewedBy, From: timestamppb.New(e.From), Until: timestamppb.New(e.Until)})
	}
	for _, r := range l.Recipients {
		out.Recipients = append(out.Recipients, r.ID)
	}
	return out
}

func (s *licenceService) ListOrders(ctx context.Context, req *sandgatev1.ListOrdersRequest) (*sandgatev1.ListOrdersResponse, error) {
	if err := s.d.Authorize(caller(ctx), policies.ActReadLicence, policies.Resource{}); err != nil {
		return nil, err
	}
	var all []*sandgatev1.Order
	s.d.log.View(func() {
		b, at := s.d.state.Book(), s.d.instant()
		for _, r := range slices.Backward(b.Orders()) {
			if concerns(b, caller(ctx), r.Order) {
				all = append(all, orderOf(r, at))
			}
		}
	})
	page, next, err := pageOf(all, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &sandgatev1.ListOrdersResponse{Orders: page, NextPageToken: next}, nil
}

func orderOf(r policies.OrderRecord, at time.Time) *sandgatev1.Order {
	o := r.Order
	out := &sandgatev1.Order{
		Name: "orders/" + o.ID, By: o.By, Target: o.Target.String(), Stage: string(o.Stage), CreateTime: timestamppb.New(r.At),
		ReasonZh: o.Reason.ZH, ReasonEn: o.Reason.EN, BasisZh: o.Basis.ZH, BasisEn: o.Basis.EN, Overdue: r.Overdue(at),
	}
	if !o.Due.IsZero() {
		out.DueTime = timestamppb.New(o.Due)
	}
	if r.Closed != "" {
		out.ClosedBy = "orders/" + r.Closed
	}
	return out
}

func (s *licenceService) ListConsents(ctx context.Context, req *sandgatev1.ListConsentsRequest) (*sandgatev1.ListConsentsResponse, error) {
	party := caller(ctx)
	if err := s.d.Authorize(party, policies.ActReadConsent, policies.Resource{}); err != nil {
		return nil, err
	}
	var all []*sandgatev1.Consent
	s.d.log.View(func() {
		b := s.d.state.Book()
		p, _ := b.Party(party)
		for _, r := range b.Consents() {
			c := r.Consent
			if c.Department != party && p.Role != policies.RoleRegulator {
				continue
			}
			out := &sandgatev1.Consent{Name: "consents/" + c.ID, Department: c.Department, Subject: c.Subject, Licence: c.Licence, Operator: c.Operator, Purposes: c.Purposes,
				Datasets: c.Datasets, NotBefore: timestamppb.New(c.NotBefore), NotAfter: timestamppb.New(c.NotAfter), SubjectCount: int32(r.Count(s.d.instant()))}
			if !r.Withdrawn.IsZero() {
				out.WithdrawTime = timestamppb.New(r.Withdrawn)
			}
			all = append(all, out)
		}
	})
	page, next, err := pageOf(all, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &sandgatev1.ListConsentsResponse{Consents: page, NextPageToken: next}, nil
}

func (s *licenceService) ComputeSubject(ctx context.Context, req *sandgatev1.ComputeSubjectRequest) (*sandgatev1.ComputeSubjectResponse, error) {
	var e policies.Entry
	var ok bool
	s.d.log.View(func() { e, ok = s.d.state.Book().Dataset(req.GetDataset()) })
	if err := s.d.Authorize(caller(ctx), policies.ActComputeSubject, policies.Resource{Department: e.Department}); err != nil {
		return nil, err
	}
	if !ok || e.Dataset.Unit == nil || e.Dataset.Unit.Kind != policies.UnitPerson {
		return nil, invalid("SUBJECT_DATASET", "该数据集的隐私单元不是自然人", "the data set's unit is no person")
	}
	if len(req.GetIds()) > 0 {
		return s.d.manySubjects(e.Dataset.Unit.Kind, req)
	}
	key, _ := s.d.subjectKey()
	subject, ok := subjectBy(key, e.Dataset.Unit.Kind, req.GetId())
	if !ok {
		return nil, invalid("SUBJECT_ID", "标识的格式不对", "the identifier is malformed")
	}
	return &sandgatev1.ComputeSubjectResponse{Subject: subject}, nil
}

// subjectBy commits to a data subject: the same person written with 15 or 18 digits
// is one, in every data set. The key is derived apart from that of the unit tokens,
// so that what stands in the ledger tells nothing of what stands in a snapshot; and
// it is a key, because identity numbers are few enough to be tried out.
func subjectBy(key []byte, kind policies.UnitKind, id string) (string, bool) {
	canonical, ok := canonicalUnit(string(kind), id)
	if !ok {
		return "", false
	}
	sum := ingest.CommitSubject(key, string(kind), canonical)
	return hex.EncodeToString(sum[:]), true
}
