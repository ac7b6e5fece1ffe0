package audit

import (
	"fmt"

	"github.com/sandgate/sandgate/ledger/accesslog"
	"github.com/sandgate/sandgate/policies"
)

// checkAccess holds the raw access log against the heads in the ledger: a line that
// was changed or removed below a heartbeat shows, and so do logs that were not kept
// for as long as the law asks (R29, R34).
func (a *auditor) checkAccess(dir string) error {
	r := a.report
	got, err := accesslog.Check(dir, a.heads)
	if err != nil {
		return err
	}
	r.AccessLines, r.AccessVouched = got.Lines, got.Vouched
	if n := got.Lines - got.Vouched; n > 0 {
		r.notice("ACCESS_LOG_TAIL", fmt.Sprintf("访问日志最后 %d 行在最近一次链头之后，账本尚不能为其作证", n), fmt.Sprintf("the last %d lines of the access log come after the newest head: the ledger does not vouch for them", n))
	}
	for _, day := range got.Broken {
		r.fail("ACCESS_LOG_BROKEN", "访问日志 "+day+" 与前一日不相接或已损坏", "the access log of "+day+" is damaged or does not go on from the day before")
	}
	if n := len(got.Unfound); n > 0 {
		at := policies.Clock(got.Unfound[0].At)
		r.fail("ACCESS_LOG_CHANGED", fmt.Sprintf("账本中 %d 个访问日志链头在日志中找不到，最早一个记于 %s：其前的日志被改动或删除", n, at),
			fmt.Sprintf("%d heads of the access log in the ledger are not in the log, the first of %s: lines before it were changed or removed", n, at))
	}
	kept := r.Last.AddDate(0, -accesslog.LeastMonths, 0)
	for _, b := range a.heads {
		if b.Head != "" && !b.At.Before(kept) && accesslog.Day(b.At) < got.First {
			r.fail("ACCESS_LOG_SHORT", fmt.Sprintf("访问日志仅自 %s 起，不足 %d 个月", got.First, accesslog.LeastMonths),
				fmt.Sprintf("the access log begins on %s and was not kept for %d months", got.First, accesslog.LeastMonths))
			break
		}
	}
	return nil
}
