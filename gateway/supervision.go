package gateway

import (
	"context"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sandgate/sandgate/gateway/alert"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// alertPace is how often alerts are derived when the ledger grew.
const alertPace = 2 * time.Second

func (d *Domain) openAlerts() (err error) {
	if d.opt.Alerts != nil {
		d.alerts, err = alert.Open(*d.opt.Alerts, filepath.Join(d.home.Dir, "alerts"), d.home.Config.Origin, d.opt.Logger)
	}
	return err
}

// warn derives alerts and hands them to their receivers, which it never waits for.
func (d *Domain) warn() {
	if d.alerts == nil {
		return
	}
	d.jobs.Go(func() { d.alerts.Run(d.ctx) })
	t := time.NewTicker(min(alertPace, d.opt.Heartbeat))
	defer t.Stop()
	var r rounds
	var lag publication
	for {
		_, covered := d.log.Published()
		now := d.opt.Now()
		since := lag.look(covered, d.log.Size(), now)
		// Time alone lets some alerts arise, and a lag grows while nothing else does.
		if r.due(d.log.Size(), now, d.opt.Heartbeat) || !since.IsZero() {
			var list []state.Alert
			o := state.Observed{Published: covered, Since: since, Silent: d.silentWitnesses(), Disputed: d.contested()}
			d.log.View(func() { list = d.warnings(o) })
			d.alerts.Offer(list)
		}
		select {
		case <-d.ctx.Done():
			return
		case <-t.C:
		}
	}
}

// publication watches whether checkpoints keep up with the ledger.
type publication struct {
	covered uint64
	since   time.Time
}

// look returns since when the same checkpoint has stood while entries wait for the
// next; zero while checkpoints keep up.
func (p *publication) look(covered, size uint64, now time.Time) time.Time {
	switch {
	case covered >= size:
		p.since = time.Time{}
	case p.since.IsZero() || covered != p.covered:
		p.since = now
	}
	p.covered = covered
	return p.since
}

// warnings are the alerts now. Call it in View.
func (d *Domain) warnings(o state.Observed) []state.Alert {
	at := d.instant()
	rules := state.DefaultAlertRules
	if d.opt.Alerts != nil {
		rules = d.opt.Alerts.Rules
	}
	return d.state.Alerts(rules, o, at)
}

type supervisionService struct {
	sandgatev1.UnimplementedSupervisionServiceServer
	d *Domain
}

func (s *supervisionService) ListAlerts(ctx context.Context, req *sandgatev1.ListAlertsRequest) (*sandgatev1.ListAlertsResponse, error) {
	if err := s.d.Authorize(caller(ctx), policies.ActReadAlerts, policies.Resource{}); err != nil {
		return nil, err
	}
	var all []*sandgatev1.Alert
	o := state.Observed{Silent: s.d.silentWitnesses(), Disputed: s.d.contested()}
	s.d.log.View(func() {
		for _, x := range s.d.warnings(o) {
			all = append(all, &sandgatev1.Alert{Id: x.ID, Kind: string(x.Kind), Severity: string(x.Severity), About: x.About, Time: timestamppb.New(x.At), TextZh: x.ZH, TextEn: x.EN})
		}
	})
	page, next, err := pageOf(all, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &sandgatev1.ListAlertsResponse{Alerts: page, NextPageToken: next}, nil
}

func (s *supervisionService) ListStandingOrders(ctx context.Context, req *sandgatev1.ListStandingOrdersRequest) (*sandgatev1.ListStandingOrdersResponse, error) {
	party := caller(ctx)
	if err := s.d.Authorize(party, policies.ActReadLicence, policies.Resource{}); err != nil {
		return nil, err
	}
	var all []*sandgatev1.StandingOrder
	s.d.log.View(func() {
		b, at := s.d.state.Book(), s.d.instant()
		for _, r := range b.StandingOrders() {
			if x := standingOf(b, party, r, at); x != nil {
				all = append(all, x)
			}
		}
	})
	page, next, err := pageOf(all, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &sandgatev1.ListStandingOrdersResponse{StandingOrders: page, NextPageToken: next}, nil
}

// standingOf is a standing order as a party may see it; nil when it may not.
func standingOf(b *policies.Book, party string, r policies.StandingRecord, at time.Time) *sandgatev1.StandingOrder {
	v, words, holds := r.Standing, r.Standing.Condition.Words(), b.StandingHolds(r, at)
	p, _ := b.Party(party)
	out := &sandgatev1.StandingOrder{Name: "standingOrders/" + v.ID, By: v.By, Condition: string(v.Condition.Kind), ConditionZh: words.ZH, ConditionEn: words.EN,
		Measure: string(v.Measure.Stage), Days: int32(v.Measure.Days), CreateTime: timestamppb.New(r.At), InForce: holds}
	for _, l := range b.Covered(r, at) {
		if visible(b, party, l) {
			out.Licences = append(out.Licences, l.ID)
		}
	}
	for _, o := range b.Orders() {
		if o.Standing == v.ID && concerns(b, party, o.Order) {
			out.Orders = append(out.Orders, "orders/"+o.Order.ID)
		}
	}
	if end := r.Withdrawn; !end.IsZero() {
		out.EndTime = timestamppb.New(end)
	} else if !v.Until.IsZero() {
		out.EndTime = timestamppb.New(v.Until)
	}
	if p.Role == policies.RoleRegulator || v.By == party || holds && len(out.Licences) > 0 {
		return out
	}
	return nil
}
