package gateway

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sandgate/sandgate/compute/protect"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger/entry"
)

// GetDelivery puts a release together with the papers that it is delivered with
// (R14): where the data come from and when they were acquired, how the figures
// were made, under which licence, and the receipt.
func (s *productService) GetDelivery(ctx context.Context, req *sandgatev1.GetDeliveryRequest) (*sandgatev1.Delivery, error) {
	j, err := s.d.Job(caller(ctx), jobID(req.GetName()))
	if err != nil {
		return nil, err
	}
	a, err := s.d.Answer(ctx, caller(ctx), j.Request.Job)
	if err != nil {
		return nil, err
	}
	out := &sandgatev1.Delivery{Job: s.d.jobOf(j), Release: releaseOf(a), ProductVersion: j.Request.Version}
	s.d.log.View(func() {
		b := s.d.state.Book()
		l, _ := b.Licence(j.Request.Licence)
		out.LicenceTitleZh, out.LicenceTitleEn = l.Title.ZH, l.Title.EN
		out.TermsZh, out.TermsEn = l.Security.ZH, l.Security.EN
		if p, ok := b.Product(j.Request.Product); ok {
			now := s.d.instant()
			out.Product = productOf(b, p, b.ReviewsOf(p.ID, now), now)
		}
		// A repeat was computed from what the first answer was.
		first := j
		if j.RepeatOf != "" {
			first, _ = s.d.state.Job(j.RepeatOf)
		}
		if r := first.Reserved; r != nil {
			out.Sources = s.d.sources(r)
			out.MethodZh, out.MethodEn = method(r)
		}
	})
	return out, nil
}

// sources are the data sets of a reserved job. Call it in a view of the state.
func (d *Domain) sources(r *entry.Reserved) []*sandgatev1.DeliverySource {
	var out []*sandgatev1.DeliverySource
	for i, id := range r.Request.Core.Datasets() {
		e, _ := d.state.Book().Dataset(id)
		src := &sandgatev1.DeliverySource{
			Dataset: "datasets/" + id, TitleZh: e.Dataset.Title.ZH, TitleEn: e.Dataset.Title.EN, Department: e.Department,
			Period: e.Dataset.Period, Area: e.Dataset.Area,
		}
		if i < len(r.Snapshots) {
			src.Snapshot = r.Snapshots[i]
			if at, ok := d.state.Acquired(r.Snapshots[i]); ok {
				src.AcquireTime = timestamppb.New(at)
			}
		}
		out = append(out, src)
	}
	return out
}

// method says how a reserved job's figures were made, from what the ledger holds.
func method(r *entry.Reserved) (zh, en []string) {
	if r.Mode == string(protect.ModeExact) {
		return []string{"精确方式：单元数达不到门槛的格及其可推算的格不发布，计数取整，与既往全部发布作差分核查；发布值没有噪声"},
			[]string{"exact mode: cells below the unit threshold, and cells that would give them away, are withheld; counts are rounded; differences against every earlier release were checked; released values carry no noise"}
	}
	return []string{fmt.Sprintf("差分隐私：每个隐私单元的影响有上限，加离散高斯噪声，零集中差分隐私费用 ρ %s；区间为噪声的 95%% 置信区间，不含原始数据自身的误差", r.Price)},
		[]string{fmt.Sprintf("differential privacy: the influence of one privacy unit is bounded and discrete Gaussian noise is added, price in zero-concentrated differential privacy ρ %s; intervals are 95%% confidence intervals of the noise and not of errors in the raw data", r.Price)}
}
