package gateway

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// remind notes, at the heartbeat's pace, what has come near its deadline, past
// it, or before whom it is escalated.
func (d *Domain) remind() {
	t := time.NewTicker(d.opt.Heartbeat)
	defer t.Stop()
	for {
		d.noteDuties()
		select {
		case <-d.ctx.Done():
			return
		case <-t.C:
		}
	}
}

// mostNotes of one round: a clock that jumps must not fill the ledger at once.
const mostNotes = 1000

func (d *Domain) noteDuties() {
	for range mostNotes {
		_, err := d.append(d.ctx, func(e *entry.Entry) error {
			n, err := d.state.NextNote(e.Time())
			if err != nil {
				return err
			}
			e.Kind, e.Actor, e.DutyNoted = entry.KindDutyNoted, "gateway", &n
			return nil
		})
		switch {
		case err == nil:
			continue
		case !errors.Is(err, state.ErrNothingDue) && d.ctx.Err() == nil:
			d.opt.Logger.Error("noting duties failed")
		}
		return
	}
}

type deskService struct {
	sandgatev1.UnimplementedDeskServiceServer
	d *Domain
}

// view runs f in the sequencer's view for a caller who may read the desk.
func (s *deskService) view(ctx context.Context, f func(b *policies.Book, who policies.Party, now []policies.Duty)) error {
	party := caller(ctx)
	if err := s.d.Authorize(party, policies.ActReadDesk, policies.Resource{}); err != nil {
		return err
	}
	s.d.log.View(func() {
		b := s.d.state.Book()
		who, ok := b.Party(party)
		if !ok {
			who = policies.Party{ID: party, Role: policies.RoleRegulator} // Authorize let in none but the root of trust
		}
		f(b, who, s.d.state.Duties(s.d.instant()))
	})
	return nil
}

// seesApplication says whether a party is shown an application: the applicant its
// own, a department what asks for its data, the regulator all.
func seesApplication(b *policies.Book, who policies.Party, c policies.ApplicationCase) bool {
	switch who.Role {
	case policies.RoleRegulator:
		return true
	case policies.RoleDepartment:
		return b.Concerns(c, who.ID)
	}
	return c.Application.Operator == who.ID
}

// seesCase is the same of an objection or correction: who filed it, the
// department that owns the data set, the regulator.
func seesCase(b *policies.Book, who policies.Party, by, dataset string) bool {
	e, _ := b.Dataset(dataset)
	return who.Role == policies.RoleRegulator || by == who.ID || e.Department == who.ID
}

func (s *deskService) applications(ctx context.Context) (out []*sandgatev1.Application, err error) {
	err = s.view(ctx, func(b *policies.Book, who policies.Party, now []policies.Duty) {
		for _, id := range b.Applications() {
			if c, _ := b.ApplicationCase(id); seesApplication(b, who, c) {
				out = append(out, applicationOf(c, now))
			}
		}
	})
	return out, err
}

func (s *deskService) ListApplications(ctx context.Context, req *sandgatev1.ListApplicationsRequest) (*sandgatev1.ListApplicationsResponse, error) {
	all, err := s.applications(ctx)
	if err != nil {
		return nil, err
	}
	page, next, err := pageOf(all, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &sandgatev1.ListApplicationsResponse{Applications: page, NextPageToken: next}, nil
}

func (s *deskService) GetApplication(ctx context.Context, req *sandgatev1.GetApplicationRequest) (*sandgatev1.Application, error) {
	var out *sandgatev1.Application
	err := s.view(ctx, func(b *policies.Book, who policies.Party, now []policies.Duty) {
		c, ok := b.ApplicationCase(strings.TrimPrefix(req.GetName(), "applications/"))
		if ok && seesApplication(b, who, c) {
			out = applicationOf(c, now)
		}
	})
	if err == nil && out == nil {
		// The same words for another's as for none.
		err = invalid("NOT_FOUND", "没有这个申请", "there is no such application")
	}
	return out, err
}

func (s *deskService) ListObjections(ctx context.Context, req *sandgatev1.ListObjectionsRequest) (*sandgatev1.ListObjectionsResponse, error) {
	var all []*sandgatev1.Objection
	err := s.view(ctx, func(b *policies.Book, who policies.Party, now []policies.Duty) {
		for _, id := range b.Objections() {
			c, _ := b.ObjectionCase(id)
			if v := c.Objection; seesCase(b, who, v.By, v.Dataset) {
				all = append(all, &sandgatev1.Objection{Name: "objections/" + id, Party: v.By, Dataset: v.Dataset, Receipt: v.Receipt, State: string(c.State), Outcome: c.Outcome,
					Ground: textOf(v.Ground), Steps: stepsOf(c.Steps), Duties: dutiesOf(now, id, policies.DutyRule, policies.DutyAnswer)})
			}
		}
	})
	if err != nil {
		return nil, err
	}
	page, next, err := pageOf(all, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &sandgatev1.ListObjectionsResponse{Objections: page, NextPageToken: next}, nil
}

func (s *deskService) ListCorrections(ctx context.Context, req *sandgatev1.ListCorrectionsRequest) (*sandgatev1.ListCorrectionsResponse, error) {
	var all []*sandgatev1.Correction
	err := s.view(ctx, func(b *policies.Book, who policies.Party, now []policies.Duty) {
		for _, id := range b.Corrections() {
			c, _ := b.CorrectionCase(id)
			if v := c.Correction; seesCase(b, who, v.By, v.Dataset) {
				all = append(all, &sandgatev1.Correction{Name: "corrections/" + id, Party: v.By, Dataset: v.Dataset, Columns: slices.Clone(v.Columns), State: string(c.State),
					Error: textOf(v.Error), Steps: stepsOf(c.Steps), Duties: dutiesOf(now, id, policies.DutyCorrect, policies.DutySettle)})
			}
		}
	})
	if err != nil {
		return nil, err
	}
	page, next, err := pageOf(all, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &sandgatev1.ListCorrectionsResponse{Corrections: page, NextPageToken: next}, nil
}

func (s *deskService) ListDuties(ctx context.Context, req *sandgatev1.ListDutiesRequest) (*sandgatev1.ListDutiesResponse, error) {
	var all []*sandgatev1.Duty
	err := s.view(ctx, func(_ *policies.Book, who policies.Party, now []policies.Duty) {
		for _, x := range now {
			mine := who.Role == policies.RoleRegulator || x.Owes == who.ID || x.EscalatedTo == who.ID
			if mine && (!req.GetMissed() || x.Phase.Missed()) {
				all = append(all, dutyOf(x))
			}
		}
	})
	if err != nil {
		return nil, err
	}
	page, next, err := pageOf(all, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &sandgatev1.ListDutiesResponse{Duties: page, NextPageToken: next}, nil
}

func applicationOf(c policies.ApplicationCase, now []policies.Duty) *sandgatev1.Application {
	v := c.Application
	granted, until := c.Granted()
	out := &sandgatev1.Application{
		Name: "applications/" + v.ID, Operator: v.Operator, State: string(c.State), Scenario: textOf(v.Scenario), Purposes: slices.Clone(v.Purposes), Scope: scopeOf(v.Scope),
		Method: textOf(v.Method), Security: textOf(v.Security), NotBefore: timestamppb.New(v.NotBefore), NotAfter: timestamppb.New(until), FileTime: timestamppb.New(c.Filed),
		Reviewers: slices.Clone(c.Reviewers), Steps: stepsOf(c.Steps), Licence: c.Licence,
		Duties: dutiesOf(now, v.ID, policies.DutyAccept, policies.DutyComplete, policies.DutyReview, policies.DutyGrant),
	}
	if c.State == policies.AppApproved || c.State == policies.AppGranted {
		out.Granted = scopeOf(granted)
	}
	return out
}

func textOf(t policies.Text) *sandgatev1.DeskText {
	if t == (policies.Text{}) {
		return nil
	}
	return &sandgatev1.DeskText{Zh: t.ZH, En: t.EN}
}

func scopeOf(scope []policies.LicenceObject) (out []*sandgatev1.ScopeItem) {
	for _, o := range scope {
		out = append(out, &sandgatev1.ScopeItem{Dataset: o.Dataset, Columns: slices.Clone(o.Columns)})
	}
	return out
}

func stepsOf(steps []policies.Step) (out []*sandgatev1.DeskStep) {
	for _, s := range steps {
		out = append(out, &sandgatev1.DeskStep{CreateTime: timestamppb.New(s.At), Party: s.By, Officials: slices.Clone(s.Officials), Decision: s.Decision,
			Reason: textOf(s.Reason), Basis: textOf(s.Basis), Answer: textOf(s.Answer)})
	}
	return out
}

// dutiesOf are the duties of these kinds about one document.
func dutiesOf(now []policies.Duty, about string, kinds ...policies.DutyKind) (out []*sandgatev1.Duty) {
	for _, x := range now {
		if x.About == about && slices.Contains(kinds, x.Kind) {
			out = append(out, dutyOf(x))
		}
	}
	return out
}

func dutyOf(x policies.Duty) *sandgatev1.Duty {
	out := &sandgatev1.Duty{Id: x.ID, Kind: string(x.Kind), About: x.About, Owes: x.Owes, Since: timestamppb.New(x.Since), Phase: string(x.Phase), EscalatedTo: x.EscalatedTo, Problem: x.Problem}
	if !x.Due.IsZero() {
		out.DueTime = timestamppb.New(x.Due)
	}
	return out
}
